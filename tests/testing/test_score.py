"""A score that breaks a law of its contract is caught, by that law."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from workbench.config import build
from workbench.errors import ContractError, ScoreError
from workbench.testing import check_score
from workbench.testing.score import LAWS, ScoreCase, call_of, made_up

SCORES = sorted((Path(__file__).parents[2] / "conf" / "score").glob("*.yaml"))
SMALL = {"epochs": 20, "iterations": 30, "width": 8, "members": 2}
"""Sizes with which what learns is quick; no law depends on them."""
TOKENS = ("token_entropy", "token_probability")


def small(path):
    node = yaml.safe_load(path.read_text())[path.stem]
    return build({key: SMALL[key] if key in SMALL and value is not None else value for key, value in node.items()})


def of_tokens(score, seed):
    """An episode whose signals are one number a token."""
    one = made_up(score.needs, seed)
    rng = np.random.default_rng(seed)
    for name in one.signals:
        one.signals[name] = rng.uniform(-3, -0.1, (6, 5)) if "logprobs" in name else rng.random((6, 5))
    return one


@pytest.mark.parametrize("path", SCORES, ids=lambda path: path.stem)
def test_every_score_keeps_the_contract(path):
    score, given = small(path), {}
    if path.stem in TOKENS:
        given = {
            "episodes": [of_tokens(score, seed) for seed in range(4)],
            "fresh": [of_tokens(score, seed) for seed in range(10, 13)],
        }
    assert set(check_score(score, **given)) > {law.__name__ for law in LAWS}


class Distance:
    """A correct score to break: how far the embedding is from the mean of those that succeeded."""

    needs = frozenset({"embedding"})

    def __init__(self):
        self.mean = None

    def fit(self, episodes, seed):
        self.mean = np.concatenate([episode.embedding for episode in episodes]).mean(axis=0)

    def begin(self):
        return {}

    def update(self, memories, call):
        if call.embedding is None:
            raise ScoreError("score distance needs the policy's embedding")
        return np.linalg.norm(call.embedding.astype(np.float64) - self.mean, axis=1)

    def state(self):
        return {"mean": self.mean}

    def load(self, state):
        self.mean = state["mean"]


def test_the_correct_one_passes():
    check_score(Distance())


def update_by(change):
    return {"update": lambda self, memories, call: change(self, memories, call, Distance.update(self, memories, call))}


def counted(self, memories, call, scores):
    self.calls = getattr(self, "calls", 0) + 1
    return scores + self.calls


def ticked(self, memories, call, scores):
    """By the number of calls so far, taken from the first scene for all."""
    memories[0]["calls"] = memories[0].get("calls", 0) + 1
    return scores + memories[0]["calls"]


def drawn_once(self, episodes, seed):
    Distance.fit(self, episodes, seed)
    self.mean = self.mean + np.random.default_rng().normal()


def drawn_globally(self, episodes, seed):
    Distance.fit(self, episodes, seed)
    np.random.seed(seed)  # noqa: NPY002
    self.mean = self.mean + 0 * np.random.normal()  # noqa: NPY002


def forgets_a_scale(self, episodes, seed):
    Distance.fit(self, episodes, seed)
    self.scale = len(episodes)


def peeking(self, memories, call, scores):
    return scores + (0 if call.samples is None else call.samples.mean(axis=(1, 2, 3)))


def peeking_hard(self, memories, call, scores):
    return scores + call.signals["undeclared"]


BROKEN = {
    "must be a frozenset of": {"needs": ["embedding"]},
    "must be a frozenset": {"needs": frozenset({"embeding"})},
    "it has no state": {"state": None},
    "fit raises AttributeError": {"fit": lambda self, episodes, seed: self.nothing},
    r"one score a scene, \(N,\)": update_by(lambda self, memories, call, scores: scores[:, None]),
    "update returns an array of shape": update_by(lambda self, memories, call, scores: scores.mean()),
    "score of an ordinary call is": update_by(lambda self, memories, call, scores: scores / 0.0),
    "two fits on the same episodes": {"fit": drawn_once},
    r"global stream of numpy\.random": {"fit": drawn_globally},
    "begin returns the same memory twice": {"begin": lambda self, memory={}: memory},
    "score differently the second time": update_by(counted),
    "alone than beside others": update_by(lambda self, memories, call, scores: scores - scores.mean()),
    "place of a scene|alone than beside others": update_by(lambda self, m, c, scores: scores + np.arange(len(scores))),
    "begin at different moments|alone than beside others": update_by(ticked),
    "gives other scores": {"fit": forgets_a_scale, **update_by(lambda self, m, c, s: s * getattr(self, "scale", 1))},
    "must be arrays of numbers": {"state": lambda self: {"mean": self.mean, "who": np.array(["me"])}},
    "must be arrays of numbers: they": {"state": lambda self: {"mean": self.mean.tolist()}},
    "load into a new score raises": {"load": lambda self, state: state["nothing"]},
    "comes out of it changed": {"load": lambda self, state: setattr(self, "mean", state["mean"].astype(float) + 1e-12)},
    "scores differently without what its needs": update_by(peeking),
    "update raises KeyError": update_by(peeking_hard),
    "a call without its embedding is not refused": {
        "update": lambda self, m, call: np.zeros(len(m)) if call.embedding is None else Distance.update(self, m, call)
    },
    "a call without its embedding raises TypeError": {
        "update": lambda self, m, call: np.linalg.norm(call.embedding - self.mean, axis=1)
    },
    "changes the scores of others|alone than beside others": update_by(
        lambda self, m, c, scores: scores + scores.max()
    ),
    "is lost: its score is": update_by(lambda self, m, c, scores: np.nan_to_num(scores)),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_score_is_caught(message):
    with np.errstate(divide="ignore"), pytest.raises(ContractError, match=message):
        check_score(type("Broken", (Distance,), BROKEN[message])())


class Slope(Distance):
    """Rises with the length of the episode so far, which it keeps on itself: wrong as soon as scenes begin apart."""

    def update(self, memories, call):
        if (call.step == 0).all():
            self.longest = 0
        self.longest = max(self.longest, int(call.step.max()))
        return Distance.update(self, memories, call) + self.longest


def test_what_only_a_live_rollout_shows_is_caught():
    case = ScoreCase.of(Slope())
    with pytest.raises(ContractError, match="begin at different moments"):
        next(law for law in LAWS if law.__name__ == "live_is_offline")(case)


class Foresight(Distance):
    """Divides by the number of calls of whatever it was fitted on longest; and by that of the batch it is shown."""

    def update(self, memories, call):
        for memory, step in zip(memories, call.step, strict=True):
            memory["last"] = max(memory.get("last", 0), int(step))
        return Distance.update(self, memories, call) / (1 + memories[0]["last"])


def test_a_memory_is_the_scenes_own():
    with pytest.raises(ContractError, match="begin at different moments"):
        check_score(Foresight())


def test_calls_can_be_at_different_places():
    episodes = [made_up(frozenset({"embedding"}), seed) for seed in range(3)]
    call = call_of(episodes, [2, 0, 5])
    assert call.step.tolist() == [8, 0, 20]
    assert np.array_equal(call.embedding[2], episodes[2].embedding[5])
