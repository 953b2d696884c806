"""Stores of episodes: their groups, the metadata of their arrays, and chunks, as files and as what is in them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np

from tests.fuzzing.mutations import STRINGS, anything, damaged, encoded, mutated, one_of
from tests.synthetic import HEADER, episode
from workbench.store import Store, StoreWriter, verify_store
from workbench.store.chunks import crc32c, encode
from workbench.store.layout import write_group
from workbench.types import EPISODE_COLUMNS

Random = np.random.Generator
RESEALED = 0.7
"""Share of attributes whose digest is made again: as somebody would who means it."""
VERIFIED = 0.1
INTEGERS = (0, 1, -1, 2, 3, 7, 100, 2**15, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))


def prepare(folder: Path) -> list[Path]:
    """A store of each schema, with two parts."""
    made = []
    for schema in (5, 4):
        path = folder / f"{schema}.zarr"
        header = dataclasses.replace(HEADER, schema=schema)
        for part, split in (("p", "fit"), ("q", "test")):
            with StoreWriter.open(path, header, part) as writer:
                for number in range(2):
                    writer.append(episode(split, number))
                    writer.append(episode(split, number, "slip"))
        Store.open(path).annotate(0, t_on=3, twin="x", values="[[0, 1, 4]]")
        made.append(path)
    return made


def attempt(prepared: list[Path], random: Random, folder: Path) -> None:
    original = one_of(random, prepared)
    files = sorted(file for file in original.rglob("*") if file.is_file())
    path = folder / "a.zarr"
    if random.random() < 0.5:
        files = [file for file in files if file.name == "zarr.json"]
    for _ in range(1 if random.random() < 0.8 else 2):
        file = one_of(random, files).relative_to(original)
        place = opened(original, path, file)
        content = (original / file).read_bytes()
        place.unlink()
        kind = KINDS[int(random.integers(len(KINDS)))]
        if file.name != "zarr.json":
            kind(random, place, content, original / file)
        elif random.random() < 0.1:
            place.write_bytes(damaged(random, content))
        else:
            metadata(random, place, json.loads(content))
    read(random, path)


def read(random: Random, path: Path) -> None:
    """All that a reader can see of a store, some of it verified."""
    if random.random() < VERIFIED:
        repr(verify_store(path))
        return
    store = Store.open(path, aborted=bool(random.integers(2)))
    repr(store.header)
    store.table()
    store.digest()
    for number in range(len(store)):
        store.episode(number)
        store.truth(number)
        store.calls(number, ("samples", "embedding", "observation/hand"))


def opened(original: Path, path: Path, file: Path) -> Path:
    """A file of a copy that links to the original in all but this file and the folders on the way to it."""
    place = path
    for level in (Path("."), *reversed(file.parents[:-1])):
        place = path / level
        if place.is_symlink():
            place.unlink()
        if not place.exists():
            place.mkdir()
            for child in (original / level).iterdir():
                (place / child.name).symlink_to(child)
    return path / file


def metadata(random: Random, place: Path, content: Any) -> None:
    """Attributes of a group or metadata of an array, changed; the digest of attributes is mostly theirs."""
    if random.random() < 0.3:
        numbers(random, content)
    else:
        content = mutated(random, content)
    attributes = content.get("attributes") if isinstance(content, dict) else None
    if isinstance(attributes, dict) and "digest" in attributes and random.random() < RESEALED:
        attributes.pop("digest")
        try:
            write_group(place.parent, attributes, sealed=True)
            return
        except (ValueError, TypeError, RecursionError):
            pass
    place.write_bytes(encoded(random, content))


def numbers(random: Random, content: Any) -> None:
    """Another number somewhere."""
    places, waiting = [], [content]
    while waiting:
        holder = waiting.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            if isinstance(holder[key], (dict, list)):
                waiting.append(holder[key])
            elif type(holder[key]) is int:
                places.append((holder, key))
    if places:
        holder, key = one_of(random, places)
        holder[key] = one_of(random, INTEGERS)


def bytes_of_a_chunk(random: Random, place: Path, content: bytes, original: Path) -> None:
    place.write_bytes(damaged(random, content))


def header_of_a_chunk(random: Random, place: Path, content: bytes, original: Path) -> None:
    """Blosc's header says something else, and the checksum is right."""
    packed = bytearray(content[:-4])
    if random.random() < 0.5:
        at = int(one_of(random, (4, 8, 12)))
        size = int(one_of(random, (0, 1, len(packed), 2**20, 2**27, 2**31 - 1, 2**32 - 1)))
        packed[at : at + 4] = size.to_bytes(4, "little")
    else:
        packed[int(random.integers(16))] = int(random.integers(256))
    place.write_bytes(bytes(packed) + crc32c(bytes(packed)).to_bytes(4, "little"))


def content_of_a_chunk(random: Random, place: Path, content: bytes, original: Path) -> None:
    """What blosc packs is damaged, and packed again."""
    plain = damaged(random, bytes(numcodecs.blosc.decompress(content[:-4])))
    if random.random() < 0.3 and len(plain) > 8:
        at = int(random.integers(0, min(len(plain) - 4, 600)))
        plain = plain[:at] + int(one_of(random, (2**31 - 1, 2**32 - 1, 2**27))).to_bytes(4, "little") + plain[at + 4 :]
    place.write_bytes(packed_again(plain))


def values_of_a_chunk(random: Random, place: Path, content: bytes, original: Path) -> None:
    """A column holds other values of its kind; of arrays, any bytes."""
    kind = EPISODE_COLUMNS.get(original.parent.name, int if original.parent.name.endswith("_end") else None)
    if original.parent.parent.name != "episodes" or kind is None:
        content_of_a_chunk(random, place, content, original)
        return
    rows = 512
    if kind is str:
        values = np.array([text(random) for _ in range(4)], dtype=object)
    elif kind is float:
        values = random.choice([np.nan, np.inf, 0.5, -1e308], 4)
    elif kind is bool:
        place.write_bytes(packed_again(bytes(random.integers(0, 3, rows, dtype=np.uint8))))
        return
    else:
        values = np.array([one_of(random, INTEGERS) for _ in range(4)], dtype=np.int64)
    place.write_bytes(encode(values, rows)[0])


def text(random: Random) -> str:
    """Words, or JSON with all kinds of things in it."""
    if random.random() < 0.5:
        found = str(one_of(random, STRINGS))
    else:
        valid: Any = one_of(random, ([{"name": "slip", "channel": "physics"}], [[0, 1, 4]], [{"mode": "x", "step": 3}]))
        found = encoded(random, mutated(random, valid) if random.random() < 0.8 else anything(random)).decode(
            "utf-8", "replace"
        )
    return found.encode("utf-8", "replace").decode()


def no_chunk(random: Random, place: Path, content: bytes, original: Path) -> None:
    """Something else that is there, or nothing."""
    what = random.integers(4)
    if what == 0:
        place.mkdir()
    elif what == 1:
        os.mkfifo(place)
    elif what == 2:
        place.symlink_to("/dev/zero")


def packed_again(plain: bytes) -> bytes:
    packed = bytes(numcodecs.blosc.compress(plain, b"zstd", 1, numcodecs.blosc.NOSHUFFLE))
    return packed + crc32c(packed).to_bytes(4, "little")


KINDS: tuple[Callable[[Random, Path, bytes, Path], None], ...] = (
    bytes_of_a_chunk, header_of_a_chunk, content_of_a_chunk, values_of_a_chunk, values_of_a_chunk, no_chunk,
)  # fmt: skip
