"""Does a perturbation keep the contract?  The laws, one function each, and the episode that they are tried on."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from workbench.config import build
from workbench.errors import ConfigError, ContractError
from workbench.testing.contract import blaming, driver_of, global_streams_left_alone, name_of, refusing, require
from workbench.types import Array, Observation, Perturbation, Record, Scene, Stream, Task

CHANNELS = ("keyframe", "action", "physics", "observation", "language", "policy", "trigger")
SCHEDULE = ("start_step", "stage", "predicate", "duration_steps")
STREAM, ELSEWHERE = Stream(seed=5, episode=7), Stream(seed=9, episode=9)
START, DURATION, STEPS, DRAWS = 14, 12, 45, 30
NEVER = 10_000
TASK = "workbench.envs.tasks.lift.Lift"


def check_perturbation(perturbation: Perturbation, task: Task | None = None, steps: int = STEPS) -> tuple[str, ...]:
    """Raise at the first law that a perturbation breaks on a task; returns the laws that it keeps.

    Parameters
    ----------
    perturbation : the specification, from which faults are drawn.
    task : on which it can strike; ``lift`` by default.
    steps : how long the episode is in which it is tried; what it waits for has to happen in it.

    Raises
    ------
    ContractError
        What is wrong, and what is probably the cause.
    """
    case = PerturbationCase(perturbation, Nominal(task or build({"_target_": TASK}), steps))
    for law in LAWS:
        law(case)
    return tuple(law.__name__ for law in LAWS)


class Trace:
    """What happened in one episode, control step by control step: all that anyone could notice."""

    def __init__(self, scene: Scene, seen: Observation) -> None:
        self.scene = scene
        self.looks: list[dict[str, bytes]] = []
        self.states: list[bytes] = []
        self.memories: list[bytes] = []
        self.applied: list[bytes] = []
        self._see(seen)

    def _see(self, observation: Observation) -> None:
        scene, snapshot = self.scene, self.scene.snapshot()
        chunk = np.linspace(-0.5, 0.5, 4 * scene.task.action_size).reshape(4, -1)
        self.looks.append(
            {f"observation {key}": value.tobytes() for key, value in observation.items()}
            | {key: value.tobytes() for key, value in _offered(scene, "images").items()}
            | {
                "instruction": scene.instruction().encode(),
                "settings": json.dumps(scene.settings()).encode(),
                "queue": scene.queue(chunk, 2).tobytes(),
                "bodies": b"".join(place.tobytes() for place, _ in _offered(scene, "body_poses").values()),
            }
        )
        self.states.append(snapshot.state.tobytes())
        self.memories.append(snapshot.memory.tobytes())

    def go_on(self, actions: Sequence[Array]) -> Trace:
        """The same, further actions done."""
        for action in actions:
            observation, *_, info = self.scene.step(action)
            self.applied.append(info["applied"].tobytes())
            self._see(observation)
        return self

    def all(self, first: int = 0, last: int | None = None) -> list[Any]:
        """Everything but the faults' own memory, from one step up to another."""
        return [self.looks[first:last], self.states[first:last], self.applied[first:last]]


def _offered(scene: Scene, name: str) -> dict[str, Any]:
    """What a scene shows of an ability; nothing where it does not have it."""
    return dict(getattr(scene, name, dict)())


class Nominal:
    """An episode without faults: the expert's actions, where there is an expert for the task, and what came of them."""

    def __init__(self, task: Task, steps: int = STEPS, stream: Stream = STREAM) -> None:
        self.task, self.stream, self.scene = task, stream, task.scene()
        self.actions = self._actions(steps)
        self.trace = self.run([])

    def run(self, records: Sequence[Record], scene: Scene | None = None) -> Trace:
        """The same actions under faults."""
        scene = scene or self.scene
        return Trace(scene, scene.begin(self.stream, records)).go_on(self.actions)

    def _actions(self, steps: int) -> list[Array]:
        self.scene.begin(self.stream)
        before, actions = self.scene.truth().observation, []
        expert, chance = driver_of(self.task), self.stream.child("actions")
        for step in range(steps):
            now = self.scene.truth().observation
            if expert is None:
                actions.append(chance.at(step).uniform(-1, 1, self.task.action_size))
            else:
                actions.append(expert({key: np.stack([before[key], now[key]]) for key in now}))
            before = now
            self.scene.step(actions[-1])
        return actions


