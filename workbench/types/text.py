"""Text from outside, as people see it: every name, path and stored string passes here before it is shown.

A terminal obeys escape sequences, Markdown and LaTeX their own signs, and a page the direction marks of Unicode.  What
is shown is read as it stands, and tells nothing to the program that shows it.
"""

from __future__ import annotations

import re

OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line feed, other line breaks, changes of direction, and halves of characters."""
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "[": "{[}", "*": "{*}", "–": "--", "—": "---", "·": r"$\cdot$", "▲": r"$\triangle$",  # noqa: RUF001
    "\n": " ",
}  # fmt: skip
r"""What LaTeX would not print as it stands; a [ or * at the beginning of a row would be taken for an argument of \\."""


def visible(text: str) -> str:
    r"""The text with what a terminal or a page would obey written out, such as ``\x1b``."""
    return OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def as_markdown(text: str, code: bool = False) -> str:
    """Text for Markdown, read as it stands; in a table a | would end the cell and a line break the row."""
    text = visible(text)
    if code and text:
        fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
        space = " " if text.startswith("`") or text.endswith("`") else ""
        return f"{fence}{space}{text}{space}{fence}".replace("|", r"\|").replace("\n", " ")
    text = re.sub(r"([\\|<*`~])", r"\\\1", text)
    text = re.sub(r"(?<!\w)_|_(?!\w)|(?<=\])(?=\()|&(?=#?\w+;)", lambda found: f"\\{found[0]}", text)
    return text.replace("\n", "<br>")


def as_markdown_block(text: str, language: str = "") -> str:
    """Lines of code for Markdown."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{visible(text)}\n{fence}"


def as_latex(text: str, code: bool = False) -> str:
    """Text for LaTeX, printed as it stands."""
    text = "".join(LATEX.get(sign, sign) for sign in visible(text))
    return rf"\texttt{{{text}}}" if code and text else text
