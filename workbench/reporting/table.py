"""One typed table, shown in a notebook, on pages and on the terminal, and written as Markdown, CSV and LaTeX.

Every table that people see is a :class:`Table`, so that a page and the terminal never disagree.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from workbench.reporting.page import MARK, macro
from workbench.reporting.words import NONE
from workbench.types.text import as_latex, as_markdown, visible

if TYPE_CHECKING:
    import pandas
    import rich.table
    from markupsafe import Markup
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

TIGHT = (0, 1, 0, 0)
"""Padding of cells on a terminal where room is short: above, right, below, left."""
HEADING_WIDTH = 10
"""Letters in a line of a heading that is wrapped."""
BASELINE = "baseline"
"""Kind of the rows that are there for comparison."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    name : heading; a line break in it is one on a page, and a space elsewhere.
    numeric : whether it holds numbers, which stand to the right.
    help : what the numbers are; a page shows it where the pointer rests on the heading.
    short : heading for the terminal, if the other one is too long there.
    spare : which column goes first where there is no room for all: 1 before 2; 0 always stays.
    terminal : whether the terminal shows it.
    code : whether it holds names that are typed.
    drawing : head of a column of drawings, such as their axis; only pages show those.
    """

    name: str
    numeric: bool = False
    help: str = ""
    short: str = ""
    spare: int = 0
    terminal: bool = True
    code: bool = False
    drawing: Markup | None = None

    @property
    def plain(self) -> str:
        """The heading on one line."""
        return self.name.replace("\n", " ")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes
    ----------
    text : what people read.
    value : the number behind it with all its digits, for sorting and for programs; None for none.
    bounds : of its interval, for programs.
    sure : the interval as people read it, beside the text; may be empty.
    mark : whether it contradicts a promise or an assumption.
    heat : -1 .. 1, how strongly a page tints it; None for not at all.
    title : what a page shows where the pointer rests on it.
    drawn : drawing that stands in the place of the text.
    """

    text: str = ""
    value: float | None = None
    bounds: tuple[float, float] | None = None
    sure: str = ""
    mark: bool = False
    heat: float | None = None
    title: str = ""
    drawn: Markup | None = None

    @property
    def plain(self) -> str:
        """All that people read, as one string."""
        return " · ".join(part for part in (self.text, self.sure) if part) + (f" {MARK}" if self.mark else "")

    @property
    def raw(self) -> float | str | None:
        """For programs: the value, or the text where there is none; None for a dash."""
        return self.value if self.value is not None else None if self.text == NONE else self.text


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: the first cell is its name; ``kind`` says what sort of thing it is, such as a baseline."""

    cells: Sequence[Cell]
    kind: str = ""

    @classmethod
    def of(cls, *parts: Cell | str | int, kind: str = "") -> Row:
        """A row of cells, texts and whole numbers."""
        return cls([part if isinstance(part, Cell) else cell_of(part) for part in parts], kind)

    @property
    def name(self) -> str:
        """Text of the first cell."""
        return self.cells[0].text


def cell_of(part: str | int) -> Cell:
    """A cell of a text or of a whole number."""
    return Cell(part) if isinstance(part, str) else Cell(str(part), part)


def numbers(*names: str) -> list[Column]:
    """Columns of numbers that need no more than a name."""
    return [Column(name, numeric=True) for name in names]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; it shows itself in a notebook, and ``console.print`` of rich prints it.

    Attributes
    ----------
    title : what it shows.
    columns, rows : every row has a cell for every column; ValueError otherwise.
    note : what one has to know to read it.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(f"{self.title}: {row.name} has {len(row.cells)} cells for {len(self.columns)} columns")

    def column(self, name: str) -> list[Cell]:
        """The cells of the first column of that name."""
        place = [column.plain for column in self.columns].index(name)
        return [row.cells[place] for row in self.rows]

    def first(self, rows: int) -> Table:
        """The first rows, with a title that says of how many."""
        if len(self.rows) <= rows:
            return self
        title = f"{self.title} (the first {rows} of {len(self.rows)})"
        return dataclasses.replace(self, title=title, rows=self.rows[:rows])

    def html(self) -> Markup:
        """As HTML that can stand alone, with title and note."""
        return macro("table.html.j2", "alone", self)

    def _repr_html_(self) -> str:
        return self.html()

    def markdown(self, heading: str = "") -> str:
        """As Markdown; with title and note if ``heading`` says of which level, such as ``##``."""
        columns = self._written()
        lines = [[as_markdown(column.plain) for _, column in columns], ["---"] * len(columns)]
        for row in self.rows:
            lines.append([as_markdown(row.cells[place].plain, column.code) for place, column in columns])
        grid = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        head = [f"{heading} {as_markdown(_capital(self.title))}", as_markdown(self.note)]
        return "\n\n".join([part for part in head if part] + [grid]) if heading else grid

    def csv(self) -> str:
        """As comma-separated values for programs: numbers with all digits, their bounds beside them, empty for none."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._raw_names())
        writer.writerows(["" if value is None else value for value in row] for row in self._raw_rows())
        return text.getvalue()

    def latex(self) -> str:
        r"""As a floating table for LaTeX; it needs the package booktabs."""
        columns = self._written()
        caption = " ".join(f"{_capital(part).rstrip('.')}." for part in (self.title, self.note) if part)
        rows = [[as_latex(column.plain) for _, column in columns]]
        for row in self.rows:
            rows.append([as_latex(row.cells[place].plain, column.code) for place, column in columns])
        head, *body = [" & ".join(row) + r" \\" for row in rows]
        sides = "".join("r" if column.numeric else "l" for _, column in columns)
        lines = [
            r"\begin{table}", r"\centering", *([rf"\caption{{{as_latex(caption)}}}"] if caption else []),
            rf"\begin{{tabular}}{{{sides}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}",
            r"\end{table}",
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def frame(self) -> pandas.DataFrame:
        """As a pandas data frame of the same values as :meth:`csv`."""
        import pandas as pd

        return pd.DataFrame(list(self._raw_rows()), columns=self._raw_names())

    def _written(self) -> list[tuple[int, Column]]:
        """Place and column of all but the drawings."""
        return [(place, column) for place, column in enumerate(self.columns) if column.drawing is None]

    def _bounded(self, place: int) -> bool:
        return any(row.cells[place].bounds is not None for row in self.rows)

    def _raw_names(self) -> list[str]:
        names = []
        for place, column in self._written():
            names += [column.plain, *([f"{column.plain} low", f"{column.plain} high"] if self._bounded(place) else [])]
        return names

    def _raw_rows(self) -> Iterator[list[float | str | None]]:
        bounded = {place for place, _ in self._written() if self._bounded(place)}
        for row in self.rows:
            values: list[float | str | None] = []
            for place, _ in self._written():
                cell = row.cells[place]
                values += [cell.raw, *(cell.bounds or (None, None) if place in bounded else ())]
            yield values

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Closer together, then with headings over several lines, then without spare columns, until it fits."""
        spare = sorted((column for column in self.columns if column.spare), key=lambda column: column.spare)
        whole = [((0, 1), False, spare[:0]), (TIGHT, False, spare[:0])]
        for padding, wrapped, without in [*whole, *((TIGHT, True, spare[:gone]) for gone in range(len(spare) + 1))]:
            made = self._terminal(padding, wrapped, without)
            if console.measure(made, options=options.update(max_width=1000)).maximum <= options.max_width:
                break
        yield made

    def _terminal(self, padding: tuple[int, ...], wrapped: bool, without: Sequence[Column]) -> rich.table.Table:
        """Words wrap where the terminal is narrow, so that no number is cut off; baselines are dim."""
        from rich import box
        from rich.table import Table as RichTable

        kept = [(place, column) for place, column in self._written() if column.terminal and column not in without]
        made = RichTable(title=_words(self.title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        made.padding = padding  # type: ignore[assignment]
        for _, column in kept:
            head = column.short or column.plain
            made.add_column(
                _words(textwrap.fill(head, HEADING_WIDTH, break_long_words=False) if wrapped else head),
                justify="right" if column.numeric else "left",
                no_wrap=column.numeric,
                overflow="fold",
            )
        for row in self.rows:
            shown = [row.cells[place] for place, _ in kept]
            words = [_words(cell.plain, "bold red" if cell.mark else "") for cell in shown]
            made.add_row(*words, style="dim" if row.kind == BASELINE else "")
        return made


def _words(text: str, style: str = "") -> Text:
    """Text for the terminal: a plain string is markup to rich, and a name may hold brackets."""
    from rich.text import Text

    return Text(visible(text), style=style)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
