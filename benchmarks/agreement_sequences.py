"""Layers of sequences of nn against PyTorch's: outputs and every gradient."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from agreement_common import draw
from agreement_metrics import has
from agreement_torch import compare_layer, leaf

import nn

DTYPES = {np.dtype("float32"): torch.float32, np.dtype("float64"): torch.float64}
KINDS = {"RNN": nn.SimpleRNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
KERAS = {
    "SimpleRNN": (nn.SimpleRNN, {}),
    "LSTM": (nn.LSTM, {}),
    "GRU reset_after=True": (nn.GRU, {"reset_after": True}),
    "GRU reset_after=False": (nn.GRU, {"reset_after": False}),
}


def embedding_cases(rng):
    """Yield Embedding for ids that occur often, once and not at all."""
    for count, size, steps in ((5, 3, 40), (1000, 16, 7)):
        ids = rng.integers(0, count - 1, (8, steps))
        layer = nn.layers.Embedding(count, size)
        layer.build((None, steps))
        w, grad = leaf(layer.params["W"]), draw(rng, (8, steps, size))
        y, expected = layer.forward(ids, training=True), F.embedding(torch.from_numpy(ids), w)
        expected.backward(torch.from_numpy(grad))
        layer.backward(grad)
        yield (
            f"Embedding {count} to {size}",
            {"output": (y, expected), "dW": (layer.grads["W"], np.asarray(w.grad))},
        )


def torch_layer(kind, features, units, params):
    """Return PyTorch's layer with parameters of nn's, and a function back to nn's layout."""
    layer = getattr(torch.nn, kind)(
        features, units, batch_first=True, dtype=DTYPES[params["W"].dtype]
    )
    order = [1, 0, 2] if kind == "GRU" else range(params["W"].shape[1] // units)

    def swapped(array):
        """Return the gates of the last axis in the order of the other library."""
        return np.concatenate([np.split(array, len(order), axis=-1)[k] for k in order], axis=-1)

    b = params["b"] if kind == "GRU" else np.stack((params["b"], np.zeros_like(params["b"])))
    given = (params["W"].T, params["U"].T, b[0], b[1])
    with torch.no_grad():
        for weight, array in zip(layer.parameters(), given, strict=True):
            # of W and U the gates are rows there
            array = swapped(array.T).T if array.ndim == 2 else swapped(array)
            weight.copy_(torch.from_numpy(np.ascontiguousarray(array)))

    def grads():
        w, u, b_input, b_state = (np.asarray(p.grad) for p in layer.parameters())
        b = np.stack((b_input, b_state)) if kind == "GRU" else b_input
        return {"dW": swapped(w.T), "dU": swapped(u.T), "db": swapped(b)}

    return layer, grads


def recurrent_cases(rng):
    """Yield the recurrent layers in both dtypes, beside PyTorch's: the reset gate is after."""
    for kind, dtype, sequences in itertools.product(KINDS, ("float32", "float64"), (False, True)):
        for samples, steps, features, units in ((1, 1, 1, 1), (5, 20, 3, 4), (32, 12, 16, 24)):
            layer = KINDS[kind](units, return_sequences=sequences)
            layer.dtype = dtype
            layer.build((None, steps, features))
            for param in layer.params.values():
                param[...] = rng.normal(size=param.shape) / np.sqrt(units)
            theirs, grads = torch_layer(kind, features, units, layer.params)
            x = rng.normal(size=(samples, steps, features)).astype(dtype)
            x_torch = leaf(x)
            expected = theirs(x_torch)[0]
            expected = expected if sequences else expected[:, -1]
            y = layer.forward(x, training=True)
            grad = rng.normal(size=y.shape).astype(dtype)
            expected.backward(torch.from_numpy(grad))
            pairs = {"output": (y, expected), "dx": (layer.backward(grad), x_torch.grad)}
            pairs |= {name: (layer.grads[name[1:]], array) for name, array in grads().items()}
            yield f"{layer.__class__.__name__} {dtype} {sequences=} | {x.shape}", pairs


def bidirectional_cases(rng):
    """Yield an LSTM in both directions, as PyTorch has it."""
    for sequences in (False, True):
        layer = nn.layers.Bidirectional(nn.LSTM(4, return_sequences=sequences))
        layer.build((None, 9, 3))
        theirs = torch.nn.LSTM(3, 4, batch_first=True, bidirectional=True)
        params = [part.params[key] for part in layer.layers for key in ("W", "U", "b")]
        weights = [p for name, p in theirs.named_parameters() if not name.startswith("bias_hh")]
        with torch.no_grad():
            for name, weight in theirs.named_parameters():
                if name.startswith("bias_hh"):  # nn has one bias
                    weight.zero_()
            for weight, param in zip(weights, params, strict=True):
                weight.copy_(torch.from_numpy(param.T.copy()))
        x = draw(rng, (5, 9, 3))
        x_torch = leaf(x)
        expected, (last, _) = theirs(x_torch)
        expected = expected if sequences else torch.cat((last[0], last[1]), dim=1)
        y = layer.forward(x, training=True)
        grad = draw(rng, y.shape)
        expected.backward(torch.from_numpy(grad))
        pairs = {"output": (y, expected), "dx": (layer.backward(grad), x_torch.grad)}
        grads = [part.grads[key] for part in layer.layers for key in ("W", "U", "b")]
        for k, (ours, weight) in enumerate(zip(grads, weights, strict=True)):
            pairs[f"gradient {k}"] = ours, np.asarray(weight.grad).T
        yield f"Bidirectional LSTM {sequences=}", pairs


def padded_cases(rng):
    """Yield padded batches: packed sequences through an LSTM, and a loss without padded labels."""
    lengths = torch.tensor([7, 2, 9, 1])
    there = np.arange(9) < lengths.numpy()[:, None]
    for dtype, makes in itertools.product(("float32", "float64"), ("Masking", "Embedding")):
        first = nn.Masking() if makes == "Masking" else nn.Embedding(6, 3, mask_zero=True)
        layers = [first, nn.LSTM(4, return_sequences=True), nn.Dense(5)]
        model = nn.Model(layers, loss="cce", dtype=dtype, seed=0)
        x = rng.integers(1, 6, there.shape) * there
        x = (
            x
            if makes == "Embedding"
            else rng.normal(size=(4, 9, 3)).astype(dtype) * there[..., None]
        )
        labels = rng.integers(0, 5, there.shape)
        y = model.forward(x, training=True)
        value = model.loss.forward(y, labels, mask=model.output_mask)
        dx = model.backward(model.loss.backward())
        lstm, dense = model.layers[1:]
        theirs, grads = torch_layer("LSTM", 3, 4, lstm.params)
        w, b = leaf(dense.params["W"]), leaf(dense.params["b"])
        if makes == "Embedding":
            table = leaf(first.params["W"])
            x_torch = table[torch.from_numpy(x)]
        else:
            x_torch = table = leaf(x)
        pack = torch.nn.utils.rnn.pack_padded_sequence
        packed = pack(x_torch, lengths, batch_first=True, enforce_sorted=False)
        states, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
        expected = states @ w + b
        wanted = torch.from_numpy(np.where(there, labels, -100))
        loss = F.cross_entropy(expected.transpose(1, 2), wanted, ignore_index=-100)
        loss.backward()
        pairs = {"output": (y[there], expected[torch.from_numpy(there)]), "loss": (value, loss)}
        pairs |= {name: (lstm.grads[name[1:]], array) for name, array in grads().items()}
        pairs |= {"dense dW": (dense.grads["W"], w.grad), "dense db": (dense.grads["b"], b.grad)}
        pairs["d input"] = (first.grads["W"] if makes == "Embedding" else dx, table.grad)
        yield f"{makes} of padded steps, LSTM, Dense, cross-entropy {dtype}", pairs


def packed_cases(rng):
    """Yield padded sequences with a mask beside packed ones, many enough for all threads."""
    pack, unpack = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence
    for kind, dtype, sequences in itertools.product(KINDS, ("float32", "float64"), (False, True)):
        samples, steps, features, units = 37, 15, 6, 24
        lengths = rng.integers(1, steps + 1, samples)
        there = np.arange(steps) < lengths[:, None]
        layer = KINDS[kind](units, return_sequences=sequences)
        layer.dtype = dtype
        layer.build((None, steps, features))
        for param in layer.params.values():
            param[...] = rng.normal(size=param.shape) / np.sqrt(units)
        theirs, grads = torch_layer(kind, features, units, layer.params)
        x = rng.normal(size=(samples, steps, features)).astype(dtype)
        x_torch = leaf(x)
        packed = pack(x_torch, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False)
        states, last = theirs(packed)
        expected = unpack(states, batch_first=True, total_length=steps)[0]
        if not sequences:
            expected = (last[0] if kind == "LSTM" else last)[0]
        y = layer.forward(x, training=True, mask=there)
        grad = rng.normal(size=y.shape).astype(dtype)
        grad = grad * there[:, :, None] if sequences else grad
        expected.backward(torch.from_numpy(grad))
        pairs = {"dx": (layer.backward(grad), x_torch.grad)}
        if sequences:  # padded steps are zeros there, and the state in nn
            pairs["output"] = y * there[:, :, None], expected
        else:
            pairs["output"] = y, expected
        pairs |= {name: (layer.grads[name[1:]], array) for name, array in grads().items()}
        yield f"{layer.__class__.__name__} {dtype} {sequences=} of packed sequences", pairs


def conv1d_function(stride, padding, dilation, groups):
    """Return torch's convolution for the arguments of Conv1D; sequences are (N, D, T) there."""

    def function(x, params, buffers):
        steps, reach = x.shape[1], dilation * (params["W"].shape[2] - 1)
        total = max((-(-steps // stride) - 1) * stride + reach + 1 - steps, 0)
        before = {"causal": reach, "same": total // 2, "valid": 0}.get(padding, padding)
        after = {"causal": 0, "same": total - total // 2, "valid": 0}.get(padding, padding)
        x = F.pad(x.transpose(1, 2), (before, after))
        y = F.conv1d(x, params["W"], params["b"], stride, 0, dilation, groups)
        return y.transpose(1, 2)

    return function


def conv1d_cases(rng):
    """Yield Conv1D and the poolings of steps."""
    for kernel, *arguments in itertools.product(
        (1, 3, 4), (1, 2), ("causal", "same", "valid", 2), (1, 3), (1, 2)
    ):
        layer = nn.layers.Conv1D(6, kernel, *arguments)
        case = f"Conv1D {kernel} stride={arguments[0]} padding={arguments[1]}"
        pairs = compare_layer(layer, conv1d_function(*arguments), draw(rng, (3, 13, 4)))
        yield f"{case} | dilation={arguments[2]} groups={arguments[3]}", pairs
    layer = nn.layers.Conv1D(64, 3, padding="causal")
    pairs = compare_layer(layer, conv1d_function(1, "causal", 1, 1), draw(rng, (8, 128, 64)))
    yield "Conv1D 3 | (8, 128, 64)", pairs
    poolings = {
        "MaxPool1D": F.max_pool1d,
        "AvgPool1D": lambda x, *geometry: F.avg_pool1d(x, *geometry, count_include_pad=False),
    }
    for name, geometry in itertools.product(poolings, ((2, 2, 0), (3, 2, 1), (3, 1, 0))):

        def pooled(x, *_, pool=poolings[name], geometry=geometry):
            return pool(x.transpose(1, 2), *geometry).transpose(1, 2)

        layer = getattr(nn.layers, name)(*geometry)
        yield f"{name} {geometry}", compare_layer(layer, pooled, draw(rng, (3, 13, 4)))
    whole = {"GlobalAvgPool1D": torch.mean, "GlobalMaxPool1D": torch.amax}
    for name, function in whole.items():
        layer = getattr(nn.layers, name)()
        pairs = compare_layer(layer, lambda x, *_, f=function: f(x, dim=1), draw(rng, (3, 13, 4)))
        yield name, pairs


def attention_cases(rng):
    """Yield MultiHeadAttention beside PyTorch's, causal, masked and neither, in both dtypes."""
    for dtype, causal, is_masked in itertools.product(("float32", "float64"), *[(False, True)] * 2):
        for samples, steps, heads, size in ((1, 1, 1, 1), (3, 13, 2, 4), (8, 64, 4, 16)):
            features = heads * size
            layer = nn.layers.MultiHeadAttention(heads, size, causal)
            layer.dtype = dtype
            layer.build((None, steps, features))
            for param in layer.params.values():
                param[...] = rng.normal(size=param.shape) / np.sqrt(features)
            theirs = torch.nn.MultiheadAttention(
                features, heads, batch_first=True, dtype=DTYPES[np.dtype(dtype)]
            )
            names = {
                "W": theirs.in_proj_weight,
                "b": theirs.in_proj_bias,
                "W_out": theirs.out_proj.weight,
                "b_out": theirs.out_proj.bias,
            }
            with torch.no_grad():
                for name, weight in names.items():
                    weight.copy_(torch.from_numpy(layer.params[name].T.copy()))
            x = rng.normal(size=(samples, steps, features)).astype(dtype)
            there = np.arange(steps) < rng.integers(1, steps + 1, (samples, 1))
            hidden = torch.from_numpy(~there) if is_masked else None
            later = torch.from_numpy(~np.tri(steps, dtype=bool)) if causal else None
            x_torch = leaf(x)
            expected, _ = theirs(
                x_torch, x_torch, x_torch, key_padding_mask=hidden, attn_mask=later
            )
            y = layer.forward(x, training=True, mask=there if is_masked else None)
            grad = rng.normal(size=y.shape).astype(dtype)
            expected.backward(torch.from_numpy(grad))
            pairs = {"output": (y, expected), "dx": (layer.backward(grad), x_torch.grad)}
            for name, weight in names.items():
                pairs[f"d{name}"] = layer.grads[name], np.asarray(weight.grad).T
            yield f"MultiHeadAttention {dtype} {causal=} {is_masked=} | {x.shape}", pairs


def position_cases(rng):
    """Yield the layers of positions, which are sums."""
    layer = nn.layers.PositionalEmbedding(20)
    pairs = compare_layer(layer, lambda x, params, _: x + params["W"][:13], draw(rng, (3, 13, 4)))
    yield "PositionalEmbedding", pairs
    t, frequency = torch.arange(13)[:, None], 10000.0 ** (-torch.arange(0, 6, 2) / 6)
    table = torch.stack((torch.sin(t * frequency), torch.cos(t * frequency)), dim=2)
    table = table.reshape(13, 6)
    layer = nn.layers.SinusoidalPositions()
    pairs = compare_layer(layer, lambda x, *_: x + table, draw(rng, (3, 13, 6)))
    yield "SinusoidalPositions", pairs


def keras_cases(rng):
    """Yield the forms of Keras that PyTorch has not, if it is installed: a reset gate before."""
    import keras

    for kind, sequences, backwards in itertools.product(KERAS, (False, True), (False, True)):
        cls, arguments = KERAS[kind]
        arguments = arguments | {"return_sequences": sequences, "go_backwards": backwards}
        x = draw(rng, (6, 9, 3))
        layer, theirs = cls(4, **arguments), getattr(keras.layers, cls.__name__)(4, **arguments)
        theirs.build(x.shape)
        layer.build((None, *x.shape[1:]))
        for key, weight in zip(("W", "U", "b"), theirs.weights, strict=True):
            layer.params[key][...] = draw(rng, layer.params[key].shape)
            weight.assign(layer.params[key])
        x_torch = leaf(x)
        expected, y = theirs(x_torch), layer.forward(x, training=True)
        grad = draw(rng, y.shape)
        expected.backward(torch.from_numpy(grad))
        pairs = {"output": (y, expected), "dx": (layer.backward(grad), x_torch.grad)}
        for key, weight in zip(("W", "U", "b"), theirs.weights, strict=True):
            pairs[f"d{key}"] = layer.grads[key], weight.value.grad
        yield f"{kind} as in Keras | {sequences=} {backwards=}", pairs


CASES = (
    embedding_cases,
    padded_cases,
    packed_cases,
    recurrent_cases,
    bidirectional_cases,
    conv1d_cases,
    attention_cases,
    position_cases,
    *([keras_cases] if has("keras") else []),
)
