"""The skill with the numbers that were chosen for it on alarms of the fit split."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import CheckpointError
from workbench.policies.recovery.skill import Skill, checked_settings
from workbench.types import Task
from workbench.types.tuning import read_tuning, source_of


class TunedSkill(Skill):
    """As :class:`workbench.policies.recovery.skill.Skill`, with its settings from a file.

    Parameters
    ----------
    task : whose actions translate a hand with two fingers in space.
    tuned : file that :func:`workbench.tune_skill` wrote.

    Raises
    ------
    CheckpointError
        if it is damaged, or was made on another task.
    """

    name = "tuned_skill"

    def __init__(self, task: Task, tuned: Path) -> None:
        found = read_tuning(Path(tuned))
        if found.task != task.name:
            raise CheckpointError(
                f"the skill in {tuned} was tuned on task {found.task}, not {task.name}; workbench tune does so on this"
            )
        checked_settings(found.settings, source_of(Path(tuned)))
        super().__init__(task, **found.settings)
