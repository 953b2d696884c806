"""Several tests at once: p-values that hold for all of them together."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float | None], families: Sequence[str]) -> list[float | None]:
    """P-values that stay below a level by chance with that probability for all tests of a family together.

    Holm ("A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979).

    Parameters
    ----------
    p_values : of each test; None where there is none, and then none comes back.
    families : of each test, which it is corrected with.
    """
    adjusted: list[float | None] = [None] * len(p_values)
    for family in set(families):
        tested = [
            (p_value, place)
            for place, p_value in enumerate(p_values)
            if families[place] == family and p_value is not None
        ]
        highest = 0.0
        for rank, (p_value, place) in enumerate(sorted(tested)):
            highest = max(highest, (len(tested) - rank) * p_value)
            adjusted[place] = min(1.0, highest)
    return adjusted


def fixed_sequence(p_values: Sequence[float], level: float) -> int:
    """How many hypotheses, tested in their order, are rejected before the first that is not.

    With a probability of at least ``1 - level`` none of them is true, however many there are and whatever they have to
    do with one another, if their order and number do not depend on what they are tested on (Maurer, Hothorn and
    Lehmacher 1995; for thresholds: Angelopoulos et al., "Learn then Test", Annals of Applied Statistics 2025).
    """
    for place, p_value in enumerate(p_values):
        if p_value > level:
            return place
    return len(p_values)
