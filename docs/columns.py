"""Write the columns of episodes/ into datasets/schema/store.yaml, from the table in workbench/types/episode.py.

Run: python docs/columns.py
"""

from __future__ import annotations

import json
from pathlib import Path

from workbench.store import OWN_COLUMNS
from workbench.types import COLUMNS, Column

SCHEMA = Path(__file__).parents[1] / "datasets/schema/store.yaml"
DTYPES = {str: "string", int: "int64", float: "float64", bool: "bool"}
HEAD = "  episodes:"


def page() -> str:
    """The schema with the columns of today."""
    lines = SCHEMA.read_text(encoding="utf-8").splitlines()
    (head,) = (number for number, line in enumerate(lines) if line.startswith(HEAD))
    return "\n".join([*lines[: head + 1], *map(described, (*COLUMNS, *OWN_COLUMNS))]) + "\n"


def described(column: Column) -> str:
    """One line of the schema."""
    facts = [f"dtype: {DTYPES[column.kind]}"]
    if column.unit:
        facts.append(f"unit: {column.unit}")
    if column.label:
        facts.append("label: true")
    if column.default is not None:
        facts.append(f"default: {json.dumps(column.default)}")
    return f"    {column.name}: {{{', '.join(facts)}, note: {json.dumps(column.words)}}}"


if __name__ == "__main__":
    SCHEMA.write_text(page(), encoding="utf-8")
