"""Pictures from beside a scene: what they show lies where their projection says."""

from __future__ import annotations

import numpy as np
import pytest

from tests.envs.test_cameras import draws
from workbench.envs.perturbations.camera_dropout import CameraDropout
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.push_t import PushT
from workbench.errors import UnknownNameError
from workbench.types import HasPictures, Stream

WIDTH, HEIGHT = 200, 120


@draws
@pytest.mark.parametrize("camera", ["agentview", "side", "wrist"])
def test_a_point_of_the_world_lies_where_its_body_is_seen(camera: str) -> None:
    """Against the segmentation, which is drawn and not computed; the picture is wider than it is high."""
    settings = {"names": [camera], "profile": "full", "width_px": WIDTH, "height_px": HEIGHT, "segmentation": True}
    scene = Lift(cameras=settings).scene()
    assert isinstance(scene, HasPictures)
    found = 0
    for episode in range(6):
        scene.begin(Stream(0, episode))
        picture = scene.picture(camera, WIDTH, HEIGHT)
        assert picture.pixels.shape == (HEIGHT, WIDTH, 3)
        centre_m, _ = scene.body_poses()["cube_main"]
        u, v, ahead_m = picture.projection @ [*centre_m, 1.0]
        body = scene.images()[f"segmentation/{camera}"] == list(scene.body_poses()).index("cube_main")
        if body.sum() > 3:
            rows, columns = np.nonzero(body)
            assert abs(u / ahead_m - columns.mean() - 0.5) < 2.5
            assert abs(v / ahead_m - rows.mean() - 0.5) < 2.5
            assert ahead_m > 0
            found += 1
    assert found >= 3


@draws
def test_the_distance_is_along_the_axis_of_the_camera() -> None:
    scene = Lift(cameras={"names": ["agentview"], "width_px": WIDTH, "height_px": HEIGHT, "depth": True}).scene()
    picture, depth = scene.picture("agentview", WIDTH, HEIGHT), scene.images()["depth/agentview"]
    centre_m, _ = scene.body_poses()["cube_main"]
    u, v, ahead_m = picture.projection @ [*centre_m, 1.0]
    seen_m = depth[int(v / ahead_m), int(u / ahead_m)]
    assert 0 < ahead_m - seen_m < 0.04, "its surface lies before its centre, by no more than its size"


@draws
def test_a_task_without_cameras_can_be_photographed_and_nothing_of_it_changes() -> None:
    scene = PushT().scene()
    before = scene.snapshot()
    assert scene.picture("agentview", 64, 48).pixels.std() > 5
    after = scene.snapshot()
    assert np.array_equal(before.state, after.state)
    assert np.array_equal(before.memory, after.memory)
    with pytest.raises(UnknownNameError, match=r"unknown camera of this task 'elsewhere'"):
        scene.picture("elsewhere", 64, 48)


@draws
def test_faults_of_the_pixels_do_not_hide_the_scene() -> None:
    task = Lift(cameras={"width_px": 64, "height_px": 48})
    fault = CameraDropout(drop_probability=1.0, start_step=0).draw(Stream(0, 0), task)
    scene = task.scene()
    scene.begin(Stream(0, 0), [fault])
    assert scene.images()["images/agentview"].max() == 0, "the policy sees nothing"
    assert scene.picture("agentview", 64, 48).pixels.std() > 5
