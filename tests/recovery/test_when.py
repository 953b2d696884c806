"""It acts where an arm is shown to win more than the placebo, and nowhere else; live as looked up."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import workbench as wb
from tests.rollouts.test_guard import Noisy, Slow, monitor
from tests.toy import ToyExpert, broken
from workbench.config import build, check_arguments
from workbench.config.metrics import check as check_metrics
from workbench.detectors.scores.chunk_overlap import ChunkOverlap
from workbench.errors import CheckpointError, ConfigError, OtherSettingsError, StoreError, UnknownNameError
from workbench.monitoring.monitor import identified
from workbench.monitoring.scoring import FittedScore
from workbench.policies.learning.benefit import Benefit, train
from workbench.recovery.acting import LOWEST, Acting, Outcome, best, certified, in_order
from workbench.recovery.paired import first_alarms
from workbench.recovery.tables import NEVER, CounterfactualTable, one_call, tabulate
from workbench.recovery.when import learn_benefit, lessons_of, train_benefit
from workbench.reporting.sections import tables
from workbench.reporting.summaries import benefit_words
from workbench.rollouts import arms
from workbench.rollouts.arms import built, composed, learned_parts, needs_benefit, needs_head
from workbench.rollouts.guard import Guard
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup, write_episodes
from workbench.store import Store
from workbench.testing import check_strategy
from workbench.types import Array, Compared, Record, Split, Stream, episode_index
from workbench.types.inputs import inputs_for
from workbench.types.reading import Source

POLICY, TASK, HORIZON = Noisy(history=2), Slow(), 80
COUNTS: dict[Split, int] = {"fit": 30, "calibrate": 40, "test": 12}
PLACEBO = {"_target_": "workbench.policies.recovery.placebo.Placebo"}
MENDS = {"_target_": "workbench.policies.recovery.expert.Expert", "steps": None}
BEST = {"_target_": "workbench.policies.recovery.best_of.BestOf", "score": None, "samples": 4, "steps": 9}
WHEN = {"_target_": "workbench.policies.recovery.when.When", "acts": "expert"}
STRATEGIES: dict[str, Record] = {"placebo": PLACEBO, "expert": MENDS, "when": WHEN}
TOY = {"_target_": "the toy's expert"}
OVERLAP = dataclasses.replace(
    monitor(1), score=FittedScore("chunk_overlap", ChunkOverlap(dims=[0]), frozenset(), 0), name="overlap"
)
QUICK: Record = {"_target_": "workbench.policies.learning.benefit.train", "iterations": 60, "hidden": 16, "folds": 3}
LATE = 12
"""Control step from which on the arm wins, where that is made up."""


# ------------------------------------------------------------------------------------------------- what is guaranteed


def drawn(
    random: np.random.Generator, count: int, wins: Callable[[Array], Array], differ: Callable[[Array], Array]
) -> Outcome:
    """Calls of a predicted benefit x: arm and placebo end unlike with a chance of ``differ(x)``, and of these the arm
    wins ``wins(x)``.
    """
    x = random.uniform(-1, 1, count)
    unlike, won, alike = random.random(count) < differ(x), random.random(count) < wins(x), random.random(count) < 0.5
    return Outcome(x, np.where(unlike, won, alike), np.where(unlike, ~won, alike))


def a_third(x: Array) -> Array:
    return np.full_like(x, 0.3)


LAWS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "no benefit": (lambda x: np.full_like(x, 0.5), a_third),
    "harm where most is predicted": (lambda x: np.where(x > 0, 0.3, 0.6), a_third),
    "benefit at the top, harm below": (lambda x: np.where(x > 0.2, 0.8, 0.25), a_third),
    "no benefit, and few pairs differ": (lambda x: np.full_like(x, 0.5), lambda x: np.where(x > 0.5, 0.5, 0.05)),
}


@pytest.mark.parametrize("law", LAWS)
def test_it_acts_where_the_arm_wins_no_more_in_fewer_calibrations_than_the_confidence_allows(law: str) -> None:
    """Over 300 calibrations; one that takes the best threshold without a test is wrong in most of them."""
    wins, differ = LAWS[law]
    random, wrong, naive, repetitions = np.random.default_rng(0), 0, 0, 300
    for _ in range(repetitions):
        fit, calibrate = (drawn(random, count, wins, differ) for count in (60, 100))
        candidates = certified(fit, calibrate, 0.9)
        gained = max(candidates, key=lambda each: each.gain.only_arm - each.gain.only_control)
        wrong += _harms(best(candidates), wins, differ)
        naive += _harms(gained.threshold if gained.gain.only_arm > gained.gain.only_control else None, wins, differ)
    # Of a chance of 0.1 more than 45 of 300 are seen once in 400 times.
    assert wrong <= 45
    if law != "benefit at the top, harm below":
        assert naive > 60


def _harms(threshold: float | None, wins: Callable[[Array], Array], differ: Callable[[Array], Array]) -> bool:
    """Whether the arm wins no more than the placebo from a threshold on, of infinitely many calls."""
    if threshold is None:
        return False
    x = np.linspace(max(threshold, -1.0), 1, 4001)
    return bool((differ(x) * (2 * wins(x) - 1)).mean() <= 1e-9)


def test_it_acts_where_there_is_a_benefit() -> None:
    random, acts = np.random.default_rng(0), 0
    for _ in range(50):
        fit, calibrate = (drawn(random, count, lambda x: np.where(x > 0, 0.95, 0.2), a_third) for count in (80, 120))
        threshold = best(certified(fit, calibrate, 0.9))
        acts += threshold is not None
    assert acts >= 40


def test_the_order_of_the_tests_knows_nothing_of_what_came_of_the_calibrate_split() -> None:
    """Nor of what was predicted there: fixed before it is looked at."""
    random = np.random.default_rng(0)
    fit, one, other = (drawn(random, 60, lambda x: np.where(x > 0, 0.9, 0.3), a_third) for _ in range(3))
    said = [[(each.threshold, each.power) for each in certified(fit, each, 0.9)] for each in (one, other)]
    assert said[0] == said[1] == in_order(fit, 60, 0.9)
    powers = [power for _, power in said[0]]
    assert powers == sorted(powers, reverse=True)
    assert min(dict(said[0])) == LOWEST


def test_behind_a_threshold_that_is_not_certified_none_is() -> None:
    fit = Outcome(np.linspace(-1, 1, 50), np.ones(50, bool), np.zeros(50, bool))
    alike = Outcome(np.linspace(-1, 1, 50), np.linspace(-1, 1, 50) > 0.5, np.linspace(-1, 1, 50) <= 0.5)
    candidates = certified(fit, alike, 0.9)
    assert [each.certified for each in candidates] == [False] * len(candidates)
    assert [each.p_value is not None for each in candidates] == [True] + [False] * (len(candidates) - 1)
    assert best(candidates) is None
    none = Outcome(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool))
    assert [each.threshold for each in certified(none, none, 0.9)] == [LOWEST]
    assert best(certified(fit, none, 0.9)) is None
    for confidence in (0.5, 1.0, 90):
        with pytest.raises(ConfigError, match=r"must be above 0\.5 and below 1"):
            certified(fit, alike, confidence)


# --------------------------------------------------------------------------------------------------- what is learned


def made_up(seed: int) -> Compared:
    """The arm wins where the first input is positive and loses elsewhere; the placebo wins by chance."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(400, 3))
    won = (inputs[:, 0] > 0).astype(float)
    return Compared({"embedding": inputs}, won, (random.random(400) < 0.5).astype(float), np.repeat(np.arange(80), 5))


