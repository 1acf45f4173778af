"""The page "94% on two cores": its tables are those of the logs, and its recipe is PyTorch's."""

import importlib
import json
import sys

import numpy as np
import pytest
from conftest import ROOT

import nn

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Return a function that imports a benchmark by its name."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def log_of(seed, accuracy, **others):
    times = dict.fromkeys(("training", "data", "forward", "backward", "optimizer"), 60.0)
    return {
        "seed": seed,
        "accuracy": accuracy,
        "accuracy_with_copies": accuracy + 0.01,
        "images_per_second": 500.0,
        "seconds": times | {"evaluation": 9.0},
        "curve": {"acc": [0.5, 0.9], "seconds": [100.0, 200.0]},
        "process_seconds": 300.0,
        "command": "python examples/cifar10_train.py",
        "date": "2026-11-30",
        "commit": "abc",
        "machine": "a laptop",
        "load": 0.1,
        "versions": {"python": "3.11"},
        **others,
    }


@pytest.fixture
def results(tmp_path):
    """A folder of logs: two seeds of airbench, one without a part, ten steps of PyTorch's."""
    steps = {"measured_steps": 10, "extrapolated_seconds": 3000.0, "images_per_second": 166.0}
    torch = {**log_of(0, 0), **steps}
    del torch["accuracy"], torch["accuracy_with_copies"]
    logs = {
        "airbench90": [log_of(0, 0.90), log_of(1, 0.92)],
        "airbench-short": [log_of(0, 0.90), log_of(1, 0.92)],
        "without-crop": [log_of(1, 0.89)],
        "torch-airbench90": [torch],
    }
    for name, lines in logs.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)
    return tmp_path


def test_the_page_has_the_tables_of_the_logs(script):
    tables = script("recipe_tables")
    page = tables.PAGE.read_text(encoding="utf-8")
    assert tables.renewed(page) == page, "run python benchmarks/recipe_tables.py"
    drawing = tables.curves(tables.RESULTS)
    assert (drawing is None) == (not tables.CURVES.exists())
    assert drawing is None or drawing == tables.CURVES.read_text(encoding="utf-8")
    assert {*tables.MARK.sub(lambda k: k["name"] + "\n", page).split()} >= {*tables.SECTIONS}


def test_every_log_is_of_a_run_and_names_no_folder(script):
    runs = script("recipe_runs")
    for path in runs.RESULTS.glob("*"):
        name = path.stem.removesuffix(runs.COPIES)
        assert name in runs.RUNS and path.suffix == ".jsonl"
        for log in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            assert log["command"].startswith(f"python {runs.RUNS[name].script} ")
            assert not any("/" in word for word in log["command"].split()[2:])


def test_the_tables_have_the_figures_of_the_logs(script, results):
    tables = script("recipe_tables")
    table = tables.accuracies(results)
    title = "CIFAR-10, `--optimizer sgd --target 90`"
    row = f"| {title} | nn | 2 | 91.00 ± 1.41 | 92.00 ± 1.41 | 5.0 | 500 |  |"
    assert row in table
    assert "| PyTorch | 0 | - | - | about 50, from 10 steps | 166 |" in table
    assert "Not measured yet: `muon94`, `torch-muon94`, `muon90`" in table
    ablation = tables.ablation(results)
    assert "| nothing | 2 | 91.00 ± 1.41 | 92.00 ± 1.41 | - |" in ablation
    assert "| `crop`: no shifts | 1 | 89.00 | 90.00 | -3.00 |" in ablation
    assert "`without-whitening`" in ablation and "`without-crop`" not in ablation
    assert "| `airbench90` | 60 | 60 | 60 | 60 | 9 |" in tables.times(results)
    assert tables.runs(results).count("a laptop, load 0.1 before; python 3.11") == 6
    of_validation = log_of(0, 0.91, curve={"val_acc": [0.5, 0.9], "seconds": [100.0, 200.0]})
    (results / "resnet20.jsonl").write_text(json.dumps(of_validation))
    drawing = tables.curves(results)
    assert drawing.count("<polyline") == drawing.count("<circle") == 3
    assert tables.figure(results).startswith("![")


def test_a_whole_run_replaces_a_part_of_it(script, results):
    path = results / "torch-airbench90.jsonl"
    part = path.read_text()
    path.write_text(part + json.dumps(log_of(0, 0.91)) + "\n" + part)
    [log] = script("recipe_runs").read_logs("torch-airbench90", results)
    assert log["accuracy"] == 0.91


