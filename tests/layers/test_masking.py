"""Masks: padded batches give the outputs, losses and gradients of the sequences without padding."""

import numpy as np
import pytest

import nn
from nn import losses
from nn.inspect.model_check import check_model
from nn.layers import Layer
from nn.layers.containers import Container
from nn.layers.fold import run
from nn.layers.stack import forward_through

LENGTHS = (5, 2, 4, 1)
T, D, K = 5, 3, 4
MASK = np.arange(T) < np.array(LENGTHS)[:, None]  # (N, T)


class MeanOfSteps(Layer):
    """A small layer that uses a mask: the mean over the steps that are there."""

    uses_mask = True

    def forward(self, x, training=False, mask=None):
        there = np.ones(x.shape[:2]) if mask is None else mask
        self.weights = (there / np.maximum(there.sum(axis=1, keepdims=True), 1)).astype(x.dtype)
        return (x * self.weights[:, :, None]).sum(axis=1)

    def backward(self, grad):
        return grad[:, None] * self.weights[:, :, None]


class Mixing(Layer):
    """A user's layer that knows no masks."""

    def forward(self, x, training=False):
        return x[:, ::-1]

    def backward(self, grad):
        return grad[:, ::-1]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def ids_of(rng):
    """Ids (N, T) with zeros for padding."""
    return rng.integers(1, 7, MASK.shape) * MASK


def embedding(**common):
    return nn.Embedding(7, D, mask_zero=True, input_shape=(T,), **common)


def model_of(*layers, loss="cce", metrics=("accuracy",), **options):
    model = nn.Model(list(layers), dtype="float64", seed=3)
    model.compile(loss, "sgd", lr=0.1, metrics=metrics, **options)
    return model


def tagger(**options):
    return model_of(embedding(), nn.Dense(6, activation="tanh"), nn.Dense(K), **options)


def cross_entropies(model, ids, labels):
    """The loss of every step by itself, as lists of the lengths of the sequences."""
    return [
        [
            float(losses.CategoricalCrossentropy().forward(model.forward(ids)[n, t : t + 1], [k]))
            for t, k in enumerate(row[: LENGTHS[n]])
        ]
        for n, row in enumerate(labels)
    ]


# ------------------------------------------------------------------------- making masks


def test_masking_takes_steps_that_are_all_one_value_as_padding():
    x = np.array([[[1.0, -2.0], [-1.0, 0.0], [-1.0, -1.0]], [[-1.0, -1.0]] * 3])
    layer = nn.Masking(-1.0)
    y, mask = forward_through([layer], x, True)
    assert mask.tolist() == [[True, True, False], [False] * 3]
    assert y.tolist() == [[[1, -2], [-1, 0], [0, 0]], [[0, 0]] * 3]
    assert layer.backward(np.ones_like(x)).tolist() == [[[1, 1]] * 2 + [[0, 0]], [[0, 0]] * 3]


def test_embedding_takes_id_0_as_padding_if_told_so(rng):
    ids = ids_of(rng)
    assert forward_through([embedding()], ids, False)[1].tolist() == (ids != 0).tolist()
    assert forward_through([nn.Embedding(7, D)], ids, False)[1] is None


def test_a_second_masking_layer_adds_to_the_mask():
    x = np.array([[[1.0], [2.0], [3.0]]])
    _, mask = forward_through([nn.Masking(1.0), nn.Rescale(2.0), nn.Masking(6.0)], x, False)
    assert mask.tolist() == [[False, True, False]]


@pytest.mark.parametrize("value", [np.nan, np.inf, "0", None])
def test_masking_needs_a_finite_value(value):
    with pytest.raises(ValueError, match=r"\[Masking\] 'value' must be a finite number"):
        nn.Masking(value)


def test_masking_refuses_ids():
    with pytest.raises(ValueError, match=r"\[Masking\] .* use Embedding\(mask_zero=True\)"):
        nn.Masking().build((None, 5))


# -------------------------------------------------------------- the way through the layers

