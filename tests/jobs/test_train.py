"""The job that trains: what it reads, rolls, keeps and tells, and what it refuses."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.toy import ToyPolicy, ToyTask
from workbench.config import Run, compose, weights_digest
from workbench.errors import CheckpointError, ConfigError, StoreError, UnknownNameError
from workbench.execution.ledger import Ledger
from workbench.jobs import train
from workbench.policies.flow import FlowPolicy
from workbench.policies.learning.training import TrainingState
from workbench.reporting.report import report, terminal_tables
from workbench.rollouts import training
from workbench.rollouts.collecting import read_demonstrations
from workbench.rollouts.launch import Launch, Outcome
from workbench.rollouts.loop import Lockstep
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Record, Stream, split_of

SMALL = ("policy.hidden=16", "policy.blocks=1", "policy.embedding=4", "policy.horizon=4", "policy.execute=4")
BRIEF = ("job.trainer.iterations=20", "job.trainer.batch=8", "job.trainer.warmup=2", "job.trainer.device=cpu")
ROLLED = ("job.evaluation={episodes: 6, every: 8}",)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with eight demonstrations of the toy task, one of which failed."""
    task = ToyTask()
    header = StoreHeader("toy", task.control_hz, task.deadline, {}, {}, 0)
    path = tmp_path / "datasets" / "n-demos.zarr"
    path.parent.mkdir()
    with StoreWriter.open(path, header) as writer:
        launches = [Launch(Stream(0, number)) for number in range(7)]
        launches.append(Launch(Stream(0, 7), deadline=3))
        for episode in Lockstep(task, ToyPolicy(lazy=0.2), 3, until="deadline").record(launches):
            writer.append(episode)
    return tmp_path


def run_of(root: Path, *words: str, task: ToyTask | None = None) -> Run:
    run = Run(compose(["job=train", "name=n", *SMALL, *BRIEF, *words]), root)
    run.__dict__["task"] = task or ToyTask()
    return run


def trained(root: Path, *words: str) -> Record:
    run = run_of(root, *words)
    train.run(run, **{key: value for key, value in run.config["job"].items() if key != "_target_"})
    found: Record = run.metrics()["policy"]["training"]
    return found


def test_it_tells_how_the_training_went(root: Path) -> None:
    found = trained(root, *ROLLED)
    assert [row["iteration"] for row in found["evaluations"]] == [8, 16, 20]
    assert all(row["episodes"] == 6 and 0 <= row["successes"] <= 6 for row in found["evaluations"])
    assert set(found["error"]) == {"place"}
    assert (found["device"], found["precision"]) == ("cpu", "float32")
    assert found["demonstrations"] + found["held_out"] == 7, "the one that failed is not learnt from"
    assert set(found["seconds"]) == {"wall_s", "cpu_s", "evaluation_s"}
    assert not list((root / "runs" / "n").glob("training-*"))
    assert FlowPolicy.load(root / "runs" / "n" / "policy").recipe["groups"] == {"place": [0, 1]}


def test_it_is_evaluated_in_nominal_episodes_of_the_select_split(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rolled: list[list[Launch]] = []

    def outcomes(lockstep: Lockstep, launches: Sequence[Launch]) -> list[Outcome]:
        rolled.append(list(launches))
        return [Outcome(number % 2 == 0, 5, number == 1) for number in range(len(launches))]

    monkeypatch.setattr(Lockstep, "outcomes", outcomes)
    found = trained(root, *ROLLED, "seed=4", "job.seed=1")
    assert [row["successes"] for row in found["evaluations"]] == [3, 3, 3]
    assert rolled[0] == rolled[1] == rolled[2]
    assert len({launch.stream for launch in rolled[0]}) == 6
    for launch in rolled[0]:
        assert (split_of(launch.stream.episode), launch.stream.seed, launch.perturbations) == ("select", 4, ())


def test_it_is_not_evaluated_unless_asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lockstep, "outcomes", None)
    assert trained(root)["evaluations"] == []


@pytest.mark.parametrize("asked", ["{episodes: 5, every: 0}", "{episodes: 0, every: 5}", "{episodes: -1, every: 5}"])
def test_half_an_evaluation_is_refused(root: Path, asked: str) -> None:
    with pytest.raises(ConfigError, match=r"job.evaluation.episodes=.* must both be 0"):
        trained(root, f"job.evaluation={asked}")


def test_seeds_of_the_training_differ_on_the_same_demonstrations(root: Path) -> None:
    def weights(*words: str) -> np.ndarray[Any, Any]:
        trained(root, "overwrite=true", *words)
        bias = FlowPolicy.load(root / "runs" / "n" / "policy").network.denoiser.from_chunk.bias
        return np.asarray(bias.detach().numpy())

    np.testing.assert_array_equal(weights(), weights("job.seed=0"))
    assert np.abs(weights() - weights("job.seed=1")).max() > 1e-3


