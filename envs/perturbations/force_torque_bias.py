"""The wrist's sensor of force and torque is off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, direction, one_of, uniform, within
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Array, Observation, Record, Task
from workbench.types.reading import typed, vector

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

READING = "wrench"
TORQUE_NM = (0.01, 50.0)


class ForceTorqueBiasEffect(Effect):
    """Adds a constant force and torque to the reading."""

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation with that reading."""
        if not self.active(scene.step_index):
            return observation
        bias = np.array([*self.record["force_n"], *self.record["torque_nm"]])
        return observation | {READING: observation[READING] + bias}


class ForceTorqueBias(Specification):
    """Strain gauges that have drifted, or a tool that was not tared (source: none found).

    Parameters
    ----------
    force_n : size of the error of the force, in the sensor's frame.
    torque_nm : size of the error of the torque, of a direction drawn uniformly; None: none.
    axis : of the force, in the sensor's frame (z points to the fingers), either way; None for a direction drawn
        uniformly.
    schedule : see :class:`Specification`.
    """

    channel = "observation"
    effect = ForceTorqueBiasEffect
    magnitude = Magnitude("force_n", 0.1, 500.0, sizes=(3,))
    drawn = typed(torque_nm=vector(3, 0.0, TORQUE_NM[1]))
    axes = ("x", "y", "z")
    seen_as = ("jam", "stall")

    def __init__(
        self,
        force_n: float | Sequence[float],
        torque_nm: float | Sequence[float] | None = None,
        axis: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.force_n = self.magnitude.within(force_n)
        self.torque_nm = None if torque_nm is None else within("torque_nm", torque_nm, *TORQUE_NM)
        self.axis = one_of("axis of perturbation force_torque_bias", axis, self.axes)

    @classmethod
    def possible(cls, task: Task) -> None:
        """Refuse tasks without such a sensor."""
        super().possible(task)
        if READING not in task.observation_sizes:
            raise ConfigError(
                f"perturbation {cls.name} needs the observation {READING}, which task {task.name} lacks "
                f"({', '.join(task.observation_sizes)}): use task=peg_insertion, or leave it out"
            )

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn force and torque, [x, y, z] in the sensor's frame."""
        force_n, turn = uniform(rng, self.force_n) * direction(rng, self.axis), direction(rng, None)
        torque_nm: Array = uniform(rng, self.torque_nm) * turn if self.torque_nm else np.zeros(3)
        return {"force_n": force_n.tolist(), "torque_nm": torque_nm.tolist()}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        torque = np.linalg.norm(record["torque_nm"])
        return f"the wrist's sensor is {np.linalg.norm(record['force_n']):.3g} N off" + (
            f" and {torque:.3g} N m" if torque else ""
        )
