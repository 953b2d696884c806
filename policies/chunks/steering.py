"""A call that is led: begun from a chunk, or drawn towards a reward (see :class:`workbench.types.Steering`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from workbench.errors import ConfigError
from workbench.policies.chunks.batches import padded
from workbench.policies.chunks.normalisation import Normalisation

Reward = Callable[[torch.Tensor], torch.Tensor]
"""Clean chunks (n, K, H, A) -> (n, K), differentiable."""


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
    reward: Reward | None = None
    scale: float = 1.0
    through_network: bool = True


def of_normalised(reward: Reward, scale: Normalisation) -> Reward:
    """A reward of chunks in action units as one of normalised chunks."""
    centre, half_range = torch.from_numpy(scale.centre).float(), torch.from_numpy(scale.half_range).float()

    def rewarded(chunk: torch.Tensor) -> torch.Tensor:
        # Clipped as actions are, but the gradient passes, or a chunk outside would never find its way back.
        within = chunk + (chunk.clamp(-1.0, 1.0) - chunk).detach()
        return reward(centre.to(chunk.device) + half_range.to(chunk.device) * within)

    return rewarded


def started(steering: NormalisedSteering | None, rows: slice, count: int) -> NormalisedSteering | None:
    """The steering of some of its scenes, with zeros behind their starts, so many in all."""
    if steering is None or steering.start is None:
        return steering
    return dataclasses.replace(steering, start=padded(steering.start[rows], count))


def reward_gradient(
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
