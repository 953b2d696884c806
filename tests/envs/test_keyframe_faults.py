"""What each fault of the keyframes does, to a driver that closes the loop."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from workbench.envs.faults import hand
from workbench.envs.faults.specification import describe
from workbench.envs.robots.panda import PANDA
from workbench.envs.tasks.blocks import Blocks
from workbench.envs.tasks.door import Door
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.nut_assembly_square import NutAssemblySquare
from workbench.envs.tasks.peg_insertion import PegInsertion
from workbench.envs.tasks.pick_place_can import PickPlaceCan
from workbench.envs.tasks.push_t import PushT
from workbench.envs.tasks.shared.tabletop import TABLE_M, pointing_down
from workbench.envs.tasks.stack import Stack
from workbench.errors import ConfigError, UnknownNameError
from workbench.policies.expert import Expert
from workbench.types import Keyframe, Stream
from workbench.types.rotations import product, quaternion_of, rotated, rotation_matrix, rotation_vector

CONF = Path(__file__).parents[2] / "conf/perturbation"
PARTS = {path.stem: yaml.safe_load(path.read_text())[path.stem] for path in sorted(CONF.glob("*.yaml"))}
STREAM = Stream(5, 7)
EVER = {"start_step": 0, "stage": None, "predicate": None, "duration_steps": 1000}
ABOVE_M, DOWN = np.array([-0.1, 0.05, 0.95]), pointing_down(1.3)
REST_M, REST_STEPS = 0.002, 90


def kind(name: str):
    module, _, cls = PARTS[name]["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), cls)


OF_GOAL_OR_SEQUENCE = {"wrong_object", "wrong_target", "step_omitted", "step_duplicated", "wrong_order"}
NAMES = [name for name in PARTS if kind(name).channel == "keyframe" and name not in OF_GOAL_OR_SEQUENCE]


def drawn(task, name: str, **changes):
    """A fault from its yaml, with the record's entries changed."""
    part = {key: value for key, value in PARTS[name].items() if key != "_target_"}
    return kind(name)(**part).draw(STREAM, task) | EVER | changes


@dataclasses.dataclass
class Row:
    """One control step: what was seen and true before the action, and what became of it."""

    seen: dict
    true: dict
    held: bool
    asked: np.ndarray
    applied: np.ndarray
    state: bytes
    snapshot: object


def drive(task, records, steps: int, privileged: bool = False) -> list[Row]:
    """An episode of the scripted policy, which goes on after success."""
    scene, expert, rows = task.scene(), Expert(task, privileged), []
    before = scene.begin(STREAM, records)
    scene.privileged = privileged
    for _ in range(steps):
        truth, snapshot = scene.truth(), scene.snapshot()
        seen = dict(truth.observation) if privileged else scene.observe()
        asked = expert.action({key: np.stack([before[key], seen[key]]) for key in seen})
        applied = scene.step(asked)[4]["applied"]
        held = truth.predicates["grasped"] > 0.5
        rows.append(Row(seen, dict(truth.observation), held, asked, applied, snapshot.state.tobytes(), snapshot))
        before = seen
    return rows


class Hover(Lift):
    """One keyframe in the free air."""

    def plan(self, observation):
        return (Keyframe("reach", ABOVE_M, DOWN, closed=False, tolerance_m=0.01),)


@pytest.fixture(scope="module")
def hover():
    return Hover()


@pytest.fixture(scope="module")
def lift():
    return Lift()


@pytest.fixture(scope="module")
def stack():
    return Stack()


def nominal(task, steps):
    return drive(task, [], steps)


def first(flags) -> int:
    return list(flags).index(True)


# Geometry


def exponential(vector):
    """Rodrigues' formula."""
    angle = np.linalg.norm(vector)
    x, y, z = np.asarray(vector) / angle
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew


