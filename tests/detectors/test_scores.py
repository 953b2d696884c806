"""Laws of every score, and each score against a closed form or a brute-force computation."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import entropy as shannon

from workbench.detectors.scores.always import Always
from workbench.detectors.scores.elapsed import Elapsed
from workbench.detectors.scores.entropy import ActionChunkEntropy
from workbench.detectors.scores.mahalanobis import Mahalanobis
from workbench.detectors.scores.rnd import RandomNetworkDistillation
from workbench.detectors.scores.stac import StatisticalTemporalConsistency
from workbench.errors import ConfigError, ScoreError, UnknownNameError
from workbench.monitoring.window import Window
from workbench.testing import score as laws
from workbench.types import EpisodeCalls, PolicyCall

B, H, A, D, EXECUTE = 12, 8, 7, 20, 4
LEARNT = {
    "rnd": lambda: RandomNetworkDistillation(width=32, epochs=30),
    "mahalanobis": Mahalanobis,
    "entropy": ActionChunkEntropy,
    "stac": StatisticalTemporalConsistency,
}
SCORES = {**LEARNT, "elapsed": Elapsed, "always": Always}


def episode(seed, calls=6, shift=0.0):
    rng = np.random.default_rng(seed)
    embedding = (0.5 * rng.normal(size=D) + rng.normal(size=(calls, D)) + shift).astype(np.float32)
    plan = np.cumsum(0.1 * rng.normal(size=(calls * EXECUTE + H, A)), axis=0)
    windows = np.stack([plan[c * EXECUTE : c * EXECUTE + H] for c in range(calls)])
    samples = (windows[:, None] + 0.05 * rng.normal(size=(calls, B, H, A))).astype(np.float32)
    return EpisodeCalls(str(seed), "fit", EXECUTE * np.arange(calls), samples[:, 0], samples, embedding, EXECUTE)


def call_of(episodes, number):
    stacked = {key: np.stack([getattr(e, key)[number] for e in episodes]) for key in ("step", "chunk")}
    optional = {
        key: None if getattr(episodes[0], key) is None else np.stack([getattr(e, key)[number] for e in episodes])
        for key in ("samples", "embedding")
    }
    return PolicyCall(**stacked, **optional, execute=EXECUTE)


def scored(score, episodes, calls=None):
    """(C, N) scores of episodes of equal length."""
    memories = [score.begin() for _ in episodes]
    return np.array(
        [score.update(memories, call_of(episodes, c)) for c in range(len(episodes[0].step) if calls is None else calls)]
    )


def case_of(score):
    """A fitted score as the checker tries it, with no more room than the last digits of double precision."""
    return laws.ScoreCase(score, [], [], [episode(100 + i) for i in range(5)], 1e-12, ready=score)


@pytest.fixture(scope="module")
def fitted():
    made = {}
    for name, make in SCORES.items():
        made[name] = make()
        made[name].fit([episode(i) for i in range(30)], 3)
    return made


@pytest.mark.parametrize("name", SCORES)
def test_state_survives_the_round_trip_exactly(fitted, name):
    again = SCORES[name]()
    again.load({key: value.copy() for key, value in fitted[name].state().items()})
    fresh = [episode(100 + i) for i in range(4)]
    assert np.array_equal(scored(again, fresh), scored(fitted[name], fresh))
    assert again.state().keys() == fitted[name].state().keys()
    assert all(np.array_equal(again.state()[key], value) for key, value in fitted[name].state().items())


@pytest.mark.parametrize("name", LEARNT)
def test_what_was_learnt_is_all_in_the_state(fitted, name):
    """A second fit on other data, then loading the first state: the first scores come back."""
    again = SCORES[name]()
    again.fit([episode(i, shift=2.0) for i in range(50, 80)], 9)
    fresh = [episode(100 + i) for i in range(4)]
    if name != "stac":
        assert not np.allclose(scored(again, fresh), scored(fitted[name], fresh))
    again.load(fitted[name].state())
    assert np.array_equal(scored(again, fresh), scored(fitted[name], fresh))


@pytest.mark.parametrize("name", SCORES)
def test_score_of_a_prefix_is_the_prefix_of_the_scores(fitted, name):
    laws.prefix_of_an_episode_scores_alike(case_of(fitted[name]))


@pytest.mark.parametrize("name", SCORES)
def test_scenes_do_not_know_one_another(fitted, name):
    laws.scenes_stay_apart(case_of(fitted[name]))


@pytest.mark.parametrize("name", SCORES)
def test_live_it_scores_as_in_a_batch(fitted, name):
    laws.live_is_offline(case_of(fitted[name]))
    laws.nothing_stays_between_episodes(case_of(fitted[name]))


@pytest.mark.parametrize("name", LEARNT)
def test_nan_stays_nan_in_its_own_scene(fitted, name):
    fresh = [episode(100 + i) for i in range(3)]
    fresh[1].samples[2, 3, 1, 0] = np.nan
    fresh[1].embedding[2, 5] = np.nan
    scores = scored(fitted[name], fresh)
    assert np.isnan(scores[2, 1])
    assert np.isfinite(scores[:, [0, 2]]).all()


@pytest.mark.parametrize("name", LEARNT)
def test_missing_output_is_named_with_its_remedy(fitted, name):
    bare = dataclasses.replace(episode(0), samples=None, embedding=None)
    (needed,) = fitted[name].needs
    remedy = {"samples": "rollout.samples", "embedding": "PolicyOutput.embedding"}[needed]
    with pytest.raises(ScoreError, match=rf"{name}.*{needed}.*{remedy}"):
        scored(fitted[name], [bare])
    with pytest.raises(ScoreError, match=rf"{name}.*{needed}.*{remedy}"):
        SCORES[name]().fit([bare], 0)


@pytest.mark.parametrize("name", ["rnd", "mahalanobis", "entropy"])
def test_what_cannot_be_learnt_from_is_refused(name):
    with pytest.raises(ScoreError, match="no episode"):
        SCORES[name]().fit([], 0)
    same = dataclasses.replace(episode(0), embedding=np.ones((6, D)), samples=np.ones((6, B, H, A)))
    with pytest.raises(ScoreError):
        SCORES[name]().fit([same], 0)
    broken = episode(7)
    broken.embedding[0, 0] = broken.samples[0, 0, 0, 0] = np.nan
    with pytest.raises(ScoreError, match="cannot be fitted"):
        SCORES[name]().fit([episode(0), broken], 0)


# -- random network distillation -------------------------------------------------------------------------------------


def test_rnd_follows_its_seed_and_leaves_the_global_stream_alone(fitted):
    fresh = [episode(100)]
    before = torch.random.get_rng_state()
    twins = [LEARNT["rnd"]() for _ in range(2)]
    for twin, seed in zip(twins, (3, 4), strict=True):
        twin.fit([episode(i) for i in range(30)], seed)
    assert np.array_equal(scored(twins[0], fresh), scored(fitted["rnd"], fresh))
    assert not np.allclose(scored(twins[1], fresh), scored(fitted["rnd"], fresh))
    assert torch.equal(before, torch.random.get_rng_state())


def test_rnd_score_is_the_distance_of_its_two_networks(fitted):
    score, fresh = fitted["rnd"], episode(100)
    z = torch.as_tensor((fresh.embedding.astype(float) - score.mean) / score.std, dtype=torch.float32).double()
    with torch.no_grad():
        apart = (score.predictor(z) - score.target(z)).numpy().astype(float)
    np.testing.assert_allclose(scored(score, [fresh])[:, 0], np.sqrt((apart**2).sum(axis=1)), rtol=1e-5)


@pytest.mark.parametrize("name", ["rnd", "mahalanobis"])
def test_the_unfamiliar_scores_higher(fitted, name):
    familiar = scored(fitted[name], [episode(200 + i) for i in range(10)])
    strange = scored(fitted[name], [episode(300 + i, shift=3.0) for i in range(10)])
    assert strange.min() > familiar.max()


@pytest.mark.parametrize("name", ["rnd", "mahalanobis"])
def test_the_scale_of_an_embedding_plays_no_part(name):
    """The same embeddings in another unit give the same scores: the fit split's statistics normalise them."""

    def rescaled(seed):
        plain = episode(seed)
        return dataclasses.replace(plain, embedding=1000.0 * plain.embedding.astype(float) + 5.0)

    one, other = SCORES[name](), SCORES[name]()
    one.fit([episode(i) for i in range(20)], 0)
    other.fit([rescaled(i) for i in range(20)], 0)
    np.testing.assert_allclose(scored(one, [episode(100)]), scored(other, [rescaled(100)]), rtol=1e-3)


