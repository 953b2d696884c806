"""Does a score keep the contract?  The laws, one function each, and what they are tried on."""

from __future__ import annotations

import copy
import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from workbench.errors import ContractError, WorkbenchError
from workbench.testing.contract import blaming, global_streams_left_alone, name_of, refusing, require
from workbench.types import RECENT, Array, EpisodeCalls, EpisodeTruth, PolicyCall, Record, Scorer

SAMPLES, HORIZON, ACTIONS, EMBEDDING, EXECUTE, CALLS = 12, 8, 7, 20, 4, 6
NEED = re.compile(r"samples|embedding|signals/\w+|observation/\w+")
SEED = 3


def check_score(
    score: Scorer,
    episodes: Sequence[EpisodeCalls] | None = None,
    truths: Sequence[EpisodeTruth] | None = None,
    fresh: Sequence[EpisodeCalls] | None = None,
    rtol: float = 1e-9,
) -> tuple[str, ...]:
    """Raise at the first law that a score breaks; returns the laws that it keeps.

    Parameters
    ----------
    score : not fitted; copies of it are.
    episodes : to fit it on; by default made up, with all that it needs.
    truths : of these episodes, for a score that learns from outcomes.
    fresh : at least three episodes of equal length, to score.
    rtol : by how much scores may differ with how many scenes share a call; rounding in double precision by default.

    Raises
    ------
    ContractError
        What is wrong, and what is probably the cause.
    """
    declares_what_it_is(score)
    case = ScoreCase.of(score, episodes, truths, fresh, rtol)
    for law in LAWS:
        law(case)
    return tuple(law.__name__ for law in TRIED)


