"""The pages that are written by a script say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_union_table_is_up_to_date():
    made = script("perturbations")
    assert (ROOT / "docs/perturbations.md").read_text(encoding="utf-8") == made.page()


def test_readme_tells_of_the_zoo_what_its_cards_say():
    made = script("zoo")
    assert made.README.read_text(encoding="utf-8") == made.page()
    assert all(f"`zoo/{path.parent.name}`" in made.page() for path in (ROOT / "policies/zoo").glob("*/card.md"))


def test_union_table_holds_every_perturbation_and_gives_a_reason_for_what_is_left_out():
    made = script("perturbations")
    entries = [ours for rows in made.UNION.values() for _, ours in rows]
    files = {path.stem for path in (ROOT / "conf/perturbation").glob("*.yaml")}
    assert {ours for ours in entries if not ours.startswith("- ")} == files
    assert len(files) >= 60
    assert all(len(ours) > 20 for ours in entries if ours.startswith("- "))
