"""Groups and signals say what they are defined to say: planted groups are found, and nothing reads an outcome."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, v_measure_score

import workbench as wb
from tests import synthetic
from workbench.attribution import grouping, signals
from workbench.attribution.conditions import Change, Held, changes_of, held_in
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.reporting.triage import triage_tables
from workbench.store import Store, StoreHeader, StoreWriter

KINDS = ("never held", "held and lost", "held late")
EACH = 12


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Failures of three kinds that predicates alone tell apart, and successes."""
    path = tmp_path_factory.mktemp("planted") / "planted.zarr"
    with StoreWriter.open(path, synthetic.HEADER) as writer:
        for number in range(EACH * len(KINDS)):
            writer.append(failure(number, KINDS[number % len(KINDS)]))
        for number in range(EACH):
            success = synthetic.episode("fit", number)
            length = len(success.steps["stage"])
            success.steps |= {"predicates/grasped": np.ones(length), "predicates/height_m": np.arange(length) / 7}
            writer.append(success)
    return path


def failure(number: int, kind: str):
    made = synthetic.episode("test", 2 * number + 1, "slip", drift=0.0)
    length, random = len(made.steps["stage"]), np.random.default_rng(number)
    grasped = np.zeros(length)
    first, last = {"never held": (0, 0), "held and lost": (10, 24), "held late": (36, length)}[kind]
    grasped[first : last + int(random.integers(0, 2)) * (last > 0)] = 1
    made.steps |= {"predicates/grasped": grasped, "predicates/height_m": random.normal(size=length)}
    made.record["failure_mode"] = kind
    return made


def test_planted_groups_are_found_whatever_the_order(planted: Path) -> None:
    store = Store.open(planted)
    failed = [number for number in range(len(store)) if not store.episodes["success"][number]]
    found = grouping.grouped(store, failed)
    assert len(found.groups) == len(KINDS)
    assert [len(group.failure_modes) for group in found.groups] == [1] * len(KINDS)
    for agreed in (found.failure_modes.rand, found.failure_modes.v_measure):
        assert agreed == pytest.approx((1.0, 1.0, 1.0))
    again = grouping.grouped(store, failed[::-1])
    assert {frozenset(group.uids) for group in again.groups} == {frozenset(group.uids) for group in found.groups}
    assert {group.medoid for group in again.groups} == {group.medoid for group in found.groups}
    assert all(group.uids[0] == group.medoid for group in found.groups)


def test_only_predicates_that_are_true_or_false_are_conditions(planted: Path) -> None:
    store = Store.open(planted)
    failed = [number for number in range(len(store)) if not store.episodes["success"][number]]
    assert {each.names for each in held_in(store, failed)} == {("grasped",)}


def test_changes_are_listed_in_order() -> None:
    held = Held(("a", "b"), np.array([[0, 1], [1, 1], [1, 0], [1, 0]], bool), np.array([0, 0, 1, 1]))
    assert changes_of(held) == [Change(0, "+b"), Change(1, "+a"), Change(2, "-b"), Change(2, "stage 1")]


def test_agreement_is_sklearns_and_its_interval_holds_it() -> None:
    random = np.random.default_rng(3)
    labels, other = random.integers(0, 4, 80), random.integers(0, 3, 80)
    words = np.array(
        ["abcd"[label] if random.random() < 0.7 else "abcd"[random.integers(4)] for label in labels], object
    )
    for column in (words, np.array([str(each) for each in other], object)):
        found = grouping.agreement(labels, column, 300)
        assert found.rand[0] == pytest.approx(adjusted_rand_score(labels, column))
        assert found.v_measure[0] == pytest.approx(v_measure_score(labels, column))
        for value, low, high in (found.rand, found.v_measure):
            assert low < value < high
    assert found.rand[1] < 0.0 < found.rand[2]  # of words that know nothing of the groups


def test_blocks_weigh_the_same_whatever_their_width() -> None:
    random = np.random.default_rng(0)
    for width in (1, 40):
        assert grouping.weighed(random.normal(5, 3, (30, width))).var(axis=0).sum() == pytest.approx(1.0)
    assert not grouping.weighed(np.ones((5, 3))).any()


def test_parts_of_few_rows_and_many() -> None:
    rows = np.arange(6.0)[:, None]
    assert signals.parts_of(rows, 3).ravel().tolist() == [0.5, 2.5, 4.5]
    assert signals.parts_of(rows[:1], 3).ravel().tolist() == [0.0, 0.0, 0.0]


def test_stalls_and_revisits_by_hand() -> None:
    path = np.concatenate([np.arange(5.0), np.full(6, 4.0), np.arange(4.0, -1, -1)])[:, None]
    assert signals.longest_still(path, 0.5) == 7
    assert signals.longest_still(np.zeros((1, 2)), 0.5) == 0
    assert signals.revisits(path, 3) == 4 / 16  # the way back: 3, 2, 1 and 0, but not 4, where it stood
    assert signals.revisits(np.arange(16.0)[:, None], 3) == 0
    assert signals.revisits(np.zeros((16, 1)), 3) == 0  # never left


