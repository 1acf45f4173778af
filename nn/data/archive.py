"""Read .tar.gz archives of data sets from strangers: the expected files, and nothing else."""

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from ..checks import FileFormatError
from .download import temporary_folder

_CHUNK = 1 << 16  # bytes
_MAX_MEMBERS = 100  # in an archive; tarfile keeps them all in memory

# What gzip and tarfile raise for damaged data; the last is for headers inside headers.
_DAMAGE = (
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    tarfile.TarError,
    ValueError,
    RecursionError,
)


def read_archive(path: str | os.PathLike, limits: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Yield the expected files of a .tar.gz archive; others in it are skipped.

    Nothing is written.

    Parameters
    ----------
    path
        The archive.
    limits
        Name of each file in the archive, and the most bytes that it may have.

    Yields
    ------
    name, content
        In the order of the archive, each once.

    Raises
    ------
    nn.io.FileFormatError
        If the archive is damaged or larger than such an archive can be, an expected file is
        missing, occurs twice, is too large, or is a link or a device.
    """
    path, missing = Path(path), set(limits)
    with path.open("rb") as raw:
        # Twice what is expected is enough for other files in it, and still a limit.
        file = _Bounded(raw, path, 2 * sum(limits.values()) + (1 << 20))
        try:
            with tarfile.open(fileobj=file, mode="r|", bufsize=_CHUNK) as archive:
                for count, member in enumerate(archive):
                    if count == _MAX_MEMBERS:
                        raise _bad(path, f"holds more than {_MAX_MEMBERS} files")
                    if member.name not in limits:
                        continue
                    content = _content(archive, member, path, limits[member.name])
                    if member.name not in missing:
                        raise _bad(path, f"holds '{member.name}' twice")
                    missing.remove(member.name)
                    yield member.name, content
            while file.read(_CHUNK):  # to the end, as gzip's checksum is there
                pass
        except FileFormatError:
            raise
        except _DAMAGE as error:
            raise _bad(path, f"is damaged ({error})") from error
    if missing:
        raise _bad(path, f"lacks '{min(missing)}'")


class _Bounded(gzip.GzipFile):
    """Gzip data that may unpack to at most `limit` bytes."""

    def __init__(self, raw: BinaryIO, path: Path, limit: int) -> None:
        super().__init__(fileobj=raw, mode="rb")
        self.path, self.left = path, limit

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.left -= len(content)
        if self.left < 0:
            raise _bad(self.path, "holds far more than it should")
        return content


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, limit: int) -> bytes:
    file = archive.extractfile(member) if member.isfile() and not member.issparse() else None
    if file is None:
        raise _bad(path, f"holds '{member.name}', which is no plain file")
    if member.size > limit:
        raise _bad(path, f"holds '{member.name}' of {member.size:,} bytes, more than {limit:,}")
    return file.read()


def _bad(path: Path, what: str) -> FileFormatError:
    return FileFormatError(
        f"[read_archive] '{path}' {what}: it is not the published archive; delete it and "
        "download it again."
    )


def unpack(
    path: str | os.PathLike, folder: str | os.PathLike, limits: Mapping[str, int]
) -> list[Path]:
    """Unpack the expected files of a .tar.gz archive into a folder, and return their paths.

    They are written into a temporary folder first, and moved when all of them are complete.

    Parameters
    ----------
    path, limits
        As in `read_archive`; the names may have folders in them.
    folder
        Created if it does not exist.

    Raises
    ------
    nn.io.FileFormatError
        As in `read_archive`; nothing is unpacked then.
    OSError
        If the folder cannot be written to.
    """
    with temporary_folder(Path(folder)) as temporary:
        for name, content in read_archive(path, limits):
            Path(temporary, name).parent.mkdir(parents=True, exist_ok=True)
            Path(temporary, name).write_bytes(content)
        for name in limits:
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(temporary, name).replace(Path(folder, name))
    return [Path(folder, name) for name in limits]
