"""The web page of a model: what it is refused for, and the page in a real browser."""

import base64
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import browser as browsers
import numpy as np
import pytest
from conftest import ROOT

import nn
from nn.exchange.onnx import wire
from nn.exchange.web import runtime as ort_web

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
GREY, COLOUR = (1, 28, 28), (3, 32, 40)


def model_of(shape, classes=10, loss="cce", names=None):
    model = nn.Model(
        [nn.Conv2D(4, 3, stride=2), nn.ReLU(), nn.GlobalAvgPool2D(), nn.Dense(classes)], seed=0
    )
    model.build((None, *shape))
    model.compile(loss)
    model.class_names = names
    return model


@pytest.fixture(scope="session")
def runtime(tmp_path_factory):
    """ONNX Runtime Web as npm brings it."""
    given = os.environ.get("ONNXRUNTIME_WEB")
    if given:
        return Path(given)
    try:
        return ort_web.from_npm(tmp_path_factory.mktemp("runtime"))
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        pytest.skip(str(error))


@pytest.fixture
def stand_in(tmp_path):
    """A folder with files called like the runtime's, for tests that do not run it."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    for name in ort_web.FILES:
        (folder / name).write_text("")
    return folder


# ---------------------------------------------------------------------------------- what is written


def test_the_folder_holds_the_page_the_model_and_the_runtime(tmp_path, stand_in):
    names = [str(i) for i in range(10)]
    about = nn.exchange.export_web(model_of(GREY, names=names), tmp_path / "page", runtime=stand_in)
    files = {str(p.relative_to(tmp_path / "page")) for p in (tmp_path / "page").rglob("*.*")}
    runtime = {f"ort/{name}" for name in ort_web.FILES}
    page = {"index.html", "style.css", "app.js", "images.js", "model.json", "model.onnx"}
    assert files == page | runtime
    assert json.loads((tmp_path / "page" / "model.json").read_text()) == about
    assert (about["channels"], about["height"], about["width"]) == GREY
    assert about["activation"] == "none"  # the file ends in a softmax
    assert about["digits"]
    assert about["class_names"] == names
    assert {p.name for p in tmp_path.iterdir()} == {"runtime", "page"}  # nothing temporary is left


def test_the_runtime_may_stay_at_its_address(tmp_path):
    address = "https://cdn.example.org/onnxruntime-web/dist"
    nn.exchange.export_web(model_of(GREY), tmp_path / "page", runtime=address)
    assert not (tmp_path / "page" / "ort").exists()
    app = (tmp_path / "page" / "app.js").read_text(encoding="utf-8")
    assert f'from "{address}/ort.wasm.min.mjs"' in app
    assert f'new URL("{address}/", import.meta.url)' in app
    assert "./ort/" not in app
    with pytest.raises(ValueError, match="'runtime' must be an address without quotes"):
        nn.exchange.export_web(model_of(GREY), tmp_path / "b", runtime='https://x/"; alert(1); "')
    assert not (tmp_path / "b").exists()


def test_an_onnx_file_of_another_library_needs_to_say_its_outputs(tmp_path, stand_in):
    path = tmp_path / "model.onnx"
    model_of(COLOUR, 3).export(path)
    message = wire.decode("Model", path.read_bytes())
    message["metadata_props"] = []
    path.write_bytes(wire.encode("Model", message))
    export = functools.partial(nn.exchange.export_web, path, tmp_path / "page", runtime=stand_in)
    with pytest.raises(ValueError, match=r"\[export_web\] 'activation' .* unknown"):
        export()
    about = export(activation="softmax", class_names=["cat", "dog", "owl"])
    assert about["activation"] == "softmax"
    assert about["class_names"] == ["cat", "dog", "owl"]
    assert not about["digits"]


def test_images_of_other_classes_are_no_digits(tmp_path, stand_in):
    clothes = model_of(GREY, names=[f"cloth {i}" for i in range(10)])
    assert not nn.exchange.export_web(clothes, tmp_path / "a", runtime=stand_in)["digits"]
    letters = model_of(GREY, 26)
    assert not nn.exchange.export_web(letters, tmp_path / "b", runtime=stand_in)["digits"]


REFUSED = [
    (lambda: nn.Model([nn.Dense(2, input_shape=(3,))]), {}, "'model' must take images"),
    (lambda: model_of((2, 8, 8)), {}, "'model' must take images"),
    (lambda: nn.Model([nn.Conv2D(4, 3, input_shape=COLOUR)]), {"activation": "softmax"},
     r"'model' must return class scores \(N, K\)"),
    (lambda: model_of((3, None, None)), {}, r"'size' must be \(H, W\)"),
    (lambda: model_of(COLOUR), {"size": (32, 32)}, r"'size' must be the model's, \(32, 40\)"),
    (lambda: model_of(COLOUR, loss="mse"), {}, "'softmax'|'activation'"),
    (lambda: model_of(COLOUR), {"class_names": ["a", "b"]}, "'class_names' must be 10 names"),
    (lambda: model_of(COLOUR), {"input_range": (1, 0)}, "'input_range' must be"),
    (lambda: model_of(COLOUR), {"digits": True}, "'digits' must be False"),
    (lambda: model_of(COLOUR), {"activation": "tanh"}, "'activation' must be one of"),
    (lambda: nn.Model([nn.Dense(2)]), {}, "has no weights to export"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "arguments", "message"), REFUSED)
def test_what_is_refused_leaves_no_folder(make, arguments, message, tmp_path, stand_in):
    with pytest.raises((ValueError, RuntimeError), match=message):
        nn.exchange.export_web(make(), tmp_path / "page", runtime=stand_in, **arguments)
    assert [p.name for p in tmp_path.iterdir()] == ["runtime"]


def test_a_model_that_takes_0_to_255_gets_it(tmp_path, stand_in):
    layers = [nn.Rescale(1 / 255, input_shape=COLOUR), nn.GlobalAvgPool2D(), nn.Dense(3)]
    model = nn.Model(layers, loss="cce", seed=0)
    assert nn.exchange.export_web(model, tmp_path / "a", runtime=stand_in)["range"] == [0.0, 255.0]
    model.input_range = (0.0, 1.0)  # trained on these, whatever the layer says
    assert nn.exchange.export_web(model, tmp_path / "b", runtime=stand_in)["range"] == [0.0, 1.0]


def test_values_beyond_0_and_1_have_to_be_confirmed(tmp_path, stand_in):
    model = model_of(COLOUR)
    model.input_range = (-1.0, 1.0)
    export = functools.partial(nn.exchange.export_web, model, tmp_path / "page", runtime=stand_in)
    with pytest.raises(ValueError, match=r"'input_range' .* trained on values in \[-1.0, 1.0\]"):
        export()
    assert export(input_range=(-1, 1))["range"] == [-1.0, 1.0]


@pytest.mark.parametrize("data", [b"", b"\x89PNG", b"\x08\x07", bytes(range(256))])
def test_a_file_that_is_no_onnx_is_refused(data, tmp_path, stand_in):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(nn.io.FileFormatError, match="is not an ONNX file"):
        nn.exchange.export_web(path, tmp_path / "page", runtime=stand_in)


@pytest.mark.parametrize("text", ['{"a": 1}', "nonsense", '["a", 1]', "[1]"])
def test_metadata_of_strangers_are_checked(text, tmp_path, stand_in):
    path = tmp_path / "model.onnx"
    model_of(COLOUR).export(path, softmax=True)
    message = wire.decode("Model", path.read_bytes())
    message["metadata_props"].append({"key": "input_range", "value": text})
    path.write_bytes(wire.encode("Model", message))
    with pytest.raises(ValueError, match="input_range"):
        nn.exchange.export_web(path, tmp_path / "page", runtime=stand_in)


def test_a_folder_with_files_is_left_alone(tmp_path, stand_in):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="'folder' must be new or empty"):
        nn.exchange.export_web(model_of(GREY), tmp_path / "page", runtime=stand_in)
    assert [p.name for p in (tmp_path / "page").iterdir()] == ["mine.txt"]


def test_without_the_runtime_it_is_said_where_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="npm package onnxruntime-web"):
        nn.exchange.export_web(model_of(GREY), tmp_path / "page", runtime=tmp_path / "empty")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="npm is not installed: pass the folder"):
        nn.exchange.export_web(model_of(GREY), tmp_path / "page")
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(RuntimeError, match=r"npm could not get .* \(npm error network\)"):
        nn.exchange.export_web(model_of(GREY), tmp_path / "page")


def test_the_command_says_how_to_see_the_page(tmp_path, stand_in):
    model_of(GREY).save(tmp_path / "model.hdf5")
    command = [
        sys.executable,
        "-m",
        "nn",
        "export-web",
        "model.hdf5",
        "page",
        "--runtime",
        "runtime",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert "python -m http.server" in done.stdout
    assert (tmp_path / "page" / "index.html").is_file()


# ------------------------------------------------------------------------------------- the browser


@pytest.fixture(scope="module")
def digits_model():
    train, _ = nn.data.load_mnist_sample()
    model = nn.zoo.small_cnn(seed=0)
    model.compile("cce", "adam", lr=2e-3)
    model.fit(train, epochs=3, verbose=0)
    return model


@pytest.fixture(scope="module")
def digits_page(digits_model, runtime, tmp_path_factory):
    folder = tmp_path_factory.mktemp("web") / "page"
    nn.exchange.export_web(digits_model, folder, runtime=runtime)
    with browsers.served(folder) as address:
        yield address


# Strokes in fractions of the sheet.
STROKES = {
    1: [(0.5, 0.2), (0.5, 0.4), (0.5, 0.6), (0.5, 0.8)],
    7: [(0.3, 0.25), (0.5, 0.25), (0.7, 0.25), (0.6, 0.45), (0.5, 0.65), (0.45, 0.85)],
}


def result_of(browser):
    browser.wait("return window.lastResult")
    return browser.run("return window.lastResult")


def probabilities(model, x):
    """Return the probabilities of one image in float64; the models return logits."""
    logits = model.predict(x)[0].astype(np.float64)
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def draw(browser, digit, kind="mouse"):
    box = browser.run("return document.getElementById('sheet').getBoundingClientRect().toJSON()")
    points = STROKES[digit]
    browser.draw(
        [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points], kind
    )
    # The last event has been computed.
    browser.wait("return window.settled()")


def keep(browser, name):
    """Keep a screenshot if the variable SCREENSHOTS names a folder for them."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(browser.screenshot()))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "kind"), [(1280, "mouse"), (390, "touch")])
