"""The robot is told of things by where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from workbench.envs.faults.language import InstructionFault, wording_of
from workbench.types import Record, Stream, Task

if TYPE_CHECKING:
    from workbench.envs.task import SceneTask


class SpatialReference(InstructionFault):
    """Things that are told by their place instead of their name (a semantic axis of STAR-Gen, Gao et al., 2025)."""

    seen_as = ("stall", "timeout", "wrong object")

    def texts(self, task: SceneTask) -> Sequence[str]:
        """The task's own goal by where its things are, with blanks for what differs from episode to episode."""
        return wording_of(task).places

    def draw(self, stream: Stream, task: Task) -> Record:
        """Fill the blanks with where things lie at the start of the episode."""
        record = super().draw(stream, task)
        if "{" in record["text"]:
            places = cast("SceneTask", task).of_episode(stream).whereabouts(task.scene().begin(stream))
            record["text"] = record["text"].format(**places)
        return record
