"""The updates of optimizers, in place."""

from ... import cuda
from ..geometry import Array


def sgd(
    param: Array, grad: Array, velocity: Array, lr: float, momentum: float, nesterov: bool
) -> None:
    """Update the velocity and add it to the parameter, in place (see `optim.SGD`)."""
    velocity *= momentum
    velocity -= lr * grad
    param += momentum * velocity - lr * grad if nesterov else velocity


def adam(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    t: int,
) -> None:
    """Update both running means and take step number t, in place (see `optim.Adam`)."""
    m *= beta1
    m += (1 - beta1) * grad
    v *= beta2
    v += (1 - beta2) * grad * grad
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    param -= lr * m_hat / (cuda.get_array_module(param).sqrt(v_hat) + eps)


# The quintic polynomial of `orthogonalized`: a x + b x**3 + c x**5.
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalized(matrix: Array, steps: int = 5) -> Array:
    """Return a matrix with nearly the singular vectors of another, and singular values near 1.

    A Newton-Schulz iteration brings all singular values, first divided by their root sum of
    squares, into 0.7 to 1.2 in five steps, by the polynomial a x + b x**3 + c x**5 of each:

        X = matrix / (|matrix| + 1e-7)
        X = a X + (b X X' + c (X X')**2) X        # `steps` times

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks",
    https://kellerjordan.github.io/posts/muon/ , with its coefficients 3.4445, -4.7750 and 2.0315.

    Parameters
    ----------
    matrix
        (M, N), of floats.
    steps
        Number of iterations.
    """
    a, b, c = _NEWTON_SCHULZ
    xp = cuda.get_array_module(matrix)
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix  # so that X X' is the smaller product
    x = x / (xp.sqrt((x * x).sum()) + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.T if is_tall else x
