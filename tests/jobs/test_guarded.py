"""A guard from the command line: it acts, its store is its own, and workers change nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import workbench as wb
from workbench.config import Run, compose, hash_file, job_of
from workbench.config.checking import checked
from workbench.errors import CheckpointError, ConfigError, OtherSettingsError, StoreError, UnknownNameError
from workbench.jobs import fit, rollout, tune, view
from workbench.monitoring.files import load_monitors, save
from workbench.recovery.benefit import Terms
from workbench.recovery.paired import first_alarms
from workbench.recovery.ranking import rank_monitors
from workbench.recovery.tables import NEVER, tabulate
from workbench.reporting.report import report
from workbench.rollouts.guard import guard_of
from workbench.rollouts.shielding import Kept
from workbench.store import Store

MONITOR = "mahalanobis+split_conformal"
WORDS = ["name=g", "policy=zoo/lift_flow", "score=[mahalanobis]", "monitor.level=0.4", "rollout.samples=0"]
FAULT = ["perturbation=[action_noise]"]


def run_of(root: Path, job: str, *words: str) -> Run:
    return Run(compose([f"job={job}", *WORDS, *words]), root)


def roll(run: Run, **asked: Any) -> None:
    """The job with its settings, and some others."""
    settings = {key: value for key, value in run.config["job"].items() if key != "_target_"}
    rollout.run(run, **settings | asked)


def refused(root: Path, match: str, strategy: str, **asked: Any) -> None:
    run = run_of(root, "rollout", "name=none", f"strategy=[{strategy}]")
    with pytest.raises(ConfigError, match=match):
        roll(run, **{"episodes": {"test": 1}, "monitor": MONITOR, "fitted_in": "g"} | asked)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nominal and faulty episodes, and a monitor."""
    folder = tmp_path_factory.mktemp("guarded")
    roll(run_of(folder, "rollout"), episodes={"fit": 4, "calibrate": 6})
    roll(run_of(folder, "rollout", *FAULT), episodes={"test": 6})
    run = run_of(folder, "fit")
    fit.run(run, **{key: value for key, value in run.config["job"].items() if key != "_target_"})
    return folder


def guarded(root: Path, store: str, strategy: str, *words: str) -> Store:
    run = run_of(root, "rollout", *FAULT, f"name={store}", f"strategy=[{strategy}]", *words)
    roll(run, episodes={"test": 6}, monitor=MONITOR, fitted_in="g")
    return Store.open(run.store)


def test_it_acts_and_the_store_says_who_drove(root: Path) -> None:
    store, bare = guarded(root, "acted", "expert", "strategy.expert.steps=10"), Store.open(root / "datasets/g.zarr")
    assert store.header.config["guard"]["monitor"] == MONITOR
    assert str(root) not in str(store.header)
    alarms = first_alarms(bare, load_monitors(run_of(root, "fit"))[MONITOR])
    assert alarms
    table = tabulate(
        bare, {"expert": store.header.config["guard"]["strategy"]["expert"]}, run_of(root, "fit").task,
        run_of(root, "fit").policy(), at={bare.uids[number]: {step} for number, (step,) in alarms.items()},
    )  # fmt: skip
    for number, (step,) in alarms.items():
        uid = bare.uids[number]
        episode = store.episode(store.number_of(uid))
        relieved = np.flatnonzero(episode.steps["relieved"])
        assert relieved.tolist() == list(range(step, min(step + 10, len(episode.steps["relieved"]))))
        assert episode.calls["margin"][episode.calls["intervened"]][0] > 0
        steps = int(table.arms["expert"][table.cells({uid: step})[0], 0])
        assert (episode.record["success"], episode.record["length"]) == (steps > NEVER, steps or table.horizon)


def test_workers_change_nothing(root: Path) -> None:
    alone, two = guarded(root, "alone", "placebo"), guarded(root, "two", "placebo", "runner.workers=2")
    assert alone.digest() == two.digest()


def test_what_a_guard_drove_is_not_pooled_with_what_the_policy_did(root: Path) -> None:
    with pytest.raises(OtherSettingsError, match="guard"):
        guarded(root, "g", "placebo")
    kept = guarded(root, "kept", "placebo")
    with pytest.raises(OtherSettingsError, match="guard"):
        guarded(root, "kept", "redraw")
    run = run_of(root, "rollout")
    with pytest.raises(OtherSettingsError, match="was rolled with a guard, which drove part of its episodes"):
        tabulate(kept, ["placebo"], run.task, run.policy())
    assert Store.open(kept.path).digest() == kept.digest()


