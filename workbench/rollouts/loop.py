"""The loop: scenes in lockstep, one batched policy call, and subscribers that follow.

Episodes and branches go through the same loop: a launch says which it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from workbench.errors import ConfigError, PolicyServerError, UnknownNameError
from workbench.rollouts.gate import Shields, judges_plans, refuse_unfed, show_plans
from workbench.rollouts.guard import Guard
from workbench.rollouts.launch import Launch, Outcome, Start
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
    guard : watches every call of the policy and acts on its alarms; None for nobody.
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
        guard: Guard | None = None,
        shields: Shields | None = None,
    ) -> None:
        if until not in ("success", "deadline"):
            raise ConfigError(f"rollout.until={until!r} must be 'success' or 'deadline'")
        if scenes < 1:
            raise ConfigError(f"runner.scenes={scenes} must be at least 1")
        for name in signals:
            if name not in policy.signals:
                raise UnknownNameError(f"signal of policy {type(policy).__name__}", name, policy.signals)
        if guard is not None:
            guard.refuse_unfit(task.deadline, samples, signals)
        self.shields: Shields = shields or {}
        refuse_unfed(self.shields, policy, samples, signals)
        self.task, self.policy, self.samples, self.until = task, policy, samples, until
        self.signals = tuple(signals)
        self._judged = not policy.privileged and any(map(judges_plans, self.shields.values()))
        self._images = images
        self.subscribers, self.guard = subscribers, guard
        self._capacity = scenes
        self._scenes: list[Scene] = []
        self._others: dict[tuple[int, str], Policy] = {}

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

    def starts(self, launches: Sequence[Launch], steps: Sequence[Collection[int]]) -> list[dict[int, Start]]:
        """Moments of some launches from which rollouts can go on: everything that decides the rest of them.

        The launches are rolled, as far as is needed; a step that is behind an episode's end has no moment.

        Parameters
        ----------
        steps : of every launch, the control steps whose moments are wanted.
        """
        found: list[dict[int, Start]] = [{} for _ in launches]

        def look(slot: Slot) -> None:
            if slot.scene.step_index in steps[slot.number]:
                found[slot.number][slot.scene.step_index] = slot.start()
            slot.ended = slot.ended or slot.scene.step_index >= max(steps[slot.number], default=0)

        for _ in self._run(launches, keep=False, look=look):
            pass
        return found

    def _run(
        self, launches: Iterable[Launch], keep: bool, look: Callable[[Slot], None] | None = None
    ) -> Iterator[Slot]:
        """Slots as they end; ``look`` is shown every slot before each of its control steps."""
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
            if look is not None:
                for slot in active:
                    look(slot)
            try:
                self._plan_due(active)
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
        recorder = Recorder(self._images, guarded=self.guard is not None) if keep else None
        guarded = self.guard.begin() if self.guard else None
        scene, deadline = idle.pop(), self.task.deadline
        return Slot(number, launch, scene, self.policy, deadline, recorder, self.shields, guarded)

    def _plan_due(self, active: Sequence[Slot]) -> None:
        """Ask whoever drives, where the queue is empty; where the guard intervenes, at once a second time."""
        for slot in active:
            slot.hand_back()
        due = [slot for slot in active if slot.needs_plan]
        self._plan(due, watched=True)
        if self.guard:
            self._plan([slot for slot in due if slot.needs_plan], watched=False)

    def _plan(self, due: Sequence[Slot], watched: bool) -> None:
        groups: dict[tuple[int, bool, str], list[Slot]] = {}
        for slot in due:
            settings = json.dumps(slot.scene.settings(), sort_keys=True)
            key = id(slot.wheel.driver), slot.wheel.memory is None, settings
            groups.setdefault(key, []).append(slot)
        for (_, _, settings), slots in groups.items():
            self._ask(self._altered(slots[0].driver, settings), slots, watched and slots[0].wheel.driver is None)

    def _altered(self, driver: Policy, settings: str) -> Policy:
        """Whoever drives, as perturbations of the policy channel have it."""
        if settings == "{}":
            return driver
        key = id(driver), settings
        if key not in self._others:
            if not hasattr(driver, "altered"):
                raise ConfigError(
                    f"policy {type(driver).__name__} has nothing that {settings} could change; "
                    "leave that perturbation out, or roll a policy that has"
                )
            self._others[key] = driver.altered(json.loads(settings))
        return self._others[key]

    def _ask(self, policy: Policy, due: Sequence[Slot], watched: bool) -> None:
        """One inference; ``watched`` says whether it is one of the policy's own that detectors see and stores keep."""
        seen = [slot.seen() for slot in due]
        observation = {key: np.stack([np.stack([past[key] for past in each]) for each in seen]) for key in seen[0][0]}
        if policy.cameras:
            images = [slot.images(policy.cameras) for slot in due]
            observation |= {key: np.stack([each[key] for each in images]) for key in images[0]}
        asked: Record = {"instructions": [slot.told() for slot in due]} if policy.listens else {}
        judged = self._judged and not watched and due[0].wheel.driver is None
        if self.signals and (watched or judged):
            asked["signals"] = self.signals
        if due[0].wheel.memory is not None:
            asked["memories"] = [slot.remembered() for slot in due]
        began = time.perf_counter()
        noise = [slot.noise() for slot in due]
        output = policy.plan(observation, noise, self.samples if watched or judged else 0, **asked)
        seconds = (time.perf_counter() - began) / len(due)
        if watched:
            self._show(due, _kept(output), seconds)
        elif judged:
            show_plans([slot.gate for slot in due], self._call(due, _kept(output)))
        for row, slot in enumerate(due):
            if not (watched and slot.relieved):
                slot.take(output.chunk[row])

    def _show(self, due: Sequence[Slot], kept: Mapping[str, Array], seconds: float) -> None:
        """Show a call of the policy to the store, to whoever follows, and to the guard, which may intervene."""
        for row, slot in enumerate(due):
            if slot.recorder is not None:
                slot.recorder.call(slot.scene.step_index, {key: values[row] for key, values in kept.items()}, seconds)
        if not (self.subscribers or self.guard or self._judged):
            return
        call = self._call(due, kept)
        if self._judged:
            show_plans([slot.gate for slot in due], call)
        for subscriber in self.subscribers:
            subscriber.on_call([slot.launch.stream for slot in due], call)
        if self.guard:
            memories = [slot.guarded for slot in due if slot.guarded is not None]
            watched = self.guard.watch(memories, call, self.policy, [slot.deadline for slot in due])
            for slot, found in zip(due, watched, strict=True):
                slot.watched(found, self.guard.horizon)

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
