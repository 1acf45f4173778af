"""The plots: drawn without a screen, and read back: what lines, images and texts are in them."""

import inspect
import io
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from conftest import ROOT

import nn
from nn.callbacks import CSVLogger
from nn.inspect import explain
from nn.layers.plan import named_layers

matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib, the extra 'plot'")

from matplotlib.colors import to_hex, to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

NAMES = ["cat", "dog", "emu"]
HISTORY = {
    "loss": [0.9, 0.5, 0.3],
    "acc": [0.5, 0.7, 0.9],
    "val_loss": [0.8, 0.6, 0.5],
    "val_acc": [0.6, 0.7, 0.8],
    "lr": [0.1, 0.1, 0.01],
    "seconds": [1.0, 1.0, 1.0],
}
CURVE = nn.LRCurve(
    np.logspace(-3, 0, 6),
    np.array([2.0, 2.1, 1.5, 1.0, 1.2, 9.0]),
    np.array([2.0, 2.0, 1.5, 1.2, 1.3, 2.0]),
    0.02,
)


def images(n=6, channels=1):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, channels, 8, 8), dtype=np.uint8)


def image_model(channels=1, last=()):
    layers = [nn.Conv2D(4, input_shape=(channels, 8, 8)), nn.ReLU(), nn.MaxPool2D(), nn.Flatten()]
    model = nn.Model([*layers, nn.Dense(3), *last], seed=0)
    model.compile("cce", "adam")
    model.train_step(images(6, channels), np.arange(6) % 3)  # gradients and an optimizer's state
    return model


def plane(outputs=3):
    model = nn.Model([nn.Dense(8, activation="tanh", input_shape=(2,)), nn.Dense(outputs)], seed=0)
    x = np.random.default_rng(0).normal(size=(30, 2))
    return model, x, np.arange(30) % max(outputs, 2)


@pytest.fixture
def model():
    return image_model()


# A call of every public function, with Axes of one's own or without.
CALLS = {
    "architecture": lambda **ax: nn.plot.architecture(image_model(), **ax),
    "confusion_matrix": lambda **ax: nn.plot.confusion_matrix([0, 1, 1], [0, 1, 0], **ax),
    "decision_boundary": lambda **ax: nn.plot.decision_boundary(*plane(), resolution=9, **ax),
    "feature_maps": lambda **ax: nn.plot.feature_maps(image_model(), images(1), **ax),
    "filters": lambda **ax: nn.plot.filters(image_model(), **ax),
    "grad_cam": lambda **ax: nn.plot.grad_cam(image_model(3), images(2, 3), **ax),
    "gradient_histograms": lambda **ax: nn.plot.gradient_histograms(
        image_model(), images(), np.arange(6) % 3, **ax
    ),
    "images": lambda **ax: nn.plot.images(images(4, 3), **ax),
    "learning_curves": lambda **ax: nn.plot.learning_curves(HISTORY, **ax),
    "lr_range": lambda **ax: nn.plot.lr_range(CURVE, **ax),
    "saliency": lambda **ax: nn.plot.saliency(image_model(), images(2), **ax),
    "weight_histograms": lambda **ax: nn.plot.weight_histograms(image_model(), **ax),
    "worst_mistakes": lambda **ax: nn.plot.worst_mistakes(
        image_model(), images(), np.arange(6) % 3, **ax
    ),
}