def test_it_learns_where_the_arm_helps_and_says_of_episodes_what_was_learned_without_them() -> None:
    benefit, held_out = train(made_up(0), task="toy", arm={}, weights={}, seed=0, hidden=16)
    others = made_up(1)
    helps = others.inputs["embedding"][:, 0] > 0
    predicted = benefit.predict(others.inputs)
    assert (np.sign(predicted) == np.where(helps, 1, -1)).mean() > 0.95
    assert 0.35 < predicted[helps].mean() < 0.65
    assert -0.65 < predicted[~helps].mean() < -0.35
    # Outcomes that no input says: learned by heart they would be told again.
    noise = dataclasses.replace(made_up(0), inputs={"embedding": np.random.default_rng(2).normal(size=(400, 60))})
    options: Record = {"task": "toy", "arm": {}, "weights": {}, "seed": 0, "iterations": 200, "weight_decay": 0.0}
    options |= {"learning_rate": 3e-3, "folds": 2}
    by_heart, apart = train(noise, **options)
    gain = noise.arm - noise.placebo
    assert np.corrcoef(by_heart.predict(noise.inputs), gain)[0, 1] > 0.9
    assert abs(np.corrcoef(apart, gain)[0, 1]) < 0.2
    again, held_again = train(made_up(0), task="toy", arm={}, weights={}, seed=0, hidden=16)
    assert (again.predict(others.inputs) == predicted).all()
    assert (held_again == held_out).all()


