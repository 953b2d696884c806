"""An episode in words: its title, its events, and what was drawn, seen and measured."""

from __future__ import annotations

import dataclasses

import numpy as np

from workbench.config import resolve
from workbench.types import Record
from workbench.types.faults import faults_in, magnitudes_in
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


def sentences_of(record: Record, control_hz: float) -> list[str]:
    """A failure in four sentences: what was seen, what was injected, when it was lost, and what decided it."""
    end = moments_of(record, control_hz)[-1]
    how = "succeeded" if record["success"] else "failed"
    return [
        f"Asked to “{record['instruction']}”, the policy {how} at {end.time}; {end.words[-1]}.",
        _injected(record),
        _lost(record),
        _decided(record),
    ]


def _injected(record: Record) -> str:
    faults = [phrase_of(fault, record["length"]) for fault in _faults_of(record)]
    if not faults:
        return "Nothing was injected: the policy failed by itself."
    when = f"struck at step {record['t_inj']}" if record["t_inj"] >= 0 else "was drawn but never struck"
    return f"Injected: {'; and '.join(faults)}; it {when}."


def _lost(record: Record) -> str:
    if record["t_on"] < 0:
        return "When it began was not measured; workbench label does that."
    onset = (
        f"From step {record['t_on']} on (95 % interval {record['t_on_low']} to {record['t_on_high']}) the policy "
        "succeeds in less than half of its tries"
    )
    if record["t_pnr"] < 0:
        return f"{onset}."
    if record["t_pnr"] == 0:
        return f"{onset}; not even the expert could have won, from the start."
    return f"{onset}, and from step {record['t_pnr']} on not even the expert wins in time."


def _decided(record: Record) -> str:
    if record["t_dec"] < 0:
        return "No step is known whose actions, replaced, turn it into a success."
    return (
        f"Decisive are the actions of steps {record['t_dec']} to {record['t_dec_end'] - 1}: the {record['t_dec_by']}'s "
        f"in their place raise success by {record['responsibility']:.2f} (95 % interval "
        f"{record['responsibility_low']:.2f} to {record['responsibility_high']:.2f})."
    )


def _meaning(record: Record, event: str) -> str:
    """What an event says, in a phrase."""
    if event == "injected":
        return "; ".join(phrase_of(fault, record["length"]) for fault in _faults_of(record))
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


def notes_of(record: Record) -> str:
    """What was drawn and what was seen, as Markdown."""
    faults, by = _faults_of(record), as_markdown(record["t_dec_by"])
    lines = [
        f"### {as_markdown(title_of(record))}",
        f"- asked: {as_markdown(record['instruction'])}; seen: {as_markdown(record['failure_mode'] or 'success')}",
        *(f"- injected: {as_markdown(fault_of(fault, record['length']))}" for fault in faults),
        f"- onset: {moment(record['t_on'])}, 95 % interval {record['t_on_low']} to {record['t_on_high']}"
        if record["t_on"] >= 0
        else "- onset: not measured",
        f"- point of no return: {moment(record['t_pnr'])}",
        *([f"- lost, with twice the deadline: {moment(record['t_lost'])}"] if record["t_lost"] >= 0 else []),
        f"- decisive: steps {record['t_dec']} to {record['t_dec_end'] - 1}, replaced by the {by}'s, "
        f"gain {record['responsibility']:.2f} in success, 95 % interval {record['responsibility_low']:.2f} to "
        f"{record['responsibility_high']:.2f}"
        if record["t_dec"] >= 0
        else "- decisive: no step found",
        f"- episode: {as_markdown(record['uid'], code=True)}, {record['split']} split",
    ]
    return "\n".join(lines)


def moment(step: int) -> str:
    """A control step in words."""
    return f"step {step}" if step >= 0 else "not measured"


def phrase_of(record: Record, length: int) -> str:
    """A drawn fault in the words of its own file; of one that has none, name and magnitudes."""
    target = record.get("target")
    try:
        said: str = getattr(resolve(target), "phrase", lambda _: "")(record) if target else ""
    except (KeyError, TypeError, ValueError):  # a record that its file would not have written
        said = ""
    return f"{record['name']} ({said})" if said else fault_of(record, length)


def fault_of(record: Record, length: int) -> str:
    """Name, channel and magnitudes of a drawn fault; when it struck is among the events.

    A duration beyond the episode's length is left out: the fault stayed.
    """
    magnitudes = [
        f"{key} {np.array2string(value, precision=3, separator=', ')}"
        for key, value in magnitudes_in(record).items()
        if key != "duration_steps" or value <= length
    ]
    return ", ".join([f"{record['name']} ({record['channel']})", *magnitudes])
