"""Tables, strategies and corrections of a store that was rolled behind shields: its shields stand in every branch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import workbench as wb
from tests.rollouts.test_guard import DRIVERS, Does, Noisy, Slow, Tiring, launch, monitor
from tests.toy import ToyExpert
from workbench.attribution.branching import intervene
from workbench.attribution.labels import Settings
from workbench.errors import ConfigError, OtherSettingsError
from workbench.execution.processes import Processes
from workbench.policies.recovery.placebo import Placebo
from workbench.recovery.correcting import CorrectionSettings, verify_corrections
from workbench.recovery.tables import BRANCH_ARRAYS, NEVER, tabulate
from workbench.rollouts.guard import Guard
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup, write_episodes
from workbench.rollouts.stored import bare_start, perturbations_of, start_at, stream_of
from workbench.store import Store
from workbench.types import Moment, Note, Passed, PolicyCall, Record

POLICY, HORIZON = Noisy(history=2), 80
SHIELDS = {"tiring": Tiring()}
ARMS: dict[str, Any] = {name: Does(asked, name) for name, asked in DRIVERS.items() if name != "told"}
ARMS["placebo"] = Placebo()
LAUNCHES = [launch(number, breaks=4 + 2 * number, rots=1000 if number % 3 else 0) for number in range(6)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path: Path = tmp_path_factory.mktemp("behind") / "a.zarr"
    setup = Setup(Slow(), POLICY, shields=SHIELDS)
    write_episodes(path, setup.header(0), Lockstep(Slow(), POLICY, 3, shields=SHIELDS), LAUNCHES)
    return Store.open(path)


def test_live_is_branched_behind_a_shield(store: Store) -> None:
    """Behind the same alarm, for every driver: success and length of the guarded episode, which the shield slows."""
    table = tabulate(store, cast(Mapping[str, Any], ARMS), Slow(), POLICY, shields=SHIELDS)
    acted, unlike = 0, 0
    for name, arm in ARMS.items():
        guard = Guard(monitor(1), arm, horizon=HORIZON)
        live = dict(Lockstep(Slow(), POLICY, 3, guard=guard, shields=SHIELDS).record_numbered(LAUNCHES))
        bare = dict(Lockstep(Slow(), POLICY, 3, guard=guard).record_numbered(LAUNCHES))
        for number, episode in live.items():
            if not episode.calls["intervened"].any():
                continue
            step = int(episode.calls["step"][episode.calls["intervened"]][0])
            (row,) = table.cells({episode.record["uid"]: step})
            within = HORIZON if table.more_time[name][row] else 40
            steps = table.arms[name][row, 0]
            assert episode.record["success"] == (NEVER < steps <= within)
            assert episode.record["length"] == (steps if episode.record["success"] else within)
            acted += 1
            unlike += episode.record["length"] != bare[number].record["length"]
    assert acted > 20
    assert unlike > 2, "without the shield they would have ended otherwise"


def test_a_branch_is_the_live_rest_bit_for_bit(store: Store) -> None:
    """State, what was asked and what was let through, from the alarm on; the shield remembers what it did before."""
    lockstep, compared = Lockstep(Slow(), POLICY, 1, shields=SHIELDS), 0
    for name in DRIVERS:
        guard = Guard(monitor(1), Does(DRIVERS[name], name), horizon=HORIZON)
        for number, live in Lockstep(Slow(), POLICY, 3, guard=guard, shields=SHIELDS).record_numbered(LAUNCHES):
            if not live.calls["intervened"].any():
                continue
            step = int(live.calls["step"][live.calls["intervened"]][0])
            stored = store.episode(store.number_of(LAUNCHES[number].uid), steps=BRANCH_ARRAYS, calls=("step", "chunk"))
            (branch,) = lockstep.record([intervene(stored, step, DRIVERS[name], POLICY, horizon=HORIZON)])
            for key in ("state", "action", "shielded", "shields/tiring"):
                assert np.array_equal(branch.steps[key], live.steps[key][step:]), key
            compared += 1
    assert compared > 20


def test_other_shields_and_none_are_refused(store: Store, tmp_path: Path) -> None:
    for shields in ({}, {"other": Tiring()}, {"tiring": Tiring(), "more": Tiring()}):
        with pytest.raises(OtherSettingsError, match="another shields"):
            tabulate(store, ["placebo"], Slow(), POLICY, shields=shields)
        with pytest.raises(OtherSettingsError, match="another shields"):
            wb.recover(store, monitor(1), ["placebo"], Slow(), POLICY, shields=shields)
    write_episodes(tmp_path / "b.zarr", Setup(Slow(), POLICY).header(0), Lockstep(Slow(), POLICY, 3), LAUNCHES[:1])
    with pytest.raises(OtherSettingsError, match="another shields"):
        tabulate(Store.open(tmp_path / "b.zarr"), ["placebo"], Slow(), POLICY, shields=SHIELDS)


def test_strategies_are_judged_behind_them(store: Store) -> None:
    found = wb.recover(store, monitor(1), cast(Mapping[str, Any], ARMS), Slow(), POLICY, shields=SHIELDS)
    cells = found.counterfactuals
    whole = tabulate(store, cast(Mapping[str, Any], ARMS), Slow(), POLICY, shields=SHIELDS)
    rows = whole.cells({cells.uids[e]: int(s) for e, s in zip(cells.episode, cells.step, strict=True) if s == 0})
    for name, steps in cells.arms.items():
        assert np.array_equal(steps[cells.step == 0], whole.arms[name][rows])


class Wary:
    """Judges plans by how far all of this episode moved on the whole: some of them are run at half speed."""

    reasons, softens, needs = ("far",), False, frozenset({"chunk"})

    def begin(self) -> Record:
        return {"moved": 0.0, "calls": 0, "slow": False}

    def plan(self, memory: Record, call: PolicyCall) -> None:
        memory["moved"] += float(np.abs(call.chunk).mean())
        memory["calls"] += 1
        memory["slow"] = (1000 * memory["moved"]) % 2 > 1

    def dropped(self, memory: Record) -> None:
        memory["slow"] = False

    def act(self, memory: Record, moment: Moment) -> Passed:
        slow = memory["slow"]
        return Passed(0.5 * moment.action, note=Note("far", False, 1.0, 0.0)) if slow else Passed(moment.action)


@pytest.mark.parametrize("name", DRIVERS)
def test_live_is_branched_behind_a_gate_on_the_plan(name: str) -> None:
    """What it said of a dropped plan falls, what it remembers of it stays; the plan that is run is judged, too."""
    shields, compared, slowed = {"wary": Wary()}, 0, 0
    guard = Guard(monitor(1), Does(DRIVERS[name], name), horizon=HORIZON)
    lockstep = Lockstep(Slow(), POLICY, 1, shields=shields)
    bare = dict(Lockstep(Slow(), POLICY, 3, shields=shields).record_numbered(LAUNCHES))
    for number, live in Lockstep(Slow(), POLICY, 3, guard=guard, shields=shields).record_numbered(LAUNCHES):
        if not live.calls["intervened"].any():
            continue
        step = int(live.calls["step"][live.calls["intervened"]][0])
        (branch,) = lockstep.record([intervene(bare[number], step, DRIVERS[name], POLICY, horizon=HORIZON)])
        for key in ("state", "action", "shielded", "shields/wary"):
            assert np.array_equal(branch.steps[key], live.steps[key][step:]), key
        compared += 1
        slowed += int(np.any(branch.steps["shields/wary"][:, 0]))
        other = live.steps["relieved"]
        assert not live.steps["shields/wary"][other, 0].any(), "what it said of the policy's plan fell"
    assert compared > 2
    assert slowed or name == "expert", "the gate did nothing behind an alarm"


def test_what_the_gate_said_falls_where_the_expert_goes_on() -> None:
    """From the middle of a slowed chunk the expert's branches are not slowed, and the policy's own go on so."""
    shields = {"wary": Wary()}
    (episode,) = Lockstep(Slow(), POLICY, 1, shields=shields).record(LAUNCHES[:1])
    slow = np.flatnonzero(episode.steps["shields/wary"][:, 0])
    step = next(int(at) for at in slow if at not in episode.calls["step"])
    expert = Lockstep(Slow(), ToyExpert(), 1, shields=shields)
    (free,) = expert.record([Launch(stream_of(episode), perturbations_of(episode), bare_start(episode, step))])
    assert not free.steps["shields/wary"][:, 0].any()
    again = start_at(episode, step, POLICY)
    own = Launch(stream_of(episode), perturbations_of(episode), again)
    (same,) = Lockstep(Slow(), POLICY, 1, shields=shields).record([own])
    assert np.array_equal(same.steps["state"], episode.steps["state"][step:])
    assert same.steps["shields/wary"][0, 0]


def test_who_judges_plans_by_half_is_refused() -> None:
    half = type("Half", (Tiring,), {"plan": lambda self, memory, call: None})()
    with pytest.raises(ConfigError, match=r"has plan\(\), and needs or dropped\(\) is missing") as caught:
        Lockstep(Slow(), POLICY, 1, shields={"half": half})
    assert "\n" not in str(caught.value)


def test_corrections_are_verified_behind_shields(tmp_path: Path) -> None:
    """Their placebo is that of a counterfactual table behind the same shields."""
    task = wb.task("lift")
    policy, alone = wb.policy("zoo/lift_flow", task), Processes(workers=1, scenes=8)
    shields = {"speed": wb.shield("speed", task, translation_m_s=0.3)}
    asked: Record = {"runner": alone, "shields": shields}
    faults = [wb.perturbation("object_pose_bias")]
    store = wb.rollout(task, policy, faults, episodes={"fit": 3}, into=tmp_path / "c.zarr", samples=0, **asked)
    wb.label(store, task, policy, settings=Settings((), 40, (8,), 0), **asked)
    small = CorrectionSettings(episodes=1, before=1, beyond=0, targets=1, randoms=1, branches=2)
    with pytest.raises(OtherSettingsError, match="another shields"):
        verify_corrections(Store.open(store.path), task, policy, settings=small)
    found = verify_corrections(Store.open(store.path), task, policy, settings=small, horizon=1.5, **asked)
    rows = np.flatnonzero(found.placebo)
    at = {
        found.uids[episode]: {int(found.step[row]) for row in part}
        for episode, part in itertools.groupby(rows, key=lambda row: found.episode[row])
    }
    table = tabulate(store, ["placebo"], task, policy, split="fit", at=at, branches=2, horizon=1.5, **asked)
    cells = table.cells({uid: step for uid, (step,) in at.items()})
    assert table.arms["placebo"][cells].tolist() == found.ended[rows].tolist()
