"""A leaderboard as tables: how scores stand, when, where and at what cost, and which promises were kept.

Nothing is left out in silence: a number that could not be computed is a dash.  One row stands for a score: the one
that was marked as ``selected`` before a test episode was seen, or else the first listed.  The best one would be a
choice made on the test split.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

from workbench.benchmarking.columns import FRACTIONS
from workbench.benchmarking.metrics import AIM
from workbench.monitoring.promises import FALSE_ALARMS, MISSED
from workbench.reporting import charts
from workbench.reporting.metrics import CELLS, METRICS, head_of
from workbench.reporting.page import MARK
from workbench.reporting.table import BASELINE, Cell, Column, Row, Table, numbers
from workbench.reporting.words import DASH, NONE, between, count, in_unit, p_value, percent, seconds
from workbench.stats.multiple import holm
from workbench.types import Record

KINDS = ("failure-free", "supervised", "combination", BASELINE)
"""Kinds of monitors."""
COST_LIMIT_MS = 5.0
"""What a score may cost a scene and call."""
STANDING = (AIM, "tpr", "fpr_nominal", "fpr_perturbed_success", "twa", "actionable_recall", "lead_time_steps")
"""Metrics that people need of every score."""
SHORT = {
    AIM: "AUROC .5",
    "tpr": "caught",
    "fpr_nominal": "false alarms",
    "fpr_perturbed_success": "despite",
    "lead_time_steps": "lead",
}
"""Their headings on the terminal, where room is short."""
SPARE = {"lead_time_steps": 3, "fpr_perturbed_success": 4}
"""Those that go first, behind window and calibrator, where there is no room for all."""
AUDITED = {FALSE_ALARMS: "fpr_nominal", MISSED: "tpr"}
"""Errors that monitors promise few of -> the metric beside which a broken promise is marked."""
WITH_INTERVAL = (AIM, "fpr_nominal")
"""Those of them whose interval is shown."""
PLACES = {
    "tasks": ("tasks", AIM, "time-matched AUROC by half the deadline, by task"),
    "families": ("families", AIM, "time-matched AUROC by half the deadline, by family of faults"),
    "families in time": ("families", "actionable_recall", "failures caught in time, by family of faults"),
}
"""Name of a table -> what its columns are, the metric, and the title."""


def tables(leaderboard: Record) -> dict[str, Table]:
    """Every table of a leaderboard, by name, in the order of the page; those without rows too."""
    return {
        "standing": standing_table(leaderboard),
        "ranking": ranking_table(leaderboard),
        "fractions": fraction_table(leaderboard),
        "timing": timing_table(leaderboard),
        "audit": audit_table(leaderboard),
        "broken": broken_table(leaderboard),
        "drift": drift_table(leaderboard),
        "cells": cell_table(leaderboard),
        **{name: place_table(leaderboard, *asked) for name, asked in PLACES.items()},
        "pairs": pair_table(leaderboard),
        "costs": cost_table(leaderboard),
        "every": every_table(leaderboard),
        "refused": refused_table(leaderboard),
        "stores": store_table(leaderboard),
    }


def standing(leaderboard: Record) -> list[Record]:
    """One row a score, the highest time-matched AUROC at half the deadline first."""
    chosen: dict[str, Record] = {}
    for row in leaderboard["rows"]:
        held = chosen.setdefault(row["score"], row)
        if row.get("selected") and not held.get("selected"):
            chosen[row["score"]] = row
    return sorted(chosen.values(), key=_rank)


def standing_table(leaderboard: Record) -> Table:
    """What people need of every score, one row each."""
    rows = standing(leaderboard)
    level = percent(leaderboard["level"])
    selected = all(row.get("selected") for row in rows if row["kind"] != BASELINE)
    first = "its first window and calibrator, or those fixed beforehand"
    chosen = "its window chosen on the select split, its calibrator fixed beforehand" if selected else first
    broken = any(entry["broken"] for entry in leaderboard["audit"])
    notes = [
        f"One row a score: {chosen}; never the best of several on these episodes.",
        "Baselines look at no policy output, or at nothing at all; a score is worth what it adds to them.",
        "In time is before the point of no return.",
        f"{MARK} marks more errors than a promised {level} and luck explain, on at least one task." if broken else "",
    ]
    title = f"monitors, {leaderboard['protocol']}: level {level}, seeds {seeds(leaderboard)}"
    return _monitor_table(title, leaderboard, rows, " ".join(note for note in notes if note))


def every_table(leaderboard: Record) -> Table:
    """The same of every monitor."""
    return _monitor_table("every monitor", leaderboard, sorted(leaderboard["rows"], key=_rank))


def ranking_table(leaderboard: Record) -> Table:
    """Time-matched AUROC of every score, drawn with its interval on a common axis."""
    rows = [row for row in standing(leaderboard) if whole(row["figures"].get(AIM))]
    bounds = [row["figures"][AIM][end] for row in rows for end in ("value", "low", "high")]
    span = (min([0.4, *(math.floor(10 * bound) / 10 for bound in bounds)]), 1.0)
    made = []
    for row in rows:
        cell = figure_cell(row["figures"][AIM], "ratio")
        words = f"{row['score']}: {cell.text}, 95 % interval {cell.sure}"
        drawn = _strip(row["figures"][AIM], span, words, style(row["kind"]), 0.5)
        made.append(Row.of(row["score"], drawn, cell, kind=row["kind"]))
    axis = Column("", drawing=charts.strip_axis(span, [0.5, 0.75, 1.0]))
    return Table("ranking at half the deadline", [Column("score"), axis, metric_column(AIM)], made)


def fraction_table(leaderboard: Record) -> Table:
    """AUROC and AUPRC at fractions of the deadline, and what is not to be compared."""
    matched, common = ([f"{name}@{fraction:g}" for fraction in FRACTIONS] for name in ("matched_auroc", "auroc"))
    others = ["auprc@0.5", "pooled_auroc@0.5", "twin_accuracy@0.5", "early_auroc", "whole_auroc"]
    note = (
        "AUROC, whole compares highest scores of whole episodes, as papers do; it leaks the length, and stands here to "
        "show by how much."
    )
    title = "at common times, and over the whole episode"
    return _metric_table(title, leaderboard, [*matched, *common, *others], note)


def timing_table(leaderboard: Record) -> Table:
    """Accuracy and timing at the threshold."""
    names = ["balanced_accuracy", "tnr", "detection_time", "delay_to_onset_steps", "precision_detection_area"]
    names += ["oracle_tpr@0.1", "oracle_actionable_recall@0.1"]
    return _metric_table("at the threshold", leaderboard, names)


def cell_table(leaderboard: Record) -> Table:
    """The four cells: with and without fault, success and failure; and the gap that is of interest."""
    rows = []
    for row in standing(leaderboard):
        cells = [figure_cell(row["figures"].get(name), "ratio") for name in CELLS]
        (success, failure) = (cells[1].value, cells[3].value)
        gap = None if success is None or failure is None else failure - success
        if any(cell.value is not None for cell in cells):
            rows.append(Row.of(row["score"], *cells, Cell(in_unit(gap, "signed"), gap), kind=row["kind"]))
    gap_column = Column("gap under a fault", numeric=True, help="failure less success, both under a fault")
    note = (
        "Mean highest margin over the threshold's scale: with and without a fault, success and failure. A score that "
        "only notices that something is different is high in both columns under a fault; one that sees failure has a "
        "large gap between them (Römer et al., FIPER, 2025)."
    )
    return Table("four cells", [Column("score"), *map(metric_column, CELLS), gap_column], rows, note)


def place_table(leaderboard: Record, of: str, metric: str, title: str) -> Table:
    """One metric by task or by family (``of`` is ``tasks`` or ``families``), tinted by how far it is from chance."""
    rows = standing(leaderboard)
    names = sorted({name for row in rows for name in row.get(of) or {}})
    made = []
    for row in rows:
        apart = [(row.get(of) or {}).get(name, {}).get(metric) for name in names]
        if any(value(figure) is not None for figure in apart):
            cells = [_tinted(figure, metric) for figure in (row["figures"].get(metric), *apart)]
            made.append(Row.of(row["score"], *cells, kind=row["kind"]))
    return Table(title, [Column("score"), *numbers("all", *names)], made)


def audit_table(leaderboard: Record) -> Table:
    """One row a calibrator: how its promised level fared over all monitors and tasks, or why it promises none."""
    guarantees = {row["monitor"]: row["guarantee"] for row in leaderboard["rows"]}
    rows = []
    for name, found in audited(leaderboard).items():
        promised = [entry for entry in found if entry["promised"]]
        broken = [entry for entry in promised if entry["broken"]]
        rates = [entry["rate"] for entry in found if entry["rate"] is not None]
        middle, highest = (statistics.median(rates), max(rates)) if rates else (None, None)
        promise = f"few {promised[0]['errors']}" if promised else _no_promise(guarantees.get(found[0]["monitor"], ""))
        above = Cell(count(len(broken), len(promised)), len(broken), mark=bool(broken)) if promised else Cell(NONE)
        shares = [Cell(percent(rate), rate) for rate in (middle, highest)]
        rows.append(Row.of(name, promise, len(found), above, *shares))
    counted = numbers("audited", "broken", "median rate", "highest rate")
    columns = [Column("calibrator"), Column("promises"), *counted]
    return Table("audit: realised errors of each calibrator, every monitor and task apart", columns, rows)


def broken_table(leaderboard: Record) -> Table:
    """Monitors that err more often than they promised, and than luck explains."""
    broken = sorted((entry for entry in leaderboard["audit"] if entry["broken"]), key=lambda entry: -entry["rate"])
    rows = [
        Row.of(
            entry["monitor"],
            entry["task"],
            entry["errors"],
            _errors(entry),
            Cell(percent(entry["level"]), entry["level"]),
            Cell(p_value(entry["p_value"]), entry["p_value"]),
        )
        for entry in broken
    ]
    columns = [*map(Column, ("monitor", "task", "errors")), *numbers("so many", "level", "p")]
    return Table("broken promises", columns, rows)


def drift_table(leaderboard: Record) -> Table:
    """After how many deployed episodes a martingale says that the calibration no longer holds."""
    streams = list(dict.fromkeys(entry["stream"] for entry in leaderboard["drift"]))
    rows = []
    for name, of_monitor in _by(leaderboard["drift"], "monitor").items():
        for task, found in _by(of_monitor, "task").items():
            entries = {entry["stream"]: entry for entry in found}
            cells = [_noticed(entries[stream]) if stream in entries else Cell(NONE) for stream in streams]
            rows.append(Row.of(name, task, *cells))
    columns = [Column("monitor"), Column("task"), *numbers(*(f"{stream} stream" for stream in streams))]
    note = (
        "A test martingale over the highest scores of new episodes says when the calibration no longer holds. On a "
        f"nominal stream it should stay silent ({MARK} where it does not), on a perturbed one speak soon."
    )
    return Table("after deployment", columns, rows, note)


def pair_table(leaderboard: Record) -> Table:
    """Paired differences, drawn around zero, with p-values as they are and after Holm's correction in each metric."""
    pairs = leaderboard["pairs"]
    bounds = [abs(pair["difference"][end]) for pair in pairs if whole(pair["difference"]) for end in ("low", "high")]
    reach = math.ceil(20 * max([0.05, *bounds])) / 20
    rows = []
    corrected = holm([pair["p_value"] for pair in pairs], [pair["metric"] for pair in pairs])
    for pair, p_holm in zip(pairs, corrected, strict=True):
        name, difference = f"{pair['first']} {DASH} {pair['second']}", figure_cell(pair["difference"], "signed")
        drawn = Cell(NONE)
        if whole(pair["difference"]):
            apart = pair["difference"]["low"] > 0 or pair["difference"]["high"] < 0
            words, colour = f"{name}: {difference.plain}", "s0" if apart else "quiet"
            drawn = _strip(pair["difference"], (-reach, reach), words, colour, 0.0)
        tests = [Cell(p_value(p), p) for p in (pair["p_value"], p_holm)]
        rows.append(Row.of(name, head_of(pair["metric"]), drawn, difference, *tests))
    axis = Column("", drawing=charts.strip_axis((-reach, reach), [-reach, 0.0, reach]))
    columns = [Column("pair"), Column("metric"), axis, *numbers("difference", "p", "p, Holm")]
    note = (
        "Differences on the same episodes and training seeds, first minus second. Holm's p-values hold for all "
        "comparisons of one metric together."
    )
    return Table("paired comparisons", columns, rows, note)


