"""Worker processes of this machine, one executor of those that could be."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures import wait as finished
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, TypeVar

from workbench.errors import ConfigError, PolicyServerError, WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")

GO_ON = (
    "what was finished is kept; run the same command again to go on, with fewer workers (runner.workers=1) where "
    "memory is short"
)
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
        """Results as they come; ``function`` and the items must be importable and plain.

        Raises
        ------
        WorkerError
            if a worker was ended, cannot start or import what it is to do, or has no memory.
        """
        if self.workers == 1 or len(items) < 2:
            yield from map(function, items)
            return
        pool = _pool(self.workers)
        pending: list[Future[Result]] = []
        try:
            for item in items:
                pending.append(_submitted(pool, _Work(function, item)))
            ended: list[Future[Result]] = []
            for future in as_completed(pending):
                if isinstance(future.exception(), BrokenProcessPool):
                    ended.append(future)  # after the results that are there
                    continue
                with _worker_errors(pool):
                    found = future.result()
                yield found
            for future in ended:
                with _worker_errors(pool):
                    future.result()
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


class _Work(Generic[Item, Result]):
    """A function and an item on their way to a worker, which unpacks them where an error is one of the item's own.

    The executor's workers end when they cannot unpack something, for example for want of a package, and take all with
    them.
    """

    def __init__(self, function: Callable[[Item], Result], item: Item) -> None:
        self.function, self.item = function, item

    def __call__(self) -> Result:
        return self.function(self.item)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (bytes(ForkingPickler.dumps((self.function, self.item))),)


def _unpacked(packed: bytes) -> Callable[[], Any]:
    try:
        return _Work(*ForkingPickler.loads(packed))
    except Exception as error:
        return functools.partial(_raise, error)


def _raise(error: Exception) -> None:
    if isinstance(error, AttributeError):  # what a session or a script defines is not there in another process
        raise ImportError(str(error)) from error
    raise error


def _submitted(pool: ProcessPoolExecutor, work: _Work[Item, Result]) -> Future[Result]:
    with _worker_errors(pool):
        try:
            return pool.submit(work)
        except OSError as error:
            raise WorkerError(f"a worker cannot be started ({error.strerror}); {GO_ON}") from None


@contextlib.contextmanager
def _worker_errors(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Say in one line what became of a worker."""
    workers = list((pool._processes or {}).values())
    try:
        yield
    except BrokenProcessPool as error:
        pool.shutdown(wait=True)
        raise WorkerError(f"{_end_of(workers, error.__cause__)}; {GO_ON}") from None
    except (MemoryError, RuntimeError) as error:
        if not short_of_memory(error):
            raise
        reason = " ".join(str(error).split()) or "out of memory"
        raise WorkerError(f"a worker has no memory left ({reason}); {GO_ON}") from None
    except ImportError as error:
        raise WorkerError(
            f"a worker cannot import what it is to do ({error}); is it installed, or on PYTHONPATH? In this process "
            "alone: runner.workers=1"
        ) from None


def short_of_memory(error: BaseException) -> bool:
    """Whether an error is for want of memory; torch and the threads of Python raise a RuntimeError then."""
    words = r"can't allocate memory|out of memory|can't start new thread"
    return isinstance(error, MemoryError) or re.search(words, str(error)) is not None


def _end_of(workers: Sequence[BaseProcess], cause: BaseException | None) -> str:
    """How the first of some ended workers ended; the executor terminates the others."""
    codes = [worker.exitcode for worker in workers if worker.exitcode]
    code = next((code for code in codes if code != -signal.SIGTERM), -signal.SIGTERM)
    if cause is not None and code == -signal.SIGTERM:
        (reason,) = [line for line in str(cause).split("\n") if any(map(str.isalpha, line))][-1:] or ["no reason given"]
        return f"the answer of a worker cannot be read ({reason.strip()})"
    if code > 0:
        return (
            f"a worker ended with exit code {code} before it had an answer; a script that uses workers does so below "
            "if __name__ == '__main__'"
        )
    killed = " (as the system does where memory is short)" if code == -signal.SIGKILL else ""
    return f"a worker was ended by {signal.Signals(-code).name}{killed}"


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
