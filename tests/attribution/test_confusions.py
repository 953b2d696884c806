"""A policy that hears only part of what it is told is found out, and pairs are verified by other episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from tests.synthetic import HEADER, episode
from tests.toy import ToyPolicy
from workbench.attribution.confusions import Pair, confused_instructions, suspects
from workbench.errors import ConfigError, StoreError
from workbench.store import Store, StoreWriter
from workbench.types import PolicyOutput, Stream
from workbench.types.abilities import goals_of, of_episode

COLOURS = ("red", "green", "blue")
TASK = wb.task("blocks")


@dataclasses.dataclass
class HearsColours(ToyPolicy):
    """Hears the first colour of an instruction and nothing else; its noise is a tenth of what colours differ by."""

    history: int = 1
    listens: bool = True

    def plan(self, observation, noise, samples=0, *, instructions: Sequence[str]) -> PolicyOutput:
        heard = [min(COLOURS, key=lambda colour: (told + colour).index(colour)) for told in instructions]
        base = np.array([COLOURS.index(colour) - 1 for colour in heard], float)
        drawn = np.stack([one.normal(size=(1 + samples, self.horizon, 7)) for one in noise])
        chunks = base[:, None, None, None] + 0.1 * drawn
        return PolicyOutput(chunks[:, 0], chunks[:, 1:] if samples else None)


def store_of(path: Path, fulfilled: dict[str, str], count: int = 40) -> Store:
    """Nominal test episodes in which, where a goal was asked for, another one is fulfilled, or that one."""
    with StoreWriter.open(path, dataclasses.replace(HEADER, task="blocks")) as writer:
        for number in range(count):
            made = episode("test", number)
            asked = asked_in(made.record["index"])
            for goal in goals_of(TASK):
                done = fulfilled.get(asked, asked) == goal
                made.steps[f"predicates/did_{goal}"] = np.full(len(made.steps["stage"]), float(done))
            writer.append(made)
    return Store.open(path)


def asked_in(index: int) -> str:
    return next(iter(goals_of(of_episode(TASK, Stream(0, index)))))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Pair]]:
    store = store_of(tmp_path_factory.mktemp("told") / "s.zarr", {"push_red_left": "lift_red"})
    return store, confused_instructions(store, TASK, HearsColours(), states=6)


def test_pairs_of_one_colour_are_suspected_and_no_others(found: tuple[Store, list[Pair]]) -> None:
    _, pairs = found
    assert len(pairs) == 21
    colour = {goal: next(each for each in COLOURS if each in told) for goal, told in goals_of(TASK).items()}
    colour["stack_red_on_green"] = "red"
    for pair in pairs:
        assert pair.suspected == (colour[pair.first] == colour[pair.second]), pair
        assert pair.alike == (6 if pair.suspected else 0)
        assert (pair.ratio < 0.01) == pair.suspected  # with the same noise they are the same chunk
    assert [pair.ratio for pair in pairs] == sorted(pair.ratio for pair in pairs)


def test_a_pair_is_verified_by_what_was_fulfilled(found: tuple[Store, list[Pair]]) -> None:
    store, pairs = found
    asked = [asked_in(int(index)) for index in store.episodes["index"]]
    swapped = next(pair for pair in pairs if {pair.first, pair.second} == {"push_red_left", "lift_red"})
    assert swapped.swapped == asked.count("push_red_left") > 0
    assert swapped.right == asked.count("lift_red")
    assert swapped.asked == swapped.right + swapped.swapped
    others = [pair for pair in pairs if pair is not swapped]
    assert all(pair.swapped == 0 for pair in others)
    suspected = sum(pair.suspected for pair in pairs)
    assert suspects(pairs) == {"pairs": 21, "suspected": suspected, "swapped": 1}
    assert swapped.record()["swapped_ci95"][1] <= 1


def test_bad_input_is_refused_in_one_line(found: tuple[Store, list[Pair]], tmp_path: Path) -> None:
    store, _ = found
    with pytest.raises(ConfigError, match="one instruction alone"):
        confused_instructions(store, wb.task("lift"), HearsColours())
    with pytest.raises(ConfigError, match="is told nothing"):
        confused_instructions(store, TASK, ToyPolicy())
    with pytest.raises(ConfigError, match="states=0"):
        confused_instructions(store, TASK, HearsColours(), states=0)
    with StoreWriter.open(tmp_path / "toy.zarr", HEADER) as writer:
        writer.append(episode("test", 0))
    with pytest.raises(StoreError, match="task toy, not blocks"):
        confused_instructions(Store.open(tmp_path / "toy.zarr"), TASK, HearsColours())
    with StoreWriter.open(tmp_path / "fit.zarr", dataclasses.replace(HEADER, task="blocks")) as writer:
        writer.append(episode("fit", 0))
    with pytest.raises(StoreError, match="no nominal test episode"):
        confused_instructions(Store.open(tmp_path / "fit.zarr"), TASK, HearsColours())