# -- Mahalanobis -----------------------------------------------------------------------------------------------------


def test_mahalanobis_with_many_calls_is_the_textbook_distance():
    """With 6000 calls and 20 dimensions shrinkage is negligible, so the plain inverse covariance is the answer."""
    episodes = [episode(i, calls=60) for i in range(100)]
    score = Mahalanobis()
    score.fit(episodes, 0)
    values = np.concatenate([e.embedding for e in episodes]).astype(float)
    away = episode(999).embedding - values.mean(axis=0)
    expected = np.sqrt(np.einsum("ci,ij,cj->c", away, np.linalg.inv(np.cov(values.T)), away))
    np.testing.assert_allclose(scored(score, [episode(999)])[:, 0], expected, rtol=0.02)


def test_mahalanobis_with_fewer_calls_than_dimensions_stays_finite_and_ignores_a_dead_dimension():
    episodes = [episode(i, calls=3) for i in range(4)]
    for e in episodes:
        e.embedding[:, 4] = 2.0
    score = Mahalanobis()
    score.fit(episodes, 0)
    fresh = episode(99)
    fresh.embedding[:, 4] = 2.0 + 1e-5
    assert (scored(score, [fresh]) < 50).all()


# -- entropy ---------------------------------------------------------------------------------------------------------


