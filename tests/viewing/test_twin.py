"""A failure beside its twin, and branches fanned out from one of its moments: recordings that are read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.toy import ToyPolicy
from tests.viewing.test_beside import BREAKS, written
from tests.viewing.test_recording import SeenTask, rows
from tests.viewing.test_view import column
from workbench.attribution.branching import NOISE, branch
from workbench.errors import ConfigError, StoreError
from workbench.rollouts.stored import start_at, stream_of
from workbench.store import Store
from workbench.viewing.fan import moment_of, view_fan
from workbench.viewing.session import entities_of
from workbench.viewing.twin import distances, view_twin

LAZY = ToyPolicy(lazy=0.45)
"""It needs about 36 of 40 control steps: some branches succeed, some do not."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return written(tmp_path_factory.mktemp("twin") / "toy.zarr", LAZY)


def perturbed(store: Store) -> int:
    return int(np.flatnonzero(store.episodes["perturbation"] != "")[0])


def test_the_two_are_one_until_the_fault_and_part_from_then_on(store: Store, tmp_path: Path) -> None:
    number = perturbed(store)
    found = view_twin(store, number, SeenTask(), LAZY, into=tmp_path)
    assert found.path == tmp_path / f"{store.uids[number].replace(':', '-')}-beside-twin.rrd"
    apart = [value[0] for _, value in column(found.path, "/margins/body", "scalars")]
    assert apart[: BREAKS + 1] == [0.0] * (BREAKS + 1)
    assert apart[-1] > 5
    place = {"episode": "/episode/scene/body", "nominal twin": "/nominal\\ twin/scene/body"}
    lengths = {name: len(column(found.path, place[name], "translation")) for name in found.ended}
    assert lengths == {"episode": 40, "nominal twin": found.ended["nominal twin"].length}
    assert not found.ended["episode"].success
    ((words,),) = rows(found.path, "/notes", "text")
    assert words == found.words
    assert f"same noise: {'success' if found.ended['nominal twin'].success else 'failure'} at step" in words
    log = [text for _, (text,) in column(found.path, "/log", "text")]
    assert {"episode: injected", "episode: failure"} < set(log)


def test_lines_bear_their_names(store: Store, tmp_path: Path) -> None:
    found = view_twin(store, perturbed(store), SeenTask(), LAZY, into=tmp_path)
    assert rows(found.path, "/episode/trails/body", "labels") == [["body"]]


def test_what_has_no_twin_and_what_is_no_twin_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing was injected into episode .* its own twin: choose another"):
        view_twin(store, 1 - perturbed(store), SeenTask(), LAZY, into=tmp_path)
    with pytest.raises(StoreError, match="is another episode before the fault strikes"):
        view_twin(store, perturbed(store), SeenTask(), ToyPolicy(lazy=1.1), into=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_shorter_path_ends_the_comparison() -> None:
    one, other = np.zeros((5, 3)), np.ones((3, 3))
    np.testing.assert_allclose(distances(one, other), [3**0.5] * 3)


def test_a_fan_is_the_branches_that_the_value_is_measured_by(store: Store, tmp_path: Path) -> None:
    number = 1 - perturbed(store)
    episode = store.episode(number)
    start = start_at(episode, 4, LAZY)
    (expected,) = branch([start], LAZY, 6, stream_of(episode).child(NOISE), task=SeenTask())
    found = view_fan(store, number, SeenTask(), LAZY, into=tmp_path, at=4, branches=6)
    assert [(each.success, each.length) for each in found.ended] == [(e.success, e.length) for e in expected]
    assert len({each.length for each in found.ended}) > 1, "each has noise of its own"
    for branch_number, each in enumerate(found.ended):
        label = f"branch {branch_number}: {'success' if each.success else 'failure'} @ {each.length}"
        entity = f"/trails/branches/{branch_number}"
        assert rows(found.path, f"{entity}/body", "labels") == [[label]]
        moving = column(found.path, f"{entity}/hand", "positions")
        assert [step for step, _ in moving] == list(range(4, each.length))
        assert moving[0][1][0][0] == episode.steps["state"][4, 0], "all leave from the same place"
    won = sum(each.success for each in found.ended)
    assert f"{won} of 6 succeed" in found.words


def test_a_fault_that_has_not_struck_is_left_out_of_the_branches(store: Store, tmp_path: Path) -> None:
    before = view_fan(store, perturbed(store), SeenTask(), LAZY, into=tmp_path, at=BREAKS - 2, branches=8)
    behind = view_fan(store, perturbed(store), SeenTask(), LAZY, into=tmp_path, at=BREAKS, branches=8)
    assert any(each.success for each in before.ended)
    assert not any(each.success for each in behind.ended), "broken, and nobody mends it"


def test_moments_are_named_by_step_or_event(store: Store, tmp_path: Path) -> None:
    episode = store.episode(perturbed(store))
    assert [moment_of(episode, at) for at in (0, "12", "injected", 39)] == [0, 12, BREAKS, 39]
    for wrong in ("onset", 40, -1, "99", "nothing"):
        with pytest.raises(ConfigError, match=r"has no moment .*: give a step in 0\.\.39, or one of injected \(6\)"):
            moment_of(episode, wrong)
    for branches in (0, 65):
        with pytest.raises(ConfigError, match=f"a fan has 1 to 64 branches, not {branches}"):
            view_fan(store, 0, SeenTask(), LAZY, into=tmp_path, at=0, branches=branches)
    assert "/notes" in entities_of(view_fan(store, 0, SeenTask(), LAZY, into=tmp_path, at=0, branches=1).path)
