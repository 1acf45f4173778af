"""Writing a file so that it is there whole or not at all.

Every file that nn writes in one go comes through `write_whole`. It writes a temporary file in
the folder of the real one, has the system put it on the disk, and gives it the real name in one
step. Until then the old file is untouched, whatever happens: an error, a full disk, the process
killed, the power gone.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["write_whole"]

_PREFIX, _SUFFIX = ".nn-", ".tmp"

# What only some systems have.
_BINARY, _NOFOLLOW, _NONBLOCK = (
    getattr(os, name, 0) for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK")
)

# What to do about an error, by its number; for others, to write elsewhere.
_REMEDIES = {
    errno.ENOSPC: "make room on the disk, or choose another folder",
    errno.EFBIG: "it is larger than this system lets a file be: choose another folder",
    errno.EACCES: "make the folder writable, or choose another one",
    errno.EPERM: "make the folder writable, or choose another one",
    errno.EROFS: "choose a folder that is not read-only",
    errno.ENOENT: "make the folder first",
    errno.ENAMETOOLONG: "choose a shorter name",
}
if hasattr(errno, "EDQUOT"):
    _REMEDIES[errno.EDQUOT] = "make room in your quota, or choose another folder"


def write_whole(path: str | os.PathLike, save: Callable[[BinaryIO], object], owner: str) -> None:
    """Write a file at once: whatever happens, there is the old one or the new one, whole.

    The new file gets the permissions of the old one; its owner is who writes it. Where `path` is
    a symbolic link, the link stays, and what it points to is replaced.

    A process that is killed while it writes leaves a temporary file behind, `.nn-*.tmp`. Whoever
    writes into the folder next removes it. Temporary files still being written are known by a
    lock on them; where the system has no such locks, leftovers stay.

    Parameters
    ----------
    path
        The file.
    save
        Called with a new file, open for reading and writing, to fill it.
    owner
        Who writes, for the error messages.

    Raises
    ------
    OSError
        Where the file cannot be written, of the kind that the system gave and with its `errno`.
        The message names the file, the reason and what to do.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "greeting")
    ...     write_whole(path, lambda stream: stream.write(b"hello"), "docs")
    ...     path.read_bytes(), len(list(Path(folder).iterdir()))
    (b'hello', 1)
    """
    place = Path(os.path.realpath(path))
    try:
        mode = _old_mode(place)
        _sweep(place.parent)
        with _temporary(place.parent, 0o666 if mode is None else mode) as (temporary, stream):
            save(stream)
            stream.flush()
            os.fsync(stream.fileno())
            if mode is not None:
                with contextlib.suppress(OSError):  # some file systems have no permissions
                    temporary.chmod(mode)
            if fcntl is None:
                stream.close()  # Windows moves no open file
            temporary.replace(place)
        _sync_folder(place.parent)
    except OSError as error:
        raise _explained(error, path, place, owner) from error


def _old_mode(place: Path) -> int | None:
    """Return the permissions of the file that is there; None where there is none."""
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):  # a device or a pipe, which must not be replaced
        raise OSError(errno.EINVAL, "it is no ordinary file")
    return stat.S_IMODE(mode)


@contextlib.contextmanager
def _temporary(folder: Path, mode: int) -> Iterator[tuple[Path, BinaryIO]]:
    """Give a new file in a folder, locked while it is open; it is removed if it is still there."""
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(6)}{_SUFFIX}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, mode)
        with os.fdopen(handle, "w+b") as stream:
            if _lock(handle, wait=True) and os.fstat(handle).st_nlink == 0:
                continue  # before it was locked, another process took it for a leftover
            try:
                yield path, stream
            finally:
                if fcntl is None:
                    stream.close()  # Windows removes no open file
                with contextlib.suppress(OSError):
                    path.unlink()
            return


def _lock(handle: int, wait: bool) -> bool:
    """Lock an open file, until it is closed or its process ends; tell whether that was done."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # somebody else has it, or the file system knows no locks
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove the temporary files of processes that are no more."""
    if fcntl is None:
        return  # nothing tells which they are, and Windows moves no file that somebody looks at
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError):  # not ours to remove
            # Neither follow a link nor wait for a pipe: others may write into the folder too.
            handle = os.open(path, os.O_RDWR | _NOFOLLOW | _NONBLOCK)
            try:
                if stat.S_ISREG(os.fstat(handle).st_mode) and _lock(handle, wait=False):
                    path.unlink()
            finally:
                os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Have the folder's list of names put on the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _explained(error: OSError, path: str | os.PathLike, place: Path, owner: str) -> OSError:
    """Return an error of the same kind that says what happened to which file, and what to do."""
    reason = error.strerror or str(error) or type(error).__name__
    if not place.parent.is_dir():
        reason = f"there is no folder '{place.parent}'"
    remedy = _REMEDIES.get(error.errno or 0, "choose another place")
    explained = type(error)(
        f"[{owner}] cannot write '{os.fspath(path)}': {reason}. What was there before is as it "
        f"was; {remedy}."
    )
    explained.errno = error.errno
    return explained
