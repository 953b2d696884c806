"""Attributors are judged against what was executed, see nothing of it, and are asked once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from tests.toy import ToyExpert, ToyPolicy, ToyTask, broken, turned
from workbench.attribution import attributing
from workbench.attribution.attributing import Attributions, AttributorFigures, Judged, attribute
from workbench.attribution.attributors.dependency_search import DependencySearch
from workbench.attribution.cases import BRANCHED, Corrector, offers, repeated
from workbench.attribution.labels import Settings, label_episodes
from workbench.config.parts import remembering
from workbench.errors import ConfigError, ContractError, UnknownNameError
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup
from workbench.stats.proportions import clopper_pearson
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import LABELS, Stream, episode_index
from workbench.types.attribution import OFFERED, Attribution, Case, Watched

FAULTS = [(turned(5, 3),), (broken(6, 9),), (turned(8, 4),), (broken(9, 100),)]


@pytest.fixture
def path(tmp_path):
    """A store of toys: two nominal successes and three failures to learn from, four failures to be judged; labelled."""
    task, policy = ToyTask(), ToyPolicy()
    launches = [Launch(Stream(1, episode_index("fit", number))) for number in range(2)]
    launches += [Launch(Stream(1, episode_index("fit", 2 + number)), fault) for number, fault in enumerate(FAULTS[:3])]
    launches += [Launch(Stream(1, episode_index("test", number)), fault) for number, fault in enumerate(FAULTS)]
    launches += [Launch(Stream(1, episode_index("test", 9)))]
    with StoreWriter.open(tmp_path / "toys.zarr", StoreHeader("toy", 10.0, 40, {}, {}, 0)) as writer:
        for episode in Lockstep(task, policy, 4).record(launches):
            writer.append(episode)
    store = Store.open(tmp_path / "toys.zarr")
    failed = [store.episode(number) for number in range(len(store)) if not store.episodes["success"][number]]
    drivers = Lockstep(task, policy, 8), Lockstep(task, ToyExpert(), 8)
    store.annotate_many(
        {each.uid: each.columns for each in label_episodes(failed, task, *drivers, Settings((8,), 5, (4, 8), 16))}
    )
    return store.path


@pytest.fixture(autouse=True)
def _toy_expert(monkeypatch):
    monkeypatch.setattr(Setup, "expert", lambda setup, node: ToyExpert())


class Naming:
    """Names one step whatever it sees, and keeps the cases that it was shown."""

    def __init__(self, step: int | None = 5, needs: frozenset[str] = frozenset()) -> None:
        self.step, self.needs, self.cases = step, needs, list[Case]()

    def attribute(self, case: Case) -> Attribution:
        self.cases.append(case)
        return Attribution() if self.step is None else Attribution((self.step,))


def named(part: Naming) -> Naming:
    """The part as if a configuration had made it."""
    found: Naming = remembering(part, {"_target_": "mylab.Naming", "step": part.step})
    return found


def judged(path, *parts, **settings) -> Attributions:
    return attribute(
        Store.open(path),
        {f"part{number}": part for number, part in enumerate(parts)},
        ToyTask(),
        ToyPolicy(),
        **settings,
    )


def test_a_named_step_is_right_where_it_lies_in_the_executed_window_and_no_further(path):
    rows = Store.open(path).episodes
    found = judged(path, *(Naming(step) for step in range(12)))
    assert len(found.rows) == 12 * 4
    assert found.failures == 4
    for row in found.rows:
        number = list(rows["uid"]).index(row.uid)
        assert (row.decisive, row.decisive_end) == (rows["t_dec"][number], rows["t_dec_end"][number])
        assert row.finds_decisive(0) == (rows["t_dec"][number] <= row.step < rows["t_dec_end"][number])
        assert row.finds_onset(0) == (rows["t_on_low"][number] <= row.step <= rows["t_on_high"][number])
    assert {row.decisive for row in found.rows} == {5, 6, 8, 9}


def row(step: int, decisive: int = 10, end: int = 14, onset: tuple[int, int] = (12, 13)) -> Judged:
    return Judged("a", "1:2:x", "toy", "", step, decisive, end, *onset, 100)


@pytest.mark.parametrize(("step", "tolerance", "decisive", "onset"), [
    (9, 0, False, False), (10, 0, True, False), (13, 0, True, True), (14, 0, False, False),
    (5, 5, True, False), (4, 5, False, False), (18, 5, True, True), (19, 5, False, False), (7, 5, True, True),
    (-1, 10, False, False),
])  # fmt: skip
def test_tolerances_widen_the_truth_on_both_sides_and_nothing_named_is_a_miss(step, tolerance, decisive, onset):
    assert (row(step).finds_decisive(tolerance), row(step).finds_onset(tolerance)) == (decisive, onset)


def test_nothing_named_near_step_0_is_a_miss_too():
    assert not row(-1, 0, 4, (0, 0)).finds_decisive(10)
    assert not row(-1, 0, 4, (0, 0)).finds_onset(10)


def test_figures_count_misses_errors_and_costs_and_tell_groups_apart():
    rows = [row(10), row(16), row(-1), dataclasses.replace(row(30), perturbation="push", simulated_steps=300)]
    whole = AttributorFigures.of("a", "", rows)
    assert (whole.episodes, whole.named, whole.decisive) == (4, 3, {0: 1, 5: 2, 10: 2})
    assert whole.mean_error_steps == pytest.approx((0 + 6 + 20) / 3)
    assert whole.simulated_steps == 150
    found = Attributions(tuple(rows), 9)
    assert [(each.group, each.episodes) for each in found.figures("perturbation")] == [("no fault", 3), ("push", 1)]
    table = found.table("task")
    assert table["decisive_5"].tolist() == [0.5]
    assert (table["decisive_5_low"][0], table["decisive_5_high"][0]) == clopper_pearson(2, 4)
    with pytest.raises(UnknownNameError, match="perturbation"):
        found.figures("fault")


def test_only_failed_test_episodes_with_a_decisive_step_are_judged(path):
    store = Store.open(path)
    tested = [uid for uid, split in zip(store.uids, store.episodes["split"], strict=True) if split == "test"]
    store.annotate(tested[0], t_dec=-1, t_dec_end=-1)
    found = judged(path, Naming())
    assert {row.uid for row in found.rows} == set(tested[1:4])
    assert found.failures == 4
    store.annotate_many({uid: {"t_dec": -1, "t_dec_end": -1} for uid in tested})
    with pytest.raises(
        ConfigError, match=r"no failed test episode with an executed decisive step .of 4.*workbench label"
    ):
        judged(path, Naming())


# -- what an attributor can see --------------------------------------------------------------------------------------


def plain(value: Any, at: str = "case") -> Iterator[tuple[str, Any]]:
    """Everything that can be read off a case, by where it stands."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not isinstance(value, Corrector):
        for field in dataclasses.fields(value):
            yield from plain(getattr(value, field.name), f"{at}.{field.name}")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from plain(each, f"{at}[{key}]")
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from plain(each, f"{at}[{number}]")
    elif isinstance(value, np.ndarray):
        yield at, value.tobytes()
    elif not isinstance(value, Corrector):
        yield at, value


