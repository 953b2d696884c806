"""How curved the path is on which a flow takes the policy's embedding to noise."""

from __future__ import annotations

import torch

from workbench.detectors.learning.embedding_flow import EmbeddingFlow

STEPS = 5


class FlowCurvature(EmbeddingFlow):
    """Standard deviation of the velocity over five Euler steps from an embedding to noise, mean over its dimensions.

    Consistency flow matching (CFM) of Xu et al. (FAIL-Detect, RSS 2025), whose training draws the paths of familiar
    embeddings straight: the consistency loss counts for a hundredth of the matching loss (its weight is the ratio of
    the two).  What differs from the published code: an embedding starts at flow time 0, where training had the data;
    theirs starts it at the noise's end.
    """

    name = "flow_curvature"
    consistency = 0.01

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (N,) in standard deviations of an embedding's number."""
        velocities = []
        for step in range(STEPS):
            velocities.append(self.field(x, x.new_full((len(x),), step / STEPS)))
            x = x + velocities[-1] / STEPS
        return torch.stack(velocities).std(dim=0, correction=0).mean(dim=1)
