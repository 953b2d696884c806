"""The benchmark from stores to leaderboard, on episodes whose failures are known in closed form."""

import dataclasses
import json

import numpy as np
import pytest

from tests.synthetic import COUNTS, FAULTS, HEADER, episode, write_store
from workbench.benchmarking.comparison import breakdown, compare
from workbench.benchmarking.judged import JudgedEpisode
from workbench.benchmarking.question import Question
from workbench.config import Run, compose
from workbench.errors import ConfigError, ScoreError, StoreError, UnknownNameError
from workbench.execution.processes import Processes
from workbench.jobs import benchmark
from workbench.monitoring.assembly import MonitorSettings
from workbench.monitoring.monitor import ALL, ANY
from workbench.store import StoreWriter

WORDS = ["name=study", "runner.workers=1", "job=benchmark", "monitor.level=0.2"]
SCORES = "score=[mahalanobis,knn,stac,elapsed,random,always,never]"
RULES = "calibrator=[split_conformal,step_quantile,fixed]"
BASELINES = "+monitor.baselines={random: split_conformal, never: split_conformal}"
COMBINE = "monitor.combine={both: {all: [mahalanobis, knn]}, either: {any: [mahalanobis, stac]}}"


def run_of(root, *words):
    config = compose([*WORDS, SCORES, RULES, BASELINES, *words])
    config["monitor"]["combine"] = {"both": {ALL: ["mahalanobis", "knn"]}, "either": {ANY: ["mahalanobis", "stac"]}}
    return Run(config, root)


def made(root, *words, stores=("a", "b"), pairs=()):
    run = run_of(root, *words)
    return Question(
        stores=tuple(root / "datasets" / f"{name}.zarr" for name in stores),
        protocol=run.config["protocol"],
        scores=run.config["score"],
        calibrators=run.config["calibrator"],
        settings=MonitorSettings(**run.config["monitor"]),
        seeds=(0, 1),
        windows=(("last", 1), ("mean", 3)),
        pairs=tuple(pairs),
        resamples=60,
        root=root,
    )


def compared(*asked, workers=1, **more):
    return compare(made(*asked, **more), Processes(workers)).record()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    for name, drift in (("a", 1.0), ("b", 0.6)):
        write_store(folder / "datasets" / f"{name}.zarr", drift)
    return folder


@pytest.fixture(scope="module")
def seen(root):
    return compared(root, "protocol=seen", pairs=[("mahalanobis", "*", "matched_auroc@0.5")])


def rows(leaderboard, **wanted):
    return [row for row in leaderboard["rows"] if all(row[key] == value for key, value in wanted.items())]


def value(row, metric):
    return row["figures"][metric]["value"]


def test_every_score_meets_every_calibrator_and_baselines_their_own(seen):
    names = {row["monitor"] for row in seen["rows"]}
    for score in ("mahalanobis", "knn", "stac", "both", "either"):
        assert {f"{score}+split_conformal", f"{score}+step_quantile"} <= names
    baselines = {row["monitor"] for row in rows(seen, kind="baseline")}
    assert baselines == {
        "elapsed+split_conformal", "random+split_conformal", "never+split_conformal", "always+fixed", "length",
        "task_prior",
    }  # fmt: skip
    assert {row["kind"] for row in rows(seen, score="both")} == {"combination"}


def test_what_drifts_is_found_and_baselines_know_nothing_at_common_times(seen):
    (found,) = rows(seen, monitor="mahalanobis+split_conformal")
    assert value(found, "matched_auroc@0.75") > 0.9
    for name in ("elapsed+split_conformal", "length"):
        (baseline,) = rows(seen, monitor=name)
        assert value(baseline, "matched_auroc@0.75") == 0.5
        assert value(baseline, "whole_auroc") == 1.0
    (random,) = rows(seen, monitor="random+split_conformal")
    assert 0.35 < value(random, "matched_auroc@0.75") < 0.65


def test_alarms_of_the_baselines_are_what_they_must_be(seen):
    (always,), (never,) = rows(seen, monitor="always+fixed"), rows(seen, monitor="never+split_conformal")
    assert value(always, "tpr") == value(always, "fpr_nominal") == 1.0
    assert value(never, "tpr") == value(never, "fpr_nominal") == 0.0


def test_monitors_are_compared_once_more_at_the_same_false_alarms(seen):
    for each in seen["rows"]:
        oracle = each["figures"].get("oracle_fpr@0.1")
        assert (oracle is not None) == bool(each.get("selected")), each["monitor"]
        assert oracle is None or oracle["value"] <= 0.1


def test_figures_have_their_episodes_and_intervals(seen):
    (found,) = rows(seen, monitor="mahalanobis+split_conformal")
    test = 2 * COUNTS["test"] * (1 + len(FAULTS))
    figure = found["figures"]["matched_auroc@0.5"]
    assert figure["n"] == test
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert set(found["tasks"]) == {"a", "b"}
    assert set(found["families"]) == set(FAULTS.values())
    assert sum(store["test"] for store in seen["stores"]) == test


def test_promises_are_audited(seen):
    audited = [each for each in seen["audit"] if each["monitor"] == "mahalanobis+split_conformal"]
    assert {each["task"] for each in audited} == {"a", "b"}
    assert all(each["promised"] and each["episodes"] == COUNTS["test"] for each in audited)
    heuristic = [each for each in seen["audit"] if each["calibrator"] == "step_quantile"]
    assert heuristic
    assert not any(each["promised"] for each in heuristic)


