"""Convolution with kernels of 3 x 3, compiled, with a quarter of the multiplications.

Winograd's algorithm for 4 x 4 outputs at a time (Lavin and Gray 2015, arXiv 1509.09308, section
4.3): a tile X of 6 x 6 inputs, the kernel W and the outputs Y are transformed, so that the
convolution is 36 products of single numbers, B^t X B by G W G^t, instead of 144:

    Y = A^t [(G W G^t) * (B^t X B)] A

Summed over channels, each of the 36 is a matrix product, (tiles, C) by (C, F). The gradient of
the kernel is computed likewise: dW = G^t [(A dY A^t) * (B^t X B)] G. The transformations round
once more: the error is two or three times that of the direct sum, in float32 some 2e-6 of the
largest output. float64, for gradient checks, uses the direct sum (`gemm`), and so do the shapes for
which it was faster in a benchmark.

A transformation mixes the numbers of a tile: an infinite or very large one would spoil outputs
whose windows do not contain it. Samples with such numbers use the direct sum too (`_is_even`).
"""

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from ...geometry import Array, Padding, Pair
from .. import memory, threads
from ..compiler import compile_kernel
from . import gemm
from .gemm import copy_band
from .panels import kernel_panels
from .vectors import (
    TRANSFORM_COST,
    TRANSFORMS,
    block_columns,
    block_of,
    block_rows,
    even_rows,
    run_block,
    transform_tile,
)

# Polynomials of inputs and kernels are multiplied by their values at these points, and at
# infinity. 0, 1, -1, 2 and -2 are customary; with these, whose powers stay closer to 1, the error
# is a quarter (Barabasz et al. 2018, arXiv 1803.10986, search for such points).
_POINTS = (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))
_OUTPUTS, _TAPS = 4, 3


