"""Failure detectors: scores of policy calls, rules that calibrate them, and the thresholds that come of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from workbench.errors import ConfigError
from workbench.types.data import Array, Record
from workbench.types.episode import EpisodeCalls, EpisodeTruth
from workbench.types.policy import PolicyCall


class Scorer(Protocol):
    """What a fitted score does: a number per policy call; causal, so online and offline are the same code."""

    needs: frozenset[str]
    """What it reads of a call beyond chunk, step and instructions: ``samples``, ``embedding``, ``signals/<name>``,
    ``observation/<key>``."""

    def begin(self) -> Record:
        """Memory of an episode that has not begun."""
        ...

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,) of one call; ``memories`` holds each scene's own memory and is updated in place."""
        ...

    def state(self) -> dict[str, Array]:
        """What was learnt, as named arrays."""
        ...

    def load(self, state: Mapping[str, Array]) -> None: ...


class Score(Scorer, Protocol):
    """A score that learns from successes alone; higher is worse."""

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Learn from (successful) episodes; deterministic for a seed."""
        ...


class SupervisedScore(Scorer, Protocol):
    """A score that learns from what became of episodes; higher is worse."""

    supervised: bool
    """True."""

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int, truths: Sequence[EpisodeTruth]) -> None:
        """Learn from episodes, successful and failed, and what is known of each; deterministic for a seed."""
        ...


@dataclasses.dataclass(frozen=True)
class RateLaw:
    """How often a threshold errs, over the draw of its calibration episodes: Beta(beyond, ranked + 1 - beyond).

    ``ranked`` episodes part what exchangeable ones can score into ``ranked + 1`` blocks, each as probable as any other,
    and ``beyond`` of them lie where it errs (Wilks, 1941; Tukey, "Non-parametric estimation II", Annals of Mathematical
    Statistics 1947: also of several scores at once).  Equal scores only make errors rarer.

    Attributes
    ----------
    group : the episodes that it is of, where each never leaves its group; None for all.
    """

    beyond: int
    ranked: int
    group: int | None = None


@dataclasses.dataclass(frozen=True)
class Threshold:
    """What a calibrator returns for a level.

    Attributes
    ----------
    values : threshold: (C,) per call index, held at its last value beyond; (1,) for a constant one; (G + 1,) per group
        of calls where ``grouped``, the last one for groups that calibration has not seen.
    scale : of the same length or (1,), positive: the unit in which margins are compared between scores.
    level : nominal false-alarm rate.
    episodes : how many calibration episodes stand behind it.
    guarantee : what is promised, in one sentence.
    grouped : whether the threshold is that of the call's group and not of its index.
    on_failures : whether ``level`` is the share of failures that may be missed, and not of false alarms.
    laws : of the rate that the guarantee is about, one for all episodes or one a group; none where no law is known.
    """

    values: Array
    scale: Array
    level: float
    episodes: int
    guarantee: str
    grouped: bool = False
    on_failures: bool = False
    laws: tuple[RateLaw, ...] = ()

    def margin(self, curve: Array, first_call: int = 0, groups: Array | None = None) -> Array:
        """(score - threshold) / scale along a curve (C,) that starts at ``first_call``; an alarm where positive.

        ``groups`` (C,) are the groups of its calls, from 0, or -1 for one that is not known.
        """
        if self.grouped:
            if groups is None:
                raise ConfigError("this threshold is one for each group of calls, and the groups are not given")
            known = (groups >= 0) & (groups < len(self.values) - 1)
            index = np.where(known, groups, len(self.values) - 1).astype(int)
        else:
            index = first_call + np.arange(len(curve))
        at = np.minimum(index, len(self.values) - 1)
        margin: Array = (curve - self.values[at]) / self.scale[np.minimum(index, len(self.scale) - 1)]
        return margin


FURTHEST = 1e30
"""Margin of a score from a threshold that nothing, or everything, exceeds."""


@dataclasses.dataclass(frozen=True)
class AdaptiveThreshold(Threshold):
    """A constant threshold that moves with what every successful episode after the calibration says.

    Gibbs and Candes ("Adaptive Conformal Inference Under Distribution Shift", NeurIPS 2021, equation 2): the level at
    which the conformal rank is taken rises by ``step * level`` after a quiet success and falls by
    ``step * (1 - level)`` after one with a false alarm.  At 0 or less nothing alarms and at 1 or more everything does,
    which is what bounds the share of false alarms over any sequence of episodes.

    Attributes
    ----------
    recent : (n,) highest scores of the last n successful episodes, the oldest first; at first the calibration's.
    current : level at which the rank is taken now, within (-step, 1 + step).
    step : gamma of the paper.
    """

    recent: Array = dataclasses.field(default_factory=lambda: np.zeros(0))
    current: float = 0.0
    step: float = 0.0

    def margin(self, curve: Array, first_call: int = 0, groups: Array | None = None) -> Array:
        """As of any threshold, but finite where the threshold is not, for what is ranked, drawn and written as JSON."""
        return np.clip(super().margin(curve, first_call, groups), -FURTHEST, FURTHEST)

    @property
    def allowance(self) -> float:
        """How many alarms more than ``level * T`` there can be over any T successes in a row: their proposition 4.1."""
        return (max(self.level, 1 - self.level) + self.step) / self.step

    def after(self, highest: float, alarmed: bool) -> AdaptiveThreshold:
        """The threshold after a successful episode with that highest score, and whether it was alarmed at."""
        recent = np.append(self.recent[1:], highest)
        current = self.current + self.step * (self.level - alarmed)
        return dataclasses.replace(self, values=self.at(recent, current), recent=recent, current=current)

    @staticmethod
    def at(recent: Array, current: float) -> Array:
        """Threshold (1,): the ``ceil((n+1)(1-current))``-th smallest of ``recent``; beyond its ends, infinity."""
        # Sums of steps round: what is a whole rank but for that must not become the next one.
        rank = math.ceil((len(recent) + 1) * (1 - current) - 1e-9)
        ranked = np.concatenate([[-np.inf], np.sort(recent), [np.inf]])
        return ranked[[min(max(rank, 0), len(recent) + 1)]]


class Calibrator(Protocol):
    """A rule that turns the windowed scores of successful calibration episodes into a threshold.

    One that reads more says so by an attribute ``uses``, and is handed it as arguments of these names: ``failures``,
    curves (C_i,) of failed calibration episodes; ``groups``, (C_i,) of the calls of the successful ones; ``held_out``,
    curves of the score's own fit episodes, each scored without itself (a score's ``leave_one_out()``, uid -> (C_i,)).
    One that reads no episode, and whose threshold a person set for one score, says so by ``by_hand = True``: it is for
    the baselines that name it.
    """

    def calibrate(self, curves: Sequence[Array], level: float) -> Threshold:
        """Threshold from one curve (C_i,) an episode; raises CalibrationError where the data cannot carry it."""
        ...
