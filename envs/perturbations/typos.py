"""The instruction is misspelt."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int
from workbench.envs.faults.language import InstructionEffect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Record, Stream, Task
from workbench.types.abilities import of_episode
from workbench.types.reading import TEXT, typed


class Typos(Specification):
    """Misspelt instructions: letters left out, or swapped with their neighbour (Belinkov and Bisk, ICLR 2018).

    Parameters
    ----------
    typo_count : how many times a letter is left out or swapped with the next; where does not depend on how often.
    schedule : see :class:`Specification`.
    """

    channel = "language"
    effect = InstructionEffect
    magnitude = Magnitude("typo_count", 1, 20, whole=True)
    drawn = typed(text=TEXT)
    seen_as = ("stall", "timeout")

    def __init__(self, typo_count: int | Sequence[int], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.typo_count = self.magnitude.steps(typo_count)

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add the misspelt instruction."""
        record = super().draw(stream, task)
        rng = stream.child("perturbation", self.name, "text").at()
        return record | {"text": misspelt(of_episode(task, stream).instruction, record["typo_count"], rng)}

    def parameters(self, rng: np.random.Generator) -> Record:
        """How many typos."""
        return {"typo_count": uniform_int(rng, self.typo_count)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """The misspelt instruction, in quotation marks."""
        return f'{record["typo_count"]} typos: the robot is told "{record["text"]}"'


def misspelt(text: str, typo_count: int, rng: np.random.Generator) -> str:
    """Another text, in which so often, or until single letters are left, one is left out or swapped with the next."""
    letters = list(text)
    for _ in range(typo_count):
        pairs = list(itertools.pairwise(letters))
        places = [at for at, (here, after) in enumerate(pairs) if (here + after).isalpha() and here != after]
        if not places:
            break
        at, swapped = places[int(len(places) * rng.random())], rng.random() < 0.5
        letters[at : at + 2] = [letters[at + 1], letters[at]] if swapped else [letters[at + 1]]
    return "".join(letters) if "".join(letters) != text else misspelt(text, typo_count, rng)
