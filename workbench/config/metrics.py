"""What ``metrics.json`` of a run may hold: its sections, checked whenever they are read or written.

A *shape* is a function of a value, its source and the key at which it stands; it raises the source's error where the
value is not what belongs there.  Plain values are held against types by :func:`workbench.types.reading.checked`.  Keys
that a shape does not name are let through, for earlier and later versions wrote others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from workbench.stats.promises import STATED
from workbench.types.reading import Among, Between, Size, Source, checked, shown

Shape = Callable[[Any, Source, str], None]
LARGEST = 2**53
"""Whole numbers lie below it, as floats hold no larger ones exactly."""
FARTHEST = 1e100
"""Numbers lie below it: figures are drawn of them."""
LONGEST = 100_000
"""Letters of a text."""


def check(metrics: Any, source: Source) -> None:
    """Raise the source's error for the first value of a run's metrics that is not what belongs there."""
    named(anything)(metrics, source, "")
    for name, section in metrics.items():
        SECTIONS.get(name, anything)(section, source, name)


def finite(value: Any) -> Any:
    """Plain data with null in the place of every number that is not finite: JSON knows none."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _below(key: str, name: str) -> str:
    """The key of what stands under a name, short enough to be shown."""
    short = name if len(name) <= 60 and name.isprintable() else shown(name)
    return f"{key}.{short}" if key else short


def _require(fits: bool, source: Source, key: str, wanted: str) -> None:
    if not fits:
        raise source.wrong(f"says of {shown(key)} what cannot be: it must be {wanted}")


def anything(value: Any, source: Source, key: str) -> None:
    """Whatever JSON may hold."""


def of(kind: Any) -> Shape:
    """A plain value of a type."""

    def check_it(value: Any, source: Source, key: str) -> None:
        checked(kind, value, source, key)

    return check_it


text = of(Annotated[str, Size(0, LONGEST)])
whole = of(Annotated[int, Between(-LARGEST, LARGEST)])
count = of(Annotated[int, Between(0, LARGEST)])
number = of(Annotated[float, Between(-FARTHEST, FARTHEST)])
share = of(Annotated[float, Between(0, 1)])
truth = of(bool)


def maybe(shape: Shape) -> Shape:
    """The shape, or null."""

    def check_it(value: Any, source: Source, key: str) -> None:
        if value is not None:
            shape(value, source, key)

    return check_it


def rows(shape: Shape, length: int | None = None) -> Shape:
    """A list of such values; of so many if ``length`` is given."""

    def check_it(value: Any, source: Source, key: str) -> None:
        size = Size(0, 10**9) if length is None else Size(length, length)
        for place, each in enumerate(checked(Annotated[list[Any], size], value, source, key)):
            shape(each, source, f"{key}[{place}]")

    return check_it


def named(shape: Shape) -> Shape:
    """Name -> such a value."""

    def check_it(value: Any, source: Source, key: str) -> None:
        for name, each in checked(dict[str, Any], value, source, key).items():
            shape(each, source, _below(key, name))

    return check_it


