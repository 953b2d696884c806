"""A learned recovery head: the policy fine-tuned on verified expert recoveries takes over."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.types import Alarm, Intervention, Policy, Positive, Record


class Head:
    """A fine-tuned policy drives from the alarm on.

    Parameters
    ----------
    head : a policy whose training began at the weights of the one that it relieves (see
        :func:`workbench.policies.learning.training.train`), on verified recoveries mixed with the original
        demonstrations.
    steps : control steps after which the policy drives again; None for the rest of the episode.
    """

    name: str = "head"
    needs: Sequence[str] = ()

    def __init__(self, head: Policy, steps: Positive | None = None) -> None:
        self._driver, self._steps = head, steps

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """The head drives."""
        return Intervention(self._driver, self._steps, fresh_noise=True, more_time=True)
