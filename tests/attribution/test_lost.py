"""The label lost is the point of no return without the task's deadline, by counting; and is measured when asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toy import ToyExpert, ToyPolicy, ToyTask, broken
from workbench.attribution import labels, lost
from workbench.attribution.branching import drive, find_point_of_no_return
from workbench.attribution.explanation import explain
from workbench.attribution.labels import Settings
from workbench.errors import OtherSettingsError
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Episode, Record, Stream
from workbench.viewing.notes import notes_of

BREAKS, DEADLINE = 5, 40
ROTS = (0, 12, 30, 1000)
"""Broken at 5, the expert mends in one step and needs 15 more: within the deadline from step 24 on at the latest."""
NO_RETURN = {0: 0, 12: 12, 30: 25, 1000: 25}
LOST = {0: 0, 12: 12, 30: 30, 1000: DEADLINE}


def failed(index: int, rots: int) -> Episode:
    launch = Launch(Stream(1, index), (broken(BREAKS, rots),))
    (episode,) = Lockstep(ToyTask(), ToyPolicy(), 1).record([launch])
    return episode


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of four failures, with the toys' own expert."""
    monkeypatch.setattr(Setup, "expert", lambda setup, node: ToyExpert())
    with StoreWriter.open(tmp_path / "toys.zarr", StoreHeader("toy", 10.0, DEADLINE, {}, {}, 0)) as writer:
        for index, rots in enumerate(ROTS):
            writer.append(failed(index, rots))
    return tmp_path / "toys.zarr"


def relabel(path: Path, stride: int = 7, overwrite: bool = False, **asked: bool) -> Record:
    settings = Settings((), stride, (4,), 0)
    found = labels.label(Store.open(path), ToyTask(), ToyPolicy(), settings=settings, overwrite=overwrite, **asked)
    return found.record()


def column(path: Path, name: str) -> dict[int, int]:
    """Column of each failure, by when it rots."""
    store = Store.open(path)
    return {
        ROTS[int(index)]: int(step) for index, step in zip(store.episodes["index"], store.episodes[name], strict=True)
    }


@pytest.mark.parametrize("stride", [1, 7, 20])
def test_it_is_what_counting_says(path: Path, stride: int) -> None:
    found = relabel(path, stride, lost=True)
    assert column(path, "t_pnr") == NO_RETURN
    assert column(path, "t_lost") == LOST, "with the deadline it would be the point of no return"
    assert (found["with_lost"], found["not_lost"], found["median_lost"]) == (4, 1, 21.0)
    assert found["simulated_steps"]["lost"] > 0


@pytest.mark.parametrize("stride", [1, 3, 7, 20])
def test_what_is_known_changes_nothing_and_is_not_tried_again(stride: int) -> None:
    episodes, expert = [failed(0, rots) for rots in ROTS], Lockstep(ToyTask(), ToyExpert(), 4)
    whole = drive([find_point_of_no_return(each, stride, deadline=80) for each in episodes], expert)
    for rots, episode, (point, steps) in zip(ROTS, episodes, whole, strict=True):
        ((again, fewer),) = drive(
            [find_point_of_no_return(episode, stride, deadline=80, known=NO_RETURN[rots])], expert
        )
        assert again.step == point.step == LOST[rots]
        assert fewer <= steps
        assert fewer < steps or not NO_RETURN[rots]


def test_it_is_not_measured_unless_it_is_asked_for(path: Path) -> None:
    found = relabel(path)
    assert set(column(path, "t_lost").values()) == {-1}
    assert not {"with_lost", "not_lost", "median_lost"} & found.keys()
    assert "lost" not in found["simulated_steps"]
    assert "twice the deadline" not in notes_of(explain(Store.open(path), 0))


def test_labels_that_are_there_gain_it_and_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = relabel(path)
    before = {name: column(path, name) for name in ("t_pnr", "t_pnr_high")}
    with monkeypatch.context() as patch:
        patch.setattr(labels, "label_batch", None)  # nothing is searched again
        second = relabel(path, lost=True)
    assert {name: column(path, name) for name in before} == before
    assert column(path, "t_lost") == LOST
    assert {key: second[key] for key in first if key != "simulated_steps"} == {
        key: value for key, value in first.items() if key != "simulated_steps"
    }
    with monkeypatch.context() as patch:
        patch.setattr(lost, "lost_batch", None)
        assert relabel(path, lost=True) == second, "and is kept"
    assert "- Within twice the deadline it was lost at step 30." in notes_of(explain(Store.open(path), ROTS.index(30)))


def test_of_other_settings_it_is_refused_or_measured_anew(path: Path) -> None:
    relabel(path, lost=True)
    before = Store.open(path).digest()
    with pytest.raises(OtherSettingsError, match=r"was made with another stride; overwrite=true") as caught:
        relabel(path, 9, lost=True)
    assert "\n" not in str(caught.value)
    assert Store.open(path).digest() == before
    relabel(path, 9, overwrite=True)
    assert set(column(path, "t_lost").values()) == {-1}, "it was about other labels"
    relabel(path, 9, lost=True)
    assert column(path, "t_lost") == LOST
    relabel(path, 7, overwrite=True, lost=True)
    assert column(path, "t_lost") == LOST


def test_an_ended_call_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost, "EPISODES_PER_BATCH", 1)
    relabel(path)
    whole, left = lost.lost_batch, iter(range(2))

    def ended(batch: lost.Batch) -> dict[str, tuple[int, int]]:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return whole(batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patch.setattr(lost, "lost_batch", ended)
        relabel(path, lost=True)
    assert sorted(column(path, "t_lost").values()).count(-1) == 2
    found = relabel(path, lost=True)
    assert column(path, "t_lost") == LOST
    alone = sum(
        steps for _, steps in whole(lost.Batch(Setup(ToyTask(), ToyPolicy()), path, {}, 7, [0, 1, 2, 3])).values()
    )
    assert found["simulated_steps"]["lost"] == alone, "each counts once"
