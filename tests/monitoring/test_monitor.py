"""Splits are refused, online is offline, a conjunction is one, and a folder gives back what was saved."""

import dataclasses
import json
import math

import numpy as np
import pytest

from workbench.detectors.calibrators.adaptive import AdaptiveConformal
from workbench.detectors.calibrators.fixed import Fixed
from workbench.detectors.calibrators.functional_band import FunctionalBand
from workbench.detectors.calibrators.leave_one_out import LeaveOneOut
from workbench.detectors.calibrators.mondrian import Mondrian
from workbench.detectors.calibrators.risk_control import RecallControl
from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.detectors.groups.stage import StageGroups
from workbench.detectors.groups.task import TaskGroups
from workbench.detectors.scores.always import Always
from workbench.detectors.scores.elapsed import Elapsed
from workbench.detectors.scores.entropy import ActionChunkEntropy
from workbench.detectors.scores.mahalanobis import Mahalanobis
from workbench.detectors.scores.rnd import RandomNetworkDistillation
from workbench.detectors.scores.stac import StatisticalTemporalConsistency
from workbench.errors import CheckpointError, ConfigError, ScoreError, SplitError, UnknownNameError
from workbench.monitoring import files
from workbench.monitoring.calibration import calibrate
from workbench.monitoring.files import load, save
from workbench.monitoring.monitor import And, Or
from workbench.monitoring.online import OnlineMonitor
from workbench.monitoring.reading import offline, read
from workbench.monitoring.scoring import curves, fit_score
from workbench.monitoring.window import Window
from workbench.types import EpisodeCalls, EpisodeTruth, PolicyCall

B, H, A, D, EXECUTE, LEVEL = 8, 8, 7, 16, 4, 0.2
BUILD = {
    "rnd": lambda: RandomNetworkDistillation(width=32, epochs=20),
    "mahalanobis": Mahalanobis,
    "entropy": ActionChunkEntropy,
    "stac": StatisticalTemporalConsistency,
    "elapsed": Elapsed,
    "always": Always,
    "tasks": TaskGroups,
    "stages": StageGroups,
}
INSTRUCTIONS = ("lift it", "push it", "throw it")


def episode(split, number):
    rng = np.random.default_rng([number, len(split)])
    calls = int(rng.integers(3, 9))
    wild = split == "test" and number % 2
    samples = rng.normal(size=(calls, 1, H, A)) + (0.5 if wild else 0.1) * rng.normal(size=(calls, B, H, A))
    embedding = rng.normal(size=(calls, D)) + (2.0 if wild else 0.0)
    return EpisodeCalls(
        uid=f"{split}:{number}",
        split=split,
        step=EXECUTE * np.arange(calls),
        chunk=samples[:, 0].astype(np.float32),
        samples=samples.astype(np.float32),
        embedding=embedding.astype(np.float32),
        execute=EXECUTE,
        instruction=INSTRUCTIONS[number % (3 if split == "test" else 2)],
    )


def truth(known):
    stage = (np.arange(len(known.step)) > 2).astype(int)
    return EpisodeTruth(known.uid, True, "", "", 4 * len(stage), 40, -1, -1, stage, np.zeros((0, 3)))


FIT = [episode("fit", i) for i in range(12)]
KNOWN = [episode("calibrate", i) for i in range(24)]
TEST = [episode("test", i) for i in range(40)]


def row(index, number):
    """One policy call of one scene, as a rollout hands it over."""
    e = TEST[index]
    parts = (part[number][None] for part in (e.step, e.chunk, e.samples, e.embedding))
    return PolicyCall(*parts, e.execute, [e.instruction])


def joined(calls):
    parts = {key: np.concatenate([getattr(c, key) for c in calls]) for key in ("step", "chunk", "samples", "embedding")}
    return PolicyCall(**parts, execute=EXECUTE, instructions=[said for c in calls for said in c.instructions])


