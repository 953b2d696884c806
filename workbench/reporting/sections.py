"""The numbers of a run as tables, a section each; page and terminal show the same ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from workbench.benchmarking.metrics import AIM
from workbench.monitoring.promises import FALSE_ALARMS, MISSED
from workbench.recovery.attempts import CLOCK, TO_THE_END
from workbench.recovery.dose import WINDOW
from workbench.recovery.gains import PLACEBO
from workbench.reporting import charts
from workbench.reporting.metrics import METRICS
from workbench.reporting.page import MARK
from workbench.reporting.promises import audit, is_baseline, is_broken, name_of, promised
from workbench.reporting.summaries import counts, fault_rates
from workbench.reporting.table import BASELINE, Cell, Column, Row, Table, numbers
from workbench.reporting.words import (
    DASH,
    NONE,
    Rate,
    count,
    estimate,
    interval,
    number,
    p_value,
    percent,
    points,
    significant,
    step,
)
from workbench.types import Record

SHARE_AXIS = Markup('<span aria-hidden="true">0 to 100 %</span>')
"""Head of a column of bars."""
GAINS: Mapping[str, tuple[str, str]] = {
    "over_redraw": ("over luck,\npoints", "against the same policy with fresh noise, within the task's deadline"),
    "over_placebo": ("over placebo,\npoints", "against the same policy with fresh noise, both to the horizon"),
    "always_over_redraw": ("from step 0,\nover luck", "without any monitor, in every episode, within the deadline"),
    "always_over_placebo": ("from step 0,\nover placebo", "without any monitor, in every episode, to the horizon"),
}
"""Key of a strategy's row -> title of its column, and what it says."""
SOLVABLE = "the expert wins from step 0 or from the onset, or the point of no return lies behind step 0"
ON_THE_TERMINAL = ("over_redraw", "over_placebo")


def tables(metrics: Record) -> dict[str, Table]:
    """The tables of the sections whose numbers are there, by name."""
    made = {name: make(metrics) for name, make in SECTIONS.items()}
    return {name: table for name, table in made.items() if table.rows}


def instruction_table(metrics: Record) -> Table:
    """One row an instruction that was asked for, of the episodes without faults."""
    rows = []
    for row in metrics.get("instructions", []):
        rows.append(Row.of(row["instruction"], *_success(Rate(row["successes"], row["episodes"]))))
    columns = [Column("instruction"), *numbers("success", "episodes", "95 % interval")]
    note = "Success without faults by what was asked for. Intervals are exact (Clopper and Pearson), 95 %."
    return Table("instructions, without faults", columns, rows, note)


def misled_table(metrics: Record) -> Table:
    """One row a fault of the language: its episodes, and in how many of them which goal was fulfilled."""
    keys = ("episodes", "asked", "told", "another", "none")
    rows = [Row.of(row["perturbation"], *(row[key] for key in keys)) for row in metrics.get("misled", [])]
    goals = ("did what\nwas asked", "what was\ntold instead", "another\ngoal", "none")
    columns = [Column("fault of\nthe language"), *numbers("episodes", *goals)]
    note = (
        "In episodes with a fault of the language: how many fulfilled, at any step, the goal that the episode asked "
        "for, the one that was told instead, another one, or none. The first of these counts."
    )
    return Table("which instruction was followed", columns, rows, note)


def fault_table(metrics: Record) -> Table:
    """One row a fault, the most harmful first."""
    words = metrics.get("fault_words", {})
    found = fault_rates(metrics)
    described = any(words.get(row["perturbation"]) for _, row in found)
    grouped = any(row.get("channel") for _, row in found)
    rows = []
    for rate, row in found:
        name = row["perturbation"]
        about = [*([words.get(name, "")] if described else []), *([row.get("channel", "")] if grouped else [])]
        label = f"{name}: success {rate.percent}, 95 % interval {rate.interval}"
        bar = Cell(drawn=charts.interval_bar(rate.share or 0.0, rate.bounds, label))
        rows.append(Row.of(name, *about, *_success(rate), bar))
    columns = [
        Column("fault"),
        *([Column("what happens", spare=2, terminal=False)] if described else []),
        *([Column("channel", spare=3, terminal=False)] if grouped else []),
        *numbers("success", "episodes"),
        Column("95 % interval", numeric=True, spare=1),
        Column("", drawing=SHARE_AXIS),
    ]
    note = (
        "How often the same policy still succeeds when a fault is injected, the most harmful first. Whiskers and "
        "intervals are exact (Clopper and Pearson)."
    )
    return Table("faults", columns, rows, note)


