"""A constant threshold from the fit episodes themselves, each scored as if it had not been among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.errors import CalibrationError
from workbench.types import Array, Threshold


class LeaveOneOut:
    """Split conformal prediction on a score's leave-one-episode-out curves; no calibration episode is spent.

    The curves come from scores that each lack one episode, so they are neither quite exchangeable with those of the
    whole score nor with one another: what is exact for held-out episodes is approximate here, as for the jackknife
    (Barber, Candes, Ramdas and Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 2021).
    """

    uses = frozenset({"held_out"})

    def calibrate(self, curves: Sequence[Array], level: float, held_out: Sequence[Array]) -> Threshold:
        """Constant threshold from the held-out curves (C_i,) of the fit episodes; ``curves`` play no part.

        Raises
        ------
        CalibrationError
            if the score offers no held-out curves, or fewer than ``ceil(1/level) - 1``.
        """
        if not held_out:
            raise CalibrationError(
                "this score cannot score its fit episodes without themselves (it has no leave_one_out): use "
                "calibrator=split_conformal"
            )
        return dataclasses.replace(
            SplitConformal().calibrate(held_out, level),
            guarantee=(
                f"approximately, P(any alarm in a successful episode exchangeable with the {len(held_out)} fit "
                f"episodes) <= {level:g} (leave one episode out)"
            ),
        )
