r"""The layout of AHA (Duan et al., ICLR 2025): one packed picture and one question and answer an entry.

``aha.json`` is a list of ``{"id", "image", "conversations": [{"from": "human", "value": "<image>\n..."}, {"from":
"gpt", "value": ...}]}``.  A picture has a row for each camera and a column for each frame; what is still to come at the
moment that is asked about is white.  The released data say "Yes, the robot succeed at the sub-task." or "No, the robot
failed because of ..."; here an answer is the word alone, so that it can be scored exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from workbench.formats.format import Header
from workbench.formats.frames import asked_of, columns, grid, refuse_frames, write_questions
from workbench.types import Array, Episode, Record
from workbench.types.questions import Question, QuestionSet

FILE = "aha.json"
INTRODUCTION = (
    "In the image, each row is a camera and each column a frame, in the order of time from left to right; what is "
    "still to come is white."
)


class AHA:
    """Questions about episodes as AHA has them.

    Parameters
    ----------
    frames : columns of every picture.
    """

    name = "aha"
    about = "questions and answers with one packed picture each, as AHA trains vision-language models on"
    loses = ("all of an episode but the frames that are shown",)
    calls = False
    asks = True

    def __init__(self, frames: int = 8) -> None:
        refuse_frames(frames, self.name)
        self.frames = frames
        self._questions = QuestionSet(())

    def asking(self, questions: QuestionSet) -> AHA:
        """The same with these questions."""
        made = AHA(self.frames)
        made._questions = questions
        return made

    def write(self, episodes: Iterable[Episode], folder: Path, header: Header) -> None:
        """Write ``aha.json``, ``images/<id>.png``, and the questions with and without their answers."""
        (folder / "images").mkdir(parents=True)
        asked: list[Question] = []
        for question, images in asked_of(episodes, self._questions):
            steps = columns(question, self.frames, header.deadline)
            _save(grid(images, steps, self.frames), folder / _picture(question))
            asked.append(question.seen_in(steps))
        asked.sort(key=lambda each: each.id)
        entries = [_entry(each) for each in asked]
        (folder / FILE).write_text(json.dumps(entries, indent=1), encoding="utf-8")
        write_questions(folder, asked, {each.id: _picture(each) for each in asked})


def _picture(question: Question) -> str:
    return f"images/{question.id}.png"


def _entry(question: Question) -> Record:
    human = {"from": "human", "value": f"<image>\n {INTRODUCTION} {question.prompt()}"}
    return {
        "id": question.id,
        "image": _picture(question),
        "conversations": [human, {"from": "gpt", "value": question.reply}],
    }


def _save(picture: Array, path: Path) -> None:
    from PIL import Image

    Image.fromarray(picture).save(path, "PNG")
