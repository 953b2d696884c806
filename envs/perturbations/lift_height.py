"""What is carried is carried too low or too high."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, one_of, uniform, uniform_int
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.hand import hand_seen_at, held
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Observation, Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

SIGNS = {"low": -1, "high": 1}


class LiftHeightEffect(Effect):
    """Shows the hand and what it holds too high, so that they are lifted too low, or the other way round."""

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation with both displaced along the vertical while the object is held."""
        if not (self.active(scene.step_index) and held(scene)):
            return observation
        return hand_seen_at(scene, observation, np.array([0.0, 0.0, -self.record["offset_m"]]))


class LiftHeight(Specification):
    """Too low or too high a lift (RoboFAC's position error of the lift, arXiv 2505.12224, 2025).

    Parameters
    ----------
    offset_m : by how much.
    side : ``low`` or ``high``; None draws one.
    schedule : see :class:`Specification`; within it, only while the object is held.
    """

    channel = "keyframe"
    effect = LiftHeightEffect
    magnitude = Magnitude("offset_m", 0.005, 0.3, signed=True)
    needs_hand = True
    needs_gripper = True
    seen_as = ("collision", "drop", "misplacement", "slip", "jam", "stall")

    def __init__(
        self, offset_m: float | Sequence[float], side: str | None = None, **schedule: Unpack[Schedule]
    ) -> None:
        super().__init__(**schedule)
        self.offset_m = self.magnitude.within(offset_m)
        self.side = one_of("side", side, tuple(SIGNS))

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn height, below zero for one too low."""
        length, number = uniform(rng, self.offset_m), uniform_int(rng, (0, 1))
        side = tuple(SIGNS)[number] if self.side is None else self.side
        return {"offset_m": SIGNS[side] * length}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        offset_m = record["offset_m"]
        return f"lifted {abs(offset_m):.3f} m too {'low' if offset_m < 0 else 'high'}"