def texts_of(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def shown(ax):
    return [np.asarray(image.get_array()) for image in ax.images]


def saved(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=40)
    return file.getvalue()


# -------------------------------------------------------------------------- the contract


def test_every_public_function_is_held_to_the_contract():
    public = {name for name, value in vars(nn.plot).items() if inspect.isfunction(value)}
    assert public == set(nn.plot.__all__) == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_a_plot_is_a_figure_that_can_be_saved_shown_and_pickled(name):
    figure = CALLS[name]()
    assert isinstance(figure, Figure)
    assert saved(figure).startswith(b"\x89PNG")
    assert figure._repr_png_().startswith(b"\x89PNG")  # what a notebook asks for
    again = pickle.loads(pickle.dumps(figure))
    assert len(again.axes) == len(figure.axes)
    assert max(figure.get_size_inches()) < 16


@pytest.mark.parametrize("name", CALLS)
def test_a_plot_goes_into_the_axes_that_are_given(name):
    parameters = inspect.signature(getattr(nn.plot, name)).parameters
    assert "Figure" in inspect.signature(getattr(nn.plot, name)).return_annotation
    mine = Figure(figsize=(9, 3), layout="constrained")
    part, _ = mine.subfigures(1, 2)
    several = part.subplots(1, 3)
    if "axes" in parameters:
        assert CALLS[name](axes=several) is mine
    else:
        assert CALLS[name](ax=several[0]) is mine
        assert several[0].has_data() or several[0].texts
        assert not several[1].has_data()
    assert saved(mine).startswith(b"\x89PNG")
    argument = "axes" if "axes" in parameters else "ax"
    with pytest.raises(ValueError, match=rf"^\[plot\.{name}\] '{argument}'"):
        CALLS[name](**{argument: "here"})


def test_too_few_axes_are_an_error():
    axes = Figure().subplots(1, 2)
    with pytest.raises(ValueError, match=r"'axes'.*3"):
        nn.plot.learning_curves(HISTORY, axes=axes)


def test_without_matplotlib_each_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name, call in CALLS.items():
        with pytest.raises(ImportError) as error:
            call()
        assert str(error.value) == (
            f"[plot.{name}] needs matplotlib to draw: python -m pip install matplotlib."
        )


def test_neither_import_nor_plots_touch_pyplot_or_a_screen():
    code = (
        "import sys, nn; assert 'matplotlib' not in sys.modules\n"
        "nn.plot.learning_curves({'loss': [1.0]}).savefig(sys.stdout.buffer)\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {"PYTHONPATH": str(ROOT), "NN_DISABLE_CUDA": "1", "MPLBACKEND": "tkagg"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(b"\x89PNG")


@pytest.mark.parametrize("channels", [1, 3])
def test_models_and_data_are_left_as_they_were(channels):
    x, y = images(6, channels), np.array([0, 1, 2, 2, 1, 0])
    given = x.copy()
    model, twin = image_model(channels), image_model(channels)
    nn.plot.architecture(model)
    nn.plot.filters(model)
    nn.plot.feature_maps(model, x[:1])
    nn.plot.saliency(model, x)
    nn.plot.grad_cam(model, x)
    nn.plot.worst_mistakes(model, x, y)
    nn.plot.weight_histograms(model)
    nn.plot.gradient_histograms(model, x, y)
    np.testing.assert_array_equal(x, given)
    for (path, one), (_, two) in zip(
        named_layers(model.layers), named_layers(twin.layers), strict=True
    ):
        for name in ("params", "grads", "buffers"):
            for key, array in getattr(two, name).items():
                np.testing.assert_array_equal(getattr(one, name)[key], array, err_msg=path)
        assert one.rng.bit_generator.state == two.rng.bit_generator.state
    assert model.train_step(x, y) == twin.train_step(x, y)


# ----------------------------------------------------------------------- learning curves


def test_curves_of_one_run_are_its_figures():
    figure = nn.plot.learning_curves(HISTORY)
    assert [ax.get_title() for ax in figure.axes] == ["loss", "accuracy", "learning rate"]
    for ax, keys in zip(
        figure.axes, (["loss", "val_loss"], ["acc", "val_acc"], ["lr"]), strict=True
    ):
        assert ax.get_xlabel() == "epoch"
        for line, key in zip(ax.lines, keys, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
            np.testing.assert_array_equal(line.get_ydata(), HISTORY[key])
    training, validation = figure.axes[0].lines
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "training",
        "validation",
    ]
    assert training.get_linestyle() != validation.get_linestyle()
    assert training.get_marker() != validation.get_marker()
    assert training.get_color() != validation.get_color()


def test_curves_take_histories_models_dictionaries_and_csv_files(tmp_path):
    model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
    model.compile("mse", "sgd")
    log = CSVLogger(tmp_path / "log.csv", separator=";")
    history = model.fit(np.eye(2), np.ones((2, 1)), epochs=3, callbacks=log, verbose=0)
    for given in (history, history.history, dict(history), model, log.path, str(log.path)):
        figure = nn.plot.learning_curves(given)
        assert [ax.get_title() for ax in figure.axes] == ["loss", "learning rate"]
        [line] = figure.axes[0].lines
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_allclose(line.get_ydata(), history["loss"])


def test_several_runs_are_told_apart_by_colour_and_parts_by_style(tmp_path):
    (tmp_path / "c.csv").write_text("epoch,loss,val_loss\n4,0.5,NA\n5,0.4,0.6\n")
    runs = {"a": HISTORY, "b": nn.callbacks.History(loss=[1.0, 0.8]), "c": tmp_path / "c.csv"}
    figure = nn.plot.learning_curves(runs)
    loss, _, rate = figure.axes
    labels = [line.get_label() for line in loss.lines]
    assert labels == ["a, training", "a, validation", "b, training", "c, training", "c, validation"]
    colours = [line.get_color() for line in loss.lines]
    assert colours[0] == colours[1] and colours[3] == colours[4]
    assert len({colours[0], colours[2], colours[3]}) == 3
    assert [line.get_linestyle() for line in loss.lines] == ["-", "--", "-", "-", "--"]
    np.testing.assert_array_equal(loss.lines[4].get_xdata(), [5, 6])
    np.testing.assert_array_equal(loss.lines[4].get_ydata(), [np.nan, 0.6])
    assert [line.get_label() for line in rate.lines] == ["a"]


def test_panels_may_be_chosen_and_rates_far_apart_get_a_logarithmic_scale():
    history = {"f1": [0.1, 0.2], "val_f1": [0.2, 0.3], "lr": [1.0, 1e-4]}
    figure = nn.plot.learning_curves(history, figures=["f1", "loss", "lr"])
    assert [ax.get_title() for ax in figure.axes] == ["f1", "learning rate"]
    assert figure.axes[1].get_yscale() == "log"
    assert nn.plot.learning_curves(HISTORY, "lr").axes[0].get_yscale() == "linear"
    saved(nn.plot.learning_curves({"loss": [np.nan, np.inf], "lr": [0.0, 0.0]}))
    four = nn.plot.learning_curves(HISTORY, ["loss", "acc", "lr", "seconds"])
    assert [ax.get_title() for ax in four.axes][3:] == ["seconds"]  # and no empty panels


def test_what_is_no_history_is_refused(tmp_path):
    (tmp_path / "no.csv").write_text("step,loss\n0,1\n")
    (tmp_path / "empty.csv").write_text("epoch,loss\n")
    with pytest.raises(ValueError, match=r"'figures'.*'f1'.*got \['loss', 'acc'"):
        nn.plot.learning_curves({"f1": [0.5]})
    for wrong, rule in (
        ({}, "must hold"),
        ({"loss": []}, "must hold"),
        (tmp_path / "empty.csv", "must hold"),
        (tmp_path / "no.csv", ".*CSVLogger"),
        ([0.9, 0.5], ".*history, a dict"),
        ({"loss": 0.5}, ".*list of numbers as 'loss'"),
        ({"a": {"loss": ["x"]}}, ".*list of numbers as 'loss'"),
    ):
        with pytest.raises(ValueError, match=rf"^\[plot.learning_curves\] 'history' {rule}"):
            nn.plot.learning_curves(wrong)
    with pytest.raises(FileNotFoundError):
        nn.plot.learning_curves(tmp_path / "nowhere.csv")


def test_lr_range_draws_both_curves_and_the_suggestion():
    ax = nn.plot.lr_range(CURVE).axes[0]
    points, smoothed, suggestion = ax.lines
    np.testing.assert_array_equal(points.get_ydata(), CURVE.losses)
    np.testing.assert_array_equal(smoothed.get_ydata(), CURVE.smoothed)
    np.testing.assert_array_equal(smoothed.get_xdata(), CURVE.lrs)
    assert list(suggestion.get_xdata()) == [0.02, 0.02]
    assert suggestion.get_label() == "suggestion 0.02"
    assert ax.get_xscale() == "log"
    assert ax.get_ylim()[1] < 3  # the batch whose loss exploded does not set the scale
    assert len(nn.plot.lr_range(CURVE._replace(suggestion=None)).axes[0].lines) == 2
    one = np.ones(1)
    saved(nn.plot.lr_range(nn.LRCurve(one, one, one, None)))
    with pytest.raises(ValueError, match=r"'curve'"):
        nn.plot.lr_range([1, 2])
    with pytest.raises(ValueError, match=r"'curve'"):
        nn.plot.lr_range(CURVE._replace(lrs=np.array([])))


# ---------------------------------------------------------------------------- histograms


def test_histograms_count_every_weight(model):
    figure = nn.plot.weight_histograms(model, bins=7)
    for ax, name in zip(figure.axes, ["0_Conv2D_W", "4_Dense_W"], strict=True):
        w = model.get_arrays()[name]
        assert ax.get_title() == name
        assert ax.get_xlabel() == f"weight (std {w.std():.2g})"
        assert [bar.get_height() for bar in ax.patches] == list(np.histogram(w, bins=7)[0])
    figure = nn.plot.weight_histograms(model, names=["4_Dense_b"])
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 3


def test_gradient_histograms_are_of_the_batch(model):
    x, y = images(), np.arange(6) % 3
    gradients = explain.weight_gradients(model, x, y)
    figure = nn.plot.gradient_histograms(model, x, y, bins=5)
    for ax, name in zip(figure.axes, ["0_Conv2D_W", "4_Dense_W"], strict=True):
        assert [bar.get_height() for bar in ax.patches] == list(
            np.histogram(gradients[name], bins=5)[0]
        )
        assert ax.get_xlabel() == f"gradient (norm {np.linalg.norm(gradients[name]):.2g})"


def test_histograms_refuse_unknown_names(model):
    with pytest.raises(ValueError, match=r"'names'.*'4_Dense_W'.*got 'Dense'"):
        nn.plot.weight_histograms(model, names=["Dense"])
    with pytest.raises(ValueError, match=r"needs a model with kernels"):
        nn.plot.weight_histograms(nn.Model([nn.ReLU(input_shape=(2,))]))
    with pytest.raises(ValueError, match=r"'bins'.*got 0"):
        nn.plot.weight_histograms(model, bins=0)
    with pytest.raises(RuntimeError, match=r"call compile"):
        nn.plot.gradient_histograms(plane()[0], np.ones((1, 2)), [0])


# ------------------------------------------------------------------------------- classes


def test_the_confusion_matrix_shows_its_counts():
    y_true, y_pred = [0, 0, 0, 1, 2, 2], [0, 0, 1, 1, 0, 2]
    ax = nn.plot.confusion_matrix(y_true, y_pred, NAMES).axes[0]
    np.testing.assert_array_equal(shown(ax)[0], [[2, 1, 0], [0, 1, 0], [1, 0, 1]])
    assert [t.get_text() for t in ax.texts] == ["2", "1", "", "", "1", "", "1", "", "1"]
    assert [t.get_text() for t in ax.get_yticklabels()] == NAMES
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert ax.texts[0].get_color() == "white" and ax.texts[1].get_color() == "black"
    scores = np.eye(4)[[0, 1, 2]]
    ax = nn.plot.confusion_matrix([0, 1, 2], scores, [*NAMES, "fox"]).axes[0]
    assert shown(ax)[0].shape == (4, 4)


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("true", [[100, 0, 0], [25, 75, 0], [0, 0, 0]]),
        ("pred", [[50, 0, 0], [50, 100, 0], [0, 0, 0]]),
        ("all", [[20, 0, 0], [20, 60, 0], [0, 0, 0]]),
    ],
)
def test_the_confusion_matrix_in_per_cent(normalize, expected):
    figure = nn.plot.confusion_matrix([0, 1, 1, 1, 1], [0, 0, 1, 1, 1], NAMES, normalize)
    np.testing.assert_allclose(shown(figure.axes[0])[0], expected)
    written = [f"{value}" for value in np.ravel(expected) if value]
    assert texts_of(figure.axes[0]) == written


