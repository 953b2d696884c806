"""Supervised: what can still become of the episode, learnt from values that were measured by branching."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from workbench.detectors.scores.inputs import embedding_of, fit_embeddings, standardisation
from workbench.detectors.scores.mahalanobis import Mahalanobis
from workbench.detectors.scores.networks import load_weights, weights_of
from workbench.detectors.scores.sequences import descend, outcomes
from workbench.errors import ConfigError, ScoreError
from workbench.types import Array, EpisodeCalls, EpisodeTruth, PolicyCall, Record

FOLDS = 4
RATE = 2e-2
RIDGE = 0.1
REGULARISATION = 1e-3
LATE = 0.3
"""Weight of the second head's loss: it shapes the hidden layer, the score is the first head's."""
EVIDENCE = 3
"""How many kinds of evidence there are; the network also sees each one's running mean."""
KEEP = 0.5
"""Share of the running mean that is kept at a call."""


class Viability:
    """``1 - V``: probability that the policy fails from here, an upper bound over an ensemble of networks.

    **What it learns from.**  SAFE and its kin label every call of a failed episode as failing, so an episode lost by
    bad luck at its end teaches that its beginning was bad.  Here a call's target is the *measured* value V(t): of n
    branches from that very state s succeeded, and the loss is their binomial likelihood, ``-s log V - (n - s) log(1 -
    V)``.  The episode itself is one more branch, whose one draw its C calls share (weight 1/C each); that is all there
    is where no value was measured.  A second head on the same hidden layer learns whether a call is at or past the
    point of no return (calls of successes are before it; failures without a measured one are left out).

    **What it reads.**  Perturbations that nobody trained on do not move the embedding as the known ones did, so the
    network never sees the embedding itself, but three kinds of evidence that need no failure to be computed:

    - novelty: logarithm of the Mahalanobis distance of the embedding from those of successes;
    - delay: control steps behind the schedule, elapsed ones less those that the progress made usually takes, with
      progress read linearly (ridge) from the embedding as in :class:`workbench.detectors.scores.progress.Progress`;
    - inconsistency: logarithm of the difference between this chunk and the last one where both plan the same steps.

    Each comes as it is and as a running mean, beside elapsed time and progress as context.  For the successes that this
    evidence is fitted on it is computed by cross-fitting (episodes of a fold by what was fitted without them): in the
    fit split it would otherwise look smaller than it will ever be again.

    **What it may say.**  V is monotone: more evidence never raises it, whatever the context, because the weights of
    evidence are positive (after Sill, "Monotonic Networks", NeurIPS 1997).  A fault of a family never trained on can
    thus not be read as a good sign by an accident of the training set, and novelty needs no place beside the score.
    Each member learns from its own bootstrap of the episodes, and the score is the quantile ``caution`` of the members'
    probabilities of losing; a quantile keeps the monotony that mean plus deviation would lose.

    Parameters
    ----------
    width : units of the hidden layer.
    members : networks in the ensemble.
    epochs : passes over the fit split.
    caution : quantile over the members, 0.5 for their median.
    """

    needs = frozenset({"embedding"})
    supervised = True

    def __init__(self, width: int = 16, members: int = 8, epochs: int = 200, caution: float = 0.8) -> None:
        if min(width, members, epochs) < 1 or not 0 <= caution <= 1:
            raise ConfigError(
                f"width={width}, members={members} and epochs={epochs} of score viability must be at least 1, "
                f"and caution={caution} must lie in 0..1"
            )
        self.width, self.members, self.epochs, self.caution = width, members, epochs, caution

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int, truths: Sequence[EpisodeTruth]) -> None:
        """Fit the evidence on successes and the networks on everything; seconds for 300 episodes on one core."""
        outcomes(episodes, truths, "viability")
        fit_embeddings(episodes, "viability")
        rows = self._fit_evidence(episodes, truths)
        values = np.concatenate(rows)
        self.mean, self.std = standardisation(values)
        episode = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
        random = torch.Generator().manual_seed(seed)
        self.networks = _MonotoneNetworks(self.members, values.shape[1] - 2 * EVIDENCE, self.width, random)
        # Which episodes each member learns from: drawn with replacement, (M, rows).
        drawn = torch.randint(len(rows), (self.members, len(rows)), generator=random)
        often = torch.stack([torch.bincount(draw, minlength=len(rows)) for draw in drawn])[:, episode]
        self._learn(self._standardised(values).float(), _targets(episodes, truths), often.float())
        self.networks.double()

    def _learn(self, inputs: torch.Tensor, wanted: _Targets, often: torch.Tensor) -> None:
        wins, trials, late, known = (torch.as_tensor(part, dtype=torch.float32) for part in wanted)
        log, entropy = nn.functional.logsigmoid, nn.functional.binary_cross_entropy_with_logits

        def loss() -> torch.Tensor:
            lost, past = self.networks(inputs).unbind(dim=-1)
            likelihood = wins * log(-lost) + (trials - wins) * log(lost)
            value = -(often * likelihood).sum(dim=1) / (often * trials).sum(dim=1)
            returned = (often * known * entropy(past, late.expand_as(past), reduction="none")).sum(dim=1)
            returned = returned / (often * known).sum(dim=1).clamp(min=1.0)
            return (value + LATE * returned).sum() + REGULARISATION * self.networks.squares()

        descend(self.networks.parameters(), loss, self.epochs, RATE)

    def _fit_evidence(self, episodes: Sequence[EpisodeCalls], truths: Sequence[EpisodeTruth]) -> list[Array]:
        """Inputs (C_i, F) of every episode; those of the successes that evidence is fitted on by cross-fitting."""
        familiar = _familiar(truths)
        rows: dict[int, Array] = {}
        for fold in range(FOLDS):
            held_out = familiar[fold::FOLDS]
            partly = _Evidence().fit(episodes[i] for i in familiar if i not in held_out)
            rows |= {i: partly.along(episodes[i]) for i in held_out}
        self.evidence = _Evidence().fit(episodes[i] for i in familiar)
        return [rows[i] if i in rows else self.evidence.along(episode) for i, episode in enumerate(episodes)]

    def begin(self) -> Record:
        """No chunk to compare with, no running mean."""
        return self.evidence.begin()

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,) between 0 and 1."""
        with torch.no_grad():
            odds = self.networks(self._standardised(self.evidence.read(memories, call)))[..., 0]
            scores: Array = torch.sigmoid(torch.quantile(odds, self.caution, dim=0)).numpy()
        return scores

    def state(self) -> dict[str, Array]:
        """Statistics, what evidence was fitted, weights of all members."""
        own = {"mean": self.mean, "std": self.std, "caution": np.array([self.caution])}
        return {**own, **self.evidence.state(), **weights_of("networks", self.networks)}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`; sizes come from the weights, not from the arguments."""
        self.mean, self.std, self.caution = state["mean"], state["std"], float(state["caution"][0])
        self.members, contexts, self.width = state["networks.context"].shape
        self.evidence = _Evidence()
        self.evidence.load(state)
        self.networks = _MonotoneNetworks(self.members, contexts, self.width, torch.Generator())
        load_weights("networks", self.networks, state)
        self.networks.double()

    def _standardised(self, values: Array) -> torch.Tensor:
        return torch.as_tensor((values - self.mean) / self.std)


