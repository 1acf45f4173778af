"""The examples of a course's beginning: what they print is what happened, and it is what they say.

They run in this process, with few steps. `test_examples.py` has the larger examples.
"""

import importlib
import re
import sys

import numpy as np
import pytest
from conftest import ROOT, SAMPLE

import nn

EXAMPLES = ROOT / "examples"
DRAWING = ["one_neuron_to_deep", "compare_optimizers", "lr_range", "transfer", "autoencoder"]
DRAWING += ["custom_layer_loss_optimizer"]
ON_DIGITS = ["compare_optimizers", "lr_range", "transfer", "autoencoder", "training_loop_by_hand"]


@pytest.fixture
def example(monkeypatch):
    """Return a function that imports an example by its name."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


@pytest.fixture
def lesson(example, tmp_path, monkeypatch, capsys):
    """Return a function that runs an example in an empty folder and returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(name, *options):
        assert example(name).main([str(option) for option in options]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def few_digits(example, sample, monkeypatch):
    """Let the examples see a part of the digits: 500 to train on, 250 to test on."""
    parts = tuple(
        nn.Dataset(part.x[:n], part.y[:n]) for part, n in zip(sample, (500, 250), strict=True)
    )
    monkeypatch.setattr(example("lesson"), "load_mnist_sample", lambda _: parts)
    return parts


@pytest.fixture
def has_matplotlib():
    pytest.importorskip("matplotlib", reason="needs matplotlib, the extra 'plot'")


def rows_of(printed, pattern):
    """Return the numbers of each line that the pattern matches, by what its first group is."""
    return {
        match[1]: [float(n) for n in re.findall(r"[-+\d.e]*\d", match[2])]
        for match in re.finditer(pattern, printed, re.MULTILINE)
    }


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------- one neuron


def test_one_neuron_by_hand_is_that_of_nn(example):
    script = example("one_neuron_to_deep")
    for name, make in script.DATA.items():
        options = script.parse_arguments(["--data", name, "--lr", "1.0"])
        assert script.compare_with_hand(make(101, seed=1), options, steps=50) < 1e-6


def test_one_neuron_by_hand_goes_down_the_measured_slope(example):
    """The step is that of central differences of the loss, with a loop over the points."""
    script = example("one_neuron_to_deep")
    data = nn.data.make_moons(20, seed=0)

    def loss(w1, w2, b):
        total = 0.0
        for (x1, x2), y in zip(data.x.astype(float), data.y, strict=True):
            p = 1 / (1 + np.exp(-(w1 * x1 + w2 * x2 + b)))
            total -= np.log(p if y else 1 - p)
        return total / len(data)

    start, h = np.array([0.3, -0.2, 0.1]), 1e-6
    slope = [(loss(*(start + h * e)) - loss(*(start - h * e))) / (2 * h) for e in np.eye(3)]
    w, b, losses = script.train_by_hand(data.x.astype(float), data.y, start[:2], 0.1, 0.5, 1)
    np.testing.assert_allclose([*w, b], start - 0.5 * np.array(slope), atol=1e-8)
    assert losses == [pytest.approx(loss(*start))]


def test_one_neuron_cannot_do_what_a_hidden_layer_does(lesson, tmp_path, has_matplotlib):
    printed = lesson("one_neuron_to_deep", "--depth", 2, "--steps", 400, "--data", "xor", "circles")
    found = rows_of(printed, r"^  (xor|circles) +(.*)$")
    for name in ("xor", "circles"):
        one, *deeper = found[name]
        assert one < 75
        assert min(deeper) > 95
    assert float(re.search(r"difference of a weight: (\S+)", printed)[1]) < 1e-6
    assert is_png(tmp_path / "one_neuron_to_deep.png")


def test_layers_without_a_bend_are_no_better_than_one_neuron(lesson):
    options = ("--data", "xor", "--depth", 1, "--steps", 200, "--activation", "linear")
    [accuracies] = rows_of(lesson("one_neuron_to_deep", *options), r"^  (xor) +(.*)$").values()
    assert len(accuracies) == 2 and max(accuracies) < 76


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # without Numba
@pytest.mark.filterwarnings("ignore:.*encountered in matmul:RuntimeWarning")  # of some BLAS
def test_steps_that_are_too_long_are_one_clear_line(example, few_digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"lower the learning rate"):
        example("training_loop_by_hand").main(
            ["--optimizer", "sgd", "--lr", "1e20", "--model", "mlp"]
        )


# ------------------------------------------------------------------------- rates, optimizers


def test_compare_optimizers_ranks_all_of_them(lesson, few_digits, tmp_path, has_matplotlib):
    printed = lesson("compare_optimizers", "--epochs", 2)
    found = rows_of(printed, r"^  ([a-z]+) +(\d.*)$")
    assert set(found) == set(nn.optim.NAME2OPTIMIZER)
    losses = [loss for _, loss, _, _ in found.values()]
    assert losses == sorted(losses)
    assert is_png(tmp_path / "compare_optimizers.png")
    model = nn.zoo.mlp(seed=0)  # the figures are those of the same training done here
    model.compile("cce", "sgd", lr=found["sgd"][0])
    model.fit(few_digits[0], epochs=2, batch_size=64, verbose=0)
    assert found["sgd"][1] == pytest.approx(model.evaluate(few_digits[0])["loss"], abs=6e-5)
    assert found["sgd"][2] == pytest.approx(100 * model.evaluate(few_digits[1])["acc"], abs=0.06)


def test_compare_optimizers_takes_the_rate_of_the_lowest_loss(example, few_digits):
    script = example("compare_optimizers")
    options = script.parse_arguments(["--search", "--epochs", "1", "--lr", "0.02"])
    ended = {}
    for factor in script.GRID:
        model, _, _ = script.run("sgd", 0.02 * factor, few_digits[0], options)
        ended[0.02 * factor] = model.evaluate(few_digits[0])["loss"]
    best = script.evaluate("sgd", *few_digits, options)
    assert best["lr"] == min(ended, key=ended.get) != 0.02
    assert best["loss"] == min(ended.values())


def test_compare_optimizers_says_who_diverged(lesson, few_digits, monkeypatch):
    def explode(self, *arguments, **named):
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr(nn.optim.Nesterov, "step", explode)
    printed = lesson("compare_optimizers", "--optimizers", "nesterov", "sgd", "--epochs", 1)
    assert re.search(r"^  sgd .*\n  nesterov +0\.03 +diverged +- ", printed, re.MULTILINE)


def test_lr_range_prints_the_curve_and_trains_at_its_suggestion(
    lesson, few_digits, tmp_path, has_matplotlib
):
    printed = lesson("lr_range", "--model", "mlp", "--epochs", 2, "--steps", 60)
    model = nn.zoo.mlp(seed=0)
    model.compile("cce", "adam")
    curve = nn.find_lr(model, few_digits[0], lr_min=1e-6, lr_max=10.0, steps=60, batch_size=64)
    assert f"Suggested learning rate: {curve.suggestion:.2e}" in printed
    shown = rows_of(printed, r"^ +(\S+e[-+]\d+) +([\d.]+)  #*$")
    assert shown[f"{curve.lrs[0]:.1e}"] == [pytest.approx(curve.smoothed[0], abs=6e-4)]
    trained = rows_of(printed, r"^ +(\S+e[-+]\d+) +(\S+ +\S+%)$")
    assert list(trained) == [f"{factor * curve.suggestion:.1e}" for factor in (0.1, 1, 10)]
    low, suggested, _ = trained.values()
    assert suggested[0] < low[0] and suggested[1] > 50
    model = nn.zoo.mlp(seed=0)  # the figures are those of the same training done here
    model.compile("cce", "adam", lr=curve.suggestion)
    options = {"epochs": 2, "batch_size": 64, "lr_schedule": "one_cycle", "verbose": 0}
    history = model.fit(few_digits[0], **options)
    assert suggested[0] == pytest.approx(history["loss"][-1], abs=6e-5)
    assert suggested[1] == pytest.approx(100 * model.evaluate(few_digits[1])["acc"], abs=0.06)
    assert is_png(tmp_path / "lr_range.png")


def test_lr_range_says_where_nothing_falls(example, few_digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--model", "mlp", "--lr-min", "1e-12", "--lr-max", "1e-11", "--steps", "4"]
    curve = nn.LRCurve(np.ones(4), np.ones(4), np.ones(4), None)
    monkeypatch.setattr(nn, "find_lr", lambda *arguments, **named: curve)
    with pytest.raises(SystemExit, match="The loss does not decrease"):
        example("lr_range").main(options)


# ------------------------------------------------------------------------- transfer, images


def test_transfer_frozen_convolutions_beat_a_start_from_scratch(lesson, tmp_path, has_matplotlib):
    printed = lesson("transfer", "--shots", 2, "--draws", 3, "--epochs", 25, "--first-epochs", 4)
    [[scratch, frozen, tuned, all_frozen]] = rows_of(printed, r"^ +(2) +(.*)$").values()
    assert frozen > scratch + 1 and tuned > scratch + 1
    assert all_frozen < scratch
    assert "4 arrays loaded, 4 skipped" in printed
    assert "skipped  7_Dense_W: its shape is (784, 64) in the file, (784, 10)" in printed
    assert is_png(tmp_path / "transfer.png")
    assert nn.Model.load(tmp_path / "transfer_model.hdf5").output_shape == (None, 5)


def test_transfer_trains_the_layers_that_it_says(example, few_digits, tmp_path):
    script = example("transfer")
    path = tmp_path / "first.npz"
    first = nn.zoo.small_cnn(num_classes=5, seed=0)
    first.compile("cce", "adam")
    first.save(path)
    saved = first.get_arrays()
    changed = {}
    for way, make in script.METHODS.items():
        model = make(path, 1)
        before = {name: array.copy() for name, array in model.get_arrays().items()}
        same = {k for k, array in before.items() if np.array_equal(saved.get(k), array)}
        assert ("0_Conv2D_W" in same) == (way != "scratch")
        model.compile("cce", "adam", lr=1e-3)
        model.train_step(*next(few_digits[0].batches(16)))
        moved = {k: np.abs(array - before[k]).max() for k, array in model.get_arrays().items()}
        changed[way] = {k: step for k, step in moved.items() if step > 0}
    convolutions = {"0_Conv2D_W", "0_Conv2D_b", "3_Conv2D_W", "3_Conv2D_b"}
    assert changed["frozen"].keys() == {"7_Dense_W", "7_Dense_b"}
    assert changed["all frozen"].keys() == {"9_Dense_W", "9_Dense_b"}
    assert (
        changed["scratch"].keys()
        == changed["tuned"].keys()
        == changed["frozen"].keys() | (convolutions)
    )
    assert changed["tuned"]["3_Conv2D_W"] == pytest.approx(1e-4, rel=0.01)  # Adam's first step
    assert changed["tuned"]["7_Dense_W"] == pytest.approx(1e-3, rel=0.01)


def test_transfer_draws_as_many_of_each_digit(example, few_digits):
    script = example("transfer")
    part = script.only(few_digits[0], script.NEW)
    drawn = script.few(part, 4, np.random.default_rng(0))
    assert np.bincount(drawn.y).tolist() == [0] * 5 + [4] * 5
    rows = {x.tobytes() for x in part.x}
    assert len({x.tobytes() for x in drawn.x} & rows) == 20


@pytest.mark.parametrize("noise", [0, 0.3])
def test_autoencoder_beats_the_mean_image(noise, lesson, few_digits, tmp_path, has_matplotlib):
    options = ("--noise", noise, "--epochs", 6, "--batch-size", 16, "--lr", 0.01)
    printed = lesson("autoencoder", *options)
    found = rows_of(printed, r"^  ([a-z ]+?)  +(\d.*)$")
    assert found["autoencoder"][0] < 0.8 * found["mean of all training digits"][0]
    assert ("noisy images" in found) == bool(noise)
    if noise:
        assert found["autoencoder"] < found["noisy images"]
    (x, _), (new, _) = (part.arrays() for part in few_digits)
    mean = ((x.mean(axis=0) - new) ** 2).mean()
    assert found["mean of all training digits"] == [pytest.approx(mean, abs=6e-5)]
    model = nn.Model.load(tmp_path / "autoencoder_model.hdf5")
    if not noise:
        drawn = ((model.predict(new) - new) ** 2).mean()
        assert found["autoencoder"] == [pytest.approx(drawn, abs=6e-5)]
    losses = [
        float(loss) for loss in re.findall(r"^Epoch .*: loss ([\d.]+)", printed, re.MULTILINE)
    ]
    assert len(losses) == 6 and losses[-1] < 0.7 * losses[0]
    assert is_png(tmp_path / "autoencoder.png")


def test_autoencoder_noise_stays_within_the_images(example, rng):
    x = rng.random((50, 1, 28, 28), dtype="float32")
    noisy = example("autoencoder").add_noise(x, 0.5, rng)
    assert noisy.dtype == x.dtype and noisy.min() == 0 and noisy.max() == 1
    inside = (noisy > 0) & (noisy < 1)
    assert 0.2 < (noisy - x)[inside].std() < 0.5
    np.testing.assert_array_equal(example("autoencoder").add_noise(x, 0.0, rng), x)


# ----------------------------------------------------------------------------- one's own parts


@pytest.fixture
def own_parts(monkeypatch):
    """Let what the example registers be forgotten at the end."""
    for known in (nn.layers.NAME2LAYER, nn.losses.NAME2LOSS, nn.optim.NAME2OPTIMIZER):
        for name in ("LearnedSwish", "cauchy", "signum"):
            monkeypatch.setitem(known, name, None)
            monkeypatch.delitem(known, name)
    monkeypatch.delitem(sys.modules, "custom_layer_loss_optimizer", raising=False)
    yield
    sys.modules.pop("custom_layer_loss_optimizer", None)


def test_custom_parts_are_right_train_and_are_saved(lesson, own_parts, tmp_path, has_matplotlib):
    printed = lesson("custom_layer_loss_optimizer", "--epochs", 60)
    assert len(re.findall(r"error \S+: right$", printed, re.MULTILINE)) == 3
    found = rows_of(printed, r"^  trained with (\w+) +([\d.]+)$")
    assert found["cauchy"][0] < 0.1 < 0.3 < found["mse"][0]
    assert "Loaded again, it continues training identically: True." in printed
    assert is_png(tmp_path / "custom.png")
    low, high = map(float, re.search(r"between (\S+) and ([\d.]+)\.$", printed, re.M).groups())
    assert low < high  # beta was learned


def test_custom_parts_that_are_wrong_are_not_trained(example, own_parts, monkeypatch, capsys):
    script = example("custom_layer_loss_optimizer")
    monkeypatch.setattr(script.LearnedSwish, "backward", lambda self, grad: self.half(grad))

    def half(self, grad):
        self.grads["beta"] = np.zeros_like(self.params["beta"])
        return grad / 2

    monkeypatch.setattr(script.LearnedSwish, "half", half, raising=False)
    with pytest.raises(SystemExit, match=r"^A check has failed: nothing is trained\.$"):
        script.main([])
    assert re.search(r"LearnedSwish, gradients +error \S+: WRONG", capsys.readouterr().out)


# ------------------------------------------------------------------------------------ the loop


@pytest.mark.parametrize("options", [(), ("--no-shuffle", "--optimizer", "sgd", "--model", "mlp")])
def test_a_loop_by_hand_gives_the_weights_of_fit_bit_for_bit(options, lesson, few_digits):
    printed = lesson("training_loop_by_hand", "--epochs", 2, *options)
    weights = 101_770 if options else 52_138
    assert f"All {weights:,} weights agree bit for bit." in printed
    epochs = rows_of(printed, r"^ +(\d) +(.*%)$")
    assert len(epochs) == 2
    for by_hand, by_fit, accuracy_by_hand, accuracy_by_fit in epochs.values():
        assert by_hand == by_fit and accuracy_by_hand == accuracy_by_fit


def test_a_loop_by_hand_that_differs_is_told(example, few_digits, monkeypatch, capsys):
    script = example("training_loop_by_hand")
    true_loop = script.train_by_hand

    def one_bit_off(model, train, options):
        history = true_loop(model, train, options)
        b = model.layers[-1].params["b"]
        b[0] = np.nextafter(b[0], np.float32(9))
        return history

    monkeypatch.setattr(script, "train_by_hand", one_bit_off)
    assert script.main(["--epochs", "1", "--model", "mlp"]) == 1
    assert "The weights differ in 3_Dense_b." in capsys.readouterr().out


# ------------------------------------------------------------------- what can go wrong for all


@pytest.mark.parametrize("name", ON_DIGITS)
def test_a_folder_without_digits_is_one_clear_line(name, example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^\[load_mnist\] '.*nowhere.*' does not exist: download"):
        example(name).main(["--data-dir", str(tmp_path / "nowhere")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", DRAWING)
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("nowhere/a.png", "the folder '.*nowhere' does not exist"),
        ("", "is a folder: name a file"),
        ("a.xyz", "must end in .pdf, .png, .svg"),
    ],
)
def test_a_image_that_cannot_be_written_is_refused_at_once(
    name, out, message, example, own_parts, tmp_path, capsys
):
    with pytest.raises(SystemExit):
        example(name).main(["--out", str(tmp_path / out)])
    assert re.search(rf"argument --out: .*{message}", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("one_neuron_to_deep", ["--lr", "0"], "--lr: must be a number above 0, got '0'"),
        ("one_neuron_to_deep", ["--lr", "nan"], "--lr: must be a number of at least 0, got 'nan'"),
        ("one_neuron_to_deep", ["--noise", "-1"], "--noise: must be a number of at least 0, got"),
        ("one_neuron_to_deep", ["--steps", "1.5"], "--steps: must be a whole number of at least 1"),
        ("one_neuron_to_deep", ["--samples", "1"], "--samples must be at least 2"),
        ("one_neuron_to_deep", ["--seed", "-1"], "--seed: must be a whole number of at least 0"),
        ("lr_range", ["--lr-min", "1", "--lr-max", "1"], "--lr-min must be below --lr-max"),
        ("lr_range", ["--steps", "2"], "--steps must be at least 3"),
        ("transfer", ["--shots", "0"], "--shots: must be a whole number of at least 1, got '0'"),
        ("autoencoder", ["--filters", "8", "8", "8"], "--filters"),
        ("compare_optimizers", ["--optimizers", "adm"], "invalid choice: 'adm'"),
        ("custom_layer_loss_optimizer", ["--outliers", "2"], "--outliers"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_done(
    name, options, message, example, own_parts, capsys
):
    with pytest.raises(SystemExit):
        example(name).main(options)
    assert message in capsys.readouterr().err


def test_without_matplotlib_a_line_says_so(lesson, monkeypatch, tmp_path):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    printed = lesson("one_neuron_to_deep", "--data", "moons", "--depth", 1, "--steps", 5)
    assert "The image needs matplotlib: python -m pip install matplotlib" in printed
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_the_lesson(example, few_digits, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(nn.Model, "train_step", interrupted)
    for name in ("compare_optimizers", "transfer", "one_neuron_to_deep"):
        with pytest.raises(SystemExit, match=r"^Stopped\.$"):
            example(name).main([])


def test_the_sample_is_found_from_any_folder(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert example("lesson").SAMPLE_DIR == SAMPLE
    train, test = example("lesson").load_digits(None)
    assert (len(train), len(test)) == (4000, 1000)


@pytest.mark.parametrize("name", [*DRAWING, "training_loop_by_hand"])
def test_every_option_is_explained(name, example, own_parts, capsys):
    with pytest.raises(SystemExit):
        example(name).main(["--help"])
    printed = capsys.readouterr().out
    assert example(name).__doc__.splitlines()[0] in " ".join(printed.split())
    for command in re.findall(r"^    python examples/\w+\.py ?(.*)$", example(name).__doc__, re.M):
        example(name).parse_arguments(command.split())  # the commands of the docstring are good


def test_film_filters(lesson, tmp_path):
    pillow = pytest.importorskip("PIL.Image", reason="needs Pillow (the extra 'images')")
    printed = lesson("film_filters", "--epochs", 1, "--every", 20, "--dense", "--out", "w.gif")
    assert "4 images" in printed  # before the first step, and after 20, 40 and 60 of 63
    with pillow.open("w.gif") as film:
        assert film.n_frames == 4


def test_a_film_that_cannot_be_written_is_not_announced(example, own_parts, tmp_path, capsys):
    script = example("film_filters")
    options = ["--epochs", "1", "--every", "60", "--dense", "--out"]
    with pytest.raises(SystemExit):
        script.main([*options, str(tmp_path / "none" / "w.gif")])
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "w.gif").mkdir()
    with pytest.raises(SystemExit):
        script.main([*options, str(tmp_path / "w.gif")])
    assert "is a folder" in capsys.readouterr().err


def test_a_film_lost_at_the_end_is_not_announced(example, own_parts, tmp_path, capsys, monkeypatch):
    script, path = example("film_filters"), tmp_path / "w.gif"
    fit = nn.Model.fit

    def fit_while_the_name_is_taken(*args, **kwargs):
        path.mkdir()
        return fit(*args, **kwargs)

    monkeypatch.setattr(nn.Model, "fit", fit_while_the_name_is_taken)
    with pytest.warns(RuntimeWarning, match="the film was not written"):
        assert script.main(["--epochs", "1", "--every", "60", "--dense", "--out", str(path)]) == 1
    assert "Film:" not in capsys.readouterr().out
