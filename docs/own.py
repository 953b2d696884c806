"""Fills docs/own-*.md: the files that ``workbench new`` writes, and the laws that the checkers try, in their own words.

Run: python docs/own.py
"""

from __future__ import annotations

import importlib
import re
import tempfile
from pathlib import Path

from workbench.testing import new_part

HERE = Path(__file__).parent
PAGES = ("score", "policy", "task")
QUOTED = re.compile(r"```(python|yaml)\n# mylab/(\S+)\n.*?```", re.DOTALL)
LAWS = re.compile(r"<!-- laws of (\w+) -->\n.*?(?=\n## |\Z)", re.DOTALL)


def page(kind: str) -> str:
    """A page with its quotations as they are today."""
    text = (HERE / f"own-{kind}.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "mylab"
        new_part(kind, f"my_{kind}", root)

        def quoted(found: re.Match[str]) -> str:
            content = (root / found[2]).read_text(encoding="utf-8").rstrip()
            return f"```{found[1]}\n# mylab/{found[2]}\n{content}\n```"

        text = QUOTED.sub(quoted, text)
    return LAWS.sub(lambda found: f"<!-- laws of {found[1]} -->\n\n{laws(found[1])}\n", text)


def laws(kind: str) -> str:
    """What a checker's laws say of themselves, as a list."""
    tried = importlib.import_module(f"workbench.testing.{kind}").TRIED
    return "\n".join(f"- {' '.join(law.__doc__.split())}".replace("``", "`") for law in tried)


if __name__ == "__main__":
    for kind in PAGES:
        (HERE / f"own-{kind}.md").write_text(page(kind), encoding="utf-8")
