"""Labels: columns that are rewritten once the episodes are stored, all of one call or none."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from workbench.store.layout import (
    Journal,
    explained,
    parts_of,
    read_header,
    read_journal,
    remove_partials,
    take_lock,
    write_journal,
)
from workbench.store.parts import Part, open_parts
from workbench.types import Record

STORE_WAIT_S = 60.0
"""How long a writer that opens or closes its part waits for whoever annotates the store."""


def write_labels(path: Path, labels: Mapping[str, Record], counting: Callable[[], None]) -> None:
    """Rewrite labels (uid -> column -> value) of a store; ``counting`` is called once they count.

    Raises StoreError if a part is being written, or the disk refuses.
    """
    with explained(f"labels of {path} cannot be written"), contextlib.ExitStack() as locks:
        locks.enter_context(take_lock(path))
        remove_partials(path / "parts", deep=False)
        sealed = read_header(path).sealed
        journal = read_journal(path, sealed)
        pending = {
            uid: {**journal.pending.get(uid, {}), **labels.get(uid, {})} for uid in {**journal.pending, **labels}
        }
        touched = {folder: _holds_any(Part(folder, sealed), labels) for folder in parts_of(path)}
        for folder, new in touched.items():
            if new:
                locks.enter_context(take_lock(folder))
                remove_partials(folder)
        parts = [Part(folder, sealed) for folder, new in touched.items() if new or folder.name in journal.sealed]
        journal = Journal(
            revision=journal.revision + 1,
            pending=pending,
            sealed={part.folder.name: part.checksums(part.labelled(pending, journal)) for part in parts},
            parts=journal.parts,
        )
        write_journal(path, journal, sealed)
        counting()
        with explained(f"labels of {path} count from now on but wait in parts/zarr.json for their columns"):
            finish_labels(path, journal, sealed)


def _holds_any(part: Part, labels: Mapping[str, Record]) -> bool:
    return not labels.keys().isdisjoint(part.uids().values())


def finish_labels(path: Path, journal: Journal, sealed: bool) -> Journal:
    """Put pending labels into their columns; doing it twice changes nothing.

    Whoever calls it holds the store's lock.  The parts' own locks are not needed: whoever wrote the journal held them,
    and a writer of such a part calls this before anything else.
    """
    if not journal.pending:
        return journal
    for folder in parts_of(path):
        if folder.name in journal.sealed or not sealed:
            remove_partials(folder)
            part = Part(folder, sealed)
            part.rewrite(part.labelled(journal.pending, journal))
    done = dataclasses.replace(journal, pending={}, sealed={})
    write_journal(path, done, sealed)
    return done


def register(path: Path, own: Path, sealed: bool) -> None:
    """Note in the journal which parts there are and how many episodes they have; ``own`` is the caller's.

    So a part that is lost, or one that is put back from an older copy, is noticed.  Labels on their way are finished
    first.
    """
    with contextlib.closing(take_lock(path, STORE_WAIT_S)):
        journal = finish_labels(path, read_journal(path, sealed), sealed)
        found = open_parts(path, journal, sealed)
        noted = {
            part.folder.name: part.rows for part in found if part.folder == own or part.folder.name not in journal.parts
        }
        if sealed and not noted.items() <= journal.parts.items():
            write_journal(path, dataclasses.replace(journal, parts={**journal.parts, **noted}), sealed)
