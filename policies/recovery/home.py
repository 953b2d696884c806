"""Let go, go back to where the episode began, try again: what an operator does with a robot that is stuck.

A preemptive restart of the attempt, as of Watson and Correll (2023); but the robot alone starts anew, and things stay
where they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.errors import ConfigError
from workbench.policies.recovery.motion.driver import HandDriver
from workbench.policies.recovery.motion.hand import REACHED_M, Hand
from workbench.types import OVER, Alarm, Array, Intervention, PolicyCall, Record, Task

OPENING_STROKES = 2
"""How many times as long as their command takes from one end to the other fingers that do not open are waited for."""


class HomeDriver(HandDriver):
    """Opens the gripper where it is, goes straight up to the height of the start if it is below it, then to the start.

    Its memory: ``home``, pose of the start; ``opening``, control steps that are left for opening the gripper.
    """

    name = "home"

    def action(self, pose: Array, memory: Record) -> Array:
        """The next action."""
        home, hand = memory["home"], self.hand
        if memory["opening"]:
            memory["opening"] -= 1
            if hand.fingers and hand.width_m(pose) <= hand.fingers.opened_m:
                return hand.towards(pose, hand.place_m(pose), grip=-1.0)
            memory["opening"] = 0
        memory[OVER] = hand.reached(pose, home)
        place, wanted = hand.place_m(pose), hand.place_m(home)
        if len(place) == 3 and place[2] < wanted[2] - REACHED_M:
            return hand.towards(pose, np.array([*place[:2], wanted[2]]), grip=-1.0)
        return hand.towards(pose, wanted, like=home, grip=-1.0)


class Home:
    """The gripper opens, the hand goes back to its pose at the start of the episode, and the policy drives again.

    It goes by what the robot sees of itself, until it is there; objects stay where they are.  A disc that pushes goes
    back as well.

    Parameters
    ----------
    task : whose actions translate a hand whose place is observed.
    steps : control steps after which the policy drives again even if the hand has not come home.
    """

    name: str = "home"
    needs: Sequence[str]

    def __init__(self, task: Task, steps: int = 60) -> None:
        if steps < 1:
            raise ConfigError(f"home: steps={steps} must be at least 1")
        self._hand = Hand(task, "strategy home")
        self.needs, self._steps, self._driver = self._hand.needs, steps, HomeDriver(self._hand)

    def begin(self) -> Record:
        """Where the hand was first seen is not known yet."""
        return {}

    def follow(self, memory: Record, call: PolicyCall) -> None:
        """Remember where the hand was at the first call."""
        if "home" not in memory:
            memory["home"] = self._hand.poses({key: call.observation[key][0, 0] for key in self._hand.keys})

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """Open, go home, and hand back."""
        fingers = self._hand.fingers
        told = {"home": memory["home"], "opening": OPENING_STROKES * fingers.stroke_steps if fingers else 0}
        return Intervention(self._driver, self._steps, fresh_noise=True, more_time=True, memory=told)
