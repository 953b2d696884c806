"""What happens to wrong input: one clear line, an exit status other than 0, and nothing overwritten.

Every case is a command (or, for a NaN, a call) on a copy of a finished quickstart.  Files are compared by digest
before and after.  Interrupted jobs are run again and must end with what an uninterrupted one makes.

Run: make verify WHAT=inputs
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.verify.claims import call, command, contents, copy_checkpoint, finished_run, parser, table, verdict
from workbench.branch import stream_of
from workbench.config import Run, digest
from workbench.errors import ObservationError
from workbench.progress import console
from workbench.rollout import Launch, Lockstep
from workbench.store import Store
from workbench.types import Stream

SMALL_FILE_BYTES = 40_000


@dataclasses.dataclass(frozen=True)
class Found:
    """One case: what was tried, whether it was refused as it should be, and the line."""

    case: str
    holds: bool
    line: str


def main() -> int:
    options = parser(__doc__).parse_args()
    run = finished_run(options.root)
    found: list[Found] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for part in ("runs", "datasets"):
            shutil.copytree(run.root / part, root / part)
        found += wrong_words(root)
        found += damaged_files(root)
        found.append(nan_observation(run))
        found.append(full_disk(run))
        found.append(interrupted_rollout(run))
        found.append(interrupted_training(run))
        found += quickstart_again(root)
    shown = table("wrong input", "case", "verdict", "line")
    shown.columns[2].justify = "left"
    for each in found:
        shown.add_row(each.case, "holds" if each.holds else "DOES NOT HOLD", each.line[:200])
    console.print(shown)
    return verdict(all(each.holds for each in found), f"{len(found)} cases, one line each, nothing overwritten")


def refused(root: Path, case: str, said: list[str], *words: str) -> Found:
    """A command that must be refused without touching anything."""
    before = contents(root)
    done = call(root, *words)
    lines = done.stderr.strip().splitlines()
    one_line = len(lines) == 1 and lines[0].startswith("workbench: ")
    holds = done.returncode not in (0, 130) and one_line and before == contents(root)
    return Found(case, holds and all(part in done.stderr for part in said), lines[-1] if lines else "(silent)")


def wrong_words(root: Path) -> list[Found]:
    """Words that do not exist or cannot be."""
    far = "perturbation.object_shift.offset_m=5"
    name = "name=quickstart"
    return [
        refused(root, "unknown key", ["'seed'"], "rollout", name, "sede=1"),
        refused(root, "unknown task", ["'lift'"], "rollout", name, "task=lfit"),
        refused(root, "unknown perturbation", ["'slip'"], "rollout", name, "perturbation=[slpi]"),
        refused(root, "impossible magnitude", ["0.2"], "rollout", name, "perturbation=[object_shift]", far),
        refused(root, "missing store", ["absent.zarr"], "label", name.replace("quickstart", "new"), "store=absent"),
        refused(root, "trained already", ["overwrite=true"], "train", name),
        refused(root, "exported already", ["overwrite=true"], "export", name),
    ]


def damaged_files(root: Path) -> list[Found]:
    """Stores and checkpoints that are cut short, altered, or of another task."""
    store, policy = root / "datasets/quickstart.zarr", root / "runs/quickstart/policy"
    (weights,) = policy.glob("*.safetensors")
    part = next((store / "parts").glob("*/episodes/uid"))
    chunk = next(part.glob("c.*"))
    words = ("rollout", "name=quickstart", "job.episodes.test=1")

    def other_task(path: Path) -> None:
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "task": "stack"}))

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def alter(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[-100] ^= 255
        path.write_bytes(content)

    cases: list[tuple[str, Path, Callable[[Path], None], tuple[str, ...], list[str]]] = [
        ("truncated store: header", store / "zarr.json", cut, ("label", "name=quickstart"), ["damaged"]),
        ("truncated store: chunk", chunk, cut, ("label", "name=quickstart"), ["damaged"]),
        ("checkpoint of another task", policy / "policy.json", other_task, words, ["stack", "lift"]),
        ("truncated weights", weights, cut, words, []),
        ("altered weights", weights, alter, words, []),
    ]
    found = []
    for case, path, damage, asked, said in cases:
        whole = path.read_bytes()
        damage(path)
        found.append(refused(root, case, said, *asked))
        path.write_bytes(whole)
    return found


def nan_observation(run: Run) -> Found:
    """A sensor that yields NaN in the middle of an episode."""
    policy, task = run.policy(), run.task
    lockstep = Lockstep(task, policy, 2)
    scene = task.scene()
    observe = scene.observe

    def broken() -> dict[str, np.ndarray]:
        seen = dict(observe())
        if scene.step_index >= 8:
            seen["cube_pos"] = np.full(3, np.nan)
        return seen

    scene.observe = broken  # type: ignore[method-assign]
    lockstep._scenes.append(scene)
    try:
        lockstep.outcomes([Launch(Stream(0, 0))])
    except ObservationError as error:
        return Found("NaN in an observation", "cube_pos" in str(error), str(error))
    return Found("NaN in an observation", False, "(not noticed)")


def limit_files() -> None:
    """No file of this process may grow beyond a size: as on a disk that fills up."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_FILE_BYTES, SMALL_FILE_BYTES))


