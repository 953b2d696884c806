"""The arm drifts to one side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record, Stream, Task
from workbench.types.reading import vector

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class ActionBiasEffect(Effect):
    """Adds a constant to the translation channels, which are an action's first."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action with the bias added; the scene clips it."""
        if not self.active(scene.step_index):
            return action
        bias = self.record["bias_fraction"]
        return np.concatenate([action[: len(bias)] + bias, action[len(bias) :]])


class ActionBias(Specification):
    """A drift, as from a badly calibrated joint or tool; the systematic counterpart of MimicGen's noise (CoRL 2023).

    Parameters
    ----------
    bias_fraction : length of the bias as a fraction of the largest action; its direction, in space, in the plane or on
        a line, is drawn uniformly.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = ActionBiasEffect
    magnitude = Magnitude("bias_fraction", 0.01, 1.0, sizes=(1, 3))

    def __init__(
        self,
        bias_fraction: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.bias_fraction = self.magnitude.within(bias_fraction)

    def draw(self, stream: Stream, task: Task) -> Record:
        """Where an action has two numbers, the direction is the shadow of the drawn one, and the length the same."""
        record = super().draw(stream, task)
        bias = np.array(record["bias_fraction"])
        if task.action_size < len(bias):
            shadow = bias[: task.action_size]
            record["bias_fraction"] = (shadow * np.linalg.norm(bias) / np.linalg.norm(shadow)).tolist()
        return record

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """As many numbers as a translation of the task's actions has."""
        size = min(3, task.action_size)
        return super().fields_on(task) | {"bias_fraction": vector(size, cls.magnitude.low, cls.magnitude.high)}

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn bias of the three translation channels."""
        length, direction = uniform(rng, self.bias_fraction), rng.normal(size=3)
        return {"bias_fraction": (length * direction / np.linalg.norm(direction)).tolist()}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        bias = record["bias_fraction"]
        towards = ", ".join(f"{value:.2f}" for value in bias)
        return f"drift of {np.linalg.norm(bias):.3g} of the largest action along ({towards})"
