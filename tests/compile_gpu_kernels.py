"""Compile every kernel of `nn/kernels/gpu` with NVIDIA's compiler, which needs no GPU.

    python -m pip install cupy-cuda12x nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12
    python tests/compile_gpu_kernels.py

Each kernel runs on the stand-in for CuPy with the arguments of `kernels/test_rooms.py`, in float32
and float64, and its C++ is compiled in the frame that CuPy puts around it, with CuPy's headers, for
contiguous arrays and for strided ones. The exit status is 1 if one does not compile.
"""

import ctypes
import importlib
import sys
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS / "kernels"), str(TESTS.parent)]

from cupy_stand_in import cupy  # noqa: E402
from cupy_stand_in.cupy.elementwise import C_NAMES  # noqa: E402

from nn import cuda, kernels  # noqa: E402

ARCHITECTURE = "compute_75"
FRAME = """
#include <cupy/complex.cuh>
#include <cupy/carray.cuh>
{typedefs}
extern "C" __global__ void {name}({parameters}, CIndexer<{axes}, 1> _ind) {{
    CUPY_FOR(i, _ind.size()) {{
        _ind.set(i);
        {elements}
        {operation};
    }}
}}
"""


def source(kernel, types, is_array, axes):
    """Return the CUDA source for arrays of so many axes, contiguous if it is 1."""
    parameters, elements = [], []
    for parameter, its_array in zip(kernel.parameters, is_array, strict=True):
        name, c_name = parameter.name, C_NAMES[types[parameter.kind]]
        const = "" if parameter.is_output else "const "
        if not its_array:
            parameters.append(f"{const}{c_name} {name}")
            continue
        array = name if parameter.is_raw else f"_raw_{name}"
        parameters.append(f"{const}CArray<{c_name}, {axes}, {int(axes == 1)}, 1> {array}")
        if not parameter.is_raw:
            elements.append(f"{const}{c_name}& {name} = {array}[_ind.get()];")
    return FRAME.format(
        typedefs=" ".join(f"typedef {C_NAMES[t]} {k};" for k, t in types.items() if len(k) == 1),
        name=kernel.name,
        parameters=", ".join(parameters),
        axes=axes,
        elements=" ".join(elements),
        operation=kernel.operation,
    )


def found_sources():
    """Return the sources of all kernels by name, dtypes and axes."""
    from test_rooms import CASES, arguments_of, kernel_of

    sources, call = {}, cupy.ElementwiseKernel.__call__

    def note(kernel, *values):
        types = kernel._types(list(zip(values, kernel.parameters, strict=True)))
        is_array = tuple(isinstance(value, cupy.ndarray) for value in values)
        for axes in (1, 4):
            key = (kernel.name, *sorted(types.items()), is_array, axes)
            sources[key] = source(kernel, types, is_array, axes)
        return call(kernel, *values)

    cupy.ElementwiseKernel.__call__ = note
    cuda._cupy = cupy
    for case in CASES:
        for dtype in ("float32", "float64"):
            arguments = arguments_of(case, dtype, "contiguous")
            moved = [cuda.to_gpu(k) if isinstance(k, np.ndarray) else k for k in arguments]
            getattr(kernels, kernel_of(case))(*moved)
    return sources


def nvrtc():
    """Return NVIDIA's compiler, with its options."""
    folder = Path(next(iter(importlib.import_module("nvidia").__path__)))
    library = ctypes.CDLL(str(next((folder / "cuda_nvrtc" / "lib").glob("libnvrtc.so.*"))))
    spec = importlib.util.find_spec("cupy")
    include = Path(spec.origin).parent / "_core" / "include"
    folders = [include, *(include / "cupy/_cccl" / k for k in ("libcudacxx", "thrust", "cub"))]
    folders.append(folder / "cuda_runtime" / "include")
    options = ["-std=c++14", f"--gpu-architecture={ARCHITECTURE}", *(f"-I{k}" for k in folders)]
    return library, [option.encode() for option in options]


def complaints(library, options, text):
    """Return what the compiler says of a source: nothing if it takes it."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"nn.cu", 0, None, None)
    array = (ctypes.c_char_p * len(options))(*options)
    failed = library.nvrtcCompileProgram(program, len(options), array)
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode() or ("it failed" if failed else "")


def main():
    library, options = nvrtc()
    if not complaints(library, options, "nonsense"):
        sys.exit("the compiler takes nonsense")
    sources = found_sources()
    refused = {key: complaints(library, options, text) for key, text in sources.items()}
    refused = {key: log for key, log in refused.items() if log}
    for key, log in refused.items():
        print(key, log, sep="\n")
    names = {key[0] for key in sources}
    print(f"{len(sources)} sources of {len(names)} kernels, {len(refused)} refused")
    sys.exit(bool(refused))


if __name__ == "__main__":
    main()
