"""What every learned policy of ours has: observations in, action chunks drawn from a generative model out.

A policy is made of three parts, each chosen by name::

    encoder    what is seen and told -> tokens (n, L, D)        state, images (and instructions)
    denoiser   noisy chunk, level, tokens -> what to change     mlp, unet, transformer
    process    how noise becomes a chunk, and what is learned   flow (flow.py), diffusion (diffusion.py)

Paper's word -> variable: action chunk A_t -> ``chunk``, observation features -> ``tokens`` (their mean is the
``embedding``), noise level in 0..1 -> ``level``.

Source: action chunks with a receding horizon after Chi et al., Diffusion Policy, RSS 2023.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from torch import nn

from workbench.errors import CheckpointError, ConfigError, ObservationError, UnknownNameError
from workbench.policies import checkpoint
from workbench.policies.demonstrations import vectors_of
from workbench.policies.networks import ChunkNetwork, Inputs, ResidualMlp, StateEncoder
from workbench.policies.normalisation import Normalisation
from workbench.policies.process import Process
from workbench.policies.vision import ImageEncoder
from workbench.types import Array, Demonstration, Observation, PolicyOutput, Record

ALTERABLE = ("checkpoint", "inference_steps", "noise_scale", "normalisation_scale")
"""Settings that :meth:`ChunkPolicy.altered` knows."""
DENOISERS = ("mlp", "unet", "transformer")
BLOCK = 16
"""Scenes that go through the network together; fewer are padded, as a product of another shape is rounded differently.

