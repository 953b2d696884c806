"""Data sets of failures: what a recipe asks for is there, once, with its twins, whatever interrupted it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.limits import HANG_S
from tests.synthesis.recipes import RECIPE, write
from workbench.attribution.decisive import effect_step
from workbench.config import ZOO, Run, compose
from workbench.errors import StoreError, UnknownNameError
from workbench.execution.processes import Processes
from workbench.jobs import synthesize
from workbench.store import Store
from workbench.synthesis.recipe import Recipe, wanted
from workbench.synthesis.synthesizing import synthesize as synthesized
from workbench.synthesis.tolerances import Search
from workbench.types import Record


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", "synthesize", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=HANG_S)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A synthesized data set, on one worker."""
    folder = tmp_path_factory.mktemp("made")
    write(folder)
    done = call(folder, "job.recipe=small", "runner.workers=1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "small-lift.zarr" in done.stdout
    return folder


def magnitudes(folder: Path) -> dict[str, dict[str, Record]]:
    """Task -> label of an axis -> what the file of magnitudes says of it."""
    kept = json.loads((folder / "runs/small/magnitudes.json").read_text())
    found: dict[str, dict[str, Record]] = {task: {} for task in RECIPE["tasks"]}
    for key, entry in kept.items():
        task, _, label = key.partition("/")
        if label:
            found[task][label] = entry["record"]
    return found


def stores(folder: Path) -> dict[str, Store]:
    return {task: Store.open(folder / "datasets" / f"small-{task}.zarr") for task in RECIPE["tasks"]}


# What is asked for


def test_a_task_has_the_policy_that_the_recipe_names_for_it(tmp_path):
    recipe = Recipe.read(write(tmp_path, policy={"lift": "zoo/lift_flow", "door": "flow"}))
    run = Run(compose(["job=synthesize", "name=s"]), tmp_path)
    lift, door = (synthesize.task_run(run, recipe, task, "runs/{task}/policy") for task in ("lift", "door"))
    assert (lift.zoo, lift.config["checkpoint"], lift.checkpoint) == ("lift_flow", None, ZOO / "lift_flow")
    assert (door.zoo, door.config["checkpoint"]) == ("", "runs/door/policy")
    one = Recipe.read(write(tmp_path, policy="flow"))
    assert one.policies == {"lift": "flow", "door": "flow"}


# What is made


def test_every_cell_is_filled_as_asked(made):
    found = magnitudes(made)
    assert "hangs on a hinge" in found["door"]["object_shift"]["refused"]
    for task, store in stores(made).items():
        columns = store.episodes
        labels = {label for label, record in found[task].items() if "refused" not in record}
        assert labels == {cell.partition("@")[0] for cell in columns["cell"] if cell}
        for cell in {cell for cell in columns["cell"] if cell}:
            for split, least in RECIPE["least"].items():
                mine = (columns["cell"] == cell) & (columns["split"] == split)
                failed = list(~columns["success"][mine][np.argsort(columns["index"][mine])])
                assert len(failed) == wanted(least, RECIPE["most"][split], RECIPE["failures"], failed)
        assert len(set(store.uids)) == len(store)
        assert store.header.licence == "CC0-1.0"


def test_magnitudes_are_drawn_as_searched(made):
    found = magnitudes(made)
    for task, store in stores(made).items():
        for cell, text in zip(store.episodes["cell"], store.episodes["perturbations"], strict=True):
            if cell:
                label, _, rate = cell.partition("@")
                record = found[task][label]
                value = np.linalg.norm(json.loads(text)[0][record["parameter"]])
                assert value == pytest.approx(record["found"]["" if rate == "end of axis" else rate], rel=1e-12)


def test_every_perturbed_episode_has_its_twin(made):
    parted = 0
    for store in stores(made).values():
        numbers = {uid: number for number, uid in enumerate(store.uids)}
        for number in range(len(store)):
            episode = store.episode(number)
            twin = episode.record["twin"]
            if not episode.record["cell"]:
                assert (twin, episode.record["t_eff"]) == ("", -1)
                continue
            nominal = store.episode(numbers[twin])
            assert nominal.record["perturbation"] == ""
            assert nominal.record["index"] == episode.record["index"]
            assert episode.record["t_eff"] == effect_step(episode, nominal)
            parted += episode.record["t_eff"] >= 0
            if episode.record["t_eff"] >= 0:
                assert episode.record["t_eff"] >= episode.record["t_inj"] >= 0
    assert parted > 5


def test_the_card_counts_what_is_there(made):
    card = (made / "datasets/small.card.md").read_text()
    assert "a small one, for tests" in card
    assert "CC0-1.0" in card
    assert f"**episodes**: {sum(map(len, stores(made).values()))} in 2 stores" in card
    assert "hangs on a hinge" in card
    metrics = json.loads((made / "runs/small/metrics.json").read_text())["synthesis"]
    for row in metrics["tasks"]:
        columns = stores(made)[row["task"]].episodes
        assert row["perturbed"] == sum(columns["perturbation"] != "")
        assert row["failures"] == sum((columns["perturbation"] != "") & ~columns["success"])


def test_two_workers_in_two_goes_make_the_same(made, tmp_path):
    """The second go finds one task done and the other begun."""
    write(tmp_path)
    assert call(tmp_path, "job.recipe=small", "job.tasks=[lift]", "runner.scenes=3").returncode == 0
    done = call(tmp_path, "job.recipe=small", "runner.scenes=3")
    assert done.returncode == 0, done.stderr[-2000:]
    for task, store in stores(tmp_path).items():
        assert store.digest() == stores(made)[task].digest()
    files = [json.loads((folder / "runs/small/magnitudes.json").read_text()) for folder in (tmp_path, made)]
    assert files[0] == files[1]
    again = call(tmp_path, "job.recipe=small", "runner.scenes=3")
    assert again.returncode == 0
    assert [len(store) for store in stores(tmp_path).values()] == [len(store) for store in stores(made).values()]


def test_the_library_makes_what_the_command_makes(made, tmp_path):
    """On plain parts, without a run; a second call goes on with what there is, and other settings are refused."""
    run = Run(compose(["policy=expert", "perturbation=[slip,object_shift]"]), tmp_path)
    recipe = Recipe.read(made / "datasets/recipes/small.yaml")
    parts = recipe, {"lift": run.task}, {"lift": run.policy()}, run.perturbations
    asked = {"into": tmp_path / "small", "ledger": tmp_path / "magnitudes.json", "runner": Processes()}
    result = synthesized(*parts, **asked)
    assert result.stores["lift"].path == tmp_path / "small-lift.zarr"
    assert result.stores["lift"].digest() == stores(made)["lift"].digest()
    assert {label: found.record() for label, found in result.magnitudes["lift"].items()} == magnitudes(made)["lift"]
    told = json.loads((made / "runs/small/metrics.json").read_text())["synthesis"]["tasks"]
    assert result.record()["tasks"] == [row for row in told if row["task"] == "lift"]
    assert synthesized(*parts, **asked).stores["lift"].digest() == result.stores["lift"].digest()
    with pytest.raises(StoreError, match=r"magnitudes.json was made with another search.most"):
        synthesized(dataclasses.replace(recipe, search=Search(4, 8, 0.4, 0.5)), *parts[1:], **asked)
    with pytest.raises(StoreError, match=r"another rollout.samples"):
        synthesized(*parts, **asked, samples=4)
    with pytest.raises(UnknownNameError, match="Did you mean 'lift'"):
        synthesized(recipe, {"lfit": run.task}, {"lfit": run.policy()}, run.perturbations, **asked)
    with pytest.raises(UnknownNameError, match="perturbation of recipe small 'object_shift'"):
        synthesized(*parts[:3], {"slip": run.config["perturbation"]["slip"]}, **asked)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["job.recipe=smal"], "Did you mean 'small'"),
        (["job.recipe=small", "job.tasks=[lfit]"], "Did you mean 'lift'"),
        (["job.recipe=small", "seed=3"], "was made with another seed"),
        (["job.recipe=small", "job.policy=flow"], "there is no checkpoint at runs/lift/policy"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(made, words, said):
    done = call(made, *words)
    assert done.returncode not in (0, 130)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
