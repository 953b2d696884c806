"""A failure beside its nominal twin: the same episode with the same noise and without its faults, drawn together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from workbench.attribution.explanation import explain
from workbench.config import replacing, shown
from workbench.errors import ConfigError, StoreError
from workbench.rollouts.launch import Launch, Outcome
from workbench.rollouts.setup import branching_setup
from workbench.rollouts.stored import stream_of
from workbench.store import Store
from workbench.types import Array, Episode, Policy, Shape, Shield, Task
from workbench.types.abilities import HasShapes, ability, stages_of, trails_of
from workbench.viewing.blueprint import beside_layout
from workbench.viewing.choice import chosen
from workbench.viewing.colours import event_colour, series_colour
from workbench.viewing.episode import Poses, write_condition, write_scene, write_stages, write_trails
from workbench.viewing.notes import events_of, notes_of, title_of
from workbench.viewing.recording import body_poses
from workbench.viewing.session import Session, entities_of, entity_path

EPISODE, TWIN = "episode", "nominal twin"


@dataclasses.dataclass(frozen=True)
class BesideTwin:
    """A written recording of an episode beside its nominal twin.

    Attributes
    ----------
    path : the ``.rrd`` file; ``rerun FILE`` opens it.
    uid : of the episode.
    ended : how it ended, by ``episode`` and ``nominal twin``.
    words : the same as a note.
    """

    path: Path
    uid: str
    ended: Mapping[str, Outcome]
    words: str


@dataclasses.dataclass(frozen=True)
class _Side:
    """One of the two, as it is drawn."""

    episode: Episode
    poses: Poses
    shapes: list[Shape]

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        return Outcome(bool(self.episode.record["success"]), int(self.episode.record["length"]))

    @property
    def events(self) -> list[tuple[str, int]]:
        """What happened, in order."""
        happened = [(name, step) for name, step in events_of(self.episode.record).items() if step >= 0]
        return sorted(happened, key=lambda event: event[1])


def view_twin(
    store: Store,
    episode: int | str,
    task: Task,
    policy: Policy,
    *,
    into: str | Path,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
) -> BesideTwin:
    """Draw a stored episode beside its nominal twin, which is rolled again: same seed, same noise, no fault.

    Until the fault strikes the two are one; from then on all that differs is its effect.

    Parameters
    ----------
    store, task, policy : where the episode lies, and what it was rolled with.
    episode : its number, its uid, or ``auto`` as of :func:`workbench.view`.
    into : folder of the recording, which is called after the uid.
    shields : those behind which the store was rolled.

    Raises
    ------
    ConfigError
        If nothing was injected into the episode, so that it is its own twin.
    StoreError
        If the twin is not the episode until the fault; or what was written cannot be read.
    """
    setup = branching_setup(store, task, policy, shields=shields)
    stored = store.episode(chosen(store, episode), calls=())
    uid = str(stored.record["uid"])
    if not stored.record["perturbation"]:
        raise ConfigError(f"nothing was injected into episode {uid}, so it is its own twin: choose another one")
    (twin,) = setup.lockstep("policy", policy, images=False).record([Launch(stream_of(stored))])
    until = int(stored.record["t_inj"]) if stored.record["t_inj"] >= 0 else len(stored.steps["action"])
    if not np.array_equal(stored.steps["state"][:until], twin.steps["state"][:until]):
        raise StoreError(
            f"the twin of episode {uid} of {shown(store.path)}, rolled again, is another episode before the fault "
            "strikes; roll a new store with the versions that are installed now"
        )
    sides = {EPISODE: _side(stored, task), TWIN: _side(twin, task)}
    words = _words(notes_of(explain(store, uid, task=task)), sides[TWIN].outcome)
    path = Path(into) / f"{uid.replace(':', '-')}-beside-twin.rrd"
    with replacing(path) as new:
        _record(new, f"{title_of(stored.record)}, beside its twin", path.stem, task, sides, words)
        entities_of(new)
    return BesideTwin(path, uid, {name: side.outcome for name, side in sides.items()}, words)


def _side(episode: Episode, task: Task) -> _Side:
    scene = task.scene()
    poses = body_poses(scene, episode)
    return _Side(episode, poses, list(ability(scene, HasShapes, "workbench view").shapes()))


def _words(notes: str, twin: Outcome) -> str:
    """What is seen, as Markdown."""
    how = "success" if twin.success else "failure"
    return f"{notes}\n- without the fault, same seed and same noise: {how} at step {twin.length}"


def _record(path: Path, title: str, name: str, task: Task, sides: Mapping[str, _Side], words: str) -> None:
    import rerun as rr

    trails = trails_of(task)
    plot = "How far the two are apart, in metres"
    arranged = beside_layout({each: side.poses for each, side in sides.items()}, trails, task.control_hz, plot)
    with Session(path, title, task.control_hz, arranged, name) as session:
        for each, side in sides.items():
            write_scene(session, side.shapes, side.poses, len(side.episode.steps["action"]), (each, "scene"))
            write_trails(session, side.poses, trails, side.events, (each, "trails"), labels=True)
            if stages := stages_of(task):
                write_stages(session, stages, side.episode.steps["stage"], entity_path("states", each, "stage"))
            write_condition(session, side.events, entity_path("states", each, "condition"))
            for text, step in side.events:
                line = rr.TextLog.columns(text=[f"{each}: {text}"], color=[(*event_colour(text), 255)])
                session.columns("log", np.array([step]), line)
        for number, body in enumerate(trails):
            apart_m = distances(*(side.poses[body][0] for side in sides.values()))
            at = np.arange(len(apart_m))
            session.series(entity_path("margins", body), body, series_colour(number), at, apart_m)
        session.static("notes", rr.TextDocument(words, media_type="text/markdown"))


def distances(one_m: Array, other_m: Array) -> Array:
    """(T,) metres between two paths (T1, 3) and (T2, 3) at the steps that both have."""
    shared = min(len(one_m), len(other_m))
    apart_m: Array = np.linalg.norm(np.asarray(one_m)[:shared] - np.asarray(other_m)[:shared], axis=1)
    return apart_m
