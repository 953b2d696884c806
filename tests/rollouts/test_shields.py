"""Shields before the actuators of a rollout: what is run, what is kept, and how an episode goes on from any step."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest

import workbench as wb
from tests.toy import ToyPolicy, ToyTask
from workbench.attribution.labels import Settings
from workbench.attribution.replaying import replay_episode
from workbench.config import Run, compose, job_of
from workbench.config.remembered import may_be_taken
from workbench.errors import CheckpointError, ConfigError, OtherSettingsError, StoreError, UnknownNameError
from workbench.monitoring.reading import offline
from workbench.rollouts.gate import calls_in
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.rolling import drawn
from workbench.rollouts.shielding import shield_rows
from workbench.rollouts.stored import bare_start, perturbations_of, start_at, stream_of
from workbench.store import StoreWriter
from workbench.types import EpisodeCalls, Note, Passed, Stream

ROWS = ("shielded", "stiffness", "shields/")


class Open:
    """Lets everything through."""

    reasons = ("nothing",)
    softens = False

    def begin(self):
        return {}

    def act(self, memory, moment):
        return Passed(moment.action)


class Half(Open):
    """Halves what is asked, every second control step."""

    reasons = ("other", "half")

    def begin(self):
        return {"steps": 0}

    def act(self, memory, moment):
        memory["steps"] += 1
        if memory["steps"] % 2:
            return Passed(moment.action)
        return Passed(moment.action * 0.5, note=Note("half", False, float(moment.action[0]), 0.5))


class Never(Open):
    """Vetoes everything."""

    def act(self, memory, moment):
        return Passed(moment.action * 0.0, note=Note("nothing", True, 1.0, 0.0))


def toy(shields=None, scenes=1, numbers=(0,), **options):
    lockstep = Lockstep(ToyTask(), ToyPolicy(lazy=0.3), scenes, samples=3, shields=shields, **options)
    return {e.record["uid"]: e for e in lockstep.record([Launch(Stream(7, number)) for number in numbers])}


def rows(episode, own=False):
    """Arrays of its control steps: those that shields add, or the others."""
    return {key: values for key, values in episode.steps.items() if key.startswith(ROWS) == own}


def assert_same(first, other):
    assert first.keys() == other.keys()
    for key, values in first.items():
        np.testing.assert_array_equal(values, other[key], err_msg=key)


# -- what is run -----------------------------------------------------------------------------------------------------


def test_without_a_shield_nothing_is_added_and_an_open_one_changes_nothing():
    bare, behind = toy(numbers=range(5)), toy({"open": Open()}, numbers=range(5))
    for uid, episode in bare.items():
        assert not rows(episode, own=True)
        assert_same(rows(episode), rows(behind[uid]))
        assert_same({k: v for k, v in episode.calls.items() if k != "seconds"},
                    {k: v for k, v in behind[uid].calls.items() if k != "seconds"})  # fmt: skip
        assert episode.record == behind[uid].record
        assert not behind[uid].steps["shields/open"].any()
        np.testing.assert_array_equal(behind[uid].steps["shielded"], episode.steps["action"])
    assert toy({}).keys() == toy().keys()


def test_what_is_asked_let_through_and_executed_are_three_columns():
    task = wb.task("lift")
    faults = [wb.perturbation("action_gain", gain_scale=0.2, start_step=0)]
    launch = drawn(task, faults, "fit", 0, 0)
    lockstep = Lockstep(task, wb.policy("zoo/lift_flow", task), 1, shields={"half": Half()})
    (episode,) = lockstep.record([launch])
    asked, through, applied = (episode.steps[key] for key in ("action", "shielded", "applied"))
    np.testing.assert_array_equal(through[0::2], asked[0::2])
    np.testing.assert_array_equal(through[1::2], asked[1::2] * 0.5)
    np.testing.assert_allclose(applied[:, :6], np.clip(through[:, :6], -1, 1) * 0.2)
    assert not np.array_equal(asked[1::2], through[1::2])
    said = episode.steps["shields/half"]
    np.testing.assert_array_equal(said[1::2], [[2.0, value, 0.5] for value in asked[1::2, 0]])
    assert not said[0::2].any()


def test_shields_act_in_their_order_and_see_what_was_said_before():
    class Sees(Open):
        def act(self, memory, moment):
            heard.append((float(moment.action[0]), [name for name, _ in moment.notes], moment.before))
            return Passed(moment.action)

    heard = []
    toy({"half": Half(), "sees": Sees()})
    assert [(action, names) for action, names, _ in heard[:2]] == [(heard[0][0], []), (heard[1][0], ["half"])]
    first, heard = heard, []
    toy({"sees": Sees(), "half": Half()})
    assert heard[1][0] == 2 * first[1][0]
    assert heard[1][1] == []
    assert heard[0][2] is None
    assert heard[2][2] == heard[1][0] / 2, "before is what was let through in the end"


def test_an_episode_depends_on_neither_batch_size_nor_order():
    alone, together = toy({"half": Half()}, 1, range(8)), toy({"half": Half()}, 5, range(8)[::-1])
    for uid, episode in alone.items():
        assert_same(episode.steps, together[uid].steps)


def test_a_reason_that_is_none_is_refused():
    class Lies(Open):
        def act(self, memory, moment):
            return Passed(moment.action, note=Note("what", True, 0, 0))

    with pytest.raises(UnknownNameError, match="reason of a shield 'what'"):
        toy({"lies": Lies()})


def test_what_softens_needs_a_scene_that_can():
    class Soft(Open):
        softens = True

    with pytest.raises(ConfigError, match="needs a controller that can be made softer"):
        toy({"soft": Soft()})


# -- from any stored step --------------------------------------------------------------------------------------------

CASES = [
    ("lift", ["hand_push"], ["workspace", "speed", "reflex", "authorisation"], {}),
    ("lift", ["sampler_noise"], ["speed", "authorisation"], {"speed": {"change": 0.3}}),
    ("peg_insertion", ["obstacle"], ["force", "reflex", "authorisation"], {"force": {"most_n": 30.0}}),
    ("push_t", ["action_gain"], ["speed", "authorisation"], {"speed": {"translation_m_s": 0.1}}),
]


@pytest.mark.parametrize(("name", "faults", "shields", "settings"), CASES, ids=lambda each: str(each))
def test_an_episode_goes_on_from_any_stored_step_bit_for_bit(name, faults, shields, settings):
    task = wb.task(name)
    policy = wb.policy(f"zoo/{name}_flow", task)
    made = {each: wb.shield(each, task, **settings.get(each, {})) for each in shields}
    launch = drawn(task, [wb.perturbation(fault) for fault in faults], "fit", 3, 0)
    lockstep = Lockstep(task, policy, 1, shields=made)
    (episode,) = lockstep.record([launch])
    assert any(episode.steps[f"shields/{each}"].any() for each in shields), "they had something to do"
    steps = np.random.default_rng(0).choice(len(episode.steps["action"]), 4, replace=False)
    assert_goes_on(lockstep, launch, episode, policy, map(int, steps))
    scene = task.scene()
    assert replay_episode(scene, episode, whole=True).max_abs_error == 0.0
    assert replay_episode(scene, episode, first=11).max_abs_error == 0.0
    asked = dataclasses.replace(episode, steps={k: v for k, v in episode.steps.items() if k not in ROWS[:2]})
    assert replay_episode(scene, asked, whole=True).max_abs_error > 0.0, "without what they let through it is another"


def assert_goes_on(lockstep, launch, episode, policy, steps):
    for step in steps:
        (branch,) = lockstep.record([dataclasses.replace(launch, start=start_at(episode, step, policy))])
        assert_same(
            {key: values for key, values in branch.steps.items() if key != "modes"},
            {key: values[step:] for key, values in episode.steps.items() if key != "modes"},
        )


def test_without_what_they_remember_shields_would_go_on_otherwise():
    launch, policy = Launch(Stream(7, 0)), ToyPolicy()
    lockstep = Lockstep(ToyTask(), policy, 1, shields={"half": Half()})
    (episode,) = lockstep.record([launch])
    assert_goes_on(lockstep, launch, episode, policy, range(len(episode.steps["action"])))
    forgotten = dataclasses.replace(start_at(episode, 5, policy), past=None)
    (branch,) = lockstep.record([dataclasses.replace(launch, start=forgotten)])
    assert not np.array_equal(branch.steps["shielded"][:10], episode.steps["shielded"][5:15])
    (bare,) = lockstep.record([dataclasses.replace(launch, start=bare_start(episode, 5))])
    assert not bare.steps["shields/half"][1].any(), "whoever drives, the shields remember the robot's past"
    assert bare.steps["shields/half"][0].any()


# -- gates on the plan -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """A task, a policy, and monitors of what its plans are usually like."""
    task = wb.task("lift")
    policy = wb.policy("zoo/lift_flow", task)
    path = tmp_path_factory.mktemp("gated") / "s.zarr"
    store = wb.rollout(task, policy, episodes={"fit": 8, "calibrate": 12}, into=path, samples=8)
    return task, policy, wb.fit(store, ["mahalanobis", "directional_sensitivity"], level=0.25)


def test_gates_veto_plans_and_go_on_from_any_stored_step(gated):
    task, policy, monitors = gated
    shields = {name: wb.shield(name, task, monitors=monitors) for name in ("novelty_gate", "sensitivity_gate")}
    shields["authorisation"] = wb.shield("authorisation", task)
    launch = drawn(task, [wb.perturbation("sampler_noise", noise_scale=3.0, start_step=8)], "test", 0, 0)
    lockstep = Lockstep(task, policy, 1, samples=8, shields=shields)
    (episode,) = lockstep.record([launch])
    vetoed = episode.steps["shields/sensitivity_gate"][:, 0] < 0
    assert vetoed.any()
    assert not vetoed[:8].any(), "before the fault its plans are as usual"
    held = episode.steps["shielded"][vetoed & (episode.steps["shields/authorisation"][:, 0] != -3)]  # 3: retreat
    assert len(held) > 4
    assert not held[:, :6].any()
    called = set(episode.calls["step"].tolist())
    turned = np.flatnonzero(np.diff(vetoed.astype(int))) + 1
    assert set(turned.tolist()) <= called, "a plan is vetoed from its call to the next"
    assert_goes_on(lockstep, launch, episode, policy, range(0, len(episode.steps["action"]), 13))


def test_a_gate_says_what_its_monitor_says(gated):
    task, policy, monitors = gated
    chosen = monitors["directional_sensitivity+split_conformal"]
    gate = wb.shield("sensitivity_gate", task, monitors=monitors)
    judge, memory = gate.judge, gate.judge.begin()
    launch = drawn(task, [], "test", 1, 0)
    (episode,) = Lockstep(task, policy, 1, samples=8).record([launch])
    calls = calls_in(episode, {"gate": gate})
    margins = [judge.margin(memory, call) for call in calls.values()]
    store_calls = EpisodeCalls(
        "u", "test", episode.calls["step"], episode.calls["chunk"], episode.calls["samples"],
        episode.calls["embedding"], policy.execute,
    )  # fmt: skip
    (reading,) = offline([chosen], [store_calls])[chosen.name]
    np.testing.assert_allclose(margins, reading.margin, rtol=1e-12)


def test_gates_are_refused_what_nobody_asks_for(gated, tmp_path):
    task, policy, monitors = gated
    gate = wb.shield("sensitivity_gate", task, monitors=monitors)
    with pytest.raises(ConfigError, match=r"reads samples, and rollout.samples=0: set rollout.samples=32"):
        Lockstep(task, policy, 1, shields={"gate": gate})
    privileged = wb.policy("expert", task, privileged=True)
    Lockstep(task, privileged, 1, shields={"gate": gate})  # its plans are not judged

    class Late(Open):
        needs = frozenset({"observation/eef_pos"})

        def plan(self, memory, call):
            pass

        def dropped(self, memory):
            pass

    with pytest.raises(ConfigError, match="of which a branch remembers too little"):
        Lockstep(task, policy, 1, shields={"late": Late()})
    with pytest.raises(ConfigError, match="fit the monitor with workbench fit"):
        wb.rollout(
            task, policy, episodes=4, into=tmp_path / "s.zarr", samples=8, shields={"gate": gate},
            runner=wb.Processes(2, 1),
        )  # fmt: skip
    assert not (tmp_path / "s.zarr").exists()


# -- what a store says of them ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A task, its expert, a shield, and a store behind it: two nominal episodes, two with a fault."""
    task = wb.task("lift")
    policy, path = wb.policy("expert", task), tmp_path_factory.mktemp("shielded") / "s.zarr"
    shields = {"speed": wb.shield("speed", task, change=0.3)}
    wb.rollout(task, policy, episodes=2, into=path, samples=0, shields=shields)
    store = wb.rollout(
        task, policy, {"push": wb.perturbation("push")}, episodes=2, into=path, samples=0, shields=shields
    )
    return task, policy, shields, store


