"""Parts from packages that the user installed: the only ones, beside ours, whose code a configuration may name.

Such a package says so itself, in its ``pyproject.toml``::

    [project.entry-points."workbench.parts"]
    mylab = "mylab"

or its user does, in a yaml file of ``conf/local`` (of the checkout, or of the current folder)::

    plugins: [mylab]

Nothing else adds one: no run folder, store, checkpoint, experiment or word of the command line.  What stands in the
package's ``conf/`` is composed like our own yaml files.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench.conf import GROUP, LOCAL, OURS
from workbench.errors import ConfigError
from workbench.types import trust


@dataclasses.dataclass(frozen=True)
class Plugin:
    """A package of parts.

    Attributes
    ----------
    package : its name; targets below ``<package>.`` are allowed.
    said_by : the distribution or the file that names it.
    conf : folder of its yaml files; None if it has none.
    """

    package: str
    said_by: str
    conf: Path | None


def installed_plugins() -> tuple[Plugin, ...]:
    """Packages of parts that the user installed, in alphabetical order.

    Raises
    ------
    ConfigError
        if one that is named is not there, or can be none.
    """
    files = {file.resolve() for folder in (OURS, Path("conf")) for file in folder.glob(f"{LOCAL}/*.yaml")}
    return _plugins(_stamped(Path(folder) for folder in sys.path), _stamped(sorted(files)))


def conf_folders() -> tuple[tuple[str, Path], ...]:
    """Who else has yaml files beside ours, and in which folder: packages of parts, then the current folder.

    The current folder's ``conf/`` counts if there is a ``local/`` in it, and what ``--config-dir`` names.

    Raises
    ------
    ConfigError
        if one has a yaml file of the same name as ours or another's, which would be ignored in silence.
    """
    found = [(f"package {each.package}", each.conf) for each in installed_plugins() if each.conf is not None]
    found += [(f"--config-dir {folder}", folder) for folder in _given]
    taken = {file: trust.OURS for file in _yaml_files(OURS)} if found else {}
    for owner, folder in found:
        for file in _yaml_files(folder):
            if file.startswith(f"{LOCAL}/"):
                raise ConfigError(f"{owner} has a {folder.name}/{file}, which is the user's alone: it must go")
            if file in taken:
                raise ConfigError(f"{owner} has a {folder.name}/{file}, and so has {taken[file]}: it must be renamed")
            taken[file] = owner
    here = Path("conf").resolve()
    return (*found, ("conf", here)) if (here / LOCAL).is_dir() and here != OURS.resolve() else tuple(found)


def given_folders() -> tuple[Path, ...]:
    """Folders of yaml files that the command line names with ``--config-dir``."""
    return tuple(_given)


def give_folder(folder: Path) -> None:
    """Look for yaml files in a folder as well, until the process ends; ConfigError if there is none."""
    if not folder.is_dir():
        raise ConfigError(f"--config-dir={folder}: there is no such folder")
    _given[:] = [folder.absolute()]


_given: list[Path] = []


def refuse_strangers(asked: Any) -> None:
    """Refuse plug-ins that a composed configuration asks for and the user's own conf/local does not."""
    if not isinstance(asked, list):
        raise ConfigError(f"plugins={asked!r} must be a list of packages")
    known = [plugin.package for plugin in installed_plugins()]
    if unknown := [str(name) for name in asked if name not in known]:
        raise ConfigError(
            f"plugins={unknown} is refused here: a plug-in is a package that is installed with the entry point "
            f"{GROUP}, or that a yaml file of conf/{LOCAL} names; known: {', '.join(known) or 'none'}"
        )


Stamped = tuple[tuple[Path, int], ...]
"""Files or folders, and when each was last changed."""


def _stamped(paths: Iterable[Path]) -> Stamped:
    return tuple((path, path.stat().st_mtime_ns) for path in paths if path.exists())


@functools.cache
def _plugins(path: Stamped, files: Stamped) -> tuple[Plugin, ...]:
    """Of the folders from which Python imports, and of yaml files, as they were last changed."""
    importlib.invalidate_caches()
    found: dict[str, Plugin] = {}
    for package, said_by in [*_of_distributions(), *_of_files(file for file, _ in files)]:
        found.setdefault(package, _plugin(package, said_by))
    return tuple(found[package] for package in sorted(found))


def _of_distributions() -> Iterator[tuple[str, str]]:
    for point in metadata.entry_points(group=GROUP):
        yield point.value, f"the distribution {point.dist.name}" if point.dist else "an entry point"


def _of_files(files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for file in files:
        asked = _mapping(file).get("plugins", [])
        if not isinstance(asked, list):
            raise ConfigError(f"{file}: plugins must be a list of packages, not {asked!r}")
        for package in asked:
            yield str(package), str(file)


def _mapping(file: Path) -> dict[str, Any]:
    from yaml import YAMLError, safe_load

    try:
        content = safe_load(file.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no YAML: {' '.join(str(error).split())}") from None
    return content if isinstance(content, dict) else {}


def _plugin(package: str, said_by: str) -> Plugin:
    if not package.isidentifier() or package in {trust.OURS, *sys.stdlib_module_names}:
        raise ConfigError(f"{said_by} names {package!r} as a package of parts, which it cannot be")
    spec = importlib.util.find_spec(package)  # does not import it: that waits until one of its parts is wanted
    if spec is None or spec.submodule_search_locations is None:
        raise ConfigError(f"{said_by} names the package of parts {package!r}, which is not there: install it")
    folders = [Path(location) / "conf" for location in spec.submodule_search_locations]
    return Plugin(package, said_by, next((folder for folder in folders if folder.is_dir()), None))


def _yaml_files(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in folder.rglob("*.yaml")]


trust.installed_by(lambda: [plugin.package for plugin in installed_plugins()])
