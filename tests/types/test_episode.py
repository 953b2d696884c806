"""The columns of an episode: one table, and what follows from it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from workbench.errors import ConfigError, UnknownNameError
from workbench.types import COLUMNS, EPISODE_COLUMNS, LABELS, new_record

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "workbench/types/episode.py"


def said() -> dict[str, object]:
    return {column.name: column.kind() for column in COLUMNS if column.default is None}


def test_defaults_are_of_their_columns_type_and_names_are_said_once():
    assert len(EPISODE_COLUMNS) == len(COLUMNS)
    for column in COLUMNS:
        assert column.default is None or type(column.default) is column.kind, column.name
        assert column.words, column.name


def test_what_is_rewritten_later_says_before_that_it_was_not_measured():
    assert [name for name in LABELS if name not in said()] == [name for name in LABELS if name != "outcome"]


def test_a_record_has_every_column_in_order_and_defaults_where_nothing_is_said():
    record = new_record(t_inj=3, **said())
    assert list(record) == list(EPISODE_COLUMNS)
    assert (record["t_inj"], record["t_on"], record["responsibility"], record["values"]) == (3, -1, 0.0, "[]")


def test_a_record_lacks_no_column_and_has_no_other():
    with pytest.raises(UnknownNameError, match=r"'t_onn'.*Did you mean 't_on'"):
        new_record(t_onn=3, **said())
    needed = said()
    del needed["uid"]
    with pytest.raises(ConfigError, match="lacks uid"):
        new_record(**needed)


def listings(text: str) -> list[list[str]]:
    """Labels that are listed by hand: as members of a display, or as keys of a dict of constants."""
    found = []
    for node in ast.walk(ast.parse(text)):
        members: list[ast.expr | None] = []
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            members = [*node.elts]
        elif isinstance(node, ast.Dict) and all(is_constant(value) for value in node.values):
            members = node.keys
        found.append([each.value for each in members if isinstance(each, ast.Constant) and each.value in LABELS])
    return [names for names in found if len(names) >= 3]


def is_constant(value: ast.expr) -> bool:
    return isinstance(value.operand if isinstance(value, ast.UnaryOp) else value, ast.Constant)


def test_a_listing_is_found():
    assert listings('A = ("uid", "t_on", "t_pnr", "twin")') == [["t_on", "t_pnr", "twin"]]
    assert listings('A = {"t_on": -1, "t_pnr": -1, "twin": ""}') == [["t_on", "t_pnr", "twin"]]
    assert listings('A = ("t_on", "t_pnr")\nB = {"t_on": onset.step, "t_pnr": lost.step, "twin": uid}') == []
    assert listings(TABLE.read_text()) == [], "the table lists columns one by one"


@pytest.mark.parametrize("folder", ["workbench", "envs", "policies", "detectors", "docs"])
def test_columns_are_listed_in_the_table_alone(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert {str(file.relative_to(ROOT)): found for file in files if (found := listings(file.read_text()))} == {}