def _polynomial(roots: list[Fraction]) -> list[Fraction]:
    """Return the coefficients of (x - a) (x - b) ..., constant term first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*coefficients, Fraction(0)]
        coefficients = [s - root * c for s, c in zip(shifted, scaled, strict=True)]
    return coefficients


def _matrices() -> tuple[Any, Any, Any]:
    """Return B^t, G and A^t for the points, after Toom and Cook (see Barabasz, section 2.2)."""
    b_t, g, a_t = [], [], []
    for point in _POINTS:
        others = [other for other in _POINTS if other != point]
        scale = math.prod(point - other for other in others)
        b_t.append([*_polynomial(others), Fraction(0)])
        g.append([point**k / scale for k in range(_TAPS)])
    b_t.append(_polynomial(list(_POINTS)))  # and infinity, where the highest power counts
    g.append([Fraction(k == _TAPS - 1) for k in range(_TAPS)])
    for k in range(_OUTPUTS):
        a_t.append([*(point**k for point in _POINTS), Fraction(k == _OUTPUTS - 1)])
    return b_t, g, a_t


_B_T, _G, _A_T = _matrices()
TRANSFORMS[:] = [_B_T, _G, _A_T, tuple(zip(*_A_T, strict=True)), tuple(zip(*_G, strict=True))]
_INPUT, _KERNEL, _OUTPUT, _OUTPUT_GRAD, _KERNEL_GRAD = range(5)

DTYPES = (np.float32,)  # to which it is applied; it is right for float64 too
_LANES = block_columns(1 << 20, np.float32)[1]
_FEWEST_CHANNELS = 16
# How many times as fast a convolution must be by `_gain`, which is right within some 15%.
_LEAST_GAIN = 1.15
# Tiles that are processed at a time: few enough for the cache, enough rows for a matrix product.
# The kernels, or their gradient, are read for each group of tiles; if they do not fit the
# second-level cache, there are more tiles in a group.
_TILES, _MANY_TILES = 16, 64
_CACHED_KERNELS = 1 << 13  # pairs of a channel and a filter: 36 * 4 bytes each
_PLANES = 36
# Numbers between the rows of a plane: rows a power of two apart compete for few places of the
# cache.
_GAP = 16
# How many times the numbers of a sample may be as large as what is typical of it. In training on
# CIFAR-10 the largest were 12 times as large; on MNIST, with its empty background, 99% of the
# samples had none above 90 times. An error is about 1e-7 of the largest number in a tile.
_EVEN = 128
# The same for a weight, against the norm of a filter, on which the size of outputs depends. Filters
# that begin as the identity (dirac) have weights of about their norm.
_EVEN_WEIGHT = 2.5


def suits(x: Array, f: int, kernel: Pair, stride: Pair, out: Pair) -> bool:
    """Return whether a convolution of x (N, H, W, C) with f filters is faster this way."""
    c = x.shape[3]
    return (
        x.dtype in DTYPES
        and (*kernel, *stride) == (3, 3, 1, 1)
        and min(out) > 0
        and c % _LANES == f % _LANES == 0
        and min(c, f) >= _FEWEST_CHANNELS
        and len(x) >= threads.NUM_THREADS  # the direct sum shares a sample's rows
        and _gain(len(x), c, f, out) >= _LEAST_GAIN
    )


def _gain(n: int, c: int, f: int, out: Pair) -> float:
    """Return about how many times as fast as the direct sum this way is, for n samples.

    It has a quarter of the multiplications, at 85% of their rate. At the right and the lower edge
    tiles are used in part. A transformed input serves all filters, an output all channels, and a
    kernel all tiles. To transform a number costs as much as 16 multiplications with AVX2, and as 24
    with AVX-512, which multiplies faster (`benchmarks/winograd_gain.py`). A kernel costs 2.5 times
    as much: it is copied first, and its numbers are checked.
    """
    tiles = _tiles(out)
    used, transforms = out[0] * out[1] / (16 * tiles), 1 / f + 1 / c + 2.5 / max(n * tiles, 1)
    return 4 * 0.85 * used / (1 + TRANSFORM_COST * transforms)


def _tiles(out: Pair) -> int:
    """Return how many tiles of 4 x 4 cover the outputs of a sample."""
    return -(-out[0] // 4) * -(-out[1] // 4)


def _sizes(x: Array, f: int, out: Pair) -> tuple[int, int]:
    """Return the samples that are worked on at a time, and their tiles."""
    tiles = _tiles(out)
    most = _TILES if x.shape[3] * f <= _CACHED_KERNELS else _MANY_TILES
    share = -(-len(x) // threads.NUM_THREADS)  # small batches are for all threads too
    samples = max(1, min(share, most // tiles))
    return samples, samples * tiles


@functools.cache
def _kernels_transform(lanes: int, matrix: int) -> Callable[..., Any]:
    @compile_kernel
    def transform_kernels(w, target, sizes, part, lo, hi):
        """Transform the kernels of the channels lo..hi, from (I, I, C, F) to (J, J, P, C, F/P).

        There are P panels of F/P filters in the target.
        """
        i, j, c, f, panel = sizes
        for channel in range(lo, hi):
            for k in range(0, f, lanes):
                steps = (i * c * f, c * f), (j * c * f, c * f)
                to = (k // panel * c + channel) * panel + k % panel
                transform_tile(lanes, matrix, w, target, (channel * f + k, to), steps[0], steps[1])

    return transform_kernels


@compile_kernel
def _is_even(image, bits):
    """Return whether no number of an image (H, W, C) is far larger than those around it, or NaN.

    `bits` are the same numbers as unsigned integers: without the sign, their order is that of the
    magnitudes, then infinity, then NaN. What is typical is a mean, over squares of 4 x 4 pixels, of
    the smallest of the maxima of their quarters: a pixel, or a line, does not count in it. It is
    the mean of the roots, squared, so that a small area of large numbers counts little.
    """
    h, w, c = image.shape
    rows, columns = (h + 1) // 2, (w + 1) // 2
    largest = np.zeros(rows * columns, dtype=bits.dtype)  # of the pixels of each quarter
    no_sign = bits.dtype.type((1 << (8 * bits.itemsize - 1)) - 1)
    for i in range(h):
        line = bits[i].reshape(w * c)
        for j in range(columns):
            at, pixels = i // 2 * columns + j, line[2 * j * c : 2 * (j + 1) * c]
            found = largest[at]
            for k in range(pixels.size):
                number = bits.dtype.type(pixels[k] & no_sign)
                if number > found:
                    found = number
            largest[at] = found
    values, typical, squares = largest.view(image.dtype), 0.0, 0
    for i in range(0, rows - 1, 2):
        for j in range(0, columns - 1, 2):
            above, below = values[i * columns + j :], values[(i + 1) * columns + j :]
            typical += np.sqrt(min(min(above[0], above[1]), min(below[0], below[1])))
            squares += 1
    limit = _EVEN * (typical / squares) ** 2
    for value in values:
        if not value <= limit:  # or NaN
            return False
    return limit < np.inf


@compile_kernel
def _transform_inputs(x, v, tile, out, before, tiles, padded):
    """Transform the tiles of a sample x (H, W, C) into v (6, 6, tiles, C + gap), from `tile` on."""
    c, width = x.shape[2], (out[1] + 3) // 4 * 4 + 2
    copy_band(x, (0, c), -before[0], (out[0] + 3) // 4 * 4 + 2, before[1], padded, width)
    step = c + _GAP
    for top in range(0, out[0], 4):
        for left in range(0, out[1], 4):
            for k in range(0, c, _LANES):
                starts = ((top * width + left) * c + k, tile * step + k)
                steps = (6 * tiles * step, tiles * step)
                transform_tile(_LANES, _INPUT, padded, v, starts, (width * c, c), steps)
            tile += 1
    return tile


@compile_kernel
def _transform_outputs(m, y, at, tile, tiles, edge):
    """Transform a tile of m (6, 6, tiles, F + gap) into the outputs of an image y (OH, OW, F).

    `at` are the row and the column of its first output; what is beyond the image is left out.
    """
    (top, left), (out_h, out_w, f) = at, y.shape
    flat, step = y.reshape(y.size), f + _GAP
    steps, height, width = (6 * tiles * step, tiles * step), out_h - top, out_w - left
    for k in range(0, f, _LANES):
        start = (top * out_w + left) * f + k
        if height >= 4 and width >= 4:
            starts = (tile * step + k, start)
            transform_tile(_LANES, _OUTPUT, m, flat, starts, steps, (out_w * f, f))
            continue
        transform_tile(_LANES, _OUTPUT, m, edge, (tile * step + k, 0), steps, (4 * _LANES, _LANES))
        for row in range(min(height, 4)):
            for column in range(min(width, 4)):
                source, target = edge[(4 * row + column) * _LANES :], start + column * f
                for lane in range(_LANES):
                    flat[target + row * out_w * f + lane] = source[lane]


@compile_kernel
def _conv2d(block, x, bits, weights, y, even, sizes, part, lo, hi):
    """Convolve the samples lo..hi of x with the kernels u, `samples` at a time.

    u has the panels of `_kernels_transform`, of as many filters as a block has columns.
    The results of samples that are not even are not right.
    """
    (code, rows, panel), (u, b), (samples, tiles, before) = block, weights, sizes
    c, (_, out_h, out_w, f) = x.shape[3], y.shape
    padded = np.empty((out_h + 5) * (out_w + 5) * c, dtype=x.dtype)
    v_step, m_step = c + _GAP, f + _GAP
    v = np.empty(_PLANES * tiles * v_step, dtype=x.dtype)
    m = np.empty(_PLANES * tiles * m_step, dtype=x.dtype)
    zeros, edge = np.zeros(f, dtype=x.dtype), np.empty(16 * _LANES, dtype=x.dtype)
    for first in range(lo, hi, samples):
        last, used = min(first + samples, hi), 0
        for n in range(first, last):
            even[n] = _is_even(x[n], bits[n])
            used = _transform_inputs(x[n], v, used, (out_h, out_w), before, tiles, padded)
        used = max(used, rows)  # what is computed of unused tiles is never read
        for plane in range(_PLANES):
            for filters in range(0, f, panel):
                for top in range(0, used, rows):
                    row = plane * tiles + min(top, used - rows)
                    run_block(
                        code, v, (v_step, 0, 1), u, (0, panel), (1, c),
                        zeros, 0, m, m_step,
                        (row * v_step, (plane * f + filters) * c, filters,
                         row * m_step + filters),
                    )  # fmt: skip
        tile = 0
        for n in range(first, last):
            for top in range(0, out_h, 4):
                for left in range(0, out_w, 4):
                    _transform_outputs(m, y[n], (top, left), tile, tiles, edge)
                    tile += 1
            for row in range(out_h):
                for column in range(out_w):
                    for k in range(f):
                        y[n, row, column, k] += b[k]


@compile_kernel
def _conv2d_weight_grad(block, x, x_bits, grad, grad_bits, du, even, sizes, part, lo, hi):
    """Sum the gradient of the transformed kernels over even samples into du[part] (36*C*F,)."""
    (code, rows, panel), (samples, tiles, before) = block, sizes
    c, (_, out_h, out_w, f) = x.shape[3], grad.shape
    width = (out_w + 3) // 4 * 4
    padded = np.empty((out_h + 5) * (out_w + 5) * max(c, f), dtype=x.dtype)
    v_step, z_step = c + _GAP, f + _GAP
    v = np.empty(_PLANES * tiles * v_step, dtype=x.dtype)
    z = np.empty(_PLANES * tiles * z_step, dtype=x.dtype)
    own = du[part]
    own[:] = 0
    for first in range(lo, hi, samples):
        tile = 0
        for n in range(first, min(first + samples, hi)):
            even[n] = _is_even(x[n], x_bits[n]) and _is_even(grad[n], grad_bits[n])
            if not even[n]:
                continue
            _transform_inputs(x[n], v, tile, (out_h, out_w), before, tiles, padded)
            copy_band(grad[n], (0, f), 0, (out_h + 3) // 4 * 4, 0, padded, width)
            for top in range(0, out_h, 4):
                for left in range(0, out_w, 4):
                    at = (top * width + left) * f
                    for k in range(0, f, _LANES):
                        transform_tile(
                            _LANES, _OUTPUT_GRAD, padded, z, (at + k, tile * z_step + k),
                            (width * f, f), (6 * tiles * z_step, tiles * z_step),
                        )  # fmt: skip
                    tile += 1
        for plane in range(_PLANES):
            for filters in range(0, f, panel):
                for channel in range(0, c, rows):
                    at = (plane * c + channel) * f + filters
                    run_block(
                        code, v, (1, 0, v_step), z, (0, z_step), (1, tile),
                        own, f, own, f,
                        (plane * tiles * v_step + channel, plane * tiles * z_step + filters,
                         at, at),
                    )  # fmt: skip


def _bits(x: Array) -> Array:
    """Return the numbers of x as unsigned integers, a view."""
    return x.view(f"u{x.itemsize}")


def conv2d(x: Array, w: Array, b: Array | None, padding: Padding, out: Pair) -> Array:
    """Return the convolution of x (N, H, W, C), as (N, OH, OW, F); `suits` must hold."""
    n, _, _, c = x.shape
    f = len(w)
    vectors, lanes = block_columns(f, x.dtype)
    plain = kernel_panels(w, 1, f).ravel()  # (F, C, 3, 3) -> (3, 3, C, F)
    norm = math.sqrt(float(np.dot(plain, plain)) / f)
    if not max(plain.max(), -plain.min()) <= _EVEN_WEIGHT * norm < math.inf:
        return gemm.conv2d(x, w, b, padding=padding)
    u = memory.empty((_PLANES * c * f,), x.dtype)
    shapes = (3, 6, c, f, vectors * lanes)
    threads.run(_kernels_transform(lanes, _KERNEL), c, plain, u, shapes, grain=c // 4)
    y, even = memory.empty((n, *out, f), x.dtype), np.empty(n, dtype=bool)
    bias = np.zeros(f, dtype=x.dtype) if b is None else b
    samples, tiles = _sizes(x, f, out)
    sizes = (samples, tiles, (padding[0][0], padding[1][0]))
    block = block_of(block_rows(tiles, vectors), vectors, lanes, x.itemsize)
    threads.run(_conv2d, n, block, x, _bits(x), (u, bias), y, even, sizes, grain=samples)
    if not even.all():
        y[~even] = gemm.conv2d(x[~even], w, b, padding=padding)
    return y


def conv2d_weight_grad(grad: Array, x: Array, padding: Padding) -> Array:
    """Return the gradient for w of `conv2d`, given that for its result (N, OH, OW, F)."""
    (n, *out, f), c = grad.shape, x.shape[3]
    vectors, lanes = block_columns(f, x.dtype)
    du, even = memory.empty((threads.NUM_THREADS, _PLANES * c * f), x.dtype), np.empty(n, bool)
    samples, tiles = _sizes(x, f, (out[0], out[1]))
    sizes = (samples, tiles, (padding[0][0], padding[1][0]))
    # With vectors of 4 numbers there may be 20 channels, which blocks of 8 rows would go beyond.
    rows = math.gcd(c, even_rows(vectors))
    block = block_of(rows, vectors, lanes, x.itemsize, adjacent=True)
    parts = threads.run(
        _conv2d_weight_grad, n, block, x, _bits(x), grad, _bits(grad), du, even, sizes,
        grain=samples,
    )  # fmt: skip
    total, dw = du[0] if parts == 1 else du[:parts].sum(axis=0), np.empty(9 * c * f, dtype=x.dtype)
    back = _kernels_transform(lanes, _KERNEL_GRAD)
    threads.run(back, c, total, dw, (6, 3, c, f, f), grain=c // 4)
    # (3, 3, C, F) -> (F, C, 3, 3)
    dw = np.ascontiguousarray(dw.reshape(3, 3, c, f).transpose(3, 2, 0, 1))
    if not even.all():
        dw += gemm.conv2d_weight_grad(grad[~even], x[~even], (3, 3), padding=padding)
    return dw