def fields(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """An object with these keys."""

    def check_it(value: Any, source: Source, key: str) -> None:
        named(anything)(value, source, key)
        for name in required:
            _require(name in value, source, key, f"an object with {name!r}")
        for name, shape in {**required, **(optional or {})}.items():
            if name in value:
                shape(value[name], source, f"{key}.{name}")

    return check_it


def both(*shapes: Shape) -> Shape:
    """All of several shapes, in their order."""

    def check_it(value: Any, source: Source, key: str) -> None:
        for shape in shapes:
            shape(value, source, key)

    return check_it


def counted(part: str, total: str = "episodes", **more: Shape) -> Shape:
    """An object with a count of some of all."""

    def within(value: Any, source: Source, key: str) -> None:
        _require(value[part] <= value[total], source, f"{key}.{part}", f"at most {total}={value[total]}")

    return both(fields({part: count, total: count, **more}), within)


def _part_of(value: Any, source: Source, key: str) -> None:
    """[part, all]."""
    rows(count, 2)(value, source, key)
    _require(value[0] <= value[1], source, key, f"a part of {value[1]}")


def _bounds(of: Shape) -> Shape:
    """[low, high]."""

    def ordered(value: Any, source: Source, key: str) -> None:
        low, high = value
        _require(low is None or high is None or low <= high, source, key, "[low, high]")

    return both(rows(of, 2), ordered)


def _as_long_as(first: str, *others: str) -> Shape:
    """Lists of an object that have one length."""

    def check_it(value: Any, source: Source, key: str) -> None:
        for other in others:
            fits = len(value[other]) == len(value[first])
            _require(fits, source, f"{key}.{other}", f"as long as {key}.{first}")

    return check_it


def _all_or_none(*names: str) -> Shape:
    """Values of an object of which all are null, or none is."""

    def check_it(value: Any, source: Source, key: str) -> None:
        fits = len({value[name] is None for name in names}) == 1
        _require(fits, source, key, f"an object in which all of {', '.join(names)} are null, or none is")

    return check_it


def _curve(value: Any, source: Source, key: str) -> None:
    """Curves over the iterations of a training."""
    rates, groups, errors = (value.get(name) for name in ("learning_rate", "relative_error", "error"))
    at = value["iteration"]
    _require(all(0 < low < high for low, high in itertools.pairwise(at)), source, f"{key}.iteration", "ascending")
    curves = {"learning_rate": rates, **{f"relative_error.{name}": curve for name, curve in (groups or {}).items()}}
    for name, curve in curves.items():
        _require(not curve or len(curve) == len(at), source, f"{key}.{name}", f"as long as {key}.iteration")
    for name, curve in (errors or {}).items():
        _require(bool(curve), source, f"{key}.error.{name}", "no empty list")
        _require(bool((groups or {}).get(name)), source, f"{key}.relative_error", f"an object with {name!r}")
    told = "device" not in value or "precision" in value
    _require(told, source, key, "an object with 'precision' beside 'device'")


def _same_combination(value: Any, source: Source, key: str) -> None:
    """Every way of looking for a combination has the faults of the first."""
    for place, row in enumerate(value):
        for name in value[0]["dials"]:
            there = row["combination"] is None or name in row["combination"]
            _require(there, source, f"{key}[{place}].combination", f"an object with {shown(name)}")


def _promise(value: Any, source: Source, key: str) -> None:
    """Whoever has calibration episodes promises a level."""
    told = not value.get("threshold_episodes") or value.get("level") is not None
    _require(told, source, key, "an object with 'level' beside 'threshold_episodes'")


def _settings(magnitude: Shape) -> Shape:
    return named(fields({"magnitude": magnitude, "severity": number}))


EPISODES = counted("successes")
RATE = maybe(both(counted("alarms", ci95=_bounds(share)), fields({}, {"rate": maybe(share)})))
LOSSES = rows(number)
TRAINING = both(
    fields(
        {"iteration": rows(count), "training": LOSSES, "validation": LOSSES},
        {
            "learning_rate": maybe(LOSSES),
            "error": named(rows(maybe(number))),
            "relative_error": named(rows(maybe(number))),
            "evaluations": maybe(rows(both(EPISODES, fields({"iteration": count})))),
            "seconds": maybe(fields({"wall_s": number, "cpu_s": number, "evaluation_s": number})),
            "warning": text,
            "parameters": count,
            "demonstrations": maybe(count),
            "held_out": maybe(count),
            "device": text,
            "precision": text,
        },
    ),
    _as_long_as("iteration", "training", "validation"),
    _curve,
)
MEDIANS = (
    "median_onset", "median_onset_interval_steps", "median_pnr", "median_pnr_interval_steps", "median_effect",
    "median_decisive", "median_window_steps", "median_responsibility", "replay_max_abs_error", "median_lost",
)  # fmt: skip
LABELS = fields(
    {"failed": count, "with_onset": count},
    {
        **dict.fromkeys(MEDIANS, maybe(number)),
        **dict.fromkeys(("labelled", "with_effect", "with_lost", "not_lost"), count),
        **dict.fromkeys(("decided", "recoverable"), maybe(count)),
        **dict.fromkeys(("onsets", "points_of_no_return"), rows(whole)),
        "simulated_steps": named(count),
        "settings": named(anything),
    },
)
AUDIT = counted(
    "count",
    errors=text,
    p_value=maybe(share),
    broken=truth,
    chance=of(Annotated[float, Between(0, STATED)]),
    tested=truth,
)
MONITOR = both(
    fields(
        {"score": text},
        {
            "audit": maybe(AUDIT),
            **dict.fromkeys(("window", "calibrator", "guarantee"), maybe(text)),
            **dict.fromkeys(("level", "tpr", "twa", "detection_time"), maybe(share)),
            **dict.fromkeys(("fpr_nominal", "fpr_perturbed_success", "actionable_recall"), RATE),
            **dict.fromkeys(("auroc", "matched_auroc"), maybe(named(maybe(share)))),
            "threshold_episodes": maybe(count),
        },
    ),
    _promise,
)
TOLERANCE = fields(
    {
        "perturbation": text,
        "axis": maybe(text),
        "parameter": text,
        "tolerance": maybe(number),
        "interval": _bounds(maybe(number)),
        "contradictions": rows(anything),
        "at": fields({"0.25": maybe(number), "0.75": maybe(number)}),
        "episodes": count,
        "verdict": text,
        "confidence": share,
    }
)
JOINT = both(
    rows(
        fields(
            {
                **dict.fromkeys(("episodes", "failing_points", "points", "failures", "fresh_episodes"), count),
                "name": text,
                "dials": named(fields({"parameter": text})),
                "combination": maybe(_settings(number)),
                "distance": maybe(number),
                "interval": _bounds(share),
                "confidence": share,
            }
        )
    ),
    _same_combination,
)
_DIFFERENCE = maybe(of(Annotated[float, Between(-1, 1)]))
GAIN = both(
    counted(
        "only_arm", "pairs", only_control=count, gain=_DIFFERENCE, low=_DIFFERENCE, high=_DIFFERENCE, p_value=share
    ),
    _all_or_none("gain", "low", "high"),
)
STRATEGY = fields(
    {"name": text, "rescued": _part_of, "kept": _part_of},
    {
        **dict.fromkeys(("alarmed", "episodes"), count),
        **dict.fromkeys(("over_redraw", "over_placebo", "always_over_redraw", "always_over_placebo"), GAIN),
        "p_vs_placebo": maybe(share),
        "median_steps": maybe(number),
    },
)


def _of_the_failed(value: Any, source: Source, key: str) -> None:
    """Who wins how many of the failed episodes."""
    parts = {**dict.fromkeys(("by_monitor", "by_oracle", "by_start"), "episodes"), "won_solvable": "solvable"}
    for name, whole in parts.items():
        fits = value.get(name, 0) <= value.get(whole, 0)
        _require(fits, source, f"{key}.{name}", f"at most {whole}={value.get(whole, 0)}")


BOTTLENECK = both(
    fields(
        {"name": text, **dict.fromkeys(("episodes", "by_monitor", "by_oracle", "by_start"), count)},
        dict.fromkeys(("solvable", "won_solvable"), count),
    ),
    _of_the_failed,
)
CROSSED_CELLS = ("unaided", "by_monitor", "by_oracle", "expert_by_monitor", "expert_by_oracle")
CROSSED_GAINS = (
    "perfect_alarm", "perfect_alarm_of_expert", "perfect_recovery", "perfect_recovery_of_oracle", "recovery_over_alarm",
)  # fmt: skip
CROSSED = both(
    fields({"name": text, "verdict": of(Annotated[str, Among(("alarm", "recovery", "neither", "undecided"))])}),
    *(counted(cell) for cell in CROSSED_CELLS),
    fields(dict.fromkeys(CROSSED_GAINS, GAIN)),
)


def _chosen(value: Any, source: Source, key: str) -> None:
    """The threshold is one that was certified."""
    certified = [each["threshold"] for each in value["candidates"] if each["certified"]]
    fits = value["threshold"] is None or value["threshold"] in certified
    _require(fits, source, f"{key}.threshold", "null or that of a certified candidate")


FAMILY = both(
    fields({"family": text, "name": text, "rescued": _part_of, "kept": _part_of, "over_placebo": GAIN}),
    counted("alarmed"),
    counted("failed"),
    counted("silent", "failed"),
)
DOSES = fields(
    {
        "rows": rows(
            both(
                fields(
                    {
                        "by": of(Annotated[str, Among(("moment", "window", "lost"))]),
                        **dict.fromkeys(("group", "name"), text),
                        "median_left": number,
                        "over_placebo": GAIN,
                        "p_vs_placebo": share,
                    }
                ),
                counted("won"),
                counted("placebo"),
            )
        ),
        **dict.fromkeys(("acted", "succeeded", "unlabelled", "silent"), count),
    }
)
CANDIDATE = fields({"threshold": number, "power": share, "gain": GAIN, "p_value": maybe(share), "certified": truth})
BENEFIT = both(
    fields(
        {
            "arm": text,
            "threshold": maybe(number),
            "confidence": share,
            "learned": rows(count, 2),
            "alarmed": count,
            "least": _DIFFERENCE,
            "candidates": rows(CANDIDATE),
        }
    ),
    _chosen,
)
ABSTENTION = both(fields({"threshold": number, "calibrated": truth, "gain": GAIN}), counted("acted", "alarmed"))
ESTIMATE = fields(dict.fromkeys(("value", "low", "high"), maybe(number)))
DETECTED = ("auroc", "matched_auroc", "over_redraw", "over_placebo", "ahead_of_always")
DETECTORS = both(
    counted("failed"),
    fields(
        {
            "terms": fields({"arm": text, "placebo": text, "deadline": count, "allowed": count}),
            "rows": rows(
                fields(
                    {
                        "detector": text,
                        **dict.fromkeys(("alarmed_failures", "alarmed_successes"), maybe(share)),
                        **dict.fromkeys(DETECTED, ESTIMATE),
                    }
                )
            ),
            "spearman": named(ESTIMATE),
        }
    ),
)
SPAN = fields({"mean_s": maybe(number), "deviation_s": maybe(number), "attempts": maybe(number)})
ATTEMPTS = fields(
    {
        "rows": rows(
            fields(
                {
                    "name": text,
                    "pays": truth,
                    **dict.fromkeys(("tpr", "fpr"), share),
                    **dict.fromkeys(("caught_s", "false_alarm_s"), maybe(number)),
                    **dict.fromkeys(("executed_s", "saved_s", "over_clock_s"), maybe(number)),
                    **dict.fromkeys(("executed_ci95", "saved_ci95", "over_clock_ci95"), _bounds(maybe(number))),
                    **dict.fromkeys(("predicted", "closed_form"), SPAN),
                }
            )
        ),
        "restart_s": number,
        "clock_s": maybe(number),
        "diverged": count,
        **dict.fromkeys(("learned", "judged"), rows(count, 2)),
    }
)
CORRECTED = ("candidates", "once", "verified", "in_time", "by_expert")


CORRECTIONS = fields(
    {
        "rows": rows(
            both(
                fields({"failure_mode": text, "kind": text, **dict.fromkeys(CORRECTED, count)}),
                *(counted(part, "candidates") for part in CORRECTED[1:]),
            )
        ),
        **dict.fromkeys(("episodes", "calls", "candidates", "verified", "in_time", "simulated_steps"), count),
        "seconds": number,
    }
)
_PLACES = named(count)
COUNTED = both(counted("alarms", ci95=_bounds(share)), fields({"rate": maybe(share)}))


def _acted(value: Any, source: Source, key: str) -> None:
    """At so many of the calls of each place."""
    for place, acted in value["acted"].items():
        most = value["calls"].get(place, 0)
        _require(acted <= most, source, f"{key}.acted", f"at most {most} of the calls of {shown(place)}")


JUDGED_CORRECTOR = fields(
    {
        **dict.fromkeys(("split", "majority_mode"), text),
        **dict.fromkeys(("failing", "false_failing", "mode", "majority"), COUNTED),
        "auroc": ESTIMATE,
        "mode_over_majority": GAIN,
        "rows": rows(
            fields(
                {
                    **dict.fromkeys(("place", "arm"), text),
                    "calls": count,
                    **dict.fromkeys(("won", "in_time"), share),
                    **dict.fromkeys(("won_ci95", "in_time_ci95"), _bounds(share)),
                    **dict.fromkeys(("over_placebo", "over_redraw"), ESTIMATE),
                    "verified": COUNTED,
                }
            )
        ),
        "abstention": rows(
            both(
                fields(
                    {
                        **dict.fromkeys(("least", "won", "in_time"), share),
                        **dict.fromkeys(("acted", "calls"), _PLACES),
                        "over_placebo": ESTIMATE,
                    }
                ),
                _acted,
            )
        ),
        **dict.fromkeys(("unlabelled", "branches", "simulated_steps"), count),
        "seconds": number,
    }
)
TUNING = fields(
    {
        "rows": rows(both(fields({"name": text, "won": count, "branches": count}), counted("won", "branches"))),
        **dict.fromkeys(("first", "tuned"), named(number)),
        "monitor": text,
        **dict.fromkeys(("points", "states", "simulated_steps"), count),
    }
)
SHIELDED = ("episodes", "with_veto", "with_change", "steps", "vetoed_steps", "changed_steps")
MARGINS = both(fields({"step": rows(whole), "margin": rows(number)}), _as_long_as("step", "margin"))
SECTIONS: Mapping[str, Shape] = {
    "demonstrations": EPISODES,
    "policy": fields({}, {"nominal": maybe(EPISODES), "training": maybe(TRAINING), "zoo": maybe(text)}),
    "perturbed": rows(both(EPISODES, fields({"perturbation": text}, {"channel": text}))),
    "modes": rows(fields({"perturbation": text, "failure_mode": text, "episodes": count})),
    "instructions": rows(both(EPISODES, fields({"instruction": text}))),
    "misled": rows(
        fields({"perturbation": text, **dict.fromkeys(("episodes", "asked", "told", "another", "none"), count)})
    ),
    "tolerance": rows(TOLERANCE),
    "joint": JOINT,
    "labels": maybe(LABELS),
    "monitors": rows(MONITOR),
    "head": fields({"failed_episodes": count, "verified_recoveries": count}),
    "shields": rows(
        both(
            fields({"shield": text, "perturbation": text, **dict.fromkeys(SHIELDED, count)}),
            *(counted(part) for part in ("with_veto", "with_change")),
            *(counted(part, "steps") for part in ("vetoed_steps", "changed_steps")),
        )
    ),
    "strategies": rows(STRATEGY),
    "bottleneck": rows(BOTTLENECK),
    "crossed": rows(CROSSED),
    "families": rows(FAMILY),
    "dose_response": DOSES,
    "benefit": BENEFIT,
    "abstention": rows(ABSTENTION),
    "silent": both(counted("silent", "failed"), fields({}, {"solvable": count})),
    "detectors": DETECTORS,
    "attempts": ATTEMPTS,
    "corrections": CORRECTIONS,
    "corrector": JUDGED_CORRECTOR,
    "tuning": TUNING,
    "example": fields({"uid": text, "title": text, "events": named(whole), "monitors": named(MARGINS)}),
    "config": named(anything),
    "jobs": named(number),
    **dict.fromkeys(("versions", "fault_words", "commands"), named(text)),
    **dict.fromkeys(("store", "strategies_monitor", "recording", "report", "export", "server", "command"), text),
    "seed": whole,
    "wall_s": number,
}
"""Section of ``metrics.json`` -> what it holds."""
