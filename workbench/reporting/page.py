"""Pages of one file from templates: everything that comes from outside is escaped."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from workbench.types.text import visible

if TYPE_CHECKING:
    import jinja2

MARK = "▲"
"""Stands behind what contradicts a promise or an assumption."""


@dataclasses.dataclass(frozen=True)
class Headline:
    """A number to read first: its value, what it is, and how sure it is."""

    value: str
    what: str
    sure: str


def render(template: str, **context: Any) -> str:
    """The text of a page."""
    return visible(environment().get_template(template).render(context))


def macro(template: str, name: str, *arguments: Any, **named: Any) -> Markup:
    """What a macro of a template gives."""
    made: Markup = getattr(environment().get_template(template).module, name)(*arguments, **named)
    return Markup(visible(made))


@functools.cache
def environment() -> jinja2.Environment:
    """Templates of this package; a name that a template lacks is an error."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("workbench.reporting"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"breakable": breakable, "lines": lines, "marked": marked}
    return made


def breakable(name: str) -> Markup:
    """A long name that may be broken behind + and _; copied from the page it is still the name."""
    return Markup(str(escape(name)).replace("+", "+<wbr>").replace("_", "_<wbr>"))


def lines(text: str) -> Markup:
    """Text with its line breaks."""
    return Markup("<br>").join(text.split("\n"))


def marked(text: str) -> Markup:
    """Text in which every mark has the colour of marks."""
    return Markup('<span class="broken">{}</span>').format(MARK).join(text.split(MARK))
