"""IDX files and MNIST: what is read is right, and what is damaged is refused by name."""

import gzip
import hashlib
import shutil
import struct
import tracemalloc

import hypothesis
import hypothesis.extra.numpy as st_np
import hypothesis.strategies as st
import numpy as np
import pytest
from conftest import FULL_MNIST, SAMPLE

from nn import data, io
from nn.data import read_idx, write_idx
from nn.data.sets import mnist, mnist_sample

DTYPES = [np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64]
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = mnist.MNIST.files

needs_full_mnist = pytest.mark.skipif(
    not FULL_MNIST.is_dir(), reason="needs the full MNIST in ../shared/data/mnist"
)


# ------------------------------------------------------------------------------------- IDX


@hypothesis.given(
    array=st.sampled_from(DTYPES).flatmap(
        lambda dtype: st_np.arrays(dtype, st_np.array_shapes(max_dims=4, max_side=5))
    ),
    suffix=st.sampled_from(["", ".gz"]),
)
def test_what_is_written_is_read(tmp_path_factory, array, suffix):
    path = tmp_path_factory.getbasetemp() / f"array{suffix}"
    write_idx(path, array)
    got = read_idx(path)
    assert got.dtype == array.dtype
    assert got.dtype.isnative
    assert got.flags.writeable
    np.testing.assert_array_equal(got, array)


def test_the_bytes_are_those_of_the_format(tmp_path):
    path = tmp_path / "numbers"
    write_idx(path, np.array([[1, 2, 3], [4, 5, -6]], dtype=np.int16))
    expected = struct.pack(">HBBII6h", 0, 0x0B, 2, 2, 3, 1, 2, 3, 4, 5, -6)
    assert path.read_bytes() == expected
    path.write_bytes(struct.pack(">HBBI2d", 0, 0x0E, 1, 2, 0.5, -1.25))
    assert read_idx(path).tolist() == [0.5, -1.25]


def test_gzip_is_told_by_content_and_written_reproducibly(tmp_path):
    array = np.arange(6, dtype=np.uint8)
    write_idx(tmp_path / "a.gz", array)
    write_idx(tmp_path / "b.gz", array)
    content = (tmp_path / "a.gz").read_bytes()
    assert content[:2] == b"\x1f\x8b"
    assert content[3:8] == bytes(5)  # neither a name nor a time
    assert content == (tmp_path / "b.gz").read_bytes()
    (tmp_path / "named-without").write_bytes(content)
    (tmp_path / "named-as.gz").write_bytes(gzip.decompress(content))
    for name in ("named-without", "named-as.gz"):
        assert read_idx(tmp_path / name).tolist() == array.tolist()


GOOD = struct.pack(">HBBI", 0, 8, 1, 4) + b"abcd"
BROKEN_CONTENT = {
    "empty": (b"", "does not begin as an IDX file"),
    "not IDX": (b"<html>404</html>", "does not begin as an IDX file"),
    "type": (b"\0\0\x0a\x01" + GOOD[4:], "does not begin as an IDX file"),
    "first bytes": (b"\0\1\x08\x01" + GOOD[4:], "does not begin as an IDX file"),
    "no axes": (b"\0\0\x08\x00" + b"a", "0 axes"),
    "many axes": (b"\0\0\x08\x28" + b"\0\0\0\1" * 40 + b"a", "header says 40 axes"),
    "header": (GOOD[:6], "ends inside its header"),
    "no elements": (struct.pack(">HBBII", 0, 8, 2, 0, 5), r"header says the shape \(0, 5\)"),
    "truncated": (GOOD[:-1], "it is truncated: .* takes 4 bytes, it has 3"),
    "oversized": (GOOD + b"e", "holds more than the 4 bytes"),
    "absurd": (
        struct.pack(">HBB4I", 0, 0x0E, 4, *[2**32 - 1] * 4) + b"abcd",
        "it is truncated",
    ),
}


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", BROKEN_CONTENT)
def test_refuses_damaged_content(tmp_path, kind, compress):
    content, message = BROKEN_CONTENT[kind]
    path = tmp_path / "some-file"
    path.write_bytes(compress(content))
    with pytest.raises(io.FileFormatError, match=rf"\[read_idx\] '.*some-file' .*{message}"):
        read_idx(path)