def test_a_damaged_benefit_and_another_checkpoint_are_refused(tmp_path: Path) -> None:
    benefit, _ = train(made_up(0), task="toy", arm=BEST, weights={}, seed=0, iterations=2, hidden=8, folds=2)
    benefit.save(tmp_path / "a", 0.25)
    again = Benefit.load(tmp_path / "a")
    assert (again.threshold, again.arm, again.task, again.layout) == (0.25, BEST, "toy", {"embedding": 3})
    assert (again.predict(made_up(1).inputs) == benefit.predict(made_up(1).inputs)).all()
    for threshold, said in ((2.0, "threshold"), (float("nan"), "NaN, which is no number")):
        benefit.save(tmp_path / "b", threshold)
        with pytest.raises(CheckpointError, match=said):
            Benefit.load(tmp_path / "b")
    dataclasses.replace(benefit, hidden=9999).save(tmp_path / "c", 0.25)
    with pytest.raises(CheckpointError, match="its weights are not those of its network; train it again"):
        Benefit.load(tmp_path / "c")
    dataclasses.replace(benefit, mean=benefit.mean[:2]).save(tmp_path / "d", 0.25)
    with pytest.raises(CheckpointError, match="does not hold the scale of 3 inputs"):
        Benefit.load(tmp_path / "d")
    with pytest.raises(CheckpointError, match="holds a FlowPolicy, and no predicted benefit"):
        Benefit.load(Path("workbench/policies/zoo/lift_flow"))


# ------------------------------------------------------------------------------------------------------- from a table


