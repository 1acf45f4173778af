"""The model: building, training, using; and what it says before anything goes wrong."""

import gc
import math
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import nn
from nn import callbacks, cuda, losses, optim


def blobs(n=120, classes=3, seed=0):
    """Points around the corners of a triangle, and which corner."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    corners = np.array([[0, 2], [2, -1], [-2, -1]])[:classes]
    return (corners[y] + 0.5 * rng.normal(size=(n, 2))).astype("float32"), y


def images(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, 1, 8, 8), dtype="float32"), rng.integers(0, 3, n)


def mlp(**arguments):
    arguments = {"seed": 0, **arguments}
    return nn.Model([nn.Dense(8, input_shape=(2,)), nn.ReLU(), nn.Dense(3)], **arguments)


def convnet(**arguments):
    arguments = {"seed": 0, **arguments}
    return nn.Model(
        [
            nn.Conv2D(4, input_shape=(1, 8, 8)),
            nn.BatchNorm2D(),
            nn.ReLU(),
            nn.MaxPool2D(),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Dense(3),
        ],
        **arguments,
    )


def compiled(model=None, **arguments):
    model = mlp() if model is None else model
    model.compile(**{"loss": "cce", "optimizer": "adam", "lr": 0.02, **arguments})
    return model


# -------------------------------------------------------------------------------- building


def test_builds_at_once_by_the_first_layers_input_shape():
    model = convnet()
    assert model.built
    assert model.input_shape == (None, 1, 8, 8)
    assert model.output_shape == (None, 3)
    assert [layer.output_shape for layer in model.layers][3] == (None, 4, 4, 4)


@pytest.mark.parametrize("first_use", ["build", "forward", "predict", "fit"])
def test_builds_at_its_first_use(first_use):
    x, y = blobs()
    model = compiled(nn.Model([nn.Dense(3)]))
    assert not model.built
    calls = {
        "build": lambda: model.build((1, 2)),
        "forward": lambda: model.forward(x),
        "predict": lambda: model.predict(x),
        "fit": lambda: model.fit(x, y, verbose=0),
    }
    calls[first_use]()
    assert model.layers[0].params["W"].shape == (2, 3)


def test_the_same_seed_is_the_same_start_and_another_another():
    first, second, third = mlp(seed=1), mlp(seed=1), mlp(seed=2)
    np.testing.assert_array_equal(first.layers[0].params["W"], second.layers[0].params["W"])
    assert (first.layers[0].params["W"] != third.layers[0].params["W"]).any()
    assert (first.layers[0].params["W"][:, :3] != first.layers[2].params["W"][:2]).any()
    nn.seed(9)
    fourth = mlp(seed=None)
    nn.seed(9)
    np.testing.assert_array_equal(
        fourth.layers[0].params["W"], mlp(seed=None).layers[0].params["W"]
    )


def test_a_layer_that_does_not_fit_is_not_added():
    model = convnet()
    with pytest.raises(ValueError, match=r"\[Conv2D\] expects 4-D input"):
        model.add(nn.Conv2D(3))
    assert len(model.layers) == 7
    assert model.predict(images()[0]).shape == (40, 3)


def test_layers_of_a_trained_model_serve_another():
    x, y = blobs()
    old = compiled()
    old.fit(x, y, epochs=2, verbose=0)
    W = old.layers[0].params["W"].copy()
    new = nn.Model([*old.layers[:2], nn.Dense(5)])
    assert new.output_shape == (None, 5)
    np.testing.assert_array_equal(new.layers[0].params["W"], W)
    with pytest.raises(ValueError, match="is built for"):
        nn.Model([nn.Dense(7, input_shape=(4,)), *old.layers[:1]])


def test_summary_and_repr():
    text = convnet(name="Tiny").summary()
    assert text.splitlines()[0] == "Tiny"
    assert "Conv2D       (None, 4, 8, 8)          40" in text
    assert "243 parameters, 243 of them trainable" in text
    assert repr(mlp()).startswith("Model([\n    Dense(units=8")
    assert "not built" in nn.Model([nn.ReLU()]).summary()


# -------------------------------------------------------------------------------- training


@pytest.mark.parametrize("loss", ["cce", "hinge", "categorical_crossentropy"])
def test_learns_classes(loss):
    x, y = blobs()
    model = compiled(loss=loss)
    history = model.fit(x, y, epochs=30, verbose=0)
    assert history["acc"][-1] > 0.97
    assert history["loss"][-1] < history["loss"][0]
    assert (model.predict_classes(x) == y).mean() > 0.97


def test_integer_and_one_hot_labels_train_alike():
    x, y = blobs()
    by_label, by_row = compiled(), compiled()
    by_label.fit(x, y, epochs=2, verbose=0)
    by_row.fit(x, np.eye(3)[y], epochs=2, verbose=0)
    for name, array in by_label.get_arrays().items():
        np.testing.assert_allclose(by_row.get_arrays()[name], array, rtol=1e-5, atol=1e-7)
    assert by_row.history["acc"] == by_label.history["acc"]


@pytest.mark.parametrize("last", [[], [nn.Sigmoid()]])
def test_learns_two_classes_with_one_output(last):
    x, y = blobs(classes=2)
    model = compiled(nn.Model([nn.Dense(1), *last], seed=0), loss="bce")
    history = model.fit(x, y, epochs=30, verbose=0)
    assert history["acc"][-1] > 0.97
    assert (model.predict_classes(x) == y).mean() > 0.97


def test_regression_reports_no_accuracy_and_watches_the_loss():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2)).astype("float32")
    y = x @ np.array([[1.0], [-2.0]]) + 0.5
    model = compiled(nn.Model([nn.Dense(1)], seed=0), loss="mse", lr=0.1)
    history = model.fit(
        x, y, epochs=40, batch_size=8, validation_split=0.2, early_stopping=True, verbose=0
    )
    assert "acc" not in history
    assert history["val_loss"][-1] < 1e-3
    assert set(model.evaluate(x, y)) == {"loss"}


def test_history_is_weighted_by_batch_sizes():
    """10 samples in batches of 4: the figures are means over samples, not over batches."""
    x, y = blobs(10)
    model = compiled(optimizer="sgd", lr=0.0)
    history = model.fit(x, y, batch_size=4, verbose=0)
    exact = model.evaluate(x, y)
    assert history["loss"][0] == pytest.approx(exact["loss"], rel=1e-6)
    assert history["acc"][0] == pytest.approx(exact["acc"], rel=1e-12)
    assert history.history is history
    assert model.evaluate(x, y, batch_size=3)["loss"] == pytest.approx(exact["loss"], rel=1e-6)


def test_a_trailing_softmax_trains_as_logits_do():
    x, y = blobs()
    logits, softmax = compiled(), compiled()
    softmax.add(nn.Softmax())
    for model in (logits, softmax):
        model.fit(x, y, epochs=3, verbose=0)
    np.testing.assert_allclose(softmax.history["loss"], logits.history["loss"], rtol=1e-5)
    for name, array in logits.get_arrays().items():
        np.testing.assert_allclose(softmax.get_arrays()[name], array, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(softmax.predict(x).sum(axis=1), 1, rtol=1e-6)
    assert softmax.evaluate(x, y)["loss"] == pytest.approx(logits.evaluate(x, y)["loss"], rel=1e-4)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_softmax_inside_the_last_layer_by_hand_equals_logits(scale):
    """Loss and gradient through the public loop, also where the probabilities are saturated."""
    x, y = blobs(12)
    x = x * scale
    results = []
    for activation in (None, "softmax"):
        model = compiled(nn.Model([nn.Dense(3, activation=activation, input_shape=(2,))], seed=0))
        loss = model.loss.forward(model.forward(x, training=True), y)
        dx = model.backward(model.loss.backward())
        results.append((loss, dx, model.layers[0].grads["W"]))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-6)
    np.testing.assert_allclose(results[1][1], results[0][1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(results[1][2], results[0][2], rtol=1e-4, atol=1e-4)


def test_softmax_added_after_compile_still_pairs_with_the_loss():
    x, y = blobs(12)
    before, after = compiled(), compiled()
    after.add(nn.Softmax())
    for model in (before, after):
        model.value = model.loss.forward(model.forward(x, training=True), y)
    assert after.value == pytest.approx(before.value, rel=1e-6)


def test_one_loss_object_serves_two_models():
    x, y = blobs(12)
    loss = losses.CategoricalCrossentropy()
    probabilities, logits = compiled(loss=loss), compiled(loss=loss)
    probabilities.add(nn.Softmax())
    values = [m.loss.forward(m.forward(x, training=True), y) for m in (probabilities, logits)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@pytest.mark.parametrize(
    ("last", "loss"), [("sigmoid", "cce"), ("softmax", "bce"), ("log_softmax", "bce")]
)
def test_an_activation_that_does_not_fit_the_loss_is_an_error(last, loss):
    model = nn.Model([nn.Dense(2, activation=last, input_shape=(2,))])
    with pytest.raises(ValueError, match=r"last activation is .*: change one"):
        model.compile(loss)


def test_metrics_speak_of_classes_only_where_the_targets_do():
    x, y = blobs(30)
    model = compiled(nn.Model([nn.Dense(1)], seed=0), loss="mse")
    assert "acc" not in model.fit(x, np.arange(30).reshape(-1, 1), verbose=0)
    assert "acc" in model.fit(x, (y == 1).astype(int).reshape(-1, 1), verbose=0)
    three = compiled(nn.Model([nn.Dense(3)], seed=0), loss="mse")
    assert "acc" not in three.fit(x, np.arange(90).reshape(30, 3), verbose=0)
    assert "acc" in three.fit(x, np.eye(3)[y], verbose=0)


def test_metrics_keep_their_own_threshold_and_save_it(tmp_path):
    x, _ = blobs(40)
    y = np.random.default_rng(0).integers(0, 2, 40)
    model = nn.Model([nn.Dense(1), nn.Sigmoid()], seed=0)
    threshold = float(np.quantile(model.predict(x), 0.9))
    model = compiled(model, loss="bce", metrics=[nn.metrics.Recall(threshold=threshold)])
    expected = nn.metrics.recall(y, model.predict(x), threshold=threshold)
    assert expected != nn.metrics.recall(y, model.predict(x))
    assert model.evaluate(x, y)["recall"] == expected
    model.save(tmp_path / "model.hdf5")
    assert nn.Model.load(tmp_path / "model.hdf5").evaluate(x, y)["recall"] == expected


def test_weights_of_a_dataset_and_of_the_argument_are_multiplied():
    x, y = blobs(30)
    weights = np.random.default_rng(0).random((2, 30))
    model = compiled()
    both = model.evaluate(nn.Dataset(x, y, sample_weight=weights[0]), sample_weight=weights[1])
    assert both["loss"] == pytest.approx(
        model.evaluate(x, y, sample_weight=weights.prod(axis=0))["loss"]
    )


def test_class_weights_train_but_do_not_validate():
    x, y = blobs(40)
    model = compiled(optimizer="sgd", lr=0.0)
    plain = model.fit(x, y, validation_split=0.5, verbose=0)["val_loss"]
    weighted = model.fit(
        x, y, validation_split=0.5, class_weight={0: 10.0, 1: 10.0, 2: 10.0}, verbose=0
    )
    assert weighted["val_loss"] == plain
    assert weighted["loss"][0] > 5 * plain[0]


@pytest.mark.parametrize("targets", ["integers", "one-hot", "batches"])
def test_class_weights_in_an_evaluation_are_weights_of_samples(targets):
    x, y = blobs(30)
    weights = {0: 0.5, 2: 3.0}
    by_sample = np.array([weights.get(int(label), 1.0) for label in y])
    model = compiled()
    expected = model.evaluate(x, y, sample_weight=by_sample)["loss"]
    if targets == "batches":
        found = model.evaluate([(x[:20], y[:20]), (x[20:], y[20:])], class_weight=weights)
    else:
        given = y if targets == "integers" else np.eye(3)[y]
        found = model.evaluate(x, given, class_weight=weights)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["loss"] != pytest.approx(model.evaluate(x, y)["loss"], rel=1e-3)


def test_weights_of_samples_need_a_loss_that_takes_them():
    model = compiled(loss=SquaredError())
    with pytest.raises(ValueError, match="need a loss whose forward"):
        model.fit(X, np.eye(3)[Y], sample_weight=np.ones(12), verbose=0)


def test_an_optimizer_object_serves_one_model():
    x, y = blobs(12)
    optimizer = optim.Adam()
    compiled(optimizer=optimizer).fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="state of another model"):
        compiled(optimizer=optimizer)


def test_the_optimizer_of_the_constructor_waits_for_the_loss():
    model = nn.Model([nn.Dense(3, input_shape=(2,))], optimizer=optim.SGD(lr=0.5))
    model.compile("cce")
    assert isinstance(model.optimizer, optim.SGD)
    model.compile("cce", "adam")
    assert isinstance(model.optimizer, optim.Adam)


def test_a_failed_build_leaves_the_model_ready_for_another_shape():
    model = nn.Model([nn.Conv2D(2), nn.MaxPool2D(8)])
    with pytest.raises(ValueError, match="'pool_size' must not be larger"):
        model.predict(np.zeros((1, 1, 4, 4)))
    assert model.predict(np.zeros((1, 1, 16, 16))).shape == (1, 2, 2, 2)


def test_one_activation_object_in_two_layers_is_an_error():
    shared = nn.Tanh()
    with pytest.raises(ValueError, match="must not hold a layer object twice"):
        nn.Model([nn.Dense(3, activation=shared), nn.Dense(3, activation=shared)])
    with pytest.raises(ValueError, match="must have no parameters"):
        nn.Model([nn.Dense(3, activation=nn.BatchNorm())]).predict(X)


def test_backward_refuses_a_gradient_of_another_shape():
    model = mlp()
    model.forward(X, training=True)
    with pytest.raises(ValueError, match=r"output's shape \(12, 3\), got \(12, 1\)"):
        model.backward(np.ones((12, 1), dtype="float32"))
    model.forward(X[:5])  # the last forward pass counts
    assert model.backward(np.ones((5, 3), dtype="float32")).shape == (5, 2)
    model.forward(X[:5])
    model.forward(X, training=None)  # keeps nothing, so the one before counts
    assert model.backward(np.ones((5, 3), dtype="float32")).shape == (5, 2)


def test_parameters_of_a_users_layer_get_the_models_dtype():
    model = nn.Model([Shift(0.1)])
    model.build((None, 2))
    model.layers[0].params["shift"] = model.layers[0].params["shift"].astype("float64")
    wide = nn.Model([Wide()])
    assert wide.predict(X).dtype == np.float32


def test_bad_arguments_leave_history_and_weights_as_they_were(tmp_path):
    x, y = blobs(30)
    model = compiled()
    model.fit(x, y, verbose=0)
    history = dict(model.history)
    other = compiled(mlp(seed=4))
    other.fit(x, y, verbose=0)
    other.save(tmp_path / "other.hdf5")
    before = {k: v.copy() for k, v in model.get_arrays().items()}
    for bad in ({"epochs": 0}, {"batch_size": 0}, {"lr_schedule": "plato"}, {"callbacks": [1]}):
        with pytest.raises(ValueError, match=r"\[Model\]"):
            model.fit(x, y, resume=tmp_path / "other.hdf5", verbose=0, **bad)
        assert model.history == history
        for name, array in model.get_arrays().items():
            np.testing.assert_array_equal(array, before[name])


def test_debug_mode_names_the_layer_at_once():
    code = (
        "import numpy as np, nn\n"
        "m = nn.Model([nn.Dense(2, input_shape=(2,)), nn.ReLU()]); m.compile('mse', metrics=[])\n"
        "m.layers[0].params['b'][0] = np.nan\n"
        "m.forward(np.ones((1, 2)))"
    )
    assert "NN_DEBUG: the output of layer 0 (Dense) is not finite" in run(code, NN_DEBUG="1").stderr
    assert run(code).returncode == 0


def test_a_loop_by_hand_equals_fit():
    x, y = blobs(64)
    by_fit, by_hand = compiled(), compiled()
    by_fit.fit(x, y, epochs=3, batch_size=16, shuffle=False, verbose=0)
    for _ in range(3):
        for k in range(0, 64, 16):
            predicted = by_hand.forward(x[k : k + 16], training=True)
            by_hand.loss.forward(predicted, y[k : k + 16])
            dx = by_hand.backward(by_hand.loss.backward())
            by_hand.optimizer.step(by_hand.get_params_and_grads())
    assert dx.shape == (16, 2)
    for name, array in by_fit.get_arrays().items():
        np.testing.assert_array_equal(by_hand.get_arrays()[name], array)


def test_train_step_returns_the_batchs_loss_and_metrics():
    x, y = blobs(30)
    model = compiled()
    expected = model.evaluate(x, y)
    logs = model.train_step(x, y)
    assert logs == pytest.approx(expected, rel=1e-6)
    assert model.evaluate(x, y)["loss"] < expected["loss"]


def test_class_and_sample_weights_multiply_each_samples_loss():
    x, y = blobs(30)
    weights = np.random.default_rng(0).random(30)
    models = [compiled() for _ in range(3)]
    models[0].fit(x, y, shuffle=False, class_weight={1: 3.0}, sample_weight=weights, verbose=0)
    models[1].fit(x, y, shuffle=False, sample_weight=weights * np.where(y == 1, 3, 1), verbose=0)
    models[2].fit(
        x, np.eye(3)[y], shuffle=False, class_weight={1: 3.0}, sample_weight=weights, verbose=0
    )
    for other in models[1:]:
        for name, array in models[0].get_arrays().items():
            np.testing.assert_allclose(other.get_arrays()[name], array, rtol=1e-5, atol=1e-7)
    twice = compiled()
    assert twice.evaluate(x, y, sample_weight=np.full(30, 2.0))["loss"] == pytest.approx(
        2 * twice.evaluate(x, y)["loss"]
    )


def test_validation_data_by_either_name_and_by_split():
    x, y = blobs(60)
    model = compiled(lr=0.0, optimizer="sgd")
    for name in ("val_data", "validation_data"):
        history = model.fit(x, y, verbose=0, **{name: (x[:20], y[:20])})
        assert history["val_acc"] == [model.evaluate(x[:20], y[:20])["acc"]]
    seen = []

    class Spy(callbacks.Callback):
        def on_train_begin(self, logs):
            seen.append(self.params["samples"])

    for _ in range(2):
        history = model.fit(x, y, validation_split=0.25, callbacks=Spy(), verbose=0)
        seen.append(history["val_loss"][0])
    assert seen[0] == 45
    assert seen[1] == seen[3]  # the same rows are held out at every fit


def test_early_stopping_stops_after_patience_and_restores_the_best():
    x, y = blobs(60)
    model = compiled()
    kept = {}

    class Break(callbacks.Callback):
        """Ruins the weights from the third epoch on."""

        def on_epoch_begin(self, epoch, logs):
            if epoch >= 2:
                for array in self.model.get_arrays().values():
                    array[...] = -array

        def on_epoch_end(self, epoch, logs):
            kept[epoch] = {k: v.copy() for k, v in self.model.get_arrays().items()}

    history = model.fit(
        x,
        y,
        epochs=30,
        val_data=(x, y),
        early_stopping=True,
        patience=2,
        callbacks=[Break()],
        verbose=0,
    )
    best = int(np.argmax(history["val_acc"]))
    assert len(history["loss"]) == best + 1 + 2
    for name, array in model.get_arrays().items():
        np.testing.assert_array_equal(array, kept[best][name])


def test_early_stopping_restores_the_best_also_where_it_never_stops():
    x, y = blobs(60)
    model = compiled(lr=1.0, optimizer="sgd")
    history = model.fit(x, y, epochs=4, val_data=(x, y), early_stopping=True, patience=9, verbose=0)
    assert len(history["loss"]) == 4
    assert model.evaluate(x, y)["acc"] == max(history["val_acc"])


def test_plateau_lowers_the_rate_after_patience_epochs():
    x, y = blobs(30)
    model = compiled(optimizer="sgd", lr=1e-9)  # nothing can be gained
    history = model.fit(
        x, y, epochs=8, lr_schedule="plateau", lr_patience=2, lr_factor=0.1, lr_min=2e-11, verbose=0
    )
    expected = [1e-9, 1e-9, 1e-9, 1e-10, 1e-10, 2e-11, 2e-11, 2e-11]
    np.testing.assert_allclose(history["lr"], expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("step", [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ("exponential", [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
        ("warm_restarts", [1, 0.5, 1, 0.853553, 0.5, 0.146447]),
        ("cosine", [1, 0.933013, 0.75, 0.5, 0.25, 0.066987]),
        (lambda step: 1 / (1 + step), [1, 0.25, 1 / 7, 0.1, 1 / 13, 1 / 16]),
    ],
)
def test_schedules_by_name_and_by_function(name, expected):
    x, y = blobs(30)
    model = compiled(optimizer="sgd", lr=1.0)
    history = model.fit(
        x, y, epochs=6, batch_size=10, lr_schedule=name, lr_patience=2, lr_min=0.0, verbose=0
    )
    np.testing.assert_allclose(history["lr"], expected, atol=1e-6)
    assert model.optimizer.lr == 1.0


def test_warm_up_and_one_cycle_rise_first():
    x, y = blobs(30)
    model = compiled(optimizer="sgd", lr=1.0)
    warm = model.fit(x, y, epochs=6, lr_schedule="cosine", warmup_epochs=2, verbose=0)["lr"]
    assert warm[0] < warm[1] < warm[2] > warm[3]
    cycle = model.fit(x, y, epochs=9, lr_schedule="one_cycle", verbose=0)["lr"]
    assert 0 < int(np.argmax(cycle)) < 8


def test_initial_epoch_and_epochs_are_totals():
    x, y = blobs(30)
    epochs = []

    class Spy(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs):
            epochs.append(epoch)

    model = compiled()
    assert (
        len(model.fit(x, y, epochs=4, initial_epoch=2, callbacks=[Spy()], verbose=0)["loss"]) == 2
    )
    assert epochs == [2, 3]


def test_resume_goes_on_as_if_nothing_had_happened(tmp_path):
    """Shuffling, dropout, batch norm, Adam and the learning rate: 2 + 2 epochs equal 4."""
    x, y = images()
    whole = compiled(convnet())
    whole.fit(x, y, epochs=4, validation_split=0.2, verbose=0)
    half = compiled(convnet())
    half.fit(x, y, epochs=2, validation_split=0.2, verbose=0)
    half.save(tmp_path / "half.hdf5")
    resumed = compiled(convnet(seed=99))
    resumed.fit(x, y, epochs=4, validation_split=0.2, resume=tmp_path / "half.hdf5", verbose=0)
    assert resumed.history == whole.history
    assert resumed.split_seed == whole.split_seed
    for name, array in whole.get_arrays().items():
        np.testing.assert_array_equal(resumed.get_arrays()[name], array)
    half.save(tmp_path / "bare.hdf5", include_optimizer=False)
    with pytest.raises(ValueError, match="holds no training state"):
        resumed.fit(x, y, resume=tmp_path / "bare.hdf5", verbose=0)


@pytest.mark.parametrize("num_threads", [0, 1, 4])
def test_the_same_seed_gives_the_same_weights(num_threads, device):
    x, y = images()
    arrays = []
    for threads in (None, num_threads):
        model = compiled(convnet(seed=3))
        model.to_gpu() if device == "gpu" else model.to_cpu()
        model.fit(x, y, epochs=2, num_threads=threads, verbose=0)
        arrays.append({k: cuda.to_cpu(v) for k, v in model.get_arrays().items()})
    for name in arrays[0]:
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])


def test_augment_runs_in_training_only():
    x, y = images()
    calls = []

    def augment(batch, rng):
        calls.append(len(batch))
        return batch[..., ::-1]

    model = compiled(convnet())
    model.fit(x, y, augment=augment, val_data=(x, y), verbose=0)
    assert sorted(calls) == [8, 32]


def test_uint8_images_are_scaled_wherever_they_come_in():
    x = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    y = np.arange(20) % 3
    models = [compiled(convnet()) for _ in range(2)]
    models[0].fit(x, y, epochs=1, verbose=0)
    models[1].fit(x.astype("float32") / 255, y, epochs=1, verbose=0)
    np.testing.assert_allclose(models[0].predict(x), models[1].predict(x / 255.0), atol=1e-6)
    assert models[0].evaluate(x, y)["loss"] == pytest.approx(
        models[1].evaluate(x / 255.0, y)["loss"]
    )


@pytest.mark.parametrize("shape", [(12,), (3, 4), (1, 2, 3, 2)])
def test_bytes_that_are_no_images_are_numbers_wherever_they_come_in(shape):
    x = np.random.default_rng(0).integers(0, 2, (20, *shape), dtype=np.uint8)
    floats, y = x.astype("float32"), np.arange(20) % 2

    def model():
        made = nn.Model([nn.Reshape((12,), input_shape=shape), nn.Dense(2)], seed=0)
        made.compile("cce", "sgd", lr=0.1)
        return made

    trained = []
    for data in (
        (floats, y),
        (x, y),
        (nn.Dataset(x, y),),
        ([(x, y)],),
        (lambda: iter([(x, y)]),),
    ):
        trained.append(model())
        trained[-1].fit(*data, batch_size=20, shuffle=False, verbose=0)
    expected = trained[0].predict(floats)
    for one in trained:
        for inputs in (x, nn.Dataset(x, y), iter([x])):
            np.testing.assert_array_equal(one.predict(inputs), expected)
        assert one.evaluate(x, y) == trained[0].evaluate(floats, y)
        assert one.evaluate(iter([(x, y)])) == trained[0].evaluate(floats, y)
        np.testing.assert_array_equal(one.forward(x), trained[0].forward(floats))
    assert trained[0].train_step(x, y)["loss"] == trained[1].train_step(floats, y)["loss"]


@pytest.mark.parametrize("dtype", ["float64", np.float64, np.dtype("float64")])
def test_dtype_by_any_name(dtype):
    assert nn.Model(dtype=dtype).dtype == "float64"


def test_float64_is_float64_throughout():
    x, y = blobs(20)
    model = compiled(mlp(dtype="float64"))
    model.fit(x.astype("float64"), y, verbose=0)
    assert model.predict(x).dtype == np.float64
    assert all(array.dtype == np.float64 for array in model.get_arrays().values())


def test_frozen_layers_stay_and_nothing_below_them_is_computed():
    x, y = images()
    model = compiled(convnet())
    model.layers[0].trainable = model.layers[1].trainable = False
    before = {k: v.copy() for k, v in model.get_arrays().items()}
    model.layers[0].backward = None  # would fail if it were called
    model.fit(x, y, verbose=0)
    for name, array in model.get_arrays().items():
        assert np.array_equal(array, before[name]) == (name[0] in "01")
    assert "15 of them trainable" not in model.summary()
    assert "195 of them trainable" in model.summary()


def test_training_leaves_out_the_gradient_that_nobody_reads(monkeypatch):
    calls = []
    whole = nn.kernels.conv2d_input_grad
    monkeypatch.setattr(
        nn.kernels, "conv2d_input_grad", lambda *a, **k: (calls.append(1), whole(*a, **k))[1]
    )
    x, y = images()
    model = compiled(convnet())
    model.train_step(x, y)
    assert calls == []
    model.loss.forward(model.forward(x, training=True), y)
    assert model.backward(model.loss.backward()).shape == x.shape
    assert calls == [1]


def test_weight_decay_and_clipping_reach_the_optimizer():
    model = compiled(optimizer="sgd", lr=1.0, weight_decay=0.1, clip_norm=2.0, momentum=0.5)
    assert (model.optimizer.weight_decay, model.optimizer.clip_norm) == (0.1, 2.0)
    assert model.optimizer.momentum == 0.5
    assert model.optimizer.lr == 1.0
    x, y = blobs(30)
    model.train_step(x, y)
    assert model.optimizer.param_names == ["0_Dense_W", "0_Dense_b", "2_Dense_W", "2_Dense_b"]


def test_learning_rate_is_lr():
    model = mlp()
    model.compile("cce", "adam", learning_rate=0.25)
    assert model.optimizer.lr == 0.25


def test_loss_and_optimizer_in_the_constructor():
    model = nn.Model([nn.Dense(3, input_shape=(2,))], loss="mse", optimizer=optim.SGD(lr=0.5))
    assert isinstance(model.loss, losses.MeanSquaredError)
    assert model.optimizer.lr == 0.5
    assert nn.Model(optimizer="sgd").optimizer.lr == 0.01


def test_stop_training_and_ctrl_c_end_cleanly(capsys):
    x, y = blobs(30)

    class Stop(callbacks.Callback):
        def __init__(self, interrupt):
            self.interrupt = interrupt

        def on_epoch_end(self, epoch, logs):
            if epoch == 1 and self.interrupt:
                raise KeyboardInterrupt
            self.model.stop_training = epoch == 1

    for interrupt, text in ((False, ""), (True, "Interrupted")):
        history = compiled().fit(x, y, epochs=9, callbacks=[Stop(interrupt)], verbose=0)
        assert len(history["loss"]) == 2
        assert capsys.readouterr().out.startswith(text)


def test_progress_lines_and_silence(capsys):
    x, y = blobs(30)
    compiled().fit(x, y, epochs=2, validation_split=0.5, verbose=0)
    assert capsys.readouterr() == ("", "")
    compiled().fit(x, y, epochs=2, validation_split=0.5, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("Epoch 2/2: loss ")
    for figure in ("acc", "val_loss", "val_acc", "lr", "samples/s"):
        assert figure in lines[1]


def test_progress_bar_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "150")
    x, y = blobs(30)
    compiled().fit(x, y, epochs=1, validation_split=0.5, verbose=1)
    bar = capsys.readouterr().err
    assert "Epoch 1/1: 100%" in bar
    assert "15/15" in bar
    assert "val_acc=" in bar


# ------------------------------------------------------------------------- users' own parts


class Scale(nn.Layer):
    """A layer with only a forward and a backward."""

    def forward(self, x, training=False):
        return 3 * x

    def backward(self, grad):
        return 3 * grad


class Shift(nn.Layer):
    """A layer with an argument, a parameter and a configuration."""

    def __init__(self, start):
        super().__init__()
        self.start = start

    def build(self, input_shape):
        self.params["shift"] = np.full(input_shape[1], self.start, dtype=self.dtype)
        self.output_shape = input_shape
        self.built = True

    def forward(self, x, training=False):
        return x + self.params["shift"]

    def backward(self, grad):
        self.grads["shift"] = grad.sum(axis=0)
        return grad

    def to_config(self):
        return {"class": "Shift", "config": {"start": self.start}}


class Wide(nn.Layer):
    """A layer that makes its parameters in float64."""

    def build(self, input_shape):
        self.params["scale"] = np.ones(input_shape[1:])
        self.output_shape = input_shape

    def forward(self, x, training=False):
        return x * self.params["scale"]


class SquaredError(nn.losses.Loss):
    def forward(self, y_pred, y_true):
        self.difference = y_pred - y_true
        return float((self.difference**2).mean())

    def backward(self):
        return 2 * self.difference / self.difference.size


class Momentum(nn.optim.Optimizer):
    """Keeps its state by id(param)."""

    def __init__(self, lr=0.05):
        super().__init__(lr)
        self.velocities = {}

    def step(self, params_and_grads):
        for param, grad in params_and_grads:
            velocity = self.velocities.get(id(param), 0) * 0.9 + grad
            self.velocities[id(param)] = velocity
            param -= self.lr * velocity


def test_users_own_layer_loss_and_optimizer_train_a_model():
    x, y = blobs()
    target = np.eye(3, dtype="float32")[y]
    model = nn.Model(
        [nn.Dense(8, input_shape=(2,)), Scale(), Shift(0.1), nn.Tanh(), nn.Dense(3)], seed=0
    )
    model.compile(SquaredError(), Momentum())
    history = model.fit(x, target, epochs=15, verbose=0)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history["acc"][-1] > 0.95
    assert len(model.optimizer.velocities) == 5
    assert (model.layers[2].params["shift"] != np.float32(0.1)).all()


def test_an_optimizer_of_the_users_without_a_rate_or_a_base_class():
    class Fixed:
        def step(self, params_and_grads):
            for param, grad in params_and_grads:
                param -= 0.1 * grad

    x, y = blobs()
    model = compiled(optimizer=Fixed(), lr=None)
    history = model.fit(x, y, epochs=10, verbose=0)
    assert history["acc"][-1] > 0.9
    assert math.isnan(history["lr"][0])
    with pytest.raises(ValueError, match="needs an optimizer with an attribute 'lr'"):
        model.fit(x, y, lr_schedule="plateau", verbose=0)
    with pytest.raises(ValueError, match="weight_decay"):
        compiled(optimizer=Fixed(), lr=None, weight_decay=0.1)


def test_users_own_layer_saves_and_loads_once_registered(tmp_path, monkeypatch):
    monkeypatch.setattr(nn.layers.config, "NAME2LAYER", nn.layers.NAME2LAYER)
    x, _ = blobs()
    model = nn.Model([Scale(), Shift(0.1), nn.Dense(3)], seed=0)
    model.build((None, 2))
    model.layers[1].params["shift"][...] = [5, 6]
    model.save(tmp_path / "own.hdf5")
    with pytest.raises(ValueError, match=r"'Scale'.*@nn\.register"):
        nn.Model.load(tmp_path / "own.hdf5")
    monkeypatch.setitem(nn.layers.NAME2LAYER, "Scale", Scale)
    monkeypatch.setitem(nn.layers.NAME2LAYER, "Shift", Shift)
    loaded = nn.Model.load(tmp_path / "own.hdf5")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


def test_a_model_with_users_own_loss_loads_uncompiled_with_a_warning(tmp_path):
    model = mlp()
    model.compile(SquaredError(), "sgd")
    model.save(tmp_path / "own.hdf5")
    with pytest.warns(UserWarning, match=r"not compiled.*test_model\.SquaredError"):
        loaded = nn.Model.load(tmp_path / "own.hdf5")
    assert loaded.loss is None


# ---------------------------------------------------------------------------------- errors

X, Y = blobs(12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.fit(X), ValueError, "'data' must have targets"),
        (lambda m: m.fit(X, Y[:-1]), ValueError, "'y' must have"),
        (lambda m: m.fit(X, Y, batch_size=0), ValueError, "'batch_size' must be .* got 0"),
        (lambda m: m.fit(X, Y, epochs=0), ValueError, "'epochs' must be a positive integer"),
        (lambda m: m.fit(X, Y, epochs=1.5), ValueError, "'epochs' must be a positive integer"),
        (lambda m: m.fit(X, Y.astype(float)), ValueError, "must hold integer labels"),
        (lambda m: m.fit(X, Y + 1), ValueError, r"must be in 0\.\.2, got 3"),
        (lambda m: m.fit(X, Y - 1), ValueError, r"must be in 0\.\.2, got -1"),
        (lambda m: m.fit(X, np.eye(4)[Y]), ValueError, r"labels of shape \(12,\) or rows of shape"),
        (lambda m: m.fit(X[:, :1], Y), ValueError, r"expects inputs of shape \(None, 2\)"),
        (lambda m: m.fit(np.where(X > 1, np.nan, X), Y), ValueError, "'x' must be finite"),
        (lambda m: m.fit(np.where(X > 1, np.inf, X), Y), ValueError, "'x' must be finite"),
        (lambda m: m.fit(X.astype(str), Y), TypeError, "'x' must hold real numbers"),
        (lambda m: m.fit(X, Y, num_classes=4), ValueError, "'num_classes' must be the 3 outputs"),
        (lambda m: m.fit(X, Y, patience=-1), ValueError, "'patience' must be an integer"),
        (lambda m: m.fit(X, Y, lr_factor=1.5), ValueError, r"'lr_factor' must be a number"),
        (lambda m: m.fit(X, Y, lr_factor=0), ValueError, r"'lr_factor' must be .* in \(0, 1\]"),
        (lambda m: m.fit(X, Y, lr_schedule="plato"), ValueError, "did you mean 'plateau'"),
        (lambda m: m.fit(X, Y, warmup_epochs=-1), ValueError, "'warmup_epochs' must be an integer"),
        (lambda m: m.fit(X, Y, lr_patience=0), ValueError, "'lr_patience' must be"),
        (lambda m: m.fit(X, Y, warmup_epochs=1), ValueError, "'warmup_epochs' needs lr_schedule"),
        (lambda m: m.fit(X, Y, class_weight={3: 1.0}), ValueError, "classes of the labels"),
        (lambda m: m.compile("cce", metric=["mae"]), ValueError, "did you mean 'metrics'"),
        (lambda m: m.compile("cce", metrics=["acc", "accuracy"]), ValueError, "different names"),
        (lambda m: m.predict([[1e300, 0]]), ValueError, "'x' must be finite"),
        (lambda m: m.fit(X, Y, validation_split=1.0), ValueError, "'validation_split' must be"),
        (lambda m: m.fit(X, Y, val_data=(X, Y), validation_data=(X, Y)), ValueError, "only one of"),
        (lambda m: m.fit(X, Y, val_data=(X, Y), validation_split=0.5), ValueError, "only one of"),
        (lambda m: m.fit(X, Y, val_data=X), ValueError, r"must be a Dataset, \(x, y\) or"),
        (lambda m: m.fit(X, Y, val_data=(X, Y + 1)), ValueError, r"must be in 0\.\.2"),
        (lambda m: m.fit(X, Y, verbose=3), ValueError, "'verbose' must be 0, 1 or 2"),
        (lambda m: m.fit(X, Y, callbacks=[print]), ValueError, "'callbacks' must hold"),
        (lambda m: m.fit(X, Y, initial_epoch=-1), ValueError, "'initial_epoch' must be"),
        (lambda m: m.fit(X, Y, class_weight=[1, 2]), ValueError, "'class_weight' must be"),
        (lambda m: m.fit(X, Y, class_weight={"a": 1}), ValueError, "must have integer keys"),
        (lambda m: m.fit(X, Y, class_weight={0: -1}), ValueError, "'class_weight' must"),
        (lambda m: m.fit(X, Y, sample_weight=[1, 2]), ValueError, r"must have the shape \(12,\)"),
        (lambda m: m.fit(X, Y, sample_weight=-np.ones(12)), ValueError, "must not be negative"),
        (lambda m: m.fit(X, Y, sample_weight=np.full(12, np.nan)), ValueError, "must be finite"),
        (lambda m: m.fit(nn.Dataset(X, Y), Y), ValueError, "must not be given with a Dataset"),
        (lambda m: m.fit(X, Y, resume="nowhere.hdf5"), FileNotFoundError, "nowhere"),
        (lambda m: m.predict(X[0]), ValueError, r"x\[np\.newaxis\]"),
        (lambda m: m.predict(X[:, :1]), ValueError, "expects inputs of shape"),
        (lambda m: m.predict(X, batch_size=0), ValueError, "'batch_size'"),
        (lambda m: m.evaluate(X), ValueError, "must have targets"),
        (lambda m: m.train_step(X, Y + 1), ValueError, r"must be in 0\.\.2"),
        (lambda m: m.compile("cce", "adm"), ValueError, "did you mean 'adam'"),
        (lambda m: m.compile("mes"), ValueError, "did you mean 'mse'"),
        (lambda m: m.compile("cce", "sgd", momentun=0.9), ValueError, "did you mean 'momentum'"),
        (lambda m: m.compile("cce", metrics=["acuracy"]), ValueError, "did you mean 'accuracy'"),
        (lambda m: m.compile("cce", Momentum(), clip_norm=1.0), ValueError, "'clip_norm'"),
        (lambda m: m.build((None, 5)), ValueError, "is built for inputs"),
        (lambda m: m.build((None, 0)), ValueError, "'input_shape' must be positive sizes"),
        (lambda m: m.add(m.layers[1]), ValueError, "must not hold a layer object twice"),
        (lambda m: m.add(nn.ReLU), TypeError, r"write ReLU\(\.\.\.\)"),
        (lambda m: m.add("relu"), TypeError, "must hold layer objects, got 'relu'"),
        (lambda m: nn.Model(dtype="float16"), ValueError, "'dtype' must be"),
        (lambda m: nn.Model(seed=-1), ValueError, "'seed' must be"),
    ],
)  # fmt: skip
def test_bad_input_is_an_error_before_the_first_step(call, error, message):
    model = compiled()
    before = {k: v.copy() for k, v in model.get_arrays().items()}
    with pytest.raises(error, match=message):
        call(model)
    for name, array in model.get_arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_calls_out_of_order():
    with pytest.raises(RuntimeError, match=r"call compile\(loss, optimizer\) before fit\(\)"):
        mlp().fit(X, Y)
    with pytest.raises(ValueError, match="has no layers"):
        compiled(nn.Model()).fit(X, Y)
    with pytest.raises(ValueError, match="has no layers"):
        nn.Model().predict(X)
    with pytest.raises(ValueError, match="has no layers"):
        nn.Model().build((None, 2))
    with pytest.raises(RuntimeError, match=r"call backward\(\) first"):
        compiled().get_params_and_grads()
    with pytest.raises(RuntimeError, match="no weights to save"):
        nn.Model([nn.Dense(3)]).save("never.hdf5")
    with pytest.raises(RuntimeError, match="no weights to save"):
        nn.Model([nn.Dense(3)]).save_weights("never.hdf5")


@pytest.mark.parametrize(
    ("x", "hint"),
    [
        (np.zeros((5, 8, 8, 1)), "channels-last"),
        (np.zeros((5, 8, 8)), "channel axis"),
        (np.zeros((1, 8, 8)), r"x\[np\.newaxis\]"),
        (
            np.zeros((5, 1, 9, 9)),
            r"expects inputs of shape \(None, 1, 8, 8\), got \(5, 1, 9, 9\)\.",
        ),
    ],
)
def test_wrong_image_shapes_say_what_to_do(x, hint):
    with pytest.raises(ValueError, match=hint):
        convnet().predict(x)


@pytest.mark.parametrize(
    ("ruin", "message"),
    [
        (lambda m: m.layers[2].params["W"].fill(np.nan), r"layer 2 \(Dense\) has NaN .* in 'W'"),
        (lambda m: m.layers[0].params["W"].fill(3e38), r"layer 0 \(Dense\) returned NaN"),
    ],
)
def test_a_loss_that_is_not_finite_stops_with_layer_and_batch_named(ruin, message):
    class Ruin(callbacks.Callback):
        def on_train_batch_begin(self, batch, logs):
            if batch == 2:
                ruin(self.model)

    with (
        warnings.catch_warnings(),
        pytest.raises(FloatingPointError, match=r"epoch 1, batch 2: .*" + message),
    ):
        warnings.simplefilter("ignore")  # NumPy tells of the overflow as well
        compiled().fit(X, Y, batch_size=4, callbacks=[Ruin()], verbose=0)


def test_a_loss_that_overflows_itself():
    model = compiled(nn.Model([nn.Dense(1, input_shape=(2,))]), loss="mse", metrics=[])
    with pytest.raises(FloatingPointError, match="the loss itself overflowed"):
        model.train_step(X, np.full((12, 1), 1e30, dtype="float32"))


# ----------------------------------------------------------------------------------- using


def test_predict_does_not_depend_on_the_batch_size():
    x, _ = images()
    model = convnet()
    expected = model.forward(x)
    for batch_size in (1, 7, 40, 100):
        np.testing.assert_allclose(model.predict(x, batch_size), expected, rtol=1e-5, atol=1e-6)
    assert model.predict(x[:0]).shape == (0, 3)
    np.testing.assert_array_equal(model.predict(nn.Dataset(x)), model.predict(x))


def test_predict_keeps_nothing_for_backward():
    model = convnet()
    model.predict(images()[0])
    assert all(layer._kept is None for layer in model.layers)


def test_memory_of_repeated_training_and_prediction_is_flat():
    import tracemalloc

    x, y = images()
    model = compiled(convnet())
    model.fit(x, y, verbose=0)
    model.predict(x)
    gc.collect()
    tracemalloc.start()
    for repeats in (3, 12):
        for _ in range(repeats):
            model.fit(x, y, verbose=0)
            model.predict(x)
        gc.collect()
        if repeats == 3:
            before = tracemalloc.get_traced_memory()[0]
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 30_000


# ---------------------------------------------------------------------------------- devices


@pytest.mark.gpu
def test_fit_save_and_load_across_devices(tmp_path):
    x, y = images(96)
    results = []
    for device in ("cpu", "gpu"):
        # In float32 Adam would step by the rounding errors of a bias before batch normalization.
        model = convnet(dtype="float64")
        model.layers[4].rate = 0.0  # each device draws its own dropout
        compiled(model)
        model.to_gpu() if device == "gpu" else model.to_cpu()
        assert model.device == device
        model.fit(x, y, epochs=2, batch_size=32, verbose=0)
        model.save(tmp_path / f"{device}.hdf5")
        results.append(model)
    np.testing.assert_allclose(results[0].predict(x), results[1].predict(x), rtol=1e-3, atol=1e-4)
    for device in ("cpu", "gpu"):
        loaded = nn.Model.load(tmp_path / f"{device}.hdf5")
        on_gpu = loaded.to_gpu().predict(cuda.to_gpu(x))
        assert cuda.get_array_module(on_gpu) is not np
        loaded.fit(x, y, epochs=1, verbose=0)
        loaded.to_cpu().fit(x, y, epochs=1, verbose=0)  # the optimizer's state moves along
        assert math.isfinite(loaded.evaluate(x, y)["loss"])


@pytest.mark.gpu
@pytest.mark.parametrize("message", ["x", "y"])
def test_bad_input_is_the_same_error_on_the_gpu(message):
    model = compiled().to_gpu()
    with pytest.raises(ValueError, match="must be finite" if message == "x" else r"in 0\.\.2"):
        if message == "x":
            model.fit(np.where(X > 1, np.nan, X), Y, verbose=0)
        else:
            model.train_step(cuda.to_gpu(X), cuda.to_gpu(Y + 1))


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(cuda.CUDA_AVAILABLE, reason="there is a GPU to force")
def test_force_cuda_without_a_gpu_warns_once_and_trains_on_the_cpu():
    code = (
        "import numpy as np, nn\n"
        "m = nn.Model([nn.Dense(2)], seed=0); m.compile('cce')\n"
        "print(m.fit(np.ones((4, 2)), np.array([0, 1, 0, 1]), verbose=0)['loss'], m.device)"
    )
    result = run(code, NN_FORCE_CUDA="1")
    assert result.returncode == 0
    assert result.stderr.count("RuntimeWarning") == 1
    assert "NN_FORCE_CUDA=1 asks for a GPU" in result.stderr
    assert "cpu" in result.stdout
    assert run(code, NN_FORCE_CUDA="0").stderr == ""


@pytest.mark.skipif(cuda.CUDA_AVAILABLE, reason="there is a GPU")
def test_to_gpu_without_a_gpu_is_an_error():
    model = mlp()
    with pytest.raises(RuntimeError, match=r"'to_gpu' needs a GPU"):
        model.to_gpu()
    assert model.device == "cpu"


def test_threads_are_set_before_numpy_loads_and_only_where_unset(monkeypatch):
    monkeypatch.delenv("NN_DISABLE_AUTO_THREADS", raising=False)
    code = "import nn, os; print(os.environ['OMP_NUM_THREADS'], os.environ['MKL_NUM_THREADS'])"
    environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    assert run(code, **environment).stdout.split() == ["1", "1"]
    clean = (
        "import os\n"
        "for k in [k for k in os.environ if k.endswith('_NUM_THREADS')]: del os.environ[k]\n"
    )
    cores = str(os.cpu_count())
    assert run(clean + code).stdout.split() == [cores, cores]
    off = clean + "import nn\nprint('OMP_NUM_THREADS' in os.environ)"
    assert run(off, NN_DISABLE_AUTO_THREADS="1").stdout.split() == ["False"]


# ------------------------------------------------------------------------ a Sequential


def test_a_model_is_a_sequential():
    model = nn.Model([nn.Dense(3, input_shape=(2,)), nn.ReLU()], seed=0)
    assert isinstance(model, nn.Sequential)
    assert (model.input_shape, model.output_shape) == ((None, 2), (None, 3))
    assert not isinstance(nn.Model([model]).layers[0], nn.Model)
    np.testing.assert_array_equal(model(X[:4, :2]), model.forward(X[:4, :2]))
    assert model.to_config() == model.as_layer().to_config()


def test_a_model_takes_from_the_seed_of_all_what_it_did_before():
    """The first draw of the root is the model's, unless it has a seed of its own."""
    nn.seed(5)
    first, layer = nn.Model([], seed=1), nn.Dense(2)
    nn.seed(5)
    same = nn.Dense(2)
    assert layer.rng.bit_generator.state == same.rng.bit_generator.state
    assert first.rng.bit_generator.seed_seq.entropy == 1


