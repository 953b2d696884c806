"""Texts, records and marks about an episode, held against the store claim by claim.

A text is cut into sentences.  Phrases of a small grammar are looked up in the measured facts and taken out, each giving
claims that are true or false.  Whatever is left of a sentence but for fillers is unsupported: what cannot be read is
never true.  A negation or a doubt among what is left makes all claims of its sentence unsupported.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from workbench.attribution.explanation import Explanation, explain
from workbench.attribution.facts import Facts, Verdict
from workbench.config import named
from workbench.errors import ConfigError
from workbench.store import Store
from workbench.types import Record, Task
from workbench.types.episode import MODES
from workbench.types.results import Tabular

LONGEST = 100_000
"""Letters of a text."""
APPROXIMATE = r"(?:about|around|approximately|roughly|circa|near|~) ?"
NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
STEP = rf"(?P<about>{APPROXIMATE})?(?:(?:control |time ?)?step|t ?=) ?(?P<step>\d+)(?!\.?\d)"
SECONDS = rf"(?P<about>{APPROXIMATE})?(?P<seconds>\d+(?:\.\d+)?) ?(?:s|sec|seconds?)\b"
INTERVAL = (
    rf"(?: ?[(\[]?(?:95 ?% )?(?:interval|ci):? ?(?P<low>{NUMBER}) ?%? ?(?:to|-|–) ?(?P<high>{NUMBER}) ?%?[)\]]?)?"  # noqa: RUF001
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
FILLERS = frozenset(
    [
        "a",
        "an",
        "the",
        "it",
        "its",
        "itself",
        "this",
        "that",
        "these",
        "those",
        "is",
        "was",
        "were",
        "are",
        "be",
        "been",
        "being",
        "has",
        "had",
        "have",
        "of",
        "in",
        "on",
        "at",
        "to",
        "by",
        "for",
        "from",
        "with",
        "as",
        "and",
        "but",
        "which",
        "who",
        "policy",
        "robot",
        "episode",
        "run",
        "attempt",
        "failure",
        "fault",
        "mode",
        "modes",
        "stage",
        "stages",
        "step",
        "steps",
        "control",
        "seen",
        "event",
        "events",
        "task",
        "asked",
        "called",
        "under",
        "drawn",
    ]
)
"""Words that claim nothing of their own; none that orders things or gives a reason."""
DOUBT = re.compile(
    r"\b(?:not|no|never|none|neither|nor|without|cannot|\w+n't|may|might|could|would|should|maybe|perhaps|probably|"
    r"possibly|presumably|apparently|seems?|if|unless|hardly|almost|nearly)\b"
)


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes
    ----------
    text : what was said, as it stands there.
    about : which fact; "" for what could not be read.
    verdict : ``true``, ``false`` or ``unsupported``: the store says nothing of it, or it could not be read.
    held : what the store says, in words.
    """

    text: str
    about: str
    verdict: Verdict
    held: str = ""


@dataclasses.dataclass(frozen=True)
class CheckedExplanation(Tabular):
    """All claims of a text, a record or marks, in order."""

    uid: str
    claims: tuple[Claim, ...]

    def count(self, verdict: Verdict) -> int:
        """How many claims are so."""
        return sum(claim.verdict == verdict for claim in self.claims)

    @property
    def contradictions(self) -> tuple[Claim, ...]:
        """The false ones."""
        return tuple(claim for claim in self.claims if claim.verdict == "false")

    def rows_of_table(self) -> list[Record]:
        """One row each claim."""
        return [dataclasses.asdict(claim) for claim in self.claims]


