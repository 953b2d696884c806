"""An explanation in words: templates that can say only what the record holds.

Every sentence is one that :mod:`workbench.attribution.claims` takes apart again, so that text and record can be held
against each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.attribution.explanation import Dated, Explanation, Injected, Magnitude
from workbench.errors import UnknownNameError

FORMS = ("line", "short", "long")


def words_of(told: Explanation, form: str = "short") -> str:
    """An explanation in words: in one ``line``, ``short`` in a few sentences, or ``long`` with its events.

    Raises
    ------
    UnknownNameError
        for another form.
    """
    if form not in FORMS:
        raise UnknownNameError("form of an explanation", form, FORMS)
    if form == "line":
        return line_of(told)
    lines = [*outcome_lines(told), *fault_lines(told), *seen_lines(told), *measured_lines(told)]
    if form == "long":
        lines += [*detail_lines(told), *event_lines(told)]
    return " ".join(lines)


def line_of(told: Explanation) -> str:
    """One line: outcome, fault, onset, point of no return and luck."""
    under = " and ".join(f"fault {fault.name}" for fault in told.faults) or "no fault"
    how = "it succeeded" if told.success else f"it failed by {told.failure_mode}" if told.failure_mode else "it failed"
    parts = [f"{how} under {under}"]
    parts += [f"onset at step {told.onset.step}"] if told.onset else []
    parts += [f"point of no return at step {told.no_return.step}"] if told.no_return else []
    parts += [_kind(told)] if told.luck else []
    return f"Task {told.task}: {'; '.join(parts)}."


def outcome_lines(told: Explanation) -> list[str]:
    """What was asked, how it ended, and how far it came."""
    ended = f"It {'succeeded' if told.success else 'failed'} after {told.length} steps"
    lines = [f"The policy was asked to {told.instruction}." if told.instruction else "", f"{ended}."]
    reached = [stage.stage for stage in told.stages if stage.step is not None]
    if told.stages:
        so_far = f"It reached the {_stages(reached)}" if reached else "It reached no stage"
        missed = f", and not the stage {told.failed_stage}" if reached and told.failed_stage else ""
        lines.append(f"{so_far}{missed}.")
    return [line for line in lines if line]


def fault_lines(told: Explanation) -> list[str]:
    """What was injected, and when."""
    if not told.faults:
        return ["No fault was injected."]
    drawn = [f"The fault {fault_words(fault)} was drawn." for fault in told.faults]
    if told.injected is None:
        return [*drawn, "The fault was never injected."]
    return [*drawn, f"The fault was injected at step {told.injected}."]


def fault_words(fault: Injected) -> str:
    """Name, channel and magnitudes."""
    return ", ".join([f"{fault.name} (channel {fault.channel})", *map(magnitude_words, fault.magnitudes)])


def magnitude_words(magnitude: Magnitude) -> str:
    """Name and numbers with three digits, and the unit that its name does not say."""
    numbers = [f"{value:.3g}" for value in magnitude.values]
    return f"{magnitude.name} {numbers[0] if len(numbers) == 1 else '[' + ', '.join(numbers) + ']'}"


def seen_lines(told: Explanation) -> list[str]:
    """What was seen first, and by what the failure is called."""
    lines = [f"The first failure mode was {told.modes[0].mode} at step {told.modes[0].step}."] if told.modes else []
    if not told.modes:
        lines.append("No failure mode was seen.")
    return [*lines, f"The failure is called {told.failure_mode}."] if told.failure_mode else lines


def measured_lines(told: Explanation) -> list[str]:
    """When it became unlikely, when impossible, which actions decided it, and whether it was luck."""
    if told.success:
        return [*_luck_lines(told)]
    return [*onset_lines(told), *no_return_lines(told), *decided_lines(told), *_luck_lines(told)]


def onset_lines(told: Explanation) -> list[str]:
    """When the policy's success became unlikely."""
    if told.onset is None:
        return ["The onset was not measured."]
    return [f"The onset was at step {told.onset.step} {_interval(told.onset)}: success became unlikely."]


def no_return_lines(told: Explanation) -> list[str]:
    """When not even the expert succeeds any more."""
    found = told.no_return
    if found is None:
        return ["The point of no return was not measured."]
    if found.step >= told.length:
        return ["There was no point of no return: the expert still succeeds from the last step."]
    what = (
        "the expert succeeds from no step" if found.step == 0 else "from there on not even the expert succeeds in time"
    )
    though = ", though the policy did until the onset" if told.onset and told.onset.step > found.step else ""
    return [f"The point of no return was at step {found.step}: {what}{though}."]


def decided_lines(told: Explanation) -> list[str]:
    """Which actions decided it, and what in their place would have saved it."""
    found = told.decided
    if found is None:
        why = {True: "No decisive actions were found.", False: "The decisive actions were not measured."}
        return [why[told.decided_sought] if told.decided_sought is not None else "No decisive actions are known."]
    which = f"step {found.first}" if found.first == found.last else f"steps {found.first} to {found.last}"
    return [
        f"The decisive actions were those of {which}: the {found.by}'s in their place raise success by "
        f"{found.gain:.2f} (95 % interval {found.low:.2f} to {found.high:.2f})."
    ]


def _luck_lines(told: Explanation) -> list[str]:
    found = told.luck
    if found is None:
        return ["Luck was not measured."]
    return [
        f"Of {found.runs} reruns under other noise {100 * found.rate:.0f} % succeeded (95 % interval "
        f"{100 * found.low:.0f} to {100 * found.high:.0f} %): {_kind(told)}."
    ]


def _kind(told: Explanation) -> str:
    """What luck says of the outcome."""
    assert told.luck is not None
    ended = "success" if told.success else "failure"
    if told.luck.kind == "open":
        return "whether it was luck is open"
    return f"the {ended} was {told.luck.kind}"


def detail_lines(told: Explanation) -> list[str]:
    """What the short form leaves out: effect, the label lost, the twin."""
    lines = []
    if told.faults:
        lines.append(
            f"The effect began at step {told.effect}." if told.effect is not None else "The effect was not measured."
        )
    if told.lost is not None and told.lost < told.length:
        lines.append(f"Within twice the deadline it was lost at step {told.lost}.")
    return lines


def event_lines(told: Explanation) -> list[str]:
    """Events in their order: stages reached, failure modes, and predicates that turn."""
    events = [(stage.step, f"the stage {stage.stage} was reached") for stage in told.stages if stage.step is not None]
    events += [(mode.step, f"the failure mode {mode.mode} began") for mode in told.modes]
    events += [
        (change.step, f"the predicate {change.predicate} {'began' if change.holds else 'ended'}")
        for change in told.changes
    ]
    return [f"{what[:1].upper()}{what[1:]} at step {step}." for step, what in sorted(events)]


def markdown_of(told: Explanation) -> str:
    """A section of a Markdown page: the line as heading, the short form, and the uid."""
    from workbench.types.text import as_markdown

    return f"### {as_markdown(line_of(told))}\n\n{as_markdown(words_of(told))}\n\n{as_markdown(told.uid, code=True)}\n"


def _stages(names: Sequence[str]) -> str:
    return f"stage {names[0]}" if len(names) == 1 else f"stages {', '.join(names[:-1])} and {names[-1]}"


def _interval(dated: Dated) -> str:
    return f"(95 % interval {dated.low} to {dated.high})"
