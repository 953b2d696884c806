"""Training of a corrector, and its checkpoint.

FailSafe (arXiv 2510.01642, 2025) fine-tunes a vision-language model of 7e9 parameters to say whether a failure is
likely, its type and the corrective action.  This is a small network that says the same three things of a policy call,
from the policy's own features and what the robot sees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import nn

from workbench.errors import ConfigError
from workbench.policies.learning import calls, checkpoint
from workbench.policies.learning.calls import LEAST_DEVIATION, Descent, descend, joined, moments, normalised
from workbench.policies.networks.corrector import CorrectorNetwork, Said
from workbench.types import Array, Lessons
from workbench.types.pose import CORRECTION_SIZE
from workbench.types.reading import Between, Size

KIND = "Corrector"


@dataclasses.dataclass(frozen=True)
class _Config(calls.Network):
    """What a checkpoint says of the network."""

    modes: Annotated[list[Annotated[str, Size(0, 200)]], Size(1, 1000)]


@dataclasses.dataclass(frozen=True)
class _Scale(calls.Scale):
    """What a checkpoint says of the inputs and of the motions in training."""

    scale: Annotated[list[Annotated[float, Between(0, 1000)]], Size(6, 6)]


class Corrector:
    """A trained corrector.

    Attributes
    ----------
    layout : name of an input -> its size.
    modes : failure modes that it tells apart.
    task : on which it was trained.
    """

    def __init__(
        self,
        network: CorrectorNetwork,
        layout: Mapping[str, int],
        modes: Sequence[str],
        task: str,
        mean: Array,
        deviation: Array,
        scale: Array,
    ) -> None:
        self._network, self.layout, self.modes, self.task = network.eval(), dict(layout), tuple(modes), task
        self._mean, self._deviation, self._scale = mean, deviation, scale

    def say(self, inputs: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        """Of n calls: chance (n,) of failing, chances (n, M) of the modes, and corrections (n, 7)."""
        with torch.inference_mode():
            said: Said = self._network(normalised(joined(inputs, self.layout), self._mean, self._deviation))
        fingers = np.where(said.fingers.numpy() > 0, 1.0, -1.0)
        corrections = np.concatenate([said.motion.double().numpy() * self._scale, fingers[:, None]], axis=1)
        return torch.sigmoid(said.failing).numpy(), torch.softmax(said.mode, dim=1).numpy(), corrections

    @classmethod
    def load(cls, folder: Path) -> Corrector:
        """One that :func:`train` wrote.

        Raises
        ------
        CheckpointError
            if there is none, or it is damaged.
        """
        network, made, said, scale = calls.read(
            folder, KIND, "corrector", _Config, _Scale,
            lambda inputs, said: CorrectorNetwork(inputs, len(said.modes), said.hidden, said.blocks),
        )  # fmt: skip
        numbers = [np.array(each) for each in (scale.mean, scale.deviation, scale.scale)]
        return cls(network, made.layout, said.modes, made.task, *numbers)


def train(
    lessons: Lessons,
    *,
    task: str,
    folder: Path,
    seed: int,
    iterations: int = 1500,
    batch: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-2,
    held_out: float = 0.25,
    hidden: int = 128,
    blocks: int = 2,
) -> None:
    """Train a corrector and write it into a folder.

    Of several verified corrections of a call any is right, so the nearest to what the network says counts (as in
    multiple choice learning, Guzman-Rivera et al., NeurIPS 2012).  Failing calls and others weigh alike.  The weights
    are those of the iteration at which the loss of the episodes that are held out was least: calls of one episode are
    so alike that a network soon knows them by heart.

    Parameters
    ----------
    folder : of the checkpoint; one that is there is replaced.
    iterations, batch, learning_rate, weight_decay : of AdamW, with a cosine schedule.
    held_out : share of the episodes with a failing call, and of the others; where that is less than one of either, all
        are learned from, for all iterations.

    Raises
    ------
    ConfigError
        if there is nothing to learn: no failing call, no other, or no verified correction.
    """
    counts = {"a failing call": lessons.failing.sum(), "a call that is not failing": (~lessons.failing).sum()}
    counts["a verified correction"] = sum(len(each) for each in lessons.corrections)
    if nothing := [words for words, count in counts.items() if not count]:
        raise ConfigError(f"a corrector has nothing to learn without {' and '.join(nothing)}")
    read = joined(lessons.inputs, lessons.inputs)
    mean, deviation = moments(read)
    scale = _scale(np.concatenate([each for each in lessons.corrections if len(each)]))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CorrectorNetwork(read.shape[1], len(lessons.modes), hidden, blocks)
    targets = _Targets(lessons, scale)
    inputs = normalised(read, mean, deviation)
    taught, held = held_apart(lessons, held_out, seed)
    settings = Descent(iterations=iterations, batch=batch, learning_rate=learning_rate, weight_decay=weight_decay)
    ended = descend(network, lambda rows: targets.loss(network(inputs[rows]), rows), taught, seed, settings, held)
    record = {
        "policy": KIND,
        "config": {"modes": list(lessons.modes), "hidden": hidden, "blocks": blocks},
        "task": task,
        "layout": {name: int(values.shape[1]) for name, values in lessons.inputs.items()},
        "action_size": CORRECTION_SIZE,
        "image_sizes": {},
        "statistics": {"mean": mean.tolist(), "deviation": deviation.tolist(), "scale": scale.tolist()},
        "recipe": {"iterations": iterations, "batch": batch, "learning_rate": learning_rate, "seed": seed}
        | {"held_out": held_out, "best_iteration": ended},
    }
    checkpoint.write(folder, network.state_dict(), record)


def held_apart(lessons: Lessons, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows to learn from, and rows of whole episodes that are held out; none of these where they would lack a class."""
    if not 0 <= share < 1:
        raise ConfigError(f"held_out={share} must be a share, from 0 to below 1")
    random, held = np.random.default_rng(seed), []
    lost = np.unique(lessons.episode[lessons.failing])
    for some in (lost, np.setdiff1d(lessons.episode, lost)):
        held.append(random.permutation(some)[: int(share * len(some))])
    apart = np.isin(lessons.episode, np.concatenate(held)) & all(map(len, held))
    taught, rest = np.flatnonzero(~apart), np.flatnonzero(apart)
    return torch.from_numpy(taught), torch.from_numpy(rest)


