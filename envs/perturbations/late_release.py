"""The fingers open after the arm has gone on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack, cast

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int
from workbench.envs.faults.hand import OPEN, LateFingers, held
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.envs.task import SceneTask
from workbench.errors import ConfigError
from workbench.types import HasPlan, Record, Task

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class LateReleaseEffect(LateFingers):
    """Opens late; meanwhile the fingers are shown open."""

    command, share, recurring = OPEN, 1.0, False

    def strikes(self, scene: MujocoScene) -> bool:
        """Only what holds something is late to let go."""
        return super().strikes(scene) and held(scene)


class LateRelease(Specification):
    """A release that comes too late, as of a sticky gripper.  Source: none found.

    The first opening that is commanded while the object is held comes late.  Until then the driver sees open fingers,
    so that the arm goes on and takes the object with it.

    Parameters
    ----------
    delay_steps : control steps from the first opening command until the fingers begin to open.
    schedule : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = LateReleaseEffect
    magnitude = Magnitude("delay_steps", 1, 200, whole=True)
    needs_gripper = True
    needs_plan = True
    seen_as = ("stall", "timeout", "misplacement", "drop", "collision")

    def __init__(self, delay_steps: int | Sequence[int], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.delay_steps = self.magnitude.steps(delay_steps)

    @classmethod
    def possible(cls, task: Task) -> None:
        """Refuse tasks that end with closed fingers."""
        super().possible(task)
        if not _lets_go(task):
            raise ConfigError(
                f"perturbation {cls.name} delays a release, and the plan of task {task.name} has none: leave it out"
            )

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn number of control steps."""
        return {"delay_steps": uniform_int(rng, self.delay_steps)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the fingers open {record['delay_steps']} steps late"


def _lets_go(task: Task) -> bool:
    """Whether the fingers open after they have closed, in the task's first episode, whatever goal it may have."""
    observation = task.scene().truth().observation
    seen = [observation]
    if isinstance(task, SceneTask):
        seen = [task.as_if(next(iter(variant.goals)), observation) for variant in task.variants]
    plans = [[keyframe.closed for keyframe in cast(HasPlan, task).plan(each)] for each in seen]
    return all(True in closed and not closed[-1] for closed in plans)
