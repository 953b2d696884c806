"""How a training goes: losses, success in simulation, and the error of each group of the action.

Position, rotation and gripper are told apart because a mean over all of them hides the one that fails; and each is also
measured by its own spread, because a centimetre and a finger's command are not the same kind of number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from workbench.errors import ConfigError
from workbench.policies.chunks.batches import to_device
from workbench.policies.chunks.chunk_policy import ChunkPolicy
from workbench.types import Record

if TYPE_CHECKING:
    from workbench.policies.learning.demonstrations import Windows

VALIDATION_WINDOWS = 1024
"""Held-out windows whose loss is looked at, spread evenly; more cost time and change little."""
DRAWN_WINDOWS = 256
"""Those for which chunks are drawn, which costs as many times more as there are steps from noise to chunk; also how
many go through a network together."""
FAR = 2.0
"""How many times the median of the others a group's relative error must be to be warned of."""
POOR = 0.5
"""And how large at least: half of what always answering the demonstrations' median would get."""
Groups = Mapping[str, tuple[int, int]]


@dataclasses.dataclass
class TrainingCurve:
    """How a training went; lists have one entry a point.

    Attributes
    ----------
    iteration, training, validation : iterations done; mean loss of the process since the point before; and that of the
        averaged weights on the held-out demonstrations, with the same noise every time.
    learning_rate : of the last iteration.
    error : group of the action -> mean absolute error, in action units, of chunks that the averaged weights draw for
        held-out windows.
    relative_error : the same as a share of what always answering the median of the demonstrations would get: 0 is
        perfect, 1 is no better than that; None for a group that never moves in them.
    evaluations : success of the averaged weights in simulation: ``iteration``, ``episodes``, ``successes``.
    warning : which group is far behind the others in the end; "" for none.
    parameters : how many numbers the network has.
    demonstrations, held_out : how many were trained on and held out.
    device, precision : where and in what it was computed.
    seconds : ``wall_s`` and ``cpu_s`` of the training and ``evaluation_s`` of the simulation, interruptions left out.
    """

    iteration: list[int]
    training: list[float]
    validation: list[float]
    learning_rate: list[float]
    error: dict[str, list[float]]
    relative_error: dict[str, list[float | None]]
    evaluations: list[Record]
    warning: str
    parameters: int
    demonstrations: int
    held_out: int
    device: str
    precision: str
    seconds: Record = dataclasses.field(compare=False)


def check_groups(groups: Groups | None, action_size: int) -> dict[str, list[int]]:
    """Groups as plain data; ConfigError if one does not lie within an action."""
    found = {name: [int(column) for column in columns] for name, columns in (groups or {}).items()}
    for name, (first, end) in found.items():
        if not 0 <= first < end <= action_size:
            raise ConfigError(f"group {name!r} of columns {first}..{end} does not lie in an action of {action_size}")
    return found or {"action": [0, action_size]}


def spread_windows(windows: Windows, most: int = VALIDATION_WINDOWS) -> torch.Tensor:
    """Indices of at most so many windows, evenly spread."""
    count = min(len(windows), most)
    return torch.arange(count) * len(windows) // count


def errors_by_group(policy: ChunkPolicy, windows: Windows, groups: Mapping[str, list[int]]) -> dict[str, float]:
    """Mean absolute error, in action units, of one chunk drawn for each of spread windows with the same noise."""
    inputs, chunk = windows.batch(spread_windows(windows, DRAWN_WINDOWS))
    noise = torch.randn((len(chunk), 1, *chunk.shape[1:]), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        conditions = policy.conditions(to_device(inputs, policy.device))
        drawn = policy.sample(conditions, noise.to(policy.device))[:, 0].cpu()
    scale = policy.normalisation
    error = np.abs(scale.physical_action(drawn.numpy()) - scale.demonstrated_action(chunk.numpy()))
    return {name: float(error[..., first:end].mean()) for name, (first, end) in groups.items()}


def spread_by_group(policy: ChunkPolicy, windows: Windows, groups: Mapping[str, list[int]]) -> dict[str, float]:
    """Mean absolute deviation of actions from their median, in action units: the error of the best constant answer."""
    actions = policy.normalisation.demonstrated_action(windows.actions.numpy())
    deviation = np.abs(actions - np.median(actions, axis=0))
    return {name: float(deviation[:, first:end].mean()) for name, (first, end) in groups.items()}


def relative_to(spread: float, error: float) -> float | None:
    """An error as a share of a spread; None if there is none."""
    return error / spread if spread > 0 else None


def warning_of(relative: Mapping[str, float | None]) -> str:
    """One line if a group's relative error is far above the others'; "" if none is."""
    known = {name: value for name, value in relative.items() if value is not None}
    if len(known) < 2:
        return ""
    worst = max(known, key=lambda name: known[name])
    others = float(np.median([value for name, value in known.items() if name != worst]))
    if known[worst] < POOR or known[worst] < FAR * others:
        return ""
    return (
        f"{worst} is learnt far worse than the rest of the action: its error is {known[worst]:.0%} of what a constant "
        f"answer gets, against {others:.0%}"
    )
