"""A format that breaks a law of its contract is caught, by that law."""

from __future__ import annotations

import json

import numpy as np
import pytest

from workbench.config import options_of
from workbench.errors import ContractError, StoreError
from workbench.formats import format_named
from workbench.testing import check_format
from workbench.testing.format import LAWS
from workbench.types import Episode


@pytest.mark.parametrize("name", options_of("format"))
def test_every_format_keeps_the_contract(name):
    if name.endswith("_video"):
        pytest.importorskip("av")
    assert check_format(format_named(name)) == tuple(law.__name__ for law in LAWS)


class Lines:
    """A correct format to break: a line of JSON an episode, which can be read back."""

    name, about, loses, calls = "lines", "a line of JSON an episode", ("images", "calls"), False

    def write(self, episodes, folder, header):
        folder.mkdir()
        written = 0
        with (folder / "episodes").open("w") as file:
            for episode in episodes:
                file.write(json.dumps(self.line(episode, header)) + "\n")
                written += 1
        if not written:
            raise StoreError("there is no episode to write")

    def line(self, episode, header):
        kept = {key: values.tolist() for key, values in episode.steps.items() if key.startswith(("obs/", "action"))}
        return {"task": header.task, "record": episode.record, "steps": kept}

    def read(self, folder):
        for line in (folder / "episodes").read_text().splitlines():
            found = json.loads(line)
            steps = {key: np.array(values) for key, values in found["steps"].items()}
            yield Episode(found["record"], steps, {}, np.zeros((0, 0)))


def test_the_correct_one_passes():
    check_format(Lines())


def hoarding(self, episodes, folder, header):
    Lines.write(self, list(episodes), folder, header)


def impatient(self, episodes, folder, header):
    Lines.write(self, [next(iter(episodes))], folder, header)


def littering(self, episodes, folder, header):
    Lines.write(self, episodes, folder, header)
    (folder.parent / "log").write_text("done")


def scribbling(self, episode, header):
    line = Lines.line(self, episode, header)
    episode.steps["action"][:] = 0.0
    return line


def careless(self, episodes, folder, header):
    folder.mkdir()
    (folder / "episodes").write_text("".join(json.dumps(self.line(each, header)) + "\n" for each in episodes))


def stacking(self, episodes, folder, header):
    folder.mkdir()
    first = None
    for episode in episodes:
        first = episode.steps["action"][:1] if first is None else first + episode.steps["action"][:1]
    if first is None:
        raise StoreError("there is no episode to write")
    (folder / "sum").write_text(str(first))


def rounded(self, episode, header):
    line = Lines.line(self, episode, header)
    return line | {"steps": {key: np.round(values, 1).tolist() for key, values in line["steps"].items()}}


BROKEN = {
    "name='' must be a line": {"name": ""},
    "must be a line": {"about": "two\nlines"},
    "must be a tuple of what does not fit": {"loses": "images"},
    "cannot be read back; what does it leave out": {"loses": (), "read": property(lambda self: self.nothing)},
    "calls must be True or False": {"calls": None},
    "write raises KeyError": {"line": lambda self, episode, header: episode.record["nothing"]},
    "writes no file below": {"write": lambda self, episodes, folder, header: None},
    "writes beside its folder": {"write": littering},
    r"takes 1 of 6 episodes": {"write": impatient},
    r"holds 6 of 6 episodes at a time": {"write": hoarding},
    "writing changes episode": {"line": scribbling},
    "a data set without an episode is not refused": {"write": careless},
    "a second episode with other actions raises ValueError": {"write": stacking, "read": property()},
    "read raises": {"read": lambda self, folder: (folder / "nothing").read_text()},
    r"of 6 episodes 0 are read back": {"read": lambda self, folder: []},
    r"\['action', 'obs/hand', 'obs/thing'\] of episode .* otherwise": {"line": rounded},
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_format_is_caught(message):
    with pytest.raises(ContractError, match=message):
        check_format(type("Broken", (Lines,), BROKEN[message])())
