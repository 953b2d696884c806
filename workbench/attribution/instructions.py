"""Which instruction a policy followed: success by instruction, and what was done where something else was told.

Read from a store alone: every step holds, for each goal of the task, the predicate ``did_<goal>``, and an episode's
stream says which goal it asked for, whatever a fault of the language made of its instruction.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

from workbench.rollouts.stored import perturbations_of, stream_of
from workbench.store import Store
from workbench.types import Episode, Record, Task

DEED = "did_"
"""What the name of a predicate begins with that says whether a goal is fulfilled."""
FOLLOWED = ("asked", "told", "another", "none")
"""Which goal is fulfilled: the one that the episode asked for, the one that was told instead, a third one, none."""


@dataclasses.dataclass(frozen=True)
class Told:
    """What one episode asked for, what was told, and what came of it.

    Attributes
    ----------
    asked : instruction of the goal that the episode asked for.
    followed : one of :data:`FOLLOWED`; of several goals fulfilled, the first in that order counts.
    success : whether the episode succeeded.
    perturbation : as the episodes' column; "" for none.
    misled : whether a fault of the language was among them.
    """

    asked: str
    followed: str
    success: bool
    perturbation: str
    misled: bool


def told(store: Store, task: Task, split: str = "test") -> list[Told]:
    """The episodes of a split; none of a task that does not say which of its goals are fulfilled."""
    deeds = [f"{DEED}{goal}" for goal in task.goals]
    if not set(deeds) <= set(task.predicate_names):
        return []
    arrays = [f"predicates/{name}" for name in deeds]
    rows = [row for row, name in enumerate(store.episodes["split"]) if name == split and store.episodes["length"][row]]
    return [_told(store.episode(row, steps=arrays, calls=()), task) for row in rows]


def _told(episode: Episode, every: Task) -> Told:
    task, records = every.of_episode(stream_of(episode)), perturbations_of(episode)
    asked = next(iter(task.goals))
    instead = {task.ground(record["text"]) for record in records if "text" in record} - {asked, None}
    done = [goal for goal in task.goals if (episode.steps[f"predicates/{DEED}{goal}"] > 0).any()]
    return Told(
        asked=task.goals[asked],
        followed=followed(asked, instead, done),
        success=bool(episode.record["success"]),
        perturbation=str(episode.record["perturbation"]),
        misled=any(record["channel"] == "language" for record in records),
    )


def followed(asked: str, instead: Collection[str | None], done: Collection[str]) -> str:
    """Which goal was fulfilled, given those that were told instead and those that were fulfilled at any step."""
    if asked in done:
        return "asked"
    if any(goal in instead for goal in done):
        return "told"
    return "another" if done else "none"


def summary(episodes: Sequence[Told]) -> Record:
    """What ``metrics.json`` holds of them.

    ``instructions`` counts the episodes without any fault, a row an instruction: ``episodes``, ``successes``.
    ``misled`` counts those with a fault of the language, a row a perturbation: ``episodes`` and each of
    :data:`FOLLOWED`.
    """
    nominal = _grouped((each.asked, each) for each in episodes if not each.perturbation)
    misled = _grouped((each.perturbation, each) for each in episodes if each.misled)
    return {
        "instructions": [
            {"instruction": asked, "episodes": len(group), "successes": sum(each.success for each in group)}
            for asked, group in nominal.items()
        ],
        "misled": [
            {"perturbation": name, "episodes": len(group)}
            | {kind: sum(each.followed == kind for each in group) for kind in FOLLOWED}
            for name, group in misled.items()
        ],
    }


def _grouped(pairs: Iterable[tuple[str, Told]]) -> Mapping[str, list[Told]]:
    """Name -> its episodes, in the order of the names."""
    groups: dict[str, list[Told]] = collections.defaultdict(list)
    for name, each in pairs:
        groups[name].append(each)
    return dict(sorted(groups.items()))
