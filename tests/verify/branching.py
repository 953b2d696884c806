"""Does a snapshot decide the future, on every task and under every fault?  And is every field of it needed?

For every task of conf/task and every perturbation of conf/perturbation that the task accepts, the scripted expert rolls
an episode into a store.  Random steps of those episodes, as many of each task and fault, are then restored and the
stored actions run to the end: half of them in this process, one after the other in one scene a task; half in fresh
processes.  The claim is a difference of exactly 0.0 in state, memory, predicates and what the robot sees.

Then every field of the snapshot is left out in turn (put to what it is at the start of an episode) and the next steps
are run.  A field matters if a difference in joints, predicates or observations is seen at some restored moment.

Run: make verify WHAT=branching
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import mujoco
import numpy as np
import yaml

from tests.verify.claims import table, verdict
from workbench.config import build
from workbench.envs.scene import MujocoScene, MujocoTask
from workbench.errors import ConfigError
from workbench.execution.progress import console
from workbench.policies.expert import Expert
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import versions
from workbench.rollouts.stored import perturbations_of, snapshot_at, stream_of
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Array, Episode, Record, Snapshot, Stream, episode_index

CONF = Path(__file__).parents[2] / "conf"
AHEAD = 40
"""Control steps that are run after a field was left out."""
NOT_NEEDED = ("time", "ctrl", "qfrc_applied", "xfrc_applied")
"""Parts of MuJoCo's integration state of which it is only reported whether they matter: the clock is read by nothing,
controls and applied forces are written anew in every control step.  They are saved since MuJoCo saves them as one."""


def main() -> int:
    options = arguments()
    if options.only:
        print(json.dumps(restored(options.folder, [tuple(one) for one in json.loads(options.only)])))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        refused = record_all(Path(folder), options.seed)
        chosen = choose(Path(folder), options.points, options.seed)
        half = len(chosen) // 2
        here = restored(Path(folder), chosen[:half])
        fresh = restored_elsewhere(Path(folder), chosen[half:], options.processes)
        fields = left_out(Path(folder), chosen, options.controls)
    return report(here, fresh, fields, refused, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=500, help="random branch points")
    parser.add_argument("--processes", type=int, default=10, help="fresh processes for the second half")
    parser.add_argument("--controls", type=int, default=140, help="branch points at which fields are left out")
    parser.add_argument("--seed", type=int, default=0, help="decides episodes, draws and points")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", help=argparse.SUPPRESS)  # what a fresh process is to restore
    return parser.parse_args()


def tasks() -> dict[str, MujocoTask]:
    """Every task, by its name in conf/task."""
    return {path.stem: build(yaml.safe_load(path.read_text())) for path in sorted((CONF / "task").glob("*.yaml"))}


def faults(task: MujocoTask, seed: int) -> tuple[list[list[Record]], list[str]]:
    """Drawn faults that a task accepts, after none at all; and the names of those that it refuses."""
    drawn: list[list[Record]] = [[]]
    refused = []
    for number, path in enumerate(sorted((CONF / "perturbation").glob("*.yaml")), start=1):
        node = yaml.safe_load(path.read_text())[path.stem]
        if node.get("stage", None) not in (None, *task.stages):
            node["stage"] = task.stages[-1]
        try:
            fault = build(node)
            fault.suits(Expert(task))
            drawn.append([fault.draw(stream(seed, number), task)])
        except ConfigError:
            refused.append(path.stem)
            drawn.append([])
    return drawn, refused


def stream(seed: int, number: int) -> Stream:
    return Stream(seed, episode_index("test", number))


def record_all(folder: Path, seed: int) -> dict[str, list[str]]:
    """One store a task; returns which faults each task refuses."""
    refused = {}
    for name, task in tasks().items():
        drawn, refused[name] = faults(task, seed)
        launches = [Launch(stream(seed, n), tuple(one)) for n, one in enumerate(drawn) if one or n == 0]
        header = StoreHeader(task.name, task.control_hz, task.deadline, {}, versions(), seed)
        with StoreWriter.open(folder / f"{name}.zarr", header) as writer:
            for episode in Lockstep(task, Expert(task), 5, until="deadline").record(launches):
                writer.append(episode)
    return refused


def choose(folder: Path, count: int, seed: int) -> list[tuple[str, int, int]]:
    """(task, episode, step), in turn over tasks and episodes."""
    rng = np.random.default_rng(seed)
    stores = {path.stem: Store.open(path) for path in sorted(folder.glob("*.zarr"))}
    episodes = [[(name, number) for number in rng.permutation(len(store))] for name, store in stores.items()]
    turns = itertools.cycle(map(itertools.cycle, episodes))
    picked = [next(next(turns)) for _ in range(count)]
    # at least one action follows, and its result is stored as the next row
    lengths = {name: store.episodes["length"] for name, store in stores.items()}
    return [(name, int(number), int(rng.integers(lengths[name][number] - 1))) for name, number in picked]


def episodes_of(folder: Path, chosen: Sequence[tuple[str, int, int]]) -> Iterator[tuple[MujocoScene, Episode, int]]:
    """A scene, one a task, an episode and the step; sorted by task, so that scenes are used again."""
    built = tasks()
    for name, group in itertools.groupby(sorted(chosen), key=lambda one: one[0]):
        store, scene = Store.open(folder / f"{name}.zarr"), built[name].scene()
        for _, number, step in group:
            yield scene, store.episode(number, steps=("*",), calls=()), step


def restored(folder: Path, chosen: Sequence[tuple[str, int, int]]) -> list[Record]:
    """Restore and compare with what is stored, in this process."""
    rows = []
    for scene, episode, step in episodes_of(folder, chosen):
        scene.restore(snapshot_at(episode, step))
        worst = 0.0
        for t in range(step, len(episode.steps["action"])):
            snapshot = scene.snapshot()
            worst = max(worst, apart(snapshot.state, episode.steps["state"][t]))
            worst = max(worst, apart(snapshot.memory, episode.memory[t]))
            worst = max([worst, *(apart(v, episode.steps[f"obs/{k}"][t]) for k, v in scene.observe().items())])
            scene.step(episode.steps["action"][t])
            truth = scene.truth().predicates
            worst = max([worst, *(apart(v, episode.steps[f"predicates/{k}"][t]) for k, v in truth.items())])
        rows.append(
            {
                "task": episode.record["task"],
                "perturbation": episode.record["perturbation"],
                "struck": 0 <= episode.record["t_inj"] <= step,
                "steps": len(episode.steps["action"]) - step,
                "error": worst,
            }
        )
    return rows


def apart(one: Array | float, other: Array | float) -> float:
    """Largest difference; infinite where either is NaN."""
    return float(np.nan_to_num(np.abs(np.subtract(one, other)), nan=np.inf).max(initial=0.0))


def restored_elsewhere(folder: Path, chosen: Sequence[tuple[str, int, int]], processes: int) -> list[Record]:
    """The same in fresh processes, one after the other."""
    rows = []
    for first in range(processes):
        part = json.dumps(chosen[first::processes])
        words = [sys.executable, "-m", "tests.verify.branching", "--folder", str(folder), "--only", part]
        rows.extend(json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout))
    return rows


def variants(scene: MujocoScene, episode: Episode, step: int) -> Iterator[tuple[str, Snapshot]]:
    """The snapshot with one field after the other put to what it is at the start of the episode."""
    snapshot = snapshot_at(episode, step)
    scene.begin(stream_of(episode), perturbations_of(episode))
    start = scene.snapshot()
    for field, part in parts_of_state(scene.model).items():
        state = snapshot.state.copy()
        state[part] = start.state[part]
        yield field, dataclasses.replace(snapshot, state=state)
    own = len(scene._controller.memory)
    parts = {
        "controller's memory": slice(0, own),
        "stage": slice(own, own + 1),
        "perturbation's memory": slice(own + 1, None),
    }
    for field, part in parts.items():
        memory = snapshot.memory.copy()
        memory[part] = start.memory[part]
        if memory[part].size:
            yield field, dataclasses.replace(snapshot, memory=memory)
    yield "step", dataclasses.replace(snapshot, step=0)
    yield "stream", dataclasses.replace(snapshot, stream=Stream(snapshot.stream.seed, snapshot.stream.episode + 1))
    if snapshot.perturbations:
        bare = dataclasses.replace(snapshot, perturbations=(), memory=snapshot.memory[: own + 1])
        yield "perturbations", bare


def parts_of_state(model: mujoco.MjModel) -> dict[str, slice]:
    """Where each of MuJoCo's fields is in the integration state; empty ones are left out."""
    names = ("time", "qpos", "qvel", "act", "history", "qacc_warmstart", "ctrl", "qfrc_applied", "xfrc_applied")
    names += ("eq_active", "mocap_pos", "mocap_quat", "userdata", "plugin")
    parts, first = {}, 0
    for bit, name in enumerate(names):
        size = mujoco.mj_stateSize(model, 1 << bit)
        if size:
            parts[name] = slice(first, first + size)
        first += size
    assert first == mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION)
    return parts


