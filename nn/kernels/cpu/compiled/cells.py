"""The formulas of recurrent cells on vectors: gates, states and their gradients in one pass.

The functions here are compiled for whole vectors of numbers (see `vectors`); `compute` is the loop
over the units of a sample. The names are those of `reference.recurrent`: `a` is what the gates get
of the input, `s` of the state; `sent` is the gradient for a state that came back through the matrix
product of the step after, `kept` what came by another way.
"""

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import pointer_to, register_lanes


class Vector:
    """A vector of numbers whose operators write LLVM's instructions."""

    def __init__(self, builder: Any, value: Any):
        self.builder, self.value = builder, value

    def _constant(self, number: float) -> "Vector":
        kind = self.value.type
        return Vector(self.builder, ir.Constant(kind, [float(number)] * kind.count))

    def rounded(self) -> "Vector":
        """Return the nearest whole numbers."""
        kind = self.value.type
        name = f"llvm.rint.v{kind.count}f{32 if kind.element == ir.FloatType() else 64}"
        round_all = self.builder.module.declare_intrinsic(name, (), ir.FunctionType(kind, [kind]))
        return Vector(self.builder, self.builder.call(round_all, [self.value]))

    def _write(self, operation: str, first: Any, second: Any) -> "Vector":
        values = [v if isinstance(v, Vector) else self._constant(v) for v in (first, second)]
        write = getattr(self.builder, operation)
        return Vector(self.builder, write(*[v.value for v in values], flags=["contract"]))

    def __add__(self, other: Any) -> "Vector":
        return self._write("fadd", self, other)

    def __sub__(self, other: Any) -> "Vector":
        return self._write("fsub", self, other)

    def __rsub__(self, other: Any) -> "Vector":
        return self._write("fsub", other, self)

    def __mul__(self, other: Any) -> "Vector":
        return self._write("fmul", self, other)

    def __rmul__(self, other: Any) -> "Vector":
        return self._write("fmul", other, self)

    def __truediv__(self, other: Any) -> "Vector":
        return self._write("fdiv", self, other)

    def __rtruediv__(self, other: Any) -> "Vector":
        return self._write("fdiv", other, self)

    def clip(self, low: float, high: float) -> "Vector":
        """Return the numbers between two bounds; NaN stays NaN."""
        value = self.value
        for sign, bound in (("<", low), (">", high)):
            limit = self._constant(bound).value
            outside = self.builder.fcmp_ordered(sign, value, limit)
            value = self.builder.select(outside, limit, value)
        return Vector(self.builder, value)

    def two_to(self) -> "Vector":
        """Return 2^n for whole numbers n, written into the bits of the exponent."""
        builder, kind = self.builder, self.value.type
        bits, fraction, one = (32, 23, 127) if kind.element == ir.FloatType() else (64, 52, 1023)
        whole = ir.VectorType(ir.IntType(bits), kind.count)
        n = builder.fptosi(self.value, whole)
        n = builder.add(n, ir.Constant(whole, [one] * kind.count))
        n = builder.shl(n, ir.Constant(whole, [fraction] * kind.count))
        return Vector(builder, builder.bitcast(n, kind))


def _exp_parts(x: Vector) -> tuple[Vector, Vector]:
    """Return 2^n and e^r - 1 for x = n log(2) + r, where n is the nearest whole number.

    The series of e^r ends where the next term is below the rounding of the numbers.
    """
    is_single = x.value.type.element == ir.FloatType()
    bound, terms, digits = (87, 7, 11) if is_single else (708, 13, 32)
    x = x.clip(-bound, bound)
    n = (x * (1 / math.log(2))).rounded()
    first = math.floor(math.log(2) * 2**digits) / 2**digits  # its products with n are exact
    second = 0.6931471803691238 - first + 1.9082149292705877e-10  # their sum is log(2)
    r = (x - n * first) - n * second
    total = r * (1 / math.factorial(terms)) + 1 / math.factorial(terms - 1)
    for k in range(terms - 2, 0, -1):
        total = total * r + 1 / math.factorial(k)
    return n.two_to(), total * r


def sigmoid(x: Vector) -> Vector:
    """Return 1 / (1 + e^-x)."""
    power, rest = _exp_parts(x * -1.0)
    return 1.0 / (power * rest + power + 1.0)


def tanh(x: Vector) -> Vector:
    """Return m / (m + 2) for m = e^2x - 1, which is exact near 0."""
    power, rest = _exp_parts(x * 2.0)
    m = power * rest + (power - 1.0)
    return m / (m + 2.0)


# ---------------------------------------------------------------------------------- the cells


