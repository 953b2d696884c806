"""Monitors on disk: safetensors and JSON, no pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from workbench.errors import CheckpointError, UnknownNameError
from workbench.monitoring.monitor import COMBINATIONS, AnyMonitor, Monitor, parts_of
from workbench.monitoring.scoring import FittedScore
from workbench.monitoring.window import Window
from workbench.types import AdaptiveThreshold, Array, Record, Scorer, Threshold

TENSORS, RECORDS = "monitors.safetensors", "monitors.json"


def save(folder: Path, monitors: Sequence[AnyMonitor]) -> None:
    """Write monitors with their scores, thresholds, fitted uids and guarantees: safetensors and JSON, no pickle.

    The JSON goes first and comes last: killed at any point, the folder holds whole monitors or visibly none.
    """
    from safetensors.numpy import save as to_bytes

    leaves, scores = parts_of(monitors)
    tensors = {f"score/{n}/{key}": value for n, score in scores.items() for key, value in score.score.state().items()}
    for name, leaf in leaves.items():
        if leaf.threshold is not None:
            tensors[f"threshold/{name}/values"] = leaf.threshold.values
            tensors[f"threshold/{name}/scale"] = leaf.threshold.scale
            if isinstance(leaf.threshold, AdaptiveThreshold):
                tensors[f"threshold/{name}/recent"] = leaf.threshold.recent
    record = {
        "scores": {n: {"seed": score.seed, "episodes": sorted(score.episodes)} for n, score in scores.items()},
        "leaves": {name: _leaf_record(leaf) for name, leaf in leaves.items()},
        "monitors": {monitor.name: _composition(monitor) for monitor in monitors},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORDS).unlink(missing_ok=True)
    (folder / TENSORS).write_bytes(to_bytes({key: np.array(value, order="C") for key, value in tensors.items()}))
    partial = folder / f".{RECORDS}.partial"
    partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
    partial.replace(folder / RECORDS)


def _composition(monitor: AnyMonitor) -> Record:
    """How a monitor is combined of which legs; empty for a leaf."""
    legs = [leaf.name for leaf in monitor.leaves()]
    return {how: legs for how, kind in COMBINATIONS.items() if isinstance(monitor, kind)}


def _leaf_record(leaf: Monitor) -> Record:
    record: Record = {
        "score": leaf.score.name,
        "window": {key: getattr(leaf.window, key) for key in ("kind", "width", "drift")},
        "calibrator": leaf.calibrator,
        "level": leaf.level,
        "reason": leaf.reason,
        "groups": leaf.groups.name if leaf.groups else None,
        "threshold": None,
    }
    if leaf.threshold is not None:
        fields = dataclasses.asdict(leaf.threshold)
        record["threshold"] = {key: value for key, value in fields.items() if not isinstance(value, np.ndarray)}
    return record


def load(folder: Path, scores: Mapping[str, Scorer]) -> list[AnyMonitor]:
    """The inverse of :func:`save`.

    ``scores`` maps the name of each score, and of what tells groups apart, to a newly built one of that kind, into
    which what was learnt is loaded.

    Raises
    ------
    CheckpointError
        if a file is missing or damaged.
    UnknownNameError
        if a score of the folder was not handed in.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        record = json.loads((folder / RECORDS).read_text(encoding="utf-8"))
        tensors: dict[str, Array] = from_bytes((folder / TENSORS).read_bytes())
        fitted = {name: _load_score(name, part, scores, tensors) for name, part in record["scores"].items()}
        leaves = {name: _load_leaf(name, part, fitted, tensors) for name, part in record["leaves"].items()}
        return [_load_monitor(name, part, leaves) for name, part in record["monitors"].items()]
    except UnknownNameError:
        raise
    except OSError as error:
        raise CheckpointError(f"there are no monitors in {folder} ({error}): fit them there first") from None
    except (KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"the monitors in {folder} are damaged ({error!r}): fit them again") from error


def _load_monitor(name: str, composition: Record, leaves: Mapping[str, Monitor]) -> AnyMonitor:
    for how, legs in composition.items():
        return COMBINATIONS[how](name, tuple(leaves[leg] for leg in legs))
    return leaves[name]


def _load_score(name: str, part: Record, scores: Mapping[str, Scorer], tensors: Mapping[str, Array]) -> FittedScore:
    if name not in scores:
        raise UnknownNameError("score", name, scores)
    start = f"score/{name}/"
    scores[name].load({key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)})
    return FittedScore(name, scores[name], frozenset(part["episodes"]), int(part["seed"]))


def _load_leaf(name: str, part: Record, scores: Mapping[str, FittedScore], tensors: Mapping[str, Array]) -> Monitor:
    threshold = None
    if part["threshold"] is not None:
        start = f"threshold/{name}/"
        arrays: Record = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
        kind = AdaptiveThreshold if "recent" in arrays else Threshold
        threshold = kind(**arrays, **part["threshold"])
    window = Window(part["window"]["kind"], int(part["window"]["width"]), float(part["window"]["drift"]))
    groups = scores[part["groups"]] if part["groups"] is not None else None
    return Monitor(
        name=name,
        score=scores[part["score"]],
        window=window,
        calibrator=part["calibrator"],
        level=float(part["level"]),
        threshold=threshold,
        reason=part["reason"],
        groups=groups,
    )
