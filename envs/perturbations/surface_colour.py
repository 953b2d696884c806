"""The object, the table or the robot has another colour."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, one_of, uniform
from workbench.envs.faults.pixels import ImageEffect, ImageFault
from workbench.envs.faults.schedule import Schedule
from workbench.types import Array, Record, Stream
from workbench.types.reading import among, number, typed

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.scene import MujocoScene

PARTS = ("object", "table", "robot")
LEAST_TURN_RAD = np.pi / 3
"""Of the hue, so that no draw paints red on red."""
LEAST_VALUE = 0.6
SEEN_GROUP = 1


class SurfaceColourEffect(ImageEffect):
    """Paints a part in one colour, over whatever texture it has."""

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self._mean_of: dict[int, Array] = {}

    def look(self, scene: MujocoScene, model: mujoco.MjModel) -> None:
        """Give its geometries a colour and no material, for a material may be others' too."""
        for geom in _geoms(scene, model, self.record["part"]):
            alpha = model.geom_rgba[geom, 3]
            colour = self._painted(self._colour(model, geom))
            self.change(model, "geom_matid", geom, -1)
            self.change(model, "geom_rgba", geom, [*colour, alpha])

    def _painted(self, colour: Array) -> Array:
        """The mixture of a colour (3,) and the saturated one whose hue lies as far from it as was drawn."""
        hue, _, value = colorsys.rgb_to_hsv(*colour)
        other = np.array(
            colorsys.hsv_to_rgb((hue + self.record["hue_rad"] / (2 * np.pi)) % 1.0, 1.0, max(value, LEAST_VALUE))
        )
        fraction = self.record["mix_fraction"]
        mixed: Array = (1.0 - fraction) * colour + fraction * other
        return mixed

    def _colour(self, model: mujoco.MjModel, geom: int) -> Array:
        """The mean colour (3,) of a geometry: its own, or its material's times its texture's."""
        import mujoco

        material = int(model.geom_matid[geom])
        if material < 0:
            return np.array(model.geom_rgba[geom, :3], dtype=np.float64)
        texture = int(model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB])
        colour = np.array(model.mat_rgba[material, :3], dtype=np.float64)
        return colour if texture < 0 else colour * self._mean(model, texture)

    def _mean(self, model: mujoco.MjModel, texture: int) -> Array:
        """The mean colour (3,) of a texture's pixels; kept, for a texture may hold millions and never changes."""
        if texture not in self._mean_of:
            channels = int(model.tex_nchannel[texture])
            count = int(model.tex_height[texture]) * int(model.tex_width[texture]) * channels
            first = int(model.tex_adr[texture])
            pixels = model.tex_data[first : first + count].reshape(-1, channels)[:, :3]
            self._mean_of[texture] = np.broadcast_to(pixels.mean(axis=0) / 255.0, 3)
        return self._mean_of[texture]


def _geoms(scene: MujocoScene, model: mujoco.MjModel, part: str) -> list[int]:
    """Geometries of a part that are drawn: the object's with what hangs on it, the robot's from its root on."""
    if part == "table":
        wanted = [_is_table(model, geom) for geom in range(model.ngeom)]
    elif part == "object":
        below = _with_children(model, int(model.body(scene.task.object_body).id))
        wanted = below[model.geom_bodyid].tolist()
    else:
        hand = model.body(scene.task.robot.hand_body).id
        root = model.body_rootid[hand]
        wanted = (model.body_rootid[model.geom_bodyid] == root).tolist()
    return [geom for geom in range(model.ngeom) if wanted[geom] and model.geom_group[geom] == SEEN_GROUP]


def _with_children(model: mujoco.MjModel, body: int) -> Array:
    """(nbody,) bool: the body and all below it; a body's parent comes before it."""
    below = np.zeros(model.nbody, dtype=bool)
    below[body] = True
    for other in range(body + 1, model.nbody):
        below[other] = below[model.body_parentid[other]]
    return below


def _is_table(model: mujoco.MjModel, geom: int) -> bool:
    """Whether a geometry is of a table or a bin, going by names: no task says what its table is."""
    names = (model.geom(geom).name, model.body(model.geom_bodyid[geom]).name)
    return any(name.startswith(("table", "bin")) for name in names)


class SurfaceColour(ImageFault):
    """Another object, cloth or robot of the same shape (colours are axes of THE COLOSSEUM, Pumacay et al., RSS 2024).

    A texture gives way to its mean colour.  All cameras see it.

    Parameters
    ----------
    mix_fraction : part of the new colour, a saturated one whose hue is at least 60 degrees from the old one's.
    part : ``object``, ``table`` or ``robot``; None: drawn.
    schedule : see :class:`workbench.envs.faults.specification.Specification`.
    """

    effect = SurfaceColourEffect
    magnitude = Magnitude("mix_fraction", 0.05, 1.0)
    drawn = typed(part=among(PARTS), hue_rad=number(0.0, 2 * np.pi))
    seen_as = ("missed grasp", "wrong object", "stall")

    def __init__(
        self, mix_fraction: float | Sequence[float], part: str | None = None, **schedule: Unpack[Schedule]
    ) -> None:
        super().__init__(None, **schedule)
        self.mix_fraction = self.magnitude.within(mix_fraction)
        self.part = one_of("part of perturbation surface_colour", part, PARTS)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn part, how far round the circle of hues its colour goes, and how much of it is mixed in."""
        fraction, drawn = uniform(rng, self.mix_fraction), PARTS[int(len(PARTS) * rng.random())]
        hue_rad = uniform(rng, (LEAST_TURN_RAD, 2 * np.pi - LEAST_TURN_RAD))
        return {"mix_fraction": fraction, "part": self.part or drawn, "hue_rad": hue_rad}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the {record['part']} is {100 * record['mix_fraction']:.0f} % of another colour"