def test_shares_that_round_to_nothing_do_not_look_like_nothing():
    y_true, y_pred = np.zeros(1000, int), np.zeros(1000, int)
    y_pred[0] = 1
    ax = nn.plot.confusion_matrix(y_true, y_pred, normalize="true").axes[0]
    assert texts_of(ax) == ["100", "<1"]


def test_many_classes_get_a_bar_of_colours_and_no_numbers():
    labels = np.arange(100)
    figure = nn.plot.confusion_matrix(labels, labels)
    assert texts_of(figure.axes[0]) == [] and len(figure.axes) == 2
    assert len(figure.axes[0].get_xticks()) == 20
    saved(figure)


def test_the_confusion_matrix_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"'normalize'.*'all'.*'pred'.*'true'"):
        nn.plot.confusion_matrix([0], [0], normalize="row")
    with pytest.raises(ValueError, match=r"'class_names'.*3"):
        nn.plot.confusion_matrix([0, 2], [0, 1], ["cat", "dog"])
    with pytest.raises(ValueError, match=r"'class_names'"):
        nn.plot.confusion_matrix([0], [0], "cat")
    with pytest.raises(ValueError, match=r"^\[confusion_matrix\]"):
        nn.plot.confusion_matrix([0, 1], [0])


def boundary_of(w, b, last=(), loss=None, classes=None):
    """A linear model of the plane with given weights, and its decisions drawn from -1 to 1."""
    model = nn.Model([nn.Dense(len(b), input_shape=(2,)), *last], seed=0)
    model.layers[0].params["W"][...] = w
    model.layers[0].params["b"][...] = b
    if loss:
        model.compile(loss)
    x = np.array([[-1, -1], [1, 1], [1, -1], [-1, 1.0]])
    y = np.arange(4) % (classes or max(len(b), 2))
    return nn.plot.decision_boundary(model, x, y, resolution=25).axes[0], x, y


