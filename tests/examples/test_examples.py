"""The examples run as their users run them, on small data and with few steps.

Those on MNIST run in a process of their own. CIFAR-10 has files of 10,000 images, so its example
runs in this one, where the loader can be told of smaller files.
"""

import dataclasses
import functools
import importlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SAMPLE

import nn
from nn.data.sets import cifar as cifar10

EXAMPLES = ROOT / "examples"


def run(*arguments, cwd, example="mnist_train", **environment):
    environment = {**os.environ, "NN_DISABLE_CUDA": "1", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{example}.py"), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def only_the_sample(tmp_path):
    """A folder with the sample alone, so that neither network nor the full set is used."""
    folder = tmp_path / "data"
    folder.mkdir()
    for path in SAMPLE.glob("sample-*"):
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def example(monkeypatch):
    """Return a function that imports an example by its name."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


def test_accuracy_and_confusions_are_counted_right(example, capsys):
    report = example("report")
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 3])
    predicted = np.array([0, 1, 1, 3, 1, 1, 0, 3])
    names = ("cat", "wolf", "nobody", "dog")
    report.print_class_accuracies(labels, predicted, names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["cat", "25.0%", "of", "4"],
        ["wolf", "66.7%", "of", "3"],
        ["nobody", "none", "of", "0"],
        ["dog", "100.0%", "of", "1"],
    ]
    report.print_confusions(labels, predicted, names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["true", "predicted", "times"]
    assert lines[2].split() == ["cat", "wolf", "2"]
    assert {tuple(line.split()) for line in lines[3:]} == {
        ("cat", "dog", "1"),
        ("wolf", "cat", "1"),
    }
    report.print_confusions(labels, labels, names)
    assert capsys.readouterr().out == ""


def test_a_place_for_the_result_is_asked_for_before_the_training(example, tmp_path, monkeypatch):
    check_place = example("report").check_place
    check_place(tmp_path / "m.hdf5")
    monkeypatch.chdir(tmp_path)
    check_place("m.hdf5")
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit, match=r"no folder '.*nowhere'"):
        check_place(tmp_path / "nowhere" / "m.hdf5")
    with pytest.raises(SystemExit, match="cannot be written"):
        check_place(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(SystemExit, match="choose another path"):
        check_place("m.hdf5")


@pytest.mark.parametrize("name", ["mnist_train", "cifar10_train", "image_folder_train"])
def test_no_training_begins_without_a_place_for_its_model(example, name, tmp_path, monkeypatch):
    script = example(name)
    arguments = ["--out", str(tmp_path / "nowhere" / "m.hdf5")]
    if name == "image_folder_train":
        arguments.append(str(tmp_path))
    with pytest.raises(SystemExit, match="there is no folder"):
        script.main(arguments)


# ----------------------------------------------------------------- MNIST and Fashion-MNIST


@pytest.mark.parametrize(("flags", "parameters"), [(["--small"], "52,138"), ([], "34,826")])
def test_mnist_train_learns_saves_and_loads(flags, parameters, only_the_sample, tmp_path):
    result = run(
        *flags, "--epochs", 2, "--data-dir", only_the_sample, "--no-download", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "sample" in result.stdout
    assert f"{parameters} parameters" in result.stdout
    assert "samples/s" in result.stdout
    assert "Most confused classes:" in result.stdout
    assert "Loaded again, it predicts the same: True." in result.stdout
    accuracy = float(re.search(r"Test accuracy: ([\d.]+)%", result.stdout).group(1))
    assert accuracy > 85
    _, test = nn.data.load_mnist_sample(SAMPLE)
    model = nn.Model.load(tmp_path / "mnist_model.hdf5")
    assert model.evaluate(test)["acc"] * 100 == pytest.approx(accuracy, abs=0.01)
    curves = tmp_path / "mnist_model.png"
    assert curves.read_bytes().startswith(b"\x89PNG")


def test_mnist_train_gives_the_same_model_for_a_seed(only_the_sample, tmp_path):
    models = []
    for name in ("a.npz", "b.npz"):
        options = ("--small", "--epochs", 1, "--no-download", "--seed", 3, "--out", name)
        result = run(*options, "--data-dir", only_the_sample, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        models.append(nn.Model.load(tmp_path / name))
    for key, array in models[0].get_arrays().items():
        np.testing.assert_array_equal(models[1].get_arrays()[key], array)


def test_mnist_train_without_network_or_data_takes_the_sample_within_seconds(tmp_path):
    """No mirror answers: the proxy that all downloads go through refuses connections."""
    started = time.perf_counter()
    result = run(
        *("--small", "--epochs", 1, "--data-dir", tmp_path / "nowhere"),
        cwd=tmp_path,
        https_proxy="http://127.0.0.1:9",
    )
    assert result.returncode == 0, result.stderr
    assert "the sample of MNIST, 4,000 + 1,000 digits (no full set" in result.stdout
    assert not (tmp_path / "nowhere").exists()
    assert time.perf_counter() - started < 60


def test_fashion_train_differs_from_mnist_train_by_the_folder_alone(tmp_path):
    """Here the folder holds digits; all figures agree, and only the names differ."""
    for name in nn.data.sets.mnist.FASHION_MNIST.files:
        kind = "labels" if "labels" in name else "images"
        part = "train" if "train" in name else "test"
        [source] = [p for p in SAMPLE.glob("sample-*") if f"{part}-" in p.name and kind in p.name]
        (tmp_path / name).symlink_to(source)
    figures = []
    for example in ("mnist_train", "fashion_train"):
        options = ("--small", "--epochs", 1, "--no-download", "--data-dir", tmp_path)
        result = run(*options, cwd=tmp_path, example=example)
        assert result.returncode == 0, result.stderr
        found = re.findall(r"(?<=accuracy: )[\d.]+%|(?<= )\d+$", result.stdout, re.MULTILINE)
        figures.append(found)
    assert figures[0] == figures[1]
    assert "Fashion-MNIST, 4,000 + 1,000 images from" in result.stdout
    confused = result.stdout.partition("Most confused classes:")[2]
    assert any(name in confused for name in nn.data.sets.mnist.FASHION_MNIST.class_names)
    assert nn.Model.load(tmp_path / "fashion_model.hdf5").output_shape == (None, 10)


def test_mnist_train_fast_averages_weights_and_shifted_copies(only_the_sample, tmp_path):
    data = ("--data-dir", only_the_sample, "--no-download")
    result = run("--fast", "--epochs", 2, "--batch-size", 32, *data, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "140,458 parameters" in result.stdout
    accuracies = r"Test accuracy: ([\d.]+)%, with shifted copies ([\d.]+)%"
    plain, averaged = re.search(accuracies, result.stdout).groups()
    # Averages over 250 steps lag behind: 32% to 69% with other seeds; chance is 10%.
    assert min(float(plain), float(averaged)) > 20
    assert re.search(r"images\. data [\d.]+ s \(\d+%\), forward", result.stdout)
    assert "Loaded again, it predicts the same: True." in result.stdout
    _, test, _ = nn.data.load_mnist_or_sample(only_the_sample, download=False, sample_path=SAMPLE)
    model = nn.Model.load(tmp_path / "mnist_model.hdf5")
    assert f"{np.mean(model.predict_classes(test) == test.y):.2%}" == f"{plain}%"  # the averages


@pytest.mark.parametrize("name", ["cifar10_train", "fashion_train"])
def test_a_wrong_folder_is_one_clear_line(name, tmp_path):
    result = run("--no-download", "--data-dir", tmp_path / "nowhere", cwd=tmp_path, example=name)
    assert result.returncode == 1
    assert re.fullmatch(r"\[load_\w+\] '.*nowhere.*' does not .*: download .*\n", result.stderr)
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------- CIFAR-10


@pytest.fixture
def small_cifar10(tmp_path, monkeypatch, rng):
    """A folder of CIFAR-10 with 200 + 50 images, each class of a brightness of its own."""
    monkeypatch.setattr(
        cifar10,
        "CIFAR10",
        dataclasses.replace(
            cifar10.CIFAR10,
            train=dict.fromkeys(cifar10.CIFAR10.train, 40),
            test={"test_batch": 50},
        ),
    )
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, count in cifar10.CIFAR10.batches(cifar10.CIFAR10.binary).items():
        labels = np.arange(count, dtype=np.uint8)[:, np.newaxis] % 10
        pixels = rng.integers(0, 20, (count, 3072), dtype=np.uint8) + 23 * labels
        (folder / name).write_bytes(np.hstack([labels, pixels]).tobytes())
    return folder.parent


@pytest.fixture
def train_cifar10(example, small_cifar10, tmp_path, capsys):
    """Return a function that runs the example with options and returns what it printed."""

    def train(*options, out="model.npz"):
        common = ["--data-dir", small_cifar10, "--no-download", "--out", tmp_path / out]
        assert example("cifar10_train").main([str(o) for o in (*common, *options)]) == 0
        return capsys.readouterr().out

    return train


@pytest.fixture
def interrupt(monkeypatch):
    """Return a function that makes the n-th step of training from now on end in Ctrl-C."""
    true_step = nn.Model.train_step

    def after(steps):
        remaining = iter(range(steps))

        def step(*arguments, **named):
            if next(remaining, None) is None:
                raise KeyboardInterrupt
            return true_step(*arguments, **named)

        monkeypatch.setattr(nn.Model, "train_step", step)

    yield after
    monkeypatch.setattr(nn.Model, "train_step", true_step)


def test_cifar10_train_keeps_the_best_model_and_tells_each_class(
    train_cifar10, small_cifar10, tmp_path
):
    pytest.importorskip("matplotlib", reason="needs matplotlib, the extra 'plot'")
    printed = train_cifar10("--model", "cifar", "--epochs", 12, "--batch-size", 16)
    assert "549,418 parameters" in printed
    assert "180 images to train, 20 to validate, 50 to test" in printed
    assert "epochs 12, batch_size 16, optimizer sgd" in printed
    assert re.search(r"Training: \d+ s, [\d,]+ images/s", printed)
    _, test = nn.data.load_cifar10(small_cifar10)
    model = nn.Model.load(tmp_path / "model.npz")
    right = model.predict_classes(test) == test.y
    assert f"Test accuracy: {right.mean():.2%}" in printed
    assert right.mean() > 0.2  # a tenth is chance
    for label, name in enumerate(test.class_names):
        share = right[test.y == label].mean()
        assert re.search(rf"^ +{name} +{share:.1%} of 5$", printed, re.MULTILINE)
    history = nn.Model.load(tmp_path / "model_last.npz").history
    assert len(history["val_acc"]) == 12
    best = max(history["val_acc"])
    epoch = history["val_acc"].index(best) + 1
    assert f"Best epoch: {epoch}, validation accuracy {best:.2%}" in printed
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("options", [[], ["--model", "resnet20", "--schedule", "cosine"]])
def test_cifar10_train_runs_its_other_recipes(options, train_cifar10, tmp_path):
    if options and not hasattr(nn, "Residual"):
        pytest.skip("needs nn.Residual")
    printed = train_cifar10(*options, "--epochs", 1)
    assert ("272,474" if options else "551,466") + " parameters" in printed
    assert "augment True" in printed
    assert len(nn.Model.load(tmp_path / "model_last.npz").history["val_acc"]) == 1


def test_cifar10_train_ends_the_same_where_it_was_interrupted(train_cifar10, interrupt, tmp_path):
    options = ("--model", "cifar", "--epochs", 3, "--batch-size", 64, "--augment")
    train_cifar10(*options)
    interrupt(4)  # 180 images are three steps an epoch: within the second
    printed = train_cifar10(*options, out="parts.npz")
    assert "Interrupted" in printed and "Best epoch: 1," in printed
    interrupt(100)
    printed = train_cifar10(*options, "--resume", tmp_path / "parts_last.npz", out="parts.npz")
    assert "Epoch 1/3" not in printed and "Epoch 2/3" in printed
    for name in ("{}.npz", "{}_last.npz"):
        whole, parts = (nn.Model.load(tmp_path / name.format(k)) for k in ("model", "parts"))
        for key, array in whole.get_arrays().items():
            np.testing.assert_array_equal(parts.get_arrays()[key], array)
    assert parts.history == whole.history


def test_cifar10_train_has_nothing_to_test_after_part_of_an_epoch(
    train_cifar10, interrupt, tmp_path
):
    interrupt(1)
    with pytest.raises(SystemExit, match=r"^Stopped in the first epoch"):
        train_cifar10("--model", "cifar")
    assert not list(tmp_path.glob("model*"))


def test_cifar10_train_resumes_only_beside_the_best_model(train_cifar10, tmp_path):
    train_cifar10("--model", "cifar", "--epochs", 1)
    last = tmp_path / "model_last.npz"
    with pytest.raises(SystemExit, match=r"^--resume needs.* no '.*other\.npz'"):
        train_cifar10("--model", "cifar", "--resume", last, out="other.npz")
    with pytest.raises(SystemExit, match=r"^--resume needs.* no 'nowhere\.npz'"):
        train_cifar10("--model", "cifar", "--resume", "nowhere.npz")


def test_cifar10_train_says_how_to_get_curves(train_cifar10, tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    printed = train_cifar10("--model", "cifar", "--epochs", 1)
    assert "The curves need matplotlib: python -m pip install matplotlib" in printed
    assert "Best model:" in printed
    assert not (tmp_path / "model.png").exists()


def test_options_of_cifar10_train_replace_parts_of_a_recipe(example):
    script = example("cifar10_train")

    def chosen(*arguments):
        return script.choose_recipe(script.parse_arguments(arguments))

    assert chosen() == script.RECIPES["vgg6"]
    assert chosen("--model", "cifar") == script.RECIPES["cifar"]
    assert chosen("--no-augment", "--epochs", "3", "--weight-decay", "0") == {
        **script.RECIPES["vgg6"],
        "augment": False,
        "epochs": 3,
        "weight_decay": 0.0,
    }
    assert chosen("--optimizer", "adam")["lr"] is None
    assert chosen("--optimizer", "adam", "--lr", "0.5")["lr"] == 0.5
    assert chosen("--optimizer", "sgd")["lr"] == script.RECIPES["vgg6"]["lr"]


# ------------------------------------------------------------------------ the fast recipe


@pytest.fixture
def narrow(monkeypatch):
    """Makes the network of the recipe small, so that a test takes seconds."""
    small = functools.partial(nn.zoo.airbench94, widths=(4, 8, 8))
    monkeypatch.setattr(nn.zoo, "airbench94", small)


AIRBENCH = ("--model", "airbench", "--batch-size", 100, "--epochs", 5)  # two steps an epoch


def test_airbench_prints_both_accuracies_and_the_time_of_each_part(
    train_cifar10, small_cifar10, tmp_path
):
    printed = train_cifar10("--model", "airbench", "--batch-size", 40, "--epochs", 1.1)
    assert "1,971,640 parameters, 1,971,352 of them trainable" in printed
    assert "200 images to train, 50 to test" in printed
    assert "Seed 0: 6 steps of 40 images, 1.1 epochs" in printed
    _, test = nn.data.load_cifar10(small_cifar10)
    model = nn.Model.load(tmp_path / "model.npz")
    plain = np.mean(model.predict_classes(test) == test.y)
    copies = np.mean(model.predict_classes(test, augment="flip", shifts=1) == test.y)
    assert f"Test accuracy: {plain:.2%}, with mirrored and shifted copies {copies:.2%}" in printed
    pattern = r"Training: \d+ s, [\d,]+ images/s\. data [\d.]+ s \(\d+%\), forward .*, backward .*"
    assert re.search(pattern + r", optimizer .*, evaluation [\d.]+ s", printed)
    assert "Accuracy of each class:" in printed
    assert model.optimizer is None  # that of the example, which only its own file needs


@pytest.mark.filterwarnings("ignore:.*loaded but not compiled")  # with the example's optimizer
@pytest.mark.parametrize(("optimizer", "steps"), [("sgd", 9), ("muon", 4)])
def test_airbench_ends_the_same_where_it_was_interrupted(
    optimizer, steps, train_cifar10, interrupt, narrow, tmp_path
):
    """After the epochs in which the first layer's bias is trained, or within them."""
    options = (*AIRBENCH, "--optimizer", optimizer)
    train_cifar10(*options)
    interrupt(steps)
    with pytest.raises(SystemExit, match=r"^Stopped before the last step"):
        train_cifar10(*options, out="parts.npz")
    interrupt(100)
    printed = train_cifar10(*options, "--resume", tmp_path / "parts_last.npz", out="parts.npz")
    assert [printed.count(f"Epoch {k}/5:") for k in range(1, 6)] == [1] * 5
    files = (tmp_path / f"{name}_last.npz" for name in ("model", "parts"))
    whole, parts = map(nn.Model.load, files)
    for key, array in whole.get_arrays().items():
        np.testing.assert_array_equal(parts.get_arrays()[key], array)
    assert parts.history == whole.history


def test_airbench_prints_the_mean_and_spread_of_several_seeds(train_cifar10, narrow, tmp_path):
    options = ("--model", "airbench", "--batch-size", 100, "--epochs", 2.5, "--lr", 1.0)
    without = ("--optimizer", "sgd", "--without", "crop", "dirac", "--log", tmp_path / "log.jsonl")
    printed = train_cifar10(*options, *without, "--seeds", 2)
    found = re.findall(r"Test accuracy: ([\d.]+)%, with mirrored and shifted copies", printed)
    mean, std = np.mean([*map(float, found)]), np.std([*map(float, found)], ddof=1)
    assert len(found) == 2
    assert f"Test accuracy of 2 seeds: {mean:.2f}% +- {std:.2f}%" in printed
    assert "With copies of 2 seeds:" in printed
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["seed"] for line in lines] == [0, 1]
    for line, text in zip(lines, found, strict=True):
        assert f"{line['accuracy']:.2%}" == f"{text}%"
        assert [*line["curve"]][:3] == ["loss", "acc", "lr"] and len(line["curve"]["seconds"]) == 3
        assert line["images"] == 500 and line["without"] == ["crop", "dirac"]
        assert line["total_seconds"] >= line["seconds"]["training"] >= line["seconds"]["forward"]
    assert (tmp_path / "model_0.npz").exists() and (tmp_path / "model_1.npz").exists()


