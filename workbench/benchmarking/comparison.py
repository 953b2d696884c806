"""A study's table: all scores fitted, all monitors judged, all pairs compared; the leaderboard as plain data."""

from __future__ import annotations

import dataclasses
import functools
import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.benchmarking.curves import Part, is_supervised, missing_seeds, read_curves, score_part
from workbench.benchmarking.evaluation import Bench, Study
from workbench.benchmarking.figures import at_false_alarm_rate, difference, figures, ranking
from workbench.benchmarking.judged import JudgedEpisode, elapsed
from workbench.benchmarking.metrics import AIM, metric_of
from workbench.config import Run, options_of, words_asked
from workbench.errors import CalibrationError, ConfigError, ScoreError, StoreError, UnknownNameError
from workbench.execution.processes import spread
from workbench.execution.progress import progress
from workbench.monitoring.drift import Drift
from workbench.monitoring.window import Window
from workbench.stats.proportions import clopper_pearson
from workbench.types import Record

LENGTH, PRIOR = "length", "task_prior"
"""Baselines that are no scores: how long an episode has lasted, and how often its task fails in the fit split."""
WATCHED = ("failure-free", "supervised")
"""Kinds of monitors whose calibration is watched for drift."""
ORACLE = 0.1
"""Share of the judged successes that may alarm at an oracle's threshold, at which monitors are compared once more."""
PAIRED = 5
"""Resamples of a pair for each one of a figure: the smallest p-value they can give has to survive Holm's correction."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is to be compared.

    Attributes
    ----------
    stores : their paths; each has splits, samples and labels of its own.
    seeds : of the scores' fits.
    windows : (kind, width) that may be chosen on the select split.
    pairs : (first, second, metric) of monitors that are compared episode by episode, by names of scores or
        combinations; ``*`` for every other one that is no baseline.
    resamples : of the bootstrap behind intervals.
    """

    run: Run
    stores: tuple[Path, ...]
    seeds: tuple[int, ...]
    windows: tuple[tuple[str, int], ...]
    pairs: tuple[tuple[str, str, str], ...]
    resamples: int

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"job.seeds={list(self.seeds)} must be different numbers, such as [0,1,2]")
        if not self.windows:
            raise ConfigError("job.windows is empty; allow at least [[last,1]]")
        if self.resamples < 1:
            raise ConfigError(f"job.resamples={self.resamples} must be at least 1")
        # What would be noticed only after everything is fitted is asked for now.
        for kind, width in self.windows:
            Window(kind, width)
        for first, second, metric in self.pairs:
            known = {*options_of("score"), *self.run.config["monitor"]["combine"], "*"}
            for name in (first, second):
                if name not in known:
                    raise UnknownNameError("score or combination in job.pairs", name, known)
            metric_of(metric)
        for path in self.stores:
            if not path.exists():
                raise StoreError(f"there is no {self.run.shown(path)}: synthesize or roll it first")

    def study(self, without: Iterable[str] = ()) -> Study:
        """The study, in this process; some scores, and combinations of them, left out."""
        return _study(
            json.dumps(self.run.config), self.run.root, self.stores, self.seeds, self.windows, frozenset(without)
        )


@functools.lru_cache(maxsize=2)
def _study(
    config: str,
    root: Path,
    stores: tuple[Path, ...],
    seeds: tuple[int, ...],
    windows: tuple[tuple[str, int], ...],
    without: frozenset[str],
) -> Study:
    kept: Record = json.loads(config)
    kept["score"] = {name: node for name, node in kept["score"].items() if name not in without}
    kept["monitor"]["combine"] = {
        name: how for name, how in kept["monitor"]["combine"].items() if set(*how.values()) <= set(kept["score"])
    }
    return Study(Run(kept, root), stores, seeds, windows)


@dataclasses.dataclass(frozen=True)
class Item:
    """One row, or one pair of rows, for one worker."""

    asked: Asked
    without: frozenset[str]
    names: tuple[str, ...]
    rule: str
    metric: str = ""


