"""Which numbers of a task's action move what, how far, and how the robot is held still."""

from __future__ import annotations

import functools

import numpy as np

from workbench.errors import ConfigError
from workbench.types import Array, HasRobot, Observation, Robot, Task, ability
from workbench.types.abilities import action_groups_of, finger_channels
from workbench.types.robot import PLACE


class Channels:
    """The action of a task, as a shield reads it.

    Parameters
    ----------
    task : with a robot whose numbers are known.
    who : what needs them, for errors.

    Attributes
    ----------
    arm : columns of an action that move the arm, or the disc that pushes; the rest commands fingers.
    period_s : length of a control step.
    """

    def __init__(self, task: Task, who: str) -> None:
        self.task, self.who = task, who
        self.robot: Robot = ability(task, HasRobot, who).robot
        self.arm = slice(0, task.action_size - finger_channels(task))
        self.period_s = 1.0 / task.control_hz

    @functools.cached_property
    def position(self) -> slice:
        """Columns that translate the hand along the world's axes."""
        groups = action_groups_of(self.task)
        if "position" not in groups:
            raise ConfigError(
                f"{self.who} needs actions that translate the hand, and those of task {self.task.name} command "
                f"{' and '.join(groups)}: choose task.controller=osc_pose, or leave it out"
            )
        return slice(*groups["position"])

    @functools.cached_property
    def place(self) -> str:
        """Key of the observation that says where the hand is."""
        for key in PLACE:
            if key in self.task.observation_sizes:
                return key
        raise ConfigError(
            f"{self.who} needs to see where the hand is ({' or '.join(PLACE)}), and task {self.task.name} shows "
            f"{', '.join(self.task.observation_sizes)}: leave it out"
        )

    def hand_m(self, observation: Observation) -> Array:
        """Where the hand is seen, as many numbers as an action translates it by."""
        hand: Array = observation[self.place][: self.position.stop - self.position.start]
        return hand

    def held(self, action: Array, before: Array | None) -> Array:
        """The action with an arm that is asked to stay, and fingers that are asked what they were asked before."""
        still = np.zeros_like(action)
        if before is not None:
            still[self.arm.stop :] = before[self.arm.stop :]
        return still

    def slowed(self, action: Array, scale: float) -> Array:
        """The action with the arm's part scaled."""
        slow = np.array(action, dtype=np.float64)
        slow[self.arm] *= scale
        return slow
