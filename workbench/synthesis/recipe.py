"""What a data set of failures is to hold: a recipe, its cells, and how many episodes each of them wants.

A *cell* is one task, one kind of fault, one axis of it and one failure rate that its magnitude is chosen for.  Every
cell takes the same episode numbers, so its episodes share their scenes and noise with those of every other cell and
with their nominal twins; what differs is the fault.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from workbench.config import read_yaml
from workbench.errors import ConfigError, UnknownNameError
from workbench.synthesis.axis import FaultAxis
from workbench.synthesis.tolerances import Search
from workbench.types import EPISODES_PER_SPLIT, SPLITS, Record, Split
from workbench.types.reading import NAME, TEXT, Between, Size, Source, checked

OPTIONAL = ("cameras", "signals", "search", "limits")
"""Keys that a recipe may leave out."""
QUICK: Record = {"batch": 6, "most": 12, "resolution": 0.15, "confidence": 0.5}
"""How magnitudes are searched for unless a recipe says otherwise.

A data set needs cells that fail neither always nor never and says what they do, so few episodes are enough here;
tolerances that are to be published are measured by :func:`workbench.synthesis.searching.tolerance`.
"""
SHIPPED = Path(__file__).parents[1] / "recipes"
"""The recipes that come with the package."""


def find_recipe(name: str, root: Path) -> Path:
    """File of a recipe: the user's own in ``datasets/recipes/`` below ``root``, or else the one that is shipped."""
    folders = (root / "datasets" / "recipes", SHIPPED)
    for folder in folders:
        if (path := folder / f"{name}.yaml").exists() and path.parent == folder:
            return path
    raise UnknownNameError("recipe", name, {path.stem for folder in folders for path in folder.glob("*.yaml")})


_Count = Annotated[int, Between(0, EPISODES_PER_SPLIT)]


