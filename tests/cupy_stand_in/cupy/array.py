"""The array of the device."""

import operator

import numpy as np

from . import transfers
from .signatures import METHODS, UFUNCS
from .wrapped import SCALARS, check_dtype, method, ufunc, unsupported, unwrap, wrap

NO_CONVERSION = (
    "Implicit conversion to a NumPy array is not allowed. "
    "Please use `.get()` to construct a NumPy array explicitly."
)


class Flags:
    """The flags that CuPy's arrays have: they are always writeable and know no such flag."""

    def __init__(self, private):
        self.c_contiguous, self.f_contiguous = (
            private.flags.c_contiguous,
            private.flags.f_contiguous,
        )
        self.owndata = private.flags.owndata

    def __getitem__(self, name):
        return getattr(self, name.lower())


class MemoryPointer:
    """Where an array lies; nothing on the host can read there."""

    def __init__(self, ptr):
        self.ptr = ptr


class ndarray:  # noqa: N801
    """An array in the memory of the device, which only this module's functions read."""

    __slots__ = ("__weakref__", "_private")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, order="C"):
        self._private = empty(shape, dtype, order)._private

    @classmethod
    def _of(cls, private):
        check_dtype(private.dtype)
        array = cls.__new__(cls)
        array._private = private
        return array

    # ----------------------------------------------------------------------- what it is

    shape = property(lambda self: self._private.shape)
    dtype = property(lambda self: self._private.dtype)
    ndim = property(lambda self: self._private.ndim)
    size = property(lambda self: self._private.size)
    strides = property(lambda self: self._private.strides)
    nbytes = property(lambda self: self._private.nbytes)
    itemsize = property(lambda self: self._private.itemsize)
    flags = property(lambda self: Flags(self._private))
    data = property(lambda self: MemoryPointer(self._private.ctypes.data))
    T = property(lambda self: wrap(self._private.T))

    def __len__(self):
        return len(self._private)

    def __iter__(self):
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[k] for k in range(len(self)))

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __reduce__(self):
        return asarray, (self.get(),)

    # ------------------------------------------------------------------ NumPy's protocols

    def __array__(self, *arguments, **options):
        raise TypeError(NO_CONVERSION)

    def __array_ufunc__(self, numpys, how, *inputs, out=None, **options):
        if how != "__call__" or numpys.__name__ not in (*UFUNCS, "matmul"):
            return NotImplemented
        for value in (*inputs, *(out or ())):
            if not isinstance(value, (ndarray, np.ndarray, *SCALARS)):
                return NotImplemented
        if numpys is np.matmul:
            return _matmul(*inputs, **options)
        return ufunc(numpys.__name__)(*inputs, out=out and out[0], **options)

    def __array_function__(self, numpys, types, arguments, options):
        import importlib

        place = importlib.import_module(__package__)
        for name in numpys.__module__.split(".")[1:]:
            place = getattr(place, name, None)
        own = getattr(place, numpys.__name__, None)
        if own is None or not set(types) <= {ndarray, np.ndarray}:
            return NotImplemented
        return own(*arguments, **options)

    # --------------------------------------------------------------- to the host: counted

    def get(self, *, order="C"):
        transfers.count_to_host("get")
        return np.array(self._private, order=order)

    def _fetched(self, what):
        transfers.count_to_host(what)
        return self._private

    def item(self):
        return self._fetched("item").item()

    def tolist(self):
        return self._fetched("tolist").tolist()

    def tobytes(self):
        return self._fetched("tobytes").tobytes()

    def __bool__(self):
        return bool(self._fetched("bool"))

    def __int__(self):
        return int(self._fetched("int"))

    def __float__(self):
        return float(self._fetched("float"))

    def __complex__(self):
        return complex(self._fetched("complex"))

    def __repr__(self):
        return repr(self._fetched("repr"))

    def __str__(self):
        return str(self._fetched("str"))

    def __format__(self, spec):
        return format(self._fetched("format"), spec)

    # ------------------------------------------------------------------------- elements

    def __getitem__(self, index):
        index, is_view = _index(index)
        if not any(part is Ellipsis for part in index):
            index = (*index, ...)  # then a single element is an array of no axes, a view
        found = self._private[index]
        return wrap(found if is_view else np.ascontiguousarray(found).reshape(found.shape))

    def __setitem__(self, index, value):
        index, is_view = _index(index, counts_mask=False)
        if isinstance(value, ndarray):
            if not is_view and value.size > 1:
                _refuse_duplicates(self.shape, index)
            self._private[index] = value._private
        elif isinstance(value, SCALARS) or (isinstance(value, np.ndarray) and value.ndim == 0):
            self._private[index] = value
        else:
            raise unsupported(value)

    def fill(self, value):
        self[...] = value

    # -------------------------------------------------------------------------- the rest

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None:
            raise TypeError("casting is not supported yet")
        check_dtype(dtype)
        with np.errstate(all="ignore"):
            found = self._private.astype(dtype, order=order, copy=copy)
        return self if found is self._private else wrap(found)

    def view(self, dtype=None):
        return wrap(self._private.view() if dtype is None else self._private.view(dtype))

    def dot(self, other):
        return _matmul(self, other)

    def nonzero(self):
        return wrap(self._fetched("nonzero").nonzero())

    def __matmul__(self, other):
        return _matmul(self, other)

    def __rmatmul__(self, other):
        return _matmul(other, self)


