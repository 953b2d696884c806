"""A set of monitors, and how it is kept: safetensors and JSON, no pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from workbench.config import Run, shown, write_bytes, write_text
from workbench.errors import CheckpointError, OtherSettingsError, UnknownNameError
from workbench.execution.ledger import plain, refuse_other
from workbench.monitoring.assembly import Part, groups_of, made_all
from workbench.monitoring.monitor import COMBINATIONS, AnyMonitor, Monitor, parts_of
from workbench.monitoring.scoring import FittedScore
from workbench.monitoring.window import Window
from workbench.types import AdaptiveThreshold, Array, Record, Scorer, Threshold

TENSORS, RECORDS = Path("monitors.safetensors"), "monitors.json"


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

    def save(self, folder: Path, made_with: Record | None = None) -> None:
        """Keep them in a folder, for :func:`load`, with what they were made with."""
        save(folder, self.monitors, made_with)


def folder_of(run: Run) -> Path:
    """Where a run keeps its monitors."""
    return run.folder / "monitors"


def load_monitors(run: Run) -> Monitors:
    """The monitors that ``workbench fit`` saved for a run."""
    return load(folder_of(run), run.config["score"], run.config["calibrator"])


def made_with(folder: Path) -> Record | None:
    """What the monitors of a folder were made with; None where there are none, or nothing is said of it."""
    try:
        record = json.loads((folder / RECORDS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    said = record.get("made_with") if isinstance(record, dict) else None
    return said if isinstance(said, dict) else None


def kept(folder: Path, asked: Record, overwrite: bool) -> bool:
    """Whether a folder holds monitors that were made with just these settings, so that there is nothing to do.

    Raises
    ------
    OtherSettingsError
        if it holds others, and they are not to be overwritten.
    """
    if overwrite or not (folder / RECORDS).exists():
        return False
    remedy = "overwrite=true fits them anew, name=... keeps both"
    before = made_with(folder)
    if before is None:
        raise OtherSettingsError(f"{shown(folder)} holds monitors; {remedy}")
    refuse_other(shown(folder), before, asked, remedy)
    return True


def save(folder: Path, monitors: Iterable[AnyMonitor], made_with: Record | None = None) -> None:
    """Write monitors with their scores, thresholds, fitted uids and guarantees: safetensors and JSON, no pickle.

    The tensors go to a file named by its own digest and the JSON, which names it, comes last: killed at any point, the
    folder holds either the old monitors or the new ones.
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
    data = to_bytes({key: np.array(value, order="C") for key, value in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    named = f"{TENSORS.stem}-{digest[:12]}{TENSORS.suffix}"
    record = {
        "made_with": None if made_with is None else plain(made_with),
        "tensors": named,
        "sha256": digest,
        "scores": {n: {"seed": score.seed, "episodes": sorted(score.episodes)} for n, score in scores.items()},
        "leaves": {name: _leaf_record(leaf) for name, leaf in leaves.items()},
        "monitors": {monitor.name: _composition(monitor) for monitor in monitors},
    }
    write_bytes(folder / named, data)
    write_text(folder / RECORDS, json.dumps(record, indent=1))
    for other in folder.glob(f"{TENSORS.stem}*{TENSORS.suffix}"):
        if other.name != named:
            other.unlink()


def _tensors_of(folder: Path, record: Record) -> dict[str, Array]:
    """Tensors that a record names, of its own folder; earlier versions had one name for all, and no digest."""
    from safetensors.numpy import load as from_bytes

    path = folder / Path(str(record.get("tensors", TENSORS))).name
    data = path.read_bytes()
    if "sha256" in record and hashlib.sha256(data).hexdigest() != record["sha256"]:
        raise CheckpointError(f"{path} is truncated or changed: its sha256 is not the one in {RECORDS}: fit them again")
    return from_bytes(data)


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

    parts: dict[str, Scorer] = made_all({**scores, **groups_of(made_all(calibrators or {}))})
    try:
        record = json.loads((folder / RECORDS).read_text(encoding="utf-8"))
        tensors = _tensors_of(folder, record)
        fitted = {name: _load_score(name, part, parts, tensors) for name, part in record["scores"].items()}
        leaves = {name: _load_leaf(name, part, fitted, tensors) for name, part in record["leaves"].items()}
        return Monitors(tuple(_load_monitor(name, part, leaves) for name, part in record["monitors"].items()))
    except (UnknownNameError, CheckpointError):
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
