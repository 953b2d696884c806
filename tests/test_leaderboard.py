# ruff: noqa: RUF001
"""The page, the tables and the files of a leaderboard say the same, and all of it."""

from __future__ import annotations

import copy
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from workbench import charts
from workbench.errors import ConfigError, UnknownNameError
from workbench.leaderboard import (
    CELLS,
    KEYS,
    METRICS,
    audit_sheet,
    headlines,
    heat_sheet,
    pair_sheet,
    standing,
    terminal,
    tidy,
    write,
)
from workbench.metrics import clopper_pearson
from workbench.types import Record

VOID = {"meta", "br", "line", "rect", "polyline", "circle", "input", "path"}
SCORES = {
    "failure-free": (
        "entropy stac stac_kl chunk_overlap overlap_magnitude reversals sample_variance sample_variance_position "
        "sample_variance_rotation sample_variance_gripper cluster_entropy rnd rnd_actions mahalanobis pca_kmeans knn "
        "knn_cosine kernel_density logpzo logpo flow_curvature velocity_disagreement denoising_loss reconstruction "
        "token_entropy progress"
    ).split(),
    "supervised": ["safe_mlp", "safe_lstm", "viability", "force_torque"],
    "combination": ["fiper", "sentinel", "stac & rnd", "viability | rnd"],
    "baseline": ["elapsed", "length", "task_prior", "always", "never", "random"],
}
CALIBRATORS = ("split_conformal", "functional_band", "mondrian", "false_alarm_control", "adaptive", "step_quantile")
TASKS = ("stack", "pick_place_can", "lift", "door")
FAMILIES = ("keyframe", "action", "physics", "observation", "policy")


def figure(value: float | None, half: float = 0.03, n: int = 436) -> Record:
    low, high = (None, None) if value is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high, "n": n}


def ratio(value: float, half: float = 0.03, n: int = 436) -> Record:
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def realistic(seed: int = 0) -> Record:
    """A leaderboard as large as a full benchmark gives: 40 scores, 6 calibrators, 4 tasks, 3 seeds."""
    random = np.random.default_rng(seed)
    rows, audit = [], []
    for kind, names in SCORES.items():
        for name in names:
            skill = {"viability": 0.9, "elapsed": 0.6, "always": 0.5, "never": 0.5, "random": 0.51, "length": 0.6, "task_prior": 0.5}.get(name, random.uniform(0.45, 0.85))
            for calibrator in CALIBRATORS if kind not in ("baseline", "combination") else CALIBRATORS[:1]:
                row = monitor(random, name, kind, calibrator, skill)
                audit += audits(random, row)
                rows.append(row)
    others = ("rnd", "safe_lstm", "stac", "mahalanobis", "knn", "elapsed")
    pairs = [
        {"first": "viability", "second": other, "metric": metric, "difference": figure(gap, 0.04), "p_value": p}
        for metric in ("auroc@0.5", "actionable_recall")
        for other, gap, p in zip(others, (0.06, 0.09, 0.16, 0.05, 0.03, 0.3), (0.01, 1e-5, 1e-9, 0.02, 0.2, 0.0), strict=True)
    ]
    return {
        "protocol": "unseen_family",
        "about": "One channel of faults at a time is left out: scores are fitted and windows selected on the episodes of all others, "
        "thresholds are calibrated on nominal successes, and monitors are judged on test episodes of the channel left out beside the nominal ones.",
        "level": 0.1,
        "seeds": [0, 1, 2],
        "command": "workbench benchmark +experiment=unseen_family name=monitors-v1",
        "stores": [
            {"store": f"datasets/monitors-v1-{task}.zarr", "task": task, "policy": f"zoo/{task}_flow",
             "splits": {"fit": 240, "select": 120, "calibrate": 120, "test": 436}, "test": 436, "failures": 180}
            for task in TASKS
        ],
        "rows": rows,
        "costs": [
            {"score": name, "milliseconds": figure(float(random.lognormal(-1.5, 1.3)), 0.01, 48), "fit_s": float(random.uniform(0, 60))}
            for kind in ("failure-free", "supervised") for name in SCORES[kind]
        ],
        "pairs": pairs,
        "audit": audit,
        "drift": [
            {"monitor": f"{name}+split_conformal", "task": task, "stream": stream, "noticed_after": after, "episodes": 200}
            for name in ("rnd", "viability", "knn") for task in TASKS
            for stream, after in (("nominal", 150 if (name, task) == ("knn", "door") else None), ("perturbed", int(random.integers(5, 60))))
        ],
        "refused": [
            {"part": "score token_probability", "store": "datasets/monitors-v1-stack.zarr", "reason": "score token_probability needs "
             "signals/token_logprobs, which no call of this store has: roll out a policy that has tokens (policy=remote_openvla)"},
            {"part": "score force_torque", "store": "all", "reason": "no task here observes force_torque: peg_insertion does"},
        ],
    }  # fmt: skip


