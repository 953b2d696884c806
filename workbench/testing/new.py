"""A package for a part of your own: its file, its yaml, its test, and what makes it known."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib import resources
from pathlib import Path
from string import Template

from workbench.conf import GROUP
from workbench.config import options_of, write_text
from workbench.errors import ConfigError, UnknownNameError

KINDS = {
    "score": "workbench fit name=mine store=quickstart 'score=[{}]'",
    "perturbation": "workbench rollout name=mine policy=expert 'perturbation=[{}]'",
    "policy": "workbench rollout name=mine policy={}",
    "task": "workbench rollout name=mine task={} policy=expert",
    "strategy": "workbench recover name=quickstart 'strategy=[continue,placebo,{}]'",
    "shield": "workbench rollout name=mine policy=expert 'shield=[{}]'",
    "attributor": "workbench attribute name=quickstart 'attributor=[random_step,{}]'",
}
"""Kind of part -> how one is tried."""


def new_part(kind: str, name: str, folder: Path | str | None = None) -> list[Path]:
    """Write an installable package of one part that keeps its contract; returns the files that were written.

    A folder that holds such a package already gets one part more.  No existing file is changed.

    Parameters
    ----------
    kind : score, perturbation, policy, task, strategy, shield or attributor.
    name : of the part and its file, in lower case.
    folder : of the package, which is called like it; by default called like the part, in the current folder.

    Raises
    ------
    ConfigError
        if a name cannot be one, or is taken, or a file is there already.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of part", kind, KINDS)
    root = Path(name if folder is None else folder).resolve()
    package = root.name.replace("-", "_")
    _refuse_names(kind, name, package, root)
    texts = {
        root / package / f"{name}.py": f"{kind}.py",
        root / package / "conf" / kind / f"{name}.yaml": f"{kind}.yaml",
        root / "tests" / f"test_{name}.py": f"{kind}_test.py",
    }
    if there := [str(path) for path in texts if path.exists()]:
        raise ConfigError(f"{', '.join(there)} exists already: choose another name, or move it away")
    _refuse_silent_package(root / "pyproject.toml", package)
    shared = {root / "pyproject.toml": "pyproject.toml", root / "README.md": "README.md"}
    shared[root / package / "__init__.py"] = "__init__.py"
    texts |= {path: template for path, template in shared.items() if not path.exists()}
    words = {"package": package, "name": name, "kind": kind, "command": KINDS[kind].format(name)}
    words["Class"] = "".join(part.capitalize() for part in name.split("_"))
    for path, template in texts.items():
        write_text(path, Template(_template(template)).substitute(words))
    return list(texts)


def _template(name: str) -> str:
    return (resources.files("workbench.testing") / "templates" / f"{name}.txt").read_text(encoding="utf-8")


def _refuse_names(kind: str, name: str, package: str, root: Path) -> None:
    for what, word in ((f"name of a {kind}", name), ("folder, whose name is that of the package,", package)):
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", word) or keyword.iskeyword(word):
            raise ConfigError(
                f"the {what} must be of lower-case letters, digits and _, such as my_{kind}, not {word!r}"
            )
    if name in options_of(kind):
        raise ConfigError(f"there is a {kind} {name!r} already: choose another name")
    spec = None if package in sys.stdlib_module_names else importlib.util.find_spec(package)
    # A folder without an __init__ is none yet: the package's own, seen from beside it.
    elsewhere = spec is not None and spec.origin is not None and not Path(spec.origin).is_relative_to(root)
    if package in sys.stdlib_module_names or elsewhere:
        raise ConfigError(f"there is a Python package {package!r} already: choose another folder, such as my_{package}")


def _refuse_silent_package(file: Path, package: str) -> None:
    """Refuse to add a part to a package that does not make its parts known."""
    if file.exists() and GROUP not in file.read_text(encoding="utf-8"):
        raise ConfigError(
            f'{file} makes no parts known: add [project.entry-points."{GROUP}"] with {package} = "{package}" to it'
        )
