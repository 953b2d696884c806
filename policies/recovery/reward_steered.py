"""Lead the sampler: the policy's chunks are drawn towards where a reward says that the hand should be.

Gradient guidance of a frozen policy by a reward of the hand's path, as in VLS (arXiv 2602.03973, 2026); there a
vision-language model writes the reward, here a person does.  The path is the sum of what the actions ask for, as in the
position guidance that DynaGuide (arXiv 2506.13922, 2025) is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from workbench.errors import ConfigError, UnknownNameError
from workbench.policies.recovery.sampling.driver import SamplingDriver, SamplingStrategy, refuse_unsteerable, told
from workbench.policies.recovery.sampling.rewards import Beside, Goal, Nearness, NextStage
from workbench.policies.shields.motion.channels import Channels
from workbench.types import Alarm, Observation, Policy, PolicyOutput, Steering, Task


class SteeredDriver(SamplingDriver):
    """The policy, with a reward for every scene; they are planned one by one, since each has its own."""

    def __init__(self, policy: Policy, nearness: Nearness, scale: float) -> None:
        super().__init__(policy)
        self._nearness, self._scale = nearness, scale

    def plan(
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        instructions: Sequence[str] | None = None,
    ) -> PolicyOutput:
        """The steered chunks (N, H, A); the same noise gives the policy's own without a reward."""
        parts = []
        for row, drawn in enumerate(noise):
            one = slice(row, row + 1)
            vectors = {key: values[row] for key, values in observation.items() if not key.startswith("images/")}
            steering = Steering(reward=self._nearness.from_(vectors, self.execute), scale=self._scale)
            seen = {key: values[one] for key, values in observation.items()}
            asked = told(None if instructions is None else instructions[one])
            parts.append(self.policy.plan(seen, [drawn], 0, **asked, steering=steering).chunk)
        return PolicyOutput(np.concatenate(parts))


class RewardSteered(SamplingStrategy):
    """From the alarm on the policy's sampler is drawn towards chunks that bring the hand to a place.

    Parameters
    ----------
    task : whose actions translate a hand whose place is observed.
    target : key of the observation that says where an object is, in metres; for ``reward="place"``.
    offset_m : where the hand is to be, from there, along the world's axes; None for there itself.
    reward : which place it is: ``place``, that beside the target; ``stage``, that of the first stage that is not
        reached yet, by the task's own plan.
    within_m : standard deviation of the hand's place about it, if nothing else counted.
    scale : factor on the reward; 0 is the placebo.
    steps : control steps after which the policy drives again as before; None for the rest of the episode.
    """

    name: str = "reward_steered"
    needs: Sequence[str] = ()

    def __init__(
        self,
        task: Task,
        target: str | None = None,
        offset_m: Sequence[float] | None = None,
        within_m: float = 0.05,
        scale: float = 1.0,
        steps: int | None = 16,
        reward: Literal["place", "stage"] = "place",
    ) -> None:
        channels = Channels(task, "strategy reward_steered")
        dimensions = channels.position.stop - channels.position.start
        if reward == "stage" and (target is not None or offset_m is not None):
            raise ConfigError(
                "strategy reward_steered with reward=stage goes by the task's own plan: leave target and offset_m out"
            )
        if reward not in ("place", "stage"):
            raise UnknownNameError("reward for strategy.reward_steered.reward", reward, ("place", "stage"))
        goal: Goal = NextStage(task, dimensions) if reward == "stage" else Beside(task, dimensions, target, offset_m)
        if within_m <= 0 or (steps is not None and steps < 1):
            raise ConfigError(f"reward_steered: within_m={within_m} must be above 0, and steps={steps} at least 1")
        self._nearness, self._scale = Nearness(channels, goal, within_m), Steering(scale=scale).scale
        self._steps = steps

    def made(self, alarm: Alarm) -> SteeredDriver:
        """The policy, led."""
        refuse_unsteerable(alarm.policy, self.name)
        return SteeredDriver(alarm.policy, self._nearness, self._scale)
