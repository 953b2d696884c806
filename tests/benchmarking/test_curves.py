"""Fits and kept curves: shared, kept, redone when what decides them changes, and chosen on `select` alone."""

import dataclasses
import shutil

import numpy as np
import pytest

from tests.synthetic import DEADLINE, write_store
from workbench.benchmarking.curves import choose_window, code_files, fit_and_score, missing_seeds, needed, read_curves
from workbench.benchmarking.folds import Seen, UnseenFamily, entries_of
from workbench.config import Run, build, compose
from workbench.errors import SplitError
from workbench.monitoring.scoring import curves, fit_score
from workbench.monitoring.window import Window
from workbench.store import Store


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("study") / "datasets" / "toy.zarr")


@pytest.fixture
def run(path, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(path.parent, root / "datasets")
    words = ["job=benchmark", "name=study", "store=toy", "score=[mahalanobis,rnd,elapsed]", "score.rnd.epochs=3"]
    return Run(compose(words), root)


def parts_of(run, protocol=None, seeds=(0, 1)):
    store = Store.open(run.store)
    folds = (protocol or Seen()).folds(entries_of(store), 0)
    return store, folds, needed(store, folds, run.config["score"], seeds)


def test_curves_are_those_of_the_monitor(run):
    store, (fold,), parts = parts_of(run)
    part = parts["", "rnd"]
    assert fit_and_score(part) == (part, "")
    fitting = [store.calls(entry.number) for entry in fold.successes("fit")]
    for seed in (0, 1):
        found = read_curves(part.path(seed))
        fitted = fit_score("rnd", build(part.node), fitting, seed)
        scored = [store.calls(entry.number) for entry in (*fold.select, *fold.calibrate, *fold.test)]
        for episode, curve in zip(scored, curves(fitted, scored), strict=True):
            np.testing.assert_array_equal(found.scores[episode.uid], curve)
            np.testing.assert_array_equal(found.steps[episode.uid], episode.step)
    assert found.fit_s >= 0
    assert found.milliseconds > 0


def test_what_learns_from_successes_is_fitted_once_for_all_families(run):
    _, folds, parts = parts_of(run, UnseenFamily())
    assert len(folds) == 3
    assert len({part.path(0) for (_, score), part in parts.items() if score == "rnd"}) == 1
    scored = {entry.number for fold in folds for entry in (*fold.select, *fold.calibrate, *fold.test)}
    assert set(parts[folds[0].name, "rnd"].scored) == scored


def test_what_is_there_is_kept_and_what_changed_is_not(run):
    _, _, parts = parts_of(run)
    part = parts["", "mahalanobis"]
    assert missing_seeds(part) == [0, 1]
    fit_and_score(dataclasses.replace(part, seeds=(0,)))
    assert missing_seeds(part) == [1]
    fit_and_score(part)
    assert missing_seeds(part) == []
    run.config["score"]["rnd"]["epochs"] = 4
    assert parts_of(run)[2]["", "mahalanobis"].key == part.key
    assert parts_of(run)[2]["", "rnd"].key != parts["", "rnd"].key


def test_a_score_is_computed_anew_when_its_own_code_changes():
    files = {path.stem for path in code_files("workbench.detectors.scores.rnd_actions.ActionRandomNetworkDistillation")}
    assert files == {"rnd_actions", "rnd", "chunks", "inputs", "networks"}


def test_more_episodes_than_are_kept_are_scored_again(run):
    _, _, parts = parts_of(run)
    part = parts["", "mahalanobis"]
    fit_and_score(dataclasses.replace(part, scored=part.scored[:3]))
    assert missing_seeds(part) == [0, 1]


def test_a_score_that_cannot_says_why(run):
    store, _, parts = parts_of(run)
    part = dataclasses.replace(parts["", "rnd"], fitted=())
    _, why = fit_and_score(part)
    assert "no episode to fit on" in why
    assert not part.path(0).exists()
    assert store.path == part.store


def test_windows_are_chosen_on_select_and_nowhere_else(run):
    store, (fold,), parts = parts_of(run)
    lengths = dict(zip(store.uids, store.episodes["length"].tolist(), strict=True))
    fit_and_score(parts["", "mahalanobis"])
    found = {0: read_curves(parts["", "mahalanobis"].path(0))}
    last, mean = windows = [Window("last", 1), Window("mean", 4)]

    def spike(curve):
        return np.where(np.arange(len(curve)) == 2, 2.0, 0.0)

    def chosen(splits, spiky):
        """What is chosen if, in these splits, failures (or successes) spike once and the others stay at one."""
        scores = dict(found[0].scores)
        for entry in (entry for split in splits for entry in getattr(fold, split)):
            curve = scores[entry.uid]
            scores[entry.uid] = spike(curve) if entry.success == (spiky == "successes") else np.ones(len(curve))
        return choose_window(fold, {0: dataclasses.replace(found[0], scores=scores)}, windows, lengths, DEADLINE)

    assert [chosen(["select"], spiky) for spiky in ("failures", "successes")] == [last, mean]
    others = [chosen(["calibrate", "test"], spiky) for spiky in ("failures", "successes")]
    assert others[0] == others[1] == choose_window(fold, found, windows, lengths, DEADLINE)
    cheating = dataclasses.replace(fold)
    object.__setattr__(cheating, "select", fold.test)
    with pytest.raises(SplitError):
        choose_window(cheating, found, windows, lengths, DEADLINE)
