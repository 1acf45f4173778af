"""NPZ files as data: what NumPy and Keras write, and what is refused."""

import io
import struct
import zipfile

import numpy as np
import pytest

from nn.checks import FileFormatError
from nn.data import Dataset, load_npz


@pytest.fixture
def images(rng):
    """103 small images, each different, with labels of three classes."""
    x = rng.integers(0, 256, (103, 1, 4, 5), dtype=np.uint8)
    return Dataset(x, np.arange(103) % 3)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_x_and_y(tmp_path, images, save):
    save(tmp_path / "set.npz", x=images.x, y=images.y, notes=np.array("from the attic"))
    dataset = load_npz(tmp_path / "set.npz")
    np.testing.assert_array_equal(dataset.x, images.x)
    np.testing.assert_array_equal(dataset.y, images.y)
    assert dataset.x.dtype == np.uint8
    save(tmp_path / "set.npz", x=np.asfortranarray(images.x[..., 0]))
    dataset = load_npz(str(tmp_path / "set.npz"))
    np.testing.assert_array_equal(dataset.x, images.x[..., 0])
    assert dataset.y is None


def test_npz_as_keras_has_it(tmp_path, rng):
    x, x_test = (rng.integers(0, 256, (n, 5, 5), dtype=np.uint8) for n in (6, 4))
    np.savez(
        tmp_path / "set.npz", x_train=x, y_train=np.arange(6), x_test=x_test, y_test=np.ones(4)
    )
    train, test = load_npz(tmp_path / "set.npz")
    np.testing.assert_array_equal(train.x, x)
    np.testing.assert_array_equal(train.y, np.arange(6))
    np.testing.assert_array_equal(test.x, x_test)
    np.testing.assert_array_equal(test.y, np.ones(4))


def member(array, **changes):
    """Return an NPY file as bytes, with parts of its header replaced."""
    stream = io.BytesIO()
    np.save(stream, array)
    data = stream.getvalue()
    for old, new in changes.items():
        assert old.encode() in data
        data = data.replace(old.encode(), new.encode().ljust(len(old)))
    return data


def write_zip(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)


class Mine:
    def __reduce__(self):
        return pytest.fail, ("the file was unpickled",)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.ones(3)}, r"must hold the arrays x and y, or x_train, .* got images\."),
        ({}, r"must hold the arrays x and y, .* got none\."),
        ({"y": np.ones(3)}, "must hold the arrays x and y"),
        ({"x_train": np.ones(3), "y_train": np.ones(3)}, "got x_train, y_train"),
        ({"x": np.ones(3), "x_train": np.ones(3)}, "must hold the arrays"),
        ({"x": np.array([Mine()])}, "'x' must hold real numbers, got the dtype object"),
        ({"x": np.array(["a"])}, "'x' must hold real numbers, got the dtype <U1"),
        ({"x": np.ones(3, dtype=[("a", int)])}, "'x' must hold real numbers"),
        ({"x": np.ones(3), "y": np.ones(3, dtype=complex)}, "'y' must hold real numbers"),
    ],
)
def test_npz_of_something_else(tmp_path, arrays, message):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(FileFormatError, match=rf"\[load_npz\] '.*set\.npz': .*{message}"):
        load_npz(tmp_path / "set.npz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "magic string"),
        (b"hello", "magic string"),
        (member(np.ones(3))[:-1], r"'x' must take 24 bytes by its shape \(3,\), which it does not"),
        (member(np.ones(3)) + b"!", "'x' must take 24 bytes"),
        (member(np.ones(3), **{"(3,), ": "(9**9,)"}), "."),
        (member(np.ones(3000), **{"(3000,)": "(10**9)"}), "."),
        (member(np.ones(10**4), **{"(10000,)": "(999999)"}), "."),
        (member(np.ones((2, 3)), **{"(2, 3)": "(-2,-3)"}), "."),
        (member(np.ones(3)).replace(b"NUMPY\x01", b"NUMPY\x07"), "version"),
    ],
)
def test_npz_with_a_member_that_lies(tmp_path, data, message):
    write_zip(tmp_path / "set.npz", x=data)
    with pytest.raises(FileFormatError, match=rf"\[load_npz\] '.*set\.npz': .*{message}"):
        load_npz(tmp_path / "set.npz")


