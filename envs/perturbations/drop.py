"""The object is dropped while it is carried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform, within_steps
from workbench.envs.faults.hand import LettingGo, held
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record, Stream

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class DropEffect(LettingGo):
    """Lets go of the object at a height above where it stood when it was taken."""

    memory_size = 2

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.support_m = np.inf

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """As of all that let go; where the object stands is remembered from the first step on."""
        if not held(scene):
            self.support_m = self._height_m(scene)
        return super().action(scene, action)

    def lets_go(self, scene: MujocoScene) -> bool:
        """Whether the object has been lifted so far."""
        return self._height_m(scene) - self.support_m > float(self.record["height_m"])

    def recall(self) -> Array:
        """Until when the fingers open, and where the object stood."""
        return np.append(super().recall(), self.support_m)

    def remember(self, memory: Array) -> None:
        """Take up both."""
        super().remember(memory)
        self.support_m = float(memory[1])

    @staticmethod
    def _height_m(scene: MujocoScene) -> float:
        return float(scene.data.xpos[scene.model.body(scene.task.object_body).id, 2])


class Drop(Specification):
    """An object that falls in mid-carry (REFLECT's *drop*, Liu et al., CoRL 2023; DoReMi, Guo et al., IROS 2024).

    Parameters
    ----------
    height_m : above where it stood, at which the fingers open for a moment.
    duration_steps : for how many control steps, from the first on, each carry ends so.
    start : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = DropEffect
    magnitude = Magnitude("height_m", 0.002, 0.3)
    lasts = (1, 1000)
    needs_gripper = True
    needs_free_object = True
    seen_as = ("drop", "slip", "knocked", "misplacement")

    def __init__(
        self, height_m: float | Sequence[float], duration_steps: int | Sequence[int], **start: Unpack[Start]
    ) -> None:
        super().__init__(duration_steps=within_steps("duration_steps", duration_steps, *self.lasts), **start)
        self.height_m = self.magnitude.within(height_m)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn height."""
        return {"height_m": uniform(rng, self.height_m)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the fingers open for a moment {record['height_m']:.3f} m above where the object stood"
