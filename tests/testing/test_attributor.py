"""An attributor that breaks a law of its contract is caught, by that law."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

from workbench.config import build
from workbench.errors import ContractError
from workbench.testing import check_attributor
from workbench.testing.attributor import LAWS
from workbench.types.attribution import Attribution

ATTRIBUTORS = sorted((Path(__file__).parents[2] / "conf" / "attributor").glob("*.yaml"))
SERVED = ("language_model",)


@pytest.mark.parametrize("path", [path for path in ATTRIBUTORS if path.stem not in SERVED], ids=lambda path: path.stem)
def test_every_attributor_keeps_the_contract(path):
    attributor = build(yaml.safe_load(path.read_text())[path.stem])
    assert set(check_attributor(attributor)) > {law.__name__ for law in LAWS}


class Largest:
    """A correct attributor to break: where the asked action is largest."""

    needs = frozenset()

    def attribute(self, case):
        size = np.linalg.norm(case.log.actions, axis=1)
        return Attribution(tuple(int(step) for step in np.argsort(-size)[:3]), 0.5)


class Undeclared(Largest):
    needs = "twin"


class Unknown(Largest):
    needs = frozenset({"labels"})


class Beyond(Largest):
    def attribute(self, case):
        return Attribution((case.log.length,))


class Numpy(Largest):
    def attribute(self, case):
        return Attribution((np.int64(3),))


class Twice(Largest):
    def attribute(self, case):
        return Attribution((3, 3))


class Sure(Largest):
    def attribute(self, case):
        return Attribution((3,), 1.5)


class Bare(Largest):
    def attribute(self, case):
        return 3


class Drawing(Largest):
    def attribute(self, case):
        return Attribution((int(np.random.default_rng().integers(case.log.length)),))


class Counting(Largest):
    def __init__(self):
        self.count = 0

    def attribute(self, case):
        self.count += 1
        return Attribution((self.count,))


class Changing(Largest):
    def attribute(self, case):
        case.log.actions[0] = 0.0
        return Attribution((0,))


class Forcing(Largest):
    """Gets past the lock."""

    def attribute(self, case):
        case.log.actions.flags.writeable = True
        case.log.actions[0] += 1.0
        return Attribution((0,))


class Reading(Largest):
    """Reads monitors and does not say so."""

    def attribute(self, case):
        return Attribution((1,) if case.log.monitors else (2,))


class Embedded(Largest):
    def attribute(self, case):
        return Attribution((1,) if case.log.calls.embedding is not None else (2,))


def test_the_correct_one_is_correct():
    assert len(check_attributor(Largest())) == len(LAWS) + 1


@pytest.mark.parametrize(("broken", "said"), [
    (Undeclared, "its needs are"), (Unknown, "its needs are"), (Beyond, "names step 60 of an episode of 60"),
    (Numpy, "whole numbers"), (Twice, "a step twice"), (Sure, "confidence"), (Bare, "no Attribution"),
    (Drawing, "another answer"), (Counting, "another answer"), (Changing, "read-only"), (Forcing, "changes the case"),
    (Reading, "more than it declares"), (Embedded, "more than it declares"),
])  # fmt: skip
def test_a_broken_law_is_named(broken, said):
    with pytest.raises(ContractError, match=said):
        check_attributor(broken())


def test_one_that_asks_a_language_model_need_not_answer_alike():
    check_attributor(Drawing(), deterministic=False)


def test_a_fit_that_is_not_given_its_lessons_is_named():
    @dataclasses.dataclass
    class Unfit(Largest):
        def fit(self, lessons):
            pass

    with pytest.raises(ContractError, match="fit raises TypeError"):
        check_attributor(Unfit())
