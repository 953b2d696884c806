"""One episode as a Rerun recording: by itself, beside its twin, with branches, or a strategy beside the placebo."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run
from workbench.errors import ConfigError
from workbench.execution.progress import console
from workbench.monitoring.files import folder_of, load_monitors
from workbench.rollouts.shielding import shields_of
from workbench.store import Store
from workbench.viewing.beside import Beside, view_beside
from workbench.viewing.fan import Fan, view_fan
from workbench.viewing.recording import Recording, view
from workbench.viewing.twin import BesideTwin, view_twin


def run(
    run: Run, episode: str | int, monitors: Sequence[str], strategy: str | None, horizon: float, twin: bool, fan: int,
    at: int | str,
) -> None:  # fmt: skip
    """Write ``runs/<name>/recordings/<uid>.rrd``, with the named monitors if the run has any yet."""
    run.refuse_other_store()
    asked = [key for key, wanted in (("strategy", strategy is not None), ("twin", twin), ("fan", fan)) if wanted]
    if len(asked) > 1:
        raise ConfigError(f"a recording shows one of job.{' and job.'.join(asked)}; leave out the others")
    store, folder = Store.open(run.store, aborted=not asked), run.folder / "recordings"
    found: Recording | Beside | BesideTwin | Fan
    if strategy is not None:
        found = _beside(run, store, episode, monitors, strategy, horizon)
    elif twin:
        found = view_twin(store, episode, run.task, run.policy(), into=folder, shields=shields_of(run))
    elif fan:
        behind = shields_of(run)
        found = view_fan(store, episode, run.task, run.policy(), into=folder, at=at, branches=fan, shields=behind)
    else:
        known = load_monitors(run) if folder_of(run).exists() else None
        found = view(store, episode, run.task, [known[name] for name in monitors] if known else [], into=folder)
    path = run.shown(found.path)
    if isinstance(found, Recording):
        run.update_metrics(recording=path, example=found.example.record(), store=run.shown(run.store))
    else:
        console.print(found.words)
    console.print(f"recording: {path}   (open it with: rerun {path})")


def _beside(
    run: Run, store: Store, episode: str | int, monitors: Sequence[str], strategy: str, horizon: float
) -> Beside:
    """The strategy behind the first alarm of the first monitor."""
    if not monitors:
        raise ConfigError("a strategy acts on a monitor's first alarm; name one: job.monitors=[rnd+split_conformal]")
    judge, arm = load_monitors(run)[monitors[0]], {strategy: run.config["strategy"].get(strategy, strategy)}
    into, head, behind = run.folder / "recordings", run.folder / "head", shields_of(run)
    return view_beside(
        store, episode, run.task, run.policy(), judge, arm, into=into, horizon=horizon, head=head, shields=behind
    )
