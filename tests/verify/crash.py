"""Do ``workbench rollout`` and ``workbench synthesize`` survive ``kill -9``?  Killed again and again while they write.

Every attempt is a real command with two workers, killed at a random moment after its first commit: in turn the whole
process group, and the parent alone, whose workers must then end by themselves.  The claims:

- a reader can open the store at any moment, and after every kill all episodes that any reader has ever seen are there,
  to the last bit as first read;
- no worker outlives its parent, so the same command can go on at once;
- in the end the store holds every wanted episode exactly once, to the last bit what an uninterrupted run gives.

Run: make verify WHAT=crash
or, with no quickstart before it: make verify WHAT=crash ARGS="--job synthesize --kills 50 --episodes 6000"
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.verify.claims import call, command, copy_checkpoint, finished_run, parser, table, verdict
from workbench.errors import StoreError
from workbench.execution.progress import console
from workbench.store import Store
from workbench.types import Episode

NAME = "crash"
WAIT_S = 120.0
"""Longest wait for an attempt's first commit."""
FAREWELL_S = 5.0
"""Longest time that workers are given to follow their parent."""


@dataclasses.dataclass
class Kill:
    """One attempt and how it ended."""

    whole_group: bool
    after_s: float
    before: int
    seen: int
    found: int
    torn: bool
    """Whether it fell into a commit: rows beyond the committed ones, or files not yet renamed into place."""
    farewell_s: float
    survivors: int
    lost: int
    changed: int


def main() -> int:
    options = arguments()
    words = [options.job, f"name={NAME}", "runner.workers=2", f"runner.scenes={options.scenes}"]
    if options.job == "rollout":
        words += ["perturbation=[slip,action_noise]", "job.one_each=true", f"job.episodes.test={options.episodes // 2}"]
    else:
        words += [f"job.recipe={NAME}"]
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as killed, tempfile.TemporaryDirectory() as calm:
        for root in (killed, calm):
            prepare(Path(root), options)
        first_read: dict[str, str] = {}
        kills = []
        for number in range(options.kills):
            attempt = kill_once(Path(killed), words, rng.uniform(0, options.window_s), number % 2 == 0, first_read)
            if attempt is None:
                console.print(f"attempt {number + 1} came to its end before it was killed: more --episodes are needed")
                break
            kills.append(attempt)
        for root in (killed, calm):
            done = call(Path(root), *words)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return verdict(False, f"`workbench {' '.join(words)}` exits with {done.returncode}")
        return report(kills, Path(killed), Path(calm), first_read, options)


def prepare(root: Path, options: argparse.Namespace) -> None:
    """Put below a root what the command needs: weights, or a recipe of as many episodes, a third of them nominal."""
    if options.job == "rollout":
        copy_checkpoint(finished_run(options.root), root, NAME)
        return
    counts = {"test": options.episodes // 3}
    recipe = {
        "about": "for kills",
        "licence": "CC0-1.0",
        "policy": "expert",
        "tasks": ["lift"],
        "nominal": counts,
        "least": counts,
        "most": counts,
        "failures": 1,
        "failure_rates": [0.5],
        "perturbations": {"slip": None, "object_shift": None},
    }
    path = root / "datasets" / "recipes" / f"{NAME}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(recipe))


def arguments() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--job", choices=("rollout", "synthesize"), default="rollout")
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--episodes", type=int, default=1000, help="enough that no attempt comes to its end")
    options.add_argument("--scenes", type=int, default=8)
    options.add_argument("--window-s", type=float, default=1.0, help="latest kill after an attempt's first commit")
    return options.parse_args()


def store_of(root: Path, job: str) -> Path:
    return root / "datasets" / (f"{NAME}.zarr" if job == "rollout" else f"{NAME}-lift.zarr")


def kill_once(
    root: Path, words: list[str], after_s: float, whole_group: bool, first_read: dict[str, str]
) -> Kill | None:
    """Start the command, kill it, and look what is there; None if it ended by itself."""
    path = store_of(root, words[0])
    before = len(Store.open(path)) if path.exists() else 0
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command(*words), cwd=root, start_new_session=True, stdout=quiet, stderr=quiet)
    if not wait_for_commit(path, process, before):
        return None
    time.sleep(after_s)
    seen = set(Store.open(path).uids)
    workers = children(process.pid)
    if process.poll() is not None:
        return None
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    farewell_s, survivors = wait_for_end(workers)
    store = Store.open(path)
    contents = {store.uids[number]: content(store.episode(number)) for number in range(len(store))}
    known = seen | first_read.keys()
    changed = sum(contents[uid] != first_read[uid] for uid in first_read.keys() & contents.keys())
    first_read.update(contents)
    lost = len(known - contents.keys())
    return Kill(whole_group, after_s, before, len(seen), len(store), torn(store), farewell_s, survivors, lost, changed)


def wait_for_commit(path: Path, process: subprocess.Popen[bytes], before: int) -> bool:
    """Wait until there are more episodes than ``before``; False if the process ended before."""
    end = time.monotonic() + WAIT_S
    while process.poll() is None:
        if time.monotonic() > end:
            raise TimeoutError(f"nothing was committed to {path} in {WAIT_S} s")
        if rows_of_parts(path) > before:
            return True
        time.sleep(0.01)
    return False


