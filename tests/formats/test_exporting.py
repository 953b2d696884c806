"""Formats by their names, and what becomes of an export that is there already."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from workbench.config import files, options_of
from workbench.errors import StoreError, UnknownNameError
from workbench.formats import export, format_named
from workbench.formats.exporting import MARK
from workbench.formats.format import Header, asks
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Episode, new_record

HEADER = StoreHeader(task="lift", control_hz=20, deadline=9, config={}, versions={}, seed=0)


class Words:
    """A format of one's own: a line an episode."""

    name, about, loses, calls = "words", "a line an episode", ("everything but uids",), False

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def write(self, episodes: Iterable[Episode], folder: Path, header: Header) -> None:
        folder.mkdir()
        for episode in episodes:
            with (folder / "uids").open("a") as lines:
                lines.write(f"{header.task} {episode.record['uid']} {sorted(episode.calls)}\n")
            if self.fails:
                raise ArithmeticError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    record = {"seed": 0, "split": "test", "task": "lift", "model": "m", "instruction": "lift", "policy": "flow",
              "perturbation": "", "perturbations": "[]", "cell": "", "execute": 4, "length": 3, "success": True,
              "outcome": "success", "modes": "[]"}  # fmt: skip
    steps = {"obs/hand": np.zeros((3, 2)), "action": np.zeros((3, 1)), "reward": np.zeros(3), "stage": np.arange(3)}
    steps["modes"] = np.zeros(3, np.uint16)
    with StoreWriter.open(tmp_path / "a.zarr", HEADER) as writer:
        for number in range(2):
            calls = {"step": np.array([0])}
            writer.append(Episode(new_record(uid=f"{number}", index=number, **record), steps, calls, np.zeros((3, 0))))
    return Store.open(tmp_path / "a.zarr")


@pytest.mark.parametrize("name", [name for name in options_of("format") if not asks(format_named(name))])
def test_every_format_says_what_it_is_and_writes(name: str, store: Store, tmp_path: Path) -> None:
    found = format_named(name)
    assert found.name == name
    assert found.about
    assert all(found.loses)
    folder = export(store, name, tmp_path / "out" / name)
    mark = json.loads((folder / MARK).read_text())
    assert (mark["format"], mark["store"], mark["episodes"], mark["without"]) == (name, "a.zarr", 2, list(found.loses))
    assert len(list(folder.rglob("*"))) > 1


def test_an_unknown_format_is_refused_with_the_known_ones(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'lerobot'"):
        export(store, "lerobt", tmp_path / "out")


def test_a_format_of_ones_own_is_handed_in(store: Store, tmp_path: Path) -> None:
    seen: list[int] = []
    folder = export(store, Words(), tmp_path / "out", advance=seen.append)
    assert (folder / "uids").read_text() == "lift 0 []\nlift 1 []\n"
    assert seen == [1, 1]


def test_calls_come_along_where_a_format_keeps_them(store: Store, tmp_path: Path) -> None:
    words = Words()
    words.calls = True
    assert (export(store, words, tmp_path / "out") / "uids").read_text() == "lift 0 ['step']\nlift 1 ['step']\n"


def test_an_earlier_export_is_replaced_when_asked(store: Store, tmp_path: Path) -> None:
    folder = export(store, Words(), tmp_path / "out")
    (folder / "more").write_text("mine")
    with pytest.raises(StoreError, match="exists already; overwrite=true"):
        export(store, Words(), folder)
    assert (folder / "more").read_text() == "mine"
    export(store, Words(), folder, overwrite=True)
    assert sorted(file.name for file in folder.iterdir()) == ["uids", MARK]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.zarr", "out"]


def test_an_export_that_fails_leaves_the_earlier_one(store: Store, tmp_path: Path) -> None:
    folder = export(store, Words(), tmp_path / "out")
    before = (folder / "uids").read_text()
    with pytest.raises(ArithmeticError):
        export(store, Words(fails=True), folder, overwrite=True)
    assert (folder / "uids").read_text() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.zarr", "out"]


def test_the_earlier_one_stays_until_its_successor_is_whole(store: Store, tmp_path: Path) -> None:
    folder = export(store, Words(), tmp_path / "out")
    there: list[bool] = []
    export(store, Words(), folder, overwrite=True, advance=lambda done: there.append((folder / MARK).is_file()))
    assert there == [True, True]


def test_the_earlier_one_is_put_back_where_its_successor_cannot_be_put(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export(store, Words(), tmp_path / "out")
    rename = Path.rename

    def refuses(self: Path, target: Path) -> Path:
        if self.name.endswith(".unfinished"):
            raise PermissionError
        return rename(self, target)

    monkeypatch.setattr(files, "_exchanged", lambda one, other: False)  # as on a file system that cannot
    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(PermissionError):
        export(store, Words(), folder, overwrite=True)
    assert (folder / "uids").is_file()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.zarr", "out"]


def test_a_folder_that_is_no_export_is_never_replaced(store: Store, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mine").write_text("kept")
    with pytest.raises(StoreError, match=f"no {MARK}"):
        export(store, Words(), tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "mine").read_text() == "kept"