def test_the_recipe_of_airbench_is_the_papers(example, rng):
    """The hyperparameters that its code computes from the paper's, for batches of 1024."""
    airbench = example("airbench")
    train = nn.data.Dataset(rng.random((64, 3, 32, 32), dtype="float32"))
    steps = airbench.total_steps(9.9, 1024, 50_000)
    assert steps == 485
    model = airbench.compile_model(airbench.make_network(train, 0), steps, 1024)
    optimizer = model.optimizer
    assert optimizer.lr == pytest.approx(11.5 / (1 + 1 / 0.15))  # 1.5, of the mean of the losses
    assert optimizer.lr * optimizer.weight_decay == pytest.approx(0.0153 / (1 + 1 / 0.15))
    optimizer.iterations = steps - 1
    assert optimizer.alpha == pytest.approx(1 - 0.95**5)
    alphas = [airbench.slow_alpha(steps)(step) for step in (149, 154)]  # of 49 an epoch
    assert alphas == [1, pytest.approx(1 - 0.95**5 * (155 / steps) ** 3)]
    factors = dict(zip(model._plan().names, model._plan().factors, strict=True))
    assert {name for name, factor in factors.items() if factor != 1} == {
        name for name in factors if "BatchNorm2D_beta" in name
    }
    assert set(factors.values()) == {1.0, 64.0}
    # Rate times decay is the same for all parameters: kernels by the optimizer, biases by L2.
    rates = {"beta": 64 * 11.5, "b": 11.5}
    decays = {
        name: 2 * penalty.l2 * rates[name]
        for layer in model.layers
        for name, penalty in layer.regularizers.items()
    }
    assert decays == {"beta": pytest.approx(0.0153), "b": pytest.approx(0.0153)}


