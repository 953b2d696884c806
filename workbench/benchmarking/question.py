"""What is to be compared: plain data, from which every worker comes to the same monitors."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from workbench.benchmarking.metrics import metric_of
from workbench.config import options_of
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.monitoring.assembly import MonitorSettings
from workbench.monitoring.window import Window
from workbench.types import Positive, Record, Seed

Seeds = Sequence[Seed]
Windows = Sequence[tuple[str, Positive]]
Pairs = Sequence[tuple[str, str, str]]
SEEDS = (0, 1, 2)
WINDOWS = (("last", 1), ("mean", 2), ("mean", 4), ("sum", 4), ("max", 3), ("total", 1), ("cusum", 1))


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """Which scores and calibrators are compared, on which stores, by which protocol.

    Attributes
    ----------
    stores : their paths; each has splits, samples and labels of its own.
    protocol : configuration of the cut into folds; see :mod:`workbench.benchmarking.folds`.
    scores, calibrators : configurations by name.  Objects of one's own cannot be compared here: what is kept on disk,
        and what workers do, is found again by the configuration.
    settings : level, combinations and baselines; the window is chosen.
    seed : of the folds.
    seeds : of the scores' fits.
    windows : (kind, width) that may be chosen on the select split.
    pairs : (first, second, metric) of monitors that are compared episode by episode, by names of scores or
        combinations; ``*`` for every other one that is no baseline.
    resamples : of the bootstrap behind intervals.
    root : folder relative to which stores are called; the present one if None.
    """

    stores: Sequence[Path]
    protocol: Record
    scores: Mapping[str, Record]
    calibrators: Mapping[str, Record]
    settings: MonitorSettings = dataclasses.field(default_factory=MonitorSettings)
    seed: int = 0
    seeds: Seeds = SEEDS
    windows: Windows = WINDOWS
    pairs: Pairs = ()
    resamples: int = 1000
    root: Path | None = None

    def __post_init__(self) -> None:
        _require_parts("job.windows", self.windows, 2, "[mean, 4]")
        _require_parts("job.pairs", self.pairs, 3, "[viability, rnd, matched_auroc@0.5]")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"job.seeds={list(self.seeds)} must be different numbers, such as [0,1,2]")
        if not self.windows:
            raise ConfigError("job.windows is empty; allow at least [[last,1]]")
        if self.resamples < 1:
            raise ConfigError(f"job.resamples={self.resamples} must be at least 1")
        # What would be noticed only after everything is fitted is asked for now.
        for kind, width in self.windows:
            Window(kind, width)
        for first, second, metric in self.pairs:
            known = {*options_of("score"), *self.scores, *self.settings.combine, "*"}
            for name in (first, second):
                if name not in known:
                    raise UnknownNameError("score or combination in job.pairs", name, known)
            metric_of(metric)
        for path in self.stores:
            if not path.exists():
                raise StoreError(f"there is no {self.shown(path)}: synthesize or roll it first")

    @functools.cached_property
    def _text(self) -> str:
        return json.dumps(dataclasses.asdict(self), default=str)

    def __eq__(self, other: object) -> bool:
        # The order of scores and calibrators is that of the rows, and decides by which calibrator scores are compared.
        return isinstance(other, Question) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def without(self, scores: Collection[str]) -> Question:
        """The same question, some scores left out."""
        left = {name: node for name, node in self.scores.items() if name not in scores}
        return dataclasses.replace(self, scores=left)

    def shown(self, path: Path) -> str:
        """How a path is called in results: relative to the root where it lies below."""
        root = self.root or Path.cwd()
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _require_parts(key: str, given: Sequence[Sequence[object]], size: int, example: str) -> None:
    for each in given:
        if isinstance(each, str) or len(each) != size:
            raise ConfigError(f"{key} has {each}, where each must have {size} parts, such as {example}")
