"""Memory that is reused: never while anything refers to it, whatever happens in between."""

import argparse
import gc
import os
import subprocess
import sys

import numpy as np
import prove_memory
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from nn.kernels import memory


@pytest.fixture(autouse=True)
def nothing_idle(monkeypatch):
    monkeypatch.setattr(memory, "_idle", {})


def address(x):
    return x.__array_interface__["data"][0]


def idle_sizes():
    return sorted(buffer.size for buffer in memory._idle)


def test_memory_is_reused_once_nothing_refers_to_it():
    first = memory.empty((1000, 100), "float32")
    place = address(first)
    del first
    second = memory.empty((100_000,), "float32")
    assert address(second) == place


@pytest.mark.parametrize(
    "hold",
    [
        lambda x: x,
        lambda x: x[5:7],
        lambda x: x[3:].T.T.reshape(-1),
        lambda x: x.view(np.int32)[::2],
        lambda x: memoryview(x),
        lambda x: np.frombuffer(x, np.uint8)[7:],
        lambda x: {"kept": [x[0]]},
        lambda x: lambda: x,
        lambda x: x.base,
        lambda x: x.base.base,
        lambda x: np.asarray(x.base.base),
        lambda x: np.from_dlpack(x[1:]),
        lambda x: np.lib.stride_tricks.as_strided(x, (5,), (4,)),
        lambda x: x.ctypes.data_as(np.ctypeslib.ctypes.c_void_p),
        lambda x: iter(x),
    ],
)
def test_memory_is_never_reused_while_anything_refers_to_it(hold):
    array = memory.empty((1000, 100), "float32")
    place, kept = address(array), hold(array)
    del array
    taken = [memory.empty((1000, 100), "float32") for _ in range(3)]
    assert place not in {address(x) for x in taken}
    del kept, taken
    gc.collect()
    again = [memory.empty((1000, 100), "float32") for _ in range(5)]
    assert place in {address(x) for x in again}


def test_a_buffer_serves_several_smaller_arrays():
    place = address(memory.empty((200_000,), "float32"))
    first = memory.empty((100_000,), "float32")
    second = memory.empty((80_000,), "float32")
    assert address(first) == place
    assert address(second) == place + 400_000
    assert address(memory.empty((20_000,), "float32")) == place + 720_000
    del first
    assert address(memory.empty((60_000,), "float32")) == place
    del second
    assert address(memory.empty((200_000,), "float32")) == place
    assert idle_sizes() == [800_000]


def test_parts_are_merged_only_when_both_are_idle():
    place = address(memory.empty((800_000,), "uint8"))
    parts = [memory.empty((100_000,), "uint8") for _ in range(7)]
    kept = parts[3]
    del parts
    other = memory.empty((800_000,), "uint8")
    assert address(other) != place
    assert address(kept) == place + 3 * 100_032
    del kept
    assert address(memory.empty((790_000,), "uint8")) == place


def test_the_smallest_buffer_that_fits_is_used():
    large, small = memory.empty((200_000,), "float32"), memory.empty((150_000,), "float32")
    places = [address(small), address(large)]
    del large, small
    held = [memory.empty((140_000,), "float32") for _ in range(2)]
    assert [address(x) for x in held] == places


def test_of_buffers_of_one_size_the_latest_is_used():
    first, last = memory.empty((70_000,), "uint8"), memory.empty((70_000,), "uint8")
    place = address(last)
    del first, last
    assert address(memory.empty((70_000,), "uint8")) == place


def test_small_arrays_that_are_held_do_not_keep_large_buffers_from_use():
    """As with predictions that a user collects, each computed by way of large arrays."""
    results, places = [], set()
    for _ in range(50):
        work = memory.empty((4_000_000,), "uint8")
        places.add(address(work))
        del work
        results.append(memory.empty((70_000,), "uint8"))
    assert len(places) == 2


def test_a_buffer_of_a_thousand_parts_becomes_whole_again():
    size = 1000 * memory._SMALLEST
    place = address(memory.empty((size,), "uint8"))
    parts = [memory.empty((memory._SMALLEST,), "uint8") for _ in range(1000)]
    assert {address(x) - place for x in parts} == set(range(0, size, memory._SMALLEST))
    parts.clear()
    assert address(memory.empty((size,), "uint8")) == place


