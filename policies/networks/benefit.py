"""The network of a predicted benefit: from one policy call to the chances of an arm and of the placebo."""

from __future__ import annotations

import torch
from torch import nn

from workbench.policies.networks.calls import CallNetwork


class BenefitNetwork(CallNetwork):
    """Two chances: the arm's and the placebo's; parameters as of :class:`CallNetwork`."""

    def __init__(self, inputs: int, hidden: int, blocks: int) -> None:
        super().__init__(inputs, hidden, blocks)
        self.chances = nn.Linear(hidden, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (n, 2) from normalised inputs (n, F)."""
        logits: torch.Tensor = self.chances(self.read(inputs))
        return logits
