"""The numbers of a strategy, chosen on alarms of the fit split: those that win most branches from the states there.

BTMG's skills learn their parameters by episodes of reinforcement learning; here CMA-ES (Hansen and Ostermeier,
Evolutionary Computation 2001) asks branches.  Every point leaves from the same states with the same noise, beside the
numbers that the search began with and the placebo, so points differ by their numbers alone.  The share that the best of
many points wins where it was chosen is too high; what it is worth is said by :func:`workbench.recover`, on test
episodes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from workbench.config import parameters_of, shown, write_text
from workbench.config.build import check_arguments
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.execution.executor import Executor
from workbench.execution.ledger import Ledger, plain, refuse_other
from workbench.monitoring.monitor import AnyMonitor, refuse_silent
from workbench.recovery.gains import PLACEBO
from workbench.recovery.paired import first_alarms
from workbench.recovery.tables import FIRST_BRANCHES, NEVER, CounterfactualTable, tabulate
from workbench.rollouts.arms import EXPERT, built
from workbench.rollouts.setup import branching_setup
from workbench.rollouts.training import with_defaults
from workbench.store import Store
from workbench.types import Array, Policy, Record, Shield, Split, Task
from workbench.types.reading import Between, sealed_record
from workbench.types.tuning import MOST_POINTS, Tried, Tuning, read_tuning

SKILL: Record = {"_target_": "workbench.policies.recovery.skill.Skill"}
"""Whose numbers are chosen, unless told otherwise."""
NUMBERS = ("retract_m", "pitch_m", "turns", "press_m", "dwell_steps", "tries")
SPLIT: Split = "fit"
"""On whose alarms they are chosen."""
POPULATION = 8
"""Points a round."""
SPREAD = 0.25
"""Standard deviation of the first round, of the way between a number's bounds."""


@dataclasses.dataclass(frozen=True)
class TuningSettings:
    """How much is spent on a search.

    Attributes
    ----------
    points : settings that are tried, the first ones included.
    alarms : states that every one of them is tried from; of more, so many are drawn.
    branches : noises of each.
    """

    points: int = 41
    alarms: int = 24
    branches: int = 1

    def __post_init__(self) -> None:
        bounds = {"points": (1 + POPULATION, MOST_POINTS), "alarms": (1, 10_000), "branches": (1, FIRST_BRANCHES)}
        for name, (low, high) in bounds.items():
            if not isinstance(value := getattr(self, name), int) or not low <= value <= high:
                raise ConfigError(f"job.{name}={value} must be a whole number of {low} .. {high}")


@dataclasses.dataclass(frozen=True)
class Number:
    """A number that may be chosen between bounds; it is whole where its annotation is."""

    name: str
    low: float
    high: float
    whole: bool

    def at(self, share: float) -> float:
        """The number at a share of the way between its bounds."""
        value = self.low + share * (self.high - self.low)
        return round(value) if self.whole else float(value)

    def share(self, value: float) -> float:
        """Where between its bounds a number lies."""
        return (value - self.low) / (self.high - self.low)


