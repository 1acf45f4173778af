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
from .building import Shape, model_of


def char_lstm(
    num_ids: int = 81,
    units: int = 256,
    embedding_dim: int = 64,
    num_layers: int = 1,
    input_shape: Shape = (100,),
    seed: int | None = None,
) -> Model:
    """Return a model of a text, which predicts the next character: 354,705 parameters.

    An Embedding, LSTM layers that return all steps, and a Dense layer for each step: logits
    (N, T, num_ids). Train it with `'cce'` and the ids that follow (`nn.data.sequences.windows`
    with `targets="shifted"`). The count is for the 81 characters of a novel.

    Graves 2013, "Generating sequences with recurrent neural networks", arXiv 1308.0850, section 3.

    Parameters
    ----------
    num_ids
        Ids of the vocabulary, `len(vocabulary)`.
    units
        Of each LSTM.
    embedding_dim
        Length of the vector of a character.
    num_layers
        How many LSTMs there are.
    input_shape
        (T,), the characters in a window.
    seed
        As in `mlp`.

    Examples
    --------
    >>> char_lstm(num_ids=30, units=8, input_shape=(20,), seed=0).output_shape
    (None, 20, 30)
    """
    stack: list[Layer] = [Embedding(num_ids, embedding_dim)]
    for _ in range(checks.positive_int("char_lstm", "num_layers", num_layers)):
        stack.append(LSTM(units, return_sequences=True))
    return model_of("char_lstm", [*stack, Dense(num_ids)], input_shape, seed)


def text_classifier(
    num_ids: int = 20_000,
    num_classes: int = 2,
    embedding_dim: int = 16,
    hidden: int = 32,
    dropout: float = 0.5,
    input_shape: Shape = (400,),
    seed: int | None = None,
) -> Model:
    """Return a classifier of texts by the mean of the vectors of their words: 320,610 parameters.

    An Embedding, the mean over the steps, dropout, and two dense layers. The order of the words
    does not count.

    Iyyer, Manjunatha, Boyd-Graber and Daumé III 2015, "Deep unordered composition rivals syntactic
    methods for text classification".

    Parameters
    ----------
    num_ids
        Ids of the vocabulary, `len(vocabulary)`.
    num_classes
        Number of logits.
    embedding_dim, hidden
        Length of the vector of a word, and units of the hidden layer.
    dropout
        Share of the mean vector that is dropped, in [0, 1).
    input_shape
        (T,), the words of a text, as `nn.data.text.pad` makes it.
    seed
        As in `mlp`.

    Examples
    --------
    >>> text_classifier(num_ids=50, num_classes=3, input_shape=(10,), seed=0).output_shape
    (None, 3)
    """
    stack: list[Layer] = [Embedding(num_ids, embedding_dim), GlobalAvgPool1D(), Dropout(dropout)]
    stack += [Dense(hidden), ReLU(), Dense(num_classes)]
    return model_of("text_classifier", stack, input_shape, seed)
