"""What every fault states: bounds, a schedule, and what a task or a policy must have for it to mean anything.

A *specification* (one class a file in ``perturbations/``) holds bounds and refuses what lies outside them.  Its
``draw`` turns them into a *record*: plain data, stored as drawn, from which the scene makes an *effect*
(:mod:`workbench.envs.faults.effect`).  Replaying the record therefore replays the fault bit for bit, and no draw is
ever repeated.

A task whose object hangs on a hinge has ``object_is_free = False``; faults that need a free joint are then refused when
drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int, within_steps
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import FOREVER, comparison, when
from workbench.envs.task import HasModel
from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Policy, Record, Stream, Task
from workbench.types.abilities import HasPlan, commands_pose, finger_channels, image_sizes_of, robot_of, stages_of
from workbench.types.robot import PLACE
from workbench.types.trust import OURS, named

CHANGING = ("edit", "strike", "push", "look")
"""Methods of an effect that change MuJoCo's model or state, or what is drawn of them."""
RECORDED = "workbench.envs.perturbations."
"""What the targets of stored records begin with; nothing else is imported for one."""


class Specification:
    """One kind of fault and when it strikes.

    Parameters
    ----------
    start_step : control step at which it starts, or bounds [min, max] of it.
    stage : count ``start_step`` from when this stage is under way (all stages before it are reached) instead of from
        the start of the episode.
    predicate : count it from when a predicate of the task first holds: its name (``grasped``), or a comparison with a
        number (``cube_height_m > 0.02``).  With ``stage``, from when both have come.
    duration_steps : control steps for which it lasts, or bounds; None for the rest of the episode.
    """

    channel: ClassVar[str]
    effect: ClassVar[type[Effect]]
    magnitude: ClassVar[Magnitude]
    """How strong it is; what searches and severities turn."""
    axes: ClassVar[tuple[str, ...]] = ()
    """What the parameter ``axis`` may be, where there is one."""
    seen_as: ClassVar[tuple[str, ...]] = ()
    """Failure modes that it is meant to cause."""
    needs_gripper: ClassVar[bool] = False
    """Whether it is a fault of the fingers, which the task must then have."""
    needs_free_object: ClassVar[bool] = False
    """Whether it moves or weighs the object, which must then hang on nothing."""
    needs_cameras: ClassVar[bool] = False
    """Whether only images show it."""
    needs_pose_control: ClassVar[bool] = False
    """Whether it is a fault of the gripper's pose, which an action must then command."""
    needs_arm: ClassVar[bool] = False
    """Whether it is a fault of an arm's joints or motors, which the robot must then have."""
    needs_hand: ClassVar[bool] = False
    """Whether it shows the hand elsewhere, whose place the task must then observe."""
    needs_object: ClassVar[bool] = False
    """Whether it shows the object elsewhere, which MuJoCo's state must then hold."""
    needs_plan: ClassVar[bool] = False
    """Whether it follows from the task's plan of keyframes, which the task must then have."""
    alters: ClassVar[tuple[str, ...]] = ()
    """Parameters that are settings of the policy."""

    def __init__(
        self,
        start_step: int | Sequence[int] = 0,
        stage: str | None = None,
        predicate: str | None = None,
        duration_steps: int | Sequence[int] | None = None,
    ) -> None:
        self.start_step = within_steps("start_step", start_step, 0, FOREVER)
        self.stage = stage
        self.predicate = predicate
        if predicate is not None:
            comparison(predicate)
        self.duration_steps = (FOREVER, FOREVER)
        if duration_steps is not None:
            self.duration_steps = within_steps("duration_steps", duration_steps, 1, FOREVER)

    @property
    def name(self) -> str:
        """That of its file."""
        return type(self).__module__.rsplit(".", 1)[-1]

    def draw(self, stream: Stream, task: Task) -> Record:
        """One fault as it will be applied; see :class:`workbench.types.Perturbation`."""
        self.check(task)
        rng = stream.child("perturbation", self.name).at()
        return {
            "name": self.name,
            "channel": self.channel,
            "target": f"{type(self).__module__}.{type(self).__qualname__}",
            "start_step": uniform_int(rng, self.start_step),
            "stage": self.stage,
            "predicate": self.predicate,
            "duration_steps": uniform_int(rng, self.duration_steps),
            **self.parameters_on(task, rng),
        }

    def check(self, task: Task) -> None:
        """Raise a ConfigError or UnknownNameError if the task cannot have this fault."""
        robot = robot_of(task)
        needs = {
            "needs a scene of MuJoCo's, and that of task {} is none": self._needs_model()
            and not isinstance(task, HasModel),
            "is a fault of the hand's place, which task {} does not observe": self.needs_hand
            and not any(key in task.observation_sizes for key in PLACE),
            "is a fault of the fingers, and task {} has none": self.needs_gripper and not finger_channels(task),
            "needs an object that can go anywhere, and that of task {} hangs on a hinge": self.needs_free_object
            and not (isinstance(task, HasModel) and task.object_is_free),
            "needs images, and task {} takes none (task.cameras)": self.needs_cameras and not image_sizes_of(task),
            "is a fault of the gripper's pose, which actions of task {} do not command": self.needs_pose_control
            and not commands_pose(task),
            "is a fault of an arm's joints, and the robot of task {} has none": self.needs_arm
            and (robot is None or robot.arm is None),
            "needs a plan of keyframes, and task {} has none": self.needs_plan and not isinstance(task, HasPlan),
        }
        for why, lacking in needs.items():
            if lacking:
                raise ConfigError(f"perturbation {self.name} {why.format(task.name)}: leave it out")
        if self.stage is not None and self.stage not in stages_of(task):
            raise UnknownNameError(f"stage of task {task.name}", self.stage, stages_of(task))
        if self.predicate is not None and comparison(self.predicate)[0] not in task.predicate_names:
            raise UnknownNameError(f"predicate of task {task.name}", self.predicate, task.predicate_names)

    def _needs_model(self) -> bool:
        """Whether it reads or changes what MuJoCo's scenes alone have."""
        changes = [getattr(self.effect, name) is not getattr(Effect, name) for name in CHANGING]
        return self.needs_free_object or self.needs_object or self.needs_hand or any(changes)

    def suits(self, policy: Policy) -> None:
        """Raise a ConfigError if the policy cannot have this fault; asked once, before anything is rolled."""
        if self.channel == "language" and not policy.listens:
            raise ConfigError(
                f"policy {type(policy).__name__} does not listen to instructions, so perturbation {self.name} would do "
                "nothing: leave it out, or roll a policy that listens, such as policy=expert"
            )
        if not self.alters:
            return
        drawn = self.parameters(np.random.default_rng(0))
        settings = {name: drawn[name] for name in self.alters}
        if not hasattr(policy, "altered"):
            raise ConfigError(
                f"perturbation {self.name} changes {', '.join(settings)} of a policy, and {type(policy).__name__} "
                "cannot be changed: leave it out, or roll a policy that can"
            )
        policy.altered(settings)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn parameters, SI units in their names."""
        raise NotImplementedError

    def parameters_on(self, task: Task, rng: np.random.Generator) -> Record:
        """The same for a task; a fault whose parameters depend on the robot overrides this instead."""
        return self.parameters(rng)

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words for people; the schedule is told by :func:`describe`."""
        raise NotImplementedError


