"""How many control steps the robot is behind the schedule of the fit split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from workbench.detectors.learning.inputs import embedding_of, fit_embeddings, standardisation
from workbench.detectors.learning.networks import load_weights, weights_of
from workbench.detectors.learning.sequences import dense, descend, padded
from workbench.errors import ConfigError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record

RATE = 3e-3


class Progress:
    """``s(t) = t - L p(e)``: elapsed control steps less those that the task's progress so far usually takes.

    The second half of Sentinel (Agia et al., "Unpacking Failure Modes of Generative Policies", CoRL 2024) asks a
    vision-language model over the video whether the task advances; here a small network reads progress p, the share of
    the episode that is done, from the policy's embedding.  It learns it from successes: ``t / length`` of a call, with
    the end of the last executed chunk for the length.  L is the median length of those episodes.  Below zero the robot
    is ahead.  A robot that stalls falls behind by one control step per control step, however familiar what it sees.

    Parameters
    ----------
    width : units of the hidden layer.
    epochs : passes over the fit split.
    """

    needs = frozenset({"embedding"})

    def __init__(self, width: int = 64, epochs: int = 200) -> None:
        if width < 1 or epochs < 1:
            raise ConfigError(f"width={width} and epochs={epochs} of score progress must be at least 1")
        self.width, self.epochs = width, epochs

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Regress progress; about a second for 80 episodes on one core."""
        self.mean, self.std = standardisation(fit_embeddings(episodes, "progress"))
        lengths = [int(episode.step[-1]) + episode.execute for episode in episodes]
        self.length = float(np.median(lengths))
        self.network = self._network(len(self.mean), torch.Generator().manual_seed(seed))
        values, real = padded([self._standardised(episode) for episode in episodes])
        done, _ = padded([(e.step / length)[:, None] for e, length in zip(episodes, lengths, strict=True)])
        share = real / real.sum()

        def loss() -> torch.Tensor:
            return (share * (torch.sigmoid(self.network(values)) - done)[..., 0].square()).sum()

        descend(self.network.parameters(), loss, self.epochs, RATE)
        self.network = self.network.double()

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,) in control steps."""
        with torch.no_grad():
            done: Array = torch.sigmoid(self.network(torch.as_tensor(self._standardised(call))))[:, 0].numpy()
        return np.asarray(call.step, np.float64) - self.length * done

    def state(self) -> dict[str, Array]:
        """Statistics, usual length and weights."""
        own = {"mean": self.mean, "std": self.std, "length": np.array([self.length])}
        return {**own, **weights_of("network", self.network)}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`; sizes come from the weights, not from the arguments."""
        self.mean, self.std, self.length = state["mean"], state["std"], float(state["length"][0])
        self.width = len(state["network.0.weight"])
        self.network = self._network(len(self.mean), None)
        load_weights("network", self.network, state)
        self.network = self.network.double()

    def _network(self, size: int, random: torch.Generator | None) -> nn.Sequential:
        return nn.Sequential(dense(size, self.width, random), nn.ReLU(), dense(self.width, 1, random))

    def _standardised(self, call: PolicyCall | EpisodeCalls) -> Array:
        values: Array = (embedding_of(call, "progress") - self.mean) / self.std
        return values
