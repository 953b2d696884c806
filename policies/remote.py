"""A policy behind a server: asked over a wire, rolled, perturbed and monitored like any other.

Three protocols: ``openpi`` (websocket, msgpack), ``openvla`` and ``openvla_oft`` (HTTP, JSON).  What a request holds is
a *layout*, see :mod:`workbench.policies.wire.payloads`; ``ours`` is that of ``workbench serve``::

    observation/<key>   (history, size)     as the policy would be handed it in this process
    images/<camera>     (H, W, 3) uint8     the present one
    prompt              str                 what is told
    sampling/n          int                 B, how many further chunks are wanted (all layouts of openpi's protocol)
    sampling/noise      map                 state of the generator of the call's noise (the same)
    sampling/signals    list of str         what else is to be said of the call (the same), where anything is asked

and its answer ``actions`` (H, A), ``samples`` (B, H, A), ``embedding`` (D,) and ``signals/<name>``.  A stock server
ignores keys that it does not know.  If it was extended, the same keys of its answers are used, ``features/<name>`` for
the embedding, and ``token_logprobs`` and ``token_entropies`` (L,); by HTTP the answer then is a map, too.

Sources of the protocols: openpi's ``openpi-client`` and ``serve_policy.py`` (Physical Intelligence, 2025), the
``vla-scripts/deploy.py`` of OpenVLA (Kim et al., CoRL 2024) and of OpenVLA-OFT (Kim et al., RSS 2025).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import CheckpointError, ConfigError, PolicyServerError, UnknownNameError
from workbench.policies.wire.connections import (
    MIB,
    HttpTransport,
    PatientServer,
    Transport,
    WebsocketTransport,
    parse_url,
    shortened,
)
from workbench.policies.wire.payloads import LAYOUTS, noise_record
from workbench.types import Array, Observation, PolicyOutput, Record, Task
from workbench.types.abilities import fingers_for, image_sizes_of

OURS = "ours"
PROTOCOLS: Mapping[str, tuple[str, ...]] = {
    "openpi": (OURS, "libero", "droid"),
    "openvla": ("openvla",),
    "openvla_oft": ("openvla_oft",),
}
"""Protocol -> layouts that it carries."""
TOKENS = ("token_logprobs", "token_entropies")
"""Signals that servers of policies which decode tokens can give: (L,) in nats of each token of the call."""
IDENTITY = "workbench"
"""Key of a server's metadata under which ``workbench serve`` says what it serves."""
DESCRIBED: Mapping[str, type] = {
    "policy": str,
    "weights": str,
    "task": str,
    "history": int,
    "horizon": int,
    "execute": int,
    "listens": bool,
    "cameras": dict,
    "observations": dict,
    "action_size": int,
    "signals": list,
}
"""What it says there: see :func:`workbench.policies.server.description`."""


