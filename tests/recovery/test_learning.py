"""What a recovery head learns from does not depend on who finished first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.toy import ToyPolicy, ToyTask
from workbench.recovery import learning
from workbench.recovery.learning import Batch, verified_recoveries
from workbench.rollouts.setup import Setup
from workbench.types import Demonstration


class LastFirst:
    """An executor whose last item is finished first."""

    workers, scenes = 2, 1

    def map_unordered(self, function: Any, items: Any) -> Any:
        return map(function, reversed(items))


def test_recoveries_come_in_the_order_of_their_episodes(monkeypatch):
    """The head of earlier versions held out other demonstrations with two workers than with one."""

    def recovered(numbered):
        place, batch = numbered
        said = [[Demonstration({}, np.zeros((1, 1)), str(number))] for number, _ in batch.starts]
        return place, said

    monkeypatch.setattr(learning, "recovery_batch", recovered)
    setup = Setup(ToyTask(), ToyPolicy())
    items = [Batch(setup, Path("none"), {}, 1, [(number, (1,)) for number in part]) for part in ((0, 1), (2, 3), (4,))]
    assert [each.instruction for each in verified_recoveries(items, LastFirst())] == ["0", "1", "2", "3", "4"]
