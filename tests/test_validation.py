"""What `fit` warns of, where NaN is found, and data that never end."""

import copy
import itertools
import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

import nn
from nn import callbacks, validation
from nn.training.warnings import doubt_about_scale

X = np.random.default_rng(0).normal(size=(120, 4)).astype("float32")
Y = np.arange(120) % 3


def compiled(layers, loss="cce", lr=0.01):
    model = nn.Model(layers, seed=0)
    model.compile(loss, "sgd", lr=lr)
    return model


def classifier(*last, outputs=3, loss="cce"):
    return compiled([nn.Dense(outputs, input_shape=(4,)), *last], loss)


def said(fit):
    """Return the warnings of a call, after checking that they name the line of the call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit()
    assert all(w.category is UserWarning and w.filename == __file__ for w in caught)
    return [str(w.message) for w in caught]


# ------------------------------------------------------------------------------- doubts


@pytest.mark.parametrize(
    ("layers", "loss", "y", "part"),
    [
        ([nn.ReLU()], "cce", Y, "logits for CategoricalCrossentropy, got ReLU, .* 0 to inf"),
        ([nn.Activation("tanh")], "cce", Y, "got Tanh, whose outputs are from -1 to 1"),
        ([nn.Softmax()], "hinge", Y, "by 1, the margin of Hinge, got Softmax"),
        ([nn.Tanh()], "mse", np.eye(3)[Y] * 5, "outputs of the last layer, Tanh, .* from 0 to 5"),
        ([nn.ReLU()], "mae", -np.eye(3)[Y], "ReLU, which are from 0 to inf, got targets from -1"),
    ],
)
def test_a_last_layer_that_does_not_fit_is_said_once_before_the_first_step(layers, loss, y, part):
    model = classifier(*layers, loss=loss)
    (message,) = said(lambda: model.fit(X, y, epochs=3, verbose=0))
    assert message.startswith("[Model] ")
    assert re.search(part, message), message


@pytest.mark.parametrize(
    ("layers", "loss", "y"),
    [
        ([], "cce", Y),
        ([nn.Softmax()], "cce", Y),
        ([nn.LeakyReLU()], "cce", Y),
        ([nn.Tanh()], "hinge", Y),
        ([nn.Softmax()], "mse", np.eye(3)[Y]),
        ([nn.Softmax()], "kl_divergence", np.eye(3)[Y]),
        ([nn.Sigmoid()], "bce", np.eye(3)[Y]),
        ([nn.ReLU()], "mse", np.eye(3)[Y] * 7),
    ],
)
def test_sound_use_is_met_with_silence(layers, loss, y):
    assert said(lambda: classifier(*layers, loss=loss).fit(X, y, epochs=2, verbose=0)) == []


def test_a_class_that_the_labels_lack():
    (message,) = said(lambda: classifier(outputs=4).fit(X, Y + 1, verbose=0))
    assert "each of the 4 classes" in message and "none of class 0" in message
    (message,) = said(lambda: classifier(outputs=4).fit(X, np.eye(4)[Y], verbose=0))
    assert "none of class 3" in message
    one = classifier(outputs=1, loss="bce")
    (message,) = said(lambda: one.fit(X, np.ones((120, 1)), verbose=0))
    assert "each of the 2 classes" in message and "none of class 0" in message
    # With fewer than 20 samples a class, chance explains it.
    assert said(lambda: classifier(outputs=4).fit(X[:79], Y[:79], verbose=0)) == []


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_images_that_nobody_scaled(dtype, rng):
    x = rng.integers(0, 256, (120, 1, 4, 4)).astype(dtype)

    def fit(x, *layers):
        compiled([*layers, nn.Flatten(), nn.Dense(3)], lr=1e-6).fit(x, Y, verbose=0)

    (message,) = said(lambda: fit(x))
    assert "'x' should be scaled" in message and "x / 255" in message and dtype in message
    assert said(lambda: fit(x.astype("uint8"))) == []  # the model scales them
    assert said(lambda: fit(x / 255)) == []
    assert said(lambda: fit(x, nn.BatchNorm())) == []
    assert said(lambda: fit(x.astype("float32") + 0.5)) == []  # not whole
    assert doubt_about_scale(x[:, :, 0], "Dense") is None  # 4 features: no image
    for wide in (x.astype("uint16") * 257, x.astype("int16") - 128, x.astype("float32") * 16):
        (message,) = said(lambda wide=wide: fit(wide))
        assert "integers" in message and "65535" in message and str(wide.dtype) in message


def test_targets_of_an_autoencoder_that_nobody_scaled(rng):
    x = rng.integers(0, 256, (120, 1, 4, 4), dtype=np.uint8)

    def fit(y, **more):
        model = compiled([nn.Conv2D(1, 3, **more)], "mse", lr=1e-6)
        model.fit(x, y, verbose=0)

    (message,) = said(lambda: fit(x.astype("float32")))
    assert "'y' should be scaled" in message
    assert "y / np.float32(255)" in message
    model = compiled([nn.Conv2D(1, 3)], "mse", lr=1e-6)
    val = (x, x.astype("float32"))
    for use in (
        lambda: model.fit(x, x / np.float32(255), val_data=val, verbose=0),
        lambda: model.evaluate(*val),
    ):
        (message,) = said(use)
        assert "'y' should be scaled" in message
    assert said(lambda: fit(x / np.float32(255))) == []
    (message,) = said(lambda: fit(x.astype("float32"), activation="sigmoid"))
    assert "'y' should lie within the outputs" in message


def test_images_with_their_channels_last(rng):
    x = rng.random((120, 8, 8, 1))

    def fit(x, **options):
        stack = [nn.Conv2D(2, 3, **options), nn.Flatten(), nn.Dense(3)]
        compiled(stack).fit(x, Y, verbose=0)

    (message,) = said(lambda: fit(x))
    assert "x.transpose(0, 3, 1, 2), and input_shape=(1, 8, 8)" in message
    assert said(lambda: fit(x.transpose(0, 3, 1, 2), input_shape=(1, 8, 8))) == []
    assert said(lambda: fit(x[:, :5])) == []  # five channels of 8 x 1
    (message,) = said(lambda: compiled([nn.Rescale(2), nn.Conv2D(2, 3), nn.Flatten()]).predict(x))
    assert "input_shape=(1, 8, 8)" in message
    (message,) = said(lambda: nn.Model([nn.MaxPool2D(2, padding=1, input_shape=(40, 60, 3))]))
    assert "input_shape=(3, 40, 60)" in message
    assert said(lambda: nn.Model([nn.Conv2D(2, 3, input_shape=(64, 100, 1))])) == []  # a signal


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (30, 40, 1), (64, 48, 4)])
@pytest.mark.parametrize("first", [[], [nn.Rescale(1 / 255)]])
def test_an_error_of_channels_last_images_says_so(shape, first):
    hint = rf"\(N, H, W, C\).*input_shape=\({shape[2]}, {shape[0]}, {shape[1]}\)"
    layers = [nn.Conv2D(2, 3), nn.MaxPool2D(5), nn.Flatten(), nn.Dense(3)]
    model = nn.Model([*copy.deepcopy(first), *layers])
    with pytest.raises(ValueError, match=hint):
        model.build((None, *shape))
    with pytest.raises(ValueError, match=hint):
        model.predict(np.zeros((2, *shape)))
    model.build((None, shape[2], *shape[:2]))


def test_channels_first_images_for_a_channels_last_model():
    model = nn.Model([nn.Flatten(input_shape=(8, 8, 1)), nn.Dense(3)])
    with pytest.raises(ValueError, match=r"channels-last.* \(1, 8, 8\)"):
        model.predict(np.zeros((2, 1, 8, 8)))


def test_texts_as_labels_of_batches_say_what_to_do(rng):
    with pytest.raises(TypeError, match=r"np\.unique"):
        compiled([nn.Dense(3)]).fit([(rng.random((3, 4)), np.array(["a", "b", "c"]))], verbose=0)


def test_accuracy_at_chance_while_the_loss_falls(rng):
    x, y = rng.normal(size=(2000, 4)), rng.permutation(np.arange(2000) % 2)
    model = compiled(
        [nn.Dense(2, input_shape=(4,), kernel_initializer=lambda s, r: 3 * r.normal(size=s))]
    )
    messages = said(lambda: model.fit(x, y, epochs=9, verbose=0))
    assert len(messages) == 1  # once, not each epoch
    assert "'acc' should rise above chance, 0.5" in messages[0]
    good = compiled([nn.Dense(2, input_shape=(4,))], lr=0.5)
    assert said(lambda: good.fit(x, (x[:, 0] > 0).astype(int), epochs=5, verbose=0)) == []


# ---------------------------------------------------------------------------------- NaN


class Broken(nn.layers.Layer):
    """Passes its input on, and a NaN back."""

    def forward(self, x, training=False):
        return x

    def backward(self, grad):
        grad = grad.copy()
        grad[0, 0] = np.nan
        return grad


def test_a_gradient_that_is_nan_never_reaches_the_weights():
    model = compiled([nn.Dense(3, input_shape=(4,)), nn.Tanh(), Broken(), nn.Dense(3)])
    before = {name: array.copy() for name, array in model.get_arrays().items()}
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch 0: the loss is finite, but the "
                       r"gradient of 'b' in layer 0 \(Dense\) has NaN"):  # fmt: skip
        model.fit(X, Y, verbose=0)
    for name, array in model.get_arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_large_gradients_are_no_nan():
    model = compiled([nn.Dense(1, input_shape=(4,))], "mae", lr=0.0)
    weights = np.full(120, 3e37)
    assert np.isfinite(model.train_step(X, X[:, :1], sample_weight=weights)["loss"])


def test_a_weight_that_is_nan_is_found_at_the_end_of_the_epoch():
    class Ruin(callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            self.model.layers[0].params["W"][0, 0] = np.nan

    with pytest.raises(FloatingPointError, match=r"epoch 1, after the last batch: layer 0 "
                       r"\(Dense\) has NaN or infinite values in 'W'"):  # fmt: skip
        classifier().fit(X, Y, batch_size=120, callbacks=[Ruin()], verbose=0)


@pytest.mark.parametrize("optimizer", ["adam", "nadam", "rmsprop", "adagrad"])
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_state_of_the_optimizer_that_is_infinite_is_found(optimizer):
    # The square of a gradient of 1e23 is infinite in float32: the weight would not change again.
    model = nn.Model([nn.Dense(1, input_shape=(4,))], seed=0)
    model.compile("mae", optimizer, lr=1e-3)
    with pytest.raises(FloatingPointError, match=r"'\w+' of '0_Dense_W' has NaN or infinite"):
        model.fit(X, X[:, :1], sample_weight=np.full(120, 1e24), batch_size=120, verbose=0)


def test_predict_and_evaluate_refuse_what_nan_weights_give():
    model = classifier()
    model.layers[0].params["W"][0, 0] = np.nan
    where = r"layer 0 \(Dense\) has NaN or infinite values in 'W'"
    for use in (lambda: model.predict_classes(X), lambda: model.evaluate(X, Y)):
        with pytest.raises(FloatingPointError, match=where):
            use()


def test_debug_mode_names_gradients_and_weights():
    code = (
        "import numpy as np, nn\n"
        "m = nn.Model([nn.Dense(2, input_shape=(2,), activation='relu'), nn.Dense(2)], seed=0)\n"
        "m.compile('mse', 'sgd', metrics=[])\n"
        "x = np.ones((2, 2))\n"
        "dense = m.layers[{layer}]\n"
        "backward = dense.{method}\n"
        "def spoilt(grad):\n"
        "    out = backward(grad)\n"
        "    dense.grads['W'][0, 0] = np.inf\n"
        "    return out\n"
        "{ruin}\n"
        "m.train_step(x, x)"
    )
    for layer, ruin, expected in (
        (1, "dense.backward = spoilt", "the gradient of 'W' in layer 1 (Dense) is not finite"),
        (
            0,
            "dense.backward_params = spoilt",
            "the gradient of 'W' in layer 0 (Dense) is not finite",
        ),
        (0, "dense.params['W'][0, 0] = -np.inf", "layer 0 (Dense) is not finite"),
    ):
        method = "backward" if layer else "backward_params"
        script = code.format(layer=layer, ruin=ruin, method=method)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env={**os.environ, "NN_DEBUG": "1"},
            capture_output=True,
            text=True,
        )
        assert expected in done.stderr, done.stderr


def test_validation_data_are_checked_once_a_fit(monkeypatch):
    seen = []
    check = validation.check_finite
    monkeypatch.setattr(
        validation, "check_finite", lambda a, *more: (seen.append(len(a)), check(a, *more))
    )
    classifier().fit(X, Y, val_data=(X[:50], Y[:50]), epochs=4, batch_size=40, verbose=0)
    assert seen == [120, 50]  # each set once, and no batch


# ------------------------------------------------------------------------- without an end


def batches_forever():
    return itertools.cycle([(X[:30], Y[:30]), (X[30:60], Y[30:60])])


def test_endless_validation_data_by_steps():
    h = classifier().fit(X, Y, val_data=batches_forever(), validation_steps=2, epochs=3, verbose=0)
    same = classifier().fit(X, Y, val_data=(X[:60], Y[:60]), epochs=3, verbose=0)
    np.testing.assert_allclose(h["val_loss"], same["val_loss"], rtol=1e-6)
    three = classifier().fit(X, Y, val_data=(X, Y), validation_steps=1, epochs=1, verbose=0)
    assert three["val_loss"] == classifier().fit(X, Y, val_data=(X, Y), verbose=0)["val_loss"]


def test_steps_of_evaluate_and_predict():
    model = classifier()
    expected = model.evaluate(X[:60], Y[:60])
    assert model.evaluate(batches_forever(), steps=2) == pytest.approx(expected)
    assert model.evaluate(X, Y, batch_size=30, steps=2) == pytest.approx(expected)
    np.testing.assert_array_equal(model.predict(X, 30, steps=2), model.predict(X[:60], 30))
    np.testing.assert_array_equal(
        model.predict(itertools.repeat(X[:30]), steps=1), model.predict(X[:30])
    )


def test_endless_data_without_steps_are_refused():
    for call, argument in (
        (lambda m: m.fit(batches_forever()), "steps_per_epoch"),
        (lambda m: m.fit(batches_forever), "steps_per_epoch"),
        (lambda m: m.fit(X, Y, val_data=batches_forever()), "validation_steps"),
        (lambda m: m.evaluate(batches_forever()), "steps"),
        (lambda m: m.predict(itertools.repeat(X)), "steps"),
    ):
        with pytest.raises(ValueError, match=f"never does.*'{argument}'"):
            call(classifier())


# ------------------------------------------------------------------- gradients by hand


def test_layers_refuse_gradients_that_would_be_broadcast():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype("float32")
    for layer in (nn.ReLU(), nn.Sigmoid(), nn.BatchNorm(), nn.MaxPool2D(), nn.Conv2D(3),
                  nn.Dropout(0.5), nn.GlobalMaxPool2D(), nn.Flatten(), nn.Rescale(2)):  # fmt: skip
        shape = layer.forward(x, training=True).shape
        for wrong in ((1, *shape[1:]), (*shape[:-1], 1), shape[1:], (3, *shape), ()):
            with pytest.raises(ValueError, match="expects a gradient 'grad' of the output's shape"):
                layer.backward(np.ones(wrong, dtype="float32"))
        assert layer.backward(np.ones(shape, dtype="float32")).shape == x.shape


def test_layers_without_a_fixed_size_take_other_sizes():
    for layer in (nn.ReLU(), nn.BatchNorm(), nn.GlobalAvgPool2D(), nn.GroupNorm(1)):
        for size in (4, 6):
            y = layer.forward(np.ones((2, 3, size, size), dtype="float32"), training=True)
            assert layer.backward(np.ones_like(y)).shape == (2, 3, size, size)


class Table:
    """A table of columns, as pandas has it: its array is one of objects."""

    def __init__(self, **dtypes):
        self.dtypes = dtypes

    def __array__(self, dtype=None, copy=None):
        return np.array([[20.0, True], [30.0, False]], dtype=object)


@pytest.mark.parametrize("use", ["fit", "evaluate", "predict", "batches", "Dataset"])
def test_what_is_no_array_of_numbers_says_what_to_do(use):
    model = classifier()

    def pass_data(x):
        if use == "predict":
            model.predict(x)
        elif use == "Dataset":
            nn.Dataset(x, [0, 1])
        elif use == "batches":
            model.fit([(x, [0, 1])], verbose=0)
        else:
            getattr(model, use)(x, np.array([0, 1]))

    table = Table(age=np.dtype("f8"), town=np.dtype("O"), size="category")
    with pytest.raises(TypeError, match=r"'x'.* columns 'town' \(object\), 'size'.*astype"):
        pass_data(table)
    with pytest.raises(TypeError, match=r"'x'.* dtype object.*astype"):
        pass_data(np.array([[1, None], [2, 3]], dtype=object))


class Samples:
    """A data set of PyTorch: samples, not batches."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return np.ones(4, "float32"), np.int64(index % 3)


