"""Activations: the elementwise functions that make a stack of layers more than one matrix.

Each stands as a layer of its own (`ReLU()`), by name (`Activation('relu')`), or inside a
weighted layer (`Dense(64, activation='relu')`).
"""

from typing import Any

from .. import checks, cuda, kernels
from .base import Array, Layer, Shape
from .config import NAME2ACTIVATION, NAME2LAYER, activation_config, get_activation, register

# Below this a probability, or the slope of a sigmoid, counts as this much in a backward
# pass. It changes no digit elsewhere, and a saturated output still passes on the gradient
# that a cross-entropy computed from its logits (see `gradient_for_output`).
_FLOOR = 1e-30


class ElementwiseLayer(Layer):
    """A layer whose output has the shape of its input."""

    #: True where half of the inputs are cut off, so that He's initialisation fits before it.
    relu_like = False

    def build(self, input_shape: Any) -> None:
        """Take the input's shape for the output's."""
        self._check_shape(input_shape)
        self._built(input_shape, input_shape)

    def _output_of(self, shape: Shape) -> Shape:
        return shape


@register
class ReLU(ElementwiseLayer):
    """Rectified linear unit, max(x, 0); its slope at 0 is taken as 0.

    Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".

    Examples
    --------
    >>> import numpy as np
    >>> ReLU().forward(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    relu_like = True

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return max(x, 0)."""
        x = self._check_input(x)
        y, mask = kernels.relu(x, training is not None)
        self._keep(training, mask)
        return y

    def backward(self, grad: Array) -> Array:
        """Let the gradient through where the output was positive."""
        (mask,) = self._recall_for(grad)
        return kernels.relu_grad(grad, mask)


