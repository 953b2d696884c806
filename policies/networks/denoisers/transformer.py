"""Denoiser in which the actions of a chunk attend to one another and to what is seen and told.

Sources: one token an action and cross-attention to the observation after Chi et al., Diffusion Policy, RSS 2023; the
level by adaptive layer norm with gates that begin closed (adaLN-Zero) after Peebles and Xie, Scalable Diffusion Models
with Transformers, ICCV 2023; pre-norm after Xiong et al., ICML 2020.
"""

from __future__ import annotations

import torch
from torch import nn

from workbench.policies.networks.attention import Attention
from workbench.policies.networks.layers import LEVEL_FEATURES, level_features


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
        self.position = nn.Parameter(0.1 * torch.randn(horizon, width))
        self.from_level = nn.Sequential(nn.Linear(LEVEL_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.from_tokens = nn.Linear(embedding, width)
        self.layers = nn.ModuleList(Layer(width, embedding) for _ in range(blocks))
        self.to_prediction = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, actions))

    def forward(self, chunk: torch.Tensor, level: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(n, K, H, A), (n, K) or (1, 1), (n, L, D) -> (n, K, H, A)."""
        condition = self.from_level(level_features(level)) + self.from_tokens(tokens.mean(dim=1))[:, None]
        x = self.from_action(chunk) + self.position
        for layer in self.layers:
            x = layer(x, condition[:, :, None], tokens)
        prediction: torch.Tensor = self.to_prediction(x)
        return prediction


class Layer(nn.Module):
    """One layer; the condition scales and shifts what its first and last part read, and gates what they add."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=affine) for affine in (False, True, False))
        self.among_actions = Attention(width)
        self.to_observation = Attention(width, embedding)
        self.feed_forward = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor, condition: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(n, K, H, width), condition (n, K, 1, width), tokens (n, L, D) -> (n, K, H, width)."""
        first, second, third = self.norms
        modulation = self.modulation(nn.functional.silu(condition))
        scale, shift, gate, later_scale, later_shift, later_gate = modulation.chunk(6, dim=-1)
        inner = (first(x) * (1 + scale) + shift).flatten(0, 1)
        x = x + gate * self.among_actions(inner, inner).view_as(x)
        # All actions of all K chunks ask at once, so the tokens of a scene are there once.
        x = x + self.to_observation(second(x).flatten(1, 2), tokens).view_as(x)
        result: torch.Tensor = x + later_gate * self.feed_forward(third(x) * (1 + later_scale) + later_shift)
        return result
