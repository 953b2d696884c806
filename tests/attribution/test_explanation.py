"""An explanation holds what was drawn, seen and measured, its words say no more, and its files can be read again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import workbench as wb
from tests.toy import ToyPolicy, ToyTask, broken
from workbench.attribution.claims import sentences_of
from workbench.attribution.explanation import (
    Change,
    Dated,
    Decided,
    Explanation,
    Injected,
    Lucky,
    Magnitude,
    Reached,
    injected_of,
)
from workbench.attribution.wording import FORMS, fault_words, words_of
from workbench.errors import StoreError, UnknownNameError
from workbench.jobs import explain as job
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Stream
from workbench.types.episode import Mode

TOLD = Explanation(
    uid="0:7:ab",
    task="lift",
    instruction="lift the red cube",
    policy="FlowPolicy",
    split="test",
    control_hz=20.0,
    deadline=100,
    length=100,
    success=False,
    outcome="recoverable failure",
    faults=(
        Injected(
            "push", "physics", (Magnitude("force_n", (3.0, 4.0), "N"), Magnitude("duration_steps", (4.0,), "steps"))
        ),
    ),
    injected=20,
    effect=21,
    changes=(Change("grasped", True, 26), Change("grasped", False, 29)),
    stages=(Reached("reach", 15), Reached("grasp", 26), Reached("lift", None)),
    modes=(Mode("slip", 30), Mode("missed grasp", 52), Mode("missed grasp", 94)),
    failure_mode="missed grasp",
    onset=Dated(27, 27, 31),
    no_return=Dated(48, 48, 50),
    lost=None,
    decided=Decided(24, 31, "twin", 0.8125, 0.5021, 0.9339),
    decided_sought=True,
    luck=Lucky(0.03125, 0.0, 0.12, 64, "open"),
    twin="0:7:nominal",
)  # fmt: skip
"""A failure of which everything was measured but the label lost."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A success and two failures of toys; the first failure is labelled."""
    launches = [
        Launch(Stream(1, 0)),
        *(Launch(Stream(1, n), (broken(5, 12) | {"offset_m": [0.5, -1]},)) for n in (1, 2)),
    ]
    with StoreWriter.open(tmp_path / "toys.zarr", StoreHeader("toy", 10.0, 40, {}, {}, 0)) as writer:
        for episode in sorted(
            Lockstep(ToyTask(), ToyPolicy(), 3).record(launches), key=lambda each: each.record["index"]
        ):
            writer.append(episode)
    Store.open(tmp_path / "toys.zarr").annotate_many(
        {
            Store.open(tmp_path / "toys.zarr").uids[1]: {
                "t_eff": 5, "t_on": 5, "t_on_low": 4, "t_on_high": 6, "t_pnr": 12, "t_pnr_low": 12, "t_pnr_high": 14,
                "t_dec": 5, "t_dec_end": 9, "t_dec_by": "expert", "responsibility": 0.75, "responsibility_low": 0.5,
                "responsibility_high": 0.9, "luck": 0.25, "luck_low": 0.12, "luck_high": 0.5, "luck_runs": 16,
            }
        }
    )  # fmt: skip
    return Store.open(tmp_path / "toys.zarr")


def test_it_holds_what_the_store_holds(store: Store) -> None:
    told = wb.explain(store, 1, task=ToyTask())
    assert told.faults == (Injected("break", "physics", (Magnitude("offset_m", (0.5, -1.0), "m"),)),)
    assert (told.injected, told.effect, told.length, told.success) == (5, 5, 40, False)
    assert told.onset == Dated(5, 4, 6)
    assert told.no_return == Dated(12, 12, 14)
    assert told.decided == Decided(5, 8, "expert", 0.75, 0.5, 0.9)
    assert told.luck == Lucky(0.25, 0.12, 0.5, 16, "luck")
    assert told.changes == (Change("broken", True, 4),), "a row's predicates are those after its action"
    assert told.stages == (Reached("half", None), Reached("done", None))
    assert told.failed_stage == "half"
    assert wb.explain(store, store.uids[1], task=ToyTask()) == told
    won = wb.explain(store, 0, task=ToyTask())
    assert won.stages == (Reached("half", 9), Reached("done", 19))
    assert (won.faults, won.failed_stage) == ((), "")
    with pytest.raises(UnknownNameError, match="unknown episode"):
        wb.explain(store, 17)


def test_of_a_task_without_names_stages_are_numbers(store: Store) -> None:
    assert wb.explain(store, 0).stages == (Reached("0", 9), Reached("1", 19))