def test_a_store_says_what_stood_before_the_actuators_and_is_not_pooled_with_others(world):
    task, policy, shields, store = world
    said = store.header.config["shields"]["speed"]
    assert said["change"] == 0.3
    assert said["reasons"] == ["translation", "rotation", "change"]
    roll = {"episodes": 3, "into": store.path, "samples": 0}
    for others in ({}, {"speed": wb.shield("speed", task)}, {**shields, "workspace": wb.shield("workspace", task)}):
        with pytest.raises(OtherSettingsError, match="another shields"):
            wb.rollout(task, policy, shields=others, **roll)
    count = len(store)
    assert len(wb.rollout(task, policy, shields=shields, **roll)) == count + 1


def test_names_are_as_good_as_shields(world, tmp_path):
    task, policy, *_ = world
    asked = {"episodes": 1, "samples": 0}
    named = wb.rollout(task, policy, into=tmp_path / "n.zarr", shields=["workspace", "speed"], **asked)
    made = {name: wb.shield(name, task) for name in ("workspace", "speed")}
    assert list(named.header.config["shields"]) == ["workspace", "speed"]
    assert named.digest() == wb.rollout(task, policy, into=tmp_path / "m.zarr", shields=made, **asked).digest()
    own = wb.rollout(task, policy, into=tmp_path / "o.zarr", shields=["speed", Half()], **asked)
    assert list(own.header.config["shields"]) == ["speed", "half"]
    with pytest.raises(UnknownNameError, match="shield 'sped'"):
        wb.rollout(task, policy, into=tmp_path / "x.zarr", shields=["sped"], **asked)
    with pytest.raises(ConfigError, match="must be a list of names"):
        wb.rollout(task, policy, into=tmp_path / "x.zarr", shields="speed", **asked)


