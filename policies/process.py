"""What a generative process is to a policy: how noise becomes a chunk, and what a network learns for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import torch

from workbench.errors import ConfigError

Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Network with its observation fixed: noisy chunk (n, K, H, A) and level in 0..1 -> prediction (n, K, H, A).

The level is (n, K), or (1, 1) where all chunks are at the same one, as they are while sampling; that is cheaper.
"""


@dataclasses.dataclass(frozen=True)
class NormalisedSteering:
    """A :class:`workbench.types.Steering` as a process sees it, in the network's units.

    Attributes
    ----------
    start : (n, 1, H, A) or None.
    start_level : in 0..1.
    reward : predicted clean chunks (n, K, H, A) -> (n, K), or None.
    scale, through_network : as there.
    """

    start: torch.Tensor | None = None
    start_level: float = 1.0
    reward: Callable[[torch.Tensor], torch.Tensor] | None = None
    scale: float = 1.0
    through_network: bool = True


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


def uphill(
    predict: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    noisy: torch.Tensor,
    steering: NormalisedSteering,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A prediction for noisy chunks (n, K, H, A), and where the reward of the clean chunk behind it grows.

    The gradient is that of R(clean(noisy)) with respect to the noisy chunk (Chung et al., Diffusion Posterior Sampling,
    ICLR 2023), times ``scale``.  That of R(noisy) would be another one, whose effect depends on the number of steps.

    Parameters
    ----------
    predict : noisy chunk -> the network's prediction, and the clean chunk that follows from both.
    steering : with a reward; without ``through_network`` the gradient is that with respect to the clean chunk, which
        lacks the factor by which the clean chunk follows the noisy one.
    """
    with torch.set_grad_enabled(steering.through_network):
        moved = noisy.detach().clone().requires_grad_(steering.through_network)
        prediction, clean = predict(moved)
    with torch.enable_grad():
        if not steering.through_network:
            moved = clean = clean.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(rewarded(steering, clean).sum(), moved)
    return prediction.detach(), steering.scale * gradient


def rewarded(steering: NormalisedSteering, clean: torch.Tensor) -> torch.Tensor:
    """Rewards (n, K) of clean chunks (n, K, H, A), checked."""
    assert steering.reward is not None
    reward = steering.reward(clean)
    if not isinstance(reward, torch.Tensor) or reward.shape != clean.shape[:2] or not reward.requires_grad:
        raise ConfigError(
            f"a reward must follow from a tensor of chunks {tuple(clean.shape)} by torch, as a tensor of one number a "
            f"chunk, {tuple(clean.shape[:2])}, and be differentiable; got {reward}"
        )
    return reward
