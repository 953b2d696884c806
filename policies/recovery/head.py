"""A learned recovery head: the policy fine-tuned on verified expert recoveries takes over."""

from __future__ import annotations

from workbench.types import Policy


class Head:
    """A fine-tuned policy drives from the alarm on.

    Parameters
    ----------
    head : a policy whose training began at the weights of the one that it relieves (see
        :func:`workbench.policies.learning.training.train`), on verified recoveries mixed with the original
        demonstrations.
    """

    name: str = "head"
    replans: bool = True
    fresh_noise: bool = True
    extends: bool = True

    def __init__(self, head: Policy) -> None:
        self._head = head

    def driver(self, policy: Policy) -> Policy:
        """The head, whatever drove before."""
        return self._head
