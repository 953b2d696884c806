"""Text from outside is shown as it stands: on a terminal, on pages, in Markdown, LaTeX, notes and messages."""

from __future__ import annotations

import dataclasses
import io
import re
import subprocess
import sys

import pytest
from markupsafe import escape
from rich.console import Console

from tests.attribution.test_explanation import TOLD
from tests.limits import HANG_S
from workbench.attribution.explanation import Injected
from workbench.execution import progress
from workbench.reporting.page import environment, macro
from workbench.reporting.table import Column, Row, Table
from workbench.types.text import as_latex, as_markdown, as_markdown_block, visible
from workbench.viewing.notes import notes_of

ODD = {
    "closed markup": "[/b]",
    "colour": "[red]x[/red]",
    "link": "[link=file:///etc]x",
    "emoji code": ":smiley:",
    "escape sequence": "\x1b[31mred\x1b]0;title\x07",
    "carriage return and backspace": "good\rbad\b\b",
    "eight-bit sequence": "\x9b2J",
    "other direction": "a\u202egpj.exe",
    "half a character": "\ud83d",
    "null": "a\x00b",
    "html": "<script>alert(1)</script>&lt;",
    "markdown": "*a* _b_ `c` | ![x](http://y) <br> ~~d~~",
    "fence": "```\n# heading",
    "latex": "\\input{/etc/passwd} $a_b$ 100% # ^^41",
    "braces": "{0} %s {{ x }}",
}
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(params=ODD.values(), ids=ODD.keys())
def odd(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_is_visible_is_obeyed_by_nothing_and_stays_visible(odd):
    shown = visible(odd)
    assert not OBEYED.search(shown)
    assert visible(shown) == shown
    assert shown.encode()
    if not OBEYED.search(odd):
        assert shown == odd


@pytest.mark.parametrize("terminal", [False, True])
def test_the_console_prints_it_as_it_stands(odd, monkeypatch, terminal):
    console = progress.JobConsole()
    console.file, console._force_terminal, console._width = io.StringIO(), terminal, 300
    console.print(f"left out: {odd}")
    console.print(Table(odd, [Column("name"), Column(odd)], [Row.of("a", odd)], note=odd))
    written = console.file.getvalue()
    plain = re.sub(r"\x1b\[[\d;]*m", "", written) if terminal else written
    assert not OBEYED.search(plain)
    for line in visible(odd).split("\n"):
        assert plain.count(line) >= 4


def test_bars_show_names_as_they_stand(odd, monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(progress, "_sees_bars", lambda: True)
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=written, width=500, force_terminal=False))
    with progress.bars(odd, {odd: 2, "other": 2}) as advance:
        advance(odd, 1)
    assert visible(odd).split("\n")[0] in written.getvalue()
    assert not OBEYED.search(written.getvalue())


def test_pages_show_it_and_obey_nothing(odd):
    page = str(macro("table.html.j2", "alone", Table(odd, [Column("name"), Column("x")], [Row.of(odd, odd)], note=odd)))
    assert not OBEYED.search(page)
    assert "<script>" not in page
    assert page.count(str(escape(visible(odd).split("\n")[0]))) >= 3  # title, cell and note
    assert environment().autoescape


def test_markdown_and_latex_are_text(odd):
    for written in (as_markdown(odd), as_markdown(odd, code=True), as_latex(odd), as_latex(odd, code=True)):
        assert not OBEYED.search(written)
        assert "\n" not in written
    assert not re.search(r"(?<!\\)[*|<`](?!br>)|(?<!\\)\]\(", as_markdown(odd).replace("\\\\", ""))
    assert not re.search(r"(?<!\\)[$%#&_]|\\input", as_latex(odd).replace(r"$\cdot$", ""))
    block = as_markdown_block(odd, "sh").split("\n")
    assert block[0].removesuffix("sh") == block[-1]
    assert block[-1] not in block[1:-1]


def test_notes_of_a_recording_hold_it_as_text(odd):
    fault = Injected(odd, odd, ())
    notes = notes_of(
        dataclasses.replace(TOLD, task=odd, instruction=odd, failure_mode=odd, uid=odd, faults=(fault,), luck=None)
    )
    assert not OBEYED.search(notes)
    assert len(notes.split("\n")) == 14
    assert f"- The policy was asked to {as_markdown(odd)}." in notes.split("\n")


@pytest.mark.parametrize(
    "name", ["closed markup", "colour", "emoji code", "escape sequence", "other direction", "html"]
)
def test_a_message_is_one_line_that_moves_no_terminal(tmp_path, name):
    command = [sys.executable, "-m", "workbench", ODD[name]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "unknown job" in done.stderr
    assert not OBEYED.search(done.stderr.rstrip("\n"))
