"""Activations: the elementwise functions between the linear layers of a network.

Each can be a layer of its own (`ReLU()`), given by name (`Activation('relu')`), or part of a
weighted layer (`Dense(64, activation='relu')`). What they compute is in `nn.kernels.formulas`.
"""

from typing import Any

import numpy as np

from .. import checks, cuda, kernels
from ..kernels import formulas
from .base import Array, ChannelLayer, Layer, Shape
from .budget import take_elements
from .config import (
    NAME2ACTIVATION,
    activation_config,
    get_activation,
    register,
    without_params,
)


class ElementwiseLayer(Layer):
    """A layer whose output has the shape of its input."""

    passes_mask = True

    #: Whether half of the inputs are cut off, so that He's initialization fits before it.
    relu_like = False

    def build(self, input_shape: Any) -> None:
        """Set the output's shape, the input's."""
        self._check_shape(input_shape)
        self._built(input_shape, input_shape)


class FormulaLayer(ElementwiseLayer):
    """y = f(x) for each number x: a subclass names the formula, and the values it takes."""

    formula: formulas.Formula

    #: Numbers that the formula takes besides x.
    constants: tuple[float, ...] = ()

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return f(x)."""
        x = self._check_input(x)
        y, kept = kernels.activate(x, self.formula, self.constants, training is not None)
        self._keep(training, y, kept)
        return y

    def overwrite(self, x: Array) -> Array:
        """Return f(x) in the memory of x, for an inference that needs x no more."""
        return kernels.activate_in_place(self._check_input(x), self.formula, self.constants)

    def backward(self, grad: Array) -> Array:
        """Return the gradient times f'(x)."""
        (kept,) = self._recall_for(grad)
        return kernels.activate_grad(grad, kept, self.formula, self.constants)


@register
class ReLU(FormulaLayer):
    """Rectified linear unit, max(x, 0); its slope at 0 is taken as 0.

    Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".

    Examples
    --------
    >>> import numpy as np
    >>> ReLU().forward(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    relu_like = True
    formula = formulas.RELU


@register
class ReLU6(FormulaLayer):
    """min(max(x, 0), 6): a ReLU with a ceiling; its slope is 0 at both corners.

    Krizhevsky 2010, "Convolutional deep belief networks on CIFAR-10".
    """

    relu_like = True
    formula = formulas.RELU6


@register
class LeakyReLU(FormulaLayer):
    """x if positive, else `negative_slope * x` (Maas, Hannun and Ng 2013).

    Parameters
    ----------
    negative_slope
        Slope for negative inputs, at least 0.
    **common
        `name` and `input_shape`, as every layer takes them.
    """

    relu_like = True
    formula = formulas.LEAKY_RELU

    def __init__(self, negative_slope: float = 0.01, **common: Any):
        super().__init__(**common)
        self.negative_slope = checks.non_negative("LeakyReLU", "negative_slope", negative_slope)
        self.constants = (self.negative_slope,)


@register
class PReLU(ChannelLayer):
    """x if positive, else x times a slope that is learned for each channel.

    He, Zhang, Ren and Sun 2015, arXiv 1502.01852, equation 1. As it has parameters, it is a layer
    of its own: `Dense(64, activation=PReLU())` is an error. As in the paper, weight decay does
    not change the slopes, which would become 0, those of ReLU.

    Parameters
    ----------
    initial
        The slope of each channel before training, at least 0. (In Keras it is 0, and each value of
        a sample has its own.)
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'slope' of shape (C,).

    Raises
    ------
    ValueError
        For an input that is not (N, C), (N, T, C) or (N, C, H, W), or an `initial` below 0.

    Examples
    --------
    >>> import numpy as np
    >>> PReLU().forward(np.array([[-2.0, 3.0]]))
    array([[-0.5,  3. ]])
    """

    relu_like = True

    def __init__(self, initial: float = 0.25, **common: Any):
        super().__init__(**common)
        self.initial = checks.non_negative("PReLU", "initial", initial)

    def build(self, input_shape: Shape) -> None:
        """Create the slope of each channel."""
        self._check_shape(input_shape)
        channels = self.channels(input_shape)
        take_elements("PReLU", channels)
        self._set_param("slope", np.full(channels, self.initial))
        self._built(input_shape, input_shape)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x (N, C, ...), its negative values times the slope of their channel."""
        x = self._check_input(x)
        rows = kernels.class_rows(x)  # (N, C, ...) or (N, T, C) -> (M, C)
        y = kernels.prelu(rows, self.params["slope"])
        self._keep(training, x, rows, x.shape)
        return kernels.from_class_rows(y, x.shape)

    def backward(self, grad: Array) -> Array:
        """Fill the gradient of the slopes; return the input's."""
        rows, shape = self._recall_for(grad)
        grad = kernels.class_rows(grad)
        dx, dslope = kernels.prelu_grad(grad, rows, self.params["slope"])
        if self._trainable:
            self.grads["slope"] = dslope
        return kernels.from_class_rows(dx, shape)


