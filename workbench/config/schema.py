"""The keys of a run, typed: a misspelt one is refused with the right ones listed."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass
class RolloutSchema:
    """How episodes are rolled; with ``images`` their store keeps what the task's cameras see at every control step.

    ``signals`` names what else the policy is asked to say of its calls, for scores that read it.
    """

    until: str = "success"
    samples: int = 32
    signals: list[str] = dataclasses.field(default_factory=list)
    images: bool = True


@dataclasses.dataclass
class MonitorSchema:
    """How scores become monitors.

    Every score gets every calibrator; ``combine`` names combinations of scores, ``{name: {all: [...]}}`` for those that
    have to exceed their thresholds at the same call and ``{name: {any: [...]}}`` for those of which one is enough (each
    calibrated at the level divided by their number); one whose scores are not all there is left out.  ``baselines``
    names the scores that are there for comparison, each with its calibrator.
    """

    window: str = "mean"
    width: int = 2
    level: float = 0.1
    combine: dict[str, dict[str, list[str]]] = dataclasses.field(
        default_factory=lambda: {"fiper": {"all": ["rnd", "entropy"]}, "sentinel": {"any": ["stac", "progress"]}}
    )
    baselines: dict[str, str] = dataclasses.field(
        default_factory=lambda: {"elapsed": "split_conformal", "always": "fixed"}
    )


@dataclasses.dataclass
class Schema:
    """Run-level keys; a misspelt one is refused with the right ones listed.

    ``root`` is the folder below which ``runs/`` and ``datasets/`` lie; without it that of the environment's
    WORKBENCH_ROOT, or the current one.
    ``plugins`` is for a yaml file of the user's own conf/local alone; see :mod:`workbench.config.plugins`.
    """

    name: str = "default"
    seed: int = 0
    store: str = "${name}"
    demos: str = "${name}-demos"
    root: str | None = None
    checkpoint: str | None = None
    overwrite: bool = False
    task: Any = None
    policy: Any = None
    perturbation: dict[str, Any] = dataclasses.field(default_factory=dict)
    score: dict[str, Any] = dataclasses.field(default_factory=dict)
    calibrator: dict[str, Any] = dataclasses.field(default_factory=dict)
    strategy: dict[str, Any] = dataclasses.field(default_factory=dict)
    protocol: Any = None
    monitor: MonitorSchema = dataclasses.field(default_factory=MonitorSchema)
    rollout: RolloutSchema = dataclasses.field(default_factory=RolloutSchema)
    runner: Any = None
    job: Any = None
    plugins: list[str] = dataclasses.field(default_factory=list)