def _matmul(a, b):
    for value in (a, b):
        if not isinstance(value, ndarray):
            raise unsupported(value)
    with np.errstate(all="ignore"):
        return wrap(np.matmul(a._private, b._private))


def _index(index, counts_mask=True):
    """Return an index for the private array, and whether it selects a view."""
    parts = index if isinstance(index, tuple) else (index,)
    found, masks, is_view = [], 0, True
    for part in parts:
        if part is None or part is Ellipsis:
            found.append(part)
        elif isinstance(part, slice):
            found.append(slice(*map(_bound, (part.start, part.stop, part.step))))
        elif isinstance(part, int | np.integer) and not isinstance(part, bool):
            found.append(part)
        else:
            part = part if isinstance(part, ndarray) else asarray(part)  # CuPy copies it, too
            if part.dtype.kind not in "biu":
                raise IndexError("arrays used as indices must be of integer or boolean type")
            masks += part.dtype.kind == "b"
            found.append(part._private)
            is_view = False
    if masks > 1:
        raise NotImplementedError("more than one mask in an index")
    if masks and counts_mask:
        transfers.count_to_host("mask")  # the shape of the result
    return tuple(found), is_view


def _bound(value):
    return value if value is None else operator.index(value)


def _refuse_duplicates(shape, index):
    """Raise if an index names one place twice: which value a device writes last is undefined."""
    places = np.arange(np.prod(shape, dtype=int)).reshape(shape)[index]
    if len(np.unique(places)) < places.size:
        raise ValueError("several values are assigned to one place: the result is undefined")


# ------------------------------------------------------------------- operators and methods

_OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
}
_COMPARISONS = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}


def _add_operators():
    for short, name in (_OPERATORS | _COMPARISONS).items():
        run = ufunc(name)
        setattr(ndarray, f"__{short}__", lambda self, other, run=run: run(self, other))
        if short in _OPERATORS:
            setattr(ndarray, f"__r{short}__", lambda self, other, run=run: run(other, self))
            setattr(
                ndarray, f"__i{short}__", lambda self, other, run=run: run(self, other, out=self)
            )
    for short, name in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
        run = ufunc(name)
        setattr(ndarray, f"__{short}__", lambda self, run=run: run(self))
    for name in METHODS:
        setattr(ndarray, name, method(name))


_add_operators()


# ------------------------------------------------------------------------------- creation


def asarray(a, dtype=None, order=None):
    """Return an array of the device; NumPy's arrays, lists and numbers are copied there."""
    if isinstance(a, ndarray):
        return a if dtype is None else a.astype(dtype, copy=False)
    host = np.asarray(unwrap(a) if isinstance(a, list | tuple) else a, dtype=dtype)
    check_dtype(host.dtype)
    transfers.count_to_device("asarray")
    # CuPy keeps no order but C and Fortran's.
    order = order or ("F" if host.flags.f_contiguous and not host.flags.c_contiguous else "C")
    return ndarray._of(np.array(host, dtype=host.dtype.newbyteorder("="), order=order))


def asnumpy(a, *, order="C"):
    """Return an array as NumPy's, a copy if it was on the device."""
    return a.get(order=order) if isinstance(a, ndarray) else np.asarray(a, order=order)


def get_array_module(*arrays):
    """Return this module if one of the arrays is of the device, else NumPy."""
    import importlib

    found = any(isinstance(array, ndarray) for array in arrays)
    return importlib.import_module(__package__) if found else np


def empty(shape, dtype=float, order="C"):
    """Return an array that holds what nobody should read: NaN or a large integer."""
    return _spoiled(np.empty(shape, dtype, order))


def empty_like(prototype, dtype=None, order="K"):
    """Return `empty` in the shape of an array of the device, and in its order in memory."""
    return _spoiled(np.empty_like(unwrap(prototype), dtype=dtype, order=order))


def _spoiled(private):
    kind = private.dtype.kind
    private[...] = np.nan if kind in "fc" else True if kind == "b" else np.iinfo(private.dtype).max
    return ndarray._of(private)
