"""The decisive step: whose replacement, executed, turns a failure into a success; and where a fault first had effect.

Published decisive errors are a person's judgement of a counterfactual (Zhang et al., "Which agent causes task failures
and when?", ICML 2025); here the counterfactual is run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from workbench.branch import NOISE, Search, branches_from, perturbations_of, start_at, stream_of
from workbench.errors import DivergedError
from workbench.metrics import paired_gain
from workbench.rollout import Launch, Outcome, Start
from workbench.types import Array, Episode, Observation, Policy, Scene

CANDIDATES = 3
"""Replacements per window that are tried with fresh noise before a longer window is."""


def effect_step(episode: Episode, twin: Episode) -> int:
    """t_eff: first control step at which the state differs from the nominal twin's in any bit; -1 if none does.

    Predicates are functions of the state, so none of them differs earlier.
    """
    mine, theirs = episode.steps["state"], twin.steps["state"]
    shared = min(len(mine), len(theirs))
    differs = np.flatnonzero((mine[:shared] != theirs[:shared]).any(axis=1))
    if len(differs):
        return int(differs[0])
    return shared if len(mine) != len(theirs) else -1


@dataclasses.dataclass(frozen=True)
class Decision:
    """The decisive step of a failed episode.

    Attributes
    ----------
    step, end : the actions of the control steps ``step`` to ``end - 1`` are replaced; -1 if nothing was decisive.
    by : "twin" or "expert", whose actions replace them.
    responsibility, low, high : gain in value by the replacement, with its 95 % interval.
    detour_steps : control steps that were simulated to execute replacements, beside the branches behind them.
    """

    step: int = -1
    end: int = -1
    by: str = ""
    responsibility: float = 0.0
    low: float = 0.0
    high: float = 0.0
    detour_steps: int = 0


@dataclasses.dataclass(frozen=True)
class Detour:
    """Replaced actions, executed: the start from which the policy goes on, or None if it is over by then."""

    step: int
    end: int
    by: str
    start: Start | None
    success: bool
    steps: int


def find_decision(
    episode: Episode,
    twin: Episode | None,
    onset: int,
    policy: Policy,
    expert: Policy,
    scene: Scene,
    windows: Sequence[int],
    count: int,
) -> Search[Decision]:
    """Earliest control step whose replacement turns the failure into a success, by the shortest window that does.

    Replaced are the actions of the control steps t .. e - 1, where e is the first policy call at or after t + w: from
    there on the policy goes on with the noise it had, so that replacing actions by themselves is the episode itself.
    A replacement is executed as it is, past any fault of the action channel; the rest of the perturbation goes on as
    drawn (the total effect, "run forward").  By whom:

    twin    the nominal twin's executed actions, while the state still is the twin's, if the twin succeeds
    expert  the reference expert, asked anew at every step, once the state has left the twin's, or without such a twin

    Decisive is the earliest t of the shortest w with y(do(ã)) = 1 under the episode's own noise, and with a causal
    responsibility V(s_t, do(ã)) - V(s_t, a) whose 95 % interval lies above 0: a replacement that wins once by another
    throw of the dice is none.  Both values are from ``count`` branches behind e, with common random numbers.
    Definitions after Who&When (Zhang et al., ICML 2025: the earliest step whose correction flips the outcome) and
    CausalFlow (arXiv 2605.25338, 2026: responsibility as a change in success probability).

    The search begins at t_inj, before which a fault with a successful twin can have decided nothing; else with the
    windows that reach the onset.  It tries t there and at the policy calls 0, 1, 2, 4, 8, ... behind, then every step
    before the first that flips; a flip between steps that were not tried is missed.

    Parameters
    ----------
    twin : the nominal twin with all its steps; None for a nominal episode.
    onset : t_on.
    windows : w in control steps, rising.
    count : K.
    """
    reference = twin if twin is not None and twin.record["success"] else None
    detours: dict[tuple[int, int], Detour] = {}
    flipped: dict[tuple[int, int], bool] = {}

    def ask(steps: Sequence[int], window: int) -> Search[None]:
        wanted = [step for step in steps if (step, window) not in flipped]
        launches: dict[int, Launch] = {}
        for step in wanted:
            made = take_detour(episode, reference, step, call_at(episode, step + window), policy, expert, scene)
            detours[step, window] = made
            flipped[step, window] = made.success
            if made.start is not None:
                launches[step] = Launch(stream_of(episode), perturbations_of(episode), made.start)
        outcomes = yield list(launches.values())
        for step, outcome in zip(launches, outcomes, strict=True):
            flipped[step, window] = outcome.success

    def cost() -> int:
        return sum(made.steps for made in detours.values())

    for window in windows:
        first = int(episode.record["t_inj"]) if reference else -1
        coarse = moments(episode, first if first >= 0 else max(0, onset - window))
        yield from ask(coarse, window)
        hit = next((place for place, step in enumerate(coarse) if flipped[step, window]), None)
        if hit is None:
            continue
        yield from ask(range(coarse[hit - 1] + 1, coarse[hit]) if hit else [], window)
        flips = sorted(step for (step, of), success in flipped.items() if of == window and success)
        for step in flips[:CANDIDATES]:
            made = detours[step, window]
            gain, low, high = yield from responsibility(episode, made, policy, count)
            if low > 0:
                return Decision(step, made.end, made.by, gain, low, high, cost())
    return Decision(detour_steps=cost())


def responsibility(episode: Episode, made: Detour, policy: Policy, count: int) -> Search[tuple[float, float, float]]:
    """Gain in value by a detour over the actions that were executed, and its interval; both arms share their noise."""
    noise, length = stream_of(episode).child(NOISE), len(episode.steps["action"])
    factual = branches_from(start_at(episode, made.end, policy), noise, range(count)) if made.end < length else []
    replaced = branches_from(made.start, noise, range(count)) if made.start is not None else []
    outcomes = yield [*factual, *replaced]
    lost = [Outcome(False, length)] * count
    won = [Outcome(made.success, made.end)] * count

    def successes(ended: Sequence[Outcome]) -> Array:
        return np.array([outcome.success for outcome in ended])

    return paired_gain(successes(outcomes[len(factual) :] or won), successes(outcomes[: len(factual)] or lost))


def moments(episode: Episode, first: int) -> list[int]:
    """``first``, and the policy calls 0, 1, 2, 4, 8, ... behind it."""
    behind = [int(step) for step in episode.calls["step"] if step > first]
    places = [0, *(2**power for power in range(len(behind).bit_length()))]
    return [first, *(behind[place] for place in places if place < len(behind))]


def call_at(episode: Episode, step: int) -> int:
    """The first policy call at or after a step; the episode's length if there is none."""
    called = episode.calls["step"]
    place = int(np.searchsorted(called, step, side="left"))
    return int(called[place]) if place < len(called) else len(episode.steps["action"])


