"""How much more the sampled chunks spread than usual, in the direction in which they do most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.detectors.learning.inputs import dimensions, samples_of
from workbench.errors import ScoreError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class DirectionalSensitivity:
    """``s = max over u of sqrt(u'Cu / u'C0 u)``, C the covariance of the B sampled chunks of a call, C0 the usual one.

    A sampler maps noise that is alike in all directions to chunks, so that ``sqrt(u'Cu)`` is how sensitive it is along
    u; s is its largest discrepancy from what is usual in nominal successes: the root of the largest generalised
    eigenvalue.  One where it is usual, above where it spreads more along any direction: by more noise, or because it
    wavers between two ways.  C0 is the mean over the calls of the fit split, shrunk by the amount of Ledoit and Wolf
    (J. Multivariate Analysis, 2004).

    The directional sensitivity discrepancy of SafeFlow (Cho et al., arXiv 2603.23983, 2026) filters unstable
    generations; its abstract gives no formula, and this one is ours.

    Parameters
    ----------
    dims : action dimensions that count.
    """

    needs = frozenset({"samples"})

    def __init__(self, dims: Sequence[int] = (0, 1, 2, 3, 4, 5, 6)) -> None:
        self.dims = dimensions("directional_sensitivity", dims)

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """The usual covariance; the seed plays no part."""
        from sklearn.covariance import LedoitWolf

        if not episodes:
            raise ScoreError(
                "score directional_sensitivity was given no episode to fit on: roll out episodes of the fit split"
            )
        deviations = np.concatenate([_deviations(self._samples(episode)) for episode in episodes])
        # Rows whose mean square is the calls' mean variance.
        spread = deviations.reshape(-1, deviations.shape[-1]) * np.sqrt(deviations.shape[1])
        if not np.isfinite(spread).all():
            raise ScoreError("score directional_sensitivity cannot be fitted: a sample of the fit split is not finite")
        if not spread.any():
            raise ScoreError("score directional_sensitivity cannot be fitted: all samples of a call are the same")
        scale = spread.std(axis=0)
        self.scale: Array = np.where(scale > 1e-6 * scale.max(), scale, scale.max())
        variances, axes = np.linalg.eigh(LedoitWolf(assume_centered=True).fit(spread / self.scale).covariance_)
        self.whitening: Array = np.ascontiguousarray(axes.T / np.sqrt(variances)[:, None])

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,)."""
        deviations = _deviations(self._samples(call)) / self.scale
        # B is small: the B x B products of the samples have the eigenvalues of their covariance that are not zero.
        scores = np.empty(len(deviations))
        for scene, rows in enumerate(deviations):
            white = rows @ self.whitening.T
            if not np.isfinite(white).all():
                scores[scene] = np.nan
            else:
                scores[scene] = np.sqrt(max(float(np.linalg.eigvalsh(white @ white.T)[-1]), 0.0))
        return scores

    def state(self) -> dict[str, Array]:
        """Which dimensions count, and the usual covariance."""
        return {"dims": np.array(self.dims), "scale": self.scale, "whitening": self.whitening}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.dims = tuple(int(dim) for dim in state["dims"])
        self.scale, self.whitening = state["scale"], state["whitening"]

    def _samples(self, call: PolicyCall | EpisodeCalls) -> Array:
        """Samples (N, B, H * dims)."""
        samples = samples_of(call, "directional_sensitivity", self.dims)
        return samples.reshape(*samples.shape[:2], -1)


def _deviations(samples: Array) -> Array:
    """Deviations (N, B, D) from each call's mean, such that the sum of their squares is the unbiased variance."""
    deviations: Array = (samples - samples.mean(axis=1, keepdims=True)) / np.sqrt(samples.shape[1] - 1)
    return deviations
