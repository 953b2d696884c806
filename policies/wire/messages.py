"""What is said on the wire, a class for each: what a server is, a request, an answer.

Each is checked when it is made, by whoever makes it.  So the same checks hold for what is sent and for what is
received, at the client and at the server; sizes are those of :mod:`workbench.policies.wire.limits`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from workbench.errors import ConfigError, ObservationError, UnknownNameError, WireError
from workbench.policies.wire import frames
from workbench.policies.wire.limits import (
    ACTION,
    FEATURES,
    HISTORY,
    HORIZON,
    LETTERS,
    METADATA_BYTES,
    NAMES,
    NUMBERS,
    OBSERVATION,
    PIXELS,
    SAMPLES,
    WORD_LETTERS,
    flag,
    names,
    text,
    whole,
)
from workbench.policies.wire.payloads import noise_from, noise_record
from workbench.policies.wire.shown import shown
from workbench.types import Array, Policy, PolicyOutput, Record, Task
from workbench.types.abilities import image_sizes_of

IDENTITY = "workbench"
"""Key of a server's metadata under which ``workbench serve`` says what it serves."""
TOKENS = ("token_logprobs", "token_entropies")
"""Signals that servers of policies which decode tokens can give: (L,) in nats of each token of the call."""
_LARGEST = float(np.finfo(np.float32).max)
"""Calls are kept in float32: what is larger would become infinity there."""


@dataclasses.dataclass(frozen=True)
class Description:
    """What ``workbench serve`` says of the policy that it serves.

    Attributes
    ----------
    policy, weights, task : its class, the digest of its checkpoint, and the name of the task that it was made for.
    history, horizon, execute, listens, action_size : as of :class:`workbench.types.Policy` and of the task.
    cameras : name -> (height, width) in pixels, of the images that it reads.
    observations : name -> length, of the vectors that it reads.
    signals : what it can be asked to say of a call.

    Raises
    ------
    ConfigError
        If anything is of another kind, or beyond its limit.
    """

    policy: str
    weights: str
    task: str
    history: int
    horizon: int
    execute: int
    listens: bool
    cameras: Mapping[str, tuple[int, int]]
    observations: Mapping[str, int]
    action_size: int
    signals: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("policy", "weights", "task"):
            text(name, getattr(self, name), WORD_LETTERS)
        for name, most in (("history", HISTORY), ("horizon", HORIZON), ("action_size", ACTION)):
            whole(name, getattr(self, name), 1, most)
        whole("execute", self.execute, 1, self.horizon)
        whole("numbers of a chunk", self.horizon * self.action_size, 1, NUMBERS)
        flag("listens", self.listens)
        names("cameras", self.cameras)
        names("observations", self.observations)
        names("signals", self.signals)
        for name, size in self.observations.items():
            whole(f"length of observation {name!r}", size, 1, OBSERVATION)
        for name, sizes in self.cameras.items():
            if not isinstance(sizes, Sequence) or len(sizes) != 2:
                raise ConfigError(f"size of camera {name!r}={shown(sizes)} must be [height, width]")
            for edge in sizes:
                whole(f"pixels of camera {name!r}", edge, 1, PIXELS)

    @classmethod
    def of(cls, policy: Policy, task: Task, weights: str) -> Self:
        """That of a policy that drives a task."""
        sizes = dict(image_sizes_of(task)) | dict(getattr(policy, "image_sizes", {}))
        if missing := [camera for camera in policy.cameras if camera not in sizes]:
            raise ConfigError(f"{type(policy).__name__} reads camera {missing[0]!r}, which task {task.name} has not")
        return cls(
            policy=type(policy).__name__,
            weights=weights,
            task=task.name,
            history=policy.history,
            horizon=policy.horizon,
            execute=policy.execute,
            listens=policy.listens,
            cameras={camera: (int(sizes[camera][0]), int(sizes[camera][1])) for camera in policy.cameras},
            observations={
                key: int(size) for key, size in (getattr(policy, "layout", None) or task.observation_sizes).items()
            },
            action_size=task.action_size,
            signals=tuple(policy.signals),
        )

    @classmethod
    def read(cls, said: Any) -> Self:
        """That which a server's metadata hold; what a later version may add is left out."""
        keys = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(said, dict) or not said.keys() >= set(keys):
            raise ConfigError(f"it must be a map of {', '.join(keys)}")
        for name, kind in (("cameras", dict), ("observations", dict), ("signals", list)):
            if type(said[name]) is not kind:
                raise ConfigError(f"{name}={shown(said[name])} must be a {'map' if kind is dict else 'list'}")
        made = cls(**{key: said[key] for key in keys} | {"signals": names("signals", said["signals"])})
        cameras = {camera: (height, width) for camera, (height, width) in made.cameras.items()}
        return dataclasses.replace(made, cameras=cameras)

    def record(self) -> Record:
        """As it is sent."""
        cameras = {camera: list(sizes) for camera, sizes in self.cameras.items()}
        return dataclasses.asdict(self) | {"cameras": cameras, "signals": list(self.signals)}

    @functools.cached_property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Key of a request -> shape of its array."""
        vectors = {f"observation/{name}": (self.history, size) for name, size in self.observations.items()}
        return vectors | {f"images/{camera}": (*sizes, 3) for camera, sizes in self.cameras.items()}


def metadata_of(frame: bytes) -> Record:
    """What a server says of itself; WireError for what is no map, or larger than anybody needs."""
    if len(frame) > METADATA_BYTES:
        raise WireError(f"it says {len(frame)} bytes of itself, may say {METADATA_BYTES}")
    said = frames.decode(frame)
    if not isinstance(said, dict):
        raise WireError(f"it says of itself {shown(said)}, not a map")
    _refuse_other_keys(said)
    return said


def _refuse_other_keys(said: Any) -> None:
    """Metadata are kept as JSON, and compared by it."""
    if isinstance(said, list):
        for each in said:
            _refuse_other_keys(each)
    elif isinstance(said, dict):
        for key, value in said.items():
            text("a key of what it says of itself", key, WORD_LETTERS)
            _refuse_other_keys(value)


def signals_of(metadata: Record) -> tuple[str, ...]:
    """The names that the metadata of somebody else's server list as ``signals``, if they mean that by it."""
    listed = metadata.get("signals")
    meant = listed if isinstance(listed, list) else []
    found: list[str] = []
    for name in meant[:NAMES]:
        try:
            found += names("signals", [name])
        except ConfigError:
            continue
    return tuple(dict.fromkeys(found))