def mode_table(metrics: Record) -> Table:
    """Perturbations against the failure modes that were seen; without rows if nothing failed.

    The most frequent mode stands first; a cell is a count, empty for none.  Episodes without a fault stand last.
    """
    found = metrics.get("modes", [])
    totals: dict[str, int] = {}
    for row in found:
        totals[row["failure_mode"]] = totals.get(row["failure_mode"], 0) + row["episodes"]
    modes = sorted((mode for mode in totals if mode), key=lambda mode: (-totals[mode], mode))
    seen = {(row["perturbation"], row["failure_mode"]): row["episodes"] for row in found}
    names = sorted({row["perturbation"] for row in found}, key=lambda name: (not name, name)) if modes else []
    rows = []
    for name in names:
        episodes = [seen.get((name, mode), 0) for mode in (*modes, "")]
        rows.append(Row.of(name or "no fault", *(Cell(str(each or ""), each) for each in episodes), sum(episodes)))
    columns = [Column("injected"), *numbers(*(mode.replace(" ", "\n") for mode in modes), "success", "episodes")]
    note = (
        "Each failed test episode is called by one failure mode, read from the simulator's predicates without knowing "
        "which fault was injected: of the modes that stand when anything is seen last, the one that has stood longest. "
        "Counts of episodes; successes are called by none."
    )
    return Table("failure modes", columns, rows, note)


def tolerance_table(metrics: Record) -> Table:
    """One row a perturbation and axis."""
    found = metrics.get("tolerance", [])
    rows = []
    for row in found:
        tolerance, (low, high), contradicted = row["tolerance"], row["interval"], bool(row["contradictions"])
        rows.append(
            Row.of(
                row["perturbation"],
                row["axis"] or "drawn",
                row["parameter"],
                Cell(significant(tolerance), tolerance, (low, high) if tolerance else None),
                f"{significant(low)}{DASH}{significant(high)}" if tolerance else NONE,
                f"{significant(row['at']['0.25'])} / {significant(row['at']['0.75'])}",
                row["episodes"],
                Cell(row["verdict"] + (", but not monotone" if contradicted else ""), mark=contradicted),
            )
        )
    columns = [
        *map(Column, ("fault", "axis", "parameter")),
        *numbers("tolerance", f"{_confidence(found)} interval"),
        Column("25 % / 75 % fail", numeric=True, short="25 / 75 %"),
        *numbers("episodes"),
        Column("verdict"),
    ]
    note = (
        "The magnitude at which success falls under one half, found by bisection with "
        f"{sum(row['episodes'] for row in found)} episodes. It assumes that more of a fault never helps; {MARK} marks "
        "a fault whose episodes say otherwise."
    )
    return Table("tolerances: success falls under one half", columns, rows, note)


def joint_table(metrics: Record) -> Table:
    """The likeliest failing combination, a row a fault, then how sure it is; a column for each way of looking."""
    found = metrics.get("joint", [])
    labels = [(label, node["parameter"]) for row in found[:1] for label, node in row["dials"].items()]
    rows = [Row.of(name, parameter, *(_setting(row, name) for row in found)) for name, parameter in labels]
    distances = [Cell(number(row["distance"]), row["distance"]) for row in found]
    sure = [interval(row["interval"]) if row["combination"] else NONE for row in found]
    facts: dict[str, Sequence[Cell | str | int]] = {
        "distance from no fault": distances,
        "fails, in fresh episodes": [count(row["failures"], row["fresh_episodes"]) for row in found],
        f"{_confidence(found)} interval": sure,
        "points tried that fail": [count(row["failing_points"], row["points"]) for row in found],
        "episodes": [row["episodes"] for row in found],
    }
    rows += [Row.of("", name, *cells) for name, cells in facts.items() if found]
    columns = [Column("fault"), Column(""), *numbers(*(row["name"] for row in found))]
    note = (
        "The likeliest combination of faults that fails, judged on fresh episodes: the one nearest to no fault at all, "
        "each severity running from 0 (mildest) to 1 (worst). Beside it, what sampling at random finds with the same "
        "budget."
    )
    return Table("the likeliest combination that fails", columns, rows, note)


