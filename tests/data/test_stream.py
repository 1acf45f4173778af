"""Batches that others make: loaders, generators and functions in fit, evaluate and predict."""

import itertools
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
from nn import callbacks
from nn.data.stream import Stream
from nn.losses import Loss

SIZES = (5, 5, 5, 3)  # of the batches of the data here


def data(seed=0):
    """18 images as bytes, and which of three classes."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (18, 1, 6, 6), dtype=np.uint8), np.arange(18) % 3


X, Y = data()
X_VAL, Y_VAL = data(1)


def by_step(schedule):
    return callbacks.LearningRateScheduler(schedule, by="step")


def pairs(x=X, y=Y):
    ends = list(itertools.accumulate(SIZES))
    return [(x[b - n : b], y[b - n : b]) for n, b in zip(SIZES, ends, strict=True)]


def forever(batches):
    while True:
        yield from batches


def make(input_shape=(1, 6, 6), loss="cce", **arguments):
    arguments = {"seed": 3, **arguments}
    model = nn.Model(
        [
            nn.Conv2D(3, input_shape=input_shape),
            nn.BatchNorm2D(),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Dense(3),
        ],
        **arguments,
    )
    model.compile(loss, "adam", lr=0.01)
    return model


def assert_same(model, expected):
    assert model.history == expected.history
    for name, array in expected.get_arrays().items():
        np.testing.assert_array_equal(model.get_arrays()[name], array)


class Tensor:
    """What NumPy can read, and nothing else: as a tensor of another library."""

    def __init__(self, array):
        self.array = array
        self.ndim = array.ndim

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


class Loader:
    """Like PyTorch's: lists of tensors, begun anew by every iter(); len counts batches."""

    def __init__(self, batches):
        self.made, self.started = batches, 0

    def __iter__(self):
        self.started += 1
        for batch in self.made:
            yield [Tensor(np.asarray(part)) for part in batch]

    def __len__(self):
        return len(self.made)


class Sequence:
    """Like Keras': a length and an index; IndexError never comes."""

    def __init__(self, batches):
        self.made = batches

    def __len__(self):
        return len(self.made)

    def __getitem__(self, index):
        return self.made[index % len(self.made)]


class WithBatches:
    """An object with `batches` that passes on what it is given to a Dataset."""

    def __init__(self, x=X, y=Y):
        self.dataset, self.calls = nn.Dataset(x, y), []

    def batches(self, batch_size, shuffle=True, rng=None, num_threads=None, augment=None):
        self.calls.append((batch_size, shuffle, num_threads))
        return self.dataset.batches(
            batch_size, shuffle, rng=rng, num_threads=num_threads, augment=augment
        )


class Spy(callbacks.Callback):
    """Notes what `params` says at the end of each epoch's first and last batch."""

    def __init__(self):
        self.epochs, self.batch_sizes = [], []

    def on_epoch_begin(self, epoch, logs):
        self.epochs.append((self.params["steps"], self.params["samples"]))

    def on_train_batch_end(self, batch, logs):
        self.batch_sizes.append(self.params["batch_size"])


class Watched:
    """A generator that tells how far it was read, and whether it was closed."""

    def __init__(self, batches):
        self.read, self.closed = 0, False
        self.generator = self._run(batches)

    def _run(self, batches):
        try:
            for batch in batches:
                self.read += 1
                yield batch
        finally:
            self.closed = True


# -------------------------------------------------------- the same batches, the same result

SOURCES = {
    "list": lambda: pairs(),
    "tuple": lambda: tuple(pairs()),
    "loader": lambda: Loader(pairs()),
    "sequence": lambda: Sequence(pairs()),
    "function": lambda: lambda: (batch for batch in pairs()),
    "generator": lambda: forever(pairs()),
    "iterator": lambda: itertools.cycle(pairs()),
    "batches": WithBatches,
}