def published_entropy(chunks, edge):
    """Entropy (bits) of the samples (B, H, 3) of a call, by dense grids as FIPER's released code has them.

    A grid from 1 % of the samples' range below the smallest in steps of ``edge`` (3,), every cell of it counted.
    """
    bits = []
    for points in np.moveaxis(chunks, 1, 0):
        low, high = points.min(axis=0), points.max(axis=0)
        buffer = 0.01 * (high - low)
        borders = [
            np.arange(lo, hi + cell, cell) for lo, hi, cell in zip(low - buffer, high + buffer, edge, strict=True)
        ]
        counts = np.zeros([max(len(border) - 1, 1) for border in borders])
        for point in points:
            counts[tuple(np.digitize(x, border) - 1 for x, border in zip(point, borders, strict=True))] += 1
        bits.append(shannon(counts.ravel(), base=2))
    return np.mean(bits)


def of_samples(samples):
    """Policy calls (C,) with these sampled positions (C, B, H, 3)."""
    return dataclasses.replace(
        episode(0, calls=len(samples)), samples=samples, chunk=samples[:, 0], step=np.arange(len(samples))
    )


def clouds(kind, spread):
    """Samples (6, 24, 5, 3) around a mean of each call and step."""
    rng = np.random.default_rng(int(1e4 * spread))
    samples = rng.normal(size=(6, 1, 5, 3)) + spread * rng.normal(size=(6, 24, 5, 3))
    if kind == "on the borders of cells":
        samples = np.round(samples, 1)
    elif kind == "in a plane":
        samples[..., 2] = 0.7
    elif kind == "in two crowds":
        samples = samples + 2.0 * (rng.random((6, 24, 1, 1)) > 0.5)
    return samples


@pytest.mark.parametrize("kind", ["free", "on the borders of cells", "in a plane", "in two crowds"])
@pytest.mark.parametrize("spread", [0.003, 0.03, 0.3, 2.0])
def test_entropy_is_that_of_the_published_code(kind, spread):
    """On shared arrays, cell borders included."""
    score, calls = ActionChunkEntropy(), of_samples(clouds(kind, spread))
    score.fit([calls], 0)
    extent = np.ptp(calls.samples.reshape(-1, 3), axis=0)
    np.testing.assert_array_equal(score.extent, np.where(extent > 0, extent, extent.max()))
    expected = [published_entropy(chunks, 0.03 * score.extent) for chunks in calls.samples]
    np.testing.assert_allclose(scored(score, [calls])[:, 0], expected, rtol=0, atol=1e-12)


