r"""The layout of RoboFAC (Lu et al., arXiv 2505.12224, 2025): one short video, and its questions by type.

``robofac.json`` is ``{video id: {"video": path, "task": name, "annos": {question type: [{"from": "human", "value":
"<video>\n..."}, {"from": "gpt", "value": ...}]}}}``.  Every question has a video of its own, with as many frames as
any other: what is asked about an episode depends on how it ended, so that questions beside one another would tell.

RoboFAC's own scorer takes an answer of its choice questions for right that is part of the reference, and so an empty
one; score by :func:`workbench.attribution.grading.score_answers`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from workbench.formats.format import Header
from workbench.formats.frames import asked_of, refuse_frames, spread, write_questions
from workbench.formats.video import write_video
from workbench.types import Array, Episode, Record
from workbench.types.questions import Question, QuestionSet

FILE = "robofac.json"
TYPES: Mapping[str, str] = {
    "success": "Failure detection",
    "subtask": "Failure detection",
    "stage": "Failure locating",
    "when_seen": "Failure locating",
    "when_onset": "Failure locating",
    "mode": "Failure identification",
    "why": "Failure explanation",
    "luck": "Failure explanation",
    "helped": "High-level correction",
    "correction": "Low-level correction",
}
"""Kind of a question -> RoboFAC's type of it."""
FRAMES_PER_SECOND = 4.0
"""Of every clip, whatever its episode's time: as many frames last equally long."""


class RoboFAC:
    """Questions about episodes as RoboFAC has them.

    Parameters
    ----------
    frames : of every video.
    video : whether these are H.264 in MP4, for which PyAV is needed, and not a folder of PNG each.
    """

    about = "questions and answers by type with one short video each, as RoboFAC trains vision-language models on"
    calls = False
    asks = True

    def __init__(self, frames: int = 16, video: bool = False) -> None:
        self.name = "robofac_video" if video else "robofac"
        refuse_frames(frames, self.name)
        self.frames, self.video = frames, video
        lost = ("all of an episode but the frames that are shown", "pixels as they were drawn")
        self.loses: tuple[str, ...] = lost if video else lost[:1]
        self._questions = QuestionSet(())

    def asking(self, questions: QuestionSet) -> RoboFAC:
        """The same with these questions."""
        made = RoboFAC(self.frames, self.video)
        made._questions = questions
        return made

    def write(self, episodes: Iterable[Episode], folder: Path, header: Header) -> None:
        """Write ``robofac.json``, ``videos/<id>``, and the questions with and without their answers."""
        (folder / "videos").mkdir(parents=True)
        asked: list[Question] = []
        for question, images in asked_of(episodes, self._questions):
            steps = spread(question, self.frames)
            # The cameras beside one another, since a video shows one picture at a time.
            self._save(np.concatenate([images[name][steps] for name in images], axis=2), folder, question)
            asked.append(question.seen_in(steps))
        asked.sort(key=lambda each: each.id)
        entries = {each.id: self._entry(each) for each in asked}
        (folder / FILE).write_text(json.dumps(entries, indent=1), encoding="utf-8")
        write_questions(folder, asked, {each.id: self._clip(each) for each in asked})

    def _clip(self, question: Question) -> str:
        return f"videos/{question.id}" + (".mp4" if self.video else "")

    def _entry(self, question: Question) -> Record:
        turns = [
            {"from": "human", "value": f"<video>\n{question.prompt()}"},
            {"from": "gpt", "value": question.reply},
        ]
        return {"video": self._clip(question), "task": question.task, "annos": {TYPES[question.kind]: turns}}

    def _save(self, images: Array, folder: Path, question: Question) -> None:
        path = folder / self._clip(question)
        if self.video:
            write_video(path, images, FRAMES_PER_SECOND)
            return
        from PIL import Image

        path.mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image).save(path / f"{number:04d}.png", "PNG")