def cost_table(leaderboard: Record) -> Table:
    """Milliseconds a scene and call, and seconds to fit, the dearest first."""
    kinds = {row["score"]: row["kind"] for row in leaderboard["rows"]}
    rows = []
    for cost in sorted(leaderboard["costs"], key=lambda cost: -(value(cost["milliseconds"]) or 0.0)):
        spent, fit_s = figure_cell(cost["milliseconds"], "milliseconds"), cost["fit_s"]
        spent = dataclasses.replace(spent, mark=spent.value is not None and spent.value > COST_LIMIT_MS)
        fitted = Cell(NONE if fit_s is None else seconds(fit_s), fit_s)
        rows.append(Row.of(cost["score"], spent, fitted, kind=kinds.get(cost["score"], "")))
    note = (
        f"Milliseconds a scene and policy call on one core; {MARK} is above {COST_LIMIT_MS:g} ms. Sampling of further "
        "chunks, where a score needs them, is the policy's cost and not in it."
    )
    return Table("cost", [Column("score"), *numbers("ms a call", "fit")], rows, note)


def refused_table(leaderboard: Record) -> Table:
    """What could not be run, and why."""
    rows = [Row.of(entry["part"], entry["store"], entry["reason"]) for entry in leaderboard["refused"]]
    return Table("refused", [Column("part"), Column("store"), Column("reason")], rows)


