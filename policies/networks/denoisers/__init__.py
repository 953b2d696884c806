"""Denoisers: networks from a noisy chunk, its noise level and what is seen to what a process wants to know of it.

All are made alike, ``Denoiser(horizon, actions, hidden, blocks, embedding)``, and called alike: noisy chunks
(n, K, H, A), noise levels (n, K), or (1, 1) where all are at the same one as they are while sampling, and tokens
(n, L, D) of n observations -> prediction (n, K, H, A).  What belongs to an observation alone is computed n times and
not n K times, and what belongs to a level alone as often as there are levels.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from workbench.errors import ConfigError, UnknownNameError
from workbench.policies.networks.denoisers.mlp import ResidualMlp
from workbench.policies.networks.denoisers.transformer import ChunkTransformer
from workbench.policies.networks.denoisers.unet import ChunkUnet

DENOISERS: Mapping[str, type[nn.Module]] = {"mlp": ResidualMlp, "unet": ChunkUnet, "transformer": ChunkTransformer}
HORIZON_MULTIPLE: Mapping[str, int] = {"unet": 4}
"""The U-Net halves the horizon twice."""
HIDDEN_MULTIPLE: Mapping[str, int] = {"unet": 32, "transformer": 8}
"""Four groups of channels at an eighth of the width, four heads at half of it."""


def check_denoiser(name: str, horizon: int, hidden: int) -> None:
    """Refuse a denoiser that does not exist (UnknownNameError), or that cannot have these sizes (ConfigError)."""
    if name not in DENOISERS:
        raise UnknownNameError("policy.denoiser", name, DENOISERS)
    for setting, value, multiples in (
        ("horizon", horizon, HORIZON_MULTIPLE),
        ("hidden", hidden, HIDDEN_MULTIPLE),
    ):
        multiple = multiples.get(name, 1)
        if value % multiple:
            raise ConfigError(
                f"policy.{setting}={value} must be a multiple of {multiple} for policy.denoiser={name}; "
                f"ask for {multiple * max(1, round(value / multiple))}, or for policy.denoiser=mlp"
            )
