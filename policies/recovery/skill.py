"""A skill with numbers to tune: back off, search for the place along a spiral, press, dwell, try again.

Recovery behaviours as skills whose parameters are learned for the failure at hand, as in BTMG (recovery skills of
behaviour trees and motion generators for peg in hole): there by reinforcement learning, here
:func:`workbench.tune_skill` chooses the numbers.  The tree has two branches: a hand that holds something searches for
where it fits, and one that holds nothing opens and backs off.
"""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from workbench.errors import ConfigError, ObservationError
from workbench.policies.recovery.motion.driver import HandDriver
from workbench.policies.recovery.motion.hand import FINGERS, Hand
from workbench.types import OBSERVATION, OVER, Alarm, Array, Fingers, Intervention, PolicyCall, Record, Task
from workbench.types.reading import Between, Source, checked, keys

SPACE = 3
PHASES = ("rise", "across", "down", "search", "dwell")
NEAR_M = 0.002
"""Within which a height or a place counts as reached; the friction in an arm's joints stops it 1 mm short."""
STILL_M = 0.0005
"""A hand that sinks by less in a control step has landed, or is stuck."""
SETTING_OUT_STEPS = 3
"""Control steps in which a hand that begins to sink may be slower than that."""
SUNK_M = 0.003
"""A hand that is so much lower than where it landed has found the hole."""
LOWERING_M = 0.006
"""How far below the present height the goal is until the hand has landed."""
SPIRAL_STEP_M = 0.001
"""Way along the spiral in one control step."""
INSIST, INSIST_M = 3.0, 0.006
"""Under a press the goal lies further than the hand is off, by so many times that, up to so much on each axis: friction
and the press itself push the hand aside."""
PACE = 0.25
"""Part of the way that one action asks for which the hand goes in a control step, at least."""
SETTLING_STEPS = 6
"""Control steps that a motion may take beyond its way."""


def spiral_m(along_m: float, pitch_m: float) -> Array:
    """Place (2,) on a spiral of Archimedes, so far along it from its middle; its turns lie ``pitch_m`` apart.

    The length up to an angle a is taken as pitch a^2 / (4 pi), which is exact but for the innermost part of a turn.
    """
    angle = math.sqrt(4 * math.pi * along_m / pitch_m)
    radius = pitch_m * angle / (2 * math.pi)
    return np.array([radius * math.cos(angle), radius * math.sin(angle)])


def spiral_length_m(pitch_m: float, turns: float) -> float:
    """How long a spiral of so many turns is, by the same formula."""
    return math.pi * pitch_m * turns**2


class SkillDriver(HandDriver):
    """Carries out the skill, phase by phase: rise, across to the centre, down, search, dwell, and from the beginning.

    Its memory: ``phase``; ``at`` (3,), where the hand was when it began; ``gone``, control steps of it; ``last``,
    height of the hand one control step ago; ``still``, control steps of the dwelling in which it did not sink;
    ``landed``, height at which it landed; ``centre`` (2,), where it searches; ``holding``, whether the fingers stay
    closed; ``like``, pose at the alarm, whose rotation is kept; ``tries`` that are left.
    """

    name = "skill"

    def __init__(self, hand: Hand, numbers: Mapping[str, float]) -> None:
        super().__init__(hand)
        self._numbers = dict(numbers)

    def action(self, pose: Array, memory: Record) -> Array:
        """The next action."""
        place = self.hand.place_m(pose)
        if memory["phase"] == "dwell" and memory["last"] - place[2] < STILL_M:
            memory["still"] += 1
        while not memory.get(OVER) and self._done(place, memory):
            self._go_on(place, memory)
        wanted = self._wanted(place, memory)
        memory["gone"] += 1
        memory["last"] = float(place[2])
        return self.hand.towards(pose, wanted, like=memory["like"], grip=1.0 if memory["holding"] else -1.0)

    def _done(self, place: Array, memory: Record) -> bool:
        """Whether a phase has done what it is for, or has taken too long."""
        phase, gone, sank = memory["phase"], memory["gone"], memory["last"] - place[2]
        if phase == "rise":
            high = memory["at"][2] + self._numbers["retract_m"]
            return bool(place[2] > high - NEAR_M) or gone >= self._patience(self._numbers["retract_m"])
        if phase == "across":
            way = float(np.linalg.norm(memory["centre"] - memory["at"][:2]))
            return bool(np.linalg.norm(memory["centre"] - place[:2]) < NEAR_M) or gone >= self._patience(way)
        if phase == "down":
            return bool(gone >= SETTING_OUT_STEPS and sank < STILL_M)
        if phase == "search":
            length = spiral_length_m(self._numbers["pitch_m"], self._numbers["turns"])
            return self._sunk(place, memory) or gone * SPIRAL_STEP_M >= length
        return bool(memory["still"] >= self._numbers["dwell_steps"])

    def _go_on(self, place: Array, memory: Record) -> None:
        """Begin the next phase, or be over."""
        ended = memory["phase"]
        if ended == "down":
            memory["landed"] = float(place[2])
        if ended == "dwell":
            memory["tries"] -= 1
        memory[OVER] = not memory["holding"] or (
            ended == "dwell" and (not memory["tries"] or self._sunk(place, memory))
        )
        if not memory[OVER]:
            memory |= begun(PHASES[(PHASES.index(ended) + 1) % len(PHASES)], place)

    def _wanted(self, place: Array, memory: Record) -> Array:
        """Where the hand is to go (3,)."""
        phase, at, centre = memory["phase"], memory["at"], memory["centre"]
        if phase == "rise":
            return np.array([at[0], at[1], at[2] + self._numbers["retract_m"]])
        if phase == "across":
            return np.array([*centre, at[2]])
        if phase == "down":
            return np.array([*centre, place[2] - LOWERING_M])
        goal = at[:2]
        if phase == "search":
            goal = centre + spiral_m(memory["gone"] * SPIRAL_STEP_M, self._numbers["pitch_m"])
        goal = goal + np.clip(INSIST * (goal - place[:2]), -INSIST_M, INSIST_M)
        return np.array([*goal, place[2] - self._numbers["press_m"]])

    def _sunk(self, place: Array, memory: Record) -> bool:
        return bool(place[2] < memory["landed"] - SUNK_M)

    def _patience(self, way_m: float) -> int:
        return math.ceil(way_m / (PACE * self.hand.robot.action_m)) + SETTLING_STEPS


