"""Jobs by name: which there are, and which one the words of a command line ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workbench.conf import described
from workbench.config.options import LISTED, conf_paths, groups, options_of
from workbench.errors import ConfigError, UnknownNameError

NEW = ("job.kind", "job.name", "job.folder")
"""Keys of the one job with words of its own: ``new KIND NAME [FOLDER]``."""


def jobs() -> dict[str, str]:
    """Job -> what it does; ours and those of installed packages of parts."""
    found: dict[str, str] = {}
    for folder in conf_paths():
        found |= described(folder / "job")
    return dict(sorted(found.items()))


def job_file(job: str) -> Path:
    """The yaml of a job; UnknownNameError if there is none."""
    if job not in (known := jobs()):
        raise UnknownNameError("job", job, known)
    return next(file for folder in conf_paths() if (file := folder / "job" / f"{job}.yaml").is_file())


def job_words(words: Sequence[str]) -> list[str]:
    """Words as typed with ``job=JOB`` at their head, and behind it the experiment of the job's own name, if any.

    Raises
    ------
    ConfigError
        if no job is named, or two are, or one that does not exist, or if a word is no ``key=value``.
    """
    bare = [word for word in words if "=" not in word and not word.startswith("~")]
    named = [word.removeprefix("job=") for word in words if word.startswith("job=")]
    keys = [word for word in words if word not in bare and not word.startswith("job=")]
    if not bare and not named:
        raise ConfigError(f"which job? It is: workbench JOB [key=value ...]. Jobs: {', '.join(jobs())}.")
    job, *others = [*named, *bare]
    job_file(job)
    if job == "new":
        if len(others) > len(NEW):
            raise ConfigError(f"too many words: {' '.join(others)}; it is: workbench new KIND NAME [FOLDER]")
        keys = [*(f"{key}={word}" for key, word in zip(NEW, others, strict=False)), *keys]
    elif others:
        raise ConfigError(_stray(others[0]))
    if job == "check":
        keys = check_words(keys)
    alone = not any(word.lstrip("+").partition("=")[0] == "experiment" for word in keys)
    own = [f"+experiment={job}"] if alone and job in options_of("experiment") else []
    return [f"job={job}", *own, *keys]


def check_words(words: Sequence[str]) -> list[str]:
    """Keys of ``check run=NAME`` and ``check store=NAME``; other words are left as they are."""
    runs = [f"name={word.removeprefix('run=')}" if word.startswith("run=") else word for word in words]
    store = runs == [*words] and any(word.startswith("store=") for word in words)
    return [*runs, *(["job.what=store"] if store else [])]


def _stray(word: str) -> str:
    """What to say of a word behind the job that is no ``key=value``."""
    found = [group for group in sorted(groups() - {"job"}) if word in options_of(group)]
    meant = [f"{group}=[{word}]" if group in LISTED else f"{group}={word}" for group in found]
    if word in jobs():
        return f"{word!r} is a second job: jobs are run one at a time"
    hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
    return f"{word!r} is no key=value: words behind the job are written like seed=1, without spaces.{hint}"


def completed_line(typed: str) -> tuple[str | None, str]:
    """What a shell asks about: the beginning of a job, or None and the line with ``job=JOB`` in its place."""
    program, *words = typed.split(" ")
    plain = [word for word in words if word and not word.startswith("-")]
    last = words[-1] if words else ""
    if not plain or (plain == [last] and "=" not in last):
        return last, typed
    job, *rest = plain
    if "=" in job or job not in jobs():
        return None, typed
    return None, " ".join([program, f"job={job}", *rest, *([""] if not last else [])])
