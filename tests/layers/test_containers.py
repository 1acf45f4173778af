"""Layers made of layers: stacks in stacks, residual blocks, models in models, and their files."""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

import nn
from nn import kernels
from nn.files.model_file import FileFormatError
from nn.layers import NAME2LAYER, fold, layer_from_config
from nn.layers.config import MAX_DEPTH
from nn.layers.containers import Container
from nn.layers.plan import named_layers


def resnet(**arguments):
    """A residual network in small: the identity, a projection, a stack in a block, dropout."""
    stack = nn.Sequential([nn.Conv2D(6, 3, stride=2, use_bias=False), nn.BatchNorm2D(), nn.ReLU()])
    return nn.Model(
        [
            nn.Conv2D(4, 3, input_shape=(2, 8, 7)),
            nn.Residual([nn.Conv2D(4, 3), nn.ReLU(), nn.Dropout(0.3), nn.Conv2D(4, 3)]),
            nn.ReLU(),
            nn.Residual([stack, nn.Conv2D(6, 3), nn.BatchNorm2D()]),
            nn.GlobalAvgPool2D(),
            nn.Dense(3),
        ],
        **{"seed": 0, **arguments},
    )


def compiled(model, **arguments):
    model.compile(**{"loss": "cce", "optimizer": "adam", "lr": 0.01, **arguments})
    return model


def data(rng, n=24, shape=(2, 8, 7)):
    return rng.normal(size=(n, *shape)).astype("float32"), rng.integers(0, 3, n)


def copies(model):
    return {name: array.copy() for name, array in model.get_arrays().items()}


# ------------------------------------------------------- values, against a network by hand


def convolve(x, w, stride=1):
    """Convolution with 'same' padding, as a sum over the cells of the kernel."""
    k = w.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (k, k), (k, k)))
    y = 0
    for i, j in np.ndindex(w.shape[2:]):
        window = padded[:, :, i : i + x.shape[2], j : j + x.shape[3]][:, :, ::stride, ::stride]
        y = y + np.einsum("nchw,fc->nfhw", window, w[:, :, i, j])
    return y


def convolve_grads(grad, x, w, stride=1):
    k = w.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (k, k), (k, k)))
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for i, j in np.ndindex(w.shape[2:]):
        cells = (..., slice(i, i + x.shape[2], stride), slice(j, j + x.shape[3], stride))
        dw[:, :, i, j] = np.einsum("nfhw,nchw->fc", grad, padded[cells])
        dpadded[cells] += np.einsum("nfhw,fc->nchw", grad, w[:, :, i, j])
    inner = slice(k, -k) if k else slice(None)
    return dpadded[:, :, inner, inner], dw


def step_by_hand(x, y, w, lr):
    """One step of SGD on the mean squared error, of `relu(x + b(relu(a x)))` and so on."""
    first = convolve(x, w["0_Conv2D_W"])
    a = convolve(first, w["1_Residual/0_Conv2D_W"])
    b = convolve(np.maximum(a, 0), w["1_Residual/2_Conv2D_W"])
    top = np.maximum(first + b, 0)
    c = convolve(top, w["3_Residual/0_Conv2D_W"], stride=2)
    out = np.maximum(c, 0) + convolve(top, w["3_Residual/2_Conv2D_W"], stride=2)
    loss = ((out - y) ** 2).mean()

    dout = 2 * (out - y) / y.size
    grads = {}
    dtop, grads["3_Residual/0_Conv2D_W"] = convolve_grads(
        dout * (c > 0), top, w["3_Residual/0_Conv2D_W"], 2
    )
    dshort, grads["3_Residual/2_Conv2D_W"] = convolve_grads(
        dout, top, w["3_Residual/2_Conv2D_W"], 2
    )
    dsum = (dtop + dshort) * (top > 0)
    db, grads["1_Residual/2_Conv2D_W"] = convolve_grads(
        dsum, np.maximum(a, 0), w["1_Residual/2_Conv2D_W"]
    )
    da, grads["1_Residual/0_Conv2D_W"] = convolve_grads(
        db * (a > 0), first, w["1_Residual/0_Conv2D_W"]
    )
    _, grads["0_Conv2D_W"] = convolve_grads(dsum + da, x, w["0_Conv2D_W"])
    return loss, {name: w[name] - lr * grads[name] for name in w}


