"""Is our control step robosuite's?  The same state, the same random actions, the largest difference of any joint.

From each seed the installed robosuite's own ``env.step`` is run three times, ours once beside each of the first two:

a. as it is: its controller enters the first physics step with a mass matrix, Jacobian and bias from before its reset
   had finished;
b. with its controller updated before that step, as it is before every later one;
c. like b, but with the first arm joint nudged by 1e-14 rad, compared with b: robosuite against itself.

c shows what the physics makes of a last bit: MuJoCo finds contacts of convex meshes iteratively, to 1e-6, so that where
such contacts appear a difference of rounding may jump by many orders of magnitude.  The claim is that b stays within
1e-12, except from where on c jumps as well.

Run: make verify WHAT=equality
"""

from __future__ import annotations

import sys
from typing import Any

import mujoco
import numpy as np
from claims import parser, table, verdict

from workbench.envs import stepper
from workbench.envs.robosuite_model import make_environment
from workbench.envs.scene import MujocoScene
from workbench.envs.tasks.lift import Lift
from workbench.progress import console
from workbench.types import Array, Stream

TOLERANCE = 1e-12
NUDGE_RAD = 1e-14


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=10, help="from --seed on")
    options.add_argument("--steps", type=int, default=100)
    settings = options.parse_args()
    environment, scene = make_environment("Lift", "Panda", 20), Lift().scene()
    shown = table(
        "max |dqpos| (m, rad)", "seed", "a as it is", "b updated", "c nudged", "b > 1e-12 at step", "c > 1e-12"
    )
    rows: list[tuple[float, float, float]] = []
    holds = True
    for seed in range(settings.seed, settings.seed + settings.seeds):
        actions = draw_actions(seed, settings.steps)
        a = ours_and_theirs(environment, scene, seed, actions, updated=False)
        b = ours_and_theirs(environment, scene, seed, actions, updated=True)
        c = nudged(environment, seed, actions)
        first = [int(np.argmax(curve > TOLERANCE)) if (curve > TOLERANCE).any() else None for curve in (b, c)]
        holds &= first[0] is None or first[1] is not None
        rows.append((a.max(), b.max(), c.max()))
        shown.add_row(
            str(seed), *(f"{value:.1e}" for value in rows[-1]), *("-" if f is None else str(f) for f in first)
        )
    shown.add_section()
    for name, over in (("median", np.median), ("max", np.max)):
        shown.add_row(name, *(f"{value:.1e}" for value in over(rows, axis=0)), "", "")
    console.print(shown)
    last = settings.seed + settings.seeds - 1
    console.print(f"n = {settings.seeds} seeds ({settings.seed}..{last}), {settings.steps} random actions each")
    return verdict(holds, f"equal to robosuite within {TOLERANCE:g} where robosuite is equal to itself nudged")


def draw_actions(seed: int, steps: int) -> Array:
    """Uniform actions (steps, 7); every third leaves the gripper alone, which then keeps its command."""
    actions = np.random.default_rng(seed).uniform(-1, 1, (steps, 7))
    actions[::3, 6] = 0.0
    return actions


def reset(environment: Any, seed: int) -> None:
    """Reset robosuite, which draws from numpy's global generator."""
    np.random.seed(seed)  # noqa: NPY002
    environment.reset()


def update_controller(environment: Any) -> None:
    environment.robots[0].part_controllers["right"].update(force=True)


def ours_and_theirs(environment: Any, scene: MujocoScene, seed: int, actions: Array, updated: bool) -> Array:
    """Largest difference of any joint after each action, (steps,)."""
    reset(environment, seed)
    if updated:
        update_controller(environment)
    take_up(environment, scene)
    found = []
    for action in actions:
        environment.step(action)
        scene.step(action)
        found.append(np.abs(environment.sim.data.qpos - scene.data.qpos).max())
    return np.array(found)


def take_up(environment: Any, scene: MujocoScene) -> None:
    """Bring our scene to robosuite's model and state."""
    scene.begin(Stream(0, 0))
    stepper.copy_model(scene.model, scene.task.cell.compiled())
    scene.task.resize(scene.model, environment.sim.model._model.geom("cube_g0").size)
    mujoco.mj_setConst(scene.model, scene.data)
    for name in ("qpos", "qvel", "qacc_warmstart", "ctrl"):
        getattr(scene.data, name)[:] = getattr(environment.sim.data._data, name)
    scene._stepper.reset()


def nudged(environment: Any, seed: int, actions: Array) -> Array:
    """The same for robosuite against itself, with one joint nudged at the start."""
    paths = []
    for nudge_rad in (0.0, NUDGE_RAD):
        reset(environment, seed)
        environment.sim.data.qpos[0] += nudge_rad
        environment.sim.forward()
        update_controller(environment)
        path = []
        for action in actions:
            environment.step(action)
            path.append(environment.sim.data.qpos.copy())
        paths.append(np.array(path))
    return np.abs(paths[1] - paths[0]).max(axis=1)


if __name__ == "__main__":
    sys.exit(main())
