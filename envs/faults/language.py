"""What the faults of the language channel share: the robot is told something else for a while."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack, cast

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.envs.task import SceneTask
from workbench.errors import ConfigError
from workbench.types import Record, Stream, Task
from workbench.types.reading import TEXT, typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene
    from workbench.envs.words.wordings import Wording


class InstructionEffect(Effect):
    """The robot hears the drawn text instead of its instruction."""

    def instruction(self, scene: MujocoScene, instruction: str) -> str:
        """The text, whatever it was told otherwise."""
        return str(self.record["text"])


class InstructionFault(Specification):
    """Another instruction than the episode's, drawn among those that a subclass gives.

    Parameters
    ----------
    duration_steps : for how many control steps the robot is told it.
    start : when; see :class:`Specification`.
    """

    channel = "language"
    effect = InstructionEffect
    magnitude = Magnitude("duration_steps", 1, 1000, whole=True)
    drawn = typed(text=TEXT)

    def __init__(self, duration_steps: int | Sequence[int], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)

    def texts(self, task: SceneTask) -> Sequence[str]:
        """What may be told instead of the task's own goal; none if this fault means nothing for the task."""
        raise NotImplementedError

    def check(self, task: Task) -> None:
        """Refuse a task for which there is nothing to tell instead."""
        super().check(task)
        if not (isinstance(task, SceneTask) and self.texts(task)):
            raise ConfigError(f"perturbation {self.name} has no words for task {task.name}: leave it out")

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add the drawn text."""
        record, rng = super().draw(stream, task), stream.child("perturbation", self.name, "text").at()
        texts = self.texts(cast(SceneTask, task).of_episode(stream))
        return record | {"text": texts[int(rng.integers(len(texts)))]}

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration and the text."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What is told, in quotation marks."""
        return f'the robot is told "{record["text"]}"'


def wording_of(task: SceneTask) -> Wording:
    """The words of a task, or a ConfigError."""
    if task.wording is None:
        raise ConfigError(
            f"nobody has written down how people say task {task.name}: give it a wording, or leave it out"
        )
    return task.wording
