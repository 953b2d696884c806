"""The robot repeats one action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record, Stream, Task
from workbench.types.reading import among, typed, whole

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class ActionFreezeEffect(Effect):
    """Executes the last action before its start again and again."""

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.last = np.zeros(int(record["action_size"]))
        self.memory_size = len(self.last)

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The kept action while active; before an episode's first one, no motion."""
        if not self.active(scene.step_index):
            self.last = action.copy()
        return self.last.copy()

    def recall(self) -> Array:
        """The kept action."""
        return self.last.copy()

    def remember(self, memory: Array) -> None:
        """Take up a kept action."""
        self.last = memory.copy()


class ActionFreeze(Specification):
    """A stuck command: the driver hangs and the controller goes on with the last action that it was given.

    The lock-in-place fault of fault-tolerant control (Zhang and Jiang, Annual Reviews in Control, 2008), of a command.

    Parameters
    ----------
    duration_steps : for how many control steps the action before the first of them is executed.
    start : when; see :class:`Specification`.
    """

    channel = "action"
    effect = ActionFreezeEffect
    magnitude = Magnitude("duration_steps", 2, 200, whole=True)
    drawn = typed(action_size=whole(1, 1000))
    seen_as = ("overshoot", "collision", "knocked", "timeout")

    def __init__(self, duration_steps: int | Sequence[int], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add the size of an action, so that the record alone says how much is kept."""
        return super().draw(stream, task) | {"action_size": task.action_size}

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Actions of the task's size."""
        return super().fields_on(task) | {"action_size": among([task.action_size])}

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return "the last action is executed again and again"