@dataclasses.dataclass(frozen=True)
class ScoreCase:
    """A score and the episodes that it is tried on.

    Attributes
    ----------
    score : not fitted.
    episodes, truths : to fit on.
    fresh : at least three episodes of equal length, to score.
    rtol : see :func:`check_score`.
    ready : the score after its fit; by default it is fitted here.
    """

    score: Scorer
    episodes: Sequence[EpisodeCalls]
    truths: Sequence[EpisodeTruth]
    fresh: Sequence[EpisodeCalls]
    rtol: float = 1e-9
    ready: Scorer | None = None

    @classmethod
    def of(
        cls,
        score: Scorer,
        episodes: Sequence[EpisodeCalls] | None = None,
        truths: Sequence[EpisodeTruth] | None = None,
        fresh: Sequence[EpisodeCalls] | None = None,
        rtol: float = 1e-9,
    ) -> ScoreCase:
        """The case with what is not given made up."""
        if episodes is None:
            episodes = [made_up(score.needs, seed, drift=1.0 * (seed % 2)) for seed in range(24)]
        if truths is None:
            truths = [_truth(episode, number % 2 == 0) for number, episode in enumerate(episodes)]
        if fresh is None:
            fresh = [made_up(score.needs, 100 + seed) for seed in range(4)]
        return cls(score, episodes, truths, fresh, rtol)

    @property
    def who(self) -> str:
        """How messages call the score."""
        return name_of(self.score, "score")

    @functools.cached_property
    def fitted(self) -> Scorer:
        """The score, fitted."""
        return self.ready or self.fit(SEED)

    @functools.cached_property
    def curves(self) -> Array:
        """(N, C) its scores of the fresh episodes, together."""
        return self.scored(self.fresh)

    def fit(self, seed: int, half: bool = False) -> Scorer:
        """A copy, fitted on all episodes or on the first half of them; on successes alone if it is not supervised."""
        score: Any = copy.deepcopy(self.score)
        some = slice(0, len(self.episodes) // 2 if half else None)
        episodes, truths = self.episodes[some], self.truths[some]
        with blaming(self.who, "fit"):
            if getattr(score, "supervised", False):
                score.fit(episodes, seed, truths)
            else:
                score.fit([e for e, truth in zip(episodes, truths, strict=True) if truth.success], seed)
        fitted: Scorer = score
        return fitted

    def scored(self, episodes: Sequence[EpisodeCalls], score: Scorer | None = None) -> Array:
        """(N, C) scores of episodes of equal length, call by call, all in one batch."""
        score = score or self.fitted
        memories = [score.begin() for _ in episodes]
        numbers = range(len(episodes[0].step))
        return np.stack(
            [self.update(score, memories, episodes, [number] * len(episodes)) for number in numbers], axis=1
        )

    def update(
        self, score: Scorer, memories: Sequence[Record], episodes: Sequence[EpisodeCalls], numbers: Sequence[int]
    ) -> Array:
        """(N,) scores of one call, in which each episode is at a call of its own."""
        with blaming(self.who, "update"):
            scores = np.asarray(score.update(memories, call_of(episodes, numbers)))
        require(
            scores.shape == (len(episodes),),
            self.who,
            f"update returns an array of shape {scores.shape} for a call of {len(episodes)} scenes; it must be one "
            "score a scene, (N,)",
        )
        return scores.astype(np.float64)

    def close(self, first: Array, second: Array) -> bool:
        """Whether scores are the same but for rounding."""
        return bool(np.allclose(first, second, rtol=self.rtol, atol=self.rtol, equal_nan=True))


def declares_what_it_is(score: Scorer) -> None:
    """It has the members of the contract, and ``needs`` are words that mean something."""
    who = name_of(score, "score")
    missing = [name for name in ("fit", "begin", "update", "state", "load") if not callable(getattr(score, name, None))]
    require(not missing, who, f"it has no {', '.join(missing)}; see workbench.types.Score")
    needs = getattr(score, "needs", None)
    require(
        isinstance(needs, frozenset) and all(isinstance(need, str) and NEED.fullmatch(need) for need in needs),
        who,
        f"its needs are {needs!r}; they must be a frozenset of 'samples', 'embedding', 'signals/<name>' or "
        "'observation/<key>'",
    )


def scores_are_finite(case: ScoreCase) -> None:
    """Every call of an ordinary episode has a finite score."""
    bad = case.curves[~np.isfinite(case.curves)]
    require(
        not len(bad),
        case.who,
        f"its score of an ordinary call is {bad[:1]}; is something divided by zero, as a deviation at the first call?",
    )


def fit_follows_its_seed(case: ScoreCase) -> None:
    """The same episodes and seed give the same score, and no generator is touched that others use."""
    with global_streams_left_alone(case.who, "fit or update"):
        again = case.scored(case.fresh, case.fit(SEED))
        before = case.scored(case.fresh, case.fit(SEED))
    require(
        np.array_equal(again, before, equal_nan=True),
        case.who,
        f"two fits on the same episodes with seed={SEED} score differently; is something drawn without the seed?",
    )


def nothing_stays_between_episodes(case: ScoreCase) -> None:
    """The same episodes score the same whatever was scored before: what is remembered is in the memory of a scene."""
    score = case.fitted
    require(
        score.begin() is not score.begin(),
        case.who,
        "begin returns the same memory twice; make a new dict at each call",
    )
    first = case.scored(case.fresh, score)
    require(
        np.array_equal(case.scored(case.fresh, score), first, equal_nan=True),
        case.who,
        "the same episodes score differently the second time; is something counted or kept on self instead of in the "
        "scene's memory?",
    )


def prefix_of_an_episode_scores_alike(case: ScoreCase) -> None:
    """The score of a prefix is the prefix of the scores, whatever comes after it: a score is causal."""
    calls = len(case.fresh[0].step)
    for cut in {1, calls // 2, calls - 1} - {0}:
        short = case.scored([shortened(episode, cut) for episode in case.fresh])
        require(
            np.array_equal(short, case.curves[:, :cut], equal_nan=True),
            case.who,
            f"the first {cut} calls of an episode score differently when it ends there; does it go by the length of an "
            "episode, or by later calls?",
        )


def scenes_stay_apart(case: ScoreCase) -> None:
    """A scene's score depends neither on the other scenes of its call nor on its place among them."""
    for number, episode in enumerate(case.fresh):
        require(
            case.close(case.scored([episode])[0], case.curves[number]),
            case.who,
            "an episode scores differently alone than beside others; does it use a mean, a rank or a memory over the "
            "scenes of a call?",
        )
    turned = case.scored(case.fresh[::-1])[::-1]
    require(case.close(turned, case.curves), case.who, "scores follow the place of a scene in its call, not the scene")


def live_is_offline(case: ScoreCase) -> None:
    """Episodes that begin at different moments, as in a live rollout, score as they do in a batch."""
    score, calls = case.fitted, len(case.fresh[0].step)
    memories = [score.begin() for _ in case.fresh]
    live = np.full(case.curves.shape, np.nan)
    for tick in range(calls + len(case.fresh) - 1):
        running = [n for n in reversed(range(len(case.fresh))) if 0 <= tick - n < calls]
        numbers = [tick - n for n in running]
        live[running, numbers] = case.update(
            score, [memories[n] for n in running], [case.fresh[n] for n in running], numbers
        )
    require(
        case.close(live, case.curves),
        case.who,
        "episodes that begin at different moments score differently than side by side; does it count calls on self, or "
        "take all scenes of a call to be equally far?",
    )


def state_is_all_that_was_learnt(case: ScoreCase) -> None:
    """What ``state`` returns, loaded into another score, fitted or not, gives the same scores and the same state."""
    state = _state(case, case.fitted)
    for into, what in (
        (copy.deepcopy(case.score), "a new score"),
        (case.fit(SEED + 6, half=True), "one fitted otherwise"),
    ):
        with blaming(case.who, f"load into {what}"):
            into.load({key: value.copy() for key, value in state.items()})
        require(
            case.close(case.scored(case.fresh, into), case.curves),  # but for the order in which an array is laid out
            case.who,
            f"its state, loaded into {what}, gives other scores; is something learnt that state() leaves out?",
        )
        again = _state(case, into)
        same = again.keys() == state.keys() and all(np.array_equal(again[key], state[key]) for key in state)
        require(same, case.who, f"its state, loaded into {what}, comes out of it changed")


def _state(case: ScoreCase, score: Scorer) -> dict[str, Array]:
    with blaming(case.who, "state"):
        state = score.state()
    wrong = [key for key, value in state.items() if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf"]
    require(
        not wrong, case.who, f"its state {', '.join(wrong)} must be arrays of numbers: they are kept in safetensors"
    )
    return {key: np.array(value, order="C") for key, value in state.items()}


def needs_are_true(case: ScoreCase) -> None:
    """It reads nothing beyond what it declares, and refuses in one line to do without what it does."""
    needs = case.score.needs
    bare = [_without(episode, lambda what: what not in needs) for episode in case.fresh]
    try:
        scores = case.scored(bare)
    except WorkbenchError as error:
        raise ContractError(f"{case.who}: it reads what its needs {sorted(needs)} do not declare: {error}") from error
    require(
        np.array_equal(scores, case.curves, equal_nan=True),
        case.who,
        f"it scores differently without what its needs {sorted(needs)} do not declare; declare all that it reads",
    )
    for need in sorted(needs):
        without = [_without(episode, need.__eq__) for episode in case.fresh]
        word = need.rpartition("/")[2]
        with refusing(case.who, f"a call without its {need}", word):
            score = case.fitted
            score.update([score.begin() for _ in without], call_of(without, [0] * len(without)))


def nan_stays_in_its_scene(case: ScoreCase) -> None:
    """NaN in what it reads of one scene is NaN in that scene's score, and touches no other."""
    calls = len(case.fresh[0].step)
    at, broken = calls // 2, 1
    for need in ["chunk", *sorted(case.score.needs)]:
        poisoned = [*case.fresh]
        poisoned[broken] = _poisoned(case.fresh[broken], need, at)
        scores = case.scored(poisoned)
        others = [number for number in range(len(poisoned)) if number != broken]
        require(
            case.close(scores[others], case.curves[others]),
            case.who,
            f"NaN in the {need} of one scene changes the scores of others; is there a mean or a maximum over scenes?",
        )
        require(
            case.close(scores[broken, :at], case.curves[broken, :at]),
            case.who,
            f"NaN in the {need} of a call changes the scores of earlier ones",
        )
        # Whether it reads the chunk is not declared; what it declares it must not lose in silence.
        require(
            need == "chunk" or not np.isfinite(scores[broken, at]),
            case.who,
            f"NaN in the {need} of a call is lost: its score is {scores[broken, at]}; let NaN through, so that whoever "
            "asks is told which scene is broken",
        )


LAWS: tuple[Callable[[ScoreCase], None], ...] = (
    scores_are_finite,
    fit_follows_its_seed,
    nothing_stays_between_episodes,
    prefix_of_an_episode_scores_alike,
    scenes_stay_apart,
    live_is_offline,
    state_is_all_that_was_learnt,
    needs_are_true,
    nan_stays_in_its_scene,
)
TRIED: tuple[Callable[..., None], ...] = (declares_what_it_is, *LAWS)
"""Every law, in order."""


def made_up(needs: frozenset[str], seed: int, calls: int = CALLS, drift: float = 0.0) -> EpisodeCalls:
    """An episode of a policy that replans smoothly, with all that a score needs; ``drift`` leads its embedding away."""
    rng = np.random.default_rng(seed)
    step = EXECUTE * np.arange(calls)
    embedding = (
        0.5 * rng.normal(size=EMBEDDING) + rng.normal(size=(calls, EMBEDDING)) + drift * np.arange(calls)[:, None]
    )
    path = np.cumsum(0.1 * rng.normal(size=(calls * EXECUTE + HORIZON, ACTIONS)), axis=0)
    windows = np.stack([path[first : first + HORIZON] for first in step])
    samples = (windows[:, None] + 0.05 * rng.normal(size=(calls, SAMPLES, HORIZON, ACTIONS))).astype(np.float32)
    named = {
        kind: [need.partition("/")[2] for need in needs if need.startswith(kind)] for kind in ("signals", "observation")
    }
    return EpisodeCalls(
        uid=f"made-up-{seed}",
        split="fit",
        step=step,
        chunk=samples[:, 0].copy(),
        samples=samples,
        embedding=embedding.astype(np.float32),
        execute=EXECUTE,
        instruction="put the made-up thing away",
        signals={name: rng.random(calls).astype(np.float32) for name in (*named["signals"], "undeclared")},
        observation={
            name: rng.normal(size=(calls, RECENT, 6)) + drift for name in (*named["observation"], "undeclared")
        },
    )


def _truth(episode: EpisodeCalls, success: bool) -> EpisodeTruth:
    calls = len(episode.step)
    length = int(episode.step[-1]) + episode.execute
    lost = -1 if success else length // 2
    values = np.array([[step, 4 if success or step < length // 2 else 0, 4] for step in episode.step])
    family, name = ("", "") if success else ("physics", "push")
    return EpisodeTruth(
        episode.uid, success, family, name, length, length, lost, lost, np.minimum(np.arange(calls) // 2, 2), values
    )


def call_of(episodes: Sequence[EpisodeCalls], numbers: Sequence[int]) -> PolicyCall:
    """One call of several episodes, each at a call of its own; with what all of them have."""

    def row(values: Sequence[Array | None]) -> Array | None:
        there = [value[number] for value, number in zip(values, numbers, strict=True) if value is not None]
        return np.stack(there) if len(there) == len(episodes) else None

    def rows(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        shared = set.intersection(*(set(part) for part in parts))
        return {
            key: np.stack([part[key][number] for part, number in zip(parts, numbers, strict=True)])
            for key in sorted(shared)
        }

    return PolicyCall(
        step=np.array([episode.step[number] for episode, number in zip(episodes, numbers, strict=True)]),
        chunk=np.stack([episode.chunk[number] for episode, number in zip(episodes, numbers, strict=True)]),
        samples=row([episode.samples for episode in episodes]),
        embedding=row([episode.embedding for episode in episodes]),
        execute=episodes[0].execute,
        instructions=[episode.instruction for episode in episodes],
        signals=rows([episode.signals for episode in episodes]),
        observation=rows([episode.observation for episode in episodes]),
    )


def shortened(episode: EpisodeCalls, calls: int) -> EpisodeCalls:
    """The first calls of an episode."""
    return dataclasses.replace(
        episode,
        step=episode.step[:calls],
        chunk=episode.chunk[:calls],
        samples=None if episode.samples is None else episode.samples[:calls],
        embedding=None if episode.embedding is None else episode.embedding[:calls],
        signals={key: value[:calls] for key, value in episode.signals.items()},
        observation={key: value[:calls] for key, value in episode.observation.items()},
    )


def _without(episode: EpisodeCalls, dropped: Callable[[str], bool]) -> EpisodeCalls:
    """An episode without those of the things that scores may need of which a function says so."""
    return dataclasses.replace(
        episode,
        samples=None if dropped("samples") else episode.samples,
        embedding=None if dropped("embedding") else episode.embedding,
        signals={key: value for key, value in episode.signals.items() if not dropped(f"signals/{key}")},
        observation={key: value for key, value in episode.observation.items() if not dropped(f"observation/{key}")},
    )


def _poisoned(episode: EpisodeCalls, need: str, at: int) -> EpisodeCalls:
    """An episode with NaN in what a score reads of one of its calls."""
    kind, _, key = need.partition("/")
    held: Any = getattr(episode, kind)
    value = np.array(held[key] if key else held, dtype=np.float64)
    value[at] = np.nan
    changed: Record = {kind: {**held, key: value} if key else value}
    return dataclasses.replace(episode, **changed)
