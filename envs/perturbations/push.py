"""Something pushes the object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, horizontal, within_steps
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class PushEffect(Effect):
    """Applies a horizontal force at the object's centre of mass."""

    def push(self, scene: MujocoScene) -> None:
        """Add to the forces of the coming control step; the scene takes them away again."""
        scene.data.body(scene.task.object_body).xfrc_applied[:2] += self.record["force_n"]


class Push(Specification):
    """An external push (DoReMi, Guo et al., IROS 2024, pushes its robot in the same way).

    Parameters
    ----------
    force_n : size of the force on the object; its horizontal direction (world frame) is drawn uniformly.  An object
        on a table starts to slide at friction times weight (0.7 N for Lift's cube); a little above that it tumbles.
    duration_steps : for how many control steps it pushes.
    start : when; see :class:`Specification`.
    """

    channel = "physics"
    effect = PushEffect
    magnitude = Magnitude("force_n", 0.1, 50.0, sizes=(2,))
    lasts = (1, 40)

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
        return f"a push of {np.hypot(x, y):.3g} N along ({x:+.2f}, {y:+.2f})"
