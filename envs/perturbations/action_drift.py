"""The arm wanders off and comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform, uniform_int
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record, Stream, Task
from workbench.types.abilities import finger_channels
from workbench.types.reading import among, typed, whole

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

CORRELATION_STEPS = Magnitude("correlation_steps", 1, 200, whole=True)


class ActionDriftEffect(Effect):
    """Adds noise with a memory to the arm's channels: an Ornstein-Uhlenbeck process, once per control step."""

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.drift = np.zeros(int(record["arm_size"]))
        self.memory_size = len(self.drift)

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action with the drift added; its first value is drawn as if it had drifted for long."""
        if not self.active(scene.step_index):
            return action
        kept = 0.0 if scene.step_index == self.started else np.exp(-1.0 / self.record["correlation_steps"])
        fresh = self.noise.at(scene.step_index).normal(0.0, float(self.record["std_fraction"]), len(self.drift))
        self.drift = kept * self.drift + np.sqrt(1.0 - kept**2) * fresh
        return np.concatenate([action[: len(self.drift)] + self.drift, action[len(self.drift) :]])

    def recall(self) -> Array:
        """The drift of the last step."""
        return self.drift.copy()

    def remember(self, memory: Array) -> None:
        """Take up a drift."""
        self.drift = memory.copy()


class ActionDrift(Specification):
    """An arm that wanders: actuation noise that is correlated in time.

    Uhlenbeck and Ornstein, On the Theory of the Brownian Motion, Physical Review, 1930; as noise on actions, Lillicrap
    et al. (DDPG), ICLR 2016.  For steps of one and correlation time tau, with n(t) standard normal::

        x(t) = exp(-1 / tau) x(t - 1) + std sqrt(1 - exp(-2 / tau)) n(t)

    Parameters
    ----------
    std_fraction : standard deviation of x as a fraction of the largest action, per channel.
    correlation_steps : tau, in control steps.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = ActionDriftEffect
    magnitude = Magnitude("std_fraction", 0.01, 2.0)
    drawn = typed(correlation_steps=CORRELATION_STEPS.drawn, arm_size=whole(0, 1000))
    seen_as = ("missed grasp", "knocked", "timeout")

    def __init__(
        self,
        std_fraction: float | Sequence[float],
        correlation_steps: int | Sequence[int],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.std_fraction = self.magnitude.within(std_fraction)
        self.correlation_steps = CORRELATION_STEPS.steps(correlation_steps)

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add the number of the arm's channels, so that the record alone says how much is remembered."""
        return super().draw(stream, task) | {"arm_size": task.action_size - finger_channels(task)}

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Channels of the task's arm."""
        return super().fields_on(task) | {"arm_size": among([task.action_size - finger_channels(task)])}

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn standard deviation and correlation time."""
        return {
            "std_fraction": uniform(rng, self.std_fraction),
            "correlation_steps": uniform_int(rng, self.correlation_steps),
        }

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return (
            f"noise of {record['std_fraction']:.3g} of the largest action on the arm, correlated over "
            f"{record['correlation_steps']} steps"
        )
