"""Jobs that are killed and done again, by the machinery of ``make verify WHAT=kills``, few and small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.limits import HANG_S

ROOT = Path(__file__).parents[2]


def test_jobs_that_are_killed_lose_nothing_and_end_as_if_they_had_not_been():
    words = ["-m", "tests.verify.kills", "--rounds", "2", "--ends", "0", "--only", "train again,rollout"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=HANG_S, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "holds: nothing is lost in 4 kills of 2 jobs" in " ".join(done.stdout.split())
