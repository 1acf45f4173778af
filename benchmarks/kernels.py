"""Speed of each kernel of nn at the shapes of the three networks, against the machine's ceiling.

    python benchmarks/kernels.py
    python benchmarks/kernels.py --networks vgg6 --batch 256 --without-numba

Convolutions and products are measured in GFLOP/s against a large matrix product, all else in GB/s
against a large copy on all cores. The operations of a convolution are counted as it is defined:
Winograd's way takes fewer, so its rate can be above the ceiling. The bytes are those of the arrays
that a kernel must read and of those that it returns or changes, each once, but those that must be
read twice. An array that fits the processor's cache can beat the copy, which does not. Arrays have
channels-last memory, as between nn's layers.
"""

import argparse
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from networks import BN_EPS, DROPOUT, NETWORKS
from workers import describe, print_machine, print_table, run_worker, serve, write_json

SAME = ((1, 1), (1, 1))  # padding of a 3x3 kernel
NO_PADDING = ((0, 0), (0, 0))


def random_image(shape):
    """Return (N, C, H, W) with channels-last memory."""
    n, c, h, w = shape
    image = np.random.default_rng(0).standard_normal((n, h, w, c), dtype=np.float32)
    return image.transpose(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)


def cases(network, batch):
    """Yield (kernel, shape, its arguments, bytes it must read, multiplications and additions)."""
    c, h, w = NETWORKS[network].shape
    rng = np.random.default_rng(0)
    is_first, features = True, 0
    for kind, size, _ in NETWORKS[network].parts():
        if kind == "flatten":
            features = c * h * w
        elif kind == "dense":
            yield from dense_cases(rng.standard_normal((batch, features), dtype=np.float32), size)
            yield from update_cases(features * size)
            features = size
        if features:
            continue
        x = random_image((batch, c, h, w))
        shape = f"{batch}x{c}x{h}x{w}"
        if kind == "conv":
            yield from conv_cases(x, size, f"{shape} -> {size}", is_first)
            c, is_first = size, False
        elif kind == "pool":
            yield from pool_cases(x, shape)
            h, w = h // 2, w // 2
        elif kind == "bn":
            yield from batch_norm_cases(x, f"{batch * h * w}x{c}")
        elif kind == "relu":
            yield from relu_cases(x, shape)
        elif kind == "dropout":
            kept = np.ascontiguousarray(x.transpose(0, 2, 3, 1) > 0).transpose(0, 3, 1, 2)
            yield "dropout_mask", shape, (x, DROPOUT, rng), 0, 0
            yield "dropout", shape, (x, kept, DROPOUT), x.nbytes + kept.nbytes, 0
    logits = rng.standard_normal((batch, 10), dtype=np.float32)
    for name in ("softmax", "log_softmax"):
        yield name, f"{batch}x10", (logits,), logits.nbytes, 0


def conv_cases(x, filters, shape, is_first):
    n, c, h, width = x.shape
    w = np.random.default_rng(0).standard_normal((filters, c, 3, 3), dtype=np.float32)
    b = np.zeros(filters, np.float32)
    grad = random_image((n, filters, h, width))
    rows = grad.transpose(0, 2, 3, 1).reshape(-1, filters)  # (N, F, H, W) -> (N*H*W, F)
    flops = 2 * n * h * width * filters * c * 9
    yield "conv2d", shape, (x, w, b, (1, 1), SAME), 0, flops
    if not is_first:  # nobody reads the gradient for the images
        yield "conv2d_input_grad", shape, (grad, w, x.shape, (1, 1), SAME), 0, flops
    yield "conv2d_weight_grad", shape, (grad, x, w.shape, (1, 1), SAME), 0, flops
    yield "column_sums", f"{n * h * width}x{filters}", (rows,), rows.nbytes, 0


def pool_cases(x, shape):
    from nn import kernels

    window = ((2, 2), (2, 2), NO_PADDING)
    y, index = kernels.max_pool2d(x, *window)
    yield "max_pool2d", shape, (x, *window), x.nbytes, 0
    grad = random_image(y.shape)
    arguments = (grad, index, x.shape, *window)
    yield "max_pool2d_grad", shape, arguments, grad.nbytes + index.nbytes, 0


def batch_norm_cases(x, shape):
    from nn import kernels

    rows = kernels.to_rows(x)
    gamma, beta = np.ones(rows.shape[1], np.float32), np.zeros(rows.shape[1], np.float32)
    _, mean, variance = kernels.batch_norm(rows, gamma, beta, BN_EPS)
    yield "batch_norm", shape, (rows, gamma, beta, BN_EPS), 2 * rows.nbytes, 0  # read twice
    statistics_given = (rows, gamma, mean, variance, BN_EPS)
    yield "batch_norm_grad", shape, (rows, *statistics_given), 4 * rows.nbytes, 0


