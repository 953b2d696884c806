"""Learned failure-free scores: laws of every score, and each one against an independent computation."""

import dataclasses

import numpy as np
import pytest
import torch

from workbench.detectors.learning import flow_network
from workbench.detectors.learning.flow_network import VelocityField, matching_loss, train, velocity_and_divergence
from workbench.detectors.scores.flow_curvature import FlowCurvature
from workbench.detectors.scores.kernel_density import KernelDensity
from workbench.detectors.scores.logpo import LogpO
from workbench.detectors.scores.logpzo import LogpZO
from workbench.detectors.scores.nearest_neighbours import NearestNeighbours
from workbench.detectors.scores.pca_kmeans import PcaKmeans
from workbench.detectors.scores.rnd_actions import ActionRandomNetworkDistillation
from workbench.detectors.scores.velocity_disagreement import VelocityDisagreement
from workbench.errors import ConfigError, ScoreError, UnknownNameError
from workbench.testing import score as laws
from workbench.types import EpisodeCalls, PolicyCall

H, A, D, EXECUTE = 8, 3, 10, 4
SCORES = {
    "rnd_actions": lambda: ActionRandomNetworkDistillation(width=32, epochs=20),
    "pca_kmeans": PcaKmeans,
    "knn": NearestNeighbours,
    "knn_cosine": lambda: NearestNeighbours(metric="cosine"),
    "kernel_density": KernelDensity,
    "logpzo": lambda: LogpZO(width=32, iterations=80),
    "logpo": lambda: LogpO(width=32, iterations=80),
    "flow_curvature": lambda: FlowCurvature(width=32, iterations=40),
    "velocity_disagreement": lambda: VelocityDisagreement(width=32, iterations=40),
}
SEEDED = ["rnd_actions", "pca_kmeans", "logpzo", "logpo", "flow_curvature", "velocity_disagreement"]
ACTS = ["rnd_actions", "velocity_disagreement"]


def episode(seed, calls=6, shift=0.0):
    """Embeddings with structure; the chunk follows from the embedding, up to noise."""
    rng = np.random.default_rng(seed)
    embedding = 0.5 * rng.normal(size=D) + rng.normal(size=(calls, D))
    embedding[:, 1] = embedding[:, 0] ** 2 - 1
    chunk = np.sin(embedding[:, :A])[:, None] * np.linspace(0, 1, H)[:, None] + 0.1 * rng.normal(size=(calls, H, A))
    embedding, chunk = (embedding + shift).astype(np.float32), chunk.astype(np.float32)
    return EpisodeCalls(str(seed), "fit", EXECUTE * np.arange(calls), chunk, None, embedding, EXECUTE)


def scored(score, episodes):
    """(C, N) scores of episodes of equal length."""
    memories = [score.begin() for _ in episodes]
    return np.array([score.update(memories, call_of(episodes, c)) for c in range(len(episodes[0].step))])


def call_of(episodes, number):
    step, chunk = (np.stack([getattr(e, key)[number] for e in episodes]) for key in ("step", "chunk"))
    embedding = None if episodes[0].embedding is None else np.stack([e.embedding[number] for e in episodes])
    return PolicyCall(step, chunk, None, embedding, EXECUTE)


FIT = [episode(i) for i in range(30)]
FRESH = [episode(100 + i) for i in range(4)]


def case_of(score):
    """A fitted score as the checker tries it, with no more room than the last digits of double precision."""
    return laws.ScoreCase(score, FIT, [], FRESH, 1e-12, ready=score)


def standardised(score, one):
    return torch.as_tensor((one.embedding.astype(float) - score.mean) / score.std)


@pytest.fixture(scope="module")
def fitted():
    made = {name: make() for name, make in SCORES.items()}
    for score in made.values():
        score.fit(FIT, 3)
    return made