@pytest.fixture(scope="module")
def monitors():
    truths = [truth(known) for known in FIT]
    scores = {name: fit_score(name, make(), FIT, 5, truths) for name, make in BUILD.items()}
    made = [
        calibrate("rnd", scores["rnd"], Window("mean", 2), SplitConformal(), KNOWN, LEVEL),
        calibrate("mahalanobis", scores["mahalanobis"], Window("max", 3), FunctionalBand(), KNOWN, LEVEL),
        calibrate("entropy", scores["entropy"], Window("sum", 3), FunctionalBand(), KNOWN, LEVEL),
        calibrate("stac", scores["stac"], Window("sum", 50), SplitConformal(), KNOWN, LEVEL),
        calibrate("elapsed", scores["elapsed"], Window(), SplitConformal(), KNOWN, LEVEL),
        calibrate("always", scores["always"], Window(), Fixed(0.0), KNOWN, LEVEL),
        calibrate("too strict", scores["rnd"], Window(), SplitConformal(), KNOWN, 0.01),
    ]
    by_name = {monitor.name: monitor for monitor in made}
    made.append(And("fiper", (by_name["rnd"], by_name["entropy"])))
    made.append(And("mute", (by_name["rnd"], by_name["too strict"])))
    made += [
        calibrate(name, scores["rnd"], Window("mean", 2), Mondrian(changes), KNOWN, LEVEL, groups=scores[groups])
        for name, changes, groups in (("by task", False, "tasks"), ("by stage", True, "stages"))
    ]
    made.append(calibrate("adaptive", scores["mahalanobis"], Window(), AdaptiveConformal(), KNOWN, LEVEL))
    legs = [calibrate(f"or.{n}", scores[n], Window(), SplitConformal(), KNOWN, LEVEL / 2) for n in ("rnd", "stac")]
    made.append(Or("sentinel", tuple(legs)))
    made.append(Or("deaf", (by_name["rnd"], by_name["too strict"])))
    return made


def played(monitors, slots=5):
    """Readings of the test episodes, fed call by call into a few slots that end and begin at different times."""
    online = OnlineMonitor(monitors)
    waiting, running = list(range(len(TEST))), {}
    heard = {m.name: [[] for _ in TEST] for m in monitors}
    rng = np.random.default_rng(0)
    while waiting or running:
        for slot in range(slots):
            if slot not in running and waiting:
                running[slot] = [waiting.pop(0), 0]
                online.begin(slot)
        chosen = [s for s in rng.permutation(list(running)) if rng.random() < 0.8]
        if not chosen:
            continue
        readings = online.update(chosen, joined([row(*running[s]) for s in chosen]))
        for name, reading in readings.items():
            for i, slot in enumerate(chosen):
                heard[name][running[slot][0]].append([part[i] for part in reading])
        for slot in chosen:
            running[slot][1] += 1
            if running[slot][1] == len(TEST[running[slot][0]].step):
                del running[slot]
    return heard


def test_online_is_offline(monitors):
    heard, whole = played(monitors), offline(monitors, TEST)
    assert heard.keys() == whole.keys() == {m.name for m in monitors}
    for name, readings in whole.items():
        for said, reading in zip(heard[name], readings, strict=True):
            score, margin, alarm = np.array(said, np.float64).T
            np.testing.assert_allclose(score, reading.score, rtol=1e-6, atol=1e-6, err_msg=name)
            np.testing.assert_allclose(margin, reading.margin, rtol=1e-6, atol=1e-6, err_msg=name)
            assert np.array_equal(alarm.astype(bool), reading.alarm), name
    for name in ("rnd", "mahalanobis", "entropy", "stac", "by task", "by stage", "adaptive", "sentinel"):
        assert len({reading.alarm.any() for reading in whole[name]}) == 2, f"{name}: nothing was compared"


def test_a_slot_forgets_its_last_episode(monitors):
    used, fresh = OnlineMonitor(monitors), OnlineMonitor(monitors)
    used.begin(0)
    for number in range(3):
        used.update([0], row(1, number))
    used.begin(0)
    fresh.begin(0)
    for number in range(3):
        expected = fresh.update([0], row(2, number))
        for name, reading in used.update([0], row(2, number)).items():
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(reading, expected[name], strict=True)), name


def test_lockstep_offline_is_one_episode_at_a_time(monitors):
    for monitor in monitors[:6]:
        alone = [curves(monitor.score, [e])[0] for e in TEST]
        for one, many in zip(alone, curves(monitor.score, TEST), strict=True):
            assert len(one) == len(many)
            np.testing.assert_allclose(one, many, rtol=1e-6, atol=1e-9)