@register
class ELU(FormulaLayer):
    """x if positive, else `alpha * (exp(x) - 1)`.

    Clevert, Unterthiner and Hochreiter 2016, arXiv 1511.07289, equation 16.

    Parameters
    ----------
    alpha
        Minus the limit for x towards minus infinity, above 0.
    **common
        `name` and `input_shape`, as every layer takes them.
    """

    relu_like = True
    formula = formulas.ELU

    def __init__(self, alpha: float = 1.0, **common: Any):
        super().__init__(**common)
        self.alpha = checks.positive("ELU", "alpha", alpha)
        self.constants = (self.alpha,)


@register
class SELU(FormulaLayer):
    """scale * x if positive, else scale * alpha * (exp(x) - 1).

    With scale = 1.0507 and alpha = 1.6733 layers of standard normal inputs, whose weights have the
    variance 1 / fan_in (`kernel_initializer='lecun_normal'`), give outputs of mean 0 and variance 1
    (Klambauer, Unterthiner, Mayr and Hochreiter 2017, arXiv 1706.02515, equation 2 and section 2).
    """

    formula = formulas.SELU


@register
class GELU(FormulaLayer):
    """Gaussian error linear unit, x * P(Z <= x) for a standard normal Z, exact.

    Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2.
    """

    relu_like = True
    formula = formulas.GELU


@register
class SiLU(FormulaLayer):
    """x * sigmoid(x), also called swish.

    Elfwing, Uchibe and Doya 2018, arXiv 1702.03118, section 2; Ramachandran, Zoph and Le 2017,
    arXiv 1710.05941.
    """

    relu_like = True
    formula = formulas.SILU


@register
class Mish(FormulaLayer):
    """x * tanh(softplus(x)) (Misra 2019, arXiv 1908.08681, equation 3)."""

    relu_like = True
    formula = formulas.MISH


@register
class Softplus(FormulaLayer):
    """log(1 + exp(x)), a smooth ReLU.

    Dugas et al. 2001, "Incorporating second-order functional knowledge for better option pricing".
    """

    formula = formulas.SOFTPLUS


@register
class Tanh(FormulaLayer):
    """Hyperbolic tangent."""

    formula = formulas.TANH


@register
class Softsign(FormulaLayer):
    """x / (1 + |x|) (Bergstra et al. 2009): like tanh, with longer tails."""

    formula = formulas.SOFTSIGN


@register
class HardSigmoid(FormulaLayer):
    """min(max(x + 3, 0), 6) / 6: three straight lines instead of a sigmoid.

    As in Keras 3 and PyTorch (Howard et al. 2019, arXiv 1905.02244, section 5.2).
    """

    formula = formulas.HARD_SIGMOID


@register
class Exponential(FormulaLayer):
    """exp(x): outputs that are positive, as rates are."""

    formula = formulas.EXPONENTIAL