def test_an_iterable_of_samples_is_asked_for_batches():
    samples = Samples()
    for use in (classifier().fit, classifier().evaluate):
        with pytest.raises(ValueError, match=r"'y' .*got .*0.*batches.*DataLoader"):
            use(samples[k] for k in range(8))


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_targets_of_bytes_are_not_compared_with_scaled_images(loss, rng):
    x = rng.integers(0, 256, (12, 1, 4, 4), dtype=np.uint8)
    flat = x.reshape(12, 16)
    for y, layers in ((x, [nn.Conv2D(1, 3)]), (flat, [nn.Flatten(), nn.Dense(16)])):
        model = compiled(layers, loss)
        scaled = y / np.float32(255)
        for use in (
            lambda y=y, model=model: model.fit(x, y, verbose=0),
            lambda y=y, model=model: model.fit([(x, y)], verbose=0),
            lambda y=y, s=scaled, model=model: model.fit(x, s, val_data=(x, y), verbose=0),
            lambda y=y, model=model: model.evaluate(nn.Dataset(x, y)),
        ):
            with pytest.raises(ValueError, match=r"'y' must be scaled .*uint8.*/ np.float32"):
                use()
        model.fit(x, scaled, verbose=0)
        model.fit(x, (y > 99).astype("uint8"), verbose=0)  # a mask


