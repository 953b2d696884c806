"""What all checkers share: how a broken law is said, and what no part may touch."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from workbench.config import build
from workbench.errors import ContractError, WorkbenchError
from workbench.types import Array, Observation, Task

EXPERT = "workbench.policies.expert.Expert"


def require(holds: bool, who: str, broken: str) -> None:
    """Raise a ContractError unless a law holds.

    Parameters
    ----------
    who : the part, such as ``score Jerk``.
    broken : what it does instead, and the probable cause.
    """
    if not holds:
        raise ContractError(f"{who}: {broken}")


@contextlib.contextmanager
def blaming(who: str, doing: str) -> Iterator[None]:
    """Turn whatever a part raises while it is used into a ContractError."""
    try:
        yield
    except ContractError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        raise ContractError(f"{who}: {doing} raises {type(error).__name__}: {said}") from error


@contextlib.contextmanager
def refusing(who: str, doing: str, wanted: str = "") -> Iterator[None]:
    """Require that what is done is refused by an error for people that has a word in it."""
    try:
        yield
    except WorkbenchError as error:
        require(wanted in str(error), who, f"{doing} is refused without a word of {wanted!r}: {error}")
        return
    except Exception as error:
        raise ContractError(
            f"{who}: {doing} raises {type(error).__name__} ({error}); raise one of workbench.errors that says what is "
            "missing and what to do"
        ) from error
    raise ContractError(f"{who}: {doing} is not refused")


@contextlib.contextmanager
def global_streams_left_alone(who: str, doing: str) -> Iterator[None]:
    """Require that nothing is drawn from generators that everybody shares, nor are they seeded."""
    states = _global_streams()
    try:
        # Somewhere new, so that a seed that is set again and again shows, too.
        random.random(), np.random.random()  # noqa: NPY002 (the very thing that must not be used)
        moved = _global_streams()
        yield
        for name, state in _global_streams().items():
            touched = name in moved and repr(moved[name]) != repr(state)
            require(not touched, who, f"{doing} draws from the global stream of {name}; seed one of its own")
    finally:
        random.setstate(states["random"])
        np.random.set_state(states["numpy.random"])  # noqa: NPY002


def _global_streams() -> dict[str, Any]:
    states: dict[str, Any] = {"random": random.getstate(), "numpy.random": np.random.get_state()}  # noqa: NPY002
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].random.get_rng_state().numpy().tobytes()
    return states


def name_of(part: object, kind: str) -> str:
    """How messages call a part."""
    return f"{kind} {type(part).__name__}"


def driver_of(task: Task) -> Callable[[Observation], Array] | None:
    """What the scripted expert does, given the true observations (2, size) of the last two control steps.

    None for a task that it cannot drive.
    """
    if not hasattr(task, "plan"):
        return None
    try:
        expert = build({"_target_": EXPERT}, task=task)
    except WorkbenchError:
        return None
    action: Callable[[Observation], Array] = expert.action
    return action
