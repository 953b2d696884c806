"""What every fault states: bounds, a schedule, and what a task or a policy must have for it to mean anything.

A *specification* (one class a file in ``perturbations/``) holds bounds and refuses what lies outside them.  Its
``draw`` turns them into a *record*: plain data, stored as drawn, from which the scene makes an *effect*
(:mod:`workbench.envs.faults.effect`).  Replaying the record therefore replays the fault bit for bit, and no draw is
ever repeated.

A task whose object hangs on a hinge has ``object_is_free = False``; faults that need a free joint are then refused when
drawn.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int, within_steps
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import FOREVER, comparison, when
from workbench.envs.task import HasModel
from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Policy, Record, Stream, Task
from workbench.types.abilities import HasPlan, commands_pose, finger_channels, image_sizes_of, robot_of, stages_of
from workbench.types.reading import NAME, Size, Source, among, checked, keys, shown, whole
from workbench.types.robot import PLACE
from workbench.types.trust import OURS, named

CHANGING = ("edit", "strike", "push", "look")
"""Methods of an effect that change MuJoCo's model or state, or what is drawn of them."""
RECORDED = "workbench.envs.perturbations."
"""What the targets of stored records begin with; nothing else is imported for one."""
MOST_LETTERS = 300
"""Of a target."""
_known: weakref.WeakKeyDictionary[Task, dict[type[Specification], dict[str, Any]]] = weakref.WeakKeyDictionary()
"""Types of records that were asked for already: looking at a task for what it can have takes time."""


class _OfFile:
    """The name of a fault's file, of the class and of its objects alike."""

    def __get__(self, instance: object, owner: type) -> str:
        return owner.__module__.rsplit(".", 1)[-1]


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
    drawn: ClassVar[Mapping[str, Any]] = {}
    """What a record holds beside schedule and magnitude, or of the magnitude: name -> type; those of its bases, too."""
    lasts: ClassVar[tuple[int, int]] = (1, FOREVER)
    """Bounds of ``duration_steps``."""
    name = _OfFile()
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
        """Raise a ConfigError or UnknownNameError if the task cannot have this fault as it is specified."""
        self.possible(task)
        if self.stage is not None and self.stage not in stages_of(task):
            raise UnknownNameError(f"stage of task {task.name}", self.stage, stages_of(task))
        if self.predicate is not None and comparison(self.predicate)[0] not in task.predicate_names:
            raise UnknownNameError(f"predicate of task {task.name}", self.predicate, task.predicate_names)

    @classmethod
    def possible(cls, task: Task) -> None:
        """Raise a ConfigError if the task cannot have this fault, however it is specified."""
        robot = robot_of(task)
        needs = {
            "needs a scene of MuJoCo's, and that of task {} is none": cls._needs_model()
            and not isinstance(task, HasModel),
            "is a fault of the hand's place, which task {} does not observe": cls.needs_hand
            and not any(key in task.observation_sizes for key in PLACE),
            "is a fault of the fingers, and task {} has none": cls.needs_gripper and not finger_channels(task),
            "needs an object that can go anywhere, and that of task {} hangs on a hinge": cls.needs_free_object
            and not (isinstance(task, HasModel) and task.object_is_free),
            "needs images, and task {} takes none (task.cameras)": cls.needs_cameras and not image_sizes_of(task),
            "is a fault of the gripper's pose, which actions of task {} do not command": cls.needs_pose_control
            and not commands_pose(task),
            "is a fault of an arm's joints, and the robot of task {} has none": cls.needs_arm
            and (robot is None or robot.arm is None),
            "needs a plan of keyframes, and task {} has none": cls.needs_plan and not isinstance(task, HasPlan),
        }
        for why, lacking in needs.items():
            if lacking:
                raise ConfigError(f"perturbation {cls.name} {why.format(task.name)}: leave it out")

    @classmethod
    def _needs_model(cls) -> bool:
        """Whether it reads or changes what MuJoCo's scenes alone have."""
        changes = [getattr(cls.effect, name) is not getattr(Effect, name) for name in CHANGING]
        return cls.needs_free_object or cls.needs_object or cls.needs_hand or any(changes)

    @classmethod
    def fields(cls) -> dict[str, Any]:
        """Types of all that a record of this fault holds; see :mod:`workbench.types.reading`."""
        lasts = int(cls.magnitude.high) if cls.magnitude.name == "duration_steps" else cls.lasts[1]
        found = {
            "name": NAME,
            "channel": among([cls.channel]),
            "target": Annotated[str, Size(1, MOST_LETTERS)],
            "start_step": whole(0, FOREVER),
            "stage": NAME | None,
            "predicate": Annotated[str, Size(1, MOST_LETTERS)] | None,
            cls.magnitude.name: cls.magnitude.drawn,
            # One of zero steps never strikes: the control arm of an experiment.
            "duration_steps": whole(0, lasts),
        }
        for kind in reversed(cls.__mro__):
            found |= vars(kind).get("drawn", {})
        return found

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """The same on a task: the names and sizes that it has."""
        return cls.fields() | {"stage": among([None, *stages_of(task)])}

    @classmethod
    def together(cls, record: Record, task: Task) -> str:
        """Why what a record holds, each possible by itself, is not so together; "" if it is."""
        return ""

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


def effect_of(record: Record, stream: Stream, task: Task | None = None) -> Effect:
    """Make the effect that a stored record describes.

    Raises
    ------
    ConfigError
        If it is no record that the fault could have drawn, on that task where one is given.
    """
    return _read(record, task).effect(record, stream)


def describe(record: Record) -> str:
    """One line for people: what was drawn, and when it strikes."""
    return f"{record['name']}: {_read(record).phrase(record)}, {when(record)}"


def _read(record: Record, task: Task | None = None) -> type[Specification]:
    """The fault that a record is of, once all that it says is known to be possible."""
    kind = _kind(record)
    source = Source(f"the record of perturbation {kind.name}", ConfigError)
    fields = kind.fields() if task is None else _fields_on(kind, task)
    keys(record, fields, fields if kind.__module__.startswith(RECORDED) else record, source)
    for key in fields:
        checked(fields[key], record[key], source, key)
    if task is not None and (why := kind.together(record, task)):
        raise source.wrong(f"is impossible: {why}")
    if record["predicate"] is not None:
        name, _, _ = comparison(record["predicate"])
        if task is not None and name not in task.predicate_names:
            raise UnknownNameError(f"predicate of task {task.name}", record["predicate"], task.predicate_names)
    return kind


def _fields_on(kind: type[Specification], task: Task) -> dict[str, Any]:
    """Types of a fault's records on a task, which is asked once; ConfigError if it cannot have the fault."""
    known = _known.setdefault(task, {})
    if kind not in known:
        kind.possible(task)
        known[kind] = kind.fields_on(task)
    return known[kind]


def _kind(record: Record) -> type[Specification]:
    """The class that a record names: ours, one of an installed package of parts, or one that is loaded already."""
    target = record.get("target") if isinstance(record, dict) else None
    if not isinstance(target, str) or len(target) > MOST_LETTERS:
        raise ConfigError(f"a perturbation record must be an object that names its target, not {shown(record)}")
    if not target.startswith(f"{OURS}."):
        kind = _loaded(target) or named(target)
    elif target.startswith(RECORDED):
        kind = named(target)
    else:
        raise ConfigError(f"a perturbation record must name a target below {RECORDED}, not {shown(target)}")
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