@pytest.mark.parametrize(
    ("w", "b", "last", "loss"),
    [
        ([[0, 40], [0, 0]], [0, -20], (), None),
        ([[0, 40], [0, 0]], [0, -20], (nn.Softmax,), "cce"),
        ([[40], [0]], [-20], (), "bce"),
        ([[40], [0]], [-20], (nn.Sigmoid,), "bce"),
        ([[40], [0]], [-19.5], (), "mse"),  # a number, decided at 0.5
    ],
)
def test_the_boundary_runs_where_the_decision_changes(w, b, last, loss):
    """All of these decide for class 1 where the first coordinate is above 0.5."""
    ax, x, y = boundary_of(w, b, [kind() for kind in last], loss)
    [line] = [c for c in ax.collections if c.get_paths() and "Contour" in type(c).__name__]
    places = np.concatenate([path.vertices for path in line.get_paths()])
    np.testing.assert_allclose(places[:, 0], 0.5, atol=0.06)
    [image] = shown(ax)
    blue, orange = image[:, 0], image[:, -1]
    assert (blue[:, 2] > blue[:, 0]).all() and (orange[:, 0] > orange[:, 2]).all()
    groups = [c for c in ax.collections if "Path" in type(c).__name__]
    for label, group in enumerate(groups):
        np.testing.assert_array_equal(np.asarray(group.get_offsets()), x[y == label])
        assert to_hex(group.get_facecolor()[0]).upper() == nn.plot.base.COLOURS[label]


