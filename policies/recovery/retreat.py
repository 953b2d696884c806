"""Let go, back off, try again: what a person does first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from workbench.errors import ConfigError
from workbench.types import Alarm, Array, Intervention, Observation, PolicyOutput, Record, Task
from workbench.types.abilities import action_groups_of


class Motion:
    """A driver that carries out a given motion: as much of it as is asked for at once, whatever it sees.

    Parameters
    ----------
    actions : (H, A).
    """

    history = 1
    privileged = False
    listens = False
    cameras: Sequence[str] = ()
    signals: Sequence[str] = ()

    def __init__(self, actions: Array) -> None:
        self._actions = actions
        self.horizon = self.execute = len(actions)

    def plan(self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
        """The motion (N, H, A) for each scene; it draws nothing, so there are no samples."""
        return PolicyOutput(np.repeat(self._actions[None], len(noise), axis=0))

    def altered(self, settings: Record) -> Self:
        """Itself: what perturbations change about a policy changes nothing about it."""
        return self

    def save(self, folder: Path) -> None:
        """Write the motion; there are no weights."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "policy.json").write_text(json.dumps({"motion": self._actions.tolist()}), encoding="utf-8")


class Retreat:
    """The gripper opens and moves straight up; then the policy drives again and has as much time as any intervention.

    Parameters
    ----------
    task : whose actions move a gripper by its position and opening.
    steps : control steps of the retreat.
    speed : share of the fastest upward motion, 0 .. 1.
    """

    name: str = "retreat"
    needs: Sequence[str] = ()

    def __init__(self, task: Task, steps: int = 12, speed: float = 0.5) -> None:
        groups = action_groups_of(task)
        if not {"position", "gripper"} <= groups.keys():
            raise ConfigError(
                f"strategy retreat opens and lifts a gripper, and the actions of task {task.name} are "
                f"{', '.join(groups)}; choose another strategy"
            )
        if steps < 1 or not 0 < speed <= 1:
            raise ConfigError(f"retreat: steps={steps} must be at least 1, and speed={speed} in (0, 1]")
        action = np.zeros(task.action_size)
        action[groups["position"][0] + 2] = speed
        action[groups["gripper"][0]] = -1.0
        self._steps, self._driver = steps, Motion(np.tile(action, (steps, 1)))

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """Open, lift, and hand back."""
        return Intervention(self._driver, self._steps, fresh_noise=True, more_time=True)
