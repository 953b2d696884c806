"""Which promises monitors make and keep, and how often chance alone would break one."""

from __future__ import annotations

import dataclasses
import functools
import math

from workbench.config import MonitorSchema
from workbench.reporting.table import Cell
from workbench.reporting.words import DASH, NONE, count, interval
from workbench.stats.proportions import clopper_pearson
from workbench.types import Record

BASELINES = tuple(MonitorSchema().baselines)
"""Scores that look at no policy output; what a real score has to beat."""
CONSTANT = "always"
"""The baseline whose AUROC is one half by construction, and whose alarms are the most that can come in time."""
USUAL = 0.05
"""Chance of two marks or more from which even two prove nothing."""


@dataclasses.dataclass(frozen=True)
class Marks:
    """How many marks there are, and how many chance alone gives.

    Attributes
    ----------
    monitors, marked : how many promise a level, and how many of them are marked.
    each : chance of a mark for a monitor that keeps its promise exactly, in words.
    expected, several : how many of so many independent ones are marked, and how often two or more.
    usual : whether two marks would prove nothing.
    """

    monitors: int
    marked: int
    each: str
    expected: str
    several: str
    usual: bool


def name_of(row: Record) -> str:
    """Name of a monitor: its score and its calibrator."""
    return f"{row['score']}+{row['calibrator']}" if row.get("calibrator") else str(row["score"])


def is_baseline(row: Record) -> bool:
    """Whether a monitor's score is one that looks at no policy output."""
    return row["score"] in BASELINES


def promised(row: Record) -> float | None:
    """Level that a monitor promises to keep; None for one whose threshold nothing was calibrated on."""
    return row["level"] if row.get("threshold_episodes") else None


def audit(rate: Record | None, level: float | None) -> Cell:
    """False alarms k/n with their interval; marked where the whole interval lies above the promised level, if any."""
    if not rate or not rate["episodes"]:
        return Cell(NONE)
    text = f"{count(rate['alarms'], rate['episodes'])} · {interval(rate['ci95'])}"
    low, high = rate["ci95"]
    return Cell(text, rate["alarms"] / rate["episodes"], (low, high), mark=level is not None and low > level)


def promises(metrics: Record) -> dict[str, list[str]]:
    """Guarantee -> the monitors that make it."""
    made: dict[str, list[str]] = {}
    for row in metrics.get("monitors", []):
        if row.get("guarantee") and not is_baseline(row):
            made.setdefault(row["guarantee"], []).append(name_of(row))
    return {guarantee: list(dict.fromkeys(names)) for guarantee, names in made.items()}


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


def marks(metrics: Record) -> Marks | None:
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
    return Marks(
        monitors=len(rows),
        marked=sum(audit(row["fpr_nominal"], promised(row)).mark for row in rows),
        each=interval(each),
        expected=f"{expected[0]:.1f}{DASH}{expected[1]:.1f}",
        several=interval(several),
        usual=several[0] > USUAL,
    )
