"""Labels: columns that are rewritten once the episodes are stored, all of one call or none."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from workbench.store.layout import (
    Manifest,
    explained,
    parts_of,
    read_header,
    read_manifest,
    remove_partials,
    take_lock,
    write_manifest,
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
        manifest = finish_labels(path, read_manifest(path, sealed), sealed)
        touched = [folder for folder in parts_of(path) if _holds_any(Part(folder, sealed), labels)]
        for folder in touched:
            locks.enter_context(take_lock(folder))
            remove_partials(folder)
        parts = [Part(folder, sealed) for folder in touched]
        columns = [part.labelled(labels, manifest) for part in parts]
        manifest = dataclasses.replace(
            manifest,
            revision=manifest.revision + 1,
            pending={uid: dict(given) for uid, given in labels.items()},
            sealed={part.folder.name: part.checksums(found) for part, found in zip(parts, columns, strict=True)},
        )
        write_manifest(path, manifest, sealed)
        counting()
        with explained(f"labels of {path} count from now on but wait in parts/zarr.json for their columns"):
            for part, found in zip(parts, columns, strict=True):
                part.rewrite(found)
            _clear(path, manifest, sealed)


def _holds_any(part: Part, labels: Mapping[str, Record]) -> bool:
    return not labels.keys().isdisjoint(part.uids().values())


def finish_labels(path: Path, manifest: Manifest, sealed: bool) -> Manifest:
    """Put pending labels into their columns; doing it twice changes nothing.

    Whoever calls it holds the store's lock.  The parts' own locks are not needed: whoever wrote the manifest held them,
    and a writer of such a part calls this before anything else.
    """
    if not manifest.pending:
        return manifest
    for folder in parts_of(path):
        if folder.name in manifest.sealed or not sealed:
            remove_partials(folder)
            part = Part(folder, sealed)
            part.rewrite(part.labelled(manifest.pending, manifest))
    return _clear(path, manifest, sealed)


def _clear(path: Path, manifest: Manifest, sealed: bool) -> Manifest:
    """Note that all labels are in their columns."""
    done = dataclasses.replace(manifest, pending={}, sealed={})
    write_manifest(path, done, sealed)
    return done


def register(path: Path, own: Path, sealed: bool) -> None:
    """Note in the manifest which parts there are and how many episodes they have; ``own`` is the caller's.

    So a part that is lost, or one that is put back from an older copy, is noticed.  Labels on their way are finished
    first.
    """
    with contextlib.closing(take_lock(path, STORE_WAIT_S)):
        manifest = finish_labels(path, read_manifest(path, sealed), sealed)
        found = open_parts(path, manifest, sealed)
        noted = {
            part.folder.name: part.rows
            for part in found
            if part.folder == own or part.folder.name not in manifest.parts
        }
        if sealed and not noted.items() <= manifest.parts.items():
            write_manifest(path, dataclasses.replace(manifest, parts={**manifest.parts, **noted}), sealed)
