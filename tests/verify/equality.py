"""Is the compiled controller robosuite's?  100 random actions on Lift, side by side with the installed robosuite.

Three largest differences of any joint position, per seed: ours against robosuite as it is; ours against robosuite with
its controller updated before the first action, since that otherwise uses a mass matrix from before the reset had
ended; and robosuite against itself, started with one arm joint off by 1e-14 rad.  The last one tells how far the
physics alone carries a rounding: MuJoCo finds contacts of meshes to a tolerance of 1e-6, so where one appears, bodies
that differ by a last bit may part by that much.

Claim: with the update, the difference is at most 1e-12 on every seed on which robosuite stays within 1e-12 of itself.

Run: make verify WHAT=equality
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.envs.test_stepper import largest_difference, trajectory
from tests.verify.claims import table, verdict
from workbench.envs.robosuite_model import make_environment
from workbench.envs.tasks.lift import Lift
from workbench.progress import console

NUDGE_RAD = 1e-14
SAME = 1e-12


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    environment, scene = make_environment("Lift", "Panda", 20), Lift().scene()
    rows = []
    for seed in range(options.seeds):
        itself = trajectory(environment, scene, seed, 0.0) - trajectory(environment, scene, seed, NUDGE_RAD)
        rows.append(
            (
                largest_difference(environment, scene, seed, fresh=False),
                largest_difference(environment, scene, seed, fresh=True),
                float(np.abs(itself).max()),
            )
        )
    shown = table(
        "largest |dqpos| after 100 random actions", "seed", "as it is", "updated first", "robosuite against itself"
    )
    for seed, row in enumerate(rows):
        shown.add_row(str(seed), *(f"{value:.1e}" for value in row))
    for name, values in (("median", np.median(rows, axis=0)), ("largest", np.max(rows, axis=0))):
        shown.add_row(name, *(f"{value:.1e}" for value in values))
    console.print(shown)
    calm = [updated for _, updated, itself in rows if itself <= SAME]
    claim = f"at most {SAME:g} on the {len(calm)} of {len(rows)} seeds on which robosuite stays that near to itself"
    return verdict(bool(calm) and max(calm) <= SAME, claim)


if __name__ == "__main__":
    sys.exit(main())