@pytest.fixture(scope="module", autouse=True)
def _toy_expert() -> Iterator[None]:
    """Configurations name no code of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arms, "build", lambda node, **extra: ToyExpert() if node == TOY else build(node, **extra))
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path: Path = tmp_path_factory.mktemp("when") / "a.zarr"
    launches = [
        Launch(Stream(3, episode_index(split, number)), (broken(2 + number % 16, 1000 if number % 3 else 0),))
        for split, count in COUNTS.items()
        for number in range(count)
    ]
    setup = Setup(TASK, POLICY)
    write_episodes(path, setup.header(0), Lockstep(TASK, POLICY, 8), launches)
    return Store.open(path)


@pytest.fixture(scope="module")
def alarms(store: Store) -> dict[str, int]:
    found = {}
    for split in ("fit", "calibrate"):
        found |= {store.uids[n]: s for n, (s,) in first_alarms(store, monitor(1), cast(Split, split)).items()}
    return found


@pytest.fixture(scope="module")
def table(store: Store, alarms: dict[str, int]) -> CounterfactualTable:
    """Rolled, but for what came of it: the arm wins from alarms that are late, and the placebo never."""
    at: dict[str, set[int]] = {uid: {step} for uid, step in alarms.items()}
    for number in range(COUNTS["fit"]):
        at.setdefault(store.uids[number], set()).update(store.calls(number, ()).step[:4].tolist())
    rolled = tabulate(store, {"placebo": PLACEBO, "expert": MENDS}, TASK, POLICY, at=at, expert=TOY)
    late = np.where(rolled.step[:, None] >= LATE, 50, NEVER).astype(np.int16)
    return dataclasses.replace(rolled, arms={"placebo": np.zeros_like(late), "expert": late})


def trained(store: Store, table: CounterfactualTable, alarms: dict[str, int], into: Path, **options: Any) -> Acting:
    return train_benefit(
        store, table, alarms, TASK, POLICY, into=into, **{"arm": "expert", "trainer": QUICK, **options}
    )


def test_it_acts_behind_late_alarms_alone(
    store: Store, table: CounterfactualTable, alarms: dict[str, int], tmp_path: Path
) -> None:
    late = [step >= LATE for step in alarms.values()]
    assert 5 < sum(late) < len(late) - 5
    acting = trained(store, table, alarms, tmp_path / "benefit")
    chosen = acting.chosen
    assert chosen is not None
    assert (chosen.gain.only_arm, chosen.gain.only_control) == (chosen.gain.only_arm, 0)
    # Of equally many wins the strictest threshold is taken, so that it acts hardly anywhere in vain.
    assert chosen.gain.only_arm > 0.8 * chosen.gain.pairs
    assert chosen.gain.pairs < acting.alarmed - 5
    assert acting.alarmed == sum(store.episodes["split"][store.number_of(uid)] == "calibrate" for uid in alarms)
    assert acting.learned == (int((table.episode < COUNTS["fit"]).sum()), COUNTS["fit"])
    assert acting.least is not None
    assert 0 < acting.least <= 1
    benefit = Benefit.load(tmp_path / "benefit")
    assert benefit.threshold == acting.threshold
    assert benefit.arm == MENDS
    assert set(benefit.layout) == {"embedding", "observation/place", "elapsed"}


def test_without_a_benefit_it_abstains_and_says_so(
    store: Store, table: CounterfactualTable, alarms: dict[str, int], tmp_path: Path
) -> None:
    nothing = dataclasses.replace(table, arms=dict.fromkeys(table.arms, table.arms["expert"]))
    harm = dataclasses.replace(
        table, arms={"placebo": table.arms["expert"], "expert": np.zeros_like(table.arms["expert"])}
    )
    for number, each in enumerate((nothing, harm)):
        acting = trained(store, each, alarms, tmp_path / str(number) / "benefit")
        assert acting.threshold is acting.chosen is acting.least is None
        assert Benefit.load(tmp_path / str(number) / "benefit").threshold is None
        (said,) = benefit_words({"benefit": acting.record()})
        assert said.startswith("expert abstains: from no predicted benefit on is it shown with a confidence of 90 %")
        check_metrics({"benefit": acting.record()}, Source("metrics", ConfigError, ""))
    fit_alone = {uid: step for uid, step in alarms.items() if store.number_of(uid) < COUNTS["fit"]}
    acting = trained(store, table, fit_alone, tmp_path / "none" / "benefit")
    assert (acting.alarmed, acting.threshold) == (0, None)


def test_what_is_learned_is_what_the_table_says(store: Store, table: CounterfactualTable) -> None:
    taught = lessons_of(store, table, inputs_for(TASK, POLICY), "expert")
    rows = np.flatnonzero(np.isin(table.episode, range(COUNTS["fit"])))
    assert np.array_equal(taught.arm, (table.step[rows] >= LATE).astype(float))
    assert not taught.placebo.any()
    assert np.array_equal(taught.inputs["elapsed"][:, 0], table.step[rows] / TASK.deadline)
    for row, place in zip(rows[:5], taught.inputs["observation/place"], strict=False):
        calls = store.calls(int(table.episode[row]), ("embedding", "observation/place"))
        (at,) = np.flatnonzero(calls.step == table.step[row])
        assert np.array_equal(place, calls.observation["place"][at, -1])


def test_what_cannot_be_learned_or_calibrated_is_refused(
    store: Store, table: CounterfactualTable, alarms: dict[str, int], tmp_path: Path
) -> None:
    into = tmp_path / "benefit"
    judged = tabulate(store, {"placebo": PLACEBO, "expert": MENDS}, TASK, POLICY, at={store.uids[-1]: {0}}, expert=TOY)
    uid = next(uid for uid in alarms if store.number_of(uid) >= COUNTS["fit"])
    unsaid = dataclasses.replace(table, made_of={key: v for key, v in table.made_of.items() if key != "strategies"})
    calls: dict[str, tuple[type[Exception], Callable[[], Any]]] = {
        "calibrated in the calibrate split, and the table has episode .*, of the test split": (
            StoreError, lambda: trained(store, judged, {}, into)),
        "unknown arm of the table 'head'": (UnknownNameError, lambda: trained(store, table, alarms, into, arm="head")),
        "placebo over the placebo cannot be learned: they are the same": (
            ConfigError, lambda: trained(store, table, alarms, into, arm="placebo")),
        "does not say how it acted; tabulate it again": (
            ConfigError, lambda: trained(store, unsaid, alarms, into)),
        "made of another weights than": (OtherSettingsError, lambda: trained(
            store, dataclasses.replace(table, made_of={**table.made_of, "weights": "abc"}), alarms, into)),
        "made of other episodes than the store holds": (OtherSettingsError, lambda: trained(
            store, dataclasses.replace(table, digest="0" * 64), alarms, into)),
        "no cell at step 7 of episode": (ConfigError, lambda: trained(store, table, {**alarms, uid: 7}, into)),
        "confidence=0.4 must be above": (ConfigError, lambda: trained(store, table, alarms, into, confidence=0.4)),
    }  # fmt: skip
    for said, (error, call) in calls.items():
        with pytest.raises(error, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not into.exists()


def test_one_that_is_there_is_kept_and_one_of_other_settings_is_refused(
    store: Store, table: CounterfactualTable, alarms: dict[str, int], tmp_path: Path
) -> None:
    into = tmp_path / "benefit"
    acting = trained(store, table, alarms, into)
    before = {path.name: path.read_bytes() for path in into.iterdir()}
    assert trained(store, table, alarms, into) == acting
    changed = dataclasses.replace(table, arms={**table.arms, "placebo": table.arms["expert"]})
    for other, said in (
        (lambda: trained(store, table, alarms, into, confidence=0.8), "another confidence"),
        (
            lambda: trained(store, table, alarms, into, trainer={**QUICK, "iterations": 9}),
            r"another trainer\.iterations",
        ),
        (lambda: trained(store, changed, alarms, into), r"another table\.rows"),
    ):
        with pytest.raises(CheckpointError, match=f"made with {said}; overwrite=true trains it anew"):
            other()
    assert {path.name: path.read_bytes() for path in into.iterdir()} == before
    assert trained(store, changed, alarms, into, overwrite=True).threshold is None


# ----------------------------------------------------------------------------------------------------------- it acts


@pytest.fixture(scope="module")
def head(
    store: Store, table: CounterfactualTable, alarms: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Where a recovery head would lie; the benefit is beside it."""
    folder: Path = tmp_path_factory.mktemp("run")
    trained(store, table, alarms, folder / "benefit")
    return folder / "head"


