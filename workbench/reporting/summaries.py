"""What the sentences of a run's page say: its policy, its training, its labels, and the numbers to read first."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.monitoring.promises import FALSE_ALARMS
from workbench.recovery.benefit import ALWAYS
from workbench.recovery.bottleneck import ALPHA
from workbench.recovery.dose import WINDOW
from workbench.reporting.page import Headline
from workbench.reporting.promises import CONSTANT, audit, is_baseline, is_broken, name_of, promised
from workbench.reporting.words import NONE, Rate, count, estimate, number, percent, points, seconds, significant, step
from workbench.types import Record

REFERENCES = ("continue", "redraw", "more_time", "placebo", "ask", "expert")
"""Strategies that the others are held against: nothing, luck, and what knowing the true state would reach."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Final error of one group of the action, in action units and as a share of the best constant answer's."""

    name: str
    error: str
    relative: str


@dataclasses.dataclass(frozen=True)
class Training:
    """What a training was, and where it ended, in words; empty or None where that is not known.

    Attributes
    ----------
    losses : at the end, of what it was trained on and of what was held out.
    evaluation : success of the last evaluation on the way.
    seconds : of ``wall``, ``cpu`` and ``evaluation``.
    """

    iterations: str
    demonstrations: int | None
    held_out: int | None
    parameters: str
    losses: tuple[str, str]
    groups: Sequence[Group]
    evaluation: Rate | None
    warning: str
    device: str
    seconds: Mapping[str, str]

    def lines(self) -> list[str]:
        """In a line or two, for the terminal."""
        groups = ", ".join(f"{group.name} {group.error} ({group.relative})" for group in self.groups)
        parts = [
            f"training: {self.iterations} iterations, loss {self.losses[0]}, held out {self.losses[1]}",
            f"error (of a constant answer's): {groups}" if groups else "",
            f"success {self.evaluation.counted}" if self.evaluation else "",
            f"{self.seconds['wall']} ({self.seconds['cpu']} of CPU)" if self.seconds else "",
        ]
        return ["; ".join(part for part in parts if part), *([f"warning: {self.warning}"] if self.warning else [])]


@dataclasses.dataclass(frozen=True)
class Labels:
    """How many failures could be dated, and the medians, in words.

    Attributes
    ----------
    count : failures with an onset, of all.
    measured, lost : failures whose point of no return was measured, and those that were lost from step 0 on.
    winnable : median point of no return of the others.
    recoverable : failures that the expert could still have won at their onset; None if not measured.
    decided : failures with a decisive step, of those with an onset; "" for none.
    late : median of the label *lost*; "" if not measured.
    not_lost : failures that were not lost while they ran, of those in which it was measured.
    replay : how well recorded actions give recorded states again; "" if not measured.
    """

    count: str
    onset: str
    point_of_no_return: str
    measured: int
    lost: int
    winnable: str
    recoverable: int | None
    decided: str
    decisive: str
    window: str
    responsibility: str
    late: str
    not_lost: str
    replay: str


@dataclasses.dataclass(frozen=True)
class Ceiling:
    """Failures that an alarm could come in time for at all, of all failures."""

    alarms: int
    episodes: int

    @property
    def lost(self) -> int:
        """Failures in which no alarm can come in time."""
        return self.episodes - self.alarms


def policy_rate(metrics: Record) -> Rate | None:
    """Nominal success."""
    nominal = metrics.get("policy", {}).get("nominal")
    return Rate(nominal["successes"], nominal["episodes"]) if nominal and nominal["episodes"] else None


def training_summary(metrics: Record) -> Training | None:
    """What a training was, and where it ended; None if there was none here."""
    training = metrics.get("policy", {}).get("training")
    if not training or not training["iteration"]:
        return None
    evaluated, spent = training.get("evaluations") or [], training.get("seconds")
    last = Rate(evaluated[-1]["successes"], evaluated[-1]["episodes"]) if evaluated else None
    return Training(
        iterations=str(training["iteration"][-1]),
        demonstrations=training.get("demonstrations"),
        held_out=training.get("held_out"),
        parameters=f"{training['parameters']:,}" if "parameters" in training else "",
        losses=(number(training["training"][-1], 3), number(training["validation"][-1], 3)),
        groups=[
            Group(name, significant(values[-1]), percent(training["relative_error"][name][-1]))
            for name, values in training.get("error", {}).items()
        ],
        evaluation=last,
        warning=training.get("warning", ""),
        device=f"{training['device']}, {training['precision']}" if "device" in training else "",
        seconds={name: seconds(spent[f"{name}_s"]) for name in ("wall", "cpu", "evaluation")} if spent else {},
    )


