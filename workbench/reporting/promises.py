"""Which promises monitors make and keep, and how often chance alone marks one."""

from __future__ import annotations

import dataclasses
import math

from workbench.config import MonitorSchema
from workbench.monitoring.monitor import NO_PROMISE
from workbench.monitoring.promises import FALSE_ALARMS
from workbench.reporting.table import Cell
from workbench.reporting.words import NONE, count, interval, percent
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
    monitors, marked : how many promise a rate that these episodes can contradict, and how many of them are marked.
    expected, several : how many of so many independent ones are marked, and how often two or more, if all are kept.
    usual : whether two marks would prove nothing.
    """

    monitors: int
    marked: int
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
    """Level of false alarms that a monitor promises to keep; None for one that promises none."""
    verdict, guarantee = row.get("audit"), row.get("guarantee") or NO_PROMISE
    silent = verdict["errors"] == FALSE_ALARMS if verdict else not guarantee.startswith(NO_PROMISE)
    return row["level"] if silent and row.get("threshold_episodes") else None


def is_broken(row: Record, errors: str) -> bool:
    """Whether a monitor promises few errors of this kind, and there are more than chance gives."""
    verdict = row.get("audit")
    return bool(verdict and verdict["errors"] == errors and verdict["broken"])


def audit(rate: Record | None, broken: bool) -> Cell:
    """False alarms k/n with their interval; marked where they break a promise."""
    if not rate or not rate["episodes"]:
        return Cell(NONE)
    text = f"{count(rate['alarms'], rate['episodes'])} · {interval(rate['ci95'])}"
    low, high = rate["ci95"]
    return Cell(text, rate["alarms"] / rate["episodes"], (low, high), mark=broken)


def promises(metrics: Record) -> dict[str, list[str]]:
    """Guarantee -> the monitors that make it."""
    made: dict[str, list[str]] = {}
    for row in metrics.get("monitors", []):
        if row.get("guarantee") and not is_baseline(row):
            made.setdefault(row["guarantee"], []).append(name_of(row))
    return {guarantee: list(dict.fromkeys(names)) for guarantee, names in made.items()}


def unmarked(metrics: Record) -> bool:
    """Whether a monitor promises a level that was not tested."""
    return any(promised(row) is not None and not row.get("audit") for row in metrics.get("monitors", []))


def marks(metrics: Record) -> Marks | None:
    """How many marks chance alone gives, were every promise kept and the monitors independent."""
    found = [row["audit"] for row in metrics.get("monitors", []) if row.get("audit")]
    verdicts = [verdict for verdict in found if verdict["tested"] and verdict["episodes"]]
    if not verdicts:
        return None
    chances = [verdict["chance"] for verdict in verdicts]
    none = math.prod(1 - chance for chance in chances)
    one = sum(none * chance / (1 - chance) for chance in chances)
    several = 1 - none - one
    return Marks(
        monitors=len(verdicts),
        marked=sum(verdict["broken"] for verdict in verdicts),
        expected=f"{sum(chances):.1f}",
        several=percent(several),
        usual=several > USUAL,
    )