@pytest.mark.parametrize("word", ["strategy=[placebo]", "strategy.placebo.x=1", "job.most=2", "job.fitted_in=g"])
def test_what_is_done_on_an_alarm_is_not_said_without_a_monitor(
    root: Path, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(root, "rollout", "name=none")
    run.words = ("job=rollout", "name=none", word)
    key = word.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"{key} says what is done on an alarm.*: job\.monitor="):
        roll(run, episodes={"test": 1})
    run.taken = (word,)  # by another job of this run
    assert guard_of(run, None, None, 2.0, 1, 0, False) is None
    run.taken = ()
    monkeypatch.setattr(run, "journal", lambda: [SimpleNamespace(done=True, words=list(run.words))])
    assert guard_of(run, None, None, 2.0, 1, 0, False) is None  # the command line reads it from the run's journal
    assert not (root / "datasets" / "none.zarr").exists()


def test_a_monitor_watches_the_task_and_policy_that_it_was_fitted_on(root: Path) -> None:
    others = {
        "fitted on task 'lift', not 'push_t'": ["task=push_t", "policy=zoo/push_t_flow"],
        r"another policy \(FlowPolicy with weights \w+, not DiffusionPolicy with weights \w+\); fit some": [
            "policy=zoo/lift_diffusion"
        ],
    }
    for match, words in others.items():
        run = run_of(root, "rollout", *words, "name=none", "strategy=[placebo]")
        with pytest.raises(OtherSettingsError, match=match):
            roll(run, episodes={"test": 1}, monitor=MONITOR, fitted_in="g")
    shielded = Kept(str(root / "runs/g/monitors"), run.config["score"], run.config["calibrator"])
    assert MONITOR in shielded.monitors(run_of(root, "fit").task)
    with pytest.raises(OtherSettingsError, match="fitted on task 'lift', not 'push_t'"):
        shielded.monitors(wb.task("push_t"))
    kept = load_monitors(run_of(root, "fit"))
    folder = root / "runs" / "old" / "monitors"
    save(folder, kept.monitors)  # as earlier versions did
    assert load_monitors(run_of(root, "fit", "name=old")).source is None
    run = run_of(root, "rollout", "policy=zoo/lift_diffusion", "strategy=[placebo]")
    assert guard_of(run, MONITOR, "old", 2.0, 1, 0, False) is not None


