"""The one memory of what resumes: what it keeps, names and refuses, also where several processes write it."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from workbench.errors import OtherSettingsError, StoreError
from workbench.execution.ledger import Entry, Ledger, deciding


def put_many(path: Path, name: str) -> None:
    ledger = Ledger(path)
    for number in range(40):
        ledger.put(f"{name}-{number}", {"number": number})


def test_what_others_write_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "run" / "kept.json"
    one, other = Ledger(path), Ledger(path)
    one.put("a", 1)
    other.put("b", 2)
    one.begin("c", 3)
    other.forget("b")
    one.end("c", 1.0)
    assert set(Ledger(path).seconds()) == {"a", "c"}
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=put_many, args=(path, name)) for name in "xyz"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(Ledger(path).records()) == 2 + 3 * 40
    assert [file.name for file in path.parent.iterdir()] == ["kept.json"]


def test_other_settings_are_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "kept.json", "runs/k/kept.json")
    ledger.put("a", {"task": {"name": "lift", "seed": [1, 2]}, "most": 3})
    assert ledger.holds("a", {"task": {"name": "lift", "seed": (1, 2)}, "most": 3})
    with pytest.raises(OtherSettingsError, match=r"runs/k/kept.json was made with another task.name and most; choose"):
        ledger.holds("a", {"task": {"name": "stack", "seed": [1, 2]}, "most": 4})


def test_what_was_refused_was_not_begun(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "kept.json")
    ledger.put("a", 1, record="done")
    ledger.begin("a", 2)
    ledger.take_back("a")
    ledger.begin("b", 1)
    ledger.take_back("b")
    assert Ledger(tmp_path / "kept.json").entry("a") == Entry(1, True, 0.0, "done")
    assert "b" not in Ledger(tmp_path / "kept.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"a": 1}',
        '{"a": {"made_with": 1, "ended": "yes"}}',
        '{"a": {"made_with": 1, "ended": true, "seconds": -1}}',
        '{"a": {"ended": true}}',
        '{"a": {"made_with": 1, "more": 2}}',
        "[" * 5000,
    ],
)
def test_a_damaged_one_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "kept.json").write_text(text)
    with pytest.raises(StoreError, match=r"kept.json .*move it away, and what it says is done again") as caught:
        Ledger(tmp_path / "kept.json")
    assert "\n" not in str(caught.value)


def test_one_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text(json.dumps({"a": {"fingerprint": "f", "ended": True, "seconds": 2.5}}))
    assert Ledger(tmp_path / "stages.json").entry("a") == Entry("f", True, 2.5)


def test_what_cannot_change_a_result_decides_nothing() -> None:
    asked = {"trainer": {"iterations": 3, "save_every": 5, "device": "cpu"}, "publish": True}
    assert deciding(asked) == {"trainer": {"iterations": 3}}
