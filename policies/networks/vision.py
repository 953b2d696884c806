"""What a policy sees through cameras: images to feature maps, feature maps to tokens, and crops of images.

Sources: keypoints by a spatial softmax after Levine et al., End-to-End Training of Deep Visuomotor Policies, JMLR 2016;
group normalisation, which unlike that of batches suits averaged weights, and random crops after Chi et al., Diffusion
Policy, RSS 2023; GroupNorm of Wu and He, ECCV 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from workbench.errors import ConfigError

if TYPE_CHECKING:
    from workbench.policies.networks.layers import Inputs

GROUPS = 8
"""Groups in which channels are normalised."""
STAGES = (16, 32, 64)
"""Channels of a camera's stages: 4 million products for an image of 76 pixels, that is 10 x 10 features."""
KEYPOINTS = 32
MAP_CHANNELS = 8
"""Channels to which a feature map is reduced before it is read pixel by pixel."""


class ConvEncoder(nn.Module):
    """Small convolutional network.

    Parameters
    ----------
    channels : of its stages, multiples of :data:`GROUPS`; each halves width and height.
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 64, 64)) -> None:
        super().__init__()
        self.stages, self.channels = len(channels), channels[-1]
        layers: list[nn.Module] = []
        before = 3
        for width in channels:
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.GroupNorm(GROUPS, width), nn.SiLU()]
            before = width
        self.layers = nn.Sequential(*layers)

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the feature map of an image, rounded up."""
        return -(-height // 2**self.stages), -(-width // 2**self.stages)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, height, width) in -1..1 -> feature map (n, C, height / 2^stages, width / 2^stages)."""
        features: torch.Tensor = self.layers(images)
        return features


class SpatialSoftmax(nn.Module):
    """Where on a feature map each of some keypoints is, as the mean of a softmax over its pixels.

    Parameters
    ----------
    channels : C of the map.
    keypoints : how many are looked for.
    """

    def __init__(self, channels: int, keypoints: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, keypoints, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Feature map (n, C, h, w) -> keypoints (n, 2 * keypoints), x and y in -1..1."""
        scores: torch.Tensor = self.score(features)
        height, width = scores.shape[2:]
        share = scores.flatten(2).softmax(dim=2).view_as(scores)
        across = torch.linspace(-1.0, 1.0, width, device=scores.device)
        down = torch.linspace(-1.0, 1.0, height, device=scores.device)
        return torch.cat([(share.sum(dim=2) * across).sum(dim=2), (share.sum(dim=3) * down).sum(dim=2)], dim=1)


class CameraEncoder(nn.Module):
    """One camera's images to vectors: keypoints, which say where to a fraction of a pixel, and a coarse map.

    Parameters
    ----------
    size_px : height and width of the images.
    hidden : length of the vectors.
    """

    def __init__(self, size_px: tuple[int, int], hidden: int) -> None:
        super().__init__()
        self.convolutions = ConvEncoder(STAGES)
        height, width = self.convolutions.map_size(*size_px)
        self.keypoints = SpatialSoftmax(STAGES[-1], KEYPOINTS)
        self.reduced = nn.Conv2d(STAGES[-1], MAP_CHANNELS, 1)
        self.to_vector = nn.Linear(2 * KEYPOINTS + MAP_CHANNELS * height * width, hidden)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, height, width) uint8 -> (n, hidden)."""
        # with channels last in memory convolutions take two thirds of the time on a CPU
        seen = (images / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)
        features = self.convolutions(seen)
        read = torch.cat([self.keypoints(features), self.reduced(features).flatten(1)], dim=1)
        vector: torch.Tensor = self.to_vector(read)
        return vector


class ImageEncoder(nn.Module):
    """State and one image a camera to one token.

    Parameters
    ----------
    size : length of the observation history, end to end.
    image_sizes : camera -> height and width of its images, as they are after cropping.
    hidden : width.
    embedding : D.
    """

    def __init__(self, size: int, image_sizes: Mapping[str, tuple[int, int]], hidden: int, embedding: int) -> None:
        super().__init__()
        self.cameras = nn.ModuleDict({camera: CameraEncoder(shape, hidden) for camera, shape in image_sizes.items()})
        self.state = nn.Linear(size, hidden)
        self.to_token = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, embedding)
        )

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """``state`` (n, history, S) and ``images/<camera>`` (n, 3, height, width) uint8 -> tokens (n, 1, D)."""
        inner = self.state(inputs["state"].flatten(1))
        for camera, encoder in self.cameras.items():
            inner = inner + encoder(inputs[f"images/{camera}"])
        tokens: torch.Tensor = self.to_token(inner)[:, None]
        return tokens


def cropped_sizes(sizes: Mapping[str, tuple[int, int]], crop_px: int | None) -> dict[str, tuple[int, int]]:
    """Camera -> (height, width) of what is left of its images; ConfigError if they are smaller than the crop."""
    if crop_px is None:
        return dict(sizes)
    for camera, size in sizes.items():
        if crop_px > min(size):
            raise ConfigError(
                f"policy.crop_px={crop_px} is larger than the images of camera {camera!r}, {size[0]} x {size[1]} "
                "pixels; choose a smaller one, or null for none"
            )
    return dict.fromkeys(sizes, (crop_px, crop_px))


def random_crops(images: torch.Tensor, crop_px: int, random: torch.Generator) -> torch.Tensor:
    """A square of every image (n, 3, height, width), each from a place of its own that is drawn on the CPU."""
    height, width = images.shape[2:]
    top = torch.randint(height - crop_px + 1, (len(images),), generator=random).tolist()
    left = torch.randint(width - crop_px + 1, (len(images),), generator=random).tolist()
    return torch.stack(
        [
            image[:, row : row + crop_px, column : column + crop_px]
            for image, row, column in zip(images, top, left, strict=True)
        ]
    )


def centre_crops(images: torch.Tensor, crop_px: int) -> torch.Tensor:
    """The middle of every image (n, 3, height, width); the whole of those that have that size."""
    height, width = images.shape[2:]
    top, left = (height - crop_px) // 2, (width - crop_px) // 2
    return images[:, :, top : top + crop_px, left : left + crop_px]
