"""Rewards by which a sampler is led: where the hand should be, from what one scene sees, and how near a chunk gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from workbench.errors import ConfigError, ObservationError
from workbench.policies.expert import Expert
from workbench.policies.shields.motion.channels import Channels
from workbench.types import Array, HasStages, Observation, Task, ability


class Goal(Protocol):
    """Where the hand should be."""

    def place_m(self, observation: Observation) -> Array:
        """The place (D,), of one scene's last observations, vectors (history, size); D as the hand is translated."""
        ...


class Beside:
    """A place beside an object.

    Parameters
    ----------
    target : key of the observation that says where the object is.
    offset_m : (D,) from there.
    """

    def __init__(self, task: Task, dimensions: int, target: str | None, offset_m: Sequence[float] | None) -> None:
        places = [key for key, size in task.observation_sizes.items() if key.endswith("_pos") and size >= dimensions]
        if target not in places:
            raise ConfigError(
                f"strategy reward_steered leads the hand to a place, and target={target} is none of "
                f"{', '.join(places)} of task {task.name}: name one, strategy.reward_steered.target={places[-1]}"
            )
        offset = [0.0] * dimensions if offset_m is None else list(offset_m)
        if len(offset) != dimensions:
            raise ConfigError(f"reward_steered: offset_m={offset} must be {dimensions} lengths, one a direction")
        self._target, self._offset_m = target, np.asarray(offset, dtype=np.float64)

    def place_m(self, observation: Observation) -> Array:
        """See :class:`Goal`."""
        place: Array = observation[self._target][-1, : len(self._offset_m)] + self._offset_m
        return place


class NextStage:
    """Where the hand has to be for the first stage that is not reached yet, by the task's own plan.

    The plan and the choice of its keyframe are those of the scripted expert, from what the robot sees: nothing of the
    ground truth.  Where fingers close, and how the hand is turned, no place says.
    """

    def __init__(self, task: Task, dimensions: int) -> None:
        ability(task, HasStages, "strategy reward_steered with reward=stage")
        self._expert, self._dimensions = Expert(task, privileged=False), dimensions

    def place_m(self, observation: Observation) -> Array:
        """See :class:`Goal`; ObservationError if it cannot be told from what is seen."""
        seen = {key: np.concatenate([values[:1], values])[-2:] for key, values in observation.items()}
        place: Array = self._expert.next_place_m(seen)[: self._dimensions]
        if not np.isfinite(place).all():
            raise ObservationError(
                "the place of the next stage is not finite: what is seen of it holds NaN or infinity"
            )
        return place


class Nearness:
    """How near the hand comes to a place by the actions of a chunk that are run.

    ``R = -|| hand + action_m * (sum of the actions) - place ||^2 / (2 within_m^2)``, from where the robot sees both:
    exp(R) is a normal density of the hand's place.  Controllers lag behind what they are asked, so the hand comes less
    far than that.
    """

    def __init__(self, channels: Channels, goal: Goal, within_m: float) -> None:
        self._channels, self._goal, self._within_m = channels, goal, within_m

    def from_(self, observation: Observation, execute: int) -> Callable[[Any], Any]:
        """The reward of chunks for what one scene sees, vectors (history, size), the present one last."""
        import torch

        columns = self._channels.position
        hand = self._channels.hand_m({key: values[-1] for key, values in observation.items()})
        way = self._goal.place_m(observation) - hand
        wanted, reach = torch.from_numpy(np.asarray(way, dtype=np.float32)), self._channels.robot.action_m

        def reward(chunks: Any) -> Any:
            moved = reach * chunks[..., :execute, columns].sum(dim=-2)
            return -(moved - wanted.to(chunks.device)).square().sum(dim=-1) / (2 * self._within_m**2)

        return reward
