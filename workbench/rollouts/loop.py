"""The loop: scenes in lockstep, one batched policy call, and subscribers that follow.

Episodes and branches go through the same loop.  A *launch* says what to roll: a fresh episode, or a branch from a
snapshot with what the policy still remembered there.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from workbench.config import digest
from workbench.errors import ConfigError, DivergedError, PolicyServerError, UnknownNameError
from workbench.rollouts.modes import as_json, failure_mode, modes_of
from workbench.types import (
    ABORTED,
    RECENT,
    SIGNALS,
    Array,
    Episode,
    Observation,
    Policy,
    PolicyCall,
    PolicyOutput,
    Record,
    Scene,
    Snapshot,
    Stream,
    Subscriber,
    Task,
    split_of,
)


@dataclasses.dataclass(frozen=True)
class Start:
    """A scene's snapshot together with what the policy remembered at that step.

    Attributes
    ----------
    history : observations seen before this step, oldest first.
    queue : (R, A) actions of the last chunk that were still to be run.
    calls : policy calls made before this step.
    """

    snapshot: Snapshot
    history: tuple[Observation, ...]
    queue: Array
    calls: int


@dataclasses.dataclass(frozen=True)
class Launch:
    """One rollout to be made.

    Attributes
    ----------
    stream : random stream of the episode.
    perturbations : drawn records.
    start : where a branch begins; None for a fresh episode.
    noise : stream of the policy's noise; None for the episode's own.
    deadline : control step at which it ends without success; None for the task's.
    cell : of a data set, to which the episode belongs; "" for none.
    """

    stream: Stream
    perturbations: tuple[Record, ...] = ()
    start: Start | None = None
    noise: Stream | None = None
    deadline: int | None = None
    cell: str = ""

    @property
    def uid(self) -> str:
        """Names the episode across stores and splits."""
        return uid_of(self.stream, self.perturbations)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a rollout that nobody recorded ended."""

    success: bool
    length: int
    diverged: bool = False


def uid_of(stream: Stream, perturbations: Sequence[Record]) -> str:
    """``<seed>:<index>:<digest of the drawn perturbations>``, or ``...:nominal``."""
    return f"{stream.seed}:{stream.episode}:{digest(list(perturbations)) if perturbations else 'nominal'}"


