# ruff: noqa: RUF001
"""The page, the tables and the files of a leaderboard say the same, and all of it."""

from __future__ import annotations

import copy
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import betabinom

from workbench.benchmarking.metrics import AIM
from workbench.errors import ConfigError, UnknownNameError
from workbench.monitoring.promises import FALSE_ALARMS
from workbench.reporting import charts
from workbench.reporting.leaderboard import KEYS, headlines, terminal, tidy, write
from workbench.reporting.metrics import CELLS, METRICS
from workbench.reporting.standings import (
    audit_table,
    cost_table,
    pair_table,
    place_table,
    standing,
    standing_table,
    tables,
)
from workbench.stats.proportions import clopper_pearson
from workbench.types import Record

VOID = {"meta", "br", "line", "rect", "polyline", "circle", "input", "path"}
SCORES = {
    "failure-free": [
        "entropy",
        "stac",
        "stac_kl",
        "chunk_overlap",
        "overlap_magnitude",
        "reversals",
        "sample_variance",
        "sample_variance_position",
        "sample_variance_rotation",
        "sample_variance_gripper",
        "cluster_entropy",
        "rnd",
        "rnd_actions",
        "mahalanobis",
        "pca_kmeans",
        "knn",
        "knn_cosine",
        "kernel_density",
        "logpzo",
        "logpo",
        "flow_curvature",
        "velocity_disagreement",
        "denoising_loss",
        "reconstruction",
        "token_entropy",
        "progress",
    ],
    "supervised": ["safe_mlp", "safe_lstm", "viability", "force_torque"],
    "combination": ["fiper", "sentinel", "stac & rnd", "viability | rnd"],
    "baseline": ["elapsed", "length", "task_prior", "always", "never", "random"],
}
CALIBRATORS = ("split_conformal", "functional_band", "mondrian", "false_alarm_control", "adaptive", "step_quantile")
TASKS = ("stack", "pick_place_can", "lift", "door")
FAMILIES = ("keyframe", "action", "physics", "observation", "policy")


def figure(value: float | None, half: float = 0.03, n: int = 436) -> Record:
    low, high = (None, None) if value is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high, "n": n}


def ratio(value: float, half: float = 0.03, n: int = 436) -> Record:
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def realistic(seed: int = 0) -> Record:
    """A leaderboard as large as a full benchmark gives: 40 scores, 6 calibrators, 4 tasks, 3 seeds."""
    random = np.random.default_rng(seed)
    rows, audit = [], []
    for kind, names in SCORES.items():
        for name in names:
            skill = {
                "viability": 0.9,
                "elapsed": 0.5,
                "always": 0.5,
                "never": 0.5,
                "random": 0.51,
                "length": 0.5,
                "task_prior": 0.5,
            }.get(name, random.uniform(0.45, 0.85))
            for calibrator in CALIBRATORS if kind not in ("baseline", "combination") else CALIBRATORS[:1]:
                row = monitor(random, name, kind, calibrator, skill)
                audit += audits(random, row)
                rows.append(row)
    others = ("rnd", "safe_lstm", "stac", "mahalanobis", "knn", "elapsed")
    pairs = [
        {"first": "viability", "second": other, "metric": metric, "difference": figure(gap, 0.04), "p_value": p}
        for metric in (AIM, "actionable_recall")
        for other, gap, p in zip(
            others, (0.06, 0.09, 0.16, 0.05, 0.03, 0.3), (0.01, 1e-5, 1e-9, 0.02, 0.2, 0.0), strict=True
        )
    ]
    return {
        "protocol": "unseen_family",
        "about": "One channel of faults at a time is left out: scores are fitted and windows selected "
        "on the episodes of all others, "
        "thresholds are calibrated on nominal successes, and monitors are judged on test "
        "episodes of the channel left out beside the nominal ones.",
        "level": 0.1,
        "seeds": [0, 1, 2],
        "command": "workbench benchmark +experiment=unseen_family name=monitors-v1",
        "stores": [
            {
                "store": f"datasets/monitors-v1-{task}.zarr",
                "task": task,
                "policy": f"zoo/{task}_flow",
                "splits": {"fit": 240, "select": 120, "calibrate": 120, "test": 436},
                "test": 436,
                "failures": 180,
            }
            for task in TASKS
        ],
        "rows": rows,
        "costs": [
            {
                "score": name,
                "milliseconds": figure(float(random.lognormal(-1.5, 1.3)), 0.01, 48),
                "fit_s": float(random.uniform(0, 60)),
            }
            for kind in ("failure-free", "supervised")
            for name in SCORES[kind]
        ],
        "pairs": pairs,
        "audit": audit,
        "drift": [
            {
                "monitor": f"{name}+split_conformal",
                "task": task,
                "stream": stream,
                "noticed_after": after,
                "episodes": 200,
            }
            for name in ("rnd", "viability", "knn")
            for task in TASKS
            for stream, after in (
                ("nominal", 150 if (name, task) == ("knn", "door") else None),
                ("perturbed", int(random.integers(5, 60))),
            )
        ],
        "refused": [
            {
                "part": "score token_probability",
                "store": "datasets/monitors-v1-stack.zarr",
                "reason": "score token_probability "
                "needs "
                "signals/token_logprobs, which no call of this store has: roll out a policy that "
                "has tokens (policy=remote_openvla)",
            },
            {
                "part": "score force_torque",
                "store": "all",
                "reason": "no task here observes force_torque: peg_insertion does",
            },
        ],
    }


