"""Networks of the ids of words or characters."""

from .. import checks
from ..layers import (
    LSTM,
    Dense,
    Dropout,
    Embedding,
    GlobalAvgPool1D,
    Layer,
    ReLU,
)
from ..model import Model
from .build import built_model


def char_lstm(
    vocabulary: int = 81,
    units: int = 256,
    embedding_dim: int = 64,
    num_layers: int = 1,
    length: int = 100,
    seed: int | None = None,
) -> Model:
    """Return a model of a text, which predicts the next character: 354,705 parameters.

    An Embedding, LSTM layers that return all steps, and a Dense layer for each step: logits
    (N, T, vocabulary). Train it with `'cce'` and the ids that follow (`nn.data.sequences.windows`
    with `targets="shifted"`). The count is for the 81 characters of a novel.

    Graves 2013, "Generating sequences with recurrent neural networks", arXiv 1308.0850, section 3.

    Parameters
    ----------
    vocabulary
        Number of ids, `len(vocabulary)`.
    units
        Of each LSTM.
    embedding_dim
        Length of the vector of a character.
    num_layers
        How many LSTMs there are.
    length
        Characters in a window.
    seed
        As in `mlp`.

    Examples
    --------
    >>> char_lstm(vocabulary=30, units=8, length=20, seed=0).output_shape
    (None, 20, 30)
    """
    stack: list[Layer] = [Embedding(vocabulary, embedding_dim)]
    for _ in range(checks.positive_int("char_lstm", "num_layers", num_layers)):
        stack.append(LSTM(units, return_sequences=True))
    return built_model("char_lstm", [*stack, Dense(vocabulary)], (length,), seed)


def text_classifier(
    vocabulary: int = 20_000,
    num_classes: int = 2,
    embedding_dim: int = 16,
    hidden: int = 32,
    dropout: float = 0.5,
    length: int = 400,
    seed: int | None = None,
) -> Model:
    """Return a classifier of texts by the mean of the vectors of their words: 320,610 parameters.

    An Embedding, the mean over the steps, dropout, and two dense layers. The order of the words
    does not count.

    Iyyer, Manjunatha, Boyd-Graber and Daumé III 2015, "Deep unordered composition rivals syntactic
    methods for text classification".

    Parameters
    ----------
    vocabulary
        Number of ids, `len(vocabulary)`.
    num_classes
        Number of logits.
    embedding_dim, hidden
        Length of the vector of a word, and units of the hidden layer.
    dropout
        Share of the mean vector that is dropped, in [0, 1).
    length
        Words of a text, as `nn.data.text.pad` makes it.
    seed
        As in `mlp`.

    Examples
    --------
    >>> text_classifier(vocabulary=50, num_classes=3, length=10, seed=0).output_shape
    (None, 3)
    """
    stack: list[Layer] = [Embedding(vocabulary, embedding_dim), GlobalAvgPool1D(), Dropout(dropout)]
    stack += [Dense(hidden), ReLU(), Dense(num_classes)]
    return built_model("text_classifier", stack, (length,), seed)
