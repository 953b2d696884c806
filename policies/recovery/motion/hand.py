"""The hand of a task's robot, as strategies read it and move it: by proprioception, and by the task's own actions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from workbench.errors import ObservationError
from workbench.policies.shields.motion.channels import Channels
from workbench.types import OBSERVATION, Array, Task
from workbench.types.abilities import action_groups_of, fingers_of
from workbench.types.rotations import angle_of, rotation_matrix, rotation_vector

GAIN = 1.5
"""Part of the remaining way that one action asks for; above one, since controllers lag behind what they are asked."""
REACHED_M, ALIGNED_RAD = 0.01, 0.2
"""Within which a pose counts as reached."""
QUATERNION, FINGERS = "eef_quat", "gripper_qpos"


class Hand:
    """Reads poses of the hand, and says which action leads to one.

    A pose is one row of numbers: the place in metres, as many as an action translates the hand by; the quaternion
    (x, y, z, w), where actions turn the hand; the distance of the fingers in metres, where it has any.

    Parameters
    ----------
    task : whose actions translate a hand whose place is observed.
    who : what needs it, for errors.

    Attributes
    ----------
    needs : what is read of a policy call.
    dimensions : numbers of a place.

    Raises
    ------
    ConfigError
        if the task has no robot whose numbers are known, or its actions do not translate the hand.
    """

    def __init__(self, task: Task, who: str) -> None:
        self._channels = Channels(task, who)
        self.robot, self.size, self._columns = self._channels.robot, task.action_size, self._channels.position
        self.dimensions = self._columns.stop - self._columns.start
        groups, seen = action_groups_of(task), task.observation_sizes
        self._turned = slice(*groups["rotation"]) if "rotation" in groups and QUATERNION in seen else None
        self.fingers = fingers_of(task) if "gripper" in groups and FINGERS in seen else None
        self._gripper = groups["gripper"][0] if self.fingers else 0
        self.keys = (
            self._channels.place,
            *([QUATERNION] if self._turned else []),
            *([FINGERS] if self.fingers else []),
        )
        self.needs = tuple(f"{OBSERVATION}{key}" for key in self.keys)

    def poses(self, observation: Mapping[str, Array]) -> Array:
        """Poses (..., D) of observed vectors (..., size).

        Raises
        ------
        ObservationError
            if any of them is not finite.
        """
        parts = [observation[self._channels.place][..., : self.dimensions]]
        if self._turned:
            parts.append(observation[QUATERNION])
        if self.fingers:
            parts.append(np.ptp(observation[FINGERS], axis=-1, keepdims=True))
        found: Array = np.concatenate(parts, axis=-1, dtype=np.float64)
        if not np.isfinite(found).all():
            raise ObservationError(f"the pose of the hand ({', '.join(self.keys)}) holds NaN or infinity")
        return found

    def place_m(self, pose: Array) -> Array:
        """The place of a pose (D,)."""
        place: Array = pose[: self.dimensions]
        return place

    def width_m(self, pose: Array) -> float:
        """The distance of the fingers of a pose (D,); 0 without any."""
        return float(pose[-1]) if self.fingers else 0.0

    def towards(self, pose: Array, place_m: Array, like: Array | None = None, grip: float = 0.0) -> Array:
        """Action (A,) from a pose to a place.

        Parameters
        ----------
        like : pose whose rotation is wanted; None to turn nothing.
        grip : above 0 to close, below to open; 0 leaves the gripper as it was commanded.
        """
        action = np.zeros(self.size)
        action[self._columns] = np.clip(GAIN * (place_m - self.place_m(pose)) / self.robot.action_m, -1, 1)
        if self._turned and like is not None and self.robot.arm:
            turn = rotation_vector(self._rotation(like) @ self._rotation(pose).T)
            action[self._turned] = np.clip(GAIN * turn / self.robot.arm.action_rad, -1, 1)
        if self.fingers:
            action[self._gripper] = grip
        return action

    def reached(self, pose: Array, wanted: Array) -> bool:
        """Whether place and rotation of a pose are those of another."""
        aligned = not self._turned or angle_of(self._rotation(wanted) @ self._rotation(pose).T) < ALIGNED_RAD
        return aligned and self.away_m(pose, wanted) < REACHED_M

    def away_m(self, pose: Array, wanted: Array) -> float:
        """Distance of the places of two poses."""
        return float(np.linalg.norm(self.place_m(wanted) - self.place_m(pose)))

    def _rotation(self, pose: Array) -> Array:
        assert self._turned
        quaternion = pose[self.dimensions : self.dimensions + 4]
        return rotation_matrix(quaternion / np.linalg.norm(quaternion))