def label_table(metrics: Record) -> Table:
    """One row a label: how many failures have it, where it lies, how sure that is, and what it cost."""
    labels = metrics.get("labels") or {}
    columns = [Column("label"), *numbers("failures", "median step", "interval, steps", "simulated steps each")]
    if not labels:
        return Table("labels", columns, [])
    labelled, steps = labels.get("labelled", labels["with_onset"]), labels.get("simulated_steps", {})

    def row(name: str, found: int, key: str, width: str = "", search: str = "") -> Row:
        cost = steps[search] / labelled if labelled and search in steps else None
        medians = [Cell(step(labels.get(each)), labels.get(each)) for each in (key, width)]
        return Row.of(name, count(found, labels["failed"]), *medians, Cell(number(cost, 0), cost))

    rows = [
        row("effect", labels.get("with_effect", 0), "median_effect"),
        row("onset", labels["with_onset"], "median_onset", "median_onset_interval_steps", "onset"),
        row("point of no return", labelled, "median_pnr", "median_pnr_interval_steps", "point of no return"),
        row("decisive step", labels.get("decided", 0), "median_decisive", search="decisive step"),
    ]
    if labels.get("with_lost"):
        rows.insert(3, row("lost", labels["with_lost"], "median_lost", search="lost"))
    return Table("labels", columns, rows)


def monitor_table(metrics: Record) -> Table:
    """One row a monitor; baselines last."""
    rows = []
    for row in sorted(metrics.get("monitors", []), key=is_baseline):
        level, matched = promised(row), (row.get("matched_auroc") or {}).get("0.5")
        rows.append(
            Row.of(
                Cell(name_of(row), title=row.get("guarantee") or ""),
                str(row.get("window") or NONE),
                audit(row.get("fpr_nominal"), is_broken(row, FALSE_ALARMS)),
                Cell(percent(level), level),
                audit(row.get("fpr_perturbed_success"), False),
                Cell(percent(row.get("tpr")), row.get("tpr"), mark=is_broken(row, MISSED)),
                counts(row.get("actionable_recall")),
                Cell(number(matched), matched),
                Cell(number(row.get("detection_time")), row.get("detection_time")),
                Cell(number(row.get("twa")), row.get("twa")),
                kind=BASELINE if is_baseline(row) else "",
            )
        )
    columns = [
        Column("monitor"),
        Column("window", spare=1, terminal=False),
        _metric("fpr_nominal", "false alarms,\nno fault", "false alarms"),
        Column("level", numeric=True, help="false alarms that it promises at most"),
        _metric("fpr_perturbed_success", "alarms, success\ndespite fault", terminal=False),
        _metric("tpr", "failures\ncaught", "caught"),
        _metric("actionable_recall", "in time"),
        _metric(AIM, "AUROC 0.5,\nmatched"),
        _metric("detection_time", "mean\nalarm", terminal=False),
        _metric("twa", "TWA"),
    ]
    note = (
        "Test episodes only. Baselines, which look at no policy output, stand last: a score is worth what it adds to "
        "them."
    )
    return Table("monitors", columns, rows, note)