def relu_cases(x, shape):
    from nn import kernels
    from nn.kernels.formulas import RELU

    _, mask = kernels.activate(x, RELU)
    yield "activate", shape, (x, RELU), x.nbytes, 0
    yield "activate_grad", shape, (x, mask, RELU), x.nbytes + mask.nbytes, 0


def dense_cases(x, units):
    shape = f"{len(x)}x{x.shape[1]}->{units}"
    w = np.ones((x.shape[1], units), np.float32)
    grad = np.ones((len(x), units), np.float32)
    flops = 2 * len(x) * w.size
    yield "matmul", f"{shape}, forward", (x, w), 0, flops
    yield "matmul", f"{shape}, weights", (x.T, grad), 0, flops
    yield "matmul", f"{shape}, inputs", (grad, w.T), 0, flops


def update_cases(count):
    param, grad, m, v = np.ones((4, count), np.float32)
    yield "sgd", f"{count}", (param, grad, m, 0.01, 0.9, False), 5 * param.nbytes, 0
    yield "adam", f"{count}", (param, grad, m, v, 1e-3, 0.9, 0.999, 1e-8, 1), 7 * param.nbytes, 0


# --------------------------------------------------------------------------------- measuring


def seconds_of(call, budget):
    """Return the median time of a call, repeated for `budget` seconds after two calls."""
    call(), call()
    times = []
    while sum(times) < budget or len(times) < 5:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matrix_ceiling(budget):
    """Return GFLOP/s of a product of two 2048x2048 matrices."""
    a = np.random.default_rng(0).standard_normal((2048, 2048), dtype=np.float32)
    out = np.empty_like(a)
    return 2 * 2048**3 / seconds_of(lambda: np.matmul(a, a, out=out), budget) / 1e9


def copy_ceiling(budget):
    """Return GB/s, read and written, of copying 256 MB on all cores."""
    cores = os.cpu_count() or 1
    source = np.ones(1 << 26, np.float32)
    target = np.empty_like(source)
    pairs = list(zip(np.array_split(target, cores), np.array_split(source, cores), strict=True))
    with ThreadPoolExecutor(cores) as pool:
        seconds = seconds_of(lambda: list(pool.map(lambda p: np.copyto(*p), pairs)), budget)
    return 2 * source.nbytes / seconds / 1e9


def result_bytes(result):
    arrays = result if isinstance(result, tuple) else (result,)
    return sum(array.nbytes for array in arrays if array is not None)


def work(task):
    from nn import kernels  # before NumPy multiplies: nn sets the threads

    budget, rows, seen = task["seconds"], [], set()
    ceilings = {"GFLOP/s": matrix_ceiling(budget), "GB/s": copy_ceiling(budget)}
    for network in task["networks"]:
        for name, shape, arguments, read, flops in cases(network, task["batch"]):
            if (name, shape) in seen:
                continue
            seen.add((name, shape))
            call = partial(getattr(kernels, name), *arguments)
            seconds = seconds_of(call, budget)
            unit = "GFLOP/s" if flops else "GB/s"
            rate = (flops or read + result_bytes(call())) / seconds / 1e9
            row = {"network": network, "kernel": name, "shape": shape, "seconds": seconds}
            rows.append(row | {"rate": rate, "unit": unit, "share": rate / ceilings[unit]})
    return {"ceilings": ceilings, "kernels": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    networks = ["mnist", "cifar", "vgg6"]
    parser.add_argument("--networks", nargs="+", choices=networks, default=networks)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.3, help="time for each kernel")
    parser.add_argument("--without-numba", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(work, options.worker)
        return
    variant = "nn-without-numba" if options.without_numba else "nn"
    task = {"variant": variant, "networks": options.networks, "batch": options.batch}
    result = run_worker(__file__, task | {"seconds": options.seconds})
    if "missing" in result:
        raise SystemExit(f"{variant}: {result['missing']}")
    machine = describe({variant: result})
    print_machine(machine)
    for unit, ceiling in result["ceilings"].items():
        print(f"Ceiling: {ceiling:.0f} {unit}")
    print_table(
        ["network", "kernel", "shape", "ms", "rate", "unit", "of the ceiling"],
        [
            (
                row["network"],
                row["kernel"],
                row["shape"],
                f"{row['seconds'] * 1e3:.3f}",
                f"{row['rate']:.1f}",
                row["unit"],
                f"{row['share']:.0%}",
            )
            for row in result["kernels"]
        ],
    )
    write_json(options.json, {"machine": machine, **result})


if __name__ == "__main__":
    main()
