"""What is done on an alarm."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from workbench.types.data import Array, Record
from workbench.types.policy import Policy, PolicyCall

STEP, OVER = "step", "over"
"""In the memory of a driver: the control step of its call, which it is told; and whether it has done what it was called
for, so that the policy drives again."""


@dataclasses.dataclass(frozen=True)
class Alarm:
    """What a strategy is told: nothing of the ground truth.

    Attributes
    ----------
    call : the policy call at which the monitor alarmed, of one scene (N = 1).
    policy : who made it.
    deadline : control step at which the episode ends without success.
    number : interventions before this one in the episode.
    """

    call: PolicyCall
    policy: Policy
    deadline: int
    number: int = 0

    @property
    def step(self) -> int:
        """Control step of the alarm."""
        return int(self.call.step[0])


@dataclasses.dataclass(frozen=True)
class Intervention:
    """What a strategy asks for: who drives is asked at once, and what the policy had planned is thrown away.

    Attributes
    ----------
    driver : who drives from here on; None for the policy itself.  A motion, a way back or another way of sampling is a
        driver of its own.
    steps : control steps after which the policy drives again, with a plan of its own; None for the rest.
    fresh_noise : whether whoever drives draws new noise from here on.  It is addressed by control step, so that all
        strategies of a comparison meet the same noise at the same step, also after a hand-back.
    more_time : whether the episode may last beyond the task's deadline, to a horizon that is the same for all.
    instruction : what the policy is told from here on; None for what it was told.
    stops : whether the robot stands still and asks for help: the episode ends here.
    memory : what the driver remembers, plain data and arrays; it is handed a copy at each of its calls, as
        ``plan(..., memories=[N of them])``, which it may change, and which is part of every moment.  The control step
        stands in it under :data:`STEP`, and what is true under :data:`OVER` hands back before ``steps`` are up.  None
        for a driver that remembers nothing, as a policy.
    """

    driver: Policy | None = None
    steps: int | None = None
    fresh_noise: bool = False
    more_time: bool = False
    instruction: str | None = None
    stops: bool = False
    memory: Record | None = None


class Strategy(Protocol):
    """What is done on an alarm; the same object acts live and in branches.

    ``needs`` names what it looks at of a policy call, as a score's does; :mod:`workbench.types.detector` lists what
    there is.
    """

    name: str
    needs: Sequence[str]

    def begin(self) -> Record:
        """Its memory of an episode that begins: plain data and arrays, which ``act`` may change."""
        ...

    def act(self, memory: Record, alarm: Alarm) -> Intervention | None:
        """What is to be done; None leaves everything as it is."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Lessons:
    """What a corrector learns from: n policy calls of the fit split.

    Attributes
    ----------
    inputs : name -> (n, size): ``embedding`` and ``observation/<key>``.
    failing : (n,) whether the episode is lost to the policy there.
    mode : (n,) place in ``modes`` of the failure mode; -1 where it is not failing.
    corrections : n lists of verified corrections (m, 7), any of which is right; m may be 0.
    modes : names.
    episode : (n,) number of the episode of each.
    """

    inputs: Mapping[str, Array]
    failing: Array
    mode: Array
    corrections: Sequence[Array]
    modes: Sequence[str]
    episode: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Compared:
    """What a predicted benefit learns from: n policy calls of the fit split, each with an arm beside the placebo.

    Attributes
    ----------
    inputs : name -> (n, size): ``embedding``, ``observation/<key>`` and ``elapsed``, the part of the task's time.
    arm, placebo : (n,) share of the branches of one noise that succeed, both to the same horizon.
    episode : (n,) number of the episode of each.
    """

    inputs: Mapping[str, Array]
    arm: Array
    placebo: Array
    episode: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Successes:
    """Policy calls of episodes that succeeded, for strategies that go by what worked.

    Attributes
    ----------
    embedding : (M, D) of the calls.
    chunk : (M, H, A) that were planned there.
    episode : (M,) number of the episode of each.
    """

    embedding: Array
    chunk: Array
    episode: Array


@runtime_checkable
class FollowsCalls(Protocol):
    """A strategy that remembers what came before an alarm."""

    def follow(self, memory: Record, call: PolicyCall) -> None:
        """Take up one call of the policy, of one scene (N = 1), in the memory that ``act`` is handed.

        It is shown every call that the monitor is shown, in their order and before ``act``, whether there is an alarm
        or not: live by the guard, and in branches from what is stored.  What ``needs`` names is there in both.
        """
        ...


def follow(strategy: Strategy, memory: Record, call: PolicyCall) -> None:
    """Show a strategy a call of one scene, if it follows them."""
    if isinstance(strategy, FollowsCalls):
        strategy.follow(memory, call)
