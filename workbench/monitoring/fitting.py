"""Scores fitted on one split, monitors calibrated on another: from a store to monitors in one call."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.config.files import shown
from workbench.config.named import nodes
from workbench.errors import CalibrationError, ScoreError
from workbench.execution.progress import progress
from workbench.monitoring.assembly import (
    AnyScore,
    Assembly,
    MonitorSettings,
    Part,
    groups_name,
    groups_of,
    made_all,
    recipes,
)
from workbench.monitoring.calibration import Evidence, Groups, evidence_of, uses
from workbench.monitoring.episodes import Known, diverged, held, is_nominal_success, known_episodes
from workbench.monitoring.files import FittedOn, Monitors
from workbench.monitoring.scoring import FittedScore, curves, fit_score, supervised
from workbench.types import Calibrator, Record

if TYPE_CHECKING:
    from workbench.store import Store


def fit(
    store: Store,
    scores: Iterable[Any] | Mapping[str, Part],
    calibrators: Iterable[Any] | Mapping[str, Part] = ("split_conformal",),
    *,
    level: float | None = None,
    settings: MonitorSettings | None = None,
    seed: int = 0,
) -> Monitors:
    """Fit scores on nominal successes of the fit split, calibrate monitors on those of the calibrate split.

    Supervised scores learn from all episodes of the fit split, and calibrators that control recall read the failures of
    the calibrate split; a window with a drift learns it on the select split.  Episodes whose physics diverged are left
    out.

    Parameters
    ----------
    scores, calibrators : names, or objects of one's own, which are copied; or by name: configurations with
        ``_target_`` or objects.
    level : nominal false-alarm rate of every monitor; None for that of the settings.
    settings : window, level, combinations and baselines; the usual ones where none are given.
    seed : of the fits.

    Raises
    ------
    CalibrationError
        if the store has no nominal success in its fit split.
    ScoreError
        if no score is left, or one cannot be fitted for another reason than what the store lacks.
    """
    settings = settings or MonitorSettings()
    settings = settings if level is None else dataclasses.replace(settings, level=level)
    parts, rules = made_all(nodes("score", scores)), made_all(nodes("calibrator", calibrators))
    learning = [*parts.values(), *made_all(groups_of(rules)).values()]
    needs = frozenset(need for part in learning for need in part.needs)
    fitting = known_episodes(store, "fit", needs, failures=any(map(supervised, learning)))
    if not any(is_nominal_success(truth) for _, truth in fitting):
        raise CalibrationError(
            f"{shown(store.path)} has no nominal success in the fit split; roll some with: workbench rollout "
            f"store={store.path.stem} job.episodes.fit=80 job.episodes.calibrate=100"
        )
    recall = any("failures" in uses(rule) for rule in rules.values())
    calibrating = known_episodes(store, "calibrate", needs, failures=recall)
    settling = known_episodes(store, "select", needs, failures=False) if settings.window == "cusum" else []
    monitors = fit_known(parts, rules, fitting, calibrating, settling, settings=settings, seed=seed)
    source = FittedOn.of(store.header.task, store.header.config)
    return dataclasses.replace(monitors, diverged=diverged(store, "fit", "select", "calibrate"), source=source)


def fitted_with(
    store: Store, scores: Mapping[str, Part], calibrators: Mapping[str, Part], settings: MonitorSettings, seed: int
) -> Record:
    """What decides monitors: the episodes, with their labels where a score learns from them, and all settings."""
    return {
        "episodes": store.digest(labels=any(map(supervised, made_all(scores).values()))),
        "score": dict(scores),
        "calibrator": dict(calibrators),
        "monitor": dataclasses.asdict(settings),
        "seed": seed,
    }


def fit_known(
    scores: Mapping[str, Part],
    calibrators: Mapping[str, Part],
    fitting: Sequence[Known],
    calibrating: Sequence[Known],
    settling: Sequence[Known] = (),
    *,
    settings: MonitorSettings,
    seed: int = 0,
) -> Monitors:
    """:func:`fit` on episodes of the three splits that are already read."""
    rules: dict[str, Calibrator] = made_all(calibrators)
    fitted, left_out = fit_scores(scores, groups_of(rules), fitting, seed)
    successes = [calls for calls, truth in calibrating if is_nominal_success(truth)]
    failures = [calls for calls, truth in calibrating if not truth.success]
    settled = [calls for calls, _ in settling]

    @functools.cache
    def evidence(score: str) -> Evidence:
        (window,) = settings.windows(score)
        return evidence_of(fitted[score], window.settle(curves(fitted[score], settled)), successes, failures)

    @functools.cache
    def groups(rule: str) -> Groups | None:
        score = fitted.get(groups_name(rule))
        return Groups(score, curves(score, successes)) if score else None

    assembly = Assembly(rules, evidence, groups)
    left = [name for name in scores if name in fitted]
    return Monitors(
        tuple(assembly.monitor(recipe) for recipe in recipes(left, rules, settings)),
        left_out,
        fitted=sum(is_nominal_success(truth) for _, truth in fitting),
        calibrated=len(successes),
    )


def fit_scores(
    scores: Mapping[str, Part], groups: Mapping[str, Part], episodes: Sequence[Known], seed: int
) -> tuple[dict[str, FittedScore], dict[str, str]]:
    """Every score, and everything that tells groups apart, fitted; and why each score is left out that is not there.

    The supervised ones learn from all episodes, the others from nominal successes.  A score is left out where the
    episodes do not hold what it needs.

    Raises
    ------
    ScoreError
        if no score is left, or one cannot be fitted for another reason.
    """
    fitted: dict[str, FittedScore] = {}
    left_out: dict[str, str] = {}
    parts: dict[str, AnyScore] = made_all({**scores, **groups})
    with progress("scores", len(parts)) as advance:
        for name, part in parts.items():
            chosen = [known for known in episodes if supervised(part) or is_nominal_success(known[1])]
            calls, truths = [calls for calls, _ in chosen], [truth for _, truth in chosen]
            try:
                fitted[name] = fit_score(name, part, calls, seed, truths)
            except ScoreError as error:
                if name not in scores or all(part.needs <= held(each) for each in calls):
                    raise
                left_out[name] = str(error)
            advance(1)
    if left_out and not fitted.keys() & scores.keys():
        raise ScoreError(f"no score is left: {'; '.join(left_out.values())}")
    return fitted, left_out