def test_a_case_does_not_depend_on_labels(path):
    """Whatever the labels say, the very same cases are shown: so nothing of them is in there."""
    shown = []
    for shift in (0, 1):
        store = Store.open(path)
        numbers = {
            column: store.episodes[column]
            for column in ("t_dec", "t_dec_end", "t_on", "t_on_low", "t_on_high", "t_pnr", "t_eff")
        }
        store.annotate_many({
            uid: {column: int(values[place]) + shift for column, values in numbers.items() if values[place] >= 0}
            | {"responsibility": 0.5 + shift / 4, "outcome": ("failure", "recoverable failure")[shift]}
            for place, uid in enumerate(store.uids) if not store.episodes["success"][place]
        })  # fmt: skip
        part = Naming(shift, frozenset(OFFERED) - {"monitors"})
        judged(path, part, reruns=2)
        shown.append([dict(plain(case)) for case in part.cases])
    assert len(shown[0]) == 4
    assert shown[0] == shown[1]


def test_nothing_of_labels_faults_uids_or_seeds_can_be_read_off_a_case(path):
    part = Naming(5, frozenset(OFFERED) - {"monitors"})
    judged(path, part, reruns=2)
    store = Store.open(path)
    secrets = [*store.uids, *(record for record in store.episodes["perturbations"] if record != "[]"), "break", "turn"]
    for case in part.cases:
        found = dict(plain(case))
        texts = [value for value in found.values() if isinstance(value, str)]
        assert not [secret for secret in secrets for text in texts if secret in text]
        names = {part.strip("[]") for at in found for part in at.replace("[", ".[").split(".")}
        assert not names & {
            *(set(LABELS) - {"twin"}),
            "perturbation",
            "perturbations",
            "index",
            "t_inj",
            "applied",
            "state",
            "model",
            "stream",
        }
        assert case.log.calls.uid == "" == case.twin.calls.uid
        assert set(vars(case.log)) == {
            "calls",
            "observations",
            "actions",
            "stage",
            "predicates",
            "modes",
            "success",
            "monitors",
        }


