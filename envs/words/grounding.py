"""What an instruction asks for: word by word against a task's own words, and nothing rather than a guess.

Every word has to be understood, after small misspellings are mended; what is spoken of then leaves the goals that it
can mean, and the instruction means a goal if exactly one is left.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Collection, Mapping
from typing import Protocol

from workbench.envs.words.wordings import BENEATH, FILLERS, NOT_MISSPELT, TAKING, TO, Wording

ALIKE = 0.75
"""Likeness (``difflib.SequenceMatcher.ratio``) from which a word is a misspelling of another."""
SHORTEST = 4
"""Letters from which likeness tells; of shorter words, only a letter left out or two swapped are mended."""


class Told(Protocol):
    """What grounding needs of a task."""

    @property
    def goals(self) -> Mapping[str, str]: ...
    @property
    def wording(self) -> Wording | None: ...


def ground(instruction: str, task: Told) -> str | None:
    """The goal that an instruction means, or None.

    It is None for an instruction that is empty, that has a word which is not understood, that lacks a verb or a thing,
    and for one that fits no goal or several.  The exact instruction of a goal means that goal; of a task without
    words of its own, nothing else does.
    """
    for goal, exact in task.goals.items():
        if _words(instruction) == _words(exact):
            return goal
    return None if task.wording is None else _meant(instruction, task.wording)


@functools.lru_cache(maxsize=4096)
def _meant(instruction: str, wording: Wording) -> str | None:
    words = [_lexicon(wording).mended(word) for word in _words(instruction)]
    understood = [word for word in words if word is not None]
    mentions = _lexicon(wording).mentions(understood) if len(understood) == len(words) else None
    if mentions is None:
        return None
    fits = [goal for goal, things in wording.meanings.items() if mentions.fit(*things, wording.verbs_of.get(goal))]
    return fits[0] if len(fits) == 1 else None


class Mentions:
    """The things that an instruction speaks of: for each mention, those that may be meant."""

    def __init__(self) -> None:
        self.verbs: list[str] = []
        self.turned = False
        self.objects: list[frozenset[str]] = []
        self.targets: list[frozenset[str]] = []
        self._mentioned = self.objects
        self._described: frozenset[str] | None = None

    def take(self, role: str, phrase: str = "", named: frozenset[str] = frozenset()) -> None:
        """Go on with the next phrase: what it does in the sentence, and the things that it may stand for."""
        if role in ("adjective", "noun"):
            self._described = named if self._described is None else self._described & named
        if role != "adjective" and self._described is not None:
            self._mentioned.append(self._described)
            self._described = None
        if role in ("verb", "take"):
            self._mentioned = self.objects
        if role in ("to", "beneath"):
            self._mentioned = self.targets
        if role == "verb":
            self.verbs.append(phrase)
        self.turned = self.turned or role == "beneath"

    def fit(self, handled: str, target: str | None, verbs: Collection[str] | None) -> bool:
        """Whether they can be what is handled, what it is brought to, and, where verbs are given, what is done."""
        first, second = (self.targets, self.objects) if self.turned else (self.objects, self.targets)
        said = bool(self.verbs) and (verbs is None or all(verb in verbs for verb in self.verbs))
        complete = said and bool(self.objects)
        return complete and all(handled in each for each in first) and all(target in each for each in second)


class Lexicon:
    """A task's phrases by what they do in a sentence."""

    def __init__(self, wording: Wording) -> None:
        self.nouns = _named({name: thing.nouns for name, thing in wording.things.items()})
        self.adjectives = _named({name: thing.adjectives for name, thing in wording.things.items()})
        self.roles: dict[str, str] = {}
        for role, phrases in {
            "filler": (*FILLERS, *wording.fillers),
            "take": TAKING,
            "to": TO,
            "beneath": BENEATH,
            "adjective": tuple(self.adjectives),
            "noun": tuple(self.nouns),
            "verb": wording.verbs,
        }.items():
            self.roles |= dict.fromkeys(phrases, role)
        self.longest = max(len(phrase.split()) for phrase in self.roles)
        self.known = sorted({word for phrase in self.roles for word in phrase.split()})

    def mended(self, word: str) -> str | None:
        """The word that is meant; None if it is not one of these, nor near to one alone."""
        if word in self.known:
            return word
        if word in NOT_MISSPELT:
            return None
        nearest = [known for known in self.known if word in slips(known)]
        if not nearest and len(word) >= SHORTEST:
            near = [known for known in self.known if abs(len(known) - len(word)) <= 1]
            likeness = {known: difflib.SequenceMatcher(None, word, known).ratio() for known in near}
            best = max(ALIKE, *likeness.values(), 0.0)
            nearest = [known for known, value in likeness.items() if value == best]
        return nearest[0] if len(nearest) == 1 else None

    def mentions(self, words: list[str]) -> Mentions | None:
        """What is spoken of; None if the words do not fall into phrases that are understood."""
        found, at = Mentions(), 0
        while at < len(words):
            phrase = self._phrase(words[at : at + self.longest])
            if phrase is None:
                return None
            role = self.roles[phrase]
            named = {"noun": self.nouns, "adjective": self.adjectives}.get(role, {})
            found.take(role, phrase, named.get(phrase, frozenset()))
            at += len(phrase.split())
        found.take("filler")  # ends what was being described
        return found

    def _phrase(self, words: list[str]) -> str | None:
        """The longest phrase with which the words begin."""
        beginnings = (" ".join(words[:length]) for length in range(len(words), 0, -1))
        return next((phrase for phrase in beginnings if phrase in self.roles), None)


@functools.lru_cache(maxsize=4096)
def slips(word: str) -> frozenset[str]:
    """What becomes of a word of which one letter is left out, or two neighbours are swapped."""
    left_out = {word[:at] + word[at + 1 :] for at in range(len(word))}
    swapped = {word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1)}
    return frozenset((left_out | swapped) - {word, ""})


@functools.lru_cache(maxsize=64)
def _lexicon(wording: Wording) -> Lexicon:
    return Lexicon(wording)


def _named(phrases: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """Phrase -> the things that it may stand for, given thing -> its phrases."""
    every = {phrase for some in phrases.values() for phrase in some}
    return {phrase: frozenset(name for name, some in phrases.items() if phrase in some) for phrase in every}


def _words(instruction: str) -> list[str]:
    return re.findall(r"[a-z0-9'-]+", instruction.lower())