def test_npz_that_announces_exabytes_takes_no_memory(tmp_path):
    tracemalloc = pytest.importorskip("tracemalloc")
    header = io.BytesIO()
    shape = (10**6, 10**12)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    write_zip(tmp_path / "set.npz", x=header.getvalue() + bytes(1000))
    tracemalloc.start()
    with pytest.raises(FileFormatError, match="'x' must take 1000000000000000000 bytes"):
        load_npz(tmp_path / "set.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_npz_that_unpacks_to_too_much_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "set.npz", x=np.zeros(10**6), y=np.zeros(10**6))
    assert (tmp_path / "set.npz").stat().st_size < 20_000
    with pytest.raises(FileFormatError, match=r"unpacks to 16,000,256 bytes, more than the 10,000"):
        load_npz(tmp_path / "set.npz", max_bytes=10_000)
    assert len(load_npz(tmp_path / "set.npz", max_bytes=16_000_256)) == 10**6
    with pytest.raises(ValueError, match=r"\[load_npz\] 'max_bytes' must be a positive integer"):
        load_npz(tmp_path / "set.npz", max_bytes=0)


def test_npz_that_is_damaged_anywhere(tmp_path, rng):
    path = tmp_path / "set.npz"
    x = rng.integers(0, 256, (20, 30), dtype=np.uint8)
    np.savez_compressed(path, x=x)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 37):
        path.write_bytes(whole[:cut])
        with pytest.raises(FileFormatError):
            load_npz(path)
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            np.testing.assert_array_equal(load_npz(path).x, x)  # where the byte means nothing
        except FileFormatError as error:
            assert str(error).startswith("[load_npz] '")


def test_npz_whose_size_in_the_directory_is_wrong(tmp_path):
    """The directory of the archive says 128 + 80 bytes, as the header does, but 800 are there."""
    path = tmp_path / "set.npz"
    data = member(np.ones(100), **{"(100,), ": "(10,), "})
    write_zip(path, x=data)
    content = path.read_bytes()
    assert content.count(struct.pack("<I", len(data))) == 2
    path.write_bytes(content.replace(struct.pack("<I", len(data)), struct.pack("<I", 208)))
    with pytest.raises(FileFormatError):
        load_npz(path)


def test_npz_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_npz(tmp_path / "set.npz")


def test_npz_whose_arrays_make_no_dataset(tmp_path):
    np.savez(tmp_path / "set.npz", x=np.ones(3), y=np.ones(2))
    with pytest.raises(ValueError, match=r"\[Dataset\] 'y' must have as many rows as x"):
        load_npz(tmp_path / "set.npz")


@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_that_stays_in_its_file(order, tmp_path, rng):
    x, path = np.asarray(rng.random((40, 3, 5)), order=order), tmp_path / "set.npz"
    np.savez(path, a=np.zeros(7), x=x, y=np.arange(40) % 3)
    dataset = load_npz(path, mmap_mode="r", max_bytes=1000)  # of which x takes none
    assert isinstance(dataset.x, np.memmap) and not dataset.x.flags.writeable
    np.testing.assert_array_equal(dataset.x, x)
    np.testing.assert_array_equal(dataset.y, np.arange(40) % 3)
    np.savez(
        path, **{f"{a}_{b}": x if a == "x" else x[:, 0, 0] for a in "xy" for b in ("train", "test")}
    )
    for part in load_npz(path, mmap_mode="r"):
        assert isinstance(part.x, np.memmap) and np.array_equal(part.x, x)


def test_npz_that_cannot_be_mapped(tmp_path):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, x=np.zeros((4, 3)))
    with pytest.raises(FileFormatError, match="'x' is compressed and cannot be memory-mapped"):
        load_npz(path, mmap_mode="r")
    with pytest.raises(ValueError, match=r"\[load_npz\] 'mmap_mode' must be 'r' or None, got 'w'"):
        load_npz(path, mmap_mode="w")
    np.savez(path, x=np.array(["a", "b"]))
    with pytest.raises(FileFormatError, match="'x' must hold real numbers"):
        load_npz(path, mmap_mode="r")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 3)}
    )
    with zipfile.ZipFile(path, "w") as file:  # not compressed
        file.writestr("x.npy", header.getvalue() + bytes(1000))
    with pytest.raises(FileFormatError, match="'x' must take 24000000000 bytes"):
        load_npz(path, mmap_mode="r")
