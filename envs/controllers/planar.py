"""Planar control of a disc that pushes, compiled: two sliding joints, each with a motor.

In every physics step, with the reference moving at constant speed from where the disc is at the start of the control
step to where the action asks it to be at the end::

    x*(t) = x(0) + u t        u = action * step / period
    f = kp (x* - x) + kd (u - dx/dt),   its length limited to the force that the motors have

Whoever repeats an action sees the disc move at that speed, without a lag, and nothing is carried from one control step
to the next.
"""

from __future__ import annotations

import mujoco
import numpy as np

from workbench.envs.stepper import addresses, bounded, call, compiled
from workbench.types import Array
from workbench.types.robot import Robot

NATURAL_HZ = 80.0 / (2 * np.pi)
"""Natural frequency of the critically damped control: it forgets a disturbance within half a control step of 0.1 s."""


class Planar:
    """Moves a disc by an action (2,): its displacement along x and y in one control step, 1 as far as the robot can.

    Parameters
    ----------
    robot : with two sliding joints, along the world's x and y, and a motor for each.
    substeps : physics steps in one control step.

    Attributes
    ----------
    memory : (0,) nothing is carried from one control step to the next.
    gains : (2,) kp in N/m and kd in N s/m.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        robot: Robot,
        substeps: int,
    ) -> None:
        self.memory = np.zeros(0)
        # the compiled function reads raw addresses: keep alive what they belong to
        self._owners = (model, data)
        self._pointers = np.array([model._address, data._address], dtype=np.int64)
        names = [model.joint(name) for name in robot.joints]
        motors = [model.actuator(name).id for name in robot.actuators]
        self._places = np.array(
            [[joint.qposadr[0] for joint in names], [joint.dofadr[0] for joint in names], motors], dtype=np.int64
        )
        mass_kg = float(model.body_mass[model.jnt_bodyid[names[0].id]])
        rate = 2 * np.pi * NATURAL_HZ
        force_n = float(model.actuator_ctrlrange[motors[0], 1])
        period_s = substeps * model.opt.timestep
        self._numbers = np.array([mass_kg * rate**2, 2 * mass_kg * rate, force_n, robot.action_m / period_s])
        self.gains = self._numbers[:2]
        self._timing = (substeps, float(model.opt.timestep))
        self._views = (data.qpos, data.qvel, data.qacc, data.ctrl)

    def reset(self) -> None:
        """Nothing to forget."""

    def step(self, action: Array) -> bool:
        """Apply one action (2,) in -1..1 for one control step; False if the physics diverged on the way."""
        return bool(
            _control_step(addresses(), self._pointers, self._places, self._numbers, *self._timing, action, *self._views)
        )


@compiled
def _control_step(
    functions: Array,
    pointers: Array,
    places: Array,
    numbers: Array,
    substeps: int,
    timestep: float,
    action: Array,
    qpos: Array,
    qvel: Array,
    qacc: Array,
    ctrl: Array,
) -> bool:
    stiffness, damping, limit, speed = numbers
    start = np.array([qpos[places[0, 0]], qpos[places[0, 1]]])
    force = np.empty(2)
    for substep in range(substeps):
        call(functions[0], pointers[0], pointers[1])
        for i in range(2):
            wanted = action[i] * speed
            lag = start[i] + wanted * timestep * substep - qpos[places[0, i]]
            force[i] = stiffness * lag + damping * (wanted - qvel[places[1, i]])
        size = np.hypot(force[0], force[1])
        for i in range(2):
            ctrl[places[2, i]] = force[i] if size <= limit else force[i] * limit / size
        call(functions[1], pointers[0], pointers[1])
        if not (bounded(qpos) and bounded(qvel) and bounded(qacc)):
            return False
    # positions and contacts of the state just reached; the next step computes them again from that state
    call(functions[2], pointers[0], pointers[1])
    return True