def store_table(leaderboard: Record) -> Table:
    """What was fitted, selected, calibrated and judged on: episodes of each split."""
    splits = list(dict.fromkeys(name for store in leaderboard["stores"] for name in store["splits"]))
    rows = []
    for store in leaderboard["stores"]:
        counts = [*(store["splits"].get(split) for split in splits), store["test"], store["failures"]]
        cells = [Cell(NONE) if each is None else Cell(str(each), each) for each in counts]
        rows.append(Row.of(store["store"], store["task"], store["policy"], *cells))
    columns = [Column("store"), Column("task"), Column("policy"), *numbers(*splits, "judged", "failures")]
    return Table("stores", columns, rows)


def metric_column(metric: str) -> Column:
    """A column of a metric, with its definition."""
    return Column(METRICS[metric].head, numeric=True, help=METRICS[metric].words, short=SHORT.get(metric, ""))


def figure_cell(figure: Record | None, unit: str) -> Cell:
    """A figure with its interval, or a dash where there is none."""
    if figure is None or figure["value"] is None:
        return Cell(NONE)
    bounds = (figure["low"], figure["high"])
    if None in bounds:
        return Cell(in_unit(figure["value"], unit), figure["value"])
    return Cell(in_unit(figure["value"], unit), figure["value"], bounds, between(bounds, unit))


