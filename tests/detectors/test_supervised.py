"""Scores that learn from outcomes or schedules: the laws of all scores, and worlds in which the truth is known."""

import dataclasses

import numpy as np
import pytest
import torch

from workbench.detectors.learning.sequences import balance
from workbench.detectors.scores.progress import Progress
from workbench.detectors.scores.safe_lstm import SafeLstm
from workbench.detectors.scores.safe_mlp import SafeMlp
from workbench.detectors.scores.viability import EVIDENCE, FOLDS, Viability, _told_apart
from workbench.errors import ConfigError, ScoreError
from workbench.monitoring.scoring import FittedScore, curves, fit_score, supervised
from workbench.testing import score as laws
from workbench.types import EpisodeCalls, EpisodeTruth

H, A, D, EXECUTE, CALLS = 8, 3, 6, 4, 8
SCORES = {
    "safe_mlp": lambda: SafeMlp(width=16, epochs=200),
    "safe_mlp_local": lambda: SafeMlp(width=16, epochs=200, cumulative=False),
    "safe_lstm": lambda: SafeLstm(width=12, epochs=100),
    "progress": lambda: Progress(width=16, epochs=60),
    "viability": lambda: Viability(width=6, members=3, epochs=60),
}
SUPERVISED = [name for name in SCORES if name != "progress"]


def value(damage):
    """Chance of success from a state with this damage, in closed form."""
    return 1.0 / (1.0 + np.exp(2.0 * (damage - 3.0)))


def world(seed, damage=0.0, since=3, branches=0, calls=CALLS, success=None, split="fit", common=0.0):
    """An episode whose embedding shows progress and damage; damage comes at call ``since`` and stays.

    The value is that of the damage there is at a call.  ``branches`` from every second call measure it.  With
    ``common`` the embedding keeps to one line through its mean, as features that go together do, and damage turns it.
    """
    rng = np.random.default_rng(seed)
    step = EXECUTE * np.arange(calls)
    hurt = np.where(np.arange(calls) >= since, damage, 0.0)
    embedding = 0.5 * rng.normal(size=(calls, D))
    embedding[:, 0] = 10.0 * step / (EXECUTE * calls)
    side = rng.choice([-1.0, 1.0], calls) if common else np.ones(calls)
    embedding[:, 1:] += common * side[:, None]
    embedding[:, 1] += side * hurt
    plan = np.cumsum(0.1 * rng.normal(size=(calls * EXECUTE + H, A)), axis=0)
    chunk = np.stack([plan[c * EXECUTE : c * EXECUTE + H] for c in range(calls)]) + 0.05 * rng.normal(
        size=(calls, H, A)
    )
    won = rng.random() < value(damage) if success is None else success
    measured = [(step[c], rng.binomial(branches, value(hurt[c])), branches) for c in range(0, calls, 2) if branches]
    episode = EpisodeCalls(str(seed), split, step, chunk, None, embedding.astype(np.float32), EXECUTE)
    truth = EpisodeTruth(
        uid=str(seed),
        success=bool(won),
        family="physics" if damage else "",
        perturbation="push" if damage else "",
        length=EXECUTE * calls,
        deadline=EXECUTE * CALLS,
        t_on=-1,
        t_pnr=-1 if won else EXECUTE * since,
        stage=np.zeros(calls, int),
        values=np.array(measured, np.int64).reshape(-1, 3),
    )
    return episode, truth


def worlds(number, first=0, **settings):
    """Half of the episodes nominal and successful, half damaged by 1 to 6."""
    made = [world(first + i, **settings, success=True) for i in range(0, number, 2)]
    made += [world(first + i, damage=1.0 + 5.0 * (i / number), **settings) for i in range(1, number, 2)]
    return [episode for episode, _ in made], [truth for _, truth in made]


def fit(score, episodes, truths, seed=3):
    if supervised(score):
        return fit_score("tested", score, episodes, seed, truths)
    known = [episode for episode, truth in zip(episodes, truths, strict=True) if truth.success]
    return fit_score("tested", score, known, seed)


@pytest.fixture(scope="module")
def fitted():
    return {name: fit(make(), *worlds(40, branches=4)) for name, make in SCORES.items()}


