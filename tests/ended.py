"""Commands that are ended from outside at any moment, and what then lies below their root.

Each command runs in a process that is forked from this one, in a group of its own, with everything heavy imported
already: so most of its time is its work, and a moment of it falls into writing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import re
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.limits import HANG_S

CLOCKS = frozenset(
    ("seconds", "wall_s", "cpu_s", "evaluation_s", "jobs", "fit_s", "milliseconds", "costs", "commands", "journal")
)
"""Keys of JSON files that say how long something took, or with which words it was asked for."""
LOGS = frozenset(("log.txt", "journal.jsonl", "journal.json"))
"""Files that tell what was done when, interrupted attempts included."""
WRITING = frozenset(("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"))
"""Audit events of the interpreter that change a folder, beside opening a file for writing."""
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
CAPABILITIES_3 = 0x20080522


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes
    ----------
    code : of its exit; negative for a signal.
    said : stdout and stderr.
    seconds : that it took.
    events : changes below its root that its own process made.
    """

    code: int
    said: str
    seconds: float
    events: int

    @property
    def line(self) -> str:
        """The line that the command itself says at its end; "" for none."""
        found = [line for line in self.said.splitlines() if line.startswith("workbench: ")]
        return found[-1] if found else ""


def run(
    words: Sequence[str],
    root: Path,
    *,
    at_event: int = 0,
    after_s: float | None = None,
    by: signal.Signals = signal.SIGKILL,
    most_bytes: int = 0,
    read_only: bool = False,
) -> Ended:
    """Run a command below a root to its end, or to where it is ended.

    Parameters
    ----------
    at_event : the change below the root before which its process group is killed; 0 for none.
    after_s, by : when a signal is sent to its group, and which; None for never.
    most_bytes : that a file may have, as on a full disk; 0 for as many as it wants.
    read_only : whether nothing below the root can be written.
    """
    notes, said = root.parent / f"{root.name}.events", root.parent / f"{root.name}.said"
    for file in (notes, said):
        file.unlink(missing_ok=True)
        file.touch(mode=0o666)
        file.chmod(0o666)
    if read_only:
        writable(root, False)
    began = time.monotonic()
    child = os.fork()
    if not child:
        _become(words, root, notes, said, at_event, most_bytes, read_only)
    while os.getpgid(child) != child:  # until it has a group of its own to be ended with
        time.sleep(0.001)
    code = None if after_s is None else _wait(child, after_s)
    if code is None:
        if after_s is not None:
            os.killpg(child, by)
        code = _wait(child, HANG_S)
    if code is None:
        os.killpg(child, signal.SIGKILL)
        raise TimeoutError(f"workbench {' '.join(words)} hangs: {said.read_text(errors='replace')[-500:]}")
    seconds = time.monotonic() - began
    _bury(child)
    if read_only:
        writable(root, True)
    return Ended(code, said.read_text(errors="replace"), seconds, len(notes.read_bytes()))


