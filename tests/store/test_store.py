"""The store against a plain list, against killed writers, damaged files, other clients and wrong use."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workbench.errors import StoreError, UnknownNameError
from workbench.store import Store, StoreHeader, StoreWriter, arrays, layout
from workbench.store import writer as writing
from workbench.types import EPISODE_COLUMNS, LABELS, Episode, episode_index, new_record

pytestmark = pytest.mark.filterwarnings("error")

HEADER = StoreHeader(
    task="lift", control_hz=20.0, deadline=100, config={"policy": {"name": "flow"}}, versions={"zarr": "3"}, seed=4
)


def make_episode(number: int, **changes: Any) -> Episode:
    """A small episode that is a function of its number; lengths, calls and memory differ between numbers."""
    rng = np.random.default_rng(number)
    length, calls, memory = 1 + number % 7, number % 3, number % 4
    steps = {
        "obs/eef_pos": rng.normal(size=(length, 3)),
        "action": rng.normal(size=(length, 7)).astype(np.float32),
        "reward": -np.zeros(length, np.float32),
        "stage": rng.integers(0, 4, length),
        "predicates/grasped": rng.random(length) < 0.5,
        "state": np.where(rng.random((length, 600)) < 0.01, np.nan, rng.normal(size=(length, 600))),
        "images/front": rng.integers(0, 256, (length, 4, 4, 3)).astype(np.uint8),
    }
    called = {
        "step": 4 * np.arange(calls),
        "chunk": rng.normal(size=(calls, 8, 7)).astype(np.float32),
        "samples": rng.normal(size=(calls, 5, 8, 7)).astype(np.float32),
        "seconds": rng.random(calls),
    }
    record = new_record(
        uid=f"4:{number}:e{number:x}", index=number, seed=4, split="train", task="lift", model="ab",
        instruction="lift the cubé\0", policy="flow", perturbation="slip" if number % 2 else "",
        perturbations=json.dumps([{"name": "slip", "channel": "é", "force_n": number / 3}]), cell="", execute=4,
        length=length, success=number % 2 == 0, outcome="", modes="[]",
    )  # fmt: skip
    values = rng.normal(size=(length, memory))
    return Episode(record | changes, steps, called if calls else {}, values)


def same(found: Episode, wanted: Episode) -> None:
    """Equal bit for bit, dtypes and minus zeros included."""
    assert found.record == wanted.record
    assert [type(value) for value in found.record.values()] == [EPISODE_COLUMNS[name] for name in found.record]
    for have, want in (
        (found.steps, wanted.steps),
        (found.calls, wanted.calls),
        ({"": found.memory}, {"": wanted.memory}),
    ):
        assert have.keys() == want.keys()
        for key, rows in want.items():
            assert (have[key].dtype, have[key].shape) == (rows.dtype, rows.shape)
            assert have[key].tobytes() == rows.tobytes()


def write(path: Path, numbers: Any, part: str = "main") -> None:
    with StoreWriter.open(path, HEADER, part) as writer:
        for number in numbers:
            writer.append(make_episode(number))


def kill(writer: StoreWriter) -> None:
    """What the kernel does to a killed process: its lock is gone, nothing else happens."""
    writer._lock.close()


def test_large_episodes_are_committed_before_they_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "BATCH_BYTES", 30_000)
    with StoreWriter.open(tmp_path / "a.zarr", HEADER) as writer:
        writer.append(make_episode(6))  # seven steps, 34 KB
        assert len(Store.open(tmp_path / "a.zarr")) == 1
        writer.append(make_episode(0))
        assert len(Store.open(tmp_path / "a.zarr")) == 1


class Killed(BaseException):
    """Stands for a process that ends here."""


@contextlib.contextmanager
def dies_at_write(number: int) -> Iterator[list[Path]]:
    """Die in the middle of writing the ``number``-th file; yields the files that were written."""
    write_file: Callable[[Path, bytes], None] = layout.write_file
    written: list[Path] = []

    def dying(file: Path, content: bytes) -> None:
        if len(written) == number:
            file.with_name(f"{file.name}.1.partial").write_bytes(content[: len(content) // 2])
            raise Killed
        write_file(file, content)
        written.append(file)

    layout.write_file = arrays.write_file = dying
    try:
        with contextlib.suppress(Killed):
            yield written
    finally:
        layout.write_file = arrays.write_file = write_file


class StoreAgainstList(RuleBasedStateMachine):
    """Two parts, appends, commits, deaths at any file, labels; the model is a dict of committed episodes."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp()) / "a.zarr"
        self.committed: dict[str, Episode] = {}
        self.waiting: dict[str, list[Episode]] = {"p": [], "q": []}
        self.writers: dict[str, StoreWriter] = {}
        self.count = 0
        self.batch, writing.BATCH = writing.BATCH, 3
        self.wait, layout.LOCK_WAIT_S = layout.LOCK_WAIT_S, 0.0
        self.writer("p")

    def writer(self, part: str) -> StoreWriter:
        if part not in self.writers:
            self.writers[part] = StoreWriter.open(self.path, HEADER, part)
        return self.writers[part]

    def settle(self, part: str) -> None:
        self.committed |= {episode.record["uid"]: episode for episode in self.waiting[part]}
        self.waiting[part] = []

    def bury(self, part: str) -> None:
        kill(self.writers.pop(part))
        self.waiting[part] = []

    @rule(part=st.sampled_from(["p", "q"]), times=st.integers(1, 4))
    def append(self, part: str, times: int) -> None:
        for _ in range(times):
            episode = make_episode(self.count)
            self.count += 1
            self.writer(part).append(episode)
            self.waiting[part].append(episode)
            if len(self.waiting[part]) == 3:
                self.settle(part)

    @rule(part=st.sampled_from(["p", "q"]))
    def commit(self, part: str) -> None:
        self.writer(part).commit()
        self.settle(part)

    @rule(part=st.sampled_from(["p", "q"]))
    def close(self, part: str) -> None:
        self.writer(part).close()
        del self.writers[part]
        self.settle(part)

    @rule(part=st.sampled_from(["p", "q"]))
    def die(self, part: str) -> None:
        self.writer(part)
        self.bury(part)

    @rule(part=st.sampled_from(["p", "q"]), at=st.integers(0, 90))
    def die_in_commit(self, part: str, at: int) -> None:
        writer, finished = self.writer(part), False
        with dies_at_write(at):
            writer.commit()
            finished = True
        if finished:
            self.settle(part)
        self.bury(part)

    @rule(part=st.sampled_from(["p", "q"]), at=st.integers(0, 40))
    def die_in_opening(self, part: str, at: int) -> None:
        self.writer(part)
        self.bury(part)
        with dies_at_write(at):
            self.writer(part)
        if part in self.writers:
            self.bury(part)

    @precondition(lambda self: self.committed and not self.writers)
    @rule(data=st.data(), at=st.integers(0, 12), step=st.integers(-1, 9))
    def annotate(self, data: st.DataObject, at: int, step: int) -> None:
        uids = data.draw(st.lists(st.sampled_from(sorted(self.committed)), min_size=1, max_size=3, unique=True))
        labels = {uid: {"t_on": step, "outcome": f"o{step}"} for uid in uids}
        store = Store.open(self.path)
        with dies_at_write(at):
            store.annotate_many(labels)
        if at > 0:  # the first file is the manifest: before it none of the labels count, after it all of them
            for uid, columns in labels.items():
                self.committed[uid].record.update(columns)
        for number, uid in enumerate(store.uids):
            assert store.episode(number, (), ()).record == self.committed[uid].record

    @invariant()
    def reads_the_same(self) -> None:
        store = Store.open(self.path)
        wanted = sorted(self.committed.values(), key=lambda e: (e.record["index"], e.record["perturbation"]))
        assert list(store.uids) == [episode.record["uid"] for episode in wanted]
        for number, episode in enumerate(wanted[-4:], start=max(len(wanted) - 4, 0)):
            same(store.episode(number), episode)
        for writer in self.writers.values():
            assert writer.committed_uids <= set(store.uids)

    def teardown(self) -> None:
        store = Store.open(self.path)
        for number, uid in enumerate(store.uids):
            same(store.episode(number), self.committed[uid])
        for writer in self.writers.values():
            kill(writer)
        writing.BATCH, layout.LOCK_WAIT_S = self.batch, self.wait
        shutil.rmtree(self.path.parent)