@pytest.mark.parametrize("readable", [False, True], ids=["quickest kernels", "readable kernels"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_equals_a_network_by_hand(readable, dtype, rng, monkeypatch):
    """Several steps, on arrays that come from memory used before (more than 64 KB each)."""
    if readable:
        monkeypatch.setattr(kernels, "compiled", lambda: None)
    plain = {"use_bias": False}
    model = nn.Model(
        [
            nn.Conv2D(8, 3, **plain),
            nn.Residual([nn.Conv2D(8, 3, **plain), nn.ReLU(), nn.Conv2D(8, 3, **plain)]),
            nn.ReLU(),
            nn.Residual([nn.Conv2D(12, 3, stride=2, padding=1, **plain), nn.ReLU()]),
        ],
        dtype=dtype,
        seed=1,
    )
    model.compile("mse", "sgd", lr=0.05)
    model.build((None, 3, 20, 18))
    weights = {name: array.astype("float64") for name, array in model.get_arrays().items()}
    assert weights["3_Residual/2_Conv2D_W"].shape == (12, 8, 1, 1)
    tolerance = 1e-10 if dtype == "float64" else 2e-4
    for _ in range(4):
        x, y = rng.normal(size=(8, 3, 20, 18)), rng.normal(size=(8, 12, 10, 9))
        before = x.astype(dtype)
        given = before.copy()
        loss = model.train_step(given, y.astype(dtype))["loss"]
        expected, weights = step_by_hand(x, y, weights, lr=0.05)
        assert loss == pytest.approx(expected, rel=tolerance)
        np.testing.assert_array_equal(given, before)
    for name, array in model.get_arrays().items():
        np.testing.assert_allclose(array, weights[name], rtol=tolerance, atol=tolerance / 10)


def test_residual_worked_out_by_hand():
    block = nn.Residual(nn.Dense(2, use_bias=False))
    block.build((None, 2))
    block.layers[0].params["W"][...] = [[1, 2], [3, 4]]
    np.testing.assert_array_equal(block.forward(np.array([[1.0, 10.0]])), [[32, 52]])
    np.testing.assert_array_equal(block.backward(np.array([[1.0, 1.0]])), [[4, 8]])
    np.testing.assert_array_equal(block.layers[0].grads["W"], [[1, 1], [10, 10]])


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Dropout(0.5)],  # it returns its input itself, and the gradient itself
        lambda: [nn.Activation("linear")],
        lambda: [nn.Reshape((2, 3, 4))],
        lambda: [nn.Tanh()],  # it keeps its output
        lambda: [nn.Sigmoid(), nn.Softmax()],
        lambda: [nn.Residual([nn.Activation("linear")])],
    ],
)
def test_branches_that_share_memory_are_added_into_a_new_array(layers, rng):
    block = nn.Residual(layers())
    x, grad = rng.normal(size=(2, 5, 2, 3, 4))
    x_before, grad_before = x.copy(), grad.copy()
    main = nn.Sequential(layers())
    y, dx = block.forward(x), block.backward(grad)
    np.testing.assert_allclose(y, main.forward(x_before) + x_before, rtol=1e-14)
    np.testing.assert_allclose(dx, main.backward(grad_before) + grad_before, rtol=1e-14)
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(grad, grad_before)
    block.forward(x)
    np.testing.assert_array_equal(block.backward(grad), dx)  # what was returned is not reused


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Residual([nn.Dense(3), nn.Tanh(), nn.Dense(5)]), (5,)),
        (lambda: nn.Residual([nn.Dense(3), nn.Tanh()]), (5,)),
        (lambda: nn.Residual(nn.Conv2D(3, 3), nn.Conv2D(3, 1, activation="tanh")), (2, 4, 3)),
        (lambda: nn.Residual([nn.Conv2D(3, 3, stride=(2, 1))]), (2, 5, 3)),
        (lambda: nn.Residual(nn.MaxPool2D(), [nn.AvgPool2D(), nn.Tanh()]), (2, 4, 4)),
        (
            lambda: nn.Sequential([nn.Dropout(0.4), nn.Residual([nn.Dense(5), nn.Dropout(0.5)])]),
            (5,),
        ),
    ],
)
def test_gradients(make, shape, rng):
    layer = make()
    x = rng.permutation(np.linspace(-2, 2, 3 * int(np.prod(shape)))).reshape(3, *shape)
    errors = nn.check_gradients(layer, x)
    assert max(errors.values()) <= 1e-6
    names = {f"{path}_{key}" for path, part in named_layers(layer.layers) for key in part.params}
    assert set(errors) == names | {"x"}


def test_the_gradient_check_finds_a_wrong_gradient_inside(rng):
    class Wrong(nn.Dense):
        def backward(self, grad):
            dx = super().backward(grad)
            self.grads["b"] = self.grads["b"] * 2
            return dx

    errors = nn.check_gradients(nn.Residual([nn.Dense(4), Wrong(5)]), rng.normal(size=(3, 5)))
    assert errors.pop("1_Wrong_b") > 0.1
    assert max(errors.values()) <= 1e-6


def test_the_gradient_check_sets_buffers_inside_back(rng):
    class Counting(nn.Layer):
        def build(self, input_shape):
            self.buffers["count"] = np.zeros(1)
            self.output_shape = input_shape

        def forward(self, x, training=False):
            self.buffers["count"] += 1
            return x * self.buffers["count"]

        def backward(self, grad):
            return grad * self.buffers["count"]

    errors = nn.check_gradients(nn.Sequential([Counting()]), rng.normal(size=(3, 5)))
    assert errors["x"] <= 1e-6


# ------------------------------------------------------------------------- the projection


@pytest.mark.parametrize(
    ("strides", "size", "expected"),
    [
        ((1, 1), (7, 8), (1, 1)),
        ((2, 2), (7, 8), (2, 2)),
        ((3, 1), (7, 8), (3, 1)),
        ((4, 4), (5, 5), (3, 3)),
    ],
)
def test_the_projection_takes_the_stride_that_brings_the_shape(strides, size, expected):
    block = nn.Residual(nn.Conv2D(6, 3, stride=strides))
    block.build((None, 4, *size))
    (projection,) = block.shortcut
    assert (projection.stride, projection.use_bias) == (expected, False)
    assert projection.output_shape == block.output_shape
    assert [type(layer).__name__ for layer in block.layers] == ["Conv2D", "Conv2D"]


