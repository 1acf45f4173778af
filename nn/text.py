"""Text for people: columns that stay in line, whatever is written in them.

It is at the bottom, beside `checks`: the summary of a model, the progress of `fit` and the command
line write with it. A character may take two columns of a terminal (Chinese, Japanese) or none (an
accent that stands on the one before), so that `len` does not say how wide a text is.
"""

import unicodedata
from collections.abc import Collection, Sequence

_UNITS = ("KB", "MB", "GB", "TB")


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes.

    By Unicode's annex 11, "East Asian width": a wide character takes two, a combining mark none.

    Examples
    --------
    >>> width("pool"), width("層"), width("e\u0301")
    (4, 2, 1)
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def printable(text: str) -> str:
    r"""Return a text with what does not print, a line's end or a control code, spelled out.

    Examples
    --------
    >>> print(printable("two\nlines"))
    two\nlines
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cut(text: str, columns: int) -> str:
    """Return the beginning of a text that fits into some columns.

    Examples
    --------
    >>> cut("loss 0.25", 6), cut("層層", 3)
    ('loss 0', '層')
    """
    while width(text) > columns:
        text = text[:-1]
    return text


def table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return rows of cells as lines with columns two blanks apart.

    Parameters
    ----------
    rows
        Texts, as many in each row.
    right
        Numbers of the columns that stand at the right of their width, as figures do.

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
    """Return a number of bytes for people, in units of 1,024.

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
    """Return a time as minutes and seconds, with the hours where there are any.

    Examples
    --------
    >>> duration(7.6), duration(3725)
    ('00:08', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
