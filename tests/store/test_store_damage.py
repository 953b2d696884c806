"""Whatever is done to a store's files: it is noticed in one line, or what is read is what was written."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr

from tests.fuzzing.stores import packed_again
from tests.synthetic import HEADER, episode
from workbench.errors import StoreError
from workbench.store import Store, StoreHeader, StoreWriter, labels, save_whole, verify_store
from workbench.store.arrays import array_metadata
from workbench.store.chunks import crc32c
from workbench.store.layout import write_group
from workbench.store.parts import Part

SCHEMA_4 = Path(__file__).with_name("schema-4.zip")
"""A store as version 0.1.0 of before 2026-12 wrote it: two parts of two episodes each, labels on one."""


def write(path: Path, part: str, split: str, numbers: Any, header: StoreHeader = HEADER) -> None:
    with StoreWriter.open(path, header, part) as writer:
        for number in numbers:
            writer.append(episode(split, number))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "a.zarr"
    write(path, "p", "fit", range(2))
    write(path, "p", "fit", range(2, 3))
    write(path, "q", "test", range(3))
    Store.open(path).annotate(0, t_on=4, values="[[0, 1, 4]]")
    return path


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "a.zarr")
    return tmp_path / "a.zarr"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with zipfile.ZipFile(SCHEMA_4) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "schema-4.zarr"


def everything(path: Path) -> list[Any]:
    opened = Store.open(path)
    found: list[Any] = [opened.digest(), opened.header]
    for number in range(len(opened)):
        one = opened.episode(number)
        found += [one.record, *(rows.tobytes() for group in (one.steps, one.calls) for rows in group.values())]
        opened.truth(number)
        opened.calls(number)
    return found


def refused(path: Path, *words: str) -> None:
    """Reading and verifying both say so, in one line."""
    with pytest.raises(StoreError) as caught:
        everything(path)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    assert verify_store(path).damages


def edit(file: Path, change: Callable[[Any], Any], sealed: bool = False) -> None:
    """Change a zarr.json; ``sealed`` as somebody would who means it."""
    content = json.loads(file.read_text())
    change(content)
    if sealed:
        content["attributes"].pop("digest")
        write_group(file.parent, content["attributes"], sealed=True)
    else:
        file.write_text(json.dumps(content))


def chunk_of(values: list[str], claims: int | None = None) -> bytes:
    """Strings as vlen-utf8, with lengths as they are but the last, and a count of 512."""
    texts = [text.encode() for text in values] + [b""] * (512 - len(values))
    lengths = [len(text) for text in texts]
    if claims is not None:
        lengths[0] = claims
    return (512).to_bytes(4, "little") + b"".join(
        size.to_bytes(4, "little") + text for size, text in zip(lengths, texts, strict=True)
    )


# A7: damage that no checksum covered


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda s: shutil.rmtree(s / "parts/p/steps/action"), "steps/action"),
        (lambda s: shutil.rmtree(s / "parts/p/calls/samples"), "calls/samples"),
        (lambda s: shutil.rmtree(s / "parts/p/episodes/t_on"), "t_on"),
        (lambda s: shutil.rmtree(s / "parts/q"), "parts/q"),
        (lambda s: (s / "parts/q").rename(s / "parts/r"), "parts/q"),
        (lambda s: edit(s / "parts/p/episodes/zarr.json", lambda c: c["attributes"].update(rows=1)), "episodes"),
        (lambda s: edit(s / "parts/p/episodes/zarr.json", lambda c: c["attributes"].pop("arrays")), "episodes"),
        (lambda s: edit(s / "zarr.json", lambda c: c["attributes"].update(deadline=49)), "zarr.json"),
        (lambda s: edit(s / "zarr.json", lambda c: c["attributes"].update(schema=4)), "zarr.json"),
        (lambda s: edit(s / "parts/zarr.json", lambda c: c["attributes"].update(parts={})), "parts/zarr.json"),
        (lambda s: edit(s / "parts/p/steps/stage/zarr.json", separator("/")), "steps/stage"),
        (lambda s: edit(s / "parts/p/steps/stage/zarr.json", lambda c: c.update(fill_value=1)), "steps/stage"),
        (lambda s: edit(s / "parts/p/steps/reward/zarr.json", lambda c: c.update(data_type="int64")), "steps/reward"),
        (lambda s: edit(s / "parts/p/steps/reward/zarr.json", lambda c: c.update(shape=[1])), "steps/reward"),
        (lambda s: shutil.copy(s / "parts/p/episodes/t_on/c.0", s / "parts/p/episodes/t_eff/c.0"), "t_eff/c.0"),
        (lambda s: shutil.copy(s / "parts/q/steps/stage/c.0", s / "parts/p/steps/stage/c.0"), "p/steps/stage/c.0"),
        (lambda s: shutil.copy(s / "parts/q/episodes/uid/c.0", s / "parts/p/episodes/uid/c.0"), "p/episodes/uid/c.0"),
        (lambda s: shutil.copy(s / "parts/p/episodes/model/c.0", s / "parts/p/episodes/task/c.0"), "task/c.0"),
    ],
)  # fmt: skip
def test_what_no_chunk_can_say_of_itself_is_noticed(store: Path, damage: Callable[[Path], Any], word: str) -> None:
    damage(store)
    refused(store, word)


def separator(sign: str) -> Callable[[Any], Any]:
    return lambda content: content["chunk_key_encoding"]["configuration"].update(separator=sign)


def test_a_part_that_is_put_back_from_an_older_copy_is_noticed(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store / "parts/p", tmp_path / "older")
    write(store, "p", "fit", range(3, 5))
    shutil.rmtree(store / "parts/p")
    shutil.copytree(tmp_path / "older", store / "parts/p")
    refused(store, "counts 3 episodes and had 5")


def test_every_single_bit_of_the_metadata_counts(store: Path) -> None:
    """Of some files all bits, one after the other."""
    wanted = everything(store)
    for name in ("zarr.json", "parts/zarr.json", "parts/p/steps/action/zarr.json"):
        file, content = store / name, (store / name).read_bytes()
        for at in range(0, len(content), 7):
            turned = bytearray(content)
            turned[at] ^= 1 << (at % 8)
            file.write_bytes(bytes(turned))
            with contextlib.suppress(StoreError):
                assert everything(store) == wanted, (name, at)
        file.write_bytes(content)


@pytest.mark.parametrize("group", ["parts/p", "parts/p/steps", "parts/p/steps/obs", "parts/p/memory"])
def test_groups_that_only_other_clients_read_are_verified(store: Path, group: str) -> None:
    wanted = everything(store)
    (store / group / "zarr.json").write_text("{}")
    assert everything(store) == wanted
    assert [group in damage for damage in verify_store(store).damages] == [True]


def test_nothing_is_appended_or_labelled_on_top_of_damage(store: Path) -> None:
    shutil.copy(store / "parts/p/episodes/t_on/c.0", store / "parts/p/episodes/t_eff/c.0")
    uid = episode("fit", 0).record["uid"]
    with pytest.raises(StoreError, match=r"t_eff/c\.0 is damaged"):
        labels.write_labels(store, {uid: {"t_eff": 3}}, lambda: None)
    shutil.rmtree(store / "parts/q")
    with pytest.raises(StoreError, match="parts/q is damaged: the part is missing"):
        write(store, "p", "fit", range(3, 4))


@pytest.mark.parametrize("at", ["manifest", "some", "all"])
def test_labels_on_their_way_are_sealed_too(store: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Interrupted after the manifest, amid the columns, and before the manifest is cleared: the same is read."""
    uids = Store.open(store).uids
    given = {uid: {"t_on": number, "twin": uids[0]} for number, uid in enumerate(uids)}
    rewrite = Part.rewrite

    def interrupted(part: Part, columns: Any) -> None:
        if at == "all" or (at == "some" and part.folder.name == "p"):
            rewrite(part, columns)

    monkeypatch.setattr(Part, "rewrite", interrupted)
    monkeypatch.setattr(labels, "_clear", lambda *given: None)
    Store.open(store).annotate_many(given)
    monkeypatch.undo()
    assert Store.open(store).episodes["t_on"].tolist() == list(range(6))
    assert not verify_store(store).damages
    shutil.copytree(store, store.with_name("b.zarr"))
    write(store, "p", "fit", range(3, 4))
    assert Store.open(store).episodes["t_on"].tolist() == [0, 1, 2, -1, 3, 4, 5]
    assert json.loads((store / "parts/zarr.json").read_text())["attributes"]["pending"] == {}
    assert not verify_store(store).damages
    other = store.with_name("b.zarr")
    shutil.copy(other / "parts/q/episodes/t_eff/c.0", other / "parts/q/episodes/t_on/c.0")
    edit(other / "parts/zarr.json", lambda c: c["attributes"]["sealed"]["q"]["t_on"].append(0), sealed=True)
    refused(other, "q/episodes/t_on")


