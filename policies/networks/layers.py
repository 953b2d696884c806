"""Networks of the chunk policies: the pair of encoder and denoiser, the encoder of states, and what several share."""

from __future__ import annotations

import math

import torch
from torch import nn

from workbench.policies.networks.vision import centre_crops, random_crops

Inputs = dict[str, torch.Tensor]
"""What an encoder reads, n rows each: ``state`` (n, history, S) float32, normalised; ``images/<camera>``
(n, 3, height, width) uint8; ``text`` (n, L) int64 token ids."""
LEVEL_FEATURES = 32
"""Sines and cosines in which the noise level is presented to a denoiser."""
LEVEL_FREQUENCIES = 2 * math.pi * 2.0 ** torch.linspace(-1.0, 6.0, LEVEL_FEATURES // 2)


class ChunkNetwork(nn.Module):
    """An encoder and a denoiser.

    The encoder sees the observation alone, so one call encodes once however many chunks and steps it draws.

    Parameters
    ----------
    encoder, denoiser : inputs to tokens; noisy chunk, level and tokens to a prediction.
    crop_px : edge of the square of every image that the encoder is handed; None for the whole images.
    null_size : D if it learns a null token, that stands in place of every token of an observation that is hidden (Ho
        and Salimans, Classifier-Free Diffusion Guidance, 2022); 0 if it does not.
    """

    def __init__(self, encoder: nn.Module, denoiser: nn.Module, crop_px: int | None = None, null_size: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.denoiser = denoiser
        self.crop_px = crop_px
        if null_size:
            self.null_token = nn.Parameter(torch.zeros(null_size))

    def augment(self, inputs: Inputs, random: torch.Generator) -> Inputs:
        """Inputs as training varies them, drawn from a generator on the CPU: every image cropped at a place of its own,
        and whatever else the encoder varies in its own ``augment``.
        """
        if self.crop_px is not None:
            images = sorted(key for key in inputs if key.startswith("images/"))
            inputs = inputs | {key: random_crops(inputs[key], self.crop_px, random) for key in images}
        vary = getattr(self.encoder, "augment", None)
        return inputs if vary is None else vary(inputs, random)

    def encode(self, inputs: Inputs) -> torch.Tensor:
        """Inputs of n observations -> tokens (n, L, D); of images that are not cropped yet, the middle is seen."""
        if self.crop_px is not None:
            images = {key: centre_crops(inputs[key], self.crop_px) for key in inputs if key.startswith("images/")}
            inputs = inputs | images
        tokens: torch.Tensor = self.encoder(inputs)
        return tokens

    def hide(self, tokens: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Tokens (n, L, D), the null token in place of all those of the observations in ``hidden`` (n,) bool."""
        return torch.where(hidden[:, None, None], self.null_token, tokens)

    def forward(self, chunk: torch.Tensor, level: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Noisy chunks (n, K, H, A), levels (n, K) or (1, 1), tokens (n, L, D) -> prediction (n, K, H, A)."""
        prediction: torch.Tensor = self.denoiser(chunk, level, tokens)
        return prediction


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


class StateEncoder(nn.Module):
    """Normalised observations, end to end, to one token.

    Parameters
    ----------
    size : length of the observation history, end to end.
    hidden, blocks : width and residual blocks.
    embedding : D.
    """

    def __init__(self, size: int, hidden: int, blocks: int, embedding: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size, hidden), *(ResidualBlock(hidden) for _ in range(blocks)), nn.Linear(hidden, embedding)
        )

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """``state`` (n, history, S) -> tokens (n, 1, D)."""
        tokens: torch.Tensor = self.layers(inputs["state"].flatten(1))[:, None]
        return tokens


def level_features(level: torch.Tensor) -> torch.Tensor:
    """Sines and cosines (..., LEVEL_FEATURES) of a noise level (...) in 0..1, with periods from 2 down to 1/64."""
    angles = level[..., None] * LEVEL_FREQUENCIES.to(level.device, level.dtype)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
