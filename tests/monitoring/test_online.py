"""What a monitor is shown as the robot moves is, bit for bit, what it is shown of the store afterwards."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.toy import ToyPolicy, ToyScene, ToyTask, broken
from workbench.config import Run, build, compose
from workbench.detectors.calibrators.fixed import Fixed
from workbench.detectors.scores.entropy import ActionChunkEntropy
from workbench.detectors.scores.force_torque import ForceTorque
from workbench.detectors.scores.mahalanobis import Mahalanobis
from workbench.detectors.scores.signal import Signal
from workbench.detectors.scores.stac import StatisticalTemporalConsistency
from workbench.detectors.scores.token_entropy import TokenEntropy
from workbench.errors import ScoreError, UnknownNameError
from workbench.jobs import rollout
from workbench.monitoring.calibration import calibrate
from workbench.monitoring.monitor import Monitor
from workbench.monitoring.online import OnlineMonitor
from workbench.monitoring.reading import offline
from workbench.monitoring.scoring import FittedScore, fit_score
from workbench.monitoring.window import Window
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.rolling import drawn
from workbench.rollouts.setup import setup_of
from workbench.store import Store, StoreWriter
from workbench.types import RECENT, Array, Episode, EpisodeCalls, PolicyCall, PolicyOutput, Stream, episode_index

SIGNALS = ("doubt", "token_entropies")
NEEDS = ("chunk", "samples", "embedding", "signals/doubt", "signals/token_entropies", "observation/place")


class Digest:
    """Scores a call by the bits of one thing in it: two that differ anywhere have other scores."""

    def __init__(self, need: str) -> None:
        self.need = need
        self.needs = frozenset({need}) - {"chunk"}

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None: ...

    def begin(self) -> dict[str, Any]:
        return {}

    def update(self, memories: Any, call: PolicyCall) -> Array:
        kind, _, key = self.need.partition("/")
        parts: Any = {"signals": call.signals, "observation": call.observation}.get(kind)
        values = getattr(call, kind) if parts is None else parts[key]
        words = zip(call.instructions, call.step, values, strict=True)
        return np.array(
            [
                zlib.crc32(f"{told} {step} {row.dtype} {row.shape} ".encode() + row.tobytes())
                for told, step, row in words
            ]
        )

    def state(self) -> dict[str, Array]:
        return {}

    def load(self, state: Mapping[str, Array]) -> None: ...


def digests(needs: Sequence[str]) -> list[Monitor]:
    return [
        Monitor(need, FittedScore(need, Digest(need), frozenset(), 0), Window(), "Fixed", 0.1, None) for need in needs
    ]


class Uneven(ToyScene):
    """Sees more digits than the store's calls keep, and runs more or less of a chunk, so that calls come unevenly."""

    def observe(self) -> Any:
        return {"place": np.array([self._place / 3.0 + self._step * np.pi])}

    def queue(self, chunk: Array, execute: int) -> Array:
        return chunk[: 1 + self._step % 5]

    def truth(self) -> Any:
        return dataclasses.replace(super().truth(), success=self._place >= 20)


class UnevenTask(ToyTask):
    def scene(self) -> ToyScene:
        return Uneven(self)


@dataclasses.dataclass
class Talkative(ToyPolicy):
    """Says much of its calls, in double precision."""

    signals: tuple[str, ...] = SIGNALS

    def plan(self, observation: Any, noise: Any, samples: int = 0, signals: Sequence[str] = ()) -> PolicyOutput:
        chunk = np.stack([0.2 + rng.random((self.horizon, 1)) for rng in noise])
        drawn = np.stack([rng.normal(size=(samples, self.horizon, 1)) for rng in noise]) if samples else None
        said = {
            "doubt": np.array([rng.random() for rng in noise]),
            "token_entropies": np.stack([rng.random(3) for rng in noise]),
        }
        features = np.stack([rng.normal(size=4) for rng in noise]) + observation["place"][:, -1]
        return PolicyOutput(chunk, drawn, features, {name: said[name] for name in signals})


class Listener:
    """Follows a rollout with monitors; a slot is an episode's index."""

    def __init__(self, monitors: Sequence[Monitor]) -> None:
        self.online, self.heard = OnlineMonitor(monitors), dict[int, list[dict[str, Any]]]()
        self.batches: list[list[int]] = []

    def on_call(self, episodes: Sequence[Stream], call: PolicyCall) -> None:
        slots = [stream.episode for stream in episodes]
        for slot in set(slots) - self.heard.keys():
            self.online.begin(slot)
            self.heard[slot] = []
        self.batches.append(call.step.tolist())
        readings = self.online.update(slots, call)
        for row, slot in enumerate(slots):
            self.heard[slot].append({name: reading.score[row] for name, reading in readings.items()})

    def on_end(self, episode: Episode) -> None: ...


