"""Weights of PyTorch in nn: files that it wrote, and files made to do harm."""

import importlib.util
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from nn.io import FileFormatError

import nn
from nn.exchange import from_torch
from nn.exchange.torch.weights import groups_of
from nn.files import model_file

FIXTURES = Path(__file__).parent / "fixtures"
HAS_TORCH = importlib.util.find_spec("torch") is not None


def images():
    return [
        nn.Conv2D(4, 3, stride=2, padding=1, input_shape=(2, 6, 6)), nn.BatchNorm2D(), nn.ReLU(),
        nn.Conv2D(4, 3, padding=2, dilation=2, groups=2, use_bias=False), nn.GroupNorm(2),
        nn.PReLU(), nn.DepthwiseConv2D(3, padding=1), nn.LayerNorm(),
        nn.Conv2DTranspose(3, 3, stride=2, padding="valid"), nn.PReLU(), nn.MaxPool2D(2),
        nn.Flatten(), nn.Dense(5), nn.BatchNorm1D(), nn.GELU(), nn.LayerNorm(),
        nn.Dense(3, use_bias=False),
    ]  # fmt: skip


def sequences():
    return [
        nn.Embedding(11, 6, input_shape=(5,)), nn.LSTM(4, True), nn.LSTM(4, True), nn.GRU(3, True),
        nn.SimpleRNN(3, True), nn.Bidirectional(nn.LSTM(2, True)), nn.GRU(2), nn.Dense(2),
    ]  # fmt: skip


def normed():
    return [
        nn.WeightNorm(nn.Conv2D(3, 3, padding="valid", input_shape=(2, 4, 4))), nn.Tanh(),
        nn.Flatten(), nn.WeightNorm(nn.Dense(2)),
    ]  # fmt: skip


NETWORKS = {"images": images, "sequences": sequences, "normed": normed}


def dense(seed=1):
    return nn.Model([nn.Dense(3, input_shape=(4,))], seed=seed)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_with_weights_of_pytorch_gives_its_outputs(name):
    expected = np.load(FIXTURES / "torch_outputs.npz")
    model = nn.Model(NETWORKS[name](), seed=1)
    model.load_weights(FIXTURES / f"{name}.pt", layout="torch")
    np.testing.assert_allclose(
        model.predict(expected[f"{name}/x"]), expected[f"{name}/y"], rtol=1e-5, atol=1e-6
    )


def test_the_same_from_safetensors():
    expected = np.load(FIXTURES / "torch_outputs.npz")
    model = nn.Model(images(), seed=1)
    path = FIXTURES / "images.safetensors"
    with pytest.raises(FileFormatError, match=r"has the names of PyTorch.*layout='torch'"):
        model.load_weights(path)
    model.load_weights(path, layout="torch")
    np.testing.assert_allclose(
        model.predict(expected["images/x"]), expected["images/y"], rtol=1e-5, atol=1e-6
    )


def test_names_without_order_are_matched_if_only_one_layer_fits(tmp_path):
    model = nn.Model([nn.Dense(3, input_shape=(4,)), nn.Dense(3), nn.Dense(3), nn.Dense(2)], seed=0)
    shapes = {"a": (2, 3), "fc2": (3, 3), "fc10": (3, 3), "z": (3, 4)}
    state = {f"{k}.weight": np.full(s, len(k), "f4") for k, s in shapes.items()}
    state |= {f"{k}.bias": np.zeros(s[0], "f4") for k, s in shapes.items()}
    path = tmp_path / "x.safetensors"
    for save in (True, False):
        if save:
            model_file.write(path, model_file.ModelFile(None, state))
        report = from_torch(model, path if save else state)
        assert [report.sources[f"{k}_Dense_b"] for k in range(4)] == [
            "z.bias", "fc2.bias", "fc10.bias", "a.bias",
        ]  # fmt: skip
    state = {name.replace("fc2", "other"): array for name, array in state.items()}
    model_file.write(path, model_file.ModelFile(None, state))
    with pytest.raises(FileFormatError, match=r"several layers .* fit 1_Dense \(fc10, other\)"):
        model.load_weights(path, layout="torch")
    with pytest.raises(FileFormatError, match=r"a .*for 0_Dense"):
        from_torch(model, state)
    model_file.write(path, model_file.ModelFile(None, {"a.weight": np.ones((3, 4))}))
    with pytest.raises(FileFormatError, match=r"1 layers with weights, the model 4, and .* order"):
        model.load_weights(path, strict=False, layout="torch")