@dataclasses.dataclass(frozen=True)
class Request:
    """What one scene shows and is told, and what is asked of the policy.

    Attributes
    ----------
    arrays : key on the wire -> vectors of finite numbers, and images (H, W, 3) uint8.
    instruction : what is told.
    prompt : key on the wire of the instruction.
    samples : how many further chunks are wanted.
    noise : generator of the call's noise, which is sent as it stands; None for the server's own.
    signals : what else is to be said of the call.

    Raises
    ------
    ConfigError, ObservationError
        If anything is of another kind, or beyond its limit.
    """

    arrays: Mapping[str, Array]
    instruction: str = ""
    prompt: str = "prompt"
    samples: int = 0
    noise: np.random.Generator | None = None
    signals: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for key, array in self.arrays.items():
            _refuse_observation(key, array)
        text(f"the instruction {self.prompt!r}", self.instruction, LETTERS)
        whole("sampling/n", self.samples, 0, SAMPLES)
        names("sampling/signals", self.signals)

    @classmethod
    def read(cls, said: Any, served: Description) -> Self:
        """What was received, if it is what the policy reads; keys that it does not read are left out."""
        if not isinstance(said, dict):
            raise ObservationError(f"a request must be a map, not a {type(said).__name__}")
        wanted = served.arrays
        for key in wanted:
            if not isinstance(said.get(key), np.ndarray):
                raise ObservationError(f"the request lacks the array {key!r}; it is to hold {', '.join(wanted)}")
        if served.listens and not isinstance(said.get("prompt"), str):
            raise ObservationError("the request lacks 'prompt', the instruction that the policy is to follow")
        sent, asked = said.get("sampling/noise"), said.get("sampling/signals", [])
        if not isinstance(asked, list):
            raise ConfigError(f"sampling/signals={shown(asked)} must be a list of names")
        request = cls(
            {key: said[key] for key in wanted},
            said["prompt"] if served.listens else "",
            samples=said.get("sampling/n", 0),
            noise=None if sent is None else noise_from(sent),
            signals=names("sampling/signals", asked),
        )
        request.refuse_other(served)
        return request

    def refuse_other(self, served: Description) -> None:
        """Raise an error if this is not what a policy reads, or asks for what it does not give."""
        for key, shape in served.arrays.items():
            if self.arrays[key].shape != shape:
                raise ObservationError(
                    f"{key} is {self.arrays[key].dtype}{list(self.arrays[key].shape)}, must be numbers {list(shape)}"
                )
        for name in self.signals:
            if name not in served.signals:
                raise UnknownNameError(f"signal of policy {served.policy}", name, served.signals)
        most = NUMBERS // (served.horizon * served.action_size) - 1
        if self.samples > most:
            raise ConfigError(
                f"sampling/n={self.samples} must be a whole number in 0..{min(SAMPLES, most)}: more chunks of "
                f"{served.horizon} actions of {served.action_size} numbers would not fit an answer"
            )

    def record(self, extends: bool) -> Record:
        """As it is sent; ``extends`` for servers that leave out keys that they do not know."""
        said: Record = {**self.arrays, self.prompt: self.instruction}
        if extends:
            said["sampling/n"] = self.samples
            said |= {} if self.noise is None else {"sampling/noise": noise_record(self.noise)}
            said |= {"sampling/signals": list(self.signals)} if self.signals else {}
        return said


