"""Texts: read from files, as integer ids by a `Vocabulary`, padded to one length.

>>> from nn.data.text import Vocabulary, pad
>>> texts = ["call me", "call me later"]
>>> vocabulary = Vocabulary.from_text(texts)
>>> pad(vocabulary.encode(texts)).tolist()
[[2, 3, 0], [2, 3, 4]]
"""

from ..sequences import pad
from .reading import LabeledTexts, read_lines, read_table, read_text
from .vocabulary import Vocabulary

__all__ = ["LabeledTexts", "Vocabulary", "pad", "read_lines", "read_table", "read_text"]
