"""The functions and methods that CuPy shares with NumPy, each with the arguments that CuPy takes.

Some arguments that it takes but nn has no use for are left out, such as `out` of most functions. A
test compares the lists with a CuPy if one can be imported, which needs no GPU.
"""

# Elementwise functions, which take `out`, `dtype` and `casting`.
UFUNCS = """
abs absolute add bitwise_and bitwise_or bitwise_xor ceil cos divide equal exp expm1 floor
floor_divide fmax fmin greater greater_equal invert isfinite isinf isnan less less_equal log log10
log1p log2 logical_and logical_not logical_or logical_xor maximum minimum mod multiply negative
not_equal power reciprocal remainder rint sign sin sqrt square subtract tanh true_divide
"""

# Methods of an array, which NumPy's have under the same names.
METHODS = """
all(axis=None, *, keepdims=False)
any(axis=None, *, keepdims=False)
argmax(axis=None, *, keepdims=False)
argmin(axis=None, *, keepdims=False)
argsort(axis=-1)
clip(min=None, max=None)
copy(order='C')
cumsum(axis=None, dtype=None)
diagonal(offset=0, axis1=0, axis2=1)
flatten(order='C')
max(axis=None, *, keepdims=False)
mean(axis=None, dtype=None, *, keepdims=False)
min(axis=None, *, keepdims=False)
prod(axis=None, dtype=None, *, keepdims=False)
ravel(order='C')
repeat(repeats, axis=None)
reshape(*shape, order='C')
round(decimals=0)
squeeze(axis=None)
std(axis=None, dtype=None, *, ddof=0, keepdims=False)
sum(axis=None, dtype=None, *, keepdims=False)
swapaxes(axis1, axis2)
trace(offset=0, axis1=0, axis2=1)
transpose(*axes)
var(axis=None, dtype=None, *, ddof=0, keepdims=False)
"""

# Those that wait for the device, to learn the shape of their result, have a star.
FUNCTIONS = """
all(a, axis=None, *, keepdims=False)
amax(a, axis=None, *, keepdims=False)
amin(a, axis=None, *, keepdims=False)
any(a, axis=None, *, keepdims=False)
arange(start, stop=None, step=1, dtype=None)
argmax(a, axis=None, *, keepdims=False)
argmin(a, axis=None, *, keepdims=False)
argsort(a, axis=-1)
argwhere(a) *
array_equal(a1, a2)
ascontiguousarray(a, dtype=None)
atleast_1d(*arys)
atleast_2d(*arys)
bincount(x, weights=None, minlength=None) *
broadcast_to(array, shape)
clip(a, a_min, a_max)
concatenate(tup, axis=0)
copy(a, order='K')
count_nonzero(a, axis=None)
cumsum(a, axis=None, dtype=None)
diag(v, k=0)
diagonal(a, offset=0, axis1=0, axis2=1)
dot(a, b)
expand_dims(a, axis)
eye(N, M=None, k=0, dtype=float)
flatnonzero(a) *
flip(a, axis=None)
full(shape, fill_value, dtype=None)
full_like(a, fill_value, dtype=None)
linspace(start, stop, num=50)
max(a, axis=None, *, keepdims=False)
mean(a, axis=None, dtype=None, *, keepdims=False)
min(a, axis=None, *, keepdims=False)
moveaxis(a, source, destination)
ndim(a)
nonzero(a) *
ones(shape, dtype=float)
ones_like(a, dtype=None)
outer(a, b)
pad(array, pad_width, mode='constant', **kwargs)
prod(a, axis=None, dtype=None, *, keepdims=False)
ravel(a, order='C')
repeat(a, repeats, axis=None)
reshape(a, newshape, order='C')
roll(a, shift, axis=None)
round(a, decimals=0)
shape(a)
size(a, axis=None)
sort(a, axis=-1)
split(ary, indices_or_sections, axis=0)
squeeze(a, axis=None)
stack(tup, axis=0)
std(a, axis=None, dtype=None, *, ddof=0, keepdims=False)
sum(a, axis=None, dtype=None, *, keepdims=False)
swapaxes(a, axis1, axis2)
take_along_axis(a, indices, axis)
tensordot(a, b, axes=2)
tile(A, reps)
transpose(a, axes=None)
tril(m, k=0)
triu(m, k=0)
unique(ar, return_index=False, return_inverse=False, return_counts=False, axis=None) *
var(a, axis=None, dtype=None, *, ddof=0, keepdims=False)
vstack(tup)
where(condition, x=None, y=None)
zeros(shape, dtype=float)
zeros_like(a, dtype=None)
matmul(x1, x2, /, out=None)
"""

# Functions that may be called without an array of the device.
CREATING = {"arange", "eye", "full", "linspace", "ones", "zeros", "ndim", "shape", "size"}


def _by_name(text):
    lines = [line for line in text.splitlines() if line]
    return {line.split("(")[0]: line for line in lines}


UFUNCS, METHODS, FUNCTIONS = UFUNCS.split(), _by_name(METHODS), _by_name(FUNCTIONS)
