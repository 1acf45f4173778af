"""Interrupt the memory allocator in every way there is, and check that no two arrays overlap.

    python tests/prove_memory.py                       # everything, about five minutes
    python tests/prove_memory.py --only instructions signals --signals 2000

`instructions`
    Raise KeyboardInterrupt at every bytecode instruction of nn/kernels/cpu/memory.py, then allocate
    there instead (as a signal handler, a finalizer or another thread would), then fork there.
`signals`
    Interrupt plain calls of `memory.empty` with real signals.
`predict`
    Interrupt `Model.predict` with real signals, and compare its results between them.
`threads`
    Allocate, check and free arrays in 100 threads, each array freed by another thread.
`forks`
    Fork while eight threads allocate; the children allocate as well.
`garbage`
    Free arrays by the garbage collector, with finalizers that allocate or keep the array.

Each array is filled with a number of its own and must keep it; the addresses of arrays in use and
of idle memory must not overlap; memory must not pile up. Each check is a process with a time limit.
The exit status is 1 if any check fails.
"""

import argparse
import contextlib
import faulthandler
import gc
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
import timeit
import tracemalloc
import weakref
from pathlib import Path
from queue import SimpleQueue
from typing import ClassVar

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nn.kernels import memory  # noqa: E402

UNIT = memory._SMALLEST


# ------------------------------------------------------------------------------- checks


def span(array):
    """Return the first address of an array's memory and the one after the last."""
    start = array.__array_interface__["data"][0]
    return start, start + array.nbytes


def check_overlap(arrays):
    """Raise AssertionError if arrays in use and idle buffers share an address."""
    spans = [(*span(array), "array") for array in arrays]
    for buffer in list(memory._idle):
        start = buffer.interface["data"][0]
        spans.append((start, start + buffer.size, "idle buffer"))
    spans.sort()
    for (_, end, first), (start, _, second) in itertools.pairwise(spans):
        assert end <= start, f"{first} and {second} overlap by {end - start} bytes"


class Arrays:
    """Arrays in use, each filled with a number of its own."""

    def __init__(self):
        self.held, self.number = {}, 0

    def add(self, array):
        self.number = self.number % 251 + 1
        array[...] = self.number
        self.held[id(array)] = (array, self.number)
        return array

    def check(self):
        for array, number in self.held.values():
            assert (array == number).all(), "an array in use was overwritten"
        check_overlap(array for array, _ in self.held.values())


def allocate_everywhere():
    """Call `memory.empty` so that it takes every path: new, reused, split, merged and freed."""
    first = memory.empty((8 * UNIT,), np.uint8)
    del first
    parts = [memory.empty((size * UNIT,), np.uint8) for size in (1, 3, 2)]  # split
    parts.append(memory.empty((8 * UNIT,), np.uint8))  # new
    del parts[1]
    parts.append(memory.empty((3 * UNIT,), np.uint8))  # reused
    parts.clear()
    whole = memory.empty((16 * UNIT,), np.uint8)  # new, after a merge
    again = [memory.empty((8 * UNIT,), np.uint8) for _ in range(2)]  # merged
    del whole, again
    return memory.empty((24 * UNIT,), np.uint8)  # frees what is idle beyond the limit


@contextlib.contextmanager
def small_limit(limit=20 * UNIT):
    """Keep little idle memory, so that buffers are freed often."""
    kept, memory._KEPT = memory._KEPT, limit
    try:
        yield
    finally:
        memory._KEPT = kept


def at_instruction(number, act, run=allocate_everywhere, every_line=False):
    """Call `run()`, and `act()` before one bytecode instruction of memory.py, counted from 0.

    Return whether there was such an instruction.
    """
    event, count, done = "line" if every_line else "opcode", 0, False

    def local(frame, kind, argument):
        nonlocal count, done
        frame.f_trace_opcodes = not every_line
        if kind == event:
            count += 1
            if count == number + 1 and not done:
                done = True
                act()
        return local

    def trace(frame, kind, argument):
        if frame.f_code.co_filename != memory.__file__ or done:
            return None
        frame.f_trace_opcodes = not every_line
        return local

    before = sys.gettrace()  # that of a measurement of coverage
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return done


