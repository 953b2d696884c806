"""How many episodes of a store succeeded, by fault, by failure mode and by instruction."""

from __future__ import annotations

from workbench.stats.proportions import confusion
from workbench.store import Store
from workbench.types import Record
from workbench.types.faults import faults_in


def summary(store: Store, split: str = "test") -> Record:
    """Counts of a split: ``policy`` (nominal), ``perturbed`` (by perturbation) and ``modes`` (seen, by injected)."""
    rows = store.episodes
    wanted = [row for row, name in enumerate(rows["split"]) if name == split]
    counts: dict[str, list[bool]] = {}
    channels: dict[str, str] = {}
    for row in wanted:
        name = str(rows["perturbation"][row])
        counts.setdefault(name, []).append(bool(rows["success"][row]))
        records = faults_in(rows["perturbations"][row], f"{store.path}, perturbations of {rows['uid'][row]}")
        channels[name] = "+".join(record["channel"] for record in records)
    nominal = counts.pop("", [])
    return {
        "policy": {"nominal": {"episodes": len(nominal), "successes": sum(nominal)}},
        "perturbed": [
            {"perturbation": name, "channel": channels[name], "episodes": len(successes), "successes": sum(successes)}
            for name, successes in sorted(counts.items())
        ],
        "modes": confusion({name: [rows[name][row] for row in wanted] for name in ("perturbation", "failure_mode")}),
    }


def diverged(store: Store) -> list[str]:
    """Uids of the episodes whose physics diverged; they are kept up to the action that did it."""
    return [uid for uid, outcome in zip(store.uids, store.episodes["outcome"], strict=True) if outcome == "diverged"]