def test_conjunction_is_the_smallest_margin_and_alarms_where_both_do(monitors):
    whole = offline(monitors, TEST)
    some = False
    for rnd, entropy, fiper in zip(whole["rnd"], whole["entropy"], whole["fiper"], strict=True):
        assert np.array_equal(fiper.margin, np.minimum(rnd.margin, entropy.margin))
        assert np.array_equal(fiper.alarm, rnd.alarm & entropy.alarm)
        some |= bool((rnd.alarm & ~entropy.alarm).any())
    assert some
    assert monitors[7].level == LEVEL
    assert all(f"{name}: P(any alarm" in monitors[7].guarantee for name in ("rnd", "entropy"))
    with pytest.raises(ConfigError, match="at least two"):
        And("one", (monitors[0],))


def test_disjunction_is_the_largest_margin_and_alarms_where_either_does(monitors):
    sentinel, deaf = monitors[12:14]
    whole = offline([sentinel, deaf, *sentinel.legs], TEST)
    some = False
    for rnd, stac, either in zip(*(whole[name] for name in ("or.rnd", "or.stac", "sentinel")), strict=True):
        assert np.array_equal(either.margin, np.maximum(rnd.margin, stac.margin))
        assert np.array_equal(either.alarm, rnd.alarm | stac.alarm)
        some |= bool((rnd.alarm ^ stac.alarm).any())
    assert some
    assert sentinel.level == LEVEL
    assert "at most 0.2 (union bound)" in sentinel.guarantee
    assert all(f"or.{name}: P(any alarm" in sentinel.guarantee for name in ("rnd", "stac"))
    assert deaf.guarantee.startswith("none: too strict: ")
    assert not any(reading.alarm.any() for reading in whole["deaf"])
    by_hand = dataclasses.replace(monitors[0], name="by hand", threshold=Fixed(1.0).calibrate([], LEVEL))
    assert Or("x", (monitors[0], by_hand)).guarantee == "none: by hand promises nothing"


def test_a_promise_of_recall_is_none_of_a_combination(monitors):
    failures = [dataclasses.replace(known, uid=f"failed {i}") for i, known in enumerate(KNOWN)]
    recall = calibrate("recall", monitors[0].score, Window(), RecallControl(), KNOWN, LEVEL, failures=failures)
    assert "see an alarm" in recall.guarantee
    for kind in (And, Or):
        assert kind("x", (monitors[0], recall)).guarantee.startswith("none: recall promises recall")


def test_each_call_is_read_with_the_threshold_of_its_group(monitors):
    by_task, by_stage = monitors[9:11]
    whole = offline([by_task, by_stage], TEST)
    numbers = {"by task": [], "by stage": []}
    for monitor in (by_task, by_stage):
        values, scale = monitor.threshold.values, monitor.threshold.scale[0]
        for group, reading in zip(curves(monitor.groups, TEST), whole[monitor.name], strict=True):
            expected = (reading.score - values[group.astype(int)]) / scale  # -1, an unknown one, is the last
            np.testing.assert_allclose(reading.margin, expected, atol=1e-12)
            numbers[monitor.name] += set(group)
    assert set(numbers["by task"]) == {-1, 0, 1}
    assert set(numbers["by stage"]) == {0, 1}
    assert len(set(by_task.threshold.values)) == len(set(by_stage.threshold.values[:2])) == 2


def test_readings_from_cached_curves_are_the_readings(monitors):
    scores = {part.name: part for m in monitors for leaf in m.leaves() for part in (leaf.score, leaf.groups) if part}
    raw = {name: curves(score, TEST) for name, score in scores.items()}
    whole = offline(monitors, TEST)
    for name, readings in read(monitors, raw).items():
        for one, other in zip(readings, whole[name], strict=True):
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True)), name


# -- thresholds that move --------------------------------------------------------------------------------------------


def one_by_one(online, successes, chosen):
    """Readings of test episodes that are played one after the other, each told how it ended."""
    heard = []
    for index, success in zip(chosen, successes, strict=True):
        online.begin(0)
        heard.append([online.update([0], row(index, n))["adaptive"] for n in range(len(TEST[index].step))])
        online.end(0, success)
    return heard


