"""A store of toys whose every answer is known by counting, and questions about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.toy import ToyExpert, ToyPolicy, ToyTask, broken
from workbench.attribution import questions
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Record, Stream
from workbench.types.questions import QuestionSet

MODES = ("slip", "jam", "drop")
FAULTS = ("early", "late", "odd")
ROTS = 18
COUNT = 24
"""Failures, and as many nominal twins, all of which succeed."""


def breaks(index: int) -> int:
    """Control step at which the scene of a failed episode breaks: its mode begins, and it is lost to the policy."""
    return 3 + index % 9


def write_toys(path: Path, cameras: Sequence[str] = ("front", "side"), labels: bool = True) -> Store:
    """Failures of three modes and faults, and their nominal twins."""
    with StoreWriter.open(path, StoreHeader("toy", 10.0, 40, {}, {}, 0)) as writer:
        for index in range(COUNT):
            for record in ((), ({**broken(breaks(index), ROTS), "name": FAULTS[index % 3]},)):
                (episode,) = Lockstep(ToyTask(), ToyPolicy(), 1).record([Launch(Stream(1, index), record)])
                length, rng = len(episode.steps["action"]), np.random.default_rng(index)
                for camera in cameras:
                    episode.steps[f"images/{camera}"] = rng.integers(0, 255, (length, 6, 8, 3), dtype=np.uint8)
                    # What is shown can be told by its first pixel: the control step.
                    episode.steps[f"images/{camera}"][:, 0, 0, 0] = np.arange(length)
                if record:
                    begun = [{"mode": MODES[index % 3], "step": breaks(index)}, {"mode": "timeout", "step": 39}]
                    episode.record |= {"failure_mode": MODES[index % 3], "modes": json.dumps(begun)}
                    episode.record |= {"perturbation": FAULTS[index % 3]}
                writer.append(episode)
    store = Store.open(path)
    if labels:
        known = {name: ROTS for name in ("t_pnr", "t_pnr_low", "t_pnr_high")}
        rows = store.episodes
        store.annotate_many({
            uid: known | {"t_on": at, "t_on_low": at, "t_on_high": at + 1}
            for uid, success, at in zip(rows["uid"], rows["success"], map(int, rows["t_inj"]), strict=True)
            if not success
        })  # fmt: skip
    return store


def ask(store: Store, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> QuestionSet:
    """Questions about toys, whose expert mends."""
    monkeypatch.setattr(questions, "build", lambda node, task: ToyExpert())
    return wb.ask_questions(store, ToyTask(), **asked)


class Tried:
    """Corrections by hand: of every call one motion that wins, two that never do, and one that sometimes does."""

    def __init__(self, calls: Sequence[tuple[str, int]], luck: Sequence[int] = (0, 0)) -> None:
        self.calls, self.luck = calls, luck

    def rows_of_table(self) -> Sequence[Mapping[str, Any]]:
        rows: list[Record] = []
        for uid, step in self.calls:
            shared = {"uid": uid, "step": step, "motion_steps": 4}
            for kind, x, ended in (
                ("twin", 0.02, [30, 31, 30, 0]),
                ("twin", -0.03, [0, 0, -1, -1]),
                ("random", 0.111, [0, 41, 0, 0]),
                ("object", 0.05, [0, 22, 0, 0]),
                ("segment", 0.09, [9, 9, 9, 9]),
                ("placebo", 0.0, [*self.luck, -1, -1]),
            ):
                rolled = [step for step in ended if step >= 0]
                rate = float(np.mean([step > 0 for step in rolled]))
                rows.append(
                    shared
                    | {"kind": kind, "correction": [x, 0.0, 0.0, 0.0, 0.0, 0.1, 1.0], "ended": ended, "rate": rate}
                    | {"verified": kind != "placebo" and rate >= 0.5}
                )
        return rows
