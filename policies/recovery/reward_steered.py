"""Lead the sampler: the policy's chunks are drawn towards where a reward says that the hand should be.

Gradient guidance of a frozen policy by a reward of the hand's path, as in VLS (arXiv 2602.03973, 2026); there a
vision-language model writes the reward, here a person does.  The path is the sum of what the actions ask for, as in the
position guidance that DynaGuide (arXiv 2506.13922, 2025) is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.errors import ConfigError
from workbench.policies.recovery.sampling.driver import SamplingDriver, SamplingStrategy, refuse_unsteerable, told
from workbench.policies.shields.motion.channels import Channels
from workbench.types import Alarm, Observation, Policy, PolicyOutput, Steering, Task


class Nearness:
    """How near the hand comes to a place beside an object by the actions of a chunk that are run.

    ``R = -|| hand + action_m * (sum of the actions) - (object + offset) ||^2 / (2 within_m^2)``, from where the robot
    sees both: exp(R) is a normal density of the hand's place.  Controllers lag behind what they are asked, so the hand
    comes less far than that.
    """

    def __init__(self, channels: Channels, target: str, offset_m: Sequence[float], within_m: float) -> None:
        self._channels, self._target, self._within_m = channels, target, within_m
        self._offset_m = np.asarray(offset_m, dtype=np.float64)

    def from_(self, observation: Observation, execute: int) -> Callable[[Any], Any]:
        """The reward of chunks for what one scene sees now, vectors (size,)."""
        import torch

        hand, columns = self._channels.hand_m(observation), self._channels.position
        way = observation[self._target][: len(hand)] + self._offset_m - hand
        wanted, reach = torch.from_numpy(np.asarray(way, dtype=np.float32)), self._channels.robot.action_m

        def reward(chunks: Any) -> Any:
            moved = reach * chunks[..., :execute, columns].sum(dim=-2)
            return -(moved - wanted.to(chunks.device)).square().sum(dim=-1) / (2 * self._within_m**2)

        return reward


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
            one, only = slice(row, row + 1), {key: values[row] for key, values in observation.items()}
            now = {key: values[-1] for key, values in only.items() if not key.startswith("images/")}
            steering = Steering(reward=self._nearness.from_(now, self.execute), scale=self._scale)
            seen = {key: values[one] for key, values in observation.items()}
            asked = told(None if instructions is None else instructions[one])
            parts.append(self.policy.plan(seen, [drawn], 0, **asked, steering=steering).chunk)
        return PolicyOutput(np.concatenate(parts))


class RewardSteered(SamplingStrategy):
    """From the alarm on the policy's sampler is drawn towards chunks that bring the hand to a place beside an object.

    Parameters
    ----------
    task : whose actions translate a hand whose place is observed.
    target : key of the observation that says where the object is, in metres.
    offset_m : where the hand is to be, from there, along the world's axes.
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
        offset_m: Sequence[float] = (0.0, 0.0, 0.0),
        within_m: float = 0.05,
        scale: float = 1.0,
        steps: int | None = 16,
    ) -> None:
        channels = Channels(task, "strategy reward_steered")
        size = channels.position.stop - channels.position.start
        places = [key for key, length in task.observation_sizes.items() if key.endswith("_pos") and length >= size]
        if target not in places:
            raise ConfigError(
                f"strategy reward_steered leads the hand to a place, and target={target} is none of "
                f"{', '.join(places)} of task {task.name}: name one, strategy.reward_steered.target={places[-1]}"
            )
        if len(offset_m) != size:
            raise ConfigError(f"reward_steered: offset_m={list(offset_m)} must be {size} lengths, one a direction")
        if within_m <= 0 or (steps is not None and steps < 1):
            raise ConfigError(f"reward_steered: within_m={within_m} must be above 0, and steps={steps} at least 1")
        self._nearness, self._scale = Nearness(channels, target, offset_m, within_m), Steering(scale=scale).scale
        self._steps = steps

    def made(self, alarm: Alarm) -> SteeredDriver:
        """The policy, led."""
        refuse_unsteerable(alarm.policy, self.name)
        return SteeredDriver(alarm.policy, self._nearness, self._scale)
