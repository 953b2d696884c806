"""Flow matching: chunks from noise along a learned velocity field.

Paper's word -> variable: data x_1 -> ``chunk``, noise x_0 -> ``noise``, flow time t (0 noise, 1 data) -> ``level``,
velocity v_t(x) -> what ``denoise`` returns, number of function evaluations -> ``inference_steps``.

Sources: Lipman et al., Flow Matching for Generative Modeling, ICLR 2023; Liu et al., Flow Straight and Fast, ICLR 2023.
"""

from __future__ import annotations

import math

import torch

from workbench.policies.chunks.chunk_policy import ChunkPolicy
from workbench.policies.chunks.process import Denoise
from workbench.policies.chunks.steering import NormalisedSteering, reward_gradient

LOWEST_LEVEL = 1 / 11
"""Level below which a reward's gradient is taken as if there: the noise is ten times the chunk in it, and what the
network does not know about the clean chunk would be multiplied by more than that."""


class FlowMatching:
    """The straight line from noise to chunk, followed by Euler steps of equal length."""

    most_steps: float = math.inf

    def loss(self, denoise: Denoise, chunk: torch.Tensor, noise: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Mean squared error (n, K) of the velocity on the line; Lipman et al., equation 23 with sigma_min = 0."""
        on_line = noise + level[..., None, None] * (chunk - noise)
        return (denoise(on_line, level) - (chunk - noise)).square().mean(dim=(-2, -1))

    def sample(
        self, denoise: Denoise, noise: torch.Tensor, steps: int, steering: NormalisedSteering | None = None
    ) -> torch.Tensor:
        """Chunks (n, K, H, A) from noise of that shape; a start takes as many steps on its shorter way."""
        steering = steering or NormalisedSteering()
        chunk, way = noise, steering.start_level
        if steering.start is not None:
            chunk = (1.0 - way) * steering.start + way * noise
        for step in range(steps if way else 0):
            level = (1.0 - way) + way * step / steps
            chunk = chunk + self.velocity(denoise, chunk, level, steering) * way / steps
        return chunk

    def velocity(
        self, denoise: Denoise, noisy: torch.Tensor, level: float, steering: NormalisedSteering
    ) -> torch.Tensor:
        """Velocity (n, K, H, A) at a level, towards what is rewarded.

        Papers whose time runs from data (t = 0) to noise (1) subtract t / (1 - t) times the gradient from a velocity
        that points to the noise; with ``level`` = 1 - t both turn round, and (1 - level) / level times it is added.
        """
        if steering.reward is None:
            return denoise(noisy, constant_level(level, noisy))
        velocity, gradient = reward_gradient(lambda x: self.predict(denoise, x, level), noisy, steering)
        if not steering.through_network:
            # The clean chunk of standard normal data follows the noisy one by level / (level^2 + (1 - level)^2).
            return velocity + (1.0 - level) / (level**2 + (1.0 - level) ** 2) * gradient
        if level < LOWEST_LEVEL:
            level = LOWEST_LEVEL
            _, gradient = reward_gradient(lambda x: self.predict(denoise, x, level), noisy, steering)
        return velocity + (1.0 - level) / level * gradient

    def predict(self, denoise: Denoise, noisy: torch.Tensor, level: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Velocity, and the clean chunk at the end of a straight line along it."""
        velocity = denoise(noisy, constant_level(level, noisy))
        return velocity, noisy + (1.0 - level) * velocity


def constant_level(level: float, chunk: torch.Tensor) -> torch.Tensor:
    """One level (1, 1) for all chunks (n, K, H, A)."""
    return chunk.new_full((1, 1), level)


class FlowPolicy(ChunkPolicy):
    """Chunks by flow matching; parameters as of :class:`workbench.policies.chunks.chunk_policy.ChunkPolicy`."""

    process = FlowMatching()
