"""What `workbench fit` makes of a configuration: combinations, groups, failures, and levels that are shared."""

import dataclasses

import numpy as np
import pytest

from workbench.config import Run, compose
from workbench.errors import CalibrationError, ConfigError
from workbench.monitoring.assembly import MonitorSettings, groups_of, made_all
from workbench.monitoring.files import load, load_monitors, save
from workbench.monitoring.fitting import fit_known
from workbench.monitoring.monitor import And, Or
from workbench.monitoring.reading import offline
from workbench.types import EpisodeCalls, EpisodeTruth

RULES = (
    "calibrator=[split_conformal,per_task,per_stage,false_alarm_control,recall_control,adaptive,step_quantile,fixed]"
)
WORDS = ["score=[mahalanobis,entropy,stac,elapsed,always]", RULES, "monitor.level=0.2"]


def known(split, number, success=True):
    rng = np.random.default_rng([number, len(split), success])
    stage = np.repeat([0, 1], 3)
    samples = rng.normal(size=(6, 1, 8, 7)) + 0.1 * rng.normal(size=(6, 8, 8, 7))
    embedding = rng.normal(size=(6, 5)) + 3.0 * np.eye(5)[stage] + 2.0 * (not success)
    uid = f"{split}:{number}:{success}"
    told = ("lift it", "push it")[number % 2]
    calls = EpisodeCalls(uid, split, 4 * np.arange(6), samples[:, 0], samples, embedding, 4, told)
    perturbation = "" if success else "slip"
    return calls, EpisodeTruth(uid, success, "", perturbation, 24, 40, -1, -1, stage, np.zeros((0, 3)))


FITTING = [known("fit", i) for i in range(20)]
CALIBRATING = [known("calibrate", i, i < 40) for i in range(60)]


def run(tmp_path, *words):
    return Run(compose([*WORDS, *words]), tmp_path)


def make_monitors(run, fitting, calibrating, settling=()):
    """The monitors that a configuration asks for, of episodes that are read already."""
    settings = MonitorSettings(**run.config["monitor"])
    parts = run.config["score"], run.config["calibrator"]
    return list(fit_known(*parts, fitting, calibrating, settling, settings=settings, seed=run.seed).values())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    combine = ["+monitor.combine.pair={any: [stac, mahalanobis]}", "+monitor.combine.both={all: [stac, mahalanobis]}"]
    here = run(tmp_path_factory.mktemp("run"), *combine)
    return here, {monitor.name: monitor for monitor in make_monitors(here, FITTING, CALIBRATING)}


def test_every_score_has_every_calibrator_and_every_threshold(made):
    _, monitors = made
    for rule in made[0].config["calibrator"]:
        if rule != "fixed":
            for score in ("mahalanobis", "entropy", "stac"):
                assert monitors[f"{score}+{rule}"].threshold is not None, monitors[f"{score}+{rule}"].reason
            assert isinstance(monitors[f"pair+{rule}"], Or)
            assert isinstance(monitors[f"both+{rule}"], And)
    assert {"elapsed+split_conformal", "always+fixed"} <= set(monitors)
    assert not any(name.startswith("sentinel") for name in monitors), "progress is not there"
    assert len(monitors) == 3 * 7 + 2 * 7 + 2


def test_the_legs_of_a_disjunction_share_its_level_and_those_of_a_conjunction_do_not(made):
    _, monitors = made
    pair, both = monitors["pair+split_conformal"], monitors["both+split_conformal"]
    assert [leg.level for leg in pair.legs] == [0.1, 0.1]
    assert pair.level == both.level == 0.2
    assert both.legs == (monitors["stac+split_conformal"], monitors["mahalanobis+split_conformal"])
    assert all(
        leg.threshold.values[0] >= monitors[f"{leg.score.name}+split_conformal"].threshold.values[0]
        for leg in pair.legs
    )


def test_groups_and_failures_reach_the_calibrators_that_use_them(made):
    _, monitors = made
    assert len(monitors["stac+per_task"].threshold.values) == 3
    assert len(monitors["stac+per_stage"].threshold.values) == 3
    assert monitors["stac+per_task"].groups.name == "groups of per_task"
    assert "20 failed" in monitors["stac+recall_control"].guarantee
    assert monitors["stac+split_conformal"].threshold.episodes == 40


def test_what_was_fitted_comes_back_with_its_groups(made):
    here, monitors = made
    save(here.folder / "monitors", list(monitors.values()))
    again = list(load_monitors(here).values())
    fresh = [known("test", i, i % 2 == 0)[0] for i in range(10)]
    old = offline(list(monitors.values()), fresh)
    for name, readings in offline(again, fresh).items():
        for one, other in zip(readings, old[name], strict=True):
            assert np.array_equal(one.margin, other.margin, equal_nan=True), name
    with pytest.raises(ConfigError, match="groups of per_task"):
        load(here.folder / "monitors", here.config["score"])
    assert set(groups_of(made_all(here.config["calibrator"]))) == {"groups of per_task", "groups of per_stage"}


def test_recall_without_failures_has_a_reason(tmp_path):
    here = run(tmp_path, "calibrator=[recall_control,fixed,split_conformal]", "score=[stac]")
    monitors = {m.name: m for m in make_monitors(here, FITTING, CALIBRATING[:40])}
    assert "failed calibration episodes, and there are 0" in monitors["stac+recall_control"].reason


@pytest.mark.parametrize("words", ["{both: [stac, rnd]}", "{all: [stac, rnd], any: [stac, rnd]}", "{}"])
def test_a_combination_that_says_neither_all_nor_any_is_refused(tmp_path, words):
    with pytest.raises(ConfigError, match=r"monitor.combine.x says .*one of \['all', 'any'\]"):
        make_monitors(run(tmp_path, f"+monitor.combine.x={words}"), FITTING, CALIBRATING)


def test_a_window_with_a_drift_learns_it_from_the_select_split(tmp_path):
    here = run(tmp_path, "calibrator=[split_conformal,fixed]", "score=[stac]", "monitor.window=cusum")
    (monitor,) = make_monitors(here, FITTING, CALIBRATING, [known("select", i) for i in range(9)])
    assert monitor.window.drift > 0
    save(here.folder / "monitors", [monitor])
    (again,) = load_monitors(here).values()
    assert again.window.drift == monitor.window.drift
    with pytest.raises(CalibrationError, match="select split"):
        make_monitors(here, FITTING, CALIBRATING)


def test_a_perturbed_success_calibrates_nothing(tmp_path):
    here = run(tmp_path, "calibrator=[split_conformal,fixed]", "score=[stac]")
    calls, truth = known("calibrate", 99)
    more = [*CALIBRATING, (calls, dataclasses.replace(truth, perturbation="slip"))]
    (monitor,) = make_monitors(here, FITTING, more)
    assert monitor.threshold.episodes == 40
