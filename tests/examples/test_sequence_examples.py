"""The examples on texts, series and digits drawn from a plane: small data, few steps."""

import importlib
import re

import numpy as np
import pytest
from conftest import ROOT

import nn


@pytest.fixture
def example(monkeypatch):
    """Return a function that imports an example by its name."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module


@pytest.fixture
def lesson(example, tmp_path, monkeypatch, capsys):
    """Return a function that runs an example in an empty folder and returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(name, *options):
        assert example(name).main([str(option) for option in options]) == 0
        return capsys.readouterr().out

    return run


# ----------------------------------------------------------------------------------- spam


@pytest.fixture
def mails(tmp_path):
    """A table of 60 mails, in which one word decides."""
    rng = np.random.default_rng(0)
    rows = []
    for label, word in [("ham", "lunch"), ("spam", "prize")] * 30:
        words = [word, *rng.choice(["the", "a", "at", "for", "we"], rng.integers(3, 9))]
        rows.append(f"{label}\t{' '.join(rng.permutation(words))}")
    path = tmp_path / "mails.tsv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("network", ["mean", "lstm"])
def test_spam_filter_finds_the_word_and_saves_its_vocabulary(network, lesson, mails, tmp_path):
    options = ["--network", network, "--epochs", 30, "--lr", 0.02, "--length", 10]
    printed = lesson("spam_filter", mails, *options)
    assert "48 mails to train on, 12 to test on" in printed
    assert float(re.search(r"Test accuracy: ([\d.]+)%", printed)[1]) == 100
    model = nn.Model.load(tmp_path / "spam_filter.hdf5")
    ids = nn.data.text.pad(model.vocabulary.encode(["we prize lunch prize"]), 10)
    assert model.class_names == ["ham", "spam"] and model.predict(ids).shape == (1, 2)


def test_spam_filter_says_what_is_wrong_with_a_file(example, mails):
    script = example("spam_filter")
    for options, words in [
        (["missing.tsv"], "missing.tsv"),
        ([str(mails), "--text", "body"], "'text' must be one of"),
        ([str(mails), "--label", "2"], "expects at least 3 columns"),
    ]:
        with pytest.raises(SystemExit, match=words):
            script.main(options)


# -------------------------------------------------------------------------------- speaker


