"""Scores of actions and samples: the laws of every score, and each against a brute-force computation."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import yaml

from workbench.config import build
from workbench.detectors.calibrators.fixed import Fixed
from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.detectors.scores.chunk_overlap import ChunkOverlap
from workbench.detectors.scores.cluster_entropy import ClusterEntropy
from workbench.detectors.scores.directional_sensitivity import DirectionalSensitivity
from workbench.detectors.scores.overlap_magnitude import ChunkMagnitude
from workbench.detectors.scores.random import Random
from workbench.detectors.scores.reversals import DirectionReversals
from workbench.detectors.scores.sample_variance import SampleVariance
from workbench.detectors.scores.stac import StatisticalTemporalConsistency
from workbench.detectors.scores.stac_kl import TemporalDivergence
from workbench.errors import ConfigError, ScoreError, UnknownNameError
from workbench.testing import score as laws
from workbench.types import EpisodeCalls, PolicyCall

B, H, A, EXECUTE, CALLS = 12, 8, 7, 4, 6
NAMES = (
    "stac_kl",
    "chunk_overlap",
    "overlap_magnitude",
    "reversals",
    "sample_variance",
    "sample_variance_position",
    "sample_variance_rotation",
    "sample_variance_gripper",
    "cluster_entropy",
    "directional_sensitivity",
    "never",
    "random",
)
SAMPLED = [
    name for name in NAMES if name == "stac_kl" or name.startswith(("sample_variance", "cluster", "directional"))
]
CHUNKED = ["chunk_overlap", "overlap_magnitude", "reversals"]
OTHERWISE = {
    "stac_kl": lambda: TemporalDivergence("reverse", dims=[0]),
    "chunk_overlap": lambda: ChunkOverlap("euclidean", dims=[0]),
    "overlap_magnitude": lambda: ChunkMagnitude(dims=[0]),
    "reversals": lambda: DirectionReversals(calls=1, dims=[4]),
    "sample_variance": lambda: SampleVariance(dims=[0]),
    "sample_variance_position": lambda: SampleVariance(dims=[0]),
    "sample_variance_rotation": lambda: SampleVariance(dims=[0]),
    "sample_variance_gripper": lambda: SampleVariance(dims=[0]),
    "cluster_entropy": lambda: ClusterEntropy(spreads=2.5, dims=[0]),
    "directional_sensitivity": lambda: DirectionalSensitivity(dims=[0]),
}
"""The same scores with every argument different, into which a state is loaded."""


def made(name):
    path = Path(__file__).parents[2] / "conf" / "score" / f"{name}.yaml"
    return build(yaml.safe_load(path.read_text())[name])


def episode(seed, calls=CALLS, spread=0.05):
    rng = np.random.default_rng(seed)
    plan = np.cumsum(0.1 * rng.normal(size=(calls * EXECUTE + H, A)), axis=0)
    windows = np.stack([plan[c * EXECUTE : c * EXECUTE + H] for c in range(calls)])
    samples = (windows[:, None] + spread * rng.normal(size=(calls, B, H, A))).astype(np.float32)
    return EpisodeCalls(str(seed), "fit", EXECUTE * np.arange(calls), samples[:, 0].copy(), samples, None, EXECUTE)


def call_of(episodes, number):
    samples = None if episodes[0].samples is None else np.stack([e.samples[number] for e in episodes])
    step, chunk = (np.stack([getattr(e, key)[number] for e in episodes]) for key in ("step", "chunk"))
    return PolicyCall(step, chunk, samples, None, EXECUTE)


def scored(score, episodes):
    """(C, N) scores of episodes of equal length."""
    memories = [score.begin() for _ in episodes]
    return np.array([score.update(memories, call_of(episodes, c)) for c in range(len(episodes[0].step))])


def case_of(score, fresh):
    """A fitted score as the checker tries it, with no more room than the last digits of double precision."""
    return laws.ScoreCase(score, [], [], fresh, 1e-12, ready=score)


def consistent():
    """Every sample, and the chunk, goes on with what was planned at the call before."""
    plans = np.random.default_rng(0).normal(size=(B, CALLS * EXECUTE + H, A)).astype(np.float32)
    samples = np.stack([plans[:, c * EXECUTE : c * EXECUTE + H] for c in range(CALLS)])
    return EpisodeCalls("c", "fit", EXECUTE * np.arange(CALLS), samples[:, 0].copy(), samples, None, EXECUTE)


@pytest.fixture(scope="module")
def fitted():
    scores = {name: made(name) for name in NAMES}
    for score in scores.values():
        score.fit([episode(i) for i in range(10)], 3)
    return scores


# -- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_state_carries_all_that_was_learnt(fitted, name):
    again = OTHERWISE.get(name, lambda: made(name))()
    again.fit([episode(i, spread=0.2) for i in range(50, 60)], 9)
    fresh = [episode(100 + i) for i in range(3)]
    if name in OTHERWISE:
        assert not np.allclose(scored(again, fresh), scored(fitted[name], fresh))
    again.load({key: np.array(value, order="C") for key, value in fitted[name].state().items()})
    assert np.array_equal(scored(again, fresh), scored(fitted[name], fresh))
    assert all(np.array_equal(again.state()[key], value) for key, value in fitted[name].state().items())


@pytest.mark.parametrize("name", NAMES)
def test_score_of_a_prefix_is_the_prefix_of_the_scores(fitted, name):
    fresh = [episode(100 + i) for i in range(3)]
    altered = [dataclasses.replace(e, chunk=e.chunk.copy(), samples=e.samples.copy()) for e in fresh]
    for e in altered:
        e.chunk[4:], e.samples[4:] = 7.0, 7.0
    whole = scored(fitted[name], fresh)
    laws.prefix_of_an_episode_scores_alike(case_of(fitted[name], fresh))
    assert np.array_equal(scored(fitted[name], altered)[:4], whole[:4])


@pytest.mark.parametrize("name", NAMES)
def test_scenes_do_not_know_one_another(fitted, name):
    laws.scenes_stay_apart(case_of(fitted[name], [episode(100 + i) for i in range(5)]))


@pytest.mark.parametrize("name", NAMES)
def test_live_it_scores_as_in_a_batch(fitted, name):
    case = case_of(fitted[name], [episode(100 + i) for i in range(5)])
    laws.live_is_offline(case)
    laws.nothing_stays_between_episodes(case)


@pytest.mark.parametrize("name", NAMES)
def test_fitting_and_scoring_leave_the_global_streams_alone(name):
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    twins = [made(name), made(name)]
    for twin, seed in zip(twins, (1, 2), strict=True):
        twin.fit([episode(i) for i in range(4)], seed)
    assert np.array_equal(*(scored(twin, [episode(9)]) for twin in twins))
    assert np.array_equal(before[0], np.random.get_state()[1])  # noqa: NPY002
    assert before[1] == random.getstate()


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("name", [*SAMPLED, *CHUNKED])
def test_nan_stays_nan_in_its_own_scene(fitted, name, number):
    fresh = [episode(100 + i) for i in range(3)]
    fresh[1].samples[number, 3, 1] = np.nan
    fresh[1].chunk[number, 1] = np.nan
    scores = scored(fitted[name], fresh)
    assert np.isnan(scores[number, 1])
    assert np.isfinite(scores[:number, 1]).all()
    assert np.isfinite(scores[:, [0, 2]]).all()


@pytest.mark.parametrize("name", SAMPLED)
def test_missing_samples_are_named_with_their_remedy(fitted, name):
    kind = "sample_variance" if name.startswith("sample_variance") else name
    bare, single = (dataclasses.replace(episode(0), samples=s) for s in (None, episode(0).samples[:, :1]))
    for score in (lambda e: scored(fitted[name], [e]), lambda e: made(name).fit([e], 0)):
        with pytest.raises(ScoreError, match=rf"{kind}.*samples.*rollout.samples"):
            score(bare)
        with pytest.raises(ScoreError, match=r"at least 2 samples a call, not 1"):
            score(single)


@pytest.mark.parametrize("name", [*SAMPLED, *CHUNKED])
def test_dimensions_that_an_action_does_not_have_are_refused(fitted, name):
    small = dataclasses.replace(episode(0), chunk=episode(0).chunk[..., :2], samples=episode(0).samples[..., :2])
    with pytest.raises(ScoreError, match=r"an action has 2: set the score's dims"):
        scored(fitted[name], [small])
    with pytest.raises(ScoreError, match=r"an action has 2"):
        made(name).fit([small], 0)
    for dims in ([], [0, 0], [-1]):
        with pytest.raises(ConfigError, match="dims of score"):
            type(fitted[name])(dims=dims)


@pytest.mark.parametrize("name", CHUNKED)
def test_scores_of_chunks_need_no_samples(fitted, name):
    bare = dataclasses.replace(episode(0), samples=None)
    assert np.array_equal(scored(fitted[name], [bare]), scored(fitted[name], [episode(0)]))


# -- consistency -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "score", [StatisticalTemporalConsistency(), TemporalDivergence("forward"), TemporalDivergence("reverse")]
)
def test_a_consistent_replan_of_samples_scores_exactly_zero_and_no_other(score):
    plan = consistent()
    assert np.array_equal(scored(score, [plan, plan]), np.zeros((CALLS, 2)))
    assert (scored(score, [dataclasses.replace(plan, step=3 * np.arange(CALLS))])[1:] > 0.01).all()
    changed = consistent()
    changed.samples[3:] += 4.0
    curve = scored(score, [changed])[:, 0]
    assert curve[3] > 0.5
    assert not curve[[0, 1, 2, 4, 5]].any()
    flips = consistent()
    flips.samples[..., 6] = np.arange(CALLS)[:, None, None]
    assert not scored(score, [flips]).any(), "the gripper counts"
    flips.samples[:] = 0.3
    assert not scored(score, [flips]).any(), "identical samples"


@pytest.mark.parametrize("norm", ["squared", "euclidean"])
def test_a_consistent_replan_of_the_chunk_scores_exactly_zero_and_no_other(norm):
    score, plan = ChunkOverlap(norm), consistent()
    assert np.array_equal(scored(score, [plan, plan]), np.zeros((CALLS, 2)))
    assert (scored(score, [dataclasses.replace(plan, step=3 * np.arange(CALLS))])[1:] > 0.1).all()


@pytest.mark.parametrize("name", ["stac_kl", "chunk_overlap"])
def test_chunks_without_overlap_are_refused(fitted, name):
    with pytest.raises(ScoreError, match=rf"{name}.*8 control steps apart and a chunk has 8"):
        scored(fitted[name], [dataclasses.replace(consistent(), step=H * np.arange(CALLS))])


@pytest.mark.parametrize("passed", [2, 4, 6])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_divergence_is_that_of_two_summed_densities(direction, passed):
    """Densities written out with their constants, kernel by kernel; also where there are more numbers than rows."""
    fresh = dataclasses.replace(episode(100), step=passed * np.arange(CALLS))
    curve = scored(TemporalDivergence(direction), [fresh])[:, 0]
    for number in range(1, CALLS):
        x = fresh.samples[number - 1][:, passed:, :6].reshape(B, -1).astype(float)
        y = fresh.samples[number][:, : H - passed, :6].reshape(B, -1).astype(float)
        width = np.sqrt(np.linalg.eigvalsh(np.cov(np.concatenate([x, y]).T)).max())

        def log_density(at, centres, width=width):
            constant = (2 * np.pi * width**2) ** (-len(at) / 2)
            return np.log(np.mean([constant * np.exp(-((at - c) ** 2).sum() / (2 * width**2)) for c in centres]))

        if direction == "forward":
            expected = np.mean([log_density(row, x) - log_density(row, y) for row in x])
        else:
            expected = np.mean([log_density(row, y) - log_density(row, x) for row in y])
        np.testing.assert_allclose(curve[number], expected, rtol=1e-9)


def test_divergence_does_not_overflow_where_a_density_is_below_the_smallest_number():
    """One of B = 800 samples lies apart, alone: the other density there is exp(-B), and the mean has a closed form."""
    samples = np.zeros((2, 800, 2, 1))
    samples[0, 17, 1] = 3.0
    outlier = EpisodeCalls("o", "fit", np.array([0, 1]), samples[:, 0], samples, None, 1)
    expected = (800 - np.log(800) + 799 * np.log(799 / 800)) / 800
    np.testing.assert_allclose(scored(TemporalDivergence("forward", dims=[0]), [outlier])[1, 0], expected, rtol=1e-9)


def test_an_unknown_direction_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'reverse'"):
        TemporalDivergence("revers")


@pytest.mark.parametrize("norm", ["squared", "euclidean"])
def test_chunk_overlap_is_the_difference_step_by_step(norm):
    fresh = episode(100)
    curve = scored(ChunkOverlap(norm, dims=[0, 2]), [fresh])[:, 0]
    for number in range(1, CALLS):
        values = []
        for h in range(H - EXECUTE):
            before, now = fresh.chunk[number - 1, EXECUTE + h].astype(float), fresh.chunk[number, h].astype(float)
            square = (now[0] - before[0]) ** 2 + (now[2] - before[2]) ** 2
            values.append(square / 2 if norm == "squared" else np.sqrt(square))
        np.testing.assert_allclose(curve[number], np.mean(values), rtol=1e-12)
    with pytest.raises(UnknownNameError, match="norm of score chunk_overlap"):
        ChunkOverlap("l1")


def test_a_call_before_the_chunk_is_done_is_compared_on_the_steps_that_really_passed(fitted):
    """A strategy may replan after 1 or 3 steps: a plan that it goes on with is still consistent."""
    steps = np.array([0, 4, 5, 8, 12, 14])
    plans = np.random.default_rng(1).normal(size=(B, 30, A)).astype(np.float32)
    samples = np.stack([plans[:, s : s + H] for s in steps])
    early = EpisodeCalls("e", "fit", steps, samples[:, 0].copy(), samples, None, EXECUTE)
    for name in ("stac_kl", "chunk_overlap"):
        assert not scored(fitted[name], [early]).any(), name
        assert scored(fitted[name], [dataclasses.replace(early, step=EXECUTE * np.arange(6))]).any(), name


# -- actions ---------------------------------------------------------------------------------------------------------


def test_magnitude_is_the_norm_of_the_chunk_without_the_gripper(fitted):
    fresh = episode(100)
    expected = [np.linalg.norm(chunk[:, :6].astype(float)) for chunk in fresh.chunk]
    np.testing.assert_allclose(scored(fitted["overlap_magnitude"], [fresh])[:, 0], expected, rtol=1e-12)


def walked(motion, execute=EXECUTE):
    """An episode that executes the motion (T, 3) in chunks whose second halves, never run, point anywhere."""
    calls = len(motion) // execute
    chunk = np.random.default_rng(0).normal(size=(calls, H, A))
    for c in range(calls):
        chunk[c, :execute, :3] = motion[c * execute : (c + 1) * execute]
    return EpisodeCalls("w", "fit", execute * np.arange(calls), chunk, None, None, execute)


def test_reversals_are_counted_along_the_executed_motion():
    motion = np.random.default_rng(5).normal(size=(CALLS * EXECUTE, 3))
    for calls in (1, 2, 3, 50):
        curve = scored(DirectionReversals(calls=calls), [walked(motion)])[:, 0]
        for number in range(CALLS):
            first, end = max(0, number - calls + 1) * EXECUTE, (number + 1) * EXECUTE
            turned = [float(motion[t] @ motion[t + 1]) < 0 for t in range(first, end - 1)]
            np.testing.assert_allclose(curve[number], np.mean(turned), rtol=1e-12)
        assert len(set(curve)) > 2, "nothing was compared"


def test_reversals_of_a_straight_way_and_of_a_shaking_one():
    straight = np.tile([0.3, -0.2, 0.0], (CALLS * EXECUTE, 1))
    shaking = straight * np.where(np.arange(CALLS * EXECUTE) % 2, 1, -1)[:, None]
    square = np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]] * CALLS, float)
    assert not scored(DirectionReversals(), [walked(straight)]).any()
    assert (scored(DirectionReversals(), [walked(shaking)]) == 1).all()
    assert not scored(DirectionReversals(), [walked(square)]).any(), "a right angle is no reversal"
    assert not scored(DirectionReversals(), [walked(np.zeros_like(straight))]).any()


def test_reversals_count_the_steps_that_really_passed():
    """Replanned after 2 steps of 4: of the earlier chunk only the first two actions were run."""
    chunk = np.ones((2, H, A))
    chunk[0, 2:4, :3] = -1.0
    early = EpisodeCalls("e", "fit", np.array([0, 2]), chunk, None, None, EXECUTE)
    np.testing.assert_allclose(scored(DirectionReversals(), [early])[:, 0], [1 / 3, 0.0])
    late = dataclasses.replace(early, step=np.array([0, 4]))
    np.testing.assert_allclose(scored(DirectionReversals(), [late])[1, 0], 2 / 7)
    with pytest.raises(ConfigError, match="calls=0"):
        DirectionReversals(calls=0)


# -- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dims"), [("", range(7)), ("_position", (0, 1, 2)), ("_rotation", (3, 4, 5)), ("_gripper", (6,))]
)
def test_sample_variance_is_the_trace_of_the_covariance_at_every_step(fitted, name, dims):
    fresh = episode(100)
    curve = scored(fitted[f"sample_variance{name}"], [fresh])[:, 0]
    for number, samples in enumerate(fresh.samples.astype(float)):
        traces = [np.trace(np.atleast_2d(np.cov(samples[:, h, list(dims)].T))) for h in range(H)]
        np.testing.assert_allclose(curve[number], np.mean(traces), rtol=1e-10)


def test_sample_variance_of_identical_samples_is_exactly_zero(fitted):
    same = episode(1)
    same.samples[:] = same.samples[:, :1] + np.float32(1000.1)
    assert not scored(fitted["sample_variance"], [same]).any()


def test_directional_sensitivity_is_the_root_of_the_largest_generalised_eigenvalue(fitted):
    from scipy.linalg import eigh
    from sklearn.covariance import LedoitWolf

    rows = np.concatenate([[s - s.mean(axis=0) for s in episode(i).samples.astype(float)] for i in range(10)])
    rows = rows.reshape(-1, H * A) * np.sqrt(B / (B - 1))
    scale = rows.std(axis=0)
    usual = LedoitWolf(assume_centered=True).fit(rows / scale).covariance_ * np.outer(scale, scale)
    fresh = episode(100)
    curve = scored(fitted["directional_sensitivity"], [fresh])[:, 0]
    for number, samples in enumerate(fresh.samples.astype(float)):
        here = np.cov(samples.reshape(B, -1).T)
        np.testing.assert_allclose(curve[number], np.sqrt(eigh(here, usual, eigvals_only=True)[-1]), rtol=1e-8)


def test_directional_sensitivity_sees_a_spread_in_one_direction_alone(fitted):
    """Twice the noise doubles it; so does what wavers between two ways, along whatever direction."""
    score, fresh = fitted["directional_sensitivity"], episode(100)
    usual = scored(score, [fresh])[:, 0]
    mean = fresh.samples.mean(axis=1, keepdims=True)
    wild = dataclasses.replace(fresh, samples=mean + 2 * (fresh.samples - mean))
    np.testing.assert_allclose(scored(score, [wild])[:, 0], 2 * usual, rtol=1e-5)
    way = np.random.default_rng(0).normal(size=(H, A)).astype(np.float32)
    ways = np.where(np.arange(B) % 2, 1, -1).astype(np.float32)[None, :, None, None] * way * 0.2
    torn = dataclasses.replace(fresh, samples=fresh.samples + ways)
    assert (scored(score, [torn])[:, 0] > 2 * usual).all()
    same = dataclasses.replace(fresh, samples=np.repeat(mean, B, axis=1))
    assert (scored(score, [same]) < 1e-5).all()


def test_directional_sensitivity_needs_samples_that_differ():
    same = episode(1)
    same.samples[:] = 0.0
    with pytest.raises(ScoreError, match="all samples of a call are the same"):
        DirectionalSensitivity().fit([same], 0)
    with pytest.raises(ScoreError, match="no episode to fit on"):
        DirectionalSensitivity().fit([], 0)


def brute_force_clusters(rows, distance):
    """Sizes after merging the two nearest clusters, by Ward's distance of their means, until none is near enough."""
    clusters = [[row] for row in rows]
    while len(clusters) > 1:
        best = None
        for i in range(len(clusters)):
            for j in range(i):
                a, b = clusters[i], clusters[j]
                apart = np.linalg.norm(np.mean(a, axis=0) - np.mean(b, axis=0))
                ward = np.sqrt(2 * len(a) * len(b) / (len(a) + len(b))) * apart
                if best is None or ward < best[0]:
                    best = (ward, i, j)
        if best[0] > distance:
            break
        merged = clusters[best[1]] + clusters[best[2]]
        clusters = [c for k, c in enumerate(clusters) if k not in best[1:]] + [merged]
    return np.array([len(c) for c in clusters])


