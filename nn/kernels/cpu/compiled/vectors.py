"""Loops on vectors: the parts of the compiled kernels that are written in LLVM's instructions.

A processor computes at its full speed only on vectors of numbers in its registers. Numba leaves
it to LLVM, the compiler under it, to find vectors in plain loops, which mostly goes well. The
functions here are those for which it does not. LLVM turns their instructions into those of
this processor.

`multiply_block` is the innermost loop of every matrix product and convolution. A product is
computed in blocks: some rows by some columns of the result stay in registers while the sum
runs, and a number that is loaded serves a whole row or column of the block. Goto and van de
Geijn 2008, "Anatomy of high-performance matrix multiplication", section 4; Van Zee and van de
Geijn 2015, "BLIS", call it the microkernel. `place_by_index` is the gradient of max pooling.
"""

import functools
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..compiler import compile_kernel

# The matrices of `transform_tile`, which `winograd` sets.
TRANSFORMS: list[tuple[tuple[float, ...], ...]] = []


def _registers() -> tuple[int, int]:
    """Return the size of the processor's vector registers in bytes, and how many it has."""
    try:
        features = llvmlite.binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know them on every system
        features = {}
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx"):
        return 32, 16
    return 16, 32 if features.get("neon") else 16


_REGISTER_BYTES, _REGISTER_COUNT = _registers()
# What a block of `block_of` takes: four addresses, seven steps and two counts.
_BLOCK = types.void(*[types.intp] * 13)
_BLOCKS: list[Any] = []  # all of them, so that the code stays at its address
# Multiplications that take as long as `transform_tile` for a number, with its loads and stores.
TRANSFORM_COST = 24 if _REGISTER_BYTES == 64 else 16


def most_rows(vectors: int) -> int:
    """Return the most rows of a block with so many vectors in each that fit the registers."""
    if _REGISTER_COUNT == 32:
        return 12
    return 8 if vectors == 1 else 6


def even_rows(vectors: int) -> int:
    """Return the rows of a block for a multiple of eight rows."""
    return 8 if most_rows(vectors) >= 8 else 4


