"""Poses and corrections: there and back, in the world frame."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.types.pose import Pose
from workbench.types.rotations import about, quaternion_of, rotation_matrix

NUMBERS = st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3).map(np.array)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.booleans())
def test_a_correction_leads_where_it_was_read_off(here_m, here_rad, way, turn, closed) -> None:
    here = Pose(here_m, rotation_matrix(quaternion_of(here_rad)), False)
    correction = np.concatenate([way, turn, [1.0 if closed else -1.0]])
    there = here.corrected(correction)
    np.testing.assert_allclose(here.to(there), correction, atol=1e-6)
    np.testing.assert_allclose(here.distance(there), [np.linalg.norm(way), np.linalg.norm(turn)], atol=1e-6)
    assert there.closed is closed


def test_a_turn_is_about_the_axes_of_the_world() -> None:
    """About the hand's own axes another pose would come out, since this hand is turned."""
    here = Pose(np.zeros(3), about(np.array([1.0, 0.0, 0.0]), np.pi / 2), False)
    there = here.corrected(np.array([0, 0, 0, 0, 0, np.pi / 2, -1.0]))
    np.testing.assert_allclose(there.rotation, about(np.array([0.0, 0.0, 1.0]), np.pi / 2) @ here.rotation, atol=1e-9)


def test_a_pose_is_read_from_an_observation_whose_quaternion_has_any_length() -> None:
    quaternion = 3.0 * quaternion_of([0.1, 0.2, 0.3])
    pose = Pose.of({"eef_pos": np.array([1.0, 2.0, 3.0]), "eef_quat": quaternion}, closed=True)
    np.testing.assert_allclose(pose.rotation, rotation_matrix(quaternion / 3.0))
    assert pose.position_m.tolist() == [1.0, 2.0, 3.0]
    assert pose.closed
