"""The hand goes beyond where it should stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.hand import hand_position, hand_seen_at
from workbench.envs.perturbation import Effect, Magnitude, Specification, Start, uniform, within_steps
from workbench.types import Array, Observation, Record, Stream

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class OvershootEffect(Effect):
    """Shows the hand less far on its way from where it was when the fault began."""

    memory_size = 3

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.from_m = np.zeros(3)

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation with the way that the hand has made shortened by a distance, or by all of it."""
        if not self.active(scene.step_index):
            return observation
        here_m = hand_position(scene)
        if scene.step_index == self.started:
            self.from_m = np.resize(here_m, 3)
        way_m = here_m - self.from_m[: len(here_m)]
        length_m = float(np.linalg.norm(way_m))
        beyond_m = self.record["beyond_m"]
        return hand_seen_at(scene, observation, way_m * (-beyond_m / max(length_m, beyond_m)))

    def recall(self) -> Array:
        """Where the way began."""
        return self.from_m

    def remember(self, memory: Array) -> None:
        """Take up the beginning of a way."""
        self.from_m = memory.copy()


class Overshoot(Specification):
    """A way that goes on beyond its keyframe, as of an arm that brakes too late.  Source: none found.

    The way is the straight line from where the hand is when the fault begins.  The driver is shown its hand, and what
    it holds, less far on that line.

    Parameters
    ----------
    beyond_m : how far it goes on.
    duration_steps : for how many control steps.
    start : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = OvershootEffect
    magnitude = Magnitude("beyond_m", 0.002, 0.2)
    seen_as = ("overshoot", "collision", "jam", "knocked", "missed grasp")

    def __init__(
        self, beyond_m: float | Sequence[float], duration_steps: int | Sequence[int], **start: Unpack[Start]
    ) -> None:
        super().__init__(duration_steps=within_steps("duration_steps", duration_steps, 1, 1000), **start)
        self.beyond_m = self.magnitude.within(beyond_m)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn distance."""
        return {"beyond_m": uniform(rng, self.beyond_m)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"ways go {record['beyond_m']:.3f} m beyond the keyframe"
