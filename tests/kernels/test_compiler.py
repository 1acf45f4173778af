"""The cache of machine code: whatever happens to it, kernels run and are those of the sources."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_compiled import TRAIN, run_code

pytest.importorskip("numba", reason="needs Numba (the extra 'fast')")
import numba

from nn import cli
from nn.kernels.cpu import compiler
from nn.kernels.cpu.compiler import compile_kernel


def double(x):
    for k in range(x.size):
        x[k] += x[k]


def negate(x):
    for k in range(x.size):
        x[k] = -x[k]


def hits(function=double, factor=2):
    """Call a function as a new process would; return how often it came from the cache."""
    kernel = compile_kernel(function)
    x = np.arange(5.0)
    kernel(x)
    np.testing.assert_array_equal(x, np.arange(5.0) * factor)
    return sum(kernel.stats.cache_hits.values())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty folder for machine code."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(cache):
    return [path for path in cache.rglob("*") if path.is_file()]


def test_code_is_kept_and_used_again(cache):
    assert hits() == 0
    assert len(files(cache)) == 1
    assert hits() == 1


def flip(position):
    def change(content):
        at = int(position * (len(content) - 1))
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    return change


DAMAGE = {
    "emptied": lambda content: b"",
    "first byte only": lambda content: content[:1],
    "cut in half": lambda content: content[: len(content) // 2],
    "last byte missing": lambda content: content[:-1],
    "a byte more": lambda content: content + b"\0",
    "zeros": lambda content: bytes(len(content)),
    "a bit of the checksum": flip(0),
    "a bit of the code": flip(0.5),
    "the last bit": flip(1),
    "text": lambda content: b"no code at all\n" * 100,
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_compiled_anew_and_replaced(cache, change):
    hits()
    for path in files(cache):
        path.write_bytes(change(path.read_bytes()))
    assert hits() == 0
    assert hits() == 1


def test_files_that_are_gone_or_in_the_way(cache):
    hits()
    (path,) = files(cache)
    path.unlink()
    assert (hits(), hits()) == (0, 1)
    shutil.rmtree(cache)
    assert (hits(), hits()) == (0, 1)
    path.unlink()
    path.mkdir()  # which can be neither read nor replaced
    assert (hits(), hits()) == (0, 0)
    assert list(cache.rglob("*.tmp.*")) == []


def test_the_code_of_another_kernel_is_not_run(cache):
    hits()
    (path,) = files(cache)
    hits(negate, -1)
    (other,) = set(files(cache)) - {path}
    shutil.copy(other, path)
    assert (hits(), hits()) == (0, 1)


def test_a_full_disk(small_disk, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(small_disk / "cache"))
    kernel = compile_kernel(double)  # the folder for its code is there
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space"):
        while True:
            stream.write(bytes(4096))
    x = np.ones(3)
    kernel(x)
    assert list(x) == [2, 2, 2]
    assert (hits(), files(small_disk)) == (0, [filler])
    filler.write_bytes(bytes(100_000))
    assert (hits(), hits()) == (0, 1)


def test_a_disk_that_becomes_read_only(small_disk, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(small_disk / "cache"))
    hits()
    kept, new = compile_kernel(double), compile_kernel(negate)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for kernel, result, found in ((kept, 2, 1), (new, -1, 0)):
        x = np.ones(1)
        kernel(x)
        assert (x[0], sum(kernel.stats.cache_hits.values())) == (result, found)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the kernels' sources, which count as those that run; a function to import it."""
    folder = Path(shutil.copytree(Path(compiler.__file__).parents[1], tmp_path / "kernels"))
    monkeypatch.setattr(compiler, "__file__", str(folder / "cpu" / "compiler.py"))
    compiler._sources.cache_clear()
    yield folder, compiler._sources.cache_clear
    compiler._sources.cache_clear()


def test_code_of_other_sources_is_not_used(cache, checkout):
    folder, import_again = checkout
    hits()
    source = folder / "cpu" / "compiled" / "vectors.py"
    with source.open("a") as stream:
        stream.write("# changed\n")
    assert hits() == 1  # of the sources that this process imported
    import_again()
    assert (hits(), hits()) == (0, 1)
    source.rename(source.with_name("other.py"))
    import_again()
    assert (hits(), hits()) == (0, 1)
    assert len(files(cache)) == 1  # that of the old sources was replaced
    (folder / "cpu" / "__pycache__").mkdir(exist_ok=True)
    (folder / "cpu" / "__pycache__" / "kernel.py311.nbc").write_text("what Numba keeps itself")
    import_again()
    assert hits() == 1


def test_without_sources_nothing_is_kept(cache, checkout):
    folder, import_again = checkout
    shutil.rmtree(folder)
    import_again()
    assert (hits(), hits(), files(cache)) == (0, 0, [])


@pytest.mark.parametrize("number", range(4))
def test_two_machines_or_versions_share_a_folder(cache, monkeypatch, number):
    hits()
    other = list(compiler._platform())
    other[number] += "!"
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_platform", lambda: tuple(other))
        assert (hits(), hits()) == (0, 1)
    assert hits() == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_first_compilation_on_a_full_disk_says_nothing(tmp_path):
    code = TRAIN + "import sys; sys.stderr = open('/dev/full', 'w'); print(train() > 0)"
    result = run_code(code + "; sys.stderr = None", NUMBA_CACHE_DIR=str(tmp_path))
    assert result.stdout == "True\n", result.stderr


