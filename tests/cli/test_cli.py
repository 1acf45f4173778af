"""`python -m nn`: every command with good and bad input, in JSON, piped and in a terminal."""

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import nn
from nn import cli as commands
from nn.data import write_idx

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["info", "summary", "predict", "evaluate", "convert", "gradcheck", "benchmark", "warmup"]


def run(capsys, *arguments):
    """Run a command in this process; return its status and what it printed."""
    try:
        status = commands.main([str(argument) for argument in arguments])
    except SystemExit as error:  # argparse's way
        status = error.code
    printed = capsys.readouterr()
    return status, printed.out, without_notice(printed.err)


def without_notice(err):
    """Leave out the line that says, the first time ever, that kernels are compiled."""
    lines = err.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("nn: compiling kernels"))


def as_json(capsys, *arguments):
    status, out, err = run(capsys, *arguments, "--json")
    assert (status, err) == (0, "")

    def refuse(name):
        raise ValueError(f"{name} is not JSON")

    return json.loads(out, parse_constant=refuse)


def refused(capsys, *arguments):
    """Return the one line on standard error of a command that cannot be obeyed."""
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("python -m nn")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err


def save(path, stack, loss="cce", names=None, **options):
    model = nn.Model(stack, seed=0, name=path.stem)
    if loss is not None:
        model.compile(loss)
    model.class_names = names
    model.save(path, **options)
    return model


@pytest.fixture
def brightness(tmp_path):
    """A model whose three logits are 8 * b, 0 and -8 * b for an image of brightness b."""
    stack = [nn.AvgPool2D(4, input_shape=(1, 8, 8)), nn.Flatten(), nn.Dense(3)]
    model = nn.Model(stack, seed=0)
    model.layers[2].params["W"][:] = 2 * np.array([[1.0, 0.0, -1.0]] * 4)
    model.class_names = ["light", "grey", "dark"]
    model.compile("cce")
    model.save(tmp_path / "brightness.hdf5")
    return tmp_path / "brightness.hdf5"


def image(path, grey, size=(8, 8)):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path)
    return path


