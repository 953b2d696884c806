"""A recipe small enough for tests, and how it is written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

RECIPE: dict[str, Any] = {
    "about": "a small one, for tests",
    "licence": "CC0-1.0",
    "policy": "expert",
    "tasks": ["lift", "door"],
    "nominal": {"fit": 1, "calibrate": 2},
    "least": {"fit": 1, "test": 2},
    "most": {"fit": 2, "test": 4},
    "failures": 2,
    "failure_rates": [0.3, 0.7],
    "search": {"batch": 4, "most": 4, "resolution": 0.4},
    "perturbations": {"slip": None, "object_shift": None},
}


def write(folder: Path, name: str = "small", **changes: Any) -> Path:
    path = folder / "datasets" / "recipes" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(RECIPE | changes))
    return path