@dataclasses.dataclass(frozen=True)
class _Said:
    """A recipe as its file says it; see :class:`Recipe`."""

    about: Annotated[str, Size(1, 20_000)]
    licence: NAME
    policy: Annotated[str, Size(1, 200)] | dict[NAME, Annotated[str, Size(1, 200)]]
    tasks: Annotated[tuple[NAME, ...], Size(0, 100)]
    nominal: Any
    least: Any
    most: Any
    failures: _Count
    failure_rates: Annotated[tuple[float, ...], Size(0, 100)]
    perturbations: Annotated[dict[NAME, Record | None], Size(0, 1000)]
    cameras: Record | None = None
    signals: tuple[NAME, ...] | None = None
    search: Record | None = None
    limits: tuple[TEXT, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A data set of failures as it is asked for.

    Attributes
    ----------
    name : of its file.
    about : what it is for, a paragraph.
    licence : SPDX identifier.
    policies : task -> name of the policy group's file that is rolled; in the file ``policy``, one for all tasks or a
        mapping.
    tasks : names of tasks.
    cameras : of the tasks, as ``task.cameras`` takes them; None for no images.
    signals : what the policy is asked to say of its calls, as ``rollout.signals`` takes them.
    nominal : split -> episodes without a fault.
    least, most : split -> episodes of every cell: so many at first, and at most.
    failures : how many failed episodes a cell of a split should have, if ``most`` allows.
    failure_rates : failure rates for which magnitudes are chosen.
    search : how magnitudes are searched for, on the split ``select``.
    perturbations : name -> what differs from its yaml, with ``axes`` for the axes that are wanted (default: all).
    limits : known limits of the data, a line each, for the card.
    """

    name: str
    about: str
    licence: str
    policies: Mapping[str, str]
    tasks: tuple[str, ...]
    cameras: Record | None
    signals: tuple[str, ...]
    nominal: Mapping[Split, int]
    least: Mapping[Split, int]
    most: Mapping[Split, int]
    failures: int
    failure_rates: tuple[float, ...]
    search: Search
    perturbations: Mapping[str, Record]
    limits: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """A recipe's file; ConfigError or UnknownNameError, with what is allowed, for one that cannot be meant."""
        given = read_yaml(path)
        fields = [field.name for field in dataclasses.fields(cls) if field.name != "name"]
        known = ["policy" if name == "policies" else name for name in fields]
        for key in given:
            if key not in known:
                raise UnknownNameError(f"key of {path.name}", key, known)
        if missing := [key for key in known if key not in given and key not in OPTIONAL]:
            raise ConfigError(f"{path.name} says nothing about {', '.join(missing)}")
        said: _Said = checked(_Said, given, Source(path.name, ConfigError))
        return cls(
            name=path.stem,
            about=" ".join(said.about.split()),
            licence=said.licence,
            policies=_policies(path, said.policy, said.tasks),
            tasks=said.tasks,
            cameras=said.cameras,
            signals=said.signals or (),
            nominal=_counts(path, "nominal", said.nominal),
            least=_counts(path, "least", said.least),
            most=_counts(path, "most", said.most),
            failures=said.failures,
            failure_rates=tuple(map(float, said.failure_rates)),
            search=_search(said.search or {}),
            perturbations={name: dict(node or {}) for name, node in said.perturbations.items()},
            limits=said.limits or (),
        )

    def __post_init__(self) -> None:
        if not self.tasks or not self.perturbations:
            raise ConfigError(f"recipe {self.name} names no task or no perturbation")
        if any(not 0 < rate < 1 for rate in self.failure_rates) or not self.failure_rates:
            raise ConfigError(f"failure_rates={list(self.failure_rates)} must lie between 0 and 1")
        for split, least in self.least.items():
            if not 0 < least <= self.most.get(split, 0):
                raise ConfigError(f"recipe {self.name}: least.{split}={least} must be in 1..most.{split}")
        if set(self.least) != set(self.most):
            raise ConfigError(f"recipe {self.name}: least and most must name the same splits")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One fault along one axis, at one magnitude.

    Attributes
    ----------
    rate : failure rate that the magnitude was chosen for; None where the whole axis fails always or never.
    """

    axis: FaultAxis
    magnitude: float
    rate: float | None

    @property
    def name(self) -> str:
        """The axis' label, and the rate or that it is the end of the axis."""
        return f"{self.axis.label}@{'end of axis' if self.rate is None else f'{self.rate:g}'}"


def cells_of(axis: FaultAxis, found: Mapping[str, float | None]) -> list[Cell]:
    """Cells from what the search found: rate (as text; "" for an end of the axis) -> magnitude; each magnitude once.

    Whole magnitudes may coincide; the rate that is nearest to one half keeps it.
    """
    cells: dict[float, Cell] = {}
    for rate in sorted(found, key=lambda text: abs(float(text or 0) - 0.5)):
        magnitude = found[rate]
        if magnitude is not None and magnitude not in cells:
            cells[magnitude] = Cell(axis, magnitude, float(rate) if rate else None)
    return [cells[magnitude] for magnitude in sorted(cells)]


def wanted(least: int, most: int, failures: int, failed: Sequence[bool]) -> int:
    """How many episodes of a cell are wanted, given whether its first ones failed.

    Batches of ``least`` until ``failures`` of them have failed, ``most`` at most.  It depends on the first outcomes
    alone, so an interrupted synthesis ends with the episodes of an uninterrupted one.
    """
    count = least
    while count < most and count <= len(failed) and sum(failed[:count]) < failures:
        count = min(count + least, most)
    return count


def _policies(path: Path, given: Any, tasks: Sequence[str]) -> dict[str, str]:
    if not isinstance(given, Mapping):
        return {task: str(given) for task in tasks}
    if sorted(given) != sorted(tasks):
        raise ConfigError(
            f"policy of {path.name} must be one policy, or one for each of its tasks ({', '.join(tasks)}), "
            f"not for {', '.join(map(str, given)) or 'none'}"
        )
    return {task: str(given[task]) for task in tasks}


def _counts(path: Path, key: str, given: Any) -> dict[Split, int]:
    if not isinstance(given, Mapping) or any(
        type(count) is not int or not 0 <= count <= EPISODES_PER_SPLIT for count in given.values()
    ):
        raise ConfigError(f"{key} of {path.name} must say how many episodes of each split, such as {{fit: 2, test: 2}}")
    for split in given:
        if split not in SPLITS:
            raise UnknownNameError(f"split in {path.name}", split, SPLITS)
    return dict(given)


def _search(given: Mapping[str, Any]) -> Search:
    known = [field.name for field in dataclasses.fields(Search)]
    for key in given:
        if key not in known:
            raise UnknownNameError("key of a recipe's search", key, known)
    found: Search = checked(Search, {**QUICK, **given}, Source("search of a recipe", ConfigError))
    return found