def test_what_is_whole_is_saved(store: Path, tmp_path: Path) -> None:
    source = Store.open(store)
    want = {uid: source.episode(number) for number, uid in enumerate(source.uids)}
    (store / "parts/q/steps/action/c.0.0").write_bytes(b"")
    shutil.copy(store / "parts/p/episodes/t_on/c.0", store / "parts/p/episodes/t_pnr/c.0")
    found = save_whole(store, tmp_path / "saved.zarr")
    assert found.parts == {"p": (3, 3), "q": (0, 3)}
    assert sorted(found.lost) == sorted(episode("test", number).record["uid"] for number in range(3))
    saved = Store.open(tmp_path / "saved.zarr")
    assert sorted(saved.uids) == sorted(episode("fit", number).record["uid"] for number in range(3))
    for number, uid in enumerate(saved.uids):
        have = saved.episode(number)
        assert have.record == want[uid].record | {"t_pnr": -1}
        assert all(have.steps[key].tobytes() == rows.tobytes() for key, rows in want[uid].steps.items())
    with pytest.raises(StoreError, match="needs a new place"):
        save_whole(store, tmp_path / "saved.zarr")


# B1: metadata are compared, not obeyed


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(zarr_format=2, filters=[{"id": "pickle", "protocol": 5}]),
        lambda c: c["codecs"].insert(0, {"name": "numcodecs.pickle", "configuration": {}}),
        lambda c: c.update(codecs=[{"name": "bytes"}]),
        lambda c: c.update(storage_transformers=[{"name": "x"}]),
        lambda c: c.update(attributes={"a": 1}),
        lambda c: c["chunk_grid"]["configuration"].update(chunk_shape=[1]),
        lambda c: c["chunk_grid"].update(name="rectangular"),
        lambda c: c.update(dimension_names=["x"]),
        lambda c: c.pop("dimension_names"),
        lambda c: c.update(must_understand={"name": "x"}),
        lambda c: c.update(shape=[2.0]),
        lambda c: c.update(shape=[]),
    ],
)
@pytest.mark.parametrize("array", ["episodes/uid", "steps/reward"])
def test_metadata_are_what_the_store_itself_writes(store: Path, change: Callable[[Any], Any], array: str) -> None:
    edit(store / "parts/p" / array / "zarr.json", change)
    refused(store, array)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int64", "float16", "float32", "float64", "string"])
