"""Networks of sequences: a transformer and a temporal convolutional network."""

from .. import checks
from ..layers import (
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    GlobalAvgPool1D,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    PositionalEmbedding,
    ReLU,
    Residual,
    WeightNorm,
)
from ..model import Model
from .build import Shape, built_model

_HEADS = 4  # of each block of the transformer


def small_transformer(
    vocabulary: int = 256,
    length: int = 64,
    features: int = 64,
    num_blocks: int = 2,
    num_classes: int | None = None,
    causal: bool = True,
    seed: int | None = None,
) -> Model:
    """Return a small transformer of ids: 137,216 parameters.

    Vaswani et al. 2017, "Attention is all you need", arXiv 1706.03762, with the normalisation
    before each part of a block (Xiong et al. 2020, "On layer normalization in the transformer
    architecture", arXiv 2002.04745): attention of four heads, then two dense layers with GELU.

    Parameters
    ----------
    vocabulary
        Number of ids.
    length
        Steps of a sequence.
    features
        Numbers D of each step, a multiple of 4.
    num_blocks
        Number of blocks.
    num_classes
        Number of logits of the whole sequence, from the mean of the last block over the steps.
        None returns logits of the vocabulary for each step, as for the next id of a text.
    causal
        Whether a step sees itself and those before it alone.
    seed
        As in `mlp`.

    Returns
    -------
    Model
        Built, not compiled. Its output is (N, length, vocabulary) or (N, num_classes).

    Examples
    --------
    >>> small_transformer(100, length=32).output_shape
    (None, 32, 100)
    >>> small_transformer(100, length=32, num_classes=2, causal=False).output_shape
    (None, 2)
    """
    owner = "small_transformer"
    if checks.positive_int(owner, "features", features) % _HEADS:
        raise checks.error(owner, "features", f"must be a multiple of {_HEADS}", features)
    length = checks.positive_int(owner, "length", length)
    stack: list[Layer] = [Embedding(vocabulary, features), PositionalEmbedding(length)]
    for _ in range(checks.positive_int(owner, "num_blocks", num_blocks)):
        attention = MultiHeadAttention(_HEADS, features // _HEADS, causal)
        dense = [Dense(4 * features, activation="gelu"), Dense(features)]
        stack += [Residual([LayerNorm(), attention]), Residual([LayerNorm(), *dense])]
    stack.append(LayerNorm())
    if num_classes is not None:
        stack.append(GlobalAvgPool1D())
    stack.append(Dense(vocabulary if num_classes is None else num_classes))
    return built_model(owner, stack, (length,), seed)


def temporal_cnn(
    input_shape: Shape = (128, 1),
    num_classes: int = 10,
    filters: int = 32,
    num_blocks: int = 5,
    kernel_size: int = 3,
    per_step: bool = False,
    seed: int | None = None,
) -> Model:
    """Return a temporal convolutional network: 28,746 parameters.

    Bai, Kolter and Koltun 2018, "An empirical evaluation of generic convolutional and recurrent
    networks for sequence modeling", arXiv 1803.01271, section 3: residual blocks of two causal
    convolutions with weight normalisation, ReLU and Dropout. The dilation doubles from block to
    block, so that the last outputs see (kernel_size - 1) * 2 * (2**num_blocks - 1) + 1 steps, 125
    by default.

    Parameters
    ----------
    input_shape
        (T, D), steps and features.
    num_classes
        Number of logits.
    filters
        Features of each block.
    num_blocks
        Number of blocks.
    kernel_size
        Steps that a convolution sees, `dilation` apart.
    per_step
        Whether to return logits for each step; otherwise those of the mean over the steps.
    seed
        As in `mlp`.

    Returns
    -------
    Model
        Built, not compiled. Its output is (N, num_classes), or (N, T, num_classes) with `per_step`.

    Examples
    --------
    >>> temporal_cnn((100, 3), num_classes=2).output_shape
    (None, 2)
    """
    owner = "temporal_cnn"
    stack: list[Layer] = []
    for block in range(checks.positive_int(owner, "num_blocks", num_blocks)):
        main: list[Layer] = []
        for _ in range(2):
            conv = Conv1D(filters, kernel_size, padding="causal", dilation=2**block)
            main += [WeightNorm(conv), ReLU(), Dropout(0.1)]
        stack += [Residual(main), ReLU()]
    if not checks.boolean(owner, "per_step", per_step):
        stack.append(GlobalAvgPool1D())
    stack.append(Dense(num_classes))
    return built_model(owner, stack, input_shape, seed)
