"""Scores of failures and successes compared pair by pair, each pair at a time at which both were still running.

A failed episode runs to the deadline, a successful one stops.  Whatever grows with the number of calls (a sum, a
maximum, elapsed time) is then higher for failures at *any* fraction of the deadline by which some successes have ended.
Cut at the earlier end of the two, elapsed time is equal within every pair, and its AUROC is exactly one half.  It is
the concordance of survival analysis (Harrell et al., JAMA 1982), restricted to what can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.types import Array


def peaks_by_step(step: Array, margin: Array, deadline: int) -> Array:
    """Highest margin so far at every control step (deadline,); -inf before the first call, NaN once one was NaN."""
    peaks = np.concatenate([[-np.inf], np.maximum.accumulate(margin)])
    found: Array = peaks[np.searchsorted(step, np.arange(deadline), side="right")]
    return found


def concordance(
    failures: Array, successes: Array, failed_lengths: Array, succeeded_lengths: Array, until: float
) -> Array:
    """Whether each failure (rows) scores higher than each success (columns), ties one half: (F, S).

    Parameters
    ----------
    failures, successes : (F, T) and (S, T) highest margins so far at every control step.
    failed_lengths, succeeded_lengths : (F,) and (S,) control steps done.
    until : control step after which nothing counts.
    """
    ends = np.minimum(failed_lengths[:, None], succeeded_lengths[None]) - 1
    at = np.minimum(ends, int(until))
    mine = np.take_along_axis(failures, at, axis=1)
    others = np.take_along_axis(successes.T, at, axis=0)
    higher: Array = (mine > others) + 0.5 * (mine == others)
    return higher


def weighted_mean(higher: Array, failures: Array, successes: Array) -> Array:
    """Mean (R,) of a concordance (F, S) under weights (F, R) of the failures and (S, R) of the successes."""
    summed = np.einsum("sr,sr->r", higher.T @ failures, successes)
    mean: Array = summed / (failures.sum(axis=0) * successes.sum(axis=0))
    return mean


def matched_auroc(steps: Sequence[Array], margins: Sequence[Array], lengths: Array, failed: Array, until: int) -> float:
    """Time-matched AUROC of some episodes that share a deadline, without weights; both classes must be there."""
    horizon = int(lengths.max())
    peaks = np.stack([peaks_by_step(step, margin, horizon) for step, margin in zip(steps, margins, strict=True)])
    return float(concordance(peaks[failed], peaks[~failed], lengths[failed], lengths[~failed], until).mean())
