"""A shield that breaks a law of its contract is caught, by that law."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from workbench.envs.tasks.lift import Lift
from workbench.errors import ContractError
from workbench.testing import check_shield
from workbench.testing.shield import LAWS
from workbench.types import Note, Passed

TASK = Lift()


class Slow:
    """A correct shield to break: halves every third action, and softens then."""

    reasons = ("third",)
    softens = True

    def begin(self):
        return {"steps": 0}

    def act(self, memory, moment):
        memory["steps"] += 1
        if memory["steps"] % 3:
            return Passed(moment.action)
        return Passed(moment.action * 0.5, 0.5, Note("third", False, 1.0, 0.5))


def test_the_correct_one_keeps_all_laws():
    assert check_shield(Slow(), TASK) == tuple(law.__name__ for law in LAWS)


class NoReasons(Slow):
    reasons = ()


class OneText(Slow):
    reasons = "third"


class Softens(Slow):
    softens = False


class Shared(Slow):
    memory = {"steps": 0}  # noqa: RUF012 (the very mistake)

    def begin(self):
        return self.memory


class Arrays(Slow):
    def begin(self):
        return {"steps": 0, "last": np.zeros(3)}


class Counts(Slow):
    """Remembers beside its memory."""

    def __init__(self):
        self.steps = itertools.count()

    def act(self, memory, moment):
        if next(self.steps) % 7:
            return Passed(moment.action)
        return Passed(moment.action * 0.5, note=Note("third", False, 1.0, 0.5))


class Draws(Slow):
    def act(self, memory, moment):
        memory["steps"] += 1
        return Passed(moment.action * np.random.default_rng().random(), note=Note("third", False, 1.0, 0.5))


class Tuples(Slow):
    """Its memory does not come back from a file as it was."""

    def begin(self):
        return {"steps": (0,)}

    def act(self, memory, moment):
        if isinstance(memory["steps"], tuple):
            return Passed(moment.action)
        return Passed(moment.action * 0.5, note=Note("third", False, 1.0, 0.5))


class Silent(Slow):
    def act(self, memory, moment):
        return dataclasses.replace(super().act(memory, moment), note=None)


class Lies(Slow):
    def act(self, memory, moment):
        return Passed(moment.action, note=Note("another", False, 1.0, 0.5))


class Infinite(Slow):
    def act(self, memory, moment):
        return Passed(moment.action, note=Note("third", False, np.inf, 0.5))


class Short(Slow):
    def act(self, memory, moment):
        return Passed(moment.action[:3], note=Note("third", False, 1.0, 0.5))


class Blank(Slow):
    def act(self, memory, moment):
        return Passed(moment.action * np.nan, note=Note("third", False, 1.0, 0.5))


class Fast(Slow):
    def act(self, memory, moment):
        return Passed(moment.action * 3, note=Note("third", False, 1.0, 0.5))


class Limp(Slow):
    def act(self, memory, moment):
        return Passed(moment.action, 0.0, Note("third", False, 1.0, 0.5))


class Writes(Slow):
    def act(self, memory, moment):
        asked = moment.action
        asked *= 0.5
        return Passed(asked, note=Note("third", False, 1.0, 0.5))


class Fails(Slow):
    def act(self, memory, moment):
        raise RuntimeError("no idea")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (NoReasons, r"reasons=\(\) must be a list"),
        (OneText, "reasons='third' must be a list"),
        (Softens, "it softens, and says softens=False"),
        (Shared, "returns the same dictionary twice"),
        (Arrays, "its memory is no plain data"),
        (Counts, "keeps something beside its memory"),
        (Draws, "or draws random numbers"),
        (Tuples, "from a stored memory it does something else"),
        (Silent, "changes the action and says nothing"),
        (Lies, "'another', which is none of its reasons"),
        (Infinite, "both must be finite"),
        (Short, r"of shape \(3,\) comes through, not \(7,\)"),
        (Blank, "not finite comes through"),
        (Fast, "beyond -1..1 comes through"),
        (Limp, "stiffness=0.0 must be above 0"),
        (Writes, "writes into the action that it is shown"),
        (Fails, r"act\(memory, moment\) at control step 0 raises RuntimeError: no idea"),
    ],
)
def test_a_broken_shield_is_caught(kind, message):
    with pytest.raises(ContractError, match=message):
        check_shield(kind(), TASK)
