"""Damage files in thousands of ways, load them, and see that nothing but a clear error comes of it.

    python tests/fuzz_files.py --mutations 20000

Valid files of every kind that nn reads are damaged, each mutation by a seed of its own: bits and
bytes of the file, or what it says (fields of the JSON, names, shapes and types of the arrays).
Each must load, or be refused with an error of nn's own, within 5 seconds of the processor's
time; without a crash, without more than 1 GB of memory, without opening another file, starting
a process or a connection. The loading is done by a second process, which a watchdog looks after.

What fails is printed with its number; `--first NUMBER --mutations 1 --keep FOLDER` repeats it and
keeps the file; `--only .pt` damages files of PyTorch alone. `test_hostile_files.py` runs a few
hundred of them.
"""

import argparse
import codecs
import collections
import contextlib
import copy
import dataclasses
import io
import json
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [
    str(ROOT),
    str(ROOT / "tests"),
    str(ROOT / "tests" / "data" / "sets"),
    str(ROOT / "tests" / "exchange"),
]

import fuzz_exchange  # noqa: E402

import nn  # noqa: E402
from nn.data import load_cifar10, load_npz, read_idx, write_idx  # noqa: E402
from nn.data.sets import cifar as cifar10  # noqa: E402

FIXTURES = ROOT / "tests" / "files" / "fixtures"
EXCHANGE = ROOT / "tests" / "exchange" / "fixtures"
SECONDS = 5  # of the processor's time, for a load
WATCHDOG = 120  # of the clock, after which the process is given up: the machine may be busy
MEMORY = 1 << 30
SEED = 20240


# ------------------------------------------------------------------------ the valid files


def model():
    """Return a small model of many kinds of layers."""
    layers = [
        nn.Standardize(0.5, 0.25, input_shape=(2, 4, 4)),
        nn.Residual([nn.Conv2D(3, 3, activation="relu"), nn.BatchNorm2D()]),
        nn.MaxPool2D(),
        nn.Flatten(),
        nn.WeightNorm(nn.Dense(4)),
        nn.LayerNorm(),
        nn.Dropout(0.2),
        nn.Dense(3, kernel_regularizer="l2"),
        nn.Softmax(),
    ]
    made = nn.Model(layers, seed=0, name="fuzzed")
    made.compile("cce", "adam", lr=0.01, ema_decay=0.9)
    return made


def samples():
    rng = np.random.default_rng(0)
    return rng.random((6, 2, 4, 4), dtype="float32"), np.arange(6) % 3