def flip(x, rng):
    flipped = rng.random(len(x)) < 0.5
    x[flipped] = x[flipped, ..., ::-1]
    return x


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"augment": flip, "lr_schedule": "cosine", "steps_per_epoch": 4},
        {"class_weight": {0: 3.0, 2: 0.5}, "validation": True, "steps_per_epoch": 4},
    ],
    ids=["plain", "augmented", "weighted"],
)
def test_training_on_a_source_equals_training_on_the_dataset(kind, arguments):
    arguments = {"epochs": 3, "verbose": 0, **arguments}
    source, steps = SOURCES[kind](), arguments.pop("steps_per_epoch", None)
    if arguments.pop("validation", False):
        arguments["val_data"] = (X_VAL, Y_VAL)
    if kind in ("generator", "iterator"):
        steps = 4
    expected = make()
    shuffle = kind == "batches"  # only this one knows the order that it is to have
    expected.fit(nn.Dataset(X, Y), batch_size=5, shuffle=shuffle, **arguments)
    model = make()
    model.fit(source, batch_size=5, steps_per_epoch=steps, **arguments)
    assert_same(model, expected)
    assert len(model.history["loss"]) == 3


def test_sources_are_begun_once_an_epoch():
    loader, calls = Loader(pairs()), []

    def function():
        calls.append(1)
        return iter(pairs())

    make().fit(loader, epochs=3, val_data=function, verbose=0)
    assert loader.started == 3
    assert len(calls) == 3


def test_float64_and_targets_that_are_numbers():
    x = np.random.default_rng(0).normal(size=(18, 4))
    y = x[:, :1] * 2
    histories = []
    for source in (nn.Dataset(x, y), pairs(x, y)):
        model = nn.Model([nn.Dense(1, input_shape=(4,))], seed=0, dtype="float64")
        model.compile("mse", "sgd")
        histories.append(model.fit(source, epochs=2, batch_size=5, shuffle=False, verbose=0))
        assert model.layers[0].params["W"].dtype == np.float64
    assert histories[0] == histories[1]
    assert "acc" not in histories[1]  # no classes


def test_one_hot_labels_and_mixed_labels():
    one_hot = np.eye(3)[Y]
    for augment in (None, nn.data.augment.Mixup(0.4)):
        expected, model = make(), make()
        expected.fit(
            nn.Dataset(X, one_hot),
            epochs=2,
            batch_size=5,
            shuffle=False,
            augment=augment,
            verbose=0,
        )
        model.fit(pairs(X, one_hot), epochs=2, augment=augment, verbose=0)
        assert_same(model, expected)


@pytest.mark.parametrize("class_weight", [None, {1: 4.0}])
def test_weights_of_samples_come_with_the_batches(class_weight):
    weight = np.linspace(0, 2, 18)
    expected, model = make(), make()
    expected.fit(
        nn.Dataset(X, Y, sample_weight=weight),
        batch_size=5,
        shuffle=False,
        class_weight=class_weight,
        verbose=0,
    )
    ends = (0, 5, 10, 15, 18)
    triples = [(X[a:b], Y[a:b], weight[a:b]) for a, b in itertools.pairwise(ends)]
    model.fit(Loader(triples), class_weight=class_weight, verbose=0)
    assert_same(model, expected)
    dataset = nn.Dataset(X, Y, sample_weight=weight)
    assert model.evaluate(triples) == model.evaluate(dataset, batch_size=5)


def test_class_weights_where_a_batch_lacks_classes():
    x = np.random.default_rng(0).normal(size=(4, 2)).astype("float32")
    for y, outputs in (([0, 0, 1, 0], 1), ([[0.0], [0.0], [1.0], [0.0]], 1), ([0, 0, 2, 0], 3)):
        models = [nn.Model([nn.Dense(outputs, input_shape=(2,))], seed=0) for _ in range(2)]
        for model, source in zip(
            models,
            [nn.Dataset(x, y), [(x[:2], y[:2]), (x[2:], y[2:])]],
            strict=True,
        ):
            model.compile("bce" if outputs == 1 else "cce", "sgd")
            weights = {max(np.ravel(y)): 5.0} if outputs == 3 else {1: 5.0}
            model.fit(source, batch_size=2, shuffle=False, class_weight=weights, verbose=0)
        assert_same(models[1], models[0])


def test_the_first_batch_builds_the_model():
    for source in (Loader(pairs()), forever(pairs())):
        model = make(input_shape=None)
        assert not model.built
        model.fit(source, steps_per_epoch=2, num_classes=3, verbose=0)
        assert model.input_shape == (None, 1, 6, 6)
        assert model.optimizer.iterations == 2
    model = make(input_shape=None)
    with pytest.raises(ValueError, match="'num_classes' must be the 3 outputs"):
        model.fit(pairs(), num_classes=4, verbose=0)
    assert model.optimizer.iterations == 0


