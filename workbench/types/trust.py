"""Which code a configuration, a store or a checkpoint may name: ours, and that of packages which the user installed.

What decides is the object that a dotted path leads to, not the text: it must be a class or a function that is defined
in a trusted package.  So no path reaches what such a package merely imports (``workbench.cli.os.system``).
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from workbench.errors import ConfigError
from workbench.types.reading import shown

OURS = "workbench"
LONGEST = 300
"""Characters of a path."""
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_installed: list[Callable[[], Iterable[str]]] = []


def installed_by(source: Callable[[], Iterable[str]]) -> None:
    """Say who knows the packages of parts that the user installed; :mod:`workbench.config.plugins` alone does."""
    _installed[:] = [source]


def trusted(package: str) -> bool:
    """Whether the code of a package may be named."""
    return package == OURS or any(package in source() for source in _installed)


def named(target: str) -> Any:
    """The class or function behind a dotted path.

    Raises
    ------
    ConfigError
        If its package is not trusted, if there is no such thing, or if it is something else, or defined elsewhere.
    """
    package = target.partition(".")[0]
    if len(target) > LONGEST:
        raise ConfigError(f"target {shown(target)} is refused: it is longer than any path of a class or function")
    if not _PATH.fullmatch(target) or "__" in {name[:2] for name in target.split(".")}:
        raise ConfigError(f"target {target!r} is refused: it must be the dotted path of a class or function")
    if not trusted(package):
        raise ConfigError(
            f"target {target!r} is refused: it is of the package {package}, which is not installed here as one of "
            "parts (by its entry point workbench.parts, or by plugins in conf/local)"
        )
    found = _walked(target)
    if why := _stranger(found):
        raise ConfigError(f"target {target!r} is refused: {why}")
    return found


def _walked(target: str) -> Any:
    """What a path leads to: the longest module that there is, and attributes from there on."""
    holder, names = _module_of(target.split("."))
    for name in names:
        try:
            holder = getattr(holder, name)
        except AttributeError as error:
            raise ConfigError(f"there is no {target!r}: {error}") from None
        if inspect.ismodule(holder):
            raise ConfigError(f"target {target!r} is refused: it leads through an import of module {holder.__name__}")
    return holder


def _module_of(names: list[str]) -> tuple[ModuleType, list[str]]:
    """The longest module at the head of a path, and the names behind it, of which there is at least one."""
    for end in range(len(names) - 1, 0, -1):
        path = ".".join(names[:end])
        try:
            return importlib.import_module(path), names[end:]
        except ImportError as error:
            missing = isinstance(error, ModuleNotFoundError) and f"{path}.".startswith(f"{error.name}.")
            if not missing:  # it is there, but imports something that is not
                raise ConfigError(f"{path} cannot be imported: {error}") from None
    raise ConfigError(f"there is no {'.'.join(names)!r}: no module {names[0]!r} can be imported")


def _stranger(found: Any) -> str:
    """Why an object may not be named; "" if it may."""
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        return f"it is a {type(found).__name__}, and neither a class nor a function"
    home: Any = sys.modules.get(found.__module__)
    if not trusted(found.__module__.partition(".")[0]):
        return f"it is defined in {found.__module__}, which is no package of parts"
    for name in found.__qualname__.split("."):
        home = getattr(home, name, None)
    return "" if home is found else f"it is not {found.__module__}.{found.__qualname__}, as it says it is"
