"""A corrector, trained on verified corrections and on calls that did not fail; and what it says of others."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import build, described
from workbench.errors import StoreError
from workbench.execution.ledger import deciding, plain
from workbench.monitoring.episodes import sound
from workbench.recovery.corrections import KINDS, Corrections
from workbench.rollouts.setup import Setup, refuse_other_source
from workbench.rollouts.training import Training, with_defaults
from workbench.store import Store
from workbench.types import Array, Lessons, Policy, Record, Split, Task
from workbench.types.inputs import inputs_for, inputs_there

TRAINER: Record = {"_target_": "workbench.policies.learning.corrector.train"}
"""How it is trained, unless told otherwise."""
SPLIT: Split = "fit"
"""Whose calls it learns from."""
TAUGHT = ("twin", "object", "expert")
"""Kinds of corrections that it learns: not those at random, which are controls, nor what the expert itself drove."""


def train_corrector(
    store: Store,
    corrections: Corrections,
    task: Task,
    policy: Policy,
    *,
    into: Path,
    trainer: Mapping[str, Any] = TRAINER,
    seed: int = 0,
    overwrite: bool = False,
) -> Record:
    """Train a corrector on the calls of the fit split; one that is there already, of these settings, is kept.

    A call is failing from the onset of a failed episode on, or from the effect of its fault on where no onset was
    searched; failures without either are left out.  Its corrections are those that were verified there.

    Parameters
    ----------
    store : with labels.
    corrections : from episodes of its fit split alone.
    task, policy : those that the store was rolled with; the corrector reads no observation that the policy does not.
    into : folder of the checkpoint.

    Raises
    ------
    StoreError
        if a correction is of an episode of another split, on which the corrector could not be judged any more.
    CheckpointError
        if the folder holds another corrector, unless ``overwrite`` trains it anew.
    """
    refuse_other_source(store, Setup(task, policy))
    lessons = lessons_of(store, corrections, task, policy)
    asked = {
        "trainer": deciding(with_defaults(trainer)),
        "seed": seed,
        "task": described(task),
        "episodes": store.digest(labels=True),
        "corrections": corrections.rows_of_table(),
    }
    training = Training(into, plain(asked))
    if (kept := training.kept(overwrite)) is not None:
        return kept
    training.begin()
    began = time.monotonic()
    build({**trainer, "_partial_": True})(lessons, task=task.name, folder=into, seed=seed)
    told = {
        "calls": len(lessons.failing),
        "failing": int(lessons.failing.sum()),
        "corrected": sum(len(each) > 0 for each in lessons.corrections),
        "corrections": sum(len(each) for each in lessons.corrections),
        "modes": list(lessons.modes),
    }
    training.end(time.monotonic() - began, told)
    return told


def lessons_of(store: Store, corrections: Corrections, task: Task, policy: Policy) -> Lessons:
    """All policy calls of the fit split, with what is known of each; none of failures of which nothing is known."""
    rows = store.episodes
    strangers = [uid for uid in corrections.uids if rows["split"][store.number_of(uid)] != SPLIT]
    if strangers:
        raise StoreError(
            f"a corrector learns from the {SPLIT} split alone, and a correction is of {strangers[0]}, of the "
            f"{rows['split'][store.number_of(strangers[0])]} split; workbench correct job.splits=[{SPLIT}]"
        )
    right = _verified_at(corrections)
    modes = tuple(sorted(set(corrections.modes)))
    needs = inputs_for(task, policy)
    inputs: dict[str, list[Array]] = {}
    failing, mode, targets, episode = [], [], [], []
    for number in sound(store, SPLIT):
        begun, uid = failing_from(store, number), store.uids[number]
        if begun < 0 and not rows["success"][number]:
            continue
        calls = store.calls(number, needs)
        for name, values in inputs_there(calls, needs).items():
            inputs.setdefault(name, []).append(values)
        lost = calls.step >= begun if begun >= 0 else np.zeros(len(calls.step), bool)
        known = modes.index(rows["failure_mode"][number]) if rows["failure_mode"][number] in modes else -1
        episode.append(np.full(len(calls.step), number))
        failing.append(lost)
        mode.append(np.where(lost, known, -1))
        targets += [right.get((uid, int(step)), np.zeros((0, 7))) for step in calls.step]
    joined = {name: np.concatenate(parts) for name, parts in inputs.items()}
    return Lessons(joined, np.concatenate(failing), np.concatenate(mode), targets, modes, np.concatenate(episode))


def failing_from(store: Store, number: int) -> int:
    """Onset of a failure, or the effect of its fault where no onset is known; -1 of a success, and where neither is."""
    if store.episodes["success"][number]:
        return -1
    onset, effect = (int(store.episodes[key][number]) for key in ("t_on", "t_eff"))
    return onset if onset >= 0 else effect


def _verified_at(corrections: Corrections) -> dict[tuple[str, int], Array]:
    """Verified corrections (m, 7) of every call that has any."""
    found: dict[tuple[str, int], list[Array]] = {}
    taught = np.isin(corrections.kind, [KINDS.index(kind) for kind in TAUGHT])
    for row in np.flatnonzero(corrections.verified() & taught):
        cell = corrections.uids[corrections.episode[row]], int(corrections.step[row])
        found.setdefault(cell, []).append(corrections.correction[row])
    return {cell: np.stack(each) for cell, each in found.items()}
