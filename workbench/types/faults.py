"""Drawn faults as an episode's column ``perturbations`` holds them: JSON, checked for what every reader goes by.

What is in a record beyond that is checked where the fault is made of it, for that depends on the fault and the task.
"""

from __future__ import annotations

from typing import Annotated, Any

from workbench.errors import StoreError
from workbench.types.data import Record
from workbench.types.reading import NAME, Size, Source, checked, parsed

MOST = 100
"""Faults of one episode."""
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
    return tuple(records)
