"""How to push the T of PushT to a pose: a quasi-static model of pushing, and a search over straight pushes with it.

*Model.*  A T that slides slowly stays where it is left, and friction with the table bounds the forces and moments that
move it by an ellipsoid (Goyal, Ruina and Papadopoulos, Wear 143, 1991), so that up to a factor its twist about its
centre is ``v = f``, ``w = m / a^2``, with ``a`` the largest moment over the largest force.  A contact that sticks moves
the T with it; where that takes a force outside the friction cone, it slides along the cone's edge (Lynch and Mason,
Int. J. Robotics Research 15(6), 1996).  Beside MuJoCo, the T is 3.5 mm off after pushes of 30 mm that move it by 22 mm
(means over 120 places and directions), which is what is left for the next push.

*Search.*  A candidate is a place on the outline, a straight direction and a length.  Of all it is the one with the most
progress per control step, where going round the T to the place counts, too.  The nearer a disc is to its place, the
better that place is for it, so what was chosen once stays the best without being remembered.
"""

from __future__ import annotations

import numpy as np

from workbench.envs.pushing.coverage import coverage, in_frame, in_world, nearest
from workbench.envs.pushing.tee import ARENA_M, CENTRE_M, GYRATION_M, OUTLINE_M, RECTANGLES_M
from workbench.envs.robots.disc import DISC_M
from workbench.envs.stepper import compiled
from workbench.types import Array

FRICTION, WALL_FRICTION = 0.5, 0.1
"""Of the disc and of the walls against the T."""
REACH_M = 0.05
"""The ellipsoid's a, fitted to MuJoCo's T."""
STRIDE_M = 0.005
"""Longest piece of a push that the model takes at once."""
ROUNDS = 6
"""How often disc and walls move the T out of them, in turns."""
OVERLAP_M = 0.0003
"""Overlap that is left alone, so that a T that leans on a wall can be pushed along it."""

TURN_WEIGHT = 3.0
"""What a square of turning counts beside one of moving, in units of the radius of gyration."""
STEPS_PER_M, FOLD_STEPS, FOLD_M = 80.0, 3.0, 0.002
"""What remains from a distance d: ``STEPS_PER_M d + FOLD_STEPS log(1 + d / FOLD_M)`` control steps."""
COVERED_STEPS = 4.0
"""What covering the goal is worth beyond being near."""
COVERED_M = 0.006
"""Distance beyond which the T does not cover the goal enough, so that coverage need not be computed."""

TRAVEL_M, PUSH_M, LEAST_M = 0.025, 0.02, 0.001
"""Way of a free and of a pushing disc in one control step, and the least of a pushing one while that much is left."""
SLOWING = 0.5
"""Part of what is left of a push that is done in one control step, so that the T does not slide on at its end."""
TRAVEL_STEPS, PUSH_STEPS = 1.0, 2.5
"""What setting out and pushing cost beyond the way."""
SPACING_M = 0.012
LENGTHS_M = 1e-3 * np.array(
    [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 26, 31, 36, 42, 48, 55, 63, 72, 82, 93, 105, 120, 135, 150]
)
"""Lengths of push that are compared."""
PATIENCE = 6
"""Lengths in a row that lead further away, after which a push is given up."""
ANGLES_RAD = np.deg2rad([0.0, -12.0, 12.0, -24.0, 24.0])
"""Directions of a push from the inward normal, at a place that is still to be gone to."""
HERE_ANGLES_RAD = np.deg2rad(np.arange(-48.0, 49.0, 4.0))
"""And from where the disc is."""

GAP_M = 0.002
"""How far from the T a disc is put before it pushes."""
NEAR_M = 0.004
"""Gap below which a disc may push from where it is."""
THERE_M = 0.0015
"""Distance from a place at which a disc is at it."""
CLEAR_M = 0.006
"""Gap at which a disc goes round corners."""
GRAZE_M = 0.001
"""Gap below which a way counts as blocked; a disc nearer than half as much again moves away first."""


def _places() -> Array:
    """Places (K, 4) from which a disc can push: its centre at a small gap and the outward normal, in the T's frame."""
    rows = []
    for start, end in zip(OUTLINE_M, np.roll(OUTLINE_M, -1, axis=0), strict=True):
        along = end - start
        length = float(np.hypot(*along))
        normal = np.array([along[1], -along[0]]) / length
        count = round(length / SPACING_M)
        for part in (np.arange(count) + 0.5) / count:
            centre = start + part * along + (DISC_M + GAP_M) * normal
            if nearest(centre[0], centre[1])[0] > DISC_M + GAP_M - 1e-6:  # else the corner with the stem is too near
                rows.append([*centre, *normal])
    return np.array(rows)


