"""The loops over time of recurrent layers, compiled; see `reference.recurrent` for the formulas.

Each thread runs all steps for its share of the samples, so that threads never wait for one another.
A step is a matrix product of the states with the recurrent kernel, and one pass over its result in
which `cells` computes gates, cell and state. The recurrent kernel is copied into panels of adjacent
columns once for all steps. Units are filled up with zeros to whole vectors: a unit whose weights
are all 0 has the state 0 and changes no other.
"""

import numpy as np

from ... import reference
from ...geometry import Array
from ..compiler import compile_kernel
from .cells import compute
from .panels import multiply
from .steps import Sizes

# ------------------------------------------------------------------------ loops over the steps

# All arrays are flat. `inputs` are those of `Sizes.inputs`; `sizes` are steps, samples and units;
# `mask` is empty if there is none.


@compile_kernel
def _input_product(inputs, first, count, s):
    """Return what the gates get of the inputs of a step: an array, where it begins, and its rows.

    It is computed here, to s, or it is there for all steps.
    """
    x, panels, bias, features = inputs
    if panels.size == 0:
        return x, first * bias.size, bias.size
    multiply(x, first * features, features, count, panels, features, bias, s)
    return s, 0, bias.size


@compile_kernel
def _stays(mask, row):
    """Return whether a sample has no such step."""
    return mask.size > 0 and not mask[row]


@compile_kernel
def _keep(states, now, after, units):
    """Copy a state to that after the next step, as it is for a sample that has no such step."""
    for j in range(units):
        states[after + j] = states[now + j]


@compile_kernel
def _simple_rnn(inputs, panels, bias, mask, h, sizes, part, lo, hi):
    steps, samples, units = sizes
    s, s_x = np.empty((hi - lo) * bias.size, h.dtype), np.empty((hi - lo) * bias.size, h.dtype)
    for t in range(steps):
        a, start, step = _input_product(inputs, t * samples + lo, hi - lo, s_x)
        multiply(h, (t * samples + lo) * units, units, hi - lo, panels, units, bias, s)
        for n in range(lo, hi):
            row = t * samples + n
            now, after = row * units, (row + samples) * units
            if _stays(mask, row):
                _keep(h, now, after, units)
            else:
                begins = start + (n - lo) * step, (n - lo) * bias.size
                compute("simple_rnn", units, (a, s), begins, (h,), (after,))


@compile_kernel
def _lstm(inputs, panels, bias, mask, gates, states, sizes, part, lo, hi):
    (h, c), (steps, samples, units) = states, sizes
    s, s_x = np.empty((hi - lo) * bias.size, h.dtype), np.empty((hi - lo) * bias.size, h.dtype)
    for t in range(steps):
        a, start, step = _input_product(inputs, t * samples + lo, hi - lo, s_x)
        multiply(h, (t * samples + lo) * units, units, hi - lo, panels, units, bias, s)
        for n in range(lo, hi):
            row, i, f = t * samples + n, start + (n - lo) * step, (n - lo) * bias.size
            now, after, g = row * units, (row + samples) * units, 4 * row * units
            compute(
                "lstm", units, (a, a, a, a, s, s, s, s, c),
                (i, i + units, i + 2 * units, i + 3 * units,
                 f, f + units, f + 2 * units, f + 3 * units, now),
                (gates, gates, gates, gates, c, h),
                (g, g + units, g + 2 * units, g + 3 * units, after, after),
            )  # fmt: skip
            if _stays(mask, row):
                _keep(h, now, after, units)
                _keep(c, now, after, units)


@compile_kernel
def _gru(inputs, panels, bias, mask, gates, inner, h, sizes, part, lo, hi):
    steps, samples, units = sizes
    s, s_x = np.empty((hi - lo) * bias.size, h.dtype), np.empty((hi - lo) * bias.size, h.dtype)
    for t in range(steps):
        a, start, step = _input_product(inputs, t * samples + lo, hi - lo, s_x)
        multiply(h, (t * samples + lo) * units, units, hi - lo, panels, units, bias, s)
        for n in range(lo, hi):
            row, i, f = t * samples + n, start + (n - lo) * step, (n - lo) * bias.size
            now, after, g = row * units, (row + samples) * units, 3 * row * units
            compute(
                "gru", units, (a, a, a, s, s, s, h),
                (i, i + units, i + 2 * units, f, f + units, f + 2 * units, now),
                (gates, gates, gates, inner, h),
                (g, g + units, g + 2 * units, now, after),
            )  # fmt: skip
            if _stays(mask, row):
                _keep(h, now, after, units)


