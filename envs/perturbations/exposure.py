"""The image is too bright or too dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from workbench.envs.image_faults import ImageFault, PixelEffect, as_bytes, of_cameras
from workbench.envs.perturbation import Magnitude, Schedule, one_of, uniform
from workbench.types import Array, Record

GAMMA = 2.2
"""Of the screen for which images are made: a pixel is the light to the power of 1 / 2.2."""


class ExposureEffect(PixelEffect):
    """Lets more or less light onto the sensor."""

    def pixels(self, image: Array, camera: str, step: int) -> Array:
        """The image with the light of every pixel doubled, or halved, so many times; what is too bright is white."""
        sign = 1.0 if self.record["axis"] == "over" else -1.0
        gain = 2.0 ** (sign * self.record["exposure_ev"])
        table = as_bytes(255.0 * (np.arange(256) / 255.0) * gain ** (1.0 / GAMMA))
        seen: Array = table[image]
        return seen


class Exposure(ImageFault):
    """An automatic exposure that is wrong (brightness of Hendrycks and Dietterich, ICLR 2019, in photographers' stops).

    Parameters
    ----------
    exposure_ev : stops: the light is multiplied, or divided, by two to this power.
    axis : ``over`` or ``under``; None: drawn.
    camera, schedule : see :class:`workbench.envs.image_faults.ImageFault`.
    """

    effect = ExposureEffect
    magnitude = Magnitude("exposure_ev", 0.1, 8.0)
    axes = ("over", "under")
    seen_as = ("missed grasp", "stall")

    def __init__(
        self,
        exposure_ev: float | Sequence[float],
        axis: str | None = None,
        camera: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(camera, **schedule)
        self.exposure_ev = self.magnitude.within(exposure_ev)
        self.axis = one_of("axis of perturbation exposure", axis, self.axes)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn number of stops and which way they go."""
        stops, drawn = uniform(rng, self.exposure_ev), self.axes[int(2 * rng.random())]
        return {"exposure_ev": stops, "axis": self.axis or drawn}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"{of_cameras(record)} {record['axis']}exposed by {record['exposure_ev']:.2f} stops"
