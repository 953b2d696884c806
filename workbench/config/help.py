"""What help says of jobs and their keys: the sentences are those of the yaml files."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from workbench.config.compose import compose
from workbench.config.jobs import job_file, jobs
from workbench.config.options import LISTED, groups, options_of
from workbench.config.schema import abouts
from workbench.types import Record

WIDTH = 110
_LINE = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z_]\w*):(?P<value>[^#]*?)(?:\s+#\s*(?P<comment>.*))?")
_FIRST = (
    "task",
    "policy",
    "policy/zoo",
    "perturbation",
    "score",
    "calibrator",
    "strategy",
    "shield",
    "attributor",
    "protocol",
    "runner",
)
_NOT_CHOSEN = ("job", "format", "local", "hydra/help")
"""Groups that are chosen otherwise than by ``group=option``."""


def job_help(words: list[str]) -> str:
    """Help of the job that words name with ``job=JOB`` at their head, as they compose it.

    Its own keys come first, each with its default and its sentence, then what else can be set.
    """
    job = words[0].removeprefix("job=")
    file = job_file(job)
    config, said = compose(words), comments(file.read_text(encoding="utf-8"))
    own = [_entry(f"job.{key}", value, said.get(key, "")) for key, value in settings(config["job"])]
    others = [_entry(key, config_value(config, key), about) for key, about in abouts().items()]
    return "\n".join(
        [
            *textwrap.wrap(f"workbench {job}: {jobs()[job]}", WIDTH),
            "",
            f"usage: workbench {job} [key=value ...]",
            "",
            f"Keys of {job}:" if own else f"{job} has no keys of its own.",
            *(line for entry in own for line in entry),
            "",
            "Keys of every job:",
            *(line for entry in others for line in entry),
            "",
            "Groups (group=option; [a,b] takes several where what is chosen stands in brackets):",
            *(line for group in [*_FIRST, *sorted(groups() - {*_FIRST, *_NOT_CHOSEN})] for line in _group(group)),
            "",
            *textwrap.wrap(
                "Parts have keys too, such as task.cameras or perturbation.slip.duration_steps: `workbench "
                f"{job} --cfg job` shows all of them without running; -m key=a,b runs each of a and b.",
                WIDTH,
            ),
        ]
    )


def settings(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of a node that can be set, with their values; a node with a target stands for its own keys."""
    for key, value in node.items():
        if str(key).startswith("_"):
            continue
        if isinstance(value, Mapping) and "_target_" in value:
            yield from settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def comments(text: str) -> dict[str, str]:
    """Dotted key of a yaml file -> its comment: the lines above it, or what stands behind it."""
    found: dict[str, str] = {}
    above: list[str] = []
    path: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines()):
        if line.lstrip().startswith("#"):
            above += [line.strip().lstrip("# ")] if number else []  # the first line is about the file
            continue
        if match := _LINE.fullmatch(line):
            indent = len(match["indent"])
            path = [*((depth, key) for depth, key in path if depth < indent), (indent, match["key"])]
            said = " ".join([*above, *filter(None, [match["comment"]])])
            if said:
                found[".".join(key for _, key in path)] = said
        above = []
    return found


def config_value(config: Record, key: str) -> Any:
    """Value of a dotted key of a composed configuration."""
    value: Any = config
    for name in key.split("."):
        value = value[name]
    return value


def in_grammar(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{in_grammar(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(in_grammar, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _entry(key: str, value: Any, about: str) -> list[str]:
    """Lines of one key: with its default, and its sentence below."""
    return [
        *textwrap.wrap(f"{key}={in_grammar(value)}", WIDTH, initial_indent="  ", subsequent_indent="    "),
        *textwrap.wrap(about, WIDTH, initial_indent="      ", subsequent_indent="      "),
    ]


def _group(group: str) -> list[str]:
    """Lines of one group: its options."""
    names = ", ".join(options_of(group))
    head = f"{group} []" if group in LISTED else group
    return textwrap.wrap(f"{head}: {names}", WIDTH, initial_indent="  ", subsequent_indent="      ")
