"""What is to be rolled, where it starts, and how it ended."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.config import digest
from workbench.rollouts.guard import Guarded
from workbench.types import OVER, Array, Episode, Intervention, Observation, Policy, Record, Snapshot, Stream

if TYPE_CHECKING:
    from workbench.rollouts.gate import Gate


@dataclasses.dataclass(frozen=True)
class Wheel:
    """Who drives, and on which terms; the default is the policy on those of the launch.

    Attributes
    ----------
    driver : who; None for the policy of the lockstep.
    until : control step at which the policy drives again; None if it does not.
    noise : stream of the driver's noise, addressed by control step; None for the launch's, by policy call.
    deadline : control step at which the episode ends without success; None for the launch's.
    instruction : what the policy is told; None for what the scene says.
    memory : of the driver, which changes it; None for one that remembers nothing.
    """

    driver: Policy | None = None
    until: int | None = None
    noise: Stream | None = None
    deadline: int | None = None
    instruction: str | None = None
    memory: Record | None = None

    def copy(self) -> Wheel:
        """A copy that shares nothing that changes."""
        return dataclasses.replace(self, memory=copy.deepcopy(self.memory))

    def over(self, step: int) -> bool:
        """Whether the policy is to drive again at a control step: the time of the driver is up, or its work done."""
        late = self.until is not None and step >= self.until
        return late or bool(self.memory and self.memory.get(OVER))

    def turned(self, by: Intervention, step: int, noise: Stream, horizon: int) -> Wheel:
        """Who drives after an intervention at a control step.

        Parameters
        ----------
        noise : stream of fresh noise, where the intervention asks for it.
        horizon : control step at which an episode ends that is given more time.
        """
        return Wheel(
            driver=by.driver,
            until=None if by.steps is None or by.driver is None else step + by.steps,
            noise=noise if by.fresh_noise else self.noise,
            deadline=horizon if by.more_time else self.deadline,
            instruction=self.instruction if by.instruction is None else by.instruction,
            memory=None if by.driver is None else copy.deepcopy(by.memory),
        )

    def handed_back(self) -> Wheel:
        """The policy drives again, with the noise, the time and the instruction that were given meanwhile."""
        return dataclasses.replace(self, driver=None, until=None, memory=None)


@dataclasses.dataclass(frozen=True, eq=False)
class Past:
    """The rows of a stored episode before a control step: from them shields remember what they knew then.

    Attributes
    ----------
    planned : whether they saw the policy call at that step, too, whose plan an intervention dropped.
    """

    episode: Episode
    step: int
    planned: bool = False


@dataclasses.dataclass(frozen=True)
class Start:
    """A scene's snapshot together with everything else that decides how a rollout goes on from it.

    Attributes
    ----------
    history : what the robot saw before this step, oldest first, as far back as whoever is asked looks.
    queue : (R, A) actions of the last chunk that were still to be run.
    calls : policy calls made before this step.
    told : what a privileged driver was handed before this step.
    wheel : who drives.
    guard : memory of the guard; None without one.
    past : what shields remember the steps before it by; None where they remember nothing.
    gate : the shields with their memory, in the place of ``past``.
    """

    snapshot: Snapshot
    history: tuple[Observation, ...]
    queue: Array
    calls: int
    told: tuple[Observation, ...] = ()
    wheel: Wheel = dataclasses.field(default_factory=Wheel)
    guard: Guarded | None = None
    past: Past | None = None
    gate: Gate | None = None


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
    stopped : whether a strategy made the robot stand still and ask.
    """

    success: bool
    length: int
    diverged: bool = False
    aborted: bool = False
    stopped: bool = False


def fresh_noise(stream: Stream, branch: int = 0) -> Stream:
    """Stream of the fresh noise of an episode's interventions; a live rollout meets that of branch 0."""
    return stream.child("intervention", str(branch))


def uid_of(stream: Stream, perturbations: Sequence[Record]) -> str:
    """``<seed>:<index>:<digest of the drawn perturbations>``, or ``...:nominal``."""
    return f"{stream.seed}:{stream.episode}:{digest(list(perturbations)) if perturbations else 'nominal'}"
