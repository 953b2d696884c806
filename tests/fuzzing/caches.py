"""What is kept so that it need not be computed again: ledgers, and the curves of scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzzing.mutations import damaged, encoded, mutated
from tests.synthetic import write_store
from workbench.benchmarking.curves import fit_and_score, needed, read_curves
from workbench.benchmarking.folds import Seen, entries_of
from workbench.config import named
from workbench.execution.ledger import Ledger
from workbench.store import Store
from workbench.synthesis.axis import fault_axis
from workbench.synthesis.magnitudes import Magnitudes
from workbench.synthesis.searching import ToleranceRow
from workbench.types.reading import checked

ROW = {
    "label": "push", "perturbation": "push", "axis": None, "node": {"force_n": 1.0}, "channel": "physics",
    "parameter": "force_n", "verdict": "found", "tolerance": 0.5, "interval": [0.1, 0.9], "confidence": 0.95,
    "at": {"0.5": 0.5, "0.1": None}, "episodes": 12, "diverged": 0, "contradictions": [], "trials": [[0.5, 1, 12]],
}  # fmt: skip
FOUND = {"found": {"0.5": 0.2}, "verdict": "found", "tolerance": 0.2, "parameter": "force_n", "trials": [[0.2, 3, 6]]}
LEDGER = {
    "push": {"made_with": {"level": 0.1}, "ended": True, "seconds": 1.5, "record": ROW},
    "lift/push": {"made_with": {"level": 0.1}, "ended": True, "seconds": 1.5, "record": FOUND},
    "train": {"fingerprint": "0123456789ab", "ended": False, "seconds": 0.0},
}


PUSH = fault_axis("push", named.node_of("perturbation", "push"), None)


def prepare(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A file of curves, and what they are of."""
    store = Store.open(write_store(folder / "a.zarr"))
    folds = Seen().folds(entries_of(store), 0)
    parts = needed(store, folds, named.nodes("score", ["mahalanobis"]), (0,))
    part = parts["", "mahalanobis"]
    fit_and_score(part)
    kept = read_curves(part.path(0))
    return part.path(0), {uid: np.array(curve) for uid, curve in kept.scores.items()}


def attempt(prepared: tuple[Path, dict[str, Any]], random: np.random.Generator, folder: Path) -> None:
    if random.random() < 0.5:
        _curves(*prepared, random, folder)
    else:
        _ledger(random, folder)


def _curves(whole: Path, scores: dict[str, Any], random: np.random.Generator, folder: Path) -> None:
    path = folder / f"{random.integers(2**60)}.safetensors"  # what was read is remembered by path and time
    content = whole.read_bytes()
    changed = content if random.random() < 0.05 else damaged(random, content)
    path.write_bytes(changed)
    found = read_curves(path)
    same = found.scores.keys() == scores.keys() and all(
        np.array_equal(found.scores[uid], scores[uid]) for uid in scores
    )
    if not same:
        raise AssertionError("damaged curves are read as if they were whole")


def _ledger(random: np.random.Generator, folder: Path) -> None:
    path = folder / "ledger.json"
    path.write_bytes(encoded(random, mutated(random, LEDGER)))
    ledger = Ledger(path, "ledger.json")
    records = ledger.records()
    for key, record in records.items():
        if isinstance(record, dict) and "label" in record:
            checked(ToleranceRow, record, ledger.source, key)
        elif isinstance(record, dict):
            Magnitudes.read(PUSH, record, ledger.source)
    for key in ledger.seconds():
        ledger.entry(key)
    json.dumps(ledger.seconds())
    ledger.put("new", {"a": 1})
    Ledger(path, "ledger.json")