def test_the_report_says_what_went_where():
    model = nn.Model(sequences(), seed=1)
    report = from_torch(model, FIXTURES / "sequences.pt")
    assert report.sources["0_Embedding_W"] == "0.weight"
    assert report.sources["2_LSTM_b"] == "1.module.l1.bias_ih + 1.module.l1.bias_hh, added up"
    assert report.sources["3_GRU_W"].endswith("transposed, gates r, z, n to z, r, h")
    assert report.sources["4_SimpleRNN_b"] == "3.module.l0, no bias: zeros"
    assert report.sources["5_Bidirectional/1_LSTM_U"].startswith("4.module.l0_reverse.weight_hh")
    assert sorted(report.loaded) == sorted(model.get_arrays())
    assert "loaded   7_Dense_W from 6.weight, transposed" in str(report)


def test_types_of_numbers_and_views_of_one_storage():
    wanted = np.arange(12.0).reshape(3, 4)
    types = model_file.read_torch(FIXTURES / "types.pt")
    kinds = {name.split(".")[0]: array.dtype.name for name, array in types.items()}
    assert kinds == {"half": "float16", "bfloat16": "float32", "double": "float64",
                     "int32": "int32", "int8": "int8"}  # fmt: skip
    for array in types.values():
        np.testing.assert_array_equal(array, wanted)
    views = model_file.read_torch(FIXTURES / "views.pt")
    base = np.arange(40.0)
    np.testing.assert_array_equal(views["a.weight"], base[3:27:2].reshape(4, 3).T)
    np.testing.assert_array_equal(views["b.weight"], base[28:].reshape(3, 4))
    np.testing.assert_array_equal(views["c.weight"], wanted)


@pytest.mark.parametrize("layout", [None, "torch"])
def test_the_state_dict_in_a_checkpoint(layout):
    model = dense()
    model.load_weights(FIXTURES / "checkpoint.pt", layout=layout)
    np.testing.assert_array_equal(model.layers[0].params["W"], np.arange(12).reshape(3, 4).T)
    np.testing.assert_array_equal(model.layers[0].params["b"], np.arange(3))


def test_state_dicts_of_arrays_and_averages_that_go_on():
    model = dense()
    model.compile("mse", "adam", ema_decay=0.9)
    model.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    model.use_training_weights()
    from_torch(model, {"weight": np.full((3, 4), 2), "bias": [1, 2, 3]})
    assert model.layers[0].params["W"].max() == 2
    averages = model.wrapped_optimizer.averages
    np.testing.assert_array_equal(averages["0_Dense_b"], [1, 2, 3])


def test_what_fits_without_strict():
    model = nn.Model([nn.Dense(3, input_shape=(4,)), nn.ReLU(), nn.Dense(7)], seed=0)
    before = model.layers[2].params["W"].copy()
    state = {"0.weight": np.ones((3, 4)), "0.bias": np.ones(3), "2.weight": np.ones((5, 3)),
             "2.bias": np.ones(5), "3.weight": np.ones(2)}  # fmt: skip
    with pytest.raises(FileFormatError, match=r"2 \(weight \(5, 3\).*for 2_Dense"):
        from_torch(model, state)
    assert model.layers[0].params["W"].max() < 2
    report = from_torch(model, state, strict=False)
    assert report.loaded == ["0_Dense_W", "0_Dense_b"]
    assert "W would have the shape (3, 5)" in report.skipped["2_Dense_W"]
    assert report.skipped["3"] == "the model has no layer"
    np.testing.assert_array_equal(model.layers[2].params["W"], before)


def test_standardize_keeps_what_it_has():
    model = nn.Model([nn.Standardize(0.5, 0.25, input_shape=(4,)), nn.Dense(3)], seed=0)
    report = from_torch(model, {"weight": np.ones((3, 4)), "bias": np.ones(3)})
    assert report.sources["0_Standardize_mean"] == "the model itself"
    assert np.all(model.get_arrays()["0_Standardize_std"] == 0.25)


