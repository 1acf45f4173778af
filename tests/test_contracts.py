"""What every exported layer, loss, optimizer, schedule and callback promises, held to it.

The parts are discovered. A layer needs no entry here: it is made from its signature. Any other part
that is exported without an entry fails a test.
"""

import inspect
import json

import numpy as np
import pytest

import nn
from nn import callbacks, cuda, layers, losses, optim
from nn.inspect import gradcheck
from nn.layers import NAME2LAYER, layer_from_config
from nn.optim import schedules

IDS = 7  # of layers that take ids

# How to make layers whose signature does not say it, or in a geometry with something odd in it, and
# the shape of a sample.
SPECIAL_LAYERS = {
    "Activation": (lambda: nn.Activation("tanh"), (5,)),
    "AvgPool2D": (lambda: nn.AvgPool2D(2, stride=1, padding="same"), (2, 4, 5)),
    "Bidirectional": (lambda: nn.Bidirectional(nn.GRU(2, return_sequences=True)), (4, 3)),
    "Conv1D": (lambda: nn.Conv1D(4, 2, stride=2, padding="causal", activation="tanh"), (5, 3)),
    "Conv2D": (lambda: nn.Conv2D(4, 3, stride=2, activation="tanh"), (2, 5, 6)),
    "Dense": (lambda: nn.Dense(4, activation="sigmoid"), (5,)),
    "Embedding": (lambda: nn.Embedding(IDS, 3), (5,)),
    "GaussianSampling": (lambda: nn.GaussianSampling(0.5), (6,)),
    "MaxPool2D": (lambda: nn.MaxPool2D(3, stride=2, padding=1), (2, 5, 6)),
    "Rescale": (lambda: nn.Rescale(2.0, -1.0), (2, 3, 3)),
    "Reshape": (lambda: nn.Reshape((4, -1)), (2, 3, 4)),
    "Residual": (
        lambda: nn.Residual([nn.Conv2D(4, 3, 2, use_bias=False), nn.BatchNorm2D(), nn.Tanh()]),
        (2, 5, 6),
    ),
    "Sequential": (
        lambda: nn.Sequential([nn.Dense(4), nn.Residual(nn.Dense(4)), nn.Sigmoid()]),
        (5,),
    ),
    "Softmax": (lambda: nn.Softmax(), (5,)),
    "Standardize": (lambda: nn.Standardize((0.5, -1.0, 0.0), (2.0, 0.5, 1.0)), (3, 4, 2)),
}

# What a class or function made from its signature gets for an argument of this name.
ARGUMENTS = {
    "decay_steps": 10,
    "depth_multiplier": 2,
    "every": 10,
    "filters": 4,
    "first_period": 10,
    "groups": 2,
    "layer": lambda: nn.Conv2D(3, 2, activation="tanh"),
    "layers": lambda: [nn.Conv2D(4, 3, use_bias=False), nn.BatchNorm2D(), nn.Tanh()],
    "key_dim": 2,
    "lr": 0.1,
    "max_length": 6,
    "max_lr": 0.1,
    "milestones": lambda: [10, 20],
    "num_heads": 2,
    "path": "file.csv",
    "rate": 0.4,
    "schedule": lambda: lambda epoch: 0.01,
    "stddev": 0.5,
    "steps_per_epoch": 10,
    "total_steps": 50,
    "units": 4,
    "warmup_steps": 5,
}

# The shape of its sample, by the numbers of axes that an input may have.
SAMPLES = {
    (): (2, 3, 3),
    (2,): (5,),
    (3,): (4, 3),
    (2, 3): (4, 3),
    (4,): (2, 5, 6),
    (2, 3, 4): (4, 3, 2),
}


def from_signature(cls):
    """Return how to make an object of a class, or what a function returns, without an entry."""
    arguments = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in ARGUMENTS:
            arguments[name] = ARGUMENTS[name]
        elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            raise ValueError(f"{cls.__name__}: say in ARGUMENTS what it gets for {name!r}")

    def make():
        return cls(**{k: v() if callable(v) else v for k, v in arguments.items()})

    return make