def test_refuses_damaged_gzip(tmp_path):
    path, whole = tmp_path / "some-file.gz", gzip.compress(GOOD, mtime=0)
    damaged = {
        "cut in the data": whole[:-12],
        "cut before the checksum": whole[:-8],
        "cut in the checksum": whole[:-2],
        "checksum": whole[:-8] + bytes(4) + whole[-4:],
        "length": whole[:-1] + b"\1",
        "data": whole[:12] + b"\xff\xff\xff" + whole[15:],
        "header only": whole[:5],
        "rubbish at the end": whole + b"rubbish",
    }
    path.write_bytes(whole)
    assert read_idx(path).tolist() == list(b"abcd")
    for what, content in damaged.items():
        path.write_bytes(content)
        with pytest.raises(io.FileFormatError, match="some-file"):
            pytest.fail(f"{what}: read {read_idx(path)}")


def test_never_unpacks_more_than_the_header_says(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(GOOD + bytes(50_000_000)))
    tracemalloc.start()
    with pytest.raises(io.FileFormatError, match="holds more than the 4 bytes"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6  # bytes


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, dtype=np.int64), "must have one of the dtypes uint8, .*, got int64"),
        (np.uint8(3), r"1 to 32 axes, none of length 0, got shape \(\)"),
        (np.zeros((3, 0), dtype=np.uint8), r"none of length 0, got shape \(3, 0\)"),
    ],
)
def test_refuses_to_write_what_the_format_cannot_hold(tmp_path, array, message):
    with pytest.raises(ValueError, match=message):
        write_idx(tmp_path / "array", array)
    assert not (tmp_path / "array").exists()


# ----------------------------------------------------------------------------------- MNIST


@pytest.fixture
def folder(tmp_path):
    """A folder with the sample under the names of the full set."""
    for name, sample_name in zip(mnist.MNIST.files, mnist_sample.SAMPLE_FILES, strict=True):
        shutil.copy(SAMPLE / sample_name, tmp_path / name)
    return tmp_path


def test_the_sample_is_whole_and_balanced(sample):
    for dataset, each in zip(sample, (400, 100), strict=True):
        assert dataset.x.shape == (10 * each, 1, 28, 28)
        assert dataset.x.dtype == np.uint8
        assert dataset.y.dtype == np.int64
        assert dataset.num_classes == 10
        assert np.bincount(dataset.y).tolist() == [each] * 10
        assert dataset.x.max() == 255
    images = {x.tobytes() for dataset in sample for x in dataset.x}
    assert len(images) == 5000


def test_the_sample_has_the_checksums_of_its_readme():
    readme = (SAMPLE / "README.md").read_text(encoding="utf-8")
    for name in mnist_sample.SAMPLE_FILES:
        packed = (SAMPLE / name).read_bytes()
        for shown, content in ((name, packed), (name[:-3], gzip.decompress(packed))):
            row = next(line for line in readme.splitlines() if f"`{shown}`" in line)
            assert hashlib.sha256(content).hexdigest() in row


def test_load_mnist_gz(folder, sample):
    for got, expected in zip(data.load_mnist_gz(folder), sample, strict=True):
        np.testing.assert_array_equal(got.x, expected.x)
        np.testing.assert_array_equal(got.y, expected.y)
        assert got.class_names == tuple("0123456789")


