"""Download: from a server on this machine that fails in every way a server can; archives too."""

import contextlib
import dataclasses
import errno
import gzip
import hashlib
import http.server
import io
import os
import random
import socket
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SAMPLE

from nn import data
from nn.data import archive, download
from nn.data.__main__ import _SETS, main
from nn.data.sets import cifar as cifar10
from nn.data.sets import mnist
from nn.data.sets.mnist_sample import SAMPLE_FILES as NAMES
from nn.files.model_file import FileFormatError

FILES = {name: hashlib.md5((SAMPLE / name).read_bytes()).hexdigest() for name in NAMES}
BIG, SMALL = NAMES[:2]


class Server(http.server.ThreadingHTTPServer):
    """Serves files from memory; `faults` makes it misbehave, a list for each name.

    A fault is a status to answer with, or one of the words in `Handler.do_GET`. Each is used
    once, in order. With `ranges` it can send the rest of a file.
    """

    def __init__(self, content, faults=None, ranges=False):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.faults = dict(content), {k: list(v) for k, v in (faults or {}).items()}
        self.ranges = ranges
        self.requests = []
        self.asked = []  # the Range of each request
        self.sent = 0  # bytes
        self.closing = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/mnist"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        name, wanted = self.path.removeprefix("/mnist/"), self.headers["Range"]
        self.server.requests.append(name)
        self.server.asked.append(wanted)
        waiting = self.server.faults.get(name)
        fault = waiting.pop(0) if waiting else None
        if name not in self.server.content:
            fault = 404
        if isinstance(fault, int):
            self.send_error(fault)
        elif fault == "silent":  # no answer for a while
            self.server.closing.wait(20)  # seconds
        else:
            self.send_content(self.server.content[name], wanted, fault)

    def send_content(self, content, wanted, fault):
        start = 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            shown = start + 1 if fault == "other part" else start
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if fault == "encoded":  # as servers do that take a gzip file for a compressed page
            self.send_header("Content-Encoding", "gzip")
        rest = content[start:]
        if fault == "announced":
            self.send_header("Content-Length", str(1 << 40))
        elif fault != "endless":
            self.send_header("Content-Length", str(len(rest)))
        if fault == "slow headers":
            self.flush_headers()
            self.drip(b"X-Drop: " + bytes(range(65, 91)) * 100)
        self.end_headers()
        if fault in ("wrong", "wrong and drop"):
            rest = bytes(len(rest))
        if fault in ("drop", "wrong and drop", "hang"):
            rest = rest[: len(rest) // 2]
        if fault == "drop by drop":
            self.drip(rest)
            return
        self.wfile.write(rest)
        self.server.sent += len(rest)
        if fault == "endless":
            with contextlib.suppress(OSError):  # until the client closes the connection
                while self.server.sent < 50_000_000:
                    self.wfile.write(rest)
                    self.server.sent += len(rest)
        if fault == "hang":
            self.server.closing.wait(20)  # seconds

    def drip(self, content):
        """Send a byte every 0.1 seconds."""
        with contextlib.suppress(OSError):
            for byte in content:
                if self.server.closing.wait(0.1):
                    return
                self.wfile.write(bytes([byte]))
                self.wfile.flush()

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Return a function that starts a server with the files of the sample and given faults."""
    servers = []

    def start(faults=None, content=None, ranges=False):
        whole = {name: (SAMPLE / name).read_bytes() for name in FILES}
        server = Server(whole if content is None else content, faults, ranges)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.closing.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def no_proxy_and_short_pauses(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    clock = types.SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic)
    monkeypatch.setattr(download, "time", clock)


@pytest.fixture
def dead_url():
    """An address where nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture
def silent_url():
    """An address that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def fetch(folder, mirrors, files=FILES, **arguments):
    return data.download_files(files, folder, mirrors, **{"progress": False, **arguments})


def check_whole(folder):
    assert {path.name for path in folder.iterdir()} == set(FILES)
    for name in FILES:
        assert (folder / name).read_bytes() == (SAMPLE / name).read_bytes()


def test_files_come_from_the_first_mirror_into_a_new_folder(serve, tmp_path):
    first, second = serve(), serve()
    folder = tmp_path / "new" / "folder"
    paths = fetch(folder, [first.url, second.url + "/"])
    assert paths == [folder / name for name in FILES]
    check_whole(folder)
    assert first.requests == list(FILES)
    assert not second.requests
    readable = (folder / BIG).stat().st_mode & 0o777
    probe = tmp_path / "probe"
    probe.touch()
    assert readable == probe.stat().st_mode & 0o777  # not for the owner alone


@pytest.mark.parametrize("fault", [403, 404, 500, "drop", "wrong", "silent", "hang"])
def test_the_second_mirror_helps_out_and_is_asked_first_from_then_on(serve, tmp_path, fault):
    first, second = serve({BIG: [fault] * 3}), serve()
    start = time.monotonic()
    fetch(tmp_path, [first.url, second.url], timeout=0.7)
    assert time.monotonic() - start < 10  # seconds; a silent mirror is not waited for
    check_whole(tmp_path)
    assert first.requests == [BIG]
    assert second.requests == list(FILES)


@pytest.mark.parametrize("fault", [503, "drop", "wrong"])
def test_a_passing_fault_is_tried_again(serve, tmp_path, fault):
    server = serve({BIG: [fault, fault]})
    fetch(tmp_path, [server.url], retries=2)
    check_whole(tmp_path)
    assert server.requests.count(BIG) == 3


def test_a_dead_mirror_beside_a_living_one(serve, tmp_path, dead_url):
    fetch(tmp_path, [dead_url, serve().url])
    check_whole(tmp_path)


@pytest.mark.parametrize(
    ("fault", "message"), [("wrong", "wrong checksum"), ("drop", "IncompleteRead"), (500, "500")]
)
def test_a_lasting_fault_leaves_nothing_behind(serve, tmp_path, fault, message):
    servers = [serve({SMALL: [fault] * 9}) for _ in range(2)]
    with pytest.raises(OSError, match=rf"'{SMALL}' could not be downloaded:\n.*{message}") as info:
        fetch(tmp_path, [server.url for server in servers], {SMALL: FILES[SMALL]}, retries=1)
    assert all(server.url in str(info.value) for server in servers)
    assert all(server.requests == [SMALL] * 2 for server in servers)
    assert not list(tmp_path.iterdir())


def test_files_that_came_before_the_fault_stay(serve, tmp_path):
    server = serve({SMALL: [404] * 9})
    with pytest.raises(OSError, match="404"):
        fetch(tmp_path, [server.url], retries=0)
    assert [path.name for path in tmp_path.iterdir()] == [BIG]


def test_without_a_network_the_answer_is_clear_and_quick(tmp_path, dead_url, silent_url):
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="no mirror answered") as caught:
        fetch(tmp_path / "new", [dead_url, silent_url], timeout=0.5)
    assert time.monotonic() - start < 3
    assert dead_url in str(caught.value)
    assert silent_url in str(caught.value)
    files = ", ".join(FILES)
    assert f"If you have the files, put them into '{tmp_path / 'new'}': {files}." in str(
        caught.value
    )
    assert not (tmp_path / "new").exists()
    (tmp_path / BIG).write_bytes(b"compressed anew")
    with pytest.raises(ConnectionError, match=f"are in '{tmp_path}' with other checksums: {BIG}"):
        fetch(tmp_path, [dead_url], timeout=0.5)


def test_mirrors_that_refuse_at_once_are_not_waited_for(tmp_path, dead_url):
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="no mirror answered"):
        fetch(tmp_path, [dead_url, dead_url], timeout=60)
    assert time.monotonic() - start < 10


def test_the_look_up_of_a_name_does_not_delay_the_answer(tmp_path, monkeypatch):
    hold = threading.Event()

    def slow(*_, **__):
        hold.wait(30)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="no mirror answered"):
        fetch(tmp_path, ["http://mirror.invalid/"], timeout=0.3)
    hold.set()
    assert time.monotonic() - start < 5


def test_a_body_without_end_is_given_up(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_MAX_UNANNOUNCED", 1_000_000)
    server = serve({SMALL: ["endless"]})
    with pytest.raises(OSError, match="sends more than 1,000,000 bytes"):
        fetch(tmp_path, [server.url], {SMALL: FILES[SMALL]}, retries=0)
    assert not list(tmp_path.iterdir())
    fetch(tmp_path, [server.url], {SMALL: FILES[SMALL]})  # the second time it ends


@pytest.mark.parametrize("fault", ["drop by drop", "slow headers"])
def test_a_mirror_that_sends_drop_by_drop_is_given_up(serve, tmp_path, fault):
    server, start = serve({SMALL: [fault] * 9}), time.monotonic()
    with pytest.raises(OSError, match=r"it sent only [\d,]{1,3} bytes in 2\.?\d* s"):
        fetch(tmp_path, [server.url], {SMALL: FILES[SMALL]}, timeout=1, retries=0)
    assert time.monotonic() - start < 10
    assert not list(tmp_path.iterdir())


def test_the_next_mirror_serves_what_one_sends_drop_by_drop(serve, tmp_path):
    slow, quick = serve({SMALL: ["drop by drop"] * 9}), serve()
    fetch(tmp_path, [slow.url, quick.url], {SMALL: FILES[SMALL]}, timeout=0.5)
    assert quick.requests == [SMALL]


def test_a_file_that_is_announced_as_a_terabyte_is_refused(serve, tmp_path):
    server = serve({SMALL: ["announced"]})
    with pytest.raises(OSError, match=r"it announces 1,099,511,627,776 bytes, more than"):
        fetch(tmp_path, [server.url], {SMALL: FILES[SMALL]}, retries=0)


def test_files_in_place_need_no_network(serve, tmp_path, dead_url):
    fetch(tmp_path, [serve().url])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    fetch(tmp_path, [dead_url])
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_only_missing_and_wrong_files_are_fetched(serve, tmp_path):
    server = serve()
    fetch(tmp_path, [server.url])
    server.requests.clear()
    (tmp_path / BIG).write_bytes(b"half a fi")
    (tmp_path / SMALL).unlink()
    fetch(tmp_path, [server.url])
    check_whole(tmp_path)
    assert server.requests == [BIG, SMALL]


def test_a_folder_that_cannot_be_made_is_named(serve, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"\[download_files\] cannot write to the folder '.*file'"):
        fetch(tmp_path / "file", [serve().url])


def test_a_folder_that_refuses_files_is_named(serve, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(download.tempfile, "mkdtemp", refuse)
    with pytest.raises(OSError, match=r"cannot write to the folder .* \(Permission denied\)"):
        fetch(tmp_path, [serve().url])


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="folders are never read-only for root"
)
def test_a_read_only_folder_is_named(serve, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OSError, match="cannot write to the folder"):
            fetch(tmp_path, [serve().url])
    finally:
        tmp_path.chmod(0o700)


def test_many_at_once_do_not_disturb_each_other(serve, tmp_path):
    server, problems = serve(), []

    def one():
        try:
            fetch(tmp_path, [server.url])
            check_content()
        except Exception as error:
            problems.append(error)

    def check_content():
        for name in FILES:
            assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes()

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    check_whole(tmp_path)


def test_progress_names_the_files(serve, tmp_path, capsys):
    fetch(tmp_path, [serve().url], progress=True)
    shown = capsys.readouterr().err
    assert all(name in shown for name in FILES)
    fetch(tmp_path / "quiet", [serve().url], progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mirrors": []}, "'mirrors' must be a list of addresses"),
        ({"mirrors": "http://127.0.0.1/"}, "'mirrors' must be a list of addresses"),
        ({"mirrors": ["ftp://127.0.0.1/"]}, r"'mirrors' must begin with http\(s\)://"),
        ({"timeout": 0}, "'timeout' must be a positive number"),
        ({"retries": -1}, "'retries' must be an integer of at least 0"),
    ],
)
def test_refuses_wrong_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        fetch(tmp_path, **{"mirrors": ["http://127.0.0.1/"], **arguments})


# --------------------------------------------------------------- going on after a break

LENGTH = (SAMPLE / BIG).stat().st_size
LOST = 1 << 16  # bytes under way when a connection breaks, at most


def test_a_broken_download_goes_on_where_it_broke_off(serve, tmp_path):
    server = serve({BIG: ["drop", "drop"]}, ranges=True)
    fetch(tmp_path, [server.url], {BIG: FILES[BIG]}, retries=2)
    assert (tmp_path / BIG).read_bytes() == (SAMPLE / BIG).read_bytes()
    assert server.asked[0] is None
    starts = [int(wanted.removeprefix("bytes=").removesuffix("-")) for wanted in server.asked[1:]]
    assert len(starts) == 2
    assert LENGTH // 2 - LOST <= starts[0] <= LENGTH // 2 < starts[1]
    assert LENGTH <= server.sent <= LENGTH + 2 * LOST


def test_a_server_that_falls_silent_half_way_is_asked_for_the_rest(serve, tmp_path):
    server = serve({BIG: ["hang"]}, ranges=True)
    fetch(tmp_path, [server.url], {BIG: FILES[BIG]}, timeout=0.5, retries=1)
    assert (tmp_path / BIG).read_bytes() == (SAMPLE / BIG).read_bytes()
    assert server.sent <= LENGTH + LOST


def test_another_mirror_sends_the_rest(serve, tmp_path):
    first, second = serve({BIG: ["drop"]}, ranges=True), serve(ranges=True)
    fetch(tmp_path, [first.url, second.url], {BIG: FILES[BIG]}, retries=0)
    assert (tmp_path / BIG).read_bytes() == (SAMPLE / BIG).read_bytes()
    assert second.sent <= LENGTH // 2 + 1 + LOST


def test_an_error_between_does_not_lose_what_has_arrived(serve, tmp_path):
    server = serve({BIG: ["drop", 500, 403]}, ranges=True)
    fetch(tmp_path, [server.url], {BIG: FILES[BIG]}, retries=3)
    assert (tmp_path / BIG).read_bytes() == (SAMPLE / BIG).read_bytes()
    assert server.sent <= LENGTH + LOST


@pytest.mark.parametrize("ranges", [True, False])
def test_a_wrong_beginning_does_not_spoil_a_good_mirror(serve, tmp_path, ranges):
    first, second = serve({BIG: ["wrong and drop"]}), serve(ranges=ranges)
    fetch(tmp_path, [first.url, second.url], {BIG: FILES[BIG]}, retries=0)
    assert (tmp_path / BIG).read_bytes() == (SAMPLE / BIG).read_bytes()
    assert second.asked[0].startswith("bytes=")
    assert second.asked[1:] == ([None] if ranges else [])


@pytest.mark.parametrize("answer", ["other part", 416])
def test_a_server_without_the_right_rest_sends_the_whole(serve, tmp_path, answer):
    server = serve({BIG: ["drop", answer]}, ranges=True)
    fetch(tmp_path, [server.url], {BIG: FILES[BIG]}, retries=1)
    assert (tmp_path / BIG).read_bytes() == (SAMPLE / BIG).read_bytes()
    assert [wanted is None for wanted in server.asked] == [True, False, True]


def test_what_the_server_calls_compressed_is_stored_as_it_is(serve, tmp_path):
    server = serve({BIG: ["encoded"]})
    fetch(tmp_path, [server.url], {BIG: FILES[BIG]}, retries=0)
    assert (tmp_path / BIG).read_bytes() == (SAMPLE / BIG).read_bytes()


def test_whatever_goes_wrong_the_file_is_right_or_absent(serve, tmp_path):
    draw, delivered = random.Random(0), 0
    kinds = ["drop", "wrong", "wrong and drop", "other part", "encoded", 403, 416, 500, None]
    for k in range(25):
        folder = tmp_path / str(k)
        servers = [
            serve({BIG: draw.choices(kinds, k=5)}, ranges=draw.random() < 0.7) for _ in range(2)
        ]
        mirrors = [server.url for server in servers]
        try:
            fetch(folder, mirrors, {BIG: FILES[BIG]}, retries=draw.randrange(2))
        except OSError as error:
            assert "could not be downloaded" in str(error)
            assert not list(folder.iterdir())
        else:
            assert [path.name for path in folder.iterdir()] == [BIG]
            assert (folder / BIG).read_bytes() == (SAMPLE / BIG).read_bytes()
            delivered += 1
    assert 5 < delivered < 25  # both outcomes are among them


# -------------------------------------------------------------------------------- archives

INSIDE = {"set/a": b"first" * 1000, "set/b": b"second" * 1000}
LIMITS = {"set/a": 5000, "set/b": 7000}
DIRECTORY = tarfile.TarInfo("set")
DIRECTORY.type = tarfile.DIRTYPE


def member(name, kind=tarfile.REGTYPE, **attributes):
    info = tarfile.TarInfo(name)
    info.type = kind
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info


def pack(path, members):
    """Write a .tar.gz archive: pairs of a TarInfo (or a name) and the content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, content in members:
            info = member(info) if isinstance(info, str) else info
            if content is not None:
                info.size = len(content)
            archive.addfile(info, None if content is None else io.BytesIO(content))
    path.write_bytes(gzip.compress(packed.getvalue(), 1, mtime=0))
    return path


def test_only_the_expected_files_come_out(tmp_path):
    others = [(DIRECTORY, None), ("set/readme.html", b"<html>"), ("other/a", b"no")]
    others += [("set/../../out", b"no"), ("/tmp/out-of-nn", b"no")]
    others += [(member("set/c", tarfile.SYMTYPE, linkname=".."), None)]
    path = pack(tmp_path / "set.tar.gz", [*others, *INSIDE.items()])
    assert dict(archive.read_archive(path, LIMITS)) == INSIDE
    folder = tmp_path / "new" / "folder"
    paths = archive.unpack(path, folder, LIMITS)
    assert paths == [folder / "set" / "a", folder / "set" / "b"]
    assert [file.read_bytes() for file in paths] == list(INSIDE.values())
    assert {file.name for file in tmp_path.rglob("*")} == {
        *("set.tar.gz", "new", "folder", "set", "a", "b")
    }
    assert not Path("/tmp/out-of-nn").exists()


HOSTILE_MEMBERS = {
    "a link": (member("set/a", tarfile.SYMTYPE, linkname="/etc/passwd"), "is no plain file"),
    "a hard link": (member("set/a", tarfile.LNKTYPE, linkname="b"), "is no plain file"),
    "a device": (member("set/a", tarfile.CHRTYPE), "is no plain file"),
    "a pipe": (member("set/a", tarfile.FIFOTYPE), "is no plain file"),
    "a folder of that name": (member("set/a", tarfile.DIRTYPE), "is no plain file"),
}


@pytest.mark.parametrize("kind", HOSTILE_MEMBERS)
def test_refuses_hostile_archives_and_writes_nothing(tmp_path, kind):
    hostile, message = HOSTILE_MEMBERS[kind]
    path = pack(tmp_path / "set.tar.gz", [(hostile, None), *INSIDE.items()])
    with pytest.raises(FileFormatError, match=rf"\[read_archive\] '.*set.tar.gz' .*{message}"):
        archive.unpack(path, tmp_path / "new", LIMITS)
    assert {file.name for file in tmp_path.rglob("*")} == {"set.tar.gz", "new"}


WRONG_MEMBERS = {
    "too large": ([("set/a", bytes(5001)), ("set/b", b"b")], "5,001 bytes, more than 5,000"),
    "twice": ([("set/a", b"a"), ("set/a", b"a"), ("set/b", b"b")], "'set/a' twice"),
    "missing": ([("set/a", b"a")], "lacks 'set/b'"),
    "many": ([(f"set/{k}", b"") for k in range(101)], "more than 100 files"),
    "none": ([], "lacks 'set/a'"),
}


@pytest.mark.parametrize("kind", WRONG_MEMBERS)
def test_refuses_archives_of_something_else(tmp_path, kind):
    members, message = WRONG_MEMBERS[kind]
    path = pack(tmp_path / "set.tar.gz", members)
    with pytest.raises(FileFormatError, match=message):
        archive.unpack(path, tmp_path / "new", LIMITS)
    assert not list((tmp_path / "new").iterdir())


def test_an_archive_never_takes_more_memory_than_its_files_may(tmp_path):
    path = pack(tmp_path / "set.tar.gz", [("set/other", bytes(100_000_000)), *INSIDE.items()])
    assert path.stat().st_size < 1_000_000
    long_name = member("x", tarfile.XHDTYPE)
    for hostile in (path, pack(tmp_path / "pax.tar.gz", [(long_name, bytes(100_000_000))])):
        tracemalloc.start()
        with pytest.raises(FileFormatError, match="far more than it should"):
            list(archive.read_archive(hostile, LIMITS))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10e6  # bytes


def test_headers_on_headers_are_refused(tmp_path):
    name = [(member("././@LongLink", tarfile.GNUTYPE_LONGNAME), b"n\0")]
    path = pack(tmp_path / "set.tar.gz", name * 1000)
    with pytest.raises(FileFormatError, match=r"set\.tar\.gz"):
        list(archive.read_archive(path, LIMITS))


def test_refuses_damaged_archives_wherever_the_damage_is(tmp_path):
    path = pack(tmp_path / "set.tar.gz", INSIDE.items())
    whole, draw = path.read_bytes(), random.Random(0)
    for length in (0, 1, 10, 50, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match=r"set\.tar\.gz"):
            pytest.fail(f"{length}: read {list(archive.read_archive(path, LIMITS))}")
    for _ in range(300):
        place = draw.randrange(len(whole))
        path.write_bytes(whole[:place] + draw.randbytes(1) + whole[place + 1 :])
        try:
            got = dict(archive.read_archive(path, LIMITS))
        except FileFormatError:
            continue
        assert got == INSIDE  # the byte was the same, or gzip's header does not need it


def test_damage_far_behind_the_beginning_is_seen(tmp_path):
    draw = random.Random(0)
    digits = "".join(draw.choices("0123456789", k=400_000)).encode()
    limits = {"set/a": 5000, "set/digits": 400_000}
    path = pack(tmp_path / "set.tar.gz", [("set/a", b"a"), ("set/digits", digits)])
    whole = path.read_bytes()
    for place in range(1000, len(whole) - 1000, len(whole) // 20):
        path.write_bytes(whole[:place] + b"\xff" * 20 + whole[place + 20 :])
        with pytest.raises(FileFormatError, match="is damaged"):
            list(archive.read_archive(path, limits))
    padded = gzip.compress(gzip.decompress(whole) + bytes(200_000))
    path.write_bytes(padded)
    assert dict(archive.read_archive(path, limits))["set/digits"] == digits
    path.write_bytes(padded[:-8] + b"sums" + padded[-4:])
    with pytest.raises(FileFormatError, match="CRC check failed"):
        list(archive.read_archive(path, limits))


def test_numbers_that_are_none_are_damage(tmp_path):
    record = b"23 GNU.sparse.map=1,zz\n"
    assert len(record) == 23
    header = (member("x", tarfile.XHDTYPE), record)
    path = pack(tmp_path / "set.tar.gz", [header, *INSIDE.items()])
    with pytest.raises(FileFormatError, match="is damaged"):
        list(archive.read_archive(path, LIMITS))


def test_no_damage_inside_of_the_packing_does_harm(tmp_path):
    path = pack(tmp_path / "set.tar.gz", [(DIRECTORY, None), *INSIDE.items()])
    whole, draw = bytearray(gzip.decompress(path.read_bytes())), random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(draw.randrange(1, 8)):
            damaged[draw.randrange(512 * draw.choice([1, 2, 12]))] = draw.randrange(256)
        path.write_bytes(gzip.compress(bytes(damaged), 0))
        try:
            got = dict(archive.read_archive(path, LIMITS))
        except FileFormatError:
            continue
        assert set(got) == set(INSIDE)


# ------------------------------------------------------------------------- CIFAR and others


@pytest.fixture
def small_cifar(serve, monkeypatch, tmp_path):
    """A server with a small CIFAR-10 of the Python layout, which `nn` takes for the set."""
    small = cifar10.CIFAR10
    small = dataclasses.replace(small, train=dict.fromkeys(small.train, 3), test={"test_batch": 2})
    content = {f"cifar-10-batches-py/{name}": python_batch(n) for name, n in CIFAR_COUNTS.items()}
    content["cifar-10-batches-py/batches.meta"] = b"names"
    packed = pack(tmp_path / "packed", content.items()).read_bytes()
    (tmp_path / "packed").unlink()
    layout = dataclasses.replace(small.python, md5=hashlib.md5(packed).hexdigest())
    monkeypatch.setattr(cifar10, "CIFAR10", dataclasses.replace(small, python=layout))
    server = serve(content={layout.archive: packed}, ranges=True)
    monkeypatch.setattr(cifar10, "CIFAR_MIRRORS", (server.url,))
    return server


CIFAR_COUNTS = {f"data_batch_{k}": 3 for k in range(1, 6)} | {"test_batch": 2}


def python_batch(count):
    """A batch in as few instructions as it takes: labels 0, 1, 2 ..., values that are the label."""
    labels = b"".join(b"K" + bytes([label]) for label in range(count))
    size = (3072 * count).to_bytes(4, "little")
    pixels = b"".join(bytes([label]) * 3072 for label in range(count))
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R(K\1"
    array += b"K" + bytes([count]) + b"M\x00\x0c\x86cnumpy\ndtype\nU\2u1K\0K\1\x87R"
    array += b"(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T" + size + pixels + b"tb"
    return b"\x80\2}(U\6labels](" + labels + b"eU\4data" + array + b"u."


def test_load_cifar10_downloads_unpacks_and_reads(small_cifar, tmp_path):
    small_cifar.faults["cifar-10-python.tar.gz"] = ["drop"]
    for _ in range(2):
        train, test = data.load_cifar10(tmp_path / "new", download=True)
        assert train.y.tolist() == [0, 1, 2] * 5
        assert test.x.shape == (2, 3, 32, 32)
        assert (train.x == train.y[:, np.newaxis, np.newaxis, np.newaxis]).all()
    assert len(small_cifar.requests) <= 2  # the broken one, and the rest
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"cifar-10-batches-py", "cifar-10-python.tar.gz"}


def test_without_being_told_to_nothing_is_downloaded(small_cifar, tmp_path):
    for load in (data.load_cifar10, data.load_cifar100, data.load_fashion_mnist, data.load_kmnist):
        with pytest.raises(FileNotFoundError, match=r"`python -m nn\.data"):
            load(tmp_path)
    assert not small_cifar.requests
    assert not list(tmp_path.iterdir())


def test_a_missing_batch_is_unpacked_again_without_a_network(small_cifar, tmp_path, monkeypatch):
    paths = data.download_cifar10(tmp_path, progress=False)
    assert len(paths) == 7
    monkeypatch.setattr(cifar10, "CIFAR_MIRRORS", ("http://127.0.0.1:9/",))
    before = paths[3].read_bytes()
    paths[3].unlink()
    assert data.download_cifar10(tmp_path, progress=False) == paths
    assert paths[3].read_bytes() == before
    assert len(small_cifar.requests) == 1


def test_a_wrong_archive_is_never_unpacked(small_cifar, tmp_path, capsys):
    small_cifar.faults["cifar-10-python.tar.gz"] = ["wrong"] * 9
    assert main(["cifar10", "--dir", str(tmp_path)]) == 1
    assert "wrong checksum" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_downloads_cifar10(small_cifar, tmp_path, capsys):
    for _ in range(2):
        assert main(["cifar10", "--dir", str(tmp_path), "--mirror", small_cifar.url]) == 0
    assert len(small_cifar.requests) == 1
    shown = capsys.readouterr().out.splitlines()[7:]
    assert shown == [
        str(tmp_path / "cifar-10-batches-py" / n) for n in [*CIFAR_COUNTS, "batches.meta"]
    ]


def test_the_command_asks_for_the_archive_of_cifar100(serve, tmp_path, capsys):
    server = serve(content={})
    assert main(["cifar100", "--dir", str(tmp_path), "--mirror", server.url]) == 1
    assert set(server.requests) == {"cifar-100-python.tar.gz"}
    assert "404" in capsys.readouterr().err


def test_the_archives_and_official_host_of_cifar_are_known():
    assert cifar10.CIFAR_MIRRORS[0] == "https://www.cs.toronto.edu/~kriz/"
    sums = {
        "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
        "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
    }
    sets = (cifar10.CIFAR10, cifar10.CIFAR100)
    layouts = [layout for kind in sets for layout in (kind.binary, kind.python)]
    assert {layout.archive: layout.md5 for layout in layouts} == sums


@pytest.mark.parametrize(
    ("name", "command", "load"),
    [
        ("FASHION_MNIST", "fashion", data.load_fashion_mnist),
        ("KMNIST", "kmnist", data.load_kmnist),
    ],
)
def test_the_sets_like_mnist_are_downloaded(
    serve, monkeypatch, tmp_path, capsys, name, command, load
):
    known = getattr(mnist, name)
    parts = zip(known.files, NAMES, strict=True)
    content = {file: (SAMPLE / sample).read_bytes() for file, sample in parts}
    sums = {file: hashlib.md5(packed).hexdigest() for file, packed in content.items()}
    server = serve(content=content)
    small = dataclasses.replace(known, files=sums, mirrors=(server.url,))
    monkeypatch.setattr(mnist, name, small)
    assert main([command, "--dir", str(tmp_path / "first")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    for _ in range(2):
        train, test = load(tmp_path / "second", download=True)
        assert (len(train), len(test)) == (4000, 1000)
        assert train.class_names == known.class_names
    assert server.requests == list(known.files) * 2


# ----------------------------------------------------------------------------------- MNIST


@pytest.fixture
def small_mnist(serve, monkeypatch):
    """A server with the sample under the names of the full set, which `nn` takes for it."""
    parts = zip(mnist.MNIST.files, NAMES, strict=True)
    content = {name: (SAMPLE / sample).read_bytes() for name, sample in parts}
    sums = {name: hashlib.md5(file).hexdigest() for name, file in content.items()}
    server = serve(content=content)
    changed = dataclasses.replace(mnist.MNIST, files=sums, mirrors=(server.url,))
    monkeypatch.setattr(mnist, "MNIST", changed)
    return server


def test_load_mnist_downloads_once(small_mnist, tmp_path):
    for _ in range(2):
        train, test = data.load_mnist(tmp_path / "mnist")
        assert (len(train), len(test)) == (4000, 1000)
    assert small_mnist.requests == list(mnist.MNIST.files)


def test_load_mnist_or_sample_downloads(small_mnist, tmp_path):
    assert data.load_mnist_or_sample(tmp_path)[2].startswith("MNIST, ")


def test_offline_the_sample_is_offered_and_taken(monkeypatch, tmp_path, dead_url):
    unreachable = dataclasses.replace(mnist.MNIST, mirrors=(dead_url,))
    monkeypatch.setattr(mnist, "MNIST", unreachable)
    with pytest.raises(
        ConnectionError, match=r"(?s)no mirror .* put them into .*load_mnist_sample\("
    ):
        data.load_mnist(tmp_path)
    train, _, source = data.load_mnist_or_sample(tmp_path)
    assert len(train) == 4000
    assert source.startswith("the sample of MNIST")
    assert "no mirror answered" in source
    assert "\n" not in source


def test_the_official_names_and_two_mirrors_are_known():
    assert len(mnist.MNIST.mirrors) == 2
    assert all(mirror.startswith("https://") for mirror in mnist.MNIST.mirrors)
    assert mnist.MNIST.files["train-images-idx3-ubyte.gz"] == "f68b3c2dcbeaaa9fbdd348bbdeb94873"


def test_the_command_downloads_and_prints_where(small_mnist, tmp_path, capsys):
    assert main(["mnist", "--dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / name) for name in mnist.MNIST.files
    ]


def test_the_command_can_be_stopped(monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setitem(_SETS, "mnist", (stopped, ""))
    assert main(["mnist"]) == 1
    assert "Stopped" in capsys.readouterr().err


def test_the_command_has_a_folder_for_each_set(monkeypatch):
    folders = []

    def fake(folder, **_):
        folders.append(folder)
        return []

    assert list(_SETS) == ["mnist", "fashion", "kmnist", "cifar10", "cifar100"]
    for name in _SETS:
        monkeypatch.setitem(_SETS, name, (fake, ""))
    for name in _SETS:
        assert main([name]) == 0
    assert folders == [
        *("mnist_dataset", "fashion_dataset", "kmnist_dataset"),
        *("cifar10_dataset", "cifar100_dataset"),
    ]


def test_the_command_fails_with_a_message_and_no_traceback(tmp_path, dead_url):
    command = [sys.executable, "-m", "nn.data", "mnist", "--dir", str(tmp_path / "new")]
    done = subprocess.run(
        [*command, "--mirror", dead_url, "--timeout", "1"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 1
    assert "no mirror answered" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("name", "can_download"),
    [
        ("load_cifar10", True),
        ("load_cifar100", True),
        ("load_fashion_mnist", True),
        ("load_kmnist", True),
        ("load_mnist_gz", False),
        ("load_emnist", False),
    ],
)
def test_a_loader_without_a_folder_says_what_to_write(name, can_download):
    written = f'write {name}("data"' + ", download=True)" * can_download
    with pytest.raises(TypeError) as error:
        getattr(data, name)()
    assert str(error.value).startswith(f"[{name}] 'path' must be the folder that holds the set")
    assert written in str(error.value)
