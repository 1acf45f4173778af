"""Recurrent layers: a state that goes from step to step of a sequence, and back in `backward`.

The products of the inputs and the loops over time, forward and backward, are
`nn.kernels.reference.recurrent`, in loops of single numbers `nn.naive`.
"""

from typing import Any

import numpy as np

from .. import checks, cuda, initializers, kernels, regularizers
from ..kernels import last_axis_rows as rows  # (T, N, K) -> (T * N, K)
from .base import Array, Shape
from .budget import take_elements
from .config import register
from .masks import Mask
from .weighted import KernelLayer


class Recurrent(KernelLayer):
    """Base of the recurrent layers; its arguments are documented in `LSTM`."""

    input_ndim = (3,)
    input_hint = "sequences are (N, T, features), from Embedding, Reshape or x[:, :, np.newaxis]."
    fixed_axes = slice(2, None)

    uses_mask = True

    #: How many products of the inputs there are, and of arrays that go from step to step.
    gates, states = 1, 1

    def __init__(
        self,
        units: int,
        return_sequences: bool = False,
        go_backwards: bool = False,
        kernel_initializer: str | initializers.Initializer | None = None,
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        **common: Any,
    ):
        super().__init__(kernel_initializer, kernel_regularizer, **common)
        owner = type(self).__name__
        self.units = checks.positive_int(owner, "units", units)
        self.return_sequences = checks.boolean(owner, "return_sequences", return_sequences)
        self.go_backwards = checks.boolean(owner, "go_backwards", go_backwards)

    @property
    def passes_mask(self) -> bool:  # type: ignore[override]
        """Whether the output has the steps of the input."""
        return self.return_sequences

    def mask_after(self, mask: Mask) -> Mask:
        """Return the mask of the states, which are in the order in which they were computed."""
        return super().mask_after(mask[:, ::-1] if self.go_backwards else mask)

    def default_initializer(self) -> str:
        """Return 'glorot_uniform'."""
        return "glorot_uniform"

    def build(self, input_shape: Shape) -> None:
        """Create W, U and b for inputs (None, T, D)."""
        self._check_shape(input_shape)
        features, columns = self._known_size(input_shape, 2), self.gates * self.units
        take_elements(type(self).__name__, (features + self.units + 2) * columns)
        self._set_param("W", self.draw_kernel((features, columns)))
        self._set_param("U", self._orthogonal((self.units, columns)))
        self._set_param("b", self._biases())
        steps = (input_shape[1],) if self.return_sequences else ()
        self._built(input_shape, (None, *steps, self.units))

    def _orthogonal(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw a matrix whose rows are orthogonal, of length 1; the same one at each call."""
        seed: Any = self.rng.bit_generator.seed_seq
        rng = np.random.Generator(np.random.PCG64(seed).jumped())  # other numbers than those of W
        q, r = np.linalg.qr(rng.standard_normal(shape[::-1]))
        return (q * np.sign(np.diag(r))).T

    def _biases(self) -> np.ndarray:
        return np.zeros(self.gates * self.units)

    def forward(self, x: Array, training: bool | None = False, mask: Array | None = None) -> Array:
        """Return the last state (N, U) for x (N, T, D), or those of all steps (N, T, U).

        Steps at which `mask` (N, T) is False leave the state as it is.
        """
        x = self._check_input(x)
        steps, mask = self._by_time(x), checks.mask(type(self).__name__, mask, x.shape[:2])
        if mask is not None:
            mask = self._by_time(mask)
        h, *kept = self._run(steps, mask)
        y = kernels.swap_steps(h[1:]) if self.return_sequences else h[-1].copy()
        self._keep(training, y, steps, mask, h, *kept)
        return y

    def step(self, x: Array, state: Any = None) -> tuple[Array, Any]:
        """Return the state after the next step (N, 1, D), as `forward` does, and all to go on with.

        Parameters
        ----------
        x
            The next step (N, 1, D) of each sequence.
        state
            What the call for the step before returned; None to begin.

        Raises
        ------
        ValueError
            For a layer that reads sequences from their end.
        """
        if self.go_backwards:
            rule = "must be False for step(), which does not know the end of a sequence"
            raise checks.error(type(self).__name__, "go_backwards", rule, True)
        x = self._check_input(x)
        results = self._run(x.swapaxes(0, 1), None, *(state or ()))  # (N, 1, D) -> (1, N, D)
        after = tuple(s[-1] for s in results[: self.states])
        return (after[0][:, None] if self.return_sequences else after[0]), after

    def backward(self, grad: Array) -> Array:
        """Go back through time: fill the gradients of W, U and b; return the input's."""
        da = self.backward_params(grad)
        dx = kernels.matmul(rows(da), self.params["W"].T)  # (T * N, G * U) -> (T * N, D)
        dx = dx.reshape(*da.shape[:2], dx.shape[1]).swapaxes(0, 1)  # -> (N, T, D)
        return dx[:, ::-1] if self.go_backwards else dx

    def backward_params(self, grad: Array) -> Array:
        """Fill the gradients of W, U and b; return that for x W + b of all steps (T, N, G * U)."""
        steps, mask, h, *kept = self._recall_for(grad)
        if self.return_sequences:
            grad = grad.swapaxes(0, 1)  # (N, T, U) -> (T, N, U)
        else:
            last, grad = grad, cuda.get_array_module(grad).zeros_like(h[1:])
            grad[-1] = last
        da, ds = self._run_back(grad, mask, h, *kept)
        if self._trainable:
            self.grads["W"] = kernels.matmul(rows(steps).T, rows(da))
            self._fill_recurrent(h[:-1], da, ds, *kept)
        return da

    def _by_time(self, x: Array) -> Array:
        """Return x (N, T, ...) as (T, N, ...), in the order in which the steps are read."""
        return kernels.swap_steps(x[:, ::-1] if self.go_backwards else x)

    def _weights(self) -> tuple[Array, Array, Array]:
        return self.params["W"], self.params["b"], self.params["U"]

    def _run(self, x: Array, mask: Array | None, *start: Array) -> tuple[Array, ...]:
        """Return the states h (T + 1, N, U) for x (T, N, D), and what else `_run_back` takes."""
        raise NotImplementedError(f"[{type(self).__name__}] needs _run and _run_back.")

    def _run_back(
        self, grad: Array, mask: Array | None, h: Array, *kept: Array
    ) -> tuple[Array, Array]:
        """Return the gradients for x W + b and for h U of all steps, given that for h[1:]."""
        raise NotImplementedError(f"[{type(self).__name__}] needs _run and _run_back.")

    def _fill_recurrent(self, h: Array, da: Array, ds: Array, *kept: Array) -> None:
        """Fill the gradients of U and b."""
        self.grads["U"] = kernels.matmul(rows(h).T, rows(ds))
        self.grads["b"] = kernels.column_sums(rows(da))


@register
class SimpleRNN(Recurrent):
    """h[t] = tanh(x[t] W + h[t-1] U + b), from a state of zeros.

    Elman 1990, "Finding structure in time", Cognitive Science 14.

    Parameters
    ----------
    units, return_sequences, go_backwards, kernel_initializer, kernel_regularizer, **common
        As for `LSTM`.

    Attributes
    ----------
    params : dict
        'W' of shape (D, U), 'U' (U, U) and 'b' (U,).

    Raises
    ------
    ValueError
        For an input that is not (N, T, D).

    Examples
    --------
    >>> layer = SimpleRNN(1, return_sequences=True)
    >>> layer.build((None, 3, 1))
    >>> layer.params["W"][...], layer.params["U"][...] = 1, 0.5
    >>> layer.forward(np.array([[[1.0], [0.0], [0.0]]])).round(3)
    array([[[0.762],
            [0.363],
            [0.18 ]]])
    """

    def _run(self, x: Array, mask: Array | None, *start: Array) -> tuple[Array, ...]:
        return (kernels.simple_rnn(x, *self._weights(), mask, *start),)

    def _run_back(
        self, grad: Array, mask: Array | None, h: Array, *kept: Array
    ) -> tuple[Array, Array]:
        da = kernels.simple_rnn_grad(grad, self.params["U"], h, mask)
        return da, da


@register
class LSTM(Recurrent):
    """Long short-term memory: a cell c that gates write to, forget and read from.

    ::

        i = sigmoid(x W_i + h U_i + b_i)      what is written
        f = sigmoid(x W_f + h U_f + b_f)      what is kept
        g = tanh(x W_c + h U_c + b_c)         the new values
        o = sigmoid(x W_o + h U_o + b_o)      what is read
        c = f * c + i * g
        h = o * tanh(c)

    State and cell begin with zeros. The forget gate's bias begins with 1, so that at first the
    cell keeps most of its values. With a mask (N, T), state and cell stay as they are at steps of
    padding, which the last state of a padded sequence therefore does not depend on, in either
    direction.

    Parameters
    ----------
    units
        Size U of state, cell and output.
    return_sequences
        Whether to return the states of all steps, (N, T, U), or the last one, (N, U).
    go_backwards
        Whether to read the sequence from its end; the states are returned in the order in which
        they are computed, as in Keras.
    kernel_initializer
        Name or function (see `nn.initializers`) for W; by default 'glorot_uniform'. U is
        orthogonal (Saxe et al. 2014, arXiv 1312.6120).
    kernel_regularizer
        A penalty on W in the loss, as in `Dense`.
    **common
        `name`, `input_shape` (T, D), `trainable` and `lr_factor`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'W' of shape (D, 4U), 'U' (U, 4U) and 'b' (4U,), the gates in the order i, f, c, o, as in
        Keras and PyTorch.

    Raises
    ------
    ValueError
        For an input that is not (N, T, D).

    References
    ----------
    Hochreiter and Schmidhuber 1997, "Long short-term memory", Neural Computation 9; the forget
    gate: Gers, Schmidhuber and Cummins 2000, "Learning to forget", Neural Computation 12

    Examples
    --------
    >>> layer = LSTM(8, return_sequences=True)
    >>> layer.forward(np.zeros((4, 10, 3))).shape
    (4, 10, 8)
    """

    gates, states = 4, 2

    def _biases(self) -> np.ndarray:
        return np.repeat([0.0, 1.0, 0.0, 0.0], self.units)

    def _run(self, x: Array, mask: Array | None, *start: Array) -> tuple[Array, ...]:
        return kernels.lstm(x, *self._weights(), mask, *start)

    def _run_back(
        self, grad: Array, mask: Array | None, h: Array, *kept: Array
    ) -> tuple[Array, Array]:
        c, gates = kept
        da = kernels.lstm_grad(grad, self.params["U"], c, gates, mask)
        return da, da


@register
class GRU(Recurrent):
    """Gated recurrent unit: a state that a gate z keeps, and a gate r that resets it.

    ::

        z = sigmoid(x W_z + h U_z + b_z)
        r = sigmoid(x W_r + h U_r + b_r)
        g = tanh(x W_h + b_h + r * (h U_h + b'_h))      reset_after=True
        g = tanh(x W_h + b_h + (r * h) U_h)             reset_after=False
        h = z * h + (1 - z) * g

    With `reset_after` there are biases of the inputs and of the states, b and b', for all three, as
    in cuDNN and PyTorch.

    Parameters
    ----------
    units, return_sequences, go_backwards
        As for `LSTM`.
    reset_after
        Whether r multiplies after the matrix product, as in Keras by default and in PyTorch, or
        before it, as in the paper.
    kernel_initializer, kernel_regularizer, **common
        As for `LSTM`.

    Attributes
    ----------
    params : dict
        'W' of shape (D, 3U), 'U' (U, 3U) and 'b', (2, 3U) with `reset_after`, else (3U,); in the
        order z, r, h, as in Keras (PyTorch has r, z, h).

    Raises
    ------
    ValueError
        For an input that is not (N, T, D).

    References
    ----------
    Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical
    machine translation", arXiv 1406.1078

    Examples
    --------
    >>> layer = GRU(8)
    >>> layer.forward(np.zeros((4, 10, 3))).shape, layer.params["b"].shape
    ((4, 8), (2, 24))
    """

    gates = 3

    def __init__(
        self,
        units: int,
        return_sequences: bool = False,
        go_backwards: bool = False,
        reset_after: bool = True,
        **common: Any,
    ):
        super().__init__(units, return_sequences, go_backwards, **common)
        self.reset_after = checks.boolean("GRU", "reset_after", reset_after)

    def _biases(self) -> np.ndarray:
        return np.zeros((2, 3 * self.units) if self.reset_after else 3 * self.units)

    def _run(self, x: Array, mask: Array | None, *start: Array) -> tuple[Array, ...]:
        if self.reset_after:
            return kernels.gru(x, *self._weights(), mask, *start)
        return kernels.gru_reset_before(x, *self._weights(), mask, *start)

    def _run_back(
        self, grad: Array, mask: Array | None, h: Array, *kept: Array
    ) -> tuple[Array, Array]:
        if self.reset_after:
            gates, inner = kept
            return kernels.gru_grad(grad, self.params["U"], h, gates, inner, mask)
        da = kernels.gru_reset_before_grad(grad, self.params["U"], h, kept[0], mask)
        return da, da

    def _fill_recurrent(self, h: Array, da: Array, ds: Array, *kept: Array) -> None:
        super()._fill_recurrent(h, da, ds)
        xp, units = cuda.get_array_module(h), self.units
        if self.reset_after:
            self.grads["b"] = xp.stack((self.grads["b"], kernels.column_sums(rows(ds))))
        else:  # the last part of U is multiplied by r * h
            reset = kept[0][:, :, units : 2 * units] * h
            self.grads["U"][:, 2 * units :] = kernels.matmul(
                rows(reset).T, rows(xp.ascontiguousarray(da[:, :, 2 * units :]))
            )
