"""A corrector says where the hand should go; it goes there, and the policy drives again.

As FailSafe's head acts (arXiv 2510.01642, 2025): a corrective action on an alarm, then back to the policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.errors import CheckpointError, ConfigError
from workbench.policies.learning.corrector import Corrector
from workbench.policies.recovery.reach import Reach
from workbench.types import Alarm, Array, HasRobot, Intervention, PolicyCall, Record, Task, ability
from workbench.types.pose import Pose

OBSERVATION = "observation/"


class Correct:
    """The corrector's motion is carried out, unless it says that nothing fails.

    Parameters
    ----------
    task : whose actions command a hand's pose.
    corrector : folder of its checkpoint, which ``workbench recover`` trains on verified corrections.
    least : chance of failing below which it abstains, and the policy goes on as if there had been no alarm.
    """

    name: str = "correct"

    def __init__(self, task: Task, corrector: Path, least: float = 0.5) -> None:
        if not 0 <= least <= 1:
            raise ConfigError(f"strategy correct: least={least} must be a chance, 0..1")
        self._task, self._least, self._corrector = task, least, Corrector.load(Path(corrector))
        if self._corrector.task != task.name:
            raise CheckpointError(
                f"the corrector in {corrector} was trained on task {self._corrector.task}, not {task.name}; "
                "workbench recover overwrite=true trains one on this"
            )
        self._fingers = ability(task, HasRobot, "strategy correct").robot.fingers
        self.needs: Sequence[str] = tuple(self._corrector.layout)
        Reach(task, Pose(np.zeros(3), np.eye(3), False))  # a task without such a motion is refused here

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, alarm: Alarm) -> Intervention | None:
        """Go where the corrector says, and hand back."""
        chance, _, corrections = self._corrector.say(inputs_of(alarm.call, self.needs))
        if chance[0] < self._least:
            return None
        seen = {key: values[0, -1] for key, values in alarm.call.observation.items()}
        assert self._fingers is not None
        here = Pose.of(seen, bool(np.ptp(seen["gripper_qpos"]) < self._fingers.opened_m))
        motion = Reach(self._task, here.corrected(corrections[0]), here.closed)
        return Intervention(motion, motion.steps(here), fresh_noise=True, more_time=True)


def inputs_of(call: PolicyCall, needs: Sequence[str]) -> dict[str, Array]:
    """What a corrector reads of calls of n scenes: name -> (n, size)."""
    found = {}
    for need in needs:
        if need.startswith(OBSERVATION):
            found[need] = np.asarray(call.observation[need.removeprefix(OBSERVATION)])[:, -1]
        elif call.embedding is None:
            raise ConfigError("strategy correct reads the policy's embedding, and this policy says none")
        else:
            found[need] = np.asarray(call.embedding)
    return found
