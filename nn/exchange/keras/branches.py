"""Models of Keras made by functions, whose paths part and meet again: as blocks of nn, and back.

Where two paths meet in an `Add` or a `Concatenate`, they have parted at some layer before: the
layers between are the two paths of a `Residual` or a `SkipConcat`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

__all__ = [
    "MAX_LAYERS",
    "NEEDED",
    "Block",
    "chain_of",
    "dict_in",
    "in_keras_order",
    "listed_in",
    "node_of",
    "refusal",
    "text",
]

#: Layers of a model at most, those inside others included; and blocks inside each other.
MAX_LAYERS, _MAX_NESTED = 10_000, 50
_MAX_WALK = 1 << 20  # layers on the paths of all blocks

Config = dict[str, Any]

_JOINS = {"Add": "Residual", "Concatenate": "SkipConcat"}
NEEDED = {
    "Lambda": "is a Python function, which nn does not run from a file: write it as a layer, with "
    "@nn.register, and load the weights by load_weights()",
    **dict.fromkeys(
        ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract", "Dot"),
        "joins branches in a way that nn does not have: it has two paths from one layer on, which "
        "are added (nn.Residual) or side by side (nn.SkipConcat); build the layers here, and copy "
        "the arrays by set_arrays()",
    ),
    **dict.fromkeys(
        ("AdditiveAttention", "Attention", "GroupedQueryAttention", "MultiHeadAttention"),
        "is attention, which nn does not read from files of Keras: build the layers here, with "
        "nn.MultiHeadAttention for attention of a sequence to itself, and copy the arrays by "
        "set_arrays()",
    ),
    **dict.fromkeys(
        ("RandomFlip", "RandomRotation", "RandomZoom", "RandomCrop", "RandomContrast"),
        "changes images in training alone: remove it in Keras before saving, and pass augment= to "
        "fit()",
    ),
}


class Block(NamedTuple):
    """Two paths that meet.

    Attributes
    ----------
    kind
        'Residual' or 'SkipConcat'.
    join
        The layer of Keras at which they meet.
    main, shortcut
        The layers on the paths, which may be blocks.
    nested
        How many blocks are inside each other.
    """

    kind: str
    join: Config
    main: list[Any]
    shortcut: list[Any]
    nested: int


class _Step(NamedTuple):
    """A layer or a block, and the one before it."""

    item: Any
    parent: "_Step | None"
    depth: int


def refusal(name: str, kind: str, reason: str) -> ValueError:
    """Return the error for a layer that nn cannot make."""
    return ValueError(f"the layer '{name}' ({kind}) {reason}")


def dict_in(entry: Any, key: str) -> Config:
    """Return the dictionary under a key, which must be there."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, dict):
        raise ValueError(f"its configuration lacks '{key}'")
    return value


def text(value: Any) -> str | None:
    """Return a value if it is a string, else None."""
    return value if isinstance(value, str) else None


# --------------------------------------------------------------------------------------- in


def listed_in(model: Config) -> list[Config]:
    """Return the layers of a model in the order of the file."""
    listed = dict_in(model, "config").get("layers")
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise ValueError("its configuration has no list of layers")
    if len(listed) > MAX_LAYERS:
        raise ValueError(f"it has more than {MAX_LAYERS:,} layers")
    return listed


def chain_of(model: Config) -> list[Any]:
    """Return the layers of a model one after the other; a `Block` where paths part and meet.

    Raises
    ------
    ValueError
        For a model that is not such a chain; the message names the layer.
    """
    listed = listed_in(model)
    if model.get("class_name") == "Sequential":
        return listed
    by_name = {text(dict_in(entry, "config").get("name")) or "": entry for entry in listed}
    if len(by_name) != len(listed):
        raise ValueError("two of its layers have the same name")
    for name, entry in by_name.items():
        nodes = entry.get("inbound_nodes")
        if isinstance(nodes, list) and len(nodes) > 1:
            times = "twice" if len(nodes) == 2 else f"{len(nodes)} times"
            raise ValueError(
                f"the layer '{name}' is used {times}, and a model of nn has each layer once: build "
                "the layers here, one for each use, and copy the arrays by set_arrays()"
            )
    inputs = {k: _inputs(entry.get("inbound_nodes"), by_name) for k, entry in by_name.items()}
    first = [name for name, given in inputs.items() if not given]
    if len(first) != 1:
        raise ValueError(f"it has {len(first)} inputs, and a model of nn has one")
    read = {name for given in inputs.values() for name in given}
    last = sorted(by_name.keys() - read)
    outputs = _inputs(model["config"].get("output_layers"), by_name)
    if len(last) != 1 or (outputs and set(outputs) != set(last)):
        count = max(len(last), len(set(outputs)))
        raise ValueError(f"it has {count} outputs, and a model of nn has one")
    step = _steps(by_name, inputs)[last[0]]
    _require_once(_between(None, step), by_name)
    return _between(None, step)


