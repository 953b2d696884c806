"""A policy of ours behind a socket, by openpi's protocol: for our own :mod:`workbench.policies.remote`, or any client.

Every connection is told first what is served.  Requests of all connections are answered one at a time: the policy's
network is one.  A request that cannot be answered gets its traceback as a text frame and its connection closed with
code 1011, as openpi's server does; the server goes on.
"""

from __future__ import annotations

import contextlib
import http
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

import numpy as np

from workbench.errors import ConfigError, ObservationError, PolicyServerError, UnknownNameError
from workbench.policies.remote import IDENTITY
from workbench.policies.wire import frames as wire
from workbench.policies.wire.connections import MIB, is_loopback, last_line
from workbench.policies.wire.payloads import noise_from
from workbench.types import Array, Observation, Policy, Record, Task

MOST_SAMPLES = 4096
"""How many further chunks one request may ask for."""
GOING_AWAY, INTERNAL_ERROR = 1001, 1011
"""Close codes of the websocket protocol (RFC 6455, section 7.4.1)."""
LAST_WORDS_S = 5.0
"""How long a connection has, once the server ends, to say how it went."""
CONNECT_S = 10.0


def description(policy: Policy, task: Task, weights: str) -> Record:
    """What a server says of the policy that it serves; see ``DESCRIBED`` in :mod:`workbench.policies.remote`."""
    sizes: Mapping[str, tuple[int, int]] = getattr(policy, "image_sizes", {})
    return {
        "policy": type(policy).__name__,
        "weights": weights,
        "task": task.name,
        "history": policy.history,
        "horizon": policy.horizon,
        "execute": policy.execute,
        "listens": policy.listens,
        "cameras": {camera: list(sizes[camera]) for camera in policy.cameras},
        "observations": dict(getattr(policy, "layout", None) or task.observation_sizes),
        "action_size": task.action_size,
        "signals": list(policy.signals),
    }


