"""A corrector says where the hand should go; it goes there, and the policy drives again.

As FailSafe's head acts (arXiv 2510.01642, 2025): a corrective action on an alarm, then back to the policy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.errors import CheckpointError, ConfigError
from workbench.policies.learning.corrector import Corrector
from workbench.policies.recovery.motion.reach import Reach
from workbench.types import Alarm, Array, Intervention, PolicyCall, Record, Task
from workbench.types.abilities import fingers_of
from workbench.types.inputs import inputs_of
from workbench.types.pose import Pose


@dataclasses.dataclass(frozen=True)
class Advice:
    """What the corrector says of n policy calls.

    Attributes
    ----------
    failing : (n,) chance that the episode is lost to the policy.
    mode : n failure modes, the likeliest of each.
    correction : (n, 7), see :mod:`workbench.types.pose`.
    """

    failing: Array
    mode: Sequence[str]
    correction: Array


class Correct:
    """The corrector's motion is carried out, unless it says that nothing fails.

    Where it abstains, it is the placebo: fresh noise, and as much time as any intervention.  Later in the episode, when
    both have been given, it abstains by doing nothing.  So a guard may ask it at every call.

    Parameters
    ----------
    task : whose actions command a hand's pose.
    corrector : folder of its checkpoint, which ``workbench recover`` trains on verified corrections.
    least : chance of failing below which it abstains.
    """

    name: str = "correct"

    def __init__(self, task: Task, corrector: Path, least: float = 0.5) -> None:
        if not 0 <= least <= 1:
            raise ConfigError(f"strategy correct: least={least} must be a chance, 0..1")
        self._least, self._corrector = least, Corrector.load(Path(corrector))
        if self._corrector.task != task.name:
            raise CheckpointError(
                f"the corrector in {corrector} was trained on task {self._corrector.task}, not {task.name}; "
                "workbench recover overwrite=true trains one on this"
            )
        self._reach, fingers = Reach(task), fingers_of(task)
        self._opened_m = fingers.opened_m if fingers else 0.0
        self.needs: Sequence[str] = tuple({**self._corrector.layout, **dict.fromkeys(self._reach.needs)})

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def advice(self, call: PolicyCall) -> Advice:
        """What the corrector says of a call of n scenes, whatever is done about it."""
        chance, modes, corrections = self._corrector.say(inputs_of(call, self._corrector.layout))
        return Advice(chance, [self._corrector.modes[place] for place in modes.argmax(axis=1)], corrections)

    def act(self, memory: Record, alarm: Alarm) -> Intervention | None:
        """Go where the corrector says, and hand back."""
        advice = self.advice(alarm.call)
        if advice.failing[0] < self._least:
            return None if alarm.number else Intervention(fresh_noise=True, more_time=True)
        seen = {key: values[0, -1] for key, values in alarm.call.observation.items()}
        here = Pose.of(seen, bool(np.ptp(seen["gripper_qpos"]) < self._opened_m))
        return self._reach.to(here, here.corrected(advice.correction[0]))
