"""Strategies by name, each given the parts that it hands over to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.config import build, check_arguments, hash_file, named, parameters_of, weights_digest
from workbench.config.named import nodes
from workbench.config.parts import load_policy
from workbench.errors import CheckpointError, ConfigError, UnknownNameError
from workbench.execution.ledger import differing, plain
from workbench.monitoring.monitor import AnyMonitor, scores_of
from workbench.store import Store
from workbench.types import Policy, Record, Strategy, Successes, Task
from workbench.types.detector import Scorer
from workbench.types.reading import shown

EXPERT: Record = {"_target_": "workbench.policies.expert.Expert"}
"""The reference: who collects demonstrations, and says from where an episode could still be won."""
ACTS = "acts"
"""Argument of a strategy that leaves the acting to another one."""
LEARNED = {"head": "head", "corrector": "corrector", "benefit": "benefit", "tuned": "skill.json"}
"""Arguments that are learned before, and where they lie, beside the recovery head: folders of weights, or a file."""


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
    found: dict[str, Strategy] = {}
    whole = composed(strategies)
    for name, node in sorted(whole.items(), key=lambda each: leaves_acting(each[1])):
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
            given["corrector"] = _learned(
                head,
                "corrector",
                f"strategy {name} goes by a corrector, and there is none; workbench correct makes what it learns from, "
                "and workbench recover trains it",
            )
        if "tuned" in wanted:
            missing = f"strategy {name} goes by tuned numbers, and there are none; workbench tune makes them"
            given["tuned"] = _learned(head, "tuned", missing)
        if "benefit" in wanted:
            given["benefit"] = _learned(
                head,
                "benefit",
                f"strategy {name} goes by a predicted benefit, and there is none; workbench recover "
                f"'strategy=[placebo,{name}]' trains it",
            )
        if ACTS in wanted:
            given[ACTS] = _acting(node[ACTS], whole, found) or next(
                iter(built({ACTS: node[ACTS]}, task, policy, expert, head, monitors).values())
            )
        if "successes" in wanted:
            given["successes"] = _successes(name, node.get("successes"), task, policy)
        if "score" in wanted:
            given["score"] = _score(name, node.get("score"), tuple(monitors))
        found[name] = build({key: value for key, value in node.items() if key not in given}, **given)
        if "benefit" in wanted:
            _refuse_other_arm(name, found[name], node[ACTS], head)
    return {name: found[name] for name in whole}


def composed(strategies: Mapping[str, Any]) -> dict[str, Any]:
    """Strategies by name; one that leaves the acting to another names it no longer, but says it whole.

    By a name is meant the one of that name that stands beside it, or else that of ``conf/``.

    Raises
    ------
    ConfigError
        if it is left to none, or to one that leaves it to another again.
    """
    found = dict(strategies)
    for name, node in strategies.items():
        if not leaves_acting(node):
            continue
        acts = node.get(ACTS)
        if isinstance(acts, str):
            acts = strategies[acts] if acts in strategies else nodes("strategy", [acts])[acts]
        if not isinstance(acts, Mapping) or leaves_acting(acts):
            raise ConfigError(
                f"strategy {name} leaves the acting to another one, such as strategy.{name}.acts=head, and not to "
                f"{shown(node.get(ACTS))}"
            )
        found[name] = {**node, ACTS: dict(acts)}
    return found


def leaves_acting(node: Any) -> bool:
    """Whether a strategy's configuration leaves the acting to another one."""
    return isinstance(node, Mapping) and ACTS in parameters_of(node["_target_"])


def _acting(node: Record, whole: Mapping[str, Any], found: Mapping[str, Strategy]) -> Strategy | None:
    """The strategy of that configuration which stands beside it, so that what both ask for is rolled once."""
    return next((found[name] for name, each in whole.items() if each == node and name in found), None)


def _refuse_other_arm(name: str, strategy: Any, acts: Record, head: Path | None) -> None:
    """CheckpointError if the benefit was learned of another strategy than acts, or of other weights of it."""
    learned, remedy = strategy.benefit, "workbench recover overwrite=true learns it of this one"
    if differs := differing(learned.arm, plain(acts)):
        raise CheckpointError(
            f"strategy {name} acts by another {' and '.join(differs)} than its benefit was learned of; {remedy}"
        )
    if differs := differing(dict(learned.weights), learned_parts({ACTS: acts}, head)):
        raise CheckpointError(
            f"strategy {name} acts by another {' and '.join(differs)} than its benefit was learned of; {remedy}"
        )


def refuse_learned_behind_another(strategy: Any, monitor: str) -> None:
    """CheckpointError if what says when a strategy acts was calibrated behind the alarms of another monitor."""
    learned = getattr(getattr(strategy, "benefit", None), "monitor", "")
    if learned not in ("", monitor):
        raise CheckpointError(
            f"strategy {strategy.name} learned when to act behind {learned}, of {monitor} nothing is known; take that "
            "monitor, or learn it anew: workbench recover overwrite=true"
        )


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
    return {name: _described(node) for name, node in composed(strategies).items()}


def _described(node: Any) -> Any:
    node = with_weights(node)
    if leaves_acting(node):
        return {**node, ACTS: _described(node[ACTS])}
    if isinstance(node, Mapping) and "successes" in parameters_of(node["_target_"]):
        return {**node, "successes": Store.open(Path(node["successes"])).digest(labels=False)}
    return node


def with_weights(node: Any) -> Any:
    """A strategy's configuration, with the digest of the checkpoint that it hands over to, where it names a folder.

    The folder's name stays the same when it is trained anew; what comes of it does not.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("strong"), str):
        return node
    folder = Path(node["strong"])
    return {**node, "strong_weights": weights_digest(folder)} if (folder / "policy.json").is_file() else node


def beside(head: Path, part: str) -> Path:
    """Where a learned part of a run lies: the recovery head's folder, or what lies beside it."""
    return Path(head) if part == "head" else Path(head).with_name(LEARNED[part])


def _learned(head: Path | None, part: str, missing: str) -> Path:
    """Where a learned part lies; ConfigError where there is none."""
    if head is None or not beside(head, part).exists():
        raise ConfigError(missing)
    return beside(head, part)


def learned_parts(strategies: Mapping[str, Any], head: Path | None) -> dict[str, str]:
    """Digests of the learned parts that strategies act by: weights of folders, contents of files."""
    places = {part: beside(head, part) for part in parts_asked(strategies)} if head else {}
    return {part: weights_digest(place) if place.is_dir() else hash_file(place) for part, place in places.items()}


def parts_asked(strategies: Mapping[str, Any]) -> list[str]:
    """Learned parts that strategies act by."""
    return [part for part in LEARNED if _asks_for(part, strategies)]


def needs_corrector(strategies: Mapping[str, Any]) -> bool:
    """Whether any strategy goes by what a corrector says."""
    return _asks_for("corrector", strategies)


def needs_benefit(strategies: Mapping[str, Any]) -> bool:
    """Whether any strategy goes by a predicted benefit."""
    return _asks_for("benefit", strategies)


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
    known = [node for node in composed(strategies).values() if isinstance(node, Mapping)]
    known += [node[ACTS] for node in known if leaves_acting(node)]
    return any(part in parameters_of(node["_target_"]) for node in known)