class RemotePolicy:
    """Asks a server for chunks, one scene after the other.

    The protocols are strictly request and answer, one in flight on a connection, and a stock server infers one request
    at a time: a second connection would wait for the first one's turn.

    Parameters
    ----------
    task : that it will drive; refused if it cannot fill the layout, or the server's policy was made for another.
    protocol : ``openpi``, ``openvla`` or ``openvla_oft``.
    url : where the server is.
    layout : of the requests; None for the protocol's only one.
    horizon, execute : actions in a chunk, and how many are run; None for what the server says (``ours`` alone).
    cameras : of the task, the outer one first; None for what the server says (``ours`` alone).
    unnorm_key : name of the data set by whose statistics an OpenVLA server scales its actions.
    double_encoded : whether an HTTP server wants JSON within JSON.
    api_key_env : name of the environment's variable that holds the server's key; the key itself is stored nowhere.
    allow_remote : whether the server may be another machine.
    connect_timeout_s, reply_timeout_s : how long to wait for a connection, and for an answer.
    retries, backoff_s : see :class:`workbench.policies.wire.connections.PatientServer`.
    frame_limit_mib : size of the largest message, both ways.

    Attributes
    ----------
    metadata : what the server says of itself.
    signals : what can be asked of it: what a server of ours says, else :data:`TOKENS` and the list of names that the
        server's metadata may hold as ``signals``.

    Raises
    ------
    ConfigError
        If the settings contradict one another, or task and layout or server do not fit.
    PolicyServerError
        If the server is not reached.
    """

    privileged: bool = False
    listens: bool = True

    def __init__(
        self,
        task: Task,
        *,
        protocol: str = "openpi",
        url: str = "ws://127.0.0.1:8000",
        layout: str | None = None,
        horizon: int | None = None,
        execute: int | None = None,
        cameras: Sequence[str] | None = None,
        unnorm_key: str | None = None,
        double_encoded: bool = False,
        api_key_env: str | None = None,
        allow_remote: bool = False,
        connect_timeout_s: float = 10.0,
        reply_timeout_s: float = 120.0,
        retries: int = 5,
        backoff_s: float = 0.5,
        frame_limit_mib: int = 64,
    ) -> None:
        self.task, self.layout = task, _layout_of(protocol, layout)
        for name, value in (("connect_timeout_s", connect_timeout_s), ("reply_timeout_s", reply_timeout_s)):
            if not 0.0 < value < np.inf:
                raise ConfigError(f"policy.{name}={value!r} must be a positive number of seconds")
        if retries < 0 or backoff_s < 0 or frame_limit_mib < 1:
            raise ConfigError(
                f"policy.retries={retries} and policy.backoff_s={backoff_s} must be 0 or more, "
                f"policy.frame_limit_mib={frame_limit_mib} at least 1"
            )
        schemes = ("ws", "wss") if protocol == "openpi" else ("http", "https")
        parts = parse_url(url, schemes, allow_remote)
        self._extra: Record = {"unnorm_key": unnorm_key} if protocol == "openvla" else {}
        self._extends = protocol == "openpi"
        if self.layout != OURS:
            self._take_up_layout(horizon, execute, cameras)
        waits = (_authorisation(api_key_env), connect_timeout_s, reply_timeout_s, frame_limit_mib * MIB)
        transport: Transport = (
            WebsocketTransport(url, *waits) if protocol == "openpi" else HttpTransport(parts, *waits, double_encoded)
        )
        self._server = PatientServer(transport, url, retries=retries, backoff_s=backoff_s)
        self.metadata: Record = self._server.connect()
        self.signals: tuple[str, ...] = (*TOKENS, *_names(self.metadata.get("signals")))
        self._signal_shapes: dict[str, tuple[int, ...]] = {}
        if self.layout == OURS:
            self._take_up_description(horizon, execute, cameras)

    def plan(
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        instructions: Sequence[str] | None = None,
        signals: Sequence[str] = (),
    ) -> PolicyOutput:
        """One request a scene; see :class:`workbench.types.Policy`.

        The generators are sent as they are, where the protocol can, and are not advanced.

        Raises
        ------
        PolicyServerError
            If the server fails, is not reached for too long, or answers what it must not.
        """
        told = [self.task.instruction] * len(noise) if instructions is None else instructions
        answers, said = [], []
        for scene, (generator, instruction) in enumerate(zip(noise, told, strict=True)):
            seen = {key: values[scene] for key, values in observation.items()}
            request = self._request(seen, instruction)
            if self._extends:
                request |= {"sampling/n": samples, "sampling/noise": noise_record(generator)}
                request |= {"sampling/signals": list(signals)} if signals else {}
            answer = self._as_record(self._server.ask(request))
            answers.append(self._understood(answer, samples))
            said.append([self._signal(name, answer) for name in signals])
        chunk, drawn, features = (_stacked(parts) for parts in zip(*answers, strict=True))
        assert chunk is not None
        given = zip(signals, zip(*said, strict=True), strict=True) if signals else ()
        return PolicyOutput(chunk, drawn, features, {name: np.stack(values) for name, values in given})

    def save(self, folder: Path) -> None:
        """Refused: the weights are the server's."""
        raise CheckpointError("a policy behind a server cannot be saved: its weights are the server's")

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        self._server.close()

    def _take_up_layout(self, horizon: int | None, execute: int | None, cameras: Sequence[str] | None) -> None:
        for name, value in (("horizon", horizon), ("execute", execute)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(
                    f"policy.{name}={value!r} must be a whole number of at least 1: the server does not say it"
                )
        assert horizon is not None
        assert execute is not None
        if execute > horizon:
            raise ConfigError(f"policy.execute={execute} must not exceed policy.horizon={horizon}")
        if cameras is None:
            raise ConfigError(f"policy.cameras must name those of the task for {LAYOUTS[self.layout].images}")
        LAYOUTS[self.layout].refuse(self.layout, self.task, cameras)
        self.history, self.horizon, self.execute = 1, horizon, execute
        self.cameras: tuple[str, ...] = tuple(cameras)

    def _take_up_description(self, horizon: int | None, execute: int | None, cameras: Sequence[str] | None) -> None:
        """Take what a server of ours says, if it fits the task and what was asked for."""
        said: Any = self.metadata.get(IDENTITY)
        if not isinstance(said, dict) or {key: type(said.get(key)) for key in DESCRIBED} != DESCRIBED:
            raise ConfigError(
                f"the server is no `workbench serve`: it says of itself {shortened(self.metadata)}; choose "
                f"policy.layout={' or '.join(PROTOCOLS['openpi'][1:])}"
            )
        self._refuse_task(said)
        for name, wanted in (("horizon", horizon), ("cameras", cameras)):
            has = list(said[name]) if name == "cameras" else said[name]
            if wanted is not None and wanted != has:
                raise ConfigError(f"policy.{name}={wanted} was asked for, but the server's policy has {has}")
        self.history, self.horizon = said["history"], said["horizon"]
        self.execute = said["execute"] if execute is None else execute
        if not 1 <= self.execute <= self.horizon:
            raise ConfigError(f"policy.execute={self.execute} must be in 1..{self.horizon}, the server's horizon")
        self.cameras = tuple(said["cameras"])
        self._keys = tuple(said["observations"])
        self.signals = _names(said["signals"])

    def _refuse_task(self, said: Record) -> None:
        if said["task"] != self.task.name:
            raise ConfigError(
                f"the server's {said['policy']} was made for task {said['task']!r}, not {self.task.name!r}; serve one "
                f"for {self.task.name!r}, or choose task={said['task']}"
            )
        have = dict(self.task.observation_sizes)
        for key, size in said["observations"].items():
            if have.get(key) != size:
                raise ConfigError(
                    f"the server's {said['policy']} reads observation {key!r} of length {size}; the task has {have}"
                )
        if said["action_size"] != self.task.action_size:
            raise ConfigError(
                f"the server's {said['policy']} gives actions of size {said['action_size']}; the task takes "
                f"{self.task.action_size} (task.controller)"
            )
        taken = image_sizes_of(self.task)
        for camera, size in said["cameras"].items():
            if camera not in taken or size != list(taken[camera]):
                raise ConfigError(
                    f"the server's {said['policy']} sees camera {camera!r} at {size} pixels; add 'task.cameras="
                    f"{{names: [{','.join(said['cameras'])}], height_px: {size[0]}, width_px: {size[1]}}}'"
                )

    def _request(self, seen: Mapping[str, Array], instruction: str) -> Record:
        images = {camera: seen[f"images/{camera}"] for camera in self.cameras}
        if self.layout == OURS:
            vectors = {f"observation/{key}": seen[key] for key in self._keys}
            pictures = {f"images/{camera}": image for camera, image in images.items()}
            return {**vectors, **pictures, "prompt": instruction}
        present = {key: values[-1] for key, values in seen.items() if not key.startswith("images/")}
        fingers = fingers_for(self.task, f"layout {self.layout}")
        return LAYOUTS[self.layout].request(present, list(images.values()), instruction, fingers) | self._extra

    def _as_record(self, answer: Any) -> Record:
        """An answer as a map with actions: a stock server by HTTP answers with the actions alone."""
        if not self._extends:
            whole = answer if isinstance(answer, dict) else {"actions": answer}
            answer = {**whole, "actions": _chunk_of(whole["actions"])} if "actions" in whole else whole
        if not isinstance(answer, dict) or "actions" not in answer:
            raise PolicyServerError(f"the policy server's answer has no actions: {shortened(answer)}")
        return answer

    def _understood(self, record: Record, samples: int) -> tuple[Array, Array | None, Array | None]:
        """Chunk (H, A), samples (B, H, A) and embedding (D,) of an answer, checked."""
        shape = (self.horizon, self.task.action_size)
        chunk = self._actions("actions", record["actions"], shape)
        drawn = None
        if samples and record.get("samples") is not None:
            drawn = self._actions("samples", record["samples"], (samples, *shape))
        return chunk, drawn, _embedding(record)

    def _signal(self, name: str, record: Record) -> Array:
        """A signal (...) of an answer; of one shape in all of them, as it is stored call by call."""
        values = record.get(f"signals/{name}", record.get(name) if name in TOKENS else None)
        if values is None:
            raise PolicyServerError(
                f"the policy server's answer has no signal {name!r}: leave it out of rollout.signals, or extend the "
                "server (docs/servers.md)"
            )
        signal = _finite(f"signal {name}", values)
        if name in TOKENS and signal.ndim != 1:
            raise PolicyServerError(f"the policy server's {name} are {list(signal.shape)}, must be (L,), one a token")
        if self._signal_shapes.setdefault(name, signal.shape) != signal.shape:
            raise PolicyServerError(
                f"the policy server's {name} are of shape {signal.shape} and before of {self._signal_shapes[name]}: "
                "have it fill up to the largest number of tokens, log probabilities with 1 and entropies with -1"
            )
        return signal

    def _actions(self, name: str, values: Any, shape: tuple[int, ...]) -> Array:
        actions = _finite(name, values)
        if actions.shape != shape:
            raise PolicyServerError(
                f"the policy server's {name} are of shape {actions.shape}, must be {shape} (policy.horizon="
                f"{self.horizon}, actions of {self.task.action_size} numbers, rollout.samples)"
            )
        return actions if self.layout == OURS else LAYOUTS[self.layout].to_action(actions)


def _layout_of(protocol: str, layout: str | None) -> str:
    if protocol not in PROTOCOLS:
        raise UnknownNameError("policy.protocol", str(protocol), PROTOCOLS)
    carried = PROTOCOLS[protocol]
    chosen = carried[0] if layout is None else layout
    if chosen not in carried:
        raise UnknownNameError(f"policy.layout of protocol {protocol}", str(chosen), carried)
    return chosen


def _authorisation(variable: str | None) -> dict[str, str]:
    """Header with the key that a variable of the environment holds."""
    if variable is None:
        return {}
    key = os.environ.get(variable, "")
    if not key or not key.isprintable():
        raise ConfigError(f"policy.api_key_env={variable}: the environment has no such variable, or it holds no key")
    return {"Authorization": f"Api-Key {key}"}


def _chunk_of(answer: Any) -> Any:
    """Actions (H, A) of an HTTP answer: one action (A,), or a list of them."""
    if isinstance(answer, list) and all(isinstance(action, (np.ndarray, list)) for action in answer):
        try:
            return np.stack([np.asarray(action) for action in answer]) if answer else answer
        except ValueError:
            raise PolicyServerError("the policy server's actions are of different lengths") from None
    return answer[None] if isinstance(answer, np.ndarray) and answer.ndim == 1 else answer


def _names(listed: Any) -> tuple[str, ...]:
    """The names in a list that a server gives, if it gives any."""
    return tuple(name for name in listed if isinstance(name, str)) if isinstance(listed, list) else ()


def _finite(name: str, values: Any) -> Array:
    """Numbers, all finite, in an array of this process's own: what comes off the wire is read-only."""
    try:
        array = np.array(values)
    except ValueError:
        array = np.array(None)
    if array.dtype.kind not in "iuf":
        raise PolicyServerError(f"the policy server's {name} are no numbers: {shortened(values)}")
    if not array.size or not np.isfinite(array).all():
        raise PolicyServerError(f"the policy server's {name} hold NaN or infinity, or nothing")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _embedding(record: Record) -> Array | None:
    """(D,) from ``embedding``, or all ``features/...`` end to end, each its mean over all axes but the last."""
    keys = (
        ["embedding"]
        if record.get("embedding") is not None
        else sorted(key for key in record if isinstance(key, str) and key.startswith("features"))
    )
    parts = [_finite(key, record[key]) for key in keys]
    vectors = [part.reshape(-1, part.shape[-1]).mean(axis=0) if part.ndim > 1 else part.reshape(-1) for part in parts]
    return np.concatenate(vectors) if vectors else None


def _stacked(parts: Sequence[Array | None]) -> Array | None:
    """(N, ...) of all scenes; None where no scene was given any."""
    given = [part for part in parts if part is not None]
    if not given:
        return None
    if len(given) < len(parts) or len({part.shape for part in given}) > 1:
        raise PolicyServerError(
            "the policy server gives samples or features of some scenes and not, or others, of the rest"
        )
    return np.stack(given)
