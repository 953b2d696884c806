"""One scene of the lockstep at work on one launch, with what the policy remembers of it."""

from __future__ import annotations

import collections
from collections.abc import Sequence

import numpy as np

from workbench.errors import ConfigError, DivergedError
from workbench.rollouts.gate import Gate, Shields
from workbench.rollouts.guard import Guarded, Watched
from workbench.rollouts.launch import Launch, Outcome, Start, Wheel, fresh_noise
from workbench.rollouts.recorder import Recorder
from workbench.types import RECENT, STEP, Array, Episode, Observation, Policy, Record, Scene, Task
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
        guarded: Guarded | None = None,
    ) -> None:
        self.number, self.launch, self.scene, self._policy = number, launch, scene, policy
        self._deadline = deadline if launch.deadline is None else launch.deadline
        self.noise_stream = (launch.noise or launch.stream).child("policy")
        self.ended = self.succeeded = self.diverged = self.aborted = self.stopped = False
        self.recorder = recorder
        self.recent: collections.deque[Observation] = collections.deque(maxlen=max(RECENT, policy.history) - 1)
        self._told: list[Observation] = []
        self.queue, self.next_action, self.calls = np.zeros((0, 0)), 0, 0
        self.wheel, self.guarded = Wheel(), guarded
        self.gate = Gate(shields) if shields else None
        self.relieved = False
        """Whether the guard intervened at the last call of the policy, whose plan is then not run."""
        if launch.start is None:
            scene.begin(launch.stream, launch.perturbations)
        else:
            scene.restore(launch.start.snapshot)
            self._go_on(launch.start, shields)
        scene.privileged = self.driver.privileged
        self.instruction = scene.instruction()

    def _go_on(self, start: Start, shields: Shields) -> None:
        """Take up what is remembered at a start."""
        self.recent.extend(start.history)
        self._told = list(start.told)
        self.queue, self.calls, self.wheel = start.queue, start.calls, start.wheel.copy()
        if start.guard is not None:
            self.guarded = start.guard.copy()
        if shields:
            self.gate = start.gate.copy() if start.gate else Gate(shields, start.past)
            if not len(self.queue):
                self.gate.drop()

    @property
    def driver(self) -> Policy:
        """Who drives."""
        return self._policy if self.wheel.driver is None else self.wheel.driver

    @property
    def deadline(self) -> int:
        """Control step at which it ends without success."""
        return self._deadline if self.wheel.deadline is None else self.wheel.deadline

    @property
    def needs_plan(self) -> bool:
        """Whether all queued actions are run, so that whoever drives has to be asked."""
        return not self.ended and self.next_action >= len(self.queue)

    def start(self) -> Start:
        """The present moment, with everything that decides how it goes on."""
        return Start(
            snapshot=self.scene.snapshot(),
            history=tuple(self.recent),
            queue=self.queue[self.next_action :].copy(),
            calls=self.calls,
            told=tuple(self._told),
            wheel=self.wheel.copy(),
            guard=None if self.guarded is None else self.guarded.copy(),
            gate=None if self.gate is None else self.gate.copy(),
        )

    def watched(self, found: Watched, horizon: int) -> None:
        """Do what the guard asks for at this call; ``horizon`` as of :meth:`Wheel.turned`."""
        if self.recorder is not None:
            self.recorder.watched(found)
        self.relieved = found.intervention is not None
        if found.intervention is not None:
            noise = fresh_noise(self.launch.stream)
            self._turn(self.wheel.turned(found.intervention, self.scene.step_index, noise, horizon))
            self.stopped = self.ended = found.intervention.stops

    def hand_back(self) -> None:
        """Let the policy drive again, where it is time to."""
        if self.wheel.over(self.scene.step_index):
            self._turn(self.wheel.handed_back())

    def _turn(self, wheel: Wheel) -> None:
        """Another driver, or the same on other terms."""
        if wheel.driver is not None and wheel.driver.history > RECENT:
            raise ConfigError(
                f"{type(wheel.driver).__name__} looks back on {wheel.driver.history} observations, and whoever "
                f"relieves a policy can be handed {RECENT} at most"
            )
        if self.gate:
            self.gate.drop()
        self.wheel, self._told = wheel, []
        self.queue, self.next_action = np.zeros((0, 0)), 0
        self.scene.privileged = self.driver.privileged

    def current(self) -> Observation:
        """What whoever drives is handed at this step."""
        return self.scene.truth().observation if self.driver.privileged else self.scene.observe()

    def seen(self) -> list[Observation]:
        """Its last ``history`` observations, the oldest repeated at the start of an episode."""
        past = self._told if self.driver.privileged else list(self.recent)
        past = [*past[max(0, len(past) - self.driver.history + 1) :], self.current()]
        return [past[0]] * (self.driver.history - len(past)) + past

    def recently(self) -> list[Observation]:
        """What the robot saw at the last RECENT control steps, the oldest repeated at the start of an episode."""
        past = [*list(self.recent)[-(RECENT - 1) :], self.scene.observe()]
        return [past[0]] * (RECENT - len(past)) + past

    def images(self, cameras: Sequence[str]) -> dict[str, Array]:
        """The present images of some cameras."""
        drawn = ability(self.scene, HasImages, f"policy {type(self.driver).__name__}").images()
        return {f"images/{camera}": drawn[f"images/{camera}"] for camera in cameras}

    def told(self) -> str:
        """What whoever drives is told to do."""
        return self.scene.instruction() if self.wheel.instruction is None else self.wheel.instruction

    def noise(self) -> np.random.Generator:
        """The generator of the next call."""
        if self.wheel.noise is not None:
            return self.wheel.noise.child("policy").at(self.scene.step_index)
        if self.wheel.driver is not None:  # it makes other numbers of calls than the policy would have made
            return self.noise_stream.child("driver").at(self.scene.step_index)
        return self.noise_stream.at(self.calls)

    def remembered(self) -> Record:
        """What the driver remembers, with the present step; it may change it."""
        assert self.wheel.memory is not None
        self.wheel.memory[STEP] = self.scene.step_index
        return self.wheel.memory

    def take(self, chunk: Array) -> None:
        """Queue what is run of a chunk (H, A)."""
        self.queue = self.scene.queue(np.asarray(chunk, dtype=np.float64), self.driver.execute)
        self.next_action = 0
        if self.wheel.driver is None:
            self.calls += 1

    def step(self, until: str) -> None:
        """Run the next queued action, or end at the deadline; ``until`` as of the lockstep."""
        if self.ended or self.scene.step_index >= self.deadline:
            self.ended = True
            return
        action = self.queue[self.next_action]
        self.next_action += 1
        told = self.current() if self.driver.privileged and self.driver.history > 1 else None
        self.recent.append(self.scene.observe())
        if self.recorder is not None:
            self.recorder.before(self.scene, action, self.wheel.driver is not None)
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
        if told is not None:
            self._told = [*self._told, told][-(self.driver.history - 1) :]
        self.succeeded = self.succeeded or self.scene.truth().success
        self.ended = self.scene.step_index >= self.deadline or (self.succeeded and until == "success")

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        won = self.succeeded and not self.aborted and not self.stopped
        return Outcome(won, self.scene.step_index, self.diverged, self.aborted, self.stopped)

    def episode(self, task: Task, policy: Policy) -> Episode:
        """The recorded episode."""
        assert self.recorder is not None
        return self.recorder.episode(self.launch, self.outcome, self.scene, task, policy, self.instruction)
