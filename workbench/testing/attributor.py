"""Does an attributor keep the contract?  The laws, one function each, and the cases that they are tried on."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from workbench.testing.contract import blaming, global_streams_left_alone, name_of, require
from workbench.testing.score import NEED
from workbench.types import Array, EpisodeCalls
from workbench.types.attribution import (
    CORRECTIONS,
    MONITORS,
    OFFERED,
    RERUNS,
    TWIN,
    Attribution,
    Attributor,
    Case,
    EpisodeLog,
    Lesson,
    Surroundings,
    Watched,
    learns,
)

STEPS, EXECUTE, HORIZON, ACTIONS, EMBEDDING, SAMPLES = 60, 4, 8, 7, 12, 4
CASES, RERUN_LOGS, LESSONS, SEED = 3, 6, 6, 3
TASK = Surroundings(
    "made-up",
    20.0,
    80,
    {"success": "success", "hand_x": "x", "hand_y": "y", "hand_z": "z", "held": "held", "height": "height"},
    ("reach", "lift"),
)


def check_attributor(
    attributor: Attributor, monitor: str = "rnd+split_conformal", deterministic: bool = True
) -> tuple[str, ...]:
    """Raise at the first law that an attributor breaks; returns the laws that it keeps.

    It is tried on made-up episodes that go astray at a drawn step.

    Parameters
    ----------
    attributor : not fitted; copies of it are.
    monitor : name of the monitor whose readings the episodes hold.
    deterministic : False for one that asks a language model.

    Raises
    ------
    ContractError
        What is wrong, and what is probably the cause.
    """
    declares_what_it_is(attributor)
    case = AttributorCase(attributor, monitor, deterministic)
    for law in LAWS:
        law(case)
    return tuple(law.__name__ for law in TRIED)


@dataclasses.dataclass(frozen=True)
class AttributorCase:
    """An attributor, and what it is tried on; see :func:`check_attributor`."""

    attributor: Attributor
    monitor: str
    deterministic: bool

    @property
    def who(self) -> str:
        """How messages call the attributor."""
        return name_of(self.attributor, "attributor")

    @functools.cached_property
    def fitted(self) -> Attributor:
        """The attributor, after its fit if it has one."""
        return self.fit()

    def fit(self) -> Attributor:
        """A copy, fitted if it learns."""
        copied: Any = copy.deepcopy(self.attributor)
        if learns(copied):
            with blaming(self.who, "fit"):
                copied.fit(self.lessons, TASK, SEED)
        fitted: Attributor = copied
        return fitted

    @functools.cached_property
    def lessons(self) -> list[Lesson]:
        """Successes, and failures with the step from which they went astray."""
        won = [Lesson(made_up(seed, None, self.monitor)) for seed in range(LESSONS)]
        lost = [
            Lesson(made_up(20 + seed, 10 + 5 * seed, self.monitor), (10 + 5 * seed, 18 + 5 * seed))
            for seed in range(LESSONS)
        ]
        return [*won, *lost]

    @functools.cached_property
    def cases(self) -> list[Case]:
        """Failed episodes with what the attributor needs."""
        return [self.case(40 + number, 15 + 9 * number) for number in range(CASES)]

    def case(self, seed: int, astray: int) -> Case:
        """One failed episode that goes astray at a step."""
        needs = self.attributor.needs
        reruns = [
            made_up(seed, astray if number % 2 else None, self.monitor, number + 1) for number in range(RERUN_LOGS)
        ]
        return Case(
            log=made_up(seed, astray, self.monitor),
            task=TASK,
            seed=seed,
            twin=made_up(seed, None, self.monitor) if TWIN in needs else None,
            reruns=tuple(reruns) if RERUNS in needs else (),
            correct=(lambda step, steps: step <= astray <= step + steps + EXECUTE) if CORRECTIONS in needs else None,
        )

    def answer(self, case: Case, attributor: Attributor | None = None) -> Attribution:
        """What it says of a case."""
        with blaming(self.who, "attribute(case)"):
            return (attributor or self.fitted).attribute(case)


def declares_what_it_is(attributor: Attributor) -> None:
    """It has the members of the contract, and ``needs`` are words that mean something."""
    who = name_of(attributor, "attributor")
    require(callable(getattr(attributor, "attribute", None)), who, "it has no attribute(case)")
    needs = getattr(attributor, "needs", None)
    require(
        isinstance(needs, frozenset) and all(need in OFFERED or NEED.fullmatch(str(need)) for need in needs),
        who,
        f"its needs are {needs!r}; they must be a frozenset of {', '.join(map(repr, OFFERED))}, 'samples', 'embedding' "
        "or 'signals/<name>'",
    )


def names_steps_of_the_episode(case: AttributorCase) -> None:
    """Every step that it names is one of the episode, and none is named twice; a confidence lies in 0..1."""
    for one in case.cases:
        found = case.answer(one)
        require(isinstance(found, Attribution), case.who, f"attribute returns {type(found).__name__}, no Attribution")
        steps = found.steps
        whole = isinstance(steps, tuple) and all(type(step) is int for step in steps)
        require(whole, case.who, f"its steps are {steps!r}; they must be a tuple of whole numbers (int, not numpy's)")
        outside = [step for step in steps if not 0 <= step < one.log.length]
        require(not outside, case.who, f"it names step {max(outside, default=0)} of an episode of {one.log.length}")
        require(len(set(steps)) == len(steps), case.who, "it names a step twice; a ranking holds each once")
        sure = found.confidence
        require(
            sure is None or 0 <= sure <= 1, case.who, f"its confidence is {sure!r}; it must lie in 0..1, or be None"
        )


def the_same_case_gets_the_same_answer(case: AttributorCase) -> None:
    """Asked again, in another order and after another fit, it answers alike, and touches no generator of others."""
    if not case.deterministic:
        return
    with global_streams_left_alone(case.who, "fit or attribute"):
        first = [case.answer(one) for one in case.cases]
        again = [case.answer(one, case.fit()) for one in case.cases[::-1]][::-1]
    require(
        first == again,
        case.who,
        "the same case gets another answer the second time; is something drawn without case.seed, or kept from case to "
        "case?",
    )


def a_case_is_left_as_it_was(case: AttributorCase) -> None:
    """The log is read-only: others read it, too."""
    for one in case.cases:
        before = _contents(one)
        case.answer(one)
        require(_contents(one) == before, case.who, "it changes the case; work on copies of its arrays")


def needs_are_true(case: AttributorCase) -> None:
    """What it does not name in ``needs`` it does not read: cases without it get the same answer."""
    for one in case.cases:
        bare = dataclasses.replace(one, log=_without(one.log, case.attributor.needs))
        same = not case.deterministic or case.answer(one) == case.answer(bare)
        require(same, case.who, "it reads more than it declares: name it in needs, so that it is there")


LAWS: tuple[Callable[[AttributorCase], None], ...] = (
    names_steps_of_the_episode,
    the_same_case_gets_the_same_answer,
    a_case_is_left_as_it_was,
    needs_are_true,
)
TRIED: tuple[Callable[..., None], ...] = (declares_what_it_is, *LAWS)
"""Every law, in order."""


def made_up(seed: int, astray: int | None, monitor: str, noise: int = 0) -> EpisodeLog:
    """A log of a hand that reaches, closes and lifts; from step ``astray`` on it goes elsewhere and fails.

    ``seed`` decides the start, ``noise`` what differs between runs of it.
    """
    start, rng = np.random.default_rng(seed), np.random.default_rng((seed, noise))
    at = np.arange(STEPS)
    path = np.stack([0.2 - 0.004 * np.minimum(at, 40), np.full(STEPS, 0.1), 0.2 - 0.004 * np.minimum(at, 30)], axis=1)
    path = path + 0.05 * start.normal(size=3) + 0.0005 * rng.normal(size=path.shape)
    if astray is not None:
        path[astray:, 1] += 0.01 * np.minimum(np.arange(STEPS - astray), 15)
    held = (at > 35) & (astray is None)
    predicates = {name: path[:, axis] for axis, name in enumerate("xyz")}
    predicates |= {
        "held": held.astype(float),
        "height": np.where(held, 0.002 * (at - 35), 0.0),
        "success": (held & (at > 55)).astype(float),
    }
    modes = np.zeros(STEPS, np.uint16)
    if astray is not None:
        modes[min(astray + 20, STEPS - 1) :] = 1
    calls = at[::EXECUTE]
    score = np.cumsum(np.where((astray is not None) & (calls >= (astray or 0)), 1.0, 0.1))
    return _frozen(
        EpisodeLog(
            calls=_calls(calls, rng),
            observations={"hand": path, "object": path + 0.01 * rng.normal(size=path.shape)},
            actions=rng.normal(size=(STEPS, ACTIONS)),
            stage=(at > 35).astype(int),
            predicates=predicates,
            modes=modes,
            success=astray is None,
            monitors={monitor: Watched(score, score > 3.0)},
        )
    )


def _calls(steps: Array, rng: np.random.Generator) -> EpisodeCalls:
    count = len(steps)
    return EpisodeCalls(
        "", "test", steps, rng.normal(size=(count, HORIZON, ACTIONS)),
        rng.normal(size=(count, SAMPLES, HORIZON, ACTIONS)), rng.normal(size=(count, EMBEDDING)), EXECUTE,
        "pick up the cube",
    )  # fmt: skip


def _frozen(log: EpisodeLog) -> EpisodeLog:
    for values in _arrays(log).values():
        values.flags.writeable = False
    return log


def _without(log: EpisodeLog, needs: Sequence[str] | frozenset[str]) -> EpisodeLog:
    """A log without what is not needed."""
    calls = dataclasses.replace(
        log.calls,
        samples=log.calls.samples if "samples" in needs else None,
        embedding=log.calls.embedding if "embedding" in needs else None,
    )
    return dataclasses.replace(log, calls=calls, monitors=log.monitors if MONITORS in needs else {})


def _contents(case: Case) -> list[bytes]:
    logs = [case.log, *([case.twin] if case.twin else []), *case.reruns]
    return [values.tobytes() for log in logs for _, values in sorted(_arrays(log).items())]


def _arrays(log: EpisodeLog) -> Mapping[str, Array]:
    found: dict[str, Array] = {"actions": log.actions, "stage": log.stage, "modes": log.modes}
    found |= {f"calls/{name}": values for name, values in vars(log.calls).items() if isinstance(values, np.ndarray)}
    found |= {f"observations/{name}": values for name, values in log.observations.items()}
    found |= {f"predicates/{name}": np.asarray(values) for name, values in log.predicates.items()}
    for name, said in log.monitors.items():
        found |= {f"{name}/score": said.score, f"{name}/alarm": said.alarm}
    return found