@pytest.mark.parametrize("number", range(5))
def test_quaternions_are_the_rotations_that_they_say(number):
    rng = np.random.default_rng(number)
    a, b, v = rng.normal(size=(3, 3))
    p, q = quaternion_of(a), quaternion_of(b)
    assert np.allclose(rotation_matrix(p), exponential(a), atol=1e-12)
    assert np.allclose(rotation_matrix(product(p, q)), exponential(a) @ exponential(b), atol=1e-12)
    assert np.allclose(rotated(v, p), exponential(a) @ v, atol=1e-12)
    assert quaternion_of([0, 0, 0]).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("angle_rad", [0.3, 2.9])
def test_shown_rotation_is_the_inverse_in_its_frame_and_of_the_same_sign(angle_rad):
    vector, rng = angle_rad * np.array([0.6, 0.0, 0.8]), np.random.default_rng(1)
    quaternion = quaternion_of(rng.normal(size=3))
    true = rotation_matrix(quaternion)
    for frame, expected in ("world", exponential(-vector) @ true), ("tool", true @ exponential(-vector)):
        for sign in (1, -1):
            shown = hand.seen_turned(sign * quaternion, vector, frame)
            assert np.allclose(rotation_matrix(shown), expected, atol=1e-12)
            assert shown @ (sign * quaternion) >= 0


def test_every_axis_and_sign_is_drawn_and_always_with_three_numbers():
    rng = np.random.default_rng(0)
    draws = [hand.drawn_along(rng, None, (0.1, 0.3)) for _ in range(3000)]
    counts = {}
    for axis, vector in draws:
        along = vector["xyz".index(axis)]
        assert 0.1 <= abs(along) <= 0.3
        assert np.count_nonzero(vector) == 1
        counts[axis, along > 0] = counts.get((axis, along > 0), 0) + 1
    assert len(counts) == 6
    assert all(abs(count - 500) < 90 for count in counts.values())  # 4.4 standard deviations
    given, free = np.random.default_rng(3), np.random.default_rng(3)
    assert (
        hand.drawn_along(given, "y", (0.1, 0.3))[1][1] in (part for part in hand.drawn_along(free, None, (0.1, 0.3))[1])
        or given.random() == free.random()
    )


# Where the hand comes to rest


@pytest.mark.parametrize(
    ("frame", "offset_m"),
    [("world", [0.04, 0, 0]), ("world", [0, 0, -0.05]), ("tool", [0, -0.03, 0]), ("tool", [0, 0, 0.06])],
)
def test_translation_brings_the_hand_to_rest_at_the_displaced_keyframe(hover, frame, offset_m):
    rows = drive(hover, [drawn(hover, "translation", frame=frame, offset_m=offset_m)], REST_STEPS)
    expected = ABOVE_M + (DOWN @ offset_m if frame == "tool" else offset_m)
    assert np.linalg.norm(rows[-1].true["eef_pos"] - expected) < REST_M
    assert np.linalg.norm(nominal(hover, REST_STEPS)[-1].true["eef_pos"] - ABOVE_M) < REST_M


@pytest.mark.parametrize("frame", ["world", "tool"])
@pytest.mark.parametrize("angle_rad", [[0.4, 0, 0], [0, -0.3, 0], [0, 0, 0.5]])
def test_rotation_brings_the_hand_to_rest_turned(hover, frame, angle_rad):
    rows = drive(hover, [drawn(hover, "rotation", frame=frame, angle_rad=angle_rad)], REST_STEPS)
    fault, keyframe = exponential(angle_rad), DOWN
    expected = fault @ keyframe if frame == "world" else keyframe @ fault
    off = expected @ rotation_matrix(rows[-1].true["eef_quat"]).T
    assert np.linalg.norm(rotation_vector(off)) < 0.01
    assert np.linalg.norm(rows[-1].true["eef_pos"] - ABOVE_M) < REST_M


