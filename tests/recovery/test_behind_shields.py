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
from workbench.attribution.branching import intervene
from workbench.attribution.labels import Settings
from workbench.errors import ConfigError, OtherSettingsError
from workbench.execution.processes import Processes
from workbench.policies.recovery.placebo import Placebo
from workbench.recovery.correcting import CorrectionSettings, verify_corrections
from workbench.recovery.tables import BRANCH_ARRAYS, NEVER, tabulate
from workbench.rollouts.guard import Guard
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup, write_episodes
from workbench.store import Store
from workbench.types import PolicyCall, Record

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


class Judges(Tiring):
    """A shield that also sees plans."""

    needs = frozenset({"chunk"})

    def plan(self, memory: Record, call: PolicyCall) -> None: ...


def test_interventions_and_gates_on_the_plan_are_refused_together(tmp_path: Path) -> None:
    shields = {"judges": Judges()}
    setup = Setup(Slow(), POLICY, shields=shields)
    write_episodes(tmp_path / "g.zarr", setup.header(0), Lockstep(Slow(), POLICY, 1, shields=shields), LAUNCHES[:1])
    with pytest.raises(ConfigError, match="shield judges judges plans, and interventions drop plans") as caught:
        tabulate(Store.open(tmp_path / "g.zarr"), ["placebo"], Slow(), POLICY, shields=shields)
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