def test_identity_where_the_shapes_agree():
    block = nn.Residual([nn.Conv2D(4, 3), nn.ReLU()])
    block.build((None, 4, 6, 6))
    assert block.shortcut == ()
    assert len(block.layers) == 2


@pytest.mark.parametrize(
    ("block", "shape", "message"),
    [
        (
            lambda: nn.Residual(nn.Conv2D(4, 3, padding=2)),
            (4, 6, 6),
            "cannot add its input of shape",
        ),
        (
            lambda: nn.Residual(nn.Flatten()),
            (4, 6, 6),
            r"of shape \(None, 4, 6, 6\) .* \(None, 144\)",
        ),
        (lambda: nn.Residual(nn.Reshape((6, 2))), (3, 4), "pass a 'shortcut'"),
        (lambda: nn.Residual(nn.Dense(4), nn.Dense(3)), (5,), r"'shortcut' must bring \(None, 5\)"),
        (lambda: nn.Residual(nn.Dense(4), nn.Flatten()), (4, 2, 2), "add Flatten"),
    ],
)
def test_shapes_that_do_not_meet(block, shape, message):
    with pytest.raises(ValueError, match=message):
        block().build((None, *shape))
    model = nn.Model([block()])
    with pytest.raises(ValueError, match=message):
        model.build((None, *shape))
    assert not any(layer.built for _, layer in named_layers(model.layers))


def test_a_block_that_failed_to_build_can_be_built_for_another_shape(rng):
    model = nn.Model([nn.Residual(nn.Conv2D(4, 3, stride=2)), nn.GlobalAvgPool2D(), nn.Dense(2)])
    with pytest.raises(ValueError, match="expects 4-D"):
        model.build((None, 6))
    model.build((None, 3, 9, 9))
    assert model.predict(rng.random((2, 3, 9, 9))).shape == (2, 2)


def test_a_projection_of_a_build_that_failed_is_gone():
    block = nn.Residual(nn.Conv2D(4, 3))
    model = nn.Model([block, nn.Reshape((100,))])
    with pytest.raises(ValueError, match="must hold the 144 values"):
        model.build((None, 3, 6, 6))
    model.build((None, 4, 5, 5))
    assert block.shortcut == ()


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Sequential([]), ValueError, r"\[Sequential\] 'layers' must hold at least one"),
        (lambda: nn.Residual([]), ValueError, r"\[Residual\] 'layers' must hold at least one"),
        (lambda: nn.Residual([], nn.ReLU()), ValueError, "at least one"),
        (lambda: nn.Residual([nn.ReLU]), TypeError, r"\[Residual\].* got the class ReLU: write"),
        (lambda: nn.Residual(nn.ReLU), TypeError, "got the class ReLU"),
        (lambda: nn.Residual(nn.ReLU(), "relu"), TypeError, r"'shortcut' must hold layer objects"),
        (lambda: nn.Sequential(3), TypeError, "must hold layer objects, got 3"),
        (lambda: nn.Sequential([nn.ReLU(), None]), TypeError, "got None"),
        (lambda: nn.Sequential({"class": "Nothing"}), ValueError, "'Nothing'"),
        (lambda: nn.Sequential(nn.Model()), ValueError, "at least one layer"),
    ],
)
def test_what_is_no_layer(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_layer_is_in_a_model_once(rng):
    dense, tanh = nn.Dense(3), nn.Tanh()
    message = "must not hold a layer object twice"
    with pytest.raises(ValueError, match=rf"\[Sequential\] 'layers' {message}"):
        nn.Sequential([dense, nn.Residual(dense)])
    with pytest.raises(ValueError, match=message):
        nn.Residual(dense, dense)
    with pytest.raises(ValueError, match=message):
        nn.Residual([nn.Dense(3, activation=tanh), tanh])
    model = nn.Model([nn.Residual([nn.Dense(3, activation=tanh), dense])])
    for again in (dense, tanh, nn.Sequential([nn.ReLU(), dense]), nn.Dense(3, activation=tanh)):
        with pytest.raises(ValueError, match=rf"\[Model\] 'layers' {message}"):
            model.add(again)
    with pytest.raises(ValueError, match=message):
        model.add(model)
    assert len(model.layers) == 1


def nested(depth):
    layer = nn.ReLU()
    for _ in range(depth):
        layer = nn.Sequential([layer])
    return layer


def test_nesting_has_an_end(tmp_path, rng):
    deep = nn.Model([nested(MAX_DEPTH)])
    x = rng.normal(size=(2, 3)).astype("float32")
    np.testing.assert_array_equal(deep.predict(x), np.maximum(x, 0))
    deep.save(tmp_path / "deep.hdf5")
    np.testing.assert_array_equal(nn.Model.load(tmp_path / "deep.hdf5").predict(x), deep.predict(x))
    with pytest.raises(
        ValueError, match=r"\[Sequential\] 'layers' must not be nested more than 100"
    ):
        nested(MAX_DEPTH + 1)


@pytest.mark.parametrize("depth", [101, 5_000])
@pytest.mark.parametrize("kind", ["Sequential", "Residual", "Activation"])
def test_a_file_that_nests_without_end_is_refused(depth, kind):
    key = "activation" if kind == "Activation" else "layers"
    entry = {"class": "ReLU", "config": {}}
    for _ in range(depth if kind != "Activation" else 2 * depth):
        inner = entry if kind == "Activation" else [entry]
        entry = {"class": kind, "config": {key: inner}}
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        layer_from_config(entry)


def test_a_file_of_brackets_without_end_is_refused(tmp_path):
    with h5py.File(tmp_path / "m.hdf5", "w") as file:
        file["architecture"] = "[" * 200_000
    with pytest.raises(FileFormatError, match="broken JSON"):
        nn.Model.load(tmp_path / "m.hdf5")


# ------------------------------------------------------------ randomness, dtype, starts


def test_the_same_seed_gives_the_same_network():
    rng = np.random.default_rng(0)
    x, y = data(rng)
    arrays = []
    for seed in (3, 3, 4):
        model = compiled(resnet(seed=seed))
        model.fit(x, y, epochs=2, batch_size=8, verbose=0)
        arrays.append(model.get_arrays())
    for name in arrays[0]:
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])
    name = "1_Residual/0_Conv2D_W"
    assert not np.array_equal(arrays[0][name], arrays[2][name])


