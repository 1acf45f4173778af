"""Features that meet: averaged weights and new heads, frozen layers and saved state, and so on."""

import numpy as np
import pytest

import nn
from nn import callbacks as cb

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype("float32")
Y = (X[:, 0] > 0).astype(int)


def make(seed=0, optimizer="adam", **settings):
    model = nn.Model([nn.Dense(8, input_shape=(4,)), nn.ReLU(), nn.Dense(2)], seed=seed)
    model.compile("cce", optimizer, **settings)
    return model


class Stop(cb.Callback):
    def on_train_batch_end(self, batch, logs):
        if batch == 1:
            raise KeyboardInterrupt


def test_a_new_head_on_averaged_weights_is_not_replaced_by_the_old_one(tmp_path):
    path = tmp_path / "model.hdf5"
    checkpoint = cb.ModelCheckpoint(path, save_best_only=False, save_state=True)
    settings = {"use_averages": True, "callbacks": [checkpoint], "verbose": 0}
    make(ema_decay=0.9).fit(X, Y, epochs=3, **settings)
    model = nn.Model.load(path)
    model.pop()
    model.add(nn.Dense(2))
    head = model.layers[-1].params["W"].copy()
    model.compile("cce", "sgd", lr=1e-9)
    model.fit(X, Y, verbose=0)
    np.testing.assert_allclose(model.layers[-1].params["W"], head, atol=1e-6)

    model = nn.Model.load(path)
    model.pop()
    model.save(path)
    assert len(nn.Model.load(path).layers) == 2


def test_a_model_of_averages_goes_into_another_with_its_own_weights():
    model = make(ema_decay=0.5)
    model.fit(X, Y, epochs=2, verbose=0)
    own = model.layers[0].params["W"].copy()
    model.use_averaged_weights()
    outer = nn.Model([model, nn.Dense(3)])
    np.testing.assert_array_equal(outer.layers[0].layers[0].params["W"], own)


def test_a_head_is_taken_off_a_frozen_base():
    model = make()
    model.fit(X, Y, verbose=0)
    model.layers[0].trainable = False
    model.fit(X, Y, verbose=0)
    model.pop()
    model.add(nn.Dense(3))
    assert model.output_shape == (None, 3)
    model.fit(X, Y, verbose=0)


def test_layers_frozen_when_saved_may_be_trained_when_resumed(tmp_path):
    path = tmp_path / "model.hdf5"
    model = make()
    model.fit(X, Y, verbose=0)
    model.save(path)
    model.layers[0].trainable = False
    model.fit(X, Y, verbose=0)
    model.layers[0].trainable = True
    model.fit(X, Y, epochs=2, resume=path, verbose=0)
    assert len(model.history["loss"]) == 2


def test_gradients_that_wait_are_not_applied_to_another_layer(tmp_path):
    model = make(gradient_accumulation_steps=2, optimizer="sgd", lr=0.1)
    model.train_step(X[:8], Y[:8])
    model.pop()
    model.add(nn.Dense(2))
    assert model.accumulator.batches == 0

    model = make(gradient_accumulation_steps=4)
    model.fit(X, Y, batch_size=8, callbacks=[Stop()], verbose=0)
    model.layers[0].trainable = False
    model.save(tmp_path / "model.hdf5")  # without them
    assert nn.Model.load(tmp_path / "model.hdf5").accumulator.batches == 0
    with pytest.raises(
        RuntimeError, match="2 parameters are trained, and the gradients of 4 are added up"
    ):
        model.finish_step()
    assert model.accumulator.batches == 2