def test_a_source_may_use_its_arrays_again():
    """Neither figures nor an augmentation may see, or change, what the source holds."""

    def in_one_buffer():
        x, y = np.empty((6, 1, 6, 6), "float32"), np.empty(6, int)
        for k in range(0, 18, 6):
            x[...], y[...] = X[k : k + 6] / np.float32(255), Y[k : k + 6] % 2
            yield x, y

    def blacken(x, rng):
        x[...] = 0
        return x

    models = [nn.Model([nn.Flatten(), nn.Dense(2)], seed=0) for _ in range(2)]
    for model, source in zip(models, [in_one_buffer, nn.Dataset(X, Y % 2)], strict=True):
        model.compile("cce", metrics=["acc", "auc"])  # AUC needs all labels at the epoch's end
        model.fit(source, batch_size=6, shuffle=False, epochs=2, verbose=0)
    assert_same(*models)
    batches = [(np.full((2, 1, 6, 6), 0.5, "float32"), np.array([0, 1]))]
    make().fit(batches, augment=blacken, verbose=0)
    assert (batches[0][0] == 0.5).all()


def test_augmentation_is_repeated_by_the_seed_and_new_each_epoch():
    seen = []

    def note(x, rng):
        seen.append(rng.integers(2**60))
        return x

    for _ in range(2):
        make().fit(pairs(), epochs=2, augment=note, verbose=0)
    assert seen[:8] == seen[8:]
    assert len(set(seen)) == 8


# ------------------------------------------------------------------- an object with batches


def test_batches_takes_what_its_signature_names():
    calls = []

    class Few:
        def batches(self, batch_size):
            calls.append({"batch_size": batch_size})
            return iter(pairs())

    class Any:
        def batches(self, batch_size, **others):
            calls.append(others)
            return iter(pairs())

    class Own:
        def batches(self, batch_size, *, num_threads, dtype, rng="mine", shuffle="mine"):
            calls.append((num_threads, dtype, rng, shuffle))
            return iter(pairs())

    model = make()
    model.fit(Few(), batch_size=7, verbose=0)
    assert calls.pop() == {"batch_size": 7}
    seen = []
    model.fit(Any(), shuffle=False, augment=lambda x, rng: seen.append(1) or x, verbose=0)
    others = calls.pop()
    assert others == {"shuffle": False, "rng": model._data_rng, "dtype": np.dtype("float32")}
    assert len(seen) == 4  # the augmentation is not lost in **others
    model.evaluate(Own())
    assert calls.pop() == (None, np.dtype("float32"), "mine", False)


def test_batches_is_called_each_epoch_and_in_order_for_validation():
    train, val = WithBatches(), WithBatches(X_VAL, Y_VAL)
    make().fit(train, epochs=2, batch_size=5, num_threads=1, shuffle=False, val_data=val, verbose=0)
    assert train.calls == [(5, False, 1)] * 2
    assert val.calls == [(256, False, None)] * 2


def test_len_of_an_object_with_batches_counts_samples():
    class Sized(WithBatches):
        def __len__(self):
            return 18

    spy, model, expected = Spy(), make(), make()
    arguments = {"batch_size": 5, "epochs": 2, "lr_schedule": "cosine", "verbose": 0}
    model.fit(Sized(), callbacks=spy, **arguments)
    expected.fit(nn.Dataset(X, Y), **arguments)
    assert [steps for steps, _ in spy.epochs] == [4, 4]
    assert_same(model, expected)


# ------------------------------------------------------------------------- steps per epoch


def test_a_generator_is_read_on_over_epochs_and_fits_and_never_too_far():
    numbered = Watched((X[:2], [k % 3, 0]) for k in range(9))
    model = make()
    model.fit(numbered.generator, epochs=2, steps_per_epoch=3, verbose=0)
    assert (numbered.read, numbered.closed) == (6, False)
    model.fit(numbered.generator, verbose=0)  # what is left is one epoch
    assert (numbered.read, numbered.closed) == (9, True)
    assert model.optimizer.iterations == 9