def test_what_is_looked_up_is_what_a_live_rollout_does(store: Store, head: Path) -> None:
    """And it is the arm's outcome behind late alarms, the placebo's behind others."""
    found = {store.uids[n]: s for n, (s,) in first_alarms(store, monitor(1)).items()}
    at = {uid: {0, step} for uid, step in found.items()}
    looked_up = tabulate(store, STRATEGIES, TASK, POLICY, at=at, head=head, expert=TOY)
    assert looked_up.made_of["benefit"]
    strategy = cast(Any, built(STRATEGIES, TASK, POLICY, TOY, head)["when"])
    launches = [
        Launch(Stream(3, episode_index("test", number)), (broken(2 + number % 16, 1000 if number % 3 else 0),))
        for number in range(COUNTS["test"])
    ]
    rolled = dict(
        Lockstep(TASK, POLICY, 3, guard=Guard(monitor(1), strategy, horizon=HORIZON)).record_numbered(launches)
    )
    apart = set()
    for episode in rolled.values():
        uid = episode.record["uid"]
        assert episode.calls["intervened"].any() == (uid in found)
        if uid in found:
            (row,) = looked_up.cells({uid: found[uid]})
            steps = int(looked_up.arms["when"][row, 0])
            assert (steps or HORIZON, steps > NEVER) == (episode.record["length"], episode.record["success"])
            calls = store.calls(store.number_of(uid), strategy.needs)
            call = one_call(calls, int(np.searchsorted(calls.step, found[uid])))
            arm = "expert" if strategy.predicted(call, TASK.deadline) >= strategy.benefit.threshold else "placebo"
            assert np.array_equal(looked_up.arms["when"][row], looked_up.arms[arm][row])
            apart.add((arm, bool((looked_up.arms["expert"][row] != looked_up.arms["placebo"][row]).any())))
    assert {("expert", True), ("placebo", True)} <= apart  # the rule is the rule, whoever would have won


