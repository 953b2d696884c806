"""Labels of failed episodes: what is left out is left out, and values are measured where they are asked for."""

import numpy as np
import pytest

from tests.synthetic import LOST, write_store
from tests.toy import ToyExpert, ToyPolicy, ToyTask, broken
from workbench.attribution import labels
from workbench.attribution.branching import Onset, PointOfNoReturn
from workbench.attribution.labels import (
    SEARCHED,
    VALUED,
    Settings,
    Values,
    forget_other_settings,
    kind_of_failure,
    label_episodes,
    spread_calls,
    summary,
)
from workbench.errors import ConfigError, OtherSettingsError, UnknownNameError
from workbench.execution.ledger import Ledger
from workbench.rollouts.arms import EXPERT
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import EPISODE_COLUMNS, Record, Stream

BREAKS, ROTS = 5, 12


def failed(index):
    launch = Launch(Stream(1, index), (broken(BREAKS, ROTS),))
    (episode,) = Lockstep(ToyTask(), ToyPolicy(), 1).record([launch])
    return episode


def labelled(settings):
    task = ToyTask()
    drivers = Lockstep(task, ToyPolicy(), 8), Lockstep(task, ToyExpert(), 8)
    return label_episodes([failed(0), failed(1)], task, *drivers, settings)