@pytest.mark.parametrize("name", SCORES)
def test_what_was_learnt_is_all_in_the_state(fitted, name):
    """Into a new score, and over another fit: the first scores come back exactly, and so does the state."""
    other = SCORES[name]()
    other.fit([episode(i, shift=2.0) for i in range(50, 80)], 9)
    assert not np.allclose(scored(other, FRESH), scored(fitted[name], FRESH))
    for again in (SCORES[name](), other):
        again.load({key: np.array(value) for key, value in fitted[name].state().items()})
        assert np.array_equal(scored(again, FRESH), scored(fitted[name], FRESH))
        assert again.state().keys() == fitted[name].state().keys()
        assert all(np.array_equal(again.state()[key], value) for key, value in fitted[name].state().items())


@pytest.mark.parametrize("name", SCORES)
def test_the_state_can_be_written_down(fitted, name):
    from safetensors.numpy import load, save

    state = {key: np.array(value, order="C") for key, value in fitted[name].state().items()}
    again = SCORES[name]()
    again.load(load(save(state)))
    assert np.array_equal(scored(again, FRESH), scored(fitted[name], FRESH))


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


@pytest.mark.parametrize("name", SCORES)
def test_nan_stays_nan_in_its_own_scene(fitted, name):
    fresh = [episode(100 + i) for i in range(3)]
    fresh[1].embedding[2, 5] = np.nan
    scores = scored(fitted[name], fresh)
    assert np.isnan(scores[2, 1])
    assert np.isfinite(np.delete(scores, 1, axis=1)).all()
    assert np.isfinite(np.delete(scores, 2, axis=0)).all()


@pytest.mark.parametrize("name", SCORES)
def test_missing_output_is_named_with_its_remedy(fitted, name):
    bare = dataclasses.replace(episode(0), embedding=None)
    assert fitted[name].needs == {"embedding"}
    with pytest.raises(ScoreError, match=rf"{name} .*embedding.*PolicyOutput.embedding"):
        scored(fitted[name], [bare])
    with pytest.raises(ScoreError, match=rf"{name} .*embedding.*PolicyOutput.embedding"):
        SCORES[name]().fit([bare], 0)


@pytest.mark.parametrize("name", SCORES)
def test_what_cannot_be_learnt_from_is_refused(name):
    with pytest.raises(ScoreError, match=f"{name} .*no episode"):
        SCORES[name]().fit([], 0)
    with pytest.raises(ScoreError, match="the same"):
        SCORES[name]().fit([dataclasses.replace(episode(0), embedding=np.ones((6, D)))], 0)
    broken = episode(7)
    broken.embedding[0, 0] = np.nan
    with pytest.raises(ScoreError, match=f"{name} cannot be fitted"):
        SCORES[name]().fit([episode(0), broken], 0)


@pytest.mark.parametrize("name", ACTS)
def test_chunks_that_cannot_be_learnt_from_are_refused(name):
    broken = episode(7)
    broken.chunk[0, 0, 0] = np.nan
    with pytest.raises(ScoreError, match=f"{name} .*a chunk of episode 7"):
        SCORES[name]().fit([episode(0), broken], 0)
    with pytest.raises(ScoreError, match=f"{name} .*all chunks"):
        SCORES[name]().fit([dataclasses.replace(episode(0), chunk=np.ones((6, H, A)))], 0)


