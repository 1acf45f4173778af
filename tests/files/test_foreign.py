"""Files of other libraries are called by their name, not damaged."""

import io
import pickle
import zipfile

import h5py
import numpy as np
import pytest

import nn
from nn.files import foreign


def archive(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name in names:
            file.writestr(name, "{}")
    return stream.getvalue()


def hdf5(fill):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def old_keras(file):
    file.attrs["keras_version"] = "2.4.0"
    file.create_group("model_weights").attrs["layer_names"] = [b"dense"]


def weights_of_keras(file):
    file.create_group("layers/dense/vars")["0"] = np.zeros((4, 3))
    file.create_group("vars")


FILES = {
    "model.keras": (archive("metadata.json", "config.json", "model.weights.h5"), "Keras"),
    "old.h5": (hdf5(old_keras), "Keras"),
    "new.weights.h5": (hdf5(weights_of_keras), "Keras"),
    "weights.pt": (archive("weights/data.pkl", "weights/version", "weights/data/0"), "PyTorch"),
    "old.pth": (pickle.dumps({"weight": 1}, protocol=2), "PyTorch"),
    "small.tflite": (b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_others_are_called_by_their_name(name, tmp_path):
    content, library = FILES[name]
    path = tmp_path / "file"  # whatever it is called
    path.write_bytes(content)
    model = nn.Model([nn.Dense(3, input_shape=(4,))], seed=0)
    for read in (nn.Model.load, model.load_weights):
        with pytest.raises(nn.io.FileFormatError, match=library) as raised:
            read(path)
        assert "damaged" not in str(raised.value)


@pytest.mark.parametrize("content", [b"PK\x03\x04damaged", b"\x89HDF\r\n\x1a\ndamaged", b"?" * 9])
def test_damaged_files_are_of_nobody(content):
    assert foreign.origin(io.BytesIO(content), content[:8]) is None


@pytest.mark.parametrize("suffix", [".keras", ".pt", ".PTH", ".onnx", ".pkl", ".joblib", ".npy"])
def test_no_file_under_the_suffix_of_another_format_holds_hdf5(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    model = nn.Model([nn.Dense(3, input_shape=(4,))], seed=0)
    writers = (model.save, model.save_weights, nn.callbacks.ModelCheckpoint)
    for write in writers[suffix == ".keras" :]:  # of Keras' files, save writes whole models
        with pytest.raises(ValueError, match=r"suffix of its format.*safetensors"):
            write(path)
    assert not path.exists()
