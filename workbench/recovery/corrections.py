"""Verified corrections: motions that bring a failing episode back, each replayed from the exact state.

FailSafe (arXiv 2510.01642, 2025) draws a pose of the correct trajectory for every pose of a failed one, and keeps the
pair if the task then succeeds.  Here the state is restored to the bit, the replay is repeated under several noises of
the policy, and the same noises without any motion stand beside it: an episode that luck alone would have won proves
nothing of its correction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from workbench.errors import StoreError
from workbench.recovery.tables import FIRST_BRANCHES, NEVER, NOT_ROLLED
from workbench.store import Store, check_columns, read_table, write_table
from workbench.types import Array, Record
from workbench.types.episode import UID
from workbench.types.pose import CORRECTION_SIZE
from workbench.types.reading import Among, Between, Size, Source, checked
from workbench.types.results import Tabular

KINDS = ("twin", "object", "expert", "segment", "random", "placebo", "corrector")
"""What a candidate is: a pose of the nominal twin; the same, moved as the object is; a pose to which the expert comes;
the expert's own way there; a pose at random, as far away as one of the others; no motion at all; and where a corrector
says.  Stores hold their places."""
RANDOM, PLACEBO, CORRECTOR = KINDS[4:]
NAME = "corrections"
"""Of a store's table, unless it is given another."""
NUMBERS: Mapping[str, str] = {
    "episode": "int32",
    "step": "int32",
    "kind": "int8",
    "motion_steps": "int32",
    "by_expert": "int16",
    "recoverable": "bool",
}
"""Columns of a table, one row a candidate, beside ``correction`` (R, 7) and ``ended`` (R, K)."""


TOLD = ("task", "deadline", "horizon", "made_with", "simulated", "seconds")
"""What is kept of a table beside its rows as it is."""


@dataclasses.dataclass(frozen=True)
class _Said:
    """What is kept of a table beside its rows."""

    kind: Annotated[str, Among((NAME,))]
    uids: Annotated[list[UID], Size(0, 10_000_000)]
    modes: Annotated[list[Annotated[str, Size(0, 200)]], Size(0, 10_000_000)]
    task: Annotated[str, Size(1, 200)]
    branches: Annotated[int, Between(FIRST_BRANCHES, 10_000)]
    deadline: Annotated[int, Between(1, 2**15 - 1)]
    horizon: Annotated[int, Between(1, 2**15 - 1)]
    episodes: Annotated[str, Size(64, 64)]
    made_with: Record
    simulated: Annotated[int, Between(0, 2**53)]
    seconds: Annotated[float, Between(0, 2**53)]


