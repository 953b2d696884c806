"""Training of the predicted benefit of an arm over the placebo, and its checkpoint, which says from where on to act."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import nn

from workbench.errors import ConfigError
from workbench.policies.learning import calls, checkpoint
from workbench.policies.learning.calls import Descent, descend, joined, moments, normalised
from workbench.policies.networks.benefit import BenefitNetwork
from workbench.types import Array, Compared, Record
from workbench.types.reading import Between, Size

KIND = "Benefit"


@dataclasses.dataclass(frozen=True)
class _Config(calls.Network):
    """What a checkpoint says of the network, and of what it decides."""

    arm: Record
    weights: dict[str, Annotated[str, Size(0, 200)]]
    threshold: Annotated[float, Between(-1, 1)] | None
    monitor: Annotated[str, Size(0, 1000)] = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Benefit:
    """A trained prediction of how much likelier an arm wins than the placebo.

    Attributes
    ----------
    network : in evaluation.
    hidden, blocks : with which it was made.
    layout : name of an input -> its size.
    mean, deviation : (F,) of the inputs in training.
    task : on which it was trained.
    arm, weights : configuration of the strategy, and digests of the learned parts by which it acts.
    recipe : of the training.
    threshold : predicted benefit from which on the arm is to act; None for never.
    monitor : behind whose alarms that was calibrated; "" where that is not known.
    """

    network: BenefitNetwork
    hidden: int
    blocks: int
    layout: Mapping[str, int]
    mean: Array
    deviation: Array
    task: str
    arm: Record
    weights: Mapping[str, str]
    recipe: Record
    threshold: float | None = None
    monitor: str = ""

    def predict(self, inputs: Mapping[str, Array]) -> Array:
        """Of n calls: chance that the arm wins less that of the placebo, (n,) in -1..1."""
        return _predicted(self.network, normalised(joined(inputs, self.layout), self.mean, self.deviation))

    def save(self, folder: Path, threshold: float | None) -> None:
        """Write it into a folder, with the predicted benefit from which on the arm acts; what is there is replaced."""
        config = {"hidden": self.hidden, "blocks": self.blocks, "arm": self.arm, "weights": dict(self.weights)}
        record = {
            "policy": KIND,
            "config": {**config, "threshold": threshold, "monitor": self.monitor},
            "task": self.task,
            "layout": dict(self.layout),
            "action_size": 1,
            "image_sizes": {},
            "statistics": {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()},
            "recipe": self.recipe,
        }
        checkpoint.write(folder, self.network.state_dict(), record)

    @classmethod
    def load(cls, folder: Path) -> Benefit:
        """One that was saved.

        Raises
        ------
        CheckpointError
            if there is none, or it is damaged.
        """
        network, made, said, scale = calls.read(
            folder,
            KIND,
            "predicted benefit",
            _Config,
            calls.Scale,
            lambda inputs, said: BenefitNetwork(inputs, said.hidden, said.blocks),
        )
        return cls(
            network, said.hidden, said.blocks, made.layout, np.array(scale.mean), np.array(scale.deviation), made.task,
            said.arm, said.weights, made.recipe, said.threshold, said.monitor,
        )  # fmt: skip


def train(
    lessons: Compared,
    *,
    task: str,
    arm: Record,
    weights: Mapping[str, str],
    seed: int,
    iterations: int = 200,
    batch: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-1,
    hidden: int = 64,
    blocks: int = 1,
    folds: int = 5,
) -> tuple[Benefit, Array]:
    """A prediction, and what was predicted of every call (n,) by a network that had not learned from its episode.

    It learns the two chances, that the arm wins and that the placebo does, and says their difference.

    Parameters
    ----------
    task, arm, weights : as of :class:`Benefit`.
    iterations, batch, learning_rate, weight_decay : of AdamW, with a cosine schedule.
    folds : groups of episodes, each of which is predicted without it.

    Raises
    ------
    ConfigError
        if there are not two episodes.
    """
    read = joined(lessons.inputs, lessons.inputs)
    won = torch.from_numpy(np.stack([lessons.arm, lessons.placebo], axis=1).astype(np.float32))
    settings = Descent(iterations=iterations, batch=batch, learning_rate=learning_rate, weight_decay=weight_decay)

    def trained(rows: Array) -> tuple[BenefitNetwork, Array, Array]:
        mean, deviation = moments(read[rows])
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = BenefitNetwork(read.shape[1], hidden, blocks)
        inputs, wanted = normalised(read[rows], mean, deviation), won[rows]
        loss = nn.functional.binary_cross_entropy_with_logits
        descend(
            network, lambda some: loss(network(inputs[some]), wanted[some]), torch.arange(len(rows)), seed, settings
        )
        return network.eval(), mean, deviation

    held_out = np.zeros(len(read))
    for apart in _folds(lessons.episode, folds, seed):
        network, mean, deviation = trained(np.flatnonzero(~apart))
        held_out[apart] = _predicted(network, normalised(read[apart], mean, deviation))
    network, mean, deviation = trained(np.arange(len(read)))
    layout = {name: int(values.shape[1]) for name, values in lessons.inputs.items()}
    recipe: Record = {**settings, "seed": seed, "folds": folds}
    return Benefit(network, hidden, blocks, layout, mean, deviation, task, arm, weights, recipe), held_out


def _folds(episode: Array, folds: int, seed: int) -> list[Array]:
    """Which calls (n,) are apart in each fold: whole episodes, at random."""
    episodes = np.unique(episode)
    if len(episodes) < 2 or folds < 2:
        raise ConfigError(
            f"a benefit is learned from 2 episodes of the fit split or more in folds=2 or more, not from "
            f"{len(episodes)} in folds={folds}"
        )
    parts = np.array_split(np.random.default_rng(seed).permutation(episodes), min(folds, len(episodes)))
    return [np.isin(episode, part) for part in parts]


def _predicted(network: BenefitNetwork, inputs: torch.Tensor) -> Array:
    """Chance (n,) of the arm less that of the placebo."""
    with torch.inference_mode():
        chances = torch.sigmoid(network(inputs)).double().numpy()
    gain: Array = chances[:, 0] - chances[:, 1]
    return gain
