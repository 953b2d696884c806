"""The shields in front of the actuators of one scene, in their order, with what they remember of its episode.

What a shield remembers is a function of the rows that are recorded: observations, asked actions and policy calls.  So a
snapshot needs nothing of it, and a branch from a stored step is handed the rows before that step, of which the same
shields make the same memory, bit for bit.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.rollouts.launch import Past
from workbench.rollouts.recorder import Recorder
from workbench.types import (
    OBSERVATION,
    SIGNALS,
    Array,
    Episode,
    HasStiffness,
    JudgesPlans,
    Moment,
    Note,
    Observation,
    Policy,
    PolicyCall,
    Record,
    Scene,
    Shield,
    ability,
)

Shields = Mapping[str, Shield]
"""Shields by name, in the order in which they act."""


class Gate:
    """Some shields at work on one episode.

    Parameters
    ----------
    past : rows of a stored episode before the step at which this one begins; None where nothing is remembered.
    """

    def __init__(self, shields: Shields, past: Past | None = None) -> None:
        self.shields = shields
        self._softens = any(shield.softens for shield in shields.values())
        self._memories: dict[str, Record] = {name: shield.begin() for name, shield in shields.items()}
        self._before: Array | None = None
        if past is not None:
            self._recall(past)

    def copy(self) -> Gate:
        """The same shields with a memory of their own."""
        made = Gate(self.shields)
        made._memories = copy.deepcopy(self._memories)
        made._before = None if self._before is None else self._before.copy()
        return made

    def plan(self, call: PolicyCall) -> None:
        """Show a policy call of this scene alone (N = 1) to the shields that judge plans."""
        for name, shield in self.shields.items():
            if isinstance(shield, JudgesPlans):
                shield.plan(self._memories[name], call)

    def drop(self) -> None:
        """Tell the shields that judge plans that the last one is not run on."""
        for name, shield in self.shields.items():
            if isinstance(shield, JudgesPlans):
                shield.dropped(self._memories[name])

    def act(self, step: int, asked: Array, observation: Observation) -> tuple[Array, float, dict[str, Note]]:
        """What is run of an asked action (A,), how stiff, and what the shields say of it by their names."""
        moment = Moment(step, asked, observation, self._before)
        notes: dict[str, Note] = {}
        for name, shield in self.shields.items():
            passed = shield.act(self._memories[name], moment)
            if passed.note is not None:
                notes[name] = passed.note
            moment = dataclasses.replace(
                moment,
                action=passed.action,
                stiffness=min(moment.stiffness, passed.stiffness),
                notes=tuple(notes.items()),
            )
        self._before = moment.action
        return moment.action, moment.stiffness, notes

    def through(self, scene: Scene, asked: Array, recorder: Recorder | None) -> Array:
        """What the scene is to run now in the place of an asked action; how stiff is set in the scene."""
        action, stiffness, notes = self.act(scene.step_index, asked, scene.observe())
        if self._softens:
            ability(scene, HasStiffness, "a shield that softens").stiffness = stiffness
        if recorder is not None:
            rows = {name: row_of(shield.reasons, notes.get(name)) for name, shield in self.shields.items()}
            recorder.shielded(action, stiffness, rows)
        return action

    def _recall(self, past: Past) -> None:
        """Remember the rows of an episode before a step."""
        episode = past.episode
        keys = [key for key in episode.steps if key.startswith("obs/")]
        calls = calls_in(episode, self.shields)
        for now in range(past.step):
            if now in calls:
                self.plan(calls[now])
            self.act(
                now, episode.steps["action"][now], {key.removeprefix("obs/"): episode.steps[key][now] for key in keys}
            )
        if past.planned and past.step in calls:
            self.plan(calls[past.step])


def show_plans(gates: Iterable[Gate | None], call: PolicyCall) -> None:
    """Show one policy call of N scenes to the gates of these scenes, each its own part: no bit depends on the batch."""
    for place, gate in enumerate(gates):
        if gate is not None:
            gate.plan(call.one(place))


def judges_plans(shield: Shield) -> bool:
    """Whether a shield also sees policy calls."""
    return isinstance(shield, JudgesPlans)


def plan_needs(shields: Shields) -> frozenset[str]:
    """What some shields read of policy calls, in the words of :class:`workbench.types.Scorer`."""
    return frozenset(need for shield in shields.values() if isinstance(shield, JudgesPlans) for need in shield.needs)


def calls_remembered(shields: Shields) -> tuple[str, ...]:
    """Arrays of stored policy calls that branches behind some shields read."""
    return ("step", "chunk", *sorted(plan_needs(shields) - {"chunk"}))


def row_of(reasons: Sequence[str], note: Note | None) -> tuple[float, float, float]:
    """A note as a row of a store: number of its reason from 1 on, negative for a veto, value, limit; zeros for none."""
    if note is None:
        return 0.0, 0.0, 0.0
    if note.reason not in reasons:
        raise UnknownNameError("reason of a shield", note.reason, reasons)
    number = list(reasons).index(note.reason) + 1
    return float(-number if note.vetoed else number), note.value, note.limit


def refuse_unfed(shields: Shields, policy: Policy, samples: int, signals: Sequence[str]) -> None:
    """Refuse shields that read of a policy call what nobody asks the policy for.

    Raises
    ------
    ConfigError
        for samples, signals or past observations that calls will not have, or a shield that judges plans by half.
    """
    for name, shield in shields.items():
        if hasattr(shield, "plan") and not judges_plans(shield):
            raise ConfigError(
                f"shield {name} has plan(), and needs or dropped() is missing: what judges plans has all three; see "
                "workbench.types.JudgesPlans"
            )
        needs = shield.needs if isinstance(shield, JudgesPlans) and not policy.privileged else frozenset[str]()
        if "samples" in needs and samples < 2:
            raise ConfigError(f"shield {name} reads samples, and rollout.samples={samples}: set rollout.samples=32")
        for need in sorted(needs):
            if need.startswith(SIGNALS) and need.removeprefix(SIGNALS) not in signals:
                raise ConfigError(
                    f"shield {name} reads {need}, which the policy is not asked for: set "
                    f"rollout.signals=[{need.removeprefix(SIGNALS)}]"
                )
            if need.startswith(OBSERVATION):
                raise ConfigError(
                    f"shield {name} judges plans by {need}, of which a branch remembers too little: choose a monitor "
                    "whose scores read chunk, samples, embedding or signals"
                )


def calls_in(episode: Episode, shields: Shields) -> dict[int, PolicyCall]:
    """Control step -> the policy call (N = 1) of a stored episode, as the shields that judge plans saw it."""
    calls = episode.calls
    if not any(map(judges_plans, shields.values())):
        return {}
    if missing := sorted({"chunk", *plan_needs(shields)} - calls.keys()):
        raise StoreError(
            f"episode {episode.record['uid']} was read without {missing[0]} of its policy calls, which a shield reads"
        )
    return {
        int(step): PolicyCall(
            calls["step"][at : at + 1],
            calls["chunk"][at : at + 1],
            calls["samples"][at : at + 1] if "samples" in calls else None,
            calls["embedding"][at : at + 1] if "embedding" in calls else None,
            int(episode.record["execute"]),
            instructions=[str(episode.record["instruction"])],
            signals={
                key.removeprefix(SIGNALS): values[at : at + 1]
                for key, values in calls.items()
                if key.startswith(SIGNALS)
            },
        )
        for at, step in enumerate(calls["step"])
    }
