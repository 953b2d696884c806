"""How compiled code drives MuJoCo: what every controller shares.

A *controller* turns an action into controls and advances the physics by one control step, all in one compiled function
that calls MuJoCo through addresses and lets go of the interpreter's lock.  One file a controller in ``controllers/``.

numba recompiles what is kept on disk when the file of a function changes, not when a function that it calls does:
after a change in this file, ``make clean``.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import mujoco
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from workbench.envs.caching import numba_can_cache
from workbench.types import Array

DIVERGED = 1e10
"""Magnitude above which MuJoCo calls a state bad (``mjMAXVAL``)."""

F = TypeVar("F", bound=Callable[..., Any])


CACHED = numba_can_cache()
"""Whether machine code is kept on disk."""


def compiled(function: F) -> F:
    """Compile with numba, keep the machine code on disk, and run without the interpreter's lock."""
    return cast(F, numba.njit(cache=CACHED, nogil=True, fastmath=False)(function))


@intrinsic  # type: ignore[untyped-decorator]
def call(typing_context: Any, function: Any, model: Any, data: Any) -> Any:
    """Call ``void function(mjModel*, mjData*)``, all three given as addresses at run time.

    A constant function pointer would tie the compiled code to this process and forbid numba's disk cache.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = cgutils.voidptr_t
        target = builder.inttoptr(arguments[0], ir.FunctionType(ir.VoidType(), [pointer, pointer]).as_pointer())
        builder.call(target, [builder.inttoptr(argument, pointer) for argument in arguments[1:]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@functools.cache
def addresses() -> Array:
    """Addresses of mj_step1, mj_step2 and mj_fwdPosition in the library that the bindings have loaded."""
    folder = Path(mujoco.__file__).parent
    library = next(path for pattern in ("libmujoco*", "mujoco.dll") for path in sorted(folder.glob(pattern)))
    loaded = ctypes.CDLL(str(library))
    names = ("mj_step1", "mj_step2", "mj_fwdPosition", "mj_copyModel")
    return np.array([ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value for name in names], dtype=np.int64)


def copy_model(target: mujoco.MjModel, source: mujoco.MjModel) -> None:
    """Overwrite a model with another of the same sizes, in place (numpy views of it stay valid)."""
    function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(int(addresses()[3]))
    function(target._address, source._address)


@compiled
def bounded(values: Array) -> bool:
    for value in values:  # noqa: SIM110 (numba has no generators)
        if not abs(value) < DIVERGED:  # also if it is NaN
            return False
    return True


class Controller(Protocol):
    """What a scene needs of a controller; made for one model and its data.

    Attributes
    ----------
    memory : (G,) what is carried from one control step to the next, changed in place; part of every snapshot.
    gains : (2, ...) stiffness and damping, which perturbations change in place.
    """

    @property
    def memory(self) -> Array: ...
    @property
    def gains(self) -> Array: ...
    def reset(self) -> None:
        """Begin anew from the state that the data hold now."""
        ...

    def step(self, action: Array) -> bool:
        """Apply one action (A,) in -1..1 for one control step; False if the physics diverged on the way."""
        ...