def value(figure: Record | None) -> float | None:
    """Value of a figure that may not be there, or be without one."""
    return None if figure is None else figure["value"]


def whole(figure: Record | None) -> bool:
    """Whether a figure has a value and an interval."""
    return figure is not None and None not in (figure["value"], figure["low"], figure["high"])


def style(kind: str) -> str:
    """Class of the drawings of a kind of monitors."""
    return "quiet" if kind == BASELINE else f"s{KINDS.index(kind)}"


def audited(leaderboard: Record) -> dict[str, list[Record]]:
    """Calibrator -> its audits; of one that promises a level, those of monitors that do (always alarming does not)."""
    groups = _by(leaderboard["audit"], "calibrator")
    return {name: [entry for entry in found if entry["promised"]] or found for name, found in groups.items()}


def seeds(leaderboard: Record) -> str:
    """Training seeds in words."""
    return ", ".join(str(seed) for seed in leaderboard["seeds"])


def _rank(row: Record) -> tuple[float, str]:
    reached = value(row["figures"].get(AIM))
    return (math.inf if reached is None else -reached, row["score"])


def _monitor_table(title: str, leaderboard: Record, rows: Sequence[Record], note: str = "") -> Table:
    costs = {cost["score"]: cost["milliseconds"] for cost in leaderboard["costs"]}
    broken = {(entry["monitor"], entry["errors"]) for entry in leaderboard["audit"] if entry["broken"]}
    made = []
    for row in rows:
        cells = {metric: figure_cell(row["figures"].get(metric), METRICS[metric].unit) for metric in STANDING}
        shown = {name: cell if name in WITH_INTERVAL else bare(cell) for name, cell in cells.items()}
        for errors, metric in AUDITED.items():
            shown[metric] = dataclasses.replace(shown[metric], mark=(row["monitor"], errors) in broken)
        spent = bare(figure_cell(costs.get(row["score"]), "milliseconds"))
        calibrator = Cell(row["calibrator"] or NONE, title=row["guarantee"])
        made.append(Row.of(row["score"], row["window"] or NONE, calibrator, *shown.values(), spent, kind=row["kind"]))
    columns = [Column("score"), Column("window", spare=1), Column("calibrator", spare=2)]
    columns += [dataclasses.replace(metric_column(name), spare=SPARE.get(name, 0)) for name in STANDING]
    columns += [Column("ms a call", numeric=True, help="milliseconds a scene and policy call on one core", short="ms")]
    return Table(title, columns, made, note)


