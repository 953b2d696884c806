"""One joint of the arm does not turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int, within_steps
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification, joints_of
from workbench.errors import ConfigError
from workbench.types import Record, Task
from workbench.types.reading import typed, whole

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


MOST_JOINTS = 7
"""No arm here has more."""
DAMPING_NMS_RAD = 1e7
"""Under it a motor's 87 N m turn a joint by less than 1e-5 rad per second."""


class JointLockEffect(Effect):
    """Damps one joint of the arm until it no longer turns; MuJoCo integrates damping implicitly, so it stays stable."""

    def edit(self, scene: MujocoScene) -> None:
        """Damp the joint."""
        self.change(scene.model, "dof_damping", self._dof(scene), DAMPING_NMS_RAD)

    def push(self, scene: MujocoScene) -> None:
        """Stop the joint at once: damping would do it in one physics step, by a force that upsets the contacts."""
        if scene.step_index == self.started:
            scene.data.qvel[self._dof(scene)] = 0.0

    def _dof(self, scene: MujocoScene) -> int:
        return int(scene.model.joint(scene.task.robot.joints[self.record["joint"] - 1]).dofadr[0])


class JointLock(Specification):
    """A joint whose brake has closed or whose motor has seized (locked-joint failures: Lewis and Maciejewski, IEEE
    Trans. Robotics and Automation, 1997).

    Parameters
    ----------
    duration_steps : for how many control steps it is locked.
    joint : number of the joint, from 1 at the base, or bounds; None for any.
    start : when; see :class:`Specification`.
    """

    channel = "action"
    effect = JointLockEffect
    magnitude = Magnitude("duration_steps", 2, 400, whole=True)
    drawn = typed(joint=whole(1, MOST_JOINTS))
    needs_arm = True
    seen_as = ("out of reach", "stall", "timeout")

    def __init__(
        self,
        duration_steps: int | Sequence[int],
        joint: int | Sequence[int] | None = None,
        **start: Unpack[Start],
    ) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)
        self.joint = None if joint is None else within_steps("joint", joint, 1, MOST_JOINTS)

    def check(self, task: Task) -> None:
        """Refuse joints that the arm does not have."""
        super().check(task)
        joints = joints_of(task)
        if self.joint is not None and self.joint[1] > joints:
            raise ConfigError(f"joint={self.joint[1]} is impossible: the arm of task {task.name} has {joints} joints")

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Joints of the task's arm."""
        return super().fields_on(task) | {"joint": whole(1, joints_of(task))}

    def parameters_on(self, task: Task, rng: np.random.Generator) -> Record:
        """The drawn joint, beside the duration."""
        return {"joint": uniform_int(rng, self.joint or (1, joints_of(task)))}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"joint {record['joint']} of the arm is locked"
