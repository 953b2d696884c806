"""The robot brings the object to the wrong place."""

from __future__ import annotations

from workbench.envs.faults.goals import GoalFault


class WrongTarget(GoalFault):
    """A wrong place to bring the right object to (Guardian's *wrong_target*, 2025).

    Parameters
    ----------
    duration_steps : for how many control steps the robot goes for it.
    goal : the other goal's name; None to draw one.
    start : when; see :class:`Specification`.
    """

    seen_as = ("misplacement", "timeout")
    another_object = False
