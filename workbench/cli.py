"""The command line: ``workbench JOB [overrides]``, a thin word in front of Hydra.

Nothing heavy is imported here: ``workbench`` alone answers at once.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, UnknownNameError, WorkbenchError
from workbench.execution.processes import use_one_thread

CONFIG = "workbench.conf"
EXAMPLES = (
    ("workbench quickstart", "the whole chain on one task: policy, failures, labels, monitors, recovery, report"),
    ("workbench rollout name=mine checkpoint=runs/quickstart/policy 'perturbation=[slip,push]'", "two faults at once"),
    ("workbench view name=quickstart job.episode=17", "one episode as a Rerun recording"),
)
USAGE_ERROR, FAILED, INTERRUPTED = 2, 1, 130


def job_descriptions() -> dict[str, str]:
    """Job name -> first comment line of its yaml."""
    folder = resources.files(CONFIG) / "job"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda item: item.name):
        if file.name.endswith(".yaml"):
            first = file.read_text(encoding="utf-8").splitlines()[0]
            found[file.name.removesuffix(".yaml")] = first.lstrip("# ").rstrip(".")
    return found


def overview() -> str:
    """What can be done, with three example lines."""
    jobs = job_descriptions()
    width = max(map(len, jobs))
    lines = [
        "workbench: why robot policies fail, and what can be done about it before they do.",
        "",
        "usage: workbench JOB [key=value ...]",
        "",
        "jobs:",
        *(f"  {name:<{width}}  {text}" for name, text in jobs.items()),
        "",
        "examples:",
        *(f"  {command}\n      {text}" for command, text in EXAMPLES),
        "",
        "more: `workbench JOB --help` lists every key; `--cfg job` shows the composed configuration without running;",
        '      `-m key=a,b` sweeps; `eval "$(workbench -sc install=bash)"` completes words with the tab key.',
    ]
    return "\n".join(lines)


def hydra_arguments(arguments: list[str]) -> list[str]:
    """Translate ``JOB a=b`` to Hydra's ``job=JOB a=b``; refuse a job that does not exist.

    A job with an experiment of its own name composes that experiment as well.
    """
    if not arguments or arguments[0].startswith("-") or "=" in arguments[0]:
        return arguments
    job, rest = arguments[0], OWN_WORDS.get(arguments[0], list)(arguments[1:])
    jobs = job_descriptions()
    if job not in jobs:
        near = difflib.get_close_matches(job, jobs, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"there is no job {job!r}.{hint} Jobs: {', '.join(jobs)}.")
    experiment = (resources.files(CONFIG) / "experiment" / f"{job}.yaml").is_file()
    chosen = any(argument.startswith("+experiment=") for argument in rest)
    return [f"job={job}", *(["+experiment=" + job] if experiment and not chosen else []), *rest]


def part_words(words: list[str]) -> list[str]:
    """Translate ``new KIND NAME [FOLDER]`` to keys."""
    plain = [word for word in words if "=" not in word and not word.startswith("-")]
    if len(plain) > 3:
        raise ConfigError(f"too many words: {' '.join(plain)}; it is: workbench new KIND NAME [FOLDER]")
    quoted = ["'{}'".format(word.replace("'", r"\'")) for word in plain]
    keys = zip(("job.kind", "job.name", "job.folder"), quoted, strict=False)
    return [*(f"{key}={word}" for key, word in keys), *(word for word in words if word not in plain)]


def check_words(words: list[str]) -> list[str]:
    """Translate ``check run=NAME`` and ``check store=NAME`` to keys; other words are left as they are."""
    runs = [f"name={word.removeprefix('run=')}" if word.startswith("run=") else word for word in words]
    store = runs == words and any(word.startswith("store=") for word in words)
    return [*runs, *(["job.what=store"] if store else [])]


OWN_WORDS: Mapping[str, Callable[[list[str]], list[str]]] = {"new": part_words, "check": check_words}
"""Jobs with words of their own, and what makes keys of them."""


def explain_composition(error: Exception, arguments: list[str]) -> str:
    """One line out of Hydra's several, with the nearest right key or option where there is one."""
    from hydra.errors import MissingConfigException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MissingConfigException) and link.missing_cfg_file:
            return unknown_option(link.missing_cfg_file, link.options or ())
        if isinstance(link, (ConfigAttributeError, ConfigKeyError)) and link.full_key:
            return f"unknown key {link.full_key!r}.{near_key(link.full_key, arguments)}"
        link = link.__cause__ or link.__context__
    return " ".join(str(error).split())


