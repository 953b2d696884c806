"""One episode as a Rerun recording."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.config import Run
from workbench.errors import StoreError, UnknownNameError
from workbench.execution.progress import console, progress
from workbench.jobs.fit import folder_of, load_monitors
from workbench.jobs.replay import find
from workbench.monitoring.monitor import AnyMonitor, Reading, needs_of, offline
from workbench.rollouts.stored import snapshot_at
from workbench.store import Store
from workbench.types import Array, Episode, EpisodeCalls, Record, Scene
from workbench.viewing.episode import MonitorTrace, record_episode

UNITS = ("_fraction", "_scale", "_m", "_rad", "_n", "_s", "_steps")
"""How the names of a fault's magnitudes end."""


def run(run: Run, episode: str | int, monitors: Sequence[str]) -> None:
    """Write ``runs/<name>/recordings/<uid>.rrd``."""
    run.refuse_other_store()
    store = Store.open(run.store, aborted=True)
    judges = shown_monitors(run, monitors)
    number = most_telling(store, judges) if episode == "auto" else find(store, episode)
    chosen = store.episode(number, calls=())
    calls = store.calls(number, needs_of(judges))
    readings = {name: each[0] for name, each in offline(judges, [calls]).items()} if judges else {}
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
        images={
            key.removeprefix("images/"): pixels for key, pixels in chosen.steps.items() if key.startswith("images/")
        },
        notes=notes_of(chosen.record),
    )
    curves = {
        name: {"step": calls.step.tolist(), "margin": np.nan_to_num(reading.margin).tolist()}
        for name, reading in readings.items()
    }
    example = {"uid": uid, "title": title_of(chosen.record), "events": events_of(chosen.record), "monitors": curves}
    run.update_metrics(recording=run.shown(path), example=example)
    console.print(f"recording: {run.shown(path)}   (open it with: rerun {run.shown(path)})")


def shown_monitors(run: Run, names: Sequence[str]) -> list[AnyMonitor]:
    """The named monitors; none if the run has none yet."""
    if not folder_of(run).exists():
        return []
    known = {monitor.name: monitor for monitor in load_monitors(run)}
    for name in names:
        if name not in known:
            raise UnknownNameError("monitor", name, known)
    return [known[name] for name in names]


def most_telling(store: Store, monitors: Sequence[AnyMonitor]) -> int:
    """Number of the failed, perturbed test episode that shows most of what a monitor is for.

    See :func:`interest`; of equals the first.  Without such an episode, the first of the store.
    """
    if not len(store):
        raise StoreError(f"{store.path} is empty; roll some episodes first with: workbench rollout")
    rows = store.episodes
    failed = [
        number
        for number in range(len(store))
        if rows["split"][number] == "test" and rows["perturbation"][number] != "" and not rows["success"][number]
    ]
    calls = [store.calls(number, needs_of(monitors)) for number in failed]
    readings = offline(monitors, calls) if monitors and failed else {}

    def worth(place: int) -> tuple[bool, bool, bool, int, int]:
        said = [first_alarm(calls[place], each[place]) for each in readings.values()]
        return interest(int(rows["t_inj"][failed[place]]), int(rows["t_pnr"][failed[place]]), said)

    return failed[max(range(len(failed)), key=worth)] if failed else 0  # max() keeps the first of equals


def interest(t_inj: int, t_pnr: int, alarms: Sequence[int]) -> tuple[bool, bool, bool, int, int]:
    """What an episode has to show, most important first; greater is more.

    Whether the fault strikes in mid-episode; whether any monitor alarms after it and in time; whether all were quiet
    until then; how many alarm in time; and how many control steps lie between fault and point of no return.
    ``alarms`` are the monitors' first, -1 for none.
    """
    timely = sum(t_inj < alarm < t_pnr for alarm in alarms)
    quiet_before = not any(0 <= alarm <= t_inj for alarm in alarms)
    return t_inj > 0, timely > 0, quiet_before, timely, t_pnr - t_inj


def first_alarm(calls: EpisodeCalls, reading: Reading) -> int:
    """Control step of a monitor's first alarm, or -1."""
    alarms = np.flatnonzero(reading.alarm)
    return int(calls.step[alarms[0]]) if len(alarms) else -1


def trace(calls: EpisodeCalls, reading: Reading) -> MonitorTrace:
    """Margins in units of the calibration scores' spread, so that all thresholds lie at zero."""
    return MonitorTrace(
        call_steps=calls.step,
        score=reading.margin,
        threshold=np.zeros(len(calls.step)),
        alarm_step=first_alarm(calls, reading),
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
        f"### {title_of(record)}",
        f"- asked: {record['instruction']}; seen: {record['failure_mode'] or 'success'}",
        *(f"- injected: {fault_of(fault, record['length'])}" for fault in json.loads(record["perturbations"])),
        f"- onset: {moment(record['t_on'])}, 95 % interval {record['t_on_low']} to {record['t_on_high']}"
        if record["t_on"] >= 0
        else "- onset: not measured",
        f"- point of no return: {moment(record['t_pnr'])}",
        f"- decisive: steps {record['t_dec']} to {record['t_dec_end'] - 1}, replaced by the {record['t_dec_by']}'s, "
        f"gain {record['responsibility']:.2f} in success, 95 % interval {record['responsibility_low']:.2f} to "
        f"{record['responsibility_high']:.2f}"
        if record["t_dec"] >= 0
        else "- decisive: no step found",
        f"- episode: `{record['uid']}`, {record['split']} split",
    ]
    return "\n".join(lines)


def moment(step: int) -> str:
    """A control step in words."""
    return f"step {step}" if step >= 0 else "not measured"


def fault_of(record: Record, length: int) -> str:
    """Name, channel and magnitudes of a drawn fault; when it struck is among the events.

    A duration beyond the episode's length is left out: the fault stayed.
    """
    drawn = {key: np.asarray(value) for key, value in record.items() if key.endswith(UNITS)}
    told = [
        f"{key} {np.array2string(value, precision=3, separator=', ')}"
        for key, value in drawn.items()
        if key != "duration_steps" or value <= length
    ]
    return ", ".join([f"{record['name']} ({record['channel']})", *told])