def strategy_table(metrics: Record) -> Table:
    """One row a strategy."""
    rows = []
    for row in metrics.get("strategies", []):
        saved, kept = Rate(*row["rescued"]), Rate(*row["kept"])
        broken, all_alarmed = Rate(kept.whole - kept.part, kept.whole), saved.whole + kept.whole
        p, steps = row.get("p_vs_placebo"), row.get("median_steps")
        rows.append(
            Row.of(
                row["name"],
                str(row.get("alarmed", NONE)),
                Cell(saved.count, saved.share, saved.bounds, saved.interval),
                Cell(broken.count, broken.share, broken.bounds, broken.interval),
                count(saved.part + kept.part, all_alarmed),
                *(_gain(row.get(key)) for key in GAINS),
                Cell(p_value(p), p),
                Cell(number(steps, 0), steps),
            )
        )
    columns = [
        Column("strategy"),
        Column("alarmed", numeric=True, spare=1),
        *numbers("rescued", "broken"),
        Column("succeed,\nof all alarmed", numeric=True, terminal=False),
        *(
            Column(title, numeric=True, help=said, terminal=key in ON_THE_TERMINAL)
            for key, (title, said) in GAINS.items()
        ),
        Column("p against\nplacebo", numeric=True, short="p vs placebo"),
        Column("median length,\nsteps", numeric=True, short="median steps"),
    ]
    note = (
        "Rescued and broken are counted against what happened, and luck and waiting are among them: what a strategy is "
        "worth is its gain over the same policy with fresh noise and the same time, in percentage points."
    )
    return Table("strategies", columns, rows, note)


def abstention_table(metrics: Record) -> Table:
    """One row a predicted benefit: in how many alarmed episodes the arm acts from it on, and what it gains there."""
    rows = []
    for row in metrics.get("abstention", []):
        rate = Rate(row["acted"], row["alarmed"])
        lost, won = row["gain"]["only_control"], row["gain"]["only_arm"]
        rows.append(
            Row.of(
                f"{100 * row['threshold']:+.1f}" + (", calibrated" if row["calibrated"] else ""),
                Cell(rate.count, rate.share, rate.bounds),
                _gain(row["gain"]),
                f"{won} : {lost}",
            )
        )
    columns = [
        Column("predicted benefit,\npoints", short="benefit from"),
        Column("acts behind", numeric=True, help="alarms of the test episodes"),
        Column("over placebo,\npoints", numeric=True, help="where it acts, both to the horizon"),
        Column("alone won :\nlost", numeric=True, help="episodes in which only one of the two succeeds"),
    ]
    note = (
        "Test episodes behind the first alarm: what the strategy gains if it acts only from so much predicted benefit "
        "on. The row that was calibrated is the one by which it acts; of the others nothing is promised."
    )
    return Table("when to act", columns, rows, note)


def bottleneck_table(metrics: Record) -> Table:
    """One row an arm: what it wins of the failed episodes, by who says when."""
    rows = []
    for row in metrics.get("bottleneck", []):
        rates = [Rate(row[key], row["episodes"]) for key in ("by_monitor", "by_oracle", "by_start")]
        rates.append(Rate(row.get("won_solvable", 0), row.get("solvable", 0)))
        rows.append(Row.of(row["name"], *(Cell(rate.count, rate.share, rate.bounds, rate.interval) for rate in rates)))
    columns = [
        Column("strategy"),
        Column("by the monitor", numeric=True, help="behind its first alarm; an episode without one is lost"),
        Column("by the onset", numeric=True, help="behind an alarm at the first policy call from the onset on"),
        Column("from step 0", numeric=True, help="without any monitor"),
        Column("of the solvable,\nby the monitor", numeric=True, help=SOLVABLE, short="of the solvable"),
    ]
    note = (
        "Failed test episodes that have an onset, and how many are won to the horizon. Where the first two columns are "
        "alike, a better monitor would win nothing more; where no strategy wins, no alarm would. The last column is of "
        f"all failures that could have been won: {SOLVABLE}."
    )
    return Table("what is won of the failures", columns, rows, note)


