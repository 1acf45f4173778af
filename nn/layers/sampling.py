"""Sampling from a distribution that a network computes, as variational autoencoders do."""

from typing import Any

from .. import checks, cuda, kernels
from .base import Array, Layer, Shape
from .config import register
from .shard import draw


@register
class GaussianSampling(Layer):
    """A sample of the normal distributions whose means and variances come in.

    z = mean + exp(log_variance / 2) * noise with standard normal noise, so that the gradient
    passes through the sample to both. The layer adds the Kullback-Leibler divergence of these
    distributions from the standard normal one to the loss,

        kl_weight * mean over n of -1/2 sum_d (1 + log_variance - mean^2 - exp(log_variance)),

    as its `activity_penalty`. Without training z is the mean, and nothing is random.

    Parameters
    ----------
    kl_weight
        Factor of the divergence, at least 0. The losses of nn are means over the outputs of a
        sample, so 1 / (number of outputs) gives the evidence lower bound of the paper; a larger
        one makes the latent space smoother (beta-VAE).
    **common
        `name` and `input_shape` (2 * D,), as every layer takes them.

    Raises
    ------
    ValueError
        For inputs that are not (N, 2 * D), the D means before the D logarithms of the variances.

    References
    ----------
    Kingma and Welling 2014, "Auto-encoding variational Bayes", arXiv 1312.6114, section 2.4 (the
    reparameterisation) and appendix B (the divergence); Higgins et al. 2017, "beta-VAE".

    Examples
    --------
    >>> import numpy as np
    >>> layer = GaussianSampling()
    >>> x = np.array([[0.5, -1.0, 0.0, 2.0]])  # two means, two logarithms of variances
    >>> layer.forward(x)
    array([[ 0.5, -1. ]])
    >>> round(layer.activity_penalty(), 3)
    2.82
    """

    input_ndim = (2,)
    input_hint = "use Dense(2 * latent_dim) before it."
    fixed_axes = slice(1, 2)

    def __init__(self, kl_weight: float = 1.0, **common: Any):
        super().__init__(**common)
        self.kl_weight = checks.non_negative("GaussianSampling", "kl_weight", kl_weight)
        self._kl = 0.0

    def build(self, input_shape: Shape) -> None:
        """Note the shapes: (N, 2 * D) -> (N, D)."""
        self._check_shape(input_shape)
        size = int(input_shape[1] or 0)
        if size % 2:
            rule = "must be (N, 2 * D), means before logarithms of variances"
            raise checks.error("GaussianSampling", "input_shape", rule, input_shape)
        self._built(input_shape, (None, size // 2))

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return a sample (N, D) in training, the means otherwise."""
        x = self._check_input(x)
        half = x.shape[1] // 2
        mean, log_variance = x[:, :half], x[:, half:]  # (N, 2 * D) -> (N, D), (N, D)
        if training is not None:
            self._kl = kernels.gaussian_kl(mean, log_variance)
        if not training:
            self._keep(training, mean, x, None)
            return mean.copy()
        noise = draw(kernels.normal_noise, mean, self.rng)
        self._keep(training, mean, x, noise)
        return kernels.gaussian_sample(mean, log_variance, noise)

    def activity_penalty(self) -> float:
        """Return the weighted divergence of the last batch."""
        return self.kl_weight * float(self._kl) if self.kl_weight else 0.0

    def backward(self, grad: Array) -> Array:
        """Return the gradient for the input (N, 2 * D), the penalty's included."""
        x, noise = self._recall_for(grad)
        xp, half = cuda.get_array_module(x), x.shape[1] // 2
        mean, log_variance = x[:, :half], x[:, half:]
        if noise is None:
            noise = xp.zeros_like(mean)
        dx = xp.concatenate(kernels.gaussian_sample_grad(grad, log_variance, noise), axis=1)
        if self.kl_weight:
            of_penalty = kernels.gaussian_kl_grad(mean, log_variance)
            dx += self.kl_weight * xp.concatenate(of_penalty, axis=1)
        return dx
