"""Numbers of a skill are chosen on the fit split alone, by branches that anyone can roll again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import workbench as wb
from workbench.config import compose
from workbench.config.named import node_of
from workbench.errors import ConfigError, OtherSettingsError, StoreError, UnknownNameError
from workbench.recovery import tuning
from workbench.recovery.tables import tabulate
from workbench.recovery.tuning import NUMBERS, SKILL, Number, TuningSettings, judged, numbers_of, tune_skill
from workbench.rollouts.arms import beside
from workbench.rollouts.training import with_defaults
from workbench.store import Store
from workbench.types import Policy, Record, Task
from workbench.types.reading import Between
from workbench.types.tuning import read_tuning

from .lift import ALONE
from .lift import policy as policy
from .lift import task as task

WHOLE = with_defaults(SKILL)
HORIZON = 200


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, task: Task, policy: Policy) -> Store:
    path: Path = tmp_path_factory.mktemp("tuning") / "a.zarr"
    fault = wb.perturbation("object_pose_bias")
    return wb.rollout(task, policy, [fault], episodes={"fit": 4, "test": 1}, into=path, samples=0, runner=ALONE)


def calls(store: Store, split: str = "fit") -> dict[str, int]:
    numbers = [number for number in range(len(store)) if store.episodes["split"][number] == split]
    return {store.uids[number]: int(store.calls(number, ()).step[2]) for number in numbers}


@dataclasses.dataclass
class MadeUp:
    """A table in whose place a closed form stands: the nearer retraction and tries are to a best, the more is won."""

    horizon: int
    arms: dict[str, Any]
    simulated: int = 100


class Rolls:
    """In the place of tabulate; counts its calls, and fails at one of them."""

    def __init__(self, fails_at: int = 10**9) -> None:
        self.asked: list[dict[str, Any]] = []
        self.fails_at = fails_at

    def __call__(self, store: Store, *, strategies: Mapping[str, Any], at: Mapping[str, Any], **rest: Any) -> MadeUp:
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append(dict(strategies))
        assert rest["split"] == "fit"
        return MadeUp(HORIZON, {name: self.steps(node, len(at)) for name, node in strategies.items()})

    def steps(self, node: Any, states: int) -> Any:
        if not isinstance(node, Mapping):
            return np.zeros((states, 1), np.int16)
        off = abs(node["retract_m"] - 0.08) / 0.1 + abs(node["tries"] - 3) / 3
        lost = min(states, round(states * off))
        return np.array([[0]] * lost + [[50]] * (states - lost), np.int16)


@pytest.fixture
def rolls(monkeypatch: pytest.MonkeyPatch) -> Rolls:
    made = Rolls()
    monkeypatch.setattr(tuning, "tabulate", made)
    return made


def tuned(store: Store, task: Task, policy: Policy, into: Path, **changes: Any) -> Any:
    given = {"settings": TuningSettings(points=33, alarms=4), "runner": ALONE, **changes}
    return tune_skill(store, given.pop("alarms", calls(store)), task, policy, into=into, **given)


def test_a_search_comes_nearer_to_the_best_and_the_same_seed_searches_alike(
    tmp_path: Path, store: Store, task: Task, policy: Policy, rolls: Rolls
) -> None:
    found = [
        tuned(store, task, policy, tmp_path / f"{name}.json", seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert found[0] == found[1]
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert found[0].points[0] == found[2].points[0]
    assert found[0].points[1:] != found[2].points[1:]
    for one in found:
        first, best = one.points[0], one.points[one.best]
        assert first.numbers == {name: numbers_of_default()[name] for name in NUMBERS}
        assert best.won > first.won
        assert best.cost == min(point.cost for point in one.points)
        assert one.settings["retract_m"] == best.numbers["retract_m"]
        assert (len(one.points), one.states, one.branches, one.placebo) == (33, 4, 4, 0)
        bounds = {number.name: number for number in numbers_of(WHOLE, NUMBERS)}
        for point in one.points:
            assert all(bounds[name].low <= value <= bounds[name].high for name, value in point.numbers.items())
            assert all(isinstance(point.numbers[name], int) for name in ("dwell_steps", "tries"))


def numbers_of_default() -> Record:
    node = wb.strategy("skill", task=wb.task("lift"))
    return {**cast(Any, node)._driver._numbers}


def test_where_nothing_is_better_the_first_numbers_are_kept(
    tmp_path: Path, store: Store, task: Task, policy: Policy, rolls: Rolls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rolls, "steps", lambda self, node, states: np.full((states, 1), 40, np.int16))
    assert tuned(store, task, policy, tmp_path / "a.json").best == 0


def test_branches_count_before_time_and_time_breaks_ties() -> None:
    steps = [np.array(each) for each in ([[10], [0]], [[399], [399]], [[100], [399]])]
    ended = [judged(each, 400) for each in steps]
    assert [won for won, _ in ended] == [1, 2, 2]
    assert ended[0][1] > ended[1][1] > ended[2][1]
    assert all(lost <= cost < lost + 1 for (won, cost), lost in zip(ended, (1, 0, 0), strict=True))


def test_the_same_again_is_kept_and_other_settings_are_refused(
    tmp_path: Path, store: Store, task: Task, policy: Policy, rolls: Rolls
) -> None:
    into = tmp_path / "skill.json"
    found = tuned(store, task, policy, into)
    before, rolled = into.read_bytes(), len(rolls.asked)
    assert tuned(store, task, policy, into) == found == read_tuning(into)
    for change, key in (
        ({"seed": 1}, "seed"), ({"horizon": 1.0}, "horizon"), ({"skill": {**SKILL, "turns": 1.0}}, r"skill\.turns"),
        ({"settings": TuningSettings(41, 4)}, "points"), ({"numbers": ["tries"]}, "numbers"),
        ({"alarms": {uid: 0 for uid in calls(store)}}, "states"),
    ):  # fmt: skip
        with pytest.raises(OtherSettingsError, match=rf"made with another .*{key}.*overwrite=true tunes it anew"):
            tuned(store, task, policy, into, **change)
    assert (into.read_bytes(), len(rolls.asked)) == (before, rolled)
    assert tuned(store, task, policy, into, seed=1, overwrite=True).seed == 1
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".json"] == ["skill.json"]


def test_an_unfinished_search_goes_on_and_comes_to_the_same(
    tmp_path: Path, store: Store, task: Task, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken, rest = Rolls(), Rolls(fails_at=3), Rolls()
    monkeypatch.setattr(tuning, "tabulate", whole)
    found = tuned(store, task, policy, tmp_path / "whole.json")
    monkeypatch.setattr(tuning, "tabulate", broken)
    with pytest.raises(KeyboardInterrupt):
        tuned(store, task, policy, tmp_path / "skill.json")
    assert not (tmp_path / "skill.json").exists()
    monkeypatch.setattr(tuning, "tabulate", rest)
    assert tuned(store, task, policy, tmp_path / "skill.json") == found
    assert len(rest.asked) == len(whole.asked) - 3
    monkeypatch.setattr(tuning, "tabulate", Rolls(fails_at=1))
    with pytest.raises(KeyboardInterrupt):
        tuned(store, task, policy, tmp_path / "other.json")
    monkeypatch.setattr(tuning, "tabulate", again := Rolls())
    assert tuned(store, task, policy, tmp_path / "other.json", seed=1).seed == 1
    assert len(again.asked) == len(whole.asked), "what was begun with another seed is none of its rounds"


def test_tuning_on_another_split_than_fit_is_refused(
    tmp_path: Path, store: Store, task: Task, policy: Policy, rolls: Rolls
) -> None:
    with pytest.raises(StoreError, match=r"tuned on the fit split alone, and episode .* is of the test split"):
        tuned(store, task, policy, tmp_path / "a.json", alarms={**calls(store), **calls(store, "test")})
    with pytest.raises(StoreError, match="has no alarm of calls by hand in the fit split to tune a skill on"):
        tuned(store, task, policy, tmp_path / "a.json", alarms={})
    with pytest.raises(OtherSettingsError):
        tuned(store, wb.task("stack"), policy, tmp_path / "a.json")
    with pytest.raises(ConfigError, match="target=hole_pos is none of eef_pos, cube_pos of task lift"):
        tuned(store, task, policy, tmp_path / "a.json", skill={**SKILL, "target": "hole_pos"})
    with pytest.raises(ConfigError, match=r"job\.skill\.turns=9 must be"):
        tuned(store, task, policy, tmp_path / "a.json", skill={**SKILL, "turns": 9})
    assert not rolls.asked
    assert not (tmp_path / "a.json").exists()


def test_of_more_alarms_some_are_drawn_by_the_seed(
    tmp_path: Path, store: Store, task: Task, policy: Policy, rolls: Rolls
) -> None:
    settings = TuningSettings(points=9, alarms=2)
    drawn = [
        tuned(store, task, policy, tmp_path / f"{seed}.json", settings=settings, seed=seed).made_with["states"]
        for seed in range(4)
    ]
    assert all(len(each) == 2 and dict(each).items() <= calls(store).items() for each in drawn)
    assert len({tuple(map(tuple, each)) for each in drawn}) > 1


def test_numbers_without_bounds_and_too_small_a_budget_are_refused() -> None:
    assert numbers_of(WHOLE, ["turns", "tries"]) == (Number("turns", 0.0, 5.0, False), Number("tries", 1, 4, True))
    with pytest.raises(UnknownNameError, match=r"parameter of .*Skill 'reach'"):
        numbers_of(WHOLE, ["reach"])
    for wrong in (["target"], [], ["turns", "turns"]):
        with pytest.raises(ConfigError, match=r"job\.numbers"):
            numbers_of(WHOLE, wrong)
    with pytest.raises(ConfigError, match=r"job\.numbers: speed of .*Retreat is no number between bounds"):
        numbers_of({"_target_": "workbench.policies.recovery.retreat.Retreat", "speed": 0.5}, ["speed"])
    for settings in ({"points": 8}, {"alarms": 0}, {"branches": 3}):
        with pytest.raises(ConfigError, match=rf"job\.{next(iter(settings))}="):
            TuningSettings(**settings)
    assert Between(0.0, 5.0).allows(5.0)


def test_what_is_told_of_the_best_is_what_its_branches_come_to(
    tmp_path: Path, store: Store, task: Task, policy: Policy
) -> None:
    """Rolled in earnest: the table of the strategy that takes the file wins as much from the same states."""
    into = beside(tmp_path / "head", "tuned")
    states, settings = dict(list(calls(store).items())[:2]), TuningSettings(points=9, alarms=2)
    found = tuned(store, task, policy, into, alarms=states, settings=settings, horizon=1.0)
    assert json.loads(into.read_text())["best"] == found.best
    options: Record = {"split": "fit", "at": {uid: {step} for uid, step in states.items()}, "horizon": 1.0}
    table = tabulate(store, ["placebo", "skill", "tuned_skill"], task, policy, head=tmp_path / "head", **options)
    won = {arm: judged(steps, table.horizon) for arm, steps in table.arms.items()}
    assert won["placebo"][0] == found.placebo
    assert won["skill"] == (found.points[0].won, found.points[0].cost)
    assert won["tuned_skill"] == (found.points[found.best].won, found.points[found.best].cost)
    assert len(table.made_of["tuned"]) > 10
    assert "tuned" not in tabulate(store, ["placebo"], task, policy, **options).made_of


def test_the_numbers_stand_alike_wherever_they_stand() -> None:
    """In the yaml of the strategy, in that of the job, and in the code."""
    of_the_job = compose(["job=tune"])["job"]["skill"]
    assert {**WHOLE, "target": None} == node_of("strategy", "skill") == of_the_job
