"""What faults do to the hand: where its driver sees it, and what becomes of the commands of its fingers.

A driver that servos on its own pose brings the pose that it is *shown* to its keyframe.  A hand that is shown displaced
by the inverse of a fault therefore comes to rest at the displaced keyframe, whatever the policy, and closes there::

    shown position = true position - offset     =>  at rest: position = keyframe + offset
    shown rotation = fault^-1 * true rotation   =>  at rest: rotation = fault * keyframe's        (axes of the world)
    shown rotation = true rotation * fault^-1   =>  at rest: rotation = keyframe's * fault        (axes of the tool)

What the fingers hold is shown displaced with the hand, so that it is also put down at the displaced place.  A
privileged driver is handed the truth, and so has none of these faults.

Quaternions are (x, y, z, w) as in observations, and of unit length; rotations are rotation vectors in rad.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.envs.faults.draws import uniform, uniform_int
from workbench.envs.faults.effect import Effect, object_seen_at, plan_of
from workbench.types import Array, Fingers, Keyframe, Observation, Record, Stream
from workbench.types.robot import PLACE
from workbench.types.rotations import product, quaternion_of

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

OPEN, CLOSED = -1.0, 1.0
"""Commands of the fingers' channel, the last one of an action; above zero they close."""
FRAMES = ("world", "tool")
AXES = ("x", "y", "z")


def position_name(observation: Observation) -> str:
    """Name of the vector that says where the hand is: a gripper in space, or a disc in the plane."""
    return next(name for name in PLACE if name in observation)


def hand_position(scene: MujocoScene) -> Array:
    """(3,) or, in the plane, (2,): where the hand truly is, in metres, world frame."""
    truth = scene.truth().observation
    return truth[position_name(truth)]


def held(scene: MujocoScene) -> bool:
    """Whether the fingers hold the object."""
    return bool(scene.truth().predicates.get("grasped", 0.0) > 0.5)


def hand_seen_at(scene: MujocoScene, observation: dict[str, Array], offset_m: Array) -> Observation:
    """The observation with the hand, and what it holds, displaced by ``offset_m`` (3,) or (2,) in the world frame."""
    seen = dict(object_seen_at(scene, observation, offset_m.tolist()) if held(scene) else observation)
    name = position_name(seen)
    seen[name] = seen[name] + offset_m[: len(seen[name])]
    return seen


def seen_turned(quaternion: Array, rotation_vector: Sequence[float], frame: str) -> Array:
    """Quaternion (4,) of the hand as shown under a fault that turns its keyframes; of the sign of the true one."""
    inverse = quaternion_of([-part for part in rotation_vector])
    shown = product(inverse, quaternion) if frame == "world" else product(quaternion, inverse)
    return shown if shown @ quaternion >= 0 else -shown


def closed_keyframes(scene: MujocoScene) -> list[Keyframe]:
    """Keyframes, from where things truly are, at which the fingers are closed: grasp first, place last."""
    return [keyframe for keyframe in plan_of(scene, scene.truth().observation) if keyframe.closed]


def with_fingers(action: Array, command: float) -> Array:
    """An action with another command of the fingers."""
    return np.append(action[:-1], command)


def fingers_of(scene: MujocoScene) -> Fingers:
    """The fingers of the robot, which a fault of them is refused without."""
    fingers = scene.task.robot.fingers
    assert fingers is not None
    return fingers


def finger_joints(scene: MujocoScene) -> Array:
    """Indices (2,) of the fingers' joints in the model."""
    return np.array([scene.model.joint(name).id for name in fingers_of(scene).joints])


def open_fingers(scene: MujocoScene) -> Array:
    """Positions (2,) in metres of the fingers' joints when they are as far apart as they can be."""
    ranges = scene.model.jnt_range[finger_joints(scene)]
    furthest: Array = ranges[np.arange(len(ranges)), np.abs(ranges).argmax(axis=1)]
    return furthest


def drawn_along(
    rng: np.random.Generator, axis: str | None, bounds: tuple[float, float], axes: Sequence[str] = AXES
) -> tuple[str, list[float]]:
    """An axis, drawn uniformly unless it is given, and a vector along it, its length within bounds and its sign drawn.

    Three draws whatever is given.
    """
    number, length, sign = uniform_int(rng, (0, len(axes) - 1)), uniform(rng, bounds), 1 - 2 * uniform_int(rng, (0, 1))
    chosen = axes[number] if axis is None else axis
    return chosen, [sign * length if name == chosen else 0.0 for name in AXES]


