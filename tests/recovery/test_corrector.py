"""A corrector learns any one of several right corrections, from the fit split alone, and acts by it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.detectors.scores.always import Always
from workbench.errors import CheckpointError, ConfigError, StoreError
from workbench.monitoring.monitor import Monitor
from workbench.monitoring.scoring import FittedScore
from workbench.monitoring.window import Window
from workbench.policies.learning import checkpoint
from workbench.policies.learning.benefit import Benefit
from workbench.policies.learning.benefit import train as learn
from workbench.policies.learning.checkpoint import read_record
from workbench.policies.learning.corrector import Corrector, held_apart, train
from workbench.policies.recovery.correct import Correct
from workbench.policies.recovery.placebo import Placebo
from workbench.recovery.corrections import KINDS, Corrections
from workbench.recovery.corrector import lessons_of, train_corrector
from workbench.recovery.tables import tabulate
from workbench.rollouts.arms import built
from workbench.rollouts.guard import Guard
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.store import Store
from workbench.types import Alarm, Array, Compared, Lessons, Policy, PolicyCall, Task, Threshold
from workbench.types.inputs import inputs_for
from workbench.types.reading import sealed_record

from .lift import ALONE
from .lift import policy as policy
from .lift import task as task
from .test_corrections import found as found
from .test_corrections import store as store

LEFT, RIGHT = np.array([0.1, 0, 0, 0, 0, 0, 1.0]), np.array([-0.1, 0, 0, 0, 0, 0, -1.0])


def lessons(inputs: Array, failing: Array, mode: Array, corrections: list[Array]) -> Lessons:
    return Lessons({"embedding": inputs}, failing, mode, corrections, ("knocked", "slip"), np.arange(len(inputs)))


def made_up(seed: int = 0) -> Lessons:
    """Calls that fail where the first input is positive; how is said by the second; left or right is both right."""
    inputs = np.random.default_rng(seed).normal(size=(400, 4))
    failing = inputs[:, 0] > 0
    mode = np.where(failing, (inputs[:, 1] > 0).astype(int), -1)
    return lessons(inputs, failing, mode, [np.stack([LEFT, RIGHT]) if lost else np.zeros((0, 7)) for lost in failing])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Corrector:
    folder: Path = tmp_path_factory.mktemp("corrector") / "corrector"
    train(made_up(), task="lift", folder=folder, seed=0, iterations=400, hidden=32)
    return Corrector.load(folder)


def test_it_says_whether_and_how_on_calls_that_it_has_not_seen(trained: Corrector) -> None:
    others = made_up(seed=1)
    failing, mode, _ = trained.say(others.inputs)
    assert ((failing > 0.5) == others.failing).mean() > 0.95
    lost = others.failing
    assert (mode.argmax(axis=1)[lost] == others.mode[lost]).mean() > 0.95
    assert trained.modes == ("knocked", "slip")


def test_of_two_right_corrections_it_says_one_and_not_their_mean(trained: Corrector) -> None:
    """The mean of left and right is to stay where it is, which nothing verified."""
    others = made_up(seed=1)
    _, _, corrections = trained.say(others.inputs)
    said = corrections[others.failing]
    nearest = np.minimum(*(np.abs(said - each).max(axis=1) for each in (LEFT, RIGHT)))
    assert (nearest < 0.05).mean() > 0.85  # nearer to one of them than to their mean


def test_the_same_seed_trains_the_same(tmp_path: Path) -> None:
    says = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(made_up(), task="lift", folder=tmp_path / name, seed=seed, iterations=20, hidden=8)
        says.append(Corrector.load(tmp_path / name).say(made_up(seed=1).inputs)[0])
    assert (says[0] == says[1]).all()
    assert (says[0] != says[2]).any()


def test_whole_episodes_are_held_out_of_both_classes() -> None:
    made = made_up()
    made = dataclasses.replace(made, episode=np.arange(400) // 20 + 100 * made.failing)  # 20 lost ones, 20 others
    taught, held = (set(rows.tolist()) for rows in held_apart(made, 0.25, seed=0))
    assert taught | held == set(range(400))
    assert not taught & held
    episodes = [{int(made.episode[row]) for row in rows} for rows in (taught, held)]
    assert not episodes[0] & episodes[1]
    assert sum(episode >= 100 for episode in episodes[1]) == sum(episode < 100 for episode in episodes[1]) == 5
    assert len(held_apart(made, 0.0, seed=0)[1]) == len(held_apart(made, 0.04, seed=0)[1]) == 0
    with pytest.raises(ConfigError, match=r"held_out=1.0 must be a share"):
        held_apart(made, 1.0, seed=0)


def test_it_ends_where_what_is_held_out_was_least_lost(tmp_path: Path) -> None:
    """Few episodes that say nothing of one another are soon known by heart; on others that is worse than early."""
    random = np.random.default_rng(0)
    episode = np.repeat(np.arange(40), 10)
    inputs = random.normal(size=(40, 30))[episode] + 0.05 * random.normal(size=(400, 30))
    failing = episode % 2 == 0
    mode = np.where(failing, (episode // 2) % 2, -1)
    right = [np.stack([LEFT]) if lost else np.zeros((0, 7)) for lost in failing]
    made = dataclasses.replace(lessons(inputs, failing, mode, right), episode=episode)
    surest = {}
    for held_out in (0.0, 0.25):
        train(made, task="lift", folder=tmp_path / str(held_out), seed=0, iterations=300, held_out=held_out)
        chance, *_ = Corrector.load(tmp_path / str(held_out)).say({"embedding": random.normal(size=(400, 30))})
        surest[held_out] = float(np.abs(chance - 0.5).mean())
        recipe = read_record(tmp_path / str(held_out)).recipe
        assert (recipe["best_iteration"] < 300) == (held_out > 0)
    assert surest[0.25] < 0.7 * surest[0.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"failing": np.zeros(400, bool)}, "without a failing call"),
        ({"failing": np.ones(400, bool)}, "without a call that is not failing"),
        ({"corrections": [np.zeros((0, 7))] * 400}, "without a verified correction"),
    ],
)
def test_nothing_to_learn_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        train(dataclasses.replace(made_up(), **change), task="lift", folder=tmp_path / "a", seed=0, iterations=1)
    assert not (tmp_path / "a").exists()


def test_a_damaged_corrector_and_a_policy_in_its_place_are_refused(tmp_path: Path) -> None:
    train(made_up(), task="lift", folder=tmp_path / "a", seed=0, iterations=1, hidden=8)
    weights = next((tmp_path / "a").glob("weights-*"))
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated or changed"):
        Corrector.load(tmp_path / "a")
    with pytest.raises(CheckpointError, match="holds a FlowPolicy, and no corrector"):
        Corrector.load(Path("workbench/policies/zoo/lift_flow"))


def altered(folder: Path, into: Path, **changes: Any) -> Path:
    """A copy of a checkpoint that says something else, such as ``hidden=9``, and is sealed again as anyone can."""
    shutil.copytree(folder, into)
    record = json.loads((folder / checkpoint.RECORD).read_text())
    for key, value in changes.items():
        record["config" if key in record["config"] else "statistics"][key] = value
    del record["record_sha256"]
    (into / checkpoint.RECORD).write_text(json.dumps(sealed_record(record)))
    return into


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """One of each small network, with what loads it."""
    folder: Path = tmp_path_factory.mktemp("checkpoints")
    train(made_up(), task="lift", folder=folder / "corrector", seed=0, iterations=1, hidden=8, blocks=1)
    compared = Compared({"embedding": np.eye(4)}, np.ones(4), np.zeros(4), np.arange(4))
    made, _ = learn(compared, task="lift", arm={}, weights={}, seed=0, iterations=1, hidden=8, folds=2)
    made.save(folder / "benefit", 0.1)
    return {"corrector": (folder / "corrector", Corrector.load), "benefit": (folder / "benefit", Benefit.load)}


BOTH = {
    "hidden": (10_001, -8, 0, "8", 8.5, None, True),
    "blocks": (101, -1, "1", None),
    "mean": ([0.0] * 3, [0.0] * 20_000, 0.0, [[0.0]] * 4, [float("nan")] * 4),
    "deviation": ([1.0] * 5, [0.0] * 4, [-1.0] * 4, ["1"] * 4),
}
OWN = {"modes": ([], "slip", [1, 2], ["slip"], ["slip"] * 1001), "scale": ([1.0] * 5, [-1.0] * 6, [1e300] * 6, 1.0)}
TAMPERED = [
    (kind, key, value)
    for kind, of in (("corrector", {**BOTH, **OWN}), ("benefit", BOTH))
    for key, values in of.items()
    for value in values
]


@pytest.mark.parametrize(("kind", "key", "value"), TAMPERED, ids=lambda value: str(value)[:20])
def test_a_tampered_checkpoint_is_refused_in_one_line(
    checkpoints: dict[str, Any], tmp_path: Path, kind: str, key: str, value: Any
) -> None:
    folder, load = checkpoints[kind]
    load(altered(folder, tmp_path / "same"))
    with pytest.raises(CheckpointError) as caught:
        load(altered(folder, tmp_path / "other", **{key: value}))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", ["corrector", "benefit"])
def test_a_checkpoint_takes_no_memory_for_what_it_says_of_its_size(
    checkpoints: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    """Its network would have 2e10 numbers, 80 GB."""
    folder, load = checkpoints[kind]
    with pytest.raises(CheckpointError, match="its weights are not those of its network; train it again"):
        load(altered(folder, tmp_path / "large", hidden=10_000, blocks=100))


@pytest.mark.parametrize("kind", ["corrector", "benefit"])
@pytest.mark.parametrize("spoilt", [torch.Tensor.double, lambda tensor: tensor * float("nan")], ids=["double", "nan"])
def test_numbers_of_another_kind_and_none_are_no_weights(
    checkpoints: dict[str, Any], tmp_path: Path, kind: str, spoilt: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    folder, load = checkpoints[kind]
    weights, made = checkpoint.read(folder)
    record = {key: value for key, value in dataclasses.asdict(made).items() if key != "record_sha256"}
    checkpoint.write(tmp_path / "a", {name: spoilt(tensor) for name, tensor in weights.items()}, record)
    with pytest.raises(CheckpointError, match="its weights are not finite numbers of 32 bits"):
        load(tmp_path / "a")


def with_column(store: Store, monkeypatch: pytest.MonkeyPatch, name: str, values: Array) -> None:
    changed = {**store.episodes, name: values}
    monkeypatch.setattr(Store, "episodes", property(lambda _: changed))


def test_what_is_learned_is_what_the_labels_and_the_replays_say(
    store: Store, task: Task, policy: Policy, found: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = {number: 20 for number in range(len(store)) if not store.episodes["success"][number]}
    with_column(store, monkeypatch, "t_on", np.array([late.get(number, -1) for number in range(len(store))]))
    taught = lessons_of(store, found, task, policy)
    assert set(taught.inputs) == {"embedding", *(f"observation/{key}" for key in task.observation_sizes)}
    calls = [(uid, int(step)) for n, uid in enumerate(store.uids) for step in store.calls(n, ()).step]
    assert len(calls) == len(taught.failing) == len(taught.corrections)
    for row, (uid, step) in enumerate(calls):
        number = store.number_of(uid)
        assert taught.failing[row] == (number in late and step >= 20)
        assert (taught.mode[row] >= 0) == taught.failing[row]
        right = (
            found.verified()
            & (found.episode == (found.uids.index(uid) if uid in found.uids else -1))
            & (found.step == step)
            & np.isin([KINDS[kind] for kind in found.kind], ["twin", "object", "expert"])
        )
        assert taught.corrections[row].tolist() == found.correction[right].tolist()


class SeesTheHand:
    """A policy that looks through a camera, and of numbers reads its hand's alone; it may not say so."""

    cameras = ("wrist",)

    def __init__(self, *layout: str) -> None:
        self.layout = dict.fromkeys(layout, 3)


