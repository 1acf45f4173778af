"""The limits of the readers, each from both sides, and what they say beyond them."""

import io as streams
import math
import tracemalloc
import zipfile
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from h5py import h5o

import nn
from nn import io
from nn.files import hdf5 as hdf5_files
from nn.files import npz as npz_files

STRINGS = frozenset({"training"})


def hdf5(fill, **options):
    """Return an HDF5 file in memory, filled by a function."""
    stream = streams.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        fill(file)
    return stream


def read_hdf5(fill, size=None, **options):
    stream = hdf5(fill, **options)
    return hdf5_files.read(stream, len(stream.getvalue()) if size is None else size, STRINGS)


def npz(**arrays):
    stream = streams.BytesIO()
    np.savez(stream, **arrays)
    return stream


def read_npz(stream):
    return npz_files.read(stream, len(stream.getvalue()), STRINGS)


# ------------------------------------------------------------------------------------ HDF5


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2.0]], dtype="f4"),
        np.arange(3, dtype=">i2"),
        np.array([True, False]),
        np.float16(0.5),
        np.uint64(2**64 - 1),
    ],
)
def test_numbers_come_back_in_their_own_type(array):
    found = read_hdf5(lambda file: file.create_dataset("x", data=array))["x"]
    assert found.dtype == np.asarray(array).dtype.newbyteorder("=") and found.dtype.isnative
    np.testing.assert_array_equal(found, array)


def fill_groups(file):
    file["a/b/c/x"] = 1.0


@pytest.mark.parametrize(
    ("limit", "least", "message"),
    [
        ("_MAX_DEPTH", 3, "its groups are nested more than 2 deep"),
        ("_MAX_OBJECTS", 5, "it holds more than 4 objects"),  # the root, three groups and an array
    ],
)
def test_groups_in_groups(limit, least, message, monkeypatch):
    monkeypatch.setattr(hdf5_files, limit, least)
    assert read_hdf5(fill_groups) == {"a/b/c/x": 1}
    monkeypatch.setattr(hdf5_files, limit, least - 1)
    with pytest.raises(ValueError, match=f"^{message}$"):
        read_hdf5(fill_groups)


def test_the_size_of_notes(monkeypatch):
    """As many attributes that HDF5 keeps an index of them, which counts too."""

    def fill(file):
        file["x"] = 1.0
        for number in range(50):
            file["x"].attrs[f"note {number}"] = "n" * 100

    with h5py.File(hdf5(fill, libver="latest"), "r") as file:
        info = h5o.get_info(file["x"].id)
    sizes = info.hdr.space.total, info.meta_size.attr.heap_size, info.meta_size.attr.index_size
    assert min(sizes) > 0
    monkeypatch.setattr(hdf5_files, "_MAX_HEADER", sum(sizes))
    assert read_hdf5(fill, libver="latest") == {"x": 1}
    monkeypatch.setattr(hdf5_files, "_MAX_HEADER", sum(sizes) - 1)
    with pytest.raises(ValueError, match=rf"^'x' has .*attributes of {sum(sizes):,} bytes$"):
        read_hdf5(fill, libver="latest")


def test_a_file_without_arrays():
    assert read_hdf5(lambda file: None) == {}
    assert read_hdf5(lambda file: None, size=0) == {}


def test_an_array_that_goes_on_after_the_file():
    def fill(file):
        file["x"] = np.ones(1000, "f4")
        file["y"] = np.ones(500)

    stream = hdf5(fill)
    with h5py.File(stream, "r") as file:
        for name in ("x", "y"):
            hdf5_files._check_storage(name, file[name].id, len(stream.getvalue()))
    with pytest.raises(ValueError, match=r"^'x' ends 1,048 bytes after the file$"):
        read_hdf5(fill, size=stream_end(stream, "x") - 1048)


def stream_end(stream, name):
    """Return where an array ends in the file."""
    with h5py.File(stream, "r") as file:
        dataset = file[name].id
        return (dataset.get_offset() or 0) + dataset.get_storage_size()


