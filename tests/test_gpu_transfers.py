"""What passes between host and device in a batch of `fit`, counted; planted faults are noticed.

The stand-in for CuPy counts; on a GPU only the faults that raise an error are tested.
"""

import numpy as np
import pytest
from conftest import HAS_GPU, built
from cupy_stand_in.cupy import transfers
from test_contracts import LAYERS, OPTIMIZERS, batch_for
from test_gpu_training import IMAGES, LABELS, image_model

import nn
from nn import callbacks, cuda

pytestmark = pytest.mark.gpu

# --------------------------------------------------------------- what passes to the host

on_the_stand_in = pytest.mark.skipif(HAS_GPU, reason="the stand-in counts, a GPU does not")


class Counter(callbacks.Callback):
    """The transfers of each batch of `fit`, between the beginning of one and that of the next."""

    def __init__(self):
        self.to_host, self.to_device, self.starts = [], [], []

    def on_train_batch_begin(self, batch, logs):
        self.starts.append((len(transfers.TO_HOST), len(transfers.TO_DEVICE)))

    def second(self):
        """Return what was copied for the second batch: the first also begins the epoch."""
        (a, c), (b, d) = self.starts[1:3]
        return transfers.TO_HOST[a:b], transfers.TO_DEVICE[c:d]


def transfers_of_a_batch(model=None, regularizer=None, **arguments):
    model = image_model(0.3, regularizer) if model is None else model
    counter = Counter()
    model.to_gpu().compile(**{"loss": "cce", "optimizer": "adam", **arguments})
    model.fit(IMAGES, LABELS, batch_size=6, callbacks=[counter], verbose=0)
    return counter.second()


# The copies to the host that a batch may need: each makes the host wait for the device.
ALLOWED = [
    # The loss and the largest gradient are checked, and accuracy gets labels and decisions.
    ({}, ["compute", "check_gradients", "_copied", "_copied"]),
    ({"metrics": []}, ["compute", "check_gradients"]),
    ({"metrics": [], "optimizer": "sgd", "ema_decay": 0.9}, ["compute", "check_gradients"]),
    ({"metrics": [], "clip_norm": 1.0}, ["compute", "check_gradients", "global_norm"]),
    ({"metrics": [], "clip_value": 1.0, "weight_decay": 0.1}, ["compute", "check_gradients"]),
    ({"metrics": [], "regularizer": "l2"}, ["compute", "penalty", "check_gradients"]),
    ({"metrics": [], "loss": "mse", "model": "regression"}, ["compute", "check_gradients"]),
]


@on_the_stand_in
@pytest.mark.parametrize(("arguments", "allowed"), ALLOWED)
def test_a_batch_of_fit_copies_no_more_than_this_to_the_host(arguments, allowed):
    arguments = dict(arguments)
    if arguments.pop("model", None):
        arguments["model"] = nn.Model([nn.Flatten(), nn.Dense(1)], seed=0)
    to_host, to_device = transfers_of_a_batch(**arguments)
    assert [function for _, _, function, _ in to_host] == allowed
    assert [function for _, _, function, _ in to_device] == ["_copied", "_copied"]  # x and y


@on_the_stand_in
@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_no_optimizer_copies_to_the_host(cls):
    to_host, _ = transfers_of_a_batch(optimizer=cls(lr=0.01), metrics=[])
    assert len(to_host) == 2


@on_the_stand_in
@pytest.mark.parametrize("name", LAYERS)
def test_no_layer_copies_between_host_and_device(name):
    make, shape = LAYERS[name]
    layer = built(make(), shape, "gpu")
    x = cuda.to_gpu(batch_for(name, 4, 1))
    layer.forward(x, training=True)
    y = layer.forward(x, training=True)
    before = len(transfers.TO_HOST), len(transfers.TO_DEVICE)
    layer.backward(y)
    layer.forward(x, training=True)
    layer.forward(x, training=False)
    assert (len(transfers.TO_HOST), len(transfers.TO_DEVICE)) == before


# ------------------------------------------------------------- planted faults are noticed


def planted(change):
    """Return a class of layer whose forward pass changes its output by a function."""

    class Planted(nn.Dense):
        def forward(self, x, training=False):
            return change(super().forward(x, training))

    return nn.Model([nn.Flatten(), Planted(3)], seed=0)


FAULTS = {
    "implicit conversion": (lambda y: np.asarray(y), "Implicit conversion to a NumPy array"),
    "an array of NumPy in an operator": (lambda y: y * np.ones(3, "float32"), "Unsupported type"),
    "an array of NumPy in a function": (lambda y: np.where(y > 0, y, np.zeros(3)), "Unsupported"),
    "an argument that CuPy has not": (lambda y: np.maximum(y, 0, where=y > 0), "Wrong arguments"),
    "a function that CuPy has not": (lambda y: np.nan_to_num(np.interp(y, y, y)), "no implement"),
    "a random mask of the host": (
        lambda y: y * (np.random.default_rng(0).random(y.shape) > 0.5), "Unsupported type"
    ),
    "an index out of bounds": (lambda y: y[:, [0, 1, 3]], "out of bounds"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(fault):
    change, message = FAULTS[fault]
    if HAS_GPU and "bounds" in fault:
        pytest.skip("CuPy takes the index modulo the length")
    with pytest.raises((TypeError, IndexError), match=message):
        transfers_of_a_batch(planted(change))


COPIES = {
    "a number": lambda y: y * float(y.max() > 0),
    "a condition": lambda y: y if (y > 0).any() else -y,
    "an array": lambda y: cuda.to_gpu(cuda.to_cpu(y)),
    "a mask": lambda y: y + y[y > 0].sum(),
    "text": lambda y: print(end=f"{y.sum():.0f}"[:0]) or y,
}


@on_the_stand_in
@pytest.mark.parametrize("copy", COPIES)
def test_a_planted_copy_to_the_host_is_noticed(copy):
    without, _ = transfers_of_a_batch(planted(lambda y: y))
    found, _ = transfers_of_a_batch(planted(COPIES[copy]))
    assert len(found) == len(without) + 1
