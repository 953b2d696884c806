"""A task of nine members works; what it does not offer is asked for, and refused in one line."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import yaml

from tests.toy import GOAL, BareTask, ToyPolicy, ToyTask, broken
from workbench.attribution.branching import drive, find_onset
from workbench.attribution.instructions import told
from workbench.envs.faults.specification import effect_of
from workbench.envs.robots.disc import DISC
from workbench.envs.robots.panda import PANDA
from workbench.envs.tasks.lift import Lift
from workbench.errors import ConfigError
from workbench.policies.expert import Expert
from workbench.policies.wire.payloads import LAYOUTS
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.modes import failure_mode
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.testing.task import check_task
from workbench.types import ABORTED, Scene, Stream, Task, abilities
from workbench.types.abilities import (
    ABILITIES,
    DEMONSTRATION_NOISE,
    HasCameras,
    HasImages,
    HasPlan,
    HasShapes,
    HasStages,
    ability,
    action_groups_of,
    commands_pose,
    demonstration_noise_of,
    finger_channels,
    fingers_for,
    goal_meant,
    goals_of,
    image_sizes_of,
    images_of,
    of_episode,
    robot_of,
    stages_of,
    trails_of,
)

PERTURBATIONS = sorted((Path(__file__).parents[2] / "conf/perturbation").glob("*.yaml"))
FOREIGN = {  # faults of what every policy plans, sees or is told, which a scene that is not MuJoCo's can have too
    "action_bias", "action_drift", "action_freeze", "action_gain", "action_noise", "action_saturation", "chunk_jump",
    "dropped_packets", "latency", "no_op", "no_replanning", "observation_freeze", "other_policy", "sampler_noise",
    "sampler_steps", "speed", "stale_chunk", "typos", "wrong_normalisation",
}  # fmt: skip
NINE = {
    "name", "instruction", "control_hz", "deadline", "observation_sizes", "action_size", "predicate_names", "roles",
    "scene",
}  # fmt: skip


def public(kind: type) -> set[str]:
    return {name for name in {*vars(kind), *get_type_hints(kind)} if not name.startswith("_")}


def test_a_task_must_have_nine_members_and_the_bare_one_has_no_others():
    assert public(Task) == NINE
    assert {name for name in dir(BareTask()) if not name.startswith("_")} == NINE
    assert not any(isinstance(BareTask(), kind) for kind in vars(abilities).values() if _is_ability(kind))


def test_images_and_shapes_are_no_part_of_what_a_scene_must_have():
    scene = BareTask().scene()
    assert not {"images", "shapes", "body_poses"} & public(Scene)
    assert not isinstance(scene, (HasImages, HasShapes))
    assert images_of(scene) == {}


def _is_ability(kind: Any) -> bool:
    return isinstance(kind, type) and kind.__name__.startswith("Has")


def test_the_checker_passes_a_task_of_nine_members():
    check_task(BareTask())


def test_what_only_describes_a_task_has_a_default():
    task = BareTask()
    assert stages_of(task) == ()
    assert trails_of(task) == ()
    assert image_sizes_of(task) == {}
    assert action_groups_of(task) == {"action": (0, 1)}
    assert demonstration_noise_of(task) == DEMONSTRATION_NOISE
    assert goals_of(task) == {"toy": "count to twenty"}
    assert goal_meant(task, "count to twenty") == "toy"
    assert goal_meant(task, "count to thirty") is None
    assert of_episode(task, Stream(0, 0)) is task
    assert robot_of(task) is None
    assert finger_channels(task) == 0
    assert not commands_pose(task)


def test_what_a_task_offers_is_taken():
    task, lift = ToyTask(), Lift(cameras={"names": ["side"], "width_px": 20, "height_px": 10})
    assert stages_of(task) == ("half", "done")
    assert action_groups_of(task) == {"place": (0, 1)}
    assert stages_of(lift) == lift.stages
    assert trails_of(lift) == ("gripper0_right_eef", "cube_main")
    assert image_sizes_of(lift) == {"side": (10, 20)}
    assert list(action_groups_of(lift)) == ["position", "rotation", "gripper"]
    assert goals_of(lift) == {"lift": "lift the red cube"}
    assert goal_meant(lift, "please lift the cube") == "lift"
    assert robot_of(lift) is PANDA
    assert finger_channels(lift) == 1
    assert commands_pose(lift)
    assert not commands_pose(Lift(controller="joint_position"))
    assert ability(lift, HasPlan, "a test") is lift


def rolled(*records: Any, policy: ToyPolicy | None = None) -> Any:
    lockstep = Lockstep(BareTask(), policy or ToyPolicy(), 2, samples=2)
    return list(lockstep.record([Launch(Stream(1, index), records) for index in range(3)]))


def test_a_policy_is_rolled_on_it_stored_and_read_back(tmp_path):
    episodes = rolled()
    assert all(episode.record["success"] and episode.record["length"] == GOAL for episode in episodes)
    assert all((episode.steps["stage"] == 0).all() for episode in episodes)
    assert not any(key.startswith(("images/", "depth/")) for key in episodes[0].steps)
    with StoreWriter.open(tmp_path / "s.zarr", StoreHeader("toy", 10.0, 40, {}, {}, 1)) as writer:
        for episode in episodes:
            writer.append(episode)
    store = Store.open(tmp_path / "s.zarr")
    assert len(store) == 3
    for number, episode in enumerate(episodes):
        again = store.episode(number)
        assert again.record["uid"] == episode.record["uid"]
        for key, values in episode.steps.items():
            np.testing.assert_array_equal(again.steps[key], values)
    assert told(store, BareTask()) == []


def test_a_failure_on_it_gets_a_mode_and_an_onset_without_an_expert():
    episode = rolled(broken(7, 0))[0]
    assert not episode.record["success"]
    assert episode.record["outcome"] not in ("success", ABORTED)
    assert episode.record["failure_mode"] == failure_mode(episode.steps["modes"]) == "timeout"
    search = find_onset(episode, ToyPolicy(), BareTask().scene(), (8,))
    ((onset, _),) = drive([search], Lockstep(BareTask(), ToyPolicy(), 8))
    assert onset.step == 7


class Planned(BareTask):
    """With a plan."""

    def plan(self, observation):
        return ()


class Driven(Planned):
    """With a plan and a robot that cannot be driven so."""

    robot, commands_pose = PANDA, True


class Seeing(ToyPolicy):
    """Asks for images."""

    def __init__(self) -> None:
        super().__init__(cameras=("wrist",))


REFUSED = {
    "the scripted expert needs a plan of keyframes, and task toy has none: give it plan": lambda: Expert(BareTask()),
    "the scripted expert needs a robot whose numbers are known, and task toy has none: give it robot": (
        lambda: Expert(Planned())
    ),
    "the expert cannot drive task toy by actions of size 1": lambda: Expert(Driven()),
    "policy Seeing needs a scene that draws images, and task toy has none: give it images": (
        lambda: rolled(policy=Seeing())
    ),
    "workbench view needs a scene with shapes to draw, and task toy has none": (
        lambda: ability(BareTask().scene(), HasShapes, "workbench view")
    ),
    "this needs stages, and task toy has none": lambda: ability(BareTask(), HasStages, "this"),
    "this needs images, and task toy has none": lambda: ability(BareTask(), HasCameras, "this"),
    "this needs images, and task lift has none": lambda: ability(Lift(), HasCameras, "this"),
    "this needs fingers, and the robot of task toy has none": lambda: fingers_for(BareTask(), "this"),
    "layout libero needs images of wrist and side": (
        lambda: LAYOUTS["libero"].refuse("libero", BareTask(), ["wrist", "side"])
    ),
}


@pytest.mark.parametrize("said", REFUSED)
def test_who_needs_more_is_refused_in_one_line(said):
    with pytest.raises(ConfigError) as caught:
        REFUSED[said]()
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_everything_that_can_be_asked_for_says_what_it_is_and_how_to_give_it():
    for kind, offer in ABILITIES.items():
        assert public(kind) & set(offer.members.replace("(", " ").replace(",", " ").split())
        assert offer.filled in ("", *public(kind))


def test_layouts_want_fingers_whose_opening_they_know():
    class Armed(BareTask):
        robot, commands_pose, action_size = dataclasses.replace(PANDA, fingers=None), True, 7
        image_sizes = {"a": (8, 8)}  # noqa: RUF012

    task = Armed(action_size=7)
    with pytest.raises(ConfigError, match="layout openvla needs fingers, and the robot of task toy has none"):
        LAYOUTS["openvla"].refuse("openvla", task, ["a"])


@pytest.mark.parametrize("path", PERTURBATIONS, ids=lambda path: path.stem)
def test_every_fault_is_drawn_for_it_or_refused_in_one_line(path):
    fault = specification(path.stem)
    if path.stem in FOREIGN:
        assert fault.draw(Stream(0, 0), BareTask())["name"] == path.stem
        return
    with pytest.raises(ConfigError, match=f"perturbation {path.stem} ") as caught:
        fault.draw(Stream(0, 0), BareTask())
    assert "task toy" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_what_is_drawn_acts_on_a_scene_that_is_not_mujocos(name):
    scene = BareTask().scene()
    record = specification(name).draw(Stream(0, 0), scene.task)
    effect = effect_of({**record, "start_step": 0}, Stream(0, 0))
    effect.advance(scene)
    assert effect.active(0)
    assert effect.action(scene, np.array([0.5])).shape == (1,)
    assert effect.chunk(scene, np.full((4, 1), 0.5)).shape == (4, 1)
    assert effect.observation(scene, dict(scene.observe())).keys() == {"place"}
    assert effect.executed(2, 4) >= 1
    assert isinstance(effect.instruction(scene, scene.instruction()), str)
    assert isinstance(effect.settings(), dict)
    effect.restore(effect.memory())


def specification(name: str) -> Any:
    part = yaml.safe_load((PERTURBATIONS[0].parent / f"{name}.yaml").read_text())[name]
    module, _, kind = part.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), kind)(**part)


@pytest.mark.parametrize("name", ["step_omitted", "step_duplicated", "wrong_order"])
@pytest.mark.parametrize("stages", [(), ("all",)])
def test_without_an_order_of_stages_there_is_none_to_change(name, stages):
    with pytest.raises(ConfigError, match=f"changes the order of stages, and task lift has {len(stages)}"):
        specification(name).draw(Stream(0, 0), type("Once", (Lift,), {"stages": stages})())


@pytest.mark.parametrize("name", ["early_close", "early_release", "late_release", "step_omitted"])
def test_faults_of_a_plan_need_one(name):
    class Planless(BareTask):
        robot, commands_pose, cell, object_is_free = PANDA, True, None, True

    with pytest.raises(ConfigError, match="needs a plan of keyframes, and task toy has none"):
        specification(name).draw(Stream(0, 0), Planless())


def test_a_fault_of_an_arm_is_no_fault_of_a_disc():
    class Sliding(BareTask):
        robot, commands_pose = DISC, False
        cell, object_is_free = None, True

    for name in ("joint_lock", "robot_start", "torque_limit"):
        with pytest.raises(ConfigError, match="an arm's joints, and the robot of task toy has none"):
            specification(name).draw(Stream(0, 0), Sliding())
