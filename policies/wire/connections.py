"""Requests to a policy server with patience: websockets as openpi speaks them, HTTP as OpenVLA's servers do.

A request is stateless on both protocols, so one that was lost may be asked again.  What failed for want of a
connection, or came too late, is repeated with growing pauses on a new connection; what the server refuses is not.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from workbench.errors import ConfigError, PolicyServerError, WireError
from workbench.policies.wire import frames as wire
from workbench.types import Record

MIB = 2**20
TOO_BIG = 1009
"""Websocket close code for a frame above the limit."""
CLOSE_S = 1.0
SHOWN = 300
"""How many letters of what a server says are shown."""


class UnreachableError(Exception):
    """There is no connection, or no answer in time: to be tried again."""


class Transport(Protocol):
    """One kind of connection; raises UnreachableError for what may be tried again."""

    def open(self) -> Record:
        """Connect; returns what the server says of itself."""
        ...

    def ask(self, request: Record) -> Any: ...
    def close(self) -> None: ...


def parse_url(url: str, schemes: tuple[str, ...], allow_remote: bool) -> SplitResult:
    """Parts of a server's address; refuses other schemes, and hosts beyond this machine unless they are allowed."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"policy.url={url!r} is no address: {error}") from None
    if parts.scheme not in schemes or not host:
        raise ConfigError(f"policy.url={url!r} must be {' or '.join(f'{scheme}://HOST:PORT' for scheme in schemes)}")
    if parts.username or parts.password:
        raise ConfigError(
            "policy.url must hold no password: name a variable of the environment with policy.api_key_env"
        )
    if not (allow_remote or is_loopback(host)):
        raise ConfigError(
            f"policy.url={url!r} is not this machine: images and states would leave it, unencrypted with "
            f"{schemes[0]}://. If that is meant, set policy.allow_remote=true; better is a tunnel (ssh -L) to 127.0.0.1"
        )
    return parts


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class PatientServer:
    """Asks one server, one request at a time, again where it may.

    Parameters
    ----------
    transport : how it is reached.
    shown : its address, for messages.
    retries : further attempts at one request, those at connecting included.
    backoff_s : pause before the first of them; every further one is twice as long.

    Attributes
    ----------
    metadata : what the server said of itself when it was first reached.
    """

    def __init__(self, transport: Transport, shown: str, *, retries: int, backoff_s: float) -> None:
        self._transport, self._shown = transport, shown
        self._retries, self._backoff_s = retries, backoff_s
        self._connected = False
        self.metadata: Record | None = None
        weakref.finalize(self, transport.close)

    def connect(self) -> Record:
        """Reach the server; returns its metadata."""
        self._patiently(lambda: None)
        return self.metadata or {}

    def ask(self, request: Record) -> Any:
        """The answer to one request; PolicyServerError if the server refuses, or is not reached for too long."""
        return self._patiently(lambda: self._transport.ask(request))

    def close(self) -> None:
        """End the connection; the next request makes a new one."""
        self._connected = False
        self._transport.close()

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        began, reason = time.monotonic(), ""
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(self._backoff_s * 2 ** (attempt - 1))
            try:
                self._connect()
                return ask()
            except UnreachableError as error:
                self.close()
                reason = str(error)
            except BaseException:
                self.close()  # whatever is still on its way belongs to no later request
                raise
        times = "once" if not self._retries else f"{self._retries + 1} times"
        raise PolicyServerError(
            f"the policy server at {self._shown} cannot be asked: {reason}. It was tried {times} in "
            f"{time.monotonic() - began:.0f} s"
        )

    def _connect(self) -> None:
        if self._connected:
            return
        metadata = self._transport.open()
        self._connected = True
        # As bytes, for there may be arrays among them.
        if self.metadata is not None and wire.encode(metadata) != wire.encode(self.metadata):
            raise PolicyServerError(
                f"another policy answers at {self._shown} than before: it says {shortened(metadata)}, "
                f"and said {shortened(self.metadata)}"
            )
        self.metadata = metadata


