"""Finished episodes: whole, as a detector may see them, and what the simulator knows of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from workbench.types.data import Array, Record
from workbench.types.policy import PolicyCall
from workbench.types.random import Split, Stream


@dataclasses.dataclass(frozen=True)
class EpisodeCalls:
    """All policy calls of one episode, as a detector may see them.

    Attributes
    ----------
    uid : names the episode across stores and splits.
    split : the split the episode belongs to.
    step : (C,) control steps; ``chunk`` (C, H, A); ``samples`` (C, B, H, A) or None; ``embedding`` (C, D) or None.
    instruction : what the robot was told at the start.
    signals : name -> (C, ...).
    observation : key -> (C, RECENT, size), as in :class:`PolicyCall`.
    """

    uid: str
    split: Split
    step: Array
    chunk: Array
    samples: Array | None
    embedding: Array | None
    execute: int
    instruction: str = ""
    signals: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    observation: Mapping[str, Array] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class EpisodeTruth:
    """What the simulator knows of an episode: for what learns from outcomes, and for judging; never for a score's
    ``update``.

    Attributes
    ----------
    uid : the episode's.
    success : whether it succeeded.
    family : channels of its perturbations, joined by "+"; "" for a nominal episode.
    perturbation : their names, joined by "+".
    length, deadline : control steps done, and the task's deadline.
    t_on, t_pnr : failure onset and point of no return in control steps; -1 where not measured or there is none.
    stage : (C,) at every policy call, index of the first stage not yet reached.
    values : (V, 3) control step of a policy call, successes, branches: the measured value V(t); (0, 3) if none was.
    """

    uid: str
    success: bool
    family: str
    perturbation: str
    length: int
    deadline: int
    t_on: int
    t_pnr: int
    stage: Array
    values: Array


@dataclasses.dataclass
class Episode:
    """One finished episode, as it is stored and read back.

    Attributes
    ----------
    record : one row of ``episodes/``; the columns are :data:`EPISODE_COLUMNS`.
    steps : name -> (T, ...): ``obs/<key>``, ``action``, ``applied``, ``reward``, ``stage``, ``predicates/<key>``,
        ``state`` (T, S), ``modes`` (T,) uint16 (see :mod:`workbench.rollouts.modes`), and if the task has cameras
        ``images/<camera>`` (T, H, W, 3) uint8, ``depth/<camera>`` and ``segmentation/<camera>`` (T, H, W), as
        :meth:`Scene.images` gives them.
    calls : name -> (C, ...): ``step``, ``chunk``, ``samples``, ``embedding``, ``seconds``; may be empty.
    memory : (T, M) float64, the rest of every step's snapshot; M differs from episode to episode.
    """

    record: Record
    steps: dict[str, Array]
    calls: dict[str, Array]
    memory: Array


ABORTED = "aborted"
"""Outcome of an episode whose policy was lost on the way: it says nothing of the policy, and is rolled anew."""
EPISODE_COLUMNS: Mapping[str, type] = {
    "uid": str,  # "<seed>:<index>:<digest of the drawn perturbations>"
    "index": int,
    "seed": int,
    "split": str,
    "task": str,
    "model": str,  # digest of the compiled model
    "instruction": str,  # as heard at the start
    "policy": str,
    "perturbation": str,  # names as composed, joined by "+"; "" for a nominal episode
    "perturbations": str,  # JSON list of records, as drawn
    "cell": str,  # of a synthesized data set: perturbation, axis and the failure rate aimed at; "" elsewhere
    "execute": int,  # actions of a chunk that are run before the next policy call
    "length": int,  # control steps
    "success": bool,
    "outcome": str,
    "failure_mode": str,  # the one mode by which a failed episode is called; "" for a success
    "modes": str,  # JSON list of {"mode", "step"}: every beginning of a failure mode, in order
    "t_inj": int,  # -1: never
    "t_eff": int,  # -1: not measured or none; so are the next eight
    "t_on": int,
    "t_on_low": int,
    "t_on_high": int,
    "t_pnr": int,
    "t_pnr_low": int,
    "t_pnr_high": int,
    "t_dec": int,  # first of the replaced control steps that turn failure into success
    "t_dec_end": int,  # one past the last of them
    "t_dec_by": str,  # "twin" or "expert": whose actions they were; "" where there is no decisive step
    "responsibility": float,  # gain in value by that replacement; 0 where there is no decisive step
    "responsibility_low": float,
    "responsibility_high": float,
    "values": str,  # JSON list of [control step of a policy call, successes, branches]: V(t) where it was measured
    "twin": str,  # uid of the nominal twin, "" if there is none
}


@runtime_checkable
class Subscriber(Protocol):
    """Something that follows a rollout: the store, a monitor, a viewer, a progress bar."""

    def on_call(self, episodes: Sequence[Stream], call: PolicyCall) -> None: ...
    def on_end(self, episode: Episode) -> None: ...
