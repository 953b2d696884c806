"""A camera's image stands still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.pixels import ImageFault, PastEffect, of_cameras
from workbench.envs.faults.schedule import Start
from workbench.types import Array, Observation, Record, Stream

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class CameraFreezeEffect(PastEffect):
    """Shows the image of the step at which it started."""

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.memory_size = int(record["qpos_size"])
        self.qpos = np.zeros(self.memory_size)

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """What was given; the joint positions of the first active step are kept."""
        if scene.step_index == self.started:
            self.qpos = scene.data.qpos.copy()
        return observation

    def shown(self, scene: MujocoScene) -> tuple[int, Array]:
        """The first active step."""
        return self.started, self.qpos

    def recall(self) -> Array:
        """The kept joint positions."""
        return self.qpos.copy()

    def remember(self, memory: Array) -> None:
        """Take up kept joint positions."""
        self.qpos = memory.copy()


class CameraFreeze(ImageFault):
    """A camera's driver that hangs and goes on delivering its last frame (source: none found).

    What earlier faults made of that image, their noise included, is frozen with it; see
    :meth:`workbench.envs.scene.MujocoScene.looked_back`.

    Parameters
    ----------
    duration_steps : for how many control steps the image of the first of them is shown.
    camera, start : see :class:`workbench.envs.faults.pixels.ImageFault`.
    """

    effect = CameraFreezeEffect
    keeps_qpos = True
    magnitude = Magnitude("duration_steps", 2, 200, whole=True)
    seen_as = ("missed grasp", "collision", "timeout")

    def __init__(self, duration_steps: int | Sequence[int], camera: str | None = None, **start: Unpack[Start]) -> None:
        super().__init__(camera, duration_steps=self.magnitude.steps(duration_steps), **start)

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"{of_cameras(record)} shows the image of the first step"
