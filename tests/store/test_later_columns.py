"""Columns that stores of earlier versions lack: unknown there, added where they are labelled, whenever one dies."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
import zarr

from tests.store.test_store import HEADER, dies_at_write, kill, make_episode, same, write
from tests.store.test_store_damage import SCHEMA_4
from workbench.errors import StoreError
from workbench.store import Store, StoreWriter, verify_store
from workbench.store import writer as writing
from workbench.store.layout import STORED_COLUMNS
from workbench.types import COLUMNS

LATER = [column.name for column in COLUMNS if column.later]
BEFORE = {name: column for name, column in STORED_COLUMNS.items() if not column.later}


@pytest.fixture(params=[4, 5])
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store as an earlier version wrote it."""
    if request.param == 4:
        with zipfile.ZipFile(SCHEMA_4) as archive:
            archive.extractall(tmp_path)
        return tmp_path / "schema-4.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(writing, "STORED_COLUMNS", BEFORE)
        for part in ("main", "other"):
            write(tmp_path / "a.zarr", range(3) if part == "main" else range(3, 5), part)
    return tmp_path / "a.zarr"


def lost_of(path: Path) -> list[int]:
    found: list[int] = Store.open(path).episodes["t_lost"].tolist()
    return found


def files_of(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_they_are_unknown_where_nobody_wrote_them(old: Path) -> None:
    assert LATER == ["t_lost", "luck", "luck_low", "luck_high", "luck_runs"]
    before = files_of(old)
    assert not [name for name in before if "t_lost" in name]
    store = Store.open(old)
    assert set(store.episodes["t_lost"]) == {-1}
    assert store.table()["t_lost"].isna().all()
    assert store.episode(0).record["t_lost"] == -1
    assert not verify_store(old).damages
    assert files_of(old) == before, "reading and verifying change nothing"


def test_the_digest_is_that_of_earlier_versions_until_something_is_known(old: Path, tmp_path: Path) -> None:
    before = Store.open(old).digest()
    write(tmp_path / "new.zarr", range(5))
    assert "t_lost" in {file.name for file in (tmp_path / "new.zarr/parts/main/episodes").iterdir()}
    if old.name == "a.zarr":
        assert Store.open(tmp_path / "new.zarr").digest() == before
    Store.open(old).annotate(0, t_lost=7)
    assert Store.open(old).digest() != before
    assert Store.open(old).digest(labels=False) == Store.open(old).digest(labels=False)
    Store.open(old).annotate(0, t_lost=-1)
    assert Store.open(old).digest() == before


def test_a_label_adds_the_column_and_any_zarr_client_reads_it(old: Path) -> None:
    others = Store.open(old).episodes["t_on"].tolist()
    Store.open(old).annotate_many({uid: {"t_lost": 10 + n} for n, uid in enumerate(Store.open(old).uids)})
    assert lost_of(old) == [10 + n for n in range(len(Store.open(old)))]
    assert Store.open(old).episodes["t_on"].tolist() == others
    assert not verify_store(old).damages
    parts = [folder for folder in (old / "parts").iterdir() if folder.is_dir()]
    read = [step for folder in parts for step in zarr.open_array(folder / "episodes/t_lost", mode="r")[:].tolist()]  # type: ignore[union-attr]
    assert sorted(read) == lost_of(old)


def test_an_old_part_is_continued(old: Path) -> None:
    count = len(Store.open(old))
    last = make_episode(9)
    if old.name == "schema-4.zarr":
        last = Store.open(old).episode(2)
        last.record.update(uid="0:77:ab", index=77)
    last.record["t_lost"] = 3
    with StoreWriter.open(old, Store.open(old).header) as writer:
        writer.append(last)
    assert "t_lost" in {file.name for file in (old / "parts/main/episodes").iterdir()}
    assert sorted(lost_of(old)) == [-1] * count + [3]
    same(Store.open(old).episode(Store.open(old).number_of(last.record["uid"])), last)
    assert not verify_store(old).damages


def test_a_death_anywhere_on_the_way_is_harmless(old: Path) -> None:
    def annotated(path: Path, at: int) -> int:
        shutil.copytree(old, path)
        with dies_at_write(at) as written:
            Store.open(path).annotate_many({uid: {"t_lost": 8} for uid in Store.open(path).uids})
        return len(written)

    files = annotated(old.with_name("whole.zarr"), 10**6)
    count = len(Store.open(old))
    for at in range(files):
        path = old.with_name(f"{at}.zarr")
        assert annotated(path, at) == at
        assert lost_of(path) == [8 if at else -1] * count, at
        Store.open(path).annotate_many({})
        assert lost_of(path) == [8 if at else -1] * count, at
        assert not verify_store(path).damages
    assert files > 6


def test_a_death_while_an_old_part_is_continued_is_harmless(old: Path) -> None:
    if old.name == "schema-4.zarr":
        pytest.skip("its episodes have other arrays")

    def continued(path: Path, at: int) -> int:
        shutil.copytree(old, path)
        writer = StoreWriter.open(path, HEADER)
        writer.append(make_episode(9))
        with dies_at_write(at) as written:
            writer.commit()
        kill(writer)
        return len(written)

    files = continued(old.with_name("whole.zarr"), 10**6)
    for at in sorted({*range(0, files, 13), *range(files - 3, files)}):
        path = old.with_name(f"{at}.zarr")
        continued(path, at)
        assert lost_of(path) == [-1] * 5
        with StoreWriter.open(path, HEADER) as writer:
            writer.append(make_episode(9))
        assert lost_of(path) == [-1] * 6
        assert not verify_store(path).damages


def test_one_that_was_committed_and_is_gone_is_damage(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr", range(2))
    shutil.rmtree(tmp_path / "a.zarr/parts/main/episodes/t_lost")
    with pytest.raises(StoreError, match="t_lost"):
        Store.open(tmp_path / "a.zarr")
    assert any("t_lost" in damage for damage in verify_store(tmp_path / "a.zarr").damages)


def test_what_it_cannot_hold_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr", range(2))
    with pytest.raises(StoreError, match="t_lost"):
        Store.open(tmp_path / "a.zarr").annotate(0, t_lost=-2)
