"""Does a calibrator keep the contract, and its promise?  The laws, one function each, and what they are tried on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.testing.contract import blaming, name_of, refusing, require
from workbench.types import Array, Calibrator, Threshold

KNOWN = ("failures", "groups", "held_out")
"""What a calibrator's ``uses`` may name."""
STRICT, LEVEL, LAX = 0.05, 0.1, 0.3
EPISODES, LONGEST, GROUPS = 80, 30, 3
Groups = Callable[[Sequence[Array]], list[Array]]
SETS, TESTED = 60, 200
"""How many calibration sets the promise is measured over, and on how many episodes for each."""


def stages_of(curves: Sequence[Array]) -> list[Array]:
    """Groups that all episodes pass through in the same order: which third of the longest episode a call is in."""
    return [np.minimum(np.arange(len(curve)) * GROUPS // LONGEST, GROUPS - 1) for curve in curves]


def tasks_of(curves: Sequence[Array]) -> list[Array]:
    """Groups that an episode never leaves, in turns."""
    return [np.full(len(curve), number % GROUPS) for number, curve in enumerate(curves)]


def check_calibrator(
    calibrator: Calibrator, ordered: bool = False, groups: Groups = stages_of, sets: int = SETS
) -> tuple[str, ...]:
    """Raise at the first law that a calibrator breaks; returns the laws that it keeps.

    Parameters
    ----------
    calibrator : a rule that turns scores of calibration episodes into a threshold.
    ordered : whether the place of an episode decides what it is used for, as with a rule that halves them.
    groups : of the calls (C_i,) of episodes, for a rule that uses them: stages that episodes pass through, or
        :func:`tasks_of`.
    sets : over how many made-up calibration sets its promise is measured.

    Raises
    ------
    ContractError
        What is wrong, and what is probably the cause.
    """
    case = CalibratorCase(calibrator, ordered, groups, sets)
    for law in LAWS:
        law(case)
    return tuple(law.__name__ for law in LAWS)


@dataclasses.dataclass(frozen=True)
class Known:
    """What a calibrator is handed: windowed scores (C_i,) of episodes, and the groups of the successes' calls."""

    curves: Sequence[Array]
    groups: Sequence[Array]
    failures: Sequence[Array]
    held_out: Sequence[Array]


@dataclasses.dataclass(frozen=True)
class CalibratorCase:
    """A calibrator and how it is tried; see :func:`check_calibrator`."""

    calibrator: Calibrator
    ordered: bool = False
    groups: Groups = stages_of
    sets: int = SETS

    @property
    def who(self) -> str:
        """How messages call the calibrator."""
        return name_of(self.calibrator, "calibrator")

    @property
    def uses(self) -> frozenset[str]:
        """What it reads beside the curves of successes."""
        return getattr(self.calibrator, "uses", frozenset())

    def calibrate(self, known: Known, level: float) -> Threshold:
        """Its threshold from what it uses."""
        rule: Any = self.calibrator
        threshold: Threshold = rule.calibrate(known.curves, level, **{name: getattr(known, name) for name in self.uses})
        return threshold

    def made_up(self, seed: int | np.random.Generator, episodes: int = EPISODES) -> Known:
        """Exchangeable episodes of unequal length; failures drift upwards."""
        rng = np.random.default_rng(seed)

        def curves(drift: float) -> list[Array]:
            lengths = rng.integers(LONGEST // 2, LONGEST + 1, size=episodes)
            return [rng.normal() + rng.normal(size=n) + drift * np.arange(n) / LONGEST for n in lengths]

        successes = curves(0.0)
        return Known(successes, self.groups(successes), curves(3.0), curves(0.0))

    def threshold(self, known: Known, level: float) -> Threshold:
        """The same, where it has to work."""
        with blaming(self.who, f"calibrate with {len(known.curves)} episodes and level={level}"):
            return self.calibrate(known, level)

    def alarmed(self, threshold: Threshold, curves: Sequence[Array], groups: Sequence[Array]) -> Array:
        """(N,) whether each episode sees an alarm."""
        margins = (threshold.margin(curve, groups=group) for curve, group in zip(curves, groups, strict=True))
        return np.array([bool((margin > 0).any()) for margin in margins])


def thresholds_are_whole(case: CalibratorCase) -> None:
    """A threshold has finite values, a positive scale, the level that was asked for, and says what it promises."""
    unknown = sorted(set(case.uses) - set(KNOWN))
    require(not unknown, case.who, f"it uses {unknown}, which nobody hands out; what there is: {', '.join(KNOWN)}")
    threshold = case.threshold(case.made_up(0), LEVEL)
    require(isinstance(threshold, Threshold), case.who, f"it returns {type(threshold).__name__}, and no Threshold")
    for name, value in (("values", threshold.values), ("scale", threshold.scale)):
        require(
            np.ndim(value) == 1 and len(value) > 0 and bool(np.isfinite(value).all()),
            case.who,
            f"its {name} are {value}; they must be finite numbers (n,). Where episodes cannot carry a level, raise a "
            "CalibrationError",
        )
    require(bool((threshold.scale > 0).all()), case.who, f"its scale {threshold.scale} must be above zero")
    require(threshold.level == LEVEL, case.who, f"asked for level={LEVEL} it says level={threshold.level}")
    require(
        bool(threshold.guarantee.strip()), case.who, 'it says nothing of what it promises; "none: ..." is an answer'
    )


def stricter_levels_alarm_no_more_often(case: CalibratorCase) -> None:
    """A lower rate of false alarms (or of missed failures) is not bought with more of them."""
    for seed in range(3):
        known = case.made_up(seed)
        strict, lax = (case.threshold(known, level) for level in (STRICT, LAX))
        curves = known.failures if lax.on_failures else known.curves
        counts = [int(case.alarmed(each, curves, case.groups(curves)).sum()) for each in (strict, lax)]
        if lax.on_failures:
            counts.reverse()
        require(
            counts[0] <= counts[1],
            case.who,
            f"at level={STRICT} and {LAX} it alarms in {counts} of its {len(curves)} calibration episodes; is a "
            "quantile taken from the wrong end, or the level used as 1 - level?",
        )


def the_order_of_episodes_plays_no_part(case: CalibratorCase) -> None:
    """The same episodes in another order give the same threshold, unless their place decides what they are used for."""
    if case.ordered:
        return
    known = case.made_up(1)
    turned = Known(known.curves[::-1], known.groups[::-1], known.failures[::-1], known.held_out[::-1])
    one, other = (case.threshold(each, LEVEL).values for each in (known, turned))
    require(
        one.shape == other.shape and np.allclose(one, other, rtol=1e-9),
        case.who,
        "the same episodes in another order give another threshold; say so by check_calibrator(..., ordered=True) if "
        "it halves them by their place",
    )


def too_few_episodes_are_refused(case: CalibratorCase) -> None:
    """Whoever promises anything refuses what cannot carry the promise: no finite sample of two bounds a rate of 5 %."""
    if promise(case.threshold(case.made_up(2), LEVEL)):
        for few in (0, 2):
            with refusing(case.who, f"a level of {STRICT} on {few} episodes"):
                case.calibrate(case.made_up(2, few), STRICT)


def broken_curves_are_refused(case: CalibratorCase) -> None:
    """A curve that is empty or not finite is no calibration episode."""
    if not promise(case.threshold(case.made_up(2), LEVEL)):
        return
    for bad in (np.array([]), np.array([1.0, np.nan]), np.array([np.inf])):
        known = case.made_up(2)
        groups = [*known.groups, np.zeros(len(bad), int)]
        broken = Known([*known.curves, bad], groups, [*known.failures, bad], [*known.held_out, bad])
        with refusing(case.who, f"a calibration curve {bad.tolist()}"):
            case.calibrate(broken, LEVEL)


def impossible_levels_are_refused(case: CalibratorCase) -> None:
    """A nominal rate lies between zero and one."""
    if not promise(case.threshold(case.made_up(2), LEVEL)):
        return
    for level in (0.0, 1.0, -0.1, math.nan):
        with refusing(case.who, f"level={level}"):
            case.calibrate(case.made_up(2), level)


def the_promise_is_kept(case: CalibratorCase) -> None:
    """On exchangeable episodes the realised rate is at most the level, within three standard errors of its mean.

    What is measured is the share of fresh successes that see an alarm (of fresh failures that see none, where the
    threshold is on failures), averaged over calibration sets; whoever says "none" or "approximately" is not held to it.
    """
    rng, rates = np.random.default_rng(7), []
    for _ in range(case.sets):
        threshold = case.threshold(case.made_up(rng), LEVEL)
        if not promise(threshold):
            return
        fresh = case.made_up(rng, TESTED)
        curves = fresh.failures if threshold.on_failures else fresh.curves
        alarmed = case.alarmed(threshold, curves, case.groups(curves))
        rates.append(np.mean(~alarmed if threshold.on_failures else alarmed))
    mean, error = float(np.mean(rates)), float(np.std(rates, ddof=1)) / math.sqrt(len(rates))
    kind = "missed failures" if threshold.on_failures else "false alarms"
    require(
        mean <= LEVEL + 3 * error,
        case.who,
        f"it promises {threshold.guarantee!r}, and on made-up exchangeable episodes the rate of {kind} is {mean:.3f} "
        f"+- {error:.3f} at level={LEVEL}. Is a plain quantile taken for the conformal rank ceil((n+1)(1-level)), or "
        "one at every call for a bound over the episode?",
    )


def promise(threshold: Threshold) -> bool:
    """Whether a threshold promises anything exactly."""
    return not threshold.guarantee.lower().startswith(("none", "approximately"))


LAWS: tuple[Callable[[CalibratorCase], None], ...] = (
    thresholds_are_whole,
    stricter_levels_alarm_no_more_often,
    the_order_of_episodes_plays_no_part,
    too_few_episodes_are_refused,
    broken_curves_are_refused,
    impossible_levels_are_refused,
    the_promise_is_kept,
)
