"""A benchmark of monitors as one page, as tables on the terminal, and as files for other programs.

A leaderboard is plain data (see :data:`KEYS`); all its numbers are ``figures``: a value, its 95 % interval and the
episodes behind it.  Page and terminal are made from the same sheets, so they never disagree.  Nothing is left out in
silence: a number that could not be computed is a dash, and a part that could not run stands among the refused with
its reason.  One row stands for a score: the one that the job marked as ``selected`` (before it saw a test episode), or
else the first listed.  The best one would be a choice made on the test split.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.benchmarking.columns import FRACTIONS
from workbench.benchmarking.metrics import AIM
from workbench.benchmarking.own import CLOCK
from workbench.errors import ConfigError, UnknownNameError
from workbench.reporting import charts
from workbench.reporting.report import DASH, NONE, p_value, percent, seconds
from workbench.stats.multiple import holm
from workbench.types import Record

if TYPE_CHECKING:
    from markupsafe import Markup
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

KEYS = {
    "protocol": "name of the protocol, such as unseen_family",
    "about": "one paragraph: what is fitted, selected, calibrated and judged on what",
    "level": "nominal false-alarm rate that every monitor was calibrated for",
    "seeds": "training seeds",
    "command": "what makes the leaderboard again",
    "stores": "store, task, policy, splits (name -> episodes), test (episodes), failures (among them)",
    "rows": "monitor, score, window, calibrator, kind, guarantee, figures (metric -> figure), tasks and families "
    "(name -> metric -> figure); optionally selected",
    "costs": "score, milliseconds (figure; a scene and call on one core), fit_s",
    "pairs": "first, second, metric, difference (figure), p_value",
    "audit": "monitor, calibrator, task, alarms, episodes, rate, ci95, level, promised, broken",
    "drift": "monitor, task, stream, noticed_after (episodes, or None), episodes",
    "refused": "part, store, reason",
}
"""What a leaderboard holds."""
KINDS = ("failure-free", "supervised", "combination", "baseline")
BASELINE = "baseline"
COST_LIMIT_MS = 5.0
"""What a score may cost a scene and call."""
SHOWN_LINES = 6
"""How many scores are drawn as lines; more cannot be told apart."""
SHOWN_PAIRS = 12
"""How many comparisons the terminal shows."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is called and shown.

    Attributes
    ----------
    head : heading of its column.
    unit : key of :data:`UNITS`.
    words : its definition.
    """

    head: str
    unit: str
    words: str


UNITS: Mapping[str, Callable[[float], str]] = {
    "ratio": lambda value: f"{value:.2f}",
    "rate": lambda value: f"{100 * value:.0f} %",
    "steps": lambda value: f"{round(value):d}",
    "signed": lambda value: f"{value:+.2f}",
    "milliseconds": lambda value: f"{value:.2f}",
}


def _at_fractions(name: str, head: str, words: str) -> dict[str, Metric]:
    return {
        f"{name}@{fraction:g}": Metric(f"{head} at {fraction:g}", "ratio", words.format(fraction=f"{fraction:g}"))
        for fraction in FRACTIONS
    }


METRICS: Mapping[str, Metric] = {
    **_at_fractions(
        "auroc", "AUROC",
        "how often a failed episode scores higher than a successful one of the same task, each by its highest score up "
        "to {fraction} of the deadline; mean over tasks",
    ),
    **_at_fractions(
        "matched_auroc", "matched AUROC",
        "the same, but every failure and success are compared at a time by which neither had ended, {fraction} of the "
        "deadline at the latest; elapsed time has exactly one half",
    ),
    **_at_fractions("auprc", "AUPRC", "average precision of the same scores, failures being positive; mean over tasks"),
    **_at_fractions("pooled_auroc", "pooled AUROC", "the same, the episodes of all tasks in one heap"),
    **_at_fractions("pooled_auprc", "pooled AUPRC", "the same, the episodes of all tasks in one heap"),
    "early_auroc": Metric(
        "AUROC, early", "ratio", "AUROC by the end of the task's shortest episode, where no length is known yet (SAFE)"
    ),
    "whole_auroc": Metric("AUROC, whole", "ratio", "AUROC of the highest score of the whole episode; leaks its length"),
    "tpr": Metric("failures caught", "rate", "share of failed episodes with any alarm (true positive rate)"),
    "tnr": Metric("successes left alone", "rate", "share of successful episodes without alarm (true negative rate)"),
    "balanced_accuracy": Metric("balanced accuracy", "ratio", "mean of the two shares"),
    "twa": Metric(
        "TWA", "ratio", "timeliness-weighted accuracy: mean of the share of successes left alone, and of 1 - detection "
        "time over all failures, 0 for one not caught",
    ),
    "detection_time": Metric("mean alarm", "ratio", "first alarm of caught failures, as a share of the deadline"),
    "precision_detection_area": Metric(
        "precision-time area", "ratio", "area under precision against detection time as the threshold is swept, a "
        "failure never caught counting as time 1; lower is better",
    ),
    "fpr_nominal": Metric("false alarms, no fault", "rate", "share of successful episodes without a fault that alarm"),
    "fpr_perturbed_success": Metric(
        "alarms, success despite fault", "rate", "share of episodes that succeed despite a fault and alarm; breaks no "
        "promise",
    ),
    "delay_to_onset_steps": Metric("delay to onset", "steps", "first alarm minus measured onset, median control steps"),
    "actionable_recall": Metric("in time", "rate", "share of failures whose alarm comes before the point of no return"),
    "lead_time_steps": Metric("lead, steps", "steps", "point of no return minus first alarm, median control steps"),
    "twin_accuracy@0.5": Metric(
        "twins", "ratio", "how often a failed episode scores higher than its own nominal twin at half the deadline",
    ),
    "oracle_tpr@0.1": Metric(
        "caught, oracle", "rate", "failures caught at the threshold that, known afterwards, a tenth of successes pass",
    ),
    "oracle_actionable_recall@0.1": Metric("in time, oracle", "rate", "failures caught in time at that threshold"),
    "oracle_fpr@0.1": Metric("false alarms, oracle", "rate", "successes that do exceed that threshold"),
    "id_success": Metric(
        "success, no fault", "ratio", "mean highest margin by half the deadline, in units of the threshold's scale",
    ),
    "ood_success": Metric("success, fault", "ratio", "the same, of episodes that succeed despite a fault"),
    "id_failure": Metric("failure, no fault", "ratio", "the same, of episodes that fail without a fault"),
    "ood_failure": Metric("failure, fault", "ratio", "the same, of episodes that fail under a fault"),
}  # fmt: skip
"""Every metric that has a heading; others of a leaderboard stand in its CSV and JSON."""
CELLS = ("id_success", "ood_success", "id_failure", "ood_failure")
SHORT = {
    "matched AUROC at 0.5": "AUROC .5",
    "failures caught": "caught",
    "false alarms, no fault": "false alarms",
    "alarms, success despite fault": "despite",
    "lead, steps": "lead",
    "ms a call": "ms",
}
"""Headings for the terminal, where room is short."""
SPARE = ("window", "calibrator", METRICS["lead_time_steps"].head, METRICS["fpr_perturbed_success"].head)
"""Columns that go first where there is no room for all."""
STANDING = (AIM, "tpr", "fpr_nominal", "fpr_perturbed_success", "twa", "actionable_recall", "lead_time_steps")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a sheet.

    Attributes
    ----------
    text, sure : the number, and its interval; the interval may be empty.
    order : what sorting goes by; None goes last.
    broken : whether it contradicts a promise.
    heat : -1 .. 1, how strongly it is tinted; None for not at all.
    drawn : a figure that stands in its place.
    """

    text: str
    sure: str = ""
    order: float | None = None
    broken: bool = False
    heat: float | None = None
    drawn: Markup | None = None

    @property
    def plain(self) -> str:
        """As one string."""
        return " · ".join(part for part in (self.text, self.sure) if part) + (" ▲" if self.broken else "")


