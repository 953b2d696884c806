"""The command line: what is answered at once, and what is refused in one clear line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import HANG_S
from workbench.cli import explain_composition, hydra_arguments, job_descriptions, overview
from workbench.errors import ConfigError


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workbench", *words], cwd=folder, capture_output=True, text=True, timeout=HANG_S
    )


def refused(folder: Path, *words: str) -> str:
    """The one line in which a call is refused."""
    done = call(folder, *words)
    assert done.returncode not in (0, 130), done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("workbench: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_alone_it_shows_what_can_be_done(tmp_path):
    alone, asked = call(tmp_path), call(tmp_path, "--help")
    assert alone.returncode == asked.returncode == 0
    assert alone.stdout == asked.stdout
    for job in job_descriptions():
        assert f"  {job} " in alone.stdout
    assert alone.stdout.count("\n  workbench ") == 3


def test_every_job_has_a_description_of_its_own():
    found = job_descriptions()
    assert {"collect", "train", "rollout", "label", "fit", "benchmark", "recover"} <= set(found)
    assert {"view", "report", "export", "replay", "quickstart"} <= set(found)
    assert all(text and not text.startswith("_target_") for text in found.values())
    assert len(set(found.values())) == len(found)
    assert all(text in overview() for text in found.values())


def test_a_job_is_hydras_job():
    assert hydra_arguments(["rollout", "seed=1"]) == ["job=rollout", "seed=1"]
    assert hydra_arguments(["quickstart"]) == ["job=quickstart", "+experiment=quickstart"]
    assert hydra_arguments(["quickstart", "+experiment=other"]) == ["job=quickstart", "+experiment=other"]
    assert hydra_arguments(["--cfg", "job"]) == ["--cfg", "job"]


def test_a_policy_that_a_fault_cannot_change_is_refused_before_there_is_a_store(tmp_path):
    line = refused(tmp_path, "rollout", "policy=expert", "perturbation=[sampler_steps]", "name=n")
    assert "perturbation sampler_steps changes inference_steps of a policy, and Expert cannot be changed" in line
    line = refused(tmp_path, "rollout", "policy=expert", "perturbation=[no_replanning]", "name=n")
    assert "execute=1, horizon=1" in line
    assert not list(tmp_path.glob("**/*.zarr"))


def test_an_unknown_job_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'rollout'"):
        hydra_arguments(["rolout"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rollout", "sede=1"], ["'sede'", "Did you mean 'seed'"]),
        (["rollout", "job.episode=3"], ["'job.episode'", "Did you mean 'job.episodes'"]),
        (["rollout", "runner.worker=3"], ["'runner.worker'", "Did you mean 'runner.workers'"]),
        (["rollout", "task=lfit"], ["task 'lfit'", "Did you mean 'lift'"]),
        (["rollout", "perturbation=[slipp]"], ["perturbation 'slipp'", "Did you mean 'slip'"]),
        (["rollout", "seed=many"], ["seed", "many"]),
        (["rollout", "seed=-1"], ["seed=-1", "0 or more"]),
        (
            ["rollout", "perturbation=[slip]", "perturbation.slip.duration_stepz=3"],
            ["duration_stepz", "duration_steps"],
        ),
        (
            ["rollout", "perturbation=[slip]", "+perturbation.slip.duration_step=3"],
            ["'duration_step'", "Did you mean 'duration_steps'"],
        ),
        (["rollout", "name=../evil"], ["plain name"]),
        (["rolout"], ["no job 'rolout'", "Did you mean 'rollout'"]),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else None,
)
def test_a_wrong_word_is_refused_in_one_line(tmp_path, words, said):
    line = refused(tmp_path, *words)
    for part in said:
        assert part in line
    assert not list((tmp_path / "datasets").glob("*")) if (tmp_path / "datasets").exists() else True


def test_what_is_missing_is_named_with_the_way_to_make_it(tmp_path):
    assert "workbench train name=n" in refused(tmp_path, "rollout", "name=n")
    assert "n-demos.zarr" in refused(tmp_path, "train", "name=n")
    for job in ("label", "fit", "benchmark", "recover", "view", "export", "replay"):
        assert "n.zarr" in refused(tmp_path, job, "name=n"), job
    assert "quickstart" in refused(tmp_path, "report", "name=n")


def test_the_configuration_can_be_looked_at_without_running(tmp_path):
    done = call(tmp_path, "rollout", "perturbation=[slip]", "--cfg", "job")
    assert done.returncode == 0
    assert "duration_steps" in done.stdout
    assert not (tmp_path / "datasets").exists()


def test_help_of_a_job_lists_groups_and_keys(tmp_path):
    done = call(tmp_path, "rollout", "--help")
    assert done.returncode == 0
    for word in ("perturbation:", "slip", "one_each", "usage: workbench JOB"):
        assert word in done.stdout


class FromHydraError(Exception):
    pass


def test_messages_that_are_not_known_are_passed_on_in_one_line():
    assert explain_composition(FromHydraError("one\n  two"), []) == "one two"


def test_impossible_cameras_are_refused_before_a_store_is_made(tmp_path):
    said = refused(tmp_path, "collect", "job.episodes=2", "task=push_t", "task.cameras={names: [wrist]}")
    assert "unknown camera of this task 'wrist'. Known: agentview, side" in said or "EGL" in said  # without any GL
    said = refused(tmp_path, "collect", "job.episodes=2", "task.cameras={names: [wrist], profile: nice}")
    assert "unknown profile of task.cameras 'nice'" in said
    assert not list(tmp_path.glob("datasets/*"))


def test_new_is_the_one_job_with_words_of_its_own():
    assert hydra_arguments(["new", "score", "mine"]) == ["job=new", "job.kind='score'", "job.name='mine'"]
    assert hydra_arguments(["new", "task", "mine", "it's"])[-1] == r"job.folder='it\'s'"
    assert hydra_arguments(["new", "job.kind=score", "job.name=mine"]) == ["job=new", "job.kind=score", "job.name=mine"]
    with pytest.raises(ConfigError, match="too many words"):
        hydra_arguments(["new", "score", "a", "b", "c"])
