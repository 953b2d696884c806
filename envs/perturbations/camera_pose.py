"""A camera stands, or points, beside where it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, direction, one_of, uniform, within
from workbench.envs.faults.pixels import ImageEffect, ImageFault, of_cameras, turned
from workbench.envs.faults.schedule import Schedule
from workbench.types import Array, Record
from workbench.types.reading import typed, vector

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.scene import MujocoScene

ANGLE_RAD = (0.005, 1.5)


class CameraPoseEffect(ImageEffect):
    """Moves and turns the cameras, each in its own frame."""

    def look(self, scene: MujocoScene, model: mujoco.MjModel) -> None:
        """Move and turn them in the frame of the body that carries them."""
        import mujoco

        offset_m = np.array(self.record["offset_m"])
        for camera in self.camera_ids(scene, model):
            rotation = np.empty(9)
            mujoco.mju_quat2Mat(rotation, model.cam_quat[camera])
            quaternion = turned(model.cam_quat[camera], np.array(self.record["rotation_rad"]))
            self.change(model, "cam_pos", camera, model.cam_pos[camera] + rotation.reshape(3, 3) @ offset_m)
            self.change(model, "cam_quat", camera, quaternion)


class CameraPose(ImageFault):
    """A camera that was knocked or badly calibrated (THE COLOSSEUM, Pumacay et al., RSS 2024: 0.1 m and 0.05 rad).

    Everything is in the camera's own frame: x to the right of the image, y up, z backwards.

    Parameters
    ----------
    offset_m : how far it stands from its place.
    angle_rad : by how much it is turned, about a direction drawn uniformly on the sphere; None: it only moves.
    axis : along which axis it moves, either way; None for a direction drawn uniformly on the sphere.
    camera, schedule : see :class:`workbench.envs.faults.pixels.ImageFault`.
    """

    effect = CameraPoseEffect
    magnitude = Magnitude("offset_m", 0.002, 1.0, sizes=(3,))
    drawn = typed(rotation_rad=vector(3, 0.0, ANGLE_RAD[1]))
    axes = ("x", "y", "z")
    seen_as = ("missed grasp", "misplacement", "collision")

    def __init__(
        self,
        offset_m: float | Sequence[float],
        angle_rad: float | Sequence[float] | None = None,
        axis: str | None = None,
        camera: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(camera, **schedule)
        self.offset_m = self.magnitude.within(offset_m)
        self.angle_rad = None if angle_rad is None else within("angle_rad", angle_rad, *ANGLE_RAD)
        self.axis = one_of("axis of perturbation camera_pose", axis, self.axes)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn offset and rotation vector, [x, y, z] in the camera's frame."""
        offset_m = uniform(rng, self.offset_m) * direction(rng, self.axis)
        turn = direction(rng, None)
        rotation_rad: Array = np.zeros(3) if self.angle_rad is None else uniform(rng, self.angle_rad) * turn
        return {"offset_m": offset_m.tolist(), "rotation_rad": rotation_rad.tolist()}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        moved, angle = np.linalg.norm(record["offset_m"]), np.linalg.norm(record["rotation_rad"])
        turn = f" and turned by {angle:.3f} rad" if angle else ""
        return f"{of_cameras(record)} moved by {moved:.3f} m{turn}"
