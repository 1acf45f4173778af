"""Batch normalization: passes over memory between sums of columns."""

from ... import cuda
from ..geometry import Array
from .fusing import elementwise_kernel
from .linear import column_sums


def batch_norm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    """See `reference.batch_norm`."""
    xp = cuda.get_array_module(x)
    mean, y = column_sums(x) / len(x), xp.empty_like(x)
    elementwise_kernel(xp, "squares", "T x, T mean", "T y", "y = (x - mean) * (x - mean)")(
        x, mean, y
    )
    variance = column_sums(y) / len(x)
    return batch_norm_inference(x, gamma, beta, mean, variance, eps), mean, variance


def batch_norm_grad(
    grad: Array, x: Array, gamma: Array, mean: Array, variance: Array, eps: float
) -> tuple[Array, Array, Array]:
    """See `reference.batch_norm_grad`."""
    xp = cuda.get_array_module(grad)
    inv_std, dx = 1 / xp.sqrt(variance + eps), xp.empty_like(x)
    inputs = "T grad, T x, T mean, T inv_std"
    products = elementwise_kernel(
        xp, "products", inputs, "T dx", "dx = grad * ((x - mean) * inv_std)"
    )
    products(grad, x, mean, inv_std, dx)
    dgamma, dbeta = column_sums(dx), column_sums(grad)
    operation = "dx = (grad - mean_g - (x - mean) * inv_std * mean_gx) * scale"
    inputs += ", T mean_g, T mean_gx, T scale"
    elementwise_kernel(xp, "batch_norm_grad", inputs, "T dx", operation)(
        grad, x, mean, inv_std, dbeta / len(x), dgamma / len(x), gamma * inv_std, dx
    )
    return dx, dgamma, dbeta


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, eps: float
) -> Array:
    """See `reference.batch_norm_inference`."""
    xp = cuda.get_array_module(x)
    scale, y = gamma / xp.sqrt(variance + eps), xp.empty_like(x)
    inputs = "T x, T mean, T scale, T beta"
    kernel = elementwise_kernel(xp, "normalize", inputs, "T y", "y = (x - mean) * scale + beta")
    kernel(x, mean, scale, beta, y)
    return y
