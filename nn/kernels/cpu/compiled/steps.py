"""The sizes of a loop over time, and its arrays with units filled up to whole vectors."""

from typing import Any

import numpy as np

from .... import checks
from ...geometry import Array
from .. import memory, threads
from .gemm import matmul
from .panels import as_panels
from .vectors import register_lanes

# Samples that are worth a thread, and those from which on a panel is used again often enough.
_GRAIN, _FEWEST = 8, 8


class Sizes:
    """The sizes of a call, and its arrays with units filled up to whole vectors."""

    def __init__(self, x: Array, u: Array, w: Array | None = None):
        rows, columns = u.shape if w is None else w.shape
        if u.shape[1] % len(u) or u.shape[1] != columns:
            rule = "must be (U, G * U)" + ("" if w is None else f" for a kernel w {w.shape}")
            raise checks.error("kernels", "u", rule, u.shape)
        if x.shape[2] != rows:
            raise checks.error("kernels", "x", f"must have {rows} numbers a step", x.shape)
        lanes = register_lanes(x.itemsize)
        self.dtype, self.units = x.dtype, len(u)
        self.steps, self.samples = x.shape[:2]
        self.wide = -(-self.units // lanes) * lanes

    @property
    def loop(self) -> tuple[int, int, int]:
        """The steps, samples and units of the loop."""
        return self.steps, self.samples, self.wide

    def widen(self, x: Array) -> Array:
        """Return (..., G * U) as (..., G * wide), contiguous."""
        if self.wide == self.units:
            return np.ascontiguousarray(x)
        gates = x.shape[-1] // self.units
        parts = x.reshape(*x.shape[:-1], gates, self.units)  # (..., G * U) -> (..., G, U)
        wide = np.zeros((*parts.shape[:-1], self.wide), x.dtype)
        wide[..., : self.units] = parts
        return wide.reshape(*x.shape[:-1], gates * self.wide)

    def narrow(self, x: Array) -> Array:
        """Return (..., G * wide) as (..., G * U), contiguous."""
        if self.wide == self.units:
            return x
        gates = x.shape[-1] // self.wide
        parts = x.reshape(*x.shape[:-1], gates, self.wide)[..., : self.units]
        return np.ascontiguousarray(parts).reshape(*x.shape[:-1], gates * self.units)

    def matrix(self, u: Array) -> Array:
        """Return a recurrent kernel (U, G * U) as (wide, G * wide)."""
        u = self.widen(u)
        if self.wide == self.units:
            return u
        return np.concatenate((u, np.zeros((self.wide - self.units, u.shape[1]), u.dtype)))

    def gradient(self, grad: Array) -> tuple[Array, int, int]:
        """Return grad (T, N, U), flat, and the numbers from a step and from a sample to the next.

        A view of (N, T, U) is left as it is.
        """
        grad = self.widen(grad) if self.wide > self.units else grad
        by_sample = grad.swapaxes(0, 1)
        if by_sample.flags.c_contiguous:
            return by_sample.reshape(-1), self.wide, self.steps * self.wide
        return np.ascontiguousarray(grad).ravel(), self.samples * self.wide, self.wide

    def empty(self, gates: int) -> Array:
        """Return an array (T, N, gates * wide) of any content."""
        return memory.empty((self.steps, self.samples, gates * self.wide), self.dtype)

    def states(self, start: Array | None) -> Array:
        """Return an array for states (T + 1, N, wide) that begin with `start`, or zeros."""
        h = memory.empty((self.steps + 1, self.samples, self.wide), self.dtype)
        h[0] = 0 if start is None else self.widen(start)
        return h

    def panels(self, matrix: Array) -> tuple[Array, Array]:
        """Return the panels of a matrix, and zeros of its columns."""
        panels, columns = as_panels(matrix)
        return panels, np.zeros(columns, self.dtype)

    def inputs(self, x: Array, w: Array, b: Array) -> tuple[Array, Array, Array, int]:
        """Return x (T, N, D), flat, the panels of w, their bias, and D; or x w + b and no panels.

        A product for each step is read while it is in the cache. BLAS is faster for those of many
        numbers, or of few samples, with which no panel is used again.
        """
        w, b, features = self.widen(w), self.widen(b), x.shape[2]
        if self.samples < _FEWEST or features > 2 * self.units:
            rows = x.reshape(-1, features)  # (T, N, D) -> (T * N, D)
            a = matmul(rows, w, b)
            return a.ravel(), np.empty(0, self.dtype), b, features
        panels, columns = as_panels(w)
        bias = np.zeros(columns, self.dtype)
        bias[: b.size] = b
        return np.ascontiguousarray(x).ravel(), panels, bias, features

    def run(self, kernel: Any, first: Any, panels: Any, bias: Any, mask: Any, *rest: Any) -> None:
        """Let threads share the samples of a loop over time."""
        mask = np.empty(0, bool) if mask is None else np.ascontiguousarray(mask).ravel()
        threads.run(kernel, self.samples, first, panels, bias, mask, *rest, self.loop, grain=_GRAIN)
