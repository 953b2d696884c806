# ruff: noqa: RUF001
import copy
import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from workbench.config import Entry
from workbench.monitoring.example import Example
from workbench.monitoring.promises import FALSE_ALARMS, MISSED, Promise
from workbench.reporting import charts
from workbench.reporting.promises import audit, is_broken, marks, promised
from workbench.reporting.report import fault_words, report, terminal_tables
from workbench.reporting.sections import SECTIONS, fault_table, mode_table, monitor_table, tables
from workbench.reporting.summaries import dose_words, headlines
from workbench.reporting.table import Table
from workbench.reporting.words import interval, p_value, percent
from workbench.types import RateLaw, Record

VOID = {"meta", "br", "line", "rect", "polyline"}


def rate(alarms: int, episodes: int, low: float, high: float) -> Record:
    return {"alarms": alarms, "episodes": episodes, "rate": alarms / episodes, "ci95": [low, high]}


def verdict(count: int, errors: str = FALSE_ALARMS, episodes: int = 100) -> Record:
    """Of split conformal with 99 calibration episodes at a level of 10 %."""
    promise = Promise(errors, 0.1, ((RateLaw(beyond=10, ranked=99),),))
    return dataclasses.asdict(promise.verdict(np.arange(episodes) < count, np.full(episodes, -1)))


def monitor(score: str, alarms: int, low: float, high: float, caught: int, at: list[float | None]) -> Record:
    return {
        "score": score, "window": "mean 2", "calibrator": "split_conformal", "level": 0.1,
        "auroc": dict(zip(("0.25", "0.5", "0.75", "1.0"), at, strict=True)),
        "matched_auroc": {"0.5": None if at[1] is None else at[1] - 0.03}, "tpr": 0.7,
        "fpr_nominal": rate(alarms, 100, low, high), "fpr_perturbed_success": rate(3, 20, 0.03, 0.38),
        "twa": 0.61, "detection_time": 0.4, "actionable_recall": rate(caught, 50, 0.1, 0.9),
        "guarantee": "P(false alarm) <= 0.1", "threshold_episodes": 99, "audit": verdict(alarms),
    }  # fmt: skip


METRICS: Record = {
    "wall_s": 2460.0,
    "jobs": {"train": 960.0},
    "seed": 7,
    "versions": {"mujoco": "3.9.0"},
    "config": {"task": "<lift>"},
    "policy": {
        "nominal": {"episodes": 100, "successes": 93},
        "training": {"iteration": [1, 2, 3], "training": [0.5, 0.2, 0.1], "validation": [0.6, 0.3, 0.2]},
    },
    "perturbed": [
        {"perturbation": "push", "episodes": 20, "successes": 15},
        {"perturbation": "slip<b>", "episodes": 20, "successes": 5},
    ],
    "modes": [
        {"perturbation": "", "failure_mode": "", "episodes": 93},
        {"perturbation": "", "failure_mode": "drop", "episodes": 7},
        {"perturbation": "push", "failure_mode": "", "episodes": 15},
        {"perturbation": "push", "failure_mode": "out of reach", "episodes": 5},
        {"perturbation": "slip<b>", "failure_mode": "", "episodes": 5},
        {"perturbation": "slip<b>", "failure_mode": "drop", "episodes": 15},
    ],
    "labels": {
        "failed": 20, "with_onset": 18, "median_onset": 64.0, "median_pnr": 110.0, "replay_max_abs_error": 0.0,
        "onsets": [60, 64, 70], "points_of_no_return": [100, 110, -1],
    },
    "monitors": [
        monitor("elapsed", 10, 0.05, 0.18, 5, [0.5, 0.5, 0.8, 1.0]),
        monitor("rnd", 8, 0.04, 0.15, 30, [0.6, 0.7, 0.8, 0.9]),
        monitor("stac", 30, 0.21, 0.4, 45, [0.6, 0.8, 0.9, None]),
    ],
    "strategies": [
        {"name": "continue", "alarmed": 90, "rescued": [0, 70], "kept": [20, 20], "p_vs_placebo": 0.03},
        {"name": "placebo", "alarmed": 90, "rescued": [7, 70], "kept": [19, 20], "p_vs_placebo": None},
        {"name": "expert", "alarmed": 90, "rescued": [56, 70], "kept": [20, 20], "p_vs_placebo": 1e-9},
        {"name": "head", "alarmed": 90, "rescued": [35, 70], "kept": [18, 20], "p_vs_placebo": 0.004},
    ],
}  # fmt: skip
EXAMPLE: Record = {
    "uid": "0:7:slip",
    "title": "lift: slip",
    "events": {"injected": 5, "onset": 12, "success": -1},
    "monitors": {
        "rnd": {"step": [0, 4, 8, 12], "margin": [-2.0, -1.0, 0.5, 4.0]},
        "stac": {"step": [0], "margin": [0.0]},
    },
}


