"""One episode as a Rerun recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.branch import snapshot_at
from workbench.config import Run
from workbench.errors import StoreError, UnknownNameError
from workbench.jobs.fit import folder_of, load_monitors
from workbench.jobs.replay import find
from workbench.monitor import Reading, offline
from workbench.progress import console, progress
from workbench.store import Store
from workbench.types import Array, Episode, EpisodeCalls, Record, Scene
from workbench.view import MonitorTrace, record_episode


def run(run: Run, episode: str | int, monitors: Sequence[str]) -> None:
    """Write ``runs/<name>/recordings/<uid>.rrd``."""
    run.refuse_other_store()
    store = Store.open(run.store)
    number = most_telling(store) if episode == "auto" else find(store, episode)
    chosen = store.episode(number, calls=())
    calls = store.calls(number)
    readings = judge(run, calls, monitors)
    scene = run.task.scene()
    poses = body_poses(scene, chosen)
    uid = str(chosen.record["uid"])
    path = run.folder / "recordings" / f"{uid.replace(':', '-')}.rrd"
    record_episode(
        path,
        title=title_of(chosen.record),
        shapes=scene.shapes(),
        poses=poses,
        steps=len(chosen.steps["action"]),
        control_hz=store.header.control_hz,
        stages=run.task.stages,
        stage=chosen.steps["stage"],
        monitors={name: trace(calls, reading) for name, reading in readings.items()},
        events=events_of(chosen.record),
        actions=chosen.steps["applied"],
        trails=run.task.trails,
        notes=notes_of(chosen.record),
    )
    curves = {
        name: {"step": calls.step.tolist(), "margin": np.nan_to_num(reading.margin).tolist()}
        for name, reading in readings.items()
    }
    example = {"uid": uid, "title": title_of(chosen.record), "events": events_of(chosen.record), "monitors": curves}
    run.update_metrics(recording=run.shown(path), example=example)
    console.print(f"recording: {run.shown(path)}   (open it with: rerun {run.shown(path)})")


def most_telling(store: Store) -> int:
    """A failed, perturbed test episode with the longest stretch between fault and point of no return."""
    rows = store.episodes
    failed = [
        number
        for number in range(len(store))
        if rows["split"][number] == "test" and rows["perturbation"][number] != "" and not rows["success"][number]
    ]
    if not failed and not len(store):
        raise StoreError(f"{store.path} is empty; roll some episodes first with: workbench rollout")
    stretch = [int(rows["t_pnr"][number]) - int(rows["t_inj"][number]) for number in failed]
    return failed[int(np.argmax(stretch))] if failed else 0


def judge(run: Run, calls: EpisodeCalls, names: Sequence[str]) -> dict[str, Reading]:
    """Readings of the named monitors; none if the run has none yet."""
    if not folder_of(run).exists():
        return {}
    known = {monitor.name: monitor for monitor in load_monitors(run)}
    for name in names:
        if name not in known:
            raise UnknownNameError("monitor", name, known)
    return {name: each[0] for name, each in offline([known[name] for name in names], [calls]).items()}


def trace(calls: EpisodeCalls, reading: Reading) -> MonitorTrace:
    """Margins in units of the calibration scores' spread, so that all thresholds lie at zero."""
    alarms = np.flatnonzero(reading.alarm)
    return MonitorTrace(
        call_steps=calls.step,
        score=reading.margin,
        threshold=np.zeros(len(calls.step)),
        alarm_step=int(calls.step[alarms[0]]) if len(alarms) else -1,
    )


def body_poses(scene: Scene, episode: Episode) -> Mapping[str, tuple[Array, Array]]:
    """World poses of every body at every stored step, from the stored snapshots."""
    rows: list[Mapping[str, tuple[Array, Array]]] = []
    with progress("poses", len(episode.steps["action"])) as advance:
        for step in range(len(episode.steps["action"])):
            scene.restore(snapshot_at(episode, step))
            rows.append(scene.body_poses())
            advance(1)
    return {
        body: (np.stack([row[body][0] for row in rows]), np.stack([row[body][1] for row in rows])) for body in rows[0]
    }


def events_of(record: Record) -> dict[str, int]:
    """Event -> control step."""
    end = int(record["length"]) - 1
    return {
        "injected": int(record["t_inj"]),
        "onset": int(record["t_on"]),
        "point of no return": int(record["t_pnr"]),
        "success" if record["success"] else "failure": end,
    }


def title_of(record: Record) -> str:
    """Task, fault and outcome in a few words."""
    return f"{record['task']}: {record['perturbation'] or 'nominal'}, {record['outcome']}"


def notes_of(record: Record) -> str:
    """What was drawn and what was seen, as Markdown."""
    lines = [
        f"# {title_of(record)}",
        f"- instruction: {record['instruction']}",
        f"- episode: `{record['uid']}` ({record['split']} split)",
        f"- injected: `{record['perturbations']}`",
        f"- seen: {record['failure_mode'] or 'success'}",
        f"- failure onset at step {record['t_on']} (95 %: {record['t_on_low']} to {record['t_on_high']}), "
        f"point of no return at step {record['t_pnr']}; -1 means not measured",
    ]
    return "\n".join(lines)
