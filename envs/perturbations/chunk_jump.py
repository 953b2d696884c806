"""New plans begin with a jump."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform, uniform_int
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record
from workbench.types.abilities import finger_channels
from workbench.types.reading import typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

JUMP_STEPS = Magnitude("jump_steps", 1, 64, whole=True)


class ChunkJumpEffect(Effect):
    """Displaces the first actions of every chunk, each chunk in a direction of its own."""

    def chunk(self, scene: MujocoScene, chunk: Array) -> Array:
        """The chunk with the offset on the arm's channels of its first actions, cut off at the largest action."""
        steps, arm = int(self.record["jump_steps"]), chunk.shape[1] - finger_channels(scene.task)
        direction = self.noise.at(scene.step_index).normal(size=arm)
        offset = self.record["offset_fraction"] * direction / np.linalg.norm(direction)
        jumped = chunk.copy()
        jumped[:steps, :arm] = (jumped[:steps, :arm] + offset).clip(-1.0, 1.0)
        return jumped


class ChunkJump(Specification):
    """A jump where one chunk takes over from the last, as between modes of a policy that plans each anew.

    Real-time chunking (Black et al., NeurIPS 2025) is about such jumps.  Policies whose chunks are one action long are
    displaced at every step.

    Parameters
    ----------
    offset_fraction : length of the offset as a fraction of the largest action; its direction among the arm's channels
        is drawn uniformly for each chunk.
    jump_steps : how many first actions of a chunk are displaced.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = ChunkJumpEffect
    magnitude = Magnitude("offset_fraction", 0.05, 4.0)
    drawn = typed(jump_steps=JUMP_STEPS.drawn)
    seen_as = ("missed grasp", "knocked", "collision")

    def __init__(
        self,
        offset_fraction: float | Sequence[float],
        jump_steps: int | Sequence[int],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.offset_fraction = self.magnitude.within(offset_fraction)
        self.jump_steps = JUMP_STEPS.steps(jump_steps)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn length of the offset, and for how many actions."""
        return {
            "offset_fraction": uniform(rng, self.offset_fraction),
            "jump_steps": uniform_int(rng, self.jump_steps),
        }

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return (
            f"the first {record['jump_steps']} actions of a chunk are displaced by {record['offset_fraction']:.3g} of "
            "the largest"
        )
