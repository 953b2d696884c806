"""Flow matching: chunks from noise along a learned velocity field.

Paper's word -> variable: data x_1 -> ``chunk``, noise x_0 -> ``noise``, flow time t (0 noise, 1 data) -> ``level``,
velocity v_t(x) -> what ``denoise`` returns, number of function evaluations -> ``inference_steps``.

Sources: Lipman et al., Flow Matching for Generative Modeling, ICLR 2023; Liu et al., Flow Straight and Fast, ICLR 2023.
"""

from __future__ import annotations

import torch

from workbench.policies.chunk_policy import ChunkPolicy
from workbench.policies.process import Denoise


class FlowMatching:
    """The straight line from noise to chunk, followed by Euler steps of equal length."""

    def loss(self, denoise: Denoise, chunk: torch.Tensor, noise: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Mean squared error (n, K) of the velocity on the line; Lipman et al., equation 23 with sigma_min = 0."""
        on_line = noise + level[..., None, None] * (chunk - noise)
        return (denoise(on_line, level) - (chunk - noise)).square().mean(dim=(-2, -1))

    def sample(self, denoise: Denoise, noise: torch.Tensor, steps: int) -> torch.Tensor:
        """Chunks (n, K, H, A) from noise of that shape."""
        chunk = noise
        for step in range(steps):
            level = noise.new_full((1, 1), step / steps)
            chunk = chunk + denoise(chunk, level) / steps
        return chunk


class FlowPolicy(ChunkPolicy):
    """Chunks by flow matching; parameters as of :class:`workbench.policies.chunk_policy.ChunkPolicy`."""

    process = FlowMatching()
