"""What happens to bad input?  Each case is a command on a copy of the finished run that has to be refused.

Refused means: an exit status that is not zero, on stderr one line that starts with ``workbench: `` and says what is
expected below (beside progress bars; what Ctrl-C leaves is read from a pseudo-terminal, as a person sees it), and no
file below the root changed, removed or added.  New empty folders are reported.

Then what has to go on afterwards: a full disk with space again, and Ctrl-C at random moments of ``rollout`` and
``train``, after which the same command finishes with the result of an uninterrupted one; and a second ``quickstart``,
the same (in under 20 s) and with another level, which may redo nothing before ``fit``.

Run: make verify WHAT=inputs
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import fnmatch
import hashlib
import io
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.verify.claims import NAME, call, command, contents, copy_checkpoint, finished_run, parser, table, verdict
from workbench.cli import INTERRUPTED, one_line_errors
from workbench.config import Run
from workbench.execution.progress import LOG, console
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.store import Store
from workbench.types import Array, Record, Scene, Stream, episode_index

SECOND_QUICKSTART_S = 20.0
EARLIEST_S = 0.3
"""First moment at which Ctrl-C is pressed: before it there is only Python itself."""
BAR = re.compile(r" \d+/\d+ \d+:\d\d:\d\d ")
"""What a line of a progress bar holds and no message does: how far it is, and the time."""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
Prepare = Callable[[Path], object]


@dataclasses.dataclass
class Finding:
    """One row of the table."""

    case: str
    exit: str
    said: str
    faults: list[str]


@dataclasses.dataclass(frozen=True)
class Case:
    """A command that has to be refused, and what the line has to say."""

    name: str
    words: str
    says: tuple[str, ...]
    prepare: Prepare = lambda root: None
    spares: str = ""
    """Pattern of files that may change: another worker goes on appending to its own part until all are stopped."""
    everything: bool = False
    """Whether it needs the demonstrations too."""


def main() -> int:
    options = arguments()
    run = finished_run(options.root)
    rng = np.random.default_rng(options.seed)
    findings: list[Finding] = []
    checks = [
        *((case.name, lambda case=case: [refusal(run, case)]) for case in CASES),
        ("NaN in an observation", lambda: nan_in_observation(run)),
        ("full disk", lambda: [full_disk(run)]),
        ("Ctrl-C", lambda: interrupts(run, rng, options.interrupts)),
        ("quickstart again", lambda: [quickstart_again(run), quickstart_changed(run)]),
    ]
    for name, check in checks:
        if options.only in name:
            findings.extend(check())
    return report(findings, options)


def arguments() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--interrupts", type=int, default=5, help="Ctrl-C of each of rollout and train")
    options.add_argument("--only", default="", help="cases whose name contains this")
    return options.parse_args()


# --- what is broken on purpose ---------------------------------------------------------------------------------------


def truncate(path: str) -> Prepare:
    """Cut the first file that matches a pattern to its half."""

    def cut(root: Path) -> None:
        file = sorted(root.glob(path))[0]
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return cut


def recorded(change: Callable[[Record], object]) -> Prepare:
    """Change the record of the policy."""

    def rewrite(root: Path) -> None:
        path = root / f"runs/{NAME}/policy/policy.json"
        record = json.loads(path.read_text())
        record.pop("record_sha256", None)
        change(record)
        path.write_text(json.dumps(record))

    return rewrite


def rewritten(weights: Callable[[bytes], bytes]) -> Prepare:
    """Change the weights of the policy and the digest that would tell."""

    def rewrite(root: Path) -> None:
        (path,) = root.glob(f"runs/{NAME}/policy/weights-*")
        data = weights(path.read_bytes())
        path.write_bytes(data)
        recorded(lambda record: record.update(sha256=hashlib.sha256(data).hexdigest()))(root)

    return rewrite


def with_nan(data: bytes) -> bytes:
    """The last number of the last tensor is NaN."""
    return data[:-4] + np.float32(np.nan).tobytes()


def demonstrations_of_another_task(root: Path) -> None:
    header = root / f"datasets/{NAME}-demos.zarr/zarr.json"
    header.write_text(header.read_text().replace('"task": "lift"', '"task": "stack"'))


def tamper(root: Path) -> None:
    (weights,) = root.glob(f"runs/{NAME}/policy/weights-*")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)


def no_store(root: Path) -> None:
    (root / "datasets/notes.zarr").mkdir()
    (root / "datasets/notes.zarr/notes.txt").write_text("mine")


def exported(root: Path) -> None:
    (root / f"datasets/exports/{NAME}-lerobot").mkdir(parents=True)


CASES = (
    Case("unknown key", "rollout name=n job.episode=3", ("'job.episode'", "Did you mean 'job.episodes'")),
    Case("unknown split", "rollout name=n +job.episodes.tset=3", ("'tset'", "Did you mean 'test'")),
    Case("unknown task", "rollout name=n task=lfit", ("'lfit'", "Did you mean 'lift'")),
    Case("unknown perturbation", "rollout name=n perturbation=[slpi]", ("'slpi'", "Did you mean 'slip'")),
    Case("unknown job", "rolout", ("'rolout'", "Did you mean 'rollout'")),
    Case(
        "impossible magnitude",
        f"rollout name={NAME} perturbation=[object_shift] perturbation.object_shift.offset_m=5",
        ("offset_m=5.0", "0.005 .. 0.2"),
    ),
    Case(
        "NaN magnitude",
        f"rollout name={NAME} perturbation=[object_shift] perturbation.object_shift.offset_m=nan",
        ("offset_m=", "nan", "0.005 .. 0.2"),
    ),
    Case("negative count", f"rollout name={NAME} job.episodes.test=-1", ("job.episodes.test=-1",)),
    Case("no workers", f"rollout name={NAME} job.episodes.test=200 runner.workers=0", ("runner.workers=0",)),
    Case("no scenes", f"rollout name={NAME} job.episodes.test=200 runner.scenes=0", ("runner.scenes=0",)),
    Case("impossible level", f"fit name={NAME} overwrite=true monitor.level=2", ("level", "2")),
    Case("missing store", "replay name=nowhere", ("nowhere.zarr", "workbench rollout")),
    Case("missing checkpoint", "rollout name=nowhere", ("nowhere", "workbench train name=nowhere")),
    Case("no store at its place", f"replay name={NAME} store=notes", ("notes.zarr", "no store"), no_store),
    Case("unknown episode", f"replay name={NAME} job.episode=0:1:none", ("'0:1:none'", "Known")),
    Case("unknown format", f"export name={NAME} job.format=lerobt", ("'lerobt'", "lerobot")),
    *(
        Case(f"truncated {what}, {words}", f"{words} name={NAME}", ("damaged",), truncate(path), spares)
        for what, path in (
            ("store header", f"datasets/{NAME}.zarr/zarr.json"),
            ("metadata", f"datasets/{NAME}.zarr/parts/*/steps/action/zarr.json"),
            ("column", f"datasets/{NAME}.zarr/parts/*/episodes/uid/c.0"),
        )
        for words, spares in (("replay", ""), ("rollout job.episodes.test=200", "*/parts/*SpawnProcess-2/*"))
    ),
    Case("truncated chunk, replay", f"replay name={NAME}", ("damaged",), truncate("**/parts/*/steps/state/c.0*")),
    Case("truncated chunk, fit", f"fit name={NAME} overwrite=true", ("damaged",), truncate("**/calls/samples/c.0*")),
    Case("truncated metrics", f"benchmark name={NAME}", ("metrics.json", "not JSON"), truncate("runs/*/metrics.json")),
    Case("truncated monitors", f"benchmark name={NAME}", ("damaged",), truncate("runs/*/monitors/monitors.json")),
    Case("truncated stages", "quickstart", ("stages.json",), truncate("runs/*/stages.json")),
    Case("truncated policy record", f"rollout name={NAME}", ("policy.json",), truncate("runs/*/policy/policy.json")),
    *(
        Case(f"checkpoint {what}", f"rollout name={NAME}", says, prepare)
        for what, says, prepare in (
            ("of another task", ("'stack'", "'lift'"), recorded(lambda record: record.update(task="stack"))),
            (
                "of another observation layout",
                ("another observation layout", "cube_yaw: 3 then"),
                recorded(lambda record: record["layout"].update(cube_yaw=3)),
            ),
            (
                "of another kind of policy",
                ("holds a OtherPolicy", "choose another policy="),
                recorded(lambda record: record.update(policy="OtherPolicy")),
            ),
            (
                "without statistics",
                ("policy.json lacks statistics", "train the policy again"),
                recorded(lambda record: record.pop("statistics")),
            ),
            ("with NaN", ("NaN or infinity in its weights",), rewritten(with_nan)),
            ("that is no safetensors file", ("is no safetensors file",), rewritten(lambda data: data[:100])),
        )
    ),
    Case("truncated weights", f"rollout name={NAME}", ("truncated",), truncate("runs/*/policy/weights-*")),
    Case("tampered weights", f"rollout name={NAME}", ("sha256",), tamper),
    Case("other settings into a store", f"rollout name={NAME} rollout.samples=8", ("another rollout", "store=")),
    Case("exported already", f"export name={NAME}", ("exports", "overwrite=true"), exported),
    Case("overwriting a checkpoint", f"train name={NAME}", ("holds a trained policy", "overwrite=true")),
    *(
        Case(f"training with {word}", f"train name={NAME} overwrite=true job.{word}", says, everything=True)
        for word, says in (
            ("trainer.device=gpu", ("'gpu'", "auto, cpu, cuda")),
            ("trainer.precision=float16", ("'float16'", "bfloat16, float32")),
            ("trainer.batch=0", ("batch=0", "at least 1")),
            ("trainer.batchsize=8", ("'job.trainer.batchsize'", "Did you mean 'job.trainer.batch'")),
            ("seed=-1", ("seed=-1", "at least 0")),
            ("evaluation.episodes=5", ("job.evaluation.every=0", "both at least 1")),
        )
    ),
    Case(
        "demonstrations of another task",
        f"train name={NAME} overwrite=true",
        ("holds demonstrations of task 'stack', not 'lift'", "demos="),
        demonstrations_of_another_task,
        everything=True,
    ),
)  # fmt: skip


# --- commands that are refused ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def copied(run: Run, everything: bool = False) -> Iterator[Path]:
    """A copy of the finished run to do harm to; ``everything`` takes the demonstrations and exports along."""
    exports = run.root / "datasets" / "exports"
    with tempfile.TemporaryDirectory() as folder:
        for part in (run.folder, run.store, *((run.demos, exports) if everything else ())):
            if part.exists():
                shutil.copytree(part, Path(folder) / part.relative_to(run.root))
        yield Path(folder)


def refusal(run: Run, case: Case) -> Finding:
    """Run one case on a copy of its own."""
    with copied(run, case.everything) as root:
        case.prepare(root)
        before = contents(root)
        done = call(root, *case.words.split())
        line, faults = message(done.stderr)
        if "Traceback" in done.stdout:
            faults.append("a traceback on stdout")
        faults += [f"does not say {part!r}" for part in case.says if part not in line]
        if done.returncode <= 0:
            faults.append("exit status")
        faults += changes(*(spared(files, case.spares) for files in (before, contents(root))))
        return Finding(case.name, str(done.returncode), line, faults)


def spared(files: dict[str, str], pattern: str) -> dict[str, str]:
    """Files that must not change."""
    return {path: digest for path, digest in files.items() if not fnmatch.fnmatch(path, pattern)}


def message(stderr: str) -> tuple[str, list[str]]:
    """The one line beside progress bars, and what is wrong with it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not BAR.search(f"{line} ")]
    if len(lines) == 1 and lines[0].startswith("workbench: "):
        return lines[0], []
    shown = lines[-1] if lines else ""
    return shown, [f"{len(lines)} lines on stderr" + ("" if shown.startswith("workbench: ") else ", none is ours")]


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Files that differ and folders that are new."""
    differing = [path for path in before.keys() & after.keys() if before[path] != after[path]]
    gone, new = before.keys() - after.keys(), after.keys() - before.keys()
    folders = {path for path in new if path.endswith("/")}
    named = (("changed", differing), ("removed", gone), ("added", new - folders), ("new folder", folders))
    return [f"{what}: {', '.join(sorted(paths))}" for what, paths in named if paths]


def nan_in_observation(run: Run) -> list[Finding]:
    """No command line puts NaN into an observation: asked of the policy, and of a scene that loses its sensor."""
    key = next(iter(run.task.observation_sizes))
    policy = run.policy()
    seen = {name: np.zeros((2, policy.history, size)) for name, size in run.task.observation_sizes.items()}
    seen[key][1, 0, 0] = np.nan
    noise = [np.random.default_rng(number) for number in range(2)]
    lockstep = Lockstep(run.task, policy, 2)
    lockstep._scenes = [blinded(run.task.scene(), key) for _ in range(2)]
    launches = [Launch(Stream(0, episode_index("test", number))) for number in range(2)]
    return [
        in_process("NaN handed to the policy", key, lambda: policy.plan(seen, noise)),
        in_process("NaN seen by a rollout", key, lambda: list(lockstep.record(launches))),
    ]


def blinded(scene: Scene, key: str) -> Scene:
    """A scene whose sensor ``key`` says NaN from step 10 on."""
    observe = scene.observe

    def broken() -> dict[str, Array]:
        seen = dict(observe())
        return seen | {key: np.full_like(seen[key], np.nan)} if scene.step_index >= 10 else seen

    scene.observe = broken  # type: ignore[method-assign]
    return scene


def in_process(name: str, key: str, work: Callable[[], object]) -> Finding:
    """What the command line would make of an error."""
    stderr, code = io.StringIO(), 0
    try:
        with contextlib.redirect_stderr(stderr), one_line_errors():
            work()
    except SystemExit as stop:
        code = int(stop.code or 0)
    line, faults = message(stderr.getvalue())
    faults += [] if "NaN" in line and key in line else ["does not name what is NaN"]
    return Finding(name, str(code), line, faults + ([] if code > 0 else ["exit status"]))


# --- what has to go on afterwards ------------------------------------------------------------------------------------

ROLLOUT = ("rollout", "name=n", "runner.scenes=8", "perturbation=[slip]", "job.episodes.test=100")
TRAIN = ("train", "name=n", f"demos={NAME}-demos", "job.trainer.iterations=600", "job.trainer.save_every=50")


@contextlib.contextmanager
def fresh(run: Run, words: tuple[str, ...]) -> Iterator[Path]:
    """A root with what a command reads and nothing that it makes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if words[0] == "train":
            shutil.copytree(run.demos, root / run.demos.relative_to(run.root))
        else:
            copy_checkpoint(run, root, "n")
        yield root