def make_valid(folder):
    """Write a valid file of each kind."""
    from test_cifar import write_cifar10

    rng = np.random.default_rng(0)
    trained = model()
    trained.fit(*samples(), epochs=2, verbose=0, num_threads=1)
    trained.save(folder / "model.hdf5")
    trained.save(folder / "model.npz")
    trained.save(folder / "model.safetensors")
    (folder / "weights.pt").write_bytes((EXCHANGE / "images.pt").read_bytes())
    (folder / "checkpoint.pt").write_bytes((EXCHANGE / "checkpoint.pt").read_bytes())
    (folder / "torch.safetensors").write_bytes((EXCHANGE / "images.safetensors").read_bytes())
    fuzz_exchange.make_valid(folder)
    (folder / "old.hdf5").write_bytes((FIXTURES / "v0.1" / "trained.hdf5").read_bytes())
    (folder / "two").mkdir()
    trained.save_weights(folder / "two" / "weights.hdf5")
    layers = [layer.to_config() for layer in trained.layers]
    (folder / "two" / "weights.json").write_text(json.dumps(layers))
    write_idx(folder / "labels.idx", rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    write_idx(folder / "labels.idx.gz", rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    np.savez_compressed(folder / "data.npz", x=rng.random((5, 3)), y=np.arange(5))
    (folder / "cifar").mkdir()
    ten = cifar10.CIFAR10
    cifar10.CIFAR10 = dataclasses.replace(
        ten, train=dict.fromkeys(ten.train, 4), test={"test_batch": 2}
    )
    write_cifar10(folder / "cifar", rng)


# -------------------------------------------------------------------------- the mutations

NUMBERS = [0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1]


def change_bytes(content, rng):
    """Return a file with bits, bytes, numbers or blocks of it changed."""
    data = bytearray(content)

    def place(room=1):
        return int(rng.integers(0, max(len(data) - room, 1)))

    for _ in range(int(rng.integers(1, 5))):
        way, size = rng.integers(0, 8), int(rng.integers(1, 64))
        at, other = place(), place()
        if way == 0:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif way == 1:
            data[at] = int(rng.integers(0, 256))
        elif way == 2:
            data[at : at + size] = bytes([int(rng.choice([0, 255, 65]))]) * size
        elif way == 3:
            del data[at if rng.random() < 0.3 else max(at, len(data) - size) :]
        elif way == 4:
            data[at:at] = rng.bytes(size)
        elif way == 5:
            data[at : at + size], data[other : other + size] = (
                data[other : other + size],
                data[at : at + size],
            )
        elif way == 6:
            data[at : at + size] = data[other : other + size]
        else:
            width = int(rng.choice([1, 2, 4, 8]))
            number = NUMBERS[int(rng.integers(0, len(NUMBERS)))] % 256**width
            data[at : at + width] = number.to_bytes(
                width, "little" if rng.random() < 0.8 else "big"
            )
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


VALUES = [
    None, True, 0, -1, 1, 2, 3.5, 1e308, float("nan"), float("inf"), 10**12, -(10**30), 10**400,
    "", "x", "relu", "Dense", "os.system", "__import__", "../../etc/passwd", "\0", "\ud800",
    [], [0], [-1], [1, 10**6, 10**6], [10**9] * 4, [None] * 3, [[[]]], {}, {"class": "Dense"},
    {"class": "Dense", "config": {"units": 10**12}}, {"class": "Sequential", "config": {}},
    {"class": "Residual", "config": {"layers": [{"class": "ReLU"}]}}, "a" * 10_000, [1] * 10_000,
]  # fmt: skip


def places(value, found=None):
    """Return every (container, key) inside a value read from JSON."""
    found = [] if found is None else found
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(entries):
        found.append((value, key))
        if isinstance(inner, dict | list):
            places(inner, found)
    return found


def change_json(text, rng):
    """Return JSON with some of its fields replaced, removed, renamed, exchanged or repeated."""
    value = json.loads(text)
    for _ in range(int(rng.integers(1, 4))):
        found = places(value)
        if not found:
            break
        (holder, key), (source, other) = (found[int(rng.integers(0, len(found)))] for _ in "ab")
        way = rng.integers(0, 6)
        if way <= 1:
            holder[key] = copy.deepcopy(VALUES[int(rng.integers(0, len(VALUES)))])
        elif way == 2:
            del holder[key]
        elif way == 3:
            holder[key] = copy.deepcopy(source[other])
        elif way == 4 and isinstance(holder, list):
            holder += copy.deepcopy(holder) * int(rng.integers(1, 4))
        elif way == 4:
            holder[str(VALUES[int(rng.integers(0, len(VALUES)))])[:50]] = holder.pop(key)
        elif isinstance(holder[key], int | float):
            holder[key] = NUMBERS[int(rng.integers(0, len(NUMBERS)))] * (-1) ** int(rng.integers(2))
    return json.dumps(value)


def odd_array(array, rng):
    """Return an array of another shape, type or content."""
    way = rng.integers(0, 8)
    if way == 0:
        return array.reshape(-1)
    if way == 1:
        return array[..., np.newaxis]
    if way == 2:
        kinds = ["f2", "f4", "f8", ">f4", "i1", "u8", "c8", "S3", "?", "longdouble"]
        with np.errstate(all="ignore"):
            return array.astype(kinds[int(rng.integers(0, len(kinds)))])
    if way == 3:
        return np.full_like(array, np.nan) if array.dtype.kind == "f" else array - 5
    if way == 4:
        return np.zeros((0, 3), "f4")
    if way == 5:
        return np.concatenate([array.ravel(), array.ravel()])
    return np.array(3.0) if way == 6 else array.T


def change_hdf5(content, rng, path):
    """Return an HDF5 file with arrays renamed, reshaped, removed, linked, packed or noted upon."""
    path.write_bytes(content)
    with h5py.File(path, "a") as file:
        names = []
        file.visititems(lambda name, item: names.append(name))
        for _ in range(int(rng.integers(1, 4))):
            name = str(rng.choice([name for name in names if name in file] or ["/"]))
            other = ["0_Dense_W", "optimizer/m/x", "a/b/c", "..", "training", "x" * 3000, "é"]
            new = other[int(rng.integers(0, len(other)))]
            try:
                _change_object(file, name, new, rng)
            except (ValueError, KeyError, OSError, TypeError, RuntimeError, MemoryError):
                continue  # h5py will not do that
    return path.read_bytes()


def _change_object(file, name, new, rng):
    item, way = file[name], rng.integers(0, 10)
    array = item[()] if isinstance(item, h5py.Dataset) else np.zeros(3)
    is_text = isinstance(array, bytes)
    if way == 0:
        del file[name]
    elif way == 1:
        file.move(name, new)
    elif way == 2:
        file[new] = h5py.SoftLink(name)
    elif way == 3:
        file[new] = h5py.ExternalLink("other.hdf5", name)
    elif way == 4:
        file[new] = item  # a second hard link
    elif way == 5:
        item.attrs["note"] = rng.bytes(int(rng.choice([3, 60_000])))
    elif way == 6 and not is_text:
        del file[name]
        file.create_dataset(name, data=array, chunks=True, maxshape=(None,) * array.ndim)
    elif way == 7 and not is_text:
        del file[name]
        file.create_dataset(name, shape=(10**7, 10**6), dtype="f4")
    elif way == 8:
        del file[name]
        kind = np.dtype([("a", "f4"), ("b", "i4")]) if rng.random() < 0.5 else h5py.ref_dtype
        file.create_dataset(name, shape=(3,), dtype=kind)
    else:
        del file[name]
        file[name] = "text" if is_text else odd_array(np.asarray(array), rng)


def change_hdf5_json(content, rng, path):
    """Return an HDF5 file with fields of one of its JSON strings changed."""
    path.write_bytes(content)
    with h5py.File(path, "a") as file:
        name = "architecture" if rng.random() < 0.6 else "training"
        text = change_json(file[name].asstr()[()], rng)
        del file[name]
        file[name] = text
    return path.read_bytes()


def change_npz(content, rng, path=None):
    """Return an NPZ file with members changed, but with sums that are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = [(info.filename, file.read(info)) for info in file.infolist()]
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, len(members)))
        name, data = members[at]
        way = rng.integers(0, 7)
        if way == 0:
            data = change_bytes(data[:128], rng) + data[128:]  # the header
        elif way == 1:
            data = change_bytes(data, rng)
        elif way == 2:
            names = ["../x.npy", "/x.npy", "a\\..\\x.npy", "C:x.npy", "x", ".npy", "training.npy"]
            name = names[int(rng.integers(0, len(names)))]
        elif way == 3:
            members.append((name, data))
        elif way == 4:
            data = data.replace(b"(", b"(9999,", 1)[: len(data)]
        elif way == 5:
            stream = io.BytesIO()
            np.save(stream, odd_array(np.zeros((2, 3), "f4"), rng))
            data = stream.getvalue()
        elif name in ("architecture.npy", "training.npy"):
            stream = io.BytesIO()
            with contextlib.suppress(ValueError, EOFError):  # changed before, it is no text
                text = str(np.load(io.BytesIO(data)))
                np.save(stream, np.array(change_json(text, rng)))
            data = stream.getvalue()
        members[at] = name, data
    stream = io.BytesIO()
    methods = [zipfile.ZIP_STORED] * 3 + [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that come twice
        with zipfile.ZipFile(stream, "w", methods[int(rng.integers(0, 5))]) as file:
            for name, data in members:
                file.writestr(name, data)
    return stream.getvalue()


def change_safetensors(content, rng):
    """Return a safetensors file with fields of its header, or of the JSON in it, changed."""
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    texts = header.get("__metadata__", {})
    if "architecture" in texts and rng.random() < 0.5:
        name = "architecture" if rng.random() < 0.6 else "training"
        texts[name] = change_json(texts[name], rng)
        text = json.dumps(header)
    else:
        text = change_json(json.dumps(header), rng)
    text = text.encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + data


OPCODES = b"()}]0123.NKMJXTUVcibRQqrhjtuseaoglGBC\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x93\x94"


def change_torch(content, rng):
    """Return a file of PyTorch with members changed, but with sums that are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = [(info.filename, file.read(info)) for info in file.infolist()]
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, len(members))) if rng.random() < 0.3 else 0  # data.pkl
        name, data = members[at]
        way, place = rng.integers(0, 7), int(rng.integers(0, max(len(data), 1)))
        if way <= 1:
            data = change_bytes(data, rng)
        elif way == 2:  # another instruction
            opcode = OPCODES[int(rng.integers(0, len(OPCODES)))]
            data = data[:place] + bytes([opcode]) + data[place + int(rng.integers(0, 2)) :]
        elif way == 3:
            calls = [b"cos\nsystem\nX\x04\0\0\0true\x85R", b"cbuiltins\nexec\n(t\x81", b"(((((t",
                     b"ctorch\nDoubleStorage\n", b"J\xff\xff\xff\x7f", b"hAh\x01h\x02"]  # fmt: skip
            data = data[:place] + calls[int(rng.integers(0, len(calls)))] + data[place:]
        elif way == 4:
            names = [
                "../x",
                "x/data.pkl",
                "data.pkl",
                "images/data/0",
                "images/code/x.py",
                "data/0",
            ]
            name = names[int(rng.integers(0, len(names)))]
        elif way == 5:
            members.append((name, data))
        else:
            members.pop(at if len(members) > 1 else 0)
            continue
        members[at] = name, data
        if not members:
            break
    stream = io.BytesIO()
    methods = [zipfile.ZIP_STORED] * 6 + [zipfile.ZIP_DEFLATED]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that come twice
        with zipfile.ZipFile(stream, "w", methods[int(rng.integers(0, 7))]) as file:
            for name, data in members:
                file.writestr(name, data)
    return stream.getvalue()


