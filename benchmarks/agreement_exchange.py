"""nn's models in PyTorch and PyTorch's in nn: outputs there and back, and a step of training.

    python benchmarks/agreement_exchange.py

Every layer that both sides know is made in nn, written by `nn.exchange.to_torch`, run by PyTorch
with the source and the state dict, and compared with `predict`; then the weights go back by
`from_torch` into a model with other ones.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "exchange"))

from torch_cases import CASES

import nn
from nn.exchange import from_torch, to_torch

TOLERANCE = 1e-6  # of single layers and small networks, in float32
DEEP = 5e-6  # of the networks of the zoo
ZOO = (
    "mlp",
    "lenet5",
    "small_cnn",
    "mnist_cnn",
    "three_layer_cnn",
    "cifar_cnn",
    "vgg6",
    "resnet20",
)


def network_of(exported, folder):
    """Run the source and load the arrays by way of a file."""
    space = {}
    exec(compile(exported.source, "source", "exec"), space)
    network = space["make_network"]()
    exported.save(Path(folder, "network.safetensors"))
    network.load_state_dict(load_file(Path(folder, "network.safetensors")))
    return network.eval()


def model_of(make, shape, seed):
    """Build a model with weights, statistics and slopes that are not those of the start."""
    made, rng = make(), np.random.default_rng(seed)
    model = nn.Model(made, seed=seed)
    if not model.built:
        model.build((None, *shape))
    for name, array in model.get_arrays().items():
        if not name.endswith(("_std", "_mean")) or "running" in name:
            array += 0.1 * np.abs(rng.normal(size=array.shape))
    return model


def difference(a, b):
    """Return the largest difference, relative to the largest number."""
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


def compare(make, shape, ids, folder):
    """Return the differences in PyTorch, back in nn, and of a network in training mode."""
    model, rng = model_of(make, shape, 1), np.random.default_rng(0)
    x = rng.integers(0, 7, (3, *shape)) if ids else rng.normal(size=(3, *shape)).astype("f4")
    network = network_of(to_torch(model), folder)
    with torch.no_grad():
        theirs = network(torch.from_numpy(x)).numpy()
    ours = model.predict(x)
    if theirs.shape != ours.shape:
        return float("inf"), float("inf")
    again = model_of(make, shape, 2)
    back = 0.0
    if model.get_arrays():
        from_torch(again, network)
        back = difference(again.predict(x), theirs)
    return difference(theirs, ours), back


def make_small():
    return [
        nn.Conv2D(4, 3, input_shape=(2, 6, 6)), nn.BatchNorm2D(), nn.ReLU(), nn.MaxPool2D(),
        nn.Flatten(), nn.Dense(3),
    ]  # fmt: skip


def train_on_both_sides(folder):
    """Return the difference of the weights after a step of SGD on both sides."""
    model = model_of(make_small, (2, 6, 6), 1)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 2, 6, 6)).astype("f4"), np.arange(8) % 3
    network = network_of(to_torch(model), folder).train()
    model.compile("cce", nn.optim.SGD(lr=0.1))
    model.train_step(x, y)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    torch.nn.functional.cross_entropy(network(torch.from_numpy(x)), torch.from_numpy(y)).backward()
    optimizer.step()
    again = model_of(make_small, (2, 6, 6), 2)
    from_torch(again, network)
    ours = model.get_arrays()
    return max(difference(array, ours[name]) for name, array in again.get_arrays().items())


def networks():
    """Yield the cases, and the networks of the zoo in their own shapes."""
    yield from CASES.items()
    for name in ZOO:
        make = getattr(nn.zoo, name)
        yield f"zoo.{name}", (lambda make=make: make().layers, make().input_shape[1:], False)


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, shape, ids) in networks():
            out, back = compare(make, shape, ids, folder)
            failed += max(out, back) > TOLERANCE
            print(
                f"{name:30} out {out:.1e}  back {back:.1e}"
                + "  WRONG" * (max(out, back) > TOLERANCE)
            )
        step = train_on_both_sides(folder)
        failed += step > TOLERANCE
        print(f"{'a step of training':30} {step:.1e}")
    print(f"{len(CASES) + len(ZOO)} networks, {failed} of them differ by more than {TOLERANCE}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
