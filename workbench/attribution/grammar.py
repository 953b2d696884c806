"""The phrases that a text about an episode is searched for, and what each of them claims.

A rule is a pattern and what reads it.  Rules are tried in order on what the earlier ones left of a sentence, those that
take in more words first.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping

from workbench.attribution.facts import Facts, Found
from workbench.config import named
from workbench.types.episode import MODES

Match = re.Match[str]
Read = Callable[[Match, Facts], Iterable[Found]]
Rule = tuple[re.Pattern[str], Read]

DASH = "[-\N{EN DASH}]"
APOSTROPHE = "['\N{RIGHT SINGLE QUOTATION MARK}]"
APPROXIMATE = r"(?:about|around|approximately|roughly|circa|near|~) ?"
NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
STEP = rf"(?P<about>{APPROXIMATE})?(?:(?:control |time ?)?step|t ?=) ?(?P<step>\d+)(?!\.?\d)"
SECONDS = rf"(?P<about>{APPROXIMATE})?(?P<seconds>\d+(?:\.\d+)?) ?(?:s|sec|seconds?)\b"
INTERVAL = (
    rf"(?: ?[(\[]?(?:95 ?% )?(?:interval|ci):? ?(?P<low>{NUMBER}) ?%? ?(?:to|{DASH}) ?"
    rf"(?P<high>{NUMBER}) ?%?[)\]]?)?"
)
EVENTS: Mapping[str, str] = {
    "injected": r"(?:fault|perturbation|disturbance)s? (?:was|were|is|got) injected|injection(?: of the fault)?"
    r"|(?:fault|perturbation|disturbance) (?:struck|began|started|hit)",
    "effect": r"effect(?: of the fault)?",
    "onset": r"(?:failure )?onset(?: of the failure)?|(?:success|it) became unlikely|failure (?:began|started)",
    "no_return": r"point of no return|(?:success|it) became impossible",
    "lost": r"within twice the deadline it was lost",
    "end": r"(?:episode|run|attempt) (?:ended|stopped|was over)|end of the episode",
}
"""Event -> how it is called."""
VERBS = (
    r"(?: (?:was|were|is|are|has|had|been|began|begins|started|starts|occurred|occurs|happened|happens|appeared|seen|"
    r"set in|reached|injected|lies|lay|came|fell|dated))*"
)
STAGES = (
    "reach", "grasp", "lift", "place", "release", "carry", "align", "insert", "turn", "open", "push", "cover", "touch",
    "finish",
)  # fmt: skip
"""Stages of the workbench's tasks, so that one of another task is known to be one."""
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "grey", "black", "white")
OBJECTS = (
    "cube", "block", "can", "door", "handle", "nut", "peg", "hole", "bin", "box", "tee", "disc", "cereal", "milk",
    "bread", "bottle", "cup", "mug", "bowl", "plate", "ball",
)  # fmt: skip
"""What tasks are about, so that one that is not there is known to be one."""


def rules_for(facts: Facts) -> list[Rule]:
    """The grammar with the names of an episode's stages and faults."""
    stages = tuple(stage.stage for stage in facts.told.stages)
    return _rules(stages, tuple(fault.name for fault in facts.told.faults))


@functools.lru_cache(maxsize=64)
def _rules(stages: tuple[str, ...], drawn: tuple[str, ...]) -> list[Rule]:
    names, modes, every = {*named.names("perturbation"), *drawn}, _any(MODES), _any((*stages, *STAGES))
    words = _Words(
        modes=modes,
        stages=every,
        mode=rf"(?:failure )?(?:mode )?(?P<m>{modes})\b",
        fault=rf"(?:fault|perturbation|disturbance) (?P<f>{_any(names, spaced=True)})\b",
        bare_fault=rf"(?<!mode )\b(?P<f2>{_any(names - set(MODES), spaced=True)})\b",
    )
    return [
        (re.compile(pattern, re.IGNORECASE), read)
        for pattern, read in (*_whole(), *_dated(words), *_decided(words), *_seen(words), *_drawn(words), *_ends(words))
    ]