@dataclasses.dataclass(frozen=True)
class Line:
    """One row of a sheet: a name, what kind of thing it is, and cells."""

    name: str
    cells: Sequence[Cell]
    kind: str = ""


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes
    ----------
    heads : of the name and of every cell.
    words : how many of the first cells hold words; the others hold numbers.
    spare : heads that a narrow page or terminal leaves out, in this order.
    """

    heads: Sequence[str]
    lines: Sequence[Line]
    words: int = 0
    spare: Sequence[str] = ()


def write(leaderboard: Record, folder: Path) -> Path:
    """Write ``leaderboard.json``, ``leaderboard.csv`` and ``leaderboard.html`` and return the path of the page.

    Raises
    ------
    ConfigError
        if the leaderboard lacks a key, has an unknown kind of monitor, or a number that is not finite.
    """
    _check(leaderboard)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        text = json.dumps(leaderboard, allow_nan=False)
    except ValueError as error:
        raise ConfigError(
            f"a number of the leaderboard is not finite ({error}): use null for one without value"
        ) from None
    (folder / "leaderboard.json").write_text(text, encoding="utf-8")
    (folder / "leaderboard.csv").write_text(_csv(leaderboard), encoding="utf-8", newline="")
    page = folder / "leaderboard.html"
    page.write_text(_page(leaderboard), encoding="utf-8")
    return page


def terminal(leaderboard: Record) -> list[RenderableType]:
    """Standing, audit, comparisons and what was refused, for the terminal."""
    _check(leaderboard)
    pairs = pair_sheet(leaderboard)
    left = len(pairs.lines) - SHOWN_PAIRS
    more = f" (the first {SHOWN_PAIRS} of {len(pairs.lines)})" if left > 0 else ""
    told = f"monitors, {leaderboard['protocol']}: level {percent(leaderboard['level'])}, seeds {_seeds(leaderboard)}"
    sheets = {
        told: standing_sheet(leaderboard),
        "audit: realised false alarms of each calibrator, every monitor and task apart": audit_sheet(leaderboard),
        f"paired comparisons{more}": dataclasses.replace(pairs, lines=pairs.lines[:SHOWN_PAIRS]),
        "refused": refused_sheet(leaderboard),
    }
    return [_Fitting(title, sheet) for title, sheet in sheets.items() if sheet.lines]


def standing(leaderboard: Record) -> list[Record]:
    """One row a score, the highest time-matched AUROC at half the deadline first."""
    chosen: dict[str, Record] = {}
    for row in leaderboard["rows"]:
        held = chosen.setdefault(row["score"], row)
        if row.get("selected") and not held.get("selected"):
            chosen[row["score"]] = row
    return sorted(chosen.values(), key=_rank)


def tidy(leaderboard: Record) -> list[Record]:
    """One record a monitor, task or family, and metric; ``all`` where it is over all of them."""
    return [
        {
            "protocol": leaderboard["protocol"],
            **{key: row[key] for key in ("monitor", "score", "window", "calibrator", "kind")},
            "task": task,
            "family": family,
            "metric": metric,
            **{key: figure[key] for key in ("value", "low", "high")},
            "episodes": figure["n"],
        }
        for row in leaderboard["rows"]
        for task, family, figures in _parts(row)
        for metric, figure in figures.items()
    ]


def standing_sheet(leaderboard: Record) -> Sheet:
    """What people need of every score, one row each."""
    return _monitor_sheet(leaderboard, standing(leaderboard), "score")


def all_sheet(leaderboard: Record) -> Sheet:
    """The same of every monitor."""
    return _monitor_sheet(leaderboard, sorted(leaderboard["rows"], key=_rank), "score")


def fraction_sheet(leaderboard: Record) -> Sheet:
    """AUROC and AUPRC at fractions of the deadline, and what is not to be compared."""
    matched, common = ([f"{name}@{fraction:g}" for fraction in FRACTIONS] for name in ("matched_auroc", "auroc"))
    others = ["auprc@0.5", "pooled_auroc@0.5", "twin_accuracy@0.5", "early_auroc", "whole_auroc"]
    return _metric_sheet(leaderboard, [*matched, *common, *others])


def timing_sheet(leaderboard: Record) -> Sheet:
    """Accuracy and timing at the threshold."""
    names = ["balanced_accuracy", "tnr", "detection_time", "delay_to_onset_steps", "precision_detection_area"]
    return _metric_sheet(leaderboard, [*names, "oracle_tpr@0.1", "oracle_actionable_recall@0.1"])


def cell_sheet(leaderboard: Record) -> Sheet:
    """The four cells: with and without fault, success and failure; and the gap that is of interest."""
    lines = []
    for row in standing(leaderboard):
        values = [_value(row["figures"].get(name)) for name in CELLS]
        gap = None if values[1] is None or values[3] is None else values[3] - values[1]
        cells = [_cell(row["figures"].get(name), "ratio") for name in CELLS]
        lines.append(Line(row["score"], [*cells, Cell(_text(gap, "signed"), order=gap)], row["kind"]))
    heads = ["score", *(METRICS[name].head for name in CELLS), "gap under a fault"]
    return Sheet(heads, [line for line in lines if any(cell.order is not None for cell in line.cells)])


def heat_sheet(leaderboard: Record, of: str, metric: str) -> Sheet:
    """One metric by task or by family (``of`` is ``tasks`` or ``families``), tinted by how far it is from chance."""
    rows = standing(leaderboard)
    names = sorted({name for row in rows for name in row.get(of) or {}})
    unit = METRICS[metric].unit
    lines = []
    for row in rows:
        found = [row["figures"].get(metric), *((row.get(of) or {}).get(name, {}).get(metric) for name in names)]
        cells = [dataclasses.replace(_cell(figure, unit), heat=_heat(figure, metric), sure="") for figure in found]
        lines.append(Line(row["score"], cells, row["kind"]))
    kept = [line for line in lines if any(cell.order is not None for cell in line.cells[1:])]
    return Sheet(["score", "all", *names], kept)


def audit_sheet(leaderboard: Record) -> Sheet:
    """One row a calibrator: how its promised level fared over all monitors and tasks, or why it promises none."""
    guarantees = {row["monitor"]: row["guarantee"] for row in leaderboard["rows"]}
    lines = []
    for name, found in _audited(leaderboard).items():
        promised = [entry for entry in found if entry["promised"]]
        broken = [entry for entry in promised if entry["broken"]]
        rates = [entry["rate"] for entry in found if entry["rate"] is not None]
        middle, highest = (statistics.median(rates), max(rates)) if rates else (None, None)
        cells = [
            Cell("a level" if promised else _no_promise(guarantees.get(found[0]["monitor"], ""))),
            Cell(str(len(found)), order=len(found)),
            Cell(f"{len(broken)}/{len(promised)}" if promised else NONE, order=len(broken), broken=bool(broken)),
            Cell(percent(middle), order=middle),
            Cell(percent(highest), order=highest),
        ]
        lines.append(Line(name, cells))
    return Sheet(
        ["calibrator", "promises", "audited", "above the level", "median rate", "highest rate"], lines, words=1
    )


def broken_sheet(leaderboard: Record) -> Sheet:
    """Monitors whose whole false-alarm interval lies above the level that they promised."""
    broken = sorted((entry for entry in leaderboard["audit"] if entry["broken"]), key=lambda entry: -entry["rate"])
    lines = [
        Line(entry["monitor"], [Cell(entry["task"]), _alarms(entry), Cell(percent(entry["level"]))]) for entry in broken
    ]
    return Sheet(["monitor", "task", "false alarms", "level"], lines, words=1)


def drift_sheet(leaderboard: Record) -> Sheet:
    """After how many deployed episodes a martingale says that the calibration no longer holds."""
    streams = list(dict.fromkeys(entry["stream"] for entry in leaderboard["drift"]))
    lines = []
    for name, of_monitor in _by(leaderboard["drift"], "monitor").items():
        for task, found in _by(of_monitor, "task").items():
            entries = {entry["stream"]: entry for entry in found}
            cells = [_noticed(entries[stream]) if stream in entries else Cell(NONE) for stream in streams]
            lines.append(Line(name, [Cell(task), *cells]))
    return Sheet(["monitor", "task", *(f"{stream} stream" for stream in streams)], lines, words=1)


def pair_sheet(leaderboard: Record) -> Sheet:
    """Paired differences, with p-values as they are and after Holm's correction within each metric."""
    pairs = leaderboard["pairs"]
    adjusted = holm([pair["p_value"] for pair in pairs], [pair["metric"] for pair in pairs])
    lines = [
        Line(
            f"{pair['first']} {DASH} {pair['second']}",
            [
                Cell(_head(pair["metric"])),
                _cell(pair["difference"], "signed"),
                Cell(p_value(pair["p_value"]), order=pair["p_value"]),
                Cell(p_value(corrected), order=corrected),
            ],
        )
        for pair, corrected in zip(pairs, adjusted, strict=True)
    ]
    return Sheet(["pair", "metric", "difference", "p", "p, Holm"], lines, words=1)