def children(pid: int) -> list[int]:
    """Process ids of a process's children (its workers, and multiprocessing's resource tracker)."""
    with contextlib.suppress(FileNotFoundError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def wait_for_end(pids: list[int]) -> tuple[float, int]:
    """Seconds until all are gone, and how many had to be killed for it."""
    began = time.monotonic()
    while alive := [pid for pid in pids if is_alive(pid)]:
        if time.monotonic() - began > FAREWELL_S:
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            return time.monotonic() - began, len(alive)
        time.sleep(0.01)
    return time.monotonic() - began, 0


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has buried yet does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def content(episode: Episode) -> str:
    """Digest of everything in an episode but the wall-clock time of its calls."""
    digest = hashlib.sha256(json.dumps(episode.record, sort_keys=True).encode())
    for name, rows in named_arrays(episode).items():
        digest.update(f"{name} {rows.dtype} {rows.shape}".encode())
        digest.update(np.ascontiguousarray(rows).tobytes())
    return digest.hexdigest()


def named_arrays(episode: Episode) -> dict[str, np.ndarray]:
    arrays = {f"steps/{key}": rows for key, rows in sorted(episode.steps.items())}
    arrays |= {f"calls/{key}": rows for key, rows in sorted(episode.calls.items()) if key != "seconds"}
    return arrays | {"memory": episode.memory}


def torn(store: Store) -> bool:
    """Whether a kill has left something that was not committed."""
    written = sum(json.loads(file.read_bytes())["shape"][0] for file in store.path.rglob("steps/action/zarr.json"))
    return written != int(store.episodes["length"].sum()) or any(store.path.rglob("*.partial"))


def rows_of_parts(path: Path) -> int:
    """Committed episodes over all parts, those that are there twice counted twice."""
    files = path.glob("parts/*/episodes/zarr.json")
    return sum(int(json.loads(file.read_bytes())["attributes"]["rows"]) for file in files)


def report(kills: list[Kill], killed: Path, calm: Path, first_read: dict[str, str], options: argparse.Namespace) -> int:
    """Print the tables; non-zero unless every claim holds."""
    columns = ("killed", "after s", "had", "seen", "found", "in a commit", "workers gone after s", "lost", "changed")
    shown = table("one row a kill", "", *columns)
    for number, kill in enumerate(kills, start=1):
        target = "group" if kill.whole_group else "parent"
        gone = f"{kill.farewell_s:.2f}" if not kill.survivors else f"{kill.survivors} SURVIVED"
        numbers = (kill.before, kill.seen, kill.found, "yes" if kill.torn else "", gone, kill.lost, kill.changed)
        shown.add_row(str(number), target, f"{kill.after_s:.2f}", *map(str, numbers))
    console.print(shown)
    try:
        ours, theirs = (Store.open(store_of(root, options.job)) for root in (killed, calm))
    except StoreError as error:
        return verdict(False, str(error))
    parts = 2 if options.job == "rollout" else 3
    wanted = options.episodes // parts * parts
    equal, worst, changed = compare(ours, theirs, first_read)
    rows = rows_of_parts(ours.path)
    metrics = [json.loads((root / "runs" / NAME / "metrics.json").read_text()) for root in (killed, calm)]
    left = [file.name for file in ours.path.parent.rglob("*.partial")]
    left += [folder.name for folder in ours.path.parent.glob(".*")]
    rows_shown = (
        ("kills", f"{len(kills)} of {options.kills}", len(kills) == options.kills),
        ("kills that fell into a commit", sum(kill.torn for kill in kills), any(kill.torn for kill in kills)),
        ("episodes lost, of those ever seen", sum(kill.lost for kill in kills), not any(k.lost for k in kills)),
        ("episodes changed since first read", changed, not any(k.changed for k in kills) and not changed),
        ("workers that outlived their parent", sum(k.survivors for k in kills), not any(k.survivors for k in kills)),
        ("episodes wanted, in the store, rows in all parts", f"{wanted}, {len(ours)}, {rows}",
         wanted == len(ours) == rows),
        ("episodes bit-equal to an uninterrupted run", f"{equal} of {len(theirs)}", equal == len(theirs) == wanted),
        ("largest difference in an action", f"{worst:.3g}", worst == 0.0),
        ("same digest, same metrics.json", f"{ours.digest() == theirs.digest()}, {metrics[0] == metrics[1]}",
         ours.digest() == theirs.digest() and metrics[0] == metrics[1]),
        ("files left behind by kills", ", ".join(left) or "none", True),
    )  # fmt: skip
    summary = table("in the end", "", "found", "verdict")
    for what, found, holds in rows_shown:
        summary.add_row(what, str(found), "holds" if holds else "DOES NOT HOLD")
    console.print(summary)
    console.print(f"n = {len(kills)} kills, seed {options.seed}, {options.scenes} scenes in each of 2 workers")
    return verdict(
        all(holds for *_, holds in rows_shown), "kill -9 loses nothing that was committed and changes nothing"
    )


def compare(ours: Store, theirs: Store, first_read: dict[str, str]) -> tuple[int, float, int]:
    """Episodes that are equal bit for bit; largest difference in an action; episodes changed since first read."""
    numbers = {uid: number for number, uid in enumerate(theirs.uids)}
    equal, worst, changed = 0, 0.0, 0
    for number, uid in enumerate(ours.uids):
        have = ours.episode(number)
        changed += first_read.get(uid, content(have)) != content(have)
        if uid not in numbers:
            continue
        want = theirs.episode(numbers[uid])
        equal += content(have) == content(want)
        shared = min(len(have.steps["action"]), len(want.steps["action"]))
        apart = np.abs(have.steps["action"][:shared] - want.steps["action"][:shared])
        worst = max(worst, float(apart.max()))
    return equal, worst, changed


if __name__ == "__main__":
    sys.exit(main())
