"""How often is a promise that is kept marked as broken?  By exact enumeration, and by simulation of every calibrator.

The claim is that marks of kept promises are at most as frequent as stated, 5 %, over the draw of both the calibration
and the judged episodes: exactly for split conformal prediction (so too for the ranked half of a band), with
10 to 200 calibration and 20 to 200 judged episodes; and within three standard errors for each calibrator and
combination on skewed, symmetric and rounded curves.  Beside it stands the rule before 0.2: an interval of the judged
episodes alone, wholly above the level.

Run: make verify WHAT=promises
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys

import numpy as np

from tests.theory.test_marks import RULES, cells, chance, chance_of_an_interval, marked
from tests.verify.claims import table, verdict
from workbench.errors import CalibrationError
from workbench.execution.progress import console, progress
from workbench.stats.promises import STATED

SIZES = ((20, 20), (20, 200), (80, 60), (200, 20))
"""Calibration and judged episodes of the simulations."""
KINDS = ("skewed", "symmetric", "skewed rounded")
LEVELS = (0.05, 0.1, 0.3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100, help="of every simulation")
    parser.add_argument("--step", type=int, default=5, help="between numbers of episodes of the enumeration")
    options = parser.parse_args()
    highest = exactly(options.step)
    worst = simulated(options.repeats)
    held = highest <= STATED and not worst
    said = f"kept promises are marked in at most {highest:.2%} of runs exactly, and not significantly oftener simulated"
    return verdict(held, said + (f"; but {', '.join(worst)}" if worst else ""))


def exactly(step: int) -> float:
    """Print the exact chances; returns the largest of the rule that is in use."""
    every = cells(range(10, 201, step), range(20, 201, step))
    columns = ("level", "cells", "mean", "largest", "by an interval, mean", "largest")
    shown = table("exact chance of a mark, split conformal prediction", *columns)
    largest = 0.0
    with progress("enumeration", len(every)) as advance:
        for level, group in itertools.groupby(every, key=lambda cell: cell[0]):
            chosen = list(group)
            now = [chance(*cell) for cell in chosen]
            before = [chance_of_an_interval(*cell) for cell in chosen]
            advance(len(chosen))
            numbers = (np.mean(now), max(now), np.mean(before), max(before))
            shown.add_row(f"{level:g}", str(len(chosen)), *(f"{number:.4f}" for number in numbers))
            largest = max(largest, *now)
    console.print(shown)
    return largest


def simulated(repeats: int) -> list[str]:
    """Print how often every monitor is marked; returns those that are significantly oftener than stated."""
    shown = table(f"share marked in {repeats} simulations a cell", "monitor", "cells", "mean", "largest")
    every = list(itertools.product(KINDS, SIZES, LEVELS))
    error = math.sqrt(STATED * (1 - STATED) / repeats)
    wrong = []
    with progress("simulations", len(RULES) * len(every)) as advance:
        for name, rule in RULES.items():
            shares = []
            for seed, (kind, (calibrated, judged), level) in enumerate(every):
                try:
                    share, _ = marked(rule, kind, calibrated, judged, level, repeats, seed)
                except CalibrationError:  # too few episodes for this level
                    continue
                finally:
                    advance(1)
                shares.append(share)
                if share > STATED + 4 * error:  # of some hundred cells, none by chance
                    wrong.append(f"{name}, {kind}, {calibrated} and {judged} episodes at {level:g}: {share:.1%}")
            mean, largest = np.mean(shares), max(shares)
            shown.add_row(name, str(len(shares)), f"{mean:.4f}", f"{largest:.4f}")
            if mean > STATED + 3 * error / math.sqrt(len(shares)):
                wrong.append(f"{name} on average: {mean:.2%}")
    console.print(shown)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
