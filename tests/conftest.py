"""Marks the slow tests, and says in every run whether images were drawn: without a GL library those are skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # a busy machine is slow: no example has a time limit

SLOW = frozenset(
    line for line in Path(__file__).with_name("slow.txt").read_text().splitlines() if line and line[0] != "#"
)
"""Functions, classes and files that ``make test-quick`` leaves out."""


def pytest_collection_modifyitems(items: list[Any]) -> None:
    for item in items:
        names = {item.path.name, *(node.name.partition("[")[0] for node in item.listchain())}
        if names & SLOW:
            item.add_marker("slow")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = {kind: terminalreporter.stats.get(kind, []) for kind in ("passed", "failed", "skipped")}
    cameras = {kind: [each for each in found if "test_cameras" in each.nodeid] for kind, found in reports.items()}
    if any(cameras.values()):
        told = ", ".join(f"{len(found)} {kind}" for kind, found in cameras.items())
        reasons = sorted({each.longrepr[2] for each in cameras["skipped"]})
        terminalreporter.write_line(f"camera tests: {told}" + "".join(f"\n  {reason}" for reason in reasons))
