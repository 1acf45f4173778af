"""Transposed and depthwise convolution: loops, published vectors, odd sizes, wrong arguments."""

import loops
import numpy as np
import pytest
from conftest import built
from hypothesis import given, settings
from hypothesis import strategies as st

import nn
from nn import cuda
from nn.inspect.gradcheck import check_gradients
from nn.kernels import tiles

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


def put_down(x, w, stride, dilation=(1, 1)):
    """Transposed convolution in loops: each pixel puts down the kernel, scaled by its value."""
    n, channels, h, wide = x.shape
    _, filters, kh, kw = w.shape
    size = [(m - 1) * s + d * (k - 1) + 1 for m, s, d, k in zip(
        (h, wide), stride, dilation, (kh, kw), strict=True)]  # fmt: skip
    y = np.zeros((n, filters, *size))
    for sample, c, row, column in np.ndindex(n, channels, h, wide):
        for f, i, j in np.ndindex(filters, kh, kw):
            at = (row * stride[0] + i * dilation[0], column * stride[1] + j * dilation[1])
            y[(sample, f, *at)] += x[sample, c, row, column] * w[c, f, i, j]
    return y


# ------------------------------------------------------------------- transposed convolution


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"padding": "valid"}, [[0, 0, 1], [0, 4, 6], [4, 12, 9]]),
        (
            {"padding": "valid", "stride": 2},
            [[0, 0, 0, 1], [0, 0, 2, 3], [0, 2, 0, 3], [4, 6, 6, 9]],
        ),
        ({"padding": 1}, [[4]]),
    ],
)
def test_transposed_convolution_published_vectors(arguments, expected, device, to_device):
    """Zhang et al., "Dive into deep learning", section 14.10."""
    layer = built(nn.Conv2DTranspose(1, 2, **arguments), (1, 2, 2), device)
    values = np.arange(4.0).reshape(1, 1, 2, 2)
    layer.params["W"][...] = to_device(values)
    assert cuda.to_cpu(layer.forward(to_device(values)))[0, 0].tolist() == expected


@settings(max_examples=40)
@given(
    kernel=pairs,
    stride=pairs,
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 2**16),
)
def test_transposed_convolution_puts_down_its_kernel(kernel, stride, dilation, size, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 3, *size))
    options = {"stride": stride, "dilation": dilation}
    whole = None
    for padding in ("valid", "same", 0):
        layer = built(nn.Conv2DTranspose(2, kernel, padding=padding, **options), (3, *size))
        layer.params["W"][...] = rng.normal(size=(3, 2, *kernel))
        layer.params["b"][...] = [1, -2]
        whole = put_down(x, layer.params["W"], stride, dilation)
        # At least size * stride outputs for a name, those that nothing reaches included.
        margin = [max(m * s - n, 0) for m, s, n in zip(size, stride, whole.shape[2:], strict=True)]
        padded = np.pad(whole, ((0, 0), (0, 0), *((0, m) for m in margin)))
        if padding == 0:
            expected = whole
        elif padding == "valid":
            expected = padded
        else:  # size * stride of them, the odd one cut off at the end
            cut = [n - m * s for m, s, n in zip(size, stride, padded.shape[2:], strict=True)]
            expected = padded[
                :,
                :,
                cut[0] // 2 : padded.shape[2] - (cut[0] - cut[0] // 2),
                cut[1] // 2 : padded.shape[3] - (cut[1] - cut[1] // 2),
            ]
        y = layer.forward(x)
        assert y.shape == (2, *layer.output_shape[1:])
        np.testing.assert_allclose(y, expected + np.array([1, -2])[:, None, None], atol=1e-12)


