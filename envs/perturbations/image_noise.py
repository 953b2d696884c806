"""The image is grainy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform, within
from workbench.envs.faults.pixels import ImageFault, PixelEffect, as_bytes, of_cameras
from workbench.envs.faults.schedule import Schedule
from workbench.types import Array, Record
from workbench.types.reading import number, typed

SHOT_FRACTION = (0.005, 1.0)


class ImageNoiseEffect(PixelEffect):
    """Adds noise of its own at every control step and camera; the draw depends on the step and the camera alone."""

    def pixels(self, image: Array, camera: str, step: int) -> Array:
        """The image with the sensor's and the light's noise, whose variances add up."""
        std, shot = self.record["std_fraction"], self.record["shot_fraction"]
        noise = self.noise.child(camera).at(step).standard_normal(image.shape, dtype=np.float32)
        return as_bytes(image + 255.0 * noise * np.sqrt(std**2 + shot**2 * image.astype(np.float32) / 255.0))


class ImageNoise(ImageFault):
    """A hot sensor in a dim room (Gaussian and shot noise of Hendrycks and Dietterich, ICLR 2019).

    The variance is that of Foi et al., IEEE Transactions on Image Processing, 2008: a constant plus a part proportional
    to the brightness.

    Parameters
    ----------
    std_fraction : standard deviation of the sensor's noise, as a fraction of full brightness, per colour and step.
    shot_fraction : standard deviation of the light's noise at full brightness; None: none.
    camera, schedule : see :class:`workbench.envs.faults.pixels.ImageFault`.
    """

    effect = ImageNoiseEffect
    magnitude = Magnitude("std_fraction", 0.01, 1.0)
    drawn = typed(shot_fraction=number(0.0, SHOT_FRACTION[1]))
    seen_as = ("missed grasp", "stall")

    def __init__(
        self,
        std_fraction: float | Sequence[float],
        shot_fraction: float | Sequence[float] | None = None,
        camera: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(camera, **schedule)
        self.std_fraction = self.magnitude.within(std_fraction)
        self.shot_fraction = None if shot_fraction is None else within("shot_fraction", shot_fraction, *SHOT_FRACTION)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn standard deviations; the second is 0 where there is no noise of the light."""
        std = uniform(rng, self.std_fraction)
        return {
            "std_fraction": std,
            "shot_fraction": uniform(rng, self.shot_fraction) if self.shot_fraction else 0.0,
        }

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        shot = f" and {record['shot_fraction']:.3f} of the light" if record["shot_fraction"] else ""
        return f"noise of {record['std_fraction']:.3f}{shot} in {of_cameras(record)}"
