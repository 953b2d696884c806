"""Something sticks to the lens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.pixels import KINDS, ImageEffect, ImageFault, of_cameras
from workbench.envs.faults.schedule import Schedule
from workbench.types import Array, Record
from workbench.types.reading import many, number, typed, whole

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

BEFORE_LENS_M = 0.01
SEEN: dict[str, float] = {"depth": BEFORE_LENS_M, "segmentation": -1}


class OcclusionEffect(ImageEffect):
    """Covers a rectangle of the image's own proportions."""

    def images(self, scene: MujocoScene, images: dict[str, Array]) -> dict[str, Array]:
        """The images with a grey patch: near at hand, and no body of the scene."""
        covered = {}
        for _, key in self.keys(images, *KINDS):
            covered[key] = images[key].copy()
            height, width = images[key].shape[:2]
            covered[key][self.place(height, width)] = SEEN.get(key.split("/")[0], self.record["grey_level"])
        return images | covered

    def place(self, height_px: int, width_px: int) -> tuple[slice, slice]:
        """Rows and columns of the patch; at least one of each."""
        side = float(np.sqrt(self.record["area_fraction"]))
        slices = []
        for size, where in zip((height_px, width_px), self.record["place_fraction"], strict=True):
            length = min(max(round(side * size), 1), size)
            first = round(where * (size - length))
            slices.append(slice(first, first + length))
        return slices[0], slices[1]


class Occlusion(ImageFault):
    """Dirt, tape or a cable before the camera (a square as in Cutout, DeVries and Taylor, arXiv 1708.04552, 2017).

    Its place is drawn once an episode, the same in all images; depth and segmentation are covered too.

    Parameters
    ----------
    area_fraction : part of the image's area that is covered.
    camera, schedule : see :class:`workbench.envs.faults.pixels.ImageFault`.
    """

    effect = OcclusionEffect
    magnitude = Magnitude("area_fraction", 0.005, 0.95)
    drawn = typed(place_fraction=many(number(0.0, 1.0), 2, 2), grey_level=whole(0, 255))
    seen_as = ("missed grasp", "collision", "stall")

    def __init__(
        self, area_fraction: float | Sequence[float], camera: str | None = None, **schedule: Unpack[Schedule]
    ) -> None:
        super().__init__(camera, **schedule)
        self.area_fraction = self.magnitude.within(area_fraction)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn area, the place [from top, from left] in what room there is, and the grey (0..255)."""
        area, place = uniform(rng, self.area_fraction), rng.random(2)
        return {"area_fraction": area, "place_fraction": place.tolist(), "grey_level": int(256 * rng.random())}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"{100 * record['area_fraction']:.1f} % of {of_cameras(record)} covered"