@pytest.mark.parametrize("remaining", [0.1, 0.5])
def test_stop_short_leaves_a_part_of_the_way(hover, remaining):
    rows = drive(hover, [drawn(hover, "stop_short", remaining_fraction=remaining)], REST_STEPS)
    begin = rows[0].true["eef_pos"]
    expected = begin + (1 - remaining) * (ABOVE_M - begin)
    assert np.linalg.norm(rows[-1].true["eef_pos"] - expected) < REST_M


@pytest.mark.parametrize("beyond_m", [0.01, 0.06])
def test_overshoot_goes_beyond_along_the_way(hover, beyond_m):
    rows = drive(hover, [drawn(hover, "overshoot", beyond_m=beyond_m)], REST_STEPS)
    way = ABOVE_M - rows[0].true["eef_pos"]
    expected = ABOVE_M + beyond_m * way / np.linalg.norm(way)
    assert np.linalg.norm(rows[-1].true["eef_pos"] - expected) < REST_M


@pytest.mark.parametrize("name", ["stop_short", "overshoot"])
def test_a_way_begins_where_the_fault_does(hover, name):
    rows = drive(hover, [drawn(hover, name, start_step=30)], 32)
    assert all(np.array_equal(row.seen["eef_pos"], row.true["eef_pos"]) for row in rows[:31])


@pytest.mark.parametrize("offset_m", [-0.05, 0.06])
def test_lift_height_lifts_too_low_or_too_high(lift, offset_m):
    for privileged, off in (False, offset_m), (True, 0.0):
        rows = drive(lift, [drawn(lift, "lift_height", offset_m=offset_m)], 60, privileged)
        assert abs(rows[-1].true["eef_pos"][2] - (TABLE_M + 0.12 + off)) < REST_M
        assert rows[-1].held


@pytest.mark.parametrize("name", ["translation", "rotation", "stop_short", "overshoot", "lift_height"])
def test_a_privileged_driver_does_not_see_it(lift, name):
    rows = drive(lift, [drawn(lift, name)], 40, privileged=True)
    assert [row.state for row in rows] == [row.state for row in drive(lift, [], 40, privileged=True)]
    assert [row.state for row in drive(lift, [drawn(lift, name)], 40)] != [row.state for row in rows]


def test_what_is_held_is_shown_displaced_with_the_hand(lift):
    rows = drive(lift, [drawn(lift, "translation", offset_m=[0, 0, 0.01], frame="world")], 40)
    assert {row.held for row in rows} == {True, False}
    for row in rows:
        assert np.allclose(row.seen["eef_pos"] - row.true["eef_pos"], [0, 0, -0.01], atol=1e-12)
        assert np.allclose(row.seen["cube_pos"] - row.true["cube_pos"], [0, 0, -0.01 * row.held], atol=1e-12)


# Fingers


def test_partial_close_stops_the_fingers_and_leaves_them_open_otherwise(hover):
    scene = hover.scene()
    for opening_m in (0.02, 0.045):
        scene.begin(STREAM, [drawn(hover, "partial_close", opening_m=opening_m)])
        for command, expected in (-1.0, 0.08), (1.0, opening_m), (-1.0, 0.08):
            for _ in range(25):
                scene.step(np.array([0, 0, 0, 0, 0, 0, command]))
            assert abs(np.ptp(scene.truth().observation["gripper_qpos"]) - expected) < 2e-3


def test_early_close_closes_from_a_distance_until_it_holds(lift):
    distance_m = 0.06
    rows = drive(lift, [drawn(lift, "early_close", distance_m=distance_m)], 40)
    near = [np.linalg.norm(row.true["eef_pos"] - row.true["cube_pos"]) < distance_m for row in rows]
    assert any(close and row.asked[-1] < 0 for close, row in zip(near, rows, strict=True))
    for close, row in zip(near, rows, strict=True):
        assert row.applied[-1] == (1.0 if close and not row.held else row.asked[-1])
        assert np.array_equal(row.applied[:-1], row.asked[:-1])


