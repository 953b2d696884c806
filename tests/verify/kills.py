"""Every job that writes, ended at any moment: is anything lost, and does the same command then come to the same end?

Each round starts from the same folder, which often holds older results that the job is to replace. The job's process
group is killed (``kill -9``): in turn at a random moment of its own duration, and before a random one of all changes
that it makes below its root. Then the same command is run to its end. The claims:

- what was there before is whole after the kill: stores to the last bit, every other result either the old or the new;
- the second run comes to the result of an uninterrupted one: episodes, labels, weights, monitors, tables, pages; no
  file is left behind.

Ctrl-C, a full disk (the kernel refuses files beyond a size) and a folder that cannot be written end every job, too:
with one line, no traceback, and the old results whole.

Run: make verify WHAT=kills ARGS="--rounds 20 --only collect,train"
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests import ended
from tests.verify.claims import parser, table, verdict
from workbench.execution.progress import console

SMALL = "policy.hidden=16 policy.blocks=1 policy.embedding=4"
COLLECT = "collect name=k task=lift job.episodes=6"
TRAIN = f"train name=k {SMALL} job.trainer.iterations=30 job.trainer.batch=16 job.trainer.warmup=2"
ROLL = "rollout name=k policy=zoo/lift_flow rollout.samples=2"
NOMINAL = ROLL + " job.episodes={fit:4,calibrate:6,test:3}"
FAULTS = ROLL + " perturbation=[gripper_inverted] job.episodes={fit:2,calibrate:0,test:2}"
LABEL = "label name=k policy=zoo/lift_flow job.branches=[4] job.stride=50 job.windows=[8] job.pairs=4"
FIT = "fit name=k score=[mahalanobis,stac]"
JUDGED = "name=k score=[mahalanobis,stac]"
SEARCH = (
    "search name=k policy=zoo/lift_flow perturbation=[object_shift,slip] job.batch=2 job.most=2 job.resolution=0.5 "
    "job.confidence=0.5"
)
ZOO = (
    f"zoo +experiment=zoo/lift_flow name=z {SMALL} job.demonstrations=4 job.trainer.iterations=20 "
    "+job.trainer.batch=16 +job.trainer.save_every=5 job.episodes=2 job.seeds=[1,0]"
)
RECIPE = {
    "about": "for kills",
    "licence": "CC0-1.0",
    "policy": "expert",
    "tasks": ["lift"],
    "nominal": {"test": 3},
    "least": {"test": 3},
    "most": {"test": 3},
    "failures": 1,
    "failure_rates": [0.5],
    "search": {"batch": 2, "most": 2, "resolution": 0.5, "confidence": 0.5},
    "perturbations": {"slip": None, "object_shift": None},
}
ROLLED = (COLLECT, NOMINAL, FAULTS)
FITTED = (*ROLLED, LABEL, f"{FIT} monitor.level=0.3")
RECOVER = (
    f"recover {JUDGED} policy=zoo/lift_flow job.monitor=mahalanobis+split_conformal strategy=[continue,placebo,head] "
    "job.trainer.iterations=20 +job.trainer.batch=16 +job.trainer.warmup=2 job.moments=1 job.allowance_steps=30"
)
CORRECT = (
    "correct name=k policy=zoo/lift_flow job.episodes=1 job.before=1 job.beyond=1 job.targets=1 job.randoms=1 "
    "job.branches=2 job.horizon=1.0"
)
TUNE = (
    f"tune {JUDGED} policy=zoo/lift_flow job.monitor=mahalanobis+split_conformal job.numbers=[retract_m] job.points=9 "
    "job.alarms=2 job.horizon=1.2"
)
VIEW = f"view {JUDGED} job.monitors=[stac+split_conformal]"
JOBS: dict[str, tuple[Sequence[str], str]] = {
    "collect": ((), COLLECT),
    "train": ((COLLECT,), f"{TRAIN} job.trainer.save_every=5"),
    "train again": ((COLLECT, f"{TRAIN} job.seed=1"), f"{TRAIN} job.trainer.save_every=5 overwrite=true"),
    "rollout": ((COLLECT, NOMINAL), FAULTS),
    "label": (ROLLED, LABEL),
    "label again": ((*ROLLED, LABEL), f"{LABEL} job.stride=25 overwrite=true"),
    "fit": (ROLLED, f"{FIT} monitor.level=0.3"),
    "fit again": ((*ROLLED, f"{FIT} monitor.level=0.2"), f"{FIT} monitor.level=0.3 overwrite=true"),
    "benchmark": (FITTED, f"benchmark {JUDGED}"),
    "recover": (FITTED, RECOVER),
    "recover again": ((*FITTED, f"{RECOVER} job.trainer.learning_rate=0.001"), f"{RECOVER} overwrite=true"),
    "tune": (FITTED, TUNE),
    "tune again": ((*FITTED, f"{TUNE} job.points=10"), f"{TUNE} overwrite=true"),
    "correct": ((*ROLLED, LABEL), CORRECT),
    "correct again": ((*ROLLED, LABEL, f"{CORRECT} job.targets=2"), f"{CORRECT} overwrite=true"),
    "export": (ROLLED, "export name=k"),
    "export again": ((*ROLLED, "export name=k", LABEL), "export name=k overwrite=true"),
    "view": (FITTED, VIEW),
    "view again": ((*FITTED, VIEW), VIEW),
    "search": ((), SEARCH),
    "synthesize": ((), "synthesize name=s job.recipe=kills"),
    "zoo": ((), ZOO),
    "report": ((*FITTED, f"benchmark {JUDGED}", "report name=k seed=0"), f"report {JUDGED}"),
}
"""Name -> commands before it, and the job that is ended."""
LIMITS = (1000, 8000, 64_000)
"""Bytes that a file may have on what stands for a full disk."""


@dataclasses.dataclass
class Tally:
    """What came of the rounds of one job."""

    kills: int = 0
    running: int = 0
    equal: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)
    differing: list[str] = dataclasses.field(default_factory=list)
    ends: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether every claim did."""
        wrong = [said for said in self.ends.values() if not said.startswith(("yes", "skipped"))]
        return not self.lost and self.equal == self.kills and not wrong


