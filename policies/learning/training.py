"""Training of a chunk policy on demonstrations: deterministic for a seed, and resumable to the last bit.

Everything is drawn from one generator on the CPU and moved from there, so another device changes rounding only.  To the
last bit holds on the CPU; on CUDA as far as its kernels repeat themselves.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch

from workbench.errors import CheckpointError, ConfigError, UnknownNameError
from workbench.policies.chunks.batches import to_device
from workbench.policies.chunks.chunk_policy import ChunkPolicy
from workbench.policies.chunks.normalisation import Normalisation
from workbench.policies.learning import checkpoint
from workbench.policies.learning.demonstrations import (
    Windows,
    check_demonstrations,
    digest_of,
    shapes_of,
    split,
    vectors_of,
    windows_of,
)
from workbench.policies.learning.devices import autocast, check_precision, device_of, full_precision
from workbench.policies.learning.training_curve import (
    DRAWN_WINDOWS,
    TrainingCurve,
    check_groups,
    errors_by_group,
    relative_to,
    spread_by_group,
    spread_windows,
    warning_of,
)
from workbench.policies.networks.layers import ChunkNetwork, Inputs
from workbench.types import Count, Demonstration, Inside, Positive, Record
from workbench.types.reading import (
    MOST_TENSOR_BYTES,
    Between,
    Source,
    brief,
    check_seal,
    checked,
    keys,
    parsed,
    read_bytes,
    sealed,
    shown,
    tensors_of,
    words_of,
)

POINTS = 20
"""Points of the curve."""
STATE = "training.safetensors"
Evaluate = Callable[[ChunkPolicy], Record]
"""Rolls a policy in simulation and tells ``episodes`` and ``successes``; the policy must come back as it was."""


def train(
    policy: ChunkPolicy,
    demonstrations: Sequence[Demonstration],
    *,
    task: str,
    groups: Mapping[str, tuple[int, int]] | None = None,
    iterations: Positive = 2500,
    batch: Positive = 256,
    draws: Positive = 1,
    learning_rate: Annotated[float, Inside(0, math.inf)] = 1e-3,
    warmup: Count = 100,
    weight_decay: Annotated[float, Inside(0, math.inf, zero=True)] = 1e-4,
    clip_norm: Annotated[float, Inside(0, math.inf)] = 1.0,
    ema_decay: Annotated[float, Inside(0, 1, zero=True)] = 0.995,
    held_out: Annotated[float, Inside(0, 1, zero=True)] = 0.1,
    seed: int = 0,
    device: str = "auto",
    precision: str = "float32",
    evaluate: Evaluate | None = None,
    evaluate_every: int = 0,
    folder: Path | None = None,
    save_every: Positive = 500,
    progress: Callable[[int, float], None] | None = None,
) -> TrainingCurve:
    """Train a policy in place; one that has weights already is fine-tuned from them, with its own statistics.

    What the policy is given in the end is the last average of the weights, whatever the evaluations on the way said:
    the best of several measured success rates is the luckiest too, so the checkpoint would look better than it is.

    A ConfigError is raised if a number or a demonstration is impossible, the device or precision is not to be had,
    the loss is no longer finite, or ``folder`` holds the state of another training.

    Parameters
    ----------
    policy
        is given the averaged weights in the end, on the CPU.
    demonstrations
        at least two; of one task.
    task
        name of their task.
    groups
        parts of an action whose errors are told apart, name -> first column and one past the last; None for one group
        of all.
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
    device
        ``cpu``, ``cuda``, or ``auto`` for CUDA where there is any.
    precision
        ``float32``, or ``bfloat16`` for products in that precision (weights, moments and average stay in float32).
    evaluate, evaluate_every
        what rolls the averaged weights in simulation, and after how many iterations each time, and at the end; 0 for
        never.  It changes nothing about the training.
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
        "evaluate_every": evaluate_every,
    }
    check_recipe(recipe, save_every)
    if evaluate_every and evaluate is None:
        raise ConfigError(f"evaluate_every={evaluate_every} needs something to evaluate with; set it to 0")
    place = device_of(device)
    check_precision(precision, place)
    check_demonstrations(demonstrations)
    training, validation = split(demonstrations, held_out, seed)
    equip(policy, training, task, seed)
    recipe["policy"] = type(policy).__name__
    recipe["condition_dropout"] = policy.config["condition_dropout"]
    recipe["precision"] = precision
    recipe["groups"] = check_groups(groups, demonstrations[0].actions.shape[1])
    recipe["demonstrations"] = len(demonstrations)
    recipe["windows"] = sum(len(each.actions) for each in demonstrations)
    recipe["data"] = digest_of(policy, demonstrations)
    state = TrainingState(policy, recipe, place)
    path = None if folder is None else Path(folder) / STATE
    if path is not None and path.exists():
        state.load(path)
    windows = windows_of(policy, training)
    with full_precision(place):
        state.run(windows, windows_of(policy, validation), path, save_every, progress, evaluate)
    policy.network.load_state_dict(state.average.state_dict())
    policy.recipe = {**recipe, "device": place.type}
    spread = spread_by_group(policy, windows, recipe["groups"])
    relative = {name: [relative_to(spread[name], point["error"][name]) for point in state.points] for name in spread}
    return TrainingCurve(
        iteration=[point["iteration"] for point in state.points],
        training=[point["training"] for point in state.points],
        validation=[point["validation"] for point in state.points],
        learning_rate=[point["learning_rate"] for point in state.points],
        error={name: [point["error"][name] for point in state.points] for name in spread},
        relative_error=relative,
        evaluations=state.evaluations,
        warning=warning_of({name: values[-1] for name, values in relative.items()}),
        parameters=sum(parameter.numel() for parameter in policy.network.parameters()),
        demonstrations=len(training),
        held_out=len(validation),
        device=place.type,
        precision=precision,
        seconds=state.clock.record(),
    )


