"""Recipes: what they say, what cannot be meant, and the cells that they ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.synthesis.recipes import RECIPE, write
from workbench.errors import ConfigError, UnknownNameError
from workbench.synthesis.axis import FaultAxis, Scale
from workbench.synthesis.recipe import QUICK, Recipe, cells_of, find_recipe, wanted
from workbench.synthesis.tolerances import Search

ROOT = Path(__file__).parents[2]


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
        ({"search": {"batch": 20}}, "batch=20, most=12.*must keep to"),
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


def test_magnitudes_are_searched_for_quickly_unless_a_recipe_says_otherwise(tmp_path):
    assert Recipe.read(write(tmp_path, search=None)).search == Search(**QUICK) == Search(6, 12, 0.15, 0.5)
    assert Recipe.read(write(tmp_path)).search == Search(4, 4, 0.4, 0.5)


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
    axis = FaultAxis("slip", None, {}, "duration_steps", Scale(1, 200, whole=True))
    cells = cells_of(axis, {"0.25": 3.0, "0.5": 3.0, "0.75": 9.0, "0.9": None})
    assert [(cell.magnitude, cell.rate) for cell in cells] == [(3.0, 0.5), (9.0, 0.75)]
    assert [cell.name for cell in cells_of(axis, {"": 200.0})] == ["slip@end of axis"]
