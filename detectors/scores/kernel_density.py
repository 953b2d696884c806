"""How little the fit split says about the policy's embedding: the posterior variance of a Gaussian process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.detectors.learning.inputs import embedding_of, fit_embeddings, standardisation
from workbench.errors import ConfigError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record

REGULARISATION = 1e-5
"""lambda of the formula."""


class KernelDensity:
    """``s = 1 - k_e^T (K + m lambda I)^-1 k_e``, between 0 (well known) and 1 (like nothing in the fit split).

    k is the Gaussian kernel of standardised embeddings, whose bandwidth is the median distance between two calls of the
    fit split, and lambda = 1e-5; the observation part of KernCD (a third party's re-run of FIPER's benchmark; the
    variance is that of Rasmussen and Williams, 2006, eq. 2.26).  What differs: embeddings are standardised.

    Where the fit split has more than ``calls`` calls, whole episodes are taken in an order drawn from the seed until
    the next would exceed them, so that :meth:`leave_one_out` holds for all that are in it.

    Parameters
    ----------
    calls : m at the most; time and memory of the fit grow with m^3 and m^2.
    """

    needs = frozenset({"embedding"})

    def __init__(self, calls: int = 2000) -> None:
        if calls < 2:
            raise ConfigError(f"calls={calls} of score kernel_density must be at least 2")
        self.calls = calls

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Statistics of all episodes, and the kernel between the calls that are kept."""
        from scipy.spatial.distance import pdist  # type: ignore[import-untyped,unused-ignore]

        self.mean, self.std = standardisation(fit_embeddings(episodes, "kernel_density"))
        kept = self._kept(episodes, seed)
        values = [(embedding_of(episode, "kernel_density") - self.mean) / self.std for episode in kept]
        self.uids = [episode.uid for episode in kept]
        self.ends: Array = np.cumsum([len(part) for part in values])
        self.known: Array = np.concatenate(values)
        apart = pdist(self.known)
        self.bandwidth = float(np.median(apart[apart > 0]))
        self._settle()

    def _kept(self, episodes: Sequence[EpisodeCalls], seed: int) -> list[EpisodeCalls]:
        if sum(len(episode.step) for episode in episodes) <= self.calls:
            return list(episodes)
        order = np.random.default_rng(seed).permutation(len(episodes))
        fits = np.cumsum([len(episodes[i].step) for i in order]) <= self.calls
        return [episodes[i] for i in order[: max(int(fits.sum()), 1)]]

    def _settle(self) -> None:
        """The square root of the regularised kernel, with which a score is one matrix product and never above 1."""
        self._whitening: Array = np.linalg.inv(np.linalg.cholesky(self._regularised()))

    def _regularised(self) -> Array:
        """K + m lambda I, (m, m)."""
        count = len(self.known)
        return self._kernel(self.known) + count * REGULARISATION * np.eye(count)

    def _kernel(self, values: Array) -> Array:
        """Kernel (N, m) between values (N, D) and what is known."""
        from scipy.spatial.distance import cdist

        kernel: Array = np.exp(-cdist(values, self.known, "sqeuclidean") / (2 * self.bandwidth**2))
        return kernel

    def leave_one_out(self) -> dict[str, Array]:
        """Scores (C,) of every episode of the fit that is kept, as if it alone had not been in it; uid -> scores.

        In closed form: with B = (K + m lambda I)^-1 and E the rows of an episode, ``s_E = diag((B_EE)^-1) - m lambda``.
        Statistics, bandwidth and m lambda stay those of the whole fit split.
        """
        inverse = self._whitening.T @ self._whitening
        scores = {}
        for uid, first, last in zip(self.uids, [0, *self.ends[:-1]], self.ends, strict=True):
            own = np.linalg.inv(inverse[first:last, first:last])
            scores[uid] = np.diag(own) - len(self.known) * REGULARISATION
        return scores

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,), between 0 and 1."""
        kernel = self._kernel((embedding_of(call, "kernel_density") - self.mean) / self.std)
        variance: Array = 1.0 - ((kernel @ self._whitening.T) ** 2).sum(axis=1)
        return variance

    def state(self) -> dict[str, Array]:
        """Statistics, bandwidth and the embeddings that are kept, with whose they are; the rest follows."""
        whose = np.frombuffer("\n".join(self.uids).encode(), np.uint8)
        learnt = {"known": self.known, "bandwidth": np.array([self.bandwidth]), "ends": self.ends, "uids": whose}
        return {"mean": self.mean, "std": self.std, **learnt}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.mean, self.std, self.known = state["mean"], state["std"], state["known"]
        self.bandwidth = float(state["bandwidth"][0])
        self.ends, self.uids = state["ends"], state["uids"].tobytes().decode().split("\n")
        self._settle()