def test_colours_are_mixed_by_the_probabilities_however_the_model_says_them():
    """The probability of class 1 is sigmoid(3 * height) in all four."""
    kinds = [
        ([[0, 0], [0, 3]], [0, 0], (), None),
        ([[0, 0], [0, 3]], [0, 0], (nn.Softmax,), "cce"),
        ([[0], [3]], [0], (), "bce"),
        ([[0], [3]], [0], (nn.Sigmoid,), "bce"),
    ]
    share = 1 / (1 + np.exp(-3 * np.linspace(-1.2, 1.2, 25)))[:, np.newaxis]
    blue, orange = (np.array(to_rgb(colour)) for colour in nn.plot.base.COLOURS[:2])
    mixed = 1 - 0.45 * ((1 - blue) * (1 - share) + (1 - orange) * share)
    for w, b, last, loss in kinds:
        ax, *_ = boundary_of(w, b, [kind() for kind in last], loss)
        [image] = ax.images
        assert image.origin == "lower"
        np.testing.assert_allclose(image.get_extent(), [-1.2, 1.2, -1.2, 1.2])
        for column in (0, -1):
            np.testing.assert_allclose(shown(ax)[0][:, column], mixed, atol=1e-3)


def test_a_class_that_never_wins_has_no_boundary_and_names_stand_in_the_legend():
    ax, *_ = boundary_of(np.zeros((2, 3)), [1.0, 0.0, 0.0])
    assert not [c for c in ax.collections if "Contour" in type(c).__name__]
    model, x, y = plane()
    data = nn.Dataset(x, y, class_names=NAMES)
    ax = nn.plot.decision_boundary(model, data, resolution=5).axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == NAMES
    many = nn.plot.decision_boundary(nn.Ensemble([model], "softmax"), x, np.eye(3)[y], resolution=5)
    saved(many)


def test_the_boundary_refuses_what_is_no_plane():
    model, x, y = plane()
    with pytest.raises(ValueError, match=r"'x'.*2.*got \(30, 3\)"):
        nn.plot.decision_boundary(model, np.ones((30, 3)), y)
    with pytest.raises(ValueError, match=r"'y'.*30"):
        nn.plot.decision_boundary(model, x, y[:-1])
    with pytest.raises(ValueError, match=r"'y'"):
        nn.plot.decision_boundary(model, x, y + 0.5)
    with pytest.raises(ValueError, match=r"'y'.*0\.\.2"):
        nn.plot.decision_boundary(model, x, y + 1)
    with pytest.raises(ValueError, match=r"'y'"):
        nn.plot.decision_boundary(model, x)
    with pytest.raises(ValueError, match=r"'resolution'.*2"):
        nn.plot.decision_boundary(model, x, y, resolution=1)


# ------------------------------------------------------------------------------ images


def test_images_are_shown_as_they_are():
    grey, colour = images(3), images(3, 3)
    ax = nn.plot.images(grey, [2, 0, 1], NAMES).axes[0]
    np.testing.assert_allclose(shown(ax), grey[:, 0] / np.float32(255))
    assert texts_of(ax) == ["emu", "cat", "dog"]
    assert all(image.get_clim() == (0, 1) for image in ax.images)
    ax = nn.plot.images(colour / 255, ["a", "b", "c"], n=2).axes[0]
    np.testing.assert_allclose(shown(ax), colour[:2].transpose(0, 2, 3, 1) / 255, atol=1e-6)
    assert texts_of(ax) == ["a", "b"]
    data = nn.Dataset(colour, [0, 1, 2], class_names=NAMES)
    ax = nn.plot.images(data, columns=1).axes[0]
    assert texts_of(ax) == NAMES
    tops = [image.get_extent()[3] for image in ax.images]
    assert tops == sorted(tops) and len(set(tops)) == 3


