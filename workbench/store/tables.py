"""Tables of numbers that were computed from a store's episodes: a group of their own, put in place as a whole.

::

    <name>.zarr/tables/<table>/zarr.json       attributes: the About: what the table is, and its arrays' seals
    <name>.zarr/tables/<table>/cells/<array>   (rows, ...)

A table is built beside its place and renamed into it, so that it is whole or not there.  Episodes and labels know
nothing of it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np

from workbench.config.files import replacing
from workbench.errors import OtherSettingsError, StoreError, UnknownNameError
from workbench.store.arrays import StoredArray, create_array
from workbench.store.layout import (
    PART,
    Seal,
    Whole,
    attributes_of,
    damaged,
    explained,
    read_header,
    source_of,
    unsealed,
    write_group,
)
from workbench.types import Array, Record
from workbench.types.reading import Like, Size, Source, checked

CELLS = "cells"
_Name = Annotated[str, Size(1, 200), Like(PART.pattern, "letters, digits and '_.-', no dot first")]


@dataclasses.dataclass(frozen=True)
class About:
    """What a table is.

    Attributes
    ----------
    rows : of every array.
    arrays : name -> its seal.
    said : plain data of whoever wrote it: what the rows are, and what they were made with.
    """

    rows: Whole
    arrays: Annotated[dict[_Name, Seal], Size(0, 10_000)]
    said: Record


def table_names(store: Path) -> list[str]:
    """Names of a store's tables."""
    return sorted(folder.name for folder in (store / "tables").glob("[!.]*") if folder.is_dir())


def write_table(store: Path, name: str, arrays: Mapping[str, Array], said: Record, overwrite: bool = False) -> Path:
    """Put a table of numbers into a store; all its arrays have one row a cell.

    Raises
    ------
    StoreError
        if there is no such store, an array cannot be stored, or the disk refuses.
    OtherSettingsError
        if there is a table of that name already, unless ``overwrite`` replaces it.
    """
    if not PART.fullmatch(name):
        raise StoreError(f"{name!r} cannot name a table of a store; use letters, digits, '_', '-' and '.'")
    rows = {len(values) for values in arrays.values()}
    if len(rows) > 1:
        raise StoreError(f"the arrays of table {name} have different lengths {sorted(rows)}; one row a cell is needed")
    place = store / "tables" / name
    with explained(f"table {name} of {store} cannot be written"):
        sealed = read_header(store).sealed
        if place.exists() and not overwrite:
            raise OtherSettingsError(f"{store} has a table {name}; choose another name, or overwrite=true replaces it")
        if not (store / "tables" / "zarr.json").exists():
            write_group(store / "tables", {})
        with replacing(place) as new:
            new.mkdir()
            write_group(new / CELLS, {})
            seals = {key: _write(new, key, values, sealed) for key, values in arrays.items()}
            about = About(max(rows, default=0), seals, json.loads(json.dumps(said)))
            write_group(new, _plain(about), sealed=True)
    return place


def _write(folder: Path, key: str, values: Array, sealed: bool) -> Seal:
    if values.dtype.kind not in "biuf":
        raise StoreError(f"array {key} is {values.dtype}; a table holds numbers")
    create_array(folder, f"{CELLS}/{key}", str(values.dtype), values.shape[1:], sealed)
    array = StoredArray(folder, f"{CELLS}/{key}", sealed)
    if len(values):
        array.append(np.ascontiguousarray(values))
    return array.seal()


def _plain(about: About) -> Record:
    return {"rows": about.rows, "arrays": {key: vars(seal) for key, seal in about.arrays.items()}, "said": about.said}


def check_columns(
    arrays: Mapping[str, Array], wanted: Mapping[str, tuple[str, tuple[int, ...]]], source: Source
) -> None:
    """Refuse arrays of a table of another type or shape: column -> its type, and its shape behind the rows."""
    for key, (kind, trailing) in wanted.items():
        found = str(arrays[key].dtype), arrays[key].shape[1:]
        if found != (kind, trailing):
            raise source.wrong(f"has {key} as {found[0]} of shape {found[1]} a row, and not as {kind} of {trailing}")


def read_table(store: Path, name: str) -> tuple[dict[str, Array], Record]:
    """Arrays of a table, and what was said of it.

    Raises
    ------
    UnknownNameError
        if there is no such table.
    StoreError
        if it is damaged.
    """
    if name not in table_names(store):
        raise UnknownNameError(f"table of {store.name}", name, table_names(store))
    place = store / "tables" / name
    with explained(f"table {name} of {store} cannot be read"):
        sealed = read_header(store).sealed
        source = source_of(place / "zarr.json")
        about: About = checked(About, unsealed(place, attributes_of(place)), source)
        found = {}
        for key, seal in about.arrays.items():
            if seal.rows != about.rows:
                raise damaged(place / CELLS / key, f"it has {seal.rows} rows, and the table {about.rows}")
            found[key] = StoredArray(place, f"{CELLS}/{key}", sealed, seal).read(0, about.rows)
    return found, about.said
