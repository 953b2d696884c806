"""Failures grouped into modes that nobody named: by what held when, and by what the policy felt.

Ward's clustering (Journal of the American Statistical Association 1963) of two blocks of features that weigh the same:
which predicates hold and which stage is reached, in ten equal parts of the episode's time; and the embeddings of its
three thirds, by the principal components that hold nine tenths of their variance.  The number of groups is the one of
the largest mean silhouette (Rousseeuw, Journal of Computational and Applied Mathematics 1987).  Groups have numbers and
a medoid, no names: a name would say more than was measured.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from workbench.attribution.conditions import Held, held_in
from workbench.attribution.signals import parts_of, standardised
from workbench.errors import ConfigError, StoreError
from workbench.stats.bootstrap import draws, percentiles
from workbench.store import Store
from workbench.types import Array, Record

PARTS, THIRDS, VARIANCE = 10, 3, 0.9
LEAST, RESAMPLES = 6, 1000
"""Failures that can be grouped at all, and resamples of the intervals."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Failures that look alike.

    Attributes
    ----------
    number : 1 for the largest.
    medoid : uid of the one that is nearest to all others: look at this one.
    uids : of all, nearest to the medoid first.
    failure_modes, faults, stages : measured word -> how many of them, commonest first.
    """

    number: int
    medoid: str
    uids: tuple[str, ...]
    failure_modes: Mapping[str, int]
    faults: Mapping[str, int]
    stages: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far groups agree with measured words: 1 wholly, 0 as by chance (Rand) or not at all (V); 95 % intervals."""

    rand: tuple[float, float | None, float | None]
    v_measure: tuple[float, float | None, float | None]


@dataclasses.dataclass(frozen=True)
class Grouping:
    """The failures of a store in groups.

    Attributes
    ----------
    groups : the largest first.
    silhouettes : number of groups -> mean silhouette; the highest was taken, of equals the fewest groups.
    failure_modes, faults : agreement with the measured failure mode, and with what was injected.
    """

    groups: tuple[Group, ...]
    silhouettes: Mapping[int, float]
    failure_modes: Agreement
    faults: Agreement


def grouped(store: Store, numbers: Sequence[int], most: int = 12) -> Grouping:
    """Some failures of a store in 2 .. ``most`` groups; deterministic.

    Raises
    ------
    StoreError
        if there are fewer than six, or if nothing tells any two of them apart.
    ConfigError
        if ``most`` is below 2.
    """
    if most < 2:
        raise ConfigError(f"job.most={most} groups: there must be room for 2 or more")
    if len(numbers) < LEAST:
        raise StoreError(f"{store.path} holds {len(numbers)} failures to group; at least {LEAST} are needed")
    held = held_in(store, numbers)
    features = features_of(store, numbers, held)
    if not features.size or np.ptp(features, axis=0).max() == 0:
        raise StoreError(f"nothing in {store.path} tells its {len(numbers)} failures apart: no predicate, no embedding")
    labels, silhouettes = clustered(features, most)
    rows = store.episodes
    modes, faults = rows["failure_mode"][list(numbers)], rows["perturbation"][list(numbers)]
    stages = np.array([f"{int(each.stage.max(initial=0))}" for each in held], object)
    words = {"failure_modes": modes, "faults": faults, "stages": stages}
    members = sorted(
        (np.flatnonzero(labels == label) for label in np.unique(labels)), key=lambda one: (-len(one), one[0])
    )
    uids = [store.uids[number] for number in numbers]
    groups = tuple(_group(place + 1, each, features, uids, words) for place, each in enumerate(members))
    return Grouping(groups, silhouettes, agreement(labels, modes), agreement(labels, faults))


def _group(number: int, members: Array, features: Array, uids: Sequence[str], words: Mapping[str, Array]) -> Group:
    apart = np.linalg.norm(features[members][:, None] - features[members][None], axis=2)
    medoid = int(apart.sum(axis=1).argmin())
    near = members[np.argsort(apart[medoid], kind="stable")]
    counted = {name: _counted(column[members]) for name, column in words.items()}
    return Group(number, uids[members[medoid]], tuple(uids[place] for place in near), **counted)


def _counted(words: Iterable[str]) -> dict[str, int]:
    """Word -> how often, commonest first, equals by name."""
    counts = collections.Counter(map(str, words))
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))


def features_of(store: Store, numbers: Sequence[int], held: Sequence[Held]) -> Array:
    """Features (N, F) of both blocks; of a store without embeddings, or without predicates, of the other alone."""
    stages = max(max(int(each.stage.max(initial=0)) for each in held), 1)
    events = [parts_of(np.column_stack([each.true, each.stage / stages]).astype(float), PARTS).ravel() for each in held]
    blocks = [weighed(np.array(events))]
    embedded = [store.calls(number, {"embedding"}).embedding if _called(store, number) else None for number in numbers]
    if all(each is not None for each in embedded):
        thirds = np.array([parts_of(np.asarray(each, float), THIRDS).ravel() for each in embedded])
        blocks.append(weighed(reduced(thirds)))
    return np.concatenate(blocks, axis=1)


