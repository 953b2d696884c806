"""Labels: columns that are rewritten once the episodes are stored, all of one call or none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from workbench.store.arrays import StoredArray, column_array, uids_of
from workbench.store.layout import attributes_of, committed_rows, explained, parts_of, take_lock, write_group
from workbench.types import LABELS, Record


def write_labels(path: Path, labels: Mapping[str, Record], counting: Callable[[], None]) -> None:
    """Rewrite labels (uid -> column -> value) of a store; ``counting`` is called once they count.

    Raises StoreError if a part is being written, or the disk refuses.
    """
    with explained(f"labels of {path} cannot be written"), contextlib.ExitStack() as locks:
        locks.enter_context(take_lock(path))
        journal = attributes_of(path / "parts")
        pending: dict[str, Record] = {uid: dict(columns) for uid, columns in journal["pending"].items()}
        for uid, columns in labels.items():
            pending.setdefault(uid, {}).update(columns)
        rows_of = {folder: _rows_of(folder, pending) for folder in parts_of(path)}
        for folder, rows in rows_of.items():
            if rows:
                locks.enter_context(take_lock(folder))
        revision = journal["revision"] + 1
        write_group(path / "parts", {"revision": revision, "pending": pending})
        counting()
        with explained(f"labels of {path} count from now on but wait in parts/zarr.json for their columns"):
            for folder, rows in rows_of.items():
                _rewrite(folder, rows, pending)
            write_group(path / "parts", {"revision": revision, "pending": {}})


def _rows_of(part: Path, labels: Mapping[str, object]) -> dict[int, str]:
    """Row -> uid of those episodes of a part that have new labels."""
    return {row: uid for row, uid in uids_of(part).items() if uid in labels}


def _rewrite(part: Path, rows: Mapping[int, str], labels: Mapping[str, Record]) -> None:
    """Write new labels into a part's columns; doing it twice changes nothing."""
    for column in LABELS:
        new = {row: labels[uid][column] for row, uid in rows.items() if column in labels[uid]}
        if new:
            array = StoredArray(part / "episodes" / column)
            values = array.read(0, committed_rows(part))
            values[list(new)] = column_array(column, list(new.values()))
            array.overwrite(values)
