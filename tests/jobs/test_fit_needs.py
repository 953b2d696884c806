"""`workbench fit` on a store that lacks what scores need: a line for each, and the others are fitted all the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.config import Run, build, compose
from workbench.errors import ScoreError, WorkbenchError
from workbench.jobs import benchmark, fit
from workbench.jobs.fit import held, load_monitors
from workbench.monitoring.monitor import needs_of
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.worker import header
from workbench.store import Store, StoreWriter
from workbench.types import RECENT, Episode, EpisodeCalls, Stream, episode_index

LACKING = ("entropy", "rnd", "denoising_loss", "token_probability", "force_torque")
SAID = {
    "entropy": "rollout.samples=32",
    "rnd": "PolicyOutput.embedding",
    "denoising_loss": "rollout.signals=[denoising_loss]",
    "token_probability": "rollout.signals=[token_logprobs]",
    "force_torque": "task peg_insertion",
}


@pytest.fixture(scope="module")
def blank() -> Episode:
    """A short episode of Lift, driven by the expert, whose calls hold nothing but chunks."""
    run = Run(compose(["policy=expert"]))
    expert = build(run.config["policy"], task=run.task)
    (episode,) = Lockstep(run.task, expert, 1).record([Launch(Stream(0, 0), deadline=12)])
    return episode


def store_of(root: Path, blank: Episode, name: str, **calls: Any) -> Run:
    """A run whose store has 6 episodes to fit on, 6 to calibrate and 4 to test; every second one of the last fails."""
    words = [f"name={name}", "policy=expert", "job=fit", "monitor.level=0.4"]
    run = Run(compose([*words, f"score=[{','.join((*LACKING, 'elapsed'))}]", "score.rnd.epochs=2"]), root)
    with StoreWriter.open(run.store, header(run, "expert")) as writer:
        for split, count in (("fit", 6), ("calibrate", 6), ("test", 4)):
            for number in range(count):
                index = episode_index(split, number)  # type: ignore[arg-type]
                success = split != "test" or number % 2 == 0
                record = {**blank.record, "uid": f"0:{index}:nominal", "index": index, "split": split}
                rng = np.random.default_rng(index)
                many = len(blank.calls["step"])
                more = {key: rng.normal(size=(many, *shape)).astype(np.float32) for key, shape in calls.items()}
                writer.append(
                    dataclasses.replace(blank, record={**record, "success": success}, calls={**blank.calls, **more})
                )
    return run


def test_what_is_lacking_is_one_line_a_score_and_the_rest_goes_on(
    tmp_path: Path, blank: Episode, capsys: pytest.CaptureFixture[str]
) -> None:
    run = store_of(tmp_path, blank, "bare", samples=(4, 1, 7))
    fit.run(run)
    lines = capsys.readouterr().out.splitlines()
    left_out = [line for line in lines if line.startswith("left out: ")]
    assert [line.split()[3] for line in left_out] == ["rnd", "denoising_loss", "token_probability", "force_torque"]
    for line in left_out:
        assert SAID[line.split()[3]] in line
    monitors = load_monitors(run)
    assert {monitor.name for monitor in monitors} == {
        "entropy+split_conformal",
        "entropy+functional_band",
        "elapsed+split_conformal",
    }
    assert needs_of(monitors) == {"samples"}
    benchmark.judge_own(run)
    assert {row["score"] for row in run.metrics()["monitors"]} == {"entropy", "elapsed"}


def test_where_no_score_is_left_the_job_says_why_of_each_and_keeps_nothing(tmp_path: Path, blank: Episode) -> None:
    whole = store_of(tmp_path, blank, "none")
    config = {**whole.config, "score": {name: whole.config["score"][name] for name in LACKING}}
    run = Run(config, tmp_path)
    with pytest.raises(WorkbenchError) as caught:
        fit.run(run)
    said = str(caught.value)
    assert said.startswith("no score is left: ")
    assert "\n" not in said
    for name, remedy in SAID.items():
        assert f"score {name}" in said
        assert remedy in said
    assert not fit.folder_of(run).exists()


def test_what_is_there_but_broken_ends_the_job(tmp_path: Path, blank: Episode) -> None:
    """Only what is not there is left out: an embedding that is the same everywhere is an error, as ever."""
    run = store_of(tmp_path, blank, "broken", samples=(4, 1, 7), embedding=(3,))
    store = Store.open(run.store)
    fitting = [n for n in range(len(store)) if store.episodes["split"][n] == "fit"]
    known = [(store.calls(n), store.truth(n)) for n in fitting]
    known = [(dataclasses.replace(calls, embedding=np.ones((len(calls.step), 3))), truth) for calls, truth in known]
    with pytest.raises(ScoreError, match="are the same"):
        fit.fit_all(run, known)


def test_held_is_what_calls_hold_in_the_words_of_needs() -> None:
    none = EpisodeCalls("a", "fit", np.arange(2), np.zeros((2, 1, 1)), None, None, 1)
    assert held(none) == frozenset()
    seen = {"wrench": np.zeros((2, RECENT, 6))}
    some = dataclasses.replace(none, samples=np.zeros((2, 2, 1, 1)), signals={"doubt": np.zeros(2)}, observation=seen)
    assert held(some) == {"samples", "signals/doubt", "observation/wrench"}