def test_a_store_without_shields_is_not_pooled_with_one_behind_them(world, tmp_path):
    task, policy, shields, _ = world
    bare = wb.rollout(task, policy, episodes=1, into=tmp_path / "s.zarr", samples=0)
    assert "shields" not in bare.header.config
    with pytest.raises(OtherSettingsError, match="another shields"):
        wb.rollout(task, policy, episodes=2, into=bare.path, samples=0, shields=shields)


def test_monitors_that_learnt_something_else_are_other_shields(gated, tmp_path):
    task, policy, monitors = gated
    store = wb.rollout(
        task, policy, episodes=1, into=tmp_path / "s.zarr", samples=8,
        shields={"gate": wb.shield("novelty_gate", task, monitors=monitors)},
    )  # fmt: skip
    assert store.header.config["shields"]["gate"]["learnt"]
    leaf = monitors["mahalanobis+split_conformal"]
    moved = dataclasses.replace(leaf, threshold=dataclasses.replace(leaf.threshold, values=leaf.threshold.values + 1))
    with pytest.raises(OtherSettingsError, match=r"shields.gate.learnt"):
        wb.rollout(
            task, policy, episodes=2, into=store.path, samples=8,
            shields={"gate": wb.shield("novelty_gate", task, monitors={leaf.name: moved})},
        )  # fmt: skip


