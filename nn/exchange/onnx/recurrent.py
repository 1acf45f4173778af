"""LSTM, GRU and RNN of ONNX, whose states reach the rest of a graph through a few moves of axes."""

from typing import Any

import numpy as np

from .values import Link, Node, Value, Weight

__all__ = ["RECURRENT", "last_step", "merged", "moved", "reversed_steps"]

_CELLS = ("GRU", "LSTM", "SimpleRNN")

#: nn's class, the gates of nn by their places in ONNX, and the functions of the gates.
_KINDS: dict[str, tuple[str, tuple[int, ...], list[str]]] = {
    "GRU": ("GRU", (0, 1, 2), ["Sigmoid", "Tanh"]),
    "LSTM": ("LSTM", (0, 2, 3, 1), ["Sigmoid", "Tanh", "Tanh"]),  # ONNX has i, o, f, c
    "RNN": ("SimpleRNN", (0,), ["Tanh"]),
}


def _recurrent(node: Node) -> list[Value]:
    """Return all states, the last ones, and those of the cell, which nn does not return."""
    given = node.inputs[0]
    is_reversed = isinstance(given, Value) and bool(given.role) and given.role[0] == "reversed"
    if is_reversed:
        node = Node(**{**vars(node), "inputs": [given.role[1], *node.inputs[1:]]})
    _, link = node.link((1, 0, 2), what="(T, N, D)")
    kind, _, functions = _KINDS[node.op]
    w = node.required(1)
    directions = {"forward": 1, "reverse": 1, "bidirectional": 2}.get(
        node.get("direction", "forward"), 0
    )
    _require_plain(node, directions, functions)
    arrays = [_arrays(node, k) for k in range(directions)]
    config: dict[str, Any] = {"units": arrays[0]["U"].array.shape[0]}
    if node.op == "GRU":
        config["reset_after"] = bool(node.get("linear_before_reset", 0))
    if w.array.shape[2] != link.shape[2]:
        raise node.refuse(f"has W of shape {w.array.shape} for {link.shape[2]} features")
    is_back = is_reversed or node.get("direction", "forward") == "reverse"
    if is_back and directions == 2:
        raise node.refuse("reads reversed steps in both directions")
    if is_back:
        config["go_backwards"] = True
    outputs = []
    for labels, sequences in (("TDNU", True), ("DNU", False)):
        config = {**config, "return_sequences": sequences}
        if directions == 2:
            names = {
                f"{k}_{kind}_{key}": v for k, own in enumerate(arrays) for key, v in own.items()
            }
            made = link.then("Bidirectional", {"layer": {"class": kind, "config": config}}, names)
        else:
            made = link.then(kind, config, arrays[0])
        real = Value(node, made, (0, 1, 2) if sequences else (0, 1))
        is_turned = sequences and is_back and not is_reversed
        role = ("states", real, labels, directions, is_turned)
        outputs.append(node.part(_sizes(made, labels, directions), role))
    return [*outputs, node.part()]


