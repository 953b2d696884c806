"""What is replaced stays until its successor is whole, whatever ends the process and when."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import HANG_S
from workbench.config import files
from workbench.config.files import UNFINISHED, replacing, write_text

EVERY_MOMENT = """
import os, signal, sys
from pathlib import Path
from tests.ended import count_events
from workbench.config import files

place, kind, swap = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
if swap == "by renames":
    files._exchanged = lambda one, other: False

def build(word):
    with files.replacing(place) as new:
        if kind == "file":
            new.write_text(word)
        else:
            new.mkdir()
            for name in "ab":
                (new / name).write_text(word)

def found():
    try:
        return [place.read_text()] if kind == "file" else [(place / name).read_text() for name in "ab"]
    except FileNotFoundError:
        return []

build("old")
for last in range(1, 100):
    child = os.fork()
    if not child:
        os.setsid()
        count_events(str(place.parent), last)
        build("new")
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    words = set(found())
    if swap == "at once" or kind == "file":
        assert words in ({"old"}, {"new"}), (last, words)
    build("old")
    assert set(found()) == {"old"}
    assert [path.name for path in place.parent.iterdir()] == [place.name], list(place.parent.iterdir())
    if ended == 0:
        break
assert last > 3, last
print("killed before each of", last - 1, "changes")
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("swap", ["at once", "by renames"])
def test_killed_before_any_change_it_holds_the_old_or_the_new(tmp_path: Path, kind: str, swap: str) -> None:
    (tmp_path / "x").mkdir()
    words = [sys.executable, "-c", EVERY_MOMENT, str(tmp_path / "x" / "place"), kind, swap]
    done = subprocess.run(words, capture_output=True, text=True, timeout=HANG_S, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    assert "killed before each of" in done.stdout


def test_after_an_error_the_old_is_there_and_nothing_beside_it(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "a").write_text("old")
    for error in (ArithmeticError, KeyboardInterrupt, OSError):
        with pytest.raises(error), replacing(place) as new:  # noqa: PT012 (the block is what is tried)
            new.mkdir()
            (new / "a").write_text("half")
            raise error
    assert (place / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


def test_what_the_system_refuses_is_said_of_the_place(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="place") as caught, replacing(tmp_path / "place") as new:  # noqa: PT012
        new.write_bytes(b"")
        raise OSError(27, "File too large")
    assert caught.value.filename == str(tmp_path / "place")


def test_what_a_process_at_work_is_building_stays(tmp_path: Path) -> None:
    ours = tmp_path / f".place.{files._HOST}.{os.getppid()}-0{UNFINISHED}"
    others = tmp_path / f".place.another-host.1-0{UNFINISHED}"
    gone = tmp_path / f".place.{files._HOST}.{2**22 + 1}-0{UNFINISHED}"
    for path in (ours, others, gone):
        path.write_text("half")
    write_text(tmp_path / "place", "whole")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "place", ours, others])


def test_two_of_one_process_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "place") as one, replacing(tmp_path / "place") as other:
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "place").read_text() == "one"
