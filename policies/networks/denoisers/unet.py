"""Denoiser that convolves along the horizon at three resolutions.

Sources: the conditional 1-D U-Net of Chi et al., Diffusion Policy, RSS 2023; FiLM after Perez et al., AAAI 2018.  Here
the coarsest resolution is the bottom itself, without further blocks and without a skip connection.
"""

from __future__ import annotations

import torch
from torch import nn

from workbench.policies.networks.layers import LEVEL_FEATURES, level_features

KERNEL = 5
GROUPS = 4
"""Groups of channels that are normalised together."""


class ChunkUnet(nn.Module):
    """Convolutions along H, H/2 and H/4, of an eighth, a quarter and half of ``hidden`` channels.

    Parameters
    ----------
    horizon, actions : H, a multiple of 4, and A.
    hidden : width of the condition; a multiple of 32.
    blocks : residual blocks at every resolution, on the way down and on the way up.
    embedding : D, length of a token.
    """

    def __init__(self, horizon: int, actions: int, hidden: int, blocks: int, embedding: int) -> None:
        super().__init__()
        fine, middle, coarse = hidden // 8, hidden // 4, hidden // 2
        self.from_tokens = nn.Linear(embedding, hidden)
        self.from_level = nn.Linear(LEVEL_FEATURES, hidden)
        self.down = nn.ModuleList(
            [ConditionedBlocks(actions, fine, hidden, blocks), ConditionedBlocks(fine, middle, hidden, blocks)]
        )
        self.to_coarser = nn.ModuleList(nn.Conv1d(width, width, 3, stride=2, padding=1) for width in (fine, middle))
        self.bottom = ConditionedBlocks(middle, coarse, hidden, blocks)
        self.to_finer = nn.ModuleList(
            nn.ConvTranspose1d(below, width, 4, stride=2, padding=1)
            for below, width in ((coarse, middle), (middle, fine))
        )
        self.up = nn.ModuleList(ConditionedBlocks(2 * width, width, hidden, blocks) for width in (middle, fine))
        self.to_prediction = nn.Sequential(ConvolutionalLayer(fine, fine), nn.Conv1d(fine, actions, 1))

    def forward(self, chunk: torch.Tensor, level: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(n, K, H, A), (n, K) or (1, 1), (n, L, D) -> (n, K, H, A)."""
        condition = self.from_level(level_features(level)) + self.from_tokens(tokens.mean(dim=1))[:, None]
        condition = nn.functional.silu(condition)
        x, skipped = chunk.flatten(0, 1).transpose(1, 2), []
        for blocks, to_coarser in zip(self.down, self.to_coarser, strict=True):
            x = blocks(x, condition)
            skipped.append(x)
            x = to_coarser(x)
        x = self.bottom(x, condition)
        for to_finer, blocks in zip(self.to_finer, self.up, strict=True):
            x = blocks(torch.cat([to_finer(x), skipped.pop()], dim=1), condition)
        prediction: torch.Tensor = self.to_prediction(x).transpose(1, 2)
        return prediction.reshape(chunk.shape)


class ConvolutionalLayer(nn.Sequential):
    """Convolution that keeps the length, group normalisation (Wu and He, ECCV 2018) and SiLU."""

    def __init__(self, before: int, after: int) -> None:
        # Chi et al. have Mish here, which is nearly the same curve; on a CPU it takes 9 times as long, in inference a
        # fifth of the whole.
        super().__init__(nn.Conv1d(before, after, KERNEL, padding=KERNEL // 2), nn.GroupNorm(GROUPS, after), nn.SiLU())


class ConditionedBlock(nn.Module):
    """Residual block of two convolutional layers, with scale and shift from the condition between them."""

    def __init__(self, before: int, after: int, condition: int) -> None:
        super().__init__()
        self.first = ConvolutionalLayer(before, after)
        self.film = nn.Linear(condition, 2 * after)
        self.second = ConvolutionalLayer(after, after)
        self.around = nn.Conv1d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """(n K, before, H), condition (n, K, C) or (n, 1, C) -> (n K, after, H)."""
        scale, shift = self.film(condition)[..., None].chunk(2, dim=2)
        inner = self.first(x).unflatten(0, (len(condition), -1))
        inner = self.second((inner * (1 + scale) + shift).flatten(0, 1))
        result: torch.Tensor = inner + self.around(x)
        return result


class ConditionedBlocks(nn.Module):
    """Residual blocks one after another, all with the same condition."""

    def __init__(self, before: int, after: int, condition: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ConditionedBlock(after if number else before, after, condition) for number in range(blocks)
        )

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """As :meth:`ConditionedBlock.forward`."""
        for block in self.blocks:
            x = block(x, condition)
        return x
