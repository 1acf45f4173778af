"""Threads for the compiled kernels: one call, its range shared out over the cores.

A compiled kernel lets go of Python's global lock and works on a part `lo..hi` of its range;
`run` gives each core one part. The parts depend only on the number of threads, so results
repeat bit for bit. Parts that call BLAS do so each on its own, so BLAS is held to one thread
for that time and given its own number back afterwards.
"""

import functools
import importlib
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import numpy as np


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _wanted() -> int:
    """Return OMP_NUM_THREADS where it is a number, as BLAS reads it, else the cores."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(wanted), _cores()) if wanted.isdigit() and int(wanted) else _cores()


#: Threads that a kernel is shared out over.
NUM_THREADS = _wanted()

_lock = threading.Lock()
_tasks: SimpleQueue | None = None  # of (kernel, arguments, where to say that it is done)
_posted = np.zeros(1, dtype=np.int64)  # changes when there are new tasks
_running = 0  # calls under way that hold BLAS to one thread
_blas: list[Any] = []  # threadpoolctl's controllers of the BLAS libraries
_own_numbers: list[int] = []  # and their numbers of threads when nobody holds them


def parts(total: int, grain: int) -> int:
    """Return how many parts `run` makes of a range, none of them shorter than `grain`."""
    return max(1, min(NUM_THREADS, total // max(grain, 1)))


def run(
    kernel: Callable[..., Any], total: int, *arguments: Any, grain: int = 1, blas: bool = False
) -> int:
    """Call `kernel(*arguments, part, lo, hi)` for each part of range(total); return how many.

    Parameters
    ----------
    kernel
        A compiled function that releases the global lock. `part` counts from 0: it may write
        to what belongs to its part alone.
    total
        Length of the range that is shared out.
    *arguments
        Passed on.
    grain
        Least length of a part, so that small work stays in the caller's thread.
    blas
        Whether the kernel calls BLAS, which is then held to one thread, for a single part too:
        its own threads go on waiting for more in a busy loop, and take the cores from ours.
    """
    count = parts(total, grain)
    if count == 1 and not blas:
        kernel(*arguments, 0, 0, total)
        return 1
    bounds = [total * k // count for k in range(count + 1)]
    done, marks = SimpleQueue[BaseException | None](), np.zeros(count, dtype=np.int64)
    if blas:
        _hold_blas()
    try:
        for part in range(1, count):
            work = (*arguments, part, bounds[part], bounds[part + 1])
            _workers().put((kernel, work, done, marks, part))
        _posted[0] += 1
        kernel(*arguments, 0, bounds[0], bounds[1])
        waiting = _waiting()
        if waiting is not None:
            waiting.await_marks(marks)
        errors = [done.get() for _ in range(1, count)]
    finally:
        if blas:
            _release_blas()
    for error in errors:
        if error is not None:
            raise error
    return count


@functools.cache
def _waiting() -> ModuleType | None:
    """Return the module of that name, or None without Numba: threads then sleep when they wait."""
    try:
        return importlib.import_module(".waiting", __package__)
    except ImportError:
        return None


def _workers() -> SimpleQueue:
    """Return the queue that the worker threads take their tasks from, started at the first use."""
    global _tasks
    if _tasks is None:
        with _lock:
            if _tasks is None:
                queue: SimpleQueue = SimpleQueue()
                for number in range(1, NUM_THREADS):
                    name = f"nn.kernels-{number}"
                    threading.Thread(target=_work, args=(queue,), name=name, daemon=True).start()
                _tasks = queue
    return _tasks


def _work(tasks: SimpleQueue) -> None:
    """Do tasks for ever. The mark says that one is done and that this thread holds no lock."""
    marks, part = np.zeros(1, dtype=np.int64), 0
    while True:
        waiting = _waiting()
        if waiting is not None:
            seen = _posted[0]
            waiting.mark_and_await(marks, part, _posted, seen, tasks.empty())
        kernel, arguments, done, marks, part = tasks.get()
        try:
            kernel(*arguments)
        except BaseException as error:  # for the caller's thread to raise
            done.put(error)
        else:
            done.put(None)
        del kernel, arguments, done  # while it waits, the thread is to hold no arrays


def _hold_blas() -> None:
    """Hold BLAS to one thread, if this is the first of the calls under way."""
    global _running
    with _lock:
        if not _blas:
            _find_blas()
        _running += 1
        if _running == 1:
            _own_numbers[:] = [library.num_threads for library in _blas]
            for library in _blas:
                library.set_num_threads(1)


def _release_blas() -> None:
    """Give BLAS its own number of threads back, if this was the last of the calls under way."""
    global _running
    with _lock:
        _running -= 1
        if _running == 0:
            for library, number in zip(_blas, _own_numbers, strict=True):
                library.set_num_threads(number)


def _find_blas() -> None:
    """Note the BLAS libraries of this process: NumPy's, and any other that is loaded by now."""
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="blas").lib_controllers
    _blas.extend(found)


def _forget_threads() -> None:
    """After a fork the child has none of the threads and nobody's calls."""
    global _tasks, _running, _lock
    if _running:
        for library, number in zip(_blas, _own_numbers, strict=True):
            library.set_num_threads(number)
    _tasks, _running, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
