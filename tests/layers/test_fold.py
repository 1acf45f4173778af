"""Inference: batch norm within weights, nothing kept, the same results as the forward pass."""

import numpy as np
import pytest

import nn
from nn.cli import predict
from nn.layers import fold


def settled(model, shape, rng):
    """Give batch norm something to do: running averages and scales that differ by channel."""
    model.build((None, *shape))
    for layer in model.layers:
        for name, array in (*layer.params.items(), *layer.buffers.items()):
            drawn = rng.normal(size=array.shape)
            array[...] = np.abs(drawn) + 0.5 if name == "running_var" else drawn
    return model


NETWORKS = {
    "convolution": ([nn.Conv2D, (4, 3)], {"stride": 2}, (3, 9, 8), nn.BatchNorm2D),
    "groups": ([nn.Conv2D, (6, 3)], {"groups": 3}, (3, 6, 6), nn.BatchNorm),
    "no bias": ([nn.Conv2D, (4, 3)], {"use_bias": False}, (3, 9, 8), nn.BatchNorm2D),
    "depthwise": ([nn.DepthwiseConv2D, (3,)], {"depth_multiplier": 2}, (3, 6, 6), nn.BatchNorm2D),
    "transposed": ([nn.Conv2DTranspose, (4, 3)], {"stride": 2}, (3, 5, 4), nn.BatchNorm2D),
    "dense": ([nn.Dense, (5,)], {}, (7,), nn.BatchNorm1D),
    "dense without bias": ([nn.Dense, (5,)], {"use_bias": False}, (7,), nn.BatchNorm),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_batch_norm_goes_into_the_weights(name, rng, monkeypatch):
    (cls, arguments), options, shape, norm = NETWORKS[name]
    layers = [cls(*arguments, **options), norm(), nn.ReLU(), nn.Flatten(), nn.Dense(2)]
    model = settled(nn.Model(layers, dtype="float64"), shape, rng)
    x = rng.normal(size=(12, *shape))
    expected = model.forward(x)
    before = {key: array.copy() for key, array in model.get_arrays().items()}

    def not_called(*_, **__):
        raise AssertionError("batch norm ran as a layer of its own")

    monkeypatch.setattr(type(model.layers[1]), "forward", not_called)
    np.testing.assert_allclose(fold.run(model.layers, x)[0], expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model.predict(x, batch_size=6), expected, rtol=1e-10, atol=1e-12)
    for key, array in model.get_arrays().items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("samples", [1, 64])
def test_weights_that_are_larger_than_the_batch_are_not_scaled(samples, rng, monkeypatch):
    layers = [nn.Conv2D(32), nn.BatchNorm2D(), nn.ReLU(), nn.Flatten(), nn.Dense(2)]
    model = settled(nn.Model(layers, dtype="float64"), (16, 6, 6), rng)
    x, scaled = rng.normal(size=(samples, 16, 6, 6)), []
    expected, scale = model.forward(x), nn.Conv2D.scaled
    monkeypatch.setattr(nn.Conv2D, "scaled", lambda *given: scaled.append(1) or scale(*given))
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-10, atol=1e-12)
    assert len(scaled) == (samples == 64)


class Doubled(nn.BatchNorm2D):
    def forward(self, x, training=False):
        return 2 * super().forward(x, training)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.BatchNorm2D(), nn.Conv2D(2)],
        [nn.Conv2D(2, activation="relu"), nn.BatchNorm2D()],
        [nn.Conv2D(2), nn.ReLU(), nn.BatchNorm2D()],
        [nn.Conv2D(2), Doubled(), nn.ReLU()],
        [nn.Conv2D(2), nn.BatchNorm2D(), nn.BatchNorm2D(), nn.ReLU()],
        [nn.Conv2D(2), nn.BatchNorm2D(), nn.Conv2D(3), nn.BatchNorm2D(), nn.ReLU()],
        [nn.BatchNorm2D()],
    ],
)
def test_what_does_not_fit_runs_as_it_is(layers, rng):
    model = settled(nn.Model(layers, dtype="float64"), (3, 5, 5), rng)
    x = rng.normal(size=(4, 3, 5, 5))
    np.testing.assert_allclose(model.predict(x), model.forward(x), rtol=1e-10, atol=1e-12)


