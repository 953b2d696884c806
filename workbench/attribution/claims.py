"""Texts, records and marks about an episode, held against the store claim by claim.

A text is cut into sentences.  Phrases of a small grammar are looked up in the measured facts and taken out, each giving
claims that are true or false.  Whatever is left of a sentence but for fillers is unsupported: what cannot be read is
never true.  A negation or a doubt among what is left makes all claims of its sentence unsupported.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from workbench.attribution.explanation import Explanation, explain
from workbench.attribution.facts import Facts, Verdict
from workbench.attribution.grammar import rules_for
from workbench.errors import ConfigError
from workbench.store import Store
from workbench.types import Record, Task
from workbench.types.results import Tabular

LONGEST = 100_000
"""Letters of a text."""
LONGEST_SENTENCE = 1_000
"""Letters of a sentence that is read; a longer one is unsupported as a whole."""
FILLERS = frozenset(
    " ".join(
        (
            "a an the it its itself this that these those is was were are be been being has had have of in on at to by",
            "for from with as and but which who policy robot episode run attempt failure fault mode modes stage stages",
            "step steps control seen event events task asked called under drawn",
        )
    ).split()
)
"""Words that claim nothing of their own; none that orders things or gives a reason."""
DOUBT = re.compile(
    r"\b(?:not|no|never|none|neither|nor|without|cannot|\w+n't|may|might|could|would|should|maybe|perhaps|probably|"
    r"possibly|presumably|apparently|seems?|if|unless|hardly|almost|nearly)\b"
)
WORD = re.compile(r"[^\s\x00,:()\[\]\"'\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}*#]+")
"""A word of what is left of a sentence."""


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
        plain = list(said) if isinstance(said, tuple) else said
        same = plain == held and isinstance(said, bool) == isinstance(held, bool)
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
    if len(sentence) > LONGEST_SENTENCE:
        return [Claim(f"{sentence[:60]} ...", "", "unsupported", f"sentences of {LONGEST_SENTENCE} letters are read")]
    left, read_any = sentence, False
    claims: list[Claim] = []
    for pattern, read in rules_for(facts):
        while (found := pattern.search(left)) is not None:
            claims += [Claim(found[0].strip(" :"), *each) for each in read(found, facts)]
            left = f"{left[: found.start()]} \x00 {left[found.end() :]}"
            read_any = True
    rest = [word for word in WORD.findall(left) if word.lower().strip(".-") not in FILLERS and re.search(r"\w", word)]
    if DOUBT.search(" ".join(rest).lower()):
        claims = [Claim(claim.text, claim.about, "unsupported", claim.held) for claim in claims]
    if rest or not read_any:
        claims.append(Claim(" ".join(rest) or sentence, "", "unsupported"))
    return claims