def test_images_on_a_sheet_do_not_overlap_and_texts_stand_free():
    ax = nn.plot.images(images(7), np.arange(7) % 3, columns=3).axes[0]
    figure = ax.figure
    figure.draw_without_rendering()
    boxes = [image.get_window_extent() for image in ax.images]
    boxes += [text.get_window_extent() for text in ax.texts]
    for k, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:k])
        assert one.x0 >= 0 and one.x1 <= figure.bbox.x1
        assert one.y0 >= 0 and one.y1 <= figure.bbox.y1


def test_long_names_make_the_images_larger_and_in_small_axes_the_letters_smaller():
    names = ["a name that is rather long"] * 3
    wide = nn.plot.images(images(4), [0, 1, 2, 0], names)
    narrow = nn.plot.images(images(4), [0, 1, 2, 0])
    assert wide.get_figwidth() > 1.5 * narrow.get_figwidth()
    ax = Figure(figsize=(2, 2)).subplots()
    nn.plot.images(images(4), [0, 1, 2, 0], names, ax=ax)
    assert ax.texts[0].get_fontsize() < 6


def test_values_beyond_0_and_1_are_scaled_together():
    x = np.array([-1.0, 0.0, 1.0, 3.0]).reshape(2, 1, 1, 2)
    first, second = shown(nn.plot.images(x).axes[0])
    np.testing.assert_allclose(first, [[0, 0.25]])
    np.testing.assert_allclose(second, [[0.5, 1]])
    saved(nn.plot.images(np.full((1, 1, 2, 2), 7.0)))


def test_images_refuse_what_is_no_image():
    for wrong in (
        np.ones((8, 8)),
        np.ones((1, 8, 8)),
        np.ones((2, 2, 8, 8)),
        np.ones((0, 1, 8, 8)),
    ):
        with pytest.raises(ValueError, match=r"^\[plot.images\] 'x'.*\(N, C, H, W\)"):
            nn.plot.images(wrong)
    with pytest.raises(ValueError, match=r"'n'"):
        nn.plot.images(images(), n=0)
    with pytest.raises(ValueError, match=r"'columns'"):
        nn.plot.images(images(), columns=0)
    with pytest.raises(ValueError, match=r"'y'"):
        nn.plot.images(nn.Dataset(images()), [0])


def test_filters_are_the_kernels_on_one_scale(model):
    w = model.layers[0].params["W"]
    for given in (model, model.layers[0]):
        figure = nn.plot.filters(given)
        np.testing.assert_array_equal(shown(figure.axes[0]), w[:, 0])
        for image in figure.axes[0].images:
            np.testing.assert_allclose(image.get_clim(), (-abs(w).max(), abs(w).max()))
        assert figure.axes[1].get_ylabel() == "weight"
    colours = image_model(3)
    w = colours.layers[0].params["W"]
    found = shown(nn.plot.filters(colours, n=3).axes[0])
    np.testing.assert_allclose(found, 0.5 + w[:3].transpose(0, 2, 3, 1) / (2 * abs(w).max()))


def test_filters_of_other_convolutions():
    deep = nn.Conv2D(4, 2)
    deep.build((None, 20, 5, 5))
    found = shown(nn.plot.filters(deep, n=32).axes[0])
    np.testing.assert_array_equal(found, deep.params["W"][:2, :16].reshape(-1, 2, 2))
    up = nn.Conv2DTranspose(5, 2)
    up.build((None, 1, 4, 4))
    np.testing.assert_array_equal(shown(nn.plot.filters(up).axes[0]), up.params["W"][0])
    up = nn.Conv2DTranspose(3, 2)
    up.build((None, 2, 4, 4))
    of_filters = up.params["W"].transpose(1, 0, 2, 3).reshape(6, 2, 2)  # of each its 2 channels
    np.testing.assert_array_equal(shown(nn.plot.filters(up).axes[0]), of_filters)
    normed = nn.WeightNorm(nn.Conv2D(2, 3))
    normed.build((None, 1, 4, 4))
    normed.params["g"][...] = [1, 2]
    lengths = [np.linalg.norm(kernel) for kernel in shown(nn.plot.filters(normed).axes[0])]
    np.testing.assert_allclose(lengths, [1, 2], rtol=1e-5)
    inside = nn.Model([nn.ReLU(input_shape=(20, 5, 5)), nn.Residual(deep)], seed=0)
    assert len(nn.plot.filters(inside, n=5).axes[0].images) == 5  # the first one, in a block


