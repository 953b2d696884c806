"""A policy that breaks a law of its contract is caught, by that law."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.toy import ToyPolicy
from workbench.config import Run, compose
from workbench.envs.tasks.lift import Lift
from workbench.errors import ContractError
from workbench.testing import check_policy
from workbench.testing.policy import LAWS
from workbench.types import PolicyOutput

TASK = Lift()


@pytest.mark.parametrize("name", ["expert", "zoo/lift_flow", "zoo/lift_diffusion"])
def test_our_policies_keep_the_contract(name):
    run = Run(compose([f"policy={name}", "task=lift"]))
    assert set(check_policy(run.policy(), run.task)) > {law.__name__ for law in LAWS}


@pytest.mark.parametrize(("name", "task"), [("zoo/push_t_flow", "push_t"), ("zoo/blocks_language", "blocks")])
def test_policies_of_other_tasks_keep_the_contract(name, task):
    run = Run(compose([f"policy={name}", f"task={task}"]))
    check_policy(run.policy(), run.task)


class Wander:
    """A correct policy to break: the hand drifts as its noise says; with weights that can be saved."""

    history, horizon, execute = 2, 4, 2
    privileged = listens = False
    cameras, signals = (), ("doubt",)

    def __init__(self, scale=0.1):
        self.scale = scale

    def plan(self, observation, noise, samples=0, signals=()):
        seen = observation["eef_pos"][:, -1]
        chunk = np.stack([self.drawn(rng) for rng in noise]) + seen.mean(axis=1)[:, None, None]
        drawn = np.stack([[self.drawn(rng) for _ in range(samples)] for rng in noise]) if samples else None
        return PolicyOutput(chunk, drawn, seen, {name: np.abs(chunk).mean(axis=(1, 2)) for name in signals})

    def drawn(self, rng):
        return self.scale * rng.standard_normal((self.horizon, 7))

    def save(self, folder):
        (folder / "policy.json").write_text(json.dumps({"scale": self.scale}))

    @classmethod
    def load(cls, folder: Path, task, observation_sizes, image_sizes):
        return cls(**json.loads((folder / "policy.json").read_text()))


def test_the_correct_one_passes():
    check_policy(Wander(), TASK)


def plan_by(change):
    """The plan, changed by a function of (self, observation, noise, samples, output)."""

    def plan(self, observation, noise, samples=0, signals=()):
        output = Wander.plan(self, observation, noise, samples, signals)
        return change(self, observation, noise, samples, output) or output

    return {"plan": plan}


def with_parts(**changes):
    def change(self, observation, noise, samples, output):
        parts = {name: getattr(output, name) for name in ("chunk", "samples", "embedding", "signals")}
        return PolicyOutput(**parts | {name: make(parts[name]) for name, make in changes.items()})

    return plan_by(change)


def remembering(self, observation, noise, samples, output):
    self.last = getattr(self, "last", 0.0) + float(observation["eef_pos"].sum())
    return PolicyOutput(output.chunk + self.last, output.samples, output.embedding)


def scribbling(self, observation, noise, samples, output):
    observation["eef_pos"][:] = 0.0


def shared_noise(self, observation, noise, samples=0, signals=()):
    chunk = np.stack([self.drawn(noise[0]) for _ in noise])
    drawn = np.stack([[self.drawn(noise[0]) for _ in range(samples)] for _ in noise]) if samples else None
    return PolicyOutput(chunk, drawn, observation["eef_pos"][:, -1], {name: chunk[:, 0, 0] for name in signals})


def samples_first(self, observation, noise, samples=0, signals=()):
    drawn = np.stack([[self.drawn(rng) for _ in range(samples)] for rng in noise]) if samples else None
    chunk = np.stack([self.drawn(rng) for rng in noise])
    return PolicyOutput(chunk, drawn, observation["eef_pos"][:, -1], {name: chunk[:, 0, 0] for name in signals})


def from_nowhere(self, rng):
    return np.random.default_rng().standard_normal((self.horizon, 7))


def from_the_global_stream(self, rng):
    np.random.seed(0)  # noqa: NPY002
    return np.random.standard_normal((self.horizon, 7))  # noqa: NPY002


def otherwise_when_asked(self, observation, noise, samples=0, signals=()):
    output = Wander.plan(self, observation, noise, samples, signals)
    return PolicyOutput(output.chunk + len(signals), output.samples, output.embedding, output.signals)


BROKEN = {
    "must be whole numbers from 1 up": {"history": 0},
    "execute=9 actions of a chunk": {"execute": 9},
    "must each be True or False": {"listens": None},
    r"cameras='wrist' must be names": {"cameras": "wrist"},
    "looks through .*'wrist'.*set task.cameras": {"cameras": ("wrist",)},
    "it has no plan": {"plan": None},
    "plan for 3 scenes with samples=4 raises KeyError": {"plan": lambda self, o, noise, samples=0, **_: o["nothing"]},
    r"its chunk is ndarray of shape \(3, 4, 6\)": with_parts(chunk=lambda c: c[..., :6]),
    "its chunk is list": with_parts(chunk=lambda c: c.tolist()),
    r"its samples is ndarray of shape \(4, 3, 4, 7\)": with_parts(
        samples=lambda s: None if s is None else s.swapaxes(0, 1)
    ),
    "chunk of an ordinary observation is not finite": with_parts(chunk=lambda c: c / 0.0),
    r"one vector a scene, \(N, D\)": with_parts(embedding=lambda e: e[0]),
    "samples where none are asked for": with_parts(samples=lambda s: np.zeros((3, 4, 4, 7)) if s is None else s),
    "give another plan": {"drawn": from_nowhere},
    r"global stream of numpy\.random": {"drawn": from_the_global_stream},
    "plans another chunk than with": {"plan": samples_first},
    "give another plan; is something drawn|holds? no state": plan_by(remembering),
    "alone gets another plan": with_parts(chunk=lambda c: c - c.mean()),
    "alone gets another plan than beside others": {"plan": shared_noise},
    "writes into the observations": plan_by(scribbling),
    "asked for doubt it says": with_parts(signals=lambda s: {}),
    "asked for doubt it plans otherwise": {"plan": otherwise_when_asked},
    "saved and loaded it plans differently": {"save": lambda self, f: (f / "policy.json").write_text('{"scale": 0.2}')},
    "save, then load raises": {"save": lambda self, folder: None},
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_policy_is_caught(message):
    with np.errstate(divide="ignore"), pytest.raises(ContractError, match=message):
        check_policy(type("Broken", (Wander,), BROKEN[message])(), TASK)


class Moody(Wander):
    """Answers the same question the same way, until it was asked another one in between."""

    asked = None

    def plan(self, observation, noise, samples=0, signals=()):
        before, self.asked = self.asked, len(noise)
        output = Wander.plan(self, observation, noise, samples, signals)
        jump = 0.0 if before in (None, len(noise)) else 1.0
        return PolicyOutput(output.chunk + jump, output.samples, output.embedding, output.signals)


def test_state_that_only_another_call_shows_is_caught():
    with pytest.raises(ContractError, match="after a call for another scene it plans differently"):
        check_policy(Moody(), TASK)


def test_the_toy_policy_is_none_for_lift():
    with pytest.raises(ContractError, match="raises KeyError: 'place'"):
        check_policy(ToyPolicy(), TASK)
