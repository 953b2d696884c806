"""Images of stored episodes, drawn from their exact states, are those that would have been recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from tests.envs.test_cameras import draws
from workbench.errors import ConfigError, OtherSettingsError
from workbench.execution.processes import Processes
from workbench.rollouts.drawing import Drawn
from workbench.store import Store
from workbench.types import Task

CAMERAS = {"names": ["agentview", "wrist"], "width_px": 24, "height_px": 20}


@pytest.fixture(scope="module")
def looking() -> Task:
    return wb.task("push_t", cameras=CAMERAS | {"names": ["agentview"]})


def rolled(task: Task, path: Path, *, images: bool) -> Store:
    faults = [wb.perturbation("camera_pose"), wb.perturbation("light")]
    shared = {"samples": 0, "images": images, "runner": Processes(workers=1, scenes=2)}
    wb.rollout(task, wb.policy("expert", task), faults, episodes={"test": 1}, into=path, **shared)
    return Store.open(path)


@draws
def test_what_is_drawn_is_what_would_have_been_recorded(looking: Task, tmp_path: Path) -> None:
    kept = rolled(looking, tmp_path / "kept.zarr", images=True)
    bare = rolled(looking, tmp_path / "bare.zarr", images=False)
    recorded, drawn = kept.episode(0), Drawn(bare, looking).episode(0)
    assert not any(name.startswith("images/") for name in bare.step_names(0))
    assert recorded.steps["images/agentview"].std() > 0
    np.testing.assert_array_equal(drawn.steps["images/agentview"], recorded.steps["images/agentview"])
    assert set(drawn.steps) == set(recorded.steps)


@draws
def test_stored_images_are_kept_as_they_are(looking: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = rolled(looking, tmp_path / "kept.zarr", images=True)
    source = Drawn(kept, looking)
    monkeypatch.setattr(type(looking), "scene", None)
    np.testing.assert_array_equal(
        source.episode(0).steps["images/agentview"], kept.episode(0).steps["images/agentview"]
    )
    assert (len(source), source.path, source.header, source.digest()) == (1, kept.path, kept.header, kept.digest())


def test_without_cameras_it_is_said_what_is_missing(tmp_path: Path) -> None:
    task = wb.task("push_t")
    wb.rollout(task, wb.policy("expert", task), episodes={"test": 1}, into=tmp_path / "a.zarr", samples=0,
               runner=Processes(workers=1, scenes=1))  # fmt: skip
    store = Store.open(tmp_path / "a.zarr")
    with pytest.raises(ConfigError, match=r"needs images, and task push_t has none: .*task\.cameras"):
        Drawn(store, task).episode(0)
    with pytest.raises(OtherSettingsError):
        Drawn(store, wb.task("lift"))
