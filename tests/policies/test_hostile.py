"""What others send: requests that would stall a server, answers that would stall a client, connections that break."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import connect

from tests.fuzzing import wire as fuzzed
from tests.limits import HANG_S
from tests.policies.test_remote import (
    DESCRIPTION,
    LIBERO,
    OFT,
    QUICK,
    REST,
    Websocket,
    actions,
    answering,
    arm,
    noise,
    observation,
    rest,
)
from tests.toy import ToyPolicy, ToyTask
from workbench.errors import ConfigError, PolicyServerError, WorkbenchError
from workbench.policies.remote import RemotePolicy
from workbench.policies.server import PolicyServer
from workbench.policies.wire import frames
from workbench.policies.wire.limits import FRAGMENTS, ITEMS, LETTERS, METADATA_BYTES, SAMPLES
from workbench.policies.wire.messages import Description
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.serving import same_server
from workbench.types import PolicyOutput, Stream, episode_index

MASK = b"\x00\x00\x00\x00"


@dataclasses.dataclass
class Asked(ToyPolicy):
    """Counts what it is asked, sees a camera, listens, and gives a signal."""

    listens: bool = True
    cameras: tuple[str, ...] = ("front",)
    signals: tuple[str, ...] = ("denoising_loss", "reconstruction")
    slow_s: float = 0.0
    signals_asked: int = 0

    def plan(
        self, observation: Any, noise: Any, samples: int = 0, instructions: Any = None, signals: Any = ()
    ) -> PolicyOutput:
        time.sleep(self.slow_s)
        assert observation["images/front"].shape == (1, 6, 8, 3)
        self.signals_asked += len(signals)
        output = super().plan({"place": observation["place"]}, noise, samples)
        return dataclasses.replace(output, signals={name: np.zeros(1) for name in signals})


@dataclasses.dataclass
class Seen(ToyTask):
    image_sizes: Any = dataclasses.field(default_factory=lambda: {"front": (6, 8)})


REQUEST: dict[str, Any] = {
    "observation/place": np.zeros((2, 1)),
    "images/front": np.zeros((6, 8, 3), np.uint8),
    "prompt": "go",
}


@contextlib.contextmanager
def serving(policy: Any = None, **settings: Any) -> Iterator[PolicyServer]:
    server, stop = PolicyServer(policy or Asked(), Seen(), port=0, **settings), threading.Event()
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[PolicyServer]:
    with serving() as made:
        yield made


def asked(server: PolicyServer, request: Any) -> Any:
    """The answer of a server on a new connection."""
    with connect(server.url, compression=None, proxy=None, max_size=None, close_timeout=1) as connection:
        connection.recv()
        connection.send(request if isinstance(request, (str, bytes)) else frames.encode(request))
        said = connection.recv(timeout=HANG_S)
    return said if isinstance(said, str) else frames.decode(said)


def array(**claims: Any) -> dict[bytes, Any]:
    said = {b"__ndarray__": True, b"data": bytes(16), b"dtype": "<f8", b"shape": [2, 1]}
    return said | {key.encode(): value for key, value in claims.items()}


def place(**claims: Any) -> dict[str, Any]:
    return {**REQUEST, "observation/place": array(**claims)}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


# From client to server

STALLING: dict[str, tuple[Any, str]] = {
    "a signal 50,000 times": ({**REQUEST, "sampling/signals": ["denoising_loss"] * 50_000}, "50000 names"),
    "a signal twice": ({**REQUEST, "sampling/signals": ["denoising_loss", "denoising_loss"]}, "twice"),
    "a signal that is no name": ({**REQUEST, "sampling/signals": ["../../x"]}, "../../x"),
    "signals that are numbers": ({**REQUEST, "sampling/signals": [1]}, "sampling/signals"),
    "a signal of a megabyte": ({**REQUEST, "sampling/signals": ["a" * 2**20]}, "sampling/signals"),
    "1e9 samples": ({**REQUEST, "sampling/n": 10**9}, f"0..{SAMPLES}"),
    "samples as text": ({**REQUEST, "sampling/n": "8"}, "sampling/n='8'"),
    "samples as a double": ({**REQUEST, "sampling/n": 8.0}, "sampling/n=8.0"),
    "samples that are NaN": ({**REQUEST, "sampling/n": float("nan")}, "sampling/n=nan"),
    "an instruction of 60 MB": ({**REQUEST, "prompt": "a" * 60_000_000}, "60000000 letters"),
    "an instruction one letter too long": ({**REQUEST, "prompt": "a" * (LETTERS + 1)}, "at most 4096"),
    "an instruction of bytes": ({**REQUEST, "prompt": b"go"}, "'prompt'"),
    "NaN in an observation": ({**REQUEST, "observation/place": np.array([[0.0], [np.nan]])}, "NaN or infinity"),
    "infinity in an observation": ({**REQUEST, "observation/place": np.array([[0.0], [np.inf]])}, "NaN or infinity"),
    "a history of 1e6": ({**REQUEST, "observation/place": np.zeros((10**6, 1))}, "must be numbers [2, 1]"),
    "an observation of text": ({**REQUEST, "observation/place": np.array([["0"], ["1"]])}, "numbers"),
    "an observation of booleans": ({**REQUEST, "observation/place": np.zeros((2, 1), bool)}, "numbers"),
    "an image of 16 megapixels": ({**REQUEST, "images/front": np.zeros((4000, 4000, 3), np.uint8)}, "images/front"),
    "an image of another size": (
        {**REQUEST, "images/front": np.zeros((8, 6, 3), np.uint8)},
        "must be numbers [6, 8, 3]",
    ),
    "an image of doubles": ({**REQUEST, "images/front": np.zeros((6, 8, 3))}, "uint8"),
    "an image of a huge claimed shape": ({**REQUEST, "images/front": array(shape=[2**31, 2**31, 3])}, "16 bytes"),
    "a shape [0, 2**62]": (place(data=b"", shape=[0, 2**62]), "no array can have"),
    "a shape [0, 2**64 - 1]": (place(data=b"", shape=[0, 2**64 - 1]), "no array can have"),
    "a shape [-1]": (place(shape=[-1]), "shape is"),
    "a shape of text": (place(shape="2,1"), "shape is"),
    "a shape of 10,000 axes": (place(shape=[1] * 10_000), "shape is"),
    "objects": (place(dtype="|O"), "object"),
    "strings of any length": (place(dtype="T"), "StringDType"),
    "records": (place(dtype="f4,f4"), "no numpy type"),
    "times": (place(dtype="<M8[s]"), "no numpy type"),
    "a type of a megabyte": (place(dtype="f" * 2**20), "no numpy type"),
    "letters that do not exist": (place(dtype="<U2", data=b"\xff" * 16), "no letter"),
    "a number as text": ({**REQUEST, "x": {b"__npgeneric__": True, b"data": "1.5", b"dtype": "<f8"}}, "scalar"),
    "a number that is a list": ({**REQUEST, "x": {b"__npgeneric__": True, b"data": [1.0], b"dtype": "<f8"}}, "scalar"),
    "noise of another kind": ({**REQUEST, "sampling/noise": [1, 2, 3]}, "sampling/noise"),
    "deep nesting": ({**REQUEST, "x": nested(100)}, "deeper"),
    "100,001 values": ({**REQUEST, "x": [0] * ITEMS}, "more than 100000"),
    "a list": ([REQUEST], "must be a map"),
    "nothing": (None, "must be a map"),
    "a map that claims 2**32 entries": (b"\xdf\xff\xff\xff\xff", "claims"),
    "a list that claims 2**32 entries": (b"\xdd\xff\xff\xff\xff", "claims"),
    "bytes that claim 4 GiB": (b"\xc6\xff\xff\xff\xff", "truncated"),
    "lists of 100,000 in one another": (b"\xdd\x00\x01\x86\xa0" * 12 + bytes(99_000), "claims"),
    "deep bytes": (b"\x91" * 100_000, "deeper"),
    "an extension type": (b"\x81\xa1a\xd4\x01\x00", "0xd4"),
    "a time stamp": (b"\x81\xa1a\xd6\xff\x00\x00\x00\x00", "0xd6"),
    "a key twice": (b"\x82\xa1a\x01\xa1a\x02", "twice"),
    "a key of a megabyte twice": (b"\x82" + 2 * (b"\xdb\x00\x10\x00\x00" + b"a" * 2**20 + b"\x01"), "twice"),
    "text": ("go", "binary frame"),
    "a megabyte of text": ("go " * 2**18, "binary frame"),
}


@pytest.mark.parametrize("case", STALLING)
def test_a_request_that_would_stall_the_server_is_refused_in_one_line_and_the_next_is_answered(
    server: PolicyServer, case: str
) -> None:
    request, reason = STALLING[case]
    policy: Any = server._policy
    before = policy.signals_asked
    said = asked(server, request)
    assert isinstance(said, str)
    assert reason in said
    assert "\n" not in said
    assert said.isprintable()
    assert len(said) < 500
    assert policy.signals_asked == before
    assert asked(server, REQUEST)["actions"].shape == (6, 1)


def test_what_a_client_of_ours_cannot_ask_is_refused_before_it_is_sent() -> None:
    with serving() as server:
        policy = RemotePolicy(Seen(), url=server.url, **QUICK)
        seen = {"place": np.zeros((1, 2, 1)), "images/front": np.zeros((1, 6, 8, 3), np.uint8)}
        wrong: list[tuple[dict[str, Any], dict[str, Any], str]] = [
            ({}, {"samples": 10**9}, "sampling/n"),
            ({}, {"samples": -3}, "sampling/n"),
            ({}, {"instructions": ["a" * 10**7]}, "letters"),
            ({}, {"instructions": ["\ud800"]}, "surrogate"),
            ({}, {"signals": ["denoising_loss"] * 2}, "twice"),
            ({}, {"signals": ["doubt"]}, "unknown signal"),
            ({"place": np.full((1, 2, 1), np.nan)}, {}, "NaN"),
            ({"place": np.zeros((1, 3, 1))}, {}, "must be numbers"),
            ({"images/front": np.zeros((1, 9, 9, 3), np.uint8)}, {}, "must be numbers"),
        ]
        with_others = server._connections
        for observed, told, reason in wrong:
            with pytest.raises(WorkbenchError, match=reason) as caught:
                policy.plan(seen | observed, noise(), **told)
            assert "\n" not in str(caught.value)
        assert len(with_others) == 1, "the connection holds: nothing was sent"
        assert policy.plan(seen, noise(), signals=["reconstruction"]).signals["reconstruction"].shape == (1,)
        policy.close()


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ({"chunk": np.full((1, 6, 1), np.nan)}, "actions hold NaN"),
        ({"chunk": np.full((1, 6, 1), 1e300)}, "cannot be kept"),
        ({"chunk": np.zeros((1, 5, 1))}, "must be (6, 1)"),
        ({"chunk": np.full((1, 6, 1), "x")}, "no numbers"),
        ({"samples": np.zeros((1, 3, 6, 1))}, "must be (2, 6, 1)"),
        ({"embedding": np.array([[np.inf]])}, "embedding hold NaN or infinity"),
        ({"signals": {"denoising_loss": np.array([np.nan])}}, "signal denoising_loss hold NaN"),
    ],
)
def test_an_answer_that_a_client_would_refuse_is_not_sent(output: dict[str, Any], reason: str) -> None:
    @dataclasses.dataclass
    class Wrong(Asked):
        def plan(self, *arguments: Any, **told: Any) -> PolicyOutput:
            return dataclasses.replace(super().plan(*arguments, **told), **output)

    with serving(Wrong()) as server:
        said = asked(server, {**REQUEST, "sampling/n": 2})
    assert reason in said
    assert "\n" not in said


def test_a_fault_of_the_policy_keeps_its_traceback() -> None:
    class Broken(Asked):
        def plan(self, *arguments: Any, **told: Any) -> PolicyOutput:
            raise KeyError("weights")

    with serving(Broken()) as server:
        said = asked(server, REQUEST)
    assert "in plan" in said
    assert said.splitlines()[-1] == "KeyError: 'weights'"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"horizon": 10**9}, "horizon"),
        ({"history": 0}, "history"),
        ({"execute": 9}, "execute"),
        ({"signals": ("a/../b",)}, "signals"),
        ({"signals": ("a", "a")}, "twice"),
        ({"cameras": ("side",)}, "reads camera 'side'"),
    ],
)
def test_a_policy_that_no_client_could_take_is_not_served(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(WorkbenchError, match=reason) as caught:
        PolicyServer(Asked(**changes), Seen(), port=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"port": "8000"}, "job.port"),
        ({"port": 8000.0}, "job.port"),
        ({"port": -1}, "job.port"),
        ({"port": 70_000}, "job.port"),
        ({"frame_limit_mib": "64"}, "frame_limit_mib"),
        ({"frame_limit_mib": 10**9}, "frame_limit_mib"),
        ({"frame_limit_mib": 0}, "frame_limit_mib"),
        ({"allow_remote": "no"}, "allow_remote"),
        ({"allow_remote": "no", "host": "0.0.0.0"}, "allow_remote"),
        ({"host": ""}, "job.host"),
        ({"host": None}, "job.host"),
        ({"host": 0}, "job.host"),
        ({"host": "localhost\n"}, "job.host"),
    ],
)
def test_settings_of_a_server_that_are_none_are_refused_in_one_line(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        PolicyServer(Asked(), Seen(), **{"port": 0, **settings})
    assert "\n" not in str(caught.value)


# From server to client

METADATA: dict[str, tuple[Any, str]] = {
    "a history of 1e9": ({"history": 10**9}, "history"),
    "a history of -3": ({"history": -3}, "history"),
    "a history that is true": ({"history": True}, "history"),
    "a horizon of 2**62": ({"horizon": 2**62}, "horizon"),
    "a horizon as text": ({"horizon": "4"}, "horizon"),
    "a horizon that is NaN": ({"horizon": float("nan")}, "horizon"),
    "more executed than planned": ({"execute": 5}, "execute"),
    "nothing executed": ({"execute": 0}, "execute"),
    "an action of 1e9 numbers": ({"action_size": 10**9}, "action_size"),
    "cameras {a: 5}": ({"cameras": {"a": 5}}, "camera 'a'=5"),
    "cameras {a: [5]}": ({"cameras": {"a": [5]}}, "camera 'a'"),
    "cameras {a: text}": ({"cameras": {"a": "84"}}, "camera 'a'"),
    "cameras of a huge size": ({"cameras": {"wrist": [10**9, 10**9]}}, "pixels"),
    "cameras of no size": ({"cameras": {"wrist": [0, 0]}}, "pixels"),
    "cameras as a list": ({"cameras": ["wrist"]}, "cameras"),
    "a camera with a path for a name": ({"cameras": {"../../x": [48, 64]}}, "cameras"),
    "observations as a list": ({"observations": ["eef_pos"]}, "observations"),
    "an observation of text": ({"observations": {"eef_pos": "3"}}, "observation 'eef_pos'"),
    "an observation of 2**62": ({"observations": {"eef_pos": 2**62}}, "observation 'eef_pos'"),
    "10,000 observations": ({"observations": {f"o{n}": 1 for n in range(10_000)}}, "10000 names"),
    "signals as text": ({"signals": "all"}, "signals"),
    "signals that are numbers": ({"signals": [1]}, "signals"),
    "a signal with a path for a name": ({"signals": ["../../../t/x"]}, "signals"),
    "a signal twice": ({"signals": ["a", "a"]}, "twice"),
    "a task of numbers": ({"task": 5}, "task"),
    "a task of 100,000 letters": ({"task": "x" * 100_000}, "letters"),
    "a policy with an escape": ({"policy": "\x1b[2J", "task": "b"}, "was made for task"),
    "listens as text": ({"listens": "yes"}, "listens"),
}


@pytest.mark.parametrize("case", METADATA)
def test_what_a_server_says_of_itself_is_checked_before_anything_is_made_of_it(case: str) -> None:
    wrong, reason = METADATA[case]
    with (
        Websocket(answering(), metadata={"workbench": {**DESCRIPTION, **wrong}}) as server,
        pytest.raises(ConfigError) as caught,
    ):
        RemotePolicy(arm(), url=server.url, **QUICK)
    line = str(caught.value)
    assert reason in line
    assert line.isprintable()
    assert len(line) < 1000


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"x": bytes(METADATA_BYTES)}, "of itself, may say"),
        ({"x": nested(40)}, "deeper"),
        ({b"x": 1}, "must be text"),
        ({"x": {b"y": 1}}, "must be text"),
        (b"\xdf\xff\xff\xff\xff", "claims"),
        ([1], "not a map"),
        ("\x1b[31mline\n" * 100_000, "failed: \\?\\[31mline$"),
        ({"x": array(data=b"", shape=[0, 2**62])}, "no array can have"),
    ],
    ids=lambda one: repr(one)[:20],
)
def test_metadata_that_are_no_bounded_map_are_refused(metadata: Any, reason: str) -> None:
    with (
        Websocket(answering(), metadata=metadata) as server,
        pytest.raises(PolicyServerError, match=reason) as caught,
    ):
        RemotePolicy(arm(), url=server.url, **LIBERO)
    assert str(caught.value).isprintable()


def test_what_a_later_version_adds_to_a_description_is_left_out() -> None:
    assert Description.read({**DESCRIPTION, "colour": "red"}) == Description.read(DESCRIPTION)
    assert Description.read(DESCRIPTION).record() == DESCRIPTION


ANSWERS: dict[str, tuple[Any, str]] = {
    "actions of a huge claimed shape": ({"actions": array(data=b"", shape=[0, 2**62])}, "no array can have"),
    "actions of text": ({"actions": np.array([["0"] * 7] * 4)}, "no numbers"),
    "actions as text in lists": ({"actions": [["0.5"] * 7] * 4}, "no numbers"),
    "one long text among many": ({"actions": ["x" * 2**20, *[""] * 90_000]}, "no numbers"),
    "actions that are true": ({"actions": [[True] * 7] * 4}, "no numbers"),
    "actions of 10**300": ({"actions": np.full((4, 7), 1e300)}, "cannot be kept"),
    "actions of nothing": ({"actions": []}, r"\(0,\)|no numbers"),
    "actions of a million numbers": ({"actions": np.zeros(10**6)}, r"\(1000000,\)"),
    "features whose mean is infinite": (
        {"actions": actions(), "features/a": np.full((9, 2), 3e38, np.float32)},
        "embedding hold NaN or infinity",
    ),
    "NaN that signals": ({"actions": np.full((4, 7), 0x7D01, np.uint16).view(np.float16)}, "NaN"),
    "an embedding of 2**20 + 1": ({"actions": actions(), "embedding": np.zeros(2**20 + 1)}, "may hold"),
    "a feature of infinity": ({"actions": actions(), "features/a": [np.inf]}, "features/a hold NaN or infinity"),
    "a feature without numbers": ({"actions": actions(), "features/a": np.zeros((3, 0))}, "or nothing"),
    "samples of 1e9": ({"actions": actions(), "samples": array(shape=[10**9, 4, 7])}, "16 bytes"),
    "other samples than asked": ({"actions": actions(), "samples": np.zeros((9, 4, 7))}, "samples are of shape"),
    "text for an answer": ("\x1b[2J" + "x\n" * 10**6, "failed: x$"),
    "a list": ([actions()], "no actions"),
    "deep": ({"actions": nested(16)}, "deeper"),
    "numbers without end": ({"actions": [0.5] * ITEMS}, "more than 100000"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_would_stall_or_mislead_a_client_is_refused_in_one_line(case: str) -> None:
    answer, reason = ANSWERS[case]
    with Websocket(lambda *_: answer) as server:
        policy = RemotePolicy(arm(), url=server.url, **LIBERO)
        with pytest.raises(PolicyServerError, match=reason) as caught:
            policy.plan(observation(), noise(), 3)
        policy.close()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[" * 10**6, "more than 100000|no JSON"),
        (b"[" * 500 + b"1" + b"]" * 500, "deeper"),
        (b"[" + b"1," * ITEMS + b"1]", "more than 100000"),
        (b'{"actions": 1, "actions": [1]}', "twice"),
        (b'{"actions": ["' + b"x" * 10**6 + b'", "", ""]}', "no numbers"),
        (b'"\\ud800\\u001b[2J"', "no JSON"),
        (b"[1" + b"0" * 10_000 + b"]", "no JSON"),
        (b"[1e999, 0, 0, 0, 0, 0, 0]", "NaN or infinity|no numbers|\\(7,\\)"),
        (b'{"__numpy__": "", "dtype": "<f4", "shape": [0, 4611686018427387904]}', "no array can have"),
        (b'{"__numpy__": "", "dtype": "T", "shape": [0]}', "StringDType"),
    ],
    ids=lambda one: repr(one)[:20],
)
def test_an_answer_in_json_is_bounded_too(body: bytes, reason: str) -> None:
    with rest(lambda request, number: (200, body)) as server:
        policy = RemotePolicy(arm(), url=server.url, **OFT)
        with pytest.raises(PolicyServerError, match=reason) as caught:
            policy.plan(observation(), noise())
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ({"embedding": np.zeros(2)}, {"embedding": np.zeros(3)}, r"embedding are of shape \(3,\) and before of \(2,\)"),
        ({"embedding": np.zeros(2)}, {}, "embedding are not given and before of"),
        ({}, {"embedding": np.zeros(2)}, "embedding are of shape .* and before not given"),
        ({"samples": np.zeros((2, 4, 7))}, {}, "samples are not given"),
    ],
)
def test_answers_that_change_from_call_to_call_are_refused(first: Any, second: Any, reason: str) -> None:
    with Websocket(lambda _, __, number: {"actions": actions(), **(first if number == 1 else second)}) as server:
        policy = RemotePolicy(arm(), url=server.url, **LIBERO)
        policy.plan(observation(), noise(), 2)
        with pytest.raises(PolicyServerError, match=reason):
            policy.plan(observation(), noise(), 2)
        policy.close()


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    def respond(connection: Any, request: Any, number: int) -> None:
        two = [frames.encode({"actions": actions(fill=fill)}) for fill in (number, -number)]
        connection.socket.sendall(b"".join(b"\x82\x7e" + struct.pack(">H", len(each)) + each for each in two))

    with Websocket(respond) as server:
        policy = RemotePolicy(arm(), url=server.url, **LIBERO)
        assert (policy.plan(observation(), noise()).chunk == 1).all()
        time.sleep(0.3)
        with pytest.raises(PolicyServerError, match="nobody asked for"):
            policy.plan(observation(), noise())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"retries": "5"}, "policy.retries"),
        ({"retries": True}, "policy.retries"),
        ({"frame_limit_mib": 64.0}, "policy.frame_limit_mib"),
        ({"frame_limit_mib": 10**9}, "policy.frame_limit_mib"),
        ({"reply_timeout_s": "120"}, "policy.reply_timeout_s"),
        ({"reply_timeout_s": float("nan")}, "policy.reply_timeout_s"),
        ({"connect_timeout_s": float("inf")}, "policy.connect_timeout_s"),
        ({"backoff_s": -1}, "policy.backoff_s"),
        ({"allow_remote": "no"}, "policy.allow_remote"),
        ({"double_encoded": "no"}, "policy.double_encoded"),
        ({"url": 8000}, "policy.url"),
        ({"url": None}, "policy.url"),
        ({"horizon": 10**9}, "policy.horizon"),
        ({"horizon": "4"}, "policy.horizon"),
        ({"execute": 2.0}, "policy.execute"),
        ({"cameras": [1, 2]}, "policy.cameras"),
        ({"cameras": "agentview"}, "policy.cameras"),
        ({"api_key_env": 5}, "policy.api_key_env"),
    ],
)
def test_settings_of_a_client_that_are_none_are_refused_in_one_line(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        RemotePolicy(arm(), **{"url": "ws://127.0.0.1:1", **LIBERO, **settings})
    assert "\n" not in str(caught.value)


# Connections


def opened(server: PolicyServer) -> socket.socket:
    """A websocket by hand, of which nobody answers a ping."""
    port = int(server.url.rpartition(":")[2])
    raw = socket.create_connection(("127.0.0.1", port), timeout=HANG_S)
    raw.sendall(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    heard = b""
    while not heard.endswith(b"\r\n\r\n"):
        heard += raw.recv(1)
    return raw


def head(length: int, first: int = 0x82) -> bytes:
    return bytes([first, 0xFF]) + struct.pack(">Q", length) + MASK


def test_clients_that_say_nothing_half_a_frame_or_leave_do_not_hold_up_others(server: PolicyServer) -> None:
    whole = frames.encode(REQUEST)
    with contextlib.ExitStack() as stack:
        port = int(server.url.rpartition(":")[2])
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))  # no handshake
        silent, half, claims = (stack.enter_context(opened(server)) for _ in range(3))
        half.sendall(head(len(whole)) + whole[: len(whole) // 2])
        claims.sendall(head(2**62)[:14])  # refused: above the limit
        silent.settimeout(0.2)
        leaving = opened(server)
        leaving.sendall(head(len(whole)) + whole)
        leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        leaving.close()  # within its answer
        for _ in range(3):
            assert asked(server, REQUEST)["actions"].shape == (6, 1)
        half.sendall(whole[len(whole) // 2 :])  # it comes after all
        assert b"actions" in _until(half, b"server_timing")


def _until(raw: socket.socket, wanted: bytes) -> bytes:
    heard = b""
    while wanted not in heard:
        more = raw.recv(65536)
        assert more, heard
        heard += more
    return heard


def test_a_message_in_endless_pieces_is_refused(server: PolicyServer) -> None:
    with opened(server) as raw:
        pieces = bytes([0x02, 0x80]) + MASK + (bytes([0x00, 0x80]) + MASK) * (3 * FRAGMENTS)
        with contextlib.suppress(ConnectionError):
            raw.sendall(pieces)
        assert b"pieces" in _until(raw, b"pieces")
    with opened(server) as raw:
        whole = frames.encode(REQUEST)
        parts = [whole[at : at + 8] for at in range(0, len(whole), 8)]
        for number, part in enumerate(parts):
            first = (0x02 if number == 0 else 0x00) | (0x80 if number == len(parts) - 1 else 0)
            raw.sendall(bytes([first, 0x80 | len(part)]) + MASK + part + bytes([0x89, 0x80]) + MASK)  # and a ping
        assert b"actions" in _until(raw, b"server_timing")


def test_a_client_refuses_an_answer_in_endless_pieces() -> None:
    def respond(connection: Any, request: Any, number: int) -> None:
        with contextlib.suppress(OSError):
            connection.socket.sendall(b"\x02\x00" + b"\x00\x00" * (3 * FRAGMENTS))

    with Websocket(respond) as server:
        policy = RemotePolicy(arm(), url=server.url, **LIBERO)
        with pytest.raises(PolicyServerError, match="its answer is above the frame limit"):
            policy.plan(observation(), noise())


def test_a_redirection_to_another_address_is_not_followed() -> None:
    with Websocket(answering()) as other:

        class Redirecting(threading.Thread):
            def __init__(self) -> None:
                super().__init__(daemon=True)
                self.listening = socket.create_server(("127.0.0.1", 0))
                self.url = f"ws://127.0.0.1:{self.listening.getsockname()[1]}"

            def run(self) -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = self.listening.accept()
                        connection.recv(65536)
                        location = other.url.replace("127.0.0.1", "localhost").encode()
                        connection.sendall(
                            b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"
                        )
                        connection.close()

        redirecting = Redirecting()
        redirecting.start()
        with pytest.raises(PolicyServerError, match=r"redirect|HTTP 302"):
            RemotePolicy(arm(), url=redirecting.url, **LIBERO)
        redirecting.listening.close()
        assert other.connections == 0


def test_an_http_server_that_answers_letter_by_letter_is_given_up_in_time() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with contextlib.suppress(OSError), connection:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                    while True:
                        connection.sendall(b" ")
                        time.sleep(0.05)

    threading.Thread(target=drip, daemon=True).start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    policy = RemotePolicy(arm(), url=url, **{**REST, "reply_timeout_s": 0.4})
    began = time.monotonic()
    with pytest.raises(PolicyServerError, match=r"no answer within 0\.4 s"):
        policy.plan(observation(), noise())
    assert time.monotonic() - began < 40
    listening.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keepalives of the websocket library, where nobody sets them, after a tenth of a second and not twenty."""
    from websockets.sync import connection

    whole = connection.Connection.__init__

    @functools.wraps(whole)
    def hurried(self: Any, *arguments: Any, ping_interval: Any = 20, ping_timeout: Any = 20, **settings: Any) -> None:
        hurry = {"ping_interval": ping_interval and 0.1, "ping_timeout": ping_timeout and 0.1}
        whole(self, *arguments, **hurry, **settings)

    monkeypatch.setattr(connection.Connection, "__init__", hurried)


