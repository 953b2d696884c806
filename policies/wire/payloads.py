"""What servers are sent: one layout a kind of policy, from what a task's scene shows.

A layout says which keys a request holds and what a task must have to fill them.  Images leave as uint8, resized with
padding to the 224 pixels that these policies see; states leave un-normalised, the server normalises.

Sources: openpi's ``examples/libero`` and ``examples/droid`` (Physical Intelligence, 2025); OpenVLA's
``vla-scripts/deploy.py`` and LIBERO evaluation (Kim et al., CoRL 2024), OpenVLA-OFT's (Kim et al., RSS 2025).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from workbench.errors import ConfigError
from workbench.types import Array, Fingers, Record, Task
from workbench.types.abilities import commands_pose, fingers_for, image_sizes_of

IMAGE_PX = 224


@dataclasses.dataclass(frozen=True)
class Layout:
    """Keys of a request, and what fills them.

    Attributes
    ----------
    images : keys of the images, the outer camera's first, then the one at the wrist.
    as_libero : whether images are turned as LIBERO's are, see :func:`libero_image`.
    prompt : key of the instruction.
    vectors : key -> function of one scene's present observation and the robot's fingers.
    needs : observation -> length, what those functions read.
    action_size : numbers in an action.
    commands_pose : whether an action is a change of the gripper's pose, as robosuite's controller takes it.
    to_action : what makes the task's actions (..., A) of the server's.
    """

    images: tuple[str, ...]
    as_libero: bool
    prompt: str
    vectors: Mapping[str, Callable[[Mapping[str, Array], Fingers], Array]]
    needs: Mapping[str, int]
    action_size: int
    commands_pose: bool
    to_action: Callable[[Array], Array]

    def refuse(self, name: str, task: Task, cameras: Sequence[str]) -> None:
        """Raise a ConfigError if a task cannot fill this layout, or its actions are of another kind."""
        if len(cameras) != len(self.images):
            raise ConfigError(
                f"policy.cameras={list(cameras)} must name {len(self.images)}, for {_listed(self.images)}"
            )
        seen = tuple(image_sizes_of(task))
        if missing := [camera for camera in cameras if camera not in seen]:
            names = f"[{','.join(dict.fromkeys((*seen, *cameras)))}]"
            raise ConfigError(
                f"layout {name} needs images of {_listed(missing)}, which task {task.name} does not take: add "
                f"'task.cameras={{names: {names}, width_px: 256, height_px: 256}}'"
            )
        for key, size in self.needs.items():
            if task.observation_sizes.get(key) != size:
                raise ConfigError(
                    f"layout {name} needs observation {key!r} of length {size}, but task {task.name} has "
                    f"{dict(task.observation_sizes)}: choose another layout or task"
                )
        if (task.action_size, commands_pose(task)) != (self.action_size, self.commands_pose):
            kind = "pose" if self.commands_pose else "joint"
            raise ConfigError(
                f"layout {name} gives {kind} actions of size {self.action_size}, which task {task.name} does not take "
                f"(size {task.action_size}): choose another layout, task or task.controller"
            )
        fingers_for(task, f"layout {name}")

    def arrays(self, observation: Mapping[str, Array], images: Sequence[Array], fingers: Fingers) -> dict[str, Array]:
        """Arrays of one scene's request, from its present observation and images (H, W, 3)."""
        turned = [libero_image(image) if self.as_libero else image for image in images]
        pictures = {key: resized_with_padding(image, IMAGE_PX) for key, image in zip(self.images, turned, strict=True)}
        vectors = {key: vector(observation, fingers) for key, vector in self.vectors.items()}
        return {**pictures, **vectors}


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)


def libero_image(image: Array) -> Array:
    """An upright image (H, W, 3) as LIBERO's policies were shown it.

    Their environments give robosuite's images as GL has them, the bottom row first, and both training and evaluation
    turn these by 180 degrees (``[::-1, ::-1]``).  Of an upright image, as ours are, the two together leave a mirrored
    one.
    """
    as_gl_has_it = image[::-1]
    return as_gl_has_it[::-1, ::-1]


def resized_with_padding(image: Array, size_px: int) -> Array:
    """Image (size, size, 3) that shows the whole of one (H, W, 3), bilinear, in the middle of black."""
    from PIL import Image

    height, width = image.shape[:2]
    if (height, width) == (size_px, size_px):
        return np.ascontiguousarray(image)
    ratio = max(height, width) / size_px
    inner_height, inner_width = max(1, int(height / ratio)), max(1, int(width / ratio))
    shown = Image.fromarray(np.ascontiguousarray(image)).resize((inner_width, inner_height), Image.Resampling.BILINEAR)
    top, left = (size_px - inner_height) // 2, (size_px - inner_width) // 2
    padded = np.zeros((size_px, size_px, 3), np.uint8)
    padded[top : top + inner_height, left : left + inner_width] = np.asarray(shown)
    return padded


def hand_rotation_vector(site_quaternion: Array) -> Array:
    """Rotation vector (3,) in rad of robosuite's hand *body*, from the quaternion (x, y, z, w) of its grip site.

    LIBERO's states hold the body's, whose frame is the site's turned by a quarter about the axis that both share.  The
    angle is within 0..2 pi and not folded at pi, so that it is steady where the gripper points down.
    """
    x, y, z, w = site_quaternion
    half = math.sqrt(0.5)
    hand = np.array([half * (x + y), half * (y - x), half * (z + w), half * (w - z)])
    sine = math.sqrt(max(0.0, 1.0 - min(1.0, float(hand[3] ** 2))))
    if sine < 1e-9:
        return np.zeros(3)
    return np.asarray(hand[:3] / sine * 2.0 * math.acos(min(1.0, max(-1.0, float(hand[3])))))


