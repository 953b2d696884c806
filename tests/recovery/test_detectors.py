"""Monitors ranked by what acting on their first alarms is worth, in one table beside the strategies."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import workbench as wb
from tests.rollouts.test_guard import launch, monitor
from tests.toy import ToyExpert, ToyPolicy, ToyTask
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.monitoring.monitor import AnyMonitor, Monitor, Or
from workbench.policies.recovery.expert import Expert
from workbench.policies.recovery.placebo import Placebo
from workbench.recovery import paired
from workbench.recovery.ranking import DetectorRow
from workbench.rollouts.guard import Guard
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup, write_episodes
from workbench.store import Store
from workbench.types import Strategy

HORIZON, POLICY = 80, ToyPolicy(lazy=0.4)
LAUNCHES = [launch(number, breaks=4 + 2 * number, rots=1000 if number % 3 else 0) for number in range(7)]
LAUNCHES += [launch(number, breaks=1000) for number in range(7, 14)]
ARMS: dict[str, Strategy] = {"placebo": Placebo(), "expert": Expert(ToyExpert(), steps=3)}
SOON = monitor(1)


def other(name: str, threshold: Monitor | None = None) -> Monitor:
    """The same score with another threshold, or none."""
    if threshold is None:
        return dataclasses.replace(SOON, name=name, threshold=None, reason="too few episodes")
    return dataclasses.replace(SOON, name=name, threshold=threshold.threshold)


FIRST, LATE, SILENT = other("first", monitor(0)), other("late", monitor(4)), other("silent")
DETECTORS: list[AnyMonitor] = [SOON, FIRST, LATE, SILENT, Or("silent, too", (SOON, SILENT))]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path: Path = tmp_path_factory.mktemp("detectors") / "a.zarr"
    write_episodes(path, Setup(ToyTask(), POLICY).header(0), Lockstep(ToyTask(), POLICY, 3), LAUNCHES)
    return Store.open(path)


def recovered(store: Store, **asked: Any) -> paired.Recovery:
    return wb.recover(store, SOON, cast(Mapping[str, Any], ARMS), ToyTask(), POLICY, **asked)


@pytest.fixture(scope="module")
def found(store: Store) -> paired.Recovery:
    return recovered(store, detectors=DETECTORS, arm="expert")


def rows_of(found: paired.Recovery) -> dict[str, DetectorRow]:
    assert found.detectors is not None
    return {row.benefit.name: row for row in found.detectors.rows}


def live(alarms: Monitor, strategy: Strategy, within: int) -> np.ndarray:
    """Whether each episode, guarded live, succeeds within so many control steps."""
    guard = Guard(alarms, strategy, horizon=HORIZON)
    ended = dict(Lockstep(ToyTask(), POLICY, 3, guard=guard).record_numbered(LAUNCHES))
    acted = np.array([ended[n].calls["intervened"].any() for n in range(len(LAUNCHES))])
    won = np.array([ended[n].record["success"] and ended[n].record["length"] <= within for n in range(len(LAUNCHES))])
    assert acted.any()
    return won & acted


def test_each_detector_is_worth_what_guards_live_win(found: paired.Recovery) -> None:
    for alarms in (SOON, FIRST, LATE):
        row = rows_of(found)[alarms.name]
        for over, within in (("redraw", 40), ("placebo", HORIZON)):
            wins = [live(alarms, ARMS[name], within).astype(float) for name in ("expert", "placebo")]
            assert row.benefit.over(over).value == pytest.approx(100 * (wins[0] - wins[1]).mean())  # type: ignore[arg-type]
    values = [row.benefit.over_placebo.value for row in rows_of(found).values()]
    assert len(set(values)) > 2
    assert values == sorted(values, reverse=True)  # type: ignore[type-var]


def test_always_is_an_alarm_at_the_first_call(found: paired.Recovery) -> None:
    rows = rows_of(found)
    for over in ("redraw", "placebo"):
        assert rows["always"].benefit.over(over) == rows["first"].benefit.over(over)  # type: ignore[arg-type]
    assert tuple(rows["always"].ahead_of_always) == tuple(rows["first"].ahead_of_always) == (0, 0, 0)
    late = [rows[name].benefit.over_placebo.value or 0.0 for name in ("late", "always")]
    assert rows["late"].ahead_of_always.value == pytest.approx(late[0] - late[1])
    assert (rows["always"].auroc.value, rows["first"].auroc) == (0.5, rows["stuck"].auroc)


def test_one_that_never_alarms_is_worth_nothing_and_has_the_auroc_of_its_score(found: paired.Recovery) -> None:
    rows = rows_of(found)
    for name in ("silent", "silent, too"):
        benefit = rows[name].benefit
        assert (benefit.alarmed_failures, benefit.alarmed_successes) == (0, 0)
        assert (tuple(benefit.over_redraw), tuple(benefit.over_placebo)) == ((0, 0, 0), (0, 0, 0))
    assert rows["silent"].auroc == rows["stuck"].auroc
    assert rows["silent"].auroc.value != 0.5
    assert rows["silent, too"].auroc.value == 0.5


def test_the_strategies_are_judged_as_without_detectors(store: Store, found: paired.Recovery) -> None:
    alone = recovered(store)
    assert alone.detectors is None
    assert "detectors" not in alone.sections()
    assert (alone.rows, alone.crossed, alone.families) == (found.rows, found.crossed, found.families)
    assert len(alone.counterfactuals.step) < len(found.counterfactuals.step)
    cells = list(zip(found.counterfactuals.episode, found.counterfactuals.step, strict=True))
    assert len(set(cells)) == len(cells), "no cell is rolled twice"
    assert len(cells) < sum(len(store.calls(number, ()).step) for number in range(len(store)))


def test_what_cannot_be_ranked_is_refused_before_anything_is_rolled(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rolled(*_: Any, **__: Any) -> None:
        raise AssertionError("rolled")

    monkeypatch.setattr(paired, "tabulate", rolled)
    with pytest.raises(UnknownNameError, match=r"unknown strategy to rank detectors by 'head'.*placebo"):
        recovered(store, detectors=DETECTORS)
    with pytest.raises(ConfigError, match="two monitors are called stuck"):
        recovered(store, detectors=[SOON, monitor(1)], arm="expert")
    write_episodes(tmp_path / "f.zarr", store.header, Lockstep(ToyTask(), POLICY, 3), LAUNCHES[:1])
    with pytest.raises(StoreError, match=r"the 1 test episodes of .* all ended alike; roll more"):
        recovered(Store.open(tmp_path / "f.zarr"), detectors=DETECTORS, arm="expert")
