"""Other libraries' names: every entry of the tables means what it says, or names ours."""

import inspect
import re

import numpy as np
import pytest

import nn
from nn import callbacks, compat, layers, losses, optim

#: A value of each argument that has another name, unlike its default.
VALUES = {
    "beta1": 0.5,
    "beta2": 0.5,
    "dilation": 2,
    "eps": 1e-3,
    "filters": 5,
    "groups": 2,
    "lr": 0.125,
    "input_dim": 7,
    "kernel_initializer": "zeros",
    "lr_min": 0.25,
    "merge": "sum",
    "negative_slope": 0.125,
    "output_dim": 3,
    "path": "a.gif",
    "pool_size": 3,
    "rate": 0.25,
    "rho": 0.5,
    "size": 3,
    "stddev": 0.5,
    "stride": 2,
    "units": 5,
    "use_bias": False,
    "value": 2.0,
}
REQUIRED = {
    "layer": nn.LSTM(2),
    "filters": 4,
    "kernel_size": 3,
    "num_heads": 2,
    "key_dim": 2,
    "max_length": 9,
    "units": 4,
    "input_dim": 5,
    "output_dim": 2,
    "stddev": 1.0,
    "path": "b.gif",
}

CLASSES = {
    cls.__name__: cls
    for group in (
        layers.NAME2LAYER.values(),
        optim.NAME2OPTIMIZER.values(),
        losses.NAME2LOSS.values(),
        (getattr(callbacks, name) for name in callbacks.__all__ if name != "History"),
    )
    for cls in group
}


def entries():
    """Yield (class, alias, name) for each class and each other name of its arguments."""
    for cls in CLASSES.values():
        for alias, name in compat.aliases_of(inspect.signature(cls).parameters).items():
            if name in VALUES:
                yield pytest.param(cls, alias, name, id=f"{cls.__name__}({alias}=)")


@pytest.mark.parametrize(("cls", "alias", "name"), list(entries()))
def test_another_name_means_the_same(cls, alias, name):
    parameters = inspect.signature(cls).parameters
    needed = {key: REQUIRED[key] for key in parameters if key in REQUIRED and key != name}
    one, two = cls(**needed, **{name: VALUES[name]}), cls(**needed, **{alias: VALUES[name]})
    assert str(getattr(one, name)) == str(getattr(two, name))
    if hasattr(one, "to_config"):
        assert one.to_config() == two.to_config()
    with pytest.raises(ValueError, match=rf"\[{cls.__name__}\] '{alias}' is another name of"):
        cls(**needed, **{name: VALUES[name], alias: VALUES[name]})


def test_every_entry_of_the_table_belongs_to_a_class_or_a_method():
    of_methods = {"data", "clip_norm", "clip_value"}
    taken = {
        (alias, name)
        for cls in CLASSES.values()
        for alias, name in compat.aliases_of(inspect.signature(cls).parameters).items()
    }
    table = {(alias, name) for alias, names in compat.ARGUMENTS.items() for name in names}
    assert {pair for pair in table - taken if pair[1] not in of_methods} == set()
    assert {name for _, name in taken} - {"data"} <= set(VALUES) | of_methods


@pytest.mark.parametrize("name", list(compat.ELSEWHERE))
def test_an_argument_that_nn_does_not_have_names_the_way(name):
    layer = nn.LSTM if "bias" in name else nn.Conv2D  # which has a bias that may be left out
    for cls, first in ((layer, [4]), (losses.Huber, []), (callbacks.EarlyStopping, [])):
        with pytest.raises(TypeError, match=rf"^\[{cls.__name__}\] '{name}' is |bounds") as raised:
            cls(*first, **{name: 1})
        assert compat.ELSEWHERE[name] in str(raised.value)
    if name not in ("weight_decay", "clipvalue", "global_clipnorm"):  # compile has these
        with pytest.raises(ValueError, match=rf"^\[(Adam|Model.compile)\] '{name}' "):
            nn.Model([nn.Dense(1)]).compile("mse", "adam", **{name: 1})


@pytest.mark.parametrize(
    "name", ("use_bias", "dropout", "recurrent_dropout", "stateful", "recurrent_activation")
)
def test_recurrent_arguments_of_keras_name_the_way(name):
    with pytest.raises(TypeError, match=rf"^\[LSTM\] '{name}' is (fixed|a layer|not there)"):
        nn.LSTM(4, **{name: False})


def test_every_class_names_its_arguments_if_one_is_unknown():
    for name, cls in CLASSES.items():
        if name in ("LambdaCallback", "ProgressBar"):
            continue
        parameters = inspect.signature(cls).parameters
        needed = {key: REQUIRED[key] for key in parameters if key in REQUIRED}
        if name in ("Residual", "Recompute", "Sequential", "SkipConcat"):
            needed = {"layers": [nn.ReLU()]}
        if name in ("WeightNorm", "Standardize", "Rescale", "Reshape", "Activation", "Callback"):
            continue  # need more than a number; they share the constructor of the others
        if name == "LearningRateScheduler":
            needed = {"schedule": lambda epoch: 0.1}
        if not parameters and issubclass(cls, callbacks.Callback):
            continue
        with pytest.raises((TypeError, ValueError), match=rf"^\[{name}\] '.*'rte'|'rte'"):
            cls(**needed, rte=0.5)


# ------------------------------------------------------------------------- methods of Model