@pytest.mark.parametrize("digit", STROKES)
def test_a_digit_that_is_drawn(digit, width, kind, browser, digits_model, digits_page):
    browser.ask("POST", "/window/rect", width=width, height=1000)
    browser.open(digits_page)
    browser.wait("return !document.getElementById('main').hidden")
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    draw(browser, digit, kind)
    result = result_of(browser)
    seen = np.array(result["input"], np.float32).reshape(1, 1, 28, 28)
    expected = probabilities(digits_model, seen)
    np.testing.assert_allclose(result["probabilities"], expected, atol=1e-5)
    assert expected.argmax() == digit
    shown = browser.run(
        "return [...document.querySelectorAll('#bars .value')].map(e => parseFloat(e.textContent))"
    )
    np.testing.assert_allclose(shown, 100 * expected, atol=0.06)
    keep(browser, f"digit-{digit}-{width}")


@pytest.mark.slow
def test_the_drawing_is_brought_to_mnists_form_as_normalize_digit_does(browser, digits_page):
    browser.ask("POST", "/window/rect", width=1280, height=1000)
    browser.open(digits_page)
    browser.wait("return !document.getElementById('main').hidden")
    draw(browser, 7)
    seen = np.array(result_of(browser)["input"], np.float32).reshape(28, 28)
    sheet = browser.run(
        "const sheet = document.getElementById('sheet');"
        "return [...sheet.getContext('2d').getImageData(0, 0, sheet.width, sheet.height).data]"
    )
    image = np.array(sheet, np.uint8).reshape(280, 280, 4)[:, :, :3]
    np.testing.assert_allclose(seen, nn.data.normalize_digit(image), atol=0.02)


