"""Worker processes of this machine, one executor of those that could be."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures import wait as finished
from multiprocessing.connection import wait
from typing import TypeVar

from workbench.errors import ConfigError, PolicyServerError

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def use_one_thread() -> None:
    """One thread a process, before any library starts its own.

    Processes share the cores already; and sums in another order give other weights, so a seed would not mean the same
    on machines with other numbers of cores.
    """
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))


@dataclasses.dataclass(frozen=True)
class Processes:
    """Worker processes of this machine; results do not depend on their number.

    Attributes
    ----------
    workers : processes; 1 for none but this one.
    scenes : that step together in each.
    """

    workers: int = 1
    scenes: int = 25

    def __post_init__(self) -> None:
        for name, count in dataclasses.asdict(self).items():
            if type(count) is not int or count < 1:
                raise ConfigError(f"runner.{name}={count} must be a whole number of at least 1")

    def map_unordered(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results as they come; ``function`` and the items must be importable and plain."""
        if self.workers == 1 or len(items) < 2:
            yield from map(function, items)
            return
        pool = _pool(self.workers)
        pending: list[Future[Result]] = []
        try:
            pending.extend(pool.submit(function, item) for item in items)
            for future in as_completed(pending):
                yield future.result()
        except PolicyServerError:
            # The other workers will meet the same dead server; each keeps what it has before it says so.
            for future in pending:
                future.cancel()
            finished(pending)
            raise
        except BaseException:
            for future in pending:
                future.cancel()
            _stop(pool)
            raise


@functools.cache
def _pool(workers: int) -> ProcessPoolExecutor:
    """One pool a process: its workers keep their scenes and weights from job to job."""
    # numcodecs makes a semaphore in every worker; the tracker that cleans up after an ended one need not say so.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_worker)
    atexit.register(pool.shutdown, wait=False, cancel_futures=True)
    return pool


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the workers at once; what they committed is safe."""
    for process in list((pool._processes or {}).values()):
        process.terminate()
    pool.shutdown(wait=True, cancel_futures=True)
    _pool.cache_clear()


def _begin_worker() -> None:
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_one_thread()
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End this worker at once when its parent is gone, however that ended; what it committed is safe.

    The executor's own workers would finish their batch, holding their part of the store, and then wait for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
