"""A set of monitors, and how it is kept: safetensors and JSON, no pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from workbench.config import Run
from workbench.errors import CheckpointError, UnknownNameError
from workbench.monitoring.assembly import Part, groups_of, made_all
from workbench.monitoring.monitor import COMBINATIONS, AnyMonitor, Monitor, parts_of
from workbench.monitoring.scoring import FittedScore
from workbench.monitoring.window import Window
from workbench.types import AdaptiveThreshold, Array, RateLaw, Record, Scorer, Threshold

TENSORS, RECORDS = "monitors.safetensors", "monitors.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Monitors(Mapping[str, AnyMonitor]):
    """Monitors by name, and how they came about.

    Attributes
    ----------
    monitors : in their order.
    left_out : why each score is not among them that was asked for.
    fitted, calibrated : nominal successes that scores were fitted and thresholds computed on.
    diverged : episodes that were left out because their physics diverged.
    """

    monitors: tuple[AnyMonitor, ...]
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fitted: int = 0
    calibrated: int = 0
    diverged: int = 0

    def __getitem__(self, name: str) -> AnyMonitor:
        for monitor in self.monitors:
            if monitor.name == name:
                return monitor
        raise UnknownNameError("monitor", name, self)

    def __iter__(self) -> Iterator[str]:
        return (monitor.name for monitor in self.monitors)

    def __len__(self) -> int:
        return len(self.monitors)

    def save(self, folder: Path) -> None:
        """Keep them in a folder, for :func:`load`."""
        save(folder, self.monitors)


def folder_of(run: Run) -> Path:
    """Where a run keeps its monitors."""
    return run.folder / "monitors"


def load_monitors(run: Run) -> Monitors:
    """The monitors that ``workbench fit`` saved for a run."""
    return load(folder_of(run), run.config["score"], run.config["calibrator"])


def save(folder: Path, monitors: Iterable[AnyMonitor]) -> None:
    """Write monitors with their scores, thresholds, fitted uids and guarantees: safetensors and JSON, no pickle.

    The JSON goes first and comes last: killed at any point, the folder holds whole monitors or visibly none.
    """
    from safetensors.numpy import save as to_bytes

    monitors = tuple(monitors)
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


def load(folder: Path, scores: Mapping[str, Part], calibrators: Mapping[str, Part] | None = None) -> Monitors:
    """The inverse of :func:`save`.

    What was learnt is loaded into newly made parts: ``scores`` are configurations or unfitted objects by the names
    under which they were saved, ``calibrators`` those whose groups were fitted too.

    Raises
    ------
    CheckpointError
        if a file is missing or damaged.
    UnknownNameError
        if a score of the folder was not handed in.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    parts: dict[str, Scorer] = made_all({**scores, **groups_of(made_all(calibrators or {}))})
    try:
        record = json.loads((folder / RECORDS).read_text(encoding="utf-8"))
        tensors: dict[str, Array] = from_bytes((folder / TENSORS).read_bytes())
        fitted = {name: _load_score(name, part, parts, tensors) for name, part in record["scores"].items()}
        leaves = {name: _load_leaf(name, part, fitted, tensors) for name, part in record["leaves"].items()}
        return Monitors(tuple(_load_monitor(name, part, leaves) for name, part in record["monitors"].items()))
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
        laws = tuple(RateLaw(**law) for law in part["threshold"].get("laws", ()))  # none were kept before 0.2
        threshold = kind(**arrays, **(part["threshold"] | {"laws": laws}))
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