def begun(phase: str, place: Array) -> Record:
    """Memory of a phase that begins at a place (3,) of the hand."""
    return {"phase": phase, "at": place.copy(), "gone": 0, "still": 0, "last": float(place[2])}


def checked_settings(settings: Mapping[str, Any], source: Source) -> None:
    """The source's error if any of the skill's settings is out of its bounds, or is none of them."""
    hints = typing.get_type_hints(Skill.__init__, include_extras=True)
    known = {name: hints[name] for name in inspect.signature(Skill).parameters if name != "task"}
    keys(settings, (), known, source)
    for name, value in settings.items():
        checked(known[name], value, source, name)


class Skill:
    """The hand rises, goes over a place, comes down, searches along a spiral and presses; then the policy drives.

    What the hand holds, it goes on holding.  Where it holds nothing, it opens and rises, and that is all.  It goes by
    what the robot sees of itself, and of the place only if it is named.

    Parameters
    ----------
    task : whose actions translate a hand with two fingers in space.
    target : key of the observation that says where the middle of the search is, such as ``hole_pos``; None for where
        the hand was at the alarm.
    retract_m : how far it rises.
    pitch_m : distance between the turns of the spiral.
    turns : of the spiral; its radius is their number times ``pitch_m``.
    press_m : how far below the hand each control step of the search asks it to go.
    dwell_steps : control steps that it presses on where the search ends; those in which it sinks do not count.
    tries : how often all this is done, unless it sinks before.
    steps : control steps after which the policy drives again in any case.

    Raises
    ------
    ConfigError
        if the task has no such hand, or a number is out of its bounds.
    """

    name: str = "skill"
    needs: Sequence[str]

    def __init__(
        self,
        task: Task,
        target: str | None = None,
        retract_m: Annotated[float, Between(0.0, 0.1)] = 0.04,
        pitch_m: Annotated[float, Between(0.0005, 0.01)] = 0.002,
        turns: Annotated[float, Between(0.0, 5.0)] = 2.0,
        press_m: Annotated[float, Between(0.0, 0.02)] = 0.003,
        dwell_steps: Annotated[int, Between(0, 30)] = 8,
        tries: Annotated[int, Between(1, 4)] = 2,
        steps: Annotated[int, Between(1, 10_000)] = 120,
    ) -> None:
        numbers = {"retract_m": retract_m, "pitch_m": pitch_m, "turns": turns, "press_m": press_m}
        numbers |= {"dwell_steps": dwell_steps, "tries": tries}
        checked_settings({**numbers, "target": target, "steps": steps}, Source(f"strategy {self.name}", ConfigError))
        self._hand = Hand(task, f"strategy {self.name}")
        if self._hand.dimensions != SPACE or self._hand.fingers is None:
            raise ConfigError(
                f"strategy {self.name} moves a hand with fingers in space, and task {task.name} has none: leave it out"
            )
        self._fingers: Fingers = self._hand.fingers
        places = [key for key, size in task.observation_sizes.items() if key.endswith("_pos") and size == SPACE]
        if target is not None and target not in places:
            raise ConfigError(
                f"strategy {self.name} searches at a place, and target={target} is none of {', '.join(places)} of task "
                f"{task.name}"
            )
        self.needs = (*self._hand.needs, *([f"{OBSERVATION}{target}"] if target else []))
        self._target, self._tries, self._steps = target, tries, steps
        self._driver = SkillDriver(self._hand, numbers)

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """Carry out the skill and hand back; ObservationError if a place is seen as NaN or infinity."""
        pose = self._hand.poses({key: alarm.call.observation[key][0, -1] for key in self._hand.keys})
        place = self._hand.place_m(pose)
        centre = place if self._target is None else alarm.call.observation[self._target][0, -1].astype(np.float64)
        if not np.isfinite(centre).all():
            raise ObservationError(
                f"strategy {self.name} searches at {self._target}, which is seen as {centre.tolist()}"
            )
        told = {**begun("rise", place), "centre": centre[:2].copy(), "landed": float(place[2])}
        told |= {"holding": self._holds(alarm.call), "tries": self._tries, "like": pose}
        return Intervention(self._driver, self._steps, fresh_noise=True, more_time=True, memory=told)

    def _holds(self, call: PolicyCall) -> bool:
        """Whether the fingers have stopped before they were shut, and are not open: there is something in them."""
        before, width = np.ptp(call.observation[FINGERS][0, -2:], axis=-1)
        fingers = self._fingers
        return bool(fingers.shut_m < width < fingers.opened_m and abs(width - before) < fingers.still_m)