def label_summary(metrics: Record) -> Labels | None:
    """How many failures could be dated, and the medians; None if nothing was labelled."""
    labels = metrics.get("labels")
    if not labels:
        return None
    error, points = labels.get("replay_max_abs_error"), labels.get("points_of_no_return", [])
    winnable = [point for point in points if point > 0]
    return Labels(
        count=count(labels["with_onset"], labels["failed"]),
        onset=step(labels.get("median_onset")),
        point_of_no_return=step(labels.get("median_pnr")),
        measured=len([point for point in points if point >= 0]),
        lost=points.count(0),
        winnable=step(float(np.median(winnable)) if winnable else None),
        recoverable=labels.get("recoverable"),
        decided=count(labels["decided"], labels["with_onset"]) if labels.get("decided") else "",
        decisive=step(labels.get("median_decisive")),
        window=step(labels.get("median_window_steps")),
        responsibility=number(labels.get("median_responsibility")),
        late=step(labels["median_lost"]) if labels.get("with_lost") else "",
        not_lost=count(labels.get("not_lost", 0), labels.get("with_lost", 0)),
        replay="" if error is None else "bit for bit" if error == 0 else f"to within {error:.2g}",
    )


def ceiling(metrics: Record) -> Ceiling | None:
    """Failures that an alarm could come in time for at all: those the monitor that always alarms is in time for."""
    for row in metrics.get("monitors", []):
        recall = row.get("actionable_recall") or {}
        if row["score"] == CONSTANT and recall.get("episodes"):
            return Ceiling(recall["alarms"], recall["episodes"])
    return None


def fault_rates(metrics: Record) -> list[tuple[Rate, Record]]:
    """Success under every fault, the most harmful first, each with its row."""
    found = [(Rate(row["successes"], row["episodes"]), row) for row in metrics.get("perturbed", []) if row["episodes"]]
    return sorted(found, key=lambda each: (each[0].share, each[1]["perturbation"]))


def headlines(metrics: Record) -> list[Headline]:
    """The numbers to read first."""
    found = [_success(metrics), _worst_fault(metrics), _best_monitor(metrics), _best_strategy(metrics)]
    return [each for each in found if each]


def _success(metrics: Record) -> Headline | None:
    rate = policy_rate(metrics)
    return Headline(rate.percent, "success without faults", rate.counted) if rate else None


def _worst_fault(metrics: Record) -> Headline | None:
    faults = fault_rates(metrics)
    if not faults:
        return None
    worst, row = faults[0]
    among = f", the most harmful of {len(faults)} faults" if len(faults) > 1 else ""
    return Headline(worst.percent, f"success under {row['perturbation']}{among}", worst.counted)


def _best_monitor(metrics: Record) -> Headline | None:
    """Of the monitors that are no baselines and keep their promise, the one that is most often in time."""
    kept = [
        row
        for row in metrics.get("monitors", [])
        if not is_baseline(row)
        and row.get("actionable_recall")
        and row.get("fpr_nominal")
        and promised(row) is not None
        and not is_broken(row, FALSE_ALARMS)
    ]
    if not kept:
        return None
    most, best = ceiling(metrics), max(kept, key=lambda row: _share(row["actionable_recall"]))
    limit = f", where {percent(most.alarms / most.episodes)} can be" if most else ""
    name, recall = name_of(best).replace("+", " + "), best["actionable_recall"]
    return Headline(
        percent(_share(recall)),
        f"of failures caught before the point of no return{limit}, by {name}{_out_of(kept)}",
        f"{counts(recall)} · false alarms {audit(best['fpr_nominal'], False).text}",
    )