def crossed_table(metrics: Record) -> Table:
    """One row an arm: successes of all test episodes by who says when and who recovers, and what perfection gains."""
    cells = ("unaided", "by_monitor", "by_oracle", "expert_by_monitor", "expert_by_oracle")
    gains = ("perfect_alarm", "perfect_recovery", "recovery_over_alarm")
    rows = []
    for row in metrics.get("crossed", []):
        rates = [Rate(row[key], row["episodes"]) for key in cells]
        counted = [Cell(rate.count, rate.share, rate.bounds) for rate in rates]
        rows.append(Row.of(row["name"], *counted, *(_gain(row[key]) for key in gains)))
    columns = [
        Column("strategy"),
        Column("without", numeric=True, help="as the episodes were", terminal=False),
        *numbers("monitor,\nstrategy", "oracle,\nstrategy", "monitor,\nexpert", "oracle,\nexpert"),
        Column("perfect alarm,\npoints", numeric=True, help="oracle less monitor, with the strategy"),
        Column("perfect recovery,\npoints", numeric=True, help="expert less strategy, behind the monitor"),
        Column("recovery less\nalarm, points", numeric=True, help="which of the two gains more", terminal=False),
    ]
    note = (
        "Successes in all test episodes. The oracle alarms at the onset of failures alone; without an alarm an episode "
        "ends as it did. Gains are paired, in the same episodes with the same noise, with 95 % intervals (Newcombe)."
    )
    return Table("alarm or recovery", columns, rows, note)


def family_table(metrics: Record) -> Table:
    """One row a family of faults and strategy."""
    rows = []
    for row in metrics.get("families", []):
        saved, kept = Rate(*row["rescued"]), Rate(*row["kept"])
        broken = Rate(kept.whole - kept.part, kept.whole)
        rows.append(
            Row.of(
                row["family"],
                row["name"],
                count(row["alarmed"], row["episodes"]),
                Cell(saved.count, saved.share, saved.bounds, saved.interval),
                Cell(broken.count, broken.share, broken.bounds, broken.interval),
                Cell(NONE) if row["name"] == PLACEBO else _gain(row["over_placebo"]),
                count(row["silent"], row["failed"]),
            )
        )
    columns = [
        Column("episodes with"),
        Column("strategy"),
        *numbers("alarmed", "rescued", "broken"),
        Column("over placebo,\npoints", numeric=True, help=GAINS["over_placebo"][1]),
        Column("silent\nfailures", numeric=True, help="failures in which the monitor never alarms"),
    ]
    note = (
        "A fault is transient if it ends before the deadline. Channels overlap with these. Intervals of rescued and "
        "broken are exact (Clopper and Pearson); gains are paired, and nothing is corrected for the number of rows."
    )
    return Table("strategies by kind of fault", columns, rows, note)


def dose_table(metrics: Record) -> Table:
    """One row a time at which a strategy acts: what it and the placebo win there."""
    found = metrics.get("dose_response") or {"rows": []}
    rows = []
    for row in found["rows"]:
        rates = [Rate(row[key], row["episodes"]) for key in ("won", "placebo")]
        rows.append(
            Row.of(
                f"{row['group']} left" if row["by"] == WINDOW else row["group"],
                row["name"],
                str(row["episodes"]),
                *(Cell(rate.count, rate.share, rate.bounds, rate.interval) for rate in rates),
                _gain(row["over_placebo"]),
                Cell(p_value(row["p_vs_placebo"]), row["p_vs_placebo"]),
            )
        )
    columns = [
        Column("first alarm", help="against the labels of its own episode"),
        Column("strategy"),
        *numbers("failures", "succeed", "placebo"),
        Column("over placebo,\npoints", numeric=True, help=GAINS["over_placebo"][1]),
        Column("p against\nplacebo", numeric=True, short="p vs placebo"),
    ]
    note = (
        "Failed test episodes with a measured point of no return, by when the first alarm comes; control steps left "
        "until that point, from which the expert fails within the deadline. Successes are to the horizon. Gains are "
        "paired, with 95 % intervals (Newcombe); p is corrected for all rows that are grouped by the same."
    )
    return Table("by how late it acts", columns, rows, note)


