"""Why robot policies fail in simulation, and what can be done about it before they do.

The names below are the library; everything else can be reached, and nothing else is promised.  They are imported when
they are used, so that ``import workbench`` and ``workbench --help`` answer at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench import testing as testing
    from workbench.attribution.labels import label as label
    from workbench.attribution.replaying import replay as replay
    from workbench.benchmarking.leaderboard import benchmark as benchmark
    from workbench.benchmarking.leaderboard import leaderboard as leaderboard
    from workbench.config.named import calibrator as calibrator
    from workbench.config.named import names as names
    from workbench.config.named import perturbation as perturbation
    from workbench.config.named import policy as policy
    from workbench.config.named import score as score
    from workbench.config.named import strategy as strategy
    from workbench.config.named import task as task
    from workbench.config.named import untrained as untrained
    from workbench.errors import WorkbenchError as WorkbenchError
    from workbench.execution.processes import Processes as Processes
    from workbench.formats.exporting import export as export
    from workbench.monitoring.fitting import fit as fit
    from workbench.monitoring.online import OnlineMonitor as OnlineMonitor
    from workbench.recovery.learning import train_head as train_head
    from workbench.recovery.paired import recover as recover
    from workbench.reporting.report import report as report
    from workbench.reporting.table import Table as Table
    from workbench.rollouts.collecting import collect as collect
    from workbench.rollouts.launch import Launch as Launch
    from workbench.rollouts.loop import Lockstep as Lockstep
    from workbench.rollouts.rolling import rollout as rollout
    from workbench.rollouts.serving import serve as serve
    from workbench.rollouts.training import train as train
    from workbench.store.reader import Store as Store
    from workbench.store.reader import open_store as open_store
    from workbench.synthesis.fill import synthesize as synthesize
    from workbench.synthesis.searching import likely_failure as likely_failure
    from workbench.synthesis.searching import tolerance as tolerance
    from workbench.testing.new import new_part as new_part
    from workbench.types import Stream as Stream
    from workbench.viewing.episode import view as view

__version__ = "0.1.0"

_NAMES = {
    # parts, by name or of your own
    "names": "config.named",
    "task": "config.named",
    "policy": "config.named",
    "untrained": "config.named",
    "perturbation": "config.named",
    "score": "config.named",
    "calibrator": "config.named",
    "strategy": "config.named",
    # what is done with them
    "collect": "rollouts.collecting",
    "train": "rollouts.training",
    "rollout": "rollouts.rolling",
    "open_store": "store.reader",
    "label": "attribution.labels",
    "fit": "monitoring.fitting",
    "benchmark": "benchmarking.leaderboard",
    "leaderboard": "benchmarking.leaderboard",
    "recover": "recovery.paired",
    "train_head": "recovery.learning",
    "replay": "attribution.replaying",
    "tolerance": "synthesis.searching",
    "likely_failure": "synthesis.searching",
    "synthesize": "synthesis.fill",
    "view": "viewing.episode",
    "export": "formats.exporting",
    "report": "reporting.report",
    "serve": "rollouts.serving",
    "new_part": "testing.new",
    # what they are made of
    "Store": "store.reader",
    "Launch": "rollouts.launch",
    "Lockstep": "rollouts.loop",
    "OnlineMonitor": "monitoring.online",
    "Processes": "execution.processes",
    "Stream": "types",
    "Table": "reporting.table",
    "WorkbenchError": "errors",
}
"""Public name -> the module below ``workbench`` that defines it."""

__all__ = ["__version__", "testing", *_NAMES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "testing":
        return importlib.import_module("workbench.testing")
    if name not in _NAMES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}; it has: {', '.join(sorted(__all__))}")
    found = getattr(importlib.import_module(f"workbench.{_NAMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
