"""Fashion-MNIST, KMNIST and EMNIST: each from small files of its own names and peculiarities."""

import gzip
import string

import numpy as np
import pytest

from nn import data, io
from nn.data import write_idx
from nn.data.sets import emnist, mnist

MNIST_LIKE = [
    *("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    *("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
]
SETS = [(data.load_fashion_mnist, "fashion"), (data.load_kmnist, "kmnist")]
CLASSES = {"balanced": 47, "bymerge": 47, "byclass": 62, "letters": 26, "digits": 10, "mnist": 10}


def emnist_names(split):
    return [
        f"emnist-{split}-{part}-{kind}-ubyte.gz"
        for part in ("train", "test")
        for kind in ("images-idx3", "labels-idx1")
    ]


def write_set(folder, names, rng, labels):
    """Write four files: random images with these labels, and the first three of them to test."""
    labels = np.array(labels, np.uint8)
    images = rng.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
    arrays = (images, labels, images[:3], labels[:3])
    for name, array in zip(names, arrays, strict=True):
        write_idx(folder / name, array)
    return images


@pytest.mark.parametrize(("load", "command"), SETS)
def test_sets_like_mnist(tmp_path, rng, load, command):
    images = write_set(tmp_path, MNIST_LIKE, rng, [9, 0, 3, 7])
    train, test = load(tmp_path)
    np.testing.assert_array_equal(train.x, images[:, np.newaxis])
    np.testing.assert_array_equal(test.x, images[:3, np.newaxis])
    assert train.x.dtype == np.uint8
    assert train.y.dtype == np.int64
    assert train.y.tolist() == [9, 0, 3, 7]
    assert test.y.tolist() == [9, 0, 3]
    assert train.num_classes == test.num_classes == 10


def test_unpacked_files_are_read_too(tmp_path, rng):
    write_set(tmp_path, MNIST_LIKE, rng, [1, 2, 3])
    packed = data.load_kmnist(tmp_path)[0]
    for path in list(tmp_path.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    np.testing.assert_array_equal(data.load_kmnist(tmp_path)[0].x, packed.x)


def test_class_names(tmp_path, rng):
    write_set(tmp_path, MNIST_LIKE, rng, [9, 0, 3])
    fashion, kmnist = data.load_fashion_mnist(tmp_path)[0], data.load_kmnist(tmp_path)[1]
    assert fashion.class_names[0] == "T-shirt/top"
    assert fashion.class_names[7:] == ("Sneaker", "Bag", "Ankle boot")
    assert kmnist.class_names == ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


@pytest.mark.parametrize("split", CLASSES)
def test_emnist(tmp_path, rng, split):
    first, count = (1 if split == "letters" else 0), CLASSES[split]
    stored = np.arange(first, first + count)
    images = write_set(tmp_path, emnist_names(split), rng, stored)
    train, test = data.load_emnist(tmp_path, split)
    assert train.x.shape == (count, 1, 28, 28)
    assert test.x.shape == (3, 1, 28, 28)
    for row in (0, 5, 27):  # rows and columns are exchanged in the files
        np.testing.assert_array_equal(train.x[:, 0, row, :], images[:, :, row])
        np.testing.assert_array_equal(test.x[:, 0, row, :], images[:3, :, row])
    assert train.x.flags.c_contiguous
    assert train.y.tolist() == list(range(count))
    assert len(train.class_names) == count


def test_emnist_names_its_characters(tmp_path, rng):
    known = {split: "".join(names) for split, names in emnist.CLASSES.items()}
    both = string.digits + string.ascii_uppercase
    assert known == {
        "balanced": both + "abdefghnqrt",
        "bymerge": both + "abdefghnqrt",
        "byclass": both + string.ascii_lowercase,
        "letters": string.ascii_uppercase,
        "digits": string.digits,
        "mnist": string.digits,
    }
    write_set(tmp_path, emnist_names("letters"), rng, [1, 26, 2])
    train, _ = data.load_emnist(tmp_path, "letters")
    assert [train.class_names[label] for label in train.y] == ["A", "Z", "B"]
    write_set(tmp_path, emnist_names("balanced"), rng, [0, 10, 46])
    train, _ = data.load_emnist(tmp_path)
    assert [train.class_names[label] for label in train.y] == ["0", "A", "t"]


@pytest.mark.parametrize(("split", "wrong"), [("letters", 0), ("letters", 27), ("balanced", 47)])
def test_emnist_refuses_labels_outside_of_the_split(tmp_path, rng, split, wrong):
    write_set(tmp_path, emnist_names(split), rng, [1, 2, wrong])
    message = rf"\[load_emnist\] '.*train-labels.*' must hold labels from . to \d+, got {wrong}"
    with pytest.raises(io.FileFormatError, match=message):
        data.load_emnist(tmp_path, split)


def test_emnist_refuses_an_unknown_split(tmp_path):
    with pytest.raises(ValueError, match=r"\[load_emnist\] 'split' .* did you mean 'letters'\?"):
        data.load_emnist(tmp_path, "letter")


@pytest.mark.parametrize("missing", MNIST_LIKE)
@pytest.mark.parametrize(("load", "command"), SETS)
def test_a_missing_part_says_what_to_do(tmp_path, rng, load, command, missing):
    write_set(tmp_path, MNIST_LIKE, rng, [1, 2, 3])
    (tmp_path / missing).unlink()
    message = rf"\[{load.__name__}\] '.*{missing}' does not exist: .*nn.data {command} --dir "
    with pytest.raises(FileNotFoundError, match=message):
        load(tmp_path)


def test_missing_emnist_says_where_it_is_from(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"emnist-digits-train-images.*gzip\.zip.*nist"):
        data.load_emnist(tmp_path, "digits")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (MNIST_LIKE[0], np.zeros((3, 28, 27), np.uint8), "must hold images"),
        (MNIST_LIKE[0], np.zeros((4, 28, 28), np.uint8), r", got 3\.$"),
        (MNIST_LIKE[1], np.zeros(3, np.int16), "must hold labels, .*got int16"),
        (MNIST_LIKE[3], np.full(3, 10, np.uint8), "must hold labels from 0 to 9, got 10"),
        (MNIST_LIKE[3], b"<html>", "does not begin as an IDX file does"),
    ],
)
def test_refuses_what_is_damaged_or_something_else(tmp_path, rng, name, content, message):
    write_set(tmp_path, MNIST_LIKE, rng, [1, 2, 3])
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        write_idx(tmp_path / name, content)
    with pytest.raises(io.FileFormatError, match=rf"'.*{name}'.*{message}"):
        data.load_fashion_mnist(tmp_path)


def test_the_official_sums_and_mirrors_are_known():
    for known in (mnist.FASHION_MNIST, mnist.KMNIST):
        assert list(known.files) == MNIST_LIKE
        assert all(len(bytes.fromhex(md5)) == 16 for md5 in known.files.values())
        assert all(mirror.startswith("http") for mirror in known.mirrors)
    assert mnist.FASHION_MNIST.files[MNIST_LIKE[0]] == "8d4fb7e6c68d591d4c3dfef9ec88bf0d"
    assert mnist.KMNIST.files[MNIST_LIKE[0]] == "bdb82020997e1d708af4cf47b453dcf7"
