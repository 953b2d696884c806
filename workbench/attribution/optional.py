"""Labels that are measured where they are asked for, one column of which says whether they are known.

Each is an item of the ledger beside a store: the settings that it was measured with, and what each episode cost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from workbench.config import shown
from workbench.execution.executor import Item, batches
from workbench.execution.ledger import Ledger, refuse_other
from workbench.execution.progress import progress
from workbench.rollouts.setup import Setup
from workbench.store import Store
from workbench.types import COLUMNS, Record
from workbench.types.reading import Between, checked

Found = tuple[Record, int]
"""Labels of an episode, and control steps that were simulated for them."""
_DEFAULTS = {column.name: column.default for column in COLUMNS}


@dataclasses.dataclass(frozen=True)
class _Spent:
    """What the ledger says: control steps that were simulated for each episode by its uid."""

    steps: dict[str, Annotated[int, Between(0)]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class AskedLabel:
    """A label, or several that are measured together.

    Attributes
    ----------
    name : item of the ledger, and name of the search.
    columns : of the store; the first one says whether they are known.
    """

    name: str
    columns: Sequence[str]

    @property
    def unknown(self) -> Record:
        """The columns of an episode in which nothing was measured."""
        return {name: _DEFAULTS[name] for name in self.columns}

    def is_known(self, store: Store, number: int) -> bool:
        """Whether it was measured of an episode."""
        return bool(store.episodes[self.columns[0]][number] != _DEFAULTS[self.columns[0]])

    def refuse_other(self, store: Store, asked: Record, ledger: Ledger) -> None:
        """Refuse to measure with other settings what is measured already."""
        if self._differs(store, asked, ledger):
            entry = ledger.entry(self.name)
            assert entry is not None
            what, remedy = f"the label {self.name} of {shown(store.path)}", "overwrite=true measures it anew"
            refuse_other(what, entry.made_with, asked, remedy)

    def measure(
        self,
        store: Store,
        setup: Setup,
        asked: Record,
        ledger: Ledger,
        numbers: Sequence[int],
        batch: Callable[[list[int]], Item],
        function: Callable[[Item], Mapping[str, Found]],
        size: int,
    ) -> int:
        """Measure it of the episodes that have none; or all anew where what is there is of other settings.

        What an interrupted call has measured is kept.  Labels of other settings stay until all new ones are measured.

        Parameters
        ----------
        asked : what decides it, as the ledger keeps it.
        numbers : of the episodes that are to have it.
        batch, function : from numbers of episodes to what a worker gets, and from that to uid -> what was found.
        size : episodes of a batch.

        Returns
        -------
        Control steps that were simulated for it, also by earlier calls.
        """
        anew, entry = self._differs(store, asked, ledger), ledger.entry(self.name)
        kept = entry.record if entry is not None and not anew else None
        spent: _Spent = checked(_Spent, kept, ledger.source, self.name) if kept else _Spent()
        wanted = [number for number in numbers if anew or not self.is_known(store, number)]
        before = [number for number in range(len(store)) if anew and self.is_known(store, number)]
        measured = {store.uids[number]: self.unknown for number in before}
        with progress(self.name, len(numbers)) as advance:
            advance(len(numbers) - len(wanted))
            items = [batch(part) for part in batches(wanted, size)]
            for found in setup.map_unordered(function, items):
                new = {uid: columns for uid, (columns, _) in found.items()}
                measured |= new
                spent = _Spent({**spent.steps, **{uid: steps for uid, (_, steps) in found.items()}})
                if not anew:
                    ledger.put(self.name, asked, dataclasses.asdict(spent))
                    store.annotate_many(new)
                advance(len(found))
        if anew:
            store.annotate_many(measured)
            ledger.put(self.name, asked, dataclasses.asdict(spent))
        return sum(spent.steps.values())

    def _differs(self, store: Store, asked: Record, ledger: Ledger) -> bool:
        """Whether there are labels that were measured with other settings."""
        entry = ledger.entry(self.name)
        known = any(self.is_known(store, number) for number in range(len(store)))
        return known and entry is not None and entry.made_with != asked
