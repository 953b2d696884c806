"""Which monitors there are: decided by what calibrators read and what baselines name, and by nothing else."""

import dataclasses

import numpy as np
import pytest

from workbench.config import MonitorSchema, compose
from workbench.detectors.calibrators.fixed import Fixed
from workbench.detectors.calibrators.functional_band import FunctionalBand
from workbench.detectors.calibrators.mondrian import Mondrian
from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.errors import ConfigError, UnknownNameError
from workbench.monitoring.assembly import MonitorSettings, Recipe, groups_of, made_all, recipes, shared_calibrators
from workbench.monitoring.calibration import Evidence, calibrated
from workbench.monitoring.scoring import FittedScore
from workbench.monitoring.window import Window

SETTINGS = MonitorSettings(
    level=0.2,
    combine={"both": {"all": ["a", "b"]}, "either": {"any": ["a", "b"]}, "absent": {"all": ["a", "z"]}},
    baselines={"clock": "conformal", "always": "by_hand"},
)
RULES = {"band": FunctionalBand(), "by_hand": Fixed(), "conformal": SplitConformal()}


def test_every_score_and_combination_meets_every_calibrator_that_reads_episodes_and_baselines_their_own():
    found = recipes(["a", "b", "clock", "always"], RULES, SETTINGS)
    assert [each.name for each in found] == [
        "a+band", "a+conformal", "b+band", "b+conformal", "both+band", "both+conformal", "either+band",
        "either+conformal", "clock+conformal", "always+by_hand",
    ]  # fmt: skip
    assert Recipe("both", "band", ("a", "b"), "all", 0.2) in found
    assert Recipe("either", "band", ("a", "b"), "any", 0.1) in found
    assert {each.score for each in found if each.baseline} == {"clock", "always"}


def test_only_a_threshold_by_hand_that_a_baseline_names_is_the_baselines_alone():
    assert shared_calibrators(RULES, SETTINGS.baselines) == ["band", "conformal"]
    assert shared_calibrators(RULES, {}) == list(RULES)
    assert shared_calibrators(RULES, {"clock": "band", "never": "conformal"}) == list(RULES)
    backwards = dict(reversed(RULES.items()))
    assert set(shared_calibrators(backwards, SETTINGS.baselines)) == {"band", "conformal"}


def test_a_baseline_that_is_not_there_needs_no_calibrator_and_one_that_is_does():
    assert [each.name for each in recipes(["a"], {"band": RULES["band"]}, SETTINGS)] == ["a+band"]
    with pytest.raises(UnknownNameError, match="calibrator of the baseline always 'by_hand'"):
        recipes(["a", "always"], {"band": RULES["band"]}, SETTINGS)


def test_a_baseline_is_read_as_it_is_and_others_by_what_is_offered():
    offered = [Window("sum", 3), Window("max", 2)]
    assert [str(window) for window in SETTINGS.windows("clock", offered)] == ["last 1"]
    assert list(SETTINGS.windows("a", offered)) == offered
    assert [str(window) for window in SETTINGS.windows("a")] == [f"{SETTINGS.window} {SETTINGS.width}"]


def test_the_usual_settings_are_those_of_the_configuration():
    assert dataclasses.asdict(MonitorSettings()) == dataclasses.asdict(MonitorSchema())
    assert MonitorSettings(**compose([])["monitor"]) == MonitorSettings()


@pytest.mark.parametrize("wrong", [{"window": "mode"}, {"width": 0}, {"combine": {"x": {"both": ["a", "b"]}}}])
def test_settings_that_cannot_be_are_refused_at_once(wrong):
    with pytest.raises(ConfigError):
        MonitorSettings(**wrong)


def test_a_part_of_ones_own_is_copied_and_a_configuration_is_built():
    mine = Fixed(3.0)
    made = made_all({"mine": mine, "theirs": compose([])["calibrator"]["split_conformal"]})
    assert (made["mine"].threshold, type(made["theirs"])) == (3.0, SplitConformal)
    assert made["mine"] is not mine


def test_groups_are_those_of_the_calibrator_itself():
    assert groups_of({"apart": Mondrian(False, groups={"_target_": "x"}), "plain": SplitConformal()}) == {
        "groups of apart": {"_target_": "x"}
    }


def test_a_calibrator_that_uses_what_there_is_not_is_told_what_there_is():
    class Greedy(SplitConformal):
        uses = frozenset({"failure"})

    nothing = FittedScore("a", None, frozenset(), 0)
    evidence = Evidence(nothing, Window(), frozenset(), [np.zeros(2)] * 9, tuple, tuple)
    with pytest.raises(UnknownNameError, match=r"uses of Greedy 'failure'.*Did you mean 'failures'"):
        calibrated("a", evidence, Greedy(), 0.2)
