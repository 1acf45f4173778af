"""Attention: each step of a sequence looks at the others; and what tells it where they stand."""

from typing import Any

import numpy as np

from .. import checks, cuda, initializers, kernels, regularizers
from ..kernels import last_axis_rows as rows  # (N, T, D) -> (N * T, D)
from .base import Array, Layer, Shape
from .budget import take_elements
from .config import register
from .conv1d import HINT
from .shard import draw
from .weighted import KernelLayer


@register
class MultiHeadAttention(KernelLayer):
    """Self-attention: each step is replaced by a weighted mean of all, in several heads.

    ::

        q, k, v = x W + b                       (N, T, K) each, for each of H heads
        head = softmax(q k^T / sqrt(K)) v       the weights of a step are a row of the softmax
        y = [heads side by side] W_out + b_out

    Vaswani et al. 2017, "Attention is all you need", arXiv 1706.03762, section 3.2. The output has
    the shape of x. A step that a mask leaves out gets no weight; one that sees no other gets b_out.

    What is kept for `backward` does not grow with T^2: the weights are computed again from the
    queries and keys, as in "FlashAttention" (Dao et al. 2022, arXiv 2205.14135, section 3.1). With
    dropout, which of them were kept is stored, a byte for each.

    Parameters
    ----------
    num_heads
        Number of heads H.
    key_dim
        Size K of a head's queries, keys and values; D / H as a rule.
    causal
        Whether a step sees itself and those before it alone, as models that predict the next step
        need it.
    dropout
        Share of the weights that is dropped in training, in [0, 1).
    use_bias
        Whether to add b and b_out.
    kernel_initializer
        Name or function (see `nn.initializers`) for W and W_out; by default 'glorot_uniform'.
    kernel_regularizer
        A penalty on W in the loss, as in `Dense`.
    **common
        `name`, `input_shape` (T, D), `trainable` and `lr_factor`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'W' of shape (D, 3 * H * K), the columns those of the queries, keys and values, of each
        those of the first head first; 'b' (3 * H * K,), 'W_out' (H * K, D) and 'b_out' (D,). In
        PyTorch they are `in_proj_weight.T`, `in_proj_bias`, `out_proj.weight.T` and
        `out_proj.bias`; in Keras W is the kernels of query, key and value, (D, H, K) each, as
        matrices side by side.

    Raises
    ------
    ValueError
        For an input that is not (N, T, D).

    Examples
    --------
    >>> layer = MultiHeadAttention(2, 4, causal=True)
    >>> layer.forward(np.zeros((3, 10, 8))).shape
    (3, 10, 8)
    >>> {name: array.shape for name, array in layer.params.items()}
    {'W': (8, 24), 'W_out': (8, 8), 'b': (24,), 'b_out': (8,)}
    """

    input_ndim = (3,)
    input_hint = HINT
    fixed_axes = slice(2, None)

    #: Steps that a mask leaves out get no weight, and the output has the same steps.
    uses_mask = True
    passes_mask = True

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        causal: bool = False,
        dropout: float = 0.0,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer | None = None,
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        **common: Any,
    ):
        super().__init__(kernel_initializer, kernel_regularizer, **common)
        owner = "MultiHeadAttention"
        self.num_heads = checks.positive_int(owner, "num_heads", num_heads)
        self.key_dim = checks.positive_int(owner, "key_dim", key_dim)
        self.causal = checks.boolean(owner, "causal", causal)
        self.dropout = checks.fraction(owner, "dropout", dropout)
        self.use_bias = checks.boolean(owner, "use_bias", use_bias)

    def default_initializer(self) -> str:
        """Return 'glorot_uniform'."""
        return "glorot_uniform"

    def build(self, input_shape: Shape) -> None:
        """Create the parameters for inputs (None, T, D)."""
        self._check_shape(input_shape)
        features, width = int(input_shape[2] or 0), self.num_heads * self.key_dim
        take_elements("MultiHeadAttention", (4 * features + 3) * width + features)
        kernel = self.draw_kernel((features, 4 * width))  # that of the output too
        self._set_param("W", kernel[:, : 3 * width])
        self._set_param("W_out", kernel[:, 3 * width :].T)
        if self.use_bias:
            self._set_param("b", np.zeros(3 * width))
            self._set_param("b_out", np.zeros(features))
        self._built(input_shape, input_shape)

    def forward(self, x: Array, training: bool | None = False, mask: Array | None = None) -> Array:
        """Return the attention of the steps of x (N, T, D) to each other, (N, T, D).

        Parameters
        ----------
        x, training
            As for every layer.
        mask
            (N, T), True for the steps that are there; None for all.
        """
        x = self._check_input(x)
        mask = checks.mask(type(self).__name__, mask, x.shape[:2])
        qkv = self._project(x)
        how = (mask, self.causal, self._dropped(x, training), self.dropout)
        y, norms = kernels.attend(qkv, *how)
        z = self._join_heads(y)
        self._keep(training, z, x, qkv, y, norms, how)
        return z

    def step(self, x: Array, state: Any = None) -> tuple[Array, Any]:
        """Return the output for the next step alone, and the state after it.

        Parameters
        ----------
        x
            The next step (N, 1, D) of each sequence.
        state
            What the call for the step before returned: keys and values of the steps so far, each
            (N, H, T, K). None for the first step.

        Raises
        ------
        ValueError
            For a layer that is not causal, whose outputs change with later steps.
        """
        if not self.causal:
            rule = "must be True for step(), as outputs must not depend on later steps"
            raise checks.error("MultiHeadAttention", "causal", rule, self.causal)
        x = self._check_input(x)
        q, k, v = self._project(x).transpose(2, 0, 3, 1, 4)  # (N, 1, 3, H, K) -> 3 of (N, H, 1, K)
        if state is not None:
            xp = cuda.get_array_module(x)
            k, v = (xp.concatenate(pair, axis=2) for pair in zip(state, (k, v), strict=True))
        return self._join_heads(kernels.attend_last(q, k, v)), (k, v)

    def _project(self, x: Array) -> Array:
        """Return the queries, keys and values (N, T, 3, H, K) of x (N, T, D)."""
        qkv = kernels.matmul(rows(x), self.params["W"], self.params.get("b"))
        # (N * T, 3 * H * K) -> (N, T, 3, H, K)
        return qkv.reshape(*x.shape[:2], 3, self.num_heads, self.key_dim)

    def _dropped(self, x: Array, training: bool | None) -> Array | None:
        """Draw which weights (N, H, T, T) dropout keeps; None if all are."""
        if not training or self.dropout == 0:
            return None
        n, steps, _ = x.shape
        weights = cuda.get_array_module(x).empty((n, self.num_heads, steps, steps), bool)
        return draw(kernels.dropout_mask, weights, self.dropout, self.rng)

    def _join_heads(self, y: Array) -> Array:
        """Return the output (N, T, D) for the heads' y (N, T, H, K)."""
        # (N, T, H, K) -> (N * T, H * K)
        heads = y.reshape(-1, self.num_heads * self.key_dim)
        z = kernels.matmul(heads, self.params["W_out"], self.params.get("b_out"))
        return z.reshape(*y.shape[:2], z.shape[1])  # (N * T, D) -> (N, T, D)

    def backward(self, grad: Array) -> Array:
        """Fill the gradients of the parameters; return the input's."""
        dqkv = self.backward_params(grad)
        dx = kernels.matmul(dqkv, self.params["W"].T)  # (N * T, 3 * H * K) -> (N * T, D)
        return dx.reshape(grad.shape)

    def backward_params(self, grad: Array) -> Array:
        """Fill the gradients of the parameters; return that for x W + b, (N * T, 3 * H * K)."""
        x, qkv, y, norms, how = self._recall_for(grad)
        g = rows(grad)
        dy = kernels.matmul(g, self.params["W_out"].T).reshape(y.shape)  # (N, T, H, K)
        dqkv = kernels.attend_grad(dy, qkv, norms, *how)
        dqkv = dqkv.reshape(len(g), -1)  # (N, T, 3, H, K) -> (N * T, 3 * H * K)
        if self._trainable:
            self.grads["W_out"] = kernels.matmul(y.reshape(len(g), -1).T, g)
            self.grads["W"] = kernels.matmul(rows(x).T, dqkv)
            if self.use_bias:
                self.grads["b_out"] = kernels.column_sums(g)
                self.grads["b"] = kernels.column_sums(dqkv)
        return dqkv


