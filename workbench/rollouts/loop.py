"""The loop: scenes in lockstep, one batched policy call, and subscribers that follow.

Episodes and branches go through the same loop: a launch says which it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from workbench.errors import ConfigError, PolicyServerError, UnknownNameError
from workbench.rollouts.gate import Shields, judges_plans, refuse_unfed, show_plans
from workbench.rollouts.launch import Launch, Outcome
from workbench.rollouts.recorder import Recorder
from workbench.rollouts.slot import Slot
from workbench.types import (
    SIGNALS,
    Array,
    Episode,
    Policy,
    PolicyCall,
    PolicyOutput,
    Record,
    Scene,
    Subscriber,
    Task,
)


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
    shields : stand before the actuators, whoever drives, in this order.
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
        shields: Shields | None = None,
    ) -> None:
        if until not in ("success", "deadline"):
            raise ConfigError(f"rollout.until={until!r} must be 'success' or 'deadline'")
        if scenes < 1:
            raise ConfigError(f"runner.scenes={scenes} must be at least 1")
        for name in signals:
            if name not in policy.signals:
                raise UnknownNameError(f"signal of policy {type(policy).__name__}", name, policy.signals)
        self.shields: Shields = shields or {}
        refuse_unfed(self.shields, policy, samples, signals)
        self.task, self.policy, self.samples, self.until = task, policy, samples, until
        self.signals = tuple(signals)
        self._judged = not policy.privileged and any(map(judges_plans, self.shields.values()))
        self._images = images
        self.subscribers = subscribers
        self._capacity = scenes
        self._scenes: list[Scene] = []
        self._others: dict[str, Policy] = {}

    def prepare(self) -> None:
        """Make the first scene: where that cannot be done, nothing is to be written."""
        if not self._scenes:
            self._scenes.append(self.task.scene())

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
            ended[slot.number] = slot.outcome
        return [outcome for outcome in ended if outcome is not None]

    def _run(self, launches: Iterable[Launch], keep: bool) -> Iterator[Slot]:
        waiting = enumerate(launches)
        idle = list(self._scenes)
        active: list[Slot] = []
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

    def _abort(self, active: Sequence[Slot]) -> Iterator[Slot]:
        """The episodes under way that have any step to show."""
        for slot in active:
            slot.aborted = True
            if slot.recorder is not None and slot.recorder.memory:
                yield slot

    def _launch(self, number: int, launch: Launch, idle: list[Scene], keep: bool) -> Slot:
        if not idle:
            self._scenes.append(self.task.scene())
            idle.append(self._scenes[-1])
        recorder = Recorder(self._images) if keep else None
        return Slot(number, launch, idle.pop(), self.policy, self.task.deadline, recorder, self.shields)

    def _plan(self, due: list[Slot]) -> None:
        groups: dict[str, list[Slot]] = {}
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

    def _ask(self, policy: Policy, due: list[Slot]) -> None:
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
        if self.subscribers or self._judged:
            call = self._call(due, kept)
            if self._judged:
                show_plans([slot.gate for slot in due], call)
            for subscriber in self.subscribers:
                subscriber.on_call([slot.launch.stream for slot in due], call)
        for row, slot in enumerate(due):
            slot.take(output.chunk[row], {key: values[row] for key, values in kept.items()}, seconds)

    def _call(self, due: Sequence[Slot], kept: Mapping[str, Array]) -> PolicyCall:
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
