"""What the faults of the goal share: for a while the robot goes for another goal than it was told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, cast

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.envs.task import SceneTask
from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Array, Observation, Record, Stream, Task
from workbench.types.reading import NAME, among, typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class GoalEffect(Effect):
    """Shows the scene relabelled, so that whoever goes by observations pursues the drawn goal."""

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation as if the goal were the task's own, with what other faults did to it."""
        if not self.active(scene.step_index):
            return observation
        return scene.task.as_if(self.record["goal"], observation)


class GoalFault(Specification):
    """Another goal in the same scene.

    Parameters
    ----------
    duration_steps : for how many control steps the robot goes for it.
    goal : the other goal's name; None to draw one, as for an episode to which it is no other such goal.
    start : when; see :class:`Specification`.
    """

    channel = "keyframe"
    effect = GoalEffect
    magnitude = Magnitude("duration_steps", 1, 1000, whole=True)
    drawn = typed(goal=NAME)
    another_object: ClassVar[bool]
    """Whether the goals are those that handle another object, or those that lead the same one elsewhere."""

    def __init__(self, duration_steps: int | Sequence[int], goal: str | None = None, **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)
        self.goal = goal

    def alternatives(self, task: SceneTask) -> list[str]:
        """Names of the goals that this fault may draw."""
        others = list(task.goals)[1:]
        return [goal for goal in others if (goal in task.goals_of_another_object) == self.another_object]

    def check(self, task: Task) -> None:
        """Refuse a task that has no such goal."""
        super().check(task)
        every = task.variants if isinstance(task, SceneTask) else ()
        what = "object" if self.another_object else "target"
        goals = list(dict.fromkeys(goal for variant in every for goal in self.alternatives(variant)))
        if not goals:
            raise ConfigError(
                f"perturbation {self.name} needs another {what}, and task {task.name} has none: leave it out"
            )
        if self.goal is not None and self.goal not in goals:
            raise UnknownNameError(f"goal of task {task.name} with another {what}", self.goal, goals)

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add the drawn goal."""
        record, rng = super().draw(stream, task), stream.child("perturbation", self.name, "goal").at()
        goals = self.alternatives(cast(SceneTask, task).of_episode(stream))
        drawn = goals[int(rng.integers(len(goals)))]
        return record | {"goal": self.goal if self.goal in goals else drawn}

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Goals of the task."""
        every = task.variants if isinstance(task, SceneTask) else ()
        return super().fields_on(task) | {"goal": among(dict.fromkeys(goal for each in every for goal in each.goals))}

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration and the goal."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """Which goal it is."""
        return f"the robot goes for {record['goal'].replace('_', ' ')}"