def cost_sheet(leaderboard: Record) -> Sheet:
    """Milliseconds a scene and call, and seconds to fit, the dearest first."""
    kinds = {row["score"]: row["kind"] for row in leaderboard["rows"]}
    lines = [
        Line(
            cost["score"],
            [
                dataclasses.replace(_cell(cost["milliseconds"], "milliseconds"), broken=_dear(cost)),
                Cell(NONE if cost["fit_s"] is None else seconds(cost["fit_s"]), order=cost["fit_s"]),
            ],
            kinds.get(cost["score"], ""),
        )
        for cost in sorted(leaderboard["costs"], key=lambda cost: -(_value(cost["milliseconds"]) or 0.0))
    ]
    return Sheet(["score", "ms a call", "fit"], lines)


def refused_sheet(leaderboard: Record) -> Sheet:
    """What could not be run, and why."""
    lines = [Line(entry["part"], [Cell(entry["store"]), Cell(entry["reason"])]) for entry in leaderboard["refused"]]
    return Sheet(["part", "store", "reason"], lines, words=2)


def store_sheet(leaderboard: Record) -> Sheet:
    """What was fitted, selected, calibrated and judged on: episodes of each split."""
    splits = list(dict.fromkeys(name for store in leaderboard["stores"] for name in store["splits"]))
    lines = [
        Line(
            store["store"],
            [
                Cell(store["task"]),
                Cell(store["policy"]),
                *(_count(store["splits"].get(split)) for split in splits),
                _count(store["test"]),
                _count(store["failures"]),
            ],
        )
        for store in leaderboard["stores"]
    ]
    return Sheet(["store", "task", "policy", *splits, "judged", "failures"], lines, words=2)


