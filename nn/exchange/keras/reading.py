"""A model of Keras as nn has it: the layers one by one, their arrays turned to nn's axes.

Keras' images are (N, H, W, C), nn's (N, C, H, W). So kernels are turned, and what flattens images
flattens them in another order, (H, W, C) for (C, H, W): the rows of the next dense layer change
places. `Stack` keeps account of it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import checks, kernels
from ...files import model_file
from ...layers import layer_from_config
from ...layers.base import Shape
from ...layers.budget import budget_for, take_elements
from .branches import MAX_LAYERS, NEEDED, Block, chain_of, dict_in, listed_in, refusal, text
from .files import KerasFile, snake_case

__all__ = ["Source", "Stack", "refusal", "to_model_file"]


class Source(NamedTuple):
    """Where the arrays of one layer are.

    Attributes
    ----------
    file
        The file.
    groups
        The parts of the name in the file that lead to the layer: `layers/dense_1`, or in the older
        layout `dense_1`.
    """

    file: KerasFile
    groups: tuple[str, ...]

    def arrays(self, names: Sequence[str], part: str = "") -> dict[str, np.ndarray]:
        """Return the arrays of a layer by their names in Keras.

        Parameters
        ----------
        names
            The names, in Keras' order; alternatives as 'kernel|depthwise_kernel'.
        part
            A part of the layer: 'cell', 'forward_layer/cell'.

        Raises
        ------
        ValueError
            If the file does not have exactly these arrays for the layer.
        """
        found = self._numbered(part) if self.file.is_numbered else self._named(part)
        place = "/".join((*self.groups, part)).strip("/")
        if len(found) != len(names):
            raise ValueError(f"'{place}' must hold {len(names)} arrays, got {sorted(found)}")
        chosen = {}
        for index, name in enumerate(names):
            keys = [str(index)] if self.file.is_numbered else name.split("|")
            key = next((key for key in keys if key in found), None)
            if key is None:
                raise ValueError(f"'{place}' lacks '{keys[0]}', it holds {sorted(found)}")
            chosen[name.split("|")[0]] = found[key]
        return chosen

    def has_arrays(self) -> bool:
        """Return whether the file has arrays for the layer itself."""
        return bool(self._numbered("") if self.file.is_numbered else self._named(""))

    def _numbered(self, part: str) -> dict[str, np.ndarray]:
        prefix = "/".join((*self.groups, *part.split("/"), "vars/")).replace("//", "/")
        return {
            name.removeprefix(prefix): array
            for name, array in self.file.arrays.items()
            if name.startswith(prefix)
        }

    def _named(self, part: str) -> dict[str, np.ndarray]:
        """Return the arrays below the groups, in whatever groups between.

        Of the two layers in a Bidirectional, the first one's name begins with 'forward_'; that of
        the other one may be its own.
        """
        is_first = {"forward_layer": True, "backward_layer": False}.get(part.split("/")[0])
        found = {}
        for path, array in self.file.arrays.items():
            first, *groups, name = path.split("/")
            if first != self.groups[0] or not set(self.groups[1:]) <= {first, *groups}:
                continue
            below = [group for group in groups if group not in self.groups]
            is_ahead = any(group.startswith("forward_") for group in below)
            if is_first is None or is_ahead == is_first:
                found[name.split(":")[0]] = array
        return found


class Stack:
    """The layers of a model, while they are made one after the other.

    Parameters
    ----------
    shape
        Of the inputs as nn has them, with None for the batch.

    Attributes
    ----------
    entries : list of dict
        The configurations of nn's layers.
    arrays : list of dict
        The arrays of each, by nn's names.
    sources : list of str
        The layer of Keras that each comes from.
    shape : tuple
        Of the output so far.
    order : numpy.ndarray or None
        If features are in another order than in Keras, the place in Keras of each.
    is_permuted : list of bool
        Whether Keras has images as (C, H, W) before, and after, the layer that is added next.
    """

    def __init__(self, shape: Shape, dtype: str):
        self.entries: list[dict[str, Any]] = []
        self.arrays: list[dict[str, np.ndarray]] = []
        self.sources: list[str] = []
        self.shape = shape
        self.order: np.ndarray | None = None
        self.dtype = dtype
        self.is_permuted = [False, False]

    @property
    def is_image(self) -> bool:
        """Whether the output so far is images."""
        return len(self.shape) == 4

    def add(self, kind: str, config: dict[str, Any], arrays: Any = None) -> None:
        """Add a layer.

        Parameters
        ----------
        kind
            Its class in nn.
        config
            Its arguments.
        arrays
            Its arrays by nn's names, in nn's axes; those of layers inside it as '0_LSTM_W'.
        """
        entry = {"class": kind, "config": config}
        layer = layer_from_config(entry)
        layer.dtype = self.dtype
        layer.build(self.shape)
        self.shape = layer.output_shape or self.shape
        self.entries.append(entry)
        self.arrays.append(arrays or {})
        if len(self.entries) > MAX_LAYERS:
            raise ValueError(f"it has more than {MAX_LAYERS:,} layers")

    def in_order(self, values: np.ndarray, axis: int = 0) -> np.ndarray:
        """Return numbers for each feature in nn's order of the features."""
        return values if self.order is None else np.take(values, self.order, axis)

    def flatten(self, name: dict[str, Any]) -> None:
        """Add a Flatten, after which features are in another order."""
        if self.is_image and not self.is_permuted[0]:
            c, h, w = (int(n or 0) for n in self.shape[1:])
            take_elements("Flatten", c * h * w)
            # The place of (c, h, w) in (H, W, C)
            self.order = np.arange(c * h * w).reshape(h, w, c).transpose(2, 0, 1).reshape(-1)
        self.add("Flatten", name)

    def reshape(self, target: Sequence[int], name: dict[str, Any]) -> None:
        """Add a Reshape to a shape of Keras."""
        values = math.prod(int(n or 0) for n in self.shape[1:])
        known = math.prod(n for n in target if n != -1)
        sizes = [values // known if n == -1 and known > 0 else n for n in target]
        turns = len(sizes) == 3 and not self.is_permuted[1]
        wanted = [sizes[2], *sizes[:2]] if turns else sizes
        if len(sizes) == 1 and self.is_image:
            self.flatten(name)
            return
        is_plain = self.is_permuted[0] or self._is_plain(self.shape[1:])
        if not is_plain or self.order is not None:
            raise ValueError(
                "reshapes images, whose values are in another order in nn: (C, H, W), not (H, W, C)"
            )
        if turns and not self._is_plain(wanted):
            self._turn_columns(sizes)
        self.add("Reshape", {"target_shape": wanted, **name})

    @staticmethod
    def _is_plain(shape: Sequence[int | None]) -> bool:
        """Return whether the values of a sample are in the same order in nn and in Keras."""
        return len(shape) != 3 or shape[0] == 1 or shape[1] == shape[2] == 1

    def _turn_columns(self, sizes: Sequence[int]) -> None:
        """Change the outputs of the last dense layer from the order (H, W, C) to (C, H, W)."""
        h, w, c = sizes
        take_elements("Reshape", h * w * c)
        order = np.arange(h * w * c).reshape(h, w, c).transpose(2, 0, 1).reshape(-1)
        for entry, arrays in zip(reversed(self.entries), reversed(self.arrays), strict=True):
            if entry["class"] != "Dense" and entry["class"] not in _EACH:
                break
            if any(array.shape[-1] != len(order) for array in arrays.values()):
                break
            for key, array in arrays.items():
                arrays[key] = np.take(array, order, -1)
            if entry["class"] == "Dense":
                return
        raise ValueError(
            "makes images of what is no output of a Dense layer: in nn, their values would be in "
            "another order, (C, H, W), not (H, W, C)"
        )


#: Layers that treat each feature alike, or have a number for each.
_EACH = frozenset(
    ("Activation", "ReLU", "ReLU6", "LeakyReLU", "ELU", "Dropout", "BatchNorm", "GaussianNoise")
)


Add = Callable[[Stack, dict[str, Any], Source], None]


def to_model_file(file: KerasFile, layers: "dict[str, Add]") -> model_file.ModelFile:
    """Return the content of a file of Keras as that of a file of nn.

    Parameters
    ----------
    file
        The content.
    layers
        What adds a layer of Keras to a `Stack`, by the name of its class.

    Raises
    ------
    ValueError
        For a model that is not a stack of layers which nn has; the message names the layer.
    """
    if file.config is None:
        raise ValueError(
            "it holds weights alone: make the same layers here, and call load_weights() of that "
            "model"
        )
    config = dict_in(file.config, "config")
    listed = chain_of(file.config)
    shape = _input_shape(listed, config)
    if len(shape) == 4:
        shape = (None, shape[3], *shape[1:3])  # (N, H, W, C) -> (N, C, H, W)
    stack = Stack(shape, _dtype(config))
    with budget_for(file.arrays):
        groups = ("layers",) if file.is_numbered else ()
        add_layers(stack, listed, file, groups, layers, groups_in(file.config, file.is_numbered))
    if stack.order is not None:
        raise ValueError(
            "it ends in flattened images, whose values would be in another order here: (C, H, W), "
            "not (H, W, C)"
        )
    architecture = {
        "layers": stack.entries,
        "dtype": stack.dtype,
        "name": text(config.get("name")),
        "input_shape": list(shape),
    }
    arrays, sources = {}, {}
    kept = {id(array) for array in file.arrays.values()}
    for index, (entry, own) in enumerate(zip(stack.entries, stack.arrays, strict=True)):
        for key, array in own.items():
            name = f"{index}_{entry['class']}{'/' if key[:1].isdigit() else '_'}{key}"
            arrays[name] = np.ascontiguousarray(array)
            sources[name] = stack.sources[index] + ("" if id(array) in kept else ", turned")
    return model_file.ModelFile(architecture, arrays, sources=sources)


def groups_in(model: dict[str, Any], is_numbered: bool) -> dict[int, str]:
    """Return the group of the arrays of each layer, by the identity of its configuration."""
    counts: dict[str, int] = {}
    found = {}
    for entry in listed_in(model):
        kind = text(entry.get("class_name")) or "?"
        snake = snake_case(kind)
        number = counts.get(snake, 0)
        counts[snake] = number + 1
        own = f"{snake}_{number}" if number else snake
        name = text(dict_in(entry, "config").get("name")) or kind
        found[id(entry)] = own if is_numbered else name
    return found


def add_layers(
    stack: Stack,
    listed: list[Any],
    file: KerasFile,
    groups: tuple[str, ...],
    layers: dict[str, Add],
    own: dict[int, str],
) -> None:
    """Add listed layers of Keras to a stack.

    Parameters
    ----------
    stack
        What they are added to.
    listed
        Their configurations, and blocks.
    file, groups
        The file, and what leads to their arrays in it.
    layers
        As for `to_model_file`.
    own
        The last group of each; see `groups_in`.
    """
    for entry, following in zip(listed, [*listed[1:], None], strict=False):  # it may be empty
        if isinstance(entry, Block):
            _add_block(stack, entry, lambda inner, path: add_layers(
                inner, path, file, groups, layers, own
            ))  # fmt: skip
            stack.is_permuted = [False, False]
            continue
        kind, config = text(entry.get("class_name")) or "?", dict_in(entry, "config")
        name = text(config.get("name")) or kind
        source = Source(file, (*groups, own[id(entry)]))
        if kind == "InputLayer":
            continue
        if kind == "Permute" and stack.is_permuted[1]:  # after a Reshape, to which it belongs
            stack.is_permuted = [False, False]
            continue
        next_kind = following.get("class_name") if isinstance(following, dict) else None
        if next_kind in ("Flatten", "Reshape") and stack.is_image and _permutes(entry, [3, 1, 2]):
            stack.is_permuted[0] = True
            continue
        stack.is_permuted[1] = kind == "Reshape" and _permutes(following, [2, 3, 1])
        if kind in _MODELS:
            below = (*source.groups, "layers") if file.is_numbered else source.groups
            inside = groups_in(entry, file.is_numbered)
            add_layers(stack, chain_of(entry), file, below, layers, inside)
            continue
        if kind not in layers:
            raise refusal(name, kind, _advice(entry))
        try:
            layers[kind](stack, config, source)
        except checks.FileFormatError:
            raise
        except ValueError as error:
            raise refusal(name, kind, str(error)) from error
        except (TypeError, KeyError, AttributeError, IndexError) as error:
            raise refusal(name, kind, f"is not described as Keras does: {error!r}") from error
        stack.sources += [f"{kind} '{name}'"] * (len(stack.entries) - len(stack.sources))
        stack.is_permuted[0] = False


def _add_block(stack: Stack, block: Block, add: Callable[[Stack, list[Any]], None]) -> None:
    """Add two paths that meet; `add` adds the layers of one to a stack of its own."""
    kind, config = text(block.join.get("class_name")) or "?", dict_in(block.join, "config")
    name = text(config.get("name")) or kind
    paths = []
    for path in (block.main, block.shortcut):
        inner = Stack(stack.shape, stack.dtype)
        inner.order = stack.order
        add(inner, path)
        paths.append(inner)
    main, shortcut = paths
    if not main.entries:  # the input itself, side by side with what is made of it
        main.add("Activation", {"activation": "linear"})
    if main.order is not shortcut.order:
        raise refusal(name, kind, "joins features that are in different orders in nn")
    shapes, axis = (main.shape, shortcut.shape), kernels.class_axis(len(main.shape))
    if block.kind == "Residual":
        if shapes[0] != shapes[1]:
            raise refusal(name, kind, f"adds values of shapes {shapes[0]} and {shapes[1]}")
    elif config.get("axis", -1) not in (-1, len(main.shape) - 1) or main.order is not None:
        raise refusal(name, kind, f"joins along axis={config.get('axis')}, not the channels")
    else:
        rest = [shape[:axis] + shape[axis + 1 :] for shape in shapes]
        channels = [int(shape[axis] or 0) for shape in shapes]
        if rest[0] != rest[1] or 0 in channels:
            raise refusal(name, kind, f"joins values of shapes {shapes[1]} and {shapes[0]}")
        main.shape = (*main.shape[:axis], sum(channels), *main.shape[axis + 1 :])
    arrays: dict[str, np.ndarray] = {}
    parts = [*zip(main.entries, main.arrays, strict=True),
             *zip(shortcut.entries, shortcut.arrays, strict=True)]  # fmt: skip
    for index, (entry, own) in enumerate(parts):
        prefix = f"{index}_{entry['class']}"
        arrays |= {f"{prefix}{'/' if k[:1].isdigit() else '_'}{k}": a for k, a in own.items()}
    inside = {"layers": main.entries, "shortcut": shortcut.entries or None}
    stack.entries.append({"class": block.kind, "config": {**inside, "name": name}})
    stack.arrays.append(arrays)
    stack.sources.append(f"{kind} '{name}'")
    stack.shape, stack.order = main.shape, main.order


def _permutes(entry: Any, dims: list[int]) -> bool:
    """Return whether a layer is a Permute of these axes."""
    is_permute = isinstance(entry, dict) and entry.get("class_name") == "Permute"
    return is_permute and list(dict_in(entry, "config").get("dims") or ()) == dims


_MODELS = ("Sequential", "Functional", "Model")


def _advice(entry: dict[str, Any]) -> str:
    kind = entry["class_name"]
    if entry.get("registered_name") not in (None, kind) and kind not in NEEDED:
        return (
            "is a class of its own: write it as a layer of nn with @nn.register, make the same "
            "layers here, and copy the arrays by set_arrays()"
        )
    return NEEDED.get(kind, "is a layer that nn does not have")


def _input_shape(listed: list[dict[str, Any]], config: dict[str, Any]) -> Shape:
    """Return the shape of the inputs in Keras, with None for the batch."""
    build = config.get("build_input_shape")
    for entry in listed[:1]:
        own = dict_in(entry, "config")
        found = own.get("batch_shape") or own.get("batch_input_shape")
        if found is None and entry.get("class_name") in _MODELS:
            return _input_shape(chain_of(entry), own)
        build = found or build or entry.get("build_config", {}).get("input_shape")
    if not isinstance(build, list) or len(build) < 2:
        raise ValueError("the shape of its inputs is not known: build() it in Keras before saving")
    if not all(n is None or (checks.is_integer(n) and n > 0) for n in build[1:]):
        raise ValueError(f"its inputs have the shape {build}")
    return (None, *build[1:])


def _dtype(config: dict[str, Any]) -> str:
    found = config.get("dtype", "float32")
    if isinstance(found, dict):
        found = dict_in(found, "config").get("name")
    return "float64" if found == "float64" else "float32"
