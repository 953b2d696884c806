"""Laws of what every fault shares: bounds, draws, schedules, records."""

from __future__ import annotations

import math
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.envs.faults.draws import Magnitude, horizontal, uniform, uniform_int, within, within_steps
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import FOREVER
from workbench.envs.faults.specification import Specification, effect_of
from workbench.envs.robots.panda import PANDA
from workbench.envs.scene import MujocoScene
from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Stream

STAGES = ("reach", "grasp", "lift")


class Recorder(Effect):
    """Writes down when it is asked to do something."""

    def __init__(self, record, stream):
        super().__init__(record, stream)
        self.calls = []
        self.edited = False

    def edit(self, scene):
        self.calls.append(("edit", scene.step_index))
        self.edited = True

    def strike(self, scene):
        self.calls.append(("strike", scene.step_index))

    def undo(self):
        if self.edited:
            self.calls.append(("undo",))
        self.edited = False


class Probe(Specification):
    channel = "physics"
    effect = Recorder
    magnitude = Magnitude("draw", 0.1, 1.0)

    def parameters(self, rng):
        return {"draw": rng.random()}


class FakeScene(MujocoScene):
    """Counts steps; each stage takes ten of them, and the object rises by a centimetre at each."""

    def __init__(self) -> None:
        self.step_index = 0
        self.task = SimpleNamespace(
            name="fake",
            stages=STAGES,
            predicate_names=("height_m", "held"),
            robot=PANDA,
            commands_pose=True,
            object_is_free=True,
            cell=None,
        )
        self.model, self.data = mujoco.MjModel.from_xml_string("<mujoco/>"), None
        self.data = mujoco.MjData(self.model)

    def truth(self):
        held = float(self.step_index % 10 == 3)
        return SimpleNamespace(
            stage=min(self.step_index // 10, len(STAGES)), predicates={"height_m": 0.01 * self.step_index, "held": held}
        )

    def _judge(self):
        pass


def run(effect: Effect, scene: FakeScene, until: int) -> list[int]:
    """Steps at which the effect was active."""
    active = []
    scene._effects = [effect]
    while True:
        scene._advance()
        if effect.active(scene.step_index):
            active.append(scene.step_index)
        if scene.step_index == until:
            return active
        scene.step_index += 1


def probe(**schedule) -> Recorder:
    record = Probe(**schedule).draw(Stream(0, 0), FakeScene().task)
    return Recorder(record, Stream(0, 0))


@pytest.mark.parametrize(
    ("schedule", "first", "last"),
    [
        ({}, 0, 40),
        ({"start_step": 7}, 7, 40),
        ({"start_step": 7, "duration_steps": 5}, 7, 11),
        ({"duration_steps": 1}, 0, 0),
        ({"stage": "reach", "start_step": 3, "duration_steps": 2}, 3, 4),
        ({"stage": "lift", "duration_steps": 4}, 20, 23),
        ({"stage": "lift", "start_step": 2, "duration_steps": 4}, 22, 25),
        ({"predicate": "held", "duration_steps": 4}, 3, 6),
        ({"predicate": "held", "stage": "grasp", "duration_steps": 4}, 13, 16),
        ({"predicate": "height_m > 0.075", "start_step": 2, "duration_steps": 4}, 10, 13),
        ({"predicate": "height_m < 1e-9", "duration_steps": 4}, 0, 3),
    ],
)
def test_active_exactly_when_scheduled(schedule, first, last):
    effect = probe(**schedule)
    assert run(effect, FakeScene(), 40) == list(range(first, last + 1))
    edits = [("edit", first), ("strike", first)]
    assert effect.calls == (edits if last == 40 else [*edits, ("undo",)])


def test_never_starts_when_scheduled_behind_the_end():
    effect = probe(start_step=41, stage="lift")
    assert run(effect, FakeScene(), 40) == []
    assert effect.calls == []
    assert effect.started == -1


@pytest.mark.parametrize("at", range(12, 30))
def test_memory_continues_the_schedule(at):
    """A copy that takes up the memory acts at the same later steps, and edits the model at once if it is active."""
    schedule = {"stage": "grasp", "start_step": 5, "duration_steps": 6}
    whole = run(probe(**schedule), FakeScene(), 40)
    first, copy, scene = probe(**schedule), probe(**schedule), FakeScene()
    before = run(first, scene, at)
    scene._effects = [copy]
    copy.restore(first.memory())
    scene._edit()
    assert copy.calls == ([("edit", at)] if 15 <= at < 21 else [])
    scene.step_index += 1
    assert before + run(copy, scene, 40) == whole


def test_stage_that_the_task_lacks_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'grasp'"):
        Probe(stage="grasb").draw(Stream(0, 0), FakeScene().task)


@pytest.mark.parametrize("predicate", ["height_m >", "height_m > x", "height m", "", "> 1", 3, "held; import os"])
def test_predicates_that_say_nothing_are_refused(predicate):
    with pytest.raises(ConfigError, match="predicate"):
        Probe(predicate=predicate)


def test_predicate_that_the_task_lacks_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'height_m'"):
        Probe(predicate="hight_m > 0.1").draw(Stream(0, 0), FakeScene().task)


def test_overlapping_edits_are_undone_whatever_the_order():
    """Two faults scale the same number; the one that began first ends first."""

    class Scale(Effect):
        def edit(self, scene):
            self.change(scene.model, "body_mass", 0, scene.model.body_mass[0] * self.record["scale"])

    plain = {"name": "scale", "stage": None, "predicate": None}
    first = Scale(plain | {"start_step": 2, "duration_steps": 5, "scale": 3.0}, Stream(0, 0))
    second = Scale(plain | {"start_step": 4, "duration_steps": 8, "scale": 0.1}, Stream(0, 0))
    scene, masses = FakeScene(), []
    scene._effects = [second, first]
    scene.model.body_mass[0] = 0.7
    for scene.step_index in range(14):
        scene._advance()
        masses.append(scene.model.body_mass[0])
    assert masses == [0.7] * 2 + [0.7 * 3.0] * 2 + [0.7 * 0.1 * 3.0] * 3 + [0.7 * 0.1] * 5 + [0.7] * 2


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -2.0, 0.0, 0.9, 5.1, [3, 2], [1], [1, 2, 3], [math.nan, 2], [2, math.nan]]
)
def test_magnitudes_out_of_bounds_are_refused(value):
    with pytest.raises(ConfigError, match="reach_m"):
        within("reach_m", value, 1.0, 5.0)