def test_other_data_begins_anew_each_epoch():
    seen = []

    def note(x, rng):
        seen.append(len(x))
        return x

    make().fit(pairs()[::-1], epochs=2, steps_per_epoch=2, augment=note, verbose=0)
    assert seen == [3, 5] * 2
    spy, model = Spy(), make()
    history = model.fit(
        X, Y, batch_size=5, epochs=2, steps_per_epoch=3, callbacks=spy, verbose=0, num_threads=0
    )
    assert model.optimizer.iterations == 6
    assert spy.epochs == [(3, 15)] * 2
    assert spy.batch_sizes == [5] * 6
    assert len(history["loss"]) == 2


def test_all_steps_of_a_dataset_are_the_dataset():
    weights = {"sample_weight": np.linspace(0, 1, 18), "augment": flip, "class_weight": {2: 3.0}}
    expected, model = make(), make()
    for each, steps in ((expected, None), (model, 4)):
        each.fit(
            X, Y, batch_size=5, epochs=2, validation_split=0.0, steps_per_epoch=steps,
            verbose=0, **weights,
        )  # fmt: skip
    assert_same(model, expected)


def test_metrics_of_a_dataset_in_steps_go_by_all_its_targets():
    """Zeros and ones alone would be classes, and the accuracy of a single output be measured."""
    x, y = np.eye(4, dtype="float32"), np.array([[0], [1], [2], [3]])
    model = nn.Model([nn.Dense(1, input_shape=(4,))], seed=0)
    model.compile("mse")
    history = model.fit(x, y, batch_size=2, steps_per_epoch=2, shuffle=False, verbose=0, epochs=2)
    assert list(history) == ["loss", "lr"]


# ------------------------------------------------------------------------------- progress


class SizedOnly(Loader):
    """A loader whose len() raises, as that of a stream of unknown length does."""

    def __len__(self):
        raise TypeError("has no len()")


def test_params_say_what_is_known():
    known, unknown = Spy(), Spy()
    make().fit(Loader(pairs()), epochs=2, callbacks=known, verbose=0)
    make().fit(SizedOnly(pairs()), epochs=2, callbacks=unknown, verbose=0)
    assert known.epochs == [(4, 20), (4, 18)]  # at first an estimate by the first batch
    assert unknown.epochs == [(math.inf, math.inf), (4, 18)]
    assert known.batch_sizes == unknown.batch_sizes == [*SIZES, *SIZES]


@pytest.mark.parametrize("loader", [Loader, SizedOnly])
def test_the_bar_counts_images_with_and_without_a_known_end(loader, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    make().fit(loader(pairs()), epochs=2, verbose=1)
    bars = capsys.readouterr().err
    assert "Epoch 1/2" in bars
    assert "18/18" in bars.split("Epoch 2/2")[-1]
    first = bars.split("Epoch 2/2")[0]
    assert ("/20" in first) == (loader is Loader)
    assert ("18/18" if loader is Loader else "18 samples") in first


def test_lines_without_a_terminal(capsys):
    make().fit(SizedOnly(pairs()), epochs=2, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:9] for line in lines] == ["Epoch 1/2", "Epoch 2/2"]
    assert all("samples/s" in line for line in lines)


# --------------------------------------------------------------------------------- resume


def test_resume_draws_the_same_augmentation(tmp_path):
    arguments = {"augment": flip, "verbose": 0, "val_data": [(X_VAL, Y_VAL)]}
    whole = make()
    keep = callbacks.ModelCheckpoint(
        tmp_path / "at{epoch}.hdf5", save_best_only=False, save_state=True
    )
    whole.fit(pairs(), epochs=4, callbacks=keep, **arguments)
    for input_shape in ((1, 6, 6), None):  # the second is built by the file
        resumed = make(input_shape, seed=99)
        resumed.fit(pairs(), epochs=4, resume=tmp_path / "at2.hdf5", **arguments)
        assert_same(resumed, whole)
    one_more = make()
    one_more.fit(iter(pairs()), epochs=5, resume=tmp_path / "at4.hdf5", verbose=0)
    assert one_more.epoch == 5


def test_initial_epoch_counts_and_nothing_is_read_where_no_epoch_is_left():
    watched = Watched(pairs())
    model = make()
    model.fit(watched.generator, epochs=2, initial_epoch=2, verbose=0)
    assert watched.read == 0
    assert model.optimizer.iterations == 0
    with pytest.raises(ValueError, match=r"epoch 3, batch 1: .* must be in 0\.\.2"):
        model.fit([(X, Y), (X, Y + 1)], epochs=3, initial_epoch=2, verbose=0)


