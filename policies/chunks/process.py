"""What a generative process is to a policy: how noise becomes a chunk, and what a network learns for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from workbench.policies.chunks.steering import NormalisedSteering

Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Network with its observation fixed: noisy chunk (n, K, H, A) and level in 0..1 -> prediction (n, K, H, A).

The level is (n, K), or (1, 1) where all chunks are at the same one, as they are while sampling; that is cheaper.
"""


class Process(Protocol):
    """Between Gaussian noise and chunks."""

    most_steps: float
    """The largest number of network evaluations that :meth:`sample` can make use of."""

    def loss(self, denoise: Denoise, chunk: torch.Tensor, noise: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Training loss (n, K), the mean over actions, of chunks (n, K, H, A) under noise of that shape.

        ``level`` (n, K) in [0, 1) is uniform in training; what it stands for is the process's own business.
        """
        ...

    def sample(
        self, denoise: Denoise, noise: torch.Tensor, steps: int, steering: NormalisedSteering | None = None
    ) -> torch.Tensor:
        """Chunks (n, K, H, A) from noise of that shape in so many network evaluations."""
        ...
