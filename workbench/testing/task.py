"""Does a task keep the contract?  The laws, one function each, and what they are tried on.

As Gymnasium's ``check_env`` does, messages guess the cause.  Abilities that a task does not have are not asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, cast

import numpy as np

from workbench.config import build, read_yaml
from workbench.errors import ContractError, DivergedError, WorkbenchError
from workbench.rollouts.modes import modes_of
from workbench.store.layout import PART
from workbench.testing.contract import blaming, driver_of, require
from workbench.types import ROLES, Array, Keyframe, Observation, Scene, Stream, Task
from workbench.types.abilities import HasShapes, action_groups_of, image_sizes_of, images_of, stages_of

STEPS = 20
"""Random actions that are played per seed; a snapshot is taken halfway."""
LETTERS = 4096
"""Of an instruction; what a request to a policy server may hold."""
REST_STEPS, FASTEST_M_S = 5, 5.0
"""For how many control steps without an action after a reset nothing may be faster than that."""


def check_task(task: Task, seeds: Sequence[int] = (0, 1)) -> tuple[str, ...]:
    """Raise at the first law that a task breaks; returns the laws that it keeps.

    Parameters
    ----------
    seeds : of the episodes in which it is tried.  The scripted expert, where one can drive it, has to win one of them.

    Raises
    ------
    ContractError
        What is wrong, and what is probably the cause.
    """
    declares_what_it_is(task)
    gymnasium_accepts_its_scene(task)
    cases = [TaskCase(task, Stream(seed, 0)) for seed in seeds]
    for law in LAWS:
        for case in cases:
            law(case)
    its_plan_ends_in_success(cases)
    every_fault_can_be_had_or_is_refused(cases[0])
    return tuple(law.__name__ for law in TRIED)


@dataclasses.dataclass(frozen=True)
class TaskCase:
    """A task and the episode in which it is tried."""

    task: Task
    stream: Stream

    @property
    def who(self) -> str:
        """How messages call the task."""
        return name_of(self.task)

    @functools.cached_property
    def actions(self) -> Array:
        """(STEPS, A) drawn actions."""
        return self.stream.child("check_task").at().uniform(-1, 1, (STEPS, self.task.action_size))

    def scene(self) -> Scene:
        """A new scene."""
        with blaming(self.who, "scene()"):
            return self.task.scene()

    def begin(self, scene: Scene) -> Observation:
        """The episode's first observation."""
        with blaming(self.who, f"begin({self.stream})"):
            return scene.begin(self.stream)


def name_of(task: Task) -> str:
    """How messages call a task."""
    return f"task {task.name!r}"


def declares_what_it_is(task: Task) -> None:
    """It has a deadline, an instruction, roles of its own predicates; stages and action groups, if any, are whole."""
    who, told = name_of(task), task.instruction
    whole = isinstance(task.deadline, int) and not isinstance(task.deadline, bool) and task.deadline > 0
    require(whole, who, f"its deadline is {task.deadline!r} control steps; it must be a positive whole number")
    hz = isinstance(task.control_hz, (int, float)) and 0 < task.control_hz < math.inf
    require(hz, who, f"control_hz={task.control_hz!r} control steps a second; it must be positive, and a number")
    require(isinstance(task.name, str) and bool(task.name), who, "its name must be a word")
    spoken = isinstance(told, str) and bool(told.strip())
    require(spoken, who, "it has no instruction; say in one sentence what is to be done")
    require(told.isprintable(), who, f"its instruction {told!r} holds what cannot be printed; leave it out")
    require(len(told) <= LETTERS, who, f"its instruction has {len(told)} letters; policies are told up to {LETTERS}")
    stages = stages_of(task)
    require(len(set(stages)) == len(stages), who, f"its stages are {stages}; they must be in order, each named once")
    require("success" in task.roles, who, "its roles lack 'success'; say which predicate tells it")
    groups = action_groups_of(task)
    columns = [column for first, end in groups.values() for column in range(first, end)]
    require(
        sorted(columns) == list(range(task.action_size)),
        who,
        f"its action_groups {dict(groups)} must hold each of the {task.action_size} columns once",
    )
    with blaming(who, "predicate_names"):
        names = task.predicate_names
    odd = [name for name in (*task.observation_sizes, *image_sizes_of(task), *names) if not PART.fullmatch(str(name))]
    require(
        not odd,
        who,
        f"the names {odd} of observations, cameras or predicates cannot name arrays of a store; take letters, digits, "
        "'_', '.' and '-'",
    )
    wrong = [part for part, name in task.roles.items() if part not in ROLES or name not in names]
    require(not wrong, who, f"its roles {wrong} are unknown or name no predicate; roles: {', '.join(ROLES)}")