def test_the_recipe_by_muon_is_that_of_its_program(example, rng):
    """Rates and decay of sums over 2,000 images, as rates of their mean."""
    muon, airbench = example("airbench_muon"), example("airbench")
    assert muon.total_steps(8, 2000, 50_000) == 200
    train = nn.data.Dataset(rng.random((64, 3, 32, 32), dtype="float32"))
    model = muon.compile_model(airbench.make_network(train, 0), 2000)
    plan = model._plan()
    rates = {name: 0.24 * k for name, k in zip(plan.names, plan.factors, strict=True)}
    assert rates["1_Conv2D_b"] == rates["5_BatchNorm2D_beta"] == pytest.approx(0.053 * 2000)
    assert rates["25_Dense_W"] == pytest.approx(0.67 * 2000)
    assert {rate for name, rate in rates.items() if "Conv2D_W" in name} == {0.24}
    head = model.get_layer(25)
    assert head.params["W"].std() == pytest.approx(1) and model.layers[-1].scale == 1 / 256
    assert 2 * head.regularizers["W"].l2 * rates["25_Dense_W"] == pytest.approx(2e-6 * 2000)
    assert not model.layers[3].regularizers and not model.optimizer.weight_decay
    first = muon.FirstBias(10.0, 200, 75)
    first.set_model(model)
    model.optimizer.iterations = 30
    first.on_train_batch_begin(0, {})
    assert model.layers[1].lr_factor == {"b": pytest.approx(10 * (1 - 30 / 75) / (1 - 30 / 200))}
    sizes = muon.make_augmentation(12.0).transforms[-1].sizes
    assert sizes == [(18, 18)] * 5 + [(26, 26)] * 3 + [(32, 32)] * 4
    assert [size for size, _ in muon.make_augmentation(2.5).transforms[-1].sizes] == [18, 26, 32]
    kernel = rng.normal(size=(4, 2, 3, 3))
    muon.KernelMuon(lr=0.0).step([(kernel, np.ones_like(kernel))])
    assert np.linalg.norm(kernel) == pytest.approx(2)


