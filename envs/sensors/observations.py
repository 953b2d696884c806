"""From what MuJoCo knows to what a policy is given: poses as vectors that a network can learn from.

Everything is in the world frame, in metres and radians.  Two choices keep the vectors continuous where the world is:
a quaternion's sign is fixed by a reference in the middle of the workspace, and a cube's yaw is given as an angle that
does not change when the cube is turned by a quarter.
"""

from __future__ import annotations

import numpy as np

from workbench.envs.stepper import compiled
from workbench.types import Array

GRIPPER_DOWN = np.array([0.5**0.5, 0.5**0.5, 0.0, 0.0])
"""(x, y, z, w) of the grip site when it points straight down with the fingers closing along the world's y axis."""


@compiled
def quaternion(rotation: Array, reference: Array) -> Array:
    """Unit quaternion (x, y, z, w) of a rotation matrix (9,) row by row, of the sign nearer to a reference (4,).

    The largest of the four squared components is taken first (Shepperd, J. Guidance and Control 1(3), 1978), so no
    rotation is badly conditioned.
    """
    xx, yy, zz = rotation[0], rotation[4], rotation[8]
    squares = np.array([1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz])
    largest = np.argmax(squares)
    q = np.empty(4)
    if largest == 3:
        q[0], q[1], q[2] = rotation[7] - rotation[5], rotation[2] - rotation[6], rotation[3] - rotation[1]
        q[3] = squares[3]
    else:
        i, j, k = largest, (largest + 1) % 3, (largest + 2) % 3
        q[i] = squares[i]
        q[j] = rotation[3 * i + j] + rotation[3 * j + i]
        q[k] = rotation[3 * i + k] + rotation[3 * k + i]
        q[3] = rotation[3 * k + j] - rotation[3 * j + k]
    norm, side = 0.0, 0.0
    for n in range(4):
        norm += q[n] * q[n]
        side += q[n] * reference[n]
    scale = 1.0 / np.sqrt(norm) if side >= 0.0 else -1.0 / np.sqrt(norm)
    for n in range(4):
        q[n] *= scale
    return q


@compiled
def quarter_yaw(rotation: Array) -> Array:
    """(cos 4 psi, sin 4 psi) of a cube's yaw psi in rad; the same for all its 24 looks, whichever face is down."""
    up = 0
    for axis in range(1, 3):
        if abs(rotation[6 + axis]) > abs(rotation[6 + up]):
            up = axis
    side = (up + 1) % 3
    angle = 4.0 * np.arctan2(rotation[3 + side], rotation[side])
    return np.array([np.cos(angle), np.sin(angle)])


@compiled
def touching(pairs: Array, marks: Array, first: int, second: int) -> bool:
    """Whether any contact is between a geometry marked ``first`` and one marked ``second``.

    ``pairs`` (contacts, 2) are the indices of the geometries in contact, ``marks`` (geometries,) say what each is.
    """
    for n in range(len(pairs)):
        a, b = marks[pairs[n, 0]], marks[pairs[n, 1]]
        if (a == first and b == second) or (a == second and b == first):
            return True
    return False


LEFT_PAD, RIGHT_PAD, FINGER, ROBOT, OBJECT, OTHER, SUPPORT, OBSTACLE = range(1, 9)
"""What a geometry is to :func:`contacts`, from the fingers outwards: pads, the rest of the fingers, the rest of the
robot, the manipulated object, another object of the task, what they stand on, everything else."""
LEFT_ON_OBJECT, RIGHT_ON_OBJECT, LEFT_ON_OTHER, RIGHT_ON_OTHER, OBJECT_ON_OTHER, COLLISION, OBSTRUCTED = (
    1 << bit for bit in range(7)
)
_PADS_ON_OBJECT, _PADS_ON_OTHER = LEFT_ON_OBJECT | RIGHT_ON_OBJECT, LEFT_ON_OTHER | RIGHT_ON_OTHER


@compiled
def contacts(pairs: Array, marks: Array, free: bool) -> int:
    """What touches what, as bits; ``pairs`` and ``marks`` as in :func:`touching`, ``free``: the object is.

    ``COLLISION``: the robot touches what is neither itself nor the object; with its fingers it may graze what objects
    stand on, since low ones are taken from there.  ``OBSTRUCTED``: any part of
    the robot touches the scene, or an object that touches the scene, or one that hangs on it (not ``free``).
    """
    found, touched, rests = 0, False, not free
    for n in range(len(pairs)):
        one, two = marks[pairs[n, 0]], marks[pairs[n, 1]]
        near, far = min(one, two), max(one, two)
        if far <= ROBOT:  # of the robot alone
            continue
        if near == OBJECT:
            rests = True
            if far == OTHER:
                found |= OBJECT_ON_OTHER
        elif near <= ROBOT:
            if near <= RIGHT_PAD:
                if far == OBJECT:
                    found |= LEFT_ON_OBJECT if near == LEFT_PAD else RIGHT_ON_OBJECT
                elif far == OTHER:
                    found |= LEFT_ON_OTHER if near == LEFT_PAD else RIGHT_ON_OTHER
            if far == OBJECT:
                touched = True
            else:
                found |= OBSTRUCTED
                if near == ROBOT or far != SUPPORT:
                    found |= COLLISION
    return found | OBSTRUCTED if touched and rests else found


def grasped(found: int) -> bool:
    """Whether both pads touch the object."""
    return found & _PADS_ON_OBJECT == _PADS_ON_OBJECT


def other_grasped(found: int) -> bool:
    """Whether both pads touch another object of the task."""
    return found & _PADS_ON_OTHER == _PADS_ON_OTHER