def test_one_made_by_hand_is_rolled_but_not_gone_on_with(world, tmp_path):
    task, policy, _, _ = world
    asked = {"into": tmp_path / "s.zarr", "samples": 0, "shields": {"half": Half()}}
    wb.rollout(task, policy, episodes=1, **asked)
    with pytest.raises(OtherSettingsError, match="a shield half that was made by hand"):
        wb.rollout(task, policy, episodes=2, **asked)
    with pytest.raises(ConfigError, match="Half was made by hand and cannot travel"):
        wb.rollout(task, policy, episodes=4, **(asked | {"into": tmp_path / "t.zarr"}), runner=wb.Processes(2, 1))


def test_workers_make_the_same_store(world, tmp_path):
    task, policy, shields, _ = world
    settings = {"episodes": 3, "samples": 0, "shields": shields}
    one = wb.rollout(task, policy, into=tmp_path / "one.zarr", **settings)
    two = wb.rollout(task, policy, into=tmp_path / "two.zarr", runner=wb.Processes(2, 1), **settings)
    assert one.digest() == two.digest()


def test_the_log_is_what_was_recorded(world, tmp_path):
    *_, store = world
    log = wb.veto_log(store)
    expected = []
    for number in range(len(store)):
        episode = store.episode(number)
        for step, (code, value, limit) in enumerate(episode.steps["shields/speed"]):
            if code:
                reason = ["translation", "rotation", "change"][int(abs(code)) - 1]
                expected.append((episode.record["uid"], step, code < 0, reason, value, limit))
    assert [(row.uid, row.step, row.vetoed, row.reason, row.value, row.limit) for row in log.rows] == expected
    assert len(expected) > 3
    assert len(log.table()) == len(expected)
    log.write(tmp_path / "vetoes.csv")
    with (tmp_path / "vetoes.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [(row["uid"], int(row["step"]), float(row["value"])) for row in written] == [
        (uid, step, value) for uid, step, _, _, value, _ in expected
    ]
    nominal, pushed = shield_rows(store)
    assert (nominal["shield"], nominal["perturbation"], pushed["perturbation"]) == ("speed", "", "push")
    changes = [row for row in expected if row[0].endswith("nominal")]
    assert nominal["changed_steps"] == len(changes)
    assert nominal["with_change"] == len({uid for uid, *_ in changes})
    assert nominal["vetoed_steps"] == nominal["with_veto"] == 0


