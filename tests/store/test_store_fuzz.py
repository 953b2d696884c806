"""A few hundred mutated stores: each is read, or refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.fuzzing import stores
from tests.fuzzing.runner import random_of
from workbench.errors import WorkbenchError

ATTEMPTS = 300


def test_mutated_stores_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    prepared, place, refused = stores.prepare(tmp_path), tmp_path / "attempt", 0
    for number in range(ATTEMPTS):
        place.mkdir()
        try:
            stores.attempt(prepared, random_of("stores", 0, number), place)
        except WorkbenchError as error:
            assert "\n" not in str(error), number
            refused += 1
        shutil.rmtree(place)
    assert ATTEMPTS / 3 < refused < ATTEMPTS
