"""A strict stand-in for CuPy, on NumPy: the tests of the GPU's code run on it without a GPU.

It has the part of CuPy that nn uses, and a little around it. Whatever else is called raises, so a
call that CuPy does not have cannot pass a test. What it does as CuPy 13 does:

- An array is of a class of its own, not a NumPy array, and is never turned into one silently:
  `numpy.asarray(a)` raises a TypeError, and so does every operation on NumPy's and its arrays
  together. NumPy's functions on its arrays call the functions of this module.
- Functions and methods take CuPy's arguments, not NumPy's: no `where=`, no `initial=`
  (`signatures`).
- Reductions and single elements are arrays of no axes. `float(a)`, `a.item()`, `bool(a)`, a mask
  as an index and everything else for which a device is waited for are counted (`transfers`).
- Results of arithmetic are in C order, whatever the order of the operands.
- `ElementwiseKernel` compiles its C++ for the processor (`elementwise`).
- Nothing warns of an overflow or of a division by 0.

It is stricter than CuPy where CuPy's result is undefined or surprising: an index out of bounds and
an assignment to one place twice raise, new memory is full of NaN and of large integers, a kernel
that reads or writes beyond an array raises, and functions that CuPy runs on the CPU for NumPy's
arrays refuse them.

It cannot show what only a device can: speed, memory that runs out, races between threads, limits
of a launch, and the last digits of the device's functions and sums; what NVIDIA's compiler refuses
is shown by `tests/compile_gpu_kernels.py`.
A NumPy scalar promotes a dtype as in NumPy 2 and CuPy 14; in CuPy 13 it does not.
"""

# ruff: noqa: F401

import numpy as np

from . import cuda, lib, linalg, random
from .array import asarray, asnumpy, empty, empty_like, get_array_module, ndarray
from .elementwise import COMPILER, ElementwiseKernel
from .signatures import FUNCTIONS, UFUNCS
from .wrapped import function, ufunc

__version__ = "13.6.0"

newaxis, pi, e, inf, nan = None, np.pi, np.e, np.inf, np.nan
bool_, uint8, uint16, uint32, uint64 = np.bool_, np.uint8, np.uint16, np.uint32, np.uint64
int8, int16, int32, int64 = np.int8, np.int16, np.int32, np.int64
float16, float32, float64 = np.float16, np.float32, np.float64
dtype, finfo, iinfo = np.dtype, np.finfo, np.iinfo
array = asarray

globals().update({name: ufunc(name) for name in UFUNCS})
globals().update({name: function(name) for name in FUNCTIONS})
