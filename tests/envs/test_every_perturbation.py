"""Every yaml of ``conf/perturbation`` keeps what every fault promises, on the first task that can have it."""

from __future__ import annotations

import functools
import importlib
import math
import re
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.specification import describe, effect_of
from workbench.envs.scene import MujocoScene
from workbench.envs.tasks.door import Door
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.nut_assembly_square import NutAssemblySquare
from workbench.envs.tasks.peg_insertion import PegInsertion
from workbench.envs.tasks.pick_place_can import PickPlaceCan
from workbench.envs.tasks.push_t import PushT
from workbench.envs.tasks.stack import Stack
from workbench.errors import ConfigError, UnknownNameError
from workbench.testing import perturbation as laws
from workbench.testing.perturbation import DURATION, START, STREAM, Nominal, PerturbationCase, Trace
from workbench.types import Stream

ROOT = Path(__file__).parents[2]
PARTS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "conf/perturbation").glob("*.yaml"))}
NAMES = list(PARTS)
CAMERAS = {"names": ["agentview", "wrist"], "width_px": 16, "height_px": 16}
TASKS = {
    "lift": Lift,
    "lift with cameras": functools.partial(Lift, cameras=CAMERAS),
    "lift with depth": functools.partial(Lift, cameras=CAMERAS | {"depth": True}),
    "stack": Stack,
    "pick_place_can": PickPlaceCan,
    "door": Door,
    "peg_insertion": PegInsertion,
    "nut_assembly_square": NutAssemblySquare,
    "push_t": PushT,
}
CHANNELS = {"keyframe", "action", "physics", "observation", "language", "policy", "trigger"}
END = 45
STACKED = 85
"""Steps of the episode in which something is put down."""
NOW = {"start_step": START, "stage": None, "predicate": None, "duration_steps": DURATION}
LATER = NOW | {"start_step": 10_000, "duration_steps": 10}