@pytest.mark.parametrize("name", SCORES)
def test_a_fit_follows_its_seed_and_leaves_the_global_streams_alone(fitted, name):
    before, numpys = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    twin, other = SCORES[name](), SCORES[name]()
    twin.fit(FIT, 3)
    other.fit(FIT, 4)
    assert np.array_equal(scored(twin, FRESH), scored(fitted[name], FRESH))
    assert np.allclose(scored(other, FRESH), scored(fitted[name], FRESH)) == (name not in SEEDED)
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(numpys, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("name", SCORES)
def test_the_unfamiliar_scores_higher(fitted, name):
    familiar = scored(fitted[name], [episode(200 + i) for i in range(10)])
    # Along one direction, since a shift of the mean alone is what a cosine sees best and a curvature worst.
    strange = scored(fitted[name], [episode(200 + i, shift=6.0) for i in range(10)])
    assert (strange > np.median(familiar)).mean() > 0.95


@pytest.mark.parametrize("name", ["rnd_actions", "pca_kmeans", "knn", "knn_cosine", "kernel_density"])
def test_the_scale_of_an_embedding_plays_no_part(fitted, name):
    def rescaled(plain):
        return dataclasses.replace(plain, embedding=1000.0 * plain.embedding.astype(float) + 5.0)

    other = SCORES[name]()
    other.fit([rescaled(e) for e in FIT], 3)
    expected = scored(fitted[name], FRESH)
    np.testing.assert_allclose(scored(other, [rescaled(e) for e in FRESH]), expected, rtol=1e-3)


def test_impossible_settings_are_refused():
    for make in (
        lambda: NearestNeighbours(neighbours=0),
        lambda: PcaKmeans(clusters=0),
        lambda: KernelDensity(calls=1),
        lambda: LogpZO(iterations=0),
        lambda: VelocityDisagreement(width=0),
        lambda: ActionRandomNetworkDistillation(epochs=0),
    ):
        with pytest.raises(ConfigError, match="must be at least"):
            make()
    with pytest.raises(UnknownNameError, match="euclidean"):
        NearestNeighbours(metric="euclid")


# -- random network distillation on actions ---------------------------------------------------------------------------


def test_rnd_actions_is_the_sum_over_the_horizon_of_the_distances_of_two_networks(fitted):
    score, fresh = fitted["rnd_actions"], FRESH[0]
    seen = np.concatenate([fresh.embedding, fresh.chunk.reshape(len(fresh.chunk), -1)], axis=1).astype(float)
    z = torch.as_tensor((seen - score.mean) / score.std, dtype=torch.float32).double()
    with torch.no_grad():
        apart = (score.predictor(z) - score.target(z)).numpy()
    expected = [sum(np.linalg.norm(step) for step in row.reshape(H, -1)) for row in apart]
    np.testing.assert_allclose(scored(score, [fresh])[:, 0], expected, rtol=1e-10)


def test_rnd_actions_sees_an_unfamiliar_chunk_behind_a_familiar_embedding(fitted):
    swapped = dataclasses.replace(FRESH[0], chunk=FRESH[0].chunk + np.float32(3.0))
    assert (scored(fitted["rnd_actions"], [swapped]) > scored(fitted["rnd_actions"], FRESH[:1])).all()


# -- distances --------------------------------------------------------------------------------------------------------


def all_standardised(episodes):
    values = np.concatenate([e.embedding for e in episodes]).astype(float)
    return (values - values.mean(axis=0)) / values.std(axis=0), values.mean(axis=0), values.std(axis=0)


def test_knn_is_the_mean_of_the_five_smallest_distances(fitted):
    known, mean, std = all_standardised(FIT)
    values = (FRESH[0].embedding.astype(float) - mean) / std
    euclidean = [np.sort([np.sqrt(((v - k) ** 2).sum()) for k in known])[:5].mean() for v in values]
    np.testing.assert_allclose(scored(fitted["knn"], FRESH[:1])[:, 0], euclidean, rtol=1e-10)
    cosine = [np.sort([1 - v @ k / np.sqrt((v @ v) * (k @ k)) for k in known])[:5].mean() for v in values]
    np.testing.assert_allclose(scored(fitted["knn_cosine"], FRESH[:1])[:, 0], cosine, rtol=1e-10)


def test_knn_with_fewer_calls_than_neighbours_takes_all_there_are():
    score = NearestNeighbours(neighbours=50)
    score.fit([episode(0)], 0)
    assert np.isfinite(scored(score, FRESH)).all()


def test_pca_kmeans_knows_crowds_and_measures_the_distance_to_the_nearest():
    """Four far crowds in a plane: with all components and four centres the score is the distance to a crowd's mean."""
    rng = np.random.default_rng(0)
    corners = 20 * np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    embedding = np.concatenate([np.tile(corners, (30, 1)) + rng.normal(size=(120, 2)), rng.normal(size=(120, 1))], 1)
    crowds = EpisodeCalls("c", "fit", np.arange(120), np.zeros((120, H, A)), None, embedding, EXECUTE)
    score = PcaKmeans(components=3, clusters=4)
    score.fit([crowds], 0)
    known, mean, std = all_standardised([crowds])
    centres = np.array([known[c::4].mean(axis=0) for c in range(4)])
    away = np.array([[25.0, 19, 0], [0, 0, 3]])
    expected = np.linalg.norm(((away - mean) / std)[:, None] - centres, axis=2).min(axis=1)
    call = PolicyCall(np.zeros(2), np.zeros((2, H, A)), None, away, EXECUTE)
    np.testing.assert_allclose(score.update([{}, {}], call), expected, rtol=1e-8)


def test_pca_kmeans_keeps_few_centres_of_few_calls_and_the_components_asked_for():
    score = PcaKmeans(components=4)
    score.fit(FIT[:5], 0)
    assert score.centres.shape == (3, 4)
    known = all_standardised(FIT[:5])[0]
    largest = np.linalg.svd(known, compute_uv=False)[:4] ** 2
    np.testing.assert_allclose(((known @ score.axes.T) ** 2).sum(axis=0), largest, rtol=1e-8)


# -- kernel density ---------------------------------------------------------------------------------------------------


def kernel(one, other, bandwidth):
    return np.exp(-((one[:, None] - other[None]) ** 2).sum(axis=2) / (2 * bandwidth**2))


def variance(values, known, bandwidth, ridge):
    inverse = np.linalg.inv(kernel(known, known, bandwidth) + ridge * np.eye(len(known)))
    across = kernel(values, known, bandwidth)
    return 1 - np.einsum("nm,mk,nk->n", across, inverse, across)


def median_distance(known):
    apart = np.sqrt(((known[:, None] - known[None]) ** 2).sum(axis=2))
    return np.median(apart[np.triu_indices(len(known), 1)])


def test_kernel_density_is_the_posterior_variance(fitted):
    known, mean, std = all_standardised(FIT)
    values = (FRESH[0].embedding.astype(float) - mean) / std
    expected = variance(values, known, median_distance(known), 1e-5 * len(known))
    curve = scored(fitted["kernel_density"], FRESH[:1])[:, 0]
    np.testing.assert_allclose(curve, expected, rtol=1e-6)
    assert ((curve > 0) & (curve < 1)).all()


def test_leave_one_out_is_a_brute_force_refit_without_the_episode(fitted):
    known = all_standardised(FIT)[0]
    held_out = fitted["kernel_density"].leave_one_out()
    assert list(held_out) == [e.uid for e in FIT]
    for i, one in enumerate(FIT):
        own = np.arange(6 * i, 6 * i + 6)
        refit = variance(known[own], np.delete(known, own, axis=0), median_distance(known), 1e-5 * len(known))
        np.testing.assert_allclose(held_out[one.uid], refit, rtol=1e-8)


def test_leave_one_out_is_higher_than_the_score_of_what_was_fitted_and_survives_the_state(fitted):
    held_out = fitted["kernel_density"].leave_one_out()
    inside = scored(fitted["kernel_density"], FIT)
    assert all((held_out[e.uid] > inside[:, i]).all() for i, e in enumerate(FIT))
    again = KernelDensity()
    again.load(fitted["kernel_density"].state())
    assert all(np.array_equal(again.leave_one_out()[uid], curve) for uid, curve in held_out.items())


def test_many_calls_are_thinned_by_whole_episodes():
    """As many as fit, the same for the same seed, and leave-one-out still holds for those."""
    score, again = KernelDensity(calls=40), KernelDensity(calls=40)
    score.fit(FIT, 5)
    again.fit(FIT, 5)
    held_out = score.leave_one_out()
    assert len(held_out) == 6
    assert list(held_out) == list(again.leave_one_out())
    every, mean, std = all_standardised(FIT)
    kept = [int(uid) for uid in held_out]
    known = np.concatenate([(FIT[i].embedding.astype(float) - mean) / std for i in kept])
    refit = variance(known[:6], known[6:], median_distance(known), 1e-5 * len(known))
    np.testing.assert_allclose(held_out[FIT[kept[0]].uid], refit, rtol=1e-8)
    assert len(every) == 180


# -- flows ------------------------------------------------------------------------------------------------------------


def test_logpzo_is_the_squared_length_after_one_step_from_the_data(fitted):
    score = fitted["logpzo"]
    x = standardised(score, FRESH[0])
    with torch.no_grad():
        expected = ((x + score.field(x, torch.zeros(len(x), dtype=x.dtype))) ** 2).sum(dim=1)
    np.testing.assert_allclose(scored(score, FRESH[:1])[:, 0], expected.numpy(), rtol=1e-12)


def third_difference(score, call_embedding, direction):
    """Third difference of the scores along a line: 0 of any quadratic form."""
    line = call_embedding + np.array([-3.0, -1, 1, 3])[:, None] * direction
    call = PolicyCall(np.zeros(4), np.zeros((4, H, A)), None, line, EXECUTE)
    curve = score.update([{}] * 4, call)
    return abs(curve[3] - 3 * curve[2] + 3 * curve[1] - curve[0]) / np.ptp(curve)


def test_logpzo_is_no_quadratic_form(fitted):
    """The published network's path of x has no non-linearity: an affine field, of which the score is quadratic."""
    score, rng = fitted["logpzo"], np.random.default_rng(0)
    middle, directions = FRESH[0].embedding[0].astype(float), rng.normal(size=(10, D))
    assert np.median([third_difference(score, middle, d) for d in directions]) > 0.01

    class Affine(torch.nn.Module):
        def forward(self, x, time):
            return x @ torch.ones(D, D, dtype=x.dtype) + time[:, None] + 1.0

    flawed = LogpZO()
    flawed.load(score.state())
    flawed.field = Affine()
    assert max(third_difference(flawed, middle, d) for d in directions) < 1e-9


def test_the_divergence_is_the_trace_of_the_jacobian(fitted):
    field, x = fitted["logpo"].field, standardised(fitted["logpo"], FRESH[0])
    time = torch.linspace(0, 1, len(x), dtype=x.dtype)
    velocity, divergence = velocity_and_divergence(field, x, time)
    for i in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda p, i=i: field(p[None], time[i : i + 1])[0], x[i])
        assert float(divergence[i].detach()) == pytest.approx(float(jacobian.trace()), rel=1e-9)
    assert torch.equal(velocity, field(x, time))


