"""Modules of PyTorch as code with arrays, and the short classes that some of them need."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ... import cuda

__all__ = ["HELPERS", "Module", "call", "host_array", "options_of", "pair", "sequential", "weights"]


class Module(NamedTuple):
    """A module of PyTorch.

    Attributes
    ----------
    code
        The expression that makes it, perhaps of several lines.
    arrays
        Its arrays by their names in its state dict.
    helpers
        The classes of `HELPERS` that the code needs.
    """

    code: str
    arrays: Mapping[str, np.ndarray] = MappingProxyType({})
    helpers: tuple[str, ...] = ()


HELPERS = {
    "Exponential": '''
class Exponential(nn.Module):
    def forward(self, x):
        return torch.exp(x)
''',
    "Rescale": '''
class Rescale(nn.Module):
    def __init__(self, scale, offset):
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x):
        return x * self.scale + self.offset
''',
    "Positions": '''
class Positions(nn.Embedding):
    """Adds the vector of each step's position."""

    def forward(self, x):
        return x + self.weight[: x.shape[1]]
''',
    "Residual": '''
class Residual(nn.Module):
    def __init__(self, main, shortcut):
        super().__init__()
        self.main, self.shortcut = main, shortcut

    def forward(self, x):
        return self.main(x) + self.shortcut(x)
''',
    "SelfAttention": '''
class SelfAttention(nn.MultiheadAttention):
    def __init__(self, features, heads, causal=False, **options):
        super().__init__(features, heads, batch_first=True, **options)
        self.causal = causal

    def forward(self, x):
        steps = x.shape[1]
        later = torch.ones(steps, steps, dtype=torch.bool, device=x.device).triu(1)
        mask = later if self.causal else None
        return super().forward(x, x, x, attn_mask=mask, need_weights=False)[0]
''',
    "Sinusoids": '''
class Sinusoids(nn.Module):
    """Adds sines and cosines of each step's position."""

    def forward(self, x):
        steps, features = x.shape[1:]
        column = torch.arange(features, device=x.device)
        frequency = 10000.0 ** (-2 * (column // 2).double() / features)
        angles = torch.arange(steps, device=x.device)[:, None] * frequency
        return x + torch.where(column % 2 == 0, angles.sin(), angles.cos()).to(x.dtype)
''',
    "SkipConcat": '''
class SkipConcat(nn.Module):
    def __init__(self, main, shortcut, dim):
        super().__init__()
        self.main, self.shortcut, self.dim = main, shortcut, dim

    def forward(self, x):
        return torch.cat((self.shortcut(x), self.main(x)), self.dim)
''',
    "Standardize": '''
class Standardize(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, x):
        shape = (-1, *[1] * (x.ndim - 2))
        return (x - self.mean.reshape(shape)) / self.std.reshape(shape)
''',
    "States": '''
class States(nn.Module):
    """The states of a recurrent module: of every step, or the last of each direction."""

    def __init__(self, module, every):
        super().__init__()
        self.module, self.every = module, every

    def forward(self, x):
        y, units = self.module(x)[0], self.module.hidden_size
        if self.every:
            return y
        return torch.cat([y[:, -1, :units], y[:, 0, units:]], dim=1)
''',
    "Steps": '''
class Steps(nn.Sequential):
    """Modules for (N, D, T), on sequences (N, T, D)."""

    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)
''',
}  # fmt: skip


def sequential(modules: Iterable[Module], head: str = "nn.Sequential") -> Module:
    """Return a module that calls others in order.

    Examples
    --------
    >>> print(sequential([Module("nn.ReLU()"), Module("nn.Flatten()")]).code)
    nn.Sequential(
        nn.ReLU(),
        nn.Flatten(),
    )
    """
    modules = list(modules)
    lines = [f"{module.code},".replace("\n", "\n    ") for module in modules]
    arrays = {f"{k}.{name}": a for k, m in enumerate(modules) for name, a in m.arrays.items()}
    body = "".join(f"\n    {line}" for line in lines) + "\n" * bool(lines)
    helpers = {name: None for module in modules for name in module.helpers}
    return Module(f"{head}({body})", arrays, tuple(helpers))


def host_array(values: Any, dtype: Any = None) -> np.ndarray:
    """Return a contiguous copy on the CPU."""
    return np.array(cuda.to_cpu(values), dtype, order="C")


def weights(layer: Any, turned: bool = False) -> dict[str, np.ndarray]:
    """Return kernel and bias of a layer by PyTorch's names."""
    arrays = {"weight": host_array(layer.params["W"].T if turned else layer.params["W"])}
    return arrays | ({"bias": host_array(layer.params["b"])} if "b" in layer.params else {})


def call(name: str, *values: Any, **options: Any) -> str:
    """Return a call as code, such as 'nn.Conv2d(1, 8, (3, 3), bias=False)'."""
    words = [*map(repr, values), *(f"{key}={value!r}" for key, value in options.items())]
    return f"nn.{name}({', '.join(words)})"


def pair(values: Any) -> Any:
    """Return (3, 3) as 3."""
    values = tuple(int(v) for v in values)
    return values[0] if len(set(values)) == 1 else values


def options_of(**given: Any) -> dict[str, Any]:
    """Return the options that are not PyTorch's defaults."""
    defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": True,
                "output_padding": 0}  # fmt: skip
    return {key: value for key, value in given.items() if defaults.get(key) != value}
