"""A camera has another field of view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, one_of, uniform
from workbench.envs.faults.pixels import ImageEffect, ImageFault, of_cameras
from workbench.envs.faults.schedule import Schedule
from workbench.types import Record
from workbench.types.reading import among, typed

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.scene import MujocoScene

WIDEST_DEG = 160.0


class CameraFovEffect(ImageEffect):
    """Opens or narrows the view of the cameras."""

    def look(self, scene: MujocoScene, model: mujoco.MjModel) -> None:
        """Scale the vertical field of view."""
        scale = self.record["fovy_scale"] if self.record["axis"] == "wider" else 1.0 / self.record["fovy_scale"]
        for camera in self.camera_ids(scene, model):
            self.change(model, "cam_fovy", camera, min(model.cam_fovy[camera] * scale, WIDEST_DEG))


class CameraFov(ImageFault):
    """Another lens, or wrong intrinsics (the field of view is randomised by Tobin et al., IROS 2017).

    Parameters
    ----------
    fovy_scale : by how much the vertical field of view is multiplied (``wider``) or divided (``narrower``); a view of
        more than 160 degrees is cut off there.
    axis : ``wider`` or ``narrower``; None: drawn.
    camera, schedule : see :class:`workbench.envs.faults.pixels.ImageFault`.
    """

    effect = CameraFovEffect
    magnitude = Magnitude("fovy_scale", 1.02, 3.0)
    axes = ("wider", "narrower")
    drawn = typed(axis=among(axes))
    seen_as = ("missed grasp", "misplacement")

    def __init__(
        self,
        fovy_scale: float | Sequence[float],
        axis: str | None = None,
        camera: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(camera, **schedule)
        self.fovy_scale = self.magnitude.within(fovy_scale)
        self.axis = one_of("axis of perturbation camera_fov", axis, self.axes)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor and which way it goes."""
        scale, drawn = uniform(rng, self.fovy_scale), self.axes[int(2 * rng.random())]
        return {"fovy_scale": scale, "axis": self.axis or drawn}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the field of view of {of_cameras(record)} is {record['fovy_scale']:.3g} times {record['axis']}"
