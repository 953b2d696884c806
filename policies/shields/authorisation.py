"""Runtime authorisation: a small automaton over what the shields before it say, that slows, stops and backs off."""

from __future__ import annotations

import dataclasses

import numpy as np

from workbench.errors import ConfigError
from workbench.policies.shields.motion.channels import Channels
from workbench.types import Array, Moment, Note, Passed, Record, Task

NORMAL, SLOW, STOP, RETREAT, RESUME = "normal", "slow", "stop", "retreat", "resume"
MODES = (NORMAL, SLOW, STOP, RETREAT, RESUME)


@dataclasses.dataclass(frozen=True)
class Rules:
    """How long the automaton stays where it is, in control steps.

    Attributes
    ----------
    concern_steps : changes in a row that slow the robot.
    calm_steps : quiet ones in a row after which a slow robot is normal again.
    stop_steps, retreat_steps, resume_steps : length of a stop, of a retreat and of a slow start behind them.
    """

    concern_steps: int = 4
    calm_steps: int = 8
    stop_steps: int = 4
    retreat_steps: int = 6
    resume_steps: int = 6

    def __post_init__(self) -> None:
        for name, steps in dataclasses.asdict(self).items():
            if steps < 1:
                raise ConfigError(f"shield authorisation: {name}={steps} must be at least 1")

    def following(self, mode: str, count: int, vetoed: bool, changed: bool) -> tuple[str, int]:
        """Mode and count after a control step of which the shields before say this.

        ========  ===================================  =======================================================
        mode      on a veto                            otherwise
        ========  ===================================  =======================================================
        normal    stop                                 slow after ``concern_steps`` changes in a row
        slow      stop                                 normal after ``calm_steps`` quiet steps in a row
        stop      retreat once ``stop_steps`` are over  resume once ``stop_steps`` are over
        retreat   goes on; then stop                   goes on; then resume
        resume    stop                                 normal once ``resume_steps`` are over
        ========  ===================================  =======================================================
        """
        if mode == NORMAL:
            count = count + 1 if changed else 0
            return (STOP, 0) if vetoed else (SLOW, 0) if count >= self.concern_steps else (NORMAL, count)
        if mode == SLOW:
            count = 0 if changed else count + 1
            return (STOP, 0) if vetoed else (NORMAL, 0) if count >= self.calm_steps else (SLOW, count)
        if mode == RESUME:
            return (STOP, 0) if vetoed else (NORMAL, 0) if count + 1 >= self.resume_steps else (RESUME, count + 1)
        lasts, worse = (self.stop_steps, RETREAT) if mode == STOP else (self.retreat_steps, STOP)
        if count + 1 < lasts:
            return mode, count + 1
        return (worse if vetoed else RESUME), 0


class Authorisation:
    """Decides how much of an action may run, by what the shields before it say; it stands last.

    normal   the action runs
    slow     it runs with the arm's part scaled
    stop     the arm is held
    retreat  the hand goes back the way it came
    resume   the action runs with the arm's part scaled, a little more at every step

    Which mode follows which stands at :meth:`Rules.following`; what the automaton can do is small enough that a test
    tries all of it.  It says of every control step that is not normal which mode it is in.  The idea is that of
    controllers for work beside people that detect a hazard, go to a safe state and resume, which are verified as
    automata; and of a boundary at run time that no stream of data authorises by itself (silent failures in physical
    AI).

    Parameters
    ----------
    slow_scale : of the arm's action in slow, and at the beginning of resume.
    concern_steps, calm_steps, stop_steps, retreat_steps, resume_steps : see :class:`Rules`.
    """

    reasons = (SLOW, STOP, RETREAT, RESUME)
    softens = False

    def __init__(
        self,
        task: Task,
        slow_scale: float = 0.5,
        concern_steps: int = 4,
        calm_steps: int = 8,
        stop_steps: int = 4,
        retreat_steps: int = 6,
        resume_steps: int = 6,
    ) -> None:
        if not 0 < slow_scale < 1:
            raise ConfigError(f"shield authorisation: slow_scale={slow_scale} must be above 0 and below 1")
        self.channels = Channels(task, "shield authorisation")
        self.slow_scale = slow_scale
        self.rules = Rules(concern_steps, calm_steps, stop_steps, retreat_steps, resume_steps)
        self.channels.position  # noqa: B018 (a task whose actions do not translate the hand is refused here)

    def begin(self) -> Record:
        """All is normal, and the hand has come from nowhere."""
        return {"mode": NORMAL, "count": 0, "places": []}

    def act(self, memory: Record, moment: Moment) -> Passed:
        """As much of the action as may run."""
        notes = [note for _, note in moment.notes]
        vetoed, changed = any(note.vetoed for note in notes), any(not note.vetoed for note in notes)
        memory["mode"], memory["count"] = self.rules.following(memory["mode"], memory["count"], vetoed, changed)
        hand, mode = self.channels.hand_m(moment.observation), memory["mode"]
        if mode == RETREAT:
            action = self._back(memory, moment, hand)
        else:
            memory["places"] = _with(memory["places"], hand, self.rules.retreat_steps)
            action = self._forth(memory, moment)
        if mode == NORMAL:
            return Passed(action)
        return Passed(action, note=Note(mode, mode in (STOP, RETREAT), float(memory["count"]), self._lasts(mode)))

    def _forth(self, memory: Record, moment: Moment) -> Array:
        mode = memory["mode"]
        if mode == NORMAL:
            return moment.action
        if mode == STOP:
            return self.channels.held(moment.action, moment.before)
        share = memory["count"] / self.rules.resume_steps if mode == RESUME else 0.0
        return self.channels.slowed(moment.action, self.slow_scale + (1.0 - self.slow_scale) * share)

    def _back(self, memory: Record, moment: Moment, hand: Array) -> Array:
        """Towards the last place that the hand has come from and that it has not gone back to."""
        action = self.channels.held(moment.action, moment.before)
        if memory["places"]:
            *memory["places"], last = memory["places"]
            back = (np.asarray(last) - hand) / self.channels.robot.action_m
            action[self.channels.position] = np.clip(back, -self.slow_scale, self.slow_scale)
        return action

    def _lasts(self, mode: str) -> float:
        """Control steps that a mode lasts."""
        rules = self.rules
        lasting = {SLOW: rules.calm_steps, STOP: rules.stop_steps, RETREAT: rules.retreat_steps}
        return float(lasting.get(mode, rules.resume_steps))


def _with(places: list[list[float]], hand: Array, most: int) -> list[list[float]]:
    """The last places of the hand at which it had moved on."""
    if places and np.linalg.norm(np.asarray(places[-1]) - hand) < STILL_M:
        return places
    return [*places, hand.tolist()][-most:]


STILL_M = 0.001
"""Distance below which the hand has not moved on."""
