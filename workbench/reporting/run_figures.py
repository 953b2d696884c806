"""The charts of a run: its training, its labels, its monitors, and one episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from workbench.benchmarking.columns import FRACTIONS
from workbench.benchmarking.own import CLOCK
from workbench.monitoring.example import Example
from workbench.reporting import charts
from workbench.reporting.promises import BASELINES, CONSTANT
from workbench.reporting.summaries import dose_windows
from workbench.reporting.words import count, number, percent
from workbench.stats.proportions import clopper_pearson
from workbench.types import Record

STEEP = 10.0
"""Ratio of the largest to the smallest loss from which they are drawn by their logarithm."""


def figures(metrics: Record, example: Example | None = None) -> dict[str, Markup]:
    """Name -> figure, for those whose numbers are there."""
    made: dict[str, Markup] = {}
    training = metrics.get("policy", {}).get("training")
    if training and len(training["iteration"]) > 1:
        made |= _training_figures(training)
    labels = metrics.get("labels") or {}
    onsets, points = ([step for step in labels.get(key, []) if step >= 0] for key in ("onsets", "points_of_no_return"))
    if onsets and points:
        made["labels"] = _label_figure(onsets, points)
    if lines := auroc_lines(metrics):
        made["auroc"] = _auroc_figure(lines)
    if windows := dose_windows(metrics):
        made["dose response"] = _dose_figure(windows)
    if example and example.monitors:
        made["example"] = _example_figure(example)
    return made


def _label_figure(onsets: Sequence[int], points: Sequence[int]) -> Markup:
    words = (
        f"Histogram of failure onset, median {np.median(onsets):.0f}, and point of no return, median "
        f"{np.median(points):.0f}"
    )
    groups = {"onset": onsets, "point of no return": points}
    return charts.histogram(groups, label=words, x_label="control step")


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
        bounds=[clopper_pearson(successes, episodes) for _, successes, episodes in rows],
    )
    words = ", ".join(f"{count(successes, episodes)} after {iteration}" for iteration, successes, episodes in rows)
    return _over_iterations(
        training, [line], label=f"Success in simulation: {words} iterations", y_label="success", y_range=(-0.03, 1.03)
    )


def auroc_lines(metrics: Record) -> dict[str, list[float | None]]:
    """Score -> AUROC at the common times.

    The first monitor stands for its score: taking the best one would be a choice made on the test split.
    """
    lines: dict[str, list[float | None]] = {}
    for row in metrics.get("monitors", []):
        values = [(row.get("auroc") or {}).get(str(at)) for at in FRACTIONS]
        if any(value is not None for value in values) and row["score"] != CONSTANT:
            lines.setdefault(row["score"], values)
    return lines


def elapsed(metrics: Record) -> list[str]:
    """AUROC of elapsed time alone at the common times, in words."""
    return [number(value) for value in auroc_lines(metrics).get(CLOCK, [])]


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


def _dose_figure(rows: Sequence[Record]) -> Markup:
    """Points over the placebo by control steps after the point of no return, at the median of each window."""
    arms = list(dict.fromkeys(row["name"] for row in rows))
    lines, told = [], []
    for place, arm in enumerate(arms):
        mine = [row for row in rows if row["name"] == arm]
        gains = [row["over_placebo"] for row in mine]
        lines.append(
            charts.Line(
                arm,
                [
                    place - (len(arms) - 1) / 2 - row["median_left"] for row in mine
                ],  # a step apart, to see each interval
                [100 * gain["gain"] for gain in gains],
                marked=True,
                bounds=[(100 * gain["low"], 100 * gain["high"]) for gain in gains],
            )
        )
        told.append(f"{arm} " + ", ".join(f"{100 * gain['gain']:+.0f}" for gain in gains))
    groups = ", ".join(dict.fromkeys(row["group"] for row in rows))
    words = f"Points over the placebo with {groups} control steps left to the point of no return: {'; '.join(told)}"
    return charts.line_chart(
        lines, label=words, x_label="control steps after the point of no return", y_label="points over placebo",
        level=(0.0, ""), events={"point of no return": 0.0},
    )  # fmt: skip


def _example_figure(example: Example) -> Markup:
    lines, alarms = [], []
    for name, curve in example.monitors.items():
        largest = max((abs(margin) for margin in curve.margin), default=0.0) or 1.0
        relative = [margin / largest for margin in curve.margin]
        points = zip(curve.step, relative, strict=True)
        alarm = next(((step, margin) for step, margin in points if margin > 0), None)
        alarms.append(f"{name} alarms at step {alarm[0]}" if alarm else f"{name} stays quiet")
        lines.append(charts.Line(name, curve.step, relative, dots=[alarm] if alarm else []))
    happened = sorted((step, name) for name, step in example.events.items() if step >= 0)
    events = {f"{name} ({step})": float(step) for step, name in happened}
    return charts.line_chart(
        lines, label=f"{example.title}. {'; '.join([*events, *alarms])}.", x_label="control step",
        y_label="margin to the threshold", y_range=(-1.05, 1.05), level=(0.0, "threshold"), events=events,
    )  # fmt: skip
