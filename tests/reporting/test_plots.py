"""Figures for papers: drawn from the rows of their tables, as the benchmark has them, the same file each time."""

from __future__ import annotations

import dataclasses
import itertools
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.toy import ToyPolicy, broken
from tests.viewing.test_recording import SeenTask, monitor
from workbench.benchmarking.judged import JudgedEpisode
from workbench.benchmarking.own import benchmark, judged_by
from workbench.errors import ConfigError, UnknownNameError
from workbench.reporting import plotted
from workbench.reporting.plots import FIGURES, KINDS, axis_name, figures
from workbench.rollouts.loop import Launch, Lockstep
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Record, Stream, episode_index

LAZY = ToyPolicy(lazy=0.35)


def sized(magnitude: float) -> Record:
    """A fault of which a size is known."""
    return {**broken(6, 1000), "offset_m": [0.0, magnitude]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Twelve episodes without and twelve with a fault of rising size, some of which are lost."""
    path = tmp_path_factory.mktemp("plots") / "toy.zarr"
    faults: list[tuple[Record, ...]] = [()] * 12 + [(sized(0.1 * number),) for number in range(1, 13)]
    launches = [Launch(Stream(0, episode_index("test", number)), drawn) for number, drawn in enumerate(faults)]
    with StoreWriter.open(path, StoreHeader("toy", 10.0, 40, {}, {}, 0)) as writer:
        for episode in Lockstep(SeenTask(), LAZY, 4).record(launches):
            writer.append(episode)
    made = Store.open(path)
    for number in np.flatnonzero(~made.episodes["success"]):
        made.annotate(int(number), t_on=6, t_pnr=30)
    return made


JUDGES = {each.name: each for each in (monitor("timely+fixed", 10.0), monitor("late+fixed", 36.0))}


def judged(margins: list[float], success: bool) -> JudgedEpisode:
    steps = np.arange(0, 4 * len(margins), 4)
    return JudgedEpisode(np.array(margins), steps, 40, success, not success, 6, 30, 40)


def test_a_curve_has_the_area_that_the_benchmark_states(store: Store) -> None:
    """Computed here by trapezoids, there by counting pairs; also with ties."""
    rows = plotted.roc_rows(judged_by(store, JUDGES))
    stated = {row.score: row.auroc for row in benchmark(store, JUDGES).rows}
    assert len(rows) == 8
    for row in rows:
        assert float(np.trapezoid(row.detections, row.false_alarms)) == pytest.approx(row.area, abs=1e-12)
        assert row.area == pytest.approx(stated[row.monitor][str(row.fraction)], abs=1e-12)
        assert (row.false_alarms[0], row.detections[0], row.false_alarms[-1], row.detections[-1]) == (0, 0, 1, 1)
    noisy = [judged(list(np.random.default_rng(n).integers(0, 3, 5) + 0.0), n % 2 == 0) for n in range(30)]
    for row in plotted.roc_rows({"noise+x": noisy, "noise+y": noisy[::-1]}):
        assert row.monitor == "noise", "one line a score"
        assert float(np.trapezoid(row.detections, row.false_alarms)) == pytest.approx(row.area, abs=1e-12)


def test_bins_hold_every_episode_once_and_equal_sizes_together() -> None:
    episodes = [(float(n // 4), n % 3 == 0) for n in range(37)]
    rows = plotted._binned("push", "force_n", episodes)
    assert sum(row.rate.whole for row in rows) == 37
    assert sum(row.rate.part for row in rows) == sum(won for _, won in episodes)
    assert all(one.high < other.low for one, other in itertools.pairwise(rows))
    assert min(row.rate.whole for row in rows) >= plotted.LEAST_IN_BIN
    assert len(plotted._binned("latency", "latency_steps", [(2.0, True)] * 9)) == 1


def test_the_size_of_a_vector_is_its_length_and_a_duration_is_no_size(store: Store) -> None:
    rows = plotted.magnitude_rows(store)
    assert {(row.perturbation, row.parameter) for row in rows} == {("break", "offset_m")}
    assert rows[0].low == pytest.approx(0.1)
    assert rows[-1].high == pytest.approx(1.2)
    assert sum(row.rate.whole for row in rows) == 12


def test_leads_are_counted_from_alarm_to_point_of_no_return() -> None:
    seen = [judged([-1, -1, 1, 1], False), judged([-1] * 4, False), judged([-1] * 9 + [1], False)]
    rows = plotted.alarm_rows({"m": [*seen, judged([1], True), dataclasses.replace(seen[0], t_on=-1)]})
    assert [(row.onset, row.alarm) for row in rows] == [(6, 8), (6, -1), (6, 36)], "failures with an onset alone"
    np.testing.assert_array_equal(plotted.lead_times(rows, "m"), [22, -np.inf, -6])
    (cells,) = [row.cells for row in plotted.lead_table(rows, 10.0).rows]
    assert [cell.text for cell in cells] == ["m", "33 %", "1/3", cells[3].text, "0.80"]
    (cells,) = [row.cells for row in plotted.alarm_table(rows).rows]
    assert [cell.text for cell in cells] == ["m", "2/3", "0/3", "2/3"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_written_with_its_table_and_twice_the_same(store: Store, tmp_path: Path, kind: str) -> None:
    made = [figures(store, JUDGES, into=tmp_path / name, kind=kind) for name in ("one", "two")]
    assert list(made[0].pictures) == ["magnitude", "roc", "alarms", "lead", "modes"]
    assert made[0].left_out == {"luck": "no episode's luck was measured"}
    for name, path in made[0].pictures.items():
        assert path == tmp_path / "one" / f"{name}.{kind}"
        assert path.read_bytes() == made[1].pictures[name].read_bytes(), "no date, no chance"
        assert path.with_suffix(".tex").read_text() == made[0].tables[name].latex()
        assert r"\toprule" in made[0].tables[name].latex()
    whole = (tmp_path / "one" / f"roc.{kind}").read_bytes()
    if kind == "svg":
        loaded = re.findall(rb'(?:href|src)="([^"#][^"]*)"', whole)
        assert not loaded, "nothing is loaded, and letters are drawn"
        assert b"<text" not in whole
    if kind == "pdf":
        assert b"/Type3" not in whole
        assert b"CreationDate" not in whole


def test_only_what_is_asked_for_is_made_and_what_is_missing_says_why(store: Store, tmp_path: Path) -> None:
    made = figures(store, into=tmp_path, only=["lead", "modes"], kind="png")
    assert list(made.pictures) == ["modes"]
    assert made.left_out == {"lead": "no monitor was given: workbench fit"}
    with pytest.raises(UnknownNameError, match="unknown figure 'rock'"):
        figures(store, into=tmp_path, only=["rock"])
    with pytest.raises(UnknownNameError, match="kind of figure 'gif'"):
        figures(store, into=tmp_path, kind="gif")
    assert set(FIGURES) > {"luck"}


def test_luck_is_drawn_where_it_was_measured(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = store.episodes
    faulty = columns["perturbation"] != ""
    luck = np.where(faulty, np.linspace(0, 1, len(store)), 0.0)
    bounds = {"luck_low": np.clip(luck - 0.05, 0, 1), "luck_high": np.where(faulty, luck + 0.05, 0.0)}
    measured: dict[str, Any] = {**columns, "luck": luck, "luck_runs": np.where(faulty, 64, 0), **bounds}
    monkeypatch.setattr(Store, "episodes", property(lambda self: measured))
    (row,) = plotted.luck_rows(store)
    assert (row.perturbation, len(row.luck), row.systematic.whole) == ("break", 12, 12)
    won, low, high = columns["success"][faulty], bounds["luck_low"][faulty], bounds["luck_high"][faulty]
    assert row.systematic.part == int((low[won] > 0.9).sum() + (high[~won] < 0.1).sum())
    assert "luck" in figures(store, into=tmp_path, only=["luck"], kind="svg").pictures


def test_without_matplotlib_one_line_says_what_to_install(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'failure-workbench\[figures\]'") as caught:
        figures(store, into=tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_units_stand_in_brackets() -> None:
    assert [axis_name(name) for name in ("force_n", "latency_steps", "std_fraction")] == [
        "force (N)", "latency (control steps)", "std (share)",
    ]  # fmt: skip