PLACES = _places()
ROUNDABOUTS_M = OUTLINE_M[[0, 1, 2, 4, 5, 7]] + (DISC_M + CLEAR_M) * np.array(
    [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]]
)
"""Where a disc goes round the convex corners (6, 2), in the T's frame."""
STRAIGHT, NO_WAY = -1, -2


@compiled
def shove(pose: Array, disc: Array, ux: float, uy: float) -> bool:
    """Move a disc (2,) by (ux, uy), and the T's pose (3,) as far as it is in the way, in place; a few millimetres.

    False if there is no room for that: the disc, the T and the walls would overlap.
    """
    disc[0] += ux
    disc[1] += uy
    for _ in range(ROUNDS):  # the disc may touch stem and bar, and the T two walls
        pushed = _disc_pushes(pose, disc, ux, uy)
        if max(pushed, _wall_pushes(pose)) < OVERLAP_M:
            return True
    return False


@compiled
def _disc_pushes(pose: Array, disc: Array, ux: float, uy: float) -> float:
    """Move the T out of a disc that has come by (ux, uy); returns how much they overlapped."""
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    x, y = in_frame(pose, disc[0], disc[1])
    distance, nx, ny = nearest(x, y)
    depth = DISC_M - distance
    if depth > 0.0:
        # the contact moves inwards by the overlap, and along by its share of the disc's way
        vx, vy = cos * ux + sin * uy, cos * uy - sin * ux
        inward, along = -(vx * nx + vy * ny), vy * nx - vx * ny
        along *= min(1.0, depth / inward) if inward > 1e-9 else 0.0
        _give_way(pose, x - distance * nx, y - distance * ny, nx, ny, depth, along, FRICTION)
    return depth


@compiled
def _wall_pushes(pose: Array) -> float:
    """Move the T's corner that is the furthest behind a wall out of it; returns how far it was."""
    depth, corner, wall = 0.0, 0, 0
    for i in range(len(OUTLINE_M)):
        x, y = in_world(pose, OUTLINE_M[i, 0], OUTLINE_M[i, 1])
        for side, behind in enumerate((-x, x - ARENA_M, -y, y - ARENA_M)):
            if behind > depth:
                depth, corner, wall = behind, i, side
    if depth > 0.0:
        cos, sin = np.cos(pose[2]), np.sin(pose[2])
        sign = -1.0 if wall % 2 == 0 else 1.0
        nx, ny = (sign * cos, -sign * sin) if wall < 2 else (sign * sin, sign * cos)
        _give_way(pose, OUTLINE_M[corner, 0], OUTLINE_M[corner, 1], nx, ny, depth, 0.0, WALL_FRICTION)
    return depth


@compiled
def _give_way(
    pose: Array, x: float, y: float, nx: float, ny: float, depth: float, along: float, friction: float
) -> None:
    """Move a T so that its contact at (x, y) goes by ``depth`` against the outward normal; all in the T's frame.

    ``along`` is how far it would go to the normal's left if nothing slid.
    """
    jx, jy = -(y - CENTRE_M[1]) / REACH_M, (x - CENTRE_M[0]) / REACH_M
    xx, xy, yy = 1.0 + jx * jx, jx * jy, 1.0 + jy * jy  # maps a force at the contact to the motion of the contact
    wanted_x, wanted_y = -depth * nx - along * ny, -depth * ny + along * nx
    determinant = xx * yy - xy * xy
    fx, fy = (yy * wanted_x - xy * wanted_y) / determinant, (xx * wanted_y - xy * wanted_x) / determinant
    normal, tangent = -(fx * nx + fy * ny), fy * nx - fx * ny
    if abs(tangent) > friction * normal:
        side = friction if tangent > 0 else -friction
        fx, fy = -nx - side * ny, -ny + side * nx
        scale = -depth / (nx * (xx * fx + xy * fy) + ny * (xy * fx + yy * fy))
        fx, fy = scale * fx, scale * fy
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    centre_x, centre_y = in_world(pose, CENTRE_M[0], CENTRE_M[1])
    pose[2] += (jx * fx + jy * fy) / REACH_M
    moved_x, moved_y = in_world(pose, CENTRE_M[0], CENTRE_M[1])
    pose[0] += centre_x + cos * fx - sin * fy - moved_x
    pose[1] += centre_y + sin * fx + cos * fy - moved_y