def refuse_differences(listener: Listener, store: Store, monitors: Sequence[Monitor], rtol: float = 0.0) -> None:
    """Compare what was heard with the curves of the store, read for what each score needs alone."""
    assert len(store) == len(listener.heard)
    for monitor in monitors:
        calls = [store.calls(number, monitor.score.score.needs) for number in range(len(store))]
        for number, reading in enumerate(offline([monitor], calls)[monitor.name]):
            live = [said[monitor.name] for said in listener.heard[int(store.episodes["index"][number])]]
            assert len(live) == len(reading.score)
            np.testing.assert_allclose(live, reading.score, rtol=rtol, atol=0.0, err_msg=monitor.name)
            assert len(set(live)) == len(live), f"{monitor.name}: nothing was compared"


LAUNCHES = [
    Launch(Stream(5, episode_index("test", number)), (broken(7, 0),) if number % 3 == 0 else ()) for number in range(9)
]


def rolled(path: Path, task: Any, policy: Any, listener: Any, **options: Any) -> Store:
    head = dataclasses.replace(setup_of(Run(compose(["policy=expert"]))).header(0, policy="expert"), task=task.name)
    lockstep = Lockstep(task, policy, 4, subscribers=[listener] if listener else (), **options)
    with StoreWriter.open(path, head) as writer:
        for episode in lockstep.record(LAUNCHES):
            writer.append(episode)
    return Store.open(path)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Listener, Store]:
    listener = Listener(digests(NEEDS))
    path = tmp_path_factory.mktemp("online") / "toy.zarr"
    return listener, rolled(path, UnevenTask(), Talkative(), listener, samples=5, signals=SIGNALS)


def test_every_need_is_the_same_online_and_offline_to_the_bit(toy: tuple[Listener, Store]) -> None:
    listener, store = toy
    refuse_differences(listener, store, digests(NEEDS))
    assert any(len(set(steps)) > 1 for steps in listener.batches), "calls of different steps must meet in a batch"
    apart = np.concatenate([np.diff(store.calls(number, ()).step) for number in range(len(store))])
    assert len(set(apart)) > 2, "calls must come unevenly"
    assert store.episodes["success"].any()
    assert not store.episodes["success"].all()


def test_scores_and_margins_are_the_same_online_and_offline(toy: tuple[Listener, Store], tmp_path: Path) -> None:
    """The same with real scores of every kind, whose arithmetic may round by how many scenes share a call."""
    _, store = toy
    needs = {*NEEDS} - {"chunk"}
    episodes = [dataclasses.replace(store.calls(number, needs), split="fit") for number in range(len(store))]
    truths = [store.truth(number) for number in range(len(store))]
    made: dict[str, Any] = {
        "doubt": Signal("doubt"),
        "token_entropy": TokenEntropy("mean"),
        "force_torque": ForceTorque(reading="place", channels=4, iterations=20),
        "mahalanobis": Mahalanobis(),
        "entropy": ActionChunkEntropy(dims=[0], cell_fraction=0.1),
        "stac": StatisticalTemporalConsistency(dims=[0]),
    }
    fixed = Fixed(0.5)
    monitors = []
    for name, score in made.items():
        chosen = truths if name == "force_torque" else ()
        scored = fit_score(name, score, episodes, 0, chosen)
        monitors.append(calibrate(name, scored, Window("mean", 2), fixed, [], 0.1))
    listener = Listener(monitors)
    again = rolled(tmp_path / "again.zarr", UnevenTask(), Talkative(), listener, samples=5, signals=SIGNALS)
    assert again.digest() == store.digest()
    for monitor in monitors:
        exact = monitor.name in ("doubt", "token_entropy")
        calls = [again.calls(number, monitor.score.score.needs) for number in range(len(again))]
        for number, reading in enumerate(offline([monitor], calls)[monitor.name]):
            live = [said[monitor.name] for said in listener.heard[int(again.episodes["index"][number])]]
            np.testing.assert_allclose(live, reading.score, rtol=0 if exact else 1e-9, atol=0 if exact else 1e-12)
            assert np.ptp(live) > 0