def headlines(leaderboard: Record) -> list[Record]:
    """The numbers to read first, as (value, what it is, how sure)."""
    rows = [row for row in standing(leaderboard) if row["kind"] != BASELINE]
    found = [_best_ranking(leaderboard, rows), _best_in_time(leaderboard, rows), _hardest_pair(leaderboard)]
    promised = [entry for entry in leaderboard["audit"] if entry["promised"]]
    if promised:
        kept = sum(not entry["broken"] for entry in promised)
        sure = f"{kept} of {len(promised)}, a monitor and a task each"
        what = f"of promised levels ({percent(leaderboard['level'])} false alarms) that no test contradicts"
        found.append({"value": percent(kept / len(promised)), "what": what, "sure": sure})
    return [row for row in found if row]


def promises(leaderboard: Record) -> dict[str, list[str]]:
    """Guarantee -> the monitors that make it, word for word."""
    made: dict[str, list[str]] = {}
    for row in leaderboard["rows"]:
        made.setdefault(row["guarantee"], []).append(row["monitor"])
    return made


def _check(leaderboard: Record) -> None:
    missing = [key for key in KEYS if key not in leaderboard]
    if missing:
        raise ConfigError(f"a leaderboard holds {', '.join(KEYS)}, but this one lacks {', '.join(missing)}")
    for row in leaderboard["rows"]:
        if row["kind"] not in KINDS:
            raise UnknownNameError("kind of monitor", row["kind"], KINDS)