@pytest.mark.parametrize("layout", ["contiguous", "compact"])
def test_an_array_ends_with_the_file(layout):
    def fill(file):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(getattr(h5py.h5d, layout.upper()))
        space, kind = h5py.h5s.create_simple((25,)), h5py.h5t.IEEE_F32LE
        dataset = h5py.h5d.create(file.id, b"x", kind, space, plist)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones(25, "f4"))

    stream = hdf5(fill)
    end = stream_end(stream, "x")
    assert (end == 100) == (layout == "compact")
    with h5py.File(stream, "r") as file:
        hdf5_files._check_storage("x", file["x"].id, end)
        for missing in (1, end):
            message = rf"^'x' ends {missing:,} bytes after the file$"
            with pytest.raises(ValueError, match=message):
                hdf5_files._check_storage("x", file["x"].id, end - missing)


def test_arrays_that_share_their_bytes(monkeypatch):
    """Together they take more than there is, though each lies in the file."""
    monkeypatch.setattr(hdf5_files, "_check_storage", lambda *arguments: None)

    def fill(file):
        file["x"], file["y"] = np.ones(6, "f4"), np.ones(5)

    assert set(read_hdf5(fill, size=64)) == {"x", "y"}
    with pytest.raises(ValueError, match=r"^its arrays would take 64 bytes, the file has 63$"):
        read_hdf5(fill, size=63)


def test_a_filter_is_named_with_what_to_do():
    def fill(file):
        file.create_dataset("x", data=np.ones(100), chunks=(10,), compression="gzip")

    message = (
        r"^'x' is packed with the filter 1 \(deflate\): write it without compression, shuffling "
        r"and checksums$"
    )
    with pytest.raises(ValueError, match=message):
        read_hdf5(fill)


def test_a_link_of_a_kind_that_is_not_known():
    with pytest.raises(ValueError, match=r"^'x' is a link of an unknown kind$"):
        hdf5_files._check_link("x", SimpleNamespace(type=99))


@pytest.mark.parametrize("value", [3.0, ["a", "b"], np.ones(2)])
def test_what_is_not_a_string(value):
    with pytest.raises(ValueError, match=r"^'training' is not a string$"):
        read_hdf5(lambda file: file.create_dataset("training", data=value))


@pytest.mark.parametrize("text", ["a", "sixteen letters!", "ünïcode", "x" * 5000])
def test_strings_of_fixed_and_of_variable_length(text):
    content = text.encode()
    for value in (text, np.array(content)):
        found = read_hdf5(lambda file, value=value: file.create_dataset("training", data=value))
        assert found == {"training": content}


def test_strings_are_written_with_a_fixed_length():
    stream = streams.BytesIO()
    hdf5_files.write(stream, {"training": "{}", "x": np.ones(2)})
    with h5py.File(stream, "r") as file:
        assert file["training"].dtype == "S2"
    found = hdf5_files.read(stream, len(stream.getvalue()), STRINGS)
    assert found["training"] == b"{}"


def test_the_second_string_of_a_heap():
    names = frozenset({"architecture", "training"})

    def fill(file):
        file["architecture"], file["training"] = "one two three", "four"

    stream = hdf5(fill)
    found = hdf5_files.read(stream, len(stream.getvalue()), names)
    assert found == {"architecture": b"one two three", "training": b"four"}


def test_a_heap_that_claims_more_than_the_file_has():
    """Neither the length of a heap nor that of a string makes `read` take memory."""
    stream = hdf5(lambda file: file.create_dataset("training", data="a" * 99))
    content = bytearray(stream.getvalue())
    heap = content.find(b"GCOL")
    content[heap + 8 : heap + 16] = b"\xff" * 7 + b"\x7f"
    tracemalloc.start()
    found = hdf5_files.read(streams.BytesIO(content), len(content), STRINGS)
    assert found == {"training": b"a" * 99}
    with h5py.File(stream, "r") as file:
        offset = file["training"].id.get_offset()
    content[offset : offset + 4] = content[heap + 24 : heap + 28] = b"\xff" * 4
    with pytest.raises(ValueError, match=r"'training' is not where it should be$"):
        hdf5_files.read(streams.BytesIO(content), len(content), STRINGS)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


