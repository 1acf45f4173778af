"""The loops over time of recurrent layers, a line for each formula, and back through time.

x (T, N, D) are T steps of N samples. `a` (T, N, G * U) is what the G gates get of them, x w + b,
for the kernel w (D, G * U) and the bias b (G * U,); `u` (U, G * U) is the recurrent kernel, and
h (T + 1, N, U) the states, h[0] those before the first step, `start` (N, U) or zeros. A gradient
function gets `grad` (T, N, U), the gradient for h[1:] without that of later steps, which it adds as
it goes back (Werbos 1990, "Backpropagation through time", Proceedings of the IEEE 78).

Where `mask` (T, N) is False there is no step: the state stays as it was, and its gradient passes.

The gates are used up: an implementation may return the gradient for `a` in their memory.
"""

from ... import cuda
from ..formulas import sigmoid
from ..geometry import Array


def simple_rnn(
    x: Array, w: Array, b: Array, u: Array, mask: Array | None = None, start: Array | None = None
) -> Array:
    """Return the states h of h[t + 1] = tanh(x[t] w + b + h[t] u)."""
    xp, a = cuda.get_array_module(x), _inputs(x, w, b)
    h = _states(a, u, start)
    for t in range(len(a)):
        h[t + 1] = xp.tanh(a[t] + h[t] @ u)
        _hold(mask, t, h)
    return h


def simple_rnn_grad(grad: Array, u: Array, h: Array, mask: Array | None = None) -> Array:
    """Return the gradient for a of `simple_rnn`."""
    da, dh = cuda.get_array_module(grad).empty_like(grad), 0
    for t in reversed(range(len(grad))):
        dh, passed = _split(mask, t, grad[t] + dh)
        da[t] = dh * (1 - h[t + 1] ** 2)
        dh = da[t] @ u.T + passed
    return da


