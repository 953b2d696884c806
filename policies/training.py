"""Training of a chunk policy on demonstrations: deterministic for a seed, and resumable to the last bit."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from workbench.errors import CheckpointError, ConfigError, UnknownNameError
from workbench.policies import checkpoint
from workbench.policies.chunk_policy import ChunkPolicy
from workbench.policies.demonstrations import (
    Windows,
    check_demonstrations,
    digest_of,
    shapes_of,
    split,
    vectors_of,
    windows_of,
)
from workbench.policies.networks import ChunkNetwork, Inputs
from workbench.policies.normalisation import Normalisation
from workbench.policies.process import Process
from workbench.types import Demonstration, Record

ACTION_GROUPS: Mapping[str, slice] = {"position": slice(0, 3), "rotation": slice(3, 6), "gripper": slice(6, 7)}
"""Parts of an operational-space pose action of size 7, whose errors are told apart."""
VALIDATION_WINDOWS = 1024
"""Held-out windows that are looked at, spread evenly; more cost time and change little."""
POINTS = 20
"""Points of the curve."""
STATE = "training.safetensors"


@dataclasses.dataclass
class TrainingCurve:
    """How a training went.

    Attributes
    ----------
    iteration, training, validation : iterations done; mean loss of the process since the point before; and that of the
        averaged weights on the held-out demonstrations, with the same noise every time.
    error : part of the action -> mean absolute error, in action units, of chunks drawn for held-out windows.
    parameters : how many the network has.
    demonstrations, held_out : how many were trained on and held out.
    """

    iteration: list[int]
    training: list[float]
    validation: list[float]
    error: dict[str, float]
    parameters: int
    demonstrations: int
    held_out: int


def train(
    policy: ChunkPolicy,
    demonstrations: Sequence[Demonstration],
    *,
    task: str,
    iterations: int = 2500,
    batch: int = 256,
    draws: int = 1,
    learning_rate: float = 1e-3,
    warmup: int = 100,
    weight_decay: float = 1e-4,
    clip_norm: float = 1.0,
    ema_decay: float = 0.995,
    held_out: float = 0.1,
    seed: int = 0,
    folder: Path | None = None,
    save_every: int = 500,
    progress: Callable[[int, float], None] | None = None,
) -> TrainingCurve:
    """Train a policy in place; one that has weights already is fine-tuned from them, with its own statistics.

    A ConfigError is raised if a number or a demonstration is impossible, or ``folder`` holds the state of another
    training.

    Parameters
    ----------
    policy
        is given the averaged weights in the end.
    demonstrations
        at least two; of one task.
    task
        name of their task.
    iterations, batch, learning_rate, weight_decay
        steps of AdamW (Loshchilov and Hutter, ICLR 2019), windows in each, the highest rate, and the decay.
    draws
        noises and levels under which every chunk of a batch is seen; more are cheap where encoding is dear: images.
    warmup
        iterations in which the learning rate rises linearly; after them it falls to zero along a cosine.
    clip_norm
        largest norm of a gradient.
    ema_decay
        decay of the running average of the weights.
    held_out
        part of the demonstrations that only the validation sees.
    seed
        decides the first weights, what is held out, the batches and their noise.
    folder, save_every
        where the state is kept, every so many iterations; a training that was interrupted goes on from there and ends
        bit for bit as if it had not been.
    progress
        called after every iteration with the iterations done and the loss.
    """
    recipe: Record = {
        "iterations": iterations,
        "batch": batch,
        "draws": draws,
        "learning_rate": learning_rate,
        "warmup": warmup,
        "weight_decay": weight_decay,
        "clip_norm": clip_norm,
        "ema_decay": ema_decay,
        "held_out": held_out,
        "seed": seed,
    }
    check_recipe(recipe, save_every)
    check_demonstrations(demonstrations)
    training, validation = split(demonstrations, held_out, seed)
    equip(policy, training, task, seed)
    recipe["demonstrations"] = len(demonstrations)
    recipe["windows"] = sum(len(each.actions) for each in demonstrations)
    recipe["data"] = digest_of(policy, demonstrations)
    state = TrainingState(policy, recipe)
    path = None if folder is None else Path(folder) / STATE
    if path is not None and path.exists():
        state.load(path)
    state.run(windows_of(policy, training), windows_of(policy, validation), path, save_every, progress)
    policy.network.load_state_dict(state.average.state_dict())
    policy.recipe = recipe
    curve = np.array(state.curve).reshape(-1, 3)
    return TrainingCurve(
        iteration=[int(number) for number in curve[:, 0]],
        training=curve[:, 1].tolist(),
        validation=curve[:, 2].tolist(),
        error=errors_by_part(policy, windows_of(policy, validation)),
        parameters=sum(parameter.numel() for parameter in policy.network.parameters()),
        demonstrations=len(training),
        held_out=len(validation),
    )


class TrainingState:
    """Everything that decides the rest of a training: weights, their average, moments, step and random state."""

    def __init__(self, policy: ChunkPolicy, recipe: Record) -> None:
        self.recipe, self.process = recipe, policy.process
        self.network: ChunkNetwork = copy.deepcopy(policy.network).train()
        self.average: ChunkNetwork = copy.deepcopy(policy.network)
        self.random = torch.Generator().manual_seed(recipe["seed"])
        self.step = 0
        self.loss_sum = 0.0
        self.loss_count = 0
        self.curve: list[tuple[float, float, float]] = []
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe["learning_rate"], weight_decay=recipe["weight_decay"], fused=True
        )

    def run(
        self,
        training: Windows,
        validation: Windows,
        path: Path | None,
        save_every: int,
        progress: Callable[[int, float], None] | None,
    ) -> None:
        """Iterate to the end, saving on the way."""
        iterations: int = self.recipe["iterations"]
        point = math.ceil(iterations / POINTS)
        while self.step < iterations:
            loss = self.iterate(training)
            self.loss_sum, self.loss_count = self.loss_sum + loss, self.loss_count + 1
            if self.step % point == 0 or self.step == iterations:
                mean = self.loss_sum / self.loss_count
                self.curve.append((self.step, mean, validation_loss(self.process, self.average, validation)))
                self.loss_sum, self.loss_count = 0.0, 0
            if path is not None and (self.step % save_every == 0 or self.step == iterations):
                self.save(path)
            if progress is not None:
                progress(self.step, loss)

    def iterate(self, windows: Windows) -> float:
        """One step of gradient descent; returns the loss."""
        size: int = self.recipe["batch"]
        inputs, chunk = windows.batch(torch.randint(len(windows), (size,), generator=self.random))
        draws: int = self.recipe["draws"]
        noise = torch.randn((size, draws, *chunk.shape[1:]), generator=self.random)
        level = torch.rand((size, draws), generator=self.random)
        inputs = self.network.augment(inputs, self.random)
        loss = loss_of(self.process, self.network, inputs, chunk, noise, level)
        self.optimiser.zero_grad()
        torch.autograd.backward([loss])
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe["clip_norm"])
        self.optimiser.param_groups[0]["lr"] = learning_rate_at(self.step, self.recipe)
        self.optimiser.step()
        self.step += 1
        self.update_average()
        return float(loss.detach())

    def update_average(self) -> None:
        """Exponential moving average whose memory grows with the step, so that it forgets the first weights."""
        decay = min(self.recipe["ema_decay"], self.step / (self.step + 10))
        with torch.no_grad():
            for average, latest in zip(self.average.parameters(), self.network.parameters(), strict=True):
                average.lerp_(latest, 1 - decay)

    def save(self, path: Path) -> None:
        """Write everything to one file, at once."""
        from safetensors.torch import save

        tensors = {"random": self.random.get_state()}
        for name, parameter in self.network.named_parameters():
            moments = self.optimiser.state[parameter]
            tensors[f"weights/{name}"] = parameter.detach()
            tensors[f"first/{name}"] = moments["exp_avg"]
            tensors[f"second/{name}"] = moments["exp_avg_sq"]
        for name, parameter in self.average.named_parameters():
            tensors[f"average/{name}"] = parameter.detach()
        progress = {
            "step": self.step,
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
            "curve": self.curve,
            "recipe": self.recipe,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.replace(path, save(tensors, metadata={"progress": json.dumps(progress)}))

    def load(self, path: Path) -> None:
        """Take up a saved state of the same training."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                progress = json.loads(file.metadata()["progress"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, TypeError, KeyError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged ({error}); remove it to train from the beginning") from None
        theirs = progress["recipe"]
        differing = sorted(key for key in {*theirs, *self.recipe} if theirs.get(key) != self.recipe.get(key))
        if differing:
            raise ConfigError(
                f"{path} is the state of a training with other {', '.join(differing)}; "
                "remove it to train from the beginning, or ask for what it was begun with"
            )
        self.step, self.curve = progress["step"], [tuple(point) for point in progress["curve"]]
        self.loss_sum, self.loss_count = progress["loss_sum"], progress["loss_count"]
        self.random.set_state(tensors["random"])
        self._take(tensors)

    def _take(self, tensors: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(tensors[f"weights/{name}"])
                self.optimiser.state[parameter] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": tensors[f"first/{name}"],
                    "exp_avg_sq": tensors[f"second/{name}"],
                }
            for name, parameter in self.average.named_parameters():
                parameter.copy_(tensors[f"average/{name}"])


