"""Somebody's own object as a policy: what it may leave out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import workbench as wb
from tests.toy import ToyPolicy, ToyTask
from workbench.errors import ActionError, ConfigError, OtherSettingsError, UnknownNameError
from workbench.policies.own import OwnPolicy
from workbench.types import PolicyOutput

SEEN = {"place": np.zeros((3, 2, 1)), "images/top": np.zeros((3, 4, 4, 3), np.uint8)}
NOISE = [np.random.default_rng(number) for number in range(3)]


def forwards(observation):
    return np.ones((len(observation["place"]), 1))


class Planner:
    """Names what it wants of a call, and no more."""

    history, execute, horizon, listens = 2, 4, 8, True

    def plan(self, observation, instructions):
        return np.full((len(instructions), 8, 1), float(len(instructions)))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 4)

    def forward(self, observation):
        assert not torch.is_grad_enabled()
        return self.layer(observation["place"].flatten(1))[:, :, None]


def test_a_function_answers_one_action_a_call():
    policy = OwnPolicy(forwards)
    assert (policy.history, policy.execute, policy.horizon) == (1, 1, 1)
    np.testing.assert_array_equal(policy.plan(SEEN, NOISE).chunk, np.ones((3, 1, 1)))


def test_a_module_answers_chunks_without_gradients():
    net = Net()
    policy = OwnPolicy(net, history=2, execute=3)
    chunk = policy.plan(SEEN, NOISE).chunk
    assert chunk.shape == (3, 4, 1)
    np.testing.assert_allclose(chunk[0, :, 0], net.layer.bias.detach().numpy(), rtol=1e-6)
    assert not net.training


def test_an_object_with_plan_is_given_what_it_names():
    policy = OwnPolicy(Planner())
    assert (policy.history, policy.execute, policy.horizon, policy.listens) == (2, 4, 8, True)
    assert policy.plan(SEEN, NOISE, 5, instructions=["a", "b", "c"]).chunk.mean() == 3.0


def test_only_the_observations_that_it_asks_for_are_shown():
    shown = []
    OwnPolicy(lambda observation: shown.append(set(observation)) or np.ones((3, 1)), observations=["other"]).plan(
        SEEN, NOISE
    )
    assert shown == [{"images/top"}]


def test_a_whole_output_is_passed_on():
    output = PolicyOutput(np.zeros((3, 1, 1)), embedding=np.zeros((3, 2)))
    assert OwnPolicy(lambda observation: output).plan(SEEN, NOISE) is output


@pytest.mark.parametrize("answer", [np.zeros(3), np.zeros((2, 1)), np.zeros((3, 1, 1, 1)), np.zeros((3, 1, 1))])
def test_actions_of_another_shape_are_refused(answer):
    with pytest.raises(ActionError, match=r"3 scenes, where \(N, H, A\) with H of at least execute=2"):
        OwnPolicy(lambda observation: answer, execute=2).plan(SEEN, NOISE)


def test_what_is_no_policy_is_refused():
    with pytest.raises(ConfigError, match="is no policy: it needs a method plan"):
        wb.policy(object(), ToyTask())
    with pytest.raises(ConfigError, match="execute=0"):
        wb.policy(forwards, ToyTask(), execute=0)


def test_a_whole_policy_is_taken_as_it_is():
    policy = ToyPolicy()
    assert wb.policy(policy, ToyTask()) is policy


def test_it_is_rolled_into_a_store_of_its_own(tmp_path):
    task, path = ToyTask(), tmp_path / "own.zarr"
    store = wb.rollout(task, wb.policy(forwards, task), episodes=2, into=path, samples=0)
    assert len(store) == 2
    assert store.header.config["policy"]["by"] == "hand"
    assert len(wb.rollout(task, wb.policy(forwards, task), episodes=2, into=path, samples=0)) == 2
    with pytest.raises(OtherSettingsError, match="made by hand, which cannot be told from another"):
        wb.rollout(task, wb.policy(forwards, task), episodes=3, into=path, samples=0)


def test_one_with_a_name_goes_on_and_another_name_is_refused(tmp_path):
    task, path = ToyTask(), tmp_path / "own.zarr"
    wb.rollout(task, wb.policy(forwards, task, name="first"), episodes=2, into=path, samples=0)
    assert len(wb.rollout(task, wb.policy(forwards, task, name="first"), episodes=3, into=path, samples=0)) == 3
    with pytest.raises(OtherSettingsError, match=r"made with another policy\.name"):
        wb.rollout(task, wb.policy(forwards, task, name="second"), episodes=4, into=path, samples=0)


def test_it_does_not_travel_to_other_processes(tmp_path):
    task = ToyTask()
    with pytest.raises(ConfigError, match="made by hand and cannot travel to worker processes"):
        wb.rollout(task, wb.policy(forwards, task), episodes=60, into=tmp_path / "own.zarr", runner=wb.Processes(2, 1))


# Parts by name


def test_names_become_parts_and_a_wrong_one_lists_the_right_ones():
    assert wb.perturbation("action_bias", bias_fraction=0.1).name == "action_bias"
    with pytest.raises(UnknownNameError, match="Did you mean 'action_bias'"):
        wb.perturbation("action_bais")
    with pytest.raises(UnknownNameError, match="parameter of"):
        wb.score("rnd", epoch=3)
    with pytest.raises(ConfigError, match="has to be trained first"):
        wb.policy("flow", ToyTask())


def test_parts_are_named_after_their_class_and_never_twice():
    from workbench.config.named import nodes

    own = wb.score("rnd")
    assert list(nodes("score", ["stac", own])) == ["stac", "random_network_distillation"]
    with pytest.raises(ConfigError, match="two scores are called 'stac'"):
        nodes("score", ["stac", "stac"])
    with pytest.raises(ConfigError, match=r"must be a list of names, such as \['stac'\]"):
        nodes("score", "stac")
