"""Finished episodes: whole, as a detector may see them, and what the simulator knows of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Protocol, runtime_checkable

from workbench.errors import ConfigError, StoreError, UnknownNameError, WorkbenchError
from workbench.types.data import Array, Record
from workbench.types.faults import faults_in
from workbench.types.policy import PolicyCall
from workbench.types.random import EPISODES_PER_SPLIT, SPLITS, Split, Stream
from workbench.types.reading import Among, Between, Like, Size, Source, checked, parsed, shown


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


UID = Annotated[
    str, Size(1, 200), Like(r"[A-Za-z0-9_-][A-Za-z0-9_.:@+-]*", "letters, digits and '_-.:@+', none of '.:@+' first")
]
"""Type of what names an episode: it becomes part of file names."""
NO_UID = Annotated[str, Among(("",))]
WORD = Annotated[
    str, Size(0, 1000), Like(r"(?!\.)[^/\\\x00-\x1f\x7f]*", "without slashes and line breaks, no dot first")
]
"""Type of a name among the columns, or of several joined: such names become parts of file names."""

LINE = Annotated[str, Size(0, 1000), Like(r"[^\x00-\x1f\x7f]*", "on one line")]


@dataclasses.dataclass(frozen=True)
class Mode:
    """One beginning of a failure mode, as the column ``modes`` lists them."""

    mode: WORD
    step: Annotated[int, Between(0, 2**31)]


VALUES = Annotated[list[Annotated[list[Annotated[int, Between(0, 2**31)]], Size(3, 3)]], Size(0, 2**20)]
"""Type of what the column ``values`` lists."""
_IT = Source("it", StoreError)

MODES: tuple[str, ...] = (
    "missed grasp",
    "slip",
    "drop",
    "misplacement",
    "wrong object",
    "collision",
    "jam",
    "overshoot",
    "stall",
    "knocked",
    "out of reach",
    "timeout",
    "diverged",
)
"""Mode i is bit i of the steps column ``modes``; new ones go to the end, so that stored bits keep their meaning."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a store's ``episodes/``.

    Attributes
    ----------
    kind : ``str``, ``int``, ``float`` or ``bool``.
    words : what it says.
    default : value that says that nothing was measured, or that there is nothing; None where every episode has one.
    label : whether it may be rewritten once the episode is stored.
    unit : of a number; "" for none.
    least, most : bounds of a whole number.
    holds : type of its texts, as :mod:`workbench.types.reading` has them; None for any.
    reads : reads its texts, and raises a WorkbenchError for one that it cannot hold; None for texts that are words.
    later : whether stores of earlier versions lack it; there it holds its default.
    """

    name: str
    kind: type[str] | type[int] | type[float] | type[bool]
    words: str
    default: str | int | float | None = None
    label: bool = False
    unit: str = ""
    least: int = -(2**63)
    most: int = 2**63 - 1
    holds: Any = None
    reads: Callable[[str], object] | None = None
    later: bool = False

    def refused(self, values: Collection[Any]) -> str:
        """Why some values of the column's kind cannot stand in it; "" if they can.

        What is written and what is read back are held to this alike.
        """
        if self.kind is str:
            return self._misformed(values) if self.holds or self.reads else ""
        if self.kind is int:
            wrong = [value for value in (min(values), max(values)) if not self.least <= value <= self.most]
        else:
            wrong = [value for value in values if not math.isfinite(value)]
        return f"{wrong[0]}, which is none of {self.least} .. {self.most}" if wrong else ""

    def _misformed(self, values: Collection[str]) -> str:
        for value in set(values):
            try:
                if self.reads:
                    self.reads(value)
                else:
                    checked(self.holds, value, _IT)
            except WorkbenchError as error:
                return f"{shown(value)}: {error}"
        return ""


def modes_in(text: str) -> list[Mode]:
    """Beginnings of failure modes out of the column ``modes``; StoreError for anything else."""
    found: list[Mode] = checked(list[Mode], parsed(text, _IT), _IT)
    return found


def _faults_in(text: str) -> tuple[Record, ...]:
    return faults_in(text, "it")


def values_in(text: str) -> list[list[int]]:
    """The measured V(t) out of the column ``values``: [step, successes, branches]; StoreError for anything else."""
    found: list[list[int]] = checked(VALUES, parsed(text, _IT), _IT)
    if any(successes > branches for _, successes, branches in found):
        raise _IT.wrong("has more successes than branches")
    return found


def _step(name: str, words: str, *, label: bool = True, later: bool = False) -> Column:
    """A column that names a control step, or -1."""
    return Column(name, int, words, -1, label, "control steps", least=-1, most=2**31, later=later)


def _label(name: str, kind: type[str] | type[float], words: str, holds: Any = None) -> Column:
    """A column of words or numbers that may be rewritten."""
    return Column(name, kind, words, default=kind(), label=True, holds=holds)


def _luck(name: str, words: str) -> Column:
    """A column that holds a rate of success under other noise, or -1."""
    return Column(name, float, f"{words}; -1: not measured", -1.0, label=True, later=True)


COLUMNS: tuple[Column, ...] = (
    Column("uid", str, "<seed>:<index>:<digest of the drawn perturbations>", holds=UID),
    Column(
        "index",
        int,
        "decides every random draw of the episode, and its split",
        least=0,
        most=len(SPLITS) * EPISODES_PER_SPLIT - 1,
    ),
    Column("seed", int, "of the run", least=0),
    Column("split", str, "train, fit, select, calibrate or test", holds=Annotated[str, Among(SPLITS)]),
    Column("task", str, "name of the task", holds=WORD),
    Column("model", str, "digest of the compiled model", holds=LINE),
    Column("instruction", str, "what the robot was told at the start"),
    Column("policy", str, "class of the policy", holds=WORD),
    Column(
        "perturbation",
        str,
        "names of the perturbations as composed, joined by '+'; '' for a nominal episode",
        holds=WORD,
    ),
    Column("perturbations", str, "JSON list of their records, as drawn", reads=_faults_in),
    Column(
        "cell",
        str,
        "of a synthesized data set: perturbation, axis and failure rate aimed at; '' elsewhere",
        holds=WORD,
    ),
    Column(
        "execute",
        int,
        "actions of a chunk that are run before the next policy call",
        unit="control steps",
        least=0,
        most=2**31,
    ),
    Column("length", int, "control steps done", unit="control steps", least=1, most=2**31),
    Column("success", bool, "whether the task was done"),
    Column(
        "outcome",
        str,
        "how it ended; readers leave out 'aborted', whose policy was lost on the way",
        label=True,
        holds=WORD,
    ),
    _label(
        "failure_mode",
        str,
        "mode by which a failure is called, of workbench/rollouts/modes.py; '' for a success",
        WORD,
    ),
    Column("modes", str, "JSON list of {mode, step}: every beginning of a failure mode, in order", reads=modes_in),
    _step("t_inj", "first step at which a perturbation was active; -1: never", label=False),
    _step("t_eff", "first step at which the state differs from the nominal twin's; -1: not measured, or none"),
    _step("t_on", "onset: first step after which V(t) stays below one half; -1: not measured, or none"),
    _step("t_on_low", "earliest onset that the branches leave open; -1: as t_on"),
    _step("t_on_high", "latest onset that the branches leave open; -1: as t_on"),
    _step("t_pnr", "point of no return: one past the last step from which the expert succeeds; -1: not measured"),
    _step("t_pnr_low", "earliest point of no return that the trials leave open; -1: not measured"),
    _step("t_pnr_high", "latest point of no return that the trials leave open; -1: not measured"),
    _step(
        "t_lost",
        "lost: one past the last step from which the expert succeeds within two deadlines; the episode's length: not "
        "while it ran; -1: not measured",
        later=True,
    ),
    _step("t_dec", "first of the replaced actions that turn failure into success; -1: not measured, or none"),
    _step("t_dec_end", "one past the last of them; -1: as t_dec"),
    _label("t_dec_by", str, "whose actions replaced them, 'twin' or 'expert'; '' where there are none", WORD),
    _label("responsibility", float, "gain in success rate by that replacement; 0 where there is none"),
    _label("responsibility_low", float, "lower end of its 95 % interval"),
    _label("responsibility_high", float, "upper end of its 95 % interval"),
    Column(
        "values",
        str,
        "JSON list of [step of a policy call, successes, branches]: the measured V(t)",
        "[]",
        label=True,
        reads=values_in,
    ),
    _label("twin", str, "uid of the nominal twin; '' if there is none", UID | NO_UID),
    _luck("luck", "luck: success rate of the same start and faults, rolled again from step 0 under other policy noise"),
    _luck("luck_low", "lower end of its 95 % interval"),
    _luck("luck_high", "upper end of its 95 % interval"),
    Column("luck_runs", int, "reruns behind it; 0: not measured", 0, label=True, least=0, most=2**31, later=True),
)
"""The columns of ``episodes/``, listed here and nowhere else: writers, readers, tables and exports follow."""
EPISODE_COLUMNS: Mapping[str, type] = {column.name: column.kind for column in COLUMNS}
"""Column -> type of its values."""
LABELS: tuple[str, ...] = tuple(column.name for column in COLUMNS if column.label)
"""Columns that may be rewritten once the episode is stored."""


def new_record(**said: Any) -> Record:
    """A row of ``episodes/`` in the order of its columns: what is said of the episode, and the rest's defaults.

    Raises UnknownNameError for a column that there is not, and ConfigError where one without default is missing.
    """
    for name in said:
        if name not in EPISODE_COLUMNS:
            raise UnknownNameError("column of episodes/", name, EPISODE_COLUMNS)
    missing = [column.name for column in COLUMNS if column.default is None and column.name not in said]
    if missing:
        raise ConfigError(f"an episode's record lacks {', '.join(missing)}; these have no default")
    return {column.name: said.get(column.name, column.default) for column in COLUMNS}


@runtime_checkable
class Subscriber(Protocol):
    """Something that follows a rollout: the store, a monitor, a viewer, a progress bar."""

    def on_call(self, episodes: Sequence[Stream], call: PolicyCall) -> None: ...
    def on_end(self, episode: Episode) -> None: ...
