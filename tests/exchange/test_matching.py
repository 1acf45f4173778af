"""Weights of other libraries find their layers by order and shape."""

import numpy as np
import pytest

import nn
from nn.exchange.matching import Group, Turned, match


def layers():
    return nn.Model([nn.Dense(3, input_shape=(4,)), nn.ReLU(), nn.Dense(2)], seed=0).layers


def turn(layer, group):
    return {
        key: Turned(array.T if array.ndim == 2 else array, f"{group.name}.{key}", "transposed")
        for key, array in group.arrays.items()
    }


def groups(*sizes):
    return [Group(f"fc{k}", {"W": np.ones((o, i)), "b": np.ones(o)}) for k, (i, o) in
            enumerate(sizes)]  # fmt: skip


def test_groups_go_to_the_layers_with_arrays_in_order():
    arrays, report = match("file", groups((4, 3), (3, 2)), layers(), turn)
    assert {k: v.shape for k, v in arrays.items()} == {
        "0_Dense_W": (4, 3), "0_Dense_b": (3,), "2_Dense_W": (3, 2), "2_Dense_b": (2,),
    }  # fmt: skip
    assert report.sources["2_Dense_W"] == "fc1.W, transposed"
    report.loaded = ["2_Dense_W"]
    assert "loaded   2_Dense_W from fc1.W, transposed" in str(report)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([(4, 3)], "the model also has 2_Dense"),
        ([(4, 3), (3, 2), (2, 2)], "the file also has fc2"),
        ([(4, 3), (2, 2)], r"fc1 .*for 2_Dense .*W would have the shape \(2, 2\)"),
    ],
)
def test_what_does_not_fit_is_named(sizes, words):
    with pytest.raises(nn.io.FileFormatError, match=words):
        match("file", groups(*sizes), layers(), turn)


def test_missing_and_extra_arrays_are_named():
    with pytest.raises(ValueError, match="nothing for b"):
        match("file", [Group("fc", {"W": np.ones((3, 4))})] * 2, layers(), turn)
    extra = {"W": np.ones((3, 4)), "b": np.ones(3), "gamma": np.ones(3)}
    with pytest.raises(ValueError, match=r"no place for fc.gamma"):
        match("file", [Group("fc", extra)] * 2, layers(), turn)


def test_another_order_is_said_to_be_a_cause():
    layers = [nn.LayerNorm(input_shape=(4,)), nn.Dense(4), nn.LayerNorm()]
    model = nn.Model(layers, seed=0)
    before, after = ({f"{n}.weight": np.ones(4), f"{n}.bias": np.zeros(4)} for n in "ab")
    dense = {"fc.weight": np.ones((4, 4)), "fc.bias": np.zeros(4)}
    rule = r"matched in the order of the file: .* the model's"
    with pytest.raises(nn.io.FileFormatError, match=rule):
        nn.exchange.from_torch(model, dense | before | after)
    nn.exchange.from_torch(model, before | dense | after)
