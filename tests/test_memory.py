"""Memory that is given out again: never while anything refers to it."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nn.kernels import memory


@pytest.fixture(autouse=True)
def no_blocks(monkeypatch):
    monkeypatch.setattr(memory, "_blocks", {})


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
    assert len(memory._blocks[400_000]) == 4
    del kept, taken
    gc.collect()
    memory.empty((1000, 100), "float32")
    assert len(memory._blocks[400_000]) == 4


def test_a_block_serves_arrays_down_to_half_its_size():
    place = address(memory.empty((200_000,), "float32"))
    kept = memory.empty((100_000,), "float32")
    assert address(kept) == place
    assert (kept.shape, kept.nbytes) == ((100_000,), 400_000)
    assert address(memory.empty((100_000,), "float32")) != place  # it is in use
    del kept
    assert address(memory.empty((200_000,), "float32")) == place
    assert address(memory.empty((90_000,), "float32")) != place  # too large for this one
    assert address(memory.empty((250_000,), "float32")) != place


def test_the_smallest_block_that_fits_is_taken():
    large, small = memory.empty((200_000,), "float32"), memory.empty((150_000,), "float32")
    places = [address(small), address(large)]
    del large, small
    held = [memory.empty((120_000,), "float32") for _ in range(2)]
    assert [address(x) for x in held] == places


@given(st.permutations(range(4)), st.sampled_from(["float32", "float64", "uint8"]))
def test_empty_like_keeps_shape_dtype_and_order_of_memory(axes, dtype):
    x = np.zeros((8, 9, 30, 31), dtype=dtype).transpose(axes)
    y = memory.empty_like(x)
    assert (y.shape, y.dtype, y.strides) == (x.shape, x.dtype, np.empty_like(x).strides)
    assert np.shares_memory(y.ravel(order="K"), y)


def test_small_and_empty_arrays():
    assert memory.empty((0, 5), "float32").shape == (0, 5)
    assert memory.empty((), "float64").shape == ()
    assert memory._blocks == {}


def test_idle_blocks_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(memory, "_KEPT", 1_000_000)
    for size in range(100_000, 200_000, 1000):
        memory.empty((size,), "uint8")
    held = sum(size * len(blocks) for size, blocks in memory._blocks.items())
    assert held < 1_500_000
