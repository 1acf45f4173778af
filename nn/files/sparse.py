"""Sparse files: a few bytes on the disk that claim to be gigabytes of zeros."""

import errno
import os
from typing import BinaryIO

__all__ = ["ALLOWANCE", "MAX_RATIO", "size_of"]

MAX_RATIO = 20  # of what is read to what is on the disk: weights hardly shrink
ALLOWANCE = 1 << 20  # bytes added to that limit: headers and zeros shrink well


def size_of(stream: BinaryIO) -> int:
    """Return the size of an open file in bytes.

    Raises
    ------
    ValueError
        If nearly all of it is holes, as far as the system tells where they are.
    """
    size = os.fstat(stream.fileno()).st_size
    held = end = 0
    while MAX_RATIO * held + ALLOWANCE < size and hasattr(os, "SEEK_DATA"):
        try:
            start = stream.seek(end, os.SEEK_DATA)
            end = stream.seek(start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # there is no data after `end`
                raise ValueError(
                    f"of its {size:,} bytes only {held:,} are on the disk, the rest are holes"
                ) from None
            break  # the file system does not tell
        held += end - start
    stream.seek(0)
    return size
