"""Whole trainings on the GPU equal those on the CPU, for every part, and copy little to the host.

Without a GPU they run on the stand-in for CuPy.
"""

import numpy as np
import pytest
from conftest import built
from test_contracts import CALLBACKS, LAYERS, LOSSES, OPTIMIZERS, batch_for, draws_numbers

import nn
from nn import cuda, losses, metrics
from nn.data import augment
from nn.inspect import gradcheck, model_check

pytestmark = pytest.mark.gpu

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.random((24, 2, 8, 8)), np.arange(24) % 3
DIGITS = (IMAGES * 255).astype(np.uint8)


def image_model(dropout=0.0, regularizer="l2", dtype="float64"):
    block = [
        nn.Conv2D(4, 3, use_bias=False, kernel_regularizer=regularizer),
        nn.BatchNorm2D(),
        nn.ReLU(),
        nn.MaxPool2D(),
    ]
    return nn.Model([*block, nn.Dropout(dropout), nn.Flatten(), nn.Dense(3)], dtype=dtype, seed=0)


def on(device, model):
    return model.to_gpu() if device == "gpu" else model.to_cpu()


def devices_of(model):
    return {cuda.get_array_module(array) for array in model.get_arrays().values()}


def assert_same(one, other, rtol=1e-7, atol=1e-9):
    """Compare numbers, arrays and dicts of them, wherever the arrays are."""
    if isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            assert_same(one[key], other[key], rtol, atol)
        return
    np.testing.assert_allclose(cuda.to_cpu(other), cuda.to_cpu(one), rtol=rtol, atol=atol)


def assert_both_devices_agree(train, same=True):
    """Compare what `train(device)` returns, a model and some figures, on both devices."""
    results = [train("cpu"), train("gpu")]
    models, figures = zip(*results, strict=True)
    assert devices_of(models[1]) <= {cuda.get_array_module(cuda.to_gpu(np.ones(1)))}
    if same:
        assert_same(models[0].get_arrays(), models[1].get_arrays())
        assert_same(*figures)
    return models


# ------------------------------------------------------------------------------ the parts


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_trains_predicts_saves_and_resumes(name, tmp_path):
    make, _ = LAYERS[name]
    x = batch_for(name, 8, 1)
    y = np.random.default_rng(2).normal(size=(8, 2))

    def train(device):
        layer = make()
        end = nn.GlobalAvgPool1D() if name == "Masking" else nn.Flatten()
        model = on(device, nn.Model([layer, end, nn.Dense(2)], dtype="float64", seed=0))
        model.compile("mse", "sgd", lr=0.01)
        model.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)
        path = tmp_path / f"{device}.hdf5"
        model.save(path)
        model.fit(x, y, batch_size=4, epochs=2, resume=path, shuffle=False, verbose=0)
        predicted = model.predict(x)
        assert type(predicted) is np.ndarray
        assert_same(
            nn.Model.load(path).to_cpu().predict(x), on(device, nn.Model.load(path)).predict(x)
        )
        return model, {"predicted": predicted, **model.evaluate(x, y), **model.history}

    assert_both_devices_agree(train, same=not draws_numbers(name))


@pytest.mark.parametrize("cls", OPTIMIZERS)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"weight_decay": 0.01, "clip_norm": 0.5, "ema_decay": 0.9},
        {"clip_value": 0.01, "gradient_accumulation_steps": 2},
    ],
    ids=["plain", "decay, norm, averages", "value, accumulation"],
)
def test_every_optimizer_trains_and_resumes(cls, arguments, tmp_path):
    def train(device):
        model = on(device, image_model())
        model.compile("cce", cls(lr=0.01), **arguments)
        model.fit(IMAGES, LABELS, epochs=1, batch_size=8, verbose=0)
        model.save(tmp_path / f"{device}.npz")
        loaded = on(device, nn.Model.load(tmp_path / f"{device}.npz"))
        history = loaded.fit(IMAGES, LABELS, epochs=1, batch_size=10, verbose=0)
        return loaded, dict(history)

    assert_both_devices_agree(train)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains_with_weights(name):
    outputs, y = LOSSES[name](np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(6, 5))
    end = [nn.Softmax()] if name == "KLDivergence" else []

    def train(device):
        layers = [nn.Dense(outputs.shape[1]), *end]
        model = on(device, nn.Model(layers, dtype="float64", seed=0))
        model.compile(getattr(losses, name)(), "sgd", metrics=[])
        weights = np.arange(1.0, 7.0)
        model.fit(x, y, epochs=2, batch_size=4, sample_weight=weights, verbose=0)
        return model, {**model.evaluate(x, y), **model.history}

    assert_both_devices_agree(train)


