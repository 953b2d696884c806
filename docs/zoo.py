"""Writes the README's table of the zoo from its cards: python docs/zoo.py."""

from __future__ import annotations

from pathlib import Path

from workbench.reporting.zoo import cards, overview

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- table of the zoo, by docs/zoo.py -->\n", "\n<!-- end of it -->"


def page() -> str:
    """The README with the table as the cards have it."""
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{overview(cards()).markdown()}{END}{after}"


if __name__ == "__main__":
    README.write_text(page(), encoding="utf-8")