def _become(
    words: Sequence[str], root: Path, notes: Path, said: Path, at_event: int, most_bytes: int, read_only: bool
) -> None:
    """Be the command, in a forked process; does not return."""
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        out, events = os.open(said, os.O_WRONLY | os.O_APPEND), os.open(notes, os.O_WRONLY | os.O_APPEND)
        for number in (1, 2):
            os.dup2(out, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(root)
        os.environ["WORKBENCH_ROOT"] = str(root)
        if most_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        if read_only:
            _give_up_overriding()
        count_events(str(root), at_event, 0 if most_bytes else events)
        from workbench.cli import main

        sys.argv = ["workbench", *words]
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # it has ended: a late Ctrl-C must not bring it back into the caller
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if not most_bytes and not at_event:
            (root.parent / "modules").write_text("\n".join(sys.modules))
        os._exit(code)


def _give_up_overriding() -> None:
    """Let permissions hold for root as for everybody else (capset of Linux)."""
    import ctypes

    header, data = (ctypes.c_uint32 * 2)(CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, data) or os.getuid() != 0:
        return
    data[0] &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


def writable(root: Path, yes: bool) -> None:
    """Give or take the permission to write anything below a root."""
    for path in (root, *root.rglob("*")):
        path.chmod((0o755 if yes else 0o555) if path.is_dir() else (0o644 if yes else 0o444))


def count_events(root: str, last: int, notes: int = 0) -> None:
    """Kill the group of this process before a change below a root, and note each in a file that is open."""
    number = 0

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal number
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        elif event in WRITING:
            path, changes = arguments[0], True
        else:
            return
        if changes and isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(root):
            number += 1
            if number == last:
                os.killpg(0, signal.SIGKILL)
            if notes:
                os.write(notes, b".")

    sys.addaudithook(heard)


def _wait(child: int, seconds: float) -> int | None:
    """Exit code of a child, or None if it still runs after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.005)


def _bury(child: int) -> None:
    """Wait until no worker of a group is left."""
    end = time.monotonic() + HANG_S
    while time.monotonic() < end:
        try:
            os.killpg(child, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.02)


def import_what_was(folder: Path) -> None:
    """Import the modules that a command imported, as it noted them in a folder, so that the next ones need not."""
    for name in (folder / "modules").read_text().split():
        if not name.startswith(("workbench.conf", "__", "tests.", "_")):
            try:
                importlib.import_module(name)
            except BaseException:  # parts of libraries that import each other in one order alone
                continue


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a forked process, as plain data: so that this one starts no threads."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = json.dumps([function(*arguments), None])
        except BaseException:
            said = json.dumps([None, traceback.format_exc()])
        with os.fdopen(writer, "w") as pipe:
            pipe.write(said)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        select.select([pipe], [], [], HANG_S)
        found, failure = json.loads(pipe.read())
    os.waitpid(child, 0)
    if failure:
        raise RuntimeError(failure)
    return found


# What lies below a root


def contents(root: Path) -> dict[str, Any]:
    """What was made below a root, part by part, without clocks; ``damaged: ...`` for what cannot be read."""
    found: dict[str, Any] = {}
    taken: list[Path] = []
    for path in sorted(root.rglob("*")):
        if (
            path.name in LOGS
            or any(path.is_relative_to(above) for above in taken)
            or (path.is_dir() and not (kind := folder_kind(path)))
        ):
            continue
        if path.is_dir():
            taken.append(path)
        else:
            kind = file_kind(path)
        try:
            found[str(path.relative_to(root))] = kind(path)
        except Exception as error:
            found[str(path.relative_to(root))] = f"damaged: {error!r}"
    return found


def folder_kind(path: Path) -> Callable[[Path], Any] | None:
    """How a folder is read whose files belong together; None where each stands for itself."""
    if path.suffix == ".zarr":
        return store_contents
    if (path / "policy.json").exists() or path.name in ("policy", "head"):
        return checkpoint_contents
    if path.name == "monitors":
        return monitors_contents
    return folder_contents if path.parent.name == "exports" else None


def file_kind(path: Path) -> Callable[[Path], Any]:
    """How a file is read."""
    if path.suffix == ".json":
        return json_contents
    if path.suffix == ".rrd":
        return recording_contents
    if path.parent.suffix == ".curves":
        return tensor_contents
    return page_contents if path.suffix in (".html", ".md", ".tex", ".csv") else file_contents


def store_contents(path: Path) -> dict[str, str]:
    """Uid -> content and labels; files that no reader looks at are told as such."""
    from workbench.store import Store

    store = Store.open(path)
    rows = {name: values.tolist() for name, values in store.episodes.items()}
    made = {}
    for number, uid in enumerate(store.uids):
        episode = store.episode(number)
        arrays = {**episode.steps, **{key: rows for key, rows in episode.calls.items() if key != "seconds"}}
        hashed = hashlib.sha256(json.dumps({name: values[number] for name, values in rows.items()}).encode())
        for name, values in sorted({**arrays, "memory": episode.memory}.items()):
            hashed.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
        made[uid] = hashed.hexdigest()[:16]
    for left in path.rglob("*.partial"):
        made[f"left behind: {left.relative_to(path)}"] = ""
    return made


def checkpoint_contents(folder: Path) -> list[Any]:
    """Digest of the weights that a record names, and names of other files."""
    record = json.loads((folder / "policy.json").read_text())
    data = (folder / record["weights"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == record["sha256"], "these are not the weights that were written"
    others = {file.name for file in folder.iterdir()} - {"policy.json", record["weights"]}
    return [record["sha256"][:16] + _digest(without_clocks(record)), sorted(others - {"card.md"})]


def monitors_contents(folder: Path) -> list[Any]:
    """Digest of monitors and of the tensors that they name, and names of other files."""
    from safetensors.numpy import load

    record = json.loads((folder / "monitors.json").read_text())
    data = (folder / record["tensors"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == record["sha256"]
    others = {file.name for file in folder.iterdir()} - {"monitors.json", record["tensors"]}
    return [f"{_digest(record)} {len(load(data))}", sorted(others)]


def folder_contents(folder: Path) -> dict[str, str]:
    """Path -> digest of every file."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file_contents(file) for file in files}


def json_contents(path: Path) -> Any:
    return without_clocks(json.loads(path.read_text()))


def without_clocks(value: Any) -> Any:
    """Plain data without what says how long something took."""
    if isinstance(value, Mapping):
        return {key: without_clocks(part) for key, part in value.items() if key not in CLOCKS}
    return [without_clocks(part) for part in value] if isinstance(value, list) else value


def recording_contents(path: Path) -> Any:
    """Entities of a recording, and its size in steps of 4 kB: ids and times differ from one to the next."""
    from workbench.viewing.session import entities_of

    return [*entities_of(path), path.stat().st_size // 4096]


def tensor_contents(path: Path) -> str:
    from safetensors.numpy import load

    tensors = load(path.read_bytes())
    return _digest({name: [str(values.dtype), values.tolist()] for name, values in tensors.items()})


def page_contents(path: Path) -> str:
    """A page without its numbers, of which some are times; all of them stand in JSON, too."""
    text = path.read_text()
    assert text.strip(), "it is empty"
    return hashlib.sha256(re.sub(r"[\d.,]+", "#", text).encode()).hexdigest()[:16]


def file_contents(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def lost(before: Mapping[str, Any], now: Mapping[str, Any], whole: Mapping[str, Any]) -> list[str]:
    """What was there before a command and is gone or damaged after it was ended, unless ``whole`` has it replaced.

    Of stores, every episode that was there; of everything else, all of the old or all of what is to come.
    """
    gone = []
    for place, old in before.items():
        new, end = now.get(place), whole.get(place)
        if place.endswith(".json") and "/exports/" not in place:
            if not isinstance(new, (dict, list)):
                gone.append(f"{place}: {str(new)[:80]}")
        elif place.endswith(".zarr") and isinstance(old, dict):
            known = new if isinstance(new, dict) else {}
            missing = [uid for uid in old if known.get(uid) not in (old[uid], (end or {}).get(uid, old[uid]))]
            gone += [f"{place}: {len(missing)} of {len(old)} episodes"] if missing else []
        elif isinstance(old, list) and isinstance(new, list) and new[0] in (old[0], end and end[0]):
            continue  # beside what is whole, something that is not
        elif new not in (old, end):
            gone.append(f"{place}: {str(new)[:80]}")
    return gone


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Places at which two roots differ."""
    found = []
    for place in sorted({*one, *other}):
        ours, theirs = one.get(place, "missing"), other.get(place, "missing")
        if ours == theirs:
            continue
        if isinstance(ours, dict) and isinstance(theirs, dict):
            keys = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
            found.append(f"{place}: {', '.join(keys[:4])}")
        else:
            found.append(f"{place}: {str(ours)[:80]} instead of {str(theirs)[:80]}")
    return found
