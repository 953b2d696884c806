"""Policies: what they are asked, what they answer, what they learn from, and how their sampling is led."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from workbench.errors import ConfigError
from workbench.types.data import Array, Observation


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """One episode to learn from.

    Attributes
    ----------
    observation : key -> (T, size); ``images/<camera>`` -> (T, height, width, 3) uint8.
    actions : (T, A) as asked.
    instruction : what was told.
    """

    observation: Observation
    actions: Array
    instruction: str = ""


@dataclasses.dataclass(frozen=True)
class PolicyOutput:
    """One inference for N scenes.

    Attributes
    ----------
    chunk : (N, H, A) the action chunk, of which the first ``execute`` actions are run.
    samples : (N, B, H, A) chunks drawn for the same observation with noise of their own, or None.
    embedding : (N, D) features of the observation, or None.
    signals : name -> (N, ...), what else the policy says of this call, where it was asked to.
    """

    chunk: Array
    samples: Array | None = None
    embedding: Array | None = None
    signals: Mapping[str, Array] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Steering:
    """Where the sampling of a policy's chunks is led, for policies that take it: ``plan(..., steering=Steering(...))``.

    Sources: partial noise after Meng et al., SDEdit, ICLR 2022, and Retrieve-then-Steer, arXiv 2605.10094; gradient
    through the predicted clean chunk after Chung et al., Diffusion Posterior Sampling, ICLR 2023; without the network
    as with the prior of Song et al., Pseudoinverse-Guided Diffusion Models, ICLR 2023.

    Attributes
    ----------
    start : (N, H, A) chunk in action units that sampling begins with instead of noise alone, or None.
    start_level : how much noise is put on it, 0 (none, so it is the result) to 1 (noise alone, plain sampling).
    reward : differentiable, predicted clean chunks as a torch tensor (n, K, H, A) float32 in action units -> (n, K).  n
        is not N (scenes go in blocks, with padding) and no row may depend on another: scenes with rewards of their own
        are planned one by one.
    scale : factor on the reward; with 1 the density of chunks is multiplied by exp(reward), as well as steps allow.
    through_network : whether the gradient goes through the network.  Without it a step costs no more than an unsteered
        one, and the clean chunk is taken to follow the noisy one as it does for standard normal data: narrower ones
        are moved further than exp(reward) would.
    """

    start: Array | None = None
    start_level: float = 1.0
    reward: Callable[[Any], Any] | None = None
    scale: float = 1.0
    through_network: bool = True

    def __post_init__(self) -> None:
        """Refuse what leads nowhere."""
        if not 0.0 <= self.start_level <= 1.0:
            raise ConfigError(f"start_level={self.start_level} must be in 0..1, 0 for the start itself")
        if self.start is None and self.start_level < 1.0:
            raise ConfigError(f"start_level={self.start_level} needs a start")
        if not math.isfinite(self.scale):
            raise ConfigError(f"scale={self.scale} must be a finite number")


class Policy(Protocol):
    """Maps observations to action chunks; holds no state between calls."""

    history: int
    """How many observations in a row one call sees (the oldest is repeated at the start of an episode)."""
    horizon: int
    execute: int
    privileged: bool
    """Whether it is handed ``Truth.observation`` instead of what the robot sees, and is free of faults of planning: a
    reference, that says what could still be won."""
    listens: bool
    """Whether it is also handed what it is told, as ``plan(..., instructions=[N strings])``."""
    cameras: Sequence[str]
    """Cameras of the task whose present image it is handed beside the vectors, as ``images/<camera>``."""
    signals: Sequence[str]
    """What it can be asked to say of a call beyond samples and embedding, as ``plan(..., signals=[names])``."""

    def plan(self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
        """One inference.

        Parameters
        ----------
        observation : name -> (N, history, size); ``images/<camera>`` -> (N, height, width, 3) uint8, the present one.
        noise : N generators; the chunk's noise is drawn before the samples', so B does not change the chunk.
        samples : B, how many further chunks to draw for each scene.
        """
        ...

    def save(self, folder: Path) -> None: ...


RECENT = 16
"""How many control steps of observations in a row a policy call shows to a detector."""
SIGNALS, OBSERVATION = "signals/", "observation/"
"""What the names of a call's signals and of its observations begin with, in stores and in a score's ``needs``."""


@dataclasses.dataclass(frozen=True)
class PolicyCall:
    """What a detector sees: one policy call of N scenes, and nothing of the ground truth.

    Attributes
    ----------
    step : (N,) control step of the call.
    chunk, samples, embedding, signals : as in :class:`PolicyOutput`.
    execute : how many actions of a chunk are run before the next call.
    instructions : N, what the robot was told at the start of the episode.
    observation : key -> (N, RECENT, size), what it saw at the last control steps, the present one last; the oldest is
        repeated at the start of an episode.
    """

    step: Array
    chunk: Array
    samples: Array | None
    embedding: Array | None
    execute: int
    instructions: Sequence[str] = ()
    signals: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    observation: Mapping[str, Array] = dataclasses.field(default_factory=dict)

    def one(self, row: int) -> PolicyCall:
        """The call of one of its scenes alone."""
        only = slice(row, row + 1)
        return PolicyCall(
            self.step[only],
            self.chunk[only],
            None if self.samples is None else self.samples[only],
            None if self.embedding is None else self.embedding[only],
            self.execute,
            self.instructions[only],
            {name: values[only] for name, values in self.signals.items()},
            {key: values[only] for key, values in self.observation.items()},
        )
