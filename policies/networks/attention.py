"""Attention among tokens (Vaswani et al., NeurIPS 2017), with the norm before each part (Xiong et al., ICML 2020).

Not ``nn.TransformerEncoderLayer``: without gradients that takes a fused path with other last bits than with them, so
that a call led by a reward would not be the call that is led nowhere; and its queries cannot have a width of their own.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

HEADS = 4


class Attention(nn.Module):
    """Queries (n, Q, width) look at tokens (n, L, seen), in :data:`HEADS` ways; ``seen`` is the width unless given."""

    def __init__(self, width: int, seen: int | None = None) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(seen or width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """What the queries found, (n, Q, width)."""
        query = self._by_head(self.query(queries))
        key, value = (self._by_head(part) for part in self.key_value(tokens).chunk(2, dim=-1))
        found = scaled_dot_product_attention(query, key, value)
        result: torch.Tensor = self.out(found.transpose(1, 2).flatten(2))
        return result

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:2], HEADS, -1).transpose(1, 2)


class AttentionBlock(nn.Module):
    """Self-attention and a feed-forward part, each with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, L, D) -> (n, L, D)."""
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, normed)
        result: torch.Tensor = tokens + self.feed_forward(tokens)
        return result