@pytest.fixture
def voices(tmp_path):
    """A file of 90 utterances of three speakers, 5 to 11 steps long."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 60), ("test", 30)):
        y, lengths = np.arange(count) % 3, rng.integers(5, 12, count)
        means = 2 * np.eye(3)[y, :2]
        steps = [rng.normal(m, size=(n, 2)) for n, m in zip(lengths, means, strict=True)]
        arrays |= {f"x_{part}": np.concatenate(steps), f"length_{part}": lengths, f"y_{part}": y}
    np.savez(tmp_path / "voices.npz", **arrays)
    return arrays


@pytest.mark.parametrize("options", [[], ["--layer", "gru", "--bidirectional"]])
def test_speakers_are_recognised_from_utterances_of_different_lengths(lesson, voices, options):
    printed = lesson("speaker", "voices.npz", "--epochs", 25, "--units", 8, *options)
    assert float(re.search(r"test accuracy ([\d.]+)", printed)[1]) >= 0.7
    assert "Masking" in printed


def test_utterances_are_padded_at_their_ends(example, voices, tmp_path):
    train, (x, y) = example("speaker").load(tmp_path / "voices.npz")
    there = nn.Masking().make_mask(x)
    np.testing.assert_array_equal(there.sum(axis=1), voices["length_test"])
    steps, mean = voices["x_test"], voices["x_train"].mean(axis=0)
    np.testing.assert_allclose(x[there], (steps - mean) / voices["x_train"].std(axis=0))
    assert there[:, :5].all() and len(train[0]) == 60
    np.testing.assert_array_equal(y, voices["y_test"])


# ------------------------------------------------------------------------------- forecast


@pytest.fixture
def hours(tmp_path):
    """A table of 50 days whose temperatures rise and, in the last fifth, fall."""
    time = np.arange(50 * 24)
    season = 60 - np.abs(time - 40 * 24) / 24
    values = season + 8 * np.sin(2 * np.pi * time / 24) + np.random.default_rng(0).normal(size=1200)
    path = tmp_path / "hours.csv"
    lines = [f"2026,{value:.1f}" for value in values]
    path.write_text("\n".join(["date,temp", *lines]), encoding="utf-8")
    return path


def test_forecast_is_measured_as_the_others_are(lesson, hours):
    printed = lesson("forecast", hours, "--epochs", 20, "--units", 8, "--lr", 0.01)
    assert "889 windows of 48 hours to train on, 240 to test on" in printed
    lines = re.findall(r"^  (as now|linear regression|network) +([\d.]+)$", printed, re.MULTILINE)
    found = {name: float(error) for name, error in lines}
    values = np.array([float(line.split(",")[1]) for line in hours.read_text().splitlines()[1:]])
    assert found["as now"] == pytest.approx(abs(values[-240:] - values[-264:-24]).mean(), abs=1e-4)
    assert found["network"] < found["as now"]
    rows = np.array([[*values[k : k + 48], 1.0] for k in range(1200 - 71)])
    targets = values[71:]
    weights = np.linalg.lstsq(rows[:889], targets[:889], rcond=None)[0]
    error = abs(rows[-240:] @ weights - targets[-240:]).mean()
    assert found["linear regression"] == pytest.approx(error, abs=2e-3)


def test_forecast_of_the_network_is_odd_and_knows_no_level(example, hours):
    script = example("forecast")
    options = script.parse_arguments([str(hours), "--epochs", "1", "--units", "4"])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 48)), rng.normal(size=64)
    base = script.by_network(x, y, x, options) - x[:, -1]
    np.testing.assert_allclose(
        script.by_network(x, y, 7 - x, options) - (7 - x[:, -1]), -base, atol=1e-5
    )


def test_forecast_refuses_what_it_cannot_read(example, hours, capsys):
    script = example("forecast")
    with pytest.raises(SystemExit, match="has no column 'load'"):
        script.main([str(hours), "--column", "load"])
    with pytest.raises(SystemExit):
        script.main([str(hours), "--length", "24"])
    assert "--length must be above 24" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"\[windows\]|\[split_in_time\]"):
        script.main([str(hours), "--length", "1150"])


# ------------------------------------------------------------------------------------ text


@pytest.fixture
def novel(tmp_path):
    """A text in which each character follows from the two before it."""
    path = tmp_path / "novel.txt"
    path.write_text("we sailed and we sang. " * 120, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_text_generation_learns_a_text_and_writes_on(kind, lesson, novel, tmp_path):
    options = ["--model", kind, "--units", 32, "--length", 24, "--epochs", 15, "--lr", 0.02]
    sample = ["--start", "we s", "--characters", 40, "--temperature", 0]
    printed = lesson("text_generation", novel, *options, "--batch-size", 8, *sample)
    assert "2,484 characters to train on, 276 to test on" in printed
    bits = float(re.search(r"Bits a character of the test: ([\d.]+)", printed)[1])
    known, entropy = map(
        float, re.search(r"model: ([\d.]+), by freq\w+: ([\d.]+)", printed).groups()
    )
    assert bits < 0.5 < entropy < known == pytest.approx(np.log2(11), abs=1e-3)
    written = printed.rpartition("\n\n")[2].removesuffix("\n")
    assert len(written) == (44 if kind == "lstm" else 24) and written[:17] == "we sailed and we "
    model = nn.Model.load(tmp_path / "text_generation.hdf5")
    count = len(written) - 4
    assert "we s" + nn.generate(model, "we s", count, temperature=0) == written
    assert model.vocabulary.decode(model.vocabulary.encode("we sang.")) == "we sang."


def test_text_generation_counts_bits_of_frequencies(example):
    assert example("text_generation").entropy(np.array([2, 2, 0, 1])) == pytest.approx(1.5)


def test_text_generation_says_what_is_wrong(example, novel, tmp_path):
    script = example("text_generation")
    (tmp_path / "short.txt").write_text("we sail", encoding="utf-8")
    for options, words in [
        (["missing.txt"], "missing.txt"),
        ([novel, "--start", "Ahab"], "must hold tokens of the vocabulary.*'A'"),
        ([tmp_path / "short.txt", "--start", "we"], "use shorter windows"),
        ([novel, "--start", ""], "--start"),
        ([novel, "--start", "we s", "--model", "transformer", "--length", "4"], "--start"),
        ([novel, "--start", "we", "--model", "transformer", "--units", "6"], "multiple of 4"),
    ]:
        with pytest.raises(SystemExit, match=words):
            script.main([str(option) for option in options])


# ---------------------------------------------------------------------------- segmentation


def test_segmentation_finds_shapes_in_images_of_another_size(lesson, tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib, the extra 'plot'")
    options = ["--images", 150, "--filters", 8, "--epochs", 4, "--noise", 0.05, "--lr", 0.02]
    printed = lesson("segmentation", *options, "--batch-size", 16)
    found = re.findall(r"of (\d+) x (\d+): ([\d.]+)% .* right, ([\d.]+)% .* IoU ([\d.]+)", printed)
    assert [tuple(map(int, row[:2])) for row in found] == [(32, 32), (64, 96)]
    for *_, right, background, iou in found:
        assert float(right) > float(background) + 3 and float(iou) > 0.3
    assert (tmp_path / "segmentation.png").read_bytes().startswith(b"\x89PNG")


def test_the_shapes_are_drawn_where_their_classes_are(example):
    script = example("segmentation")
    x, y = script.draw_shapes(20, (32, 48), 0.0, np.random.default_rng(0))
    assert x.shape == (20, 1, 32, 48) and set(np.unique(y)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(x[:, 0] > 0, y > 0)
    assert x[x > 0].min() >= 0.4
    areas = [script.shape(k, 64, 64, np.random.default_rng(k)).sum() for k in (1, 2, 3)]
    assert all(20 < area < 260 for area in areas)


def test_mean_iou_of_pixels(example):
    y, found = np.array([[0, 0, 1, 2]]), np.array([[0, 1, 1, 3]])
    iou = example("segmentation").mean_iou(y, found)  # 1/2, 1/2, 0 and 0
    assert iou == pytest.approx(0.25)


# ------------------------------------------------------------------------------------ vae


def test_vae_draws_its_plane(lesson, example, sample, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs matplotlib, the extra 'plot'")
    parts = tuple(
        nn.Dataset(part.x[:n], part.y[:n]) for part, n in zip(sample, (500, 100), strict=True)
    )
    monkeypatch.setattr(example("lesson"), "load_mnist_sample", lambda _: parts)
    options = ["--epochs", 8, "--hidden", 32, "--grid", 4, "--batch-size", 25, "--lr", 0.005]
    printed = lesson("vae", *options)
    figures = re.search(r"error: ([\d.]+), of the mean image: ([\d.]+)", printed)
    error, spread = map(float, figures.groups())
    assert error < spread
    assert (tmp_path / "vae.png").read_bytes().startswith(b"\x89PNG")


def test_the_plane_has_each_digit_in_its_place(example):
    class Decoder:
        def predict(self, points):
            x = np.repeat(points[:, 0], 6).reshape(-1, 1, 2, 3)
            return x + 100 * points[:, 1].reshape(-1, 1, 1, 1)

    image = example("vae").plane(Decoder(), 3)
    assert image.shape == (6, 9)
    step = 0.9674
    np.testing.assert_allclose(image[0, ::3], 100 * step + np.array([-step, 0, step]), atol=1e-2)
    np.testing.assert_allclose(image[5, ::3], -100 * step + np.array([-step, 0, step]), atol=1e-2)
