"""Failure modes: what is seen to go wrong at each control step, read from predicates, whatever was injected.

The words are the field's: most are AHA's (Duan et al., ICLR 2025) or RoboFAC's (Lu et al., 2025), jam and overshoot
those of assembly and control.  No source defines them to the step, so the definitions here are our own; each stands at
the function that reads it.  Predicates are read by the *roles* that a task declares (:data:`workbench.types.ROLES`), so
no mode knows a task; a mode whose roles a task lacks is never seen on it.

Everything is causal: what stands at row t depends on rows 0 .. t, but for ``timeout`` and ``diverged``, which only the
end of an episode can show and which are set at its last row alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np

from workbench.types import MODES, Array, Fingers, Task
from workbench.types.abilities import commands_pose, fingers_of

STOPPED_S = 0.15
"""How long the fingers must have been told to close: long enough that they have begun to move."""
SECURE_S = 0.15
"""How long both pads must touch an object until it counts as held: a brush is no grasp."""
SLIDE_M, SLIDE_S = 0.006, 0.25
"""An object that moves so far in closed fingers, in so long, slips; pads give by less than 0.003 m."""
LIFTED_M = 0.02
"""Height above the lowest place so far from which an object counts as lifted."""
FALL_M_S = 0.05
"""Downward speed above which an object falls: after 5 ms of free fall."""
OVER_TARGET_M = 0.03
"""Horizontal distance from its target within which an object that falls does not fall away from it."""
AWAY_M = 0.1
"""Horizontal distance from its target beyond which nobody means to let an object go in mid-air ..."""
SET_DOWN_M = 0.05
"""... that is, higher than this above the lowest place so far; lower, it is set down."""
STILL_M_S = 0.02
"""Speed below which something does not move: contacts, and the controller's creep at its goal, give less."""
RESTING_S = 0.25
"""How long an object must not move until it rests."""
COMMANDED = 0.2
"""Part of an action's range from which it commands motion."""
JAM_S = 0.5
"""How long motion must be commanded in vain; a hand that starts moving needs 0.1 s."""
STALL_S, STALL_M = 1.0, 0.003
"""How long nothing must move and by how much at most it creeps meanwhile; fingers close or open in 0.5 s."""
BEYOND_M = 0.03
"""How far past its goal counts as overshot: the distance at which a hand has reached its object in every task."""
KNOCKED_M = 0.02
"""How far an object may be pushed while the fingers close on it."""
TOPPLED = 0.3
"""Change of the vertical part of an object's own axis that is a topple: more than 45 degrees from upright."""
LOST_M = 0.1
"""How far below where it was at the start an object is off its table or bin."""

Read = dict[str, Array]


def modes_of(steps: Mapping[str, Array], task: Task, diverged: bool = False) -> Array:
    """Which failure modes are seen at each control step.

    Parameters
    ----------
    steps : of an episode, from its first step on: ``action`` (T, A) as asked and ``predicates/<name>`` (T,).
    task : whose ``roles``, ``control_hz`` and ``deadline`` are read, and where it has a robot, whether it commands a
        pose and the numbers of its fingers; without fingers, no mode of a grasp is seen.
    diverged : whether the physics diverged in the last step.

    Returns
    -------
    (T,) uint16, bit i for ``MODES[i]``.
    """
    length = len(steps["action"])
    seen = dict.fromkeys(MODES, np.zeros(length, dtype=bool))
    if length:
        read = {role: np.asarray(steps[f"predicates/{name}"], np.float64) for role, name in task.roles.items()}
        clock = _Clock(task.control_hz)
        action = np.asarray(steps["action"], np.float64)
        fingers = fingers_of(task)
        seen |= _of_motion(read, action[:, :3] if commands_pose(task) else action, fingers, clock)
        if "held" in read and fingers is not None:
            seen |= _of_grasp(read, action[:, -1] > 0, fingers, clock)
            seen["knocked"] = _knocked(read)
        ran_out = length >= task.deadline and not read["success"].any() and not any(map(np.any, seen.values()))
        seen["timeout"] = _last(length, ran_out and not diverged)
        seen["diverged"] = _last(length, diverged)
    bits = np.zeros(length, dtype=np.uint16)
    for number, name in enumerate(MODES):
        bits |= seen[name].astype(np.uint16) << np.uint16(number)
    return bits