class Page(HTMLParser):
    """Checks that tags close in order, and collects what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text.replace("<wbr>", ""))
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def write(path: Path, metrics: Record, shown: Record | None = None, title: str = "t") -> Path:
    return report(path, metrics, title=title, example=Example.of(shown) if shown else None)


def page(path: Path, metrics: Record, shown: Record | None = None) -> tuple[str, Page]:
    text = write(path / "r" / "report.html", metrics, shown, "A <run>").read_text("utf-8")
    return text, Page(text)


def test_it_is_one_file_without_scripts(tmp_path: Path) -> None:
    text, parsed = page(tmp_path, METRICS, EXAMPLE)
    assert not re.search(r"https?://|url\(|@import", text)
    tags = {tag for tag, _ in parsed.tags}
    assert not tags & {"script", "link", "img", "iframe"}
    assert not [attrs for _, attrs in parsed.tags if {"src", "href"} & set(attrs)]
    assert "prefers-color-scheme: dark" in text


def test_what_comes_from_outside_is_escaped(tmp_path: Path) -> None:
    text, parsed = page(tmp_path, METRICS, EXAMPLE | {"title": "<script>x"})
    assert "slip<b>" in parsed.text
    assert "<lift>" in parsed.text
    assert "slip<b>" not in text
    assert "<script" not in text


def test_figures_and_tables_can_be_read_aloud(tmp_path: Path) -> None:
    _, parsed = page(tmp_path, METRICS, EXAMPLE)
    figures = [attrs for tag, attrs in parsed.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(figures) == 4 + 2, "training, labels, AUROC, the example, and a bar for each fault"
    assert all(attrs.get("aria-label") for attrs in figures)
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in parsed.tags if tag == "th")
    (example,) = [attrs["aria-label"] for attrs in figures if str(attrs["aria-label"]).startswith("lift: slip")]
    assert example == "lift: slip. injected (5); onset (12); rnd alarms at step 8; stac stays quiet."


def test_a_broken_promise_is_flagged_by_more_than_colour(tmp_path: Path) -> None:
    _, parsed = page(tmp_path, METRICS)
    assert "30/100 · 21–40 % ▲" in parsed.text
    assert "8/100 · 4–15 %" in parsed.text
    assert "8/100 · 4–15 % ▲" not in parsed.text


def test_a_flag_is_of_the_errors_that_are_promised_to_be_few() -> None:
    """At a level of 10 %, 17 of 100 lie wholly above by an interval of the test episodes alone; they may be chance."""
    row = monitor("rnd", 17, 0.101, 0.26, 30, [0.5] * 4)
    assert not is_broken(row, FALSE_ALARMS)
    row["audit"] = verdict(30)
    assert is_broken(row, FALSE_ALARMS)
    assert not is_broken(row, MISSED)
    assert promised(row) == 0.1
    row["audit"] = verdict(30, MISSED)
    assert promised(row) is None, "recall is promised, not silence"
    (cell,) = monitor_table({"monitors": [row]}).column("failures caught")
    assert cell.mark
    assert not is_broken(row | {"audit": None}, FALSE_ALARMS)
    assert audit(None, False).text == audit({"alarms": 0, "episodes": 0, "ci95": [0.0, 1.0]}, False).text == "—"


def test_rows_of_before_0_2_are_shown_without_marks(tmp_path: Path) -> None:
    rows = [{key: value for key, value in row.items() if key != "audit"} for row in METRICS["monitors"]]
    _, parsed = page(tmp_path, METRICS | {"monitors": rows})
    assert "30/100 · 21–40 %" in parsed.text
    assert "30/100 · 21–40 % ▲" not in parsed.text
    assert "Not every promise was tested" in parsed.text
    _, parsed = page(tmp_path, METRICS)
    assert "Not every promise was tested" not in parsed.text
    assert promised(rows[1]) == 0.1
    assert promised(rows[1] | {"guarantee": "none: a quantile"}) is None


def always(timely: int, episodes: int) -> Record:
    row = monitor("always", 100, 0.96, 1.0, timely, [0.5] * 4)
    row["actionable_recall"] = rate(timely, episodes, 0.4, 0.7)
    return row | {"threshold_episodes": 0, "guarantee": "none", "calibrator": "fixed", "audit": None}


def test_a_monitor_that_promises_nothing_breaks_nothing(tmp_path: Path) -> None:
    metrics = METRICS | {"monitors": [*METRICS["monitors"], always(40, 50)]}
    _, parsed = page(tmp_path, metrics)
    assert "100/100 · 96–100 % ▲" not in parsed.text
    assert "98/100" not in parsed.text
    assert "1 of the 3 that promise" in parsed.text, "stac is marked, always is not counted"


def test_what_no_alarm_can_catch_is_told(tmp_path: Path) -> None:
    metrics = METRICS | {"monitors": [*METRICS["monitors"], always(40, 50)]}
    _, parsed = page(tmp_path, metrics)
    assert "10 of 50 are lost from step 0 on, so 40/50 is the most" in parsed.text
    (what,) = [row.what for row in headlines(metrics) if "caught" in row.what]
    assert what == "of failures caught before the point of no return, where 80 % can be, by rnd + split_conformal"
    (figure,) = [str(attrs["aria-label"]) for _, attrs in parsed.tags if "AUROC at a" in str(attrs.get("aria-label"))]
    assert "elapsed" in figure
    assert "always" not in figure, "its AUROC is one half by construction"


def test_marks_count_every_promise_also_one_without_an_alarm() -> None:
    quiet = monitor("entropy", 0, 0.0, 0.04, 0, [0.5] * 4)
    found = marks({"monitors": [*METRICS["monitors"], quiet, always(1, 2)]})
    assert found is not None
    assert (found.monitors, found.marked) == (4, 1)
    p = verdict(0)["chance"]
    assert 0.03 < p <= 0.05
    assert found.expected == f"{4 * p:.1f}"
    assert found.several == percent(1 - (1 - p) ** 4 - 4 * p * (1 - p) ** 3)
    assert marks({"monitors": [always(1, 2)]}) is None


@pytest.mark.parametrize(("monitors", "usual"), [(11, True), (3, False)])
def test_two_marks_are_called_usual_only_where_they_are(tmp_path: Path, monitors: int, usual: bool) -> None:
    _, parsed = page(tmp_path, METRICS | {"monitors": METRICS["monitors"][1:2] * monitors})
    assert ("two marks are no proof" in parsed.text) is usual


def test_the_headline_takes_no_monitor_that_breaks_its_promise() -> None:
    values = {row.what: (row.value, row.sure) for row in headlines(METRICS)}
    assert values["success without faults"][0] == "93 %"
    assert values["success under slip<b>, the most harmful of 2 faults"][0] == "25 %"
    assert values["of failures caught before the point of no return, by rnd + split_conformal"][0] == "60 %"


def test_the_headline_takes_no_strategy_that_knows_the_true_state() -> None:
    (row,) = [row for row in headlines(METRICS) if "rescued" in row.what]
    assert row.what == "of failing episodes rescued after an alarm by head"
    assert row.value == "50 %"
    assert row.sure.startswith("35/70 · ")
    assert row.sure.endswith("; the placebo 10 %")


def gained(arm: int, control: int, gain: float | None) -> Record:
    """What a strategy won and lost against its control in 90 pairs."""
    bounds = (None, None) if gain is None else (gain - 0.1, gain + 0.1)
    return {
        "only_arm": arm, "only_control": control, "pairs": 90, "gain": gain, "low": bounds[0], "high": bounds[1],
        "p_value": 0.004,
    }  # fmt: skip


def test_the_headline_is_what_a_strategy_gains_over_the_placebo_where_that_is_known(tmp_path: Path) -> None:
    """Rescues alone would name the head, most of whose rescues the placebo has, too."""
    known = {
        "head": gained(9, 9, 0.0),
        "skill": gained(20, 2, 0.2),
        "expert": gained(30, 0, 0.3),
        "none": gained(0, 0, None),
    }
    strategies = [
        {"name": name, "alarmed": 90, "rescued": [rescued, 70], "kept": [18, 20], "over_placebo": gain}
        for rescued, (name, gain) in zip((50, 20, 60, 1), known.items(), strict=True)
    ]
    metrics = METRICS | {"strategies": strategies}
    (row,) = [row for row in headlines(metrics) if "placebo" in row.what]
    assert row.what == "points of success over the placebo after an alarm, by skill (best of 2)"
    assert (row.value, row.sure) == ("+20 (10 to 30)", "won alone 20, lost alone 2 of 90")
    for told in (shown(metrics, only=("strategies",)), page(tmp_path, metrics)[1].text):
        assert "+20 (10 to 30)" in told


def test_failures_that_were_never_winnable_are_told_apart(tmp_path: Path) -> None:
    points = {"points_of_no_return": [0, 0, 80, 90, -1], "recoverable": 2, "median_onset": 7.5}
    _, parsed = page(tmp_path, METRICS | {"labels": METRICS["labels"] | points})
    assert "its median is step 7.5." in parsed.text
    assert "In 2 of 4 failures it is step 0" in parsed.text
    assert "In the others its median is step 85." in parsed.text
    assert re.search(r"\. 2 failures are recoverable ?:", parsed.text)


def test_the_decisive_step_is_told_and_the_terminal_lists_every_label(tmp_path: Path) -> None:
    more = {"decided": 15, "median_decisive": 61.0, "median_window_steps": 8.0, "median_responsibility": 0.875}
    more |= {"with_effect": 17, "median_effect": 58.0, "median_onset_interval_steps": 4.0}
    more |= {"simulated_steps": {"onset": 18_000, "point of no return": 1_800, "decisive step": 900}}
    metrics = METRICS | {"labels": METRICS["labels"] | more}
    _, parsed = page(tmp_path, metrics)
    assert "In 15/18 failures there is a decisive step" in parsed.text
    assert "for a median of 8 steps" in parsed.text
    rows = {line.split("  ")[0].strip(): line.split() for line in shown(metrics, only=("labels",)).splitlines()}
    assert rows["onset"][1:] == ["18/20", "64", "4", "1000"]
    assert rows["decisive step"][2:] == ["15/20", "61", "\u2014", "50"]
    assert rows["effect"][1:3] == ["17/20", "58"]


def test_a_fault_is_told_in_words(tmp_path: Path) -> None:
    _, parsed = page(tmp_path, METRICS | {"fault_words": {"push": "Something pushes."}})
    assert "push Something pushes." in parsed.text


def test_the_words_of_a_fault_are_those_of_the_file_that_makes_it() -> None:
    drawn = [{"name": "slip", "channel": "physics", "target": "workbench.envs.perturbations.slip.Slip"}]
    store = SimpleNamespace(path="a.zarr", episodes={"perturbations": np.array(["[]", json.dumps(drawn)], object)})
    first = (Path(__file__).parents[2] / "envs/perturbations/slip.py").read_text(encoding="utf-8").splitlines()[0]
    assert fault_words(store) == {"slip": first.strip('"')}


def test_the_best_of_several_says_so() -> None:
    metrics = copy.deepcopy(METRICS)
    metrics["monitors"][2] |= {"fpr_nominal": rate(9, 100, 0.04, 0.16), "audit": verdict(9)}
    assert [row.what for row in headlines(metrics) if "stac + split_conformal (best of 2)" in row.what]


def test_missing_sections_name_their_job(tmp_path: Path) -> None:
    _, parsed = page(tmp_path, {})
    for job in ("rollout", "train", "label", "benchmark", "recover"):
        assert f"workbench {job}" in parsed.text
    assert "table" not in {tag for tag, _ in parsed.tags}


def test_the_table_shows_what_the_clock_does_not_give_away(tmp_path: Path) -> None:
    _, parsed = page(tmp_path, METRICS)
    assert "0.67" in parsed.text, "time-matched"
    assert "0.70" not in parsed.text, "plain, in the figure alone"


@pytest.mark.parametrize("missing", sorted(METRICS))
def test_any_section_may_be_missing(tmp_path: Path, missing: str) -> None:
    rest = {name: section for name, section in METRICS.items() if name != missing}
    page(tmp_path, rest, EXAMPLE)
    terminal_tables(rest)


def test_a_run_in_which_nothing_failed(tmp_path: Path) -> None:
    labels = {"failed": 0, "with_onset": 0, "median_onset": None, "median_pnr": None, "onsets": []}
    labels |= {"points_of_no_return": [], "replay_max_abs_error": 0}
    monitors = [m | {"tpr": None, "twa": None, "detection_time": None} for m in copy.deepcopy(METRICS["monitors"])]
    for row in monitors:
        row["auroc"], row["matched_auroc"] = dict.fromkeys(row["auroc"]), dict.fromkeys(row["matched_auroc"])
        row["actionable_recall"] = {"alarms": 0, "episodes": 0, "rate": None, "ci95": [0.0, 1.0]}
    strategies = [{"name": "expert", "alarmed": 0, "rescued": [0, 0], "kept": [0, 0], "p_vs_placebo": 1.0}]
    metrics = METRICS | {"labels": labels, "monitors": monitors, "strategies": strategies}
    _, parsed = page(tmp_path, metrics)
    assert "0/0 failures, of all splits, have an onset." in parsed.text
    terminal_tables(metrics)


def test_whether_alarm_or_recovery_is_the_bottleneck_is_said_in_words_first(tmp_path: Path) -> None:
    told = " ".join(shown(FULL, only=("crossed", "bottleneck")).split())
    assert told.startswith(
        "With head, the recovery is the bottleneck: in 120 test episodes a perfect alarm would win +10 "
    )
    assert "+10 (5 to 16) points, a perfect recovery +24 (19 to 30)." in told
    assert "Of 70 failures 52 could have been won; behind the monitor's alarms are won: head 19." in told
    assert "In 7/70 failures the monitor never alarms, 5 of which could have been won." in told
    _, parsed = page(tmp_path, FULL)
    assert parsed.text.index("the recovery is the bottleneck") < parsed.text.index("Successes in all test episodes.")
    old = FULL | {"bottleneck": [{k: v for k, v in FULL["bottleneck"][0].items() if "solvable" not in k}]}
    old = {k: v for k, v in old.items() if k not in ("crossed", "families")} | {"silent": {"silent": 7, "failed": 70}}
    _, parsed = page(tmp_path, old)
    assert "could have been won" not in parsed.text.replace("failures that could have been won: the expert", "")
    assert "In 7/70 failures the monitor never alarms." in parsed.text


def test_when_a_strategy_acts_and_that_it_abstains_are_said_in_words_first(tmp_path: Path) -> None:
    told = " ".join(shown(FULL, only=("abstention",)).split())
    assert told.startswith("head acts from a predicted benefit of +12.5 points on: in 34/85 alarmed calibrate episodes")
    assert "gains +24 (5 to 41) points over the placebo. With a confidence of 90 % it wins more than the" in told
    assert "there (at least +3.4 points). In the test episodes it acts behind 41/160 alarms and gains +24 (5" in told
    assert "+12.5, calibrated 41/160" in told
    _, parsed = page(tmp_path, FULL)
    assert parsed.text.index("head acts from a predicted benefit") < parsed.text.index("of the others nothing is")
    abstains = FULL | {"benefit": FULL["benefit"] | {"threshold": None, "least": None}, "abstention": []}
    told = " ".join(shown(abstains, only=("abstention",)).split())
    assert told.startswith("head abstains: from no predicted benefit on is it shown with a confidence of 90 % that it")
    assert "Of 85 alarmed calibrate episodes it alone wins 9, the placebo alone 1;" in told
    assert "acts" not in " ".join(shown(METRICS, only=("abstention",)).split())


def test_at_what_remaining_window_an_arm_stops_winning_is_said_in_words_first(tmp_path: Path) -> None:
    told = " ".join(shown(FULL, only=("dose_response",)).split())
    assert told.startswith(
        "head is shown to win over the placebo with more than 50 and 21 to 50 control steps left to the point of no "
        "return; with 1 to 20 it no longer is: +3 (-2 to 9) points in 34 failures. Of 160 alarmed test episodes 69 "
    )
    assert "left out are 89 that succeeded and 2 failures without that label. In 5 more labelled failures there" in told
    assert "more than 50 left head 34 30/34 · 73–97 % 21/34 · 44–78 % +25 (20 to 31) 0.002" in told
    text, parsed = page(tmp_path, FULL)
    assert parsed.text.index("head is shown to win") < parsed.text.index("by when the first alarm comes")
    assert "control steps after the point of no return" in text
    assert "By how late it acts" not in page(tmp_path, METRICS)[1].text


def stops(**changed: tuple[float, float]) -> str:
    """The sentence on an arm in three windows, some of which are changed: name -> gain and p."""
    found = {"long": (0.2, 0.01), "short": (0.2, 0.01), "none": (0.0, 1.0)} | changed
    rows = [dosed("window", group, 0, gain, p) for group, (gain, p) in found.items()]
    return dose_words({"dose_response": FULL["dose_response"] | {"rows": rows}})[0]


def test_an_arm_stops_winning_behind_the_last_window_in_which_it_is_shown_to() -> None:
    assert "with long and short control steps left" in stops()
    assert stops().endswith("with none it no longer is: +0 (-5 to 6) points in 34 failures.")
    assert "with long control steps left" in stops(short=(0.2, 0.06))
    assert "with short it no longer is: +20" in stops(short=(0.2, 0.06))
    assert "with short it no longer is: -20" in stops(short=(-0.2, 0.01)), "shown to lose is not shown to win"
    assert "with short control steps left" in stops(long=(0.2, 0.06))
    assert stops(none=(0.3, 0.01)).endswith("to the point of no return: in the latest of these windows, too.")
    nothing = dict.fromkeys(("long", "short", "none"), (0.2, 0.2))
    assert stops(**nothing).startswith("head is not shown to win over the placebo, however many steps are left")
    rows = [dosed("window", "short", 0, 0.2, 0.2) | {"name": name} for name in ("head", "home", "expert")]
    (told, _) = dose_words({"dose_response": FULL["dose_response"] | {"rows": rows}})
    assert told.startswith("head, home and expert are not shown to win over the placebo")


def test_which_detector_is_worth_acting_on_is_said_in_words_first(tmp_path: Path) -> None:
    told = " ".join(shown(FULL, only=("detectors",)).split())
    assert told.startswith(
        "Of 2 detectors in 90 test episodes, 30 of them failed, rnd+fixed is worth most with head: 4.2 (3.2 to 5.2) "
        "successes per 100 episodes over the placebo. By matched AUROC stac+fixed is first, worth 0.0 (-1.0 to 1.0)."
    )
    assert "without a detector, is worth 2.0 (1.0 to 3.0); shown to be ahead of that are rnd+fixed." in told
    assert "A higher matched AUROC is not shown to be worth more: rank correlation" in told
    assert "-0.0" not in told.replace("-0.01", "")
    _, parsed = page(tmp_path, FULL)
    assert parsed.text.index("rnd+fixed is worth most") < parsed.text.index("The strategy acts at a detector")
    few = FULL["detectors"] | {"spearman": {"matched_auroc and placebo": dict.fromkeys(("value", "low", "high"))}}
    assert "Too few detectors differ" in " ".join(shown(FULL | {"detectors": few}, only=("detectors",)).split())


def test_the_label_lost_is_shown_where_it_was_measured(tmp_path: Path) -> None:
    measured = FULL["labels"] | {"with_lost": 18, "not_lost": 7, "median_lost": 120.5}
    assert "lost" in [row.cells[0].text for row in tables(FULL | {"labels": measured})["labels"].rows]
    _, parsed = page(tmp_path, FULL | {"labels": measured})
    assert "With twice the deadline the median is step 120.5" in parsed.text
    assert "7/18 were not lost while they ran" in parsed.text
    assert "lost" not in [row.cells[0].text for row in tables(FULL)["labels"].rows]


def shown(metrics: Record, **only: tuple[str, ...]) -> str:
    console = Console(width=140, no_color=True)
    with console.capture() as capture:
        console.print(*terminal_tables(metrics, **only))
    return capture.get()


def test_the_terminal_shows_the_numbers_of_the_page(tmp_path: Path) -> None:
    terminal, (_, parsed) = shown(METRICS), page(tmp_path, METRICS)
    for told in ("93/100", "30/100 · 21–40 % ▲", "15/20", "56/70", "< 0.001", "18/20"):
        assert told in terminal, told
        assert told in parsed.text, told
    assert [name for name in ("push", "monitors", "strategies") if name in shown(METRICS, only=("policy",))] == []
    assert shown({}).strip() == ""


GAINED: Record = {
    "only_arm": 9, "only_control": 1, "pairs": 34, "gain": 0.235, "low": 0.05, "high": 0.41, "p_value": 0.02,
}  # fmt: skip
OVER = ("redraw", "placebo")


def estimated(value: float) -> Record:
    return {"value": value, "low": value - 1, "high": value + 1}


def dosed(by: str, group: str, left: float, gain: float, p_value: float) -> Record:
    return {
        "by": by, "group": group, "name": "head", "episodes": 34, "median_left": left, "won": 30, "placebo": 21,
        "over_placebo": GAINED | {"gain": gain, "low": gain - 0.05, "high": gain + 0.06}, "p_vs_placebo": p_value,
    }  # fmt: skip


FULL: Record = METRICS | {
    "policy": {
        "nominal": {"episodes": 100, "successes": 93},
        "training": {
            "iteration": [1, 20], "training": [0.5, 0.1], "validation": [0.6, 0.2], "learning_rate": [0.001, 0.0001],
            "error": {"place": [0.9, 0.452]}, "relative_error": {"place": [1.0, 0.5]}, "parameters": 1234,
            "demonstrations": 180, "held_out": 20, "warning": "place is learnt far worse", "device": "cpu",
            "precision": "float32", "seconds": {"wall_s": 95.0, "cpu_s": 80.0, "evaluation_s": 12.0},
            "evaluations": [{"iteration": 20, "episodes": 50, "successes": 41}],
        },
    },
    "labels": METRICS["labels"] | {
        "points_of_no_return": [0, 80, -1], "recoverable": 2, "decided": 15, "median_decisive": 61.0,
        "median_window_steps": 8.0, "median_responsibility": 0.875,
    },
    "monitors": [*METRICS["monitors"], always(40, 50)],
    "strategies_monitor": "rnd+split_conformal",
    "bottleneck": [
        {
            "name": "head", "episodes": 60, "by_monitor": 20, "by_oracle": 31, "by_start": 40, "solvable": 52,
            "won_solvable": 19,
        }
    ],
    "crossed": [
        {
            "name": "head", "episodes": 120, "unaided": 50, "by_monitor": 69, "by_oracle": 81, "expert_by_monitor": 98,
            "expert_by_oracle": 103, "verdict": "recovery",
            **{
                name: {
                    "only_arm": 20, "only_control": 3, "pairs": 120, "gain": gain, "low": gain - 0.05,
                    "high": gain + 0.06, "p_value": 0.01,
                }
                for name, gain in {
                    "perfect_alarm": 0.1, "perfect_alarm_of_expert": 0.04, "perfect_recovery": 0.24,
                    "perfect_recovery_of_oracle": 0.18, "recovery_over_alarm": 0.14,
                }.items()
            },
        }
    ],
    "families": [
        {
            "family": "no fault", "name": "head", "episodes": 61, "alarmed": 13, "failed": 2, "silent": 1,
            "rescued": [1, 1], "kept": [11, 12],
            "over_placebo": {
                "only_arm": 0, "only_control": 1, "pairs": 13, "gain": -0.077, "low": -0.33, "high": 0.16,
                "p_value": 1.0,
            },
        }
    ],
    "dose_response": {
        "rows": [
            dosed("moment", "before the onset", 60, 0.2, 0.004),
            dosed("window", "more than 50", 70, 0.25, 0.002),
            dosed("window", "21 to 50", 35, 0.1, 0.04),
            dosed("window", "1 to 20", 10, 0.03, 0.6),
            dosed("window", "0 or less", -6, -0.2, 0.01),
        ],
        "acted": 160, "succeeded": 89, "unlabelled": 2, "silent": 5,
    },
    "benefit": {
        "arm": "head", "threshold": 0.125, "confidence": 0.9, "learned": [587, 140], "alarmed": 85, "least": 0.034,
        "candidates": [
            {"threshold": 0.125, "power": 0.7, "gain": GAINED, "p_value": 0.011, "certified": True},
            {"threshold": 0.0, "power": 0.3, "gain": GAINED | {"pairs": 85}, "p_value": 0.6, "certified": False},
            {"threshold": 0.3, "power": 0.1, "gain": GAINED | {"pairs": 12}, "p_value": None, "certified": False},
        ],
    },
    "abstention": [
        {"threshold": 0.3, "calibrated": False, "acted": 0, "alarmed": 160, "gain": GAINED | {
            "only_arm": 0, "only_control": 0, "pairs": 0, "gain": None, "low": None, "high": None}},
        {"threshold": 0.125, "calibrated": True, "acted": 41, "alarmed": 160, "gain": GAINED | {"pairs": 41}},
    ],
    "silent": {"silent": 7, "failed": 70, "solvable": 5},
    "detectors": {
        "terms": {"arm": "head", "placebo": "placebo", "deadline": 100, "allowed": 200}, "episodes": 90, "failed": 30,
        "rows": [
            {
                "detector": name, "alarmed_failures": 0.5, "alarmed_successes": 0.25,
                "auroc": estimated(area), "matched_auroc": estimated(area - 0.01), "over_redraw": estimated(worth + 1),
                "over_placebo": estimated(worth), "ahead_of_always": estimated(worth - 2),
            }
            for name, area, worth in (("rnd+fixed", 0.6, 4.25), ("always", 0.5, 2), ("stac+fixed", 0.9, -0.01))
        ],
        "spearman": {f"{kind} and {over}": estimated(-0.5) for kind in ("auroc", "matched_auroc") for over in OVER},
    },
    "head": {"failed_episodes": 97, "verified_recoveries": 233},
    "corrections": {
        "rows": [
            {"failure_mode": "slip", "kind": kind, "candidates": 40, "once": 20, "verified": 10, "in_time": 4}
            | {"by_expert": 30}
            for kind in ("twin", "placebo")
        ],
        **{"episodes": 10, "calls": 40, "candidates": 40, "verified": 10, "in_time": 4},
        **{"simulated_steps": 9000, "seconds": 25.0},
    },
    "corrector": {
        "split": "test", "majority_mode": "slip", "failing": rate(31, 40, 0.62, 0.89), "unlabelled": 1,
        "false_failing": rate(9, 41, 0.11, 0.38), "mode": rate(22, 40, 0.38, 0.71),
        "majority": rate(12, 40, 0.17, 0.47), "auroc": {"value": 0.81, "low": 0.7, "high": 0.9},
        "mode_over_majority": {
            "only_arm": 12, "only_control": 2, "pairs": 40, "gain": 0.25, "low": 0.1, "high": 0.4, "p_value": 0.013,
        },
        "rows": [
            {
                "place": "failing, recoverable", "arm": arm, "calls": 17,
                "won": won, "won_ci95": [won - 0.1, won + 0.1],
                "in_time": 0.115, "in_time_ci95": [0.015, 0.375], "verified": rate(4, 17, 0.07, 0.5),
                "over_placebo": {"value": over, "low": None if over == 0 else over - 0.1, "high": over and over + 0.1},
                "over_redraw": {"value": -0.03, "low": -0.1, "high": 0.05},
            }
            for arm, won, over in (("corrector", 0.23, -0.38), ("random", 0.25, -0.36), ("placebo", 0.61, 0.0))
        ],
        "abstention": [
            {
                "least": 0.625, "acted": {"failing, recoverable": 11, "succeeding": 2}, "won": 0.435, "in_time": 0.345,
                "calls": {"failing, recoverable": 17, "failing, lost": 0, "succeeding": 16},
                "over_placebo": {"value": -0.17, "low": -0.27, "high": -0.07},
            },
        ],
        "branches": 4, "simulated_steps": 12345, "seconds": 67.5,
    },
    "tuning": {
        "rows": [{"name": name, "won": 5, "branches": 24} for name in ("placebo", "first", "tuned")],
        "first": {"retract_m": 0.04, "tries": 2}, "tuned": {"retract_m": 0.0123, "tries": 3},
        "monitor": "rnd+split_conformal", "points": 41, "states": 24, "simulated_steps": 90000,
    },
    "attempts": {
        "rows": [
            {
                "name": name, "tpr": 0.75, "fpr": 0.125, "caught_s": 3.5, "false_alarm_s": None, "pays": pays,
                "predicted": {"mean_s": 31.5, "deviation_s": 20.0, "attempts": 2.5},
                "closed_form": {"mean_s": None, "deviation_s": None, "attempts": None},
                "executed_s": executed, "executed_ci95": [25.25, None], "saved_s": 4.75, "saved_ci95": [-1.5, 9.5],
                "over_clock_s": -0.5, "over_clock_ci95": [-3.0, 1.0],
            }
            for name, executed, pays in (("to the end", 38.5, False), ("clock", 33.0, True), ("slow", None, False))
        ],
        "restart_s": 5.0, "learned": [30, 40], "judged": [31, 41], "clock_s": 12.5, "diverged": 0,
    },
    "commands": {"rollout": "workbench rollout name=a"},
    "instructions": [{"instruction": "put red on green", "episodes": 10, "successes": 8}],
    "misled": [{"perturbation": "wrong_instruction", "episodes": 9, "asked": 1, "told": 5, "another": 1, "none": 2}],
    "tolerance": [
        {
            "perturbation": "mass", "axis": None, "parameter": "mass_scale", "tolerance": 2.345, "interval": [2.1, 2.7],
            "at": {"0.25": 1.9, "0.75": None}, "episodes": 24, "verdict": "fails beyond", "contradictions": [[1, 2]],
            "confidence": 0.95,
        },
    ],
    "joint": [
        {
            "name": "search", "dials": {"mass": {"parameter": "mass_scale"}}, "distance": 0.42, "failures": 41,
            "combination": {"mass": {"severity": 0.3, "magnitude": 12.25}}, "fresh_episodes": 60,
            "interval": [0.5, 0.8], "confidence": 0.95, "failing_points": 70, "points": 104, "episodes": 590,
        },
    ],
    "shields": [
        {
            "shield": "speed", "perturbation": fault, "episodes": 20, "with_veto": 3, "with_change": 17,
            "steps": 1234, "vetoed_steps": 56, "changed_steps": 789,
        }
        for fault in ("", "push")
    ],
}  # fmt: skip


def test_a_run_without_labels_has_a_page(tmp_path: Path) -> None:
    _, parsed = page(tmp_path, FULL | {"labels": None})
    assert "run first" not in parsed.text
    assert terminal_tables(FULL | {"labels": None})


def test_page_and_terminal_show_the_same_tables(tmp_path: Path) -> None:
    made = tables(FULL)
    assert list(made) == list(SECTIONS)
    assert [each for each in terminal_tables(FULL) if isinstance(each, Table)] == list(made.values())
    _, parsed = page(tmp_path, FULL)
    for table in made.values():
        for cell in (cell for row in table.rows for cell in row.cells):
            assert (cell.text if cell.sure else cell.plain) in parsed.text, (table.title, cell)
            assert cell.sure in parsed.text
    assert sum(tag == "table" for tag, _ in parsed.tags) == len(made)


def test_every_sentence_of_the_page_finds_its_numbers(tmp_path: Path) -> None:
    _, parsed = page(tmp_path, FULL, EXAMPLE)
    for words in (
        "20 iterations of a network of 1,234 numbers on 180 expert demonstrations; 20 more were held out.",
        "It took 2 min, of which the processor worked 80 s (cpu, float32); rolling it on the way took another 12 s.",
        "Place is learnt far worse.", "in action units: place 0.452.", "in the end 0.100 and 0.200.",
        "The averaged weights in 50 episodes without faults", "in the end 41/50 · 69–91 %.",
        "18/20 failures, of all splits, have an onset", "In 1 of 2 failures it is step 0",
        "In 15/18 failures there is a",
        "raises the policy's success rate by a median of 0.88", "every recorded state again bit for bit.",
        "10 of 50 are lost from step 0 on, so 40/50 is the most",
        "Every test episode in which rnd+split_conformal alarms",
        "trained further on 233 recoveries that succeeded in simulation, begun in 97 failed episodes",
        "2.5 s of CPU a verified one",
        "that it is failing in 31/40 (62–89 %) failures and 9/41 (11–38 %) successes",
        "at common times is 0.81 (0.70 to 0.90)", "the failure mode of 22/40", "of the fit split, slip, would be right",
        "In 17 calls of failing, recoverable episodes its motion ends in success 23 % of the time, no motion 61 %, -38",
        "(random 25 %)", "11/17 + 2/16", "is begun anew after 5.0 s", "clock, at 12.5 s", "slow, does not pay",
        "workbench rollout name=a", "lift: slip. Each line is a monitor's score",
    ):  # fmt: skip
        assert words in parsed.text.replace(" .", "."), words


def test_the_commands_that_made_the_numbers_stand_as_they_were_given(tmp_path: Path) -> None:
    commands = {"rollout": "workbench rollout name=a 'perturbation=[slip,push]'", "label": "workbench label name=a"}
    text, parsed = page(tmp_path, METRICS | {"commands": commands})
    assert "workbench rollout name=a 'perturbation=[slip,push]' workbench label name=a" in parsed.text
    assert "<pre>workbench rollout name=a &#39;perturbation=[slip,push]&#39;\n" in text
    old, _ = page(tmp_path, METRICS | {"command": "workbench quickstart name=wrong"})
    assert "workbench quickstart" not in old


def entry(*words: str, ended: str = "ended", of: list[str] | None = None) -> Entry:
    job = words[0].removeprefix("job=")
    return Entry(job, list(words), of, job if of else "", {}, {}, None, "2026-01-01T00:00:00Z", 1.0, ended, "")


def again(path: Path, metrics: Record, journal: list[Entry], command: str = "") -> str:
    """What the page says of doing it again."""
    report(path / "p.html", metrics, title="t", journal=journal, command=command)
    return Page((path / "p.html").read_text("utf-8")).text.partition("Doing it again")[2]


def test_doing_it_again_is_the_journal(tmp_path: Path) -> None:
    journal = [
        entry("job=rollout", "name=a", "perturbation=[slip,push]"),
        entry("job=rollout", "name=a", "seed=3", ended="refused"),
        entry("job=fit", "name=a"),
        entry("job=label", "name=a", ended="failed"),
        entry("job=fit", "name=a", "score=[knn]", ended="interrupted"),
        entry("job=fit", "name=a"),
    ]
    text = again(tmp_path, METRICS | {"commands": {"train": "workbench train"}}, journal, "workbench report name=a")
    assert text.startswith(
        " workbench rollout name=a 'perturbation=[slip,push]' workbench fit name=a 'score=[knn]' workbench fit name=a"
        " workbench report name=a seed 7"
    )


def test_stages_stand_below_what_was_typed(tmp_path: Path) -> None:
    quickstart = ["job=quickstart", "+experiment=quickstart", "name=q"]
    journal = [entry(f"job={job}", *quickstart[1:], of=quickstart) for job in ("collect", "rollout", "rollout")]
    text = again(tmp_path, METRICS, journal, "workbench quickstart name=q")
    assert text.count("workbench quickstart name=q") == 1
    stages = text.partition("Their stages, each as a command of its own")[2]
    assert stages.count("workbench rollout +experiment=quickstart name=q") == 1
    assert stages.index("workbench collect") < stages.index("workbench rollout")


@pytest.mark.parametrize(
    ("sections", "said", "never"),
    [
        ((), "Nothing has been measured", ("simulation", "interval")),
        (("policy",), "run in simulation without faults.", ("with and", "monitor", "recover", "dated")),
        (("perturbed",), "run in simulation under faults.", ("without", "monitor", "recover", "dated")),
        (("policy", "perturbed"), "run in simulation with and without faults.", ("monitor", "recover", "dated")),
        (("policy", "labels"), "and its failures were dated", ("under", "monitor", "recover")),
        (("monitors",), "Failure monitors were judged on test episodes", ("simulation", "recover", "dated")),
        (("strategies",), "Recoveries were judged", ("monitor", "simulation", "dated")),
        (("tolerance",), "How much of each fault it bears", ("monitor", "dated", "recover")),
        (("joint",), "The likeliest combination of faults", ("monitor", "dated", "recover")),
    ],
)
def test_the_intro_speaks_of_what_was_done_and_of_nothing_else(
    tmp_path: Path, sections: tuple[str, ...], said: str, never: tuple[str, ...]
) -> None:
    metrics = {name: FULL[name] for name in sections}
    if "policy" in metrics:
        metrics["policy"] = {"nominal": metrics["policy"]["nominal"]}
    text, _ = page(tmp_path, metrics)
    intro = text.partition("<header>")[2].partition("</header>")[0]
    assert said in intro
    assert not [word for word in never if word in intro]
    assert "training run" not in intro


def test_a_name_in_brackets_is_no_markup_on_the_terminal() -> None:
    metrics = {"perturbed": [{"perturbation": "[red]odd", "episodes": 2, "successes": 1}]}
    assert "[red]odd" in shown(metrics)


def test_faults_come_worst_first_and_baselines_last() -> None:
    assert [row.name for row in fault_table(METRICS).rows] == ["slip<b>", "push"]
    order = shown(METRICS, only=("monitors",))
    assert order.index("rnd") < order.index("stac") < order.index("elapsed")


def test_numbers_are_never_more_certain_than_they_are() -> None:
    assert p_value(1e-12) == "< 0.001"
    assert p_value(0.0312) == "0.031"
    assert p_value(None) == "—"
    assert interval((0.861, 0.966)) == "86–97 %"


def test_ticks_are_round_and_within_bounds() -> None:
    assert charts.ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert charts.ticks(3, 203) == pytest.approx([50, 100, 150, 200])


def test_a_histogram_counts_everything_once() -> None:
    drawn = charts.histogram({"a": [0, 0, 5], "b": [99]}, label="l", x_label="x", bins=10)
    heights = [float(h) for h in re.findall(r'class="bar s0" .*?height="([\d.]+)"', drawn)]
    assert len(heights) == 1, "0 and 5 share the first of ten bins"
    (other,) = [float(h) for h in re.findall(r'class="bar s1 hollow" .*?height="([\d.]+)"', drawn)]
    assert heights[0] == pytest.approx(3 * other, rel=0.01)


def test_a_line_breaks_where_a_point_is_missing() -> None:
    line = charts.Line("a", [0, 1, 2, 3, 4], [0.0, 1.0, None, 1.0, 0.0])
    assert charts.line_chart([line], label="l", x_label="x", y_label="y").count("<polyline") == 2


def test_modes_are_counted_against_what_was_injected(tmp_path: Path) -> None:
    found = mode_table(METRICS)
    assert [column.plain for column in found.columns[1:-2]] == ["drop", "out of reach"]  # the most frequent first
    rows = [(row.name, [cell.text for cell in row.cells[1:-1]], row.cells[-1].text) for row in found.rows]
    assert rows == [
        ("push", ["", "5", "15"], "20"),
        ("slip<b>", ["15", "", "5"], "20"),
        ("no fault", ["7", "", "93"], "100"),
    ]
    page = write(tmp_path / "page.html", METRICS).read_text(encoding="utf-8")
    table = page.split("What was injected, and what was seen")[1].split("</table>")[0]
    assert re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table) == [
        "injected", "drop", "out<br>of<br>reach", "success", "episodes",
    ]  # fmt: skip
    assert "slip&lt;b&gt;" in table
    assert re.findall(r'<td class="n">(.*?)</td>', table)[:4] == ["", "5", "15", "20"]
    screen = Console(width=120, record=True, file=io.StringIO())
    screen.print(*terminal_tables(METRICS, only=("modes",)))
    assert "out of reach" in screen.export_text()


def test_no_failure_no_table_of_modes(tmp_path: Path) -> None:
    succeeded = [{"perturbation": "", "failure_mode": "", "episodes": 3}]
    for metrics in ({}, {"modes": []}, {"modes": succeeded}):
        assert mode_table(metrics).rows == []
        assert terminal_tables(metrics, only=("modes",)) == []
        page = write(tmp_path / "page.html", metrics).read_text(encoding="utf-8")
        assert "what was seen" not in page