def test_gradients_that_wait_are_not_applied_to_another_layer_of_the_same_shape(tmp_path):
    model = nn.Model([nn.Dense(3, input_shape=(3,)), nn.Dense(3), nn.Dense(3)], seed=0)
    model.compile("mse", "sgd", gradient_accumulation_steps=2)
    x = np.random.default_rng(0).normal(size=(4, 3))
    model.layers[2].trainable = False
    model.train_step(x, x)
    model.layers[1].trainable, model.layers[2].trainable = False, True
    before = model.get_weights()
    with pytest.raises(RuntimeError, match="gradient_accumulation_steps"):
        model.train_step(x, x)
    with pytest.raises(RuntimeError, match="the gradients of 4 others are added up"):
        model.finish_step()
    model.save(tmp_path / "model.hdf5")  # without them
    assert nn.Model.load(tmp_path / "model.hdf5").accumulator.batches == 0
    assert all(map(np.array_equal, before, model.get_weights()))
    model.layers[1].trainable, model.layers[2].trainable = True, False
    model.train_step(x, x)
    assert model.optimizer.iterations == 1


def test_the_last_step_is_taken_also_with_averaged_weights():
    model, alike = (make(ema_decay=0.9, gradient_accumulation_steps=2) for _ in range(2))
    for one in (model, alike):
        one.fit(X, Y, verbose=0)
        one.train_step(X[:8], Y[:8])
    with model.averaged_weights():
        model.finish_step()
    alike.finish_step()
    for name, array in alike.get_arrays().items():
        np.testing.assert_array_equal(model.get_arrays()[name], array)


def test_bytes_in_a_source_of_batches_are_not_scaled_twice_to_predict():
    images = RNG.integers(0, 256, (6, 1, 2, 2)).astype(np.uint8)
    layers = [nn.Rescale(1 / 255, input_shape=(1, 2, 2)), nn.Flatten(), nn.Dense(2)]
    scaled = nn.Model(layers, seed=0)
    for source in ([images], (batch for batch in [images])):
        with pytest.raises(ValueError, match="would scale them again"):
            scaled.predict(source)
    plain = nn.Model([nn.Flatten(input_shape=(1, 2, 2)), nn.Dense(2)], seed=0)
    with pytest.raises(ValueError, match="'models' must all have the same input_scale"):
        nn.Ensemble([plain, scaled], activation=None)


def test_names_that_do_not_fit_lock_no_model_in_its_file(tmp_path):
    model = make()
    model.class_names = ["a", "b"]
    model.add(nn.Dense(5))
    model.save(tmp_path / "model.hdf5")
    assert nn.Model.load(tmp_path / "model.hdf5").class_names is None


def test_a_resumed_model_has_the_names_of_the_file(tmp_path):
    model = make()
    model.class_names = ["a", "b"]
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.hdf5")
    model = make()
    model.fit(X, Y, epochs=2, resume=tmp_path / "model.hdf5", verbose=0)
    assert model.class_names == ["a", "b"]


def test_standardize_is_measured_on_arrays_cut_into_steps():
    model = nn.Model([nn.Standardize(input_shape=(4,)), nn.Dense(2)], seed=0)
    model.compile("cce")
    model.fit(X, Y, batch_size=8, steps_per_epoch=2, verbose=0)
    np.testing.assert_allclose(model.layers[0].buffers["mean"], X.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("timer_first", [True, False])
def test_figures_of_callbacks_stay_with_their_epoch_after_a_resume(tmp_path, timer_first):
    path = tmp_path / "model.hdf5"

    def callbacks():
        chosen = [cb.Timer(), cb.ModelCheckpoint(path, save_best_only=False, save_state=True)]
        return chosen if timer_first else chosen[::-1]

    make().fit(X, Y, epochs=2, callbacks=callbacks(), verbose=0)
    history = make().fit(X, Y, epochs=4, callbacks=callbacks(), resume=path, verbose=0)
    assert {len(values) for values in history.values()} == {4}
    assert not np.isnan(history["seconds"]).any()  # checkpoints are written after all others


def test_trace_shows_no_gradient_of_an_earlier_batch():
    model = make()
    model.fit(X, Y, verbose=0)
    model.layers[0].trainable = False
    rows = {row.path: row.weight_grad_norm for row in nn.trace.measure(model, X, Y)}
    assert rows["0_Dense"] is None
    assert rows["2_Dense"] > 0