@pytest.mark.parametrize("delay", [4, 9])
def test_late_close_closes_late_every_time_and_the_arm_goes_on(lift, delay):
    """With 9 the driver sees before that it has lifted nothing, and opens the fingers again."""
    rows = drive(lift, [drawn(lift, "late_close", delay_steps=delay)], 100)
    asked = np.array([row.asked[-1] > 0 for row in rows])
    begins = [step for step in range(1, 90) if asked[step] and not asked[step - 1]]
    assert len(begins) > 1
    for begin in begins:
        until = min(begin + delay, begin + first([*~asked[begin:], True]))
        assert all(row.applied[-1] < 0 for row in rows[begin:until])
        assert rows[until].applied[-1] == rows[until].asked[-1]
        shown = [np.ptp(row.seen["gripper_qpos"]) for row in rows[begin + 1 : until]]
        assert np.allclose(shown, 0.04)
        assert all(np.ptp(row.true["gripper_qpos"]) > 0.075 for row in rows[begin + 1 : until])
        assert np.array_equal(rows[begin].seen["gripper_qpos"], rows[begin].true["gripper_qpos"])
        if delay == 9:
            assert rows[until].true["eef_pos"][2] > rows[begin].true["eef_pos"][2] + 0.01
        else:
            assert until == begin + delay
            assert np.array_equal(rows[until].seen["gripper_qpos"], rows[until].true["gripper_qpos"])


def test_late_release_keeps_the_object_once(stack):
    delay = 12
    rows = drive(stack, [drawn(stack, "late_release", delay_steps=delay)], 119)
    late = [step for step, row in enumerate(rows) if row.asked[-1] < 0 < row.applied[-1]]
    begin = first(row.asked[-1] < 0 and row.held for row in rows)
    assert begin == first(row.asked[-1] < 0 and row.held for row in nominal(stack, 70))
    assert set(late) <= set(range(begin, begin + delay))
    assert all(row.applied[-1] > 0 for row in rows[begin : begin + delay])
    assert rows[begin + delay].true["cube_a_pos"][2] > rows[begin].true["cube_a_pos"][2] + 0.01
    assert all(np.allclose(np.ptp(row.seen["gripper_qpos"]), 0.08) for row in rows[begin + 1 : begin + delay])
    assert all(np.array_equal(row.applied, row.asked) for row in rows[begin + delay :])


def test_late_release_only_costs_a_privileged_driver_time(stack):
    rows = drive(stack, [drawn(stack, "late_release", delay_steps=12)], 100, privileged=True)
    assert rows[-1].true["cube_a_pos"][2] > TABLE_M + 0.06
    assert not rows[-1].held


def test_early_release_opens_before_the_place_each_time(stack):
    distance_m = 0.08
    rows = drive(stack, [drawn(stack, "early_release", distance_m=distance_m)], 110)
    opened = [step for step, row in enumerate(rows) if row.applied[-1] < 0 < row.asked[-1]]
    assert opened
    on_b = rows[0].true["cube_b_pos"] + [0, 0, 0.045]

    def away_m(row):
        return np.linalg.norm(row.true["cube_a_pos"] - on_b)

    assert away_m(rows[opened[0]]) < distance_m < away_m(rows[opened[0] - 1])
    assert all(row.applied[-1] < 0 for row in rows[opened[0] : opened[0] + PANDA.fingers.stroke_steps])
    assert not any(row.held for row in rows[opened[0] + PANDA.fingers.stroke_steps : opened[0] + 10])


