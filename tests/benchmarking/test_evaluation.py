"""Monitors of kept curves, and the question that they answer."""

import dataclasses
from pathlib import Path

import pytest

from tests.synthetic import HEADER, episode, write_store
from workbench.benchmarking import benchmark
from workbench.benchmarking.comparison import compare
from workbench.benchmarking.evaluation import Evaluation
from workbench.benchmarking.question import Question
from workbench.config import compose, read_yaml
from workbench.errors import ScoreError, StoreError
from workbench.monitoring import MonitorSettings, OnlineMonitor, fit
from workbench.store import Store, StoreWriter

CONFIG = compose(["score=[mahalanobis,knn]", "calibrator=[split_conformal,functional_band]", "protocol=seen"])
SETTINGS = MonitorSettings(level=0.2, combine={}, baselines={})
CONFIG_FOLDER = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def question(tmp_path_factory):
    path = write_store(tmp_path_factory.mktemp("asked") / "a.zarr")
    return Question(
        [path],
        CONFIG["protocol"],
        CONFIG["score"],
        CONFIG["calibrator"],
        SETTINGS,
        seeds=(0,),
        windows=[("last", 1)],
        resamples=5,
    )


@pytest.fixture(scope="module")
def board(question):
    return compare(question)


def test_a_leaderboard_has_rows_with_names_and_is_plain_data(board):
    assert [row.kind for row in board.rows if row.score == "knn"] == ["failure-free"] * 2
    record = board.record()
    assert "diverged" not in record
    for row, kept in zip(board.rows, record["rows"], strict=True):
        assert row.figures["tpr"] == kept["figures"]["tpr"] if row.calibrator else "tpr" not in kept["figures"]
        assert ("selected" in kept) == (row.selected is not None)
    assert (board.seeds, record["seeds"]) == ((0,), [0])


def test_a_benchmark_has_rows_with_names(question):
    store = Store.open(question.stores[0])
    monitors = fit(store, {"mahalanobis": CONFIG["score"]["mahalanobis"]}, CONFIG["calibrator"], settings=SETTINGS)
    judged = benchmark(store, monitors)
    assert [f"{row.score}+{row.calibrator}" for row in judged.rows] == list(monitors)
    assert judged.record()[0]["fpr_nominal"]["episodes"] == judged.rows[0].fpr_nominal["episodes"] > 0
    assert (judged.episodes, judged.diverged) == (64, 0)


def test_a_store_without_a_test_split_says_what_to_roll(tmp_path):
    path = write_store(tmp_path / "none.zarr", counts={"fit": 4, "calibrate": 4})
    with pytest.raises(StoreError, match=r"no episode in the test split; roll some with job.episodes.test=20"):
        benchmark(Store.open(path), {})


def test_a_monitor_whose_curves_alone_were_kept_watches_nothing(question, board):
    evaluation = Evaluation(question)
    (monitor,) = evaluation.monitors(evaluation.recipes[0])
    assert monitor.threshold is not None
    assert monitor.score.episodes
    with pytest.raises(ScoreError, match="only its curves were kept"):
        OnlineMonitor([monitor]).begin(0)


def test_questions_in_another_order_are_others(question):
    """A worker that took one for the other would compare scores by the wrong calibrator."""
    turned = dataclasses.replace(question, calibrators=dict(reversed(question.calibrators.items())))
    assert question == dataclasses.replace(question)
    assert hash(question) == hash(dataclasses.replace(question))
    assert turned != question
    assert hash(turned) != hash(question)
    selected = [row.calibrator for row in compare(turned).rows if row.selected]
    assert selected == ["functional_band"] * 2


def test_what_one_protocol_kept_another_extends_in_the_same_process(question, board, tmp_path):
    path = write_store(tmp_path / "a.zarr")
    twins = dataclasses.replace(question, stores=[path], protocol=compose(["protocol=twins"])["protocol"])
    judged = compare(twins).stores[0].test
    seen = compare(dataclasses.replace(question, stores=[path]))
    assert seen.rows == board.rows
    assert judged < seen.stores[0].test


def test_a_store_that_grew_is_judged_anew(question, tmp_path):
    path = write_store(tmp_path / "a.zarr")
    grown = dataclasses.replace(question, stores=[path])
    before = compare(grown).stores[0].test
    with StoreWriter.open(path, HEADER) as writer:
        writer.append(episode("test", 200))
    assert compare(grown).stores[0].test == before + 1


def test_what_the_job_asks_is_what_a_question_asks_by_itself(question):
    asked = read_yaml(CONFIG_FOLDER / "job" / "benchmark.yaml")
    usual = Question(question.stores, question.protocol, {}, {})
    assert tuple(asked["seeds"]) == usual.seeds
    assert tuple(map(tuple, asked["windows"])) == usual.windows
    assert asked["resamples"] == usual.resamples
