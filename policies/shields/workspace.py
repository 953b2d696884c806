"""The hand stays within a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.errors import ConfigError
from workbench.policies.shields.motion.channels import Channels
from workbench.types import Moment, Note, Passed, Record, Task

AXES = ("x", "y", "z")


class Workspace:
    """Cuts off of an action what asks the hand to leave a box; a hand that is outside is asked back in.

    What is held within the box is where an action asks the hand to be, from where it is seen now, on each axis by
    itself.  A controller lags and can be pushed, so that the hand itself may pass a wall by some millimetres.

    Parameters
    ----------
    low_m, high_m : corners in the world frame, a number for each axis on which actions translate the hand; null for an
        axis that has no wall there.
    """

    reasons = ("x", "y", "z")
    softens = False

    def __init__(self, task: Task, low_m: Sequence[float | None], high_m: Sequence[float | None]) -> None:
        self.channels = Channels(task, "shield workspace")
        axes = self.channels.position.stop - self.channels.position.start
        walls = []
        for key, corner, unset in (("low_m", low_m, -np.inf), ("high_m", high_m, np.inf)):
            if len(corner) != axes:
                raise ConfigError(
                    f"shield workspace: {key}={list(corner)} must have a number or null for each of the {axes} axes on "
                    f"which actions of task {task.name} translate the hand"
                )
            walls.append(np.array([unset if wall is None else float(wall) for wall in corner]))
        self.low_m, self.high_m = walls
        if not (self.low_m < self.high_m).all():
            raise ConfigError(
                f"shield workspace: low_m={list(low_m)} must lie below high_m={list(high_m)} on every axis"
            )
        self.channels.place  # noqa: B018 (a task that does not show it is refused here)

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, moment: Moment) -> Passed:
        """The action with its translation cut."""
        columns, reach = self.channels.position, self.channels.robot.action_m
        hand = self.channels.hand_m(moment.observation)
        asked = hand + np.clip(moment.action[columns], -1.0, 1.0) * reach
        within = np.clip(asked, self.low_m, self.high_m)
        beyond = np.abs(asked - within)
        if not beyond.any():
            return Passed(moment.action)
        action = np.array(moment.action, dtype=np.float64)
        cut = beyond > 0
        action[columns] = np.where(cut, np.clip((within - hand) / reach, -1.0, 1.0), action[columns])
        axis = int(beyond.argmax())
        outside = bool(((hand < self.low_m) | (hand > self.high_m)).any())
        return Passed(action, note=Note(AXES[axis], outside, float(asked[axis]), float(within[axis])))