def test_drop_lets_go_at_a_height_each_time(stack):
    height_m = 0.03
    rows = drive(stack, [drawn(stack, "drop", height_m=height_m)], 119)
    rises = np.array([row.true["cube_a_pos"][2] for row in rows]) - (TABLE_M + 0.02)
    opened = [step for step, row in enumerate(rows) if row.applied[-1] < 0 < row.asked[-1]]
    assert rises[opened[0] - 1] < height_m + 5e-4
    assert rises[opened[0]] > height_m - 5e-4
    assert rows[opened[0]].held
    assert not any(row.held for row in rows[opened[0] + PANDA.fingers.stroke_steps : opened[0] + 10])
    assert rises.max() < 0.11  # the fingers take six steps to let go, and the arm makes 0.013 m in each
    again = [step for step in opened if step > opened[0] + PANDA.fingers.stroke_steps]
    assert again
    assert rises[again[0]] > height_m - 5e-4


def test_late_fingers_are_those_of_the_commands_some_steps_ago(hover):
    """To a driver that does not look."""
    record, fingers = drawn(hover, "late_close", delay_steps=3), [-1, 1, 1, 1, 1, 1, -1, 1, 1, 1, 1, -1, 1, 1, -1]
    applied = played(hover, record, np.outer(fingers, [0, 0, 0, 0, 0, 0, 1.0]))
    assert applied[:, -1].tolist() == [-1, -1, -1, -1, 1, 1, -1, -1, -1, -1, 1, -1, -1, -1, -1]


@pytest.mark.parametrize("name", ["early_close", "late_close", "early_release", "late_release", "drop"])
def test_a_fault_that_waits_for_an_occasion_is_injected_at_it(stack, name):
    rows = drive(stack, [drawn(stack, name)], 100)
    struck = [step for step, row in enumerate(rows) if row.applied[-1] != row.asked[-1]]
    scene = stack.scene()
    scene.restore(rows[-1].snapshot)
    assert scene.injected() == struck[0] > 5


# Motions


def played(task, record, actions):
    scene = task.scene()
    scene.begin(STREAM, [record])
    return np.array([scene.step(action)[4]["applied"] for action in actions])


@pytest.fixture(scope="module")
def actions():
    return np.random.default_rng(0).uniform(-1, 1, (12, 7))


def test_missing_rotation_leaves_out_the_rotation_alone(hover, actions):
    applied = played(hover, drawn(hover, "missing_rotation", start_step=3, duration_steps=5), actions)
    expected = actions.copy()
    expected[3:8, 3:6] = 0.0
    assert np.array_equal(applied, expected)


@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_speed_scales_the_arm_alone(hover, actions, scale):
    applied = played(hover, drawn(hover, "speed", speed_scale=scale), actions)
    assert np.array_equal(applied[:, :6], np.clip(scale * actions[:, :6], -1, 1))
    assert np.array_equal(applied[:, 6], actions[:, 6])


@pytest.mark.parametrize("start", [0, 4])
def test_no_op_holds_the_arm_and_the_fingers_last_command(hover, actions, start):
    applied = played(hover, drawn(hover, "no_op", start_step=start, duration_steps=5), actions)
    expected = actions.copy()
    expected[start : start + 5] = 0.0
    expected[start : start + 5, 6] = actions[start - 1, 6] if start else 0.0
    assert np.array_equal(applied, expected)


# On other tasks


def test_in_a_plane_the_disc_is_displaced_and_both_numbers_are_the_arm():
    task, moves = PushT(), np.random.default_rng(0).uniform(-0.5, 0.5, (6, 2))
    assert np.array_equal(played(task, drawn(task, "speed", speed_scale=0.5), moves), 0.5 * moves)
    assert not played(task, drawn(task, "no_op"), moves).any()
    axes = set()
    for episode in range(20):
        record = kind("translation")(0.02, 50).draw(Stream(0, episode), task)
        axes.add(record["axis"])
        assert np.linalg.norm(record["offset_m"][:2]) == pytest.approx(0.02)
    assert axes == {"x", "y"}
    scene = task.scene()
    for name in ("translation", "stop_short", "overshoot"):
        record = drawn(task, name)
        scene.begin(STREAM, [record])
        begin = scene.truth().observation["pusher_pos"]
        for move in moves:
            seen, true = scene.step(move)[0], scene.truth().observation
            way = true["pusher_pos"] - begin
            shown = {
                "translation": lambda way, record: way - record["offset_m"][:2],
                "stop_short": lambda way, record: way / (1 - record["remaining_fraction"]),
                "overshoot": lambda way, record: way * max(0, 1 - record["beyond_m"] / np.hypot(*way)),
            }[name](way, record)
            assert np.allclose(seen["pusher_pos"] - begin, shown, atol=1e-12)
            assert np.array_equal(seen["block_pos"], true["block_pos"])