STACKS = {
    "flat": lambda: [nn.Dense(D), nn.Tanh(), MeanOfSteps()],
    "sequential": lambda: [nn.Sequential([nn.Dense(D), nn.Tanh()]), MeanOfSteps()],
    "inside": lambda: [nn.Sequential([nn.Dense(D), nn.Tanh(), MeanOfSteps()])],
    "recompute": lambda: [nn.Recompute([nn.Dense(D), nn.Tanh(), MeanOfSteps()])],
    "weight norm": lambda: [nn.WeightNorm(nn.Dense(D)), nn.Tanh(), MeanOfSteps()],
    "residual": lambda: [nn.Residual([nn.Dense(D), nn.Tanh()]), MeanOfSteps()],
    "shortcut": lambda: [
        nn.Residual([nn.Dense(4), MeanOfSteps()], [MeanOfSteps(), nn.Dense(4)]),
    ],
    "beside": lambda: [nn.SkipConcat([nn.LSTM(4, return_sequences=True)]), MeanOfSteps()],
    "backwards": lambda: [
        nn.GRU(D, return_sequences=True, go_backwards=True),
        nn.LSTM(D, go_backwards=True),
    ],
    "both ways": lambda: [nn.Bidirectional(nn.LSTM(D, return_sequences=True)), MeanOfSteps()],
    "recurrent": lambda: [nn.SimpleRNN(D, return_sequences=True), nn.Tanh(), nn.GRU(D)],
    "norm": lambda: [nn.LayerNorm(), nn.PReLU(), nn.Dropout(0.0), MeanOfSteps()],
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("where", ["before", "inside", "model"])
def test_padding_changes_neither_output_nor_gradients(name, where, rng):
    ids = ids_of(rng)
    layers = [embedding(), *STACKS[name]()]
    if where == "inside":
        layers = [nn.Sequential(layers)]
    if where == "model":
        layers = [nn.Model(layers, dtype="float64")]
    model = model_of(*layers, nn.Dense(K))
    grad = rng.normal(size=(len(ids), K))
    y = model.forward(ids, training=True)
    assert model.output_mask is None  # it ended in MeanOfSteps
    model.backward(grad)
    padded = {k: g.copy() for k, g in grads_of(model).items()}
    sums = dict.fromkeys(padded, 0.0)
    for n, length in enumerate(LENGTHS):
        single = same_model(model, layers, (length,))
        own = single.forward(ids[n : n + 1, :length], training=True)
        np.testing.assert_allclose(own[0], y[n], rtol=1e-12, atol=1e-14)
        single.backward(grad[n : n + 1])
        sums = {k: sums[k] + g for k, g in grads_of(single).items()}
    for key, total in sums.items():
        np.testing.assert_allclose(padded[key], total, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(model.predict(ids), y, rtol=1e-12)
    np.testing.assert_array_equal(run(model.layers, ids)[0], model.predict(ids))


def grads_of(model):
    return {f"{p}_{k}": g for p, layer in model.named_layers() for k, g in layer.grads.items()}


def same_model(model, layers, shape):
    """A model with the same weights for inputs of another length."""
    import copy

    twin = copy.deepcopy(model)
    twin.input_shape = (None, *shape)
    for _, layer in twin.named_layers():
        layer.fixed_axes = slice(0)  # so that it takes other lengths
        layer.built_shape = None
    return twin


def test_each_layer_reports_to_observers_once(rng):
    seen = []
    model = tagger()
    with nn.observe(model, on_output=lambda name, layer, y: seen.append(name)):
        model.forward(ids_of(rng))
    assert seen == ["0_Embedding", "1_Dense", "2_Dense"]


@pytest.mark.parametrize(
    "make",
    [
        nn.Flatten,
        lambda: nn.Reshape((D, T)),
        lambda: nn.GroupNorm(1),
        lambda: nn.LayerNorm(axis=(1, 2)),
        Mixing,
        lambda: nn.Sequential([nn.Dense(2), nn.Flatten()]),
        lambda: nn.Residual([Mixing()]),
        lambda: nn.SkipConcat([nn.Conv1D(2, 3)]),
        lambda: nn.Conv1D(2, 3),
        lambda: nn.Conv1D(2, 2, padding="causal"),
        lambda: nn.WeightNorm(nn.Conv1D(2, 3)),
        lambda: nn.MaxPool1D(2),
        lambda: nn.AvgPool1D(2, stride=1, padding="same"),
    ],
)
def test_a_layer_that_may_mix_steps_refuses_a_mask(make, rng):
    model = nn.Model([embedding(), make()], seed=0)
    for call in (model.predict, model.forward):
        with pytest.raises(ValueError, match=r"^\[\w+\] cannot take a 'mask', got one .* \(4, 5\)"):
            call(ids_of(rng))
    # without a mask it is taken
    nn.Model([nn.Embedding(7, D, input_shape=(T,)), make()], seed=0).predict(ids_of(rng))


def test_a_mask_of_another_length_is_refused(rng):
    x = rng.normal(size=(2, 3, 4))
    with pytest.raises(
        ValueError, match=r"\[Dense\] 'mask' must be a bool array of shape \(2, 3\)"
    ):
        forward_through([nn.Dense(2)], x, False, np.ones((2, 4), bool))


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((2, 4), bool),
        np.ones((1, 3), bool),
        np.ones((2, 3), int),
        np.full((2, 3), 0.5),
        [[True] * 3] * 2,
    ],
    ids=["length", "samples", "int", "float", "list"],
)
@pytest.mark.parametrize(
    "make",
    [
        nn.BatchNorm1D,
        nn.GlobalAvgPool1D,
        nn.GlobalMaxPool1D,
        lambda: nn.MultiHeadAttention(2, 2),
        lambda: nn.GRU(2),
        lambda: nn.Bidirectional(nn.LSTM(2)),
    ],
    ids=["BatchNorm1D", "GlobalAvgPool1D", "GlobalMaxPool1D", "attention", "GRU", "both ways"],
)
def test_a_wrong_mask_for_a_layer_called_by_hand_is_refused(make, mask, rng):
    x = rng.normal(size=(2, 3, 4))
    make().forward(x, True, mask=np.ones((2, 3), bool))
    with pytest.raises(ValueError, match=r"^\[\w+\] 'mask' must be a bool array of shape \(2, 3\)"):
        make().forward(x, True, mask=mask)