def joints_of(task: Task) -> int:
    """Number of the joints of a task's arm, which a fault of them is refused without."""
    robot = robot_of(task)
    assert robot is not None
    return len(robot.joints)


def effect_of(record: Record, stream: Stream) -> Effect:
    """Make the effect that a stored record describes."""
    return _kind(record).effect(record, stream)


def describe(record: Record) -> str:
    """One line for people: what was drawn, and when it strikes."""
    return f"{record['name']}: {_kind(record).phrase(record)}, {when(record)}"


def _kind(record: Record) -> type[Specification]:
    """The class that a record names: ours, one of an installed package of parts, or one that is loaded already."""
    target = str(record.get("target", ""))
    if not target.startswith(f"{OURS}."):
        kind = _loaded(target) or named(target)
    elif target.startswith(RECORDED):
        kind = named(target)
    else:
        raise ConfigError(f"a perturbation record must name a target below {RECORDED}, not {target!r}")
    if not (isinstance(kind, type) and issubclass(kind, Specification)):
        raise ConfigError(f"{target!r} is not a perturbation")
    return kind


def _loaded(target: str) -> type[Specification] | None:
    """A class that somebody handed to us or defined, wherever; the latest of that name."""
    waiting, found = [Specification], None
    while waiting:
        kind = waiting.pop(0)
        waiting += kind.__subclasses__()
        if f"{kind.__module__}.{kind.__qualname__}" == target:
            found = kind
    return found
