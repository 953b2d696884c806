"""What a policy is told: instructions to numbers, and numbers to tokens.

Both encoders give an empty instruction zeros alone, so that dropping one in training is writing zeros over it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from workbench.errors import CheckpointError, ConfigError
from workbench.policies.networks.attention import AttentionBlock
from workbench.types.reading import Source, checked, read_json, shown

PADDING, UNKNOWN = 0, 1
"""Ids before those of the vocabulary."""
WORDS = 16
"""Words of an instruction that the compact encoder reads; what comes after them is not heard."""
PROBE = "lift the red cube"
"""An instruction whose vector tells one pretrained encoder from another."""


class TextEncoder(Protocol):
    """Between instructions and what a network reads of them."""

    def encode(self, instructions: Sequence[str]) -> torch.Tensor:
        """Instructions -> token ids (n, L) int64, or vectors (n, E) float32; zeros for an empty one.

        A row depends on its own instruction alone, to the last bit.
        """
        ...

    def make_network(self, embedding: int) -> nn.Module:
        """A new network from what :meth:`encode` gives to tokens (n, L, D)."""
        ...

    def signature(self) -> torch.Tensor:
        """What is kept with the weights, to find out whether they were trained with this encoder."""
        ...

    def check(self, signature: torch.Tensor) -> None:
        """Raise a CheckpointError if another encoder gave that signature."""
        ...


class CompactText:
    """Words of a small vocabulary, whose meaning is learnt with the policy.

    Parameters
    ----------
    vocabulary : words in lower case, without punctuation; any other is the unknown word.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        words = list(vocabulary)
        broken = [word for word in words if not isinstance(word, str) or words_of(word) != [word]]
        if broken or len(set(words)) != len(words):
            raise ConfigError(
                f"policy.vocabulary must hold different words, in lower case and without punctuation, not "
                f"{shown(broken[0] if broken else words)}; leave it out to take those of the demonstrations"
            )
        self.vocabulary = tuple(words)
        self._ids = {word: number for number, word in enumerate(words, UNKNOWN + 1)}

    def encode(self, instructions: Sequence[str]) -> torch.Tensor:
        """Instructions -> token ids (n, :data:`WORDS`) int64."""
        ids = torch.full((len(instructions), WORDS), PADDING)
        for row, instruction in enumerate(instructions):
            found = [self._ids.get(word, UNKNOWN) for word in words_of(instruction)[:WORDS]]
            ids[row, : len(found)] = torch.tensor(found, dtype=torch.int64)
        return ids

    def make_network(self, embedding: int) -> nn.Module:
        """See :class:`WordTokens`."""
        return WordTokens(UNKNOWN + 1 + len(self.vocabulary), embedding)

    def signature(self) -> torch.Tensor:
        """Digest (32,) uint8 of the words in their order."""
        digest = hashlib.sha256("\n".join(self.vocabulary).encode()).digest()
        return torch.tensor(list(digest), dtype=torch.uint8)

    def check(self, signature: torch.Tensor) -> None:
        """Raise a CheckpointError if the weights were trained with other words, or in another order."""
        if not torch.equal(signature, self.signature()):
            raise CheckpointError("its vocabulary is not the one that its weights were trained with; train it again")


