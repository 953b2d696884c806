"""Do the monitors keep their promise?  Realised false alarms over random splits, scores refitted each time.

The nominal successes of a finished run are dealt anew into fit, calibrate and test; every score is fitted and every
monitor calibrated on its own part, and its alarms on the held-out successes are counted.  The claim is that the mean
over the splits is at most the level plus two standard errors of that mean.

The splits share their episodes, so their rates are not independent and the standard error over splits is too small a
measure of what another set of episodes would give; the interval over episodes stands beside it.

Run: make verify WHAT=audit
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
from rich.table import Table

from workbench.config import Run, compose
from workbench.execution.progress import console
from workbench.monitoring.assembly import MonitorSettings
from workbench.monitoring.episodes import Known
from workbench.monitoring.fitting import fit_known
from workbench.monitoring.reading import offline
from workbench.store import Store
from workbench.types import Split

REFERENCES = ("always",)
"""Baselines that promise nothing."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="folder with runs/ and datasets/")
    parser.add_argument("--name", default="quickstart")
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    run = Run(compose([f"name={options.name}"]), options.root)
    if not run.store.exists():
        print(f"{run.store} is missing; run first: make quickstart", file=sys.stderr)
        return 2
    episodes = nominal_successes(Store.open(run.store))
    sizes = parts(len(episodes))
    rates: dict[str, list[float]] = {}
    for number in range(options.splits):
        for name, rate in one_split(run, episodes, sizes, number).items():
            rates.setdefault(name, []).append(rate)
    return verdict(rates, run.config["monitor"]["level"], len(episodes), sizes)


def nominal_successes(store: Store) -> list[Known]:
    """Unperturbed successes, whatever their split."""
    rows = store.episodes
    chosen = [n for n in range(len(store)) if rows["perturbation"][n] == "" and rows["success"][n]]
    return [(store.calls(n), store.truth(n)) for n in chosen]


def parts(total: int) -> dict[Split, int]:
    """How many episodes each split gets: as in the quickstart, 80 : 100 : 100."""
    fit, calibrate = total * 80 // 280, total * 100 // 280
    return {"fit": fit, "calibrate": calibrate, "test": total - fit - calibrate}


def one_split(run: Run, episodes: list[Known], sizes: dict[Split, int], number: int) -> dict[str, float]:
    """Share of held-out successes with an alarm, for every monitor."""
    order = np.random.default_rng([run.seed, number]).permutation(len(episodes))
    ends = np.cumsum([sizes["fit"], sizes["calibrate"]])
    dealt = {
        split: [(dataclasses.replace(episodes[i][0], split=split), episodes[i][1]) for i in part]
        for split, part in zip(("fit", "calibrate", "test"), np.split(order, ends), strict=True)
    }
    monitors = fit_known(
        run.config["score"],
        run.config["calibrator"],
        dealt["fit"],
        dealt["calibrate"],
        settings=MonitorSettings(**run.config["monitor"]),
        seed=run.seed + number,
    )
    readings = offline(list(monitors.values()), [calls for calls, _ in dealt["test"]])
    return {name: float(np.mean([each.alarm.any() for each in found])) for name, found in readings.items()}


def verdict(rates: dict[str, list[float]], level: float, episodes: int, sizes: dict[Split, int]) -> int:
    """Print the table; non-zero if a monitor that promises something breaks it."""
    table = Table(title=f"false alarms at level {level}", title_justify="left")
    for column in ("monitor", "mean", "standard error", "lowest", "highest", "bound", "verdict"):
        table.add_column(column, justify="left" if column == "monitor" else "right", no_wrap=True)
    broken = []
    for name, found in rates.items():
        mean, error = float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(len(found)))
        promised = name.split("+")[0] not in REFERENCES
        holds = mean <= level + 2 * error
        if promised and not holds:
            broken.append(name)
        said = ("holds" if holds else "BROKEN") if promised else "promises nothing"
        numbers = (mean, error, min(found), max(found), level + 2 * error)
        table.add_row(name, *(f"{number:.3f}" for number in numbers), said)
    console.print(table)
    splits = len(next(iter(rates.values())))
    dealt = ", ".join(f"{count} {split}" for split, count in sizes.items())
    console.print(f"{splits} random splits (seeds 0..{splits - 1}) of {episodes} nominal successes: {dealt}")
    console.print(f"does not hold: {', '.join(broken)}" if broken else "holds for every monitor")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
