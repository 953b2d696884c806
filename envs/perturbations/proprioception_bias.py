"""The robot misjudges where its own hand is, or how far its fingers are open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, direction, one_of, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Array, Observation, Record, Stream, Task
from workbench.types.reading import among, typed
from workbench.types.robot import PLACE

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

READINGS = ("hand", "fingers")
FINGERS = "gripper_qpos"


class ProprioceptionBiasEffect(Effect):
    """Adds a constant to one reading."""

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation with the hand, or both fingers, elsewhere."""
        if not self.active(scene.step_index):
            return observation
        offset_m = np.array(self.record["offset_m"])
        keys = PLACE if self.record["reading"] == "hand" else (FINGERS,)
        return observation | {key: observation[key] + offset_m for key in keys if key in observation}


class ProprioceptionBias(Specification):
    """A joint encoder whose zero has moved, as seen at the hand (Andrychowicz et al., IJRR 2020, randomise it).

    What is seen of the world stays where it is.

    Parameters
    ----------
    offset_m : length of the error; of both fingers if they are misread, one way for each, so that they seem further
        open or further closed.
    reading : ``hand`` (its position) or ``fingers``.
    axis : of the hand's error, in the world frame, either way; None for a direction drawn uniformly.
    schedule : see :class:`Specification`.
    """

    channel = "observation"
    effect = ProprioceptionBiasEffect
    magnitude = Magnitude("offset_m", 0.001, 0.2, sizes=(2, 3))
    drawn = typed(reading=among(READINGS))
    axes = ("x", "y", "z")
    seen_as = ("missed grasp", "misplacement", "collision")

    def __init__(
        self,
        offset_m: float | Sequence[float],
        reading: str = "hand",
        axis: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.offset_m = self.magnitude.within(offset_m)
        self.reading = one_of("reading of perturbation proprioception_bias", reading, READINGS)
        self.axis = one_of("axis of perturbation proprioception_bias", axis, self.axes)

    def check(self, task: Task) -> None:
        """Refuse fingers and directions that the task lacks."""
        super().check(task)
        keys = (FINGERS,) if self.reading == "fingers" else PLACE
        if not any(key in task.observation_sizes for key in keys):
            raise ConfigError(
                f"perturbation {self.name} with reading={self.reading} needs {' or '.join(keys)}, which task "
                f"{task.name} does not observe ({', '.join(task.observation_sizes)})"
            )
        if self.reading == "hand" and self.axis and self.axes.index(self.axis) >= _size(task):
            raise ConfigError(f"the hand of task {task.name} moves along x and y alone, not along {self.axis}")

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Readings that the task observes."""
        seen = {
            "hand": any(key in task.observation_sizes for key in PLACE),
            "fingers": FINGERS in task.observation_sizes,
        }
        return super().fields_on(task) | {"reading": among([reading for reading in READINGS if seen[reading]])}

    @classmethod
    def together(cls, record: Record, task: Task) -> str:
        """As many numbers as are read."""
        size = task.observation_sizes[FINGERS] if record["reading"] == "fingers" else _size(task)
        return "" if len(record["offset_m"]) == size else f"offset_m must hold {size} numbers for that reading"

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add which reading, and the error: [x, y, z] of the hand, as many as observed, or of the two fingers."""
        record = super().draw(stream, task)
        length_m, rng = record["offset_m"], stream.child("perturbation", self.name, "direction").at()
        if self.reading == "hand":
            unit = direction(rng, self.axis, _size(task))
        else:
            # opposite joints: each finger's own way of opening (robosuite's Panda: plus and minus)
            unit = np.array([1.0, -1.0]) * (1.0 if rng.random() < 0.5 else -1.0)
        return record | {"reading": self.reading, "offset_m": (length_m * unit).tolist()}

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn length."""
        return {"offset_m": uniform(rng, self.offset_m)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        offset_m = record["offset_m"]
        shown = ", ".join(f"{value:+.3f}" for value in offset_m)
        if record["reading"] == "fingers":
            return f"both fingers are read {abs(offset_m[0]):.3f} m off, at ({shown})"
        return f"the hand is felt {np.linalg.norm(offset_m):.3f} m away, at ({shown})"


def _size(task: Task) -> int:
    return next(task.observation_sizes[key] for key in PLACE if key in task.observation_sizes)
