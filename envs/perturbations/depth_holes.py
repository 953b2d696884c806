"""The depth image has holes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack, cast

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.pixels import ImageEffect, ImageFault, of_cameras
from workbench.envs.faults.schedule import Schedule
from workbench.errors import ConfigError
from workbench.types import Array, Record, Task

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene
    from workbench.envs.task import SceneTask

GRAIN_FRACTION = 0.02
"""Size of the holes, as a fraction of the image's height: the smoothing of the noise whose peaks they are."""


class DepthHolesEffect(ImageEffect):
    """Takes patches out of the depth, others at every control step and camera."""

    def images(self, scene: MujocoScene, images: dict[str, Array]) -> dict[str, Array]:
        """The images, the depth infinite in the holes, as where there is nothing."""
        holed = {}
        for camera, key in self.keys(images, "depth"):
            holed[key] = images[key].copy()
            holed[key][self.holes(images[key].shape, camera, scene.step_index)] = np.inf
        return images | holed

    def holes(self, shape: tuple[int, ...], camera: str, step: int) -> Array:
        """(H, W) bool: the drawn part of the pixels, at least one."""
        from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped,unused-ignore]

        rough = self.noise.child(camera).at(step).standard_normal(shape)
        smooth = gaussian_filter(rough, GRAIN_FRACTION * shape[0], mode="wrap").ravel()
        count = max(round(self.record["hole_fraction"] * smooth.size), 1)
        holes = np.zeros(smooth.size, dtype=bool)
        holes[np.argsort(smooth, kind="stable")[-count:]] = True
        return holes.reshape(shape)


class DepthHoles(ImageFault):
    """Shiny, dark or thin things that a depth camera does not see (Mallick et al., IEEE Sensors Journal, 2014).

    A simplification: where the holes are does not depend on what is seen.

    Parameters
    ----------
    hole_fraction : part of the pixels without depth.
    camera, schedule : see :class:`workbench.envs.faults.pixels.ImageFault`.
    """

    effect = DepthHolesEffect
    magnitude = Magnitude("hole_fraction", 0.01, 1.0)
    seen_as = ("missed grasp", "collision")

    def __init__(
        self, hole_fraction: float | Sequence[float], camera: str | None = None, **schedule: Unpack[Schedule]
    ) -> None:
        super().__init__(camera, **schedule)
        self.hole_fraction = self.magnitude.within(hole_fraction)

    @classmethod
    def possible(cls, task: Task) -> None:
        """Refuse cameras without depth."""
        super().possible(task)
        cameras = cast("SceneTask", task).cameras
        if cameras is None or not cameras.depth:
            raise ConfigError(
                f"perturbation {cls.name} needs depth, and the cameras of task {task.name} measure none: "
                "set task.cameras.depth=true, or leave it out"
            )

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn part."""
        return {"hole_fraction": uniform(rng, self.hole_fraction)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"no depth in {100 * record['hole_fraction']:.0f} % of {of_cameras(record)}"
