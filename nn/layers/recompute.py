"""Layers that run forward again in the backward pass, to keep less memory meanwhile."""

from .base import Array
from .config import register
from .containers import Sequential, output_activation
from .masks import Mask
from .observe import unobserved
from .stack import backward_through, forward_through
from .state import Snapshot


@register
class Recompute(Sequential):
    """A stack that runs its forward pass again in the backward pass, to keep less meanwhile.

    Of a forward pass it keeps its input and nothing else; `backward` computes from that what the
    layers inside need. A pass costs one more forward pass, and the gradients are the same bit
    for bit, as dropout draws the same numbers again and the running statistics of batch
    normalisation take in a batch once. Of n equal layers in segments of sqrt(n), each a
    `Recompute`, about 2 sqrt(n) outputs are in memory in place of n.

    A layer of your own may be inside if its `forward` depends on nothing but its input, `params`,
    `buffers` and `rng`.

    Chen, Xu, Zhang and Guestrin 2016, "Training deep nets with sublinear memory cost",
    arXiv 1604.06174, section 4.1.

    Parameters
    ----------
    layers
        The layers, in order; models among them count as layers.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them.

    Examples
    --------
    >>> import numpy as np
    >>> from nn.layers import Dense, Tanh
    >>> layers = [Dense(4), Tanh(), Dense(3)]
    >>> plain, segment = Sequential(layers), Recompute(layers)
    >>> x, grad = np.ones((2, 5)), np.ones((2, 3))
    >>> y = plain.forward(x, training=True)
    >>> expected = plain.backward(grad)
    >>> np.array_equal(segment.forward(x, training=True), y)
    True
    >>> np.array_equal(segment.backward(grad), expected)
    True
    """

    is_plain_stack = True

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the output of the last layer, and drop what the layers kept."""
        return self.forward_masked(x, training)[0]

    def forward_masked(
        self, x: Array, training: bool | None, mask: Mask = None
    ) -> tuple[Array, Mask]:
        """Return the output and its mask, and drop what the layers kept."""
        x = self._check_input(x)
        if training is None:
            return forward_through(self.layers, x, None, mask)
        before = Snapshot(self.layers)
        y, mask_after = forward_through(self.layers, x, training, mask)
        self._keep(training, y, x, training, mask, before)
        self._forget_inside()
        return y, mask_after

    def backward(self, grad: Array) -> Array:
        """Run forward again, then return the gradient for the input of the first layer."""
        self._forward_again(*self._recall_for(grad))
        return backward_through(self.layers, grad)

    def backward_params(self, grad: Array) -> None:
        """Run forward again, then fill the gradients of the layers inside."""
        self._forward_again(*self._recall_for(grad))
        super().backward_params(grad)

    def _forward_again(self, x: Array, training: bool, mask: Mask, before: Snapshot) -> None:
        """Run forward for what the layers keep, from the generators and buffers of the first time.

        Afterwards these are as the first pass left them.
        """
        now = Snapshot(self.layers)
        before.restore()
        with unobserved():  # the first pass was reported
            forward_through(self.layers, x, training, mask)
        now.restore()

    def _forget_inside(self) -> None:
        """Drop what the layers kept, but for that of an output activation, which the loss reads."""
        last = output_activation(self.layers)
        kept = None if last is None else last._kept
        for layer in self.layers:
            layer.forget()
        if last is not None:
            last._kept = kept
