"""Why robot policies fail in simulation, and what can be done about it before they do.

The names below are the library; everything else can be reached, and nothing else is promised.  They are imported when
they are used, so that ``import workbench`` and ``workbench --help`` answer at once.
"""

from __future__ import annotations

import importlib
from typing import Any

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
    "shield": "rollouts.shielding",
    # what is done with them
    "collect": "rollouts.collecting",
    "train": "rollouts.training",
    "rollout": "rollouts.rolling",
    "open_store": "store.reader",
    "label": "attribution.labels",
    "judge_luck": "attribution.laws",
    "explain": "attribution.explanation",
    "explain_many": "attribution.explaining",
    "words_of": "attribution.wording",
    "check_explanation": "attribution.claims",
    "attribute": "attribution.attributing",
    "fit": "monitoring.fitting",
    "benchmark": "benchmarking.own",
    "leaderboard": "benchmarking.comparison",
    "recover": "recovery.paired",
    "tabulate": "recovery.tables",
    "train_head": "recovery.learning",
    "verify_corrections": "recovery.correcting",
    "train_corrector": "recovery.corrector",
    "judge_corrector": "recovery.judging",
    "tune_skill": "recovery.tuning",
    "learn_benefit": "recovery.when",
    "train_benefit": "recovery.when",
    "operating_rule": "recovery.economics",
    "pilot": "recovery.economics",
    "trial_and_error": "recovery.attempts",
    "net_benefit": "recovery.benefit",
    "recommended_threshold": "recovery.benefit",
    "rank_detectors": "recovery.ranking",
    "ask_questions": "attribution.questions",
    "score_answers": "attribution.grading",
    "dose_response": "recovery.dose",
    "replay": "attribution.replaying",
    "triage": "attribution.triage",
    "match_failures": "attribution.schemata",
    "confused_instructions": "attribution.confusions",
    "veto_log": "rollouts.shielding",
    "tolerance": "synthesis.searching",
    "likely_failure": "synthesis.searching",
    "synthesize": "synthesis.synthesizing",
    "view": "viewing.recording",
    "view_beside": "viewing.beside",
    "view_twin": "viewing.twin",
    "view_fan": "viewing.fan",
    "film_strip": "viewing.strip",
    "film": "viewing.film",
    "figures": "reporting.plots",
    "export": "formats.exporting",
    "compare": "reporting.comparing",
    "check": "checking.check",
    "serve": "rollouts.serving",
    "new_part": "testing.new",
    # what they are made of
    "Alarm": "types",
    "Attribution": "types.attribution",
    "Attributions": "attribution.attributing",
    "Corrections": "recovery.corrections",
    "CorrectionSettings": "recovery.correcting",
    "CorrectorJudgement": "recovery.judging",
    "CounterfactualTable": "recovery.tables",
    "Explanation": "attribution.explanation",
    "Guard": "rollouts.guard",
    "Intervention": "types",
    "Store": "store.reader",
    "Launch": "rollouts.launch",
    "Lockstep": "rollouts.loop",
    "MonitorSettings": "monitoring.assembly",
    "OnlineMonitor": "monitoring.online",
    "Outcomes": "recovery.benefit",
    "Question": "types.questions",
    "QuestionSet": "types.questions",
    "QuestionSettings": "attribution.questions",
    "Processes": "execution.processes",
    "Stream": "types",
    "Table": "reporting.table",
    "Terms": "recovery.benefit",
    "Tuning": "types.tuning",
    "TuningSettings": "recovery.tuning",
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