def test_drift_is_watched_for_scores_and_not_noticed_without_cause(seen):
    noticed = {(each["monitor"], each["task"], each["stream"]): each["noticed_after"] for each in seen["drift"]}
    assert noticed["mahalanobis", "a", "nominal"] is None
    assert {monitor for monitor, _, _ in noticed} == {"mahalanobis", "knn", "stac"}
    assert {stream for _, _, stream in noticed} == {"nominal", "perturbed"}


def test_pairs_are_all_others_that_are_no_baselines(seen):
    assert {each["second"] for each in seen["pairs"]} == {"knn", "stac", "both", "either"}
    (stac,) = [each for each in seen["pairs"] if each["second"] == "stac"]
    assert stac["difference"]["low"] > 0
    assert stac["p_value"] < 0.1


def test_a_second_call_computes_no_score_again(root, seen, monkeypatch):
    def refuse(part):
        raise AssertionError(f"{part.score} was fitted again")

    monkeypatch.setattr("workbench.benchmarking.comparison.fit_and_score", refuse)
    again = compared(root, "protocol=seen", pairs=[("mahalanobis", "*", "matched_auroc@0.5")])
    assert again["rows"] == seen["rows"]
    assert again["pairs"] == seen["pairs"]


def test_workers_change_nothing(root, seen):
    again = compared(root, "protocol=seen", workers=2, pairs=[("mahalanobis", "*", "matched_auroc@0.5")])
    assert again["rows"] == seen["rows"]


def test_left_out_families_are_judged_fold_by_fold(root):
    found = compared(root, "protocol=unseen_family", stores=["a"])
    (row,) = rows(found, monitor="mahalanobis+split_conformal")
    assert row["figures"]["matched_auroc@0.5"]["n"] == COUNTS["test"] * (1 + len(FAULTS))
    assert set(row["families"]) == set(FAULTS.values())


def test_a_family_is_judged_beside_the_nominal_episodes_of_its_own_fold():
    """Nominal failures of a fold that judges another family would be taken for this one's."""

    def judged_in(fold, family):
        place = f"a, {fold}"
        return JudgedEpisode(np.zeros(1), np.zeros(1, int), 1, True, bool(family), -1, -1, 10, "a/x", place, family)

    judged = {0: [judged_in(fold, family) for fold in ("push", "slip") for family in ("", fold)]}
    found = breakdown(judged, 1, of_all=lambda part, resamples: [(e.family, e.task) for e in part[0]])
    assert found.families["push"] == [("", "a, push"), ("push", "a, push")]
    assert found.families["slip"] == [("", "a, slip"), ("slip", "a, slip")]


def test_a_score_without_what_it_needs_is_refused_and_the_others_go_on(root):
    found = compared(root, "protocol=seen", "score=[mahalanobis,denoising_loss]", stores=["a"])
    assert [each["part"] for each in found["refused"]] == ["score denoising_loss"]
    assert "rollout.signals" in found["refused"][0]["reason"]
    assert rows(found, score="mahalanobis")


def test_nothing_left_is_an_error(root):
    with pytest.raises(ScoreError, match="signals"):
        compared(root, "protocol=seen", "score=[denoising_loss]", stores=["a"])


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"seeds": ()}, ConfigError, "job.seeds"),
        ({"windows": ()}, ConfigError, "job.windows"),
        ({"windows": (("mode", 3),)}, UnknownNameError, "mode"),
        ({"pairs": (("rnd", "stack", "twa"),)}, UnknownNameError, "stack"),
        ({"pairs": (("rnd", "stac", "twaa"),)}, UnknownNameError, "twaa"),
        ({"stores": ("nowhere",)}, StoreError, "nowhere"),
    ],
)
def test_what_cannot_be_compared_is_refused(root, changes, error, said):
    asked = made(root, "protocol=seen")
    if "stores" in changes:
        changes = {"stores": tuple(root / f"{name}.zarr" for name in changes["stores"])}
    with pytest.raises(error, match=said):
        dataclasses.replace(asked, **changes)


@pytest.mark.parametrize("words", [{"windows": [["mean"]]}, {"windows": ["mean 4"]}, {"pairs": [["rnd", "stac"]]}])
def test_lists_of_another_size_are_refused(root, words):
    asked = {"stores": ["a"], "seeds": [0], "windows": [["last", 1]], "pairs": [], "resamples": 20, **words}
    with pytest.raises(ConfigError, match="must have"):
        benchmark.run(run_of(root, "protocol=seen"), **asked)


def test_one_class_alone_is_shown_as_such(root, tmp_path):
    counts = {"fit": 6, "select": 4, "calibrate": 10, "test": 6}
    with StoreWriter.open(tmp_path / "datasets" / "won.zarr", HEADER) as writer:
        for split, count in counts.items():
            for number in range(count):
                writer.append(episode(split, number))
    found = compared(tmp_path, "protocol=seen", "score=[mahalanobis,safe_mlp]", stores=["won"])
    assert [each["part"] for each in found["refused"]] == ["score safe_mlp"]
    (row,) = rows(found, monitor="mahalanobis+split_conformal")
    assert value(row, "matched_auroc@0.5") is None
    assert value(row, "fpr_nominal") is not None


def test_the_job_writes_page_table_and_data(root, capsys):
    run = run_of(root, "protocol=seen", "score=[mahalanobis,elapsed]")
    benchmark.run(run, ["a"], [0], [("last", 1)], [], 20)
    for name in ("leaderboard.html", "leaderboard.csv", "leaderboard.json"):
        assert (run.folder / name).stat().st_size > 100
    found = json.loads((run.folder / "leaderboard.json").read_text())
    assert found["command"] == "workbench benchmark"
    assert "mahalanobis" in capsys.readouterr().out
