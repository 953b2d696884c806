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

from workbench.errors import CheckpointError, ConfigError, PolicyServerError, UnknownNameError, WireError
from workbench.policies.wire.connections import (
    HttpTransport,
    PatientServer,
    Transport,
    WebsocketTransport,
    parse_url,
)
from workbench.policies.wire.limits import FRAME_MIB, HORIZON, MIB, flag, names, seconds, whole
from workbench.policies.wire.messages import IDENTITY, TOKENS, Answer, Description, Request, signals_of
from workbench.policies.wire.payloads import LAYOUTS
from workbench.policies.wire.shown import shown
from workbench.types import Array, Observation, PolicyOutput, Record, Task
from workbench.types.abilities import fingers_for, image_sizes_of

OURS = "ours"
PROTOCOLS: Mapping[str, tuple[str, ...]] = {
    "openpi": (OURS, "libero", "droid"),
    "openvla": ("openvla",),
    "openvla_oft": ("openvla_oft",),
}
"""Protocol -> layouts that it carries."""


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
        flag("policy.double_encoded", double_encoded)
        whole("policy.retries", retries, 0, 1000)
        whole("policy.frame_limit_mib", frame_limit_mib, 1, FRAME_MIB)
        waits = (
            seconds("policy.connect_timeout_s", connect_timeout_s, 1e-3),
            seconds("policy.reply_timeout_s", reply_timeout_s, 1e-3),
        )
        backoff_s = seconds("policy.backoff_s", backoff_s, 0.0)
        schemes = ("ws", "wss") if protocol == "openpi" else ("http", "https")
        parts = parse_url(url, schemes, flag("policy.allow_remote", allow_remote))
        self._extra: Record = {"unnorm_key": unnorm_key} if protocol == "openvla" else {}
        self._extends = protocol == "openpi"
        if self.layout != OURS:
            self._take_up_layout(horizon, execute, cameras)
        settings = (_authorisation(api_key_env), *waits, frame_limit_mib * MIB)
        transport: Transport = (
            WebsocketTransport(parts, *settings)
            if protocol == "openpi"
            else HttpTransport(parts, *settings, double_encoded)
        )
        self._server = PatientServer(transport, url, retries=retries, backoff_s=backoff_s)
        self.metadata: Record = self._server.connect()
        self.signals: tuple[str, ...] = tuple(dict.fromkeys((*TOKENS, *signals_of(self.metadata))))
        self._shapes: dict[str, tuple[int, ...] | None] = {}
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
        answers = []
        for scene, (generator, instruction) in enumerate(zip(noise, told, strict=True)):
            seen = {key: values[scene] for key, values in observation.items()}
            request = Request(*self._shown(seen, instruction), samples, generator, tuple(signals))
            if self.layout == OURS:
                request.refuse_other(self._served)
            said = self._server.ask(request.record(self._extends) | self._extra)
            answers.append(self._understood(said, samples, signals))
        return PolicyOutput(
            np.stack([self._to_action(answer.actions) for answer in answers]),
            _stacked([None if answer.samples is None else self._to_action(answer.samples) for answer in answers]),
            _stacked([answer.embedding for answer in answers]),
            {name: np.stack([answer.signals[name] for answer in answers]) for name in signals},
        )

    def save(self, folder: Path) -> None:
        """Refused: the weights are the server's."""
        raise CheckpointError("a policy behind a server cannot be saved: its weights are the server's")

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        self._server.close()

    def _take_up_layout(self, horizon: int | None, execute: int | None, cameras: Sequence[str] | None) -> None:
        for name, value in (("horizon", horizon), ("execute", execute)):
            if value is None:
                raise ConfigError(f"policy.{name} must be given: the server does not say it")
        self.history, self.horizon = 1, whole("policy.horizon", horizon, 1, HORIZON)
        self.execute = whole("policy.execute", execute, 1, HORIZON)
        if self.execute > self.horizon:
            raise ConfigError(f"policy.execute={execute} must not exceed policy.horizon={horizon}")
        if cameras is None:
            raise ConfigError(f"policy.cameras must name those of the task for {LAYOUTS[self.layout].images}")
        self.cameras: tuple[str, ...] = names("policy.cameras", cameras)
        LAYOUTS[self.layout].refuse(self.layout, self.task, self.cameras)

    def _take_up_description(self, horizon: int | None, execute: int | None, cameras: Sequence[str] | None) -> None:
        """Take what a server of ours says, if it fits the task and what was asked for."""
        try:
            said = Description.read(self.metadata.get(IDENTITY))
        except ConfigError as error:
            raise ConfigError(
                f"the server is no `workbench serve`: {error}. It says of itself {shown(self.metadata)}; choose "
                f"policy.layout={' or '.join(PROTOCOLS['openpi'][1:])}"
            ) from None
        self._refuse_task(said)
        for name, wanted, has in (("horizon", horizon, said.horizon), ("cameras", cameras, list(said.cameras))):
            if wanted is not None and wanted != has:
                raise ConfigError(f"policy.{name}={wanted} was asked for, but the server's policy has {has}")
        self.history, self.horizon = said.history, said.horizon
        self.execute = said.execute if execute is None else whole("policy.execute", execute, 1, said.horizon)
        self.cameras, self.signals, self._served = tuple(said.cameras), said.signals, said

    def _refuse_task(self, said: Description) -> None:
        if said.task != self.task.name:
            raise ConfigError(
                f"the server's {shown(said.policy)} was made for task {shown(said.task)}, not {self.task.name!r}; "
                f"serve one for {self.task.name!r}, or choose task={shown(said.task)}"
            )
        have = dict(self.task.observation_sizes)
        for key, size in said.observations.items():
            if have.get(key) != size:
                raise ConfigError(
                    f"the server's {shown(said.policy)} reads observation {key!r} of length {size}; the task has {have}"
                )
        if said.action_size != self.task.action_size:
            raise ConfigError(
                f"the server's {shown(said.policy)} gives actions of size {said.action_size}; the task takes "
                f"{self.task.action_size} (task.controller)"
            )
        taken = image_sizes_of(self.task)
        for camera, (height, width) in said.cameras.items():
            if camera not in taken or (height, width) != tuple(taken[camera]):
                raise ConfigError(
                    f"the server's {shown(said.policy)} sees camera {camera!r} at {[height, width]} pixels; add "
                    f"'task.cameras={{names: [{','.join(said.cameras)}], height_px: {height}, width_px: {width}}}'"
                )

    def _shown(self, seen: Mapping[str, Array], instruction: str) -> tuple[Record, str, str]:
        """Arrays of a request, the instruction, and the key of the instruction."""
        if self.layout == OURS:
            return {key: seen[key.removeprefix("observation/")] for key in self._served.arrays}, instruction, "prompt"
        layout, images = LAYOUTS[self.layout], [seen[f"images/{camera}"] for camera in self.cameras]
        present = {key: values[-1] for key, values in seen.items() if not key.startswith("images/")}
        arrays = layout.arrays(present, images, fingers_for(self.task, f"layout {self.layout}"))
        return arrays, instruction, layout.prompt

    def _understood(self, said: Any, samples: int, signals: Sequence[str]) -> Answer:
        """An answer, checked; a stock server by HTTP answers with the actions alone."""
        if not self._extends:
            whole_answer = said if isinstance(said, dict) else {"actions": said}
            said = {key: _chunk_of(value) if key == "actions" else value for key, value in whole_answer.items()}
        try:
            answer = Answer.read(said, (self.horizon, self.task.action_size), samples, signals)
        except WireError as error:
            raise PolicyServerError(f"the policy server's {error}") from None
        self._refuse_changes({"embedding": answer.embedding, **answer.signals})
        if samples:
            self._refuse_changes({"samples": answer.samples})
        return answer

    def _refuse_changes(self, parts: Mapping[str, Array | None]) -> None:
        """A part of an answer is of one shape in all of them, or in none: calls are stored, and scored, together."""
        for name, values in parts.items():
            shape = None if values is None else values.shape[1:] if name == "samples" else values.shape
            if self._shapes.setdefault(name, shape) == shape:
                continue
            hint = (
                ": have it fill up to the largest number of tokens, log probabilities with 1 and entropies with -1"
                if name in TOKENS
                else ": they must be alike in all of its answers, not of some scenes alone"
            )
            now, before = ("not given" if each is None else f"of shape {each}" for each in (shape, self._shapes[name]))
            raise PolicyServerError(
                f"the policy server's {name} are {now} and before {before.replace('of shape', 'of')}{hint}"
            )

    def _to_action(self, actions: Array) -> Array:
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
    if not isinstance(variable, str):
        raise ConfigError(f"policy.api_key_env={shown(variable)} must be the name of a variable of the environment")
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


def _stacked(parts: Sequence[Array | None]) -> Array | None:
    """(N, ...) of all scenes; None where no scene was given any."""
    given = [part for part in parts if part is not None]
    return np.stack(given) if given else None
