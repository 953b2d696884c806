"""Failure modes in real scenes: what a broken robot shows, and that stored states show the same again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.restored import differences
from workbench.config import build
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.pick_place_can import PickPlaceCan
from workbench.envs.tasks.stack import Stack
from workbench.errors import ContractError
from workbench.policies.expert import Expert
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.modes import MODES, modes_of
from workbench.testing.task import check_task
from workbench.types import ROLES, Array, Episode, Record, Stream, Task

CONF = Path(__file__).parents[2] / "conf"
TASKS = {path.stem: build(yaml.safe_load(path.read_text())) for path in sorted((CONF / "task").glob("*.yaml"))}


class Spoiled(Expert):
    """The expert whose actions pass through a function of (true observation, action, calls so far)."""

    def __init__(self, task: Task, spoil: Callable[[dict[str, Array], Array, int], Array]) -> None:
        super().__init__(task, privileged=False)
        self._spoil, self._calls = spoil, 0

    def plan(self, observation: Any, noise: Sequence[np.random.Generator], samples: int = 0) -> Any:
        output = super().plan(observation, noise, samples)
        seen = {key: values[0, -1] for key, values in observation.items()}
        output.chunk[0, 0] = self._spoil(seen, output.chunk[0, 0], self._calls)
        self._calls += 1
        return output


def rolled(task: Task, spoil: Any = None, faults: Sequence[Record] = (), episode: int = 1) -> Episode:
    policy = Spoiled(task, spoil) if spoil else Expert(task, privileged=False)
    return next(Lockstep(task, policy, 1).record([Launch(Stream(3, episode), tuple(faults))]))


def seen(episode: Episode) -> list[str]:
    return [row["mode"] for row in json.loads(episode.record["modes"])]


def fault(task: Task, kind: str, **changes: Any) -> Record:
    node = yaml.safe_load((CONF / "perturbation" / f"{kind}.yaml").read_text())[kind]
    return build(node | changes).draw(Stream(3, 1), task)


@pytest.mark.parametrize("name", TASKS)
def test_roles_are_predicates_and_the_table_knows_them(name):
    task = TASKS[name]
    assert set(task.roles) <= set(ROLES)
    assert set(task.roles.values()) <= set(task.predicate_names)
    assert "success" in task.roles
    assert ("held" in task.roles) == task.gripper


@pytest.mark.parametrize(("role", "predicate"), [("hold", "grasped"), ("held", "gripped")])
def test_check_task_catches_wrong_roles(role, predicate):
    broken = type("Broken", (Lift,), {"roles": Lift.roles | {role: predicate}})
    with pytest.raises(ContractError, match="roles"):
        check_task(broken(), seeds=(0,))


@pytest.mark.parametrize("task", [Lift(), Stack()], ids=lambda task: task.name)
def test_nothing_is_seen_in_a_nominal_episode(task):
    episode = rolled(task)
    assert episode.record["success"]
    assert seen(episode) == []
    assert (episode.steps["modes"] == 0).all()
    assert episode.record["failure_mode"] == ""


@pytest.mark.parametrize("task", [Lift(), Stack(), PickPlaceCan()], ids=lambda task: task.name)
def test_fingers_that_never_close_miss_the_grasp(task):
    faults = [fault(task, "grasp_omitted", duration_steps=200)]
    episode = rolled(task, faults=faults)
    assert not episode.record["success"]
    assert episode.record["failure_mode"] == "missed grasp"


def open_when_carried(height: Callable[[dict[str, Array]], float]) -> Any:
    """Opens the fingers for good once the object is high."""
    state = {"opened": False}

    def spoil(observation: dict[str, Array], action: Array, calls: int) -> Array:
        state["opened"] = state["opened"] or height(observation) > 0
        return np.array([0, 0, 0.3, 0, 0, 0, -1.0]) if state["opened"] else action

    return spoil


def test_opened_in_mid_carry_the_object_drops():
    episode = rolled(Stack(), open_when_carried(lambda o: o["cube_a_pos"][2] - 0.88))
    assert episode.record["failure_mode"] == "drop"
    began = next(row["step"] for row in json.loads(episode.record["modes"]) if row["mode"] == "drop")
    height, held = episode.steps["predicates/cube_a_height_m"], episode.steps["predicates/grasped"]
    assert held[:began].any()
    assert not held[began:].any()
    assert height[began] < height[began - 1]
    assert "misplacement" not in seen(episode)
    assert "slip" not in seen(episode)
    can = rolled(PickPlaceCan(), open_when_carried(lambda o: o["can_pos"][2] - 0.93))
    assert can.record["failure_mode"] == "drop"


def test_a_slippery_object_slips():
    task = Lift()
    episode = rolled(task, faults=[fault(task, "friction", friction_scale=0.01)])
    assert "slip" in seen(episode)
    assert "missed grasp" not in seen(episode)
    first = next(row["step"] for row in json.loads(episode.record["modes"]) if row["mode"] == "slip")
    assert episode.steps["predicates/grasped"][:first].any()


def test_let_go_beside_its_target_the_cube_is_misplaced():
    """Stack: over B, the hand moves aside by 0.06 m and opens there."""
    state: dict[str, int] = {}

    def spoil(observation: dict[str, Array], action: Array, calls: int) -> Array:
        a, b = observation["cube_a_pos"], observation["cube_b_pos"]
        if a[2] > 0.86 and np.hypot(*(a - b)[:2]) < 0.03:
            state.setdefault("over", calls)
        if "over" not in state:
            return action
        if np.hypot(*(a - b)[:2]) > 0.05:
            state.setdefault("aside", calls)
        if "aside" not in state:
            return np.array([0.6, 0, 0, 0, 0, 0, 1.0])
        after = calls - state["aside"]
        return np.array([0, 0, 0.3 if after > 20 else 0.0, 0, 0, 0, 1.0 if after < 4 else -1.0])

    episode = rolled(Stack(), spoil)
    assert episode.record["failure_mode"] == "misplacement"
    assert "drop" not in seen(episode)


def test_pushed_off_the_table_the_cube_is_out_of_reach():
    task = Lift()
    scene = task.scene()
    scene.begin(Stream(3, 1))
    rows = []
    for step in range(30):
        if step == 5:  # as if by a blow
            scene.data.joint("cube_joint0").qvel[:2] = [0.0, 4.0]
        scene.step(np.zeros(7))
        rows.append(dict(scene.truth().predicates))
    steps = {f"predicates/{name}": np.array([row[name] for row in rows]) for name in rows[0]}
    found = modes_of({"action": np.zeros((30, 7)), **steps}, task)
    assert found[-1] & 1 << MODES.index("out of reach")
    assert found[-1] & 1 << MODES.index("knocked")
    assert steps["predicates/cube_height_m"][-1] < -0.1


def test_a_hand_pressed_on_the_table_collides_and_jams():
    down = np.array([0.0, 0.6, -1.0, 0, 0, 0, 1.0])
    episode = rolled(Lift(), lambda observation, action, calls: down if calls < 6 else down * [1, 0, 1, 1, 1, 1, 1])
    assert "jam" in seen(episode)
    assert episode.steps["predicates/obstructed"][-1]


def test_taking_b_for_a_is_the_wrong_object():
    """The expert is told that each cube is where the other is."""
    task = Stack()

    class Swapped(Expert):
        def plan(self, observation: Any, noise: Any, samples: int = 0) -> Any:
            names = {"cube_a_pos": "cube_b_pos", "cube_b_pos": "cube_a_pos"}
            names |= {"cube_a_yaw": "cube_b_yaw", "cube_b_yaw": "cube_a_yaw"}
            return super().plan({key: observation[names.get(key, key)] for key in observation}, noise, samples)

    episode = next(Lockstep(task, Swapped(task, privileged=False), 1).record([Launch(Stream(3, 1))]))
    assert "wrong object" in seen(episode)


def test_a_frozen_robot_stalls():
    episode = rolled(Lift(), lambda observation, action, calls: np.array([0.0] * 6 + [-1.0]))
    assert episode.record["failure_mode"] == "stall"


def test_collision_is_seen_where_contacts_are():
    """Against names: what of the robot moves, and anything but the object; fingers may touch the bin's floor."""
    task = PickPlaceCan()
    scene, model = task.scene(), task.model
    scene.begin(Stream(3, 1))
    rng, allowed, both = np.random.default_rng(0), set(task.finger_geoms), set()
    floors = {int(model.body(body).geomadr[0]) for body in task.support_bodies}
    moving = (*(f"robot0_link{number}" for number in range(1, 8)), "gripper0")
    scene.step(np.zeros(7))
    for step in range(120):
        action = np.r_[rng.uniform(-1, 1, 6), 1.0]
        action[2] = -0.8 if step < 60 else action[2]
        scene.step(action)
        wanted = False
        for pair in scene.data.contact.geom:
            robots = [model.body(model.geom_bodyid[g]).name.startswith(moving) for g in pair]
            if sum(robots) != 1:
                continue
            mine, other = (pair if robots[0] else pair[::-1]).tolist()
            touch = model.geom(other).name not in task.object_geoms
            wanted |= touch and not (model.geom(mine).name in allowed and other in floors)
        assert scene.truth().predicates["collision"] == wanted
        both.add(wanted)
    assert both == {False, True}


@pytest.mark.parametrize(("name", "kind"), [("lift", "friction"), ("stack", ""), ("door", "slip"), ("push_t", "push")])
def test_predicates_and_modes_are_those_of_the_restored_states(name, kind):
    """A small `make verify WHAT=modes`."""
    task = TASKS[name]
    episode = rolled(task, faults=[fault(task, kind)] if kind else ())
    assert episode.steps["modes"].dtype == np.uint16
    assert differences(task.scene(), episode) == ([], 0)
    middle = len(episode.steps["state"]) // 2
    episode.steps["state"][middle, 1] += 1e-9
    assert differences(task.scene(), episode)[0]