def _refuse_observation(key: str, array: Array) -> None:
    """Vectors of finite numbers, images (H, W, 3)."""
    if array.ndim == 3 or key.startswith("images/"):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or max(array.shape) > PIXELS:
            raise ObservationError(
                f"{key} is {array.dtype}{list(array.shape)}, must be an image (height, width, 3) uint8 of up to "
                f"{PIXELS} pixels an edge"
            )
        return
    if array.dtype.kind not in "iuf":
        raise ObservationError(f"{key} is {array.dtype}{list(array.shape)}, must be numbers")
    if not 0 < array.size <= HISTORY * OBSERVATION:
        raise ObservationError(f"{key} holds {array.size} numbers, must hold 1..{HISTORY * OBSERVATION}")
    if not _within(array):
        raise ObservationError(f"{key} holds NaN or infinity, or numbers beyond {_LARGEST:.2g}")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a policy answers to one request; numbers are finite, in float32 or float64.

    Attributes
    ----------
    actions : (H, A) the chunk.
    samples : (B, H, A) further chunks, or None.
    embedding : (D,) features, or None.
    signals : name -> (...), what else is said of the call.

    Raises
    ------
    WireError
        If anything is no number, not finite, or beyond its limit.
    """

    actions: Array
    samples: Array | None = None
    embedding: Array | None = None
    signals: Mapping[str, Array] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be run or kept."""
        for name, values in (("actions", self.actions), ("samples", self.samples)):
            if values is not None:
                _refuse_unfit(name, values, NUMBERS)
        if self.embedding is not None:
            _refuse_unfit("embedding", self.embedding, FEATURES)
        for name, values in self.signals.items():
            _refuse_unfit(f"signal {name}", values, FEATURES)

    @classmethod
    def of(cls, output: PolicyOutput, request: Request, served: Description) -> Self:
        """That of a policy's output for one scene, as far as it was asked for."""
        chunk = (served.horizon, served.action_size)
        samples = None
        if request.samples and output.samples is not None:
            samples = _of_shape("samples", output.samples[0], (request.samples, *chunk), None)
        embedding = None if output.embedding is None else _numbers("embedding", output.embedding[0], FEATURES, None)
        signals = {
            name: _numbers(f"signal {name}", values[0], FEATURES, None) for name, values in output.signals.items()
        }
        return cls(_of_shape("actions", output.chunk[0], chunk, None), samples, embedding, signals)

    @classmethod
    def read(cls, said: Any, chunk: tuple[int, int], samples: int, signals: Sequence[str]) -> Self:
        """What was received, if its chunks are (H, A) and as many as were asked for, and no signal is missing.

        Servers of others may give ``features/<name>`` for an embedding, and the signals of :data:`TOKENS` by their
        bare names.
        """
        if not isinstance(said, dict) or "actions" not in said:
            raise WireError(f"answer has no actions: {shown(said)}")
        drawn = said.get("samples") if samples else None
        return cls(
            _of_shape("actions", said["actions"], chunk),
            None if drawn is None else _of_shape("samples", drawn, (samples, *chunk)),
            _embedding(said),
            {name: _signal(name, said) for name in signals},
        )

    def record(self) -> Record:
        """As it is sent."""
        said: Record = {"actions": self.actions, "samples": self.samples, "embedding": self.embedding}
        return {key: values for key, values in said.items() if values is not None} | {
            f"signals/{name}": values for name, values in self.signals.items()
        }


