"""Do faults of the keyframes fail as they say?  The scripted policy under each of them, on three tasks.

For every perturbation of ``conf/perturbation`` whose channel is ``keyframe``, with the yaml's own bounds: how many of
the episodes fail, and in which share of the failed ones a failure mode was seen that the fault is named after
(``seen_as``).  The claim is a share of at least 80 % over all failed episodes of a fault, and at least one task on
which it makes between 20 % and 90 % of the episodes fail.

Run: make verify WHAT=keyframes
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter, defaultdict
from pathlib import Path

import yaml

from tests.verify.claims import table, verdict
from tests.verify.experts import task as task_of
from workbench.config import build
from workbench.errors import ConfigError
from workbench.execution.processes import Processes
from workbench.execution.progress import console
from workbench.policies.expert import Expert
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.modes import MODES, modes_of
from workbench.types import Stream

CONF = Path(__file__).parents[2] / "conf" / "perturbation"
TASKS = ("lift", "stack", "pick_place_can")
SHARE = 0.8
RATES = (0.2, 0.9)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=40, help="a fault and task")
    parser.add_argument("--seed", type=int, default=271828)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="names of faults; all without it")
    options = parser.parse_args()
    names = [name for name in faults() if not options.only or name in options.only]
    items = [(name, task, options.seed, options.episodes) for name in names for task in TASKS]
    found: dict[str, list[tuple[str, int, list[list[str]]]]] = defaultdict(list)
    for name, task, failed in Processes(options.workers).map_unordered(roll, items):
        if failed is not None:
            found[name].append((task, len(failed), failed))
    shown = table("faults of the keyframes", "fault", "task", "n", "failed", "seen as", "most often")
    weak, dull = [], []
    for name in names:
        modes, meant = [seen for *_, failed in found[name] for seen in failed], set(fault(name).seen_as)
        for task, count, failed in sorted(found[name], key=lambda row: TASKS.index(row[0])):
            often = ", ".join(f"{mode} {n}" for mode, n in Counter(itertools.chain(*failed)).most_common(4))
            shown.add_row(name, task, str(options.episodes), str(count), share(failed, meant), often)
        if modes and sum(bool(meant & set(seen)) for seen in modes) < SHARE * len(modes):
            weak.append(name)
        if not any(RATES[0] <= count / options.episodes <= RATES[1] for _, count, _ in found[name]):
            dull.append(name)
    console.print(shown)
    claim = f"in {SHARE:.0%} of the failed episodes a mode that the fault is named after is seen"
    claim += f", and on one task {RATES[0]:.0%} to {RATES[1]:.0%} fail"
    return verdict(
        not (weak or dull), claim + f"; seen too seldom: {weak or 'none'}; failing otherwise: {dull or 'none'}"
    )


def faults() -> list[str]:
    """Names of the faults of the keyframes."""
    return [path.stem for path in sorted(CONF.glob("*.yaml")) if fault(path.stem).channel == "keyframe"]


def fault(name: str):
    """The specification of a file in conf/perturbation."""
    return build(yaml.safe_load((CONF / f"{name}.yaml").read_text())[name])


def roll(item: tuple[str, str, int, int]) -> tuple[str, str, list[list[str]] | None]:
    """The modes seen in each failed episode of one fault on one task; None if the task cannot have it."""
    name, task_name, seed, episodes = item
    task, made = task_of(task_name), fault(name)
    try:
        made.check(task)
    except ConfigError:
        return name, task_name, None
    streams = [Stream(seed, episode) for episode in range(episodes)]
    launches = [Launch(stream, (made.draw(stream, task),)) for stream in streams]
    recorded = Lockstep(task, Expert(task, privileged=False), 1).record(launches)
    failed = [seen(episode.steps, task) for episode in recorded if not episode.record["success"]]
    return name, task_name, failed


def seen(steps, task) -> list[str]:
    """Failure modes that were seen at any control step."""
    bits = modes_of(steps, task)
    return [mode for bit, mode in enumerate(MODES) if (bits & (1 << bit)).any()]


def share(failed: list[list[str]], meant: set[str]) -> str:
    """In how many of the failed episodes a mode was seen that is meant."""
    return f"{sum(bool(meant & set(modes)) for modes in failed) / len(failed):.0%}" if failed else "-"


if __name__ == "__main__":
    sys.exit(main())
