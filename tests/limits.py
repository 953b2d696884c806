"""How long a test waits for a process or an answer before it says that it hangs."""

from __future__ import annotations

import time


def slowness() -> float:
    """How many times longer a short calculation takes, here and now, than on an idle core; at least 1."""
    began = time.perf_counter()
    sum(number * number for number in range(200_000))
    return max(1.0, (time.perf_counter() - began) / 0.015)


HANG_S = 1800.0 * slowness()
"""No measure of speed: what runs is far below it on any machine, however busy, and what hangs ends."""
