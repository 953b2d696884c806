"""Counterfactual tables: at every policy call of an episode, when each arm would have succeeded from there.

Every arm is rolled to one absolute horizon, and what is kept is the control step at which it succeeded.  So any
deadline, monitor, threshold and strategy is judged by looking up.  Time that floats with the alarm would reward late
alarms: here every arm of a comparison ends at the same control step.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from workbench.attribution.branching import intervene, simulated_steps
from workbench.config import described, shown
from workbench.config.named import nodes
from workbench.errors import ConfigError, OtherSettingsError, StoreError, UnknownNameError
from workbench.execution.executor import Executor, batches
from workbench.execution.ledger import plain, refuse_other
from workbench.execution.progress import progress
from workbench.monitoring.episodes import sound
from workbench.monitoring.monitor import AnyMonitor
from workbench.recovery.benefit import Outcomes
from workbench.rollouts.arms import EXPERT, built, composed, learned_parts, with_weights
from workbench.rollouts.guard import steps_beyond
from workbench.rollouts.launch import Launch, Outcome, Wheel
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup, branching_setup
from workbench.rollouts.stored import perturbations_of, start_at, stream_of
from workbench.store import Store, check_columns, read_table, write_table
from workbench.types import (
    SPLITS,
    Alarm,
    Array,
    Episode,
    EpisodeCalls,
    Intervention,
    Policy,
    PolicyCall,
    Record,
    Shield,
    Split,
    Strategy,
    Task,
    follow,
)
from workbench.types.episode import UID
from workbench.types.reading import Among, Between, Size, Source, checked
from workbench.types.results import Tabular

NEVER, NOT_ROLLED = 0, -1
"""In the place of the control step of a success: there was none up to the horizon; and nobody looked."""
FIRST_BRANCHES = 2
"""Branches that are rolled of every cell, at most; further ones only where these do not end alike."""
EPISODES_PER_BATCH = 8
BRANCH_ARRAYS = ("obs/*", "state", "action")


NAME = "counterfactual"
"""Of a store's table, unless it is given another."""
OF_EPISODES = ("task", "policy", "weights")
"""Keys of a store's configuration that a table holds, too."""
MOST_BRANCHES = 1000
_Steps = Annotated[list[Annotated[int, Between(0, 2**15 - 1)]], Size(0, 10_000_000)]


