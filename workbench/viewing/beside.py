"""A strategy beside its placebo: one episode rolled twice behind the same alarm with the same noise, drawn together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import replacing, shown
from workbench.config.named import nodes
from workbench.errors import ConfigError, StoreError
from workbench.monitoring.monitor import AnyMonitor, needs_of, refuse_silent
from workbench.monitoring.reading import offline
from workbench.recovery.gains import PLACEBO
from workbench.rollouts.arms import EXPERT, built
from workbench.rollouts.guard import Guard, steps_beyond
from workbench.rollouts.launch import Launch, Outcome
from workbench.rollouts.setup import Setup, branching_setup
from workbench.rollouts.stored import perturbations_of, stream_of
from workbench.store import Store
from workbench.types import Array, Episode, Policy, Record, Shape, Shield, Strategy, Task
from workbench.types.abilities import HasShapes, ability, stages_of, trails_of
from workbench.types.text import as_markdown
from workbench.viewing.blueprint import beside_layout
from workbench.viewing.choice import first_alarm, most_telling
from workbench.viewing.colours import ALARM_COLOUR, NOMINAL_COLOUR, THRESHOLD_COLOUR, event_colour, series_colour
from workbench.viewing.episode import Poses, write_alarm_marks, write_scene, write_stages, write_trails
from workbench.viewing.notes import title_of
from workbench.viewing.recording import AUTO, body_poses
from workbench.viewing.session import Session, entities_of, entity_path

LEVELS: Mapping[bool, str] = {True: "INFO", False: "ERROR"}


@dataclasses.dataclass(frozen=True)
class Beside:
    """A written recording of a strategy beside the placebo.

    Attributes
    ----------
    path : the ``.rrd`` file; ``rerun FILE`` opens it.
    uid : of the episode.
    alarm : control step at which both were asked.
    ended : how it ended, by the name of the strategy and of the placebo.
    words : the same as a note.
    """

    path: Path
    uid: str
    alarm: int
    ended: Mapping[str, Outcome]
    words: str


@dataclasses.dataclass(frozen=True)
class _Side:
    """One of the two rollouts, as it is drawn."""

    episode: Episode
    outcome: Outcome
    poses: Poses
    shapes: list[Shape]

    @property
    def relieved(self) -> Array:
        """(T,) whether another than the policy drives."""
        return np.asarray(self.episode.steps["relieved"], bool)

    @property
    def end(self) -> str:
        """How it ended, as an event."""
        return "success" if self.outcome.success else "failure"

    def drivers(self, name: str, alarm: int) -> list[tuple[int, str]]:
        """(control step, who drives from there on)."""
        whole = ["policy" if step < alarm else name if by else "policy anew" for step, by in enumerate(self.relieved)]
        return [(step, who) for step, who in enumerate(whole) if not step or who != whole[step - 1]]


def view_beside(
    store: Store,
    episode: int | str,
    task: Task,
    policy: Policy,
    monitor: AnyMonitor,
    strategy: str | Mapping[str, Any],
    *,
    into: str | Path,
    horizon: float = 2.0,
    expert: Mapping[str, Any] = EXPERT,
    head: Path | None = None,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
) -> Beside:
    """Roll a stored episode with a strategy and with the placebo from a monitor's first alarm, and draw both together.

    Both meet the same noise at the same control step, and end at the same one at the latest.

    Parameters
    ----------
    store, task, policy : where the episode lies, and what it was rolled with.
    episode : its number, its uid, or ``auto`` as of :func:`workbench.view`.
    strategy : name, or {name: configuration or object}.
    into : folder of the recording, which is called after the uid and the strategy.
    horizon, expert, head : as of :func:`workbench.recover`.
    shields : those behind which the store was rolled.  Gates on the plan may be among them: both rollouts begin at step
        0, so that nothing which was said of a plan is lost.

    Raises
    ------
    OtherSettingsError
        if the store was rolled with another task or policy, or behind other shields.
    ConfigError
        if the monitor does not alarm in the episode, or there is no one strategy to stand beside the placebo.
    StoreError
        if the episode, rolled again, is not the stored one up to the alarm; or what was written cannot be read.
    """
    setup = branching_setup(store, task, policy, shields=shields)
    refuse_silent(monitor)
    name, arms = _arms(strategy, task, policy, expert, head, monitor)
    number = most_telling(store, [monitor]) if episode == AUTO else store.number_of(episode)
    stored, alarm = store.episode(number, calls=()), _alarm(store, number, monitor)
    limit = steps_beyond(task.deadline, horizon)
    sides = {
        each: _side(_rolled(store, stored, Guard(monitor, arm, horizon=limit), setup, alarm), task)
        for each, arm in arms.items()
    }
    uid, words = str(stored.record["uid"]), _words(stored.record, name, monitor.name, alarm, limit, sides)
    path = Path(into) / f"{uid.replace(':', '-')}-{name}-beside-{PLACEBO}.rrd"
    with replacing(path) as new:
        _record(new, f"{title_of(stored.record)}: {name} beside the {PLACEBO}", path.stem, task, sides, alarm, words)
        entities_of(new)
    return Beside(path, uid, alarm, {each: side.outcome for each, side in sides.items()}, words)


def _arms(
    strategy: str | Mapping[str, Any],
    task: Task,
    policy: Policy,
    expert: Mapping[str, Any],
    head: Path | None,
    monitor: AnyMonitor,
) -> tuple[str, dict[str, Strategy]]:
    """Name of the strategy, and it with the placebo."""
    asked = nodes("strategy", [strategy] if isinstance(strategy, str) else strategy)
    if len(asked) != 1 or PLACEBO in asked:
        named = ", ".join(asked) or "none"
        raise ConfigError(f"one strategy stands beside the {PLACEBO}, not {named}; choose one, such as expert")
    (name,) = asked
    return name, built({**asked, **nodes("strategy", [PLACEBO])}, task, policy, dict(expert), head, [monitor])


def _alarm(store: Store, number: int, monitor: AnyMonitor) -> int:
    calls = store.calls(number, needs_of([monitor]))
    found = first_alarm(calls, offline([monitor], [calls])[monitor.name][0])
    if found < 0:
        raise ConfigError(
            f"monitor {monitor.name} never alarms in episode {calls.uid}, so no strategy acts; choose another episode "
            "(job.episode) or monitor (job.monitors)"
        )
    return found


def _rolled(store: Store, stored: Episode, guard: Guard, setup: Setup, alarm: int) -> Episode:
    """The episode again, with a guard; refused if it is another one up to the alarm."""
    asked, apart = setup.recording, dataclasses.replace(setup)  # which keeps scenes of its own, with this guard
    lockstep = apart.lockstep("policy", setup.policy, asked.samples, False, asked.signals, guard)
    (found,) = lockstep.record([Launch(stream_of(stored), perturbations_of(stored))])
    calls = found.calls["step"][found.calls["margin"] > 0]
    same = np.array_equal(found.steps["state"][:alarm], stored.steps["state"][:alarm])
    if not same or not len(calls) or int(calls[0]) != alarm:
        raise StoreError(
            f"episode {stored.record['uid']} of {shown(store.path)}, rolled again, is not the stored one up to its "
            "alarm; roll a new store with the versions that are installed now"
        )
    if not found.calls["intervened"].any():
        raise ConfigError(
            f"strategy {guard.strategy.name} does nothing at the alarm at step {alarm}; choose another strategy or "
            "episode"
        )
    return found


def _side(episode: Episode, task: Task) -> _Side:
    scene, record = task.scene(), episode.record
    poses = body_poses(scene, episode)
    ended = Outcome(bool(record["success"]), int(record["length"]), stopped=record["outcome"] == "stopped")
    return _Side(episode, ended, poses, list(ability(scene, HasShapes, "workbench view").shapes()))


def _words(record: Record, name: str, monitor: str, alarm: int, limit: int, sides: Mapping[str, _Side]) -> str:
    """What is seen, as Markdown."""
    ended = {each: side.outcome for each, side in sides.items()}
    return "\n".join([
        f"### {as_markdown(title_of(record))}: {as_markdown(name)} beside the {PLACEBO}",
        f"- {_compared(name, ended[name], ended[PLACEBO])}",
        f"- alarm: step {alarm}, by {as_markdown(monitor)}; from there on both meet the same noise, to step {limit} at "
        "most",
        *(f"- {as_markdown(each)}: {_how(side.outcome)}; {_who(each, side, alarm)}" for each, side in sides.items()),
        f"- without an alarm: {'success' if record['success'] else 'failure'} at step {record['length']}",
        f"- episode: {as_markdown(record['uid'], code=True)}, {record['split']} split",
    ])  # fmt: skip


def _compared(name: str, one: Outcome, other: Outcome) -> str:
    """Which of the two won, in a sentence."""
    if one.success and other.success:
        return f"both succeed, so {as_markdown(name)} is worth no more than fresh noise and more time here"
    if one.success or other.success:
        return f"{as_markdown(name) if one.success else f'the {PLACEBO}'} alone succeeds"
    return "neither succeeds"


def _how(outcome: Outcome) -> str:
    word = "success" if outcome.success else "stands still and asks" if outcome.stopped else "failure"
    return f"{word} at step {outcome.length}"


def _who(name: str, side: _Side, alarm: int) -> str:
    """Who drives after the alarm."""
    steps = int(side.relieved.sum())
    if not steps:
        return "the policy drives"
    back = "to its end" if side.relieved[-1] else "then the policy again"
    return f"{as_markdown(name)} drives for {steps} control steps, {back}"


def _record(path: Path, title: str, name: str, task: Task, sides: Mapping[str, _Side], alarm: int, words: str) -> None:
    import rerun as rr

    trails = trails_of(task)
    arranged = beside_layout({each: side.poses for each, side in sides.items()}, trails, task.control_hz)
    with Session(path, title, task.control_hz, arranged, name) as session:
        for number, (each, side) in enumerate(sides.items()):
            steps, events = len(side.episode.steps["action"]), _events(side)
            write_scene(session, side.shapes, side.poses, steps, (each, "scene"))
            write_trails(session, side.poses, trails, [("alarm", alarm), *events], (each, "trails"))
            _write_lanes(session, each, side, alarm, task)
            _write_margin(session, each, side, series_colour(number))
            _write_log(session, each, events)
        longest = max(len(side.episode.steps["action"]) for side in sides.values())
        session.series("margins/threshold", "threshold", THRESHOLD_COLOUR, np.array([0, longest - 1]), np.zeros(2), 1)
        _write_line(session, alarm, "WARN", "alarm", ALARM_COLOUR)
        session.static("notes", rr.TextDocument(words, media_type="text/markdown"))


def _events(side: _Side) -> list[tuple[str, int]]:
    """The fault and the end of one of the two."""
    injected, end = int(side.episode.record["t_inj"]), side.outcome.length - 1
    return [
        *([("injected", injected)] if injected >= 0 else []),
        ("success" if side.outcome.success else "failure", end),
    ]


def _write_lanes(session: Session, name: str, side: _Side, alarm: int, task: Task) -> None:
    """Who drives, stages, and the outcome."""
    drivers = side.drivers(name, alarm)
    colours = {"policy": NOMINAL_COLOUR, "policy anew": series_colour(2), name: series_colour(3)}
    at, texts = np.array([step for step, _ in drivers]), [who for _, who in drivers]
    session.lane(entity_path("states", name, "driver"), at, [(who, colours[who]) for who in texts])
    if stages := stages_of(task):
        write_stages(session, stages, side.episode.steps["stage"], entity_path("states", name, "stage"))
    events = {0: ("under way", NOMINAL_COLOUR), alarm: (f"alarm @ {alarm}", ALARM_COLOUR)}
    events[side.outcome.length - 1] = (
        _how(side.outcome),
        event_colour("success" if side.outcome.success else "failure"),
    )
    session.lane(entity_path("states", name, "outcome"), np.array(sorted(events)), [events[k] for k in sorted(events)])


def _write_margin(session: Session, name: str, side: _Side, colour: tuple[int, int, int]) -> None:
    """What the monitor says of the policy's own calls; it begins anew behind the alarm, and does not watch others."""
    calls = side.episode.calls
    session.series(entity_path("margins", name), name, colour, calls["step"], calls["margin"])
    alarms = calls["margin"] > 0
    write_alarm_marks(
        session,
        entity_path("margins", name, "alarm"),
        list(zip(calls["step"][alarms].tolist(), calls["margin"][alarms].astype(float).tolist(), strict=True)),
    )


def _write_log(session: Session, name: str, events: list[tuple[str, int]]) -> None:
    for text, step in events:
        _write_line(session, step, LEVELS[text == "success"], f"{name}: {text}", event_colour(text))


def _write_line(session: Session, step: int, level: str, text: str, colour: tuple[int, int, int]) -> None:
    import rerun as rr

    line = rr.TextLog.columns(text=[text], level=[level], color=[(*colour, 255)])
    session.columns("log", np.array([step]), line)