@pytest.fixture(scope="module")
def fresh():
    return worlds(6, first=500)[0]


def scored(score, episodes):
    """(N, C) scores of episodes of equal length, together."""
    return np.array(curves(score, episodes))


def case_of(fitted, fresh):
    """A fitted score as the checker tries it, with no more room than the last digits of double precision."""
    return laws.ScoreCase(fitted.score, [], [], fresh, 1e-12, ready=fitted.score)


def unchecked(score, episodes):
    """The same without the monitor's check for NaN."""
    loose = FittedScore("tested", score.score, score.episodes, score.seed)
    object.__setattr__(loose, "update", lambda memories, call, scenes, numbers: score.score.update(memories, call))
    return np.array(curves(loose, episodes))


# -- laws of all scores ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCORES)
def test_all_that_was_learnt_is_in_the_state(fitted, fresh, name):
    """Another instance, fitted on other data with another seed, loads the first one's state and scores as it did."""
    again = fit(SCORES[name](), *worlds(30, first=100, branches=2), seed=9)
    assert not np.allclose(scored(again, fresh), scored(fitted[name], fresh))
    again.score.load({key: np.array(part) for key, part in fitted[name].score.state().items()})
    assert np.array_equal(scored(again, fresh), scored(fitted[name], fresh))
    blank = SCORES[name]()
    blank.load(fitted[name].score.state())
    assert np.array_equal(scored(dataclasses.replace(again, score=blank), fresh), scored(fitted[name], fresh))
    assert blank.state().keys() == fitted[name].score.state().keys()
    assert all(np.array_equal(blank.state()[key], part) for key, part in fitted[name].score.state().items())


@pytest.mark.parametrize("name", SCORES)
def test_score_of_a_prefix_is_the_prefix_of_the_scores(fitted, fresh, name):
    laws.prefix_of_an_episode_scores_alike(case_of(fitted[name], fresh))


@pytest.mark.parametrize("name", SCORES)
def test_scenes_do_not_know_one_another(fitted, fresh, name):
    laws.scenes_stay_apart(case_of(fitted[name], fresh))


@pytest.mark.parametrize("name", SCORES)
def test_live_it_scores_as_in_a_batch(fitted, fresh, name):
    laws.live_is_offline(case_of(fitted[name], fresh))
    laws.nothing_stays_between_episodes(case_of(fitted[name], fresh))


@pytest.mark.parametrize("name", SCORES)
def test_nan_stays_nan_in_its_own_scene(fitted, name):
    episodes = worlds(6, first=500)[0]
    episodes[1].embedding[2, 5] = np.nan
    scores = unchecked(fitted[name], episodes)
    assert np.isnan(scores[1, 2])
    assert np.isfinite(scores[1, :2]).all()
    assert np.isfinite(scores[[0, 2, 3, 4, 5]]).all()
    with pytest.raises(ScoreError, match="at policy call 2"):
        scored(fitted[name], episodes)


@pytest.mark.parametrize("name", SCORES)
def test_follows_its_seed_and_leaves_the_global_streams_alone(fitted, fresh, name):
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    same, other = (fit(SCORES[name](), *worlds(40, branches=4), seed=seed) for seed in (3, 4))
    assert np.array_equal(scored(same, fresh), scored(fitted[name], fresh))
    assert not np.allclose(scored(other, fresh), scored(fitted[name], fresh))
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("name", SCORES)
def test_missing_embeddings_are_named_with_their_remedy(fitted, name):
    episodes, truths = worlds(8)
    bare = [dataclasses.replace(episode, embedding=None) for episode in episodes]
    said = rf"{name.removesuffix('_local')}.*embedding.*PolicyOutput.embedding"
    with pytest.raises(ScoreError, match=said):
        scored(fitted[name], bare[:2])
    with pytest.raises(ScoreError, match=said):
        fit(SCORES[name](), bare, truths)