class Bench:
    """Folders in which jobs are ended: what is made before a job once, and everything else of it in every round."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.chmod(0o755)
        self._made: dict[tuple[str, ...], Path] = {}

    def before(self, commands: Sequence[str]) -> Path:
        """A root in which some commands were done."""
        done = tuple(commands)
        if done not in self._made:
            earlier = self.before(done[:-1]) if done else None
            root = self.place / f"before-{len(self._made)}"
            if earlier:
                shutil.copytree(earlier, root)
                whole = ended.run(done[-1].split(), root)
                if whole.code:
                    raise RuntimeError(f"workbench {done[-1]} exits with {whole.code}: {whole.said[-2000:]}")
                ended.import_what_was(self.place)
            else:
                (root / "datasets" / "recipes").mkdir(parents=True)
                (root / "datasets" / "recipes" / "kills.yaml").write_text(json.dumps(RECIPE))
            self._made[done] = root
        return self._made[done]

    @contextlib.contextmanager
    def copy(self, commands: Sequence[str]) -> Any:
        """A copy of it, which is gone afterwards."""
        root = self.place / "root"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.before(commands), root)
        yield root


def main() -> int:
    options = arguments()
    chosen = options.only.split(",") if options.only else list(JOBS)
    if unknown := [name for name in chosen if name not in JOBS]:
        raise SystemExit(f"unknown jobs {', '.join(unknown)}; there are: {', '.join(JOBS)}")
    random = np.random.default_rng(options.seed)
    tallies = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder).resolve())
        for name in chosen:
            tallies[name] = Tally()
            end_job(bench, *JOBS[name], tallies[name], random, options)
            say(name, tallies[name])
    return report(tallies)


def arguments() -> Any:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=20, help="kills of each job")
    options.add_argument("--only", default="", help=f"jobs, separated by commas, of: {', '.join(JOBS)}")
    options.add_argument("--ends", type=int, default=1, help="0 leaves out Ctrl-C, full disk and read-only folder")
    return options.parse_args()


def end_job(
    bench: Bench, before: Sequence[str], command: str, tally: Tally, random: np.random.Generator, options: Any
) -> None:
    """End one job again and again, and note what comes of it."""
    words, old = command.split(), ended.apart(ended.contents, bench.before(before))
    with bench.copy(before) as root:
        whole = ended.run(words, root)
        if whole.code:
            raise RuntimeError(f"workbench {command} exits with {whole.code}: {whole.said[-2000:]}")
        ended.import_what_was(bench.place)
    with bench.copy(before) as root:  # once more: with everything imported, it is quicker
        whole = ended.run(words, root)
        end = ended.apart(ended.contents, root)
    for number in range(options.rounds):
        with bench.copy(before) as root:
            where: dict[str, Any] = {"at_event": int(random.integers(1, whole.events + 1))}
            if number % 2:
                where = {"after_s": float(random.uniform(0, whole.seconds))}
            killed = ended.run(words, root, **where)
            tally.kills += 1
            tally.running += killed.code == -signal.SIGKILL
            found = ended.apart(ended.contents, root)
            tally.lost += [f"{where}: {each}" for each in ended.lost(old, found, end)]
            again = ended.run(words, root)
            differs = ended.differing(ended.apart(ended.contents, root), end)
            if again.code or differs:
                tally.differing.append(f"{where}: exit {again.code} {again.line} {differs}")
            else:
                tally.equal += 1
    if options.ends:
        for name, how in ways(whole, random).items():
            tally.ends[name] = one_end(bench, before, words, old, end, how)


def ways(whole: ended.Ended, random: np.random.Generator) -> dict[str, dict[str, Any]]:
    """Ctrl-C at three moments, a full disk at three sizes, and a folder that cannot be written."""
    made: dict[str, dict[str, Any]] = {}
    for number, share in enumerate((random.uniform(0, 0.4), random.uniform(0.4, 0.8), random.uniform(0.8, 1.0))):
        made[f"Ctrl-C {number + 1}"] = {"after_s": float(share * whole.seconds), "by": signal.SIGINT}
    for limit in LIMITS:
        made[f"full disk {limit}"] = {"most_bytes": limit}
    made["read-only"] = {"read_only": True}
    return made


def one_end(bench: Bench, before: Sequence[str], words: Sequence[str], old: Any, end: Any, how: dict[str, Any]) -> str:
    """End a job in one way; returns "yes", or what is wrong."""
    with bench.copy(before) as root:
        found = ended.run(words, root, **how)
        wrong = []
        if "Traceback" in found.said or "Exception ignored" in found.said:
            wrong.append(f"a traceback: {found.said[-600:]}")
        if found.code and (len([1 for line in found.said.splitlines() if line.startswith("workbench: ")]) != 1):
            wrong.append(f"exit {found.code} without its one line: {found.said[-300:]}")
        if how.get("by") == signal.SIGINT and found.code not in (0, 130):
            wrong.append(f"exit {found.code}")
        if "read_only" in how and found.code == 0:
            wrong.append("it says nothing")
        wrong += ended.lost(old, ended.apart(ended.contents, root), end)
        again = ended.run(words, root)
        if again.code or (differs := ended.differing(ended.apart(ended.contents, root), end)):
            wrong.append(f"then exit {again.code} {again.line} {differs if not again.code else ''}")
    return "; ".join(wrong) or f"yes ({found.code}: {found.line[:100]})"


def say(name: str, tally: Tally) -> None:
    """What came of one job, at once."""
    console.print(
        f"{name}: {tally.kills} kills, {tally.running} while running, lost {len(tally.lost)}, "
        f"equal {tally.equal}/{tally.kills}",
        markup=False,
    )
    for each in (*tally.lost, *tally.differing, *(f"{way}: {said}" for way, said in tally.ends.items())):
        console.print(f"    {each}", markup=False)


def report(tallies: dict[str, Tally]) -> int:
    """Print the table; non-zero unless every claim holds."""
    shown = table("ended jobs", "job", "kills", "while running", "lost", "equal", "Ctrl-C", "full disk", "read-only")
    for name, tally in tallies.items():
        ways = {}
        for way in ("Ctrl-C", "full disk", "read-only"):
            said = [each for key, each in tally.ends.items() if key.startswith(way)]
            ways[way] = f"{sum(each.startswith('yes') for each in said)}/{len(said)}"
        counts = (tally.kills, tally.running, len(tally.lost), f"{tally.equal}/{tally.kills}")
        shown.add_row(name, *map(str, counts), *ways.values())
    console.print(shown)
    kills = sum(tally.kills for tally in tallies.values())
    claim = (
        f"nothing is lost in {kills} kills of {len(tallies)} jobs, and every second run ends as an uninterrupted one"
    )
    return verdict(all(tally.held for tally in tallies.values()), claim)


if __name__ == "__main__":
    sys.exit(main())
