"""Reading: all committed episodes of a store, of all parts, in an order that depends on nobody's work."""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.config.files import data_path
from workbench.errors import StoreError, UnknownNameError
from workbench.store.arrays import StoredArray, column_array
from workbench.store.labels import write_labels
from workbench.store.layout import ENDS, STORED_COLUMNS, checked_value, explained, read_header, read_manifest
from workbench.store.parts import Part, open_parts, refuse_columns
from workbench.types import (
    ABORTED,
    COLUMNS,
    EPISODE_COLUMNS,
    LABELS,
    OBSERVATION,
    RECENT,
    SIGNALS,
    SPLITS,
    Array,
    Column,
    Episode,
    EpisodeCalls,
    EpisodeTruth,
    Record,
    Split,
    split_of,
)

if TYPE_CHECKING:
    import pandas as pd

_CACHED_CHUNKS = 512


def open_store(store: str | Path) -> Store:
    """A store by its name in ``datasets/``, or by its path; StoreError if there is none or it is damaged."""
    return Store.open(data_path(store))


class Store:
    """All committed episodes of a store, of all parts, as they were when it was opened.

    Their order is by (index, perturbation, uid), so it does not depend on who wrote what.  Of episodes with the same
    uid in several parts, the first part's is taken.

    Aborted episodes, whose policy was lost on the way, tell nothing of how the policy does: they are left out, unless
    they are asked for, and then come last.  One that was rolled anew since is gone.

    Attributes
    ----------
    aborted : how many episodes were aborted and not rolled anew.
    """

    def __init__(self, path: Path, aborted: bool = False) -> None:
        self.path = path
        self._with_aborted = aborted
        with explained(f"{path} cannot be read"):
            self.header = read_header(path)
            self._load()
        self._chunk = functools.lru_cache(maxsize=_CACHED_CHUNKS)(StoredArray.chunk)
        self._array = functools.cache(Part.array)
        self._keys = functools.cache(Part.names)

    @classmethod
    def open(cls, path: Path, aborted: bool = False) -> Store:
        """Open for reading; raises StoreError if it is missing, no store, damaged, or of another schema.

        ``aborted`` says whether aborted episodes are among its episodes.
        """
        return cls(path, aborted)

    def __len__(self) -> int:
        return len(self._place)

    def __repr__(self) -> str:
        failed = int((~self._columns["success"]).sum())
        return f"Store({str(self.path)!r}: {len(self)} episodes of {self.header.task}, {failed} failed)"

    @property
    def episodes(self) -> dict[str, Array]:
        """Column -> (N,) values, read-only: int64, float64, bool, or str objects; the columns are EPISODE_COLUMNS."""
        return {name: self._columns[name] for name in EPISODE_COLUMNS}

    @property
    def uids(self) -> tuple[str, ...]:
        """Uids, in order."""
        return tuple(self._columns["uid"])

    def table(self, split: Split | None = None) -> pd.DataFrame:
        """One row an episode, by its number; all columns of :data:`workbench.types.COLUMNS`, with pandas' own types.

        What was not measured, and what there is nothing of (no perturbation struck, no nominal twin), is missing
        (``pd.NA``) instead of -1, 0 or "".

        Parameters
        ----------
        split : of the episodes; None for all.
        """
        import pandas as pd

        if split is not None and split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
        numbers = pd.RangeIndex(len(self), name="episode")
        table = pd.DataFrame({column.name: _series(column, self._columns[column.name]) for column in COLUMNS})
        table = table.set_index(numbers)
        return table if split is None else table[table["split"] == split]

    def number_of(self, episode: int | str) -> int:
        """Number of an episode that is given by number or by uid; UnknownNameError if there is none."""
        text = str(episode)
        if text.isdigit() and int(text) < len(self):
            return int(text)
        if text in self.uids:
            return self.uids.index(text)
        raise UnknownNameError(f"episode (or number in 0..{len(self) - 1})", text, self.uids[:5])

    def episode(self, number: int, steps: Sequence[str] | None = None, calls: Sequence[str] | None = None) -> Episode:
        """The ``number``-th episode, equal to the one that was appended, with the labels of today.

        ``steps`` and ``calls`` are names or patterns (``"obs/*"``) of the arrays to read: None for all, () for none.
        The memory is read along with ``state``, as only both together are a snapshot; without it it is (T, 0).
        """
        part, row = self._place[number]
        record = {name: kind(self._columns[name][number]) for name, kind in EPISODE_COLUMNS.items()}
        arrays = self._read_group(part, row, "steps", steps)
        memory = np.zeros((record["length"], 0))
        if "state" in arrays:
            values = self._read_rows(part, "memory/values", *self._span(part, "memory", row))
            memory = values.reshape(record["length"], -1)
        return Episode(record=record, steps=arrays, calls=self._read_group(part, row, "calls", calls), memory=memory)

    def step_names(self, number: int) -> list[str]:
        """Names of the arrays that are kept of every control step of an episode."""
        part, _ = self._place[number]
        return list(self._keys(part, "steps"))

    def calls(self, number: int, needs: Collection[str] | None = None) -> EpisodeCalls:
        """The policy calls of one episode, as a detector may see them.

        ``needs`` are what is read beyond steps and chunks, in the words of :class:`workbench.types.Scorer`; None for
        all that calls hold, and no observation.  Raises StoreError if the episode has no calls.
        """
        part, row = self._place[number]
        uid = self._columns["uid"][number]
        first, last = self._span(part, "calls", row)
        if first == last:
            raise StoreError(f"episode {uid} of {self.path} holds no policy calls; no detector can be run on it")
        kept = set(self._keys(part, "calls")) - {"seconds"}
        if missing := {"step", "chunk"} - kept:
            raise StoreError(f"the calls of episode {uid} of {self.path} lack {' and '.join(sorted(missing))}")
        arrays = self._read_group(
            part, row, "calls", sorted(kept if needs is None else kept & {"step", "chunk", *needs})
        )
        return EpisodeCalls(
            uid=uid,
            split=split_of(int(self._columns["index"][number])),
            step=arrays["step"],
            chunk=arrays["chunk"],
            samples=arrays.get("samples"),
            embedding=arrays.get("embedding"),
            execute=int(self._columns["execute"][number]),
            instruction=str(self._columns["instruction"][number]),
            signals={key.removeprefix(SIGNALS): rows for key, rows in arrays.items() if key.startswith(SIGNALS)},
            observation=self._recently(part, row, arrays["step"], needs or ()),
        )

    def _recently(self, part: Part, row: int, called: Array, needs: Collection[str]) -> dict[str, Array]:
        """What the robot saw at the last control steps before every call, of those keys that are needed and kept."""
        wanted = [f"obs/{need.removeprefix(OBSERVATION)}" for need in needs if need.startswith(OBSERVATION)]
        kept = self._keys(part, "steps")
        steps = self._read_group(part, row, "steps", [key for key in wanted if key in kept])
        at = np.maximum(called[:, None] + np.arange(1 - RECENT, 1), 0)
        return {key.removeprefix("obs/"): rows[np.minimum(at, len(rows) - 1)] for key, rows in steps.items()}

    def truth(self, number: int) -> EpisodeTruth:
        """What the simulator knows of one episode, with the labels of today."""
        row = {name: self._columns[name][number] for name in EPISODE_COLUMNS}
        episode = self.episode(number, steps=("stage",), calls=("step",))
        called, stage = episode.calls["step"], episode.steps["stage"]
        return EpisodeTruth(
            uid=str(row["uid"]),
            success=bool(row["success"]),
            family="+".join(sorted({record["channel"] for record in json.loads(row["perturbations"])})),
            perturbation=str(row["perturbation"]),
            length=int(row["length"]),
            deadline=self.header.deadline,
            t_on=int(row["t_on"]),
            t_pnr=int(row["t_pnr"]),
            # A row's stage is that after its action, so a call's is that of the row before.
            stage=np.where(called > 0, stage[np.maximum(called - 1, 0)], 0),
            values=np.array(json.loads(row["values"]), dtype=np.int64).reshape(-1, 3),
        )

    def annotate(self, which: int | str, **columns: Any) -> None:
        """Rewrite labels of one episode, given by number or uid; see :meth:`annotate_many`."""
        self.annotate_many({which if isinstance(which, str) else self.uids[which]: columns})

    def annotate_many(self, labels: Mapping[str, Mapping[str, Any]]) -> None:
        """Rewrite labels (uid -> column -> value): whatever happens, either all of them count afterwards or none.

        Raises StoreError for an unknown uid, a column that is none of LABELS, or a part that is being written.
        """
        checked = {uid: self._checked(uid, columns) for uid, columns in labels.items()}
        write_labels(self.path, checked, counting=lambda: self._lay_over(checked))

    def digest(self, labels: bool = True) -> str:
        """Digest of all episodes, their content and, unless they play no part, their labels, for caches.

        Neither parts nor chunks nor ``calls/seconds`` (wall-clock time) play a part: the same run by more workers has
        the same digest.  Nor do later columns of which nothing is known, so that it is that of earlier versions.
        """
        header = [self.header.task, self.header.control_hz, self.header.deadline]
        columns = {name: self._columns[name].tolist() for name in (*EPISODE_COLUMNS, "content")}
        columns = {name: values for name, values in columns.items() if labels or name not in LABELS}
        for column in COLUMNS:
            if column.later and set(columns.get(column.name, ())) <= {column.default}:
                columns.pop(column.name, None)
        return hashlib.sha256(json.dumps([header, columns], sort_keys=True).encode()).hexdigest()

    def digest_of(self, uids: Collection[str]) -> str:
        """Digest of what some episodes hold, without their labels: what was computed from them is about these."""
        content = {uid: str(self._columns["content"][self._number[uid]]) for uid in uids}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _load(self) -> None:
        """Read all columns, again if somebody annotates meanwhile."""
        while True:
            manifest = read_manifest(self.path, self.header.sealed)
            try:
                parts = open_parts(self.path, manifest, self.header.sealed)
                read = {part: part.columns(manifest) for part in parts}
            except StoreError:  # perhaps only because its labels have just been rewritten
                if read_manifest(self.path, self.header.sealed).revision == manifest.revision:
                    raise
            else:
                if read_manifest(self.path, self.header.sealed).revision == manifest.revision:
                    break
        for part, found in read.items():
            refuse_columns(part.folder, found)
        self._ends = {part: {name: found[name] for name in ENDS.values()} for part, found in read.items()}
        columns = {
            name: np.concatenate([column_array(name, []), *(found[name] for found in read.values())])
            for name in STORED_COLUMNS
        }
        place = [(part, row) for part in parts for row in range(part.rows)]
        lost = columns["outcome"] == ABORTED
        first: dict[str, int] = {}
        for at in (*np.flatnonzero(~lost), *np.flatnonzero(lost)):
            first.setdefault(columns["uid"][at], int(at))
        self.aborted = sum(bool(lost[at]) for at in first.values())
        keys = [lost, *(columns[name] for name in ("index", "perturbation", "uid"))]
        order = sorted(first.values(), key=lambda at: tuple(key[at] for key in keys))
        order = order if self._with_aborted else order[: len(order) - self.aborted]
        self._place = [place[at] for at in order]
        self._columns = {name: _frozen(values[order]) for name, values in columns.items()}
        self._number = {uid: number for number, uid in enumerate(self.uids)}

    def _lay_over(self, labels: Mapping[str, Mapping[str, Any]]) -> None:
        for column in sorted({column for columns in labels.values() for column in columns}):
            values = self._columns[column].copy()
            for uid, columns in labels.items():
                if uid in self._number and column in columns:
                    values[self._number[uid]] = columns[column]
            self._columns[column] = _frozen(values)

    def _checked(self, uid: str, columns: Mapping[str, Any]) -> Record:
        if uid not in self._number or self._columns["outcome"][self._number[uid]] == ABORTED:
            raise StoreError(f"{self.path} holds no episode {uid!r} that can be labelled; see Store.uids")
        for column in columns:
            if column not in LABELS:
                raise StoreError(f"column {column!r} is no label and cannot be rewritten; labels: {', '.join(LABELS)}")
        if columns.get("outcome") == ABORTED:
            raise StoreError(f"episode {uid} was not aborted, and no label makes it so")
        return {column: checked_value(column, value) for column, value in columns.items()}

    def _read_group(self, part: Part, row: int, group: str, patterns: Sequence[str] | None) -> dict[str, Array]:
        """Arrays of one episode whose names match; an episode without rows has none."""
        first, last = self._span(part, group, row)
        if first == last:
            return {}
        known = self._keys(part, group)
        for pattern in patterns or ():
            if not fnmatch.filter(known, pattern):
                raise UnknownNameError(f"array of {self.path}/{group}", pattern, known)
        wanted = [key for key in known if patterns is None or any(fnmatch.fnmatchcase(key, p) for p in patterns)]
        return {key: self._read_rows(part, f"{group}/{key}", first, last) for key in wanted}

    def _read_rows(self, part: Part, name: str, first: int, last: int) -> Array:
        return self._array(part, name).read(first, last, self._chunk)

    def _span(self, part: Part, group: str, row: int) -> tuple[int, int]:
        """First row and one past the last row of an episode in a group."""
        ends = self._ends[part][ENDS[group]]
        return int(ends[row - 1]) if row else 0, int(ends[row])


def _frozen(values: Array) -> Array:
    values.flags.writeable = False
    return values


def _series(column: Column, values: Array) -> pd.Series[Any]:
    """A column for pandas, missing where it says that there is nothing."""
    import pandas as pd

    if column.default is None:
        return pd.Series(values, dtype="string" if column.kind is str else column.kind)
    series = pd.Series(values, dtype={str: "string", int: "Int64", float: "Float64"}[column.kind])
    return series.mask(series == column.default)