def test_where_nothing_was_shown_it_is_the_placebo(store: Store, head: Path, tmp_path: Path) -> None:
    shutil.copytree(head.with_name("benefit"), tmp_path / "benefit")
    Benefit.load(tmp_path / "benefit").save(tmp_path / "benefit", None)
    found = {store.uids[n]: {s} for n, (s,) in first_alarms(store, monitor(1)).items()}
    looked_up = tabulate(store, STRATEGIES, TASK, POLICY, at=found, head=tmp_path / "head", expert=TOY)
    assert np.array_equal(looked_up.arms["when"], looked_up.arms["placebo"])
    assert looked_up.more_time["when"].all()
    assert (looked_up.arms["when"] != looked_up.arms["expert"]).any()


def test_what_both_ask_for_is_rolled_once(store: Store, head: Path) -> None:
    """The arm that stands beside it is the very one that acts."""
    arms = cast(Any, built(STRATEGIES, TASK, POLICY, TOY, head))
    assert arms["when"]._acts is arms["expert"]
    assert list(arms) == list(STRATEGIES)
    alone = cast(Any, built({"when": WHEN}, TASK, POLICY, TOY, head))["when"]
    assert isinstance(alone._acts, type(arms["expert"]))


def test_it_keeps_the_contract_of_strategies(head: Path, tmp_path: Path) -> None:
    """Also of one that remembers what it has seen, and drives with a memory."""
    dataclasses.replace(Benefit.load(head.with_name("benefit")), arm=BEST).save(tmp_path / "benefit", LOWEST)
    for acts, folder, monitors in ((MENDS, head, []), (BEST, tmp_path / "head", [OVERLAP])):
        strategy = built({"when": {**WHEN, "acts": acts}}, TASK, POLICY, TOY, folder, monitors)["when"]
        assert {"embedding", "observation/place"} <= set(strategy.needs)
        assert "elapsed" not in strategy.needs
        check_strategy(strategy, POLICY, TASK)


def test_a_benefit_of_another_arm_of_other_weights_or_of_another_task_and_none(
    head: Path, tmp_path: Path, store: Store
) -> None:
    def refused(error: type[Exception], said: str, node: Record, folder: Path) -> None:
        with pytest.raises(error, match=said) as caught:
            built({"when": node}, TASK, POLICY, TOY, folder)
        assert "\n" not in str(caught.value)

    refused(ConfigError, "goes by a predicted benefit, and there is none; workbench recover", WHEN, tmp_path / "head")
    other = {**WHEN, "acts": {**MENDS, "steps": 5}}
    refused(CheckpointError, "acts by another steps than its benefit was learned of; workbench recover", other, head)
    own = Benefit.load(head.with_name("benefit"))
    dataclasses.replace(own, task="lift").save(tmp_path / "benefit", 0.1)
    acts = {**WHEN, "acts": MENDS}
    refused(CheckpointError, "was trained on task lift, not toy; workbench recover", acts, tmp_path / "head")
    dataclasses.replace(own, weights={"head": "abc"}).save(tmp_path / "benefit", 0.1)
    refused(CheckpointError, "acts by another head than its benefit was learned of", acts, tmp_path / "head")
    for left in ("when", None, 3):
        refused(ConfigError, "leaves the acting to another one, such as", {**WHEN, "acts": left}, head)
    with pytest.raises(UnknownNameError, match=r"unknown strategy 'haed'\. Did you mean 'head'"):
        composed({"when": {**WHEN, "acts": "haed"}})


def test_a_guard_refuses_when_behind_another_monitor_than_it_was_learned_behind(
    store: Store, table: CounterfactualTable, alarms: dict[str, int], tmp_path: Path
) -> None:
    """Another name, or the same at another level; of a benefit that does not say it, nothing is known."""
    mine = monitor(1)
    stricter, other = dataclasses.replace(mine, level=mine.level / 2), dataclasses.replace(mine, name="other")
    for said, refused in ((identified(mine), (stricter, other)), ("", ())):
        trained(store, table, alarms, tmp_path / said / "benefit", monitor=said)
        assert Benefit.load(tmp_path / said / "benefit").monitor == said
        strategy = built(STRATEGIES, TASK, POLICY, TOY, tmp_path / said / "head")["when"]
        for each in (mine, stricter, other):
            if each not in refused:
                Guard(each, strategy, horizon=HORIZON)
                continue
            with pytest.raises(CheckpointError, match=f"learned when to act behind {identified(mine)}, .*") as caught:
                Guard(each, strategy, horizon=HORIZON)
            assert identified(each) in str(caught.value)
            assert "\n" not in str(caught.value)


