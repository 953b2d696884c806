"""One failure, told in pictures and a few sentences: what a report opens with."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence

from markupsafe import Markup

LARGEST_PICTURE = 200_000
"""Bytes of one picture: a page stays small however large what is drawn."""


@dataclasses.dataclass(frozen=True)
class Shot:
    """One picture of a story.

    Attributes
    ----------
    jpeg : the picture as a file.
    title, time, words : what it shows, when, and what that means.
    """

    jpeg: bytes
    title: str
    time: str
    words: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.jpeg) > LARGEST_PICTURE:
            raise ValueError(f"a picture of a report has at most {LARGEST_PICTURE} bytes, not {len(self.jpeg)}")

    @property
    def address(self) -> Markup:
        """The picture itself, as an address that loads nothing."""
        return Markup("data:image/jpeg;base64,") + Markup(base64.b64encode(self.jpeg).decode())

    @property
    def alternative(self) -> str:
        """What is seen, for those who cannot."""
        return f"{self.title}, {self.time}: {'; '.join(self.words)}"


@dataclasses.dataclass(frozen=True)
class Story:
    """One failure.

    Attributes
    ----------
    uid, title : of the episode.
    sentences : what happened.
    shots : in the order of time; empty where nothing could be drawn.
    legend : what is drawn into them.
    missing : why there are no pictures; "" where there are.
    """

    uid: str
    title: str
    sentences: Sequence[str]
    shots: Sequence[Shot] = ()
    legend: str = ""
    missing: str = ""
