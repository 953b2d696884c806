"""The charts of a leaderboard."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from markupsafe import Markup

from workbench.benchmarking.columns import FRACTIONS
from workbench.benchmarking.own import CLOCK
from workbench.reporting import charts
from workbench.reporting.metrics import METRICS
from workbench.reporting.standings import KINDS, audited, figure_cell, value
from workbench.reporting.table import BASELINE
from workbench.reporting.words import in_unit, percent
from workbench.types import Record

SHOWN_LINES = 6
"""How many scores are drawn as lines; more cannot be told apart."""


def timing_figure(rows: Sequence[Record], level: float) -> Markup | None:
    """Detection time against false alarms, a point a score; names for those that none beats in both."""
    found = []
    for row in rows:
        late, alarms = (value(row["figures"].get(name)) for name in ("detection_time", "fpr_nominal"))
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
            f"caught {figure_cell(row['figures'].get('tpr'), 'rate').plain}",
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


def fraction_figure(rows: Sequence[Record], metric: str) -> Markup | None:
    """A kind of AUROC over fractions of the deadline: that of the scores ranked first, and of elapsed time."""
    curves = {row["score"]: [value(row["figures"].get(f"{metric}@{at:g}")) for at in FRACTIONS] for row in rows}
    drawn = [row["score"] for row in rows if row["kind"] != BASELINE][:SHOWN_LINES]
    drawn += [CLOCK] if CLOCK in curves else []
    known = [reached for name in drawn for reached in curves[name] if reached is not None]
    if not known:
        return None
    lines = [charts.Line(name, FRACTIONS, curves[name], quiet=name == CLOCK, marked=True) for name in drawn]
    kind = METRICS[f"{metric}@1"].head.removesuffix(" at 1")
    words = f"{kind} at a quarter, half, three quarters and all of the deadline. " + "; ".join(
        f"{name} {', '.join(in_unit(reached, 'ratio') for reached in curves[name])}" for name in drawn
    )
    return charts.line_chart(
        lines, label=words, x_label="share of the deadline", y_label=kind, x_ticks=FRACTIONS,
        y_range=(min([0.4, *known]) - 0.02, 1.02), level=(0.5, "chance"),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class AuditFigure:
    """Realised false alarms of one calibrator.

    Attributes
    ----------
    figure : their intervals in ascending order, against the level.
    promised : whether it promises the level.
    audits, broken : how many there are, and how many contradict the promise.
    """

    figure: Markup
    promised: bool
    audits: int
    broken: int


def audit_figures(leaderboard: Record) -> dict[str, AuditFigure]:
    """Calibrator -> its audits, drawn."""
    level, made = leaderboard["level"], {}
    for name, audits in audited(leaderboard).items():
        found = [entry for entry in audits if entry["rate"] is not None]
        highest = max([3 * level, *(entry["ci95"][1] for entry in found)])
        broken = sum(entry["broken"] for entry in found)
        words = f"{name}: realised rates of {len(found)} audits, {broken} of which contradict the promise"
        intervals = [(entry["rate"], *entry["ci95"], entry["broken"]) for entry in found]
        drawn = charts.caterpillar(
            intervals, label=words, level=(level, "level"), y_range=(0.0, min(1.0, 1.05 * highest))
        )
        made[name] = AuditFigure(drawn, any(entry["promised"] for entry in found), len(found), broken)
    return made


def clock(leaderboard: Record) -> list[str]:
    """AUROC of elapsed time alone at the fractions of the deadline, in words."""
    figures: Record = next((row["figures"] for row in leaderboard["rows"] if row["score"] == CLOCK), {})
    return [in_unit(value(figures.get(f"auroc@{fraction:g}")), "ratio") for fraction in FRACTIONS]