def test_filters_of_an_array(model):
    w = model.layers[0].params["W"]
    for given in (w, w[:, 0]):
        np.testing.assert_array_equal(shown(nn.plot.filters(given).axes[0]), w[:, 0])
    for wrong in (np.zeros((3, 3)), np.zeros((0, 1, 3, 3))):
        with pytest.raises(ValueError, match=r"'layer_or_model' must be kernels"):
            nn.plot.filters(wrong)
    with pytest.raises(TypeError, match="'layer_or_model'"):
        nn.plot.filters(np.full((2, 3, 3), "a"))


def test_filters_refuse_what_has_none():
    for wrong, rule in (
        (nn.Conv2D(2), "must be built"),
        (nn.Dense(2), "must be a convolution"),
        ("model", "must be a layer, a model or an array"),
    ):
        with pytest.raises(ValueError, match=rf"^\[plot.filters\] 'layer_or_model' {rule}"):
            nn.plot.filters(wrong)
    with pytest.raises(ValueError, match=r"needs a model with a convolution"):
        nn.plot.filters(plane()[0])


def test_feature_maps_are_the_layers_output(model):
    x = images(1)
    for layer in (1, "1_ReLU", model.layers[1]):
        ax = nn.plot.feature_maps(model, x, layer).axes[0]
        np.testing.assert_array_equal(shown(ax), explain.layer_output(model, x, 1)[0])
        assert ax.get_title() == "1_ReLU"
    assert len({image.get_clim() for image in ax.images}) == 1
    assert nn.plot.feature_maps(model, x, n=3).axes[0].get_title() == "0_Conv2D"
    assert len(nn.plot.feature_maps(model, x, n=3).axes[0].images) == 3


def test_feature_maps_of_a_dead_layer_are_dark():
    model = image_model()
    model.layers[0].params["W"][...] = 0
    figure = nn.plot.feature_maps(model, images(1), "1_ReLU")
    assert figure.axes[0].images[0].get_clim() == (0, 1)
    saved(figure)


def test_feature_maps_refuse_several_images_and_vectors(model):
    with pytest.raises(ValueError, match=r"'x'.*\(1, C, H, W\).*1"):
        nn.plot.feature_maps(model, images(2))
    with pytest.raises(ValueError, match=r"'layer'"):
        nn.plot.feature_maps(model, images(1), "4_Dense")
    with pytest.raises(ValueError, match=r"^\[plot.feature_maps\] 'layer'"):
        nn.plot.feature_maps(model, images(1), "nowhere")


@pytest.mark.parametrize("last", [(), (nn.Softmax,)])
def test_worst_mistakes_are_the_wrong_ones_by_their_loss(last):
    model, x, y = image_model(last=[kind() for kind in last]), images(40), np.arange(40) % 3
    decided = model.predict_classes(x)
    losses = [model.evaluate(x[k : k + 1], y[k : k + 1])["loss"] for k in range(40)]
    wrong = [k for k in np.argsort(losses)[::-1] if decided[k] != y[k]][:5]
    ax = nn.plot.worst_mistakes(model, x, y, n=5, class_names=NAMES).axes[0]
    np.testing.assert_allclose(shown(ax), x[wrong, 0] / np.float32(255))
    assert texts_of(ax) == [
        f"{NAMES[y[k]]} → {NAMES[decided[k]]}\nloss {losses[k]:.3g}" for k in wrong
    ]
    one_hot = nn.plot.worst_mistakes(
        model, x, np.eye(3, dtype="float32")[y], n=5, class_names=NAMES
    )
    assert texts_of(one_hot.axes[0]) == texts_of(ax)


def test_no_mistakes_are_said(model):
    x = images()
    figure = nn.plot.worst_mistakes(model, x, model.predict_classes(x))
    assert texts_of(figure.axes[0]) == ["no mistakes among 6"]


def test_mistakes_of_a_dataset_have_its_names(model):
    data = nn.Dataset(images(30), np.arange(30) % 3, class_names=NAMES)
    first = texts_of(nn.plot.worst_mistakes(model, data).axes[0])[0]
    assert first.split(" → ")[0] in NAMES
    with pytest.raises(ValueError, match=r"'y'"):
        nn.plot.worst_mistakes(model, images())


@pytest.mark.parametrize("channels", [1, 3])
def test_saliency_and_grad_cam_show_the_maps_of_explain(channels):
    model, x = image_model(channels), images(3, channels)
    model.class_names = NAMES
    as_shown = x.transpose(0, 2, 3, 1).squeeze() / np.float32(255)
    ax = nn.plot.saliency(model, x, [2, 0, 1]).axes[0]
    np.testing.assert_allclose(shown(ax)[:3], as_shown)
    np.testing.assert_array_equal(shown(ax)[3:], explain.saliency_map(model, x, [2, 0, 1]))
    assert texts_of(ax) == ["emu", "cat", "dog"]
    ax = nn.plot.grad_cam(model, x, 1, layer=0).axes[0]
    np.testing.assert_allclose(shown(ax)[3:6], as_shown)  # the images again, below the maps
    maps = explain.grad_cam_map(model, x, 1, 0)
    for image, below, values in zip(ax.images[6:], ax.images[3:6], maps, strict=True):
        np.testing.assert_array_equal(np.asarray(image.get_array()), values)
        assert image.get_extent() == below.get_extent()
    assert texts_of(ax) == ["dog"] * 3
    decided = model.predict_classes(x, names=True)
    assert texts_of(nn.plot.saliency(model, x, n=2).axes[0]) == list(decided[:2])


