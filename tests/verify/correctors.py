"""What is a corrector worth that learned from many failures, of weak policies and of one that looks through cameras?

Of every task a policy is rolled under faults, its failures are labelled, corrections are tried from those of the fit
split, and a corrector learns from the verified ones.  It takes an episode for failing from the effect of the fault on,
which the nominal twin says: an onset costs tens of branches a failure.  Failures without a fault have no effect, and
are learned from with ``--onsets`` alone.  ``lift``, ``stack`` and ``door`` have the weak
policies of :mod:`tests.verify.recoveries`; ``lift_pixels`` is the zoo's, which looks through two cameras, so that its
corrector reads the policy's embedding of their images and the hand, and no object.

Shown for each task:

learned         failures of the fit split, and calls and corrections that the corrector learned from
says            in how many test episodes it says *failing*; AUROC at common times; the mode beside the commonest one
replays         its motion, no motion and a random one from the same call, and the abstention curve
alarms          strategy *correct* behind the monitor's alarms beside the placebo, and success with and without it

Then the replays of all tasks and seeds together.  What is there already below ``--into`` is kept, so that the same call
goes on; it may be the folder of ``recoveries --corrections``.  With ``--onsets`` it is one of its own.

Run: make verify WHAT=correctors ARGS="--into FOLDER"
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import workbench as wb
from tests.verify import recoveries
from tests.verify.claims import verdict
from tests.verify.recoveries import PLACEBO, Row, pooled
from workbench.attribution.labels import Settings
from workbench.execution.progress import console
from workbench.recovery.benefit import Interval
from workbench.recovery.correcting import CorrectionSettings
from workbench.recovery.corrections import CORRECTOR, KINDS, RANDOM, Corrections
from workbench.recovery.judging import PLACES, CorrectorJudgement, mean_over
from workbench.reporting.report import terminal_tables
from workbench.types import Policy, Record, Task

PIXELS = "lift_pixels"
CAMERAS: Record = {"names": ["agentview", "wrist"], "width_px": 84, "height_px": 84}
"""Those of the zoo's policy."""
FAULTS = ("translation", "rotation", "no_op", "hand_push", "action_noise")
"""FailSafe's three (arXiv 2510.01642) and two more, as conf/perturbation has them: the policy is a good one."""
ONSETS = Settings(branches=(4,), pairs=0)
"""The least that finds onsets; a decisive step teaches a corrector nothing."""
SEEN = CorrectionSettings(episodes=4, before=1, beyond=0, targets=1, randoms=0)
"""Fewer corrections where every branch has to render images."""
STRATEGY = "correct"


@dataclasses.dataclass(frozen=True)
class Learned:
    """One task and seed: what its corrector learned from, says and does.

    Attributes
    ----------
    failures : of the fit split, and of how many episodes.
    corrections : tried from them.
    taught : as of :func:`workbench.train_corrector`.
    judged : in the test split.
    guarded : behind the monitor's alarms.
    """

    failures: tuple[int, int]
    corrections: Corrections
    taught: Record
    judged: CorrectorJudgement
    guarded: Row


def main() -> int:
    options = arguments()
    found = {
        (name, seed): learned(name, seed, options) for seed in range(options.seeds) for name in options.tasks.split(",")
    }
    over = together([each.judged for each in found.values()])
    if options.json:
        options.json.write_text(json.dumps({f"{name}-{seed}": record(each) for (name, seed), each in found.items()}))
    return verdict((over.low or -1.0) > 0, "from recoverable calls a corrector's motion wins more than no motion does")


def arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--into", type=Path, required=True, help="folder of all that is made; what is there is kept")
    made.add_argument("--tasks", default=",".join([*recoveries.TASKS, PIXELS]))
    made.add_argument("--seeds", type=int, default=1, help="training seeds; the zoo's policy has one")
    made.add_argument("--each", type=int, default=10, help="test episodes of every fault")
    made.add_argument("--judged", type=int, default=10, help="failures of each mode that are replayed, at most")
    made.add_argument("--onsets", action="store_true", help="search the onsets of all failures, too")
    made.add_argument("--workers", type=int, default=1)
    made.add_argument("--json", type=Path, help="file for the numbers")
    return made.parse_args()


