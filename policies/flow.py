"""Flow-matching policy on state observations.

Paper's word -> variable: data x_1 -> ``chunk``, noise x_0 -> ``noise``, flow time t -> ``time``, velocity v_t(x) ->
``FlowNetwork.velocity``, number of function evaluations -> ``flow_steps``.

Sources: Lipman et al., Flow Matching for Generative Modeling, ICLR 2023; Liu et al., Flow Straight and Fast, ICLR 2023;
action chunks with a receding horizon after Chi et al., Diffusion Policy, RSS 2023.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from workbench.errors import CheckpointError, ConfigError, ObservationError, UnknownNameError
from workbench.policies import checkpoint
from workbench.policies.networks import FlowNetwork
from workbench.policies.normalisation import Normalisation
from workbench.types import Array, Observation, PolicyOutput, Record

ALTERABLE = ("checkpoint", "flow_steps", "noise_scale", "normalisation_scale")
"""Settings that :meth:`FlowPolicy.altered` knows."""
BLOCK = 16
"""Scenes that go through the network together; fewer are padded, as a product of another shape is rounded differently.

Contacts amplify a last bit to centimetres: without this an episode would end differently in other company, so with
another number of scenes or after an interruption.
"""


class FlowPolicy:
    """Draws action chunks from a learned flow; :func:`workbench.policies.training.train` gives it weights.

    Parameters
    ----------
    hidden, blocks : width of the network, and residual blocks in its encoder and again in its head.
    embedding : D, length of the observation features.
    horizon, execute : actions in a chunk, and how many of them are run.
    history : observations that one call sees.
    flow_steps : Euler steps from noise to chunk.
    observations : keys that it reads; None for all that the demonstrations have.

    Attributes
    ----------
    task : name of the task that it was trained on, "" before.
    layout : key -> length, of the observations that it reads; empty before training.
    recipe : how its weights were made.
    noise_scale : factor on the noise that chunks are made from; other than one in altered policies alone.
    """

    privileged: bool = False
    listens: bool = False

    def __init__(
        self,
        *,
        hidden: int = 256,
        blocks: int = 2,
        embedding: int = 64,
        horizon: int = 16,
        execute: int = 8,
        history: int = 2,
        flow_steps: int = 5,
        observations: Sequence[str] | None = None,
    ) -> None:
        sizes = {
            "hidden": hidden,
            "blocks": blocks,
            "embedding": embedding,
            "horizon": horizon,
            "execute": execute,
            "history": history,
            "flow_steps": flow_steps,
        }
        for name, value in sizes.items():
            check_whole(name, value)
        if execute > horizon:
            raise ConfigError(f"policy.execute={execute} must not exceed policy.horizon={horizon}")
        self.config: Record = {**sizes, "observations": None if observations is None else list(observations)}
        self.horizon, self.execute, self.history, self.flow_steps = horizon, execute, history, flow_steps
        self.noise_scale = 1.0
        self.task = ""
        self.layout: dict[str, int] = {}
        self.recipe: Record = {}
        self._action_size = 0
        self._normalisation: Normalisation | None = None
        self._network: FlowNetwork | None = None

    @property
    def network(self) -> FlowNetwork:
        """The network; raises CheckpointError before training."""
        if self._network is None:
            raise CheckpointError("this policy has no weights yet; train it or load a checkpoint")
        return self._network

    @property
    def normalisation(self) -> Normalisation:
        """Scales of observations and actions; raises CheckpointError before training."""
        if self._normalisation is None:
            raise CheckpointError("this policy has no statistics yet; train it or load a checkpoint")
        return self._normalisation

    def choose(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """The part of an observation layout (key -> length) that this policy reads, in the order it reads it."""
        chosen = self.config["observations"]
        for key in chosen or ():
            if key not in sizes:
                raise UnknownNameError("observation", key, sizes)
        return {key: int(sizes[key]) for key in (chosen or sorted(sizes))}

    def equip(self, task: str, layout: Mapping[str, int], action_size: int, normalisation: Normalisation) -> None:
        """Take up a task, its layout and its statistics, with a network whose weights come from torch's seed."""
        self.task, self.layout, self._action_size = task, dict(layout), action_size
        self._normalisation = normalisation
        self._network = FlowNetwork(
            self.history * sum(layout.values()),
            self.horizon * action_size,
            self.config["hidden"],
            self.config["blocks"],
            self.config["embedding"],
        ).eval()

    def plan(self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
        """One inference; see :class:`workbench.types.Policy`.

        What a scene is given depends, to the last bit, neither on the other scenes nor on the number of samples.

        Returns
        -------
        PolicyOutput
            chunk (N, H, A), samples (N, B, H, A) or None, embedding (N, D), all float32.

        Raises
        ------
        ObservationError
            if a key is missing, has another shape than (N, history, size), or holds NaN or infinity.
        """
        count, size = len(noise), self.horizon * self._action_size
        seen = torch.from_numpy(self.normalisation.observation(self._vectors(observation, count)).reshape(count, -1))
        # The chunk's noise first, so that the number of samples changes nothing about the chunk that is run.
        drawn = torch.from_numpy(
            np.stack([rng.standard_normal((1 + samples, size), dtype=np.float32) for rng in noise])
            * np.float32(self.noise_scale)
        )
        with torch.inference_mode():
            blocks = [
                self._infer(seen[first : first + BLOCK], drawn[first : first + BLOCK])
                for first in range(0, count, BLOCK)
            ]
        features, flowed = (torch.cat(parts).numpy() for parts in zip(*blocks, strict=True))
        shape = (count, 1 + samples, self.horizon, self._action_size)
        chunks = self.normalisation.physical_action(flowed.reshape(shape))
        return PolicyOutput(chunks[:, 0], chunks[:, 1:] if samples else None, features)

    def _infer(self, seen: torch.Tensor, drawn: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (n, D) and chunks (n, 1 + B, H * A) of up to :data:`BLOCK` scenes, from noise of that shape."""
        network, count = self.network, len(seen)
        missing = BLOCK - count
        features = network.encode(nn.functional.pad(seen, (0, 0, 0, missing)))
        noise = nn.functional.pad(drawn[:, :1], (0, 0, 0, 0, 0, missing))
        flowed = [network.sample(features, noise, self.flow_steps)[:count]]
        if drawn.shape[1] > 1:
            # One scene's samples are a product of their own; the copy is aligned, which rounding can depend on too.
            each = [
                network.sample(features[row : row + 1].clone(), drawn[row : row + 1, 1:].clone(), self.flow_steps)
                for row in range(count)
            ]
            flowed.append(torch.cat(each))
        return features[:count], torch.cat(flowed, dim=1)

    def _vectors(self, observation: Observation, count: int) -> Array:
        """Observations (N, history, S) end to end, checked."""
        for key, size in self.layout.items():
            shape = np.shape(observation[key]) if key in observation else "nothing"
            if shape != (count, self.history, size):
                raise ObservationError(f"observation {key!r} is {shape}, must be {(count, self.history, size)}")
        vectors = np.concatenate([observation[key] for key in self.layout], axis=-1)
        if not np.isfinite(vectors).all():
            self._refuse(observation)
        return vectors

    def _refuse(self, observation: Observation) -> None:
        for key in self.layout:
            broken = np.flatnonzero(~np.isfinite(observation[key]).all(axis=(1, 2)))
            if len(broken):
                raise ObservationError(
                    f"observation {key!r} of scene {broken[0]} holds NaN or infinity: {observation[key][broken[0]]}"
                )

    def altered(self, settings: Record) -> FlowPolicy:
        """The same policy with some of its settings changed; it shares the weights and is not to be saved.

        Parameters
        ----------
        settings : ``flow_steps``; ``noise_scale``, factor on the noise that chunks are made from;
            ``normalisation_scale``, factor on the standard deviations by which observations are divided;
            ``checkpoint``, folder of another policy that takes this one's place, before the rest is changed.

        Raises
        ------
        ConfigError
            For an unknown or impossible setting, or another policy that does not fit in this one's place.
        CheckpointError
            If that policy is missing or damaged, or belongs to another task or observation layout.
        """
        for name in settings:
            if name not in ALTERABLE:
                raise UnknownNameError(f"setting of {type(self).__name__}", name, ALTERABLE)
        other = self._replaced_by(settings["checkpoint"]) if "checkpoint" in settings else copy.copy(self)
        if "flow_steps" in settings:
            check_whole("flow_steps", settings["flow_steps"])
            other.flow_steps = settings["flow_steps"]
        other.noise_scale = check_scale("noise_scale", settings)
        std = other.normalisation.std * check_scale("normalisation_scale", settings)
        other._normalisation = dataclasses.replace(other.normalisation, std=std)
        return other

    def _replaced_by(self, folder: str) -> FlowPolicy:
        """The policy of a checkpoint, if a rollout of this one can go on with it."""
        other = type(self).load(folder, task=self.task, observation_sizes=self.layout)
        for name in ("history", "horizon", "embedding"):
            if other.config[name] != self.config[name]:
                raise ConfigError(
                    f"the policy in {folder} cannot take the place of this one: its {name} is {other.config[name]}, "
                    f"not {self.config[name]}; train one with policy.{name}={self.config[name]}"
                )
        return other

    def save(self, folder: Path) -> None:
        """Write weights, configuration, statistics, task, layout and recipe; replaces a checkpoint at once."""
        checkpoint.write(
            Path(folder),
            {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()},
            {
                "config": self.config,
                "task": self.task,
                "layout": self.layout,
                "action_size": self._action_size,
                "statistics": self.normalisation.record(self.layout),
                "recipe": self.recipe,
            },
        )

    @classmethod
    def load(
        cls, folder: Path | str, task: str | None = None, observation_sizes: Mapping[str, int] | None = None
    ) -> FlowPolicy:
        """Policy from a checkpoint.

        A CheckpointError is raised if it is missing or damaged, or belongs to another task or observation layout.

        Parameters
        ----------
        folder
            where :meth:`save` wrote it.
        task
            name of the task that it will drive; None to take whatever is there.
        observation_sizes
            key -> length of that task's observations; None to take whatever is there.
        """
        folder = Path(folder)
        needed = ("config", "task", "layout", "action_size", "statistics", "recipe")
        tensors, record = checkpoint.read(folder, needed)
        if task is not None and record["task"] != task:
            raise CheckpointError(
                f"the policy in {folder} was trained on task {record['task']!r}, not {task!r}; train one for {task!r}"
            )
        layout: dict[str, int] = record["layout"]
        if observation_sizes is not None:
            check_layout(folder, layout, observation_sizes, record["config"].get("observations") is not None)
        try:
            policy = cls(**record["config"])
            action_size = int(record["action_size"])
            statistics = Normalisation.from_record(record["statistics"], layout, action_size)
            policy.equip(record["task"], layout, action_size, statistics)
            policy.network.load_state_dict(tensors)
        except (TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"the policy in {folder} is damaged: {' '.join(str(error).split())}") from None
        policy.recipe = record["recipe"]
        return policy


def check_whole(name: str, value: object) -> None:
    """Refuse what is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"policy.{name}={value!r} must be a whole number of at least 1")


def check_scale(name: str, settings: Record) -> float:
    """A factor among settings, one if it is not there; ConfigError if it is not a positive number."""
    value = settings.get(name, 1.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < np.inf:
        raise ConfigError(f"policy.{name}={value!r} must be a positive number")
    return float(value)


def check_layout(folder: Path, trained: Mapping[str, int], offered: Mapping[str, int], chosen: bool) -> None:
    """Refuse observations of another layout; keys beyond those that were ``chosen`` by name do not matter."""
    relevant = {key: offered[key] for key in trained if key in offered} if chosen else dict(offered)
    if relevant == dict(trained):
        return
    differing = sorted(key for key in {*trained, *relevant} if trained.get(key, "none") != relevant.get(key, "none"))
    shown = "; ".join(f"{key}: {trained.get(key, 'none')} then, {relevant.get(key, 'none')} now" for key in differing)
    raise CheckpointError(f"the policy in {folder} reads another observation layout ({shown}); train it again")
