"""Episodes of the trained policy, nominal or perturbed."""

from __future__ import annotations

from collections.abc import Mapping

from workbench.attribution.instructions import instructions_of
from workbench.config import Run
from workbench.execution.progress import console
from workbench.reporting.report import terminal_tables
from workbench.rollouts.guard import guard_of
from workbench.rollouts.rolling import rollout
from workbench.rollouts.serving import same_server
from workbench.rollouts.shielding import shield_rows, shields_of, veto_log
from workbench.rollouts.summary import diverged, summary
from workbench.types import Count, Episodes, Positive


def run(
    run: Run,
    episodes: Mapping[str, Episodes],
    one_each: bool,
    monitor: str | None,
    fitted_in: str | None,
    horizon: float,
    most: Positive,
    cool_down: Count,
    held: bool,
) -> None:
    """Roll episodes of each split into ``datasets/<store>.zarr``; those that are there already are kept."""
    run.refuse_other_store()
    guard = guard_of(run, monitor, fitted_in, horizon, most, cool_down, held)
    faults, policy = run.perturbations, run.policy()  # what is refused is refused once, and not in every worker
    if said := same_server(policy, run.metrics().get("server"), run.store):
        run.update_metrics(server=said)
        console.print("server:", said)
    shields = shields_of(run)
    store = rollout(
        run.task,
        policy,
        faults,
        episodes=episodes,
        into=run.store,
        one_each=one_each,
        guard=guard,
        shields=shields,
        **run.rolling,
    )
    run.update_metrics(**summary(store), **instructions_of(store, run.task), store=run.shown(run.store))
    if shields:
        run.update_metrics(shields=shield_rows(store))
        veto_log(store).write(run.folder / "vetoes.csv")
    shown = ("policy", "instructions", "misled", "perturbed", "modes", "shields")
    console.print(*terminal_tables(run.metrics(), only=shown))
    console.print(f"store: {run.shown(run.store)}")
    if lost := diverged(store):
        console.print(
            f"the physics diverged in {len(lost)} of {len(store)} episodes; they are kept up to the action that "
            f"did it: workbench replay job.episode={lost[0]}"
        )