# ---------------------------------------------------------------- what is done with a file


def load_model(path, number):
    """Load a model, its weights alone, or what training goes on from."""
    path = path.with_suffix(".hdf5") if path.suffix == ".json" else path
    if number % 5 == 0:
        fresh = nn.Model([nn.Dense(3, input_shape=(4,))])
        fresh.load_weights(path, strict=False)
    elif number % 5 == 1:
        model().fit(*samples(), epochs=2, resume=path, verbose=0, num_threads=1)
    else:
        loaded = nn.Model.load(path)
        if not loaded.built:
            loaded.build((None, 2, 4, 4))


def load_torch(path, number):
    """Load weights under PyTorch's names."""
    if path.name == "checkpoint.pt":
        fresh = nn.Model([nn.Dense(3, input_shape=(4,))])
    else:
        from test_torch import images

        fresh = nn.Model(images())
    fresh.load_weights(path, strict=number % 3 > 0, layout="torch")


@dataclasses.dataclass
class Kind:
    """A kind of file: the valid one, how it is damaged, how it is loaded."""

    file: str
    change: object
    load: object
    needs_path: bool = False


def _cifar(path, number):
    load_cifar10(path.parent)


KINDS = [
    *[Kind("model.hdf5", change_bytes, load_model)] * 6,
    *[Kind("model.hdf5", change_hdf5, load_model, True)] * 4,
    *[Kind("model.hdf5", change_hdf5_json, load_model, True)] * 5,
    *[Kind("old.hdf5", change_bytes, load_model)] * 2,
    *[Kind("old.hdf5", change_hdf5_json, load_model, True)] * 2,
    *[Kind("model.npz", change_bytes, load_model)] * 2,
    *[Kind("model.npz", change_npz, load_model)] * 3,
    *[Kind("model.safetensors", change_bytes, load_model)] * 2,
    *[Kind("model.safetensors", change_safetensors, load_model)] * 4,
    *[Kind("torch.safetensors", change_safetensors, load_torch)] * 2,
    Kind("torch.safetensors", change_bytes, load_torch),
    *[Kind("weights.pt", change_bytes, load_torch)] * 2,
    *[Kind("weights.pt", change_torch, load_torch)] * 4,
    *[Kind("checkpoint.pt", change_torch, load_torch)] * 3,
    *[Kind("two/weights.json", change_json, load_model)] * 2,
    Kind("two/weights.json", change_bytes, load_model),
    Kind("two/weights.hdf5", change_bytes, load_model),
    Kind("data.npz", change_bytes, lambda path, number: load_npz(path)),
    Kind("data.npz", change_npz, lambda path, number: load_npz(path)),
    Kind("labels.idx", change_bytes, lambda path, number: read_idx(path)),
    Kind("labels.idx.gz", change_bytes, lambda path, number: read_idx(path)),
    Kind("cifar/cifar-10-batches-py/data_batch_1", change_bytes, _cifar),
    Kind("cifar/cifar-10-batches-py/data_batch_2", change_bytes, _cifar),
    Kind("cifar/cifar-10-batches-py/test_batch", change_bytes, _cifar),
    Kind("cifar/cifar-10-batches-bin/test_batch.bin", change_bytes, _cifar),
    *[
        Kind(f"{name}.onnx", change, fuzz_exchange.load)
        for name in (*fuzz_exchange.ONNX, "own")
        for change in (change_bytes, fuzz_exchange.change_onnx, fuzz_exchange.change_onnx)
    ],
    *[Kind(name, change_bytes, fuzz_exchange.load) for name in fuzz_exchange.KERAS],
    *[
        Kind(name, fuzz_exchange.change_keras(change_json, change_bytes), fuzz_exchange.load)
        for name in fuzz_exchange.KERAS
        if name.endswith(".keras")
    ],
    *[
        Kind(name, change_hdf5, fuzz_exchange.load, True)
        for name in fuzz_exchange.KERAS
        if name.endswith(".h5")
    ],
]


