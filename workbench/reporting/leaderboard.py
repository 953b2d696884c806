"""A benchmark of monitors as one page, as tables on the terminal, and as files for other programs and for papers.

A leaderboard is plain data (see :data:`KEYS`); all its numbers are ``figures``: a value, its 95 % interval and the
episodes behind it.  Page, terminal and files are made from the same tables, so they never disagree.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from workbench.benchmarking.metrics import AIM
from workbench.config import write_text
from workbench.errors import ConfigError, UnknownNameError
from workbench.reporting.board_figures import audit_figures, clock, fraction_figure, timing_figure
from workbench.reporting.metrics import METRICS, head_of
from workbench.reporting.page import Headline, render
from workbench.reporting.standings import KINDS, figure_cell, seeds, standing, tables, value
from workbench.reporting.table import BASELINE, Table
from workbench.reporting.words import p_value, percent
from workbench.types import Record
from workbench.types.text import as_markdown, as_markdown_block

KEYS = {
    "protocol": "name of the protocol, such as unseen_family",
    "about": "one paragraph: what is fitted, selected, calibrated and judged on what",
    "level": "nominal false-alarm rate that every monitor was calibrated for",
    "seeds": "training seeds",
    "command": "what makes the leaderboard again",
    "stores": "store, task, policy, splits (name -> episodes), test (episodes), failures (among them)",
    "rows": "monitor, score, window, calibrator, kind, guarantee, figures (metric -> figure), tasks and families "
    "(name -> metric -> figure); optionally selected",
    "costs": "score, milliseconds (figure; a scene and call on one core), fit_s",
    "pairs": "first, second, metric, difference (figure), p_value",
    "audit": "monitor, calibrator, task, errors (what is counted), count, episodes, rate, ci95, level, promised, "
    "p_value, broken, chance (of being marked where the promise is kept)",
    "drift": "monitor, task, stream, noticed_after (episodes, or None), episodes",
    "refused": "part, store, reason",
}
"""What a leaderboard holds."""
SHOWN_PAIRS = 12
"""How many comparisons the terminal shows."""


def write(leaderboard: Record, folder: Path) -> Path:
    """Write ``leaderboard.html`` and return its path; beside it everything in other forms.

    The tables of the page stand in ``leaderboard.md`` and ``leaderboard.tex``, every figure in ``leaderboard.csv`` (see
    :func:`tidy`), and the leaderboard as it was given in ``leaderboard.json``.

    Raises
    ------
    ConfigError
        if the leaderboard lacks a key, has an unknown kind of monitor, or a number that is not finite.
    """
    _check(leaderboard)
    try:
        text = json.dumps(leaderboard, allow_nan=False)
    except ValueError as error:
        raise ConfigError(
            f"a number of the leaderboard is not finite ({error}): use null for one without value"
        ) from None
    made = tables(leaderboard)
    page = folder / "leaderboard.html"
    written = {
        ".json": text,
        ".csv": _csv(leaderboard),
        ".md": _markdown(leaderboard, made),
        ".tex": _latex(made),
        ".html": _page(leaderboard, made),
    }
    for suffix, content in written.items():
        write_text(page.with_suffix(suffix), content)
    return page


def terminal(leaderboard: Record) -> list[Table]:
    """Standing, audit, comparisons and what was refused, for the terminal."""
    _check(leaderboard)
    made = tables(leaderboard)
    shown = [made["standing"], made["audit"], made["pairs"].first(SHOWN_PAIRS), made["refused"]]
    return [table for table in shown if table.rows]


def tidy(leaderboard: Record) -> list[Record]:
    """One record a monitor, task or family, and metric; ``all`` where it is over all of them."""
    return [
        {
            "protocol": leaderboard["protocol"],
            **{key: row[key] for key in ("monitor", "score", "window", "calibrator", "kind")},
            "task": task,
            "family": family,
            "metric": metric,
            **{key: figure[key] for key in ("value", "low", "high")},
            "episodes": figure["n"],
        }
        for row in leaderboard["rows"]
        for task, family, figures in _parts(row)
        for metric, figure in figures.items()
    ]


def headlines(leaderboard: Record) -> list[Headline]:
    """The numbers to read first."""
    rows = [row for row in standing(leaderboard) if row["kind"] != BASELINE]
    found = [_best_ranking(rows), _best_in_time(leaderboard, rows), _hardest_pair(leaderboard)]
    promised = [entry for entry in leaderboard["audit"] if entry["promised"]]
    if promised:
        kept = sum(not entry["broken"] for entry in promised)
        sure = f"{kept} of {len(promised)}, a monitor and a task each"
        what = f"of promised levels ({percent(leaderboard['level'])} false alarms) that no test contradicts"
        found.append(Headline(percent(kept / len(promised)), what, sure))
    return [row for row in found if row]


def promises(leaderboard: Record) -> dict[str, list[str]]:
    """Guarantee -> the monitors that make it, word for word."""
    made: dict[str, list[str]] = {}
    for row in leaderboard["rows"]:
        made.setdefault(row["guarantee"], []).append(row["monitor"])
    return made


def _check(leaderboard: Record) -> None:
    missing = [key for key in KEYS if key not in leaderboard]
    if missing:
        raise ConfigError(f"a leaderboard holds {', '.join(KEYS)}, but this one lacks {', '.join(missing)}")
    for row in leaderboard["rows"]:
        if row["kind"] not in KINDS:
            raise UnknownNameError("kind of monitor", row["kind"], KINDS)


def _best_ranking(rows: Sequence[Record]) -> Headline | None:
    if not rows or value(rows[0]["figures"].get(AIM)) is None:
        return None
    best = figure_cell(rows[0]["figures"][AIM], "ratio")
    what = f"time-matched AUROC by half the deadline, by {rows[0]['score']} (best of {len(rows)})"
    return Headline(best.text, what, f"{best.sure}; the clock alone has 0.50")


def _best_in_time(leaderboard: Record, rows: Sequence[Record]) -> Headline | None:
    """Of the scores whose false alarms may lie at the level or below, the one that is most often in time."""
    honest = [
        row
        for row in rows
        if value(row["figures"].get("actionable_recall")) is not None
        and (low := row["figures"].get("fpr_nominal", {}).get("low")) is not None
        and low <= leaderboard["level"]
    ]
    if not honest:
        return None
    best = max(honest, key=lambda row: float(row["figures"]["actionable_recall"]["value"]))
    recall, alarms = (figure_cell(best["figures"][name], "rate") for name in ("actionable_recall", "fpr_nominal"))
    what = f"of failures caught before the point of no return, by {best['score']} (best of {len(honest)})"
    return Headline(recall.text, what, f"{recall.sure} · false alarms {alarms.plain}")


def _hardest_pair(leaderboard: Record) -> Headline | None:
    """The monitor that is compared first, against that of the others which it beats by least."""
    pairs = [
        pair for pair in leaderboard["pairs"]
        if all(pair[key] == leaderboard["pairs"][0][key] for key in ("first", "metric"))
        and value(pair["difference"]) is not None
    ]  # fmt: skip
    if not pairs:
        return None
    pair = min(pairs, key=lambda pair: float(pair["difference"]["value"]))
    difference = figure_cell(pair["difference"], "signed")
    among = f", the best of {len(pairs)} others" if len(pairs) > 1 else ""
    what = f"{head_of(pair['metric'])}, {pair['first']} against {pair['second']}{among}"
    return Headline(difference.text, what, f"{difference.sure} · p {p_value(pair['p_value'])}")


def _parts(row: Record) -> Iterable[tuple[str, str, Mapping[str, Record]]]:
    yield "all", "all", row["figures"]
    for task, figures in (row.get("tasks") or {}).items():
        yield task, "all", figures
    for family, figures in (row.get("families") or {}).items():
        yield "all", family, figures


def _csv(leaderboard: Record) -> str:
    records = tidy(leaderboard)
    names = ["protocol", "monitor", "score", "window", "calibrator", "kind", "task", "family", "metric"]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*names, "value", "low", "high", "episodes"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _written(made: Mapping[str, Table]) -> list[Table]:
    """The tables that stand in files: the ranking, which is drawn, is a column of the standing."""
    return [table for name, table in made.items() if table.rows and name != "ranking"]


def _markdown(leaderboard: Record, made: Mapping[str, Table]) -> str:
    title, about = (as_markdown(leaderboard[key]) for key in ("protocol", "about"))
    head = [f"# Monitors, {title}", about, as_markdown_block(leaderboard["command"], "sh")]
    return "\n\n".join([*head, *(table.markdown("##") for table in _written(made))]) + "\n"


def _latex(made: Mapping[str, Table]) -> str:
    return "\n".join(["% needs \\usepackage{booktabs}\n", *(table.latex() for table in _written(made))])


def _page(leaderboard: Record, made: Mapping[str, Table]) -> str:
    rows = standing(leaderboard)
    return render(
        "leaderboard.html.j2",
        leaderboard=leaderboard,
        tables=made,
        headlines=headlines(leaderboard),
        kinds=[kind for kind in KINDS if any(row["kind"] == kind for row in leaderboard["rows"])],
        seeds=seeds(leaderboard),
        level=percent(leaderboard["level"]),
        clock=clock(leaderboard),
        figures={
            "timing": timing_figure(rows, leaderboard["level"]),
            "matched": fraction_figure(rows, "matched_auroc"),
            "common": fraction_figure(rows, "auroc"),
        },
        audits=audit_figures(leaderboard),
        metrics=METRICS,
        promises=promises(leaderboard),
    )
