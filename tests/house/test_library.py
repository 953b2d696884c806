"""``import workbench as wb``: the public names are there, answer at once, and are what they say."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb

SOURCE = Path(wb.__file__)


@pytest.mark.parametrize("name", sorted(set(wb.__all__) - {"__version__"}))
def test_every_public_name_is_there_and_says_what_it_is(name):
    found = getattr(wb, name)
    assert inspect.getdoc(found), f"{name} has no docstring"
    if inspect.isfunction(found):
        assert found.__name__ == name
        hints = [each.annotation for each in inspect.signature(found).parameters.values()]
        assert inspect.Parameter.empty not in hints, f"{name} has an untyped parameter"
        assert inspect.signature(found).return_annotation is not inspect.Signature.empty


def test_type_checkers_see_the_same_names():
    seen = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(SOURCE.with_suffix(".pyi").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("workbench")
        for alias in node.names
    }
    assert seen == {name: f"workbench.{module}.{name}" for name, module in wb._NAMES.items()} | {
        "testing": "workbench.testing"
    }


def test_a_package_and_a_public_function_never_share_a_name():
    packages = {path.name for path in SOURCE.parent.iterdir() if path.is_dir()}
    assert packages & set(wb.__all__) == {"testing"}


def test_a_wrong_name_lists_the_right_ones():
    with pytest.raises(AttributeError, match="rollout"):
        wb.rolout  # noqa: B018


def test_importing_it_imports_nothing_else():
    code = "import sys, workbench; print([name for name in sys.modules if name.startswith('workbench.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
