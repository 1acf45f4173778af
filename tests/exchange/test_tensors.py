"""Tensors of PyTorch and images as data: they work, or the error says what to do."""

import importlib.util
import io

import numpy as np
import pytest

import nn


def convnet():
    layers = [nn.Conv2D(2, 3, input_shape=(3, 6, 6)), nn.Flatten(), nn.Dense(2)]
    return nn.Model(layers, loss="cce", seed=0)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_tensors_with_gradients_and_of_bfloat16_are_numbers():
    import torch

    model, x = convnet(), torch.rand(4, 3, 6, 6, generator=torch.manual_seed(0))
    wanted = model.predict(x.numpy())
    for given in (x, x.clone().requires_grad_(), x.half(), x.bfloat16()):
        np.testing.assert_allclose(model.predict(given), wanted, atol=0.02)
    y = torch.arange(4) % 2
    figures = model.evaluate(x.clone().requires_grad_(), y)
    assert figures == model.evaluate(x.numpy(), y.numpy())
    model.fit(x.bfloat16().requires_grad_(), y, verbose=0)
    line = nn.Model([nn.Dense(1, input_shape=(2,))], loss="mse", seed=0)
    line.fit(torch.rand(4, 2), torch.rand(4, 1, requires_grad=True), verbose=0)


@pytest.mark.parametrize("kind", ["image", "bytes"])
@pytest.mark.parametrize("wrap", [lambda x: [x, x], lambda x: (x,), lambda x: x])
def test_images_that_are_no_arrays_name_load_image(kind, wrap):
    image_module = pytest.importorskip("PIL.Image")
    image, stream = image_module.new("RGB", (6, 6), "red"), io.BytesIO()
    image.save(stream, "PNG")
    given = wrap(image if kind == "image" else stream.getvalue())
    for use in (
        lambda: convnet().predict(given),
        lambda: convnet().evaluate(given, [0, 1]),
        lambda: convnet().fit(given, [0, 1], verbose=0),
    ):
        with pytest.raises(TypeError, match=r"'\w+' must be an array .*nn\.data\.load_image"):
            use()
    read = nn.data.load_image(io.BytesIO(stream.getvalue()), 6)
    assert convnet().predict(np.stack([read, read])).shape == (2, 2)


def test_load_image_of_bytes_says_how():
    with pytest.raises(TypeError, match=r"got bytes: pass io\.BytesIO\(content\)\."):
        nn.data.load_image(b"PNG", 6)


@pytest.mark.parametrize(
    ("layers", "x", "shape"),
    [
        ([nn.LSTM(3, input_shape=(5, 4), return_sequences=True)], np.zeros((2, 5, 4)), "1, 4"),
        ([nn.Conv1D(3, 2, padding="causal", input_shape=(5, 4))], np.zeros((2, 5, 4)), "1, 4"),
        ([nn.Embedding(4, 3, input_shape=(5,)), nn.GRU(3)], np.zeros((2, 5), int), "1"),
    ],
    ids=["LSTM", "Conv1D", "Embedding"],
)
def test_a_step_without_its_axis_says_the_index(layers, x, shape):
    model = nn.Model(layers, seed=0)
    model.step(x[:, :1])
    with pytest.raises(
        ValueError, match=rf"\(N, {shape}\), got .*: for .* pass x\[:, t : t \+ 1\]"
    ):
        model.step(x[:, 0])
