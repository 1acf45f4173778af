"""Memory that is given out again: never while anything refers to it."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nn.kernels import memory


@pytest.fixture(autouse=True)
def no_blocks(monkeypatch):
    monkeypatch.setattr(memory, "_blocks", [])
    monkeypatch.setattr(memory, "_pieces", {})


def address(x):
    return x.__array_interface__["data"][0]


def test_a_block_is_used_again_once_nobody_holds_it():
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
        lambda x: {"kept": [x[0]]},
        lambda x: lambda: x,
    ],
)
def test_a_block_is_never_given_out_while_anything_refers_to_it(hold):
    kept = hold(memory.empty((1000, 100), "float32"))
    taken = [memory.empty((1000, 100), "float32") for _ in range(3)]
    assert len({address(x) for x in taken}) == 3
    assert len(memory._pieces[400_000]) == 4
    del kept, taken
    gc.collect()
    memory.empty((1000, 100), "float32")
    assert len(memory._pieces[400_000]) == 4


def test_a_block_serves_several_smaller_arrays():
    place = address(memory.empty((200_000,), "float32"))
    first = memory.empty((100_000,), "float32")
    second = memory.empty((90_000,), "float32")
    assert address(first) == place
    assert address(second) == place + 400_000
    assert address(memory.empty((20_000,), "float32")) != place + 760_000  # 40,000 bytes are left
    del first
    third = memory.empty((60_000,), "float32")
    assert address(third) == place
    assert address(memory.empty((40_000,), "float32")) == place + 240_000
    del second, third
    assert address(memory.empty((200_000,), "float32")) == place


def test_the_smallest_gap_that_fits_is_taken():
    large, small = memory.empty((200_000,), "float32"), memory.empty((150_000,), "float32")
    places = [address(small), address(large)]
    del large, small
    held = [memory.empty((120_000,), "float32") for _ in range(2)]
    assert [address(x) for x in held] == places


@given(st.lists(st.tuples(st.integers(1 << 16, 1 << 19), st.integers(0, 5)), max_size=40))
def test_arrays_in_use_never_overlap(requests):
    held = {}
    for size, name in requests:  # a name that is used again gives its array back
        held.pop(name, None)
        held[name] = memory.empty((size,), "uint8")
        held[name][:] = name
        for other, array in held.items():
            assert (array == other).all()
    starts = [address(array) for array in held.values()]
    assert all(start % np.dtype("float64").itemsize == 0 for start in starts)
    held.clear()
    array = None
    assert sum(block.in_use() for block in memory._blocks) == 0


@given(st.permutations(range(4)), st.sampled_from(["float32", "float64", "uint8"]))
def test_empty_like_keeps_shape_dtype_and_order_of_memory(axes, dtype):
    x = np.zeros((8, 9, 30, 31), dtype=dtype).transpose(axes)
    y = memory.empty_like(x)
    assert (y.shape, y.dtype, y.strides) == (x.shape, x.dtype, np.empty_like(x).strides)
    assert np.shares_memory(y.ravel(order="K"), y)


def test_small_and_empty_arrays():
    assert memory.empty((0, 5), "float32").shape == (0, 5)
    assert memory.empty((), "float64").shape == ()
    assert memory._blocks == []


def test_idle_blocks_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(memory, "_KEPT", 1_000_000)
    for size in range(100_000, 200_000, 1000):
        memory.empty((size,), "uint8")
        held = memory.empty((size // 2 + 50_000,), "uint8")  # another size each time
    total = sum(block.memory.size for block in memory._blocks)
    assert held.size <= total < 1_500_000