Contacts amplify a last bit to centimetres: without this an episode would end differently in other company, so with
another number of scenes or after an interruption.
"""
CONFIGURABLE = ("execute", "inference_steps")
"""Settings of a trained policy that its weights do not depend on; see :meth:`ChunkPolicy.configure`."""


class ChunkPolicy:
    """Draws action chunks; :func:`workbench.policies.training.train` gives it weights.

    Parameters
    ----------
    denoiser : ``mlp``, ``unet`` or ``transformer``.
    hidden, blocks : width of the networks, and residual blocks in the encoder and again in the denoiser.
    embedding : D, length of the observation features.
    horizon, execute : actions in a chunk, and how many of them are run.
    history : observations that one call sees.
    inference_steps : network evaluations from noise to chunk.
    observations : keys that it reads; None for all that the demonstrations have.
    cameras : whose present images it reads beside them.

    Attributes
    ----------
    task : name of the task that it was trained on, "" before.
    layout : key -> length, of the observations that it reads; empty before training.
    image_sizes : camera -> (height, width) in pixels; empty before training.
    recipe : how its weights were made.
    noise_scale : factor on the noise that chunks are made from; other than one in altered policies alone.
    """

    privileged: bool = False
    listens: bool = False
    process: ClassVar[Process]

    def __init__(
        self,
        *,
        denoiser: str = "mlp",
        hidden: int = 256,
        blocks: int = 2,
        embedding: int = 64,
        horizon: int = 16,
        execute: int = 8,
        history: int = 2,
        inference_steps: int = 5,
        observations: Sequence[str] | None = None,
        cameras: Sequence[str] = (),
    ) -> None:
        sizes = {
            "hidden": hidden,
            "blocks": blocks,
            "embedding": embedding,
            "horizon": horizon,
            "execute": execute,
            "history": history,
            "inference_steps": inference_steps,
        }
        for name, value in sizes.items():
            check_whole(name, value)
        if execute > horizon:
            raise ConfigError(f"policy.execute={execute} must not exceed policy.horizon={horizon}")
        if denoiser not in DENOISERS:
            raise UnknownNameError("policy.denoiser", denoiser, DENOISERS)
        self.config: Record = {
            **sizes,
            "denoiser": denoiser,
            "observations": None if observations is None else list(observations),
            "cameras": list(cameras),
        }
        self.cameras = tuple(cameras)
        self.horizon, self.execute, self.history, self.inference_steps = horizon, execute, history, inference_steps
        self.noise_scale = 1.0
        self.task = ""
        self.layout: dict[str, int] = {}
        self.image_sizes: dict[str, tuple[int, int]] = {}
        self.recipe: Record = {}
        self._action_size = 0
        self._normalisation: Normalisation | None = None
        self._network: ChunkNetwork | None = None

    @property
    def network(self) -> ChunkNetwork:
        """The network; raises CheckpointError before training."""
        if self._network is None:
            raise CheckpointError("this policy has no weights yet; train it or load a checkpoint")
        return self._network

    @property
    def device(self) -> torch.device:
        """Where the network computes; what it reads is moved there, what it gives comes back as numpy."""
        return next(self.network.parameters()).device

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

    def equip(
        self,
        task: str,
        layout: Mapping[str, int],
        action_size: int,
        normalisation: Normalisation,
        image_sizes: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        """Take up a task, its layout and its statistics, with a network whose weights come from torch's seed."""
        self.task, self.layout, self._action_size = task, dict(layout), action_size
        self.image_sizes = dict(image_sizes or {})
        self._normalisation = normalisation
        self._network = ChunkNetwork(self.make_encoder(), self.make_denoiser()).eval()

    def make_encoder(self) -> nn.Module:
        """A new encoder, see :class:`workbench.policies.networks.Encoder`."""
        size = self.history * sum(self.layout.values())
        if self.cameras:
            return ImageEncoder(size, self.cameras, self.config["hidden"], self.config["embedding"])
        return StateEncoder(size, self.config["hidden"], self.config["blocks"], self.config["embedding"])

    def make_denoiser(self) -> nn.Module:
        """A new denoiser, see :class:`workbench.policies.networks.Denoiser`."""
        if self.config["denoiser"] != "mlp":
            raise NotImplementedError
        return ResidualMlp(
            self.horizon, self._action_size, self.config["hidden"], self.config["blocks"], self.config["embedding"]
        )

    def plan(
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        instructions: Sequence[str] | None = None,
    ) -> PolicyOutput:
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
        count = len(noise)
        inputs = moved(self.inputs(observation, count, instructions), self.device)
        drawn = self._draw(noise, samples).to(self.device)
        with torch.inference_mode():
            parts = [
                self._infer(
                    {key: seen[first : first + BLOCK] for key, seen in inputs.items()}, drawn[first : first + BLOCK]
                )
                for first in range(0, count, BLOCK)
            ]
        features, made = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
        chunks = self.normalisation.physical_action(made)
        return PolicyOutput(chunks[:, 0], chunks[:, 1:] if samples else None, features)

    def inputs(self, observation: Observation, count: int, instructions: Sequence[str] | None = None) -> Inputs:
        """What the encoder reads of N observations, checked and normalised; see :data:`Inputs`."""
        state = torch.from_numpy(self.normalisation.observation(self._vectors(observation, count)))
        images = {f"images/{camera}": self._images(observation, count, camera) for camera in self.cameras}
        return {"state": state, **images}

    def _images(self, observation: Observation, count: int, camera: str) -> torch.Tensor:
        """Images (N, 3, height, width) uint8 of one camera, checked."""
        key, wanted = f"images/{camera}", (count, *self.image_sizes[camera], 3)
        shape = np.shape(observation[key]) if key in observation else "nothing"
        if shape != wanted:
            raise ObservationError(f"{key} is {shape}, must be {wanted}")
        return channels_first(observation[key])

    def stored_inputs(self, demonstrations: Sequence[Demonstration]) -> Inputs:
        """What the encoder reads of demonstrations, for :class:`workbench.policies.demonstrations.Windows`."""
        vectors = np.concatenate([vectors_of(each, list(self.layout)) for each in demonstrations])
        images = {
            f"images/{camera}": torch.cat(
                [channels_first(each.observation[f"images/{camera}"]) for each in demonstrations]
            )
            for camera in self.cameras
        }
        return {"state": torch.from_numpy(self.normalisation.observation(vectors)), **images}

    def _draw(self, noise: Sequence[np.random.Generator], samples: int) -> torch.Tensor:
        """Noise (N, 1 + B, H, A); the chunk's first, so that the number of samples changes nothing about it."""
        shape = (1 + samples, self.horizon, self._action_size)
        drawn = [rng.standard_normal(shape, dtype=np.float32) for rng in noise]
        return torch.from_numpy(np.stack(drawn) * np.float32(self.noise_scale))

    def _infer(self, inputs: Inputs, drawn: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (n, D) and chunks (n, 1 + B, H, A) of up to :data:`BLOCK` scenes, from noise of that shape."""
        count = len(drawn)
        tokens = self.network.encode({key: padded(seen) for key, seen in inputs.items()})
        made = [self.sample(tokens, padded(drawn[:, :1]))[:count]]
        if drawn.shape[1] > 1:
            # One scene's samples are a product of their own; the copy is aligned, which rounding can depend on too.
            each = [
                self.sample(tokens[row : row + 1].clone(), drawn[row : row + 1, 1:].clone()) for row in range(count)
            ]
            made.append(torch.cat(each))
        return tokens[:count].mean(dim=1), torch.cat(made, dim=1)

    def sample(self, tokens: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Normalised chunks (n, K, H, A) from noise of that shape and tokens (n, L, D)."""
        network = self.network
        return self.process.sample(lambda chunk, level: network(chunk, level, tokens), noise, self.inference_steps)

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

    def altered(self, settings: Record) -> Self:
        """The same policy with some of its settings changed; it shares the weights and is not to be saved.

        Parameters
        ----------
        settings : ``inference_steps``; ``noise_scale``, factor on the noise that chunks are made from;
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
        if "inference_steps" in settings:
            check_whole("inference_steps", settings["inference_steps"])
            other.inference_steps = settings["inference_steps"]
        other.noise_scale = check_scale("noise_scale", settings)
        std = other.normalisation.std * check_scale("normalisation_scale", settings)
        other._normalisation = dataclasses.replace(other.normalisation, std=std)
        return other

    def configure(self, settings: Record) -> None:
        """Take up settings, :data:`CONFIGURABLE`, in the place of those that the policy was trained with.

        Raises
        ------
        ConfigError
            For an impossible setting, or one that the weights depend on.
        """
        for name in settings:
            if name not in CONFIGURABLE:
                raise UnknownNameError(f"setting of a trained {type(self).__name__}", name, CONFIGURABLE)
        checked = type(self)(**{**self.config, **settings})
        self.config, self.execute, self.inference_steps = checked.config, checked.execute, checked.inference_steps

    def _replaced_by(self, folder: str) -> Self:
        """The policy of a checkpoint, if a rollout of this one can go on with it."""
        other = type(self).load(folder, task=self.task, observation_sizes=self.layout)
        for name in ("history", "horizon", "embedding"):
            if other.config[name] != self.config[name]:
                raise ConfigError(
                    f"the policy in {folder} cannot take the place of this one: its {name} is {other.config[name]}, "
                    f"not {self.config[name]}; train one with policy.{name}={self.config[name]}"
                )
        return other

    def with_network(self, network: ChunkNetwork) -> Self:
        """The same policy with the weights of another network, which it shares."""
        other = copy.copy(self)
        other._network = network
        return other

    def save(self, folder: Path) -> None:
        """Write weights, configuration, statistics, task, layout and recipe; replaces a checkpoint at once."""
        checkpoint.write(
            Path(folder),
            {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()},
            {
                "policy": type(self).__name__,
                "config": self.config,
                "task": self.task,
                "layout": self.layout,
                "action_size": self._action_size,
                "image_sizes": self.image_sizes,
                "statistics": self.normalisation.record(self.layout),
                "recipe": self.recipe,
            },
        )

    @classmethod
    def load(
        cls, folder: Path | str, task: str | None = None, observation_sizes: Mapping[str, int] | None = None
    ) -> Self:
        """Policy from a checkpoint.

        A CheckpointError is raised if it is missing or damaged, its weights are not finite, or it holds another kind
        of policy or one for another task or observation layout.

        Parameters
        ----------
        folder
            where :meth:`save` wrote it; ``zoo/<entry>`` for one that comes with the package.
        task
            name of the task that it will drive; None to take whatever is there.
        observation_sizes
            key -> length of that task's observations; None to take whatever is there.
        """
        folder = checkpoint.located(str(folder))
        needed = ("policy", "config", "task", "layout", "action_size", "image_sizes", "statistics", "recipe")
        tensors, record = checkpoint.read(folder, needed)
        if record["policy"] != cls.__name__:
            raise CheckpointError(f"{folder} holds a {record['policy']}, not {cls.__name__}; choose another policy=...")
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
            image_sizes = {
                camera: (int(height), int(width)) for camera, (height, width) in record["image_sizes"].items()
            }
            policy.equip(record["task"], layout, action_size, statistics, image_sizes)
            policy.network.load_state_dict(tensors)
        except (TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"the policy in {folder} is damaged: {' '.join(str(error).split())}") from None
        broken = [name for name, tensor in policy.network.state_dict().items() if not torch.isfinite(tensor).all()]
        if broken:
            raise CheckpointError(
                f"the policy in {folder} has NaN or infinity in its weights {broken[0]}; train it again"
            )
        policy.recipe = record["recipe"]
        return policy


def channels_first(images: Array) -> torch.Tensor:
    """Images (n, height, width, 3) uint8 -> (n, 3, height, width)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(images, dtype=np.uint8), -1, 1)))


def moved(inputs: Inputs, device: torch.device) -> Inputs:
    """The same inputs on a device."""
    return {key: seen.to(device) for key, seen in inputs.items()}


def padded(rows: torch.Tensor) -> torch.Tensor:
    """Rows (n, ...) with zeros behind them, :data:`BLOCK` in all."""
    return torch.cat([rows, rows.new_zeros((BLOCK - len(rows), *rows.shape[1:]))])


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
