"""Drawn faults as an episode's column ``perturbations`` holds them: JSON, checked for what every reader goes by.

What is in a record beyond that is checked where the fault is made of it, for that depends on the fault and the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from workbench.errors import StoreError
from workbench.types.data import Array, Record
from workbench.types.reading import NAME, Size, Source, checked, parsed

MOST = 100
"""Faults of one episode."""
UNITS: Mapping[str, str] = {
    "_fraction": "", "_scale": "", "_m": "m", "_rad": "rad", "_n": "N", "_nm": "N m", "_s": "s", "_steps": "steps",
    "_probability": "",
}  # fmt: skip
"""How the names of a fault's magnitudes end, and their units; "" for a ratio."""
_Faults = Annotated[list[dict[str, Any]], Size(0, MOST)]


def faults_in(text: str, where: str) -> tuple[Record, ...]:
    """Records of an episode's faults, each with a ``name`` and a ``channel``.

    Parameters
    ----------
    where : how errors call it.

    Raises
    ------
    StoreError
        If the text is no list of such records.
    """
    source = Source(where, StoreError, "the store is damaged, or was not written by the workbench")
    records: list[Record] = checked(_Faults, parsed(text, source), source)
    for number, record in enumerate(records):
        for key in ("name", "channel"):
            checked(NAME, record.get(key), source, f"[{number}].{key}")
        checked(str, record.get("target", ""), source, f"[{number}].target")
    return tuple(records)


def magnitudes_in(record: Record) -> dict[str, Array]:
    """Name -> number or numbers of how large a drawn fault is, with its unit at the end; StoreError for others."""
    source = Source(f"the record of perturbation {record['name']}", StoreError)
    kind, endings = float | list[float] | list[list[float]], tuple(UNITS)
    drawn = {key: value for key, value in record.items() if key.endswith(endings) and value is not None}
    return {key: np.asarray(checked(kind, value, source, key), float) for key, value in drawn.items()}


def unit_of(magnitude: str) -> str:
    """Unit of a magnitude, by the end of its name; the longest that fits counts."""
    return UNITS[max((ending for ending in UNITS if magnitude.endswith(ending)), key=len)]


def channels_in(text: str, where: str) -> str:
    """Channels of an episode's faults, joined by "+"; "" for a nominal one."""
    return "+".join(sorted({record["channel"] for record in faults_in(text, where)}))
