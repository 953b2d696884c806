"""`fit` with `benchmark`, and `benchmark` with a protocol, have the same monitors, which say the same."""

import dataclasses
import json

import pytest

from tests.synthetic import COUNTS, FAULTS, HEADER, episode, write_store
from workbench.config import Run, compose
from workbench.jobs import benchmark, fit
from workbench.store import StoreWriter

SCORES = ["mahalanobis", "knn", "safe_mlp", "elapsed", "always"]
RULES = ["functional_band", "split_conformal", "recall_control", "adaptive", "step_quantile", "per_task", "fixed"]
COMBINE = {"both": {"all": ["mahalanobis", "knn"]}, "either": {"any": ["mahalanobis", "safe_mlp"]}}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("road")
    write_store(folder / "datasets" / "a.zarr")
    return folder


def run_of(root, name, *words, scores=SCORES, rules=RULES):
    chosen = [f"name={name}", "store=a", f"score=[{','.join(scores)}]", f"calibrator=[{','.join(rules)}]"]
    epochs = ["score.safe_mlp.epochs=3"] if "safe_mlp" in scores else []
    settings = ["monitor.window=mean", "monitor.width=3", "monitor.level=0.2", "runner.workers=1"]
    config = compose([*chosen, *epochs, *settings, *words])
    config["monitor"]["combine"] = COMBINE
    return Run(config, root)


def both_roads(root, name, **parts):
    """Rows of the run's own monitors, and of the leaderboard, by the monitor's name."""
    run = run_of(root, name, **parts)
    fit.run(run)
    benchmark.run(run, [], [0], [("mean", 3)], [], 1)
    compared = run_of(root, name, "protocol=seen", **parts)
    benchmark.run(compared, ["a"], [0], [("mean", 3)], [], 1)
    own = {f"{row['score']}+{row['calibrator']}": row for row in run.metrics()["monitors"]}
    board = json.loads((run.folder / "leaderboard.json").read_text())["rows"]
    return own, {row["monitor"]: row for row in board if row["monitor"] not in ("length", "task_prior")}


@pytest.fixture(scope="module")
def roads(root):
    return both_roads(root, "all")


def near(value):
    """The same number, but for the rounding of sums over other numbers of resamples."""
    return None if value is None else pytest.approx(value, rel=1e-12)


def test_both_roads_have_the_same_monitors_which_say_the_same(roads):
    own, board = roads
    assert set(own) == set(board)
    assert len(own) == 3 * 6 + 2 * 6 + 2
    for name, row in own.items():
        figures = board[name]["figures"]
        for metric in ("tpr", "twa", "detection_time"):
            assert figures[metric]["value"] == near(row[metric]), (name, metric)
        for metric in ("fpr_nominal", "fpr_perturbed_success", "actionable_recall"):
            assert figures[metric]["value"] == near(row[metric]["rate"]), (name, metric)
        if not name.startswith("elapsed"):  # whose row is ranked by the clock itself, between calls too
            for fraction, value in row["matched_auroc"].items():
                assert figures[f"matched_auroc@{float(fraction):g}"]["value"] == near(value), (name, fraction)
        assert board[name]["guarantee"] == row["guarantee"], name
        assert board[name]["window"] == row["window"], name


def test_an_and_of_legs_that_control_recall_promises_nothing(roads):
    """An And misses more than each leg.

    The old leaderboard printed of it: "all of 2 legs, each at level 0.2: with a probability of at least 0.9 ..., at
    least 0.8 of the failures of their distribution see an alarm".
    """
    for road in roads:
        for name in ("both+recall_control", "either+recall_control"):
            assert road[name]["guarantee"].startswith("none: "), name
            assert "promises recall, which says nothing of the combination" in road[name]["guarantee"]
        assert "see an alarm" in road["mahalanobis+recall_control"]["guarantee"]


def test_an_and_of_legs_that_promise_nothing_promises_nothing(roads):
    """The old `benchmark` without a protocol printed "each leg's holds: ...: none: a quantile at every call ..."."""
    for road in roads:
        assert road["both+step_quantile"]["guarantee"] == "none: mahalanobis+step_quantile promises nothing"


@pytest.mark.parametrize(
    "order",
    [
        ("functional_band", "split_conformal", "fixed"),
        ("fixed", "split_conformal", "functional_band"),
        ("split_conformal", "fixed", "functional_band"),
    ],
    ids="-".join,
)
def test_the_order_of_calibrators_takes_none_from_any_score(root, order):
    """Split conformal is what the baseline `elapsed` has, and reads episodes: every score has it.

    The old leaderboard gave it to no score unless it came first, and `fixed` to every one if that came first.
    """
    some = ["mahalanobis", "elapsed", "always"]
    own, board = both_roads(root, "-".join(order), scores=some, rules=order)
    names = {f"mahalanobis+{rule}" for rule in order if rule != "fixed"} | {"elapsed+split_conformal", "always+fixed"}
    assert set(own) == set(board) == names
    first = next(rule for rule in order if rule != "fixed")
    selected = {name for name, row in board.items() if row["selected"] and row["kind"] != "baseline"}
    assert selected == {f"mahalanobis+{first}"}


def write_with_diverged(path):
    """The store, and in every split as many failures again whose physics diverged at once."""
    write_store(path)
    with StoreWriter.open(path, HEADER) as writer:
        for split, count in COUNTS.items():
            for number in range(count):
                made = episode(split, 100 + number, "slip", 0.3)
                record = {**made.record, "success": False, "outcome": "diverged", "uid": f"diverged-{split}-{number}"}
                writer.append(dataclasses.replace(made, record=record))


def test_episodes_that_diverged_are_left_out_by_both_roads(tmp_path, roads, capsys):
    """Nothing that was learnt, calibrated or judged differs with them in the store, and their number is said.

    The old `fit` had supervised scores and recall control learn from them as failures, and the old `benchmark` counted
    them as failures; the leaderboard left them out.
    """
    write_with_diverged(tmp_path / "datasets" / "a.zarr")
    own, board = both_roads(tmp_path, "all")
    assert own["always+fixed"]["failures"] == COUNTS["test"] // 2 * len(FAULTS)
    assert own == roads[0]
    assert board == roads[1]
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out: ")]
    learnt = COUNTS["fit"] + COUNTS["select"] + COUNTS["calibrate"]
    assert said == [
        f"left out: {learnt} episodes whose physics diverged",
        f"left out: {COUNTS['test']} episodes whose physics diverged",
        f"left out: {learnt + COUNTS['test']} episodes whose physics diverged",
    ]
