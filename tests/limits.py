"""How long a test waits for a process or an answer before it says that it hangs."""

from __future__ import annotations

HANG_S = 1800.0
"""No measure of speed: what runs is far below it on any machine, however busy, and what hangs ends."""
