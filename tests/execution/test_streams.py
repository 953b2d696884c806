"""Streams that are closed, full, without a reader or short of letters: work goes on, its exit code is its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import HANG_S

SCRIPT = """
import os, sys
from pathlib import Path
from workbench.execution.streams import keep_open
keep_open()
from workbench.execution.progress import console, progress
from workbench.reporting.table import Cell, Column, Row, Table
with open(sys.argv[1], "w") as file:          # what is opened first must not become stdout
    for number in range(2000):
        print("line", number)
        print("said", number, file=sys.stderr)
    console.print(Table("josé \u2013 ▲", [Column("ü"), Column("дa")], [Row.of("name", Cell("x", mark=True))]))
    with progress("things", 3) as advance:
        advance(3)
    print("half \\udc80 of a letter", flush=True)
    file.write("done")
    code = os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", "import os; os.fstat(1); os.fstat(2)"])
sys.exit(7 if code == 0 else 8)
"""
JOBS = ([], ["zoo"], ["rolout"])
"""Commands that print, and one that is refused."""
SHELLS = {
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "all closed": "<&- >&- 2>&-",
    "stdin closed": "<&-",
    "stdout full": ">/dev/full",
    "stderr full": "2>/dev/full",
    "both full": ">/dev/full 2>&1",
    "a reader of one line": "| head -1",
    "a reader of nothing": "| true",
    "both to a reader of nothing": "2>&1 | true",
    "not open for writing": "1</dev/null 2</dev/null",
}
LETTERS = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "the locale C": {"LC_ALL": "C"},
    "the locale C, uncoerced": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "no terminal type": {"TERM": ""},
    "a dumb terminal": {"TERM": "dumb"},
    "colours that were asked for": {"FORCE_COLOR": "1"},
}


def shell(folder: Path, words: list[str], redirection: str, environment: dict[str, str] | None = None):
    """Run a command of Python with a redirection; its own exit code, and what was seen."""
    line = f'set -o pipefail; "$@" {redirection}; exit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, *words],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        timeout=HANG_S,
    )


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize("redirection", SHELLS.values(), ids=SHELLS.keys())
def test_the_work_goes_on(script, tmp_path, redirection):
    done = shell(tmp_path, [str(script), "file"], redirection)
    assert done.returncode == 7, done.stderr
    assert (tmp_path / "file").read_text() == "done"
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("environment", LETTERS.values(), ids=LETTERS.keys())
def test_letters_that_cannot_be_shown_have_a_stand_in(script, tmp_path, environment):
    done = shell(tmp_path, [str(script), "file"], "2>/dev/null", environment)
    assert done.returncode == 7
    assert b"line 1999\n" in done.stdout
    assert b"half \\udc80 of a letter" in done.stdout
    assert b"jos" in done.stdout


@pytest.mark.parametrize("redirection", SHELLS.values(), ids=SHELLS.keys())
@pytest.mark.parametrize("words", JOBS, ids=" ".join)
def test_a_command_ends_with_its_own_code(tmp_path, words, redirection):
    done = shell(tmp_path, ["-m", "workbench", *words], redirection)
    assert done.returncode == (2 if words == ["rolout"] else 0)
    assert b"Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize("environment", LETTERS.values(), ids=LETTERS.keys())
def test_tables_are_printed_with_any_letters(tmp_path, environment):
    done = shell(tmp_path, ["-m", "workbench", "zoo"], "", environment)
    assert done.returncode == 0, done.stderr
    assert b"zoo/lift_flow" in done.stdout
    assert done.stderr == b""


def test_what_is_lost_is_said_once(script, tmp_path):
    done = shell(tmp_path, [str(script), "file"], ">/dev/full")
    said = [line for line in done.stderr.decode().splitlines() if not line.startswith("said")]
    assert said[0] == "workbench: what is printed from here on is lost (No space left on device)"
    assert sum("lost" in line for line in said) == 1
