"""What the comparisons with other libraries share: drawing numbers, and measuring a difference."""

import numpy as np

TOLERANCE = 1e-5


def difference(ours, theirs):
    """Return max|a - b| / max(1, max|b|), infinite where shapes differ or a value is not finite."""
    ours = np.asarray(ours, dtype=np.float64)
    theirs = np.asarray(getattr(theirs, "detach", lambda: theirs)(), dtype=np.float64)
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return float("inf")
    return np.abs(ours - theirs).max(initial=0.0) / np.abs(theirs).max(initial=1.0)


def draw(rng, shape, memory="contiguous"):
    """Return normal float32 values, for 'channels-last' with such memory under the same shape."""
    x = rng.standard_normal(shape).astype(np.float32)
    if memory == "channels-last" and x.ndim == 4:
        # (N, C, H, W) -> (N, H, W, C), copied -> (N, C, H, W), a view
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return x


def as_pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)
