"""Names of a sweep's points: readable, file names, never the same for two points."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from workbench.config import Run, compose
from workbench.config.sweep import fixed_keys, key_of, named_after, point_words

FILE_NAME = re.compile(r"[A-Za-z0-9_.+-]+")


@pytest.mark.parametrize(
    ("varied", "name"),
    [
        (["seed=1"], "-seed-1"),
        (["perturbation.object_shift.offset_m=0.04"], "-perturbation.object_shift.offset_m-0.04"),
        (["policy=zoo/lift_flow"], "-policy-zoo.lift_flow"),
        (["perturbation=[slip]"], "-perturbation-slip"),
        (["perturbation=[slip,push]", "seed=2"], "-perturbation-slip+push-seed-2"),
        (["perturbation=[]"], "-perturbation-none"),
        (["score=[knn,rnd]"], "-score-knn+rnd"),
        (["monitor.level=1e-3"], "-monitor.level-1e-3"),
        (["job.one_each=true"], "-job.one_each-true"),
        (["+score.rnd.width=64"], "-score.rnd.width-64"),
    ],
)
def test_names_are_made_of_what_was_varied(varied, name):
    assert named_after(varied) == name


VALUES = [
    "a=1", "a=1.0", "a=01", "a=-1", "a=1e3", "a=1000", "a=x", "a=x/y", "a='x.y'", "a='x-y'", "a='x y'", "a=[x,y]",
    "a='[x,y]'", "a={x: y}", "a={x: z}", "a=[[x],[y]]", "a=[[x,y]]", "a='josé'", "a='jose'", "a='../x'",
    "a='/x'", "a=x+y", "a='x=y'", "a=$x", "a='" + "l" * 300 + "'", "a='" + "l" * 301 + "'", "a='1-b-1'", "a='x-b-1'",
    "a=''", "b=1", "a.b=1", "a@b=1", "a/b=1", "a-b=1", "b=[]",
]  # fmt: skip


def test_no_two_points_share_a_name_and_all_are_short_file_names():
    pairs = [list(pair) for pair in itertools.combinations(VALUES, 2) if len({key_of(word) for word in pair}) == 2]
    points = [[one] for one in VALUES] + pairs
    assert len(points) > 100
    names = [named_after(point) for point in points]
    assert len(set(names)) == len(names)
    for name in names:
        assert FILE_NAME.fullmatch(name), name
        assert len(name) <= 80


def point(words: list[str], varied: list[str], root: Path, raw: str | None = None) -> Run:
    config = compose(words)
    named = point_words(words, varied, config, raw or config["name"], root)
    return Run(compose(named), root, named)


def test_a_point_has_a_run_and_a_store_of_its_own(tmp_path):
    made = point(["job=rollout", "name=mine", "seed=2"], ["seed=2"], tmp_path)
    assert (made.name, made.store.name, made.demos.name) == (
        "mine-seed-2", "mine-seed-2.zarr", "mine-seed-2-demos.zarr",
    )  # fmt: skip


def test_names_that_were_not_given_are_made_as_well(tmp_path):
    assert point(["job=rollout", "seed=2"], ["seed=2"], tmp_path).name == "default-seed-2"
    made = point(
        ["job=synthesize", "+experiment=synthesize", "seed=2"], ["seed=2"], tmp_path, "${oc.select:job.recipe,x}"
    )
    assert made.name == "failures-small-seed-2"


def test_whoever_sweeps_the_name_names_the_points(tmp_path):
    assert point(["job=rollout", "name=a"], ["name=a"], tmp_path).name == "a"
    assert point(["job=rollout", "name=a", "seed=2"], ["name=a", "seed=2"], tmp_path).name == "a-seed-2"
    made = point(["job=rollout", "name=m${seed}", "seed=2"], ["seed=2"], tmp_path, "m${seed}")
    assert made.name == "m2"
    made = point(
        ["job=rollout", "name=m${seed}", "seed=2", "task=stack"], ["seed=2", "task=stack"], tmp_path, "m${seed}"
    )
    assert made.name == "m2-task-stack"


def test_points_read_what_the_named_run_made_and_write_their_own(tmp_path):
    for there in ("runs/mine/policy", "datasets/mine.zarr", "datasets/mine-demos.zarr"):
        (tmp_path / there).mkdir(parents=True)
    fit = point(["job=fit", "name=mine", "monitor.level=0.2"], ["monitor.level=0.2"], tmp_path)
    assert (fit.name, fit.store.name, fit.shown(fit.checkpoint)) == (
        "mine-monitor.level-0.2", "mine.zarr", "runs/mine/policy",
    )  # fmt: skip
    rollout = point(["job=rollout", "name=mine", "seed=2"], ["seed=2"], tmp_path)
    assert (rollout.store.name, rollout.shown(rollout.checkpoint)) == ("mine-seed-2.zarr", "runs/mine/policy")
    train = point(["job=train", "name=mine", "job.seed=2"], ["job.seed=2"], tmp_path)
    assert (train.demos.name, train.shown(train.checkpoint)) == ("mine-demos.zarr", "runs/mine-job.seed-2/policy")
    (tmp_path / "datasets/mine-seed-2.zarr").mkdir()
    assert point(["job=fit", "name=mine", "seed=2"], ["seed=2"], tmp_path).store.name == "mine-seed-2.zarr"
    assert point(["job=label", "name=mine", "seed=3"], ["seed=3"], tmp_path).store.name == "mine-seed-3.zarr"
    assert point(["job=fit", "name=mine", "seed=3", "store=mine"], ["seed=3"], tmp_path).store.name == "mine.zarr"


def test_jobs_whose_points_do_not_mix_stay_in_their_run(tmp_path):
    words = ["job=view", "name=mine", "job.episode=3"]
    assert point(words, words[-1:], tmp_path).name == "mine"


def test_hydra_is_told_what_is_not_varied():
    word = fixed_keys(["job=rollout", "name=m", "seed=1,2", "-m", "perturbation=[a],[b]", "score=[a,b]", "x=range(3)"])
    assert word == "hydra.job.config.override_dirname.exclude_keys=['job','name','score']"
