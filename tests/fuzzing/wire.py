"""Frames to and from policy servers: requests, metadata, answers, by msgpack and by JSON, without a socket."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import numpy as np

from tests.fuzzing.mutations import NUMBERS, STRINGS, damaged, encoded, mutated, one_of
from workbench.envs.robots.panda import PANDA
from workbench.errors import PolicyServerError
from workbench.policies import remote
from workbench.policies.remote import RemotePolicy
from workbench.policies.server import PolicyServer
from workbench.policies.wire import frames
from workbench.policies.wire.connections import HttpTransport, WebsocketTransport
from workbench.policies.wire.limits import ITEMS
from workbench.policies.wire.messages import IDENTITY, Answer, Description
from workbench.policies.wire.payloads import noise_record
from workbench.types import PolicyOutput

HISTORY, HORIZON, ACTION = 2, 4, 7
SIZES = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2, "cube_pos": 3}
IMAGES = {"agentview": (8, 12), "wrist": (8, 12)}
SIGNALS = ("denoising_loss", "reconstruction")
MOST = 3 * ITEMS
CLAIMS = (0, 1, -1, 2, 5, 2**16, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
DTYPES = (
    "<f4", "<f8", "|u1", "<i8", "|b1", "<f2", "<f16", "<c8", "|O", "O", "T", "|V8", "<U4", "<U99999999", "|S0",
    "<M8[ns]", "M8", "a5", "f4,f4", "{'names': ['a'], 'formats': ['f4']}", "(2,)f4", ">f4", "?", "d", "p", "",
    "<U1114112", "x" * 99,
)  # fmt: skip
EXTENSIONS = (b"\xc1", b"\xd4\x01\x00", b"\xd6\xff\x00\x00\x00\x00", b"\xc7\x04\x05abcd", b"\xc9\xff\xff\xff\xff\x01")
BOMBS = (
    b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\x91" * 3000,
    b"\x81\xa1a" * 3000, b"\xdd\x00\x01\x86\xa0" * 40, b"\xdc\xff\xff" * 20,
    b"\xdd\x00\x01\x86\xa0" + b"\xc0" * 100_000,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Task:
    """What a remote policy asks of a task."""

    name: str = "arm"
    instruction: str = "lift the cube"
    observation_sizes: Mapping[str, int] = dataclasses.field(default_factory=lambda: SIZES)
    action_size: int = ACTION
    image_sizes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=lambda: IMAGES)
    robot: Any = PANDA
    commands_pose: bool = True


class Policy:
    """Answers at once; takes what it is handed for what was promised."""

    history, horizon, execute = HISTORY, HORIZON, 2
    privileged, listens = False, True
    cameras, signals, image_sizes = ("wrist",), SIGNALS, IMAGES

    def plan(
        self, observation: Any, noise: Any, samples: int = 0, instructions: Any = None, signals: Any = ()
    ) -> PolicyOutput:
        for key, size in SIZES.items():
            assert observation[key].shape == (1, HISTORY, size)
            assert np.isfinite(observation[key]).all()
        assert observation["images/wrist"].shape == (1, *IMAGES["wrist"], 3)
        assert len(instructions[0]) < 10_000
        assert len(signals) == len(set(signals)) <= len(SIGNALS)
        assert samples <= 5000
        chunk = noise[0].random((1, HORIZON, ACTION))
        drawn = np.zeros((1, min(samples, 8), HORIZON, ACTION))
        said = {name: np.zeros(1) for name in signals}
        return PolicyOutput(chunk, drawn if 0 < samples <= 8 else None, np.zeros((1, 5)), said)


class Frames(contextlib.AbstractContextManager["Frames"]):
    """In the place of a websocket: every frame that is asked for is the next of a list."""

    def __init__(self, *waiting: Any) -> None:
        self.waiting = list(waiting)

    def __exit__(self, *_: object) -> None: ...

    def send(self, frame: bytes) -> None:
        assert isinstance(frame, bytes)

    def recv(self, timeout: float | None = None) -> Any:
        if timeout == 0 or not self.waiting:
            raise TimeoutError
        return self.waiting.pop(0)


@dataclasses.dataclass
class Prepared:
    """A server, and valid messages of each kind."""

    server: PolicyServer
    request: dict[str, Any]
    description: dict[str, Any]
    metadata: dict[str, Any]
    answer: dict[str, Any]
    observation: dict[str, np.ndarray]


def prepare(folder: Path) -> Prepared:
    """One server of each side, which hear and say what an attempt hands them."""
    silent = SimpleNamespace(socket=SimpleNamespace(getsockname=lambda: ("127.0.0.1", 1)))
    with put(PolicyServer, "_listen", lambda *_: silent):
        server = PolicyServer(Policy(), Task(), seed=1)
    rng = np.random.default_rng(0)
    observation: dict[str, np.ndarray] = {key: rng.normal(size=(1, HISTORY, size)) for key, size in SIZES.items()}
    observation["eef_quat"] = np.tile([0.5**0.5, 0.5**0.5, 0.0, 0.0], (1, HISTORY, 1))
    observation |= {f"images/{name}": np.zeros((1, *size, 3), np.uint8) for name, size in IMAGES.items()}
    request: dict[str, Any] = {f"observation/{key}": observation[key][0] for key in SIZES}
    request |= {"images/wrist": observation["images/wrist"][0], "prompt": "lift", "sampling/n": 2}
    request |= {"sampling/noise": noise_record(rng.spawn(1)[0]), "sampling/signals": list(SIGNALS)}
    actions = rng.random((HORIZON, ACTION), np.float32)
    answer = {
        "actions": actions,
        "samples": np.stack([actions, actions]),
        "embedding": np.arange(5.0),
        "features/x": np.ones((2, 5), np.float32),
        "signals/denoising_loss": np.float32(1.0),
        "signals/reconstruction": np.arange(3.0),
        "token_logprobs": [-0.5, -1.0],
        "server_timing": {"infer_ms": 1.5},
    }
    description = Description.of(Policy(), Task(), "0123").record()
    stock = {"reset_pose": [0.0, 1.0], "signals": ["doubt"], "norm": np.arange(3.0)}
    return Prepared(server, request, description, stock, answer, observation)


def attempt(prepared: Prepared, random: np.random.Generator, folder: Path) -> None:
    one_of(random, (to_server, to_server, metadata, answer, answer, by_http, texts))(prepared, random)


def to_server(prepared: Prepared, random: np.random.Generator) -> None:
    """A request reaches a server: what is refused takes one line, what is not is what a client understands."""
    frame = as_frame(random, changed(random, prepared.request))
    said, reason = prepared.server.reply(frame)
    if isinstance(said, str):
        assert "\n" not in said, said
        assert said == reason
        assert len(said) < 1000
        assert said.isprintable()
        prepared.server.answer(frames.decode(frame) if isinstance(frame, bytes) else frame)
    else:
        Answer.read(frames.decode(said), (HORIZON, ACTION), 0, ())


def metadata(prepared: Prepared, random: np.random.Generator) -> None:
    """A server says what it is, ours or somebody else's, and answers well."""
    ours = bool(random.integers(2))
    said = {IDENTITY: prepared.description} if ours else prepared.metadata
    frame = as_frame(random, changed(random, said))
    ask(prepared, Frames(frame, frames.encode(prepared.answer)), ours, ())


