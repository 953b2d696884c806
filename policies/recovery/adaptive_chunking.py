"""Look more often: the policy plans at every control step, and keeps to its plan as long as the two agree.

Source: SGAC, arXiv 2510.12392 (2025): adaptive chunking, with its closed-loop threshold of 0.97, and self-guidance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from workbench.errors import ConfigError
from workbench.policies.recovery.sampling.driver import SamplingDriver, SamplingStrategy, told
from workbench.types import Alarm, Array, Intervention, Observation, Policy, PolicyOutput, Record


class AdaptiveDriver(SamplingDriver):
    """One action of the policy at a time.

    A fresh chunk is planned at every control step.  While its first action points the way of the next planned one
    (cosine from the threshold up), the plan goes on, and the last action of the fresh chunk is put behind it; else the
    fresh chunk takes its place.  Its memory: ``plan`` (H, A), from the present step on; none at first.
    """

    def __init__(self, policy: Policy, threshold: float) -> None:
        super().__init__(policy)
        self.horizon = self.execute = 1
        self._threshold = threshold

    def plan(
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        instructions: Sequence[str] | None = None,
        memories: Sequence[Record] = (),
    ) -> PolicyOutput:
        """The next action (N, 1, A) of every scene."""
        fresh = self.policy.plan(observation, noise, 0, **told(instructions)).chunk
        actions = [self._next(chunk, memory) for chunk, memory in zip(fresh, memories, strict=True)]
        return PolicyOutput(np.stack(actions)[:, None])

    def _next(self, fresh: Array, memory: Record) -> Array:
        """The action (A,) of one scene."""
        plan = memory.get("plan")
        agree = plan is not None and cosine(plan[0], fresh[0]) >= self._threshold
        plan = np.concatenate([plan, fresh[-1:]]) if agree else fresh
        memory["plan"] = plan[1:]
        action: Array = plan[0]
        return action


def cosine(one: Array, other: Array) -> float:
    """Of the angle between two actions (A,); 1 between two that are alike, also where both are zero."""
    if np.array_equal(one, other):
        return 1.0
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0


class AdaptiveChunking(SamplingStrategy):
    """From the alarm on the policy plans at every control step, and follows a chunk only as long as it still holds.

    Parameters
    ----------
    threshold : cosine between the planned action and the fresh one from which they agree, -1 .. 2; above 1 the policy
        plans anew at every step, with -1 it never does within a chunk.
    self_guidance : w, (1 + w) prediction - w prediction of one observation earlier, for policies with a history; 0 for
        none.
    steps : control steps after which the policy drives again as before; None for the rest of the episode.
    """

    name: str = "adaptive_chunking"
    needs: Sequence[str] = ()

    def __init__(self, threshold: float = 0.97, self_guidance: float = 0.0, steps: int | None = None) -> None:
        if not -1 <= threshold <= 2 or (steps is not None and steps < 1):
            raise ConfigError(f"adaptive_chunking: threshold={threshold} must be -1 .. 2, and steps={steps} at least 1")
        self._threshold, self._guidance, self._steps = threshold, self_guidance, steps

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """The policy drives, and looks at every step."""
        return dataclasses.replace(super().act(memory, alarm), memory={})

    def made(self, alarm: Alarm) -> AdaptiveDriver:
        """The policy, one action at a time."""
        return AdaptiveDriver(self._guided(alarm.policy), self._threshold)

    def _guided(self, policy: Policy) -> Policy:
        """The policy, guided by itself."""
        if not self._guidance:
            return policy
        if not hasattr(policy, "altered"):
            raise ConfigError(
                f"strategy adaptive_chunking with self_guidance={self._guidance} needs a policy that can be guided, "
                f"and {type(policy).__name__} cannot: set strategy.adaptive_chunking.self_guidance=0"
            )
        guided: Policy = policy.altered({"self_guidance": self._guidance})
        return guided