# ------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", NAMES)
def test_help(capsys, name):
    status, out, err = run(capsys, name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: python -m nn {name} ")
    assert "--json" in out


def test_help_and_version_of_the_whole(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for name in NAMES:
        assert f"\n    {name}" in out
    assert run(capsys, "--version") == (0, f"nn {nn.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["sumary", "m.hdf5"], "invalid choice: 'sumary'"),
        (["summary"], "FILE"),
        (["predict", "m.hdf5"], "IMAGE"),
        (["evaluate", "m.hdf5"], "--data"),
        (["info", "--jsn"], "--jsn"),
        (["gradcheck", "--entries", "0"], "must be a whole number of at least 1, got '0'"),
        (["gradcheck", "--tolerance", "nan"], "must be a positive number, got 'nan'"),
        (["benchmark", "--seconds", "inf"], "must be a positive number, got 'inf'"),
        (["predict", "m", "p", "--top", "1.5"], "must be a whole number"),
    ],
)
def test_wrong_usage(capsys, arguments, says):
    assert says in refused(capsys, *arguments)


@pytest.mark.parametrize("name", ["summary", "gradcheck", "predict", "evaluate"])
def test_files_that_are_no_models(capsys, tmp_path, name):
    more = {"predict": ["p.png"], "evaluate": ["--data", tmp_path]}.get(name, [])
    assert "No such file" in refused(capsys, name, tmp_path / "no.hdf5", *more)
    text = tmp_path / "notes.txt"
    text.write_text("no model\n")
    assert "neither an HDF5 nor an NPZ nor a safetensors file" in refused(capsys, name, text, *more)
    assert refused(capsys, name, text, *more, "--json")
    assert "directory" in refused(capsys, name, tmp_path, *more)
    whole = tmp_path / "m.npz"
    save(whole, [nn.Dense(2, input_shape=(2,))])
    whole.write_bytes(whole.read_bytes()[:200])
    assert "m.npz" in refused(capsys, name, whole, *more)


def test_ctrl_c(capsys, monkeypatch):
    def press(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.info, "run", press)
    assert run(capsys, "info") == (130, "", "python -m nn info: stopped.\n")


def test_a_mistake_in_nn_is_not_hidden(capsys, monkeypatch):
    monkeypatch.setattr(commands.info, "run", lambda options: {}["no"])
    with pytest.raises(KeyError):
        commands.main(["info"])


def test_nan_is_null_in_json(capsys, monkeypatch):
    data = {"a": [float("nan"), 1.5, (float("inf"),)], "b": {"c": -float("inf")}, "d": "nan"}
    result = commands.Result("", data)
    monkeypatch.setattr(commands.info, "run", lambda options: result)
    assert as_json(capsys, "info") == {"a": [None, 1.5, [None]], "b": {"c": None}, "d": "nan"}


# ------------------------------------------------------------------------------ each of them


def test_info(capsys):
    data = as_json(capsys, "info")
    assert data["nn"] == nn.__version__
    assert data["packages"]["numpy"] == np.__version__
    assert data["python"] == ".".join(map(str, sys.version_info[:3]))
    assert data["blas"][0]["threads"] >= 1
    assert data["gpu"]["used"] == nn.cuda.USE_CUDA
    assert data["gpu"]["used"] or data["gpu"]["why"]
    status, out, err = run(capsys, "info")
    assert (status, err) == (0, "")
    assert dict(line.split(None, 1) for line in out.splitlines())["numpy"] == np.__version__


def test_info_says_why_the_kernels_are_not_compiled(monkeypatch):
    monkeypatch.setattr(nn.kernels, "compiled", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    kernels = commands.info.about_machine()["kernels"]
    assert kernels == {"used": "NumPy", "why": "Numba is not installed (the extra 'fast')"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert "Numba cannot be imported" in commands.info.about_machine()["kernels"]["why"]


def test_summary(capsys, tmp_path):
    stack = [nn.Conv2D(2, 3, input_shape=(1, 8, 8)), nn.Flatten(), nn.Dense(3, name="層\n")]
    model = save(tmp_path / "net.npz", stack, names=["a", "b", "c"])
    status, out, _ = run(capsys, "summary", tmp_path / "net.npz")
    assert (status, out) == (0, model.summary() + "\n")
    data = as_json(capsys, "summary", tmp_path / "net.npz")
    assert data["parameters"] == 20 + 128 * 3 + 3
    assert data["parameter_bytes"] == 4 * data["parameters"]
    assert data["output_bytes"] == 4 * (128 + 128 + 3)
    assert data["input_shape"] == [None, 1, 8, 8]
    assert data["class_names"] == ["a", "b", "c"]
    assert [layer["path"] for layer in data["layers"]] == ["0_Conv2D", "1_Flatten", "2_Dense"]
    assert data["layers"][2]["label"] == "層\\n (Dense)"


def test_predict(capsys, tmp_path, brightness):
    white, black = image(tmp_path / "w.png", 255), image(tmp_path / "b.png", 0, (20, 30))
    status, out, err = run(capsys, "predict", brightness, white, black)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    heads = [word for k in "123" for word in ("Class", k, "Probability")]
    assert lines[0].split() == ["Image", *heads]
    # softmax of (8, 0, -8), and of (0, 0, 0)
    assert lines[1].split()[1:] == ["light", "99.97%", "grey", "0.03%", "dark", "0.00%"]
    assert lines[2].split()[1:] == ["light", "33.33%", "grey", "33.33%", "dark", "33.33%"]
    data = as_json(capsys, "predict", brightness, white, "--top", 1)
    (found,) = data["images"]
    assert found["image"] == str(white)
    (best,) = found["classes"]
    assert (best["class"], best["name"]) == (0, "light")
    assert best["probability"] == pytest.approx(1 / (1 + np.exp(-8) + np.exp(-16)), abs=1e-6)


FOR_BYTES = {
    "rescale": lambda: [nn.Rescale(1 / 255)],
    "standardize": lambda: [nn.Standardize(120.0, 60.0)],
    "flat": lambda: [nn.Flatten(), nn.Standardize(120.0, 60.0), nn.Reshape((1, 8, 8))],
}


def save_for_bytes(path, first):
    """Save a model that takes 0..255: its first logit is above 0 for light images."""
    stack = [*first(), nn.Flatten(), nn.Dense(2)]
    model = nn.Model(stack, seed=0)
    model.build((None, 1, 8, 8))
    model.layers[-1].params["W"][:] = np.array([[0.05, 0.0]] * 64)
    model.layers[-1].params["b"][:] = [-1.0, 0.0]
    model.class_names = ["light", "dark"]
    model.compile("cce")
    model.save(path)
    return model


@pytest.mark.parametrize("first", FOR_BYTES.values(), ids=FOR_BYTES)
def test_images_come_as_0_to_255_to_a_model_that_takes_these(capsys, tmp_path, first):
    """Many models of Keras begin so; a digit is converted to floats in [0, 1] before."""
    model = save_for_bytes(tmp_path / "m.npz", first)
    found = as_json(capsys, "predict", tmp_path / "m.npz", image(tmp_path / "w.png", 200))
    best = found["images"][0]["classes"][0]
    wanted = model.predict_proba(np.full((1, 1, 8, 8), 200, "float32"))[0]
    assert (best["name"], best["probability"]) == ("light", pytest.approx(wanted[0], rel=1e-5))
    for grey in (0, 200):
        image(tmp_path / "set" / ("light" if grey else "dark") / "0.png", grey)
    data = as_json(capsys, "evaluate", tmp_path / "m.npz", "--data", tmp_path / "set")
    wanted = model.evaluate(np.full((2, 1, 8, 8), 1) * np.float32([[[[0]]], [[[200]]]]), [1, 0])
    assert data["figures"]["loss"] == pytest.approx(wanted["loss"], rel=1e-5)


@pytest.mark.parametrize("flat", [False, True])
def test_a_digit_comes_as_0_to_255_too(capsys, tmp_path, flat):
    """Also the rows of numbers that MNIST is given as to a model of vectors."""
    shape = (784,) if flat else (1, 28, 28)
    stack = [nn.Rescale(1 / 255, input_shape=shape), nn.Flatten(), nn.Dense(10)]
    model = nn.Model(stack, seed=0)
    model.compile("cce")
    model.save(tmp_path / "m.npz")
    folder = mnist(tmp_path / "digits")
    data = as_json(capsys, "evaluate", tmp_path / "m.npz", "--data", folder)
    x, y = np.full((6, *shape), 255, "float32"), np.arange(6) % 2
    assert data["figures"]["loss"] == pytest.approx(model.evaluate(x, y)["loss"], rel=1e-5)
    if flat:
        return
    page = image(tmp_path / "page.png", 255, (60, 60))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        digit = nn.data.normalize_digit(page)[None, None]
    row = as_json(capsys, "predict", tmp_path / "m.npz", page, "--fit", "digit", "--top", 1)
    found = row["images"][0]["classes"][0]["probability"]
    assert found == pytest.approx(model.predict_proba(digit * 255).max(), rel=1e-5)


def test_predict_a_folder_and_a_pattern(capsys, tmp_path, brightness):
    """The shells of Windows pass a pattern as it is."""
    files = [image(tmp_path / "new" / f"{name}.png", grey) for name, grey in (("a", 255), ("b", 0))]
    (tmp_path / "new" / "notes.txt").write_text("no image")
    for given in ("new", "new/*.png"):
        data = as_json(capsys, "predict", brightness, tmp_path / given)
        assert [one["image"] for one in data["images"]] == [str(file) for file in files]
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(capsys, "predict", brightness, tmp_path / "empty")


def test_predict_in_colour_and_what_fits(capsys, tmp_path):
    from PIL import Image

    # The output is the mean of the green channel; a wide image has green at its left end alone.
    model = nn.Model([nn.GlobalAvgPool2D(input_shape=(3, 4, 4)), nn.Dense(2, use_bias=False)])
    model.layers[1].params["W"][:] = [[0, 0], [0, 1], [0, 0]]
    model.compile("hinge")
    model.save(tmp_path / "green.npz")
    image = Image.new("RGB", (8, 4), "black")
    image.paste((0, 255, 0), (0, 0, 2, 4))
    image.save(tmp_path / "wide.png")
    found = {}
    for fit in ("crop", "stretch"):
        data = as_json(
            capsys, "predict", tmp_path / "green.npz", tmp_path / "wide.png", "--fit", fit
        )
        assert data["score"] == "score"
        found[fit] = max(one["score"] for one in data["images"][0]["classes"])
    assert found["crop"] == 0
    assert found["stretch"] == pytest.approx(0.25, abs=0.05)
    assert "0.0000" in run(capsys, "predict", tmp_path / "green.npz", tmp_path / "wide.png")[1]


def test_predict_a_digit_on_paper(capsys, tmp_path, brightness):
    """The model's output is how bright the image is: dark ink on paper becomes light ink."""
    from PIL import Image

    model = nn.Model([nn.GlobalAvgPool2D(input_shape=(1, 28, 28)), nn.Dense(2, use_bias=False)])
    model.layers[1].params["W"][:] = [[0, 1]]
    model.compile("hinge")
    model.save(tmp_path / "m.npz")
    paper = Image.new("L", (90, 120), 230)
    paper.paste(30, (40, 20, 50, 100))
    paper.save(tmp_path / "one.png")
    arguments = ("predict", tmp_path / "m.npz", tmp_path / "one.png")
    scores = {}
    for fit in ("crop", "digit"):
        found = as_json(capsys, *arguments, "--fit", fit)["images"][0]["classes"]
        scores[fit] = max(one["score"] for one in found)
    assert scores["crop"] > 0.7
    assert 0.02 < scores["digit"] < 0.2
    line = refused(capsys, "predict", brightness, tmp_path / "one.png", "--fit", "digit")
    assert "needs a model of grey images of 28 x 28" in line


@pytest.mark.parametrize(("last", "loss"), [([], "bce"), ([nn.Sigmoid()], "bce"), ([], None)])
def test_predict_with_a_single_output(capsys, tmp_path, last, loss):
    model = nn.Model([nn.GlobalAvgPool2D(input_shape=(1, 4, 4)), nn.Dense(1), *last])
    model.layers[1].params["W"][:] = 2.0
    if loss:
        model.compile(loss)
    model.class_names = None if loss is None else ["no", "yes"]
    model.save(tmp_path / "m.npz")
    path = image(tmp_path / "w.png", 255)
    found = as_json(capsys, "predict", tmp_path / "m.npz", path)["images"][0]["classes"]
    assert [one["class"] for one in found] == [1, 0]
    assert [one["name"] for one in found] == (["yes", "no"] if loss else [None, None])
    yes = 1 / (1 + np.exp(-2))
    assert [one["probability"] for one in found] == pytest.approx([yes, 1 - yes], abs=1e-6)


@pytest.mark.filterwarnings("default")
def test_predict_tells_of_digits_on_paper(capsys, tmp_path):
    """Ink on paper is what people have, and MNIST's digits are light on dark: a hint says so."""
    from PIL import Image

    for classes in (10, 2):
        model = nn.Model([nn.Flatten(input_shape=(1, 28, 28)), nn.Dense(classes)])
        model.save(tmp_path / f"{classes}.npz")
    paper, board = Image.new("L", (60, 60), 230), Image.new("L", (60, 60), 20)
    for image_, ink, name in ((paper, 30, "paper"), (board, 240, "board")):
        image_.paste(ink, (25, 10, 35, 50))
        image_.save(tmp_path / f"{name}.png")
    both = (tmp_path / "paper.png", tmp_path / "board.png")

    status, out, err = run(capsys, "predict", tmp_path / "10.npz", *both)
    assert status == 0
    assert "warning" not in out
    assert "1 of 2 images" in err
    assert "--fit digit" in err
    assert err.count("\n") == 1
    as_json = run(capsys, "predict", tmp_path / "10.npz", *both, "--json")
    assert json.loads(as_json[1])["images"][0]["image"] == str(both[0])
    assert run(capsys, "predict", tmp_path / "10.npz", both[1])[2] == ""
    assert run(capsys, "predict", tmp_path / "10.npz", *both, "--fit", "digit")[2] == ""
    assert run(capsys, "predict", tmp_path / "2.npz", *both)[2] == ""  # no digits, it seems


def test_predict_keeps_probabilities_of_the_model(capsys, tmp_path):
    model = nn.Model([nn.GlobalAvgPool2D(input_shape=(1, 4, 4)), nn.Dense(4), nn.Softmax()])
    model.layers[1].params["W"][:] = [[0, 1, 2, 3]]
    model.save(tmp_path / "m.npz")
    found = as_json(capsys, "predict", tmp_path / "m.npz", image(tmp_path / "w.png", 255))
    scores = np.exp([3, 2, 1]) / np.exp([0, 1, 2, 3]).sum()
    found = found["images"][0]["classes"]
    assert [one["probability"] for one in found] == pytest.approx(scores, abs=1e-6)


def test_predict_reads_the_other_files_if_one_is_bad(capsys, tmp_path, brightness):
    white = image(tmp_path / "w.png", 255)
    (tmp_path / "bad.png").write_text("no image")
    given = (tmp_path / "bad.png", white, tmp_path / "gone.png")
    status, out, err = run(capsys, "predict", brightness, *given)
    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert lines[1].split()[:2] == [str(white), "light"]
    assert lines[2].startswith("Not read:") and "bad.png" in lines[2]
    assert lines[3].startswith("Not read:") and "there is no file" in lines[3]
    status, out, _ = run(capsys, "predict", brightness, *given, "--json")
    data = json.loads(out)
    assert [one["image"] for one in data["images"]] == [str(white)]
    assert [one["image"] for one in data["failed"]] == [str(given[0]), str(given[2])]


def test_predict_says_which_photos_are_doubtful(capsys, tmp_path):
    from PIL import Image

    model = nn.Model([nn.Flatten(input_shape=(1, 28, 28)), nn.Dense(10)], seed=0)
    model.compile("cce")
    model.save(tmp_path / "m.npz")
    paper = {name: Image.new("L", (200, 200), 230) for name in ("empty", "one", "two", "squared")}
    for name, places in (("one", [90]), ("two", [40, 140]), ("squared", [90])):
        for left in places:
            paper[name].paste(30, (left, 40, left + 12, 160))
    for k in range(10, 200, 25):
        paper["squared"].paste(150, (k, 0, k + 2, 200))
        paper["squared"].paste(150, (0, k, 200, k + 2))
    for name, sheet in paper.items():
        sheet.save(tmp_path / f"{name}.png")
    arguments = ("predict", tmp_path / "m.npz", *(tmp_path / f"{n}.png" for n in paper))
    status, out, _ = run(capsys, *arguments, "--fit", "digit")
    doubtful = [line for line in out.splitlines() if line.startswith("Doubtful:")]
    assert status == 0 and len(doubtful) == 3
    for line, (name, words) in zip(doubtful, (
        ("empty", "no ink"), ("two", "more than one digit"), ("squared", "squared or ruled paper")
    ), strict=True):  # fmt: skip
        assert f"{name}.png" in line and words in line
    found = as_json(capsys, *arguments, "--fit", "digit")["images"]
    assert [len(one["doubts"]) for one in found] == [1, 0, 1, 1]


def test_predict_refuses(capsys, tmp_path, brightness):
    white = image(tmp_path / "w.png", 255)
    text = tmp_path / "t.png"
    text.write_text("no image")
    assert "cannot decode" in refused(capsys, "predict", brightness, text)
    assert "there is no file" in refused(capsys, "predict", brightness, tmp_path / "no.png")
    save(tmp_path / "flat.npz", [nn.Dense(2, input_shape=(64,))])
    assert "one for inputs of shape (64,)" in refused(
        capsys, "predict", tmp_path / "flat.npz", white
    )
    save(tmp_path / "map.npz", [nn.Conv2D(2, input_shape=(1, 8, 8))], loss=None)
    assert "outputs of shape (2, 8, 8)" in refused(capsys, "predict", tmp_path / "map.npz", white)
    stack = [nn.Flatten(input_shape=(1, 8, 8)), nn.Dense(2)]
    save(tmp_path / "line.npz", stack, loss="mse")
    assert "MeanSquaredError" in refused(capsys, "predict", tmp_path / "line.npz", white)


def test_evaluate_a_folder_of_images_by_its_names(capsys, tmp_path, brightness):
    """The folders are not in the order of the model's classes, and one class has none."""
    for k, grey in enumerate((0, 0, 255)):  # three said to be dark, one of which is white
        image(tmp_path / "set" / "dark" / f"{k}.png", grey)
    image(tmp_path / "set" / "light" / "0.png", 255)
    before = sorted((tmp_path / "set").iterdir())
    data = as_json(capsys, "evaluate", brightness, "--data", tmp_path / "set")
    assert data["samples"] == 4
    assert data["figures"]["acc"] == 0.25  # black images have three equal logits: the first, light
    assert sorted((tmp_path / "set").iterdir()) == before
    image(tmp_path / "set" / "drak" / "0.png", 0)
    assert "'drak'" in refused(capsys, "evaluate", brightness, "--data", tmp_path / "set")


def mnist(folder, count=6):
    folder.mkdir()
    for part in ("train", "t10k"):
        images = np.full((count, 28, 28), 255, dtype=np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        labels = np.arange(count, dtype=np.uint8) % (2 if part == "t10k" else 1)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    return folder


@pytest.mark.parametrize("flat", [False, True])
def test_evaluate_mnist_also_with_rows_of_numbers(capsys, tmp_path, flat):
    folder = mnist(tmp_path / "digits")
    stack = [nn.Dense(10, input_shape=(784,))] if flat else [nn.Flatten(input_shape=(1, 28, 28))]
    model = nn.Model([*stack, *([] if flat else [nn.Dense(10)])], seed=0)
    model.layers[-1].params["W"][:, 0] = 1.0  # whatever comes is a nought
    model.compile("cce")
    model.save(tmp_path / "m.npz", include_optimizer=False)
    status, out, err = run(capsys, "evaluate", tmp_path / "m.npz", "--data", folder)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 3  # the file has the loss
    model.loss = None
    model.save(tmp_path / "m.npz", include_optimizer=False)
    status, out, err = run(capsys, "evaluate", tmp_path / "m.npz", "--data", folder)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "6 samples of MNIST (test)"
    assert lines[2] == "acc: 0.5000"
    assert "no loss" in lines[3] and "'cce'" in lines[3]
    model.compile("cce")
    model.save(tmp_path / "m.npz")
    data = as_json(capsys, "evaluate", tmp_path / "m.npz", "--data", folder, "--part", "train")
    assert data["figures"]["acc"] == 1.0
    assert data["data"] == "MNIST (train)"


def test_evaluate_finds_the_sample_and_cifar(capsys, tmp_path):
    save(tmp_path / "m.npz", [nn.Flatten(input_shape=(1, 28, 28)), nn.Dense(10)])
    data = as_json(capsys, "evaluate", tmp_path / "m.npz", "--data", ROOT / "mnist_dataset")
    assert data["samples"] == 1000
    (tmp_path / "c" / "cifar-10-batches-bin").mkdir(parents=True)
    says = refused(capsys, "evaluate", tmp_path / "m.npz", "--data", tmp_path / "c")
    assert "load_cifar10" in says
    (tmp_path / "d" / "cifar-100-binary").mkdir(parents=True)
    says = refused(capsys, "evaluate", tmp_path / "m.npz", "--data", tmp_path / "d")
    assert "load_cifar100" in says


def test_evaluate_refuses(capsys, tmp_path, brightness):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "does not exist" in refused(capsys, "evaluate", brightness, "--data", tmp_path / "no")
    assert "'DIR'" in refused(capsys, "evaluate", brightness, "--data", empty)
    (empty / "a").mkdir()
    assert refused(capsys, "evaluate", brightness, "--data", empty)
    says = refused(capsys, "evaluate", brightness, "--data", mnist(tmp_path / "digits"))
    assert "(None, 1, 8, 8), got (6, 1, 28, 28)" in says  # the model is not for digits of this size


def test_gradcheck(capsys, tmp_path):
    status, out, err = run(capsys, "gradcheck", "--entries", 1)
    assert (status, err) == (0, "")
    assert "11_Dense" in out
    assert out.splitlines()[-1].startswith("All gradients agree")
    save(tmp_path / "m.npz", [nn.Dense(3, input_shape=(2,)), nn.Tanh(), nn.Dense(2)])
    data = as_json(capsys, "gradcheck", tmp_path / "m.npz", "--entries", 3)
    assert data["ok"] is True
    assert {row["verdict"] for row in data["rows"]} == {"ok"}
    assert max(row["entries"] for row in data["rows"]) == 3


def test_gradcheck_of_a_wrong_gradient(capsys, tmp_path, monkeypatch):
    save(tmp_path / "m.npz", [nn.Dense(3, input_shape=(2,)), nn.Tanh(), nn.Dense(2)])
    right = nn.Tanh.backward
    monkeypatch.setattr(nn.Tanh, "backward", lambda self, grad: 1.01 * right(self, grad))
    status, out, err = run(capsys, "gradcheck", tmp_path / "m.npz")
    assert (status, err) == (1, "")
    assert "backward() of 1_Tanh" in out
    assert run(capsys, "gradcheck", tmp_path / "m.npz", "--tolerance", 0.1)[0] == 0
    status, out, err = run(capsys, "gradcheck", tmp_path / "m.npz", "--json")
    assert (status, err) == (1, "")
    assert json.loads(out)["suspect"] == "1_Tanh"


def test_benchmark(capsys):
    data = as_json(capsys, "benchmark", "--seconds", 0.2)
    for part in (data["training"], data["inference"]):
        assert 0 < part["lowest"] <= part["images_per_second"] <= part["highest"]
        assert part["rounds"] >= 3
    assert data["batch_size"] == 64
    assert data["machine"]["packages"]["numpy"] == np.__version__
    lines = commands.benchmark._text(data).splitlines()
    assert lines[1].startswith(f"Training: {data['training']['images_per_second']:,.0f} images/s")
    assert f"numpy {np.__version__}" in lines[-1]


# -------------------------------------------------------------- as a program: pipe and terminal


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "NN_DISABLE_CUDA": "1", **more}


def test_piped_to_a_reader_that_leaves(tmp_path):
    """As `python -m nn summary m.npz | head -1`: no complaint, and the status of the command."""
    save(tmp_path / "m.npz", [nn.Dense(2, input_shape=(2,)), *(nn.ReLU() for _ in range(30))])
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "nn", "summary", str(tmp_path / "m.npz")]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=environment())
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_piped_in_a_plain_locale(tmp_path):
    """Nothing but printable characters, whatever the names and the encoding are."""
    names = ["\x1b[31mred", "層", "a\tb"]
    stack = [nn.Flatten(input_shape=(1, 8, 8)), nn.Dense(3, name="\x07bell")]
    save(tmp_path / "m.npz", stack, names=names)
    path = image(tmp_path / "p\x1b.png", 9)
    plain = environment(PYTHONIOENCODING="ascii:strict", PYTHONUTF8="0", LC_ALL="C")
    command = [sys.executable, "-m", "nn", "predict", str(tmp_path / "m.npz"), str(path)]
    done = subprocess.run(command, capture_output=True, env=plain)
    assert (done.returncode, without_notice(done.stderr.decode())) == (0, "")
    assert done.stdout.decode("ascii").replace("\n", "").isprintable()
    assert b"\\x1b[31mred" in done.stdout


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_in_a_terminal(tmp_path):
    """The same text as in a pipe; an error in one line; the shell sees the status."""
    pty = pytest.importorskip("pty")
    model = save(tmp_path / "m.npz", [nn.Dense(2, input_shape=(2,))])
    for file, status, shown in (
        ("m.npz", 0, model.summary()),
        ("no.npz", 2, "python -m nn summary: [Errno 2] No such file or directory: 'no.npz'"),
    ):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "nn", "summary", file]
        child = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), cwd=tmp_path
        )
        os.close(theirs)
        output = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux' way of saying that the other end is closed
                break
            if not piece:
                break
            output += piece
        os.close(ours)
        assert child.wait() == status
        assert output.decode().replace("\r\n", "\n").strip() == shown