def monitor(random: np.random.Generator, name: str, kind: str, calibrator: str, skill: float) -> Record:
    false = {"always": 1.0, "never": 0.0}.get(name, float(np.clip(random.normal(0.09, 0.03), 0.01, 0.4)))
    false = 0.45 if calibrator == "step_quantile" else false
    caught = {"always": 1.0, "never": 0.0}.get(name, float(np.clip(skill * random.uniform(0.7, 1.05), 0, 1)))

    leak = 0.2 if name in ("elapsed", "length") else 0.05

    def ranked(level: float) -> Record:
        at = {
            f: float(np.clip(level + d, 0.05, 1)) for f, d in (("0.25", -0.12), ("0.5", 0), ("0.75", 0.07), ("1", 0.14))
        }
        return {
            f"{prefix}@{f}": ratio(min(1.0, value - off))
            for prefix, off in (("matched_auroc", 0), ("auroc", -leak), ("auprc", 0.1), ("pooled_auroc", 0.04))
            for f, value in at.items()
        }

    figures = ranked(skill) | {
        "whole_auroc": ratio(min(1.0, skill + 0.2)),
        "tpr": ratio(caught),
        "tnr": ratio(1 - false),
        "twa": ratio(0.4 + 0.3 * caught),
        "balanced_accuracy": ratio((1 + caught - false) / 2),
        "fpr_nominal": ratio(false, 0.025),
        "fpr_perturbed_success": ratio(min(1.0, 2.2 * false)),
        "actionable_recall": ratio(0.6 * caught),
        "detection_time": figure(None)
        if name == "never"
        else ratio(0.0 if name == "always" else float(random.uniform(0.2, 0.8))),
        "lead_time_steps": figure(None) if name == "never" else figure(float(random.uniform(-10, 40)), 5),
        "delay_to_onset_steps": figure(float(random.uniform(-20, 30)), 4),
        "precision_detection_area": ratio(1 - 0.6 * skill),
        "twin_accuracy@0.5": ratio(skill),
    }
    figures |= {
        cell: figure(value + float(random.normal(0, 0.2)), 0.1)
        for cell, value in zip(CELLS, (-1.2, -0.3, 0.4, 1.5), strict=True)
    }
    jitter = {part: float(random.normal(0, 0.07)) for part in (*TASKS, *FAMILIES)}

    def part(which: str) -> Record:
        return ranked(skill + jitter[which]) | {
            "actionable_recall": ratio(float(np.clip(0.6 * caught + jitter[which], 0, 1)))
        }

    return {
        "monitor": f"{name}+{calibrator}",
        "score": name,
        "window": str(random.choice(["last", "mean 3", "mean 5", "max 5", "cusum"])),
        "calibrator": calibrator,
        "kind": kind,
        "selected": calibrator == "split_conformal",
        "guarantee": "none: a heuristic"
        if calibrator == "step_quantile"
        else f"P(any alarm in a successful episode) <= 0.1 ({calibrator})",
        "figures": figures,
        "tasks": {task: part(task) for task in TASKS},
        "families": {family: part(family) for family in FAMILIES},
    }