def gymnasium_accepts_its_scene(task: Task) -> None:
    """Gymnasium's own ``check_env`` finds nothing, if the scene is one of its environments."""
    import gymnasium
    from gymnasium.utils.env_checker import check_env

    with blaming(name_of(task), "scene()"):
        scene = task.scene()
    if not isinstance(scene, gymnasium.Env):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it also warns about what is only unusual, such as unbounded observations
        try:
            check_env(cast(Any, scene), skip_render_check=True)
        except Exception as error:
            raise ContractError(f"{name_of(task)}: gymnasium's check_env refuses its scene: {error}") from error


def observes_and_judges_as_declared(case: TaskCase) -> None:
    """Observations have the declared sizes; predicates are finite and always the same; stages never fall."""
    task, who, scene = case.task, case.who, case.scene()
    observation = case.begin(scene)
    keys, stage = set(scene.truth().predicates), 0
    require("success" in keys, who, "its predicates lack 'success'; return it with the others")
    stages = len(stages_of(task))
    for action in [None, *case.actions]:
        if action is not None:
            observation = scene.step(action)[0]
        truth, at = scene.truth(), f"at step {scene.step_index} of {case.stream}"
        sizes = {name: value.shape for name, value in observation.items()}
        declared = {name: (size,) for name, size in task.observation_sizes.items()}
        require(sizes == declared, who, f"{at} it observes {sizes}, but observation_sizes declares {declared}")
        require(
            set(truth.predicates) == keys,
            who,
            f"{at} its predicates differ in {sorted(set(truth.predicates) ^ keys)}; give all of them at every step",
        )
        broken = [name for name, value in truth.predicates.items() if not np.isfinite(value)]
        require(not broken, who, f"{at} the predicates {broken} are not finite; is something divided by zero?")
        require(
            truth.success == bool(truth.predicates[task.roles["success"]]),
            who,
            f"{at} truth().success is {truth.success}, but the predicate with that role, {task.roles['success']!r}, is "
            f"{truth.predicates[task.roles['success']]}",
        )
        require(
            stage <= truth.stage <= stages,
            who,
            f"{at} the stage goes from {stage} to {truth.stage} of {stages}; "
            "a stage once reached stays reached, so keep the highest",
        )
        stage = truth.stage


def failure_modes_can_be_read(case: TaskCase) -> None:
    """Its roles suffice for the failure modes that are read from them."""
    scene = case.scene()
    case.begin(scene)
    rows: dict[str, list[float]] = {}
    for action in case.actions:
        scene.step(action)
        for name, value in scene.truth().predicates.items():
            rows.setdefault(f"predicates/{name}", []).append(value)
    steps = {"action": case.actions, **{name: np.array(values) for name, values in rows.items()}}
    try:
        modes_of(steps, case.task)
    except KeyError as error:
        raise ContractError(
            f"{case.who}: failure modes are read from its roles {sorted(case.task.roles)}, which lack {error}: with a "
            "role such as `held` belong others, such as `finger_gap`; add it, or leave out the role that needs it"
        ) from error


