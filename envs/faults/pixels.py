"""What faults of images share: which cameras they are of, and what becomes of their pixels.

Keys of images are those of :meth:`workbench.envs.scene.MujocoScene.images`.  Faults of geometry (where a camera stands,
what is before its lens, which moment it shows) reach ``depth/`` and ``segmentation/`` too; faults of light and of the
sensor's pixels reach ``images/`` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Unpack, cast

import numpy as np

from workbench.envs.faults.draws import one_of
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record, Stream, Task
from workbench.types.abilities import image_sizes_of
from workbench.types.reading import NAME, Distinct, Size, among, many, typed, whole

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.scene import MujocoScene
    from workbench.envs.task import SceneTask

KINDS = ("images", "depth", "segmentation")


class ImageEffect(Effect):
    """A fault of the images of the record's ``cameras``."""

    def keys(self, images: dict[str, Array], *kinds: str) -> list[tuple[str, str]]:
        """(camera, key) of the images that it is a fault of."""
        pairs = [(camera, f"{kind}/{camera}") for camera in self.record["cameras"] for kind in kinds]
        return [(camera, key) for camera, key in pairs if key in images]

    def camera_ids(self, scene: MujocoScene, model: mujoco.MjModel) -> list[int]:
        """Indices of its cameras in the model that is drawn, none twice."""
        from workbench.envs.sensors.cameras import aliases

        known = aliases(scene.task)
        ids = {int(model.camera(known.get(name, name)).id) for name in self.record["cameras"]}
        return sorted(ids)


class PixelEffect(ImageEffect):
    """A fault of colours, camera by camera: subclasses say what becomes of the pixels."""

    def images(self, scene: MujocoScene, images: dict[str, Array]) -> dict[str, Array]:
        """The images with the pixels of its cameras changed."""
        pixels = {
            key: self.pixels(images[key], camera, scene.step_index) for camera, key in self.keys(images, "images")
        }
        return images | pixels

    def pixels(self, image: Array, camera: str, step: int) -> Array:
        """An image (H, W, 3) uint8 as it is seen, in the same form."""
        raise NotImplementedError


class PastEffect(ImageEffect):
    """A fault that shows an earlier moment: it keeps joint positions, and the images are drawn from them.

    So a restored snapshot shows the same pixels, and its memory holds some dozens of numbers a step.
    """

    shows_the_past = True

    def shown(self, scene: MujocoScene) -> tuple[int, Array]:
        """The step that its cameras show, and its joint positions (nq,)."""
        raise NotImplementedError

    def images(self, scene: MujocoScene, images: dict[str, Array]) -> dict[str, Array]:
        """The images with those of its cameras from another step."""
        past = scene.looked_back(*self.shown(scene), self)
        return images | {key: past[key] for _, key in self.keys(images, *KINDS)}


class ImageFault(Specification):
    """A fault of the images of one camera or of all.

    Parameters
    ----------
    camera : name of the one camera, out of ``task.cameras.names``; None for all of them.
    schedule : see :class:`Specification`.
    """

    channel = "observation"
    needs_cameras = True
    drawn = typed(cameras=Annotated[list[NAME], Size(1, 100)])
    keeps_qpos: ClassVar[bool] = False
    """Whether its effect keeps joint positions, whose number the record must then hold."""

    def __init__(self, camera: str | None = None, **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.camera = camera

    def check(self, task: Task) -> None:
        """Refuse tasks without cameras, or without that one."""
        super().check(task)
        one_of(f"camera of perturbation {self.name} in task.cameras.names", self.camera, names_of(task))

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add the names of the cameras."""
        record = super().draw(stream, task)
        record["cameras"] = [self.camera] if self.camera else list(names_of(task))
        if self.keeps_qpos:
            record["qpos_size"] = _qpos_size(task)
        return record

    @classmethod
    def fields(cls) -> dict[str, Any]:
        """Those of all faults, and the number of joint positions that are kept."""
        return super().fields() | ({"qpos_size": whole(1, 10_000)} if cls.keeps_qpos else {})

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Cameras of the task, none twice."""
        names = names_of(task)
        found = super().fields_on(task) | {"cameras": Annotated[many(among(names), 1, len(names)), Distinct()]}
        return found | ({"qpos_size": among([_qpos_size(task)])} if cls.keeps_qpos else {})


def _qpos_size(task: Task) -> int:
    return int(cast("SceneTask", task).model.nq)


def names_of(task: Task) -> tuple[str, ...]:
    """Names of a task's cameras."""
    return tuple(image_sizes_of(task))


def of_cameras(record: Record) -> str:
    """Which cameras, in a few words."""
    return " and ".join(record["cameras"])


def as_bytes(values: Array) -> Array:
    """Numbers of 0..255 rounded to uint8."""
    whole: Array = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return whole


def turned(quaternion: Array, rotation_rad: Array) -> Array:
    """A quaternion (w, x, y, z) turned by a rotation vector in its own frame."""
    import mujoco

    product = np.array(quaternion)
    mujoco.mju_quatIntegrate(product, np.array(rotation_rad, dtype=np.float64), 1.0)
    return product
