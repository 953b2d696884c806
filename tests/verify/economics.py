"""When to intervene: are the closed forms what simulations say?

- makespan: means by the closed form against attempts carried out one by one, on drawn failure rates, confusion
  matrices and durations, without a predictor and with one; the claim is that they differ by at most 2 %;
- operating rule: episodes that fail or not, a score with an alarm above its threshold, and an intervention that rescues
  or breaks.  The rule knows p, r and d; the simulation runs every episode with and without.  On four strategies at five
  failure rates, and on drawn settings; the claim is that the sign is right wherever the simulation tells it from zero.
  Beside it stands what a study of so many pairs says by the same rule;
- pilot study: exact chances of the right sign, the wrong one and a tie, and the power of the exact test, against
  simulated pilots; the claim is that none differs by more than four standard errors.

Run: make verify WHAT=economics
"""

from __future__ import annotations

import argparse
import collections
import functools
import math
import sys

import numpy as np
from scipy.stats import binomtest, norm

from tests.verify.claims import table, verdict
from workbench.execution.progress import console, progress
from workbench.recovery.economics import Rates, chances, operating_rule
from workbench.recovery.makespan import Duration, Predictor, Trials, makespan, simulate_makespan
from workbench.types import Array

CLOSE = 0.02
TOLD = 4.0
"""Standard errors from which on a simulation tells a number from another."""
STRATEGIES = {"gentle": (0.3, 0.02), "strong": (0.7, 0.3), "blunt": (0.4, 0.6), "harmful": (0.1, 0.9)}
"""Chance that an alarm's intervention rescues what would fail, and that it breaks what would succeed."""
FAILURE_RATES = (0.05, 0.2, 0.4, 0.6, 0.9)
SEPARATION, THRESHOLD = 1.5, 1.0
"""Mean score of failures, in standard deviations above that of successes, and the alarm's threshold."""
PILOTS = (
    (Rates(0.89, 0.12, 0.56), 50),
    (Rates(0.89, 0.12, 0.56), 606),
    (Rates(0.4, 0.5, 0.1), 50),
    (Rates(0.3, 0.2, 0.2), 50),
    (Rates(0.2, 0.3, 0.4), 120),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=300, help="of the makespan, and of the operating rule")
    parser.add_argument("--runs", type=int, default=400_000, help="simulated runs of each setting")
    parser.add_argument("--pairs", type=int, default=400, help="episodes of a study that applies the operating rule")
    parser.add_argument("--pilots", type=int, default=20_000, help="simulated pilot studies of each setting")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    furthest = spans(options.settings, options.runs, random)
    right, wrong = signs(options.settings, options.runs, options.pairs, random)
    off = pilots(options.pilots, random)
    results = [
        verdict(furthest <= CLOSE, f"{2 * options.settings} makespans within {CLOSE:.0%}: {furthest:.2%} at most"),
        verdict(not wrong, f"the sign by the rule is right in {right} of 20 settings, and wrong in {wrong} of all"),
        verdict(off <= TOLD, f"chances of a pilot study: at most {off:.1f} standard errors off"),
    ]
    return max(results)


def spans(settings: int, runs: int, random: np.random.Generator) -> float:
    """Print by how much simulated makespans differ from the closed form; returns the largest share."""
    found = collections.defaultdict(list)
    with progress("makespans", settings) as advance:
        for number in range(settings):
            trials, predictor = drawn(random)
            for name, spoken in (("to the end", None), ("preemptive", predictor)):
                simulated, wanted = simulate_makespan(trials, spoken, runs=runs, seed=number), makespan(trials, spoken)
                off = simulated.mean() - wanted.mean_s
                errors = off / wanted.deviation_s * math.sqrt(runs)
                found[name].append((off / wanted.mean_s, errors, simulated.std() / wanted.deviation_s - 1))
            advance(1)
    columns = ("attempts", "settings", "mean", "largest", "largest z", "deviation")
    shown = table(f"simulated less closed form, {runs} runs each", *columns)
    for name, rows in found.items():
        means, errors, deviations = np.abs(np.array(rows)).T
        shares = [f"{means.mean():.3%}", f"{means.max():.3%}"]
        shown.add_row(name, str(len(rows)), *shares, f"{errors.max():.1f}", f"{deviations.max():.2%}")
    console.print(shown)
    return max(abs(mean) for rows in found.values() for mean, _, _ in rows)


def drawn(random: np.random.Generator) -> tuple[Trials, Predictor]:
    """Attempts of which 5 to 90 % fail, a predictor from blind to perfect, durations from constant to exponential."""

    def duration() -> Duration:
        mean = random.uniform(1, 60)
        return Duration(mean, random.uniform(0, 1) * mean**2)

    trials = Trials(random.uniform(0.05, 0.9), duration(), duration(), random.uniform(0, 20))
    return trials, Predictor(random.uniform(0, 1), random.uniform(0, 0.8), *(duration() for _ in range(4)))


