"""How often the robot is sent back: direction reversals of the executed actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.detectors.learning.inputs import chunk_of, dimensions
from workbench.errors import ConfigError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class DirectionReversals:
    """Share of control steps at which the commanded motion turns by more than a right angle.

    The direction-reversal rate of arXiv 2605.28726 (2026), a baseline that needs nothing but actions.  With ``u_t`` the
    chosen dimensions of the action at control step t::

        s = share of { u_t · u_{t+1} < 0 }

    over the pairs of actions in a row among those that were run after the last ``calls - 1`` calls and those of this
    call's chunk that will be run before the next one (its first ``execute``; of earlier chunks as many as control steps
    really passed).  0 where there is no pair yet.  An angle, so it neither depends on how the world's axes lie nor, as
    a count of sign changes would, on the small components of a motion.

    Parameters
    ----------
    calls : over how many policy calls, this one included.
    dims : action dimensions of one kind that command a motion (a velocity or a step, not a goal).
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, calls: int = 8, dims: Sequence[int] = (0, 1, 2)) -> None:
        if calls < 1:
            raise ConfigError(f"calls={calls} of score reversals must be at least 1 policy call")
        self.calls = calls
        self.dims = dimensions("reversals", dims)

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Nothing is learnt; episodes that it could not score are refused already here."""
        for episode in episodes:
            chunk_of(episode, "reversals", self.dims)

    def begin(self) -> Record:
        """No action run yet."""
        return {"run": [], "chunk": None, "step": 0}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,), in 0..1."""
        chunks = chunk_of(call, "reversals", self.dims)
        scores = np.zeros(len(chunks))
        for scene, (memory, chunk, step) in enumerate(zip(memories, chunks, call.step, strict=True)):
            if memory["chunk"] is not None:
                run = [*memory["run"], memory["chunk"][: int(step) - memory["step"]]]
                memory["run"] = run[max(len(run) - self.calls + 1, 0) :]
            memory["chunk"], memory["step"] = chunk, int(step)
            scores[scene] = _share_reversed(np.concatenate([*memory["run"], chunk[: call.execute]]))
        return scores

    def state(self) -> dict[str, Array]:
        """Window and dimensions."""
        return {"dims": np.array(self.dims), "calls": np.array([self.calls])}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.dims, self.calls = tuple(int(dim) for dim in state["dims"]), int(state["calls"][0])


def _share_reversed(actions: Array) -> float:
    """Share of the pairs in a row of actions (T, dims) that point away from each other."""
    if not np.isfinite(actions).all():
        return float("nan")
    along = (actions[1:] * actions[:-1]).sum(axis=1)
    return float((along < 0).mean()) if len(along) else 0.0