def test_a_store_without_shields_has_an_empty_log(world, tmp_path):
    task, policy, _, _ = world
    bare = wb.rollout(task, policy, episodes=1, into=tmp_path / "s.zarr", samples=0)
    assert wb.veto_log(bare).rows == ()
    assert shield_rows(bare) == []


def test_a_reason_that_there_is_not_is_damage(world, tmp_path):
    *_, store = world
    episode = store.episode(0)
    wrong = {key: np.array(values) for key, values in episode.steps.items()}
    wrong["shields/speed"][0] = [7.0, 1.0, 0.0]
    with StoreWriter.open(tmp_path / "s.zarr", store.header) as writer:
        writer.append(dataclasses.replace(episode, steps=wrong))
    with pytest.raises(StoreError, match="has no such reason"):
        wb.veto_log(wb.open_store(tmp_path / "s.zarr"))


# -- whatever branches from them -------------------------------------------------------------------------------------


def test_labels_are_measured_behind_the_same_shields(tmp_path):
    task = wb.task("lift")
    policy = wb.policy("zoo/lift_flow", task)
    shields = {"never": Never()}
    store = wb.rollout(task, policy, episodes=1, into=tmp_path / "s.zarr", samples=0, shields=shields, images=False)
    quick = Settings(branches=(2,), stride=50, pairs=0)
    with pytest.raises(OtherSettingsError, match="another shields"):
        wb.label(store, task, policy, settings=quick)
    with pytest.raises(ConfigError, match=r"no decisive step can be measured behind shields: set job.pairs=0"):
        wb.label(store, task, policy, settings=Settings(branches=(2,), stride=50), shields=shields)
    found = wb.label(store, task, policy, settings=quick, shields=shields).store
    assert found.episodes["t_pnr"].tolist() == [0], "behind a shield that lets nothing through nobody can win"
    assert found.episodes["t_on"].tolist() == [0]