def mutation(number, valid, scratch):
    """Return the kind of a mutation and the damaged file."""
    kind = KINDS[number % len(KINDS)]
    rng = np.random.default_rng([SEED, number])
    content = valid[kind.file]
    if kind.change is change_json:
        return kind, change_json(content.decode(), rng).encode()
    return kind, kind.change(content, rng, scratch) if kind.needs_path else kind.change(
        content, rng
    )


# ------------------------------------------------------------------ the process that loads


class Watch:
    """What a load does beside reading its file, as Python reports it."""

    FORBIDDEN = ("subprocess.", "socket.", "os.system", "os.exec", "os.posix_spawn", "os.fork",
                 "os.remove", "os.rename", "os.mkdir", "shutil.", "pickle.find_class",
                 "ctypes.dlopen")  # fmt: skip

    def __init__(self):
        self.allowed, self.seen = None, []
        sys.addaudithook(self.hook)

    def hook(self, event, arguments):
        if self.allowed is None:
            return
        if event == "open" and str(arguments[0]) not in self.allowed:
            self.seen.append(f"opened {arguments[0]}")
        elif event.startswith(self.FORBIDDEN):
            self.seen.append(event)


def try_load(kind, path, number, watch):
    """Return 'loaded', 'refused', or what went wrong."""
    beside = {str(path.with_suffix(suffix)) for suffix in (".json", ".hdf5")}
    folder = {str(file) for file in path.parent.iterdir()}  # CIFAR's other batches
    watch.allowed, watch.seen = {str(path), *beside, *folder}, []
    start = time.process_time()
    try:
        kind.load(path, number)
        outcome = "loaded"
    except Exception as error:
        watch.allowed = None  # a traceback reads the sources
        outcome = judge(error)
    watch.allowed = None
    seconds = time.process_time() - start
    if seconds > SECONDS:
        return f"took {seconds:.1f} s"
    return f"did more than read: {watch.seen}" if watch.seen else outcome


