"""What a run was made with: later jobs take it from the run's journal, unless it is said again.

A journal comes with a run folder, which may come from somebody else.  So it gives words alone, of keys that say how
results are made and with plain values, and these are composed and checked like typed ones.  It cannot name code, a
plug-in, another folder or another job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from workbench.config.journal import Entry
from workbench.config.options import options_of
from workbench.config.sweep import job_of_words, key_of

GROUPS = ("task", "policy", "score", "calibrator", "strategy", "shield")
"""Groups of the configuration that are remembered."""
KEYS = (*GROUPS, "monitor", "rollout", "seed", "store", "demos", "checkpoint")
"""First parts of the keys that are remembered.

Not ``perturbation``, ``protocol`` and ``job``, which say what one job does, nor ``runner``, which says where.
"""
FORGETFUL = ("compare", "new", "synthesize", "zoo")
"""Jobs that are about no run, or take what they are made with from a recipe or an entry of the zoo."""
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")


def remembered(entries: Iterable[Entry], said: Sequence[str]) -> list[str]:
    """Words of earlier jobs of a run, of which later ones count more, that what is said now leaves in place."""
    kept: list[str] = []
    if job_of_words(said) in FORGETFUL:
        return kept
    for entry in entries:
        for word in entry.words if entry.done else ():
            if may_be_taken(word):
                kept = [*_left(kept, word), word]
    for word in said:
        kept = _left(kept, word)
    return kept


def _left(kept: Sequence[str], word: str) -> list[str]:
    """Words that another one, said later, leaves in place."""
    key = key_of(word)
    left = [each for each in kept if key_of(each) != key and not key_of(each).startswith(f"{key}.")]
    if key == "policy":  # its weights lie elsewhere
        return [each for each in left if key_of(each) != "checkpoint"]
    if key == "checkpoint":
        return [each for each in left if not each.startswith("policy=zoo/")]
    return left


def may_be_taken(word: str) -> bool:
    """Whether a word of a journal is of a key that is remembered, and plain."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key = key_of(word)
    head, *rest = key.split(".")
    if head not in KEYS or not all(_PART.fullmatch(part) for part in rest) or word.startswith("~"):
        return False
    try:
        parsed = OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    value = parsed.value()
    if parsed.package is not None or parsed.is_sweep_override() or not _plain(value):
        return False
    return head not in GROUPS or bool(rest) or _known(head, value)


def _plain(value: Any) -> bool:
    """Whether a value is text, numbers, lists and objects, without anything that the configuration would resolve."""
    if isinstance(value, dict):
        return all(_PART.fullmatch(str(key)) and _plain(each) for key, each in value.items())
    if isinstance(value, list):
        return all(_plain(each) for each in value)
    text = str(getattr(value, "text", value))
    simple = value is None or isinstance(value, bool | int | float | str) or hasattr(value, "text")
    return simple and "${" not in text and "_target_" not in text


def _known(group: str, value: Any) -> bool:
    """Whether all names are of a group's files."""
    names = [str(getattr(each, "text", each)) for each in (value if isinstance(value, list) else [value])]
    known = [*options_of(group), *(f"zoo/{entry}" for entry in options_of("policy/zoo") if group == "policy")]
    return all(name in known for name in names)