@register
class Sigmoid(ElementwiseLayer):
    """Logistic function, 1 / (1 + exp(-x)).

    At the end of a model under binary cross-entropy the loss is computed from the logits,
    the inputs of this layer, so that it stays exact if the probability rounds to 0 or 1.
    """

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the probabilities for the logits x."""
        x = self._check_input(x)
        y, _ = kernels.activate(x, formulas.SIGMOID)
        self._keep(training, y, y, x)
        return y

    def backward(self, grad: Array) -> Array:
        """Return the gradient times y * (1 - y)."""
        y, _ = self._recall_for(grad)
        return kernels.activate_grad(grad, y, formulas.SIGMOID)

    def logits_of(self, y: Array) -> Array:
        """Return the logits of probabilities y; those of the last forward pass are cached."""
        if self._kept is not None and self._kept[0] is y:
            return self._kept[1]
        xp = cuda.get_array_module(y)
        limits = xp.finfo(y.dtype)
        y = xp.clip(y, limits.tiny, 1 - limits.epsneg)
        return xp.log(y) - xp.log1p(-y)

    def gradient_for_output(self, logits_grad: Array) -> Array:
        """Return the gradient for y from which `backward` computes `logits_grad`."""
        y, _ = self._kept_for(logits_grad)
        return logits_grad / formulas.sigmoid_slope(y)


@register
class Softmax(ElementwiseLayer):
    """exp(x) / sum(exp(x)) over the classes: axis 1, the last axis of sequences (N, T, classes).

    At the end of a model under categorical cross-entropy the loss is computed from the
    logits, the inputs of this layer; the model still returns probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> Softmax().forward(np.array([[0.0, np.log(3.0)]]))
    array([[0.25, 0.75]])
    """

    input_ndim = (2, 3, 4)
    input_hint = "the classes are along axis 1, those of sequences along the last."

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the probabilities for the logits x."""
        x = self._check_input(x)
        y = kernels.from_class_rows(kernels.softmax(kernels.class_rows(x)), x.shape)
        self._keep(training, y, y, x)
        return y

    def backward(self, grad: Array) -> Array:
        """Return y * (grad - sum(grad * y)), the sum over the classes."""
        y, _ = self._recall_for(grad)
        y = cuda.get_array_module(y).maximum(y, formulas.SMALLEST_SLOPE)
        return y * (grad - (grad * y).sum(axis=kernels.class_axis(y.ndim), keepdims=True))

    def logits_of(self, y: Array) -> Array:
        """Return the logits of probabilities y; those of the last forward pass are cached."""
        if self._kept is not None and self._kept[0] is y:
            return self._kept[1]
        xp = cuda.get_array_module(y)
        return xp.log(xp.maximum(y, xp.finfo(y.dtype).tiny))

    def gradient_for_output(self, logits_grad: Array) -> Array:
        """Return a gradient for y from which `backward` computes `logits_grad` (rows sum to 0)."""
        y, _ = self._kept_for(logits_grad)
        return logits_grad / cuda.get_array_module(y).maximum(y, formulas.SMALLEST_SLOPE)


@register
class LogSoftmax(ElementwiseLayer):
    """log(softmax(x)) over the classes, those of `Softmax`; cross-entropy takes it as logits.

    Examples
    --------
    >>> import numpy as np
    >>> LogSoftmax().forward(np.array([[1000.0, 0.0]]))
    array([[    0., -1000.]])
    """

    input_ndim, input_hint = Softmax.input_ndim, Softmax.input_hint

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the logarithms of the probabilities for the logits x."""
        x = self._check_input(x)
        y = kernels.from_class_rows(kernels.log_softmax(kernels.class_rows(x)), x.shape)
        self._keep(training, y, y)
        return y

    def backward(self, grad: Array) -> Array:
        """Return grad - exp(y) * sum(grad), the sum over the classes."""
        (y,) = self._recall_for(grad)
        return grad - np.exp(y) * grad.sum(axis=kernels.class_axis(y.ndim), keepdims=True)


NAME2ACTIVATION.update(
    relu=ReLU,
    relu6=ReLU6,
    leaky_relu=LeakyReLU,
    elu=ELU,
    selu=SELU,
    gelu=GELU,
    silu=SiLU,
    mish=Mish,
    softplus=Softplus,
    sigmoid=Sigmoid,
    hard_sigmoid=HardSigmoid,
    tanh=Tanh,
    softsign=Softsign,
    exponential=Exponential,
    softmax=Softmax,
    log_softmax=LogSoftmax,
)


@register
class Activation(ElementwiseLayer):
    """An activation by name: `Activation('relu')` computes the same as `ReLU()`.

    Parameters
    ----------
    activation
        'relu', 'relu6', 'leaky_relu', 'elu', 'selu', 'gelu', 'silu' (or 'swish'), 'mish',
        'softplus', 'sigmoid', 'hard_sigmoid', 'tanh', 'softsign', 'exponential', 'softmax',
        'log_softmax', 'linear', or an activation layer.
    **common
        `name` and `input_shape`, as every layer takes them.
    """

    def __init__(self, activation: str | Layer | None = None, **common: Any):
        if activation is None and common.get("name") in NAME2ACTIVATION:
            activation = common.pop("name")  # written as Activation(name='relu')
        if activation is None:
            raise checks.unknown("Activation", "activation", None, [*NAME2ACTIVATION, "linear"])
        super().__init__(**common)
        self.activation = get_activation(activation, "Activation")
        self.relu_like = getattr(self.activation, "relu_like", False)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the activation's output; x itself for 'linear'."""
        x = self._check_input(x)
        if self.activation is None:
            return x
        y = self.activation.forward(x, training)
        without_params(self.activation, "Activation")  # one of the user's may be built only now
        return y

    def backward(self, grad: Array) -> Array:
        """Return the activation's gradient."""
        return grad if self.activation is None else self.activation.backward(grad)

    def to_config(self) -> dict[str, Any]:
        """Return the layer's class and arguments."""
        if self.activation is None:
            return self._config(activation="linear")
        return self._config(activation=activation_config(self.activation))