@register
class PositionalEmbedding(KernelLayer):
    """Add a learned vector for its position to each step: y[n, t] = x[n, t] + W[t].

    Attention itself sees a set of steps, not their order. Gehring et al. 2017, "Convolutional
    sequence to sequence learning", arXiv 1705.03122, section 3.1.

    Parameters
    ----------
    max_length
        Number of positions; a longer sequence is an error.
    kernel_initializer
        Name or function (see `nn.initializers`) for W; by default numbers from -0.05 to 0.05, as
        for `Embedding`.
    kernel_regularizer
        A penalty on W in the loss, as in `Dense`.
    **common
        `name`, `input_shape` (T, D), `trainable` and `lr_factor`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'W' of shape (max_length, D).

    Raises
    ------
    ValueError
        For an input that is not (N, T, D), or a sequence longer than `max_length`.

    Examples
    --------
    >>> layer = PositionalEmbedding(4)
    >>> layer.build((None, 4, 1))
    >>> layer.params["W"][...] = [[10], [20], [30], [40]]
    >>> layer.forward(np.ones((1, 3, 1))).ravel()
    array([11., 21., 31.])
    """

    input_ndim = (3,)
    input_hint = HINT
    fixed_axes = slice(2, None)
    passes_mask = True

    def __init__(
        self,
        max_length: int,
        kernel_initializer: str | initializers.Initializer | None = None,
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        **common: Any,
    ):
        super().__init__(kernel_initializer, kernel_regularizer, **common)
        self.max_length = checks.positive_int("PositionalEmbedding", "max_length", max_length)

    def default_initializer(self) -> initializers.Initializer:
        """Return the rule of `Embedding`: numbers from -0.05 to 0.05."""
        return lambda shape, rng: rng.uniform(-0.05, 0.05, shape)

    def build(self, input_shape: Shape) -> None:
        """Create W for inputs (None, T, D)."""
        self._check_shape(input_shape)
        shape = (self.max_length, int(input_shape[2] or 0))
        take_elements("PositionalEmbedding", shape[0] * shape[1])
        self._set_param("W", self.draw_kernel(shape))
        self._built(input_shape, input_shape)

    def _check_shape(self, shape: Shape) -> None:
        super()._check_shape(shape)
        if (shape[1] or 0) > self.max_length:
            rule = f"must not be below the {shape[1]} steps of an input"
            raise checks.error("PositionalEmbedding", "max_length", rule, self.max_length)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x (N, T, D) plus the vectors of positions 0..T-1."""
        x = self._check_input(x)
        y = x + self.params["W"][: x.shape[1]]
        self._keep(training, y)
        return y

    def step(self, x: Array, state: int | None = None) -> tuple[Array, int]:
        """Return the output for the next step (N, 1, D), and its position plus 1, the state."""
        x, position = self._check_input(x), state or 0
        self._check_shape((len(x), position + 1, x.shape[2]))
        return x + self.params["W"][position], position + 1

    def backward(self, grad: Array) -> Array:
        """Fill the gradient of W, the sum over samples, 0 beyond T; return `grad` itself."""
        self._recall_for(grad)
        if self._trainable:
            n, steps, features = grad.shape
            dw = cuda.get_array_module(grad).zeros_like(self.params["W"])
            sums = kernels.column_sums(grad.reshape(n, -1))  # (N, T, D) -> (N, T * D) -> (T * D,)
            dw[:steps] = sums.reshape(steps, features)
            self.grads["W"] = dw
        return grad


@register
class SinusoidalPositions(Layer):
    """Add sines and cosines of each step's position, of frequencies from 1 to 1 / 10000.

    ::

        y[n, t, 2i]     = x[n, t, 2i]     + sin(t / 10000^(2i / D))
        y[n, t, 2i + 1] = x[n, t, 2i + 1] + cos(t / 10000^(2i / D))

    Vaswani et al. 2017, "Attention is all you need", arXiv 1706.03762, section 3.5. Nothing is
    learned, and a sequence may have any length.

    Parameters
    ----------
    **common
        `name` and `input_shape` (T, D), as every layer takes them.

    Examples
    --------
    >>> SinusoidalPositions().forward(np.zeros((1, 3, 2))).round(3)
    array([[[ 0.   ,  1.   ],
            [ 0.841,  0.54 ],
            [ 0.909, -0.416]]])
    """

    input_ndim = (3,)
    input_hint = HINT
    fixed_axes = slice(2, None)
    passes_mask = True

    def build(self, input_shape: Shape) -> None:
        """Note the shape (None, T, D), which is that of the output."""
        self._check_shape(input_shape)
        self._built(input_shape, input_shape)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x (N, T, D) plus the sines and cosines of positions 0..T-1."""
        x = self._check_input(x)
        y = x + kernels.sinusoids(x, *x.shape[1:])
        self._keep(training, y)
        return y

    def step(self, x: Array, state: int | None = None) -> tuple[Array, int]:
        """Return the output for the next step (N, 1, D), and its position plus 1, the state."""
        x, position = self._check_input(x), state or 0
        return x + kernels.sinusoids(x, 1, x.shape[2], position), position + 1

    def backward(self, grad: Array) -> Array:
        """Return the gradient as it is: the positions do not depend on x."""
        self._recall_for(grad)
        return grad
