"""The numbers of a run as one page and as tables on the terminal.

The page is one file: no script, nothing loaded from elsewhere, readable in light and dark, wide and narrow.  Page and
terminal are made from the same rows, so they never disagree.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.benchmarking.columns import FRACTIONS
from workbench.config import MonitorSchema
from workbench.reporting import charts
from workbench.stats.proportions import clopper_pearson, wilson
from workbench.types import Record

if TYPE_CHECKING:
    from markupsafe import Markup
    from rich.console import RenderableType

SECTIONS = (
    *("training", "policy", "instructions", "misled", "perturbed", "modes", "tolerance", "joint", "labels"),
    *("monitors", "strategies"),
)
BASELINES = tuple(MonitorSchema().baselines)
"""Scores that look at no policy output; what a real score has to beat."""
CONSTANT = "always"
"""The baseline whose AUROC is one half by construction, and whose alarms are the most that can come in time."""
REFERENCES = ("continue", "placebo", "expert")
"""Strategies that the others are held against: nothing, luck, and what knowing the true state would reach."""
STEEP = 10.0
"""Ratio of the largest to the smallest loss from which they are drawn by their logarithm."""
DASH = "–"  # noqa: RUF001 (an en dash stands between the bounds of an interval)
NONE = "—"


@dataclasses.dataclass(frozen=True)
class Audit:
    """Realised against promised false alarms of one monitor."""

    text: str
    broken: bool


def write_report(path: Path, metrics: Record, *, title: str, curves: Record) -> Path:
    """Write the page.

    Parameters
    ----------
    path
        The HTML file; an existing one is replaced.
    metrics
        What ``metrics.json`` holds; sections that are missing are named with the job that makes them.
    title
        Heading of the page.
    curves
        An episode to show: ``title``, ``events`` (name -> control step, negative if it did not happen) and ``monitors``
        (name -> ``step`` and ``margin`` of each policy call); empty for none.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("workbench.reporting"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    context = {
        "title": title,
        "headlines": headlines(metrics),
        "policy": policy_row(metrics),
        "training": training_row(metrics),
        "instructions": instruction_rows(metrics),
        "misled": misled_rows(metrics),
        "zoo": metrics.get("policy", {}).get("zoo"),
        "faults": fault_rows(metrics),
        "tolerances": tolerance_rows(metrics),
        "joint": joint_rows(metrics),
        "joint_columns": joint_columns(metrics),
        "modes": mode_table(metrics),
        "labels": label_row(metrics),
        "monitors": monitor_rows(metrics),
        "promises": promises(metrics),
        "ceiling": ceiling(metrics),
        "marks": marks(metrics),
        "elapsed": [number(value) for value in _elapsed(metrics)],
        "fractions": FRACTIONS,
        "strategies": strategy_rows(metrics),
        "strategies_monitor": metrics.get("strategies_monitor", ""),
        "head": metrics.get("head", {}),
        "figures": _figures(metrics, curves),
        "example": curves.get("title", ""),
        "facts": _facts(metrics),
        "config": json.dumps(metrics["config"], indent=2) if "config" in metrics else "",
        "none": NONE,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(environment.get_template("report.html.j2").render(context), encoding="utf-8")
    return path


def terminal_tables(metrics: Record, only: Sequence[str] = SECTIONS) -> list[RenderableType]:
    """The same rows for the terminal; ``only`` names the sections that are wanted, and missing ones are left out."""
    makers = {
        "training": _training_line,
        "policy": _policy_line,
        "instructions": _instruction_table,
        "misled": _misled_table,
        "perturbed": _fault_table,
        "tolerance": _tolerance_table,
        "joint": _joint_table,
        "modes": _mode_table,
        "labels": _label_table,
        "monitors": _monitor_table,
        "strategies": _strategy_table,
    }
    return [table for section in SECTIONS if section in only for table in [makers[section](metrics)] if table]


def percent(share: float | None) -> str:
    """A share as whole percent."""
    return NONE if share is None else f"{100 * share:.0f} %"


def count(part: int, whole: int) -> str:
    """Counts as k/n."""
    return f"{part}/{whole}"


def interval(bounds: Sequence[float]) -> str:
    """Bounds in percent."""
    return f"{100 * bounds[0]:.0f}{DASH}{100 * bounds[1]:.0f} %"


def number(value: float | None, digits: int = 2) -> str:
    """A number with fixed digits, or a dash where there is none."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def p_value(value: float | None) -> str:
    """A p-value, never shown as zero."""
    return NONE if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def seconds(value: float) -> str:
    """A duration for people."""
    return f"{value:.0f} s" if value < 90 else f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


def policy_row(metrics: Record) -> Record | None:
    """Nominal success with its interval."""
    nominal = metrics.get("policy", {}).get("nominal")
    return _rate_row(nominal["successes"], nominal["episodes"]) if nominal and nominal["episodes"] else None


def training_row(metrics: Record) -> Record | None:
    """What a training was, and where it ended; None if there was none here."""
    training = metrics.get("policy", {}).get("training")
    if not training or not training["iteration"]:
        return None
    evaluated = training.get("evaluations") or []
    last = _rate_row(evaluated[-1]["successes"], evaluated[-1]["episodes"]) if evaluated else None
    spent = training.get("seconds")
    return {
        "iterations": str(training["iteration"][-1]),
        "demonstrations": training.get("demonstrations"),
        "held_out": training.get("held_out"),
        "parameters": f"{training['parameters']:,}" if "parameters" in training else None,
        "losses": (number(training["training"][-1], 3), number(training["validation"][-1], 3)),
        "groups": group_rows(training),
        "evaluation": last,
        "evaluated_episodes": str(evaluated[-1]["episodes"]) if evaluated else "",
        "warning": training.get("warning", ""),
        "device": f"{training['device']}, {training['precision']}" if "device" in training else None,
        "seconds": {name: seconds(spent[f"{name}_s"]) for name in ("wall", "cpu", "evaluation")} if spent else None,
    }


def group_rows(training: Record) -> list[Record]:
    """Final error of each group of the action."""
    return [
        {
            "name": name,
            "error": f"{values[-1]:.3g}",
            "relative": percent(training["relative_error"][name][-1]),
        }
        for name, values in training.get("error", {}).items()
    ]


def instruction_rows(metrics: Record) -> list[Record]:
    """One row an instruction that was asked for, of the episodes without faults."""
    return [
        {"name": row["instruction"], **_rate_row(row["successes"], row["episodes"])}
        for row in metrics.get("instructions", [])
    ]


def misled_rows(metrics: Record) -> list[list[str]]:
    """One row a fault of the language: its name, its episodes, and in how many of them which goal was fulfilled."""
    return [
        [row["perturbation"], *(str(row[key]) for key in ("episodes", "asked", "told", "another", "none"))]
        for row in metrics.get("misled", [])
    ]


def fault_rows(metrics: Record) -> list[Record]:
    """One row a fault, the most harmful first."""
    words = metrics.get("fault_words", {})
    rows = [
        {
            "name": row["perturbation"],
            "channel": row.get("channel", ""),
            "words": words.get(row["perturbation"], ""),
            **_rate_row(row["successes"], row["episodes"]),
        }
        for row in metrics.get("perturbed", [])
        if row["episodes"]
    ]
    return sorted(rows, key=lambda row: (row["share"], row["name"]))


def tolerance_rows(metrics: Record) -> list[Record]:
    """One row a perturbation and axis."""
    return [
        {
            "name": row["perturbation"],
            "axis": row["axis"] or "drawn",
            "parameter": row["parameter"],
            "tolerance": _magnitude(row["tolerance"]),
            "interval": DASH.join(f"{bound:.3g}" for bound in row["interval"]) if row["tolerance"] else NONE,
            "quarters": f"{_magnitude(row['at']['0.25'])} / {_magnitude(row['at']['0.75'])}",
            "episodes": str(row["episodes"]),
            "verdict": row["verdict"] + (", but not monotone ▲" if row["contradictions"] else ""),
        }
        for row in metrics.get("tolerance", [])
    ]


def joint_rows(metrics: Record) -> list[list[str]]:
    """The likeliest failing combination, a row a fault, then how sure it is; a column for each way of looking."""
    found = metrics.get("joint", [])
    labels = [(label, node["parameter"]) for row in found[:1] for label, node in row["dials"].items()]
    rows = [[label, parameter, *(_setting(row["combination"], label) for row in found)] for label, parameter in labels]
    sure = [interval(row["interval"]) if row["combination"] else NONE for row in found]
    told = {
        "distance from no fault": [number(row["distance"]) for row in found],
        "fails, in fresh episodes": [count(row["failures"], row["fresh_episodes"]) for row in found],
        f"{_confidence(found)} interval": sure,
        "points tried that fail": [count(row["failing_points"], row["points"]) for row in found],
        "episodes": [str(row["episodes"]) for row in found],
    }
    return rows + [["", name, *cells] for name, cells in told.items() if cells]


def joint_columns(metrics: Record) -> list[str]:
    """Headings of :func:`joint_rows`."""
    return ["fault", "", *(row["name"] for row in metrics.get("joint", []))]


def _setting(combination: Mapping[str, Record] | None, label: str) -> str:
    if combination is None:
        return NONE
    return f"{combination[label]['magnitude']:.3g} (severity {combination[label]['severity']:.2f})"


def _magnitude(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def _confidence(rows: Sequence[Record]) -> str:
    """That of the first of several rows, which all have the same."""
    return percent(rows[0]["confidence"]) if rows else ""


def mode_table(metrics: Record) -> Record | None:
    """Perturbations against the failure modes that were seen, as ``modes`` and ``rows``; None if nothing failed.

    The most frequent mode stands first; a cell is a count, empty for none.  Episodes without a fault stand last.
    """
    found = metrics.get("modes", [])
    totals: dict[str, int] = {}
    for row in found:
        totals[row["failure_mode"]] = totals.get(row["failure_mode"], 0) + row["episodes"]
    modes = sorted((mode for mode in totals if mode), key=lambda mode: (-totals[mode], mode))
    if not modes:
        return None
    cells = {(row["perturbation"], row["failure_mode"]): row["episodes"] for row in found}
    names = sorted({row["perturbation"] for row in found}, key=lambda name: (not name, name))
    rows = []
    for name in names:
        counts = [cells.get((name, mode), 0) for mode in modes]
        succeeded = cells.get((name, ""), 0)
        shown = [str(number or "") for number in [*counts, succeeded]]
        rows.append({"name": name or "no fault", "cells": shown, "episodes": str(sum(counts) + succeeded)})
    return {"modes": modes, "rows": rows}


def monitor_rows(metrics: Record) -> list[Record]:
    """One row a monitor; baselines last."""
    rows = [
        {
            "name": _name(row),
            "score": row["score"],
            "window": str(row.get("window") or NONE),
            "calibrator": row.get("calibrator") or NONE,
            "baseline": is_baseline(row),
            "level": percent(promised(row)),
            "nominal": audit(row.get("fpr_nominal"), promised(row)),
            "perturbed_success": audit(row.get("fpr_perturbed_success"), None).text,
            "tpr": percent(row.get("tpr")),
            "matched_at_half": number((row.get("matched_auroc") or {}).get("0.5")),
            "twa": number(row.get("twa")),
            "detection_time": number(row.get("detection_time")),
            "actionable_recall": _counts(row.get("actionable_recall")),
        }
        for row in metrics.get("monitors", [])
    ]
    return sorted(rows, key=lambda row: row["baseline"])


def promises(metrics: Record) -> dict[str, list[str]]:
    """Guarantee -> the monitors that make it."""
    made: dict[str, list[str]] = {}
    for row in metrics.get("monitors", []):
        if row.get("guarantee") and not is_baseline(row):
            made.setdefault(row["guarantee"], []).append(_name(row))
    return {guarantee: list(dict.fromkeys(names)) for guarantee, names in made.items()}


def promised(row: Record) -> float | None:
    """Level that a monitor promises to keep; None for one whose threshold nothing was calibrated on."""
    return row["level"] if row.get("threshold_episodes") else None


def ceiling(metrics: Record) -> Record | None:
    """Failures that an alarm could come in time for at all: those the monitor that always alarms is in time for."""
    for row in metrics.get("monitors", []):
        if row["score"] == CONSTANT and row.get("actionable_recall", {}).get("episodes"):
            found: Record = row["actionable_recall"]
            return {**found, "percent": percent(_share(found)), "lost": found["episodes"] - found["alarms"]}
    return None


@functools.cache
def chance_of_a_mark(level: float, ranked: int, tested: int) -> float:
    """Chance that the audit marks a monitor that keeps its promise exactly.

    Over the draw of ``ranked`` calibration episodes, the false-alarm rate that a conformal threshold really has is
    Beta(j, n + 1 - j), j = floor((n + 1) level) (Vovk, "Conditional validity of inductive conformal predictors", ACML
    2012), so the false alarms among ``tested`` episodes are beta-binomial; a mark is one whose Clopper-Pearson
    interval lies above the level.
    """
    from scipy.stats import betabinom  # type: ignore[import-untyped,unused-ignore]

    above = math.floor((ranked + 1) * level + 1e-9)
    marked = next((alarms for alarms in range(tested + 1) if clopper_pearson(alarms, tested)[0] > level), None)
    if not above or marked is None:
        return 0.0
    return float(betabinom.sf(marked - 1, tested, above, ranked + 1 - above))


def marks(metrics: Record) -> Record | None:
    """How many marks chance alone gives, were every promise kept exactly and the monitors independent.

    Bounds of each number: all calibration episodes rank the threshold, or half of them (as in a functional band).
    """
    rows = [
        row for row in metrics.get("monitors", []) if promised(row) and (row.get("fpr_nominal") or {}).get("episodes")
    ]
    if not rows:
        return None
    bounds = []
    for share in (1, 2):
        chances = [
            chance_of_a_mark(row["level"], row["threshold_episodes"] // share, row["fpr_nominal"]["episodes"])
            for row in rows
        ]
        none = math.prod(1 - chance for chance in chances)
        one = sum(none * chance / (1 - chance) for chance in chances)
        bounds.append((max(chances), sum(chances), 1 - none - one))
    each, expected, several = (sorted(pair) for pair in zip(*bounds, strict=True))
    return {
        "monitors": len(rows),
        "marked": sum(audit(row["fpr_nominal"], promised(row)).broken for row in rows),
        "each": interval(each),
        "expected": f"{expected[0]:.1f}{DASH}{expected[1]:.1f}",
        "several": interval(several),
        "usual": several[0] > 0.05,
    }


def strategy_rows(metrics: Record) -> list[Record]:
    """One row a strategy."""
    return [
        {
            "name": row["name"],
            "alarmed": str(row.get("alarmed", NONE)),
            "succeed": count(row["rescued"][0] + row["kept"][0], row["rescued"][1] + row["kept"][1]),
            "rescued": count(*row["rescued"]),
            "rescued_interval": interval(wilson(*row["rescued"])),
            "broken": count(row["kept"][1] - row["kept"][0], row["kept"][1]),
            "broken_interval": interval(wilson(row["kept"][1] - row["kept"][0], row["kept"][1])),
            "p": p_value(row.get("p_vs_placebo")),
            "steps": number(row.get("median_steps"), 0),
        }
        for row in metrics.get("strategies", [])
    ]


def label_row(metrics: Record) -> Record | None:
    """How many failures could be dated, and the medians."""
    labels = metrics.get("labels")
    if not labels:
        return None
    error = labels.get("replay_max_abs_error")
    points = labels.get("points_of_no_return", [])
    winnable = [point for point in points if point > 0]
    return {
        "count": count(labels["with_onset"], labels["failed"]),
        "onset": _step(labels.get("median_onset")),
        "pnr": _step(labels.get("median_pnr")),
        "measured": len([point for point in points if point >= 0]),
        "lost": points.count(0),
        "winnable_pnr": _step(float(np.median(winnable)) if winnable else None),
        "recoverable": labels.get("recoverable"),
        "decided": count(labels["decided"], labels["with_onset"]) if labels.get("decided") else None,
        "decisive": _step(labels.get("median_decisive")),
        "window": _step(labels.get("median_window_steps")),
        "responsibility": number(labels.get("median_responsibility"), 2),
        "replay": None if error is None else "bit for bit" if error == 0 else f"to within {error:.2g}",
    }


def _step(median: float | None) -> str:
    """A median of control steps, which may lie half-way between two."""
    return NONE if median is None else f"{median:g}"


def is_baseline(row: Record) -> bool:
    """Whether a monitor's score is one that looks at no policy output."""
    return row["score"] in BASELINES


def audit(rate: Record | None, level: float | None) -> Audit:
    """False alarms k/n with their interval; broken where the whole interval lies above the promised level, if any."""
    if not rate or not rate["episodes"]:
        return Audit(NONE, False)
    text = f"{count(rate['alarms'], rate['episodes'])} · {interval(rate['ci95'])}"
    broken = level is not None and rate["ci95"][0] > level
    return Audit(f"{text} ▲" if broken else text, broken)


def headlines(metrics: Record) -> list[Record]:
    """The numbers to read first, as (value, what it is, how sure)."""
    rows = []
    if policy := policy_row(metrics):
        rows.append({"value": policy["percent"], "what": "success without faults", "sure": policy["of"]})
    if faults := fault_rows(metrics):
        worst = faults[0]
        among = f", the most harmful of {len(faults)} faults" if len(faults) > 1 else ""
        rows.append({"value": worst["percent"], "what": f"success under {worst['name']}{among}", "sure": worst["of"]})
    if kept := _honest_monitors(metrics):
        rows.append(_best_monitor(kept, ceiling(metrics)))
    tried = [row for row in metrics.get("strategies", []) if row["name"] not in REFERENCES and row["rescued"][1]]
    if tried:
        best = max(tried, key=lambda row: row["rescued"][0] / row["rescued"][1])
        placebo = [row["rescued"] for row in metrics["strategies"] if row["name"] == "placebo"]
        than = "".join(f"; the placebo {percent(saved / of)}" for saved, of in placebo)
        sure = f"{count(*best['rescued'])} · {interval(wilson(*best['rescued']))}{than}"
        what = f"of failing episodes rescued after an alarm by {best['name']}{_out_of(tried)}"
        rows.append({"value": percent(best["rescued"][0] / best["rescued"][1]), "what": what, "sure": sure})
    return rows


def _best_monitor(kept: Sequence[Record], most: Record | None) -> Record:
    best = max(kept, key=lambda row: _share(row["actionable_recall"]))
    limit = f", where {most['percent']} can be" if most else ""
    name = _name(best).replace("+", " + ")
    return {
        "value": percent(_share(best["actionable_recall"])),
        "what": f"of failures caught before the point of no return{limit}, by {name}{_out_of(kept)}",
        "sure": f"{_counts(best['actionable_recall'])} · false alarms {audit(best['fpr_nominal'], None).text}",
    }


def _out_of(rows: Sequence[Record]) -> str:
    """Says that a number is the highest of several, which favours it."""
    return f" (best of {len(rows)})" if len(rows) > 1 else ""


def _name(row: Record) -> str:
    return f"{row['score']}+{row['calibrator']}" if row.get("calibrator") else str(row["score"])


def _honest_monitors(metrics: Record) -> list[Record]:
    """Monitors that are no baselines and whose false alarms keep their promise."""
    return [
        row
        for row in metrics.get("monitors", [])
        if not is_baseline(row)
        and row.get("actionable_recall")
        and row.get("fpr_nominal")
        and not audit(row["fpr_nominal"], promised(row)).broken
    ]


def _rate_row(successes: int, episodes: int) -> Record:
    share, bounds = successes / episodes, wilson(successes, episodes)
    return {
        "share": share,
        "bounds": bounds,
        "percent": percent(share),
        "count": count(successes, episodes),
        "interval": interval(bounds),
        "of": f"{count(successes, episodes)} · {interval(bounds)}",
    }


def _share(rate: Record) -> float:
    share: float = rate["alarms"] / max(rate["episodes"], 1)
    return share


def _counts(rate: Record | None) -> str:
    return count(rate["alarms"], rate["episodes"]) if rate else NONE


def _figures(metrics: Record, curves: Record) -> dict[str, Markup]:
    """Name -> figure, for those whose numbers are there."""
    figures: dict[str, Markup] = {}
    training = metrics.get("policy", {}).get("training")
    if training and len(training["iteration"]) > 1:
        figures |= _training_figures(training)
    for row in fault_rows(metrics):
        words = f"{row['name']}: success {row['percent']}, 95 % interval {row['interval']}"
        figures[f"fault {row['name']}"] = charts.interval_bar(row["share"], row["bounds"], words)
    labels = metrics.get("labels", {})
    onsets = [step for step in labels.get("onsets", []) if step >= 0]
    points = [step for step in labels.get("points_of_no_return", []) if step >= 0]
    if onsets and points:
        words = f"Histogram of failure onset, median {np.median(onsets):.0f}, and point of no return, median "
        groups = {"onset": onsets, "point of no return": points}
        figures["labels"] = charts.histogram(groups, label=f"{words}{np.median(points):.0f}", x_label="control step")
    if lines := _auroc_lines(metrics):
        figures["auroc"] = _auroc_figure(lines)
    if curves.get("monitors"):
        figures["example"] = _example_figure(curves)
    return figures


def _training_figures(training: Record) -> dict[str, Markup]:
    """Small multiples over iterations, for those whose numbers are there."""
    figures = {"training": _loss_figure(training)}
    if training.get("learning_rate"):
        figures["learning rate"] = _learning_rate_figure(training)
    if any(value is not None for values in training.get("relative_error", {}).values() for value in values):
        figures["groups"] = _group_figure(training)
    if training.get("evaluations"):
        figures["evaluations"] = _evaluation_figure(training)
    return figures


def _over_iterations(training: Record, lines: Sequence[charts.Line], **rest: Any) -> Markup:
    """Lines over the iterations from the first on, so that all figures of a training have one axis."""
    return charts.line_chart(
        lines, x_label="iteration", x_ticks=charts.ticks(0, training["iteration"][-1]), **rest
    )  # fmt: skip


def _loss_figure(training: Record) -> Markup:
    lines = [
        charts.Line("held out", training["iteration"], training["validation"]),
        charts.Line("trained on", training["iteration"], training["training"], quiet=True),
    ]
    words = f"Loss over {training['iteration'][-1]} iterations; held out it ends at {training['validation'][-1]:.3g}"
    losses = [*training["training"], *training["validation"]]
    steep = min(losses) > 0 and max(losses) > STEEP * min(losses)
    bounds = (0.9 * min(losses), 1.1 * max(losses)) if steep else (0.0, 1.05 * max(losses))
    return _over_iterations(training, lines, label=words, y_label="loss", y_range=bounds, log=steep)


def _learning_rate_figure(training: Record) -> Markup:
    rates = [1000 * rate for rate in training["learning_rate"]]
    words = f"Learning rate over iterations; the highest is {max(rates):.3g} thousandths"
    lines = [charts.Line("learning rate, in thousandths", training["iteration"], rates)]
    return _over_iterations(training, lines, label=words, y_label="thousandths", y_range=(0.0, 1.05 * max(rates)))


def _group_figure(training: Record) -> Markup:
    moving = {name: row for name, row in training["relative_error"].items() if any(value is not None for value in row)}
    top = max(value for row in moving.values() for value in row if value is not None)
    words = "; ".join(f"{name} {percent(row[-1])}" for name, row in moving.items())
    return _over_iterations(
        training,
        [charts.Line(name, training["iteration"], row) for name, row in moving.items()],
        label=f"Error of each group of the action relative to its spread; in the end {words}",
        y_label="error / spread",
        y_range=(0.0, 1.05 * max(1.0, top)),
        level=(1.0, "constant answer"),
    )


def _evaluation_figure(training: Record) -> Markup:
    rows = [(each["iteration"], each["successes"], each["episodes"]) for each in training["evaluations"]]
    line = charts.Line(
        "success in simulation",
        [iteration for iteration, _, _ in rows],
        [successes / episodes for _, successes, episodes in rows],
        marked=True,
        bounds=[wilson(successes, episodes) for _, successes, episodes in rows],
    )
    words = ", ".join(f"{count(successes, episodes)} after {iteration}" for iteration, successes, episodes in rows)
    return _over_iterations(
        training, [line], label=f"Success in simulation: {words} iterations", y_label="success", y_range=(-0.03, 1.03)
    )


def _auroc_lines(metrics: Record) -> dict[str, list[float | None]]:
    """Score -> AUROC at the common times.

    The first monitor stands for its score: taking the best one would be a choice made on the test split.
    """
    lines: dict[str, list[float | None]] = {}
    for row in metrics.get("monitors", []):
        values = [(row.get("auroc") or {}).get(str(at)) for at in FRACTIONS]
        if any(value is not None for value in values) and row["score"] != CONSTANT:
            lines.setdefault(row["score"], values)
    return lines


def _elapsed(metrics: Record) -> Sequence[float | None]:
    return _auroc_lines(metrics).get("elapsed", [])


def _mean(values: Sequence[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))


def _auroc_figure(lines: Mapping[str, Sequence[float | None]]) -> Markup:
    ordered = sorted(lines, key=lambda name: (name in BASELINES, -_mean(lines[name])))
    series = [charts.Line(name, FRACTIONS, lines[name], quiet=name in BASELINES, marked=True) for name in ordered]
    words = "AUROC at a quarter, half, three quarters and all of the deadline. " + "; ".join(
        f"{name} {', '.join(number(value) for value in lines[name])}" for name in ordered
    )
    low = min([0.4, *(value for row in lines.values() for value in row if value is not None)])
    return charts.line_chart(
        series, label=words, x_label="share of the deadline", y_label="AUROC", x_ticks=FRACTIONS,
        y_range=(low - 0.02, 1.02), level=(0.5, "chance"),
    )  # fmt: skip


def _example_figure(example: Record) -> Markup:
    lines, told = [], []
    for name, curve in example["monitors"].items():
        largest = max((abs(margin) for margin in curve["margin"]), default=0.0) or 1.0
        relative = [margin / largest for margin in curve["margin"]]
        points = zip(curve["step"], relative, strict=True)
        alarm = next(((step, margin) for step, margin in points if margin > 0), None)
        told.append(f"{name} alarms at step {alarm[0]}" if alarm else f"{name} stays quiet")
        lines.append(charts.Line(name, curve["step"], relative, dots=[alarm] if alarm else []))
    happened = sorted((step, name) for name, step in example["events"].items() if step >= 0)
    events = {f"{name} ({step})": float(step) for step, name in happened}
    words = f"{example['title']}. {'; '.join([*events, *told])}."
    return charts.line_chart(
        lines, label=words, x_label="control step", y_label="margin to the threshold", y_range=(-1.05, 1.05),
        level=(0.0, "threshold"), events=events,
    )  # fmt: skip


def _facts(metrics: Record) -> dict[str, str]:
    """What is needed to do the run again."""
    facts = {"command": metrics["command"]} if "command" in metrics else {}
    facts |= {"seed": str(metrics["seed"])} if "seed" in metrics else {}
    if "wall_s" in metrics:
        jobs = ", ".join(f"{name} {seconds(value)}" for name, value in metrics.get("jobs", {}).items())
        facts["wall time"] = seconds(metrics["wall_s"]) + (f" ({jobs})" if jobs else "")
    facts |= {name: str(metrics[name]) for name in ("store", "recording", "export") if name in metrics}
    versions = metrics.get("versions", {})
    facts |= {"versions": ", ".join(f"{name} {version}" for name, version in versions.items())} if versions else {}
    return facts


def table(title: str, columns: str, rows: Sequence[Sequence[str]]) -> RenderableType | None:
    """A terminal table, or None without rows; columns stand between bars, numeric ones with a > in front."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns.split("|"):
        numeric = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        # Text, because a plain string is markup to rich, and a name may hold brackets.
        table.add_row(*(Text(cell, style="bold red" if cell.endswith("▲") else "") for cell in row))
    return table if rows else None


def _training_line(metrics: Record) -> RenderableType | None:
    from rich.console import Group
    from rich.text import Text

    row = training_row(metrics)
    if not row:
        return None
    groups = ", ".join(f"{group['name']} {group['error']} ({group['relative']})" for group in row["groups"])
    parts = [
        f"training: {row['iterations']} iterations, loss {row['losses'][0]}, held out {row['losses'][1]}",
        f"error (of a constant answer's): {groups}" if groups else "",
        f"success {row['evaluation']['of']}" if row["evaluation"] else "",
        f"{row['seconds']['wall']} ({row['seconds']['cpu']} of CPU)" if row["seconds"] else "",
    ]
    lines = ["; ".join(part for part in parts if part)]
    lines += [f"warning: {row['warning']}"] if row["warning"] else []
    # A group, because the console runs strings that follow one another together.
    return Group(*(Text(line) for line in lines))


def _policy_line(metrics: Record) -> RenderableType | None:
    row = policy_row(metrics)
    return f"policy: {row['percent']} success without faults ({row['of']})" if row else None


def _tolerance_table(metrics: Record) -> RenderableType | None:
    shown = _confidence(metrics.get("tolerance", []))
    columns = f"fault|axis|parameter|>tolerance|>{shown} interval|>25 / 75 %|>episodes|verdict"
    return table(
        "tolerances: success falls under one half", columns, [list(row.values()) for row in tolerance_rows(metrics)]
    )


def _joint_table(metrics: Record) -> RenderableType | None:
    columns = "|>".join(joint_columns(metrics)).replace("|>", "|", 1)
    return table("the likeliest combination that fails", columns, joint_rows(metrics))


def _label_table(metrics: Record) -> RenderableType | None:
    labels = metrics.get("labels")
    if not labels:
        return None
    failed, labelled = labels["failed"], labels.get("labelled", labels["with_onset"])
    steps = labels.get("simulated_steps", {})

    def row(name: str, found: int, key: str, width: str = "", search: str = "") -> list[str]:
        cost = number(steps[search] / labelled, 0) if labelled and search in steps else NONE
        return [name, count(found, failed), _step(labels.get(key)), _step(labels.get(width)), cost]

    rows = [
        row("effect", labels.get("with_effect", 0), "median_effect"),
        row("onset", labels["with_onset"], "median_onset", "median_onset_interval_steps", "onset"),
        row("point of no return", labelled, "median_pnr", "median_pnr_interval_steps", "point of no return"),
        row("decisive step", labels.get("decided", 0), "median_decisive", search="decisive step"),
    ]
    return table("labels", "label|>failures|>median step|>interval, steps|>simulated steps each", rows)


def _fault_table(metrics: Record) -> RenderableType | None:
    rows = [[row["name"], row["percent"], row["count"], row["interval"]] for row in fault_rows(metrics)]
    return table("faults", "fault|>success|>episodes|>95 % interval", rows)


def _instruction_table(metrics: Record) -> RenderableType | None:
    rows = [[row["name"], row["percent"], row["count"], row["interval"]] for row in instruction_rows(metrics)]
    return table("instructions, without faults", "instruction|>success|>episodes|>95 % interval", rows)


def _misled_table(metrics: Record) -> RenderableType | None:
    columns = "fault of the language|>episodes|>did what was asked|>what was told instead|>another goal|>none"
    return table("which instruction was followed", columns, misled_rows(metrics))


def _mode_table(metrics: Record) -> RenderableType | None:
    found = mode_table(metrics)
    if not found:
        return None
    columns = "|".join(["injected, and seen", *(f">{word}" for word in (*found["modes"], "success", "episodes"))])
    return table("failure modes", columns, [[row["name"], *row["cells"], row["episodes"]] for row in found["rows"]])


def _monitor_table(metrics: Record) -> RenderableType | None:
    keys = ("level", "tpr", "actionable_recall", "matched_at_half", "twa")
    columns = "monitor|>false alarms|>level|>caught|>in time|>AUROC 0.5, matched|>TWA"
    rows = [[row["name"], row["nominal"].text, *(row[key] for key in keys)] for row in monitor_rows(metrics)]
    return table("monitors", columns, rows)


def _strategy_table(metrics: Record) -> RenderableType | None:
    columns = "strategy|>alarmed|>rescued|>broken|>p vs placebo|>median steps"
    rows = [
        [
            row["name"],
            row["alarmed"],
            f"{row['rescued']} · {row['rescued_interval']}",
            f"{row['broken']} · {row['broken_interval']}",
            row["p"],
            row["steps"],
        ]
        for row in strategy_rows(metrics)
    ]
    return table("strategies", columns, rows)
