"""The camera is out of focus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.pixels import ImageFault, PixelEffect, as_bytes, of_cameras
from workbench.envs.faults.schedule import Schedule
from workbench.types import Array, Record

LEAST_PX = 0.5
"""Of the standard deviation: less than that leaves every pixel as it was, in images as small as that."""


class DefocusBlurEffect(PixelEffect):
    """Smooths the image with a Gaussian."""

    def pixels(self, image: Array, camera: str, step: int) -> Array:
        """The smoothed image."""
        from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped,unused-ignore]

        sigma_px = max(self.record["sigma_fraction"] * len(image), LEAST_PX)
        return as_bytes(gaussian_filter(image.astype(np.float32), (sigma_px, sigma_px, 0.0), mode="nearest"))


class DefocusBlur(ImageFault):
    """A lens out of focus or greasy (Gaussian blur of Hendrycks and Dietterich, ICLR 2019).

    Parameters
    ----------
    sigma_fraction : standard deviation of the Gaussian, as a fraction of the image's height.
    camera, schedule : see :class:`workbench.envs.faults.pixels.ImageFault`.
    """

    effect = DefocusBlurEffect
    magnitude = Magnitude("sigma_fraction", 0.005, 0.3)
    seen_as = ("missed grasp", "misplacement")

    def __init__(
        self, sigma_fraction: float | Sequence[float], camera: str | None = None, **schedule: Unpack[Schedule]
    ) -> None:
        super().__init__(camera, **schedule)
        self.sigma_fraction = self.magnitude.within(sigma_fraction)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn standard deviation."""
        return {"sigma_fraction": uniform(rng, self.sigma_fraction)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"{of_cameras(record)} out of focus by {record['sigma_fraction']:.3f} of the height"