@compile_kernel
def _gru_reset_before(inputs, panels, biases, mask, gates, h, sizes, part, lo, hi):
    (gate_panels, state_panels), (gate_bias, state_bias) = panels, biases
    steps, samples, units = sizes
    s_x = np.empty((hi - lo) * inputs[2].size, h.dtype)
    s = np.empty((hi - lo) * gate_bias.size, h.dtype)
    s_g = np.empty((hi - lo) * state_bias.size, h.dtype)
    reset = np.empty((hi - lo) * units, h.dtype)
    for t in range(steps):
        first = (t * samples + lo) * units
        a, start, step = _input_product(inputs, t * samples + lo, hi - lo, s_x)
        multiply(h, first, units, hi - lo, gate_panels, units, gate_bias, s)
        for n in range(lo, hi):
            row, i, f = t * samples + n, start + (n - lo) * step, (n - lo) * gate_bias.size
            now, g = row * units, 3 * row * units
            compute(
                "gru_gates", units, (a, a, s, s, h), (i, i + units, f, f + units, now),
                (gates, gates, reset), (g, g + units, (n - lo) * units),
            )  # fmt: skip
        multiply(reset, 0, units, hi - lo, state_panels, units, state_bias, s_g)
        for n in range(lo, hi):
            row, i = t * samples + n, start + (n - lo) * step
            now, after, g = row * units, (row + samples) * units, 3 * row * units
            compute(
                "gru_state", units, (a, s_g, gates, h),
                (i + 2 * units, (n - lo) * state_bias.size, g, now),
                (gates, h), (g + 2 * units, after),
            )  # fmt: skip
            if _stays(mask, row):
                _keep(h, now, after, units)


# ------------------------------------------------------------------------ back through time

# `grads` are the gradient for the states, flat, and the numbers from one step and one sample to the
# next.


@compile_kernel
def _pass_on(grad, at, sent, f, kept, k, units):
    """Add up the gradient for a state that stays as it was; it is that for the state before."""
    for j in range(units):
        kept[k + j] += grad[at + j] + sent[f + j]


@compile_kernel
def _simple_rnn_grad(grads, panels, bias, mask, h, da, sizes, part, lo, hi):
    (grad, by_step, by_sample), (steps, samples, units) = grads, sizes
    sent, kept = np.zeros((hi - lo) * bias.size, da.dtype), np.zeros((hi - lo) * units, da.dtype)
    for t in range(steps - 1, -1, -1):
        for n in range(lo, hi):
            row, f, k = t * samples + n, (n - lo) * bias.size, (n - lo) * units
            now, at = row * units, t * by_step + n * by_sample
            if _stays(mask, row):
                _pass_on(grad, at, sent, f, kept, k, units)
                da[now : now + units] = 0
            else:
                compute(
                    "simple_rnn_grad", units, (grad, sent, kept, h),
                    (at, f, k, now + samples * units), (da,), (now,),
                )  # fmt: skip
                if mask.size > 0:
                    kept[k : k + units] = 0
        if t > 0:
            multiply(da, (t * samples + lo) * units, units, hi - lo, panels, units, bias, sent)


@compile_kernel
def _lstm_grad(grads, panels, bias, mask, c, gates, sizes, part, lo, hi):
    (grad, by_step, by_sample), (steps, samples, units) = grads, sizes
    sent, kept = np.zeros((hi - lo) * bias.size, c.dtype), np.zeros((hi - lo) * units, c.dtype)
    dc, wide = np.zeros((hi - lo) * units, c.dtype), 4 * units
    for t in range(steps - 1, -1, -1):
        for n in range(lo, hi):
            row, f, k = t * samples + n, (n - lo) * bias.size, (n - lo) * units
            now, g, at = row * units, row * wide, t * by_step + n * by_sample
            if _stays(mask, row):
                _pass_on(grad, at, sent, f, kept, k, units)
                gates[g : g + wide] = 0
            else:
                compute(
                    "lstm_grad", units,
                    (grad, sent, kept, dc, gates, gates, gates, gates, c, c),
                    (at, f, k, k, g, g + units, g + 2 * units, g + 3 * units,
                     now, now + samples * units),
                    (gates, gates, gates, gates, dc),
                    (g, g + units, g + 2 * units, g + 3 * units, k),
                )  # fmt: skip
                if mask.size > 0:
                    kept[k : k + units] = 0
        if t > 0:
            multiply(gates, (t * samples + lo) * wide, wide, hi - lo, panels, wide, bias, sent)


