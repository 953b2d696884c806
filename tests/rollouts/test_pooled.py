"""Episodes of other seeds and other magnitudes are never pooled in one store, whoever adds them."""

from __future__ import annotations

import json

import pytest

import workbench as wb
from workbench.errors import ConfigError, OtherSettingsError
from workbench.rollouts.summary import summary


@pytest.fixture(scope="module")
def task():
    return wb.task("lift")


@pytest.fixture(scope="module")
def store(task, tmp_path_factory):
    """Nominal episodes, and such with one fault, with two, and with each of two in turn."""
    path = tmp_path_factory.mktemp("pooled") / "s.zarr"
    policy = wb.policy("expert", task)
    wb.rollout(task, policy, episodes=1, into=path, samples=0, seed=1)
    wb.rollout(
        task, policy, {"slip": wb.perturbation("slip", duration_steps=3)}, episodes=1, into=path, samples=0, seed=1
    )
    both = {"object_shift": wb.perturbation("object_shift", offset_m=0.01), "slip": wb.perturbation("slip")}
    wb.rollout(task, policy, both, episodes=1, into=path, samples=0, seed=1)
    each = {"push": wb.perturbation("push", force_n=[0.8, 0.9]), "mass": wb.perturbation("mass")}
    wb.rollout(task, policy, each, episodes=1, one_each=True, into=path, samples=0, seed=1)
    return path


def changed(**faults):
    return {name: wb.perturbation(name, **settings) for name, settings in faults.items()}


@pytest.mark.parametrize(
    ("faults", "settings", "said"),
    [
        ({}, {"seed": 2}, "another seed"),
        ({"slip": {"duration_steps": 3}}, {"seed": 2}, "another seed"),
        ({"slip": {"duration_steps": 4}}, {}, "slip.duration_steps"),
        ({"slip": {"duration_steps": 3, "start_step": 9}}, {}, "slip.start_step"),
        ({"object_shift": {"offset_m": 0.02}, "slip": {}}, {}, "object_shift.offset_m"),
        ({"object_shift": {"offset_m": 0.01}, "slip": {"duration_steps": 2}}, {}, "slip.duration_steps"),
        ({"push": {"force_n": [1.0, 1.1]}, "mass": {}}, {"one_each": True}, "push.force"),
        ({"mass": {"mass_scale": 50}}, {}, "mass."),
        ({"push": {"force_n": [1.0, 1.1]}}, {"episodes": {"fit": 1}}, "push.force"),
        (
            {"mass": {"mass_scale": 50}, "push": {"force_n": [0.8, 0.9]}},
            {"one_each": True, "episodes": 3},
            "mass.",
        ),
    ],
)
def test_what_would_be_pooled_is_refused_in_a_line(task, store, faults, settings, said):
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    asked = {"episodes": 1, "samples": 0, "seed": 1, **settings}
    with pytest.raises(OtherSettingsError, match=said) as caught:
        wb.rollout(task, wb.policy("expert", task), changed(**faults), into=store, **asked)
    assert "name=NAME" in str(caught.value)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_the_same_faults_go_on_however_many_are_asked_for(task, store):
    policy, settings = wb.policy("expert", task), {"into": store, "samples": 0, "seed": 1}
    count = len(wb.open_store(store))
    wb.rollout(task, policy, changed(slip={"duration_steps": 3}), episodes=2, **settings)
    assert len(wb.open_store(store)) == count + 1
    each = changed(push={"force_n": [0.8, 0.9]}, mass={})
    wb.rollout(task, policy, each, episodes={"test": 1, "fit": 1}, one_each=True, **settings)
    assert len(wb.open_store(store)) == count + 3
    counted = {row["perturbation"]: row["episodes"] for row in summary(wb.open_store(store))["perturbed"]}
    assert counted == {"slip": 2, "object_shift+slip": 1, "push": 1, "mass": 1}


@pytest.mark.parametrize("settings", [{"seed": 2}, {"noise": {"std_fraction": 0.3}}], ids=["seed", "noise"])
def test_demonstrations_are_not_pooled_either(task, tmp_path, settings):
    wb.collect(task, episodes=1, into=tmp_path / "d.zarr", seed=1)
    noise = {
        "_target_": "workbench.envs.perturbations.action_noise.ActionNoise",
        **settings.get("noise", {"std_fraction": None}),
    }
    with pytest.raises(OtherSettingsError, match="another"):
        wb.collect(task, episodes=2, into=tmp_path / "d.zarr", **{"seed": 1, **settings, "noise": noise})
    records = wb.open_store(tmp_path / "d.zarr").episodes["perturbations"]
    assert len(records) == 1
    assert json.loads(records[0])[0]["name"] == "action_noise"


def test_one_fault_twice_is_not_pooled_by_the_first_call(tmp_path):
    """In episodes of its own each; both at once in one episode are another matter."""
    task, path = wb.task("lift"), tmp_path / "twice.zarr"
    twice = {"soft": wb.perturbation("push", force_n=[1.0, 1.1]), "hard": wb.perturbation("push", force_n=[2.0, 2.1])}
    with pytest.raises(ConfigError, match="fault push is asked for 2 times") as caught:
        wb.rollout(task, wb.policy("expert", task), twice, episodes=1, one_each=True, into=path, samples=0)
    assert "\n" not in str(caught.value)
    assert not path.exists()
