"""A counterfactual table says what branches and live rollouts do; time and noise are the same for all arms."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests.rollouts.test_guard import Following, Noisy, Slow, launch, monitor
from tests.toy import ToyExpert
from workbench.attribution.branching import intervene
from workbench.detectors.scores.chunk_overlap import ChunkOverlap
from workbench.errors import ConfigError, OtherSettingsError, StoreError, UnknownNameError
from workbench.monitoring.scoring import FittedScore
from workbench.policies.recovery.ask import Ask
from workbench.policies.recovery.continuation import Continue
from workbench.policies.recovery.expert import Expert
from workbench.policies.recovery.more_time import MoreTime
from workbench.policies.recovery.placebo import Placebo
from workbench.policies.recovery.redraw import Redraw
from workbench.recovery.bottleneck import bottlenecks, crossings, solvable
from workbench.recovery.families import by_family, families_of
from workbench.recovery.paired import judged
from workbench.recovery.tables import NEVER, NOT_ROLLED, CounterfactualTable, asked_at, tabulate
from workbench.rollouts.arms import built
from workbench.rollouts.guard import Guard
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup, write_episodes
from workbench.store import Store, verify_store
from workbench.types import Alarm, Intervention, Record, Strategy

POLICY, HORIZON = Noisy(history=2), 80
ARMS: dict[str, Strategy] = {
    "continue": Continue(),
    "redraw": Redraw(),
    "more_time": MoreTime(),
    "placebo": Placebo(),
    "expert": Expert(ToyExpert()),
    "handed back": Expert(ToyExpert(), steps=3),
    "ask": Ask(),
    "follows": Following(None),
}
LAUNCHES = [launch(number, breaks=4 + 2 * number, rots=1000 if number % 3 else 0) for number in range(8)]
LAUNCHES += [launch(8, breaks=1000), launch(9, breaks=1000)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path: Path = tmp_path_factory.mktemp("tables") / "a.zarr"
    setup = Setup(Slow(), POLICY)
    write_episodes(path, setup.header(0), Lockstep(Slow(), POLICY, 3), LAUNCHES)
    return Store.open(path)


def table_of(store: Store, **options: Any) -> CounterfactualTable:
    return tabulate(store, cast(Mapping[str, Any], ARMS), Slow(), POLICY, **options)


@pytest.fixture(scope="module")
def whole(store: Store) -> CounterfactualTable:
    return table_of(store, branches=4)


def test_every_cell_is_its_executed_branch(store: Store, whole: CounterfactualTable) -> None:
    assert (whole.deadline, whole.horizon) == (40, HORIZON)
    assert len(whole.step) == sum(len(store.calls(number, ()).step) for number in range(len(store)))
    lockstep, random, compared = Lockstep(Slow(), POLICY, 1), np.random.default_rng(0), 0
    for row in random.permutation(len(whole.step))[:12]:
        episode = store.episode(int(whole.episode[row]))
        step = int(whole.step[row])
        for name in ("redraw", "placebo", "expert", "handed back"):
            for branch in range(4):
                if (found := whole.arms[name][row, branch]) == NOT_ROLLED:
                    continue
                asked = dataclasses.replace(ARMS[name].act({}, None), more_time=True)  # type: ignore[arg-type,type-var]
                (outcome,) = lockstep.outcomes(
                    [intervene(episode, step, asked, POLICY, horizon=HORIZON, branch=branch)]
                )
                assert found == (outcome.length if outcome.success else NEVER)
                compared += 1
    assert compared > 90


def test_the_redraw_is_the_placebo_with_less_time_and_nothing_is_the_episode(whole: CounterfactualTable) -> None:
    assert np.array_equal(whole.arms["redraw"], whole.arms["placebo"])
    assert not whole.more_time["redraw"].any()
    assert whole.more_time["placebo"].all()
    assert np.array_equal(whole.arms["continue"], np.repeat(whole.factual[whole.episode][:, None], 4, axis=1))
    # From wherever one waits, it is the same episode with the same noise.
    waited = whole.waited[whole.episode]
    assert (whole.arms["more_time"][:, 0] == waited).all()
    assert (waited > whole.factual[whole.episode]).any()
    assert (whole.arms["ask"][whole.step > 0] == NEVER).all()


def test_further_branches_are_rolled_where_the_first_do_not_end_alike(whole: CounterfactualTable) -> None:
    for name in ("placebo", "expert"):
        won = whole.arms[name] > NEVER
        alike = won[:, 0] == won[:, 1]
        assert (whole.arms[name][alike, 2:] == NOT_ROLLED).all()
        assert (whole.arms[name][~alike, 2:] != NOT_ROLLED).all()


def test_what_is_looked_up_is_what_a_live_rollout_does(store: Store, whole: CounterfactualTable) -> None:
    """For every arm, behind the same alarm: success and length, episode by episode."""
    acted = 0
    for name in ("redraw", "placebo", "expert", "handed back", "more_time", "follows"):
        guard = Guard(monitor(1), ARMS[name], horizon=HORIZON)
        live = dict(Lockstep(Slow(), POLICY, 3, guard=guard).record_numbered(LAUNCHES))
        for episode in live.values():
            if not episode.calls["intervened"].any():
                continue
            step = int(episode.calls["step"][episode.calls["intervened"]][0])
            (row,) = whole.cells({episode.record["uid"]: step})
            steps = whole.arms[name][row, 0]
            within = HORIZON if whole.more_time[name][row] else 40
            assert episode.record["success"] == (NEVER < steps <= within)
            assert episode.record["length"] == (steps if episode.record["success"] else within)
            acted += 1
    assert acted >= 20


@dataclasses.dataclass
class Forgets(Following):
    """What it has followed is gone once it has acted."""

    def act(self, memory: Record, alarm: Alarm) -> Intervention | None:
        asked = super().act(memory, alarm)
        memory["seen"].clear()
        return asked


def test_every_cell_is_asked_with_all_calls_before_it_and_as_if_it_were_the_first_alarm(store: Store) -> None:
    """As the guard shows them live, whichever cells are asked for."""
    calls = store.calls(0, Forgets.needs)
    places = calls.observation["place"][:, -1, 0]
    for rows in ([0, 1, 2, 3], [2], [1, 3]):
        asked = asked_at(Forgets(None), calls, rows, POLICY, 40)
        assert len(asked) == len(rows)
        for row, each in zip(rows, asked, strict=True):
            assert each is not None
            assert each.memory is not None
            assert each.memory["left"] == row + 1
            assert np.array_equal(each.memory["past"], places[: row + 1])


def test_a_strategy_that_goes_by_a_score_is_told_whose(store: Store) -> None:
    """In a table no monitor alarms, but one can lend its score; looked up is live, the memory of the score included."""
    node = {"_target_": "workbench.policies.recovery.best_of.BestOf", "samples": 4, "steps": 9}
    trigger = dataclasses.replace(
        monitor(1), score=FittedScore("chunk_overlap", ChunkOverlap(dims=[0]), frozenset(), 0), name="overlap"
    )
    with pytest.raises(ConfigError, match="goes by a fitted score, and there is none"):
        tabulate(store, {"best_of": node}, Slow(), POLICY)
    made = tabulate(store, {"best_of": node}, Slow(), POLICY, monitors=[trigger, monitor(1)])
    strategy = built({"best_of": node}, Slow(), POLICY, {}, None, [trigger])["best_of"]
    live = Lockstep(Slow(), POLICY, 3, guard=Guard(monitor(1), strategy, horizon=HORIZON)).record_numbered(LAUNCHES)
    acted = 0
    for _, episode in live:
        if episode.calls["intervened"].any():
            step = int(episode.calls["step"][episode.calls["intervened"]][0])
            (row,) = made.cells({episode.record["uid"]: step})
            steps = int(made.arms["best_of"][row, 0])
            assert (steps or HORIZON, steps > NEVER) == (episode.record["length"], episode.record["success"])
            acted += 1
    assert acted >= 4


def test_only_the_cells_that_are_asked_for(store: Store, whole: CounterfactualTable) -> None:
    uid, other = store.uids[1], store.uids[4]
    some = table_of(store, at={uid: {0, 8}, other: {4}}, branches=4)
    assert some.uids == (uid, other)
    assert some.step.tolist() == [0, 8, 4]
    for name, steps in some.arms.items():
        want = [whole.cells({uid: 0})[0], whole.cells({uid: 8})[0], whole.cells({other: 4})[0]]
        assert np.array_equal(steps, whole.arms[name][want])
    with pytest.raises(ConfigError, match=r"no policy call at \[7\]; its calls are at 0, 4, 8"):
        table_of(store, at={uid: {7}})
    with pytest.raises(ConfigError, match=f"no cell at step 12 of episode {uid}"):
        some.cells({other: 4, uid: 12})


def test_shares_are_of_branches_that_every_cell_has() -> None:
    """Means over those that are rolled where the first differ would say 0.375 of the last cell, of which half won."""
    steps = np.array([[10, 20, -1, -1], [0, 0, -1, -1], [0, 50, 0, 0], [30, 0, 30, 0]], np.int16)
    made = table(arms={"placebo": steps})
    assert made.won("placebo", 60).tolist() == [1.0, 0.0, 0.5, 0.5]
    assert made.won("placebo", 40).tolist() == [1.0, 0.0, 0.0, 0.5]
    with pytest.raises(UnknownNameError, match="unknown arm of the table 'head'"):
        made.won("head", 40)
    for within in (0, 81):
        with pytest.raises(ConfigError, match=r"must be in 1\.\.80"):
            made.won("placebo", within)


def table(**arrays: Any) -> CounterfactualTable:
    """A table of four episodes, each with a cell at step 0 and none else unless it is given."""
    given: dict[str, Any] = {
        "uids": ("a", "b", "c", "d"), "deadline": 40, "horizon": HORIZON, "factual": np.array([10, 0, 0, 30]),
        "waited": np.array([10, 0, 50, 30]), "episode": np.arange(4), "step": np.zeros(4, int),
    }  # fmt: skip
    given |= arrays
    given.setdefault("more_time", {name: np.ones(len(given["step"]), bool) for name in given["arms"]})
    return CounterfactualTable(**given)


def test_an_arm_is_held_against_luck_within_the_deadline_and_against_the_placebo_within_the_horizon() -> None:
    """Alarms in b, c and d at 8; the head wins c in time, d late and b never; the placebo wins c late, d in time."""
    episode, step = np.array([0, 1, 2, 3, 1, 2, 3]), np.array([0, 0, 0, 0, 8, 8, 8])
    arms = {
        "placebo": np.array([[10], [0], [0], [30], [0], [60], [35]], np.int16),
        "head": np.array([[10], [20], [20], [20], [0], [30], [70]], np.int16),
    }
    made = table(episode=episode, step=step, arms=arms)
    head = next(row for row in judged(made, {"b": 8, "c": 8, "d": 8}) if row.name == "head")
    assert (head.alarmed, head.episodes) == (3, 4)
    assert (head.rescued, head.kept) == ((1, 2), (1, 1))
    redraw, placebo = head.over_redraw, head.over_placebo
    assert (redraw.only_arm, redraw.only_control, redraw.pairs, redraw.gain) == (1, 1, 3, 0.0)
    assert (placebo.only_arm, placebo.only_control, placebo.gain) == (0, 0, 0.0)
    always = head.always_over_redraw
    assert (always.only_arm, always.only_control, always.pairs, always.gain) == (2, 0, 4, 0.5)
    assert head.median_steps == 70.0


def test_a_strategy_without_more_time_is_judged_within_the_deadline() -> None:
    arms = {name: np.array([[50], [50], [50], [50]], np.int16) for name in ("placebo", "redraw")}
    more = {"placebo": np.ones(4, bool), "redraw": np.zeros(4, bool)}
    rows = {row.name: row for row in judged(table(arms=arms, more_time=more), dict.fromkeys("abcd", 0))}
    assert (rows["placebo"].rescued, rows["redraw"].rescued) == ((2, 2), (0, 2))


def test_who_is_the_bottleneck_the_alarm_or_the_recovery() -> None:
    """Of b, c and d, which failed: the monitor alarms in b, late, and in c; an alarm at the onset wins b, too."""
    episode, step = np.array([0, 1, 2, 3, 1, 1, 2, 3]), np.array([0, 0, 0, 0, 8, 30, 8, 12])
    arms = {
        "placebo": np.zeros((8, 1), np.int16),
        "head": np.array([[9], [9], [9], [0], [20], [0], [25], [0]], np.int16),
    }
    made = table(episode=episode, step=step, arms=arms)
    (_, head) = bottlenecks(made, {"a": 0, "b": 30, "c": 8}, {"b": 8, "c": 8, "d": 12})
    assert (head.episodes, head.by_monitor, head.by_oracle, head.by_start) == (3, 1, 2, 2)


def crossed_table() -> CounterfactualTable:
    """Episodes a and d succeeded; the monitor alarms in a (falsely), b (late) and c; the onsets of b and c are at 8."""
    episode, step = np.array([0, 1, 2, 3, 0, 1, 1, 2]), np.array([0, 0, 0, 0, 4, 8, 30, 8])
    arms = {
        "continue": np.zeros((8, 1), np.int16),
        "placebo": np.zeros((8, 1), np.int16),
        "head": np.array([[9], [0], [0], [30], [0], [20], [0], [0]], np.int16),
        "expert": np.array([[9], [0], [9], [30], [12], [20], [60], [70]], np.int16),
        "ask": np.zeros((8, 1), np.int16),
    }
    return table(episode=episode, step=step, arms=arms)


def test_a_perfect_alarm_and_a_perfect_recovery_by_counting() -> None:
    """The head breaks a, loses b by the late alarm and c by itself; the expert wins all three, b also late."""
    alarms, onsets = {"a": 4, "b": 30, "c": 8}, {"b": 8, "c": 8}
    placebo, head = crossings(crossed_table(), alarms, onsets)
    assert (placebo.name, head.name) == ("placebo", "head")
    assert (head.episodes, head.unaided, head.by_monitor, head.by_oracle) == (4, 2, 1, 3)
    assert (head.expert_by_monitor, head.expert_by_oracle) == (4, 4)
    assert (head.perfect_alarm.only_arm, head.perfect_alarm.only_control, head.perfect_alarm.gain) == (2, 0, 0.5)
    assert (head.perfect_recovery.gain, head.perfect_recovery_of_oracle.gain) == (0.75, 0.25)
    assert head.perfect_alarm_of_expert.gain == 0
    assert (head.recovery_over_alarm.only_arm, head.recovery_over_alarm.only_control) == (1, 0)
    assert head.verdict == "neither"  # four episodes show nothing
    assert crossings(crossed_table(), alarms, {}) == ()
    alone = dataclasses.replace(crossed_table(), arms={"placebo": crossed_table().arms["placebo"]})
    assert crossings(alone, alarms, onsets) == ()


@pytest.mark.parametrize(
    ("head", "expert", "verdict"),
    [
        ((0, 0), (40, 40), "recovery"),
        ((0, 40), (0, 40), "alarm"),
        ((0, 40), (40, 40), "undecided"),
        ((20, 27), (27, 40), "undecided"),
        ((40, 40), (40, 40), "neither"),
        ((40, 40), (0, 40), "neither"),
        ((20, 22), (22, 24), "neither"),
    ],
)
def test_who_is_the_bottleneck_is_said_by_the_exact_test(
    head: tuple[int, int], expert: tuple[int, int], verdict: str
) -> None:
    """Of forty failures so many are won behind the monitor's alarm, and so many behind the oracle's."""
    uids = tuple(f"e{number}" for number in range(40))

    def steps(won: tuple[int, int]) -> Any:
        return np.array([20 if number < each else 0 for each in won for number in range(40)], np.int16)[:, None]

    arms = {"placebo": np.zeros((80, 1), np.int16), "head": steps(head), "expert": steps(expert)}
    made = table(
        uids=uids, factual=np.zeros(40), waited=np.zeros(40), arms=arms, episode=np.tile(np.arange(40), 2),
        step=np.repeat([8, 4], 40),
    )  # fmt: skip
    (_, found) = crossings(made, dict.fromkeys(uids, 8), dict.fromkeys(uids, 4))
    assert (found.by_monitor, found.by_oracle) == head
    assert found.verdict == verdict


def test_what_could_have_been_won_is_said_by_the_expert_or_by_the_label() -> None:
    """Of b and c, which failed, the expert wins b from its onset and c from step 0; the label knows of neither."""
    made, onsets = crossed_table(), {"b": 8}
    assert solvable(made, ["b", "c"], onsets, []) == ["b", "c"]
    assert solvable(made, ["b", "c"], {}, []) == ["c"]
    assert solvable(made, ["b", "c"], {}, ["b"]) == ["b", "c"]
    without = dataclasses.replace(made, arms={"placebo": made.arms["placebo"]})
    assert solvable(without, ["b", "c"], onsets, ["c"]) == ["c"]
    rows = {row.name: row for row in bottlenecks(made, {"b": 30, "c": 8}, onsets, ["b", "c"])}
    assert [(row.solvable, row.won_solvable) for row in (rows["head"], rows["expert"])] == [(2, 0), (2, 2)]


def test_faults_that_end_and_faults_that_last() -> None:
    push = {"channel": "physics", "duration_steps": 6}
    noise = {"channel": "action", "duration_steps": 40}
    assert families_of([], 40) == ["no fault"]
    assert families_of([push], 40) == ["transient faults", "physics"]
    assert families_of([push, noise], 40) == ["lasting faults", "action", "physics"]
    assert families_of([{"channel": "policy"}], 40) == ["lasting faults", "policy"]


def test_no_harm_is_counted_where_there_is_no_fault() -> None:
    families = {
        "a": ["no fault"],
        "b": ["transient faults", "physics"],
        "c": ["lasting faults", "action"],
        "d": ["no fault"],
    }
    rows = by_family(crossed_table(), {"a": 4, "b": 8}, families)
    assert [row.family for row in rows[::3]] == ["no fault", "transient faults", "lasting faults", "action", "physics"]
    found = {(row.family, row.name): row for row in rows}
    nominal = found["no fault", "head"]
    assert (nominal.episodes, nominal.alarmed, nominal.failed, nominal.silent) == (2, 1, 0, 0)
    assert (nominal.kept, nominal.rescued) == ((0, 1), (0, 0))
    assert found["no fault", "expert"].kept == (1, 1)
    assert (found["physics", "head"].rescued, found["physics", "head"].over_placebo.gain) == ((1, 1), 1.0)
    lasting = found["lasting faults", "head"]
    assert (lasting.alarmed, lasting.failed, lasting.silent, lasting.over_placebo.gain) == (0, 1, 1, None)
    assert {row.name for row in rows} == {"placebo", "head", "expert"}


def test_what_an_alarm_is_worth_is_looked_up_in_a_table(whole: CounterfactualTable) -> None:
    """The same gains, by the table itself and by the function of the threshold where every call is an alarm."""
    episodes = whole.outcomes()
    assert [episode.uid for episode in episodes] == list(whole.uids)
    assert [episode.success for episode in episodes] == (whole.factual > NEVER).tolist()
    first = whole.cells(dict.fromkeys(whole.uids, 0))
    for arm in ("expert", "handed back"):
        found = np.array([episode.share(arm, whole.horizon)[0] for episode in episodes])
        assert np.array_equal(found, whole.won(arm, whole.horizon)[first])


def test_p_values_of_recoveries_are_corrected_together_and_controls_are_not_tested() -> None:
    won = np.tile(np.array([[30]], np.int16), (40, 1))
    never = np.zeros_like(won)
    arms = {"placebo": never, "continue": never, "head": won, "expert": won}
    uids = tuple(f"e{number}" for number in range(40))
    made = table(
        uids=uids, factual=np.zeros(40), waited=np.zeros(40), episode=np.arange(40), step=np.zeros(40, int), arms=arms
    )
    rows = {row.name: row for row in judged(made, dict.fromkeys(uids, 0))}
    assert rows["placebo"].p_vs_placebo is rows["continue"].p_vs_placebo is None
    assert rows["head"].p_vs_placebo == pytest.approx(2 * rows["head"].over_placebo.p_value)


def test_a_table_is_kept_in_its_store_and_read_back(store: Store, whole: CounterfactualTable) -> None:
    import zarr

    whole.save(store)
    again = CounterfactualTable.load(Store.open(store.path))
    assert (again.uids, again.deadline, again.horizon) == (whole.uids, whole.deadline, whole.horizon)
    for name in ("factual", "waited", "episode", "step"):
        assert np.array_equal(getattr(again, name), getattr(whole, name))
    assert list(again.arms) == list(whole.arms)
    for arm in whole.arms:
        assert np.array_equal(again.arms[arm], whole.arms[arm])
        assert np.array_equal(again.more_time[arm], whole.more_time[arm])
    group = zarr.open(store.path, mode="r")
    assert np.array_equal(group["tables/counterfactual/cells/step"][:], whole.step)
    assert not verify_store(store.path).damages
    with pytest.raises(OtherSettingsError, match="has a table counterfactual"):
        whole.save(store)
    whole.save(store, overwrite=True)
    with pytest.raises(UnknownNameError, match=r"unknown table of a\.zarr 'other'"):
        CounterfactualTable.load(store, "other")


def test_a_damaged_table_and_one_of_other_episodes_are_refused(
    store: Store, whole: CounterfactualTable, tmp_path: Path
) -> None:
    path = tmp_path / "b.zarr"
    shutil.copytree(store.path, path)
    whole.save(Store.open(path), overwrite=True)
    cells = path / "tables/counterfactual/cells"
    shutil.copy(cells / "steps-3/c.0.0", cells / "steps-4/c.0.0")
    with pytest.raises(StoreError, match=r"steps-4/c\.0\.0 is damaged"):
        CounterfactualTable.load(Store.open(path))
    assert any("steps-4" in each for each in verify_store(path).damages)
    whole.save(Store.open(path), overwrite=True)
    uid = whole.uids[0]
    renamed = dataclasses.replace(whole, uids=("x", *whole.uids[1:]))
    with pytest.raises(OtherSettingsError, match="about episode x"):
        renamed.save(Store.open(path), overwrite=True)
    (path / "tables/counterfactual/zarr.json").write_text(
        (path / "tables/counterfactual/zarr.json").read_text().replace(uid, "x")
    )
    with pytest.raises(StoreError, match="are not those that were written"):
        CounterfactualTable.load(Store.open(path))


def test_the_table_as_parquet(whole: CounterfactualTable, tmp_path: Path) -> None:
    import pandas as pd

    rows = pd.read_parquet(whole.write(tmp_path / "table.parquet"))
    assert len(rows) == 4 * len(whole.step)
    assert list(rows["expert"][:4]) == whole.arms["expert"][0].tolist()
    assert {"uid", "step", "branch", "factual", "waited", *ARMS} == set(rows.columns)