def tune_skill(
    store: Store,
    alarms: AnyMonitor | Mapping[str, int],
    task: Task,
    policy: Policy,
    *,
    into: Path,
    skill: Mapping[str, Any] = SKILL,
    numbers: Sequence[str] = NUMBERS,
    settings: TuningSettings | None = None,
    horizon: float = 2.0,
    seed: int = 0,
    runner: Executor | None = None,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
    overwrite: bool = False,
) -> Tuning:
    """Choose the numbers of a skill by branches from alarms of the fit split, and write them into a file.

    One that is there already, of these settings, is kept; an unfinished search goes on.

    Parameters
    ----------
    alarms : a monitor, from whose first alarms the branches leave; or uid -> control step of a policy call.
    task, policy : those that the store was rolled with.
    into : the file, ``skill.json`` beside the recovery head for the strategy ``tuned_skill``.
    skill : configuration of a strategy; the search begins with its numbers.
    numbers : names of those of its arguments that are chosen, within the bounds of their annotations.
    horizon : deadlines that every branch lasts at most.
    seed : of the search, and of the draw of alarms.
    shields : those behind which the store was rolled.

    Raises
    ------
    StoreError
        if an episode is of another split, on which the skill could not be judged any more, or there is no alarm.
    OtherSettingsError
        if the file holds numbers that were chosen otherwise, unless ``overwrite`` replaces it.
    """
    settings = settings or TuningSettings()
    branching_setup(store, task, policy, runner, shields)
    check_arguments(skill, "job.skill", ("task",))
    whole = with_defaults(skill)
    search = _Search(whole, numbers_of(whole, numbers))
    built({"skill": whole}, task, policy, EXPERT, None)  # refused once, and not in every worker
    name, at = _states(store, alarms, settings.alarms, seed)
    made_with = plain(
        {
            "skill": whole,
            "numbers": list(numbers),
            **dataclasses.asdict(settings),
            "horizon": horizon,
            "seed": seed,
            "monitor": name,
            "states": list(at.items()),
            "episodes": store.digest(labels=False),
        }
    )
    if into.exists() and not overwrite:
        kept = read_tuning(into)
        refuse_other(shown(into), kept.made_with, made_with, "overwrite=true tunes it anew")
        return kept
    options: Record = {"split": SPLIT, "at": {uid: {step} for uid, step in at.items()}, "branches": settings.branches}
    options |= {"task": task, "policy": policy, "horizon": horizon, "runner": runner, "shields": shields}
    roll = functools.partial(tabulate, store, **options)
    rounds = _Rounds(Ledger(into.with_suffix(".unfinished.json")), made_with, roll)
    placebo, points = search.run(rounds, settings.points, seed)
    best = min(range(len(points)), key=lambda place: points[place].cost)
    found = Tuning(
        kind="tuning",
        task=task.name,
        strategy=str(skill["_target_"]),
        settings=search.settings(points[best].numbers),
        monitor=name,
        states=len(at),
        branches=len(at) * settings.branches,
        placebo=placebo,
        points=points,
        best=best,
        simulated=rounds.simulated,
        seed=seed,
        made_with=made_with,
    )
    write_text(into, json.dumps(sealed_record(found.record()), indent=1))
    rounds.forget()
    return found


def numbers_of(skill: Mapping[str, Any], names: Sequence[str]) -> tuple[Number, ...]:
    """The numbers of those names, with the bounds that the skill's own annotations say."""
    hints, found = parameters_of(skill["_target_"]), []
    for name in names:
        if name not in hints:
            raise UnknownNameError(f"parameter of {skill['_target_']}", name, hints)
        kind, *rules = get_args(hints[name]) or (None,)
        (bounds,) = [rule for rule in rules if isinstance(rule, Between)] or [Between()]
        if (
            name not in skill
            or kind not in (int, float)
            or not (math.isfinite(bounds.low) and bounds.low < bounds.high < math.inf)
        ):
            raise ConfigError(
                f"job.numbers: {name} of {skill['_target_']} is no number between bounds with a value to begin at"
            )
        found.append(Number(name, bounds.low, bounds.high, kind is int))
    if not found or len({*names}) < len(names):
        raise ConfigError(f"job.numbers={list(names)} must name one number or more, each once")
    return tuple(found)


def _states(store: Store, alarms: AnyMonitor | Mapping[str, int], most: int, seed: int) -> tuple[str, dict[str, int]]:
    """Name of what alarmed, and uid -> control step of so many alarms of the fit split at most."""
    if isinstance(alarms, Mapping):
        name, found = "calls by hand", {store.number_of(uid): step for uid, step in alarms.items()}
    else:
        refuse_silent(alarms)
        name, found = alarms.name, {number: step for number, (step,) in first_alarms(store, alarms, SPLIT).items()}
    split = store.episodes["split"]
    if strangers := [number for number in found if split[number] != SPLIT]:
        raise StoreError(
            f"a skill is tuned on the {SPLIT} split alone, and episode {store.uids[strangers[0]]} is of the "
            f"{split[strangers[0]]} split, on which it could not be judged any more"
        )
    if not found:
        raise StoreError(
            f"{shown(store.path)} has no alarm of {name} in the {SPLIT} split to tune a skill on; roll some failures: "
            "workbench rollout perturbation=[...] job.episodes.fit=50"
        )
    numbers = sorted(found)
    if len(numbers) > most:
        numbers = sorted(np.random.default_rng([seed, 3]).choice(numbers, most, replace=False).tolist())
    return name, {store.uids[number]: int(found[number]) for number in numbers}


