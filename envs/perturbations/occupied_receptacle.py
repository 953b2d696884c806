"""Something is already where the object is to be put."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.props import OCCUPANT, Prop, PropEffect, half_height_m, props
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Array, Record, Stream, Task
from workbench.types.reading import typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

ABOVE_M = 0.002
"""Distance from the receptacle: touching it, a fixed block would push it away."""
RGBA = [0.9, 0.6, 0.1, 1.0]


class OccupiedReceptacleEffect(PropEffect):
    """Stands a fixed block where the object is to go."""

    def places(self, scene: MujocoScene, prop: Record) -> Array:
        """Over the receptacle's opening, turned as it is."""
        receptacle = scene.task.receptacle
        assert receptacle is not None  # refused when drawn
        body = scene.model.body(receptacle.body).id
        rotation = scene.data.xmat[body].reshape(3, 3)
        opening = scene.data.xpos[body] + rotation @ receptacle.opening_m
        height = opening[2] + ABOVE_M + half_height_m(prop)
        return np.array([[opening[0], opening[1], height, np.arctan2(rotation[1, 0], rotation[0, 0])]])


class OccupiedReceptacle(Specification):
    """A place that is taken (REFLECT's *occupied*, Liu et al., CoRL 2023).

    Parameters
    ----------
    height_m : how high the block is that stands on the cube, in the bin, on the peg or over the hole.  It is as wide as
        it takes to keep the object out.
    schedule : see :class:`Specification`.
    """

    channel = "physics"
    effect = OccupiedReceptacleEffect
    magnitude = Magnitude("height_m", 0.005, 0.2)
    drawn = typed(props=props(Prop, 1))
    seen_as = ("misplacement", "collision", "stall", "jam")

    def __init__(self, height_m: float | Sequence[float], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.height_m = self.magnitude.within(height_m)

    def draw(self, stream: Stream, task: Task) -> Record:
        """One fault as it will be applied; the block's width is the receptacle's."""
        record = super().draw(stream, task)
        mujoco_task: Any = task
        half = mujoco_task.receptacle.half_width_m
        size = [half, half, record["height_m"] / 2]
        return {**record, "props": [{"name": OCCUPANT, "size_m": size, "rgba": RGBA}]}

    @classmethod
    def possible(cls, task: Task) -> None:
        """Refuse tasks whose object is not to be put anywhere."""
        super().possible(task)
        if getattr(task, "receptacle", None) is None:
            raise ConfigError(
                f"perturbation {cls.name} blocks where the object is to be put, and that of task {task.name} is to be "
                "put nowhere: leave it out"
            )

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn height."""
        return {"height_m": uniform(rng, self.height_m)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"a block {record['height_m']:.3f} m high stands where the object is to be put"
