"""The thirty lines of Python that the pages begin with: they run, and the page shows them as they are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "start.py"
PAGE = ROOT / "docs" / "start.md"
MOST_LINES = 30


def test_it_has_thirty_lines_and_uses_public_names_alone():
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert re.findall(r"^(?:from|import) .*$", text, re.MULTILINE) == ["import workbench as wb"]


def test_the_page_shows_it_as_it_is():
    (shown,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert shown == SCRIPT.read_text(encoding="utf-8")


@pytest.mark.slow
def test_it_runs_and_prints_what_the_page_says(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    done = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (recording,) = (tmp_path / "datasets/recordings").glob("*.rrd")
    assert recording.stat().st_size > 0
    page = PAGE.read_text(encoding="utf-8")
    (shown,) = re.findall(r"^It prints:\n\n```\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert words(done.stdout) == words(shown)


def words(text):
    """What is no figure, of the tables: figures are those of one machine and one version of its libraries."""
    return set(re.findall(r"[A-Za-z_]{2,}", text.partition("recording ")[0]))
