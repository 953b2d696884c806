"""Fits and kept curves: shared, kept, redone when what decides them changes, and chosen on `select` alone."""

import dataclasses
import json
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


@pytest.mark.parametrize("damage", ["bit", "truncated", "other", "unsealed", "folder"])
def test_damaged_curves_are_noticed_in_one_line_and_computed_anew(run, damage, capsys):
    from safetensors.numpy import load, save

    _, _, parts = parts_of(run, seeds=(0,))
    part = parts["", "mahalanobis"]
    fit_and_score(part)
    path, before = part.path(0), read_curves(part.path(0)).scores
    content = path.read_bytes()
    if damage == "bit":  # of the last score: what nothing but a checksum can tell
        start = 8 + int.from_bytes(content[:8], "little")
        at = start + json.loads(content[8:start])["scores"]["data_offsets"][0]
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif damage == "truncated":
        path.write_bytes(content[:-8])
    elif damage == "other":
        path.write_bytes(b"not what was written")
    elif damage == "unsealed":
        path.write_bytes(save(load(content), {"uids": json.dumps([*before]), "fit_s": "1.0", "milliseconds": "1.0"}))
    else:
        path.unlink()
        path.mkdir()
    capsys.readouterr()
    assert missing_seeds(part) == [0]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert path.name in said
    assert "computed anew" in said
    if damage == "folder":
        return
    fit_and_score(part)
    assert missing_seeds(part) == []
    again = read_curves(path).scores
    assert again.keys() == before.keys()
    assert all(np.array_equal(again[uid], before[uid]) for uid in before)


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