@functools.cache
def block_rows(count: int, vectors: int) -> int:
    """Return the rows of a block for `count` rows: large blocks, with few rows left over.

    Twenty rows are two blocks of ten with 32 registers, and four of five with 16.

    Examples
    --------
    >>> [block_rows(count, 2) for count in (4, 5, 0)]
    [4, 5, 1]
    """

    def cost(rows: int) -> int:  # of all blocks, each with an overhead of about one row
        return -(-count // rows) * (rows + 1)

    return min(range(1, 1 + max(1, min(count, most_rows(vectors)))), key=cost)


def register_lanes(itemsize: int) -> int:
    """Return how many numbers of so many bytes a register holds."""
    return _REGISTER_BYTES // itemsize


@functools.cache
def block_columns(count: int, dtype: Any) -> tuple[int, int]:
    """Return the columns of a block for `count` columns: (vectors, lanes of each).

    Vectors are as long as the registers, shorter for a few columns. A second one saves half of
    the loads of A.
    """
    lanes = register_lanes(np.dtype(dtype).itemsize)
    while lanes > 2 and lanes // 2 >= count:
        lanes //= 2
    return 2 if -(-count // lanes) % 2 == 0 else 1, lanes


def matrix_block(columns: int, dtype: Any) -> tuple[int, int, int]:
    """Return the block of a matrix product with so many columns: (rows, vectors, lanes of each).

    It is the same for all numbers of rows, so that there is less to compile. With 16 registers two
    vectors are faster even if the last one is half empty.
    """
    vectors, lanes = block_columns(columns, dtype)
    if _REGISTER_COUNT == 16 and columns > lanes:
        vectors = 2
    return even_rows(vectors), vectors, lanes


@intrinsic(prefer_literal=True)
def multiply_block(
    _, rows, vectors, lanes, a, a_steps, b, b_steps, counts, d, d_step, c, c_step, starts
):  # fmt: skip
    """C[r, :] = D[r, :] + the sum over i and j of A[r, i, j] * B[i, j, :], one block of it.

    Parameters
    ----------
    rows, vectors, lanes
        The size of the block, constants: r < rows, and `vectors * lanes` columns.
    a, b, d, c
        Vectors (one axis) that hold the numbers; columns are adjacent in B, C and D.
    a_steps
        Numbers from one r, i, j to the next in `a`.
    b_steps
        From one i, j to the next in `b`.
    counts
        How many i and j there are.
    d_step, c_step
        From one r to the next in `d` and `c`; 0 in `d` if all rows have the same start.
    starts
        The index at which the block begins in a, b, d and c.
    """
    if not all(isinstance(n, types.IntegerLiteral) for n in (rows, vectors, lanes)):
        return None
    size = (rows.literal_value, vectors.literal_value, lanes.literal_value)
    taken = (rows, vectors, lanes, a, a_steps, b, b_steps, counts, d, d_step, c, c_step, starts)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointers, steps, both = _operands(context, builder, taken[3:], values[3:])
        _generate_block(builder, size, pointers, steps, both, a.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(*taken), generate


def _operands(context, builder, taken, values):
    """Return where A, B, D and C of a block begin, their steps, and the counts of its sums."""

    def numbers(k):
        kinds = getattr(taken[k], "types", [taken[k]])
        found = [values[k]]
        if len(kinds) > 1:
            found = cgutils.unpack_tuple(builder, values[k], len(kinds))
        pairs = zip(found, kinds, strict=True)
        return [context.cast(builder, number, kind, types.intp) for number, kind in pairs]

    pointers = [
        pointer_to(context, builder, taken[k], values[k], start)
        for k, start in zip((0, 2, 5, 7), numbers(9), strict=True)
    ]
    [d_step], [c_step] = numbers(6), numbers(8)
    return pointers, (numbers(1), numbers(3), d_step, c_step), numbers(4)


@functools.cache
def block_of(
    rows: int, vectors: int, lanes: int, itemsize: int, adjacent: bool = False
) -> tuple[int, int, int]:
    """Return a block for `run_block`: the address of its code, its rows and its columns.

    `multiply_block` is compiled for one size, numbers of `itemsize` bytes and any steps, or for
    `adjacent` rows of A, whose step is 1. The kernels around it take the address, so that they are
    compiled once for all sizes.
    """
    row_step = int(adjacent)

    @compile_kernel
    def block(a, b, d, c, a_row, a_i, a_j, b_i, b_j, d_row, c_row, count_i, count_j):
        steps = ((a_row, a_i, a_j), (b_i, b_j), d_row, c_row)
        _block_at(rows, vectors, lanes, itemsize, row_step, (a, b, d, c), steps, (count_i, count_j))

    block.compile(_BLOCK)  # type: ignore[attr-defined]
    code = block.overloads[_BLOCK.args]  # type: ignore[attr-defined]
    _BLOCKS.append(block)
    address = code.library.get_pointer_to_function(code.fndesc.llvm_func_name)
    return address, rows, vectors * lanes


@intrinsic(prefer_literal=True)
def _block_at(_, rows, vectors, lanes, itemsize, row_step, places, steps, counts):
    """Compute what `multiply_block` does for numbers at the addresses `places`.

    `row_step` is that of A if it is constant, else 0.
    """
    size = (rows.literal_value, vectors.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number = {4: ir.FloatType(), 8: ir.DoubleType()}[itemsize.literal_value].as_pointer()
        a, b, *others = cgutils.unpack_tuple(builder, values[6])
        row, *columns = cgutils.unpack_tuple(builder, a)
        if row_step.literal_value:
            row = ir.Constant(row.type, row_step.literal_value)
        taken = ([row, *columns], cgutils.unpack_tuple(builder, b), *others)
        pointers = [builder.inttoptr(k, number) for k in cgutils.unpack_tuple(builder, values[5])]
        both = cgutils.unpack_tuple(builder, values[7])
        _generate_block(builder, size, pointers, taken, both, itemsize.literal_value)
        return context.get_dummy_value()

    return types.void(rows, vectors, lanes, itemsize, row_step, places, steps, counts), generate


@intrinsic
def run_block(_, code, a, a_steps, b, b_steps, counts, d, d_step, c, c_step, starts):
    """Compute C as `multiply_block` does, by the code of a block of `block_of`."""
    taken = (code, a, a_steps, b, b_steps, counts, d, d_step, c, c_step, starts)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointers, steps, both = _operands(context, builder, taken[1:], values[1:])
        address = context.cast(builder, values[0], code, types.intp)
        places = [builder.ptrtoint(pointer, address.type) for pointer in pointers]
        numbers = [*places, *steps[0], *steps[1], *steps[2:], *both]
        # A function of Numba's writes its result and an error to two places. Here it has neither.
        nowhere = cgutils.alloca_once(builder, cgutils.voidptr_t, size=2)
        kind = ir.FunctionType(ir.IntType(32), [nowhere.type] * 2 + [address.type] * len(numbers))
        builder.call(builder.inttoptr(address, kind.as_pointer()), [nowhere, nowhere, *numbers])
        return context.get_dummy_value()

    return types.void(*taken), generate


def _generate_block(builder, size, pointers, steps, counts, itemsize):
    """Write the instructions of `multiply_block`."""
    rows, vectors, lanes = size
    a, b, d, c = pointers
    (a_row, a_i, a_j), (b_i, b_j), d_row, c_row = steps
    vector = ir.VectorType(a.type.pointee, lanes)
    block = [(r, v) for r in range(rows) for v in range(vectors)]

    def constant(number):
        return ir.Constant(d_row.type, number)

    def offset(i, i_step, j, j_step):
        return builder.add(builder.mul(i, i_step), builder.mul(j, j_step))

    def place(start, v):  # of the vector v of a row
        return builder.bitcast(builder.gep(start, [constant(v * lanes)]), vector.as_pointer())

    def row(start, r, step):
        return builder.gep(start, [builder.mul(constant(r), step)])

    sums = {}
    for r, v in block:
        sums[r, v] = cgutils.alloca_once(builder, vector)  # LLVM turns them into registers
        builder.store(ir.Constant(vector, [0.0] * lanes), sums[r, v])
    distances = _multiples(builder, a_row, rows)
    with cgutils.for_range(builder, counts[0]) as i, cgutils.for_range(builder, counts[1]) as j:
        a_at = offset(i.index, a_i, j.index, a_j)
        a_first = builder.gep(a, [a_at])
        b_row = builder.gep(b, [offset(i.index, b_i, j.index, b_j)])
        b_vectors = [builder.load(place(b_row, v), align=itemsize) for v in range(vectors)]
        for r, v in block:
            number = builder.load(builder.gep(a_first, [distances[r]]))
            number = _spread(builder, number, vector)
            product = builder.fmul(number, b_vectors[v], flags=["contract"])  # one instruction
            total = builder.fadd(builder.load(sums[r, v]), product, flags=["contract"])
            builder.store(total, sums[r, v])
    for r, v in block:
        before = builder.load(place(row(d, r, d_row), v), align=itemsize)
        total = builder.fadd(before, builder.load(sums[r, v]))
        builder.store(total, place(row(c, r, c_row), v), align=itemsize)


def _multiples(builder, step, count):
    """Return k * step for each k < count, so that a processor can add them to an address itself.

    LLVM would add the step to the address again and again, each time waiting for the sum before.
    The odd multiples are hidden from it; two, four and eight times those are part of an address.
    """
    same, found = ir.FunctionType(step.type, [step.type]), []
    for k in range(count):
        power = max(k & -k, 1)
        if k == 0 or isinstance(step, ir.Constant):
            found.append(builder.mul(step, ir.Constant(step.type, k)))
        elif power == 1:
            product = builder.mul(step, ir.Constant(step.type, k))
            found.append(builder.asm(same, "", "=r,0", [product], False))
        else:
            found.append(builder.mul(found[k // power], ir.Constant(step.type, power)))
    return found


def pointer_to(context, builder, array_type, value, start):
    """Return the place of the number `start` of an array."""
    return builder.gep(context.make_array(array_type)(context, builder, value).data, [start])


def _spread(builder, number, vector):
    """Return a vector that holds the number in each of its lanes."""
    unset = ir.Constant(vector, ir.Undefined)
    int32 = ir.IntType(32)
    first_lane = ir.Constant(ir.VectorType(int32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(
        builder.insert_element(unset, number, ir.Constant(int32, 0)), unset, first_lane
    )


@intrinsic(prefer_literal=True)
def place_by_index(_, lanes, cells, grad, index, start, dx, dx_starts):
    """Write `lanes` numbers of `grad` to those of `cells` places that `index` names, else zeros.

    Parameters
    ----------
    lanes, cells
        Constants: how many numbers, each with an index below `cells`.
    grad, index, start
        Vectors, and the index at which the numbers begin in both.
    dx, dx_starts
        A vector, and the index at which the numbers of each cell begin in it.
    """
    if not (isinstance(lanes, types.IntegerLiteral) and isinstance(cells, types.IntegerLiteral)):
        return None

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        def vector_at(array_type: Any, value: Any, start: Any) -> Any:
            pointer = pointer_to(context, builder, array_type, value, start)
            vector = ir.VectorType(pointer.type.pointee, lanes.literal_value)
            return builder.bitcast(pointer, vector.as_pointer())

        itemsize = grad.dtype.bitwidth // 8
        numbers = builder.load(vector_at(grad, values[2], values[4]), align=itemsize)
        indices = builder.load(vector_at(index, values[3], values[4]), align=1)
        zeros = ir.Constant(numbers.type, [0.0] * lanes.literal_value)
        for cell in range(cells.literal_value):
            named = ir.Constant(indices.type, [cell] * lanes.literal_value)
            here = builder.icmp_unsigned("==", indices, named)
            place = vector_at(dx, values[5], builder.extract_value(values[6], cell))
            builder.store(builder.select(here, numbers, zeros), place, align=itemsize)
        return context.get_dummy_value()

    return types.void(lanes, cells, grad, index, start, dx, dx_starts), generate


@intrinsic(prefer_literal=True)
def transform_tile(_, lanes, matrix, source, target, starts, source_steps, target_steps):
    """Write T X T^t for a matrix T of constants and a small matrix X of vectors.

    Parameters
    ----------
    lanes, matrix
        Constants: the numbers in a vector, and which of `TRANSFORMS` is T.
    source, target, starts
        Vectors that hold X and the result, and the index at which each begins.
    source_steps, target_steps
        Numbers from one row, and from one column, to the next.
    """
    if not (isinstance(lanes, types.IntegerLiteral) and isinstance(matrix, types.IntegerLiteral)):
        return None
    rows = TRANSFORMS[matrix.literal_value]
    taken = (lanes, matrix, source, target, starts, source_steps, target_steps)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        def place(array: int, start: int, steps: int, i: int, j: int) -> Any:
            by_row, by_column = (builder.extract_value(values[steps], k) for k in (0, 1))
            offset = builder.extract_value(values[4], start)
            for step, count in ((by_row, i), (by_column, j)):
                distance = builder.mul(step, ir.Constant(step.type, count))
                offset = builder.add(offset, distance)
            pointer = pointer_to(context, builder, taken[array], values[array], offset)
            vector = ir.VectorType(pointer.type.pointee, lanes.literal_value)
            return builder.bitcast(pointer, vector.as_pointer())

        size, itemsize = range(len(rows[0])), source.dtype.bitwidth // 8
        x = [[builder.load(place(2, 0, 5, i, j), align=itemsize) for j in size] for i in size]
        columns = [_times(builder, rows, [x[i][j] for i in size]) for j in size]  # T X, by columns
        for i in range(len(rows)):
            row = _times(builder, rows, [columns[j][i] for j in size])
            for j, result in enumerate(row):
                builder.store(result, place(3, 1, 6, i, j), align=itemsize)
        return context.get_dummy_value()

    return types.void(*taken), generate


def _times(builder, rows, vectors):
    """Return the products of a matrix of constants with a column of vectors."""
    results = []
    for row in rows:
        total = None
        for factor, vector in zip(row, vectors, strict=True):
            if factor == 0:
                continue
            term = vector
            if factor != 1:
                constant = ir.Constant(vector.type, [float(factor)] * vector.type.count)
                term = builder.fmul(vector, constant, flags=["contract"])
            total = term if total is None else builder.fadd(total, term, flags=["contract"])
        results.append(total)
    return results