def test_a_subclass_that_computes_something_else_is_not_passed_by(rng):
    class Twice(nn.Sequential):
        def forward(self, x, training=False):
            return 2 * super().forward(x, training)

    class TwiceMasked(Twice):
        passes_mask = True

    x, layers = rng.normal(size=(4, T, D)), [nn.Masking(), nn.Dense(2)]
    expected, mask = forward_through(layers, x, False)
    y, found = forward_through([layers[0], TwiceMasked([layers[1]])], x, False)
    np.testing.assert_array_equal(y, 2 * expected)
    np.testing.assert_array_equal(found, mask)
    with pytest.raises(ValueError, match=r"\[Twice\] cannot take a 'mask'"):
        forward_through([layers[0], Twice([layers[1]])], x, False)


def test_a_forward_that_was_replaced_in_an_object_is_called(rng):
    x = rng.normal(size=(4, T, D))
    inner = nn.Sequential([nn.Tanh()])
    inner.passes_mask, inner.forward = True, lambda x, training=False: -x
    y, _ = forward_through([nn.Masking(), inner], x, False)
    np.testing.assert_array_equal(y, -x)


def test_a_container_of_the_users_that_would_lose_a_mask_says_so(rng):
    class Own(Container):
        def forward(self, x, training=False):
            return self.forward_through(self.layers, x, training)

    layer = Own([embedding()])
    with pytest.raises(ValueError, match=r"\[Own\] 'layers' make a mask .* forward_masked"):
        layer.forward(ids_of(rng))


# ------------------------------------------------------------------ losses, metrics, training


def test_the_loss_is_the_mean_over_the_steps_that_are_there(rng):
    ids, labels = ids_of(rng), rng.integers(0, K, MASK.shape)
    model = tagger()
    steps = [loss for own in cross_entropies(model, ids, labels) for loss in own]
    expected = pytest.approx(np.mean(steps), rel=1e-12)
    right = (model.forward(ids).argmax(axis=2) == labels)[MASK].mean()
    for batch_size in (1, 3, 4):  # a mean of batches would differ
        figures = model.evaluate(ids, labels, batch_size=batch_size)
        assert figures == {"loss": expected, "acc": pytest.approx(right)}
    assert model.train_step(ids, labels) == {"loss": expected, "acc": pytest.approx(right)}
    model = tagger()
    history = model.fit(ids, labels, batch_size=4, verbose=0, shuffle=False)
    assert history["loss"] == [expected]
    model = tagger()
    model.optimizer.lr = 1e-300  # batches of different numbers of steps, with the same weights
    history = model.fit(ids, labels, batch_size=3, verbose=0, validation_data=(ids, labels))
    assert history["loss"] == [expected]
    assert history["val_loss"] == [expected]
    assert history["acc"] == history["val_acc"] == [pytest.approx(right)]