@dataclasses.dataclass(frozen=True)
class Corrections(Tabular):
    """Candidates from policy calls of failed episodes, and what came of each.

    Attributes
    ----------
    uids, modes : N episodes, and the failure mode of each.
    task : its name.
    deadline, horizon : of the task, and of the branches, in control steps.
    episode, step : (R,) place of the candidate's episode in ``uids``, and control step of its policy call.
    kind : (R,) place in :data:`KINDS`.
    correction : (R, 7) from the pose at that call, as in :mod:`workbench.types.pose`; zeros of a placebo.
    motion_steps : (R,) control steps of the motion, after which the policy drives again.
    ended : (R, K) control step at which the policy then succeeds, in every branch; 0 for never, -1 for one that was not
        rolled.
    by_expert : (R,) the same of the expert that goes on in its place.
    recoverable : (R,) whether the call lies before the point of no return.
    simulated, seconds : control steps that were rolled for it, and the time they took.
    made_with : what decides it.
    """

    uids: tuple[str, ...]
    modes: tuple[str, ...]
    task: str
    deadline: int
    horizon: int
    episode: Array
    step: Array
    kind: Array
    correction: Array
    motion_steps: Array
    ended: Array
    by_expert: Array
    recoverable: Array
    simulated: int = 0
    seconds: float = 0.0
    made_with: Record = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.step)

    def rate(self, within: int | None = None) -> Array:
        """(R,) share of the branches in which the policy succeeds within so many control steps, or to the horizon."""
        rolled = self.ended > NOT_ROLLED
        won = (self.ended > NEVER) & (self.ended <= (within or self.horizon))
        rate: Array = won.sum(axis=1) / rolled.sum(axis=1)
        return rate

    def luck(self, within: int | None = None) -> Array:
        """(R,) the same of the placebo from the same call: what fresh noise and the time would have done alone."""
        cells = list(zip(self.episode.tolist(), self.step.tolist(), strict=True))
        rates = {cell: rate for cell, rate, is_it in zip(cells, self.rate(within), self.placebo, strict=True) if is_it}
        return np.array([rates[cell] for cell in cells])

    def verified(self, within: int | None = None) -> Array:
        """(R,) whether a motion is a correction: it wins at least half of its branches, and more than luck does."""
        rate = self.rate(within)
        verified: Array = ~self.placebo & (rate >= 0.5) & (rate > self.luck(within))
        return verified

    @property
    def placebo(self) -> Array:
        """(R,) whether there is no motion at all."""
        placebo: Array = self.kind == KINDS.index(PLACEBO)
        return placebo

    def counts(self) -> list[Record]:
        """Candidates of every failure mode and kind, and how many are verified, to the horizon and in the task's time.

        ``once`` are those that succeed in the first branch, which would do for FailSafe.  Of the placebo, verified are
        the calls from which luck wins at least half of its branches.
        """
        modes = np.array(self.modes, dtype=object)[self.episode]
        won, in_time = (
            np.where(self.placebo, self.rate(within) >= 0.5, self.verified(within))
            for within in (self.horizon, self.deadline)
        )
        found = []
        for mode in sorted(set(self.modes)):
            for number, kind in enumerate(KINDS):
                here = (modes == mode) & (self.kind == number)
                if here.any():
                    counts = {"candidates": here, "verified": here & won, "in_time": here & in_time}
                    counts["once"] = here & (self.ended[:, 0] > NEVER)
                    counts["by_expert"] = here & (self.by_expert > NEVER)
                    found.append({"failure_mode": mode, "kind": kind} | {k: int(v.sum()) for k, v in counts.items()})
        return found

    def record(self) -> Record:
        """The section ``corrections`` of ``metrics.json``."""
        return {
            "rows": self.counts(),
            "episodes": len(self.uids),
            "calls": len(calls_of(self.episode, self.step)),
            "candidates": int((~self.placebo).sum()),
            "verified": int(self.verified().sum()),
            "in_time": int(self.verified(self.deadline).sum()),
            "simulated_steps": self.simulated,
            "seconds": self.seconds,
        }

    def rows_of_table(self) -> Sequence[Record]:
        """One row a candidate."""
        rate, luck, verified = self.rate(), self.luck(), self.verified()
        return [
            {
                "uid": self.uids[self.episode[row]],
                "failure_mode": self.modes[self.episode[row]],
                "step": int(self.step[row]),
                "recoverable": bool(self.recoverable[row]),
                "kind": KINDS[self.kind[row]],
                "correction": [float(number) for number in self.correction[row]],
                "motion_steps": int(self.motion_steps[row]),
                "ended": [int(step) for step in self.ended[row]],
                "rate": float(rate[row]),
                "luck": float(luck[row]),
                "verified": bool(verified[row]),
                "by_expert": int(self.by_expert[row]),
            }
            for row in range(len(self))
        ]

    def save(self, store: Store, name: str = NAME, overwrite: bool = False) -> Path:
        """Put them into the store from whose episodes they were made, as a group of its own.

        Raises
        ------
        OtherSettingsError
            if there is a table of that name already, unless ``overwrite`` replaces it.
        """
        arrays: dict[str, Array] = {
            "correction": self.correction.astype(np.float64),
            "ended": self.ended.astype(np.int16),
        }
        arrays |= {key: getattr(self, key).astype(kind) for key, kind in NUMBERS.items()}
        said = {key: getattr(self, key) for key in TOLD}
        said |= {"kind": NAME, "uids": list(self.uids), "modes": list(self.modes), "branches": self.ended.shape[1]}
        return write_table(store.path, name, arrays, {**said, "episodes": store.digest_of(self.uids)}, overwrite)

    @classmethod
    def load(cls, store: Store, name: str = NAME) -> Corrections:
        """Those of that name in a store.

        Raises
        ------
        UnknownNameError
            if there are none.
        StoreError
            if they are damaged, no corrections, or of other episodes than the store's of today.
        """
        arrays, plain = read_table(store.path, name)
        source = Source(f"table {name} of {store.path}", StoreError, "workbench correct overwrite=true makes them anew")
        said: _Said = checked(_Said, plain, source)
        if unknown := [uid for uid in said.uids if uid not in store.uids]:
            raise source.wrong(f"is about episode {unknown[0]}, which the store does not hold")
        if store.digest_of(said.uids) != said.episodes:
            raise source.wrong("was made of other episodes than the store holds under these uids")
        _refuse_odd(arrays, said, source)
        told: dict[str, Any] = {key: getattr(said, key) for key in TOLD}
        return cls(tuple(said.uids), tuple(said.modes), **told, **arrays)  # type: ignore[arg-type]

    def write(self, path: Path) -> Path:
        """All candidates as Parquet, one row each."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(self.rows_of_table())), path)
        return path


def calls_of(episode: Array, step: Array) -> set[tuple[int, int]]:
    """The policy calls, each once, of which rows are."""
    return set(zip(episode.tolist(), step.tolist(), strict=True))


def _refuse_odd(arrays: Mapping[str, Array], said: _Said, source: Source) -> None:
    """Refuse rows that no :func:`verify_corrections` writes."""
    if arrays.keys() != {"correction", "ended", *NUMBERS} or len(said.modes) != len(said.uids):
        raise source.wrong("does not hold one row a candidate of every column")
    wanted = {key: (kind, ()) for key, kind in NUMBERS.items()}
    check_columns(
        arrays, {**wanted, "correction": ("float64", (CORRECTION_SIZE,)), "ended": ("int16", (said.branches,))}, source
    )
    if not np.isfinite(arrays["correction"]).all():
        raise source.wrong(f"has corrections that are not {CORRECTION_SIZE} finite numbers")
    if (arrays["ended"][:, :FIRST_BRANCHES] == NOT_ROLLED).any():
        raise source.wrong(f"does not hold {FIRST_BRANCHES} branches or more of every candidate")
    bounds = {"episode": (0, len(said.uids) - 1), "kind": (0, len(KINDS) - 1), "by_expert": (0, said.horizon)}
    bounds |= {"ended": (NOT_ROLLED, said.horizon), "step": (0, said.deadline), "motion_steps": (0, said.horizon)}
    for key, (lowest, highest) in bounds.items():
        if len(arrays[key]) and not lowest <= arrays[key].min() <= arrays[key].max() <= highest:
            raise source.wrong(f"has {key} outside {lowest}..{highest}")
    placebo = arrays["kind"] == KINDS.index(PLACEBO)
    if calls_of(arrays["episode"], arrays["step"]) != calls_of(arrays["episode"][placebo], arrays["step"][placebo]):
        raise source.wrong("has calls without a placebo, beside which a correction is judged")