@dataclasses.dataclass(frozen=True)
class Point:
    """One point of a training's curves."""

    iteration: Annotated[int, Between(0, 10**9)]
    training: float
    validation: float
    learning_rate: float
    error: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a training had come, as its state says beside the weights."""

    step: Annotated[int, Between(0, 10**9)]
    loss_sum: float
    loss_count: Annotated[int, Between(0, 10**9)]
    points: list[Point]
    evaluations: list[dict[str, Any]]
    seconds: dict[Literal["wall_s", "cpu_s", "evaluation_s"], Annotated[float, Between(0, 1e12)]]
    recipe: Record


class Clock:
    """Seconds that a training has taken, those before an interruption included.

    Attributes
    ----------
    wall_s, cpu_s : of iterations, validation and saving; CPU seconds are those of this process, all threads.
    evaluation_s : wall seconds of the evaluations in simulation, which are in neither.
    """

    def __init__(self, wall_s: float = 0.0, cpu_s: float = 0.0, evaluation_s: float = 0.0) -> None:
        self.wall_s, self.cpu_s, self.evaluation_s = wall_s, cpu_s, evaluation_s
        self._since = time.perf_counter(), time.process_time()

    def lap(self, evaluating: bool = False) -> None:
        """Count the time since the last lap."""
        now = time.perf_counter(), time.process_time()
        if evaluating:
            self.evaluation_s += now[0] - self._since[0]
        else:
            self.wall_s += now[0] - self._since[0]
            self.cpu_s += now[1] - self._since[1]
        self._since = now

    def record(self) -> Record:
        """As the constructor takes them."""
        return {"wall_s": self.wall_s, "cpu_s": self.cpu_s, "evaluation_s": self.evaluation_s}


class TrainingState:
    """Everything that decides the rest of a training: weights, their average, moments, step and random state.

    Parameters
    ----------
    policy : whose network is the first; it is not changed.
    recipe : what :func:`train` was asked for.
    device : where it computes; a saved state can go on on another one.
    """

    def __init__(self, policy: ChunkPolicy, recipe: Record, device: torch.device | None = None) -> None:
        self.policy, self.recipe, self.process = policy, recipe, policy.process
        self.condition_dropout: float = policy.config["condition_dropout"]
        self.device = device or torch.device("cpu")
        self.network: ChunkNetwork = copy.deepcopy(policy.network).to(self.device).train()
        self.average: ChunkNetwork = copy.deepcopy(policy.network).to(self.device)
        self.random = torch.Generator().manual_seed(recipe["seed"])
        self.step = 0
        self.loss_sum = 0.0
        self.loss_count = 0
        self.points: list[Record] = []
        self.evaluations: list[Record] = []
        self.clock = Clock()
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
        evaluate: Evaluate | None,
    ) -> None:
        """Iterate to the end, saving on the way."""
        iterations: int = self.recipe["iterations"]
        every: int = self.recipe["evaluate_every"]
        point = math.ceil(iterations / POINTS)
        while self.step < iterations:
            loss = self.iterate(training)
            self.count(loss)
            last = self.step == iterations
            if self.step % point == 0 or last:
                self.add_point(validation)
            due = every > 0 and (self.step % every == 0 or last)
            if due and evaluate is not None:
                self.add_evaluation(evaluate)
            if path is not None and (self.step % save_every == 0 or due or last):
                self.save(path)
            if progress is not None:
                progress(self.step, loss)
        self.clock.lap()

    def iterate(self, windows: Windows) -> float:
        """One step of gradient descent; returns the loss."""
        size: int = self.recipe["batch"]
        inputs, chunk = windows.batch(torch.randint(len(windows), (size,), generator=self.random))
        draws: int = self.recipe["draws"]
        noise = torch.randn((size, draws, *chunk.shape[1:]), generator=self.random)
        level = torch.rand((size, draws), generator=self.random)
        hidden = torch.rand(size, generator=self.random) < self.condition_dropout if self.condition_dropout else None
        inputs = self.network.augment(inputs, self.random)
        with self.autocast():
            loss = self.loss(self.network, inputs, chunk, noise, level, hidden)
        self.optimiser.zero_grad()
        torch.autograd.backward([loss])
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe["clip_norm"])
        self.optimiser.param_groups[0]["lr"] = learning_rate_at(self.step, self.recipe)
        self.optimiser.step()
        self.step += 1
        self.update_average()
        return float(loss.detach())

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The precision in which the loss is computed."""
        return autocast(self.recipe["precision"], self.device)

    def loss(
        self,
        network: ChunkNetwork,
        inputs: Inputs,
        chunk: torch.Tensor,
        noise: torch.Tensor,
        level: torch.Tensor,
        hidden: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mean training loss of chunks (n, H, A), each under noise (n, K, H, A) at levels (n, K).

        ``hidden`` (n,) bool says which observations are kept from the denoiser.
        """
        chunk, noise, level = (values.to(self.device) for values in (chunk, noise, level))
        tokens = network.encode(to_device(inputs, self.device))
        if hidden is not None:
            tokens = network.hide(tokens, hidden.to(self.device))
        wanted = chunk[:, None].expand_as(noise)
        return self.process.loss(lambda noisy, at: network(noisy, at, tokens), wanted, noise, level).mean()

    def count(self, loss: float) -> None:
        """Add a loss to the mean that the next point tells; refuse one from which nothing comes back."""
        if not math.isfinite(loss):
            raise ConfigError(
                f"the loss is {loss} after iteration {self.step}: the training has diverged; lower learning_rate="
                f"{self.recipe['learning_rate']} or clip_norm={self.recipe['clip_norm']}"
            )
        self.loss_sum, self.loss_count = self.loss_sum + loss, self.loss_count + 1

    def add_point(self, validation: Windows) -> None:
        """Add a point to the curve: losses, learning rate and the error of each group of the action."""
        self.points.append(
            {
                "iteration": self.step,
                "training": self.loss_sum / self.loss_count,
                "validation": self.validation_loss(validation),
                "learning_rate": learning_rate_at(self.step - 1, self.recipe),
                "error": errors_by_group(self.policy.with_network(self.average), validation, self.recipe["groups"]),
            }
        )
        self.loss_sum, self.loss_count = 0.0, 0

    def validation_loss(self, windows: Windows) -> float:
        """Training loss of the average on spread windows, with the same noise and levels every time."""
        random = torch.Generator().manual_seed(0)
        chosen, total = spread_windows(windows), 0.0
        for part in torch.split(chosen, DRAWN_WINDOWS):  # all at once, images would fill the memory
            inputs, chunk = windows.batch(part)
            noise = torch.randn((len(chunk), 1, *chunk.shape[1:]), generator=random)
            level = torch.rand((len(chunk), 1), generator=random)
            with torch.inference_mode():
                total += len(part) * float(self.loss(self.average, inputs, chunk, noise, level))
        return total / len(chosen)

    def add_evaluation(self, evaluate: Evaluate) -> None:
        """Have the averaged weights rolled; the policy handed out has a copy, so that nothing can be changed by it."""
        self.clock.lap()
        found = evaluate(self.policy.with_network(copy.deepcopy(self.average)))
        self.evaluations.append({"iteration": self.step, **found})
        self.clock.lap(evaluating=True)

    def update_average(self) -> None:
        """Exponential moving average whose memory grows with the step, so that it forgets the first weights.

        By hand, as is the learning rate: a resumed training has both from the step alone, and ``AveragedModel`` and
        ``SequentialLR`` would each bring a counter of their own to keep.
        """
        decay = min(self.recipe["ema_decay"], self.step / (self.step + 10))
        with torch.no_grad():
            for average, latest in zip(self.average.parameters(), self.network.parameters(), strict=True):
                average.lerp_(latest, 1 - decay)

    def save(self, path: Path) -> None:
        """Write everything to one file, at once; it says nothing of the device."""
        from safetensors.torch import save

        tensors = {"random": self.random.get_state()}
        for name, parameter in self.network.named_parameters():
            moments = self.optimiser.state[parameter]
            tensors[f"weights/{name}"] = parameter.detach()
            tensors[f"first/{name}"] = moments["exp_avg"]
            tensors[f"second/{name}"] = moments["exp_avg_sq"]
        for name, parameter in self.average.named_parameters():
            tensors[f"average/{name}"] = parameter.detach()
        self.clock.lap()
        progress = {
            "step": self.step,
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
            "points": self.points,
            "evaluations": self.evaluations,
            "seconds": self.clock.record(),
            "recipe": self.recipe,
        }
        kept = {name: tensor.cpu() for name, tensor in tensors.items()}
        words = sealed({name: tensor.numpy() for name, tensor in kept.items()}, {"progress": json.dumps(progress)})
        data = save(kept, words)
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.replace(path, data)

    def load(self, path: Path) -> None:
        """Take up a saved state of the same training."""
        from safetensors.torch import load

        source = Source(str(path), CheckpointError, "remove it to train from the beginning")
        content = read_bytes(path, source, MOST_TENSOR_BYTES)
        tensors = tensors_of(content, source, load)
        words = words_of(content, source)
        check_seal({name: tensor.numpy() for name, tensor in tensors.items()}, words, source)
        progress: Progress = checked(Progress, parsed(words.get("progress", ""), source, infinite=True), source)
        self._fits(tensors, source)
        theirs = progress.recipe
        differing = sorted(key for key in {*theirs, *self.recipe} if theirs.get(key) != self.recipe.get(key))
        if differing:
            raise ConfigError(
                f"{path} is the state of a training with other {', '.join(differing)}; "
                "remove it to train from the beginning, or ask for what it was begun with"
            )
        self.step, self.evaluations = progress.step, progress.evaluations
        self.points = [dataclasses.asdict(point) for point in progress.points]
        self.loss_sum, self.loss_count = progress.loss_sum, progress.loss_count
        self.clock = Clock(**progress.seconds)
        try:
            self.random.set_state(tensors["random"])
        except RuntimeError as error:
            raise source.wrong(f"holds no state of a generator ({brief(str(error))})") from None
        self._take(tensors)

    def _fits(self, tensors: Mapping[str, torch.Tensor], source: Source) -> None:
        """CheckpointError if weights are missing, of another shape or kind, or not finite."""
        wanted = {"random": self.random.get_state()}
        for name, parameter in self.network.named_parameters():
            wanted |= {f"{part}/{name}": parameter for part in ("weights", "first", "second", "average")}
        keys(tensors, wanted, wanted, source)
        for name, tensor in tensors.items():
            if (tensor.shape, tensor.dtype) != (wanted[name].shape, wanted[name].dtype):
                raise source.wrong(f"holds {shown(name)} as {tensor.dtype} of shape {tuple(tensor.shape)}")
            if not torch.isfinite(tensor).all():
                raise source.wrong(f"holds NaN or infinity in {shown(name)}")

    def _take(self, tensors: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(tensors[f"weights/{name}"])
                self.optimiser.state[parameter] = {
                    "step": torch.tensor(float(self.step), device=self.device),
                    "exp_avg": tensors[f"first/{name}"].to(self.device),
                    "exp_avg_sq": tensors[f"second/{name}"].to(self.device),
                }
            for name, parameter in self.average.named_parameters():
                parameter.copy_(tensors[f"average/{name}"])


def learning_rate_at(step: int, recipe: Record) -> float:
    """Linear warmup, then a cosine down to zero."""
    peak, warmup = float(recipe["learning_rate"]), int(recipe["warmup"])
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / max(1, recipe["iterations"] - warmup))) / 2


def equip(policy: ChunkPolicy, demonstrations: Sequence[Demonstration], task: str, seed: int) -> None:
    """Give an untrained policy its layout, statistics and first weights; check that a trained one fits."""
    layout = policy.choose({key: shape[0] for key, shape in shapes_of(demonstrations[0]).items() if len(shape) == 1})
    images = image_sizes_of(policy, demonstrations[0])
    if policy.task:
        if (policy.task, policy.layout, policy.image_sizes) != (task, layout, images):
            raise ConfigError(
                f"a policy for task {policy.task!r} with observations {policy.layout | policy.image_sizes} cannot be "
                f"fine-tuned on task {task!r} with {layout | images}"
            )
        return
    policy.layout = layout
    statistics = Normalisation.of(
        np.concatenate([policy.described(vectors_of(each, list(layout))) for each in demonstrations]),
        np.concatenate([np.asarray(each.actions, dtype=np.float64) for each in demonstrations]),
    )
    policy.prepare(demonstrations)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy.equip(task, layout, demonstrations[0].actions.shape[1], statistics, images)


def image_sizes_of(policy: ChunkPolicy, demonstration: Demonstration) -> dict[str, tuple[int, int]]:
    """Camera -> (height, width) of the images that a policy reads."""
    found = {}
    for camera in policy.cameras:
        key = f"images/{camera}"
        if key not in demonstration.observation:
            raise UnknownNameError("camera of the demonstrations", camera, cameras_of(demonstration))
        height, width = np.shape(demonstration.observation[key])[1:3]
        found[camera] = (height, width)
    return found


def cameras_of(demonstration: Demonstration) -> list[str]:
    """Cameras whose images a demonstration has."""
    return [key.removeprefix("images/") for key in demonstration.observation if key.startswith("images/")]


def check_recipe(recipe: Record, save_every: int) -> None:
    """Refuse impossible numbers."""
    for name, value in {**recipe, "save_every": save_every}.items():
        whole = name in ("iterations", "batch", "draws", "warmup", "seed", "evaluate_every", "save_every")
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
