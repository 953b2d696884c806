"""The runner of fuzzers notices every kind of fault, says which attempt it was, and goes on behind it."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from tests.fuzzing.mutations import damaged, encoded, mutated
from tests.fuzzing.runner import FAULTS, random_of, run, subjects
from tests.fuzzing.selftest.misbehaving import KINDS, which

BAD = "tests.fuzzing.selftest.misbehaving"
ATTEMPTS, SEED = 100, 55


@pytest.fixture(scope="module")
def tally():
    return run([BAD], ATTEMPTS, seed=SEED, hang_s=6)[BAD]


@pytest.fixture(scope="module")
def done():
    return [which(random_of(BAD, SEED, number)) for number in range(ATTEMPTS)]


def test_every_kind_is_tried(done):
    assert set(done) == set(KINDS)


def test_each_attempt_is_made_once_and_counted_as_what_it_does(tally, done):
    wanted = collections.Counter(name.partition(":")[0] for name in done)
    assert tally.attempts == ATTEMPTS
    assert {kind: tally.faults[kind] for kind in FAULTS} == {kind: wanted[kind] for kind in FAULTS}


def test_attempts_that_end_well_are_counted(tally, done):
    # A write elsewhere that nobody stops returns, and so does code that runs: they are faults beside that.
    assert tally.returned + tally.refused <= ATTEMPTS
    assert tally.returned >= sum(name.startswith("returned") for name in done)
    assert tally.refused >= sum(name.startswith("refused") for name in done)


def test_a_fault_is_shown_with_what_repeats_it(tally, done):
    assert len(tally.shown) == 5
    for line in tally.shown:
        name, number, kind = [*line.split(": ")[0].split(), line.split(": ")[1]]
        assert name == BAD
        assert done[int(number)].startswith(kind)


def test_the_same_seed_gives_the_same_inputs():
    value = {"a": [1, 2.5, {"b": "text"}], "c": None}
    once, again = ([encoded(random, mutated(random, value)) for random in _randoms()] for _ in range(2))
    assert once == again
    assert len(set(once)) > 150


def test_some_inputs_are_left_as_they_are():
    value = {"a": 1, "b": [2, 3]}
    kept = sum(mutated(random, value) == value for random in _randoms(2000))
    assert 50 < kept < 400


def test_damage_changes_bytes():
    content = bytes(range(256))
    assert sum(damaged(random, content) == content for random in _randoms()) < 5


def test_subjects_are_modules_that_make_attempts():
    assert "mutations" not in subjects()
    assert "runner" not in subjects()
    assert "selftest" not in " ".join(subjects())


def _randoms(count=200):
    return [np.random.default_rng([7, number]) for number in range(count)]
