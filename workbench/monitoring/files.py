"""A set of monitors, and how it is kept: safetensors and JSON, no pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from workbench.config import Run, described, origin_of, shown, weights_digest, write_bytes, write_text
from workbench.config.moved import where_now
from workbench.errors import CheckpointError, OtherSettingsError, UnknownNameError
from workbench.execution.ledger import plain, refuse_other
from workbench.monitoring.assembly import Part, groups_of, made_all
from workbench.monitoring.monitor import ALL, ANY, COMBINATIONS, AnyMonitor, Monitor, parts_of
from workbench.monitoring.scoring import FittedScore
from workbench.monitoring.window import Window
from workbench.types import AdaptiveThreshold, Array, Policy, RateLaw, Record, Scorer, Task, Threshold, reading
from workbench.types.reading import (
    MOST_TENSOR_BYTES,
    NAME,
    TEXT,
    Among,
    Between,
    Like,
    Size,
    Source,
    array,
    brief,
    check_record_seal,
    checked,
    read_bytes,
    read_json,
    sealed_record,
    tensors_of,
)

TENSORS, RECORDS = Path("monitors.safetensors"), "monitors.json"


AGAIN = "fit them again"
_FILE = r"monitors(-[0-9a-f]{12})?\.safetensors"
_Uid = Annotated[str, Size(1, 1000)]
_Rate = Annotated[float, Between(0, 1)]


@dataclasses.dataclass(frozen=True)
class _Fitted:
    """How a score was fitted, as it is kept."""

    seed: Annotated[int, Between(0, 2**64)]
    episodes: Annotated[list[_Uid], Size(0, 10_000_000)]


@dataclasses.dataclass(frozen=True)
class _Window:
    kind: Literal["last", "sum", "mean", "max", "total", "cusum"]
    width: Annotated[int, Between(1, 1_000_000)]
    drift: float


@dataclasses.dataclass(frozen=True)
class _Law:
    beyond: Annotated[int, Between(1, 10**9)]
    ranked: Annotated[int, Between(1, 10**9)]
    group: Annotated[int, Between(0, 10**9)] | None = None


@dataclasses.dataclass(frozen=True)
class _Threshold:
    """What is kept of a threshold beside its arrays; an adaptive one has ``current`` and ``step``.

    Earlier versions kept no laws.
    """

    level: _Rate
    episodes: Annotated[int, Between(0, 10**9)]
    guarantee: TEXT
    grouped: bool = False
    on_failures: bool = False
    laws: Annotated[list[_Law], Size(0, 100_000)] = dataclasses.field(default_factory=list)
    current: Annotated[float, Between(-2, 3)] | None = None
    step: _Rate | None = None


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """What is kept of a monitor that combines no others."""

    score: NAME
    window: _Window
    calibrator: NAME
    level: _Rate
    reason: TEXT
    groups: NAME | None
    threshold: _Threshold | None


@dataclasses.dataclass(frozen=True)
class FittedOn:
    """Whose episodes monitors were fitted on.

    Attributes
    ----------
    task : its name.
    policy : its class.
    weights : digest of its weights; "" for none.
    """

    task: Annotated[str, Size(0, 1000)]
    policy: Annotated[str, Size(0, 1000)]
    weights: Annotated[str, Size(0, 64)]

    @property
    def driver(self) -> str:
        """The policy in a few words."""
        kind = self.policy.rpartition(".")[-1]
        return f"{kind} with weights {self.weights[:8]}" if self.weights else kind

    @classmethod
    def of(cls, task: str, config: Mapping[str, Any]) -> FittedOn:
        """From the header of a store: name of the task, and configuration."""
        policy = config.get("policy")
        target = str(policy.get("_target_", "")) if isinstance(policy, Mapping) else ""
        return cls(task, where_now(target), str(config.get("weights") or ""))


@dataclasses.dataclass(frozen=True)
class _Record:
    """What ``monitors.json`` says; earlier versions said nothing of settings, digests and the source."""

    scores: dict[NAME, _Fitted]
    leaves: dict[NAME, _Leaf]
    monitors: dict[NAME, dict[Annotated[str, Among((ALL, ANY))], list[NAME]]]
    made_with: Record | None = None
    tensors: Annotated[str, Like(_FILE, "the name of a file of tensors")] = TENSORS.name
    sha256: Annotated[str, Size(0, 64)] = ""
    record_sha256: Annotated[str, Size(0, 64)] = ""
    source: FittedOn | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Monitors(Mapping[str, AnyMonitor]):
    """Monitors by name, and how they came about.

    Attributes
    ----------
    monitors : in their order.
    left_out : why each score is not among them that was asked for.
    fitted, calibrated : nominal successes that scores were fitted and thresholds computed on.
    diverged : episodes that were left out because their physics diverged.
    source : whose episodes they are; None where that is not known.
    """

    monitors: tuple[AnyMonitor, ...]
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fitted: int = 0
    calibrated: int = 0
    diverged: int = 0
    source: FittedOn | None = None

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
        save(folder, self.monitors, made_with, self.source)

    def refuse_other_source(self, name: str, task: Task, policy: Policy | None = None) -> None:
        """Refuse to watch another task or policy than the one whose episodes they were fitted on.

        Parameters
        ----------
        name : of their folder, for messages.
        policy : None for whoever drives.

        Raises
        ------
        OtherSettingsError
            if both are known and differ.
        """
        if self.source is None:
            return
        remedy = "fit some on its episodes: workbench rollout, workbench fit"
        if self.source.task != task.name:
            raise OtherSettingsError(
                f"the monitors in {name} were fitted on task {self.source.task!r}, not {task.name!r}; {remedy}"
            )
        if (origin := origin_of(policy)) is None or not self.source.policy:
            return
        config = {"policy": described(policy), "weights": weights_digest(origin.weights)}
        if self.source != (now := FittedOn.of(task.name, config)):
            raise OtherSettingsError(
                f"the monitors in {name} were fitted on episodes of another policy ({self.source.driver}, not "
                f"{now.driver}); {remedy}"
            )


def folder_of(run: Run) -> Path:
    """Where a run keeps its monitors."""
    return run.folder / "monitors"


def load_monitors(run: Run) -> Monitors:
    """The monitors that ``workbench fit`` saved for a run."""
    return load(folder_of(run), run.config["score"], run.config["calibrator"])


def made_with(folder: Path) -> Record | None:
    """What the monitors of a folder were made with; None where there are none, or nothing is said of it."""
    try:
        return _read_record(folder).made_with
    except CheckpointError:
        return None


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


def save(
    folder: Path, monitors: Iterable[AnyMonitor], made_with: Record | None = None, source: FittedOn | None = None
) -> None:
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
        "source": None if source is None else dataclasses.asdict(source),
        "tensors": named,
        "sha256": digest,
        "scores": {n: {"seed": score.seed, "episodes": sorted(score.episodes)} for n, score in scores.items()},
        "leaves": {name: _leaf_record(leaf) for name, leaf in leaves.items()},
        "monitors": {monitor.name: _composition(monitor) for monitor in monitors},
    }
    write_bytes(folder / named, data)
    write_text(folder / RECORDS, json.dumps(sealed_record(record), indent=1))
    for other in folder.glob(f"{TENSORS.stem}*{TENSORS.suffix}"):
        if other.name != named:
            other.unlink()


def verify(folder: Path) -> None:
    """CheckpointError unless a folder's monitors are those that were saved."""
    _tensors_of(folder, _read_record(folder))


