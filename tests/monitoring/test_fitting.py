"""From a store to monitors in one call, with configurations or objects of one's own, and back from a folder."""

import numpy as np
import pytest

from tests.synthetic import COUNTS, write_store
from workbench.config import compose
from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.detectors.scores.mahalanobis import Mahalanobis
from workbench.errors import CalibrationError, UnknownNameError
from workbench.monitoring import Monitors, MonitorSettings, fit, load, offline
from workbench.store import Store

SETTINGS = MonitorSettings(level=0.2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store.open(write_store(tmp_path_factory.mktemp("fit") / "a.zarr"))


class Loudness:
    """A score of one's own: how far the chunk reaches."""

    needs = frozenset()

    def __init__(self):
        self.fits = 0

    def fit(self, episodes, seed):
        self.fits += len(episodes)

    def begin(self):
        return {}

    def update(self, memories, call):
        return np.abs(call.chunk).max(axis=(1, 2))

    def state(self):
        return {"fits": np.array([self.fits])}

    def load(self, state):
        self.fits = int(state["fits"][0])


def test_own_objects_and_configurations_make_the_same_monitors(store):
    nodes = compose(["score=[mahalanobis]", "calibrator=[split_conformal]"])
    by_node = fit(store, nodes["score"], nodes["calibrator"], settings=SETTINGS)
    by_object = fit(store, {"mahalanobis": Mahalanobis()}, {"split_conformal": SplitConformal()}, settings=SETTINGS)
    assert list(by_node) == list(by_object) == ["mahalanobis+split_conformal"]
    one, other = (found["mahalanobis+split_conformal"].threshold for found in (by_node, by_object))
    assert np.array_equal(one.values, other.values)
    assert (by_node.fitted, by_node.calibrated, by_node.diverged) == (COUNTS["fit"], COUNTS["calibrate"], 0)


def test_an_object_of_ones_own_is_not_changed_and_may_be_fitted_again(store):
    mine = Loudness()
    first, second = (fit(store, {"mine": mine}, {"rule": SplitConformal()}, settings=SETTINGS) for _ in range(2))
    assert mine.fits == 0
    assert [found["mine+rule"].score.score.fits for found in (first, second)] == [COUNTS["fit"]] * 2


def test_monitors_come_back_from_a_folder_and_say_the_same(store, tmp_path):
    monitors = fit(store, {"mine": Loudness()}, {"rule": SplitConformal()}, settings=SETTINGS)
    monitors.save(tmp_path / "monitors")
    again = load(tmp_path / "monitors", {"mine": Loudness()}, {"rule": SplitConformal()})
    assert isinstance(again, Monitors)
    calls = [store.calls(number, ()) for number in range(4)]
    old, new = (offline(list(found.values()), calls)["mine+rule"] for found in (monitors, again))
    assert all(np.array_equal(one.margin, other.margin) for one, other in zip(old, new, strict=True))
    assert again["mine+rule"].score.score.fits == COUNTS["fit"]


def test_a_monitor_that_is_not_there_is_told_which_are(store):
    monitors = fit(store, {"mine": Loudness()}, {"rule": SplitConformal()}, settings=SETTINGS)
    assert "mine" not in monitors
    with pytest.raises(UnknownNameError, match=r"unknown monitor 'mine'.*mine\+rule"):
        monitors["mine"]


def test_a_score_that_the_store_cannot_feed_is_left_out_with_a_reason(store):
    scores = {"mine": Loudness(), **compose(["score=[denoising_loss]"])["score"]}
    monitors = fit(store, scores, {"rule": SplitConformal()}, settings=SETTINGS)
    assert list(monitors) == ["mine+rule"]
    assert list(monitors.left_out) == ["denoising_loss"]
    assert "rollout.signals=[denoising_loss]" in monitors.left_out["denoising_loss"]


def test_a_store_without_a_success_to_fit_on_says_what_to_roll(tmp_path):
    path = write_store(tmp_path / "none.zarr", counts={"fit": 0, "select": 0, "calibrate": 4, "test": 2})
    with pytest.raises(CalibrationError, match=r"no nominal success in the fit split.*store=none job.episodes.fit=80"):
        fit(Store.open(path), {"mine": Loudness()}, {"rule": SplitConformal()})
