"""Tables in stores, corrections and counterfactual ones: as files, and as numbers that were put in place on purpose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzzing.mutations import damaged, mutated, one_of
from tests.fuzzing.stores import KINDS as OF_CHUNKS
from tests.fuzzing.stores import metadata, opened
from tests.synthetic import write_store
from workbench.recovery.corrections import KINDS, Corrections
from workbench.recovery.tables import CounterfactualTable
from workbench.store import Store, read_table, write_table

Random = np.random.Generator
Table = tuple[dict[str, np.ndarray], dict[str, Any]]
ODD = (0, 1, -1, 2, 5, 7, 48, 96, 97, 127, 2**15 - 1, 2**31 - 1, -(2**31), 0.5, np.nan, np.inf, -1e308)
TYPES = ("int8", "uint8", "int16", "int64", "uint64", "float32", "float64", "bool")
BRANCHES, DEADLINE = 4, 48
READERS = {"corrections": Corrections, "counterfactual": CounterfactualTable}


def prepare(folder: Path) -> tuple[Path, dict[str, Table]]:
    """A store with both tables, and what is in them."""
    store = Store.open(write_store(folder / "a.zarr", counts={"fit": 2, "test": 2}))
    _corrections(store).save(store)
    _counterfactual(store).save(store)
    return store.path, {name: read_table(store.path, name) for name in READERS}


def _corrections(store: Store) -> Corrections:
    """Every kind of candidate from two calls of two failures."""
    random, failed = np.random.default_rng(0), np.flatnonzero(~store.episodes["success"].astype(bool))[:2]
    cells = [(episode, step, kind) for episode in range(2) for step in (8, 32) for kind in range(len(KINDS))]
    episode, step, kind = np.array(cells).T
    ended = random.integers(0, 2 * DEADLINE, (len(cells), BRANCHES))
    return Corrections(
        tuple(store.uids[number] for number in failed), ("slip", "knocked"), "toy", DEADLINE, 2 * DEADLINE,
        episode, step, kind, random.normal(size=(len(cells), 7)), random.integers(0, 30, len(cells)), ended,
        ended[:, 0], step < 32,
    )  # fmt: skip


def _counterfactual(store: Store) -> CounterfactualTable:
    """Two arms from two calls of two episodes."""
    random, uids = np.random.default_rng(1), tuple(store.uids[:2])
    arms = {name: random.integers(-1, 2 * DEADLINE, (4, BRANCHES)) for name in ("placebo", "expert")}
    return CounterfactualTable(
        uids, DEADLINE, 2 * DEADLINE, np.array([30, 0]), np.array([30, 60]), np.array([0, 0, 1, 1]),
        np.array([0, 8, 0, 8]), arms, dict.fromkeys(arms, np.ones(4, bool)), made_of={"strategies": {"placebo": {}}},
    )  # fmt: skip


def attempt(prepared: tuple[Path, dict[str, Table]], random: Random, folder: Path) -> None:
    original, tables = prepared
    path, name = folder / "a.zarr", one_of(random, sorted(tables))
    if random.random() < 0.5:
        _file(random, original, path, name)
    else:
        _numbers(random, original, path, name, tables[name])
    found = READERS[name].load(Store.open(path))
    found.rows_of_table()
    if isinstance(found, Corrections):
        json.dumps(found.record())
        found.verified(found.deadline)
    else:
        [episode.share(arm, found.horizon) for episode in found.outcomes() for arm in found.arms]


def _file(random: Random, original: Path, path: Path, name: str) -> None:
    """A file of the table is another one."""
    files = sorted(file for file in (original / "tables" / name).rglob("*") if file.is_file())
    file = one_of(random, files).relative_to(original)
    place, content = opened(original, path, file), (original / file).read_bytes()
    place.unlink()
    if file.name != "zarr.json":
        one_of(random, OF_CHUNKS)(random, place, content, original / file)
    elif random.random() < 0.2:
        place.write_bytes(damaged(random, content))
    else:
        metadata(random, place, json.loads(content))


def _numbers(random: Random, original: Path, path: Path, name: str, table: Table) -> None:
    """A whole table with other numbers, or other words, as somebody would who means it."""
    (opened(original, path, Path("tables", "zarr.json")).parent / name).unlink()
    arrays, said = {key: values.copy() for key, values in table[0].items()}, table[1]
    for _ in range(random.integers(0, 3)):
        _change(random, arrays)
    if random.random() < 0.5:
        said = mutated(random, said)
        try:
            json.dumps(said, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, TypeError, RecursionError):
            said = table[1]  # words that no JSON holds
    write_table(path, name, arrays, said)


def _change(random: Random, arrays: dict[str, np.ndarray]) -> None:
    """One column holds an odd number, is of another type or shape, has another name, or is gone."""
    key, what = one_of(random, sorted(arrays)), random.random()
    values = arrays[key]
    if what < 0.7 and values.size:
        with np.errstate(all="ignore"):
            values.reshape(-1)[random.integers(values.size)] = np.array(one_of(random, ODD)).astype(values.dtype)
    elif what < 0.8:
        with np.errstate(all="ignore"):
            arrays[key] = values.astype(one_of(random, TYPES))
    elif what < 0.87:
        arrays[key] = values[:, :-1] if values.ndim > 1 else values[:, None]
    elif what < 0.93:
        arrays |= {each: rows[: len(rows) // 2] for each, rows in arrays.items() if each == key or what < 0.9}
    elif what < 0.97:
        arrays[f"{key}_"] = arrays.pop(key)
    else:
        del arrays[key]
