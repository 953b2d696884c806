"""What a policy says of its own call, read as a score: its denoising loss, how well it draws its chunk again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.errors import ScoreError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record

REMEDY = {
    "denoising_loss": "roll out with rollout.signals=[denoising_loss] and a policy that denoises (flow, diffusion)",
    "reconstruction": "roll out with rollout.signals=[reconstruction] and a policy that denoises (flow, diffusion)",
    "token_logprobs": "roll out with rollout.signals=[token_logprobs] and a policy server that says how probable its "
    "tokens were (docs/servers.md)",
    "token_entropies": "roll out with rollout.signals=[token_entropies] and a policy server that says the entropies "
    "of its tokens (docs/servers.md)",
}
"""How to get a signal."""


class Signal:
    """One number of the policy's own, as it is: higher is worse.

    ``denoising_loss``: the training loss of the drawn chunk under what is seen (Diff-DAgger, Lee et al., ICRA 2025);
    theirs is compared with that of expert actions of the training set, ours with that of calibration episodes, on
    drawn chunks like these.  ``reconstruction``: how far a half noised chunk is from itself when drawn again.  Both are
    computed by :meth:`workbench.policies.chunks.chunk_policy.ChunkPolicy.plan`, in the policy's normalised actions.

    Parameters
    ----------
    signal : which one: a name among the policy's ``signals``, of one number a call.
    """

    def __init__(self, signal: str) -> None:
        self.signal = signal
        self.needs = frozenset({f"signals/{signal}"})

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Nothing is learnt; episodes that it could not score are refused already here."""
        for episode in episodes:
            number_of(episode, self.signal)

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,)."""
        return number_of(call, self.signal)

    def state(self) -> dict[str, Array]:
        """Nothing."""
        return {}

    def load(self, state: Mapping[str, Array]) -> None:
        """Nothing to load."""


def signal_of(call: PolicyCall | EpisodeCalls, score: str, signal: str) -> Array:
    """A signal (N, ...) of a call, float64."""
    if signal not in call.signals:
        remedy = REMEDY.get(signal, f"roll out with rollout.signals=[{signal}] and a policy that gives it")
        raise ScoreError(f"score {score} needs the policy's signal {signal}, which these calls do not have: {remedy}")
    return np.asarray(call.signals[signal], np.float64)


def number_of(call: PolicyCall | EpisodeCalls, signal: str) -> Array:
    """A signal of one number a call (N,), float64, for the score that is called as it is."""
    values = signal_of(call, signal, signal)
    if values.ndim != 1:
        raise ScoreError(
            f"score {signal} needs one number a call, and the policy's signal {signal} has {list(values.shape[1:])}"
        )
    return values
