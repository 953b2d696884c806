"""Records of perturbations as stores hold them: described, and put into a scene of a task."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzzing.mutations import encoded, mutated, one_of
from workbench.config import build, read_yaml
from workbench.envs.faults.specification import describe
from workbench.envs.tasks.blocks import Blocks
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.push_t import PushT
from workbench.errors import WorkbenchError
from workbench.types import Stream
from workbench.types.faults import faults_in

ROOT = Path(__file__).parents[2]
CAMERAS = {"names": ["agentview", "wrist"], "width_px": 8, "height_px": 8, "depth": True}
DRAWS = 2
STEPS = 3


def prepare(folder: Path) -> list[tuple[Any, list[Any]]]:
    """Scenes, and valid records of every perturbation that their tasks can have."""
    nodes = [read_yaml(file) for file in sorted((ROOT / "conf" / "perturbation").glob("*.yaml"))]
    faults = [build(next(iter(node.values()))) for node in nodes]
    tasks = [Lift(cameras=CAMERAS), PushT(), Blocks()]
    return [(task.scene(), list(_drawn(faults, task))) for task in tasks]


def _drawn(faults: list[Any], task: Any) -> Any:
    for fault in faults:
        for episode in range(DRAWS):
            with contextlib.suppress(WorkbenchError):
                yield fault.draw(Stream(0, episode), task)


def attempt(prepared: list[tuple[Any, list[Any]]], random: np.random.Generator, folder: Path) -> None:
    scene, records = one_of(random, prepared)
    drawn = [one_of(random, records)]
    if random.random() < 0.1:
        drawn.append(one_of(random, records))
    text = encoded(random, mutated(random, drawn))
    faults = faults_in(text.decode("utf-8", "surrogateescape"), "the perturbations of an episode")
    for fault in faults:
        describe(fault)
    scene.begin(Stream(0, 0), faults)
    if random.random() < 0.1:
        for _ in range(STEPS):
            scene.step(np.zeros(scene.task.action_size))
        scene.restore(scene.snapshot())