def _sizes(link: Link, labels: str, directions: int) -> tuple[int | None, ...]:
    *_, units = link.shape
    steps = link.shape[1] if len(link.shape) == 3 else None
    each = {"T": steps, "D": directions, "N": None, "U": int(units or 0) // directions}
    return tuple(each[k] for k in labels)


def _require_plain(node: Node, directions: int, functions: list[str]) -> None:
    """Raise for what nn does not compute: masks, initial states, other functions."""
    if not directions:
        raise node.refuse(f"has direction={node.attributes.get('direction')!r}")
    node.require(layout=0, input_forget=0)
    for name in ("clip", "activation_alpha", "activation_beta"):
        if name in node.attributes:
            raise node.refuse(f"has {name}, which nn does not have")
    found = node.get("activations", functions * directions)
    if [str(name).lower() for name in found] != [k.lower() for k in functions] * directions:
        raise node.refuse(f"has the functions {found}; nn has {functions}")
    if any(v is not None for v in (*node.inputs[4:5], *node.inputs[7:8])):
        raise node.refuse("has lengths of the sequences, or peepholes; nn has none")
    for index in (5, 6):
        state = node.constant(index)
        if state is not None and state.array.any():
            raise node.refuse("begins with a state that is not 0")


def _arrays(node: Node, direction: int) -> dict[str, Weight]:
    """Return W (D, G * U), U (U, G * U) and b of nn."""
    _, order, _ = _KINDS[node.op]
    w, u, b = node.required(1), node.required(2), node.weight(3)
    gates, units = len(order), u.array.shape[2]
    if w.array.shape[:2] != u.array.shape[:2] or u.array.shape[1] != gates * units:
        raise node.refuse(f"has W of shape {w.array.shape} and R of shape {u.array.shape}")
    if not node.get("hidden_size", units) == units:
        raise node.refuse(f"has hidden_size={node.attributes['hidden_size']}, and R has {units}")
    columns = np.concatenate([np.arange(k * units, (k + 1) * units) for k in order])
    both = np.zeros((2, gates * units), w.array.dtype)
    if b is not None:
        both = b.array[direction].reshape(2, gates * units)
    both = both[:, columns]
    keeps = node.op == "GRU" and node.get("linear_before_reset", 0)
    return {
        "W": Weight(w.array[direction][columns].T, f"{w.source}, turned"),
        "U": Weight(u.array[direction][columns].T, f"{u.source}, turned"),
        "b": Weight(both if keeps else both.sum(0), f"{b.source}, turned" if b else "nothing"),
    }


# ---------------------------------------------------------------- states on their way to a layer


def moved(node: Node, labels: str, is_merged: bool = False) -> Value:
    """Return states whose axes are others now: labels of T, N, U, and D for the directions.

    Parameters
    ----------
    node
        The node that moves them; its input has the role 'states'.
    labels
        The axes of its output.
    is_merged
        Whether directions and units are one axis, U.
    """
    _, real, old, directions, is_turned = node.inputs[0].role
    if "D" in old and "D" not in labels and directions > 1 and not is_merged:
        raise node.refuse("takes one direction out of two; nn joins them")
    if "D" in labels:
        role = ("states", real, labels, directions, is_turned)
        return node.part(_sizes(real.link, labels, directions), role)
    axes = "NTU" if "T" in labels else "NU"
    value = Value(node, real.link, tuple(axes.index(k) for k in labels))
    return _reversed(node, value) if is_turned else value


def _reversed(node: Node, value: Value) -> Value:
    return node.part(value.shape, ("reversed", value))


def reversed_steps(node: Node, axis: int) -> Value:
    """Return x[::-1] along an axis, which must be the steps."""
    given = node.inputs[0]
    if given.role and given.role[0] == "reversed":
        value = given.role[1]
        return Value(node, value.link, value.perm)
    x = node.value()
    if len(x.perm) != 3 or x.perm[axis] != 1:
        raise node.refuse(f"reverses axis {axis} of values of shape {x.shape}, not the steps")
    return _reversed(node, x)


def last_step(node: Node, x: Value, axis: int) -> Value:
    """Return the last step of the states of a recurrent layer."""
    link = x.link
    if link is None or len(x.perm) != 3 or x.perm[axis] != 1 or link.kind not in _CELLS:
        raise node.refuse("takes one step of what is no output of a recurrent layer")
    if not link.config["return_sequences"] or link.config.get("go_backwards"):
        raise node.refuse("takes one step, which is not the last that was read")
    assert link.parent is not None
    config = {**link.config, "return_sequences": False}
    perm = tuple(k - (k > 1) for k in x.perm if k != 1)
    return Value(node, link.parent.then(link.kind, config, link.arrays), perm)


def merged(node: Node, merge: str) -> Value | None:
    """Return two recurrent layers that read in both directions as one; None for other values."""
    ahead, back = node.inputs[0], node.inputs[1]
    if len(node.inputs) != 2 or not all(isinstance(v, Value) for v in (ahead, back)):
        return None
    is_sequence = bool(back.role) and back.role[0] == "reversed"
    back = back.role[1] if is_sequence else back
    a, b = ahead.link, back.link
    if a is None or b is None or a.kind != b.kind or a.kind not in _CELLS or a.parent is None:
        return None
    forward, backward = dict(a.config), dict(b.config)
    is_pair = backward.pop("go_backwards", False) and not forward.pop("go_backwards", False)
    if not is_pair or forward != backward or a.parent is not b.parent or ahead.perm != back.perm:
        return None
    if forward["return_sequences"] != is_sequence:
        return None
    arrays = {f"0_{a.kind}_{key}": w for key, w in a.arrays.items()}
    arrays |= {f"1_{a.kind}_{key}": w for key, w in b.arrays.items()}
    config = {"layer": {"class": a.kind, "config": forward}, "merge": merge}
    return ahead.after(node, a.parent.then("Bidirectional", config, arrays))


RECURRENT = dict.fromkeys(_KINDS, _recurrent)
