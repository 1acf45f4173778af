"""What the names in a graph stand for, while it is read: constants, or outputs of layers.

A `Link` is a layer of nn with the one before it. A `Value` is what a node returns: the output of a
link, perhaps with its axes in another order; or something that is no layer's output but a part of
a formula, such as the square in a variance. Nodes are kept, so that formulas are recognized by what
they are made of.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...layers import layer_from_config
from ...layers.base import Shape
from ...layers.budget import take_elements
from ...layers.config import MAX_LAYERS

__all__ = [
    "IMAGES",
    "STEPS",
    "Constant",
    "Link",
    "Node",
    "RefusedError",
    "Run",
    "Value",
    "Weight",
    "by_feature",
    "channel_axis",
    "layers_between",
    "require_channels",
]

#: The axes of images, and of sequences whose features come first, as ONNX has them: (N, D, T).
IMAGES, STEPS = (0, 1, 2, 3), (0, 2, 1)


class RefusedError(ValueError):
    """A node that is nothing which nn has a layer for; `index` is its place in the graph."""

    def __init__(self, message: str, index: int):
        super().__init__(message)
        self.index = index


class Constant(NamedTuple):
    """An array of a graph, and where it is from. Shapes are arrays of objects, None if unknown."""

    array: np.ndarray
    name: str


class Weight(NamedTuple):
    """An array of a layer, and what it was in the file."""

    array: np.ndarray
    source: str


@dataclass(eq=False, repr=False)
class Link:
    """A layer in the tree of the layers.

    Attributes
    ----------
    parent
        The layer before it; None for the input.
    kind, config
        Its class in nn and the arguments.
    arrays
        Its arrays by nn's names.
    shape
        Of its output, with None for sizes that may change.
    branches
        For a Residual or a SkipConcat: the last layers of both paths, which begin after `parent`.
    depth, count
        The layers before it in its chain, and all that it takes to make it.
    """

    parent: "Link | None"
    kind: str
    config: dict[str, Any]
    arrays: dict[str, Weight]
    shape: Shape
    branches: tuple["Link", ...] = ()
    depth: int = 0
    count: int = 0
    _pairs: dict[tuple["Link", "Link"], "Link"] = field(default_factory=dict)

    def then(
        self, kind: str, config: dict[str, Any], arrays: dict[str, Weight] | None = None
    ) -> "Link":
        """Return the link of a layer after this one, which is built to know its shape.

        Raises
        ------
        ValueError
            For arguments or a shape that the layer does not take.
        """
        layer = layer_from_config({"class": kind, "config": config})
        layer.build(self.shape)
        shape = layer.output_shape or self.shape
        return Link(self, kind, config, arrays or {}, shape)._counted()

    def joined(self, main: "Link", shortcut: "Link") -> "Link":
        """Return the link of the Residual whose two paths begin after this one."""
        if main is self:
            main, shortcut = shortcut, main
        if main is self:
            return self.then("Rescale", {"scale": 2.0})
        return Link(self, "Residual", {}, {}, main.shape, (main, shortcut))._counted()

    def side_by_side(self, first: "Link", second: "Link", shape: Shape) -> "Link":
        """Return the link of the SkipConcat that joins two paths which begin after this one.

        The same two paths have the same link, as in a DenseNet, whose layers get the outputs of
        all before them.
        """
        if (first, second) not in self._pairs:
            main = second  # which has a layer at least
            if main is self:
                main = self.then("Activation", {"activation": "linear"})
            made = Link(self, "SkipConcat", {}, {}, shape, (main, first))
            self._pairs[first, second] = made._counted()
        return self._pairs[first, second]

    def replaced(self, config: dict[str, Any], arrays: dict[str, Weight]) -> "Link":
        """Return the link of this layer with other arguments or arrays; of the same shape."""
        return Link(self.parent, self.kind, config, arrays, self.shape)._counted()

    def _counted(self) -> "Link":
        assert self.parent is not None
        self.depth = self.parent.depth + 1
        paths = sum(link.count - self.parent.count for link in self.branches)
        self.count = self.parent.count + 1 + paths
        if self.count > MAX_LAYERS:
            raise ValueError(f"makes more than {MAX_LAYERS:,} layers")
        return self


def common_link(a: Link, b: Link) -> Link:
    """Return the last link that two chains share."""
    first, second = a, b
    while first is not second:
        if first.depth >= second.depth:
            first, second = second, first
        if second.parent is None:
            raise ValueError("joins values that do not come from one")
        second = second.parent
        take_elements("ONNX", 1)  # a file must not make this long
    return first


def layers_between(
    start: Link, end: Link, seen: set[int]
) -> list[tuple[dict[str, Any], dict[str, Weight]]]:
    """Return the layers after one link, to another: configurations, and arrays by nn's names.

    Parameters
    ----------
    start, end
        The links.
    seen
        The links that are in the model already, which this adds to.

    Raises
    ------
    ValueError
        If a layer would be in the model twice.
    """
    links = []
    link: Link | None = end
    while link is not start:
        if link is None or id(link) in seen:
            kind = "?" if link is None else link.kind
            raise ValueError(f"a layer ({kind}) is used twice, in a graph that is no stack")
        seen.add(id(link))
        links.append(link)
        link = link.parent
    return [_written(link, seen) for link in reversed(links)]


def _written(link: Link, seen: set[int]) -> tuple[dict[str, Any], dict[str, Weight]]:
    if not link.branches:
        return {"class": link.kind, "config": link.config}, link.arrays
    assert link.parent is not None
    paths = [layers_between(link.parent, end, seen) for end in link.branches]
    arrays: dict[str, Weight] = {}
    for index, (entry, own) in enumerate([*paths[0], *paths[1]]):
        arrays |= {array_name(index, entry["class"], key): w for key, w in own.items()}
    main, shortcut = ([entry for entry, _ in path] for path in paths)
    config = {"layers": main, **({"shortcut": shortcut} if shortcut else {})}
    return {"class": link.kind, "config": config}, arrays


def array_name(index: int, kind: str, key: str) -> str:
    """Return the name of an array in a file of nn: of a layer, or of one inside it.

    Examples
    --------
    >>> array_name(1, "Dense", "W"), array_name(2, "Residual", "0_Dense_W")
    ('1_Dense_W', '2_Residual/0_Dense_W')
    """
    return f"{index}_{kind}{'/' if key[:1].isdigit() else '_'}{key}"


@dataclass(eq=False, repr=False)
class Value:
    """What a node returns.

    Attributes
    ----------
    node
        The node; None for the input.
    link
        The layer whose output it is; None for a part of a formula.
    perm
        Axis k of the value is axis perm[k] of the layer's output.
    order
        If features (N, D) are in another order than the layer's, the place here of each of those.
    sizes
        The shape, if there is no link and it is known.
    reason
        Why there is no link.
    role
        For outputs that become a layer's only with the nodes that follow: what they are.
    """

    node: "Node | None"
    link: Link | None = None
    perm: tuple[int, ...] = ()
    order: np.ndarray | None = None
    sizes: Shape | None = None
    reason: RefusedError | None = None
    role: Any = None

    @property
    def shape(self) -> Shape | None:
        """The shape in the graph; None if it is not known."""
        return self.sizes if self.link is None else tuple(self.link.shape[k] for k in self.perm)

    @property
    def is_plain(self) -> bool:
        """Whether it is a layer's output as it is."""
        return (
            self.link is not None
            and self.order is None
            and self.perm == tuple(range(len(self.perm)))
        )

    def after(self, node: "Node", link: Link) -> "Value":
        """Return the output of a layer that keeps the axes and the order of this value."""
        return Value(node, link, self.perm, self.order)


