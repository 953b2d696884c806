"""Whatever stands in a run's files, it is read or refused in a line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from tests.fuzzing import metrics
from workbench.errors import WorkbenchError

ATTEMPTS = 300


def test_mutated_files_of_a_run_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    prepared = metrics.prepare(tmp_path / "prepared")
    lines: list[str] = []
    for number in range(ATTEMPTS):
        folder = tmp_path / "attempt"
        try:
            metrics.attempt(prepared, np.random.default_rng((7, number)), folder)
        except WorkbenchError as error:
            lines.append(str(error))
        shutil.rmtree(folder)
    assert not [line for line in lines if "\n" in line or len(line) > 1500]
    assert 0.2 * ATTEMPTS < len(lines) < 0.95 * ATTEMPTS
