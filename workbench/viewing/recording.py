"""One stored episode as a recording: chosen, read, drawn and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from workbench.attribution.explanation import explanation_of
from workbench.config import replacing
from workbench.errors import ConfigError, RenderError, UnknownNameError
from workbench.execution.progress import progress
from workbench.monitoring.example import Example, Margins
from workbench.monitoring.monitor import AnyMonitor, Reading, needs_of
from workbench.monitoring.reading import offline
from workbench.rollouts.setup import refuse_other_task
from workbench.rollouts.stored import snapshot_at
from workbench.store import Store
from workbench.types import Array, Episode, EpisodeCalls, Scene, Task
from workbench.types.abilities import HasShapes, ability, stages_of, trails_of
from workbench.viewing.choice import chosen, first_alarm
from workbench.viewing.episode import MonitorTrace, Poses, ShownEpisode, record_episode
from workbench.viewing.notes import events_of, notes_of, title_of
from workbench.viewing.session import entities_of
from workbench.viewing.strip import film_strip

IMAGES = "images/"


@dataclasses.dataclass(frozen=True)
class Recording:
    """A written recording.

    Attributes
    ----------
    path : the ``.rrd`` file; ``rerun FILE`` opens it.
    uid : of the episode.
    example : what the monitors said in it, for a report.
    """

    path: Path
    uid: str
    example: Example


def view(
    store: Store,
    episode: int | str,
    task: Task,
    monitors: Iterable[AnyMonitor] | Mapping[str, AnyMonitor] = (),
    *,
    into: str | Path,
) -> Recording:
    """Write one stored episode as a Rerun recording, and read it back.

    Parameters
    ----------
    store : where the episode lies.
    episode : its number, its uid, or ``auto`` for a failed test episode whose alarm comes between fault and point of
        no return.
    task : the one that the episode was rolled in.
    monitors : those whose curves are drawn.
    into : folder of the recording, which is called after the uid; an existing one is replaced once this
        one is whole.

    Raises
    ------
    UnknownNameError
        if there is no such episode.
    StoreError
        if the store is empty, or what was written cannot be read.
    """
    refuse_other_task(store, task)
    judges = list(monitors.values() if isinstance(monitors, Mapping) else monitors)
    number = chosen(store, episode, judges)
    stored, calls = store.episode(number, calls=()), store.calls(number, needs_of(judges))
    readings = {name: each[0] for name, each in offline(judges, [calls]).items()} if judges else {}
    uid = str(stored.record["uid"])
    path = Path(into) / f"{uid.replace(':', '-')}.rrd"
    shown = dataclasses.replace(
        shown_episode(stored, task, store.header.control_hz, calls, readings),
        name=path.stem,
        strip=_strip(store, number, task),
    )
    with replacing(path) as new:
        record_episode(new, shown)
        entities_of(new)
    return Recording(path, uid, example_of(stored, calls, readings))


def _strip(store: Store, number: int, task: Task) -> bytes:
    """A film strip as a PNG file; empty where the scene or this machine cannot draw."""
    try:
        return film_strip(store, number, task).png()
    except (ConfigError, RenderError, UnknownNameError):
        return b""


def shown_episode(
    stored: Episode, task: Task, control_hz: float, calls: EpisodeCalls, readings: Mapping[str, Reading]
) -> ShownEpisode:
    """What is shown of a stored episode."""
    scene, steps = task.scene(), stored.steps
    poses = body_poses(scene, stored)
    return ShownEpisode(
        title=title_of(stored.record),
        # After the poses: sizes are the episode's own once it has been restored.
        shapes=ability(scene, HasShapes, "workbench view").shapes(),
        poses=poses,
        control_hz=control_hz,
        stages=stages_of(task),
        stage=steps["stage"],
        actions=steps["applied"],
        trails=trails_of(task),
        events=events_of(stored.record),
        monitors={name: trace(calls, reading) for name, reading in readings.items()},
        images={key.removeprefix(IMAGES): pixels for key, pixels in steps.items() if key.startswith(IMAGES)},
        notes=notes_of(explanation_of(stored.record, steps, stages_of(task), control_hz, task.deadline)),
    )


def example_of(stored: Episode, calls: EpisodeCalls, readings: Mapping[str, Reading]) -> Example:
    """What the monitors said in a stored episode, for a report."""
    margins = {
        name: Margins(calls.step.tolist(), np.nan_to_num(reading.margin).tolist()) for name, reading in readings.items()
    }
    record = stored.record
    return Example(str(record["uid"]), title_of(record), events_of(record), margins)


def trace(calls: EpisodeCalls, reading: Reading) -> MonitorTrace:
    """Margins in units of the calibration scores' spread, so that all thresholds lie at zero."""
    return MonitorTrace(
        call_steps=calls.step,
        score=reading.margin,
        threshold=np.zeros(len(calls.step)),
        alarm_step=first_alarm(calls, reading),
    )


def body_poses(scene: Scene, episode: Episode) -> Poses:
    """World poses of every body at every stored step, from the stored snapshots."""
    rows: list[Mapping[str, tuple[Array, Array]]] = []
    drawn = ability(scene, HasShapes, "workbench view")
    with progress("poses", len(episode.steps["action"])) as advance:
        for step in range(len(episode.steps["action"])):
            scene.restore(snapshot_at(episode, step))
            rows.append(drawn.body_poses())
            advance(1)
    return {
        body: (np.stack([row[body][0] for row in rows]), np.stack([row[body][1] for row in rows])) for body in rows[0]
    }
