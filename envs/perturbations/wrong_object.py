"""The robot takes the wrong object."""

from __future__ import annotations

from workbench.envs.faults.goals import GoalFault


class WrongObject(GoalFault):
    """A wrong target object (AHA, Duan et al., ICLR 2025; Guardian's *wrong_object*, 2025).

    Parameters
    ----------
    duration_steps : for how many control steps the robot goes for it.
    goal : the other goal's name; None to draw one.
    start : when; see :class:`Specification`.
    """

    seen_as = ("wrong object", "timeout", "knocked")
    another_object = True
