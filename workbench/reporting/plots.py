"""Figures for papers: as PDF, SVG or PNG by matplotlib, of the extra ``figures``, each with its table as LaTeX.

Colours are those of Okabe and Ito (Color Universal Design, 2008), and lines differ by dash and marker as well, so that
a print in grey can be read.  The same rows make the same file, byte for byte.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.benchmarking.columns import FRACTIONS
from workbench.benchmarking.own import judged_by
from workbench.config import write_bytes, write_text
from workbench.errors import ConfigError, UnknownNameError
from workbench.monitoring.monitor import AnyMonitor
from workbench.reporting import plotted
from workbench.reporting.sections import mode_table
from workbench.reporting.table import Table
from workbench.rollouts.summary import summary
from workbench.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("pdf", "svg", "png")
FIGURES: Mapping[str, str] = {
    "magnitude": "success against magnitude",
    "roc": "ROC at common times",
    "alarms": "alarms against onset",
    "lead": "lead time before the point of no return",
    "modes": "failure modes, injected against seen",
    "luck": "luck by fault",
}
"""Figure -> what it shows, in the order in which they are made."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS, DASHES = "osD^vPX", ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)))
WIDE, NARROW = 7.0, 3.4
"""Inches: a page's and a column's width."""
STYLE: Mapping[str, Any] = {
    "svg.hashsalt": "workbench", "svg.fonttype": "path", "pdf.fonttype": 42, "font.size": 8, "axes.titlesize": 8,
    "legend.fontsize": 7, "axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True,
    "lines.linewidth": 1.4, "lines.markersize": 4, "savefig.dpi": 200, "figure.facecolor": "white",
}  # fmt: skip
UNDATED: Mapping[str, Mapping[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
UNITS = {"m": "m", "n": "N", "steps": "control steps", "rad": "rad", "s": "s", "scale": "factor", "fraction": "share"}
"""End of a parameter's name -> its unit as people write it."""
MOST_ALARMS = 6
"""Monitors that are drawn beside one another."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """Written figures; each has a picture and a table of the same name.

    Attributes
    ----------
    pictures : figure -> its file.
    tables : figure -> the rows that it was drawn from; beside the picture as LaTeX.
    left_out : figure -> why there is none.
    """

    pictures: Mapping[str, Path]
    tables: Mapping[str, Table]
    left_out: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class _Drawing:
    """What one figure needs: its table, and what draws it; or why there is nothing to draw."""

    table: Table
    draw: Callable[[], Figure]
    missing: str


def figures(
    store: Store,
    monitors: Mapping[str, AnyMonitor] | None = None,
    *,
    into: str | Path,
    kind: str = "pdf",
    only: Sequence[str] = (),
) -> Figures:
    """Write the figures of a paper about a store and its monitors, each with its table as LaTeX (booktabs).

    All are about the test split.

    Parameters
    ----------
    store : where the episodes lie.
    monitors : those that are compared; without them there is no figure of alarms.
    into : folder of the files, ``<figure>.<kind>`` and ``<figure>.tex``; existing ones are replaced.
    kind : pdf, svg or png.
    only : which figures; none for all.

    Raises
    ------
    UnknownNameError
        For a kind or a figure that there is not.
    ConfigError
        If matplotlib is not installed.
    StoreError
        If the test split is empty.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of figure", kind, KINDS)
    for name in only:
        if name not in FIGURES:
            raise UnknownNameError("figure", name, FIGURES)
    refuse_without_matplotlib()
    pictures, tables, left_out = dict[str, Path](), dict[str, Table](), dict[str, str]()
    folder = Path(into)
    for name, drawing in _drawings(store, monitors or {}, only or list(FIGURES)).items():
        if not drawing.table.rows:
            left_out[name] = drawing.missing
            continue
        folder.mkdir(parents=True, exist_ok=True)
        pictures[name], tables[name] = folder / f"{name}.{kind}", drawing.table
        write_bytes(pictures[name], _file(drawing.draw, kind))
        write_text(folder / f"{name}.tex", drawing.table.latex())
    return Figures(pictures, tables, left_out)


def refuse_without_matplotlib() -> None:
    """ConfigError where the extra ``figures`` is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(
            "figures need matplotlib, which is not installed: pip install 'failure-workbench[figures]'"
        ) from None


def _drawings(store: Store, monitors: Mapping[str, AnyMonitor], wanted: Sequence[str]) -> dict[str, _Drawing]:
    """The figures that are wanted, in their order."""
    judged = judged_by(store, monitors) if monitors and {"roc", "alarms", "lead"} & set(wanted) else {}
    sizes, luck = plotted.magnitude_rows(store), plotted.luck_rows(store)
    curves, alarms = plotted.roc_rows(judged), plotted.alarm_rows(judged)
    modes, control_hz = mode_table(summary(store)), store.header.control_hz
    unjudged = "" if monitors else "no monitor was given: workbench fit"
    made = {
        "magnitude": _Drawing(
            plotted.magnitude_table(sizes), lambda: _magnitude(sizes), "no test episode has one fault with a magnitude"
        ),
        "roc": _Drawing(
            plotted.roc_table(curves), lambda: _roc(curves), unjudged or "the test split lacks failures or successes"
        ),
        "alarms": _Drawing(
            plotted.alarm_table(alarms), lambda: _alarms(alarms), unjudged or "no failure has an onset: workbench label"
        ),
        "lead": _Drawing(
            _with_leads(plotted.lead_table(alarms, control_hz)), lambda: _lead(alarms, control_hz),
            unjudged or "no failure has a point of no return: workbench label",
        ),
        "modes": _Drawing(modes, lambda: _modes(modes), "no test episode failed"),
        "luck": _Drawing(plotted.luck_table(luck), lambda: _luck(luck), "no episode's luck was measured"),
    }  # fmt: skip
    return {name: made[name] for name in FIGURES if name in wanted}


def _with_leads(table: Table) -> Table:
    """The table without monitors of which no failure has a point of no return."""
    rows = [row for row in table.rows if row.cells[2].text != "0/0"]
    return dataclasses.replace(table, rows=rows)


def _file(draw: Callable[[], Figure], kind: str) -> bytes:
    import matplotlib as mpl

    with mpl.rc_context({**STYLE}):
        figure = draw()
        file = io.BytesIO()
        figure.savefig(file, format=kind, metadata=UNDATED.get(kind))
    return file.getvalue()


def _panels(count: int, across: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels of a size in inches, at most ``across`` side by side; without pyplot's window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(across, count)
    down = -(-count // across)
    figure = Figure((across * size[0], down * size[1]))
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, panels[:count]


def _share_axis(axis: Any) -> None:
    axis.set_ticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])


def _look(number: int) -> dict[str, Any]:
    """Colour and dash of a series."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}


def axis_name(parameter: str) -> str:
    """A fault's parameter with its unit, which stands at the end of its name, in brackets."""
    name, _, unit = parameter.rpartition("_")
    return f"{name.replace('_', ' ')} ({UNITS.get(unit, unit)})"


def _magnitude(rows: Sequence[plotted.MagnitudeRow]) -> Figure:
    """One panel a fault; bars are exact intervals."""
    names = list(dict.fromkeys((row.perturbation, row.parameter) for row in rows))
    figure, panels = _panels(len(names), 4, (WIDE / 4, 1.7))
    for panel, (name, parameter) in zip(panels, names, strict=True):
        mine = [row for row in rows if (row.perturbation, row.parameter) == (name, parameter)]
        shares = np.array([row.rate.part / row.rate.whole for row in mine])
        bounds = np.array([row.rate.bounds for row in mine])
        errors = np.abs(bounds.T - shares)
        sizes = [row.mean for row in mine]
        style: dict[str, Any] = {"color": COLOURS[0], "capsize": 2, "elinewidth": 0.8}
        panel.errorbar(sizes, shares, errors, fmt="o-", **style)
        panel.set_title(name.replace("_", " "))
        panel.set_xlabel(axis_name(parameter))
        panel.set_ylim(-0.05, 1.05)
        _share_axis(panel.yaxis)
    figure.supylabel("success", fontsize=8)
    return figure


def _roc(rows: Sequence[plotted.RocRow]) -> Figure:
    """One panel a common time."""
    times = [fraction for fraction in FRACTIONS if any(row.fraction == fraction for row in rows)]
    figure, panels = _panels(len(times), 4, (WIDE / 4, 2.3))
    names = list(dict.fromkeys(row.monitor for row in rows))
    for panel, fraction in zip(panels, times, strict=True):
        panel.plot([0, 1], [0, 1], color="0.75", linewidth=0.8)
        for row in (row for row in rows if row.fraction == fraction):
            panel.plot(row.false_alarms, row.detections, label=row.monitor, **_look(names.index(row.monitor)))
        panel.set_title(f"{fraction:g} of the deadline")
        panel.set_aspect("equal")
        _share_axis(panel.xaxis)
        _share_axis(panel.yaxis)
        panel.set_xlabel("successes with an alarm")
    panels[0].set_ylabel("failures detected")
    _legend(figure, panels[0])
    return figure


def _legend(figure: Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)


def _alarms(rows: Sequence[plotted.AlarmRow]) -> Figure:
    """One panel a monitor: below the line an alarm came before the onset; on the upper edge there was none."""
    names = list(dict.fromkeys(row.monitor for row in rows))[:MOST_ALARMS]
    figure, panels = _panels(len(names), 3, (WIDE / 3, 2.2))
    end = max(max(row.onset, row.alarm, row.point_of_no_return) for row in rows) + 1
    for panel, name in zip(panels, names, strict=True):
        mine = [row for row in rows if row.monitor == name]
        alarmed, silent = ([row for row in mine if (row.alarm >= 0) == said] for said in (True, False))
        panel.plot([0, end], [0, end], color="0.6", linewidth=0.8)
        panel.plot([row.onset for row in alarmed], [row.alarm for row in alarmed], "o", color=COLOURS[0], alpha=0.6)
        panel.plot([row.onset for row in silent], [1.08 * end] * len(silent), "x", color=COLOURS[1])
        panel.set_title(f"{name.replace('+', ' + ')}: {len(alarmed)}/{len(mine)}")
        panel.set_ylim(-0.04 * end, 1.14 * end)
        panel.set_xlabel("onset, control step")
    panels[0].set_ylabel("first alarm (x: none)")
    return figure


def _lead(rows: Sequence[plotted.AlarmRow], control_hz: float) -> Figure:
    """Share of the failures that each monitor gives so much time."""
    figure, (panel,) = _panels(1, 1, (NARROW + 1.4, 2.6))
    names = list(dict.fromkeys(row.monitor for row in rows))
    for number, name in enumerate(names):
        leads = np.sort(plotted.lead_times(rows, name))[::-1] / control_hz
        known = leads[np.isfinite(leads)]
        share = np.arange(1, len(known) + 1) / len(leads)
        panel.step(known, share, where="post", label=name.replace("+", " + "), **_look(number))
    panel.axvline(0, color="0.6", linewidth=0.8)
    panel.set_xlabel("lead before the point of no return, s (left of 0: too late)")
    panel.set_ylabel("failures with at least that lead")
    panel.set_ylim(0, 1.02)
    _share_axis(panel.yaxis)
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _modes(table: Table) -> Figure:
    """Injected faults against seen modes, tinted by the share of the fault's episodes."""
    seen = [column.plain for column in table.columns[1:-1]]
    counts = np.array([[cell.value or 0 for cell in row.cells[1:]] for row in table.rows], float)
    shares = counts[:, :-1] / np.maximum(counts[:, -1:], 1)
    figure, (panel,) = _panels(1, 1, (1.6 + 0.5 * len(seen), 1.1 + 0.24 * len(table.rows)))
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        if share:
            panel.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center",
                       color="white" if share > 0.55 else "black", fontsize=7)  # fmt: skip
    panel.set_xticks(range(len(seen)), seen, rotation=35, ha="right", rotation_mode="anchor")
    panel.set_yticks(range(len(table.rows)), [row.name.replace("_", " ") for row in table.rows])
    panel.tick_params(length=0)
    panel.set_ylabel("injected")
    panel.set_xlabel("seen")
    panel.spines[:].set_visible(False)
    return figure


def _luck(rows: Sequence[plotted.LuckRow]) -> Figure:
    """One line a fault: every episode a point, their mean a bar."""
    figure, (panel,) = _panels(1, 1, (NARROW + 0.6, 0.8 + 0.24 * len(rows)))
    for place, row in enumerate(rows):
        ordered = np.sort(row.luck)
        spread = 0.5 * ((np.arange(len(ordered)) * 0.618) % 1 - 0.5)  # the same points apart, by no chance
        panel.plot(ordered, place + spread, "o", color=COLOURS[0], alpha=0.45, markersize=3)
        panel.plot([row.luck.mean()] * 2, [place - 0.35, place + 0.35], color=COLOURS[1], linewidth=2)
    panel.axvspan(0.1, 0.9, color="0.94", zorder=0)
    panel.set_yticks(range(len(rows)), [row.perturbation.replace("_", " ") or "no fault" for row in rows])
    panel.invert_yaxis()
    panel.set_xlim(-0.03, 1.03)
    panel.set_xlabel("success under other noise; grey: neither surely lost nor surely won")
    _share_axis(panel.xaxis)
    return figure