TURNS = np.array([[0.012 * k * np.cos(k), 0.012 * k * np.sin(k), 0.002 * k] for k in range(12)])
LATTICE = np.stack(np.meshgrid([0, 0.1, 0.2, 0.3], [0, 0.05], [0.7], indexing="ij"), axis=-1).reshape(8, 3)


@pytest.mark.parametrize(
    ("steps", "bits"),
    [
        ([np.outer([0, 0.006, 0.012, 0.018, 0.024], [1, 0, 0])], 0.0),
        ([LATTICE], 3.0),
        ([TURNS], 3.41829583405449),
        ([TURNS, 0.4 * TURNS + 0.3], 3.2201755214643457),
    ],
    ids=["within 0.8 of a cell", "apart", "a spiral", "two steps"],
)
def test_entropy_gives_the_numbers_that_the_published_code_gave(steps, bits):
    """Frozen: what FIPER's released code said of these samples, in cells of 0.03.

    With the grid that this score had before, a third of a cell below the smallest sample, the first were 0.72 bits.
    """
    score = ActionChunkEntropy()
    score.fit([of_samples(np.array([[[[0.0] * 3], [[1.0] * 3]]]))], 0)
    assert scored(score, [of_samples(np.stack(steps, axis=1)[None])])[0, 0] == pytest.approx(bits, abs=1e-12)


def test_entropy_that_was_saved_before_keeps_the_grid_of_its_threshold():
    score, points = ActionChunkEntropy(), np.outer([0, 0.006, 0.012, 0.018, 0.024], [1, 0, 0])
    state = {"dims": np.arange(3), "extent": np.ones(3), "cell_fraction": np.array([0.03])}
    score.load(state)
    assert scored(score, [of_samples(points[None, :, None])])[0, 0] == pytest.approx(0.7219280948873623)
    again = ActionChunkEntropy()
    again.load(score.state())
    assert not again.own_range


def test_entropy_counts_in_cells_of_the_fit_split(fitted):
    score = fitted["entropy"]
    everything = np.concatenate([episode(i).samples[..., :3].reshape(-1, 3) for i in range(30)]).astype(float)
    np.testing.assert_allclose(score.extent, np.ptp(everything, axis=0))
    fresh = episode(100)
    expected = [published_entropy(s[..., :3].astype(float), 0.03 * score.extent) for s in fresh.samples]
    np.testing.assert_allclose(scored(score, [fresh])[:, 0], expected, rtol=1e-12)
    assert 0.5 < np.mean(expected) < np.log2(B)


def test_entropy_bounds_are_reached(fitted):
    score, same, apart = fitted["entropy"], episode(1), episode(2)
    same.samples[:] = same.samples[:, :1]
    assert np.array_equal(scored(score, [same]), np.zeros((6, 1)))
    apart.samples[:] += 10 * score.extent.max() * np.arange(B)[None, :, None, None]
    np.testing.assert_allclose(scored(score, [apart]), np.log2(B))


