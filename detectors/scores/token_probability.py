"""How improbable the tokens were that the policy chose."""

from __future__ import annotations

from workbench.detectors.learning.tokens import TokenScore


class TokenProbability(TokenScore):
    """``max_i -log p_i`` or its mean, p_i the probability of the i-th chosen token among the action's tokens.

    Two of the baselines of SAFE (Gu et al., NeurIPS 2025).  Reads the signal ``token_logprobs`` (N, L) in nats.
    """

    name = "token_probability"
    signal = "token_logprobs"
    sign = -1.0