def result(root: Path, words: tuple[str, ...]) -> object:
    """What a command has made, to be compared."""
    if words[0] == "train":
        return json.loads((root / "runs/n/policy/policy.json").read_text())["sha256"]
    store = Store.open(root / "datasets/n.zarr")
    return len(store), store.digest()


def uninterrupted(run: Run, words: tuple[str, ...]) -> object:
    """The result of a command that is left alone."""
    with fresh(run, words) as root:
        call(root, *words).check_returncode()
        return result(root, words)


def full_disk(run: Run) -> Finding:
    """Roll onto a disk of 6 MB, then again with space."""
    with fresh(run, ROLLOUT) as root:
        before = contents(root)
        with little_space(root / "datasets") as (limit, more_space):
            done = subprocess.run(command(*ROLLOUT), cwd=root, capture_output=True, text=True, preexec_fn=limit)
            line, faults = message(done.stderr)
            kept = len(Store.open(root / "datasets/n.zarr"))
            outside = {path: digest for path, digest in contents(root).items() if not path.startswith("datasets/")}
            faults += changes(before, outside)
            if done.returncode <= 0 or "disk is full" not in line:
                faults.append("no word of a full disk")
            more_space()
            if call(root, *ROLLOUT).returncode or result(root, ROLLOUT) != uninterrupted(run, ROLLOUT):
                faults.append("with space again the result is not that of an uninterrupted run")
        return Finding(f"full disk (then went on from {kept} of 100)", str(done.returncode), line, faults)