def test_numba_disable_jit():
    code = TRAIN + "print(train(), nn.kernels.compiled())"
    loss, compiled = run_code(code, NUMBA_DISABLE_JIT="1").stdout.split()
    expected = run_code(TRAIN + "print(train())").stdout
    assert compiled == "None"
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_info_names_numba_disable_jit(monkeypatch):
    monkeypatch.setattr("nn.kernels.compiled", lambda: None)
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    kernels = cli.info.about_machine()["kernels"]
    assert kernels == {"used": "NumPy", "why": "NUMBA_DISABLE_JIT is set"}


NETWORKS = """
import numpy as np
import nn
rng = np.random.default_rng(0)

def train(shape, layers, ids=None):
    model = nn.Model(layers, seed=0)
    model.build((None, *shape))
    model.compile("cce", "adam")
    x = rng.integers(0, ids, (16, *shape)) if ids else rng.normal(size=(16, *shape))
    model.fit(x, np.arange(16) % 5, batch_size=8, verbose=0)
    model.predict(x)

train((3, 32, 32), [nn.Conv2D(16), nn.BatchNorm2D(), nn.ReLU(), nn.MaxPool2D(), nn.GELU(),
                    nn.Conv2D(32, groups=4), nn.Flatten(), nn.LayerNorm(), nn.Dense(5)])
train((12,), [nn.Embedding(20, 16), nn.LSTM(32, return_sequences=True), nn.GRU(24),
              nn.Dense(5)], ids=20)
train((64,), [nn.Embedding(20, 16), nn.MultiHeadAttention(4, 4), nn.GlobalAvgPool1D(),
              nn.Dense(5)], ids=20)
"""


@pytest.mark.slow
def test_a_second_process_compiles_nothing():
    """A kernel whose key differs in each process would be compiled at every start."""
    run_code(NETWORKS)
    count = """
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, event):
        function = event.data["dispatcher"].py_func
        if (function.__module__ or "").startswith("nn."):
            compiled.append(function.__name__)
    def on_end(self, event):
        pass
event.register("numba:compile", Listener())
"""
    result = run_code(count + NETWORKS + "print(compiled)")
    assert result.stdout == "[]\n", result.stderr


def test_a_kernel_inside_a_kernel_is_global():
    inner = compile_kernel(double)

    def outer(x):
        inner(x)

    with pytest.raises(TypeError, match="'outer' uses a kernel that is not global"):
        compile_kernel(outer)


@compile_kernel
def _plus(pair, number):
    return pair[0] + pair[1] + number


@compile_kernel
def _with_constants(x):
    return _plus((x, 1), 2) + _plus((3, x), x) + _plus((x, x), 4)


def test_constants_that_are_passed_to_a_kernel_compile_no_other_one():
    assert _with_constants(5) == 8 + 13 + 14
    assert len(_plus.overloads) == 1
    assert _with_constants(0.5) == 3.5 + 4 + 5
    assert len(_plus.overloads) <= 4  # pairs of a float and an integer are other types


def test_functions_without_a_module_are_compiled_by_numba():
    code = "import numba, nn.kernels.cpu.compiler\n"
    code += "space = {'__name__': None}; exec('def triple(x): return 3 * x', space)\n"
    code += "print(space['triple'].__module__, numba.njit(space['triple'])(2))"
    assert run_code(code).stdout == "None 6\n"


OTHER_PROCESSOR = """
import sys
import llvmlite.binding

real, features = llvmlite.binding.get_host_cpu_features, dict.fromkeys(sys.argv[1:], True)

def get_host_cpu_features():
    asks = sys._getframe(1).f_code.co_filename
    return features if asks.endswith("vectors.py") else real()

llvmlite.binding.get_host_cpu_features = get_host_cpu_features
import numpy as np
from nn import kernels
from nn.kernels import reference
from nn.kernels.cpu.compiled import winograd

rng, padding, transformed = np.random.default_rng(0), ((1, 1), (1, 1)), 0
for c, f in (16, 16), (20, 20), (28, 20), (20, 32), (36, 28), (40, 24), (7, 5):
    x, grad, w = (rng.standard_normal(shape, "float32") for shape in (
        (8, c, 16, 16), (8, f, 16, 16), (f, c, 3, 3)))
    transformed += winograd.suits(x.transpose(0, 2, 3, 1), f, (3, 3), (1, 1), (16, 16))
    for name, arguments in (
        ("conv2d", (x, w, None, (1, 1), padding)),
        ("conv2d_input_grad", (grad, w, x.shape, (1, 1), padding)),
        ("conv2d_weight_grad", (grad, x, w.shape, (1, 1), padding)),
    ):
        found, wanted = (getattr(room, name)(*arguments) for room in (kernels, reference))
        error = abs(found - wanted).max() / abs(wanted).max()
        assert error < 1e-5, (name, c, f, error)
a, b = rng.standard_normal((37, 29), "float32"), rng.standard_normal((29, 45), "float32")
np.testing.assert_allclose(kernels.matmul(a, b), a @ b, rtol=1e-4, atol=1e-5)
print(transformed)
"""


@pytest.mark.slow
@pytest.mark.parametrize("features", [["neon"], [], ["avx"]], ids=["neon", "sse", "avx"])
def test_the_blocks_of_other_processors(features, tmp_path):
    """Vectors of 4 numbers, with 32 and with 16 registers, and of 8 with 16."""
    code = OTHER_PROCESSOR.replace("sys.argv[1:]", repr(features))
    result = run_code(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 1  # the transform is among the ways tested
