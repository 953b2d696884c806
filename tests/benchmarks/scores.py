"""What watching costs: every score of ``conf/score``, and the default monitor, in a scene and policy call.

Run on one core::

    OMP_NUM_THREADS=1 python -m tests.benchmarks.scores [repetitions]

16 scenes in lockstep, B = 64 samples, H = 16 steps of A = 7 actions, D = 64 features.  Scores are those of their yaml,
fitted on synthetic episodes, as many as a small study has: nearest neighbours and kernels cost with what they keep.
One whose needs synthetic episodes cannot meet is skipped, with a line that says so.  Every repetition plays the same
calls through every score once, one after another, so that a load that comes and goes falls on all; what is counted is
this process's time on the core.  Drawing samples is the policy's cost (tests/benchmarks/policies.py) and not counted.

The aim is 5 ms a scene and call for each score, and for the default monitor, all its scores, windows and thresholds
together, a tenth of the control period, which at 20 Hz are 5 ms too.  Since a call comes once in ``execute`` control
steps, that is the strictest reading.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from workbench.config import build, compose, read_yaml
from workbench.errors import WorkbenchError
from workbench.monitoring.calibration import calibrate
from workbench.monitoring.monitor import Monitor
from workbench.monitoring.online import OnlineMonitor
from workbench.monitoring.scoring import FittedScore, fit_score, supervised
from workbench.monitoring.window import Window
from workbench.types import RECENT, Array, EpisodeCalls, EpisodeTruth, PolicyCall, Scorer, Split

SCENES, SAMPLES, HORIZON, ACTIONS, FEATURES, EXECUTE = 16, 64, 16, 7, 64, 8
CALLS, FITTED, CALIBRATED, PLAYED = 12, 60, 24, 8
LIMIT_MS, CONTROL_HZ = 5.0, 20.0
SIGNALS: Mapping[str, tuple[int, ...]] = {
    "denoising_loss": (),
    "reconstruction": (),
    "token_logprobs": (ACTIONS,),
    "token_entropies": (ACTIONS,),
}
"""What a policy may say of a call, and its shape; positive but for log-probabilities."""
OBSERVATION: Mapping[str, int] = {"wrench": 6}
"""What a score may ask to see, and its size."""
OFFERED = {"samples", "embedding", *(f"signals/{k}" for k in SIGNALS), *(f"observation/{k}" for k in OBSERVATION)}


def episode(number: int, split: Split, uid: str) -> EpisodeCalls:
    """Calls of one synthetic episode, whose samples scatter around a plan that goes on from call to call."""
    rng = np.random.default_rng([number, len(split)])
    plan = np.cumsum(0.1 * rng.normal(size=(CALLS * EXECUTE + HORIZON, ACTIONS)), axis=0)
    planned = np.stack([plan[EXECUTE * c : EXECUTE * c + HORIZON] for c in range(CALLS)])
    samples = (planned[:, None] + 0.05 * rng.normal(size=(CALLS, SAMPLES, HORIZON, ACTIONS))).astype(np.float32)
    return EpisodeCalls(
        uid=uid,
        split=split,
        step=EXECUTE * np.arange(CALLS),
        chunk=samples[:, 0].copy(),
        samples=samples,
        embedding=(rng.normal(size=FEATURES) + rng.normal(size=(CALLS, FEATURES))).astype(np.float32),
        execute=EXECUTE,
        instruction="lift the cube",
        signals={
            key: (-1 if key == "token_logprobs" else 1) * rng.gamma(2.0, 0.1, size=(CALLS, *shape))
            for key, shape in SIGNALS.items()
        },
        observation={key: rng.normal(size=(CALLS, RECENT, size)) for key, size in OBSERVATION.items()},
    )


def truth(calls: EpisodeCalls, number: int) -> EpisodeTruth:
    """What became of it: every other episode fails from its middle on."""
    success, middle = number % 2 == 0, CALLS // 2 * EXECUTE
    falling = np.where(success | (calls.step < middle), 8, 0)
    return EpisodeTruth(
        uid=calls.uid,
        success=success,
        family="" if success else "action",
        perturbation="" if success else "action_bias",
        length=CALLS * EXECUTE,
        deadline=CALLS * EXECUTE,
        t_on=-1 if success else middle,
        t_pnr=-1 if success else middle + EXECUTE,
        stage=np.minimum(np.arange(CALLS) // 3, 3),
        values=np.stack([calls.step, falling, np.full(CALLS, 8)], axis=1),
    )


def joined(episodes: Sequence[EpisodeCalls], number: int) -> PolicyCall:
    """One call of several episodes."""

    def stacked(read: Callable[[EpisodeCalls], Array | None]) -> Array:
        return np.stack([part[number] for e in episodes if (part := read(e)) is not None])

    return PolicyCall(
        step=stacked(lambda e: e.step),
        chunk=stacked(lambda e: e.chunk),
        samples=stacked(lambda e: e.samples),
        embedding=stacked(lambda e: e.embedding),
        execute=EXECUTE,
        instructions=[e.instruction for e in episodes],
        signals={key: stacked(lambda e, key=key: e.signals[key]) for key in SIGNALS},  # type: ignore[misc]
        observation={key: stacked(lambda e, key=key: e.observation[key]) for key in OBSERVATION},  # type: ignore[misc]
    )


def every_score() -> dict[str, Scorer]:
    """What each yaml of ``conf/score`` builds."""
    folder = Path(__file__).parents[2] / "conf" / "score"
    return {path.stem: build(read_yaml(path)[path.stem]) for path in sorted(folder.glob("*.yaml"))}


def fitted_scores() -> tuple[dict[str, FittedScore], dict[str, float]]:
    """Every score that can be fitted on synthetic episodes, and the seconds that took; the others get a line."""
    episodes = [episode(number, "fit", f"fit:{number}") for number in range(FITTED)]
    truths = [truth(calls, number) for number, calls in enumerate(episodes)]
    fitted, seconds = {}, {}
    for name, score in every_score().items():
        if unmet := sorted(score.needs - OFFERED):
            print(f"skipped {name}: there is no synthetic {' or '.join(unmet)}")
            continue
        start = time.process_time()
        try:
            fitted[name] = fit_score(name, score, episodes, 0, truths if supervised(score) else ())  # type: ignore[arg-type]
        except WorkbenchError as error:
            print(f"skipped {name}: {error}")
        seconds[name] = time.process_time() - start
    return fitted, seconds


def default_monitors(fitted: Mapping[str, FittedScore]) -> list[Monitor]:
    """The scores of the default configuration, each with its window and every calibrator that needs nothing else."""
    config = compose([])
    episodes = [episode(number, "calibrate", f"calibrate:{number}") for number in range(CALIBRATED)]
    rules = {name: build(node) for name, node in config["calibrator"].items()}
    settings = config["monitor"]
    return [
        calibrate(
            f"{score}+{rule}",
            fitted[score],
            Window(settings["window"], settings["width"]),
            rules[rule],
            episodes,
            settings["level"],
        )
        for score in config["score"]
        for rule in rules
        if not getattr(rules[rule], "uses", None)
    ]


def played(score: FittedScore, calls: Sequence[PolicyCall]) -> float:
    """Milliseconds a scene and call."""
    memories = [score.score.begin() for _ in range(SCENES)]
    start = time.process_time()
    for call in calls:
        score.score.update(memories, call)
    return 1e3 * (time.process_time() - start) / len(calls) / SCENES


def watched(monitors: Sequence[Monitor], calls: Sequence[PolicyCall]) -> float:
    """Milliseconds a scene and call."""
    online = OnlineMonitor(monitors)
    for slot in range(SCENES):
        online.begin(slot)
    start = time.process_time()
    for call in calls:
        online.update(range(SCENES), call)
    return 1e3 * (time.process_time() - start) / len(calls) / SCENES


def line(name: str, times: Sequence[float], limit_ms: float) -> str:
    """Median, 10th to 90th percentile, and the median's share of the limit."""
    low, median, high = np.percentile(times, [10, 50, 90])
    verdict = "" if median < limit_ms else "  TOO SLOW"
    return f"{name:28s}{median:9.3f} ({low:7.3f} ..{high:8.3f}){100 * median / limit_ms:8.1f} %{verdict}"


