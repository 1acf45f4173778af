"""Texts from files: a whole text, its lines, or the columns of a table with labels."""

import codecs
import contextlib
import csv
import gzip
import itertools
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ... import checks
from ...checks import FileFormatError

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}


class LabeledTexts(NamedTuple):
    """Texts with a label each.

    Attributes
    ----------
    texts : list of str
    labels : numpy.ndarray
        (N,) int64, the index of each text's class in `class_names`.
    class_names : list of str
        Sorted; as numbers, if all are integers.
    """

    texts: list[str]
    labels: np.ndarray
    class_names: list[str]


def read_text(path: str | os.PathLike, encoding: str = "utf-8") -> str:
    r"""Return the text in a file, with '\n' at the end of each line.

    Parameters
    ----------
    path
        The file; one whose name ends in .gz is unpacked.
    encoding
        How its characters are stored. The mark that some programs write at the start of UTF-8 is
        skipped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    nn.io.FileFormatError
        If it is not written in the encoding, is damaged, or holds no text.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "novel.txt")
    >>> _ = path.write_text("Call me Ishmael.\n", encoding="utf-8")
    >>> read_text(path)
    'Call me Ishmael.\n'
    """
    with _opened(path, encoding) as file:
        text = file.read()
    if not text.strip():
        raise FileFormatError(f"[text] '{os.fspath(path)}' holds no text.")
    return text


def read_lines(path: str | os.PathLike, encoding: str = "utf-8") -> list[str]:
    r"""Return the lines of a text file, a sentence each for example, without the empty ones.

    Parameters
    ----------
    path, encoding
        As in `read_text`.

    Raises
    ------
    FileNotFoundError, nn.io.FileFormatError
        As `read_text` does.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "sentences.txt")
    >>> _ = path.write_text("One.\n\nTwo.\n", encoding="utf-8")
    >>> read_lines(path)
    ['One.', 'Two.']
    """
    lines = (line.strip() for line in read_text(path, encoding).split("\n"))
    return [line for line in lines if line]


def read_table(
    path: str | os.PathLike,
    text: str | int,
    label: str | int,
    header: bool | None = None,
    encoding: str = "utf-8",
) -> LabeledTexts:
    r"""Return the texts and labels in two columns of a table: a .csv, .tsv or .tab file.

    In a .csv file a field may be in quotes, as RFC 4180 has it; in the others quotes are
    characters like any other.

    Parameters
    ----------
    path
        The file; .gz may follow its ending, as in 'mails.tsv.gz'.
    text, label
        The columns: their names in the first row, or their numbers, counted from 0.
    header
        Whether the first row holds the names of the columns; None if `text` or `label` is a name.
    encoding
        As in `read_text`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    nn.io.FileFormatError
        If a row lacks one of the columns, or as `read_text` does.
    ValueError
        For a column that the table does not have, or a file with another ending.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "mails.csv")
    >>> _ = path.write_text('kind,body\nspam,"Win, now"\nham,Lunch?\n', encoding="utf-8")
    >>> read_table(path, text="body", label="kind")
    LabeledTexts(texts=['Win, now', 'Lunch?'], labels=array([1, 0]), class_names=['ham', 'spam'])
    """
    name = os.fspath(checks.path("text", "path", path)).lower().removesuffix(".gz")
    delimiter = _DELIMITERS.get(Path(name).suffix)
    if delimiter is None:
        raise checks.error("text", "path", "must end in .csv, .tsv or .tab", os.fspath(path))
    rows = _rows(path, delimiter, encoding)
    first = next(rows, None)
    if first is None:
        raise FileFormatError(f"[text] '{os.fspath(path)}' holds no rows.")
    if header is None:
        header = isinstance(text, str) or isinstance(label, str)
    names = first[1] if header else None
    at = [_column("text", text, names), _column("label", label, names)]
    texts, labels = [], []
    for line, fields in rows if header else itertools.chain([first], rows):
        if len(fields) <= max(at):
            raise FileFormatError(
                f"[text] '{os.fspath(path)}' line {line}: expects at least {max(at) + 1} columns, "
                f"got {len(fields)}."
            )
        texts.append(fields[at[0]])
        labels.append(fields[at[1]])
    if not texts:
        raise FileFormatError(f"[text] '{os.fspath(path)}' holds no rows below its header.")
    classes = _in_order(set(labels))
    numbers = {name: index for index, name in enumerate(classes)}
    y = np.array([numbers[name] for name in labels], dtype=np.int64)
    return LabeledTexts(texts, y, classes)


def _column(argument: str, column: str | int, names: list[str] | None) -> int:
    """Return the number of a column, which may be given by its name."""
    if not isinstance(column, str):
        number = checks.non_negative_int("text", argument, column)
        if names is not None and number >= len(names):
            raise checks.error("text", argument, f"must be below {len(names)}", column)
        return number
    if names is None:
        raise checks.error("text", argument, "must be a number without a header", column)
    if names.count(column) != 1:
        raise checks.unknown("text", argument, column, (n for n in names if names.count(n) == 1))
    return names.index(column)


def _in_order(names: set[str]) -> list[str]:
    """Return names in their order, as numbers if all are integers."""
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def _rows(path: str | os.PathLike, delimiter: str, encoding: str) -> Iterator[tuple[int, list]]:
    """Yield the rows of a table that are not empty, each with the number of its last line."""
    form: Any = {"delimiter": delimiter, "strict": True}
    form |= {} if delimiter == "," else {"quoting": csv.QUOTE_NONE}
    with _opened(path, encoding, newline="") as file:
        reader = csv.reader(file, **form)
        try:
            for fields in reader:
                if fields:
                    yield reader.line_num, fields
        except csv.Error as error:
            advice = ": call csv.field_size_limit(n) for longer ones" * ("limit" in str(error))
            raise FileFormatError(
                f"[text] '{os.fspath(path)}' line {reader.line_num}: {error}{advice}."
            ) from error


@contextlib.contextmanager
def _opened(
    path: str | os.PathLike, encoding: str, newline: str | None = None
) -> Iterator[IO[str]]:
    """Open a text file to read it; errors of its content become FileFormatError."""
    name = os.fspath(checks.path("text", "path", path))
    try:
        "".encode(encoding)  # which 'base64', for example, cannot do
        known = codecs.lookup(encoding).name
    except (LookupError, TypeError):
        rule = "must be an encoding that Python knows, such as 'utf-8' or 'latin-1'"
        raise checks.error("text", "encoding", rule, encoding) from None
    encoding = "utf-8-sig" if known == "utf-8" else encoding  # without the mark at its start
    try:
        opener = gzip.open if str(name).lower().endswith(".gz") else open
        with opener(path, "rt", encoding=encoding, newline=newline) as file:
            yield file
    except UnicodeError as error:
        raise FileFormatError(
            f"[text] '{name}' is not written in the encoding {encoding!r}: {error}: pass "
            "encoding=, such as 'latin-1' or 'cp1252', as it was written."
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileFormatError(f"[text] '{name}' is damaged: {error}.") from error