@contextlib.contextmanager
def little_space(folder: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """A folder on a small disk of its own; where that may not be mounted, a limit on the size of files.

    Yields what a child process has to call first, and what gives more space.
    """
    folder.mkdir()
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True
    ).returncode

    def limit() -> None:
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    def more_space() -> None:
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=200m", folder], check=True)

    try:
        yield limit, more_space
    finally:
        if mounted:
            subprocess.run(["umount", folder], check=True)


def interrupts(run: Run, rng: np.random.Generator, count: int) -> list[Finding]:
    """Ctrl-C at moments spread over a command's life, from its first imports on; then the same command to its end."""
    findings = []
    for words in (ROLLOUT, TRAIN):
        began = time.monotonic()
        wanted = uninterrupted(run, words)
        latest_s = 0.8 * (time.monotonic() - began)
        for number in range(count):
            after_s = EARLIEST_S + (latest_s - EARLIEST_S) * (number + rng.uniform()) / count
            while (finding := interrupt_once(run, words, after_s, wanted)) is None:
                after_s *= 0.8
            findings.append(finding)
    return findings


def interrupt_once(run: Run, words: tuple[str, ...], after_s: float, wanted: object) -> Finding | None:
    """One Ctrl-C and what comes of it; None if the command came to its end first."""
    with fresh(run, words) as root:
        code, seen = press_ctrl_c(root, words, after_s)
        if code == 0:
            return None
        line, faults = message(seen.replace("^C", ""))
        # Python ends itself by the signal if it was inside an eval; a shell calls that 130 as well.
        if code not in (INTERRUPTED, -signal.SIGINT) or "interrupted" not in line:
            faults.append("exit status or line")
        again = call(root, *words)
        if again.returncode or result(root, words) != wanted:
            faults.append("the same command does not end with the result of an uninterrupted one")
        return Finding(f"Ctrl-C of {words[0]} after {after_s:.1f} s", str(code), line, faults)


