"""What is done on an alarm."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from workbench.types.data import Array, Record
from workbench.types.policy import Policy, PolicyCall


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
    """

    driver: Policy | None = None
    steps: int | None = None
    fresh_noise: bool = False
    more_time: bool = False
    instruction: str | None = None
    stops: bool = False


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
    """

    inputs: Mapping[str, Array]
    failing: Array
    mode: Array
    corrections: Sequence[Array]
    modes: Sequence[str]
