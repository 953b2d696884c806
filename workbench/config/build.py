"""The one place where a configuration names code: targets are resolved, refused or built."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import re
import signal
import threading
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from workbench.config.hints import complaint
from workbench.config.moved import where_now
from workbench.errors import ConfigError, UnknownNameError, WorkbenchError
from workbench.types.reading import bounded, brief, shown
from workbench.types.trust import OURS, named

PARTS = (
    "attribution.attributors", "benchmarking.folds", "detectors", "envs", "execution", "formats", "jobs", "monitoring",
    "policies",
)  # fmt: skip
"""Rooms and modules of ours that hold what a configuration names: nothing elsewhere is built by one."""


def build(node: Mapping[str, Any], **extra: Any) -> Any:
    """Make what a ``_target_`` node describes; the one place where a configuration calls code.

    A class is built from the node's other keys and ``extra``; ``_target_`` nodes among them stay as they are, and text
    is text.  A function (a job, a trainer) is not called: the node must say ``_partial_: true``, and what is returned
    takes the rest of its arguments.

    Raises
    ------
    ConfigError
        if the target lies outside the allowed packages, does not exist, or refuses its arguments.
    """
    try:
        bounded(node)
    except ValueError as error:
        raise ConfigError(f"the configuration of target {shown(node.get('_target_'))} {error}") from None
    target, kind = str(node.get("_target_", "")), resolve(node.get("_target_", ""))
    special = {key: value for key, value in node.items() if str(key).startswith("_") and key != "_target_"}
    if special != ({"_partial_": True} if inspect.isfunction(kind) else {}):
        words = ", ".join(f"{brief(str(key))}={shown(value)}" for key, value in special.items()) or "no _partial_"
        raise ConfigError(f"target {shown(target)} is refused with {words}: classes are built, functions are _partial_")
    arguments = copy.deepcopy({key: value for key, value in node.items() if key not in ("_target_", *special)})
    if inspect.isfunction(kind):
        return functools.partial(kind, **arguments, **extra)
    try:
        return kind(**arguments, **extra)
    except WorkbenchError:
        raise
    except Exception as error:
        if match := re.search(r"unexpected keyword argument '(\w+)'", str(error)):
            raise UnknownNameError(f"parameter of {target}", match[1], parameters_of(target)) from None
        raise ConfigError(f"{target} cannot be built: {brief(str(error), 1000)}") from error


def job_of(node: Mapping[str, Any]) -> Callable[..., None]:
    """The job of a configuration, which takes its run; ConfigError for arguments that its signature does not take."""
    check_arguments(node, "job", ("run",))
    job: Callable[..., None] = build({**node, "_partial_": True})
    return job


def check_arguments(node: Mapping[str, Any], path: str, extra: Sequence[str] | None = None) -> None:
    """Hold what a ``_target_`` node says against the signature of its target, before anything is made.

    Parameters
    ----------
    path : of the node in the configuration.
    extra : names of arguments that are no part of the node; None where that is not known, as of a part in a job: then
        none is missed, and null leaves one to whoever builds it.

    Raises
    ------
    UnknownNameError
        for an argument that there is not.
    ConfigError
        for one of the wrong kind, or one that is missing.
    """
    parameters = inspect.signature(resolve(node["_target_"])).parameters
    known = {name: hint for name, hint in parameters_of(node["_target_"]).items() if name not in (extra or ())}
    open_ended = any(each.kind is each.VAR_KEYWORD and name in known for name, each in parameters.items())
    given = {key: value for key, value in node.items() if not str(key).startswith("_")}
    for key, value in given.items():
        if key not in known and not open_ended:
            raise UnknownNameError("key", f"{path}.{key}", [f"{path}.{name}" for name in known])
        unset = value is None and extra is None
        if not unset and (said := complaint(value, known.get(key, Any), f"{path}.{key}")):
            raise ConfigError(said)
        if isinstance(value, Mapping) and "_target_" in value:
            check_arguments(value, f"{path}.{key}")
    for name in known if extra is not None else ():
        if name not in given and parameters[name].default is inspect.Parameter.empty:
            raise ConfigError(f"{path}.{name} is missing")


@contextlib.contextmanager
def ctrl_c_held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the end: compiled libraries (mujoco, numba) that are interrupted in the middle of their
    import turn it into an ImportError, or lose it, and the program goes on.

    Where Ctrl-C is ignored, as by workers, or beside the main thread it changes nothing.
    """
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if pressed:
        raise KeyboardInterrupt


def parameters_of(target: str) -> dict[str, Any]:
    """What a target takes from a configuration, those behind ``**name: Unpack[...]`` included: name -> annotation."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(resolve(target), eval_str=True).parameters.items():
        unpacked = parameter.kind is inspect.Parameter.VAR_KEYWORD and typing.get_args(parameter.annotation)
        hint = Any if parameter.annotation is inspect.Parameter.empty else parameter.annotation
        found |= typing.get_type_hints(unpacked[0], include_extras=True) if unpacked else {name: hint}
    return found


def resolve(target: str) -> Any:
    """The class or function behind a dotted path that is allowed; see :mod:`workbench.types.trust`."""
    if not isinstance(target, str):
        raise ConfigError(f"target {shown(target)} is refused: it must be the dotted path of a class or function")
    path = where_now(target)
    with ctrl_c_held_back():
        found = named(path)
    home = f"{found.__module__}."
    parts = not home.startswith(f"{OURS}.") or home.startswith(tuple(f"{OURS}.{room}." for room in PARTS))
    if not parts or any(name.startswith("_") for name in path.split(".")):
        raise ConfigError(f"target {path!r} is refused: {found.__module__} holds no such part of a configuration")
    return found
