"""The zoo's policy of lift, which several tests roll, and who rolls it."""

from __future__ import annotations

import pytest

import workbench as wb
from workbench.execution.processes import Processes
from workbench.types import Policy, Task

ALONE = Processes(workers=1, scenes=8)


@pytest.fixture(scope="module")
def task() -> Task:
    return wb.task("lift")


@pytest.fixture(scope="module")
def policy(task: Task) -> Policy:
    return wb.policy("zoo/lift_flow", task)