@pytest.mark.parametrize("value", [None, "2", "ab", True, [True, 2], ["1", "2"], {"min": 1, "max": 2}, [None, 2]])
def test_magnitudes_that_are_no_numbers_are_refused(value):
    with pytest.raises(ConfigError, match=r"reach_m must be a number or a pair \[min, max\]"):
        within("reach_m", value, 1.0, 5.0)


def test_bounds_themselves_are_allowed():
    assert within("reach_m", [1, 5], 1.0, 5.0) == (1.0, 5.0)
    assert within("reach_m", 3, 1.0, 5.0) == (3.0, 3.0)


@pytest.mark.parametrize("value", [2.5, [1, 2.5]])
def test_control_steps_are_whole(value):
    with pytest.raises(ConfigError, match="whole numbers"):
        within_steps("delay_steps", value, 1, 5)


@pytest.mark.parametrize(
    "schedule", [{"start_step": -1}, {"duration_steps": 0}, {"start_step": 1.5}, {"duration_steps": [4, 2]}]
)
def test_impossible_schedules_are_refused(schedule):
    with pytest.raises(ConfigError):
        Probe(**schedule)


@given(st.integers(0, 2**32), st.floats(1e-3, 10.0), st.floats(0.0, 10.0))
def test_draws_stay_within_bounds(seed, low, width):
    bounds = (low, low + width)
    assert bounds[0] <= uniform(np.random.default_rng(seed), bounds) <= bounds[1]
    length = float(np.hypot(*horizontal(np.random.default_rng(seed), bounds)))
    assert bounds[0] * (1 - 1e-12) <= length <= bounds[1] * (1 + 1e-12)


def test_whole_draws_reach_both_bounds_evenly():
    rng = np.random.default_rng(0)
    counts = np.bincount([uniform_int(rng, (3, 6)) for _ in range(4000)], minlength=8)
    assert counts[[0, 1, 2, 7]].sum() == 0
    assert (abs(counts[3:7] - 1000) < 120).all()  # 4.4 standard deviations


def test_horizontal_directions_are_uniform():
    rng = np.random.default_rng(0)
    x, y = np.array([horizontal(rng, (1.0, 1.0)) for _ in range(4000)]).T
    quadrants = np.bincount(2 * (x > 0) + (y > 0), minlength=4)
    assert (abs(quadrants - 1000) < 120).all()


def test_each_draw_takes_one_number_whatever_the_bounds():
    """So that widening one bound leaves every other drawn parameter as it was."""
    wide = Probe(start_step=[0, 50], duration_steps=[1, 9]).draw(Stream(0, 3), FakeScene().task)
    narrow = Probe(start_step=5).draw(Stream(0, 3), FakeScene().task)
    assert wide["draw"] == narrow["draw"]
    assert narrow["duration_steps"] == FOREVER


@pytest.mark.parametrize(
    "target",
    [
        "",
        "os.system",
        "workbench.envs.perturbations.none.None",
        "workbench.envs.perturbations.slip.Slop",
        "workbench.envs.perturbations.slip.np",
    ],
)
def test_records_make_nothing_but_perturbations(target):
    with pytest.raises(ConfigError):
        effect_of({"name": "slip", "target": target}, Stream(0, 0))
