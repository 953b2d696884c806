"""A task whose future is known in closed form: one number moves towards a goal, unless it is broken and not mended.

The scene breaks at control step ``breaks``.  While broken, the policy's actions have no effect and the expert's mend
it, until control step ``rots``, after which nothing helps.  Without a break the policy needs ``GOAL`` steps; with one,
onset, point of no return and decisive step follow by counting.  A fault of the action channel turns actions round, and
a negative action breaks the scene.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from workbench.errors import ConfigError
from workbench.types import Array, Observation, PolicyOutput, Record, Snapshot, Stream, Truth
from workbench.types.abilities import stages_of

GOAL = 20
MEND = 5.0


@dataclasses.dataclass
class BareTask:
    """What a task must have, and no ability."""

    name: str = "toy"
    instruction: str = "count to twenty"
    deadline: int = 40
    control_hz: float = 10.0
    action_size: int = 1
    observation_sizes: Mapping[str, int] = dataclasses.field(default_factory=lambda: {"place": 1})
    predicate_names: tuple[str, ...] = ("broken", "success")
    roles: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"success": "success"})

    def scene(self) -> ToyScene:
        return ToyScene(self)


@dataclasses.dataclass
class ToyTask(BareTask):
    """The same with stages, and a name for the numbers of its actions."""

    stages: tuple[str, ...] = ("half", "done")
    action_groups: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=lambda: {"place": (0, 1)})


class ToyScene:
    privileged = False

    def __init__(self, task: BareTask) -> None:
        self.task = task
        self.begin(Stream(0, 0))

    @property
    def step_index(self) -> int:
        return self._step

    def begin(self, stream: Stream, perturbations: Sequence[Record] = ()) -> Observation:
        if unknown := [record["name"] for record in perturbations if "breaks" not in record]:
            raise ConfigError(f"the scene of task {self.task.name} has faults of its own alone, not {unknown[0]}")
        self._stream, self._records = stream, tuple(perturbations)
        self._step, self._place, self._broken = 0, 0.0, False
        self._begin_step()
        return self.observe()

    def _begin_step(self) -> None:
        if any(record["breaks"] == self._step and "turned_steps" not in record for record in self._records):
            self._broken = True

    def step(self, action: Array, as_asked: bool = False) -> tuple[Observation, float, bool, bool, Record]:
        rotten = any(self._step >= record["rots"] for record in self._records)
        turned = any(r["breaks"] <= self._step < r["breaks"] + r.get("turned_steps", 0) for r in self._records)
        if turned and not as_asked:
            action = -np.abs(action)
        self._broken = self._broken or bool(action[0] < 0)
        if self._broken and action[0] >= MEND and not rotten:
            self._broken = False
        elif not self._broken:
            self._place += float(np.clip(action[0], 0.0, 1.0))
        self._step += 1
        self._begin_step()
        success = self.truth().success
        return self.observe(), float(success), success, self._step >= self.task.deadline, {"applied": action}

    def observe(self) -> Observation:
        return {"place": np.array([self._place])}

    def instruction(self) -> str:
        return self.task.instruction

    def queue(self, chunk: Array, execute: int) -> Array:
        return chunk[:execute]

    def settings(self) -> Record:
        return {}

    def truth(self) -> Truth:
        success = self._place >= GOAL
        stage = int(self._place >= GOAL / 2) + int(success)
        predicates = {"broken": float(self._broken), "success": float(success)}
        return Truth(self.observe(), predicates, min(stage, len(stages_of(self.task))), success)

    def injected(self) -> int:
        return min((int(r["breaks"]) for r in self._records if r["breaks"] <= self._step), default=-1)

    def snapshot(self) -> Snapshot:
        state = np.array([self._place])
        return Snapshot("toy", "m", self._step, state, np.array([float(self._broken)]), self._stream, self._records)

    def restore(self, snapshot: Snapshot) -> Observation:
        self._stream, self._records, self._step = snapshot.stream, snapshot.perturbations, snapshot.step
        self._place, self._broken = float(snapshot.state[0]), bool(snapshot.memory[0])
        return self.observe()

    def without_pending(self, snapshot: Snapshot) -> Snapshot:
        struck = tuple(record for record in snapshot.perturbations if record["breaks"] <= snapshot.step)
        return dataclasses.replace(snapshot, perturbations=struck)


@dataclasses.dataclass
class ToyPolicy:
    """Moves on by one; with ``lazy`` a call's chunk does nothing with that probability."""

    lazy: float = 0.0
    history: int = 2
    horizon: int = 6
    execute: int = 4
    privileged: bool = False
    listens: bool = False
    cameras: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()

    def plan(self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
        seen = observation["place"]
        assert seen.shape == (len(noise), self.history, 1)
        moves = np.array([float(rng.random() >= self.lazy) for rng in noise])
        chunk = np.broadcast_to(moves[:, None, None], (len(noise), self.horizon, 1)).copy()
        drawn = np.repeat(chunk[:, None], samples, axis=1) if samples else None
        return PolicyOutput(chunk, drawn, seen[:, -1, :])

    def save(self, folder: Path) -> None:
        raise NotImplementedError


@dataclasses.dataclass
class ToyExpert(ToyPolicy):
    """Mends, and moves on."""

    history: int = 1
    horizon: int = 1
    execute: int = 1
    privileged: bool = True

    def plan(self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
        return PolicyOutput(np.full((len(noise), 1, 1), MEND))


def broken(breaks: int, rots: int) -> Record:
    return {"name": "break", "channel": "physics", "breaks": breaks, "rots": rots}


def turned(breaks: int, steps: int, rots: int = 0) -> Record:
    """A fault of the action channel: actions are turned round, which breaks the scene."""
    return broken(breaks, rots) | {"name": "turn", "channel": "action", "turned_steps": steps}
