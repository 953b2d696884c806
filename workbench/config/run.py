"""One composed configuration, its folders, and what it builds."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from workbench.config.build import build, resolve
from workbench.config.compose import command_asked
from workbench.config.files import root_folder, write_text
from workbench.config.parts import ZOO, made, made_policy
from workbench.config.schema import refuse_other_kinds
from workbench.errors import CheckpointError, ConfigError, StoreError
from workbench.types import Policy, Record, Task


class Run:
    """One composed configuration, its folders, and what it builds.

    Parameters
    ----------
    config : the composed configuration as plain data.
    root : folder below which ``runs/`` and ``datasets/`` lie.
    """

    def __init__(self, config: Record, root: Path | None = None) -> None:
        refuse_other_kinds(config)
        self.config = config
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
        return Run, (self.config, self.root)

    def refuse_other_store(self) -> None:
        """Refuse to put the numbers of one store beside those of another."""
        other = self.metrics().get("store")
        if other not in (None, self.shown(self.store)):
            raise ConfigError(
                f"{self.shown(self.folder)} holds the numbers of {other}; "
                f"choose another name=... for {self.shown(self.store)}"
            )

    def metrics(self) -> Record:
        """What ``metrics.json`` holds so far."""
        path = self.folder / "metrics.json"
        if not path.exists():
            return {}
        try:
            found: Record = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise StoreError(f"{self.shown(path)} is not JSON ({error}); move it away and run the job again") from None
        return found

    def update_metrics(self, **sections: Any) -> None:
        """Replace sections of ``metrics.json``, all or none of them."""
        before = self.metrics()
        merged = {**before, **sections}
        if command := command_asked():
            # In the order in which they were given last: what comes later was made of what came before.
            earlier = {job: said for job, said in before.get("commands", {}).items() if job not in command}
            merged["commands"] = {**earlier, **command}
        for key in ("policy", "labels"):
            if isinstance(sections.get(key), dict):
                merged[key] = {**before.get(key, {}), **sections[key]}
        write_text(self.folder / "metrics.json", json.dumps(merged, indent=2))
