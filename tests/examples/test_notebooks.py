"""The notebooks of the course: they run from either folder, and what they print is so.

A notebook has its settings in capitals at the top. A test replaces some of those lines and runs
the rest as it stands, in this process, with matplotlib drawing into no window.
"""

import dataclasses
import json
import re

import numpy as np
import pytest
from conftest import ROOT

import nn
from nn.data.sets import cifar as cifar10

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "make_notebooks")
README = (FOLDER / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)#\s]+)\)")


def text_of(name):
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")


def cells_of(name):
    """Return (kind, text) of each cell, the text without its comment signs where it is markdown."""
    parts = re.split(r"^# %%(.*)\n", text_of(name), flags=re.MULTILINE)[1:]
    cells = []
    for head, body in zip(parts[::2], parts[1::2], strict=True):
        kind = "markdown" if head.strip() == "[markdown]" else "code"
        body = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if kind == "markdown" else body
        cells.append((kind, body.strip()))
    return cells


def with_settings(source, settings):
    """Return the source with other values in the lines that set names in capitals."""
    for name, value in settings.items():
        line = rf"^{name} = [^#\n]*"
        source, count = re.subn(
            line, lambda _, n=name, v=value: f"{n} = {v!r}  ", source, flags=re.M
        )
        assert count == 1, f"{name} is set {count} times"
    return source


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs a notebook and returns its variables."""
    matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib, the extra 'plot'")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = matplotlib.get_backend()
    pyplot.switch_backend("Agg")
    monkeypatch.setattr(pyplot, "show", lambda: pyplot.close("all"))
    monkeypatch.chdir(ROOT)

    def run_notebook(name, **settings):
        source = with_settings(text_of(name), settings)
        variables = {"__name__": "__main__"}
        exec(compile(source, str(FOLDER / f"{name}.py"), "exec"), variables)
        assert not pyplot.get_fignums(), "a figure was not shown"
        return variables

    yield run_notebook
    pyplot.close("all")
    pyplot.switch_backend(before)


def printed_numbers(text, pattern):
    return [float(n) for n in re.findall(pattern, text)]


# --------------------------------------------------------------------------------- their form


def test_the_readme_names_every_notebook():
    assert sorted(re.findall(r"\]\((\w+)\.py\)", README)) == NOTEBOOKS
    assert len(NOTEBOOKS) == 8


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_text_and_code_in_turn(name):
    cells = cells_of(name)
    kind, first = cells[0]
    assert kind == "markdown"
    assert re.match(r"# \w.*\n\nYou will learn\n\n- ", first)
    texts = [text for kind, text in cells if kind == "markdown"]
    assert len(texts) >= 8
    assert sum(text.startswith("# ") for text in texts) == 1
    numbers = [int(n) for text in texts for n in re.findall(r"^## (\d+)\. ", text, re.M)]
    assert numbers == list(range(1, len(numbers) + 1))
    for text in texts:
        assert text.count("$$") % 2 == 0
    for kind, text in cells:
        if kind == "code":
            compile(text, name, "exec")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_exercises_stand_at_the_end_each_with_a_hint(name):
    kind, last = cells_of(name)[-1]
    assert kind == "markdown"
    exercises = re.split(r"^\d+\. ", last.partition("## Exercises\n")[2], flags=re.M)[1:]
    assert len(exercises) == 5
    assert all("*Hint:*" in exercise for exercise in exercises)


@pytest.mark.parametrize("name", [*NOTEBOOKS, "README"])
def test_links_lead_to_files(name):
    text = README if name == "README" else re.sub(r"\n# ", "\n", text_of(name))
    links = [link for link in LINK.findall(text) if "://" not in link]
    assert links or name == "cifar10_on_a_laptop"
    for link in links:
        assert (FOLDER / link).is_file(), link


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_jupytext_makes_a_notebook_of_it(name):
    jupytext = pytest.importorskip("jupytext", reason="needs jupytext, the extra 'notebooks'")
    notebook = jupytext.reads(text_of(name), fmt="py:percent")
    ours = cells_of(name)
    assert [cell.cell_type for cell in notebook.cells] == [kind for kind, _ in ours]
    assert [cell.source for cell in notebook.cells] == [text for _, text in ours]
    content = jupytext.writes(notebook, fmt="ipynb")
    again = jupytext.reads(content, fmt="ipynb")
    assert [cell.source for cell in again.cells] == [text for _, text in ours]
    assert again.metadata["kernelspec"]["name"] == "python3"


# ----------------------------------------------------------------------- notebooks with outputs


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_is_in_step_with_its_source(name):
    path = FOLDER / f"{name}.ipynb"
    made = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in made]
    assert f"/notebooks/{name}.ipynb)" in sources[0] and "colab-badge.svg" in sources[0]
    assert sources[1].startswith("try:\n    import nn\n")
    ours = cells_of(name)
    message = "run python notebooks/make_notebooks.py"
    assert [cell["cell_type"] for cell in made[2:]] == [kind for kind, _ in ours], message
    assert sources[2:] == [text for _, text in ours], message
    outputs = [output for cell in made for output in cell.get("outputs", [])]
    assert not any(output["output_type"] == "error" for output in outputs)
    assert path.stat().st_size < 200_000
    if name != "cifar10_on_a_laptop":
        assert any("image/png" in output.get("data", {}) for output in outputs)
        code = [cell for cell in made if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))


# ---------------------------------------------------------------------------- what they compute


def test_forward_and_backward(run, capsys):
    seen = run("forward_and_backward")
    p = 1 / (1 + np.exp(1.2))  # z = 2 * -0.5 - 1 * 0.3 + 0.1
    np.testing.assert_allclose(seen["by_chain_rule"], [2 * (p - 1), -(p - 1)], rtol=1e-12)
    assert seen["measured_errors"].min() < 1e-9
    assert 1e-7 < seen["best_h"] < 1e-3  # a valley between the curve and rounding
    assert seen["measured_errors"][-1] > 1e3 * seen["measured_errors"].min()
    for name in ("neuron_difference", "layer_difference", "network_difference"):
        assert seen[name] < 1e-10, name
    assert max(seen["right_errors"].values()) < 1e-6
    assert max(seen["two_layer_errors"]) < 1e-6
    wrong = seen["wrong_errors"]
    assert wrong["W"] == pytest.approx(0.8)  # a fifth in place of the whole, for 5 samples
    assert max(wrong["x"], wrong["b"]) < 1e-6
    assert seen["neuron_accuracy"] < 0.92 < 0.98 < seen["accuracy"]
    assert f"accuracy {seen['accuracy']:.1%}" in capsys.readouterr().out


def test_forward_and_backward_from_its_own_folder(run, monkeypatch):
    monkeypatch.chdir(FOLDER)
    seen = run("forward_and_backward", STEPS=3, HIDDEN=2)
    assert len(seen["losses"]) == 3 and seen["params"][0].shape == (2, 2)


def test_film_a_filter_learning(run, monkeypatch, tmp_path):
    pytest.importorskip("PIL", reason="needs Pillow (the extra 'images')")
    monkeypatch.chdir(tmp_path)  # it works in any folder
    seen = run("film_a_filter_learning", TRAIN=640, EPOCHS=2)
    assert len(seen["keep"].kept) == 3  # before the first step, and after 10 and 20 of 20
    np.testing.assert_array_equal(seen["keep"].kept[0], seen["first_weights"])
    np.testing.assert_allclose(seen["film"].images[-1], seen["keep"].kept[-1])
    assert (tmp_path / "weights.gif").read_bytes().startswith(b"GIF")
    assert seen["moved"][0].max() == 0 < seen["moved"][-1].min()
    assert seen["accuracy"] > 0.5


def test_the_same_network_in_three_libraries(run):
    pytest.importorskip("torch", reason="needs PyTorch")
    pytest.importorskip("keras", reason="needs Keras")
    seen = run("nn_keras_and_pytorch", TRAIN=500, EPOCHS=1)
    assert max(seen["output_differences"].values()) < 1e-5
    assert max(seen["gradient_differences"].values()) < 1e-5
    assert max(seen["training_differences"].values()) < 1e-4
    assert len({round(share, 2) for share in seen["accuracies"].values()}) == 1


def test_convolution(run, monkeypatch, capsys):
    monkeypatch.chdir(FOLDER)
    seen = run("convolution", SAMPLES=4, CHANNELS=3, FILTERS=4, SIZE=12, REPEATS=1)
    digit, kernel = seen["digit"], seen["kernel"]
    total = sum(kernel[i, j] * digit[12 + i, 14 + j] for i in range(3) for j in range(3))
    assert seen["edges"][12, 14] == pytest.approx(total)
    assert seen["edges"].shape == (26, 26)
    for name in ("loop", "im2col", "tile", "view", "shift", "backward"):
        assert seen[f"{name}_difference"] < 1e-4, name
    assert seen["is_view"] and seen["rows_are_copied"]
    assert seen["growth"] == pytest.approx(9 * 10 * 10 / 12 / 12)
    assert seen["multiplications"](seen["x"], seen["W"]) == 4 * 4 * 10 * 10 * 3 * 9
    nanoseconds = seen["nanoseconds"]
    assert len(nanoseconds) == 6 and min(nanoseconds.values()) > 0
    assert nanoseconds["seven loops"] == max(nanoseconds.values())
    assert seen["tiles"] == [1, 2, 4]
    printed = capsys.readouterr().out
    times = printed_numbers(printed, r"([\d.]+) ns per multiplication")
    assert times == [pytest.approx(n, abs=1e-4) for n in nanoseconds.values()]


def test_the_convolutions_of_the_notebook_are_that_of_nn(run, rng):
    seen = run("convolution", SAMPLES=2, CHANNELS=2, FILTERS=2, SIZE=8, REPEATS=1)
    x, w = rng.normal(size=(3, 2, 7, 6)), rng.normal(size=(5, 2, 3, 2))
    expected = nn.naive.conv2d_naive(x, w, None)
    for name in ("by_loops", "by_im2col", "by_tiles", "by_view", "by_shifts"):
        np.testing.assert_allclose(seen[name](x, w), expected, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(seen["by_tiles"](x, w, tile=2), expected, atol=1e-12)
    grad = rng.normal(size=expected.shape)
    dx, dw, _ = nn.naive.conv2d_backward_naive(grad, x, w)
    for ours, theirs in zip(seen["backward"](grad, x, w), (dx, dw), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_optimizers(run, capsys):
    seen = run("optimizers", TRAIN=300, TEST=100, EPOCHS=2)
    ends = seen["ends"]
    assert ends[0.98] < ends[0.5] < 13 < ends[1.02]  # above the limit it blows up
    expected = (4 * 0.975**50) ** 2 / 2  # along; what was across is gone after a step
    assert ends[0.5] == pytest.approx(expected)
    assert seen["best_rate"] == pytest.approx(2 / 41, abs=2e-4)
    assert max(seen["momentum_difference"], seen["adam_difference"]) < 1e-12
    np.testing.assert_allclose(seen["first_step"], [0.1, -0.1], rtol=1e-6)
    assert seen["slope_error"] < 1e-7
    heights = seen["final_heights"]
    assert list(heights) == ["SGD", "momentum", "Nesterov", "RMSprop", "Adam"]
    assert all(np.isfinite(h) for h in heights.values())
    assert max(heights["momentum"], heights["Nesterov"], heights["Adam"]) < 1e-3 * heights["SGD"]
    for name, path in seen["paths"].items():
        assert heights[name] == max((1 - u) ** 2 + 10 * (v - u**2) ** 2 for u, v in path[-20:])
    assert seen["end_of"](np.full((30, 2), np.nan)) == np.inf
    assert {len(curve) for curve in seen["curves"].values()} == {2}
    printed = capsys.readouterr().out
    assert "50,890 parameters" in printed
    shares = printed_numbers(printed, r"the worst loss is ([\d.]+) times the best")
    assert shares == [
        pytest.approx(max(losses) / min(losses), abs=0.06) for losses in seen["swept"].values()
    ]


def test_what_a_network_sees(run, capsys):
    seen = run("what_a_network_sees", TRAIN=1500, TEST=300, EPOCHS=4)
    assert seen["accuracy"] > 0.6
    assert seen["map_difference"] < 1e-4
    assert seen["saliency_difference"] < 1e-5
    assert max(seen["cam_difference"], seen["alpha_difference"]) < 1e-5
    falls = seen["falls"]
    for step in (0.001, 0.01):  # the slope is right about small steps
        for predicted, measured in (falls["most salient", step], falls["at random", step]):
            assert measured == pytest.approx(predicted, rel=0.2)
        assert falls["most salient", step][1] > 1.5 * falls["at random", step][1]
    wrong = np.flatnonzero(seen["model"].predict_classes(seen["x"]) != seen["y"])
    assert list(seen["mistakes"]) == list(wrong)
    losses = nn.explain.sample_losses(seen["model"], seen["x"][wrong], seen["y"][wrong])
    assert seen["worst"][0] == wrong[losses.argmax()]
    assert seen["seen"] == {"first": 5, "second": 14, "third": 22}
    assert f"{len(wrong)} mistakes among 300" in capsys.readouterr().out


def test_recurrence_and_attention(run, capsys):
    seen = run("recurrence_and_attention")
    assert seen["lstm_difference"] < 1e-12
    assert list(seen["gradient_differences"]) == ["x", "W", "U", "b"]
    assert max(seen["gradient_differences"].values()) < 1e-12
    assert max(seen["attention_differences"].values()) < 1e-12
    assert seen["state_difference"] < 1e-5
    left = {name: sizes[-51] / sizes[-1] for name, sizes in seen["arriving"].items()}
    assert left["SimpleRNN"] < 1e-2 < 0.1 < left["LSTM, bias 5"]
    assert left["LSTM, bias 1"] < 0.1 * left["LSTM, bias 5"]
    assert seen["simple_accuracy"] < 0.7 < 0.9 < seen["gated_accuracy"]
    assert seen["reversed_accuracy"] > 0.95 and seen["mirrored"] > 0.7
    np.testing.assert_allclose(seen["looked_at"].sum(axis=2), 1, rtol=1e-5)
    assert f"LSTM: {seen['gated_accuracy']:.1%}" in capsys.readouterr().out


def test_a_place_sees_as_many_pixels_as_is_said():
    """Counted: which pixels have a slope for the place in the middle of the maps."""
    model = nn.Model(dtype="float64", seed=0)
    for layer in [nn.Conv2D(2, 5, input_shape=(1, 60, 60)), nn.AvgPool2D(2), nn.Conv2D(2, 5)]:
        model.add(layer)
    model.add(nn.Conv2D(2, 5))
    for depth, said in ((1, 5), (3, 14), (4, 22)):  # the notebook's 'first', 'second', 'third'
        part = nn.Model(model.layers[:depth], dtype="float64")
        y = part.forward(np.ones((1, 1, 60, 60)))
        grad = np.zeros_like(y)
        middle = y.shape[2] // 2
        grad[0, :, middle, middle] = 1
        rows = np.flatnonzero(abs(part.backward(grad)[0, 0]).sum(axis=1))
        assert len(rows) == rows[-1] - rows[0] + 1 == said


# ------------------------------------------------------------------------------------- CIFAR-10


@pytest.fixture
def small_cifar10(tmp_path, monkeypatch, rng):
    """Files of CIFAR-10's binary layout with few images, each class a colour of its own."""
    kind = cifar10.CIFAR10
    few = dataclasses.replace(kind, train=dict.fromkeys(kind.train, 40), test={"test_batch": 40})
    monkeypatch.setattr(cifar10, "CIFAR10", few)
    folder = tmp_path / "cifar"
    (folder / "cifar-10-batches-bin").mkdir(parents=True)
    colours = rng.integers(0, 200, (10, 3, 1), dtype=np.uint8)
    for name in [*kind.train, "test_batch"]:
        labels = np.arange(40, dtype=np.uint8) % 10
        noise = rng.integers(0, 56, (40, 3, 1024), dtype=np.uint8)
        pixels = (colours[labels] + noise).reshape(40, 3072)
        rows = np.concatenate([labels[:, np.newaxis], pixels], axis=1)
        (folder / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(rows.tobytes())
    return folder


def test_cifar10(run, small_cifar10, tmp_path, capsys):
    out = tmp_path / "best.hdf5"
    settings = {"DATA": str(small_cifar10), "OUT": str(out), "IMAGES": 160, "BATCH": 16}
    seen = run("cifar10_on_a_laptop", EPOCHS=2, **settings)
    assert (len(seen["train"]), len(seen["val"]), len(seen["test"])) == (144, 16, 40)
    assert seen["names"][0] == "airplane"
    assert seen["by_means"] > 0.9 > seen["guessing"]  # each class is a colour
    for k, mean in zip(seen["present"], seen["means"], strict=True):
        own = seen["x_train"][seen["y_train"] == k]
        np.testing.assert_allclose(mean, sum(own).ravel() / len(own), atol=1e-5)
    assert seen["images_a_second"] > 0
    expected = 2 * 144 / seen["images_a_second"] / 60
    assert seen["minutes"] == pytest.approx(expected)
    assert len(seen["history"]["val_acc"]) == 2
    best = nn.Model.load(out)
    x, y = seen["test"].arrays()
    np.testing.assert_allclose(seen["model"].predict(x), best.predict(x), atol=1e-6)
    assert seen["accuracy"] == np.mean(best.predict_classes(x) == y)
    p = [seen["probabilities"](best.predict(a)) for a in (x, x[:, :, :, ::-1])]
    np.testing.assert_allclose(p[0].sum(axis=1), 1, rtol=1e-5)
    assert seen["mirrored_accuracy"] == np.mean((p[0] + p[1]).argmax(axis=1) == y)
    assert f"test accuracy: {seen['accuracy']:.1%}" in capsys.readouterr().out


def test_cifar10_says_how_to_get_the_data(run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m nn\.data cifar10 --dir"):
        run("cifar10_on_a_laptop", DATA=str(tmp_path / "nowhere"), OUT=str(tmp_path / "out.hdf5"))


# ------------------------------------------------------------------------- the tests themselves


def test_settings_are_replaced_once_or_not_at_all():
    source = "A = 1  # steps\nB = A\n"
    assert with_settings(source, {"A": 2}) == "A = 2  # steps\nB = A\n"
    for wrong in ({"C": 1}, {"steps": 1}):
        with pytest.raises(AssertionError, match="0 times"):
            with_settings(source, wrong)