class _Search:
    """CMA-ES over the numbers of a skill, each as a share of the way between its bounds."""

    def __init__(self, skill: Record, numbers: Sequence[Number]) -> None:
        self._skill, self._numbers = skill, numbers

    def settings(self, numbers: Mapping[str, float]) -> Record:
        """All settings of the skill, with some numbers in the place of its own."""
        return {key: value for key, value in {**self._skill, **numbers}.items() if key != "_target_"}

    def run(self, rounds: _Rounds, points: int, seed: int) -> tuple[int, list[Tried]]:
        """Branches that the placebo wins, and what was tried: the skill's own numbers, then round by round."""
        from cmaes import CMA

        own = {number.name: self._skill[number.name] for number in self._numbers}
        first = rounds.tried({PLACEBO: PLACEBO, "0": {**self._skill, **own}})
        found = [Tried(own, *first["0"])]
        # One dimension is none for the library; a second one that nothing depends on does no harm.
        size = max(len(self._numbers), 2)
        begin = np.resize([number.share(own[number.name]) for number in self._numbers], size)
        search = CMA(
            begin,
            SPREAD,
            bounds=np.tile([0.0, 1.0], (size, 1)),
            seed=(seed + 1) % 2**32,  # the library takes 32 bits
            population_size=POPULATION,
        )
        while len(found) + POPULATION <= points:
            asked = [search.ask() for _ in range(POPULATION)]
            made = [
                {each.name: each.at(share) for each, share in zip(self._numbers, one, strict=False)} for one in asked
            ]
            ended = rounds.tried({str(place): {**self._skill, **each} for place, each in enumerate(made)})
            new = [Tried(each, *ended[str(place)]) for place, each in enumerate(made)]
            search.tell([(one, each.cost) for one, each in zip(asked, new, strict=True)])
            found += new
        return first[PLACEBO][0], found


class _Rounds:
    """Settings, a round of them at a time, rolled from all states; what an unfinished search rolled is known."""

    def __init__(self, ledger: Ledger, made_with: Record, roll: Any) -> None:
        self._ledger, self._made_with, self._roll = ledger, made_with, roll
        self.simulated = self._number = 0

    def tried(self, arms: Mapping[str, Any]) -> dict[str, tuple[int, float]]:
        """Arm -> branches that it wins, and its cost."""
        key, made_with = f"round {self._number}", plain({**self._made_with, "arms": arms})
        self._number += 1
        known = self._ledger.entry(key)
        if known is None or not known.ended or known.made_with != made_with:
            table: CounterfactualTable = self._roll(strategies=arms)
            told = {arm: list(judged(steps, table.horizon)) for arm, steps in table.arms.items()}
            self._ledger.put(key, made_with, {"arms": told, "simulated": table.simulated})
            known = self._ledger.entry(key)
        assert known is not None
        self.simulated += known.record["simulated"]
        return {arm: (won, cost) for arm, (won, cost) in known.record["arms"].items()}

    def forget(self) -> None:
        """The search is finished."""
        assert self._ledger.path is not None
        self._ledger.path.unlink(missing_ok=True)


def judged(steps: Array, horizon: int) -> tuple[int, float]:
    """Branches that are won, and the cost: those that are lost, and a part of one for the mean time of all."""
    won = steps > NEVER
    return int(won.sum()), float((~won).sum() + np.where(won, steps, horizon).mean() / (2 * horizon))