def _steps(by_name: dict[str, Config], inputs: dict[str, list[str]]) -> dict[str, _Step]:
    """Return the way to each layer, in an order in which those before it come first."""
    following: dict[str, list[str]] = {name: [] for name in by_name}
    for name, given in inputs.items():
        for before in given:
            following[before].append(name)
    waits = {name: len(given) for name, given in inputs.items()}
    ready = [name for name, count in waits.items() if count == 0]
    steps: dict[str, _Step] = {}
    walked = 0
    while ready:
        name = ready.pop()
        ways = [steps[key] for key in inputs[name]]
        steps[name] = _step(name, by_name[name], ways)
        walked += sum(step.depth for step in ways) if len(ways) > 1 else 0
        if walked > _MAX_WALK:
            raise ValueError("it has more branches than any model has")
        for key in following[name]:
            waits[key] -= 1
            if not waits[key]:
                ready.append(key)
    if len(steps) != len(by_name):
        raise ValueError("its layers are no chain")
    return steps


def _step(name: str, entry: Config, before: list[_Step]) -> _Step:
    if len(before) < 2:
        return _Step(entry, *((before[0], before[0].depth + 1) if before else (None, 0)))
    kind = text(entry.get("class_name")) or "?"
    if kind not in _JOINS or len(before) != 2 or before[0] is before[1]:
        raise refusal(name, kind, NEEDED.get(kind, NEEDED["Add"]))
    a, b = before
    while a is not b:
        if a.depth >= b.depth:
            a, b = b, a
        if b.parent is None:
            raise refusal(name, kind, NEEDED["Add"])
        b = b.parent
    first, second = (_between(a, step) for step in before)
    main, shortcut = (first, second) if kind == "Add" and first else (second, first)
    inner = [item.nested for item in (*main, *shortcut) if isinstance(item, Block)]
    block = Block(_JOINS[kind], entry, main, shortcut, 1 + max(inner, default=0))
    if block.nested > _MAX_NESTED:
        raise refusal(name, kind, f"is the end of more than {_MAX_NESTED} blocks in each other")
    return _Step(block, a, a.depth + 1)


def _between(start: _Step | None, end: _Step) -> list[Any]:
    """Return the layers after one, to another."""
    found = []
    step: _Step | None = end
    while step is not start and step is not None:
        found.append(step.item)
        step = step.parent
    return found[::-1]


def _leaves(items: Sequence[Any]) -> Iterator[Config]:
    for item in items:
        if isinstance(item, Block):
            yield from _leaves(item.main)
            yield from _leaves(item.shortcut)
            yield item.join
        else:
            yield item


def _require_once(items: list[Any], by_name: dict[str, Config]) -> None:
    """Raise if a layer is on no path, or on several."""
    seen: set[int] = set()
    for entry in _leaves(items):
        if id(entry) in seen:
            name = text(entry["config"].get("name")) or "?"
            raise refusal(name, text(entry.get("class_name")) or "?", NEEDED["Add"])
        seen.add(id(entry))
    if len(seen) != len(by_name):
        raise ValueError("its layers are no chain")


def _inputs(nodes: Any, names: dict[str, Any]) -> list[str]:
    """Return the names of the layers whose outputs a layer gets.

    Keras 3 has them in 'keras_history', Keras 2 in lists: [[['dense', 0, 0, {}]]].
    """
    found: list[str] = []
    level = [nodes]
    while level:
        value = level.pop()
        if isinstance(value, dict):
            history = value.get("keras_history")
            if isinstance(history, list) and history:
                found.append(str(history[0]))
            else:
                level += value.values()
        elif isinstance(value, list):
            if len(value) >= 3 and text(value[0]) in names and value[1:3] == [0, 0]:
                found.append(value[0])
            else:
                level += value[::-1]  # so that they are found in their order
    unknown = next((name for name in found if name not in names), None)
    if unknown is not None:
        raise ValueError(f"it has the unknown layer '{unknown}'")
    return found


# -------------------------------------------------------------------------------------- out


def in_keras_order(inputs: list[tuple[int, ...]]) -> list[int]:
    """Return the order in which Keras has layers, whose classes are numbered in it.

    It is that of the longest way to the output; of equal ones, that in which they are met on the
    way back from the output.

    Parameters
    ----------
    inputs
        The layers before each one, by number, which are less than its own; -1 for the input.

    Examples
    --------
    >>> in_keras_order([(-1,), (0,), (1,), (0,), (2, 3)])  # 4 is the sum of 2 and 3
    [0, 1, 2, 3, 4]
    >>> in_keras_order([(-1,), (0,), (0,), (2,), (1, 3)])
    [0, 2, 1, 3, 4]
    """
    depth = [0] * len(inputs)
    for number in reversed(range(len(inputs))):
        for before in inputs[number]:
            if before >= 0:
                depth[before] = max(depth[before], depth[number] + 1)
    met: dict[int, int] = {}
    rest = [len(inputs) - 1]
    while rest:
        number = rest.pop()
        if number >= 0 and number not in met:
            met[number] = len(met)
            rest += reversed(inputs[number])
    return sorted(range(len(inputs)), key=lambda k: (-depth[k], met[k]))


def node_of(names: Sequence[str], dtype: str, axes: int) -> list[Config]:
    """Return the 'inbound_nodes' of a layer that gets the outputs of others."""
    tensors = [
        {
            "class_name": "__keras_tensor__",
            "config": {"shape": [None] * axes, "dtype": dtype, "keras_history": [name, 0, 0]},
        }
        for name in names
    ]
    return [{"args": tensors if len(tensors) == 1 else [tensors], "kwargs": {}}]