def answer(prepared: Prepared, random: np.random.Generator) -> None:
    """A server that said what it is answers what it likes."""
    ours = bool(random.integers(2))
    said = {IDENTITY: prepared.description} if ours else prepared.metadata
    frame = as_frame(random, changed(random, prepared.answer))
    ask(prepared, Frames(frames.encode(said), frame), ours, SIGNALS if ours else ("token_logprobs",))


def ask(prepared: Prepared, connection: Frames, ours: bool, signals: Any) -> None:
    layout = {} if ours else {"layout": "libero", "cameras": ["agentview", "wrist"], "horizon": HORIZON, "execute": 2}

    class Transport(WebsocketTransport):
        def _reached(self) -> Any:
            return connection

    with put(remote, "WebsocketTransport", Transport):
        policy = RemotePolicy(Task(), retries=0, **layout)
        assert policy.history * policy.horizon < 10_000
        planned(policy, prepared, signals)


@contextlib.contextmanager
def put(place: Any, name: str, value: Any) -> Iterator[None]:
    """Something in the place of another for a while."""
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


def planned(policy: RemotePolicy, prepared: Prepared, signals: Any) -> None:
    """One call, whose output has to be what a rollout can run and keep."""
    given = policy.plan(prepared.observation, [np.random.default_rng(0)], 2, ["lift"], signals)
    assert given.chunk.shape == (1, policy.horizon, ACTION)
    for part in (given.chunk, given.samples, given.embedding, *given.signals.values()):
        with np.errstate(over="raise"):
            assert part is None or np.isfinite(np.asarray(part, np.float32)).all()