@dataclass(eq=False, repr=False)
class Node:
    """A node of the graph with its inputs; see `RefusedError` for what is wrong with one.

    Attributes
    ----------
    op, name, index
        The operator, the name of the node, its place in the graph.
    opset
        The version of the operators.
    inputs
        Values and constants; None for those left out.
    attributes
        Numbers, strings, lists and arrays by their names.
    outputs
        How many outputs there are.
    """

    op: str
    name: str
    index: int
    opset: int
    inputs: list[Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1

    def refuse(self, reason: str) -> RefusedError:
        """Return the error for this node."""
        return RefusedError(f"the node '{self.name}' ({self.op}) {reason}", self.index)

    def part(self, sizes: Shape | None = None, role: Any = None) -> Value:
        """Return the output of this node as a part of a formula."""
        reason = next(
            (v.reason for v in self.inputs if isinstance(v, Value) and v.reason and not v.role),
            None,
        )
        own = self.refuse("is no part of anything that nn has a layer for")
        return Value(self, sizes=sizes, reason=reason or own, role=role)

    def value(self, index: int = 0) -> Value:
        """Return an input that is a layer's output."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(found, Value):
            raise self.refuse("computes with constants where nn has the input of a layer")
        if found.link is None:
            raise found.reason or self.refuse("gets no output of a layer")
        return found

    def link(self, *perms: tuple[int, ...], what: str = "") -> tuple[Value, Link]:
        """Return the first input, and its layer, if its axes are in one of these orders."""
        found = self.value()
        if (perms and found.perm not in perms) or (perms and found.order is not None):
            raise self.refuse(f"gets values of shape {found.shape} in another layout than {what}")
        assert found.link is not None
        return found, found.link

    def constant(self, index: int) -> Constant | None:
        """Return an input that is a constant; None if it is left out."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(found, Value):
            rule = f"has an input {index} that is computed, and nn has a constant there"
            raise found.reason or self.refuse(rule)
        return found

    def weight(self, index: int) -> Weight | None:
        """Return an input as an array of a layer, in at least float32."""
        found = self.constant(index)
        if found is None:
            return None
        if found.array.dtype.kind != "f":
            raise self.refuse(f"has the {found.array.dtype} array '{found.name}', not floats")
        take_elements("ONNX", found.array.size // 4)  # so that it is not used without end
        wide = np.promote_types(found.array.dtype, np.float32)
        return Weight(found.array.astype(wide, copy=False), found.name)

    def required(self, index: int) -> Weight:
        """Return an input that must be there, as an array of a layer."""
        found = self.weight(index)
        if found is None:
            raise self.refuse(f"lacks its input {index}")
        return found

    def integers(self, index: int, attribute: str = "") -> list[int] | None:
        """Return integers: an input, or in older versions of the operator an attribute."""
        if attribute in self.attributes:
            found = self.attributes[attribute]
            return found if isinstance(found, list) else [found]
        constant = self.constant(index)
        if constant is None:
            return None
        if constant.array.dtype.kind not in "iu":
            raise self.refuse(f"has an input {index} that is not known before it runs")
        return [int(n) for n in constant.array.reshape(-1)]

    def get(self, name: str, default: Any) -> Any:
        """Return an attribute, of the type of its default."""
        found = self.attributes.get(name, default)
        if type(found) is not type(default):
            raise self.refuse(f"has {name}={found!r}")
        return found

    def require(self, **values: Any) -> None:
        """Raise unless attributes that are there have values that nn computes with."""
        for name, allowed in values.items():
            found = self.attributes.get(name, allowed)
            if found != allowed:
                raise self.refuse(f"has {name}={found!r}; nn has {allowed!r}")

    def axes(self, given: Sequence[int], ndim: int) -> tuple[int, ...]:
        """Return axes from 0 on, for negative ones too."""
        if not all(-ndim <= k < ndim for k in given):
            raise self.refuse(f"has the axes {list(given)} of {ndim}")
        return tuple(k % ndim for k in given)


#: What reads a node of one operator.
Run = Callable[[Node], Any]


def channel_axis(ndim: int) -> int:
    """Return the axis of the channels in nn."""
    return 2 if ndim == 3 else 1


def by_feature(value: Value, weight: Weight) -> Weight:
    """Return numbers for each feature in the order that the layers have."""
    if value.order is None:
        return weight
    return Weight(np.take(weight.array, value.order, 0), f"{weight.source}, turned")


def require_channels(node: Node, value: Value) -> None:
    """Raise unless axis 1 of a value is that of the channels in nn."""
    if len(value.perm) < 2 or value.perm[1] != channel_axis(len(value.perm)):
        raise node.refuse(f"gets values of shape {value.shape} whose channels are not axis 1")