def compare(asked: Asked) -> Record:
    """The leaderboard; see :mod:`workbench.reporting.leaderboard` for its keys."""
    refused = fit_all(asked)
    without = frozenset(row["score"] for row in refused)
    study = asked.study(without)
    if not study.run.config["score"]:
        raise ScoreError("no score is left: " + "; ".join(row["reason"] for row in refused))
    rows = [
        found for found in each_of(row, [Item(asked, without, *place) for place in monitors(study)], "monitors", asked)
    ]
    rows += [reference(study, name, asked.resamples) for name in (LENGTH, PRIOR)]
    wanted = [
        Item(asked, without, (one, other), first_rule(study), metric) for one, other, metric in pairs_of(asked, rows)
    ]
    pairs = each_of(pair, wanted, "pairs", asked)
    return {
        "protocol": study.protocol.name,
        "about": study.protocol.about,
        "level": study.level,
        "seeds": list(asked.seeds),
        "command": command(),
        "stores": [described(asked.run, bench) for bench in study.benches],
        "rows": sorted(rows, key=by_aim),
        "costs": costs(study),
        "pairs": pairs,
        "audit": [each for row in rows for each in row.pop("audit")],
        "drift": [each for row in rows for each in row.pop("drift")],
        "refused": [{"part": f"score {row['score']}", **row} for row in refused],
    }


def by_aim(row: Record) -> tuple[float, str]:
    """Sorts rows, the best first and those without a number last."""
    value = row["figures"].get(AIM, {}).get("value")
    return (-1.0 if value is None else -value), row["monitor"]


def each_of(function: Any, items: Sequence[Item], name: str, asked: Asked) -> list[Record]:
    """Results of all items on workers, in their order."""
    found: dict[int, Record] = {}
    with progress(name, len(items)) as advance:
        for place, record in spread(function, list(enumerate(items)), asked.run.config["runner"]):
            found[place] = record
            advance(1)
    return [found[place] for place in range(len(items))]


# Fitting


def fit_all(asked: Asked) -> list[Record]:
    """Fit every score on every fold with every seed where that is not on disk; returns those that could not be."""
    study = asked.study()
    parts: dict[Path, Part] = {part.path(0): part for bench in study.benches for part in bench.parts.values()}
    todo = [
        dataclasses.replace(part, seeds=tuple(missing)) for part in parts.values() if (missing := missing_seeds(part))
    ]
    # The longest first, so that no worker is left alone with one at the end.
    todo.sort(key=lambda part: not is_supervised(part.node))
    refused: dict[str, Record] = {}
    with progress("scores", len(parts)) as advance:
        advance(len(parts) - len(todo))
        for part, why in spread(score_part, todo, asked.run.config["runner"]):
            if why:
                refused.setdefault(
                    part.score, {"score": part.score, "store": asked.run.shown(part.store), "reason": why}
                )
            advance(1)
    return [refused[name] for name in sorted(refused)]


# Judging


def monitors(study: Study) -> list[tuple[tuple[str], str]]:
    """Names and calibrators of all monitors: baselines with their own calibrator, the others with every one."""
    settings = study.run.config["monitor"]
    own: Mapping[str, str] = settings["baselines"]
    alone = set(own.values()) - {first_rule(study)}
    rules = [rule for rule in study.run.config["calibrator"] if rule not in alone]
    scores = [name for name in study.run.config["score"] if name not in own]
    names = [*scores, *settings["combine"]]
    return [((name,), rule) for name in names for rule in rules] + [
        ((name,), rule) for name, rule in own.items() if name in study.run.config["score"]
    ]


def first_rule(study: Study) -> str:
    """The calibrator that comparisons of scores alone use: the first."""
    return str(next(iter(study.run.config["calibrator"])))


