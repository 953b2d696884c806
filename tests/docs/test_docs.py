"""The pages that are written by a script say what the code says."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml

import workbench as wb
from workbench.config import build, compose
from workbench.config.jobs import job_words
from workbench.monitoring.window import Kind
from workbench.reporting.leaderboard import METRICS
from workbench.testing import new_part
from workbench.types import PolicyCall

ROOT = Path(__file__).parents[2]


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_union_table_is_up_to_date():
    made = script("perturbations")
    assert (ROOT / "docs/perturbations.md").read_text(encoding="utf-8") == made.page()


def test_schema_of_the_store_lists_the_columns_of_the_table():
    made = script("columns")
    assert made.SCHEMA.read_text(encoding="utf-8") == made.page()


def test_readme_tells_of_the_zoo_what_its_cards_say():
    made = script("zoo")
    assert made.PAGE.read_text(encoding="utf-8") == made.page()
    assert all(f"`zoo/{path.parent.name}`" in made.page() for path in (ROOT / "policies/zoo").glob("*/card.md"))


def test_every_score_calibrator_protocol_and_metric_is_explained():
    """By its name in code quotes in the guide to monitors, so that none is added in silence."""
    guide = (ROOT / "docs/monitors.md").read_text(encoding="utf-8")
    names = [
        path.stem for group in ("score", "calibrator", "protocol") for path in (ROOT / "conf" / group).glob("*.yaml")
    ]
    assert {"rnd", "split_conformal", "unseen_family"} <= set(names)
    assert [name for name in [*names, *METRICS] if f"`{name}`" not in guide] == []
    assert [kind for kind in get_args(Kind) if f"| `{kind}` |" not in guide] == []


def test_the_guide_says_what_each_score_needs():
    guide = (ROOT / "docs/monitors.md").read_text(encoding="utf-8")
    (guide,) = re.findall(r"^## Scores$(.*?)^## ", guide, re.DOTALL | re.MULTILINE)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in guide.splitlines() if line.startswith("| `")]
    told = {name.strip("` "): row[3] for row in cells if len(row) == 4 for name in row[0].split(",")}
    found = {}
    for path in (ROOT / "conf/score").glob("*.yaml"):
        ((name, node),) = yaml.safe_load(path.read_text(encoding="utf-8")).items()
        found[name] = build(node).needs
    baselines = {"elapsed", "always", "never", "random"}
    assert {name: needs for name, needs in found.items() if name in baselines and needs} == {}
    written = {
        name: {word.strip("`,") for word in told[name].split() if word[0] != "("} for name in told if name in found
    }
    assert written == {name: set(needs) for name, needs in found.items() if name not in baselines}


def test_the_score_of_the_guide_runs():
    guide = (ROOT / "docs/monitors.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    space = {}
    exec(code, space)
    score = space["Jerk"]()
    steps = np.arange(8.0)
    chunk = np.zeros((2, 8, 7))
    chunk[1, :, 0] = steps**3
    call = PolicyCall(step=np.zeros(2, int), chunk=chunk, samples=None, embedding=None, execute=4)
    assert score.update([score.begin(), score.begin()], call) == pytest.approx([0.0, 6.0])


def test_union_table_holds_every_perturbation_and_gives_a_reason_for_what_is_left_out():
    made = script("perturbations")
    entries = [ours for rows in made.UNION.values() for _, ours in rows]
    files = {path.stem for path in (ROOT / "conf/perturbation").glob("*.yaml")}
    assert {ours for ours in entries if not ours.startswith("- ")} == files
    assert len(files) >= 60
    assert all(len(ours) > 20 for ours in entries if ours.startswith("- "))


def test_table_of_public_names_is_up_to_date():
    made = script("library")
    assert (ROOT / "docs/library.md").read_text(encoding="utf-8") == made.page()


def test_table_of_public_names_holds_them_all():
    made = script("library")
    listed = [name for names in made.public().values() for name in names]
    assert sorted([*listed, "__version__", "testing"]) == sorted(wb.__all__)
    assert [name for name in listed if f"`wb.{name}" not in made.page()] == []


@pytest.mark.parametrize("kind", script("own").PAGES)
def test_pages_of_own_parts_are_up_to_date(kind):
    """The files that they show are those that ``workbench new`` writes, and the laws those that are tried."""
    made = script("own")
    text = (ROOT / "docs" / f"own-{kind}.md").read_text(encoding="utf-8")
    assert text == made.page(kind)
    assert text.count("\n- ") >= 9
    for link in re.findall(r"\]\(([\w-]+\.md)", text):
        assert (ROOT / "docs" / link).is_file()


def test_commands_of_the_pages_of_own_parts_are_understood(monkeypatch, tmp_path):
    """Each composes once the package that the page writes is there; what it writes is tried in tests/plugins."""
    monkeypatch.chdir(tmp_path)
    for kind in script("own").PAGES:
        new_part(kind, f"my_{kind}", tmp_path / "lab" / "mylab")
    monkeypatch.syspath_prepend(tmp_path / "lab" / "mylab")
    (tmp_path / "conf/local").mkdir(parents=True)
    (tmp_path / "conf/local/default.yaml").write_text("plugins: [mylab]")
    for kind in script("own").PAGES:
        text = (ROOT / "docs" / f"own-{kind}.md").read_text(encoding="utf-8")
        for line in re.findall(r"^workbench (.*)$", text, re.MULTILINE):
            assert compose(job_words(shlex.split(line)))["job"]
