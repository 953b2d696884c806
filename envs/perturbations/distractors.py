"""Things that do not belong there stand round the object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int
from workbench.envs.faults.props import COLOURS, DISTRACTORS, Placed, PropEffect, around, props, tries
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record
from workbench.types.reading import typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

TRIES = 40
GAP_M = (0.005, 0.06)
"""Distance of a distractor from the circle that holds the object."""
HALF_M = (0.012, 0.03)


class DistractorsEffect(PropEffect):
    """Stands fixed props round the object."""

    def places(self, scene: MujocoScene, prop: Record) -> Array:
        """On what the object stands on, anywhere round it."""
        return around(scene, prop)


class Distractors(Specification):
    """Clutter on the table (distractors: THE COLOSSEUM, Pumacay et al., RSS 2024; LIBERO-Plus, arXiv 2510.13626, 2025).

    They are fixed, are seen, and can be run into; none overlaps the object, the hand or the target when it comes.

    Parameters
    ----------
    count : how many; their kinds, sizes, colours and places are drawn.
    schedule : see :class:`Specification`.
    """

    channel = "physics"
    effect = DistractorsEffect
    magnitude = Magnitude("count", 1, len(DISTRACTORS), whole=True)
    drawn = typed(props=props(Placed, len(DISTRACTORS)))
    seen_as = ("collision", "stall", "wrong object")

    def __init__(self, count: int | Sequence[int], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.count = self.magnitude.steps(count)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn number, and of each a kind, a size, a colour and places to try."""
        count, order = uniform_int(rng, self.count), rng.permutation(list(DISTRACTORS)).tolist()
        made = []
        for name in order[:count]:
            radius, half, depth = rng.uniform(*HALF_M, 3).tolist()
            size = {"box": [radius, depth, half], "cylinder": [radius, half], "sphere": [radius]}[DISTRACTORS[name]]
            colour = COLOURS[int(rng.integers(len(COLOURS)))]
            places = tries(rng, (-np.pi, np.pi), GAP_M, TRIES)
            made.append({"name": name, "size_m": size, "rgba": [*colour, 1.0], **places})
        return {"count": count, "props": made}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        kinds = ", ".join(DISTRACTORS[prop["name"]] for prop in record["props"])
        return f"{record['count']} distractors round the object ({kinds})"
