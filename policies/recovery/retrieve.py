"""Remember what worked: the policy's sampler begins at the chunk that it ran in the nearest state of its own successes.

Source: Retrieve-then-Steer (arXiv 2605.10094, 2026): a chunk from a memory of own successes, noised part of the way and
denoised by the frozen policy; where nothing in the memory is near, the policy samples as usual.  There the chunk is a
mean of several that agree, and how much it is noised follows from how well they do; here it is one chunk, and a fixed
part.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from workbench.errors import ConfigError
from workbench.policies.recovery.sampling.driver import SamplingDriver, SamplingStrategy, refuse_unsteerable, told
from workbench.types import Alarm, Array, Observation, Policy, PolicyOutput, Steering, Successes

MEASURED = 1000
"""Calls of the memory, at most, from whose nearest neighbours it follows what counts as near."""


class Memory:
    """Own successes, by the embedding of their calls, in standard deviations of each of its numbers.

    Parameters
    ----------
    successes : calls of two episodes or more.
    within : share of the memory's own calls that have a call of another episode as near as what counts as near.
    """

    def __init__(self, successes: Successes, within: float) -> None:
        if len(np.unique(successes.episode)) < 2:
            raise ConfigError("strategy retrieve needs the calls of two successes or more: roll more episodes")
        values = np.asarray(successes.embedding, dtype=np.float64)
        spread = values.std(axis=0)
        self._mean, self._std = values.mean(axis=0), np.where(spread > 0, spread, 1.0)
        self._known, self._chunks = (values - self._mean) / self._std, successes.chunk
        rows = np.linspace(0, len(values) - 1, min(len(values), MEASURED)).astype(int)
        apart = [self._apart(self._known[row])[successes.episode != successes.episode[row]].min() for row in rows]
        self.reach = float(np.quantile(apart, within))

    def nearest(self, embedding: Array) -> Array | None:
        """The chunk (H, A) of the call whose embedding is nearest to one (D,); None where none is near."""
        apart = self._apart((np.asarray(embedding, dtype=np.float64) - self._mean) / self._std)
        place = int(apart.argmin())
        found: Array | None = self._chunks[place] if apart[place] <= self.reach else None
        return found

    def _apart(self, known: Array) -> Array:
        apart: Array = np.linalg.norm(self._known - known, axis=1)
        return apart


class RetrievingDriver(SamplingDriver):
    """The policy, begun from the chunk of the nearest success where there is one near enough."""

    def __init__(self, policy: Policy, memory: Memory, start_level: float) -> None:
        super().__init__(policy)
        self._memory, self._start_level = memory, start_level

    def plan(
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        instructions: Sequence[str] | None = None,
    ) -> PolicyOutput:
        """The chunks (N, H, A); with the noise that the policy itself would have drawn."""
        plain = self.policy.plan(observation, copy.deepcopy(list(noise)), 0, **told(instructions))
        found = enumerate(self._memory.nearest(features) for features in plain.embedding)
        starts, chunks = {row: start for row, start in found if start is not None}, np.array(plain.chunk)
        if near := list(starts):
            seen = {key: values[near] for key, values in observation.items()}
            asked = told(None if instructions is None else [instructions[row] for row in near])
            steering = Steering(np.stack(list(starts.values())), self._start_level)
            chunks[near] = self.policy.plan(seen, [noise[row] for row in near], 0, **asked, steering=steering).chunk
        return PolicyOutput(chunks, None, plain.embedding)


class Retrieve(SamplingStrategy):
    """From the alarm on the policy's sampler begins at what it did in the nearest state of a success of its own.

    Parameters
    ----------
    successes : calls of its own successes; in a configuration the data set of whose fit split they are.
    start_level : how much noise is put on what is retrieved, 0 (none: it is run as it is) to 1 (all: the placebo).
    within : what counts as near: as this share of the memory's own calls have a call of another episode; 0 .. 1.
    steps : control steps after which the policy drives again as before; None for the rest of the episode.
    """

    name: str = "retrieve"
    needs: Sequence[str] = ()

    def __init__(
        self, successes: Successes, start_level: float = 0.5, within: float = 0.95, steps: int | None = None
    ) -> None:
        if not 0.0 <= start_level <= 1.0 or not 0.0 <= within <= 1.0 or (steps is not None and steps < 1):
            raise ConfigError(
                f"retrieve: start_level={start_level} and within={within} must be in 0..1, and steps={steps} at least 1"
            )
        self._memory, self._start_level, self._steps = Memory(successes, within), start_level, steps

    def made(self, alarm: Alarm) -> RetrievingDriver:
        """The policy, from what worked."""
        refuse_unsteerable(alarm.policy, self.name)
        return RetrievingDriver(alarm.policy, self._memory, self._start_level)
