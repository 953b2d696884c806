"""Writes the table of docs/zoo.md from the cards of the zoo: python docs/zoo.py."""

from __future__ import annotations

from pathlib import Path

from workbench.reporting.zoo import cards, overview

PAGE = Path(__file__).with_name("zoo.md")
BEGIN, END = "<!-- table of the zoo, by docs/zoo.py -->\n", "\n<!-- end of it -->"


def page() -> str:
    """The page with the table as the cards have it."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{overview(cards()).markdown()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