def test_inputs_of_another_range_than_the_training(rng, tmp_path):
    images = rng.integers(0, 256, (120, 1, 4, 4), dtype=np.uint8)
    floats, words = images.astype("float32"), images.astype(np.uint16) * 257

    def trained(x, *first):
        model = compiled([*first, nn.Flatten(), nn.Dense(3)], lr=1e-6)
        model.fit(x, Y, verbose=0)
        return model

    model = trained(images)
    assert model.input_range == (images.min() / 255, 1.0)
    model.save(tmp_path / "model.npz")
    loaded = nn.Model.load(tmp_path / "model.npz")
    assert loaded.input_range == model.input_range
    pairs = [(floats[:60], Y[:60]), (floats[60:], Y[60:])]
    for one in (model, loaded):
        for use in (
            lambda m=one: m.evaluate(floats, Y),
            lambda m=one: m.evaluate(nn.Dataset(words, Y)),
            lambda m=one: m.evaluate(iter(pairs)),
            lambda m=one: m.predict(floats),
            lambda m=one: m.predict(words[:1]),
            lambda m=one: m.predict(nn.Dataset(floats)),
            lambda m=one: m.predict_classes(iter([x for x, _ in pairs])),
            lambda m=one: m.fit(images, Y, val_data=(floats, Y), verbose=0),
            lambda m=one: m.fit(images, Y, val_data=lambda: iter(pairs), verbose=0),
        ):
            (message,) = said(use)
            assert "'x' should be scaled" in message and "to 1, got inputs from" in message
        for use in (
            lambda m=one: m.evaluate(images, Y),
            lambda m=one: m.predict(images / 255),
            lambda m=one: m.predict(images[:1] * 0),
            lambda m=one: m.predict(nn.Dataset(images, Y)),
        ):
            assert said(use) == []
    for again in (floats, [(floats, Y)]):  # trained on again
        model = trained(images)
        messages = said(
            lambda m=model, x=again: m.fit(*((x, Y) if x is floats else (x,)), verbose=0)
        )
        assert any("of the training" in message for message in messages)
    whole = trained(floats, nn.BatchNorm())
    (message,) = said(lambda: whole.predict(floats / 255))
    assert "from 0 to 255" in message
    with pytest.raises(ValueError, match=r"BatchNorm .* takes 0\.\.255"):
        whole.predict(images)
    streamed = compiled([nn.Flatten(), nn.Dense(3)], lr=1e-6)
    streamed.fit([(images[:60], Y[:60]), (images[60:], Y[60:])], verbose=0)
    assert streamed.input_range == pytest.approx((images.min() / 255, 1.0))


