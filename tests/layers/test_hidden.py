"""Layers in attributes of a custom layer or model, which nothing trains or saves."""

import numpy as np
import pytest

import nn
from nn.layers.containers import Container

x = np.random.default_rng(0).normal(size=(20, 3))
y = x[:, :1]


class Wrap(nn.Layer):
    def __init__(self, inner, keep=lambda layer: layer, **common):
        super().__init__(**common)
        self.inner, self.kept = inner, keep(inner)

    def forward(self, x, training=False):
        return self.inner.forward(x, training)

    def backward(self, grad):
        return self.inner.backward(grad)

    def to_config(self):
        return {"class": "Wrap", "config": {}}


def compiled(layers, make=nn.Model):
    model = make(layers, seed=0)
    model.compile("mse", "sgd", lr=0.1)
    return model


KEPT = [lambda layer: layer, lambda layer: [layer], lambda layer: {"a": layer}]


@pytest.mark.parametrize("keep", KEPT)
@pytest.mark.parametrize("inner", [nn.Dense, lambda n: nn.Sequential([nn.Dense(n)])])
@pytest.mark.parametrize("around", [lambda w: [w, nn.Dense(1)], lambda w: [w], nn.Residual])
def test_a_layer_that_would_not_be_trained_is_refused(keep, inner, around):
    layers = around(Wrap(inner(3), keep))
    model = compiled([layers] if isinstance(layers, nn.Layer) else layers)
    rule = r"\[Wrap\] must not hold a layer .* got (Dense|Sequential) in 'inner' of 0_"
    with pytest.raises(ValueError, match=rule):
        model.fit(x, x if len(model.layers) == 1 else y, verbose=0)


@pytest.mark.parametrize("use", ["train_step", "save", "save_weights"])
def test_it_is_refused_in_a_loop_and_in_a_file(use, tmp_path):
    model = compiled([Wrap(nn.Dense(4)), nn.Dense(1)])
    model.predict(x)
    arguments = {"train_step": (x, y)}.get(use, (tmp_path / "model.hdf5",))
    with pytest.raises(ValueError, match=r"\[Wrap\] must not hold a layer"):
        getattr(model, use)(*arguments)
    assert not list(tmp_path.iterdir())


def test_the_gradient_check_refuses_it():
    with pytest.raises(ValueError, match=r"\[Wrap\] must not hold a layer"):
        nn.check_gradients(Wrap(nn.Dense(4)), x)


def test_in_a_model_of_the_users_too():
    class Net(nn.Model):
        def __init__(self, layers, **arguments):
            super().__init__(layers, **arguments)
            self.first = nn.Dense(3)

        def forward(self, x, training=False):
            return super().forward(self.first.forward(x, training), training)

        def backward(self, grad):
            return self.first.backward(super().backward(grad))

    with pytest.raises(ValueError, match=r"\[Net\] must not hold .* got Dense in 'first', which"):
        compiled([nn.Dense(1)], Net).fit(x, y, verbose=0)


def test_what_may_be_meant_is_allowed(tmp_path):
    frozen = nn.Dense(4)
    frozen.trainable = False
    shared = nn.Dense(4)

    class Reads(nn.Layer):
        def __init__(self, layer):
            super().__init__()
            self.other = layer

        def forward(self, x, training=False):
            return x

        def backward(self, grad):
            return grad

    class Pair(nn.Model):
        """Two networks with optimizers of their own, as in adversarial training."""

        def __init__(self, layers, **arguments):
            super().__init__(layers, **arguments)
            self.other = compiled([nn.Dense(2, input_shape=(3,))])

    for layers in ([Wrap(frozen)], [Wrap(nn.ReLU())], [shared, Reads(shared)]):
        compiled([*layers, nn.Dense(1)]).fit(x, y, verbose=0)
    compiled([nn.Dense(1)], Pair).fit(x, y, verbose=0)


def test_a_container_trains_and_saves_them(tmp_path):
    @nn.register
    class Kept(Container):
        def __init__(self, units, **common):
            self.inner = nn.Dense(units)
            super().__init__([self.inner], **common)
            self.units = units

        def forward(self, x, training=False):
            return self.forward_through(self.layers, x, training)

        def backward(self, grad):
            return self.backward_through(self.layers, grad)

        def to_config(self):
            return {"class": "Kept", "config": {"units": self.units}}

    models = [compiled([layer, nn.Dense(1)]) for layer in (Kept(4), nn.Sequential([nn.Dense(4)]))]
    histories = [model.fit(x, y, epochs=2, verbose=0) for model in models]
    assert histories[0]["loss"] == histories[1]["loss"]
    models[0].save(tmp_path / "kept.hdf5")
    again = nn.Model.load(tmp_path / "kept.hdf5")
    assert np.array_equal(again.predict(x), models[0].predict(x))
    nn.layers.NAME2LAYER.pop("Kept")
