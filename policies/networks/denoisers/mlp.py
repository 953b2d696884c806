"""Denoiser that sees a chunk as one vector."""

from __future__ import annotations

import torch
from torch import nn

from workbench.policies.networks.layers import LEVEL_FEATURES, ResidualBlock, level_features


class ResidualMlp(nn.Module):
    """Residual layers on the whole chunk: the fastest, and enough where a chunk has few numbers.

    Parameters
    ----------
    horizon, actions : H and A.
    hidden, blocks : width and residual blocks.
    embedding : D, length of a token.
    """

    def __init__(self, horizon: int, actions: int, hidden: int, blocks: int, embedding: int) -> None:
        super().__init__()
        self.from_tokens = nn.Linear(embedding, hidden)
        self.from_chunk = nn.Linear(horizon * actions, hidden)
        self.from_level = nn.Linear(LEVEL_FEATURES, hidden)
        self.blocks = nn.Sequential(*(ResidualBlock(hidden) for _ in range(blocks)))
        self.to_prediction = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, horizon * actions))

    def forward(self, chunk: torch.Tensor, level: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(n, K, H, A), (n, K) or (1, 1), (n, L, D) -> (n, K, H, A)."""
        condition = self.from_level(level_features(level)) + self.from_tokens(tokens.mean(dim=1))[:, None]
        prediction: torch.Tensor = self.to_prediction(self.blocks(self.from_chunk(chunk.flatten(2)) + condition))
        return prediction.view_as(chunk)