def test_every_layer_has_a_generator_of_its_own():
    model = resnet()
    draws = [rng.bit_generator.state["state"]["state"] for rng in model.generators]
    assert len(set(draws)) == len(draws) == 2 + len(list(named_layers(model.layers)))
    twice = nn.Model([nn.Residual(nn.Dense(4)), nn.Residual(nn.Dense(4))], seed=0)
    twice.build((None, 4))
    first, second = (block.layers[0].params["W"] for block in twice.layers)
    assert not np.array_equal(first, second)


def test_containers_leave_the_start_of_the_layers_around_them_alone():
    flat = nn.Model([nn.Dense(4, input_shape=(5,)), nn.ReLU(), nn.Dense(3)], seed=2)
    block = nn.Model([nn.Dense(4, input_shape=(5,)), nn.Residual(nn.ReLU()), nn.Dense(3)], seed=2)
    np.testing.assert_array_equal(flat.layers[2].params["W"], block.layers[2].params["W"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_reaches_every_layer(dtype):
    model = resnet(dtype=dtype)
    assert {array.dtype for array in model.get_arrays().values()} == {np.dtype(dtype)}
    assert model.predict(np.zeros((2, 2, 8, 7))).dtype == dtype


@pytest.mark.parametrize(
    ("layers", "path", "by_he"),
    [
        (lambda: [nn.Sequential([nn.Dense(50), nn.ReLU()])], "0_Sequential/0_Dense", True),
        (lambda: [nn.Sequential([nn.Dense(50), nn.Tanh()])], "0_Sequential/0_Dense", False),
        (
            lambda: [nn.Sequential([nn.Dense(50)]), nn.BatchNorm(), nn.ReLU()],
            "0_Sequential/0_Dense",
            True,
        ),
        (lambda: [nn.Dense(50), nn.Sequential([nn.Dropout(0.1), nn.ReLU()])], "0_Dense", True),
        (
            lambda: [nn.Residual([nn.Dense(50), nn.ReLU(), nn.Dense(200)])],
            "0_Residual/0_Dense",
            True,
        ),
        (
            lambda: [nn.Residual([nn.Dense(50), nn.ReLU(), nn.Dense(200)]), nn.ReLU()],
            "0_Residual/2_Dense",
            False,
        ),
        (lambda: [nn.Dense(50), nn.Residual([nn.ReLU(), nn.Dense(50)])], "0_Dense", False),
    ],
)
@pytest.mark.parametrize("by_add", [False, True])
def test_dense_starts_by_he_before_a_relu(layers, path, by_he, by_add):
    model = nn.Model(seed=0) if by_add else nn.Model(layers(), seed=0)
    if by_add:
        first, *others = layers()
        first.input_shape = (200,)
        for layer in (first, *others):
            model.add(layer)
    else:
        model.build((None, 200))
    w = model.get_arrays()[f"{path}_W"]
    std = np.sqrt(2 / w.shape[0]) if by_he else np.sqrt(2 / sum(w.shape))
    assert w.std() == pytest.approx(std, rel=0.03)


def test_a_container_by_hand_chooses_the_start_too():
    block = nn.Sequential([nn.Dense(100), nn.ReLU()])
    block.forward(np.zeros((1, 200), dtype="float32"))
    assert block.layers[0].params["W"].std() == pytest.approx(np.sqrt(2 / 200), rel=0.03)


# -------------------------------------------------------------------- frozen, forgotten


def test_a_frozen_container_freezes_all_inside(rng):
    model = compiled(resnet())
    model.layers[3].trainable = False
    assert not any(layer.trainable for _, layer in named_layers([model.layers[3]]))
    x, y = data(rng)
    before = copies(model)
    model.fit(x, y, epochs=1, batch_size=8, verbose=0)
    for name, array in model.get_arrays().items():
        same = np.array_equal(array, before[name])
        assert same == name.startswith("3_Residual"), name
    expected = model.forward(x)
    model.layers[1].layers[2].rate = 0.0  # dropout alone is to differ
    np.testing.assert_allclose(model.forward(x, training=True), expected, rtol=1e-5, atol=1e-6)
    model.layers[3].trainable = True
    assert all(layer.trainable for _, layer in named_layers([model.layers[3]]))


def test_trainable_is_told_by_the_layers_inside():
    block = nn.Sequential([nn.Dense(2, trainable=False), nn.ReLU()])
    block.layers[1].trainable = False
    assert not block.trainable
    block.layers[0].trainable = True
    assert block.trainable
    again = layer_from_config(json.loads(json.dumps(block.to_config())))
    assert [layer.trainable for layer in again.layers] == [True, False]
    assert not nn.Residual(nn.Dense(2), trainable=False).layers[0].trainable
    frozen = nn.Residual(nn.Dense(3), trainable=False)
    frozen.build((None, 2))
    assert not frozen.shortcut[0].trainable


def test_backward_ends_at_the_lowest_layer_with_parameters_to_train(rng, monkeypatch):
    """The gradient for the model's input is not needed: no layer, at any depth, computes it."""
    model = compiled(
        nn.Model(
            [
                nn.Sequential([nn.AvgPool2D(2), nn.Residual([nn.Conv2D(3), nn.Tanh()])]),
                nn.Flatten(),
                nn.Dense(3),
            ]
        )
    )
    x, y = data(rng)
    model.train_step(x, y)
    pool, block = model.layers[0].layers
    called = []
    for layer in (pool, *block.layers):
        for method in ("backward", "backward_params"):
            original = getattr(layer, method)

            def noted(grad, name=(layer, method), original=original):
                called.append(name)
                return original(grad)

            monkeypatch.setattr(layer, method, noted)
    model.train_step(x, y)
    conv, tanh, projection = block.layers
    assert called == [
        (tanh, "backward"),
        (conv, "backward_params"),
        (projection, "backward_params"),
    ]
    assert all(layer._kept is None for _, layer in named_layers(model.layers))
    called.clear()
    model.forward(x, training=True)
    assert model.backward(np.ones((len(x), 3), dtype="float32")).shape == x.shape
    whole = [name for name in called if name[1] == "backward"]
    assert whole == [(layer, "backward") for layer in (tanh, conv, projection, pool)]


def test_skipping_the_way_back_changes_no_gradient(rng):
    x, y = data(rng)
    by_step, by_hand = compiled(resnet(), optimizer="sgd"), compiled(resnet(), optimizer="sgd")
    for model in (by_step, by_hand):
        model.layers[0].trainable = model.layers[1].layers[0].trainable = False
    by_step.train_step(x, y)
    by_hand.loss.forward(by_hand.forward(x, training=True), y)
    by_hand.backward(by_hand.loss.backward())
    by_hand.optimizer.step(by_hand.get_params_and_grads())
    for name, array in by_step.get_arrays().items():
        np.testing.assert_array_equal(array, by_hand.get_arrays()[name])


def test_train_step_forgets_what_every_layer_kept(rng):
    model = compiled(resnet())
    model.train_step(*data(rng))
    assert all(layer._kept is None for _, layer in named_layers(model.layers))
    model.predict(data(rng)[0])
    assert all(layer._kept is None for _, layer in named_layers(model.layers))


def test_memory_is_free_for_the_layers_before_as_soon_as_it_was_used(rng, monkeypatch):
    model = compiled(nn.Model([nn.Dense(4), nn.Residual([nn.Dense(4), nn.Tanh()]), nn.Dense(3)]))
    x, y = rng.normal(size=(6, 5)).astype("float32"), rng.integers(0, 3, 6)
    model.train_step(x, y)
    dense, tanh = model.layers[1].layers
    kept = []
    original = dense.backward
    monkeypatch.setattr(
        dense, "backward", lambda grad: (kept.append(tanh._kept), original(grad))[1]
    )
    model.train_step(x, y)
    model.backward(model.forward(x, training=True))
    assert kept == [None, None]


def test_forget_reaches_the_layers_inside(rng):
    block = nn.Residual([nn.Sequential([nn.Dense(4)]), nn.Tanh()])
    block.forward(rng.normal(size=(2, 4)), training=True)
    block.forget()
    assert all(layer._kept is None for _, layer in named_layers([block]))


def test_backward_is_called_once_for_a_forward(rng):
    model = resnet()
    y = model.forward(data(rng)[0], training=True)
    model.backward(np.ones_like(y))
    with pytest.raises(RuntimeError, match=r"\[Dense\] backward\(\) .*twice"):
        model.backward(np.ones_like(y))


# --------------------------------------------------------------------- models in models


def test_a_model_in_a_model_is_one_layer_with_the_same_weights(rng):
    inner = nn.Model([nn.Conv2D(4, 3), nn.BatchNorm2D(), nn.ReLU()], seed=1, name="features")
    inner.build((None, 2, 8, 7))
    weights = inner.layers[0].params["W"].copy()
    model = compiled(nn.Model([inner, nn.Flatten(), nn.Dense(3)], seed=0))
    block = model.layers[0]
    assert (type(block), block.name) == (nn.Sequential, "features")
    assert block.layers == tuple(inner.layers)
    assert model.output_shape == (None, 3)  # it brought its input's shape
    np.testing.assert_array_equal(model.layers[0].layers[0].params["W"], weights)
    x, y = data(rng)
    model.fit(x, y, epochs=1, verbose=0)
    assert not np.array_equal(inner.layers[0].params["W"], weights)  # the same objects
    np.testing.assert_array_equal(inner.forward(x), block.forward(x))
    inner.add(nn.Flatten())
    assert len(block.layers) == 3


def test_the_first_layers_input_shape_is_the_containers():
    block = nn.Residual([nn.Sequential([nn.Dense(4, input_shape=(5,))]), nn.Tanh()])
    assert block.input_shape == (5,)
    assert nn.Model([block]).output_shape == (None, 4)


def test_a_model_in_a_block_and_by_add(rng):
    inner = nn.Model([nn.Dense(4), nn.Tanh()], name="in")
    model = nn.Model([nn.Residual([inner, nn.Dense(5)])], seed=0)
    model.add(nn.Model([nn.Dense(2, input_shape=(5,))]))
    model.build((None, 5))
    assert list(model.get_arrays()) == [
        "0_Residual/0_Sequential/0_Dense_W",
        "0_Residual/0_Sequential/0_Dense_b",
        "0_Residual/1_Dense_W",
        "0_Residual/1_Dense_b",
        "1_Sequential/0_Dense_W",
        "1_Sequential/0_Dense_b",
    ]


def test_a_built_model_of_another_shape_or_dtype_is_refused():
    inner = nn.Model([nn.Dense(4, input_shape=(5,))])
    with pytest.raises(ValueError, match=r"\[Dense\] is built for \(None, 5\), got inputs"):
        nn.Model([nn.Dense(3, input_shape=(2,)), inner])
    with pytest.raises(ValueError, match="a model built in float32, but this model has dtype"):
        nn.Model([inner], dtype="float64")
    with pytest.raises(ValueError, match="at least one layer"):
        nn.Model([nn.Model()])


@pytest.mark.parametrize("ending", ["softmax", "dense"])
def test_a_model_that_ends_in_a_nested_softmax_is_trained_by_its_logits(ending, rng):
    x, y = rng.normal(size=(12, 5)).astype("float32"), rng.integers(0, 3, 12)
    logits = compiled(nn.Model([nn.Dense(4), nn.Tanh(), nn.Dense(3)], seed=0, dtype="float64"))
    last = (
        [nn.Dense(3), nn.Softmax()] if ending == "softmax" else [nn.Dense(3, activation="softmax")]
    )
    head = nn.Sequential([nn.Sequential(last)])
    nested_model = compiled(nn.Model([nn.Dense(4), nn.Tanh(), head], seed=0, dtype="float64"))
    logits.build((None, 5))
    nested_model.build((None, 5))
    for array, values in zip(
        nested_model.get_arrays().values(), logits.get_arrays().values(), strict=True
    ):
        array[...] = values
    for _ in range(3):
        expected = logits.train_step(x, y)
        assert nested_model.train_step(x, y)["loss"] == pytest.approx(expected["loss"], rel=1e-10)
    assert nested_model.evaluate(x, y)["loss"] == pytest.approx(
        logits.evaluate(x, y)["loss"], rel=1e-10
    )
    np.testing.assert_allclose(nested_model.predict(x).sum(axis=1), 1)
    with pytest.raises(ValueError, match=r"BinaryCrossentropy expects .* activation is Softmax"):
        nested_model.compile("bce")


# ------------------------------------------------------------------------------ inference


def unsettle(model, rng):
    """Give batch norm something to do: averages and scales that differ by channel."""
    for name, array in model.get_arrays().items():
        drawn = rng.normal(size=array.shape)
        array[...] = np.abs(drawn) + 0.5 if name.endswith("running_var") else drawn
    return model


def test_batch_norm_is_folded_inside_containers(rng, monkeypatch):
    model = unsettle(resnet(dtype="float64"), rng)
    x = rng.normal(size=(5, 2, 8, 7))
    expected = model.forward(x)

    def not_called(*_, **__):
        raise AssertionError("batch norm ran as a layer of its own")

    monkeypatch.setattr(nn.BatchNorm, "forward", not_called)
    before = copies(model)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(fold.run(model.layers, x)[0], expected, rtol=1e-9, atol=1e-11)
    for name, array in model.get_arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_batch_norm_is_folded_across_the_edge_of_a_stack(rng, monkeypatch):
    layers = [nn.Sequential([nn.Conv2D(3)]), nn.Sequential([nn.BatchNorm2D()])]
    model = nn.Model(layers, dtype="float64")
    model.build((None, 2, 4, 4))
    unsettle(model, rng)
    x = rng.normal(size=(3, 2, 4, 4))
    expected = model.forward(x)
    monkeypatch.setattr(nn.BatchNorm, "forward", None)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-10, atol=1e-12)


class Halved(nn.Sequential):
    """A stack of a user's own, which computes something else."""

    def forward(self, x, training=False):
        return super().forward(x, training) / 2

    def backward(self, grad):
        return super().backward(grad / 2)


class Gated(Container):
    """Two branches multiplied: a container of a user's own."""

    def __init__(self, layers, gate, **common):
        self.a, self.b = nn.Sequential(layers), nn.Sequential(gate)
        super().__init__([self.a, self.b], **common)

    def build(self, input_shape):
        for branch in self.layers:
            branch.dtype = self.dtype
            branch.build(input_shape)
        self.output_shape = self.a.output_shape

    def forward(self, x, training=False):
        self.outputs = [self.forward_through([b], x, training) for b in self.layers]
        return self.outputs[0] * self.outputs[1]

    def backward(self, grad):
        y, gate = self.outputs
        dx = self.backward_through([self.a], grad * gate)
        dgate = self.backward_through([self.b], grad * y)
        return dx + dgate

    def to_config(self):
        a, b = ([layer.to_config() for layer in branch.layers] for branch in self.layers)
        return {"class": "Gated", "config": {"layers": a, "gate": b}}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Halved([nn.Dense(4), nn.Tanh()]),
        lambda: Gated([nn.Dense(4)], [nn.Dense(4), nn.Sigmoid()]),
    ],
)
def test_containers_of_a_users_own(make, rng, tmp_path, monkeypatch):
    for cls in (Halved, Gated):
        monkeypatch.setitem(NAME2LAYER, cls.__name__, cls)
    assert max(nn.check_gradients(make(), rng.normal(size=(3, 5))).values()) <= 1e-6
    x, y = rng.normal(size=(20, 5)).astype("float32"), rng.integers(0, 3, 20)
    model = compiled(nn.Model([make(), nn.Dense(3)], seed=0))
    losses = model.fit(x, y, epochs=20, verbose=0)["loss"]
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(model.predict(x), model.forward(x), rtol=1e-6)
    model.save(tmp_path / "m.npz")
    np.testing.assert_array_equal(nn.Model.load(tmp_path / "m.npz").predict(x), model.predict(x))