def test_each_part_of_the_recipe_can_be_left_out(example, rng):
    airbench = example("airbench")
    train = nn.data.Dataset(rng.random((64, 3, 32, 32), dtype="float32"))

    def made(*without):
        network = airbench.make_network(train, 0, without)
        return airbench.compile_model(network, 10, 1024, without)

    whole = made()
    assert made("whitening").layers[1].trainable is True
    assert whole.layers[3].params["W"][:24, :, 1, 1].sum() == 24
    assert made("dirac").layers[3].params["W"][:24, :, 1, 1].sum() != 24
    assert {layer.lr_factor for layer in made("bias_lr").layers} == {1}
    assert not any(layer.regularizers for layer in made("bias_decay").layers)
    assert [m.loss.label_smoothing for m in (whole, made("label_smoothing"))] == [0.2, 0]
    assert type(made("lookahead").optimizer) is nn.optim.SGD
    kinds = {
        name: [type(part).__name__ for part in airbench.make_augmentation((name,)).transforms]
        for name in ("tta", "alternating_flip", "flip", "crop")
    }
    assert kinds == {
        "tta": ["AlternatingFlip", "RandomCrop"],
        "alternating_flip": ["RandomFlip", "RandomCrop"],
        "flip": ["RandomCrop"],
        "crop": ["AlternatingFlip"],
    }
    assert airbench.make_augmentation(("flip", "crop")) is None
    callbacks = [type(c).__name__ for c in airbench.make_callbacks(10, ("whitening", "lookahead"))]
    assert callbacks == ["LastStep"]