def press_ctrl_c(root: Path, words: tuple[str, ...], after_s: float) -> tuple[int, str]:
    """Run a command in a terminal of its own and press Ctrl-C; exit status, and what stood there without escapes."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        command(*words),
        cwd=root,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(inside)
    seen: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(terminal, seen))
    reader.start()
    time.sleep(after_s)
    os.write(terminal, b"\x03")
    code = process.wait(60)
    reader.join(10)
    os.close(terminal)
    return code, ESCAPES.sub("", b"".join(seen).decode(errors="replace")).replace("\r", "\n")


def read_all(terminal: int, seen: list[bytes]) -> None:
    """Read until the last process has left the terminal."""
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 65536):
            seen.append(piece)


def quickstart_again(run: Run) -> Finding:
    """The same command a second time."""
    with copied(run, everything=True) as root:
        before = contents(root)
        code, took_s, kept = timed_quickstart(root)
        allowed = {f"runs/{NAME}/{file}" for file in ("metrics.json", "stages.json", LOG)}
        after = contents(root)
        faults = changes(before, {**after, **{path: before[path] for path in allowed & before.keys()}})
        if code or took_s >= SECOND_QUICKSTART_S or kept != list(STAGES):
            faults.append("not all up to date, or too slow")
        return Finding(
            "second quickstart", str(code), f"{took_s:.1f} s, {len(kept)} of {len(STAGES)} stages up to date", faults
        )


def quickstart_changed(run: Run) -> Finding:
    """The same command with another level: what comes before ``fit`` or beside it stays."""
    with copied(run, everything=True) as root:
        stores = {path: digest for path, digest in contents(root).items() if ".zarr/" in path}
        code, took_s, kept = timed_quickstart(root, "monitor.level=0.2")
        redone = [stage for stage in STAGES if stage not in kept]
        faults = changes(stores, {path: digest for path, digest in contents(root).items() if ".zarr/" in path})
        if code or redone != ["fit", "benchmark", "recover", "view", "report"]:
            faults.append("another set of stages than fit and what reads it")
        if Store.open(run.store).digest() != Store.open(root / run.store.relative_to(run.root)).digest():
            faults.append("the store has changed")
        return Finding(
            "quickstart monitor.level=0.2", str(code), f"{took_s:.1f} s, redone: {', '.join(redone)}", faults
        )


STAGES = ("collect", "train", "rollout", "label", "fit", "benchmark", "recover", "view", "export", "report")


def timed_quickstart(root: Path, *words: str) -> tuple[int, float, list[str]]:
    """Exit status, seconds, and the stages that are not done again."""
    began = time.monotonic()
    done = call(root, "quickstart", *words)
    took_s = time.monotonic() - began
    kept = [line.removesuffix(": up to date") for line in done.stdout.splitlines() if line.endswith(": up to date")]
    return done.returncode, took_s, kept


def report(findings: list[Finding], options: argparse.Namespace) -> int:
    """Print the table; non-zero if anything is not as it should be."""
    shown = table("bad input, interruptions, repetitions", "case", "exit", "what is said", "verdict")
    for column in shown.columns[1:]:
        column.justify, column.overflow = "left", "fold"
    for finding in findings:
        faults = "; ".join(finding.faults)
        shown.add_row(finding.case, finding.exit, finding.said, faults or "holds", end_section=True)
    console.print(shown)
    wrong = [finding.case for finding in findings if finding.faults]
    console.print(f"n = {len(findings)} cases, seed {options.seed}; not as they should be: {len(wrong)}")
    for case in wrong:
        console.print(f"  {case}")
    return verdict(not wrong, "bad input is refused in one line, nothing is overwritten, interrupted work goes on")


if __name__ == "__main__":
    sys.exit(main())