def exported(module, base):
    """The public subclasses of `base` in a module, by name."""
    return {
        cls.__name__: cls
        for cls in vars(module).values()
        if inspect.isclass(cls)
        and issubclass(cls, base)
        and cls is not base
        and not cls.__name__.startswith("_")
    }


# How to make each layer, and the shape of a sample for it.
LAYERS = {
    name: SPECIAL_LAYERS.get(name) or (from_signature(cls), SAMPLES[cls.input_ndim])
    for name, cls in sorted(exported(layers, nn.Layer).items())
}

TAKE_IDS = {"Embedding"}

# Predictions and targets, from a generator; a loss is tried on the first whose targets it takes.
TARGETS = [
    lambda rng: (rng.normal(size=(6, 2)), rng.normal(size=(6, 2))),
    lambda rng: (rng.normal(size=(6, 4)), rng.integers(0, 4, 6)),
    lambda rng: (rng.normal(size=(6, 1)), rng.integers(0, 2, 6)),
    lambda rng: (rng.dirichlet(np.full(4, 9), 6), rng.dirichlet(np.ones(4), 6)),
]


def targets_for(cls):
    """Return the first of TARGETS that a loss takes."""
    for make in TARGETS:
        try:
            cls().forward(*make(np.random.default_rng(0)))
        except ValueError:
            continue
        return make
    raise ValueError(f"{cls.__name__}: add to TARGETS what it takes")


LOSSES = {name: targets_for(cls) for name, cls in exported(losses, losses.Loss).items()}

SCHEDULES = {
    name: from_signature(f)
    for name, f in vars(schedules).items()
    if inspect.isfunction(f) and f.__module__ == schedules.__name__ and not name.startswith("_")
}
SCHEDULES["cosine, warmed up"] = lambda: schedules.cosine(0.1, 50, warmup_steps=5)

SPECIAL_CALLBACKS = {
    "Film": lambda: callbacks.Film("film.gif"),
    "EarlyStopping": lambda: callbacks.EarlyStopping(patience=1),
    "History": callbacks.History,  # a dict, whose signature Python does not tell
    "LambdaCallback": lambda: callbacks.LambdaCallback(on_epoch_end=lambda epoch: None),
    "ModelCheckpoint": lambda: callbacks.ModelCheckpoint("best.hdf5", monitor="acc"),
    "ProgressBar": lambda: callbacks.ProgressBar(2),
    "ReduceLROnPlateau": lambda: callbacks.ReduceLROnPlateau(patience=1),
}
CALLBACKS = {
    name: SPECIAL_CALLBACKS.get(name) or from_signature(getattr(callbacks, name))
    for name in callbacks.__all__
}


def test_every_exported_part_is_held_to_its_contract():
    assert set(SPECIAL_LAYERS) <= set(LAYERS)
    assert {cls.__name__ for cls in NAME2LAYER.values()} == set(LAYERS)
    assert set(layers.__all__) <= set(nn.__all__) | {
        "NAME2ACTIVATION",
        "NAME2LAYER",
        "layer_from_config",
    }
    assert len(LOSSES) >= 7
    assert {cls.__name__.lower() for cls in OPTIMIZERS} == set(optim.NAME2OPTIMIZER)
    assert len(SCHEDULES) >= 8
    assert set(SPECIAL_CALLBACKS) <= set(CALLBACKS)


OPTIMIZERS = [
    cls
    for cls in vars(optim).values()
    if inspect.isclass(cls) and issubclass(cls, optim.Optimizer) and cls is not optim.Optimizer
]


def batch_for(name, rows, seed, dtype="float64"):
    """Return a batch of normal numbers, or of ids, for a layer."""
    shape, rng = (rows, *LAYERS[name][1]), np.random.default_rng(seed)
    return rng.integers(0, IDS, shape) if name in TAKE_IDS else rng.normal(size=shape).astype(dtype)


