"""The policy itself, sampled otherwise."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from workbench.errors import ConfigError
from workbench.types import Alarm, Intervention, Policy, Record


class SamplingDriver:
    """Sees what a policy sees, and asks it; drivers inherit what it is, and say themselves how they plan.

    Parameters
    ----------
    policy : the one that it drives for.
    """

    signals: Sequence[str] = ()

    def __init__(self, policy: Policy) -> None:
        self.policy: Any = policy
        self.history, self.horizon, self.execute = policy.history, policy.horizon, policy.execute
        self.privileged, self.listens, self.cameras = policy.privileged, policy.listens, policy.cameras

    def altered(self, settings: Record) -> Self:
        """The same for the policy as perturbations have it."""
        if not hasattr(self.policy, "altered"):
            raise ConfigError(
                f"policy {type(self.policy).__name__} has nothing that {settings} could change; "
                "leave that perturbation out, or roll a policy that has"
            )
        other = copy.copy(self)
        other.policy = self.policy.altered(settings)
        return other

    def save(self, folder: Path) -> None:
        """Write the policy."""
        self.policy.save(folder)


class SamplingStrategy:
    """The policy drives, sampled otherwise; strategies inherit how, and say themselves by which driver.

    Its driver is made at the first alarm of a policy, and serves all episodes of it.
    """

    _steps: int | None
    _driver: Policy | None = None
    _for: Policy | None = None

    def made(self, alarm: Alarm) -> Policy:
        """The driver for the policy that is relieved."""
        raise NotImplementedError

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """The policy drives, with fresh noise and more time."""
        if self._driver is None or self._for is not alarm.policy:
            self._for, self._driver = alarm.policy, self.made(alarm)
        return Intervention(self._driver, self._steps, fresh_noise=True, more_time=True)


def told(instructions: Sequence[str] | None) -> Record:
    """What a policy is handed of instructions; nothing if it does not listen."""
    return {} if instructions is None else {"instructions": instructions}


def refuse_unsteerable(policy: Policy, strategy: str) -> None:
    """ConfigError for a policy whose sampling cannot be led."""
    if "steering" not in inspect.signature(policy.plan).parameters:
        raise ConfigError(
            f"strategy {strategy} leads the sampling of chunks, and policy {type(policy).__name__} takes no steering: "
            "roll one that does, such as flow or diffusion"
        )
