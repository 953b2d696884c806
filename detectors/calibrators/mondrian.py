"""One threshold for each group of calls: Mondrian conformal prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.detectors.calibrators.split_conformal import upper_bound
from workbench.detectors.learning.ranks import checked, conformal_rank, law_of, require_episodes, spread
from workbench.errors import CalibrationError
from workbench.types import Array, RateLaw, Record, Threshold


class Mondrian:
    """A constant threshold for each group, by split conformal prediction within it.

    Vovk, Lindsay, Nouretdinov and Gammerman ("Mondrian confidence machine", 2003); the quantiles are MAPIE's.  Groups
    that an episode never leaves, such as its task, each keep the whole level for themselves.  Groups that an episode
    passes through, such as its stage, divide the level (union bound), one share being kept for calls of unknown
    groups; an episode that never visits a group counts there as one that cannot alarm.

    Parameters
    ----------
    changes : whether an episode may pass through several groups.
    groups : ``_target_`` node of what tells groups apart (``detectors/groups``).  The job builds it, fits it on the fit
        split like a score, and hands it to :func:`workbench.monitoring.calibration.calibrate`; here it is only kept.
    """

    uses = frozenset({"groups"})

    def __init__(self, changes: bool, groups: Record | None = None) -> None:
        self.changes = changes
        self.groups = groups

    def calibrate(self, curves: Sequence[Array], level: float, groups: Sequence[Array]) -> Threshold:
        """Thresholds (G + 1,) from one curve (C_i,) an episode and the groups (C_i,) of its calls, -1 for unknown ones.

        The last threshold is for groups that no calibration episode visits.

        Raises
        ------
        CalibrationError
            if there are fewer than ``ceil(1/level) - 1`` episodes of a group, or fewer than ``ceil((G+1)/level) - 1``
            in all where an episode may pass through several; or if it does where it may not.
        """
        arrays = checked(curves, level)
        numbers = [np.asarray(group).astype(int) for group in groups]
        if [len(curve) for curve in arrays] != [len(group) for group in numbers]:
            raise CalibrationError("calibration needs the group of every call of every calibration episode")
        known = sorted({int(number) for group in numbers for number in group} - {-1})
        if not known:
            raise CalibrationError("no calibration episode is of a known group: fit the groups on episodes like these")
        find = self._of_calls if self.changes else self._of_episodes
        thresholds, unknown, guarantee, laws = find(arrays, numbers, known, level)
        values = np.full(known[-1] + 2, unknown)
        values[known] = thresholds
        return Threshold(
            values=values,
            scale=np.array([spread(np.array([curve.max() for curve in arrays]))]),
            level=level,
            episodes=len(arrays),
            guarantee=guarantee,
            grouped=True,
            laws=laws,
        )

    def _of_episodes(
        self, curves: Sequence[Array], groups: Sequence[Array], known: Sequence[int], level: float
    ) -> tuple[list[float], float, str, tuple[RateLaw, ...]]:
        """Thresholds of groups that an episode never leaves, that of the others, the guarantee and its laws."""
        if wandering := [number for number, group in enumerate(groups) if len(set(group.tolist())) > 1]:
            raise CalibrationError(
                f"calibration episode {wandering[0]} passes through several groups: set the calibrator's changes=true"
            )
        thresholds, laws = [], []
        for number in known:
            highest = np.array([c.max() for c, g in zip(curves, groups, strict=True) if g[0] == number])
            try:
                require_episodes(len(highest), level)
            except CalibrationError as error:
                raise CalibrationError(f"of group {number}: {error}") from None
            rank = conformal_rank(len(highest), level)
            thresholds.append(upper_bound(highest, rank))
            laws.append(law_of(rank, len(highest), group=number))
        return (
            thresholds,
            max(thresholds),
            f"for each of {len(known)} groups, P(any alarm in a successful episode of the group exchangeable with its "
            f"calibration episodes) <= {level:g}, over the draw of both (Mondrian conformal); none for other groups",
            tuple(laws),
        )

    def _of_calls(
        self, curves: Sequence[Array], groups: Sequence[Array], known: Sequence[int], level: float
    ) -> tuple[list[float], float, str, tuple[RateLaw, ...]]:
        """Thresholds of groups that an episode passes through, that of the others, the guarantee and its law."""
        shares = len(known) + 1
        require_episodes(len(curves), level, shares)
        rank = conformal_rank(len(curves), level, shares)
        # A bound on the highest score of all calls is one on those of groups that were never seen.
        unknown = upper_bound(np.array([curve.max() for curve in curves]), rank)
        thresholds = []
        for number in known:
            parts = [c[g == number] for c, g in zip(curves, groups, strict=True)]
            lowest = min(part.min() for part in parts if len(part))
            below = np.nextafter(lowest, -np.inf)  # an episode that never visits the group is below all that do
            bound = upper_bound(np.array([part.max(initial=below) for part in parts]), rank)
            # So rarely visited that its calls need no bound for the promise; that would make every visit an alarm.
            thresholds.append(bound if bound >= lowest else unknown)
        return (
            thresholds,
            unknown,
            f"P(any alarm in a successful episode exchangeable with the {len(curves)} calibration episodes) <= "
            f"{level:g}, over the draw of both (Mondrian conformal, the level divided among {len(known)} groups and "
            "the unknown ones)",
            (law_of(rank, len(curves), shares),),
        )