@pytest.mark.usefixtures("impatient")
def test_a_client_whose_interpreter_is_busy_between_two_requests_is_answered() -> None:
    """By hand, since a client in this process would answer pings from another thread."""
    whole = frames.encode(REQUEST)
    with serving() as server, opened(server) as raw:
        for _ in range(2):
            raw.sendall(head(len(whole)) + whole)
            assert b"actions" in _until(raw, b"server_timing")
            time.sleep(1.0)


BUSY = """
import ctypes, sys, time
import numpy as np
from workbench.policies.wire import frames

def hold(seconds):  # the interpreter's lock: no other thread of this process runs
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))

url, kind, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
request = {"observation/place": np.zeros((2, 1)), "images/front": np.zeros((6, 8, 3), np.uint8), "prompt": "go"}
if kind == "ours":
    from tests.policies.test_hostile import QUICK, Seen, noise
    from workbench.policies.remote import RemotePolicy
    policy = RemotePolicy(Seen(), url=url, **QUICK)
    seen = {"place": np.zeros((1, 2, 1)), "images/front": np.zeros((1, 6, 8, 3), np.uint8)}
    ask = lambda: policy.plan(seen, noise()).chunk[0]
else:
    from websockets.sync.client import connect
    connection = connect(url, compression=None, proxy=None, ping_interval=None).__enter__()
    connection.recv()
    def ask():
        connection.send(frames.encode(request))
        return frames.decode(connection.recv())["actions"]
for _ in range(2):
    assert ask().shape == (6, 1)
    hold(seconds)
assert ask().shape == (6, 1)
print("answered")
"""


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["ours", "plain"])
def test_a_client_that_holds_its_interpreters_lock_is_answered(kind: str) -> None:
    with serving() as server:
        done = subprocess.run(
            [sys.executable, "-c", BUSY, server.url, kind, "1"],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )
    assert (done.returncode, done.stdout) == (0, "answered\n"), done.stderr