def future(scene: MujocoScene, snapshot: Snapshot, actions: Array) -> Array:
    """Joints, predicates, stage and observations of the next steps as one vector."""
    scene.restore(snapshot)
    rows = []
    for action in [None, *actions]:
        if action is not None:
            scene.step(action)
        truth = scene.truth()
        rows += [scene.data.qpos, scene.data.qvel, [truth.stage, scene.step_index]]
        rows += [list(truth.predicates.values()), *scene.observe().values()]
    return np.concatenate([np.ravel(row) for row in rows])


def left_out(folder: Path, chosen: Sequence[tuple[str, int, int]], count: int) -> dict[str, tuple[int, int]]:
    """Field -> at how many branch points leaving it out was seen, and at how many it could be."""
    counts: dict[str, tuple[int, int]] = {}
    for scene, episode, step in episodes_of(folder, chosen[:count]):
        actions = episode.steps["action"][step : step + AHEAD]
        whole = future(scene, snapshot_at(episode, step), actions)
        for field, snapshot in variants(scene, episode, step):
            seen, tried = counts.get(field, (0, 0))
            differs = not np.array_equal(future(scene, snapshot, actions), whole)
            counts[field] = (seen + differs, tried + 1)
    return counts


def report(
    here: list[Record],
    fresh: list[Record],
    fields: dict[str, tuple[int, int]],
    refused: dict[str, list[str]],
    options: argparse.Namespace,
) -> int:
    """Print both tables and say whether the claims hold."""
    everything = [*here, *fresh]
    kinds = sorted({row["perturbation"] for row in everything})
    shown = table("restored moments, actions run to the end", "task", "here", "fresh", "faults", "steps", "error")
    for name in sorted({row["task"] for row in everything}):
        mine = [row for row in everything if row["task"] == name]
        counts = [sum(row["task"] == name for row in rows) for rows in (here, fresh)]
        shown.add_row(
            name,
            *map(str, counts),
            str(len({row["perturbation"] for row in mine} - {""})),
            str(sum(row["steps"] for row in mine)),
            str(max(row["error"] for row in mine)),
        )
    console.print(shown)
    struck = sum(row["struck"] for row in everything)
    console.print(f"n = {len(everything)}, seed {options.seed}; {struck} at or after the fault's first active step")
    console.print(f"faults: {', '.join(kind or 'none' for kind in kinds)}")
    for name, names in refused.items():
        if names:
            console.print(f"{name} refuses {', '.join(names)}")
    second = table("fields left out, the next steps run", "field", "a difference at", "of")
    for field, (seen, tried) in fields.items():
        second.add_row(field, str(seen), str(tried))
    console.print(second)
    wrong = [row for row in everything if row["error"] != 0.0]
    idle = [field for field, (seen, _) in fields.items() if seen == 0 and field not in NOT_NEEDED]
    return max(
        verdict(not wrong, f"{len(everything)} restored moments replay with error exactly 0.0"),
        verdict(not idle, f"each field matters but for {', '.join(NOT_NEEDED)}" + (f"; idle: {idle}" if idle else "")),
    )


if __name__ == "__main__":
    sys.exit(main())