def it_begins_at_rest(case: TaskCase) -> None:
    """Without an action, nothing is thrown about after a reset."""
    scene, who = case.scene(), case.who
    case.begin(scene)
    place = getattr(scene, "body_poses", dict)
    before = {name: position for name, (position, _) in place().items()}
    for _ in range(REST_STEPS):
        try:
            scene.step(np.zeros(case.task.action_size))
        except DivergedError as error:
            raise ContractError(f"{who}: its physics diverges without an action: {error}") from error
        after = {name: position for name, (position, _) in place().items()}
        speeds = {name: float(np.linalg.norm(after[name] - before[name])) * case.task.control_hz for name in before}
        thrown = {name: speed for name, speed in speeds.items() if not speed < FASTEST_M_S}
        require(
            not thrown,
            who,
            f"at step {scene.step_index} of {case.stream}, without an action, {', '.join(thrown)} moves faster than "
            f"{FASTEST_M_S:g} m/s; is it put inside something else, or falls?",
        )
        before = after


def episodes_follow_their_stream(case: TaskCase) -> None:
    """Two episodes of one stream are equal to the last byte."""
    scene = case.scene()
    first = _moment(scene, case.begin(scene)) + _play(scene, case.actions)
    again = _moment(scene, case.begin(scene)) + _play(scene, case.actions)
    require(
        first == again,
        case.who,
        f"two episodes of {case.stream} differ; is something drawn from a global generator, or kept from the last "
        "episode?",
    )