def beginnings(modes: Array) -> list[tuple[str, int]]:
    """Every beginning of a mode in (T,) uint16 as (mode, control step), in order; of one step in the order of MODES."""
    starts = modes & ~np.concatenate([np.zeros(1, np.uint16), modes[:-1]])
    return [(MODES[bit], int(step)) for step in np.flatnonzero(starts) for bit in _bits(int(starts[step]))]


def as_json(modes: Array) -> str:
    """The episode column ``modes``: JSON list of ``{"mode", "step"}`` in order of beginning."""
    return json.dumps([{"mode": mode, "step": step} for mode, step in beginnings(modes)])


def failure_mode(modes: Array) -> str:
    """The one mode by which a failed episode is called, from its (T,) uint16.

    Look at the last step at which anything is seen, which is the last of the episode unless all was mended by then: of
    the modes that stand there it is the one that has stood longest, for what came on top of it is its consequence.  Of
    several that began at once it is the first of ``MODES``.  An episode without any is called ``timeout``, and one that
    diverged ``diverged`` whatever else was seen.
    """
    seen = np.flatnonzero(modes)
    if not len(seen):
        return "timeout"
    standing = {MODES[bit] for bit in _bits(int(modes[seen[-1]]))}
    if "diverged" in standing:
        return "diverged"
    latest = {mode: step for mode, step in beginnings(modes) if mode in standing}
    return min(latest, key=lambda mode: (latest[mode], MODES.index(mode)))


class _Clock:
    """Seconds as control steps."""

    def __init__(self, control_hz: float) -> None:
        self.hz = control_hz

    def steps(self, seconds: float) -> int:
        return max(math.ceil(seconds * self.hz - 1e-9), 1)


def _of_grasp(read: Read, closing: Array, fingers: Fingers, clock: _Clock) -> Read:
    """Modes of a hand with fingers; ``closing`` (T,): they are told to close."""
    held = read["held"] > 0
    secure = lasting(held, clock.steps(SECURE_S))
    lost = ~held & ~_before(held) & _before(_before(secure))  # the edge of a pad may lose touch for one step
    measured = "hand_object_distance" in read
    seen = {"missed grasp": _missed(read, closing, held, fingers, clock) if measured else np.zeros_like(held)}
    seen["drop"] = _dropped(read, closing, held, lost, clock)
    slides = _slides(read, held, clock) if measured else np.zeros_like(held)
    slipped = lost & _before(closing)
    seen["slip"] = latched(slipped, held | ~closing | _before(seen["drop"])) | slipped | slides
    seen["misplacement"] = _misplaced(read, closing, held, lost, clock) & ~seen["drop"]
    if "other_held" in read:
        seen["wrong object"] = lasting(read["other_held"] > 0, clock.steps(SECURE_S))
    return seen


def _missed(read: Read, closing: Array, held: Array, fingers: Fingers, clock: _Clock) -> Array:
    """Missed grasp: told to close, the fingers have stopped near the object and not both of them touch it.

    It stands until they are told to open or hold the object.  An object that these closed fingers held is no missed
    grasp but a slip.
    """
    still = lasting(np.abs(_change(read["finger_gap"])) < fingers.still_m, 2)
    stopped = lasting(closing, clock.steps(STOPPED_S) + 1) & still
    near = read["hand_object_distance"] < fingers.near_m
    begins = stopped & near & ~held & ~latched(held, ~closing)
    return latched(begins, held | ~closing)


