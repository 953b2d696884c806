"""Undo the last steps: the hand goes back along its own path, and the policy tries again from there.

As in RaC (arXiv 2509.07953, 2025), where people rewind before they correct, and in Rewind-IL (arXiv 2604.16683, 2026)
and CycleVLA (arXiv 2601.02295, 2026), which go back to a checkpoint; here it is a fixed way back.  The robot alone goes
back: what it has moved moves back only if it holds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.errors import ConfigError
from workbench.policies.recovery.motion.driver import HandDriver
from workbench.policies.recovery.motion.hand import REACHED_M, Hand
from workbench.types import OVER, Alarm, Array, Intervention, PolicyCall, Record, Task


class BacktrackDriver(HandDriver):
    """Follows a path back, one of its poses a control step as long as the hand keeps up with it.

    The fingers are brought to the distance that they had there: what was grasped on the path is let go where it was
    grasped.  Its memory: ``path`` (P, D), the newest pose first; ``at``, the one that the hand goes to.
    """

    name = "backtrack"

    def action(self, pose: Array, memory: Record) -> Array:
        """The next action."""
        path, hand = memory["path"], self.hand
        if memory["at"] < len(path) - 1 and hand.away_m(pose, path[memory["at"]]) < hand.robot.action_m:
            memory["at"] += 1
        wanted = path[memory["at"]]
        grip = self._grip(pose, wanted)
        memory[OVER] = memory["at"] == len(path) - 1 and not grip and hand.away_m(pose, wanted) < REACHED_M
        return hand.towards(pose, hand.place_m(wanted), like=wanted, grip=grip)

    def _grip(self, pose: Array, wanted: Array) -> float:
        """Which way the fingers are to go; 0 to leave them as they are commanded."""
        if self.hand.fingers is None:
            return 0.0
        apart = self.hand.width_m(wanted) - self.hand.width_m(pose)
        return 0.0 if abs(apart) <= FINGER_STEPS * self.hand.fingers.still_m else -float(np.sign(apart))


FINGER_STEPS = 8
"""Distances of the fingers count as alike within so many times what they move by when they have stopped: closing, they
come nearer by 7 of them in one control step."""


class Backtrack:
    """The hand goes back along its own path of the last control steps, and the policy drives again.

    Parameters
    ----------
    task : whose actions translate a hand whose place is observed.
    steps : control steps of the path that are gone back; the policy drives again when the hand is there, or after twice
        as many.
    """

    name: str = "backtrack"
    needs: Sequence[str]

    def __init__(self, task: Task, steps: int = 16) -> None:
        if steps < 1:
            raise ConfigError(f"backtrack: steps={steps} must be at least 1")
        self._hand = Hand(task, "strategy backtrack")
        self.needs, self._steps, self._driver = self._hand.needs, steps, BacktrackDriver(self._hand)

    def begin(self) -> Record:
        """No path yet."""
        return {"step": -1, "path": None}

    def follow(self, memory: Record, call: PolicyCall) -> None:
        """Remember the poses (P, D) of the last control steps, the newest last; what nobody saw breaks the path off."""
        recent = self._hand.poses({key: call.observation[key][0] for key in self._hand.keys})
        step = int(call.step[0])
        gone, seen = step - memory["step"], min(len(recent), step + 1)
        joined = memory["path"] is not None and 0 < gone <= seen
        path = np.concatenate([memory["path"], recent[-gone:]]) if joined else recent[-seen:]
        memory["step"], memory["path"] = step, path[-(self._steps + 1) :]

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """Go back and hand back; where there is no way back, plan anew."""
        if len(memory["path"]) < 2:
            return Intervention(fresh_noise=True, more_time=True)
        told = {"path": memory["path"][::-1].copy(), "at": 0}
        return Intervention(self._driver, 2 * self._steps, fresh_noise=True, more_time=True, memory=told)