def fitted():
    x, y = np.zeros((8, 2), "float32"), np.zeros((8, 1), "float32")
    model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
    model.compile("mse", "sgd", learning_rate=0.1, global_clipnorm=2.0)
    return model, x, y


def test_methods_take_the_names_of_keras(capsys):
    model, x, y = fitted()
    assert (model.optimizer.lr, model.optimizer.clip_norm) == (0.1, 2.0)
    model.fit(x=x, y=y, verbose=0)
    assert model.evaluate(x=x, y=y, verbose=0) == model.evaluate(x, y)
    assert model.evaluate(x, y, verbose=1) == model.evaluate(x, y)
    np.testing.assert_array_equal(model.predict(x=x, verbose=0), model.predict(x))
    np.testing.assert_array_equal(model.predict_classes(x, verbose=0), model.predict_classes(x))
    assert capsys.readouterr().out == ""


def test_files_under_the_names_of_keras(tmp_path):
    model, x, _ = fitted()
    model.save(filepath=tmp_path / "m.npz")
    model.save_weights(filepath=tmp_path / "w.npz")
    model.load_weights(filepath=tmp_path / "w.npz")
    loaded = nn.Model.load(filepath=tmp_path / "m.npz")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    with pytest.raises(TypeError, match=r"\[Model.load\] 'argument' .*'path'"):
        nn.Model.load(pth=tmp_path / "m.npz")


def test_methods_name_their_arguments_if_one_is_unknown():
    model, x, y = fitted()
    for call, owner in (
        (lambda: model.fit(x, y, epoch=3), r"\[Model.fit\] 'argument' .*'epochs'"),
        (lambda: model.fit(x, y, workers=3), r"\[Model.fit\] 'workers' .*num_threads"),
        (lambda: model.evaluate(x, y, batchsize=3), r"\[Model.evaluate\] .*'batch_size'"),
        (lambda: model.evaluate(x, y, return_dict=True), r"\[Model.evaluate\] 'return_dict'"),
        (lambda: model.predict(x, batchsize=3), r"\[Model.predict\] .*'batch_size'"),
    ):
        with pytest.raises(TypeError, match=owner):
            call()
    with pytest.raises(ValueError, match=r"\[Model.evaluate\] 'x' is another name of 'data'"):
        model.evaluate(x, y, x=x)


def test_the_order_of_keras_arguments_is_never_taken_for_ours():
    model, x, y = fitted()
    for call, argument in (
        (lambda: model.predict(x, 32, 1), "'steps'"),  # verbose in Keras
        (lambda: model.predict_classes(x, 32, 1), "'names'"),
        (lambda: model.evaluate(x, y, 32, 0), "'sample_weight'"),
        (lambda: optim.AdamW(1e-3, 0.01), "'beta1'"),  # weight_decay in Keras
        (lambda: optim.RMSprop(1e-3, 0.9, 0.9), "'eps'"),  # momentum
        (lambda: optim.Adagrad(1e-3, 0.1), "'eps'"),  # initial_accumulator_value
        (lambda: nn.LayerNorm(64), "'eps'"),  # normalized_shape in PyTorch, axis in Keras
        (lambda: nn.GroupNorm(8, 64), "'eps'"),  # num_channels
        (lambda: callbacks.EarlyStopping("val_loss", 0, 5), "'patience'"),
        (lambda: callbacks.ReduceLROnPlateau("val_loss", 0.1, 5), "'patience'"),
    ):
        with pytest.raises(TypeError, match=rf"{argument}.* must be passed by name, got"):
            call()


def test_batches_under_the_names_of_keras():
    model, x, y = fitted()
    other = fitted()[0]
    weights = np.arange(8) / 4
    x, y = x + np.arange(16).reshape(8, 2), y + 1
    trained = model.train_on_batch(x, y, weights)
    assert trained == other.train_step(x, y, weights)
    assert model.test_on_batch(x, y) == other.evaluate(x, y)
    np.testing.assert_array_equal(model.predict_on_batch(x), other.predict(x))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Linear", "it is nn.Dense."),
        ("Conv2d", "it is nn.Conv2D."),
        ("BatchNorm2d", "it is nn.BatchNorm2D."),
        ("ConvTranspose2d", "it is nn.Conv2DTranspose."),
        ("CrossEntropyLoss", 'it is compile("cce").'),
        ("Adam", "it is nn.optim.Adam."),
        ("load_mnist", "it is nn.data.load_mnist."),
        ("EarlyStopping", "it is nn.callbacks.EarlyStopping."),
        ("Densse", "did you mean nn.Dense?"),
    ],
)
def test_a_name_that_nn_does_not_have_names_ours(name, place):
    with pytest.raises(AttributeError) as error:
        getattr(nn, name)
    assert str(error.value) == f"module 'nn' has no attribute {name!r}: {place}"
    assert not hasattr(nn, name)


def test_names_of_nothing_have_no_hint():
    with pytest.raises(AttributeError, match=r"^module 'nn' has no attribute 'xyzzy'$"):
        nn.xyzzy  # noqa: B018


def test_no_name_of_others_is_one_of_ours():
    assert not [name for name in compat.NAMES if hasattr(nn, name)]
    for place in compat.NAMES.values():
        for path in re.findall(r"\bnn((?:\.\w+)+)", place.replace("nn.nn.Dense", "")):
            found = nn
            for part in path[1:].split("."):
                found = getattr(found, part)