# ------------------------------------------------------------------------ evaluate, predict


@pytest.mark.parametrize("kind", ["list", "tuple", "loader", "sequence", "function", "batches"])
def test_evaluate_and_predict_read_any_source(kind):
    model = make()
    model.fit(X, Y, verbose=0)
    source = SOURCES[kind]()
    dataset = nn.Dataset(X, Y)
    assert model.evaluate(source, batch_size=5) == model.evaluate(dataset, batch_size=5)
    np.testing.assert_array_equal(model.predict(source, 5), model.predict(X, 5))
    np.testing.assert_array_equal(model.predict_classes(source, 5), model.predict_classes(X, 5))


def test_evaluate_and_predict_read_generators_and_inputs_alone():
    model = make()
    expected = model.predict(X, 5)
    assert model.evaluate(iter(pairs())) == model.evaluate(X, Y, batch_size=5)
    alone = [x for x, _ in pairs()]
    for source in (alone, tuple(alone), iter(alone), [(x,) for x in alone], Loader(pairs())):
        np.testing.assert_array_equal(model.predict(source), expected)
    np.testing.assert_array_equal(model.predict(lambda: iter(alone)), expected)


def test_a_list_of_samples_is_still_an_array():
    model, floats = make(), X / np.float32(255)
    np.testing.assert_array_equal(model.predict(list(X)), model.predict(X))
    np.testing.assert_array_equal(model.predict(floats.tolist()), model.predict(floats))
    np.testing.assert_array_equal(make(None).predict(list(X)), make(None).predict(X))
    history = model.fit(list(X), list(Y), val_data=(list(X_VAL), list(Y_VAL)), verbose=0)
    assert "val_acc" in history


def test_a_pair_of_arrays_and_a_list_of_two_batches_are_told_apart():
    one_hot = np.eye(3)[Y_VAL]
    model = make()
    arrays = model.fit(X, Y, epochs=1, val_data=[X_VAL, one_hot], verbose=0)["val_loss"]
    model = make()
    halves = [(X_VAL[:9], one_hot[:9]), (X_VAL[9:], one_hot[9:])]
    batches = model.fit(X, Y, epochs=1, val_data=halves, verbose=0)["val_loss"]
    np.testing.assert_allclose(batches, arrays, rtol=1e-6)


@given(st.lists(st.integers(1, 18), max_size=6))
def test_figures_do_not_depend_on_how_rows_are_shared_out(cuts):
    model = nn.Model([nn.Flatten(), nn.Dense(3)], seed=0)
    model.compile("cce", metrics=["acc", "f1"])
    ends = sorted({0, 18, *cuts})
    batches = [(X[a:b], Y[a:b]) for a, b in itertools.pairwise(ends)]
    whole = model.evaluate(X, Y)
    shared = model.evaluate(batches)
    assert shared.keys() == whole.keys()
    for name, value in whole.items():
        assert shared[name] == pytest.approx(value, rel=1e-6)


# ----------------------------------------------------------------- errors before the first step