def test_two_clients_at_once_are_both_answered() -> None:
    with serving(Asked(slow_s=0.01)) as server:
        chunks: list[int] = []

        def roll() -> None:
            policy = RemotePolicy(Seen(), url=server.url, **QUICK)
            seen = {"place": np.zeros((1, 2, 1)), "images/front": np.zeros((1, 6, 8, 3), np.uint8)}
            chunks.extend(len(policy.plan(seen, noise()).chunk) for _ in range(10))
            policy.close()

        clients = [threading.Thread(target=roll) for _ in range(3)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(HANG_S)
    assert chunks == [1] * 30


def test_a_client_that_asks_without_reading_holds_up_neither_others_nor_the_end() -> None:
    @dataclasses.dataclass
    class Wordy(Asked):
        def plan(self, *arguments: Any, **told: Any) -> PolicyOutput:
            return dataclasses.replace(super().plan(*arguments, **told), embedding=np.zeros((1, 2**20)))

    whole = frames.encode(REQUEST)
    with serving(Wordy()) as server, opened(server) as raw:
        raw.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(50):
                raw.send(head(len(whole)) + whole)
        assert asked(server, REQUEST)["embedding"].shape == (2**20,)
        began = time.monotonic()
    assert time.monotonic() - began < 60


def test_one_client_too_many_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.policies import server as module

    monkeypatch.setattr(module, "CONNECTIONS", 2)
    with serving() as server, opened(server), opened(server) as second:
        _until(second, b"workbench")
        with pytest.raises(PolicyServerError, match="HTTP 503"):
            RemotePolicy(Seen(), url=server.url, **QUICK)
        second.close()
        patient = {**QUICK, "retries": 20}
        assert RemotePolicy(Seen(), url=server.url, **patient).horizon == 6


def test_a_server_that_goes_away_mid_run_leaves_aborted_episodes_and_comes_back() -> None:
    @dataclasses.dataclass
    class Plain(ToyPolicy):
        cameras: tuple[str, ...] = ()

    launches = [Launch(Stream(0, episode_index("test", number))) for number in range(3)]

    def record(policy: Any) -> list[str]:
        found = []
        with contextlib.suppress(PolicyServerError):
            for episode in Lockstep(ToyTask(), policy, 1).record(launches):
                found.append(episode.record["outcome"])
        return found

    class Leaving(Plain):
        def plan(self, *arguments: Any, **told: Any) -> PolicyOutput:
            self.left = getattr(self, "left", 7) - 1
            if not self.left:
                stop.set()
                time.sleep(0.2)
            return super().plan(*arguments, **told)

    server, stop = PolicyServer(Leaving(), ToyTask(), port=0), threading.Event()
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    policy = RemotePolicy(ToyTask(), url=server.url, **QUICK)
    outcomes = record(policy)
    thread.join()
    assert outcomes[-1] == "aborted"
    assert set(outcomes[:-1]) == {"success"}
    again = PolicyServer(Leaving(), ToyTask(), port=int(server.url.rpartition(":")[2]))
    end = threading.Event()
    thread = threading.Thread(target=again.serve, args=(end,))
    thread.start()
    again._policy.left = 10**6  # type: ignore[attr-defined]
    assert record(policy) == ["success"] * 3
    policy.close()
    end.set()
    thread.join()


# What is kept of a server


@dataclasses.dataclass
class Known:
    metadata: dict[str, Any]


def test_servers_that_differ_in_the_middle_of_a_long_array_are_two(tmp_path: Path) -> None:
    one, other = np.zeros(5000), np.zeros(5000)
    other[2500] = 1e-12
    said = same_server(Known({"norm": one}), None, tmp_path)  # type: ignore[arg-type]
    assert same_server(Known({"norm": one.copy()}), said, tmp_path) == said  # type: ignore[arg-type]
    with pytest.raises(WorkbenchError, match="begun with a server") as caught:
        same_server(Known({"norm": other}), said, tmp_path)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 1500
    before = json.dumps({"reset_pose": np.array([1.0, 2.5])}, default=str)
    assert same_server(Known({"reset_pose": np.array([1.0, 2.5])}), before, tmp_path)  # type: ignore[arg-type]


def test_mutated_messages_end_in_a_value_or_one_line(tmp_path: Path) -> None:
    prepared = fuzzed.prepare(tmp_path)
    for number in range(400):
        with contextlib.suppress(WorkbenchError):
            fuzzed.attempt(prepared, np.random.default_rng([7, number]), tmp_path)


def test_mutated_frames_over_a_socket_are_answered_and_the_server_goes_on(tmp_path: Path, server: PolicyServer) -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        frame = fuzzed.as_frame(rng, fuzzed.changed(rng, REQUEST))
        said = asked(server, frame)
        assert isinstance(said, dict) or "\n" not in said
    assert asked(server, REQUEST)["actions"].shape == (6, 1)