@compiled
def remaining(pose: Array, goal: Array, enough: float) -> float:
    """Estimate of the control steps that remain from a pose (3,); negative where the goal is covered enough."""
    x, y = in_world(pose, CENTRE_M[0], CENTRE_M[1])
    goal_x, goal_y = in_world(goal, CENTRE_M[0], CENTRE_M[1])
    turned = 2.0 * (1.0 - np.cos(pose[2] - goal[2]))
    away = np.sqrt((x - goal_x) ** 2 + (y - goal_y) ** 2 + TURN_WEIGHT * GYRATION_M**2 * turned)
    if away < COVERED_M and coverage(pose, goal) > enough:
        return -COVERED_STEPS
    return float(STEPS_PER_M * away + FOLD_STEPS * np.log(1.0 + away / FOLD_M))


@compiled
def search(pose: Array, disc: Array, goal: Array, enough: float) -> tuple[bool, Array]:
    """The best push of a T at a pose (3,) by a disc at (2,), so that more than ``enough`` of the goal is covered.

    Returns
    -------
    begun : whether the disc is where the push begins.
    way : (3, 2) where to go next, where the push begins and where it ends.  With the goal covered, or with nothing that
        can be done, all three are a place for the disc to keep out of the way.
    """
    now = remaining(pose, goal, enough)
    way = np.empty((3, 2))
    way[:] = disc
    if now < 0.0:
        return False, way
    x, y = in_frame(pose, disc[0], disc[1])
    distance, nx, ny = nearest(x, y)
    gap, best, begun = distance - DISC_M, -np.inf, False
    if gap < NEAR_M:
        best, length, dx, dy = _best_angle(pose, disc, nx, ny, HERE_ANGLES_RAD, 0.0, best, now, goal, enough)
        begun = best > -np.inf
        way[2] = way[0] = disc + length * np.array([dx, dy])
    out = GAP_M - gap if gap < 1.5 * GRAZE_M else 0.0
    x, y = x + out * nx, y + out * ny
    firsts, ways = _ways(pose, x, y)
    at = np.empty(2)
    for p in range(len(PLACES)):
        if firsts[p] == NO_WAY:
            continue
        here = firsts[p] == STRAIGHT and ways[p] + out < THERE_M
        at[0], at[1] = in_world(pose, PLACES[p, 0], PLACES[p, 1])
        if here:
            at[:] = disc
        travel = 0.0 if here else ways[p] / TRAVEL_M + TRAVEL_STEPS + out / GAP_M
        gain, length, dx, dy = _best_angle(
            pose, at, PLACES[p, 2], PLACES[p, 3], ANGLES_RAD, travel, best, now, goal, enough
        )
        if gain > best:
            best, begun = gain, here
            way[1] = at
            way[2] = at + length * np.array([dx, dy])
            if here:
                way[0] = way[2]
            elif out > 0.0:
                way[0, 0], way[0, 1] = in_world(pose, x, y)
            elif firsts[p] == STRAIGHT:
                way[0] = at
            else:
                corner = ROUNDABOUTS_M[firsts[p]]
                way[0, 0], way[0, 1] = in_world(pose, corner[0], corner[1])
    if best == -np.inf:
        away_x, away_y = in_world(pose, x + CLEAR_M * nx, y + CLEAR_M * ny)
        way[:, 0], way[:, 1] = away_x, away_y
    return begun, way


def slowed(disc: Array, end: Array) -> Array:
    """Where (2,) a disc that pushes towards an end (2,) is to be one control step later."""
    ahead = end - disc
    left = np.hypot(*ahead)
    step = min(PUSH_M, max(SLOWING * left, LEAST_M))
    slow: Array = disc + ahead * min(1.0, step / left) if left > 0.0 else disc
    return slow


@compiled
def _best_angle(
    pose: Array,
    disc: Array,
    nx: float,
    ny: float,
    angles_rad: Array,
    travel: float,
    least: float,
    now: float,
    goal: Array,
    enough: float,
) -> tuple[float, float, float, float]:
    """Most progress per control step of the pushes from one place, the push's length, and its direction in the world.

    Only what is above the ``least`` progress is looked for; if nothing is, the length is zero.
    """
    best, best_length, best_x, best_y = least, 0.0, 0.0, 0.0
    for angle in angles_rad:
        turned = pose[2] + angle
        cos, sin = np.cos(turned), np.sin(turned)
        dx, dy = -(cos * nx - sin * ny), -(sin * nx + cos * ny)
        gain, length = _progress(pose, disc, dx, dy, travel, best, now, goal, enough)
        if gain > best:
            best, best_length, best_x, best_y = gain, length, dx, dy
    return best, best_length, best_x, best_y