def _numbers(name: str, values: Any, most: int, copy: bool | None = True) -> Array:
    """Numbers in float32 or float64; in an array of this process's own, where what came off the wire is read-only."""
    if not _are_numbers(values):
        raise WireError(f"{name} are no numbers: {shown(values)}")
    if isinstance(values, np.ndarray) and values.size > most:
        raise WireError(f"{name} hold {values.size} numbers, may hold {most}")
    try:
        array = np.array(values, copy=copy)
    except ValueError:
        raise WireError(f"{name} are no numbers in rows of one length: {shown(values)}") from None
    if array.dtype.kind not in "iuf":  # nothing at all, or whole numbers that no type of numpy holds
        raise WireError(f"{name} are no numbers: {shown(values)}")
    if array.dtype in (np.float32, np.float64):
        return array
    with np.errstate(invalid="ignore"):  # NaN that signals
        return array.astype(np.float64)


def _are_numbers(values: Any) -> bool:
    """Whether an array, a number, or lists of them hold numbers alone: numpy pads texts to the longest of them."""
    if isinstance(values, list):
        return all(_are_numbers(each) for each in values)
    if isinstance(values, (np.ndarray, np.generic)):
        return values.dtype.kind in "iuf"
    return type(values) in (int, float)


def _refuse_unfit(name: str, values: Array, most: int) -> None:
    if values.size > most:
        raise WireError(f"{name} hold {values.size} numbers, may hold {most}")
    if not values.size or not _within(values):
        raise WireError(
            f"{name} hold NaN or infinity, or nothing, or numbers beyond {_LARGEST:.2g}, which cannot be kept"
        )


def _within(array: Array) -> bool:
    """Whether all numbers are finite, in float32 too.  Their squares say it at once, unless they are very large."""
    if float(np.vdot(array, array)) <= _LARGEST:
        return True
    with np.errstate(invalid="ignore"):
        return bool((np.abs(array.astype(np.float64)) <= _LARGEST).all())


def _of_shape(name: str, values: Any, shape: tuple[int, ...], copy: bool | None = True) -> Array:
    has = values.shape if isinstance(values, np.ndarray) else None
    array = _numbers(name, values, math.prod(shape), copy) if has in (None, shape) else None
    if array is None or array.shape != shape:
        raise WireError(
            f"{name} are of shape {has if array is None else array.shape}, must be {shape} (see policy.horizon, the "
            "task's actions, rollout.samples)"
        )
    return array


def _signal(name: str, said: Mapping[str, Any]) -> Array:
    values = said.get(f"signals/{name}", said.get(name) if name in TOKENS else None)
    if values is None:
        raise WireError(
            f"answer has no signal {name!r}: leave it out of rollout.signals, or extend the server (docs/servers.md)"
        )
    signal = _numbers(f"signal {name}", values, FEATURES)
    if name in TOKENS and signal.ndim != 1:
        raise WireError(f"{name} are {list(signal.shape)}, must be (L,), one a token")
    return signal


def _embedding(said: Mapping[Any, Any]) -> Array | None:
    """(D,) from ``embedding``, or all ``features/...`` end to end, each its mean over all axes but the last."""
    keys = (
        ["embedding"]
        if said.get("embedding") is not None
        else sorted(key for key in said if isinstance(key, str) and key.startswith("features"))
    )
    parts = [_numbers(key, said[key], NUMBERS) for key in keys]
    for key, part in zip(keys, parts, strict=True):
        _refuse_unfit(key, part, NUMBERS)
    with np.errstate(over="ignore"):  # the mean is checked as all of an answer is
        vectors = [part.reshape(-1, part.shape[-1]).mean(axis=0) if part.ndim > 1 else part.ravel() for part in parts]
    return np.concatenate(vectors) if vectors else None
