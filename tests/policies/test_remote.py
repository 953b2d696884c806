"""The remote policy: what it sends, what it takes, what it refuses, and how patient it is."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.limits import HANG_S
from workbench.envs.robots.panda import PANDA
from workbench.errors import CheckpointError, ConfigError, PolicyServerError, UnknownNameError
from workbench.policies.remote import RemotePolicy
from workbench.policies.wire import frames as wire
from workbench.policies.wire.payloads import (
    LAYOUTS,
    hand_rotation_vector,
    libero_image,
    noise_from,
    noise_record,
    resized_with_padding,
)

ARM = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2, "cube_pos": 3}
QUICK: dict[str, Any] = {"connect_timeout_s": HANG_S, "reply_timeout_s": HANG_S, "retries": 0, "backoff_s": 0.05}
LIBERO: dict[str, Any] = {**QUICK, "layout": "libero", "cameras": ["agentview", "wrist"], "horizon": 4, "execute": 2}
REST: dict[str, Any] = {**QUICK, "protocol": "openvla", "cameras": ["agentview"], "horizon": 1, "execute": 1}
OFT: dict[str, Any] = {**LIBERO, "protocol": "openvla_oft", "layout": None}


def arm(**changes: Any) -> Any:
    images = {"agentview": (48, 64), "wrist": (48, 64)}
    settings = {"name": "arm", "instruction": "lift the cube", "observation_sizes": ARM, "action_size": 7}
    return SimpleNamespace(**{**settings, "image_sizes": images, "robot": PANDA, "commands_pose": True, **changes})


def observation(scenes: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    down = np.array([0.5**0.5, 0.5**0.5, 0.0, 0.0])
    seen = {key: rng.normal(size=(scenes, 1, size)) for key, size in ARM.items()}
    images = {f"images/{name}": rng.integers(0, 256, (scenes, 48, 64, 3), np.uint8) for name in ("agentview", "wrist")}
    return {**seen, "eef_quat": np.tile(down, (scenes, 1, 1)), **images}


def noise(scenes: int = 1) -> list[np.random.Generator]:
    return [np.random.Generator(np.random.PCG64(scene)) for scene in range(scenes)]


def actions(horizon: int = 4, fill: float = 0.5) -> np.ndarray:
    return np.full((horizon, 7), fill, np.float32)


Respond = Callable[[Any, dict[str, Any], int], Any]


class Websocket:
    """A server on loopback: sends its metadata, then what ``respond(connection, request, number)`` returns."""

    def __init__(self, respond: Respond, metadata: Any = None, port: int = 0, **settings: Any) -> None:
        from websockets.sync.server import serve

        self.respond, self.metadata = respond, {"reset_pose": [0.0]} if metadata is None else metadata
        self.requests: list[dict[str, Any]] = []
        self.frames: list[bytes] = []
        self.headers: list[Any] = []
        self.connections = 0
        self.server = serve(self.attend, "127.0.0.1", port, compression=None, **{"max_size": None, **settings})
        self.url = f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def attend(self, connection: Any) -> None:
        self.connections += 1
        self.headers.append(connection.request.headers)
        connection.send(self.metadata if isinstance(self.metadata, (str, bytes)) else wire.encode(self.metadata))
        for frame in connection:
            self.frames.append(frame)
            self.requests.append(wire.decode(frame))
            answer = self.respond(connection, self.requests[-1], len(self.requests))
            if answer is not None:
                connection.send(answer if isinstance(answer, (str, bytes)) else wire.encode(answer))

    def __enter__(self) -> Websocket:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()


def answering(**answer: Any) -> Respond:
    return lambda connection, request, number: {"actions": actions(), **answer}


@contextlib.contextmanager
def rest(answer: Callable[[Any, int], tuple[int, bytes]]) -> Iterator[Any]:
    """An HTTP server on loopback; ``answer(parsed JSON, number)`` gives status and body."""
    seen: list[tuple[str, bytes, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, body, self.headers))
            status, answered = answer(json.loads(body), len(seen))
            with contextlib.suppress(OSError):
                if status == 0:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[1, ")
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(answered)))
                self.end_headers()
                self.wfile.write(answered)

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", seen=seen)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# What is sent, and what comes back


def test_a_libero_request_holds_what_is_documented_and_nothing_is_shared_between_scenes() -> None:
    with Websocket(answering()) as server:
        policy = RemotePolicy(arm(), url=server.url, **LIBERO)
        output = policy.plan(observation(3), noise(3), 0, ["lift", "drop", "push"])
        policy.close()
    assert output.chunk.shape == (3, 4, 7)
    assert output.samples is None
    assert output.embedding is None
    assert server.connections == 1
    assert [request["prompt"] for request in server.requests] == ["lift", "drop", "push"]
    seen = observation(3)
    for scene, request in enumerate(server.requests):
        assert set(request) == {
            "observation/image",
            "observation/wrist_image",
            "observation/state",
            "prompt",
            "sampling/n",
            "sampling/noise",
        }
        for key, camera in (("observation/image", "agentview"), ("observation/wrist_image", "wrist")):
            image = request[key]
            assert (image.shape, image.dtype) == ((224, 224, 3), np.uint8)
            mirrored = Image.fromarray(seen[f"images/{camera}"][scene][:, ::-1]).resize(
                (224, 168), Image.Resampling.BILINEAR
            )
            np.testing.assert_array_equal(image[28:196], np.asarray(mirrored))
            assert not image[:28].any()
            assert not image[196:].any()
        state = request["observation/state"]
        assert (state.shape, state.dtype) == ((8,), np.float64)
        np.testing.assert_array_equal(state[:3], seen["eef_pos"][scene, 0])
        np.testing.assert_allclose(state[3:6], [np.pi, 0, 0], atol=1e-12)
        np.testing.assert_array_equal(state[6:], seen["gripper_qpos"][scene, 0])


def test_the_first_bytes_of_a_request_are_those_of_the_specification() -> None:
    with Websocket(answering()) as server:
        RemotePolicy(arm(), url=server.url, **LIBERO).plan(observation(), noise(), 2)
    image = b"\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc6\x00\x02\x4c\x00"  # 150,528 bytes follow
    assert server.frames[0].startswith(b"\x86\xb1observation/image" + image)
    state = b"\xb1observation/state\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x40"
    assert state in server.frames[0]
    assert b"\xc4\x05dtype\xa3<f8\xc4\x05shape\x91\x08\xa6prompt\xadlift the cube\xaasampling/n\x02" in server.frames[0]


def test_a_response_by_hand_is_understood() -> None:
    chunk = np.arange(28, dtype="<f4").reshape(4, 7)
    by_hand = (
        b"\x82\xa7actions\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x70" + chunk.tobytes()
        + b"\xc4\x05dtype\xa3<f4\xc4\x05shape\x92\x04\x07"
        + b"\xadserver_timing\x81\xa8infer_ms\xcb\x40\x45\x00\x00\x00\x00\x00\x00"
    )  # fmt: skip
    with Websocket(lambda *_: by_hand) as server:
        output = RemotePolicy(arm(), url=server.url, **LIBERO).plan(observation(), noise())
    np.testing.assert_array_equal(output.chunk[0], chunk)
    assert output.chunk.flags.writeable


def test_samples_and_features_are_used_when_the_server_gives_them() -> None:
    samples = np.stack([actions(fill=n) for n in range(3)])
    features = {"features/b": np.ones((2, 5), np.float32), "features/a": np.zeros(3, np.float32)}
    with Websocket(answering(samples=samples, **features)) as server:
        output = RemotePolicy(arm(), url=server.url, **LIBERO).plan(observation(2), noise(2), 3)
    np.testing.assert_array_equal(output.samples, np.stack([samples, samples]))
    np.testing.assert_array_equal(output.embedding, np.tile([0, 0, 0, 1, 1, 1, 1, 1], (2, 1)))
    with Websocket(answering(samples=samples, embedding=np.arange(4.0), **features)) as server:
        output = RemotePolicy(arm(), url=server.url, **LIBERO).plan(observation(), noise(), 0)
    assert output.samples is None
    np.testing.assert_array_equal(output.embedding, [[0, 1, 2, 3]])


def test_the_noise_that_is_sent_is_the_noise_of_the_call() -> None:
    with Websocket(answering()) as server:
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([1, 2], spawn_key=(3,))))
        generator.standard_normal(3, dtype=np.float32)  # leaves half a draw behind
        RemotePolicy(arm(), url=server.url, **LIBERO).plan(observation(), [generator])
    again = noise_from(server.requests[0]["sampling/noise"])
    np.testing.assert_array_equal(again.standard_normal(9, np.float32), generator.standard_normal(9, np.float32))


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": b"short"},
        {"has_uint32": 2},
        {"uinteger": 2**32},
        {"uinteger": -1},
        {"bit_generator": "MT19937"},
        {"inc": 3},
        {"more": 1},
    ],
)
def test_noise_that_is_no_state_is_refused(wrong: dict[str, Any]) -> None:
    record = noise_record(noise()[0])
    noise_from(record)
    with pytest.raises(ConfigError, match="sampling/noise"):
        noise_from({**record, **wrong})


def test_an_openvla_request_and_answer_by_hand() -> None:
    answered = {
        "__numpy__": base64.b64encode(np.array([0.1, 0, 0, 0, 0, 0, 1], "<f4").tobytes()).decode(),
        "dtype": "<f4",
        "shape": [7],
    }
    with rest(lambda request, number: (200, json.dumps(answered).encode())) as server:
        policy = RemotePolicy(arm(), url=server.url, unnorm_key="libero_spatial", **REST)
        output = policy.plan(observation(), noise(), 8, ["Lift it"])
    ((path, body, headers),) = server.seen
    assert path == "/act"
    assert headers["Content-Type"] == "application/json"
    request = json.loads(body)
    assert list(request) == ["image", "instruction", "unnorm_key"]
    assert (request["instruction"], request["unnorm_key"]) == ("Lift it", "libero_spatial")
    assert list(request["image"]) == ["__numpy__", "dtype", "shape"]
    assert (request["image"]["dtype"], request["image"]["shape"]) == ("|u1", [224, 224, 3])
    sent = np.frombuffer(base64.b64decode(request["image"]["__numpy__"]), np.uint8).reshape(224, 224, 3)
    np.testing.assert_array_equal(sent, resized_with_padding(observation()["images/agentview"][0][:, ::-1], 224))
    np.testing.assert_array_equal(output.chunk, np.array([[[0.1, 0, 0, 0, 0, 0, -1]]], np.float32))  # 1 is open
    assert output.samples is None


@pytest.mark.parametrize("double", [False, True])
def test_an_oft_request_and_a_list_of_actions(double: bool) -> None:
    chunk = [np.array([0.0, 0, 0, 0, 0, n, n % 2], np.float64) for n in range(4)]

    def answer(request: Any, number: int) -> tuple[int, bytes]:
        text = wire.to_json(chunk)
        return 200, (json.dumps(text) if double else text).encode()

    with rest(answer) as server:
        output = RemotePolicy(arm(), url=f"{server.url}/act", double_encoded=double, **OFT).plan(observation(), noise())
    request = json.loads(server.seen[0][1])
    if double:
        assert list(request) == ["encoded"]
        request = json.loads(request["encoded"])
    assert list(request) == ["full_image", "wrist_image", "state", "instruction"]
    assert (request["state"]["dtype"], request["state"]["shape"]) == ("<f8", [8])
    np.testing.assert_array_equal(output.chunk[0, :, 5], [0, 1, 2, 3])
    np.testing.assert_array_equal(output.chunk[0, :, 6], [1, -1, 1, -1])


def test_the_droid_layout_is_filled_from_joints() -> None:
    sizes = {"joint_pos": 7, "gripper_qpos": 2}
    task = arm(observation_sizes=sizes, action_size=8, commands_pose=False)
    seen = {"joint_pos": np.arange(7.0)[None, None], "gripper_qpos": np.array([[[0.03, -0.03]]])}
    images = {key: value for key, value in observation().items() if key.startswith("images/")}
    chunk = np.full((4, 8), 0.75)
    with Websocket(answering(actions=chunk)) as server:
        policy = RemotePolicy(task, url=server.url, **{**LIBERO, "layout": "droid"})
        output = policy.plan({**seen, **images}, noise())
    request = server.requests[0]
    np.testing.assert_array_equal(request["observation/joint_position"], np.arange(7.0))
    np.testing.assert_allclose(request["observation/gripper_position"], [0.25])
    upright = resized_with_padding(images["images/agentview"][0], 224)
    np.testing.assert_array_equal(request["observation/exterior_image_1_left"], upright)
    assert "observation/wrist_image_left" in request
    assert (output.chunk[0, :, :7] == 0.75).all()
    assert (output.chunk[0, :, 7] == 1.0).all()


def test_liberos_image_is_its_gl_image_turned_by_180_degrees() -> None:
    upright = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    as_robosuite_gives_it = upright[::-1]
    np.testing.assert_array_equal(libero_image(upright), as_robosuite_gives_it[::-1, ::-1])
    np.testing.assert_array_equal(libero_image(upright), np.rot90(as_robosuite_gives_it, 2))


def test_padding_keeps_the_whole_image_in_the_middle() -> None:
    tall = np.full((100, 50, 3), 200, np.uint8)
    padded = resized_with_padding(tall, 224)
    assert (padded[:, 56:168] == 200).all()
    assert not padded[:, :56].any()
    assert not padded[:, 168:].any()
    same = np.zeros((224, 224, 3), np.uint8)
    np.testing.assert_array_equal(resized_with_padding(same, 224), same)


def test_the_hands_rotation_vector_is_steady_where_the_gripper_points_down() -> None:
    angles = []
    for tilt in (-0.02, 0.02):
        half = (np.pi + tilt) / 2
        about_x = np.array([np.sin(half), 0, 0, np.cos(half)])  # the hand's body
        s = 0.5**0.5
        x, y, z, w = about_x
        site = np.array([s * (x - y), s * (x + y), s * (z - w), s * (w + z)])  # turned back by a quarter
        angles.append(hand_rotation_vector(site))
    np.testing.assert_allclose(angles, [[np.pi - 0.02, 0, 0], [np.pi + 0.02, 0, 0]], atol=1e-9)


# What is refused before the first episode


@pytest.mark.parametrize(
    ("settings", "error", "reason"),
    [
        ({"protocol": "grpc"}, UnknownNameError, "protocol"),
        ({"layout": "aloha"}, UnknownNameError, "layout"),
        ({"layout": "openvla"}, UnknownNameError, "layout"),
        ({"url": "http://127.0.0.1:1"}, ConfigError, "ws://"),
        ({"url": "ws://127.0.0.1:99999"}, ConfigError, "no address"),
        ({"url": "ws://me:secret@127.0.0.1:1"}, ConfigError, "api_key_env"),
        ({"url": "ws://10.0.0.1:1"}, ConfigError, "allow_remote=true"),
        ({"url": "ws://localhost.evil.example:1"}, ConfigError, "allow_remote=true"),
        ({"url": "ws://0.0.0.0:1"}, ConfigError, "allow_remote=true"),
        ({"horizon": None}, ConfigError, "horizon"),
        ({"execute": 5}, ConfigError, "execute=5"),
        ({"cameras": None}, ConfigError, "cameras"),
        ({"cameras": ["agentview"]}, ConfigError, "must name 2"),
        ({"cameras": ["agentview", "side"]}, ConfigError, "task.cameras=.*agentview,wrist,side"),
        ({"layout": "droid"}, ConfigError, "joint_pos"),
        ({"retries": -1}, ConfigError, "retries"),
        ({"reply_timeout_s": 0.0}, ConfigError, "reply_timeout_s"),
        ({"frame_limit_mib": 0}, ConfigError, "frame_limit_mib"),
        ({"api_key_env": "NO_SUCH_VARIABLE"}, ConfigError, "NO_SUCH_VARIABLE"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason) as caught:
        RemotePolicy(arm(), **{"url": "ws://127.0.0.1:1", **LIBERO, **settings})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_sizes": {}}, "task.cameras"),
        ({"action_size": 8}, "size 7"),
        ({"commands_pose": False}, "pose actions"),
        ({"observation_sizes": {"pusher_pos": 2}}, "eef_pos"),
    ],
)
def test_a_task_that_cannot_fill_a_layout_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        RemotePolicy(arm(**changes), url="ws://127.0.0.1:1", **LIBERO)


def test_another_host_is_asked_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PolicyServerError, match=r"nowhere\.invalid"):
        RemotePolicy(arm(), url="ws://nowhere.invalid:1", allow_remote=True, **LIBERO)


def test_the_key_goes_to_the_server_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "hunter2")
    with Websocket(lambda *_: "Traceback\nValueError: no") as server:
        policy = RemotePolicy(arm(), url=server.url, api_key_env="MY_KEY", **LIBERO)
        with pytest.raises(PolicyServerError) as caught:
            policy.plan(observation(), noise())
    assert server.headers[0]["Authorization"] == "Api-Key hunter2"
    assert "hunter2" not in str(caught.value) + repr(vars(policy)) + repr(policy.metadata)


def test_metadata_are_kept_and_weights_are_not_saved(tmp_path: Any) -> None:
    with Websocket(answering(), metadata={"reset_pose": np.array([1.0, 2.0])}) as server:
        policy = RemotePolicy(arm(), url=server.url, **LIBERO)
        policy.close()
        policy.plan(observation(), noise())  # connected anew: arrays are compared, too
    np.testing.assert_array_equal(policy.metadata["reset_pose"], [1.0, 2.0])
    with pytest.raises(CheckpointError, match="server's"):
        policy.save(tmp_path)


DESCRIPTION: dict[str, Any] = {
    "policy": "FlowPolicy",
    "weights": "0123",
    "task": "arm",
    "history": 2,
    "horizon": 4,
    "execute": 3,
    "listens": False,
    "cameras": {"wrist": [48, 64]},
    "observations": {"eef_pos": 3},
    "action_size": 7,
    "signals": ["denoising_loss", "reconstruction"],
}


@pytest.mark.parametrize(
    ("wrong", "settings", "reason"),
    [
        ({"task": "stack"}, {}, "task 'stack'"),
        ({"observations": {"eef_pos": 4}}, {}, "'eef_pos' of length 4"),
        ({"observations": {"place": 1}}, {}, "'place'"),
        ({"action_size": 8}, {}, "size 8"),
        ({"cameras": {"wrist": [84, 84]}}, {}, "84"),
        ({"cameras": {"side": [48, 64]}}, {}, "side"),
        ({"history": "2"}, {}, "no `workbench serve`"),
        ({"signals": None}, {}, "no `workbench serve`"),
        ({}, {"horizon": 5}, "horizon=5"),
        ({}, {"execute": 5}, "execute=5"),
        ({}, {"cameras": ["agentview"]}, "cameras"),
    ],
)
def test_a_server_of_ours_that_does_not_fit_the_task_is_refused(wrong: Any, settings: Any, reason: str) -> None:
    with (
        Websocket(answering(), metadata={"workbench": {**DESCRIPTION, **wrong}}) as server,
        pytest.raises(ConfigError, match=reason),
    ):
        RemotePolicy(arm(), url=server.url, **{**QUICK, **settings})


def test_our_layout_takes_what_the_server_says_and_sends_what_it_reads() -> None:
    with Websocket(answering(), metadata={"workbench": DESCRIPTION}) as server:
        policy = RemotePolicy(arm(), url=server.url, **QUICK)
        assert (policy.history, policy.horizon, policy.execute, policy.cameras) == (2, 4, 3, ("wrist",))
        assert policy.signals == ("denoising_loss", "reconstruction")
        policy.plan({**observation(), "eef_pos": np.zeros((1, 2, 3))}, noise(), 1)
    (request,) = server.requests
    assert set(request) == {"observation/eef_pos", "images/wrist", "prompt", "sampling/n", "sampling/noise"}
    assert request["images/wrist"].shape == (48, 64, 3)
    with (
        Websocket(answering()) as stock,
        pytest.raises(ConfigError, match=r"policy\.layout=libero"),
    ):
        RemotePolicy(arm(), url=stock.url, **QUICK)


# What else the server says of a call


def test_signals_are_asked_for_by_name_and_stacked_over_scenes() -> None:
    def respond(connection: Any, request: dict[str, Any], number: int) -> Any:
        said = {f"signals/{name}": np.float32(number) for name in request.get("sampling/signals", ())}
        return {"actions": actions(), "signals/more": np.ones(3), **said}

    metadata = {"workbench": DESCRIPTION}
    with Websocket(respond, metadata=metadata) as server:
        policy = RemotePolicy(arm(), url=server.url, **QUICK)
        seen = {**observation(3), "eef_pos": np.zeros((3, 2, 3))}
        asked = policy.plan(seen, noise(3), 1, signals=("reconstruction",)).signals
        silent = policy.plan(seen, noise(3), 1).signals
    assert [request.get("sampling/signals") for request in server.requests] == [["reconstruction"]] * 3 + [None] * 3
    assert list(asked) == ["reconstruction"]
    np.testing.assert_array_equal(asked["reconstruction"], np.array([1, 2, 3], np.float32))
    assert asked["reconstruction"].dtype == np.float32
    assert silent == {}


def test_tokens_of_an_extended_server_are_signals_and_its_metadata_name_others() -> None:
    tokens = {"token_logprobs": np.log([0.5, 0.25]), "signals/token_entropies": np.array([0.1, 0.2], np.float32)}
    with Websocket(answering(**tokens, **{"signals/doubt": 2}), metadata={"signals": ["doubt", 3]}) as server:
        policy = RemotePolicy(arm(), url=server.url, **LIBERO)
        assert policy.signals == ("token_logprobs", "token_entropies", "doubt")
        said = policy.plan(observation(2), noise(2), 0, signals=policy.signals).signals
    np.testing.assert_array_equal(said["token_logprobs"], np.tile(np.log([0.5, 0.25]), (2, 1)))
    np.testing.assert_array_equal(said["token_entropies"], np.tile(np.array([0.1, 0.2], np.float32), (2, 1)))
    np.testing.assert_array_equal(said["doubt"], [2.0, 2.0])


def test_an_extended_openvla_server_answers_with_a_map() -> None:
    answered = {"actions": np.full(7, 0.5), "token_logprobs": np.full(7, -0.5), "embedding": np.arange(3.0)}
    with rest(lambda request, number: (200, wire.to_json(answered).encode())) as server:
        output = RemotePolicy(arm(), url=server.url, **REST).plan(observation(), noise(), signals=["token_logprobs"])
    assert output.chunk.shape == (1, 1, 7)
    np.testing.assert_array_equal(output.signals["token_logprobs"], np.full((1, 7), -0.5))
    np.testing.assert_array_equal(output.embedding, [[0, 1, 2]])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, r"no signal 'token_logprobs'.*rollout\.signals.*docs/servers\.md"),
        ({"token_logprobs": np.array([0.0, np.nan])}, "signal token_logprobs hold NaN or infinity"),
        ({"token_logprobs": np.array([-np.inf])}, "NaN or infinity"),
        ({"token_logprobs": []}, "or nothing"),
        ({"token_logprobs": "many"}, "no numbers"),
        ({"token_logprobs": np.zeros((2, 3))}, r"must be \(L,\)"),
        ({"token_logprobs": -0.5}, r"must be \(L,\)"),
    ],
)
def test_signals_that_are_missing_or_broken_are_refused_in_one_line(given: dict[str, Any], reason: str) -> None:
    with Websocket(answering(**given)) as server:
        policy = RemotePolicy(arm(), url=server.url, **LIBERO)
        with pytest.raises(PolicyServerError, match=reason) as caught:
            policy.plan(observation(), noise(), signals=["token_logprobs"])
    assert "\n" not in str(caught.value)


def test_calls_with_different_numbers_of_tokens_are_refused_with_the_way_to_fill_them_up() -> None:
    def respond(connection: Any, request: Any, number: int) -> Any:
        return {"actions": actions(), "token_entropies": np.zeros(4 if number < 3 else 5)}

    with Websocket(respond) as server:
        policy = RemotePolicy(arm(), url=server.url, **LIBERO)
        policy.plan(observation(2), noise(2), signals=["token_entropies"])
        with pytest.raises(PolicyServerError, match=r"\(5,\) and before of \(4,\).*entropies with -1"):
            policy.plan(observation(), noise(), signals=["token_entropies"])


# Answers that are refused


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"actions": actions(5)}, r"\(5, 7\), must be \(4, 7\)"),
        ({"actions": np.zeros((4, 8))}, r"\(4, 8\)"),
        ({"actions": np.zeros(7)}, r"\(7,\)"),
        ({"actions": actions(fill=np.nan)}, "NaN"),
        ({"actions": actions(fill=-np.inf)}, "NaN or infinity"),
        ({"actions": "none"}, "no numbers"),
        ({"actions": [[1.0], [1.0, 2.0]]}, "no numbers"),
        ({"action": actions()}, "no actions"),
        ([1], "no actions"),
        ({"actions": actions(), "samples": np.zeros((2, 4, 7))}, "samples are of shape"),
        ({"actions": actions(), "samples": np.full((3, 4, 7), np.nan)}, "samples hold NaN"),
        ({"actions": actions(), "embedding": np.array([np.nan])}, "embedding hold NaN"),
        ({"actions": actions(), "features/x": "text"}, "features/x are no numbers"),
        (b"\xc1", "no message"),
        (wire.encode({"actions": actions()})[:-1], "truncated"),
        (wire.encode({"actions": actions()}) + b"\x00", "follow the end"),
    ],
)
def test_answers_that_cannot_be_run_are_refused_at_once(answer: Any, reason: str) -> None:
    with Websocket(lambda *_: answer) as server:
        policy = RemotePolicy(arm(), url=server.url, **{**LIBERO, "retries": 3})
        with pytest.raises(PolicyServerError, match=reason) as caught:
            policy.plan(observation(), noise(), 3)
    assert len(server.requests) == 1
    assert "\n" not in str(caught.value)


def test_features_of_some_scenes_alone_are_refused() -> None:
    def respond(connection: Any, request: Any, number: int) -> Any:
        return {"actions": actions()} | ({"embedding": np.zeros(2)} if number == 1 else {})

    with Websocket(respond) as server, pytest.raises(PolicyServerError, match="some scenes"):
        RemotePolicy(arm(), url=server.url, **LIBERO).plan(observation(2), noise(2))


def test_a_text_frame_is_the_servers_failure_and_the_next_request_gets_a_new_connection() -> None:
    def respond(connection: Any, request: Any, number: int) -> Any:
        if number > 1:
            return {"actions": actions()}
        connection.send("Traceback (most recent call last):\n  File ...\nKeyError: 'observation/state'\n")
        connection.close(1011, "Internal server error. Traceback included in previous frame.")
        return None

    with Websocket(respond) as server:
        policy = RemotePolicy(arm(), url=server.url, **{**LIBERO, "retries": 3})
        with pytest.raises(PolicyServerError, match=r"failed: KeyError: 'observation/state'$"):
            policy.plan(observation(), noise())
        assert (len(server.requests), server.connections) == (1, 1)
        policy.plan(observation(), noise())
    assert server.connections == 2


@pytest.mark.parametrize("metadata", ["Traceback\nRuntimeError: no weights", [1, 2], b"\xc1"])
def test_metadata_that_are_none_are_refused(metadata: Any) -> None:
    with (
        Websocket(answering(), metadata=metadata) as server,
        pytest.raises(PolicyServerError, match=r"no weights|not a map|no message"),
    ):
        RemotePolicy(arm(), url=server.url, **LIBERO)


def test_an_oversized_answer_is_refused_here_and_an_oversized_request_at_either_end() -> None:
    with Websocket(answering(more=bytes(2**20))) as server:
        policy = RemotePolicy(arm(), url=server.url, **{**LIBERO, "frame_limit_mib": 1, "retries": 3})
        with pytest.raises(PolicyServerError, match="its answer is above the frame limit"):
            policy.plan(observation(), noise())
        assert server.connections == 1
    with Websocket(answering(), max_size=2**16) as server:
        policy = RemotePolicy(arm(), url=server.url, **{**LIBERO, "retries": 3})
        with pytest.raises(PolicyServerError, match="the request is above the frame limit"):
            policy.plan(observation(), noise())
        assert server.connections == 1
    with Websocket(answering(), metadata={"workbench": {**DESCRIPTION, "cameras": {"wrist": [600, 600]}}}) as server:
        task = arm(image_sizes={"wrist": (600, 600)})
        policy = RemotePolicy(task, url=server.url, **{**QUICK, "frame_limit_mib": 1})
        large = {"eef_pos": np.zeros((1, 2, 3)), "images/wrist": np.zeros((1, 600, 600, 3), np.uint8)}
        with pytest.raises(PolicyServerError, match=r"a request of 108\d+ bytes is above policy\.frame_limit_mib=1"):
            policy.plan(large, noise())
    assert not server.requests


# Patience


def test_a_connection_lost_before_the_answer_is_made_anew_and_the_request_repeated() -> None:
    def respond(connection: Any, request: Any, number: int) -> Any:
        if number == 1:
            connection.socket.shutdown(socket.SHUT_RDWR)
            return None
        return {"actions": actions(fill=number)}

    with Websocket(respond) as server:
        policy = RemotePolicy(arm(), url=server.url, **{**LIBERO, "retries": 1})
        output = policy.plan(observation(), noise())
    assert (output.chunk == 2).all()
    assert server.connections == 2
    assert server.frames[0] == server.frames[1]


def test_a_connection_lost_within_the_answer_is_made_anew() -> None:
    whole = wire.encode({"actions": actions()})

    def respond(connection: Any, request: Any, number: int) -> Any:
        if number == 1:  # the head of a frame that promises all, and half of it
            connection.socket.sendall(b"\x82\x7e" + len(whole).to_bytes(2, "big") + whole[: len(whole) // 2])
            connection.socket.shutdown(socket.SHUT_RDWR)
            return None
        return whole

    with Websocket(respond) as server:
        policy = RemotePolicy(arm(), url=server.url, **{**LIBERO, "retries": 1})
        np.testing.assert_array_equal(policy.plan(observation(), noise()).chunk[0], actions())
    assert server.connections == 2


def patiently(policy: RemotePolicy) -> None:
    """Let a policy wait as long as a busy machine may take for an answer that is on its way."""
    policy._server._transport._reply_timeout_s = HANG_S


def test_a_late_answer_is_never_taken_for_the_next_one() -> None:
    release = threading.Event()

    def respond(connection: Any, request: Any, number: int) -> Any:
        if number == 1:
            release.wait(HANG_S)
        return {"actions": actions(fill=number)}

    with Websocket(respond) as server:
        policy = RemotePolicy(arm(), url=server.url, **{**LIBERO, "reply_timeout_s": 0.3})
        with pytest.raises(PolicyServerError, match=r"no answer within 0\.3 s"):
            policy.plan(observation(), noise())
        patiently(policy)
        release.set()
        assert (policy.plan(observation(), noise()).chunk == 2).all()


def test_a_server_that_is_gone_is_an_error_after_all_retries() -> None:
    with Websocket(answering()) as server:
        policy = RemotePolicy(arm(), url=server.url, **{**LIBERO, "retries": 2})
        policy.plan(observation(), noise())
    began = time.monotonic()
    with pytest.raises(PolicyServerError, match=r"tried 3 times.*"):
        policy.plan(observation(), noise())
    assert time.monotonic() - began >= 0.05 + 0.1


def test_a_server_that_appears_while_it_is_tried_is_found() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with contextlib.ExitStack() as stack:
        later = threading.Timer(0.3, lambda: stack.enter_context(Websocket(answering(), port=port)))
        later.start()
        policy = RemotePolicy(arm(), url=f"ws://127.0.0.1:{port}", **{**LIBERO, "retries": 6})
        assert policy.plan(observation(), noise()).chunk.shape == (1, 4, 7)
        later.join()


def test_another_policy_behind_the_same_address_is_not_taken_for_the_first() -> None:
    with Websocket(answering(), metadata={"name": "first"}) as server:
        policy = RemotePolicy(arm(), url=server.url, **LIBERO)
        server.metadata = {"name": "second"}
        policy.close()
        with pytest.raises(PolicyServerError, match="another policy"):
            policy.plan(observation(), noise())


def test_who_is_no_websocket_server_is_refused() -> None:
    with rest(lambda *_: (200, b"")) as server, pytest.raises(PolicyServerError, match=r"HTTP 501|cannot be asked"):
        RemotePolicy(arm(), url=server.url.replace("http", "ws"), **LIBERO)


@pytest.mark.parametrize(
    ("status", "body", "reason", "asked"),
    [
        (200, b'"error"', "its own log", 1),
        (200, json.dumps(json.dumps("error")).encode(), "'error'", 1),
        (500, b"Internal\nServer Error", "HTTP 500: Internal Server Error", 1),
        (503, b"", "HTTP 503.*tried 3 times", 3),
        (200, b"[[", "no JSON", 1),
        (200, b"null", "no numbers", 1),
        (200, b"[1, 2, 3, 4, 5, 6, 7]", r"\(7,\)", 1),
        (200, b"[[1, 2], [3]]", "different lengths", 1),
        (200, wire.to_json(np.full(7, np.nan)).encode(), "NaN", 1),
        (200, wire.to_json(np.zeros(6)).encode(), r"\(1, 6\)", 1),
        (200, wire.to_json(np.zeros((2, 7))).encode(), r"\(2, 7\)", 1),
        (200, b" " * (2**20 + 1), "frame_limit_mib=1", 1),
        (0, b"", "broke off 996 bytes.*tried 3 times", 3),
    ],
    ids=lambda one: repr(one)[:20],
)
def test_http_answers_that_cannot_be_run_are_refused(status: int, body: bytes, reason: str, asked: int) -> None:
    with rest(lambda request, number: (status, body)) as server:
        policy = RemotePolicy(arm(), url=server.url, **{**REST, "retries": 2, "frame_limit_mib": 1, "backoff_s": 0.01})
        with pytest.raises(PolicyServerError, match=reason) as caught:
            policy.plan(observation(), noise())
    assert len(server.seen) == asked
    assert "\n" not in str(caught.value)


def test_a_slow_http_server_is_asked_again_and_given_up() -> None:
    release = threading.Event()

    def answer(request: Any, number: int) -> tuple[int, bytes]:
        release.wait(HANG_S if number == 1 else 0)
        return 200, wire.to_json(np.zeros(7)).encode()

    with rest(answer) as server:
        patient = {**REST, "reply_timeout_s": 0.2}
        policy = RemotePolicy(arm(), url=server.url, **patient)
        with pytest.raises(PolicyServerError, match=r"no answer within 0\.2 s"):
            policy.plan(observation(), noise())
        patiently(policy)
        release.set()
        assert policy.plan(observation(), noise()).chunk.shape == (1, 1, 7)


def test_nobody_at_an_http_address_is_said_before_the_first_episode() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(PolicyServerError, match="refused"):
        RemotePolicy(arm(), url=url, **REST)


def test_every_layout_of_others_is_carried_by_a_protocol() -> None:
    from workbench.policies.remote import OURS, PROTOCOLS

    assert {layout for layouts in PROTOCOLS.values() for layout in layouts} == {OURS, *LAYOUTS}
