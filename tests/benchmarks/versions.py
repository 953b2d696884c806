"""Is this checkout as fast as another one?  Stepping, labels and scores of both, interleaved in one run.

Every repetition runs each part once with either checkout's code, in a process of its own, and takes its CPU seconds
without imports and compilation.  What is printed is the ratio this / other, pair by pair: median and range.

Run: python -m tests.benchmarks.versions --other FOLDER [--repetitions 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BEGIN = """
import pathlib, sys, time
from workbench.config import Run, compose
from workbench.types import Stream, episode_index
try:
    from workbench.rollouts.launch import Launch
    from workbench.rollouts.loop import Lockstep
except ImportError:
    from workbench.rollout import Launch, Lockstep
run = Run(compose(["policy=zoo/lift_flow", "perturbation=[slip]"]), pathlib.Path(sys.argv[1]))
task, policy = run.task, run.policy()
from workbench.config import build
slip = build(run.config["perturbation"]["slip"])
def launches(first, count, faulty):
    streams = [Stream(0, episode_index("test", number)) for number in range(first, first + count)]
    return [Launch(stream, (slip.draw(stream, task),) if faulty else ()) for stream in streams]
def timed(work):
    began = time.process_time()
    work()
    print(time.process_time() - began)
"""
PARTS = {
    "stepping": """
from workbench.store import Store
lockstep = Lockstep(task, policy, 16, samples=0)
lockstep.outcomes(launches(0, 2, False))
timed(lambda: lockstep.outcomes(launches(100, 48, False)))
""",
    "labels": """
try:
    from workbench.attribution.labels import Settings, label_episodes
except ImportError:
    from workbench.jobs.label import Settings, label_episodes
expert = build({"_target_": "workbench.policies.expert.Expert"}, task=task)
recorder, branches, reference = Lockstep(task, policy, 16), Lockstep(task, policy, 25), Lockstep(task, expert, 25)
failed = [episode for episode in recorder.record(launches(0, 12, True)) if not episode.record["success"]][:3]
settings = Settings((4,), 20, (4, 8), 4)
label_episodes(failed[:1], task, branches, reference, settings)
timed(lambda: label_episodes(failed, task, branches, reference, settings))
""",
    "scores": """
import numpy as np
from workbench.types import EpisodeCalls
try:
    from workbench.monitoring.scoring import curves, fit_score
except ImportError:
    from workbench.monitor import curves, fit_score
names = ["rnd", "mahalanobis", "entropy", "stac", "chunk_overlap"]
nodes = compose([f"score=[{','.join(names)}]"])["score"]
def calls(number, split):
    rng = np.random.default_rng(number)
    shape = (13, 16, 7)
    return EpisodeCalls(f"0:{number}:nominal", split, np.arange(13) * 8, rng.normal(size=shape).astype(np.float32),
        rng.normal(size=(13, 32, 16, 7)).astype(np.float32), rng.normal(size=(13, 64)).astype(np.float32), 8)
fitting, judged = [calls(n, "fit") for n in range(12)], [calls(n, "test") for n in range(100, 356)]
fitted = [fit_score(name, build(nodes[name]), fitting, 0) for name in names]
[curves(score, judged[:2]) for score in fitted]
timed(lambda: [curves(score, judged) for score in fitted])
""",
}


def main() -> None:
    """Print one line a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, required=True, help="checkout to compare with")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--only", nargs="*", choices=sorted(PARTS), default=list(PARTS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for part in asked.only:
            pairs = []
            for number in range(asked.repetitions):
                order = (ROOT, asked.other.resolve()) if number % 2 else (asked.other.resolve(), ROOT)
                seconds = {checkout: measured(checkout, part, folder) for checkout in order}
                pairs.append((seconds[ROOT], seconds[asked.other.resolve()]))
            ratios = sorted(this / other for this, other in pairs)
            middle = statistics.median(this for this, _ in pairs)
            shown = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
            print(f"{part:10s} this / other {shown}, {middle:.2f} s of CPU, n = {len(pairs)}", flush=True)


def measured(checkout: Path, part: str, folder: str) -> float:
    """CPU seconds of a part with one checkout's code."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    code = [sys.executable, "-c", BEGIN + PARTS[part], folder]
    done = subprocess.run(code, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
