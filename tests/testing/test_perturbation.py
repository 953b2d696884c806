"""A perturbation that breaks a law of its contract is caught, by that law.

That every yaml of conf/perturbation keeps them is tried law by law in tests/envs/test_every_perturbation.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.toy import ToyTask, turned
from workbench.envs.faults import Effect, Magnitude, Specification, uniform
from workbench.envs.perturbations.slip import Slip
from workbench.envs.tasks.lift import Lift
from workbench.errors import ContractError
from workbench.testing import check_perturbation
from workbench.testing.perturbation import LAWS, Nominal

TASK = Lift()


class WeakEffect(Effect):
    def action(self, scene, action):
        return action * (1 - self.record["loss_fraction"]) if self.active(scene.step_index) else action


class Weak(Specification):
    """A correct fault to break: actions lose a part of their length."""

    channel, effect, magnitude = "action", WeakEffect, Magnitude("loss_fraction", 0.05, 1.0)

    def __init__(self, loss_fraction, **schedule):
        super().__init__(**schedule)
        self.loss_fraction = self.magnitude.within(loss_fraction)

    def parameters(self, rng):
        return {"loss_fraction": uniform(rng, self.loss_fraction)}

    @classmethod
    def phrase(cls, record):
        return f"actions lose {record['loss_fraction']:.2f} of their length"


def test_the_correct_one_passes():
    assert check_perturbation(Weak([0.3, 0.6]), TASK) == tuple(law.__name__ for law in LAWS)


def test_the_task_is_lift_unless_another_is_given():
    check_perturbation(Weak(0.5))


def test_what_cannot_happen_on_a_task_is_said():
    """Slip waits for nothing here, but on a task without fingers it is refused when drawn."""
    check_perturbation(Slip(12), TASK)
    with pytest.raises(ContractError, match=r"draw.*raises"):
        check_perturbation(Slip(12), ToyTask())


def effect(**methods):
    """A fault with another effect."""
    return {"effect": type("BrokenEffect", (WeakEffect,), methods)}


def always(self, scene, action):
    return action * 0.5


def never(self, scene, action):
    return action


def one_step_late(self, scene, action):
    return action * 0.5 if self.active(scene.step_index - 1) or self.active(scene.step_index) else action


def from_nowhere(self, scene, action):
    return action + 0.1 * np.random.default_rng().normal(size=7) if self.active(scene.step_index) else action


def from_the_global_stream(self, scene, action):
    return action + 0.1 * np.random.normal(size=7) if self.active(scene.step_index) else action  # noqa: NPY002


def edited_for_good(self, scene):
    scene.model.body_mass[scene.model.body("cube_main").id] *= 2.0


def halved_and_doubled(self, kept=0):
    while self._changed:
        array, index, before = self._changed.pop()
        array[index] = before * 1.0000001


def heavier(self, scene):
    self.change(scene.model, "body_mass", scene.model.body("cube_main").id, 0.3)


def remembers_on_itself(self, scene, action):
    """Weaker from call to call, which no snapshot keeps."""
    if not self.active(scene.step_index):
        return action
    self.calls = getattr(self, "calls", 0) + 1
    return action * 0.9**self.calls


def of_another_stream(self, scene, action):
    """Noise of a stream that others share: how many there are decides it."""
    if not self.active(scene.step_index):
        return action
    return action * (0.5 if len(scene._effects) == 1 else 0.6)


def keeps_showing(self, scene, observation):
    return {key: value + (self.started >= 0) for key, value in observation.items()}


BROKEN = {
    "does not survive JSON": {"parameters": lambda self, rng: {"loss_fraction": np.float32(0.5), "a": np.zeros(2)}},
    "its channel 'actuator' is none of": {"channel": "actuator"},
    "its record lacks .*'start_step'": {
        "draw": lambda self, stream, task: {"name": "weak", "channel": "action", "target": "x", "loss_fraction": 0.5}
    },
    "which is not its class": {"draw": lambda self, s, task: Weak.draw(self, s, task) | {"target": "mylab.x.Y"}},
    "must say in one line what was drawn": {"phrase": classmethod(lambda cls, record: "lost\nsome")},
    "it has no magnitude": {
        "magnitude": None,
        "__init__": lambda self: Specification.__init__(self),
        "parameters": lambda self, rng: {"loss_fraction": 0.4},
    },
    "the lowest must be above zero": {
        "magnitude": Magnitude("loss_fraction", 0.0, 1.0),
    },
    "its records lack gain_fraction": {
        "magnitude": Magnitude("gain_fraction", 0.1, 1.0),
        "__init__": lambda self, gain_fraction=0.5: (
            Specification.__init__(self),
            setattr(self, "loss_fraction", (1, 1)),
        )[0],
    },
    r"it drew a loss_fraction of \[1\.5\]": {"parameters": lambda self, rng: {"loss_fraction": 1.5}},
    "loss_fraction=0 is not refused": {
        "__init__": lambda self, loss_fraction: (
            Specification.__init__(self),
            setattr(self, "loss_fraction", (loss_fraction, loss_fraction)),
        )[0]
    },
    "one stream gives two faults": {
        "parameters": lambda self, rng: {"loss_fraction": float(np.random.default_rng().uniform(0.3, 0.6))}
    },
    "all get the same fault": {
        "parameters": lambda self, rng: {"loss_fraction": 0.4},
        "__init__": lambda self, loss_fraction: (
            Weak.__init__(self, loss_fraction),
            setattr(self, "loss_fraction", (0.3, 0.6)),
        )[0],
    },
    r"global stream of numpy\.random": {
        "parameters": lambda self, rng: (np.random.normal(), {"loss_fraction": 0.4})[1]  # noqa: NPY002
    },
    "scheduled for control step 14 it strikes at -1": effect(advance=lambda self, scene: None),
    "before it strikes at control step 14": effect(action=always),
    "changes the state of the world as it strikes": effect(
        strike=lambda self, scene: scene.data.qvel.__setitem__(slice(0, 3), 0.3)
    ),
    "a fault that does nothing": effect(action=never),
    "it is over, and actions are still changed": effect(action=one_step_late),
    r"it is over, and \[.*\] is still seen otherwise": effect(observation=keeps_showing),
    "the model's body_mass differ from before": effect(edit=edited_for_good),
    "model's .*body_mass.* differ": effect(edit=heavier, undo=halved_and_doubled),
    "replayed from its record|two faults|leads? elsewhere": effect(action=from_nowhere),
    r"draws from the global stream of numpy": effect(action=from_the_global_stream),
    r"restored at control step \d+ the same actions lead elsewhere": effect(action=remembers_on_itself),
    "scheduled for zero steps it still changes": effect(
        action=lambda self, scene, action: (
            action * 0.5
            if 0 <= self.started <= scene.step_index <= self.started + max(self.record["duration_steps"] - 1, 0)
            else action
        )
    ),
    "beside others that never strike it does something else": effect(action=of_another_stream),
    "suits raises AttributeError": {"suits": lambda self, policy: policy.weights},
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_perturbation_is_caught(message):
    broken = type("Broken", (Weak,), BROKEN[message])
    needless = "its records lack gain" in message or "it has no magnitude" in message
    with pytest.raises(ContractError, match=message):
        check_perturbation(broken() if needless else broken(0.5), TASK)


def test_an_episode_of_a_task_without_a_plan_is_driven_by_chance():
    nominal = Nominal(ToyTask(), steps=6)
    assert len({action.tobytes() for action in nominal.actions}) == 6
    again = Nominal(ToyTask(), steps=6)
    assert again.trace.all() == nominal.trace.all()
    assert nominal.run([turned(1, 5)]).all() != nominal.trace.all()
