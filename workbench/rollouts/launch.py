"""What is to be rolled, where it starts, and how it ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from workbench.config import digest
from workbench.types import Array, Episode, Observation, Record, Snapshot, Stream


@dataclasses.dataclass(frozen=True, eq=False)
class Past:
    """The rows of a stored episode before a control step: from them shields remember what they knew then."""

    episode: Episode
    step: int


@dataclasses.dataclass(frozen=True)
class Start:
    """A scene's snapshot together with what the policy remembered at that step.

    Attributes
    ----------
    history : observations seen before this step, oldest first.
    queue : (R, A) actions of the last chunk that were still to be run.
    calls : policy calls made before this step.
    past : what shields remember it by; None where they remember nothing.
    """

    snapshot: Snapshot
    history: tuple[Observation, ...]
    queue: Array
    calls: int
    past: Past | None = None


@dataclasses.dataclass(frozen=True)
class Launch:
    """One rollout to be made.

    Attributes
    ----------
    stream : random stream of the episode.
    perturbations : drawn records.
    start : where a branch begins; None for a fresh episode.
    noise : stream of the policy's noise; None for the episode's own.
    deadline : control step at which it ends without success; None for the task's.
    cell : of a data set, to which the episode belongs; "" for none.
    """

    stream: Stream
    perturbations: tuple[Record, ...] = ()
    start: Start | None = None
    noise: Stream | None = None
    deadline: int | None = None
    cell: str = ""

    @property
    def uid(self) -> str:
        """Names the episode across stores and splits."""
        return uid_of(self.stream, self.perturbations)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a rollout ended.

    Attributes
    ----------
    success : whether the task was done; never of an aborted one.
    length : control step at which it ended.
    diverged : whether the physics did.
    aborted : whether the policy was lost on the way.
    """

    success: bool
    length: int
    diverged: bool = False
    aborted: bool = False


def uid_of(stream: Stream, perturbations: Sequence[Record]) -> str:
    """``<seed>:<index>:<digest of the drawn perturbations>``, or ``...:nominal``."""
    return f"{stream.seed}:{stream.episode}:{digest(list(perturbations)) if perturbations else 'nominal'}"
