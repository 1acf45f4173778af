"""Download: files with known checksums, from the first mirror that has them.

What a classroom needs of it: without a network the answer comes within seconds, a broken
mirror costs nothing but a moment, a connection that breaks does not cost what has arrived,
and a file is either in its place whole and right or not there at all, however many processes
fetch it at once. Archives that were downloaded are opened at the end of this file, with the
same suspicion.
"""

import gzip
import os
import queue
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from .. import checks
from ..checks import FileFormatError

_CHUNK = 1 << 16  # bytes
_MAX_MEMBERS = 100  # in an archive; tarfile remembers each

# What gzip and tarfile raise for damaged data; the last comes from headers on headers.
_DAMAGE = (
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    tarfile.TarError,
    ValueError,
    RecursionError,
)


def download_files(
    files: Mapping[str, str],
    folder: str | os.PathLike,
    mirrors: Sequence[str],
    timeout: float = 6.0,
    retries: int = 2,
    progress: bool = True,
) -> list[Path]:
    """Bring files into a folder, unless they are there already, and return their paths.

    A file of the right name with another checksum is replaced. Where a connection breaks, the
    next attempt asks for the rest alone; a mirror that cannot send it sends the whole file.

    Parameters
    ----------
    files
        Name of each file and its MD5 sum, in hexadecimal digits.
    folder
        Made where it does not exist.
    mirrors
        Addresses (http or https) that the names are appended to. Each is tried in turn, and
        the one that served a file is asked first for the next.
    timeout
        Seconds. Where no mirror gives any answer within them, there is no network; a mirror
        that falls silent for as long during a download is left for the next one.
    retries
        Further rounds over the mirrors for a file that all of them failed to deliver.
    progress
        Whether to show a bar for each file on the standard error.

    Raises
    ------
    ConnectionError
        Where no mirror answers.
    OSError
        Where the folder cannot be written to, or the mirrors answer but do not deliver.
    ValueError
        For arguments that make no sense.
    """
    mirrors = _check_mirrors(mirrors)
    timeout = checks.positive("download_files", "timeout", timeout)
    retries = checks.non_negative_int("download_files", "retries", retries)
    folder = Path(folder)
    missing = {name: md5 for name, md5 in files.items() if not _is_right(folder / name, md5)}
    if missing:
        _require_network(mirrors, next(iter(missing)), timeout)
        with _temporary_folder(folder) as temporary:
            for name, md5 in missing.items():
                path = Path(temporary, name)
                used = _fetch(name, md5, path, mirrors, timeout, retries, progress)
                # One step within one file system: nobody ever sees half a file.
                path.replace(folder / name)
                mirrors = [used, *(mirror for mirror in mirrors if mirror != used)]
    return [folder / name for name in files]


def _check_mirrors(mirrors: Sequence[str]) -> list[str]:
    if isinstance(mirrors, str) or not mirrors:
        raise checks.error("download_files", "mirrors", "must be a list of addresses", mirrors)
    for mirror in mirrors:
        if not mirror.startswith(("http://", "https://")):
            raise checks.error("download_files", "mirrors", "must begin with http(s)://", mirror)
    return [mirror.rstrip("/") + "/" for mirror in mirrors]


def _is_right(path: Path, md5: str) -> bool:
    import pooch

    return path.is_file() and pooch.file_hash(str(path), alg="md5") == md5