def learning_rate_at(step: int, recipe: Record) -> float:
    """Linear warmup, then a cosine down to zero."""
    peak, warmup = float(recipe["learning_rate"]), int(recipe["warmup"])
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / max(1, recipe["iterations"] - warmup))) / 2


def loss_of(
    process: Process,
    network: ChunkNetwork,
    inputs: Inputs,
    chunk: torch.Tensor,
    noise: torch.Tensor,
    level: torch.Tensor,
) -> torch.Tensor:
    """Mean training loss of chunks (n, H, A), each under noise (n, K, H, A) at levels (n, K)."""
    tokens = network.encode(inputs)
    wanted = chunk[:, None].expand_as(noise)
    return process.loss(lambda noisy, at: network(noisy, at, tokens), wanted, noise, level).mean()


def validation_loss(process: Process, network: ChunkNetwork, windows: Windows) -> float:
    """Training loss on spread windows, with the same noise and levels every time."""
    inputs, chunk = windows.batch(spread(windows))
    random = torch.Generator().manual_seed(0)
    noise = torch.randn((len(chunk), 1, *chunk.shape[1:]), generator=random)
    level = torch.rand((len(chunk), 1), generator=random)
    with torch.inference_mode():
        return float(loss_of(process, network, inputs, chunk, noise, level))