# ------------------------------------------------------------------------------------- NPZ


def test_the_number_of_members(monkeypatch):
    monkeypatch.setattr(npz_files, "_MAX_MEMBERS", 2)
    assert set(read_npz(npz(a=1.0, b=2.0))) == {"a", "b"}
    with pytest.raises(ValueError, match=r"^it holds more than 2 arrays$"):
        read_npz(npz(a=1.0, b=2.0, c=3.0))


def test_how_much_an_archive_may_unpack_to(monkeypatch):
    stream = npz(a=np.ones(100))
    packed, unpacked = len(stream.getvalue()), 128 + 800
    monkeypatch.setattr(npz_files, "_MAX_RATIO", 0)
    monkeypatch.setattr(npz_files, "_ALLOWANCE", unpacked)
    assert read_npz(stream)["a"].sum() == 100
    monkeypatch.setattr(npz_files, "_ALLOWANCE", unpacked - 1)
    message = rf"its {packed:,} bytes unpack to 928, more than the 927 that weights of so many"
    with pytest.raises(ValueError, match=message):
        read_npz(stream)
    monkeypatch.setattr(npz_files, "_ALLOWANCE", 0)
    monkeypatch.setattr(npz_files, "_MAX_RATIO", math.ceil(unpacked / packed))
    assert read_npz(stream)["a"].sum() == 100


def change(stream, old, new):
    """Return the archive with some bytes replaced, wherever they stand."""
    assert old in stream.getvalue() and len(old) == len(new)
    return streams.BytesIO(stream.getvalue().replace(old, new))


def test_a_name_with_an_end_in_it():
    stream = change(npz(abc=1.0), b"abc.npy", b"a\0/c.np")
    with pytest.raises(ValueError, match=r"^it holds 'a', a name that leads elsewhere$"):
        read_npz(stream)


@pytest.mark.parametrize(("flag", "refused"), [(1, True), (2, False)])
def test_members_with_a_password(flag, refused):
    """Bit 1 says that a member is encrypted; bit 2 belongs to the packing."""
    stream = npz(a=1.0)
    with zipfile.ZipFile(stream) as file:
        file.infolist()[0].flag_bits |= flag
        if refused:
            with pytest.raises(ValueError, match=r"^'a' is encrypted$"):
                npz_files.members(file)
        else:
            assert set(npz_files.members(file)) == {"a"}


def test_a_version_of_the_format_that_is_not_known():
    stream = npz(a=1.0)
    with zipfile.ZipFile(stream) as file:
        content = bytearray(file.read("a.npy"))
    content[6:8] = 9, 0
    spoilt = streams.BytesIO()
    with zipfile.ZipFile(spoilt, "w") as file:
        file.writestr("a.npy", bytes(content))
    message = r"^'a' has the version \(9, 0\) of the format, not 1\.0 or 2\.0$"
    with pytest.raises(ValueError, match=message):
        read_npz(spoilt)


def test_several_texts_are_no_text():
    assert read_npz(npz(training=np.array("abc"))) == {"training": "abc"}
    with pytest.raises(ValueError, match=r"^'training' is not a string, but an array of <U1$"):
        read_npz(npz(training=np.array(["a", "b"])))


# ------------------------------------------------------------------------------- JSON in them