def _called(store: Store, number: int) -> bool:
    return len(store.episode(number, steps=(), calls=("step",)).calls.get("step", ())) > 0


def weighed(block: Array) -> Array:
    """Centred, and scaled to a total variance of 1, so that blocks of any number of columns weigh the same."""
    centred = block - block.mean(axis=0)
    total = float(centred.var(axis=0).sum())
    scaled: Array = centred / np.sqrt(total) if total > 0 else centred
    return scaled


def reduced(values: Array) -> Array:
    """The principal components (N, K) of standardised values that hold nine tenths of their variance."""
    scaled = standardised(values)
    left, strength, _ = np.linalg.svd(scaled - scaled.mean(axis=0), full_matrices=False)
    if not strength.any():
        return np.zeros((len(values), 1))
    shares = np.cumsum(strength**2) / np.sum(strength**2)
    kept = int(np.searchsorted(shares, VARIANCE)) + 1
    found: Array = left[:, :kept] * strength[:kept]
    return found


def clustered(features: Array, most: int) -> tuple[Array, dict[int, float]]:
    """Labels (N,) of the number of groups with the largest mean silhouette, and number -> that silhouette."""
    from scipy.cluster.hierarchy import fcluster, linkage  # type: ignore[import-untyped,unused-ignore]
    from sklearn.metrics import silhouette_score  # type: ignore[import-untyped,unused-ignore]

    tree = linkage(features, "ward")
    cuts = {wanted: fcluster(tree, wanted, "maxclust") for wanted in range(2, min(most, len(features) - 1) + 1)}
    cuts = {len(np.unique(labels)): labels for labels in cuts.values() if 1 < len(np.unique(labels)) < len(features)}
    if not cuts:
        raise StoreError(f"the {len(features)} failures cannot be parted into groups: they are alike to the last digit")
    silhouettes = {count: float(silhouette_score(features, labels)) for count, labels in sorted(cuts.items())}
    best = max(silhouettes, key=lambda count: (silhouettes[count], -count))
    return cuts[best], silhouettes


def agreement(labels: Array, words: Array, resamples: int = RESAMPLES) -> Agreement:
    """Adjusted Rand index (Hubert and Arabie, Journal of Classification 1985) and V-measure (Rosenberg and Hirschberg,
    EMNLP-CoNLL 2007) of groups and words, with bootstrap intervals over episodes.

    An episode drawn twice agrees with itself of necessity: such pairs are left out of the Rand index, and resamples are
    moved so that their mean is what the episodes say.
    """
    weights = np.hstack([np.ones((len(labels), 1)), draws(len(labels), resamples, np.random.default_rng(0))])
    first, second = (np.equal.outer(column, np.unique(column)).astype(float) for column in (labels, words))
    found = np.array([_agreement(first, second, weight) for weight in weights.T])
    found[1:] -= found[1:].mean(axis=0) - found[0]
    rand, v_measure = ((float(column[0]), *percentiles(column)) for column in found.T)
    return Agreement(rand, v_measure)


def _agreement(first: Array, second: Array, weight: Array) -> tuple[float, float]:
    """Adjusted Rand index and V-measure of memberships (N, G) and (N, W) with weights (N,) of the episodes."""
    cells, squares = (first.T @ (power[:, None] * second) for power in (weight, weight**2))
    pairs = [(sums**2 - squared).sum() for sums, squared in (
        (cells, squares), (cells.sum(1), squares.sum(1)), (cells.sum(0), squares.sum(0)), (cells.sum(), squares.sum())
    )]  # fmt: skip
    both, mine, theirs, every = pairs
    chance, most = mine * theirs / every if every else 0.0, (mine + theirs) / 2
    share = cells / cells.sum()
    entropies = [_entropy(share.sum(axis)) for axis in (0, 1)]
    mutual = sum(entropies) - _entropy(share.ravel())
    return (
        float((both - chance) / (most - chance)) if most != chance else 1.0,
        float(2 * mutual / sum(entropies)) if sum(entropies) > 0 else 1.0,
    )


def _entropy(shares: Array) -> float:
    there = shares[shares > 0]
    return float(-(there * np.log(there)).sum())


def record_of(found: Grouping) -> Record:
    """Plain data."""
    return {
        **dataclasses.asdict(found),
        "silhouettes": {str(count): value for count, value in found.silhouettes.items()},
    }