def test_nothing_is_kept_for_backward(rng):
    model = nn.Model([nn.Conv2D(2, input_shape=(1, 4, 4)), nn.BatchNorm2D(), nn.Flatten()])
    model.add(nn.Dense(2))
    model.predict(rng.random((3, 1, 4, 4)))
    for layer in model.layers:
        with pytest.raises(RuntimeError, match="before forward"):
            layer.backward(np.zeros((3, 2)))


OUTPUTS = np.array([[0.0, np.log(3.0)], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("softmax", [[0.25, 0.75], [0.5, 0.5]]),
        ("sigmoid", [[0.5, 0.75], [0.5, 0.5]]),
        (None, OUTPUTS),
    ],
)
def test_logits_become_probabilities(activation, expected):
    np.testing.assert_allclose(fold.probabilities(OUTPUTS, activation), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("last", "loss", "expected"),
    [
        ([], "cce", "softmax"),
        ([], "bce", "sigmoid"),
        ([nn.Softmax()], "cce", None),
        ([nn.Sigmoid()], "bce", None),
        ([nn.Softmax()], "mse", None),
        ([], "mse", None),
        ([], "hinge", None),
    ],
)
def test_the_activation_that_is_missing_is_the_losss(last, loss, expected):
    model = nn.Model([nn.Dense(3, input_shape=(2,)), *last])
    model.compile(loss)
    assert fold.missing_activation(model.layers, model.loss) == expected
    assert fold.missing_activation(model.layers, None) is None


@pytest.mark.parametrize(("last", "loss"), [([], "cce"), ([], "bce"), ([nn.Softmax()], "cce")])
def test_an_ensemble_and_the_command_say_the_same_probabilities(last, loss, rng):
    model = nn.Model([nn.Dense(3, input_shape=(2,)), *last], seed=0)
    model.compile(loss)
    x = rng.normal(size=(5, 2))
    kind, said = predict.probabilities(model, model.predict(x))
    assert kind == "probability"
    np.testing.assert_allclose(nn.Ensemble([model]).predict(x), said, rtol=1e-6)


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_a_forward_replaced_in_an_object_is_called_in_predict(index):
    layers = [nn.Dense(3), nn.BatchNorm1D(), nn.Residual([nn.Dense(3)]), nn.Sequential([nn.ReLU()])]
    model = nn.Model(layers, seed=0)
    model.build((None, 4))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    layer = layers[index]
    own = layer.forward
    layer.forward = lambda x, training=False: own(x, training) + 3
    np.testing.assert_allclose(model.predict(x), model.forward(x), rtol=1e-5, atol=1e-6)
    assert abs(model.predict(x)).max() > 2


def test_activations_overwrite_new_arrays_alone(rng, monkeypatch):
    overwritten = []
    overwrite = nn.ReLU.overwrite

    def spy(self, x):
        overwritten.append(self.name)
        return overwrite(self, x)

    monkeypatch.setattr(nn.layers.activations.FormulaLayer, "overwrite", spy)

    class Keeping(nn.Conv2D):
        def forward(self, x, training=False):
            self.output = super().forward(x, training)
            return self.output

    keeping = Keeping(4, activation=nn.Tanh(name="of a subclass"))
    model = nn.Model(
        [
            nn.ReLU(name="of the input", input_shape=(2, 6, 6)),
            nn.Conv2D(4, activation=nn.ELU(name="inside")),
            nn.GELU(name="after another"),
            nn.Conv2D(4),
            nn.ReLU(name="after a convolution"),
            nn.Residual([nn.ReLU(name="of a path"), nn.Conv2D(4), nn.Tanh(name="in a path")]),
            nn.Tanh(name="after a sum"),
            nn.BatchNorm2D(),
            nn.SiLU(name="after a norm"),
            keeping,
            nn.ReLU(name="after a layer that keeps its output"),
            nn.Flatten(),
            nn.Dense(3),
            nn.Tanh(name="last"),
        ],
        seed=0,
    )
    x = rng.normal(size=(5, 2, 6, 6)).astype(np.float32)
    before = x.copy()
    expected = model.forward(x)
    kept = keeping.output.copy()
    found = model.predict(x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(keeping.output, kept)
    np.testing.assert_array_equal(found, expected)
    names = ["inside", "after a convolution", "in a path", "after a norm", "last"]
    assert overwritten == names
    model.compile("mse")
    overwritten.clear()
    figure = model.evaluate(x, np.ones((5, 3)))["loss"]
    assert overwritten == names
    assert figure == pytest.approx(np.mean((expected - 1) ** 2))
