"""``workbench check``: what is damaged is named, what is whole is counted and saved, and the exit code says which."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from tests.fuzzing.checkpoints import RECIPE, SMALL, _demonstrations
from tests.synthetic import HEADER, episode
from workbench.benchmarking.curves import _keep
from workbench.checking.check import DAMAGED, WHOLE
from workbench.config import Run, compose
from workbench.config.jobs import job_words
from workbench.errors import ConfigError, StoreError
from workbench.execution.ledger import Ledger
from workbench.jobs.check import run as run_job
from workbench.policies.flow import FlowPolicy
from workbench.policies.learning import training
from workbench.store import StoreWriter


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a run of weights, ledgers, metrics, and the store that it names."""
    root = tmp_path_factory.mktemp("root")
    store, run = root / "datasets" / "mine.zarr", root / "runs" / "mine"
    for part, split in (("a", "fit"), ("b", "test")):
        with StoreWriter.open(store, HEADER, part) as writer:
            for number in range(3):
                writer.append(episode(split, number))
    opened = wb.Store.open(store)
    calls = [opened.calls(number) for number in range(2)]
    curves = store.with_suffix(".curves") / "rnd-0-0.safetensors"
    _keep(curves, calls, [each.step * 1.0 for each in calls], [], 0.0, 0.0)
    policy = FlowPolicy(**SMALL)
    training.train(policy, _demonstrations(), **RECIPE)
    policy.save(run / "policy")
    for name in ("stages.json", "training.json"):
        Ledger(run / name).put("a", {"b": 1}, {"c": 2})
    (run / "metrics.json").write_text(json.dumps({"store": "datasets/mine.zarr"}))
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(original, tmp_path / "root")
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path / "root"))
    return tmp_path / "root"


def test_what_is_whole_is_said_to_be(root: Path) -> None:
    for found in (wb.check("mine"), wb.check(run="mine"), wb.check(root / "datasets/mine.zarr")):
        assert found.damages == []
        assert {item.state for item in found.items} == {WHOLE}
    assert {item.what for item in wb.check(run="mine").items} >= {
        "metrics",
        "ledger",
        "weights",
        "store",
        "part",
        "curves",
    }
    table = wb.check("mine").table()
    assert table[table["what"] == "part"]["episodes"].tolist() == [3, 3]


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("runs/mine/metrics.json", "metrics"),
        ("runs/mine/stages.json", "ledger"),
        ("runs/mine/training.json", "ledger"),
        ("runs/mine/policy/policy.json", "weights"),
        ("runs/mine/policy/weights-*.safetensors", "weights"),
        ("datasets/mine.curves/*.safetensors", "curves"),
        ("datasets/mine.zarr/zarr.json", "store"),
        ("datasets/mine.zarr/parts/a/steps/action/c.0.0", "part"),
        ("datasets/mine.zarr/parts/b/episodes/uid/c.0", "part"),
    ],
)
@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda c: c[::-1]]
)
def test_what_is_damaged_is_named(root: Path, file: str, what: str, damage: Callable[[bytes], bytes]) -> None:
    (path,) = root.glob(file)
    path.write_bytes(damage(path.read_bytes()))
    found = wb.check(run="mine")
    assert what in {item.what for item in found.damages}
    assert all("\n" not in item.words for item in found.items)
    assert path.name in " ".join(item.path + item.words for item in found.damages) or what == "weights"


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("metrics.json", '{"policy": 3}', "metrics"),
        ("metrics.json", '["store"]', "metrics"),
        ("journal.jsonl", '{"job": "fit"', "journal"),
        ("journal.jsonl", '{"job": "fit"}\n', "journal"),
    ],
)
def test_what_no_job_writes_is_damage_too(root: Path, file: str, content: str, what: str) -> None:
    (root / "runs/mine" / file).write_text(content)
    assert [item.what for item in wb.check(run="mine").damages] == [what]


def test_the_whole_episodes_are_counted_and_saved(root: Path) -> None:
    (root / "datasets/mine.zarr/parts/b/steps/action/c.0.0").unlink()
    found = wb.check("mine", save="rest")
    parts = {
        item.path.rpartition("/")[2]: (item.state, item.episodes, item.of)
        for item in found.items
        if item.what == "part"
    }
    assert parts == {"a": (WHOLE, 3, 3), "b": (DAMAGED, 0, 3)}
    assert len(found.lost) == 3
    saved = wb.open_store("rest")
    assert len(saved) == 3
    assert wb.check("rest").damages == []


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["store=a"], ["store=a", "job.what=store"]),
        (["run=a"], ["name=a"]),
        (["name=a"], ["name=a"]),
        (["run=a", "store=b"], ["name=a", "store=b"]),
    ],
)
def test_its_own_words(words: list[str], keys: list[str]) -> None:
    assert job_words(["check", *words]) == ["job=check", *keys]


def job(root: Path, *words: str) -> None:
    run = Run(compose(job_words(["check", *words])), root)
    settings: dict[str, Any] = {key: value for key, value in run.config["job"].items() if key != "_target_"}
    run_job(run, **settings)


def test_the_job_ends_well_or_says_what_is_damaged(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job(root, "store=mine")
    job(root, "run=mine")
    capsys.readouterr()
    (root / "datasets/mine.zarr/parts/b/steps/action/c.0.0").unlink()
    with pytest.raises(StoreError, match="is damaged"):
        job(root, "store=mine", "job.save=rest")
    said = capsys.readouterr().out
    assert "parts/b/steps/action/c.0.0 is damaged" in said
    assert "saved: 3 episodes in datasets/rest.zarr" in said
    with pytest.raises(StoreError, match="no run at"):
        job(root, "run=nowhere")
    with pytest.raises(StoreError, match="no store at"):
        job(root, "store=nowhere")


@pytest.mark.parametrize("asked", [{}, {"store": "a", "run": "b"}, {"run": "b", "save": "c"}])
def test_it_takes_a_store_or_a_run(asked: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="a store or a run"):
        wb.check(**asked)
