"""Where a training computes, and how precisely."""

from __future__ import annotations

import contextlib

import torch

from workbench.errors import ConfigError, UnknownNameError

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float32", "bfloat16")


def device_of(name: str) -> torch.device:
    """The device of that name; ``auto`` is CUDA where there is any, and else the CPU."""
    if name not in DEVICES:
        raise UnknownNameError("trainer.device", name, DEVICES)
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("trainer.device='cuda', but torch finds no CUDA device here; use 'cpu', or 'auto'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that is unknown, or that the device has no arithmetic for."""
    if precision not in PRECISIONS:
        raise UnknownNameError("trainer.precision", precision, PRECISIONS)
    if precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(False):
        raise ConfigError(
            f"trainer.precision='bfloat16' is not supported by {torch.cuda.get_device_name(device)}; use 'float32'"
        )


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Products of networks in bfloat16 where that is asked for, sums and norms in float32 (torch.autocast)."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Convolutions on CUDA that repeat themselves and keep float32's mantissa, which torch would cut to 10 bits."""
    if device.type == "cpu":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
