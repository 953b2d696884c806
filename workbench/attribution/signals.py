"""Cheap signals that say which episodes are worth looking at: from the robot's own log alone.

They read what the robot saw, asked for and planned.  No predicate, no stage, no outcome, no label, no simulation and no
trained detector is needed, so that they can be computed of logs of real robots too.  Nothing in them is tuned: they are
ranked among the episodes of one store, and an episode's rank is the mean of its ranks.

Source of the idea: Signals, cheap trajectory signals without model calls that rank by informativeness (2026).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.config.named import score
from workbench.errors import ConfigError
from workbench.monitoring.monitor import AnyMonitor, needs_of
from workbench.monitoring.reading import offline
from workbench.monitoring.scoring import FittedScore, curves
from workbench.store import Store
from workbench.types import Array, EpisodeCalls

SIGNALS: Mapping[str, str] = {
    "late": "control steps it took, as part of the deadline",
    "stall": "longest time in which what the robot sees hardly changes, as part of the deadline",
    "revisits": "share of control steps at which it sees again what it saw a second or more before, having left it",
    "reversals": "share of control steps at which the commanded motion turns by more than a right angle",
    "near limit": "share of its action numbers within 5 % of their limit",
    "inconsistency": "mean squared difference of chunks in a row where both plan (score chunk_overlap)",
    "spread": "mean variance of the chunks sampled beside the one that is run (score sample_variance)",
    "rarity": "distance of its embeddings to the nearest other episode's at the same time, mean",
    "disagreement": "how evenly the monitors are parted on whether to alarm",
}
"""Signal -> what it is; higher is more worth looking at.  A store without embeddings or samples lacks some."""
STILL, AWAY, BACK, LIMIT = 0.1, 0.5, 0.25, 0.95
"""Of the usual change a control step below which nothing happens; distances, in standard deviations, of having left
and of being back; and the part of an action's range that is near its limit."""
NORMAL_QUARTILES, CUT = 1.349, 3.0
"""Standard deviations between the quartiles of a normal distribution, and at which values are cut off."""
BLOCK = 64
"""Episodes that are read together; bounds the memory, not the result."""


@dataclasses.dataclass(frozen=True)
class Ranked:
    """One episode among those of its store.

    Attributes
    ----------
    number, uid : which.
    rank : mean of the ranks of its signals, 0 .. 1; higher is more worth looking at.
    signals : name of :data:`SIGNALS` -> value.
    top : its highest ranked signals, highest first: why it is looked at.
    """

    number: int
    uid: str
    rank: float
    signals: Mapping[str, float]
    top: tuple[str, ...]


def ranked(store: Store, numbers: Sequence[int], monitors: Sequence[AnyMonitor] = ()) -> list[Ranked]:
    """Episodes in the order in which to look at them, by the mean rank of their signals; of equals in stored order."""
    values = signals_of(store, numbers, monitors)
    ranks = {name: mean_ranks(column) for name, column in values.items()}
    mean = np.mean(list(ranks.values()), axis=0) if numbers else np.zeros(0)
    order = np.argsort(-mean, kind="stable")
    return [
        Ranked(
            int(numbers[place]),
            store.uids[numbers[place]],
            float(mean[place]),
            {name: float(column[place]) for name, column in values.items()},
            tuple(sorted(ranks, key=lambda name: -ranks[name][place])[:2]),
        )
        for place in order
    ]


def mean_ranks(values: Array) -> Array:
    """Ranks in 0 .. 1; equals share theirs, so that a signal that says nothing moves nobody."""
    from scipy.stats import rankdata  # type: ignore[import-untyped,unused-ignore]

    found: Array = (rankdata(values) - 0.5) / max(len(values), 1)
    return found


def signals_of(store: Store, numbers: Sequence[int], monitors: Sequence[AnyMonitor] = ()) -> dict[str, Array]:
    """Signal -> (N,) values of some episodes; without those that the store holds nothing for.

    Raises
    ------
    StoreError
        if an episode holds no policy calls.
    """
    usual = _usual(store, numbers)
    parts = [
        _of_block(store, numbers[first : first + BLOCK], usual, monitors) for first in range(0, len(numbers), BLOCK)
    ]
    found = {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})}
    thirds = _embeddings_by_time(store, numbers)
    return found | ({"rarity": rarity(thirds)} if thirds is not None and len(numbers) > 1 else {})


def rarity(embeddings: Array) -> Array:
    """Distance (N,) of embeddings (N, B, D), standardised, to the nearest other episode's of the same part of time."""
    scaled = standardised(embeddings)
    found = np.zeros(len(scaled))
    for part in scaled.transpose(1, 0, 2):
        squares = (part**2).sum(axis=1)
        apart = np.maximum(squares[:, None] + squares[None] - 2 * part @ part.T, 0)
        np.fill_diagonal(apart, np.inf)
        found += np.sqrt(apart.min(axis=1)) / scaled.shape[1]
    return found


def standardised(values: Array) -> Array:
    """Values (N, ...) by median and quartiles over N, cut off at 3 standard deviations: an odd one moves no other."""
    low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
    scale = (high - low) / NORMAL_QUARTILES
    found: Array = np.clip((values - middle) / np.where(scale > 0, scale, np.inf), -CUT, CUT)
    return found