@compile_kernel
def _gru_grad(grads, panels, bias, mask, h, gates, inner, ds, sizes, part, lo, hi):
    (grad, by_step, by_sample), (steps, samples, units) = grads, sizes
    sent, kept = np.zeros((hi - lo) * bias.size, ds.dtype), np.zeros((hi - lo) * units, ds.dtype)
    wide = 3 * units
    for t in range(steps - 1, -1, -1):
        for n in range(lo, hi):
            row, f, k = t * samples + n, (n - lo) * bias.size, (n - lo) * units
            now, g, at = row * units, row * wide, t * by_step + n * by_sample
            if _stays(mask, row):
                _pass_on(grad, at, sent, f, kept, k, units)
                gates[g : g + wide] = 0
                ds[g : g + wide] = 0
            else:
                compute(
                    "gru_grad", units, (grad, sent, kept, gates, gates, gates, inner, h),
                    (at, f, k, g, g + units, g + 2 * units, now, now),
                    (gates, gates, gates, ds, ds, ds, kept),
                    (g, g + units, g + 2 * units, g, g + units, g + 2 * units, k),
                )  # fmt: skip
        if t > 0:
            multiply(ds, (t * samples + lo) * wide, wide, hi - lo, panels, wide, bias, sent)


@compile_kernel
def _gru_reset_before_grad(grads, panels, bias, mask, h, gates, da, sizes, part, lo, hi):
    (grad, by_step, by_sample), (steps, samples, units) = grads, sizes
    (gate_panels, state_panels), size = panels, (hi - lo) * bias.size
    sent, d_reset = np.zeros(size, da.dtype), np.empty(size, da.dtype)
    kept, wide = np.zeros((hi - lo) * units, da.dtype), 3 * units
    for t in range(steps - 1, -1, -1):
        first = (t * samples + lo) * wide
        for n in range(lo, hi):
            row, f, k = t * samples + n, (n - lo) * bias.size, (n - lo) * units
            now, g, at = row * units, row * wide, t * by_step + n * by_sample
            if _stays(mask, row):
                _pass_on(grad, at, sent, f, kept, k, units)
                da[g : g + wide] = 0
            else:
                compute(
                    "gru_state_grad", units, (grad, sent, kept, gates, gates, h),
                    (at, f, k, g, g + 2 * units, now),
                    (da, da, kept), (g, g + 2 * units, k),
                )  # fmt: skip
        multiply(da, first + 2 * units, wide, hi - lo, state_panels, units, bias, d_reset)
        for n in range(lo, hi):
            row, f, k = t * samples + n, (n - lo) * bias.size, (n - lo) * units
            if not _stays(mask, row):
                compute(
                    "gru_gates_grad", units, (d_reset, kept, gates, h),
                    (f, k, 3 * row * units + units, row * units),
                    (da, kept), (3 * row * units + units, k),
                )  # fmt: skip
        if t > 0:
            multiply(da, first, wide, hi - lo, gate_panels, 2 * units, bias, sent)


# ---------------------------------------------------------------------------------- the kernels


def simple_rnn(
    x: Array, w: Array, b: Array, u: Array, mask: Array | None = None, start: Array | None = None
) -> Array:
    """See `reference.simple_rnn`."""
    if len(x) == 1:  # panels would serve one step alone
        return reference.simple_rnn(x, w, b, u, mask, start)
    sizes = Sizes(x, u, w)
    h = sizes.states(start)
    panels = sizes.panels(sizes.matrix(u))
    sizes.run(_simple_rnn, sizes.inputs(x, w, b), *panels, mask, h.ravel())
    return sizes.narrow(h)


def simple_rnn_grad(grad: Array, u: Array, h: Array, mask: Array | None = None) -> Array:
    """See `reference.simple_rnn_grad`."""
    sizes = Sizes(grad, u)
    da = sizes.empty(1)
    panels = sizes.panels(sizes.matrix(u).T)
    sizes.run(
        _simple_rnn_grad, sizes.gradient(grad), *panels, mask, sizes.widen(h).ravel(), da.ravel()
    )
    return sizes.narrow(da)