def test_adaptive_thresholds_move_the_same_online_and_offline(monitors):
    adaptive, chosen = monitors[11], range(20)
    successes = [number % 4 != 3 for number in chosen]
    whole = offline([adaptive], [TEST[i] for i in chosen], successes)["adaptive"]
    heard = one_by_one(OnlineMonitor([adaptive]), successes, chosen)
    for said, reading in zip(heard, whole, strict=True):
        np.testing.assert_allclose(np.concatenate([s.margin for s in said]), reading.margin, rtol=1e-6, atol=1e-6)
    still = offline([adaptive], [TEST[i] for i in chosen])["adaptive"]
    assert all(np.isfinite(reading.margin).all() for reading in whole)
    assert np.array_equal(still[0].margin, whole[0].margin)
    assert not np.array_equal(still[-1].margin, whole[-1].margin)


def test_only_successes_move_a_threshold_and_an_episode_keeps_the_one_it_began_with(monitors):
    adaptive = monitors[11]
    failed = one_by_one(OnlineMonitor([adaptive]), [False] * 6, range(6))
    still = offline([adaptive], TEST[:6])["adaptive"]
    for said, reading in zip(failed, still, strict=True):
        np.testing.assert_allclose(np.concatenate([s.margin for s in said]), reading.margin, rtol=1e-6, atol=1e-6)
    online = OnlineMonitor([adaptive])
    online.begin(0)
    online.begin(1)
    online.update([0], row(1, 0))
    before = online.update([1], row(2, 0))["adaptive"].margin
    online.end(0, True)
    online.begin(0)
    assert online.update([0], row(2, 0))["adaptive"].margin != before
    np.testing.assert_allclose(online.update([1], row(2, 1))["adaptive"].margin, still[2].margin[1], atol=1e-6)


def test_a_monitor_is_not_changed_by_what_it_watches(monitors):
    adaptive = monitors[11]
    first = offline([adaptive], TEST, [True] * len(TEST))["adaptive"]
    again = offline([adaptive], TEST, [True] * len(TEST))["adaptive"]
    assert all(np.array_equal(a.margin, b.margin) for a, b in zip(first, again, strict=True))


def test_a_threshold_that_cannot_be_is_a_reason_and_never_an_alarm(monitors):
    strict, mute = monitors[6], monitors[8]
    assert strict.threshold is None
    assert "at least 99" in strict.reason
    assert strict.guarantee.startswith("none: ")
    assert mute.guarantee.startswith("none: too strict: ")
    whole = offline([strict, mute], TEST)
    for name in ("too strict", "mute"):
        assert not any(reading.alarm.any() for reading in whole[name])
        assert all(np.isnan(reading.margin).all() for reading in whole[name])
    assert all(np.isfinite(reading.score).all() for reading in whole["too strict"])


def test_always_alarms_at_the_first_call(monitors):
    assert all(reading.alarm.all() for reading in offline(monitors, TEST)["always"])


# -- splits ----------------------------------------------------------------------------------------------------------


def test_fit_takes_the_fit_split_alone():
    for stranger in (KNOWN[0], TEST[0]):
        with pytest.raises(SplitError, match=rf"fit split alone, but 1 of 13.*{stranger.uid}"):
            fit_score("elapsed", Elapsed(), [*FIT, stranger], 0)
    with pytest.raises(SplitError, match="fit:3 comes 2 times"):
        fit_score("elapsed", Elapsed(), [*FIT, FIT[3]], 0)


def test_calibrate_takes_the_calibrate_split_alone():
    score = fit_score("elapsed", Elapsed(), FIT, 0)
    for stranger in (FIT[0], TEST[0]):
        with pytest.raises(SplitError, match=rf"calibrate split alone.*{stranger.uid}"):
            calibrate("m", score, Window(), SplitConformal(), [*KNOWN, stranger], LEVEL)
    with pytest.raises(SplitError, match="comes 2 times"):
        calibrate("m", score, Window(), SplitConformal(), [*KNOWN, KNOWN[3]], LEVEL)


