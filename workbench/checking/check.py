"""Verify a store or a run: what is damaged, and what can be saved."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from workbench.benchmarking.curves import read_curves
from workbench.config.build import resolve
from workbench.config.files import data_path, root_folder, shown
from workbench.config.journal import JOURNAL, read_journal
from workbench.config.named import node_of_checkpoint
from workbench.config.run import read_metrics
from workbench.errors import ConfigError, StoreError, UnknownNameError, WorkbenchError
from workbench.execution.ledger import Ledger
from workbench.formats import exporting
from workbench.monitoring import files
from workbench.store import Verified, save_whole, verify_store
from workbench.types import Record
from workbench.types.reading import brief
from workbench.types.results import Tabular

WHOLE, DAMAGED, UNVERIFIED = "whole", "damaged", "not verified"
LEDGERS = ("stages.json", "training.json", "tolerance.json")
"""Files of a run that remember what was done."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One thing that was looked at.

    Attributes
    ----------
    what : kind of thing: store, part, metrics, ledger, weights, monitors, curves, export.
    path : where it is, as people read it.
    state : ``whole``, ``damaged`` or ``not verified``.
    words : what is damaged, or why it was not verified; "" for a whole one.
    episodes, of : of a part and of a store, whole episodes and all that it has; None elsewhere.
    """

    what: str
    path: str
    state: str
    words: str = ""
    episodes: int | None = None
    of: int | None = None


@dataclasses.dataclass(frozen=True)
class Check(Tabular):
    """What was looked at, and what was found.

    Attributes
    ----------
    items : in the order in which they were looked at; a thing with several damages comes several times.
    lost : uids of episodes that are damaged, as far as they can be read.
    saved : new store with the whole episodes; None where none was asked for.
    """

    items: tuple[Item, ...]
    lost: tuple[str, ...] = ()
    saved: Path | None = None

    @property
    def damages(self) -> list[Item]:
        """What is damaged."""
        return [item for item in self.items if item.state == DAMAGED]

    def rows_of_table(self) -> Sequence[Record]:
        """One plain record an item."""
        return [dataclasses.asdict(item) for item in self.items]


def check(
    store: str | Path | None = None,
    *,
    run: str | Path | None = None,
    save: str | Path | None = None,
) -> Check:
    """Read everything that was written and say what is damaged, and which parts and episodes are whole.

    Of a store that is its header, metadata, arrays, parts, checksums, labels, records of perturbations and the content
    of every episode, and the kept curves beside it; of a run its metrics, ledgers, weights, monitors and the stores
    that it names or that are called after it.

    Parameters
    ----------
    store : name of a store in ``datasets/``, or its path.
    run : name of a run in ``runs/``, or its folder.
    save : name or path of a new store that takes the whole episodes of ``store``, each with its labels.

    Raises
    ------
    StoreError
        if there is no such store or run.
    ConfigError
        if neither or both are asked for, or ``save`` without ``store``.
    """
    if (store is None) == (run is None) or (save is not None and store is None):
        raise ConfigError("check takes a store or a run, and save goes with a store")
    if run is not None:
        folder = _run_folder(run)
        return Check(tuple(_run_items(folder)))
    assert store is not None
    path = data_path(store)
    into = None if save is None else data_path(save)
    found = verify_store(path) if into is None else save_whole(path, into)
    return Check((*_store_items(found), *_beside(path)), tuple(found.lost), into)


def _run_folder(run: str | Path) -> Path:
    folder = run if isinstance(run, Path) or "/" in run else root_folder() / "runs" / run
    if not Path(folder).is_dir():
        raise StoreError(f"there is no run at {shown(Path(folder))}; choose one of runs/")
    return Path(folder)


def _store_items(found: Verified) -> Iterator[Item]:
    total = sum(of for _, of in found.parts.values())
    state = DAMAGED if found.damages else WHOLE
    words = f"{len(found.damages)} damages; save=NAME keeps what is whole in a new store" if found.damages else ""
    yield Item("store", shown(found.path), state, words, found.whole, total)
    for name, (whole, of) in found.parts.items():
        lost = f"{of - whole} of {of} episodes are lost" if whole < of else ""
        yield Item("part", shown(found.path / "parts" / name), DAMAGED if lost else WHOLE, lost, whole, of)
    for words in found.damages:
        yield Item("damage", shown(found.path), DAMAGED, words.replace(f"{found.path}/", ""))


def _beside(store: Path) -> Iterator[Item]:
    """What lies beside a store and is made of it: kept curves, which labels were made, and what attributors said."""
    for file in sorted(store.with_suffix(".curves").glob("*.safetensors")):
        yield _item("curves", file, functools.partial(read_curves, file))
    for ledger in filter(Path.exists, map(store.with_suffix, (".labels.json", ".attribution.json"))):
        yield _item("ledger", ledger, functools.partial(Ledger, ledger, shown(ledger)))


def _run_items(folder: Path) -> Iterator[Item]:
    metrics: Record = {}
    file = folder / "metrics.json"
    if file.exists():
        yield _item("metrics", file, lambda: metrics.update(read_metrics(file, shown(file))))
    if (journal := folder / JOURNAL).exists():
        yield _item("journal", journal, functools.partial(read_journal, folder, shown(journal)))
    for name in LEDGERS:
        if (ledger := folder / name).exists():
            yield _item("ledger", ledger, functools.partial(Ledger, ledger, shown(ledger)))
    for record in sorted(folder.glob("*/policy.json")):
        yield _item("weights", record.parent, functools.partial(_load_weights, record.parent))
    if (kept := folder / "monitors").is_dir():
        yield _item("monitors", kept, functools.partial(files.verify, kept))
    root = folder.parent.parent
    called = [root / "datasets" / f"{folder.name}{end}.zarr" for end in ("", "-demos")]
    stores = [*_named(metrics, root, "store", "demos"), *(path for path in called if path.exists())]
    for path in dict.fromkeys(stores):
        try:
            yield from _store_items(verify_store(path))
            yield from _beside(path)
        except StoreError as error:
            yield Item("store", shown(path), DAMAGED, str(error))
    for path in _named(metrics, root, "export"):
        yield _item("export", path, functools.partial(exporting.verify, path))


def _named(metrics: Record, root: Path, *keys: str) -> list[Path]:
    """What a run's metrics name, below the root that the run lies in."""
    return [root / each for each in dict.fromkeys(map(metrics.get, keys)) if isinstance(each, str)]


def _item(what: str, path: Path, read: Callable[[], object]) -> Item:
    """One thing that is whole if it can be read."""
    try:
        read()
    except UnknownNameError as error:
        return Item(what, shown(path), UNVERIFIED, str(error))
    except WorkbenchError as error:
        return Item(what, shown(path), DAMAGED, str(error))
    except Exception as error:  # whatever a library makes of a damaged file
        return Item(what, shown(path), DAMAGED, f"it cannot be read ({brief(repr(error))})")
    return Item(what, shown(path), WHOLE)


def _load_weights(folder: Path) -> None:
    """Load a policy from its folder, which holds record and weights against their digests."""
    resolve(node_of_checkpoint(folder)["_target_"]).load(folder)
