"""A policy of ours behind a socket, by openpi's protocol: for our own :mod:`workbench.policies.remote`, or any client.

Every connection is told first what is served.  Requests of all connections are answered one at a time: the policy's
network is one.  A request that cannot be answered gets its reason as a text frame (a traceback, where the fault is not
the request's) and its connection closed with code 1011, as openpi's server does; the server goes on.

The server sends no keepalive pings of the websocket protocol: a client that is busy, its interpreter's lock held, would
not answer them and be cut off.  The kernel of the client's machine answers those of TCP.
"""

from __future__ import annotations

import contextlib
import http
import socket
import struct
import sys
import threading
import time
import traceback
from typing import Any

import numpy as np

from workbench.errors import ConfigError, ObservationError, PolicyServerError, WorkbenchError
from workbench.policies.wire import frames as wire
from workbench.policies.wire.connections import in_few_pieces, is_loopback
from workbench.policies.wire.limits import CONNECTIONS, FRAME_MIB, MIB, WORD_LETTERS, flag, text, whole
from workbench.policies.wire.messages import IDENTITY, Answer, Description, Request
from workbench.policies.wire.shown import last_line, shortened
from workbench.types import Observation, Policy, Record, Task

GOING_AWAY, INTERNAL_ERROR = 1001, 1011
"""Close codes of the websocket protocol (RFC 6455, section 7.4.1)."""
LAST_WORDS_S = 5.0
"""How long a connection has, once the server ends, to say how it went."""
CONNECT_S = 10.0
STUCK_S = 600
"""How long an answer may wait for a client that does not read it: longer than any that is only busy."""
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 6}
"""Seconds of silence before a client's machine is asked whether it is still there, between questions, and how many go
unanswered before the connection is given up; where the system has them."""


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
        text("job.host", host, WORD_LETTERS)
        if not (flag("job.allow_remote", allow_remote) or is_loopback(host)):
            raise ConfigError(
                f"job.host={host!r} lets other machines connect, and nobody would be asked who they are: set "
                "job.allow_remote=true if that is meant; better is a tunnel (ssh -L) to 127.0.0.1"
            )
        whole("job.port", port, 0, 2**16 - 1)
        whole("job.frame_limit_mib", frame_limit_mib, 1, FRAME_MIB)
        self._policy, self._served = policy, Description.of(policy, task, weights)
        self._metadata = wire.encode({IDENTITY: self._served.record()})
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
            told = [threading.Thread(target=each.close, args=(GOING_AWAY,), daemon=True) for each in open_ones]
            for telling in told:
                telling.start()
            until = time.monotonic() + LAST_WORDS_S
            for attending in (*told, *open_ones.values()):
                attending.join(max(0.0, until - time.monotonic()))
            for connection in open_ones:  # who does not read what it is sent cannot be told
                with contextlib.suppress(OSError):
                    connection.socket.shutdown(socket.SHUT_RDWR)
            self._server.shutdown()
            thread.join(LAST_WORDS_S)

    def answer(self, request: Any) -> Record:
        """The answer to one request; see :mod:`workbench.policies.remote` for what both hold.

        Raises
        ------
        ConfigError, ObservationError
            If the request lacks something, or holds what cannot be.
        """
        asked = Request.read(request, self._served)
        observation: Observation = {key.removeprefix("observation/"): row[None] for key, row in asked.arrays.items()}
        told: Record = {"instructions": [asked.instruction]} if self._served.listens else {}
        told |= {"signals": list(asked.signals)} if asked.signals else {}
        with self._one_at_a_time:
            noise = self._noise.spawn(1)[0] if asked.noise is None else asked.noise
            began = time.perf_counter()
            output = self._policy.plan(observation, [noise], asked.samples, **told)
            infer_ms = 1e3 * (time.perf_counter() - began)
        return Answer.of(output, asked, self._served).record() | {"server_timing": {"infer_ms": infer_ms}}

    def reply(self, frame: str | bytes) -> tuple[str | bytes, str]:
        """What one frame is answered with, a text for what is refused, and the reason in one line."""
        try:
            if isinstance(frame, str):
                raise ObservationError("a request must be a binary frame of msgpack, not a text frame")
            return wire.encode(self.answer(wire.decode(frame))), ""
        except Exception as error:  # a request is somebody else's: whatever is wrong, the server goes on
            # In one line, however many the message has: a client shows the last.
            reason = shortened(f"{type(error).__name__}: {error}")
            ours = not isinstance(error, WorkbenchError)
            return ("".join(traceback.format_tb(error.__traceback__)) if ours else "") + reason, reason

    def _listen(self, host: str, port: int, frame_limit: int) -> Any:
        from websockets.sync.server import ServerConnection, serve

        try:
            # Pages in a browser send their origin; none has business here, and any may try to reach this machine.
            return serve(
                self._attend,
                host,
                port,
                compression=None,
                max_size=frame_limit,
                max_queue=1,
                open_timeout=CONNECT_S,
                close_timeout=1.0,
                ping_interval=None,
                origins=[None],
                process_request=self._refused,
                create_connection=in_few_pieces(ServerConnection),
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
        _keep_alive(connection.socket)
        with self._connections_lock:
            self._connections[connection] = threading.current_thread()
        try:
            connection.send(self._metadata)
            for frame in connection:
                said, reason = self.reply(frame)
                connection.send(said)
                if reason:
                    ending = reason
                    connection.close(INTERNAL_ERROR, "the reason came before")
                    break
                answered += 1
        except ConnectionClosed as error:
            ending = f"lost: {last_line(str(error))}"
        finally:
            with contextlib.suppress(OSError):
                print(f"{who}  {answered} answers in {time.monotonic() - began:.1f} s  {ending}", flush=True)
            with self._connections_lock:
                del self._connections[connection]

    def _refused(self, connection: Any, request: Any) -> Any:
        """Answer ``GET /healthz`` without a websocket, and whoever is one too many."""
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if len(self._connections) >= CONNECTIONS:
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, f"{CONNECTIONS} clients are connected\n")
        return None


def _keep_alive(connection: socket.socket) -> None:
    """Let the kernel find out whether a client's machine is gone, and whether the client never reads."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    if sys.platform != "win32":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", STUCK_S, 0))
