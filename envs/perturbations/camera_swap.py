"""Two cameras are mistaken for one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.pixels import KINDS, ImageEffect, ImageFault, names_of, of_cameras
from workbench.envs.faults.schedule import Start
from workbench.errors import ConfigError
from workbench.types import Array, Record, Stream, Task
from workbench.types.reading import Distinct, among, many

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class CameraSwapEffect(ImageEffect):
    """Gives each of two cameras the other's images."""

    def images(self, scene: MujocoScene, images: dict[str, Array]) -> dict[str, Array]:
        """The images, those of the two exchanged."""
        one, other = self.record["cameras"]
        pairs = [(f"{kind}/{one}", f"{kind}/{other}") for kind in KINDS if f"{kind}/{one}" in images]
        return images | {here: images[there] for pair in pairs for here, there in (pair, pair[::-1])}


class CameraSwap(ImageFault):
    """Devices that come up in another order after a restart (source: none found).

    Parameters
    ----------
    duration_steps : for how many control steps.
    camera : one of the two; None: both are drawn.  The other is drawn from the rest of ``task.cameras.names``.
    start : when; see :class:`workbench.envs.faults.specification.Specification`.
    """

    effect = CameraSwapEffect
    magnitude = Magnitude("duration_steps", 1, 1_000_000, whole=True)
    seen_as = ("stall", "timeout", "collision")

    def __init__(self, duration_steps: int | Sequence[int], camera: str | None = None, **start: Unpack[Start]) -> None:
        super().__init__(camera, duration_steps=self.magnitude.steps(duration_steps), **start)

    def check(self, task: Task) -> None:
        """Refuse a single camera."""
        super().check(task)
        if len(names_of(task)) < 2:
            raise ConfigError(
                f"perturbation {self.name} needs two cameras, and task {task.name} has one ({names_of(task)[0]}): "
                "add another to task.cameras.names, or leave it out"
            )

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add which two, in the task's order."""
        record, names = super().draw(stream, task), names_of(task)
        shuffled = stream.child("perturbation", self.name, "cameras").at().permutation(names).tolist()
        pair = sorted(shuffled, key=lambda name: name != self.camera)[:2]
        return record | {"cameras": [name for name in names if name in pair]}

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Two cameras of the task."""
        return super().fields_on(task) | {"cameras": Annotated[many(among(names_of(task)), 2, 2), Distinct()]}

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration and the two cameras."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"{of_cameras(record)} are exchanged"
