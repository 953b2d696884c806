"""Folds: which episodes a monitor is fitted, chosen, calibrated and judged on.

A protocol is a cut of a store's episodes into folds.  Whatever it does, an episode keeps the split that its index gave
it: what is fitted comes from ``fit``, what is chosen (windows) from ``select``, thresholds from ``calibrate`` and every
published number from ``test``; :class:`Fold` refuses anything else.  Protocols differ in what of these splits is held
back, so that what is judged is as new as the protocol's name says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from workbench.errors import ConfigError, SplitError
from workbench.monitoring.episodes import sound
from workbench.store import Store
from workbench.types import Split, split_of
from workbench.types.faults import channels_in


@dataclasses.dataclass(frozen=True)
class Entry:
    """One episode, as far as a protocol may know it.

    Attributes
    ----------
    number : in its store.
    uid : names it across stores.
    split : of its index.
    instruction : what the robot was told.
    family : channels of its perturbations, joined by "+"; "" for a nominal episode.
    perturbation : their names; "" for a nominal episode.
    rate : failure rate that its cell aims at; None where it has none.
    success : how it ended.
    twin : uid of its nominal twin; "" for a nominal episode.
    """

    number: int
    uid: str
    split: Split
    instruction: str
    family: str
    perturbation: str
    rate: float | None
    success: bool
    twin: str

    @property
    def nominal(self) -> bool:
        """Whether nothing was injected."""
        return not self.family


def entries_of(store: Store) -> list[Entry]:
    """The episodes of a store, those left out whose physics diverged."""
    rows = store.episodes
    return [
        Entry(
            number=number,
            uid=str(rows["uid"][number]),
            split=split_of(int(rows["index"][number])),
            instruction=str(rows["instruction"][number]),
            family=channels_in(rows["perturbations"][number], f"{store.path}, perturbations of {rows['uid'][number]}"),
            perturbation=str(rows["perturbation"][number]),
            rate=_rate(str(rows["cell"][number])),
            success=bool(rows["success"][number]),
            twin=f"{rows['seed'][number]}:{rows['index'][number]}:nominal" if rows["perturbation"][number] else "",
        )
        for number in sound(store)
    ]


def _rate(cell: str) -> float | None:
    try:
        return float(cell.rpartition("@")[2])
    except ValueError:
        return None


@dataclasses.dataclass(frozen=True)
class Fold:
    """One cut of a store's episodes; SplitError if an episode is used for what its split is not for.

    Attributes
    ----------
    name : what is judged in it, "" where there is one fold alone.
    fit, select, calibrate, test : episodes for each purpose.  Scores that learn from successes take the nominal
        successes of ``fit`` alone, thresholds those of ``calibrate``.
    """

    name: str
    fit: tuple[Entry, ...]
    select: tuple[Entry, ...]
    calibrate: tuple[Entry, ...]
    test: tuple[Entry, ...]

    def __post_init__(self) -> None:
        for split in PURPOSES:
            strangers = [entry for entry in getattr(self, split) if entry.split != split]
            if strangers:
                raise SplitError(
                    f"fold {self.name or 'of all'} uses {len(strangers)} episodes of another split for {split}, such "
                    f"as {strangers[0].uid} of {strangers[0].split}"
                )

    def successes(self, split: Split) -> list[Entry]:
        """Nominal successes of a split."""
        return [entry for entry in getattr(self, split) if entry.nominal and entry.success]


PURPOSES: tuple[Split, ...] = ("fit", "select", "calibrate", "test")


class Cut(Protocol):
    """A way to cut the episodes of one store into folds: what ``protocol=...`` names."""

    name: str
    about: str
    """What is fitted, chosen, calibrated and judged on what, in a paragraph."""

    def folds(self, entries: Sequence[Entry], seed: int) -> list[Fold]:
        """Folds; ConfigError where the store has nothing that the protocol could hold back."""
        ...


def fold_of(
    name: str, entries: Sequence[Entry], known: Callable[[Entry], bool], asked: Callable[[Entry], bool]
) -> Fold:
    """Fold that learns from what is known, and judges what is asked for."""
    rules = {"fit": known, "select": known, "calibrate": known, "test": asked}
    return Fold(
        name, **{split: tuple(e for e in entries if e.split == split and rule(e)) for split, rule in rules.items()}
    )


class Seen:
    """Everything is seen: the test split holds other episodes of the same faults."""

    name = "seen"
    about = (
        "Scores are fitted on the fit split (those that learn from successes on its nominal successes alone), windows "
        "chosen on the select split, thresholds set on nominal successes of the calibrate split, and every number is "
        "of the test split. All kinds of faults occur in all splits."
    )

    def folds(self, entries: Sequence[Entry], seed: int) -> list[Fold]:
        """One fold of everything."""
        return [fold_of("", entries, lambda entry: True, lambda entry: True)]


class UnseenFamily:
    """Leave one family of faults out, each in turn."""

    name = "unseen_family"
    about = (
        "One fold for each family of faults (the channel on which they act): fit and select splits hold nominal "
        "episodes and the other families, the test split nominal episodes and the one that was left out. Thresholds "
        "are set on nominal successes of the calibrate split. Numbers are means over tasks and folds."
    )

    def folds(self, entries: Sequence[Entry], seed: int) -> list[Fold]:
        """One fold a family, which learns from the others and judges it beside nominal episodes."""
        families = sorted({entry.family for entry in entries} - {""})
        if len(families) < 2:
            raise ConfigError(
                f"protocol unseen_family needs at least two families of faults, and there is {families or 'none'}; "
                "synthesize a data set with faults of several channels"
            )
        return [_without(family, entries) for family in families]


def _without(family: str, entries: Sequence[Entry]) -> Fold:
    left_out = set(family.split("+"))
    return fold_of(
        family,
        entries,
        lambda entry: entry.nominal or not left_out & set(entry.family.split("+")),
        lambda entry: entry.nominal or entry.family == family,
    )


class UnseenTask:
    """Some tasks are never learned from; which, is drawn anew for every seed.

    The split of SAFE (Gu et al., NeurIPS 2025).  A task is an instruction of one store: scores are of one policy's
    embeddings, which another policy does not share.

    Parameters
    ----------
    share : of the instructions that are left out, rounded.
    draws : how often they are drawn.
    """

    name = "unseen_task"

    def __init__(self, share: float = 0.3, draws: int = 3) -> None:
        if not 0 < share < 1 or draws < 1:
            raise ConfigError(f"share={share} of protocol unseen_task must lie in (0, 1), draws={draws} be at least 1")
        self.share, self.draws = share, draws
        self.about = (
            f"In each of {draws} draws {share:.0%} of the instructions are left out of the fit, select and calibrate "
            "splits, and the test split is theirs alone. Thresholds come from nominal successes of other instructions, "
            "so no promise about false alarms carries over."
        )

    def folds(self, entries: Sequence[Entry], seed: int) -> list[Fold]:
        """One fold a draw."""
        told = sorted({entry.instruction for entry in entries})
        count = round(self.share * len(told))
        if not 0 < count < len(told):
            raise ConfigError(
                f"protocol unseen_task leaves {count} of {len(told)} instructions out; it needs a store of several, "
                "such as rollouts of task=blocks policy=zoo/blocks_language"
            )
        random = np.random.default_rng([seed, len(told)])
        folds = []
        for draw in range(self.draws):
            unseen = {told[place] for place in random.permutation(len(told))[:count]}
            folds.append(
                fold_of(
                    f"draw {draw}",
                    entries,
                    lambda entry, unseen=unseen: entry.instruction not in unseen,  # type: ignore[misc]
                    lambda entry, unseen=unseen: entry.instruction in unseen,  # type: ignore[misc]
                )
            )
        return folds


class UnseenSeverity:
    """Learn from mild faults, judge hard ones."""

    name = "unseen_severity"
    about = (
        "Fit and select splits hold nominal episodes and faults at the milder magnitudes of each kind (failure rates "
        "aimed at below one half), the test split nominal episodes and the harder ones."
    )

    def folds(self, entries: Sequence[Entry], seed: int) -> list[Fold]:
        """One fold."""
        if not any(entry.rate is not None and entry.rate >= 0.5 for entry in entries):
            raise ConfigError(
                "protocol unseen_severity needs cells with failure rates on both sides of one half: synthesize with a "
                "recipe such as monitors-v1"
            )
        return [
            fold_of(
                "",
                entries,
                lambda entry: entry.nominal or (entry.rate is not None and entry.rate < 0.5),
                lambda entry: entry.nominal or (entry.rate is not None and entry.rate >= 0.5),
            )
        ]


class Twins:
    """Failed episodes beside their own nominal twins: the same scene and noise, without the fault."""

    name = "twins"
    about = (
        "As seen, but the test split holds failed perturbed episodes and their successful nominal twins alone: what "
        "differs within a pair is the fault, not how hard the scene was."
    )

    def folds(self, entries: Sequence[Entry], seed: int) -> list[Fold]:
        """One fold."""
        won = {entry.uid for entry in entries if entry.nominal and entry.success}
        pairs = [entry for entry in entries if not entry.nominal and not entry.success and entry.twin in won]
        if not pairs:
            raise ConfigError(
                "protocol twins needs failed episodes whose nominal twins are in the store: workbench synthesize puts "
                "them there"
            )
        judged = {entry.uid for entry in pairs} | {entry.twin for entry in pairs}
        return [fold_of("", entries, lambda entry: True, lambda entry: entry.uid in judged)]