def test_recent_observations_are_the_last_control_steps_and_repeat_the_first_at_the_start(
    toy: tuple[Listener, Store],
) -> None:
    _, store = toy
    beyond = 0
    for number in range(len(store)):
        calls = store.calls(number, {"observation/place"})
        place = store.episode(number, steps=("obs/place",), calls=()).steps["obs/place"]
        recent = calls.observation["place"]
        assert recent.shape == (len(calls.step), RECENT, 1)
        assert recent.dtype == np.float64
        for called, window in zip(calls.step, recent, strict=True):
            wanted = [place[max(called - back, 0)] for back in reversed(range(RECENT))]
            np.testing.assert_array_equal(window, wanted)
            beyond += called >= RECENT
    assert beyond > 10, "calls in mid-episode must be among them"


def test_a_store_hands_out_what_is_needed_and_nothing_else(toy: tuple[Listener, Store]) -> None:
    _, store = toy
    bare = store.calls(0, ())
    assert (bare.samples, bare.embedding, dict(bare.signals), dict(bare.observation)) == (None, None, {}, {})
    assert len(bare.chunk) == len(bare.step) > 0
    one = store.calls(0, {"signals/doubt", "signals/none", "observation/none", "samples"})
    assert (set(one.signals), set(one.observation), one.embedding) == ({"doubt"}, set(), None)
    assert one.samples is not None
    everything = store.calls(0)
    assert (set(everything.signals), set(everything.observation)) == (set(SIGNALS), set())
    assert everything.embedding is not None


def test_without_signals_or_samples_a_score_says_so_online_as_offline(tmp_path: Path) -> None:
    score = fit_score("doubt", Signal("doubt"), [], 0)
    monitor = calibrate("doubt", score, Window(), Fixed(0.5), [], 0.1)
    with pytest.raises(ScoreError, match=r"score doubt needs.*rollout\.signals=\[doubt\]"):
        rolled(tmp_path / "a.zarr", UnevenTask(), Talkative(), Listener([monitor]))
    store = rolled(tmp_path / "b.zarr", UnevenTask(), Talkative(), None)
    with pytest.raises(ScoreError, match=r"score doubt needs.*rollout\.signals=\[doubt\]"):
        offline([monitor], [store.calls(0, score.score.needs)])


def test_an_unknown_signal_is_refused_before_there_is_a_store(tmp_path: Path) -> None:
    words = ["job=rollout", "policy=zoo/lift_flow", "rollout.signals=[denoising_los]", "runner.workers=1", "name=s"]
    run = Run(compose(words), tmp_path)
    with pytest.raises(
        UnknownNameError, match=r"signal of policy FlowPolicy 'denoising_los'.*'denoising_loss'"
    ) as said:
        rollout.run(run, **{key: value for key, value in run.config["job"].items() if key != "_target_"})
    assert "\n" not in str(said.value)
    assert not list(tmp_path.glob("datasets/*"))


def test_a_robot_under_faults_of_every_channel_is_seen_the_same_online_and_offline(tmp_path: Path) -> None:
    """Lift, with faults that delay, freeze and bias what is seen, and that change when the policy is asked."""
    names = ("proprioception_delay", "observation_freeze", "no_replanning", "dropped_packets", "object_pose_noise")
    words = ["policy=zoo/lift_flow", f"perturbation=[{','.join(names)}]", "runner.workers=1"]
    run = Run(compose([*words, "rollout.signals=[denoising_loss,reconstruction]"]), tmp_path)
    specifications = [build(node) for node in run.config["perturbation"].values()]
    faults = [[], *([one] for one in specifications)]
    drawn_ones = [drawn(run.task, faults[number], "test", number, run.seed) for number in range(len(faults))]
    launches = [dataclasses.replace(each, deadline=32) for each in drawn_ones]
    needs = [
        "chunk", "samples", "embedding", "signals/denoising_loss", "signals/reconstruction",
        *(f"observation/{key}" for key in run.task.observation_sizes),
    ]  # fmt: skip
    listener = Listener(digests(needs))
    lockstep = Lockstep(
        run.task, run.policy(), 4, samples=3, signals=run.config["rollout"]["signals"], subscribers=[listener]
    )
    with StoreWriter.open(tmp_path / "l.zarr", setup_of(run).header(0)) as writer:
        for episode in lockstep.record(launches):
            writer.append(episode)
    refuse_differences(listener, Store.open(tmp_path / "l.zarr"), digests(needs))