def detector_table(metrics: Record) -> Table:
    """One row a detector: how well it tells failures apart, and what acting on its first alarms is worth."""
    found = metrics.get("detectors") or {"rows": []}
    rows = []
    for row in found["rows"]:
        alarmed = (Cell(percent(row[key]), row[key]) for key in ("alarmed_failures", "alarmed_successes"))
        areas = (Cell(estimate(row[key]), row[key]["value"]) for key in ("auroc", "matched_auroc"))
        gains = (Cell(estimate(row[key], 1), row[key]["value"]) for key in (*ON_THE_TERMINAL, "ahead_of_always"))
        rows.append(Row.of(row["detector"].replace("+", " + "), *alarmed, *areas, *gains))
    columns = [
        Column("detector"),
        Column("failures\nalarmed", numeric=True, spare=1),
        Column("successes\nalarmed", numeric=True, spare=1),
        Column("AUROC 0.5", numeric=True, help="of the highest scores by half the deadline", terminal=False),
        Column("AUROC 0.5,\nmatched", numeric=True, help="each pair at a time at which both were running"),
        *(Column(GAINS[key][0], numeric=True, help=GAINS[key][1]) for key in ON_THE_TERMINAL),
        Column("ahead of\nalways", numeric=True, help="over the placebo, less what always gains", spare=2),
    ]
    note = (
        "The strategy acts at a detector's first alarm; an episode without one ends as it did, for a gain of 0. Gains "
        "are in successes per 100 test episodes, alarmed or not. Always acts at step 0 of every episode, without a "
        "detector. Intervals are over episodes (bootstrap)."
    )
    return Table("detectors by what acting on them is worth", columns, rows, note)


def _gain(found: Record | None) -> Cell:
    """A gain in percentage points with its interval; a dash for none."""
    if not found or found["gain"] is None:
        return Cell(NONE)
    return Cell(points(found["gain"], found["low"], found["high"]), found["gain"])


def attempt_table(metrics: Record) -> Table:
    """One row a way of giving attempts up: what is given up, and how long it takes until the task is done."""
    found = metrics.get("attempts") or {"rows": []}
    rows = []
    for row in found["rows"]:
        end, name = found["clock_s"], row["name"]
        told = f"{name}, at {number(end, 1)} s" if name == CLOCK and end is not None else name
        rows.append(
            Row.of(
                told + ("" if row["pays"] or name == TO_THE_END else ", does not pay"),
                *(Cell(percent(row[key]), row[key]) for key in ("tpr", "fpr")),
                Cell(number(row["predicted"]["mean_s"], 1), row["predicted"]["mean_s"]),
                *(_seconds(row, key) for key in ("executed", "saved", "over_clock")),
            )
        )
    columns = [
        Column("attempts end"),
        Column("failures\ngiven up", numeric=True, spare=1),
        Column("successes\ngiven up", numeric=True, spare=1),
        Column("predicted,\nseconds", numeric=True, short="predicted s"),
        Column("carried out,\nseconds", numeric=True, short="carried out s"),
        Column("saved,\nseconds", numeric=True, short="saved s"),
        Column("ahead of the\nclock, seconds", numeric=True, short="ahead of clock s"),
    ]
    return Table("attempts until the task is done", columns, rows)


def _seconds(row: Record, key: str) -> Cell:
    """Seconds with their interval, of which an end may be missing: it is infinite then."""
    value, bounds = row[f"{key}_s"], row[f"{key}_ci95"]
    if value is None:
        return Cell("never")
    if value == bounds[0] == bounds[1] == 0:  # what it is held against itself
        return Cell(NONE)
    low, high = ("∞" if bound is None else number(bound, 1) for bound in bounds)
    return Cell(number(value, 1), value, tuple(bounds) if None not in bounds else None, f"{low} to {high}")