class PolicyServer:
    """Serves one policy until it is told to stop.

    Parameters
    ----------
    policy, task : what is served, and the task that it drives.
    host, port : where; port 0 picks a free one.
    weights : digest of its checkpoint, by which clients tell it from another.
    seed : of the noise of requests that bring none.
    allow_remote : whether other machines may connect: nothing is encrypted, and nobody is asked who they are.
    frame_limit_mib : size of the largest request.

    Attributes
    ----------
    url : where it is reached.
    """

    def __init__(
        self,
        policy: Policy,
        task: Task,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        weights: str = "",
        seed: int = 0,
        allow_remote: bool = False,
        frame_limit_mib: int = 64,
    ) -> None:
        if policy.privileged:
            raise ConfigError(
                f"{type(policy).__name__} is handed the ground truth, which no client has: serve another policy, "
                "or set policy.privileged=false"
            )
        if not (allow_remote or is_loopback(host)):
            raise ConfigError(
                f"job.host={host!r} lets other machines connect, and nobody would be asked who they are: set "
                "job.allow_remote=true if that is meant; better is a tunnel (ssh -L) to 127.0.0.1"
            )
        if not 0 <= port < 2**16 or frame_limit_mib < 1:
            raise ConfigError(
                f"job.port={port} must be in 0..65535 and job.frame_limit_mib={frame_limit_mib} at least 1"
            )
        self._policy, self._task = policy, task
        self._metadata = wire.encode({IDENTITY: description(policy, task, weights)})
        self._noise = np.random.Generator(np.random.PCG64(seed))
        self._one_at_a_time = threading.Lock()
        self._connections: dict[Any, threading.Thread] = {}
        self._connections_lock = threading.Lock()
        self._server = self._listen(host, port, frame_limit_mib * MIB)
        bound = self._server.socket.getsockname()
        self.url = f"ws://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}"

    def serve(self, stop: threading.Event) -> None:
        """Answer until ``stop`` is set, then end all connections (1001) and return."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            stop.wait()
        finally:
            # Those that are connected are told; older versions of the library only stop listening.
            with self._connections_lock:
                open_ones = dict(self._connections)
            for connection in open_ones:
                connection.close(GOING_AWAY)
            self._server.shutdown()
            for attending in (thread, *open_ones.values()):
                attending.join(LAST_WORDS_S)

    def answer(self, request: Any) -> Record:
        """The answer to one request; see :mod:`workbench.policies.remote` for what both hold.

        Raises
        ------
        ConfigError, ObservationError
            If the request lacks something, or holds what cannot be.
        """
        if not isinstance(request, dict):
            raise ObservationError(f"a request must be a map, not a {type(request).__name__}")
        samples = request.get("sampling/n", 0)
        if type(samples) is not int or not 0 <= samples <= MOST_SAMPLES:
            raise ConfigError(f"sampling/n={samples!r} must be a whole number in 0..{MOST_SAMPLES}")
        sent = request.get("sampling/noise")
        observation, told = self._observation(request), self._told(request) | self._signals(request)
        with self._one_at_a_time:
            noise = self._noise.spawn(1)[0] if sent is None else noise_from(sent)
            began = time.perf_counter()
            output = self._policy.plan(observation, [noise], samples, **told)
            infer_ms = 1e3 * (time.perf_counter() - began)
        answer: Record = {"actions": output.chunk[0], "server_timing": {"infer_ms": infer_ms}}
        if samples and output.samples is not None:
            answer["samples"] = output.samples[0]
        if output.embedding is not None:
            answer["embedding"] = output.embedding[0]
        return answer | {f"signals/{name}": np.asarray(values[0]) for name, values in output.signals.items()}

    def _observation(self, request: Mapping[str, Any]) -> Observation:
        """What the policy is handed, of one scene."""
        sizes = getattr(self._policy, "layout", None) or self._task.observation_sizes
        keys = {f"observation/{key}": key for key in sizes} | {
            f"images/{camera}": f"images/{camera}" for camera in self._policy.cameras
        }
        observation: dict[str, Array] = {}
        for key, name in keys.items():
            if not isinstance(request.get(key), np.ndarray):
                raise ObservationError(f"the request lacks the array {key!r}; it is to hold {', '.join(keys)}")
            observation[name] = request[key][None]
        for name, size in sizes.items():
            wanted = (1, self._policy.history, size)
            if observation[name].shape != wanted or observation[name].dtype.kind not in "iuf":
                raise ObservationError(
                    f"observation/{name} is {observation[name].dtype}{list(observation[name].shape[1:])}, must be "
                    f"numbers {list(wanted[1:])}"
                )
        return observation

    def _told(self, request: Mapping[str, Any]) -> Record:
        if not self._policy.listens:
            return {}
        if not isinstance(request.get("prompt"), str):
            raise ObservationError("the request lacks 'prompt', the instruction that the policy is to follow")
        return {"instructions": [request["prompt"]]}

    def _signals(self, request: Mapping[str, Any]) -> Record:
        asked = request.get("sampling/signals", [])
        if not isinstance(asked, list):
            raise ConfigError(f"sampling/signals={asked!r} must be a list of names")
        for name in asked:
            if name not in self._policy.signals:
                raise UnknownNameError(
                    f"signal of policy {type(self._policy).__name__}", str(name), self._policy.signals
                )
        return {"signals": asked} if asked else {}

    def _listen(self, host: str, port: int, frame_limit: int) -> Any:
        from websockets.sync.server import serve

        try:
            # Pages in a browser send their origin; none has business here, and any may try to reach this machine.
            return serve(
                self._attend,
                host,
                port,
                compression=None,
                max_size=frame_limit,
                open_timeout=CONNECT_S,
                close_timeout=1.0,
                origins=[None],
                process_request=_healthy,
            )
        except OSError as error:
            raise PolicyServerError(
                f"{host}:{port} cannot be listened at ({error.strerror or error}); choose another job.port, "
                "0 for a free one"
            ) from None

    def _attend(self, connection: Any) -> None:
        """One connection from its first frame to its last, and the line that says how it went."""
        from websockets.exceptions import ConnectionClosed

        began, answered, ending = time.monotonic(), 0, "closed"
        who = ":".join(map(str, connection.remote_address[:2]))
        with self._connections_lock:
            self._connections[connection] = threading.current_thread()
        try:
            connection.send(self._metadata)
            for frame in connection:
                try:
                    connection.send(wire.encode(self.answer(_decoded(frame))))
                    answered += 1
                except ConnectionClosed:
                    raise
                except Exception as error:  # a request is somebody else's: whatever is wrong, the server goes on
                    # In one line, however many the message has: a client shows the last.
                    ending = f"{type(error).__name__}: {' '.join(str(error).split())}"
                    connection.send("".join(traceback.format_tb(error.__traceback__)) + ending)
                    connection.close(INTERNAL_ERROR, "the traceback came before")
                    break
        except ConnectionClosed as error:
            ending = f"lost: {last_line(str(error))}"
        finally:
            with contextlib.suppress(BrokenPipeError):
                print(f"{who}  {answered} answers in {time.monotonic() - began:.1f} s  {ending}", flush=True)
            with self._connections_lock:
                del self._connections[connection]


def _decoded(frame: str | bytes) -> Any:
    if isinstance(frame, str):
        raise ObservationError("a request must be a binary frame of msgpack, not a text frame")
    return wire.decode(frame)


def _healthy(connection: Any, request: Any) -> Any:
    """Answer ``GET /healthz`` without a websocket."""
    return connection.respond(http.HTTPStatus.OK, "OK\n") if request.path == "/healthz" else None
