"""The numbers of a run as one page and as tables on the terminal.

The page is one file: no script, nothing loaded from elsewhere, readable in light and dark, wide and narrow.  Page and
terminal show the same tables, so they never disagree.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.benchmarking.columns import FRACTIONS
from workbench.config import Entry, resolve, write_text
from workbench.monitoring.example import Example
from workbench.reporting import promises, sections, summaries
from workbench.reporting.page import render
from workbench.reporting.run_figures import elapsed, figures
from workbench.reporting.words import number, seconds
from workbench.store import Store
from workbench.types import Record
from workbench.types.faults import faults_in

if TYPE_CHECKING:
    from rich.console import RenderableType

SECTIONS = ("training", "policy", *sections.SECTIONS)
"""What a run's numbers are about, in the order of the terminal."""


def report(
    into: Path,
    metrics: Record,
    *,
    title: str,
    example: Example | None = None,
    journal: Sequence[Entry] = (),
    command: str = "",
) -> Path:
    """Write the page of a run and return its path.

    Parameters
    ----------
    into
        The HTML file; an existing one is replaced.
    metrics
        What ``metrics.json`` holds; sections that are missing are named with the job that makes them.
    title
        Heading of the page.
    example
        An episode to show.
    journal
        What was done in the run.
    command
        The command line that writes the page; "" for none.
    """
    text = render(
        "report.html.j2",
        title=title,
        headlines=summaries.headlines(metrics),
        policy=summaries.policy_rate(metrics),
        training=summaries.training_summary(metrics),
        zoo=metrics.get("policy", {}).get("zoo"),
        labels=summaries.label_summary(metrics),
        ceiling=summaries.ceiling(metrics),
        promises=promises.promises(metrics),
        marks=promises.marks(metrics),
        unmarked=promises.unmarked(metrics),
        tables=sections.tables(metrics),
        figures=figures(metrics, example),
        elapsed=elapsed(metrics),
        fractions=FRACTIONS,
        strategies_monitor=metrics.get("strategies_monitor", ""),
        head=metrics.get("head", {}),
        bottleneck=summaries.bottleneck_words(metrics),
        corrector=summaries.corrector_words(metrics),
        benefit=summaries.benefit_words(metrics),
        doses=summaries.dose_words(metrics),
        detectors=summaries.detector_words(metrics),
        restart_s=number(metrics.get("attempts", {}).get("restart_s"), 1),
        example=example.title if example else "",
        done=done(metrics),
        commands=commands(metrics, journal, command),
        stages=stages(journal),
        facts=_facts(metrics),
        config=json.dumps(metrics["config"], indent=2) if "config" in metrics else "",
    )
    write_text(into, text)
    return into


def done(metrics: Record) -> str:
    """What was done, as far as there are numbers of it, in a sentence; "" for nothing."""
    faults, nominal = bool(metrics.get("perturbed")), summaries.policy_rate(metrics) is not None
    how = "with and without faults" if faults and nominal else "under faults" if faults else "without faults"
    judged = [
        name for name, key in (("failure monitors", "monitors"), ("recoveries", "strategies")) if metrics.get(key)
    ]
    parts = [
        f"a robot policy was run in simulation {how}" if faults or nominal else "",
        "how much of each fault it bears was measured" if metrics.get("tolerance") else "",
        "the likeliest combination of faults that fails was searched for" if metrics.get("joint") else "",
        "its failures were dated by branching from restored states" if metrics.get("labels") else "",
        f"{' and '.join(judged)} were judged on test episodes that nothing was fitted on" if judged else "",
    ]
    told = [part for part in parts if part]
    sentence = ", and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)
    return f"{sentence[:1].upper()}{sentence[1:]}." if told else ""


def commands(metrics: Record, journal: Sequence[Entry], command: str = "") -> list[str]:
    """The command lines behind the numbers, each where it was given last; of a run without journal those it kept."""
    asked = [entry.asked for entry in journal if entry.done] or list(metrics.get("commands", {}).values())
    return list(reversed(dict.fromkeys(reversed([*asked, *([command] if command else [])]))))


def stages(journal: Sequence[Entry]) -> list[str]:
    """The command lines of all stages that others are made of, each where it was done last."""
    made = [entry.command for entry in journal if entry.done and entry.of and entry.command != entry.asked]
    return list(reversed(dict.fromkeys(reversed(made))))


def terminal_tables(metrics: Record, only: Sequence[str] = SECTIONS) -> list[RenderableType]:
    """The same for the terminal; ``only`` names the sections that are wanted, and missing ones are left out."""
    made, training = sections.tables(metrics), summaries.training_summary(metrics)
    shown: list[RenderableType] = [
        *_lines(training.lines() if training is not None and "training" in only else []),
        *_policy_line(metrics, only),
        *_lines(summaries.benefit_words(metrics) if "abstention" in only else []),
        *_lines(summaries.bottleneck_words(metrics) if "crossed" in only else []),
        *_lines(summaries.dose_words(metrics) if "dose_response" in only else []),
        *_lines(summaries.corrector_words(metrics) if "corrector" in only else []),
        *_lines(summaries.detector_words(metrics) if "detectors" in only else []),
    ]
    return shown + [made[section] for section in SECTIONS if section in only and section in made]


def fault_words(store: Store) -> dict[str, str]:
    """Fault -> what happens, in the first line of the file that makes it; of the faults that a store holds."""
    drawn = set(store.episodes["perturbations"])
    faults = [fault for records in drawn for fault in faults_in(records, f"{store.path}, its perturbations")]
    targets = {fault["name"]: fault["target"] for fault in faults if "target" in fault}
    files = {name: resolve(target).__module__ for name, target in sorted(targets.items())}
    return {name: (sys.modules[file].__doc__ or "").partition("\n")[0] for name, file in files.items()}


def _lines(told: Sequence[str]) -> list[RenderableType]:
    """Sentences, a line each; none of none."""
    from rich.console import Group
    from rich.text import Text

    # A group, because the console runs strings that follow one another together.
    return [Group(*map(Text, told))] if told else []


def _policy_line(metrics: Record, only: Sequence[str]) -> list[RenderableType]:
    rate = summaries.policy_rate(metrics)
    if rate is None or "policy" not in only:
        return []
    return [f"policy: {rate.percent} success without faults ({rate.counted})"]


def _facts(metrics: Record) -> dict[str, str]:
    """What is needed to do the run again."""
    facts = {"seed": str(metrics["seed"])} if "seed" in metrics else {}
    if "wall_s" in metrics:
        jobs = ", ".join(f"{name} {seconds(value)}" for name, value in metrics.get("jobs", {}).items())
        facts["wall time"] = seconds(metrics["wall_s"]) + (f" ({jobs})" if jobs else "")
    facts |= {name: str(metrics[name]) for name in ("store", "recording", "export") if name in metrics}
    versions = metrics.get("versions", {})
    facts |= {"versions": ", ".join(f"{name} {version}" for name, version in versions.items())} if versions else {}
    return facts
