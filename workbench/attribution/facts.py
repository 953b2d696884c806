"""What is held of an episode, looked up claim by claim; see :mod:`workbench.attribution.claims`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from workbench.attribution.explanation import Dated, Explanation

Verdict = Literal["true", "false", "unsupported"]
Found = tuple[str, Verdict, str]
ABOUT_STEPS = 5
"""A step that is said to be *about* another is within so many of it."""
UNITS = {"mm": ("m", 1e-3), "cm": ("m", 1e-2), "m": ("m", 1.0), "n": ("N", 1.0), "newton": ("N", 1.0),
         "meter": ("m", 1.0), "metre": ("m", 1.0), "rad": ("rad", 1.0), "radian": ("rad", 1.0),
         "deg": ("rad", math.pi / 180), "degree": ("rad", math.pi / 180), "°": ("rad", math.pi / 180)}  # fmt: skip
TIMES = {"once": 1, "twice": 2, "three times": 3}
LAWS = {"systematic": "law", "flaky": "luck"}
MEASURED = {
    "onset": "onset", "point of no return": "no_return", "effect": "effect", "luck": "luck",
    "decisive actions": "decided", "decisive step": "decided",
}  # fmt: skip


MOST_DIGITS = 300
"""Of a written number before its point; one that has more is beyond all measure."""


def compared(said: str, held: float, scale: float = 1.0) -> bool:
    """Whether a number, as it was written, is ``held`` rounded to its digits, and to no less than half of itself."""
    mantissa, _, exponent = said.lower().lstrip("+-").partition("e")
    digits = max(-MOST_DIGITS, len(mantissa.partition(".")[2]) - int(exponent or 0))
    within = 0.5000001 * 10.0**-digits
    if digits < 0:
        within = min(within, abs(float(said)) / 2)
    return abs(float(said) * scale - held) <= within * scale


class Facts:
    """Facts of one explanation.

    Attributes
    ----------
    told : the explanation.
    steps : event -> control step; None where there is none.
    """

    def __init__(self, told: Explanation) -> None:
        self.told = told
        self.steps: dict[str, int | None] = {
            "injected": told.injected,
            "effect": told.effect,
            "onset": _step(told.onset),
            "no_return": _step(told.no_return),
            "lost": told.lost,
            "decided": None if told.decided is None else told.decided.first,
            "end": told.length - 1,
        }

    @property
    def outcome(self) -> str:
        """How it ended, in a word."""
        return "success" if self.told.success else "failure"

    def equal(self, about: str, said: object, held: object) -> Found:
        """Two things that are the same or not."""
        return about, "true" if said == held else "false", str(held)

    def instruction(self, what: str) -> Found:
        return self.equal("instruction", _plain(what), _plain(self.told.instruction))

    def nominal(self) -> Found:
        names = ", ".join(fault.name for fault in self.told.faults)
        return "faults", "false" if names else "true", names or "no fault"

    def never_injected(self) -> Found:
        return self.equal("injected", True, bool(self.told.faults) and self.told.injected is None)

    def no_mode(self) -> Found:
        return "modes", "false" if self.told.modes else "true", ", ".join(mode.mode for mode in self.told.modes)

    def none_decided(self) -> Found:
        if self.told.decided is None and self.told.decided_sought is False:
            return "decided", "unsupported", "not measured"
        return "decided", "true" if self.told.decided is None else "false", str(self.told.decided)

    def always_winnable(self) -> Found:
        held = self.steps["no_return"]
        return self._measured("no_return", None if held is None else held >= self.told.length)

    def lost_from_the_start(self) -> Found:
        held = self.steps["no_return"]
        return self._measured("no_return", None if held is None else held == 0)

    def policy_outlives_expert(self) -> Found:
        """Whether the policy's success became unlikely only behind the expert's last success."""
        onset, last = self.steps["onset"], self.steps["no_return"]
        return self._measured("no_return", None if onset is None or last is None else onset > last)

    def unmeasured(self, what: str) -> Found:
        name = next((key for words, key in MEASURED.items() if words in what.lower()), None)
        if name is None:
            return what, "unsupported", ""
        if name == "decided":
            return self.equal("decided", self.told.decided_sought, False)
        known = self.told.luck if name == "luck" else self.steps[name]
        return name, "true" if known is None else "false", str(known)

    def step_of(self, found: re.Match[str], end: str = "") -> tuple[str, list[int] | None]:
        """What a phrase of the grammar names, and the control steps at which it is; None where none is known."""
        groups = {key.removesuffix("_2") if end else key: value for key, value in found.groupdict().items()
                  if bool(end) == key.endswith("_2") and value}  # fmt: skip
        told = self.told
        if name := groups.get("f"):
            known = [fault.name for fault in told.faults]
            return f"fault {_name(name)}", [told.injected] if _name(name) in known and told.injected is not None else []
        if name := groups.get("s"):
            return f"stage {name}", [s.step for s in told.stages if s.stage == name.lower() and s.step is not None]
        if name := groups.get("p"):
            holds = groups["turn"].lower() == "began"
            steps = [change.step for change in told.changes if (change.predicate, change.holds) == (name, holds)]
            return f"predicate {name}", steps
        if name := groups.get("m"):
            return f"mode {name.lower()}", [mode.step for mode in told.modes if mode.mode == name.lower()]
        event = next(name for name in self.steps if groups.get(name))
        held = self.steps[event]
        return event, None if held is None else [held]

    def order(self, found: re.Match[str]) -> Found:
        """Which of two came first, by their first control steps."""
        (one, first), (other, second) = self.step_of(found), self.step_of(found, "_2")
        about = f"order of {one} and {other}"
        if not first or not second:
            return about, "unsupported", "one of them is not there, or was not measured"
        before = found["order"].lower() in ("before", "earlier than")
        right = first[0] < second[0] if before else first[0] > second[0]
        return about, "true" if right else "false", f"steps {first[0]} and {second[0]}"

    def dated(self, found: re.Match[str]) -> Iterator[Found]:
        """Something at a control step or a time, maybe with an interval."""
        about, steps = self.step_of(found)
        groups = found.groupdict()
        if steps is None:
            yield about, "unsupported", "not measured"
            return
        if groups.get("step"):
            near = [abs(int(groups["step"]) - step) <= (ABOUT_STEPS if groups.get("about") else 0) for step in steps]
        else:
            text, hz = groups["seconds"], self.told.control_hz
            slack = 0.5 / hz + (ABOUT_STEPS / hz if groups.get("about") else 0)
            slack += 0.5 * 10.0 ** -len(text.partition(".")[2])
            near = [abs(float(text) - step / hz) <= slack for step in steps]
        yield about, "true" if any(near) else "false", f"step {', '.join(map(str, steps))}" if steps else "never"
        if groups.get("low"):
            dated = {"onset": self.told.onset, "no_return": self.told.no_return}.get(about)
            held = dated and (dated.low, dated.high)
            same = held == (float(groups["low"]), float(groups["high"]))
            yield f"interval of {about}", _verdict(same, held is not None), str(held)

    def first_mode(self, found: re.Match[str]) -> Iterator[Found]:
        if not self.told.modes:
            yield "first mode", "false", "no failure mode was seen"
            return
        first = self.told.modes[0]
        at_once = {mode.mode for mode in self.told.modes if mode.step == first.step}
        yield "first mode", "true" if found["m"].lower() in at_once else "false", first.mode
        if found["step"]:
            slack = ABOUT_STEPS if found["about"] else 0
            right = abs(int(found["step"]) - first.step) <= slack
            yield "first mode's step", "true" if right else "false", f"step {first.step}"

    def called(self, found: re.Match[str]) -> Iterator[Found]:
        if "failed" in found[0].lower():
            yield self.equal("outcome", False, self.told.success)
        yield self.equal("failure mode", found["m"].lower(), self.told.failure_mode)

    def decided_steps(self, found: re.Match[str]) -> Iterator[Found]:
        held = self.told.decided
        if held is None:
            yield "decided", _verdict(False, bool(self.told.decided_sought)), "none"
            return
        first, last = int(found["first"]), int(found["last"] or found["first"])
        right = (first, last) == (held.first, held.last)
        yield "decided", "true" if right else "false", f"steps {held.first} to {held.last}"

    def gained(self, found: re.Match[str]) -> Iterator[Found]:
        held = self.told.decided
        if held is None:
            yield "responsibility", _verdict(False, bool(self.told.decided_sought)), "none"
            return
        yield self.equal("decided by", found["by"].lower(), held.by)
        scale = 0.01 if found["percent"] else 1.0
        yield "responsibility", "true" if compared(found["gain"], held.gain, scale) else "false", f"{held.gain:.4f}"
        yield from _interval("responsibility", found, held.low, held.high, scale)

    def rerun(self, found: re.Match[str]) -> Iterator[Found]:
        held, groups = self.told.luck, found.groupdict()
        if held is None:
            yield "luck", "unsupported", "not measured"
            return
        yield self.equal("reruns", int(groups["runs"]), held.runs)
        if groups.get("won"):
            yield self.equal("luck", int(groups["won"]), round(held.rate * held.runs))
            return
        yield "luck", "true" if compared(groups["rate"], held.rate, 0.01) else "false", f"{held.rate:.4f}"
        yield from _interval("luck", found, held.low, held.high, 0.01)

    def kind(self, found: re.Match[str]) -> Iterator[Found]:
        yield self.equal("outcome", found["ended"].lower(), self.outcome)
        if self.told.luck is None:
            yield "luck", "unsupported", "not measured"
            return
        kind = found["kind"].lower()
        yield self.equal("luck", LAWS.get(kind, kind), self.told.luck.kind)

    def is_open(self) -> Found:
        return self._measured("luck", None if self.told.luck is None else self.told.luck.kind == "open")

    def outcome_kind(self, kind: str) -> Found:
        if not self.told.success and self.told.onset is None:
            return "outcome", "unsupported", "not measured"
        return self.equal("outcome", f"{kind.lower()} failure", self.told.outcome)

    def stages(self, found: re.Match[str]) -> Iterator[Found]:
        """Stages that were reached, or not."""
        reached = {stage.stage: stage.step is not None for stage in self.told.stages}
        if found["none"]:
            yield self.equal("stages", False, any(reached.values()))
            return
        missed = bool(found["not"] or found["late"])
        for name in re.split(r", and |, | and ", (found["list"] or found["one"]).lower()):
            if name not in reached:
                yield f"stage {name}", "false", "the task has no such stage"
            elif found["at"]:
                yield self.equal("failed stage", name, self.told.failed_stage)
            else:
                yield f"stage {name}", "true" if reached[name] != missed else "false", _reached(reached[name])

    def fault(self, found: re.Match[str]) -> Found:
        name = _name(found["f"] or found["f2"])
        known = [fault.name for fault in self.told.faults]
        return f"fault {name}", "true" if name in known else "false", ", ".join(known) or "no fault"

    def channel(self, name: str) -> Found:
        known = [fault.channel for fault in self.told.faults]
        return "channel", "true" if name.lower() in known else "false", ", ".join(known) or "no fault"

    def parameter(self, found: re.Match[str]) -> Found:
        """A magnitude by its name."""
        name, said = found["name"], re.split(r", ", found["values"].strip("[]"))
        drawn = [magnitude for fault in self.told.faults for magnitude in fault.magnitudes if magnitude.name == name]
        if not drawn:
            return name, "false" if self.told.faults else "unsupported", "no such magnitude was drawn"
        return name, "true" if any(_alike(said, each.values) for each in drawn) else "false", str(drawn[0].values)

    def magnitude(self, found: re.Match[str]) -> Found:
        """A magnitude by its unit alone: a component of one that was drawn, or its length."""
        text = found["unit"].lower().removesuffix("s") if len(found["unit"]) > 1 else found["unit"].lower()
        unit, scale = UNITS[text]
        held = [each for fault in self.told.faults for each in fault.magnitudes if each.unit == unit]
        numbers = [number for each in held for number in (*map(abs, each.values), math.hypot(*each.values))]
        right = any(compared(found["number"].lstrip("+-"), number, scale) for number in numbers)
        return f"magnitude in {unit}", _verdict(right, bool(numbers)), ", ".join(map(str, held))

    def times(self, found: re.Match[str]) -> Found:
        text = found["times"].lower()
        said = TIMES[text] if text in TIMES else int(text.split()[0])
        name = found["m"].lower()
        return self.equal(f"times of {name}", said, sum(mode.mode == name for mode in self.told.modes))

    def mode(self, name: str) -> Found:
        seen = sorted({mode.mode for mode in self.told.modes} | {self.told.failure_mode} - {""})
        return f"mode {name.lower()}", "true" if name.lower() in seen else "false", ", ".join(seen) or "none"

    def ended(self, found: re.Match[str]) -> Iterator[Found]:
        yield self.equal("outcome", bool(found["won"]), self.told.success)
        if length := found["length"] or found["length2"]:
            yield self.length(int(length))

    def length(self, said: int) -> Found:
        return self.equal("length", said, self.told.length)

    def thing(self, name: str) -> Found:
        """An object, held against the instruction: it is there with that colour, or another one is."""
        said = " ".join(name.lower().split())
        asked = f" {_plain(self.told.instruction)} "
        if not asked.strip():
            return "object", "unsupported", "there is no instruction"
        return "object", "true" if f" {said} " in asked else "false", self.told.instruction

    def _measured(self, about: str, holds: bool | None) -> Found:
        return about, _verdict(bool(holds), holds is not None), str(self.steps.get(about))


def _verdict(right: bool, known: bool) -> Verdict:
    return "true" if right else "false" if known else "unsupported"


def _interval(about: str, found: re.Match[str], low: float, high: float, scale: float) -> Iterator[Found]:
    if found["low"]:
        right = compared(found["low"], low, scale) and compared(found["high"], high, scale)
        yield f"interval of {about}", "true" if right else "false", f"{low:.4f} to {high:.4f}"


def _alike(said: Sequence[str], held: Sequence[float]) -> bool:
    """Whether numbers as written are those that were drawn, to three digits or to the digits that are written."""
    if len(said) != len(held):
        return False
    pairs = zip(said, held, strict=True)
    return all(compared(one, value) or math.isclose(float(one), value, rel_tol=0.005) for one, value in pairs)


def _reached(reached: bool) -> str:
    return "it was reached" if reached else "it was not reached"


def _step(dated: Dated | None) -> int | None:
    return None if dated is None else dated.step


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[\w']+", text.lower()))


def _name(text: str) -> str:
    return text.lower().replace(" ", "_")