WITHOUT_WEIGHTS = type(
    "WithoutWeights",
    (Loss,),
    {"forward": lambda self, y_pred, y_true: 0.0, "backward": lambda self: 0},
)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.fit(iter(pairs()), epochs=2), ValueError,
            r"'data' must be readable 2 times.*can be read once: .* 'steps_per_epoch'.*function"),
        (lambda m: m.fit(X, Y, epochs=2, val_data=iter(pairs())), ValueError,
            "'val_data' must be readable 2 times.*a list of batches, or a function"),
        (lambda m: m.fit(X, Y, epochs=2, validation_data=iter(pairs())), ValueError,
            "'validation_data' must be readable 2 times"),
        (lambda m: m.fit(pairs(), Y), ValueError, "'y' must not be given with batches"),
        (lambda m: m.fit(Loader(pairs()), Y), ValueError, "'y' must not be given with batches"),
        (lambda m: m.fit(pairs(), sample_weight=np.ones(18)), ValueError,
            r"'sample_weight' must not be given with batches .*\(x, y, sample_weight\)"),
        (lambda m: m.evaluate(pairs(), sample_weight=np.ones(18)), ValueError, "'sample_weight'"),
        (lambda m: m.fit(pairs(), validation_split=0.5), ValueError,
            "'validation_split' must not be given with batches .* val_data"),
        (lambda m: m.fit(SizedOnly(pairs()), lr_schedule="cosine"), ValueError,
            "'lr_schedule' needs the number of batches .* 'steps_per_epoch'"),
        (lambda m: m.fit(iter(pairs()), lr_schedule=lambda step: 0.1), ValueError,
            r"'lr_schedule' needs .*compile\(lr=\.\.\.\)"),
        (lambda m: m.fit(iter(pairs()), callbacks=by_step(float)),
            ValueError, "'lr_schedule' needs"),
        (lambda m: m.fit(iter(pairs()), lr_schedule="plato"), ValueError, "did you mean 'plateau'"),
        (lambda m: m.fit([]), ValueError, "'data' gave no batches: is it empty"),
        (lambda m: m.fit(iter([]), epochs=3, steps_per_epoch=2), ValueError, "gave no batches"),
        (lambda m: m.fit(X, Y, val_data=lambda: iter([])), ValueError, "'val_data' gave no batch"),
        (lambda m: m.evaluate([]), ValueError, "gave no batches"),
        (lambda m: m.predict(iter([])), ValueError, "'x' gave no batches"),
        (lambda m: m.fit(lambda: None), TypeError, "must return batches .* gave None"),
        (lambda m: m.fit([X]), TypeError,
            r"'data', epoch 1, batch 0: must be a pair \(x, y\).*got ndarray of shape \(18,"),
        (lambda m: m.fit((X, Y)), TypeError, r"got a tuple of 2: pass its parts as arguments"),
        (lambda m: m.fit([(X,)]), TypeError, "must be a pair .* got a tuple of 1"),
        (lambda m: m.fit([(X, Y, Y, Y)]), TypeError, "got a tuple of 4"),
        (lambda m: m.fit([{"x": X, "y": Y}]), TypeError, "must be a pair .* got dict"),
        (lambda m: m.fit(range(3)), TypeError, "must be a pair .* got int"),
        (lambda m: m.fit([None]), TypeError, "must be a pair .* got NoneType"),
        (lambda m: m.fit([(X, None)]), ValueError, "batch 0: a batch must have targets"),
        (lambda m: m.fit([(X, Y[:-1])]), ValueError, "'y' must have as many rows as x"),
        (lambda m: m.fit([(X, 3)]), ValueError, "'y' must have samples along its first axis"),
        (lambda m: m.fit([([[1], [2, 3]], Y)]), ValueError, "'x' must be an array"),
        (lambda m: m.fit([(X[:0], Y[:0])]), ValueError, "'x' must hold at least one sample"),
        (lambda m: m.fit([(X.astype(str), Y)]), TypeError, "batch 0: 'x' must hold real numbers"),
        (lambda m: m.fit([(X[:, :, :5], Y)]), ValueError, "batch 0: expects inputs of shape"),
        (lambda m: m.fit([(X / np.nan, Y)]), ValueError, "batch 0: 'x' must be finite"),
        (lambda m: m.fit([(X, Y + 1)]), ValueError, r"batch 0: .* must be in 0\.\.2, got 3"),
        (lambda m: m.fit([(X, Y.astype(float))]), ValueError, "must hold integer labels"),
        (lambda m: m.fit([(X, Y, Y - 1)]), ValueError, "batch 0: 'sample_weight' must not be neg"),
        (lambda m: m.fit([(X, Y, [1.0])]), ValueError, r"'sample_weight' must have the shape"),
        (lambda m: m.fit(pairs(), class_weight={3: 1.0}), ValueError, r"of the labels, 0\.\.2"),
        (lambda m: m.fit(pairs(), class_weight=[1]), ValueError, "'class_weight' must be"),
        (lambda m: m.fit([(X, Y, Y)], augment=nn.data.augment.Mixup(0.2)), ValueError,
            "must not mix labels"),
        (lambda m: m.fit(pairs(), augment=3), ValueError, "'augment' must be a function"),
        (lambda m: m.fit(pairs(), augment=lambda x, rng: x[1:]), RuntimeError,
            "batch 0: 'augment' failed: ValueError: 'augment' must return 5 rows"),
        (lambda m: m.fit(pairs(), num_threads=-1), ValueError, "'num_threads'"),
        (lambda m: m.fit(pairs(), num_classes=4), ValueError, "'num_classes' must be the 3"),
        (lambda m: m.fit(pairs(), steps_per_epoch=0), ValueError, "'steps_per_epoch' must be"),
        (lambda m: m.fit(pairs(), steps_per_epoch=5), ValueError,
            "'steps_per_epoch' must be at most the 4 batches of 'data', got 5"),
        (lambda m: m.fit(X, Y, batch_size=9, steps_per_epoch=3), ValueError, "most the 2 batches"),
        (lambda m: m.fit(X, Y, val_data=[(X, Y + 1)]), ValueError, r"'val_data', batch 0: "),
        (lambda m: m.fit(X, Y, val_data=(X, Y, Y, Y)), TypeError, "'val_data', batch 0: must be"),
        (lambda m: m.fit({"x": X}), TypeError, "'x' must be one array, got a dict"),
        (lambda m: m.fit("images"), TypeError, "'x' must hold real numbers"),
        (lambda m: m.predict([X, X[:, :, :5]]), ValueError, "'x', batch 1: expects inputs"),
        (lambda m: m.evaluate([(X, Y), (X[:1], [7])]), ValueError, r"'data', batch 1: .*in 0\.\.2"),
    ],
)  # fmt: skip
def test_bad_sources_are_errors_before_the_first_step(call, error, message):
    model = make()
    model.fit(X, Y, verbose=0)
    history = dict(model.history)
    before = {k: v.copy() for k, v in model.get_arrays().items()}
    with pytest.raises(error, match=message):
        call(model)
    assert model.history == history
    for name, array in model.get_arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_weights_need_a_loss_that_takes_them():
    model = make(loss=WITHOUT_WEIGHTS())
    for arguments in ({"data": [(X, Y, np.ones(18))]}, {"data": [(X, Y)], "class_weight": {0: 2}}):
        with pytest.raises(ValueError, match="batch 0: sample weights need a loss"):
            model.fit(verbose=0, **arguments)