def build(name: str, **changes):
    """The specification of a yaml, as the command line would make it."""
    part = PARTS[name][name] | changes
    module, _, kind = part["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), kind)(**{key: part[key] for key in part if key != "_target_"})


def kind_of(name: str) -> type:
    return type(build(name))


@functools.cache
def reference_for(name: str) -> Nominal:
    """The nominal episode of the first task that can have a fault."""
    for task in TASKS:
        found = reference_of(task)
        try:
            build(name).draw(STREAM, found.task)
        except (ConfigError, UnknownNameError):
            continue
        return found
    raise AssertionError(f"no task of {list(TASKS)} can have {name}")


@functools.cache
def reference_of(task: str) -> Nominal:
    made = TASKS[task]()
    return Nominal(made, STACKED if made.name == "stack" else END)


@functools.cache
def case_of(name: str) -> PerturbationCase:
    """A fault of its yaml on the first task that can have it, as the checker tries it."""
    return PerturbationCase(build(name), reference_for(name))


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture
def reference(name) -> Nominal:
    return reference_for(name)


@pytest.fixture
def case(name) -> PerturbationCase:
    return case_of(name)


@pytest.fixture
def record(case):
    """One drawn fault, striking in the middle of the episode."""
    return case.record


@functools.cache
def begins(name: str) -> int:
    """First step of the fault: some wait for an action, such as the first that closes the fingers."""
    waits = kind_of(name).effect.advance is not Effect.advance
    started = case_of(name).begins
    assert started >= START if waits else started == START
    return started


def ends(record) -> int:
    return begins(record["name"]) + record["duration_steps"]


def edited_bytes(scene: MujocoScene) -> bytes:
    """All that edits may change: the model and the controller's gains."""
    buffer = np.zeros(mujoco.mj_sizeModel(scene.model), np.uint8)
    mujoco.mj_saveModel(scene.model, None, buffer)
    return buffer.tobytes() + scene.gains.tobytes()


# Configuration


def test_every_fault_has_its_yaml():
    files = {path.stem for path in (ROOT / "envs/perturbations").glob("*.py")} - {"__init__"}
    assert files == set(NAMES)


def test_yaml_names_one_part_after_itself_and_says_what_it_does(name):
    assert list(PARTS[name]) == [name]
    assert PARTS[name][name]["_target_"].startswith(f"workbench.envs.perturbations.{name}.")
    assert (ROOT / f"conf/perturbation/{name}.yaml").read_text().startswith("# ")


def test_it_declares_channel_magnitude_and_source(name):
    kind = kind_of(name)
    assert kind.channel in CHANNELS
    assert isinstance(kind.magnitude, Magnitude)
    assert 0 < kind.magnitude.low < kind.magnitude.high < math.inf
    assert kind.magnitude.worse in ("larger", "smaller")
    assert re.search(r"_(m|n|nm|rad|step|steps|fraction|scale|count|probability|px|s)$|^count$", kind.magnitude.name)
    assert re.search(r"\(.*(19|20)\d\d|none found", kind.__doc__.replace("\n", " ")), "it names no source"


def test_unknown_keys_are_refused(name):
    with pytest.raises(TypeError, match="sevrity"):
        build(name, sevrity=1.0)


@pytest.mark.parametrize("value", [math.nan, 0, -1, 1e9, [math.nan, 1], "0.1", True, [0, 1e9], {}])
def test_impossible_magnitudes_are_refused(name, value):
    key = kind_of(name).magnitude.name
    with pytest.raises(ConfigError, match=key):
        build(name, **{key: value})


def test_magnitudes_just_out_of_range_are_refused_and_the_limits_are_not(name):
    limits = kind_of(name).magnitude
    apart = 1 if limits.whole else 1e-9 * limits.high
    for allowed in (limits.low, limits.high):
        build(name, **{limits.name: int(allowed) if limits.whole else allowed})
    for beyond in (limits.low - apart, limits.high + apart):
        with pytest.raises(ConfigError, match=limits.name):
            build(name, **{limits.name: int(beyond) if limits.whole else beyond})


def test_bounds_out_of_order_are_refused(name):
    limits = kind_of(name).magnitude
    high, low = (int(limits.high), int(limits.low)) if limits.whole else (limits.high, limits.low)
    with pytest.raises(ConfigError, match=limits.name):
        build(name, **{limits.name: [high, low]})


def test_a_magnitude_must_be_given(name):
    part = dict(PARTS[name][name])
    module, _, kind = part.pop("_target_").rpartition(".")
    del part[kind_of(name).magnitude.name]
    with pytest.raises(TypeError, match=kind_of(name).magnitude.name):
        getattr(importlib.import_module(module), kind)(**part)


def test_axes_are_those_that_are_declared(name, reference):
    for axis in kind_of(name).axes:
        assert build(name, axis=axis).draw(STREAM, reference.task)
    if kind_of(name).axes:
        with pytest.raises(UnknownNameError, match="axis"):
            build(name, axis="w")


# Records


def test_record_is_plain_and_whole(name, case):
    laws.record_is_plain_and_whole(case)
    assert case.drawn["name"] == name
    assert case.drawn["channel"] == kind_of(name).channel
    effect_of(case.drawn, STREAM)


def test_draws_lie_within_the_yaml_and_differ(name, reference, case):
    laws.magnitudes_are_bounded_away_from_zero(case)
    key, given = kind_of(name).magnitude.name, PARTS[name][name]
    low, high = given[key] if isinstance(given[key], list) else (given[key], given[key])
    records = [build(name).draw(Stream(0, episode), reference.task) for episode in range(60)]
    lengths = np.array([np.linalg.norm(record[key]) for record in records])
    assert (lengths >= low * (1 - 1e-12)).all()
    assert (lengths <= high * (1 + 1e-12)).all()
    if low < high:
        assert lengths.min() < low + 0.35 * (high - low)
        assert lengths.max() > high - 0.35 * (high - low)


def test_draws_depend_on_seed_and_episode_alone(name, reference, case):
    laws.draws_follow_the_stream_alone(case)
    first = build(name).draw(STREAM, reference.task)
    for other in NAMES:
        if other != name and reference_for(other) is reference:
            build(other).draw(STREAM, reference.task)
    assert build(name).draw(STREAM, reference.task) == first
    # whole numbers of steps may well be drawn twice
    assert any(build(name).draw(Stream(STREAM.seed, n), reference.task) != first for n in range(20))
    assert any(build(name).draw(Stream(n, STREAM.episode), reference.task) != first for n in range(20))


def test_description_tells_magnitude_and_schedule(name, reference):
    key, task = kind_of(name).magnitude, reference.task
    record = build(name).draw(STREAM, task) | NOW | {"start_step": 31}
    line = describe(record)
    assert line.startswith(f"{name}: ")
    assert "step 31" in line
    assert "\n" not in line
    assert "3 steps into stage grasp" in describe(record | {"start_step": 3, "stage": "grasp"})
    assert "3 steps into grasped" in describe(record | {"start_step": 3, "predicate": "grasped"})
    ends = [int(end) if key.whole else end for end in (key.low, key.high)]
    weak, strong = (build(name, **{key.name: end}).draw(STREAM, task) for end in ends)
    assert describe(weak) != describe(strong), "how strong it is goes unsaid"


# At work


def test_fault_that_never_starts_is_the_identity(record, reference, case):
    laws.without_time_it_has_no_effect(case)
    reference.run([record | LATER])
    assert reference.scene.injected() == -1


def test_nothing_happens_before_it_starts(case):
    laws.nothing_happens_before_it_strikes(case)


def test_it_happens_and_is_said_to(record, case):
    assert case.begins == begins(record["name"])
    laws.it_does_something(case)


def test_it_is_over_when_its_time_is(reference, case):
    """What it did to the world stays; what is asked is executed again, and what is there is seen."""
    laws.it_is_over_when_its_time_is(case)
    if case.trace.states == reference.trace.states:  # nothing of the world was touched
        assert case.trace.all(case.ends) == reference.trace.all(case.ends)
    assert len(reference.scene.queue(np.zeros((4, reference.task.action_size)), 2)) == 2


@pytest.mark.parametrize("episode", range(3))
def test_undo_is_exact(record, reference, episode):
    """Of several magnitudes: dividing by a factor undoes a product exactly for some of them only."""
    scene, stream, end = reference.scene, Stream(0, episode), ends(record)
    again = build(record["name"]).draw(stream, reference.task)
    scene.begin(stream, [again | {key: record[key] for key in NOW}])
    before, edited = edited_bytes(scene), False
    for action in reference.actions[:end]:
        scene.step(action)
        edited |= edited_bytes(scene) != before
    assert edited == (kind_of(record["name"]).effect.edit is not Effect.edit)
    assert edited_bytes(scene) == before


def test_next_episode_is_clean(case):
    laws.what_it_changed_is_undone_exactly(case)


def test_stored_record_replays_bit_for_bit(case):
    laws.its_record_replays_bit_for_bit(case)


def test_what_a_policy_cannot_have_is_refused_in_one_line(case):
    laws.what_it_cannot_have_is_refused(case)


def test_it_goes_on_from_a_snapshot_in_a_scene_that_has_done_something_else(case):
    laws.restored_it_goes_on_bit_for_bit(case)


def test_every_law_of_the_checker_is_tried_here():
    """So that every yaml passes the checker, law by law."""
    here = Path(__file__).read_text()
    assert [law.__name__ for law in laws.LAWS if f"    laws.{law.__name__}(case)" not in here] == []


@pytest.mark.parametrize("after", [0, 5, DURATION])
@pytest.mark.parametrize("same_scene", [True, False])
def test_restoring_a_snapshot_is_bit_exact(record, reference, after, same_scene):
    scene, at = reference.scene, begins(record["name"]) + after
    whole = reference.run([record])
    scene.begin(STREAM, [record])
    for action in reference.actions[:at]:
        scene.step(action)
    snapshot = scene.snapshot()
    other = scene if same_scene else reference.task.scene()
    if not same_scene:
        other.begin(Stream(9, 9), [build(dirty).draw(Stream(9, 9), other.task) | NOW for dirty in ("friction", "slip")])
    for action in reference.actions[: START + 2]:
        other.step(-action)
    branch = Trace(other, other.restore(snapshot)).go_on(reference.actions[at:])
    assert branch.all() == whole.all(at)
    assert branch.memories == whole.memories[at:]


def test_other_faults_leave_its_draws_and_noise_alone(record, reference, case):
    """With others beside it, before and behind, that never strike."""
    laws.others_keep_their_draws(case)
    others = [name for name in NAMES if name != record["name"] and reference_for(name) is reference][:12]
    idle = [build(name).draw(STREAM, reference.task) | LATER for name in others]
    assert reference.run([*idle[:6], record, *idle[6:]]).all() == reference.run([record]).all()


@pytest.mark.parametrize("task", [task for task in TASKS if "with" not in task and task != "lift"])
def test_on_other_tasks_it_replays_and_restores_unless_it_is_refused(name, task):
    reference = reference_of(task)
    try:
        drawn = build(name).draw(STREAM, reference.task)
    except (ConfigError, UnknownNameError):
        return
    record = drawn | NOW | ({"duration_steps": 1} if drawn["duration_steps"] == 1 else {})
    whole, scene = reference.run([record]), reference.scene
    assert whole.all(0, START) == reference.trace.all(0, START)
    scene.begin(STREAM, [record])
    for action in reference.actions[: START + 5]:
        scene.step(action)
    other = reference.task.scene()
    branch = Trace(other, other.restore(scene.snapshot())).go_on(reference.actions[START + 5 :])
    assert branch.all() == whole.all(START + 5)
