"""Files made to do harm, each refused for what is wrong with it, before any of it is followed."""

import io
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT

import nn
from nn import layers
from nn.data import read_idx, write_idx
from nn.files import model_file
from nn.files.model_file import FileFormatError

FIXTURES = Path(__file__).parent / "fixtures"
SHAPE = (2, 3)  # of the kernel of the one layer


def model():
    return nn.Model([nn.Dense(3, input_shape=(2,))], seed=0)


@pytest.fixture
def path(tmp_path):
    """A valid HDF5 file with one dense layer, to be spoilt."""
    model().save(tmp_path / "model.hdf5")
    return tmp_path / "model.hdf5"


def refused(path, reason, memory=20e6):
    """Load a file, which must fail for this reason, and take little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=reason) as caught:
            nn.Model.load(path)
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith("[")
    return caught.value


def put(path, **datasets):
    """Replace things in an HDF5 file; None takes them away."""
    with h5py.File(path, "a") as file:
        for name, value in datasets.items():
            if name in file:
                del file[name]
            if value is not None:
                file[name] = value


def describe(path, **fields):
    """Change fields of the architecture in an HDF5 file."""
    with h5py.File(path, "r") as file:
        architecture = json.loads(file["architecture"].asstr()[()])
    put(path, architecture=json.dumps(architecture | fields))


def dense(units=3, **config):
    return {"class": "Dense", "config": {"units": units, **config}}


# --------------------------------------------------------------- what HDF5 can point to


@pytest.mark.parametrize("target", ["/etc/passwd", "there.hdf5"])
def test_an_external_link(path, target):
    model().save(path.with_name("there.hdf5"))
    put(path, **{"0_Dense_W": h5py.ExternalLink(target, "/0_Dense_W")})
    refused(path, "'0_Dense_W' is an external link")


def test_a_soft_link(path):
    put(path, extra=h5py.SoftLink("/0_Dense_W"))
    refused(path, "'extra' is a soft link")
    put(path, extra=h5py.SoftLink("/nowhere"))
    refused(path, "'extra' is a soft link")


def external(path, source):
    """Let the kernel lie in another file, as raw bytes."""
    put(path, **{"0_Dense_W": None})
    with h5py.File(path, "a") as file:
        file.create_dataset("0_Dense_W", SHAPE, "f4", external=[(str(source), 0, 24)])


def virtual(path, source):
    """Let the kernel be a part of an array in another file."""
    put(path, **{"0_Dense_W": None})
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[...] = h5py.VirtualSource(str(source), "x", SHAPE)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("0_Dense_W", layout)


@pytest.mark.parametrize(
    ("make", "reason"),
    [(external, "is stored in another file"), (virtual, "is a virtual dataset")],
)
def test_an_array_in_another_file(path, make, reason):
    source = path.with_name("secret.hdf5")
    with h5py.File(source, "w") as file:
        file["x"] = np.ones(SHAPE, "f4")
    make(path, source)
    with h5py.File(path) as file:  # the library itself reads the other file
        assert file["0_Dense_W"][()].shape == SHAPE
    refused(path, f"'0_Dense_W' {reason}")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("make", [external, virtual])
def test_the_other_file_is_never_opened(path, make):
    """HDF5 is written in C, so Python cannot tell what it opens; the system can."""
    source = path.with_name("secret.hdf5")
    with h5py.File(source, "w") as file:
        file["x"] = np.ones(SHAPE, "f4")
    make(path, source)
    code = "import nn, sys\ntry: nn.Model.load(sys.argv[1])\nexcept ValueError: print('refused')"
    trace = path.with_name("trace")
    command = ["strace", "-f", "-e", "trace=open,openat,openat2,creat", "-o", str(trace)]
    ran = subprocess.run(
        [*command, sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "refused" in ran.stdout
    assert "model.hdf5" in trace.read_text()
    assert "secret.hdf5" not in trace.read_text()


def test_groups_that_contain_each_other(path):
    with h5py.File(path, "a") as file:
        file.create_group("a/b")
        file["a/b/c"] = file["a"]
    refused(path, "'a/b/c' is there under another name too")
    put(path, a=None)
    with h5py.File(path, "a") as file:
        file["again"] = file["0_Dense_W"]
    refused(path, "is there under another name too")


def test_groups_without_end(path):
    with h5py.File(path, "a") as file:
        file.create_group("/".join("x" * 200))
    refused(path, "groups are nested more than 128 deep")


# ---------------------------------------------------------- what HDF5 can make of numbers


@pytest.mark.parametrize("layout", ["late", "early"])
def test_an_array_of_ten_terabytes(path, layout):
    put(path, **{"0_Dense_W": None})
    with h5py.File(path, "a") as file:
        file.create_dataset("0_Dense_W", (10**7, 250_000), "f4")
    if layout == "late":  # HDF5 reads zeros where nothing is stored
        refused(path, r"of shape \(10000000, 250000\) takes 10,000,000,000,000 bytes, .* has 0")
        return
    put(path, **{"0_Dense_W": np.ones(SHAPE, "f4")})
    content = path.read_bytes()
    dims = np.array(SHAPE, "<u8").tobytes()
    assert dims in content
    path.write_bytes(content.replace(dims, np.array([10**7, 250_000], "<u8").tobytes()))
    refused(path, "damaged or truncated")  # here HDF5 itself sees it, in some of its versions


def test_arrays_that_share_their_bytes(path):
    """A hundred arrays of 100 kB, all at the same place: 10 MB out of a file of 200 kB."""
    with h5py.File(path, "a") as file:
        for k in range(100):
            file.create_dataset(f"x{k}", data=np.full(150, k, "f4"))
        big = file.create_dataset("big", data=np.ones(25_000, "f4"))
        start, places = big.id.get_offset(), [file[f"x{k}"].id.get_offset() for k in range(100)]
    content = path.read_bytes()
    new = np.array([start, 100_000], "<u8").tobytes()
    for place in places:
        content = content.replace(np.array([place, 600], "<u8").tobytes(), new)
    content = content.replace(np.array([150], "<u8").tobytes(), np.array([25_000], "<u8").tobytes())
    path.write_bytes(content)
    refused(path, r"its arrays would take 10,\d{3},\d{3} bytes, the file has 2\d\d,\d{3}")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"compression": "gzip"}, r"is packed with the filter 1 \(deflate\)"),
        ({"compression": "lzf"}, r"is packed with the filter 32000 \(lzf\)"),
        ({"shuffle": True}, "is packed with the filter 2"),
        ({"fletcher32": True}, "is packed with the filter 3"),
        ({"scaleoffset": 2}, "is packed with the filter 6"),
        ({"chunks": (1, 3)}, "is stored in chunks"),
        ({"maxshape": (None, 3)}, "is stored in chunks"),
    ],
)
def test_packed_arrays(path, options, reason):
    put(path, **{"0_Dense_W": None})
    with h5py.File(path, "a") as file:
        file.create_dataset("0_Dense_W", data=np.ones(SHAPE, "f4"), **options)
    refused(path, f"'0_Dense_W' {reason}")


def with_hole(path, size):
    """Let a file end in a hole, which reads as zeros; skip where there are no such files."""
    with path.open("ab") as file:
        file.truncate(file.tell() + size)
    if not hasattr(os, "SEEK_DATA") or path.stat().st_blocks * 512 > size / 2:
        pytest.skip("the file system has no sparse files")


def test_a_sparse_file(path):
    """A contiguous array of 4 GB, of which nothing is on the disk."""
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    made.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "a") as file:
        space = h5py.h5s.create_simple((10**9,))
        h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, made)
    if path.stat().st_blocks * 512 > 10**6:
        pytest.skip("the file system has no sparse files")
    refused(path, r"of its 4,000,\d{3},\d{3} bytes only [\d,]{1,6} are on the disk", memory=1e6)
    with pytest.raises(FileFormatError, match="the rest are holes"):
        model().load_weights(path)
    made = model()
    made.compile("mse")
    with pytest.raises(FileFormatError, match="the rest are holes"):
        made.fit(np.ones((1, 2)), np.ones((1, 3)), resume=path)


def test_sparse_data(tmp_path):
    write_idx(tmp_path / "x.idx", np.zeros((2, 30_000_000), np.uint8))
    header = (tmp_path / "x.idx").read_bytes()[:12]
    (tmp_path / "x.idx").write_bytes(header)
    with_hole(tmp_path / "x.idx", 60_000_000)
    with pytest.raises(FileFormatError, match="on the disk, the rest are holes"):
        read_idx(tmp_path / "x.idx")
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    with_hole(tmp_path / "x.npz", 60_000_000)
    with pytest.raises(FileFormatError, match="on the disk, the rest are holes"):
        nn.data.load_npz(tmp_path / "x.npz")


def test_a_file_of_zeros_that_is_whole_is_read(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((10**6, 3)))
    assert nn.data.load_npz(tmp_path / "x.npz").x.shape == (10**6, 3)


def test_a_compression_bomb(path):
    put(path, **{"0_Dense_W": None})
    with h5py.File(path, "a") as file:
        file.create_dataset(
            "0_Dense_W", (10**4, 10**4), "f4", chunks=(1000, 10**4), compression="gzip"
        )
        file["0_Dense_W"][:1000] = 0
    assert path.stat().st_size < 200_000
    refused(path, "is packed with the filter 1")


def test_a_filter_that_nobody_knows(path):
    put(path, **{"0_Dense_W": None})
    with h5py.File(path, "a") as file:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk(SHAPE)
        made.set_filter(40_000, h5py.h5z.FLAG_OPTIONAL, (1, 2))
        space = h5py.h5s.create_simple(SHAPE)
        h5py.h5d.create(file.id, b"0_Dense_W", h5py.h5t.IEEE_F32LE, space, made)
    refused(path, "is packed with the filter 40000")


ODD_TYPES = {
    "references": h5py.ref_dtype,
    "regions": h5py.regionref_dtype,
    "compound": np.dtype([("re", "f4"), ("im", "f4")]),
    "lists": h5py.vlen_dtype(np.float32),
    "texts": h5py.string_dtype(),
    "bytes": np.dtype("S8"),
    "opaque": h5py.opaque_dtype(np.dtype("datetime64[s]")),
    "array": np.dtype(("f4", (3,))),
    "enum": h5py.enum_dtype({"A": 0, "B": 1}, basetype="i4"),
    "complex": np.dtype("c8"),
    "long double": np.dtype("longdouble"),
}


@pytest.mark.parametrize("kind", ODD_TYPES)
def test_what_is_no_number(path, kind):
    put(path, **{"0_Dense_W": None})
    with h5py.File(path, "a") as file:
        file.create_dataset("0_Dense_W", SHAPE, ODD_TYPES[kind])
    refused(path, "'0_Dense_W' is not an array of numbers")


def test_a_number_of_an_odd_size(path):
    put(path, **{"0_Dense_W": None})
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(30, 22, 8, 0, 22)
    with h5py.File(path, "a") as file:
        h5py.h5d.create(file.id, b"0_Dense_W", kind, h5py.h5s.create_simple(SHAPE))
    refused(path, "'0_Dense_W' is not an array of numbers")


def test_no_array_at_all(path):
    put(path, **{"0_Dense_W": h5py.Empty("f4")})
    refused(path, "but empty")


def test_committed_datatypes(path):
    put(path, kind=np.dtype("f4"))
    refused(path, "'kind' is neither a group nor an array, but a datatype")
    put(path, **{"0_Dense_W": None})
    with h5py.File(path, "a") as file:
        file.create_dataset("0_Dense_W", SHAPE, dtype=file["kind"])
        del file["kind"]
    refused(path, "'0_Dense_W' is not an array of numbers")


def test_numbers_of_the_other_order_of_bytes_and_other_sizes_are_read(path):
    want = np.arange(6).reshape(SHAPE)
    for kind in (">f4", ">f8", "<f2", ">i2", "u1", "<i8"):
        put(path, **{"0_Dense_W": want.astype(kind)})
        loaded = nn.Model.load(path).layers[0].params["W"]
        np.testing.assert_array_equal(loaded, want)
        assert loaded.dtype == np.float32


def test_not_a_number_may_stand_in_a_file(path):
    put(path, **{"0_Dense_W": np.full(SHAPE, np.nan, "f4")})
    assert np.isnan(nn.Model.load(path).layers[0].params["W"]).all()


# --------------------------------------------------------------------- around the objects


@pytest.mark.parametrize("where", ["/", "0_Dense_W", "group"])
def test_a_huge_attribute(path, where):
    with h5py.File(path, "a", libver="latest") as file:
        if where == "group":  # of the newer kind, which may have larger ones
            file.create_group(where).attrs["note"] = np.zeros(10**6, "f8")
        else:
            for k in range(20):
                file[where].attrs[f"note{k}"] = np.zeros(60_000, "i1")
    refused(path, rf"'{where}' has a header with attributes of [\d,]{{9}} bytes")


def test_a_small_attribute_does_not_matter(path):
    with h5py.File(path, "a") as file:
        file.attrs["note"] = "made on a Sunday"
        file["0_Dense_W"].attrs["unit"] = np.zeros(100)
    nn.Model.load(path)


def test_junk_before_and_after(path):
    whole = path.read_bytes()
    path.write_bytes(whole + b"junk" * 100)  # it is of no file's concern
    nn.Model.load(path)
    path.write_bytes(b"junk" * 128 + whole)
    refused(path, "is neither an HDF5 nor an NPZ nor a safetensors file")


@pytest.mark.parametrize("value", [np.zeros(3), ["a", "b"], h5py.Empty("S1")], ids=str)
def test_an_architecture_that_is_no_text(path, value):
    put(path, architecture=value)
    refused(path, "'architecture' is not a string")


@pytest.fixture
def old(tmp_path):
    """A copy of a file of version 0.1, whose strings are of variable length, in a heap."""
    return shutil.copy(FIXTURES / "v0.1" / "trained.hdf5", tmp_path / "old.hdf5")


def test_a_heap_of_strings_in_which_hdf5_loops_forever(old):
    """The free room behind the strings says that it is 0 bytes long; HDF5's reader never ends."""
    content = bytearray(old.read_bytes())
    free = content.find(b"GCOL") + 16
    while content[free]:  # number 0 is the free room
        free += 16 + -(-int.from_bytes(content[free + 8 : free + 16], "little") // 8) * 8
    content[free + 8 : free + 16] = bytes(8)
    old.write_bytes(content)
    code = "import nn, sys; print(nn.Model.load(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(old)], check=True, timeout=60)


@pytest.mark.parametrize("where", ["length", "address", "number", "signature", "text"])
def test_a_string_that_is_not_where_it_should_be(old, where):
    with h5py.File(old) as file:
        offset = file["architecture"].id.get_offset()
        heap = int.from_bytes(old.read_bytes()[offset + 4 : offset + 12], "little")
    content = bytearray(old.read_bytes())
    changed = {"length": offset, "address": offset + 4, "number": offset + 12}
    changed |= {"signature": heap, "text": heap + 24}
    content[changed[where] : changed[where] + 4] = b"\xf0\xff\xff\x7f"
    old.write_bytes(content)
    refused(old, "is damaged or truncated, or no model file")


def test_a_string_that_was_never_written(path):
    put(path, architecture=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("architecture", (), h5py.string_dtype())
    refused(path, "is damaged or truncated, or no model file")


def test_every_truncation(path, tmp_path):
    big = nn.Model([nn.Dense(70, input_shape=(30,)), nn.ReLU(), nn.Dense(70), nn.Dense(3)])
    big.compile("cce")
    for name in ("model.hdf5", "model.npz"):
        big.save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        assert len(whole) > 25_000
        for size in range(0, len(whole), 1000):
            (tmp_path / "cut").write_bytes(whole[:size])
            with pytest.raises(FileFormatError, match=r"\[io\] '.*cut'"):
                nn.Model.load(tmp_path / "cut")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "model.hdf5")
    refused(tmp_path / "model.hdf5", "is not a regular file")
    with pytest.raises(IsADirectoryError):
        nn.Model.load(tmp_path)


# ------------------------------------------------------------------- what an architecture says


@pytest.mark.parametrize("name", ["os.system", "nn.layers.Dense", "Layer", "Model", "../Dense"])
def test_classes_are_known_or_nothing(path, name):
    describe(path, layers=[{"class": name, "config": {"units": 3}}])
    refused(path, r"\[Model\] 'class' must be one of")


def chain(depth, innermost):
    """Return text of layers inside layers."""
    head = '{"class": "Sequential", "config": {"layers": [' * depth
    return head + innermost + "]}}" * depth


@pytest.mark.parametrize("depth", [101, 133, 200, 10_000])
def test_layers_nested_too_deeply(path, depth):
    text = chain(depth, '{"class": "ReLU"}')
    put(path, architecture='{"layers": [' + text + "]}")
    refused(path, "nested more than|broken JSON")


def test_brackets_without_end(path):
    put(path, architecture='{"layers": ' + "[" * 10**6)
    refused(path, "broken JSON")


def test_json_without_end(path, monkeypatch):
    monkeypatch.setattr(nn.io, "MAX_TEXT", 5000)
    nn.Model.load(path)
    describe(path, name="x" * 5000)
    refused(path, r"holds 5,\d{3} characters of JSON, more than the 5,000")
    with pytest.raises(ValueError, match=r"\[io\] 'architecture' must take at most 5,000"):
        nn.Model([nn.Dense(1, input_shape=(1,), name="x" * 5000)]).save(path)


def test_more_layers_than_any_model_has(path):
    describe(path, layers=[{"class": "ReLU"}] * 10**5)
    refused(path, r"\[Model\] 'layers' must not be more than 10,000 in all", memory=40e6)
    pair = {"class": "Sequential", "config": {"layers": [{"class": "ReLU"}] * 2000}}
    describe(path, layers=[pair] * 10)
    refused(path, r"\[Model\] 'layers' must not be more than 10,000 in all")


HUGE = {
    "units": [dense(10**12, input_shape=[2])],
    "features": [dense(1, input_shape=[10**12])],
    "both": [dense(10**6, input_shape=[10**6])],
    "filters": [{"class": "Conv2D", "config": {"filters": 10**12, "input_shape": [1, 8, 8]}}],
    "kernel": [
        {
            "class": "Conv2D",
            "config": {"filters": 1, "kernel_size": 10**6, "input_shape": [1, 10**6, 10**6]},
        }
    ],
    "depthwise": [
        {
            "class": "DepthwiseConv2D",
            "config": {"depth_multiplier": 10**12, "input_shape": [1, 8, 8]},
        }
    ],
    "flattened": [{"class": "Flatten", "config": {"input_shape": [1, 10**6, 10**6]}}, dense(1)],
    "batch norm": [{"class": "BatchNorm", "config": {"input_shape": [10**12]}}],
    "layer norm": [{"class": "LayerNorm", "config": {"input_shape": [1, 10**6, 10**6]}}],
    "group norm": [{"class": "GroupNorm", "config": {"groups": 1, "input_shape": [10**12]}}],
    "standardize": [{"class": "Standardize", "config": {"input_shape": [10**12]}}],
    "weight norm": [
        {"class": "WeightNorm", "config": {"layer": dense(10**12), "input_shape": [3]}}
    ],
    "reshaped": [
        {"class": "Reshape", "config": {"target_shape": [-1], "input_shape": [10**6] * 3}},
        {"class": "BatchNorm", "config": {}},
    ],
    "enlarged": [
        {"class": "UpSample2D", "config": {"size": 10**6, "input_shape": [1, 8, 8]}},
        {"class": "Flatten"},
        {"class": "LayerNorm"},
    ],
    "projection": [
        {
            "class": "Residual",
            "config": {
                "layers": [
                    {"class": "Flatten"},
                    {"class": "Reshape", "config": {"target_shape": [2 * 10**6]}},
                ],
                "shortcut": [{"class": "Flatten"}, dense(2 * 10**6)],
                "input_shape": [2, 10**6, 1],
            },
        }
    ],
    "many": [dense(1000, input_shape=[1000]), *[dense(1000)] * 200],
}


@pytest.mark.parametrize("what", HUGE)
def test_layers_that_ask_for_terabytes(path, what):
    config = {"name": None, "dtype": "float32", "layers": HUGE[what], "input_shape": None}
    put(path, architecture=json.dumps(config))
    refused(path, r"\[\w+\] needs \d+ numbers, more than the \d+ there can be")


def test_the_two_file_layout_is_bound_to_its_file_too(tmp_path):
    model().save_weights(tmp_path / "weights.hdf5")
    beside = tmp_path / "weights.json"
    beside.write_text(json.dumps([dense(10**12)]))
    loaded = nn.Model.load(tmp_path / "weights.hdf5")  # nobody knows the input's shape yet
    with pytest.raises(FileFormatError, match=r"\[Dense\] needs 3000000000000 numbers"):
        loaded.predict(np.ones((1, 2), "f4"))
    beside.write_text(json.dumps([dense(10**12, input_shape=[2])]))
    refused(tmp_path / "weights.hdf5", r"\[Dense\] needs 3000000000000 numbers")
    beside.write_text("[" + chain(10_000, "") + "]")
    refused(tmp_path / "weights.hdf5", "holds broken JSON")
    with beside.open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(FileFormatError, match="more than the 16,777,216 that a model takes"):
        nn.Model.load(tmp_path / "weights.hdf5")


def test_a_layer_of_the_users_that_is_sent_a_sample(path, monkeypatch):
    class Same(nn.Layer):
        def forward(self, x, training=False):
            return x

    monkeypatch.setitem(layers.NAME2LAYER, "Same", Same)
    describe(path, layers=[{"class": "Same"}], input_shape=[None, 1, 10**6, 10**6])
    refused(path, r"\[Same\] needs 1000000000000 numbers")


def test_a_projection_is_found_at_once(path):
    """The stride that brings 10**12 rows to 5*10**11 is not looked for one by one."""
    block = {
        "layers": [{"class": "MaxPool2D", "config": {"pool_size": [2, 1]}}],
        "input_shape": [1, 10**12, 1],
    }
    describe(path, layers=[{"class": "Residual", "config": block}], input_shape=None)
    refused(path, "does not fit the model")


def test_a_history_that_is_filled_up_without_end(tmp_path):
    trained = model()
    trained.compile("mse")
    trained.save(tmp_path / "model.hdf5")
    with h5py.File(tmp_path / "model.hdf5", "a") as file:
        saved = json.loads(file["training"].asstr()[()])
        saved["history"] = {"loss": [0] * 10**4, **{f"x{k}": [] for k in range(10**4)}}
        del file["training"]
        file["training"] = json.dumps(saved)
    refused(tmp_path / "model.hdf5", "'history' has 10,001 figures in 10,000 epochs")


# ------------------------------------------------------------------------------------- NPZ


def npy(value):
    stream = io.BytesIO()
    np.save(stream, value)
    return stream.getvalue()


def archive(path, members, method=zipfile.ZIP_STORED):
    """Write a ZIP file of these (name, content), after a valid architecture."""
    text = json.dumps({"layers": [dense()], "input_shape": [None, 2], "dtype": "float32"})
    valid = [("architecture.npy", npy(text))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that come twice
        with zipfile.ZipFile(path, "w", method) as file:
            for name, content in [*valid, *members]:
                file.writestr(name, content)


KERNEL, BIAS = npy(np.ones(SHAPE, "f4")), npy(np.ones(3, "f4"))
GOOD = [("0_Dense_W.npy", KERNEL), ("0_Dense_b.npy", BIAS)]


class Mine:
    def __reduce__(self):
        return pytest.fail, ("the file was unpickled",)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("../0_Dense_W.npy", KERNEL)], "a name that leads elsewhere"),
        ([("a/../../b.npy", KERNEL)], "a name that leads elsewhere"),
        ([("/etc/0_Dense_W.npy", KERNEL)], "a name that leads elsewhere"),
        ([("..\\x.npy", KERNEL)], "a name that leads elsewhere"),
        ([("C:\\x.npy", KERNEL)], "a name that leads elsewhere"),
        ([GOOD[0]], "it holds '0_Dense_W' twice"),
        ([("run.py", b"print()")], "'run.py', which is not an array"),
        ([("x.npy", npy(np.array([Mine()])))], "'x' must hold real numbers, got the dtype object"),
        ([("x.npy", npy(np.ones(3, [("a", "f4")])))], "'x' must hold real numbers"),
        ([("x.npy", npy("text"))], "'x' must hold real numbers, got the dtype <U4"),
        ([("x.npy", npy(np.ones(2, "longdouble")))], "'x' must hold real numbers"),
        ([("training.npy", npy(np.ones(3)))], "'training' is not a string"),
        ([("x.npy", KERNEL.replace(b"(2, 3)", b"(9**9)"))], "."),
        ([("x.npy", KERNEL.replace(b"(2, 3)", b"(2, 9)"))], "'x' must take 72 bytes"),
        ([("x.npy", KERNEL[:-1])], "'x' must take 24 bytes"),
    ],
)
def test_spoilt_npz(tmp_path, members, reason):
    archive(tmp_path / "model.npz", GOOD)
    nn.Model.load(tmp_path / "model.npz")
    archive(tmp_path / "model.npz", [*GOOD, *members])
    refused(tmp_path / "model.npz", reason)