def errors_by_part(policy: ChunkPolicy, windows: Windows) -> dict[str, float]:
    """Mean absolute error, in action units, of one chunk drawn for each of spread windows."""
    inputs, chunk = windows.batch(spread(windows))
    noise = torch.randn((len(chunk), 1, *chunk.shape[1:]), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        drawn = policy.sample(policy.network.encode(inputs), noise)[:, 0]
    physical = policy.normalisation.physical_action
    error = np.abs(physical(drawn.numpy()) - physical(chunk.numpy()))
    parts = ACTION_GROUPS if chunk.shape[-1] == ACTION_GROUPS["gripper"].stop else {"action": slice(None)}
    return {name: float(error[..., part].mean()) for name, part in parts.items()}


def spread(windows: Windows) -> torch.Tensor:
    """Indices of at most :data:`VALIDATION_WINDOWS` windows, evenly spread."""
    count = min(len(windows), VALIDATION_WINDOWS)
    return torch.arange(count) * len(windows) // count


def equip(policy: ChunkPolicy, demonstrations: Sequence[Demonstration], task: str, seed: int) -> None:
    """Give an untrained policy its layout, statistics and first weights; check that a trained one fits."""
    layout = policy.choose({key: shape[0] for key, shape in shapes_of(demonstrations[0]).items() if len(shape) == 1})
    if policy.task:
        if (policy.task, policy.layout) != (task, layout):
            raise ConfigError(
                f"a policy for task {policy.task!r} with observations {policy.layout} cannot be fine-tuned on task "
                f"{task!r} with {layout}"
            )
        return
    statistics = Normalisation.of(
        np.concatenate([vectors_of(each, list(layout)) for each in demonstrations]),
        np.concatenate([np.asarray(each.actions, dtype=np.float64) for each in demonstrations]),
    )
    policy.prepare(demonstrations)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy.equip(
            task, layout, demonstrations[0].actions.shape[1], statistics, image_sizes_of(policy, demonstrations[0])
        )


def image_sizes_of(policy: ChunkPolicy, demonstration: Demonstration) -> dict[str, tuple[int, int]]:
    """Camera -> (height, width) of the images that a policy reads."""
    found = {}
    for camera in policy.cameras:
        key = f"images/{camera}"
        if key not in demonstration.observation:
            raise UnknownNameError("camera of the demonstrations", camera, cameras_of(demonstration))
        images = np.asarray(demonstration.observation[key])
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            raise ConfigError(
                f"{key} of the demonstrations is {images.shape} {images.dtype}, must be (T, height, width, 3) uint8"
            )
        found[camera] = (images.shape[1], images.shape[2])
    return found


def cameras_of(demonstration: Demonstration) -> list[str]:
    """Cameras whose images a demonstration has."""
    return [key.removeprefix("images/") for key in demonstration.observation if key.startswith("images/")]


def check_recipe(recipe: Record, save_every: int) -> None:
    """Refuse impossible numbers."""
    for name, value in {**recipe, "save_every": save_every}.items():
        whole = name in ("iterations", "batch", "draws", "warmup", "seed", "save_every")
        lowest = 1 if name in ("iterations", "batch", "draws", "save_every") else 0
        kind = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not math.isfinite(value) or value < lowest:
            raise ConfigError(f"{name}={value!r} must be a {'whole ' if whole else ''}number of at least {lowest}")
    for name in ("ema_decay", "held_out"):
        if recipe[name] >= 1:
            raise ConfigError(f"{name}={recipe[name]} must be below 1")
    for name in ("learning_rate", "clip_norm"):
        if recipe[name] == 0:
            raise ConfigError(f"{name} must be above 0")