FINGERS = {"partial_close", "early_close", "late_close", "early_release", "late_release", "drop", "lift_height"}
FINGERS |= {"grasp_omitted", "slip"}
REFUSED = {
    "lift": {"late_release"},
    "blocks": {"late_release"},
    "door": {"late_release", "drop"},
    "peg_insertion": {"late_release"},
    "push_t": FINGERS | {"rotation", "missing_rotation"},
}


@pytest.mark.parametrize("kind_of", [Lift, Stack, PickPlaceCan, NutAssemblySquare, Door, PegInsertion, PushT, Blocks])
def test_each_fault_works_on_every_task_on_which_it_means_something(kind_of):
    task = kind_of()
    scene, refused = task.scene(), set()
    rng = np.random.default_rng(0)
    for name in NAMES:
        try:
            record = drawn(task, name)
        except ConfigError:
            refused.add(name)
            continue
        scene.begin(STREAM, [record])
        for action in rng.uniform(-0.3, 0.3, (3, task.action_size)):
            scene.step(action)
        assert "\n" not in describe(record)
    assert refused == REFUSED.get(task.name, set())


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("translation", {"axis": "w"}, "axis"),
        ("rotation", {"frame": "wrld"}, "Did you mean 'world'"),
        ("lift_height", {"side": "left"}, "side"),
        ("speed", {"speed_scale": [0.5, 2.0]}, "change nothing"),
        ("speed", {"speed_scale": 1.0}, "change nothing"),
        ("speed", {"speed_scale": [0.5, 0.95]}, "change nothing"),
    ],
)
def test_what_would_do_nothing_or_does_not_exist_is_refused(name, changes, words):
    part = {key: value for key, value in PARTS[name].items() if key != "_target_"}
    with pytest.raises((ConfigError, UnknownNameError), match=words):
        kind(name)(**part | changes)


def test_faults_that_leave_the_plane_are_refused_there():
    for changes in {"axis": "z"}, {"frame": "tool"}:
        with pytest.raises(ConfigError, match="plane"):
            kind("translation")(0.02, 50, **changes).draw(STREAM, PushT())
    with pytest.raises(ConfigError, match="pose"):
        drawn(Lift(controller="joint_position"), "missing_rotation")


# Snapshots


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("late_release", {"delay_steps": 9}),
        ("late_close", {"delay_steps": 7}),
        ("early_release", {"distance_m": 0.08}),
        ("drop", {"height_m": 0.02}),
        ("stop_short", {"remaining_fraction": 0.1}),
        ("overshoot", {"beyond_m": 0.02}),
    ],
)
def test_a_snapshot_in_the_middle_of_it_continues_bit_for_bit(stack, name, changes):
    rows = drive(stack, [drawn(stack, name, **changes)], 75)
    struck = [step for step, row in enumerate(rows) if row.applied[-1] != row.asked[-1]]
    at = struck[2] if struck else 20
    other = stack.scene()
    other.begin(Stream(9, 9))
    observation = other.restore(rows[at].snapshot)
    for row in rows[at:]:
        assert other.snapshot().state.tobytes() == row.state
        assert all(observation[key].tobytes() == row.seen[key].tobytes() for key in row.seen)
        observation = other.step(row.asked)[0]