class WordTokens(nn.Module):
    """Word ids to tokens: a table, places in the sentence, and one block of attention for the order of words.

    Unknown words begin as zeros and stay so unless a training sees some: an instruction with a word that was never
    heard is read as if there were a gap in its place.
    """

    def __init__(self, count: int, embedding: int) -> None:
        super().__init__()
        self.table = nn.Embedding(count, embedding, padding_idx=PADDING)
        with torch.no_grad():
            self.table.weight[UNKNOWN].zero_()
        self.place = nn.Parameter(0.1 * torch.randn(WORDS, embedding))
        self.block = AttentionBlock(embedding)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Ids (n, L) -> tokens (n, L, D)."""
        tokens: torch.Tensor = self.block(self.table(text) + self.place)
        return tokens


class SentenceText:
    """A pretrained sentence encoder, frozen (Reimers and Gurevych, Sentence-BERT, EMNLP 2019).

    It is read from a folder and never from the network, and is no part of the checkpoint.

    Parameters
    ----------
    weights : folder of the encoder, as the package sentence-transformers saves one.
    """

    def __init__(self, weights: str) -> None:
        self._model = sentence_model(weights)
        self._known: dict[str, torch.Tensor] = {}

    def encode(self, instructions: Sequence[str]) -> torch.Tensor:
        """Instructions -> vectors (n, E) float32."""
        return torch.stack([self._vector(each) for each in instructions])

    def _vector(self, instruction: str) -> torch.Tensor:
        """Vector (E,) of one instruction; one at a time, as company changes how a product is rounded."""
        if not instruction.strip():
            return torch.zeros_like(self.signature())
        if instruction not in self._known:
            vector = self._model.encode([instruction], show_progress_bar=False)[0]
            self._known[instruction] = torch.from_numpy(np.array(vector, dtype=np.float32))
        return self._known[instruction]

    def make_network(self, embedding: int) -> nn.Module:
        """See :class:`SentenceToken`."""
        return SentenceToken(len(self.signature()), embedding)

    def signature(self) -> torch.Tensor:
        """Vector (E,) of :data:`PROBE`."""
        return self._vector(PROBE)

    def check(self, signature: torch.Tensor) -> None:
        """Raise a CheckpointError if another encoder gave that signature, up to the rounding of another machine."""
        ours = self.signature()
        if signature.shape != ours.shape or not torch.allclose(signature, ours, rtol=1e-3, atol=1e-4):
            raise CheckpointError(
                "it was trained with another sentence encoder than the one in policy.text_weights; give its own folder"
            )


class SentenceToken(nn.Module):
    """A sentence's vector to one token."""

    def __init__(self, size: int, embedding: int) -> None:
        super().__init__()
        self.project = nn.Linear(size, embedding)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Vectors (n, E) -> tokens (n, 1, D)."""
        # of length 1, as encoders give them, its numbers would be too small to tell instructions apart
        tokens: torch.Tensor = self.project(text * math.sqrt(text.shape[1]))[:, None]
        return tokens


def words_of(instruction: str) -> list[str]:
    """Words of an instruction, in lower case and without punctuation."""
    return re.findall(r"\w+", instruction.lower().replace("'", ""))


def vocabulary_of(instructions: Sequence[str]) -> list[str]:
    """The words of some instructions, sorted."""
    return sorted({word for each in instructions for word in words_of(each)})


@functools.cache
def sentence_model(weights: str) -> Any:
    """Encoder in a folder; ConfigError if the package or the folder is missing."""
    try:
        package = importlib.import_module("sentence_transformers")
    except ImportError:
        raise ConfigError(
            "policy.text=sentence needs the package sentence-transformers: pip install sentence-transformers, save an "
            "encoder with its SentenceTransformer(name).save(folder), and set policy.text_weights=folder; or take "
            "policy.text=compact"
        ) from None
    if not weights or not Path(weights).is_dir():
        raise ConfigError(
            f"policy.text_weights={weights!r} is no folder: name the one where a sentence encoder's weights lie, as "
            "SentenceTransformer(name).save(folder) of the package sentence-transformers writes it; they are never "
            "downloaded"
        )
    _refuse_code(Path(weights))
    return package.SentenceTransformer(weights, device="cpu", local_files_only=True)


def _refuse_code(folder: Path) -> None:
    """ConfigError for a sentence encoder that would bring code along: pickles, or modules of other packages."""
    source = Source(str(folder / "modules.json"), ConfigError, "take an encoder of sentence-transformers' own modules")
    modules = checked(list[dict[str, Any]], read_json(folder / "modules.json", source), source)
    foreign = [each.get("type") for each in modules if not str(each.get("type")).startswith("sentence_transformers.")]
    if foreign:
        raise source.wrong(f"names {shown(foreign[0])}")
    pickled = [file for file in folder.rglob("*") if file.suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".py")]
    if pickled:
        raise ConfigError(f"{pickled[0]} may hold code, and is not read: save the encoder as safetensors")
