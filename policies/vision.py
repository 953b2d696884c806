"""What a policy sees through cameras: images to feature maps, feature maps to tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from workbench.policies.networks import Inputs


class ConvEncoder(nn.Module):
    """Small convolutional network, stride 2 four times."""

    def __init__(self, channels: Sequence[int] = (16, 32, 64, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in channels:
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
            before = width
        self.layers = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, height, width) in -1..1 -> feature map (n, C, height / 16, width / 16)."""
        features: torch.Tensor = self.layers(images)
        return features


class ImageEncoder(nn.Module):
    """State and one image a camera to one token."""

    def __init__(self, size: int, cameras: Sequence[str], hidden: int, embedding: int) -> None:
        super().__init__()
        self.cameras = tuple(cameras)
        self.convolutions = nn.ModuleList(ConvEncoder() for _ in self.cameras)
        self.state = nn.Linear(size, hidden)
        self.features = nn.ModuleList(nn.LazyLinear(hidden) for _ in self.cameras)
        self.to_token = nn.Sequential(nn.SiLU(), nn.Linear(hidden, embedding))

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """``state`` (n, history, S) and ``images/<camera>`` (n, 3, height, width) -> tokens (n, 1, D)."""
        inner = self.state(inputs["state"].flatten(1))
        for camera, convolution, features in zip(self.cameras, self.convolutions, self.features, strict=True):
            inner = inner + features(convolution(inputs[f"images/{camera}"] / 127.5 - 1.0).flatten(1))
        tokens: torch.Tensor = self.to_token(inner)[:, None]
        return tokens