def _best_strategy(metrics: Record) -> Headline | None:
    """Of the strategies that know no more than the policy does, the one that rescues most, beside the placebo."""
    rows = metrics.get("strategies", [])
    tried = [row for row in rows if row["name"] not in REFERENCES and row["rescued"][1]]
    if not tried:
        return None
    best = max(tried, key=lambda row: float(row["rescued"][0] / row["rescued"][1]))
    if tested := [row for row in tried if (row.get("over_placebo") or {}).get("gain") is not None]:
        return _gain_over_placebo(tested)
    rescued = Rate(*best["rescued"])
    than = "".join(f"; the placebo {Rate(*row['rescued']).percent}" for row in rows if row["name"] == "placebo")
    what = f"of failing episodes rescued after an alarm by {best['name']}{_out_of(tried)}"
    return Headline(rescued.percent, what, f"{rescued.counted}{than}")


def _gain_over_placebo(rows: Sequence[Record]) -> Headline:
    """Of some strategies, the one that gains most over the same policy with fresh noise and as much time."""
    best = max(rows, key=lambda row: float(row["over_placebo"]["gain"]))
    found = best["over_placebo"]
    what = f"points of success over the placebo after an alarm, by {best['name']}{_out_of(rows)}"
    told = f"won alone {found['only_arm']}, lost alone {found['only_control']} of {found['pairs']}"
    return Headline(points(found["gain"], found["low"], found["high"]), what, told)


VERDICTS: Mapping[str, str] = {
    "alarm": "the alarm is the bottleneck",
    "recovery": "the recovery is the bottleneck",
    "neither": "neither alarm nor recovery is shown to be a bottleneck",
    "undecided": "alarm and recovery are not told apart as the bottleneck",
}


def bottleneck_words(metrics: Record) -> list[str]:
    """Whether alarm or recovery is the bottleneck, and what is won of what could be won, a sentence each."""
    rows = [row for row in metrics.get("crossed", []) if row["name"] not in REFERENCES]
    found = [_verdict(row) for row in rows or metrics.get("crossed", [])]
    if told := _solvable(metrics):
        found.append(told)
    return found


def _verdict(row: Record) -> str:
    alarm, recovery = row["perfect_alarm"], row["perfect_recovery"]
    if alarm["gain"] is None or recovery["gain"] is None:
        return f"With {row['name']}, {VERDICTS['neither']}: there are no episodes."
    gains = [points(each["gain"], each["low"], each["high"]) for each in (alarm, recovery)]
    return (
        f"With {row['name']}, {VERDICTS[row['verdict']]}: in {row['episodes']} test episodes a perfect alarm would win "
        f"{gains[0]} points, a perfect recovery {gains[1]}."
    )


def _solvable(metrics: Record) -> str:
    """What is won of the failures that could have been won, and in how many nothing is said."""
    silent = metrics.get("silent") or {}
    rows = [row for row in metrics.get("bottleneck", []) if row.get("solvable") and row["name"] != "continue"]
    parts = []
    if rows:
        won = ", ".join(f"{row['name']} {row['won_solvable']}" for row in rows)
        failed = silent.get("failed", "all")
        parts.append(
            f"Of {failed} failures {rows[0]['solvable']} could have been won; behind the monitor's alarms are won: "
            f"{won}."
        )
    if silent:
        of_them = f", {silent['solvable']} of which could have been won" if "solvable" in silent else ""
        parts.append(f"In {count(silent['silent'], silent['failed'])} failures the monitor never alarms{of_them}.")
    return " ".join(parts)


def corrector_words(metrics: Record) -> list[str]:
    """Whether the corrector knows that and how an episode fails, and whether its motions help, a sentence each."""
    found = metrics.get("corrector")
    if not found:
        return []
    failing, false, mode, majority = (
        Rate(found[key]["alarms"], found[key]["episodes"]) for key in ("failing", "false_failing", "mode", "majority")
    )
    auroc = found["auroc"]
    sure = "" if auroc["low"] is None else f" ({auroc['low']:.2f} to {auroc['high']:.2f})"
    said = [f"{rate.count} ({rate.interval})" for rate in (failing, false, mode, majority)]
    told = [
        f"Asked at one call of each episode, the corrector says that it is failing in {said[0]} failures and {said[1]} "
        f"successes; the AUROC of that at common times is {number(auroc['value'])}{sure}.",
        f"It names the failure mode of {said[2]} failures; always naming the commonest of the fit split, "
        f"{found['majority_mode'] or 'of which there is none'}, would be right in {said[3]}.",
    ]
    arms = {place: [row for row in found["rows"] if row["place"] == place] for place in _places(found)}
    return told + [sentence for place, rows in arms.items() if (sentence := _replayed(place, rows))]