def full_disk(run: Run) -> Found:
    """Writing fails in the middle; what was committed stays, and the same command goes on later."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        copy_checkpoint(run, root, "full")
        words = ("rollout", "name=full", "runner.workers=1", "rollout.samples=0", "job.episodes.test=40")
        done = subprocess.run(command(*words), cwd=root, capture_output=True, text=True, preexec_fn=limit_files)
        line = [text for text in done.stderr.splitlines() if text.startswith("workbench: ")]
        kept = len(Store.open(root / "datasets/full.zarr")) if (root / "datasets/full.zarr").exists() else 0
        again = call(root, *words)
        whole = len(Store.open(root / "datasets/full.zarr"))
        holds = done.returncode == 1 and len(line) == 1 and "Traceback" not in done.stderr
        said = f"{line[0] if line else '(silent)'} [{kept} kept, then {whole} of 40]"
        return Found("full disk", holds and again.returncode == 0 and whole == 40, said)


def interrupt(root: Path, words: tuple[str, ...], ready: Callable[[], bool]) -> subprocess.CompletedProcess[str]:
    """Press Ctrl-C (SIGINT to the whole process group) once ``ready``."""
    process = subprocess.Popen(
        command(*words), cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 120
    while not ready() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command(*words), process.returncode, out, err)


def interrupted_rollout(run: Run) -> Found:
    """Ctrl-C while two workers write; then the same command, against an uninterrupted run."""
    words = ("rollout", "name=stop", "runner.workers=2", "runner.scenes=5", "job.episodes.test=60")
    with tempfile.TemporaryDirectory() as folder:
        roots = Path(folder) / "stopped", Path(folder) / "whole"
        for root in roots:
            copy_checkpoint(run, root, "stop")
        store = roots[0] / "datasets/stop.zarr"
        done = interrupt(roots[0], words, lambda: store.exists() and len(Store.open(store)) > 0)
        kept = len(Store.open(store))
        again, whole = (call(root, *words) for root in roots)
        equal = digests(store) == digests(roots[1] / "datasets/stop.zarr")
        line = [text for text in done.stderr.splitlines() if text.startswith("workbench: ")]
        holds = done.returncode == 130 and len(line) == 1 and "Traceback" not in done.stderr and 0 < kept < 60
        said = f"{line[0] if line else done.stderr[-200:]} [{kept} kept, resumed store equal: {equal}]"
        return Found("Ctrl-C in rollout", holds and equal and again.returncode == whole.returncode == 0, said)


def digests(store: Path) -> dict[str, str]:
    """Content digest of every episode, by uid."""
    opened = Store.open(store)
    found = {}
    for number in range(len(opened)):
        episode = opened.episode(number)
        assert stream_of(episode).seed == 0
        rows = [*episode.steps.items(), *((k, v) for k, v in episode.calls.items() if k != "seconds")]
        found[episode.record["uid"]] = digest([(key, value.tobytes().hex()) for key, value in sorted(rows)])
    return found


def interrupted_training(run: Run) -> Found:
    """Ctrl-C in the middle of a training; then the same command, against an uninterrupted one."""
    words = ("train", "name=stop", "demos=quickstart-demos", "job.trainer.iterations=900")
    with tempfile.TemporaryDirectory() as folder:
        roots = Path(folder) / "stopped", Path(folder) / "whole"
        for root in roots:
            shutil.copytree(run.demos, root / "datasets/quickstart-demos.zarr")
        folder_of = roots[0] / "runs/stop"
        done = interrupt(roots[0], words, lambda: any(folder_of.glob("training-*/*.safetensors")))
        line = [text for text in done.stderr.splitlines() if text.startswith("workbench: ")]
        again, whole = (call(root, *words) for root in roots)
        first, second = ([p.read_bytes() for p in (r / "runs/stop/policy").glob("*.safetensors")] for r in roots)
        equal = bool(first) and first == second
        holds = done.returncode == 130 and len(line) == 1 and "Traceback" not in done.stderr
        said = f"{line[0] if line else done.stderr[-200:]} [resumed weights equal bit for bit: {equal}]"
        return Found("Ctrl-C in train", holds and equal and again.returncode == whole.returncode == 0, said)


def quickstart_again(root: Path) -> list[Found]:
    """A second call does nothing; a changed key redoes what depends on it."""
    began = time.monotonic()
    done = call(root, "quickstart")
    seconds = time.monotonic() - began
    idle = done.returncode == 0 and done.stdout.count("up to date") == 10 and seconds < 20
    changed = call(root, "quickstart", "monitor.level=0.2")
    kept = [line.split(":")[0] for line in changed.stdout.splitlines() if line.endswith("up to date")]
    right = kept == ["collect", "train", "rollout", "label", "export"]
    return [
        Found("second quickstart", idle, f"{seconds:.1f} s, {done.stdout.count('up to date')} of 10 stages up to date"),
        Found("quickstart monitor.level=0.2", right and changed.returncode == 0, f"kept: {', '.join(kept)}"),
    ]


if __name__ == "__main__":
    sys.exit(main())
