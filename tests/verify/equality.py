"""Is the compiled controller robosuite's?  100 random actions on five tasks, side by side with the installed robosuite.

Largest differences of any joint position, per task and seed, for the same 100 actions:

- ``as it is``: ours against robosuite as it is, whose first physics step uses a mass matrix from before its reset;
- ``updated``: its controller updated before the first action;
- ``itself``: robosuite against itself, started with one arm joint off by 1e-14 rad;
- ``a step``: as updated, but ours begin every control step at robosuite's state;
- ``quarter``: as updated, with actions of a quarter of the range, which bring the hand against nothing.

Actions of the full range throw the arm against its own pedestal and the fingers against each other, where a last bit
grows to 1e-6 within one control step; so what can be claimed of them is bounded by ``itself``.

Claims: ``quarter`` is at most 1e-12 on every task and seed; and ``updated`` is at most 1e-12 wherever ``itself`` is.

Run: make verify WHAT=equality
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from tests.beside import Beside, tasks_of_robosuite
from tests.verify.claims import table, verdict
from workbench.execution.progress import console

SAME = 1e-12
COLUMNS = ("as it is", "updated", "itself", "a step", "quarter")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    found = {task.name: measure(Beside(task), options.seeds) for task in tasks_of_robosuite()}
    shown = table(f"largest |dqpos| over 100 random actions, {options.seeds} seeds each", "task", "", *COLUMNS)
    for name, rows in found.items():
        for which, values in (("median", np.median(rows, axis=0)), ("largest", np.max(rows, axis=0))):
            shown.add_row(name, which, *(f"{value:.1e}" for value in values))
    console.print(shown)
    rows = np.concatenate(list(found.values()))
    calm = rows[rows[:, 2] <= SAME]
    results = [
        verdict(bool(np.all(rows[:, 4] <= SAME)), f"a quarter of the range: at most {SAME:g} on all {len(rows)} runs"),
        verdict(
            len(calm) > 0 and bool(np.all(calm[:, 1] <= SAME)),
            f"the full range: at most {SAME:g} on the {len(calm)} of {len(rows)} runs on which robosuite stays as near "
            "to itself",
        ),
    ]
    return max(results)


def measure(beside: Beside, seeds: int) -> np.ndarray:
    """One row a seed, in the order of the columns."""
    return np.array(
        [
            (
                beside.largest_difference(seed, updated=False),
                beside.largest_difference(seed),
                beside.own_sensitivity(seed),
                beside.largest_difference_of_a_step(seed),
                beside.largest_difference(seed, size=0.25),
            )
            for seed in range(seeds)
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