def check_explanation(
    said: str | Explanation | Mapping[str, Any], store: Store, episode: int | str, *, task: Task | None = None
) -> CheckedExplanation:
    """Mark every claim about an episode true, false or unsupported, against what the store holds of it.

    Parameters
    ----------
    said : a text, whoever wrote it; an :class:`Explanation` or its plain data, checked field by field; or marks, name
        of an event -> control step, as recordings have them (-1: not measured).
    episode : its number or uid.
    task : as :func:`explain` takes it.

    Notes
    -----
    Steps must be equal; said to be *about* a step, within 5.  Times in seconds are right within half a step and the
    digits that are said, other numbers within half a unit of their last digit.

    Raises
    ------
    ConfigError
        for anything else, or a text of more than 100,000 letters.
    """
    known = explain(store, episode, task=task)
    if isinstance(said, str):
        if len(said) > LONGEST:
            raise ConfigError(f"the text has {len(said)} letters; at most {LONGEST} are checked")
        return CheckedExplanation(known.uid, tuple(claims_of(said, Facts(known))))
    if isinstance(said, Explanation):
        return CheckedExplanation(known.uid, tuple(_fields(said.record(), known.record())))
    if not isinstance(said, Mapping) or not all(isinstance(name, str) for name in said):
        raise ConfigError(f"a text, an explanation or marks can be checked, not a {type(said).__name__}")
    if said and all(isinstance(step, int) and not isinstance(step, bool) for step in said.values()):
        return CheckedExplanation(known.uid, tuple(_marks(said, Facts(known))))
    return CheckedExplanation(known.uid, tuple(_fields(said, known.record())))


def _fields(said: Any, held: Any, key: str = "") -> Iterator[Claim]:
    """Every leaf of a record against the same of the facts; a field that the facts lack is unsupported."""
    if isinstance(said, Mapping) and isinstance(held, Mapping):
        for name, value in said.items():
            below = f"{key}.{name}" if key else str(name)
            if name in held:
                yield from _fields(value, held[name], below)
            else:
                yield Claim(f"{below}: {value}", below, "unsupported")
    elif isinstance(said, list | tuple) and isinstance(held, list) and len(said) == len(held) and held:
        for number, (one, other) in enumerate(zip(said, held, strict=True)):
            yield from _fields(one, other, f"{key}.{number}")
    else:
        same = (list(said) if isinstance(said, tuple) else said) == held and isinstance(said, bool) == isinstance(
            held, bool
        )
        yield Claim(f"{key}: {said}", key, "true" if same else "false", str(held))


def _marks(said: Mapping[str, int], facts: Facts) -> Iterator[Claim]:
    names = {"point of no return": "no_return", "decisive": "decided", "failure": "end", "success": "end"}
    for name, step in said.items():
        text, event = f"{name}: {step}", names.get(name, name)
        if name in ("failure", "success") and (name == "success") != facts.told.success:
            yield Claim(text, "outcome", "false", facts.outcome)
        elif event not in facts.steps:
            yield Claim(text, name, "unsupported")
        else:
            held = facts.steps[event]
            yield Claim(text, name, "true" if step == (-1 if held is None else held) else "false", str(held))


def claims_of(text: str, facts: Facts) -> list[Claim]:
    """All claims of a text, sentence by sentence."""
    found: list[Claim] = []
    for sentence in sentences_of(text):
        found += _of_sentence(sentence, facts)
    return found


def sentences_of(text: str) -> list[str]:
    """Sentences of a text, without ends; semicolons and line breaks end one as well."""
    cut = re.split(r"(?<=[.!?])\s+|[;\n]+\s*|(?<=[.!?])$", text.strip())
    return [" ".join(part.rstrip(".!?").split()) for part in cut if part.strip(" .!?*#-\t")]


def _of_sentence(sentence: str, facts: Facts) -> list[Claim]:
    left, claims = sentence, []
    for pattern, read in _rules(facts):
        while (found := pattern.search(left)) is not None:
            claims += [Claim(found[0].strip(), *each) for each in read(found, facts)]
            left = f"{left[: found.start()]} \x00 {left[found.end() :]}"
    rest = [word for word in re.findall(r"[^\s\x00,:()\[\]\"'“”*#]+", left) if word.lower().strip(".-–") not in FILLERS]  # noqa: RUF001
    rest = [word for word in rest if re.search(r"\w", word)]
    if DOUBT.search(" ".join(rest).lower()):
        claims = [Claim(claim.text, claim.about, "unsupported", claim.held) for claim in claims]
    if rest or not claims:
        claims.append(Claim(" ".join(rest) or sentence, "", "unsupported"))
    return claims


