"""Does the wheel work for somebody who has nothing else?  Built, installed with its dependencies, run elsewhere.

A new virtual environment of the asked Python gets the wheel and what it needs, in the versions of constraints.txt, and
nothing of this checkout.  In an empty folder it then answers, lists the zoo, rolls a policy of the zoo, goes through
the whole chain and synthesizes from a shipped recipe, all small.  Then ``workbench new`` writes a package with a part
of every kind, which is installed beside the wheel and goes through rollout, fit, benchmark and recover.

Run: make verify WHAT=wheel ARGS="--python python3.12"     (some 3 GB below --folder, removed at the end)
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.table import Table

from tests.chain import SMALL
from tests.verify.claims import table, verdict
from tests.wheel import ROOT, build_wheel
from workbench.execution.progress import console


@dataclasses.dataclass(frozen=True)
class Step:
    """One command of the installed package.

    Attributes
    ----------
    words : what is said.
    prints : what is then printed, among other things.
    makes : what is then there.
    """

    words: list[str]
    prints: str = ""
    makes: str = "."


WITHOUT_HEAD = "strategy=[continue,placebo,expert]"
"""The policy of the zoo fails too seldom for a head to learn from a few episodes."""
STEPS = (
    Step(["--help"], prints="usage: workbench JOB"),
    Step(["zoo"], prints="lift_flow"),
    Step(["rollout", "name=rolled", "policy=zoo/lift_flow", "job.episodes.test=2"], makes="datasets/rolled.zarr"),
    Step(["quickstart", "policy=zoo/lift_flow", *SMALL, WITHOUT_HEAD], makes="runs/quickstart/report.html"),
    Step(["synthesize", "job.recipe=failures-small", "job.tasks=[lift]"], makes="datasets/failures-small-lift.zarr"),
)
PARTS = ("score", "perturbation", "policy", "task", "strategy", "shield")
WRITTEN = tuple(Step(["new", kind, f"my_{kind}", "lab"], makes=f"lab/lab/my_{kind}.py") for kind in PARTS)
JUDGED = ["name=own", "store=quickstart", "policy=zoo/lift_flow", "score=[rnd,my_score]", "monitor.level=0.2"]
USED = (
    Step(["rollout", "name=faulty", "policy=zoo/lift_flow", "perturbation=[my_perturbation]", "job.episodes.test=2"]),
    Step(
        ["rollout", "name=guarded", "policy=zoo/lift_flow", "shield=[my_shield]", "job.episodes.test=2"],
        prints="my_shield",
    ),
    Step(["rollout", "name=elsewhere", "task=my_task", "policy=my_policy", "job.episodes.test=2"]),
    Step(["fit", *JUDGED], prints="monitors"),
    Step(["benchmark", *JUDGED], prints="my_score"),
    Step(
        ["recover", *JUDGED, "strategy=[continue,placebo,my_strategy]", "job.allowance_steps=40"], prints="my_strategy"
    ),
)
"""The parts at work, on what the chain has made."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the new environment")
    parser.add_argument("--folder", type=Path, help="where environment and wheel are made; a temporary one otherwise")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = Path(made)
        shown = table("the wheel, elsewhere", "command", "seconds", "exit", "as promised")
        binaries = install(build_wheel(folder), folder / "venv", options.python)
        empty = folder / "empty"
        empty.mkdir()
        held = [run(binaries, empty, step, shown) for step in (*STEPS, *WRITTEN)]
        subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", "--no-deps", empty / "lab"], check=True)
        held += [run(binaries, empty, step, shown) for step in USED]
        lines = {kind: len((empty / f"lab/lab/my_{kind}.py").read_text().splitlines()) for kind in PARTS}
        version = subprocess.run([binaries / "python", "--version"], capture_output=True, text=True, check=True)
        size_mb = sum(path.stat().st_size for path in (folder / "venv").rglob("*") if path.is_file()) / 1e6
    console.print(shown)
    console.print("lines of each part:", ", ".join(f"{kind} {count}" for kind, count in lines.items()))
    return verdict(all(held), f"the wheel runs by itself with {version.stdout.strip()} ({size_mb:.0f} MB installed)")


def install(wheel: Path, environment: Path, python: str) -> Path:
    """A new virtual environment with the wheel and all that it needs; returns its folder of programs."""
    subprocess.run([shutil.which(python) or python, "-m", "venv", environment], check=True)
    binaries = environment / "bin"
    pip = [binaries / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", wheel], check=True, cwd=environment)
    return binaries


def run(binaries: Path, folder: Path, step: Step, shown: Table) -> bool:
    """Run one step as somebody would who has never seen this checkout."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    began = time.monotonic()
    done = subprocess.run([binaries / "workbench", *step.words], cwd=folder, env=kept, capture_output=True, text=True)
    holds = done.returncode == 0 and step.prints in done.stdout and (folder / step.makes).exists()
    if not holds:
        print(done.stdout[-2000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
    seconds = f"{time.monotonic() - began:.1f}"
    shown.add_row(" ".join(step.words[:3]), seconds, str(done.returncode), "yes" if holds else "no")
    return holds


if __name__ == "__main__":
    sys.exit(main())