@pytest.mark.parametrize("layout", [("eef_pos", "gripper_qpos"), ()])
def test_a_corrector_reads_no_object_that_its_policy_does_not(
    store: Store, task: Task, found: Corrections, layout: tuple[str, ...]
) -> None:
    assert {"cube_pos", "cube_yaw"} <= task.observation_sizes.keys()
    taught = lessons_of(store, found, task, SeesTheHand(*layout))
    read = layout or ("eef_pos", "eef_quat", "gripper_qpos")
    assert set(taught.inputs) == {"embedding", *(f"observation/{key}" for key in read)}


def test_the_corrector_of_a_policy_on_images_reads_its_embedding_and_the_hand(task: Task, policy: Policy) -> None:
    hand = ("embedding", "observation/eef_pos", "observation/eef_quat", "observation/gripper_qpos")
    seeing = wb.task("lift", cameras={"names": ["agentview", "wrist"], "width_px": 84, "height_px": 84})
    assert inputs_for(seeing, wb.policy("zoo/lift_pixels", seeing)) == hand
    assert {*inputs_for(task, policy)} == {"embedding", *(f"observation/{key}" for key in task.observation_sizes)}


def test_what_it_is_handed_of_a_call_names_no_object_either(tmp_path: Path, task: Task) -> None:
    made, sizes = made_up(), {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2}
    hand = {f"observation/{key}": np.ones((400, size)) for key, size in sizes.items()}
    train(
        dataclasses.replace(made, inputs={**made.inputs, **hand}), task="lift", folder=tmp_path / "a", seed=0,
        iterations=1, hidden=8,
    )  # fmt: skip
    assert {*Correct(task, tmp_path / "a").needs} == {"embedding", *hand}


