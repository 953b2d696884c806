"""What every learned policy of ours has: observations in, action chunks drawn from a generative model out.

A policy is made of three parts, each chosen by name::

    encoder    what is seen and told -> tokens (n, L, D)        state, images (and instructions)
    denoiser   noisy chunk, level, tokens -> what to change     mlp, unet, transformer
    process    how noise becomes a chunk, and what is learned   flow (flow.py), diffusion (diffusion.py)

A call can be led in two ways: by guidance, which weighs predictions under other observations against that of the
present one, and by a :class:`workbench.types.Steering`, which begins somewhere else or follows a reward.

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

from workbench.errors import CheckpointError, ConfigError, UnknownNameError
from workbench.policies.chunks.batches import BLOCK, SAMPLES, gaussian, padded, to_device
from workbench.policies.chunks.normalisation import Normalisation
from workbench.policies.chunks.observing import channels_first, images_in, vectors_in
from workbench.policies.chunks.process import Process
from workbench.policies.chunks.relative import differences
from workbench.policies.chunks.settings import check_scale, check_weight, check_whole
from workbench.policies.chunks.steering import NormalisedSteering, of_normalised, started
from workbench.policies.learning import checkpoint
from workbench.policies.learning.demonstrations import vectors_of
from workbench.policies.networks.denoisers import DENOISERS, check_denoiser
from workbench.policies.networks.layers import ChunkNetwork, Inputs, StateEncoder
from workbench.policies.networks.vision import ImageEncoder, cropped_sizes
from workbench.types import Array, Demonstration, Observation, PolicyOutput, Record, Steering
from workbench.types.reading import brief

ALTERABLE = ("checkpoint", "guidance", "inference_steps", "noise_scale", "normalisation_scale", "self_guidance")
"""Settings that :meth:`ChunkPolicy.altered` knows."""
CONFIGURABLE = ("execute", "guidance", "inference_steps", "self_guidance")
"""Settings of a trained policy that its weights do not depend on; see :meth:`ChunkPolicy.configure`."""
DRAWS = 16
"""Noises over which the denoising loss of a call is taken, where a detector asks for it."""


class ChunkPolicy:
    """Draws action chunks; :func:`workbench.policies.learning.training.train` gives it weights.

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
    crop_px : edge of the square of every image that the encoder is handed, from a place drawn for every image in
        training and from its middle otherwise; None for the whole images.
    relative_scales_m : lengths at which it is also shown the differences of observed positions, see
        :mod:`workbench.policies.chunks.relative`; empty for none.
    condition_dropout : probability that training hides an observation behind the null token.
    guidance : w of classifier-free guidance (Ho and Salimans, 2022), (1 + w) prediction - w prediction without the
        observation; 0 for none, above 0 only with ``condition_dropout`` above 0.
    self_guidance : w of self-guidance (SGAC, arXiv 2510.12392), (1 + w) prediction - w prediction of one observation
        earlier; 0 for none, above 0 only with a history of at least 2.  Images and instructions stay the present ones.

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
    signals: tuple[str, ...] = ("denoising_loss", "reconstruction")
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
        crop_px: int | None = None,
        relative_scales_m: Sequence[float] = (),
        condition_dropout: float = 0.0,
        guidance: float = 0.0,
        self_guidance: float = 0.0,
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
        if crop_px is not None:
            check_whole("crop_px", crop_px)
        if execute > horizon:
            raise ConfigError(f"policy.execute={execute} must not exceed policy.horizon={horizon}")
        check_denoiser(denoiser, horizon, hidden)
        self.config: Record = {
            **sizes,
            "denoiser": denoiser,
            "observations": None if observations is None else list(observations),
            "cameras": list(cameras),
            "crop_px": crop_px,
            "relative_scales_m": [check_scale("relative_scales_m", scale) for scale in relative_scales_m],
            "condition_dropout": check_weight("condition_dropout", condition_dropout),
            "guidance": guidance,
            "self_guidance": self_guidance,
        }
        if condition_dropout >= 1.0:
            raise ConfigError(f"policy.condition_dropout={condition_dropout} must be below 1: nothing would be learned")
        self.cameras = tuple(cameras)
        self.horizon, self.execute, self.history = horizon, execute, history
        self.inference_steps = self._check_steps(inference_steps)
        self.guidance = self._check_guidance(guidance)
        self.self_guidance = self._check_self_guidance(self_guidance)
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
        return next((parameter.device for parameter in self.network.parameters()), torch.device("cpu"))

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

    def prepare(self, demonstrations: Sequence[Demonstration]) -> None:
        """Take from the demonstrations what the network's shape depends on beside their layout; nothing here."""

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
        null_size = self.config["embedding"] if self.config["condition_dropout"] else 0
        crop_px = self.config["crop_px"]
        self._network = ChunkNetwork(self.make_encoder(), self.make_denoiser(), crop_px, null_size).eval()

    def make_encoder(self) -> nn.Module:
        """A new encoder: :data:`Inputs` of n observations -> tokens (n, L, D)."""
        size = self.history * sum(self.features.values())
        if self.cameras:
            # in the policy's order, as sums in another order are rounded otherwise
            sizes = {camera: self.image_sizes[camera] for camera in self.cameras}
            seen = cropped_sizes(sizes, self.config["crop_px"])
            return ImageEncoder(size, seen, self.config["hidden"], self.config["embedding"])
        return StateEncoder(size, self.config["hidden"], self.config["blocks"], self.config["embedding"])

    def make_denoiser(self) -> nn.Module:
        """A new denoiser, see :mod:`workbench.policies.networks.denoisers`."""
        kind = DENOISERS[self.config["denoiser"]]
        return kind(
            self.horizon, self._action_size, self.config["hidden"], self.config["blocks"], self.config["embedding"]
        )

    @property
    def features(self) -> dict[str, int]:
        """Key -> length of what the encoder is shown for each observation: the layout, and differences."""
        shown = differences(np.zeros(sum(self.layout.values())), self.layout, self.config["relative_scales_m"])
        return {**self.layout, "relative": len(shown)} if len(shown) else self.layout

    def described(self, vectors: Array) -> Array:
        """Observations (..., S) end to end -> what statistics are of: with the differences behind them."""
        return np.concatenate([vectors, differences(vectors, self.layout, self.config["relative_scales_m"])], axis=-1)

    def plan(
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        instructions: Sequence[str] | None = None,
        steering: Steering | None = None,
        signals: Sequence[str] = (),
    ) -> PolicyOutput:
        """One inference; see :class:`workbench.types.Policy`.

        What a scene is given depends, to the last bit, neither on the other scenes nor on the number of samples.

        Parameters
        ----------
        observation, noise, samples : as there.
        instructions : N strings, of policies that listen.
        steering : where chunk and samples alike are led; None to draw what was learned.
        signals : ``denoising_loss`` (N,), of the chunk, over :data:`DRAWS` draws (Diff-DAgger, Lee et al., ICRA 2025);
            ``reconstruction`` (N,), mean squared change of the chunk, in normalised actions, by half noising it and
            drawing it again.  Their noise is drawn last, so that they change nothing else.

        Returns
        -------
        PolicyOutput
            chunk (N, H, A), samples (N, B, H, A) or None, embedding (N, D), all float32.

        Raises
        ------
        ObservationError
            if a key is missing, has another shape than (N, history, size), or holds NaN or infinity.
        ConfigError
            if the start to steer from has another shape than the chunk.
        """
        count = len(noise)
        inputs = to_device(self.inputs(observation, count, instructions), self.device)
        drawn = self._draw(noise, samples).to(self.device)
        led = None if steering is None else self._normalised(steering, count)
        # Tensors of inference mode can never take part in a gradient, which a reward needs.
        with torch.inference_mode() if led is None else torch.no_grad():
            parts = [
                self._infer(
                    {key: seen[first : first + BLOCK] for key, seen in inputs.items()},
                    drawn[first : first + BLOCK],
                    started(led, slice(first, first + BLOCK), BLOCK),
                )
                for first in range(0, count, BLOCK)
            ]
        features, made = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
        chunks = self.normalisation.physical_action(made)
        if steering is not None and steering.start is not None and steering.start_level == 0.0:
            chunks[:] = steering.start[:, None]  # not by way of the network's units and the range of demonstrations
        said = {name: self._said(name, observation, chunks[:, 0], noise, instructions) for name in signals}
        return PolicyOutput(chunks[:, 0], chunks[:, 1:] if samples else None, features, said)

    def _said(
        self,
        signal: str,
        observation: Observation,
        chunk: Array,
        noise: Sequence[np.random.Generator],
        instructions: Sequence[str] | None,
    ) -> Array:
        """A signal (N,) about a chunk (N, H, A) that was drawn for these observations."""
        if signal == "denoising_loss":
            return self.denoising_loss(observation, chunk, noise, DRAWS, instructions)
        if signal != "reconstruction":
            raise UnknownNameError(f"signal of policy {type(self).__name__}", signal, self.signals)
        again = self.plan(observation, noise, 0, instructions, Steering(chunk, start_level=0.5)).chunk
        scale = self.normalisation
        change = scale.action(again) - scale.action(chunk)
        spread: Array = (change**2).mean(axis=(1, 2))
        return spread

    def denoising_loss(
        self,
        observation: Observation,
        chunk: Array,
        noise: Sequence[np.random.Generator],
        draws: int,
        instructions: Sequence[str] | None = None,
    ) -> Array:
        """How badly chunks are told from noise, given what is seen: high where training saw nothing like them.

        The idea of Diff-DAgger (Lee et al., ICRA 2025).  As of :meth:`plan`, a scene's value does not depend on others.

        Parameters
        ----------
        observation, noise, instructions : as of :meth:`plan`; noise and levels are drawn from ``noise``.
        chunk : (N, H, A) in action units.
        draws : noises for each chunk, one for each of so many equal parts of the levels.

        Returns
        -------
        Array
            (N,) float32, mean of the training loss over the draws.
        """
        check_whole("draws", draws)
        count = len(noise)
        inputs = to_device(self.inputs(observation, count, instructions), self.device)
        wanted = self._chunks(chunk, count).expand(-1, draws, -1, -1)
        drawn = gaussian(noise, (draws, *wanted.shape[2:])).to(self.device)
        # One level from each part: as precise as many more that are drawn at will.
        spread = np.stack([(np.arange(draws) + rng.random(draws)) / draws for rng in noise])
        level = torch.from_numpy(spread).float().to(self.device)
        losses = []
        with torch.inference_mode():
            for first in range(0, count, BLOCK):
                rows = slice(first, first + BLOCK)
                seen = {key: padded(values[rows]) for key, values in inputs.items()}
                loss = self._loss(seen, padded(wanted[rows]), padded(drawn[rows]), padded(level[rows]))
                losses.append(loss.mean(dim=1)[: len(wanted[rows])])
        found: Array = torch.cat(losses).cpu().numpy()
        return found

    def _loss(self, inputs: Inputs, chunk: torch.Tensor, noise: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Training loss (n, K) of normalised chunks (n, K, H, A) under noise of that shape."""
        network, tokens = self.network, self.network.encode(inputs)
        return self.process.loss(lambda noisy, at: network(noisy, at, tokens), chunk, noise, level)

    def inputs(self, observation: Observation, count: int, instructions: Sequence[str] | None = None) -> Inputs:
        """What the encoder reads of N observations, checked and normalised; see :data:`Inputs`."""
        scale, vectors = self.normalisation, vectors_in(observation, self.layout, count, self.history)
        state = torch.from_numpy(scale.observation(self.described(vectors)))
        images = {
            f"images/{camera}": images_in(observation, camera, count, self.image_sizes[camera])
            for camera in self.cameras
        }
        return {"state": state, **images}

    def stored_inputs(self, demonstrations: Sequence[Demonstration]) -> Inputs:
        """What the encoder reads of demonstrations, for :class:`workbench.policies.learning.demonstrations.Windows`."""
        vectors = np.concatenate([vectors_of(each, list(self.layout)) for each in demonstrations])
        images = {
            key: channels_first(np.concatenate([each.observation[key] for each in demonstrations]))
            for key in (f"images/{camera}" for camera in self.cameras)
        }
        return {"state": torch.from_numpy(self.normalisation.observation(self.described(vectors))), **images}

    def _draw(self, noise: Sequence[np.random.Generator], samples: int) -> torch.Tensor:
        """Noise (N, 1 + B, H, A); the chunk's first, so that the number of samples changes nothing about it."""
        return self.noise_scale * gaussian(noise, (1 + samples, self.horizon, self._action_size))

    def _infer(
        self, inputs: Inputs, drawn: torch.Tensor, steering: NormalisedSteering | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (n, D) and chunks (n, 1 + B, H, A) of up to :data:`BLOCK` scenes, from noise of that shape."""
        count = len(drawn)
        conditions = self.conditions({key: padded(seen) for key, seen in inputs.items()})
        made = [self.sample(conditions, padded(drawn[:, :1]), started(steering, slice(BLOCK), BLOCK))[:count]]
        samples = drawn.shape[1] - 1
        if samples:
            together = min(BLOCK, max(1, SAMPLES // samples))
            # Padding also copies to aligned memory, which rounding can depend on too.
            each = [
                self.sample(
                    torch.stack([padded(tokens[rows], together) for tokens in conditions]),
                    padded(drawn[rows, 1:], together),
                    started(steering, rows, together),
                )
                for rows in (slice(first, min(first + together, count)) for first in range(0, count, together))
            ]
            made.append(torch.cat(each)[:count])
        return conditions[0, :count].mean(dim=1), torch.cat(made, dim=1)

    def conditions(self, inputs: Inputs) -> torch.Tensor:
        """Tokens (V, n, L, D) of the observations, and of those that guidance sets against them; see :meth:`sample`."""
        tokens = [self.network.encode(inputs)]
        if self.guidance:
            tokens.append(self.network.hide(tokens[0], tokens[0].new_ones(len(tokens[0]), dtype=torch.bool)))
        if self.self_guidance:
            state = inputs["state"]
            # The oldest observation is repeated, as at the start of an episode.
            tokens.append(self.network.encode({**inputs, "state": torch.cat([state[:, :1], state[:, :-1]], dim=1)}))
        return torch.stack(tokens)

    def sample(
        self, conditions: torch.Tensor, noise: torch.Tensor, steering: NormalisedSteering | None = None
    ) -> torch.Tensor:
        """Normalised chunks (n, K, H, A) from noise of that shape and what :meth:`conditions` says (V, n, L, D)."""
        network = self.network
        if len(conditions) == 1:
            return self.process.sample(
                lambda chunk, level: network(chunk, level, conditions[0]), noise, self.inference_steps, steering
            )
        others = [-weight for weight in (self.guidance, self.self_guidance) if weight]
        weights = (1.0 - sum(others), *others)
        tokens = conditions.flatten(0, 1)

        def guided(chunk: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            predictions = network(chunk.repeat(len(conditions), 1, 1, 1), level, tokens).chunk(len(conditions))
            # Number by number: a matrix product's rounding could depend on where a scene stands.
            return torch.stack([weight * each for weight, each in zip(weights, predictions, strict=True)]).sum(dim=0)

        return self.process.sample(guided, noise, self.inference_steps, steering)

    def _normalised(self, steering: Steering, count: int) -> NormalisedSteering:
        """What was asked for in action units in those of the network."""
        start = None if steering.start is None else self._chunks(steering.start, count)
        reward = None if steering.reward is None else of_normalised(steering.reward, self.normalisation)
        return NormalisedSteering(start, steering.start_level, reward, steering.scale, steering.through_network)

    def _chunks(self, chunk: Array, count: int) -> torch.Tensor:
        """Chunks (N, H, A) in action units -> normalised (N, 1, H, A), checked."""
        wanted = (count, self.horizon, self._action_size)
        if np.shape(chunk) != wanted:
            raise ConfigError(f"the given chunk is {np.shape(chunk)}, must be {wanted}")
        if not np.isfinite(chunk).all():
            raise ConfigError("the given chunk holds NaN or infinity")
        return torch.from_numpy(self.normalisation.action(chunk))[:, None].to(self.device)

    def _check_steps(self, steps: int) -> int:
        check_whole("inference_steps", steps)
        if steps > self.process.most_steps:
            raise ConfigError(
                f"policy.inference_steps={steps} must be at most {self.process.most_steps}, "
                f"the levels that {type(self.process).__name__} samples through"
            )
        return steps

    def _check_guidance(self, weight: float) -> float:
        if check_weight("guidance", weight) and not self.config["condition_dropout"]:
            raise ConfigError(
                f"policy.guidance={weight} needs a policy that was trained with policy.condition_dropout above 0"
            )
        return weight

    def _check_self_guidance(self, weight: float) -> float:
        if check_weight("self_guidance", weight) and self.history < 2:
            raise ConfigError(f"policy.self_guidance={weight} needs policy.history of at least 2, not {self.history}")
        return weight

    def altered(self, settings: Record) -> Self:
        """The same policy with some of its settings changed; it shares the weights and is not to be saved.

        Parameters
        ----------
        settings : ``inference_steps``; ``noise_scale``, factor on the noise that chunks are made from;
            ``normalisation_scale``, factor on the standard deviations by which observations are divided;
            ``guidance`` and ``self_guidance``, their weights;
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
            other.inference_steps = other._check_steps(settings["inference_steps"])
        if "guidance" in settings:
            other.guidance = other._check_guidance(settings["guidance"])
        if "self_guidance" in settings:
            other.self_guidance = other._check_self_guidance(settings["self_guidance"])
        other.noise_scale = check_scale("noise_scale", settings.get("noise_scale", 1.0))
        std = other.normalisation.std * check_scale("normalisation_scale", settings.get("normalisation_scale", 1.0))
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
        self.config = checked.config
        for name in CONFIGURABLE:
            setattr(self, name, getattr(checked, name))

    def _replaced_by(self, folder: str) -> Self:
        """The policy of a checkpoint, if a rollout of this one can go on with it."""
        other = type(self).load(folder, task=self.task, observation_sizes=self.layout, image_sizes=self.image_sizes)
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
                "statistics": self.normalisation.record(self.features),
                "recipe": self.recipe,
            },
        )

    @classmethod
    def load(
        cls,
        folder: Path | str,
        task: str | None = None,
        observation_sizes: Mapping[str, int] | None = None,
        image_sizes: Mapping[str, tuple[int, int]] | None = None,
    ) -> Self:
        """Policy from a checkpoint.

        A CheckpointError is raised if it is missing or damaged, its weights are not finite, or it holds another kind
        of policy, one for another task or observation layout, or one that sees through cameras that are not there.

        Parameters
        ----------
        folder
            where :meth:`save` wrote it; ``zoo/<entry>`` for one that comes with the package.
        task
            name of the task that it will drive; None to take whatever is there.
        observation_sizes
            key -> length of that task's observations; None to take whatever is there.
        image_sizes
            camera -> (height, width) of that task's images; None to take whatever is there.
        """
        folder = checkpoint.located(str(folder))
        tensors, record = checkpoint.read(folder)
        if record.policy != cls.__name__:
            raise CheckpointError(f"{folder} holds a {record.policy}, not {cls.__name__}; choose another policy=...")
        if task is not None and record.task != task:
            raise CheckpointError(
                f"the policy in {folder} was trained on task {record.task!r}, not {task!r}; train one for {task!r}"
            )
        if observation_sizes is not None:
            chosen = record.config.get("observations") is not None
            checkpoint.check_layout(folder, record.layout, observation_sizes, chosen)
        try:
            policy = cls._made(record, tensors)
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
            raise CheckpointError(f"the policy in {folder} is damaged: {brief(str(error))}") from None
        broken = [name for name, tensor in policy.network.state_dict().items() if not torch.isfinite(tensor).all()]
        if broken:
            raise CheckpointError(
                f"the policy in {folder} has NaN or infinity in its weights {broken[0]}; train it again"
            )
        policy.recipe = record.recipe
        if image_sizes is not None:
            checkpoint.check_images(folder, policy.image_sizes, image_sizes)
        return policy

    @classmethod
    def _made(cls, record: checkpoint.Made, tensors: Mapping[str, torch.Tensor]) -> Self:
        """What a record describes, with its weights.

        The network is first made without memory (torch's device ``meta``): what a record asks for is never larger than
        the weights that came with it.
        """
        policy = cls(**record.config)
        policy.layout = dict(record.layout)
        statistics = Normalisation.from_record(record.statistics, policy.features, record.action_size)
        sizes = {camera: (height, width) for camera, (height, width) in record.image_sizes.items()}
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            policy.equip(record.task, record.layout, record.action_size, statistics, sizes)
        wanted = {name: tuple(tensor.shape) for name, tensor in policy.network.state_dict().items()}
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if wanted != found:
            differing = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
            name = differing[0]
            raise CheckpointError(f"its weights {name} are {found.get(name)}, and it needs {wanted.get(name)}")
        policy.equip(record.task, record.layout, record.action_size, statistics, sizes)
        policy.network.load_state_dict(dict(tensors))
        return policy
