"""Images are lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.pixels import KINDS, ImageEffect, ImageFault, of_cameras
from workbench.envs.faults.schedule import Schedule
from workbench.types import Array, Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

LOST: dict[str, float] = {"images": 0, "depth": np.inf, "segmentation": -1}


class CameraDropoutEffect(ImageEffect):
    """Loses each image or not; whether depends on the step and the camera alone."""

    def images(self, scene: MujocoScene, images: dict[str, Array]) -> dict[str, Array]:
        """The images, black where lost; with the image its depth and segmentation are lost: nothing is there."""
        lost = {
            key: np.full_like(images[key], LOST[key.split("/")[0]])
            for camera, key in self.keys(images, *KINDS)
            if self.noise.child(camera).at(scene.step_index).random() < self.record["drop_probability"]
        }
        return images | lost


class CameraDropout(ImageFault):
    """A loose plug or a full network: black frames (source: none found).

    Parameters
    ----------
    drop_probability : probability of each image of each camera to be lost; 1 with a duration for a black-out.
    camera, schedule : see :class:`workbench.envs.faults.pixels.ImageFault`.
    """

    effect = CameraDropoutEffect
    magnitude = Magnitude("drop_probability", 0.01, 1.0)
    seen_as = ("stall", "timeout", "missed grasp")

    def __init__(
        self, drop_probability: float | Sequence[float], camera: str | None = None, **schedule: Unpack[Schedule]
    ) -> None:
        super().__init__(camera, **schedule)
        self.drop_probability = self.magnitude.within(drop_probability)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn probability."""
        return {"drop_probability": uniform(rng, self.drop_probability)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"images of {of_cameras(record)} lost with probability {record['drop_probability']:.2f}"
