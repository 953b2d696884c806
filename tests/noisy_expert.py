"""A stochastic policy for any task without training: the scripted expert, slow and noisy."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.policies.expert import Expert
from workbench.types import Observation, PolicyOutput, Task


@dataclasses.dataclass
class NoisyExpert:
    """The expert's action, slowed down and with Gaussian noise on its translation, held for ``execute`` control steps.

    Attributes
    ----------
    speed : factor on the expert's motion; below one, so that there is little time to do anything twice.
    std : of the noise, as a fraction of the largest action.
    """

    task: Task
    speed: float = 0.5
    std: float = 0.1
    execute: int = 2
    history: int = 2
    privileged: bool = False

    @property
    def horizon(self) -> int:
        return self.execute

    def plan(self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
        asked = Expert(self.task).plan(observation, noise).chunk
        drawn = np.stack([rng.normal(size=(1, 3)) for rng in noise])
        asked[..., :6] *= self.speed
        asked[..., :3] = np.clip(asked[..., :3] + self.std * drawn, -1, 1)
        return PolicyOutput(np.repeat(asked, self.execute, axis=1))

    def save(self, folder: Path) -> None:
        raise NotImplementedError
