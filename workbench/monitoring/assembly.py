"""Which monitors there are, and how each is put together: decided here, for whoever fits, benchmarks or watches.

A *recipe* names the parts of one monitor; an *assembly* makes it of fitted scores, windows and thresholds::

    scores x calibrators --recipes()--> Recipe --Assembly.monitor()--> Monitor, And, Or
                                        evidence of every score ----^
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from workbench.config import MonitorSchema, build
from workbench.errors import ConfigError, UnknownNameError
from workbench.monitoring.calibration import Evidence, Groups, calibrated
from workbench.monitoring.monitor import ALL, COMBINATIONS, AnyMonitor, Monitor
from workbench.monitoring.window import Window
from workbench.types import Calibrator, Record, Score, SupervisedScore

AnyScore = Score | SupervisedScore
Part = Any
"""A part by its configuration, a mapping with ``_target_``, or an object of one's own."""


@dataclasses.dataclass(frozen=True)
class MonitorSettings:
    """How scores become monitors.

    Attributes
    ----------
    window, width : how the last scores are combined; see :class:`workbench.monitoring.window.Window`.
    level : nominal false-alarm rate of every monitor.
    combine : combinations of scores by name, such as ``{"fiper": {"all": ["rnd", "entropy"]}}``: of ``all`` each has to
        exceed its threshold at the same call, of ``any`` one is enough.
    baselines : scores that are there for comparison, each with the name of its calibrator.
    """

    window: str = MonitorSchema.window
    width: int = MonitorSchema.width
    level: float = MonitorSchema.level
    combine: Mapping[str, Mapping[str, Sequence[str]]] = dataclasses.field(
        default_factory=lambda: MonitorSchema().combine
    )
    baselines: Mapping[str, str] = dataclasses.field(default_factory=lambda: MonitorSchema().baselines)

    def __post_init__(self) -> None:
        Window(self.window, self.width)
        if not 0 < self.level < 1:
            raise ConfigError(f"monitor.level={self.level} must lie between 0 and 1")
        for name, parts in self.combine.items():
            if len(parts) != 1 or not set(parts) <= set(COMBINATIONS):
                raise ConfigError(
                    f"monitor.combine.{name} says {sorted(parts)}: it must say one of {sorted(COMBINATIONS)}, such as "
                    "{all: [rnd, entropy]}"
                )

    def combinations(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Name, ``all`` or ``any``, and scores of every combination."""
        return [(name, how, tuple(legs)) for name, parts in self.combine.items() for how, legs in parts.items()]

    def windows(self, score: str, offered: Sequence[Window] = ()) -> Sequence[Window]:
        """Windows that a score may have: those offered, or the one of these settings; a baseline is read as it is."""
        return [Window()] if score in self.baselines else offered or [Window(self.window, self.width)]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What one monitor is made of.

    Attributes
    ----------
    score : the score, or the combination of scores.
    calibrator : name of what sets the threshold of each leg.
    legs : scores that decide; of no combination the score itself.
    how : ``all`` or ``any`` of the legs; "" where it is no combination.
    level : at which every leg is calibrated.
    baseline : whether it is there for comparison.
    """

    score: str
    calibrator: str
    legs: tuple[str, ...]
    how: str
    level: float
    baseline: bool = False

    @property
    def name(self) -> str:
        """Of the monitor: ``<score>+<calibrator>``."""
        return f"{self.score}+{self.calibrator}"


def recipes(scores: Collection[str], calibrators: Mapping[str, Calibrator], settings: MonitorSettings) -> list[Recipe]:
    """All monitors: every score and every combination of these scores with every calibrator, and the baselines.

    Of the calibrators, :func:`shared_calibrators`; a baseline has its own alone.  An alarm of any leg is one of an
    ``any`` combination, so that its legs share the level; each leg of an ``all`` keeps it whole.

    Raises
    ------
    UnknownNameError
        if a baseline names a calibrator that is not among these.
    """
    shared, level = shared_calibrators(calibrators, settings.baselines), settings.level
    ordinary = [score for score in scores if score not in settings.baselines]
    made = [Recipe(score, rule, (score,), "", level) for score in ordinary for rule in shared]
    for name, how, legs in settings.combinations():
        if set(legs) <= set(scores):
            share = level if how == ALL else level / len(legs)
            made += [Recipe(name, rule, legs, how, share) for rule in shared]
    for score, rule in settings.baselines.items():
        if score in scores:
            if rule not in calibrators:
                raise UnknownNameError(f"calibrator of the baseline {score}", rule, calibrators)
            made.append(Recipe(score, rule, (score,), "", level, baseline=True))
    return made


def asked_for(job: Mapping[str, Any]) -> Sequence[str]:
    """Names of the monitors that a job's settings ask for."""
    one = job.get("monitor")
    return [one] if one else job.get("monitors") or ()


def refuse_unknown(asked: Iterable[str], config: Record) -> None:
    """UnknownNameError for a monitor that a run's scores and calibrators will not make, before they are fitted."""
    rules, settings = made_all(config["calibrator"]), MonitorSettings(**config["monitor"])
    known = [recipe.name for recipe in recipes(config["score"], rules, settings)]
    for name in asked:
        if name not in known:
            raise UnknownNameError("monitor of these scores and calibrators", name, known)


def shared_calibrators(calibrators: Mapping[str, Calibrator], baselines: Mapping[str, str]) -> list[str]:
    """Calibrators that every score gets: all but those that are a baseline's own.

    A baseline's own is one that it names and whose threshold is set ``by_hand``: that is in the unit of this one score,
    and reads no episode.  What reads episodes suits every score, whoever else names it.
    """
    return [
        name
        for name, calibrator in calibrators.items()
        if not (getattr(calibrator, "by_hand", False) and name in baselines.values())
    ]


class Assembly:
    """Makes monitors from recipes; legs that several have in common are made once.

    Parameters
    ----------
    calibrators : by name.
    evidence : gives what the thresholds of a score are computed from.
    groups : gives what tells groups of calls apart for a calibrator; None where it has no groups.
    """

    def __init__(
        self,
        calibrators: Mapping[str, Calibrator],
        evidence: Callable[[str], Evidence],
        groups: Callable[[str], Groups | None],
    ) -> None:
        self._calibrators, self._evidence, self._groups = calibrators, evidence, groups
        self._leaves: dict[str, Monitor] = {}

    def monitor(self, recipe: Recipe) -> AnyMonitor:
        """The monitor of a recipe."""
        if not recipe.how:
            return self._leaf(recipe, recipe.score, "")
        # Legs that share a level are others than the monitors of the same scores alone.
        owner = "" if recipe.how == ALL else f"{recipe.score}."
        return COMBINATIONS[recipe.how](recipe.name, tuple(self._leaf(recipe, leg, owner) for leg in recipe.legs))

    def _leaf(self, recipe: Recipe, score: str, owner: str) -> Monitor:
        name, rule = f"{owner}{score}+{recipe.calibrator}", recipe.calibrator
        if name not in self._leaves:
            self._leaves[name] = calibrated(
                name, self._evidence(score), self._calibrators[rule], recipe.level, self._groups(rule)
            )
        return self._leaves[name]


def made_all(parts: Mapping[str, Part]) -> dict[str, Any]:
    """Parts by name: from their configurations, or copies of objects of one's own, which no fit shall change."""
    return {name: build(part) if isinstance(part, Mapping) else copy.deepcopy(part) for name, part in parts.items()}


def groups_name(calibrator: str) -> str:
    """Under which name what tells groups apart for a calibrator is fitted and kept."""
    return f"groups of {calibrator}"


def groups_of(calibrators: Mapping[str, Calibrator]) -> dict[str, Part]:
    """What tells groups apart for the calibrators that have ``groups``, by :func:`groups_name`."""
    found = {groups_name(name): getattr(calibrator, "groups", None) for name, calibrator in calibrators.items()}
    return {name: part for name, part in found.items() if part is not None}