def signs(settings: int, episodes: int, pairs: int, random: np.random.Generator) -> tuple[int, int]:
    """Print how often the rule's sign is right; returns that of the 20, and how many are wrong of those that differ."""
    grid = [(rate, *strategy, SEPARATION, THRESHOLD) for strategy in STRATEGIES.values() for rate in FAILURE_RATES]
    other = [tuple(random.uniform(0.02, 0.98, 3)) + tuple(random.uniform((0, -1), (3, 2))) for _ in range(settings)]
    study = (f"{pairs} pairs: right", "cannot be told", "wrong")
    shown = table("the sign by the rule", "settings", "number", "right", "too near zero", "wrong", *study)
    rights, wrongs = [], 0
    for name, chosen in (
        (f"{len(STRATEGIES)} strategies x {len(FAILURE_RATES)} failure rates", grid),
        ("drawn", other),
    ):
        counts: collections.Counter[str] = collections.Counter()
        with progress("episodes", len(chosen)) as advance:
            for setting in chosen:
                counts.update(judged(setting, episodes, pairs, random))
                advance(1)
        columns = ("right", "near", "wrong", "pairs right", "pairs open", "pairs wrong")
        shown.add_row(name, str(len(chosen)), *(str(counts[column]) for column in columns))
        rights.append(counts["right"])
        wrongs += counts["wrong"]
    console.print(shown)
    return rights[0], wrongs


def judged(setting: tuple[float, ...], episodes: int, pairs: int, random: np.random.Generator) -> tuple[str, str]:
    """Whether the rule, and a study of so many pairs, have the sign of what the simulation says."""
    failure_rate, rescues, breaks, separation, threshold = setting
    rates = Rates(failure_rate, rescues * norm.sf(threshold - separation), breaks * norm.sf(threshold))
    before, after = lived(setting, episodes, random)
    gain = after.astype(int) - before
    told = abs(gain.mean()) > TOLD * gain.std() / math.sqrt(episodes)
    even = rates.break_even
    helps = even is not None and rates.failure_rate > even
    by_rule = "near" if not told else "right" if helps == (gain.mean() > 0) else "wrong"
    says = operating_rule(*lived(setting, pairs, random)).says
    if says == "cannot be told":
        return by_rule, "pairs open"
    return by_rule, "pairs right" if (says == "help") == helps else "pairs wrong"


def lived(setting: tuple[float, ...], episodes: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Success (N,) of simulated episodes without and with the intervention at alarms of a score."""
    failure_rate, rescues, breaks, separation, threshold = setting
    success = random.random(episodes) >= failure_rate
    score = random.normal(size=episodes) + np.where(success, 0.0, separation)
    turned = random.random(episodes) < np.where(success, breaks, rescues)
    return success, success ^ ((score > threshold) & turned)


def pilots(studies: int, random: np.random.Generator) -> float:
    """Print exact chances beside simulated ones; returns by how many standard errors the furthest is off."""
    columns = ("p, r, d", "episodes", "right", "wrong", "tie", "power", "for 80 %", "largest z")
    shown = table(f"pilot studies: exact chances (of {studies} simulated)", *columns)
    furthest = 0.0
    with progress("pilot studies", len(PILOTS)) as advance:
        for rates, episodes in PILOTS:
            exact = chances(rates, episodes)
            wanted = np.array([exact.helps, exact.harms, exact.ties, exact.proves_help, exact.proves_harm])
            found = simulated(rates, episodes, studies, random)
            error = np.sqrt(np.maximum(wanted * (1 - wanted), 1e-12) / studies) + 0.5 / studies
            z = float(np.abs((found - wanted) / error).max())
            names = f"{rates.failure_rate:g}, {rates.rescue:g}, {rates.disruption:g}"
            said = [exact.right, exact.wrong, exact.ties, exact.power]
            helps = rates.gain > 0
            seen = [found[0], found[1], found[2], found[3]] if helps else [found[1], found[0], found[2], found[4]]
            pairs = [f"{one:.3f} ({other:.3f})" for one, other in zip(said, seen, strict=True)]
            shown.add_row(names, str(episodes), *pairs, str(exact.episodes_for_power or "never"), f"{z:.1f}")
            furthest = max(furthest, z)
            advance(1)
    console.print(shown)
    return furthest


def simulated(rates: Rates, episodes: int, studies: int, random: np.random.Generator) -> Array:
    """Shares of simulated studies: more rescued, more broken, as many, and significantly more of each."""
    counts = np.array([study(rates, episodes, random) for _ in range(studies)])
    rescued, broken = counts.T
    significant = np.array([significance(first, second) for first, second in counts.tolist()])
    more, fewer = rescued > broken, broken > rescued
    shares = (more, fewer, rescued == broken, more & significant, fewer & significant)
    found: Array = np.array([each.mean() for each in shares])
    return found


def study(rates: Rates, episodes: int, random: np.random.Generator) -> tuple[int, int]:
    """Episodes rescued and broken in one study, episode by episode."""
    fails = random.random(episodes) < rates.failure_rate
    turned = random.random(episodes) < np.where(fails, rates.rescue, rates.disruption)
    return int((fails & turned).sum()), int((~fails & turned).sum())


@functools.cache
def significance(rescued: int, broken: int) -> bool:
    """Whether scipy's exact test is significant at 5 %."""
    return bool(rescued + broken and binomtest(rescued, rescued + broken).pvalue <= 0.05)


if __name__ == "__main__":
    sys.exit(main())