def test_logpo_is_minus_the_log_density_where_that_is_known():
    """Along the exact flow of a Gaussian the three steps recover its density, and one step at the data would not."""

    class GaussianFlow(torch.nn.Module):
        """Velocity of straight paths from N(0, diag(var)) to N(0, I)."""

        def __init__(self, var):
            super().__init__()
            self.var = var

        def forward(self, x, time):
            t = time[:, None]
            return x * (t - (1 - t) * self.var) / (t**2 + (1 - t) ** 2 * self.var)

    var = torch.tensor([1.5, 0.5, 1.0], dtype=torch.float64)
    score = LogpO()
    score.field = GaussianFlow(var)
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.5 * var.sqrt()
    truth = 0.5 * ((x**2 / var).sum(dim=1) + torch.log(2 * torch.pi * var).sum())
    np.testing.assert_allclose(score.scores(x).numpy(), truth.numpy(), atol=0.12 * float(truth.std()))
    assert np.corrcoef(score.scores(x).numpy(), truth.numpy())[0, 1] > 0.999


def test_flow_curvature_starts_at_the_data_and_is_zero_on_a_straight_path():
    class Field(torch.nn.Module):
        """Constant until flow time 0.5, then growing: the two ends of the path differ."""

        def __init__(self, kink):
            super().__init__()
            self.kink, self.asked = kink, []

        def forward(self, x, time):
            self.asked.append((x.clone(), float(time[0])))
            return torch.ones_like(x) + self.kink * (time[:, None] - 0.5).clamp(min=0)

    x = torch.zeros(2, D, dtype=torch.float64)
    score = FlowCurvature()
    score.field = Field(0.0)
    assert score.scores(x).abs().max() < 1e-15
    score.field = Field(1.0)
    velocities = np.array([1.0, 1.0, 1.0, 1.1, 1.3])
    np.testing.assert_allclose(score.scores(x).numpy(), velocities.std(), rtol=1e-12)
    assert [time for _, time in score.field.asked] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    walked = np.array([float(point[0, 0]) for point, _ in score.field.asked])
    np.testing.assert_allclose(walked, [0, *np.cumsum(velocities[:-1]) / 5], atol=1e-12)