def _places(found: Record) -> list[str]:
    """Where calls were replayed, each once."""
    return list(dict.fromkeys(row["place"] for row in found["rows"]))


def _replayed(place: str, rows: Sequence[Record]) -> str:
    """What motions come to from calls of one place; "" without the placebo."""
    won = {row["arm"]: percent(row["won"]) for row in rows}
    if "placebo" not in won or "corrector" not in won:
        return ""
    over = next(row["over_placebo"] for row in rows if row["arm"] == "corrector")
    sure = "" if over["low"] is None else f", {points(over['value'], over['low'], over['high'])} points"
    others = ", ".join(f"{arm} {share}" for arm, share in won.items() if arm not in ("corrector", "placebo"))
    return (
        f"In {rows[0]['calls']} calls of {place} episodes its motion ends in success {won['corrector']} of the time, "
        f"no motion {won['placebo']}{sure}{f' ({others})' if others else ''}."
    )


def benefit_words(metrics: Record) -> list[str]:
    """From where on a strategy acts and what that came to, or that it abstains, a sentence each."""
    found = metrics.get("benefit")
    if not found:
        return []
    sure, arm = percent(found["confidence"]), found["arm"]
    chosen = [row for row in found["candidates"] if row["threshold"] == found["threshold"]]
    if not chosen:
        return [_abstains(found, sure)]
    gain = chosen[0]["gain"]
    told = [
        f"{arm} acts from a predicted benefit of {100 * found['threshold']:+.1f} points on: in "
        f"{count(gain['pairs'], found['alarmed'])} alarmed calibrate episodes, where it gains "
        f"{points(gain['gain'], gain['low'], gain['high'])} points over the placebo. With a confidence of {sure} "
        f"it wins more than the placebo there (at least {100 * found['least']:+.1f} points)."
    ]
    for row in metrics.get("abstention", []):
        if row["calibrated"] and row["gain"]["gain"] is not None:
            after = row["gain"]
            told.append(
                f"In the test episodes it acts behind {count(row['acted'], row['alarmed'])} alarms and gains "
                f"{points(after['gain'], after['low'], after['high'])} points there."
            )
    return told


def _abstains(found: Record, sure: str) -> str:
    """Why nothing could be shown."""
    whole = max((row["gain"] for row in found["candidates"]), key=lambda gain: int(gain["pairs"]))
    return (
        f"{found['arm']} abstains: from no predicted benefit on is it shown with a confidence of {sure} that it wins "
        f"more than the placebo. Of {found['alarmed']} alarmed calibrate episodes it alone wins {whole['only_arm']}, "
        f"the placebo alone {whole['only_control']}; more episodes of that split under faults would say more."
    )


def dose_words(metrics: Record) -> list[str]:
    """Up to which remaining window an arm is shown to win over the placebo, and what was left out, a sentence each."""
    found = metrics.get("dose_response")
    if not found:
        return []
    windows = dose_windows(metrics)
    arms = {row["name"]: [each for each in windows if each["name"] == row["name"]] for row in windows}
    winning = {arm: rows for arm, rows in arms.items() if any(map(_wins, rows))}
    told = [_stops_winning(arm, rows) for arm, rows in winning.items()]
    if others := [arm for arm in arms if arm not in winning]:
        are = "are" if len(others) > 1 else "is"
        told.append(
            f"{_listed(others)} {are} not shown to win over the placebo, however many steps are left to the point of "
            "no return."
        )
    kept = found["acted"] - found["succeeded"] - found["unlabelled"]
    return [
        *told,
        f"Of {found['acted']} alarmed test episodes {kept} failed and have a point of no return; left out are "
        f"{found['succeeded']} that succeeded and {found['unlabelled']} failures without that label. In "
        f"{found['silent']} more labelled failures there is no alarm.",
    ]


