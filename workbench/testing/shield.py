"""Does a shield keep the contract?  The laws, one function each, and what they are tried on."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence

import numpy as np

from workbench.config import build
from workbench.rollouts.gate import calls_in
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.stored import start_at
from workbench.testing.contract import EXPERT, blaming, global_streams_left_alone, name_of, require
from workbench.types import Array, Episode, JudgesPlans, Moment, Passed, Policy, Record, Shield, Stream, Task

SAMPLES = 8
"""Chunks that the policy draws beside each one, for shields that judge plans."""
WILD = 0.5
"""Standard deviation of what is added to actions, so that a shield has something to do."""


def check_shield(shield: Shield, task: Task, policy: Policy | None = None) -> tuple[str, ...]:
    """Raise at the first law that a shield breaks; returns the laws that it keeps.

    Parameters
    ----------
    task : for which it was made.
    policy : who drives; None for the scripted expert.  A shield that judges plans needs one that says what it reads.

    Raises
    ------
    ContractError
        What is wrong, and what is probably the cause.
    """
    case = ShieldCase(shield, task, policy or build({"_target_": EXPERT}, task=task, privileged=False))
    with global_streams_left_alone(case.who, "the shield"):
        for law in LAWS:
            law(case)
    return tuple(law.__name__ for law in LAWS)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What was asked at a control step, what came through, and the memory as text before and after."""

    moment: Moment
    asked: Array
    passed: Passed
    before: str
    after: str


@dataclasses.dataclass(frozen=True)
class ShieldCase:
    """A shield, and whom and where it is tried on; see :func:`check_shield`."""

    shield: Shield
    task: Task
    policy: Policy

    @property
    def who(self) -> str:
        """How messages call the shield."""
        return name_of(self.shield, "shield")

    @functools.cached_property
    def episode(self) -> Episode:
        """An episode without the shield, to the deadline."""
        lockstep = Lockstep(self.task, self.policy, 1, samples=SAMPLES, until="deadline")
        return next(iter(lockstep.record([Launch(Stream(0, 1))])))

    def answers(self, through: bool = False) -> list[Answer]:
        """What the shield does along the episode, asked for wilder actions than it ran.

        ``through`` sends the memory through JSON at every step, as if the episode had been stored there.
        """
        rng = np.random.default_rng(0)
        memory, found, last = self.shield.begin(), list[Answer](), None
        steps, calls = self.episode.steps, calls_in(self.episode, {"it": self.shield})
        for step, action in enumerate(steps["action"]):
            memory = json.loads(json.dumps(memory)) if through else memory
            asked = np.clip(action + WILD * rng.standard_normal(len(action)), -1.0, 1.0)
            seen = {
                key.removeprefix("obs/"): rows[step].copy() for key, rows in steps.items() if key.startswith("obs/")
            }
            moment = Moment(step, asked.copy(), seen, last)
            if step in calls and isinstance(self.shield, JudgesPlans):
                with blaming(self.who, f"plan(memory, call) at control step {step}"):
                    self.shield.plan(memory, calls[step])
            before = text_of(self.who, memory)
            with blaming(self.who, f"act(memory, moment) at control step {step}"):
                passed = self.shield.act(memory, moment)
            found.append(Answer(moment, asked, passed, before, text_of(self.who, memory)))
            last = np.array(passed.action, dtype=np.float64)
        return found

    @functools.cached_property
    def along(self) -> list[Answer]:
        """What it does along the episode."""
        return self.answers()


def text_of(who: str, memory: Record) -> str:
    """A memory as text; ContractError for one that is no plain data."""
    try:
        text = json.dumps(memory, allow_nan=False)
    except (TypeError, ValueError) as error:
        require(False, who, f"its memory is no plain data ({error}): keep numbers, texts, lists and dictionaries alone")
    return text


def declares_what_it_does(case: ShieldCase) -> None:
    """It says what its notes can say and whether it softens, and can begin and act."""
    reasons = getattr(case.shield, "reasons", None)
    fits = isinstance(reasons, Sequence) and not isinstance(reasons, str) and all(isinstance(r, str) for r in reasons)
    require(fits and bool(reasons), case.who, f"reasons={reasons!r} must be a list of what its notes can say")
    require(len(set(reasons or ())) == len(reasons or ()), case.who, f"reasons={reasons!r} must differ")
    if hasattr(case.shield, "plan"):
        whole = isinstance(case.shield, JudgesPlans)
        require(whole, case.who, "it has plan(), and needs or dropped() is missing; see workbench.types.JudgesPlans")
    softens = getattr(case.shield, "softens", None)
    require(isinstance(softens, bool), case.who, f"softens={softens!r} must be True or False")
    for name in ("begin", "act"):
        require(callable(getattr(case.shield, name, None)), case.who, f"it has no {name}(); see workbench.types.Shield")