def test_the_consistency_loss_is_zero_on_straight_paths_alone():
    class Constant(torch.nn.Module):
        def forward(self, x, time, condition=None):
            return velocity + bend * time[:, None]

    rng = torch.Generator().manual_seed(0)
    data, noise = torch.randn(2, 50, D, generator=rng).double()
    time, velocity = torch.rand(50, generator=rng).double() * 0.9, noise - data
    bend = 0.0
    assert flow_network.consistency_loss(Constant(), data, noise, time) < 1e-20
    assert matching_loss(Constant(), data, noise, time) < 1e-20
    bend = 1.0
    assert flow_network.consistency_loss(Constant(), data, noise, time) > 1e-9


def test_consistency_training_counts_for_a_hundredth_of_the_matching_loss(monkeypatch):
    """The gradient of the first step is that of L + 0.01 (L / C) C, whatever C's unit."""
    data = torch.randn(40, D, generator=torch.Generator().manual_seed(1))
    weights = []
    for unit in (1.0, 1000.0):
        plain = flow_network.consistency_loss
        with monkeypatch.context() as patch:
            patch.setattr(flow_network, "consistency_loss", lambda *a, u=unit, p=plain: u * p(*a))
            random = torch.Generator().manual_seed(0)
            field = VelocityField(D, 0, 16, random)
            train(field, data, 5, random, consistency=0.01)
        weights.append(field.leave.weight.detach())
    without = VelocityField(D, 0, 16, (random := torch.Generator().manual_seed(0)))
    train(without, data, 5, random)
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-5)
    assert not torch.equal(weights[0], without.leave.weight.detach())


