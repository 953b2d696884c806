"""What networks over single policy calls begin with."""

from __future__ import annotations

import torch
from torch import nn

from workbench.policies.networks.layers import ResidualBlock


class CallNetwork(nn.Module):
    """Residual blocks over one vector of inputs, behind which heads stand.

    Parameters
    ----------
    inputs : size of the vector.
    hidden, blocks : width and number of blocks.
    """

    def __init__(self, inputs: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.blocks = nn.ModuleList(ResidualBlock(hidden) for _ in range(blocks))

    def read(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalised inputs (n, F) -> (n, hidden)."""
        hidden = self.enter(inputs)
        for block in self.blocks:
            hidden = block(hidden)
        return nn.functional.silu(hidden)
