"""Stored episodes with images: those that the store keeps, or else drawn again from its exact states."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.rollouts.setup import refuse_other_task
from workbench.rollouts.stored import snapshot_at
from workbench.store import Store, StoreHeader
from workbench.types import Array, Episode, HasCameras, HasImages, Scene, Task, ability

IMAGES = "images/"
"""What the name of a step's array begins with that holds a camera's images."""


class Drawn:
    """A store as exports take it, whose episodes have images of every control step.

    A stored snapshot holds everything that decides an image, faults of cameras included, so that what is drawn is what
    would have been recorded.  Episodes that have images keep theirs.

    Parameters
    ----------
    task : that the store was rolled with, with the cameras that are to look.

    Raises
    ------
    ConfigError
        once an episode has no images, and the task no cameras.
    """

    def __init__(self, store: Store, task: Task) -> None:
        refuse_other_task(store, task)
        self._store, self._task = store, task

    @functools.cached_property
    def _scene(self) -> Scene:
        return self._task.scene()

    def __len__(self) -> int:
        return len(self._store)

    @property
    def path(self) -> Path:
        """Of the store."""
        return self._store.path

    @property
    def header(self) -> StoreHeader:
        """Of the store."""
        return self._store.header

    def digest(self) -> str:
        """Of the store: what is drawn follows from it, and from the cameras."""
        return self._store.digest()

    def kept(self, number: int) -> bool:
        """Whether the store has images of an episode."""
        return any(name.startswith(IMAGES) for name in self._store.step_names(number))

    def episode(self, number: int, steps: Sequence[str] | None = None, calls: Sequence[str] | None = None) -> Episode:
        """The ``number``-th episode, with its images."""
        episode = self._store.episode(number, steps, calls)
        if self.kept(number):
            return episode
        ability(self._task, HasCameras, "what shows images of a store that keeps none")
        scene = self._scene
        drawing = ability(scene, HasImages, "what shows images of a store that keeps none")
        moments = episode if "state" in episode.steps else self._store.episode(number, ("state",), ())
        drawn: dict[str, list[Array]] = {}
        for step in range(len(moments.steps["state"])):
            scene.restore(snapshot_at(moments, step))
            for name, image in drawing.images().items():
                if name.startswith(IMAGES):
                    drawn.setdefault(name, []).append(image)
        images = {name: np.stack(frames) for name, frames in drawn.items()}
        return Episode(episode.record, {**episode.steps, **images}, episode.calls, episode.memory)