def main(repetitions: int) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    fitted, seconds = fitted_scores()
    monitors = default_monitors(fitted)
    scenes = [episode(number, "test", f"test:{number}") for number in range(SCENES)]
    calls = [joined(scenes, number) for number in range(PLAYED)]
    alone: dict[str, list[float]] = {name: [] for name in fitted}
    together: list[float] = []
    for repetition in range(1 + repetitions):
        row = {name: played(score, calls) for name, score in fitted.items()}
        whole = watched(monitors, calls)
        if repetition:  # the first is thrown away, since memory is taken in it
            together.append(whole)
            for name, value in row.items():
                alone[name].append(value)
    print(f"{'milliseconds a scene and call':42s}{'of ' + format(LIMIT_MS, 'g') + ' ms':>24s}{'fitted in':>12s}")
    for name, times in sorted(alone.items(), key=lambda item: -float(np.median(item[1]))):
        print(f"{line(name, times, LIMIT_MS):68s}{seconds[name]:10.1f} s")
    period_ms = 1e3 / CONTROL_HZ
    legs = ", ".join(dict.fromkeys(monitor.score.name for monitor in monitors))
    print(f"\nthe default monitor ({len(monitors)} monitors of {legs})")
    print(f"{line('', together, 0.1 * period_ms)} of a tenth of the control period")
    print(f"\n{repetitions} interleaved repetitions of {PLAYED} calls of {SCENES} scenes; one core")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