def monitor(random: np.random.Generator, name: str, kind: str, calibrator: str, skill: float) -> Record:
    false = {"always": 1.0, "never": 0.0}.get(name, float(np.clip(random.normal(0.09, 0.03), 0.01, 0.4)))
    false = 0.45 if calibrator == "step_quantile" else false
    caught = {"always": 1.0, "never": 0.0}.get(name, float(np.clip(skill * random.uniform(0.7, 1.05), 0, 1)))

    def ranked(level: float) -> Record:
        at = {f: float(np.clip(level + d, 0.05, 1)) for f, d in (("0.25", -0.12), ("0.5", 0), ("0.75", 0.07), ("1", 0.14))}
        return {f"{prefix}@{f}": ratio(value - off) for prefix, off in (("auroc", 0), ("auprc", 0.1), ("pooled_auroc", 0.04))
                for f, value in at.items()}  # fmt: skip

    figures = ranked(skill) | {
        "whole_auroc": ratio(min(1.0, skill + 0.2)), "tpr": ratio(caught), "tnr": ratio(1 - false), "twa": ratio(0.4 + 0.3 * caught),
        "balanced_accuracy": ratio((1 + caught - false) / 2), "fpr_nominal": ratio(false, 0.025),
        "fpr_perturbed_success": ratio(min(1.0, 2.2 * false)), "actionable_recall": ratio(0.6 * caught),
        "detection_time": figure(None) if name == "never" else ratio(0.0 if name == "always" else float(random.uniform(0.2, 0.8))),
        "lead_time_steps": figure(None) if name == "never" else figure(float(random.uniform(-10, 40)), 5),
        "delay_to_onset_steps": figure(float(random.uniform(-20, 30)), 4), "precision_detection_area": ratio(1 - 0.6 * skill),
        "twin_accuracy@0.5": ratio(skill),
    }  # fmt: skip
    figures |= {cell: figure(value + float(random.normal(0, 0.2)), 0.1) for cell, value in zip(CELLS, (-1.2, -0.3, 0.4, 1.5), strict=True)}
    jitter = {part: float(random.normal(0, 0.07)) for part in (*TASKS, *FAMILIES)}

    def part(which: str) -> Record:
        return ranked(skill + jitter[which]) | {"actionable_recall": ratio(float(np.clip(0.6 * caught + jitter[which], 0, 1)))}

    return {
        "monitor": f"{name}+{calibrator}", "score": name, "window": str(random.choice(["last", "mean 3", "mean 5", "max 5", "cusum"])),
        "calibrator": calibrator, "kind": kind, "selected": calibrator == "split_conformal",
        "guarantee": "none: a heuristic" if calibrator == "step_quantile" else f"P(any alarm in a successful episode) <= 0.1 ({calibrator})",
        "figures": figures, "tasks": {task: part(task) for task in TASKS}, "families": {family: part(family) for family in FAMILIES},
    }  # fmt: skip


def audits(random: np.random.Generator, row: Record) -> list[Record]:
    found = []
    for task in TASKS:
        alarms = int(random.binomial(100, min(1.0, row["figures"]["fpr_nominal"]["value"])))
        bounds = list(clopper_pearson(alarms, 100))
        promised = row["calibrator"] != "step_quantile" and row["kind"] != "baseline"
        found.append(
            {"monitor": row["monitor"], "calibrator": row["calibrator"], "task": task, "alarms": alarms, "episodes": 100,
             "rate": alarms / 100, "ci95": bounds, "level": 0.1, "promised": promised, "broken": promised and bounds[0] > 0.1}
        )  # fmt: skip
    return found
