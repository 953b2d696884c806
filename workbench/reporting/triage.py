"""Tables of a triage: its groups of failures, how they agree with measured words, and what to look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workbench.attribution.confusions import Pair
from workbench.attribution.grouping import Agreement, Grouping
from workbench.attribution.signals import Ranked
from workbench.attribution.triage import Triage
from workbench.reporting.table import Cell, Column, Row, Table, numbers
from workbench.reporting.words import Rate, count, estimate, interval, number

SHOWN = 20
WORDS = 3
"""Rows of the ranking that are shown, and words of a cell."""


def triage_tables(found: Triage) -> list[Table]:
    """Groups and their agreement, where there are any; and the ranking."""
    groups = [] if found.grouping is None else [groups_table(found.grouping), agreement_table(found.grouping)]
    return [*groups, ranking_table(found)]


def groups_table(found: Grouping) -> Table:
    """A row a group."""
    columns = [
        Column("group"),
        *numbers("failures"),
        Column("medoid", code=True, help="the episode that is nearest to all others of the group"),
        Column("failure modes"),
        Column("faults"),
        Column("stage reached", help="index of the first stage never reached"),
    ]
    rows = [
        Row.of(
            f"group {each.number}", len(each.uids), each.medoid, counted(each.failure_modes), counted(each.faults),
            counted(each.stages),
        )
        for each in found.groups
    ]  # fmt: skip
    best = found.silhouettes[len(found.groups)]
    note = (
        f"{len(found.groups)} groups, where the mean silhouette is largest ({number(best)} of -1 to 1). They have no "
        "names: look at the medoid."
    )
    return Table("failures in groups", columns, rows, note)


def counted(words: Mapping[str, int]) -> str:
    """The commonest words with their counts; the others as a number."""
    shown = [f"{word or 'none'} {count}" for word, count in list(words.items())[:WORDS]]
    rest = sum(list(words.values())[WORDS:])
    return ", ".join([*shown, *([f"others {rest}"] if rest else [])])


def agreement_table(found: Grouping) -> Table:
    """How far the groups agree with what was measured and with what was injected."""
    pairs = {"measured failure modes": found.failure_modes, "injected faults": found.faults}
    rows = [Row.of(words, *_cells(each)) for words, each in pairs.items()]
    return Table("groups against", [Column("words"), *numbers("adjusted Rand", "V-measure")], rows)


def _cells(found: Agreement) -> list[Cell]:
    each = [dict(zip(("value", "low", "high"), one, strict=True)) for one in (found.rand, found.v_measure)]
    return [Cell(estimate(one), one["value"]) for one in each]


def ranking_table(found: Triage) -> Table:
    """The episodes to look at first."""
    columns = [Column("episode", code=True), *numbers("rank"), Column("because of")]
    rows = [
        Row.of(
            each.uid,
            Cell(number(each.rank), each.rank),
            reasons(each),
        )
        for each in found.ranking
    ]
    return Table("episodes to look at first", columns, rows).first(SHOWN)


def confusions_table(pairs: Sequence[Pair]) -> Table:
    """Pairs of instructions, those first that the policy tells apart least."""
    columns = [
        Column("asked", code=True),
        Column("or", code=True),
        Column("distance", numeric=True, help="median, in distances of two chunks of one instruction; below 1: alike"),
        *numbers("alike", "fulfilled", "swapped"),
    ]
    rows = [
        Row.of(
            each.first, each.second, Cell(number(each.ratio), each.ratio), _share(each.alike, each.states),
            _share(each.right, each.asked), _share(each.swapped, each.asked),
        )
        for each in pairs
    ]  # fmt: skip
    note = (
        "Alike: states from which the chunks of both are no further apart than two of one. Fulfilled, swapped: other "
        "episodes that asked for one of the two, in which it, or the other one instead, was fulfilled."
    )
    return Table("instructions that could be confused", columns, rows, note).first(SHOWN)


def _share(part: int, whole: int) -> Cell:
    rate = Rate(part, whole)
    return Cell(count(part, whole), rate.share, rate.bounds, interval(rate.bounds))


def reasons(episode: Ranked) -> str:
    """The signals for which an episode stands where it does."""
    return ", ".join(f"{name} {episode.signals[name]:.3g}" for name in episode.top)
