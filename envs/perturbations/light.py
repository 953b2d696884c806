"""The light changes."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform, within
from workbench.envs.faults.pixels import ImageEffect, ImageFault, turned
from workbench.envs.faults.schedule import Schedule
from workbench.types import Array, Record
from workbench.types.reading import many, number, typed, vector

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.scene import MujocoScene

TINT_FRACTION = (0.05, 1.0)
TILT_RAD = (0.05, 1.5)
PARTS = ("diffuse", "ambient", "specular")


class LightEffect(ImageEffect):
    """Dims, tints and tilts the lights of the scene, and dims and tints the one at the camera."""

    def look(self, scene: MujocoScene, model: mujoco.MjModel) -> None:
        """Scale what the lights send out, channel by channel, and turn where they send it."""
        scale = self.record["brightness_scale"] * np.array(self.record["tint_scale"])
        for part in PARTS:
            self.change(model, f"light_{part}", slice(None), getattr(model, f"light_{part}") * scale)
            self.change(model.vis.headlight, part, slice(None), getattr(model.vis.headlight, part) * scale)
        self.change(model, "light_dir", slice(None), model.light_dir @ _tilted(self.record["tilt_rad"]).T)


def _tilted(tilt_rad: Sequence[float]) -> Array:
    """Rotation (3, 3) about a horizontal axis, as a rotation vector [x, y] in the world frame."""
    import mujoco

    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, turned(np.array([1.0, 0.0, 0.0, 0.0]), np.array([*tilt_rad, 0.0])))
    return rotation.reshape(3, 3)


class Light(ImageFault):
    """Another time of day, a lamp that failed (light is an axis of THE COLOSSEUM, Pumacay et al., RSS 2024).

    All cameras see it.  The profile ``fast`` draws no shadows.

    Parameters
    ----------
    brightness_scale : factor on all lights, the headlight included; below one.
    tint_fraction : how much of the colours other than a drawn hue is taken out of the light; None: it stays white.
    tilt_rad : by how much the lights' directions are turned about a drawn horizontal axis; None: not at all.
    schedule : see :class:`workbench.envs.faults.specification.Specification`.
    """

    effect = LightEffect
    magnitude = Magnitude("brightness_scale", 0.01, 0.95, worse="smaller")
    drawn = typed(tint_scale=many(number(0.0, 1.0), 3, 3), tilt_rad=vector(2, 0.0, TILT_RAD[1]))
    seen_as = ("missed grasp", "stall")

    def __init__(
        self,
        brightness_scale: float | Sequence[float],
        tint_fraction: float | Sequence[float] | None = None,
        tilt_rad: float | Sequence[float] | None = None,
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(None, **schedule)
        self.brightness_scale = self.magnitude.within(brightness_scale)
        self.tint_fraction = None if tint_fraction is None else within("tint_fraction", tint_fraction, *TINT_FRACTION)
        self.tilt_rad = None if tilt_rad is None else within("tilt_rad", tilt_rad, *TILT_RAD)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factors of brightness and of red, green and blue, and the horizontal rotation vector [x, y]."""
        brightness, (hue, angle_rad) = uniform(rng, self.brightness_scale), rng.random(2) * (1.0, 2.0 * np.pi)
        fraction = uniform(rng, self.tint_fraction) if self.tint_fraction else 0.0
        tilt_rad = uniform(rng, self.tilt_rad) if self.tilt_rad else 0.0
        tint = 1.0 - fraction + fraction * np.array(colorsys.hsv_to_rgb(hue, 1.0, 1.0))
        return {
            "brightness_scale": brightness,
            "tint_scale": tint.tolist(),
            "tilt_rad": [float(tilt_rad * np.cos(angle_rad)), float(tilt_rad * np.sin(angle_rad))],
        }

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        red, green, blue = record["tint_scale"]
        tint = "" if red == green == blue else f", tinted ({red:.2f}, {green:.2f}, {blue:.2f})"
        tilt = np.hypot(*record["tilt_rad"])
        return f"light times {record['brightness_scale']:.3g}{tint}" + (f", tilted by {tilt:.2f} rad" if tilt else "")
