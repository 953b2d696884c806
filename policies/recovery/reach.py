"""A driver that brings the hand to a pose: how a correction is carried out before the policy drives again."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.errors import ConfigError
from workbench.types import Array, HasRobot, Observation, PolicyOutput, Task, ability
from workbench.types.pose import CORRECTION_SIZE, Pose
from workbench.types.rotations import rotation_vector

GAIN = 1.5
"""Part of the remaining way that one action asks for; above one, since the controller lags behind what it is asked."""
NEAR_M, NEAR_RAD = 0.01, 0.1
"""How near the hand counts as there, so that the fingers may close."""
PACE = 0.25
"""Part of the way that one action asks for which the hand goes in a control step, while it sets out and turns."""
SETTLING_STEPS = 6
"""Control steps at the end of a motion in which the controller catches up."""


class Reach:
    """The hand goes straight to a pose, from wherever it is: fingers open at once, and close when it is there.

    At every control step it looks at what the robot measures of itself, so a push does not throw it off.  It remembers
    nothing.

    Parameters
    ----------
    task : whose actions command the hand's translation and rotation, and two fingers; its observations hold
        ``eef_pos`` and ``eef_quat``.
    target : where to.
    holding : whether the fingers are closed now; they stay so on the way to a pose at which they are.

    Raises
    ------
    ConfigError
        if the task's actions are others.
    """

    history: int = 1
    horizon: int = 1
    execute: int = 1
    privileged: bool = False
    listens: bool = False
    cameras: Sequence[str] = ()
    signals: Sequence[str] = ()

    def __init__(self, task: Task, target: Pose, holding: bool = False) -> None:
        able = ability(task, HasRobot, "a motion to a pose")
        robot = able.robot
        if task.action_size != CORRECTION_SIZE or robot.arm is None or robot.fingers is None or not able.commands_pose:
            raise ConfigError(
                f"task {task.name} knows no motion to a pose: its actions do not command a hand's translation, "
                "rotation and fingers (task.controller=osc_pose)"
            )
        self.target, self.holding = target, holding
        self._action_m, self._action_rad = robot.action_m, robot.arm.action_rad
        self._stroke = robot.fingers.stroke_steps

    def steps(self, here: Pose) -> int:
        """Control steps that it is given from a pose: at its pace, and the fingers' stroke."""
        way_m, way_rad = here.distance(self.target)
        moving = math.ceil(max(way_m / self._action_m, way_rad / self._action_rad) / PACE)
        return moving + SETTLING_STEPS + self._stroke * (self.holding != self.target.closed)

    def plan(self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
        """One action (N, 1, 7) for each scene; it draws nothing, so there are no samples."""
        scenes = ({key: values[row, -1] for key, values in observation.items()} for row in range(len(noise)))
        return PolicyOutput(np.stack([self.action(scene) for scene in scenes])[:, None])

    def action(self, observation: Observation) -> Array:
        """Action (7,) for the present observation of one scene."""
        here = Pose.of(observation, self.holding)
        way_m, way_rad = here.distance(self.target)
        turn = rotation_vector(self.target.rotation @ here.rotation.T)
        close = self.target.closed and (self.holding or (way_m < NEAR_M and way_rad < NEAR_RAD))
        return np.concatenate(
            [
                np.clip(GAIN * (self.target.position_m - here.position_m) / self._action_m, -1, 1),
                np.clip(GAIN * turn / self._action_rad, -1, 1),
                [1.0 if close else -1.0],
            ]
        )

    def save(self, folder: Path) -> None:
        """Write where it goes; there are no weights."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        target = {"position_m": self.target.position_m.tolist(), "rotation": self.target.rotation.tolist()}
        (Path(folder) / "policy.json").write_text(json.dumps({"reach": target}), encoding="utf-8")