def make_layer(name, dtype="float64", device="cpu"):
    """Return a built layer and a batch for it, away from the kinks at 0."""
    make, shape = LAYERS[name]
    layer = make()
    layers.stack.set_generator(layer, np.random.default_rng(3))
    layer.dtype = dtype
    layer.build((None, *shape))
    rng = np.random.default_rng(1)
    x = rng.permutation(np.linspace(-2, 2, 4 * int(np.prod(shape)))).reshape(4, *shape)
    x = batch_for(name, 4, 1) if name in TAKE_IDS else x.astype(dtype)
    layers.stack.move_to_device(layer, device)
    return layer, cuda.to_device(x, device)


def arrays_of(layer):
    """Parameters and buffers of a layer and of those inside it, by their names in a file."""
    return {
        f"{path}_{key}": array
        for path, part in layers.plan.named_layers([layer])
        for key, array in (*part.params.items(), *part.buffers.items())
    }


def draws_numbers(name):
    """Whether a layer's forward pass in training draws from its generator, as dropout does."""
    layer, x = make_layer(name)
    before = layer.rng.bit_generator.state
    layer.forward(x, training=True)
    return layer.rng.bit_generator.state != before


# ---------------------------------------------------------------------------------- layers


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layer_keeps_shapes_and_dtype(name, dtype, device):
    layer, x = make_layer(name, dtype, device)
    for training in (True, False, None):
        y = layer.forward(x, training)
        assert layer.output_shape == (None, *y.shape[1:])
        assert y.dtype == dtype
    y = layer.forward(x, training=True)
    dx = layer.backward(cuda.get_array_module(y).ones_like(y))
    assert dx.shape == x.shape
    assert dx.dtype == dtype
    for _, part in layers.plan.named_layers([layer]):
        assert set(part.grads) == set(part.params)
        for key, param in part.params.items():
            assert part.grads[key].shape == param.shape
            assert part.grads[key].dtype == param.dtype == dtype


@pytest.mark.parametrize("name", LAYERS)
def test_layer_does_not_change_what_it_is_given(name):
    layer, x = make_layer(name)
    before = x.copy()
    grad = np.random.default_rng(0).normal(size=layer.forward(x, training=True).shape)
    grad_before = grad.copy()
    layer.backward(grad)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(grad, grad_before)


def state_of(layer):
    """All attributes of a layer and of those inside it."""
    inner = [getattr(layer, name, None) for name in ("layer", "activation")]
    parts = [part for _, part in layers.plan.named_layers([layer])]
    parts += [part for part in inner if isinstance(part, nn.Layer)]
    return [
        {k: dict(v) if isinstance(v, dict) else v for k, v in vars(part).items()} for part in parts
    ]


@pytest.mark.parametrize("name", LAYERS)
def test_inference_changes_nothing_of_a_layer_that_is_in_training(name):
    layer, x = make_layer(name)
    twin, _ = make_layer(name)
    y = layer.forward(x, training=True)
    twin.forward(x, training=True)
    before = state_of(layer)
    layer.forward(x[:1], training=None)
    for kept, found in zip(before, state_of(layer), strict=True):
        assert kept.keys() == found.keys()
        for key, value in kept.items():
            if isinstance(value, dict):
                assert all(value[k] is found[key][k] for k in value.keys() | found[key].keys())
            else:
                assert value is found[key] or value == found[key], key
    grad = np.random.default_rng(0).normal(size=y.shape)
    np.testing.assert_array_equal(layer.backward(grad), twin.backward(grad))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_layer_passes_the_gradient_check(name, training):
    layer, x = make_layer(name)
    errors = gradcheck.check_gradients(layer, x, training)
    assert max(errors.values()) <= 1e-6, errors


