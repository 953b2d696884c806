"""Spectrum-based fault localisation over repeated runs."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from workbench.attribution.attributors.reading.tokens import Token, tokens
from workbench.errors import UnknownNameError
from workbench.types.attribution import RERUNS, Attribution, Case

LAMBDA = 0.9
"""How little a further occurrence in the same run adds: FAMAS's decay."""


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """What of the runs holds a token.

    Attributes
    ----------
    failed, passed : runs that ended so, the judged one among the failed.
    in_failed, in_passed : those of them in which the token occurs (ef and ep).
    decayed_failed, decayed_passed : the same, where a run counts ``LAMBDA ** (occurrences - 1)``.
    in_judged : occurrences in the judged run.
    share_of_stage : of the occurrences of its stage's tokens in the judged run.
    runs_share : runs with the token, of those that came to its stage.
    """

    failed: int
    passed: int
    in_failed: int
    in_passed: int
    decayed_failed: float
    decayed_passed: float
    in_judged: int
    share_of_stage: float
    runs_share: float


def ochiai(of: Spectrum) -> float:
    """Ef / sqrt(F (ef + ep)): Ochiai, as in Abreu et al., TAIC PART 2007."""
    return of.in_failed / math.sqrt(of.failed * (of.in_failed + of.in_passed))


def tarantula(of: Spectrum) -> float:
    """(ef / F) / (ef / F + ep / P): Jones and Harrold, ASE 2005; the second share is 0 where no run passed."""
    failed = of.in_failed / of.failed
    return failed / (failed + (of.in_passed / of.passed if of.passed else 0.0))


def dstar(of: Spectrum) -> float:
    """ef^2 / (ep + nf): D* with a star of 2, Wong et al., IEEE Transactions on Reliability 2014."""
    rest = of.in_passed + of.failed - of.in_failed
    return of.in_failed**2 / rest if rest else math.inf


def kulczynski2(of: Spectrum) -> float:
    """(ef / F + ef / (ef + ep)) / 2."""
    return (of.in_failed / of.failed + of.in_failed / (of.in_failed + of.in_passed)) / 2


def famas(of: Spectrum) -> float:
    """Alpha K (1 + beta) (1 + gamma): FAMAS (arXiv 2509.13782), with a token's stage in the place of its agent.

    K is Kulczynski2 with decayed counts, alpha = 1 + log_(1/lambda)(occurrences in the judged run), beta the token's
    share of its stage's occurrences, gamma that of the runs with it among those that came to its stage.  The paper's
    text leaves open over which runs beta is counted; here it is the judged one, as for alpha.
    """
    without = of.failed - of.in_failed
    similarity = (
        of.decayed_failed / (of.decayed_failed + without) + of.decayed_failed / (of.decayed_failed + of.decayed_passed)
    ) / 2
    alpha = 1 + math.log(of.in_judged) / math.log(1 / LAMBDA)
    return alpha * similarity * (1 + of.share_of_stage) * (1 + of.runs_share)


FORMULAS: Mapping[str, Callable[[Spectrum], float]] = {
    formula.__name__: formula for formula in (ochiai, tarantula, dstar, kulczynski2, famas)
}


class SpectrumBased:
    """Names the steps at which the most suspicious tokens <stage, contact, direction of motion> begin.

    A token is suspicious where failed runs of the same start hold it and successful ones do not.  Of tokens that are
    as suspicious the earliest in the episode comes first.

    Parameters
    ----------
    formula : one of :data:`FORMULAS`.
    """

    needs = frozenset({RERUNS})

    def __init__(self, formula: str) -> None:
        if formula not in FORMULAS:
            raise UnknownNameError("formula of an attributor", formula, FORMULAS)
        self.formula = formula

    def attribute(self, case: Case) -> Attribution:
        """The first step of every token of the episode, the most suspicious token first."""
        judged = tokens(case.log, case.task)
        begins: dict[Token, int] = {}
        for occurrence in judged:
            begins.setdefault(occurrence.token, occurrence.step)
        runs = [([each.token for each in judged], False)]
        runs += [([each.token for each in tokens(run, case.task)], run.success) for run in case.reruns]
        spectra = spectra_of(runs)
        formula = FORMULAS[self.formula]
        order = sorted(begins, key=lambda token: (-formula(spectra[token]), begins[token]))
        return Attribution(tuple(begins[token] for token in order))


def spectra_of(runs: Sequence[tuple[Sequence[Token], bool]]) -> dict[Token, Spectrum]:
    """Token of the first run, which is the judged one -> its spectrum over all runs and how they ended."""
    counted = [(Counter(each), success) for each, success in runs]
    stages = [{token[0] for token in counts} for counts, _ in counted]
    judged, failed = counted[0][0], sum(not success for _, success in counted)
    of_stage: Counter[int] = Counter()
    for token, times in judged.items():
        of_stage[token[0]] += times
    found = {}
    for token, times in judged.items():
        having = [(counts[token], success) for counts, success in counted if counts[token]]
        came = sum(token[0] in there for there in stages)
        lost, won = ([count for count, success in having if success is end] for end in (False, True))
        found[token] = Spectrum(
            failed=failed,
            passed=len(runs) - failed,
            in_failed=len(lost),
            in_passed=len(won),
            decayed_failed=sum(LAMBDA ** (count - 1) for count in lost),
            decayed_passed=sum(LAMBDA ** (count - 1) for count in won),
            in_judged=times,
            share_of_stage=times / of_stage[token[0]],
            runs_share=len(having) / came,
        )
    return found
