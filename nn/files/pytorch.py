"""The arrays in files of `torch.save`, read without PyTorch and without running anything.

Such a file is a ZIP archive: `data.pkl` is a pickle of the saved object, and `data/0`, `data/1` and
so on are the numbers of its tensors, the storages. The pickle is read by the machine in `pickles`,
which calls nothing: a tensor becomes a `Tensor`, a record of its storage, offset, shape and
strides, and any other object an `Unknown`, which has only a name. Every record is compared with
its storage before an array is made of it.
"""

import math
import zipfile
from collections.abc import Iterable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .pickles import Machine
from .safetensors import from_bfloat16
from .sparse import ALLOWANCE, MAX_RATIO

__all__ = ["read"]

_MAX_PICKLE = 1 << 24  # bytes
_MAX_MEMBERS = 100_000
_MAX_AXES = 32

#: Types of storages; bfloat16 is read as float32.
_DTYPES = {
    "torch FloatStorage": "f4",
    "torch DoubleStorage": "f8",
    "torch HalfStorage": "f2",
    "torch BFloat16Storage": "bf16",
    "torch LongStorage": "i8",
    "torch IntStorage": "i4",
    "torch ShortStorage": "i2",
    "torch CharStorage": "i1",
    "torch ByteStorage": "u1",
    "torch BoolStorage": "b1",
}
_NEW_DICT, _NEW_TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_NEW_PARAMETER = "torch._utils _rebuild_parameter"

#: Keys under which checkpoints have the state dict, the first that is there.
_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights")

_HOW = "save its state_dict: torch.save(model.state_dict(), path)"


class Name(str):
    """A name in a pickle: 'module name'."""

    __slots__ = ()


class Unknown(NamedTuple):
    """An object of which only the name of its class, or of the function, is known."""

    name: str


class Storage(NamedTuple):
    """The numbers behind tensors: the type, the member of the archive, how many there are."""

    kind: str
    key: str
    length: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides are counted in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Machine(Machine):
    """Knows how PyTorch writes tensors; calls nothing."""

    keys = (str, int)

    def step(self, name: str, argument: Any) -> None:
        """Execute one instruction."""
        match name:
            case "BINUNICODE" | "LONG1" | "BINFLOAT":
                self.stack.append(argument)
            case "EMPTY_TUPLE":
                self.stack.append(())
            case "NEWOBJ":
                function, arguments = self.pop(2)
                self.stack.append(self.call(function, arguments))
            case "BINPERSID":
                self.stack.append(_storage(*self.pop(1)))
            case _:
                super().step(name, argument)

    def find(self, name: str) -> Name:
        return Name(name)

    def call(self, function: Any, arguments: Any) -> Any:
        if type(function) is not Name:
            raise ValueError("it calls something that has no name")
        if type(arguments) is not tuple:
            raise ValueError("it calls a function without a tuple of arguments")
        if function == _NEW_DICT and not arguments:
            return {}
        if function == _NEW_TENSOR:
            return _tensor(*arguments[:4])
        if function == _NEW_PARAMETER and arguments and type(arguments[0]) is Tensor:
            return arguments[0]
        return Unknown(function.replace(" ", "."))

    def build(self, state: Any) -> None:
        """Ignore the state: a state dict has versions there, and unknown objects stay so."""
        if not self.stack or type(self.stack[-1]) not in (dict, Unknown, Tensor):
            raise ValueError("it sets the state of something that has none")