def _rank(row: Record) -> tuple[float, str]:
    value = _value(row["figures"].get(AIM))
    return (math.inf if value is None else -value, row["score"])


def _parts(row: Record) -> Iterable[tuple[str, str, Mapping[str, Record]]]:
    yield "all", "all", row["figures"]
    for task, figures in (row.get("tasks") or {}).items():
        yield task, "all", figures
    for family, figures in (row.get("families") or {}).items():
        yield "all", family, figures


def _csv(leaderboard: Record) -> str:
    records = tidy(leaderboard)
    names = ["protocol", "monitor", "score", "window", "calibrator", "kind", "task", "family", "metric"]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*names, "value", "low", "high", "episodes"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _monitor_sheet(leaderboard: Record, rows: Sequence[Record], first: str) -> Sheet:
    costs = {cost["score"]: cost for cost in leaderboard["costs"]}
    broken = {entry["monitor"] for entry in leaderboard["audit"] if entry["broken"]}
    lines = []
    for row in rows:
        cells = [_cell(row["figures"].get(metric), METRICS[metric].unit) for metric in STANDING]
        cells = [cell if index in (0, 2) else dataclasses.replace(cell, sure="") for index, cell in enumerate(cells)]
        cells[2] = dataclasses.replace(cells[2], broken=row["monitor"] in broken)
        cost = costs.get(row["score"])
        spent = dataclasses.replace(_cell(cost["milliseconds"] if cost else None, "milliseconds"), sure="")
        built = [Cell(row["window"] or NONE), Cell(row["calibrator"] or NONE)]
        lines.append(Line(row["score"], [*built, *cells, spent], row["kind"]))
    heads = [first, "window", "calibrator", *(METRICS[metric].head for metric in STANDING), "ms a call"]
    return Sheet(heads, lines, words=2, spare=SPARE)


def _metric_sheet(leaderboard: Record, names: Sequence[str]) -> Sheet:
    """Those of some metrics that the leaderboard has at all."""
    rows = standing(leaderboard)
    there = [name for name in names if any(name in row["figures"] for row in rows)]
    lines = [
        Line(row["score"], [_cell(row["figures"].get(name), METRICS[name].unit) for name in there], row["kind"])
        for row in rows
    ]
    return Sheet(["score", *(METRICS[name].head for name in there)], lines)


def _value(figure: Record | None) -> float | None:
    return None if figure is None else figure["value"]


def _text(value: float | None, unit: str) -> str:
    return NONE if value is None else UNITS[unit](value)


def _cell(figure: Record | None, unit: str) -> Cell:
    value = _value(figure)
    if figure is None or value is None:
        return Cell(NONE)
    bounds = (figure["low"], figure["high"])
    return Cell(_text(value, unit), "" if None in bounds else _between(bounds, unit), value)


