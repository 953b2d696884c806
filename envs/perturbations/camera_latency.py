"""Images arrive late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int
from workbench.envs.faults.pixels import ImageFault, PastEffect, of_cameras
from workbench.envs.faults.schedule import Schedule
from workbench.types import Array, Observation, Record, Stream

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class CameraLatencyEffect(PastEffect):
    """Shows the image of k control steps ago, or of the start of the episode where that is less."""

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.queue = np.zeros((int(record["latency_steps"]), int(record["qpos_size"])))
        self.memory_size = self.queue.size
        self.late = self.queue[0]

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """What was given; the joint positions of the last k steps are kept, active or not."""
        now = scene.data.qpos.copy()
        if scene.step_index == 0:
            self.queue[:] = now
        self.late, self.queue = self.queue[0].copy(), np.vstack([self.queue[1:], now])
        return observation

    def shown(self, scene: MujocoScene) -> tuple[int, Array]:
        """The step before k others."""
        return max(scene.step_index - len(self.queue), 0), self.late

    def recall(self) -> Array:
        """The joint positions of the last k steps, oldest first."""
        return self.queue.ravel().copy()

    def remember(self, memory: Array) -> None:
        """Take up joint positions."""
        self.queue[:] = memory.reshape(self.queue.shape)


class CameraLatency(ImageFault):
    """A slow link from camera to policy (Katsikopoulos and Engelbrecht, IEEE Transactions on Automatic Control, 2003).

    What earlier faults made of the images arrives with them; see
    :meth:`workbench.envs.scene.MujocoScene.looked_back`.

    Parameters
    ----------
    latency_steps : control steps between an image and its arrival.
    camera, schedule : see :class:`workbench.envs.faults.pixels.ImageFault`.
    """

    effect = CameraLatencyEffect
    keeps_qpos = True
    magnitude = Magnitude("latency_steps", 1, 40, whole=True)
    seen_as = ("overshoot", "missed grasp", "collision")

    def __init__(
        self, latency_steps: int | Sequence[int], camera: str | None = None, **schedule: Unpack[Schedule]
    ) -> None:
        super().__init__(camera, **schedule)
        self.latency_steps = self.magnitude.steps(latency_steps)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn number of control steps."""
        return {"latency_steps": uniform_int(rng, self.latency_steps)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"images of {of_cameras(record)} arrive {record['latency_steps']} steps late"
