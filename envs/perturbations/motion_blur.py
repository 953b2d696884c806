"""The image is smeared along a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, one_of, uniform
from workbench.envs.faults.pixels import ImageFault, PixelEffect, as_bytes, of_cameras
from workbench.envs.faults.schedule import Schedule
from workbench.types import Array, Record
from workbench.types.reading import number, typed

POINTS_PER_PX = 4
"""Points of the line whose pixels are averaged, each shared out between its four neighbours."""


class MotionBlurEffect(PixelEffect):
    """Averages the image along a line through every pixel."""

    def pixels(self, image: Array, camera: str, step: int) -> Array:
        """The smeared image."""
        from scipy.ndimage import convolve  # type: ignore[import-untyped,unused-ignore]

        kernel = line(self.record["length_fraction"] * len(image), self.record["angle_rad"])
        return as_bytes(convolve(image.astype(np.float32), kernel[:, :, None], mode="nearest"))


def line(length_px: float, angle_rad: float) -> Array:
    """Weights (2 r + 1, 2 r + 1) float32, of sum one, of a line through the middle; the angle is from right to up."""
    reach = int(np.ceil(length_px / 2)) + 1
    along = np.linspace(-0.5, 0.5, max(3, POINTS_PER_PX * int(np.ceil(length_px)) + 1)) * length_px
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    rows, columns = reach - along * np.sin(angle_rad), reach + along * np.cos(angle_rad)
    row, column = np.floor(rows).astype(int), np.floor(columns).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - (rows - row)) * np.abs(1 - right - (columns - column))
            np.add.at(kernel, (row + down, column + right), weight)
    weights: Array = (kernel / kernel.sum()).astype(np.float32)
    return weights


class MotionBlur(ImageFault):
    """A camera that shakes, or too long an exposure (motion blur of Hendrycks and Dietterich, ICLR 2019).

    Parameters
    ----------
    length_fraction : length of the line, as a fraction of the image's height.
    axis : ``x`` smears from left to right, ``y`` from top to bottom; None for a direction drawn uniformly.
    camera, schedule : see :class:`workbench.envs.faults.pixels.ImageFault`.
    """

    effect = MotionBlurEffect
    magnitude = Magnitude("length_fraction", 0.02, 0.5)
    drawn = typed(angle_rad=number(0.0, np.pi))
    axes = ("x", "y")
    seen_as = ("missed grasp", "misplacement")

    def __init__(
        self,
        length_fraction: float | Sequence[float],
        axis: str | None = None,
        camera: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(camera, **schedule)
        self.length_fraction = self.magnitude.within(length_fraction)
        self.axis = one_of("axis of perturbation motion_blur", axis, self.axes)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn length and the line's angle, from right to up."""
        length, drawn = uniform(rng, self.length_fraction), float(np.pi * rng.random())
        angle_rad = {"x": 0.0, "y": np.pi / 2, None: drawn}[self.axis]
        return {"length_fraction": length, "angle_rad": angle_rad}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        share, angle = record["length_fraction"], record["angle_rad"]
        return f"{of_cameras(record)} smeared over {share:.3f} of the height, at {angle:.2f} rad"
