"""A policy of ours behind openpi's websocket protocol."""

from __future__ import annotations

from typing import Annotated

from workbench.config import Run
from workbench.rollouts.serving import serve
from workbench.types import Positive, Record
from workbench.types.reading import Between

Port = Annotated[int, Between(0, 2**16 - 1)]


def run(run: Run, server: Record, host: str, port: Port, allow_remote: bool, frame_limit_mib: Positive) -> None:
    """Serve the policy until SIGINT or SIGTERM."""
    settings = {"host": host, "port": port, "allow_remote": allow_remote, "frame_limit_mib": frame_limit_mib}
    serve(run.policy(), run.task, server=server | settings, seed=run.seed)