def test_an_episode_that_was_fitted_on_is_refused_under_any_split(tmp_path):
    """A fit episode that is relabelled is still known by its uid, also after the monitor came back from a folder."""
    score = fit_score("elapsed", Elapsed(), FIT, 0)
    disguised = dataclasses.replace(FIT[2], split="calibrate")
    save(tmp_path, [calibrate("m", score, Window(), SplitConformal(), KNOWN, LEVEL)])
    (loaded,) = load(tmp_path, {"elapsed": Elapsed()}).values()
    for fitted in (score, loaded.score):
        with pytest.raises(SplitError, match=r"1 episodes that score elapsed was fitted on \(fit:2\)"):
            calibrate("m", fitted, Window(), SplitConformal(), [*KNOWN, disguised], LEVEL)


def test_failures_and_groups_obey_the_splits_too(monitors):
    score, tasks = monitors[0].score, monitors[9].groups
    rule, disguised = RecallControl(), dataclasses.replace(FIT[2], split="calibrate")
    with pytest.raises(SplitError, match=r"calibrate split alone.*test:1"):
        calibrate("m", score, Window(), rule, KNOWN, LEVEL, failures=[TEST[1]])
    with pytest.raises(SplitError, match="calibrate:3 comes 2 times"):
        calibrate("m", score, Window(), rule, KNOWN, LEVEL, failures=[KNOWN[3]])
    with pytest.raises(SplitError, match=r"score rnd was fitted on \(fit:2\)"):
        calibrate("m", score, Window(), rule, KNOWN, LEVEL, failures=[disguised])
    fresh = fit_score("fresh", Elapsed(), FIT[5:], 0)
    with pytest.raises(SplitError, match=r"score tasks was fitted on \(fit:2\)"):
        calibrate("m", fresh, Window(), Mondrian(False), [*KNOWN, disguised], LEVEL, groups=tasks)
    with pytest.raises(ConfigError, match="needs groups of calls"):
        calibrate("m", score, Window(), Mondrian(False), KNOWN, LEVEL)
    without = calibrate("m", score, Window(), rule, KNOWN, LEVEL)
    assert without.threshold is None
    assert "at least 11 failed calibration episodes, and there are 0" in without.reason


def test_held_out_curves_come_from_the_score_and_go_through_the_window():
    class Held(Elapsed):
        def leave_one_out(self):
            return {known.uid: np.arange(len(known.step)) + 0.1 * i for i, known in enumerate(FIT)}

    window = Window("sum", 3)
    made = calibrate("m", fit_score("held", Held(), FIT, 0), window, LeaveOneOut(), [], LEVEL)
    highest = [window.apply(curve).max() for curve in Held().leave_one_out().values()]
    assert made.threshold.values[0] == np.sort(highest)[math.ceil(13 * 0.8) - 1]
    without = calibrate("m", fit_score("elapsed", Elapsed(), FIT, 0), window, LeaveOneOut(), KNOWN, LEVEL)
    assert "leave_one_out" in without.reason


# -- scores that fail ------------------------------------------------------------------------------------------------


def broken(number, call):
    whole = TEST[number]
    embedding = whole.embedding.copy()
    embedding[call, 0] = np.nan
    return dataclasses.replace(whole, embedding=embedding)


def test_a_score_that_is_not_finite_names_its_episode_and_call(monitors):
    episodes = [TEST[0], broken(3, 2), TEST[5]]
    with pytest.raises(ScoreError, match=r"mahalanobis is nan in episode test:3 at policy call 2 \(control step 8\)"):
        curves(monitors[1].score, episodes)


def test_a_score_that_is_not_finite_names_its_slot(monitors):
    online = OnlineMonitor([monitors[1]])
    for slot in (4, 9):
        online.begin(slot)
    online.update([4], row(0, 0))
    nan = dataclasses.replace(row(3, 1), embedding=np.full((1, D), np.nan))
    with pytest.raises(ScoreError, match=r"in slot 4 at policy call 1 "):
        online.update([9, 4], joined([row(2, 0), nan]))


def test_one_episode_without_samples_is_told(monitors):
    bare = dataclasses.replace(TEST[1], samples=None)
    with pytest.raises(ScoreError, match="entropy needs the policy's samples"):
        curves(monitors[2].score, [TEST[0], bare])


