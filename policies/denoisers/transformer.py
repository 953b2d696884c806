"""Denoiser in which the actions of a chunk attend to one another and to what is seen.

Sources: one token an action and cross-attention to the observation after Chi et al., Diffusion Policy, RSS 2023; the
level by adaptive layer norm after Peebles and Xie, Scalable Diffusion Models with Transformers, ICCV 2023; pre-norm
after Xiong et al., ICML 2020.
"""

from __future__ import annotations

import torch
from torch import nn

from workbench.policies.networks import LEVEL_FEATURES, level_features

HEADS = 4


class ChunkTransformer(nn.Module):
    """Layers of self-attention along the horizon, cross-attention to the tokens, and a feed-forward network.

    Parameters
    ----------
    horizon, actions : H and A.
    hidden : twice the width of an action's token; a multiple of 8.
    blocks : layers.
    embedding : D, length of a token of the observation.
    """

    def __init__(self, horizon: int, actions: int, hidden: int, blocks: int, embedding: int) -> None:
        super().__init__()
        width = hidden // 2
        self.from_action = nn.Linear(actions, width)
        self.position = nn.Parameter(0.02 * torch.randn(horizon, width))
        self.from_level = nn.Sequential(nn.Linear(LEVEL_FEATURES, width), nn.SiLU())
        self.layers = nn.ModuleList(Layer(width, embedding) for _ in range(blocks))
        self.to_prediction = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, actions))

    def forward(self, chunk: torch.Tensor, level: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(n, K, H, A), (n, K) or (1, 1), (n, L, D) -> (n, K, H, A)."""
        x = self.from_action(chunk) + self.position
        at = self.from_level(level_features(level))[:, :, None]
        for layer in self.layers:
            x = layer(x, at, tokens)
        prediction: torch.Tensor = self.to_prediction(x)
        return prediction


class Layer(nn.Module):
    """One layer; what is normalised is scaled and shifted by the level."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.from_level = nn.Linear(width, 4 * width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.among_actions = Attention(width, width)
        self.to_observation = Attention(width, embedding)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor, level: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(n, K, H, width), level (n, K, 1, width) or (1, 1, 1, width), tokens (n, L, D) -> (n, K, H, width)."""
        first, second, third = self.norms
        scale, shift, later_scale, later_shift = self.from_level(level).chunk(4, dim=-1)
        inner = (first(x) * (1 + scale) + shift).flatten(0, 1)
        x = x + self.among_actions(inner, inner).view_as(x)
        # All actions of all K chunks ask at once, so the tokens of a scene are there once.
        x = x + self.to_observation(second(x).flatten(1, 2), tokens).view_as(x)
        result: torch.Tensor = x + self.feed_forward(third(x) * (1 + later_scale) + later_shift)
        return result


class Attention(nn.Module):
    """Scaled dot-product attention with several heads (Vaswani et al., NeurIPS 2017)."""

    def __init__(self, width: int, source: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key_and_value = nn.Linear(source, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """(n, Q, width) that ask, (n, S, source) that are asked -> (n, Q, width)."""
        key, value = self.key_and_value(source).chunk(2, dim=-1)
        heads = [part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in (self.query(x), key, value)]
        found = nn.functional.scaled_dot_product_attention(*heads)
        result: torch.Tensor = self.out(found.transpose(1, 2).flatten(2))
        return result
