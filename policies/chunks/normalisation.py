"""The scales between physical units and what a network sees; stored with its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.errors import CheckpointError
from workbench.types import Array, Record

SMALLEST_STD = 0.01
"""Floor of an observation's standard deviation, in its own unit (1 cm for positions): a number that hardly moved in
the demonstrations must not become a huge one when it moves a little at run time."""


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of observations; centre and half range of actions.

    Attributes
    ----------
    mean, std : (S,) float64 of the observation's keys, end to end.
    centre, half_range : (A,) float64; an action dimension that never moved has a half range of 0.
    """

    mean: Array
    std: Array
    centre: Array
    half_range: Array

    @classmethod
    def of(cls, observations: Array, actions: Array) -> Normalisation:
        """Statistics of observations (T, S) and actions (T, A)."""
        low, high = actions.min(axis=0), actions.max(axis=0)
        return cls(
            mean=observations.mean(axis=0),
            std=np.maximum(observations.std(axis=0), SMALLEST_STD),
            centre=(low + high) / 2,
            half_range=(high - low) / 2,
        )

    def observation(self, observation: Array) -> Array:
        """(..., S) in physical units -> float32 of mean 0 and standard deviation 1."""
        scaled: Array = ((observation - self.mean) / self.std).astype(np.float32)
        return scaled

    def action(self, action: Array) -> Array:
        """(..., A) as asked -> float32 in -1..1."""
        moved = np.where(self.half_range > 0, self.half_range, 1.0)
        scaled: Array = ((action - self.centre) / moved).astype(np.float32)
        return scaled

    def physical_action(self, normalised: Array) -> Array:
        """The inverse of :meth:`action`, clipped to the range that was demonstrated; float32."""
        action: Array = (self.centre + self.half_range * np.clip(normalised, -1.0, 1.0)).astype(np.float32)
        return action

    def demonstrated_action(self, normalised: Array) -> Array:
        """The inverse of :meth:`action` for what was demonstrated, which may lie out of the range of the statistics."""
        moved = np.where(self.half_range > 0, self.half_range, 1.0)
        action: Array = (self.centre + moved * normalised).astype(np.float32)
        return action

    def record(self, layout: Mapping[str, int]) -> Record:
        """Plain data, observations by key."""
        stops = np.cumsum(list(layout.values()))[:-1]
        means, stds = np.split(self.mean, stops), np.split(self.std, stops)
        return {
            "observation": {
                key: {"mean": mean.tolist(), "std": std.tolist()}
                for key, mean, std in zip(layout, means, stds, strict=True)
            },
            "action": {"centre": self.centre.tolist(), "half_range": self.half_range.tolist()},
        }

    @classmethod
    def from_record(cls, record: Record, layout: Mapping[str, int], action_size: int) -> Normalisation:
        """The inverse of :meth:`record`; raises CheckpointError where a statistic is missing or impossible."""
        try:
            keys = [record["observation"][key] for key in layout]
            found = cls(
                mean=vector([number for key in keys for number in key["mean"]]),
                std=vector([number for key in keys for number in key["std"]]),
                centre=vector(record["action"]["centre"]),
                half_range=vector(record["action"]["half_range"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the statistics lack {error}; train the policy again") from None
        sizes = (len(found.mean), len(found.std), len(found.centre), len(found.half_range))
        size = sum(layout.values())
        finite = all(np.isfinite(part).all() for part in (found.mean, found.std, found.centre, found.half_range))
        if sizes != (size, size, action_size, action_size) or not finite or (found.std <= 0).any():
            raise CheckpointError(
                f"the statistics have sizes {sizes}, need {(size, size, action_size, action_size)}, and must be finite "
                "with positive deviations; train the policy again"
            )
        return found


def vector(numbers: Sequence[float]) -> Array:
    """One-dimensional float64."""
    return np.asarray(numbers, dtype=np.float64)