def test_bits_as_images_of_bytes(rng):
    boards = rng.integers(0, 2, (120, 1, 4, 4), dtype=np.uint8)

    def fit(x):
        compiled([nn.Flatten(), nn.Dense(3)]).fit(x, Y, verbose=0)

    (message,) = said(lambda: fit(boards))
    assert "divided by 255" in message and "astype" in message
    assert said(lambda: fit(boards.astype("float32"))) == []
    (message,) = said(lambda: fit(rng.integers(0, 256, (120, 4, 4), dtype=np.uint8)))
    assert "'x' should be scaled" in message and "uint8" in message  # no axis of channels


@pytest.mark.parametrize("found", ["01", [1], [1, 0], [0, None], [0, 1e999], {"low": 0}])
def test_a_range_in_a_file_that_is_none(found, tmp_path):
    model = classifier()
    model.input_range = found
    model.save(tmp_path / "model.npz")
    with pytest.raises(ValueError):
        nn.Model.load(tmp_path / "model.npz")


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_log_probabilities_under_another_loss_are_doubted(loss):
    model = nn.Model([nn.Dense(3, input_shape=(4,)), nn.LogSoftmax()], seed=0)
    model.compile(loss, "sgd")
    with pytest.warns(UserWarning, match=r"last layer.* LogSoftmax.* from -inf to 0"):
        model.fit(np.ones((6, 4)), np.eye(3)[np.arange(6) % 3], verbose=0)