def judge(error):
    """Tell whether an error is one that nn promises."""
    known = isinstance(error, ValueError) and str(error).startswith("[")
    chain, cause = [], error
    while cause is not None:
        chain.append(cause)
        cause = cause.__cause__
    if any(isinstance(cause, MemoryError) for cause in chain):
        return "asked for too much memory: " + "".join(traceback.format_exception(error))
    if known or isinstance(error, FileNotFoundError):
        return "refused"
    return "raised " + "".join(traceback.format_exception(error))


def limit_memory():
    """Let this process take a gigabyte more than it has."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


def most_memory():
    """Return the most memory that this process has had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(first, count, keep):
    """Do a range of mutations; tell the parent of each, before and after."""
    warnings.simplefilter("ignore")
    watch = Watch()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_valid(folder)
        valid = {kind.file: (folder / kind.file).read_bytes() for kind in KINDS}
        for kind in KINDS:  # so that all modules are imported and all kernels compiled
            for k in range(5):
                with contextlib.suppress(ValueError):  # a file without a state to resume
                    kind.load(folder / kind.file, k)
        for codec in ("cp437", "raw_unicode_escape"):  # modules of Python, imported once
            codecs.lookup(codec)
        limit_memory()
        memory = most_memory()
        for number in range(first, first + count):
            kind, content = mutation(number, valid, folder / "scratch")
            path = folder / kind.file
            path.write_bytes(content)
            if keep:
                Path(keep, f"{number}-{path.name}").write_bytes(content)
            print(json.dumps(["begin", number, kind.file]), flush=True)
            before = time.process_time()
            outcome = try_load(kind, path, number, watch)
            took = [time.process_time() - before, most_memory() - memory]
            print(json.dumps(["end", number, f"{kind.file} {kind.change.__name__}", outcome, took]),
                  flush=True)  # fmt: skip
            path.write_bytes(valid[kind.file])


