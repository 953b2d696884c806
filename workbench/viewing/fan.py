"""Branches fanned out from one moment of an episode: what else the policy might have done from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from workbench.attribution.branching import NOISE, branches_from
from workbench.config import replacing
from workbench.errors import ConfigError
from workbench.rollouts.launch import Outcome
from workbench.rollouts.setup import branching_setup
from workbench.rollouts.stored import snapshot_at, start_at, stream_of
from workbench.stats.proportions import clopper_pearson
from workbench.store import Store
from workbench.types import Array, Episode, Policy, Scene, Shield, Task
from workbench.types.abilities import HasShapes, ability, stages_of, trails_of
from workbench.types.text import as_markdown
from workbench.viewing.blueprint import layout
from workbench.viewing.choice import chosen
from workbench.viewing.colours import event_colour
from workbench.viewing.episode import write_condition, write_scene, write_stages, write_trails
from workbench.viewing.notes import events_of, title_of
from workbench.viewing.recording import body_poses
from workbench.viewing.session import Session, entities_of, entity_path

MOST_BRANCHES = 64


@dataclasses.dataclass(frozen=True)
class Fan:
    """A written recording of branches from one moment of an episode.

    Attributes
    ----------
    path : the ``.rrd`` file; ``rerun FILE`` opens it.
    uid : of the episode.
    step : the moment, before the action of that number.
    ended : how each branch ended.
    words : the same as a note.
    """

    path: Path
    uid: str
    step: int
    ended: Sequence[Outcome]
    words: str


@dataclasses.dataclass(frozen=True)
class _Branch:
    """One branch, as it is drawn: the path (T, 3) of every body worth following, in metres."""

    outcome: Outcome
    paths_m: Sequence[Array]

    @property
    def end(self) -> str:
        return "success" if self.outcome.success else "failure"


def view_fan(
    store: Store,
    episode: int | str,
    task: Task,
    policy: Policy,
    *,
    into: str | Path,
    at: int | str = "onset",
    branches: int = 8,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
) -> Fan:
    """Draw a stored episode with branches of its policy from one of its moments, each with noise of its own.

    They are the branches by which the value of that moment is measured: the exact state, what the policy remembered
    there, and no fault that had not struck yet.

    Parameters
    ----------
    store, task, policy : where the episode lies, and what it was rolled with.
    episode : its number, its uid, or ``auto`` as of :func:`workbench.view`.
    into : folder of the recording, which is called after the uid and the moment.
    at : a control step, or an event of the episode that was measured, such as ``injected`` or ``onset``.
    branches : how many, 1 to 64.
    shields : those behind which the store was rolled.

    Raises
    ------
    ConfigError
        If the episode has no such moment, or the number of branches is none.
    """
    setup = branching_setup(store, task, policy, shields=shields)
    if not 1 <= branches <= MOST_BRANCHES:
        raise ConfigError(f"a fan has 1 to {MOST_BRANCHES} branches, not {branches}")
    stored = store.episode(chosen(store, episode))
    step, uid = moment_of(stored, at), str(stored.record["uid"])
    scene = task.scene()
    start = start_at(stored, step, policy)
    start = dataclasses.replace(start, snapshot=scene.without_pending(start.snapshot))
    launches = branches_from(start, stream_of(stored).child(NOISE), range(branches))
    lockstep = setup.lockstep("policy", policy, images=False)
    found = dict(lockstep.record_numbered(launches))
    drawn = [_branch(scene, found[number], step, trails_of(task)) for number in range(branches)]
    words = _words(stored, step, drawn)
    path = Path(into) / f"{uid.replace(':', '-')}-fan-{step}.rrd"
    with replacing(path) as new:
        _record(new, f"{title_of(stored.record)}: {branches} branches from step {step}", path.stem, task, stored, step,
                drawn, words)  # fmt: skip
        entities_of(new)
    return Fan(path, uid, step, [each.outcome for each in drawn], words)


def moment_of(episode: Episode, at: int | str) -> int:
    """Control step of a moment that is given as one, or by an event; ConfigError if the episode has none such."""
    known = {name: step for name, step in events_of(episode.record).items() if step >= 0}
    length = len(episode.steps["action"])
    step = known.get(at, int(at) if str(at).isdigit() else -1) if isinstance(at, str) else at
    if not 0 <= step < length:
        measured = ", ".join(f"{name} ({where})" for name, where in known.items() if where < length)
        raise ConfigError(
            f"episode {episode.record['uid']} has no moment {at!r}: give a step in 0..{length - 1}, or one of "
            f"{measured}"
        )
    return step


def _branch(scene: Scene, episode: Episode, first: int, trails: Sequence[str]) -> _Branch:
    drawn, rows = ability(scene, HasShapes, "workbench view"), []
    for row in range(len(episode.steps["action"])):
        scene.restore(dataclasses.replace(snapshot_at(episode, row), step=first + row))
        poses = drawn.body_poses()
        rows.append([poses[body][0] for body in trails])
    outcome = Outcome(bool(episode.record["success"]), first + len(rows))
    return _Branch(outcome, [np.array(path_m) for path_m in zip(*rows, strict=True)])


def _words(stored: Episode, step: int, drawn: Sequence[_Branch]) -> str:
    """What is seen, as Markdown."""
    won, count = sum(each.outcome.success for each in drawn), len(drawn)
    low, high = clopper_pearson(won, count)
    return "\n".join([
        f"### {as_markdown(title_of(stored.record))}: {count} branches from step {step}",
        f"- {won} of {count} succeed, 95 % interval {low:.2f} to {high:.2f}: the value of this moment",
        "- all leave from the same state with noise of their own; a fault that had not struck yet is left out",
        *(f"- branch {number}: {each.end} at step {each.outcome.length}" for number, each in enumerate(drawn)),
        f"- episode: {as_markdown(stored.record['uid'], code=True)}, {stored.record['split']} split",
    ])  # fmt: skip


def _record(
    path: Path, title: str, name: str, task: Task, stored: Episode, step: int, drawn: Sequence[_Branch], words: str
) -> None:
    import rerun as rr

    scene, trails = task.scene(), trails_of(task)
    poses = body_poses(scene, stored)
    happened = sorted(((n, s) for n, s in events_of(stored.record).items() if s >= 0), key=lambda event: event[1])
    with Session(path, title, task.control_hz, layout(poses, trails, [], task.control_hz, []), name) as session:
        shapes = ability(scene, HasShapes, "workbench view").shapes()
        write_scene(session, shapes, poses, len(stored.steps["action"]))
        write_trails(session, poses, trails, [("branches", step), *happened], labels=True)
        write_condition(session, [*happened, ("branches", step)])
        if stages := stages_of(task):
            write_stages(session, stages, stored.steps["stage"])
        for number, branch in enumerate(drawn):
            _write_branch(session, number, branch, step, trails)
        session.static("notes", rr.TextDocument(words, media_type="text/markdown"))


def _write_branch(session: Session, number: int, branch: _Branch, first: int, trails: Sequence[str]) -> None:
    """The paths of a branch, labelled with how it ended, and a point that moves along the hand's."""
    import rerun as rr

    colour, label = event_colour(branch.end), f"branch {number}: {branch.end} @ {branch.outcome.length}"
    for place, (body, path_m) in enumerate(zip(trails, branch.paths_m, strict=True)):
        line = rr.LineStrips3D([path_m], colors=[colour], radii=[0.0012], labels=[label] if not place else None)
        session.static(entity_path("trails", "branches", str(number), body), line)
        if not place:
            moving = rr.Points3D.columns(positions=path_m)
            at = entity_path("trails", "branches", str(number), "hand")
            session.static(at, rr.Points3D.from_fields(colors=[colour], radii=[0.006]))
            session.columns(at, first + np.arange(len(path_m)), moving)
    line = rr.TextLog.columns(text=[label], color=[(*colour, 255)])
    session.columns("log", np.array([branch.outcome.length - 1]), line)
