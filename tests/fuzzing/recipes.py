"""Recipes of data sets, other YAML files of people, and what configurations, records and monitors may name as code."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.fuzzing.mutations import STRINGS, anything, damaged, mutated, one_of
from workbench.config import build, read_yaml
from workbench.config.plugins import _mapping
from workbench.synthesis.recipe import Recipe

ROOT = Path(__file__).parents[2]
NODE = {"_target_": "workbench.detectors.scores.entropy.ActionChunkEntropy", "dims": [0, 1]}
NAMES = ("os", "sys", "subprocess", "system", "remove", "Popen", "eval", "exec", "__import__", "partial", "lambda",
         "load", "__init__", "__subclasses__", "__globals__", "Path", "unlink", "import_module", "json", "np", "torch",
         "run", "main", "build", "cli", "config", "files", "types", "trust", "importlib",
         "functools", "rmtree")  # fmt: skip
HOMES = ("workbench.cli", "workbench.config.files", "workbench.config.build", "workbench.envs.scene",
         "workbench.detectors.scores.rnd", "workbench.policies.remote", "workbench.errors", "workbench.types.trust",
         "workbench", "workbench.execution.processes", "builtins", "os", "functools")  # fmt: skip
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{here}: &{here} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}]"
    for before, here in zip("abcdefghi", "bcdefghij", strict=True)
)


def prepare(folder: Path) -> list[dict[str, Any]]:
    """The recipes that come with the package; modules that attempts name are imported before they are watched."""
    for home in HOMES:
        importlib.import_module(home)
    return [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "datasets" / "recipes").glob("*.yaml"))]


def attempt(prepared: list[dict[str, Any]], random: np.random.Generator, folder: Path) -> None:
    if random.random() < 0.3:
        build(_node(random))
        return
    path, recipe = folder / "mine.yaml", one_of(random, prepared)
    path.write_bytes(_text(random, recipe))
    kind = random.random()
    if kind < 0.7:
        Recipe.read(path)
    elif kind < 0.85:
        read_yaml(path)
    else:
        _mapping(path)


def _text(random: np.random.Generator, recipe: dict[str, Any]) -> bytes:
    kind = random.random()
    if kind < 0.03:
        return BOMB.encode()
    if kind < 0.06:
        return (b"{a: " if random.integers(2) else b"[") * int(one_of(random, (50, 500, 20_000)))
    try:
        text = yaml.safe_dump(mutated(random, recipe), allow_unicode=bool(random.integers(2)))
    except (RecursionError, ValueError, UnicodeEncodeError):
        text = "about: !!python/object/apply:os.system ['true']"
    content = text.encode("utf-8", "surrogatepass")
    return damaged(random, content) if kind < 0.3 else content


def _node(random: np.random.Generator) -> Any:
    """A node whose target is a path through modules of ours to what they import, or is no path at all."""
    node: Any = dict(NODE)
    kind = random.random()
    if kind < 0.6:
        names = [one_of(random, NAMES) for _ in range(random.integers(1, 4))]
        node = {"_target_": ".".join([one_of(random, HOMES), *names])}
    elif kind < 0.8:
        node = {"_target_": one_of(random, STRINGS)}
    if kind > 0.5:
        node[one_of(random, ("_partial_", "_args_", "_recursive_", "_convert_", "dims", "x"))] = anything(random)
    return node
