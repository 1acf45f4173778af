"""Threads for the compiled kernels: one call, its range shared out over the cores.

A compiled kernel releases Python's global lock and works on a part `lo..hi` of its range; `run`
makes one part for each core. The parts depend only on the number of threads, so results repeat
bit for bit. Parts that call BLAS do so each on its own, so BLAS is held to one thread for that
time and given its own number back afterwards.

A part belongs to the thread that claims it first: a worker thread, or the caller, which takes
those that no worker has begun when its own is done. So a caller waits only for parts that run
already, never for a worker that is gone, busy or not started. There is no lock here: all state
changes by single operations on lists and dictionaries, which are atomic in Python. So `run` may
be called by a signal handler or `__del__` in the middle of another `run`, and an exception may
come at any line: `_finish` can always be called again.
"""

import contextlib
import functools
import importlib
import itertools
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import Any

import numpy as np


def _limit(group: Path) -> float:
    """Return how many cores' time a control group of Linux leaves its processes."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):  # no such group, or one of the first version
        try:
            quota, period = ((group / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
        except OSError:
            return math.inf
    return int(quota) / int(period) if quota.strip().isdigit() else math.inf  # "max" or -1


def _cpu_quota(root: Path = Path("/")) -> float:
    """Return the CPU quota of this process in cores, or infinity if it has none.

    The limits of the control groups around its own count too. In a container the group may have
    the name that it has outside, although only the topmost folder exists.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not on Linux
        return math.inf
    fields = [line.split(":", 2) for line in lines]  # hierarchy, controllers, path
    own = [path for _, names, path in fields if names == "" or "cpu" in names.split(",")]
    tops = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/cpu"]
    groups = [top / path.lstrip("/") for top in tops for path in own] + tops
    return min(_limit(place) for group in groups for place in (group, *group.parents))


def usable_cores() -> set[int]:
    """Return the numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _cores() -> int:
    """Return how many cores this process may use.

    Of a quota of 2.5 cores 2 are used: a third thread would use up the time early, and all
    threads would be stopped until the next period. What is left serves the threads of the data.
    """
    return max(1, math.floor(min(len(usable_cores()), _cpu_quota())))


def _wanted() -> int:
    """Return OMP_NUM_THREADS if it is a number, as BLAS reads it, else the cores."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(wanted), _cores()) if wanted.isdigit() and int(wanted) else _cores()


#: Threads that a kernel is shared out over.
NUM_THREADS = _wanted()

_PATIENCE = 0.1  # seconds until a caller looks whether the worker that it waits for is alive

_tasks: SimpleQueue = SimpleQueue()  # of calls, once for each part that a worker may claim
_posted = np.zeros(1, dtype=np.int64)  # changes when there are new tasks
_workers: dict[int, threading.Thread] = {}
_running: list["_Call"] = []  # those that hold BLAS to one thread, see `_release_blas`
_blas: list["_Blas"] = []  # the BLAS libraries of this process, see `_loaded_blas`
_modules = [0]  # how many modules had been imported when `_blas` was filled
_releasing: dict["_Call", threading.Thread] = {}  # calls that may give BLAS its threads back


def limit_threads(count: int) -> None:
    """Use at most so many threads from now on, as several processes share the cores."""
    global NUM_THREADS
    NUM_THREADS = min(NUM_THREADS, count)
    for library in _loaded_blas():
        if library.num_threads > count:
            library.set_num_threads(count)