# Each metric with the loss, targets and outputs of its kind.
KINDS = {
    "cce": (["accuracy", "top_2_accuracy", "precision", "recall", "f1"], 3, np.arange(12) % 3),
    "bce": (["accuracy", "precision", "recall", "f1", "auc"], 1, np.arange(12) % 2),
    "mse": (["mse", "mae", "r2"], 2, np.random.default_rng(3).normal(size=(12, 2))),
}


def correlation(y_true, y_pred):
    return float(np.corrcoef(y_true.ravel(), y_pred.ravel())[0, 1])


@pytest.mark.parametrize("loss", KINDS)
def test_every_metric(loss):
    names, outputs, y = KINDS[loss]
    chosen = [*names, correlation] if loss == "mse" else names
    x = np.random.default_rng(1).normal(size=(12, 5))

    def train(device):
        model = on(device, nn.Model([nn.Dense(outputs)], dtype="float64", seed=0))
        model.compile(loss, "sgd", metrics=chosen)
        model.fit(x, y, epochs=2, batch_size=5, val_data=(x, y), verbose=0)
        return model, {**model.evaluate(x, y), **model.history}

    assert_both_devices_agree(train)


def test_no_metric_is_left_out():
    found = {type(metrics.get(name)) for names, *_ in KINDS.values() for name in names}
    assert found == {type(metrics.get(name)) for name in metrics.NAME2METRIC}


@pytest.mark.parametrize("name", CALLBACKS)
def test_every_callback(name, tmp_path, monkeypatch):
    if name == "TensorBoard":
        pytest.importorskip("tensorboardX", reason="needs tensorboardX (the extra 'tensorboard')")

    def train(device):
        (tmp_path / device).mkdir()
        monkeypatch.chdir(tmp_path / device)
        model = on(device, image_model())
        model.compile("cce", "adam")
        callback = CALLBACKS[name]()
        model.fit(IMAGES, LABELS, epochs=3, batch_size=8, callbacks=[callback], verbose=0)
        stats = callback.stats if name == "LayerStats" else {}
        return model, {"loss": model.history["loss"], "stats": stats}

    assert_both_devices_agree(train)


# ------------------------------------------------------------------------------ the ways

