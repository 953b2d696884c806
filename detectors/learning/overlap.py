"""What two policy calls in a row both plan: the control steps on which a policy can contradict itself."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.errors import ScoreError
from workbench.types import Array, Record


def no_plan() -> Record:
    """Memory of an episode without a call."""
    return {"plan": None, "step": 0}


def planned_twice(score: str, memories: Sequence[Record], plans: Array, steps: Array) -> list[tuple[Array, Array]]:
    """For every scene what was planned before and what is planned now, for the same control steps.

    Plans are (N, ..., H, A) and the pairs (..., H - k, A), with k the control steps that passed between the calls; they
    are those that really passed and not ``execute``, since a strategy may ask the policy before its chunk is done.  An
    episode's first plan is paired with itself, so a score of it is that of perfect consistency, and NaN if it is.
    Memories are updated in place.

    Raises
    ------
    ScoreError
        if the calls have no control step in common.
    """
    pairs = []
    for memory, plan, step in zip(memories, plans, steps, strict=True):
        previous, passed = (plan, 0) if memory["plan"] is None else (memory["plan"], int(step) - memory["step"])
        horizon = plan.shape[-2]
        if not 0 <= passed < horizon:
            raise ScoreError(
                f"score {score} compares what two calls in a row both plan, but they are {passed} control steps apart "
                f"and a chunk has {horizon}: choose a policy that executes fewer actions of a chunk"
            )
        pairs.append((previous[..., passed:, :], plan[..., : horizon - passed, :]))
        memory["plan"], memory["step"] = plan, int(step)
    return pairs
