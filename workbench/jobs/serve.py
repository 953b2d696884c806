"""A policy of ours behind openpi's websocket protocol."""

from __future__ import annotations

import signal
import threading

from workbench.config import Run, build
from workbench.rollouts.worker import weights_digest

SERVER = "workbench.policies.server.PolicyServer"


def run(run: Run, host: str, port: int, allow_remote: bool, frame_limit_mib: int) -> None:
    """Serve the policy until SIGINT or SIGTERM; then end every connection and exit with 0."""
    policy = run.policy()
    settings = {"host": host, "port": port, "allow_remote": allow_remote, "frame_limit_mib": frame_limit_mib}
    weights = weights_digest(run.checkpoint)
    server = build({"_target_": SERVER, **settings}, policy=policy, task=run.task, weights=weights, seed=run.seed)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # Plain lines, at once: whoever started this as a child reads the address from here.
    print(f"serving {type(policy).__name__} for task {run.task.name} at {server.url}  (stop with Ctrl-C)", flush=True)
    server.serve(stop)
    print("stopped", flush=True)
