"""Poses of a robot's hand, and corrections: what leads from one to another.

A correction is a vector (7,): translation in metres and rotation vector in rad, both in the world frame, then the
fingers (-1 opens, 1 closes).  So FailSafe's recovery actions (arXiv 2510.01642, 2025) are written, which give the
rotation as roll, pitch and yaw.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from workbench.types.data import Array, Observation
from workbench.types.rotations import angle_of, quaternion_of, rotation_matrix, rotation_vector

CORRECTION_SIZE = 7


@dataclasses.dataclass(frozen=True, eq=False)
class Pose:
    """Where a gripper is, and what its fingers are told.

    Attributes
    ----------
    position_m : (3,) grip site, world frame.
    rotation : (3, 3) grip site, world frame.
    closed : whether the fingers are told to close.
    """

    position_m: Array
    rotation: Array
    closed: bool

    @classmethod
    def of(cls, observation: Observation, closed: bool) -> Pose:
        """Of an observation of one control step, which holds ``eef_pos`` (3,) and ``eef_quat`` (4,) as (x, y, z, w)."""
        quaternion = np.asarray(observation["eef_quat"], dtype=np.float64)
        rotation = rotation_matrix(quaternion / np.linalg.norm(quaternion))
        return cls(np.asarray(observation["eef_pos"], dtype=np.float64), rotation, closed)

    def to(self, other: Pose) -> Array:
        """The correction (7,) that leads to another pose."""
        turn = rotation_vector(other.rotation @ self.rotation.T)
        return np.concatenate([other.position_m - self.position_m, turn, [1.0 if other.closed else -1.0]])

    def corrected(self, correction: Array) -> Pose:
        """The pose that a correction (7,) leads to."""
        turn = rotation_matrix(quaternion_of(correction[3:6]))
        return Pose(self.position_m + correction[:3], turn @ self.rotation, bool(correction[6] > 0))

    def distance(self, other: Pose) -> tuple[float, float]:
        """How far another pose is, in metres and in rad."""
        way = float(np.linalg.norm(other.position_m - self.position_m))
        return way, angle_of(other.rotation @ self.rotation.T)