@compiled
def _progress(
    pose: Array,
    disc: Array,
    dx: float,
    dy: float,
    travel: float,
    least: float,
    now: float,
    goal: Array,
    enough: float,
) -> tuple[float, float]:
    """Most progress per control step of a push along (dx, dy), over its lengths, and that length; above the least."""
    pose, disc = pose.copy(), disc.copy()
    best, best_length, length, last, worse = least, 0.0, 0.0, np.inf, 0
    for k in range(len(LENGTHS_M)):
        if now + COVERED_STEPS <= best * (travel + PUSH_STEPS + LENGTHS_M[k] / PUSH_M):
            break  # covering the goal at once would be no better
        piece = LENGTHS_M[k] - length
        count = int(np.ceil(piece / STRIDE_M))
        room = True
        for _ in range(count):
            room = room and shove(pose, disc, dx * piece / count, dy * piece / count)
        length = LENGTHS_M[k]
        if not (room and _within(disc[0], disc[1])):
            break
        left = remaining(pose, goal, enough)
        gain = (now - left) / (travel + PUSH_STEPS + length / PUSH_M)
        if gain > best:
            best, best_length = gain, length
        worse = worse + 1 if left > last else 0
        if worse == PATIENCE:
            break
        last = left
    return best, best_length


@compiled
def _within(x: float, y: float) -> bool:
    """Whether a disc at a place of the world is clear of the walls."""
    return DISC_M <= x <= ARENA_M - DISC_M and DISC_M <= y <= ARENA_M - DISC_M


@compiled
def _ways(pose: Array, x: float, y: float) -> tuple[Array, Array]:
    """Shortest ways round the T from (x, y) in its frame to every place, within the arena.

    Returns
    -------
    firsts : (K,) the roundabout to go to first, or STRAIGHT, or NO_WAY.
    ways : (K,) lengths in metres.
    """
    n = len(ROUNDABOUTS_M)
    between, start = _roads(pose), np.full(n, np.inf)
    for i in range(n):
        if between[i, i] == 0.0:
            start[i] = _sight(x, y, ROUNDABOUTS_M[i, 0], ROUNDABOUTS_M[i, 1])
    firsts, ways = np.full(len(PLACES), NO_WAY), np.full(len(PLACES), np.inf)
    for p in range(len(PLACES)):
        px, py = PLACES[p, 0], PLACES[p, 1]
        world_x, world_y = in_world(pose, px, py)
        if not _within(world_x, world_y):
            continue
        ways[p] = _sight(x, y, px, py)
        if ways[p] < np.inf:
            firsts[p] = STRAIGHT
            continue
        for j in range(n):
            leg = _sight(ROUNDABOUTS_M[j, 0], ROUNDABOUTS_M[j, 1], px, py)
            for i in range(n):
                if start[i] + between[i, j] + leg < ways[p]:
                    firsts[p], ways[p] = i, start[i] + between[i, j] + leg
    return firsts, ways


@compiled
def _roads(pose: Array) -> Array:
    """Shortest ways (6, 6) between the roundabouts that lie within the arena (Floyd and Warshall, CACM 1962)."""
    n = len(ROUNDABOUTS_M)
    between = np.full((n, n), np.inf)
    for i in range(n):
        world_x, world_y = in_world(pose, ROUNDABOUTS_M[i, 0], ROUNDABOUTS_M[i, 1])
        if not _within(world_x, world_y):
            continue
        between[i, i] = 0.0
        for j in range(i):
            if between[j, j] == 0.0:
                between[i, j] = between[j, i] = _sight(
                    ROUNDABOUTS_M[i, 0], ROUNDABOUTS_M[i, 1], ROUNDABOUTS_M[j, 0], ROUNDABOUTS_M[j, 1]
                )
    for k in range(n):
        for i in range(n):
            for j in range(n):
                between[i, j] = min(between[i, j], between[i, k] + between[k, j])
    return between


@compiled
def _sight(ax: float, ay: float, bx: float, by: float) -> float:
    """Length of the straight way of a disc from a to b in the T's frame; infinite if it grazes the T.

    Clipped against both rectangles, grown by the disc (Liang and Barsky, ACM Trans. Graphics 3(1), 1984).
    """
    dx, dy = bx - ax, by - ay
    for i in range(2):
        low, high = 0.0, 1.0
        for axis in range(2):
            a = (ax if axis == 0 else ay) - RECTANGLES_M[i, axis]
            d = dx if axis == 0 else dy
            half = RECTANGLES_M[i, 2 + axis] + DISC_M + GRAZE_M
            if abs(d) < 1e-12:
                high = high if abs(a) < half else -1.0
            else:
                enters, leaves = (-half - a) / d, (half - a) / d
                low, high = max(low, min(enters, leaves)), min(high, max(enters, leaves))
        if low < high - 1e-9:
            return np.inf
    return float(np.hypot(dx, dy))