def by_http(prepared: Prepared, random: np.random.Generator) -> None:
    """A server answers in JSON."""
    plain = {key: frames.from_json(frames.to_json(values)) for key, values in prepared.answer.items()}
    said = {key: as_json(values) for key, values in plain.items()} if random.integers(2) else as_json(plain["actions"])
    body = encoded(random, mutated(random, said))
    if random.random() < 0.1:
        body = frames.to_json(body.decode("utf-8", "replace")).encode()
    status = int(one_of(random, (200, 200, 200, 200, 200, 404, 500)))

    class Transport(HttpTransport):
        def open(self) -> dict[str, Any]:
            return {}

        def ask(self, request: Any) -> Any:
            frames.to_json(request)
            return self._understood(status, body)

    settings = {"protocol": "openvla_oft", "cameras": ["agentview", "wrist"], "horizon": HORIZON, "execute": 1}
    with put(remote, "HttpTransport", Transport):
        policy = RemotePolicy(Task(), url="http://127.0.0.1:1", retries=0, **settings)
        planned(policy, prepared, ())


def texts(prepared: Prepared, random: np.random.Generator) -> None:
    """A server says why it fails, at any length and in any letters; one line is left of it."""
    lines = [one_of(random, STRINGS)[:2000] for _ in range(int(one_of(random, (1, 3, 50))))]
    said = "\n".join(lines) * int(one_of(random, (1, 2, 20)))
    first = one_of(random, (said, frames.encode({IDENTITY: prepared.description})))
    try:
        ask(prepared, Frames(first, said), True, ())
    except PolicyServerError as error:
        line = str(error)
        assert line.isprintable(), line
        assert len(line) < 1000
        raise


def as_json(value: Any) -> Any:
    """Arrays as the maps or the lists that stand for them."""
    if isinstance(value, np.ndarray):
        return json.loads(frames.to_json(value)) if value.ndim != 2 else value.tolist()
    return value


def changed(random: np.random.Generator, message: dict[str, Any]) -> Any:
    """A message with arrays opened to what stands for them, and something in it changed."""
    return mutated(random, {key: opened(random, value) for key, value in message.items()})


def opened(random: np.random.Generator, value: Any) -> Any:
    """An array as its map on the wire, now and then with another claim; the rest as it is."""
    if isinstance(value, dict):
        return {key: opened(random, each) for key, each in value.items()}
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    array = np.asarray(value)
    said = {frames.NDARRAY: True, frames.DATA: array.tobytes(), frames.DTYPE: array.dtype.str}
    said[frames.SHAPE] = list(array.shape)
    kind = random.integers(40)
    if kind == 0:
        said[frames.SHAPE] = [one_of(random, CLAIMS) for _ in range(random.integers(10))]
    elif kind == 1:
        said[frames.DTYPE] = one_of(random, DTYPES)
    elif kind == 2:
        said[frames.DATA] = random.bytes(len(said[frames.DATA]))
    elif kind == 3:
        said |= {frames.DATA: b"", frames.SHAPE: [0, one_of(random, CLAIMS)]}
    elif kind == 4:
        wide = array.astype(np.float64)
        wide.reshape(-1)[:1] = one_of(random, (np.nan, np.inf, 1e39, -1e308, 1e300))
        said |= {frames.DATA: wide.tobytes(), frames.DTYPE: "<f8"}
    elif kind == 5:
        del said[frames.SHAPE]
        said = {frames.GENERIC: True, frames.DATA: one_of(random, (*NUMBERS, "x", b"x", [1.0])), **said}
        del said[frames.NDARRAY]
    return said


def as_frame(random: np.random.Generator, value: Any) -> bytes | str:
    """A value as msgpack that nobody checked, and now and then is no longer that."""
    frame = packed(value, int(random.integers(1000)), one_of(random, (*EXTENSIONS, *BOMBS)))
    kind = random.integers(40)
    if kind == 0:
        return frame.decode("latin-1")
    if kind == 1:
        return frame + one_of(random, BOMBS)
    if kind == 2:
        return bytes(one_of(random, BOMBS))
    if kind < 8:
        return damaged(random, frame)
    return frame


def packed(value: Any, place: int, instead: bytes) -> bytes:
    """Msgpack of whatever it is, up to MOST values, with other bytes in the place of one leaf, where there are so many.

    It is written without recursion: deep values are meant to be read, not to fail here.
    """
    written, waiting, leaves = [], [value], 0
    while waiting and len(written) < MOST:
        one = waiting.pop()
        kind = type(one)
        if kind is dict:
            waiting += [part for pair in reversed(one.items()) for part in reversed(pair)]
            written.append(b"\xdf" + struct.pack(">I", len(one)))
        elif kind is list:
            waiting += reversed(one)
            written.append(b"\xdd" + struct.pack(">I", len(one)))
        else:
            written.append(instead if leaves == place else _leaf(one))
            leaves += 1
    return b"".join(written)


def _leaf(value: Any) -> bytes:
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        return b"\xdb" + struct.pack(">I", len(raw)) + raw
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if type(value) is int and not -(2**63) <= value < 2**64:
        value = float(min(value, 10**300))
    return msgpack.packb(value)