@pytest.mark.parametrize("trailing", [(), (3,), (4, 5)])
def test_metadata_are_what_zarr_writes(dtype: str, trailing: tuple[int, ...]) -> None:
    written: dict[str, Any] = {}
    shuffle = {"typesize": 1, "shuffle": "noshuffle"}
    if dtype != "string":
        shuffle = {"typesize": np.dtype(dtype).itemsize, "shuffle": "shuffle"}
    zarr.create_array(
        zarr.storage.MemoryStore(written),
        shape=(0, *trailing),
        chunks=(7, *trailing),
        dtype=dtype,
        compressors=[zarr.codecs.BloscCodec(cname="zstd", clevel=1, **shuffle), zarr.codecs.Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=["step", *(f"a_{axis + 1}" for axis in range(len(trailing)))],
    )
    assert json.loads(written["zarr.json"].to_bytes()) == array_metadata("steps/b/a", dtype, trailing, 7, named=True)


# B2: strings become file names


@pytest.mark.parametrize(
    "uid", ["../../../t/x", "/etc/x", "a/b", "..", ".x", "", "a\nb", "a\x00b", "[/b]", "é", "a" * 201, "a b", "a\\b"]
)
def test_a_uid_has_a_pattern_on_both_ways(store: Path, tmp_path: Path, uid: str) -> None:
    wrong = episode("fit", 0)
    wrong.record["uid"] = uid
    with StoreWriter.open(tmp_path / "b.zarr", HEADER) as writer, pytest.raises(StoreError, match="'uid' cannot hold"):
        writer.append(wrong)
    recolumn(store, "uid", [uid, "a", "b"])
    refused(store, "episodes/uid")


@pytest.mark.parametrize("column", ["task", "policy", "perturbation", "cell", "outcome", "failure_mode"])
@pytest.mark.parametrize("word", ["../x", "/etc", "a\\b", ".x", "a\nb", "\x1b[2J", "x" * 1001])
def test_names_among_the_columns_have_one_too(store: Path, tmp_path: Path, column: str, word: str) -> None:
    wrong = episode("fit", 0)
    wrong.record[column] = word
    with StoreWriter.open(tmp_path / "b.zarr", HEADER) as writer, pytest.raises(StoreError, match="cannot hold"):
        writer.append(wrong)
    recolumn(store, column, [word, "a", "b"])
    refused(store, f"episodes/{column}")


def test_a_digest_of_a_model_may_hold_slashes(tmp_path: Path) -> None:
    """As those of MuJoCo's models do; it names no file."""
    one = episode("fit", 0)
    one.record["model"] = "10bdee97d9873951/mujoco-3.9.0/snapshot-3"
    with StoreWriter.open(tmp_path / "b.zarr", HEADER) as writer:
        writer.append(one)
    assert Store.open(tmp_path / "b.zarr").episode(0).record["model"] == one.record["model"]


def recolumn(store: Path, column: str, values: list[Any]) -> None:
    """Put other values into a column of part p, checksums included, as a stranger would."""
    place = store / "parts/p/episodes" / column
    if isinstance(values[0], str):
        content = chunk_of(values)
        own = content[4 : 4 + sum(4 + len(value.encode()) for value in values)]
    else:
        dtype = np.dtype("u1" if column == "success" else "f8" if type(values[0]) is float else "i8")
        content = np.array([*values, *[values[-1]] * (512 - len(values))], dtype).tobytes()
        own = content[: len(values) * dtype.itemsize]
    (place / "c.0").write_bytes(packed_again(content))
    reseal(store, f"episodes/{column}", own)


def reseal(store: Path, array: str, own: bytes) -> None:
    def change(content: Any) -> None:
        content["attributes"]["arrays"][array]["chunks"] = [crc32c(own)]

    edit(store / "parts/p/episodes/zarr.json", change, sealed=True)


# B3: what is read is held to what is written


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("index", [-1, 0, 1]),
        ("index", [500_000, 0, 1]),
        ("seed", [-1, 0, 0]),
        ("split", ["trian", "fit", "fit"]),
        ("length", [0, 1, 1]),
        ("execute", [-4, 4, 4]),
        ("t_on", [-2, 0, 0]),
        ("t_on", [2**62, 0, 0]),
        ("responsibility", [np.nan, 0.0, 0.0]),
        ("responsibility_low", [np.inf, 0.0, 0.0]),
        ("success", [2, 0, 1]),
        ("step_end", [40, 20, 60]),
        ("step_end", [1, 2, 3]),
        ("call_end", [5, 4, 6]),
        ("memory_end", [-1, 0, 0]),
        ("memory_end", [1, 1, 1]),
        ("perturbations", ["[", "[]", "[]"]),
        ("perturbations", ['{"name": "slip"}', "[]", "[]"]),
        ("perturbations", ['[{"name": "slip"}]', "[]", "[]"]),
        ("perturbations", ['[{"name": 1, "channel": "x"}]', "[]", "[]"]),
        ("perturbations", ['[{"name": "a/b", "channel": "x"}]', "[]", "[]"]),
        ("perturbations", ['[{"name": "a", "channel": "x", "y": NaN}]', "[]", "[]"]),
        ("perturbations", ['[{"name": "a", "channel": "x", "y": 1e999}]', "[]", "[]"]),
        ("perturbations", ['[{"name": "\\ud800", "channel": "x"}]', "[]", "[]"]),
        ("perturbations", ["[" * 5000 + "]" * 5000, "[]", "[]"]),
        ("modes", ['[{"mode": "slip"}]', "[]", "[]"]),
        ("modes", ["null", "[]", "[]"]),
        ("values", ["[[0, 5, 4]]", "[]", "[]"]),
        ("values", ["[[0, 1]]", "[]", "[]"]),
        ("values", ['[["0", 1, 4]]', "[]", "[]"]),
        ("values", ["", "[]", "[]"]),
        ("twin", ["../x", "", ""]),
    ],
)
def test_columns_are_read_as_strictly_as_they_are_written(store: Path, column: str, values: list[Any]) -> None:
    recolumn(store, column, values)
    refused(store)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("index", -1), ("index", 500_000), ("split", "x"), ("perturbations", "[{}]"), ("modes", "{}"),
        ("values", "[1]"), ("t_on", -2), ("responsibility", float("nan")), ("twin", "a/b"),
        ("instruction", "x" * (2**20 + 1)),
    ],
)  # fmt: skip
def test_and_written_as_strictly_as_they_are_read(tmp_path: Path, column: str, value: Any) -> None:
    wrong = episode("fit", 0)
    wrong.record[column] = value
    with StoreWriter.open(tmp_path / "b.zarr", HEADER) as writer:
        with pytest.raises(StoreError, match=f"'{column}'"):
            writer.append(wrong)
        writer.append(episode("fit", 0))
    assert len(Store.open(tmp_path / "b.zarr")) == 1


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("zarr.json", lambda a: a.update(task=["lift"])),
        ("zarr.json", lambda a: a.update(task="../lift")),
        ("zarr.json", lambda a: a.update(control_hz="20")),
        ("zarr.json", lambda a: a.update(control_hz=0)),
        ("zarr.json", lambda a: a.update(deadline=-1)),
        ("zarr.json", lambda a: a.update(deadline=True)),
        ("zarr.json", lambda a: a.update(config=[])),
        ("zarr.json", lambda a: a.update(versions={"zarr": 3})),
        ("zarr.json", lambda a: a.update(seed=1.5)),
        ("zarr.json", lambda a: a.update(licence=None)),
        ("zarr.json", lambda a: a.update(colour="red")),
        ("zarr.json", lambda a: a.update(schema=[5])),
        ("zarr.json", lambda a: a.pop("config")),
        ("parts/zarr.json", lambda a: a.update(revision="1")),
        ("parts/zarr.json", lambda a: a.update(pending=[])),
        ("parts/zarr.json", lambda a: a.update(pending={"a/b": {"t_on": 1}})),
        ("parts/zarr.json", lambda a: a.update(pending={"a": {"success": True}})),
        ("parts/zarr.json", lambda a: a.update(pending={"a": {"t_on": "1"}})),
        ("parts/zarr.json", lambda a: a.update(pending={"a": 1})),
        ("parts/zarr.json", lambda a: a.update(parts={"../x": 1})),
        ("parts/zarr.json", lambda a: a.update(parts={"p": -1})),
        ("parts/zarr.json", lambda a: a.update(sealed={"p": {"uid": [1]}})),
        ("parts/p/episodes/zarr.json", lambda a: a.update(rows="3")),
        ("parts/p/episodes/zarr.json", lambda a: a.update(rows=2**60)),
        ("parts/p/episodes/zarr.json", lambda a: a.update(rows=True)),
        ("parts/p/episodes/zarr.json", lambda a: a.update(arrays=None)),
        ("parts/p/episodes/zarr.json", lambda a: a.update(arrays={})),
        ("parts/p/episodes/zarr.json", lambda a: a["arrays"].update({"../x": a["arrays"]["episodes/uid"]})),
        ("parts/p/episodes/zarr.json", lambda a: a["arrays"]["steps/action"].update(chunk_rows=0)),
        ("parts/p/episodes/zarr.json", lambda a: a["arrays"]["steps/action"].update(chunks=["x"])),
        ("parts/p/episodes/zarr.json", lambda a: a["arrays"]["steps/action"].update(rows=10**9)),
    ],
)
def test_attributes_are_checked_even_if_their_digest_is_right(
    store: Path, file: str, change: Callable[[Any], Any]
) -> None:
    edit(store / file, lambda content: change(content["attributes"]), sealed=True)
    refused(store, "zarr.json" if file != "zarr.json" else "a.zarr")


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b'{"a": 1e999}', b'{"\\ud800": 1}', b"1" * 5000],
)
@pytest.mark.parametrize("file", ["zarr.json", "parts/zarr.json", "parts/p/episodes/zarr.json"])
def test_json_is_plain(store: Path, file: str, content: bytes) -> None:
    (store / file).write_bytes(content)
    refused(store)


