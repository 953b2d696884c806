"""Strategies by name, each given the parts that it hands over to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.config import build, check_arguments, hash_file, named, parameters_of, weights_digest
from workbench.config.parts import load_policy
from workbench.errors import CheckpointError, ConfigError, UnknownNameError
from workbench.monitoring.monitor import AnyMonitor, scores_of
from workbench.store import Store
from workbench.types import Policy, Record, Strategy, Successes, Task
from workbench.types.detector import Scorer
from workbench.types.reading import shown

EXPERT: Record = {"_target_": "workbench.policies.expert.Expert"}
"""The reference: who collects demonstrations, and says from where an episode could still be won."""


def built(
    strategies: Mapping[str, Any],
    task: Task,
    policy: Policy,
    expert: Record,
    head: Path | None,
    monitors: Iterable[AnyMonitor] = (),
) -> dict[str, Strategy]:
    """Strategies by name, each given what its constructor asks for: task, expert, head, a named policy, a score.

    Parameters
    ----------
    strategies : name -> configuration, or an object of your own.
    monitors : whose scores can be named, the first of them that which alarms.
    """
    found = {}
    for name, node in strategies.items():
        if not isinstance(node, Mapping):
            refuse_no_strategy(node)
            found[name] = node
            continue
        check_arguments(node, f"strategy.{name}")
        wanted = parameters_of(node["_target_"])
        given: dict[str, Any] = {}
        if "task" in wanted:
            given["task"] = task
        if "strong" in wanted:
            if not isinstance(node.get("strong"), str):
                raise ConfigError(
                    f"strategy {name} hands over to a policy, and none is named: strategy.{name}.strong=zoo/lift_flow"
                )
            given["strong"] = named.policy(node["strong"], task)
        if "expert" in wanted:
            given["expert"] = build(expert, task=task)
        if "head" in wanted:
            given["head"] = _head(name, policy, task, head)
        if "corrector" in wanted:
            folder = None if head is None else corrector_beside(head)
            if folder is None or not folder.exists():
                raise ConfigError(
                    f"strategy {name} goes by a corrector, and there is none; workbench correct makes what it learns "
                    "from, and workbench recover trains it"
                )
            given["corrector"] = folder
        if "tuned" in wanted:
            path = None if head is None else skill_beside(head)
            if path is None or not path.exists():
                raise ConfigError(
                    f"strategy {name} goes by tuned numbers, and there are none; workbench tune makes them"
                )
            given["tuned"] = path
        if "successes" in wanted:
            given["successes"] = _successes(name, node.get("successes"), task, policy)
        if "score" in wanted:
            given["score"] = _score(name, node.get("score"), tuple(monitors))
        found[name] = build({key: value for key, value in node.items() if key not in given}, **given)
    return found


def _score(strategy: str, wanted: str | None, monitors: Sequence[AnyMonitor]) -> Scorer:
    """The score that a strategy goes by: the one that is named, or that of the first monitor."""
    if not monitors:
        raise ConfigError(f"strategy {strategy} goes by a fitted score, and there is none; roll it behind a monitor")
    there, alarming = scores_of(monitors), scores_of(monitors[:1])
    if wanted is None and len(alarming) > 1:
        raise ConfigError(
            f"strategy {strategy} goes by one score, and monitor {monitors[0].name} has {', '.join(sorted(alarming))}; "
            f"name one: strategy.{strategy}.score={min(alarming)}"
        )
    name = wanted or next(iter(alarming))
    if name not in there:
        raise UnknownNameError(f"fitted score for strategy.{strategy}.score", name, there)
    return there[name].score


def _successes(strategy: str, store: Any, task: Task, policy: Policy) -> Successes:
    """The policy's own successes in the fit split of a store."""
    from workbench.rollouts.successes import own_successes  # which rolls, and so knows guards

    if not isinstance(store, str | Path):
        raise ConfigError(
            f"strategy {strategy} goes by the policy's own successes, and no data set is named: "
            f"strategy.{strategy}.successes=datasets/quickstart.zarr"
        )
    return own_successes(Store.open(Path(store)), task, policy)


def described_strategies(strategies: Mapping[str, Any]) -> Record:
    """Strategies as a header says them: no paths of data sets, but digests of what lies there."""
    return {
        name: {**with_weights(node), "successes": Store.open(Path(node["successes"])).digest(labels=False)}
        if isinstance(node, Mapping) and "successes" in parameters_of(node["_target_"])
        else with_weights(node)
        for name, node in strategies.items()
    }


def with_weights(node: Any) -> Any:
    """A strategy's configuration, with the digest of the checkpoint that it hands over to, where it names a folder.

    The folder's name stays the same when it is trained anew; what comes of it does not.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("strong"), str):
        return node
    folder = Path(node["strong"])
    return {**node, "strong_weights": weights_digest(folder)} if (folder / "policy.json").is_file() else node


def corrector_beside(head: Path) -> Path:
    """Folder of the corrector of a run, beside that of its recovery head."""
    return head.with_name("corrector")


def skill_beside(head: Path) -> Path:
    """File of the tuned skill of a run, beside its recovery head."""
    return Path(head).with_name("skill.json")


def beside(strategies: Mapping[str, Any], head: Path | None) -> Record:
    """Digests of what lies beside a recovery head, of which strategies need it: a corrector, a tuned skill."""
    found = {}
    if head is not None and _asks_for("corrector", strategies):
        found["corrector"] = weights_digest(corrector_beside(Path(head)))
    if head is not None and _asks_for("tuned", strategies):
        found["skill"] = hash_file(skill_beside(Path(head)))
    return found


def needs_corrector(strategies: Mapping[str, Any]) -> bool:
    """Whether any strategy goes by what a corrector says."""
    return _asks_for("corrector", strategies)


def _head(name: str, policy: Policy, task: Task, folder: Path | None) -> Policy:
    """The recovery head of a folder, of the policy's kind and for this task."""
    if folder is None or not Path(folder).exists():
        raise ConfigError(
            f"strategy {name} hands over to a recovery head, and there is none; workbench recover trains one"
        )
    try:
        return load_policy(type(policy), Path(folder), task)
    except CheckpointError as error:
        raise CheckpointError(
            f"strategy {name} cannot hand over to the recovery head: {error}; workbench recover overwrite=true trains "
            "one of this policy"
        ) from None


def refuse_no_strategy(part: Any) -> None:
    """ConfigError for what is no strategy."""
    if missing := [each for each in ("name", "needs", "begin", "act") if not hasattr(part, each)]:
        raise ConfigError(
            f"a strategy is needed, such as wb.strategy('placebo'), and {shown(part)} lacks {', '.join(missing)}"
        )


def needs_head(strategies: Mapping[str, Any]) -> bool:
    """Whether any strategy is driven by a learned head."""
    return _asks_for("head", strategies)


def _asks_for(part: str, strategies: Mapping[str, Any]) -> bool:
    nodes = [node for node in strategies.values() if isinstance(node, Mapping)]
    return any(part in parameters_of(node["_target_"]) for node in nodes)