@register
class LeakyReLU(ElementwiseLayer):
    """x where positive, `negative_slope * x` elsewhere (Maas, Hannun and Ng 2013).

    Parameters
    ----------
    negative_slope
        Slope for negative inputs, at least 0.
    **common
        `name` and `input_shape`, as every layer takes them.
    """

    relu_like = True

    def __init__(self, negative_slope: float = 0.01, **common: Any):
        super().__init__(**common)
        self.negative_slope = checks.non_negative("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x or the slope times x."""
        x = self._check_input(x)
        positive = x > 0
        self._keep(training, positive)
        return cuda.get_array_module(x).where(positive, x, self.negative_slope * x)

    def backward(self, grad: Array) -> Array:
        """Return the gradient, times the slope where x was not positive."""
        (positive,) = self._recall_for(grad)
        return cuda.get_array_module(grad).where(positive, grad, self.negative_slope * grad)

    def to_config(self) -> dict[str, Any]:
        """Return the layer's class and arguments."""
        return self._config(negative_slope=self.negative_slope)


@register
class ELU(ElementwiseLayer):
    """x where positive, `alpha * (exp(x) - 1)` elsewhere.

    Clevert, Unterthiner and Hochreiter 2016, arXiv 1511.07289, equation 16.

    Parameters
    ----------
    alpha
        Minus the limit for x towards minus infinity, above 0.
    **common
        `name` and `input_shape`, as every layer takes them.
    """

    relu_like = True

    def __init__(self, alpha: float = 1.0, **common: Any):
        super().__init__(**common)
        self.alpha = checks.positive("ELU", "alpha", alpha)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x or alpha * (exp(x) - 1)."""
        x = self._check_input(x)
        xp = cuda.get_array_module(x)
        y = xp.where(x > 0, x, self.alpha * xp.expm1(xp.minimum(x, 0)))
        self._keep(training, y)
        return y

    def backward(self, grad: Array) -> Array:
        """Return the gradient times 1 or alpha * exp(x), which is y + alpha."""
        (y,) = self._recall_for(grad)
        return grad * cuda.get_array_module(y).where(y > 0, 1, y + self.alpha)

    def to_config(self) -> dict[str, Any]:
        """Return the layer's class and arguments."""
        return self._config(alpha=self.alpha)


@register
class GELU(ElementwiseLayer):
    """Gaussian error linear unit, x * P(Z <= x) for a standard normal Z, exact.

    Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2.
    """

    relu_like = True

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x * cdf(x)."""
        x = self._check_input(x)
        self._keep(training, x)
        return x * kernels.normal_cdf(x)

    def backward(self, grad: Array) -> Array:
        """Return the gradient times cdf(x) + x * pdf(x)."""
        (x,) = self._recall_for(grad)
        return grad * (kernels.normal_cdf(x) + x * kernels.normal_pdf(x))


@register
class Tanh(ElementwiseLayer):
    """Hyperbolic tangent."""

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return tanh(x)."""
        x = self._check_input(x)
        y = cuda.get_array_module(x).tanh(x)
        self._keep(training, y)
        return y

    def backward(self, grad: Array) -> Array:
        """Return the gradient times 1 - tanh(x)^2."""
        (y,) = self._recall_for(grad)
        return grad * (1 - y * y)


@register
class Sigmoid(ElementwiseLayer):
    """Logistic function, 1 / (1 + exp(-x)).

    At the end of a model under binary cross-entropy the loss is computed from the logits,
    the inputs of this layer, so that it stays exact where the probability rounds to 0 or 1.
    """

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the probabilities for the logits x."""
        x = self._check_input(x)
        y = kernels.sigmoid(x)
        self._keep(training, y, x)
        return y

    def backward(self, grad: Array) -> Array:
        """Return the gradient times y * (1 - y)."""
        y, _ = self._recall_for(grad)
        return grad * self._slope(y)

    def _slope(self, y: Array) -> Array:
        return cuda.get_array_module(y).maximum(y * (1 - y), _FLOOR)

    def logits_of(self, y: Array) -> Array:
        """Return the logits behind probabilities: the kept ones where y is the last output."""
        if self._kept is not None and self._kept[0] is y:
            return self._kept[1]
        xp = cuda.get_array_module(y)
        limits = xp.finfo(y.dtype)
        y = xp.clip(y, limits.tiny, 1 - limits.epsneg)
        return xp.log(y) - xp.log1p(-y)

    def gradient_for_output(self, logits_grad: Array) -> Array:
        """Return the gradient for y from which `backward` makes `logits_grad`."""
        y, _ = self._kept_for(logits_grad)
        return logits_grad / self._slope(y)


@register
class Softmax(ElementwiseLayer):
    """exp(x) / sum(exp(x)) over the classes, axis 1.

    At the end of a model under categorical cross-entropy the loss is computed from the
    logits, the inputs of this layer; the model still returns probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> Softmax().forward(np.array([[0.0, np.log(3.0)]]))
    array([[0.25, 0.75]])
    """

    input_ndim = (2, 3, 4)
    input_hint = "the classes lie along axis 1."

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the probabilities for the logits x (N, classes, ...)."""
        x = self._check_input(x)
        y = kernels.from_rows(kernels.softmax(kernels.to_rows(x)), x.shape)
        self._keep(training, y, x)
        return y

    def backward(self, grad: Array) -> Array:
        """Return y * (grad - sum(grad * y)), the sum over the classes."""
        y, _ = self._recall_for(grad)
        y = cuda.get_array_module(y).maximum(y, _FLOOR)
        return y * (grad - (grad * y).sum(axis=1, keepdims=True))

    def logits_of(self, y: Array) -> Array:
        """Return logits behind probabilities: the kept ones where y is the last output."""
        if self._kept is not None and self._kept[0] is y:
            return self._kept[1]
        xp = cuda.get_array_module(y)
        return xp.log(xp.maximum(y, xp.finfo(y.dtype).tiny))

    def gradient_for_output(self, logits_grad: Array) -> Array:
        """Return a gradient for y from which `backward` makes `logits_grad` (rows sum to 0)."""
        y, _ = self._kept_for(logits_grad)
        return logits_grad / cuda.get_array_module(y).maximum(y, _FLOOR)


class Formula(ElementwiseLayer):
    """y = f(x) for each number x: a subclass gives f and its derivative."""

    def f(self, x: Array) -> Array:
        """Return f(x)."""
        raise NotImplementedError

    def derivative(self, x: Array) -> Array:
        """Return f'(x)."""
        raise NotImplementedError

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return f(x)."""
        x = self._check_input(x)
        self._keep(training, x)
        return self.f(x)

    def backward(self, grad: Array) -> Array:
        """Return the gradient times f'(x)."""
        (x,) = self._recall_for(grad)
        return grad * self.derivative(x)


@register
class ReLU6(Formula):
    """min(max(x, 0), 6): a ReLU with a ceiling; its slope is 0 at both corners.

    Krizhevsky 2010, "Convolutional deep belief networks on CIFAR-10".
    """

    relu_like = True

    def f(self, x: Array) -> Array:
        """Return min(max(x, 0), 6)."""
        return cuda.get_array_module(x).clip(x, 0, 6)

    def derivative(self, x: Array) -> Array:
        """Return 1 between 0 and 6, 0 elsewhere."""
        return (x > 0) & (x < 6)


@register
class SELU(Formula):
    """scale * x where positive, scale * alpha * (exp(x) - 1) elsewhere.

    With these two constants layers of standard normal inputs, whose weights have the variance
    1 / fan_in (`kernel_initializer='lecun_normal'`), give outputs of mean 0 and variance 1
    (Klambauer, Unterthiner, Mayr and Hochreiter 2017, arXiv 1706.02515, equation 2 and section 2).
    """

    alpha = 1.6732632423543772
    scale = 1.0507009873554805

    def f(self, x: Array) -> Array:
        """Return scale * x or scale * alpha * (exp(x) - 1)."""
        xp = cuda.get_array_module(x)
        return self.scale * xp.where(x > 0, x, self.alpha * xp.expm1(xp.minimum(x, 0)))

    def derivative(self, x: Array) -> Array:
        """Return scale or scale * alpha * exp(x)."""
        xp = cuda.get_array_module(x)
        return self.scale * xp.where(x > 0, 1, self.alpha * xp.exp(xp.minimum(x, 0)))


@register
class Softplus(Formula):
    """log(1 + exp(x)), a smooth ReLU.

    Dugas et al. 2001, "Incorporating second-order functional knowledge for better option pricing".
    """

    def f(self, x: Array) -> Array:
        """Return log(1 + exp(x))."""
        return kernels.softplus(x)

    def derivative(self, x: Array) -> Array:
        """Return sigmoid(x)."""
        return kernels.sigmoid(x)


@register
class SiLU(Formula):
    """x * sigmoid(x), also called swish.

    Elfwing, Uchibe and Doya 2018, arXiv 1702.03118, section 2; Ramachandran, Zoph and Le 2017,
    arXiv 1710.05941.
    """

    relu_like = True

    def f(self, x: Array) -> Array:
        """Return x * sigmoid(x)."""
        return x * kernels.sigmoid(x)

    def derivative(self, x: Array) -> Array:
        """Return s + x * s * (1 - s), with s = sigmoid(x)."""
        s = kernels.sigmoid(x)
        return s + x * s * (1 - s)


@register
class Mish(Formula):
    """x * tanh(softplus(x)) (Misra 2019, arXiv 1908.08681, equation 3)."""

    relu_like = True

    def f(self, x: Array) -> Array:
        """Return x * tanh(softplus(x))."""
        return x * cuda.get_array_module(x).tanh(kernels.softplus(x))

    def derivative(self, x: Array) -> Array:
        """Return t + x * (1 - t^2) * sigmoid(x), with t = tanh(softplus(x))."""
        t = cuda.get_array_module(x).tanh(kernels.softplus(x))
        return t + x * (1 - t * t) * kernels.sigmoid(x)


@register
class Softsign(Formula):
    """x / (1 + |x|) (Bergstra et al. 2009): like tanh, with longer tails."""

    def f(self, x: Array) -> Array:
        """Return x / (1 + |x|)."""
        return x / (1 + abs(x))

    def derivative(self, x: Array) -> Array:
        """Return 1 / (1 + |x|)^2."""
        return 1 / (1 + abs(x)) ** 2


@register
class HardSigmoid(Formula):
    """min(max(x + 3, 0), 6) / 6: three straight lines in the place of a sigmoid.

    As in Keras 3 and PyTorch (Howard et al. 2019, arXiv 1905.02244, section 5.2).
    """

    def f(self, x: Array) -> Array:
        """Return min(max(x + 3, 0), 6) / 6."""
        return cuda.get_array_module(x).clip(x + 3, 0, 6) / 6

    def derivative(self, x: Array) -> Array:
        """Return 1/6 between -3 and 3, 0 elsewhere."""
        return ((x > -3) & (x < 3)) * x.dtype.type(1 / 6)


@register
class Exponential(Formula):
    """exp(x): outputs that are positive, as rates are."""

    def f(self, x: Array) -> Array:
        """Return exp(x)."""
        return cuda.get_array_module(x).exp(x)

    def derivative(self, x: Array) -> Array:
        """Return exp(x), its own derivative."""
        return cuda.get_array_module(x).exp(x)


Swish = SiLU
NAME2LAYER["Swish"] = SiLU

NAME2ACTIVATION.update(
    relu=ReLU,
    relu6=ReLU6,
    leaky_relu=LeakyReLU,
    elu=ELU,
    selu=SELU,
    gelu=GELU,
    silu=SiLU,
    swish=SiLU,
    mish=Mish,
    softplus=Softplus,
    sigmoid=Sigmoid,
    hard_sigmoid=HardSigmoid,
    tanh=Tanh,
    softsign=Softsign,
    exponential=Exponential,
    softmax=Softmax,
)


@register
class Activation(ElementwiseLayer):
    """An activation by name: `Activation('relu')` does what `ReLU()` does.

    Parameters
    ----------
    activation
        'relu', 'relu6', 'leaky_relu', 'elu', 'selu', 'gelu', 'silu' (or 'swish'), 'mish',
        'softplus', 'sigmoid', 'hard_sigmoid', 'tanh', 'softsign', 'exponential', 'softmax',
        'linear', or an activation layer.
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
        return x if self.activation is None else self.activation.forward(x, training)

    def backward(self, grad: Array) -> Array:
        """Return the activation's gradient."""
        return grad if self.activation is None else self.activation.backward(grad)

    def to_config(self) -> dict[str, Any]:
        """Return the layer's class and arguments."""
        if self.activation is None:
            return self._config(activation="linear")
        return self._config(activation=activation_config(self.activation))
