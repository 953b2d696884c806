"""Luck is what other noise makes of the same start and faults; what is law is told from it, and counted apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from tests.toy import ToyExpert, ToyPolicy, ToyTask, broken
from workbench.attribution import labels, luck
from workbench.attribution.branching import Value, drive
from workbench.attribution.labels import Settings
from workbench.attribution.laws import judge_luck, kind_of_luck
from workbench.attribution.luck import episodes_of_interest, find_luck
from workbench.errors import ConfigError, OtherSettingsError, StoreError
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Record, Stream

LAZY = 0.5
"""Half of the ten calls of an episode do nothing; five of them have to move."""
CHANCE = float(binom.sf(4, 10, 1 - LAZY))
BREAKS = 5
NOMINAL, BROKEN = 24, 6


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of a lazy policy: nominal episodes, which are luck, and ones that broke for good, which are law."""
    monkeypatch.setattr(Setup, "expert", lambda setup, node: ToyExpert())
    launches = [Launch(Stream(1, index)) for index in range(NOMINAL)]
    launches += [Launch(Stream(1, 100 + index), (broken(BREAKS, 0),)) for index in range(BROKEN)]
    with StoreWriter.open(tmp_path / "toys.zarr", StoreHeader("toy", 10.0, 40, {}, {}, 0)) as writer:
        for episode in Lockstep(ToyTask(), ToyPolicy(LAZY), 8).record(launches):
            writer.append(episode)
    return tmp_path / "toys.zarr"


def relabel(path: Path, reruns: int, overwrite: bool = False, **settings: int) -> Record:
    asked = Settings((), settings.get("stride", 7), (4,), 0)
    found = labels.label(Store.open(path), ToyTask(), ToyPolicy(LAZY), settings=asked, luck=reruns, overwrite=overwrite)
    return found.record()


def test_it_is_the_chance_of_success_under_other_noise_with_the_fault_as_drawn() -> None:
    lockstep = Lockstep(ToyTask(), ToyPolicy(LAZY), 16)
    nominal = [find_luck(Stream(1, index), (), False, 256) for index in range(6)]
    broke = [find_luck(Stream(1, index), (broken(BREAKS, 0),), False, 256) for index in range(2)]
    found = [value for value, _ in drive([*nominal, *broke], lockstep)]
    for value in found[:6]:
        assert value.branches == 64, "a look at a quarter of them is enough"
        assert value.interval[0] <= CHANCE <= value.interval[1]
    assert len({value.successes for value in found[:6]}) > 1, "each episode has noise of its own"
    for value in found[6:]:
        assert (value.successes, value.branches) == (0, 64), "V(0) would leave the fault out, and win"
        assert value.interval[1] < 0.1


def test_the_intervals_share_their_error_over_the_looks() -> None:
    ((value, steps),) = drive(
        [find_luck(Stream(1, 0), (broken(BREAKS, 0),), False, 64)], Lockstep(ToyTask(), ToyPolicy(LAZY), 16)
    )
    assert value == Value(0, 64, 2)
    assert value.interval[1] == pytest.approx(1 - 0.0125 ** (1 / 64))
    assert steps == 64 * 40


@pytest.mark.parametrize(("low", "high", "success", "kind"), [
    (0.0, 0.09, False, "law"), (0.0, 0.11, False, "open"), (0.11, 0.5, False, "luck"), (0.95, 1.0, False, "luck"),
    (0.95, 1.0, True, "law"), (0.85, 1.0, True, "open"), (0.5, 0.85, True, "luck"), (0.0, 0.05, True, "luck"),
])  # fmt: skip
def test_law_luck_and_open(low: float, high: float, success: bool, kind: str) -> None:
    row = {"luck_runs": 64, "luck_low": low, "luck_high": high, "success": success}
    assert kind_of_luck(row) == kind
    assert kind_of_luck({**row, "luck_runs": 0}) == ""


