"""safetensors: whole models in one file, types of half the size, and files made to do harm."""

import importlib.util
import json
import struct
import tracemalloc

import numpy as np
import pytest
from nn.io import FileFormatError

import nn
from nn.files import model_file
from nn.files import safetensors as format_

SPECIAL = [0.0, -0.0, 1.0, 1.01, -3.14159, 1e-40, 3e38, np.inf, -np.inf, np.nan]


def trained():
    model = nn.Model(
        [nn.Dense(5, input_shape=(4,)), nn.BatchNorm(), nn.ReLU(), nn.Dense(3)], seed=0
    )
    model.compile("cce", "adam", lr=0.01, ema_decay=0.9)
    model.class_names = ["a", "b", "c"]
    model.fit(*samples(), epochs=2, verbose=0)
    return model


def samples():
    return np.random.default_rng(0).normal(size=(20, 4)).astype("f4"), np.arange(20) % 3


def parts(path):
    """Return the header and the bytes of the arrays."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


# ------------------------------------------------------------------------- whole models


def test_one_file_is_a_whole_model_that_trains_on(tmp_path):
    path = tmp_path / "model.safetensors"
    model = trained()
    model.save(path)
    loaded = nn.Model.load(path)
    assert loaded.class_names == ["a", "b", "c"]
    np.testing.assert_array_equal(loaded.predict(samples()[0]), model.predict(samples()[0]))
    again = trained()
    for each in (model, loaded):
        each.fit(*samples(), epochs=1, verbose=0)
    again.fit(*samples(), epochs=3, resume=path, verbose=0)
    for name, array in model.get_arrays().items():
        np.testing.assert_array_equal(loaded.get_arrays()[name], array)
        np.testing.assert_array_equal(again.get_arrays()[name], array)


def test_weights_alone(tmp_path):
    model, path = trained(), tmp_path / "weights.safetensors"
    model.save_weights(path)
    fresh = nn.Model(
        [nn.Dense(5, input_shape=(4,)), nn.BatchNorm(), nn.ReLU(), nn.Dense(3)], seed=1
    )
    assert len(fresh.load_weights(path).loaded) == 8
    np.testing.assert_array_equal(fresh.predict(samples()[0]), model.predict(samples()[0]))
    with pytest.raises(FileFormatError, match="holds weights but no layers"):
        nn.Model.load(path)


@pytest.mark.parametrize("dtype", ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4",
                                   "f8", ">f4", ">i8"])  # fmt: skip
def test_every_type_of_numbers(dtype, tmp_path):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    arrays = {"a": array, "strided": array[:, ::-1].T, "none": array[:0], "one": np.array(3, dtype)}
    path = tmp_path / "x.safetensors"
    model_file.write(path, model_file.ModelFile(None, arrays))
    read = model_file.read(path).arrays
    for name, wanted in arrays.items():
        assert read[name].dtype == wanted.dtype.newbyteorder("="), name
        np.testing.assert_array_equal(read[name], wanted)
        assert read[name].flags.writeable


def test_the_arrays_are_aligned(tmp_path):
    arrays = {"a": np.ones(3, "i1"), "b": np.ones(2, "f8"), "c": np.ones(1, "f2")}
    path = tmp_path / "x.safetensors"
    model_file.write(path, model_file.ModelFile(None, arrays))
    header, _ = parts(path)
    start = path.stat().st_size - 3 - 16 - 2
    for name, array in arrays.items():
        assert (start + header[name]["data_offsets"][0]) % array.itemsize == 0


@pytest.mark.skipif(not importlib.util.find_spec("safetensors"), reason="needs safetensors")
def test_the_format_s_own_library_reads_and_writes_the_same(tmp_path):
    from safetensors import numpy as judge

    model, path = trained(), tmp_path / "model.safetensors"
    model.save(path)
    theirs = judge.load_file(path)
    for name, array in model.get_arrays().items():
        np.testing.assert_array_equal(theirs[name], array)
    judge.save_file({"a": np.ones((2, 3), "f2"), "b": np.arange(3)}, path, {"format": "pt"})
    ours = model_file.read(path).arrays
    assert ours["a"].dtype == np.float16
    np.testing.assert_array_equal(ours["b"], np.arange(3))


# ----------------------------------------------------------------------- half the space


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [("hdf5", "float16"), ("npz", "float16"), ("safetensors", "float16"),
     ("safetensors", "bfloat16")],
)  # fmt: skip
def test_weights_take_half_the_space_and_come_back_in_the_dtype_of_the_model(
    suffix, dtype, tmp_path
):
    model = nn.Model([nn.Dense(100, input_shape=(100,))], seed=0)
    whole, half = tmp_path / f"whole.{suffix}", tmp_path / f"half.{suffix}"
    model.save(whole)
    for save in (model.save, model.save_weights):
        save(half, dtype=dtype)
        assert half.stat().st_size < 0.6 * whole.stat().st_size
    model.save(half, dtype=dtype)
    loaded = nn.Model.load(half)
    W = loaded.layers[0].params["W"]
    assert W.dtype == np.float32
    wanted = model.layers[0].params["W"]
    bits = 11 if dtype == "float16" else 8
    assert abs(W - wanted).max() > 0
    assert np.all(abs(W - wanted) <= abs(wanted) * 2**-bits + 2**-25)


def test_the_state_of_the_optimizer_is_not_rounded(tmp_path):
    model, path = trained(), tmp_path / "half.hdf5"
    model.save(path, dtype="float16")
    content = model_file.read(path)
    assert content.arrays["0_Dense_W"].dtype == np.float16
    state = model.wrapped_optimizer.state_dict()
    np.testing.assert_array_equal(content.optimizer_arrays["m/0_Dense_W"], state["m/0_Dense_W"])


def test_bfloat16_is_rounded_to_the_nearest():
    values = np.array(SPECIAL, "f4")
    read = format_.from_bfloat16(format_.to_bfloat16(values).bits)
    finite = np.isfinite(values)
    assert np.array_equal(np.isnan(read), np.isnan(values))
    assert np.array_equal(np.signbit(read[:-1]), np.signbit(values[:-1]))
    np.testing.assert_allclose(read[finite], values[finite], rtol=2**-8, atol=1e-40)
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8], "f4")  # half-way: to the even one
    np.testing.assert_array_equal(
        format_.from_bfloat16(format_.to_bfloat16(ties).bits), [1, 1 + 2**-6]
    )
    odd = np.array([0x7F800001], "u4").view("f4")  # NaN in the lower half alone
    assert np.isnan(format_.from_bfloat16(format_.to_bfloat16(odd).bits))


@pytest.mark.parametrize(("dtype", "value"), [("float16", 70_000.0), ("bfloat16", 3.4e38)])
def test_a_weight_that_is_too_large_is_an_error(dtype, value, tmp_path):
    model = nn.Model([nn.Dense(2, input_shape=(2,))], seed=0)
    model.layers[0].params["W"][0, 0] = value
    with pytest.raises(ValueError, match=f"'dtype' {dtype} cannot hold '0_Dense_W'"):
        model.save(tmp_path / "x.safetensors", dtype=dtype)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "dtype"), [("x.hdf5", "bfloat16"), ("x.npz", "bfloat16"), ("x.safetensors", "int8"),
                        ("x.hdf5", 16)],
)  # fmt: skip
def test_other_types_are_refused(name, dtype, tmp_path):
    model = nn.Model([nn.Dense(2, input_shape=(2,))], seed=0)
    for save in (model.save, model.save_weights):
        with pytest.raises(ValueError, match=r"\[Model\] 'dtype' must be float16"):
            save(tmp_path / name, dtype=dtype)
    model.save(tmp_path / name, dtype=np.float16)


# ---------------------------------------------------------------------- made to do harm

HOSTILE = {
    "a header beyond the file": (({}, b"", 99), "header would take"),
    "a header of 100 MB": (({}, b"", 100_000_001), "neither an HDF5"),
    "no JSON": ((b"{nothing", b""), "damaged"),
    "a list": ((b"{}[]  ", b""), "damaged"),
    "brackets": ((b'{"a":' + b"[" * 100_000, b""), "nested without end"),
    "a name twice": ((b'{"a":1,"a":2}', b""), "twice"),
    "bytes that are no text": ((b'{"\xff":1}', b""), "damaged"),
    "another entry": (({"a": 3}, b""), "must have dtype"),
    "a field too much": (({"a": {**entry(), "x": 1}}, bytes(8)), "must have dtype"),
    "an unknown type": (({"a": entry("F8_E4M3", (8,))}, bytes(8)), "F8_E4M3.*does not read"),
    "a type that is none": (({"a": entry(["F32"])}, bytes(8)), "does not read"),
    "complex numbers": (({"a": entry("C64", (1,))}, bytes(8)), "C64.*does not read"),
    "a negative axis": (({"a": entry(shape=(-2,))}, bytes(8)), "a shape that is none"),
    "a truth value": (({"a": entry(shape=(True, 2))}, bytes(8)), "a shape that is none"),
    "a float": (({"a": entry(shape=(2.0,))}, bytes(8)), "a shape that is none"),
    "too many axes": (({"a": entry(shape=(1,) * 33 + (2,))}, bytes(8)), "a shape that is none"),
    "sizes beyond": (({"a": entry(shape=(2**40, 2**40))}, bytes(8)), "offsets leave 8"),
    "wrapped sizes": (({"a": entry(shape=(2**62, 4))}, bytes(8)), "offsets leave 8"),
    "offsets of three": (({"a": entry(offsets=(0, 8, 8))}, bytes(8)), "offsets that are not two"),
    "offsets backwards": (({"a": entry(offsets=(8, 0))}, bytes(8)), "offsets leave -8"),
    "a gap": (({"a": entry(offsets=(4, 12))}, bytes(12)), "begins at byte 4"),
    "an overlap": (({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), "begins at byte 4"),
    "bytes too many": (({"a": entry()}, bytes(9)), "take 8 bytes, the file has 9"),
    "bytes too few": (({"a": entry()}, bytes(7)), "take 8 bytes, the file has 7"),
    "metadata of numbers": (({"__metadata__": {"a": 1}}, b""), "metadata are not strings"),
    "metadata of none": (({"__metadata__": None}, b""), "metadata are not strings"),
    "truth values": (({"a": entry("BOOL", (8,))}, bytes([2] * 8)), "other than 0 and 1"),
    "an array for a string": (({"architecture": entry()}, bytes(8)), "not a string"),
    "no architecture": (({"__metadata__": {"architecture": "[1"}}, b""), "broken JSON"),
    "a range beyond floats": (
        ({"__metadata__": {"architecture": json.dumps({"input_range": [0, 10**400],
                                                       "layers": []})}}, b""),
        "'architecture.input_range' must be two finite numbers",
    ),
    "huge layers": (
        ({"__metadata__": {"architecture": json.dumps({"input_shape": [None, 2], "layers": [
            {"class": "Dense", "config": {"units": 10**12}}]})}}, b""),
        "more than",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_files_made_to_do_harm_are_refused_for_what_is_wrong(what, tmp_path):
    arguments, reason = HOSTILE[what]
    path = put(tmp_path / "x.safetensors", *arguments)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=reason) as caught:
            nn.Model.load(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith("[")


def test_a_header_of_many_small_values_takes_no_more_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(format_, "_MAX_STRUCTURE", 1000)
    path = put(tmp_path / "x.safetensors", b'{"a":[' + b"[]," * 400 + b"[]]}")
    with pytest.raises(FileFormatError, match="outside strings"):
        nn.Model.load(path)
    text = '[\\"' * 1000  # brackets and quotes in a string are none
    put(path, b'{"__metadata__":{"a":"' + text.encode() + b'"}}')
    with pytest.raises(FileFormatError, match="holds weights but no layers"):
        nn.Model.load(path)


def test_a_truncated_file_is_refused_at_every_byte(tmp_path):
    path = tmp_path / "x.safetensors"
    nn.Model([nn.Dense(2, input_shape=(2,))], seed=0).save_weights(path)
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(FileFormatError):
            model_file.read(path)


def test_a_header_that_is_too_large_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(format_, "_MAX_HEADER", 100)
    with pytest.raises(FileFormatError, match="header of at most 100 bytes"):
        trained().save(tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_numbers_that_nn_does_not_read_are_no_damage(tmp_path):
    header = b'{"w": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"ab")
    with pytest.raises(
        nn.io.FileFormatError, match="'w' is of the type 'F8_E4M3', which nn"
    ) as got:
        nn.Model.load(path)
    assert "damaged" not in str(got.value)
