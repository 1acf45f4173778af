"""Points in the plane, for first experiments: created in an instant and easy to plot.

Each function returns a `Dataset` of samples (n, 2) in float32 with integer labels (n,), in random
order. The names are scikit-learn's, if it has the set; `noise` moves the points, which for a
noise of 0 satisfy the formula exactly.

What they show, in this order: one neuron separates two `make_blobs`, but never `make_xor` nor
`make_circles`; a hidden layer does; `make_moons` and `make_spirals` ask for more units or layers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import checks
from ...random import new_generator
from ..dataset import Dataset

_MOST_ARMS = 10  # of the spirals: an eleventh would lie on the first


def make_moons(n_samples: int = 200, noise: float = 0.1, seed: int | None = None) -> Dataset:
    """Return two interleaving half circles, a class each.

    For t evenly spaced from 0 to pi, both ends included:

        class 0:  (cos t, sin t)
        class 1:  (1 - cos t, 1/2 - sin t)

    Parameters
    ----------
    n_samples
        Points in all, at least 2; of an odd number class 0 has one more.
    noise
        Standard deviation of the normal numbers that are added to both coordinates.
    seed
        Seed of noise and order, an integer of at least 0; None takes the next one of `nn.seed`.

    Returns
    -------
    Dataset
        x (n_samples, 2) float32, y (n_samples,) int64.

    Raises
    ------
    ValueError
        If the number of samples, the noise or the seed is out of range.

    Examples
    --------
    >>> data = make_moons(100, noise=0.0, seed=0)
    >>> data
    Dataset(100 samples of shape (2,) and dtype float32, 2 classes)
    >>> radius = np.hypot(*data.x[data.y == 0].T)
    >>> bool(np.allclose(radius, 1))
    True
    """
    upper, lower = _sizes("make_moons", n_samples, 2)
    rng = new_generator(seed, "make_moons")
    t, s = np.linspace(0, np.pi, upper), np.linspace(0, np.pi, lower)
    x = [np.stack([np.cos(t), np.sin(t)], 1), np.stack([1 - np.cos(s), 0.5 - np.sin(s)], 1)]
    return _dataset("make_moons", x, noise, rng)


def make_circles(
    n_samples: int = 200, noise: float = 0.1, seed: int | None = None, factor: float = 0.5
) -> Dataset:
    """Return a circle around a smaller one, a class each.

    For t evenly spaced from 0 to 2 pi, the end left out:

        class 0:  (cos t, sin t)
        class 1:  factor * (cos t, sin t)

    Parameters
    ----------
    n_samples, noise, seed
        As for `make_moons`.
    factor
        Radius of the inner circle, in [0, 1). scikit-learn's default is 0.8, which leaves no gap
        at this noise.

    Returns
    -------
    Dataset
        As for `make_moons`.

    Raises
    ------
    ValueError
        As in `make_moons`, and if the factor is out of range.

    Examples
    --------
    >>> data = make_circles(100, noise=0.0, seed=0)
    >>> [float(np.hypot(*data.x[data.y == label].T).max().round(6)) for label in (0, 1)]
    [1.0, 0.5]
    """
    factor = checks.fraction("make_circles", "factor", factor)
    outer, inner = _sizes("make_circles", n_samples, 2)
    rng = new_generator(seed, "make_circles")
    x = [_circle(outer), factor * _circle(inner)]
    return _dataset("make_circles", x, noise, rng)


def make_blobs(
    n_samples: int = 200,
    noise: float = 0.3,
    seed: int | None = None,
    centers: int | Sequence[Sequence[float]] = 3,
) -> Dataset:
    """Return round clouds of points, one for each class.

        class k:  centers[k] + noise * (normal, normal)

    Parameters
    ----------
    n_samples, seed
        As for `make_moons`, with at least a point for each class.
    noise
        Standard deviation of the clouds, scikit-learn's `cluster_std`.
    centers
        Centers of the clouds, (classes, 2); or their number k, which places them evenly on the
        circle of radius 1, cloud j at the angle 2 pi j / k. (scikit-learn draws them at random.)

    Returns
    -------
    Dataset
        As for `make_moons`, with as many classes as there are centers.

    Raises
    ------
    ValueError
        As in `make_moons`, and if the centers are neither.

    Examples
    --------
    >>> data = make_blobs(300, noise=0.1, seed=0, centers=[(0, 0), (2, 1)])
    >>> data.x[data.y == 1].mean(axis=0).round(1)
    array([2., 1.], dtype=float32)
    """
    places = _places("make_blobs", centers)
    sizes = _sizes("make_blobs", n_samples, len(places))
    rng = new_generator(seed, "make_blobs")
    x = [np.tile(place, (size, 1)) for place, size in zip(places, sizes, strict=True)]
    return _dataset("make_blobs", x, noise, rng)


def make_xor(n_samples: int = 200, noise: float = 0.3, seed: int | None = None) -> Dataset:
    """Return clouds at the corners of a square, those opposite one another of one class.

    The four corners, in turn, with normal numbers of the deviation `noise` added:

        class 0:  (-1, -1) and (1, 1)
        class 1:  (-1, 1) and (1, -1)

    The class is the exclusive or of the signs, which no straight line separates: it gets at
    most three of the four corners right. Minsky and Papert, "Perceptrons", MIT Press 1969.

    Parameters
    ----------
    n_samples, noise, seed
        As for `make_moons`. Four samples without noise are the truth table of the function.

    Returns
    -------
    Dataset
        As for `make_moons`.

    Raises
    ------
    ValueError
        As for `make_moons`.

    Examples
    --------
    >>> data = make_xor(4, noise=0.0, seed=0)
    >>> sorted((*point, label) for point, label in zip(data.x.tolist(), data.y.tolist()))
    [(-1.0, -1.0, 0), (-1.0, 1.0, 1), (1.0, -1.0, 1), (1.0, 1.0, 0)]
    """
    sizes = _sizes("make_xor", n_samples, 2)
    rng = new_generator(seed, "make_xor")
    corners = np.array([[(-1, -1), (1, 1)], [(-1, 1), (1, -1)]], dtype=np.float64)
    x = [two[np.arange(size) % 2] for two, size in zip(corners, sizes, strict=True)]
    return _dataset("make_xor", x, noise, rng)


def make_spirals(
    n_samples: int = 300, noise: float = 0.2, seed: int | None = None, classes: int = 3
) -> Dataset:
    """Return spiral arms around the origin, a class each, as in the course CS231n.

    For the arm j = 0, 1, ... and r evenly spaced from 0 to 1, both ends included:

        t = 4 * (j + r) + noise * normal
        class j:  (r * sin t, r * cos t)

    Stanford's CS231n, "Putting it together: minimal neural network case study",
    https://cs231n.github.io/neural-networks-case-study/

    Parameters
    ----------
    n_samples, seed
        As for `make_moons`, with at least a point for each arm.
    noise
        Standard deviation of the angle t, in radians; the distance r has none.
    classes
        Arms, from 1 to 10.

    Returns
    -------
    Dataset
        As for `make_moons`, with `classes` classes.

    Raises
    ------
    ValueError
        As in `make_moons`, and if the number of arms is out of range.

    Examples
    --------
    >>> data = make_spirals(300, seed=0)
    >>> np.bincount(data.y), float(np.hypot(*data.x.T).max().round(6))
    (array([100, 100, 100]), 1.0)
    """
    owner = "make_spirals"
    if checks.positive_int(owner, "classes", classes) > _MOST_ARMS:
        raise checks.error(owner, "classes", f"must be at most {_MOST_ARMS}", classes)
    noise = checks.non_negative(owner, "noise", noise)
    sizes = _sizes(owner, n_samples, classes)
    rng = new_generator(seed, owner)
    x = []
    for j, size in enumerate(sizes):
        r = np.linspace(0, 1, size)
        t = 4 * (j + r) + noise * rng.normal(size=size)
        x.append(np.stack([r * np.sin(t), r * np.cos(t)], 1))
    return _dataset(owner, x, 0.0, rng)


# ------------------------------------------------------------------------------- helpers


def _sizes(owner: str, n_samples: Any, classes: int) -> list[int]:
    """Return the number of samples of each class: equal, and one more for the first few.

    Examples
    --------
    >>> _sizes("make_spirals", 8, 3)
    [3, 3, 2]
    """
    if checks.positive_int(owner, "n_samples", n_samples) < classes:
        rule = f"must be at least {classes}, one for each class"
        raise checks.error(owner, "n_samples", rule, n_samples)
    return [int(n_samples) // classes + (k < n_samples % classes) for k in range(classes)]


def _circle(size: int) -> np.ndarray:
    """Return points (size, 2) evenly spaced on the circle of radius 1."""
    t = 2 * np.pi * np.arange(size) / size
    return np.stack([np.cos(t), np.sin(t)], 1)


def _places(owner: str, centers: Any) -> np.ndarray:
    """Return the centers (classes, 2); if only their number is given, on a circle."""
    if checks.is_number(centers):
        return _circle(checks.positive_int(owner, "centers", centers))
    rule = "must be their number or points (classes, 2)"
    try:
        places = np.array(centers, dtype=np.float64)
    except (TypeError, ValueError):
        raise checks.error(owner, "centers", rule, centers) from None
    if places.ndim != 2 or places.shape[1] != 2 or len(places) == 0:
        raise checks.error(owner, "centers", rule, centers)
    if not np.isfinite(places).all():
        raise checks.error(owner, "centers", "must be finite", centers)
    return places


def _dataset(owner: str, x: list[np.ndarray], noise: Any, rng: np.random.Generator) -> Dataset:
    """Return the points of each class as one dataset, with noise added and in random order."""
    noise = checks.non_negative(owner, "noise", noise)
    y = np.repeat(np.arange(len(x)), [len(points) for points in x])
    points = np.concatenate(x)
    points += noise * rng.normal(size=points.shape)
    order = rng.permutation(len(y))
    return Dataset(points[order].astype(np.float32), y[order])
