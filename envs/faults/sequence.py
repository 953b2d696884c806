"""Faults of sequence: for a while the arm follows a plan whose stages are not in their order.

Such a fault takes the task's plan from the scene as it truly is when it starts, and from that the keyframes to go
through.  Then it drives the arm to one after another, without looking at the scene again, as a robot does that
believes that every step went well.  Fingers change only where the plan's stages change them, once the arm is there, and
only in the stages that are gone through: without the stage that closes them, they stay open for all that follows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect, plan_of
from workbench.envs.faults.hand import fingers_of
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Array, Keyframe, Observation, Record, Stream, Task
from workbench.types.abilities import stages_of
from workbench.types.reading import NAME, SIZES, among, many, typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

GAIN = 1.5
"""Part of the remaining way that one action asks for, as the scripted expert's."""
ALIGNED_RAD = 0.2
"""Angle to a keyframe's rotation below which the gripper counts as aligned."""
WAYPOINT_STEPS = 25
"""Control steps after which a waypoint is given up that has not been reached."""
FINGERS_STEPS = 2
"""Control steps that fingers are given to begin to move, before they can count as stopped."""


@dataclasses.dataclass(frozen=True)
class Waypoint:
    """One thing to do on the way: go to a keyframe (``fingers`` 0), or open (-1) or close (1) the fingers there."""

    keyframe: Keyframe
    fingers: float


def waypoints(keyframes: Sequence[Keyframe]) -> list[Waypoint]:
    """What a plan does, in its order: the fingers move only where they change, after the arm has come there."""
    found = []
    for before, keyframe in zip([None, *keyframes], keyframes, strict=False):
        found.append(Waypoint(keyframe, 0.0))
        if before is None or before.closed != keyframe.closed:
            found.append(Waypoint(keyframe, 1.0 if keyframe.closed else -1.0))
    return found


class DetourEffect(Effect):
    """Drives the arm through the stages that the record lists in ``route``, in that order, and waits at the end.

    It remembers the state from which its keyframes follow, and how far it has come.
    """

    of_planning = True
    over_again: ClassVar[bool] = False
    """Whether it begins anew at the end, instead of waiting."""

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.seen = {name: np.zeros(size) for name, size in record["observation_sizes"].items()}
        self.memory_size = 4 + sum(record["observation_sizes"].values())
        self.place = self.spent_steps = 0
        self.fingers = self.width_m = 0.0
        """What the fingers are told, and the distance between them one control step before."""

    def advance(self, scene: MujocoScene) -> None:
        """Until it starts, keep the last state from which the plan has all the stages: some are dropped once done."""
        if self.started < 0:
            truth = scene.truth().observation
            if {keyframe.stage for keyframe in plan_of(scene, truth)}.issuperset(self.record["route"]):
                self.seen = {name: np.array(truth[name], np.float64) for name in self.seen}
        super().advance(scene)

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """While active, what leads to the present waypoint."""
        if not self.active(scene.step_index):
            self.fingers = float(np.sign(action[-1]))
            return action
        plan = waypoints(plan_of(scene, self.seen))
        route = [waypoint for stage in self.record["route"] for waypoint in plan if waypoint.keyframe.stage == stage]
        return self._drive(scene, route)

    def _drive(self, scene: MujocoScene, route: Sequence[Waypoint]) -> Array:
        """One action (7,); first on to the next waypoint, if this one is reached or takes too long."""
        observation, robot = scene.truth().observation, scene.task.robot
        width_m = float(np.ptp(observation["gripper_qpos"]))
        still = abs(width_m - self.width_m) < fingers_of(scene).still_m
        stopped = self.spent_steps >= FINGERS_STEPS and still
        here = route[self.place]
        reached = stopped if here.fingers else near(here.keyframe, observation)
        if reached or self.spent_steps >= WAYPOINT_STEPS:
            last = len(route) - 1
            self.place = 0 if self.place == last and self.over_again else min(self.place + 1, last)
            self.spent_steps = 0
        self.spent_steps += 1
        self.width_m = width_m
        self.fingers = route[self.place].fingers or self.fingers
        move, turn = way(route[self.place].keyframe, observation)
        assert robot.arm is not None
        reach = (np.clip(GAIN * move / robot.action_m, -1, 1), np.clip(GAIN * turn / robot.arm.action_rad, -1, 1))
        return np.concatenate([*reach, [self.fingers]])

    def recall(self) -> Array:
        """How far it has come, and the state from which its keyframes follow."""
        return np.concatenate([[self.place, self.spent_steps, self.fingers, self.width_m], *self.seen.values()])

    def remember(self, memory: Array) -> None:
        """Take up a memory."""
        self.place, self.spent_steps = int(memory[0]), int(memory[1])
        self.fingers, self.width_m = float(memory[2]), float(memory[3])
        ends = np.cumsum([len(value) for value in self.seen.values()])[:-1]
        self.seen = dict(zip(self.seen, np.split(memory[4:].copy(), ends), strict=True))


class SequenceFault(Specification):
    """A plan that is carried out with its stages in another order.

    Parameters
    ----------
    duration_steps : for how many control steps it keeps the arm.
    start : when; by default as soon as the first stage that is concerned is due.
    """

    channel = "keyframe"
    magnitude = Magnitude("duration_steps", 1, 1000, whole=True)
    drawn = typed(route=many(NAME, 1, 100), observation_sizes=SIZES)
    needs_gripper = True
    needs_pose_control = True
    needs_plan = True

    def __init__(self, duration_steps: int | Sequence[int], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)

    def check(self, task: Task) -> None:
        """Refuse a task without an order to change."""
        super().check(task)
        if (count := len(stages_of(task))) < 2:
            raise ConfigError(
                f"perturbation {self.name} changes the order of stages, and task {task.name} has {count}: leave it out"
            )

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add stages and route; the start is counted from when the first of them is due, unless said otherwise."""
        record, rng = super().draw(stream, task), stream.child("perturbation", self.name, "stages").at()
        due, details = self.itinerary(stages_of(task), rng)
        if record["stage"] is None and record["predicate"] is None:
            record["stage"] = due
        return record | details | {"observation_sizes": dict(task.observation_sizes)}

    def itinerary(self, stages: Sequence[str], rng: np.random.Generator) -> tuple[str, Record]:
        """The stage at which it starts, and what the record says of it, ``route`` among it."""
        raise NotImplementedError

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Stages of the task, and sizes of what it observes."""
        sizes, route = among([dict(task.observation_sizes)]), many(among(stages_of(task)), 1, 100)
        return super().fields_on(task) | {"observation_sizes": sizes, "route": route}

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration and the stages."""
        return {}


def way(keyframe: Keyframe, observation: Observation) -> tuple[Array, Array]:
    """From the gripper to a keyframe: displacement (3,) in metres and rotation vector (3,) in rad, world frame."""
    import mujoco

    x, y, z, w = observation["eef_quat"]
    here, between, turn = np.empty(9), np.empty(4), np.empty(3)
    mujoco.mju_quat2Mat(here, [w, x, y, z])
    mujoco.mju_mat2Quat(between, (keyframe.rotation @ here.reshape(3, 3).T).reshape(9))
    mujoco.mju_quat2Vel(turn, between, 1.0)
    return keyframe.position_m - observation["eef_pos"], turn


def near(keyframe: Keyframe, observation: Observation) -> bool:
    """Whether the gripper is at a keyframe."""
    move, turn = way(keyframe, observation)
    return bool(np.linalg.norm(move) < keyframe.tolerance_m and np.linalg.norm(turn) < ALIGNED_RAD)