def test_the_odd_one_is_rare_and_moves_no_other() -> None:
    random = np.random.default_rng(1)
    usual = random.normal(size=(40, 3, 5))
    odd = usual.copy()
    odd[7] += 50
    assert signals.rarity(odd).argmax() == 7
    others = np.delete(signals.rarity(odd), 7)
    assert np.corrcoef(others, np.delete(signals.rarity(usual), 7))[0, 1] > 0.95


def test_ties_share_their_rank() -> None:
    assert signals.mean_ranks(np.array([5.0, 5.0, 5.0, 5.0])).tolist() == [0.5] * 4
    assert signals.mean_ranks(np.array([1.0, 3.0, 2.0])).tolist() == pytest.approx([1 / 6, 5 / 6, 1 / 2])


def test_no_outcome_label_or_predicate_is_read_for_the_ranking(planted: Path, tmp_path: Path) -> None:
    """The same log with other outcomes, labels and predicates is ranked alike."""
    path = tmp_path / "other.zarr"
    store = Store.open(planted)
    with StoreWriter.open(path, dataclasses.replace(synthetic.HEADER)) as writer:
        for number in range(len(store)):
            episode = store.episode(number)
            episode.record |= {"success": not episode.record["success"], "failure_mode": "", "t_on": 3, "t_pnr": 9}
            for name in list(episode.steps):
                if name.startswith("predicates/") or name in ("stage", "reward", "modes"):
                    episode.steps[name] = np.zeros_like(episode.steps[name])
            writer.append(episode)
    first, second = ([(each.uid, each.rank) for each in wb.triage(Store.open(one)).ranking] for one in (planted, path))
    assert first == second


def test_the_ranking_finds_what_drifts_and_says_why(tmp_path: Path) -> None:
    store = Store.open(synthetic.write_store(tmp_path / "s.zarr", drift=3.0))
    found = wb.triage(store, split="test")
    assert found.episodes == len(found.ranking) == sum(store.episodes["split"] == "test")
    assert [each.rank for each in found.ranking] == sorted((each.rank for each in found.ranking), reverse=True)
    head = found.ranking[: found.failures]
    share = np.mean([not store.episodes["success"][each.number] for each in head])
    assert share > 1.5 * found.failures / found.episodes
    assert all(set(each.top) <= set(each.signals) <= set(signals.SIGNALS) for each in found.ranking)


def test_a_store_without_samples_or_embeddings_has_fewer_signals(tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path / "bare.zarr", synthetic.HEADER) as writer:
        for number in range(8):
            episode = synthetic.episode("test", number, "slip")
            del episode.calls["samples"], episode.calls["embedding"]
            writer.append(episode)
    found = wb.triage(Store.open(tmp_path / "bare.zarr"))
    assert set(found.ranking[0].signals) == set(signals.SIGNALS) - {"spread", "rarity", "disagreement"}
    assert found.grouping is None
    assert found.failures == 4


def test_tables_show_what_was_found(planted: Path) -> None:
    found = wb.triage(Store.open(planted))
    groups, agreement, ranking = triage_tables(found)
    assert [cell.text for cell in groups.column("group")] == ["group 1", "group 2", "group 3"]
    assert {cell.text for cell in groups.column("failure modes")} == {f"{kind} {EACH}" for kind in KINDS}
    assert groups.column("medoid")[0].text in Store.open(planted).uids
    assert agreement.column("adjusted Rand")[0].text == "1.00 (1.00 to 1.00)"
    assert ranking.rows[0].name == found.ranking[0].uid


def test_bad_input_is_refused_in_one_line(planted: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="split"):
        wb.triage(Store.open(planted), split="tset")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="no episode of split calibrate"):
        wb.triage(Store.open(planted), split="calibrate")
    with pytest.raises(ConfigError, match="2 or more"):
        wb.triage(Store.open(planted), most=1)
    shutil.copytree(planted, tmp_path / "copy.zarr")
    with pytest.raises(StoreError, match="holds 2 failures"):
        grouping.grouped(Store.open(tmp_path / "copy.zarr"), [12, 13])
    with StoreWriter.open(tmp_path / "same.zarr", StoreHeader("toy", 10.0, 48, {}, {}, 0)) as writer:
        for number in range(8):
            episode = synthetic.episode("test", 2 * number + 1, "slip")
            del episode.calls["embedding"]
            writer.append(episode)
    with pytest.raises(StoreError, match=r"nothing in .* tells"):
        wb.triage(Store.open(tmp_path / "same.zarr"))
