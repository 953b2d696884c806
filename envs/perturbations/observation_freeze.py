"""The robot's view of the world stands still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Observation, Record, Stream, Task
from workbench.types.reading import SIZES, among, typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class ObservationFreezeEffect(Effect):
    """Shows the observation of the step at which it started."""

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.frozen = {name: np.zeros(size) for name, size in record["observation_sizes"].items()}
        self.memory_size = sum(record["observation_sizes"].values())

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The kept observation while active; it is kept at the first active step, however often that is observed."""
        if not self.active(scene.step_index):
            return observation
        if scene.step_index == self.started:
            self.frozen = {name: np.array(observation[name], np.float64) for name in self.frozen}
        return observation | {name: value.astype(observation[name].dtype) for name, value in self.frozen.items()}

    def recall(self) -> Array:
        """The kept observation, in the task's order."""
        return np.concatenate(list(self.frozen.values()))

    def remember(self, memory: Array) -> None:
        """Take up a kept observation."""
        ends = np.cumsum([len(value) for value in self.frozen.values()])[:-1]
        self.frozen = dict(zip(self.frozen, np.split(memory.copy(), ends), strict=True))


class ObservationFreeze(Specification):
    """A camera or sensor driver that hangs and comes back (in failure sets: none found; frame skip on real robots).

    Parameters
    ----------
    duration_steps : for how many control steps the robot sees the observation of the first of them.
    start : when; see :class:`Specification`.
    """

    channel = "observation"
    effect = ObservationFreezeEffect
    magnitude = Magnitude("duration_steps", 2, 200, whole=True)
    drawn = typed(observation_sizes=SIZES)

    def __init__(self, duration_steps: int | Sequence[int], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add the sizes of the observation, so that the record alone says how much is kept."""
        return super().draw(stream, task) | {"observation_sizes": dict(task.observation_sizes)}

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Sizes of what the task observes."""
        return super().fields_on(task) | {"observation_sizes": among([dict(task.observation_sizes)])}

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return "the robot sees the observation of the first step"
