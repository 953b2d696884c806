"""The scripted expert: which keyframe it chooses, how it moves there, and that a task gets done."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.envs.robots.disc import DISC
from workbench.envs.robots.panda import PANDA
from workbench.errors import ConfigError, ObservationError
from workbench.policies.expert import Expert
from workbench.types import Array, Keyframe, Task
from workbench.types.rotations import rotation_matrix, rotation_vector

DOWN = np.diag([1.0, -1.0, -1.0])
DOWN_QUATERNION = np.array([1.0, 0.0, 0.0, 0.0])
BLOCK = np.array([0.1, 0.0, 0.82])
OPEN, HALF, ON_BLOCK = 0.08, 0.055, 0.04
ABOVE, GRASP = 0.08, 0.0


class Picking:
    """A plan like Lift's: above the block, down, close, up."""

    name = "picking"
    action_size = 7
    robot, commands_pose = PANDA, True

    def plan(self, observation: dict[str, Array]) -> tuple[Keyframe, ...]:
        block = observation["block"]
        lifted = np.array([block[0], block[1], 0.92])
        return (
            Keyframe("reach", block + np.array([0, 0, ABOVE]), DOWN, closed=False, tolerance_m=0.02),
            Keyframe("reach", block, DOWN, closed=False, tolerance_m=0.01),
            Keyframe("grasp", block, DOWN, closed=True, tolerance_m=0.01),
            Keyframe("lift", lifted, DOWN, closed=True, tolerance_m=0.02),
        )


def seen(position: Array, width_m: float, before_m: float | None = None, block: Array = BLOCK) -> dict[str, Array]:
    def fingers(width: float) -> list[float]:
        return [width / 2, -width / 2]

    return {
        "eef_pos": np.tile(position, (2, 1)),
        "eef_quat": np.tile(DOWN_QUATERNION, (2, 1)),
        "gripper_qpos": np.array([fingers(width_m if before_m is None else before_m), fingers(width_m)]),
        "block": np.tile(block, (2, 1)),
    }


@pytest.fixture
def expert() -> Expert:
    return Expert(cast(Task, Picking()))


def test_starts_above(expert: Expert) -> None:
    action = expert.action(seen(BLOCK + np.array([-0.2, 0.1, 0.2]), HALF))
    assert action[0] == 1
    assert action[1] == -1
    assert action[2] == -1
    assert action[6] == -1


def test_rises_before_it_crosses(expert: Expert) -> None:
    action = expert.action(seen(BLOCK + np.array([-0.15, 0.0, 0.0]), OPEN))
    assert action[2] == 1
    np.testing.assert_allclose(action[:2], 0)


def test_descends_only_with_open_fingers(expert: Expert) -> None:
    halfway = BLOCK + np.array([0, 0, 0.04])
    assert expert.action(seen(halfway, OPEN))[2] < 0
    closed = expert.action(seen(halfway, ON_BLOCK))
    assert closed[2] > 0
    assert closed[6] == -1


def test_closes_at_the_grasp_and_stays_while_the_fingers_move(expert: Expert) -> None:
    for width, before in ((OPEN, OPEN), (HALF, HALF + 0.007)):
        action = expert.action(seen(BLOCK, width, before))
        assert action[6] == 1
        np.testing.assert_allclose(action[:3], 0, atol=1e-9)


def test_lifts_once_the_fingers_have_stopped(expert: Expert) -> None:
    action = expert.action(seen(BLOCK, ON_BLOCK))
    assert action[2] == 1
    assert action[6] == 1


def test_goes_on_lifting_what_it_holds_and_starts_over_when_it_has_dropped_it(expert: Expert) -> None:
    raised = BLOCK + np.array([0, 0, 0.06])
    held = expert.action(seen(raised, ON_BLOCK, block=raised))
    assert held[2] > 0
    assert held[6] == 1
    assert expert.action(seen(raised, ON_BLOCK))[6] == -1


def test_turns_the_shorter_way_in_the_world_frame(expert: Expert) -> None:
    observation = seen(BLOCK + np.array([0, 0, 0.2]), OPEN)
    half = 0.15
    # DOWN turned by 0.3 rad around world z: the correction is -0.3 rad around world z.
    observation["eef_quat"][:] = [np.cos(half), np.sin(half), 0, 0]
    turn = expert.action(observation)[3:6]
    assert turn[2] < -0.5
    np.testing.assert_allclose(turn[:2], 0, atol=1e-9)


