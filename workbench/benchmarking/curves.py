"""Kept curves: each score fitted on every fold with every seed, its curves on disk, its window chosen on ``select``.

::

    cut.folds(entries) --> needed() --> fit_and_score() on workers --> curves on disk, one file a score, fit and seed
                                                choose_window() on select --> readings() of the test split

Scores that learn from successes see the same nominal episodes in many folds and are fitted once for all of them.  What
is on disk is named by a digest of everything that decides it, the scores' code included, so that a comparison goes on
where it was interrupted and another protocol of the same stores finds what it can use.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
import time
from collections.abc import Collection, Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated

import numpy as np

from workbench import __version__
from workbench.benchmarking.columns import HALF
from workbench.benchmarking.folds import Fold
from workbench.config import build, digest, resolve, write_bytes
from workbench.errors import ScoreError, SplitError, StoreError
from workbench.execution.progress import say
from workbench.monitoring.scoring import curves, fit_score
from workbench.monitoring.window import Window
from workbench.stats.concordance import matched_auroc
from workbench.store import Store
from workbench.types import Array, EpisodeCalls, EpisodeTruth, PolicyCall, Record
from workbench.types.reading import (
    MOST_TENSOR_BYTES,
    SEAL,
    Distinct,
    Source,
    array,
    check_seal,
    checked,
    keys,
    parsed,
    read_bytes,
    sealed,
    tensors_of,
    words_of,
)


@dataclasses.dataclass(frozen=True)
class ScoreFit:
    """One score on one set of episodes: what a worker fits and applies.

    Attributes
    ----------
    store : path of the store.
    score : name of the score.
    node : its configuration.
    fitted : numbers of the episodes that it is fitted on.
    scored : numbers of those that it scores.
    seeds : of the fits.
    key : digest of what decides the curves, without the seed.
    """

    store: Path
    score: str
    node: Record
    fitted: tuple[int, ...]
    scored: tuple[int, ...]
    seeds: tuple[int, ...]
    key: str

    def path(self, seed: int) -> Path:
        """File of the curves of one seed: beside the store, for whoever asks for them next."""
        return self.store.with_suffix(".curves") / f"{self.score}-{self.key}-{seed}.safetensors"


@dataclasses.dataclass(frozen=True)
class Curves:
    """Raw scores of many episodes by one fitted score.

    Attributes
    ----------
    scores : uid -> (C,) raw scores.
    steps : uid -> (C,) control steps of the calls.
    held_out : (C_i,) raw scores of the episodes that it was fitted on, as if each had been left out; empty where the
        score cannot say.
    fit_s : seconds of the fit.
    milliseconds : of a scene and call, in lockstep.
    """

    scores: Mapping[str, Array]
    steps: Mapping[str, Array]
    held_out: Sequence[Array]
    fit_s: float
    milliseconds: float


class KeptScore:
    """In the place of a score of which its curves were kept, and not what it learnt: such a monitor reads curves alone.

    Every attempt to have it score a call is a ScoreError.
    """

    needs: frozenset[str] = frozenset()

    def begin(self) -> Record:
        """ScoreError."""
        raise _only_kept()

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """ScoreError."""
        raise _only_kept()

    def state(self) -> dict[str, Array]:
        """ScoreError."""
        raise _only_kept()

    def load(self, state: Mapping[str, Array]) -> None:
        """ScoreError."""
        raise _only_kept()


def _only_kept() -> ScoreError:
    return ScoreError("of this score only its curves were kept; workbench fit makes monitors that can watch")


def is_supervised(node: Record) -> bool:
    """Whether the score behind a configuration learns from outcomes."""
    return bool(getattr(resolve(node["_target_"]), "supervised", False))


def needed(
    store: Store, folds: Sequence[Fold], scores: Mapping[str, Record], seeds: Sequence[int]
) -> dict[tuple[str, str], ScoreFit]:
    """The fits that a comparison needs of one store, by (fold, score); equal ones of several folds are one."""
    labelled, unlabelled = store.digest(), store.digest(labels=False)
    wanted: dict[str, set[int]] = {}
    found: dict[tuple[str, str], ScoreFit] = {}
    for fold in folds:
        scored = {entry.number for split in (fold.select, fold.calibrate, fold.test) for entry in split}
        for name, node in scores.items():
            learnt_from = fold.fit if is_supervised(node) else fold.successes("fit")
            fitted = tuple(sorted(entry.number for entry in learnt_from))
            known = labelled if is_supervised(node) else unlabelled
            code = code_digest(node["_target_"])
            key = digest([node, [store.uids[number] for number in fitted], known, code, __version__], 16)
            found[fold.name, name] = ScoreFit(store.path, name, node, fitted, (), tuple(seeds), key)
            wanted.setdefault(key, set()).update(scored)
    return {place: dataclasses.replace(fit, scored=tuple(sorted(wanted[fit.key]))) for place, fit in found.items()}


@functools.cache
def code_digest(target: str) -> str:
    """Digest of the code behind a score or group, so that a changed one is computed anew, and no other."""
    hashed = hashlib.sha256()
    for path in sorted(code_files(target)):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


def code_files(target: str) -> set[Path]:
    """The file of a class and those of the modules of detectors, or of its own package, that it imports by any way."""
    home: str = resolve(target).__module__
    package = home.partition(".")[0]
    ours = ("workbench.detectors.",) if package == "workbench" else ("workbench.detectors.", f"{package}.")
    waiting, found = [home], set[Path]()
    while waiting:
        module = importlib.import_module(waiting.pop())
        path = Path(inspect.getfile(module))
        if path not in found:
            found.add(path)
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.ImportFrom):
                    source = importlib.util.resolve_name("." * node.level + (node.module or ""), module.__package__)
                    names = [source, *(f"{source}.{alias.name}" for alias in node.names)]
                    waiting += [name for name in names if name.startswith(ours) and name in sys.modules]
    return found


def missing_seeds(fit: ScoreFit) -> list[int]:
    """Seeds of which no file holds every episode that is wanted."""
    known = Store.open(fit.store).uids
    uids = {known[number] for number in fit.scored}
    return [seed for seed in fit.seeds if not _holds(fit.path(seed), uids)]


def _holds(path: Path, uids: Set[str]) -> bool:
    """Whether a file holds whole curves of these episodes; of a damaged one, one line is said."""
    if not path.exists():
        return False
    try:
        return uids <= read_curves(path).scores.keys()
    except StoreError as error:
        say(str(error))
        return False


def fit_and_score(fit: ScoreFit) -> tuple[ScoreFit, str]:
    """Fit and apply one score in this process and keep its curves; returns why it could not, or ""."""
    store = Store.open(fit.store)
    try:
        _score(fit, store)
    except ScoreError as error:
        return fit, str(error)
    return fit, ""


def _score(fit: ScoreFit, store: Store) -> None:
    needs = frozenset(build(fit.node).needs)
    episodes, labelled = _calls(fit.store, store.digest(labels=False), needs), store.digest()
    fitting, scored = [episodes(number) for number in fit.fitted], [episodes(number) for number in fit.scored]
    truths = [_truth(fit.store, labelled, number) for number in fit.fitted] if is_supervised(fit.node) else []
    before: tuple[dict[str, Array], tuple[list[Array], list[Array]], float] | None = None
    for seed in fit.seeds:
        began = time.process_time()
        fitted = fit_score(fit.score, build(fit.node), fitting, seed, truths)
        fit_s, state = time.process_time() - began, fitted.score.state()
        if before is not None and _same(before[0], state):
            _, raw, milliseconds = before  # the seed plays no part in this score
        else:
            began = time.process_time()
            applied = curves(fitted, scored)
            milliseconds = 1000 * (time.process_time() - began) / max(sum(map(len, applied)), 1)
            raw = applied, fitted.held_out()
            before = state, raw, milliseconds
        _keep(fit.path(seed), scored, *raw, fit_s, milliseconds)


def _same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


class _Calls:
    """Policy calls of a store's episodes, each read once."""

    def __init__(self, path: Path, needs: Collection[str]) -> None:
        self._store, self._needs = Store.open(path), needs
        self._read: dict[int, EpisodeCalls] = {}

    def __call__(self, number: int) -> EpisodeCalls:
        if number not in self._read:
            self._read[number] = self._store.calls(number, self._needs)
        return self._read[number]


