"""CIFAR: both layouts give the same arrays, and no file can make the reader do anything else."""

import dataclasses
import importlib.util
import io
import os
import pickle
import random
import struct
import sys
import tarfile
import time
import warnings

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from conftest import ROOT

from nn import data
from nn.data.sets import cifar as cifar10
from nn.data.sets.pickles import read_pickle
from nn.files.model_file import FileFormatError

SHARED = ROOT.parent / "shared" / "data"


# ------------------------------------------------------- files as Python 2 wrote them


class Writer:
    """Writes what Python 2 pickled, with or without the numbers under which it keeps things."""

    def __init__(self, memo=True):
        self.memo, self.count = memo, 0

    def keep(self):
        if not self.memo:
            return b""
        self.count += 1
        number = self.count
        return b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<i", number)

    def string(self, value):
        short = len(value) < 256
        head = b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))
        return head + value + self.keep()

    def number(self, value):
        if 0 <= value < 256:
            return b"K" + bytes([value])
        if 0 <= value < 65536:
            return b"M" + struct.pack("<H", value)
        return b"J" + struct.pack("<i", value)

    def list(self, items):
        content = b"]" + self.keep()
        for start in range(0, len(items), 1000):  # a thousand at a time; one without a mark
            part = items[start : start + 1000]
            written = b"".join(
                self.string(item) if isinstance(item, bytes) else self.number(item) for item in part
            )
            content += written + b"a" if len(part) == 1 else b"(" + written + b"e"
        return content

    def array(self, array, columns_first=False):
        dtype = b"cnumpy\ndtype\n" + self.keep() + self.string(b"u1")
        dtype += b"K\x00K\x01\x87" + self.keep() + b"R" + self.keep()
        dtype += b"(K\x03" + self.string(b"|") + b"NNN" + self.number(-1) * 2 + b"K\x00tb"
        shape = b"".join(map(self.number, array.shape)) + b"\x86" + self.keep()
        content = self.string(array.tobytes("F" if columns_first else "C"))
        flag = b"\x88" if columns_first else b"\x89"
        return (
            *(b"cnumpy.core.multiarray\n_reconstruct\n", self.keep()),
            *(b"cnumpy\nndarray\n", self.keep(), b"K\x00\x85", self.keep()),
            *(self.string(b"b"), b"\x87", self.keep(), b"R", self.keep()),
            *(b"(K\x01", shape, dtype, flag, content, b"tb"),
        )

    def dict(self, values, **options):
        content = b"}" + self.keep() + b"("
        for key, value in values.items():
            content += self.string(key)
            if isinstance(value, bytes):
                content += self.string(value)
            elif isinstance(value, int):
                content += self.number(value)
            elif isinstance(value, list):
                content += self.list(value)
            else:
                content += b"".join(self.array(value, **options))
        return b"\x80\x02" + content + b"u."


def python_file(pixels, memo=True, columns_first=False, **labels):
    """Return a batch as bytes: values (n, 3072), and lists of labels by their names."""
    names = [f"image_s_{k:06d}.png".encode() for k in range(len(pixels))]
    values = {b"batch_label": b"training batch 1 of 5"}
    values |= {name.encode(): list(map(int, column)) for name, column in labels.items()}
    values |= {b"data": pixels, b"filenames": names}
    return Writer(memo).dict(values, columns_first=columns_first)