def begins_anew(case: ShieldCase) -> None:
    """Every episode begins with the same memory, of its own."""
    with blaming(case.who, "begin()"):
        first, other = case.shield.begin(), case.shield.begin()
    require(isinstance(first, dict), case.who, f"begin() returns {first!r}; memory is a dictionary of plain data")
    require(first is not other, case.who, "begin() returns the same dictionary twice: episodes would share it")
    same = text_of(case.who, first) == text_of(case.who, other)
    require(same, case.who, "begin() returns now one memory and now another: nothing may depend on earlier episodes")


def lets_through_an_action(case: ShieldCase) -> None:
    """What comes through is an action of the task: as long, finite, and in range where the asked one is."""
    for answer in case.along:
        action, at = np.asarray(answer.passed.action), f"at control step {answer.moment.step}"
        size = case.task.action_size
        require(
            action.shape == (size,), case.who, f"{at} an action of shape {action.shape} comes through, not ({size},)"
        )
        require(bool(np.isfinite(action).all()), case.who, f"{at} an action that is not finite comes through")
        inside = bool((np.abs(action) <= 1.0).all())
        require(inside, case.who, f"{at} an action beyond -1..1 comes through of one within: clip what it makes")


def says_what_it_did(case: ShieldCase) -> None:
    """Without a note nothing is changed; a note gives one of the reasons, and numbers."""
    for answer in case.along:
        note, at = answer.passed.note, f"at control step {answer.moment.step}"
        changed = not np.array_equal(answer.passed.action, answer.asked) or answer.passed.stiffness != 1.0
        require(note is not None or not changed, case.who, f"{at} it changes the action and says nothing of it")
        if note is not None:
            known = note.reason in case.shield.reasons
            require(known, case.who, f"{at} its note says {note.reason!r}, which is none of its reasons")
            numbers = math.isfinite(note.value) and math.isfinite(note.limit)
            require(numbers, case.who, f"{at} its note says {note.value} and {note.limit}: both must be finite")


def softens_as_it_says(case: ShieldCase) -> None:
    """Its stiffness is a factor above 0 and at most 1, and below 1 only if it says that it softens."""
    for answer in case.along:
        stiffness, at = answer.passed.stiffness, f"at control step {answer.moment.step}"
        require(0 < stiffness <= 1, case.who, f"{at} stiffness={stiffness} must be above 0 and at most 1")
        require(case.shield.softens or stiffness == 1, case.who, f"{at} it softens, and says softens=False")


def changes_nothing_that_it_is_shown(case: ShieldCase) -> None:
    """The asked action and the observation are others' arrays."""
    rows = {key: rows for key, rows in case.episode.steps.items() if key.startswith("obs/")}
    for answer in case.along:
        at = f"at control step {answer.moment.step}"
        same = np.array_equal(answer.moment.action, answer.asked)
        require(same, case.who, f"{at} it writes into the action that it is shown: copy it first")
        for key, values in answer.moment.observation.items():
            kept = np.array_equal(values, rows[f"obs/{key}"][answer.moment.step])
            require(kept, case.who, f"{at} it writes into the observation {key}: copy it first")


def remembers_in_its_memory_alone(case: ShieldCase) -> None:
    """What it does follows from its memory and what it is shown: after another episode, and from a stored memory."""
    for words, others in (("along the same rows again", case.answers()), ("from a stored memory", case.answers(True))):
        for first, other in zip(case.along, others, strict=True):
            at = f"at control step {first.moment.step}"
            same = np.array_equal(first.passed.action, other.passed.action) and (
                first.passed.stiffness,
                first.passed.note,
                first.after,
            ) == (other.passed.stiffness, other.passed.note, other.after)
            require(
                same,
                case.who,
                f"{words} it does something else {at}: it keeps something beside its memory, or draws random numbers",
            )


def goes_on_from_a_stored_step(case: ShieldCase) -> None:
    """An episode behind the shield goes on from any stored step bit for bit."""
    lockstep = Lockstep(case.task, case.policy, 1, samples=SAMPLES, shields={"it": case.shield})
    launch = Launch(Stream(0, 2))
    (episode,) = lockstep.record([launch])
    step = 2 * len(episode.steps["action"]) // 3
    going = dataclasses.replace(launch, start=start_at(episode, step, case.policy))
    (branch,) = lockstep.record([going])
    for key in ("state", "shielded", "shields/it"):
        same = np.array_equal(branch.steps[key], episode.steps[key][step:])
        require(same, case.who, f"from control step {step} of a stored episode, {key} goes on otherwise than it did")


LAWS: tuple[Callable[[ShieldCase], None], ...] = (
    declares_what_it_does,
    begins_anew,
    lets_through_an_action,
    says_what_it_did,
    softens_as_it_says,
    changes_nothing_that_it_is_shown,
    remembers_in_its_memory_alone,
    goes_on_from_a_stored_step,
)