# ---------------------------------------------------------------------- errors on the way


def test_a_later_batch_that_is_wrong_is_named():
    model = make()
    with pytest.raises(ValueError, match=r"'data', epoch 1, batch 2: expects inputs of shape"):
        model.fit([(X, Y), (X, Y), (X[:, :, 1:], Y)], epochs=2, verbose=0)
    assert model.optimizer.iterations == 2


class StuckError(Exception):
    pass


@pytest.mark.parametrize(("after", "place"), [(0, "epoch 1, batch 0"), (5, "epoch 2, batch 1")])
def test_what_the_source_raises_comes_out_with_a_note(after, place):
    def broken():
        for index, batch in enumerate(forever(pairs())):
            if index == after:
                raise StuckError("the disk is full")
            yield batch

    model = make()
    with pytest.raises(StuckError, match="the disk is full") as caught:
        model.fit(broken(), epochs=3, steps_per_epoch=4, verbose=0)
    assert caught.value.__notes__ == [f"[Model] raised by 'data', {place}."]
    assert len(model.history.get("loss", ())) == after // 4
    with pytest.raises(StuckError) as caught:
        model.evaluate(broken())
    assert caught.value.__notes__ == [f"[Model] raised by 'data', batch {after}."]


def test_a_function_that_fails_gets_a_note_as_well():
    def cannot():
        raise StuckError

    with pytest.raises(StuckError) as caught:
        make().fit(cannot, verbose=0)
    assert "epoch 1, batch 0" in caught.value.__notes__[0]


def test_a_source_that_ends_within_an_epoch_keeps_what_was_learned():
    class End(callbacks.Callback):
        ended = 0

        def on_train_end(self, logs):
            self.ended += 1

    model, end = make(), End()
    with pytest.raises(RuntimeError, match=r"'data' ended after 1 of 3 batches in epoch 2"):
        model.fit(iter(pairs()), epochs=2, steps_per_epoch=3, callbacks=end, verbose=0)
    assert len(model.history["loss"]) == 1
    assert model.epoch == 1
    assert model.optimizer.iterations == 4
    assert end.ended == 1


