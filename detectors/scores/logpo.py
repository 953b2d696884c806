"""How improbable the policy's embedding is, by the density of a flow."""

from __future__ import annotations

import math

import torch

from workbench.detectors.learning.embedding_flow import EmbeddingFlow
from workbench.detectors.learning.flow_network import velocity_and_divergence

STEPS = 3


class LogpO(EmbeddingFlow):
    """``s = -log p(e)``: minus the log density of the noise that a flow makes of e, minus the trace along the way.

    ``log p(e) = log N(x_1; 0, I) + integral of tr(dv/dx)(x_t, t) dt``, x_0 = e (Chen et al., Neural Ordinary
    Differential Equations, NeurIPS 2018, eq. 8; as a failure score: Xu et al., FAIL-Detect, RSS 2025).

    What differs from the latter: three midpoint steps instead of one Euler step, since at flow time 0 the best velocity
    is ``-e`` whatever the data, so one step knows no density; and the exact trace instead of a finite difference along
    one random probe, which for embeddings of 64 numbers costs 64 tangents of a small network.  With whatever unit an
    embedding came in, the density is that of the standardised one.
    """

    name = "logpo"

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (N,) in nats."""
        change = x.new_zeros(len(x))
        for step in range(STEPS):
            time = x.new_full((len(x),), step / STEPS)
            halfway = x + self.field(x, time) / (2 * STEPS)
            velocity, divergence = velocity_and_divergence(self.field, halfway, time + 1 / (2 * STEPS))
            x, change = x + velocity / STEPS, change + divergence / STEPS
        normal = -0.5 * (x.square().sum(dim=1) + x.shape[1] * math.log(2 * math.pi))
        return -(normal + change)
