"""A gate on the plan: a chunk that a monitor alarms at is not run."""

from __future__ import annotations

from workbench.errors import ConfigError
from workbench.policies.shields.motion.channels import Channels
from workbench.types import Moment, Note, Passed, PlanJudge, PolicyCall, Record, Task


class PlanGate:
    """Vetoes a chunk while a monitor alarms at the call that planned it: the robot is held still until the next call.

    With a monitor of ``mahalanobis`` it is the first gate of SafeFlow (Cho et al., arXiv 2603.23983, 2026): whether the
    policy is asked what it knows.  With one of ``directional_sensitivity`` it is the second: whether its sampler is
    steady.  :class:`workbench.policies.shields.speed.Speed` is the third.  The monitor is fitted on nominal successes
    of the fit split and calibrated on those of the calibrate split, as any other: its level is the share of nominal
    episodes in which any plan may be vetoed.

    Parameters
    ----------
    monitor : its name.
    judge : the monitor.
    fitted_in : name of the run that it was fitted in; None for the one that rolls.
    motion_scale : of the arm's action while the plan is vetoed; 0 holds it.
    """

    reasons = ("plan",)
    softens = False

    def __init__(
        self, task: Task, monitor: str, judge: PlanJudge, fitted_in: str | None = None, motion_scale: float = 0.0
    ) -> None:
        if not 0 <= motion_scale < 1:
            raise ConfigError(f"shield plan_gate: motion_scale={motion_scale} must be at least 0 and below 1")
        self.channels = Channels(task, "shield plan_gate")
        self.monitor, self.judge, self.fitted_in, self.motion_scale = monitor, judge, fitted_in, motion_scale
        self.needs = judge.needs

    def begin(self) -> Record:
        """No plan was seen yet."""
        return {"judge": self.judge.begin(), "margin": 0.0}

    def plan(self, memory: Record, call: PolicyCall) -> None:
        """Keep what the monitor says of the call."""
        memory["margin"] = self.judge.margin(memory["judge"], call)

    def dropped(self, memory: Record) -> None:
        """Nothing is said of a plan that nobody runs."""
        memory["margin"] = 0.0

    def act(self, memory: Record, moment: Moment) -> Passed:
        """The action, unless its plan is vetoed."""
        if not memory["margin"] > 0:
            return Passed(moment.action)
        if self.motion_scale:
            action = self.channels.slowed(moment.action, self.motion_scale)
        else:
            action = self.channels.held(moment.action, moment.before)
        return Passed(action, note=Note("plan", not self.motion_scale, memory["margin"], 0.0))
