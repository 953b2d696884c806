"""Shields: the last gates before the actuators, what they are shown, and what they say of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from workbench.types.data import Array, Observation, Record
from workbench.types.policy import PolicyCall


@dataclasses.dataclass(frozen=True)
class Note:
    """What a shield says of one control step at which it did something.

    Attributes
    ----------
    reason : one of the shield's ``reasons``.
    vetoed : whether the asked motion is not run at all; otherwise it is changed.
    value, limit : what was measured and what is allowed, in the unit that the reason names.
    """

    reason: str
    vetoed: bool
    value: float
    limit: float


@dataclasses.dataclass(frozen=True)
class Moment:
    """What a shield sees of one control step: what the robot itself can know, and nothing of the ground truth.

    Attributes
    ----------
    step : control step.
    action : (A,) as asked, or as the shields before have left it.
    observation : what the robot sees now, key -> (size,).
    before : (A,) action that was let through at the step before; None at the first one.
    stiffness : factor on the controller's stiffness that the shields before ask for.
    notes : what the shields before say of this step, each with its name.
    """

    step: int
    action: Array
    observation: Observation
    before: Array | None
    stiffness: float = 1.0
    notes: Sequence[tuple[str, Note]] = ()


@dataclasses.dataclass(frozen=True)
class Passed:
    """What a shield lets through.

    Attributes
    ----------
    action : (A,) to be run.
    stiffness : factor on the controller's stiffness for this control step, 0 < factor <= 1.
    note : what it did; None for nothing, and then the action is the one that it was shown.
    """

    action: Array
    stiffness: float = 1.0
    note: Note | None = None


class Shield(Protocol):
    """A gate between policy and actuators, made from its configuration and the task, as ``task=``.

    It decides by what it is shown and by its memory alone, so that its memory at any step of a stored episode follows
    from the rows before that step.
    """

    reasons: Sequence[str]
    """What its notes can say; a store keeps their numbers, so new ones go to the end."""
    softens: bool
    """Whether it may ask for less stiffness than the controller has."""

    def begin(self) -> Record:
        """Memory of an episode that has not begun: plain data."""
        ...

    def act(self, memory: Record, moment: Moment) -> Passed:
        """What is run at one control step; ``memory`` is updated in place, the moment is not changed."""
        ...


@runtime_checkable
class JudgesPlans(Protocol):
    """A shield that also sees every policy call, before the first action of its chunk is run.

    What it makes of the call it keeps in its memory, for ``act``.  It is not shown calls of another driver than the
    policy, nor of a privileged one.
    """

    needs: frozenset[str]
    """What it reads of a call, in the words of :class:`workbench.types.Scorer`."""

    def plan(self, memory: Record, call: PolicyCall) -> None:
        """Judge one call of one scene (N = 1); ``memory`` is updated in place."""
        ...

    def dropped(self, memory: Record) -> None:
        """Forget what was said of the last plan, which is not run on: an intervention dropped it, or another drives."""
        ...


class PlanJudge(Protocol):
    """What says of plans by how much they are beyond what is allowed: a monitor, as a shield is handed one."""

    needs: frozenset[str]

    def begin(self) -> Record: ...
    def margin(self, memory: Record, call: PolicyCall) -> float:
        """Margin of one call of one scene (N = 1): an alarm where positive; ``memory`` is updated in place."""
        ...