def test_the_length_of_json(monkeypatch, tmp_path):
    monkeypatch.setattr(io, "MAX_TEXT", 10)
    assert io._parse("[1, 2, 34]", tmp_path) == [1, 2, 34]
    assert io._to_text("training", [1, 2, 34]) == "[1, 2, 34]"
    message = r"^\[io\] 'training' must take at most 10 characters in a file, got 11\.$"
    with pytest.raises(io.FileFormatError, match=message):
        io._to_text("training", [1, 2, 345])
    with pytest.raises(io.FileFormatError, match=r"holds 11 characters of JSON, more than the 10"):
        io._parse("[1, 2, 345]", tmp_path)
    (tmp_path / "weights.json").write_text("[1, 2, 3, 4, 5, 6, 7]")
    with pytest.raises(io.FileFormatError, match=r"weights\.json' holds 11 characters of JSON"):
        io.read_layers_json(tmp_path / "weights.hdf5")  # and is not read to its end


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_lists_in_lists(opening, closing, monkeypatch, tmp_path):
    levels = len(opening.replace('"a":', ""))

    def nested(depth):
        return opening * (depth // levels) + "1" + closing * (depth // levels)

    monkeypatch.setattr(io, "_MAX_DEPTH", 6)
    assert io._parse(nested(6), tmp_path) is not None
    with pytest.raises(io.FileFormatError, match=r"broken JSON: it is nested more than 6 deep\.$"):
        io._parse(nested(8), tmp_path)
    assert io._parse("5", tmp_path) == 5


@pytest.mark.parametrize(
    ("name", "signature"),
    [("a.npz", b"PK\x03\x04"), ("a.NPZ", b"PK\x03\x04"), ("a.hdf5", b"\x89HDF"), ("a", b"\x89HDF")],
)
def test_the_name_decides_the_format(tmp_path, name, signature):
    io.write(tmp_path / name, io.ModelFile(None, {"x": np.ones(2)}))
    assert (tmp_path / name).read_bytes()[:4] == signature
    assert io.read(tmp_path / name).arrays["x"].tolist() == [1, 1]


def test_broken_json_names_the_file(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(npz(training=np.array("[1")).getvalue())
    with pytest.raises(io.FileFormatError, match=r"^\[io\] '.*model\.npz' holds broken JSON: "):
        io.read(path)


def test_an_error_without_a_word_is_named_by_its_kind(monkeypatch, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(npz(a=1.0).getvalue())

    def read(*arguments):
        raise KeyError

    monkeypatch.setattr(npz_files, "read", read)
    with pytest.raises(io.FileFormatError, match=r"truncated, or no model file: KeyError\.$"):
        io.read(path)


def test_what_json_cannot_write():
    message = (
        r"^\[io\] a configuration or a state must hold numbers, strings and lists, got complex 1j: "
        r"to_config\(\) must return values that JSON can store; get_state\(\) may "
        r"return arrays too\.$"
    )
    with pytest.raises(TypeError, match=message):
        io._json_value(1j)


# --------------------------------------------------------------------------- what fits a model


def test_the_report_of_what_was_loaded():
    own = {"a": np.zeros(2), "b": np.zeros(3), "c": np.zeros((2, 2))}
    loaded = {"a": np.ones(2), "c": np.ones(4), "d": np.ones(1), "e": np.ones(1)}
    message = (
        r"^\[io\] 'old\.npz' does not fit the model: missing: b; extra: d, e; wrong shape: "
        r"c \(4,\) for \(2, 2\)\.$"
    )
    with pytest.raises(ValueError, match=message):
        io.match_arrays(own, loaded, "old.npz")
    report = io.match_arrays(own, loaded, "old.npz", strict=False)
    assert (report.where, report.loaded) == ("old.npz", ["a"])
    assert report.skipped == {
        "b": "the file has no such array",
        "d": "the model has no such array",
        "e": "the model has no such array",
        "c": "its shape is (4,) in the file, (2, 2) in the model",
    }
    assert str(report).splitlines()[0] == "old.npz: 1 array loaded, 4 skipped"
    given = io.LoadReport("other")
    assert io.match_arrays(own, own, "old.npz", report=given) is given
    assert str(given).splitlines()[0] == "other: 3 arrays loaded, 0 skipped"


def test_too_little_memory_for_a_good_file_is_a_memory_error(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    nn.Model([nn.Dense(2, input_shape=(3,))], seed=0).save(path)

    def build(self, input_shape):
        raise MemoryError("Unable to allocate 275 MiB")

    monkeypatch.setattr(nn.Dense, "build", build)
    with pytest.raises(MemoryError, match=r"too little memory for '.*model\.npz': Unable"):
        nn.Model.load(path)
