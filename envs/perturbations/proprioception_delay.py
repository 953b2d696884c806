"""The robot feels its own body late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Array, Observation, Record, Stream, Task
from workbench.types.reading import SIZES, among, typed
from workbench.types.robot import PROPRIOCEPTION

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class ProprioceptionDelayEffect(Effect):
    """Shows the robot's readings of k control steps ago, or of the start of the episode where that is less."""

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.sizes: dict[str, int] = record["reading_sizes"]
        self.queue = np.zeros((int(record["delay_steps"]), sum(self.sizes.values())))
        self.memory_size = self.queue.size

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation with the oldest kept readings; the present ones are kept, active or not."""
        now = np.concatenate([observation[key] for key in self.sizes])
        if scene.step_index == 0:
            self.queue[:] = now
        late, self.queue = self.queue[0], np.vstack([self.queue[1:], now])
        if not self.active(scene.step_index):
            return observation
        parts = np.split(late, np.cumsum(list(self.sizes.values()))[:-1])
        return observation | {key: part.copy() for key, part in zip(self.sizes, parts, strict=True)}

    def recall(self) -> Array:
        """The readings of the last k steps, oldest first."""
        return self.queue.ravel().copy()

    def remember(self, memory: Array) -> None:
        """Take up readings."""
        self.queue[:] = memory.reshape(self.queue.shape)


class ProprioceptionDelay(Specification):
    """A slow bus between joints and policy (Katsikopoulos and Engelbrecht, IEEE Trans. on Automatic Control, 2003).

    Late is what follows from the robot's joints: the hand's pose and the fingers.

    Parameters
    ----------
    delay_steps : control steps between a reading and its arrival.
    schedule : see :class:`Specification`.
    """

    channel = "observation"
    effect = ProprioceptionDelayEffect
    magnitude = Magnitude("delay_steps", 1, 40, whole=True)
    drawn = typed(reading_sizes=SIZES)
    seen_as = ("overshoot", "missed grasp", "collision")

    def __init__(self, delay_steps: int | Sequence[int], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.delay_steps = self.magnitude.steps(delay_steps)

    @classmethod
    def possible(cls, task: Task) -> None:
        """Refuse tasks that observe nothing of the robot."""
        super().possible(task)
        if not any(key in task.observation_sizes for key in PROPRIOCEPTION):
            raise ConfigError(
                f"perturbation {cls.name} needs one of {', '.join(PROPRIOCEPTION)}, and task {task.name} observes "
                f"{', '.join(task.observation_sizes)}"
            )

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add the sizes of the readings, so that the record alone says how much is kept."""
        return super().draw(stream, task) | {"reading_sizes": _sizes(task)}

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Sizes of what the task observes of the robot."""
        return super().fields_on(task) | {"reading_sizes": among([_sizes(task)])}

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn number of control steps."""
        return {"delay_steps": uniform_int(rng, self.delay_steps)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the robot's own readings arrive {record['delay_steps']} steps late"


def _sizes(task: Task) -> dict[str, int]:
    return {key: size for key, size in task.observation_sizes.items() if key in PROPRIOCEPTION}