# ------------------------------------------------------------------------------- in files


@pytest.mark.parametrize("suffix", ["hdf5", "npz"])
def test_a_trained_network_is_loaded_and_trained_on_bit_by_bit(suffix, rng, tmp_path):
    x, y = data(rng)
    model = compiled(resnet())
    model.fit(x, y, epochs=2, batch_size=8, verbose=0)
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    loaded = nn.Model.load(path)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    resumed = compiled(resnet(seed=9))
    resumed.fit(x, y, epochs=4, batch_size=8, resume=path, verbose=0)
    for other in (model, loaded):
        other.fit(x, y, epochs=4, initial_epoch=2, batch_size=8, verbose=0)
    for name, array in model.get_arrays().items():
        np.testing.assert_array_equal(loaded.get_arrays()[name], array)
        np.testing.assert_array_equal(resumed.get_arrays()[name], array)


def test_layers_inside_a_layer_are_a_group_of_the_file(tmp_path):
    resnet().save(tmp_path / "m.hdf5")
    with h5py.File(tmp_path / "m.hdf5") as file:
        assert isinstance(file["1_Residual"], h5py.Group)
        assert set(file["1_Residual"]) == {"0_Conv2D_W", "0_Conv2D_b", "3_Conv2D_W", "3_Conv2D_b"}
        assert file["3_Residual/0_Sequential/0_Conv2D_W"].shape == (6, 4, 3, 3)
        assert file["3_Residual/3_Conv2D_W"].shape == (6, 4, 1, 1)  # the projection
        config = json.loads(file["architecture"][()])["layers"][1]
    assert config["class"] == "Residual"
    assert [entry["class"] for entry in config["config"]["layers"]] == [
        "Conv2D",
        "ReLU",
        "Dropout",
        "Conv2D",
    ]