@pytest.mark.parametrize("name", SCORES)
def test_what_cannot_be_learnt_from_is_refused(name):
    episodes, truths = worlds(20)
    with pytest.raises(ScoreError, match="no episode"):
        fit(SCORES[name](), [], [])
    same = [dataclasses.replace(episode, embedding=np.ones_like(episode.embedding)) for episode in episodes]
    with pytest.raises(ScoreError, match="the same"):
        fit(SCORES[name](), same, truths)
    episodes[0].embedding[0, 0] = np.nan
    with pytest.raises(ScoreError, match="not finite"):
        fit(SCORES[name](), episodes, truths)


@pytest.mark.parametrize("name", SUPERVISED)
@pytest.mark.parametrize(("success", "said"), [(True, "succeeded: add perturbed"), (False, "failed: add nominal")])
def test_one_class_only_is_refused(name, success, said):
    episodes, truths = worlds(12)
    one = [dataclasses.replace(truth, success=success) for truth in truths]
    with pytest.raises(ScoreError, match=said):
        fit(SCORES[name](), episodes, one)


@pytest.mark.parametrize("make", [SafeMlp, SafeLstm, Progress, Viability])
def test_impossible_sizes_are_refused(make):
    for wrong in ({"width": 0}, {"epochs": 0}):
        with pytest.raises(ConfigError, match="at least 1"):
            make(**wrong)


# -- SAFE ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["safe_mlp", "safe_mlp_local", "safe_lstm", "viability"])
def test_failures_score_higher_than_successes(fitted, name):
    bad = scored(fitted[name], [world(600 + i, damage=6.0)[0] for i in range(8)])
    good = scored(fitted[name], [world(700 + i)[0] for i in range(8)])
    assert bad[:, -1].min() > good[:, -1].max()


def test_cumulative_score_is_the_sum_of_the_calls_own(fitted, fresh):
    score = fitted["safe_mlp"]
    local = SafeMlp()
    local.load({**score.score.state(), "cumulative": np.array([False])})
    own = scored(dataclasses.replace(score, score=local), fresh)
    assert (own > 0).all()
    assert (own < 1).all()
    np.testing.assert_allclose(scored(score, fresh), own.cumsum(axis=1), rtol=1e-12)


def test_lstm_remembers(fitted, fresh):
    """The same last call after another past has another score; the MLP that does not sum does not know of it."""
    other = [dataclasses.replace(e, embedding=np.concatenate([e.embedding[:-1] + 1, e.embedding[-1:]])) for e in fresh]
    for name, knows in (("safe_lstm", True), ("safe_mlp_local", False)):
        one, two = (scored(fitted[name], those)[:, -1] for those in (fresh, other))
        assert (np.abs(one - two) > 1e-6).all() if knows else np.array_equal(one, two)


@pytest.mark.parametrize("failures", [4, 36])
def test_classes_weigh_alike_however_rare_failures_are(failures):
    """Embeddings that tell nothing: the best guess is the balanced rate, not one in ten or nine in ten."""
    failed = np.arange(40) < failures
    weights = balance(failed.astype(float)).numpy()
    np.testing.assert_allclose(weights, np.where(failed, 40 / (failures + 1), 40 / (41 - failures)), rtol=1e-6)
    drawn = [world(i, calls=1, success=not lost) for i, lost in enumerate(failed)]
    episodes = [dataclasses.replace(e, embedding=np.full((1, D), i % 2)) for i, (e, _) in enumerate(drawn)]
    score = fit(SafeLstm(width=4, epochs=100), episodes, [truth for _, truth in drawn])
    share = (weights * failed).sum() / weights.sum()
    np.testing.assert_allclose(scored(score, episodes[:2]), share, atol=0.05)
    assert 0.4 < share < 0.6


# -- progress --------------------------------------------------------------------------------------------------------


def test_delay_is_counted_in_control_steps():
    """On schedule the score is about zero; a robot that stalls at a quarter falls behind step by step."""
    score = fit(Progress(), *worlds(60))
    np.testing.assert_allclose(scored(score, [world(800 + i)[0] for i in range(6)]).mean(), 0.0, atol=1.5)
    stalled = world(810)[0]
    stalled.embedding[:, 0] = 10.0 * 0.25
    curve = scored(score, [stalled])[0]
    np.testing.assert_allclose(np.polyfit(stalled.step, curve, 1)[0], 1.0, atol=0.2)
    np.testing.assert_allclose(curve[-1], stalled.step[-1] - 0.25 * CALLS * EXECUTE, atol=4.0)