def test_what_a_strategy_lends_is_said_whole_and_its_parts_are_known(head: Path) -> None:
    node = {**WHEN, "acts": "head"}
    assert composed({"when": node})["when"]["acts"]["_target_"] == "workbench.policies.recovery.head.Head"
    beside = {"head": {"_target_": "workbench.policies.recovery.head.Head", "steps": 7}, "when": node}
    assert composed(beside)["when"]["acts"]["steps"] == 7
    assert composed(composed(beside)) == composed(beside)
    assert needs_head({"when": node})
    assert needs_benefit({"when": node})
    assert not needs_head(STRATEGIES)
    assert not needs_benefit({"placebo": PLACEBO})
    assert list(learned_parts(STRATEGIES, head)) == ["benefit"]
    check_arguments({**WHEN, "acts": "head"}, "strategy.when")


# ------------------------------------------------------------------------------------------------------ in the chain


def test_the_table_is_made_once_and_one_of_other_settings_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(store.path, tmp_path / "a.zarr")
    own, folder = Store.open(tmp_path / "a.zarr"), tmp_path / "run" / "head"
    acts = {"placebo": PLACEBO, "redraw": {"_target_": "workbench.policies.recovery.redraw.Redraw"}}
    chosen = {**acts, "when": {**WHEN, "acts": "redraw"}}
    options: Record = {"head": folder, "calls": 2, "trainer": QUICK}
    acting = learn_benefit(own, monitor(1), chosen, TASK, POLICY, **options)
    assert Benefit.load(folder.with_name("benefit")).monitor == identified(monitor(1))
    assert (acting.arm, acting.threshold) == ("redraw", None)  # within one horizon it is the placebo itself
    made = CounterfactualTable.load(own, "benefit-redraw")
    for number in range(COUNTS["fit"]):
        (place,) = (p for p, uid in enumerate(made.uids) if uid == own.uids[number])
        steps = own.calls(number, ()).step
        assert {int(steps[0]), int(steps[-1])} <= set(made.step[made.episode == place].tolist())
    assert not any(own.episodes["split"][own.number_of(uid)] == "test" for uid in made.uids)
    monkeypatch.setattr("workbench.recovery.when.tabulate", lambda *_, **__: pytest.fail("it is there"))
    assert learn_benefit(own, monitor(1), chosen, TASK, POLICY, **options) == acting
    for change, said in (({"calls": 3}, "calls"), ({"horizon": 1.5}, "horizon")):
        with pytest.raises(OtherSettingsError, match=f"made with another {said}; overwrite=true makes it anew"):
            learn_benefit(own, monitor(1), chosen, TASK, POLICY, **{**options, **change})
    with pytest.raises(ConfigError, match="a run has one predicted benefit, and 2 of its strategies go by one"):
        learn_benefit(own, monitor(1), {**chosen, "again": chosen["when"]}, TASK, POLICY, **options)


def test_the_curve_of_abstaining_is_looked_up_in_the_test_split(store: Store, head: Path) -> None:
    found = wb.recover(store, monitor(1), STRATEGIES, TASK, POLICY, expert=TOY, head=head)
    (last,) = (row for row in found.abstention if row.acted == row.alarmed)
    (arm,) = (row for row in found.rows if row.name == "expert")
    assert last.gain == arm.over_placebo
    assert [row.calibrated for row in found.abstention].count(True) == 1
    acted = [row.acted for row in found.abstention]
    assert acted == sorted(acted)
    sections = found.sections()
    assert len(tables(sections)["abstention"].rows) == len(acted)
    check_metrics(sections, Source("metrics", ConfigError, ""))
    without = wb.recover(store, monitor(1), ["placebo"], TASK, POLICY)
    assert without.abstention == ()
