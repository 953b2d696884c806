"""Supervised: what can still become of the episode, learnt from values that were measured by branching."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from workbench.detectors.learning.inputs import embedding_of, fit_embeddings, standardisation
from workbench.detectors.learning.networks import load_weights, weights_of
from workbench.detectors.learning.sequences import descend, outcomes
from workbench.detectors.scores.nearest_neighbours import NearestNeighbours
from workbench.detectors.scores.progress import Progress
from workbench.errors import ConfigError, ScoreError
from workbench.types import Array, EpisodeCalls, EpisodeTruth, PolicyCall, Record

FOLDS = 4
EVIDENCE = 2
"""Kinds of evidence: delay and novelty."""
RATE = 2e-2
REGULARISATION = 1e-3
HALF = 0.5
"""Fraction of the deadline by which evidence has to tell: what tells later comes too late for most failures."""
LATE = 0.3
"""Weight of the second head's loss: it shapes the hidden layer, the score is the first head's."""


class Viability:
    """``1 - V``: probability that the policy fails from here, an upper bound over an ensemble of networks.

    **What it learns from.**  SAFE and its kin label every call of a failed episode as failing, so an episode lost by
    bad luck at its end teaches that its beginning was bad.  Here a call's target is the *measured* value V(t): of n
    branches from that very state s succeeded, and the loss is their binomial likelihood, ``-s log V - (n - s) log(1 -
    V)``.  The episode itself is one more branch, whose one draw its C calls share (weight 1/C each); that is all there
    is where no value was measured.  A second head on the same hidden layer learns whether a call is at or past the
    point of no return (calls of successes are before it; failures without a measured one are left out).

    **What it reads.**  Perturbations that nobody trained on do not move the embedding as the known ones did, so the
    network never sees the embedding itself, but two kinds of evidence that need no failure to be computed: how late the
    robot is (:class:`workbench.detectors.scores.progress.Progress`), and how new what it sees (cosine distance from the
    nearest neighbours, :class:`workbench.detectors.scores.nearest_neighbours.NearestNeighbours`, its logarithm).  For
    the successes that this evidence is fitted on it is computed by cross-fitting (episodes of a fold by what was fitted
    without them): in the fit split it would otherwise look smaller than it will ever be again.  Evidence that helps
    with the families it was learnt from may mislead with others; so every family of the fit split is left out in turn,
    and whichever of delay, novelty and both told its failures best at common times is what the networks read.

    **What it may say.**  V is monotone: more evidence never raises it, because the weights of evidence are positive
    (after Sill, "Monotonic Networks", NeurIPS 1997).  A fault of a family never trained on can thus not be read as a
    good sign by an accident of the training set.  Each member learns from its own bootstrap of the episodes, and the
    score is the quantile ``caution`` of the members' probabilities of losing; a quantile keeps the monotony that mean
    plus deviation would lose.

    Parameters
    ----------
    width : units of the hidden layer.
    members : networks in the ensemble.
    epochs : passes over the fit split.
    caution : quantile over the members, 0.5 for their median.
    """

    needs = frozenset({"embedding"})
    supervised = True

    def __init__(self, width: int = 8, members: int = 8, epochs: int = 200, caution: float = 0.8) -> None:
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
        rows, targets = self._fit_evidence(episodes, truths, seed), _targets(episodes, truths)
        self.mean, self.std = standardisation(np.concatenate(rows))
        self.read = self._worth_reading(episodes, rows, targets, truths, seed)
        self.networks = self._learnt([self._inputs(part) for part in rows], targets, seed)
        self.networks.double()

    def _learnt(self, inputs: Sequence[torch.Tensor], targets: Sequence[_Targets], seed: int) -> _MonotoneNetworks:
        """Networks fitted on the evidence and targets of some episodes."""
        random = torch.Generator().manual_seed(seed)
        networks = _MonotoneNetworks(self.members, self.width, random)
        # Which episodes each member learns from: drawn with replacement, (M, rows).
        drawn = torch.randint(len(inputs), (self.members, len(inputs)), generator=random)
        episode = np.repeat(np.arange(len(inputs)), [len(part) for part in inputs])
        often = torch.stack([torch.bincount(draw, minlength=len(inputs)) for draw in drawn])[:, episode].float()
        every = (torch.as_tensor(np.concatenate(part), dtype=torch.float32) for part in zip(*targets, strict=True))
        (wins, trials, late, known), values = every, torch.cat(list(inputs)).float()
        log, entropy = nn.functional.logsigmoid, nn.functional.binary_cross_entropy_with_logits

        def loss() -> torch.Tensor:
            lost, past = networks(values).unbind(dim=-1)
            likelihood = wins * log(-lost) + (trials - wins) * log(lost)
            value = -(often * likelihood).sum(dim=1) / (often * trials).sum(dim=1)
            returned = (often * known * entropy(past, late.expand_as(past), reduction="none")).sum(dim=1)
            returned = returned / (often * known).sum(dim=1).clamp(min=1.0)
            return (value + LATE * returned).sum() + REGULARISATION * networks.squares()

        descend(networks.parameters(), loss, self.epochs, RATE)
        return networks

    def _worth_reading(
        self,
        episodes: Sequence[EpisodeCalls],
        rows: Sequence[Array],
        targets: Sequence[_Targets],
        truths: Sequence[EpisodeTruth],
        seed: int,
    ) -> Array:
        """Which evidence tells failures of a family best that was left out, (EVIDENCE,) of zeros and ones.

        All of it where fewer than two families are known, or none that was left out has failures beside successes.
        """
        turn, failed = _turns(truths), np.array([not truth.success for truth in truths])
        every, until = np.ones(EVIDENCE), math.ceil(HALF * truths[0].deadline / episodes[0].execute)
        if not turn.any():
            return every

        def told(read: Array) -> float:
            inputs, found = [self._inputs(part, read) for part in rows], []
            for held_out in np.unique(turn):
                learnt, judged = (np.flatnonzero(which).tolist() for which in (turn != held_out, turn == held_out))
                networks = self._learnt([inputs[i] for i in learnt], [targets[i] for i in learnt], seed)
                with torch.no_grad():
                    odds = [networks(inputs[i].float())[..., 0].quantile(self.caution, dim=0).numpy() for i in judged]
                found.append(_told_apart(odds, failed[judged], until))
            return float(np.nanmean(found)) if np.isfinite(found).any() else 0.5

        return max([every, *np.eye(EVIDENCE)], key=told)

    def _fit_evidence(self, episodes: Sequence[EpisodeCalls], truths: Sequence[EpisodeTruth], seed: int) -> list[Array]:
        """Evidence (C_i, EVIDENCE) of every episode; of the successes that it is fitted on by cross-fitting."""
        familiar = _familiar(truths)
        rows: dict[int, Array] = {}
        for fold in range(FOLDS):
            held_out = familiar[fold::FOLDS]
            partly = _Evidence().fit([episodes[i] for i in familiar if i not in held_out], seed)
            rows |= {i: partly.along(episodes[i]) for i in held_out}
        self.evidence = _Evidence().fit([episodes[i] for i in familiar], seed)
        return [rows[i] if i in rows else self.evidence.along(episode) for i, episode in enumerate(episodes)]

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,) between 0 and 1."""
        with torch.no_grad():
            odds = self.networks(self._inputs(self.evidence.of(call)))[..., 0]
            scores: Array = torch.sigmoid(torch.quantile(odds, self.caution, dim=0)).numpy()
        return scores

    def state(self) -> dict[str, Array]:
        """Statistics, evidence and which of it is read, weights of all members."""
        own = {"mean": self.mean, "std": self.std, "read": self.read, "caution": np.array([self.caution])}
        return {**own, **self.evidence.state(), **weights_of("networks", self.networks)}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`; sizes come from the weights, not from the arguments."""
        self.mean, self.std, self.read = state["mean"], state["std"], state["read"]
        self.caution = float(state["caution"][0])
        self.members, _, self.width = state["networks.inward"].shape
        self.evidence = _Evidence()
        self.evidence.load(state)
        self.networks = _MonotoneNetworks(self.members, self.width, torch.Generator())
        load_weights("networks", self.networks, state)
        self.networks.double()

    def _inputs(self, evidence: Array, read: Array | None = None) -> torch.Tensor:
        """Standardised evidence (R, EVIDENCE), zero where it is not read."""
        return torch.as_tensor((evidence - self.mean) / self.std * (self.read if read is None else read))


class _Evidence:
    """What tells of trouble without failures to learn from, fitted on successes."""

    def __init__(self) -> None:
        self.parts: dict[str, Progress | NearestNeighbours] = {
            "delay": Progress(),
            "novelty": NearestNeighbours(metric="cosine"),
        }

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> _Evidence:
        for part in self.parts.values():
            part.fit(episodes, seed)
        return self

    def of(self, call: PolicyCall) -> Array:
        """Delay in control steps and logarithm of the novelty, (N, EVIDENCE)."""
        embedding_of(call, "viability")  # a missing one is missing to this score, not to its parts
        delay, novelty = (part.update([], call) for part in self.parts.values())
        return np.stack([delay, np.log(novelty + 1e-6)], axis=1)

    def along(self, episode: EpisodeCalls) -> Array:
        """That of every call of an episode, (C, EVIDENCE): none remembers the one before."""
        embedding = embedding_of(episode, "viability")
        return self.of(PolicyCall(episode.step, episode.chunk, None, embedding, episode.execute))

    def state(self) -> dict[str, Array]:
        return {f"{name}.{key}": value for name, part in self.parts.items() for key, value in part.state().items()}

    def load(self, state: Mapping[str, Array]) -> None:
        for name, part in self.parts.items():
            start = f"{name}."
            part.load({key.removeprefix(start): value for key, value in state.items() if key.startswith(start)})


class _MonotoneNetworks(nn.Module):
    """M networks side by side: evidence (R, EVIDENCE) -> (M, R, 2) log odds that rise with all of it.

    One hidden layer of hyperbolic tangents and a direct path; what is applied is the softplus of a weight.
    """

    def __init__(self, members: int, width: int, random: torch.Generator) -> None:
        super().__init__()

        def drawn(*shape: int, around: float = 0.0) -> nn.Parameter:
            return nn.Parameter(around + torch.rand(shape, generator=random) - 0.5)

        self.inward = drawn(members, EVIDENCE, width, around=-2.0)
        self.shift = drawn(members, 1, width)
        self.outward = drawn(members, width, 2, around=-2.0)
        self.direct = drawn(members, EVIDENCE, 2, around=-2.0)
        self.offset = nn.Parameter(torch.zeros(members, 1, 2))

    def forward(self, evidence: torch.Tensor) -> torch.Tensor:
        positive = nn.functional.softplus
        hidden = torch.tanh(evidence @ positive(self.inward) + self.shift)
        odds: torch.Tensor = hidden @ positive(self.outward) + evidence @ positive(self.direct) + self.offset
        return odds

    def squares(self) -> torch.Tensor:
        """Sum of the squared weights as they are applied."""
        parts = (self.inward, self.outward, self.direct)
        return torch.stack([nn.functional.softplus(part).square().sum() for part in parts]).sum()


class _Targets(NamedTuple):
    """Of an episode's calls: branches won and made, whether past the point of no return and whether that is known."""

    wins: Array
    trials: Array
    late: Array
    known: Array


def _targets(episodes: Sequence[EpisodeCalls], truths: Sequence[EpisodeTruth]) -> list[_Targets]:
    return [_targets_of(episode, truth) for episode, truth in zip(episodes, truths, strict=True)]


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


def _turns(truths: Sequence[EpisodeTruth]) -> Array:
    """When each episode is left out (E,): with its family, nominal ones dealt out to all; zeros for one family."""
    families = sorted({truth.family for truth in truths} - {""})
    turn = np.array([families.index(truth.family) if truth.family else -1 for truth in truths])
    nominal = np.flatnonzero(turn < 0)
    turn[nominal] = np.arange(len(nominal)) % max(len(families), 1)
    return turn


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


def _told_apart(scores: Sequence[Array], failed: Array, until: int) -> float:
    """Share of pairs of a failure and a success of which the failure scored higher by the ``until``-th call.

    Each pair is compared at a call at which both were running, by the highest score so far, so that what merely grows
    with time gains nothing; NaN without failures or successes.
    """
    if failed.all() or not failed.any():
        return float("nan")
    calls = np.array([len(part) for part in scores])
    peaks = np.zeros((len(scores), calls.max()))
    for row, part in zip(peaks, scores, strict=True):
        row[: len(part)] = np.maximum.accumulate(part)
    at = np.minimum(np.minimum(calls[failed][:, None], calls[~failed][None]), until) - 1
    mine = np.take_along_axis(peaks[failed], at, axis=1)
    others = np.take_along_axis(peaks[~failed].T, at, axis=0)
    return float(np.mean((mine > others) + 0.5 * (mine == others)))
