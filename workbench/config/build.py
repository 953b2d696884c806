"""The one place where a configuration names code: targets are resolved, refused or built."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import signal
import threading
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from workbench.config.moved import where_now
from workbench.errors import ConfigError, UnknownNameError, WorkbenchError

ALLOWED_TARGETS = "workbench."
"""Only what lies below this prefix is ever instantiated: a run folder from elsewhere cannot execute other code."""


def build(node: Mapping[str, Any], **extra: Any) -> Any:
    """Instantiate a ``_target_`` node; the one place where Hydra's ``instantiate`` is called.

    Raises
    ------
    ConfigError
        if the target lies outside the allow-list, does not exist, or refuses its arguments.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    target = where_now(str(node.get("_target_", "")))
    if not target.startswith(ALLOWED_TARGETS):
        raise ConfigError(f"target {target!r} is refused: only targets below {ALLOWED_TARGETS!r} are built")
    with contextlib.suppress(ImportError), ctrl_c_held_back():
        importlib.import_module(target.rpartition(".")[0])
    try:
        return instantiate({**node, "_target_": target, "_convert_": "all", "_recursive_": False}, **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, WorkbenchError):
            raise cause from None
        if match := re.search(r"unexpected keyword argument '(\w+)'", str(cause)):
            raise UnknownNameError(f"parameter of {target}", match[1], parameters_of(target)) from None
        raise ConfigError(f"{target} cannot be built: {' '.join(str(cause or error).split())}") from cause


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


def parameters_of(target: str) -> list[str]:
    """Names that a target takes from a configuration, those behind ``**name: Unpack[...]`` included."""
    names = []
    for name, parameter in inspect.signature(resolve(target), eval_str=True).parameters.items():
        unpacked = parameter.kind is inspect.Parameter.VAR_KEYWORD and typing.get_args(parameter.annotation)
        names += list(typing.get_type_hints(unpacked[0])) if unpacked else [name]
    return names


def resolve(target: str) -> Any:
    """The class or function behind an allowed dotted path."""
    target = where_now(target)
    if not target.startswith(ALLOWED_TARGETS):
        raise ConfigError(f"target {target!r} is refused: only targets below {ALLOWED_TARGETS!r} are used")
    module, _, name = target.rpartition(".")
    try:
        with ctrl_c_held_back():
            return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"there is no {target!r}: {error}") from None
