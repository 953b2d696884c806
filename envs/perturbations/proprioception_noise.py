"""The robot feels its own hand jitter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Array, Observation, Record, Task
from workbench.types.robot import PLACE

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class ProprioceptionNoiseEffect(Effect):
    """Shows the hand at an offset of its own at every control step; the draw depends on the step's number alone."""

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation with the hand elsewhere."""
        if not self.active(scene.step_index):
            return observation
        rng, std_m = self.noise.at(scene.step_index), float(self.record["std_m"])
        keys = [key for key in PLACE if key in observation]
        return observation | {key: observation[key] + rng.normal(0.0, std_m, len(observation[key])) for key in keys}


class ProprioceptionNoise(Specification):
    """Encoders with noise (Andrychowicz et al., IJRR 2020, randomise it).

    Parameters
    ----------
    std_m : standard deviation of the hand's position, per axis (world frame) and control step.
    schedule : see :class:`Specification`.
    """

    channel = "observation"
    effect = ProprioceptionNoiseEffect
    magnitude = Magnitude("std_m", 0.001, 0.5)
    seen_as = ("missed grasp", "collision", "timeout")

    def __init__(self, std_m: float | Sequence[float], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.std_m = self.magnitude.within(std_m)

    @classmethod
    def possible(cls, task: Task) -> None:
        """Refuse tasks that do not observe where the hand is."""
        super().possible(task)
        if not any(key in task.observation_sizes for key in PLACE):
            raise ConfigError(
                f"perturbation {cls.name} needs {' or '.join(PLACE)}, which task {task.name} does not observe "
                f"({', '.join(task.observation_sizes)})"
            )

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn standard deviation."""
        return {"std_m": uniform(rng, self.std_m)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the hand is felt with an error of {record['std_m']:.3f} m per axis"