class Lockstep:
    """Rolls any number of launches on a fixed number of scenes, refilled as they finish.

    Parameters
    ----------
    task, policy : what is rolled.
    scenes : how many scenes step together; the policy is called once for all that need a new chunk.
    samples : B, chunks drawn beside the one that is run, for detectors.
    signals : what else the policy is asked to say of every call, for detectors.
    images : whether recorded episodes keep what the task's cameras see at every step; a policy with cameras is handed
        the images of its calls in any case.
    until : ``success`` stops an episode at success, ``deadline`` runs on.
    subscribers : follow every policy call and finished episode.
    """

    def __init__(
        self,
        task: Task,
        policy: Policy,
        scenes: int,
        *,
        samples: int = 0,
        signals: Sequence[str] = (),
        images: bool = True,
        until: str = "success",
        subscribers: Sequence[Subscriber] = (),
    ) -> None:
        if until not in ("success", "deadline"):
            raise ConfigError(f"rollout.until={until!r} must be 'success' or 'deadline'")
        if scenes < 1:
            raise ConfigError(f"runner.scenes={scenes} must be at least 1")
        for name in signals:
            if name not in policy.signals:
                raise UnknownNameError(f"signal of policy {type(policy).__name__}", name, policy.signals)
        self.task, self.policy, self.samples, self.until = task, policy, samples, until
        self.signals = tuple(signals)
        self._images = images
        self.subscribers = subscribers
        self._capacity = scenes
        self._scenes: list[Scene] = []
        self._others: dict[str, Policy] = {}

    def record(self, launches: Iterable[Launch]) -> Iterator[Episode]:
        """Roll and keep every step; episodes come in the order in which they finish.

        If the policy's server is lost (PolicyServerError), the episodes under way come first, with the outcome
        ``aborted``: what was rolled of them is kept, but is no failure of the policy.
        """
        for _, episode in self.record_numbered(launches):
            yield episode

    def record_numbered(self, launches: Iterable[Launch]) -> Iterator[tuple[int, Episode]]:
        """As :meth:`record`, each episode with the number of its launch."""
        for slot in self._run(launches, keep=True):
            episode = slot.episode(self.task, self.policy)
            for subscriber in self.subscribers:
                subscriber.on_end(episode)
            yield slot.number, episode

    def outcomes(self, launches: Sequence[Launch]) -> list[Outcome]:
        """Roll without keeping anything but how it ended; in the order of the launches."""
        ended: list[Outcome | None] = [None] * len(launches)
        for slot in self._run(launches, keep=False):
            ended[slot.number] = Outcome(slot.succeeded, slot.scene.step_index, slot.diverged)
        return [outcome for outcome in ended if outcome is not None]

    def _run(self, launches: Iterable[Launch], keep: bool) -> Iterator[_Slot]:
        waiting = enumerate(launches)
        idle = list(self._scenes)
        active: list[_Slot] = []
        while True:
            while len(active) < self._capacity:
                following = next(waiting, None)
                if following is None:
                    break
                active.append(self._launch(*following, idle, keep))
            if not active:
                return
            due = [slot for slot in active if slot.needs_plan]
            if due:
                try:
                    self._plan(due)
                except PolicyServerError:
                    yield from self._abort(active)
                    raise
            for slot in active:
                slot.step(self.until)
            for slot in [slot for slot in active if slot.ended]:
                active.remove(slot)
                yield slot
                idle.append(slot.scene)

    def _abort(self, active: Sequence[_Slot]) -> Iterator[_Slot]:
        """The episodes under way that have any step to show."""
        for slot in active:
            slot.aborted = True
            if slot.rows is not None and slot.rows.memory:
                yield slot

    def _launch(self, number: int, launch: Launch, idle: list[Scene], keep: bool) -> _Slot:
        if not idle:
            self._scenes.append(self.task.scene())
            idle.append(self._scenes[-1])
        rows = _Rows(self._images) if keep else None
        return _Slot(number, launch, idle.pop(), self.policy, self.task.deadline, rows)

    def _plan(self, due: list[_Slot]) -> None:
        groups: dict[str, list[_Slot]] = {}
        for slot in due:
            groups.setdefault(json.dumps(slot.scene.settings(), sort_keys=True), []).append(slot)
        for settings, slots in groups.items():
            self._ask(self._altered(settings), slots)

    def _altered(self, settings: str) -> Policy:
        """The policy, as perturbations of the policy channel have it."""
        if settings == "{}":
            return self.policy
        if settings not in self._others:
            if not hasattr(self.policy, "altered"):
                raise ConfigError(
                    f"policy {type(self.policy).__name__} has nothing that {settings} could change; "
                    "leave that perturbation out, or roll a policy that has"
                )
            self._others[settings] = self.policy.altered(json.loads(settings))
        return self._others[settings]

    def _ask(self, policy: Policy, due: list[_Slot]) -> None:
        seen = [slot.seen() for slot in due]
        observation = {key: np.stack([np.stack([past[key] for past in each]) for each in seen]) for key in seen[0][0]}
        if policy.cameras:
            images = [slot.images(policy.cameras) for slot in due]
            observation |= {key: np.stack([each[key] for each in images]) for key in images[0]}
        asked: Record = {"instructions": [slot.scene.instruction() for slot in due]} if policy.listens else {}
        if self.signals:
            asked["signals"] = self.signals
        began = time.perf_counter()
        output = policy.plan(observation, [slot.noise() for slot in due], self.samples, **asked)
        seconds = (time.perf_counter() - began) / len(due)
        kept = _kept(output)
        if self.subscribers:
            call = self._call(due, kept)
            for subscriber in self.subscribers:
                subscriber.on_call([slot.launch.stream for slot in due], call)
        for row, slot in enumerate(due):
            slot.take(output.chunk[row], {key: values[row] for key, values in kept.items()}, seconds)

    def _call(self, due: Sequence[_Slot], kept: Mapping[str, Array]) -> PolicyCall:
        """What a detector sees of a call."""
        recent = [slot.recently() for slot in due]
        return PolicyCall(
            np.array([slot.scene.step_index for slot in due]),
            kept["chunk"],
            kept.get("samples"),
            kept.get("embedding"),
            self.policy.execute,
            instructions=[slot.instruction for slot in due],
            signals={key.removeprefix(SIGNALS): values for key, values in kept.items() if key.startswith(SIGNALS)},
            observation={
                key: np.stack([np.stack([past[key] for past in each]) for each in recent]) for key in recent[0][0]
            },
        )


def _kept(output: PolicyOutput) -> dict[str, Array]:
    """What is kept of a call, key -> (N, ...) float32: a detector is shown the same, or online would not be offline."""
    values = {"chunk": output.chunk, "samples": output.samples, "embedding": output.embedding}
    values |= {f"{SIGNALS}{name}": value for name, value in output.signals.items()}
    return {key: np.asarray(value, dtype=np.float32) for key, value in values.items() if value is not None}