def unknown_option(path: str, options: Iterable[str]) -> str:
    """What to say of a file that a group of the configuration does not have, ``group/name``."""
    from workbench.config import options_of

    group, _, asked = path.rpartition("/")
    with contextlib.suppress(FileNotFoundError):  # there is no such group: Hydra's options are those of the one above
        options = options_of(group)
    return str(UnknownNameError(group, asked, options))


def near_key(asked: str, arguments: list[str]) -> str:
    """A hint with the nearest keys of the composed configuration."""
    from workbench.config import compose

    # Only words that choose groups: they decide which keys there are, and compose where others are wrong.
    groups = {item.name for item in resources.files(CONFIG).iterdir() if item.is_dir()}
    words = [word for word in arguments if word.partition("=")[0].lstrip("+") in groups]
    with contextlib.suppress(Exception):
        known = [key for key in keys_of(compose(words)) if not asked.startswith(f"{key}.")]
        asked_last = asked.rsplit(".", 1)[-1]
        near = difflib.get_close_matches(asked, known, n=1, cutoff=0.6) or [
            key for key in known if difflib.SequenceMatcher(None, key.rsplit(".", 1)[-1], asked_last).ratio() > 0.7
        ]
        if near:
            return f" Did you mean {near[0]!r}?"
        scope = asked.rsplit(".", 1)[0] + "." if "." in asked else ""
        level = [key for key in known if key.startswith(scope) and "." not in key.removeprefix(scope)]
        return f" Known: {', '.join(level)}." if level else ""
    return ""


def keys_of(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of nested dictionaries."""
    if isinstance(node, dict):
        for key, value in node.items():
            if not str(key).startswith("_"):
                yield f"{prefix}{key}"
                yield from keys_of(value, f"{prefix}{key}.")


def check_composition(arguments: list[str]) -> None:
    """Compose once before Hydra takes over, so that a wrong word is answered in one line and makes no folder."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from workbench.config import Run, compose

    plain = [argument for argument in arguments if not argument.startswith("-")]
    sweep = "-m" in arguments or "--multirun" in arguments
    try:
        Run(compose([re.sub(r",[^\]}]*$", "", word) if sweep else word for word in plain]))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain_composition(error, plain)) from None


def run_job(composed: Any) -> None:
    """Run one composed job; what a person caused is one line on stderr and a non-zero exit."""
    from workbench.config import Run, build, plain

    # Hydra would print a line of its own for an exception; an exit it lets through.
    with one_line_errors():
        config = plain(composed)
        build({**config["job"], "_partial_": True})(Run(config))


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors that people cause into one line and an exit code."""
    try:
        yield
    except WorkbenchError as error:
        code = USAGE_ERROR if isinstance(error, ConfigError) else FAILED
        complain(str(error), code)
    except KeyboardInterrupt:
        complain("interrupted; what was finished is kept. Run the same command again to go on.", INTERRUPTED)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        complain(f"{error.strerror or error}: {error.filename or 'no space or no permission'}", FAILED)


def complain(message: str, code: int) -> None:
    """Print one line on stderr and leave."""
    print(f"workbench: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def main() -> None:
    """Entry point of the ``workbench`` command."""
    arguments = sys.argv[1:]
    if not arguments or arguments in (["--help"], ["-h"], ["help"]):
        print(overview())
        return
    use_one_thread()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    with one_line_errors():
        arguments = hydra_arguments(arguments)
        # Flags that only show something are Hydra's own business; it reports their errors itself.
        if not any(flag.startswith("-") and flag not in ("-m", "--multirun") for flag in arguments):
            check_composition(arguments)
        sys.argv[1:] = arguments
        hydra_main()


def hydra_main() -> None:
    """Hand over to Hydra with the arguments in ``sys.argv``."""
    import hydra

    from workbench.config import prepare_hydra

    prepare_hydra()
    # Completion and multirun look for the folder of the calling program otherwise.
    sys.argv[0] = str(Path(sys.argv[0]).name)
    hydra.main(config_path=f"pkg://{CONFIG}", config_name="workbench", version_base="1.3")(run_job)()
