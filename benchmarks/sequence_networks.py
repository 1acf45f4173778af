"""The layers of sequences of `networks`, in nn and in PyTorch. Not run by itself."""


def nn_sequence_layers(network):
    """Return functions of a part for nn's layers of sequences; `network` has the shape (T, D)."""
    import nn

    def block(part):
        features = next((p.size for p in network.parts() if p.kind == "embed"), network.shape[-1])
        attention = nn.MultiHeadAttention(part.size, features // part.size, causal=True)
        dense = [nn.Dense(4 * features), nn.GELU(), nn.Dense(features)]
        parts = [nn.Residual([nn.LayerNorm(), attention]), nn.Residual([nn.LayerNorm(), *dense])]
        return nn.Sequential(parts)

    def returns_steps():
        return all(part.kind != "last" for part in network.parts())

    return {
        "embed": lambda part: nn.Embedding(network.ids, part.size),
        "lstm": lambda part: nn.LSTM(part.size, return_sequences=returns_steps()),
        "gru": lambda part: nn.GRU(part.size, return_sequences=returns_steps()),
        "causal": lambda part: nn.Conv1D(
            part.size, part.get("k", 3), padding="causal", dilation=part.get("d")
        ),
        "pos": lambda part: nn.PositionalEmbedding(part.size),
        "block": block,
        "mean": lambda _: nn.GlobalAvgPool1D(),
    }


def torch_sequence_modules(network):
    """Return PyTorch's modules for the layers of sequences."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812 - the field's name for it

    class Causal(nn.Conv1d):  # of (N, D, T)
        def forward(self, x):
            return super().forward(F.pad(x, (self.dilation[0] * (self.kernel_size[0] - 1), 0)))

    class Turn(nn.Module):
        def forward(self, x):
            return x.transpose(1, 2)

    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(1)

    class LSTM(nn.LSTM):
        def __init__(self, features, units):
            super().__init__(features, units, batch_first=True)
            torch.nn.init.zeros_(self.bias_hh_l0.requires_grad_(False))  # one bias, as in nn

        def forward(self, x):
            return super().forward(x)[0]

    class GRU(nn.GRU):
        def forward(self, x):
            return super().forward(x)[0]

    class Last(nn.Module):
        def forward(self, x):
            return x[:, -1]

    class Positions(nn.Module):
        def __init__(self, steps, features):
            super().__init__()
            self.table = nn.Parameter(0.1 * torch.rand(steps, features) - 0.05)

        def forward(self, x):
            return x + self.table

    class Block(nn.Module):
        def __init__(self, features, heads):
            super().__init__()
            self.heads, self.ln1, self.ln2 = heads, nn.LayerNorm(features), nn.LayerNorm(features)
            self.qkv, self.out = nn.Linear(features, 3 * features), nn.Linear(features, features)
            self.first, self.second = (
                nn.Linear(features, 4 * features),
                nn.Linear(4 * features, features),
            )

        def forward(self, x):
            n, t, features = x.shape
            qkv = self.qkv(self.ln1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(*qkv, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(n, t, features))
            return x + self.second(F.gelu(self.first(self.ln2(x))))

    return {
        "causal": lambda part, shape: Causal(
            shape[1], part.size, part.get("k", 3), dilation=part.get("d")
        ),
        "embed": lambda part, _: nn.Embedding(network.ids, part.size),
        "lstm": lambda part, shape: LSTM(shape[2], part.size),
        "gru": lambda part, shape: GRU(shape[2], part.size, batch_first=True),
        "last": lambda *_: Last(),
        "turn": lambda *_: Turn(),
        "mean": lambda *_: Mean(),
        "pos": lambda part, shape: Positions(part.size, shape[2]),
        "block": lambda part, shape: Block(shape[2], part.size),
    }
