"""Points of a sweep (``-m key=a,b``): each has a run and a store of its own, named after what was varied.

``workbench rollout name=mine seed=1,2 -m`` makes ``runs/mine-seed-1`` and ``runs/mine-seed-2``.  What a point only
reads, and does not have, it reads from the run that was named: ``mine``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.config.files import digest
from workbench.types import Record

MAKES: Mapping[str, Sequence[str]] = {
    "collect": ("demos",),
    "train": ("checkpoint",),
    "rollout": ("store",),
    "label": ("store",),
    "synthesize": ("store",),
    "quickstart": ("demos", "checkpoint", "store"),
    "zoo": ("demos", "checkpoint", "store"),
}
"""Job -> which of a run's stores and weights it writes; the others it only reads."""
APART = ("compare", "explain", "export", "new", "replay", "report", "serve", "view")
"""Jobs whose points do not mix in one run: their files are named after what they show."""
LONGEST = 80
"""Letters that are added to a name."""
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
WORD = re.compile(r"\w+(/\w+)*", re.ASCII)
KEY = re.compile(r"\w+(\.\w+)*", re.ASCII)


def key_of(word: str) -> str:
    """The key that a word sets, without what says whether it is new."""
    return word.partition("=")[0].lstrip("+~")


def job_of_words(words: Sequence[str]) -> str:
    """Name of the job that words ask for; "" for none."""
    return next((word.removeprefix("job=") for word in words if word.startswith("job=")), "")


def fixed_keys(words: Sequence[str]) -> str:
    """A word that tells Hydra, and so every point, which keys are not varied."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides([word for word in words if not word.startswith("-")])
    fixed = [key_of(str(each.input_line)) for each in parsed if not each.is_sweep_override()]
    return f"hydra.job.config.override_dirname.exclude_keys=[{','.join(quoted(key) for key in fixed)}]"


def quoted(text: str) -> str:
    """A text as Hydra's grammar takes it."""
    return "'" + re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", text) + "'"


def point_words(words: Sequence[str], varied: Sequence[str], config: Record, raw_name: str, root: Path) -> list[str]:
    """Words of one point: those asked for, with a name of its own, and where it reads what it does not have.

    Parameters
    ----------
    varied : the words that differ from point to point.
    config : what ``words`` are composed to.
    raw_name : its name, interpolations left as they are: keys that it mentions tell points apart already.
    """
    job = job_of_words(words)
    mentioned = {"name", *re.findall(r"[\w.]+", " ".join(re.findall(r"\$\{([^}]*)\}", raw_name)))}
    apart = [word for word in varied if key_of(word) not in mentioned]
    if job in APART or not apart:
        return list(words)
    base, name = config["name"], config["name"] + named_after(apart)
    said, makes = {key_of(word) for word in words}, MAKES.get(job, ())
    lent = {
        "store": (config["store"], f"datasets/{name}.zarr", f"datasets/{config['store']}.zarr"),
        "demos": (config["demos"], f"datasets/{name}-demos.zarr", f"datasets/{config['demos']}.zarr"),
        "checkpoint": (f"runs/{base}/policy", f"runs/{name}/policy", f"runs/{base}/policy"),
    }
    own = {*said, *makes, *(("checkpoint",) if (config["policy"] or {}).get("zoo") else ())}
    read = [
        _word(key, value)
        for key, (value, of_point, of_base) in lent.items()
        if key not in own and (root / of_base).exists() and not (root / of_point).exists()
    ]
    return [*(word for word in words if key_of(word) != "name"), _word("name", name), *read]


def named_after(varied: Sequence[str]) -> str:
    """What is added to a name: readable, of letters that a file name may have, and another one for other words."""
    added = "".join(f"-{_plain_key(key_of(word))}-{_plain_value(word)}" for word in varied)
    return added if len(added) <= LONGEST else f"{added[: LONGEST - 9]}-{digest(list(varied), 8)}"


def _word(key: str, value: str) -> str:
    simple = re.fullmatch(r"[A-Za-z][\w./-]*", value, re.ASCII)
    return f"{key}={value if simple else quoted(value)}"


def _plain_key(key: str) -> str:
    return key if KEY.fullmatch(key) else _cut(key)


def _plain_value(word: str) -> str:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    text = word.partition("=")[2]
    exact = text if NUMBER.fullmatch(text) else _exact(OverridesParser.create().parse_override(word).value())
    return exact if exact is not None else _cut(text)


def _exact(value: Any) -> str | None:
    """A value as part of a file name that no other has, but a list of it alone; None where none is so simple."""
    if isinstance(value, list):
        parts = [None if isinstance(each, list) else _exact(each) for each in value]
        return None if None in parts else "+".join(part for part in parts if part is not None) or "none"
    text = (
        "null"
        if value is None
        else str(value).lower()
        if isinstance(value, bool)
        else str(getattr(value, "text", value))
    )
    if NUMBER.fullmatch(text):
        return text
    return text.replace("/", ".") if WORD.fullmatch(text) else None


def _cut(text: str) -> str:
    """The first letters of a text, and a digest of all."""
    letters = re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:24]
    return f"{letters}-{digest(text, 8)}".strip("-")
