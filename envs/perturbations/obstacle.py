"""A block stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.props import OBSTACLE, Placed, PropEffect, around, hand_body, lowest_m, props, tries
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record
from workbench.types.reading import typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

TRIES = 30
BESIDE_RAD = (-0.7, 0.7)
"""Directions that are tried, from the one in which the way leads ..."""
ANYWHERE_RAD = (-np.pi, np.pi)
"""... and if there is no room in any of them."""
GAP_M = (0.008, 0.05)
HALF_M = (0.01, 0.05)
"""Half lengths of the block along the way and across it."""
RGBA = [0.25, 0.25, 0.28, 1.0]


class ObstacleEffect(PropEffect):
    """Stands a fixed block beside the object, on the side to which the way leads."""

    def places(self, scene: MujocoScene, prop: Record) -> Array:
        """Beside the object towards its receptacle or, where there is none, towards the hand."""
        poses = around(scene, prop, towards(scene))
        if not scene.task.object_is_free:
            poses[:, 2] += lowest_m(scene.model, scene.data, scene.task.object_geoms) - scene.task.support_m
        return poses


def towards(scene: MujocoScene) -> float:
    """Direction in rad, seen from above, from the object to its receptacle, or to the hand."""
    data, receptacle = scene.data, scene.task.receptacle
    body = hand_body(scene) if receptacle is None else scene.model.body(receptacle.body).id
    way = data.xpos[body] - data.xpos[scene.model.body(scene.task.object_body).id]
    return float(np.arctan2(way[1], way[0]))


class Obstacle(Specification):
    """An obstacle between the hand, the object and its target (REFLECT's *blocking*, Liu et al., CoRL 2023).

    Parameters
    ----------
    height_m : of the block, 0.1 m wide and 0.02 m thick, which stands on what the object stands on, or
        begins at the height at which an object hangs on its hinge.
    schedule : see :class:`Specification`.
    """

    channel = "physics"
    effect = ObstacleEffect
    magnitude = Magnitude("height_m", 0.01, 0.5)
    drawn = typed(props=props(Placed, 1))
    seen_as = ("collision", "stall", "drop")

    def __init__(self, height_m: float | Sequence[float], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.height_m = self.magnitude.within(height_m)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn height, and places to try."""
        height = uniform(rng, self.height_m)
        size = [*HALF_M, height / 2]
        first, rest = (tries(rng, bounds, GAP_M, TRIES) for bounds in (BESIDE_RAD, ANYWHERE_RAD))
        places = {key: first[key] + rest[key] for key in first}
        return {"height_m": height, "props": [{"name": OBSTACLE, "size_m": size, "rgba": RGBA, **places}]}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"a block {record['height_m']:.3f} m high stands in the way"
