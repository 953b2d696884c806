"""Does a policy keep the contract?  The laws, one function each, and what they are tried on."""

from __future__ import annotations

import copy
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.testing.contract import blaming, global_streams_left_alone, name_of, require
from workbench.types import Array, Observation, Policy, PolicyOutput, Stream, Task
from workbench.types.abilities import image_sizes_of, images_of

SCENES, SAMPLES, SEED = 3, 4, 0


def check_policy(policy: Policy, task: Task, atol: float = 1e-5) -> tuple[str, ...]:
    """Raise at the first law that a policy breaks on a task; returns the laws that it keeps.

    Parameters
    ----------
    policy : as it drives; trained, if it learns.
    task : of which it is shown a few scenes.
    atol : by how much an action may differ with how many scenes share a call.

    Raises
    ------
    ContractError
        What is wrong, and what is probably the cause.
    """
    declares_what_it_sees(policy, task)
    case = PolicyCase(policy, task, atol)
    for law in LAWS:
        law(case)
    return tuple(law.__name__ for law in TRIED)


@dataclasses.dataclass(frozen=True)
class PolicyCase:
    """A policy and the task on which it is tried; see :func:`check_policy`."""

    policy: Policy
    task: Task
    atol: float = 1e-5

    @property
    def who(self) -> str:
        """How messages call the policy."""
        return name_of(self.policy, "policy")

    @functools.cached_property
    def seen(self) -> Observation:
        """What it is shown: (N, history, size) of the first control steps of a few episodes, each moved at random."""
        histories = [_history(self.task, self.policy, number) for number in range(SCENES)]
        return {key: np.stack([each[key] for each in histories]) for key in histories[0]}

    @functools.cached_property
    def output(self) -> PolicyOutput:
        """Its plan with samples."""
        return self.plan(samples=SAMPLES)

    def plan(
        self,
        rows: Sequence[int] = range(SCENES),
        samples: int = 0,
        policy: Policy | None = None,
        seen: Observation | None = None,
        seed: int = SEED,
    ) -> PolicyOutput:
        """Its plan for some of the scenes, each with the noise that is its own; ``seen`` is shown as it is."""
        asking: Any = policy or self.policy
        shown = seen or {key: value[list(rows)] for key, value in self.seen.items()}
        noise = [Stream(seed, row).child("check_policy").at() for row in rows]
        told = {"instructions": [self.task.instruction for _ in rows]} if self.policy.listens else {}
        with blaming(self.who, f"plan for {len(noise)} scenes with samples={samples}"):
            output: PolicyOutput = asking.plan(shown, noise, samples=samples, **told)
        return output


def declares_what_it_sees(policy: Policy, task: Task) -> None:
    """It has the members of the contract, and they fit one another and the task."""
    who = name_of(policy, "policy")
    counts = {name: getattr(policy, name, None) for name in ("history", "horizon", "execute")}
    wrong = {name: value for name, value in counts.items() if isinstance(value, bool) or not _whole(value)}
    require(not wrong, who, f"{wrong} must be whole numbers from 1 up: numbers of observations and of actions")
    require(
        policy.execute <= policy.horizon,
        who,
        f"execute={policy.execute} actions of a chunk are to be run, and horizon={policy.horizon} is all it has",
    )
    flags = {name: getattr(policy, name, None) for name in ("privileged", "listens")}
    require(all(isinstance(flag, bool) for flag in flags.values()), who, f"{flags} must each be True or False")
    require(callable(getattr(policy, "plan", None)), who, "it has no plan; see workbench.types.Policy")
    for name in ("cameras", "signals"):
        words = getattr(policy, name, None)
        listed = isinstance(words, Sequence) and not isinstance(words, str)
        require(listed and all(isinstance(word, str) for word in words or ()), who, f"{name}={words!r} must be names")
    missing = sorted(set(policy.cameras) - set(image_sizes_of(task)))
    require(not missing, who, f"it looks through {missing}, which task {task.name} does not have: set task.cameras")


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and bool(value >= 1)


def plans_have_the_declared_shape(case: PolicyCase) -> None:
    """Chunk (N, H, A), samples (N, B, H, A) and embedding (N, D) are finite arrays of numbers."""
    policy, size = case.policy, case.task.action_size
    wanted = {"chunk": (SCENES, policy.horizon, size), "samples": (SCENES, SAMPLES, policy.horizon, size)}
    for name, shape in wanted.items():
        value = getattr(case.output, name)
        if value is None and name == "samples":
            continue  # a policy that always does the same draws none
        found = np.shape(value)
        require(
            isinstance(value, np.ndarray) and found == shape,
            case.who,
            f"its {name} is {type(value).__name__} of shape {found}, and must be an array of shape {shape}: "
            f"{SCENES} scenes, horizon={policy.horizon}, action_size={size} of task {case.task.name}",
        )
        require(bool(np.isfinite(value).all()), case.who, f"its {name} of an ordinary observation is not finite")
    embedding = case.output.embedding
    if embedding is not None:
        fits = isinstance(embedding, np.ndarray) and embedding.ndim == 2 and len(embedding) == SCENES
        require(
            fits, case.who, f"its embedding has shape {np.shape(embedding)}, and must be one vector a scene, (N, D)"
        )
        require(bool(np.isfinite(embedding).all()), case.who, "its embedding of an ordinary observation is not finite")
    without = case.plan(samples=0).samples
    require(without is None or without.shape[1] == 0, case.who, "it returns samples where none are asked for")


def noise_decides(case: PolicyCase) -> None:
    """The same observations and generators give the same plan, and no generator is touched that others use."""
    with global_streams_left_alone(case.who, "plan"):
        again = case.plan(samples=SAMPLES)
    require(
        _same(again, case.output),
        case.who,
        "the same observations with the same generators give another plan; is something drawn elsewhere than from "
        "`noise`, or remembered from the last call?",
    )