def test_freezing_a_whole_model():
    x, y = blobs(30)
    model = compiled()
    model.train_step(x, y)
    before = model.get_weights()
    model.trainable = False
    assert not any(layer.trainable for layer in model.layers)
    with pytest.warns(UserWarning, match=r"\[Model\] has nothing to train") as caught:
        model.fit(x, y, epochs=2, batch_size=10, verbose=0)
    model.train_step(x, y)  # it has been said
    assert model.get_params_and_grads() == []
    assert len(caught) == 1
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    model.trainable = True
    model.fit(x, y, verbose=0)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_layers_weights_and_counts_as_in_keras():
    block = nn.Residual([nn.Dense(4, name="inner")])
    model = nn.Model([nn.Dense(4, input_shape=(3,)), block, nn.BatchNorm1D()], seed=0)
    assert model.get_layer("inner") is block.layers[0]
    assert model.get_layer("1_Residual/0_Dense") is block.layers[0]
    assert model.get_layer(1) is model.get_layer(index=1) is block
    assert model.get_layer(index=-1) is model.layers[2]
    with pytest.raises(ValueError, match=r"\[Model\] 'name' .*'iner'.*'inner'"):
        model.get_layer("iner")
    with pytest.raises(ValueError, match=r"\[Model\] 'index' .* 3"):
        model.get_layer(3)
    assert model.count_params() == 3 * 4 + 4 + 4 * 4 + 4 + 4 + 4
    weights = model.get_weights()
    assert [w.shape for w in weights] == [a.shape for a in model.get_arrays().values()]
    model.set_weights([w + 1 for w in weights])
    for one, two in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one + 1, two)
    weights[0][...] = 7  # copies
    assert not (model.get_weights()[0] == 7).any()
    with pytest.raises(ValueError, match=r"\[Model\] 'weights' .*got 2"):
        model.set_weights(weights[:2])
    with pytest.raises(ValueError, match="wrong shape"):
        model.set_weights([w[:1] for w in weights])
    before = model.get_weights()
    large = [np.full(w.shape, 1.0) for w in weights[:-1]] + [np.full(weights[-1].shape, 1e300)]
    with pytest.raises(ValueError, match=r"numbers in \S+_running_var that are too large"):
        model.set_weights(large)
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)  # nothing is changed then