def test_the_layout_of_two_files(rng, tmp_path):
    model = resnet()
    x = data(rng)[0]
    with h5py.File(tmp_path / "weights.hdf5", "w") as file:
        for name, array in model.get_arrays().items():
            file[name] = array
    entries = [layer.to_config() for layer in model.layers]
    del entries[0]["config"]["input_shape"]  # the arrays wait for the first batch
    (tmp_path / "weights.json").write_text(json.dumps(entries))
    loaded = nn.Model.load(tmp_path / "weights.hdf5")
    assert not loaded.built
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


def test_weights_that_are_missing_inside_are_named(tmp_path):
    model = resnet()
    model.save_weights(tmp_path / "w.hdf5")
    with h5py.File(tmp_path / "w.hdf5", "a") as file:
        del file["3_Residual/0_Sequential/0_Conv2D_W"]
        file["3_Residual/other"] = np.zeros(2)
    with pytest.raises(
        ValueError, match="missing: 3_Residual/0_Sequential/0_Conv2D_W; extra: 3_Res"
    ):
        model.load_weights(tmp_path / "w.hdf5")
    model.load_weights(tmp_path / "w.hdf5", strict=False)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"layers": []},
        {"layers": 3},
        {"layers": "Dense"},
        {"layers": [3]},
        {"layers": [{"class": "Dense"}]},
        {"layers": [{"class": "Dense", "config": {"units": "many"}}]},
        {"layers": [{"class": "ReLU"}], "shortcut": [[]]},
        {"layers": {"class": "Model"}},
        {"layers": [{"class": "ReLU"}], "strength": 3},
    ],
)
def test_nonsense_in_a_files_container_is_one_clear_error(config, tmp_path):
    with h5py.File(tmp_path / "m.hdf5", "w") as file:
        file["architecture"] = json.dumps({"layers": [{"class": "Residual", "config": config}]})
    with pytest.raises(ValueError, match=r"^\["):
        nn.Model.load(tmp_path / "m.hdf5")