@dataclasses.dataclass(frozen=True)
class _Usual:
    """Of the observations of all episodes: their spread (D,), and the median change of a control step in it."""

    spread: Array
    change: float


def _usual(store: Store, numbers: Sequence[int]) -> _Usual:
    """From the first BLOCK episodes of an even sample, so that a large store is not read twice."""
    chosen = [numbers[int(at)] for at in np.linspace(0, len(numbers) - 1, min(BLOCK, len(numbers)))]
    seen = [_seen(store, number) for number in chosen]
    if not seen:
        return _Usual(np.ones(1), 1.0)
    spread = np.maximum(np.concatenate(seen).std(axis=0), 1e-9)
    changes = np.concatenate([np.linalg.norm(np.diff(each / spread, axis=0), axis=1) for each in seen])
    return _Usual(spread, float(np.median(changes)) if len(changes) else 0.0)


def _seen(store: Store, number: int) -> Array:
    """What the robot saw (T, D), cameras left out."""
    names = [name for name in store.step_names(number) if name.startswith("obs/")]
    steps = store.episode(number, steps=names, calls=()).steps
    flat = [np.asarray(rows, float).reshape(len(rows), -1) for _, rows in sorted(steps.items())]
    return np.concatenate(flat, axis=1) if flat else np.zeros((int(store.episodes["length"][number]), 0))


def _of_block(store: Store, numbers: Sequence[int], usual: _Usual, monitors: Sequence[AnyMonitor]) -> dict[str, Array]:
    """All signals but rarity of one block of episodes."""
    calls = [store.calls(number, {"samples", *needs_of(monitors)}) for number in numbers]
    second = max(round(store.header.control_hz), 1)
    seen = [_seen(store, number) / usual.spread for number in numbers]
    actions = [store.episode(number, steps=("action",), calls=()).steps["action"] for number in numbers]
    found = {
        "late": np.array([len(each) for each in actions]) / store.header.deadline,
        "stall": np.array([longest_still(each, STILL * usual.change) for each in seen]) / store.header.deadline,
        "revisits": np.array([revisits(each, second) for each in seen]),
        "near limit": np.array([float((np.abs(each) >= LIMIT).mean()) for each in actions]),
        **_planned(calls),
    }
    if monitors:
        alarms = [[bool(each.alarm.any()) for each in readings] for readings in offline(monitors, calls).values()]
        share = np.mean(np.array(alarms), axis=0)
        found["disagreement"] = share * (1 - share)
    return found


def _planned(calls: Sequence[EpisodeCalls]) -> dict[str, Array]:
    """Means over the calls of the scores that need no training."""
    size = calls[0].chunk.shape[-1]
    wanted = {
        "reversals": ("reversals", range(min(size, 3))),
        "inconsistency": ("chunk_overlap", range(min(size, 6))),
        "spread": ("sample_variance", range(size)),
    }
    if any(each.samples is None or each.samples.shape[1] < 2 for each in calls):
        del wanted["spread"]
    found = {}
    for name, (kind, dims) in wanted.items():
        fitted = FittedScore(kind, score(kind, dims=list(dims)), frozenset(), 0)
        found[name] = np.array([float(curve.mean()) for curve in curves(fitted, calls)])
    return found


def _embeddings_by_time(store: Store, numbers: Sequence[int]) -> Array | None:
    """Mean embeddings (N, 3, D) of the thirds of every episode; None where one holds none."""
    found = []
    for number in numbers:
        embedding = store.calls(number, {"embedding"}).embedding
        if embedding is None:
            return None
        found.append(parts_of(np.asarray(embedding, float), 3))
    if len({each.shape for each in found}) > 1:
        raise ConfigError(f"{store.path} holds embeddings of different sizes: triage the episodes of one policy")
    return np.stack(found) if found else None


def parts_of(rows: Array, parts: int) -> Array:
    """Means (parts, D) of rows (T, D) over equal parts of their time; of fewer rows some stand in several parts."""
    edges = np.linspace(0, len(rows), parts + 1)
    first = np.minimum(np.floor(edges[:-1]).astype(int), len(rows) - 1)
    last = np.maximum(np.ceil(edges[1:]).astype(int), first + 1)
    return np.stack([rows[a:b].mean(axis=0) for a, b in zip(first, last, strict=True)])


def longest_still(seen: Array, least: float) -> int:
    """Control steps of the longest run in which what is seen (T, D) changes by no more than ``least`` a step."""
    still = np.linalg.norm(np.diff(seen, axis=0), axis=1) <= least
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(int)))
    return int(np.max(edges[1::2] - edges[::2], initial=0))


def revisits(seen: Array, second: int) -> float:
    """Share of control steps of (T, D) near a step at least a second before, with a step further off in between."""
    length, size = seen.shape
    if length < 3 or not size:
        return 0.0
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=2) / np.sqrt(size)
    back = 0
    for now in range(second, length):
        before = np.flatnonzero(apart[now, : now - second + 1] <= BACK)
        back += any((apart[now, then:now] >= AWAY).any() for then in before[:1])
    return float(back / length)
