"""What pushes against the hand, as the robot itself can tell: from its wrist, or from how it moves."""

from __future__ import annotations

import math

import numpy as np

from workbench.errors import ConfigError
from workbench.policies.shields.motion.channels import Channels
from workbench.types import Array, Moment, Record


class Wrist:
    """Size of the force that the wrist's sensor reads.

    Parameters
    ----------
    reading : observation of which the first three numbers are a force in N.
    """

    def __init__(self, channels: Channels, reading: str) -> None:
        if channels.task.observation_sizes.get(reading, 0) < 3:
            raise ConfigError(
                f"{channels.who} needs the force reading {reading!r}, and task {channels.task.name} shows "
                f"{', '.join(channels.task.observation_sizes)}: peg_insertion has one; leave it out elsewhere"
            )
        self.reading = reading

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def force_n(self, memory: Record, moment: Moment, stiffness: float) -> float:
        """The force now."""
        return float(np.linalg.norm(moment.observation[self.reading][:3]))


class Disturbance:
    """Size of the force that moves the hand otherwise than its controller alone would, from where it is seen.

    A disturbance observer (Ohnishi, Shibata and Murakami, IEEE/ASME Transactions on Mechatronics, 1996) on the closed
    loop of critically damped operational-space control, where every axis of the hand obeys::

        x'' = w^2 (g - x) - 2 w x' + d      g = x(0) + action * action_m,  w = sqrt(stiffness)

    Over a control step of length T the place differs from that of d = 0 by ``d (1 - (1 + w T) exp(-w T)) / w^2``, which
    gives d, and with it the velocity at the end.  The force is ``mass_kg |d|``.  What the controller asks for and an
    actuator does not do is felt as a force, too.

    Parameters
    ----------
    stiffness : of the controller, in 1/s^2.
    mass_kg : what the hand weighs for a force on it.
    """

    def __init__(self, channels: Channels, stiffness: float, mass_kg: float) -> None:
        if not channels.task.observation_sizes.get("eef_pos") == 3:
            raise ConfigError(
                f"{channels.who} reads forces off the motion of an arm's hand, and task {channels.task.name} shows no "
                "eef_pos of three numbers: name a reading of its wrist, or leave it out"
            )
        self.channels, self.stiffness, self.mass_kg = channels, stiffness, mass_kg

    def begin(self) -> Record:
        """Nothing was seen yet."""
        return {"place": None, "velocity": [0.0, 0.0, 0.0]}

    def force_n(self, memory: Record, moment: Moment, stiffness: float) -> float:
        """The force over the last control step; ``stiffness`` is the factor on the controller's during it."""
        place, found = self.channels.hand_m(moment.observation), np.zeros(3)
        if memory["place"] is not None and moment.before is not None:
            goal = np.clip(moment.before[self.channels.position], -1.0, 1.0) * self.channels.robot.action_m
            found, velocity = self._between(
                place - np.asarray(memory["place"]), np.asarray(memory["velocity"]), goal, stiffness
            )
            memory["velocity"] = velocity.tolist()
        memory["place"] = place.tolist()
        return self.mass_kg * float(np.linalg.norm(found))

    def _between(self, moved: Array, velocity: Array, goal: Array, stiffness: float) -> tuple[Array, Array]:
        """Disturbance (3,) in m/s^2 over a control step in which the hand moved so far, and its velocity at the end."""
        time, rate = self.channels.period_s, math.sqrt(self.stiffness * stiffness)
        decay = math.exp(-rate * time)
        slope = velocity - rate * goal
        free = goal + (slope * time - goal) * decay
        free_velocity = (velocity - rate * slope * time) * decay
        disturbance: Array = (moved - free) * rate**2 / (1.0 - (1.0 + rate * time) * decay)
        return disturbance, free_velocity + disturbance * time * decay