def test_the_running_statistics_go_back_to_slow_ones(example):
    airbench = example("airbench")
    model = nn.Model([nn.BatchNorm2D(input_shape=(1, 2, 2))], seed=0)
    model.compile("mse", nn.optim.SGD(0.1))
    slow = airbench.SlowStatistics(lambda step: 0.25 if step > 5 else 1.0)
    slow.set_model(model)
    mean = model.layers[0].buffers["running_mean"]
    for step, value in ((4, 7.0), (5, 2.0), (6, 9.0), (10, 6.0)):
        model.optimizer.iterations = step
        mean[...] = value
        slow.on_train_batch_end(0, {})
        assert mean[0] == (value if step < 10 else 2 + 0.25 * (6 - 2))
    twin = airbench.SlowStatistics(None)
    twin.load_state_dict(slow.state_dict())
    assert twin.slow["0_running_mean"] == 3


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "airbench", "--optimizer", "adam"],
        ["--model", "airbench", "--no-augment"],
        ["--seeds", "2"],
        ["--epochs", "2.5"],
        ["--without", "crop"],
        ["--model", "airbench", "--optimizer", "sgd", "--without", "everything"],
        ["--model", "airbench", "--without", "crop"],
        ["--model", "airbench", "--optimizer", "muon", "--weight-decay", "0.1"],
        ["--model", "airbench", "--target", "95"],
    ],
)
def test_options_that_would_have_no_effect_are_errors(example, options, capsys):
    with pytest.raises(SystemExit):
        example("cifar10_train").parse_arguments(options)
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("adam", "constant"), ("adamw", "plateau"), ("rmsprop", "exponential"), ("nadam", "cosine")],
)
def test_cifar10_train_takes_every_optimizer_and_schedule(
    optimizer, schedule, train_cifar10, tmp_path
):
    options = ("--model", "cifar", "--optimizer", optimizer, "--schedule", schedule)
    train_cifar10(*options, "--epochs", 1)
    model = nn.Model.load(tmp_path / "model_last.npz")
    assert type(model.optimizer).__name__.lower() == optimizer
    assert model.history["lr"] == [pytest.approx(1e-3)]