# ------------------------------------------------------------------ looking at the model


def test_summary_shows_what_is_inside():
    text = resnet(name="small").summary()
    rule = "-" * 48
    assert text.splitlines() == [
        "small",
        rule,
        "Layer                Output shape     Parameters",
        rule,
        "Conv2D               (None, 4, 8, 7)          76",
        "Residual             (None, 4, 8, 7)",
        "  Conv2D             (None, 4, 8, 7)         148",
        "  ReLU               (None, 4, 8, 7)           0",
        "  Dropout            (None, 4, 8, 7)           0",
        "  Conv2D             (None, 4, 8, 7)         148",
        "ReLU                 (None, 4, 8, 7)           0",
        "Residual             (None, 6, 4, 4)",
        "  Sequential         (None, 6, 4, 4)",
        "    Conv2D           (None, 6, 4, 4)         216",
        "    BatchNorm2D      (None, 6, 4, 4)          12",
        "    ReLU             (None, 6, 4, 4)           0",
        "  Conv2D             (None, 6, 4, 4)         330",
        "  BatchNorm2D        (None, 6, 4, 4)          12",
        "  Conv2D (shortcut)  (None, 6, 4, 4)          24",
        "GlobalAvgPool2D      (None, 6)                 0",
        "Dense                (None, 3)                21",
        rule,
        "987 parameters, 987 of them trainable",
        "3.9 KB of parameters, 8.8 KB of outputs per sample",  # of 987 and 7 * 224 + 7 * 96 + 9
    ]