@dataclasses.dataclass(frozen=True)
class _Said:
    """What is kept of a table beside its cells; earlier versions did not say what it was made of."""

    kind: Annotated[str, Among((NAME,))]
    uids: Annotated[list[UID], Size(0, 10_000_000)]
    arms: Annotated[list[Annotated[str, Size(1, 1000)]], Size(0, 1000)]
    deadline: Annotated[int, Between(1, 2**15 - 1)]
    horizon: Annotated[int, Between(1, 2**15 - 1)]
    factual: _Steps
    waited: _Steps
    episodes: Annotated[str, Size(64, 64)]
    made_of: Record = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CounterfactualTable(Tabular):
    """When every arm would have succeeded, from policy calls of episodes.

    Attributes
    ----------
    uids : N episodes.
    deadline, horizon : of the task, and of the table, in control steps.
    factual : (N,) control step at which the episode succeeded, 0 for never: what happened.
    waited : (N,) the same with more time and the same noise: what waiting would have done.
    episode, step : (R,) place of the cell's episode in ``uids``, and control step of its policy call.
    arms : name -> (R, K) int16, control step of the success of each branch; 0 for never, -1 for a branch that was not
        rolled.  Branches of one number share their noise over all arms and calls of an episode.
    more_time : name -> (R,) whether the strategy itself asks for more time there; rolled to the horizon are all.
    simulated : control steps that were rolled for it; 0 for one that was read back.
    made_of : task, policy and weights of its episodes, the strategies, the expert and the head; empty where that is
        not known.
    digest : of its episodes as they were then; "" where that is not known.
    """

    uids: tuple[str, ...]
    deadline: int
    horizon: int
    factual: Array
    waited: Array
    episode: Array
    step: Array
    arms: Mapping[str, Array]
    more_time: Mapping[str, Array]
    simulated: int = 0
    made_of: Record = dataclasses.field(default_factory=dict)
    digest: str = ""

    def won(self, arm: str, within: int) -> Array:
        """(R,) share of the first branches of every cell that succeed within so many control steps of the episode.

        Only branches that every cell has are counted: those that are rolled where the first ones differ would shift
        the mean.

        Raises
        ------
        UnknownNameError
            if there is no such arm.
        ConfigError
            if the table ends before.
        """
        if arm not in self.arms:
            raise UnknownNameError("arm of the table", arm, self.arms)
        if not 1 <= within <= self.horizon:
            raise ConfigError(f"within={within} control steps must be in 1..{self.horizon}, the horizon of the table")
        steps = self.arms[arm][:, :FIRST_BRANCHES]
        share: Array = ((steps > NEVER) & (steps <= within)).mean(axis=1)
        return share

    def cells(self, at: Mapping[str, int]) -> Array:
        """Rows of the cells of some episodes (uid -> control step of a policy call), in that order.

        Raises
        ------
        ConfigError
            if the table has no such cell.
        """
        place = {uid: number for number, uid in enumerate(self.uids)}
        rows = {(int(e), int(s)): row for row, (e, s) in enumerate(zip(self.episode, self.step, strict=True))}
        found = [rows.get((place.get(uid, -1), step), -1) for uid, step in at.items()]
        if missing := [uid for uid, row in zip(at, found, strict=True) if row < 0]:
            raise ConfigError(
                f"the table has no cell at step {at[missing[0]]} of episode {missing[0]}; tabulate that call, too"
            )
        return np.array(found, dtype=np.int64)

    def outcomes(self, calls: Mapping[str, Array] | None = None) -> list[Outcomes]:
        """Its episodes for :func:`workbench.net_benefit` and the like, with the branches that every cell has.

        Parameters
        ----------
        calls : uid -> control steps (C,) of all policy calls, of a table that holds some of them; those without a cell
            count as not run.  None where it holds all.
        """
        found = []
        for place, uid in enumerate(self.uids):
            rows = np.flatnonzero(self.episode == place)
            step = self.step[rows] if calls is None else np.asarray(calls[uid])
            if not np.isin(self.step[rows], step).all():
                raise ConfigError(f"the table has cells of episode {uid} at other control steps than its policy calls")
            won, branches = int(self.factual[place]), {}
            for name, steps in self.arms.items():
                kept = steps[rows, :FIRST_BRANCHES].astype(int)
                branches[name] = np.full((len(step), kept.shape[1]), NOT_ROLLED)
                branches[name][np.searchsorted(step, self.step[rows])] = kept
            found.append(Outcomes(uid, step, won > NEVER, won or self.deadline, branches, self.horizon))
        return found

    def rows_of_table(self) -> Sequence[Record]:
        """One row a cell and branch."""
        branches = max((each.shape[1] for each in self.arms.values()), default=0)
        return [
            {
                "uid": self.uids[self.episode[row]],
                "step": int(self.step[row]),
                "branch": branch,
                **{name: int(each[row, branch]) for name, each in self.arms.items()},
                "factual": int(self.factual[self.episode[row]]),
                "waited": int(self.waited[self.episode[row]]),
            }
            for row in range(len(self.step))
            for branch in range(branches)
        ]

    def save(self, store: Store, name: str = NAME, overwrite: bool = False) -> Path:
        """Put it into the store from whose episodes it was made, as a group of its own.

        Raises
        ------
        OtherSettingsError
            if there is a table of that name already, unless ``overwrite`` replaces it, or if it was made of other
            episodes.
        """
        self.refuse_other_store(store, "save it into the store that it was made of")
        arrays = {"episode": self.episode.astype(np.int64), "step": self.step.astype(np.int64)}
        for number, arm in enumerate(self.arms):
            arrays[f"steps-{number}"] = self.arms[arm].astype(np.int16)
            arrays[f"more_time-{number}"] = self.more_time[arm].astype(bool)
        said = {
            "kind": NAME,
            "uids": list(self.uids),
            "arms": list(self.arms),
            "deadline": self.deadline,
            "horizon": self.horizon,
            "factual": self.factual.tolist(),
            "waited": self.waited.tolist(),
            "episodes": store.digest_of(self.uids),
            "made_of": self.made_of,
        }
        return write_table(store.path, name, arrays, said, overwrite)

    def refuse_other_store(self, store: Store, advice: str) -> None:
        """OtherSettingsError if it was made of other episodes than a store's."""
        source = Source("the table", OtherSettingsError, advice)
        _refuse_other_episodes(store, self.uids, self.made_of, self.digest, source)

    @classmethod
    def load(
        cls, store: Store, name: str = NAME, strategies: Iterable[str] | Mapping[str, Record] | None = None
    ) -> CounterfactualTable:
        """The table of that name in a store.

        Parameters
        ----------
        strategies : those that it must hold, configured as they are here; None for whatever it holds.

        Raises
        ------
        UnknownNameError
            if there is none.
        StoreError
            if it is damaged, no counterfactual table, or one of other episodes than the store's of today.
        OtherSettingsError
            if it is of another policy than the store, or of other strategies than are asked for.
        """
        arrays, plain = read_table(store.path, name)
        source = Source(f"table {name} of {store.path}", StoreError, "tabulate them again")
        said: _Said = checked(_Said, plain, source)
        _refuse_other_episodes(store, said.uids, said.made_of, said.episodes, source)
        if strategies is not None:
            _refuse_other_strategies(said, composed(nodes("strategy", strategies)), source)
        wanted = {"episode", "step", *(f"{kind}-{n}" for n in range(len(said.arms)) for kind in ("steps", "more_time"))}
        if arrays.keys() != wanted or len(said.factual) != len(said.uids) or len(said.waited) != len(said.uids):
            raise source.wrong("does not hold one row a cell of every arm")
        _refuse_odd(arrays, said, source)
        return cls(
            uids=tuple(said.uids),
            deadline=said.deadline,
            horizon=said.horizon,
            factual=np.array(said.factual, dtype=np.int16),
            waited=np.array(said.waited, dtype=np.int16),
            episode=arrays["episode"],
            step=arrays["step"],
            arms={arm: arrays[f"steps-{number}"] for number, arm in enumerate(said.arms)},
            more_time={arm: arrays[f"more_time-{number}"] for number, arm in enumerate(said.arms)},
            made_of=said.made_of,
            digest=said.episodes,
        )

    def write(self, path: Path) -> Path:
        """The table as Parquet, one row a cell and branch."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(self.rows_of_table())), path)
        return path


def _refuse_odd(arrays: Mapping[str, Array], said: _Said, source: Source) -> None:
    """Refuse numbers that no :func:`tabulate` writes."""
    branches = next((arrays[key].shape[1:] for key in arrays if key.startswith("steps-")), (1,))
    if len(branches) != 1 or not 1 <= branches[0] <= MOST_BRANCHES:
        raise source.wrong(f"does not hold 1 .. {MOST_BRANCHES} branches of every cell")
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {"episode": ("int64", ()), "step": ("int64", ())}
    for number in range(len(said.arms)):
        wanted |= {f"steps-{number}": ("int16", branches), f"more_time-{number}": ("bool", ())}
    check_columns(arrays, wanted, source)
    if len(arrays["episode"]) and not 0 <= arrays["episode"].min() <= arrays["episode"].max() < len(said.uids):
        raise source.wrong("has cells of episodes that it does not name")
    lowest = {"step": 0} | {key: NOT_ROLLED for key in arrays if key.startswith("steps-")}
    for key, least in lowest.items():
        if arrays[key].size and not least <= arrays[key].min() <= arrays[key].max() <= said.horizon:
            raise source.wrong(f"has {key} outside {least}..{said.horizon}, its horizon")


def _refuse_other_episodes(store: Store, uids: Collection[str], made_of: Record, digest: str, source: Source) -> None:
    """Refuse a table of episodes that are not a store's: another policy gives other ones under the same uids."""
    if differing := [key for key in OF_EPISODES if key in made_of and made_of[key] != _of_episodes(store)[key]]:
        raise OtherSettingsError(
            f"{source.name} was made of another {' and '.join(differing)} than {shown(store.path)}; {source.advice}"
        )
    if unknown := [uid for uid in uids if uid not in store.uids]:
        raise source.wrong(f"is about episode {unknown[0]}, which the store does not hold")
    if digest and store.digest_of(uids) != digest:
        raise source.wrong("was made of other episodes than the store holds under these uids")