class WebsocketTransport:
    """openpi's protocol: binary msgpack frames, the server's metadata first; a text frame is the server's traceback.

    Parameters
    ----------
    url : ``ws://host:port``.
    headers : sent when connecting.
    connect_timeout_s, reply_timeout_s : how long to wait for the metadata, and for an answer.
    frame_limit : bytes of the largest frame that is taken.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], connect_timeout_s: float, reply_timeout_s: float, frame_limit: int
    ) -> None:
        self._url, self._headers = url, dict(headers)
        self._connect_timeout_s, self._reply_timeout_s = connect_timeout_s, reply_timeout_s
        self._frame_limit = frame_limit
        self._stack = contextlib.ExitStack()
        self._socket: Any = None

    def open(self) -> Record:
        """Connect, and wait for the metadata."""
        from websockets.exceptions import InvalidHandshake, InvalidStatus
        from websockets.sync.client import connect

        try:
            # No pings: a stock server answers none while it infers, and the first inference compiles for minutes.
            self._socket = self._stack.enter_context(
                connect(
                    self._url,
                    compression=None,
                    max_size=self._frame_limit,
                    open_timeout=self._connect_timeout_s,
                    close_timeout=CLOSE_S,
                    ping_interval=None,
                    proxy=None,
                    additional_headers=self._headers,
                )
            )
        except InvalidStatus as error:
            status = error.response.status_code
            if status in (502, 503, 504):
                raise UnreachableError(f"it answers HTTP {status}") from None
            raise PolicyServerError(
                f"the policy server at {self._url} refuses the connection with HTTP {status}"
                + ("; see policy.api_key_env" if status in (401, 403) else "; is it openpi's?")
            ) from None
        except (OSError, EOFError, InvalidHandshake) as error:
            raise UnreachableError(_told(error)) from None
        metadata = self._receive(self._connect_timeout_s)
        if not isinstance(metadata, dict):
            raise PolicyServerError(f"the policy server at {self._url} says of itself {shortened(metadata)}, not a map")
        return metadata

    def ask(self, request: Record) -> Any:
        """One frame there, one back."""
        from websockets.exceptions import ConnectionClosed

        frame = wire.encode(request)
        if len(frame) > self._frame_limit:
            raise PolicyServerError(
                f"a request of {len(frame)} bytes is above policy.frame_limit_mib={self._frame_limit // MIB}: take "
                "smaller images (task.cameras.width_px), or raise the limit here and at the server"
            )
        try:
            self._socket.send(frame)
        except (ConnectionClosed, OSError) as error:
            # The server's reason, a traceback perhaps, may have come before the end.
            self._refuse_oversized(error)
            with contextlib.suppress(UnreachableError):
                return self._receive(CLOSE_S)
            raise UnreachableError(_told(error)) from None
        return self._receive(self._reply_timeout_s)

    def close(self) -> None:
        """Say good-bye."""
        self._socket = None
        self._stack.close()

    def _receive(self, timeout_s: float) -> Any:
        from websockets.exceptions import ConnectionClosed

        try:
            frame = self._socket.recv(timeout=timeout_s)
        except TimeoutError:
            raise UnreachableError(f"no answer within {timeout_s:g} s") from None
        except (ConnectionClosed, OSError, EOFError) as error:
            self._refuse_oversized(error)
            raise UnreachableError(_told(error)) from None
        if isinstance(frame, str):
            raise PolicyServerError(f"the policy server at {self._url} failed: {last_line(frame)}")
        try:
            return wire.decode(frame)
        except WireError as error:
            raise PolicyServerError(f"the policy server at {self._url} sent what is no message: {error}") from None

    def _refuse_oversized(self, error: Exception) -> None:
        closes = [getattr(error, name, None) for name in ("rcvd", "sent")]
        if not any(close is not None and close.code == TOO_BIG for close in closes):
            return
        # Whoever refuses closes first; the other only repeats the code.
        whose = "the request is" if getattr(error, "rcvd_then_sent", False) else "its answer is"
        raise PolicyServerError(
            f"the policy server at {self._url} is not understood: {whose} above the frame limit"
            f" (here policy.frame_limit_mib={self._frame_limit // MIB})"
        ) from None


class HttpTransport:
    """OpenVLA's protocol: JSON posted to ``/act``, a connection for each request.

    Parameters
    ----------
    url : parts of ``http://host:port``; the path is ``/act`` if it has none.
    double_encoded : whether the request is sent as ``{"encoded": "<JSON>"}``.
    headers, connect_timeout_s, reply_timeout_s, frame_limit : as of :class:`WebsocketTransport`.
    """

    def __init__(
        self,
        url: SplitResult,
        headers: Mapping[str, str],
        connect_timeout_s: float,
        reply_timeout_s: float,
        frame_limit: int,
        double_encoded: bool,
    ) -> None:
        self._url, self._shown = url, url.geturl()
        self._path = url.path if url.path not in ("", "/") else "/act"
        self._headers = {**headers, "Content-Type": "application/json"}
        self._connect_timeout_s, self._reply_timeout_s = connect_timeout_s, reply_timeout_s
        self._frame_limit, self._double_encoded = frame_limit, double_encoded

    def open(self) -> Record:
        """See whether anybody listens; these servers say nothing of themselves."""
        with contextlib.closing(self._connected()):
            return {}

    def ask(self, request: Record) -> Any:
        """Post one request; arrays in the answer as numpy arrays."""
        text = wire.to_json(request)
        body = (wire.to_json({"encoded": text}) if self._double_encoded else text).encode()
        with contextlib.closing(self._connected()) as connection:
            try:
                connection.sock.settimeout(self._reply_timeout_s)
                connection.request("POST", self._path, body, self._headers)
                response = connection.getresponse()
                answer = response.read(self._frame_limit + 1)
                missing = response.length if len(answer) <= self._frame_limit else 0
            except TimeoutError:
                raise UnreachableError(f"no answer within {self._reply_timeout_s:g} s") from None
            except (OSError, http.client.HTTPException) as error:
                raise UnreachableError(_told(error)) from None
        if missing:
            raise UnreachableError(f"its answer broke off {missing} bytes before the end")
        return self._understood(response.status, answer)

    def close(self) -> None:
        """Nothing is kept open between requests."""

    def _connected(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(self._url.hostname), self._url.port, timeout=self._connect_timeout_s)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise UnreachableError(_told(error)) from None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _understood(self, status: int, answer: bytes) -> Any:
        if len(answer) > self._frame_limit:
            raise PolicyServerError(
                f"the answer of the policy server at {self._shown} is above "
                f"policy.frame_limit_mib={self._frame_limit // MIB}"
            )
        if status in (502, 503, 504):
            raise UnreachableError(f"it answers HTTP {status}")
        if status != 200:
            said = shortened(answer.decode(errors="replace"))
            raise PolicyServerError(f"the policy server at {self._shown} answers HTTP {status}: {said}")
        try:
            value = wire.from_json(answer)
            if isinstance(value, str) and value != "error":  # the double-encoded variant
                value = wire.from_json(value)
        except WireError as error:
            raise PolicyServerError(f"the policy server at {self._shown} sent what is no message: {error}") from None
        if isinstance(value, str):
            raise PolicyServerError(
                f"the policy server at {self._shown} failed and says no more than {value!r}; its own log has the reason"
            )
        return value


def last_line(text: str) -> str:
    """The last line of a traceback that says anything."""
    lines = [line for line in text.splitlines() if line.strip()]
    return shortened(lines[-1].strip() if lines else "it does not say why")


def shortened(value: Any) -> str:
    """What a server said, in one line of bounded length."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _told(error: BaseException) -> str:
    return shortened(str(error) or type(error).__name__)
