"""A network of many kinds of layers, trained by nn and by PyTorch on the same batches."""

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from agreement_common import draw
from agreement_layers import conv_function, transpose_function
from agreement_torch import leaf

import nn

STEPS = 20


def training_cases(rng):
    """Yield a network of many kinds of layers, trained by both on the same batches."""
    model = nn.Model(
        [
            nn.Conv2D(8, 3, stride=2),
            nn.GroupNorm(4),
            nn.SiLU(),
            nn.DepthwiseConv2D(3, depth_multiplier=2),
            nn.UpSample2D(2, "bilinear"),
            nn.ZeroPad2D(((0, 1), (1, 0))),
            nn.Conv2DTranspose(4, 3, padding=1, activation="softplus"),
            nn.LayerNorm(),
            nn.Flatten(),
            nn.WeightNorm(nn.Dense(5)),
        ],
        seed=0,
    )
    model.build((None, 3, 10, 8))
    model.compile("cce", "sgd", lr=0.05)
    tensors = {name: leaf(array) for name, array in model.get_arrays().items()}
    optimizer = torch.optim.SGD(tensors.values(), lr=0.05)

    def params(layer):
        start = f"{layer}_"
        return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}

    def forward(x):
        x = conv_function(stride=2)(x, params("0_Conv2D"), None)
        norm = params("1_GroupNorm")
        x = F.silu(F.group_norm(x, 4, norm["gamma"], norm["beta"]))
        x = conv_function(groups=8)(x, params("3_DepthwiseConv2D"), None)
        x = F.pad(F.interpolate(x, scale_factor=2, mode="bilinear"), (1, 0, 0, 1))
        x = F.softplus(transpose_function(1, 1)(x, params("6_Conv2DTranspose"), None))
        norm = {name: t.reshape(x.shape[1:]) for name, t in params("7_LayerNorm").items()}
        x = F.layer_norm(x, x.shape[1:], norm["gamma"], norm["beta"]).flatten(1)
        dense = params("9_WeightNorm")
        return x @ torch._weight_norm(dense["v"], dense["g"][None], 1) + dense["b"]

    for _ in range(STEPS):
        x, y = draw(rng, (16, 3, 10, 8)), rng.integers(0, 5, 16)
        model.train_step(x, y)
        optimizer.zero_grad()
        F.cross_entropy(forward(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    ours = model.get_arrays()
    yield (
        f"a network of ten layers after {STEPS} steps",
        {name: (ours[name], tensor) for name, tensor in tensors.items()},
    )


CASES = (training_cases,)
