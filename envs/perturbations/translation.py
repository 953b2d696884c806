"""Keyframes are displaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, one_of, within_steps
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.hand import AXES, FRAMES, drawn_along, hand_seen_at
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Array, Observation, Record, Stream, Task
from workbench.types.reading import among, typed
from workbench.types.rotations import rotated

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class TranslationEffect(Effect):
    """Shows the hand displaced by the negative, so that it comes to rest displaced."""

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation with the hand, and what it holds, elsewhere."""
        if not self.active(scene.step_index):
            return observation
        offset_m = np.array(self.record["offset_m"])
        if self.record["frame"] == "tool":
            offset_m = rotated(offset_m, scene.truth().observation["eef_quat"])
        return hand_seen_at(scene, observation, -offset_m)


class Translation(Specification):
    """A misaligned keyframe (AHA's *Translation*, Duan et al., ICLR 2025; with a least size as in RACER, Dai et al.,
    ICRA 2025), as from a badly calibrated hand.

    The driver is shown its hand, and what it holds, displaced by the negative; one that goes by its pose comes to rest
    at the displaced keyframe.

    Parameters
    ----------
    offset_m : how far.
    duration_steps : for how many control steps.
    axis : ``x``, ``y`` or ``z``; None draws one.  The sign is drawn.
    frame : whose axes: the ``world``'s or the ``tool``'s, whose z points along the fingers and x from one to the other.
    start : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = TranslationEffect
    magnitude = Magnitude("offset_m", 0.002, 0.2, sizes=(3,))
    lasts = (1, 1000)
    needs_hand = True
    axes = AXES
    drawn = typed(axis=among(axes), frame=among(FRAMES))
    seen_as = ("missed grasp", "misplacement", "collision", "jam", "knocked")

    def __init__(
        self,
        offset_m: float | Sequence[float],
        duration_steps: int | Sequence[int],
        axis: str | None = None,
        frame: str = "world",
        **start: Unpack[Start],
    ) -> None:
        super().__init__(duration_steps=within_steps("duration_steps", duration_steps, *self.lasts), **start)
        self.offset_m = self.magnitude.within(offset_m)
        self.axis, self.frame = one_of("axis", axis, self.axes), one_of("frame", frame, FRAMES)

    def check(self, task: Task) -> None:
        """Refuse what leaves the plane of a hand that moves in one."""
        super().check(task)
        if "eef_pos" not in task.observation_sizes and (self.axis == "z" or self.frame == "tool"):
            raise ConfigError(
                f"the hand of task {task.name} moves in a plane: perturbation {self.name} displaces it along "
                "axis=x or axis=y of frame=world"
            )

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """In a plane, axes x and y of the world."""
        in_space = "eef_pos" in task.observation_sizes
        return super().fields_on(task) | ({} if in_space else {"axis": among(AXES[:2]), "frame": among(["world"])})

    def draw(self, stream: Stream, task: Task) -> Record:
        """In a plane, only the axes x and y are drawn from."""
        record = super().draw(stream, task)
        if "eef_pos" not in task.observation_sizes:
            rng = stream.child("perturbation", self.name, "plane").at()
            record["axis"], record["offset_m"] = drawn_along(rng, self.axis, self.offset_m, AXES[:2])
        return record

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn displacement [x, y, z] in its frame."""
        axis, offset_m = drawn_along(rng, self.axis, self.offset_m)
        return {"axis": axis, "frame": self.frame, "offset_m": offset_m}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        x, y, z = record["offset_m"]
        return (
            f"keyframes {np.hypot(np.hypot(x, y), z):.3f} m away, at ({x:+.3f}, {y:+.3f}, {z:+.3f}) {record['frame']}"
        )