def test_warmup(capsys, tmp_path):
    """Networks of the zoo, and files."""
    pytest.importorskip("numba")
    save(tmp_path / "two.npz", [nn.Dense(2, input_shape=(3,))])
    save(tmp_path / "rows.npz", [nn.Dense(1, input_shape=(3,))], loss="mse")
    files = [tmp_path / f"{name}.npz" for name in ("two", "rows")]
    found = as_json(capsys, "warmup", "logistic_regression", "conv_autoencoder", *files)
    assert list(found["seconds"]) == ["logistic_regression", "conv_autoencoder", *map(str, files)]
    assert all(seconds > 0 for seconds in found["seconds"].values())
    status, out, _ = run(capsys, "warmup", "logistic_regression")
    assert status == 0
    assert re.match(r"logistic_regression +\d+\.\d s\nThe compiled kernels are kept in /", out)
    assert "no model file and no name in nn.zoo: mlpp" in refused(capsys, "warmup", "mlpp")


def test_warmup_without_numba_or_a_folder(capsys, monkeypatch):
    compiler = pytest.importorskip("nn.kernels.cpu.compiler", exc_type=ImportError)

    def no_folder(function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compiler, "_Cache", no_folder)
    status, out, _ = run(capsys, "warmup", "logistic_regression")
    assert status == 1
    assert "are not kept, as no folder can be written" in out
    monkeypatch.setattr(nn.kernels, "compiled", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    line = refused(capsys, "warmup")
    assert "no kernels are compiled here: Numba is not installed (the extra 'fast')." in line


@pytest.mark.slow
def test_after_warmup_a_training_compiles_nothing(tmp_path):
    pytest.importorskip("numba")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    code = "import numpy as np, nn\nmodel = nn.zoo.lenet5(seed=0)\nmodel.compile('cce', 'adam')\n"
    code += "x = np.random.default_rng(0).random((64, 1, 28, 28), 'float32')\n"
    code += "model.fit(x, np.arange(64) % 10, verbose=0); model.predict(x[:1])"
    for arguments in (["-m", "nn", "warmup", "lenet5"], ["-c", code]):
        done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
    assert done.stderr == b""  # no line that kernels are compiled