def test_training_finds_the_flow_of_two_crowds():
    """Data at -2 and 2 in one dimension: noise taken back along the learnt field lands on the two crowds."""
    data = torch.tensor([[-2.0], [2.0]]).repeat(50, 1)
    random = torch.Generator().manual_seed(0)
    field = VelocityField(1, 0, 32, random)
    train(field, data, 300, random)
    with torch.no_grad():
        x = torch.randn(200, 1, generator=random)
        for step in range(20):
            x = x - field(x, torch.full((200,), 1 - step / 20)) / 20
    assert float((x.abs() - 2).abs().median()) < 0.3
    assert 0.3 < float((x > 0).float().mean()) < 0.7


# -- velocity-field disagreement --------------------------------------------------------------------------------------


def test_velocity_disagreement_is_its_formula(fitted):
    score, times = fitted["velocity_disagreement"], [0.2, 0.4, 0.6, 0.8, 0.9]
    condition = standardised(score, FRESH[0])

    def v(member, x, t, c):
        # Towards the chunk, by the policy's clock; the fields point to the noise and run from the chunk.
        with torch.no_grad():
            return -score.members[member](x[None], torch.tensor([1 - t], dtype=x.dtype), c[None])[0]

    expected = []
    for c in condition:
        total = 0.0
        for i, j in ((0, 1), (1, 0)):
            for x in torch.as_tensor(score.noise).double():
                now = 0.0
                for t in times:
                    x = x + (t - now) * v(i, x, now, c)
                    now = t
                    total += t / (1 - t) * float(((v(i, x, t, c) - v(j, x, t, c)) ** 2).sum())
        expected.append(total / (2 * len(score.noise) * len(times)))
    np.testing.assert_allclose(scored(score, FRESH[:1])[:, 0], expected, rtol=1e-9)


def test_members_that_agree_score_zero(fitted):
    score = VelocityDisagreement()
    score.load(fitted["velocity_disagreement"].state())
    score.members[1] = score.members[0]
    assert not scored(score, FRESH).any()
