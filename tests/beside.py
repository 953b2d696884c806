"""robosuite and ours side by side: the same state, the same actions, and how far apart they are.

Two things are made equal before the first action, since they are no part of what is compared: what robosuite drew for
the episode (sizes and places, in the model and in the state), and the objects that it only clears away, which ours
leave out: they fly where they touch nothing.  MuJoCo's solver stops at a tolerance that grows with the mean inertia
and the number of joints, so both models are given the same product of the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mujoco
import numpy as np
import yaml
from hydra.utils import instantiate

from workbench.envs.faults.props import PROPS
from workbench.envs.robots.robosuite import make_environment
from workbench.envs.tasks.shared.tabletop import Tabletop
from workbench.types import Array, Stream

SKY_M = 1000.0
"""Height of what robosuite has cleared away: it falls 125 m in 100 control steps."""
NAMES = ("lift", "stack", "pick_place_can", "nut_assembly_square", "door")
CONF = Path(__file__).parents[1] / "conf" / "task"
OF_BODY = ("body_pos", "body_quat", "body_ipos", "body_iquat", "body_mass", "body_inertia")
OF_GEOM = ("geom_pos", "geom_quat", "geom_size", "geom_rbound", "geom_aabb", "geom_friction")


def tasks_of_robosuite() -> list[Tabletop]:
    """Every task of conf/task whose scene is one of robosuite's."""
    nodes = (yaml.safe_load(path.read_text()) for path in sorted(CONF.glob("*.yaml")))
    tasks = [instantiate(node) for node in nodes]
    return [task for task in tasks if task.name in NAMES]


class Beside:
    """One of robosuite's environments and a scene of ours."""

    def __init__(self, task: Tabletop, arm_controller: str = "OSC_POSE") -> None:
        self.environment = make_environment(
            task.environment, task.robot.robosuite, int(task.control_hz), arm_controller
        )
        self.scene = task.scene()

    @property
    def theirs(self) -> mujoco.MjData:
        """robosuite's own data; it makes new ones at every reset."""
        return self.environment.sim.data._data

    def start(self, seed: int, updated: bool = True, nudge_rad: float = 0.0) -> None:
        """Reset robosuite and bring ours to the same state.

        ``updated`` first updates robosuite's controller, whose first physics step otherwise uses a mass matrix,
        Jacobian and bias from before the reset had finished.  ``nudge_rad`` moves its first arm joint.
        """
        np.random.seed(seed)  # noqa: NPY002 (robosuite draws from the global generator)
        self.environment.reset()
        self._clear_away()
        self.environment.sim.forward()
        if updated:
            self.environment.robots[0].part_controllers["right"].update(force=True)
        self.scene.begin(Stream(0, 0))
        self._take_model()
        self.synchronise()
        self.scene._controller.reset()
        self.scene._judge()
        self.theirs.joint(self.scene.task.robot.joints[0]).qpos += nudge_rad

    def synchronise(self) -> None:
        """Bring ours to robosuite's state, its gripper's command included."""
        ours, theirs = self.scene.data, self.theirs
        for name in self._joints():
            for values in ("qpos", "qvel", "qacc_warmstart"):
                getattr(ours.joint(name), values)[:] = getattr(theirs.joint(name), values)
        ours.ctrl[:] = theirs.ctrl
        self.scene._controller.memory[:] = self.environment.robots[0].gripper["right"].current_action
        mujoco.mj_fwdPosition(self.scene.model, ours)

    def step(self, action: Array) -> None:
        """One control step of both."""
        self.environment.step(action)
        self.scene.step(action)

    def positions(self) -> tuple[Array, Array]:
        """Joint positions of robosuite's and of ours, in the order of ours."""
        names = self._joints()
        both = (np.concatenate([data.joint(name).qpos for name in names]) for data in (self.theirs, self.scene.data))
        return next(both), next(both)

    def difference(self) -> float:
        """Largest difference of any joint position; radians, metres or parts of a quaternion."""
        theirs, ours = self.positions()
        return float(np.abs(theirs - ours).max())

    def largest_difference(self, seed: int, steps: int = 100, updated: bool = True, size: float = 1.0) -> float:
        """Largest difference over random actions from one start."""
        self.start(seed, updated)
        worst = 0.0
        for action in random_actions(seed, steps, self.scene.task.action_size, size):
            self.step(action)
            worst = max(worst, self.difference())
        return worst

    def largest_difference_of_a_step(self, seed: int, steps: int = 100, size: float = 1.0) -> float:
        """The same, but ours begin every control step at robosuite's state, so that no difference grows."""
        self.start(seed)
        worst = 0.0
        for action in random_actions(seed, steps, self.scene.task.action_size, size):
            self.synchronise()
            self.step(action)
            worst = max(worst, self.difference())
        return worst

    def own_sensitivity(self, seed: int, steps: int = 100, nudge_rad: float = 1e-14, size: float = 1.0) -> float:
        """How far robosuite parts from itself over the same actions, started with one arm joint off by a nudge."""
        paths = []
        for nudge in (0.0, nudge_rad):
            self.start(seed, nudge_rad=nudge)
            rows = []
            for action in random_actions(seed, steps, self.scene.task.action_size, size):
                self.environment.step(action)
                rows.append(self.positions()[0])
            paths.append(np.array(rows))
        return float(np.abs(paths[0] - paths[1]).max())

    def _joints(self) -> list[str]:
        return [self.scene.model.joint(joint).name for joint in range(self.scene.model.njnt)]

    def _clear_away(self) -> None:
        model, ours = self.environment.sim.model._model, self.scene.model
        names = set(self._joints())
        absent = [model.joint(joint) for joint in range(model.njnt) if model.joint(joint).name not in names]
        for number, joint in enumerate(absent):
            self.theirs.joint(joint.name).qpos[:3] = [5.0 * number, 0.0, SKY_M]
        model.stat.meaninertia = ours.stat.meaninertia * ours.nv / model.nv

    def _take_model(self) -> None:
        """What robosuite drew into its model, by name."""
        theirs, ours = self.environment.sim.model._model, self.scene.model
        for kind, count, fields in (("body", ours.nbody, OF_BODY), ("geom", ours.ngeom, OF_GEOM)):
            for index in range(count):
                name = getattr(ours, kind)(index).name
                if not name or name in PROPS:  # what has no name does not vary
                    continue
                there = getattr(theirs, kind)(name).id
                for field in fields:
                    getattr(ours, field)[index] = getattr(theirs, field)[there]
        mujoco.mj_setConst(ours, self.scene.data)


def random_actions(seed: int, steps: int, action_size: int, size: float = 1.0) -> Iterator[Array]:
    """Actions uniform in -size..size; every third one tells the gripper nothing, so that it keeps its command."""
    rng = np.random.default_rng(seed)
    for number in range(steps):
        action = size * rng.uniform(-1, 1, action_size)
        if number % 3 == 0:
            action[-1] = 0.0
        yield action