@functools.lru_cache(maxsize=2)
def _calls(path: Path, content: str, needs: frozenset[str]) -> _Calls:
    return _Calls(path, needs)


@functools.lru_cache(maxsize=4096)
def _truth(path: Path, labels: str, number: int) -> EpisodeTruth:
    return _opened(path, labels).truth(number)


@functools.lru_cache(maxsize=2)
def _opened(path: Path, labels: str) -> Store:
    return Store.open(path)


def _keep(
    path: Path,
    episodes: Sequence[EpisodeCalls],
    raw: Sequence[Array],
    held_out: Sequence[Array],
    fit_s: float,
    milliseconds: float,
) -> None:
    from safetensors.numpy import save

    tensors = {
        "scores": np.concatenate(raw).astype(np.float64),
        "steps": np.concatenate([episode.step for episode in episodes]).astype(np.int64),
        "ends": np.cumsum([len(curve) for curve in raw], dtype=np.int64),
        "held_out": np.concatenate([np.zeros(0), *held_out]),
        "held_out_ends": np.cumsum([len(curve) for curve in held_out], dtype=np.int64),
    }
    said = {
        "uids": json.dumps([episode.uid for episode in episodes]),
        "fit_s": repr(fit_s),
        "milliseconds": repr(milliseconds),
    }
    write_bytes(path, save(tensors, sealed(tensors, said)))