def take_detour(
    episode: Episode, reference: Episode | None, step: int, end: int, policy: Policy, expert: Policy, scene: Scene
) -> Detour:
    """Execute the replacement of the actions ``step`` .. ``end - 1`` in a scene."""
    planned = twins_actions(episode, reference, step, end) if reference is not None else None
    start = start_at(episode, step, policy)
    scene.restore(start.snapshot)
    seen, known = list(start.history), list[Observation]()
    by, success = "expert" if planned is None else "twin", False
    noise = stream_of(episode).child("detour")
    try:
        while scene.step_index < end and not success:
            now, truth = scene.step_index, scene.truth().observation
            known = [*known, truth][-expert.history :]
            if planned is not None and now - step < len(planned):
                action = planned[now - step]
            else:  # also where the twin has come to its success and this episode, by another fault of it, has not
                action = _asked(expert, known, noise.at(now))
            seen.append(truth if policy.privileged else scene.observe())
            scene.step(action, as_asked=True)
            success = scene.truth().success
    except DivergedError:
        return Detour(step, end, by, None, False, scene.step_index - step)
    steps = scene.step_index - step
    if success or end >= len(episode.steps["action"]):
        return Detour(step, end, by, None, success, steps)
    history = tuple(seen[len(seen) - policy.history + 1 :]) if policy.history > 1 else ()
    calls = int(np.searchsorted(episode.calls["step"], end, side="left"))
    return Detour(step, end, by, Start(scene.snapshot(), history, np.zeros((0, 0)), calls), False, steps)


def twins_actions(episode: Episode, twin: Episode, step: int, end: int) -> Array | None:
    """The twin's executed actions of these steps; None where they do not apply or are those of the episode."""
    mine, theirs = episode.steps["applied"][step:end], twin.steps["applied"][step:end]
    parted = effect_step(episode, twin)
    if not len(theirs) or 0 <= parted <= step or np.array_equal(mine, theirs):
        return None
    return theirs


def _asked(expert: Policy, known: Sequence[Observation], noise: np.random.Generator) -> Array:
    """The expert's first action for the last observations of one scene, the oldest repeated."""
    past = [known[0]] * (expert.history - len(known)) + list(known)
    observation = {key: np.stack([each[key] for each in past])[None] for key in past[0]}
    action: Array = expert.plan(observation, [noise]).chunk[0, 0]
    return action
