"""The command line: what is answered at once, and what is refused in one clear line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import HANG_S
from workbench import cli
from workbench.cli import all_jobs, overview
from workbench.config import Run, compose, job_of, options_of
from workbench.config.checking import checked
from workbench.config.explaining import explain
from workbench.config.journal import read_journal
from workbench.errors import ConfigError
from workbench.execution.chain import plan
from workbench.jobs.quickstart import refuse


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
    for job in all_jobs():
        assert f"  {job} " in alone.stdout
    assert alone.stdout.count("\n  workbench ") == 3


def test_every_job_has_a_description_of_its_own():
    found = all_jobs()
    assert {"collect", "train", "rollout", "label", "fit", "benchmark", "recover"} <= set(found)
    assert {"view", "report", "export", "replay", "quickstart"} <= set(found)
    assert all(text and not text.startswith("_target_") for text in found.values())
    assert len(set(found.values())) == len(found)
    assert all(text in overview() for text in found.values())


def test_a_policy_that_a_fault_cannot_change_is_refused_before_there_is_a_store(tmp_path):
    line = refused(tmp_path, "rollout", "policy=expert", "perturbation=[sampler_steps]", "name=n")
    assert "perturbation sampler_steps changes inference_steps of a policy, and Expert cannot be changed" in line
    line = refused(tmp_path, "rollout", "policy=expert", "perturbation=[no_replanning]", "name=n")
    assert "execute=1, horizon=1" in line
    assert not list(tmp_path.glob("**/*.zarr"))


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
            ["'perturbation.slip.duration_step'", "Did you mean 'perturbation.slip.duration_steps'"],
        ),
        (["rollout", "name=../evil"], ["plain name"]),
        (["rolout"], ["unknown job 'rolout'", "Did you mean 'rollout'"]),
        (["seed=1"], ["which job?"]),
        (["rollout", "slip"], ["Did you mean perturbation=[slip]?"]),
        (["rollout", "-m", "seed=0,-1", "policy=expert"], ["seed=-1"]),
        (["rollout", "--cfg", "job", "nmae=x"], ["'nmae'", "Did you mean 'name'"]),
        (["--info", "rollout", "nmae=x"], ["'nmae'", "Did you mean 'name'"]),
        (["rollout", "--config-dir", "nowhere"], ["--config-dir=nowhere", "no such folder"]),
        (["rollout", "name=é/../x"], ["plain name"]),
        (["rollout", "seed=9223372036854775808", "policy=expert"], ["at most 9223372036854775807"]),
        (["rollout", "+job.zzz=1"], ["unknown key 'job.zzz'", "job.one_each"]),
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
    for job in ("label", "fit", "benchmark", "recover", "view", "film", "figures", "export", "replay"):
        assert "n.zarr" in refused(tmp_path, job, "name=n"), job
    assert "quickstart" in refused(tmp_path, "report", "name=n")


def test_the_configuration_can_be_looked_at_without_running(tmp_path):
    done = call(tmp_path, "rollout", "perturbation=[slip]", "--cfg", "job")
    assert done.returncode == 0
    assert "duration_steps" in done.stdout
    assert not (tmp_path / "datasets").exists()


@pytest.mark.parametrize(
    "line", ["rollout --cfg job name=1.10", "--cfg job rollout name=1.10", "rollout name=1.10 -c=job"]
)
def test_flags_stand_anywhere_of_a_process(tmp_path, line):
    done = call(tmp_path, *line.split())
    assert done.returncode == 0, done.stderr
    assert "name: '1.10'" in done.stdout


def test_help_of_a_job_lists_keys_and_groups(tmp_path):
    done = call(tmp_path, "rollout", "--help")
    assert done.returncode == 0
    for word in ("perturbation []:", "slip", "job.one_each=false", "usage: workbench rollout"):
        assert word in done.stdout


def test_the_version_is_ours(tmp_path):
    done = call(tmp_path, "--version")
    assert done.stdout.startswith("workbench ")
    for library in ("Python 3.", "mujoco ", "robosuite ", "torch ", "zarr "):
        assert library in done.stdout


def test_a_shell_completes_jobs_and_words_behind_them(tmp_path):
    def completed(line):
        environment = {**os.environ, "COMP_LINE": line}
        command = [sys.executable, "-m", "workbench", "-sc", "query=bash"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=HANG_S)
        assert not done.stderr
        return done.stdout.split()

    assert completed("workbench rep") == ["replay", "report"]
    assert "runner.workers=" in completed("workbench rollout runner.w")
    assert completed("workbench rollout seed=[ x") == []


def test_a_folder_of_ones_own_yaml_files_is_composed_and_named_again(tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "two.yaml").write_text("# @package _global_\njob: {episodes: 2}\nname: '2'\n")
    line = ["--config-dir", "mine", "collect", "+experiment=two"]
    done = call(tmp_path, *line)
    assert done.returncode == 0, done.stderr
    said = read_journal(tmp_path / "runs/2")[-1].command
    assert said == "workbench collect +experiment=two --config-dir=mine"
    assert "Known: compare, quickstart, synthesize, two" in refused(
        tmp_path, "--config-dir", "mine", "collect", "+experiment=tow"
    )


@pytest.mark.parametrize("job", options_of("job"))
def test_the_arguments_of_every_job_are_those_of_its_signature(job):
    node = compose([f"job={job}"])["job"]
    job_of(node)
    with pytest.raises(ConfigError, match=r"unknown key 'job\.zzz'"):
        job_of({**node, "zzz": 1})
    for key in node:
        if key == "_target_":
            continue
        with pytest.raises(ConfigError, match=f"job.{key} is missing"):
            job_of({name: value for name, value in node.items() if name != key})
        with pytest.raises(ConfigError, match=f"job.{key}="):
            job_of({**node, key: {1.5}})


@pytest.mark.parametrize(
    ("job", "word", "said"),
    [
        ("rollout", "job.episodes.test=abc", "a whole number"),
        ("rollout", "job.episodes.test=1.5", "a whole number"),
        ("rollout", "job.episodes.test=true", "a whole number"),
        ("rollout", "job.episodes.test=-1", "0 .. 100000"),
        ("rollout", "job.episodes.test=200000", "0 .. 100000"),
        ("rollout", "job.one_each=1", "true or false"),
        ("collect", "job.episodes=null", "a whole number"),
        ("collect", "job.noise.std_fraction=much", "a number"),
        ("collect", "+job.noise.std=1", "unknown key 'job.noise.std'"),
        ("train", "job.trainer.iterations=0", "1 .. "),
        ("train", "job.trainer.held_out=1", "below 1"),
        ("train", "job.trainer.learning_rate=nan", "above 0"),
        ("train", "job.trainer.iteratons=5", "unknown key"),
        ("train", "~job.evaluation.every", "is missing"),
        ("label", "job.stride=0", "1 .. "),
        ("label", "job.branches=[4,a]", "a whole number"),
        ("label", "job.values.splits=[tset]", "one of train, fit, select, calibrate, test"),
        ("label", "+job.values.x=1", "unknown key 'job.values.x'"),
        ("benchmark", "job.seeds=[0,-1]", "0 .. "),
        ("benchmark", "job.windows=[mean,2]", "a list"),
        ("benchmark", "job.pairs=[[a,b]]", "a list"),
        ("benchmark", "job.resamples=0", "1 .. "),
        ("recover", "job.moments=0", "1 .. "),
        ("retry", "job.restart_s=-1", "0 .. "),
        ("recover", "job.trainer.learning_rate=0", "above 0"),
        ("search", "job.split=tset", "one of train"),
        ("search", "job.confidence=1", "below 1"),
        ("search", "job.budget=200000", "100000"),
        ("serve", "job.port=70000", "65535"),
        ("synthesize", "job.tasks=lift", "a list"),
        ("view", "job.monitors=knn", "a list"),
        ("zoo", "job.seeds=[a]", "a whole number"),
        ("quickstart", "~job.stages.fit.reads", "is missing"),
        ("quickstart", "job.stages.fit.runs=[label]", "a list"),
    ],
)  # fmt: skip
def test_a_job_is_refused_before_it_begins(job, word, said):
    with pytest.raises(ConfigError, match="job") as caught:
        checked([f"job={job}", word])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["score=[knn]"], "unknown monitor of these scores and calibrators 'rnd+split_conformal'"),
        (["strategy=[continue]"], "must include 'placebo'"),
        (["policy=expert"], "cannot be trained"),
        (["perturbation=[goal_change]"], "goal_change"),
        (["monitor.level=1"], "between 0 and 1"),
        (["job.stages.fit.after=[rolout]"], "Did you mean 'rollout'"),
        (["job.stages.fit.makes=[stor]"], "Did you mean 'store'"),
        (["job.stages.fit.reads=[scroe]"], "Did you mean 'score'"),
        (['job.stages.label.runs=[["job=label","job.stride=0"]]'], "job.stride=0"),
        (['job.stages.view.runs=[["job=view","seed=-1"]]'], "seed=-1"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_the_chain_is_refused_before_its_first_stage(tmp_path, words, said):
    config = compose(["job=quickstart", "+experiment=quickstart", *words])
    asked = [word for word in words if not word.startswith("job.")]
    with pytest.raises(ConfigError) as caught:
        refuse(plan(config["job"]["stages"], asked, tmp_path), Run(config, tmp_path))
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


class FromHydraError(Exception):
    pass


def test_messages_that_are_not_known_are_passed_on_in_one_line():
    assert explain(FromHydraError("one two"), dict) == "one two"


def test_impossible_cameras_are_refused_before_a_store_is_made(tmp_path):
    said = refused(tmp_path, "collect", "job.episodes=2", "task=push_t", "task.cameras={names: [wrist]}")
    assert "unknown camera of this task 'wrist'. Known: agentview, side" in said or "EGL" in said  # without any GL
    said = refused(tmp_path, "collect", "job.episodes=2", "task.cameras={names: [wrist], profile: nice}")
    assert "unknown profile of task.cameras 'nice'" in said
    assert not list(tmp_path.glob("datasets/*"))


@pytest.fixture
def obeyed():
    """Ctrl-C is obeyed as in a terminal; a worker of the tests may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("obeyed")
def test_ctrl_c_waits_until_a_configuration_is_composed(monkeypatch):
    """In the middle of it, OmegaConf and Hydra made errors of their own out of it: a traceback, or another exit."""
    done = []

    def composing(*given, **options):
        os.kill(os.getpid(), signal.SIGINT)
        done.append(given)
        return ["job=rollout", "name=x"]

    monkeypatch.setattr("workbench.config.checking.checked", composing)
    with pytest.raises(KeyboardInterrupt):
        cli.answer(["rollout", "name=x"])
    assert done


@pytest.mark.usefixtures("obeyed")
def test_ctrl_c_while_hydra_composes_is_one_line(monkeypatch, capsys, tmp_path):

    asked = Run.asked

    def pressed(composed):
        os.kill(os.getpid(), signal.SIGINT)
        return asked(composed)

    monkeypatch.setattr(Run, "asked", pressed)
    monkeypatch.setattr(sys, "argv", ["workbench"])
    with pytest.raises(SystemExit) as left:
        cli.hydra_main(["job=rollout", "name=x", "policy=expert", f"root={tmp_path}"])
    assert left.value.code == cli.INTERRUPTED
    assert capsys.readouterr().err.startswith("workbench: interrupted")
    assert not list(tmp_path.iterdir())