def test_what_is_not_needed_is_not_offered(path):
    part, needy = Naming(), Naming(5, frozenset({"twin"}))
    judged(path, part, needy, reruns=3)
    assert all(
        (case.twin, tuple(case.reruns), case.correct, dict(case.log.monitors)) == (None, (), None, {})
        for case in part.cases
    )
    assert all(case.twin is not None and case.twin.success and not case.reruns for case in needy.cases)


def test_a_log_cannot_be_changed(path):
    class Changing(Naming):
        def attribute(self, case):
            case.log.actions[0] = 7.0
            return Attribution((0,))

    with pytest.raises(ValueError, match="read-only"):
        judged(path, Changing())


# -- what is simulated, and counted -----------------------------------------------------------------------------------


def test_repeated_runs_have_the_same_start_and_faults_and_other_noise(path):
    store = Store.open(path)
    number = next(n for n in range(len(store)) if store.episodes["split"][n] == "test")
    episode = store.episode(number, steps=BRANCHED)
    runs = repeated([episode], Lockstep(ToyTask(), ToyPolicy(lazy=0.5), 4), 6)[0]
    assert len({run.steps["action"].tobytes() for run in runs}) > 1
    assert {run.record["perturbations"] for run in runs} == {episode.record["perturbations"]}
    assert {run.steps["obs/place"][0].tobytes() for run in runs} == {episode.steps["obs/place"][0].tobytes()}
    again = repeated([episode], Lockstep(ToyTask(), ToyPolicy(lazy=0.5), 1), 6)[0]
    assert [run.steps["action"].tobytes() for run in runs] == [run.steps["action"].tobytes() for run in again]


def test_every_simulated_step_is_counted_for_whom_it_was_simulated(path):
    free, twin, reruns = Naming(), Naming(5, frozenset({"twin"})), Naming(5, frozenset({"reruns"}))
    found = judged(path, free, twin, reruns, reruns=3)
    costs = {
        name: [row.simulated_steps for row in found.rows if row.attributor == name]
        for name in ("part0", "part1", "part2")
    }
    assert costs["part0"] == [0] * 4
    assert costs["part1"] == [20] * 4, "the policy needs twenty steps without a fault"
    assert costs["part2"] == [sum(log.length for log in case.reruns) for case in reruns.cases]


def test_a_correction_is_executed_and_its_steps_are_counted(path):
    store = Store.open(path)
    uid = next(
        u
        for u, p in zip(store.uids, store.episodes["perturbations"], strict=True)
        if json.loads(p or "[]") == [FAULTS[1][0]] and store.episodes["split"][store.uids.index(u)] == "test"
    )
    episode = store.episode(store.uids.index(uid), steps=BRANCHED)
    lockstep = Lockstep(ToyTask(), ToyPolicy(), 4)
    (offer,) = offers([episode], [{}], ToyTask(), lockstep, ToyExpert(), {"corrections"}, 0)
    case, cost = offer.for_one({"corrections"})
    assert cost == 0
    assert case.correct(6, 2), "the break of step 6 is mended in time"
    spent = offer.corrector.simulated
    assert spent > 10
    assert not case.correct(12, 4), "from step 9 on nothing mends"
    assert offer.corrector.simulated > spent
    with pytest.raises(ConfigError, match="none of an episode of 40 steps"):
        case.correct(40, 4)
    offer.for_one({"corrections"})
    assert offer.corrector.simulated == 0, "the next attributor pays for itself alone"


def test_executed_dependency_search_stays_within_its_budget_and_pays_for_it(path):
    found = judged(path, DependencySearch(budget=3, steps=4))
    asked = []

    class Counting(DependencySearch):
        def attribute(self, case):
            tries = []
            counted = dataclasses.replace(case, correct=lambda *said: tries.append(said) or case.correct(*said))
            answer = super().attribute(counted)
            asked.append(len(tries))
            return answer

    judged(path, Counting(budget=3, steps=4))
    assert all(0 < each <= 3 for each in asked)
    assert all(row.simulated_steps > 0 for row in found.rows)


