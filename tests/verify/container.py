"""Do the commands of README.md and docs/start.md run where a container runs them?

All at once, from a copy of this checkout: installation and checkout are read-only, the user has no name, no home and no
rights, paths hold spaces and accents, the locale is C.  Beside that, each streams that are closed, full or without a
reader, terminals of any kind, and other ways to have no home.  Everything must end with the exit code of the work,
without a traceback, and write below its own folder or the temporary one alone.

Mounts and another user need root; without it the copy is write-protected and the user stays.

Run: make verify WHAT=container
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.chain import SMALL
from tests.verify.claims import contents, table, verdict
from tests.wheel import SOURCES
from workbench.execution.progress import console

ROOT = Path(__file__).parents[2]

STRANGER = 54321
"""A user that no list of users knows."""
FEW = ["job.episodes.fit=0", "job.episodes.calibrate=0", "job.episodes.test=2"]
HEAD = ["job.trainer.iterations=40", "job.moments=1", "job.allowance_steps=40"]
"""With which the small chain trains its head."""
SHORT = ["rollout", "policy=zoo/lift_flow", "perturbation=[slip]", *FEW]
NEVER = "/dev/null/home"
"""Can be made by nobody."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One command and what must come of it.

    Attributes
    ----------
    words : of the ``workbench`` command, or a script.
    shell : what the shell does with its streams.
    environment : beside the one of all cases.
    code : its exit code.
    says : what stands in its output.
    """

    what: str
    words: list[str]
    shell: str = ""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    code: int = 0
    says: str = ""


def cases() -> list[Case]:
    """Those of the documents in their order, then one a way of running a short one."""
    stages = ["benchmark", "view"]
    return [
        Case("what can be done", [], says="workbench rollout"),
        Case("every key", ["rollout", "--help"], says="perturbation"),
        Case("what would run", ["rollout", "--cfg", "job"], says="seed: 0"),
        Case("the whole chain, small", ["quickstart", *SMALL], says="10/10 report"),
        Case("the same again", ["quickstart", *SMALL], says="label: up to date"),
        Case("the same again, one line read", ["quickstart", *SMALL], "| head -1", says="collect: up to date"),
        *(Case(f"the stage {stage} by itself", [stage, "name=quickstart", *SMALL[:3]]) for stage in stages),
        Case("recoveries by themselves", ["recover", "name=quickstart", *SMALL[:3], *HEAD], says="placebo"),
        Case("labels that are there", ["label", "name=quickstart", "job.branches=[4]", "job.stride=50"]),
        Case("export", ["export", "name=quickstart", "overwrite=true"], says="quickstart-lerobot"),
        Case("report", ["report", "name=quickstart"], says="report.html"),
        Case("an export that is whole is kept", ["export", "name=quickstart"], says="quickstart-lerobot"),
        Case(
            "what was made is not replaced", ["fit", "name=quickstart", "monitor.level=0.15"], code=2, says="overwrite="
        ),
        Case(
            "a policy of one's own",
            ["rollout", "name=mine", "checkpoint=runs/quickstart/policy", "perturbation=[slip,push]", *FEW],
        ),
        Case(
            "a policy of the zoo",
            ["rollout", "name=stacked", "policy=zoo/stack_flow", "task=stack", "perturbation=[slip,push]", *FEW],
        ),
        Case("thirty lines of Python", ["docs/start.py"], says="recording 0-"),
        Case("a misspelt word", ["rollout", "task=lfit"], code=2, says="Did you mean 'lift'"),
        Case("a store that is not there", ["fit", "name=nobody"], code=1, says="nobody.zarr"),
        *(
            Case(what, [*SHORT, f"name=stream-{number}"], shell)
            for number, (what, shell) in enumerate(
                {
                    "stdout closed": ">&-",
                    "stderr closed": "2>&-",
                    "stdin closed": "<&-",
                    "all closed": "<&- >&- 2>&-",
                    "stdout full": ">/dev/full",
                    "output into a closed pipe": "2>&1 | true",
                    "one line read": "| head -1",
                }.items()
            )
        ),
        *(
            Case(what, [*SHORT, f"name=place-{number}"], environment=environment, says="store:")
            for number, (what, environment) in enumerate(
                {
                    "two workers": {},
                    "no home at all": {"HOME": ""},
                    "caches that cannot be made": {"XDG_CACHE_HOME": NEVER, "NUMBA_CACHE_DIR": NEVER},
                    "ASCII alone": {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
                    "Latin-1": {"PYTHONIOENCODING": "latin-1"},
                    "a dumb terminal": {"TERM": "dumb"},
                }.items()
            )
        ),
        Case("a misspelt word, stderr closed", ["rollout", "task=lfit"], "2>&-", code=2),
        Case("a misspelt word, all into a closed pipe", ["rollout", "task=lfit"], "2>&1 | true", code=2),
    ]


class Place:
    """A folder with a copy of the checkout, a folder to work in, and a way to run commands there."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.work, self.held = folder / "chèque out", folder / "travail d'été", folder / "held"
        self.temporary = folder / "tmp"
        for name in SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source, self.checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
                )
        for name in ("datasets/recipes", "docs"):
            shutil.copytree(ROOT / name, self.checkout / name)
        for made in (self.work, self.held, self.temporary):
            made.mkdir()
        self.root = os.geteuid() == 0
        folder.chmod(0o755)
        if self.root:
            for made in (self.work, self.temporary):
                os.chown(made, STRANGER, STRANGER)
        else:
            subprocess.run(["chmod", "-R", "a-w", str(self.checkout)], check=True)

    def run(self, case: Case) -> subprocess.CompletedProcess[bytes]:
        """Run a case as the stranger."""
        script = bool(case.words) and case.words[0].endswith(".py")
        program = [str(self.checkout / case.words[0])] if script else ["-m", "workbench", *case.words]
        environment = {
            "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C", "PYTHONPATH": str(self.checkout),
            "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1", **case.environment,
        }  # fmt: skip
        given = [f"{name}={value}" for name, value in environment.items() if value]
        line = f'set -o pipefail; "$@" {case.shell}; exit "${{PIPESTATUS[0]}}"'
        command = ["env", "-i", *given, "bash", "-c", line, "bash", sys.executable, *program]
        if self.root:
            stranger = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", *command]
            command = ["unshare", "--mount", "bash", "-ec", self.mounts() + shlex.join(stranger)]
        return subprocess.run(command, cwd=self.work, stdin=subprocess.DEVNULL, capture_output=True)

    def mounts(self) -> str:
        """Makes what is installed and the checkout read-only, and lets a stranger reach them."""
        lines = []
        prefixes = [Path(prefix) for prefix in dict.fromkeys((sys.prefix, sys.base_prefix))]
        for number, prefix in enumerate(prefixes):
            closed = [folder for folder in reversed(prefix.parents) if not folder.stat().st_mode & 0o001]
            if closed:  # such as root's home: an empty folder with nothing else in it takes its place
                held = self.held / str(number)
                lines += [
                    f"mkdir -p {shlex.quote(str(held))}",
                    f"mount --bind {prefix} {shlex.quote(str(held))}",
                    f"mount -t tmpfs -o mode=755 none {closed[0]}",
                    f"mkdir -p {prefix}",
                    f"mount --bind {shlex.quote(str(held))} {prefix}",
                ]
        for path in (*prefixes, self.checkout):
            quoted = shlex.quote(str(path))
            lines += [f"mount --bind {quoted} {quoted}", f"mount -o remount,bind,ro {quoted}"]
        return "\n".join(lines) + "\nexec "


