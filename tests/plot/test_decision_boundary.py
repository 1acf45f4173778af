"""The animation of the decision boundary, and the sheet of all plots, made as their users do."""

import importlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

import nn

pytest.importorskip("matplotlib", reason="needs matplotlib, the extra 'plot'")
Image = pytest.importorskip("PIL.Image", reason="needs Pillow, which matplotlib brings along")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module("decision_boundary")


def test_points_are_those_of_the_seed_and_lie_apart(script):
    for make, classes in ((script.make_moons, 2), (script.make_spirals, 3)):
        x, y = make(90, noise=0.0)
        assert (x.shape, x.dtype) == ((90, 2), np.float32)
        assert list(np.bincount(y)) == [90 // classes] * classes
        np.testing.assert_array_equal(make(90, noise=0.0)[0], x)
        assert not np.array_equal(make(90, noise=0.0, seed=1)[0], x)
        between = np.linalg.norm(x[:, np.newaxis] - x, axis=2)[y[:, np.newaxis] != y]
        assert between.min() > 0.02
    x, y = script.make_moons(200, noise=0.0)
    np.testing.assert_allclose(np.linalg.norm(x[y == 0], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(x[y == 1] - [1, 0.5], axis=1), 1, rtol=1e-5)
    x, _ = script.make_spirals(200, noise=0.0)
    radii = np.linalg.norm(x, axis=1)
    assert radii.min() >= 0.1 and radii.max() <= 1


@pytest.mark.parametrize("data", ["moons", "spirals"])
def test_the_film_has_a_image_of_each_epoch(script, data, tmp_path, capsys):
    path = tmp_path / "film.gif"
    options = ["--data", data, "--epochs", "3", "--every", "1", "--samples", "60"]
    options += ["--fps", "5", "--out", str(path)]
    assert script.main(options) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^Training accuracy: [\d.]+%$", printed, re.MULTILINE)
    assert f"Animation: {path}" in printed
    with Image.open(path) as film:
        assert film.n_frames == 3
        lengths, images = [], []
        for k in range(3):
            film.seek(k)
            lengths.append(film.info["duration"])
            images.append(np.asarray(film.convert("RGB")))
    assert lengths == [200, 200, 2000]
    assert images[0].shape == (300, 360, 3)
    assert not np.array_equal(images[0], images[2])


@pytest.mark.parametrize(("options", "message"), [
    (["--out", "film.mp4"], "--out must end in .gif"),
    (["--out", "nowhere/film.gif"], "the folder 'nowhere' does not exist"),
])  # fmt: skip
def test_a_film_that_could_not_be_made_is_refused_before(script, options, message, capsys):
    with pytest.raises(SystemExit):
        script.main(options)
    assert message in capsys.readouterr().err


def test_one_epoch_is_a_film_too(script, tmp_path):
    path = tmp_path / "film.gif"
    assert script.main(["--epochs", "1", "--samples", "30", "--out", str(path)]) == 0
    with Image.open(path) as film:
        assert film.n_frames == 1


def test_an_animation_that_cannot_be_written_is_one_line(script, tmp_path):
    film = object.__new__(script.Film)
    film.images = [Image.new("P", (2, 2))] * 2
    (tmp_path / "film.gif").mkdir()
    with pytest.raises(SystemExit, match="The animation cannot be written"):
        film.save(tmp_path / "film.gif", 4)


def test_the_shipped_animation_and_images_are_small():
    images = ROOT / "docs" / "images"
    assert (images / "decision_boundary.gif").stat().st_size < 400_000
    assert sum(path.stat().st_size for path in images.glob("*.png")) < 1_000_000


@pytest.mark.parametrize("backend", ["", "agg", "tkagg"])
def test_live_without_a_screen_is_one_clear_line(backend, tmp_path):
    environment = {**os.environ, "MPLBACKEND": backend, "PYTHONPATH": str(ROOT)}
    environment.pop("DISPLAY", None)
    environment.pop("WAYLAND_DISPLAY", None)
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "decision_boundary.py"), "--live"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert re.fullmatch(r"--live needs a display .*: .*\n", result.stderr)
    assert list(tmp_path.iterdir()) == []


def test_live_draws_each_epoch_into_the_window(script, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    class Window:
        """Stands in for pyplot on a machine with a screen."""

        def __init__(self):
            self.titles = []

        def figure(self, **look):
            self.made = Figure(**look)
            return self.made

        def pause(self, seconds):
            self.titles.append(self.made.axes[0].get_title())

        def show(self):
            self.titles.append("shown")

    window = Window()
    monkeypatch.setattr(script, "open_window", lambda: window)
    monkeypatch.chdir(tmp_path)
    assert script.main(["--live", "--epochs", "2", "--samples", "30"]) == 0
    assert [title[:8] for title in window.titles] == ["epoch 1:", "epoch 2:", "shown"]
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_it_says_what_to_install(script, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match=r"needs matplotlib to draw: python -m pip install"):
        script.main(["--epochs", "1"])
    with pytest.raises(SystemExit, match=r"--live needs matplotlib: python -m pip install"):
        script.main(["--epochs", "1", "--live"])


@pytest.mark.parametrize("wrong", [["--arms", "9"], ["--epochs", "0"], ["--fps", "-1"]])
def test_options_out_of_range_are_refused(script, wrong, capsys):
    with pytest.raises(SystemExit):
        script.main(wrong)
    assert re.search(rf"{wrong[0]} must be", capsys.readouterr().err)


def test_the_sheet_shows_every_plot(script, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    sheet = importlib.import_module("make_plots")
    small = nn.Dataset(
        *(a[:80] for a in nn.data.load_mnist_sample(ROOT / "mnist_dataset")[1].arrays())
    )
    monkeypatch.setattr(nn.data, "load_mnist_sample", lambda path: (small, small))
    assert sheet.main(["--out", str(tmp_path), "--epochs", "1", "--spiral-epochs", "1"]) == 0
    made = {path.stem for path in tmp_path.glob("*.png")}
    assert set(nn.plot.__all__) <= made
    page = (ROOT / "docs" / "plots.md").read_text(encoding="utf-8")
    assert set(re.findall(r"images/(\w+)\.png", page)) == made
    assert made <= {path.stem for path in (ROOT / "docs" / "images").glob("*.png")}
    for name in nn.plot.__all__:
        assert f"nn.plot.{name}(" in page
