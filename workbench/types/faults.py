"""Drawn faults as an episode's column ``perturbations`` holds them: JSON, checked for what every reader goes by.

What is in a record beyond that is checked where the fault is made of it, for that depends on the fault and the task.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from workbench.errors import StoreError
from workbench.types.data import Array, Record
from workbench.types.reading import NAME, Size, Source, checked, parsed

MOST = 100
"""Faults of one episode."""
UNITS = ("_fraction", "_scale", "_m", "_rad", "_n", "_s", "_steps", "_probability")
"""How the names of a fault's magnitudes end."""
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
    kind = float | list[float]
    return {key: np.asarray(checked(kind, record[key], source, key)) for key in record if key.endswith(UNITS)}


def channels_in(text: str, where: str) -> str:
    """Channels of an episode's faults, joined by "+"; "" for a nominal one."""
    return "+".join(sorted({record["channel"] for record in faults_in(text, where)}))
