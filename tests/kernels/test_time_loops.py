"""The compiled loops over time: bits, rounding and wrong shapes; see also `test_rooms.py`."""

import numpy as np
import pytest

from nn.kernels import reference, threads

recurrent = pytest.importorskip(
    "nn.kernels.cpu.compiled.recurrent", reason="needs Numba (the extra 'fast')"
)


def test_loops_over_time_are_the_same_in_any_number_of_parts(monkeypatch, rng):
    """To the last bit, and with saturated gates too."""
    shapes = (6, 37, 12), (12, 80), (80,), (20, 80)
    given = x, _, _, u = [rng.normal(size=shape).astype("float32") for shape in shapes]
    x[:, 3], mask = 1e4 * x[:, 3], rng.random((6, 37)) > 0.2
    results = []
    for count in (1, 1, 2, 4):
        monkeypatch.setattr(threads, "NUM_THREADS", count)
        h, c, gates = recurrent.lstm(*given, mask)
        da = recurrent.lstm_grad(h[1:], u, c, gates.copy(), mask)
        results.append((h, c, gates, da))
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, same)
    expected = reference.lstm(*given, mask)
    expected = (*expected, reference.lstm_grad(expected[0][1:], u, *expected[1:], mask))
    for one, other in zip(results[0], expected, strict=True):
        # Both differ from float64 by up to 2e-6: the products are rounded, and summed in an order.
        np.testing.assert_allclose(one, other, rtol=4e-6, atol=4e-6 * np.abs(other).max())


def test_cells_are_right_to_a_few_units_in_the_last_place():
    """A layer without weights of the state returns tanh, over all sizes of numbers."""
    for dtype in ("float32", "float64"):
        x = np.geomspace(1e-30, 100, 4000).astype(dtype).reshape(2, 125, 16)
        for sign in (1, -1):
            one, zeros = np.eye(16, dtype=dtype), np.zeros((16, 16), dtype)
            y = recurrent.simple_rnn(sign * x, one, zeros[0], zeros)[1:]
            eps = np.finfo(dtype).eps
            np.testing.assert_allclose(y, np.tanh(sign * x.astype("longdouble")), rtol=4 * eps)
    nan = np.full((2, 1, 32), np.nan)
    zeros = np.zeros((32, 32))
    assert np.isnan(recurrent.simple_rnn(nan, zeros, zeros[0], zeros)[1]).all()


def test_a_kernel_of_another_shape_is_refused():
    x, w = np.ones((2, 3, 5)), np.ones((5, 16))
    for u in (np.ones((4, 12)), np.ones((5, 16))):
        with pytest.raises(ValueError, match=r"\[kernels\] 'u' must be \(U, G \* U\)"):
            recurrent.lstm(x, w, w[0], u)
    with pytest.raises(ValueError, match=r"\[kernels\] 'x' must have 5 numbers"):
        recurrent.lstm(x[:, :, 1:], w, w[0], w[:4])


@pytest.mark.parametrize("shape", [(0, 2), (3, 0)])
@pytest.mark.parametrize("name", ["simple_rnn", "lstm", "gru", "gru_reset_before"])
def test_no_samples_or_no_steps(name, shape):
    """With units that do not fill a vector, too."""
    gates = {"simple_rnn": 1, "lstm": 4}.get(name, 3)
    x, u = np.ones((*shape, 3), "float32"), np.ones((5, gates * 5), "float32")
    given = x, u[:3], u[:2] if name == "gru" else u[0], u
    found, expected = (getattr(room, name)(*given) for room in (recurrent, reference))
    found, expected = ((y if isinstance(y, tuple) else (y,)) for y in (found, expected))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    kept = expected[1:] if name == "lstm" else expected
    grad = getattr(recurrent, f"{name}_grad")(expected[0][1:], u, *kept)
    for da in grad if isinstance(grad, tuple) else (grad,):
        assert da.shape == (*shape, gates * 5)
