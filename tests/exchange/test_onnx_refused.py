"""What `Model.load` refuses of ONNX, by the name of the node, and what a hostile file cannot do."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import nn
from nn.exchange.onnx import wire

FOLDER = Path(__file__).parent / "fixtures" / "from_onnx"


def tensor(name, array):
    array = np.asarray(array)
    number = {"f": 1, "i": 7, "b": 9}[array.dtype.kind]
    array = array.astype({1: "<f4", 7: "<i8", 9: "?"}[number])
    return {"name": name, "dims": array.shape, "data_type": number, "raw_data": array.tobytes()}


def attribute(name, value):
    number, field = {int: (2, "i"), float: (1, "f"), bytes: (3, "s"), list: (7, "ints")}[
        type(value)
    ]
    return {"name": name, "type": number, field: value}


def op(kind, inputs, output="y", domain="", **attributes):
    listed = [attribute(*item) for item in attributes.items()]
    return {
        "op_type": kind, "name": kind.lower(), "input": inputs, "output": [output],
        "attribute": listed, "domain": domain,
    }  # fmt: skip


def value(name, dims, number=1):
    listed = [{"dim_param": "N"} if n is None else {"dim_value": n} for n in dims]
    return {
        "name": name,
        "type": {"tensor_type": {"elem_type": number, "shape": {"dim": listed}}},
    }


def write(path, nodes, arrays=(), dims=(None, 4), opset=17, number=1, **more):
    graph = {
        "node": nodes,
        "name": "g",
        "initializer": [tensor(*pair) for pair in dict(arrays).items()],
        "input": [value("x", dims, number)],
        "output": [{"name": "y"}],
    }
    message = {
        "ir_version": 8, "producer_name": "test", "graph": graph | more,
        "opset_import": [{"version": opset}],
    }  # fmt: skip
    path.write_bytes(wire.encode("Model", message))
    return path


def reason(path, **arguments):
    with pytest.raises(nn.io.FileFormatError) as caught:
        nn.Model.load(path, **arguments)
    return str(caught.value)


IMAGES = (None, 2, 4, 4)
ONES = np.ones((4, 4))

REFUSED = {
    "an operator that nn lacks": ([op("HardSwish", ["x"])], {}, {}),
    "of another domain": ([op("Gelu", ["x"], domain="com.microsoft")], {}, {}),
    "branches": (
        [op("Relu", ["x"], "a"), op("Sigmoid", ["x"], "b"), op("Mul", ["a", "b"])],
        {},
        {},
    ),
    "gelu by tanh": ([op("Gelu", ["x"], approximate=b"tanh")], {}, {"opset": 20}),
    "hard sigmoid of Keras 2": ([op("HardSigmoid", ["x"])], {}, {}),
    "celu": ([op("Celu", ["x"], alpha=0.5)], {}, {}),
    "a clip at other numbers": ([op("Clip", ["x", "", "c"])], {"c": np.float32(3)}, {}),
    "softmax over another axis": ([op("Softmax", ["x"], axis=2)], {}, {"dims": IMAGES}),
    "pads that differ": (
        [op("MaxPool", ["x"], kernel_shape=[2, 2], pads=[1, 0, 0, 0])],
        {},
        {"dims": (None, 2, None, 4)},
    ),
    "windows that end outside": (
        [op("MaxPool", ["x"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
        {},
        {"dims": IMAGES},
    ),
    "padding by reflection": (
        [op("Pad", ["x", "p"], mode=b"reflect")],
        {"p": [0, 0, 1, 1, 0, 0, 1, 1]},
        {"dims": IMAGES},
    ),
    "a matrix for other features": ([op("MatMul", ["x", "w"])], {"w": np.ones((3, 2))}, {}),
    "a computed matrix": (
        [op("Transpose", ["x"], "t", perm=[1, 0]), op("MatMul", ["x", "t"])],
        {},
        {},
    ),
    "the batch reshaped": ([op("Reshape", ["x", "s"])], {"s": [-1, 2]}, {}),
    "a part of the features": (
        [op("Slice", ["x", "a", "b", "c"])],
        {"a": [0], "b": [2], "c": [1]},
        {},
    ),
    "a mean over some": ([op("ReduceMean", ["x"], axes=[2])], {}, {"dims": IMAGES}),
    "sizes that are no multiples": (
        [op("Resize", ["x", "", "s"])],
        {"s": np.array([1, 1, 1.5, 2])},
        {"dims": IMAGES},
    ),
    "training": (
        [op("BatchNormalization", ["x", "a", "a", "a", "a"], training_mode=1)],
        {"a": np.ones(4)},
        {},
    ),
    "numbers cut to integers": (
        [op("Relu", ["x"], "r"), op("Cast", ["r"], "i", to=7), op("Cast", ["i"], to=1)],
        {},
        {},
    ),
    "a mean that counts the padding": (
        [
            op(
                "AveragePool",
                ["x"],
                kernel_shape=[2, 2],
                auto_pad=b"SAME_UPPER",
                count_include_pad=1,
            )
        ],
        {},
        {"dims": IMAGES},
    ),
    "images one above the other": (
        [op("Relu", ["x"], "r"), op("Concat", ["x", "r"], axis=2)],
        {},
        {"dims": IMAGES},
    ),
    "images of two sizes side by side": (
        [
            op("MaxPool", ["x"], "p", kernel_shape=[1, 2], strides=[1, 2]),
            op("Concat", ["x", "p"], axis=1),
        ],
        {},
        {"dims": IMAGES},
    ),
    "a kernel for other channels": (
        [op("Conv", ["x", "w"])],
        {"w": np.ones((3, 5, 1, 1))},
        {"dims": IMAGES},
    ),
    "an initial state": (
        [
            op("Transpose", ["x"], "t", perm=[1, 0, 2]),
            op("RNN", ["t", "w", "r", "", "", "h"], "s", hidden_size=2),
            op("Squeeze", ["s", "one"]),
        ],
        {"w": np.ones((1, 2, 3)), "r": np.ones((1, 2, 2)), "h": np.ones((1, 1, 2)), "one": [1]},
        {"dims": (None, 5, 3)},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_nn_does_not_have_is_refused_by_the_node(case, tmp_path):
    nodes, arrays, more = REFUSED[case]
    said = reason(write(tmp_path / "m.onnx", nodes, arrays, **more))
    assert any(f"the node '{n['name']}' (" in said and n["op_type"] in said for n in nodes)


def test_images_are_resized_to_sizes_that_are_multiples(tmp_path):
    arrays = {"n": np.array([1, 2]), "s": np.array([8, 12])}
    nodes = [
        op("Shape", ["x"], "d"), op("Slice", ["d", "zero", "two"], "b"),
        op("Concat", ["b", "s"], "t", axis=0),
        op("Resize", ["x", "", "", "t"], coordinate_transformation_mode=b"asymmetric",
           nearest_mode=b"floor"),
    ]  # fmt: skip
    arrays |= {"zero": np.array([0]), "two": np.array([2])}
    model = nn.Model.load(write(tmp_path / "m.onnx", nodes, arrays, dims=IMAGES))
    x = np.random.default_rng(0).random((3, 2, 4, 4), dtype="float32")
    expected = x.repeat(2, axis=2).repeat(3, axis=3)
    assert np.array_equal(model.predict(x), expected)


def test_the_first_node_that_is_no_layer_is_named(tmp_path):
    nodes = [op("HardSwish", ["x"], "a"), op("MatMul", ["a", "w"], "b"), op("Relu", ["b"])]
    said = reason(write(tmp_path / "m.onnx", nodes, {"w": ONES}))
    assert "the node 'hardswish' (HardSwish) is an operator that nn has no layer for" in said
    assert "hardswish" in reason(FOLDER / "refused.onnx").lower()


def test_nodes_that_lead_nowhere_do_not_matter(tmp_path):
    nodes = [op("HardSwish", ["x"], "a"), op("Relu", ["x"])]
    model = nn.Model.load(write(tmp_path / "m.onnx", nodes))
    assert [type(layer).__name__ for layer in model.layers] == ["ReLU"]


@pytest.mark.parametrize(
    "more, said",
    (
        ({"opset": 10}, "opset is 10, and nn reads 11"),
        ({"opset": 99}, "opset is 99"),
        ({"input": []}, "0 inputs"),
        ({"input": [value("x", (None, 4)), value("z", (None, 4))]}, "2 inputs"),
        ({"output": [{"name": "y"}, {"name": "x"}]}, "2 outputs"),
        ({"output": [{"name": "z"}]}, "output 'z' is not computed"),
        ({"number": 2}, "type 2, not floats or ids"),
        ({"number": 7}, "integers, and no Embedding"),
        ({"dims": (4,)}, "no shape of a batch"),
        ({"dims": (None, 0)}, "has the shape"),
        ({"node": []}, "output 'y' is not computed"),
        ({"node": [op("Relu", ["z"])]}, "unknown input 'z'"),
        ({"node": [op("Relu", ["x"]), op("Tanh", ["x"])]}, "two values of the name 'y'"),
    ),
)
def test_graphs_that_are_no_model_are_refused(more, said, tmp_path):
    nodes = more.pop("node", [op("Relu", ["x"])])
    assert said in reason(write(tmp_path / "m.onnx", nodes, **more))


def test_a_layer_is_not_made_twice(tmp_path):
    nodes = [
        op("MatMul", ["x", "w"], "a"), op("Add", ["a", "x"], "b"), op("Tanh", ["a"], "c"),
        op("Add", ["b", "c"]),
    ]  # fmt: skip
    assert "used twice" in reason(write(tmp_path / "m.onnx", nodes, {"w": ONES}))


def test_arrays_are_compared_with_their_bytes(tmp_path):
    path = write(tmp_path / "m.onnx", [op("MatMul", ["x", "w"])], {"w": ONES})
    data = path.read_bytes()
    for count, said in ((5, "takes 80 bytes, and 64 are there"), (3, "takes 48 bytes")):
        changed = data.replace(b"\x08\x04\x08\x04", bytes([8, count, 8, 4]), 1)
        assert changed != data
        path.write_bytes(changed)
        assert said in reason(path)


def test_external_data_is_opened_only_if_passed_and_beside(tmp_path):
    shutil.copy(FOLDER / "external.onnx", tmp_path)
    path, data = tmp_path / "external.onnx", tmp_path / "external.data"
    data.write_bytes((FOLDER / "external.data").read_bytes())
    assert "is in another file, 'external.data': pass" in reason(path)
    (tmp_path / "other.data").write_bytes(data.read_bytes())
    assert "not in 'other.data'" in reason(path, external_data=tmp_path / "other.data")
    assert "must be in the folder" in reason(path, external_data=FOLDER / "external.data")
    data.write_bytes(data.read_bytes()[:-4])
    assert "which has 56" in reason(path, external_data=data)
    with pytest.raises(FileNotFoundError):
        nn.Model.load(path, external_data=tmp_path / "none.data")
    with pytest.raises(ValueError, match="'external_data' must be None"):
        nn.Model([nn.Dense(2, input_shape=(3,))]).save(tmp_path / "m.hdf5")
        nn.Model.load(tmp_path / "m.hdf5", external_data=data)


@pytest.mark.parametrize("place", ("/etc/passwd", "../external.data", "a/../external.data"))
def test_no_other_file_is_opened(place, tmp_path):
    content = (FOLDER / "external.onnx").read_bytes()
    message = wire.decode("Model", content)
    for found in message["graph"]["initializer"]:
        found["external_data"][0]["value"] = place
    path = tmp_path / "m.onnx"
    path.write_bytes(wire.encode("Model", message))
    data = tmp_path / "external.data"
    data.write_bytes((FOLDER / "external.data").read_bytes())
    assert place in reason(path)
    assert f"an array is in the file '{place}'" in reason(path, external_data=data)


def big(*nodes, arrays=None, dims=(None, 4)):
    return nodes, arrays or {}, dims


BOMBS = {
    "very many features": big(
        op("Transpose", ["x"], "t", perm=[0, 2, 3, 1]),
        op("Flatten", ["t"]),
        dims=(None, 10**5, 10**5, 10**5),
    ),
    "a constant of terabytes": big(
        op("ConstantOfShape", ["n"], "w"), op("MatMul", ["x", "w"]), arrays={"n": [4, 10**12]}
    ),
    "expanded to terabytes": big(
        op("Expand", ["w", "n"], "v"),
        op("Mul", ["x", "v"]),
        arrays={"w": np.ones((1, 4)), "n": [10**12, 4]},
    ),
    "a range of terabytes": big(
        op("Range", ["a", "b", "c"], "v"),
        op("Mul", ["x", "v"]),
        arrays={"a": 0, "b": 10**13, "c": 1},
    ),
    "an outer sum": big(
        op("Add", ["a", "b"], "v"),
        op("Mul", ["x", "v"]),
        arrays={"a": np.ones((10**4, 1)), "b": np.ones((1, 10**4))},
    ),
    "a slope for each of very many channels": big(
        op("PRelu", ["x", "s"]), arrays={"s": np.ones(1)}, dims=(None, 10**13)
    ),
    "one matrix in very many layers": big(
        *(
            op("MatMul", ["x" if k == 0 else f"v{k}", "w"], "y" if k == 99 else f"v{k + 1}")
            for k in range(100)
        ),
        arrays={"w": np.ones((200, 200))},
        dims=(None, 200),
    ),
}


@pytest.mark.parametrize("case", BOMBS)
def test_no_more_memory_is_taken_than_the_file_justifies(case, tmp_path):
    nodes, arrays, dims = BOMBS[case]
    assert "numbers, more than" in reason(write(tmp_path / "m.onnx", nodes, arrays, dims=dims))


def test_attention_is_not_computed_for_very_many_samples(tmp_path):
    message = wire.decode("Model", (FOLDER / "attention_new21.onnx").read_bytes())
    (dims,) = (k["type"]["tensor_type"]["shape"]["dim"] for k in message["graph"]["input"])
    dims[0] = {"dim_value": 2**40}
    (tmp_path / "m.onnx").write_bytes(wire.encode("Model", message))
    assert "would take too much to be computed" in reason(tmp_path / "m.onnx")


def test_sizes_that_are_not_known_are_not_computed_with(tmp_path):
    nodes = [op("Shape", ["x"], "v0")]
    nodes += [op("Mul", [f"v{k}", f"v{k}"], f"v{k + 1}") for k in range(60)]
    nodes.append(op("Reshape", ["x", "v60"]))
    assert "before it runs" in reason(write(tmp_path / "m.onnx", nodes))


def test_long_paths_are_not_walked_again_and_again(tmp_path):
    nodes = [op("Relu", ["x" if k == 0 else f"v{k}"], f"v{k + 1}") for k in range(1500)]
    nodes += [op("Add", ["v1500", "x"], f"w{k}") for k in range(2000)]
    nodes.append(op("Relu", ["w0"]))
    assert "more than" in reason(write(tmp_path / "m.onnx", nodes))
    assert "more than 20,000 nodes" in reason(write(tmp_path / "m.onnx", nodes * 6))


def test_paths_that_double_are_refused(tmp_path):
    nodes = [op("Tanh", ["x"], "v0"), op("Relu", ["v0"], "v1")]
    for k in range(2, 60):
        nodes.append(op("Add", [f"v{k - 1}", f"v{k - 2}"], f"v{k}"))
    nodes.append(op("Relu", ["v59"]))
    said = reason(write(tmp_path / "m.onnx", nodes))
    assert "used twice" in said or "more than 10,000 layers" in said


def test_truncated_files_are_refused_at_every_place(tmp_path):
    data = (FOLDER / "lists.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    for end in range(8, len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(nn.io.FileFormatError):
            nn.Model.load(path)


def test_weights_alone_are_not_taken_from_onnx():
    model = nn.Model([nn.Dense(3, input_shape=(4,))])
    with pytest.raises(nn.io.FileFormatError, match=r"of ONNX, which Model\.load reads whole"):
        model.load_weights(FOLDER / "lists.onnx")


@pytest.mark.parametrize(
    "kind, axes, said",
    (
        ("ConvTranspose", 1, "1 spatial dimension, .*it has 2"),
        ("ConvTranspose", 3, "3 spatial dimensions, .*it has 2"),
        ("Conv", 3, "3 spatial dimensions, .*it has 1 and 2"),
    ),
)
def test_kernels_of_other_dimensions_are_called_so(kind, axes, said, tmp_path):
    w = np.ones((2, 2, *[2] * axes))
    dims = (None, 2, *[4] * axes)
    path = write(tmp_path / "m.onnx", [op(kind, ["x", "w"])], {"w": w}, dims)
    with pytest.raises(nn.io.FileFormatError, match=said):
        nn.Model.load(path)


def test_pixels_as_steps_are_refused_as_what_they_are(tmp_path):
    """(N, C, H, W) to (N, H*W, C), as in front of a vision transformer."""
    nodes = [
        op("Reshape", ["x", "shape"], "a"),
        op("Transpose", ["a"], "b", perm=[0, 2, 1]),
        op("MatMul", ["b", "w"]),
    ]
    arrays = {"shape": np.array([0, 2, -1]), "w": np.ones((2, 3))}
    said = reason(write(tmp_path / "m.onnx", nodes, arrays, IMAGES))
    assert "'matmul'" in said
    assert "two axes were exchanged" in said


def test_slopes_that_are_not_along_the_channels_say_the_shapes(tmp_path):
    """NumPy would say 'operands could not be broadcast together with remapped shapes'."""
    path = tmp_path / "model.onnx"
    nodes = [op("PRelu", ["x", "s"])]
    write(path, nodes, arrays={"s": np.arange(1, 7, dtype="f4")}, dims=(None, 5, 4))
    with pytest.raises(nn.io.FileFormatError, match=r"array of shape \(6,\) for values of shape"):
        nn.Model.load(path)