def _slides(read: Read, held: Array, clock: _Clock) -> Array:
    """Slip, one half: the object moves in the fingers; the other half is that a held one is lost while they close."""
    index, distance = np.arange(len(held)), read["hand_object_distance"]
    taken = _latest(held & ~_before(held)) + 1  # in the first step, the pads still set the object straight
    since = np.minimum(np.maximum(index - clock.steps(SLIDE_S), taken), index)
    slides: Array = held & (np.abs(distance - distance[since]) > SLIDE_M)
    return slides


def _dropped(read: Read, closing: Array, held: Array, lost: Array, clock: _Clock) -> Array:
    """Drop: an object that was held and lifted is no longer held and falls, away from its target.

    Away is everywhere but over the target if the fingers were still told to close.  If they were told to open, it is
    further than ``AWAY_M`` from it and in mid-air: what is set down on purpose, or let go near its target, is no drop
    but a misplacement.  It stands until the object is held again or at its target.
    """
    if "height" not in read:
        return np.zeros_like(held)
    falls = ~held & (_change(read["height"]) < -FALL_M_S / clock.hz)
    carried = _carried(read, held)
    distance = read.get("target_distance", np.full(len(held), np.inf))
    unmeant = latched(lost & _before(closing), held) & (distance > OVER_TARGET_M)
    aloft = read["height"] - np.minimum.accumulate(read["height"]) > SET_DOWN_M
    in_air = latched(~held & _before(held & aloft), held) & (distance > AWAY_M)
    arrived = _at_target(read)
    return latched(falls & carried & (unmeant | in_air) & ~arrived, held | arrived)


def _misplaced(read: Read, closing: Array, held: Array, lost: Array, clock: _Clock) -> Array:
    """Misplacement: a lifted object was let go by fingers told to open, and rests off its target."""
    if "at_target" not in read or "height" not in read:
        return np.zeros_like(held)
    let_go = latched(lost & ~_before(closing), held) & _carried(read, held)
    resting = lasting(_step_m(read, "object") < STILL_M_S / clock.hz, clock.steps(RESTING_S))
    return let_go & resting & ~held & ~_at_target(read)


def _carried(read: Read, held: Array) -> Array:
    """Whether the object has been lifted since the fingers took hold of it last."""
    height = read["height"]
    lifted = height - np.minimum.accumulate(height) > LIFTED_M
    return latched(held & lifted, held & ~_before(held))


def _knocked(read: Read) -> Array:
    """Knocked: the object was moved along its support or toppled without ever having been held, by whatever."""
    if "object_x" not in read or "object_up" not in read:
        return np.zeros(len(read["held"]), dtype=bool)
    moved = np.hypot(read["object_x"] - read["object_x"][0], read["object_y"] - read["object_y"][0]) > KNOCKED_M
    toppled = np.abs(np.abs(read["object_up"]) - np.abs(read["object_up"][0])) > TOPPLED
    ever_held = np.maximum.accumulate(read["held"]) > 0
    knocked: Array = (moved | toppled) & ~ever_held
    return knocked


def _of_motion(read: Read, command: Array, fingers: Fingers | None, clock: _Clock) -> Read:
    """Modes of any robot; ``command`` (T, n) is the part of its actions that asks the hand to move, 1 the most.

    Collision: as the task's predicate says.  Jam: motion is commanded, the hand does not move, and it or what it holds
    touches something.  Stall: nothing moves, neither hand nor fingers nor object, and it is no jam and no success.
    Out of reach: the object is below where its support carries it.
    """
    length = len(command)
    hand, thing = _step_m(read, "hand"), _step_m(read, "object")
    still = hand < STILL_M_S / clock.hz
    pushes = np.abs(command).max(axis=1) >= COMMANDED
    seen: Read = {}
    if "collision" in read:
        seen["collision"] = read["collision"] > 0
    if "hand_x" in read:
        held_up = still & pushes & (read["obstructed"] > 0)
        seen["jam"] = lasting(held_up, clock.steps(JAM_S))
        nothing = still & (thing < STILL_M_S / clock.hz)
        if fingers is not None:
            nothing &= np.abs(_change(_of(read, "finger_gap", length))) < fingers.still_m
        window = clock.steps(STALL_S)
        crept = np.maximum(_step_m(read, "hand", window), _step_m(read, "object", window))
        unfinished = np.maximum.accumulate(read["success"]) == 0
        seen["stall"] = lasting(nothing & ~held_up, window) & (crept < STALL_M) & unfinished
        seen["overshoot"] = _overshot(read)
    if "height" in read:
        seen["out of reach"] = read["height"] < read["height"][0] - LOST_M
    return seen


