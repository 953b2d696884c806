"""Data sets of failures: what a recipe asks for is there, once, with its twins, whatever interrupted it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.limits import HANG_S
from workbench.attribution.decisive import effect_step
from workbench.config import ZOO, Run, compose
from workbench.errors import ConfigError, UnknownNameError
from workbench.jobs import synthesize
from workbench.store import Store
from workbench.synthesis.axis import Dial
from workbench.synthesis.recipe import Recipe, Search, cells_of, find_recipe, wanted
from workbench.synthesis.tolerance import Scale

ROOT = Path(__file__).parents[2]
RECIPE = {
    "about": "a small one, for tests",
    "licence": "CC0-1.0",
    "policy": "expert",
    "tasks": ["lift", "door"],
    "nominal": {"fit": 1, "calibrate": 2},
    "least": {"fit": 1, "test": 2},
    "most": {"fit": 2, "test": 4},
    "failures": 2,
    "failure_rates": [0.3, 0.7],
    "search": {"batch": 4, "most": 4, "resolution": 0.4},
    "perturbations": {"slip": None, "object_shift": None},
}


def write(folder: Path, name: str = "small", **changes) -> Path:
    path = folder / "datasets" / "recipes" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(RECIPE | changes))
    return path


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


def stores(folder: Path) -> dict[str, Store]:
    return {task: Store.open(folder / "datasets" / f"small-{task}.zarr") for task in RECIPE["tasks"]}


# Recipes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"failure_rate": 1}, "Did you mean 'failure_rates'"),
        ({"most": {"fit": 2, "tset": 2}}, "Did you mean 'test'"),
        ({"most": {"fit": 0, "test": 4}}, r"least.fit=1 must be in 1..most.fit"),
        ({"least": {"fit": 1}}, "same splits"),
        ({"failure_rates": [1.5]}, "between 0 and 1"),
        ({"failure_rates": []}, "between 0 and 1"),
        ({"tasks": []}, "no task"),
        ({"nominal": 3}, "how many episodes of each split"),
        ({"search": {"bach": 3}}, "Did you mean 'batch'"),
        ({"policy": {"lift": "flow"}}, r"one for each of its tasks \(lift, door\), not for lift"),
        ({"policy": {"lift": "flow", "door": "flow", "stack": "flow"}}, "not for door, lift, stack"),
        ({"policies": "flow"}, "Did you mean 'policy'"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(tmp_path, changes, said):
    with pytest.raises((ConfigError, UnknownNameError), match=said):
        Recipe.read(write(tmp_path, **changes))


def test_a_recipe_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'small'"):
        find_recipe("smal", write(tmp_path).parents[2])


def test_a_folder_without_recipes_is_named(tmp_path):
    """There, those that come with the package are known."""
    with pytest.raises(UnknownNameError, match=r"recipe 'small'.*Known: .*failures-small, failures-v1"):
        find_recipe("small", tmp_path)
    assert find_recipe("failures-small", tmp_path).samefile(ROOT / "datasets" / "recipes" / "failures-small.yaml")


def test_a_recipe_of_the_users_own_is_taken_before_the_shipped_one_of_its_name(tmp_path):
    own = write(tmp_path, "failures-small")
    assert find_recipe("failures-small", tmp_path) == own
    with pytest.raises(UnknownNameError, match=r"Known: .*failures-v1.*, own"):
        find_recipe("smal", write(tmp_path, "own").parents[2])


@pytest.mark.parametrize("missing", ["licence", "tasks", "failures"])
def test_what_a_recipe_lacks_is_said(tmp_path, missing):
    path = write(tmp_path)
    path.write_text(yaml.safe_dump({key: RECIPE[key] for key in RECIPE if key != missing}))
    with pytest.raises(ConfigError, match=missing):
        Recipe.read(path)


@pytest.mark.parametrize("path", sorted((ROOT / "datasets/recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_can_be_read(path):
    recipe = Recipe.read(path)
    assert isinstance(recipe.search, Search)
    known = {file.stem for file in (ROOT / "conf/perturbation").glob("*.yaml")}
    assert set(recipe.perturbations) <= known
    assert set(recipe.tasks) <= {file.stem for file in (ROOT / "conf/task").glob("*.yaml")}
    assert set(recipe.policies) == set(recipe.tasks)
    for policy in recipe.policies.values():
        assert (ROOT / f"conf/policy/{policy}.yaml").is_file()


def test_a_task_has_the_policy_that_the_recipe_names_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(synthesize, "words_asked", lambda: [])
    recipe = Recipe.read(write(tmp_path, policy={"lift": "zoo/lift_flow", "door": "flow"}))
    run = Run(compose(["job=synthesize", "name=s"]), tmp_path)
    lift, door = (synthesize.task_run(run, recipe, task, "runs/{task}/policy") for task in ("lift", "door"))
    assert (lift.zoo, lift.config["checkpoint"], lift.checkpoint) == ("lift_flow", None, ZOO / "lift_flow")
    assert (door.zoo, door.config["checkpoint"]) == ("", "runs/door/policy")
    one = Recipe.read(write(tmp_path, policy="flow"))
    assert one.policies == {"lift": "flow", "door": "flow"}


# Cells


@pytest.mark.parametrize(
    ("failed", "count"),
    [
        ([], 2),
        ([True], 2),
        ([True, True], 2),
        ([True, False], 4),
        ([True, False, True], 4),
        ([False, False, True, True], 4),
        ([False, False, False, True], 6),
        ([False] * 6, 7),
        ([False] * 7, 7),
        ([True, False, True, False, True, True, True], 4),
    ],
)
def test_a_cell_is_filled_until_enough_of_it_has_failed(failed, count):
    assert wanted(2, 7, 2, failed) == count


def test_magnitudes_that_coincide_make_one_cell():
    dial = Dial("slip", None, {}, "duration_steps", Scale(1, 200, whole=True))
    cells = cells_of(dial, {"0.25": 3.0, "0.5": 3.0, "0.75": 9.0, "0.9": None})
    assert [(cell.magnitude, cell.rate) for cell in cells] == [(3.0, 0.5), (9.0, 0.75)]
    assert [cell.name for cell in cells_of(dial, {"": 200.0})] == ["slip@end of axis"]


# What is made


def test_every_cell_is_filled_as_asked(made):
    found = json.loads((made / "runs/small/magnitudes.json").read_text())
    assert "hangs on a hinge" in found["door"]["dials"]["object_shift"]["record"]["refused"]
    for task, store in stores(made).items():
        columns = store.episodes
        labels = {label for label, entry in found[task]["dials"].items() if "refused" not in entry["record"]}
        assert labels == {cell.partition("@")[0] for cell in columns["cell"] if cell}
        for cell in {cell for cell in columns["cell"] if cell}:
            for split, least in RECIPE["least"].items():
                mine = (columns["cell"] == cell) & (columns["split"] == split)
                failed = list(~columns["success"][mine][np.argsort(columns["index"][mine])])
                assert len(failed) == wanted(least, RECIPE["most"][split], RECIPE["failures"], failed)
        assert len(set(store.uids)) == len(store)
        assert store.header.licence == "CC0-1.0"


def test_magnitudes_are_drawn_as_searched(made):
    found = json.loads((made / "runs/small/magnitudes.json").read_text())
    for task, store in stores(made).items():
        for cell, text in zip(store.episodes["cell"], store.episodes["perturbations"], strict=True):
            if cell:
                label, _, rate = cell.partition("@")
                record = found[task]["dials"][label]["record"]
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
    assert (tmp_path / "runs/small/magnitudes.json").read_text() == (made / "runs/small/magnitudes.json").read_text()
    again = call(tmp_path, "job.recipe=small", "runner.scenes=3")
    assert again.returncode == 0
    assert [len(store) for store in stores(tmp_path).values()] == [len(store) for store in stores(made).values()]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["job.recipe=smal"], "Did you mean 'small'"),
        (["job.recipe=small", "job.tasks=[lfit]"], "Did you mean 'lift'"),
        (["job.recipe=small", "seed=3"], "another policy, seed, task or search"),
        (["job.recipe=small", "job.policy=flow"], "there is no checkpoint at runs/lift/policy"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(made, words, said):
    done = call(made, *words)
    assert done.returncode not in (0, 130)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