def _read_record(folder: Path) -> _Record:
    """What ``monitors.json`` says; CheckpointError if it is missing or damaged."""
    if not (folder / RECORDS).exists():
        raise CheckpointError(f"there are no monitors in {folder}: fit them there first")
    source = Source(str(folder / RECORDS), CheckpointError, AGAIN)
    record = read_json(folder / RECORDS, source)
    made: _Record = checked(_Record, record, source)
    check_record_seal(record, source)
    return made


def _tensors_of(folder: Path, record: _Record) -> dict[str, Array]:
    """Tensors that a record names, of its own folder; earlier versions had one name for all, and no digest."""
    path = folder / record.tensors
    source = Source(str(path), CheckpointError, AGAIN)
    data = read_bytes(path, source, MOST_TENSOR_BYTES)
    if record.sha256 and hashlib.sha256(data).hexdigest() != record.sha256:
        raise source.wrong(f"is truncated or changed: its sha256 is not the one in {RECORDS}")
    found = tensors_of(data, source)
    if wide := [name for name, value in found.items() if max(value.shape, default=0) > len(data)]:
        raise source.wrong(f"holds {reading.shown(wide[0])} of shape {found[wide[0]].shape}, without so many numbers")
    return found


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
    parts: dict[str, Scorer] = made_all({**scores, **groups_of(made_all(calibrators or {}))})
    record = _read_record(folder)
    tensors = _tensors_of(folder, record)
    if others := [name for name in record.scores if name not in parts]:
        raise UnknownNameError("score", others[0], parts)
    try:
        fitted = {name: _load_score(name, part, parts[name], tensors) for name, part in record.scores.items()}
        leaves = {name: _load_leaf(name, part, fitted, tensors) for name, part in record.leaves.items()}
        monitors = tuple(_load_monitor(name, part, leaves) for name, part in record.monitors.items())
        return Monitors(monitors, source=record.source)
    except CheckpointError as error:
        raise CheckpointError(f"the monitors in {folder} are damaged ({error}); {AGAIN}") from None
    except Exception as error:  # whatever a score makes of arrays that are not its own
        raise CheckpointError(f"the monitors in {folder} are damaged ({brief(repr(error))}); {AGAIN}") from error