def read_curves(path: Path) -> Curves:
    """Curves that :func:`fit_and_score` kept; StoreError if the file is not as it was written."""
    source = Source(str(path), StoreError, "its curves are computed anew")
    try:
        written = path.stat().st_mtime_ns
    except OSError:
        raise source.wrong("is missing") from None
    return _read_curves(path, written)


@functools.lru_cache(maxsize=256)
def _read_curves(path: Path, written: int) -> Curves:
    source = Source(str(path), StoreError, "its curves are computed anew")
    content = read_bytes(path, source, MOST_TENSOR_BYTES)
    arrays, said = tensors_of(content, source), words_of(content, source)
    keys(said, ("uids", "fit_s", "milliseconds", SEAL), ("uids", "fit_s", "milliseconds", SEAL), source)
    check_seal(arrays, said, source)
    uids = checked(Annotated[list[str], Distinct()], parsed(said["uids"], source), source, "uids")
    scores = array(arrays, "scores", source, "f", [None])
    steps = array(arrays, "steps", source, "i", [len(scores)])
    held_out = array(arrays, "held_out", source, "f", [None])
    cuts = _cuts(array(arrays, "ends", source, "i", [len(uids)]), len(scores), source)
    held_out_cuts = _cuts(array(arrays, "held_out_ends", source, "i", [None]), len(held_out), source)
    return Curves(
        dict(zip(uids, np.split(scores, cuts)[: len(uids)], strict=True)),
        dict(zip(uids, np.split(steps, cuts)[: len(uids)], strict=True)),
        np.split(held_out, held_out_cuts) if len(arrays["held_out_ends"]) else [],
        _seconds(said["fit_s"], source),
        _seconds(said["milliseconds"], source),
    )


def _cuts(ends: Array, size: int, source: Source) -> Array:
    """Where arrays are cut into curves, from where each of them ends."""
    if (np.diff(ends, prepend=0) < 0).any() or (ends[-1] if len(ends) else 0) != size:
        raise source.wrong("says that curves end where they do not")
    return ends[:-1]


def _seconds(text: str, source: Source) -> float:
    found: float = checked(float, parsed(text, source), source)
    return found


def choose_window(
    fold: Fold,
    found: Mapping[int, Curves],
    windows: Sequence[Window],
    lengths: Mapping[str, int],
    deadline: int,
) -> Window:
    """The window whose scores tell failures best on the select split by half the deadline.

    The mean over seeds of the time-matched AUROC decides, the first of equal ones wins.  Without both failures and
    successes there it is the first of ``windows``.  ``lengths`` are the episodes' by uid, in control steps.

    Raises
    ------
    SplitError
        if an episode is of another split: windows chosen where they are judged would say nothing.
    """
    if any(entry.split != "select" for entry in fold.select):
        raise SplitError("a window is chosen on the select split alone")
    uids = [entry.uid for entry in fold.select]
    failed = np.array([not entry.success for entry in fold.select], bool)
    nominal = [each.scores[entry.uid] for each in found.values() for entry in fold.successes("select")]
    settled = [window.settle(nominal) for window in windows]
    if not failed.any() or failed.all():
        return settled[0]
    ran, until = np.array([lengths[uid] for uid in uids]), int(HALF * deadline)

    def rate(window: Window, each: Curves) -> float:
        applied = [window.apply(each.scores[uid]) for uid in uids]
        return matched_auroc([each.steps[uid] for uid in uids], applied, ran, failed, until)

    return max(settled, key=lambda window: float(np.mean([rate(window, each) for each in found.values()])))