def _between(bounds: Sequence[float], unit: str) -> str:
    low, high = (_text(bound, unit) for bound in bounds)
    return f"{low} to {high}" if "-" in low or unit == "signed" else f"{low.removesuffix(' %')}{DASH}{high}"


def _alarms(entry: Record) -> Cell:
    text = f"{entry['alarms']}/{entry['episodes']}"
    return Cell(text, _between(entry["ci95"], "rate"), entry["rate"], entry["broken"])


def _count(number: int | None) -> Cell:
    return Cell(NONE if number is None else str(number), order=number)


def _head(metric: str) -> str:
    return METRICS[metric].head if metric in METRICS else metric


def _heat(figure: Record | None, metric: str) -> float | None:
    """From chance, which is one half for what compares episodes and nothing for rates."""
    value = _value(figure)
    if value is None:
        return None
    return 2 * value - 1 if METRICS[metric].unit == "ratio" else value


def _by(entries: Sequence[Record], key: str) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for entry in entries:
        groups.setdefault(entry[key], []).append(entry)
    return groups


def _audited(leaderboard: Record) -> dict[str, list[Record]]:
    """Calibrator -> its audits; of one that promises a level, those of monitors that do (always alarming does not)."""
    groups = _by(leaderboard["audit"], "calibrator")
    return {name: [entry for entry in found if entry["promised"]] or found for name, found in groups.items()}


def _no_promise(guarantee: str) -> str:
    reason = guarantee.removeprefix("none").removeprefix(": ")
    return f"nothing: {reason}" if reason else "nothing"


def _noticed(entry: Record) -> Cell:
    """After how many episodes of how many; broken where it speaks up although nothing has changed."""
    after = entry["noticed_after"]
    text = "never" if after is None else str(after)
    return Cell(
        f"{text} of {entry['episodes']}", order=after, broken=entry["stream"] == "nominal" and after is not None
    )


def _dear(cost: Record) -> bool:
    value = _value(cost["milliseconds"])
    return value is not None and value > COST_LIMIT_MS


def _seeds(leaderboard: Record) -> str:
    return ", ".join(str(seed) for seed in leaderboard["seeds"])


def _best_ranking(leaderboard: Record, rows: Sequence[Record]) -> Record | None:
    if not rows or _value(rows[0]["figures"].get(AIM)) is None:
        return None
    best = _cell(rows[0]["figures"][AIM], "ratio")
    what = f"time-matched AUROC by half the deadline, by {rows[0]['score']} (best of {len(rows)})"
    return {"value": best.text, "what": what, "sure": f"{best.sure}; the clock alone has 0.50"}


def _best_in_time(leaderboard: Record, rows: Sequence[Record]) -> Record | None:
    """Of the scores whose false alarms may lie at the level or below, the one that is most often in time."""
    honest = [
        row
        for row in rows
        if _value(row["figures"].get("actionable_recall")) is not None
        and (low := row["figures"].get("fpr_nominal", {}).get("low")) is not None
        and low <= leaderboard["level"]
    ]
    if not honest:
        return None
    best = max(honest, key=lambda row: float(row["figures"]["actionable_recall"]["value"]))
    recall, alarms = (_cell(best["figures"][name], "rate") for name in ("actionable_recall", "fpr_nominal"))
    what = f"of failures caught before the point of no return, by {best['score']} (best of {len(honest)})"
    return {"value": recall.text, "what": what, "sure": f"{recall.sure} · false alarms {alarms.plain}"}


def _hardest_pair(leaderboard: Record) -> Record | None:
    """The monitor that is compared first, against that of the others which it beats by least."""
    pairs = [
        pair for pair in leaderboard["pairs"]
        if all(pair[key] == leaderboard["pairs"][0][key] for key in ("first", "metric"))
        and _value(pair["difference"]) is not None
    ]  # fmt: skip
    if not pairs:
        return None
    pair = min(pairs, key=lambda pair: float(pair["difference"]["value"]))
    difference = _cell(pair["difference"], "signed")
    among = f", the best of {len(pairs)} others" if len(pairs) > 1 else ""
    what = f"{_head(pair['metric'])}, {pair['first']} against {pair['second']}{among}"
    return {"value": difference.text, "what": what, "sure": f"{difference.sure} · p {p_value(pair['p_value'])}"}


def _clock(leaderboard: Record, metric: str) -> float | None:
    return next((_value(row["figures"].get(metric)) for row in leaderboard["rows"] if row["score"] == CLOCK), None)


@dataclasses.dataclass(frozen=True)
class _Fitting:
    """A terminal table that leaves out its spare columns, one after the other, until it fits."""

    title: str
    sheet: Sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for left_out in range(len(self.sheet.spare) + 1):
            made = _terminal_table(self.title, self.sheet, self.sheet.spare[:left_out])
            if console.measure(made, options=options.update(max_width=1000)).maximum <= options.max_width:
                break
        yield made