def dose_windows(metrics: Record) -> list[Record]:
    """What arms win in each remaining window in which there are episodes, the longest window first."""
    rows = (metrics.get("dose_response") or {"rows": []})["rows"]
    return [row for row in rows if row["by"] == WINDOW and row["over_placebo"]["gain"] is not None]


def _wins(row: Record) -> bool:
    """Whether an arm is shown to win more than the placebo."""
    return bool(row["over_placebo"]["gain"] > 0 and row["p_vs_placebo"] < ALPHA)


def _stops_winning(arm: str, rows: Sequence[Record]) -> str:
    """In which windows an arm wins, and what it gains in the first one behind them."""
    names = [row["group"] for row in rows if _wins(row)]
    told = f"{arm} is shown to win over the placebo with {_listed(names)} control steps left to the point of no return"
    behind = list(itertools.takewhile(lambda row: not _wins(row), reversed(rows)))
    if not behind:
        return f"{told}: in the latest of these windows, too."
    gain = behind[-1]["over_placebo"]
    return (
        f"{told}; with {behind[-1]['group']} it no longer is: {points(gain['gain'], gain['low'], gain['high'])} points "
        f"in {gain['pairs']} failures."
    )


def _listed(names: Sequence[str]) -> str:
    """Names as they stand in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def detector_words(metrics: Record) -> list[str]:
    """Which detector is worth acting on, and whether AUROC says so, a sentence each."""
    found = metrics.get("detectors")
    if not found or not found["rows"]:
        return []
    arm, rows = found["terms"]["arm"], {row["detector"]: row for row in found["rows"]}
    always, told = rows.get(ALWAYS), []
    ranked = [row for row in found["rows"] if row["detector"] != ALWAYS]
    if ranked:
        best, surest = _first(ranked, "over_placebo"), _first(ranked, "matched_auroc")
        told.append(
            f"Of {len(ranked)} detectors in {found['episodes']} test episodes, {found['failed']} of them failed, "
            f"{best['detector']} is worth most with {arm}: {estimate(best['over_placebo'], 1)} successes per 100 "
            f"episodes over the placebo. By matched AUROC {surest['detector']} is first, worth "
            f"{estimate(surest['over_placebo'], 1)}."
        )
    if always:
        ahead = [row["detector"] for row in ranked if (row["ahead_of_always"]["low"] or 0.0) > 0]
        told.append(
            f"Acting at step 0 of every episode, without a detector, is worth {estimate(always['over_placebo'], 1)}; "
            f"shown to be ahead of that {'are ' + ', '.join(ahead) if ahead else 'is none'}."
        )
    return [*told, _order(found["spearman"])]


def _first(rows: Sequence[Record], key: str) -> Record:
    """The row with the largest estimate under a key."""
    return max(rows, key=lambda row: float(row[key]["value"] or 0.0))


def _order(spearman: Mapping[str, Any]) -> str:
    """Whether the order by AUROC is that by net benefit."""
    order = spearman.get("matched_auroc and placebo") or {"value": None}
    if order["value"] is None or order["low"] is None:
        return "Too few detectors differ to say whether a higher AUROC is worth more."
    shown = "is" if order["low"] > 0 else "is not shown to be"
    return (
        f"A higher matched AUROC {shown} worth more: rank correlation with the gain over the placebo "
        f"{estimate(order)}, over luck {estimate(spearman['matched_auroc and redraw'])}."
    )


def counts(rate: Record | None) -> str:
    """Alarms of episodes as k/n; a dash for none."""
    return count(rate["alarms"], rate["episodes"]) if rate else NONE


def _share(rate: Record) -> float:
    share: float = rate["alarms"] / max(rate["episodes"], 1)
    return share


def _out_of(rows: Sequence[Record]) -> str:
    """Says that a number is the highest of several, which favours it."""
    return f" (best of {len(rows)})" if len(rows) > 1 else ""