def _load_monitor(name: str, composition: Mapping[str, list[str]], leaves: Mapping[str, Monitor]) -> AnyMonitor:
    for how, legs in composition.items():
        if len(composition) > 1 or len(set(legs)) < 2:
            raise CheckpointError(f"{reading.shown(name)} must combine two or more others in one way")
        return COMBINATIONS[how](name, tuple(_known(leg, leaves) for leg in legs))
    leaf: Monitor = _known(name, leaves)
    return leaf


def _known(name: str, there: Mapping[str, Any]) -> Any:
    """One of what a record names; CheckpointError if it is not among them."""
    if name not in there:
        raise CheckpointError(f"{reading.shown(name)} is named, and is none of {', '.join(there) or 'nothing'}")
    return there[name]


def _load_score(name: str, part: _Fitted, score: Scorer, tensors: Mapping[str, Array]) -> FittedScore:
    state = _below(f"score/{name}/", tensors)
    score.load(state)
    again = score.state()
    if differing := sorted({*state} ^ {*again}):
        raise CheckpointError(f"score {name} has not learnt {differing[0]}, or needs it")
    if others := [key for key in again if np.shape(again[key]) != np.shape(state[key])]:
        raise CheckpointError(f"what score {name} has learnt as {others[0]} is of shape {np.shape(state[others[0]])}")
    return FittedScore(name, score, frozenset(part.episodes), part.seed)


def _below(start: str, tensors: Mapping[str, Array]) -> dict[str, Array]:
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}


def _load_leaf(name: str, part: _Leaf, scores: Mapping[str, FittedScore], tensors: Mapping[str, Array]) -> Monitor:
    return Monitor(
        name=name,
        score=_known(part.score, scores),
        window=Window(part.window.kind, part.window.width, float(part.window.drift)),
        calibrator=part.calibrator,
        level=float(part.level),
        threshold=None if part.threshold is None else _threshold(name, part.threshold, tensors),
        reason=part.reason,
        groups=None if part.groups is None else _known(part.groups, scores),
    )


def _threshold(name: str, said: _Threshold, tensors: Mapping[str, Array]) -> Threshold:
    """A threshold whose numbers are such as a calibrator gives: none NaN, units positive."""
    source, arrays = Source(f"the threshold of {name}", CheckpointError), _below(f"threshold/{name}/", tensors)
    values = array(arrays, "values", source, "f", [None], finite=False)
    scale = array(arrays, "scale", source, "f", [None])
    if not len(values) or np.isnan(values).any() or len(scale) not in (1, len(values)) or not (scale > 0).all():
        raise source.wrong("must be numbers, with one positive scale, or one for each")
    fields = {key: value for key, value in dataclasses.asdict(said).items() if value is not None}
    fields["laws"] = tuple(RateLaw(**law) for law in fields["laws"])
    if "recent" not in arrays:
        if said.current is not None or said.step is not None:
            raise source.wrong("lacks the array 'recent', by which it moves")
        return Threshold(values, scale, **fields)
    return AdaptiveThreshold(values, scale, **fields, recent=array(arrays, "recent", source, "f", [None]))
