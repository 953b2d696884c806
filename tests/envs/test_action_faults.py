"""What each fault of the action and policy channels does, to the last number."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from workbench.envs.faults.schedule import FOREVER
from workbench.envs.faults.specification import describe, effect_of
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.push_t import PushT
from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Stream
from workbench.types.rotations import about

CONF = Path(__file__).parents[2] / "conf" / "perturbation"
STREAM = Stream(seed=3, episode=4)
START, DURATION, END = 6, 10, 24
ARM, FINGERS = slice(0, 6), 6
GRIPPER = ("gripper_stuck", "gripper_inverted", "gripper_jitter", "gripper_delay")


def build(name: str, **changes):
    part = yaml.safe_load((CONF / f"{name}.yaml").read_text())[name] | changes
    module, _, kind = part.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), kind)(**part)


def drawn(name: str, task, **parameters):
    schedule = {"start_step": START, "stage": None, "predicate": None, "duration_steps": DURATION}
    return build(name).draw(STREAM, task) | schedule | parameters


@pytest.fixture(scope="module")
def scene():
    return Lift().scene()


@pytest.fixture(scope="module")
def plane():
    return PushT().scene()


def asked(scene, steps: int = END) -> np.ndarray:
    """Actions whose fingers change at every step; small, so that no fault is hidden by the clipping."""
    actions = np.random.default_rng(0).uniform(-0.3, 0.3, (steps, scene.task.action_size))
    if scene.task.robot.fingers:
        actions[:, -1] = np.random.default_rng(1).choice([-1.0, 1.0], steps)
    return actions


def applied(scene, records, actions) -> np.ndarray:
    scene.begin(STREAM, records)
    return np.array([scene.step(action)[-1]["applied"] for action in actions])


def expect(scene, name: str, inside, **parameters) -> None:
    """The actions while the fault is active are ``inside(actions)``, and all others those that were asked."""
    actions = asked(scene)
    ours = applied(scene, [drawn(name, scene.task, **parameters)], actions)
    wanted = actions.copy()
    wanted[START : START + DURATION] = inside(actions)
    np.testing.assert_allclose(ours, wanted, atol=1e-14)
    assert not np.array_equal(ours, actions)


WINDOW = slice(START, START + DURATION)


# Faults of the action


@pytest.mark.parametrize(("axis", "channels"), [(None, [0, 1, 2, 3, 4, 5]), ("x", [0]), ("y", [1]), ("z", [2])])
def test_action_gain_scales_its_channels(scene, axis, channels):
    gains = np.ones(7)
    gains[channels] = 0.25
    expect(scene, "action_gain", lambda actions: actions[WINDOW] * gains, axis=axis, gain_scale=0.25)


def test_action_gain_in_the_plane(plane):
    expect(plane, "action_gain", lambda actions: actions[WINDOW] * 0.25, axis=None, gain_scale=0.25)
    expect(plane, "action_gain", lambda actions: actions[WINDOW] * [1.0, 0.25], axis="y", gain_scale=0.25)
    with pytest.raises(ConfigError, match="axis=z is impossible: actions of task push_t have channels of x, y"):
        build("action_gain", axis="z").draw(STREAM, plane.task)


def test_actions_of_joints_have_no_axis():
    joints = Lift(controller="joint_position")
    assert build("action_gain").draw(STREAM, joints)["axis"] is None
    with pytest.raises(ConfigError, match="no axis"):
        build("action_gain", axis="x").draw(STREAM, joints)
    with pytest.raises(ConfigError, match="frame_offset"):
        build("frame_offset").draw(STREAM, joints)


@pytest.mark.parametrize("name", ["action_gain", "frame_offset"])
def test_unknown_axis_is_refused(name):
    with pytest.raises(UnknownNameError, match="x, y, z"):
        build(name, axis="w")


def test_action_saturation_cuts_the_arm_off(scene, plane):
    def inside(actions):
        cut = actions[WINDOW].clip(-0.1, 0.1)
        cut[:, -1] = actions[WINDOW, -1]
        return cut

    expect(scene, "action_saturation", inside, limit_fraction=0.1)
    expect(plane, "action_saturation", lambda actions: actions[WINDOW].clip(-0.1, 0.1), limit_fraction=0.1)


def test_action_freeze_repeats_the_action_before_it(scene, plane):
    for one in (scene, plane):
        expect(one, "action_freeze", lambda actions: np.tile(actions[START - 1], (DURATION, 1)))


def test_action_freeze_from_the_start_is_no_motion(scene):
    ours = applied(scene, [drawn("action_freeze", scene.task, start_step=0)], asked(scene))
    assert not ours[:DURATION].any()
    assert ours[DURATION:].any()


@pytest.mark.parametrize("chunk_steps", [2, 4])
def test_stale_chunk_runs_the_last_actions_over_and_over(scene, chunk_steps):
    def inside(actions):
        return np.resize(actions[START - chunk_steps : START], (DURATION, 7))

    expect(scene, "stale_chunk", inside, chunk_steps=chunk_steps)


def test_frame_offset_turns_translation_and_rotation(scene):
    vector = np.array([0.0, 0.7, 0.0])
    turn = np.array([[np.cos(0.7), 0, np.sin(0.7)], [0, 1, 0], [-np.sin(0.7), 0, np.cos(0.7)]])

    def inside(actions):
        part = actions[WINDOW]
        return np.hstack([part[:, :3] @ turn.T, part[:, 3:6] @ turn.T, part[:, 6:]])

    expect(scene, "frame_offset", inside, axis="y", angle_rad=vector.tolist())


def test_frame_offset_in_the_plane_is_about_z_by_the_drawn_angle(plane):
    records = [build("frame_offset").draw(Stream(0, episode), plane.task) for episode in range(20)]
    angles = np.array([record["angle_rad"] for record in records])
    assert not angles[:, :2].any()
    assert (np.abs(angles[:, 2]) >= 0.5).all()
    assert len(set(np.sign(angles[:, 2]))) == 2
    assert {record["axis"] for record in records} == {"z"}
    quarter = np.pi / 2

    def turned(actions):
        return np.stack([-actions[WINDOW, 1], actions[WINDOW, 0]], axis=1)

    expect(plane, "frame_offset", turned, axis="z", angle_rad=[0.0, 0.0, quarter])
    with pytest.raises(ConfigError, match="about x"):
        build("frame_offset", axis="x").draw(STREAM, plane.task)


def test_frame_offset_draws_all_axes_and_both_signs(scene):
    records = [build("frame_offset").draw(Stream(0, episode), scene.task) for episode in range(40)]
    assert {(record["axis"], np.sign(sum(record["angle_rad"]))) for record in records} == {
        (axis, sign) for axis in "xyz" for sign in (-1.0, 1.0)
    }
    assert {build("frame_offset", axis="x").draw(Stream(0, n), scene.task)["axis"] for n in range(9)} == {"x"}


def test_rotation_is_one():
    vector = np.array([0.3, -1.1, 0.6])
    turn = about(vector / np.linalg.norm(vector), float(np.linalg.norm(vector)))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-15)
    np.testing.assert_allclose(turn @ [0.3, -1.1, 0.6], [0.3, -1.1, 0.6], atol=1e-15)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    assert np.trace(turn) == pytest.approx(1 + 2 * np.cos(np.linalg.norm([0.3, -1.1, 0.6])))


def forever(name: str, scene, steps: int, **parameters) -> np.ndarray:
    """What the effect makes of no motion with closed fingers, without physics."""
    effect = effect_of(drawn(name, scene.task, start_step=0, duration_steps=FOREVER, **parameters), STREAM)
    effect.started = 0
    still = type("Still", (), {"task": scene.task, "step_index": 0})()
    made = []
    for still.step_index in range(steps):
        made.append(effect.action(still, np.append(np.zeros(6), 1.0)))
    return np.array(made)


def test_action_drift_is_an_ornstein_uhlenbeck_process(scene):
    tau, steps = 8, 6000
    drift = forever("action_drift", scene, steps, std_fraction=0.2, correlation_steps=tau)
    assert (drift[:, FINGERS] == 1.0).all()
    drift = drift[:, ARM]
    kept = np.exp(-1 / tau)
    # the mean square of n correlated draws varies by about sqrt(2 / n * (1 + k^2) / (1 - k^2)), six channels
    error = np.sqrt(2 / (6 * steps) * (1 + kept**2) / (1 - kept**2))
    assert abs(np.mean(drift**2) / 0.04 - 1) < 4 * error
    for lag in (1, tau):
        correlation = np.mean(drift[lag:] * drift[:-lag]) / np.mean(drift**2)
        assert abs(correlation - kept**lag) < 0.05
    fresh = (drift[1:] - kept * drift[:-1]) / (0.2 * np.sqrt(1 - kept**2))
    assert abs(fresh.std() - 1) < 0.02
    assert abs(np.corrcoef(fresh[:-1, 0], fresh[1:, 0])[0, 1]) < 0.05


def test_action_drift_begins_as_strong_as_it_goes_on(scene):
    first = []
    for episode in range(200):
        record = build("action_drift").draw(Stream(0, episode), scene.task)
        effect = effect_of(record | {"std_fraction": 0.2, "correlation_steps": 50}, Stream(0, episode))
        effect.started = 0
        still = type("Still", (), {"task": scene.task, "step_index": 0})()
        first.append(effect.action(still, np.zeros(7))[ARM])
    assert abs(np.std(first) - 0.2) < 0.02


def binomial(hits: int, trials: int, probability: float) -> bool:
    return abs(hits - trials * probability) < 4 * np.sqrt(trials * probability * (1 - probability))


def test_dropped_packets_are_lost_as_often_as_said_and_hold(scene):
    actions = asked(scene, 400)
    record = drawn("dropped_packets", scene.task, start_step=0, duration_steps=300, loss_fraction=0.3)
    ours = applied(scene, [record], actions)
    lost = ~ours[:, ARM].any(axis=1)
    assert binomial(lost[:300].sum(), 300, 0.3)
    assert not lost[300:].any()
    fingers = 0.0
    for gone, got, wanted in zip(lost, ours, actions, strict=True):
        fingers = fingers if gone else wanted[FINGERS]
        assert np.array_equal(got, np.append(np.zeros(6), fingers) if gone else wanted)


def test_dropped_packets_in_the_plane_are_no_motion(plane):
    actions = asked(plane, 60)
    ours = applied(plane, [drawn("dropped_packets", plane.task, start_step=0, loss_fraction=1.0)], actions)
    assert not ours[:DURATION].any()
    assert np.array_equal(ours[DURATION:], actions[DURATION:])


@pytest.mark.parametrize("jump_steps", [1, 3])
def test_chunk_jump_displaces_the_first_actions_of_each_chunk(scene, jump_steps):
    record = drawn("chunk_jump", scene.task, start_step=0, offset_fraction=0.5, jump_steps=jump_steps)
    scene.begin(STREAM, [record])
    chunk = np.zeros((4, 7))
    chunk[:, FINGERS] = 1.0
    offsets = []
    for _ in range(DURATION):
        queued = scene.queue(chunk, 4)
        assert np.array_equal(queued, scene.queue(chunk, 4))  # asking twice changes nothing
        offset = queued[0, ARM]
        assert np.linalg.norm(offset) == pytest.approx(0.5)
        np.testing.assert_array_equal(queued[:jump_steps, ARM], np.tile(offset, (jump_steps, 1)))
        assert np.array_equal(queued[jump_steps:], chunk[jump_steps:])
        assert (queued[:, FINGERS] == 1.0).all()
        offsets.append(offset)
        scene.step(queued[0])
    assert len({offset.tobytes() for offset in offsets}) == DURATION
    assert np.array_equal(scene.queue(chunk, 4), chunk)
    scene.begin(STREAM, [record | {"offset_fraction": 4.0}])
    assert np.abs(scene.queue(np.ones((1, 7)), 1)).max() == 1.0


def test_chunk_jump_is_for_chunks_of_one_action_too_and_in_the_plane(plane):
    plane.begin(STREAM, [drawn("chunk_jump", plane.task, start_step=0, offset_fraction=0.5)])
    assert np.linalg.norm(plane.queue(np.zeros((1, 2)), 1)) == pytest.approx(0.5)


# Faults of the fingers


def expect_fingers(scene, name: str, inside, **parameters) -> None:
    def whole(actions):
        changed = actions[WINDOW].copy()
        changed[:, FINGERS] = inside(actions[:, FINGERS])
        return changed

    expect(scene, name, whole, **parameters)


def test_gripper_stuck_keeps_its_first_command(scene):
    expect_fingers(scene, "gripper_stuck", lambda fingers: fingers[START])


def test_gripper_inverted_turns_commands_round(scene):
    expect_fingers(scene, "gripper_inverted", lambda fingers: -fingers[WINDOW])


@pytest.mark.parametrize("delay_steps", [1, 4, 30])
def test_gripper_delay_is_late_by_k_steps(scene, delay_steps):
    def inside(fingers):
        late = np.concatenate([np.full(delay_steps, fingers[START - 1]), fingers[WINDOW]])
        return late[:DURATION]

    expect_fingers(scene, "gripper_delay", inside, delay_steps=delay_steps)


def test_gripper_jitter_flips_as_often_as_said_and_nothing_else(scene):
    made = forever("gripper_jitter", scene, 2000, flip_fraction=0.3)
    assert not made[:, ARM].any()
    assert set(made[:, FINGERS]) == {-1.0, 1.0}
    assert binomial((made[:, FINGERS] < 0).sum(), 2000, 0.3)


@pytest.mark.parametrize("name", GRIPPER)
def test_faults_of_the_fingers_need_fingers(name, plane):
    with pytest.raises(ConfigError, match="fingers"):
        build(name).draw(STREAM, plane.task)


# Faults of the arm itself


def arm(scene) -> np.ndarray:
    return scene.data.qpos[scene.task.arm_qpos].copy()


def moved(scene, records, actions) -> np.ndarray:
    """(steps + 1, 7) joint angles in rad."""
    scene.begin(STREAM, records)
    angles = [arm(scene)]
    for action in actions:
        scene.step(action)
        angles.append(arm(scene))
    return np.array(angles)


@pytest.mark.parametrize("joint", range(1, 8))
def test_locked_joint_stands_still_and_the_others_move(scene, joint):
    actions = np.tile([0.6, 0.3, -0.2, 0.3, 0.3, 0.3, 1.0], (40, 1))
    actions[20:] *= -1
    record = drawn("joint_lock", scene.task, joint=joint, start_step=5, duration_steps=30)
    free, locked = moved(scene, [], actions), moved(scene, [record], actions)
    mine, others = joint - 1, [other for other in range(7) if other != joint - 1]
    assert np.array_equal(locked[:6], free[:6])
    still = locked[5:36, mine] - locked[5, mine]
    assert np.abs(still).max() < 1e-4
    assert np.ptp(free[5:36, mine]) > 1e-3
    assert np.ptp(locked[5:36][:, others], axis=0).max() > 0.05
    assert np.isfinite(locked).all()
    assert np.abs(locked[36:, mine] - locked[5, mine]).max() > 1e-3  # and is free again


def test_joint_lock_draws_from_all_joints_or_the_one(scene):
    assert {build("joint_lock").draw(Stream(0, n), scene.task)["joint"] for n in range(60)} == set(range(1, 8))
    assert {build("joint_lock", joint=4).draw(Stream(0, n), scene.task)["joint"] for n in range(5)} == {4}
    with pytest.raises(ConfigError, match="joint"):
        build("joint_lock", joint=8)


@pytest.mark.parametrize("name", ["joint_lock", "torque_limit"])
def test_faults_of_joints_need_an_arm(name, plane):
    with pytest.raises(ConfigError, match="arm's joints"):
        build(name).draw(STREAM, plane.task)


@pytest.mark.parametrize("controller", ["osc_pose", "joint_position"])
def test_torques_stay_below_their_limit(controller):
    scene = Lift(controller=controller).scene()
    motors = [scene.model.actuator(name).id for name in scene.task.robot.actuators]
    largest = scene.model.actuator_ctrlrange[motors, 1].copy()
    action = np.append(np.full(scene.task.action_size - 1, 1.0), -1.0)
    records = {scale: [drawn("torque_limit", scene.task, start_step=0, torque_scale=scale)] for scale in (0.1, 0.3)}
    for scale, record in records.items():
        scene.begin(STREAM, record)
        shares = []
        for _ in range(DURATION):
            scene.step(action)
            shares.append(np.abs(scene.data.actuator_force[motors]) / largest)
        assert np.max(shares) == pytest.approx(scale)  # reached, and not exceeded
        scene.step(action)
        assert (np.abs(scene.data.ctrl[motors]) / largest).max() > scale


GAINS = {
    "controller_stiffness": ("stiffness_scale", 0.04, (0.04, 0.2)),
    "controller_damping": ("damping_scale", 0.04, (1.0, 0.04)),
}


@pytest.mark.parametrize("task", [Lift(), Lift(controller="joint_position"), PushT()], ids=["pose", "joints", "plane"])
@pytest.mark.parametrize("name", GAINS)
def test_gains_are_scaled_and_put_back_bit_for_bit(task, name):
    key, value, factors = GAINS[name]
    scene = task.scene()
    own = scene.gains.copy()
    scene.begin(STREAM, [drawn(name, task, **{key: value})])
    actions = asked(scene)
    for step, action in enumerate(actions, start=1):
        scene.step(action)
        if START <= step < START + DURATION:
            np.testing.assert_allclose(scene.gains, (own.T * factors).T, rtol=1e-15)
        else:
            assert scene.gains.tobytes() == own.tobytes()
    scene.begin(STREAM, [drawn(name, task, start_step=0, **{key: 0.0317})])
    scene.step(actions[0])
    scene.begin(STREAM)  # an episode that is broken off leaves nothing to the next
    assert scene.gains.tobytes() == own.tobytes()


def states(scene, actions) -> list[bytes]:
    made = []
    for action in actions:
        scene.step(action)
        made.append(scene.snapshot().state.tobytes())
    return made


@pytest.mark.parametrize("name", [*GAINS, "joint_lock", "torque_limit"])
@pytest.mark.parametrize("at", [START - 1, START, START + 3, START + DURATION])
def test_restoring_goes_on_bit_for_bit_in_a_used_and_in_a_new_scene(scene, name, at):
    """Also where the used one is in the middle of other faults of the same kind."""
    actions = asked(scene)
    record = drawn(name, scene.task)
    scene.begin(STREAM, [record])
    whole = states(scene, actions)
    scene.begin(STREAM, [record])
    states(scene, actions[:at])
    snapshot = scene.snapshot()
    states(scene, -actions[: START + 2 - at] if at < START else actions[:2])
    scene.restore(snapshot)
    assert states(scene, actions[at:]) == whole[at:]
    others = [drawn(other, scene.task, start_step=0) for other in (*GAINS, "joint_lock", "torque_limit")]
    scene.begin(Stream(9, 9), others)
    states(scene, actions[:4])
    scene.restore(snapshot)
    assert states(scene, actions[at:]) == whole[at:]


@pytest.mark.parametrize("name", GAINS)
def test_changed_gains_change_the_motion(scene, name):
    actions = np.tile([0.5, 0, 0, 0, 0, 0, -1.0], (END, 1))
    free, changed = moved(scene, [], actions), moved(scene, [drawn(name, scene.task)], actions)
    assert np.array_equal(free[: START + 1], changed[: START + 1])
    assert np.abs(free[START + 4] - changed[START + 4]).max() > 3e-3


# Faults of the policy


SETTINGS = {
    "sampler_steps": ("inference_steps", 2),
    "wrong_normalisation": ("normalisation_scale", 3.0),
    "sampler_noise": ("noise_scale", 3.0),
    "other_policy": ("checkpoint", "runs/x"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_policy_change_while_it_lasts_and_not_a_privileged_ones(scene, name):
    key, value = SETTINGS[name]
    scene.begin(STREAM, [drawn(name, scene.task, **{key: value})])
    for step in range(END):
        wanted = {key: value} if START <= step < START + DURATION else {}
        scene.privileged = False
        assert scene.settings() == wanted
        scene.privileged = True
        assert scene.settings() == {}
        scene.step(np.zeros(7))


def test_no_replanning_runs_chunks_to_their_end(scene):
    chunk = np.arange(35.0).reshape(5, 7)
    scene.begin(STREAM, [drawn("no_replanning", scene.task)])
    for step in range(END):
        length = 5 if START <= step < START + DURATION else 2
        assert np.array_equal(scene.queue(chunk, 2), chunk[:length])
        scene.step(np.zeros(7))


class Fixed:
    """A policy that nothing can be changed about."""

    horizon, execute = 8, 4


class Alterable(Fixed):
    def altered(self, settings):
        if "inference_steps" not in settings:
            raise ConfigError("known: inference_steps")
        return self


def test_policies_that_cannot_have_a_fault_are_refused():
    for name in SETTINGS:
        with pytest.raises(ConfigError, match=f"{name} changes .* of a policy, and Fixed cannot be changed"):
            build(name).suits(Fixed())
    build("sampler_steps").suits(Alterable())
    with pytest.raises(ConfigError, match="known: inference_steps"):
        build("sampler_noise").suits(Alterable())
    build("no_replanning").suits(Fixed())
    Fixed.execute = 8
    with pytest.raises(ConfigError, match="execute=8, horizon=8"):
        build("no_replanning").suits(Fixed())
    Fixed.execute = 4
    build("action_gain").suits(Fixed())


@pytest.mark.parametrize("checkpoint", ["", None, 3])
def test_other_policy_needs_a_folder(checkpoint):
    with pytest.raises(ConfigError, match="checkpoint"):
        build("other_policy", checkpoint=checkpoint)


def test_descriptions_tell_what_was_drawn(scene):
    for name, parameters, words in (
        ("action_gain", {"axis": "y", "gain_scale": 0.21}, "along y times 0.21"),
        ("action_drift", {"std_fraction": 0.371, "correlation_steps": 7}, "0.371 .* over 7 steps"),
        ("frame_offset", {"axis": "x", "angle_rad": [-0.7, 0.0, 0.0]}, "-0.7 rad about x"),
        ("joint_lock", {"joint": 5}, "joint 5"),
        ("stale_chunk", {"chunk_steps": 7}, "last 7 actions"),
        ("other_policy", {"checkpoint": "runs/x"}, "runs/x"),
    ):
        assert re.search(words, describe(drawn(name, scene.task, **parameters)))