@pytest.mark.parametrize("plot", [nn.plot.saliency, nn.plot.grad_cam])
def test_explanations_refuse_wrong_classes(plot, model):
    for wrong in (1.5, [0, 1]):
        with pytest.raises(ValueError, match=r"'class_index'"):
            plot(model, images(3), wrong)
    with pytest.raises(ValueError, match=r"'class_index'.*0\.\.2"):
        plot(model, images(3), 3)
    with pytest.raises(ValueError, match=r"'x'"):
        plot(model, np.ones((3, 8)))


# ------------------------------------------------------------------------------- network


def test_the_diagram_names_every_layer_with_its_shape_and_parameters():
    head = nn.Sequential([nn.GlobalAvgPool2D(), nn.Dense(3, activation="softmax")])
    body = [nn.Conv2D(4, stride=2), nn.BatchNorm2D(), nn.Dropout(0.5)]
    model = nn.Model([nn.Residual(body, input_shape=(1, 8, 8)), nn.ReLU(name="last"), head], seed=0)
    ax = nn.plot.architecture(model).axes[0]
    assert texts_of(ax) == [
        *("input", "(1, 8, 8)"),
        *("Residual", "52"),
        *("Conv2D 3x3, stride 2x2", "(4, 4, 4)", "40"),
        *("BatchNorm2D", "(4, 4, 4)", "8"),
        *("Dropout 0.5", "(4, 4, 4)"),
        *("Conv2D 1x1, stride 2x2", "(4, 4, 4)", "4"),
        "+",
        *("last", "(4, 4, 4)"),
        *("Sequential", "15"),
        *("GlobalAvgPool2D", "(4,)"),
        *("Dense + Softmax", "(3,)", "15"),
        "67 parameters",
    ]
    assert len(ax.patches) == 8 + 2  # boxes, the input's among them, and frames


def test_a_long_name_is_cut_so_that_the_shape_stays_free():
    model = nn.Model([nn.Dense(2, name="x" * 40, input_shape=(3,))], seed=0)
    figure = nn.plot.architecture(model)
    figure.draw_without_rendering()
    _, _, name, shape, *_ = (text for text in figure.axes[0].texts if text.get_text())
    assert name.get_text().endswith("x…")
    assert name.get_window_extent().x1 < shape.get_window_extent().x0


def test_the_diagram_of_a_model_that_is_not_built_and_of_none():
    model = nn.Model([nn.WeightNorm(nn.Conv2D(4)), nn.Residual([nn.Dense(3)])])
    texts = texts_of(nn.plot.architecture(model).axes[0])
    assert texts.count("not built") == 3 and "WeightNorm: Conv2D 3x3" in texts
    with pytest.raises(ValueError, match=r"'model'"):
        nn.plot.architecture(nn.Model())
    with pytest.raises(ValueError, match=r"'model'"):
        nn.plot.architecture("model")


@pytest.mark.parametrize("make", [nn.zoo.resnet20, nn.zoo.vgg6])
def test_texts_of_a_large_diagram_stay_apart_and_inside(make):
    figure = nn.plot.architecture(make(seed=0))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert len(boxes) > 30
    edges = np.array([[box.x0, box.x1, box.y0, box.y1] for box in boxes])
    for k, (x0, x1, y0, y1) in enumerate(edges):
        others = np.delete(edges, k, axis=0)
        apart = (
            (others[:, 1] <= x0)
            | (others[:, 0] >= x1)
            | (others[:, 3] <= y0)
            | (others[:, 2] >= y1)
        )
        assert apart.all()
        assert min(x0, y0) >= 0 and x1 <= figure.bbox.x1 and y1 <= figure.bbox.y1
    assert figure.get_figheight() < 12


def test_no_figure_leaks_into_pyplot():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matplotlib import pyplot
    before = pyplot.get_fignums()
    for call in CALLS.values():
        call()
    assert pyplot.get_fignums() == before


def test_histograms_of_an_array_say_what_draws_it():
    with pytest.raises(
        TypeError, match=r"\[plot.weight_histograms\] 'model' .* got ndarray: .*hist"
    ):
        nn.plot.weight_histograms(np.zeros((3, 3)))