# ------------------------------------------------------------- the process that looks after


#: The longest load in seconds of the processor, and the most megabytes that loads have added.
MOST = [0.0, 0.0]


def watch_over(first, count, keep, only=""):
    """Do mutations in another process; start it anew where it crashed or hung.

    Returns the outcomes by kind of file, and a list of (number, file, what went wrong).
    """
    outcomes, faults = collections.Counter(), []
    end = first + count
    while first < end:
        under_way = _run_worker(first, end - first, keep, outcomes, faults, only)
        if under_way is None:
            break
        first = under_way + 1
    return outcomes, faults


def _run_worker(first, count, keep, outcomes, faults, only):
    """Return None once all is done, or the number of the mutation at which the worker ended."""
    command = [sys.executable, __file__, "--work", "--first", str(first), "--mutations", str(count)]
    command += ["--only", only] + (["--keep", keep] if keep else [])
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    worker = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | threads
    )
    lines = queue.Queue()
    errors = []
    readers = [
        threading.Thread(target=_put_lines, args=(worker.stdout, lines)),
        threading.Thread(target=lambda: errors.extend(worker.stderr)),
    ]
    for reader in readers:
        reader.start()
    under_way, file = first - 1, "nothing"
    while True:
        try:
            line = lines.get(timeout=WATCHDOG)
        except queue.Empty:
            worker.kill()
            faults.append((under_way, file, f"hung for {WATCHDOG} s"))
            break
        if line is None:
            break
        what, under_way, file, *rest = json.loads(line)
        if what == "end":
            outcome = rest[0] if rest[0] in ("loaded", "refused") else "wrong"
            outcomes[file, outcome] += 1
            MOST[:] = map(max, MOST, rest[1])
            if outcome == "wrong":
                faults.append((under_way, file, rest[0]))
    code = worker.wait()
    for reader in readers:
        reader.join()
    if code == 0:
        return None
    if under_way < first:
        raise RuntimeError(f"the worker does not start:\n{''.join(errors)}")
    if code != -9:
        faults.append(
            (under_way, file, f"ended the process with {code}: {''.join(errors)[-2000:]}")
        )
    return under_way


def _put_lines(stream, lines):
    for line in stream:
        lines.put(line)
    lines.put(None)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--only", default="", help="part of the names of the files to damage")
    parser.add_argument("--keep", help="folder to keep the damaged files in")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    KINDS[:] = [kind for kind in KINDS if chosen.only in kind.file]
    if chosen.work:
        work(chosen.first, chosen.mutations, chosen.keep)
        return 0
    start = time.perf_counter()
    outcomes, faults = watch_over(chosen.first, chosen.mutations, chosen.keep, chosen.only)
    for number, file, what in faults:
        print(f"mutation {number} of {file}: {what}\n")
    for kind in sorted({kind for kind, _ in outcomes}):
        counts = {name: outcomes[kind, name] for name in ("loaded", "refused", "wrong")}
        print(f"{kind:60} {counts}")
    print(
        f"{sum(outcomes.values()):,} mutations from {chosen.first:,} on, {len(faults)} faults, "
        f"{time.perf_counter() - start:.0f} s; "
        f"the longest load {MOST[0]:.2f} s, the most memory {MOST[1]:.0f} MB"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