def test_load_mnist_reads_unpacked_files_too(folder, sample):
    for path in list(folder.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    train, test = data.load_mnist(folder, download=False)
    np.testing.assert_array_equal(train.x, sample[0].x)
    np.testing.assert_array_equal(test.y, sample[1].y)


@pytest.mark.parametrize("missing", mnist.MNIST.files)
def test_a_missing_part_says_what_to_do(folder, missing):
    (folder / missing).unlink()
    message = rf"{missing}' does not exist: .*python -m nn.data mnist --dir .*load_mnist_sample"
    with pytest.raises(FileNotFoundError, match=message):
        data.load_mnist_gz(folder)
    with pytest.raises(FileNotFoundError, match=message):
        data.load_mnist(folder, download=False)


def test_a_missing_sample_says_where_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"sample-.*load_mnist_sample\(\) without a path"):
        data.load_mnist_sample(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (TRAIN_IMAGES, np.zeros(4000, np.uint8), r"must hold images, .* the shape \(4000,\)"),
        (TRAIN_IMAGES, np.zeros((4000, 28, 27), np.uint8), r"must hold images, .*28, 27\)"),
        (TRAIN_IMAGES, np.zeros((4000, 28, 28), np.int8), "must hold images, .*got int8"),
        (TRAIN_IMAGES, np.zeros((3999, 28, 28), np.uint8), "for each of the 3999 images .*4000"),
        (TEST_IMAGES, np.zeros((4000, 28, 28), np.uint8), "for each of the 4000 images .*1000"),
        (TRAIN_LABELS, np.zeros((4000, 28, 28), np.uint8), r"must hold labels, .*28, 28\)"),
        (TRAIN_LABELS, np.zeros(4000, np.int32), "must hold labels, .*got int32"),
        (TEST_LABELS, np.full(1000, 10, np.uint8), "must hold labels from 0 to 9, got 10"),
    ],
)
def test_refuses_mislabelled_files(folder, name, array, message):
    write_idx(folder / name, array)
    with pytest.raises(io.FileFormatError, match=rf"\[load_mnist_gz\] .*{message}"):
        data.load_mnist_gz(folder)


def test_load_mnist_or_sample_prefers_the_full_set(folder):
    train, test, source = data.load_mnist_or_sample(folder, download=False)
    assert (len(train), len(test)) == (4000, 1000)
    assert source == f"MNIST, 4,000 + 1,000 digits (from '{folder}')"


def test_load_mnist_or_sample_falls_back_and_says_so(tmp_path):
    train, test, source = data.load_mnist_or_sample(tmp_path, download=False)
    assert (len(train), len(test)) == (4000, 1000)
    assert source.startswith("the sample of MNIST, 4,000 + 1,000 digits (no full set: ")


def test_a_damaged_full_set_is_an_error_and_never_the_sample(folder):
    (folder / TEST_LABELS).write_bytes(b"<html>")
    with pytest.raises(io.FileFormatError, match="t10k-labels"):
        data.load_mnist_or_sample(folder, download=False)


@needs_full_mnist
def test_the_real_mnist():
    train, test = data.load_mnist_gz(FULL_MNIST)
    assert train.x.shape == (60000, 1, 28, 28)
    assert test.x.shape == (10000, 1, 28, 28)
    assert train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.y[:5].tolist() == [7, 2, 1, 0, 4]
    sums = {
        TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
        TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
        TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
        TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
    }
    for name, md5 in sums.items():
        content = gzip.decompress((FULL_MNIST / name).read_bytes())
        assert hashlib.md5(content).hexdigest() == md5
        assert read_idx(FULL_MNIST / name).tobytes() == content[16 if "images" in name else 8 :]


@needs_full_mnist
def test_the_sample_is_from_the_training_set_as_its_readme_says(sample):
    train, test = data.load_mnist_gz(FULL_MNIST)
    known = {x.tobytes(): y for x, y in zip(train.x, train.y, strict=True)}
    tested = {x.tobytes() for x in test.x}
    for dataset in sample:
        for x, y in zip(dataset.x, dataset.y, strict=True):
            assert known[x.tobytes()] == y
            assert x.tobytes() not in tested
