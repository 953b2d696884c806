"""What comes back from a store as a fault is such as could have been drawn: on the task that it is put into."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from workbench.config import build, read_yaml
from workbench.envs.faults.specification import Specification, describe, effect_of
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.push_t import PushT
from workbench.errors import ConfigError, WorkbenchError
from workbench.types import Stream

CONF = Path(__file__).parents[2] / "conf" / "perturbation"
CAMERAS = {"names": ["agentview", "wrist"], "width_px": 16, "height_px": 16, "depth": True}
STREAM = Stream(0, 3)
PROP = {"name": "prop_box", "size_m": [0.01] * 3, "rgba": [1, 1, 1, 1], "angles_rad": [0], "gaps_m": [0]}
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))


@pytest.fixture(scope="module")
def tasks():
    return [Lift(cameras=CAMERAS), PushT()]


def drawn(name, task):
    return build(read_yaml(CONF / f"{name}.yaml")[name]).draw(STREAM, task)


def possible(tasks):
    """(task, record) of every fault and task that go together."""
    for name in NAMES:
        for task in tasks:
            try:
                yield task, drawn(name, task)
            except WorkbenchError:
                continue


def test_all_that_is_drawn_comes_back_and_is_described(tasks):
    count = 0
    for task, record in possible(tasks):
        again = json.loads(json.dumps(record))
        assert effect_of(again, STREAM, task).record == record
        assert describe(again)
        count += 1
    assert count > 100


@pytest.mark.parametrize("key", ["name", "channel", "target", "start_step", "stage", "predicate", "duration_steps"])
def test_what_every_record_says_is_needed_by_every_fault(tasks, key):
    for task, record in possible(tasks):
        with pytest.raises(WorkbenchError):
            effect_of({other: record[other] for other in record if other != key}, STREAM, task)


@pytest.mark.parametrize(
    "value", [None, "x", [], {}, True, math.nan, math.inf, -1e9, 0, 1e9, 10**30, [[1.0]], ["x"] * 3]
)
def test_a_magnitude_is_bounded_when_it_is_read_too(tasks, value):
    for task, record in possible(tasks):
        kind = type(build(read_yaml(CONF / f"{record['name']}.yaml")[record["name"]]))
        magnitude = kind.magnitude.name
        if magnitude == "duration_steps" or isinstance(record[magnitude], str):
            continue
        for check in (describe, lambda each, task=task: effect_of(each, STREAM, task)):
            with pytest.raises(ConfigError, match=magnitude):
                check(record | {magnitude: value})


def test_each_key_may_hold_nothing_else_and_none_is_added(tasks):
    for task, record in possible(tasks):
        for key in record:
            for value in ({"a": 1}, [["x"]], "../../../t/x\n", math.nan):
                with pytest.raises(WorkbenchError) as refused:
                    effect_of(record | {key: value}, STREAM, task)
                assert str(refused.value).isprintable()
        with pytest.raises(ConfigError, match="has 'more', and may have"):
            effect_of(record | {"more": 1}, STREAM, task)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("wrong_order", {"route": ["reach", "nowhere"]}),
        ("wrong_order", {"observation_sizes": {"eef_pos": 3}}),
        ("step_omitted", {"stage": "nowhere"}),
        ("slip", {"predicate": "nothing > 0.5"}),
        ("slip", {"predicate": "grasped > 1e999999"}),
        ("slip", {"predicate": "grasped.__class__"}),
        ("latency", {"action_size": 10**9}),
        ("latency", {"latency_steps": 10**9}),
        ("action_freeze", {"action_size": 6}),
        ("action_bias", {"bias_fraction": [0.1, 0.1]}),
        ("camera_latency", {"qpos_size": 10**9}),
        ("camera_freeze", {"cameras": ["nowhere"]}),
        ("camera_swap", {"cameras": ["wrist", "wrist"]}),
        ("camera_swap", {"cameras": ["wrist"]}),
        ("joint_lock", {"joint": 8}),
        ("joint_lock", {"joint": 0}),
        ("robot_start", {"angle_rad": [0.1]}),
        ("proprioception_bias", {"reading": "fingers"}),
        ("proprioception_delay", {"reading_sizes": {"eef_pos": 10**9}}),
        ("distractors", {"props": []}),
        ("distractors", {"props": [PROP | {"size_m": [0.01]}]}),
        ("distractors", {"props": [PROP | {"name": "world"}]}),
        ("distractors", {"props": [PROP, PROP]}),
        ("distractors", {"props": [PROP | {"angles_rad": [0, 0]}]}),
        ("light", {"tint_scale": [1e9, 1, 1]}),
        ("typos", {"text": "x" * 10**6}),
        ("translation", {"axis": "w"}),
        ("slip", {"channel": "action"}),
    ],
)  # fmt: skip
def test_names_and_sizes_are_those_of_the_task(tasks, name, change):
    record = drawn(name, tasks[0])
    assert effect_of(record, STREAM, tasks[0])
    scene = tasks[0].scene()
    with pytest.raises(ConfigError):
        scene.begin(STREAM, [record | change])


def test_a_fault_that_a_task_cannot_have_is_refused_when_it_is_read(tasks):
    lift, push_t = tasks
    for name in ("slip", "joint_lock", "camera_freeze", "depth_holes", "wrong_order"):
        with pytest.raises(ConfigError):
            effect_of(drawn(name, lift), STREAM, push_t)


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        "slip",
        3,
        {},
        {"target": None},
        {"target": ["x"]},
        {"target": "x" * 10**6},
        {"target": ".".join("a" * 5000)},
        {"target": "workbench.envs.perturbations.slip.Slip.effect"},
        {"target": "workbench.envs.perturbations.slip"},
        {"target": "workbench.cli.os.system"},
        {"target": "workbench.envs.faults.specification.Specification"},
    ],
)
def test_what_is_no_record_is_refused_in_one_line(record):
    for check in (describe, lambda each: effect_of(each, STREAM), lambda each: Lift().scene().begin(STREAM, [each])):
        with pytest.raises(ConfigError) as refused:
            check(record)
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 400


def test_a_restored_snapshot_is_held_against_the_task_too(tasks):
    scene = tasks[0].scene()
    scene.begin(STREAM, [drawn("slip", tasks[0])])
    snapshot = scene.snapshot()
    changed = dataclasses.replace(snapshot, perturbations=({**snapshot.perturbations[0], "stage": "nowhere"},))
    for restore in (scene.restore, scene.without_pending):
        with pytest.raises(ConfigError, match="stage"):
            restore(changed)


def test_every_fault_of_ours_declares_all_that_it_draws(tasks):
    for _, record in possible(tasks):
        kind = type(build(read_yaml(CONF / f"{record['name']}.yaml")[record["name"]]))
        assert issubclass(kind, Specification)
        assert set(kind.fields()) == set(record), kind