def test_other_copies_of_the_images_have_rows_of_their_own(script, results):
    text = json.dumps(log_of(0, 0.89, images_per_second=750.0)) + "\n"
    (results / "airbench90-jpeg.jsonl").write_text(text)
    tables = script("recipe_tables")
    table = tables.accuracies(results)
    title = "CIFAR-10, `--optimizer sgd --target 90`"
    assert f"| {title} | nn | 2 | 91.00 ± 1.41 |" in table
    assert f"| {title}, JPEG copies | nn | 1 | 89.00 | 90.00 | 5.0 | 750 |" in table
    assert "| `airbench90-jpeg` | 60 |" in tables.times(results)
    assert "| `python examples/cifar10_train.py`, JPEG copies | " in tables.runs(results)
    drawing = tables.curves(results)
    assert drawing.count("<polyline") == 3 and drawing.count("stroke-dasharray") == 1


def test_the_sum_of_the_images_tells_copies_from_the_official_ones(script, tmp_path, monkeypatch):
    runs = script("recipe_runs")
    rows = np.full((10_000, 3073), 100, np.uint8)
    rows[:, 0] = np.arange(10_000) % 10
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    rows.tofile(folder / "test_batch.bin")
    for k in range(1, 6):
        (folder / f"data_batch_{k}.bin").hardlink_to(folder / "test_batch.bin")
    run = runs.RUNS["muon94"]
    assert runs.suffix_of(run, tmp_path) == "-jpeg"
    monkeypatch.setattr(runs, "OFFICIAL_SUM", 50_000 * 3072 * 100)
    assert runs.suffix_of(run, tmp_path) == ""
    assert runs.suffix_of(runs.RUNS["mnist"], tmp_path / "absent") == ""
    with pytest.raises(SystemExit, match="does not hold CIFAR-10"):
        runs.suffix_of(run, tmp_path / "absent")


def test_the_parts_that_are_left_out_are_those_of_the_example(script):
    runs, airbench = script("recipe_runs"), script("airbench")
    assert runs.PARTS == airbench.INGREDIENTS
    assert {*script("recipe_tables").CHANGES} == {*runs.PARTS}


def test_a_run_is_logged_once_for_each_seed(script, tmp_path, monkeypatch, capsys):
    runs = script("recipe_runs")
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "tiny.py").write_text(
        "import argparse, json\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--seed', type=int)\n"
        "parser.add_argument('--model')\n"
        "parser.add_argument('--log')\n"
        "options, _ = parser.parse_known_args()\n"
        "facts = {'seed': options.seed, 'accuracy': 0.5, 'model': options.model}\n"
        "open(options.log, 'a').write(json.dumps(facts))\n"
    )
    tiny = runs.Run("examples/tiny.py", "--model small", seeds=(0, 1), data="mnist")
    monkeypatch.setattr(runs, "RUNS", {"tiny": tiny})
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["recipe_runs.py", "tiny"])
    runs.main()
    runs.main()
    assert capsys.readouterr().out.count("its log is there, skipped") == 2
    first, second = runs.read_logs("tiny")
    assert (first["seed"], second["seed"]) == (0, 1)
    assert first["model"] == "small" and first["run"] == "tiny" and first["process_seconds"] >= 0
    assert {"command", "date", "machine", "commit", "load", "versions"} <= {*first}


@pytest.mark.parametrize(
    "options",
    [
        ["airbench", "--epochs", "0.5"],
        ["airbench", "--muon", "--epochs", "1"],
        ["airbench", "--steps", "1"],
        ["mnist-fast", "--epochs", "1", "--contiguous"],
    ],
)
def test_pytorch_trains_by_the_fast_recipes(options, script, rng, monkeypatch, tmp_path, capsys):
    pytest.importorskip("torch", reason="needs PyTorch")
    shape = (1, 28, 28) if options[0] == "mnist-fast" else (3, 32, 32)
    data = [
        nn.data.Dataset(rng.integers(0, 256, (n, *shape), dtype="uint8"), rng.integers(0, 10, n))
        for n in (100, 20)
    ]
    fast = script("torch_fast")
    for load in ("load_cifar10", "load_mnist_gz"):
        monkeypatch.setattr(fast, load, lambda folder: data)
    log = tmp_path / "log.jsonl"
    common = ["--seeds", "3", "--batch-size", "20", "--log", str(log)]
    monkeypatch.setattr(sys, "argv", ["torch_accuracy.py", "--network", *options, *common])
    script("torch_accuracy").main()
    facts = json.loads(log.read_text())
    assert facts["seed"] == 3 and facts["images"] == (20 if "--steps" in options else 100)
    assert {"training", "forward", "backward"} <= {*facts["seconds"]}
    if "--steps" in options:
        assert facts["measured_steps"] == 1 and "accuracy" not in facts
        assert "(extrapolated)" in capsys.readouterr().out
    else:
        printed = f"test accuracy {facts['accuracy']:.2%}, with copies "
        assert printed + f"{facts['accuracy_with_copies']:.2%}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_recipes_are_those_of_pytorch(script):
    pytest.importorskip("torch", reason="needs PyTorch")
    found = script("torch_agreement").run("recipes")
    assert len(found) == 9
    for case, (_, largest, where) in found.items():
        assert largest < 1e-11, (case, where)
