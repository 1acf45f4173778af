"""A stand-in for CuPy: NumPy with CuPy's `ElementwiseKernel`, compiled for the processor.

What a kernel computes for one element is C++, which the processor's compiler takes too.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from conftest import Twin

COMPILER = shutil.which("g++") or shutil.which("clang++") if os.name == "posix" else None
FLAGS = ["-O0", "-shared", "-fPIC", "-Wall", "-Werror"]
C_NAMES = {"float32": "float", "float64": "double", "int32": "int32_t", "bool": "bool"}
C_NAMES |= {"uint8": "uint8_t", "uint16": "uint16_t"}
SOURCE = """
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
using std::abs; using std::exp; using std::expm1; using std::log1p; using std::max;
using std::sqrt; using std::tanh;
typedef {type} T;
extern "C" void run(ptrdiff_t n, void** arrays) {{
    {arrays}
    for (ptrdiff_t i = 0; i < n; i++) {{
        {elements}
        {operation};
    }}
}}
"""


class Parameter(NamedTuple):
    """Of a kernel: 'raw T x' is one of kind T, which is read at any place."""

    name: str
    kind: str
    is_raw: bool
    is_output: bool


def parameters(text, is_output):
    words = [parameter.split() for parameter in text.split(", ")]
    return [Parameter(word[-1], word[-2], word[0] == "raw", is_output) for word in words]


class ElementwiseKernel:
    """CuPy's class of this name on the processor, for arrays that are contiguous."""

    def __init__(self, inputs, outputs, operation, name):
        assert name.isidentifier()
        self.parameters = [*parameters(inputs, False), *parameters(outputs, True)]
        self.operation, self.compiled = operation, {}

    def __call__(self, *values):
        types, size = self.types(values), values[-1].shape
        arrays = []
        for value, parameter in zip(values, self.parameters, strict=True):
            if parameter.is_raw or parameter.is_output:
                assert value.flags.c_contiguous
                assert parameter.is_raw or value.shape == size
            else:
                value = np.broadcast_to(np.asarray(value, types[parameter.kind]), size)
            arrays.append(np.ascontiguousarray(value))  # an output, contiguous, is itself
        key = tuple(sorted(types.items()))
        if key not in self.compiled:
            self.compiled[key] = self.compile(types)
        addresses = (ctypes.c_void_p * len(arrays))(*(one.ctypes.data for one in arrays))
        self.compiled[key](ctypes.c_ssize_t(values[-1].size), addresses)

    def types(self, values):
        """Return the dtype of each kind; a letter's is that of the arrays, which must agree."""
        types = {kind: kind for _, kind, *_ in self.parameters if len(kind) > 1}
        for value, parameter in zip(values, self.parameters, strict=True):
            if isinstance(value, np.ndarray) and value.ndim:
                dtype = value.dtype.name
                assert types.setdefault(parameter.kind, dtype) == dtype
        return types

    def compile(self, types):
        names = {kind: C_NAMES[dtype] for kind, dtype in types.items()}
        arrays, elements = [], []
        for k, (name, kind, is_raw, _) in enumerate(self.parameters):
            array_name = name if is_raw else f"{name}_"
            arrays.append(f"{names[kind]}* {array_name} = ({names[kind]}*)arrays[{k}];")
            if not is_raw:
                elements.append(f"{names[kind]}& {name} = {array_name}[i];")
        source = SOURCE.format(
            type=names["T"],
            arrays=" ".join(arrays),
            elements=" ".join(elements),
            operation=self.operation,
        )
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "kernel.cpp").write_text(source)
            command = [COMPILER, *FLAGS, "kernel.cpp", "-o", "kernel.so"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return ctypes.CDLL(f"{folder}/kernel.so").run


class StandIn(Twin):
    """NumPy with CuPy's kernels."""

    ElementwiseKernel = ElementwiseKernel


STAND_IN = StandIn()  # one, so that each kernel is compiled once
