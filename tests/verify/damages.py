"""Is damage to a store ever read as if it were data?  Random damages, one at a time, to a store of several parts.

Bits are turned, files cut, emptied, removed and exchanged, parts removed, renamed, doubled and put back from an older
copy, attributes and metadata edited, labels interrupted on their way.  After each, all of the store is read, and it is
verified.  The claims:

- what is read equals what was written, or reading says in one line that it does not;
- whatever reading says, `workbench check` says as well, and it never calls damaged what nobody touched;
- episodes that `check` saves out of a damaged store are those that were written.

Run: make verify WHAT=damages ARGS="--damages 300 --seed 0"
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.synthetic import HEADER, episode
from tests.verify.claims import table, verdict
from workbench.errors import WorkbenchError
from workbench.execution.progress import console
from workbench.store import Store, StoreWriter, arrays, save_whole, verify_store
from workbench.store import labels as labelling

Random = np.random.Generator
PARTS = ("a", "b", "c")
OLDER = "older"
"""Folder beside the store with its parts as they were one commit before."""


@dataclasses.dataclass
class Kind:
    """What came of one kind of damage."""

    read: int = 0
    check: int = 0
    equal: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)


def main() -> int:
    options = arguments()
    arrays.CHUNK_ROWS = {"steps": 100, "calls": 25, "memory": 60, "episodes": 4}  # several chunks of few episodes
    kinds: dict[str, Kind] = collections.defaultdict(Kind)
    with tempfile.TemporaryDirectory() as folder:
        originals = [(path, contents(Store.open(path))) for path in made(Path(folder))]
        for path, _ in originals:
            assert not verify_store(path).damages, "nothing is damaged yet"
        for number in range(options.damages):
            name = list(DAMAGES)[number % len(DAMAGES)]
            random = np.random.default_rng([options.seed, number])
            original, wanted = originals[number % len(originals)]
            tried(kinds[name], name, random, original, wanted, Path(folder) / "t" / "a.zarr", number)
    return report(kinds, options)


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--damages", type=int, default=300)
    options.add_argument("--seed", type=int, default=0, help="decides what is drawn")
    return options.parse_args()


def made(folder: Path) -> list[Path]:
    """Two stores: one at rest, and one whose labels were interrupted on their way into the columns."""
    rest, underway = folder / "rest" / "a.zarr", folder / "underway" / "a.zarr"
    for numbers in (range(1), range(1, 3)):
        shutil.rmtree(rest.parent / OLDER, ignore_errors=True)
        if rest.exists():
            shutil.copytree(rest / "parts", rest.parent / OLDER)
        for part in PARTS:
            with StoreWriter.open(rest, HEADER, part) as writer:
                for number in numbers:
                    split = ("fit", "calibrate", "test")[PARTS.index(part)]
                    writer.append(with_memory(episode(split, number)))
                    writer.append(with_memory(episode(split, number, "slip")))
    label(rest)
    shutil.copytree(rest.parent, underway.parent)
    finish, labelling.finish_labels = labelling.finish_labels, lambda path, journal, sealed: journal
    label(underway)
    labelling.finish_labels = finish
    return [rest, underway]


def with_memory(whole: Any) -> Any:
    rows = np.random.default_rng(whole.record["index"]).normal(size=(whole.record["length"], 2))
    return dataclasses.replace(whole, memory=rows)


def label(path: Path) -> None:
    store = Store.open(path)
    store.annotate_many({uid: {"t_on": at % 9, "twin": store.uids[0]} for at, uid in enumerate(store.uids)})


def contents(store: Store) -> list[bytes]:
    """Everything that a reader sees."""
    columns = {name: values.tolist() for name, values in store.episodes.items()}
    found = [repr(store.header).encode(), json.dumps(columns).encode(), store.digest().encode()]
    for number in range(len(store)):
        one = store.episode(number)
        for group in (one.steps, one.calls, {"memory": one.memory}):
            for key, rows in group.items():
                found.append(f"{key} {rows.dtype} {rows.shape}".encode() + rows.tobytes())
        found.append(repr(store.truth(number)).encode())
    return found


def tried(kind: Kind, name: str, random: Random, original: Path, wanted: list[bytes], path: Path, number: int) -> None:
    """Damage a copy, read it and verify it."""
    shutil.rmtree(path.parent, ignore_errors=True)
    shutil.copytree(original.parent, path.parent)
    DAMAGES[name](path, random)
    read = refused(kind, f"{name} {number}: reading", lambda: contents(Store.open(path)))
    found = refused(kind, f"{name} {number}: check", lambda: verify_store(path))
    damaged = isinstance(found, str) or bool(found is not None and found.damages)
    if isinstance(read, str):
        kind.read += 1
        if not damaged:
            kind.faults.append(f"{name} {number}: reading says {read!r}, check says nothing")
    elif read is not None and read != wanted:
        kind.faults.append(f"{name} {number}: SILENT: other data are read" + (", check notices" if damaged else ""))
    elif damaged:
        kind.check += 1
    else:
        kind.equal += 1
    if damaged and number % 10 == 0:
        saves_what_is_whole(kind, f"{name} {number}", path, original)


def refused(kind: Kind, what: str, read: Callable[[], Any]) -> Any:
    """The value, or the words of a refusal; None after anything else, which is a fault."""
    try:
        return read()
    except WorkbenchError as error:
        if "\n" in str(error):
            kind.faults.append(f"{what}: {error!r} is no line")
        return str(error)
    except Exception as error:
        kind.faults.append(f"{what}: {type(error).__name__}: {error}")
        return None


def saves_what_is_whole(kind: Kind, what: str, path: Path, original: Path) -> None:
    """What is saved is among what was written, labels apart."""
    into = path.with_name("saved.zarr")
    found = refused(kind, f"{what}: saving", lambda: save_whole(path, into))
    if found is None or isinstance(found, str):
        return
    saved, source = Store.open(into), Store.open(original)
    for number, uid in enumerate(saved.uids):
        have, want = saved.episode(number), source.episode(source.uids.index(uid))
        for mine, theirs in (
            (have.steps, want.steps),
            (have.calls, want.calls),
            ({"": have.memory}, {"": want.memory}),
        ):
            if {key: rows.tobytes() for key, rows in mine.items()} != {k: rows.tobytes() for k, rows in theirs.items()}:
                kind.faults.append(f"{what}: SILENT: another episode is saved")


def files(path: Path, suffix: str = "") -> list[Path]:
    """Files of a store in order."""
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name.endswith(suffix))


def chunks(path: Path) -> list[Path]:
    """Chunks of a store's arrays."""
    return [file for file in files(path) if file.name.startswith("c.")]