def test_a_replay_runs_what_was_let_through(world):
    task, _, _, store = world
    assert wb.replay(store, task).bit_for_bit


def test_what_is_read_back_from_a_store_goes_on_too(world):
    """As branches read it: without what the shields let through."""
    task, policy, shields, store = world
    whole = store.episode(1)
    read = store.episode(1, steps=("obs/*", "state", "action"), calls=("step", "chunk"))
    launch = Launch(stream_of(whole), perturbations_of(whole), start_at(read, 9, policy))
    (branch,) = Lockstep(task, policy, 1, shields=shields).record([launch])
    for key in ("state", "shielded", "shields/speed"):
        np.testing.assert_array_equal(branch.steps[key], whole.steps[key][9:])


def test_the_header_is_plain(world):
    *_, store = world
    assert json.loads(json.dumps(store.header.config["shields"])) == store.header.config["shields"]


# -- the command line ------------------------------------------------------------------------------------------------


def done(tmp_path, *words):
    """Run a job; returns what its run holds then."""
    run = Run(compose(["name=r", "runner.workers=1", "runner.scenes=2", *words]), tmp_path)
    job_of(run.config["job"])(run)
    return run.metrics()


def test_the_command_line_rolls_counts_and_labels_behind_shields(tmp_path, capsys):
    """Gates by monitors of another run, a log of every note, and the same shields in later jobs or none."""
    rolled = ["policy=zoo/lift_flow", "rollout.samples=8"]
    done(tmp_path, "job=rollout", "name=usual", *rolled, "job.episodes={fit: 6, calibrate: 10, test: 0}")
    scores = ["score=[directional_sensitivity]", "calibrator=[split_conformal]", "monitor.level=0.3"]
    done(tmp_path, "job=fit", "name=usual", *rolled, *scores)
    # What the run of the monitors was made with is taken from its journal, which jobs called here do not write.
    gate = ["shield=[sensitivity_gate,speed]", "shield.speed.change=0.4"]
    alone = ["job=rollout", *rolled, *gate, "job.episodes.test=2"]
    with pytest.raises(CheckpointError, match="no monitors"):
        done(tmp_path, *alone)
    shutil.copytree(tmp_path / "runs/usual/monitors", tmp_path / "runs/r/monitors")
    metrics = done(tmp_path, *alone, *scores[:2], "perturbation=[sampler_noise]")
    (sampler, speed) = metrics["shields"]
    assert (sampler["shield"], sampler["perturbation"], sampler["episodes"]) == ("sensitivity_gate", "sampler_noise", 2)
    assert speed["shield"] == "speed"
    store = wb.open_store(tmp_path / "datasets/r.zarr")
    log = wb.veto_log(store)
    with (tmp_path / "runs/r/vetoes.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(log.rows) > 0
    assert sum(row.vetoed for row in log.rows) == sampler["vetoed_steps"]
    capsys.readouterr()
    labels = ["job=label", *rolled, *scores[:2], "job.pairs=0", "job.branches=[2]", "job.stride=50"]
    with pytest.raises(OtherSettingsError, match="another shields"):
        done(tmp_path, *labels)
    done(tmp_path, *labels, *gate)
    assert done(tmp_path, "job=report", *rolled)["report"]
    assert "<h3>Shields</h3>" in (tmp_path / "runs/r/report.html").read_text()


def test_a_run_remembers_its_shields():
    words = ["job=rollout", "policy=expert", "shield=[speed]", "shield.speed.change=0.3"]
    assert [word for word in words[1:] if may_be_taken(word)] == words[1:]
    assert not may_be_taken("shield=[nothing_like_it]")