class _Call:
    """A kernel that is being run: who runs which part, and how it ended."""

    def __init__(self, kernel: Callable[..., Any], arguments: Any, total: int, count: int):
        self.kernel, self.arguments = kernel, arguments
        self.bounds = [total * k // count for k in range(count + 1)]
        self.owners: dict[int, threading.Thread | None] = {}  # of each part; None is the caller
        self.ended: dict[int, BaseException | None] = {}  # the workers' parts, with the error
        self.reports: SimpleQueue = SimpleQueue()  # wakes the caller when a part has ended
        self.marks = np.zeros(count, dtype=np.int64)  # the same for a caller that is awake
        self.lowered: list[tuple[_Blas, int]] = []  # BLAS libraries, their own numbers of threads
        self.over = False

    def claim(self, owner: threading.Thread | None) -> int | None:
        """Assign a part that is not begun to a thread; return it, or None if there is none."""
        first = 0 if owner is None else 1  # part 0 is the caller's
        for part in range(first, len(self.marks)):
            if part not in self.owners and self.owners.setdefault(part, owner) is owner:
                return part
        return None

    def run_part(self, part: int) -> None:
        self.kernel(*self.arguments, part, self.bounds[part], self.bounds[part + 1])


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
    call = _Call(kernel, arguments, total, count)
    try:
        try:
            shared = count > 1 and _has_workers()  # this imports Numba, which may load a BLAS
            if blas:
                _hold_blas(call)
            part = call.claim(None)
            if shared:
                for _ in range(1, count):
                    _tasks.put(call)
                _posted[0] += 1
            while part is not None:
                call.run_part(part)
                call.marks[part] = 1
                part = None if len(call.owners) == count else call.claim(None)
        finally:
            _finish(call)
    except BaseException:
        _finish(call)  # once more, if the first was interrupted
        raise
    for error in call.ended.values():
        if error is not None:
            raise error
    return count


def _finish(call: _Call) -> None:
    """End a call: no part is begun any more, those begun have ended, and BLAS is released."""
    spin_wait = _spin_wait() if len(call.owners) == len(call.marks) > 1 else None
    if spin_wait is not None:
        spin_wait.await_marks(call.marks)
    while call.claim(None) is not None:  # after an error in the caller's thread
        pass
    for part, owner in sorted(call.owners.items()):
        while owner is not None and part not in call.ended:
            try:
                call.reports.get(timeout=_PATIENCE)
            except Empty:
                gone = sys.is_finalizing() or not owner.is_alive()
                if gone and part not in call.ended:
                    call.ended[part] = RuntimeError(f"thread '{owner.name}' ended within a kernel")
    call.arguments = ()  # `_tasks` may still hold the call, but no arrays
    if _running or call in _releasing:
        _release_blas(call)


# --------------------------------------------------------------------------------- workers


@functools.cache
def _spin_wait() -> ModuleType | None:
    """Return the module `spin_wait`, compiled; None without Numba: threads sleep at once then."""
    try:
        spin_wait = importlib.import_module(".spin_wait", __package__)
        spin_wait.await_marks(_posted)
        spin_wait.mark_and_await(np.zeros(1, dtype=np.int64), 0, _posted, _posted[0], False)
    except Exception:  # no kernel needs it
        return None
    return spin_wait


def _has_workers() -> bool:
    """Return whether there are threads to share work with; start those that are missing.

    There are none while the interpreter ends, and this thread must not wait for any while it
    holds the lock of Numba's compiler, as a signal handler may: they could wait for that lock.
    """
    if sys.is_finalizing():
        return False
    spin_wait = _spin_wait()
    if spin_wait is not None and spin_wait.is_compiling():
        return False
    if len(_workers) < NUM_THREADS - 1:
        _loaded_blas()  # now, rather than in the middle of the first kernel that calls BLAS
        for number in range(1, NUM_THREADS):
            if number not in _workers and not _start_worker(number):
                break
    return bool(_workers)


def _start_worker(number: int) -> bool:
    """Start a worker thread, unless another caller does; return whether the system allows it."""
    name = f"nn.kernels-{number}"
    worker = threading.Thread(target=_work, args=(_tasks, _workers, number), name=name, daemon=True)
    if _workers.setdefault(number, worker) is worker:
        try:
            worker.start()
        except RuntimeError:
            return False
        finally:
            if worker.ident is None:  # it was not started
                _workers.pop(number, None)
    return True


def _work(tasks: SimpleQueue, workers: dict[int, threading.Thread], number: int) -> None:
    """Run parts of the calls posted, for ever. A thread that dies leaves its place to another."""
    try:
        worker = threading.current_thread()
        spin_wait, marks, part = _spin_wait(), np.zeros(1, dtype=np.int64), 0
        while True:
            if spin_wait is not None:  # the mark says that this thread holds no lock any more
                seen = _posted[0]
                spin_wait.mark_and_await(marks, part, _posted, seen, tasks.empty())
            marks, part = _run_a_part(tasks.get(), worker)
    finally:
        workers.pop(number, None)


def _run_a_part(call: _Call, worker: threading.Thread) -> tuple[np.ndarray, int]:
    """Run a part of a call, if one is left; return which mark is to be set for it.

    It is a function so that the thread holds no arrays while it waits.
    """
    part = call.claim(worker)
    if part is None:
        return call.marks, 0  # which is not read: part 0 is the caller's
    try:
        call.run_part(part)
        call.ended[part] = None
    except BaseException as error:  # for the caller's thread to raise
        call.ended[part] = error
    call.reports.put(None)
    return call.marks, part


# ------------------------------------------------------------------------------------ BLAS


def _hold_blas(call: _Call) -> None:
    """Hold BLAS to one thread; the call that changes a number notes it."""
    libraries = _loaded_blas()
    _running.append(call)
    for other, thread in list(_releasing.items()):  # it may not have seen this call
        end = time.perf_counter() + 10 * _PATIENCE
        while other in _releasing and thread is not threading.current_thread():
            if sys.is_finalizing() or not thread.is_alive() or time.perf_counter() > end:
                _releasing.pop(other, None)  # an exception came twice, so that it stayed there
            time.sleep(0)
    for library in libraries:
        number = library.num_threads
        if number != 1:
            call.lowered.append((library, number))
            library.set_num_threads(1)


def _release_blas(call: _Call) -> None:
    """Give BLAS its own number of threads back, if no call that is running needs one thread.

    A call that noted a number stays in `_running` until then, so that no number is lost.
    """
    call.over = True
    _releasing[call] = threading.current_thread()
    calls = list(_running)
    if all(other.over for other in calls):
        for other in calls:
            for library, number in other.lowered:
                library.set_num_threads(number)
    else:
        calls = [] if call.lowered else [call]
    for other in calls:
        with contextlib.suppress(ValueError):  # another thread removed it
            _running.remove(other)
    _releasing.pop(call, None)


class _Blas:
    """A BLAS library, of which threadpoolctl finds the file and the functions.

    From version 3.8 on, `set_num_threads` of its controllers does nothing in all threads but one if
    OpenBLAS has a pool of threads for the whole process, and it takes a lock that a signal handler
    could wait for. So OpenBLAS's own function is called here.
    """

    def __init__(self, library: Any):
        self._library = library
        self.set_num_threads: Callable[[int], Any] = library.set_num_threads
        if library.internal_api == "openblas" and library.threading_layer != "openmp":
            for prefix, suffix in itertools.product(("", "scipy_"), ("", "64_", "_64")):
                name = f"{prefix}openblas_set_num_threads{suffix}"
                self.set_num_threads = getattr(library.dynlib, name, self.set_num_threads)

    @property
    def num_threads(self) -> int:
        return self._library.num_threads


def _loaded_blas() -> list[_Blas]:
    """Return the BLAS libraries of this process: NumPy's, and those that came later, as SciPy's.

    It looks for them again when modules have been imported since, which may have loaded one.
    """
    modules = len(sys.modules)
    if not _blas or _modules[0] != modules:
        _blas[:] = _find_blas()
        _modules[0] = modules
    return list(_blas)


def _find_blas() -> list[_Blas]:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:  # while the interpreter ends
        return []
    return [_Blas(c) for c in ThreadpoolController().select(user_api="blas").lib_controllers]


def _reset_after_fork() -> None:
    """Reset the thread pool in the child after a fork, which has none of the threads."""
    global _tasks
    _tasks = SimpleQueue()
    _releasing.clear()
    _workers.clear()
    for call in list(_running):
        call.over = True
    for call in list(_running):
        _release_blas(call)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