@dataclasses.dataclass(frozen=True)
class PerturbationCase:
    """A perturbation and the episode that it is tried on."""

    perturbation: Perturbation
    nominal: Nominal

    @property
    def who(self) -> str:
        """How messages call it."""
        return name_of(self.perturbation, "perturbation")

    @functools.cached_property
    def drawn(self) -> Record:
        """One fault as it is drawn."""
        return self.draw(STREAM)

    @functools.cached_property
    def record(self) -> Record:
        """The same, striking in the middle of the episode, for a while if it ever lasts longer than a step."""
        lasts = 1 if self.drawn["duration_steps"] == 1 else DURATION
        return self.drawn | {"start_step": START, "stage": None, "predicate": None, "duration_steps": lasts}

    @functools.cached_property
    def trace(self) -> Trace:
        """What happens under it."""
        return self.run([self.record])

    @functools.cached_property
    def begins(self) -> int:
        """Control step at which it strikes: some wait for an action, such as the first that closes the fingers."""
        self.run([self.record])
        return self.nominal.scene.injected()

    @property
    def ends(self) -> int:
        """Control step at which it is over."""
        return self.begins + int(self.record["duration_steps"])

    def draw(self, stream: Stream) -> Record:
        """One fault as it is drawn."""
        with blaming(self.who, f"draw({stream}, task {self.nominal.task.name})"):
            return self.perturbation.draw(stream, self.nominal.task)

    def run(self, records: Sequence[Record], scene: Scene | None = None) -> Trace:
        """The nominal episode's actions under faults."""
        with blaming(self.who, "an episode under it"):
            return self.nominal.run(records, scene)


def record_is_plain_and_whole(case: PerturbationCase) -> None:
    """A record survives a trip through JSON, and says which fault it is, of which channel, and when it strikes."""
    record = case.drawn
    try:
        plain = json.loads(json.dumps(record))
    except (TypeError, ValueError) as error:
        plain = error
    require(
        plain == record,
        case.who,
        f"its record does not survive JSON: {record}; parameters must be numbers, text and lists: .tolist() what is an "
        "array",
    )
    missing = [key for key in ("name", "channel", "target", *SCHEDULE) if key not in record]
    require(not missing, case.who, f"its record lacks {missing}; let Specification.draw make it, and add to that")
    require(record["channel"] in CHANNELS, case.who, f"its channel {record['channel']!r} is none of {CHANNELS}")
    kind = type(case.perturbation)
    require(
        record["target"] == f"{kind.__module__}.{kind.__qualname__}",
        case.who,
        f"its record names {record['target']} as what it is made from, which is not its class",
    )
    with blaming(case.who, "phrase"):
        said = getattr(kind, "phrase", lambda _: "")(record)
    require(bool(said) and "\n" not in said, case.who, f"its phrase {said!r} must say in one line what was drawn")


def magnitudes_are_bounded_away_from_zero(case: PerturbationCase) -> None:
    """It has a magnitude with a lowest value above zero, keeps to it in every draw, and refuses what lies outside."""
    magnitude: Any = getattr(case.perturbation, "magnitude", None)
    require(magnitude is not None, case.who, "it has no magnitude; say how strong it can be, and how weak at the least")
    name, low, high = magnitude.name, magnitude.low, magnitude.high
    require(
        0 < low < high < math.inf,
        case.who,
        f"its magnitude {name} lies within {low} .. {high}; the lowest must be above zero, or a draw may be a fault "
        "that does nothing",
    )
    records = [case.draw(Stream(0, episode)) for episode in range(DRAWS)]
    require(name in records[0], case.who, f"its records lack {name}, which is its magnitude; return it from parameters")
    lengths = np.array([np.linalg.norm(record[name]) for record in records])
    outside = lengths[~((lengths >= low * (1 - 1e-9)) & (lengths <= high * (1 + 1e-9)))]
    require(not len(outside), case.who, f"it drew a {name} of {outside[:1]}, outside of {low} .. {high}")
    if _takes_only(type(case.perturbation), name):
        for bad in (0, -1, math.nan, 2 * high, [low, math.nan], "x"):
            with refusing(case.who, f"{name}={bad}", name):
                type(case.perturbation)(**{name: bad})