def test_without_branches_the_onset_is_left_out_and_the_point_of_no_return_is_the_same():
    whole = labelled(Settings((8,), 5, (4,), 0))
    short = labelled(Settings((), 5, (4,), 0))
    for one, other in zip(whole, short, strict=True):
        assert one.columns["t_on"] == BREAKS
        assert other.columns["t_on"] == other.columns["t_on_low"] == other.columns["t_on_high"] == -1
        assert one.columns["t_pnr"] == other.columns["t_pnr"] == ROTS
        assert one.columns["outcome"] == "recoverable failure"
        assert other.columns["outcome"] == "failure"
        assert other.steps["onset"] == 0 < one.steps["onset"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"branches": (), "pairs": 4}, "leaves the onset out"),
        ({"branches": (8, 4)}, "rising"),
        ({"stride": 0}, "stride"),
        ({"pairs": -1}, "pairs"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Settings(**{"branches": (8,), "stride": 5, "windows": (4,), "pairs": 0, **wrong})


def test_values_that_cannot_be_meant_are_refused():
    for wrong in ({"calls": -1}, {"branches": 0}):
        with pytest.raises(ConfigError, match=r"job\.values"):
            Values(**{"splits": ("fit",), "calls": 3, "branches": 2, **wrong})
    with pytest.raises(UnknownNameError, match="fitt"):
        Values(("fitt",), 3, 2)


@pytest.mark.parametrize(("step", "point", "kind"), [
    (-1, 9, "failure"), (4, 9, "recoverable failure"), (9, 9, "catastrophic failure"), (9, 0, "catastrophic failure"),
])  # fmt: skip
def test_a_failure_is_recoverable_if_the_expert_could_win_when_the_policy_could_not(step, point, kind):
    assert kind_of_failure(Onset(step, step, step), PointOfNoReturn(point, point, point)) == kind


def test_values_are_measured_at_calls_from_all_over_the_episode():
    episode = failed(0)
    called = episode.calls["step"].tolist()
    chosen = spread_calls(episode, 3)
    assert set(chosen) <= set(called)
    assert len(chosen) == len(set(chosen)) == 3
    third = len(called) / 3
    assert [int(called.index(step) // third) for step in chosen] == [0, 1, 2]
    assert spread_calls(episode, 3) == chosen
    assert spread_calls(episode, 1000) == called


def forget(store: Store, asked: Record, earlier: Record | None = None) -> None:
    """What a call with these settings takes back first."""
    settings = Settings(**{key: value for key, value in asked.items() if key != "values"})
    ledger = Ledger(store.path.with_suffix(".labels.json"))
    forget_other_settings(store, settings, Values(**asked["values"]), ledger, earlier)


@pytest.mark.parametrize(
    ("changes", "stays"),
    [
        ({}, {"t_pnr", "values"}),
        ({"stride": 7}, {"values"}),
        ({"branches": [8, 16]}, {"values"}),
        ({"values": {"calls": 4, "branches": 2}}, {"t_pnr"}),
        ({"stride": 7, "values": {"calls": 4, "branches": 2}}, set()),
        ({"values": {"calls": 0, "branches": 2}}, {"t_pnr", "values"}),
    ],
)
def test_only_what_other_settings_measured_is_forgotten(tmp_path, changes, stays):
    store = Store.open(write_store(tmp_path / "datasets" / "toy.zarr", counts={"fit": 4}))
    first = {"branches": [8], "stride": 5, "windows": [4], "pairs": 0, "values": {"calls": 3, "branches": 2}}
    forget(store, first)
    forget(store, first | changes)
    rows = Store.open(store.path).episodes
    failed = ~rows["success"].astype(bool)
    assert set(rows["t_pnr"][failed]) == ({LOST} if "t_pnr" in stays else {-1})
    assert (set(rows["values"]) != {"[]"}) == ("values" in stays)
    asked = first | changes
    searched, valued = (Ledger(store.path.with_suffix(".labels.json")).entry(name) for name in (SEARCHED, VALUED))
    assert searched.made_with == {key: value for key, value in asked.items() if key != "values"} | {"expert": EXPERT}
    kept = asked["values"] if asked["values"]["calls"] else first["values"]
    assert valued.made_with == {"splits": ["fit", "select"], **kept}


def test_labels_of_a_version_without_values_are_kept(tmp_path):
    store = Store.open(write_store(tmp_path / "datasets" / "toy.zarr", counts={"fit": 4}))
    first = {"branches": [8], "stride": 5, "windows": [4], "pairs": 0}
    forget(store, first | {"values": {"calls": 3, "branches": 2}}, earlier=first)
    assert LOST in Store.open(store.path).episodes["t_pnr"]


def test_labels_that_an_earlier_version_measured_otherwise_are_forgotten(tmp_path):
    store = Store.open(write_store(tmp_path / "datasets" / "toy.zarr", counts={"fit": 4}))
    first = {"branches": [8], "stride": 5, "windows": [4], "pairs": 0}
    forget(store, first | {"values": {"calls": 0, "branches": 2}}, earlier=first | {"stride": 20})
    assert LOST not in Store.open(store.path).episodes["t_pnr"]


def test_medians_are_of_what_was_measured():
    names = ("t_on", "t_on_low", "t_on_high", "t_pnr", "t_pnr_low", "t_pnr_high", "t_eff", "t_dec", "t_dec_end")
    columns = {name: np.array([kind()] * 4) for name, kind in EPISODE_COLUMNS.items()}
    columns |= {name: np.array([-1] * 4) for name in names}
    columns["outcome"] = np.array(["failure"] * 4)
    columns["t_pnr"] = columns["t_pnr_low"] = columns["t_pnr_high"] = np.array([10, 20, 30, -1])
    columns["t_on"] = columns["t_on_low"] = columns["t_on_high"] = np.array([4, -1, -1, -1])
    found = summary(columns)
    assert (found["failed"], found["labelled"], found["with_onset"]) == (4, 3, 1)
    assert (found["median_onset"], found["median_pnr"]) == (4, 20)


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A store of three failures, whose batches are labelled one by one by toys; and how many were."""
    with StoreWriter.open(tmp_path / "toys.zarr", StoreHeader("toy", 10.0, 40, {}, {}, 0)) as writer:
        for index in range(3):
            writer.append(failed(index))
    measured = []

    def by_toys(batch):
        opened, task = Store.open(batch.store), ToyTask()
        measured.append(batch.numbers)
        drivers = Lockstep(task, ToyPolicy(), 8), Lockstep(task, ToyExpert(), 8)
        return label_episodes([opened.episode(number) for number in batch.numbers], task, *drivers, batch.settings)

    monkeypatch.setattr(labels, "EPISODES_PER_BATCH", 1)
    monkeypatch.setattr(labels, "label_batch", by_toys)
    return tmp_path / "toys.zarr", measured


def relabel(path, monkeypatch=None, ended_after=None, **settings):
    """Label with settings; ended after so many batches, if any are given."""
    if ended_after is None:
        said = {"pairs": 0, "branches": (8,), "stride": 5, **settings}
        overwrite = said.pop("overwrite", False)
        return labels.label(
            Store.open(path), ToyTask(), ToyPolicy(), settings=Settings(**said), overwrite=overwrite
        ).record()
    whole, count = labels.label_batch, iter(range(ended_after))

    def ended(batch):
        if next(count, None) is None:
            raise KeyboardInterrupt
        return whole(batch)

    with monkeypatch.context() as patch:
        patch.setattr(labels, "label_batch", ended)
        with pytest.raises(KeyboardInterrupt):
            relabel(path, **settings)
    return None


def test_labels_of_other_settings_stay_until_their_successors_are_all_measured(toys, monkeypatch):
    path, measured = toys
    first = relabel(path)
    before = Store.open(path).digest()
    with pytest.raises(OtherSettingsError, match=r"the labelling of .*toys.zarr was made with another stride; overw"):
        relabel(path, stride=7)
    assert Store.open(path).digest() == before
    measured.clear()
    relabel(path, monkeypatch, ended_after=2, stride=7, branches=(4,), overwrite=True)
    assert Store.open(path).digest() == before, "two of three are measured, and none of the old is gone"
    second = relabel(path, stride=7, branches=(4,), overwrite=True)
    assert measured == [[0], [1], [2]], "what was measured before it was ended is not measured again"
    assert Store.open(path).digest() != before
    assert second["labelled"] == first["labelled"] == 3
    assert second["simulated_steps"] != first["simulated_steps"]
    measured.clear()
    assert relabel(path, stride=7, branches=(4,)) == second
    assert measured == []
    assert relabel(path, overwrite=True) == first, "as if there had been none before"


def test_what_an_ended_call_has_measured_counts_once(toys, monkeypatch):
    path, _ = toys
    whole = relabel(path)
    Store.open(path).annotate_many({uid: labels.UNKNOWN for uid in Store.open(path).uids})
    path.with_suffix(".labels.json").unlink()
    relabel(path, monkeypatch, ended_after=1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patch.setattr(Store, "annotate_many", lambda store, found: found and (_ for _ in ()).throw(KeyboardInterrupt))
        relabel(path)
    assert relabel(path) == whole