# B4: sizes are bounded before memory is taken


@pytest.fixture
def bounded() -> Any:
    """No more than 600 MB beyond what the process has."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 600 * 2**20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def blosc(size: int) -> bytes:
    packed = bytearray(numcodecs.blosc.compress(b"\x00" * 4096, b"zstd", 1, 0))
    packed[4:8] = size.to_bytes(4, "little")
    return bytes(packed) + crc32c(bytes(packed)).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("array", "content"),
    [
        ("episodes/uid", packed_again((800_000_000).to_bytes(4, "little") + b"\x00" * 100)),
        ("episodes/uid", packed_again(chunk_of(["a", "b", "c"], claims=2**31))),
        ("episodes/uid", packed_again(chunk_of(["a", "b", "c"], claims=2**32 - 1))),
        ("episodes/uid", packed_again((512).to_bytes(4, "little"))),
        ("episodes/uid", packed_again(b"")),
        ("episodes/uid", packed_again(b"\x00" * (2**26 + 1))),
        ("episodes/uid", blosc(2**31 - 1)),
        ("episodes/t_on", blosc(2**31 - 1)),
        ("steps/action", blosc(2**32 - 1)),
        ("steps/action", packed_again(b"\x00" * 10)),
        ("steps/action", packed_again(b"\x00" * 2**27)),
        ("steps/action", b""),
        ("steps/action", b"\x00" * 30),
        ("steps/action", b"\x00" * 2**21),
    ],
)
def test_a_small_file_that_claims_much_takes_no_memory(store: Path, bounded: Any, array: str, content: bytes) -> None:
    for file in (store / "parts/p" / array).glob("c.*"):
        file.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged") as caught:
        everything(store)
    assert array in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ([2**62, 7], [1024, 7]), ([10, 2**40], [1, 2**40]), ([10, 7], [2**40, 7]), ([10, 7], [2**60, 7]),
        ([10] + [2] * 9, [10] + [2] * 9), ([10, 2**27], [1, 2**27]), ([-1, 7], [1024, 7]), ([10, 0], [10, 0]),
        ([10, 7], [0, 7]),
    ],
)  # fmt: skip
def test_a_shape_that_claims_much_takes_no_memory(
    store: Path, bounded: Any, shape: list[int], chunks: list[int]
) -> None:
    def change(content: Any) -> None:
        content["shape"] = shape
        content["chunk_grid"]["configuration"]["chunk_shape"] = chunks

    edit(store / "parts/p/steps/action/zarr.json", change)
    refused(store, "steps/action")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop"])
def test_what_is_no_plain_file_is_not_read(store: Path, kind: str) -> None:
    for file in (store / "parts/p/steps/action/c.0.0", store / "parts/p/episodes/uid/zarr.json"):
        file.unlink()
        if kind == "pipe":
            os.mkfifo(file)
        elif kind == "device":
            file.symlink_to("/dev/zero")
        elif kind == "loop":
            file.symlink_to(file)
        else:
            file.mkdir()
        refused(store)


def test_rows_that_could_not_be_read_back_are_not_written(tmp_path: Path) -> None:
    large = episode("fit", 0)
    large.steps["images/x"] = np.broadcast_to(np.zeros(1, np.uint8), (len(large.steps["action"]), 2**26 + 1))
    with StoreWriter.open(tmp_path / "b.zarr", HEADER) as writer, pytest.raises(StoreError, match="at most 67108864"):
        writer.append(large)


# A9: parts of several hosts, jobs and processes


def test_names_of_own_parts_differ_by_host_job_and_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, names = tmp_path / "a.zarr", []

    def opened() -> StoreWriter:
        writer = StoreWriter.open_own(path, HEADER)
        names.append(writer._folder.name)
        return writer

    with opened(), opened(), opened():  # as three jobs on one machine have it
        monkeypatch.setattr(socket, "gethostname", lambda: "node/7 ü")
        with opened():
            monkeypatch.setenv("SLURM_JOB_ID", "4711")
            with opened():
                monkeypatch.setenv("SLURM_PROCID", "3")
                with opened():
                    monkeypatch.setattr(multiprocessing.current_process(), "_name", "SpawnProcess-2")
                    with opened():
                        pass
    assert len(set(names)) == len(names) == 7
    assert Store.open(path).uids == ()
    monkeypatch.undo()
    with opened():
        pass
    assert names[-1] == names[0], "who comes again goes on where it was"


def test_three_jobs_write_one_store_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    jobs = [context.Process(target=_job, args=(tmp_path / "a.zarr", number), name="MainProcess") for number in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    assert len(Store.open(tmp_path / "a.zarr")) == 12
    assert not verify_store(tmp_path / "a.zarr").damages


def _job(path: Path, number: int) -> None:
    """Several batches, the store opened for each, as a job does."""
    for batch in range(4):
        with StoreWriter.open_own(path, HEADER) as writer:
            writer.append(episode("fit", 10 * number + batch))


# D6: who reads what


def test_arrays_name_their_dimensions(store: Path) -> None:
    group = zarr.open_group(store / "parts/p", mode="r")
    assert group["steps/action"].metadata.dimension_names == ("step", "action_1")
    assert group["calls/samples"].metadata.dimension_names == ("call", "samples_1", "samples_2", "samples_3")
    assert group["episodes/uid"].metadata.dimension_names == ("episode",)
    assert group["memory/values"].metadata.dimension_names == ("value",)


@pytest.mark.parametrize("group", ["steps", "steps/obs", "calls", "episodes", "memory"])
def test_xarray_opens_a_group(store: Path, group: str) -> None:
    xarray = pytest.importorskip("xarray")
    found = xarray.open_zarr(store / "parts/p" / group, consolidated=False, zarr_format=3)
    assert set(found.sizes) >= {
        {"steps": "step", "calls": "call", "episodes": "episode", "memory": "value"}[group.partition("/")[0]]
    }
    if group == "episodes":
        assert found["uid"].values.tolist() == [episode("fit", number).record["uid"] for number in range(3)]


# Old stores


def test_a_store_of_schema_4_is_read_labelled_and_continued(old: Path) -> None:
    found = Store.open(old)
    assert (len(found), found.header.schema) == (4, 4)
    assert found.digest() == "b74d99946e4a6f8be42fdb53810a330e1798e3d7ab59e81dc373fc38a3811acc"
    assert found.episodes["t_on"].tolist() == [-1, 4, -1, -1]
    found.annotate(2, t_pnr=7)
    last = episode("fit", 5)
    last.calls.pop("samples")
    last.steps.pop("state")
    with StoreWriter.open(old, HEADER) as writer:
        writer.append(last)
    again = Store.open(old)
    assert again.episodes["t_pnr"].tolist() == [-1, -1, -1, 7, -1]
    assert again.episode(2).steps["action"].tobytes() == last.steps["action"].tobytes()
    assert "dimension_names" not in json.loads((old / "parts/main/steps/action/zarr.json").read_text())
    assert json.loads((old / "zarr.json").read_text())["attributes"]["schema"] == 4
    assert not verify_store(old).damages


@pytest.mark.parametrize("file", ["parts/main/steps/action/c.0.0", "parts/other/episodes/uid/c.0"])
def test_a_store_of_schema_4_is_verified_by_its_contents(old: Path, file: str) -> None:
    content = bytearray((old / file).read_bytes())
    content[30] ^= 1
    (old / file).write_bytes(bytes(content))
    assert file in verify_store(old).damages[0]


def test_another_arrays_chunk_in_a_store_of_schema_4_is_found_by_the_content(old: Path) -> None:
    shutil.copy(old / "parts/other/steps/reward/c.0", old / "parts/main/steps/reward/c.0")
    shutil.copy(old / "parts/other/steps/action/c.0.0", old / "parts/main/steps/action/c.0.0")
    shutil.copy(old / "parts/other/steps/obs/hand/c.0.0", old / "parts/main/steps/obs/hand/c.0.0")
    assert any("is not the one that was written" in damage for damage in verify_store(old).damages)
