"""Each fuzzer in small: mutated inputs are read or refused in one line; ``make verify WHAT=fuzz`` makes 10^5."""

from __future__ import annotations

import importlib

import pytest

from tests.fuzzing.runner import random_of
from workbench.errors import WorkbenchError

ATTEMPTS = {"records": 300, "checkpoints": 150, "monitors": 150, "caches": 200, "recipes": 100, "tables": 200}
SEED = 11


@pytest.mark.parametrize("subject", ATTEMPTS)
def test_mutated_inputs_are_read_or_refused(subject, tmp_path):
    module = importlib.import_module(f"tests.fuzzing.{subject}")
    (inputs := tmp_path / "inputs").mkdir()
    prepared, ends, said = module.prepare(inputs), {"returned": 0, "refused": 0}, []
    for number in range(ATTEMPTS[subject]):
        (folder := tmp_path / str(number)).mkdir()
        try:
            module.attempt(prepared, random_of(subject, SEED, number), folder)
            ends["returned"] += 1
        except WorkbenchError as error:
            said.append(str(error))
            ends["refused"] += 1
    assert [words[:100] for words in said if len(words) > 2000 or not words.isprintable()] == []
    assert min(ends.values()) > 0.03 * ATTEMPTS[subject], ends
