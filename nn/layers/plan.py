"""One walk of the tree of layers."""

from collections.abc import Iterable, Iterator

from .base import Layer


def named_layers(layers: Iterable[Layer], path: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield every layer with its name in a file; a layer comes before those inside it.

    Examples
    --------
    >>> from nn.layers import Dense, ReLU, Residual
    >>> [name for name, _ in named_layers([Dense(2), Residual([Dense(2), ReLU()])])]
    ['0_Dense', '1_Residual', '1_Residual/0_Dense', '1_Residual/1_ReLU']
    """
    for index, layer in enumerate(layers):
        name = f"{path}{index}_{type(layer).__name__}"
        yield name, layer
        yield from named_layers(layer.sublayers(), f"{name}/")
