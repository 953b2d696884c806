"""Does a task keep the contract?  An executable check, whose messages guess the cause (as Gymnasium's checker does)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from workbench.errors import WorkbenchError
from workbench.types import ROLES, Array, Observation, Scene, Stream, Task
from workbench.types.abilities import HasPlan, action_groups_of, stages_of

STEPS = 20
"""Random actions that are played per seed; a snapshot is taken halfway."""


class TaskCheckError(WorkbenchError, AssertionError):
    """A task breaks its contract."""


def check_task(task: Task, seeds: Sequence[int] = (0, 1)) -> None:
    """Raise at the first part of the contract that a task breaks.

    Checked: what the task declares, gymnasium's own ``check_env`` where its scene is a ``gymnasium.Env``, byte-equal
    episodes from the same stream, restoring (replay error 0.0, twice, and in another scene), ``without_pending``,
    stages that never fall, finite predicates with the same keys at every step, observations as declared, and a feasible
    plan where there is one.

    Raises
    ------
    TaskCheckError
        What is wrong, and what is probably the cause.
    """
    _check_declaration(task)
    _check_gymnasium(task)
    for seed in seeds:
        stream = Stream(seed, 0)
        _check_episode(task, stream)
        _check_plan(task, stream)
        _check_determinism(task, stream)
        _check_snapshots(task, stream)


def _require(holds: bool, task: Task, what: str) -> None:
    if not holds:
        raise TaskCheckError(f"task {task.name!r}: {what}")


def _check_declaration(task: Task) -> None:
    _require(task.deadline > 0, task, f"its deadline is {task.deadline} control steps; it must be positive")
    _require(bool(task.instruction.strip()), task, "it has no instruction; say in one sentence what is to be done")
    stages = stages_of(task)
    _require(len(set(stages)) == len(stages), task, f"its stages are {stages}; each must be named once, in order")
    _require("success" in task.roles, task, "its roles lack 'success'; say which predicate tells it")
    groups = action_groups_of(task)
    columns = [column for first, end in groups.values() for column in range(first, end)]
    _require(
        sorted(columns) == list(range(task.action_size)),
        task,
        f"its action_groups {dict(groups)} must hold each of the {task.action_size} columns once",
    )
    wrong = [part for part, name in task.roles.items() if part not in ROLES or name not in task.predicate_names]
    _require(not wrong, task, f"its roles {wrong} are unknown or name no predicate; roles: {', '.join(ROLES)}")


def _check_gymnasium(task: Task) -> None:
    import gymnasium
    from gymnasium.utils.env_checker import check_env

    scene = task.scene()
    if not isinstance(scene, gymnasium.Env):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it also warns about what is only unusual, such as unbounded observations
        try:
            check_env(cast(Any, scene), skip_render_check=True)
        except Exception as error:
            raise TaskCheckError(f"task {task.name!r}: gymnasium's check_env refuses its scene: {error}") from error


def _actions(task: Task, stream: Stream) -> Array:
    return stream.child("check_task").at().uniform(-1, 1, (STEPS, task.action_size))


def _check_episode(task: Task, stream: Stream) -> None:
    scene = task.scene()
    observation = scene.begin(stream)
    keys, stage = set(scene.truth().predicates), 0
    _require("success" in keys, task, "its predicates lack 'success'; return it with the others")
    for action in [None, *_actions(task, stream)]:
        if action is not None:
            observation = scene.step(action)[0]
        truth, at = scene.truth(), f"at step {scene.step_index} of {stream}"
        sizes = {name: value.shape for name, value in observation.items()}
        declared = {name: (size,) for name, size in task.observation_sizes.items()}
        _require(sizes == declared, task, f"{at} it observes {sizes}, but observation_sizes declares {declared}")
        _require(
            set(truth.predicates) == keys,
            task,
            f"{at} its predicates differ in {sorted(set(truth.predicates) ^ keys)}; give all of them at every step",
        )
        broken = [name for name, value in truth.predicates.items() if not np.isfinite(value)]
        _require(not broken, task, f"{at} the predicates {broken} are not finite; is something divided by zero?")
        _require(
            stage <= truth.stage <= len(stages_of(task)),
            task,
            f"{at} the stage goes from {stage} to {truth.stage} of {len(stages_of(task))}; "
            "a stage once reached stays reached, so keep the highest",
        )
        stage = truth.stage


def _check_plan(task: Task, stream: Stream) -> None:
    if not isinstance(task, HasPlan):
        return
    task_scene, stages = task.scene(), stages_of(task)
    task_scene.begin(stream)
    keyframes = task.plan(task_scene.truth().observation)
    _require(len(keyframes) > 0, task, "its plan is empty at the start of an episode")
    unknown = sorted({frame.stage for frame in keyframes} - set(stages))
    _require(not unknown, task, f"its plan names the stages {unknown}; the task has {stages}")
    order = [stages.index(frame.stage) for frame in keyframes]
    _require(order == sorted(order), task, f"its plan visits the stages {[f.stage for f in keyframes]} out of order")
    for number, frame in enumerate(keyframes):
        pose = np.concatenate([np.ravel(frame.position_m), np.ravel(frame.rotation)])
        _require(
            pose.shape == (12,) and bool(np.isfinite(pose).all()) and frame.tolerance_m > 0,
            task,
            f"keyframe {number} needs a finite position (3,), rotation (3, 3) and a positive tolerance_m",
        )
        proper = np.allclose(frame.rotation @ frame.rotation.T, np.eye(3), atol=1e-6)
        _require(
            proper and float(np.linalg.det(frame.rotation)) > 0,
            task,
            f"keyframe {number} has no proper rotation; is an axis missing, scaled, or mirrored?",
        )


def _play(scene: Scene, actions: Array) -> bytes:
    return b"".join(_moment(scene, scene.step(action)[0]) for action in actions)


def _moment(scene: Scene, observation: Observation) -> bytes:
    snapshot, truth = scene.snapshot(), scene.truth()
    rows = [snapshot.state, snapshot.memory, [truth.stage, snapshot.step], *truth.predicates.values()]
    seen = [observation[name] for name in sorted(observation)]
    return b"".join(np.asarray(row, dtype=np.float64).tobytes() for row in [*rows, *seen])


def _check_determinism(task: Task, stream: Stream) -> None:
    scene, actions = task.scene(), _actions(task, stream)
    first = _moment(scene, scene.begin(stream)) + _play(scene, actions)
    again = _moment(scene, scene.begin(stream)) + _play(scene, actions)
    _require(
        first == again,
        task,
        f"two episodes of {stream} differ; is something drawn from a global generator, or kept from the last episode?",
    )


def _check_snapshots(task: Task, stream: Stream) -> None:
    scene, actions = task.scene(), _actions(task, stream)
    scene.begin(stream)
    _play(scene, actions[: STEPS // 2])
    snapshot, rest = scene.snapshot(), actions[STEPS // 2 :]
    future = _play(scene, rest)
    elsewhere = task.scene()
    elsewhere.begin(Stream(stream.seed, stream.episode + 1))
    for which, where in (("the first time", scene), ("the second time", scene), ("in another scene", elsewhere)):
        where.restore(snapshot)
        _require(
            _play(where, rest) == future,
            task,
            f"restored {which} at step {snapshot.step} of {stream}, the same actions lead elsewhere; "
            "does the task or scene keep something that a snapshot does not?",
        )
    left = scene.without_pending(snapshot)
    same = np.array_equal(left.state, snapshot.state) and np.array_equal(left.memory, snapshot.memory)
    _require(
        same and left.step == snapshot.step and left.perturbations == snapshot.perturbations,
        task,
        "without_pending changes a snapshot that has no perturbations; it may only leave some out",
    )