class _Words:
    """Patterns of the names that an episode is spoken of with."""

    def __init__(self, modes: str, stages: str, mode: str, fault: str, bare_fault: str) -> None:
        self.modes, self.stages, self.mode, self.fault, self.bare_fault = modes, stages, mode, fault, bare_fault
        events = "|".join(f"(?P<{name}>{words})" for name, words in EVENTS.items())
        stage, predicate = rf"stage (?P<s>{stages})\b", r"predicate (?P<p>\w+) (?P<turn>began|ended)"
        self.subject = rf"(?:the )?(?:{fault}|{stage}|{predicate}|{events}|{mode})"
        self.other = re.sub(r"\?P<(\w+)>", r"?P<\1_2>", self.subject)


def _whole() -> list[tuple[str, Read]]:
    """Sentences that are read as they stand."""
    return [
        (r"^task (?P<name>[\w.-]+)", lambda m, f: [f.equal("task", m["name"], f.told.task)]),
        (r"(?:was |were )?(?:asked|told|instructed) to (?P<what>.+)$", lambda m, f: [f.instruction(m["what"])]),
        (r"\b(?:no fault was injected|under no fault|without (?:a|any) fault)\b", lambda m, f: [f.nominal()]),
        (r"\bthe fault (?:was never injected|never struck)\b", lambda m, f: [f.never_injected()]),
        (r"\bno failure mode was seen\b", lambda m, f: [f.no_mode()]),
        (r"\bno decisive actions (?:were found|are known)\b", lambda m, f: [f.none_decided()]),
        (
            r"there was no point of no return: the expert still succeeds from the last step",
            lambda m, f: [f.always_winnable()],
        ),
        (
            r"(?P<what>[\w ]{1,60}?) (?:was|were|is|are|has been) not (?:measured|known)\b",
            lambda m, f: [f.unmeasured(m["what"])],
        ),
        (
            r": (?:success became unlikely|from there on not even the expert succeeds in time)(?=, though|$)",
            lambda m, f: [],
        ),
        (r": the expert succeeds from no step(?=, though|$)", lambda m, f: [f.lost_from_the_start()]),
        (r", though the policy did until the onset$", lambda m, f: [f.policy_outlives_expert()]),
    ]


def _dated(words: _Words) -> list[tuple[str, Read]]:
    """What came before what, and when."""
    subject = words.subject
    return [
        (rf"{subject}{VERBS} (?P<order>before|after|earlier than|later than) {words.other}", lambda m, f: [f.order(m)]),
        (
            rf"first (?:failure )?(?:mode |sign )?(?:seen )?(?:was|is) (?:an? |the )?(?P<m>{words.modes})\b"
            rf"(?:,? (?:at |seen at ){STEP})?",
            lambda m, f: f.first_mode(m),
        ),
        (rf"{subject}{VERBS},? ?(?:at|from|on|by|in)? ?{STEP}(?: on)?{INTERVAL}", lambda m, f: f.dated(m)),
        (rf"{subject}{VERBS},? ?(?:at|from|on|by|in|after)? ?{SECONDS}", lambda m, f: f.dated(m)),
        (rf"(?:at|from|in) {STEP}(?: on)?,? {subject}{VERBS}", lambda m, f: f.dated(m)),
    ]