@pytest.mark.parametrize("name", LAYERS)
def test_layer_config_round_trip(name):
    layer, x = make_layer(name)
    config = json.loads(json.dumps(layer.to_config()))
    again = layer_from_config(config)
    assert type(again) is type(layer)
    assert json.loads(json.dumps(again.to_config())) == config
    again.dtype = "float64"
    again.build((None, *x.shape[1:]))
    old_arrays = arrays_of(layer)
    assert set(arrays_of(again)) == set(old_arrays)
    for key, array in arrays_of(again).items():
        array[...] = old_arrays[key]
    np.testing.assert_array_equal(again.forward(x), layer.forward(x))


@pytest.mark.parametrize("name", LAYERS)
def test_layer_takes_name_input_shape_and_trainable_through_its_config(name):
    make, shape = LAYERS[name]
    layer = make()
    layer.name, layer.input_shape, layer.trainable = "mine", shape, False
    again = layer_from_config(json.loads(json.dumps(layer.to_config())))
    assert (again.name, again.input_shape, again.trainable) == ("mine", shape, False)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("suffix", ["hdf5", "npz", "safetensors"])
def test_layer_saves_and_loads(name, suffix, tmp_path):
    make, shape = LAYERS[name]
    model = nn.Model([make()], seed=0)
    model.build((None, *shape))
    x = batch_for(name, 4, 0, "float32")
    model.forward(x, training=True)  # moves the running averages
    model.save(tmp_path / f"model.{suffix}")
    loaded = nn.Model.load(tmp_path / f"model.{suffix}")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


@pytest.mark.parametrize("name", LAYERS)
def test_layer_predicts_without_chance_and_without_memory(name):
    layer, x = make_layer(name)
    first = layer.forward(x, training=False)
    layer.forget()
    np.testing.assert_array_equal(layer.forward(x, training=None), first)
    if layer.to_config()["config"].get("activation") is None:
        with pytest.raises(RuntimeError, match=r"backward\(\) was called before forward\(\)"):
            layer.backward(first)