def unpickled(content):
    """Return what Python itself makes of a file; for files that the tests wrote."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the place of _reconstruct is an old one
        return pickle.loads(content, encoding="bytes")


@pytest.fixture
def small(monkeypatch):
    """CIFAR with batches of four images, and two to test."""
    ten, hundred = cifar10.CIFAR10, cifar10.CIFAR100
    ten = dataclasses.replace(ten, train=dict.fromkeys(ten.train, 4), test={"test_batch": 2})
    hundred = dataclasses.replace(hundred, train={"train": 20}, test={"test": 2})
    monkeypatch.setattr(cifar10, "CIFAR10", ten)
    monkeypatch.setattr(cifar10, "CIFAR100", hundred)


def write_cifar10(folder, rng):
    """Write both layouts; return pixels (n, 3072) and labels (n,) by the name of the batch."""
    python, binary = folder / "cifar-10-batches-py", folder / "cifar-10-batches-bin"
    python.mkdir()
    binary.mkdir()
    written = {}
    for k in range(6):
        name, n = (f"data_batch_{k + 1}", 4) if k < 5 else ("test_batch", 2)
        pixels = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
        labels = rng.integers(0, 10, n, dtype=np.uint8)
        rows = np.concatenate([labels[:, np.newaxis], pixels], axis=1)
        (binary / f"{name}.bin").write_bytes(rows.tobytes())
        options = {"memo": k % 2 == 0, "columns_first": k == 3}
        (python / name).write_bytes(python_file(pixels, labels=labels, **options))
        written[name] = pixels, labels
    return written


def write_cifar100(folder, rng):
    written = {}
    (folder / "cifar-100-python").mkdir()
    (folder / "cifar-100-binary").mkdir()
    for name, n in (("train", 20), ("test", 2)):
        pixels = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
        coarse, fine = (rng.integers(0, k, n, dtype=np.uint8) for k in (20, 100))
        rows = np.concatenate([coarse[:, np.newaxis], fine[:, np.newaxis], pixels], axis=1)
        (folder / "cifar-100-binary" / f"{name}.bin").write_bytes(rows.tobytes())
        content = python_file(pixels, fine_labels=fine, coarse_labels=coarse)
        (folder / "cifar-100-python" / name).write_bytes(content)
        written[name] = pixels, fine, coarse
    return written


def pack(folder, name):
    """Pack a folder into the archive of that name beside it, as the official ones are."""
    path = folder.parent / name
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(folder, folder.name)
        readme = tarfile.TarInfo(f"{folder.name}/readme.html")
        readme.size = 5
        archive.addfile(readme, io.BytesIO(b"<html"))
    return path


# ------------------------------------------------------------------------------- reading


def check_cifar10(got, written):
    train, test = got
    names = [f"data_batch_{k}" for k in range(1, 6)]
    for dataset, parts in ((train, names), (test, ["test_batch"])):
        pixels = np.concatenate([written[name][0] for name in parts])
        np.testing.assert_array_equal(dataset.x.reshape(len(pixels), 3072), pixels)
        np.testing.assert_array_equal(dataset.y, np.concatenate([written[n][1] for n in parts]))
        assert dataset.x.shape == (len(pixels), 3, 32, 32)
        assert dataset.x.dtype == np.uint8
        assert dataset.x.flags.c_contiguous
        assert dataset.y.dtype == np.int64
        assert dataset.class_names[0] == "airplane"
        assert dataset.class_names[6:] == ("frog", "horse", "ship", "truck")
        assert dataset.num_classes == 10


@pytest.mark.parametrize("layout", ["cifar-10-batches-bin", "cifar-10-batches-py"])
def test_both_layouts_give_what_was_written(small, tmp_path, rng, layout):
    written = write_cifar10(tmp_path, rng)
    check_cifar10(data.load_cifar10(tmp_path / layout), written)
    for other in {"cifar-10-batches-bin", "cifar-10-batches-py"} - {layout}:
        (tmp_path / other).rename(tmp_path / "hidden")
    check_cifar10(data.load_cifar10(tmp_path), written)
    check_cifar10(data.load_cifar10(str(tmp_path)), written)


def test_the_planes_are_red_green_and_blue_row_by_row(small, tmp_path, rng):
    written = write_cifar10(tmp_path, rng)
    train, _ = data.load_cifar10(tmp_path)
    pixels, _ = written["data_batch_2"]
    for channel, row, column in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (2, 31, 30)]:
        place = 1024 * channel + 32 * row + column
        assert train.x[4 + 3, channel, row, column] == pixels[3, place]


@pytest.mark.parametrize(
    ("folder", "archive"),
    [
        ("cifar-10-batches-bin", "cifar-10-binary.tar.gz"),
        ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    ],
)
def test_archives_are_read_without_unpacking_them(small, tmp_path, rng, folder, archive):
    written = write_cifar10(tmp_path, rng)
    (tmp_path / "beside").mkdir()
    path = pack(tmp_path / folder, archive).rename(tmp_path / "beside" / archive)
    check_cifar10(data.load_cifar10(tmp_path / "beside"), written)
    check_cifar10(data.load_cifar10(path), written)
    assert [file.name for file in (tmp_path / "beside").iterdir()] == [archive]


def test_a_whole_layout_is_taken_before_one_with_a_file_missing(small, tmp_path, rng):
    written = write_cifar10(tmp_path, rng)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_4.bin").unlink()
    check_cifar10(data.load_cifar10(tmp_path), written)


@pytest.mark.parametrize("layout", ["cifar-100-binary", "cifar-100-python"])
def test_cifar100(small, tmp_path, rng, layout):
    written = write_cifar100(tmp_path, rng)
    archive = pack(tmp_path / layout, f"{layout}.tar.gz")
    for place in (tmp_path, tmp_path / layout, archive):
        for labels, column, count in (("fine", 1, 100), ("coarse", 2, 20)):
            datasets = data.load_cifar100(place, labels)
            for dataset, part in zip(datasets, ("train", "test"), strict=True):
                n = len(written[part][0])
                np.testing.assert_array_equal(dataset.x.reshape(n, 3072), written[part][0])
                np.testing.assert_array_equal(dataset.y, written[part][column])
                assert dataset.num_classes == len(dataset.class_names) == count


def test_the_names_of_cifar100():
    fine, coarse = (cifar10._CIFAR100_LABELS[kind].class_names for kind in ("fine", "coarse"))
    assert (len(fine), len(coarse)) == (100, 20)
    assert list(fine) == sorted(set(fine))  # the labels are in the order of the alphabet
    assert list(coarse) == sorted(set(coarse))
    assert (fine[0], fine[53], fine[99]) == ("apple", "orange", "worm")
    assert (coarse[4], coarse[19]) == ("fruit_and_vegetables", "vehicles_2")


def test_cifar100_refuses_unknown_labels(tmp_path):
    with pytest.raises(ValueError, match=r"\[load_cifar100\] 'labels' .* did you mean 'coarse'\?"):
        data.load_cifar100(tmp_path, "course")


@pytest.mark.parametrize("layout", ["bin", "py"])
def test_sets_of_the_official_size(tmp_path, rng, layout):
    """All 60,000 images; the batches to train are one file under five names."""
    pixels = np.frombuffer(rng.bytes(10_000 * 3072), np.uint8).reshape(10_000, 3072)
    labels = rng.integers(0, 10, 10_000, dtype=np.uint8)
    if layout == "bin":
        content, ending = np.concatenate([labels[:, np.newaxis], pixels], axis=1).tobytes(), ".bin"
        assert len(content) == 30_730_000
    else:
        content, ending = python_file(pixels, labels=labels), ""
    first = tmp_path / f"test_batch{ending}"
    first.write_bytes(content)
    for k in range(1, 6):
        os.link(first, tmp_path / f"data_batch_{k}{ending}")
    train, test = data.load_cifar10(tmp_path)
    assert train.x.shape == (50_000, 3, 32, 32)
    for start in range(0, 50_000, 10_000):
        rows = slice(start, start + 10_000)
        assert np.array_equal(train.x[rows].reshape(10_000, 3072), pixels)
        assert np.array_equal(train.y[rows], labels)
    assert np.array_equal(test.x.reshape(10_000, 3072), pixels)
    assert np.array_equal(test.y, labels)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs CIFAR-10 in ../shared/data/cifar10")
def test_real_images(tmp_path, monkeypatch):
    pytest.importorskip("PIL")
    spec = importlib.util.spec_from_file_location("make_cifar10", SHARED / "make_cifar10.py")
    maker = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec.loader.exec_module(maker)
    with np.load(SHARED / "cifar10" / "cifar10_jpeg.npz") as archive:
        pixels, labels = maker.decode(archive, "test")
    for folder in ("cifar-10-batches-py", "cifar-10-batches-bin"):
        (tmp_path / folder).mkdir()
    maker.write(tmp_path, "data_batch_1", "training batch 1 of 5", pixels[::-1], labels[::-1])
    maker.write(tmp_path, "test_batch", "testing batch 1 of 1", pixels, labels)
    small = dataclasses.replace(cifar10.CIFAR10, train={"data_batch_1": 10_000})
    monkeypatch.setattr(cifar10, "CIFAR10", small)
    for layout in ("py", "bin"):
        train, test = data.load_cifar10(tmp_path / f"cifar-10-batches-{layout}")
        np.testing.assert_array_equal(test.x.reshape(10_000, 3072), pixels)
        np.testing.assert_array_equal(train.x, test.x[::-1])
        np.testing.assert_array_equal(train.y, test.y[::-1])
        assert np.bincount(test.y).tolist() == [1000] * 10
        means = [test.x[test.y == label, 2].mean() for label in (0, 6)]
        assert means[0] > 130 > 100 > means[1]  # the sky is bluer than a frog


# ------------------------------------------------------------------------ what is not right


def test_nothing_there_says_what_to_do(tmp_path):
    message = (
        r"\[load_cifar10\] '.*' does not hold CIFAR-10: download .*`python -m nn.data cifar10 "
        r"--dir DIR`.*cifar-10-batches-bin, cifar-10-batches-py or the archive"
    )
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=message):
            data.load_cifar10(path)
    with pytest.raises(FileNotFoundError, match=r"\[load_cifar100\] .* nn.data cifar100 "):
        data.load_cifar100(tmp_path)


def test_a_missing_batch_is_named(small, tmp_path, rng):
    write_cifar10(tmp_path, rng)
    (tmp_path / "cifar-10-batches-bin").rename(tmp_path / "hidden")
    (tmp_path / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(FileNotFoundError, match=r"'.*data_batch_4' does not exist"):
        data.load_cifar10(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 4 * 3073 - 1, 4 * 3073 + 1, 4 * 3073 + 3073])
def test_a_binary_file_of_another_size_is_refused(small, tmp_path, rng, size):
    write_cifar10(tmp_path, rng)
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    path.write_bytes(bytes(size))
    rule = "has more than 12,292 bytes" if size > 12_292 else f"12,292 bytes, .*got {size:,}:"
    with pytest.raises(FileFormatError, match=rf"\[load_cifar10\] '.*data_batch_3.bin' .*{rule}"):
        data.load_cifar10(tmp_path)


def batch(count=4, width=3072, label=1):
    values = {b"labels": [label] * count, b"data": np.zeros((count, width), np.uint8)}
    return Writer().dict(values)


WRONG_BATCHES = {
    "of five": (batch(5), r"array 'data' of shape \(4, 3072\), got shape \(5, 3072\)"),
    "of narrow images": (batch(width=3071), r"got shape \(4, 3071\)"),
    "without data": (Writer().dict({b"labels": [1] * 4}), "array 'data' .*got none"),
    "with data of text": (Writer().dict({b"labels": [1] * 4, b"data": b"x"}), "got none"),
    "without labels": (Writer().dict({b"data": np.zeros((4, 3072), np.uint8)}), "'labels' .*none"),
    "with label 10": (batch(label=10), "must hold labels from 0 to 9, got 10"),
    "with label -1": (batch(label=-1), "must hold labels from 0 to 9, got -1"),
    "with label 2**31 - 1": (batch(label=2**31 - 1), "from 0 to 9, got 2147483647"),
    "with labels of text": (batch(label=b"1"), "list 'labels' of 4 numbers, got 4 items"),
    "with three labels": (
        Writer().dict({b"labels": [1] * 3, b"data": np.zeros((4, 3072), np.uint8)}),
        "list 'labels' of 4 numbers, got 3 items",
    ),
    "too large": (batch() + bytes(20_000), "has more than 16,384 bytes"),
}


@pytest.mark.parametrize("kind", WRONG_BATCHES)
def test_a_wrong_batch_is_refused(small, tmp_path, rng, kind):
    content, message = WRONG_BATCHES[kind]
    write_cifar10(tmp_path, rng)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=rf"\[load_cifar10\] '.*data_batch_2' .*{message}"):
        data.load_cifar10(path.parent)


def test_labels_outside_are_refused_in_binary_too(small, tmp_path, rng):
    write_cifar10(tmp_path, rng)
    write_cifar100(tmp_path, rng)
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(bytes(3073) + b"\x0a" + bytes(3072))
    with pytest.raises(FileFormatError, match=r"test_batch.bin' .* from 0 to 9, got 10"):
        data.load_cifar10(tmp_path)
    path = tmp_path / "cifar-100-binary" / "test.bin"
    path.write_bytes(bytes(3074) + b"\x14\x63" + bytes(3072))
    assert data.load_cifar100(tmp_path, "fine")[1].y.tolist() == [0, 99]
    with pytest.raises(FileFormatError, match=r"test.bin' .* from 0 to 19, got 20"):
        data.load_cifar100(tmp_path, "coarse")


def test_archives_with_something_wrong_are_refused(small, tmp_path, rng):
    write_cifar10(tmp_path, rng)
    folder = (tmp_path / "cifar-10-batches-bin").rename(tmp_path / "elsewhere")
    folder = folder.rename(tmp_path / "cifar-10-batches-bin")
    (folder / "test_batch.bin").unlink()
    archive = pack(folder, "cifar-10-binary.tar.gz")
    with pytest.raises(FileFormatError, match=r"lacks 'cifar-10-batches-bin/test_batch.bin'"):
        data.load_cifar10(archive)
    (folder / "test_batch.bin").symlink_to("/etc/hostname")
    with pytest.raises(FileFormatError, match="is no plain file"):
        data.load_cifar10(pack(folder, "cifar-10-binary.tar.gz"))
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(FileFormatError, match=r"cifar-10-binary\.tar\.gz'"):
        data.load_cifar10(archive)


# ------------------------------------------------------------------------------- the pickle


@pytest.mark.parametrize("memo", [True, False])
@pytest.mark.parametrize("columns_first", [True, False])
def test_reads_what_python_reads(rng, memo, columns_first):
    pixels = rng.integers(0, 256, (1001, 3), dtype=np.uint8)
    labels = rng.integers(-(2**31), 2**31, 1001)
    content = python_file(pixels, memo, columns_first, labels=labels, other=[300, 70_000])
    got, expected = read_pickle(content, "batch"), unpickled(content)
    np.testing.assert_array_equal(got.pop(b"data"), expected.pop(b"data"))
    assert got == expected
    assert got[b"labels"] == labels.tolist()


def test_reads_a_meta_file():
    values = {b"num_cases_per_batch": 10_000, b"label_names": [b"airplane"], b"num_vis": 3072}
    assert read_pickle(Writer().dict(values), "meta") == values
    assert read_pickle(b"\x80\x02}U\x01aK\x05s.", "meta") == {b"a": 5}  # one item, without a mark
    assert read_pickle(b"\x80\x02}(U\x01aq\x01]q\x02h\x01aU\x01bh\x02u.", "meta") == {
        b"a": [b"a"],
        b"b": [b"a"],
    }


class Attack:
    """Pickled, it is a call of os.system."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def attacks(marker):
    """Return pickles that would make the file `marker`, each by another way."""
    command = f"touch {marker}".encode()
    text = b"U" + bytes([len(command)]) + command
    system = os.system.__module__.encode()  # posix or nt
    call = b"c" + system + b"\nsystem\n" + text + b"\x85R"
    named = b"X" + struct.pack("<I", len(system)) + system + b"X\x06\x00\x00\x00system"
    whole = {
        f"protocol {protocol}": pickle.dumps(Attack(command.decode()), protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    }
    inside = {
        "GLOBAL and REDUCE": call,
        "STACK_GLOBAL": named + b"\x93" + text + b"\x85R",
        "INST": b"(" + text + b"i" + system + b"\nsystem\n",
        "OBJ": b"(c" + system + b"\nsystem\n" + text + b"o",
        "eval": b"c__builtin__\neval\nU\x011\x85R",
        "a name below NumPy": b"cnumpy\ncore.multiarray.os.system\n" + text + b"\x85R",
        "another NumPy function": b"cnumpy\nload\n" + text + b"\x85R",
        "NumPy's runstring": b"cnumpy.testing._private.utils\nrunstring\n" + text + b"}\x86R",
        "NEWOBJ": b"cnumpy\nndarray\nK\x01\x85\x85\x81",
        "BUILD of a name": b"cnumpy\nndarray\n}U\x01aK\x01sb",
        "BUILD of a dict": b"}}U\x01aK\x01sb",
        "EXT1": b"\x82\x01",
        "PERSID": b"Pname\n",
        "BINPERSID": text + b"Q",
    }
    return whole, inside


def marked(tmp_path):
    return tmp_path / "marker"


@pytest.mark.skipif(os.name != "posix", reason="the attacks call a command of Unix")
def test_the_attacks_work_on_pickle_itself(tmp_path):
    """Else the next tests would show nothing."""
    whole, inside = attacks(marked(tmp_path))
    for content in (*whole.values(), b"\x80\x02" + inside["GLOBAL and REDUCE"] + b"."):
        pickle.loads(content)
        marked(tmp_path).unlink()
    for kind in ("STACK_GLOBAL", "INST", "OBJ"):
        pickle.loads(b"\x80\x02" + inside[kind] + b".", encoding="latin-1")
        marked(tmp_path).unlink()


@pytest.mark.parametrize("kind", attacks("")[0])
def test_a_pickle_that_calls_is_refused_and_nothing_runs(small, tmp_path, rng, kind):
    write_cifar10(tmp_path, rng)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(attacks(marked(tmp_path))[0][kind])
    with pytest.raises(FileFormatError, match=r"'.*data_batch_1' is not a batch of CIFAR"):
        data.load_cifar10(path.parent)
    assert not marked(tmp_path).exists()


@pytest.mark.parametrize("kind", attacks("")[1])
@pytest.mark.parametrize("place", ["alone", "as a value", "in a list", "before the rest"])
def test_a_call_inside_of_a_batch_is_refused_and_nothing_runs(tmp_path, kind, place):
    call = attacks(marked(tmp_path))[1][kind]
    rest = python_file(np.zeros((4, 3072), np.uint8), labels=[1] * 4)[2:]
    content = (
        b"\x80\x02"
        + {
            "alone": call + b".",
            "as a value": b"}(U\x06labels" + call + b"u.",
            "in a list": b"}(U\x06labels](" + call + b"eu.",
            "before the rest": call + b"0" + rest,
        }[place]
    )
    with pytest.raises(FileFormatError, match=r"\[read_pickle\] 'batch' .*nothing in it was run"):
        read_pickle(content, "batch")
    assert not marked(tmp_path).exists()


def test_the_message_names_what_was_found_and_where():
    with pytest.raises(FileFormatError, match=r"it names posix\.system, near byte 5\.$"):
        read_pickle(b"\x80\x02}(Ncposix\nsystem\n.", "batch")
    with pytest.raises(FileFormatError, match=r"the instruction STACK_GLOBAL, near byte 2\.$"):
        read_pickle(b"\x80\x02\x93.", "batch")
    with pytest.raises(FileFormatError, match=r"opcode b'\\xff' unknown, near byte 0\.$"):
        read_pickle(b"\x80\x02\xff.", "batch")


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
DTYPE = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
BROKEN = {
    "empty": (b"", "does not begin as a pickle"),
    "of a newer protocol": (b"\x80\x04}.", "does not begin as a pickle"),
    "a web page": (b"<html>", "does not begin as a pickle"),
    "without an end": (b"\x80\x02}", "exhausted before seeing STOP"),
    "cut in a string": (b"\x80\x02U\x05abc", "expected 5 bytes in a string1, but only 3 remain"),
    "cut in a name": (b"\x80\x02cnumpy", "no newline found"),
    "with a negative length": (b"\x80\x02T\xff\xff\xff\xff.", "byte count < 0: -1"),
    "with a length of 2 GB": (
        b"\x80\x02T\xff\xff\xff\x7f.",
        "expected 2147483647 bytes",
    ),
    "with more after it": (b"\x80\x02}.}", "goes on after its end"),
    "of a list": (b"\x80\x02].", "needs a dict"),
    "of nothing": (b"\x80\x02.", "does not contain exactly one dict"),
    "of two dicts": (b"\x80\x02}}.", "does not contain exactly one dict"),
    "with an open mark": (b"\x80\x02}(.", "does not contain exactly one dict"),
    "with an empty stack": (b"\x80\x02a.", "takes more from the stack"),
    "taking beneath a mark": (b"\x80\x02]K\x01(a.", "takes more from the stack"),
    "without a mark": (b"\x80\x02]e.", "needs a mark"),
    "with a mark too many": (b"\x80\x02((e.", "needs a list"),
    "with a key alone": (b"\x80\x02}(U\x01au.", "zip"),
    "with a number as key": (
        b"\x80\x02}K\x01K\x01s.",
        "keys other than strings",
    ),
    "with a dict in a dict": (b"\x80\x02}U\x01a}s.", "its value for b'a'"),
    "with a list in a list": (b"\x80\x02}U\x01a]]as.", "its value for b'a'"),
    "with a list in itself": (b"\x80\x02}U\x01a]q\x01h\x01as.", "its value for b'a'"),
    "with a name in a list": (b"\x80\x02}U\x01a]cnumpy\ndtype\nas.", "its value for b'a'"),
    "with a tuple": (b"\x80\x02}U\x01a]\x85s.", "its value for b'a'"),
    "with a tuple as key": (b"\x80\x02}N" + b"\x85" * 3 + b"Ns.", "keys other than strings"),
    "appending to a number": (b"\x80\x02K\x01K\x01a.", "needs a list"),
    "setting in a list": (b"\x80\x02]U\x01aK\x01s.", "needs a dict"),
    "asking for what it has not": (b"\x80\x02h\x07.", "asks for number 7"),
    "calling a string": (b"\x80\x02U\x01aK\x01\x85R.", "calls a function"),
    "calling for a subclass": (
        b"\x80\x02" + ARRAY.replace(b"ndarray", b"dtype", 1),
        "calls a function",
    ),
    "calling for objects": (b"\x80\x02" + DTYPE.replace(b"U\x02u1", b"U\x01O"), "calls a function"),
    "with the state of a number": (b"\x80\x02K\x01K\x03b.", "needs a Array"),
    "with an empty array": (b"\x80\x02}U\x01a" + ARRAY + b"s.", "its value for b'a'"),
    "with an array of a number": (b"\x80\x02" + ARRAY + b"K\x05b.", "something other than bytes"),
    "with a short array": (
        b"\x80\x02" + ARRAY + b"(K\x01K\x02K\x03\x86" + DTYPE + b"\x89U\x05aaaaatb.",
        r"an array of shape \(2, 3\) with 5 bytes",
    ),
    "with a negative shape": (
        b"\x80\x02"
        + ARRAY
        + b"(K\x01"
        + b"J\xff\xff\xff\xff" * 2
        + b"\x86"
        + DTYPE
        + b"\x89U\1atb.",
        "an array of another shape",
    ),
    "with an array of one axis": (
        b"\x80\x02" + ARRAY + b"(K\x01K\x01\x85" + DTYPE + b"\x89U\x01atb.",
        "an array of another shape",
    ),
    "endless": (b"\x80\x02" + b"N" * 1_000_001, "takes more than 1,000,000 steps"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_refuses_broken_pickles(kind):
    content, message = BROKEN[kind]
    with pytest.raises(FileFormatError, match=rf"\[read_pickle\] 'batch' .*{message}.*, near byte"):
        read_pickle(content, "batch")


def test_refuses_every_truncation():
    content = python_file(np.zeros((2, 5), np.uint8), labels=[1, 2])
    read_pickle(content, "batch")
    for length in range(len(content)):
        with pytest.raises(FileFormatError):
            pytest.fail(f"{length}: read {read_pickle(content[:length], 'batch')}")


CODES = b"}](KMJN\x88\x89UTqrhjaesut\x85\x86\x87cRb.\x00\x01\x02"
PARTS = [bytes([code]) for code in CODES] + [ARRAY, DTYPE, b"U\x01a", b"cnumpy\ndtype\n"]


@hypothesis.given(st.lists(st.sampled_from(PARTS), max_size=40))
def test_any_sequence_of_instructions_is_read_or_refused(parts):
    try:
        values = read_pickle(b"\x80\x02" + b"".join(parts), "batch")
    except FileFormatError:
        return
    assert type(values) is dict


def test_damaged_batches_are_read_or_refused():
    content = python_file(np.zeros((2, 5), np.uint8), labels=[1, 2])
    draw = random.Random(0)
    for _ in range(5000):
        damaged = bytearray(content)
        for _ in range(draw.randrange(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        try:
            values = read_pickle(bytes(damaged), "batch")
        except FileFormatError:
            continue
        for value in values.values():
            assert type(value) in (int, bytes, list, np.ndarray)


def test_the_largest_files_do_not_take_too_many_steps(rng):
    """CIFAR-100's has 50,000 images, with two labels and a file name each."""
    pixels = np.zeros((50_000, 1), np.uint8)
    labels = np.zeros(50_000, np.uint8)
    start = time.monotonic()
    content = python_file(pixels, fine_labels=labels, coarse_labels=labels)
    assert len(read_pickle(content, "train")[b"coarse_labels"]) == 50_000
    assert time.monotonic() - start < 10
