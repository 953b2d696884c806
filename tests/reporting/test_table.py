# ruff: noqa: RUF001
"""One table, five renderers: each prints what stands in the cells, whatever characters those are."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from markupsafe import Markup
from rich.console import Console

from workbench.reporting.table import Cell, Column, Row, Table, numbers

ODD = [
    *(
        "a<b>",
        "a|b",
        "a & b",
        "&lt;",
        "50 %",
        "a_b_c",
        "_a_",
        "*a*",
        "[/b]",
        "[a](b)",
        "a, b",
        'say "x"',
        "x\\y",
        "`a`",
    ),
    *("~1^2", "$5 #1 {z}", "two\nlines"),
]
LONG = 0.12345678901234567


def odd() -> Table:
    rows = [Row.of(text, Cell("0.12", LONG, (0.1, 1 / 3), "0.10–0.33"), text) for text in ODD]
    columns = [
        Column("na_me & <i>"),
        Column("share,\nof all", numeric=True, help='a "share"'),
        Column("typed", code=True),
    ]
    return Table("odd [/i] <t> 5 %", columns, rows, "a note: 1 < 2 & ▲")


def shown(table: Table, width: int = 100) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


class Cells(HTMLParser):
    """Text of every cell and heading, row by row, and whether tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "br":
            self.rows[-1][-1] += "\n"
        if tag not in ("br", "wbr", "line", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("br", "wbr", "line", "rect"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_html_holds_what_was_put_in() -> None:
    text = odd().html()
    found = Cells(text).rows
    assert found[0] == ["na_me & <i>", "share,\nof all", "typed"]
    assert [row[0] for row in found[1:]] == ODD
    assert [row[2] for row in found[1:]] == ODD
    assert {row[1] for row in found[1:]} == {"0.12 0.10–0.33"}
    assert "<i>" not in text
    assert "<t>" not in text
    assert 'title="a &#34;share&#34;"' in text


def test_csv_holds_every_digit_and_is_read_back() -> None:
    head, *rows = csv.reader(io.StringIO(odd().csv()))
    assert head == ["na_me & <i>", "share, of all", "share, of all low", "share, of all high", "typed"]
    assert [row[0] for row in rows] == ODD
    assert {tuple(map(float, row[1:4])) for row in rows} == {(LONG, 0.1, 1 / 3)}


def test_what_is_missing_is_empty_for_programs_and_a_dash_for_people() -> None:
    rows = [Row.of("x", Cell("—"), 3), Row.of("y", Cell("1.0", 1.04), 4)]
    table = Table("t", [Column("a"), *numbers("b", "c")], rows)
    assert table.csv() == "a,b,c\nx,,3\ny,1.04,4\n"
    frame = table.frame()
    assert frame["b"].isna().tolist() == [True, False]
    assert frame["b"][1] == 1.04
    assert frame["c"].sum() == 7
    assert "—" in table.markdown()
    assert "—" in shown(table)


def test_a_frame_has_the_values_of_the_csv() -> None:
    frame = odd().frame()
    assert list(frame.columns) == next(csv.reader(io.StringIO(odd().csv())))
    assert frame["na_me & <i>"].tolist() == ODD
    assert (frame["share, of all"] == LONG).all()


def markdown_cells(line: str) -> list[str]:
    """As a reader of Markdown splits a row: at bars that no backslash stands before."""
    return [cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]]


def test_markdown_ends_no_cell_early_and_is_no_markup() -> None:
    head, rule, *rows = odd().markdown().splitlines()
    assert markdown_cells(rule) == ["---"] * 3
    assert len(rows) == len(ODD)
    assert {len(markdown_cells(line)) for line in (head, *rows)} == {3}
    found = {text: markdown_cells(row)[0] for text, row in zip(ODD, rows, strict=True)}
    assert found["a<b>"] == r"a\<b>"
    assert found["a|b"] == r"a\|b"
    assert found["a & b"] == "a & b", "an & alone is one"
    assert found["&lt;"] == r"\&lt;"
    assert found["a_b_c"] == "a_b_c", "within a word it is no emphasis"
    assert found["_a_"] == r"\_a\_"
    assert found["*a*"] == r"\*a\*"
    assert found["[/b]"] == "[/b]"
    assert found["[a](b)"] == r"[a]\(b)"
    assert found["x\\y"] == r"x\\y"
    assert found["two\nlines"] == "two<br>lines"
    typed = {text: markdown_cells(row)[2] for text, row in zip(ODD, rows, strict=True)}
    assert typed["a_b_c"] == "`a_b_c`"
    assert typed["`a`"] == "`` `a` ``"
    assert typed["a|b"] == r"`a\|b`"


def test_a_reader_of_markdown_sees_what_was_put_in() -> None:
    reader = MarkdownIt("commonmark").enable("table")
    found = Cells(reader.render(odd().markdown())).rows
    assert found[0] == ["na_me & <i>", "share, of all", "typed"]
    assert [row[0] for row in found[1:]] == ODD
    assert [row[2] for row in found[1:]] == [text.replace("\n", " ") for text in ODD]


def test_markdown_with_a_heading_says_what_it_is() -> None:
    title, note, *_ = odd().markdown("##").split("\n\n")
    assert title == r"## Odd [/i] \<t> 5 %"
    assert note == r"a note: 1 \< 2 & ▲"


def test_latex_is_a_booktabs_table_that_prints_what_was_put_in() -> None:
    lines = odd().latex().splitlines()
    assert lines[:2] == [r"\begin{table}", r"\centering"]
    assert lines[2] == r"\caption{Odd {[}/i] \textless{}t\textgreater{} 5 \%. A note: 1 \textless{} 2 \& $\triangle$.}"
    assert lines[3:5] == [r"\begin{tabular}{lrl}", r"\toprule"]
    assert lines[6] == r"\midrule"
    assert lines[-3:] == [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    rows = [lines[5], *lines[7:-3]]
    assert len(rows) == 1 + len(ODD)
    for row in rows:
        assert row.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", row)) == 2, "columns are parted by & alone"
        assert not re.search(r"(?<!\\)[%#]", row)
        assert row.count("{") - row.count(r"\{") == row.count("}") - row.count(r"\}")
        assert not re.match(r"\s*[\[*]", row), r"\\ would take it for its argument"
    found = {text: row.split(" & ")[0] for text, row in zip(ODD, rows[1:], strict=True) if "&" not in text}
    assert found["a<b>"] == r"a\textless{}b\textgreater{}"
    assert found["a|b"] == r"a\textbar{}b"
    assert found["50 %"] == r"50 \%"
    assert found["a_b_c"] == r"a\_b\_c"
    assert found["[/b]"] == "{[}/b]"
    assert found["x\\y"] == r"x\textbackslash{}y"
    assert found["$5 #1 {z}"] == r"\$5 \#1 \{z\}"
    assert found["~1^2"] == r"\textasciitilde{}1\textasciicircum{}2"
    assert found["two\nlines"] == "two lines"
    assert rows[1].split(" & ")[1] == r"0.12 $\cdot$ 0.10--0.33"


def test_the_terminal_prints_what_was_put_in() -> None:
    text = shown(odd())
    for line in (each for odd_text in ODD for each in odd_text.splitlines()):
        assert f" {line} " in text, line
    assert "odd [/i] <t> 5 %" in text
    assert "share, of all" in text
    assert "0.12 · 0.10–0.33" in text


def wide() -> Table:
    columns = [Column("name"), Column("first to go", spare=1), Column("then this", numeric=True, spare=2),
               *numbers("false alarms of all", "caught")]  # fmt: skip
    return Table("wide", columns, [Row.of("a" * 12, "b" * 14, 1234567, "1/100 · 0–5 %", "99 %") for _ in range(2)])


@pytest.mark.parametrize(("width", "gone"), [(90, ()), (62, ("b" * 14,)), (44, ("b" * 14, "1234567")), (25, ())])
def test_a_narrow_terminal_cuts_off_no_number(width: int, gone: tuple[str, ...]) -> None:
    text = shown(wide(), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for word in ("b" * 14, "1234567"):
        assert (word in text) is (word not in gone and width > 25), (word, text)
    if width > 25:
        assert "1/100 · 0–5 %" in text
        assert "99 %" in text


def test_drawings_stand_on_pages_alone_and_some_columns_not_on_the_terminal() -> None:
    drawing = Column("", drawing=Markup("<svg></svg>"))
    columns = [Column("a"), drawing, Column("what happens", terminal=False)]
    table = Table("t", columns, [Row.of("x", Cell(drawn=Markup("<svg><line/></svg>")), "it breaks")])
    assert "<svg><line/></svg>" in table.html()
    for text in (table.csv(), table.markdown(), table.latex(), shown(table)):
        assert "svg" not in text
    assert table.csv() == "a,what happens\nx,it breaks\n"
    assert "it breaks" in table.html()
    assert "it breaks" not in shown(table)


def test_a_mark_is_told_by_more_than_colour() -> None:
    table = Table("t", numbers("a"), [Row.of(Cell("1", mark=True)), Row.of("2")])
    assert [cell.plain for cell in table.column("a")] == ["1 ▲", "2"]
    for text in (table.markdown(), shown(table)):
        assert text.count("▲") == 1
    assert table.latex().count(r"$\triangle$") == 1
    two = Table("t", [Column("n"), *numbers("a")], [Row.of("x", Cell("1", 1.0, mark=True)), Row.of("y", "2")])
    assert re.findall(r'<td class="n( broken)?">(.*?)</td>', two.html()) == [(" broken", "1 ▲"), ("", "2")]


def test_it_shows_itself_in_a_notebook() -> None:
    text = odd()._repr_html_()
    assert text.startswith('<div class="workbench-table">')
    assert "<caption>odd [/i] &lt;t&gt; 5 %</caption>" in text
    assert "a note: 1 &lt; 2 &amp;" in text
    assert not re.search(r"<script|https?://|url\(|@import", text)


def test_a_row_that_lacks_a_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="t: x has 1 cells for 2 columns"):
        Table("t", [Column("a"), Column("b")], [Row.of("x")])


def test_the_first_rows_say_of_how_many() -> None:
    table = Table("t", [Column("a")], [Row.of(str(number)) for number in range(3)])
    assert table.first(3) is table
    assert table.first(2).title == "t (the first 2 of 3)"
    assert [row.name for row in table.first(2).rows] == ["0", "1"]