# ----------------------------------------------------------------------- the kept plan


def test_the_plan_is_found_again_when_the_layers_change():
    x, y = blobs(30)
    model = compiled()
    model.train_step(x, y)
    plan = model._plan()
    model.train_step(x, y)
    assert model._plan() is plan
    changes = [
        lambda: setattr(model.layers[0], "trainable", False),
        lambda: setattr(model.layers[0], "trainable", True),
        lambda: setattr(model.layers[0], "lr_factor", 0.5),
        lambda: model.add(nn.Dense(3)),
        lambda: model.pop(),
        lambda: model.layers[0].params.update(extra=np.zeros(2, "float32")),
    ]
    for change in changes:
        change()
        assert model._plan() is not plan
        plan = model._plan()
    assert model.trained_names == [
        "0_Dense_W",
        "0_Dense_b",
        "0_Dense_extra",
        "2_Dense_W",
        "2_Dense_b",
    ]


def test_a_regularizer_that_is_set_between_two_batches_counts_at_once():
    x, y = blobs(30)
    model = compiled()
    model.train_step(x, y)
    assert model.penalty() == 0
    model.layers[0].kernel_regularizer = "l2"
    assert model.penalty() > 0
    grad = model.get_params_and_grads()[0][1]
    assert not np.array_equal(grad, model.layers[0].grads["W"])