def _decided(words: _Words) -> list[tuple[str, Read]]:
    """Which actions decided it, and luck."""
    called = r"(?:the )?(?:failure is called|failed (?:by|with|through)|failure mode (?:is|was|:))"
    rerun = r"reruns(?: under other noise)?"
    return [
        (rf"{called} (?:an? )?(?P<m>{words.modes})\b", lambda m, f: f.called(m)),
        (
            r"(?:the )?decisive actions (?:were|are) (?:those )?(?:of|at|from)? ?"
            rf"steps? (?P<first>\d+)(?: ?(?:to|{DASH}) ?(?P<last>\d+))?",
            lambda m, f: f.decided_steps(m),
        ),
        (
            rf"(?:the |by the )?(?P<by>twin|expert|policy)(?:{APOSTROPHE}s)? (?:actions )?(?:in their place )?"
            rf"(?:raises?|raised) success by (?P<gain>{NUMBER}) ?(?P<percent>%|points)?{INTERVAL}",
            lambda m, f: f.gained(m),
        ),
        (
            rf"of (?P<runs>\d+) {rerun} (?P<rate>{NUMBER}) ?% (?:succeeded|succeed|passed){INTERVAL}",
            lambda m, f: f.rerun(m),
        ),
        (
            rf"(?P<won>\d+) (?:of|out of) (?:the )?(?P<runs>\d+) {rerun} (?:succeeded|succeed|passed)",
            lambda m, f: f.rerun(m),
        ),
        (r"(?:the )?(?P<ended>failure|success) was (?P<kind>law|luck|systematic|flaky)\b", lambda m, f: f.kind(m)),
        (r"whether it was luck is open", lambda m, f: [f.is_open()]),
        (r"(?P<kind>recoverable|catastrophic)(?: failure)?\b", lambda m, f: [f.outcome_kind(m["kind"])]),
    ]


def _seen(words: _Words) -> list[tuple[str, Read]]:
    """Stages, which were reached or not."""
    some = rf"(?P<list>(?:{words.stages})\b(?:(?:, | and |, and )(?:{words.stages})\b)*)"
    missed = r"(?:(?P<not>not|never reached|did not reach)|(?P<at>failed|stuck) (?:at|in)) (?:the )?"
    one = rf"(?P<one>{words.stages})"
    late = r"(?P<late> was never reached| was not reached)?"
    return [
        (
            rf"reached (?P<none>no stage)|(?:{missed}|(?:reached )?(?:the )?)(?:stages? {some}|{one} stage\b){late}",
            lambda m, f: f.stages(m),
        ),
    ]


def _drawn(words: _Words) -> list[tuple[str, Read]]:
    """Faults and their magnitudes."""
    unit = r"mm|cm|m|n|newtons?|met(?:re|er)s?|rad|radians?|deg|degrees|°"
    return [
        (rf"{words.fault}|{words.bare_fault}", lambda m, f: [f.fault(m)]),
        (r"\(?channel (?P<c>\w+)\)?|\b(?P<c2>\w+) channel\b", lambda m, f: [f.channel(m["c"] or m["c2"])]),
        (
            rf"\b(?P<name>[a-z]+(?:_[a-z]+)+) (?:= ?|of |is |was )?"
            rf"(?P<values>{NUMBER}|\[{NUMBER}(?:, {NUMBER})*\])",
            lambda m, f: [f.parameter(m)],
        ),
        (rf"(?P<number>{NUMBER}) ?(?P<unit>{unit})(?!\w)", lambda m, f: [f.magnitude(m)]),
    ]


def _ends(words: _Words) -> list[tuple[str, Read]]:
    """Modes that are only named, the outcome, and objects."""
    after = r"(?: after (?P<length{}>\d+) steps)?"
    times = r"(?P<times>once|twice|three times|\d+ times)"
    return [
        (rf"{words.mode} (?:was |were )?(?:seen )?{times}", lambda m, f: [f.times(m)]),
        (words.mode, lambda m, f: [f.mode(m["m"])]),
        (
            r"\b(?P<failed>failed|did not succeed|was (?:a failure|not successful|unsuccessful)|fails)\b"
            rf"{after.format('')}|\b(?P<won>succeeded|was (?:a success|successful)|succeeds)\b{after.format('2')}",
            lambda m, f: f.ended(m),
        ),
        (r"(?:lasted|took|after) (?P<length>\d+) (?:control )?steps", lambda m, f: [f.length(int(m["length"]))]),
        (
            rf"\b(?:the )?(?P<thing>(?:(?:{_any(COLOURS)}) )?(?:{_any(OBJECTS)}))\b",
            lambda m, f: [f.thing(m["thing"])],
        ),
    ]


def _any(names: Iterable[str], spaced: bool = False) -> str:
    """Any of some names, the longest first; with ``spaced`` their underscores may be spaces."""
    found = [re.escape(name) for name in sorted(set(names), key=lambda name: (-len(name), name))]
    return "|".join(re.sub("_", "[_ ]", name) if spaced else name for name in found) or r"(?!)"