def audits(random: np.random.Generator, row: Record) -> list[Record]:
    found = []
    for task in TASKS:
        alarms = int(random.binomial(100, min(1.0, row["figures"]["fpr_nominal"]["value"])))
        bounds = list(clopper_pearson(alarms, 100))
        chance = float(betabinom.sf(alarms - 1, 100, 10, 90))
        promised = row["calibrator"] != "step_quantile" and row["kind"] != "baseline"
        found.append(
            {
                "monitor": row["monitor"],
                "calibrator": row["calibrator"],
                "task": task,
                "errors": FALSE_ALARMS,
                "count": alarms,
                "episodes": 100,
                "rate": alarms / 100,
                "ci95": bounds,
                "level": 0.1,
                "promised": promised,
                "p_value": chance if promised else None,
                "broken": promised and alarms > 10 and chance <= 0.05,
                "chance": 0.04 if promised else 0.0,
            }
        )
    return found


@pytest.fixture(scope="module")
def board() -> Record:
    return realistic()


@pytest.fixture(scope="module")
def folder(board: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(board, tmp_path_factory.mktemp("board") / "made").parent


class Page(HTMLParser):
    """Checks that tags close in order, and collects tables, words and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.feed(text.replace("<wbr>", ""))
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self.open):
            return
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data.replace("\u200b", "").replace("\u2060", "")

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words)).replace("\u200b", "")

    def table(self, *heads: str) -> list[list[str]]:
        """Rows of the first table whose headings begin so."""
        return next(table[1:] for table in self.tables if tuple(table[0][: len(heads)]) == heads)


def parsed(leaderboard: Record, folder: Path) -> Page:
    return Page(write(leaderboard, folder).read_text(encoding="utf-8"))


def shown(leaderboard: Record, width: int = 160) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(*terminal(leaderboard))
    return capture.get()


def test_the_page_is_one_file_that_loads_nothing(folder: Path) -> None:
    text = (folder / "leaderboard.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"https?://|url\(|@import|fetch\(", text)
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe"}
    assert not [attrs for _, attrs in page.tags if "src" in attrs]
    assert all(str(attrs["href"]).startswith("#") for _, attrs in page.tags if "href" in attrs)
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 1_500_000, "a page for 190 monitors must open on a phone"


def test_links_within_the_page_lead_somewhere(folder: Path) -> None:
    page = Page((folder / "leaderboard.html").read_text(encoding="utf-8"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = {str(attrs["href"])[1:] for tag, attrs in page.tags if tag == "a"}
    wanted |= {
        str(attrs[key]) for _, attrs in page.tags for key in ("aria-labelledby", "aria-describedby") if key in attrs
    }
    assert wanted <= set(ids)


def test_figures_can_be_read_aloud(folder: Path) -> None:
    page = Page((folder / "leaderboard.html").read_text(encoding="utf-8"))
    labels = [attrs.get("aria-label") for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    assert all(labels)
    scores = sum(map(len, SCORES.values()))
    assert len(labels) == scores + 12 + len(CALIBRATORS) + 3, "forest, pairs, audits, and three of time"
    assert "viability: 0.90, 95 % interval 0.87–0.93" in labels
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")


def test_every_score_has_one_row_and_none_is_chosen_by_its_test_figures(board: Record) -> None:
    rows = standing(board)
    assert sorted(row["score"] for row in rows) == sorted({row["score"] for row in board["rows"]})
    assert {row["calibrator"] for row in rows} == {"split_conformal"}, "the selected ones"
    tempting = copy.deepcopy(board)
    for row in tempting["rows"]:
        if row["calibrator"] == "mondrian":
            row["figures"][AIM]["value"] = 0.99
    assert {row["calibrator"] for row in standing(tempting)} == {"split_conformal"}
    values = [row["figures"][AIM]["value"] for row in rows]
    assert values == sorted(values, reverse=True)


def test_without_a_selection_the_first_row_stands_for_a_score_and_the_page_says_so(
    board: Record, tmp_path: Path
) -> None:
    bare = copy.deepcopy(board)
    for row in bare["rows"]:
        del row["selected"]
    bare["rows"].reverse()
    row = next(row for row in standing(bare) if row["score"] == "rnd")
    assert row["calibrator"] == CALIBRATORS[-1]
    assert "its first window and calibrator" in parsed(bare, tmp_path).text
    assert "its first window and calibrator" not in parsed(board, tmp_path).text


def test_the_terminal_shows_the_numbers_of_the_page(board: Record, folder: Path) -> None:
    page = Page((folder / "leaderboard.html").read_text(encoding="utf-8"))
    lines = {line.strip().split("  ")[0]: line for line in shown(board).splitlines()}
    for row in page.table("score", "window", "calibrator"):
        for cell in (part for text in row for part in text.replace("▲", "").split("  ") if part):
            for number in cell.split():
                assert number in lines[row[0].strip()], (row[0], number)


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_a_narrow_terminal_cuts_off_no_number(board: Record, width: int) -> None:
    text = shown(board, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert "0.87–0.93" in text
    assert ("mean 5" in text) is (width == 160)


def test_baselines_stand_in_every_table_of_scores(board: Record, folder: Path) -> None:
    text = shown(board)
    page = Page((folder / "leaderboard.html").read_text(encoding="utf-8"))
    for name in SCORES["baseline"]:
        assert re.search(rf"^ {name} ", text, re.MULTILINE)
        for table in (t for t in page.tables if t[0][0] == "score" and t[0][1] != "ms a call"):
            assert name in [row[0] for row in table]


def test_a_number_that_cannot_be_had_is_a_dash_and_no_score_is_left_out(board: Record, tmp_path: Path) -> None:
    bare = copy.deepcopy(board)
    for row in bare["rows"]:
        row["figures"] = {name: figure(None) for name in row["figures"]}
        row["tasks"] = row["families"] = {}
    bare |= {"pairs": [pair | {"difference": figure(None), "p_value": None} for pair in bare["pairs"]]}
    page = parsed(bare, tmp_path)
    rows = page.table("score", "window", "calibrator")
    assert len(rows) == len(standing(board))
    assert all(cell.replace("▲", "").strip() == "—" for row in rows for cell in row[3:-1])
    assert all([cell.strip() for cell in row[2:]] == ["—"] * 4 for row in page.table("pair"))
    assert "nan" not in page.text.lower().split()
    assert "None" not in page.text


@pytest.mark.parametrize("key", ["rows", "costs", "pairs", "audit", "drift", "refused", "stores"])
def test_any_list_may_be_empty(board: Record, key: str, tmp_path: Path) -> None:
    parsed(board | {key: []}, tmp_path)
    shown(board | {key: []})


def test_what_lacks_or_breaks_is_refused_with_a_reason(board: Record, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lacks audit, refused"):
        write({key: board[key] for key in KEYS if key not in ("audit", "refused")}, tmp_path)
    with pytest.raises(UnknownNameError, match="failure-free"):
        write(board | {"rows": [board["rows"][0] | {"kind": "failurefree"}]}, tmp_path)
    broken = copy.deepcopy(board)
    broken["rows"][0]["figures"]["tpr"]["value"] = float("nan")
    with pytest.raises(ConfigError, match="not finite"):
        write(broken, tmp_path / "nan")
    assert not list(tmp_path.rglob("*.html"))


def test_what_comes_from_outside_is_escaped(board: Record, tmp_path: Path) -> None:
    odd = board | {"about": "<script>x", "refused": [{"part": "[red]odd", "store": "<b>", "reason": "a&b"}]}
    odd["rows"] = [board["rows"][0] | {"score": "<i>rnd", "monitor": "<i>rnd+x"}, *board["rows"][1:]]
    text = write(odd, tmp_path).read_text(encoding="utf-8")
    assert text.count("<script") == 1
    assert "<i>rnd" not in text
    assert "<i>rnd" in Page(text).text
    assert "[red]odd" in shown(odd)


def test_json_and_csv_hold_every_figure(board: Record, folder: Path) -> None:
    assert json.loads((folder / "leaderboard.json").read_text(encoding="utf-8")) == board
    records = list(csv.DictReader(io.StringIO((folder / "leaderboard.csv").read_text(encoding="utf-8"))))
    expected = sum(
        len(figures)
        for row in board["rows"]
        for figures in (row["figures"], *row["tasks"].values(), *row["families"].values())
    )
    assert len(records) == expected == len(tidy(board))
    keys = [(r["monitor"], r["task"], r["family"], r["metric"]) for r in records]
    assert len(set(keys)) == expected, "one row a monitor, task or family, and metric"
    at = keys.index(("rnd+mondrian", "stack", "all", AIM))
    row = next(row for row in board["rows"] if row["monitor"] == "rnd+mondrian")
    assert float(records[at]["value"]) == row["tasks"]["stack"][AIM]["value"]
    empty = next(r for r in records if r["score"] == "never" and r["metric"] == "detection_time")
    assert empty["value"] == "", "a missing value is empty, not zero"


def test_markdown_and_latex_hold_the_tables_of_the_page(board: Record, folder: Path, tmp_path: Path) -> None:
    made = {name: table for name, table in tables(board).items() if name != "ranking"}
    assert all(table.rows for table in made.values())
    text, tex = ((folder / f"leaderboard.{kind}").read_text(encoding="utf-8") for kind in ("md", "tex"))
    for table in made.values():
        assert table.markdown("##") in text
        assert table.latex() in tex
    assert text.startswith("# Monitors, unseen_family\n\nOne channel of faults")
    assert board["command"] in text
    write(board | {"drift": [], "about": "<script>"}, tmp_path)
    assert "After deployment" not in (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "\\<script>" in (tmp_path / "leaderboard.md").read_text(encoding="utf-8")


def test_every_table_of_the_terminal_stands_on_the_page(board: Record, folder: Path) -> None:
    page = Page((folder / "leaderboard.html").read_text(encoding="utf-8"))
    there = {tuple(cell.strip() for cell in row) for table in page.tables for row in table}
    for row in (row for table in terminal(board) for row in table.rows):
        cells = ["" if cell.drawn else cell.plain.replace(" · ", " ") for cell in row.cells]
        assert tuple(cells) in there, cells


def test_an_interval_that_is_not_shown_is_there_for_programs(board: Record) -> None:
    row = next(row for row in board["rows"] if row["score"] == "rnd" and row.get("selected"))
    table = standing_table(board)
    place = [each.name for each in table.rows].index("rnd")
    assert table.column("failures caught")[place].sure == ""
    frame = table.frame()
    for end in ("low", "high"):
        assert frame[f"failures caught {end}"][place] == row["figures"]["tpr"][end]
    assert frame["TWA"][place] == row["figures"]["twa"]["value"]


def test_a_broken_promise_is_marked_by_more_than_colour_and_listed(board: Record, tmp_path: Path) -> None:
    kept = copy.deepcopy(board)
    for entry in kept["audit"]:
        entry["broken"] = False
    assert "▲" not in shown(kept | {"drift": []})
    kept["audit"][0] |= {"count": 30, "rate": 0.3, "ci95": [0.21, 0.4], "p_value": 0.001, "broken": True}
    monitor_name, task = kept["audit"][0]["monitor"], kept["audit"][0]["task"]
    page = parsed(kept, tmp_path)
    (listed,) = page.table("monitor", "task", "errors")
    assert (listed[0], listed[1], listed[2]) == (monitor_name, task, "false alarms")
    assert listed[3] == "30/100 21–40 % ▲"
    marked = [row[0] for row in page.table("score", "window", "calibrator") if "▲" in row[5]]
    assert marked == [kept["rows"][0]["score"]]


def test_what_promises_nothing_breaks_nothing_and_constants_do_not_blur_the_audit(board: Record) -> None:
    rows = {row.name: [cell.plain for cell in row.cells[1:]] for row in audit_table(board).rows}
    assert rows["step_quantile"][0] == "nothing: a heuristic"
    assert rows["mondrian"][0] == "few false alarms"
    assert rows["step_quantile"][2] == "—"
    promised = [e for e in board["audit"] if e["calibrator"] == "split_conformal" and e["promised"]]
    assert rows["split_conformal"][1] == str(len(promised))
    assert rows["split_conformal"][4] != "100 %", "always alarms, but promises nothing"


def test_holm_corrects_within_a_metric() -> None:
    pairs = [
        {"first": "a", "second": b, "metric": metric, "difference": figure(0.1), "p_value": p}
        for b, metric, p in (
            ("b", "tpr", 0.01),
            ("c", "tpr", 0.04),
            ("d", "tpr", 0.03),
            ("e", "tpr", None),
            ("b", "twa", 0.04),
        )
    ]
    corrected = pair_table({"pairs": pairs}).column("p, Holm")
    assert [cell.value for cell in corrected] == pytest.approx([0.03, 0.06, 0.06, None, 0.04])


def test_heat_is_from_chance_for_rankings_and_from_nothing_for_rates(board: Record) -> None:
    some = copy.deepcopy(board)
    row = some["rows"][0] | {"tasks": {"stack": {AIM: ratio(0.25), "actionable_recall": ratio(0.25)}}}
    some["rows"] = [row]
    for metric, heat in ((AIM, -0.5), ("actionable_recall", 0.25)):
        (cell,) = place_table(some, "tasks", metric, "by task").column("stack")
        assert cell.heat == pytest.approx(heat)


def test_the_headline_takes_no_baseline_and_no_monitor_that_alarms_too_often(board: Record) -> None:
    some = copy.deepcopy(board)
    for row in some["rows"]:
        if row["score"] in ("always", "elapsed"):
            row["figures"][AIM] = ratio(0.99)
        if row["score"] == "stac":
            row["figures"] |= {"actionable_recall": ratio(0.97), "fpr_nominal": ratio(0.4)}
    found = headlines(some)
    assert found[0].what == "time-matched AUROC by half the deadline, by viability (best of 34)"
    assert "by stac" not in found[1].what
    assert found[2].what == "matched AUROC at 0.5, viability against knn, the best of 6 others"
    assert found[2].value == "+0.03", "not the pair that flatters it"
    promised = [entry for entry in board["audit"] if entry["promised"]]
    kept = sum(not entry["broken"] for entry in promised)
    assert found[3].sure.startswith(f"{kept} of {len(promised)},")


def test_a_score_that_is_too_dear_is_marked(board: Record) -> None:
    costs = [
        {"score": "rnd", "milliseconds": figure(5.01), "fit_s": None},
        {"score": "stac", "milliseconds": figure(4.99), "fit_s": 100.0},
    ]
    found = cost_table(board | {"costs": costs}).column("ms a call")
    assert [cell.plain for cell in found] == ["5.01 · 4.98–5.04 ▲", "4.99 · 4.96–5.02"]


def test_drift_is_marked_only_where_nothing_has_changed(folder: Path) -> None:
    page = Page((folder / "leaderboard.html").read_text(encoding="utf-8"))
    rows = {(row[0], row[1]): row[2:] for row in page.table("monitor", "task", "nominal stream")}
    assert rows["knn+split_conformal", "door"][0] == "150 of 200 ▲"
    assert [cells[0] for cells in rows.values() if "▲" in "".join(cells)] == ["150 of 200 ▲"]


def test_every_metric_is_defined_on_the_page(folder: Path) -> None:
    text = Page((folder / "leaderboard.html").read_text(encoding="utf-8")).text
    assert [name for name, metric in METRICS.items() if name not in text or metric.words not in text] == []


def test_names_in_a_scatter_never_overprint() -> None:
    points = [
        charts.Point(f"score number {i}", 0.1 + 0.001 * (i % 3), 0.5 + 0.002 * i, 0, named=True) for i in range(12)
    ]
    drawn = charts.scatter(
        points,
        ["failure-free"],
        label="x",
        x_label="x",
        y_label="y",
        x_range=(0, 1),
        y_range=(0, 1),
        upright=(0.9, "level"),
    )
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">score number', drawn)
    assert 2 <= len(found) < 12, "the first ones find a place, the others are told where the pointer rests"
    assert drawn.count("<title>") == 12
    boxes = []
    for x, y, anchor in found:
        left = float(x) - 6.4 * 15 * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        boxes.append((left, float(y) - 10, left + 6.4 * 15, float(y) + 2))
    for i, one in enumerate(boxes):
        assert not any(one[0] < b[2] and b[0] < one[2] and one[1] < b[3] and b[1] < one[3] for b in boxes[:i])


def test_an_interval_beyond_the_axis_ends_at_its_border() -> None:
    strip = charts.interval_strip(0.2, (-1.0, 9.0), (0.0, 1.0), "x", "s0", [0.5])
    assert 'x1="3.0%" x2="97.0%"' in strip
    assert 'cx="21.8%"' in strip