# -- viability -------------------------------------------------------------------------------------------------------


COMMON = 4.0
"""Novelty is an angle, so in the worlds of this score features go together."""


def truth_of_the_world(damages):
    """Episodes with these damages and what the score should be at each of their calls."""
    episodes = [world(2000 + i, damage=damage, common=COMMON)[0] for i, damage in enumerate(damages)]
    lost = [np.where(np.arange(CALLS) >= 3, 1 - value(damage), 1 - value(0.0)) for damage in damages]
    return episodes, np.array(lost)


def viable(episodes, truths):
    return fit(Viability(members=4, epochs=150, caution=0.5), episodes, truths)


def test_the_value_that_was_measured_is_recovered_and_outcomes_alone_say_less():
    episodes, lost = truth_of_the_world(np.linspace(0.0, 6.0, 40))
    known = worlds(120, branches=8, common=COMMON)
    blind = [dataclasses.replace(truth, values=np.zeros((0, 3), int)) for truth in known[1]]
    measured, outcome = (np.abs(scored(viable(known[0], t), episodes) - lost).mean() for t in (known[1], blind))
    assert measured < 0.1
    assert measured < outcome


def test_an_episode_lost_by_luck_is_not_called_lost_from_its_start():
    """Mild damage whose value is 0.9, but every such episode happened to fail: the measured value is believed."""
    settings = {"branches": 8, "common": COMMON}
    nominal = [world(i, success=True, **settings) for i in range(20)]
    unlucky = [world(20 + i, damage=1.9, success=False, **settings) for i in range(10)]
    doomed = [world(40 + i, damage=6.0, success=False, **settings) for i in range(10)]
    episodes, truths = zip(*nominal, *unlucky, *doomed, strict=True)
    score = viable(episodes, truths)
    mild, bad = (
        scored(score, [world(3000 + i, damage=d, common=COMMON)[0] for i in range(8)])[:, 4:] for d in (1.9, 6.0)
    )
    assert mild.mean() < 0.35
    assert bad.mean() > 0.8
    blind = viable(episodes, [dataclasses.replace(truth, values=np.zeros((0, 3), int)) for truth in truths])
    assert (
        scored(blind, [world(3000 + i, damage=1.9, common=COMMON)[0] for i in range(8)])[:, 4:].mean()
        > mild.mean() + 0.2
    )


def test_more_evidence_never_raises_the_value(fitted):
    score = fitted["viability"].score
    rng = np.random.default_rng(0)
    inputs = rng.normal(scale=3.0, size=(200, EVIDENCE))
    worse = inputs + rng.exponential(size=(200, EVIDENCE))
    with torch.no_grad():
        odds = [score.networks(torch.as_tensor(x)).quantile(score.caution, dim=0) for x in (inputs, worse)]
    assert (odds[1] >= odds[0]).all()
    assert (odds[1][:, 0] > odds[0][:, 0]).float().mean() > 0.9


def test_a_fault_in_a_direction_never_seen_is_noticed():
    """Trained on damage along dimension 1 alone; what has gone wrong here shows along dimension 4."""
    score = viable(*worlds(60, branches=8, common=COMMON))
    strange, usual = ([world(4000 + i, common=COMMON)[0] for i in range(8)] for _ in range(2))
    for episode in strange:
        episode.embedding[4:, 4] *= -2.0
    gap = scored(score, strange) - scored(score, usual)
    assert not gap[:, :4].any()
    assert (gap[:, 4:] > 0.3).all()


def test_second_head_finds_the_point_of_no_return():
    score = viable(*worlds(60, branches=8, common=COMMON)).score
    before, after = [], []
    for i in range(10):
        rows = score._inputs(score.evidence.along(world(5000 + i, damage=6.0, common=COMMON)[0]))
        with torch.no_grad():
            late = torch.sigmoid(score.networks(rows)[..., 1]).mean(dim=0).numpy()
        before.append(late[:3].max())
        after.append(late[4:].min())
    assert np.mean(after) > 0.6
    assert np.mean(before) < 0.3