def row(numbered: tuple[int, Item]) -> tuple[int, Record]:
    """One monitor's row, in this process."""
    number, item = numbered
    study, (name,), rule = item.asked.study(item.without), item.names, item.rule
    judged = study.judged(name, rule)
    _, legs = study.legs(name)
    chosen = sorted({
        f"{leg.window.kind} {leg.window.width}"
        for bench in study.benches for fold in bench.folds for leg in (bench.leg(fold, each) for each in legs)
    })  # fmt: skip
    found = shown(judged, item.asked.resamples)
    selected = rule in (first_rule(study), study.run.config["monitor"]["baselines"].get(name))
    if selected:
        found["figures"] |= at_false_alarm_rate(judged, ORACLE, resamples=item.asked.resamples)
    return number, {
        "monitor": f"{name}+{rule}",
        "score": name,
        "window": ", ".join(chosen),
        "calibrator": rule,
        "kind": kind_of(study, name),
        "guarantee": study.guarantee(name, rule),
        "selected": selected,
        **found,
        "audit": audit(study, name, rule),
        "drift": drift(study, name) if rule == first_rule(study) and kind_of(study, name) in WATCHED else [],
    }


def kind_of(study: Study, name: str) -> str:
    """What sort of monitor it is."""
    if name in study.run.config["monitor"]["combine"]:
        return "combination"
    if name in study.run.config["monitor"]["baselines"]:
        return "baseline"
    return "supervised" if is_supervised(study.run.config["score"][name]) else "failure-free"


def shown(
    judged: Mapping[int, Sequence[JudgedEpisode]], resamples: int, of_all: Callable[..., Record] = figures
) -> Record:
    """Figures of all episodes, and of each task and family of faults; ``of_all`` is what computes them."""
    first = next(iter(judged.values()))

    def of(wanted: Sequence[bool]) -> Record:
        part = {seed: [e for e, keep in zip(each, wanted, strict=True) if keep] for seed, each in judged.items()}
        return of_all(part, resamples=min(resamples, 200))

    stores = list(dict.fromkeys(episode.uid.split("/")[0] for episode in first))
    families = sorted({episode.family for episode in first} - {""})
    return {
        "figures": of_all(judged, resamples=resamples),
        "tasks": {store: of([episode.uid.split("/")[0] == store for episode in first]) for store in stores},
        "families": {family: of(_with_nominal(first, family)) for family in families},
    }


def _with_nominal(episodes: Sequence[JudgedEpisode], family: str) -> list[bool]:
    """Which episodes are of a family, or nominal ones that are judged beside it.

    A fold that judges other families has nominal failures, too, which say nothing about this one.
    """
    beside = {episode.task for episode in episodes if episode.family == family}
    return [episode.family == family or (not episode.family and episode.task in beside) for episode in episodes]


def reference(study: Study, name: str, resamples: int) -> Record:
    """Row of a baseline that is no score."""
    episodes = [each for bench in study.benches for fold in bench.folds for each in bench.unscored(fold)]
    if name == LENGTH:
        episodes = [elapsed(episode) for episode in episodes]
    return {
        "monitor": name,
        "score": name,
        "window": "last 1",
        "calibrator": "",
        "kind": "baseline",
        "guarantee": "none: it raises no alarm",
        **shown({0: episodes}, resamples, ranking),
        "audit": [],
        "drift": [],
    }


def audit(study: Study, name: str, rule: str) -> list[Record]:
    """Realised false alarms on nominal successes against the level, of every task, in its first fold by the first seed.

    Other folds judge the same nominal episodes again, and would make the interval look narrower than it is.
    """
    rows, promised = [], study.promises_silence(name, rule)
    for bench in study.benches:
        judged = bench.judged(bench.folds[0], name, rule, study.seeds[0])
        nominal = [episode for episode in judged if episode.success and not episode.perturbed]
        alarms = sum(episode.alarm_step >= 0 for episode in nominal)
        low, high = clopper_pearson(alarms, len(nominal))
        rows.append({
            "monitor": f"{name}+{rule}", "calibrator": rule, "task": bench.label, "alarms": alarms,
            "episodes": len(nominal), "rate": alarms / len(nominal) if nominal else None, "ci95": [low, high],
            "level": study.level, "promised": promised, "broken": promised and low > study.level,
        })  # fmt: skip
    return rows


