"""Checks of contracts, for our parts and for those of others: each says which law is broken, and probably why."""

from workbench.testing.attributor import check_attributor
from workbench.testing.calibrator import check_calibrator
from workbench.testing.format import check_format
from workbench.testing.new import new_part
from workbench.testing.perturbation import check_perturbation
from workbench.testing.policy import check_policy
from workbench.testing.score import check_score
from workbench.testing.shield import check_shield
from workbench.testing.strategy import check_strategy
from workbench.testing.task import check_task

__all__ = [
    "check_attributor",
    "check_calibrator",
    "check_format",
    "check_perturbation",
    "check_policy",
    "check_score",
    "check_shield",
    "check_strategy",
    "check_task",
    "new_part",
]