def test_what_was_not_measured_is_said_to_be_not_measured(store: Store) -> None:
    told = wb.explain(store, 2, task=ToyTask())
    assert (told.onset, told.no_return, told.decided, told.luck, told.decided_sought) == (None, None, None, None, False)
    words = words_of(told)
    for what in ("The onset was", "The point of no return was", "The decisive actions were", "Luck was"):
        assert f"{what} not measured." in words
    assert "at step 5" in words, "but what was injected is known"
    for none in ("%", "success became", "expert", "twin"):
        assert none not in words


def test_its_forms() -> None:
    assert words_of(TOLD, "line") == (
        "Task lift: it failed by missed grasp under fault push; onset at step 27; point of no return at step 48; "
        "whether it was luck is open."
    )
    assert sentences_of(words_of(TOLD)) == [
        "The policy was asked to lift the red cube",
        "It failed after 100 steps",
        "It reached the stages reach and grasp, and not the stage lift",
        "The fault push (channel physics), force_n [3, 4], duration_steps 4 was drawn",
        "The fault was injected at step 20",
        "The first failure mode was slip at step 30",
        "The failure is called missed grasp",
        "The onset was at step 27 (95 % interval 27 to 31): success became unlikely",
        "The point of no return was at step 48: from there on not even the expert succeeds in time",
        "The decisive actions were those of steps 24 to 31: the twin's in their place raise success by 0.81 "
        "(95 % interval 0.50 to 0.93)",
        "Of 64 reruns under other noise 3 % succeeded (95 % interval 0 to 12 %): whether it was luck is open",
    ]
    long = words_of(TOLD, "long")
    assert long.startswith(words_of(TOLD))
    assert "The predicate grasped ended at step 29. The failure mode slip began at step 30." in long
    with pytest.raises(UnknownNameError, match=r"form of an explanation 'lng'.*line, long, short"):
        words_of(TOLD, "lng")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"success": True, "outcome": "success", "failure_mode": ""}, "succeeded"),
        ({"injected": None}, "fault push"),
        ({"faults": (), "injected": None}, "o fault"),
        ({"luck": Lucky(0.0, 0.0, 0.07, 64, "law")}, "the failure was law"),
        ({"luck": Lucky(0.5, 0.3, 0.7, 64, "luck")}, "the failure was luck"),
    ],
)
def test_words_follow_the_record(changed: dict[str, object], said: str, form: str) -> None:
    words = words_of(dataclasses.replace(TOLD, **changed), form)  # type: ignore[arg-type]
    assert said in words
    assert "\n" not in words


def test_a_fault_in_words_has_its_magnitudes_alone() -> None:
    drawn = {"name": "push", "channel": "physics", "target": "a.b", "start_step": 6, "stage": None, "predicate": None}
    drawn |= {"duration_steps": 5, "force_n": [0.41395, -0.68539], "observation_sizes": {"a": 1}}
    assert fault_words(injected_of(drawn)) == "push (channel physics), duration_steps 5, force_n [0.414, -0.685]"
    for_ever = drawn | {"duration_steps": 1_000_000}
    assert fault_words(injected_of(for_ever)) == "push (channel physics), force_n [0.414, -0.685]"
    with pytest.raises(StoreError, match="perturbation push"):
        injected_of(drawn | {"force_n": "much"})


def test_many_are_written_as_records_and_words(store: Store, tmp_path: Path) -> None:
    found = wb.explain_many(store, into=tmp_path / "out", task=ToyTask())
    assert [told.uid for told in found.explanations] == list(store.uids[1:])
    lines = (tmp_path / "out/explanations.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [told.record() for told in found.explanations]
    page = (tmp_path / "out/explanations.md").read_text()
    assert all(told.uid in page for told in found.explanations)
    assert len(wb.explain_many(store, "all").explanations) == 3
    assert len(found.table()) == 2
    with pytest.raises(UnknownNameError, match="episodes to explain"):
        wb.explain_many(store, "some")


def test_where_nothing_failed_there_is_nothing_to_explain(tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path / "won.zarr", StoreHeader("toy", 10.0, 40, {}, {}, 0)) as writer:
        for episode in Lockstep(ToyTask(), ToyPolicy(), 1).record([Launch(Stream(1, 0))]):
            writer.append(episode)
    with pytest.raises(StoreError, match=r"won\.zarr has no failure to explain"):
        wb.explain_many(Store.open(tmp_path / "won.zarr"))


def test_the_job_prints_one_or_writes_many(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = SimpleNamespace(
        store=store.path, folder=tmp_path / "run", task=ToyTask(), shown=str, refuse_other_store=lambda: None
    )
    job.run(run, store.uids[1], "line")  # type: ignore[arg-type]
    assert words_of(wb.explain(store, 1, task=ToyTask()), "line") in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "run").exists()
    job.run(run, "failures", "short")  # type: ignore[arg-type]
    assert "2 explanations: " in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"explanations.jsonl", "explanations.md"}
