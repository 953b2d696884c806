"""The metrics of a leaderboard: what each is called, in which unit it is written, and what it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from workbench.benchmarking.columns import FRACTIONS


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is called and shown.

    Attributes
    ----------
    head : heading of its column.
    unit : key of :data:`workbench.reporting.words.UNITS`.
    words : its definition.
    """

    head: str
    unit: str
    words: str


def _at_fractions(name: str, head: str, words: str) -> dict[str, Metric]:
    return {
        f"{name}@{fraction:g}": Metric(f"{head} at {fraction:g}", "ratio", words.format(fraction=f"{fraction:g}"))
        for fraction in FRACTIONS
    }


def _margins(**cells: tuple[str, str]) -> dict[str, Metric]:
    words = "mean highest margin by half the deadline, in units of the threshold's scale, of episodes"
    return {name: Metric(head, "ratio", f"{words} {which}") for name, (head, which) in cells.items()}


METRICS: Mapping[str, Metric] = {
    **_at_fractions(
        "auroc", "AUROC",
        "how often a failed episode scores higher than a successful one of the same task, each by its highest score up "
        "to {fraction} of the deadline; mean over tasks",
    ),
    **_at_fractions(
        "matched_auroc", "matched AUROC",
        "how often a failed episode scores higher than a successful one of the same task, both at a time by which "
        "neither had ended, {fraction} of the deadline at the latest; elapsed time has exactly one half",
    ),
    **_at_fractions(
        "auprc", "AUPRC",
        "average precision of the highest scores up to {fraction} of the deadline, failures being positive; mean over "
        "tasks",
    ),
    **_at_fractions("pooled_auroc", "pooled AUROC", "AUROC at {fraction}, the episodes of all tasks in one heap"),
    **_at_fractions("pooled_auprc", "pooled AUPRC", "AUPRC at {fraction}, the episodes of all tasks in one heap"),
    "early_auroc": Metric(
        "AUROC, early", "ratio", "AUROC by the end of the task's shortest episode, where no length is known yet (SAFE)"
    ),
    "whole_auroc": Metric("AUROC, whole", "ratio", "AUROC of the highest score of the whole episode; leaks its length"),
    "tpr": Metric("failures caught", "rate", "share of failed episodes with any alarm (true positive rate)"),
    "tnr": Metric("successes left alone", "rate", "share of successful episodes without alarm (true negative rate)"),
    "balanced_accuracy": Metric(
        "balanced accuracy", "ratio", "mean of the shares of failures caught and of successes left alone",
    ),
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
    "oracle_actionable_recall@0.1": Metric(
        "in time, oracle", "rate", "failures caught in time at the threshold that a tenth of successes pass",
    ),
    "oracle_fpr@0.1": Metric("false alarms, oracle", "rate", "successes that exceed the threshold of a tenth of them"),
    **_margins(
        id_success=("success, no fault", "that succeed without a fault"),
        ood_success=("success, fault", "that succeed despite a fault"),
        id_failure=("failure, no fault", "that fail without a fault"),
        ood_failure=("failure, fault", "that fail under a fault"),
    ),
}  # fmt: skip
"""Every metric that has a heading; others of a leaderboard stand in its CSV and JSON."""
CELLS = ("id_success", "ood_success", "id_failure", "ood_failure")
"""Mean margins of episodes with and without a fault, in their two outcomes."""


def head_of(metric: str) -> str:
    """Heading of a metric; its name where it has none."""
    return METRICS[metric].head if metric in METRICS else metric