def test_evidence_of_what_it_was_fitted_on_is_as_of_fresh_episodes():
    """With few episodes the distance of an episode from itself among others is too small; cross-fitted it is not."""

    def wide(episode):
        rng = np.random.default_rng([7, int(episode.uid)])
        more = rng.normal(size=(len(episode.step), 30)).astype(np.float32)
        return dataclasses.replace(episode, embedding=np.concatenate([episode.embedding, more], axis=1))

    episodes, truths = worlds(2 * 2 * FOLDS, calls=6)
    episodes = [wide(episode) for episode in episodes]
    score = Viability()
    rows = score._fit_evidence(episodes, truths, 0)
    nominal = [i for i, truth in enumerate(truths) if not truth.family]
    crossed = np.mean([rows[i][:, 1].mean() for i in nominal])
    inside = np.mean([score.evidence.along(episodes[i])[:, 1].mean() for i in nominal])
    outside = np.mean([score.evidence.along(wide(world(6000 + i, calls=6)[0]))[:, 1].mean() for i in range(40)])
    assert inside < outside - 0.03
    assert crossed > outside - 0.03


def misled(other, number=24):
    """Two families: what a failure shows in both, ``other`` shows in failures of one and successes of the other."""
    episodes, truths = worlds(number, calls=6, common=COMMON)
    known = [(episode, truth) for episode, truth in zip(episodes, truths, strict=True) if not truth.family]
    for i in range(2 * number):
        family = ("action", "physics")[i // 2 % 2]
        episode, truth = world(700 + i, calls=6, success=bool(i % 2), common=COMMON)
        misleads = truth.success == (family == "physics")
        if misleads if other == "delay" else not truth.success:
            episode.embedding[2:, 0] = episode.embedding[1, 0]
        if misleads if other == "novelty" else not truth.success:
            episode.embedding[2:, 4] *= -2.0
        known.append((episode, dataclasses.replace(truth, family=family)))
    return map(list, zip(*known, strict=True))


@pytest.mark.parametrize("other", ["delay", "novelty"])
def test_evidence_that_misleads_about_a_family_left_out_is_not_read(other):
    score = Viability(members=2, epochs=60)
    fit(score, *misled(other))
    assert score.read.tolist() == [other == "novelty", other == "delay"]


def test_with_one_family_all_evidence_is_read(fitted):
    assert fitted["viability"].score.read.tolist() == [1.0] * EVIDENCE


def test_told_apart_compares_at_common_times_by_the_highest_score_so_far():
    failures, successes = [np.array([0.0, 2.0, 1.0, 9.0]), np.array([0.5, 0.5, 0.5, 0.5])], [np.array([1.0, 0.0])]
    failed = np.array([True, True, False])
    assert _told_apart([*failures, *successes], failed, 4) == 0.5  # 2 beats 1 at the second call, 0.5 does not
    assert _told_apart([*failures, *successes], failed, 1) == 0.0  # neither 0 nor 0.5 beats 1 at the first
    # What merely counts the calls gains nothing, though failures run longer.
    counts = [np.arange(8.0), np.arange(8.0), np.arange(3.0)]
    assert _told_apart(counts, failed, 8) == 0.5
    assert np.isnan(_told_apart(failures, np.array([True, True]), 4))


def test_a_value_at_no_policy_call_and_too_few_successes_are_refused():
    episodes, truths = worlds(20, branches=4)
    off = dataclasses.replace(truths[0], values=np.array([[3, 1, 4]]))
    with pytest.raises(ScoreError, match="control step 3 is at none of its policy calls"):
        fit(Viability(), episodes, [off, *truths[1:]])
    few = [dataclasses.replace(truth, success=i < FOLDS - 1) for i, truth in enumerate(truths)]
    with pytest.raises(ScoreError, match=f"at least {FOLDS} of them, not {FOLDS - 1}"):
        fit(Viability(), episodes, few)
    with pytest.raises(ConfigError, match="caution"):
        Viability(caution=1.5)
