"""Scores: fitted on one split, and their raw curves over episodes by the very ``update`` that runs online."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np

from workbench.errors import ScoreError, SplitError
from workbench.types import Array, EpisodeCalls, EpisodeTruth, PolicyCall, Record, Score, Scorer, Split, SupervisedScore

LOCKSTEP = 32
"""Episodes that are scored together offline; bounds the memory, not the result."""


@dataclasses.dataclass(frozen=True, eq=False)
class FittedScore:
    """A score and what it was fitted on.

    Attributes
    ----------
    name : as in the configuration.
    episodes : uids of the episodes it was fitted on.
    seed : with which it was fitted.
    """

    name: str
    score: Scorer
    episodes: frozenset[str]
    seed: int

    def held_out(self) -> list[Array]:
        """Raw scores (C_i,) of the fit episodes, each as if it had been left out; none where the score cannot say."""
        return list(getattr(self.score, "leave_one_out", dict)().values())

    def update(
        self, memories: Sequence[Record], call: PolicyCall, scenes: Sequence[str], numbers: Sequence[int]
    ) -> Array:
        """Scores (N,) of one call.

        ``scenes`` and ``numbers`` are how each scene is called and which call of its episode this is, for the error.

        Raises
        ------
        ScoreError
            if the score is not finite, or lacks what it needs.
        """
        scores = np.asarray(self.score.update(memories, call), np.float64)
        if not np.isfinite(scores).all():
            i = int(np.flatnonzero(~np.isfinite(scores))[0])
            read = " and ".join(sorted(self.score.needs)) or "output"
            raise ScoreError(
                f"score {self.name} is {scores[i]} in {scenes[i]} at policy call {numbers[i]} (control step "
                f"{int(call.step[i])}): look for NaN or huge numbers in the policy's {read}"
            )
        return scores


def fit_score(
    name: str,
    score: Score | SupervisedScore,
    episodes: Sequence[EpisodeCalls],
    seed: int,
    truths: Sequence[EpisodeTruth] = (),
) -> FittedScore:
    """Fit a score on episodes of the fit split: successful ones, or for a supervised one all, with their truths.

    Raises
    ------
    SplitError
        if an episode is of another split, or comes twice.
    ScoreError
        if a score that learns from successes is given a failure, or truths are not those of the episodes.
    """
    require("fit", episodes, f"score {name} is fitted on")
    if [truth.uid for truth in truths] != [episode.uid for episode in episodes] and (truths or supervised(score)):
        raise ScoreError(f"score {name} needs the truth of every episode that it is fitted on, in the same order")
    if supervised(score):
        score.fit(episodes, seed, truths)
    else:
        if failed := [truth.uid for truth in truths if not truth.success]:
            raise ScoreError(f"score {name} learns from successes alone, and {failed[0]} failed")
        score.fit(episodes, seed)  # type: ignore[call-arg]
    return FittedScore(name, score, frozenset(episode.uid for episode in episodes), seed)


def supervised(score: Score | SupervisedScore) -> TypeGuard[SupervisedScore]:
    """Whether a score learns from outcomes."""
    return bool(getattr(score, "supervised", False))


def curves(score: FittedScore, episodes: Sequence[EpisodeCalls]) -> list[Array]:
    """Raw scores (C_i,) of every episode, by the very ``update`` that runs online, many episodes in lockstep."""
    if len({episode.execute for episode in episodes}) > 1:
        raise ScoreError(f"score {score.name} cannot score episodes of policies with different `execute` together")
    blocks = [episodes[first : first + LOCKSTEP] for first in range(0, len(episodes), LOCKSTEP)]
    return [curve for block in blocks for curve in _lockstep(score, block)]


def _lockstep(score: FittedScore, episodes: Sequence[EpisodeCalls]) -> list[Array]:
    memories = [score.score.begin() for _ in episodes]
    scores = [np.zeros(len(episode.step)) for episode in episodes]
    for number in range(max(len(curve) for curve in scores)):
        alive = [i for i, curve in enumerate(scores) if number < len(curve)]
        names = [f"episode {episodes[i].uid}" for i in alive]
        call = _call([episodes[i] for i in alive], number)
        values = score.update([memories[i] for i in alive], call, names, [number] * len(alive))
        for i, value in zip(alive, values, strict=True):
            scores[i][number] = value
    return scores


def _call(episodes: Sequence[EpisodeCalls], number: int) -> PolicyCall:
    def stacked(parts: Sequence[Array | None]) -> Array | None:
        there = [part[number] for part in parts if part is not None]
        return np.stack(there) if len(there) == len(episodes) else None

    def common(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        shared = set.intersection(*(set(part) for part in parts))
        return {key: np.stack([part[key][number] for part in parts]) for key in sorted(shared)}

    return PolicyCall(
        step=np.array([episode.step[number] for episode in episodes]),
        chunk=np.stack([episode.chunk[number] for episode in episodes]),
        samples=stacked([episode.samples for episode in episodes]),
        embedding=stacked([episode.embedding for episode in episodes]),
        execute=episodes[0].execute,
        instructions=[episode.instruction for episode in episodes],
        signals=common([episode.signals for episode in episodes]),
        observation=common([episode.observation for episode in episodes]),
    )


def require(split: Split, episodes: Sequence[EpisodeCalls], purpose: str) -> None:
    strangers = [episode for episode in episodes if episode.split != split]
    if strangers:
        raise SplitError(
            f"{purpose} the {split} split alone, but {len(strangers)} of {len(episodes)} episodes are of another "
            f"(such as {strangers[0].uid}, of {strangers[0].split})"
        )
    uids = [episode.uid for episode in episodes]
    if len(set(uids)) < len(uids):
        twice = next(uid for uid in uids if uids.count(uid) > 1)
        raise SplitError(f"{purpose} different episodes, but {twice} comes {uids.count(twice)} times")