def test_a_damaged_npz_header_opens_no_file_named_string(tmp_path, monkeypatch):
    """NumPy tokenizes such a header, whose SyntaxError has text of a file named '<string>'."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "<string>").write_text("another file\n")
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,".ljust(117) + b"\n"
    member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(12)
    with zipfile.ZipFile("model.npz", "w") as file:
        file.writestr("0_Dense_W.npy", member)
    opened = []
    watching = [True]  # a hook cannot be removed
    sys.addaudithook(lambda e, a: watching and e == "open" and opened.append(str(a[0])))
    with pytest.raises(ValueError, match="is damaged or truncated"):
        nn.Model.load("model.npz")
    watching.clear()
    assert set(opened) == {"model.npz"}


def test_packed_npz(tmp_path):
    archive(tmp_path / "model.npz", GOOD, zipfile.ZIP_DEFLATED)
    nn.Model.load(tmp_path / "model.npz")
    archive(tmp_path / "model.npz", GOOD, zipfile.ZIP_LZMA)
    refused(tmp_path / "model.npz", "is compressed by method 14")


def test_an_npz_bomb(tmp_path):
    bomb = [("x.npy", npy(np.zeros(10**7, "f4")))]
    archive(tmp_path / "model.npz", [*GOOD, *bomb], zipfile.ZIP_DEFLATED)
    size = (tmp_path / "model.npz").stat().st_size
    assert size < 50_000
    refused(tmp_path / "model.npz", rf"its {size:,} bytes unpack to 40,00\d,\d{{3}}, more than")


def with_packed_size(path, size):
    """Let an archive say that its last member takes so many bytes in the file."""
    content = bytearray(path.read_bytes())
    record = content.rindex(b"PK\x01\x02")
    content[record + 20 : record + 24] = size.to_bytes(4, "little")
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ("npz", "keras"))
def test_a_member_larger_than_its_archive(tmp_path, kind):
    """`zipfile` would ask for as much memory as it says, here 4 GB."""
    path = tmp_path / f"model.{kind}"
    if kind == "npz":
        archive(path, GOOD, zipfile.ZIP_DEFLATED)
    else:
        nn.Model([nn.Dense(3, input_shape=(2,))], seed=0).save(path)
    nn.Model.load(path)
    with_packed_size(path, 2**32 - 2)
    refused(path, "has 4,294,967,294 bytes, more than the file")


def test_an_npz_whose_members_lie_on_each_other(tmp_path):
    """Two hundred names for the same bytes in the archive."""
    path = tmp_path / "model.npz"
    archive(path, [("x.npy", npy(np.zeros(10**5, "f4")))])
    with zipfile.ZipFile(path, "a") as file:
        info = file.getinfo("x.npy")
        for k in range(200):
            other = zipfile.ZipInfo(f"x{k:03d}.npy")
            for name in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(other, name, getattr(info, name))
            file.filelist.append(other)
        file._didModify = True
    assert path.stat().st_size < 500_000
    refused(path, "unpack to 80,|damaged")


# ------------------------------------------------------------------------------- other files


def test_an_idx_bomb(tmp_path):
    write_idx(tmp_path / "x.gz", np.zeros((1000, 10_000), np.uint8))
    assert (tmp_path / "x.gz").stat().st_size < 20_000
    assert read_idx(tmp_path / "x.gz", max_bytes=10**7).shape == (1000, 10_000)
    with pytest.raises(FileFormatError, match=r"\[read_idx\] .* more than 9,999,999 bytes"):
        read_idx(tmp_path / "x.gz", max_bytes=10**7 - 1)
    with pytest.raises(ValueError, match=r"\[read_idx\] 'max_bytes' must be a positive integer"):
        read_idx(tmp_path / "x.gz", max_bytes=0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_three_hundred_mutations():
    """A slice of `fuzz_files.py`, which does any number of them."""
    script = str(ROOT / "tests" / "fuzz_files.py")
    ran = subprocess.run(
        [sys.executable, script, "--mutations", "300"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "300 mutations from 0 on, 0 faults" in ran.stdout


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_list_beside_the_weights_is_read_as_utf_8(encoding, tmp_path):
    listed = [{"class": "Dense", "config": {"units": 2, "input_shape": [3], "name": "dünn"}}]
    nn.Model([layers.layer_from_config(listed[0])], seed=0).save_weights(tmp_path / "weights.hdf5")
    (tmp_path / "weights.json").write_text(
        json.dumps(listed, ensure_ascii=False), encoding=encoding
    )
    assert nn.Model.load(tmp_path / "weights.hdf5").layers[0].name == "dünn"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-be"])
def test_no_other_encoding_is_looked_for(encoding, tmp_path):
    """Python would import a module for it, which opens a file."""
    listed = [{"class": "Dense", "config": {"units": 2, "input_shape": [3]}}]
    nn.Model([layers.layer_from_config(listed[0])], seed=0).save_weights(tmp_path / "weights.hdf5")
    (tmp_path / "weights.json").write_text(json.dumps(listed), encoding=encoding)
    with pytest.raises(FileFormatError, match=r"weights\.json' holds broken JSON"):
        nn.Model.load(tmp_path / "weights.hdf5")


# ---------------------------------------------------------- every field, replaced in every way

WRONG = (None, 1, -1, 2.5, 1e400, np.nan, "x", "", [], {}, True, [1], [[]], {"a": 1}, 10**30)
MISSING, EXTRA = object(), object()


def fields_below(value, path=()):
    """Yield the path of a value read from JSON, and of all that is in it."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from fields_below(inner, (*path, key))


