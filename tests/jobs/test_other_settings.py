"""Pairs of commands of which the second adds to, or takes for done, what the first made: only with the same settings.

Nothing is simulated: episodes are made up, and what a job would do after it has asked is left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.attribution import labels
from workbench.config import Run, build, compose
from workbench.errors import WorkbenchError
from workbench.execution.chain import Stage, fingerprint
from workbench.execution.ledger import Ledger
from workbench.recovery import paired
from workbench.rollouts import rolling
from workbench.rollouts.launch import Launch
from workbench.store import Store, StoreWriter
from workbench.types import Episode, Record, new_record, split_of

COLLECT = "job=collect name=k job.episodes=2"
ROLL = "job=rollout name=k policy=zoo/lift_flow job.episodes={fit:0,calibrate:0,test:2}"
SHIFT = f"{ROLL} perturbation=[object_shift] perturbation.object_shift.offset_m=0.01"
BOTH = f"{ROLL} perturbation=[slip,object_shift] job.one_each=true"
LABEL = "job=label name=k policy=zoo/lift_flow"
RECOVER = "job=recover name=k policy=zoo/lift_flow"
SEARCH = "job=search name=k policy=expert perturbation=[mass] job.most=12"
OTHERS = [
    (COLLECT, "task.controller=joint_position", "task.controller"),
    (COLLECT, "task.out_of_range=error", "task.out_of_range"),
    (COLLECT, "seed=1", "seed"),
    (COLLECT, "job.noise.std_fraction=0.1", "noise.std_fraction"),
    (COLLECT, "job.noise=null", "another noise"),
    (COLLECT, "+job.expert.listens=true", "expert.listens"),
    (COLLECT, "rollout.until=deadline", "rollout.until"),
    (COLLECT, ROLL.replace("name=k", "name=r store=k-demos"), "policy"),
    (ROLL, "policy=zoo/lift_diffusion", "policy._target_"),
    (ROLL, "policy.execute=4", "policy.execute"),
    (ROLL, "task.controller=joint_position", "task.controller"),
    (ROLL, "seed=1", "seed"),
    (ROLL, "rollout.samples=4", "rollout.samples"),
    (ROLL, "rollout.signals=[denoising_loss]", "rollout.signals"),
    (ROLL, "rollout.until=deadline", "rollout.until"),
    (ROLL, "job=collect name=c demos=k job.episodes=2", "policy"),
    (SHIFT, "perturbation.object_shift.offset_m=0.04", "perturbation.object_shift.offset_m"),
    (SHIFT, "perturbation.object_shift.start_step=30", "perturbation.object_shift.start_step"),
    (BOTH, "perturbation.slip.duration_steps=9", "perturbation.slip"),
    (BOTH, "perturbation.object_shift.offset_m=0.04 job.episodes.test=3", "perturbation.object_shift.offset_m"),
    (ROLL, f"{LABEL} policy=zoo/lift_diffusion", "policy._target_"),
    (ROLL, f"{LABEL} policy.execute=4", "policy.execute"),
    (ROLL, f"{LABEL} task.controller=joint_position", "task.controller"),
    (ROLL, f"{LABEL} rollout.until=deadline", "rollout.until"),
    (ROLL, f"{RECOVER} policy=zoo/lift_diffusion", "policy._target_"),
    (ROLL, f"{RECOVER} task.controller=joint_position", "task.controller"),
    (ROLL, "job=view name=k task.controller=joint_position", "task.controller"),
    (ROLL, "job=view name=k task=stack", "'lift', not 'stack'"),
    (ROLL, "job=replay name=k task.out_of_range=error", "task.out_of_range"),
    (COLLECT, "job=train name=t demos=k-demos task.controller=joint_position", "task.controller"),
    (ROLL, "job=report name=k store=k-demos", "datasets/k.zarr"),
    (SEARCH, "job.most=24", "most"),
    (SEARCH, "seed=1", "seed"),
    (SEARCH, "job.split=test", "split"),
    (SEARCH, "task.controller=joint_position", "task.controller"),
]
"""A command, what the next one says otherwise (or all that it says), and what the refusal names."""
ALIKE = [
    (COLLECT, "runner.workers=2"),
    (COLLECT, "runner.scenes=3"),
    (COLLECT, "rollout.samples=4"),
    (COLLECT, "rollout.images=false"),
    (COLLECT, "overwrite=true"),
    (COLLECT, "job.episodes=3"),
    (COLLECT, "policy=diffusion"),
    (ROLL, "runner.workers=2 runner.scenes=7"),
    (ROLL, "rollout.images=false"),
    (ROLL, "overwrite=true name=other store=k"),
    (ROLL, "perturbation=[slip]"),
    (SHIFT, "job.episodes.test=4"),
    (BOTH, "perturbation=[object_shift,slip,mass]"),
    (ROLL, f"{LABEL} rollout.samples=3 rollout.images=false runner.workers=2"),
    (ROLL, "job=view name=k task.cameras={names:[agentview]}"),
    (COLLECT, "job=train name=t demos=k-demos task.cameras={names:[agentview]}"),
    (SEARCH, "runner.workers=2 rollout.samples=5"),
    (SEARCH, "rollout.images=false name=k policy=expert"),
]
"""The same with what cannot change what comes out."""


class Asked(Exception):  # noqa: N818
    """What the job does once it has asked."""


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes are made up, and jobs end where their work would begin."""

    def roll(setup: Any, function: Any, items: Sequence[Any]) -> Any:
        for item in items:
            if not isinstance(item, rolling.Batch):
                raise Asked
            with StoreWriter.open(item.store, item.header) as writer:
                for launch in item.launches:
                    writer.append(episode(launch, item.header.task))
            yield []

    def work(*_: Any, **__: Any) -> None:
        raise Asked

    monkeypatch.setattr("workbench.rollouts.setup.Setup.map_unordered", roll)
    monkeypatch.setattr(labels, "forget_other_settings", work)
    monkeypatch.setattr(paired, "first_alarms", work)
    monkeypatch.setattr("workbench.jobs.recover.load_monitors", lambda run: {run.config["job"]["monitor"]: None})
    monkeypatch.setattr("workbench.jobs.recover.learn_parts", lambda *parts, **settings: {})
    monkeypatch.setattr("workbench.viewing.recording.chosen", work)
    monkeypatch.setattr("workbench.attribution.replaying.replay_episode", work)
    monkeypatch.setattr("workbench.rollouts.training.read_demonstrations", work)


