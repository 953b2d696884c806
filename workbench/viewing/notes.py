"""An episode in words: its title, its moments, and what was drawn, seen and measured."""

from __future__ import annotations

import dataclasses

from workbench.attribution.explanation import Explanation, injected_of
from workbench.attribution.wording import (
    decided_lines,
    detail_lines,
    fault_lines,
    fault_words,
    line_of,
    measured_lines,
    onset_lines,
    outcome_lines,
    seen_lines,
)
from workbench.config import resolve
from workbench.types import Record
from workbench.types.faults import faults_in
from workbench.types.text import as_markdown


def events_of(record: Record) -> dict[str, int]:
    """Event -> control step."""
    end = int(record["length"]) - 1
    return {
        "injected": int(record["t_inj"]),
        "onset": int(record["t_on"]),
        "decisive": int(record["t_dec"]),
        "point of no return": int(record["t_pnr"]),
        "success" if record["success"] else "failure": end,
    }


@dataclasses.dataclass(frozen=True)
class Moment:
    """A control step of an episode that is worth a look.

    Attributes
    ----------
    step : the moment before the action of that number.
    seconds : since the episode began.
    events : what happens there, in the order in which such things happen.
    words : what that means, a phrase each.
    """

    step: int
    seconds: float
    events: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its events, as a heading."""
        return ", ".join(self.events)

    @property
    def time(self) -> str:
        """Control step and seconds in words."""
        return f"step {self.step}, {self.seconds:.2f} s"


def moments_of(record: Record, control_hz: float) -> list[Moment]:
    """Start, events and end of an episode in their order, as far as they were measured; those of one step are one.

    The last control step stands for what comes behind it: a point of no return that is the episode's length.
    """
    last = int(record["length"]) - 1
    found: dict[int, list[tuple[str, str]]] = {0: [("start", f"asked: {record['instruction']}")]}
    for event, step in events_of(record).items():
        if step >= 0:
            found.setdefault(min(step, last), []).append((event, _meaning(record, event)))
    return [
        Moment(step, step / control_hz, tuple(event for event, _ in at), tuple(words for _, words in at))
        for step, at in sorted(found.items())
    ]


def sentences_of(told: Explanation) -> list[str]:
    """A failure in four parts: how it ended and when it was lost, what was injected, the onset, and what decided it."""
    return [line_of(told), " ".join(fault_lines(told)), *onset_lines(told), *decided_lines(told)]


def _meaning(record: Record, event: str) -> str:
    """What an event says, in a phrase."""
    if event == "injected":
        return "; ".join(phrase_of(fault) for fault in _faults_of(record))
    if event == "decisive":
        end, by = record["t_dec_end"] - 1, record["t_dec_by"]
        return f"the {by}'s actions up to step {end} instead raise success by {record['responsibility']:.2f}"
    return {
        "onset": "from here on the policy succeeds in less than half of its tries",
        "point of no return": "from here on not even the expert succeeds in time",
        "success": "the task is done",
        "failure": f"seen: {record['failure_mode'] or record['outcome']}",
    }[event]


def title_of(record: Record) -> str:
    """Task, fault and outcome in a few words."""
    return f"{record['task']}: {record['perturbation'] or 'nominal'}, {record['outcome']}"


def _faults_of(record: Record) -> tuple[Record, ...]:
    return faults_in(record["perturbations"], f"perturbations of {record['uid']}")


def notes_of(told: Explanation) -> str:
    """What was drawn, seen and measured, as Markdown; the words are those of its explanation."""
    lines = [*outcome_lines(told), *fault_lines(told), *seen_lines(told), *measured_lines(told), *detail_lines(told)]
    return "\n".join(
        [
            f"### {as_markdown(line_of(told).rstrip('.'))}",
            *(f"- {as_markdown(line)}" for line in lines),
            f"- episode: {as_markdown(told.uid, code=True)}, {told.split} split",
        ]
    )


def phrase_of(record: Record) -> str:
    """A drawn fault in the words of its own file; of one that has none, name, channel and magnitudes."""
    target = record.get("target")
    try:
        said: str = getattr(resolve(target), "phrase", lambda _: "")(record) if target else ""
    except (KeyError, TypeError, ValueError):  # a record that its file would not have written
        said = ""
    return f"{record['name']} ({said})" if said else fault_words(injected_of(record))
