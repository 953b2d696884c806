"""The network of the flow policy: one encoder of the observation, one head that is run at every flow step."""

from __future__ import annotations

import math

import torch
from torch import nn

TIME_FEATURES = 32
"""Sines and cosines in which the flow time is presented to the head."""


class ResidualBlock(nn.Module):
    """Pre-norm residual block of two layers (He et al., CVPR 2016; Xiong et al., ICML 2020)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.inner = nn.Linear(hidden, hidden)
        self.outer = nn.Linear(hidden, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., hidden) -> (..., hidden)."""
        result: torch.Tensor = x + self.outer(nn.functional.silu(self.inner(self.norm(x))))
        return result


class FlowNetwork(nn.Module):
    """Velocity field of a flow from Gaussian noise to action chunks, given an observation.

    The encoder sees the observation alone, so one call encodes once however many chunks and flow steps it draws.

    Parameters
    ----------
    observation_size : length of the normalised observation history, end to end.
    chunk_size : horizon times action size.
    hidden, blocks : width, and residual blocks in the encoder and again in the head.
    embedding : D, length of the features between the two.
    """

    def __init__(self, observation_size: int, chunk_size: int, hidden: int, blocks: int, embedding: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(observation_size, hidden),
            *(ResidualBlock(hidden) for _ in range(blocks)),
            nn.Linear(hidden, embedding),
        )
        self.from_features = nn.Linear(embedding, hidden)
        self.from_chunk = nn.Linear(chunk_size, hidden)
        self.from_time = nn.Linear(TIME_FEATURES, hidden)
        self.blocks = nn.Sequential(*(ResidualBlock(hidden) for _ in range(blocks)))
        self.to_velocity = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, chunk_size))

    def encode(self, observation: torch.Tensor) -> torch.Tensor:
        """(N, observation_size) -> features (N, D)."""
        features: torch.Tensor = self.encoder(observation)
        return features

    def velocity(self, chunk: torch.Tensor, time: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Velocity (..., chunk_size) at ``chunk`` and flow time (..., 1) in 0..1; ``condition`` from the features."""
        result: torch.Tensor = self.to_velocity(
            self.blocks(self.from_chunk(chunk) + self.from_time(time_features(time)) + condition)
        )
        return result

    def loss(
        self, observation: torch.Tensor, chunk: torch.Tensor, noise: torch.Tensor, time: torch.Tensor
    ) -> torch.Tensor:
        """Flow-matching loss: mean squared error of the velocity on the straight line from noise to chunk.

        Lipman et al., ICLR 2023, equation 23 with sigma_min = 0; the rectified flow of Liu et al., ICLR 2023.
        """
        on_line = noise + time * (chunk - noise)
        condition = self.from_features(self.encode(observation))
        return nn.functional.mse_loss(self.velocity(on_line, time, condition), chunk - noise)

    def sample(self, features: torch.Tensor, noise: torch.Tensor, steps: int) -> torch.Tensor:
        """Chunks (N, K, chunk_size) from noise of that shape and features (N, D), by Euler steps of equal length."""
        condition = self.from_features(features)[:, None]
        chunk = noise
        for step in range(steps):
            chunk = chunk + self.velocity(chunk, torch.full((1, 1, 1), step / steps), condition) / steps
        return chunk


def time_features(time: torch.Tensor) -> torch.Tensor:
    """Sines and cosines (..., TIME_FEATURES) of a flow time (..., 1), with periods from 2 down to 1/64."""
    exponents = torch.linspace(-1.0, 6.0, TIME_FEATURES // 2)
    angles = 2 * math.pi * time * 2.0**exponents
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