TestStoreAgainstList = StoreAgainstList.TestCase
TestStoreAgainstList.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def test_a_death_anywhere_in_a_commit_is_harmless(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr", range(3))

    def commit_two(path: Path, at: int) -> int:
        shutil.copytree(tmp_path / "a.zarr", path)
        writer = StoreWriter.open(path, HEADER)
        for number in (3, 4):
            writer.append(make_episode(number))
        with dies_at_write(at) as written:
            writer.commit()
        kill(writer)
        return len(written)

    files = commit_two(tmp_path / "whole.zarr", 10**6)
    assert len(Store.open(tmp_path / "whole.zarr")) == 5
    assert files > 60  # two an array, and the attribute that makes it count
    for at in (*range(0, files - 4, 9), *range(files - 4, files)):
        path = tmp_path / f"{at}.zarr"
        assert commit_two(path, at) == at
        store = Store.open(path)
        assert len(store) == 3
        for number in range(3):
            same(store.episode(number), make_episode(number))
        write(path, (5,))
        store = Store.open(path)
        for number, index in enumerate((0, 1, 2, 5)):
            same(store.episode(number), make_episode(index))
        assert not list(path.rglob("*.partial"))


def test_chunks_that_fill_up_keep_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "CHUNK_ROWS", {"steps": 5, "calls": 2, "memory": 7, "episodes": 4})
    path = tmp_path / "a.zarr"
    for start in range(0, 30, 3):
        write(path, range(start, start + 3))
    store = Store.open(path)
    for number in range(30):
        same(store.episode(number), make_episode(number))