WAYS = {
    "bytes": lambda m: m.fit(DIGITS, LABELS, epochs=2, verbose=0),
    "arrays of the device": lambda m: m.fit(
        cuda.to_device(IMAGES, m.device), cuda.to_device(LABELS, m.device), epochs=2, verbose=0
    ),
    "augmentation on threads": lambda m: m.fit(
        IMAGES, LABELS, epochs=2, num_threads=2, batch_size=8, verbose=0,
        augment=augment.Compose([augment.RandomFlip(), augment.RandomAffine()]),
    ),
    "mixed samples": lambda m: m.fit(
        IMAGES, LABELS, epochs=2, augment=augment.Mixup(num_classes=3), verbose=0
    ),
    "a source of batches": lambda m: m.fit(
        [(IMAGES[:12], LABELS[:12]), (IMAGES[12:], LABELS[12:])], epochs=2, verbose=0
    ),
    "class weights": lambda m: m.fit(
        IMAGES, LABELS, epochs=2, class_weight={0: 1.0, 1: 2.0, 2: 0.5}, verbose=0
    ),
    "validation, averages and a schedule": lambda m: m.fit(
        IMAGES, LABELS, epochs=4, validation_split=0.25, early_stopping=True, patience=2,
        lr_schedule="cosine", verbose=0,
    ),
    "one-hot targets": lambda m: m.fit(IMAGES, np.eye(3)[LABELS], epochs=2, verbose=0),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_train(way):
    def train(device):
        model = on(device, image_model())
        model.compile("cce", "sgd", lr=0.05)
        history = WAYS[way](model)
        return model, {**history, "predicted": model.predict(IMAGES)}

    assert_both_devices_agree(train)


LOOKS = {
    "predict_classes": lambda m: m.predict_classes(IMAGES),
    "train_step": lambda m: m.train_step(IMAGES, LABELS),
    "check_model": lambda m: model_check.check_model(m, IMAGES[:4], LABELS[:4]).ok,
    "summary": lambda m: len(m.summary()),
    "trace": lambda m: [
        (layer.memory, layer.weight_grad_norm or 0) for layer in nn.trace.measure(m, IMAGES, LABELS)
    ],
    "find_lr": lambda m: nn.find_lr(m, IMAGES, LABELS, steps=5).losses,
    "get_weights": lambda m: m.set_weights(m.get_weights()) or m.count_params(),
    "ensemble": lambda m: nn.Ensemble([m, m]).predict(IMAGES),
    "no samples": lambda m: m.predict(IMAGES[:0]),
    "by hand, arrays of the device": lambda m: by_hand(
        m, *(cuda.to_device(array, m.device) for array in (IMAGES, LABELS))
    ),
    "by hand, arrays of NumPy": lambda m: by_hand(m, IMAGES, LABELS),
    "a gradient of NumPy": lambda m: m.backward(np.ones(m.forward(IMAGES, training=True).shape)),
    "numerical gradient": lambda m: (
        gradcheck.relative_error(numerical_bias_gradient(m), cuda.to_cpu(bias_gradient(m))) < 1e-6
    ),
    "check_gradients": lambda m: {
        name: error < 1e-6
        for name, error in gradcheck.check_gradients(m.layers[0], IMAGES[:2]).items()
    },
}


def numerical_bias_gradient(model):
    def loss():
        return model.loss.forward(model.forward(IMAGES, training=True), LABELS)

    return gradcheck.numerical_gradient(loss, model.layers[6].params["b"])


def bias_gradient(model):
    by_hand(model, IMAGES, LABELS)
    return model.layers[6].grads["b"]


def by_hand(model, x, y):
    value = model.loss.forward(model.forward(x, training=True), y)
    model.backward(model.loss.backward())
    model.optimizer.step(model.get_params_and_grads())
    return value


@pytest.mark.parametrize("look", LOOKS)
def test_every_look_at_a_model(look):
    def train(device):
        model = on(device, image_model())
        model.compile("cce", "sgd")
        model.fit(IMAGES, LABELS, verbose=0)
        found = LOOKS[look](model)
        return model, {} if found is None else {"found": found}

    assert_both_devices_agree(train)


BUILT_BEFORE = {
    "adapted": lambda: adapted(nn.Standardize()),
    "of a model on the CPU": lambda: image_model_on_the_cpu().as_layer(),
    "of weights with a length": lambda: built_and_seeded(
        nn.WeightNorm(nn.Dense(4, activation="relu"))
    ),
    "in two containers": lambda: built_and_seeded(
        nn.Residual(nn.Recompute([nn.Dense(5), nn.PReLU(), nn.BatchNorm()]))
    ),
}


def image_model_on_the_cpu():
    model = image_model()
    model.build((None, 2, 8, 8))
    return model


def built_and_seeded(layer):
    nn.layers.stack.set_generator(layer, np.random.default_rng(0))
    return built(layer, (5,))


def adapted(layer):
    layer.dtype = "float64"
    layer.adapt(IMAGES)
    return layer


@pytest.mark.parametrize("layer", BUILT_BEFORE)
def test_a_layer_built_before_moves_to_the_model(layer):
    def train(device):
        model = nn.Model(dtype="float64", seed=0)
        model = on(device, model)
        model.add(BUILT_BEFORE[layer]())
        model.add(nn.Flatten())
        model.add(nn.Dense(3))
        model.compile("cce", "sgd")
        x = IMAGES[:, 0, 0, :5] if model.layers[0].built_shape == (None, 5) else IMAGES
        model.fit(x, LABELS, verbose=0)
        return model, {"predicted": model.predict(x)}

    assert_both_devices_agree(train)


def test_float32_trains_as_on_the_cpu():
    def train(device):
        model = on(device, image_model(dtype="float32"))
        model.compile("cce", "sgd", lr=0.05)
        model.fit(IMAGES.astype("float32"), LABELS, epochs=3, batch_size=8, verbose=0)
        assert {array.dtype for array in model.get_arrays().values()} == {np.dtype("float32")}
        return model, {}

    models = assert_both_devices_agree(train, same=False)
    assert_same(*(model.get_arrays() for model in models), rtol=1e-4, atol=1e-5)
