"""One composed configuration, its folders, and what it builds."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.config.build import build, resolve
from workbench.config.compose import compose, plain, raw_name, varied_words, words_asked
from workbench.config.files import locked, root_folder, write_text
from workbench.config.journal import JOURNAL, Entry, read_journal
from workbench.config.metrics import check, finite
from workbench.config.parts import ZOO, made, made_policy
from workbench.config.remembered import FORGETFUL, GROUPS, remembered
from workbench.config.schema import refuse_other_kinds
from workbench.config.sweep import MAKES, job_of_words, key_of, point_words
from workbench.errors import CheckpointError, ConfigError, StoreError
from workbench.types import Policy, Record, Task
from workbench.types.reading import Source, read_json

LARGEST_BYTES = 256 * 2**20
"""Of a ``metrics.json`` that is read."""


class Run:
    """One composed configuration, its folders, and what it builds.

    Parameters
    ----------
    config : the composed configuration as plain data.
    root : folder below which ``runs/`` and ``datasets/`` lie.
    words : what was composed to it.

    Attributes
    ----------
    taken : those of the words that nobody said, but the run's journal.
    of, stage : where this is one stage of a job, the words of that job, and which stage.
    """

    def __init__(self, config: Record, root: Path | None = None, words: Sequence[str] = ()) -> None:
        refuse_other_kinds(config)
        self.config, self.words = config, tuple(words)
        self.taken: tuple[str, ...] = ()
        self.of: tuple[str, ...] | None = None
        self.stage = ""
        given = Path(config["root"]).absolute() if config.get("root") else root_folder()
        self.root = given if root is None else root
        self.name: str = config["name"]
        self.seed: int = config["seed"]
        self.overwrite: bool = config["overwrite"]
        self.runner: Any = build(config["runner"])  # where the work is done, see workbench.execution.executor.Executor
        if self.zoo and config["checkpoint"] is not None:
            raise ConfigError(
                f"checkpoint={config['checkpoint']} and policy=zoo/{self.zoo} both name weights; leave one of them out"
            )

    @classmethod
    def asked(cls, composed: Any) -> Run:
        """The run that Hydra composed; a point of a sweep has a name of its own, and takes what its runs remember."""
        words, varied = words_asked(), varied_words()
        asked = cls(plain(composed), words=words)
        run = point_of(asked, varied, raw_name(composed)) if varied else asked
        if job_of_words(words) not in FORGETFUL:
            run.metrics()  # what is damaged is said before anything is made
        return run

    @property
    def zoo(self) -> str:
        """Entry of the zoo whose weights the policy has; "" where they lie in a checkpoint of the user's own."""
        return str((self.config["policy"] or {}).get("zoo", ""))

    @property
    def folder(self) -> Path:
        """``runs/<name>/``."""
        return self.root / "runs" / self.name

    @property
    def store(self) -> Path:
        """Store of the rollouts."""
        return self.root / "datasets" / f"{self.config['store']}.zarr"

    @property
    def demos(self) -> Path:
        """Store of the expert's demonstrations."""
        return self.root / "datasets" / f"{self.config['demos']}.zarr"

    @property
    def checkpoint(self) -> Path:
        """Folder of the policy's weights."""
        if self.zoo:
            return ZOO / self.zoo
        given = self.config["checkpoint"]
        return self.folder / "policy" if given is None else self.root / given

    def shown(self, path: Path) -> str:
        """A path as it is printed and stored: relative to the root."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    @functools.cached_property
    def task(self) -> Task:
        """The task."""
        task: Task = made(self.config["task"])
        return task

    @property
    def perturbations(self) -> dict[str, Any]:
        """The faults, by name."""
        return {name: made(node) for name, node in self.config["perturbation"].items()}

    @property
    def rolling(self) -> Record:
        """How episodes are rolled, as :func:`workbench.rollouts.rolling.rollout` takes it."""
        return {**self.config["rollout"], "seed": self.seed, "runner": self.runner}

    @property
    def learns(self) -> bool:
        """Whether the policy has weights."""
        return hasattr(resolve(self.config["policy"]["_target_"]), "load")

    def refuse_untrainable(self) -> None:
        """ConfigError for a policy that learns nothing, or whose weights are of the zoo."""
        if self.zoo:
            raise ConfigError(
                f"policy=zoo/{self.zoo} is trained: there is nothing to train; policy=flow trains one of your own, and "
                "workbench zoo makes an entry of the zoo again"
            )
        if not self.learns:
            kind = self.config["policy"]["_target_"].rpartition(".")[-1]
            raise ConfigError(f"{kind} learns nothing, so it cannot be trained; choose a policy that can: policy=flow")

    def policy(self, trained: bool = True) -> Policy:
        """The policy, with its weights if it has any and ``trained`` is asked for."""
        node, learns = self.config["policy"], self.learns
        if learns and not trained:
            policy: Policy = made(node)
            return policy
        if learns and not self.zoo and not self.checkpoint.exists():
            raise CheckpointError(
                f"there is no checkpoint at {self.shown(self.checkpoint)}; "
                f"train one with: workbench train name={self.name}"
            )
        return made_policy(node, self.task, self.checkpoint)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as configuration alone; they build their own task."""
        return Run, (self.config, self.root, self.words)

    def refuse_other_store(self) -> None:
        """Refuse to put the numbers of one store beside those of another."""
        other = self.metrics().get("store")
        if other not in (None, self.shown(self.store)):
            raise ConfigError(
                f"{self.shown(self.folder)} holds the numbers of {other}; "
                f"choose another name=... for {self.shown(self.store)}"
            )

    def journal(self) -> tuple[Entry, ...]:
        """What was done in the run so far; StoreError if a line is damaged."""
        return read_journal(self.folder, self.shown(self.folder / JOURNAL))

    def metrics(self) -> Record:
        """What ``metrics.json`` holds so far; StoreError if anything in it is not what belongs there."""
        path = self.folder / "metrics.json"
        return read_metrics(path, self.shown(path))

    def update_metrics(self, **sections: Any) -> None:
        """Replace sections of ``metrics.json``, all or none of them, whoever else writes others."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder):
            before = self.metrics()
            merged = {**before, **sections}
            for key in ("policy", "labels"):
                if isinstance(sections.get(key), dict):
                    merged[key] = {**(before.get(key) or {}), **sections[key]}
            text = json.dumps(finite(merged), indent=2, allow_nan=False)
            check(json.loads(text), Source("what is to be written to metrics.json", StoreError))
            write_text(self.folder / "metrics.json", text)


def recalled(words: Sequence[str]) -> list[str]:
    """Words that the run which some words name has been made with, where they are not said again."""
    # Words of groups and of what stands in them may need the remembered ones to compose.
    naming = [word for word in words if key_of(word).partition(".")[0] not in (*GROUPS, "perturbation", "protocol")]
    try:
        run = Run(compose(naming))
    except ConfigError:
        return []  # what is wrong with the words is said where all of them are checked
    return remembered(run.journal(), words)


def point_of(run: Run, varied: Sequence[str], raw: str) -> Run:
    """One point of a sweep, with a name, a store and a journal of its own; ``run`` is what its words alone compose to.

    Parameters
    ----------
    varied : the words that differ from point to point.
    raw : the name that was asked for, interpolations left as they are.
    """
    makes = MAKES.get(job_of_words(run.words), ())
    lent = [word for word in remembered(run.journal(), run.words) if key_of(word) not in makes]
    base = compose([*run.words, *lent])
    named = point_words([*run.words, *lent], varied, base, raw, run.root)
    own = Run(compose(named))
    said = [word for word in named if word not in lent]
    entries = [*run.journal(), *(own.journal() if own.name != run.name else ())]
    taken = [word for word in remembered(entries, said) if key_of(word) not in makes]
    found = Run(compose([*said, *taken]), words=[*said, *taken])
    found.taken = tuple(taken)
    return found


def read_metrics(path: Path, shown: str) -> Record:
    """What a ``metrics.json`` holds; nothing where there is none, StoreError for what does not belong there."""
    if not path.exists():
        return {}
    source = Source(shown, StoreError, "move it away and run the job again")
    found: Record = finite(read_json(path, source, LARGEST_BYTES, infinite=True))
    check(found, source)
    return found