@settings(max_examples=30)
@given(
    kernel=pairs,
    stride=pairs,
    padding=st.one_of(st.sampled_from(["same", "valid"]), st.tuples(st.just(0), st.integers(0, 1))),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    use_bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_gradients_of_transposed_convolution(kernel, stride, padding, dilation, use_bias, seed):
    extra = tuple(s - 1 for s in stride) if padding != "same" else 0
    layer = nn.Conv2DTranspose(
        2, kernel, stride, padding, use_bias, dilation=dilation, output_padding=extra
    )
    x = np.random.default_rng(seed).normal(size=(2, 2, 3, 4))
    assert max(check_gradients(layer, x).values()) <= 1e-6


def test_output_padding_tells_the_sizes_of_one_convolution_apart():
    """Images of 7 and of 8 rows become 4: the transposed convolution makes either of 4."""
    for rows in (7, 8):
        conv = built(nn.Conv2D(3, 3, stride=2, padding=1), (2, rows, rows))
        assert conv.output_shape == (None, 3, 4, 4)
        back = built(nn.Conv2DTranspose(2, 3, 2, padding=1, output_padding=rows - 7), (3, 4, 4))
        assert back.output_shape == (None, 2, rows, rows)


@pytest.mark.parametrize("padding", ["same", "valid", 1])
def test_it_is_the_backward_pass_of_a_convolution(padding, rng, device, to_device):
    """<conv(x), y> = <x, transposed(y)> for the same kernel: that is what transposed means."""
    conv = built(nn.Conv2D(4, 3, 2, padding, use_bias=False), (3, 8, 6), device)
    y = to_device(rng.normal(size=(2, *conv.output_shape[1:])))
    extra = 0 if padding == "same" else 1
    back = built(
        nn.Conv2DTranspose(3, 3, 2, padding, use_bias=False, output_padding=extra),
        conv.output_shape[1:],
        device,
    )
    back.params["W"][...] = conv.params["W"]  # (F, C, KH, KW) of the convolution, as it is
    x = to_device(rng.normal(size=(2, 3, 8, 6)))
    assert back.output_shape[1:] == (3, 8, 6)
    assert float((conv.forward(x) * y).sum()) == pytest.approx(float((x * back.forward(y)).sum()))


def test_transposed_convolution_doubles_the_size_by_default_names():
    for kernel in (1, 2, 3, 4, 5):
        layer = built(nn.Conv2DTranspose(5, kernel, stride=2), (3, 7, 4))
        assert layer.output_shape == (None, 5, 14, 8)
        assert layer.params["W"].shape == (3, 5, kernel, kernel)
        assert layer.params["b"].shape == (5,)


def test_scale_and_shift_go_into_transposed_weights(rng):
    layer = built(nn.Conv2DTranspose(4, 3, 2), (3, 5, 5))
    x, scale, shift = rng.normal(size=(2, 3, 5, 5)), rng.normal(size=4), rng.normal(size=4)
    layer.params["b"][...] = rng.normal(size=4)
    expected = layer.forward(x) * scale[:, None, None] + shift[:, None, None]
    np.testing.assert_allclose(layer.forward_scaled(x, scale, shift), expected, atol=1e-12)


# --------------------------------------------------------------------- depthwise convolution


@settings(max_examples=40)
@given(
    kernel=pairs,
    stride=pairs,
    padding=st.one_of(
        st.sampled_from(["same", "valid"]), st.tuples(st.integers(0, 2), st.integers(0, 2))
    ),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    channels=st.integers(1, 3),
    multiplier=st.integers(1, 2),
    seed=st.integers(0, 2**16),
)
def test_depthwise_convolution(kernel, stride, padding, dilation, channels, multiplier, seed):
    rng = np.random.default_rng(seed)
    layer = built(
        nn.DepthwiseConv2D(kernel, stride, padding, multiplier, dilation=dilation),
        (channels, 6, 5),
    )
    filters = channels * multiplier
    assert layer.params["W"].shape == (filters, 1, *kernel)
    layer.params["b"][...] = rng.normal(size=filters)
    x = rng.normal(size=(2, channels, 6, 5))
    y = layer.forward(x)
    assert y.shape == (2, *layer.output_shape[1:])
    pad = nn.kernels.resolve_padding(padding, (6, 5), kernel, stride, dilation)
    for f in range(filters):  # each output is a plain convolution of its one channel
        c = f // multiplier
        expected = loops.conv2d(
            x[:, c : c + 1], layer.params["W"][f : f + 1], layer.params["b"][f : f + 1],
            stride, pad, dilation, 1,
        )  # fmt: skip
        np.testing.assert_allclose(y[:, f : f + 1], expected, atol=1e-12)
    assert max(check_gradients(layer, x).values()) <= 1e-6


@pytest.mark.parametrize("times", [1, 2])
def test_depthwise_kernels_in_tiles_of_one_sample(times, rng, monkeypatch):
    monkeypatch.setattr(tiles, "_TILE_BYTES_CPU", 1)
    x, w = rng.normal(size=(5, 3, 6, 5)), rng.normal(size=(3 * times, 1, 3, 2))
    options = ((2, 1), ((1, 1), (0, 1)), (1, 2), 3)
    loops.check_convolution(tiles, x, w, None, options, rng)


def test_depthwise_convolution_in_a_model_trains(rng):
    """The two halves of MobileNet's block learn which of two patterns lies in the first channel."""
    y = rng.integers(0, 2, 64)
    x = rng.normal(0, 0.1, size=(64, 2, 6, 6)).astype("float32")
    x[y == 1, 0, ::2] += 1  # stripes across
    x[y == 0, 0, :, ::2] += 1  # stripes down
    model = nn.Model(
        [
            nn.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
            nn.Conv2D(4, 1, activation="relu"),
            nn.GlobalAvgPool2D(),
            nn.Dense(2),
        ],
        seed=0,
    )
    model.compile("cce", "adam", lr=0.03)
    history = model.fit(x, y, epochs=12, batch_size=16, verbose=0)
    assert history["loss"][-1] < 0.1 < history["loss"][0]
    assert model.evaluate(x, y)["acc"] == 1


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2DTranspose(0), r"\[Conv2DTranspose\] 'filters' must be a positive"),
        (lambda: nn.Conv2DTranspose(3, stride=0), r"\[Conv2DTranspose\] 'stride' must be positive"),
        (
            lambda: nn.Conv2DTranspose(3, output_padding=1),
            r"'output_padding' must be 0 with padding 'same', .* got 1\.",
        ),
        (
            lambda: nn.Conv2DTranspose(3, stride=2, padding=1, output_padding=(0, 2)),
            r"'output_padding' must be below the stride \(2, 2\), got \(0, 2\)",
        ),
        (
            lambda: nn.DepthwiseConv2D(depth_multiplier=0),
            r"\[DepthwiseConv2D\] 'depth_multiplier' must be a positive integer, got 0\.",
        ),
        (lambda: nn.DepthwiseConv2D(padding="sam"), r"\[DepthwiseConv2D\] 'padding' must be one"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.Conv2DTranspose(2), (4, 9), r"\[Conv2DTranspose\] expects 4-D input, got \(4, 9\)"),
        (nn.DepthwiseConv2D(), (4, 9), r"\[DepthwiseConv2D\] expects 4-D input, got \(4, 9\)"),
        (
            nn.Conv2DTranspose(2, 3, padding=2),
            (1, 1, 2, 2),
            r"\[Conv2DTranspose\] 'padding' must leave an output of inputs of \(2, 2\) pixels",
        ),
        (
            nn.DepthwiseConv2D(5, padding="valid"),
            (1, 2, 4, 4),
            r"\[DepthwiseConv2D\] 'kernel_size' must not be larger than the padded input",
        ),
    ],
)
def test_wrong_shapes(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.forward(np.zeros(shape))
