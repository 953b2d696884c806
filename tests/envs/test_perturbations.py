"""Every fault of ``conf/perturbation`` keeps its promises, on Lift."""

from __future__ import annotations

import importlib
import json
import math
import re
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from workbench.envs.perturbation import describe
from workbench.envs.scene import MujocoScene
from workbench.envs.tasks.lift import TABLE_M, Lift
from workbench.errors import ConfigError
from workbench.types import Stream

ROOT = Path(__file__).parents[2]
PARTS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "conf/perturbation").glob("*.yaml"))}
NAMES = list(PARTS)
STREAM = Stream(seed=5, episode=7)
START, DURATION, END = 6, 14, 45
"""Schedule of these tests; in the nominal episode the fingers begin to close near step 14 and the cube is lifted at 23."""
LATER = {"start_step": 10_000, "stage": None}
NOW = {"start_step": START, "stage": None, "duration_steps": DURATION}


def build(name: str, **changes):
    """The specification of a yaml, as the command line would make it."""
    part = PARTS[name][name] | changes
    module, _, kind = part["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), kind)(**{key: part[key] for key in part if key != "_target_"})


def magnitudes(name: str) -> list[str]:
    return [key for key in PARTS[name][name] if key not in ("_target_", "start_step", "stage")]


class Reference:
    """The nominal episode: actions of a follower of the task's plan, and what came of them."""

    def __init__(self) -> None:
        self.task = Lift()
        self.scene = self.task.scene()
        self.scene.begin(STREAM)
        self.actions: list[np.ndarray] = []
        for _ in range(END):
            self.actions.append(follow(self.task, self.scene.truth().observation))
            self.scene.step(self.actions[-1])
        assert self.scene.truth().success
        self.trace = self.run([])

    def run(self, records, scene: MujocoScene | None = None) -> Trace:
        scene = scene or self.scene
        trace = Trace()
        trace.see(scene, scene.begin(STREAM, records))
        return trace.go_on(scene, self.actions)


class Trace:
    """What happened in one episode, control step by control step."""

    def __init__(self) -> None:
        self.seen: list[dict] = []
        self.true: list[dict] = []
        self.states: list[np.ndarray] = []
        self.memories: list[np.ndarray] = []
        self.applied: list[np.ndarray] = []

    def see(self, scene: MujocoScene, observation) -> None:
        snapshot = scene.snapshot()
        self.seen.append(dict(observation))
        self.true.append(dict(scene.truth().observation))
        self.states.append(snapshot.state)
        self.memories.append(snapshot.memory)

    def go_on(self, scene: MujocoScene, actions) -> Trace:
        for action in actions:
            observation, *_, info = scene.step(action)
            self.applied.append(info["applied"])
            self.see(scene, observation)
        return self

    def bytes(self, first: int = 0, last: int | None = None) -> list[bytes]:
        """Everything but the faults' own memory, from one step up to another."""
        parts = [*self.states[first:last], *self.applied[first:last]]
        parts += [value for seen in self.seen[first:last] for value in seen.values()]
        return [part.tobytes() for part in parts]


def follow(task: Lift, observation) -> np.ndarray:
    """One action towards the task's next keyframe; remembers nothing."""
    above, at, _, lifted = task.plan(observation)
    eef = observation["eef_pos"]
    beside = np.linalg.norm((eef - at.position_m)[:2]) > 0.015
    near = np.linalg.norm(eef - at.position_m) < 0.012
    held = near and observation["gripper_qpos"][0] < 0.03
    goal = lifted if held else above if beside else at
    return np.r_[np.clip((goal.position_m - eef) / 0.05, -1, 1), 0, 0, 0, 1.0 if near else -1.0]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


@pytest.fixture(params=NAMES)
def record(request, reference):
    """One drawn fault, striking in the middle of the episode."""
    return build(request.param).draw(STREAM, reference.task) | NOW


def starts(record) -> int:
    """Where a fault of this schedule begins: leaving out the grasp waits for the first closing command."""
    return reference_closing if record["name"] == "grasp_omitted" else START


def model_bytes(model: mujoco.MjModel) -> bytes:
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()