def restored_it_goes_on_bit_for_bit(case: TaskCase) -> None:
    """From a snapshot the same future follows: twice, in a scene that did something else, and in a new one."""
    scene, actions = case.scene(), case.actions
    case.begin(scene)
    _play(scene, actions[: STEPS // 2])
    snapshot, rest = scene.snapshot(), actions[STEPS // 2 :]
    future = _play(scene, rest)
    elsewhere = case.scene()
    elsewhere.begin(Stream(case.stream.seed, case.stream.episode + 1))
    places = {
        "the first time": scene,
        "the second time": scene,
        "in another scene": elsewhere,
        "in a new scene": case.scene(),
    }
    for which, where in places.items():
        with blaming(case.who, f"restore {which}"):
            where.restore(snapshot)
        require(
            _play(where, rest) == future,
            case.who,
            f"restored {which} at step {snapshot.step} of {case.stream}, the same actions lead elsewhere; "
            "does the task or scene keep something that a snapshot does not?",
        )
    left = scene.without_pending(snapshot)
    same = np.array_equal(left.state, snapshot.state) and np.array_equal(left.memory, snapshot.memory)
    require(
        same and left.step == snapshot.step and left.perturbations == snapshot.perturbations,
        case.who,
        "without_pending changes a snapshot that has no perturbations; it may only leave some out",
    )


def _play(scene: Scene, actions: Array) -> bytes:
    return b"".join(_moment(scene, scene.step(action)[0]) for action in actions)


def _moment(scene: Scene, observation: Observation) -> bytes:
    snapshot, truth = scene.snapshot(), scene.truth()
    rows = [snapshot.state, snapshot.memory, [truth.stage, snapshot.step], *truth.predicates.values()]
    seen = [observation[name] for name in sorted(observation)]
    return b"".join(np.asarray(row, dtype=np.float64).tobytes() for row in [*rows, *seen])


def it_can_be_looked_at(case: TaskCase) -> None:
    """Images have the declared size; geometries belong to bodies that have a pose; as far as a scene offers them."""
    scene, who = case.scene(), case.who
    case.begin(scene)
    sizes = image_sizes_of(case.task)
    if sizes:
        with blaming(who, "images()"):
            found = {name: value.shape for name, value in images_of(scene).items() if name.startswith("images/")}
        wanted = {f"images/{camera}": (*size, 3) for camera, size in sizes.items()}
        require(found == wanted, who, f"its images have shapes {found}, but image_sizes declares {wanted}")
    if isinstance(scene, HasShapes):
        with blaming(who, "shapes(), which viewers draw (does the model have the props that faults bring in?)"):
            bodies = {shape.body for shape in scene.shapes()}
        missing = sorted(bodies - set(scene.body_poses()))
        require(not missing, who, f"shapes() names bodies that body_poses() does not have: {missing}")


def its_plan_is_whole(case: TaskCase) -> None:
    """Keyframes are proper poses, and go through its stages in order; for a task with a plan."""
    plan: Callable[[Observation], Sequence[Keyframe]] | None = getattr(case.task, "plan", None)
    if plan is None:
        return
    who, stages = case.who, stages_of(case.task)
    scene = case.scene()
    case.begin(scene)
    with blaming(who, "plan at the start of an episode"):
        keyframes = plan(scene.truth().observation)
    require(len(keyframes) > 0, who, "its plan is empty at the start of an episode")
    unknown = sorted({frame.stage for frame in keyframes} - set(stages))
    require(not unknown, who, f"its plan names the stages {unknown}; the task has {stages}")
    order = [stages.index(frame.stage) for frame in keyframes]
    require(order == sorted(order), who, f"its plan visits the stages {[f.stage for f in keyframes]} out of order")
    for number, frame in enumerate(keyframes):
        pose = np.concatenate([np.ravel(frame.position_m), np.ravel(frame.rotation)])
        require(
            pose.shape == (12,) and bool(np.isfinite(pose).all()) and frame.tolerance_m > 0,
            who,
            f"keyframe {number} needs a finite position (3,), rotation (3, 3) and a positive tolerance_m",
        )
        proper = np.allclose(frame.rotation @ frame.rotation.T, np.eye(3), atol=1e-6)
        require(
            proper and float(np.linalg.det(frame.rotation)) > 0,
            who,
            f"keyframe {number} has no proper rotation; is an axis missing, scaled, or mirrored?",
        )


def its_plan_ends_in_success(cases: Sequence[TaskCase]) -> None:
    """The scripted expert, who follows the plan, wins at least one of the episodes; where it can drive the task."""
    reached: list[str] = []
    for case in cases:
        if not hasattr(case.task, "plan"):
            return
        scene, act = case.scene(), driver_of(case.task)
        if act is None:
            return
        case.begin(scene)
        before = scene.truth().observation
        while scene.step_index < case.task.deadline:
            now = scene.truth().observation
            with blaming(case.who, f"the expert on its plan at step {scene.step_index} of {case.stream}"):
                action = act({key: np.stack([before[key], now[key]]) for key in now})
            before, success = now, scene.step(action)[1]
            if success:
                return
        reached.append(f"stage {scene.truth().stage} of {len(stages_of(case.task))}")
    raise ContractError(
        f"{cases[0].who}: the scripted expert, who follows its plan, wins none of {len(cases)} episodes "
        f"({', '.join(reached)} in {cases[0].task.deadline} steps). Is a keyframe out of the arm's reach or inside "
        "something, a tolerance_m too small, the deadline too short, or does `success` never hold where the plan ends?"
    )


def every_fault_can_be_had_or_is_refused(case: TaskCase) -> None:
    """Each perturbation that is configured can strike, or is refused; no other error comes of it."""
    scene = case.scene()
    for file in sorted((Path(str(resources.files("workbench.conf"))) / "perturbation").glob("*.yaml")):
        name, node = next(iter(read_yaml(file).items()))
        fault = build(node)
        try:
            record = fault.draw(case.stream, case.task)
            scene.begin(case.stream, [record | {"start_step": 1, "stage": None, "predicate": None}])
            for action in case.actions[:4]:
                scene.step(action)
        except WorkbenchError:
            continue
        except Exception as error:
            raise ContractError(
                f"{case.who}: perturbation {name} raises {type(error).__name__} ({error}) on it. Does the model have "
                "the props that faults bring in (workbench.envs.faults.props.with_props), and the bodies, joints and "
                "geometries that the task names?"
            ) from error


LAWS: tuple[Callable[[TaskCase], None], ...] = (
    it_begins_at_rest,
    observes_and_judges_as_declared,
    its_plan_is_whole,
    episodes_follow_their_stream,
    restored_it_goes_on_bit_for_bit,
    failure_modes_can_be_read,
    it_can_be_looked_at,
)
TRIED: tuple[Callable[..., None], ...] = (
    declares_what_it_is,
    gymnasium_accepts_its_scene,
    *LAWS,
    its_plan_ends_in_success,
    every_fault_can_be_had_or_is_refused,
)
"""Every law, in order."""