def test_cluster_entropy_is_that_of_a_tree_merged_by_hand(fitted):
    score = fitted["cluster_entropy"]
    every = np.concatenate([episode(i).samples for i in range(10)]).astype(float)
    unit = every.std(axis=(0, 1, 2))
    spreads = [np.sqrt(sum(np.var((c / unit).reshape(B, -1)[:, f], ddof=1) for f in range(H * A))) for c in every]
    np.testing.assert_allclose(score.distance, 1.5 * np.median(spreads), rtol=1e-10)
    fresh = episode(100)
    sizes = [brute_force_clusters((s.astype(float) / unit).reshape(B, -1), score.distance) for s in fresh.samples]
    expected = [-(n / B * np.log2(n / B)).sum() for n in sizes]
    np.testing.assert_allclose(scored(score, [fresh])[:, 0], expected, rtol=1e-12)
    assert len({len(n) for n in sizes}) > 1, "every call looks the same: nothing was compared"


def test_cluster_entropy_bounds_are_reached(fitted):
    score, same, apart, crowds = fitted["cluster_entropy"], episode(1), episode(2), episode(3)
    same.samples[:] = same.samples[:, :1]
    assert np.array_equal(scored(score, [same]), np.zeros((CALLS, 1)))
    apart.samples[:] += 100.0 * np.arange(B)[None, :, None, None]
    np.testing.assert_allclose(scored(score, [apart]), np.log2(B))
    crowds.samples[:, : B // 2], crowds.samples[:, B // 2 :] = 0.0, 10.0
    np.testing.assert_allclose(scored(score, [crowds]), 1.0)


def test_cluster_entropy_does_not_depend_on_the_unit_of_an_action():
    """Millimetres instead of metres in one dimension change nothing: the fit split's deviations normalise."""
    factor = np.array([1000.0, 1, 1, 1, 1, 1, 1])

    def rescaled(seed):
        return dataclasses.replace(episode(seed), samples=episode(seed).samples.astype(float) * factor)

    one, other = made("cluster_entropy"), made("cluster_entropy")
    one.fit([episode(i) for i in range(10)], 0)
    other.fit([rescaled(i) for i in range(10)], 0)
    np.testing.assert_allclose(scored(one, [episode(100)]), scored(other, [rescaled(100)]), rtol=1e-9)


def test_cluster_entropy_ignores_rounding_in_a_dimension_that_never_moved():
    def gripped(seed, jitter):
        e = episode(seed)
        e.samples[..., 6] = jitter * np.arange(B)[None, :, None]
        return e

    score = made("cluster_entropy")
    score.fit([gripped(i, 1e-9) for i in range(10)], 0)
    assert np.array_equal(scored(score, [gripped(100, 1e-6)]), scored(score, [gripped(100, 0.0)]))


def test_cluster_entropy_refuses_what_it_cannot_learn_from():
    with pytest.raises(ScoreError, match="no episode"):
        made("cluster_entropy").fit([], 0)
    constant = dataclasses.replace(episode(0), samples=np.ones((CALLS, B, H, A)))
    with pytest.raises(ScoreError, match="cannot be fitted"):
        made("cluster_entropy").fit([constant], 0)
    decided = episode(0)
    decided.samples[:] = decided.samples[:, :1]
    with pytest.raises(ScoreError, match="all samples of a call are the same"):
        made("cluster_entropy").fit([decided], 0)
    broken = episode(7)
    broken.samples[0, 0, 0, 0] = np.nan
    with pytest.raises(ScoreError, match="cannot be fitted"):
        made("cluster_entropy").fit([episode(0), broken], 0)
    with pytest.raises(ConfigError, match="spreads=0"):
        ClusterEntropy(spreads=0)


# -- baselines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [Fixed(0.0), SplitConformal()])
def test_never_never_alarms(fitted, rule):
    curves = [scored(fitted["never"], [episode(i)])[:, 0] for i in range(20)]
    threshold = rule.calibrate(curves, 0.1)
    assert not any((threshold.margin(curve) > 0).any() for curve in curves)


def test_random_is_uniform_uncorrelated_and_knows_only_the_bytes():
    rng = np.random.default_rng(0)
    chunks = rng.normal(size=(4000, H, A)).astype(np.float32)
    step = np.zeros(4000, int)

    def values(chunk):
        return Random().update([{}] * len(chunk), PolicyCall(step[: len(chunk)], chunk, None, None, EXECUTE))

    drawn = values(chunks)
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert np.abs(np.sort(drawn) - (np.arange(4000) + 0.5) / 4000).max() < 1.63 / np.sqrt(4000)  # Kolmogorov, 1 %
    for known in (np.linalg.norm(chunks, axis=(1, 2)), chunks[:, 0, 0], drawn[np.r_[1:4000, 0]]):
        assert abs(np.corrcoef(drawn, known)[0, 1]) < 4 / np.sqrt(4000)
    assert np.array_equal(values(chunks[::-1])[::-1], drawn), "it depends on the company"
    assert np.array_equal(values(chunks.astype(float)), drawn), "it depends on the precision of a policy's output"
    nudged = np.nextafter(chunks, np.float32(9))
    assert np.abs(np.corrcoef(values(nudged), drawn)[0, 1]) < 4 / np.sqrt(4000)


def test_random_is_the_same_in_every_process():
    """Python's own hash of bytes is salted; these values would change with it."""
    chunk = np.arange(2 * H * A, dtype=np.float32).reshape(2, H, A)
    found = Random().update([{}, {}], PolicyCall(np.zeros(2, int), chunk, None, None, EXECUTE))
    np.testing.assert_allclose(found, [0.88869807, 0.3121531], atol=1e-8)
