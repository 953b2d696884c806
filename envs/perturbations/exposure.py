"""The image is too bright or too dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, one_of, uniform
from workbench.envs.faults.pixels import ImageFault, PixelEffect, as_bytes, of_cameras
from workbench.envs.faults.schedule import Schedule
from workbench.types import Array, Record
from workbench.types.reading import among, typed

GAMMA = 2.2
"""Of the screen for which images are made: a pixel is the light to the power of 1 / 2.2."""


class ExposureEffect(PixelEffect):
    """Lets more or less light onto the sensor."""

    def pixels(self, image: Array, camera: str, step: int) -> Array:
        """The image with the light of every pixel multiplied, or divided; what is too bright is white."""
        sign = 1.0 if self.record["axis"] == "over" else -1.0
        gain = self.record["exposure_scale"] ** sign
        table = as_bytes(255.0 * (np.arange(256) / 255.0) * gain ** (1.0 / GAMMA))
        seen: Array = table[image]
        return seen


class Exposure(ImageFault):
    """An automatic exposure that is wrong (brightness of Hendrycks and Dietterich, ICLR 2019).

    Parameters
    ----------
    exposure_scale : by how much the light is multiplied (``over``) or divided (``under``); a photographer's stop is 2.
    axis : ``over`` or ``under``; None: drawn.
    camera, schedule : see :class:`workbench.envs.faults.pixels.ImageFault`.
    """

    effect = ExposureEffect
    magnitude = Magnitude("exposure_scale", 1.1, 256.0)
    axes = ("over", "under")
    drawn = typed(axis=among(axes))
    seen_as = ("missed grasp", "stall")

    def __init__(
        self,
        exposure_scale: float | Sequence[float],
        axis: str | None = None,
        camera: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(camera, **schedule)
        self.exposure_scale = self.magnitude.within(exposure_scale)
        self.axis = one_of("axis of perturbation exposure", axis, self.axes)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor and which way it goes."""
        scale, drawn = uniform(rng, self.exposure_scale), self.axes[int(2 * rng.random())]
        return {"exposure_scale": scale, "axis": self.axis or drawn}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"{of_cameras(record)} {record['axis']}exposed by a factor of {record['exposure_scale']:.3g}"