# -- going on, and bad input ------------------------------------------------------------------------------------------


def test_what_was_said_is_kept_and_other_settings_are_asked_anew(path, monkeypatch):
    monkeypatch.setattr(attributing, "EPISODES_PER_BATCH", 1)
    part = named(Naming(5, frozenset({"reruns"})))
    whole, count = attributing.attribute_batch, iter(range(2))

    def ended(batch):
        if next(count, None) is None:
            raise KeyboardInterrupt
        return whole(batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patch.setattr(attributing, "attribute_batch", ended)
        judged(path, part, reruns=2)
    assert len(part.cases) == 2
    first = judged(path, part, reruns=2)
    assert len(part.cases) == 4, "two were kept"
    assert judged(path, part, reruns=2) == first
    assert len(part.cases) == 4
    judged(path, part, reruns=3)
    assert len(part.cases) == 8
    assert judged(path, part, reruns=2) == first, "what was said with other settings stays"
    assert len(part.cases) == 8


def test_an_object_of_ones_own_is_asked_every_time(path):
    """Nothing tells it from another one of its class that would name another step."""
    assert {row.step for row in judged(path, Naming(5)).rows} == {5}
    assert {row.step for row in judged(path, Naming(6)).rows} == {6}
    assert not path.with_suffix(".attribution.json").exists()


def test_labels_that_change_change_the_judgement_and_not_what_is_asked(path):
    part = named(Naming(5))
    judged(path, part)
    store = Store.open(path)
    store.annotate_many({row.uid: {"t_dec": 4, "t_dec_end": 6} for row in judged(path, part).rows})
    assert all(row.finds_decisive(0) for row in judged(path, part).rows)
    assert len(part.cases) == 4


def test_what_learns_is_asked_anew_when_its_lessons_change(path):
    learned = []

    class Learning(Naming):
        def fit(self, lessons, task, seed):
            learned.append([(lesson.log.success, lesson.decisive) for lesson in lessons])
            self.step = lessons[-1].decisive[0]

    part = named(Learning())
    first = judged(path, part)
    rows = Store.open(path).episodes
    windows = zip(rows["split"], rows["t_dec"], rows["t_dec_end"], strict=True)
    taught = [
        (decisive < 0, (decisive, end) if decisive >= 0 else None) for split, decisive, end in windows if split == "fit"
    ]
    assert learned[-1] == taught
    assert taught.count((True, None)) == 2 < len(taught)
    assert part.step == 5, "a copy learns, so that no fold sees another's lessons"
    assert {row.step for row in first.rows} == {8}
    store = Store.open(path)
    last = [uid for uid, split in zip(store.uids, store.episodes["split"], strict=True) if split == "fit"][-1]
    store.annotate(last, t_dec=7)
    assert {row.step for row in judged(path, part).rows} == {7}


@pytest.mark.parametrize("steps", [(99,), (-1,), [3], (2.5,), None])
def test_an_impossible_answer_is_named(path, steps):
    class Wrong(Naming):
        def attribute(self, case):
            return Attribution(steps)

    with pytest.raises(ContractError, match=r"attributor part0 answers .* of an episode of 40 steps"):
        judged(path, Wrong())


def test_bad_input_is_refused_in_one_line(path):
    with pytest.raises(ConfigError, match="reads monitors, and none are given: workbench fit"):
        judged(path, Naming(5, frozenset({"monitors"})))
    with pytest.raises(ConfigError, match=r"job\.reruns=0 must be at least 1"):
        judged(path, Naming(), reruns=0)
    with pytest.raises(ConfigError, match="no attributor is named"):
        judged(path)
    with pytest.raises(UnknownNameError, match="famas"):
        attribute(Store.open(path), ["fams"], ToyTask(), ToyPolicy())


def test_readings_reach_the_log(path, monkeypatch):
    said = Watched(np.arange(3.0), np.array([False, True, False]))
    monkeypatch.setattr(attributing, "watched", lambda store, numbers, *_: {number: {"m": said} for number in numbers})
    part = Naming(5, frozenset({"monitors"}))
    judged(path, part)
    assert all(case.log.monitors["m"] is said for case in part.cases)
