"""How well numbers tell two classes apart, under the weights of many resamples at once."""

from __future__ import annotations

import numpy as np

from workbench.stats.bootstrap import running_sums
from workbench.types import Array


def areas(values: Array, failures: Array, successes: Array, weights: Array) -> tuple[Array, Array]:
    """AUROC and average precision (1 + R,) of failures against successes (rows), ties together.

    AUROC is P(a failure scores higher than a success), a tie counting one half; average precision the mean precision
    of the thresholds at each failure's value (Davis and Goadrich, ICML 2006: no interpolation).
    """
    failures, successes = failures[np.argsort(values[failures])], successes[np.argsort(values[successes])]
    mine, others = values[failures], values[successes]
    lower, upper = np.searchsorted(others, mine), np.searchsorted(others, mine, side="right")
    first = np.searchsorted(mine, mine)
    lost, caught, won = weights[failures], running_sums(weights, failures), running_sums(weights, successes)
    at_least, below = caught[-1] - caught[first], won[lower]
    precision = at_least / (at_least + (won[-1] - below) + 1e-300)
    if (lower != upper).any():
        below = (below + won[upper]) / 2
    higher, precise = (np.einsum("fr,fr->r", lost, each) / caught[-1] for each in (below, precision))
    return higher / won[-1], precise
