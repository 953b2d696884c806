"""Write docs/library.md: the public names of ``import workbench as wb``, from the code that defines them.

Run: python docs/library.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "workbench"
PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Library

The public names of `import workbench as wb`. They are imported when they are used. Everything else can be reached, and
nothing else is promised. The `workbench` command calls the same functions. Written by `python docs/library.py`.

Whatever takes a part takes its name (`"slip"`), or an object of your own. Results are typed. Those that hold rows show
themselves in a notebook, and `.table()` gives them as a pandas data frame.
"""
TAIL = """
## Check a part of your own

`workbench.testing` has one check for each kind of part; it says what is broken, and probably why.

| name | what |
|---|---|
{checks}
"""
Definition = ast.FunctionDef | ast.ClassDef


def public() -> dict[str, dict[str, str]]:
    """Heading -> public name -> module below ``workbench`` that defines it, as the package itself lists them."""
    found: dict[str, dict[str, str]] = {}
    for comment, name, module in re.findall(
        r'^    (?:# (.*)|"(\w+)": "([\w.]+)",)$', (PACKAGE / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE
    ):
        if comment:
            found[comment] = {}
        else:
            found[list(found)[-1]][name] = module
    return found


def definition(module: str, name: str) -> Definition:
    """Where a name is defined; follows what a package's ``__init__`` imports."""
    path = PACKAGE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return definition(str(node.module).removeprefix("workbench."), name)
    raise LookupError(f"workbench.{module} defines no {name}")


def call(node: Definition) -> str:
    """How it is called, without types; of settings by name alone only those that are needed."""
    if isinstance(node, ast.ClassDef):
        return f"wb.{node.name}"
    said = node.args
    optional = len(said.args) - len(said.defaults)
    words = [f"{each.arg}=" if place >= optional else each.arg for place, each in enumerate(said.args)]
    words += [f"*{said.vararg.arg}"] if said.vararg else []
    needed = [each.arg for each, default in zip(said.kwonlyargs, said.kw_defaults, strict=True) if default is None]
    words += [f"{name}=" for name in needed]
    more = len(said.kwonlyargs) > len(needed) or said.kwarg is not None
    return f"wb.{node.name}({', '.join([*words, *(['...'] if more else [])])})"


def summary(node: Definition) -> str:
    """First paragraph of the docstring on one line."""
    text = ast.get_docstring(node) or ""
    plain = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", " ".join(text.split("\n\n")[0].split()))
    return plain.replace("``", "`").replace("|", "\\|")


def checks() -> dict[str, str]:
    """Names of ``workbench.testing`` that begin with ``check_`` -> what they check."""
    nodes = [
        node
        for file in sorted((PACKAGE / "testing").glob("*.py"))
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
    ]
    return {node.name: summary(node) for node in sorted(nodes, key=lambda each: each.name)}


def page() -> str:
    """The page."""
    lines = [HEAD]
    for heading, names in public().items():
        lines += [f"## {heading[:1].upper()}{heading[1:]}", "", "| call | what |", "|---|---|"]
        nodes = [definition(module, name) for name, module in names.items()]
        lines += [*(f"| `{call(node)}` | {summary(node)} |" for node in nodes), ""]
    rows = "\n".join(f"| `{name}` | {what} |" for name, what in checks().items())
    return "\n".join(lines) + TAIL.format(checks=rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
