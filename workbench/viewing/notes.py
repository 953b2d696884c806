"""An episode in words: its title, its events, and what was drawn, seen and measured."""

from __future__ import annotations

from workbench.attribution.explanation import Explanation
from workbench.attribution.wording import (
    detail_lines,
    fault_lines,
    line_of,
    measured_lines,
    outcome_lines,
    seen_lines,
)
from workbench.types import Record
from workbench.types.text import as_markdown


def events_of(record: Record) -> dict[str, int]:
    """Event -> control step."""
    end = int(record["length"]) - 1
    return {
        "injected": int(record["t_inj"]),
        "onset": int(record["t_on"]),
        "point of no return": int(record["t_pnr"]),
        "success" if record["success"] else "failure": end,
    }


def title_of(record: Record) -> str:
    """Task, fault and outcome in a few words."""
    return f"{record['task']}: {record['perturbation'] or 'nominal'}, {record['outcome']}"


def notes_of(told: Explanation) -> str:
    """What was drawn, seen and measured, as Markdown; the words are those of its explanation."""
    lines = [*outcome_lines(told), *fault_lines(told), *seen_lines(told), *measured_lines(told), *detail_lines(told)]
    return "\n".join(
        [
            f"### {as_markdown(line_of(told).rstrip('.'))}",
            *(f"- {as_markdown(line)}" for line in lines),
            f"- episode: {as_markdown(told.uid, code=True)}, {told.split} split",
        ]
    )
