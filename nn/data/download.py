"""Download: files with known checksums, from the first mirror that has them.

What a classroom needs of it: without a network the answer comes within seconds, a broken
mirror costs nothing but a moment, and a file is either in its place whole and right or not
there at all, however many processes fetch it at once.
"""

import os
import queue
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import checks


def download_files(
    files: Mapping[str, str],
    folder: str | os.PathLike,
    mirrors: Sequence[str],
    timeout: float = 6.0,
    retries: int = 2,
    progress: bool = True,
) -> list[Path]:
    """Bring files into a folder, unless they are there already, and return their paths.

    A file of the right name with another checksum is replaced.

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
    import pooch
    from tqdm import tqdm

    # Pooch fills in the true total; a bar without any counts as no bar.
    with tqdm(total=1, desc=path.name, unit="B", unit_scale=True, disable=not progress) as bar:
        get = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=timeout)
        get(url, str(path), None)
    if not _is_right(path, md5):
        raise ValueError("the file it sent has a wrong checksum")