def _scale(corrections: Array) -> Array:
    """(6,) one unit of translation, and one of rotation: the root mean square of what was verified."""
    parts = corrections[:, :6].reshape(-1, 2, 3)
    return np.repeat(np.maximum(np.sqrt((parts**2).mean(axis=(0, 2))), LEAST_DEVIATION), 3)


class _Targets:
    """What is right of every call, as tensors; its corrections side by side, and ``there`` says which are any."""

    def __init__(self, lessons: Lessons, scale: Array) -> None:
        self.failing = torch.from_numpy(lessons.failing.astype(np.float32))
        self.mode = torch.from_numpy(lessons.mode.astype(np.int64))
        self.weight = (1 - self.failing.mean()) / self.failing.mean()
        most = max(len(each) for each in lessons.corrections)
        motion = np.zeros((len(lessons.failing), most, 6), np.float32)
        fingers = np.zeros((len(lessons.failing), most), np.float32)
        there = np.zeros((len(lessons.failing), most), bool)
        for row, each in enumerate(lessons.corrections):
            if len(each):
                motion[row, : len(each)], fingers[row, : len(each)] = each[:, :6] / scale, each[:, 6] > 0
                there[row, : len(each)] = True
        self.motion, self.fingers, self.there = (torch.from_numpy(each) for each in (motion, fingers, there))

    def loss(self, said: Said, rows: torch.Tensor) -> torch.Tensor:
        """Of some calls: whether, how, and the nearest right correction."""
        failing = self.failing[rows]
        loss = nn.functional.binary_cross_entropy_with_logits(said.failing, failing, pos_weight=self.weight)
        known = self.mode[rows] >= 0
        if known.any():
            loss = loss + nn.functional.cross_entropy(said.mode[known], self.mode[rows][known])
        there = self.there[rows]
        able = there.any(dim=1)
        if able.any():
            wanted, fingers = self.motion[rows][able], self.fingers[rows][able]
            far = nn.functional.huber_loss(said.motion[able][:, None].expand_as(wanted), wanted, reduction="none").mean(
                -1
            )
            grip = nn.functional.binary_cross_entropy_with_logits(
                said.fingers[able][:, None].expand_as(fingers), fingers, reduction="none"
            )
            each = (far + grip).masked_fill(~there[able], torch.inf)
            loss = loss + each.min(dim=1).values.mean()
        return loss