def one_of(random: Random, choices: Any) -> Any:
    return choices[int(random.integers(len(choices)))]


def turn_a_bit(path: Path, random: Random, of: Callable[[Path], list[Path]] = files) -> None:
    file = one_of(random, of(path))
    content = bytearray(file.read_bytes())
    content[random.integers(len(content))] ^= 1 << int(random.integers(8))
    file.write_bytes(content)


def turn_a_bit_of_metadata(path: Path, random: Random) -> None:
    turn_a_bit(path, random, lambda path: files(path, ".json"))


def cut(path: Path, random: Random) -> None:
    file = one_of(random, files(path))
    file.write_bytes(file.read_bytes()[: int(random.integers(file.stat().st_size))])


def lengthen(path: Path, random: Random) -> None:
    file = one_of(random, files(path))
    file.write_bytes(file.read_bytes() + random.bytes(int(random.integers(1, 50))))


def overwrite(path: Path, random: Random) -> None:
    file = one_of(random, files(path))
    content = bytearray(file.read_bytes())
    start = int(random.integers(len(content)))
    content[start : start + 20] = random.bytes(20)
    file.write_bytes(content)


def remove_a_file(path: Path, random: Random) -> None:
    one_of(random, files(path)).unlink()


def remove_a_folder(path: Path, random: Random) -> None:
    shutil.rmtree(one_of(random, sorted(each for each in (path / "parts").rglob("*") if each.is_dir())))


def make_a_folder_of_a_file(path: Path, random: Random) -> None:
    file = one_of(random, files(path))
    file.unlink()
    file.mkdir()


def exchange(first: Path, second: Path) -> None:
    beside = first.with_name("exchanged")
    first.rename(beside)
    second.rename(first)
    beside.rename(second)


def exchange_chunks(path: Path, random: Random) -> None:
    """Of one array, or of two whose chunks are alike."""
    first = one_of(random, chunks(path))
    alike = [file for file in chunks(path) if file != first and file.name.count(".") == first.name.count(".")]
    exchange(first, one_of(random, alike))


def another_chunk(path: Path, random: Random) -> None:
    first, second = one_of(random, chunks(path)), one_of(random, chunks(path))
    shutil.copyfile(second, first.with_name("copy"))
    first.with_name("copy").replace(first)


