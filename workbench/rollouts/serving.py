"""A policy of ours behind openpi's websocket protocol, and what the server of somebody else's says of itself."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import build, origin_of, shown, weights_digest
from workbench.errors import StoreError
from workbench.types import Policy, Record, Task

SERVER: Record = {"_target_": "workbench.policies.server.PolicyServer"}
"""What serves, with its settings: host, port, allow_remote, frame_limit_mib."""
SHOWN = 300
"""How many letters of what two servers say are shown, where they differ."""


def serve(policy: Policy, task: Task, *, server: Mapping[str, Any] = SERVER, seed: int = 0) -> None:
    """Serve a policy until SIGINT or SIGTERM; then end every connection."""
    origin = origin_of(policy)
    weights = weights_digest(origin.weights) if origin else ""
    made = build(server, policy=policy, task=task, weights=weights, seed=seed)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # Plain lines, at once: whoever started this as a child reads the address from here.
    print(f"serving {type(policy).__name__} for task {task.name} at {made.url}  (stop with Ctrl-C)", flush=True)
    made.serve(stop)
    print("stopped", flush=True)


def same_server(policy: Policy, before: str | None, store: Path) -> str | None:
    """What the server of a remote policy says of itself; None for a policy that has none.

    Raises
    ------
    StoreError
        if another server began the store: it may not go on with what the first began.
    """
    if not hasattr(policy, "metadata"):
        return None
    said = json.dumps(policy.metadata, default=_in_full, skipkeys=True)
    if before not in (None, said) and store.exists():
        raise StoreError(
            f"{shown(store)} was begun with a server that says {before[:SHOWN]}, and this one says {said[:SHOWN]}; "
            "choose another name=... and store=..., or move both away"
        )
    return said


def _in_full(value: Any) -> str:
    """What JSON has no form for, as text; of an array every number, in all of its digits."""
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        return str(value)
