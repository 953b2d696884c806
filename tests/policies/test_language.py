"""The language policy: it finds what it is told to by its camera, and keeps to the laws of chunk policies."""

from __future__ import annotations

import inspect
import json
import sys
import types
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch

from workbench.errors import CheckpointError, ConfigError, ObservationError, UnknownNameError
from workbench.policies.chunks.chunk_policy import ChunkPolicy
from workbench.policies.chunks.settings import ChunkSettings
from workbench.policies.language import LanguagePolicy
from workbench.policies.learning.demonstrations import windows_of
from workbench.policies.learning.training import train
from workbench.policies.networks import text
from workbench.policies.networks.text import PADDING, UNKNOWN, CompactText, SentenceText, vocabulary_of
from workbench.types import Demonstration

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 80, 230)}
SIZES: dict[str, Any] = {"hidden": 128, "blocks": 1, "embedding": 32, "horizon": 1, "execute": 1, "cameras": ["top"]}
TINY: dict[str, Any] = SIZES | {"hidden": 32, "embedding": 8, "horizon": 2}
HALF_PX = 13.0


def picture(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A picture of three squares that do not overlap, and where each is, x and y in -1..1."""
    image = np.full((32, 32, 3), 110, np.uint8)
    places = {}
    for (colour, paint), cell in zip(COLOURS.items(), rng.permutation(16), strict=False):
        y, x = np.array(divmod(int(cell), 4)) * 8 + rng.integers(0, 3, 2)
        image[y : y + 6, x : x + 6] = paint
        places[colour] = np.array([x, y]) / HALF_PX - 1
    return image, places


def instruction(colour: str) -> str:
    return f"go to the {colour} square"


def demonstrations(count: int, steps: int = 16, told: bool = True) -> list[Demonstration]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        colour = list(COLOURS)[number % 3]
        seen = [picture(rng) for _ in range(steps)]
        observation = {"hand": rng.normal(size=(steps, 2)), "images/top": np.stack([image for image, _ in seen])}
        actions = np.stack([places[colour] for _, places in seen])
        made.append(Demonstration(observation, actions, instruction(colour) if told else ""))
    return made


def views(count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Observations of scenes that no training saw, and the places (N, 3, 2) of the squares in them."""
    rng = np.random.default_rng(9)
    seen = [picture(rng) for _ in range(count)]
    observation = {"hand": rng.normal(size=(count, 1, 2)), "images/top": np.stack([image for image, _ in seen])}
    return observation, np.array([[places[colour] for colour in COLOURS] for _, places in seen])


def noise(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(100 + scene) for scene in range(count)]


def reached(policy: LanguagePolicy, told: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which square is nearest to each answer, and how far it is from every one (N, 3), in pixels."""
    observation, places = views(len(told))
    answers = policy.plan(observation, noise(len(told)), instructions=told).chunk[:, 0]
    apart = HALF_PX * np.linalg.norm(answers[:, None] - places, axis=2)
    return apart.argmin(axis=1), apart


def learn(demos: list[Demonstration]) -> LanguagePolicy:
    """A policy after 11 CPU seconds of training."""
    policy = LanguagePolicy(**SIZES)
    settings: dict[str, Any] = {"learning_rate": 3e-3, "warmup": 30, "ema_decay": 0.98}
    train(policy, demos, task="toy", iterations=320, batch=64, draws=2, **settings)
    return policy


@pytest.fixture(scope="module")
def able() -> LanguagePolicy:
    return learn(demonstrations(201))


@pytest.fixture(scope="module")
def policy() -> LanguagePolicy:
    made = LanguagePolicy(**TINY)
    train(made, demonstrations(6, 4), task="toy", iterations=20, batch=8, warmup=2, learning_rate=1e-2)
    return made


TOLD = np.arange(150) % 3


def test_it_takes_every_setting_of_a_policy_of_chunks_and_refuses_others() -> None:
    parameters = inspect.signature(ChunkPolicy.__init__, eval_str=True).parameters.values()
    shared = {each.name: each.annotation for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}
    assert get_type_hints(ChunkSettings) == shared
    with pytest.raises(TypeError, match="unexpected keyword argument 'hiden'"):
        LanguagePolicy(**TINY, hiden=32)


def test_goes_where_it_is_told(able: LanguagePolicy) -> None:
    nearest, apart = reached(able, [instruction(list(COLOURS)[asked]) for asked in TOLD])
    assert (nearest == TOLD).mean() > 0.95
    assert np.median(apart[np.arange(150), TOLD]) < 2.0


def test_told_wrongly_it_goes_to_the_wrong_one(able: LanguagePolicy) -> None:
    """The same pictures and noise, another word: the answer moves with the word, not with the picture."""
    wrong = (TOLD + 1) % 3
    nearest, _ = reached(able, [instruction(list(COLOURS)[asked]) for asked in wrong])
    assert (nearest == wrong).mean() > 0.95


def test_told_nothing_or_the_unknown_it_still_answers(able: LanguagePolicy) -> None:
    for told in ("", "  ", "?!", "fetch some mauve thing"):
        _, apart = reached(able, [told] * 30)
        assert np.isfinite(apart).all()


def test_case_and_punctuation_do_not_matter(able: LanguagePolicy) -> None:
    plain, _ = reached(able, [instruction("green")] * 9)
    loud, _ = reached(able, ["Go to the GREEN square!"] * 9)
    np.testing.assert_array_equal(plain, loud)


def test_without_being_told_it_cannot_be_learnt() -> None:
    policy = learn(demonstrations(201, told=False))
    nearest, _ = reached(policy, [instruction(list(COLOURS)[asked]) for asked in TOLD])
    assert (nearest == TOLD).mean() < 0.5


def test_missing_or_misfit_instructions_are_refused_in_one_line(policy: LanguagePolicy) -> None:
    seen, _ = views(3)
    for told in (None, ["go"], ["go"] * 4, ["go", "go", 3], "abc"):
        with pytest.raises(ObservationError, match="instructions") as caught:
            policy.plan(seen, noise(3), instructions=told)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def mixed(count: int) -> list[str]:
    return [["", instruction("red"), "nothing known", instruction("blue")][scene % 4] for scene in range(count)]


def test_company_and_samples_do_not_change_a_scene(policy: LanguagePolicy) -> None:
    seen, _ = views(40)
    together = policy.plan(seen, noise(40), samples=3, instructions=mixed(40))
    fewer = policy.plan(seen, noise(40), instructions=mixed(40))
    np.testing.assert_array_equal(fewer.chunk, together.chunk)
    for scene in (0, 17, 39):
        one = {key: values[scene : scene + 1] for key, values in seen.items()}
        alone = policy.plan(one, [noise(40)[scene]], samples=3, instructions=[mixed(40)[scene]])
        for name in ("chunk", "samples", "embedding"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[scene])


def test_round_trip_is_exact_and_keeps_the_words(policy: LanguagePolicy, tmp_path: Path) -> None:
    policy.save(tmp_path)
    again = LanguagePolicy.load(tmp_path, "toy", {"hand": 2})
    seen, _ = views(3)
    ours, theirs = (each.plan(seen, noise(3), 2, instructions=mixed(3)) for each in (policy, again))
    for name in ("chunk", "samples", "embedding"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    record = json.loads((tmp_path / "policy.json").read_text())
    assert record["config"]["vocabulary"] == ["blue", "go", "green", "red", "square", "the", "to"]
    assert again.config == policy.config


@pytest.mark.parametrize("kind", ["swapped", "renamed", "shorter", "longer", "doubled", "not words", "none", "numbers"])
def test_tampered_vocabulary_is_refused_in_one_line(policy: LanguagePolicy, tmp_path: Path, kind: str) -> None:
    policy.save(tmp_path)
    record = json.loads((tmp_path / "policy.json").read_text())
    del record["record_sha256"]
    words = record["config"]["vocabulary"]
    record["config"]["vocabulary"] = {
        "swapped": [words[3], *words[1:3], words[0], *words[4:]],
        "renamed": ["cyan", *words[1:]],
        "shorter": words[:-1],
        "longer": [*words, "yellow"],
        "doubled": [words[1], *words[1:]],
        "not words": ["go to", *words[1:]],
        "none": None,
        "numbers": [1, *words[1:]],
    }[kind]
    (tmp_path / "policy.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError) as caught:
        LanguagePolicy.load(tmp_path)
    assert "\n" not in str(caught.value)


class InterruptedHereError(Exception):
    pass


def weights(policy: LanguagePolicy) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in policy.network.state_dict().items()}


def test_resumed_training_equals_uninterrupted(tmp_path: Path) -> None:
    """With instructions dropped at random: those draws must go on where they stopped, too."""
    recipe: dict[str, Any] = {"task": "toy", "iterations": 12, "batch": 8, "warmup": 2, "draws": 2}

    def stop(done: int, loss: float) -> None:
        if done == 8:
            raise InterruptedHereError

    def fresh() -> LanguagePolicy:
        return LanguagePolicy(**TINY, instruction_dropout=0.3, crop_px=28)

    demos = demonstrations(6, 4)
    straight, resumed = fresh(), fresh()
    train(straight, demos, **recipe)
    with pytest.raises(InterruptedHereError):
        train(fresh(), demos, **recipe, folder=tmp_path, save_every=5, progress=stop)
    train(resumed, demos, **recipe, folder=tmp_path)
    for name, values in weights(straight).items():
        np.testing.assert_array_equal(weights(resumed)[name], values)


def test_dropout_empties_instructions_as_often_as_asked_and_nothing_else() -> None:
    policy = LanguagePolicy(**TINY, instruction_dropout=0.25)
    train(policy, demonstrations(6, 4), task="toy", iterations=1, batch=2)
    inputs = {"text": torch.full((4000, 3), 5), "state": torch.ones(4000, 1, 2)}
    varied = policy.network.augment(inputs, torch.Generator().manual_seed(0))
    emptied = (varied["text"] == PADDING).all(dim=1)
    assert 0.22 < emptied.float().mean() < 0.28
    assert (varied["text"][~emptied] == 5).all()
    assert torch.equal(varied["state"], inputs["state"])
    assert (inputs["text"] == 5).all()


def test_every_window_is_told_what_its_own_demonstration_was(policy: LanguagePolicy) -> None:
    demos = demonstrations(3, 4)
    seen, _ = windows_of(policy, demos).batch(torch.tensor([0, 3, 4, 11]))
    expected = policy.text.encode([instruction(colour) for colour in ("red", "red", "green", "blue")])
    assert torch.equal(seen["text"], expected)


def test_words_become_ids() -> None:
    words = CompactText(vocabulary_of(["Lift the cube!", "the  red, cube"]))
    assert words.vocabulary == ("cube", "lift", "red", "the")
    ids = words.encode(["lift THE mauve cube", "", " ".join(["red"] * 40)])
    assert ids[0, :5].tolist() == [3, 5, UNKNOWN, 2, PADDING]
    assert (ids[1] == PADDING).all()
    assert (ids[2] == 4).all()


def test_order_of_words_matters(policy: LanguagePolicy) -> None:
    """ "red on green" is not "green on red"."""
    seen, _ = views(1)
    one, other = (
        policy.plan(seen, noise(1), instructions=[told]).embedding for told in ("red to green", "green to red")
    )
    assert one is not None
    assert other is not None
    assert np.abs(one - other).max() > 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text": "compakt"}, "compact"),
        ({"instruction_dropout": 1.0}, "instruction_dropout"),
        ({"cameras": []}, "cameras"),
        ({"hidden": 18}, "hidden"),
        ({"vocabulary": ["go to"]}, "vocabulary"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LanguagePolicy(**{**TINY, **settings})


def test_unknown_text_encoder_is_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError):
        LanguagePolicy(text="bert")


# A pretrained sentence encoder, played by a fake of the package


class FakeEncoder:
    """Gives every sentence a vector that its letters decide, and the more sentences at once another rounding."""

    def __init__(self, folder: str, device: str, local_files_only: bool) -> None:
        assert local_files_only
        self.salt = (Path(folder) / "salt").read_text()

    def encode(self, sentences: list[str], show_progress_bar: bool) -> np.ndarray:
        seeds = [[*f"{self.salt} {each}".encode()] for each in sentences]
        vectors = np.stack([np.random.default_rng(seed).normal(size=12) for seed in seeds])
        return (vectors * (1 + 1e-6 * len(sentences))).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = types.ModuleType("sentence_transformers")
    package.SentenceTransformer = FakeEncoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    text.sentence_model.cache_clear()
    weights = tmp_path / "encoder"
    weights.mkdir()
    (weights / "salt").write_text("one")
    (weights / "modules.json").write_text("[]")
    return weights


def test_sentence_encoder_is_used_frozen_and_checked(folder: Path, tmp_path: Path) -> None:
    policy = LanguagePolicy(**TINY, text="sentence", text_weights=str(folder))
    train(policy, demonstrations(6, 4), task="toy", iterations=10, batch=4, warmup=1)
    assert policy.text.encode(["", "go"])[0].abs().max() == 0
    seen, _ = views(20)
    together = policy.plan(seen, noise(20), instructions=mixed(20)).chunk
    one = {key: values[18:19] for key, values in seen.items()}
    alone = policy.plan(one, noise(20)[18:19], instructions=mixed(20)[18:19]).chunk
    np.testing.assert_array_equal(alone[0], together[18])
    assert (np.abs(together - policy.plan(seen, noise(20), instructions=[""] * 20).chunk).max(axis=(1, 2)) > 0)[1]
    policy.save(tmp_path / "policy")
    again = LanguagePolicy.load(tmp_path / "policy").plan(seen, noise(20), instructions=mixed(20)).chunk
    np.testing.assert_array_equal(again, together)
    (folder / "salt").write_text("another")
    text.sentence_model.cache_clear()
    with pytest.raises(CheckpointError, match="another sentence encoder"):
        LanguagePolicy.load(tmp_path / "policy")


def test_company_does_not_change_a_sentence(folder: Path) -> None:
    encoder = SentenceText(str(folder))
    assert torch.equal(encoder.encode(["a", "b", "c"])[1], SentenceText(str(folder)).encode(["b"])[0])


def test_what_is_missing_of_the_sentence_encoder_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="vocabulary"):
        LanguagePolicy(text="sentence", text_weights=str(folder), vocabulary=["go"])
    for weights in ("", str(folder / "nowhere")):
        with pytest.raises(ConfigError, match=r"text_weights.*folder"):
            LanguagePolicy(text="sentence", text_weights=weights)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    text.sentence_model.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install sentence-transformers.*text_weights") as caught:
        LanguagePolicy(text="sentence", text_weights=str(folder))
    assert "\n" not in str(caught.value)
