"""Which frames of an episode are shown with a question, always equally many, so that their number says nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from workbench.errors import ConfigError, StoreError
from workbench.types import Array, Episode
from workbench.types.questions import Question, QuestionSet

WHITE = 255
QUESTIONS, PROMPTS = "questions.jsonl", "prompts.jsonl"
"""Files of an export: the questions with their answers, as the layout puts them; and without answers and episodes."""
MOST_FRAMES = 1000


def refuse_frames(frames: int, format: str) -> None:
    """ConfigError for a number of frames that cannot be shown."""
    if type(frames) is not int or not 2 <= frames <= MOST_FRAMES:
        raise ConfigError(f"frames={frames!r} of format {format} must be a whole number of 2 .. {MOST_FRAMES}")


def spread(question: Question, frames: int) -> list[int]:
    """So many control steps, spread evenly over all that may be seen, the first and the last one included.

    An episode that is shorter than that shows some steps more than once.
    """
    return [int(step) for step in np.linspace(0, question.until - 1, frames).round()]


def columns(question: Question, frames: int, deadline: int) -> list[int]:
    """Control steps of the columns of a packed image.

    Of a whole episode all are filled.  Of a moment the columns are spread over the task's time, those behind it are
    left out, as the future; the last one is the moment itself.  So how many are left out follows from the moment alone.
    """
    if question.whole:
        return spread(question, frames)
    past = [step for step in (int(at * deadline / frames) for at in range(frames)) if step < question.until]
    return [*past[:-1], question.until - 1]


def images_of(episode: Episode, known: Sequence[str]) -> dict[str, Array]:
    """Camera -> (T, H, W, 3) of an episode.

    Raises
    ------
    StoreError
        if it has none, of sizes that differ, or other cameras than those that are known, if any are.
    """
    found = {name: steps for name, steps in sorted(episode.steps.items()) if name.startswith("images/")}
    who = f"episode {episode.record['uid']}"
    if not found:
        raise StoreError(f"{who} has no images to show with questions; export draws them where the task has cameras")
    if len({images.shape[1:] for images in found.values()}) > 1:
        raise StoreError(f"{who} has images of several sizes, which do not fit into one picture")
    if known and list(found) != list(known):
        raise StoreError(f"{who} has other cameras than the first one: {', '.join(found)}, not {', '.join(known)}")
    return {name.removeprefix("images/"): images for name, images in found.items()}


def asked_of(episodes: Iterable[Episode], questions: QuestionSet) -> Iterator[tuple[Question, Mapping[str, Array]]]:
    """Every question with the images of its episode, episode by episode.

    Raises
    ------
    StoreError
        as :func:`images_of`; if an episode comes twice; if there is no question at all.
    """
    cameras: list[str] = []
    seen: set[str] = set()
    any_question = False
    for episode in episodes:
        uid = str(episode.record["uid"])
        if uid in seen:
            raise StoreError(f"episode {uid} comes twice, and so would its questions")
        seen.add(uid)
        images = images_of(episode, cameras)
        cameras = cameras or [f"images/{name}" for name in images]
        for question in questions.about(uid):
            any_question = True
            yield question, images
    if not any_question:
        raise StoreError("there is no episode with a question to export; roll some out first")


def grid(images: Mapping[str, Array], steps: Sequence[int], frames: int) -> Array:
    """(rows H, columns W, 3): a row a camera, a column a control step, white where there are fewer than ``frames``."""
    height, width = next(iter(images.values())).shape[1:3]
    packed = np.full((len(images) * height, frames * width, 3), WHITE, np.uint8)
    for row, pictures in enumerate(images.values()):
        for column, step in enumerate(steps):
            at = (slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width))
            packed[at] = pictures[step]
    return packed


def write_questions(folder: Path, asked: Sequence[Question], media: Mapping[str, str]) -> None:
    """The questions as they are put, with their answers, and beside them what a model is handed.

    Parameters
    ----------
    media : id -> path of what is shown with it.
    """
    put = QuestionSet(tuple(asked))
    put.save(folder / QUESTIONS)
    lines = [{"id": each.id, "prompt": each.prompt(), "shown": media[each.id]} for each in put.questions]
    (folder / PROMPTS).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
