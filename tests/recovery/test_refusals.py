"""What cannot be is refused in one line: of strategies, heads, monitors and tables."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from tests.rollouts.test_guard import Noisy, Slow, launch, monitor
from workbench.config import described, weights_digest
from workbench.errors import CheckpointError, ConfigError, OtherSettingsError, StoreError, WorkbenchError
from workbench.policies.recovery.placebo import Placebo
from workbench.recovery.tables import CounterfactualTable
from workbench.rollouts.arms import built, described_strategies
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup, write_episodes
from workbench.store import Store

ZOO = Path("policies/zoo")
LIFT = wb.task("lift")
EXPERT = {"_target_": "workbench.policies.recovery.expert.Expert"}
PLACEBO = {"_target_": "workbench.policies.recovery.placebo.Placebo"}
ADAPTIVE = {"_target_": "workbench.policies.recovery.adaptive_chunking.AdaptiveChunking"}
CASCADE = {"_target_": "workbench.policies.recovery.cascade.Cascade"}


def refused(error: type[WorkbenchError], said: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def rolled(path: Path, policy: Noisy) -> Store:
    setup = Setup(Slow(), policy)
    launches = [launch(number, breaks=4 + number) for number in range(3)]
    write_episodes(path, setup.header(0), Lockstep(Slow(), policy, 3), launches)
    return Store.open(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return rolled(tmp_path_factory.mktemp("refusals") / "a.zarr", Noisy(history=2))


@pytest.fixture(scope="module")
def table(store: Store) -> CounterfactualTable:
    return wb.tabulate(store, ["placebo", "redraw"], Slow(), Noisy(history=2))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"strategies": []}, "at least one strategy, such as .*none is named"),
        ({"strategies": ["plazebo"]}, "unknown strategy 'plazebo'. Did you mean 'placebo'"),
        ({"strategies": "placebo"}, r"strategies must be a list of names, such as \['placebo'\]"),
        ({"strategies": {"mine": object()}}, "a strategy is needed, such as .* lacks name, needs, begin, act"),
        ({"strategies": ["cascade"]}, "hands over to a policy, and none is named: strategy.cascade.strong="),
        ({"strategies": ["head"]}, "hands over to a recovery head, and there is none; workbench recover trains one"),
        ({"strategies": ["head"], "head": "nowhere"}, "and there is none; workbench recover trains one"),
        (
            {"strategies": {"expert": EXPERT | {"steps": 0}}},
            r"strategy\.expert\.steps=0 must be a whole number or null of 1",
        ),
        ({"strategies": {"expert": EXPERT | {"step": 1}}}, r"unknown key 'strategy\.expert\.step'. Did you mean"),
        ({"strategies": ["retrieve"]}, "goes by the policy's own successes, and no data set is named"),
        ({"strategies": ["best_of"]}, "goes by a fitted score, and there is none; roll it behind a monitor"),
        ({"strategies": ["correct"]}, "goes by a corrector, and there is none; workbench correct"),
        ({"strategies": ["retreat"]}, "strategy retreat opens and lifts a gripper"),
        ({"split": "tset"}, "unknown split 'tset'. Did you mean 'test'"),
        ({"split": "select"}, "has no episode in the select split to tabulate; roll some"),
        ({"branches": 0}, r"branches=0 must be a whole number of 1 \.\. 1000"),
        ({"branches": 10**9}, r"branches=1000000000 must be a whole number of 1 \.\. 1000"),
        ({"branches": 1.5}, r"branches=1\.5 must be a whole number"),
        ({"horizon": 0.5}, r"horizon=0\.5 must be a number of deadlines from 1 to"),
        ({"horizon": "2"}, "horizon='2' must be a number of deadlines from 1 to"),
        ({"at": {}}, r"at=\{\} names no policy call: it takes uid -> control steps, or None"),
        *(
            (
                {"strategies": {"adaptive_chunking": ADAPTIVE | {"threshold": threshold}}},
                rf"threshold={threshold} must be -1 \.\. 2, and steps=None at least 1",
            )
            for threshold in (-1.01, 2.5, 1000.0)
        ),
        ({"at": {"x": {0}}}, "unknown episode .*'x'"),
        ({"at": {"x": 0}}, r"at takes uid -> control steps, such as \{'x': \{0\}\}, not 0 alone"),
    ],
)
def test_what_cannot_be_tabulated(store: Store, asked: dict[str, Any], said: str) -> None:
    options = dict(asked)
    strategies = options.pop("strategies", ["placebo"])
    refused(WorkbenchError, said, lambda: wb.tabulate(store, strategies, Slow(), Noisy(history=2), **options))


def test_a_head_of_another_task_or_architecture(tmp_path: Path) -> None:
    policy, node = wb.policy("zoo/lift_flow", LIFT), {"head": {"_target_": "workbench.policies.recovery.head.Head"}}
    shutil.copytree(ZOO / "push_t_flow", tmp_path / "task")
    shutil.copytree(ZOO / "lift_diffusion", tmp_path / "architecture")
    (tmp_path / "empty").mkdir()
    for folder, said in {
        "task": "cannot hand over to the recovery head: .* was trained on task 'push_t', not 'lift'",
        "architecture": "cannot hand over to the recovery head: .* holds a DiffusionPolicy, not FlowPolicy",
        "empty": r"policy\.json is missing.*; workbench recover overwrite=true trains one of this policy",
    }.items():
        refused(CheckpointError, said, lambda folder=folder: built(node, LIFT, policy, {}, tmp_path / folder))


def test_a_monitor_that_can_never_alarm_and_what_is_none(store: Store) -> None:
    silent = dataclasses.replace(monitor(1), threshold=None, reason="too few episodes")
    for given, said in {
        silent: r"monitor stuck can never alarm \(too few episodes\); choose one with a threshold",
        "stuck": "a monitor is needed, not 'stuck': .*wb.fit",
    }.items():
        refused(ConfigError, said, lambda given=given: wb.recover(store, given, ["placebo"], Slow(), Noisy(history=2)))
        refused(ConfigError, said, lambda given=given: wb.Guard(given, Placebo(), horizon=80))
    for strategies in ([], ["expert"]):
        refused(
            ConfigError,
            "must include 'placebo'",
            lambda strategies=strategies: wb.recover(store, monitor(1), strategies, Slow(), Noisy(history=2)),
        )


@pytest.mark.parametrize("horizon", [0, -1, 2.0, 2**15, None])
def test_a_guards_horizon_is_in_control_steps(horizon: Any) -> None:
    refused(
        ConfigError, "must be a whole number of control steps", lambda: wb.Guard(monitor(1), Placebo(), horizon=horizon)
    )


def test_a_guard_that_would_end_episodes_before_the_deadline(tmp_path: Path) -> None:
    guard = wb.Guard(monitor(1), Placebo(), horizon=39)
    refused(ConfigError, "horizon=39 would end episodes before the task's deadline of 40", lambda: Lockstep(
        Slow(), Noisy(history=2), 1, guard=guard
    ))  # fmt: skip
    for guard, said in {"placebo": "not a str", (monitor(1), Placebo()): "not a tuple"}.items():
        refused(
            ConfigError,
            f"guard takes a wb.Guard.*{said}",
            lambda guard=guard: wb.rollout(Slow(), Noisy(), episodes=1, into=tmp_path / "g.zarr", guard=guard),
        )
    refused(ConfigError, "a strategy is needed", lambda: wb.Guard(monitor(1), "placebo", horizon=80))  # type: ignore[arg-type]
    assert not (tmp_path / "g.zarr").exists()


def test_a_table_says_what_it_was_made_of(store: Store, table: CounterfactualTable) -> None:
    table.save(store, "made")
    again = CounterfactualTable.load(store, "made")
    assert again.made_of == table.made_of
    assert again.made_of["policy"] == described(Noisy(history=2))
    assert again.made_of["strategies"]["placebo"] == PLACEBO
    assert CounterfactualTable.load(store, "made", ["redraw"]).arms.keys() == table.arms.keys()
    refused(
        ConfigError,
        "unknown arm of table made of .* 'expert'",
        lambda: CounterfactualTable.load(store, "made", ["expert"]),
    )
    other = {"placebo": {"_target_": "workbench.policies.recovery.redraw.Redraw"}}
    refused(
        OtherSettingsError,
        r"table made of .* was made with another strategy\.placebo\._target_; tabulate them again",
        lambda: CounterfactualTable.load(store, "made", other),
    )


def test_a_checkpoint_that_is_called_in_is_known_by_its_weights(
    store: Store, table: CounterfactualTable, tmp_path: Path
) -> None:
    """By the name of its folder alone, one that was trained anew would pass for the one before."""
    shutil.copytree(ZOO / "lift_flow", tmp_path / "strong")
    named = {"cascade": {**CASCADE, "strong": str(tmp_path / "strong"), "steps": None}}
    digest = weights_digest(tmp_path / "strong")
    said = described_strategies(named)
    assert said["cascade"]["strong_weights"] == digest
    assert "strong_weights" not in described_strategies({"cascade": {**CASCADE, "strong": "zoo/lift_flow"}})["cascade"]
    made_of = {**table.made_of, "strategies": {"cascade": said["cascade"]}}
    kept = dataclasses.replace(
        table,
        arms={"cascade": table.arms["placebo"]},
        more_time={"cascade": table.more_time["placebo"]},
        made_of=made_of,
    )
    kept.save(store, "cascaded")
    assert CounterfactualTable.load(store, "cascaded", named).made_of == made_of
    built(named, LIFT, wb.policy("zoo/lift_flow", LIFT), EXPERT, None)  # the digest is none of its arguments
    file = next((tmp_path / "strong").glob("*.safetensors"))
    file.write_bytes(file.read_bytes() + b"x")
    refused(
        OtherSettingsError,
        r"made with another strategy\.cascade\.strong_weights; tabulate them again",
        lambda: CounterfactualTable.load(store, "cascaded", named),
    )


def test_a_table_of_another_policy(store: Store, table: CounterfactualTable, tmp_path: Path) -> None:
    """The other store's episodes have the same uids, and so has one whose policy nobody can tell apart."""
    other = rolled(tmp_path / "b.zarr", Noisy(history=3))
    assert set(other.uids) == set(store.uids)
    refused(OtherSettingsError, "made of other episodes than the store holds", lambda: table.save(other))
    named = dataclasses.replace(table, made_of={**table.made_of, "weights": "abc"})
    refused(
        OtherSettingsError, "the table was made of another weights than .*; save it into", lambda: named.save(other)
    )
    assert not (tmp_path / "b.zarr/tables").exists()
    shutil.copytree(store.path, tmp_path / "c.zarr")
    table.save(Store.open(tmp_path / "c.zarr"), "moved")
    shutil.copytree(tmp_path / "c.zarr/tables", tmp_path / "b.zarr/tables")
    refused(
        StoreError, "made of other episodes than the store holds under these uids; tabulate them again",
        lambda: CounterfactualTable.load(Store.open(tmp_path / "b.zarr"), "moved"),
    )  # fmt: skip
    unknown = dataclasses.replace(table, uids=("x", *table.uids[1:]))
    refused(
        OtherSettingsError, "the table is about episode x, which the store does not hold", lambda: unknown.save(store)
    )


def test_a_table_of_an_earlier_version_is_read(store: Store, table: CounterfactualTable) -> None:
    old = dataclasses.replace(table, made_of={}, digest="")
    old.save(store, "old")
    again = CounterfactualTable.load(store, "old", ["placebo"])
    assert again.made_of == {}
    assert again.arms.keys() == table.arms.keys()