def faults_of(case: Case, done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """What is not as it should be."""
    said = (done.stdout + done.stderr).decode(errors="replace")
    faults = [f"exit {done.returncode}"] if done.returncode != case.code else []
    if "Traceback" in said or "Exception ignored" in said:
        faults.append(said.strip().splitlines()[-1])
    if case.says not in said:
        faults.append(f"does not say {case.says!r}")
    if case.code and case.says and done.stderr.count(b"\n") != 1:
        faults.append("not one line")
    if not case.code and case.words[:1] != ["docs/start.py"] and done.stderr and case.shell != ">/dev/full":
        faults.append(f"stderr: {done.stderr.decode(errors='replace').splitlines()[0]}")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args()
    shown, wrong, chosen = table("as a container runs it", "what", "command", "expected", "found", "s"), [], []
    for column in shown.columns[1:2]:
        column.justify, column.overflow = "left", "fold"
    with tempfile.TemporaryDirectory(prefix="é è ", ignore_cleanup_errors=True) as folder:
        place = Place(Path(folder))
        before = contents(place.checkout)
        for case in cases():
            if options.only not in case.what:
                continue
            chosen.append(case)
            began = time.monotonic()
            words = [*case.words, "runner.workers=2", "runner.scenes=1"] if case.what == "two workers" else case.words
            done = place.run(dataclasses.replace(case, words=words))
            faults = faults_of(case, done)
            short = [word for word in words if word not in SMALL]
            more = ["..."] if len(short) < len(words) else []
            line = " ".join([*(["workbench"] if short[:1] != ["docs/start.py"] else []), *short, *more, case.shell])
            found = "; ".join([str(done.returncode), *faults])
            shown.add_row(case.what, line, str(case.code), found, f"{time.monotonic() - began:.0f}")
            if faults:
                wrong.append(case.what)
                console.print(f"{case.what}: {found}\n{done.stderr.decode(errors='replace')[-2000:]}")
        outside = sorted({path.name for path in place.work.iterdir()} - {"runs", "datasets"})
        kept = contents(place.checkout) == before and not outside
        shown.add_row("what was written elsewhere", "", "nothing", "nothing" if kept else f"something {outside}", "")
    console.print(shown)
    user = "as a user without a name, mounts read-only" if place.root else "as this user, checkout write-protected"
    console.print(f"n = {len(chosen)} commands, {user}; not as they should be: {', '.join(wrong) or 'none'}")
    return verdict(not wrong and kept, "the documents' commands run where nothing but their own folder can be written")


if __name__ == "__main__":
    sys.exit(main())
