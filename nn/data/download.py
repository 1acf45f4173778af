"""Download files with known checksums from the first mirror that serves them.

Without a network, an error is raised within seconds; a broken mirror costs a moment; a broken
connection does not lose what has arrived; and a file is either complete and right or not there at
all, even if several processes download it at once.
"""

import contextlib
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import checks

_CHUNK = 1 << 12  # bytes
_MOST = 1 << 30  # bytes of a file
_MAX_UNANNOUNCED = 1 << 26  # bytes of a file whose length the mirror does not announce
_SLOWEST = 1 << 12  # bytes a second, on the average of a transfer


def download_files(
    files: Mapping[str, str],
    folder: str | os.PathLike,
    mirrors: Sequence[str],
    timeout: float = 6.0,
    retries: int = 2,
    progress: bool = True,
) -> list[Path]:
    """Download files into a folder, unless they are there already, and return their paths.

    A file of the right name with another checksum is replaced. If a connection breaks, the next
    attempt requests only the rest; a mirror that cannot send that sends the whole file.

    Parameters
    ----------
    files
        Name of each file and its MD5 sum, in hexadecimal digits.
    folder
        Created if it does not exist.
    mirrors
        Addresses (http or https) to which the names are appended. Each is tried in turn, and the
        one that served a file is tried first for the next.
    timeout
        Seconds to wait for an answer. If no mirror answers, there is no network; a mirror that
        sends nothing for as long during a download is given up for the next one, as is one that
        sends less than 4 KB a second from twice that time on.
    retries
        How many times all mirrors are tried again for a file that none of them delivered.
    progress
        Whether to show a bar for each file on the standard error.

    Raises
    ------
    ConnectionError
        If no mirror answers.
    OSError
        If the folder cannot be written to, or the mirrors answer but do not deliver.
    ValueError
        If an argument is wrong.
    """
    mirrors = _check_mirrors(mirrors)
    timeout = checks.positive("download_files", "timeout", timeout)
    retries = checks.non_negative_int("download_files", "retries", retries)
    folder = Path(folder)
    missing = {name: md5 for name, md5 in files.items() if not _is_right(folder / name, md5)}
    if missing:
        _require_network(mirrors, folder, [*missing], timeout)
        with temporary_folder(folder) as temporary:
            for name, md5 in missing.items():
                path = Path(temporary, name)
                used = _fetch(md5, path, mirrors, timeout, retries, progress)
                path.replace(folder / name)  # at once, as it is the same file system
                mirrors = [used, *(mirror for mirror in mirrors if mirror != used)]
    return [folder / name for name in files]


def require_folder(owner: str, path: Any, can_download: bool = True) -> Path:
    """Return the folder of a data set, which has to be named.

    Parameters
    ----------
    owner
        The function that loads the set.
    path
        Its argument; None if it was left out.
    can_download
        Whether the function has the argument `download`.

    Raises
    ------
    TypeError
        For anything but the name of a folder.

    Examples
    --------
    >>> require_folder("load_cifar10", None)
    Traceback (most recent call last):
    TypeError: [load_cifar10] 'path' must be the folder that holds the set, got None: write \
load_cifar10("data", download=True), which downloads it if it is not there.
    """
    if path is None:
        advice = f'write {owner}("data", download=True), which downloads it if it is not there.'
        if not can_download:
            advice = f'write {owner}("data") if it is in the folder data.'
        raise TypeError(
            f"[{owner}] 'path' must be the folder that holds the set, got None: {advice}"
        )
    return Path(checks.path(owner, "path", path))


