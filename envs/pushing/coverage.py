"""Geometry of PushT in the plane, compiled: frames, how far a point is from the T, how much two T's overlap.

A T's pose (3,) is as :mod:`workbench.envs.pushing.tee` has it.
"""

from __future__ import annotations

import numpy as np

from workbench.envs.pushing.tee import AREA_M2, ARENA_M, OUTLINE_M, RECTANGLES_M
from workbench.envs.stepper import compiled
from workbench.types import Array


@compiled
def in_frame(pose: Array, x: float, y: float) -> tuple[float, float]:
    """Where a point of the world is in the frame of a T at a pose (3,)."""
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    x, y = x - pose[0], y - pose[1]
    return cos * x + sin * y, cos * y - sin * x


@compiled
def in_world(pose: Array, x: float, y: float) -> tuple[float, float]:
    """Where a point of the frame of a T at a pose (3,) is in the world."""
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    return pose[0] + cos * x - sin * y, pose[1] + sin * x + cos * y


@compiled
def outside(pose: Array) -> float:
    """How far a T sticks out of the arena in metres; negative, and at least -1, if it does not."""
    out = -1.0
    for i in range(len(OUTLINE_M)):
        x, y = in_world(pose, OUTLINE_M[i, 0], OUTLINE_M[i, 1])
        out = max(out, -x, -y, x - ARENA_M, y - ARENA_M)
    return out


@compiled
def coverage(pose: Array, goal: Array) -> float:
    """Part, 0..1, of the area of a T at the goal (3,) that a T at a pose (3,) covers; exact.

    Each T is two rectangles that do not overlap, so the areas of the four pairwise intersections add up.
    """
    total = 0.0
    for i in range(2):
        first = corners(pose, i)
        for j in range(2):
            total += _common_area(first, corners(goal, j))
    return total / AREA_M2


@compiled
def corners(pose: Array, rectangle: int) -> Array:
    """Corners (4, 2) of one rectangle of a T at a pose, counterclockwise."""
    x, y, half_x, half_y = RECTANGLES_M[rectangle]
    placed = np.empty((4, 2))
    for i in range(4):
        u = x + (half_x if i == 1 or i == 2 else -half_x)
        v = y + (half_y if i >= 2 else -half_y)
        placed[i, 0], placed[i, 1] = in_world(pose, u, v)
    return placed


@compiled
def _common_area(subject: Array, window: Array) -> float:
    """Area of the intersection of two convex polygons (n, 2), counterclockwise (Sutherland and Hodgman, CACM 1974)."""
    kept, count = np.empty((16, 2)), len(subject)
    kept[:count] = subject
    for edge in range(len(window)):
        ax, ay = window[edge]
        bx, by = window[(edge + 1) % len(window)]
        clipped, left = np.empty((16, 2)), 0
        for i in range(count):
            x, y = kept[i]
            next_x, next_y = kept[(i + 1) % count]
            here = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
            there = (bx - ax) * (next_y - ay) - (by - ay) * (next_x - ax)
            if here >= 0:
                clipped[left, 0], clipped[left, 1] = x, y
                left += 1
            if (here > 0 > there) or (here < 0 < there):
                part = here / (here - there)
                clipped[left, 0], clipped[left, 1] = x + part * (next_x - x), y + part * (next_y - y)
                left += 1
        kept, count = clipped, left
    doubled = 0.0
    for i in range(count):
        j = (i + 1) % count
        doubled += kept[i, 0] * kept[j, 1] - kept[j, 0] * kept[i, 1]
    return 0.5 * doubled


@compiled
def nearest(x: float, y: float) -> tuple[float, float, float]:
    """Signed distance of a point in the T's frame from the T, and the outward normal there.

    Inside (negative) it is the way out of the rectangle that the point is in; where both meet it is not exact.
    """
    best, normal_x, normal_y = np.inf, 0.0, 1.0
    for i in range(2):
        u, v = x - RECTANGLES_M[i, 0], y - RECTANGLES_M[i, 1]
        out_x, out_y = abs(u) - RECTANGLES_M[i, 2], abs(v) - RECTANGLES_M[i, 3]
        sign_x, sign_y = (1.0 if u >= 0 else -1.0), (1.0 if v >= 0 else -1.0)
        if out_x > 0 and out_y > 0:
            distance = np.hypot(out_x, out_y)
            nx, ny = sign_x * out_x / distance, sign_y * out_y / distance
        elif out_x > out_y:
            distance, nx, ny = out_x, sign_x, 0.0
        else:
            distance, nx, ny = out_y, 0.0, sign_y
        if distance < best:
            best, normal_x, normal_y = distance, nx, ny
    return best, normal_x, normal_y