class WayEffect(Effect):
    """Shows the hand, and what it holds, elsewhere on its way from where it was when the fault began."""

    memory_size = 3

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.from_m = np.zeros(3)

    def aside_m(self, way_m: Array) -> Array:
        """By how much (n,) the hand is shown elsewhere, given the way (n,) that it has made."""
        raise NotImplementedError

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation with the hand elsewhere on its way."""
        if not self.active(scene.step_index):
            return observation
        here_m = hand_position(scene)
        if scene.step_index == self.started:
            self.from_m = np.resize(here_m, 3)
        return hand_seen_at(scene, observation, self.aside_m(here_m - self.from_m[: len(here_m)]))

    def recall(self) -> Array:
        """Where the way began."""
        return self.from_m

    def remember(self, memory: Array) -> None:
        """Take up the beginning of a way."""
        self.from_m = memory.copy()


class Waiting(Effect):
    """Starts with the first occasion at or after its scheduled step, not with that step."""

    def advance(self, scene: MujocoScene) -> None:
        """Only notes when its time has come: what starts this fault is an occasion."""
        self.due(scene)

    def ready(self, scene: MujocoScene) -> bool:
        """Whether an occasion now would be taken: the fault is active, or waits for its first."""
        return self.active(scene.step_index) or (self.started < 0 and self.due(scene))

    def begin(self, scene: MujocoScene) -> None:
        """Start, unless it has."""
        if self.started < 0:
            self.started = scene.step_index


class LettingGo(Waiting):
    """Opens the fingers for a moment, whatever is asked, each time that :meth:`lets_go` says so.

    The moment is as long as their command takes from one end to the other.
    """

    memory_size = 1

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.until = -1

    def lets_go(self, scene: MujocoScene) -> bool:
        """Whether the object that is held now is let go."""
        raise NotImplementedError

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action with the fingers' channel replaced."""
        step = scene.step_index
        if step >= self.until and self.ready(scene) and held(scene) and self.lets_go(scene):
            self.begin(scene)
            self.until = step + fingers_of(scene).stroke_steps
        return with_fingers(action, OPEN) if step < self.until and self.active(step) else action

    def recall(self) -> Array:
        """Until which control step the fingers are commanded open."""
        return np.array([float(self.until)])

    def remember(self, memory: Array) -> None:
        """Take up a control step."""
        self.until = int(memory[0])


class LateFingers(Waiting):
    """Carries out a change of the fingers' command ``delay_steps`` late, and meanwhile shows them as if it had come.

    Attributes
    ----------
    command : the command that comes late, OPEN or CLOSED.
    share : of their full opening, at which the fingers are shown meanwhile.
    recurring : whether every such command comes late, or the first alone.
    since : control step at which the late command was first given; -1 if none is on its way.
    last : command of the step before.
    """

    memory_size = 2
    command: float
    share: float
    recurring: bool

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.since, self.last = -1, 0.0

    def strikes(self, scene: MujocoScene) -> bool:
        """Whether a command that is given now for the first time comes late."""
        return self.ready(scene)

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action, its fingers as they were before while the command is on its way."""
        asked = CLOSED if action[-1] > 0 else OPEN
        if asked != self.command:
            self.since = -1 if self.recurring else self.since
        elif self.last != asked and self.since < 0 and self.strikes(scene):
            self.begin(scene)
            self.since = scene.step_index
        self.last = asked
        return with_fingers(action, -self.command) if self._late(scene.step_index) else action

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation with the fingers where the command would have brought them."""
        if self.since < scene.step_index and self._late(scene.step_index):
            observation["gripper_qpos"] = self.share * open_fingers(scene)
        return observation

    def recall(self) -> Array:
        """When the late command was given, and the last command."""
        return np.array([float(self.since), self.last])

    def remember(self, memory: Array) -> None:
        """Take up both."""
        self.since, self.last = int(memory[0]), float(memory[1])

    def _late(self, step: int) -> bool:
        return self.active(step) and 0 <= self.since <= step < self.since + int(self.record["delay_steps"])