def _takes_only(kind: type, name: str) -> bool:
    """Whether a class can be made from its magnitude alone."""
    given = inspect.signature(kind).parameters.values()
    needed = [each.name for each in given if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    return needed in ([], [name]) and name in [each.name for each in given]


def draws_follow_the_stream_alone(case: PerturbationCase) -> None:
    """The same stream gives the same fault, others other ones, and no generator is touched that others use."""
    with global_streams_left_alone(case.who, "draw"):
        again = [case.draw(STREAM) for _ in range(2)]
    require(
        again == [case.drawn] * 2, case.who, "one stream gives two faults; is something drawn elsewhere, or counted?"
    )
    if _varies(case):
        others = [case.draw(Stream(STREAM.seed, number)) for number in range(DRAWS)]
        require(
            any(other != case.drawn for other in others),
            case.who,
            f"{DRAWS} episodes all get the same fault; draw from the generator that parameters is handed",
        )


def _varies(case: PerturbationCase) -> bool:
    """Whether a range is given for something that is drawn."""
    given = [value for value in vars(case.perturbation).values() if isinstance(value, tuple) and len(value) == 2]
    return any(first != last for first, last in given)


def nothing_happens_before_it_strikes(case: PerturbationCase) -> None:
    """Until its first step, the episode is the nominal one bit for bit."""
    require(
        case.begins >= START,
        case.who,
        f"scheduled for control step {START} it strikes at {case.begins} (-1: never) in an episode of "
        f"{len(case.nominal.actions)} steps; does it wait for what does not happen on task "
        f"{case.nominal.task.name}? Check it with a task and a number of steps in which it can",
    )
    start, nominal = case.begins, case.nominal.trace
    require(
        case.trace.all(0, start) == nominal.all(0, start),
        case.who,
        f"before it strikes at control step {start} the episode differs from the nominal one; test active() in every "
        "method of the effect that is called at each step",
    )
    if case.record["channel"] != "physics":  # a struck state is already the one of that step
        require(
            case.trace.states[start] == nominal.states[start],
            case.who,
            f"it is of the channel {case.record['channel']} and changes the state of the world as it strikes: physics",
        )


def it_does_something(case: PerturbationCase) -> None:
    """While it is at work, something differs from the nominal episode that somebody could notice."""
    start, end = case.begins, case.ends
    require(
        case.trace.all(start, end + 1) != case.nominal.trace.all(start, end + 1),
        case.who,
        f"from control step {start} to {end} nothing differs from the nominal episode: a fault that does nothing. "
        "Is the method of the effect spelt as in the contract?",
    )


def it_is_over_when_its_time_is(case: PerturbationCase) -> None:
    """What it did to the world stays; from its last step on, what is asked is executed and what is there is seen."""
    end, trace, nominal = case.ends, case.trace, case.nominal
    require(
        end < len(nominal.actions),
        case.who,
        f"it strikes at {case.begins} and cannot be followed to its end in {len(nominal.actions)} steps; check it "
        "with more steps",
    )
    require(
        trace.applied[end:] == nominal.trace.applied[end:],
        case.who,
        f"from control step {end} on it is over, and actions are still changed; test active()",
    )
    scene = nominal.scene
    scene.begin(nominal.stream, [case.record])
    for action in nominal.actions:
        observation, *_ = scene.step(action)
        if scene.step_index >= end:
            true = scene.truth().observation
            blurred = [key for key in true if not np.array_equal(true[key], observation[key])]
            require(
                not blurred, case.who, f"it is over, and {blurred} is still seen otherwise than it is; test active()"
            )
            require(
                scene.instruction() == scene.task.instruction and scene.settings() == {},
                case.who,
                "it is over, and instruction or settings are still others",
            )


def what_it_changed_is_undone_exactly(case: PerturbationCase) -> None:
    """The model that it edits is back to the last bit when it is over, and the next episode is clean."""
    scene, nominal = case.nominal.scene, case.nominal
    end = case.ends  # for which the scene rolls another episode
    for episode in range(3):  # of several magnitudes: dividing by a factor undoes a product exactly for some only
        stream = Stream(0, episode)
        scene.begin(stream, [case.draw(stream) | {key: case.record[key] for key in SCHEDULE}])
        before = model_of(scene)
        for action in nominal.actions[:end]:
            scene.step(action)
        left = [name for name, value in model_of(scene).items() if value != before[name]]
        require(
            not left,
            case.who,
            f"when it is over, the model's {', '.join(left)} differ from before; edit by Effect.change alone, which "
            "keeps what was there",
        )
    endless = {} if case.record["duration_steps"] == 1 else {"duration_steps": NEVER}
    case.run([case.record | endless])
    require(
        case.run([]).all() == nominal.trace.all(),
        case.who,
        "the episode after one with it is not the nominal one; what does it change beside the model?",
    )


def model_of(scene: Scene) -> dict[str, bytes]:
    """All that edits may change, name -> content: the arrays of MuJoCo's model, and the controller's gains."""
    model = getattr(scene, "model", None)
    arrays = {name: getattr(model, name, None) for name in dir(model) if not name.startswith("_")} if model else {}
    arrays["gains"] = getattr(scene, "gains", None)
    return {name: value.tobytes() for name, value in arrays.items() if isinstance(value, np.ndarray)}


def its_record_replays_bit_for_bit(case: PerturbationCase) -> None:
    """The record alone makes the same episode again, in another scene and after a trip through JSON."""
    with global_streams_left_alone(case.who, "an episode under it"):
        first = case.run([case.record])
    again = case.run([json.loads(json.dumps(case.record))], case.nominal.task.scene())
    require(
        again.all() == first.all() and again.memories == first.memories,
        case.who,
        "replayed from its record in another scene the episode differs; is something drawn in the effect from another "
        "stream than self.noise, or kept on the class?",
    )


def restored_it_goes_on_bit_for_bit(case: PerturbationCase) -> None:
    """From a snapshot while it is at work, in a scene that did something else, the same future follows."""
    scene, actions = case.nominal.scene, case.nominal.actions
    for at in (case.begins, case.begins + 5, case.ends):
        scene.begin(case.nominal.stream, [case.record])
        for action in actions[:at]:
            scene.step(action)
        snapshot, other = scene.snapshot(), case.nominal.task.scene()
        other.begin(ELSEWHERE, [case.record])
        for action in actions[: START + 2]:
            other.step(-action)
        branch = Trace(other, other.restore(snapshot)).go_on(actions[at:])
        require(
            branch.all() == case.trace.all(at) and branch.memories == case.trace.memories[at:],
            case.who,
            f"restored at control step {at} the same actions lead elsewhere; what it carries from step to step belongs "
            "into recall() and remember(), with memory_size",
        )


def without_time_it_has_no_effect(case: PerturbationCase) -> None:
    """Scheduled for never, or for zero steps, it is the identity: the control arm of an experiment."""
    for why, change in (("for never", {"start_step": NEVER}), ("for zero steps", {"duration_steps": 0})):
        require(
            case.run([case.record | change]).all() == case.nominal.trace.all(),
            case.who,
            f"scheduled {why} it still changes the episode; test active() wherever the effect acts",
        )


def others_keep_their_draws(case: PerturbationCase) -> None:
    """Beside others that never strike, before and behind it, it does the same; each has a stream of its own."""
    idle = [case.draw(ELSEWHERE) | {"name": f"idle_{place}", "start_step": NEVER} for place in ("before", "behind")]
    require(
        case.run([idle[0], case.record, idle[1]]).all() == case.run([case.record]).all(),
        case.who,
        "beside others that never strike it does something else; draw from self.noise, which is this fault's own",
    )


def what_it_cannot_have_is_refused(case: PerturbationCase) -> None:
    """Of a policy that it cannot have it says so before anything is rolled, and nothing but that."""
    dull: Any = SimpleNamespace(
        history=1, horizon=1, execute=1, privileged=False, listens=False, cameras=(), signals=(), plan=None
    )
    try:
        case.perturbation.suits(dull)
    except ConfigError:
        return
    except Exception as error:
        raise ContractError(
            f"{case.who}: suits raises {type(error).__name__} ({error}) for a policy that neither listens nor can be "
            "altered; raise a ConfigError that says what the policy lacks"
        ) from error


LAWS: tuple[Callable[[PerturbationCase], None], ...] = (
    record_is_plain_and_whole,
    magnitudes_are_bounded_away_from_zero,
    draws_follow_the_stream_alone,
    nothing_happens_before_it_strikes,
    it_does_something,
    it_is_over_when_its_time_is,
    what_it_changed_is_undone_exactly,
    its_record_replays_bit_for_bit,
    restored_it_goes_on_bit_for_bit,
    without_time_it_has_no_effect,
    others_keep_their_draws,
    what_it_cannot_have_is_refused,
)