# ------------------------------------------------------------------------ images of one's own


@pytest.fixture
def photos(tmp_path, rng):
    """A folder of three kinds of stones, the third of them rare."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow, the extra 'images'")
    stones = {"emerald": ((30, 180, 40), 15), "ruby": ((200, 30, 30), 15), "opal": ((250,) * 3, 5)}
    for name, (colour, count) in stones.items():
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for k in range(count):
            pixels = np.clip(colour + rng.normal(0, 20, (20, 24, 3)), 0, 255).astype(np.uint8)
            image.fromarray(pixels).save(folder / f"{k:02d}.png")
    return tmp_path / "photos"


def test_image_folder_train_learns_and_names_images(photos, example, tmp_path, capsys):
    script, out = example("image_folder_train"), tmp_path / "stones.npz"
    (tmp_path / "no_image.jpg").write_text("nothing to see")
    asked = [photos / "ruby" / "03.png", photos / "opal" / "00.png", tmp_path / "no_image.jpg"]
    options = [photos, "--size", 16, "--epochs", 6, "--batch-size", 8, "--out", out]
    assert script.main([str(o) for o in (*options, "--predict", *asked)]) == 0
    printed = capsys.readouterr().out
    assert "28 images to train and 7 to validate." in printed
    assert "Class weights balance" in printed
    assert "Validation accuracy of the best epoch: 100.00%" in printed
    assert re.search(r"03\.png: ruby \(\d+%\)$", printed, re.MULTILINE)
    assert re.search(r"00\.png: opal \(\d+%\)$", printed, re.MULTILINE)
    assert re.search(r"no_image\.jpg': in none of the known", printed)
    model = nn.Model.load(out)
    assert list(model.class_names) == ["emerald", "opal", "ruby"]
    assert model.layers[0].buffers["mean"].shape == (3,)


def test_image_folder_train_names_a_image_of_each_class(photos, example, tmp_path, capsys):
    script, out = example("image_folder_train"), tmp_path / "stones.npz"
    options = [photos, "--size", 16, "--epochs", 1, "--no-augment", "--out", out]
    assert script.main([str(o) for o in options]) == 0
    named = capsys.readouterr().out.partition("Predictions:\n")[2].splitlines()
    assert {Path(line.split()[0]).parts[-2] for line in named} == {"emerald", "opal", "ruby"}


def test_image_folder_train_refuses_what_is_no_set_of_images(photos, example, capsys):
    main = example("image_folder_train").main
    with pytest.raises(SystemExit, match=r"^\[load_image_folder\] 'path'"):
        main([str(photos / "ruby")])
    with pytest.raises(SystemExit, match=r"cannot read '.*nowhere'"):
        main([str(photos / "nowhere")])
    with pytest.raises(SystemExit):
        main([str(photos), "--size", "8"])
    assert "--size must be 16 or more" in capsys.readouterr().err