def _overshot(read: Read) -> Array:
    """Overshoot: past its goal by more than ``BEYOND_M`` and nearer to it than it set out from; all horizontal.

    The hand's goal is the object until that was held once, past it along the line from where the hand set out.  The
    held object's is its target: past it is further from where it was taken up than the target was.
    """
    found = np.zeros(len(read["hand_x"]), dtype=bool)
    if "held" not in read:
        return found
    hand = np.stack([read["hand_x"], read["hand_y"]], axis=1)
    thing = np.stack([read["object_x"], read["object_y"]], axis=1)
    grip = np.stack([read.get("grip_x", read["object_x"]), read.get("grip_y", read["object_y"])], axis=1)
    held, way, past = read["held"] > 0, grip - hand[0], hand - grip
    length = np.maximum(np.hypot(*way.T), 1e-9)
    beyond = (way * past).sum(axis=1) / length > BEYOND_M
    found |= beyond & (np.hypot(*past.T) < length) & ~np.maximum.accumulate(held)
    if "target_distance" in read:
        distance, taken = read["target_distance"], _latest(held & ~_before(held))
        gone = np.hypot(*(thing - thing[taken]).T)
        found |= held & (gone > distance[taken] + BEYOND_M) & (distance < distance[taken])
    return found


def lasting(holds: Array, rows: int) -> Array:
    """(T,) whether a condition (T,) has held at this row and at the rows before it, ``rows`` in all."""
    index = np.arange(len(holds))
    return index - np.maximum.accumulate(np.where(holds, -1, index)) >= rows


def latched(begins: Array, ends: Array) -> Array:
    """(T,) from every row where ``begins`` up to, not including, the next where ``ends``; who ends, does not begin."""
    index = np.arange(len(begins))
    began = np.maximum.accumulate(np.where(begins & ~ends, index, -1))
    ended = np.maximum.accumulate(np.where(ends, index, -1))
    stands: Array = began > ended
    return stands


def _latest(happens: Array) -> Array:
    """(T,) index of the latest row, so far, at which something happens; 0 before the first."""
    latest: Array = np.maximum.accumulate(np.where(happens, np.arange(len(happens)), 0))
    return latest


def _before(holds: Array) -> Array:
    """(T,) the same, one row later."""
    return np.concatenate([[False], holds[:-1]])


def _change(values: Array, rows: int = 1) -> Array:
    """(T,) change over the last rows; since the first, where there are fewer."""
    earlier = np.maximum(np.arange(len(values)) - rows, 0)
    change: Array = values - values[earlier]
    return change


def _of(read: Read, role: str, length: int) -> Array:
    return read.get(role, np.zeros(length))


def _step_m(read: Read, what: str, rows: int = 1) -> Array:
    """(T,) how far in metres ``hand`` or ``object`` came in the last control steps, in as many axes as are known."""
    length = len(next(iter(read.values())))
    upward = "height" if what == "object" else "hand_z"
    changes = [_change(_of(read, role, length), rows) for role in (f"{what}_x", f"{what}_y", upward)]
    way: Array = np.sqrt(sum(change * change for change in changes))
    return way


def _at_target(read: Read) -> Array:
    length = len(read["held"])
    return _of(read, "at_target", length) > 0


def _last(length: int, holds: bool) -> Array:
    """(T,) false but for the last row."""
    rows = np.zeros(length, dtype=bool)
    rows[-1] = holds
    return rows


def _bits(value: int) -> list[int]:
    return [bit for bit in range(len(MODES)) if value >> bit & 1]
