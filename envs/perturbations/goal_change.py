"""The goal changes in the middle of the episode."""

from __future__ import annotations

from workbench.envs.perturbations.wrong_instruction import WrongInstruction


class GoalChange(WrongInstruction):
    """Somebody who changes their mind in the middle of the episode, and tells another goal (source: none found).

    Parameters
    ----------
    duration_steps : for how many control steps the robot is told the other goal.
    start : when they change their mind; see :class:`Specification`.
    """
