"""The robot yields where its wrist feels too much."""

from __future__ import annotations

import numpy as np

from workbench.errors import ConfigError
from workbench.policies.shields.motion.channels import Channels
from workbench.policies.shields.motion.contact import Wrist
from workbench.types import Moment, Note, Passed, Record, Task


class Force:
    """Vetoes every motion while the wrist reads more force than allowed, and backs off the way the hand came.

    The hand is asked back towards where it was some control steps ago, at a bounded speed, with the fingers as they
    were; its turn is held.

    Parameters
    ----------
    most_n : of the size of the force that is read, the weight of the gripper and of what it holds included.
    reading : observation of which the first three numbers are that force.
    back_steps : how many control steps ago the hand was where it is asked back to.
    back_m_s : how fast, along each axis.
    """

    reasons = ("force",)
    softens = False

    def __init__(
        self, task: Task, most_n: float, reading: str = "wrench", back_steps: int = 4, back_m_s: float = 0.2
    ) -> None:
        if not (most_n > 0 and back_m_s > 0 and back_steps >= 1):
            raise ConfigError(
                f"shield force: most_n={most_n} and back_m_s={back_m_s} must be above 0, back_steps={back_steps} at "
                "least 1"
            )
        self.channels = Channels(task, "shield force")
        self.wrist = Wrist(self.channels, reading)
        self.most_n, self.back_steps = most_n, back_steps
        self._back = min(1.0, back_m_s * self.channels.period_s / self.channels.robot.action_m)
        self.channels.position  # noqa: B018 (a task whose actions do not translate the hand is refused here)

    def begin(self) -> Record:
        """The hand was nowhere yet."""
        return {"places": []}

    def act(self, memory: Record, moment: Moment) -> Passed:
        """The action, or one that backs off."""
        hand, force = self.channels.hand_m(moment.observation), self.wrist.force_n({}, moment, 1.0)
        if force <= self.most_n:
            memory["places"] = [*memory["places"], hand.tolist()][-self.back_steps :]
            return Passed(moment.action)
        action = self.channels.held(moment.action, moment.before)
        if memory["places"]:
            back = (np.asarray(memory["places"][0]) - hand) / self.channels.robot.action_m
            action[self.channels.position] = np.clip(back, -self._back, self._back)
        return Passed(action, note=Note("force", True, force, self.most_n))
