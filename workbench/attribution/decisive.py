"""The decisive step: whose replacement, executed, turns a failure into a success; and where a fault first had effect.

Published decisive errors are a person's judgement of a counterfactual (Zhang et al., "Which agent causes task failures
and when?", ICML 2025); here the counterfactual is run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from workbench.attribution.branching import NOISE, Search, branches_from
from workbench.errors import DivergedError
from workbench.rollouts.launch import Launch, Start
from workbench.rollouts.stored import perturbations_of, start_at, stream_of
from workbench.stats.proportions import paired_gain
from workbench.types import Array, Episode, Observation, Policy, Scene

CANDIDATES = 4
"""Steps that are asked for their responsibility."""


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
    """Earliest control step whose replacement turns the failure into a success, and the shortest window that does.

    Replaced are the actions of the control steps t .. e - 1, where e is the first policy call at or after t + w: from
    there on the policy goes on with the noise it had, so that replacing actions by themselves is the episode itself.
    A replacement is executed as it is, past any fault of the action channel; the rest of the perturbation goes on as
    drawn (the total effect, "run forward").  By whom:

    twin    the nominal twin's executed actions, while the state still is the twin's, if the twin succeeds
    expert  the reference expert, asked anew at every step, once the state has left the twin's, or without such a twin

    Decisive is the earliest t whose longest window has y(do(ã)) = 1 under the episode's own noise and a causal
    responsibility V(s_t, do(ã)) - V(s_t, a) whose 95 % interval lies above 0 (a replacement that wins once by another
    throw of the dice is none), and of its windows the shortest of which that holds.  Both values are from ``count``
    branches behind e, with common random numbers.  At most ``CANDIDATES`` steps are asked for their
    responsibility, so the interval of one that was chosen after others is a little too favourable.  Definitions after
    Who&When (Zhang et al., ICML 2025: the earliest step whose correction flips the outcome) and CausalFlow (arXiv
    2605.25338, 2026: responsibility as a change in success probability).

    The search begins at t_inj where the twin succeeds, for until then the two are one, and otherwise with the longest
    window that reaches the onset.  It tries t there and at the policy calls 0, 1, 2, 4, 8, ... behind, and, where the
    onset lies later, in the same way from the longest window that reaches it.  The gap before the first t that flips
    is halved.  A flip between steps that were not tried is missed.

    Parameters
    ----------
    twin : the nominal twin with all its steps; None for a nominal episode.
    onset : t_on.
    windows : w in control steps, rising.
    count : K.
    """
    reference = twin if twin is not None and twin.record["success"] else None
    injected = int(episode.record["t_inj"]) if reference else -1
    reaching = max(0, injected, onset - windows[-1])
    coarse = sorted({*(moments(episode, injected) if injected >= 0 else ()), *moments(episode, reaching)})
    cost = asked = 0
    factual: dict[int, Array] = {}

    def flipping(step: int, window: int) -> Search[Detour | None]:
        nonlocal cost
        detour = take_detour(episode, reference, step, call_at(episode, step + window), policy, expert, scene)
        cost += detour.steps
        return detour if (yield from _flips(episode, detour)) else None

    def responsible(detour: Detour) -> Search[Decision | None]:
        if detour.end not in factual:
            factual[detour.end] = yield from _successes(episode, detour.end, policy, count)
        replaced = yield from _replaced(episode, detour, count)
        gain, low, high = paired_gain(replaced, factual[detour.end])
        return Decision(detour.step, detour.end, detour.by, gain, low, high) if low > 0 else None

    for place, step in enumerate(coarse):
        found = yield from flipping(step, windows[-1])
        if found is None:
            continue
        last = coarse[place - 1] if place else step - 1
        while found.step - last > 1:
            earlier = yield from flipping((last + found.step) // 2, windows[-1])
            last, found = (last, earlier) if earlier else ((last + found.step) // 2, found)
        asked += 1
        decision = yield from responsible(found)
        if decision:
            for window in windows[:-1]:
                shorter = yield from flipping(found.step, window)
                decisive = (yield from responsible(shorter)) if shorter else None
                if decisive:
                    return dataclasses.replace(decisive, detour_steps=cost)
            return dataclasses.replace(decision, detour_steps=cost)
        if asked >= CANDIDATES:
            break
    return Decision(detour_steps=cost)


def _flips(episode: Episode, detour: Detour) -> Search[bool]:
    """Whether the policy succeeds behind a detour with the noise that it had."""
    if detour.start is None:
        return detour.success
    (outcome,) = yield [Launch(stream_of(episode), perturbations_of(episode), detour.start)]
    return outcome.success


def _successes(episode: Episode, end: int, policy: Policy, count: int) -> Search[Array]:
    """(K,) whether branches behind the actions that were executed succeed."""
    if end >= len(episode.steps["action"]):
        return np.zeros(count, bool)
    outcomes = yield branches_from(start_at(episode, end, policy), stream_of(episode).child(NOISE), range(count))
    return np.array([outcome.success for outcome in outcomes])


def _replaced(episode: Episode, detour: Detour, count: int) -> Search[Array]:
    """(K,) whether branches behind a detour succeed, with the noise of those behind the executed actions."""
    if detour.start is None:
        return np.full(count, detour.success)
    outcomes = yield branches_from(detour.start, stream_of(episode).child(NOISE), range(count))
    return np.array([outcome.success for outcome in outcomes])


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