def test_what_was_begun_goes_on_elsewhere_and_what_was_changed_begins_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterations: list[int] = []
    iterate, save = TrainingState.iterate, FlowPolicy.save

    def counted(state: TrainingState, windows: Any) -> float:
        iterations.append(state.step)
        return iterate(state, windows)

    def killed(policy: FlowPolicy, folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingState, "iterate", counted)
    monkeypatch.setattr(FlowPolicy, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(root, *ROLLED)
    assert len(iterations) == 20
    monkeypatch.setattr(FlowPolicy, "save", save)
    assert [row["iteration"] for row in trained(root, *ROLLED, "job.trainer.device=auto")["evaluations"]] == [8, 16, 20]
    assert len(iterations) == 20, "the finished training was taken up on the other device"
    trained(root, *ROLLED, "overwrite=true", "job.trainer.learning_rate=0.002")
    assert len(iterations) == 40


def test_it_reads_no_more_than_the_policy_does(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    rows = Store._read_rows

    def noted(store: Store, part: Any, name: str, first: int, last: int) -> Any:
        read.add(name)
        return rows(store, part, name, first, last)

    monkeypatch.setattr(Store, "_read_rows", noted)
    for words in ((), ("policy.observations=[place]",)):
        read.clear()
        run = run_of(root, *words)
        found = read_demonstrations(Store.open(run.demos), run.task, run.config["policy"]["observations"])
        assert read == {"steps/action", "steps/obs/place"}
        assert [set(each.observation) for each in found] == [{"place"}] * 7
    with pytest.raises(UnknownNameError, match=r"'obs/plaice'. Did you mean 'obs/place'"):
        read_demonstrations(Store.open(run.demos), run.task, ["plaice"])
    with pytest.raises(StoreError, match="no images of camera wrist; collect some"):
        read_demonstrations(Store.open(run.demos), run.task, cameras=["wrist"])


def test_demonstrations_of_another_task_are_refused(root: Path) -> None:
    run = run_of(root, task=ToyTask(name="other"))
    with pytest.raises(StoreError, match=r"n-demos.zarr holds demonstrations of task 'toy', not 'other'; choose"):
        read_demonstrations(Store.open(run.demos), run.task)


def test_a_run_that_was_only_trained_has_a_report_and_a_line(root: Path) -> None:
    found = trained(root, *ROLLED)
    metrics = run_of(root).metrics()
    metrics["policy"]["nominal"] = {"episodes": 6, "successes": 5}
    metrics["policy"]["training"]["warning"] = "place is learnt far worse"
    printed = io.StringIO()
    Console(file=printed, width=300).print(*terminal_tables(metrics))
    line, warning, policy = printed.getvalue().splitlines()
    last = found["evaluations"][-1]
    for part in ("training: 20 iterations", "held out", "place", f"success {last['successes']}/6", "s of CPU)"):
        assert part in line
    assert warning == "warning: place is learnt far worse"
    assert policy.startswith("policy: 83 %")
    page = report(root / "report.html", metrics, title="n").read_text()
    for words in ("Loss over 20", "Learning rate over", "Error of each group", "Success in simulation: "):
        assert f'aria-label="{words}' in page
    assert page.count('class="whisker"') >= 3
    assert "Place is learnt far worse." in page
    assert json.dumps(metrics)


ENDINGS = {
    "as the weights are written": (FlowPolicy, "save"),
    "between the weights and what is told of them": (Ledger, "end"),
    "before the state is removed": (training, "remove"),
    "before the metrics": (Run, "update_metrics"),
}


@pytest.mark.parametrize("place", ENDINGS)
@pytest.mark.parametrize("words", [(), ("overwrite=true",)])
def test_a_training_that_is_ended_at_its_end_is_finished_by_the_same_command(
    root: Path, monkeypatch: pytest.MonkeyPatch, place: str, words: tuple[str, ...]
) -> None:
    if words:
        trained(root, "job.seed=1")
    iterations: list[int] = []
    iterate = TrainingState.iterate

    def counted(state: TrainingState, windows: Any) -> float:
        iterations.append(state.step)
        return iterate(state, windows)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingState, "iterate", counted)
    with monkeypatch.context() as patch:
        patch.setattr(*ENDINGS[place], killed)
        with pytest.raises(KeyboardInterrupt):
            trained(root, *words)
    found = trained(root, *words)
    assert len(iterations) in ((20, 40) if words and place == "before the metrics" else (20,))
    again = trained(root)
    assert {**found, "seconds": 0} == {**again, "seconds": 0}
    assert found["iteration"][-1] == 20
    assert sorted(path.name for path in (root / "runs/n").iterdir()) == ["metrics.json", "policy", "training.json"]
    with pytest.raises(CheckpointError, match=r"made with another seed; overwrite=true"):
        trained(root, "job.seed=2")
    with pytest.raises(CheckpointError, match=r"made with another trainer.iterations; overwrite=true"):
        trained(root, "job.trainer.iterations=21")


def test_an_earlier_policy_is_not_taken_for_the_one_that_was_to_replace_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(root, "job.seed=1")
    before = weights_digest(root / "runs/n/policy")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FlowPolicy, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(root, "overwrite=true")
    with pytest.raises(CheckpointError, match="holds an earlier trained policy; overwrite=true"):
        trained(root)
    assert weights_digest(root / "runs/n/policy") == before


def test_what_another_unfinished_training_leaves_behind_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FlowPolicy, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(root, "job.trainer.save_every=7")
    trained(root, "job.trainer.learning_rate=0.002")
    said = " ".join(capsys.readouterr().out.split())
    assert "an unfinished training with another trainer.learning_rate is left behind: " in said
