"""Samples of normal distributions whose means and variances a network computes."""

from typing import Any

from ... import cuda

Array = Any  # numpy.ndarray or cupy.ndarray


def gaussian_sample(mean: Array, log_variance: Array, noise: Array) -> Array:
    """Return z = mean + exp(log_variance / 2) * noise, element by element."""
    return mean + cuda.get_array_module(mean).exp(log_variance / 2) * noise


def gaussian_sample_grad(grad: Array, log_variance: Array, noise: Array) -> tuple[Array, Array]:
    """Return the gradients for mean and log_variance."""
    # dz/dmean = 1, dz/dlog_variance = exp(log_variance / 2) * noise / 2
    return grad, grad * cuda.get_array_module(grad).exp(log_variance / 2) * noise / 2


def gaussian_kl(mean: Array, log_variance: Array) -> Array:
    """Return the divergence from the standard normal distribution, the mean over the rows.

    On a GPU it is an array without axes, so that nothing waits for it.

    It is -1/2 sum_d (1 + log_variance - mean^2 - exp(log_variance)) of each row.
    """
    variance = cuda.get_array_module(mean).exp(log_variance)
    terms = mean**2 + variance - 1 - log_variance
    return 0.5 * terms.sum(dtype="float64") / max(len(mean), 1)


def gaussian_kl_grad(mean: Array, log_variance: Array) -> tuple[Array, Array]:
    """Return the gradients of `gaussian_kl` for mean and log_variance."""
    variance = cuda.get_array_module(mean).exp(log_variance)
    return mean / len(mean), (variance - 1) / (2 * len(mean))
