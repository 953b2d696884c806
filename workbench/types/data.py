"""Arrays, observations and plain records: what everything else is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Observation = Mapping[str, Array]
"""What the robot sees at one control step: name -> vector."""
Record = dict[str, Any]
"""Plain data (str, int, float, bool, None, list, dict) that survives a trip through JSON."""
