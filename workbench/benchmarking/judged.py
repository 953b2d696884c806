"""One episode as a monitor saw it, with what the simulator knows: what every figure is computed from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.store import Store
from workbench.types import Array


@dataclasses.dataclass(frozen=True)
class JudgedEpisode:
    """One episode as a monitor saw it, with what the simulator knows about it.

    Attributes
    ----------
    margin : (C,) margin of every policy call; an alarm where positive; NaN from a monitor without a threshold.
    step : (C,) control step of every call, the first being 0.
    length : control steps done.
    perturbed : whether a fault was injected.
    t_on, t_pnr : failure onset and point of no return in control steps; -1 where not measured.
    deadline : the task's, in control steps.
    uid : names the episode across stores.
    task : means over tasks are taken by this name.
    family : channels of its perturbations, joined by "+"; "" for a nominal episode.
    twin : uid of its nominal twin, or "".
    rolled : names the rollout where that is judged several times, as in several folds; else "".
    group : that of its first call, where the monitor's threshold is one for each group of calls; else -1.
    """

    margin: Array
    step: Array
    length: int
    success: bool
    perturbed: bool
    t_on: int
    t_pnr: int
    deadline: int
    uid: str = ""
    task: str = ""
    family: str = ""
    twin: str = ""
    rolled: str = ""
    group: int = -1

    @property
    def alarm_step(self) -> int:
        """Control step of the first alarm, or -1."""
        alarms = np.flatnonzero(self.margin > 0)
        return int(self.step[alarms[0]]) if len(alarms) else -1


Judged = Mapping[int, Sequence[JudgedEpisode]]
"""Training seed -> episodes; the same episodes in the same order for each seed."""


def judged_episode(
    store: Store, number: int, margin: Array, step: Array, group: int = -1, **names: str
) -> JudgedEpisode:
    """An episode of a store with the margins (C,) of a monitor at control steps (C,); ``names`` are those it has."""
    rows = store.episodes
    return JudgedEpisode(
        margin=margin,
        step=step,
        length=int(rows["length"][number]),
        success=bool(rows["success"][number]),
        perturbed=rows["perturbation"][number] != "",
        t_on=int(rows["t_on"][number]),
        t_pnr=int(rows["t_pnr"][number]),
        deadline=store.header.deadline,
        group=group,
        **names,
    )


def elapsed(episode: JudgedEpisode) -> JudgedEpisode:
    """The same episode with elapsed time in place of margins, known at every control step and not at calls alone.

    Its highest "margin" until fraction f of the deadline is ``min(length, floor(f * deadline))``.
    """
    steps = np.arange(episode.length + 1)
    return dataclasses.replace(episode, margin=steps.astype(np.float64), step=steps)
