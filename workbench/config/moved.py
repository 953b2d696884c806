"""Where parts have gone that earlier versions named: saved runs and people's own yaml files still compose."""

from __future__ import annotations

MOVED = {
    "workbench.protocols": "workbench.benchmarking.folds",
    "workbench.policies.training": "workbench.policies.learning.training",
    "workbench.detectors.window": "workbench.monitoring.window",
    "workbench.detectors.calibrators.drift": "workbench.monitoring.drift",
}
"""Module that an earlier version had -> the module that holds the same names now."""


def where_now(target: str) -> str:
    """The dotted path of a target today; itself where it has not moved."""
    module, _, name = target.rpartition(".")
    return f"{MOVED[module]}.{name}" if module in MOVED else target
