"""The network of a corrector: from one policy call to whether it is failing, how, and what would bring it back."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from workbench.policies.networks.calls import CallNetwork


@dataclasses.dataclass(frozen=True)
class Said:
    """What it says of n calls.

    Attributes
    ----------
    failing : (n,) logit of whether the episode is lost to the policy.
    mode : (n, M) logits of the failure mode.
    motion : (n, 6) translation and rotation vector, in units of what corrections in training had.
    fingers : (n,) logit of whether they are to close.
    """

    failing: torch.Tensor
    mode: torch.Tensor
    motion: torch.Tensor
    fingers: torch.Tensor


class CorrectorNetwork(CallNetwork):
    """Four linear heads.

    Parameters
    ----------
    modes : M; the others are as of :class:`CallNetwork`.
    """

    def __init__(self, inputs: int, modes: int, hidden: int = 128, blocks: int = 2) -> None:
        super().__init__(inputs, hidden, blocks)
        self.failing, self.mode = nn.Linear(hidden, 1), nn.Linear(hidden, modes)
        self.motion, self.fingers = nn.Linear(hidden, 6), nn.Linear(hidden, 1)

    def forward(self, inputs: torch.Tensor) -> Said:
        """Normalised inputs (n, F)."""
        hidden = self.read(inputs)
        return Said(
            self.failing(hidden).squeeze(-1), self.mode(hidden), self.motion(hidden), self.fingers(hidden).squeeze(-1)
        )