def learned(name: str, seed: int, options: argparse.Namespace) -> Learned:
    """Roll, label, correct, train and judge what is not there yet."""
    runner = wb.Processes(options.workers)
    if name == PIXELS:
        folder = options.into / name / f"zoo-{seed}"
        task, policy = seeing()
        store = seen(task, policy, folder / "episodes.zarr", seed, options, runner)
    else:
        folder = options.into / name / f"weak-{seed}"
        task, _, policy = recoveries.trained(name, "weak", seed, options.into, runner)
        store = recoveries.rolled(task, policy, folder / "episodes.zarr", seed, options, runner)
    labels = ONSETS if options.onsets else recoveries.LABELS
    settings = SEEN if name == PIXELS else recoveries.CORRECTIONS
    corrections = recoveries.tried(store, task, policy, runner, labels, settings)
    store = wb.open_store(store.path)
    taught = wb.train_corrector(store, corrections, task, policy, into=folder / "corrector", seed=seed)
    judged = wb.judge_corrector(
        store, folder / "corrector", task, policy, episodes=options.judged, runner=runner, seed=seed
    )
    of_fit = store.episodes["split"] == "fit"
    failures = int((of_fit & ~store.episodes["success"]).sum()), int(of_fit.sum())
    console.rule(f"{name}, seed {seed}")
    show_judged(failures, corrections, taught, judged)
    monitors = wb.fit(store, ["rnd", "chunk_overlap"], seed=seed)
    of = recoveries.Subject(name, "", seed, task, policy, store, monitors, folder / "longer", folder / "head")
    arms = {arm: recoveries.node_of(arm, {}) for arm in (PLACEBO, STRATEGY)}
    cell = recoveries.tabulated(of, arms, of.alarms(), runner)
    (guarded,) = pooled({(name, "", seed): cell})
    show_guarded(guarded)
    return Learned(failures, corrections, taught, judged, guarded)


def seeing() -> tuple[Task, Policy]:
    """The task with cameras, and the zoo's policy that looks through them."""
    task = wb.task("lift", cameras=CAMERAS)
    return task, wb.policy(f"zoo/{PIXELS}", task)


def seen(
    task: Task, policy: Policy, path: Path, seed: int, options: argparse.Namespace, runner: wb.Processes
) -> wb.Store:
    """Nominal episodes to calibrate on, and episodes of every fault to learn from and to judge on."""
    faults = {name: wb.perturbation(name) for name in FAULTS}
    nominal, faulty = {"fit": 20, "calibrate": 40, "test": 2 * options.each}, {"fit": 16, "test": options.each}
    return recoveries.rolled_under(faults, task, policy, path, seed, nominal, faulty, runner)


def show_judged(
    failures: tuple[int, int], corrections: Corrections, taught: Record, judged: CorrectorJudgement
) -> None:
    """Print what a corrector learned from, and what it says."""
    failed, episodes = failures
    console.print(
        f"{failed} of {episodes} fit episodes fail; {len(corrections.uids)} of them corrected: "
        f"{corrections.verified().sum()} of {(~corrections.placebo).sum()} candidates verified. The corrector learned "
        f"{taught['corrections']} corrections at {taught['corrected']} of {taught['failing']} failing calls, beside "
        f"{taught['calls'] - taught['failing']} others, and {len(taught['modes'])} modes."
    )
    console.print(*terminal_tables({CORRECTOR: judged.record()}, only=(CORRECTOR, "corrector_curve")))


def show_guarded(row: Row) -> None:
    """Print what comes of it behind alarms, and in all episodes."""
    alarmed, wins, placebo, gain, *_, in_time = row.behind()
    p_value = row.over_placebo.p_value
    console.print(
        f"Behind {alarmed} alarms: correct wins {wins}, the placebo {placebo}: {gain} points, p "
        f"{'-' if p_value is None else f'{p_value:.2g}'}; in the task's time {in_time}."
    )
    always, ahead, in_time, to_horizon, broken, won = row.overall()
    console.print(
        f"Under faults: from step 0 over the placebo {always}, the guard ahead of that {ahead}; success without and "
        f"with the guard {in_time} in the task's time, {to_horizon} in twice the time. Nominal: {broken} broken, {won} "
        "won."
    )


def together(judged: Sequence[CorrectorJudgement]) -> Interval:
    """Print the replays of all policies, by place; returns what the motion wins over none from recoverable calls."""
    found: Mapping[str, Interval] = {}
    for place in PLACES:
        gains = {
            arm: np.concatenate([over_placebo(each, place, arm) for each in judged]) for arm in (CORRECTOR, RANDOM)
        }
        found = {**found, place: mean_over(gains[CORRECTOR], seed=0)}
        words = ", ".join(f"{arm} {words_of(mean_over(values, seed=0))}" for arm, values in gains.items())
        console.print(f"{place}, {len(gains[CORRECTOR])} calls of {len(judged)} policies, over no motion: {words}")
    return found[PLACES[0]]


def over_placebo(judged: CorrectorJudgement, place: str, arm: str) -> np.ndarray:
    """Share of the noises won by a motion less that of no motion, of every replayed call of one place."""
    replays = judged.replays
    here = (replays.kind == KINDS.index(arm)) & (judged.places[replays.episode] == place)
    gains: np.ndarray = (replays.rate() - replays.luck())[here]
    return gains


def words_of(gain: Interval) -> str:
    """In points, with the interval."""
    if gain.value is None or gain.low is None or gain.high is None:
        return "no number" if gain.value is None else f"{100 * gain.value:+.0f}"
    return f"{100 * gain.value:+.0f} ({100 * gain.low:.0f} to {100 * gain.high:.0f})"


def record(each: Learned) -> Record:
    """Plain data."""
    return {
        "failures": each.failures,
        "corrections": each.corrections.record(),
        "taught": each.taught,
        "judged": each.judged.record(),
        "guarded": each.guarded.record(),
    }


if __name__ == "__main__":
    sys.exit(main())
