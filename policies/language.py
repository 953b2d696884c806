"""A small vision-language-action policy: camera images, proprioception and an instruction in, action chunks out.

::

    images -> convolutions, modulated by what was told (FiLM) -> patch tokens  --+
    state of the robot -----------------------------------> one token ----------+--> attention -> tokens
    instruction -> words -> attention ---------------------> word tokens -------+                    |
                                                                                                      v
    noisy chunk -> one token an action -> action expert: attention among the actions, and to the tokens -> velocity

Sources: tokens of all kinds and an action expert by flow matching after Black et al., pi0, RSS 2025; FiLM: Perez et
al., AAAI 2018; noise level by adaptive layer norms: Peebles and Xie, DiT, ICCV 2023.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, Unpack

import torch
from torch import nn

from workbench.errors import CheckpointError, ConfigError, ObservationError, UnknownNameError
from workbench.policies.chunks.settings import ChunkSettings
from workbench.policies.flow import FlowPolicy
from workbench.policies.networks.attention import HEADS, AttentionBlock
from workbench.policies.networks.layers import Inputs
from workbench.policies.networks.text import CompactText, SentenceText, TextEncoder, vocabulary_of
from workbench.policies.networks.vision import KEYPOINTS, STAGES, ConvEncoder, SpatialSoftmax, cropped_sizes
from workbench.types import Demonstration, Observation

TEXTS = ("compact", "sentence")
DEFAULTS: ChunkSettings = {"denoiser": "transformer", "history": 1, "cameras": ("agentview", "wrist")}
"""Where they are not those of other policies."""


class LanguagePolicy(FlowPolicy):
    """Does what it is told, by what it sees; further parameters as of
    :class:`workbench.policies.chunks.chunk_policy.ChunkPolicy`.

    Parameters
    ----------
    text : ``compact``, words learnt with the policy; or ``sentence``, a pretrained sentence encoder.
    text_weights : folder of that pretrained encoder.
    vocabulary : words that the compact one knows; None for those of the demonstrations.
    instruction_dropout : how often an instruction is left out in training, in [0, 1), so that the policy also learns
        what is done in general: needed for guidance by what it is told (Ho and Salimans, 2022).
    hidden : twice the width of the action expert, as of every transformer among the denoisers.
    blocks : blocks of attention among the tokens, and again of the action expert.
    embedding : width of the tokens.
    """

    listens = True

    def __init__(
        self,
        *,
        text: str = "compact",
        text_weights: str = "",
        vocabulary: Sequence[str] | None = None,
        instruction_dropout: float = 0.0,
        **chunks: Unpack[ChunkSettings],
    ) -> None:
        super().__init__(**(DEFAULTS | chunks))
        if text not in TEXTS:
            raise UnknownNameError("policy.text", text, TEXTS)
        if isinstance(instruction_dropout, bool) or not 0.0 <= instruction_dropout < 1.0:
            raise ConfigError(f"policy.instruction_dropout={instruction_dropout!r} must be in [0, 1)")
        if not self.cameras:
            raise ConfigError("policy.cameras is empty: a language policy finds what it is told to by its cameras")
        if (embedding := self.config["embedding"]) % HEADS:
            raise ConfigError(f"policy.embedding={embedding} must be a multiple of {HEADS}, its heads of attention")
        self.config |= {
            "text": text,
            "text_weights": text_weights,
            "vocabulary": None,
            "instruction_dropout": instruction_dropout,
        }
        self._text: TextEncoder | None = SentenceText(text_weights) if text == "sentence" else None
        if vocabulary is not None:
            if text != "compact":
                raise ConfigError(f"policy.vocabulary is for policy.text=compact alone, not {text}; leave it out")
            self._learn_words(vocabulary)

    @property
    def text(self) -> TextEncoder:
        """The text encoder; raises CheckpointError before training."""
        if self._text is None:
            raise CheckpointError("this policy knows no words yet; train it or load a checkpoint")
        return self._text

    def _learn_words(self, vocabulary: Sequence[str]) -> None:
        self._text = CompactText(vocabulary)
        self.config["vocabulary"] = list(vocabulary)

    def prepare(self, demonstrations: Sequence[Demonstration]) -> None:
        """Take the words of the demonstrations, if it knows none yet."""
        if self._text is None:
            self._learn_words(vocabulary_of([each.instruction for each in demonstrations]))

    def make_encoder(self) -> nn.Module:
        """See :class:`LanguageEncoder`."""
        sizes = {camera: self.image_sizes[camera] for camera in self.cameras}
        return LanguageEncoder(
            self.text,
            self.history * sum(self.features.values()),
            cropped_sizes(sizes, self.config["crop_px"]),
            self.config["embedding"],
            self.config["blocks"],
            self.config["instruction_dropout"],
        )

    def inputs(self, observation: Observation, count: int, instructions: Sequence[str] | None = None) -> Inputs:
        """What the encoder reads of N observations and as many instructions."""
        # a string is a sequence of strings too, and never what is meant
        told = [] if instructions is None or isinstance(instructions, str) else list(instructions)
        if len(told) != count or not all(isinstance(each, str) for each in told):
            raise ObservationError(
                f"{type(self).__name__} acts on what it is told: plan(..., instructions=[...]) needs {count} of them, "
                f"one a scene, not {instructions!r}; an empty one is allowed"
            )
        return {**super().inputs(observation, count), "text": self.text.encode(told)}

    def stored_inputs(self, demonstrations: Sequence[Demonstration]) -> Inputs:
        """What the encoder reads of demonstrations; ``text`` has one row a demonstration."""
        told = self.text.encode([each.instruction for each in demonstrations])
        return {**super().stored_inputs(demonstrations), "text": told}

    @classmethod
    def load(
        cls,
        folder: Path | str,
        task: str | None = None,
        observation_sizes: Mapping[str, int] | None = None,
        image_sizes: Mapping[str, tuple[int, int]] | None = None,
    ) -> Self:
        """Policy from a checkpoint; one whose words are not those of its weights is refused."""
        policy = super().load(folder, task, observation_sizes, image_sizes)
        try:
            policy.text.check(policy.network.get_buffer("encoder.signature"))
        except CheckpointError as error:
            raise CheckpointError(f"the policy in {folder} is damaged: {error}") from None
        return policy


class LanguageEncoder(nn.Module):
    """Images, state and instruction to tokens.

    Parameters
    ----------
    text : what the instruction was encoded by.
    size : length of the observation history, end to end.
    image_sizes : camera -> (height, width) in pixels.
    embedding : D.
    blocks : blocks of attention among all tokens.
    instruction_dropout : how often :meth:`augment` leaves an instruction out.
    """

    def __init__(
        self,
        text: TextEncoder,
        size: int,
        image_sizes: Mapping[str, tuple[int, int]],
        embedding: int,
        blocks: int,
        instruction_dropout: float,
    ) -> None:
        super().__init__()
        self.instruction_dropout = instruction_dropout
        self.register_buffer("signature", text.signature().clone())  # loading weights must not write on the encoder
        self.words = text.make_network(embedding)
        self.state = nn.Sequential(nn.Linear(size, 2 * embedding), nn.SiLU(), nn.Linear(2 * embedding, embedding))
        self.cameras = tuple(image_sizes)
        self.images = nn.ModuleList(CameraTokens(image_sizes[camera], embedding) for camera in self.cameras)
        self.blocks = nn.Sequential(*(AttentionBlock(embedding) for _ in range(blocks)))
        self.norm = nn.LayerNorm(embedding)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """``state``, ``text`` and ``images/<camera>`` -> tokens (n, L, D)."""
        words = self.words(inputs["text"])
        # a sum, as in a mean the one word that differs would be lost among those that every instruction has
        told = words.sum(dim=1) / math.sqrt(words.shape[1])
        tokens = [self.state(inputs["state"].flatten(1))[:, None], words]
        for camera, images in zip(self.cameras, self.images, strict=True):
            tokens.append(images(inputs[f"images/{camera}"], told))
        mixed: torch.Tensor = self.norm(self.blocks(torch.cat(tokens, dim=1)))
        return mixed

    def augment(self, inputs: Inputs, random: torch.Generator) -> Inputs:
        """Some instructions left out, as drawn from ``random``, a generator on the CPU."""
        if not self.instruction_dropout:
            return inputs
        text = inputs["text"]
        kept = torch.rand((len(text), 1), generator=random) >= self.instruction_dropout
        return {**inputs, "text": text * kept.to(text.device)}


class CameraTokens(nn.Module):
    """One camera's image to one token with the places of what was told, and one token a patch of what is there.

    Parameters
    ----------
    size_px : height and width of the images.
    embedding : D.
    """

    def __init__(self, size_px: tuple[int, int], embedding: int) -> None:
        super().__init__()
        channels = STAGES[-1]
        self.convolutions = ConvEncoder(STAGES)
        self.film = FilmBlock(channels, embedding)
        self.keypoints = SpatialSoftmax(channels, KEYPOINTS)
        self.from_keypoints = nn.Linear(2 * KEYPOINTS, embedding)
        self.patches = nn.Conv2d(channels, embedding, 3, stride=2, padding=1)
        height, width = self.convolutions.map_size(*size_px)
        count = -(-height // 2) * -(-width // 2)
        self.place = nn.Parameter(0.1 * torch.randn(1 + count, embedding))

    def forward(self, images: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, height, width) uint8 and a summary of the instruction (n, D) -> tokens (n, 1 + patches, D)."""
        seen = (images / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)
        features = self.film(self.convolutions(seen), told)
        where = self.from_keypoints(self.keypoints(features))[:, None]
        patches = self.patches(features).flatten(2).transpose(1, 2)
        tokens: torch.Tensor = torch.cat([where, patches], dim=1) + self.place
        return tokens


class FilmBlock(nn.Module):
    """Residual convolutions whose features are scaled and shifted by the instruction (Perez et al., AAAI 2018)."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(8, channels)
        self.modulation = nn.Linear(embedding, 2 * channels)

    def forward(self, features: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Features (n, C, h, w) and summary (n, D) -> features."""
        features = nn.functional.silu(self.first(features))
        scale, shift = self.modulation(told)[..., None, None].chunk(2, dim=1)
        result: torch.Tensor = features + nn.functional.silu(self.norm(self.second(features)) * (1 + scale) + shift)
        return result