def test_a_second_epoch_without_batches_says_why():
    generator = iter(pairs())
    with pytest.raises(RuntimeError, match=r"no batches in epoch 2, .* can be read repeatedly"):
        make().fit(lambda: generator, epochs=2, verbose=0)
    with pytest.raises(ValueError, match="a generator that has been read"):
        make().fit(generator, verbose=0)


# --------------------------------------------------------------------------- closing


class Break(callbacks.Callback):
    def __init__(self, error=None, at="on_train_batch_end"):
        self.error = error
        setattr(self, at, self._break)

    def _break(self, *arguments):
        if self.error is None:
            self.model.stop_training = True
        else:
            raise self.error


@pytest.mark.parametrize("at", ["on_train_begin", "on_train_batch_end", "on_epoch_end"])
@pytest.mark.parametrize("error", [StuckError(), KeyboardInterrupt(), None], ids=repr)
def test_generators_are_closed_where_training_ends_early(error, at):
    train, val = Watched(forever(pairs())), []

    def new_val():
        val.append(Watched(pairs(X_VAL, Y_VAL)))
        return val[-1].generator

    model = make()
    arguments = {
        "epochs": 3,
        "steps_per_epoch": 2,
        "val_data": new_val,
        "callbacks": Break(error, at),
        "verbose": 0,
    }
    if isinstance(error, StuckError) or (error is not None and at == "on_train_begin"):
        with pytest.raises(type(error)):
            model.fit(train.generator, **arguments)
    else:
        model.fit(train.generator, **arguments)
        assert model.epoch < 3
    assert train.closed
    assert len(val) == 1
    assert val[0].closed


def test_ctrl_c_in_the_source_itself():
    def until_ctrl_c():
        yield from pairs()
        raise KeyboardInterrupt

    history = make().fit(until_ctrl_c(), steps_per_epoch=4, epochs=2, verbose=0)
    assert len(history["loss"]) == 1


def test_generators_that_fit_opened_are_closed_after_each_epoch():
    opened = []

    def function():
        opened.append(Watched(forever(pairs())))
        assert all(earlier.closed for earlier in opened[:-1])
        return opened[-1].generator

    make().fit(function, epochs=3, steps_per_epoch=2, verbose=0)
    assert [each.read for each in opened] == [2, 2, 2]
    assert opened[-1].closed


def test_a_generator_is_closed_where_the_validation_data_is_refused():
    train = Watched(pairs())
    with pytest.raises(ValueError, match="'val_data', batch 0"):
        make().fit(train.generator, val_data=[(X, Y + 1)], verbose=0)
    assert train.closed


def test_a_stream_alone_hands_out_what_a_dataset_does():
    stream, dataset = Stream(pairs()), nn.Dataset(X, Y)
    rngs = [np.random.default_rng(5) for _ in range(2)]
    ours = stream.batches(rng=rngs[0], augment=flip, dtype="float64")
    theirs = dataset.batches(5, False, rng=rngs[1], augment=flip, dtype="float64")
    for (x, y), (x_expected, y_expected) in zip(ours, theirs, strict=True):
        assert x.dtype == np.float64
        np.testing.assert_array_equal(x, x_expected)
        np.testing.assert_array_equal(y, y_expected)
    assert stream.counted == (4, 18)


def test_batches_are_copies():
    for dtype in ("float32", "float64", "int64"):
        x, y, weight = np.ones((2, 3), dtype), np.ones(2, dtype), np.ones(2)
        x_batch, y_batch, weights = next(Stream([(x, y, weight)]).batches())
        for array in (x, y, weight):
            array[...] = 7
        assert x_batch.dtype == weights.dtype == np.float32
        assert y_batch.dtype == ("int64" if dtype == "int64" else "float32")
        for part in (x_batch, y_batch, weights):
            assert (part == 1).all()


def test_batches_kept_are_the_next_ones_and_are_closed_with_the_stream():
    stream = Stream(iter(pairs()))
    kept = stream.batches()
    stream.keep(kept)
    assert stream.batches() is kept
    assert len(list(kept)) == 4
    watched = Watched(pairs())
    stream = Stream(lambda: watched.generator)
    kept = stream.batches()
    stream.keep(kept)
    stream.close()
    assert watched.closed
    assert list(kept) == []
