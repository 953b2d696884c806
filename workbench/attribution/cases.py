"""What attributors are shown of a failed episode: its log, and what they ask to be simulated; nothing of its labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from workbench.attribution.branching import NOISE, simulated_steps
from workbench.attribution.decisive import call_at, take_detour
from workbench.attribution.labels import nominal_twins
from workbench.errors import ConfigError
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.stored import perturbations_of, stream_of
from workbench.types import SIGNALS, Array, Episode, EpisodeCalls, HasStages, Policy, Scene, Task
from workbench.types.attribution import CORRECTIONS, RERUNS, TWIN, Case, EpisodeLog, Surroundings, Watched

LOGGED = ("obs/*", "action", "stage", "predicates/*", "modes")
"""Arrays of a store's steps that a log holds: what a robot and its watchers could have written down."""
BRANCHED = (*LOGGED, "state", "applied")
"""The same with what branches go on from."""
RERUN = "rerun"
"""Name of the stream from which repeated runs of an episode draw the policy's noise."""


def log_of(episode: Episode, monitors: Mapping[str, Watched] | None = None) -> EpisodeLog:
    """The log of an episode; its arrays are read-only."""
    steps = {name: _frozen(values) for name, values in episode.steps.items()}
    return EpisodeLog(
        calls=_calls_of(episode),
        observations=_below("obs/", steps),
        actions=steps["action"],
        stage=steps["stage"],
        predicates=_below("predicates/", steps),
        modes=steps["modes"],
        success=bool(episode.record["success"]),
        monitors=dict(monitors or {}),
    )


def surroundings(task: Task) -> Surroundings:
    """What is known of a task, whatever the episode."""
    stages = task.stages if isinstance(task, HasStages) else ()
    return Surroundings(task.name, float(task.control_hz), int(task.deadline), dict(task.roles), tuple(stages))


@dataclasses.dataclass
class Corrector:
    """Executes corrections of one episode, and counts what that simulates.

    Attributes
    ----------
    simulated : control steps so far.
    """

    episode: Episode
    policy: Lockstep
    expert: Policy
    scene: Scene
    simulated: int = 0

    def __call__(self, step: int, steps: int) -> bool:
        """See :attr:`workbench.types.attribution.Case.correct`; ConfigError for a step that there is not."""
        length = int(self.episode.record["length"])
        if not 0 <= step < length or steps < 1:
            raise ConfigError(f"a correction of {steps} steps from step {step} is none of an episode of {length} steps")
        end = call_at(self.episode, step + steps)
        detour = take_detour(self.episode, None, step, end, self.policy.policy, self.expert, self.scene)
        self.simulated += detour.steps
        if detour.start is None:
            return detour.success
        launch = Launch(stream_of(self.episode), perturbations_of(self.episode), detour.start)
        (outcome,) = self.policy.outcomes([launch])
        self.simulated += simulated_steps(launch, outcome)
        return outcome.success


@dataclasses.dataclass(frozen=True)
class Offer:
    """A case, and what everything in it cost.

    Attributes
    ----------
    corrector : that the case's ``correct`` is; None where none was needed.
    twin_steps, rerun_steps : control steps that were simulated for the twin and the repeated runs.
    """

    case: Case
    corrector: Corrector | None
    twin_steps: int
    rerun_steps: int

    def for_one(self, needs: Collection[str]) -> tuple[Case, int]:
        """The case with what one attributor needs, and what that costs before it has corrected anything."""
        twin, reruns, correct = (need in needs for need in (TWIN, RERUNS, CORRECTIONS))
        if self.corrector is not None:
            self.corrector.simulated = 0
        case = dataclasses.replace(
            self.case,
            twin=self.case.twin if twin else None,
            reruns=self.case.reruns if reruns else (),
            correct=self.corrector if correct else None,
        )
        return case, twin * self.twin_steps + reruns * self.rerun_steps


def offers(
    episodes: Sequence[Episode],
    monitors: Sequence[Mapping[str, Watched]],
    task: Task,
    policy: Lockstep,
    expert: Policy | None,
    needs: Collection[str],
    reruns: int,
) -> list[Offer]:
    """The cases of failed episodes, which need the arrays of ``BRANCHED`` and their calls, with what is needed.

    Parameters
    ----------
    policy : rolls twins and repeated runs, and goes on behind corrections.
    expert : executes corrections; None where none are needed.
    reruns : how many repeated runs of each there are, where they are needed.
    """
    twins: list[Episode | None] = [None] * len(episodes)
    if TWIN in needs:
        twins = nominal_twins(episodes, policy)
    again = repeated(episodes, policy, reruns) if RERUNS in needs else [[] for _ in episodes]
    scene, around = (task.scene() if CORRECTIONS in needs else None), surroundings(task)
    found = []
    for episode, said, twin, runs in zip(episodes, monitors, twins, again, strict=True):
        corrector = None
        if scene is not None and expert is not None:
            corrector = Corrector(episode, policy, expert, scene)
        seed = int(stream_of(episode).child("attribution").at().integers(2**31))
        logs = tuple(log_of(run) for run in runs)
        case = Case(log_of(episode, said), around, seed, None if twin is None else log_of(twin), logs, corrector)
        lengths = [log.length for log in logs]
        found.append(Offer(case, corrector, 0 if twin is None else int(twin.record["length"]), sum(lengths)))
    return found


def repeated(episodes: Sequence[Episode], policy: Lockstep, count: int) -> list[list[Episode]]:
    """Every episode ``count`` times from step 0 on, with the same faults and other noise of the policy."""
    launches = [
        Launch(stream_of(episode), perturbations_of(episode), noise=_noise(episode, number))
        for episode in episodes
        for number in range(count)
    ]
    runs = [run for _, run in sorted(policy.record_numbered(launches), key=lambda pair: pair[0])]
    return [runs[place * count : (place + 1) * count] for place in range(len(episodes))]


def _noise(episode: Episode, number: int) -> Any:
    return stream_of(episode).child(NOISE).child(RERUN, str(number))


def _calls_of(episode: Episode) -> EpisodeCalls:
    calls = {name: _frozen(values) for name, values in episode.calls.items()}
    return EpisodeCalls(
        uid="",
        split="test",
        step=calls["step"],
        chunk=calls["chunk"],
        samples=calls.get("samples"),
        embedding=calls.get("embedding"),
        execute=int(episode.record["execute"]),
        instruction=str(episode.record["instruction"]),
        signals=_below(SIGNALS, calls),
    )


def _below(start: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(start): values for name, values in arrays.items() if name.startswith(start)}


def _frozen(values: Array) -> Array:
    view = np.asarray(values).view()
    view.flags.writeable = False
    return view
