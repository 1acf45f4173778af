"""Write a file atomically: it is there complete or not at all.

`write_atomic` writes a temporary file in the same folder, flushes it to the disk, and renames it.
Until then an old file is unchanged, even if there is an error, the disk is full, the process is
killed or the power fails.
"""

import contextlib
import errno
import io
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["write_atomic"]

_PREFIX, _SUFFIX = ".nn-", ".tmp"

# Only some systems have these flags.
_BINARY, _NOFOLLOW, _NONBLOCK = (
    getattr(os, name, 0) for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK")
)

# What to do about an error, by its number.
_REMEDIES = {
    errno.ENOSPC: "free space on the disk, or choose another folder",
    errno.EFBIG: "the file is larger than the system allows: choose another folder",
    errno.EACCES: "make the folder writable, or choose another one",
    errno.EPERM: "make the folder writable, or choose another one",
    errno.EROFS: "choose a folder that is not read-only",
    errno.ENOENT: "create the folder first",
    errno.ENAMETOOLONG: "choose a shorter name",
}
if hasattr(errno, "EDQUOT"):
    _REMEDIES[errno.EDQUOT] = "free space in your quota, or choose another folder"


def write_atomic(path: str | os.PathLike, save: Callable[[BinaryIO], object], owner: str) -> None:
    """Write a file so that there is always the complete old one or the complete new one.

    The new file gets the permissions of the old one and belongs to the user who writes it. If
    `path` is a symbolic link, the link stays, and its target is replaced.

    A process that is killed while it writes leaves a temporary file, `.nn-*.tmp`. The next write
    into the folder removes it. Temporary files still being written are locked; if the system has
    no such locks, leftovers stay.

    Parameters
    ----------
    path
        The file.
    save
        Called with a new file, opened for reading and writing, to write its content.
    owner
        The name of the caller, for error messages.

    Raises
    ------
    OSError
        If the file cannot be written: the system's error, with its class and `errno`. The message
        says which file, why, and what to do.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "greeting")
    ...     write_atomic(path, lambda stream: stream.write(b"hello"), "docs")
    ...     path.read_bytes(), len(list(Path(folder).iterdir()))
    (b'hello', 1)
    """
    real = Path(os.path.realpath(path))
    try:
        mode = _permissions(real)
        _remove_leftovers(real.parent)
        with _temporary(real.parent, 0o666 if mode is None else mode) as (temporary, stream):
            target = _Target(stream)
            try:
                save(target)  # type: ignore[arg-type]
            finally:
                if target.error is not None:
                    raise target.error from None
            stream.flush()
            os.fsync(stream.fileno())
            if mode is not None:
                with contextlib.suppress(OSError):  # some file systems have no permissions
                    temporary.chmod(mode)
            if fcntl is None:
                stream.close()  # Windows cannot rename an open file
            temporary.replace(real)
        _sync_folder(real.parent)
    except OSError as error:
        raise _detailed_error(error, path, real, owner) from error


class _Target(io.RawIOBase):
    """A file for `save` that never fails: its first error is raised once `save` has ended.

    The C code of HDF5 calls a file again after an error, to write what it still holds: Python
    answers with a SystemError, and some versions of h5py crash when the process ends. A zip file
    that failed says so once more when it is collected.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.error: BaseException | None = None

    def _call(self, method: Callable[..., int | None], otherwise: int, *arguments: Any) -> int:
        if self.error is None:
            try:
                return method(*arguments) or 0
            except BaseException as error:  # Ctrl-C too
                self.error = error
        return otherwise

    def write(self, data: Any) -> int:
        return self._call(self.stream.write, memoryview(data).nbytes, data)

    def readinto(self, data: Any) -> int:
        return self._call(self.stream.readinto, len(data), data)  # type: ignore[attr-defined]

    def truncate(self, size: int | None = None) -> int:
        return self._call(self.stream.truncate, size or 0, size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._call(self.stream.seek, 0, offset, whence)

    def flush(self) -> None:
        self._call(self.stream.flush, 0)

    def seekable(self) -> bool:
        return True


def _permissions(real: Path) -> int | None:
    """Return the permissions of an existing file; None if there is none."""
    try:
        mode = real.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):  # a device or a pipe, which must not be replaced
        raise OSError(errno.EINVAL, "it is not a regular file")
    return stat.S_IMODE(mode)


@contextlib.contextmanager
def _temporary(folder: Path, mode: int) -> Iterator[tuple[Path, BinaryIO]]:
    """Create a new file, locked while it is open; at the end, remove it if it is still there."""
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(6)}{_SUFFIX}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, mode)
        with os.fdopen(handle, "w+b") as stream:
            if _lock(handle, wait=True) and os.fstat(handle).st_nlink == 0:
                continue  # another process removed it before it was locked
            try:
                yield path, stream
            finally:
                if fcntl is None:
                    stream.close()  # Windows cannot remove an open file
                with contextlib.suppress(OSError):
                    path.unlink()
            return


def _lock(handle: int, wait: bool) -> bool:
    """Lock an open file, until it is closed or the process ends; return whether that worked."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # it is locked already, or the file system has no locks
        return False
    return True


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that have ended."""
    if fcntl is None:
        return  # without locks, they cannot be distinguished from files still being written
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError):  # no permission
            # Do not follow a link or wait for a pipe, which others may have put there.
            handle = os.open(path, os.O_RDWR | _NOFOLLOW | _NONBLOCK)
            try:
                if stat.S_ISREG(os.fstat(handle).st_mode) and _lock(handle, wait=False):
                    path.unlink()
            finally:
                os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Flush the folder's list of names to the disk, if the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _detailed_error(error: OSError, path: str | os.PathLike, real: Path, owner: str) -> OSError:
    """Return an error of the same class that says which file, why, and what to do."""
    reason = error.strerror or str(error) or type(error).__name__
    if not real.parent.is_dir():
        reason = f"there is no folder '{real.parent}'"
    remedy = _REMEDIES.get(error.errno or 0, "choose another path")
    explained = type(error)(
        f"[{owner}] cannot write '{os.fspath(path)}': {reason}. An old file is unchanged; {remedy}."
    )
    explained.errno = error.errno
    return explained