def test_a_strategy_is_drawn_beside_the_placebo(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare, run = Store.open(root / "datasets/g.zarr"), run_of(root, "view", "strategy=[expert]")
    number = next(iter(first_alarms(bare, load_monitors(run)[MONITOR])))
    view.run(run, number, [MONITOR], "expert", 2.0, False, 0, "onset")
    (made,) = (run.folder / "recordings").glob("*-expert-beside-placebo.rrd")
    assert f"recording: {run.shown(made)}" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(ConfigError, match=r"acts on a monitor's first alarm; name one: job\.monitors="):
        view.run(run, number, [], "expert", 2.0, False, 0, "onset")
    with pytest.raises(UnknownNameError, match=r"unknown strategy 'expret'\. Did you mean 'expert'"):
        view.run(run, number, [MONITOR], "expret", 2.0, False, 0, "onset")


def test_strategies_are_judged_in_test_episodes(root: Path) -> None:
    roll(run_of(root, "rollout", "name=untested"), episodes={"fit": 1})
    run, monitor = run_of(root, "fit", "name=untested"), load_monitors(run_of(root, "fit"))[MONITOR]
    with pytest.raises(StoreError, match="has no episode in the test split to judge strategies in; roll some"):
        wb.recover(Store.open(run.store), monitor, ["placebo"], run.task, run.policy())


def test_a_skill_is_tuned_and_acts_and_the_store_says_which(root: Path) -> None:
    words = ["name=t", "store=g", "score=[always]", "calibrator=[fixed]"]
    fitted = run_of(root, "fit", *words)
    fit.run(fitted, **{key: value for key, value in fitted.config["job"].items() if key != "_target_"})
    run = run_of(root, "tune", *words)
    asked = {key: value for key, value in run.config["job"].items() if key != "_target_"}
    small = asked | {"monitor": "always+fixed", "points": 9, "alarms": 1, "horizon": 1.0}
    acting = {"episodes": {"test": 1}, "monitor": "always+fixed", "fitted_in": "t"}
    words = ["name=skilled", "strategy=[tuned_skill]", "score=[always]", "calibrator=[fixed]"]
    with pytest.raises(ConfigError, match="goes by tuned numbers, and there are none; workbench tune makes them"):
        roll(run_of(root, "rollout", *words), **acting)
    tune.run(run, **small)
    rows = {row["name"]: row for row in run.metrics()["tuning"]["rows"]}
    assert list(rows) == ["placebo", "first", "tuned"]
    assert rows["tuned"]["won"] >= rows["first"]["won"]
    roll(run_of(root, "rollout", *words), **acting)
    store = Store.open(root / "datasets/skilled.zarr")
    assert store.header.config["guard"]["tuned"] == hash_file(root / "runs/t/skill.json")
    assert store.episode(0).steps["relieved"][0]
    assert str(root) not in str(store.header)


def test_a_monitor_without_a_threshold_guards_nothing(root: Path) -> None:
    run = run_of(root, "fit", "monitor.level=0.01", "overwrite=true", "name=strict", "store=g")
    fit.run(run, **{key: value for key, value in run.config["job"].items() if key != "_target_"})
    refused(root, r"can never alarm \(a false-alarm rate of 0\.01 needs at least 99", "placebo", fitted_in="strict")


def test_what_cannot_be_is_refused_before_there_is_a_store(root: Path) -> None:
    refused(root, "a guard has one strategy, not continue, placebo", "continue,placebo")
    refused(root, "there is none; workbench recover trains one", "head")
    refused(root, "unknown monitor 'rnd'", "placebo", monitor="rnd")
    refused(root, "strategy cascade hands over to a policy, and none is named", "cascade")
    refused(root, "horizon=0.5 must be a number of deadlines", "placebo", horizon=0.5)
    for name in ("head", "expert", "cascade"):
        with pytest.raises(ConfigError, match=rf"strategy\.{name}\.steps=0 must be a whole number or null of 1"):
            checked(["job=rollout", f"strategy=[{name}]", f"strategy.{name}.steps=0"])
    refused(root, "job.fitted_in='a/b'", "placebo", fitted_in="a/b")
    with pytest.raises(CheckpointError, match="no monitors"):
        roll(run_of(root, "rollout", "name=none", "strategy=[placebo]"), episodes={"test": 1}, monitor=MONITOR)
    assert not (root / "datasets" / "none.zarr").exists()


def test_detectors_are_ranked_from_the_command_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["strategy=[placebo,expert]", f"job.monitor={MONITOR}", "job.rank=[all]", "job.arm=expert"]
    for fault in ("action_noise", "action_gain"):  # it succeeds under one, and fails under the other
        roll(run_of(root, "rollout", "name=mixed", f"perturbation=[{fault}]"), episodes={"test": 3})
    shutil.copytree(root / "runs/g/monitors", root / "runs/mixed/monitors")
    run = run_of(root, "recover", "name=mixed", *asked)
    job_of(run.config["job"])(run)
    found = run.metrics()["detectors"]
    monitors = load_monitors(run)
    assert {row["detector"] for row in found["rows"]} == {*monitors, "always"}
    store, rows = Store.open(run.store), {row["detector"]: row for row in found["rows"]}
    assert (found["episodes"], found["failed"]) == (6, int((~store.episodes["success"].astype(bool)).sum()))
    terms = Terms("expert", 100, 200)
    table = tabulate(store, ["placebo", "expert"], run.task, run.policy())
    known = {
        row.benefit.name: row for row in rank_monitors(store, list(monitors.values()), table.outcomes(), terms).rows
    }
    for name, row in rows.items():
        assert row == known[name].record(), "cells at first alarms are all that is looked up"
    said = " ".join(capsys.readouterr().out.split())
    assert f"Of {len(monitors)} detectors in 6 test episodes" in said
    assert "Acting at step 0 of every episode, without a detector, is worth" in said
    assert "detectors by what acting on them is worth" in said
    page = report(into=run.folder / "page.html", metrics=run.metrics(), title="a run").read_text()
    assert "<h3>Which detector is worth acting on?</h3>" in page
