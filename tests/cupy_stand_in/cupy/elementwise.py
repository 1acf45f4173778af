"""`ElementwiseKernel`, compiled for the processor.

What a kernel computes for one element is C++, which the processor's compiler takes too. A `raw`
argument checks each index: on a device a wrong one reads or spoils another array's memory.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .array import ndarray
from .wrapped import SCALARS, unsupported

COMPILER = shutil.which("g++") or shutil.which("clang++") if os.name == "posix" else None
FLAGS = ["-O0", "-std=c++17", "-shared", "-fPIC", "-Wall", "-Werror"]
C_NAMES = {"float32": "float", "float64": "double", "int32": "int", "bool": "bool"}
C_NAMES |= {"uint8": "unsigned char", "uint16": "unsigned short", "int64": "long long"}
# Without headers a kernel compiles in a tenth of the time. CUDA has these functions for float and
# double alike.
ONE = ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "erf", "fabs")
TWO = ("fmax", "fmin", "pow")
PREAMBLE = (
    "typedef __PTRDIFF_TYPE__ ptrdiff_t;\n"
    'extern "C" { int abs(int);'
    + "".join(f"double {name}(double); float {name}f(float);" for name in ONE)
    + "".join(f"double {name}(double, double); float {name}f(float, float);" for name in TWO)
    + "}\n"
    + "".join(f"inline float {name}(float x) {{ return {name}f(x); }}\n" for name in ONE)
    + "".join(
        f"inline float {name}(float x, float y) {{ return {name}f(x, y); }}\n" for name in TWO
    )
    + """