def interrupt():
    raise KeyboardInterrupt


def interrupt_everywhere(every_line=False, step=1):
    """Raise at every instruction, keeping arrays all the while; return how many there were."""
    number, arrays = 0, Arrays()
    for _ in range(2):  # Python 3.12 reports no instructions when first asked after lines
        at_instruction(sys.maxsize, interrupt, every_line=every_line)
    while True:
        arrays.add(memory.empty((random.randint(UNIT, 4 * UNIT),), np.uint8))
        try:
            if not at_instruction(number, interrupt, every_line=every_line):
                break
        except KeyboardInterrupt as error:
            arrays.error = error if number % 7 == 0 else None  # frames in use for a while
        arrays.check()
        for _ in range(4):
            arrays.add(memory.empty((random.randint(UNIT, 9 * UNIT),), np.uint8))
        arrays.check()
        while len(arrays.held) > 12:
            del arrays.held[random.choice(list(arrays.held))]
        number += step
    assert number > 200, "the trace function saw no instructions"
    return number


def traced_bytes():
    """Return the bytes that memory.py has from the system and not given back."""
    own = tracemalloc.Filter(True, memory.__file__)
    domains = tracemalloc.take_snapshot().filter_traces([own]).traces
    return sum(trace.size for trace in domains)


# ---------------------------------------------------------------- at every instruction


def prove_instructions(options):
    tracemalloc.start()
    with small_limit():
        lines = interrupt_everywhere(every_line=True)
        count = sum(interrupt_everywhere() for _ in range(options.rounds))
        gc.collect()
        memory.empty((64 * UNIT,), np.uint8)  # larger than all: merges, and frees the excess
        memory.empty((65 * UNIT,), np.uint8)
        left = traced_bytes()
        assert left < memory._KEPT + 70 * UNIT, f"{left / 1e6:.1f} MB are left"
        tracemalloc.stop()
        print(f"raised at {lines} lines and {count} instructions in {options.rounds} rounds;")
        print(f"  {left / 1e6:.1f} MB were left after all arrays were freed")
        print(f"allocated in between at {allocate_in_between()} instructions")
        print(f"allocated in another thread at {allocate_in_between(in_thread)} instructions")
        print(f"forked at {fork_in_between(options.fork_step)} instructions")


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "the other thread hangs"


def allocate_in_between(call=lambda work: work(), step=1):
    """At each instruction allocate, all idle memory or other sizes; return how many there were."""
    number, arrays = 0, Arrays()

    def work():
        if random.random() < 0.5:  # take all that is idle
            for size in sorted(buffer.size for buffer in list(memory._idle)):
                arrays.add(memory.empty((size,), np.uint8))
            return
        arrays.add(memory.empty((random.randint(UNIT, 9 * UNIT),), np.uint8))
        arrays.add(allocate_everywhere())

    def run():
        arrays.add(allocate_everywhere())
        arrays.add(memory.empty((3 * UNIT,), np.uint8))

    while at_instruction(number, lambda: call(work), run):
        arrays.check()
        arrays.held.clear()
        memory._idle.clear()  # else what is taken grows from time to time
        number += step
    assert number > 200, "the trace function saw no instructions"
    return number


def fork_in_between(step):
    """At every `step`-th instruction fork; the child must go on and check; return how many."""
    child: int | None = None
    number = forks = 0

    def fork():
        nonlocal child
        child = os.fork()

    while True:
        child, status, arrays = None, 1, Arrays()
        arrays.add(memory.empty((2 * UNIT,), np.uint8))
        try:
            there = at_instruction(number, fork)
            for _ in range(4):
                arrays.add(memory.empty((random.randint(UNIT, 9 * UNIT),), np.uint8))
            arrays.check()
            status = 0
        finally:
            if child == 0:
                os._exit(status)
        if not there:
            assert number > 200, "the trace function saw no instructions"
            return forks
        assert wait_for(child) == 0, "the child failed"
        number, forks = number + step, forks + 1


