"""How threads wait for one another without going to sleep.

A thread that sleeps takes some 50 microseconds to wake, as long as a small kernel runs, and a
training step shares out dozens of them. So a thread looks again and again for what it waits for,
a fraction of a millisecond long, before it sleeps, as those of OpenMP do. While it looks it does
not hold Python's global lock.
"""

from typing import Any

from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from .compiler import compile_kernel

# Looks until a thread goes to sleep, about 0.3 milliseconds, and those between a message and its
# reader's return, about 5 microseconds: until then the sender holds Python's global lock.
_LOOKS, _PAUSE = 400_000, 8_000


@intrinsic
def _load(_, numbers, index):
    """Read a number that another thread may write meanwhile."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(numbers)(context, builder, values[0])
        place = builder.gep(array.data, [values[1]])
        return builder.load_atomic(place, ordering="acquire", align=8)

    return types.int64(numbers, types.intp), generate


@intrinsic
def _store(_, numbers, index, value):
    """Write a number that another thread may read meanwhile, after all that was written before."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(numbers)(context, builder, values[0])
        place = builder.gep(array.data, [values[1]])
        builder.store_atomic(values[2], place, ordering="release", align=8)
        return context.get_dummy_value()

    return types.void(numbers, types.intp, types.int64), generate


@compile_kernel
def await_marks(marks):
    """Return when all numbers but the first are 1, or after a while."""
    for part in range(1, marks.size):
        for _ in range(_LOOKS):
            if _load(marks, part) == 1:
                break


@compile_kernel
def mark_and_await(marks, part, counter, seen, look):
    """Set a mark, then return when the counter is not `seen` any more, or after a while."""
    _store(marks, part, 1)
    for _ in range(_LOOKS if look else 0):
        if _load(counter, 0) != seen:
            for _ in range(_PAUSE):
                _load(counter, 0)
            return


def is_compiling() -> bool:
    """Return whether this thread holds the lock of Numba's compiler, which other threads need."""
    return global_compiler_lock.is_locked()
