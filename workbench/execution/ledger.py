"""What was done, with which settings: the one memory of everything that resumes.

A ledger is a JSON file of items.  Each has the settings that it was made with, whether it ended, the seconds that it
took and a record of what came out.  Whatever goes on asks here first, so that results of other settings are named and
refused or set aside, and never mixed.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from workbench.config.files import locked, write_text
from workbench.errors import OtherSettingsError, StoreError
from workbench.types import Record
from workbench.types.reading import Between, Source, checked, read_json


@dataclasses.dataclass(frozen=True)
class Entry:
    """One item of a ledger.

    Attributes
    ----------
    made_with : its settings, plain data.
    ended : whether it was finished.
    seconds : spent on it, interrupted attempts at the same thing included.
    record : what came out, plain data.
    """

    made_with: Any
    ended: bool = False
    seconds: Annotated[float, Between(0, 1e12)] = 0.0
    record: Any = None


def _of_today(row: Record) -> Record:
    """An entry as it is written today; earlier versions called the settings of a stage its fingerprint."""
    return {"made_with" if key == "fingerprint" else key: value for key, value in row.items()}


class Ledger:
    """Items by key in one JSON file, written whole at every change.

    Parameters
    ----------
    path : the file, which is made at the first entry; None keeps the items in memory alone.
    shown : how messages call it.
    remedy : what a person can do where an item was made with other settings.

    Raises
    ------
    StoreError
        if the file is damaged.
    """

    def __init__(
        self, path: Path | None, shown: str = "", remedy: str = "choose another name=..., or move it away"
    ) -> None:
        self.path, self.shown, self.remedy = path, shown or (path.name if path else ""), remedy
        self.source = Source(
            self.shown,
            StoreError,
            "it is damaged, or of an earlier version: move it away, and what it says is done again",
        )
        self._entries = self._read()
        self._before: dict[str, Entry | None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def entry(self, key: str) -> Entry | None:
        """The last attempt at an item; None if there was none."""
        return self._entries.get(key)

    def holds(self, key: str, made_with: Any) -> bool:
        """Whether an item is finished; OtherSettingsError if it was made, or begun, with other settings."""
        entry = self._entries.get(key)
        if entry is None:
            return False
        refuse_other(self.shown, entry.made_with, made_with, self.remedy)
        return entry.ended

    def records(self) -> dict[str, Any]:
        """Key -> record of every finished item, by the order of the keys."""
        return {key: entry.record for key, entry in sorted(self._entries.items()) if entry.ended}

    def seconds(self) -> dict[str, float]:
        """Key -> seconds of every item when it was last done, in the order in which they were first begun."""
        return {key: entry.seconds for key, entry in self._entries.items()}

    def put(self, key: str, made_with: Any, record: Any = None, seconds: float = 0.0) -> None:
        """Note a finished item."""
        entry = Entry(made_with, True, seconds, record)
        if self._entries.get(key) != entry:
            self._entries[key] = entry
            self._write(key)

    def begin(self, key: str, made_with: Any, record: Any = None) -> None:
        """Note an attempt; seconds of an interrupted attempt at the same thing are kept."""
        before = self._before[key] = self._entries.get(key)
        again = before is not None and before.made_with == made_with and not before.ended
        self._entries[key] = Entry(made_with, False, before.seconds if before and again else 0.0, record)
        self._write(key)

    def end(self, key: str, seconds: float, record: Any = None) -> None:
        """Note that what was begun is done."""
        entry = self._entries[key]
        whole = round(entry.seconds + seconds, 2)
        self._entries[key] = dataclasses.replace(entry, ended=True, seconds=whole, record=record)
        self._write(key)

    def take_back(self, key: str) -> None:
        """Forget the last attempt at an item; the one before it counts again."""
        before = self._before.pop(key)
        self._entries.pop(key)
        if before is not None:
            self._entries[key] = before
        self._write(key)

    def forget(self, key: str) -> None:
        """Forget an item."""
        if self._entries.pop(key, None) is not None:
            self._write(key)

    def _read(self) -> dict[str, Entry]:
        if self.path is None or not self.path.exists():
            return {}
        rows = checked(dict[str, dict[str, Any]], read_json(self.path, self.source, infinite=True), self.source)
        return {key: checked(Entry, _of_today(row), self.source, key) for key, row in rows.items()}

    def _write(self, key: str) -> None:
        """Change one item of the file; what other processes have changed of it since stays."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.parent):
            entries = self._read() if self.path.exists() else self._entries
            if key in self._entries:
                entries[key] = self._entries[key]
            else:
                entries.pop(key, None)
            self._entries = entries
            write_text(
                self.path, json.dumps({key: dataclasses.asdict(entry) for key, entry in entries.items()}, indent=1)
            )


UNDECIDING = frozenset({"device", "save_every", "publish"})
"""Settings of jobs and trainers that cannot change what comes out: where it is computed, how often it is saved."""


def deciding(settings: Any) -> Any:
    """Settings without those, at any depth, that cannot change what comes out."""
    if isinstance(settings, Mapping):
        return {key: deciding(value) for key, value in settings.items() if key not in UNDECIDING}
    return settings


def refuse_other(what: str, before: Any, now: Any, remedy: str) -> None:
    """Raise an OtherSettingsError that names what differs; nothing where both are alike."""
    before, now = plain(before), plain(now)
    if before == now:
        return
    changed = differing(before, now)
    raise OtherSettingsError(f"{what} was made with another {' and '.join(changed) or 'configuration'}; {remedy}")


def plain(value: Any) -> Any:
    """Plain data as it comes back from JSON, so that a tuple equals the list that was stored of it."""
    return json.loads(json.dumps(value, default=str))


def differing(before: Any, now: Any, path: str = "") -> list[str]:
    """Dotted keys whose values differ between two mappings; a mapping that stands alone counts as one key."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return [path] if before != now and path else []
    found = []
    for key in dict.fromkeys([*before, *now]):
        below = f"{path}.{key}" if path else str(key)
        if key in before and key in now:
            found += differing(before[key], now[key], below)
        else:
            found.append(below)
    return found


def set_aside(path: Path) -> Path | None:
    """Rename what other settings made, so that it is neither mixed in nor lost; None where there is nothing."""
    if not path.exists():
        return None
    stamp = f"{path.stem}.before-{time.strftime('%Y%m%d-%H%M%S')}"
    kept, number = path.with_name(f"{stamp}{path.suffix}"), 1
    while kept.exists():
        kept, number = path.with_name(f"{stamp}-{number}{path.suffix}"), number + 1
    path.rename(kept)
    return kept