def exchange_metadata(path: Path, random: Random) -> None:
    exchange(*(one_of(random, files(path, ".json")) for _ in range(2)))


def exchange_arrays(path: Path, random: Random) -> None:
    folders = sorted({file.parent for file in chunks(path)})
    exchange(*(one_of(random, folders) for _ in range(2)))


def edit(path: Path, random: Random) -> None:
    """A value of some attributes or metadata, as a person would, by hand."""
    file = one_of(random, files(path, ".json"))
    content = json.loads(file.read_text())
    places = list(numbers_and_texts(content))
    holder, key = one_of(random, places)
    value = holder[key]
    holder[key] = f"{value}x" if isinstance(value, str) else max(0, value + int(random.integers(-2, 3)))
    file.write_text(json.dumps(content))


def numbers_and_texts(value: Any) -> Any:
    """(holder, key) of every number and text within."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        if isinstance(value[key], dict | list):
            yield from numbers_and_texts(value[key])
        elif type(value[key]) in (int, float, str):
            yield value, key


def lower_rows(path: Path, random: Random) -> None:
    file = path / "parts" / one_of(random, PARTS) / "episodes" / "zarr.json"
    content = json.loads(file.read_text())
    content["attributes"]["rows"] = int(random.integers(content["attributes"]["rows"]))
    file.write_text(json.dumps(content))


def drop_an_attribute(path: Path, random: Random) -> None:
    file = one_of(random, [file for file in files(path, ".json") if json.loads(file.read_text())["attributes"]])
    content = json.loads(file.read_text())
    del content["attributes"][one_of(random, sorted(content["attributes"]))]
    file.write_text(json.dumps(content))


def part(path: Path, random: Random) -> Path:
    return path / "parts" / one_of(random, PARTS)


def remove_a_part(path: Path, random: Random) -> None:
    shutil.rmtree(part(path, random))


def rename_a_part(path: Path, random: Random) -> None:
    part(path, random).rename(path / "parts" / "other")


def double_a_part(path: Path, random: Random) -> None:
    shutil.copytree(part(path, random), path / "parts" / one_of(random, ("0", "z")))


def exchange_parts(path: Path, random: Random) -> None:
    exchange(path / "parts" / "a", path / "parts" / one_of(random, ("b", "c")))


def older_part(path: Path, random: Random) -> None:
    old = part(path, random)
    shutil.rmtree(old)
    shutil.copytree(path.parent / OLDER / old.name, old)


def older_file(path: Path, random: Random) -> None:
    """One file as it was a commit before, such as a backup would give back."""
    place = part(path, random)
    old = [
        file
        for file in files(path.parent / OLDER / place.name)
        if (place / file.relative_to(path.parent / OLDER / place.name)).exists()
    ]
    file = one_of(random, old)
    shutil.copyfile(file, place / file.relative_to(path.parent / OLDER / place.name))


def empty_everything_of_an_array(path: Path, random: Random) -> None:
    for file in one_of(random, sorted({file.parent for file in chunks(path)})).iterdir():
        os.truncate(file, 0)


DAMAGES: dict[str, Callable[[Path, Random], None]] = {
    made.__name__.replace("_", " "): made
    for made in (
        turn_a_bit, turn_a_bit_of_metadata, cut, lengthen, overwrite, remove_a_file, remove_a_folder,
        make_a_folder_of_a_file, exchange_chunks, another_chunk, exchange_metadata, exchange_arrays, edit, lower_rows,
        drop_an_attribute, remove_a_part, rename_a_part, double_a_part, exchange_parts, older_part, older_file,
        empty_everything_of_an_array,
    )
}  # fmt: skip


def report(kinds: dict[str, Kind], options: argparse.Namespace) -> int:
    shown = table(f"seed {options.seed}", "damage", "tried", "reading says so", "check alone", "equal", "faults")
    for name, kind in kinds.items():
        counts = (kind.read, kind.check, kind.equal)
        shown.add_row(name, *map(str, (sum(counts) + len(kind.faults), *counts, len(kind.faults))))
    console.print(shown)
    faults = [line for kind in kinds.values() for line in kind.faults]
    for line in faults[:20]:
        console.print(line, markup=False, soft_wrap=True)
    silent = sum("SILENT" in line for line in faults)
    return verdict(
        not faults, f"{options.damages} damages, {silent} read silently, {len(faults) - silent} other faults"
    )


if __name__ == "__main__":
    sys.exit(main())