def lstm(
    x: Array,
    w: Array,
    b: Array,
    u: Array,
    mask: Array | None = None,
    start: Array | None = None,
    start_cell: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Return the states h, the cells c (T + 1, N, U) and the gates i, f, g, o (T, N, 4U).

    Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000.
    """
    xp, a = cuda.get_array_module(x), _inputs(x, w, b)
    h, c, gates = _states(a, u, start), _states(a, u, start_cell), xp.empty_like(a)
    for t in range(len(a)):
        i, f, g, o = _parts(a[t] + h[t] @ u, 4)
        i, f, g, o = sigmoid(i), sigmoid(f), xp.tanh(g), sigmoid(o)
        c[t + 1] = f * c[t] + i * g
        h[t + 1] = o * xp.tanh(c[t + 1])
        gates[t] = xp.concatenate((i, f, g, o), axis=1)
        _hold(mask, t, h, c)
    return h, c, gates


def lstm_grad(grad: Array, u: Array, c: Array, gates: Array, mask: Array | None = None) -> Array:
    """Return the gradient for a of `lstm`."""
    xp = cuda.get_array_module(grad)
    da, dh, dc = xp.empty_like(gates), 0, xp.zeros_like(c[0])
    for t in reversed(range(len(grad))):
        i, f, g, o = _parts(gates[t], 4)
        tanh_c = xp.tanh(c[t + 1])
        dh, passed = _split(mask, t, grad[t] + dh)
        dc, passed_c = _split(mask, t, dc)
        dc = dc + dh * o * (1 - tanh_c**2)
        di, df, dg, do = dc * g, dc * c[t], dc * i, dh * tanh_c
        da[t] = xp.concatenate(
            (di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)), axis=1
        )
        dh, dc = da[t] @ u.T + passed, dc * f + passed_c
    return da


def gru(
    x: Array, w: Array, b: Array, u: Array, mask: Array | None = None, start: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return the states h, the gates z, r, g (T, N, 3U) and what r multiplies (T, N, U).

    The reset gate multiplies the product of the state, h u + b[1], as in cuDNN; b is (2, 3U).
    """
    xp, a = cuda.get_array_module(x), _inputs(x, w, b[0])
    h, gates = _states(a, u, start), xp.empty_like(a)
    inner = xp.empty((*a.shape[:2], len(u)), a.dtype)
    for t in range(len(a)):
        az, ar, ag = _parts(a[t], 3)
        hz, hr, hg = _parts(h[t] @ u + b[1], 3)
        z, r = sigmoid(az + hz), sigmoid(ar + hr)
        g = xp.tanh(ag + r * hg)
        h[t + 1] = z * h[t] + (1 - z) * g
        gates[t], inner[t] = xp.concatenate((z, r, g), axis=1), hg
        _hold(mask, t, h)
    return h, gates, inner


def gru_grad(
    grad: Array, u: Array, h: Array, gates: Array, inner: Array, mask: Array | None = None
) -> tuple[Array, Array]:
    """Return the gradients for a and for h u + b (T, N, 3U) of `gru`."""
    xp = cuda.get_array_module(grad)
    da, ds, dh = xp.empty_like(gates), xp.empty_like(gates), 0
    for t in reversed(range(len(grad))):
        z, r, g = _parts(gates[t], 3)
        dh, passed = _split(mask, t, grad[t] + dh)
        dz = dh * (h[t] - g) * z * (1 - z)
        dg = dh * (1 - z) * (1 - g**2)
        dr = dg * inner[t] * r * (1 - r)
        da[t] = xp.concatenate((dz, dr, dg), axis=1)
        ds[t] = xp.concatenate((dz, dr, dg * r), axis=1)
        dh = dh * z + ds[t] @ u.T + passed
    return da, ds


def gru_reset_before(
    x: Array, w: Array, b: Array, u: Array, mask: Array | None = None, start: Array | None = None
) -> tuple[Array, Array]:
    """Return the states h and the gates z, r, g (T, N, 3U).

    The reset gate multiplies the state before the product, (r * h) u (Cho et al. 2014).
    """
    xp, a = cuda.get_array_module(x), _inputs(x, w, b)
    h, gates, units = _states(a, u, start), xp.empty_like(a), len(u)
    u_zr, u_g = u[:, : 2 * units], u[:, 2 * units :]
    for t in range(len(a)):
        az, ar, ag = _parts(a[t], 3)
        hz, hr = _parts(h[t] @ u_zr, 2)
        z, r = sigmoid(az + hz), sigmoid(ar + hr)
        g = xp.tanh(ag + (r * h[t]) @ u_g)
        h[t + 1] = z * h[t] + (1 - z) * g
        gates[t] = xp.concatenate((z, r, g), axis=1)
        _hold(mask, t, h)
    return h, gates


def gru_reset_before_grad(
    grad: Array, u: Array, h: Array, gates: Array, mask: Array | None = None
) -> Array:
    """Return the gradient for a of `gru_reset_before`."""
    xp = cuda.get_array_module(grad)
    da, dh, units = xp.empty_like(gates), 0, len(u)
    u_zr, u_g = u[:, : 2 * units], u[:, 2 * units :]
    for t in reversed(range(len(grad))):
        z, r, g = _parts(gates[t], 3)
        dh, passed = _split(mask, t, grad[t] + dh)
        dz = dh * (h[t] - g) * z * (1 - z)
        dg = dh * (1 - z) * (1 - g**2)
        drh = dg @ u_g.T  # for r * h
        dr = drh * h[t] * r * (1 - r)
        da[t] = xp.concatenate((dz, dr, dg), axis=1)
        dh = dh * z + drh * r + da[t][:, : 2 * units] @ u_zr.T + passed
    return da


def swap_steps(x: Array) -> Array:
    """Return (N, T, ...) as (T, N, ...), or back, contiguous."""
    return cuda.get_array_module(x).ascontiguousarray(x.swapaxes(0, 1))


def _inputs(x: Array, w: Array, b: Array) -> Array:
    """Return a = x w + b of all steps, (T, N, G * U) for x (T, N, D): one matrix product."""
    a = x.reshape(-1, x.shape[2]) @ w  # (T, N, D) -> (T * N, D) -> (T * N, G * U)
    a += b
    return a.reshape(*x.shape[:2], w.shape[1])


def _parts(a: Array, count: int) -> list[Array]:
    """Return (N, count * U) as so many views (N, U)."""
    units = a.shape[1] // count
    return [a[:, k * units : (k + 1) * units] for k in range(count)]


def _states(a: Array, u: Array, start: Array | None) -> Array:
    """Return zeros (T + 1, N, U) that begin with `start`."""
    states = cuda.get_array_module(a).zeros((len(a) + 1, a.shape[1], len(u)), a.dtype)
    if start is not None:
        states[0] = start
    return states


def _hold(mask: Array | None, t: int, *states: Array) -> None:
    """Undo step t of samples that have no such step."""
    if mask is not None:
        for s in states:
            s[t + 1] = cuda.get_array_module(s).where(mask[t, :, None], s[t + 1], s[t])


def _split(mask: Array | None, t: int, grad: Array) -> tuple[Array, Array | int]:
    """Return a gradient (N, U) of samples that have step t, and of those that have not."""
    if mask is None:
        return grad, 0
    where, has_step = cuda.get_array_module(grad).where, mask[t, :, None]
    return where(has_step, grad, 0), where(has_step, 0, grad)
