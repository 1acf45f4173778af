"""The vocabulary of a model: which integer stands for which word or character."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ... import checks

_LEVELS = ("character", "word")
_WORDS = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")  # a word, or a punctuation mark

#: What `decode` writes for the id of unknown tokens: Unicode's replacement character.
UNKNOWN = "\ufffd"


class Vocabulary:
    """A list of words or characters, the tokens, and an integer id for each of them.

    Ids count from 0: first padding and unknown tokens, if the vocabulary has them, then the tokens
    in their order. `from_text` creates a vocabulary from texts, the most frequent token first. As
    `model.vocabulary` it is saved with the model.

    Parameters
    ----------
    tokens
        Different strings, in the order of their ids.
    level
        'word': words, with the apostrophes inside them, and punctuation marks, without the spaces
        between them. 'character': each character, spaces and line breaks too.
    padding
        Whether id 0 is the padding at the end or the start of shorter texts (see `pad`), which an
        `Embedding` with `mask_zero` skips.
    unknown
        Whether there is an id for tokens that are not in the vocabulary: 1, or 0 without padding.
        Otherwise they are an error.
    lowercase
        Whether upper and lower case are the same.

    Attributes
    ----------
    tokens : tuple of str
    padding_id, unknown_id : int or None
        None without one.

    Raises
    ------
    ValueError
        If there are no tokens, one is empty or occurs twice, or the level is unknown.
    TypeError
        If the tokens are not strings.

    Examples
    --------
    >>> vocabulary = Vocabulary.from_text("to be or not to be", level="word")
    >>> vocabulary.tokens, len(vocabulary)  # with padding and unknown
    (('be', 'to', 'not', 'or'), 6)
    >>> vocabulary.encode("not to be a whale")
    array([4, 3, 2, 1, 1])
    >>> vocabulary.decode([4, 3, 2, 1, 1])
    'not to be � �'

    The characters of a text that is to be written again, all of them known:

    >>> characters = Vocabulary.from_text("to be", "character", padding=False, unknown=False)
    >>> characters.decode(characters.encode("be to"))
    'be to'
    """

    def __init__(
        self,
        tokens: Sequence[str],
        level: str = "word",
        *,
        padding: bool = True,
        unknown: bool = True,
        lowercase: bool = False,
    ):
        self.tokens = tuple(_strings("tokens", tokens))
        if level not in _LEVELS:
            raise checks.unknown("Vocabulary", "level", level, _LEVELS)
        self.level = level
        self.padding = checks.boolean("Vocabulary", "padding", padding)
        self.unknown = checks.boolean("Vocabulary", "unknown", unknown)
        self.lowercase = checks.boolean("Vocabulary", "lowercase", lowercase)
        self.padding_id = 0 if self.padding else None
        self.unknown_id = int(self.padding) if self.unknown else None
        first = self.padding + self.unknown
        self._ids = {token: number for number, token in enumerate(self.tokens, start=first)}
        if not self.tokens or "" in self._ids:
            rule = "must hold at least one token, and no empty one"
            raise checks.error("Vocabulary", "tokens", rule, tokens)
        if len(self._ids) < len(self.tokens):
            [(twice, _)] = Counter(self.tokens).most_common(1)
            raise checks.error("Vocabulary", "tokens", "must hold each token once", twice)

    @classmethod
    def from_text(
        cls,
        texts: str | Iterable[str],
        level: str = "word",
        max_size: int | None = None,
        *,
        min_count: int = 1,
        padding: bool = True,
        unknown: bool = True,
        lowercase: bool = False,
    ) -> "Vocabulary":
        """Return the vocabulary of texts: their tokens, the most frequent first.

        Tokens that are equally frequent are in alphabetical order. Use the texts of the training
        alone: words that only others have are unknown to the model.

        Parameters
        ----------
        texts
            A text, or several.
        max_size
            Ids at most, those of padding and unknown tokens among them; None for all. It is the
            `input_dim` of an `Embedding`.
        min_count
            How often a token occurs at least.
        level, padding, unknown, lowercase
            As in `Vocabulary`.

        Raises
        ------
        ValueError
            If no token is left; or if tokens are left out and `unknown` is False.
        TypeError
            For anything but strings.

        Examples
        --------
        >>> Vocabulary.from_text(["A cat", "a dog, a cat"], max_size=4, lowercase=True)
        Vocabulary(4 ids: padding, unknown, 'a', 'cat')
        """
        vocabulary = cls(["-"], level, padding=padding, unknown=unknown, lowercase=lowercase)
        special = len(vocabulary) - 1
        min_count = checks.positive_int("Vocabulary", "min_count", min_count)
        if max_size is not None and checks.positive_int("Vocabulary", "max_size", max_size) <= (
            special
        ):
            raise checks.error("Vocabulary", "max_size", f"must be above {special}", max_size)
        counts: Counter[str] = Counter()
        for text in [texts] if isinstance(texts, str) else _strings("texts", texts):
            counts.update(vocabulary._split(text))
        kept = sorted((t for t in counts if counts[t] >= min_count), key=lambda t: (-counts[t], t))
        kept = kept[: None if max_size is None else max_size - special]
        if not kept:
            rule = f"must hold tokens that occur at least {min_count} times"
            raise ValueError(f"[Vocabulary] 'texts' {rule}, got {len(counts)} tokens: add texts.")
        if not unknown and len(kept) < len(counts):
            rule = "must be True if 'max_size' or 'min_count' leaves tokens out"
            raise checks.error("Vocabulary", "unknown", rule, unknown)
        return cls(kept, level, padding=padding, unknown=unknown, lowercase=lowercase)

    def __len__(self) -> int:
        """Return the number of ids, the `input_dim` of an `Embedding`."""
        return self.padding + self.unknown + len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.to_config() == other.to_config()

    def __hash__(self) -> int:
        return hash((self.tokens, self.level))

    def __repr__(self) -> str:
        names = ["padding"] * self.padding + ["unknown"] * self.unknown
        names += [repr(token) for token in self.tokens[:5]]
        more = ", ..." * (len(self.tokens) > 5)
        return f"Vocabulary({len(self)} ids: {', '.join(names)}{more})"

    def to_config(self) -> dict[str, Any]:
        """Return the arguments of the vocabulary, as a file of the model holds them."""
        names = ("level", "padding", "unknown", "lowercase")
        return {"tokens": list(self.tokens), **{name: getattr(self, name) for name in names}}

    def encode(self, texts: str | Iterable[str]) -> Any:
        """Return the ids of a text (T,), or a list of them for several texts.

        Parameters
        ----------
        texts
            A text, or several. An empty text has no ids; `pad` gives all texts one length.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            int64.

        Raises
        ------
        TypeError
            For anything but strings.
        ValueError
            For a token that is not in the vocabulary, if that has no id for unknown ones.

        Examples
        --------
        >>> Vocabulary(["to", "be"]).encode(["to be", ""])
        [array([2, 3]), array([], dtype=int64)]
        """
        if isinstance(texts, str):
            return self._encode(texts)
        return [self._encode(text) for text in _strings("texts", texts)]

    def _encode(self, text: str) -> np.ndarray:
        tokens = self._split(text)
        if self.unknown_id is not None:
            unknown = self.unknown_id
            return np.array([self._ids.get(token, unknown) for token in tokens], dtype=np.int64)
        try:
            return np.array([self._ids[token] for token in tokens], dtype=np.int64)
        except KeyError as token:
            rule = "must hold tokens of the vocabulary, which has no id for unknown ones"
            raise checks.error("Vocabulary", "texts", rule, token.args[0]) from None

    def _split(self, text: str) -> Sequence[str]:
        """Return the tokens of a text."""
        text = text.lower() if self.lowercase else text
        return text if self.level == "character" else _WORDS.findall(text)

    def decode(self, ids: Any) -> Any:
        """Return the text of ids (T,), or a list of texts for (N, T) or a list of arrays.

        Words are joined by spaces. Padding is left out, and unknown tokens are '�'.

        Parameters
        ----------
        ids
            Integers, in lists or arrays.

        Raises
        ------
        TypeError
            For numbers that are not integers.
        ValueError
            For an id that the vocabulary does not have.

        Examples
        --------
        >>> Vocabulary(["to", "be"]).decode([[2, 3, 0], [3, 1, 2]])
        ['to be', 'be � to']
        """
        if isinstance(ids, list | tuple) and any(np.ndim(row) > 0 for row in ids):
            return [self._decode(row) for row in ids]
        array = checks.array("Vocabulary", "ids", ids)
        return [self._decode(row) for row in array] if array.ndim == 2 else self._decode(array)

    def _decode(self, ids: Any) -> str:
        array = checks.array("Vocabulary", "ids", ids)
        if array.ndim != 1:
            rule = "must have the shape (T,) or (N, T)"
            raise checks.error("Vocabulary", "ids", rule, array.shape)
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(
                f"[Vocabulary] 'ids' must hold integers, got an array of dtype {array.dtype}: of a "
                "model's output, take .argmax(axis=-1)."
            )
        wrong = (array < 0) | (array >= len(self))
        if wrong.any():
            rule = f"must hold ids in 0..{len(self) - 1}"
            raise checks.error("Vocabulary", "ids", rule, int(array[wrong][0]))
        names = ("",) * self.padding + (UNKNOWN,) * self.unknown + self.tokens
        tokens = [names[number] for number in array.tolist()]
        return ("" if self.level == "character" else " ").join(filter(None, tokens))


def _strings(argument: str, values: Any) -> list[str]:
    """Return several strings as a list."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        got = values if isinstance(values, str) else type(values).__name__
        rule = "must be a list of strings" if argument == "tokens" else "must be strings"
        raise TypeError(f"[Vocabulary] '{argument}' {rule}, got {got!r}.")
    strings = list(values)
    for value in strings:
        if not isinstance(value, str):
            advice = ": decode it, bytes.decode('utf-8')" if isinstance(value, bytes) else ""
            rule = f"must be strings, got {value!r} of type {type(value).__name__}{advice}."
            raise TypeError(f"[Vocabulary] '{argument}' {rule}")
    return [str(value) for value in strings]  # NumPy's strings too