def test_a_model_that_is_not_built():
    with pytest.raises(RuntimeError, match=r"\[Model\] must be built.*input_shape"):
        nn.Model([nn.Dense(3)]).load_weights(FIXTURES / "checkpoint.pt")


@pytest.mark.parametrize("source", [5, None, {"a": "text"}, {3: np.ones(2)}, [np.ones(2)]])
def test_sources_that_are_none(source):
    with pytest.raises(ValueError, match=r"\[from_torch\] 'source' must"):
        from_torch(dense(), source)


def test_layouts_that_are_none():
    with pytest.raises(ValueError, match=r"\[Model\] 'layout' must be None or 'torch'"):
        dense().load_weights(FIXTURES / "checkpoint.pt", layout="jax")


@pytest.mark.parametrize(
    ("layer", "state", "words"),
    [
        (nn.GRU(2, reset_after=False), {"weight_ih_l0": (6, 3), "weight_hh_l0": (6, 2)},
         "reset_after=True"),
        (nn.GRU(2), {"weight_ih_l0": (7, 3), "weight_hh_l0": (6, 2)}, "7 rows are not three"),
        (nn.GRU(2), {"weight_ih_l0": (6, 3), "weight_hh_l0": (6, 2), "bias_ih_l0": (6,),
                     "bias_hh_l0": (3,)}, "different shapes"),
        (nn.LSTM(2), {"weight_ih_l0": (8, 3)}, "it has no weight_hh"),
        (nn.LSTM(2), {"weight_ih_l0": (8, 3, 1), "weight_hh_l0": (8, 2)}, "3 axes, not 2"),
        (nn.LSTM(2), {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2), "weight_hr_l0": (1, 2)},
         "the file also has the layer"),
        (nn.Dense(2), {"weight": (2, 3), "bias": (2,), "alpha": (2,)}, "no place for alpha"),
        (nn.Dense(2), {"bias": (2,)}, "it has no weight"),
        (nn.Dense(2), {"weight": (2, 3, 1, 1), "bias": (2,)}, "4 axes, not 2"),
        (nn.Dense(2), {"weight": (2, 3)}, "nothing for b"),
        (nn.Dense(2, use_bias=False), {"weight": (2, 3), "bias": (2,)}, "no place for .*bias"),
        (nn.WeightNorm(nn.Dense(2)), {"weight_v": (2, 3), "weight_g": (1, 3), "bias": (2,)},
         "not one length for each output"),
    ],
)  # fmt: skip
def test_what_is_not_the_layer_s_is_named(layer, state, words):
    shape = (None, 4, 3) if isinstance(layer, nn.GRU | nn.LSTM) else (None, 3)
    model = nn.Model([layer])
    model.build(shape)
    with pytest.raises(FileFormatError, match=words):
        from_torch(model, {name: np.ones(size) for name, size in state.items()})


def test_transposed_weight_norm_is_refused():
    model = nn.Model([nn.WeightNorm(nn.Conv2DTranspose(2, 3, input_shape=(2, 4, 4)))], seed=0)
    with pytest.raises(FileFormatError, match="along the input channels"):
        from_torch(model, {"weight_v": np.ones((2, 2, 3, 3)), "weight_g": np.ones((2, 1, 1, 1))})


def test_users_layers_are_not_guessed():
    class Scale(nn.Layer):
        def build(self, input_shape):
            self._set_param("weight", np.ones(3))
            self._built(input_shape, input_shape)

        def forward(self, x, training=False):
            return x * self.params["weight"]

    model = nn.Model([Scale()], seed=0)
    model.build((None, 3))
    with pytest.raises(FileFormatError, match="does not know Scale as a layer of PyTorch"):
        from_torch(model, {"weight": np.ones(3)})


def test_names_of_groups():
    one = np.ones(1)
    names = ["0.parametrizations.weight.original0", "0.parametrizations.weight.original1", "0.bias",
             "a.in_proj_weight", "a.out_proj.weight", "b.out_proj.weight", "c.num_batches_tracked",
             "weight"]  # fmt: skip
    found = groups_of(dict.fromkeys(names, one))
    assert [(group.name, [*group.arrays]) for group in found] == [
        ("0", ["weight_g", "weight_v", "bias"]), ("a", ["in_proj_weight", "out_proj.weight"]),
        ("b.out_proj", ["weight"]), ("the layer", ["weight"]),
    ]  # fmt: skip


