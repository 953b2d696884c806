"""One scene of the lockstep at work on one launch, with what the policy remembers of it."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.errors import DivergedError
from workbench.rollouts.gate import Gate, Shields
from workbench.rollouts.launch import Launch, Outcome
from workbench.rollouts.recorder import Recorder
from workbench.types import RECENT, Array, Episode, Observation, Policy, Scene, Task
from workbench.types.abilities import HasImages, ability


class Slot:
    """One scene at work on one launch."""

    def __init__(
        self,
        number: int,
        launch: Launch,
        scene: Scene,
        policy: Policy,
        deadline: int,
        recorder: Recorder | None,
        shields: Shields,
    ) -> None:
        self.number, self.launch, self.scene, self.policy = number, launch, scene, policy
        self.deadline = deadline if launch.deadline is None else launch.deadline
        self.noise_stream = (launch.noise or launch.stream).child("policy")
        self.ended = self.succeeded = self.diverged = self.aborted = False
        self.recorder = recorder
        if launch.start is None:
            scene.begin(launch.stream, launch.perturbations)
            self.history: list[Observation] = []
            self.queue, self.calls = np.zeros((0, 0)), 0
        else:
            scene.restore(launch.start.snapshot)
            self.history = list(launch.start.history)
            self.queue, self.calls = launch.start.queue, launch.start.calls
        self.next_action = 0
        self.recent: collections.deque[Observation] = collections.deque(self.history, maxlen=RECENT - 1)
        scene.privileged = policy.privileged
        self.instruction = scene.instruction()
        self.gate = Gate(shields, launch.start.past if launch.start else None) if shields else None

    @property
    def needs_plan(self) -> bool:
        """Whether all queued actions are run, so that the policy has to be asked."""
        return self.next_action >= len(self.queue)

    def current(self) -> Observation:
        """What the policy is handed at this step."""
        return self.scene.truth().observation if self.policy.privileged else self.scene.observe()

    def seen(self) -> list[Observation]:
        """The last ``history`` observations, the oldest repeated at the start of an episode."""
        past = [*self.history[len(self.history) - self.policy.history + 1 :], self.current()]
        return [past[0]] * (self.policy.history - len(past)) + past

    def recently(self) -> list[Observation]:
        """What the robot saw at the last RECENT control steps, the oldest repeated at the start of an episode."""
        past = [*self.recent, self.scene.observe()]
        return [past[0]] * (RECENT - len(past)) + past

    def images(self, cameras: Sequence[str]) -> dict[str, Array]:
        """The present images of some cameras."""
        drawn = ability(self.scene, HasImages, f"policy {type(self.policy).__name__}").images()
        return {f"images/{camera}": drawn[f"images/{camera}"] for camera in cameras}

    def noise(self) -> np.random.Generator:
        """The generator of the next policy call."""
        return self.noise_stream.at(self.calls)

    def take(self, chunk: Array, kept: Mapping[str, Array], seconds: float) -> None:
        """Queue what is run of a chunk (H, A); ``kept`` is what is recorded of the call that planned it."""
        self.queue = self.scene.queue(np.asarray(chunk, dtype=np.float64), self.policy.execute)
        self.next_action = 0
        self.calls += 1
        if self.recorder is not None:
            self.recorder.call(self.scene.step_index, kept, seconds)

    def step(self, until: str) -> None:
        """Run the next queued action, or end at the deadline; ``until`` as of the lockstep."""
        if self.scene.step_index >= self.deadline:
            self.ended = True
            return
        action = self.queue[self.next_action]
        self.next_action += 1
        seen = self.current() if self.policy.history > 1 else {}
        self.recent.append(self.scene.observe())
        if self.recorder is not None:
            self.recorder.before(self.scene, action)
        run = self.gate.through(self.scene, action, self.recorder) if self.gate else action
        try:
            _, reward, _, _, info = self.scene.step(run)
        except DivergedError as error:
            self.diverged = self.ended = True
            if self.recorder is not None:
                # There is nothing after it, so what was true before it stands; the action is what replays it.
                self.recorder.after(self.scene, 0.0, {"applied": error.applied})
            return
        if self.recorder is not None:
            self.recorder.after(self.scene, reward, info)
        if self.policy.history > 1:
            self.history = [*self.history[-(self.policy.history - 1) :], seen]
        self.succeeded = self.succeeded or self.scene.truth().success
        self.ended = self.scene.step_index >= self.deadline or (self.succeeded and until == "success")

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        return Outcome(self.succeeded and not self.aborted, self.scene.step_index, self.diverged, self.aborted)

    def episode(self, task: Task, policy: Policy) -> Episode:
        """The recorded episode."""
        assert self.recorder is not None
        return self.recorder.episode(self.launch, self.outcome, self.scene, task, policy, self.instruction)
