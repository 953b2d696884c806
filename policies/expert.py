"""A scripted expert that follows a task's plan; the source of demonstrations and the reference for recoverability."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.errors import ConfigError, ObservationError
from workbench.policies.learning import planar_expert
from workbench.types import (
    Array,
    Fingers,
    HasGoals,
    HasPlan,
    HasRobot,
    Keyframe,
    Observation,
    PolicyOutput,
    Task,
    ability,
)
from workbench.types.rotations import angle_of, rotation_matrix, rotation_vector

ACTION_SIZE = 7
GAIN = 1.5
"""Part of the remaining way that one action asks for; above one, since the controller lags behind what it is asked."""
ALIGNED_RAD = 0.2
"""Angle to a keyframe's rotation below which the gripper counts as aligned."""
HELD_TOLERANCE = 2.5
"""How many times the tolerance of its grasp an object may have moved in closed fingers and still counts as held."""


class Expert:
    """Moves the grip site to the keyframe that the state calls for; memoryless, so that it recovers from any state.

    Keyframes are recomputed at every control step from where things are now, so those that belong to an object move
    with it.  Walking back from the last keyframe, the target is the first one whose *way* the gripper is on: the
    straight line from the keyframe before it, within that one's tolerance, with the rotation of that one, and the
    fingers as that one wants them.  While the fingers stay closed, the object is in them only if the gripper is still
    at the keyframe at which they closed.  Off every way, it starts over at the first keyframe.  The one observation
    before the present one only tells whether the fingers have stopped.

    The action space is the operational-space one of size 7: translation and rotation vector in the world frame, as far
    as the task's robot goes for an action of one, then the gripper (-1 opens, 1 closes).  A disc in the plane, whose
    action space is of size 2, is driven by :mod:`workbench.policies.learning.planar_expert` instead.

    Parameters
    ----------
    task : gives the plan and the robot; its observations hold ``eef_pos`` (3,) in metres, ``eef_quat`` (4,) as
        (x, y, z, w), both of the grip site in the world frame, and ``gripper_qpos`` (2,) in metres; a disc's hold
        ``pusher_pos`` (2,).
    listens : whether it pursues the goal that it is told, and holds still while it is told none that it understands.

    Raises
    ------
    ConfigError
        If the task has no plan or no robot, or its actions are of another size.
    """

    history: int = 2
    horizon: int = 1
    execute: int = 1
    cameras: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()

    def __init__(self, task: Task, privileged: bool = True, listens: bool = False) -> None:
        self.task, self._planned = task, ability(task, HasPlan, "the scripted expert")
        robot = ability(task, HasRobot, "the scripted expert").robot
        self._planar = task.action_size == planar_expert.ACTION_SIZE
        if not self._planar and (task.action_size != ACTION_SIZE or robot.arm is None or robot.fingers is None):
            raise ConfigError(
                f"the expert cannot drive task {task.name} by actions of size {task.action_size}: it moves a gripper "
                f"by {ACTION_SIZE} numbers (task.controller=osc_pose) or a disc by {planar_expert.ACTION_SIZE}"
            )
        self.robot = robot
        self._goals = task if isinstance(task, HasGoals) else None
        self.privileged = privileged
        self.listens = listens

    def plan(
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        instructions: Sequence[str] | None = None,
    ) -> PolicyOutput:
        """One action (N, 1, A) for each scene; it draws nothing, so there are no samples.

        Parameters
        ----------
        instructions : N, what it is told, if it listens.
        """
        for key, values in observation.items():
            broken = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
            if len(broken):
                raise ObservationError(f"observation {key!r} of scene {broken[0]} holds NaN or infinity")
        scenes = [{key: values[scene] for key, values in observation.items()} for scene in range(len(noise))]
        if instructions is None:
            actions = [self.action(scene) for scene in scenes]
        else:
            actions = [self.obey(scene, told) for scene, told in zip(scenes, instructions, strict=True)]
        return PolicyOutput(np.stack(actions)[:, None])

    def obey(self, observation: Observation, instruction: str) -> Array:
        """Action (A,) towards the goal that an instruction means; zeros, which move nothing, if it means none.

        Of a task without goals, its own instruction alone means what its plan leads to.
        """
        if self._goals is None:
            return self.action(observation) if instruction == self.task.instruction else self._held_still()
        goal = self._goals.ground(instruction)
        return self._held_still() if goal is None else self.action(self._goals.as_if(goal, observation))

    def _held_still(self) -> Array:
        return np.zeros(self.task.action_size)

    def action(self, observation: Observation) -> Array:
        """Action (A,) for the true observations (2, size) of one scene."""
        now = {key: values[-1] for key, values in observation.items()}
        if self._planar:
            return planar_expert.follow(self._planned.plan(now), now, self.robot.action_m)
        arm, hand = self.robot.arm, self._hand(observation)
        assert arm is not None
        target, way = aim(self._planned.plan(now), hand)
        move = np.clip(GAIN * (way - hand.position_m) / self.robot.action_m, -1, 1)
        turn = np.clip(GAIN * rotation_vector(target.rotation @ hand.rotation.T) / arm.action_rad, -1, 1)
        return np.concatenate([move, turn, [1.0 if target.closed else -1.0]])

    def next_place_m(self, observation: Observation) -> Array:
        """Where the hand has to be next (3,) for the keyframe that observations (2, size) of one scene call for."""
        keyframes = self._planned.plan({key: values[-1] for key, values in observation.items()})
        return keyframes[0].position_m if self._planar else aim(keyframes, self._hand(observation))[1]

    def _hand(self, observation: Observation) -> Hand:
        """The hand, from observations (2, size)."""
        fingers = self.robot.fingers
        assert fingers is not None
        now = {key: observation[key][-1] for key in ("eef_pos", "eef_quat")}
        return Hand.of(now, observation["gripper_qpos"], fingers)

    def save(self, folder: Path) -> None:
        """Write what it follows; there are no weights."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "policy.json").write_text(json.dumps({"expert": self.task.name}), encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class Hand:
    """What the expert goes by.

    Attributes
    ----------
    position_m, rotation : (3,) and (3, 3), grip site in the world frame.
    opened, closed : whether the fingers are open; whether they have stopped before they were, or are shut: they are
        closed on something then, however wide it is.
    """

    position_m: Array
    rotation: Array
    opened: bool
    closed: bool

    @classmethod
    def of(cls, observation: Observation, fingers_m: Array, fingers: Fingers) -> Hand:
        """Hand from the present observation and the finger joints (2, 2) of two control steps."""
        before_m, width_m = np.ptp(fingers_m, axis=1)
        opened = bool(width_m > fingers.opened_m)
        stopped = abs(width_m - before_m) < fingers.still_m or width_m < fingers.shut_m
        quaternion = observation["eef_quat"]
        rotation = rotation_matrix(quaternion / np.linalg.norm(quaternion))
        return cls(observation["eef_pos"], rotation, opened, bool(stopped and not opened))


def aim(keyframes: Sequence[Keyframe], hand: Hand) -> tuple[Keyframe, Array]:
    """The keyframe to go to, and the place (3,) to go to on the way."""
    target = keyframes[choose(keyframes, hand)]
    return target, via(keyframes[0], hand.position_m) if target is keyframes[0] else target.position_m


def choose(keyframes: Sequence[Keyframe], hand: Hand) -> int:
    """Index of the keyframe to go to."""
    for index in range(len(keyframes) - 1, 0, -1):
        if on_way(keyframes, index, hand):
            return index
    return 0


def on_way(keyframes: Sequence[Keyframe], index: int, hand: Hand) -> bool:
    """Whether the gripper is on the way to a keyframe from the one before it."""
    before, target = keyframes[index - 1], keyframes[index]
    if angle_of(before.rotation @ hand.rotation.T) > ALIGNED_RAD:
        return False
    aside_m = distance_to_line(hand.position_m, before.position_m, target.position_m)
    if before.closed:
        grasp = keyframes[first_closed(keyframes, index - 1)]
        moved_m = float(np.linalg.norm(hand.position_m - grasp.position_m))
        held = hand.closed and moved_m <= HELD_TOLERANCE * grasp.tolerance_m
        return held and aside_m <= HELD_TOLERANCE * before.tolerance_m
    if target.closed and not hand.opened:  # closing has begun: it is not given up for a small deviation
        return aside_m <= HELD_TOLERANCE * before.tolerance_m
    return aside_m <= before.tolerance_m and (target.closed or hand.opened)


def first_closed(keyframes: Sequence[Keyframe], index: int) -> int:
    """Index of the keyframe at which the fingers closed that are closed at ``index``."""
    while index > 0 and keyframes[index - 1].closed:
        index -= 1
    return index


def via(first: Keyframe, position: Array) -> Array:
    """Where to go in order to reach the first keyframe: up before across, so as to push nothing on the way."""
    if position[2] >= first.position_m[2] - first.tolerance_m:
        return first.position_m
    return np.array([position[0], position[1], first.position_m[2]])


def distance_to_line(point: Array, start: Array, end: Array) -> float:
    """Distance of a point (3,) from the straight line between two others, which may coincide."""
    along = end - start
    length = float(along @ along)
    part = min(max(float((point - start) @ along) / length, 0.0), 1.0) if length > 0 else 0.0
    return float(np.linalg.norm(point - start - part * along))