def episode(launch: Launch, task: str) -> Episode:
    record = new_record(
        uid=launch.uid, index=launch.stream.episode, seed=launch.stream.seed, split=split_of(launch.stream.episode),
        task=task, model="m", instruction="do it", policy="P", execute=1, length=2, success=False, outcome="failure",
        perturbation="+".join(each["name"] for each in launch.perturbations),
        perturbations=json.dumps(list(launch.perturbations)), cell=launch.cell, modes="[]",
    )  # fmt: skip
    steps = {"action": np.zeros((2, 1)), "state": np.zeros((2, 1)), "stage": np.zeros(2, np.int64)}
    return Episode(record, steps, {"step": np.array([0])}, np.zeros((2, 0)))


def done(root: Path, words: str) -> None:
    run = Run(compose(words.split()), root)
    build({**run.config["job"], "_partial_": True})(run)


def first(root: Path, words: str) -> None:
    if words is SEARCH:
        made = Run(compose(words.split()), root)
        kept = Ledger(root / "runs/k/tolerance.json")
        with pytest.raises(Asked):
            done(root, words)
        from workbench.rollouts.setup import Recording, Setup
        from workbench.synthesis.searching import decides
        from workbench.synthesis.tolerances import Search

        setup = Setup(made.task, made.policy(), Recording(), made.runner)
        kept.put("settings", {**decides(setup, 0), "split": "select", **vars(Search(most=12))})
        return
    done(root, words)
    if words is ROLL:
        done(root, COLLECT)


def next_words(before: str, said: str) -> str:
    return said if said.startswith("job=") else f"{before} {said}"


def files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and path.name != "metrics.json"
    }


@pytest.mark.parametrize(("before", "said", "named"), OTHERS)
def test_what_was_made_with_other_settings_is_refused_and_left_as_it_is(
    tmp_path: Path, before: str, said: str, named: str
) -> None:
    first(tmp_path, before)
    there = files(tmp_path)
    with pytest.raises(WorkbenchError) as caught:
        done(tmp_path, next_words(before, said))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == there


@pytest.mark.parametrize(("before", "said"), ALIKE)
def test_what_cannot_change_the_result_is_not_asked_for(tmp_path: Path, before: str, said: str) -> None:
    first(tmp_path, before)
    try:
        done(tmp_path, next_words(before, said))
    except Asked:
        return
    uids = {uid for path in (tmp_path / "datasets").glob("k*.zarr") for uid in Store.open(path).uids}
    assert uids


def test_a_stage_is_not_done_again_for_what_cannot_change_its_result(tmp_path: Path) -> None:
    def mark(*words: str) -> str:
        run = Run(compose(["job=train", *words]), tmp_path)
        return fingerprint(Stage("train", ["policy"], [], ["checkpoint"], [run]), {})

    alike = ("job.trainer.save_every=3", "job.trainer.device=cpu", "runner.workers=3", "overwrite=true")
    assert {mark(word) for word in alike} == {mark()}
    others: Record = {word: mark(word) for word in ("job.trainer.iterations=3", "job.seed=1", "policy.hidden=8")}
    assert len({*others.values(), mark()}) == 4