def replaced(value, path, new):
    """Return a copy with another value at a path, without it, or with one more of its kind."""
    *outer, last = path
    value = json.loads(json.dumps(value))
    holder = value
    for key in outer:
        holder = holder[key]
    if new is MISSING:
        del holder[last]
    elif new is EXTRA and isinstance(holder, dict):
        holder["another"] = 1
    elif new is EXTRA:
        holder.append(holder[last])
    else:
        holder[last] = new
    return value


def trained_within_an_epoch(path):
    """Return what a file holds that is saved in the second epoch of a training."""

    class Saves(nn.callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            if self.model.epoch == 1 and batch == 1:
                self.model.save(path)

    fit(watched(), callbacks=[*watchers(), Saves()])
    return model_file.read(path)


def watched():
    made = nn.Model([nn.Dense(3, input_shape=(2,)), nn.BatchNorm()], seed=0, name="watched")
    made.compile("cce", "adam", metrics=["acc", "f1"], ema_decay=0.9, clip_norm=1.0)
    return made


def watchers():
    return [nn.callbacks.EarlyStopping("loss"), nn.callbacks.ReduceLROnPlateau("loss")]


def fit(made, **more):
    x = np.random.default_rng(0).random((8, 2), np.float32)
    data = nn.data.Dataset(x, np.arange(8) % 3, class_names=("a", "b", "c"))
    return made.fit(data, **{"epochs": 2, "batch_size": 4, "verbose": 0, "num_threads": 0, **more})


@pytest.mark.slow
@pytest.mark.parametrize("part", ["architecture", "training"])
def test_every_field_is_checked_when_a_file_is_read(part, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # which takes most of the time
    content = trained_within_an_epoch(tmp_path / "valid.npz")
    path, valid, refusals = tmp_path / "changed.npz", getattr(content, part), 0
    places = [p for p in fields_below(valid) if p and "generators" not in p[:1] + p[:-2]]
    for place in places:
        for new in (*WRONG, MISSING, EXTRA):
            setattr(content, part, replaced(valid, place, new))
            model_file.write(path, content)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a loss or an optimizer of the user's
                try:
                    loaded = nn.Model.load(path)
                except ValueError as error:
                    assert str(error).startswith("["), (place, new, error)
                    refusals += 1
                else:
                    loaded.summary()
                    if loaded.built:
                        assert loaded.predict(np.ones((1, 2), "f4")).shape == (1, 3)
                        loaded.save(tmp_path / "again.npz")
    assert refusals > {"architecture": 300, "training": 700}[part]


KINDS = {  # what no number may be, what no count may be, what no flag may be
    "number": (None, "x", [], {}, True),
    "count": (None, "x", [], {}, True, -1, 2.5, 1e400, np.nan, 10**30),
    "flag": (None, "x", [], {}, 1, 0.0),
}
NUMBERS_OF = {
    ("epoch",): "count",
    ("split_seed",): "count",
    ("schedule",): "flag",
    ("history", "loss", 0): "number",
    ("accumulation", "batches"): "count",
    ("generators", 0, "uinteger"): "count",
    ("within_epoch", "samples"): "count",
    ("within_epoch", "total"): "number",
    ("within_epoch", "order", "has_uint32"): "count",
    ("within_epoch", "metrics", "acc", "right"): "count",
    ("within_epoch", "metrics", "acc", "elementwise"): "flag",
    ("within_epoch", "metrics", "f1", "binary"): "flag",
    ("callbacks", 0, "state", "best"): "number",
    ("callbacks", 0, "state", "wait"): "count",
    ("callbacks", 1, "state", "cooldown"): "count",
}


@pytest.mark.parametrize("place", NUMBERS_OF, ids=lambda place: ".".join(map(str, place)))
def test_a_state_of_another_kind_changes_nothing_in_the_model(place, tmp_path):
    content = trained_within_an_epoch(tmp_path / "valid.npz")
    valid, path = content.training, tmp_path / "changed.npz"
    for new in KINDS[NUMBERS_OF[place]]:
        content.training = replaced(valid, place, new)
        model_file.write(path, content)
        other = watched()
        before = {name: array.copy() for name, array in other.get_arrays().items()}
        with pytest.raises(FileFormatError, match=rf"{place[-1]}\b"):
            fit(other, callbacks=watchers(), resume=path)
        after = other.get_arrays()
        assert all(np.array_equal(before[name], after[name]) for name in before)
        assert other.epoch == 0
        assert other.class_names is None
        assert other.optimizer.iterations == 0


ARRAYS = {
    "negative": lambda a: -np.ones_like(a),
    "halves": lambda a: np.full(a.shape, 2.5),
    "flags": lambda a: np.ones(a.shape, bool),
    "NaN": lambda a: np.full(a.shape, np.nan),
}


def refused_to_resume(content, key, path):
    model_file.write(path, content)
    other = watched()
    with pytest.raises(ValueError, match=rf"^\[.*{key.rpartition('/')[2]}"):
        fit(other, callbacks=watchers(), resume=path)
    assert other.epoch == 0
    assert other.optimizer.iterations == 0


@pytest.mark.parametrize("key", ["iterations", "ema_steps", "metric/1/counts"])
@pytest.mark.parametrize("what", ARRAYS)
def test_counts_in_arrays_are_checked(key, what, tmp_path):
    content = trained_within_an_epoch(tmp_path / "valid.npz")
    content.optimizer_arrays[key] = ARRAYS[what](content.optimizer_arrays[key])
    refused_to_resume(content, key, tmp_path / "changed.npz")


@pytest.mark.parametrize("key", ["iterations", "metric/1/counts"])
def test_counts_that_are_missing(key, tmp_path):
    content = trained_within_an_epoch(tmp_path / "valid.npz")
    del content.optimizer_arrays[key]
    refused_to_resume(content, key, tmp_path / "changed.npz")
    content = model_file.read(tmp_path / "valid.npz")
    del content.training["within_epoch"]["metrics"]["acc"]["right"]
    refused_to_resume(content, "right", tmp_path / "changed.npz")