def _simple_rnn(a, s):
    return (tanh(a + s),)


def _simple_rnn_grad(grad, sent, kept, h):
    return ((grad + sent + kept) * (1.0 - h * h),)


def _lstm(a_i, a_f, a_g, a_o, s_i, s_f, s_g, s_o, c):
    i, f, g, o = sigmoid(a_i + s_i), sigmoid(a_f + s_f), tanh(a_g + s_g), sigmoid(a_o + s_o)
    c = f * c + i * g
    return i, f, g, o, c, o * tanh(c)


def _lstm_grad(grad, sent, kept, dc, i, f, g, o, c_before, c):
    tanh_c = tanh(c)
    dh = grad + sent + kept
    dc = dc + dh * o * (1.0 - tanh_c * tanh_c)
    di, df, dg, do = dc * g, dc * c_before, dc * i, dh * tanh_c
    return (
        di * i * (1.0 - i), df * f * (1.0 - f), dg * (1.0 - g * g), do * o * (1.0 - o), dc * f
    )  # fmt: skip


def _gru(a_z, a_r, a_g, s_z, s_r, s_g, h):
    z, r = sigmoid(a_z + s_z), sigmoid(a_r + s_r)
    g = tanh(a_g + r * s_g)
    return z, r, g, s_g, z * h + (1.0 - z) * g


def _gru_grad(grad, sent, kept, z, r, g, inner, h):
    dh = grad + sent + kept
    dz = dh * (h - g) * z * (1.0 - z)
    dg = dh * (1.0 - z) * (1.0 - g * g)
    dr = dg * inner * r * (1.0 - r)
    return dz, dr, dg, dz, dr, dg * r, dh * z


def _gru_gates(a_z, a_r, s_z, s_r, h):
    z, r = sigmoid(a_z + s_z), sigmoid(a_r + s_r)
    return z, r, r * h


def _gru_state(a_g, s_g, z, h):
    g = tanh(a_g + s_g)
    return g, z * h + (1.0 - z) * g


def _gru_state_grad(grad, sent, kept, z, g, h):
    dh = grad + sent + kept
    return dh * (h - g) * z * (1.0 - z), dh * (1.0 - z) * (1.0 - g * g), dh * z


def _gru_gates_grad(d_reset, kept, r, h):
    return d_reset * h * r * (1.0 - r), kept + d_reset * r


_CELLS: dict[str, Callable[..., tuple[Vector, ...]]] = {
    "simple_rnn": _simple_rnn,
    "simple_rnn_grad": _simple_rnn_grad,
    "lstm": _lstm,
    "lstm_grad": _lstm_grad,
    "gru": _gru,
    "gru_grad": _gru_grad,
    "gru_gates": _gru_gates,  # those of a GRU whose reset gate is before the product
    "gru_state": _gru_state,
    "gru_state_grad": _gru_state_grad,
    "gru_gates_grad": _gru_gates_grad,
}


@intrinsic(prefer_literal=True)
def compute(_, cell, units, sources, starts, targets, target_starts):
    """Compute a cell of this module for the units of a sample.

    Parameters
    ----------
    cell
        Its name, a constant.
    units
        How many numbers, a multiple of the lanes of a register.
    sources, starts
        Vectors, one for each argument, and the index at which its numbers begin.
    targets, target_starts
        The same for the results.
    """
    if not isinstance(cell, types.StringLiteral):
        return None
    taken = (cell, units, sources, starts, targets, target_starts)
    lanes = register_lanes(sources[0].dtype.bitwidth // 8)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        def pointers(arrays: Any, value: Any, first: Any) -> list[Any]:
            return [
                pointer_to(
                    context, builder, kind,
                    builder.extract_value(value, k), builder.extract_value(first, k),
                )
                for k, kind in enumerate(arrays)
            ]  # fmt: skip

        read, written = pointers(sources, values[2], values[3]), pointers(targets, *values[4:])
        step, zero = ir.Constant(values[1].type, lanes), ir.Constant(values[1].type, 0)
        itemsize = sources[0].dtype.bitwidth // 8
        with cgutils.for_range_slice(builder, zero, values[1], step) as (j, _count):

            def place(pointer: Any) -> Any:
                vector = ir.VectorType(pointer.type.pointee, lanes)
                return builder.bitcast(builder.gep(pointer, [j]), vector.as_pointer())

            numbers = [Vector(builder, builder.load(place(p), align=itemsize)) for p in read]
            for p, result in zip(written, _CELLS[cell.literal_value](*numbers), strict=True):
                builder.store(result.value, place(p), align=itemsize)
        return context.get_dummy_value()

    return types.void(*taken), generate