def drift(study: Study, name: str) -> list[Record]:
    """After how many episodes the exchangeability martingale notices that they are not the calibration's, by task.

    One stream are the nominal successes of the test split, which are like those of the calibration, the other all of
    its perturbed episodes.  Of the first fold and seed.
    """
    rows = []
    for bench in study.benches:
        fold, seed = bench.folds[0], study.seeds[0]
        applied = bench.leg(fold, name).applied[seed]
        streams = {"nominal": fold.successes("test"), "perturbed": [e for e in fold.test if not e.nominal]}
        for stream, entries in streams.items():
            watch = Drift()
            try:
                watch.begin(np.array([applied[entry.uid].max() for entry in fold.successes("calibrate")]))
            except CalibrationError:
                continue
            for entry in entries:
                watch.update(float(applied[entry.uid].max()))
            rows.append({
                "monitor": name, "task": bench.label, "stream": stream, "noticed_after": watch.since,
                "episodes": len(entries),
            })  # fmt: skip
    return rows


def pairs_of(asked: Asked, rows: Sequence[Record]) -> list[tuple[str, str, str]]:
    """Pairs of monitors that there are."""
    there = list(dict.fromkeys(row["score"] for row in rows if row["kind"] != "baseline"))
    found = []
    for first, second, metric in asked.pairs:
        others = [name for name in there if name != first] if second == "*" else [second]
        found += [(first, other, metric) for other in others if first in there and other in there]
    return found


def pair(numbered: tuple[int, Item]) -> tuple[int, Record]:
    """Difference of two monitors on the same episodes and seeds."""
    number, item = numbered
    study, (first, second) = item.asked.study(item.without), item.names
    one, other = (study.judged(name, item.rule) for name in item.names)
    found = difference(one, other, item.metric, resamples=PAIRED * item.asked.resamples)
    return number, {"first": first, "second": second, "metric": item.metric, **found}


# What stands around the rows


def costs(study: Study) -> list[Record]:
    """Milliseconds of a scene and call and seconds of a fit, of every score, over stores, folds and seeds."""
    rows = []
    for score in study.run.config["score"]:
        parts = {part.key: part for bench in study.benches for (_, name), part in bench.parts.items() if name == score}
        found = [read_curves(part.path(seed)) for part in parts.values() for seed in part.seeds]
        each = sorted(curves.milliseconds for curves in found)
        rows.append({
            "score": score,
            "milliseconds": {"value": each[len(each) // 2], "low": each[0], "high": each[-1], "n": len(each)},
            "fit_s": sum(curves.fit_s for curves in found) / len(found),
        })  # fmt: skip
    return rows


def described(run: Run, bench: Bench) -> Record:
    """A store, as the leaderboard shows it."""
    splits: dict[str, int] = {}
    for entry in bench.entries:
        splits[entry.split] = splits.get(entry.split, 0) + 1
    test = {entry.uid: entry for fold in bench.folds for entry in fold.test}
    config = bench.store.header.config
    return {
        "store": run.shown(bench.store.path),
        "task": bench.label,
        "policy": policy_of(config),
        "splits": splits,
        "test": len(test),
        "failures": sum(not entry.success for entry in test.values()),
    }


def policy_of(config: Mapping[str, Any]) -> str:
    """How a policy is called on the command line, or the class behind it."""
    node = config.get("policy") or {}
    return f"zoo/{node['zoo']}" if node.get("zoo") else str(node.get("_target_", "")).rpartition(".")[2]


def command() -> str:
    """What makes this table again: the words that were asked."""
    return shlex.join(["workbench", "benchmark", *(word for word in words_asked() if word != "job=benchmark")])