def wait_for(child, seconds=60):
    """Return the exit status of a child, which is killed if it hangs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("a child hangs after fork")


# --------------------------------------------------------------------------- real signals


class Signals:
    """Real signals at random moments; a block under `with` may be interrupted once."""

    def __init__(self, longest):
        self.longest, self.sent, self.caught, self.armed = longest, 0, 0, False
        signal.signal(signal.SIGALRM, self.handle)

    def handle(self, number, frame):
        if self.armed:
            self.armed = False
            self.sent += 1
            raise KeyboardInterrupt

    def interrupt(self, function):
        """Call function; return whether it was interrupted."""
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, self.longest))
            function()
            self.armed = False
        except KeyboardInterrupt:
            self.caught += 1
            return True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return False


def prove_signals(options):
    arrays, signals = Arrays(), Signals(longest=0.0004)
    held = []

    def many():
        end = time.monotonic() + 1  # second; CPython 3.11 may notice a signal too late for it
        while time.monotonic() < end:
            held.append(memory.empty((random.randint(UNIT, 6 * UNIT),), np.uint8))
            if len(held) > 10:
                held.pop(random.randrange(len(held)))

    with small_limit():
        start = time.monotonic()
        while signals.sent < options.signals:
            signals.interrupt(many)
            assert signals.sent == signals.caught, "a KeyboardInterrupt was lost"
            for array in held[:3]:
                arrays.add(array)
            held.clear()
            arrays.check()
            while len(arrays.held) > 8:
                del arrays.held[next(iter(arrays.held))]
        arrays.held.clear()
        memory.empty((64 * UNIT,), np.uint8)
        memory.empty((65 * UNIT,), np.uint8)
        idle = sum(buffer.size for buffer in list(memory._idle))
        assert idle < memory._KEPT + 70 * UNIT, f"{idle / 1e6:.1f} MB are idle"
    seconds = time.monotonic() - start
    print(f"{signals.sent} signals while `memory.empty` was called, none lost, {seconds:.0f} s")


def prove_predict(options):
    import nn

    layers = [nn.Conv2D(16, 3, input_shape=(8, 16, 16)), nn.BatchNorm2D(), nn.ReLU()]
    layers += [nn.MaxPool2D(), nn.Flatten(), nn.Dense(64), nn.Dense(300)]
    model = nn.Model(layers, seed=1)
    model.compile("cce", "adam")
    x = np.random.default_rng(0).normal(size=(64, 8, 16, 16)).astype(np.float32)
    expected = model.predict(x, batch_size=32)
    sizes = [(rows, size) for rows in (9, 17, 24, 33, 48, 64) for size in (8, 21, 32, 64)]
    for rows, size in sizes:
        model.predict(x[:rows], batch_size=size)  # loads all kernels: Numba's imports may not fail
    arrays, start = Arrays(), time.monotonic()
    once = timeit.repeat(lambda: model.predict(x, batch_size=32), number=1, repeat=20)
    signals = Signals(longest=min(once))
    calls = 0
    while signals.sent < options.signals:
        rows, size = random.choice(sizes)
        signals.interrupt(lambda rows=rows, size=size: model.predict(x[:rows], batch_size=size))
        arrays.add(memory.empty((random.randint(UNIT, 20 * UNIT),), np.uint8))
        calls += 1
        if calls % 10 == 0:
            found = model.predict(x, batch_size=32)
            assert np.array_equal(found, expected), "predict is wrong after an interrupt"
            arrays.check()
        while len(arrays.held) > 8:
            del arrays.held[next(iter(arrays.held))]
    lost = signals.sent - signals.caught
    seconds = time.monotonic() - start
    print(f"{signals.sent} signals in {calls} calls of `predict`, {lost} lost, {seconds:.0f} s")
    assert not lost, "a KeyboardInterrupt was lost"


# --------------------------------------------------------- threads, forks, the collector


def churn(arrays, queue, until, errors):
    """Allocate, fill, exchange with other threads, check and free."""
    try:
        while time.monotonic() < until():
            array = memory.empty((random.randint(UNIT, 8 * UNIT),), np.uint8)
            number = random.randrange(256)
            array[:] = number
            queue.put((array[random.randrange(UNIT) :], number))
            del array
            if queue.qsize() > arrays:
                array, number = queue.get()
                assert (array == number).all(), "an array in use was overwritten"
                del array
    except BaseException as error:
        errors.append(error)


def prove_threads(options):
    queue, errors = SimpleQueue(), []
    end = time.monotonic() + options.seconds
    sys.setswitchinterval(2e-6)
    with small_limit():
        work = [(50, queue, lambda: end, errors)] * 100
        threads = [threading.Thread(target=churn, args=args) for args in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(options.seconds + 60)
            assert not thread.is_alive(), "a thread hangs"
        assert not errors, errors[0]
        held = [queue.get() for _ in range(queue.qsize())]
        assert all((array == number).all() for array, number in held)
        check_overlap([array for array, _ in held])
    print(f"100 threads for {options.seconds} s: no array was overwritten")


def prove_forks(options):
    queue, errors, stop = SimpleQueue(), [], [np.inf]
    sys.setswitchinterval(1e-5)
    with small_limit():
        work = (20, queue, lambda: stop[0], errors)
        threads = [threading.Thread(target=churn, args=work, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(options.forks):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    arrays = Arrays()
                    for _ in range(12):
                        arrays.add(memory.empty((random.randint(UNIT, 9 * UNIT),), np.uint8))
                    arrays.check()
                    status = 0
                finally:
                    os._exit(status)
            assert wait_for(child) == 0, "a child failed"
        stop[0] = 0.0
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a thread hangs"
        assert not errors, errors[0]
    print(f"{options.forks} forks while 8 threads allocated: every child went on")


class Cycle:
    """A cycle that holds an array; its finalizer allocates, and may keep the array."""

    saved: ClassVar[list] = []

    def __init__(self, array, keep):
        self.array, self.self, self.keep = array, self, keep
        self.reference = weakref.ref(array, lambda _: memory.empty((2 * UNIT,), np.uint8))

    def __del__(self):
        memory.empty((random.randint(UNIT, 5 * UNIT),), np.uint8)
        if self.keep:
            Cycle.saved.append(self.array[5:])


def prove_garbage(options):
    arrays, threshold = Arrays(), gc.get_threshold()
    gc.set_threshold(5)
    with small_limit():
        for number in range(options.cycles):
            array = memory.empty((random.randint(UNIT, 8 * UNIT),), np.uint8)
            array[:] = number % 256
            Cycle(array, keep=number % 3 == 0)
            del array
            arrays.add(memory.empty((random.randint(UNIT, 4 * UNIT),), np.uint8))
            for saved in Cycle.saved:
                assert len(np.unique(saved)) == 1, "a resurrected array was overwritten"
            check_overlap([array for array, _ in arrays.held.values()] + Cycle.saved)
            arrays.check()
            del Cycle.saved[:-5]
            while len(arrays.held) > 8:
                del arrays.held[next(iter(arrays.held))]
    gc.set_threshold(*threshold)
    print(f"{options.cycles} cycles with finalizers that allocate: no array was overwritten")


# ------------------------------------------------------------------------------- all of it

CHECKS = {
    "instructions": prove_instructions,
    "signals": prove_signals,
    "predict": prove_predict,
    "threads": prove_threads,
    "forks": prove_forks,
    "garbage": prove_garbage,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--rounds", type=int, default=3, help="at every instruction")
    parser.add_argument("--fork-step", type=int, default=5, help="instructions between two forks")
    parser.add_argument("--signals", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the 100 threads")
    parser.add_argument("--forks", type=int, default=300)
    parser.add_argument("--cycles", type=int, default=5000)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for each check")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--here", choices=CHECKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        random.seed(options.seed)
        faulthandler.dump_traceback_later(0.95 * options.limit, exit=True)  # says where it hangs
        CHECKS[options.here](options)
        return
    failed = []
    for name in options.only:
        print(f"{name}:", flush=True)
        command = [sys.executable, __file__, "--here", name, *sys.argv[1:]]
        try:
            status = subprocess.run(command, timeout=options.limit).returncode
        except subprocess.TimeoutExpired:
            status = f"it hangs, after {options.limit:.0f} s"
        if status:
            print(f"{name} FAILED: {status}")
            failed.append(name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
