"""Flow against diffusion, and network against network: success, training time and latency on the same demonstrations.

Every combination of process and denoiser is trained with the same number of iterations, otherwise as its yaml says, by
the job that makes the zoo's entries; the same fresh episodes of the test split are rolled with each.  Nothing is tuned
for any of them, and equal iterations are not equal time: read both columns.  What is there already is kept, so this can
be interrupted.  Latency is the time on the core of one call for one scene, median of interleaved repetitions.

Run: make verify WHAT=policies ARGS="--task lift --iterations 1500"   (an hour and a half on one core)
     make verify WHAT=policies ARGS="--only flow-mlp,diffusion-mlp"
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.benchmarks.policies import milliseconds
from tests.verify.claims import table
from workbench.config import compose, resolve
from workbench.execution.progress import console
from workbench.policies.chunks.chunk_policy import ChunkPolicy
from workbench.policies.networks.denoisers import DENOISERS
from workbench.stats.proportions import clopper_pearson, over_seeds
from workbench.types import Record

PROCESSES = ("flow", "diffusion")
REPETITIONS = 7
"""Of every call whose time is taken."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="lift")
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--demonstrations", type=int, default=300)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seeds", default="0,1,2", help="of the training")
    parser.add_argument("--only", default="", help="combinations such as flow-mlp,diffusion-unet; all without it")
    parser.add_argument("--root", type=Path, default=Path("runs/verify-policies"), help="where runs/ and datasets/ go")
    options = parser.parse_args()
    chosen = [f"{process}-{denoiser}" for process in PROCESSES for denoiser in DENOISERS]
    if options.only:
        unknown = set(options.only.split(",")) - set(chosen)
        if unknown:
            parser.error(f"--only knows {', '.join(chosen)}, not {', '.join(sorted(unknown))}")
        chosen = options.only.split(",")
    options.root.mkdir(parents=True, exist_ok=True)
    facts = {name: made(name, options) for name in chosen}
    delays = latencies(facts, options)
    shown = table(
        f"{options.task}, {options.iterations} iterations, {options.demonstrations} demonstrations",
        *("policy", "success by training seed", "95 % of each", "over seeds", "training, CPU s", "parameters"),
        *("1 chunk, ms", "256 samples, ms"),
    )
    for name, fact in facts.items():
        won = [seed["successes"] for seed in fact["seeds"]]
        each = [f"{low:.0%}-{high:.0%}" for low, high in (clopper_pearson(count, options.episodes) for count in won)]
        low, high = over_seeds(tuple(won), options.episodes) if len(won) > 1 else (0.0, 1.0)
        shown.add_row(
            *(name, ", ".join(f"{count}/{options.episodes}" for count in won), ", ".join(each)),
            f"{sum(won) / len(won) / options.episodes:.1%} [{low:.0%}-{high:.0%}]",
            *(", ".join(f"{seed['cpu_s']:.0f}" for seed in fact["seeds"]), f"{fact['parameters']:,}"),
            *(f"{delay:.1f}" for delay in delays[name]),
        )
    console.print(shown)
    return 0


def made(name: str, options: argparse.Namespace) -> Record:
    """Facts of one combination, trained and rolled as far as it is not there."""
    process, denoiser = name.split("-")
    run = f"{options.task}-{name}"
    words = [
        *(f"name={run}", f"task={options.task}", f"policy={process}", f"policy.denoiser={denoiser}"),
        *(f"demos={options.task}-demos", f"job.entry={run}", f"job.seeds=[{options.seeds}]", "runner.workers=1"),
        *(f"job.demonstrations={options.demonstrations}", f"job.episodes={options.episodes}"),
        f"job.trainer.iterations={options.iterations}",
    ]
    # A process of its own, as people would run it; a failure is shown and ends this.
    subprocess.run([sys.executable, "-m", "workbench", "zoo", *words], cwd=options.root, check=True)
    facts: Record = json.loads((options.root / "runs" / run / "metrics.json").read_text())["zoo"]
    return facts


def latencies(names: dict[str, Record], options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Median milliseconds of a call for one chunk and for 256 samples of the first seed's policy."""
    policies = {name: loaded(name, options) for name in names}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for repetition in range(1 + REPETITIONS):
        for name, policy in policies.items():
            row = milliseconds(policy, 1, 0), milliseconds(policy, 1, 256)
            if repetition:
                times[name].append(row)
    return {name: tuple(np.median(rows, axis=0)) for name, rows in times.items()}


def loaded(name: str, options: argparse.Namespace) -> ChunkPolicy:
    """The trained policy of the first seed."""
    first = options.seeds.split(",")[0]
    kind = resolve(compose([f"policy={name.split('-')[0]}"])["policy"]["_target_"])
    policy: ChunkPolicy = kind.load(options.root / "runs" / f"{options.task}-{name}-seed{first}" / "policy")
    return policy


if __name__ == "__main__":
    sys.exit(main())