def _metric_table(title: str, leaderboard: Record, names: Sequence[str], note: str = "") -> Table:
    """Those of some metrics that the leaderboard has at all."""
    rows = standing(leaderboard)
    there = [name for name in names if any(name in row["figures"] for row in rows)]
    made = []
    for row in rows:
        cells = [figure_cell(row["figures"].get(name), METRICS[name].unit) for name in there]
        made.append(Row.of(row["score"], *cells, kind=row["kind"]))
    return Table(title, [Column("score"), *map(metric_column, there)], made, note)


def bare(cell: Cell) -> Cell:
    """A cell that does not show its interval; programs still find it."""
    return dataclasses.replace(cell, sure="")


def _tinted(figure: Record | None, metric: str) -> Cell:
    """From chance, which is one half for what compares episodes and nothing for rates."""
    cell = bare(figure_cell(figure, METRICS[metric].unit))
    if cell.value is None:
        return cell
    heat = 2 * cell.value - 1 if METRICS[metric].unit == "ratio" else cell.value
    return dataclasses.replace(cell, heat=heat)


def _strip(figure: Record, span: tuple[float, float], words: str, colour: str, at: float) -> Cell:
    bounds = (float(figure["low"]), float(figure["high"]))
    return Cell(drawn=charts.interval_strip(float(figure["value"]), bounds, span, words, colour, [at]))


def _errors(entry: Record) -> Cell:
    bounds = (entry["ci95"][0], entry["ci95"][1])
    text = count(entry["count"], entry["episodes"])
    return Cell(text, entry["rate"], bounds, between(bounds, "rate"), entry["broken"])


def _noticed(entry: Record) -> Cell:
    """After how many episodes of how many; marked where it speaks up although nothing has changed."""
    after = entry["noticed_after"]
    text = "never" if after is None else str(after)
    return Cell(f"{text} of {entry['episodes']}", after, mark=entry["stream"] == "nominal" and after is not None)


def _by(entries: Sequence[Record], key: str) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for entry in entries:
        groups.setdefault(entry[key], []).append(entry)
    return groups


def _no_promise(guarantee: str) -> str:
    reason = guarantee.removeprefix("none").removeprefix(": ")
    return f"nothing: {reason}" if reason else "nothing"
