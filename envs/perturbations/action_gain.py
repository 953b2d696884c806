"""The arm does only part of what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Array, Record, Task
from workbench.types.abilities import commands_pose, finger_channels
from workbench.types.reading import among, typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


AXES = ("x", "y", "z")


class ActionGainEffect(Effect):
    """Scales the arm's channels, or the one of a translation."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action scaled; the fingers' channel as it is."""
        if not self.active(scene.step_index):
            return action
        gains, axis = np.ones(len(action)), self.record["axis"]
        arm = slice(len(action) - finger_channels(scene.task)) if axis is None else AXES.index(axis)
        gains[arm] = self.record["gain_scale"]
        return action * gains


class ActionGain(Specification):
    """A weak drive, or a wrong unit in the command chain (loss of effectiveness, Zhang and Jiang, Annual Reviews in
    Control, 2008).

    Parameters
    ----------
    gain_scale : factor on the arm's channels; below one.
    axis : ``x``, ``y`` or ``z`` to scale that channel of the translation alone; None for all of the arm's.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = ActionGainEffect
    magnitude = Magnitude("gain_scale", 0.01, 0.9, worse="smaller")
    drawn = typed(axis=among((None, *AXES)))
    axes = AXES
    seen_as = ("out of reach", "stall", "timeout")

    def __init__(
        self,
        gain_scale: float | Sequence[float],
        axis: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        if axis is not None and axis not in self.axes:
            raise UnknownNameError(f"axis of perturbation {self.name}", axis, self.axes)
        self.gain_scale, self.axis = self.magnitude.within(gain_scale), axis

    def check(self, task: Task) -> None:
        """Refuse an axis that actions do not have."""
        super().check(task)
        known = _axes(task)
        if self.axis is not None and self.axis not in known:
            raise ConfigError(
                f"perturbation.{self.name}.axis={self.axis} is impossible: actions of task {task.name} have channels "
                f"of {', '.join(known) or 'no axis'}; change it or leave it out"
            )

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Axes along which the task's actions go."""
        return super().fields_on(task) | {"axis": among((None, *_axes(task)))}

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor."""
        return {"axis": self.axis, "gain_scale": uniform(rng, self.gain_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        channels = "the arm's actions" if record["axis"] is None else f"actions along {record['axis']}"
        return f"{channels} times {record['gain_scale']:.3g}"


def _axes(task: Task) -> tuple[str, ...]:
    """Axes along which the task's actions go."""
    return AXES if commands_pose(task) else AXES[:2] if task.action_size == 2 else ()
