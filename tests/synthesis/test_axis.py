"""Fault axes: what is varied of a perturbation, and what is not."""

from __future__ import annotations

import pytest

from workbench.config import Run, compose, made
from workbench.envs.perturbations.push import Push
from workbench.errors import ConfigError
from workbench.synthesis.axis import fault_axes
from workbench.types import Stream


def test_a_dial_turns_the_magnitude_alone():
    nodes = compose(["perturbation=[push,latency]", "perturbation.push.start_step=7"])["perturbation"]
    push, latency = fault_axes(nodes, axes=True)
    task = Run(compose([])).task
    record = push.at(2.5).draw(Stream(0, 1), task)
    assert sum(part**2 for part in record["force_n"]) ** 0.5 == pytest.approx(2.5)
    assert (record["start_step"], record["name"], push.axis) == (7, "push", None)
    assert latency.scale.whole
    assert latency.at(latency.scale.magnitude(0.5)).draw(Stream(0, 1), task)["latency_steps"] > 0
    assert (push.scale.low, push.scale.high, push.scale.worse) == (0.1, 50.0, "larger")
    assert fault_axes(compose(["perturbation=[friction]"])["perturbation"], True)[0].scale.worse == "smaller"


def test_axes_are_dials_of_their_own(monkeypatch):
    monkeypatch.setattr(Push, "axes", ("x", "y"))
    nodes = compose(["perturbation=[push,mass]"])["perturbation"]
    assert [(one.label, one.node.get("axis")) for one in fault_axes(nodes, True)] == [
        ("push x", "x"),
        ("push y", "y"),
        ("mass", None),
    ]
    assert [one.label for one in fault_axes(nodes, False)] == ["push", "mass"]


def test_a_perturbation_that_remembers_its_configuration_has_the_same_axis():
    nodes = compose(["perturbation=[push,friction]", "perturbation.push.start_step=7"])["perturbation"]
    parts = {name: made({**node, "force_n": 3.0} if name == "push" else node) for name, node in nodes.items()}
    assert fault_axes(parts) == fault_axes(nodes)


def test_a_perturbation_made_by_hand_has_no_axis():
    with pytest.raises(ConfigError, match=r"push was made by hand.*push\.Push"):
        fault_axes({"push": Push(force_n=3.0, duration_steps=5)})


@pytest.mark.parametrize(("task", "said"), [("push_t", "leave it out"), ("lift", "")])
def test_what_does_not_suit_a_task_is_said(task, said):
    run = Run(compose([f"task={task}", "policy=expert", "perturbation=[slip]"]))
    (slip,) = fault_axes(run.config["perturbation"])
    if not said:
        slip.suits(run.task, run.policy(), 0)
        return
    with pytest.raises(ConfigError, match=said):
        slip.suits(run.task, run.policy(), 0)
