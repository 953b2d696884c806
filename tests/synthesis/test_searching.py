"""Searches over faults, as a library: combinations of them, and what they need."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.config import Run, compose
from workbench.errors import ConfigError, UnknownNameError
from workbench.rollouts.setup import setup_of
from workbench.synthesis.axis import fault_axes
from workbench.synthesis.searching import failures_at, likely_failure, tolerance


def test_points_come_back_in_their_order_whoever_rolls_them(tmp_path):
    words = ["policy=expert", "perturbation=[mass,friction]"]
    severities = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.1], [0.0, 1.0], [1.0, 1.0], [0.1, 0.0]])
    rolled = []
    for workers in (1, 2):
        run = Run(compose([*words, f"runner.workers={workers}"]), tmp_path)
        axes = fault_axes(run.config["perturbation"])
        rolled.append(failures_at(setup_of(run), axes, severities, range(5, 7), split="select", seed=0))
    assert rolled[0].tolist() == rolled[1].tolist()
    assert rolled[0].mean(1).tolist() == [0.0, 1.0, 0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("look", [tolerance, likely_failure])
@pytest.mark.parametrize(
    ("words", "asked", "said"),
    [
        (["policy=expert", "perturbation=[]"], {}, "needs perturbations"),
        (["policy=expert", "perturbation=[mass]"], {"split": "tset"}, "Did you mean 'test'"),
        (["policy=expert", "perturbation=[slip]", "task=push_t"], {}, "leave it out"),
        (["policy=zoo/lift_flow", "perturbation=[paraphrase]"], {}, "does not listen to instructions"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_rolled(look, words, asked, said):
    run = Run(compose(words))
    with pytest.raises((ConfigError, UnknownNameError), match=said):
        look(run.task, run.policy(), run.config["perturbation"], **asked)
