"""How far the policy's embedding is from where a flow would take a familiar one."""

from __future__ import annotations

import torch

from workbench.detectors.learning.embedding_flow import EmbeddingFlow


class LogpZO(EmbeddingFlow):
    """``s = || e + v(e, 0) ||^2``: the squared length of the noise that one Euler step finds behind an embedding.

    Xu et al. (FAIL-Detect, RSS 2025), with data at flow time 0.  There the best velocity is the mean noise less the
    data, so a familiar embedding lands near 0, and what is left is how badly the network extrapolates.

    What differs from its re-implementation in FIPER (Römer et al., NeurIPS 2025): the network is non-linear in e.
    Theirs has no non-linearity on the path of e, so that ``e + v(e, 0)`` is affine and the score a quadratic form.
    """

    name = "logpzo"

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (N,)."""
        scores: torch.Tensor = (x + self.field(x, x.new_zeros(len(x)))).square().sum(dim=1)
        return scores
