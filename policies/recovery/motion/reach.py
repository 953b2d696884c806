"""A motion to a pose: how a correction is carried out before the policy drives again."""

from __future__ import annotations

import math

import numpy as np

from workbench.errors import ConfigError
from workbench.policies.recovery.motion.driver import HandDriver
from workbench.policies.recovery.motion.hand import Hand
from workbench.types import OVER, Array, HasRobot, Intervention, Record, Task, ability
from workbench.types.pose import CORRECTION_SIZE, Pose
from workbench.types.rotations import quaternion_of, rotation_vector

PACE = 0.25
"""Part of the way that one action asks for which the hand goes in a control step, while it sets out and turns."""
SETTLING_STEPS = 6
"""Control steps at the end of a motion in which the controller catches up."""


class ReachDriver(HandDriver):
    """Goes straight to a pose, from wherever the hand is: fingers open at once, and close when it is there.

    Its memory: ``target`` (D,), a pose of the hand; ``closed``, whether the fingers are closed there; ``holding``,
    whether they were when it set out, and so stay closed on the way; ``stroke``, control steps that they still have
    there.
    """

    name = "reach"

    def action(self, pose: Array, memory: Record) -> Array:
        """The next action."""
        target, hand = memory["target"], self.hand
        there = hand.reached(pose, target)
        if there:
            memory["stroke"] = max(0, memory["stroke"] - 1)
        memory[OVER] = there and not memory["stroke"]
        close = memory["closed"] and (memory["holding"] or there)
        return hand.towards(pose, hand.place_m(target), like=target, grip=1.0 if close else -1.0)


class Reach:
    """Motions from one pose to another, as interventions.

    Parameters
    ----------
    task : whose actions command the hand's translation and rotation, and two fingers; its observations hold
        ``eef_pos``, ``eef_quat`` and ``gripper_qpos``.

    Attributes
    ----------
    needs : what is read of a policy call.

    Raises
    ------
    ConfigError
        if the task's actions are others.
    """

    def __init__(self, task: Task) -> None:
        able = ability(task, HasRobot, "a motion to a pose")
        arm, fingers = able.robot.arm, able.robot.fingers
        if task.action_size != CORRECTION_SIZE or arm is None or fingers is None or not able.commands_pose:
            raise ConfigError(
                f"task {task.name} knows no motion to a pose: its actions do not command a hand's translation, "
                "rotation and fingers (task.controller=osc_pose)"
            )
        hand = Hand(task, "a motion to a pose")
        self.needs, self._driver = hand.needs, ReachDriver(hand)
        self._action_m, self._action_rad, self._stroke = able.robot.action_m, arm.action_rad, fingers.stroke_steps

    def to(self, here: Pose, there: Pose) -> Intervention:
        """Go there, and hand back on arrival, or when it takes too long; with fresh noise and more time."""
        stroke = self._stroke * (here.closed != there.closed)
        quaternion = quaternion_of(rotation_vector(there.rotation))
        memory: Record = {
            "target": np.concatenate([there.position_m, quaternion, [0.0]]),
            "closed": there.closed,
            "holding": here.closed,
            "stroke": stroke,
        }
        way_m, way_rad = here.distance(there)
        moving = math.ceil(max(way_m / self._action_m, way_rad / self._action_rad) / PACE)
        steps = moving + SETTLING_STEPS + stroke
        return Intervention(self._driver, steps, fresh_noise=True, more_time=True, memory=memory)