inline double abs(double x) { return fabs(x); }
inline float abs(float x) { return fabsf(x); }
inline int max(int a, int b) { return a > b ? a : b; }
inline int min(int a, int b) { return a < b ? a : b; }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline float min(float a, float b) { return fminf(a, b); }
static bool failed;
template <class E> struct Raw {
    E* data; ptrdiff_t count; E none;
    E& operator[](ptrdiff_t i) {
        if (0 <= i && i < count) return data[i];
        failed = true;
        return none;
    }
};
"""
)
SOURCE = """
{typedefs}
extern "C" bool run(ptrdiff_t n, void** arrays, ptrdiff_t* sizes) {{
    failed = false;
    {arrays}
    for (ptrdiff_t i = 0; i < n; i++) {{
        {elements}
        {operation};
    }}
    return failed;
}}
"""


class Parameter(NamedTuple):
    """Of a kernel: 'raw T x' is one of kind T, which is read at any place."""

    name: str
    kind: str
    is_raw: bool
    is_output: bool


def _parameters(text, is_output):
    words = [parameter.split() for parameter in text.split(",")]
    return [Parameter(word[-1], word[-2], word[0] == "raw", is_output) for word in words]


class ElementwiseKernel:
    """CuPy's class of this name, called with all inputs and all outputs."""

    def __init__(self, in_params, out_params, operation, name="kernel"):
        if not name.isidentifier():
            raise ValueError(f'Invalid kernel name: "{name}"')
        self.parameters = [*_parameters(in_params, False), *_parameters(out_params, True)]
        if {"i", "n"} & {parameter.name for parameter in self.parameters}:
            raise ValueError("Can not use 'i' or 'n' as a parameter name")
        self.name, self.operation, self.compiled = name, operation, {}

    def __call__(self, *values):
        if len(values) != len(self.parameters):
            raise TypeError(f"Wrong number of arguments for {self.name!r}: {len(values)}")
        pairs = list(zip(values, self.parameters, strict=True))
        types, shape = self._types(pairs), self._shape(pairs)
        _refuse_overlaps(pairs)
        arrays = [self._buffer(*pair, types, shape) for pair in pairs]
        if 0 not in shape:
            self._run(types, arrays, int(np.prod(shape)))
        for (value, parameter), array in zip(pairs, arrays, strict=True):
            if parameter.is_output:
                value._private[...] = array

    def _run(self, types, arrays, count):
        key = tuple(sorted(types.items()))
        if key not in self.compiled:
            self.compiled[key] = self._compile(types)
        addresses = (ctypes.c_void_p * len(arrays))(*(one.ctypes.data for one in arrays))
        sizes = (ctypes.c_ssize_t * len(arrays))(*(one.size for one in arrays))
        if self.compiled[key](ctypes.c_ssize_t(count), addresses, sizes):
            raise IndexError(f"the kernel {self.name!r} reads or writes beyond an array")

    @staticmethod
    def _buffer(value, parameter, types, shape):
        """Return contiguous memory with what the kernel reads of an argument."""
        dtype = types[parameter.kind]
        if not isinstance(value, ndarray):
            return np.array(np.broadcast_to(np.array(value, dtype), shape))
        if parameter.is_raw or parameter.is_output:
            return np.ascontiguousarray(value._private)
        return np.ascontiguousarray(np.broadcast_to(value._private, shape))

    @staticmethod
    def _types(pairs):
        """Return the dtype of each kind; a letter's is that of the arrays, which must agree."""
        types = {p.kind: p.kind for _, p in pairs if len(p.kind) > 1}
        for value, parameter in sorted(pairs, key=lambda pair: not pair[1].is_output):
            if isinstance(value, ndarray):
                dtype = value.dtype.name
                if types.setdefault(parameter.kind, dtype) != dtype:
                    expected = types[parameter.kind]
                    raise TypeError(f"Type is mismatched. {parameter.name} {dtype} {expected}")
            elif parameter.is_output or not isinstance(value, SCALARS):
                raise unsupported(value)
        return types

    @staticmethod
    def _shape(pairs):
        """Return the shape of the loop, that of every output."""
        looped = [(v, p) for v, p in pairs if isinstance(v, ndarray) and not p.is_raw]
        if not looped:
            raise ValueError("Loop size is undecided.")
        shape = np.broadcast_shapes(*(value.shape for value, _ in looped))
        if any(parameter.is_output and value.shape != shape for value, parameter in looped):
            raise ValueError("Out shape is mismatched")
        return shape

    def _compile(self, types):
        names = {kind: C_NAMES[dtype] for kind, dtype in types.items()}
        typedefs, arrays, elements = [], [], []
        for kind, name in names.items():
            if len(kind) == 1:
                typedefs.append(f"typedef {name} {kind};")
        for k, (name, kind, is_raw, is_output) in enumerate(self.parameters):
            c_name = names[kind]
            if is_raw:
                arrays.append(f"Raw<{c_name}> {name} = {{({c_name}*)arrays[{k}], sizes[{k}], 0}};")
            else:
                const = "" if is_output else "const "
                elements.append(f"{const}{c_name}& {name} = (({c_name}*)arrays[{k}])[i];")
        source = PREAMBLE + SOURCE.format(
            typedefs=" ".join(typedefs),
            arrays=" ".join(arrays),
            elements=" ".join(elements),
            operation=self.operation,
        )
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "kernel.cpp").write_text(source)
            command = [COMPILER, *FLAGS, "kernel.cpp", "-o", "kernel.so"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"the kernel {self.name!r} does not compile:\n{done.stderr}")
            run = ctypes.CDLL(f"{folder}/kernel.so").run
            run.restype = ctypes.c_bool
            return run


def _refuse_overlaps(pairs):
    """Raise if an output shares memory with another argument, but not element by element."""
    arrays = [(value._private, p.is_output) for value, p in pairs if isinstance(value, ndarray)]
    for one, is_output in arrays:
        for other, _ in arrays:
            is_same = one.ctypes.data == other.ctypes.data and one.strides == other.strides
            if is_output and one is not other and np.shares_memory(one, other) and not is_same:
                raise ValueError("an output shares memory with another argument")
