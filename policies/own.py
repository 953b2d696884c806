"""A person's own object as a policy: one with ``plan``, a torch module, or a function of the observation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import ActionError, ConfigError
from workbench.types import Array, Observation, PolicyOutput


class OwnPolicy:
    """Gives somebody's object what the contract of a policy asks for beyond its actions.

    Parameters
    ----------
    inner : an object with ``plan(observation, noise, samples, ...)``, of which it may leave out all but the first; a
        torch module; or a function.  The last two map the observation, name -> (N, history, size) float32 (tensors for
        a module), to actions (N, H, A), or (N, A) for one action a call.
    history : observations in a row that one call sees.
    execute : actions that are run before the next call.
    observations : names of the observations that it is given; None for all.
    name : tells it from others of its class in what is stored, so that a store of its episodes can be gone on with.

    What ``inner`` says of itself (``history``, ``horizon``, ``execute``, ``listens``, ``cameras``, ``signals``) counts
    where it is not given here.
    """

    privileged = False

    def __init__(
        self,
        inner: Any,
        history: int | None = None,
        execute: int | None = None,
        observations: Sequence[str] | None = None,
        name: str = "",
    ) -> None:
        if not (hasattr(inner, "plan") or callable(inner)):
            raise ConfigError(
                f"{type(inner).__qualname__} is no policy: it needs a method plan(observation, ...), or must be a "
                "torch module or a function from the observation to actions"
            )
        self.inner, self.observations, self.name = inner, observations, name
        self.history = int(getattr(inner, "history", 1) if history is None else history)
        self.execute = int(getattr(inner, "execute", 1) if execute is None else execute)
        self.horizon = int(getattr(inner, "horizon", self.execute))
        for name, count in (("history", self.history), ("execute", self.execute)):
            if count < 1:
                raise ConfigError(f"{name}={count} of {type(inner).__qualname__} must be at least 1")
        self.listens = bool(getattr(inner, "listens", False))
        self.cameras: Sequence[str] = tuple(getattr(inner, "cameras", ()))
        self.signals: Sequence[str] = tuple(getattr(inner, "signals", ()))
        self._call = _caller(inner)

    def plan(
        self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0, **asked: Any
    ) -> PolicyOutput:
        """One inference; ActionError where the actions do not have the shape of actions."""
        seen = {
            key: np.asarray(value, np.float32) if value.dtype.kind == "f" else value
            for key, value in observation.items()
            if self.observations is None or key in self.observations or key.startswith("images/")
        }
        said = self._call(seen, {"noise": noise, "samples": samples, **asked})
        if isinstance(said, PolicyOutput):
            return said
        chunk = np.asarray(said, np.float64)
        chunk = chunk[:, None] if chunk.ndim == 2 else chunk
        if chunk.ndim != 3 or len(chunk) != len(noise) or chunk.shape[1] < self.execute:
            raise ActionError(
                f"{type(self.inner).__qualname__} answered {np.shape(said)} for {len(noise)} scenes, where (N, H, A) "
                f"with H of at least execute={self.execute} is needed, or (N, A) for one action a call"
            )
        return PolicyOutput(chunk)

    def save(self, folder: Path) -> None:
        """An object of somebody's own is theirs to keep."""
        raise ConfigError(f"{type(self.inner).__qualname__} was made by hand: save it yourself")


def _caller(inner: Any) -> Callable[[Observation, dict[str, Any]], Any]:
    """How an object is asked: what is given to it beside the observation is what its signature names."""
    if hasattr(inner, "plan"):
        return _with_what_it_names(inner.plan)
    if hasattr(inner, "parameters") and hasattr(inner, "eval"):
        return lambda observation, rest: _through_module(inner, observation)
    return _with_what_it_names(inner)


def _with_what_it_names(function: Callable[..., Any]) -> Callable[[Observation, dict[str, Any]], Any]:
    parameters = inspect.signature(function).parameters
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())

    def ask(observation: Observation, rest: dict[str, Any]) -> Any:
        return function(observation, **{key: rest[key] for key in rest if takes_all or key in parameters})

    return ask


def _through_module(module: Any, observation: Observation) -> Array:
    """What a torch module answers, on the device of its weights and without gradients."""
    import torch

    module.eval()
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    with torch.no_grad():
        answer = module({key: torch.as_tensor(np.array(value), device=device) for key, value in observation.items()})
    actions: Array = answer.cpu().numpy()
    return actions