def read(stream: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """Return the arrays of the state dict in a file, in its order.

    Parameters
    ----------
    stream
        The open file.
    size
        Its length in bytes. All arrays together may have 20 times as many and a megabyte more, as
        tensors can share their numbers.

    Raises
    ------
    Exception
        Of any kind, for a file that is damaged; ValueError for one with something else than a
        state dict. The message says what is wrong, not in which file.
    """
    with zipfile.ZipFile(stream) as file:
        names = file.namelist()
        if any("/code/" in name or name.endswith("constants.pkl") for name in names):
            raise ValueError(f"it is a program of TorchScript; {_HOW}")
        members = _members(file, size)
        roots = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
        if len(roots) != 1:
            raise ValueError(f"it has {len(roots)} pickles instead of one")
        root = roots[0].removesuffix("data.pkl")
        if members[roots[0]].file_size > _MAX_PICKLE:
            raise ValueError(f"its pickle has more than {_MAX_PICKLE:,} bytes")
        tensors = _state_dict(_unpickle(file.read(members[roots[0]])))
        most = MAX_RATIO * size + ALLOWANCE
        total = sum(math.prod(t.shape) * _itemsize(t.storage) for t in tensors.values())
        if total > most:
            raise ValueError(
                f"its tensors take {total:,} bytes, more than the {most:,} there can be"
            )
        order = ">" if _text(file, members, root + "byteorder") == "big" else "<"
        made: dict[str, np.ndarray] = {}
        return {
            name: _array(tensor, _numbers(file, members, root, tensor.storage, order, made))
            for name, tensor in tensors.items()
        }


def _members(file: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name: stored, not compressed, and no more than the file has."""
    if len(file.infolist()) > _MAX_MEMBERS:
        raise ValueError(f"it holds more than {_MAX_MEMBERS:,} members")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in file.infolist():
        if info.filename in found:
            raise ValueError(f"it holds '{info.filename}' twice")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"'{info.filename}' is compressed, which PyTorch does not do")
        found[info.filename] = info
    if sum(info.file_size for info in found.values()) > size:
        raise ValueError("its members are larger than the file")
    return found


def _text(file: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str) -> str:
    """Return a short text in the archive; '' if there is none."""
    if name not in members or members[name].file_size > 100:
        return ""
    return file.read(members[name]).decode("ascii").strip()


def _unpickle(content: bytes) -> Any:
    machine = _Machine()
    try:
        machine.run(content)
    except Exception as error:  # a damaged file can make the steps fail in any way
        raise ValueError(
            f"its pickle cannot be read, and nothing in it was run: {error}, near byte "
            f"{machine.position:,}"
        ) from error
    if machine.below or len(machine.stack) != 1:
        raise ValueError("its pickle does not contain exactly one object")
    return machine.stack[0]


def _storage(identity: Any) -> Storage:
    """Return a storage from what a pickle has in its place."""
    kinds = [str, Name, str, str, int]
    if type(identity) is not tuple or [*map(type, identity)] != kinds or identity[0] != "storage":
        raise ValueError("it has a reference that is not to the numbers of a tensor")
    _, name, key, _, length = identity
    return Storage(name, key, length)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    """Return a tensor, once it is known to be inside its storage."""
    sizes = [offset, *shape, *strides] if type(shape) is type(strides) is tuple else [None]
    is_whole = all(type(size) is int and size >= 0 for size in sizes)
    if type(storage) is not Storage or not is_whole:
        raise ValueError("it has a tensor without a storage, an offset, sizes and strides")
    if len(shape) != len(strides) or len(shape) > _MAX_AXES:
        raise ValueError(f"it has a tensor of shape {shape} with strides {strides}")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count > storage.length or (count and last >= storage.length):
        raise ValueError(
            f"a tensor of shape {shape} with strides {strides} and offset {offset} is not within "
            f"its {storage.length:,} numbers"
        )
    return Tensor(storage, offset, shape, strides)


def _itemsize(storage: Storage) -> int:
    if storage.kind not in _DTYPES:
        raise ValueError(f"it has numbers of {storage.kind.replace(' ', '.')}, which NumPy has not")
    kind = _DTYPES[storage.kind]
    return 2 if kind == "bf16" else np.dtype(kind).itemsize


def _numbers(
    file: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    root: str,
    storage: Storage,
    order: str,
    made: dict[str, np.ndarray],
) -> np.ndarray:
    """Return the numbers of a storage, (count,); those that tensors share are read once."""
    name = f"{root}data/{storage.key}"
    if name not in members:
        raise ValueError(f"there is no '{name}' for a tensor")
    if members[name].file_size != storage.length * _itemsize(storage):
        raise ValueError(f"'{name}' must take {storage.length * _itemsize(storage):,} bytes")
    if (label := f"{name} {storage.kind}") not in made:
        kind, content = _DTYPES[storage.kind], file.read(members[name])
        if kind == "bf16":
            made[label] = from_bfloat16(np.frombuffer(content, f"{order}u2"))
        else:
            values = np.frombuffer(content, f"{order}{kind}")
            made[label] = values.astype(values.dtype.newbyteorder("="), copy=False)
        if kind == "b1" and made[label].view(np.uint8).max(initial=0) > 1:
            raise ValueError(f"'{name}' holds truth values other than 0 and 1")
    return made[label]


def _array(tensor: Tensor, numbers: np.ndarray) -> np.ndarray:
    """Return a tensor as an array, not a copy; it is within its storage."""
    steps = [step * numbers.itemsize for step in tensor.strides]
    if not math.prod(tensor.shape):
        return np.empty(tensor.shape, numbers.dtype)
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps)


def _state_dict(value: Any) -> dict[str, Tensor]:
    """Return the state dict in what a file holds: the whole, or an entry of a checkpoint."""
    if type(value) is Unknown:
        raise ValueError(f"it is a pickled object of {value.name:.80}, not a state_dict; {_HOW}")
    if type(value) is not dict:
        kind = {Tensor: "a single tensor"}.get(type(value), f"a {type(value).__name__}")
        raise ValueError(f"it is {kind}, not a state_dict; {_HOW}")
    if any(type(inner) is Tensor for inner in value.values()):
        return _checked(value)
    found = {key: v for key, v in value.items() if type(v) is dict and _tensors(v.values())}
    keys = [key for key in _KEYS if key in found] or list(found)
    if not keys:
        objects = [f"{k!r:.40}: {v.name:.80}" for k, v in value.items() if type(v) is Unknown]
        more = f" ({', '.join(objects[:5])})" if objects else ""
        raise ValueError(f"it has no state_dict{more}; {_HOW}")
    if keys[0] not in _KEYS and len(keys) > 1:
        raise ValueError(f"it has several state_dicts ({', '.join(map(repr, keys[:5]))}); {_HOW}")
    return _checked(found[keys[0]])


def _tensors(values: Iterable[Any]) -> bool:
    return any(type(value) is Tensor for value in values)


def _checked(values: dict[Any, Any]) -> dict[str, Tensor]:
    """Return a dict in which all keys are names and all values tensors."""
    for key, value in values.items():
        if type(key) is not str or type(value) is not Tensor:
            name = value.name if type(value) is Unknown else type(value).__name__
            raise ValueError(
                f"its state_dict has something else than a tensor: {key!r:.80}, {name}"
            )
        _itemsize(value.storage)
    return values
