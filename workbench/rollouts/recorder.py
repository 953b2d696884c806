"""What is kept of an episode that is recorded: one row a control step, one a policy call, and its record."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from workbench.rollouts.guard import Watched
from workbench.rollouts.launch import Launch, Outcome
from workbench.rollouts.modes import as_json, failure_mode, modes_of
from workbench.types import ABORTED, Array, Episode, Policy, Record, Scene, Task, new_record, split_of
from workbench.types.abilities import images_of


class Recorder:
    """Rows of one episode as they come, with or without its images, and the episode that they make.

    Where a guard watches, it is also kept who drove and what the guard made of every call.
    """

    def __init__(self, images: bool, guarded: bool = False) -> None:
        self.images, self.guarded = images, guarded
        self.steps: dict[str, list[Array | float]] = {}
        self.calls: dict[str, list[Array | float]] = {}
        self.memory: list[Array] = []

    def before(self, scene: Scene, action: Array, relieved: bool = False) -> None:
        """Take down what a control step begins with: observation, snapshot, and the action asked for (A,).

        ``relieved`` says whether another driver than the policy asks for it.
        """
        snapshot = scene.snapshot()
        for key, value in scene.observe().items():
            self._step(f"obs/{key}", value)
        for key, value in images_of(scene).items() if self.images else ():
            self._step(key, value)
        self._step("action", action)
        if self.guarded:
            self._step("relieved", np.array(relieved))
        self._step("state", snapshot.state)
        self.memory.append(snapshot.memory)

    def shielded(self, action: Array, stiffness: float, notes: Mapping[str, tuple[float, float, float]]) -> None:
        """Take down what the shields let through: the action (A,), how stiff, and by name what each of them says."""
        self._step("shielded", action)
        self._step("stiffness", stiffness)
        for name, note in notes.items():
            self._step(f"shields/{name}", np.array(note))

    def after(self, scene: Scene, reward: float, info: Record) -> None:
        """Take down what it has led to."""
        truth = scene.truth()
        self._step("applied", info["applied"])
        self._step("reward", reward)
        self._step("stage", truth.stage)
        for key, value in truth.predicates.items():
            self._step(f"predicates/{key}", value)

    def call(self, step: int, kept: Mapping[str, Array], seconds: float) -> None:
        """Take down a policy call: what is kept of it, and the wall-clock time of it that falls to this episode."""
        for key, value in kept.items():
            self.calls.setdefault(key, []).append(value)
        self.calls.setdefault("step", []).append(step)
        self.calls.setdefault("seconds", []).append(seconds)

    def watched(self, found: Watched) -> None:
        """Take down what a guard made of the last call."""
        self.calls.setdefault("margin", []).append(np.array(found.margin, dtype=np.float32))
        self.calls.setdefault("intervened", []).append(np.array(found.intervention is not None))

    def episode(
        self, launch: Launch, outcome: Outcome, scene: Scene, task: Task, policy: Policy, instruction: str
    ) -> Episode:
        """The finished episode."""
        steps, calls, memory = self._arrays()
        seen = steps["modes"] = modes_of(steps, scene.task, outcome.diverged)
        record = new_record(
            uid=launch.uid,
            index=launch.stream.episode,
            seed=launch.stream.seed,
            split=split_of(launch.stream.episode),
            task=task.name,
            model=scene.snapshot().model,
            instruction=instruction,
            policy=type(policy).__name__,
            perturbation="+".join(record["name"] for record in launch.perturbations),
            perturbations=json.dumps(list(launch.perturbations)),
            cell=launch.cell,
            execute=policy.execute,
            length=len(steps["action"]),
            success=outcome.success,
            outcome=_word(launch, outcome),
            failure_mode="" if outcome.success or outcome.aborted else failure_mode(seen),
            modes=as_json(seen),
            t_inj=scene.injected(),
        )
        return Episode(record, steps, calls, memory)

    def _arrays(self) -> tuple[dict[str, Array], dict[str, Array], Array]:
        """Stacked rows."""
        steps = {key: np.asarray(values) for key, values in self.steps.items()}
        calls = {key: np.asarray(values) for key, values in self.calls.items()}
        return steps, calls, np.asarray(self.memory, dtype=np.float64)

    def _step(self, key: str, value: Array | float) -> None:
        self.steps.setdefault(key, []).append(np.array(value))


def _word(launch: Launch, outcome: Outcome) -> str:
    """How an episode ended, in the word of the store."""
    if outcome.aborted:
        return ABORTED
    if outcome.diverged:
        return "diverged"
    if outcome.stopped:
        return "stopped"
    if outcome.success:
        return "perturbed success" if launch.perturbations else "success"
    return "failure"
