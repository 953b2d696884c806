"""A language model behind a server of this machine, asked by the chat protocol that most servers speak."""

from __future__ import annotations

import http.client
import ipaddress
import json
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

from workbench.errors import ConfigError, PolicyServerError, WireError
from workbench.types.reading import Size, Source, checked, parsed, shown

MOST_BYTES = 2**20
"""Of an answer."""
_ANSWER = Annotated[str, Size(0, MOST_BYTES)]


def address(url: str | None, who: str) -> tuple[str, int, str]:
    """Host, port and path of a server of this machine; ConfigError for none, and for any other machine."""
    key = f"attributor.{who}.url"
    if not url:
        raise ConfigError(
            f"attributor {who} asks a language model, and no server is named: start one on this machine and set "
            f"{key}=http://127.0.0.1:8000/v1"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError as error:
        raise ConfigError(f"{key}={shown(url)} is no address: {error}") from None
    if parts.scheme != "http" or not host or parts.username or parts.password or parts.query:
        raise ConfigError(f"{key}={shown(url)} must be http://127.0.0.1:PORT/v1, without password or query")
    if not _is_loopback(host):
        raise ConfigError(f"{key}={shown(url)} is not this machine: logs leave it by no attributor; use a tunnel to it")
    return host, port, parts.path.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def ask(where: tuple[str, int, str], model: str, messages: Sequence[dict[str, str]], timeout_s: float) -> str:
    """What the model answers to some messages, with a temperature of 0.

    Raises
    ------
    PolicyServerError
        if the server is not reached, too slow, or refuses.
    WireError
        if its answer is not what the protocol says.
    """
    host, port, path = where
    body = json.dumps({"model": model, "messages": list(messages), "temperature": 0, "stream": False})
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    at = f"the language model at {host}:{port}"
    try:
        connection.request("POST", f"{path}/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        received = response.read(MOST_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise PolicyServerError(f"{at} does not answer ({type(error).__name__}): start it, and run again") from None
    finally:
        connection.close()
    if response.status != 200:
        raise PolicyServerError(f"{at} refuses with status {response.status}: {shown(received[:200].decode('latin1'))}")
    return _content(received, at)


def _content(received: bytes, at: str) -> str:
    """The text of the first choice of an answer."""
    if len(received) > MOST_BYTES:
        raise WireError(f"{at} answers with more than {MOST_BYTES} bytes")
    source = Source(f"the answer of {at}", WireError)
    try:
        text = received.decode("utf-8")
    except UnicodeDecodeError:
        raise source.wrong("is no text") from None
    answer = checked(dict[str, Any], parsed(text, source), source)
    choices = checked(Annotated[list[dict[str, Any]], Size(1, 100)], answer.get("choices"), source, "choices")
    message = checked(dict[str, Any], choices[0].get("message"), source, "choices[0].message")
    content: str = checked(_ANSWER, message.get("content"), source, "choices[0].message.content")
    return content
