"""Text for people: aligned tables, sizes in bytes and times.

A character may take two columns of a terminal (Chinese, Japanese) or none (a combining accent), so
that `len` is not the width of a string.
"""

import unicodedata
from collections.abc import Collection, Sequence

_UNITS = ("KB", "MB", "GB", "TB")


def width(text: str) -> int:
    """Return how many columns of a terminal a string takes, as tqdm counts them.

    Examples
    --------
    >>> width("pool"), width("層"), width("e\u0301")
    (4, 2, 1)
    """
    from tqdm.utils import disp_len

    return disp_len(unicodedata.normalize("NFC", text))  # one character for a letter and its accent


def printable(text: str) -> str:
    r"""Return a string in which newlines and other control characters are escaped.

    Examples
    --------
    >>> print(printable("two\nlines"))
    two\nlines
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cut(text: str, columns: int) -> str:
    """Return the beginning of a string that fits into a number of columns.

    Examples
    --------
    >>> cut("loss 0.25", 6), cut("層層", 3)
    ('loss 0', '層')
    """
    while width(text) > columns:
        text = text[:-1]
    return text


def table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return rows of cells as lines, with two spaces between the columns.

    Parameters
    ----------
    rows
        Texts, as many in each row.
    right
        Numbers of the columns that are aligned to the right, as numbers are.

    Examples
    --------
    >>> table([("Layer", "Parameters"), ("Dense", "12")], right=[1])
    ['Layer  Parameters', 'Dense          12']
    """
    widths = [max(width(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        gaps = [" " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)]
        cells = [
            gap + cell if k in right else cell + gap
            for k, (cell, gap) in enumerate(zip(row, gaps, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def size(count: int) -> str:
    """Return a number of bytes in the largest fitting unit of 1,024.

    Examples
    --------
    >>> size(1), size(1000), size(2560), size(3 << 20)
    ('1 byte', '1,000 bytes', '2.5 KB', '3.0 MB')
    """
    if count < 1024:
        return f"{count:,} byte{'s' * (count != 1)}"
    power = next((k for k in (1, 2, 3) if count < 1023.95 * 1024**k), 4)
    return f"{count / 1024**power:,.1f} {_UNITS[power - 1]}"


def duration(seconds: float) -> str:
    """Return a time as minutes and seconds, with hours if there are any.

    Examples
    --------
    >>> duration(7.6), duration(3725)
    ('00:08', '1:02:05')
    """
    from tqdm import tqdm

    return tqdm.format_interval(round(seconds))
