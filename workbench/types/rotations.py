"""Rotations as plain arrays: matrices (3, 3), unit quaternions (x, y, z, w) and rotation vectors (3,) in rad.

They are written out here because episodes are compared digit for digit, and actions and observations follow from them:
``scipy.spatial.transform.Rotation`` and MuJoCo's ``mju_`` functions agree but for the last bits, and scipy's may change
with its version.  Where nothing stored follows from the last bit, use those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from workbench.types.data import Array


def rotation_matrix(quaternion: Array) -> Array:
    """Rotation matrix (3, 3) of a unit quaternion."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def about(axis: Array, angle_rad: float) -> Array:
    """Rotation matrix (3, 3) about a unit vector (3,), by Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    matrix: Array = np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * (cross @ cross)
    return matrix


def angle_of(rotation: Array) -> float:
    """Angle in 0..pi rad of a rotation matrix (3, 3)."""
    return math.acos(min(max((float(np.trace(rotation)) - 1) / 2, -1.0), 1.0))


def rotation_vector(rotation: Array) -> Array:
    """Rotation vector (3,) in rad of a rotation matrix (3, 3).

    Near half a turn the axis is read off the symmetric part, whose columns stay away from zero there.
    """
    turn = angle_of(rotation)
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    if turn < math.pi - 1e-3:
        return skew / 2 if turn < 1e-6 else skew * (turn / (2 * math.sin(turn)))
    symmetric = (rotation + rotation.T) / 2 + np.eye(3)
    column = symmetric[:, int(np.argmax(np.diag(symmetric)))]
    axis: Array = column / np.linalg.norm(column)
    return axis * (turn if float(axis @ skew) >= 0 else -turn)


def quaternion_of(vector_rad: Sequence[float] | Array) -> Array:
    """Unit quaternion (4,) of a rotation vector (3,)."""
    vector = np.asarray(vector_rad, dtype=np.float64)
    half = float(np.linalg.norm(vector)) / 2
    return np.append(vector / 2 * np.sinc(half / np.pi), np.cos(half))


def product(first: Array, second: Array) -> Array:
    """Unit quaternion (4,) of the rotation ``second``, followed by ``first`` about the fixed axes."""
    a, b = first[:3], second[:3]
    vector = first[3] * b + second[3] * a + np.cross(a, b)
    return np.append(vector, first[3] * second[3] - a @ b)


def rotated(vector: Array, quaternion: Array) -> Array:
    """A vector (3,) turned by a unit quaternion: from a frame's axes to those in which the quaternion is given."""
    across = 2 * np.cross(quaternion[:3], vector)
    turned: Array = vector + quaternion[3] * across + np.cross(quaternion[:3], across)
    return turned
