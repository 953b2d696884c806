"""The magnitudes of a recipe's faults: at which each task's policy fails as often as the recipe asks."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from workbench.config import resolve, shown
from workbench.errors import ConfigError
from workbench.execution.executor import Executor
from workbench.execution.ledger import Ledger
from workbench.execution.progress import bars
from workbench.rollouts.setup import Setup
from workbench.synthesis.axis import FaultAxis, fault_axis, node_of
from workbench.synthesis.recipe import Cell, Recipe, cells_of
from workbench.synthesis.searching import AxisSearch, decides, made_with, search_axis
from workbench.synthesis.tolerances import Tolerance, Verdict
from workbench.types import Perturbation, Record
from workbench.types.reading import Like, Source, checked


@dataclasses.dataclass(frozen=True)
class _Kept:
    """Magnitudes as the ledger keeps them; see :class:`Magnitudes`."""

    found: dict[Annotated[str, Like(r"|0(\.\d+)?|1e-\d+", "a failure rate")], float | None] = dataclasses.field(
        default_factory=dict
    )
    verdict: Verdict | Literal[""] = ""
    tolerance: float | None = None
    parameter: str = ""
    trials: list[list[float]] = dataclasses.field(default_factory=list)
    refused: str = ""


@dataclasses.dataclass(frozen=True)
class Magnitudes:
    """The magnitudes of one fault along one axis, for one task and its policy; or why they cannot have it.

    Attributes
    ----------
    found : failure rate, as text, -> magnitude; "" stands for the end of an axis that fails always or never.
    verdict, tolerance : of the search, as in :class:`workbench.synthesis.tolerances.Tolerance`.
    trials : (magnitude, failures, episodes), the mildest first.
    refused : why the task or the policy cannot have the fault; "" where they can.
    """

    axis: FaultAxis
    found: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    verdict: str = ""
    tolerance: float | None = None
    trials: Sequence[Sequence[float]] = ()
    refused: str = ""

    @classmethod
    def of(cls, axis: FaultAxis, searched: Tolerance, rates: Sequence[float]) -> Magnitudes:
        """Those of a search; the end of the axis where no failure rate is reached or left on it."""
        found = {f"{rate:g}": searched.at(rate) for rate in rates}
        if not any(magnitude is not None for magnitude in found.values()):
            found = {"": axis.scale.magnitude(0.0 if searched.verdict == "always fails" else 1.0)}
        trials = [list(dataclasses.astuple(trial)) for trial in searched.trials]
        return cls(axis, found, searched.verdict, searched.magnitude, trials)

    @classmethod
    def read(cls, axis: FaultAxis, record: Record, source: Source) -> Magnitudes:
        """Those of a record of a ledger."""
        kept: _Kept = checked(_Kept, record, source, axis.label)
        return cls(axis, kept.found, kept.verdict, kept.tolerance, kept.trials, kept.refused)

    @property
    def cells(self) -> list[Cell]:
        """One cell for each magnitude; none where the fault is refused."""
        return cells_of(self.axis, self.found)

    def record(self) -> Record:
        """Plain data, as the ledger keeps it."""
        if self.refused:
            return {"refused": self.refused}
        return {
            "found": dict(self.found),
            "verdict": self.verdict,
            "tolerance": self.tolerance,
            "parameter": self.axis.parameter,
            "trials": [list(trial) for trial in self.trials],
        }


Found = Mapping[str, Mapping[str, Magnitudes]]
"""Task -> label of an axis -> its magnitudes."""


def find_magnitudes(
    recipe: Recipe,
    setups: Mapping[str, Setup],
    perturbations: Mapping[str, Record | Perturbation],
    *,
    seed: int,
    runner: Executor,
    ledger: Path | None = None,
) -> Found:
    """Search for the magnitudes of every fault of a recipe on every task, on episodes of the split ``select``.

    Parameters
    ----------
    setups : task -> what rolls there.
    perturbations : name -> configuration, or a perturbation that was made from one, of the faults of the recipe.
    ledger : file that keeps what was found, so that nothing is searched for twice; None keeps nothing.

    Raises
    ------
    OtherSettingsError
        if the ledger holds what was searched for with other settings.
    """
    kept = Ledger(ledger, shown(ledger) if ledger else "")
    settings = {task: searched_with(recipe, setup, seed) for task, setup in setups.items()}
    for task in setups:
        kept.holds(task, settings[task])
    axes = axes_of(recipe, perturbations)

    def keep(task: str, found: Magnitudes) -> None:
        kept.put(task, settings[task])
        kept.put(f"{task}/{found.axis.label}", made_with(found.axis), found.record())

    wanted: list[tuple[str, FaultAxis]] = []
    for task, axis in itertools.product(setups, axes):
        if why := refusal(axis, setups[task], seed):
            keep(task, Magnitudes(axis, refused=why))
        elif not searched(kept, f"{task}/{axis.label}", axis):
            wanted.append((task, axis))
    with bars("magnitudes", collections.Counter(task for task, _ in wanted)) as advance:
        items = [AxisSearch(setups[task], axis, recipe.search, "select", seed) for task, axis in wanted]
        for place, found, _ in runner.map_unordered(search_axis, list(enumerate(items))):
            task, axis = wanted[place]
            keep(task, Magnitudes.of(axis, found, recipe.failure_rates))
            advance(task, 1)
    records = kept.records()
    return {
        task: {axis.label: Magnitudes.read(axis, records[f"{task}/{axis.label}"], kept.source) for axis in axes}
        for task in setups
    }


def searched_with(recipe: Recipe, setup: Setup, seed: int) -> Record:
    """What decides the magnitudes of a task, its faults apart."""
    search = {"search": dataclasses.asdict(recipe.search), "failure_rates": list(recipe.failure_rates)}
    return {**decides(setup, seed), **search}


def searched(kept: Ledger, key: str, axis: FaultAxis) -> bool:
    """Whether a ledger holds what was found for an axis; what was refused once is asked for again."""
    entry = kept.entry(key)
    return entry is not None and "refused" not in entry.record and kept.holds(key, made_with(axis))


def axes_of(recipe: Recipe, perturbations: Mapping[str, Record | Perturbation]) -> list[FaultAxis]:
    """Every axis of every fault that a recipe asks for, what it changes of their configurations in place."""
    found = []
    for name, changes in recipe.perturbations.items():
        node = {**node_of(name, perturbations[name]), **{key: changes[key] for key in changes if key != "axes"}}
        wanted = changes.get("axes") or resolve(node["_target_"]).axes or (None,)
        found += [fault_axis(name, node, axis) for axis in wanted]
    return found


def refusal(axis: FaultAxis, setup: Setup, seed: int) -> str:
    """Why a task or its policy cannot have a fault; "" where they can."""
    try:
        axis.suits(setup.task, setup.policy, seed)
    except ConfigError as error:
        return str(error)
    return ""
