"""Velocity fields of flow matching, small enough for a few hundred policy calls; their training and their divergence.

Paper's word -> variable (Lipman et al., ICLR 2023; Xu et al., RSS 2025): data x_0 -> ``data`` at flow time 0, noise
x_1 -> ``noise`` at flow time 1, x_t = (1 - t) x_0 + t x_1, velocity v(x_t, t) -> x_1 - x_0.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from workbench.detectors.learning.networks import linear

BLOCKS = 2
FREQUENCIES = 8
BATCH = 128
LEARNING_RATE = 3e-3
CONSISTENCY_STEP = 5e-3
"""Flow time between two points of a path whose ends are compared."""


class VelocityField(nn.Module):
    """v(x, t | c): a residual perceptron, non-linear in x, t and c together.

    (The network of a published baseline is linear on the path of x, so its field is affine in x and its score a
    quadratic form; see :class:`workbench.detectors.scores.logpzo.LogpZO`.)

    Parameters
    ----------
    size : D, length of x.
    conditions : length of c, which may be 0.
    width : units of a hidden layer.
    random : draws the weights.
    """

    def __init__(self, size: int, conditions: int, width: int, random: torch.Generator | None = None) -> None:
        super().__init__()
        self.enter = linear(size + conditions, width)
        self.time = linear(2 * FREQUENCIES, width)
        self.inner = nn.ModuleList(linear(width, width) for _ in range(BLOCKS))
        self.outer = nn.ModuleList(linear(width, width) for _ in range(BLOCKS))
        self.leave = linear(width, size)
        if random is not None:
            for name, tensor in self.named_parameters():
                if name.endswith("bias"):
                    nn.init.zeros_(tensor)
                else:
                    nn.init.xavier_uniform_(tensor, generator=random)

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """Velocities (N, D) at points (N, D) and flow times (N,), given conditions (N, c) if it has any."""
        hidden = self.enter(x if condition is None else torch.cat([x, condition], dim=1))
        moment = self.time(_waves(time))
        for inner, outer in zip(self.inner, self.outer, strict=True):
            hidden = hidden + outer(functional.silu(inner(functional.silu(hidden + moment))))
        velocity: torch.Tensor = self.leave(functional.silu(hidden + moment))
        return velocity


def _waves(time: torch.Tensor) -> torch.Tensor:
    """Sines and cosines (N, 2 F) of flow times (N,), from a quarter of a turn to 2^6 quarters."""
    turns = 0.5 * math.pi * 2.0 ** torch.arange(FREQUENCIES, dtype=time.dtype)
    angle = time[:, None] * turns
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def train(
    field: VelocityField,
    data: torch.Tensor,
    iterations: int,
    random: torch.Generator,
    condition: torch.Tensor | None = None,
    consistency: float = 0.0,
) -> None:
    """Flow matching on data (M, D), given conditions (M, c) if the field has any.

    ``consistency`` is how large the consistency loss is as a share of the matching loss, whatever their units.
    """
    optimiser = torch.optim.AdamW(field.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations, eta_min=1e-5)
    for _ in range(iterations):
        rows = torch.randint(len(data), (BATCH,), generator=random)
        noise = torch.randn(BATCH, data.shape[1], generator=random)
        time = torch.rand(BATCH, generator=random)
        given = None if condition is None else condition[rows]
        loss = matching_loss(field, data[rows], noise, time, given)
        if consistency:
            apart = consistency_loss(field, data[rows], noise, time * (1 - CONSISTENCY_STEP))
            loss = loss + consistency * (loss / apart).detach() * apart
        optimiser.zero_grad()
        torch.autograd.backward([loss])
        optimiser.step()
        schedule.step()


def matching_loss(
    field: VelocityField, data: torch.Tensor, noise: torch.Tensor, time: torch.Tensor, given: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean over N of ``|| v(x_t, t) - (x_1 - x_0) ||^2``."""
    velocity = field(torch.lerp(data, noise, time[:, None]), time, given)
    loss: torch.Tensor = (velocity - (noise - data)).square().sum(dim=1).mean()
    return loss


def consistency_loss(field: VelocityField, data: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """Mean over N of ``|| f(x_{t + d}) - f(x_t) ||^2``, f where a straight line along the velocity ends at time 1.

    Consistency flow matching (Yang et al., 2024): zero where paths are straight and their velocity constant.
    """
    ends = []
    for moment in (time, time + CONSISTENCY_STEP):
        point = torch.lerp(data, noise, moment[:, None])
        ends.append(point + (1 - moment[:, None]) * field(point, moment))
    loss: torch.Tensor = (ends[1] - ends[0]).square().sum(dim=1).mean()
    return loss


def velocity_and_divergence(
    field: VelocityField, x: torch.Tensor, time: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Velocities (N, D) and the exact trace (N,) of their Jacobian by x, in forward mode: D tangents, no probes."""
    from torch.func import jvp, vmap

    def along(axis: torch.Tensor) -> torch.Tensor:
        slope: torch.Tensor = jvp(lambda point: field(point, time), (x,), (axis.expand_as(x),))[1]
        return slope @ axis

    return field(x, time), vmap(along)(torch.eye(x.shape[1], dtype=x.dtype)).sum(dim=0)