Found = tuple[str, Verdict, str]
"""About what, how it stands, and what is held instead."""
Rule = tuple[re.Pattern[str], Callable[[re.Match[str], Facts], Iterable[Found]]]


def _rules(facts: Facts) -> list[Rule]:
    """The grammar, phrases that take in more before those that take in less."""
    stages = tuple(stage.stage for stage in facts.told.stages)
    return _grammar(stages, tuple(fault.name for fault in facts.told.faults))


@functools.lru_cache(maxsize=64)
def _grammar(stages: tuple[str, ...], drawn: tuple[str, ...]) -> list[Rule]:
    faults = _any({*named.names("perturbation"), *drawn}, spaced=True)
    modes, every = _any(MODES), _any((*stages, *STAGES))
    stage = rf"stage (?P<s>{every})\b"
    mode = rf"(?:failure )?(?:mode )?(?P<m>{modes})\b"
    fault = rf"(?:fault|perturbation|disturbance) (?P<f>{faults})\b"
    events = "|".join(f"(?P<{name}>{words})" for name, words in EVENTS.items())
    predicate = r"predicate (?P<p>\w+) (?P<turn>began|ended)"
    subject = rf"(?:the )?(?:{fault}|{stage}|{predicate}|{events}|{mode})"
    other = re.sub(r"\?P<(\w+)>", r"?P<\1_2>", subject)

    def rule(words: str, read: Callable[[re.Match[str], Facts], Iterable[Found]]) -> Rule:
        return re.compile(words, re.IGNORECASE), read

    said = [
        rule(r"^task (?P<name>[\w.-]+)", lambda m, f: [f.equal("task", m["name"], f.told.task)]),
        rule(r"(?:was |were )?(?:asked|told|instructed) to (?P<what>.+)$", lambda m, f: [f.instruction(m["what"])]),
        rule(
            r"\b(?:no fault was injected|under no fault|without (?:a|any) fault|no fault)\b", lambda m, f: [f.nominal()]
        ),
        rule(r"\bthe fault (?:was never injected|never struck)\b", lambda m, f: [f.never_injected()]),
        rule(r"\bno failure mode was seen\b", lambda m, f: [f.no_mode()]),
        rule(r"\bno decisive actions (?:were found|are known)\b", lambda m, f: [f.none_decided()]),
        rule(
            r"there was no point of no return: the expert still succeeds from the last step",
            lambda m, f: [f.always_winnable()],
        ),
        rule(
            r"(?P<what>[\w ]+?) (?:was|were|is|are|has been) not (?:measured|known)\b",
            lambda m, f: [f.unmeasured(m["what"])],
        ),
        rule(
            r"(?:: )?(?:success became unlikely|from there on not even the expert succeeds in time)$", lambda m, f: []
        ),
        rule(r": not even the expert succeeds from the start$", lambda m, f: [f.lost_from_the_start()]),
        rule(rf"{subject}{VERBS} (?P<order>before|after|earlier than|later than) {other}", lambda m, f: [f.order(m)]),
        rule(
            rf"first (?:failure )?(?:mode |sign )?(?:seen )?(?:was|is|of all was) (?:an? |the )?(?P<m>{modes})\b"
            rf"(?:,? (?:at |seen at ){STEP})?",
            lambda m, f: f.first_mode(m),
        ),
        rule(rf"{subject}{VERBS},? ?(?:at|from|on|by|in|with)? ?{STEP}(?: on)?{INTERVAL}", lambda m, f: f.dated(m)),
        rule(rf"{subject}{VERBS},? ?(?:at|from|on|by|in|after)? ?{SECONDS}", lambda m, f: f.dated(m)),
        rule(rf"(?:at|from|in) {STEP}(?: on)?,? {subject}{VERBS}", lambda m, f: f.dated(m)),
        rule(
            rf"(?:the )?(?:failure is called|failed (?:by|with|through)|failure mode (?:is|was|:)) (?:an? )?(?P<m>{modes})\b",
            lambda m, f: f.called(m),
        ),
        rule(
            r"(?:the )?decisive actions (?:were|are) (?:those )?(?:of|at|from)? ?steps? (?P<first>\d+)(?: (?:to|-) (?P<last>\d+))?",
            lambda m, f: f.decided_steps(m),
        ),
        rule(
            rf"(?:the |by the )?(?P<by>twin|expert|policy)(?:'s|'s actions|’s)? (?:actions )?(?:in their place )?(?:raises?|raised) success by "  # noqa: RUF001
            rf"(?P<gain>{NUMBER}) ?(?P<percent>%|points)?{INTERVAL}",
            lambda m, f: f.gained(m),
        ),
        rule(
            rf"of (?P<runs>\d+) reruns(?: under other noise)? (?P<rate>{NUMBER}) ?% (?:succeeded|succeed|passed){INTERVAL}",
            lambda m, f: f.rerun(m),
        ),
        rule(
            r"(?P<won>\d+) (?:of|out of) (?:the )?(?P<runs>\d+) reruns(?: under other noise)? (?:succeeded|succeed|passed)",
            lambda m, f: f.rerun(m),
        ),
        rule(r"the (?P<ended>failure|success) was (?P<kind>law|luck|systematic|flaky)\b", lambda m, f: f.kind(m)),
        rule(r"whether it was luck is open", lambda m, f: [f.is_open()]),
        rule(r"(?P<kind>recoverable|catastrophic)(?: failure)?\b", lambda m, f: [f.outcome_kind(m["kind"])]),
        rule(
            r"reached (?P<none>no stage)|(?:(?:(?P<not>not|never reached|did not reach)|(?P<at>failed|stuck) (?:at|in)) "
            rf"(?:the )?|(?:reached )?(?:the )?)stages? (?P<list>(?:{every})\b(?:(?:, | and |, and )(?:{every})\b)*)"
            r"(?P<late> was never reached| was not reached)?",
            lambda m, f: f.stages(m),
        ),
        rule(
            rf"{fault}|(?<!mode )\b(?P<f2>{_any({*named.names('perturbation'), *drawn} - set(MODES), True)})\b",
            lambda m, f: [f.fault(m)],
        ),
        rule(r"\(?channel (?P<c>\w+)\)?|\b(?P<c2>\w+) channel\b", lambda m, f: [f.channel(m["c"] or m["c2"])]),
        rule(
            rf"\b(?P<name>[a-z]+(?:_[a-z]+)+) (?:= ?|of |is |was )?(?P<values>{NUMBER}|\[{NUMBER}(?:, {NUMBER})*\])",
            lambda m, f: [f.parameter(m)],
        ),
        rule(
            rf"(?P<number>{NUMBER}) ?(?P<unit>mm|cm|m|n|newtons?|met(?:re|er)s?|rad|radians?|deg|degrees|°)(?!\w)",
            lambda m, f: [f.magnitude(m)],
        ),
        rule(
            rf"{mode} (?:was |were )?(?:seen )?(?P<times>once|twice|three times|\d+ times)", lambda m, f: [f.times(m)]
        ),
        rule(mode, lambda m, f: [f.mode(m["m"])]),
        rule(
            r"\b(?P<failed>failed|did not succeed|was (?:a failure|not successful|unsuccessful)|fails)\b(?: after (?P<length>\d+) steps)?"
            r"|\b(?P<won>succeeded|was (?:a success|successful)|succeeds)\b(?: after (?P<length2>\d+) steps)?",
            lambda m, f: f.ended(m),
        ),
        rule(r"(?:lasted|took|after) (?P<length>\d+) (?:control )?steps", lambda m, f: [f.length(int(m["length"]))]),
        rule(
            rf"(?:the )?(?P<thing>(?:(?:{_any(COLOURS)}) )?(?:{_any(OBJECTS)}))\b", lambda m, f: [f.thing(m["thing"])]
        ),
    ]
    return said


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


def _any(names: Iterable[str], spaced: bool = False) -> str:
    """Any of some names, the longest first; with ``spaced`` their underscores may be spaces."""
    found = [re.escape(name) for name in sorted(set(names), key=lambda name: (-len(name), name))]
    return "|".join(re.sub("_", "[_ ]", name) if spaced else name for name in found) or r"(?!)"
