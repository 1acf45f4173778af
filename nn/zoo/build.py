"""How the functions of the zoo build their models."""

from collections.abc import Sequence

from .. import checks
from ..layers import Flatten, Layer
from ..model import Model

Shape = Sequence[int]  # of one input, without the batch axis: (C, H, W)


def built_model(
    name: str, stack: list[Layer], input_shape: Sequence[int | None], seed: int | None
) -> Model:
    """Return a model of the layers, built for an input shape."""
    checks.sample_shape(name, "input_shape", input_shape)
    model = Model(stack, seed=seed, name=name)
    model.build((None, *input_shape))
    return model


def flatten_rows(name: str, input_shape: Shape) -> list[Layer]:
    """Return the layer that makes rows of images; none if the inputs are rows."""
    return [Flatten()] if len(checks.sample_shape(name, "input_shape", input_shape)) > 1 else []
