"""`python -m nn convert`: between nn's formats, from weights of PyTorch, and to its source."""

import shutil

import numpy as np
import pytest
from conftest import ROOT
from test_cli import as_json, refused, run

import nn

FIXTURES = ROOT / "tests" / "exchange" / "fixtures"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    model = nn.Model([nn.Dense(3, input_shape=(4,), activation="relu"), nn.Dense(2)], seed=0)
    model.compile("cce", "adam")
    model.fit(np.eye(4), np.arange(4) % 2, verbose=0)
    model.save(tmp_path / "model.hdf5")
    nn.Model([nn.Dense(3, input_shape=(4,))], seed=1).save(tmp_path / "like.npz")
    shutil.copy(FIXTURES / "checkpoint.pt", tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(path):
    return nn.Model.load(path).predict(np.eye(4))


@pytest.mark.parametrize("to", ["b.npz", "b.safetensors", "b.h5", "model.hdf5"])
def test_between_the_formats_of_nn(folder, capsys, to):
    wanted = outputs("model.hdf5")
    data = as_json(capsys, "convert", "model.hdf5", to)
    assert data == {"from": "model.hdf5", "to": [to], "arrays": 4, "numbers": 23,
                    "training_state": True, "turned": {}}  # fmt: skip
    np.testing.assert_array_equal(outputs(to), wanted)
    assert nn.Model.load(to).epoch == 1
    assert as_json(capsys, "summary", to)["parameters"] == 23


def test_half_the_space(folder, capsys):
    status, out, err = run(capsys, "convert", "model.hdf5", "b.safetensors", "--dtype", "bfloat16")
    assert (status, err) == (0, "")
    assert out == "model.hdf5 -> b.safetensors: 4 arrays, 23 numbers\n"
    np.testing.assert_allclose(outputs("b.safetensors"), outputs("model.hdf5"), atol=0.02)
    assert "cannot" not in refused(capsys, "convert", "model.hdf5", "b.npz", "--dtype", "bfloat16")


def test_weights_of_pytorch_say_what_was_turned(folder, capsys):
    status, out, err = run(capsys, "convert", "weights.pt", "b.hdf5", "--like", "like.npz")
    assert (status, err) == (0, "")
    assert "0_Dense_W  fc.weight, transposed" in out
    np.testing.assert_array_equal(
        nn.Model.load("b.hdf5").get_arrays()["0_Dense_W"], np.arange(12).reshape(3, 4).T
    )


def test_models_of_keras_say_what_was_turned(folder, capsys):
    shutil.copy(FIXTURES / "from_keras" / "images.keras", folder)
    turned = as_json(capsys, "convert", "images.keras", "b.npz")["turned"]
    assert list(turned) == list(nn.Model.load("b.npz").get_arrays())
    assert turned["1_Conv2D_W"].endswith(", turned")
    assert "turned" not in turned["1_Conv2D_b"]


def test_the_source_for_pytorch_and_its_weights(folder, capsys):
    status, out, err = run(capsys, "convert", "model.hdf5", "b.py")
    assert (status, err) == (0, "")
    assert "model.hdf5 -> b.py, b.safetensors" in out
    assert "The state of training is not in the new file." in out
    assert "0_Dense_W  0.weight, transposed" in out
    assert "nn.Linear(4, 3)," in (folder / "b.py").read_text()
    back = ["--like", "model.hdf5", "--layout", "torch"]
    assert run(capsys, "convert", "b.safetensors", "c.npz", *back)[0] == 0
    np.testing.assert_array_equal(outputs("c.npz"), outputs("model.hdf5"))
    assert "b.safetensors', which is there already" in refused(
        capsys, "convert", "model.hdf5", "b.py"
    )


def test_onnx(folder, capsys):
    assert run(capsys, "convert", "model.hdf5", "b.onnx")[0] == 0
    assert (folder / "b.onnx").stat().st_size > 92
    code, out, _ = run(capsys, "convert", "b.onnx", "back.hdf5")
    assert code == 0 and "4 arrays" in out and "0_Dense_W" in out
    assert np.allclose(outputs("back.hdf5"), outputs("model.hdf5"), atol=1e-6)


def test_onnx_in_two_files(folder, capsys):
    for name in ("external.onnx", "external.data"):
        shutil.copy(FIXTURES / "from_onnx" / name, folder)
    assert "external_data" in refused(capsys, "convert", "external.onnx", "b.npz")
    code, *_ = run(capsys, "convert", "external.onnx", "b.npz", "--external-data", "external.data")
    assert code == 0 and len(nn.Model.load("b.npz").layers) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["weights.pt", "b.hdf5"], "weights but no layers: make the same layers here"),
        (["weights.pt", "b.hdf5", "--like", "model.hdf5"], "does not fit the model"),
        (["model.hdf5", "b.pt"], "does not write the pickles of PyTorch"),
        (["model.hdf5", "b.pkl"], "writes no pickles"),
        (["model.hdf5", "b.py", "--dtype", "float16"], "must not be set for .py"),
        (["model.hdf5", "b.onnx", "--dtype", "float16"], "must not be set for .onnx"),
        (["model.hdf5", "b.npz", "--layout", "torch"], "'--layout' needs '--like'"),
        (["missing.hdf5", "b.npz"], "missing.hdf5"),
        (["model.hdf5", "missing/b.npz"], "there is no folder"),
    ],
)
def test_what_cannot_be_converted_is_one_line(folder, capsys, arguments, words):
    before = sorted(folder.iterdir())
    assert words in refused(capsys, "convert", *arguments)
    assert sorted(folder.iterdir()) == before
