"""The command line: ``workbench JOB [overrides]``, a thin word in front of Hydra.

Nothing heavy is imported here: ``workbench`` alone answers at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from workbench.conf import GROUP, LOCAL, OURS, described
from workbench.errors import ConfigError, WorkbenchError
from workbench.execution.processes import short_of_memory, use_one_thread
from workbench.execution.streams import keep_open

CONFIG = "workbench.conf"
EXAMPLES = (
    ("workbench quickstart", "the whole chain on one task: policy, failures, labels, monitors, recovery, report"),
    ("workbench rollout name=mine checkpoint=runs/quickstart/policy 'perturbation=[slip,push]'", "two faults at once"),
    ("workbench view name=quickstart job.episode=17", "one episode as a Rerun recording"),
)
LIBRARIES = ("mujoco", "robosuite", "torch", "numpy", "zarr", "rerun-sdk", "hydra-core")
"""What ``--version`` names beside us."""
USAGE_ERROR, FAILED, INTERRUPTED = 2, 1, 130


def overview() -> str:
    """What can be done, with three example lines."""
    known = all_jobs()
    width = max(map(len, known))
    lines = [
        "workbench: why robot policies fail, and what can be done about it before they do.",
        "",
        "usage: workbench JOB [key=value ...]",
        "",
        "jobs:",
        *(f"  {name:<{width}}  {text}" for name, text in known.items()),
        "",
        "examples:",
        *(f"  {command}\n      {text}" for command, text in EXAMPLES),
        "",
        "more: `workbench JOB --help` lists its keys; `--cfg job` shows the composed configuration without running;",
        '      `-m key=a,b` sweeps; `eval "$(workbench -sc install=bash)"` completes words with the tab key.',
    ]
    return "\n".join(lines)


def all_jobs() -> dict[str, str]:
    """Job -> what it does; what reads other packages is imported where there may be one alone."""
    from importlib import metadata

    others = [*metadata.entry_points(group=GROUP), *OURS.glob(f"{LOCAL}/*"), *Path("conf").glob(f"{LOCAL}/*")]
    if not others:
        return described(OURS / "job")
    from workbench.config.jobs import jobs

    return jobs()


def version() -> str:
    """Our version, that of Python, and those of the main libraries."""
    import platform
    from importlib import metadata

    found = [f"{name} {metadata.version(name)}" for name in LIBRARIES]
    return f"workbench {metadata.version('failure-workbench')}, Python {platform.python_version()}, {', '.join(found)}"


def run_job(composed: Any, composing: contextlib.ExitStack) -> None:
    """Run one composed job; what a person caused is one line on stderr and a non-zero exit.

    ``composing`` holds Ctrl-C back; it is closed before the job begins.
    """
    from workbench.config import Run, command, job_of, journalled
    from workbench.execution.progress import logged

    # Hydra would print a line of its own for an exception; an exit it lets through.
    with one_line_errors():
        run = Run.asked(composed)
        name = str(run.config["job"]["_target_"]).split(".")[-2]
        job = job_of(run.config["job"])
        say_taken(run.taken, run.shown(run.folder))
        composing.close()
        with journalled(run), logged(run.folder, name, command(run.words)):
            job(run)


def say_taken(words: Iterable[str], folder: str = "the run") -> None:
    """One line of what a run's journal says, and nobody said again."""
    from workbench.types.text import visible

    if said := " ".join(words):
        print(f"taken from {folder}: {visible(said)}", flush=True)


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
    except (MemoryError, RuntimeError) as error:
        if not short_of_memory(error):
            raise
        reason = f" ({error})" if str(error) else ""
        complain(f"no memory left{reason}; what was finished is kept. Fewer scenes need less: runner.scenes=1", FAILED)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        complain(f"{error.strerror or error}: {error.filename or 'no space or no permission'}", FAILED)


def complain(message: str, code: int) -> None:
    """Print one line on stderr and leave."""
    from workbench.types.text import visible

    print(f"workbench: {visible(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(code)


def main() -> None:
    """Entry point of the ``workbench`` command."""
    keep_open()
    use_one_thread()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    with one_line_errors():
        answer(sys.argv[1:])


def answer(arguments: list[str]) -> None:
    """Show what some arguments ask for, or hand over to Hydra once they are checked.

    Raises
    ------
    WorkbenchError
        for what cannot be read or done; nothing is made then.
    """
    if not arguments or arguments in (["--help"], ["-h"], ["help"]):
        print(overview())
        return
    from workbench.config import ctrl_c_held_back, fixed_keys, recalled
    from workbench.config.checking import checked
    from workbench.config.help import job_help
    from workbench.config.jobs import job_words
    from workbench.config.plugins import give_folder
    from workbench.config.words import parse

    line = parse(arguments)
    shown = [flag for flag in ("--cfg", "--info", "--hydra-help", "--shell-completion") if flag in line.flags]
    if "--config-dir" in line.flags:
        give_folder(Path(line.flags["--config-dir"]))
    if "--version" in line.flags:
        print(version())
    elif "--help" in line.flags:
        print(job_help(job_words(line.words)) if line.words else overview())
    elif "--shell-completion" in line.flags:
        complete(list(line.words))
    else:
        words = job_words(line.words) if line.words or not shown else []
        with ctrl_c_held_back():
            taken = recalled(words) if words and not line.sweep else []  # points of a sweep take what their runs say
            typed = checked([*words, *taken], line.sweep, run=not shown)
        if not shown:
            say_taken(taken)
        if not line.sweep:
            hydra_main([*typed, *line.hydra_flags()])
            return
        with tempfile.TemporaryDirectory() as place:  # for Hydra's file of the sweep: the runs' journals say more
            hydra_main([*typed, fixed_keys(typed), f"hydra.sweep.dir={place}", *line.hydra_flags()])


def complete(words: list[str]) -> None:
    """Print what makes a shell complete words, or what completes the line that it asks about (bash: COMP_LINE)."""
    from workbench.config.jobs import completed_line, jobs

    typed = os.environ.get("COMP_LINE", "")
    if words[:1] == ["query=bash"] and typed:
        job, line = completed_line(typed)
        if job is not None:
            print(" ".join(name for name in jobs() if name.startswith(job)))
            return
        os.environ["COMP_LINE"] = line
    with contextlib.suppress(Exception) if typed else contextlib.nullcontext():  # half a word may be anything
        hydra_main([*words, "--shell-completion"])


def hydra_main(arguments: list[str]) -> None:
    """Hand over to Hydra."""
    import hydra

    from workbench.config import ctrl_c_held_back, prepare_hydra

    prepare_hydra()
    # Completion and multirun look for the folder of the calling program otherwise.
    sys.argv = [Path(sys.argv[0]).name, *arguments]
    with contextlib.ExitStack() as composing:
        # In the middle of composing, OmegaConf and Hydra make errors of their own out of it.
        composing.enter_context(ctrl_c_held_back())

        def run_composed(composed: Any) -> None:
            run_job(composed, composing)

        hydra.main(config_path=f"pkg://{CONFIG}", config_name="workbench", version_base="1.3")(run_composed)()