def test_two_equal_crowds_are_one_bit(fitted):
    crowds = episode(3)
    crowds.samples[:, : B // 2], crowds.samples[:, B // 2 :] = 0.0, 5 * fitted["entropy"].extent.max()
    np.testing.assert_allclose(scored(fitted["entropy"], [crowds]), 1.0)


def test_entropy_reads_the_dimensions_it_is_told(fitted):
    score = ActionChunkEntropy(dims=[4, 5])
    score.fit([episode(i) for i in range(5)], 0)
    same = episode(1)
    same.samples[..., 4:6] = 0.0
    assert not scored(score, [same]).any()
    assert scored(fitted["entropy"], [same]).all()
    with pytest.raises(ScoreError, match=r"an action has 7"):
        ActionChunkEntropy(dims=[7]).fit([episode(0)], 0)
    with pytest.raises(ConfigError):
        ActionChunkEntropy(dims=[])
    with pytest.raises(ConfigError):
        ActionChunkEntropy(cell_fraction=0.0)


# -- temporal consistency --------------------------------------------------------------------------------------------


def consistent(calls=5):
    """Every sample of a call goes on with what it planned at the call before."""
    plans = np.random.default_rng(0).normal(size=(B, calls * EXECUTE + H, A)).astype(np.float32)
    samples = np.stack([plans[:, c * EXECUTE : c * EXECUTE + H] for c in range(calls)])
    return EpisodeCalls("c", "fit", EXECUTE * np.arange(calls), samples[:, 0], samples, None, EXECUTE)


def test_a_consistent_replan_scores_exactly_zero(fitted):
    assert np.array_equal(scored(fitted["stac"], [consistent(), consistent()]), np.zeros((5, 2)))


def test_comparing_other_steps_than_the_overlap_would_be_seen(fitted):
    """The same samples under a false clock, and executed windows instead of the overlap, do not score zero."""
    plan = consistent()
    assert (scored(fitted["stac"], [dataclasses.replace(plan, step=3 * np.arange(5))])[1:] > 0.01).all()


def test_stac_is_the_biased_mmd_of_the_overlap(fitted):
    fresh = episode(100)
    x = fresh.samples[1][:, EXECUTE:, :6].reshape(B, -1).astype(float)
    y = fresh.samples[2][:, : H - EXECUTE, :6].reshape(B, -1).astype(float)
    pooled = np.concatenate([x, y])
    squared = ((pooled[:, None] - pooled[None]) ** 2).sum(axis=-1)
    kernel = np.exp(-squared / (2 * np.median(squared[squared > 0])))
    expected = kernel[:B, :B].mean() + kernel[B:, B:].mean() - 2 * kernel[:B, B:].mean()
    curve = scored(fitted["stac"], [fresh])[:, 0]
    assert curve[0] == 0.0
    np.testing.assert_allclose(curve[2], expected, rtol=1e-10)


def test_stac_is_high_where_the_policy_changes_its_mind(fitted):
    changed = consistent()
    changed.samples[3:] += 4.0
    curve = scored(fitted["stac"], [changed])[:, 0]
    assert curve[3] > 0.5
    assert not curve[[1, 2, 4]].any()


def test_stac_ignores_the_gripper_and_identical_samples_are_no_error(fitted):
    flips = consistent()
    flips.samples[..., 6] = np.arange(5)[:, None, None]
    assert not scored(fitted["stac"], [flips]).any()
    flips.samples[:] = 0.0
    assert not scored(fitted["stac"], [flips]).any()


def test_chunks_without_overlap_are_refused(fitted):
    with pytest.raises(ScoreError, match="8 control steps apart and a chunk has 8"):
        scored(fitted["stac"], [dataclasses.replace(consistent(), step=H * np.arange(5))])


def test_one_sample_is_not_enough():
    single = dataclasses.replace(consistent(), samples=consistent().samples[:, :1])
    with pytest.raises(ScoreError, match="at least 2 samples"):
        StatisticalTemporalConsistency().fit([single], 0)


# -- baselines and windows -------------------------------------------------------------------------------------------


def test_baselines(fitted):
    assert np.array_equal(scored(fitted["elapsed"], [episode(0)])[:, 0], EXECUTE * np.arange(6))
    assert np.array_equal(scored(fitted["always"], [episode(0)])[:, 0], np.ones(6))


@pytest.mark.parametrize("width", [1, 2, 3, 50])
@pytest.mark.parametrize(
    ("kind", "combine"), [("last", lambda s: s[-1]), ("sum", np.sum), ("mean", np.mean), ("max", np.max)]
)
def test_window_combines_the_last_scores_there_are(kind, combine, width):
    curve = np.random.default_rng(1).normal(size=9)
    expected = np.array([combine(curve[max(0, t - width + 1) : t + 1]) for t in range(9)])
    np.testing.assert_allclose(Window(kind, width).apply(curve), expected, rtol=0, atol=1e-12)


def test_window_online_is_the_window_offline():
    rng, window = np.random.default_rng(2), Window("sum", 3)
    whole = rng.normal(size=(7, 4))
    memories = [window.begin() for _ in range(4)]
    online = np.array([window.update(memories, scores) for scores in whole])
    offline = np.stack([window.apply(whole[:, scene]) for scene in range(4)], axis=1)
    np.testing.assert_allclose(online, offline, rtol=0, atol=1e-12)


def test_impossible_windows_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'mean'"):
        Window("men", 2)
    with pytest.raises(ConfigError, match="width=0"):
        Window("sum", 0)
