"""How the package hangs together: modules at its top, arrows between rooms, floors, the longest job, time to answer.

With ``--other`` the same of another checkout stands beside it. A circle, a broken contract or a job of more than 60
lines is a failure; times are medians of five, and shown only.

Run: make verify WHAT=house ARGS="--other FOLDER"
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.verify.claims import table, verdict
from workbench.execution.progress import console

ROOT = Path(__file__).parents[2]
LONGEST_JOB = 60
GRAPH = """
import json, sys
sys.path.insert(0, sys.argv[1])
import grimp
graph = grimp.build_graph("workbench", include_external_packages=False, cache_dir=None)
room = lambda module: module.split(".")[1] if "." in module else module
arrows = {(room(a), room(b)) for a in graph.modules for b in graph.find_modules_directly_imported_by(a)}
arrows = sorted((a, b) for a, b in arrows if a != b and "workbench" not in (a, b))
print(json.dumps({"modules": len(graph.modules), "arrows": arrows}))
"""
IMPORT, HELP = ("-c", "import workbench"), ("-m", "workbench", "--help")


def main() -> int:
    """Print one column a checkout, and say whether this one is in order."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--other", type=Path, help="checkout to stand beside this one")
    asked = options.parse_args()
    houses = [measured(ROOT), *([measured(asked.other.resolve())] if asked.other else [])]
    shown: Table = table("the house", "", *(["this", "other"][: len(houses)]))
    for line in houses[0]:
        shown.add_row(line, *(str(house[line]) for house in houses))
    console.print(shown)
    linted = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    console.print(linted.stdout.strip().splitlines()[-1])
    here = houses[0]
    in_order = here["floors"] != "a circle" and not linted.returncode and here["longest job, lines"] <= LONGEST_JOB
    return verdict(bool(in_order), f"no circle, no contract broken, no job of more than {LONGEST_JOB} lines")


def measured(checkout: Path) -> dict[str, Any]:
    """What is counted of one checkout."""
    found = json.loads(ran(checkout, "-c", GRAPH, str(checkout)))
    package = checkout / "workbench"
    jobs = [len(file.read_text().splitlines()) for file in (package / "jobs").glob("[!_]*.py")]
    tops = [file for file in package.glob("*.py") if file.name not in ("__init__.py", "__main__.py")]
    return {
        "modules at the top of workbench/": len(tops),
        "modules": found["modules"],
        "rooms": len({room for arrow in found["arrows"] for room in arrow}),
        "arrows between rooms": len(found["arrows"]),
        "floors": floors(found["arrows"]),
        "longest job, lines": max(jobs),
        "all jobs, lines": sum(jobs),
        "files that list episode columns": listing_columns(package),
        "import workbench, s": seconds(checkout, *IMPORT),
        "workbench --help, s": seconds(checkout, *HELP),
    }


def floors(arrows: list[list[str]]) -> int | str:
    """Rooms on the longest way down; "a circle" if there is no lowest one."""
    below: dict[str, set[str]] = {}
    for above, under in arrows:
        below.setdefault(above, set()).add(under)
    depth: dict[str, int] = {}

    def deep(room: str, way: tuple[str, ...]) -> int:
        if room in way:
            raise RecursionError
        if room not in depth:
            depth[room] = 1 + max((deep(each, (*way, room)) for each in below.get(room, ())), default=0)
        return depth[room]

    try:
        return max(deep(room, ()) for room in below)
    except RecursionError:
        return "a circle"


def listing_columns(package: Path) -> int:
    """Files that define what columns an episode has: that name three of them with their types or defaults."""
    pattern = re.compile(
        r"""["'](t_inj|t_eff|t_dec|responsibility_low)["']\s*[,:]\s*["'(\w]*(np|int|float|-1|"f|first)"""
    )
    return sum(len(set(pattern.findall(file.read_text()))) >= 2 for file in package.rglob("*.py"))


def seconds(checkout: Path, *words: str) -> float:
    """Median user and system time of a command, of five."""
    found = []
    for _ in range(5):
        before = os.times()
        ran(checkout, *words)
        after = os.times()
        found.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return round(statistics.median(found), 2)


def ran(checkout: Path, *words: str) -> str:
    """Output of python with a checkout's code."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run([sys.executable, *words], cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