def correction_table(metrics: Record) -> Table:
    """One row a failure mode and kind of candidate: how many, and how many are verified."""
    found = metrics.get("corrections") or {"rows": []}
    rows = []
    for row in found["rows"]:
        rates = [Rate(row[key], row["candidates"]) for key in ("once", "verified", "in_time", "by_expert")]
        shown = (Cell(rate.count, rate.share, rate.bounds, rate.interval) for rate in rates)
        rows.append(Row.of(row["failure_mode"], row["kind"], *shown))
    columns = [
        Column("failure mode"),
        Column("candidate"),
        Column("succeeds\nonce", numeric=True, short="once", help="in the first branch: luck is among them"),
        Column("verified", numeric=True, help="the policy wins at least half of its branches, and more than luck does"),
        Column("in the task's\ntime", numeric=True, short="in time", help="the same within the task's deadline"),
        Column("won by the\nexpert", numeric=True, short="by expert", help="the expert goes on in the policy's place"),
    ]
    pairs = found.get("verified", 0)
    cost = f" {found['seconds'] / pairs:.1f} s of CPU a verified one." if pairs else ""
    note = (
        "Motions from failing states, each replayed from the exact state. The placebo is no motion: there it says from "
        f"how many calls luck alone wins at least half of the branches.{cost}"
    )
    return Table("corrections", columns, rows, note)


def corrector_table(metrics: Record) -> Table:
    """One row a place of calls and motion: what it comes to."""
    rows = []
    for row in (metrics.get("corrector") or {"rows": []})["rows"]:
        shares = [_mean_share(row[key], row[f"{key}_ci95"]) for key in ("won", "in_time")]
        placebo, verified = row["arm"] == PLACEBO, Rate(row["verified"]["alarms"], row["verified"]["episodes"])
        gains = [Cell(NONE) if placebo else _mean_gain(row[key]) for key in ("over_placebo", "over_redraw")]
        right = Cell(NONE) if placebo else Cell(verified.count, verified.share, verified.bounds, verified.interval)
        rows.append(Row.of(row["place"], row["arm"], row["calls"], *shares, *gains, right))
    columns = [
        Column("call in an\nepisode that is", short="call"),
        Column("motion"),
        *numbers("calls"),
        Column("succeeds", numeric=True, help="mean share of the noises, to the horizon"),
        Column("in the task's\ntime", numeric=True, short="in time", help="the same within the task's deadline"),
        Column("over placebo,\npoints", numeric=True, help=GAINS["over_placebo"][1]),
        Column("over luck,\npoints", numeric=True, help=GAINS["over_redraw"][1]),
        Column(
            "verified", numeric=True, help="wins at least half of the branches, and more than no motion does", spare=1
        ),
    ]
    note = (
        "What the corrector says, carried out from the exact state of one call an episode, beside no motion (the "
        "placebo) and a motion as far in any direction. Recoverable calls lie before the point of no return, lost ones "
        "behind it. Shares have exact intervals, as of one noise a call; gains a bootstrap over episodes."
    )
    return Table("corrector", columns, rows, note)


def corrector_curve_table(metrics: Record) -> Table:
    """One row a chance of failing from which the corrector acts."""
    rows = []
    for row in (metrics.get("corrector") or {"abstention": []})["abstention"]:
        acted = [count(row["acted"][place], calls) for place, calls in row["calls"].items() if calls]
        shares = [Cell(percent(row[key]), row[key]) for key in ("won", "in_time")]
        rows.append(Row.of(significant(row["least"]), " + ".join(acted), *shares, _mean_gain(row["over_placebo"])))
    columns = [
        Column("acts from\nchance", numeric=True, short="from"),
        Column("acts at\ncalls", numeric=True, help="of the places of the table above, in their order"),
        *numbers("succeeds", "in time"),
        Column("over placebo,\npoints", numeric=True, help="where it abstains, it is the placebo"),
    ]
    note = (
        "The same calls where the corrector acts only from a chance of failing on, strategy.correct.least. A value is "
        "not to be chosen from these episodes: judge the corrector on the select split for that."
    )
    return Table("abstention of the corrector", columns, rows, note)


def _mean_share(share: float, bounds: Sequence[float]) -> Cell:
    return Cell(percent(share), share, (bounds[0], bounds[1]), interval(bounds))


def _mean_gain(found: Record) -> Cell:
    """A mean difference in percentage points with its interval, where it has one."""
    if found["value"] is None or found["low"] is None:
        return Cell(NONE) if found["value"] is None else Cell(f"{100 * found['value']:+.0f}", found["value"])
    return Cell(points(found["value"], found["low"], found["high"]), found["value"])


