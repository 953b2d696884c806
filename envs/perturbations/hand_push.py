"""Something pushes the robot's hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, horizontal, within_steps
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.props import hand_body
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class HandPushEffect(Effect):
    """Applies a horizontal force at the centre of mass of the hand."""

    def push(self, scene: MujocoScene) -> None:
        """Add to the forces of the coming control step; the scene takes them away again."""
        scene.data.xfrc_applied[hand_body(scene), :2] += self.record["force_n"]


class HandPush(Specification):
    """Somebody runs into the arm (DoReMi, Guo et al., IROS 2024, pushes its robot in the same way).

    Parameters
    ----------
    force_n : size of the force on the hand, or on the disc that pushes; its horizontal direction (world frame) is drawn
        uniformly.  A Panda's hand gives way by some centimetres at 50 N.
    duration_steps : for how many control steps it pushes.
    start : when; see :class:`Specification`.
    """

    channel = "physics"
    effect = HandPushEffect
    magnitude = Magnitude("force_n", 1.0, 500.0, sizes=(2,))
    lasts = (1, 100)
    seen_as = ("knocked", "missed grasp", "drop", "collision")

    def __init__(
        self, force_n: float | Sequence[float], duration_steps: int | Sequence[int], **start: Unpack[Start]
    ) -> None:
        super().__init__(duration_steps=within_steps("duration_steps", duration_steps, *self.lasts), **start)
        self.force_n = self.magnitude.within(force_n)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn force [x, y] in the world frame."""
        return {"force_n": horizontal(rng, self.force_n)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        x, y = record["force_n"]
        return f"the hand is pushed with {np.hypot(x, y):.3g} N along ({x:+.1f}, {y:+.1f})"