def _temporary_folder(folder: Path) -> tempfile.TemporaryDirectory:
    """Return a folder inside `folder`, for use in `with`; both are made where needed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".download-", dir=folder)
    except OSError as error:
        raise OSError(
            f"[download_files] cannot write to the folder '{folder}' ({error.strerror}): "
            "choose another one."
        ) from error


def _require_network(mirrors: list[str], name: str, timeout: float) -> None:
    """Raise ConnectionError unless a mirror, asked for a file, answers within `timeout` s.

    All are asked at once, each in a thread of its own: looking up a name can take longer than
    any timeout one can set, and a thread can be left behind.
    """
    import pooch

    answers: queue.Queue[Exception | None] = queue.Queue()

    def ask(url: str) -> None:
        try:
            pooch.HTTPDownloader(timeout=timeout)(url, None, None, check_only=True)
            answers.put(None)  # "not found" is an answer too: there is a network
        except Exception as error:  # the asker decides what it means
            answers.put(error)

    for mirror in mirrors:
        threading.Thread(target=ask, args=(mirror + name,), daemon=True).start()
    deadline = time.monotonic() + timeout
    reason: Exception | None = None
    try:
        for _ in mirrors:
            reason = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            if reason is None:
                return
    except queue.Empty:
        pass
    raise ConnectionError(
        "[download_files] there seems to be no network, for no mirror answers: asked "
        f"{' and '.join(mirrors)} with a timeout of {timeout:g} s."
    ) from reason


def _fetch(
    name: str,
    md5: str,
    path: Path,
    mirrors: list[str],
    timeout: float,
    retries: int,
    progress: bool,
) -> str:
    """Download one file to `path` and return the mirror that served it."""
    for attempt in range(1 + retries):
        time.sleep(attempt)  # seconds: none before the first round, then longer each time
        problems = []
        for mirror in mirrors:
            try:
                _fetch_from(mirror + name, path, md5, timeout, progress)
                return mirror
            except (OSError, ValueError) as error:  # what requests raises are OSErrors
                problems.append(f"  {mirror}{name}: {error}")
    reasons = "\n".join(problems)
    raise OSError(f"[download_files] '{name}' could not be downloaded:\n{reasons}")


def _fetch_from(url: str, path: Path, md5: str, timeout: float, progress: bool) -> None:
    """Download one file to `path`, going on where an attempt before this one broke off."""
    while True:
        resumed = _transfer(url, path, timeout, progress)
        if _is_right(path, md5):
            return
        path.unlink()
        if not resumed:
            raise ValueError("the file it sent has a wrong checksum")
        # The beginning may have come wrong, and from another mirror: once more, the whole file.


def _transfer(url: str, path: Path, timeout: float, progress: bool) -> bool:
    """Download to `path` what is missing of it, and tell whether that was less than all.

    Pooch downloads whole files only, so this is done with what it stands on. The bytes are
    stored as they come: one that the server calls compressed is what the checksum is of.
    """
    import requests
    import urllib3
    from tqdm import tqdm

    have = path.stat().st_size if path.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, timeout=timeout, stream=True) as answer:
        is_rest = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if have and (answer.status_code == 416 or (answer.status_code == 206 and not is_rest)):
            path.unlink()  # the server has nothing that would follow: once more, the whole file
            return _transfer(url, path, timeout, progress)
        answer.raise_for_status()
        resumed = have > 0 and answer.status_code == 206
        start = have if resumed else 0
        total = start + int(answer.headers.get("Content-Length", 0)) or None
        bar = {"desc": path.name, "unit": "B", "unit_scale": True, "disable": not progress}
        with (
            path.open("ab" if resumed else "wb") as file,
            tqdm(total=total, initial=start, **bar) as shown,
        ):
            try:
                for chunk in answer.raw.stream(_CHUNK, decode_content=False):
                    shown.update(file.write(chunk))
            except urllib3.exceptions.HTTPError as error:
                raise ConnectionError(f"the connection broke: {error}") from error
    return resumed


# -------------------------------------------------------------------------------- archives


def read_archive(path: str | os.PathLike, limits: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Yield the files that are expected in a .tar.gz archive, and no others.

    Nothing is written. What the archive holds besides is passed over.

    Parameters
    ----------
    path
        The archive.
    limits
        Name of each file in the archive, and the bytes that it may have at most.

    Yields
    ------
    name, content
        In the order of the archive, each once.

    Raises
    ------
    nn.io.FileFormatError
        For an archive that is damaged, holds links, devices or ways out of its folder, lacks
        an expected file, or is larger than such an archive can be.
    """
    path, missing = Path(path), set(limits)
    with path.open("rb") as raw:
        # Twice what is expected: enough for whatever else is in it, an end to what has none.
        file = _Bounded(raw, path, 2 * sum(limits.values()) + (1 << 20))
        try:
            with tarfile.open(fileobj=file, mode="r|", bufsize=_CHUNK) as archive:
                for count, member in enumerate(archive):
                    if count == _MAX_MEMBERS:
                        raise _bad(path, f"holds more than {_MAX_MEMBERS} things")
                    _check_member(member, path)
                    if member.name not in limits:
                        continue
                    content = _content(archive, member, path, limits[member.name])
                    if member.name not in missing:
                        raise _bad(path, f"holds '{member.name}' twice")
                    missing.remove(member.name)
                    yield member.name, content
            while file.read(_CHUNK):  # to the end, where gzip's own checksum is
                pass
        except FileFormatError:
            raise
        except _DAMAGE as error:
            raise _bad(path, f"is damaged ({error})") from error
    if missing:
        raise _bad(path, f"lacks '{min(missing)}'")


class _Bounded(gzip.GzipFile):
    """Gzip data that does not become more than `limit` bytes, however well it was packed."""

    def __init__(self, raw: BinaryIO, path: Path, limit: int) -> None:
        super().__init__(fileobj=raw, mode="rb")
        self.path, self.left = path, limit

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.left -= len(content)
        if self.left < 0:
            raise _bad(self.path, "holds far more than it should")
        return content


def _check_member(member: tarfile.TarInfo, path: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise _bad(path, f"holds '{member.name}', outside of its folder")
    if member.issparse() or not (member.isfile() or member.isdir()):
        raise _bad(path, f"holds '{member.name}', which is no plain file")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, limit: int) -> bytes:
    if member.size > limit:
        raise _bad(path, f"holds '{member.name}' of {member.size:,} bytes, more than {limit:,}")
    file = archive.extractfile(member)
    if file is None:
        raise _bad(path, f"holds '{member.name}', which is no plain file")
    return file.read()


def _bad(path: Path, what: str) -> FileFormatError:
    return FileFormatError(
        f"[read_archive] '{path}' {what}: it is not the archive that was published; delete it "
        "and download it anew."
    )


def unpack(
    path: str | os.PathLike, folder: str | os.PathLike, limits: Mapping[str, int]
) -> list[Path]:
    """Unpack the expected files of a .tar.gz archive into a folder, and return their paths.

    They are written into a temporary folder first, and moved only once all of them are there,
    each in one step: no file is ever seen half.

    Parameters
    ----------
    path, limits
        As in `read_archive`; the names may have folders in them.
    folder
        Made where it does not exist.

    Raises
    ------
    nn.io.FileFormatError
        As `read_archive` does; nothing is unpacked then.
    OSError
        Where the folder cannot be written to.
    """
    with _temporary_folder(Path(folder)) as temporary:
        for name, content in read_archive(path, limits):
            Path(temporary, name).parent.mkdir(parents=True, exist_ok=True)
            Path(temporary, name).write_bytes(content)
        for name in limits:
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(temporary, name).replace(Path(folder, name))
    return [Path(folder, name) for name in limits]
