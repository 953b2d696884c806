"""Attributors: what names the control step that decided a failed episode, from its log and never from its labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from workbench.types.data import Array
from workbench.types.episode import EpisodeCalls

MONITORS, TWIN, RERUNS, CORRECTIONS = "monitors", "twin", "reruns", "corrections"
OFFERED = (MONITORS, TWIN, RERUNS, CORRECTIONS)
"""What an attributor may need beside the log of the episode; the last three are simulated, and their steps counted."""


@dataclasses.dataclass(frozen=True)
class Watched:
    """What one fitted monitor said of every policy call (C,): its windowed score, and whether it alarmed."""

    score: Array
    alarm: Array


@dataclasses.dataclass(frozen=True)
class EpisodeLog:
    """What was logged of one finished episode: nothing of its labels, of what was injected, or of its seed.

    Attributes
    ----------
    calls : the policy calls; their ``uid`` is "".
    observations : key -> (T, size), what the robot saw.
    actions : (T, A) as asked.
    stage : (T,) index of the first stage that is not reached after the action.
    predicates : name -> (T,), after the action.
    modes : (T,) uint16, bit i for failure mode i of :data:`workbench.types.MODES`, read from the predicates.
    success : how it ended.
    monitors : name -> what a fitted monitor said; empty where no attributor needs any, and for reruns.
    """

    calls: EpisodeCalls
    observations: Mapping[str, Array]
    actions: Array
    stage: Array
    predicates: Mapping[str, Array]
    modes: Array
    success: bool
    monitors: Mapping[str, Watched] = dataclasses.field(default_factory=dict)

    @property
    def length(self) -> int:
        """Control steps done, T."""
        return len(self.actions)


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What is known of the task, whatever the episode.

    Attributes
    ----------
    roles : which predicate plays which part of :data:`workbench.types.ROLES`: part -> name.
    stages : names; empty where the task has none.
    """

    task: str
    control_hz: float
    deadline: int
    roles: Mapping[str, str]
    stages: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Case:
    """One failed episode, as an attributor is shown it.

    Attributes
    ----------
    log : of the episode.
    task : what is known of its task.
    seed : for an attributor that draws; the same for the same episode, and it says nothing of it.
    twin : log of the same episode without its faults; None where there were none, or it is not needed.
    reruns : logs of the same episode from step 0 on with other noise of the policy; empty where they are not needed.
    correct : ``correct(step, steps)`` executes the reference expert's actions from a control step on, for so many
        steps and up to the next policy call, lets the policy go on with the noise that it had, and says whether that
        succeeds; every call is simulated, and counted.  None where it is not needed.
    """

    log: EpisodeLog
    task: Surroundings
    seed: int = 0
    twin: EpisodeLog | None = None
    reruns: Sequence[EpisodeLog] = ()
    correct: Callable[[int, int], bool] | None = None


@dataclasses.dataclass(frozen=True)
class Attribution:
    """What an attributor says: control steps, the likeliest first; none where it cannot say.

    Attributes
    ----------
    confidence : of the first, 0 to 1; None where the attributor gives none.
    """

    steps: tuple[int, ...] = ()
    confidence: float | None = None


@dataclasses.dataclass(frozen=True)
class Lesson:
    """An episode of the fit split, to learn from.

    Attributes
    ----------
    decisive : [t_dec, t_dec_end) of a failure; None for a success, and where no step was found to be decisive.
    """

    log: EpisodeLog
    decisive: tuple[int, int] | None = None


class Attributor(Protocol):
    """Names the step that decided a failure.

    One that learns also has ``fit(lessons: Sequence[Lesson], task: Surroundings, seed: int) -> None``, which is handed
    the nominal successes and the labelled failures of the fit split.
    """

    needs: frozenset[str]
    """What it reads beyond the log: of :data:`OFFERED`, and of calls in the words of
    :class:`workbench.types.Scorer`."""

    def attribute(self, case: Case) -> Attribution:
        """The steps; deterministic for a case, but for one that asks a language model."""
        ...


def learns(attributor: Any) -> bool:
    """Whether an attributor has to be fitted."""
    return callable(getattr(attributor, "fit", None))