def samples_do_not_change_the_chunk(case: PolicyCase) -> None:
    """The noise of the chunk is drawn before that of the samples."""
    for samples in (0, 1, 2 * SAMPLES):
        require(
            np.allclose(case.plan(samples=samples).chunk, case.output.chunk, rtol=0, atol=case.atol),
            case.who,
            f"with samples={samples} it plans another chunk than with {SAMPLES}; draw the chunk's noise first",
        )


def calls_leave_nothing_behind(case: PolicyCase) -> None:
    """A plan for other scenes in between changes nothing: a policy holds no state between calls."""
    first = case.plan(samples=SAMPLES)
    case.plan([SCENES - 1], samples=1, seed=SEED + 1)
    require(
        _same(case.plan(samples=SAMPLES), first),
        case.who,
        "after a call for another scene it plans differently; it must hold no state between calls, since scenes share "
        "one policy and a snapshot does not save it",
    )


def scenes_stay_apart(case: PolicyCase) -> None:
    """A batch of one is a row of the batch of many, wherever it stands there."""
    for number in range(SCENES):
        alone = case.plan([number], samples=SAMPLES)
        require(
            _near(alone, case.output, [number], case.atol),
            case.who,
            f"scene {number} alone gets another plan than beside others; is something normalised over the batch, or "
            "one generator used for all scenes?",
        )
    turned = [*reversed(range(SCENES))]
    require(
        _near(case.plan(turned, samples=SAMPLES), case.output, turned, case.atol),
        case.who,
        "scenes in another order get other plans; scene i has to draw from noise[i] alone",
    )


def what_it_is_shown_stays_as_it_is(case: PolicyCase) -> None:
    """It changes nothing in the observations that it is handed."""
    shown = copy.deepcopy(dict(case.seen))
    case.plan(samples=1, seen=shown)
    changed = [key for key, value in case.seen.items() if not np.array_equal(shown[key], value)]
    require(not changed, case.who, f"plan writes into the observations {changed} that it is handed; work on a copy")


def signals_can_be_asked_for(case: PolicyCase) -> None:
    """Each signal that it names is said when asked for, one row a scene, and changes nothing else."""
    asking: Any = case.policy
    for name in case.policy.signals:
        noise = [Stream(SEED, row).child("check_policy").at() for row in range(SCENES)]
        told = {"instructions": [case.task.instruction] * SCENES} if case.policy.listens else {}
        with blaming(case.who, f"plan(..., signals=[{name!r}])"):
            output = asking.plan(case.seen, noise, samples=SAMPLES, signals=[name], **told)
        value = output.signals.get(name)
        require(value is not None and len(value) == SCENES, case.who, f"asked for {name} it says {np.shape(value)}")
        require(_near(output, case.output, range(SCENES), case.atol), case.who, f"asked for {name} it plans otherwise")


def weights_survive_the_round_trip(case: PolicyCase) -> None:
    """Saved and loaded, it plans the same; for a policy that can be loaded."""
    kind: Any = type(case.policy)
    if not hasattr(kind, "load"):
        return
    with tempfile.TemporaryDirectory() as folder:
        with blaming(case.who, "save, then load"):
            case.policy.save(Path(folder))
            loaded = kind.load(
                Path(folder),
                task=case.task.name,
                observation_sizes=case.task.observation_sizes,
                image_sizes=image_sizes_of(case.task),
            )
        require(
            _same(case.plan(samples=SAMPLES, policy=loaded), case.output),
            case.who,
            "saved and loaded it plans differently; is a setting or a weight left out of what is saved?",
        )


LAWS: tuple[Callable[[PolicyCase], None], ...] = (
    plans_have_the_declared_shape,
    noise_decides,
    samples_do_not_change_the_chunk,
    calls_leave_nothing_behind,
    scenes_stay_apart,
    what_it_is_shown_stays_as_it_is,
    signals_can_be_asked_for,
    weights_survive_the_round_trip,
)
TRIED: tuple[Callable[..., None], ...] = (declares_what_it_sees, *LAWS)
"""Every law, in order."""


def _history(task: Task, policy: Policy, number: int) -> dict[str, Array]:
    """What a policy is shown of one episode once its history is full; images are the present ones."""
    stream = Stream(SEED, number)
    scene, actions = task.scene(), stream.child("actions").at().uniform(-1, 1, (policy.history - 1, task.action_size))
    seen = [scene.begin(stream), *(scene.step(action)[0] for action in actions)]
    if policy.privileged:
        # Without a fault what is true is what is seen.
        seen = [*seen[:-1], scene.truth().observation]
    shown = {key: np.stack([each[key] for each in seen]) for key in seen[0]}
    images = images_of(scene) if policy.cameras else {}
    return shown | {f"images/{camera}": images[f"images/{camera}"] for camera in policy.cameras}


def _pairs(one: PolicyOutput, other: PolicyOutput) -> list[tuple[Array | None, Array | None]]:
    """Chunk, samples and embedding of two plans, those of which at least one has any."""
    pairs = [(one.chunk, other.chunk), (one.samples, other.samples), (one.embedding, other.embedding)]
    return [(a, b) for a, b in pairs if a is not None or b is not None]


def _same(one: PolicyOutput, other: PolicyOutput) -> bool:
    return all(a is not None and b is not None and np.array_equal(a, b) for a, b in _pairs(one, other))


def _near(one: PolicyOutput, whole: PolicyOutput, rows: Sequence[int], atol: float) -> bool:
    return all(
        a is not None and b is not None and np.allclose(a, b[list(rows)], rtol=atol, atol=atol)
        for a, b in _pairs(one, whole)
    )