def libero_state(observation: Mapping[str, Array], fingers: Fingers) -> Array:
    """(8,): the gripper's position in metres, its rotation vector in rad, the finger joints in metres."""
    rotation = hand_rotation_vector(observation["eef_quat"])
    return np.concatenate([observation["eef_pos"], rotation, observation["gripper_qpos"]])


def joint_position(observation: Mapping[str, Array], fingers: Fingers) -> Array:
    """(7,): the arm's joints in rad."""
    return observation["joint_pos"]


def droid_gripper(observation: Mapping[str, Array], fingers: Fingers) -> Array:
    """(1,): 0 for open fingers, 1 for closed ones."""
    width_m = float(np.ptp(observation["gripper_qpos"]))
    return np.array([1.0 - min(1.0, width_m / fingers.open_m)])


def unchanged(actions: Array) -> Array:
    """LIBERO's actions are robosuite's: fingers open below zero and close above."""
    return actions


def from_one_is_open(actions: Array) -> Array:
    """OpenVLA's last number is 1 for open fingers and 0 for closed ones; ours is -1 and 1."""
    return np.concatenate([actions[..., :-1], np.where(actions[..., -1:] > 0.5, -1.0, 1.0)], axis=-1)


def from_one_is_closed(actions: Array) -> Array:
    """DROID's last number is 0 for open fingers and 1 for closed ones; ours is -1 and 1."""
    return np.concatenate([actions[..., :-1], np.where(actions[..., -1:] > 0.5, 1.0, -1.0)], axis=-1)


_LIBERO_NEEDS = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2}
LAYOUTS: Mapping[str, Layout] = {
    "libero": Layout(
        images=("observation/image", "observation/wrist_image"),
        as_libero=True,
        prompt="prompt",
        vectors={"observation/state": libero_state},
        needs=_LIBERO_NEEDS,
        action_size=7,
        commands_pose=True,
        to_action=unchanged,
    ),
    "droid": Layout(
        images=("observation/exterior_image_1_left", "observation/wrist_image_left"),
        as_libero=False,
        prompt="prompt",
        vectors={
            "observation/joint_position": joint_position,
            "observation/gripper_position": droid_gripper,
        },
        needs={"joint_pos": 7, "gripper_qpos": 2},
        action_size=8,
        commands_pose=False,
        to_action=from_one_is_closed,
    ),
    "openvla": Layout(
        images=("image",),
        as_libero=True,
        prompt="instruction",
        vectors={},
        needs={},
        action_size=7,
        commands_pose=True,
        to_action=from_one_is_open,
    ),
    "openvla_oft": Layout(
        images=("full_image", "wrist_image"),
        as_libero=True,
        prompt="instruction",
        vectors={"state": libero_state},
        needs=_LIBERO_NEEDS,
        action_size=7,
        commands_pose=True,
        to_action=from_one_is_open,
    ),
}
"""Layouts of policies that others made; ``ours`` is described in :mod:`workbench.policies.remote`."""


def noise_record(generator: np.random.Generator) -> Record:
    """The state of a PCG64 generator, which decides all that it will draw; its 128-bit numbers as bytes."""
    state: Any = generator.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise ConfigError(f"noise of a {state['bit_generator']} generator cannot be sent to a server, only of a PCG64")
    words = {key: state["state"][key].to_bytes(16, "little") for key in ("state", "inc")}
    return {"bit_generator": "PCG64", **words, "has_uint32": state["has_uint32"], "uinteger": state["uinteger"]}


class _Unseeded(ISeedSequence):
    """Zeros for a generator whose state is set anyway: numpy's own take longer than all the rest of a request."""

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Array:
        return np.zeros(n_words, dtype)


_UNSEEDED = _Unseeded()


def noise_from(record: Any) -> np.random.Generator:
    """The generator of which :func:`noise_record` was made; ConfigError for anything else."""
    keys = {"bit_generator": str, "state": bytes, "inc": bytes, "has_uint32": int, "uinteger": int}
    whole = isinstance(record, dict) and record.keys() == keys.keys()
    if not whole or any(type(record[key]) is not kind for key, kind in keys.items()):
        raise ConfigError(f"sampling/noise must be a record of {', '.join(keys)}")
    words = {key: int.from_bytes(record[key], "little") for key in ("state", "inc")}
    sizes = all(len(record[key]) == 16 for key in words)
    if record["bit_generator"] != "PCG64" or not sizes or record["has_uint32"] not in (0, 1):
        raise ConfigError("sampling/noise must hold the state of a PCG64 generator, two numbers of 16 bytes")
    if not 0 <= record["uinteger"] < 2**32:
        raise ConfigError("sampling/noise.uinteger must be below 2**32")
    bits = np.random.PCG64(_UNSEEDED)  # type: ignore[arg-type]  # numpy's stubs forget its own base class
    state: Any = {**record, "state": words}
    del state["inc"]
    bits.state = state
    return np.random.Generator(bits)
