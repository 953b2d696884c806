"""A calibrator that breaks a law of its contract, or its promise, is caught, by that law."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from workbench.config import build
from workbench.errors import CalibrationError, ConfigError, ContractError
from workbench.testing import check_calibrator
from workbench.testing.calibrator import LAWS, tasks_of
from workbench.types import Threshold

RULES = sorted((Path(__file__).parents[2] / "conf" / "calibrator").glob("*.yaml"))
GIVEN = {"functional_band": {"ordered": True}, "per_task": {"groups": tasks_of}}


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_calibrator_keeps_the_contract(path):
    rule = build(yaml.safe_load(path.read_text())[path.stem])
    assert set(check_calibrator(rule, **GIVEN.get(path.stem, {}), sets=40)) == {law.__name__ for law in LAWS}


class Ranked:
    """A correct rule to break: split conformal prediction by hand."""

    def rank(self, count, level):
        return math.ceil((count + 1) * (1 - level) - 1e-9)

    def calibrate(self, curves, level):
        if not 0 < level < 0.5:
            raise ConfigError(f"level={level} is impossible")
        if not all(len(curve) and np.isfinite(curve).all() for curve in curves):
            raise CalibrationError("a curve is empty or not finite")
        highest = np.sort([curve.max() for curve in curves])
        rank = self.rank(len(highest), level)
        if rank > len(highest):
            raise CalibrationError(f"{len(highest)} episodes are too few for level={level}")
        return Threshold(highest[[rank - 1]], np.ones(1), level, len(highest), f"P(alarm) <= {level}")


def test_the_correct_one_passes():
    check_calibrator(Ranked())


def changed(**changes):
    def calibrate(self, curves, level):
        found = Ranked.calibrate(self, curves, level)
        return dataclasses.replace(found, **{name: make(found) for name, make in changes.items()})

    return {"calibrate": calibrate}


def by_the_first(self, curves, level):
    """The first episodes count twice."""
    return Ranked.calibrate(self, [*curves, *curves[: len(curves) // 4]], level)


def at_every_call(self, curves, level):
    """FIPER's quantile at every call, sold as a bound over the episode."""
    Ranked.calibrate(self, curves, level)
    longest = max(map(len, curves))
    reached = ([curve[call] for curve in curves if call < len(curve)] for call in range(longest))
    values = np.array([np.quantile(scores, 1 - level) for scores in reached])
    return Threshold(values, np.ones(1), level, len(curves), f"P(any alarm) <= {level}")


def careless(self, curves, level):
    values = np.array([curve.max() for curve in curves if len(curve)] or [0.0])
    return Threshold(np.array([np.quantile(values, 1 - level)]), np.ones(1), level, len(values), "P(alarm) <= level")


def of_what_is_finite(self, curves, level):
    return Ranked.calibrate(self, [curve for curve in curves if len(curve) and np.isfinite(curve).all()], level)


BROKEN = {
    "it uses .*'stages'.*nobody hands out": {"uses": frozenset({"stages"})},
    "returns float, and no Threshold": {"calibrate": lambda self, curves, level: 1.0},
    "its values are .*finite": changed(values=lambda found: np.array([np.inf])),
    "its scale .* above zero": changed(scale=lambda found: np.zeros(1)),
    "it says level=0.2": changed(level=lambda found: 0.2),
    "says nothing of what it promises": changed(guarantee=lambda found: " "),
    "wrong end": {"rank": lambda self, count, level: max(1, math.floor((count + 1) * level))},
    "another order": {"calibrate": by_the_first},
    r"level of 0\.05 on 0 episodes (is not refused|raises)": {"calibrate": careless},
    r"on 2 episodes is not refused": {"rank": lambda self, n, a: min(n, math.ceil((n + 1) * (1 - a))) if n else 1},
    "a calibration curve .* is not refused": {"calibrate": of_what_is_finite},
    r"level=0\.0 raises ZeroDivisionError": {
        "calibrate": lambda self, curves, level: (1 / level, Ranked.calibrate(self, curves, level))[1]
    },
    "rate of false alarms is": {"calibrate": at_every_call},
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_calibrator_is_caught(message):
    with pytest.raises(ContractError, match=message):
        check_calibrator(type("Broken", (Ranked,), BROKEN[message])())


class Missing(Ranked):
    """Recall by hand: the threshold below all but ``level`` of the failures; with ``loose`` below too few of them."""

    uses = frozenset({"failures"})
    loose = 0.0

    def calibrate(self, curves, level, failures):
        Ranked.calibrate(self, curves, level)
        lowest = np.sort([curve.max() for curve in failures])
        if not np.isfinite(lowest).all():
            raise CalibrationError("a failure is not finite")
        rank = math.floor((len(lowest) + 1) * (level + self.loose))
        if rank < 1:
            raise CalibrationError("too few failures")
        value = np.nextafter(lowest[[rank - 1]], -np.inf)
        return Threshold(value, np.ones(1), level, len(lowest), f"P(missed) <= {level}", on_failures=True)


def test_promises_about_failures_are_measured_on_failures():
    check_calibrator(Missing())
    loose = Missing()
    loose.loose = 0.2
    with pytest.raises(ContractError, match="rate of missed failures is"):
        check_calibrator(loose)


def test_whoever_promises_nothing_is_not_held_to_it():
    honest = type("Honest", (Ranked,), changed(guarantee=lambda found: "none: a rule of thumb"))
    tried = check_calibrator(honest())
    assert "the_promise_is_kept" in tried