@given(st.lists(st.tuples(st.integers(1 << 16, 1 << 19), st.integers(0, 5)), max_size=40))
def test_arrays_in_use_never_overlap(requests):
    held = {}
    for size, name in requests:  # a name that is used again frees its array
        held.pop(name, None)
        held[name] = memory.empty((size,), "uint8")
        held[name][:] = name
        for other, array in held.items():
            assert (array == other).all()
        prove_memory.check_overlap(held.values())
    assert all(address(array) % np.dtype("float64").itemsize == 0 for array in held.values())
    held.clear()
    array = None
    memory._merge()
    assert all(buffer.parent is None for buffer in memory._idle)


@given(st.permutations(range(4)), st.sampled_from(["float32", "float64", "uint8"]))
def test_empty_like_keeps_shape_dtype_and_order_of_memory(axes, dtype):
    x = np.zeros((8, 9, 30, 31), dtype=dtype).transpose(axes)
    y = memory.empty_like(x)
    assert (y.shape, y.dtype, y.strides) == (x.shape, x.dtype, np.empty_like(x).strides)
    assert np.shares_memory(y.ravel(order="K"), y)


def test_small_and_empty_arrays():
    assert memory.empty((0, 5), "float32").shape == (0, 5)
    assert memory.empty((), "float64").shape == ()
    assert memory._idle == {}


def test_idle_memory_does_not_pile_up(monkeypatch):
    monkeypatch.setattr(memory, "_KEPT", 1_000_000)
    for size in range(100_000, 200_000, 1000):
        held = [memory.empty((size,), "uint8") for _ in range(20)]  # another size each time
        assert sum(idle_sizes()) <= 1_000_000 + 64
        del held
    memory.empty((4_000_000,), "uint8")
    assert sum(idle_sizes()) <= 1_000_000 + 4_000_000


# --------------------------------------------- exceptions, signals, finalizers, threads, forks


def test_freeing_an_array_runs_no_python_code():
    """A signal would raise KeyboardInterrupt there, and Python ignores exceptions in finalizers."""
    array = memory.empty((100_000,), "uint8")
    calls = []
    sys.setprofile(lambda frame, event, argument: calls.append((event, argument)))
    del array
    sys.setprofile(None)
    assert [kind for kind, argument in calls if argument is not sys.setprofile] == []
    assert idle_sizes() == [100_032]


def test_an_exception_at_any_line_or_instruction_never_makes_arrays_overlap():
    with prove_memory.small_limit():
        assert prove_memory.interrupt_everywhere(every_line=True) > 200
        assert prove_memory.interrupt_everywhere(step=7) > 1000


def test_an_exception_loses_no_memory_for_good():
    prove_memory.tracemalloc.start()
    try:
        with prove_memory.small_limit():
            prove_memory.interrupt_everywhere(every_line=True)
            gc.collect()
            memory.empty((64 * prove_memory.UNIT,), np.uint8)
            memory.empty((65 * prove_memory.UNIT,), np.uint8)
            assert prove_memory.traced_bytes() < memory._KEPT + 70 * prove_memory.UNIT
    finally:
        prove_memory.tracemalloc.stop()


def test_an_allocation_between_any_two_instructions():
    """As by a signal handler, a finalizer or another thread."""
    with prove_memory.small_limit():
        assert prove_memory.allocate_in_between(step=2) > 1000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_between_two_instructions():
    with prove_memory.small_limit():
        assert prove_memory.fork_in_between(step=60) > 20


def test_finalizers_that_allocate_or_keep_the_array(capsys):
    prove_memory.prove_garbage(argparse.Namespace(cycles=100))


def prove(*options):
    """Run a part of the proof in a process of its own."""
    script = str(ROOT / "tests" / "prove_memory.py")
    command = [sys.executable, script, "--only", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_threads_that_free_the_arrays_of_others():
    """In a process of its own: under coverage not all of 100 threads can be started."""
    prove("threads", "--seconds", "0.5")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_real_signals():
    """In a process of its own: Python ignores a KeyboardInterrupt in a callback of the collector.

    Hypothesis has such a callback.
    """
    prove("signals", "--signals", "300")