@pytest.mark.slow
def test_clear_empties_the_page(browser, digits_page):
    browser.open(digits_page)
    browser.wait("return !document.getElementById('main').hidden")
    draw(browser, 1)
    result_of(browser)
    browser.click("#clear")
    browser.wait("return window.settled() && !window.lastResult")
    shown = browser.run("return document.querySelector('#bars .value').textContent")
    assert shown == ""


@pytest.mark.slow
def test_an_image_from_a_file(browser, runtime, tmp_path):
    image_module = pytest.importorskip("PIL.Image", reason="needs Pillow")
    model = model_of(COLOUR, 3, names=["<b>cat</b>", "dog", "owl"])
    nn.exchange.export_web(model, tmp_path / "page", runtime=runtime)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    image_module.fromarray(pixels).save(tmp_path / "image.png")
    with browsers.served(tmp_path / "page") as address:
        browser.open(address)
        browser.wait("return !document.getElementById('main').hidden")
        browser.type("#file", str(tmp_path / "image.png"))
        result = result_of(browser)
        seen = np.array(result["input"], np.float32).reshape(1, 3, 32, 40)
        np.testing.assert_allclose(result["probabilities"], probabilities(model, seen), atol=1e-5)
        np.testing.assert_allclose(seen[0], pixels.transpose(2, 0, 1) / 255, atol=1e-6)
        assert browser.run("return document.querySelector('#bars .name').textContent") in (
            "<b>cat</b>", "dog", "owl",
        )  # fmt: skip
        keep(browser, "image-1280")


@pytest.mark.slow
def test_a_page_without_its_model_says_so(browser, runtime, tmp_path):
    nn.exchange.export_web(model_of(GREY), tmp_path / "page", runtime=runtime)
    (tmp_path / "page" / "model.onnx").unlink()
    with browsers.served(tmp_path / "page") as address:
        browser.open(address)
        status = "return document.getElementById('status').textContent"
        browser.wait(status + ".includes('could not be loaded: model.onnx: 404')")
    browser.log("browser")  # the 404 is an error of the page, as it should be
