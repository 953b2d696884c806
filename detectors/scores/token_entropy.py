"""How undecided the policy was between tokens."""

from __future__ import annotations

from workbench.detectors.learning.tokens import TokenScore


class TokenEntropy(TokenScore):
    """``max_i H_i`` or its mean, H_i the entropy of the distribution from which the i-th token was chosen.

    Two of the baselines of SAFE (Gu et al., NeurIPS 2025).  Reads the signal ``token_entropies`` (N, L) in nats.
    """

    name = "token_entropy"
    signal = "token_entropies"
    sign = 1.0