def test_reaches_the_block_from_anywhere_in_a_kinematic_world(expert: Expert) -> None:
    """The gripper goes a third of the way that it is asked; the fingers move 1 cm a step and stop on the block."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        block = BLOCK + np.array([*rng.uniform(-0.03, 0.03, 2), 0.0])
        hand = block + rng.uniform([-0.2, -0.2, 0.0], [0.2, 0.2, 0.2])
        width = before = float(rng.uniform(0.0, 0.08))
        for _ in range(120):
            action = expert.action(seen(hand, width, before, block))
            before = width
            between = bool(np.linalg.norm(hand - block) < 0.02)
            narrowest = ON_BLOCK if between and width >= ON_BLOCK else 0.0
            width = float(np.clip(width - 0.01 * action[6], narrowest, OPEN))
            move = action[:3] * 0.05 / 3
            if between and width == ON_BLOCK == before:
                block = block + move
            hand = hand + move
        assert block[2] > 0.9


def test_same_observation_same_action_whatever_the_batch_and_noise(expert: Expert) -> None:
    scenes = [seen(BLOCK + np.array([0.01 * n, 0, 0.1]), OPEN) for n in range(5)]
    batch = {key: np.stack([scene[key] for scene in scenes]) for key in scenes[0]}
    generators = [np.random.default_rng(n) for n in range(5)]
    together = expert.plan(batch, generators).chunk
    assert together.shape == (5, expert.horizon, 7)
    np.testing.assert_array_equal(together, expert.plan(batch, generators).chunk)
    for number, scene in enumerate(scenes):
        alone = expert.plan({key: values[None] for key, values in scene.items()}, [np.random.default_rng(9)])
        np.testing.assert_array_equal(alone.chunk[0], together[number])
    assert len({tuple(chunk.ravel()) for chunk in together}) == 5


def test_broken_observation_is_refused(expert: Expert) -> None:
    batch = {key: np.stack([values, values]) for key, values in seen(BLOCK, OPEN).items()}
    batch["block"][1, 1, 0] = np.nan
    with pytest.raises(ObservationError, match="'block' of scene 1"):
        expert.plan(batch, [np.random.default_rng(0)] * 2)


vectors = st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 0.1)


@given(axis=vectors, angle=st.floats(0, np.pi))
def test_rotation_vector_inverts_the_exponential(axis: Any, angle: float) -> None:
    unit = np.array(axis) / np.linalg.norm(axis)
    matrix = rotation_matrix(np.array([*(unit * np.sin(angle / 2)), np.cos(angle / 2)]))
    found = rotation_vector(matrix)
    back = np.linalg.norm(found)
    again = rotation_matrix(np.array([*(found / max(back, 1e-300) * np.sin(back / 2)), np.cos(back / 2)]))
    np.testing.assert_allclose(again, matrix, atol=1e-6)
    assert back <= np.pi + 1e-9


class Pushing:
    """A plan of a disc in the plane: first round a corner, then to where it pushes."""

    name = "pushing"
    action_size = 2
    robot, commands_pose = DISC, False

    def plan(self, observation: dict[str, Array]) -> tuple[Keyframe, ...]:
        corner, place = observation["pusher_pos"] + observation["ahead"], np.zeros(2)
        return tuple(
            Keyframe("reach", np.array([*at, 0.015]), np.eye(3), closed=False, tolerance_m=0.001)
            for at in (corner, place)
        )


@pytest.mark.parametrize(
    ("ahead_m", "action"),
    [((0.005, -0.01), (0.2, -0.4)), ((0.0, 0.0), (0.0, 0.0)), ((0.3, 0.4), (0.6, 0.8)), ((-1.0, 0.0), (-1.0, 0.0))],
)
def test_a_disc_goes_straight_to_the_first_keyframe(ahead_m: Array, action: Array) -> None:
    """One control step's way at most, in whatever direction; the present observation alone counts."""
    expert = Expert(cast(Task, Pushing()))
    observation = {"pusher_pos": np.array([[9.0, 9.0], [0.2, 0.1]]), "ahead": np.array([[5.0, 5.0], ahead_m])}
    assert expert.action(observation) == pytest.approx(action)
    output = expert.plan({key: value[None] for key, value in observation.items()}, [np.random.default_rng()])
    assert output.chunk.shape == (1, 1, 2)


def test_an_action_of_another_size_is_refused() -> None:
    task = Picking()
    task.action_size = 8
    with pytest.raises(ConfigError, match=r"task picking by actions of size 8.*task.controller=osc_pose") as caught:
        Expert(cast(Task, task))
    assert "\n" not in str(caught.value)