def test_the_layer_that_makes_nan_is_named_by_its_path(rng):
    model = compiled(resnet())
    x, y = data(rng)
    model.layers[3].layers[0].layers[1].params["gamma"][0] = np.nan
    with pytest.raises(
        FloatingPointError, match="layer 3_Residual/0_Sequential/1_BatchNorm2D has NaN"
    ):
        model.train_step(x, y)
    model = compiled(resnet())
    model.layers[3].shortcut[0].params["W"][...] = 3e38
    with (
        pytest.raises(FloatingPointError, match=r"layer 3_Residual/3_Conv2D .* NaN or infinite"),
        np.errstate(all="ignore"),
    ):
        model.train_step(x, y)
    assert model.forward(np.zeros_like(x)).shape == (24, 3)  # nothing watches any more


def test_debugging_names_the_layer_inside_a_container():
    code = (
        "import numpy as np, nn\n"
        "m = nn.Model([nn.Residual([nn.Dense(2), nn.Tanh(), nn.Dense(2)])])\n"
        "m.build((None, 2))\n"
        "x = np.ones((1, 2))\n"
        "m.forward(x, training=True)\n"
        "dense = m.layers[0].layers[2]\n"
        "kept, dense.params['W'] = dense.params['W'], dense.params['W'] * np.nan\n"
        "try: m.backward(np.ones((1, 2)))\n"
        "except FloatingPointError as error: print(error)\n"
        "try: m.forward(x)\n"
        "except FloatingPointError as error: print(error)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NN_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    backward, forward = answer.stdout.splitlines()
    assert "weight 'W' in layer 0_Residual/2_Dense is not finite" in backward
    assert "output of layer 0_Residual/2_Dense is not finite, nor its weight 'W'" in forward


@pytest.mark.gpu
def test_containers_move_to_the_gpu(rng):
    x, y = data(rng)
    model = resnet(dtype="float64")
    expected = model.predict(x)
    model.to_gpu()
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-9)
    compiled(model).fit(x, y, epochs=1, verbose=0)


class HalfStep(nn.Dense):
    """A layer of a user's own that overrides `backward` alone."""

    def backward(self, grad):
        dx = super().backward(grad)
        self.grads["W"] *= 0.5
        return dx


@pytest.mark.parametrize("wrap", [lambda layer: layer, lambda layer: nn.Sequential([layer])])
def test_an_overridden_backward_is_called_for_the_lowest_layer_too(wrap, rng):
    x, y = rng.normal(size=(6, 5)).astype("float32"), rng.integers(0, 3, 6)
    steps = []
    for cls in (nn.Dense, HalfStep):
        model = compiled(nn.Model([wrap(cls(3))], seed=0), optimizer="sgd")
        model.build((None, 5))
        before = next(iter(model.get_arrays().values())).copy()
        model.train_step(x, y)
        steps.append(next(iter(model.get_arrays().values())) - before)
    np.testing.assert_allclose(steps[1], steps[0] / 2, rtol=1e-4, atol=1e-7)