class _Evidence:
    """What tells of trouble without failures to learn from, fitted on successes."""

    def fit(self, episodes: Iterable[EpisodeCalls]) -> _Evidence:
        known = list(episodes)
        self.novelty = Mahalanobis()
        self.novelty.fit(known, 0)
        lengths = [int(episode.step[-1]) + episode.execute for episode in known]
        self.length = float(np.median(lengths))
        inputs = np.concatenate([self._inputs(episode) for episode in known])
        done = np.concatenate([episode.step / length for episode, length in zip(known, lengths, strict=True)])
        self.middle = float(done.mean())
        gram = inputs.T @ inputs + RIDGE * len(inputs) * np.eye(inputs.shape[1])
        self.slope: Array = np.linalg.solve(gram, inputs.T @ (done - self.middle))
        spread = np.concatenate([episode.chunk.reshape(-1, episode.chunk.shape[-1]) for episode in known]).std(axis=0)
        self.scale = np.where(spread > 0, spread, 1.0).astype(np.float64)
        return self

    def begin(self) -> Record:
        return {"chunk": None, "step": 0, "mean": None}

    def read(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Evidence, its running mean, elapsed time and progress: (N, 2 EVIDENCE + 2)."""
        done = np.clip(self._inputs(call) @ self.slope + self.middle, 0.0, 1.0)
        novelty = np.log(self.novelty.update(memories, call) + 1e-6)
        elapsed = np.asarray(call.step, np.float64) / self.length
        apart = np.log(self._inconsistency(memories, call) + 1e-2)
        now = np.stack([novelty, elapsed - done, apart], axis=1)
        for memory, row, chunk, step in zip(memories, now, call.chunk, call.step, strict=True):
            memory["mean"] = row if memory["mean"] is None else KEEP * memory["mean"] + (1.0 - KEEP) * row
            memory["chunk"], memory["step"] = chunk, int(step)
        running = np.stack([memory["mean"] for memory in memories])
        return np.concatenate([now, running, elapsed[:, None], done[:, None]], axis=1)

    def along(self, episode: EpisodeCalls) -> Array:
        """What :meth:`read` gives along an episode, (C, 2 EVIDENCE + 2)."""
        memories = [self.begin()]
        calls = (
            PolicyCall(episode.step[c : c + 1], episode.chunk[c : c + 1], None, each[None], episode.execute)
            for c, each in enumerate(embedding_of(episode, "viability"))
        )
        return np.concatenate([self.read(memories, call) for call in calls])

    def _inputs(self, call: PolicyCall | EpisodeCalls) -> Array:
        inputs: Array = (embedding_of(call, "viability") - self.novelty.mean) / self.novelty.std
        return inputs

    def _inconsistency(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Root mean squared difference from the chunk before on the steps that both plan, mean over the action, (N,).

        In units of the action's standard deviation; zero at the first call, and where nothing overlaps.
        """
        chunk = np.asarray(call.chunk, np.float64)
        # At the first call a chunk is compared with itself: zero, but still NaN if it holds one.
        before = np.stack([own if m["chunk"] is None else m["chunk"] for m, own in zip(memories, chunk, strict=True)])
        since = [m["step"] if m["chunk"] is not None else now for m, now in zip(memories, call.step, strict=True)]
        at = np.arange(chunk.shape[1]) + (call.step - np.array(since))[:, None]
        both = (at < chunk.shape[1])[..., None]
        earlier = np.take_along_axis(before, np.minimum(at, chunk.shape[1] - 1)[..., None], axis=1)
        squared = np.where(both, (earlier - chunk) ** 2, 0.0).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
        apart: Array = (np.sqrt(squared) / self.scale).mean(axis=1)
        return apart

    def state(self) -> dict[str, Array]:
        own = {"slope": self.slope, "scale": self.scale, "schedule": np.array([self.length, self.middle])}
        return {**own, **{f"novelty.{name}": part for name, part in self.novelty.state().items()}}

    def load(self, state: Mapping[str, Array]) -> None:
        self.slope, self.scale = state["slope"], state["scale"]
        self.length, self.middle = (float(part) for part in state["schedule"])
        self.novelty = Mahalanobis()
        start = "novelty."
        self.novelty.load({key.removeprefix(start): part for key, part in state.items() if key.startswith(start)})


class _MonotoneNetworks(nn.Module):
    """M networks side by side: inputs (R, F) -> (M, R, 2) log odds that rise with the first 2 EVIDENCE inputs.

    One hidden layer of hyperbolic tangents and a direct path; what is applied to evidence is the softplus of a weight.
    """

    def __init__(self, members: int, contexts: int, width: int, random: torch.Generator) -> None:
        super().__init__()

        def drawn(*shape: int, around: float = 0.0) -> nn.Parameter:
            return nn.Parameter(around + torch.rand(shape, generator=random) - 0.5)

        evidence = 2 * EVIDENCE
        self.inward = drawn(members, evidence, width, around=-2.0)
        self.context = drawn(members, contexts, width)
        self.shift = drawn(members, 1, width)
        self.outward = drawn(members, width, 2, around=-2.0)
        self.direct = drawn(members, evidence, 2, around=-3.0)
        self.offset = nn.Parameter(torch.zeros(members, 1, 2))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        evidence, context = inputs[:, : 2 * EVIDENCE], inputs[:, 2 * EVIDENCE :]
        positive = nn.functional.softplus
        hidden = torch.tanh(evidence @ positive(self.inward) + context @ self.context + self.shift)
        odds: torch.Tensor = hidden @ positive(self.outward) + evidence @ positive(self.direct) + self.offset
        return odds

    def squares(self) -> torch.Tensor:
        """Sum of the squared weights as they are applied."""
        positive = [nn.functional.softplus(part) for part in (self.inward, self.outward, self.direct)]
        return torch.stack([part.square().sum() for part in (*positive, self.context)]).sum()


class _Targets(NamedTuple):
    """Of all calls end to end: branches won and made, whether past the point of no return and whether that is known."""

    wins: Array
    trials: Array
    late: Array
    known: Array


def _targets(episodes: Sequence[EpisodeCalls], truths: Sequence[EpisodeTruth]) -> _Targets:
    each = [_targets_of(episode, truth) for episode, truth in zip(episodes, truths, strict=True)]
    return _Targets(*(np.concatenate(part) for part in zip(*each, strict=True)))


def _targets_of(episode: EpisodeCalls, truth: EpisodeTruth) -> _Targets:
    calls = len(episode.step)
    trials = np.full(calls, 1.0 / calls)
    wins = trials * truth.success
    for step, won, branches in truth.values:
        (at,) = np.nonzero(episode.step == step)
        if not len(at):
            raise ScoreError(
                f"score viability cannot be fitted: the value of {truth.uid} at control step {step} is at none of its "
                f"policy calls ({episode.step.tolist()}): label the store again"
            )
        wins[at] += won
        trials[at] += branches
    late = (episode.step >= truth.t_pnr) & (not truth.success)
    known = np.full(calls, float(truth.success or truth.t_pnr >= 0))
    return _Targets(wins, trials, late.astype(np.float64), known)


def _familiar(truths: Sequence[EpisodeTruth]) -> list[int]:
    """Nominal successes; where there are fewer than two a fold, all successes."""
    successes = [i for i, truth in enumerate(truths) if truth.success]
    nominal = [i for i in successes if not truths[i].family]
    familiar = nominal if len(nominal) >= 2 * FOLDS else successes
    if len(familiar) < FOLDS:
        raise ScoreError(
            f"score viability fits its evidence on successes and needs at least {FOLDS} of them, not {len(familiar)}: "
            "roll out more nominal episodes of the fit split"
        )
    return familiar