@pytest.mark.skipif(not HAS_TORCH, reason="needs torch")
def test_a_module_and_tensors():
    import torch

    module = torch.nn.Linear(4, 3).bfloat16()
    for source in (module, module.state_dict()):
        model = dense()
        from_torch(model, source)
        wanted = module.weight.detach().float().numpy().T
        np.testing.assert_array_equal(model.layers[0].params["W"], wanted)


# ------------------------------------------------------------------ files that are none


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("module.pt", r"pickled object of torch.nn.modules.linear.Linear.*save its state_dict"),
        ("program.pt", "program of TorchScript; save its state_dict"),
        ("old.pt", "PyTorch before 1.6.*save its state_dict again"),
    ],
)
def test_a_file_that_cannot_be_read_is_called_what_it_is(name, words):
    for layout in (None, "torch"):
        with pytest.raises(FileFormatError, match=words):
            dense().load_weights(FIXTURES / name, layout=layout)


def test_weights_without_layers_are_no_model():
    with pytest.raises(FileFormatError, match="weights but no layers: make the same layers here"):
        nn.Model.load(FIXTURES / "checkpoint.pt")


class Danger:
    """An object whose pickle creates a file if it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def archive(path, pickled, members=None, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x/data.pkl", pickled)
        for name, content in (members or {"data/0": bytes(48)}).items():
            file.writestr(f"x/{name}", content)
    return path


def instructions(offset=0, shape=(3, 4), strides=(4, 1), length=12, storage="torch FloatStorage",
                 key="0", tensor="torch._utils _rebuild_tensor_v2"):  # fmt: skip
    """Return the pickle of {'weight': tensor}, as PyTorch writes it."""

    def number(n):
        if -(2**31) <= n < 2**31:
            return b"J" + struct.pack("<i", n)
        return pickle.dumps(n, 2)[2:-1]

    def text(t):
        return b"X" + struct.pack("<I", len(t)) + t.encode()

    def name(n):
        return b"c" + n.replace(" ", "\n").encode() + b"\n"

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    reference = b"(" + text("storage") + name(storage) + text(key) + text("cpu") + number(length)
    return (
        b"\x80\x02}" + text("weight") + name(tensor) + b"(" + reference + b"tQ" + number(offset)
        + numbers(shape) + numbers(strides) + b"\x89" + b"}tRs."
    )  # fmt: skip


def refused(path, words):
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=words):
            dense().load_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_a_file_made_by_hand_is_read(tmp_path):
    numbers = np.arange(12, dtype="f4")
    path = archive(tmp_path / "x.pt", instructions(), {"data/0": numbers.tobytes()})
    np.testing.assert_array_equal(
        model_file.read_torch(path)["weight"], np.arange(12).reshape(3, 4)
    )
    members = {"data/0": numbers.astype(">f4").tobytes(), "byteorder": b"big"}
    archive(path, instructions(offset=1, shape=(2, 2), strides=(3, 2)), members)
    np.testing.assert_array_equal(model_file.read_torch(path)["weight"], [[1, 3], [4, 6]])
    archive(path, instructions(shape=(0, 4), strides=(4, 1)))
    assert model_file.read_torch(path)["weight"].shape == (0, 4)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda danger: danger,
        lambda danger: {"state_dict": danger},
        lambda danger: {"weight": danger},
        lambda danger: [danger],
        lambda danger: {"args": danger, "state_dict": {"weight": 1}},
    ],
)
def test_crafted_pickles_leave_no_mark(wrap, tmp_path):
    mark = tmp_path / "mark"
    crafted = pickle.dumps(wrap(Danger(mark)), 2)
    path = archive(tmp_path / "x.pt", crafted)
    for layout in (None, "torch"):
        with pytest.raises(FileFormatError, match="save its state_dict"):
            dense().load_weights(path, layout=layout)
    assert not mark.exists()
    zipfile.ZipFile(path)  # the pickle does leave one if it is loaded:
    pickle.loads(crafted)
    assert mark.exists()


def test_a_dangerous_object_beside_the_weights_is_not_called(tmp_path):
    mark = tmp_path / "mark"
    danger = pickle.dumps(Danger(mark), 2)[2:-1]
    weights = instructions()[2:-1]
    key = b"X\x04\0\0\0args"
    content = b"\x80\x02}(X\x0a\0\0\0state_dict" + weights + key + danger + b"u."
    path = archive(tmp_path / "x.pt", content)
    assert model_file.read_torch(path)["weight"].shape == (3, 4)
    assert not mark.exists()


HOSTILE = {
    "beyond the storage": ({"shape": (3, 5), "strides": (5, 1)}, "not within its 12"),
    "an offset beyond": ({"offset": 1}, "not within"),
    "strides beyond": ({"shape": (3, 4), "strides": (5, 1)}, "not within"),
    "strides of 0": ({"shape": (2**40, 2**20), "strides": (0, 0)}, "not within"),
    "few numbers many times": ({"shape": (13,), "strides": (0,)}, "not within"),
    "a negative stride": ({"strides": (-4, 1)}, "offset, sizes and strides"),
    "a negative offset": ({"offset": -1}, "offset, sizes and strides"),
    "a negative size": ({"shape": (-3, -4)}, "offset, sizes and strides"),
    "other strides": ({"strides": (1,)}, r"of shape \(3, 4\) with strides \(1,\)"),
    "too many axes": ({"shape": (1,) * 33, "strides": (1,) * 33}, "with strides"),
    "a storage larger than it is": ({"length": 13}, "must take 52 bytes"),
    "a storage of terabytes": ({"length": 10**13, "shape": (10**13,), "strides": (1,)},
                               "tensors take 40,000,000,000,000 bytes"),
    "huge numbers": ({"shape": (2**70,), "strides": (1,), "length": 2**71}, "tensors take"),
    "a missing storage": ({"key": "1"}, "no 'x/data/1'"),
    "a storage elsewhere": ({"key": "../data.pkl"}, r"no 'x/data/../data.pkl'"),
    "complex numbers": ({"storage": "torch ComplexFloatStorage"}, "torch.ComplexFloatStorage"),
    "a storage of another name": ({"storage": "os system"}, "numbers of os.system"),
    "another function": ({"tensor": "os system"}, "no state_dict.*os.system"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_tensors_are_compared_with_their_storages(what, tmp_path):
    arguments, words = HOSTILE[what]
    refused(archive(tmp_path / "x.pt", instructions(**arguments)), words)


PICKLES = {
    "another protocol": (pickle.dumps({}, 4), "does not begin as a pickle of protocol 2"),
    "something after it": (b"\x80\x02}.}", "goes on after its end"),
    "an unknown instruction": (b"\x80\x02(i__main__\nx\n.", "has the instruction INST"),
    "an extension": (b"\x80\x02\x82\x01.", "has the instruction EXT1"),
    "a call of a number": (b"\x80\x02K\x01)R.", "calls something that has no name"),
    "a call without a tuple": (b"\x80\x02cos\nsystem\nK\x01R.", "without a tuple"),
    "a state of a number": (b"\x80\x02K\x01}b.", "state of something that has none"),
    "another reference": (b"\x80\x02K\x01Q.", "reference that is not"),
    "a tuple as a key": (b"\x80\x02}K\x01\x85K\x02s.", "keys other than strings"),
    "a list": (b"\x80\x02].", "it is a list, not a state_dict"),
    "nothing": (b"\x80\x02}.", "it has no state_dict"),
    "two": (b"\x80\x02K\x01K\x02.", "exactly one object"),
    "no end": (b"\x80\x02}", "cannot be read"),
    "a tensor of nothing": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "cannot be read"),
}


@pytest.mark.parametrize("what", PICKLES)
def test_pickles_that_are_no_state_dicts(what, tmp_path):
    content, words = PICKLES[what]
    refused(archive(tmp_path / "x.pt", content), words)


def test_archives_that_pytorch_does_not_write(tmp_path, monkeypatch):
    path = tmp_path / "x.pt"
    refused(archive(path, instructions(), compression=zipfile.ZIP_DEFLATED), "is compressed")
    refused(archive(path, instructions(), {"y/data.pkl": b""}), "has 2 pickles")
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(path, instructions(), {"data.pkl": b""})
    refused(path, "'x/data.pkl' twice")
    content = archive(path, instructions()).read_bytes()
    path.write_bytes(content.replace(bytes(48), b"\1" * 48, 1))
    refused(path, "Bad CRC-32")
    archive(path, instructions(storage="torch BoolStorage"), {"data/0": b"\2" * 12})
    refused(path, "truth values other than 0 and 1")
    from nn.files import pytorch

    monkeypatch.setattr(pytorch, "_MAX_MEMBERS", 1)
    refused(archive(path, instructions()), "more than 1 members")
    monkeypatch.undo()
    monkeypatch.setattr(pytorch, "_MAX_PICKLE", 10)
    refused(archive(path, instructions()), "more than 10 bytes")


def test_one_storage_for_very_many_tensors(tmp_path):
    count = 2_000
    one = instructions(shape=(10_000,), strides=(1,), length=10_000)[3:-2]
    after = one[len(b"X\x06\0\0\0weight") :]
    entries = b"".join(b"X\x04\0\0\0" + f"{k:04d}".encode() + after for k in range(count))
    content = b"\x80\x02}(" + entries + b"u."
    path = archive(tmp_path / "x.pt", content, {"data/0": bytes(40_000)})
    refused(path, "its tensors take 80,000,000 bytes")


def test_a_truncated_file_is_refused_at_every_byte(tmp_path):
    path = tmp_path / "x.pt"
    content = archive(path, instructions()).read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(FileFormatError):
            dense().load_weights(path, layout="torch")


@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_pytorch_gives_its_outputs(causal):
    torch = pytest.importorskip("torch", reason="PyTorch computes what is expected")
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(6, 2, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.uniform_(-1, 1)
    layer = nn.MultiHeadAttention(2, 3, causal=causal, input_shape=(5, 6))
    model = nn.Model([layer], seed=0, dtype="float64")
    report = from_torch(model, {f"attn.{k}": v for k, v in theirs.state_dict().items()})
    assert report.sources["0_MultiHeadAttention_W_out"] == "attn.out_proj.weight, transposed"
    x = torch.randn(4, 5, 6, dtype=torch.float64)
    mask = torch.ones(5, 5).triu(1).bool() if causal else None
    expected = theirs(x, x, x, attn_mask=mask, need_weights=False)[0].detach().numpy()
    assert abs(model.predict(x.numpy()) - expected).max() < 1e-9


def test_attention_takes_the_arrays_of_pytorch_transposed():
    arrays = {
        "positions.weight": np.arange(20.0).reshape(5, 4),
        "attn.in_proj_weight": np.arange(72.0).reshape(18, 4),
        "attn.in_proj_bias": np.arange(18.0),
        "attn.out_proj.weight": np.arange(24.0).reshape(4, 6),
        "attn.out_proj.bias": np.arange(4.0),
    }
    layers = [nn.PositionalEmbedding(5, input_shape=(5, 4)), nn.MultiHeadAttention(2, 3)]
    model = nn.Model(layers, seed=0)
    from_torch(model, arrays)
    np.testing.assert_array_equal(layers[0].params["W"], arrays.pop("positions.weight"))
    own = layers[1].params
    for name, (key, array) in zip(("W", "b", "W_out", "b_out"), arrays.items(), strict=True):
        np.testing.assert_array_equal(own[name], array.T, err_msg=key)
    attention = nn.Model([nn.MultiHeadAttention(2, 3, input_shape=(5, 4))], seed=0)
    del arrays["attn.in_proj_bias"]
    with pytest.raises(FileFormatError, match="attn"):
        from_torch(attention, arrays)


def test_several_state_dicts_are_not_guessed(tmp_path):
    weights = instructions()[2:-1]

    def two(first, second):
        text = b"".join(b"X" + struct.pack("<I", len(k)) + k + weights for k in (first, second))
        return archive(tmp_path / "x.pt", b"\x80\x02}(" + text + b"u.")

    refused(two(b"generator", b"critic"), "several state_dicts.*'generator', 'critic'")
    assert model_file.read_torch(two(b"ema", b"model"))["weight"].shape == (3, 4)