def _terminal_table(title: str, sheet: Sheet, without: Sequence[str]) -> Table:
    """Words wrap where the terminal is narrow, so that no number is cut off; baselines are dim."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    kept = [index for index, head in enumerate(sheet.heads) if head not in without]
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    made.padding = (0, 1, 0, 0)
    for index in kept:
        numeric, head = index > sheet.words, sheet.heads[index]
        made.add_column(SHORT.get(head, head), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for line in sheet.lines:
        # Text, because a plain string is markup to rich, and a name may hold brackets.
        cells = [Text(cell.plain, style="bold red" if cell.broken else "") for cell in line.cells]
        row = [Text(line.name), *cells]
        made.add_row(*(row[index] for index in kept), style="dim" if line.kind == BASELINE else "")
    return made


def _page(leaderboard: Record) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("workbench.reporting"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    rows = standing(leaderboard)
    context = {
        "leaderboard": leaderboard,
        "headlines": headlines(leaderboard),
        "kinds": [kind for kind in KINDS if any(row["kind"] == kind for row in leaderboard["rows"])],
        "selected": all(row.get("selected") for row in rows if row["kind"] != BASELINE),
        "seeds": _seeds(leaderboard),
        "level": percent(leaderboard["level"]),
        "clock": [_text(_clock(leaderboard, f"auroc@{fraction:g}"), "ratio") for fraction in FRACTIONS],
        "sheets": {
            "standing": standing_sheet(leaderboard),
            "all": all_sheet(leaderboard),
            "forest": _forest(leaderboard),
            "fractions": fraction_sheet(leaderboard),
            "timing": timing_sheet(leaderboard),
            "cells": cell_sheet(leaderboard),
            "tasks": heat_sheet(leaderboard, "tasks", AIM),
            "families": heat_sheet(leaderboard, "families", AIM),
            "families in time": heat_sheet(leaderboard, "families", "actionable_recall"),
            "audit": audit_sheet(leaderboard),
            "broken": broken_sheet(leaderboard),
            "drift": drift_sheet(leaderboard),
            "pairs": _drawn_pairs(leaderboard),
            "costs": cost_sheet(leaderboard),
            "refused": refused_sheet(leaderboard),
            "stores": store_sheet(leaderboard),
        },
        "figures": {
            "timing": _timing_figure(rows, leaderboard["level"]),
            "matched": _fraction_figure(rows, "matched_auroc"),
            "common": _fraction_figure(rows, "auroc"),
        },
        "audits": _audit_figures(leaderboard),
        "metrics": METRICS,
        "promises": promises(leaderboard),
        "limit": f"{COST_LIMIT_MS:g}",
        "none": NONE,
    }
    return environment.get_template("leaderboard.html.j2").render(context)


def _style(kind: str) -> str:
    return "quiet" if kind == BASELINE else f"s{KINDS.index(kind)}"


def _forest(leaderboard: Record) -> Sheet:
    """Time-matched AUROC of every score, drawn with its interval on a common axis."""
    rows = [row for row in standing(leaderboard) if None not in _whole(row["figures"].get(AIM))]
    bounds = [bound for row in rows for bound in _whole(row["figures"][AIM]) if bound is not None]
    span = (min([0.4, *(math.floor(10 * bound) / 10 for bound in bounds)]), 1.0)
    lines = []
    for row in rows:
        cell = _cell(row["figures"][AIM], "ratio")
        value, low, high = (float(row["figures"][AIM][key]) for key in ("value", "low", "high"))
        words = f"{row['score']}: {cell.text}, 95 % interval {cell.sure}"
        drawn = charts.interval_strip(value, (low, high), span, words, _style(row["kind"]), [0.5])
        lines.append(Line(row["score"], [Cell("", drawn=drawn), cell], row["kind"]))
    axis = charts.strip_axis(span, [0.5, 0.75, 1.0])
    return Sheet(["score", axis, METRICS[AIM].head], lines, words=1)


def _drawn_pairs(leaderboard: Record) -> Sheet:
    """:func:`pair_sheet` with every difference drawn around zero."""
    sheet = pair_sheet(leaderboard)
    found = [_whole(pair["difference"]) for pair in leaderboard["pairs"]]
    reach = max(
        [0.05, *(abs(bound) for figure in found if None not in figure for bound in figure if bound is not None)]
    )
    span = (-math.ceil(20 * reach) / 20, math.ceil(20 * reach) / 20)
    lines = []
    for line, figure in zip(sheet.lines, found, strict=True):
        value, low, high = figure
        drawn = None
        if value is not None and low is not None and high is not None:
            words = f"{line.name}: {line.cells[1].plain}"
            style = "s0" if low > 0 or high < 0 else "quiet"
            drawn = charts.interval_strip(value, (low, high), span, words, style, [0.0])
        lines.append(Line(line.name, [line.cells[0], Cell("" if drawn else NONE, drawn=drawn), *line.cells[1:]]))
    axis = charts.strip_axis(span, [span[0], 0.0, span[1]])
    return Sheet([*sheet.heads[:2], axis, *sheet.heads[2:]], lines, words=2)


def _whole(figure: Record | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if figure is None else (figure["value"], figure["low"], figure["high"])


def _timing_figure(rows: Sequence[Record], level: float) -> Markup | None:
    """Detection time against false alarms, a point a score; names for those that none beats in both."""
    found = []
    for row in rows:
        late, alarms = (_value(row["figures"].get(name)) for name in ("detection_time", "fpr_nominal"))
        if late is not None and alarms is not None:
            found.append((row, alarms, late))
    if not found:
        return None
    most = max([2 * level, *(alarms for row, alarms, _ in found if row["kind"] != BASELINE)])
    points = [
        charts.Point(
            row["score"] if alarms <= most else f"{row['score']} ({percent(alarms)})",
            min(alarms, most), late, -1 if row["kind"] == BASELINE else KINDS.index(row["kind"]),
            f"{row['score']}: false alarms {percent(alarms)}, mean alarm at {late:.2f} of the deadline, "
            f"caught {_cell(row['figures'].get('tpr'), 'rate').plain}",
            row["kind"] == BASELINE or not any(_beats(other[1:], (alarms, late)) for other in found),
        )
        for row, alarms, late in found
    ]  # fmt: skip
    # Names of monitors claim their places before those of baselines.
    points.sort(key=lambda point: point.group < 0)
    groups = [kind for kind in KINDS if kind != BASELINE]
    words = "Mean alarm of caught failures against false alarms. " + "; ".join(point.words for point in points)
    return charts.scatter(
        points, groups, label=words, x_label="false alarms in nominal episodes",
        y_label="mean alarm", x_range=(-0.02 * most, 1.04 * most), y_range=(-0.07, 1.03),
        upright=(level, "level"),
    )  # fmt: skip


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether it is lower in one of the two and higher in none."""
    return one != other and one[0] <= other[0] and one[1] <= other[1]