def tuning_table(metrics: Record) -> Table:
    """The placebo, the skill as it was and as it was tuned: branches that each wins where it was tuned."""
    found = metrics.get("tuning") or {"rows": [], "first": {}, "tuned": {}, "points": 0, "states": 0, "monitor": ""}
    names = list(found["tuned"])
    rows = []
    for row in found["rows"]:
        rate, numbers = Rate(row["won"], row["branches"]), found.get(row["name"], {})
        shown = [Cell(f"{numbers[name]:.3g}", numbers[name]) if name in numbers else Cell(NONE) for name in names]
        rows.append(Row.of(row["name"], Cell(rate.count, rate.share, rate.bounds, rate.interval), *shown))
    columns = [Column("numbers"), Column("branches\nwon", numeric=True, short="won")]
    columns += [Column(name.replace("_", " "), numeric=True) for name in names]
    note = (
        f"The best of {found['points']} settings, by branches from {found['states']} alarms of {found['monitor']} in "
        "the fit split. Where it was chosen the best looks better than it is: workbench recover "
        "strategy=[placebo,tuned_skill] judges it on test episodes."
    )
    return Table("tuning", columns, rows, note)


def shield_table(metrics: Record) -> Table:
    """One row a shield and fault."""
    rows = []
    for row in metrics.get("shields", []):
        vetoed, changed = Rate(row["with_veto"], row["episodes"]), Rate(row["with_change"], row["episodes"])
        steps = (Rate(row[key], row["steps"]) for key in ("vetoed_steps", "changed_steps"))
        cells = [Cell(rate.count, rate.share, rate.bounds, rate.interval) for rate in (vetoed, changed)]
        rows.append(Row.of(row["shield"], row["perturbation"] or "no fault", *cells, *(Cell(r.count) for r in steps)))
    columns = [
        Column("shield"),
        Column("fault"),
        Column("episodes with\na veto", numeric=True, short="with veto"),
        Column("with a\nchange", numeric=True, short="with change"),
        Column("vetoed\nsteps", numeric=True, short="vetoed steps"),
        Column("changed\nsteps", numeric=True, short="changed steps", spare=1),
    ]
    note = (
        "What the shields before the actuators did. A veto runs none of the asked motion; a change runs some of it. "
        "Intervals are exact (Clopper and Pearson)."
    )
    return Table("shields", columns, rows, note)


SECTIONS: Mapping[str, Callable[[Record], Table]] = {
    "instructions": instruction_table,
    "misled": misled_table,
    "perturbed": fault_table,
    "modes": mode_table,
    "shields": shield_table,
    "tolerance": tolerance_table,
    "joint": joint_table,
    "labels": label_table,
    "monitors": monitor_table,
    "strategies": strategy_table,
    "abstention": abstention_table,
    "crossed": crossed_table,
    "bottleneck": bottleneck_table,
    "families": family_table,
    "dose_response": dose_table,
    "detectors": detector_table,
    "attempts": attempt_table,
    "corrections": correction_table,
    "corrector": corrector_table,
    "corrector_curve": corrector_curve_table,
    "tuning": tuning_table,
}
"""Section -> what makes its table, in the order of the terminal."""


def _success(rate: Rate) -> list[Cell]:
    """Share, count and interval; the bounds go with the share."""
    return [Cell(rate.percent, rate.share, rate.bounds), Cell(rate.count), Cell(rate.interval)]


def _metric(metric: str, name: str, short: str = "", terminal: bool = True) -> Column:
    return Column(name, numeric=True, help=METRICS[metric].words, short=short, terminal=terminal)


def _setting(row: Record, label: str) -> str:
    if row["combination"] is None:
        return NONE
    found = row["combination"][label]
    return f"{significant(found['magnitude'])} (severity {found['severity']:.2f})"


def _confidence(rows: Sequence[Record]) -> str:
    """That of the first of several rows, which all have the same."""
    return percent(rows[0]["confidence"]) if rows else ""