class _Slot:
    """One scene at work on one launch."""

    def __init__(
        self, number: int, launch: Launch, scene: Scene, policy: Policy, deadline: int, rows: _Rows | None
    ) -> None:
        self.number, self.launch, self.scene, self.policy = number, launch, scene, policy
        self.deadline = deadline if launch.deadline is None else launch.deadline
        self.noise_stream = (launch.noise or launch.stream).child("policy")
        self.ended = self.succeeded = self.diverged = self.aborted = False
        self.rows = rows
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

    @property
    def needs_plan(self) -> bool:
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
        drawn = self.scene.images()
        return {f"images/{camera}": drawn[f"images/{camera}"] for camera in cameras}

    def noise(self) -> np.random.Generator:
        return self.noise_stream.at(self.calls)

    def take(self, chunk: Array, kept: Mapping[str, Array], seconds: float) -> None:
        self.queue = self.scene.queue(np.asarray(chunk, dtype=np.float64), self.policy.execute)
        self.next_action = 0
        self.calls += 1
        if self.rows is not None:
            self.rows.call(self.scene.step_index, kept, seconds)

    def step(self, until: str) -> None:
        if self.scene.step_index >= self.deadline:
            self.ended = True
            return
        action = self.queue[self.next_action]
        self.next_action += 1
        seen = self.current() if self.policy.history > 1 else {}
        self.recent.append(self.scene.observe())
        if self.rows is not None:
            self.rows.before(self.scene, action)
        try:
            _, reward, _, _, info = self.scene.step(action)
        except DivergedError as error:
            self.diverged = self.ended = True
            if self.rows is not None:
                # There is nothing after it, so what was true before it stands; the action is what replays it.
                self.rows.after(self.scene, 0.0, {"applied": error.applied})
            return
        if self.rows is not None:
            self.rows.after(self.scene, reward, info)
        if self.policy.history > 1:
            self.history = [*self.history[-(self.policy.history - 1) :], seen]
        self.succeeded = self.succeeded or self.scene.truth().success
        self.ended = self.scene.step_index >= self.deadline or (self.succeeded and until == "success")

    def episode(self, task: Task, policy: Policy) -> Episode:
        assert self.rows is not None
        steps, calls, memory = self.rows.arrays()
        seen = steps["modes"] = modes_of(steps, self.scene.task, self.diverged)
        launch = self.launch
        names = "+".join(record["name"] for record in launch.perturbations)
        record: Record = {
            "uid": launch.uid,
            "index": launch.stream.episode,
            "seed": launch.stream.seed,
            "split": split_of(launch.stream.episode),
            "task": task.name,
            "model": self.scene.snapshot().model,
            "instruction": self.instruction,
            "policy": type(policy).__name__,
            "perturbation": names,
            "perturbations": json.dumps(list(launch.perturbations)),
            "cell": launch.cell,
            "execute": policy.execute,
            "length": len(steps["action"]),
            "success": self.succeeded and not self.aborted,
            "outcome": self._outcome(),
            "failure_mode": "" if self.succeeded or self.aborted else failure_mode(seen),
            "modes": as_json(seen),
            "t_inj": self.scene.injected(),
            "t_eff": -1,
            "t_on": -1,
            "t_on_low": -1,
            "t_on_high": -1,
            "t_pnr": -1,
            "t_pnr_low": -1,
            "t_pnr_high": -1,
            "t_dec": -1,
            "t_dec_end": -1,
            "t_dec_by": "",
            "responsibility": 0.0,
            "responsibility_low": 0.0,
            "responsibility_high": 0.0,
            "values": "[]",
            "twin": "",
        }
        return Episode(record, steps, calls, memory)

    def _outcome(self) -> str:
        if self.aborted:
            return ABORTED
        if self.diverged:
            return "diverged"
        if self.succeeded:
            return "perturbed success" if self.launch.perturbations else "success"
        return "failure"


class _Rows:
    """Rows of one episode as they come, with or without its images."""

    def __init__(self, images: bool) -> None:
        self.images = images
        self.steps: dict[str, list[Array | float]] = {}
        self.calls: dict[str, list[Array | float]] = {}
        self.memory: list[Array] = []

    def before(self, scene: Scene, action: Array) -> None:
        snapshot = scene.snapshot()
        for key, value in scene.observe().items():
            self._step(f"obs/{key}", value)
        for key, value in scene.images().items() if self.images else ():
            self._step(key, value)
        self._step("action", action)
        self._step("state", snapshot.state)
        self.memory.append(snapshot.memory)

    def after(self, scene: Scene, reward: float, info: Record) -> None:
        truth = scene.truth()
        self._step("applied", info["applied"])
        self._step("reward", reward)
        self._step("stage", truth.stage)
        for key, value in truth.predicates.items():
            self._step(f"predicates/{key}", value)

    def call(self, step: int, kept: Mapping[str, Array], seconds: float) -> None:
        for key, value in kept.items():
            self.calls.setdefault(key, []).append(value)
        self.calls.setdefault("step", []).append(step)
        self.calls.setdefault("seconds", []).append(seconds)

    def arrays(self) -> tuple[dict[str, Array], dict[str, Array], Array]:
        """Stacked rows."""
        steps = {key: np.asarray(values) for key, values in self.steps.items()}
        calls = {key: np.asarray(values) for key, values in self.calls.items()}
        return steps, calls, np.asarray(self.memory, dtype=np.float64)

    def _step(self, key: str, value: Array | float) -> None:
        self.steps.setdefault(key, []).append(np.array(value))
