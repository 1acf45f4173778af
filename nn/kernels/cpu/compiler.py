"""How the compiled kernels are compiled: by Numba, at their first call, once for a machine."""

import contextlib
import functools
import hashlib
import pickle
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from numba.core import config, event, types
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps

from ... import __version__

if config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("NUMBA_DISABLE_JIT is set, so the kernels cannot be compiled")

_OPTIONS: dict[str, Any] = {
    "nogil": True,  # so that several threads run compiled code at the same time
    "error_model": "numpy",
    # Sums may be reordered and products fused with sums; NaN and infinity are kept.
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}


def compile_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function at its first call and keep the machine code on disk.

    It may use constants of the function around it: they become part of the code. Kernels are no
    constants, as no other process would find the code again. If no folder for the code can be
    written, it is compiled again in each process.

    Raises
    ------
    TypeError
        If it uses a kernel that is local to the function around it.
    """
    for cell in function.__closure__ or ():
        if isinstance(cell.cell_contents, Dispatcher):
            raise TypeError(f"kernel '{function.__name__}' uses a kernel that is not global")
    kernel = numba.njit(**_OPTIONS)(function)
    kernel.get_call_template = functools.partial(_call_template, kernel)
    # RuntimeError: Numba found no folder that it may write to.
    with contextlib.suppress(OSError, RuntimeError):
        kernel._cache = _Cache(function)
    return kernel


def _call_template(kernel: Dispatcher, args: Any, kws: Any) -> Any:
    """Return what Numba needs to know of a call in another kernel.

    A constant is an argument like any other. Else each one would be another type, for which the
    kernel is compiled again.
    """
    args = tuple(types.unliteral(arg) for arg in args)
    kws = {name: types.unliteral(arg) for name, arg in kws.items()}
    return Dispatcher.get_call_template(kernel, args, kws)


@functools.cache
def _sources() -> bytes:
    """Return a hash of all source files of the kernels, as they are at the first import.

    A kernel contains the functions of other files that it calls, so each depends on all files.
    """
    folder = Path(__file__).parents[1]
    paths = sorted(p for p in folder.rglob("*.py*") if p.parent.name != "__pycache__")
    if not paths:
        raise OSError("nn was imported from an archive: its source files cannot be read")
    digest = hashlib.sha256()
    for path in paths:
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


@functools.cache
def _platform() -> tuple[str, ...]:
    """Return what machine code depends on besides the sources."""
    processor = llvmlite.binding.get_host_cpu_name()
    with contextlib.suppress(RuntimeError):  # LLVM does not know the features on every system
        processor += llvmlite.binding.get_host_cpu_features().flatten()
    return __version__, numba.__version__, llvmlite.__version__, processor


class _Cache(FunctionCache):
    """Numba's cache of machine code on disk, in the same folder, with a checksum in each file.

    There is one file for a kernel, the types of its arguments, a platform and the versions. Its
    checksum covers the sources too. A file that is damaged, cut off or written by other sources
    is a miss, as an absent one is: the kernel is compiled, and the file replaced if the disk
    takes it. An error of the cache never reaches the caller.
    """

    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        self._stamp = _sources()

    def _path(self, signature: Any, codegen: Any) -> Path:
        key = repr((_platform(), self._index_key(signature, codegen)))
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        return Path(self.cache_path, f"{self._impl.filename_base}.{name}.nbc")

    def _checksum(self, path: Path, code: bytes) -> bytes:
        return hashlib.sha256(self._stamp + path.name.encode() + code).digest()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled kernel for a signature, or None on a miss."""
        target_context.refresh()
        try:
            path = self._path(sig, target_context.codegen())
            content = path.read_bytes()
            checksum, code = content[:32], content[32:]
            if checksum == self._checksum(path, code):
                return self._impl.rebuild(target_context, pickle.loads(code))
        except Exception:
            return None
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled kernel for a signature to disk atomically."""
        with contextlib.suppress(Exception):
            if not self._impl.check_cachable(data):
                return
            path = self._path(sig, data.codegen)
            temporary = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex[:16]}")
            code = dumps(self._impl.reduce(data))
            self._impl.locator.ensure_cache_path()
            try:
                temporary.write_bytes(self._checksum(path, code) + code)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise


def folder_of(function: Callable[..., Any]) -> Path | None:
    """Return the folder for the machine code of the kernels in the file of a function.

    None if no folder can be written.
    """
    try:
        return Path(_Cache(function).cache_path)
    except (OSError, RuntimeError):
        return None


class _SayOnce(event.Listener):
    """Say it when the first kernel of this process is compiled: it takes some seconds in all."""

    said = False

    def on_start(self, event: Any) -> None:
        kernel = event.data["dispatcher"].py_func
        if self.said or not (kernel.__module__ or "").startswith(__package__):
            return
        self.said = True
        with contextlib.suppress(OSError, ValueError):  # a full disk, a closed file
            print("nn: compiling kernels for this processor, once ...", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _SayOnce())
