"""A reflex: the arm goes soft and slow when it is about to be in contact, faster than its policy could."""

from __future__ import annotations

from workbench.errors import ConfigError
from workbench.policies.shields.motion.channels import Channels
from workbench.policies.shields.motion.contact import Disturbance, Wrist
from workbench.types import Moment, Note, Passed, Record, Task


class Reflex:
    """Softens the controller and slows the arm when the force on the hand is predicted to exceed a bound.

    At every control step, several times for each policy call: the force of the last step is extrapolated by its rise,
    ``F(t) + lead (F(t) - F(t-1))``.  Beyond the bound the controller's stiffness is scaled, at the same damping ratio,
    and the arm's action with it, for some control steps after the last such prediction.  The idea is Bresa's (a safety
    critic at the low level, reflex correction, variable impedance); its critic is learned, this one is a formula.

    Where the task shows a force reading it is the wrist's, elsewhere it is read off the hand's motion; see
    :mod:`workbench.policies.shields.motion.contact`.

    Parameters
    ----------
    most_n : of the predicted force.
    lead : how many control steps its rise is extrapolated over.
    stiffness_scale : of the controller's stiffness while it is soft.
    motion_scale : of the arm's action while it is soft.
    hold_steps : how many control steps it stays soft.
    reading : observation of a force, if the task shows it.
    stiffness : of the controller, in 1/s^2: robosuite's OSC_POSE has 150.
    mass_kg : what the hand weighs for a force on it: 12 fits a Panda that is pushed with 100 to 150 N.
    """

    reasons = ("contact",)
    softens = True

    def __init__(
        self,
        task: Task,
        most_n: float,
        lead: float = 0.5,
        stiffness_scale: float = 0.2,
        motion_scale: float = 0.5,
        hold_steps: int = 4,
        reading: str = "wrench",
        stiffness: float = 150.0,
        mass_kg: float = 12.0,
    ) -> None:
        if not (most_n > 0 and stiffness > 0 and mass_kg > 0 and lead >= 0 and hold_steps >= 1):
            raise ConfigError(
                f"shield reflex: most_n={most_n}, stiffness={stiffness} and mass_kg={mass_kg} must be above 0, "
                f"lead={lead} at least 0, hold_steps={hold_steps} at least 1"
            )
        if not (0 < stiffness_scale <= 1 and 0 <= motion_scale <= 1):
            raise ConfigError(
                f"shield reflex: stiffness_scale={stiffness_scale} must be within 0..1 and not 0, "
                f"motion_scale={motion_scale} within 0..1"
            )
        self.channels = Channels(task, "shield reflex")
        self.most_n, self.lead, self.hold_steps = most_n, lead, hold_steps
        self.stiffness_scale, self.motion_scale = stiffness_scale, motion_scale
        felt = reading in task.observation_sizes
        self.sense: Wrist | Disturbance = (
            Wrist(self.channels, reading) if felt else Disturbance(self.channels, stiffness, mass_kg)
        )
        self.channels.position  # noqa: B018 (a task whose actions do not translate the hand is refused here)

    def begin(self) -> Record:
        """At rest, and as stiff as ever."""
        return {"sense": self.sense.begin(), "force_n": 0.0, "soft_steps": 0, "stiffness": 1.0}

    def act(self, memory: Record, moment: Moment) -> Passed:
        """The action, slower and softer in contact."""
        force = self.sense.force_n(memory["sense"], moment, memory["stiffness"])
        predicted = force + self.lead * (force - memory["force_n"])
        memory["force_n"] = force
        memory["soft_steps"] = self.hold_steps if predicted > self.most_n else max(memory["soft_steps"] - 1, 0)
        soft = memory["soft_steps"] > 0
        memory["stiffness"] = self.stiffness_scale if soft else 1.0
        if not soft:
            return Passed(moment.action)
        action = self.channels.slowed(moment.action, self.motion_scale)
        return Passed(action, self.stiffness_scale, Note("contact", False, predicted, self.most_n))
