"""Says in every run whether images were drawn: without a GL library those tests are skipped."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = {kind: terminalreporter.stats.get(kind, []) for kind in ("passed", "failed", "skipped")}
    cameras = {kind: [each for each in found if "test_cameras" in each.nodeid] for kind, found in reports.items()}
    if any(cameras.values()):
        told = ", ".join(f"{len(found)} {kind}" for kind, found in cameras.items())
        reasons = sorted({each.longrepr[2] for each in cameras["skipped"]})
        terminalreporter.write_line(f"camera tests: {told}" + "".join(f"\n  {reason}" for reason in reasons))