# -- names and folders -----------------------------------------------------------------------------------------------


def test_one_name_for_two_things_is_refused(monitors):
    other = fit_score("rnd", Elapsed(), FIT, 0)
    with pytest.raises(ConfigError, match="two fitted scores are called rnd"):
        OnlineMonitor([monitors[0], calibrate("other", other, Window(), SplitConformal(), KNOWN, LEVEL)])
    with pytest.raises(ConfigError, match="two monitors are called rnd"):
        OnlineMonitor([monitors[0], dataclasses.replace(monitors[0])])
    with pytest.raises(ConfigError, match="two monitors are called rnd"):
        OnlineMonitor([monitors[0], And("rnd", (monitors[1], monitors[2]))])


def test_a_folder_gives_back_every_monitor_exactly(monitors, tmp_path):
    save(tmp_path / "deep" / "monitors", monitors)
    again = list(load(tmp_path / "deep" / "monitors", {name: make() for name, make in BUILD.items()}).values())
    assert [m.name for m in again] == [m.name for m in monitors]
    for old, new in zip(monitors, again, strict=True):
        assert (new.level, new.guarantee, new.threshold_episodes) == (old.level, old.guarantee, old.threshold_episodes)
        assert new.reason == old.reason
        assert type(new) is type(old)
        for a, b in zip(old.leaves(), new.leaves(), strict=True):
            assert type(a.threshold) is type(b.threshold)
            assert (a.score.episodes, a.score.seed, a.calibrator) == (b.score.episodes, b.score.seed, b.calibrator)
            assert (a.window.kind, a.window.width) == (b.window.kind, b.window.width)
    successes = [True] * len(TEST)
    reread = offline(again, TEST, successes)
    for name, readings in offline(monitors, TEST, successes).items():
        for old, new in zip(readings, reread[name], strict=True):
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(old, new, strict=True)), name
    shared = {id(leaf.score) for monitor in again for leaf in monitor.leaves() if leaf.score.name == "rnd"}
    assert len(shared) == 1
    assert {path.suffix for path in (tmp_path / "deep" / "monitors").iterdir()} == {".json", ".safetensors"}


def test_what_is_not_a_folder_of_monitors(monitors, tmp_path):
    with pytest.raises(CheckpointError, match="fit them there first"):
        load(tmp_path, {})
    save(tmp_path, monitors[:1])
    with pytest.raises(UnknownNameError, match="unknown score 'rnd'"):
        load(tmp_path, {"stac": BUILD["stac"]()})
    record = json.loads((tmp_path / "monitors.json").read_text())
    del record["leaves"]["rnd"]["level"]
    (tmp_path / "monitors.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=r"monitors\.json lacks level in leaves\.rnd; fit them again"):
        load(tmp_path, {"rnd": BUILD["rnd"]()})
    save(tmp_path, monitors[:1])
    [tensors] = tmp_path.glob("monitors*.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated or changed"):
        load(tmp_path, {"rnd": BUILD["rnd"]()})


def test_monitors_of_a_version_with_one_name_for_all_tensors_are_read(monitors, tmp_path):
    save(tmp_path, monitors[:1])
    (tensors,) = tmp_path.glob("*.safetensors")
    tensors.rename(tmp_path / "monitors.safetensors")
    record = json.loads((tmp_path / "monitors.json").read_text())
    for key in ("made_with", "tensors", "sha256", "record_sha256"):
        del record[key]
    (tmp_path / "monitors.json").write_text(json.dumps(record))
    assert list(load(tmp_path, {"rnd": BUILD["rnd"]()})) == ["rnd"]


def test_a_writer_killed_half_way_leaves_the_earlier_monitors(monitors, tmp_path, monkeypatch):
    save(tmp_path, monitors[:1])
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, monitors[1:2])
    parts = {name: make() for name, make in BUILD.items()}
    assert list(load(tmp_path, parts)) == [monitors[0].name]
    save(tmp_path, monitors[1:2])
    assert list(load(tmp_path, parts)) == [monitors[1].name]
    assert len(list(tmp_path.iterdir())) == 2