def test_a_full_disk_keeps_what_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.zarr"
    write_bytes = Path.write_bytes
    with StoreWriter.open(path, HEADER) as writer:
        for round_, room in enumerate((0, 1, 5, 20, 45, 60)):
            free = room

            def half(file: Path, content: bytes) -> int:
                nonlocal free
                if free == 0:
                    write_bytes(file, content[: len(content) // 2])
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                free -= 1
                return write_bytes(file, content)

            writer.append(make_episode(round_))
            with monkeypatch.context() as patch:
                patch.setattr(Path, "write_bytes", half)
                with pytest.raises(StoreError, match=r"disk is full.*free") as caught:
                    writer.commit()
                assert f"{round_} episodes are committed and safe, 1 more wait" in str(caught.value)
                assert "\n" not in str(caught.value)
            store = Store.open(path)
            assert len(store) == round_
            for number in range(round_):
                same(store.episode(number), make_episode(number))
            writer.commit()
    assert len(Store.open(path)) == 6


def test_labels_on_a_full_disk_count_fully_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = Path.write_bytes
    for room in range(4):
        path, free = tmp_path / f"{room}.zarr", room
        write(path, range(3))

        def full(file: Path, content: bytes) -> int:
            nonlocal free
            if free == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            free -= 1
            return write_bytes(file, content)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full)
            with pytest.raises(StoreError, match="count from now on" if room else "cannot be written"):
                Store.open(path).annotate_many({uid: {"t_on": room, "twin": "x"} for uid in Store.open(path).uids})
        episodes = Store.open(path).episodes
        assert episodes["t_on"].tolist() == [room or -1] * 3
        assert episodes["twin"].tolist() == ["x" if room else ""] * 3
        Store.open(path).annotate_many({uid: {"t_eff": 5} for uid in Store.open(path).uids})
        assert Store.open(path).episodes["t_on"].tolist() == [room or -1] * 3
        assert Store.open(path).episodes["t_eff"].tolist() == [5] * 3


def test_any_zarr_client_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(path, range(5))
    Store.open(path).annotate(1, t_on=3, failure_mode="slip")
    group = zarr.open(path, mode="r")
    attributes = dict(group.attrs)
    assert len(attributes.pop("digest")) == 32
    assert attributes == dataclasses.asdict(HEADER)
    members = dict(group.members(max_depth=None))  # warns about anything that is not zarr; warnings are errors here
    part = "parts/main"
    episodes = [make_episode(number) for number in range(5)]
    assert members[part + "/episodes"].attrs["rows"] == 5
    assert members[part + "/episodes/perturbations"][:].tolist() == [e.record["perturbations"] for e in episodes]
    assert members[part + "/episodes/t_on"][:].tolist() == [-1, 3, -1, -1, -1]
    assert members[part + "/episodes/failure_mode"][:].tolist() == ["", "slip", "", "", ""]
    for key in episodes[0].steps:
        wanted = np.concatenate([episode.steps[key] for episode in episodes])
        assert members[f"{part}/steps/{key}"][:].tobytes() == wanted.tobytes()
    wanted = np.concatenate([episode.calls["samples"] for episode in episodes if episode.calls])
    np.testing.assert_array_equal(members[part + "/calls/samples"][:], wanted)
    assert members[part + "/episodes/call_end"][:].tolist() == np.cumsum([number % 3 for number in range(5)]).tolist()
    flat = np.concatenate([episode.memory.ravel() for episode in episodes])
    np.testing.assert_array_equal(members[part + "/memory/values"][:], flat)
    assert {array.metadata.zarr_format for array in members.values()} == {3}


def test_order_does_not_depend_on_who_wrote_what(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr", range(9))
    write(tmp_path / "b.zarr", (7, 0, 4), "w1")
    write(tmp_path / "b.zarr", (8, 5, 2, 1), "w0")
    write(tmp_path / "b.zarr", (6, 3), "w1")
    one, two = Store.open(tmp_path / "a.zarr"), Store.open(tmp_path / "b.zarr")
    assert one.uids == two.uids == tuple(make_episode(number).record["uid"] for number in range(9))
    assert one.digest() == two.digest()
    for number in range(9):
        same(two.episode(number), make_episode(number))


def test_digest_follows_content_and_labels_but_not_the_clock(tmp_path: Path) -> None:
    digests = {}
    for name in ("plain", "again", "clock", "step", "memory", "label", "fewer"):
        episodes = [make_episode(2), make_episode(5)]
        if name == "clock":
            episodes[1].calls["seconds"] += 1
        if name == "step":
            episodes[1].steps["action"][0, 0] += 1
        if name == "memory":
            episodes[1].memory[0, 0] += 1
        with StoreWriter.open(tmp_path / f"{name}.zarr", HEADER) as writer:
            for episode in episodes[: 1 if name == "fewer" else 2]:
                writer.append(episode)
        store = Store.open(tmp_path / f"{name}.zarr")
        if name == "label":
            store.annotate(0, t_pnr=3)
            assert store.digest() == Store.open(store.path).digest()
        digests[name] = store.digest()
    assert digests["plain"] == digests["again"] == digests["clock"]
    assert len(set(digests.values())) == 5


def test_a_reader_keeps_what_it_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    with StoreWriter.open(path, HEADER) as writer:
        writer.append(make_episode(4))
        writer.commit()
        early = Store.open(path)
        writer.append(make_episode(1))
        assert len(Store.open(path)) == 1
        writer.commit()
        assert (len(early), len(Store.open(path))) == (1, 2)
        same(early.episode(0), make_episode(4))
    with pytest.raises(ValueError, match="read-only"):
        early.episodes["t_on"][0] = 3


def test_only_the_arrays_asked_for_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(path, (5,))
    (path / "parts/main/steps/images/front/c.0.0.0.0").unlink()
    (path / "parts/main/memory/values/c.0").unlink()
    store = Store.open(path)
    episode = store.episode(0, steps=("obs/*", "reward"), calls=("chunk",))
    assert set(episode.steps) == {"obs/eef_pos", "reward"}
    assert set(episode.calls) == {"chunk"}
    assert episode.memory.shape == (6, 0)
    assert store.episode(0, steps=(), calls=()).steps == {}
    with pytest.raises(UnknownNameError, match=r"obs/eef_poss.*Did you mean 'obs/eef_pos'"):
        store.episode(0, steps=("obs/eef_poss",))


def test_calls_are_what_a_detector_may_see(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    index = episode_index("calibrate", 3)
    with StoreWriter.open(path, HEADER) as writer:
        for number in (1, 5, 3):  # one call, two calls four steps apart, none
            episode = make_episode(number)
            episode.record["index"] = index + number
            writer.append(episode)
    store = Store.open(path)
    one, two = store.calls(0), store.calls(2)
    assert (one.uid, one.split, one.execute, two.execute) == (make_episode(1).record["uid"], "calibrate", 4, 4)
    np.testing.assert_array_equal(two.samples, make_episode(5).calls["samples"])
    assert two.step.tolist() == [0, 4]
    assert two.chunk.shape == (2, 8, 7)
    assert two.embedding is None
    with pytest.raises(StoreError, match="no policy calls"):
        store.calls(1)


def test_an_appended_episode_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    with StoreWriter.open(path, HEADER) as writer:
        episode = make_episode(5)
        writer.append(episode)
        for rows in (*episode.steps.values(), *episode.calls.values(), episode.memory):
            rows[...] = 0
        episode.record["t_inj"] = 99
    same(Store.open(path).episode(0), make_episode(5))


def test_a_uid_is_taken_once(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(path, (1,), "p")
    with StoreWriter.open(path, HEADER, "q") as writer:
        writer.append(make_episode(2))
        for number in (1, 2):
            with pytest.raises(StoreError, match=f"already holds episode 4:{number}:"):
                writer.append(make_episode(number))
        writer.commit()
        assert writer.committed_uids == {make_episode(1).record["uid"], make_episode(2).record["uid"]}
        with pytest.raises(StoreError, match="already holds"):
            writer.append(make_episode(2))
    assert len(Store.open(path)) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda e: e.record.pop("twin"),
        lambda e: e.record.update(colour="red"),
        lambda e: e.record.update(success=1),
        lambda e: e.record.update(t_on=1.5),
        lambda e: e.record.update(t_on=2**63),
        lambda e: e.record.update(twin="\ud800"),
        lambda e: e.record.update(length=4),
        lambda e: e.steps.update(action=e.steps["action"][1:]),
        lambda e: e.calls.update(step=e.calls["step"][1:]),
        lambda e: e.steps.update(text=np.array(["a"] * 6)),
        lambda e: e.steps.update({"../outside": np.zeros(6)}),
        lambda e: e.steps.update(none=np.zeros((6, 0))),
        lambda e: setattr(e, "memory", e.memory[1:]),
    ],
)
def test_an_episode_that_does_not_hold_together_is_refused(tmp_path: Path, spoil: Callable[[Episode], Any]) -> None:
    episode = make_episode(5)
    with StoreWriter.open(tmp_path / "a.zarr", HEADER) as writer:
        spoil(episode)
        with pytest.raises(StoreError):
            writer.append(episode)
        writer.append(make_episode(5))
    assert len(Store.open(tmp_path / "a.zarr")) == 1


@pytest.mark.parametrize("reopened", [False, True])
def test_an_episode_of_another_layout_is_refused(tmp_path: Path, reopened: bool) -> None:
    writer = StoreWriter.open(tmp_path / "a.zarr", HEADER)
    writer.append(make_episode(5))
    if reopened:
        writer.close()
        writer = StoreWriter.open(tmp_path / "a.zarr", HEADER)
    other = make_episode(2)
    other.steps["state"] = other.steps["state"][:, :-1]
    with pytest.raises(StoreError, match=r"state: float64\[599\] instead of float64\[600\].*another part"):
        writer.append(other)
    fewer = make_episode(2)
    del fewer.calls["samples"]
    with pytest.raises(StoreError, match="samples: missing"):
        writer.append(fewer)
    writer.append(make_episode(2))
    writer.close()
    assert len(Store.open(tmp_path / "a.zarr")) == 2


def test_a_first_commit_that_died_leaves_no_layout_behind(tmp_path: Path) -> None:
    writer = StoreWriter.open(tmp_path / "a.zarr", HEADER)
    writer.append(make_episode(5))
    with dies_at_write(30):
        writer.commit()
    kill(writer)
    other = make_episode(2)
    other.steps["state"] = other.steps["state"][:, :-1]
    with StoreWriter.open(tmp_path / "a.zarr", HEADER) as writer:
        writer.append(other)
    same(Store.open(tmp_path / "a.zarr").episode(0), other)


def test_labels_only(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(path, range(2))
    store = Store.open(path)
    before = store.episodes["t_on"]
    store.annotate(store.uids[1], t_on=np.int64(4), t_on_low=3, t_on_high=6, twin=store.uids[0])
    assert before.tolist() == [-1, -1]
    assert store.episodes["t_on"].tolist() == Store.open(path).episodes["t_on"].tolist() == [-1, 4]
    assert Store.open(path).episodes["twin"].tolist() == ["", store.uids[0]]
    for which, columns, message in (
        (0, {"success": False}, "'success' is no label.*t_on"),
        (0, {"t_on": "4"}, "'t_on' takes int"),
        ("9:9:9", {"t_on": 4}, "holds no episode '9:9:9'"),
    ):
        with pytest.raises(StoreError, match=message):
            store.annotate(which, **columns)


def test_one_writer_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LOCK_WAIT_S", 0.05)
    path = tmp_path / "a.zarr"
    write(path, (0,))
    store = Store.open(path)
    with StoreWriter.open(path, HEADER):
        with pytest.raises(StoreError, match=rf"main is in use by the writer with process id {os.getpid()}"):
            StoreWriter.open(path, HEADER)
        with pytest.raises(StoreError, match="in use"):
            store.annotate(0, t_on=1)
        assert Store.open(path).episodes["t_on"].tolist() == [-1]
        StoreWriter.open(path, HEADER, "other").close()
    store.annotate(0, t_on=1)
    writer = StoreWriter.open(path, HEADER)
    writer.close()
    writer.close()
    with pytest.raises(StoreError, match="closed"):
        writer.append(make_episode(1))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_holds_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LOCK_WAIT_S", 1.0)
    writer = StoreWriter.open(tmp_path / "a.zarr", HEADER)
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(send)
        os.read(receive, 1)  # lives on until the parent is done
        os._exit(0)
    kill(writer)
    try:
        StoreWriter.open(tmp_path / "a.zarr", HEADER).close()
    finally:
        os.close(send)
        os.close(receive)
        os.waitpid(child, 0)


def test_an_exception_keeps_the_finished_episodes(tmp_path: Path) -> None:
    def fails() -> None:
        with StoreWriter.open(tmp_path / "a.zarr", HEADER) as writer:
            writer.append(make_episode(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert len(Store.open(tmp_path / "a.zarr")) == 1
    StoreWriter.open(tmp_path / "a.zarr", HEADER).close()


def test_another_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(path, (0,))
    assert Store.open(path).header == HEADER
    for change in ({"task": "door"}, {"schema": 1}, {"control_hz": 10.0}, {"deadline": 5}):
        with pytest.raises(StoreError, match=f"made with {next(iter(change))} .*another store"):
            StoreWriter.open(path, dataclasses.replace(HEADER, **change))
    StoreWriter.open(path, dataclasses.replace(HEADER, config={}, seed=9)).close()
    with pytest.raises(StoreError, match="header of a new store holds NaN"):
        StoreWriter.open(tmp_path / "b.zarr", dataclasses.replace(HEADER, config={"x": float("nan")}))
    assert [file.name for file in tmp_path.iterdir()] == ["a.zarr"]
    with pytest.raises(StoreError, match="cannot name a part"):
        StoreWriter.open(path, HEADER, "../b")


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no store at .*missing.zarr; make one with"):
        Store.open(tmp_path / "missing.zarr")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/mine").write_text("mine")
    zarr.create_group(tmp_path / "other", attributes={"a": 1})
    for name in ("file", "folder", "other"):
        with pytest.raises(StoreError, match="no store"):
            Store.open(tmp_path / name)
        with pytest.raises(StoreError, match="no store"):
            StoreWriter.open(tmp_path / name, HEADER)
    assert (tmp_path / "file").read_text() == (tmp_path / "folder/mine").read_text() == "mine"
    assert sorted(os.listdir(tmp_path / "other")) == ["zarr.json"]


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(path, (0,))
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["schema"] = 7
    (path / "zarr.json").write_text(json.dumps(root))
    for use in (lambda: Store.open(path), lambda: StoreWriter.open(path, HEADER)):
        with pytest.raises(StoreError, match="schema 7, this version knows 4"):
            use()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for name in (
            "zarr.json",
            "parts/zarr.json",
            "parts/main/episodes/zarr.json",
            "parts/main/episodes/uid/zarr.json",
            "parts/main/episodes/uid/c.0",
            "parts/main/episodes/step_end/c.0",
            "parts/main/steps/state/zarr.json",
            "parts/main/steps/state/c.0.0",
            "parts/main/calls/samples/c.0.0.0.0",
            "parts/main/memory/values/c.0",
        )
        for damage in ("half", "empty", "missing", "bit")
        if not (damage == "bit" and name.endswith("json"))  # metadata carry no checksum
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / "a.zarr"
    write(path, (5,))
    file, content = path / name, (path / name).read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "bit":
        at = len(content) * 3 // 4
        while content[at : at + 1].isspace():
            at += 1
        file.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
    else:
        file.write_bytes(content[: len(content) // 2 if damage == "half" else 0])
    with pytest.raises(StoreError, match=r"a\.zarr") as caught:
        Store.open(path).episode(0)
    assert (name, damage) == ("zarr.json", "missing") or name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_documented_schema_is_the_written_one(tmp_path: Path) -> None:
    schema = yaml.safe_load((Path(__file__).parents[2] / "datasets/schema/store.yaml").read_text())
    write(tmp_path / "a.zarr", (5,))
    group = zarr.open(tmp_path / "a.zarr", mode="r")
    assert schema["schema"] == group.attrs["schema"]
    assert schema["root_attributes"].keys() == dict(group.attrs).keys()
    assert schema["parts_attributes"].keys() == dict(group["parts"].attrs).keys()
    assert schema["commit_attributes"].keys() == dict(group["parts/main/episodes"].attrs).keys()
    columns = schema["part"]["episodes"]
    written = dict(group["parts/main/episodes"].arrays())
    assert columns.keys() == written.keys()
    for name, array in written.items():
        assert array.metadata.to_dict()["data_type"] == columns[name]["dtype"]
    assert {name for name, column in columns.items() if column.get("label")} == set(LABELS)


def test_labels_of_a_death_outlive_the_next_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(path, range(3))
    with dies_at_write(1):  # the manifest is written, no column is
        Store.open(path).annotate(0, t_on=5, outcome="partial")
    Store.open(path).annotate(1, t_on=6)
    assert zarr.open(path, mode="r")["parts"].attrs["pending"] == {}
    episodes = Store.open(path).episodes
    assert episodes["t_on"].tolist() == [5, 6, -1]
    assert episodes["outcome"].tolist() == ["partial", "", ""]


def test_a_table_has_one_row_an_episode_and_misses_what_was_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(path, range(4))
    store = Store.open(path)
    store.annotate(1, t_on=0, t_pnr=2, responsibility=0.25, failure_mode="slip", twin=store.uids[0], values="[[0,1,4]]")
    table = store.table()
    assert list(table.columns) == list(EPISODE_COLUMNS)
    assert table.index.tolist() == [0, 1, 2, 3]
    assert table["uid"].tolist() == list(store.uids)
    measured = [name for name in LABELS if table[name].notna()[1]]
    assert sorted(measured) == sorted(["t_on", "t_pnr", "responsibility", "failure_mode", "twin", "values", "outcome"])
    assert table[[name for name in LABELS if name != "outcome"]].drop(1).isna().all(axis=None)
    assert table["t_inj"].isna().all(), "no perturbation struck"
    assert (table["t_on"].sum(), table["t_pnr"].mean(), table["responsibility"].max()) == (0, 2.0, 0.25)
    for name, kind in EPISODE_COLUMNS.items():
        assert table[name].dtype != object, name
        assert {type(value) for value in table[name].dropna().tolist()} <= {kind}, name
    assert table[["perturbation", "cell"]].notna().all(axis=None), "a nominal episode is one without perturbation"


def test_a_table_of_one_split_keeps_the_numbers_of_its_episodes(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    with StoreWriter.open(path, HEADER) as writer:
        for number in range(6):
            episode = make_episode(number)
            episode.record["split"] = "fit" if number % 3 == 1 else "test"
            writer.append(episode)
    store = Store.open(path)
    table = store.table("fit")
    assert table.index.tolist() == [1, 4]
    assert [store.episode(number).record["uid"] for number in table.index] == table["uid"].tolist()
    assert store.table("select").empty
    with pytest.raises(UnknownNameError, match=r"split 'tset'.*Did you mean 'test'"):
        store.table("tset")


def test_a_table_is_the_readers_own(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr", range(2))
    store = Store.open(tmp_path / "a.zarr")
    table = store.table()
    table.loc[0, "length"] = 99
    table.loc[0, "t_on"] = 7
    assert store.table().loc[0, "length"] == store.episodes["length"][0] == 1
    assert store.table()["t_on"].isna().all()


def test_a_store_shows_itself_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(path, range(5))
    assert repr(Store.open(path)) == f"Store({str(path)!r}: 5 episodes of lift, 2 failed)"