def _fraction_figure(rows: Sequence[Record], metric: str) -> Markup | None:
    """A kind of AUROC over fractions of the deadline: that of the scores ranked first, and of elapsed time."""
    curves = {row["score"]: [_value(row["figures"].get(f"{metric}@{at:g}")) for at in FRACTIONS] for row in rows}
    drawn = [row["score"] for row in rows if row["kind"] != BASELINE][:SHOWN_LINES]
    drawn += [CLOCK] if CLOCK in curves else []
    values = [value for name in drawn for value in curves[name] if value is not None]
    if not values:
        return None
    lines = [charts.Line(name, FRACTIONS, curves[name], quiet=name == CLOCK, marked=True) for name in drawn]
    kind = METRICS[f"{metric}@1"].head.removesuffix(" at 1")
    words = f"{kind} at a quarter, half, three quarters and all of the deadline. " + "; ".join(
        f"{name} {', '.join(_text(value, 'ratio') for value in curves[name])}" for name in drawn
    )
    return charts.line_chart(
        lines, label=words, x_label="share of the deadline", y_label=kind, x_ticks=FRACTIONS,
        y_range=(min([0.4, *values]) - 0.02, 1.02), level=(0.5, "chance"),
    )  # fmt: skip


def _audit_figures(leaderboard: Record) -> dict[str, Record]:
    """Calibrator -> caterpillar of realised false alarms, and what it promises."""
    made = {}
    for name, audits in _audited(leaderboard).items():
        found = [entry for entry in audits if entry["rate"] is not None]
        highest = max([3 * leaderboard["level"], *(entry["ci95"][1] for entry in found)])
        broken = sum(entry["broken"] for entry in found)
        words = f"{name}: realised false-alarm rates of {len(found)} audits, {broken} wholly above the level"
        intervals = [(entry["rate"], *entry["ci95"], entry["broken"]) for entry in found]
        made[name] = {
            "figure": charts.caterpillar(
                intervals, label=words, level=(leaderboard["level"], "level"), y_range=(0.0, min(1.0, 1.05 * highest))
            ),
            "promised": any(entry["promised"] for entry in found),
            "audits": len(found),
            "broken": broken,
        }
    return made