def temporary_folder(folder: Path) -> tempfile.TemporaryDirectory:
    """Return a new folder inside `folder`, for use in `with`; create both."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".download-", dir=folder)
    except OSError as error:
        raise OSError(
            f"[download_files] cannot write to the folder '{folder}' ({error.strerror}): "
            "choose another one."
        ) from error


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


def _require_network(mirrors: list[str], folder: Path, names: list[str], timeout: float) -> None:
    """Raise ConnectionError unless a mirror answers a request within `timeout` seconds.

    All are asked at once, each in a thread: looking up the address of a host can take longer than
    any timeout that one can set, and a thread can be abandoned.
    """
    import requests

    answers: queue.Queue[Exception | None] = queue.Queue()

    def ask(url: str) -> None:
        try:
            requests.head(url, timeout=timeout)
            answers.put(None)  # "not found" is an answer too: there is a network
        except Exception as error:
            answers.put(error)

    for mirror in mirrors:
        threading.Thread(target=ask, args=(mirror + names[0],), daemon=True).start()
    deadline = time.monotonic() + timeout
    reason: Exception | None = None
    with contextlib.suppress(queue.Empty):
        for _ in mirrors:
            reason = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            if reason is None:
                return
    there = [name for name in names if (folder / name).is_file()]
    advice = f"If you have the files, put them into '{folder}': {', '.join(names)}."
    if there:
        advice = f"These are in '{folder}' with other checksums: {', '.join(there)}."
    raise ConnectionError(
        "[download_files] no mirror answered, check the network connection: tried "
        f"{' and '.join(mirrors)} with a timeout of {timeout:g} s.\n{advice}"
    ) from reason


def _fetch(
    md5: str, path: Path, mirrors: list[str], timeout: float, retries: int, progress: bool
) -> str:
    """Download one file to `path` and return the mirror that served it."""
    for attempt in range(1 + retries):
        time.sleep(attempt)  # seconds: none before the first attempt, then longer each time
        problems = []
        for mirror in mirrors:
            try:
                _fetch_from(mirror + path.name, path, md5, timeout, progress)
                return mirror
            except (OSError, ValueError) as error:  # the errors of requests are OSErrors
                problems.append(f"  {mirror}{path.name}: {error}")
    reasons = "\n".join(problems)
    raise OSError(f"[download_files] '{path.name}' could not be downloaded:\n{reasons}")


def _fetch_from(url: str, path: Path, md5: str, timeout: float, progress: bool) -> None:
    """Download one file to `path`, starting where an earlier attempt was interrupted."""
    while True:
        resumed = _in_time(lambda count: _transfer(url, path, timeout, progress, count), timeout)
        if _is_right(path, md5):
            return
        path.unlink()
        if not resumed:
            raise ValueError("the file it sent has a wrong checksum")
        # What had arrived before, perhaps from another mirror, may be wrong: get the whole file.


def _in_time(transfer: Callable[[Callable[[int], None]], bool], timeout: float) -> bool:
    """Return the result of a transfer; raise TimeoutError if it takes too long as a whole.

    It runs in a thread, which can be abandoned, and calls its argument with the number of bytes
    before it writes them. No timeout of a connection notices a mirror that sends drop by drop.
    """
    received, is_over = [0], threading.Event()
    outcome: queue.Queue[tuple[bool, BaseException | None]] = queue.Queue()

    def count(size: int) -> None:
        if is_over.is_set():
            raise TimeoutError
        received[0] += size

    def work() -> None:
        try:
            outcome.put((transfer(count), None))
        except BaseException as error:
            outcome.put((False, error))

    start = time.monotonic()
    threading.Thread(target=work, daemon=True).start()
    try:
        while time.monotonic() - start < 2 * timeout + received[0] / _SLOWEST:
            with contextlib.suppress(queue.Empty):
                result, error = outcome.get(timeout=0.05)
                if error is not None:
                    raise error
                return result
    finally:
        is_over.set()
    raise TimeoutError(f"it sent only {received[0]:,} bytes in {time.monotonic() - start:.3g} s")


def _transfer(
    url: str, path: Path, timeout: float, progress: bool, count: Callable[[int], None]
) -> bool:
    """Download to `path` what is missing of it, and return whether that was less than all.

    The bytes are stored as they come: if the server declares them compressed, the checksum is
    that of the compressed file.
    """
    import requests
    import urllib3
    from tqdm import tqdm

    have = path.stat().st_size if path.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, timeout=timeout, stream=True) as answer:
        is_rest = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if have and (answer.status_code == 416 or (answer.status_code == 206 and not is_rest)):
            path.unlink()  # the server does not have the rest: request the whole file
            return _transfer(url, path, timeout, progress, count)
        answer.raise_for_status()
        resumed = have > 0 and answer.status_code == 206
        start = have if resumed else 0
        length = int(answer.headers.get("Content-Length", 0))  # urllib3 reads no more than that
        most = _MOST if length else _MAX_UNANNOUNCED
        if start + length > most:
            raise ValueError(f"it announces {start + length:,} bytes, more than {most:,}")
        bar = {"desc": path.name, "unit": "B", "unit_scale": True, "disable": not progress}
        with (
            path.open("ab" if resumed else "wb") as file,
            tqdm(total=start + length if length else None, initial=start, **bar) as shown,
        ):
            try:
                for chunk in answer.raw.stream(_CHUNK, decode_content=False):
                    count(len(chunk))
                    shown.update(file.write(chunk))
                    if file.tell() > most:
                        file.truncate(0)
                        raise ValueError(f"it sends more than {most:,} bytes")
            except urllib3.exceptions.HTTPError as error:
                raise ConnectionError(f"the connection broke: {error}") from error
    return resumed
