"""Are the numbers the same before and after a change that should not touch them?  Two checkouts, the same commands.

``--checkout FOLDER --into FOLDER`` runs the commands with that checkout's code and writes ``golden.json``: digests of
one store a task, success of every entry of the zoo, the quickstart's tables, the leaderboard of ``benchmark/small``.
``--compare ONE OTHER`` says what differs, and exits with 1 if anything does.  ``--only`` runs some of the parts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TASKS = {
    "lift": "zoo/lift_flow",
    "stack": "zoo/stack_flow",
    "pick_place_can": "zoo/pick_place_can_flow",
    "nut_assembly_square": "zoo/nut_assembly_square_flow",
    "door": "zoo/door_flow",
    "peg_insertion": "zoo/peg_insertion_flow",
    "push_t": "zoo/push_t_flow",
    "blocks": "expert",
}
DIGEST = """
import json, sys
from workbench.store import Store
store = Store.open(__import__("pathlib").Path(sys.argv[1]))
rows = {name: column for name, column in store.episodes.items()}
print(json.dumps({"content": store.digest(), "episodes": len(store), "uids": store.uids[:3]}))
"""
TIMES = {
    "seconds",
    "wall_s",
    "cpu_s",
    "fit_s",
    "milliseconds",
    "jobs",
    "versions",
    "costs",
    "config",
    "command",
    "steps_per_s",
}
"""Keys that say how long something took, or how it was asked for, and not what came out."""


ABOUT = (
    *("monitor", "score", "calibrator", "name", "task", "store"),
    *("perturbation", "failure_mode", "metric", "first", "second"),
)
"""Keys that say what a row of a table is about."""


def main() -> None:
    """Run the parts, or compare what two runs wrote."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkout", type=Path, default=ROOT)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--only", nargs="*", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--compare", type=Path, nargs=2)
    asked = parser.parse_args()
    if asked.compare:
        sys.exit(compare(*asked.compare))
    if asked.into is None:
        parser.error("--into FOLDER is needed: where the stores and runs go")
    into = asked.into.resolve()
    (into / "datasets").mkdir(parents=True, exist_ok=True)
    shutil.copytree(asked.checkout / "datasets" / "recipes", into / "datasets" / "recipes", dirs_exist_ok=True)
    for part in asked.only:
        found = PARTS[part](asked.checkout.resolve(), into)
        path = into / "golden.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**known, part: found}, indent=1, sort_keys=True))
        print(f"{part}: done", flush=True)


def workbench(checkout: Path, into: Path, *words: str) -> None:
    """One command with a checkout's code, in the folder of the results."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "workbench", *words], cwd=into, env=environment, check=True, stdout=sys.stderr
    )


def metrics(into: Path, name: str) -> Any:
    """What a run's metrics say, times left out."""
    return without_times(json.loads((into / "runs" / name / "metrics.json").read_text()))


def without_times(value: Any) -> Any:
    """Plain data without the keys of :data:`TIMES`."""
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def stores(checkout: Path, into: Path) -> Any:
    """Digest of a small store of every task: nominal episodes, and as many under two faults."""
    found = {}
    for task, policy in TASKS.items():
        words = [
            f"name=store-{task}",
            f"task={task}",
            f"policy={policy}",
            "job.episodes={fit: 0, calibrate: 0, test: 3}",
        ]
        workbench(checkout, into, "rollout", *words)
        faults = "[action_noise,latency]" if policy != "expert" else "[action_noise]"
        workbench(checkout, into, "rollout", *words, f"perturbation={faults}")
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        digest = [sys.executable, "-c", DIGEST, str(into / "datasets" / f"store-{task}.zarr")]
        found[task] = json.loads(subprocess.run(digest, env=environment, check=True, capture_output=True).stdout)
    return found


def zoo(checkout: Path, into: Path) -> Any:
    """Success of every entry of the zoo in its 100 nominal test episodes."""
    found = {}
    for card in sorted((checkout / "policies" / "zoo").glob("*/card.md")):
        entry = card.parent.name
        facts = json.loads(card.read_text().split("---\n")[1])
        words = [f"name=zoo-{entry}", f"policy=zoo/{entry}", f"task={facts['task']}", *cameras_of(facts)]
        episodes = "job.episodes={fit: 0, calibrate: 0, test: 100}"
        workbench(checkout, into, "rollout", *words, "rollout.samples=0", "rollout.images=false", episodes)
        found[entry] = metrics(into, f"zoo-{entry}")["policy"]
    return found


def cameras_of(facts: Any) -> list[str]:
    """Words that ask for the cameras that an entry sees through."""
    sizes = facts["image_sizes"]
    if not sizes:
        return []
    height, width = next(iter(sizes.values()))
    return [f"task.cameras={{names: [{','.join(sizes)}], profile: fast, width_px: {width}, height_px: {height}}}"]


def quickstart(checkout: Path, into: Path) -> Any:
    """The quickstart's tables, seed 0."""
    workbench(checkout, into, "quickstart", "seed=0")
    return metrics(into, "quickstart")


def small(checkout: Path, into: Path) -> Any:
    """The leaderboard of benchmark/small."""
    workbench(checkout, into, "synthesize", "job.recipe=monitors-small")
    other = ["job.tasks=[lift]", "job.policy=zoo/lift_diffusion", "store=monitors-small-diffusion", "name=diffusion"]
    workbench(checkout, into, "synthesize", "job.recipe=monitors-small", *other)
    workbench(checkout, into, "benchmark", "+experiment=benchmark/small")
    return without_times(json.loads((into / "runs" / "benchmark-small" / "leaderboard.json").read_text()))


PARTS = {"stores": stores, "quickstart": quickstart, "small": small, "zoo": zoo}


def compare(one: Path, other: Path) -> int:
    """Print every leaf that differs; 1 if there is one."""
    first, second = (dict(leaves(json.loads((folder / "golden.json").read_text()))) for folder in (one, other))
    differing = [key for key in sorted(first.keys() | second.keys()) if first.get(key) != second.get(key)]
    for key in differing:
        print(f"{key}: {first.get(key, 'missing')} -> {second.get(key, 'missing')}")
    equal = len(first.keys() | second.keys()) - len(differing)
    print(f"{equal} figures equal, {len(differing)} differ")
    return int(bool(differing))


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Dotted path and value of every number and word in plain data."""
    if isinstance(value, dict):
        return [leaf for key, each in value.items() for leaf in leaves(each, f"{path}.{key}" if path else key)]
    if isinstance(value, list):
        return [
            leaf for name, each in zip(called(value), value, strict=True) for leaf in leaves(each, f"{path}[{name}]")
        ]
    return [(path, value)]


def called(rows: list[Any]) -> list[str]:
    """What the rows of a list are called: by what they are about where that tells them apart, or their places.

    Rows are often sorted by what they came to, so one that moved is still compared with itself.
    """
    names = ["/".join(str(row[key]) for key in ABOUT if key in row) if isinstance(row, dict) else "" for row in rows]
    return names if len(set(names)) == len(names) and "" not in names else [str(place) for place in range(len(rows))]


if __name__ == "__main__":
    main()
