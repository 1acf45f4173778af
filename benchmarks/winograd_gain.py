"""Compare the two ways of a 3 x 3 convolution, the direct sum and Winograd's, shape by shape.

    OMP_NUM_THREADS=1 python benchmarks/winograd_gain.py

For channels by filters and the size of the outputs it prints what `winograd._gain` expects, how
many times as fast as the direct sum the forward pass and the gradient of the kernel were, and which
way is chosen. The arithmetic of the direct sum counts for both rates.
"""

import argparse
import time

import numpy as np

from nn.kernels.cpu.compiled import gemm, winograd

PADDING = ((1, 1), (1, 1))


def best(function, rounds=5):
    """Return the shortest time of a call, in seconds."""
    function()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def measure(c, f, size, n):
    """Return the times of the direct sum and of Winograd's way: forward, kernel's gradient."""
    rng = np.random.default_rng(0)
    x, grad = (rng.normal(size=(n, size, size, k)).astype(np.float32) for k in (c, f))
    w = rng.normal(size=(f, c, 3, 3)).astype(np.float32)
    return (
        (
            best(lambda: gemm.conv2d(x, w, None, padding=PADDING)),
            best(lambda: winograd.conv2d(x, w, None, PADDING, (size, size))),
        ),
        (
            best(lambda: gemm.conv2d_weight_grad(grad, x, (3, 3), padding=PADDING)),
            best(lambda: winograd.conv2d_weight_grad(grad, x, PADDING)),
        ),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[3, 5, 7, 8, 14, 15, 16, 32])
    parser.add_argument(
        "--channels", nargs="+", default=["16x16", "16x64", "32x32", "64x64", "128x128", "256x256"]
    )
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    print("channels  size  direct GFLOP/s  gain: expected  forward  gradient  chosen")
    for pair in options.channels:
        c, f = map(int, pair.split("x"))
        for size in options.sizes:
            work = 2 * options.batch * size**2 * c * f * 9
            forward, gradient = measure(c, f, size, options.batch)
            expected = winograd._gain(options.batch, c, f, (size, size))
            print(
                f"{pair:8s} {size:5d} {work / forward[0] / 1e9:15.0f} {expected:15.2f} "
                f"{forward[0] / forward[1]:8.2f} {gradient[0] / gradient[1]:9.2f}  "
                f"{'Winograd' if expected >= winograd._LEAST_GAIN else 'direct'}"
            )


if __name__ == "__main__":
    main()
