"""Random numbers of an episode, addressed by counter, and the split to which its index belongs."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Literal

import numpy as np

from workbench.errors import ConfigError

Split = Literal["train", "fit", "select", "calibrate", "test"]
SPLITS: tuple[Split, ...] = ("train", "fit", "select", "calibrate", "test")
MOST_SEED = 2**63 - 1
"""What a store's column of whole numbers holds."""
EPISODES_PER_SPLIT = 100_000
"""Episode indices come in blocks, one a split, so an episode and its nominal twin are always of the same split."""


def episode_index(split: Split, number: int) -> int:
    """Index of the ``number``-th episode of a split; the index decides every random draw of the episode."""
    if not 0 <= number < EPISODES_PER_SPLIT:
        raise ConfigError(f"episode number {number} of {split} must be in 0..{EPISODES_PER_SPLIT - 1}")
    return SPLITS.index(split) * EPISODES_PER_SPLIT + number


def split_of(index: int) -> Split:
    """Split to which an episode index belongs; the inverse of :func:`episode_index`."""
    return SPLITS[index // EPISODES_PER_SPLIT]


@dataclasses.dataclass(frozen=True)
class Stream:
    """A named stream of random numbers of one episode, addressed by counter instead of kept as a state.

    ``stream.child("action_noise").at(17)`` is a fresh generator that depends on the run's seed, the episode's index,
    the names and the counter alone.  Nothing has to be saved to restore it, adding a stream never changes another's
    draws, and neither workers, batch size nor order play a part.
    """

    seed: int
    episode: int
    path: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MOST_SEED:
            raise ConfigError(f"seed={self.seed} must be 0 or more, and at most {MOST_SEED}")

    def child(self, *names: str) -> Stream:
        """Stream with more names behind its path."""
        return dataclasses.replace(self, path=(*self.path, *names))

    def at(self, counter: int = 0) -> np.random.Generator:
        """Generator for one counter (a control step, a policy call)."""
        key = (*(zlib.crc32(name.encode()) for name in self.path), counter)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, self.episode], spawn_key=key)))