def test_failures_are_counted_apart(path: Path) -> None:
    record = relabel(path, 64)["luck"]
    rows = {(row["by"], row["name"]): row for row in record["rows"]}
    store = Store.open(path)
    failed = int((~store.episodes["success"].astype(bool)).sum())
    assert failed > BROKEN
    broke, nominal, whole = rows["fault", "break"], rows["fault", ""], rows["all", ""]
    assert (broke["law"], broke["luck"], broke["open"], broke["reruns_won"]) == (BROKEN, 0, 0, 0.0)
    assert (nominal["law"], nominal["luck"], nominal["open"]) == (0, failed - BROKEN, 0)
    assert broke["mistaken"][0] == 0.0, "no rerun passes"
    wrong = nominal["mistaken"]
    assert wrong[1] <= 1 - CHANCE <= wrong[2], "a rerun fails again, and the failure is called systematic"
    assert whole["failures"] == failed == whole["law"] + whole["luck"]
    assert rows["stage", "half"]["failures"] + rows["stage", "done"]["failures"] == failed
    assert (record["law"], record["luck"], record["open"]) == (whole["law"], whole["luck"], whole["open"])
    assert record["measured"] == [failed, min(failed, len(store) - failed)]


def test_it_is_not_measured_unless_it_is_asked_for(path: Path) -> None:
    found = relabel(path, 0)
    assert "luck" not in found
    assert "luck" not in found["simulated_steps"]
    rows = Store.open(path).episodes
    assert set(rows["luck_runs"]) == {0}
    assert set(rows["luck"]) == {-1.0}
    with pytest.raises(StoreError, match=r"no luck of a failure is known in toys.zarr; measure it with: .*job\.luck"):
        judge_luck(Store.open(path))


def test_of_successes_as_many_are_drawn_as_there_are_failures_and_order_plays_no_part(path: Path) -> None:
    rows = dict(Store.open(path).episodes)
    chosen = episodes_of_interest(rows)
    success = rows["success"].astype(bool)
    assert set(np.flatnonzero(~success)) <= set(chosen)
    assert success[chosen].sum() == min((~success).sum(), success.sum())
    order = np.random.default_rng(0).permutation(len(success))
    shuffled = {name: values[order] for name, values in rows.items()}
    again = episodes_of_interest(shuffled)
    assert {str(shuffled["uid"][n]) for n in again} == {str(rows["uid"][n]) for n in chosen}
    assert again == sorted(again)


def test_other_reruns_are_refused_or_measured_anew_and_other_labels_stay(path: Path) -> None:
    relabel(path, 8)
    before = Store.open(path).digest()
    with pytest.raises(
        OtherSettingsError, match=r"label luck of .* was made with another reruns; overwrite=true"
    ) as caught:
        relabel(path, 16)
    assert "\n" not in str(caught.value)
    assert Store.open(path).digest() == before
    relabel(path, 16, overwrite=True)
    assert set(Store.open(path).episodes["luck_runs"]) <= {0, 4, 16}
    assert 16 in Store.open(path).episodes["luck_runs"]
    luck_before = Store.open(path).episodes["luck"].tolist()
    relabel(path, 0, overwrite=True, stride=9)
    assert Store.open(path).episodes["luck"].tolist() == luck_before, "luck depends on none of the other searches"
    for wrong in (1, 5000, -3):
        with pytest.raises(ConfigError, match=rf"job\.luck={wrong} must be 0, or 4 to 4096 reruns"):
            relabel(path, wrong)


def test_an_ended_call_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luck, "EPISODES_PER_BATCH", 2)
    whole, left = luck.luck_batch, iter(range(3))

    def ended(batch: luck.Batch) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return whole(batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patch.setattr(luck, "luck_batch", ended)
        relabel(path, 8)
    kept = Store.open(path).episodes["luck_runs"]
    assert (kept > 0).sum() == 6
    found = relabel(path, 8)
    rows = Store.open(path).episodes
    assert (rows["luck_runs"] > 0).sum() == sum(found["luck"]["measured"])
    alone = whole(luck.Batch(Setup(ToyTask(), ToyPolicy(LAZY)), path, 8, episodes_of_interest(rows)))
    assert found["simulated_steps"]["luck"] == sum(steps for _, steps in alone.values()), "each counts once"
    assert [alone[uid][0]["luck"] for uid in alone] == [
        float(rows["luck"][number]) for number in episodes_of_interest(rows)
    ]
