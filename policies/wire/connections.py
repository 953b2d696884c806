"""Requests to a policy server with patience: websockets as openpi speaks them, HTTP as OpenVLA's servers do.

A request is stateless on both protocols, so one that was lost may be asked again.  What failed for want of a
connection, or came too late, is repeated with growing pauses on a new connection; what the server refuses is not.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from workbench.errors import ConfigError, PolicyServerError, WireError, WorkbenchError
from workbench.policies.wire import frames as wire
from workbench.policies.wire.limits import FRAGMENTS, MIB
from workbench.policies.wire.messages import metadata_of
from workbench.policies.wire.shown import last_line, shortened, shown
from workbench.types import Record

TOO_BIG = 1009
"""Websocket close code for a frame above the limit."""
CONTROL = 8
"""Websocket frames with a lower opcode carry data (RFC 6455, section 5.2)."""
CLOSE_S = 1.0
HTTP_SHOWN = 4096
"""How many bytes of a refusal by HTTP are read for people."""
LONGEST_PAUSE_S = 60.0
"""Between two attempts."""


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
    if not isinstance(url, str):
        raise ConfigError(f"policy.url={shown(url)} must be an address such as {schemes[0]}://127.0.0.1:8000")
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
    backoff_s : pause before the first of them; every further one is twice as long, up to LONGEST_PAUSE_S.

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
                time.sleep(min(LONGEST_PAUSE_S, self._backoff_s * 2.0 ** min(attempt - 1, 64)))
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
                f"another policy answers at {self._shown} than before: it says {shown(metadata)}, "
                f"and said {shown(self.metadata)}"
            )
        self.metadata = metadata


class WebsocketTransport:
    """openpi's protocol: binary msgpack frames, the server's metadata first; a text frame is the server's traceback.

    Parameters
    ----------
    url : parts of ``ws://host:port``.
    headers : sent when connecting.
    connect_timeout_s, reply_timeout_s : how long to wait for the metadata, and for an answer.
    frame_limit : bytes of the largest frame that is taken.
    """

    def __init__(
        self,
        url: SplitResult,
        headers: Mapping[str, str],
        connect_timeout_s: float,
        reply_timeout_s: float,
        frame_limit: int,
    ) -> None:
        self._url, self._headers = url.geturl(), dict(headers)
        self._address = (str(url.hostname), url.port or {"ws": 80, "wss": 443}[url.scheme])
        self._connect_timeout_s, self._reply_timeout_s = connect_timeout_s, reply_timeout_s
        self._frame_limit = frame_limit
        self._stack = contextlib.ExitStack()
        self._socket: Any = None

    def open(self) -> Record:
        """Connect, and wait for the metadata."""
        self._socket = self._stack.enter_context(self._reached())
        frame = self._receive(self._connect_timeout_s)
        try:
            return metadata_of(frame)
        except WorkbenchError as error:
            raise self._not_understood(error) from None

    def _reached(self) -> Any:
        """The connection, before the first frame."""
        from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
        from websockets.sync.client import ClientConnection, connect

        try:
            # No pings: a stock server answers none while it infers, and the first inference compiles for minutes.
            # The address is given so that no redirection leads to another one, which might not be this machine.
            return connect(
                self._url,
                compression=None,
                max_size=self._frame_limit,
                max_queue=1,
                open_timeout=self._connect_timeout_s,
                close_timeout=CLOSE_S,
                ping_interval=None,
                proxy=None,
                additional_headers=self._headers,
                create_connection=in_few_pieces(ClientConnection),
                address=self._address,
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
            raise UnreachableError(_reason(error)) from None
        except (WebSocketException, ValueError) as error:
            raise PolicyServerError(f"the policy server at {self._url} is refused: {_reason(error)}") from None

    def ask(self, request: Record) -> Any:
        """One frame there, one back."""
        frame = wire.encode(request)
        if len(frame) > self._frame_limit:
            raise PolicyServerError(
                f"a request of {len(frame)} bytes is above policy.frame_limit_mib={self._frame_limit // MIB}: take "
                "smaller images (task.cameras.width_px), or raise the limit here and at the server"
            )
        answer = self._exchanged(frame)
        try:
            return wire.decode(answer)
        except WireError as error:
            raise self._not_understood(error) from None

    def _exchanged(self, frame: bytes) -> bytes:
        from websockets.exceptions import ConnectionClosed

        self._refuse_unasked()
        try:
            self._socket.send(frame)
        except (ConnectionClosed, OSError) as error:
            # The server's reason, a traceback perhaps, may have come before the end.
            self._refuse_oversized(error)
            with contextlib.suppress(UnreachableError):
                return self._receive(CLOSE_S)
            raise UnreachableError(_reason(error)) from None
        return self._receive(self._reply_timeout_s)

    def _refuse_unasked(self) -> None:
        """A frame that waits before a request is made would be taken for its answer, and so on to the end."""
        try:
            self._receive(0)
        except UnreachableError:
            return
        raise PolicyServerError(f"the policy server at {self._url} sent an answer that nobody asked for")

    def close(self) -> None:
        """Say good-bye."""
        self._socket = None
        self._stack.close()

    def _receive(self, timeout_s: float) -> bytes:
        from websockets.exceptions import ConnectionClosed

        try:
            frame = self._socket.recv(timeout=timeout_s)
        except TimeoutError:
            raise UnreachableError(f"no answer within {timeout_s:g} s") from None
        except (ConnectionClosed, OSError, EOFError) as error:
            self._refuse_oversized(error)
            raise UnreachableError(_reason(error)) from None
        if isinstance(frame, str):
            raise PolicyServerError(f"the policy server at {self._url} failed: {last_line(frame)}")
        whole: bytes = frame
        return whole

    def _not_understood(self, error: Exception) -> PolicyServerError:
        return PolicyServerError(f"the policy server at {self._url} sent what is no message: {error}")

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
        with (
            contextlib.closing(self._connected()) as connection,
            _Deadline(connection.sock, self._reply_timeout_s) as end,
        ):
            try:
                connection.request("POST", self._path, body, self._headers)
                response = connection.getresponse()
                answer = response.read(self._frame_limit + 1)
                missing = response.length if len(answer) <= self._frame_limit else 0
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise UnreachableError(end.reason(error)) from None
        if missing:
            raise UnreachableError(end.reason(f"its answer broke off {missing} bytes before the end"))
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
            raise UnreachableError(_reason(error)) from None
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
            said = shortened(answer[:HTTP_SHOWN].decode(errors="replace"))
            raise PolicyServerError(f"the policy server at {self._shown} answers HTTP {status}: {said}")
        try:
            value = wire.from_json(answer)
            if isinstance(value, str) and value != "error":  # the double-encoded variant
                value = wire.from_json(value)
        except WireError as error:
            raise PolicyServerError(f"the policy server at {self._shown} sent what is no message: {error}") from None
        if isinstance(value, str):
            raise PolicyServerError(
                f"the policy server at {self._shown} failed and says no more than {shown(value)}; its own log has "
                "the reason"
            )
        return value


class _Deadline:
    """Ends a connection at a time: a socket's own timeout begins anew with every byte that comes."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection, self._seconds, self._passed = connection, seconds, False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._connection.settimeout(None)
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def reason(self, error: Exception | str) -> str:
        """Why there is no answer: it came too late, or as the error says."""
        if self._passed:
            return f"no answer within {self._seconds:g} s"
        return error if isinstance(error, str) else _reason(error)

    def _end(self) -> None:
        self._passed = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)


def in_few_pieces(kind: Any) -> Any:
    """A kind of websocket connection that refuses a message in more than FRAGMENTS pieces.

    The library bounds the bytes of a message, not its pieces, and an empty one takes a hundred times its bytes.
    """

    class InFewPieces(kind):  # type: ignore[misc]
        _pieces = 0

        def process_event(self, event: Any) -> None:
            if getattr(event, "opcode", CONTROL) < CONTROL:
                self._pieces = 0 if event.fin else self._pieces + 1
                if self._pieces > FRAGMENTS:
                    with self.protocol_mutex:
                        self.protocol.fail(TOO_BIG, f"more than {FRAGMENTS} pieces")
                        self.send_data()
                    return
            super().process_event(event)

    return InFewPieces


def _reason(error: BaseException) -> str:
    return shortened(str(error) or type(error).__name__)