@pytest.mark.parametrize("name", [name for name, (_, shape) in LAYERS.items() if len(shape) == 3])
def test_layer_takes_any_strides(name):
    layer, x = make_layer(name)
    y = layer.forward(x, training=False)
    grad = np.random.default_rng(0).normal(size=y.shape)
    dx = layer.backward(grad)
    strided = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(layer.forward(strided, training=False), y, rtol=1e-13, atol=1e-15)
    strided_grad = np.repeat(grad, 2, axis=-1)[..., ::2]
    np.testing.assert_allclose(layer.backward(strided_grad), dx, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_takes_a_batch_of_one_and_of_none(name):
    layer, x = make_layer(name)
    for rows in (1, 0):
        y = layer.forward(x[:rows], training=None)
        assert y.shape == (rows, *layer.output_shape[1:])


@pytest.mark.parametrize("name", LAYERS)
def test_layer_draws_the_same_numbers_for_the_same_seed(name):
    (one, x), (two, _) = make_layer(name), make_layer(name)
    np.testing.assert_array_equal(one.forward(x, training=True), two.forward(x, training=True))


@pytest.mark.gpu
@pytest.mark.parametrize("name", LAYERS)
def test_layer_agrees_on_both_devices(name):
    if draws_numbers(name):
        pytest.skip("each device draws random numbers of its own")
    results = []
    for device in ("cpu", "gpu"):
        layer, x = make_layer(name, "float64", device)
        y = layer.forward(x, training=True)
        grad = np.random.default_rng(0).normal(size=y.shape)
        dx = layer.backward(cuda.to_gpu(grad) if device == "gpu" else grad)
        parts = [part for _, part in layers.plan.named_layers([layer])]
        grads = [array for part in parts for array in part.grads.values()]
        arrays = [y, dx, *grads, *arrays_of(layer).values()]
        assert all((cuda.get_array_module(a) is np) == (device == "cpu") for a in arrays)
        results.append([cuda.to_cpu(a) for a in arrays])
    for on_cpu, on_gpu in zip(*results, strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_contract(name, dtype, to_device):
    loss = getattr(losses, name)()
    y_pred, y_true = LOSSES[name](np.random.default_rng(0))
    y_pred = y_pred.astype(dtype)
    expected = loss.forward(y_pred, y_true)
    expected_grad = loss.backward()
    y_pred_before = y_pred.copy()
    value = loss.forward(to_device(y_pred), to_device(y_true))
    grad = loss.backward()
    assert isinstance(value, float)
    assert value == pytest.approx(expected, rel=1e-6)
    assert grad.dtype == dtype
    assert cuda.get_array_module(grad) is cuda.get_array_module(to_device(y_pred))
    np.testing.assert_allclose(cuda.to_cpu(grad), expected_grad, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(y_pred, y_pred_before)
    again = losses.from_config(json.loads(json.dumps(loss.to_config())))
    assert again.forward(y_pred, y_true) == expected


@pytest.mark.parametrize("name", LOSSES)
def test_loss_passes_the_gradient_check(name):
    loss = getattr(losses, name)()
    y_pred, y_true = LOSSES[name](np.random.default_rng(0))
    loss.forward(y_pred, y_true)
    grad = loss.backward().copy()
    measured = gradcheck.numerical_gradient(lambda: loss.forward(y_pred, y_true), y_pred)
    assert gradcheck.relative_error(grad, measured) <= 1e-6


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_weighted_samples_is_the_mean_of_weighted_losses(name):
    loss = getattr(losses, name)()
    y_pred, y_true = LOSSES[name](np.random.default_rng(0))
    weights = np.arange(6.0)
    single = [loss.forward(y_pred[k : k + 1], y_true[k : k + 1]) for k in range(6)]
    assert loss.forward(y_pred, y_true, sample_weight=weights) == pytest.approx(
        np.mean(weights * single)
    )


# ------------------------------------------------------------------------------ optimizers


@pytest.mark.parametrize("cls", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optimizer_contract(cls, dtype, to_device):
    """It works in place, leaves gradients alone, goes downhill, and resumes from its state."""
    rng = np.random.default_rng(0)
    start, target = rng.normal(size=(3, 4)).astype(dtype), rng.normal(size=(3, 4)).astype(dtype)
    param, goal = to_device(start.copy()), to_device(target)
    optimizer = cls(lr=0.01)
    first = float(((param - goal) ** 2).sum())
    for _ in range(20):
        grad = 2 * (param - goal)
        before = grad.copy()
        optimizer.step([(param, grad)])
        assert bool((grad == before).all())
    assert param.dtype == dtype
    assert float(((param - goal) ** 2).sum()) < first
    again = optim.from_config(json.loads(json.dumps(optimizer.to_config())))
    again.load_state_dict(optimizer.state_dict())
    copy = param.copy()
    for one, array in ((optimizer, param), (again, copy)):
        for _ in range(3):
            one.step([(array, 2 * (array - goal))])
    np.testing.assert_array_equal(cuda.to_cpu(param), cuda.to_cpu(copy))


@pytest.mark.gpu
@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_optimizer_agrees_on_both_devices(cls):
    start = np.random.default_rng(0).normal(size=(3, 4))
    results = []
    for move in (cuda.to_cpu, cuda.to_gpu):
        param, optimizer = move(start.copy()), cls(lr=0.01)
        optimizer.configure(weight_decay=0.1, clip_norm=1.0)
        for _ in range(5):
            optimizer.step([(param, param * 3)])
        results.append(cuda.to_cpu(param))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-10)


# ------------------------------------------------------------------ schedules and callbacks


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_is_a_pure_function_of_the_step(name):
    schedule = SCHEDULES[name]()
    rates = [schedule(step) for step in range(60)]
    assert all(isinstance(rate, float) and 0 <= rate <= 0.1 + 1e-12 for rate in rates)
    assert [schedule(step) for step in reversed(range(60))] == rates[::-1]


@pytest.mark.parametrize("name", CALLBACKS)
def test_callback_runs_in_fit(name, tmp_path, monkeypatch):
    if name == "TensorBoard":
        pytest.importorskip("tensorboardX", reason="needs tensorboardX (the extra 'tensorboard')")
    monkeypatch.chdir(tmp_path)
    model = nn.Model([nn.Dense(2, input_shape=(3,))], seed=0)
    model.compile("cce")
    rng = np.random.default_rng(0)
    callback = CALLBACKS[name]()
    history = model.fit(
        rng.normal(size=(10, 3)), np.arange(10) % 2, epochs=2, callbacks=[callback], verbose=0
    )
    assert callback.model is model
    assert len(history["loss"]) == 2


# ----------------------------------------------------------------------------------- masks


def sequence_layer(name, steps):
    """Return a layer built for sequences of some length, and the shape of a batch of one."""
    layer = LAYERS[name][0]()
    layers.stack.set_generator(layer, np.random.default_rng(3))
    layer.dtype = "float64"
    shape = (None, steps) if name in TAKE_IDS else (None, steps, 3)
    layer.build(shape)
    return layer


def takes_sequences(name):
    """Whether a layer can be built for ids (N, T) or for sequences (N, T, 3)."""
    try:
        sequence_layer(name, 5)
    except ValueError:
        return False
    return True


SEQUENCE_LAYERS = [name for name in LAYERS if takes_sequences(name)]


@pytest.mark.parametrize("name", SEQUENCE_LAYERS)
def test_layer_reads_padded_sequences_as_those_without_padding_or_refuses(name):
    mask = np.arange(5) < np.array([5, 2, 4, 3])[:, None]
    rng = np.random.default_rng(0)
    x = rng.integers(0, IDS, (4, 5)) if name in TAKE_IDS else rng.normal(size=(4, 5, 3))
    layer = sequence_layer(name, 5)
    try:
        y, after = layers.stack.forward_through([layer], x, False, mask)
    except ValueError as error:
        assert "cannot take a 'mask'" in str(error)
        return
    if after is not None and after.shape[1] != 5:
        return  # windows of steps, whose number depends on the padding
    grad = rng.normal(size=y.shape)
    if after is not None:
        grad[~after] = 0
    dx = layer.backward(grad)
    total = {}
    for n, steps in enumerate(mask.sum(axis=1)):
        single = sequence_layer(name, int(steps))
        for key, array in arrays_of(layer).items():
            arrays_of(single)[key][...] = array
        own = single.forward(x[n : n + 1, :steps], training=False)
        there = slice(None) if after is None else after[n]
        np.testing.assert_allclose(own[0], y[n][there], rtol=1e-12, atol=1e-14)
        own_dx = single.backward(
            grad[n : n + 1][:, there] if after is not None else grad[n : n + 1]
        )
        np.testing.assert_allclose(own_dx[0], dx[n, :steps], rtol=1e-10, atol=1e-13)
        if layer.uses_mask and name not in TAKE_IDS:
            assert not dx[n, steps:].any()
        for path, part in layers.plan.named_layers([single]):
            for key, array in part.grads.items():
                total[path, key] = total.get((path, key), 0) + array
    for path, part in layers.plan.named_layers([layer]):
        for key, array in part.grads.items():
            np.testing.assert_allclose(array, total[path, key], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", SEQUENCE_LAYERS)
@pytest.mark.parametrize("training", [True, False, None])
def test_layer_takes_samples_without_any_step(name, training):
    layer = sequence_layer(name, 5)
    x = (
        np.ones((2, 5), int)
        if name in TAKE_IDS
        else np.random.default_rng(0).normal(size=(2, 5, 3))
    )
    mask = np.array([[True] * 5, [False] * 5])
    try:
        y, _ = layers.stack.forward_through([layer], x, training, mask)
    except ValueError as error:
        assert "cannot take a 'mask'" in str(error)
        return
    assert np.isfinite(y).all()
    if training is not None:
        assert np.isfinite(layer.backward(np.ones_like(y))).all()
