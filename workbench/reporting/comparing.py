"""Runs side by side: what was varied between them, and what came out."""

from __future__ import annotations

import dataclasses
import glob
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from workbench.config import Entry, root_folder
from workbench.config.journal import JOURNAL, read_journal
from workbench.config.metrics import FARTHEST
from workbench.config.run import read_metrics
from workbench.errors import ConfigError, StoreError
from workbench.reporting import charts
from workbench.reporting.page import render
from workbench.reporting.table import Cell, Column, Row, Table
from workbench.reporting.words import NONE, Rate, percent, significant
from workbench.types import Record
from workbench.types.results import Tabular

GROUPS = ("perturbation", "score", "calibrator", "strategy")
"""Groups of which a run has several parts."""
NOT_COMPARED = ("name", "root", "overwrite", "runner", "protocol", "job")
"""Keys that decide no result, or are compared elsewhere."""
MOST_LINES = 8
"""Lines of a chart."""
FILE = "comparison"
"""Name of the files, without what they end in."""


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison.

    Attributes
    ----------
    name : of its folder, below ``runs/``.
    varied : key -> what it was in this run, of the keys that differ between the runs; None where nothing is known.
    success : fault -> how often the policy succeeded under it; "" without any.
    metrics : path -> what ``metrics.json`` has there; None where it has nothing.
    """

    name: str
    varied: Mapping[str, Any]
    success: Mapping[str, Rate]
    metrics: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Comparison(Tabular):
    """Runs of one task side by side.

    Attributes
    ----------
    left_out : run -> why it is not among them.
    remarks : what else one has to know of some of them.
    """

    runs: tuple[ComparedRun, ...]
    left_out: Mapping[str, str]
    remarks: tuple[str, ...]

    @property
    def varied(self) -> list[str]:
        """Keys that differ."""
        return list(self.runs[0].varied)

    @property
    def episodes(self) -> list[str]:
        """Kinds of episodes that any run has: faults, "" for none."""
        return sorted({name for run in self.runs for name in run.success})

    def rows_of_table(self) -> list[Record]:
        """One row a run."""
        rows = []
        for run in self.runs:
            counts = {name or "nominal": {"episodes": r.whole, "successes": r.part} for name, r in run.success.items()}
            rows.append({"run": run.name, **run.varied, "success": counts, **run.metrics})
        return rows

    def grid(self) -> Table:
        """The table that people read: what was varied, success with interval and episodes, the metrics asked for."""
        alone = all(len(run.success) == 1 for run in self.runs)
        kinds = [None] if alone else self.episodes
        heads = [("success", "episodes") if kind is None else _heads(kind or "no fault") for kind in kinds]
        rows = []
        for run in self.runs:
            rates = [next(iter(run.success.values())) if kind is None else run.success.get(kind) for kind in kinds]
            cells = [
                *(_varied_cell(value) for value in run.varied.values()),
                *(cell for rate in rates for cell in _success_cells(rate)),
                *(metric_cell(value) for value in run.metrics.values()),
            ]
            rows.append(Row.of(run.name, *cells))
        columns = [
            Column("run", code=True),
            *(Column(key, numeric=self._numeric(key), short=key.rpartition(".")[2]) for key in self.varied),
            *(Column(head, numeric=True) for pair in heads for head in pair),
            *(Column(path, numeric=True, short=path.rpartition(".")[2]) for path in self.runs[0].metrics),
        ]
        note = "Success of the test episodes, with its 95 % interval. Columns before it are what was varied."
        return Table("runs compared", columns, rows, note)

    def chart(self) -> Markup:
        """Success over the number that was varied most, a line for all else; bars where no number was varied."""
        over = max(filter(self._numeric, self.varied), key=self._distinct, default=None)
        lines = self._lines(over) if over is not None else []
        if over is None or len(lines) > MOST_LINES:
            return self._bars().html()
        told = "; ".join(f"{line.name}: {len(line.x)} runs" for line in lines)
        return charts.line_chart(
            lines, label=f"Success over {over}. {told}", x_label=over, y_label="success", y_range=(-0.03, 1.03),
            x_ticks=sorted({float(run.varied[over]) for run in self.runs}) if self._distinct(over) <= 10 else None,
        )  # fmt: skip

    def write(self, folder: Path) -> Path:
        """Write the page ``comparison.html``, and the table beside it as CSV, LaTeX and Markdown; returns the page."""
        grid = self.grid()
        page = render("comparison.html.j2", grid=grid, chart=self.chart(), notes=self.notes())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{FILE}.csv").write_text(grid.csv(), encoding="utf-8", newline="")
        (folder / f"{FILE}.tex").write_text(grid.latex(), encoding="utf-8")
        (folder / f"{FILE}.md").write_text(grid.markdown("##"), encoding="utf-8")
        written = folder / f"{FILE}.html"
        written.write_text(page, encoding="utf-8")
        return written

    def notes(self) -> list[str]:
        """A line for every run that is left out, and for what else one has to know."""
        return [*(f"left out: {name}: {why}" for name, why in self.left_out.items()), *self.remarks]

    def _repr_html_(self) -> str:
        return self.grid().html()

    def _numeric(self, key: str) -> bool:
        return all(type(run.varied[key]) in (int, float) and abs(run.varied[key]) < FARTHEST for run in self.runs)

    def _distinct(self, key: str) -> int:
        return len({run.varied[key] for run in self.runs})

    def _lines(self, over: str) -> list[charts.Line]:
        """One for each kind of episodes and each combination of what else was varied."""
        groups: dict[str, list[tuple[float, Rate]]] = {}
        for run in self.runs:
            others = [f"{key.rpartition('.')[2]} {_said(value)}" for key, value in run.varied.items() if key != over]
            for kind, rate in run.success.items():
                what = [kind or "no fault"] if len(self.episodes) > 1 or not others else []
                groups.setdefault(", ".join([*what, *others]), []).append((float(run.varied[over]), rate))
        lines = []
        for name, found in groups.items():
            points = sorted((x, rate.share, rate.bounds) for x, rate in found if rate.share is not None)
            if points:
                xs, ys, bounds = zip(*points, strict=True)
                lines.append(charts.Line(name, xs, ys, marked=True, bounds=bounds))
        return lines

    def _bars(self) -> Table:
        rows = []
        for run in self.runs:
            for kind, rate in run.success.items():
                words = f"{run.name}, {kind or 'no fault'}: success {rate.percent}, 95 % interval {rate.interval}"
                bar = Cell(drawn=charts.interval_bar(rate.share or 0.0, rate.bounds, words))
                rows.append(Row.of(run.name, kind or "no fault", rate.percent, bar))
        axis = Markup('<span aria-hidden="true">0 to 100 %</span>')
        columns = [Column("run"), Column("episodes"), Column("success", numeric=True), Column("", drawing=axis)]
        return Table("success", columns, rows)


def compare(
    runs: str | Path | Iterable[str | Path], *, metrics: Sequence[str] = (), root: Path | None = None
) -> Comparison:
    """Lay runs of one task side by side: what was varied between them, how often they succeed, and any metric.

    Parameters
    ----------
    runs : folders of runs, their names, or patterns of these, such as ``runs/mine-*``.
    metrics : dotted paths into ``metrics.json``, such as ``labels.median_onset`` or
        ``monitors.rnd+split_conformal.tpr``.
    root : folder below which ``runs/`` lies; None for that of the environment's WORKBENCH_ROOT, or the current one.

    Raises
    ------
    ConfigError
        if a pattern names no run, or no run has a metric that is asked for.
    StoreError
        if no run can be compared; the message says why.
    """
    top = root or root_folder()
    asked = [runs] if isinstance(runs, str | Path) else list(runs)
    folders = {_shown(folder, top): folder for each in asked for folder in _found(str(each), top)}
    if not folders:
        raise ConfigError("compare needs runs, for example: workbench compare 'runs/mine-*'")
    found, left_out = _readable(folders)
    if not found:
        raise StoreError(f"none of these runs can be compared: {'; '.join(f'{n}: {w}' for n, w in left_out.items())}")
    varied, remarks = _varied({name: each.made_with for name, each in found.items()})
    values = {name: {path: at_path(each.metrics, path) for path in metrics} for name, each in found.items()}
    for path in metrics:
        lacking = [name for name, row in values.items() if row[path] is None]
        if len(lacking) == len(found):
            known = sorted({key for each in found.values() for key in each.metrics})
            raise ConfigError(f"no run has the metric {path!r}; sections are {', '.join(known)}")
        remarks += [f"{path} is not in {', '.join(lacking)}"] * bool(lacking)
    rows = (ComparedRun(name, varied[name], each.success, values[name]) for name, each in found.items())
    return Comparison(tuple(rows), left_out, tuple(remarks))


@dataclasses.dataclass(frozen=True)
class _Read:
    """What the folder of a run says: its numbers, and what it was made with, key by key; None if it does not say."""

    metrics: Record
    success: Mapping[str, Rate]
    made_with: Record | None


def _found(asked: str, root: Path) -> list[Path]:
    """Folders that a name, a path or a pattern names."""
    for pattern in (asked, f"runs/{asked}"):
        matches = [Path(match) for match in glob.glob(str(root / pattern)) if Path(match).is_dir()]
        if literal := [root / pattern] if (root / pattern).is_dir() else []:
            return literal
        if matches:
            return sorted(matches, key=lambda path: [(len(part), part) for part in re.findall(r"\d+|\D+", path.name)])
    raise ConfigError(f"there is no run {asked!r}; name folders such as runs/mine, or a pattern such as 'runs/mine-*'")


def _shown(folder: Path, root: Path) -> str:
    below = next((top for top in (root / "runs", root) if folder.is_relative_to(top)), None)
    return str(folder) if below is None else str(folder.relative_to(below))


def _heads(kind: str) -> tuple[str, str]:
    return f"success,\n{kind}", f"episodes,\n{kind}"


def _readable(folders: Mapping[str, Path]) -> tuple[dict[str, _Read], dict[str, str]]:
    """The runs that can be compared with the first one that can; and of the others, why not."""
    found: dict[str, _Read] = {}
    left_out: dict[str, str] = {}
    for name, folder in folders.items():
        try:
            metrics = read_metrics(folder / "metrics.json", "metrics.json")
            read = _Read(metrics, success_of(metrics), _made_with(read_journal(folder)) or _of_report(metrics))
        except StoreError as error:
            left_out[name] = str(error)
            continue
        task, first = (_task(each) for each in (read, next(iter(found.values()), read)))
        if not metrics:
            left_out[name] = "it has no metrics.json" if (folder / JOURNAL).exists() else "it is no run"
        elif not read.success:
            left_out[name] = "it has no test episodes; roll some: workbench rollout"
        elif task is not None and first is not None and task != first:
            left_out[name] = f"its task is {task}, not {first}"
        else:
            found[name] = read
    return found, left_out


def success_of(metrics: Record) -> dict[str, Rate]:
    """Fault -> success of the test episodes; "" for those without any."""
    nominal = (metrics.get("policy") or {}).get("nominal")
    rows = [*([{"perturbation": "", **nominal}] if nominal else []), *metrics.get("perturbed", [])]
    return {row["perturbation"]: Rate(row["successes"], row["episodes"]) for row in rows if row["episodes"]}


def _task(read: _Read) -> str | None:
    return _said(read.made_with["task"]) if read.made_with and read.made_with.get("task") else None


def _of_report(metrics: Record) -> Record | None:
    """The configuration that a report left in the numbers of a run that is older than journals."""
    config = metrics.get("config")
    return {key: value for key, value in config.items() if key not in NOT_COMPARED} if config else None


def _made_with(journal: Sequence[Entry]) -> Record | None:
    """What the jobs of a run were composed to: each key as it was last, faults and jobs of all of them."""
    merged: Record = {}
    for entry in journal:
        if not entry.done:
            continue
        config, faults = entry.config, merged.get("perturbation", {})
        merged |= {key: value for key, value in config.items() if key not in NOT_COMPARED}
        merged["perturbation"] = {**faults, **(config.get("perturbation") or {})}
        job = {key: value for key, value in (config.get("job") or {}).items() if key != "_target_"}
        merged[f"{entry.job}: job"] = {**merged.get(f"{entry.job}: job", {}), **job}
        for key, own in (("store", config.get("name")), ("demos", f"{config.get('name')}-demos")):
            merged[key] = "own" if config.get(key) == own else config.get(key)
    return merged or None


def _varied(made_with: Mapping[str, Record | None]) -> tuple[dict[str, Record], list[str]]:
    """Run -> key -> what it was, of the keys that differ between runs; and what is to be said of it."""
    known = {name: config for name, config in made_with.items() if config is not None}
    columns: dict[str, list[Any]] = {}
    for key in dict.fromkeys(key for config in known.values() for key in config):
        columns |= _differences(key, [config.get(key, _UNKNOWN) for config in known.values()])
    names = {key: key.partition(": ")[2] or key for key in columns}
    clashing = {name for name in names.values() if list(names.values()).count(name) > 1}
    heads = {key: key if name in clashing else name for key, name in names.items()}
    rows: dict[str, Record] = {name: dict.fromkeys(heads.values()) for name in made_with}
    for key, values in columns.items():
        for name, value in zip(known, values, strict=True):
            rows[name][heads[key]] = _plain(value)
    silent = [name for name, config in made_with.items() if config is None]
    return rows, [f"{name} has no journal: what it was made with is not known" for name in silent]


_UNKNOWN = object()
"""Stands where a run says nothing of a key."""


def _differences(key: str, values: Sequence[Any]) -> dict[str, list[Any]]:
    """Key -> the value of each run, for what differs at and below a key; a run that says nothing differs from none."""
    said = [value for value in values if value is not _UNKNOWN]
    if all(value == said[0] for value in said[1:]):
        return {}
    if not all(isinstance(value, Mapping) for value in said):
        return {key: list(values)}
    if len({(str(value.get("_target_")), str(value.get("zoo"))) for value in said}) > 1:
        return {key: [value if value is _UNKNOWN else _said(value) for value in values]}
    found: dict[str, list[Any]] = {}
    names: Iterable[str] = dict.fromkeys(name for value in said for name in value)
    if key in GROUPS:
        if len({tuple(sorted(value)) for value in said}) > 1:
            found[key] = [value if value is _UNKNOWN else "+".join(value) or "none" for value in values]
        names = [name for name in names if all(name in value for value in said)]
    for name in names:
        below = [value if value is _UNKNOWN else value.get(name) for value in values]
        found |= _differences(f"{key}.{name}", below)
    return found


def _said(value: Any) -> str:
    """A value in words: a part by the name of its file."""
    if isinstance(value, Mapping) and value.get("_target_"):
        zoo = value.get("zoo")
        return f"zoo/{zoo}" if zoo else str(value["_target_"]).rpartition(".")[0].rpartition(".")[2]
    if isinstance(value, Mapping | list):
        return json.dumps(value, default=str)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: Any) -> Any:
    """A value as it stands in a column: numbers as they are, all else in words; None where nothing is known."""
    if value is _UNKNOWN:
        return None
    return value if type(value) in (int, float) else _said(value)


def at_path(value: Any, path: str) -> Any:
    """What plain data holds at a dotted path; None where it holds nothing.

    Keys may have dots themselves.  Of a list a number is meant, or the name of a row: its ``name``, its fault, its
    instruction, or score and calibrator of a monitor.
    """
    if not path:
        return value
    for name, below in _children(value):
        if path == name or path.startswith(f"{name}."):
            found = at_path(below, path[len(name) + 1 :])
            if found is not None:
                return found
    return None


def _children(value: Any) -> list[tuple[str, Any]]:
    """Name and value of what is right below a value."""
    if isinstance(value, Mapping):
        return list(value.items())
    found: list[tuple[str, Any]] = []
    for place, row in enumerate(value if isinstance(value, list) else ()):
        names = [str(place)]
        if isinstance(row, Mapping):
            names += [str(row[key]) for key in ("name", "perturbation", "instruction", "score") if key in row]
            names += [f"{row['score']}+{row['calibrator']}"] if {"score", "calibrator"} <= set(row) else []
        found += [(name, row) for name in names]
    return found


def metric_cell(value: Any) -> Cell:
    """A metric as people read it; ConfigError for what is no single figure."""
    if value is None:
        return Cell(NONE)
    if isinstance(value, Mapping) and {"rate", "ci95"} <= set(value):
        low, high = value["ci95"]
        return Cell(percent(value["rate"]), value["rate"], (low, high), f"{value['alarms']}/{value['episodes']}")
    if isinstance(value, Mapping) and {"successes", "episodes"} <= set(value):
        value = [value["successes"], value["episodes"]]
    if isinstance(value, list) and len(value) == 2 and all(type(each) is int for each in value):
        rate = Rate(*value)
        if not rate.whole:
            return Cell(NONE)
        return Cell(rate.count, rate.share, rate.bounds, rate.interval)
    if isinstance(value, Mapping | list):
        names = ", ".join(name for name, _ in _children(value)[:12])
        raise ConfigError(f"that metric is no figure, but holds several: {names or 'none'}; add one to its path")
    if type(value) in (int, float):
        return Cell(significant(value) if type(value) is float else str(value), value)
    return Cell(_said(value))


def _varied_cell(value: Any) -> Cell:
    if value is None:
        return Cell(NONE)
    return Cell(f"{value:g}" if type(value) is float else str(value), value if type(value) in (int, float) else None)


def _success_cells(rate: Rate | None) -> list[Cell]:
    if rate is None:
        return [Cell(NONE), Cell(NONE)]
    return [Cell(rate.percent, rate.share, rate.bounds, rate.interval), Cell(rate.count, rate.whole)]