def lstm(
    x: Array,
    w: Array,
    b: Array,
    u: Array,
    mask: Array | None = None,
    start: Array | None = None,
    start_cell: Array | None = None,
) -> tuple[Array, Array, Array]:
    """See `reference.lstm`."""
    if len(x) == 1:  # panels would serve one step alone
        return reference.lstm(x, w, b, u, mask, start, start_cell)
    sizes = Sizes(x, u, w)
    h, c, gates = sizes.states(start), sizes.states(start_cell), sizes.empty(4)
    panels = sizes.panels(sizes.matrix(u))
    inputs, states = sizes.inputs(x, w, b), (h.ravel(), c.ravel())
    sizes.run(_lstm, inputs, *panels, mask, gates.ravel(), states)
    return sizes.narrow(h), sizes.narrow(c), sizes.narrow(gates)


def lstm_grad(grad: Array, u: Array, c: Array, gates: Array, mask: Array | None = None) -> Array:
    """See `reference.lstm_grad`."""
    sizes = Sizes(grad, u)
    panels = sizes.panels(sizes.matrix(u).T)
    c, da = sizes.widen(c), sizes.widen(gates)
    sizes.run(_lstm_grad, sizes.gradient(grad), *panels, mask, c.ravel(), da.ravel())
    return sizes.narrow(da)


def gru(
    x: Array, w: Array, b: Array, u: Array, mask: Array | None = None, start: Array | None = None
) -> tuple[Array, Array, Array]:
    """See `reference.gru`."""
    if len(x) == 1:  # panels would serve one step alone
        return reference.gru(x, w, b, u, mask, start)
    sizes = Sizes(x, u, w)
    h, gates, inner = sizes.states(start), sizes.empty(3), sizes.empty(1)
    panels, bias = sizes.panels(sizes.matrix(u))
    bias[: 3 * sizes.wide] = sizes.widen(b[1])
    results = gates.ravel(), inner.ravel(), h.ravel()
    sizes.run(_gru, sizes.inputs(x, w, b[0]), panels, bias, mask, *results)
    return sizes.narrow(h), sizes.narrow(gates), sizes.narrow(inner)


def gru_grad(
    grad: Array, u: Array, h: Array, gates: Array, inner: Array, mask: Array | None = None
) -> tuple[Array, Array]:
    """See `reference.gru_grad`."""
    sizes = Sizes(grad, u)
    ds, panels = sizes.empty(3), sizes.panels(sizes.matrix(u).T)
    h, da, inner = (sizes.widen(x) for x in (h, gates, inner))
    kept = (h.ravel(), da.ravel(), inner.ravel())
    sizes.run(_gru_grad, sizes.gradient(grad), *panels, mask, *kept, ds.ravel())
    return sizes.narrow(da), sizes.narrow(ds)


def gru_reset_before(
    x: Array, w: Array, b: Array, u: Array, mask: Array | None = None, start: Array | None = None
) -> tuple[Array, Array]:
    """See `reference.gru_reset_before`."""
    if len(x) == 1:  # panels would serve one step alone
        return reference.gru_reset_before(x, w, b, u, mask, start)
    sizes = Sizes(x, u, w)
    h, gates, u = sizes.states(start), sizes.empty(3), sizes.matrix(u)
    of_gates = sizes.panels(u[:, : 2 * sizes.wide])
    of_state = sizes.panels(u[:, 2 * sizes.wide :])
    panels, biases = zip(of_gates, of_state, strict=True)
    inputs = sizes.inputs(x, w, b)
    sizes.run(_gru_reset_before, inputs, panels, biases, mask, gates.ravel(), h.ravel())
    return sizes.narrow(h), sizes.narrow(gates)


def gru_reset_before_grad(
    grad: Array, u: Array, h: Array, gates: Array, mask: Array | None = None
) -> Array:
    """See `reference.gru_reset_before_grad`."""
    sizes = Sizes(grad, u)
    da, u = sizes.empty(3), sizes.matrix(u)
    of_gates, bias = sizes.panels(u[:, : 2 * sizes.wide].T)
    of_state, _ = sizes.panels(u[:, 2 * sizes.wide :].T)
    kept = [sizes.widen(x).ravel() for x in (h, gates)]
    sizes.run(
        _gru_reset_before_grad, sizes.gradient(grad), (of_gates, of_state), bias, mask, *kept,
        da.ravel(),
    )  # fmt: skip
    return sizes.narrow(da)