def _of_episodes(store: Store) -> Record:
    """What of a table's origin its store knows."""
    return {key: plain(store.header.config.get(key)) for key in OF_EPISODES}


def _refuse_other_strategies(said: _Said, asked: Mapping[str, Any], source: Source) -> None:
    """Refuse a table without some strategies, or in which they were configured otherwise."""
    for name, node in asked.items():
        if name not in said.arms:
            raise UnknownNameError(f"arm of {source.name}", name, said.arms)
        kept = said.made_of.get("strategies", {})
        if name in kept:
            refuse_other(
                source.name, {"strategy": {name: kept[name]}}, {"strategy": {name: _node(node)}}, source.advice
            )


def _node(strategy: Any) -> Record:
    return dict(with_weights(strategy)) if isinstance(strategy, Mapping) else described(strategy)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Episodes for one worker, each with its calls of which cells are wanted; None for all."""

    setup: Setup
    store: Path
    strategies: Mapping[str, Record]
    expert: Record
    head: Path | None
    monitors: Sequence[AnyMonitor]
    horizon: int
    branches: int
    episodes: Sequence[tuple[int, tuple[int, ...] | None]]


@dataclasses.dataclass(frozen=True)
class Cells:
    """What came of one episode: as in :class:`CounterfactualTable`, of its calls (C,) alone."""

    number: int
    step: Array
    factual: int
    waited: int
    arms: Mapping[str, Array]
    more_time: Mapping[str, Array]
    simulated: int


def tabulate(
    store: Store,
    strategies: Iterable[str] | Mapping[str, Record],
    task: Task,
    policy: Policy,
    *,
    split: Split = "test",
    at: Mapping[str, Collection[int]] | None = None,
    branches: int = 1,
    horizon: float = 2.0,
    expert: Mapping[str, Any] = EXPERT,
    head: Path | None = None,
    monitors: Sequence[AnyMonitor] = (),
    runner: Executor | None = None,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
) -> CounterfactualTable:
    """Roll every arm from policy calls of a split's episodes to one absolute horizon.

    Parameters
    ----------
    strategies : names, or name -> configuration; each is an arm.  One that does nothing is the episode itself.
    task, policy : those that the store was rolled with.
    at : uid -> control steps of policy calls; None for all calls of all episodes whose physics did not diverge.
    branches : K of every cell; those beyond two are rolled where the first two do not end alike.
    horizon : deadlines that every arm lasts at most, such as 2.0.
    head : folder of the recovery head's weights, for those that hand over to it.
    monitors : whose scores strategies can go by, the first of them unless they name another; alarms play no part.
    shields : those behind which the store was rolled; they stand before the actuators in every branch, whoever drives.

    Raises
    ------
    OtherSettingsError
        if the store was rolled with another task or policy, or behind other shields.
    StoreError
        if the split has no episode.
    """
    if not isinstance(branches, int) or not 1 <= branches <= MOST_BRANCHES:
        raise ConfigError(f"branches={branches} must be a whole number of 1 .. {MOST_BRANCHES}")
    chosen = composed(nodes("strategy", strategies))
    if not chosen:
        raise ConfigError("a table has at least one strategy, such as ['placebo', 'expert'], and none is named")
    setup = branching_setup(store, task, policy, runner, shields)
    wanted = _wanted(store, split, at)
    until = steps_beyond(task.deadline, horizon)
    shared = setup, store.path, chosen, dict(expert), head, tuple(monitors), until, branches
    found: dict[int, Cells] = {}
    with progress("episodes of the table", len(wanted)) as advance:
        items = [Batch(*shared, part) for part in batches(wanted, EPISODES_PER_BATCH)]
        for ended in setup.map_unordered(tabulate_batch, items):
            found |= {cells.number: cells for cells in ended}
            advance(len(ended))
    table = _joined(store, [found[number] for number, _ in wanted], chosen, task.deadline, until)
    made = made_of(store, chosen, expert, head)
    return dataclasses.replace(table, made_of=made, digest=store.digest_of(table.uids))


def made_of(store: Store, strategies: Mapping[str, Any], expert: Mapping[str, Any], head: Path | None) -> Record:
    """What a table is made of, plain data."""
    made: Record = plain(
        {
            **_of_episodes(store),
            "strategies": {name: _node(each) for name, each in composed(strategies).items()},
            "expert": dict(expert),
            "head": "",
            "corrector": "",
            **learned_parts(strategies, head),
        }
    )
    return made


def _wanted(
    store: Store, split: Split, at: Mapping[str, Collection[int]] | None
) -> list[tuple[int, tuple[int, ...] | None]]:
    if split not in SPLITS:
        raise UnknownNameError("split", str(split), SPLITS)
    if at is None:
        if not (numbers := sound(store, split)):
            raise StoreError(
                f"{shown(store.path)} has no episode in the {split} split to tabulate; roll some: workbench rollout "
                f"job.episodes.{split}=20"
            )
        return [(number, None) for number in numbers]
    if not at:
        raise ConfigError(
            "at={} names no policy call: it takes uid -> control steps, or None for every call of a split"
        )
    if alone := [uid for uid, steps in at.items() if not isinstance(steps, Collection) or isinstance(steps, str)]:
        raise ConfigError(f"at takes uid -> control steps, such as {{{alone[0]!r}: {{0}}}}, not {at[alone[0]]!r} alone")
    return [(store.number_of(uid), tuple(sorted(steps))) for uid, steps in at.items()]


def _joined(
    store: Store, found: Sequence[Cells], arms: Iterable[str], deadline: int, horizon: int
) -> CounterfactualTable:
    counts = [len(cells.step) for cells in found]
    return CounterfactualTable(
        uids=tuple(store.uids[cells.number] for cells in found),
        deadline=deadline,
        horizon=horizon,
        factual=np.array([cells.factual for cells in found], dtype=np.int16),
        waited=np.array([cells.waited for cells in found], dtype=np.int16),
        episode=np.repeat(np.arange(len(found)), counts),
        step=np.concatenate([np.zeros(0, np.int64), *(cells.step for cells in found)]),
        arms={name: np.concatenate([cells.arms[name] for cells in found]) for name in arms} if found else {},
        more_time={name: np.concatenate([cells.more_time[name] for cells in found]) for name in arms} if found else {},
        simulated=sum(cells.simulated for cells in found),
    )


def tabulate_batch(batch: Batch) -> list[Cells]:
    """The cells of a batch of episodes."""
    setup, store = batch.setup, Store.open(batch.store)
    arms = built(batch.strategies, setup.task, setup.policy, batch.expert, batch.head, batch.monitors)
    needs = {need for strategy in arms.values() for need in strategy.needs}
    lockstep = setup.lockstep("counterfactual", setup.policy)
    cells = []
    for number, steps in batch.episodes:
        episode = store.episode(number, steps=BRANCH_ARRAYS, calls=("step", "chunk"))
        rows = _Rows(episode, store.calls(number, needs), steps, setup.policy, setup.task.deadline, batch.horizon)
        cells.append(rows.rolled(number, arms, batch.branches, lockstep))
    return cells


class _Rows:
    """The cells of one episode."""

    def __init__(
        self,
        episode: Episode,
        calls: EpisodeCalls,
        steps: Collection[int] | None,
        policy: Policy,
        deadline: int,
        horizon: int,
    ) -> None:
        self.episode, self.calls, self.policy = episode, calls, policy
        self.deadline, self.horizon = deadline, horizon
        self.rows = [row for row, step in enumerate(calls.step) if steps is None or int(step) in steps]
        if steps is not None and len(self.rows) < len(steps):
            raise ConfigError(
                f"episode {calls.uid} has no policy call at {sorted({*steps} - {*map(int, calls.step)})}; its calls "
                f"are at {', '.join(map(str, calls.step))}"
            )

    def rolled(self, number: int, arms: Mapping[str, Strategy], branches: int, lockstep: Lockstep) -> Cells:
        """All cells of all arms."""
        asked = {
            name: asked_at(strategy, self.calls, self.rows, self.policy, self.deadline)
            for name, strategy in arms.items()
        }
        wanted = {
            (terms(each), place): each
            for of in asked.values()
            for place, each in enumerate(of)
            if each is not None and not each.stops
        }
        ended, simulated = self._roll(wanted, branches, lockstep)
        factual = int(self.episode.record["length"]) if self.episode.record["success"] else NEVER
        waited, more = self._waited(lockstep)
        arrays = {
            name: [self._cell(each, place, ended, factual, branches) for place, each in enumerate(of)]
            for name, of in asked.items()
        }
        return Cells(
            number=number,
            step=self.calls.step[self.rows].astype(np.int64),
            factual=factual,
            waited=factual or waited,
            arms={name: np.array(rows, np.int16).reshape(len(rows), branches) for name, rows in arrays.items()},
            more_time={
                name: np.array([each is not None and each.more_time for each in of]) for name, of in asked.items()
            },
            simulated=simulated + more,
        )

    def _roll(
        self, wanted: Mapping[Cell, Intervention], branches: int, lockstep: Lockstep
    ) -> tuple[dict[Cell, list[int]], int]:
        """Control steps of success of the branches of every cell, and how many steps were simulated.

        The first branches are rolled of all cells, the others of those in which the first do not end alike.
        """
        found: dict[Cell, list[int]] = {cell: [] for cell in wanted}
        simulated = 0
        first = min(FIRST_BRANCHES, branches)
        for numbers in (range(first), range(first, branches)):
            unlike = [cell for cell, ended in found.items() if not ended or len({step > NEVER for step in ended}) > 1]
            launches = [self._launch(wanted[cell], cell[1], branch) for cell in unlike for branch in numbers]
            outcomes = lockstep.outcomes(launches)
            simulated += sum(map(simulated_steps, launches, outcomes))
            ended = iter(outcomes)
            for cell in unlike:
                found[cell] += [succeeded_at(next(ended)) for _ in numbers]
        return found, simulated

    def _launch(self, asked: Intervention, place: int, branch: int) -> Launch:
        """A branch, with time to the horizon whatever is asked for."""
        step, asked = int(self.calls.step[self.rows[place]]), dataclasses.replace(asked, more_time=True)
        return intervene(self.episode, step, asked, self.policy, horizon=self.horizon, branch=branch)

    def _cell(
        self,
        asked: Intervention | None,
        place: int,
        ended: Mapping[Cell, list[int]],
        factual: int,
        branches: int,
    ) -> list[int]:
        """The branches of one cell of one arm."""
        if asked is None:
            return [factual] * branches
        if asked.stops:
            return [NEVER] * branches
        steps = ended[terms(asked), place]
        return [*steps, *[NOT_ROLLED] * (branches - len(steps))]

    def _waited(self, lockstep: Lockstep) -> tuple[int, int]:
        """When the episode would have succeeded with more time alone; and the control steps that were simulated."""
        if self.episode.record["success"]:
            return NEVER, 0
        step = int(self.calls.step[-1])
        start = dataclasses.replace(start_at(self.episode, step, self.policy), wheel=Wheel(deadline=self.horizon))
        launch = Launch(stream_of(self.episode), perturbations_of(self.episode), start)
        (outcome,) = lockstep.outcomes([launch])
        return succeeded_at(outcome), simulated_steps(launch, outcome)


Cell = tuple[tuple[object, ...], int]
"""Terms of an intervention, and the place of the call at which it is made."""


def terms(asked: Intervention) -> tuple[object, ...]:
    """What tells interventions apart that are given the same time: the redraw is the placebo with less of it."""
    return id(asked.driver), asked.steps, asked.fresh_noise, asked.instruction, id(asked.memory)


def succeeded_at(outcome: Outcome) -> int:
    """Control step of its success; 0 for none."""
    return outcome.length if outcome.success else NEVER


def all_calls(calls: EpisodeCalls) -> PolicyCall:
    """The policy calls of a stored episode, as each was shown when it was made: as one of so many scenes."""
    told = [calls.instruction] * len(calls.step)
    every = (calls.step, calls.chunk, calls.samples, calls.embedding)
    return PolicyCall(*every, calls.execute, told, calls.signals, calls.observation)


def one_call(calls: EpisodeCalls, row: int) -> PolicyCall:
    """One policy call of a stored episode."""
    return all_calls(calls).one(row)


def asked_at(
    strategy: Strategy, calls: EpisodeCalls, rows: Sequence[int], policy: Policy, deadline: int
) -> list[Intervention | None]:
    """What a strategy asks for at some policy calls of a stored episode, each as if it were the first alarm.

    It has followed all calls before, as it does live.

    Parameters
    ----------
    rows : places of the calls, in their order.
    """
    memory, asked, seen = strategy.begin(), [], 0
    for row in rows:
        for earlier in range(seen, row + 1):
            follow(strategy, memory, one_call(calls, earlier))
        seen = row + 1
        asked.append(strategy.act(copy.deepcopy(memory), Alarm(one_call(calls, row), policy, deadline)))
    return asked