def test_corrections_of_another_split_are_refused(
    store: Store, task: Task, policy: Policy, found: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_column(store, monkeypatch, "split", np.array(["test"] * len(store), dtype=object))
    with pytest.raises(
        StoreError, match=r"learns from the fit split alone, and a correction is of .*, of the test split"
    ):
        lessons_of(store, found, task, policy)
    store.episodes["split"][store.number_of(found.uids[0])] = "fit"


def call_of(task: Task, trained: Corrector) -> PolicyCall:
    scene = task.scene()
    scene.begin(wb.Stream(0, 0))
    seen = {key: values[None, None] for key, values in scene.observe().items()}
    return PolicyCall(
        np.array([8]), np.zeros((1, 16, 7)), None, np.ones((1, trained.layout["embedding"])), 8, [""], {}, seen
    )


@pytest.mark.parametrize(
    ("onset", "effect", "begun"), [(20, 30, 20), (-1, 30, 30), (20, -1, 20), (-1, -1, None)], ids=str
)
def test_failing_is_from_the_effect_on_where_no_onset_is_known(
    store: Store, task: Task, policy: Policy, found: Corrections, monkeypatch: pytest.MonkeyPatch, onset: int,
    effect: int, begun: int | None,
) -> None:  # fmt: skip
    """Calls of a failure of which neither is known are none that did not fail."""
    failed = ~store.episodes["success"].astype(bool)
    changed = {key: np.where(failed, value, -1) for key, value in (("t_on", onset), ("t_eff", effect))}
    there = {**store.episodes, **changed}
    monkeypatch.setattr(Store, "episodes", property(lambda _: there))
    taught = lessons_of(store, found, task, policy)
    lost = [number for number in range(len(store)) if failed[number]]
    assert lost
    assert set(taught.episode[taught.failing]) == (set(lost) if begun is not None else set())
    for number in lost:
        failing = taught.failing[taught.episode == number]
        steps = store.calls(number, ()).step
        assert failing.tolist() == ([] if begun is None else (steps >= begun).tolist())


def test_it_goes_where_the_corrector_says_and_abstains_where_nothing_fails(
    tmp_path: Path, task: Task, trained: Corrector
) -> None:
    train(made_up(), task="lift", folder=tmp_path / "corrector", seed=0, iterations=400, hidden=32)
    call = call_of(task, trained)
    strategy = Correct(task, tmp_path / "corrector")
    asked = strategy.act({}, Alarm(call, wb.policy("zoo/lift_flow", task), 100))
    assert asked is not None
    assert asked.more_time
    assert asked.fresh_noise
    way = asked.memory["target"][:3] - call.observation["eef_pos"][0, -1]
    assert min(np.abs(way - each[:3]).max() for each in (LEFT, RIGHT)) < 0.03
    sure = dataclasses.replace(call, embedding=-call.embedding)
    alarm = Alarm(sure, wb.policy("zoo/lift_flow", task), 100)
    assert strategy.act({}, alarm) == Placebo().act({}, alarm)
    assert strategy.act({}, dataclasses.replace(alarm, number=1)) is None  # the placebo has been given
    advice = strategy.advice(call)
    assert advice.mode == [trained.modes[int(trained.say({"embedding": call.embedding})[1][0].argmax())]]


def test_where_it_abstains_it_has_the_placebos_time_and_noise(
    tmp_path: Path, store: Store, task: Task, policy: Policy, found: Corrections
) -> None:
    """Also behind its motion the policy has time to the horizon: every branch is one of them, to the control step."""
    sizes = {"embedding": store.calls(0, ("embedding",)).embedding.shape[1]}
    inputs = np.random.default_rng(0).normal(size=(400, *sizes.values()))
    failing = inputs[:, 0] > 0
    right = [np.stack([LEFT]) if lost else np.zeros((0, 7)) for lost in failing]
    made = lessons(inputs, failing, np.where(failing, 0, -1), right)
    train(made, task="lift", folder=tmp_path / "corrector", seed=0, iterations=50, hidden=8)
    node = {"_target_": "workbench.policies.recovery.correct.Correct"}
    arms = {"never": {**node, "least": 1.0}, "always": {**node, "least": 0.0}}
    arms["placebo"] = {"_target_": "workbench.policies.recovery.placebo.Placebo"}
    at = {found.uids[0]: {int(found.step[0])}}
    table = tabulate(store, arms, task, policy, split="fit", at=at, branches=2, head=tmp_path / "head", runner=ALONE)
    assert table.arms["never"].tolist() == table.arms["placebo"].tolist()
    assert table.more_time["never"].all()
    assert table.more_time["always"].all()
    assert table.arms["always"].tolist() != table.arms["placebo"].tolist()


def test_a_corrector_of_another_task_and_none_are_refused(tmp_path: Path, task: Task) -> None:
    node = {"correct": {"_target_": "workbench.policies.recovery.correct.Correct"}}
    with pytest.raises(ConfigError, match="goes by a corrector, and there is none; workbench correct makes"):
        built(node, task, wb.policy("zoo/lift_flow", task), {}, tmp_path / "head")
    train(made_up(), task="stack", folder=tmp_path / "corrector", seed=0, iterations=1, hidden=8)
    with pytest.raises(CheckpointError, match="was trained on task stack, not lift"):
        built(node, task, wb.policy("zoo/lift_flow", task), {}, tmp_path / "head")


def test_a_training_is_kept_and_one_of_other_settings_is_refused(
    tmp_path: Path, store: Store, task: Task, policy: Policy, found: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = ~store.episodes["success"].astype(bool)
    with_column(store, monkeypatch, "t_on", np.where(failed, 10, -1))
    into, trainer = tmp_path / "corrector", {"_target_": "workbench.policies.learning.corrector.train", "iterations": 5}
    lucky = dataclasses.replace(found, ended=np.where(found.placebo[:, None], 0, 50))  # all are verified
    told = train_corrector(store, lucky, task, policy, into=into, trainer=trainer)
    before = {path.name: path.read_bytes() for path in into.iterdir()}
    assert train_corrector(store, lucky, task, policy, into=into, trainer=trainer) == told
    with pytest.raises(CheckpointError, match="overwrite=true trains it anew"):
        train_corrector(store, lucky, task, policy, into=into, trainer={**trainer, "iterations": 6})
    assert {path.name: path.read_bytes() for path in into.iterdir()} == before
    assert told["corrections"] == sum(KINDS[kind] in ("twin", "object", "expert") for kind in found.kind)


def always(most: int, cool_down: int, strategy: Correct | Placebo, horizon: int) -> Guard:
    """Asks its strategy at every call of the policy."""
    threshold = Threshold(np.zeros(1), np.ones(1), 0.1, 9, "nothing")
    score = FittedScore("always", Always(), frozenset(), 0)
    monitor = Monitor("always", score, Window(), "Fixed", 0.1, threshold)
    return Guard(monitor, strategy, horizon=horizon, most=most, cool_down=cool_down)


@pytest.fixture(scope="module")
def asked(task: Task, policy: Policy, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a corrector whose chance of failing lies on both sides of one half in the policy's own episodes."""
    calls = [store.calls(number, ("embedding",)).embedding for number in range(len(store))]
    inputs = np.concatenate(calls).astype(float)
    failing = np.concatenate([np.arange(len(each)) % 2 == 1 for each in calls])
    right = [np.stack([LEFT]) if lost else np.zeros((0, 7)) for lost in failing]
    into: Path = tmp_path_factory.mktemp("asked") / "corrector"
    train(lessons(inputs, failing, np.where(failing, 0, -1), right), task="lift", folder=into, seed=0, iterations=200)
    return into


def test_asked_at_every_call_it_corrects_again_and_again(task: Task, policy: Policy, asked: Path) -> None:
    """As FailSafe asks its head every n steps: motion, hand-back, look again, motion."""
    guard = always(3, 40, Correct(task, asked, least=0.0), 200)
    ((_, episode),) = Lockstep(task, policy, 1, guard=guard).record_numbered([Launch(wb.Stream(0, 5))])
    at = episode.calls["step"][episode.calls["intervened"]]
    relieved = episode.steps["relieved"].astype(int)
    assert len(at) == 3
    assert (np.diff(at) > 40).all()
    assert at.tolist() == np.flatnonzero(np.diff([0, *relieved]) == 1).tolist()  # each begins a motion,
    assert (np.diff([*relieved, 0]) == -1).sum() == 3  # and each is handed back
    assert not relieved[episode.calls["step"]][~episode.calls["intervened"]].any()


def test_asked_at_every_call_it_abstains_once_and_then_leaves_the_policy_alone(
    task: Task, policy: Policy, asked: Path
) -> None:
    """What it is not sure of costs no intervention, once noise and time are given: it is the placebo, bit for bit."""
    launch = Launch(wb.Stream(0, 5))
    found = []
    for strategy in (Correct(task, asked, least=1.0), Placebo()):
        guard = always(1 if isinstance(strategy, Placebo) else 5, 0, strategy, 200)
        found += Lockstep(task, policy, 1, guard=guard).record([launch])
    one, other = found
    assert one.calls["intervened"].tolist() == other.calls["intervened"].tolist()
    assert one.calls["intervened"].sum() == 1
    np.testing.assert_array_equal(one.steps["state"], other.steps["state"])


def test_a_motion_that_comes_after_an_abstention_is_made(task: Task, policy: Policy, asked: Path) -> None:
    guard = always(2, 0, Correct(task, asked, least=0.5), 200)
    ((_, episode),) = Lockstep(task, policy, 1, guard=guard).record_numbered([Launch(wb.Stream(0, 5))])
    at = np.flatnonzero(episode.calls["intervened"])
    assert at[0] == 0
    assert not episode.steps["relieved"][0]
    assert len(at) == 2
    assert episode.steps["relieved"][episode.calls["step"][at[1]]]
