"""Do explanations say only what the store holds, and does the checker notice what does not?

Every episode of the stores with a failure is explained.  Each field of the record is held against the store's columns
and arrays, which are read here once more without the code that made the record; each sentence of its three forms is
taken apart by the checker.

Then contradictions of ten kinds are planted, as many of each, in sentences of the templates and in sentences in other
words: a time shifted, a mode, stage or object exchanged, the outcome turned round, a fault renamed, a magnitude scaled,
an order turned round, the twin and the expert exchanged, a rate changed.  Beside each stands the same sentence as it is
true.  A planted one is found if any claim of it is marked false; a true one is marked wrongly if any is.

Claims: no field and no sentence of an explanation contradicts the store; at least 95 % of the planted contradictions
are found, in the templates' words all; and no true sentence is marked false.

Run: make verify WHAT=explanations ARGS="--root FOLDER"
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

import workbench as wb
from tests.verify.claims import parser, table, verdict
from workbench.attribution.explanation import known_stages
from workbench.attribution.grammar import OBJECTS
from workbench.attribution.wording import FORMS
from workbench.config.named import names
from workbench.execution.progress import console, progress
from workbench.stats.proportions import clopper_pearson
from workbench.types import Record
from workbench.types.episode import MODES

AIM, MANNERS = 0.95, ("templates", "other words")
COLUMNS: Mapping[str, str] = {
    "uid": "uid", "task": "task", "instruction": "instruction", "policy": "policy", "split": "split",
    "length": "length", "success": "success", "outcome": "outcome", "failure_mode": "failure_mode", "twin": "twin",
    "injected": "t_inj", "effect": "t_eff", "lost": "t_lost",
    "onset.step": "t_on", "onset.low": "t_on_low", "onset.high": "t_on_high",
    "no_return.step": "t_pnr", "no_return.low": "t_pnr_low", "no_return.high": "t_pnr_high",
    "decided.first": "t_dec", "decided.by": "t_dec_by", "decided.gain": "responsibility",
    "decided.low": "responsibility_low", "decided.high": "responsibility_high",
    "luck.rate": "luck", "luck.low": "luck_low", "luck.high": "luck_high", "luck.runs": "luck_runs",
}  # fmt: skip
"""Field of the record -> column of the store."""
Planted = tuple[str, str]
"""A true sentence, and the same with a contradiction."""
Told = wb.Explanation
Plant = Callable[[Told, np.random.Generator], Iterator[Planted]]


@dataclasses.dataclass(frozen=True)
class Found:
    """What became of the sentences of one kind and manner."""

    planted: int
    found: int
    marked: int
    """True sentences that were marked false."""


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--stores", default="quickstart", help="names in datasets/, separated by commas")
    options.add_argument("--planted", type=int, default=200, help="contradictions in each of the two manners")
    options.add_argument("--successes", type=int, default=200, help="successes of a store that are explained, too")
    asked = options.parse_args()
    stores = [wb.open_store(asked.root / "datasets" / f"{name}.zarr") for name in asked.stores.split(",")]
    told, right = explained(stores, asked.successes)
    return max(verdict(held, claim) for claim, held in {**right, **noticed(told, asked)}.items())


def explained(stores: Sequence[wb.Store], successes: int) -> tuple[list[tuple[wb.Store, Told]], dict[str, bool]]:
    """All failures and some successes explained, and whether what is said of them is so."""
    wrong, counts = 0, {"true": 0, "false": 0, "unsupported": 0}
    told: list[tuple[wb.Store, Told]] = []
    for store in stores:
        rows = store.episodes["success"].astype(bool)
        numbers = [*np.flatnonzero(~rows), *np.flatnonzero(rows)[:successes]]
        with progress("explained", len(numbers)) as advance:
            for number in map(int, numbers):
                one = wb.explain(store, number)
                told.append((store, one))
                wrong += sum(1 for _ in contradictions(store, number, one))
                for form in FORMS:
                    for claim in wb.check_explanation(wb.words_of(one, form), store, number).claims:
                        counts[claim.verdict] += 1
                advance(1)
    console.print(
        f"{len(told)} explanations: {wrong} fields contradict the store; of {sum(counts.values())} claims in words "
        f"{counts['false']} are marked false and {counts['unsupported']} unsupported"
    )
    return told, {
        "no field or sentence contradicts the store": wrong == counts["false"] == 0,
        "at least 300 explanations": len(told) >= 300,
    }


def noticed(told: Sequence[tuple[wb.Store, Told]], asked: argparse.Namespace) -> dict[str, bool]:
    """How many planted contradictions are found, and how many true sentences are marked."""
    by = {manner: {kind: plant(kind, manner, told, asked) for kind in KINDS} for manner in MANNERS}
    heads = (f"{manner}: {each}" for manner in MANNERS for each in ("found", "true marked false"))
    shown = table("planted contradictions", "kind", *heads)
    for kind in KINDS:
        cells = [
            (f"{each.found}/{each.planted}", str(each.marked)) for each in (by[manner][kind] for manner in MANNERS)
        ]
        shown.add_row(kind, *(cell for pair in cells for cell in pair))
    console.print(shown)
    sums = {manner: np.sum([dataclasses.astuple(each) for each in by[manner].values()], axis=0) for manner in MANNERS}
    for manner, (planted, found, marked) in sums.items():
        low, high = clopper_pearson(int(found), int(planted))
        said = f"{found} of {planted} found ({100 * low:.1f} to {100 * high:.1f} %)"
        console.print(f"in {manner}: {said}; true ones marked: {marked}")
    planted, found, marked = sum(sums.values())
    own = sums["templates"]
    return {
        f"{AIM:.0%} of the planted contradictions are found": bool(found >= AIM * planted),
        "in the templates' words all are": bool(own[0] == own[1]),
        "no true sentence is marked false": bool(marked == 0),
    }


def contradictions(store: wb.Store, number: int, told: Told) -> Iterator[str]:
    """Fields of a record that differ from the store."""
    record, row = told.record(), {name: values[number] for name, values in store.episodes.items()}
    for field, column in COLUMNS.items():
        outer, _, inner = field.partition(".")
        held, said = row[column], record[outer]
        if inner:
            said = None if said is None else said[inner]
        absent = isinstance(held, int | float | np.number) and not isinstance(held, bool | np.bool_) and held < 0
        absent |= column.startswith("responsibility") and row["t_dec"] < 0
        absent |= column.startswith("luck") and row["luck_runs"] == 0
        absent |= column == "t_dec_by" and row["t_dec"] < 0
        if (said is not None) if absent else said != held:
            yield field
    if told.decided is not None and told.decided.last != row["t_dec_end"] - 1:
        yield "decided.last"
    yield from drawn_otherwise(json.loads(row["perturbations"]), told)
    if [dataclasses.asdict(mode) for mode in told.modes] != json.loads(row["modes"]):
        yield "modes"
    steps = store.episode(number, steps=("stage", "predicates/*"), calls=()).steps
    stage, reached = steps["stage"].tolist(), [each.step for each in told.stages]
    if reached != [next((t for t, at in enumerate(stage) if at > n), None) for n in range(len(reached))]:
        yield "stages"
    if [each.stage for each in told.stages] != list(known_stages(store.header.task)):
        yield "names of stages"
    turned = []
    for name, values in steps.items():
        kind, _, predicate = name.partition("/")
        if kind == "predicates" and predicate != "success" and set(values.tolist()) <= {0, 1}:
            turns = [t for t in range(1, len(values)) if values[t] != values[t - 1]]
            turned += [(t, predicate, bool(values[t])) for t in turns]
    if sorted(turned) != [(change.step, change.predicate, change.holds) for change in told.changes]:
        yield "changes"


def drawn_otherwise(drawn: Sequence[Record], told: Told) -> Iterator[str]:
    """Faults whose name, channel or magnitudes are not those that were drawn."""
    if [(each["name"], each["channel"]) for each in drawn] != [(each.name, each.channel) for each in told.faults]:
        yield "faults"
    for record, fault in zip(drawn, told.faults, strict=True):
        for magnitude in fault.magnitudes:
            if np.ravel(record[magnitude.name]).tolist() != list(magnitude.values):
                yield magnitude.name


def plant(kind: str, manner: str, told: Sequence[tuple[wb.Store, Told]], asked: argparse.Namespace) -> Found:
    """Plant contradictions of one kind in one manner, in episodes drawn by the seed."""
    wanted, seed = asked.planted // len(KINDS), asked.seed
    random = np.random.default_rng([seed, list(KINDS).index(kind), MANNERS.index(manner)])
    planted = found = marked = 0
    for place in random.permutation(np.tile(np.arange(len(told)), 4)):
        store, one = told[int(place)]
        pairs = list(KINDS[kind](one, random))[1:] if manner == "other words" else list(KINDS[kind](one, random))[:1]
        if not pairs:
            continue
        true, false = pairs[int(random.integers(len(pairs)))]
        planted += 1
        found += bool(wb.check_explanation(false, store, one.uid).contradictions)
        marked += bool(wb.check_explanation(true, store, one.uid).contradictions)
        if planted == wanted:
            break
    return Found(planted, found, marked)


def shifted(told: Told, random: np.random.Generator) -> Iterator[Planted]:
    events = {"fault was injected": told.injected, "onset was": told.onset and told.onset.step}
    known = {words: step for words, step in events.items() if step is not None}
    if not known:
        return
    words, step = list(known.items())[int(random.integers(len(known)))]
    other = step + int(random.integers(1, 30)) * (1 if step < 30 else int(random.choice([-1, 1])))
    hz, event = told.control_hz, words.removesuffix(" was")
    yield f"The {words} at step {step}.", f"The {words} at step {other}."
    verb = "" if words.endswith("injected") else " came"
    yield f"From step {step} the {event}.", f"From step {other} the {event}."
    yield f"Here the {event}{verb} at t={step}.", f"Here the {event}{verb} at t={other}."
    if abs(step - other) > 1:
        yield f"The {event}{verb} at {step / hz:.2f} s.", f"The {event}{verb} at {other / hz:.2f} s."


def moded(told: Told, random: np.random.Generator) -> Iterator[Planted]:
    if not told.failure_mode:
        return
    seen = {mode.mode for mode in told.modes} | {told.failure_mode}
    other = str(random.choice([mode for mode in MODES if mode not in seen]))
    for words in ("The failure is called {}.", "The robot failed with a {}.", "What we see is a {} here."):
        yield words.format(told.failure_mode), words.format(other)


def staged(told: Told, random: np.random.Generator) -> Iterator[Planted]:
    reached = [stage.stage for stage in told.stages if stage.step is not None]
    if not told.failed_stage or not reached:
        return
    one = str(random.choice(reached))
    yield f"It reached the stage {one}.", f"It reached the stage {told.failed_stage}."
    yield f"The robot failed at the {told.failed_stage} stage.", f"The robot failed at the {one} stage."
    yield f"It never reached the stage {told.failed_stage}.", f"It never reached the stage {one}."


def thinged(told: Told, random: np.random.Generator) -> Iterator[Planted]:
    (thing, *_) = [word for word in told.instruction.split() if word in OBJECTS] or [""]
    if not thing:
        return
    other = str(random.choice([word for word in OBJECTS if word not in told.instruction]))
    yield (
        f"The policy was asked to {told.instruction}.",
        f"The policy was asked to {told.instruction.replace(thing, other)}.",
    )
    yield f"The gripper moved to the {thing}.", f"The gripper moved to the {other}."
    yield (
        f"It never lost sight of the {thing}; it failed." if not told.success else f"It took the {thing}.",
        f"It took the {other}.",
    )


def turned(told: Told, random: np.random.Generator) -> Iterator[Planted]:
    did, other = ("succeeded", "failed") if told.success else ("failed", "succeeded")
    yield f"It {did} after {told.length} steps.", f"It {other} after {told.length} steps."
    was = {"succeeded": "a success", "failed": "a failure"}
    yield f"The episode was {was[did]}.", f"The episode was {was[other]}."
    yield f"In the end the robot {did}.", f"In the end the robot {other}."


def renamed(told: Told, random: np.random.Generator) -> Iterator[Planted]:
    if not told.faults:
        return
    here = [fault.name for fault in told.faults]
    name, other = here[0], str(random.choice([each for each in names("perturbation") if each not in here]))
    yield f"The fault {name} was drawn.", f"The fault {other} was drawn."
    yield (
        f"It was disturbed by the fault {name.replace('_', ' ')}.",
        f"It was disturbed by the fault {other.replace('_', ' ')}.",
    )
    yield f"Under perturbation {name} it did this.", f"Under perturbation {other} it did this."


def scaled(told: Told, random: np.random.Generator) -> Iterator[Planted]:
    drawn = [magnitude for fault in told.faults for magnitude in fault.magnitudes]
    if not drawn:
        return
    one = drawn[int(random.integers(len(drawn)))]
    factor = float(random.choice([0.5, 0.8, 1.3, 2.0, 3.0]))
    said, other = ([f"{value * by:.3g}" for value in one.values] for by in (1.0, factor))
    if said == other:
        return
    listed = [each[0] if len(each) == 1 else f"[{', '.join(each)}]" for each in (said, other)]
    yield f"{one.name} {listed[0]}", f"{one.name} {listed[1]}"
    yield f"A {one.name} of {listed[0]} was drawn.", f"A {one.name} of {listed[1]} was drawn."
    if one.unit in ("m", "N"):
        size = math.hypot(*one.values)
        scale, unit = (100, "cm") if one.unit == "m" else (1, "N")
        yield f"It is off by {size * scale:.2f} {unit}.", f"It is off by {size * scale * factor:.2f} {unit}."


def reordered(told: Told, random: np.random.Generator) -> Iterator[Planted]:
    steps = {"fault was injected": told.injected, "point of no return": told.no_return and told.no_return.step}
    steps |= {"onset": told.onset and told.onset.step}
    steps |= {f"stage {stage.stage} was reached": stage.step for stage in told.stages}
    known = sorted((step, words) for words, step in steps.items() if step is not None)
    pairs = [(a, b) for (s, a) in known for (t, b) in known if s < t]
    if not pairs:
        return
    first, second = pairs[int(random.integers(len(pairs)))]
    yield f"The {first} before the {second}.", f"The {first} after the {second}."
    yield f"The {second} came after the {first}.", f"The {first} came after the {second}."
    yield f"The {second} later than the {first}.", f"The {second} earlier than the {first}."


def byed(told: Told, random: np.random.Generator) -> Iterator[Planted]:
    if told.decided is None:
        return
    by, gain = told.decided.by, f"{told.decided.gain:.2f}"
    other = "expert" if by == "twin" else "twin"
    for words in (
        "The {}'s in their place raise success by {}.",
        "The {}'s actions raised success by {}.",
        "Replaced by the {}'s actions success is higher, by {}.",
    ):
        yield words.format(by, gain), words.format(other, gain)


def rated(told: Told, random: np.random.Generator) -> Iterator[Planted]:
    if told.decided is None:
        return
    by, gain = told.decided.by, told.decided.gain
    change = float(random.uniform(0.03, 0.3)) * (1 if gain < 0.5 else -1)
    yield (
        f"The {by}'s in their place raise success by {gain:.2f}.",
        f"The {by}'s in their place raise success by {gain + change:.2f}.",
    )
    yield (
        f"The {by} raised success by {100 * gain:.0f} %.",
        f"The {by} raised success by {100 * (gain + change):.0f} %.",
    )
    yield (
        f"With the {by}'s actions success is up by {gain:.2f}.",
        f"With the {by}'s actions success is up by {gain + change:.2f}.",
    )


KINDS: Mapping[str, Plant] = {
    "time shifted": shifted,
    "mode exchanged": moded,
    "stage exchanged": staged,
    "object exchanged": thinged,
    "outcome turned round": turned,
    "fault renamed": renamed,
    "magnitude scaled": scaled,
    "order turned round": reordered,
    "by whom exchanged": byed,
    "rate changed": rated,
}


if __name__ == "__main__":
    sys.exit(main())