@pytest.mark.parametrize("steps", [1, 2])
def test_gradients_are_those_of_the_sequences_without_padding(steps, rng):
    ids, labels = ids_of(rng), rng.integers(0, K, MASK.shape)
    model, single = tagger(gradient_accumulation_steps=steps), tagger()
    total = {}
    for n, length in enumerate(LENGTHS):
        own = same_model(single, None, (length,))
        y = own.forward(ids[n : n + 1, :length], training=True)
        loss = losses.CategoricalCrossentropy()
        loss.forward(y, labels[n : n + 1, :length])
        own.backward(loss.backward() * length / sum(LENGTHS))
        total = {k: total.get(k, 0) + g for k, g in grads_of(own).items()}
    before = {k: a.copy() for k, a in model.get_arrays().items()}
    model.fit(ids, labels, batch_size=4 // steps, shuffle=False, verbose=0)
    for key, array in model.get_arrays().items():
        np.testing.assert_allclose(array, before[key] - 0.1 * total[key], rtol=1e-10, atol=1e-14)


def test_a_loop_written_by_hand_passes_the_mask_to_the_loss(rng):
    ids, labels = ids_of(rng), rng.integers(0, K, MASK.shape)
    model, other = tagger(), tagger()
    expected = other.train_step(ids, labels)["loss"]
    y_pred = model.forward(ids, training=True)
    np.testing.assert_array_equal(model.output_mask, MASK)
    value = model.loss.forward(y_pred, labels, mask=model.output_mask)
    model.backward(model.loss.backward())
    model.optimizer.step(model.get_params_and_grads())
    assert value == expected
    for own, others in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(own, others)


PREDICTIONS = {  # of losses (N, T, K) and their targets
    "CategoricalCrossentropy": lambda rng, p: (p, rng.integers(0, K, MASK.shape)),
    "Hinge": lambda rng, p: (p, rng.integers(0, K, MASK.shape)),
    "KLDivergence": lambda rng, p: (
        rng.dirichlet(np.full(K, 3), MASK.shape),
        rng.dirichlet(np.full(K, 3), MASK.shape),
    ),
    "BinaryCrossentropy": lambda rng, p: (p, rng.integers(0, 2, p.shape)),
}


@pytest.mark.parametrize("name", sorted(cls.__name__ for cls in set(losses.NAME2LOSS.values())))
@pytest.mark.parametrize("weights", [None, "samples", "steps"])
def test_every_loss_leaves_out_the_steps_that_are_not_there(name, weights, rng):
    p = rng.normal(size=(*MASK.shape, K))
    default = lambda rng, p: (p, rng.normal(size=p.shape))  # noqa: E731
    y_pred, y_true = PREDICTIONS.get(name, default)(rng, p)
    shape = {None: None, "samples": len(MASK), "steps": MASK.shape}[weights]
    weight = None if shape is None else rng.uniform(0.5, 2, shape)
    loss = getattr(losses, name)()
    value = loss.forward(y_pred, y_true, sample_weight=weight, mask=MASK)
    grad = loss.backward()
    total, expected = 0.0, np.zeros_like(y_pred)
    for n, t in zip(*MASK.nonzero(), strict=True):
        w = 1.0 if weight is None else weight[n] if weights == "samples" else weight[n, t]
        own = getattr(losses, name)()
        total += w * own.forward(y_pred[n, t][None], y_true[n, t][None])
        expected[n, t] = w * own.backward()[0] / MASK.sum()
    assert value == pytest.approx(total / MASK.sum(), rel=1e-12)
    np.testing.assert_allclose(grad, expected, rtol=1e-12, atol=1e-16)
    assert not grad[~MASK].any()
    everything = getattr(losses, name)()
    expected = everything.forward(y_pred, y_true, weight)
    all_there = np.ones_like(MASK)
    assert getattr(losses, name)().forward(y_pred, y_true, weight, all_there) == pytest.approx(
        expected
    )


@pytest.mark.parametrize(
    "metric", ["accuracy", "top_2_accuracy", "precision", "recall", "f1", "mse", "r2"]
)
def test_metrics_count_the_steps_that_are_there(metric, rng):
    ids, y = ids_of(rng), rng.integers(0, K, MASK.shape)
    y = np.eye(K)[y] if metric in ("mse", "r2") else y
    model = tagger(loss="mse" if metric in ("mse", "r2") else "cce", metrics=[metric])
    figures = model.evaluate(ids, y, batch_size=3)
    rows = nn.metrics.get(metric)
    rows.update(y[MASK], model.predict(ids)[MASK])
    assert figures[rows.name] == pytest.approx(rows.result(), rel=1e-12)


def test_a_metric_of_the_users_gets_the_rows_of_the_steps_that_are_there(rng):
    def shapes(y_true, y_pred):
        return 1000 * len(y_true) + y_pred.shape[1]

    ids, y = ids_of(rng), rng.integers(0, K, MASK.shape)
    model = tagger(metrics=[shapes])
    assert model.evaluate(ids, y)["shapes"] == 1000 * sum(LENGTHS) + K


def test_a_batch_without_any_step_is_an_error_and_a_sample_without_any_is_not(rng):
    ids, labels = ids_of(rng), rng.integers(0, K, MASK.shape)
    ids[2] = 0
    model = tagger()
    assert np.isfinite(model.train_step(ids, labels)["loss"])
    with pytest.raises(ValueError, match=r"\[CategoricalCrossentropy\] 'mask' must leave at least"):
        model.train_step(0 * ids, labels)
    pooled = model_of(embedding(), MeanOfSteps(), nn.Dense(K))
    assert np.isfinite(pooled.predict(0 * ids)).all()


@pytest.mark.parametrize(
    ("mask", "shape"),
    [(MASK[:, :4], (4, T, K)), (MASK.astype(int), (4, T, K)), (MASK, (4, K)), (MASK[0], (4, T, K))],
)
def test_a_wrong_mask_for_a_loss_is_refused(mask, shape):
    with pytest.raises(ValueError, match=r"\[MeanSquaredError\] 'mask' must be"):
        losses.MeanSquaredError().forward(np.zeros(shape), np.zeros(shape), mask=mask)


def test_a_loss_of_the_users_that_knows_no_mask_is_refused(rng):
    class Own:
        def forward(self, y_pred, y_true):
            return 0.0

        def backward(self):
            return np.zeros((4, T, K))

    class OwnMasked(Own):
        def forward(self, y_pred, y_true, mask=None):
            self.mask = mask
            return 0.0

    ids = ids_of(rng)
    with pytest.raises(ValueError, match=r"mask .* 'mask', which that of Own does not: define"):
        tagger(loss=Own()).train_step(ids, np.zeros(MASK.shape, int))
    loss = OwnMasked()
    tagger(loss=loss, metrics=()).train_step(ids, np.zeros((4, T, K)))
    np.testing.assert_array_equal(loss.mask, MASK)


def test_a_model_with_a_forward_of_its_own_is_not_given_the_mask_of_another_batch(rng):
    class Own(nn.Model):
        def forward(self, x, training=False):
            return self.layers[1].forward(self.layers[0].forward(x, training), training)

        def backward(self, grad):
            return super().backward(grad)

    class Twice(nn.Model):
        def forward(self, x, training=False):
            return 2 * super().forward(x, training)

        def backward(self, grad):
            return super().backward(2 * grad)

    ids, labels = ids_of(rng), rng.integers(0, K, MASK.shape)
    figures = {}
    for cls in (Own, Twice):
        model = cls([embedding(), nn.Dense(K)], seed=0, dtype="float64")
        model.compile("cce", "sgd", metrics=())
        model.output_mask = np.zeros((1, 1), bool)
        y = model.forward(ids)
        mask = MASK if cls is Twice else np.ones_like(MASK)
        figures = losses.CategoricalCrossentropy().forward(y, labels, mask=mask)
        assert model.evaluate(ids, labels)["loss"] == pytest.approx(figures)
        model.output_mask = np.zeros((1, 1), bool)
        assert model.train_step(ids, labels)["loss"] == pytest.approx(figures)


# --------------------------------------------------------------------- weights of steps


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("form", ["arrays", "dataset", "stream"])
def test_weights_of_steps_multiply_their_losses(masked, form, rng):
    ids, labels = ids_of(rng), rng.integers(0, K, MASK.shape)
    weights = rng.uniform(0, 2, MASK.shape)
    ids = ids if masked else ids.clip(1)
    steps = MASK if masked else np.ones_like(MASK)
    model = tagger()
    y = model.forward(ids)
    expected = np.mean(
        [
            weights[n, t]
            * losses.CategoricalCrossentropy().forward(y[n, t][None], labels[n, t][None])
            for n, t in zip(*steps.nonzero(), strict=True)
        ]
    )
    data = {
        "arrays": lambda: ((ids, labels), {"sample_weight": weights}),
        "dataset": lambda: ((nn.Dataset(ids, labels, weights),), {}),
        "stream": lambda: (([(ids, labels, weights)],), {}),
    }[form]
    arguments, options = data()
    assert model.evaluate(*arguments, **options)["loss"] == pytest.approx(expected, rel=1e-12)
    arguments, options = data()
    history = model.fit(*arguments, **options, verbose=0)
    assert history["loss"] == [pytest.approx(expected, rel=1e-12)]


def test_weights_of_steps_and_of_classes_multiply(rng):
    ids, labels = ids_of(rng).clip(1), rng.integers(0, K, MASK.shape)
    weights = rng.uniform(0, 2, MASK.shape)
    model = tagger()
    by_class = np.where(labels == 1, 3.0, 1.0)
    expected = model.evaluate(ids, labels, sample_weight=weights * by_class)["loss"]
    given = {"class_weight": {1: 3.0}}
    found = model.evaluate(ids, labels, sample_weight=weights, **given)["loss"]
    assert found == pytest.approx(expected)
    assert model.evaluate([(ids, labels, weights)], **given)["loss"] == pytest.approx(expected)
    once = rng.uniform(0, 2, len(ids))
    expected = model.evaluate(ids, labels, sample_weight=once[:, None] * by_class)["loss"]
    assert model.evaluate(ids, labels, sample_weight=once, **given)["loss"] == pytest.approx(
        expected
    )


@pytest.mark.parametrize("shape", [(4, 4), (4, 5, 1), (5, 4), (3, 5)])
def test_weights_of_another_shape_are_refused(shape, rng):
    ids, labels = ids_of(rng), rng.integers(0, K, MASK.shape)
    weights = np.ones(shape)
    for call in (
        lambda: tagger().fit(ids, labels, sample_weight=weights),
        lambda: tagger().fit([(ids, labels, weights)], verbose=0),
        lambda: tagger().fit(nn.Dataset(ids, labels, weights)),
        lambda: tagger().evaluate(ids, labels, sample_weight=weights),
        lambda: tagger().train_step(ids, labels, weights),
    ):
        with pytest.raises(ValueError, match="sample_weight"):
            call()


# ------------------------------------------------------------------------- what looks on


def test_gradient_checks_traces_and_explanations_know_masks(rng, capsys):
    ids, labels = ids_of(rng), rng.integers(0, K, MASK.shape)
    model = tagger()
    assert check_model(model, ids, labels).ok
    model.trace(ids, labels)
    assert "1_Dense" in capsys.readouterr().out
    steps = cross_entropies(model, ids, labels)
    found = nn.explain.sample_losses(model, ids, labels, batch_size=3)
    np.testing.assert_allclose(found, [np.mean(own) for own in steps], rtol=1e-12)
    expected = tagger()
    expected.train_step(ids, labels)
    for key, grad in nn.explain.weight_gradients(tagger(), ids, labels).items():
        np.testing.assert_allclose(grad, grads_of(expected)[key], rtol=1e-12)


@pytest.mark.parametrize("shape", [(6, T, 1), (6, T, 2)])
def test_auc_takes_steps(shape, rng):
    y, p = rng.integers(0, 2, shape[:2]), rng.normal(size=shape)
    expected = nn.metrics.auc(y.reshape(-1), p.reshape(-1, shape[2]))
    assert nn.metrics.auc(y, p) == expected


def test_r2_takes_steps_as_samples(rng):
    y, p = rng.normal(size=(2, 6, T, 2))
    metric = nn.metrics.get("r2")
    metric.update(y[:2], p[:2])
    metric.update(y[2:], p[2:])
    expected = nn.metrics.r2(y.reshape(-1, 2), p.reshape(-1, 2))
    assert metric.result() == pytest.approx(expected, rel=1e-12)
    assert metric.samples == 6 * T
