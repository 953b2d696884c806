"""A log as text, for whoever reads language."""

from __future__ import annotations

from workbench.attribution.attributors.reading.tokens import contacts, directions
from workbench.types import MODES
from workbench.types.attribution import EpisodeLog, Surroundings

MEASURED = ("height", "hand_object_distance", "target_distance", "finger_gap")
"""Roles whose numbers are told."""
MOST_LINES = 150


def as_text(log: EpisodeLog, task: Surroundings) -> str:
    """One line a policy call: the step, the stage, what the hand touches and where it moves, and what is measured.

    Of very long episodes only every n-th call is told, so that there are at most ``MOST_LINES`` lines.
    """
    calls = [int(step) for step in log.calls.step]
    every = -(-len(calls) // MOST_LINES)
    touches, moves = contacts(log, task), directions(log, task)
    return "\n".join(_line(log, task, step, touches[step], moves[step]) for step in calls[::every])


def _line(log: EpisodeLog, task: Surroundings, step: int, contact: str, direction: str) -> str:
    number = int(log.stage[step])
    stage = task.stages[number] if number < len(task.stages) else "after the last stage"
    said = [f"step {step}", f"before {stage}" if task.stages else "", f"contact {contact}", f"moving {direction}"]
    for role in MEASURED:
        if role in task.roles:
            said.append(f"{role} {float(log.predicates[task.roles[role]][step]):.3f} m")
    seen = [mode for bit, mode in enumerate(MODES) if int(log.modes[step]) >> bit & 1 and mode != "timeout"]
    return "; ".join([part for part in said if part] + [f"seen: {mode}" for mode in seen])
