"""The robot moves no faster than it may, and no more suddenly."""

from __future__ import annotations

import numpy as np

from workbench.errors import ConfigError
from workbench.policies.shields.motion.channels import Channels
from workbench.types import Array, Moment, Note, Passed, Record, Task
from workbench.types.abilities import action_groups_of


class Speed:
    """Bounds what an action asks of each axis in a control step, and by how much that may change from the one before.

    Parameters
    ----------
    translation_m_s : of the hand, along each axis.
    rotation_rad_s : of the hand about each axis, or of each joint where joints are commanded.
    change : of each number of the arm's action from one control step to the next, where an action is in -1..1; the
        first is compared with standing still.
    """

    reasons = ("translation", "rotation", "change")
    softens = False

    def __init__(self, task: Task, translation_m_s: float, rotation_rad_s: float, change: float) -> None:
        limits = {"translation_m_s": translation_m_s, "rotation_rad_s": rotation_rad_s, "change": change}
        for key, limit in limits.items():
            if not limit > 0:
                raise ConfigError(f"shield speed: {key}={limit} must be above 0")
        self.channels = Channels(task, "shield speed")
        self.change = change
        robot, groups = self.channels.robot, action_groups_of(task)
        self._units = np.ones(self.channels.arm.stop)
        self._most_si = np.full(self.channels.arm.stop, np.inf)
        scales = {
            "position": (robot.action_m, translation_m_s),
            "rotation": (robot.arm.action_rad if robot.arm else 1.0, rotation_rad_s),
            "joints": (robot.arm.joint_action_rad if robot.arm else 1.0, rotation_rad_s),
        }
        for name, (first, end) in groups.items():
            if name in scales:
                scale, most = scales[name]
                self._units[first:end], self._most_si[first:end] = scale / self.channels.period_s, most
        self._translates = np.isin(np.arange(self.channels.arm.stop), np.arange(*groups.get("position", (0, 0))))
        self._most: Array = self._most_si / self._units

    def begin(self) -> Record:
        """Nothing is remembered: what ran before is shown."""
        return {}

    def act(self, memory: Record, moment: Moment) -> Passed:
        """The action within its bounds."""
        arm = self.channels.arm
        asked = np.clip(moment.action[arm], -1.0, 1.0)
        before = np.zeros(len(asked)) if moment.before is None else moment.before[arm]
        slow = np.clip(asked, -self._most, self._most)
        smooth = np.clip(slow, before - self.change, before + self.change)
        if np.array_equal(smooth, asked):
            return Passed(moment.action)
        action = np.array(moment.action, dtype=np.float64)
        action[arm] = smooth
        return Passed(action, note=self._note(asked, slow, before))

    def _note(self, asked: Array, slow: Array, before: Array) -> Note:
        """The bound that is exceeded by most, as a share of it."""
        fast, sudden = np.abs(asked) / self._most, np.abs(slow - before) / self.change
        axis = int(fast.argmax())
        if fast[axis] >= sudden.max():
            reason = "translation" if self._translates[axis] else "rotation"
            return Note(reason, False, float(abs(asked[axis]) * self._units[axis]), float(self._most_si[axis]))
        return Note("change", False, float(np.abs(slow - before).max()), self.change)