def test_a_loss_object_in_two_models_goes_with_the_activation_of_each():
    x, y = blobs(30)
    loss = nn.losses.CategoricalCrossentropy()
    logits = nn.Model([nn.Dense(3, input_shape=(2,))], seed=0)
    softmax = nn.Model([nn.Dense(3, input_shape=(2,)), nn.Softmax()], seed=0)
    for model in (logits, softmax):
        model.compile(loss, "sgd", lr=0.1, metrics=())
    for _ in range(3):
        expected = logits.train_step(x, y)["loss"]
        assert softmax.train_step(x, y)["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("last", [nn.Softmax, nn.Sigmoid])
def test_a_loss_object_in_two_models_that_are_called_by_hand(last):
    x, y = blobs(30)
    kind = nn.losses.CategoricalCrossentropy if last is nn.Softmax else nn.losses.BinaryCrossentropy
    loss, y = kind(), np.eye(3)[y]
    logits = nn.Model([nn.Dense(3, input_shape=(2,))], seed=0)
    ended = nn.Model([nn.Dense(3, input_shape=(2,)), last()], seed=0)
    for model in (logits, ended):
        model.compile(loss, "sgd", lr=0.1, metrics=())
    outputs = [model.forward(x, training=True) for model in (ended, logits)]
    values = [m.loss.forward(out, y) for m, out in zip((ended, logits), outputs, strict=True)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    logits.loss.forward(outputs[1][:7], y[:7])  # which the gradients of the other do not notice
    ended.backward(ended.loss.backward())
    twin = nn.Model([nn.Dense(3, input_shape=(2,)), last()], seed=0)
    twin.compile(kind(), "sgd", metrics=())
    twin.train_step(x, y)
    np.testing.assert_array_equal(ended.layers[0].grads["W"], twin.layers[0].grads["W"])


ENDINGS = {
    "logits": lambda: [nn.Dense(3)],
    "softmax": lambda: [nn.Dense(3), nn.Softmax()],
    "inner softmax": lambda: [nn.Dense(3, activation="softmax")],
    "weight norm": lambda: [nn.WeightNorm(nn.Dense(3, activation="softmax"))],
    "block": lambda: [nn.Sequential([nn.Dense(3), nn.Activation("softmax")])],
    "recompute": lambda: [nn.Recompute([nn.Dense(3), nn.Softmax()])],
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_evaluation_between_forward_and_backward_changes_no_gradient(ending):
    x, y = blobs(30)
    gradients = []
    for evaluates in (False, True):
        model = nn.Model([nn.Dense(4, input_shape=(2,)), *ENDINGS[ending]()], seed=0)
        model.compile("cce", "sgd")
        model.loss.forward(model.forward(x, training=True), y)
        if evaluates:
            model.evaluate(x[::-1] * 2, y)
            model.predict(x[:3])
        model.backward(model.loss.backward())
        gradients.append([grad.copy() for _, grad in model.get_params_and_grads()])
    for one, two in zip(*gradients, strict=True):
        np.testing.assert_array_equal(one, two)


class Doubled(nn.Model):
    """Computes twice what its layers do."""

    def forward(self, x, training=False):
        return 2 * super().forward(x, training)


class DoubledBothWays(Doubled):
    def backward(self, grad):
        return super().backward(2 * grad)


def as_doubled(cls, seed=0):
    model = cls([nn.Dense(3, input_shape=(2,)), nn.BatchNorm1D(), nn.Dense(3)], seed=seed)
    model.compile("cce", "sgd", lr=0.1)
    return model


def test_a_forward_of_a_subclass_is_called_in_predict_and_evaluate():
    x, y = blobs(30)
    plain, doubled = as_doubled(nn.Model), as_doubled(Doubled)
    np.testing.assert_allclose(doubled.predict(x), 2 * plain.predict(x), rtol=1e-3)
    expected = nn.losses.CategoricalCrossentropy().forward(2 * plain.predict(x), y)
    assert doubled.evaluate(x, y)["loss"] == pytest.approx(expected, rel=1e-5)
    plain.forward = lambda x, training=False: np.zeros((len(x), 3), "float32")
    assert not plain.predict(x).any()


def test_a_forward_of_a_subclass_is_trained_with_its_backward_or_refused(tmp_path):
    x, y = blobs(30)
    with pytest.raises(TypeError, match=r"\[Doubled\] .*forward.*backward\(grad\)"):
        as_doubled(Doubled).fit(x, y, verbose=0)
    with pytest.raises(TypeError, match=r"\[Doubled\] .*forward.*Container"):
        nn.Model([as_doubled(Doubled)])
    model, by_hand = as_doubled(DoubledBothWays), as_doubled(nn.Model)
    model.train_step(x, y)
    by_hand.loss.forward(2 * by_hand.forward(x, training=True), y)
    by_hand.backward(2 * by_hand.loss.backward())
    by_hand.optimizer.step(by_hand.get_params_and_grads())
    for one, two in zip(model.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)
    model.save(tmp_path / "model.npz")
    again = DoubledBothWays.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    with pytest.raises(ValueError, match="DoubledBothWays with a forward"):
        nn.Model.load(tmp_path / "model.npz")


@pytest.mark.parametrize("method", ["backward", "backward_params"])
def test_a_backward_of_a_subclass_is_called_in_training(method):
    called = []

    def noted(self, grad):
        called.append(method)
        return getattr(nn.Model, method)(self, grad)

    x, y = blobs(30)
    models = as_doubled(nn.Model), as_doubled(type("Noted", (nn.Model,), {method: noted}))
    for model in models:
        model.train_step(x, y)
    assert called == [method]
    for one, two in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, two)


def test_gradients_of_a_subclass_are_used_in_training():
    class Flipped(nn.Model):
        def get_params_and_grads(self):
            return [(param, -grad) for param, grad in super().get_params_and_grads()]

    x, y = blobs(30)
    models = as_doubled(nn.Model), as_doubled(Flipped)
    before = models[0].get_weights()[0]
    for model in models:
        model.train_step(x, y)
    change, flipped = (model.get_weights()[0] - before for model in models)
    np.testing.assert_allclose(flipped, -change, atol=1e-6)


def test_another_optimizer_gets_the_names_of_the_parameters():
    x, y = blobs(30)
    model = compiled()
    model.train_step(x, y)
    model.optimizer = nn.optim.Adam(0.01)
    model.train_step(x, y)
    assert model.optimizer.param_names == model.trained_names


# ------------------------------------------------------------------------ names of classes

FRUITS = ["apple", "kiwi", "plum"]


class Named:
    """A source of batches with names of classes."""

    def __init__(self, x, y, class_names):
        self.x, self.y, self.class_names = x, y, class_names

    def batches(self, batch_size):
        yield self.x, self.y


def named_classes():
    """A model that knows three classes by their names, and 30 samples of them."""
    y = np.arange(30) % 3
    x = np.eye(3, dtype="float32")[y]
    model = nn.Model([nn.Dense(3, use_bias=False, input_shape=(3,))], seed=0)
    model.compile("cce", "sgd", lr=0.01)
    model.fit(nn.Dataset(x, y, class_names=FRUITS), verbose=0)
    model.layers[0].params["W"][...] = 9 * np.eye(3)
    return model, x, y


@pytest.mark.parametrize("kind", [nn.Dataset, Named])
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("names", [["plum", "apple", "kiwi"], ["apple", "plum"]])
def test_labels_are_mapped_by_the_names_of_classes(kind, one_hot, names):
    model, x, y = named_classes()
    keep = np.array([FRUITS[label] in names for label in y])
    x, own = x[keep], np.array([names.index(FRUITS[label]) for label in y[keep]])
    data = kind(x, np.eye(len(names))[own] if one_hot else own, class_names=names)
    assert model.evaluate(data)["acc"] == 1
    history = model.fit(x, y[keep], val_data=data, verbose=0)
    assert history["val_acc"] == [1]
    assert model.fit(data, verbose=0)["acc"] == [1]  # also to train on
    assert model.class_names == FRUITS
    assert nn.Ensemble([model]).evaluate(data)["acc"] == 1
    train = nn.Dataset(x, y[keep], class_names=FRUITS)
    fresh = nn.Model([nn.Dense(3, input_shape=(3,))], seed=0)
    fresh.compile("cce", "adam", lr=0.1)
    assert fresh.fit(train, val_data=data, epochs=30, verbose=0)["val_acc"][-1] == 1
    for use in (model.predict, model.predict_classes, nn.Ensemble([model]).predict):
        with pytest.raises(ValueError, match=rf"'x' .*{FRUITS[1]}.*got .*{names[0]}.*x\.x"):
            use(data)
    if kind is nn.Dataset:
        for one in (model, nn.Ensemble([model])):
            found = one.predict_classes(data, names=True)
            assert found.tolist() == [FRUITS[label] for label in y[keep]]


@pytest.mark.parametrize("kind", [nn.Dataset, Named])
def test_names_that_the_model_does_not_know_are_refused(kind):
    model, x, y = named_classes()
    data = kind(x, y, class_names=["apple", "kiwi", "plumb"])
    for use in (
        lambda: model.evaluate(data),
        lambda: model.fit(x, y, val_data=data, verbose=0),
        lambda: model.predict(data),
        lambda: nn.Ensemble([model]).evaluate(data),
    ):
        with pytest.raises(ValueError, match=r"class names .*'plum'\].*got .*'plumb'"):
            use()
    model.fit(data, verbose=0)  # trained on they become the model's
    assert model.class_names == ["apple", "kiwi", "plumb"]


def test_a_training_is_not_resumed_with_classes_in_another_order(tmp_path):
    model, x, y = named_classes()
    model.save(tmp_path / "model.npz")
    fresh = nn.Model([nn.Dense(3, use_bias=False, input_shape=(3,))], seed=0)
    fresh.compile("cce", "sgd", lr=0.01)
    data = nn.Dataset(x, y, class_names=FRUITS[::-1])
    with pytest.raises(ValueError, match="class names"):
        fresh.fit(data, epochs=2, resume=tmp_path / "model.npz", verbose=0)


class Folder:
    """Batches with names of classes under the attribute of another library."""

    def __init__(self, x, y, **names):
        self.batches_of = [(x, y)]
        vars(self).update(names)

    def __iter__(self):
        return iter(self.batches_of)


@pytest.mark.parametrize(
    "names_as",
    [
        lambda names: {"classes": names},
        lambda names: {"class_indices": dict(zip(names, range(3), strict=True))},
        lambda names: {
            "classes": np.arange(3),
            "class_indices": {n: names.index(n) for n in names},
        },
        lambda names: {"dataset": Folder(0, 0, dataset=Folder(0, 0, classes=tuple(names)))},
    ],
)
def test_names_of_classes_by_the_attributes_of_pytorch_and_keras(names_as):
    model, x, y = named_classes()
    names = FRUITS[1:] + FRUITS[:1]
    own = np.array([names.index(FRUITS[label]) for label in y])
    data = Folder(x, own, **names_as(names))
    assert model.evaluate(data)["acc"] == 1
    assert model.fit(x, y, val_data=data, verbose=0)["val_acc"] == [1]
    assert model.fit(data, verbose=0)["acc"] == [1]
    with pytest.raises(ValueError, match=r"'x' must have the class names"):
        model.predict(Folder(x, own, **names_as(names)))


def test_equal_names_of_classes_are_matched_only_in_their_order():
    model, x, y = named_classes()
    model.class_names = ["crane", "lathe", "crane"]
    assert model.evaluate(nn.Dataset(x, y, class_names=model.class_names))["acc"] == 1
    for names in (["lathe", "crane", "crane"], ["crane", "lathe"]):
        with pytest.raises(ValueError, match=r"'data' must have the class names .*'lathe'"):
            model.evaluate(nn.Dataset(x, y % len(names), class_names=names))


def test_names_that_the_model_cannot_keep_are_named():
    model, x, y = named_classes()
    model.class_names = None
    data = nn.Dataset(x, y % 2, class_names=["sweet", "sour"])
    with pytest.warns(UserWarning, match=r"name for each of 3 classes to be .*got .*'sour'"):
        model.fit(data, verbose=0)


def test_weights_of_a_file_of_save_bring_class_names_and_range(tmp_path):
    model, x, y = named_classes()
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.npz")
    fresh = nn.Model([nn.Dense(3, use_bias=False, input_shape=(3,))])
    fresh.load_weights(tmp_path / "model.npz")
    assert (fresh.class_names, fresh.input_range) == (FRUITS, model.input_range)


def test_weights_before_they_are_there_and_weights_that_are_no_numbers():
    fresh = nn.Model([nn.Dense(3)])
    for call in (fresh.get_weights, fresh.count_params, lambda: fresh.set_weights([np.eye(3)])):
        with pytest.raises(RuntimeError, match=r"\[Model\] has no weights before it is built"):
            call()
    assert nn.Model().count_params() == 0
    fresh.build((None, 3))
    for wrong in (np.eye(3) * 1j, np.full((3, 3), "a"), np.ma.masked_array(np.eye(3), np.eye(3))):
        with pytest.raises((TypeError, ValueError), match=r"\[Model\] 'weights' must hold"):
            fresh.set_weights([wrong, np.zeros(3)])


def test_a_name_of_two_layers_names_none_of_them():
    model = nn.Model([nn.Dense(3, input_shape=(3,), name="a"), nn.Dense(3, name="a")])
    with pytest.raises(ValueError, match=r"'name' must be the name of one layer.*0_Dense, 1_Dense"):
        model.get_layer("a")


def test_byte_images_as_targets_of_a_single_step():
    images = np.full((2, 1, 4, 4), 200, np.uint8)
    model = nn.Model([nn.Conv2D(1, input_shape=(1, 4, 4))])
    model.compile("mse")
    with pytest.raises(ValueError, match=r"'y' must be scaled as images of bytes"):
        model.train_step(images, images)
