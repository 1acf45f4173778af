"""Download: from a server on this machine that fails in every way a server can."""

import errno
import hashlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
import types

import pytest
from conftest import ROOT, SAMPLE

from nn import data
from nn.data import download, mnist
from nn.data.__main__ import main

FILES = {
    name: hashlib.md5((SAMPLE / name).read_bytes()).hexdigest() for name in mnist._SAMPLE_FILES
}
BIG, SMALL = mnist._SAMPLE_FILES[:2]


class Server(http.server.ThreadingHTTPServer):
    """Serves files from memory; `faults` makes it misbehave, a list for each name.

    A fault is a status to answer with, 'drop' to close the connection in the middle, 'wrong'
    to send other bytes, 'silent' to send no answer for a while. Each is used once, in order.
    """

    def __init__(self, content, faults=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.faults = dict(content), {k: list(v) for k, v in (faults or {}).items()}
        self.requests = []
        self.closing = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/mnist"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        name = self.path.removeprefix("/mnist/")
        self.server.requests.append(name)
        waiting = self.server.faults.get(name)
        fault = waiting.pop(0) if waiting else None
        if name not in self.server.content:
            fault = 404
        if isinstance(fault, int):
            self.send_error(fault)
            return
        if fault == "silent":
            self.server.closing.wait(20)  # seconds
            return
        content = self.server.content[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "wrong":
            content = bytes(len(content))
        self.wfile.write(content[: len(content) // 2] if fault == "drop" else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Return a function that starts a server with the files of the sample and given faults."""
    servers = []

    def start(faults=None, content=None):
        whole = {name: (SAMPLE / name).read_bytes() for name in FILES}
        server = Server(whole if content is None else content, faults)
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


@pytest.mark.parametrize("fault", [404, 500, "drop", "wrong", "silent"])
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
    with pytest.raises(ConnectionError, match="there seems to be no network") as caught:
        fetch(tmp_path / "new", [dead_url, silent_url], timeout=0.5)
    assert time.monotonic() - start < 3
    assert dead_url in str(caught.value)
    assert silent_url in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_mirrors_that_refuse_at_once_are_not_waited_for(tmp_path, dead_url):
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="there seems to be no network"):
        fetch(tmp_path, [dead_url, dead_url], timeout=60)
    assert time.monotonic() - start < 10


def test_the_look_up_of_a_name_does_not_delay_the_answer(tmp_path, monkeypatch):
    hold = threading.Event()

    def slow(*_, **__):
        hold.wait(30)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="there seems to be no network"):
        fetch(tmp_path, ["http://mirror.invalid/"], timeout=0.3)
    hold.set()
    assert time.monotonic() - start < 5


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


# ----------------------------------------------------------------------------------- MNIST


@pytest.fixture
def small_mnist(serve, monkeypatch):
    """A server with the sample under the names of the full set, which `nn` takes for it."""
    parts = zip(mnist.MNIST_FILES, mnist._SAMPLE_FILES, strict=True)
    content = {name: (SAMPLE / sample).read_bytes() for name, sample in parts}
    sums = {name: hashlib.md5(file).hexdigest() for name, file in content.items()}
    monkeypatch.setattr(mnist, "MNIST_FILES", sums)
    server = serve(content=content)
    monkeypatch.setattr(mnist, "MNIST_MIRRORS", (server.url,))
    return server


def test_load_mnist_downloads_once(small_mnist, tmp_path):
    for _ in range(2):
        train, test = data.load_mnist(tmp_path / "mnist")
        assert (len(train), len(test)) == (4000, 1000)
    assert small_mnist.requests == list(mnist.MNIST_FILES)


def test_load_mnist_or_sample_downloads(small_mnist, tmp_path):
    assert data.load_mnist_or_sample(tmp_path)[2].startswith("MNIST, ")


def test_offline_the_sample_is_offered_and_taken(monkeypatch, tmp_path, dead_url):
    monkeypatch.setattr(mnist, "MNIST_MIRRORS", (dead_url,))
    with pytest.raises(ConnectionError, match=r"(?s)no network.*load_mnist_sample\("):
        data.load_mnist(tmp_path)
    for name in mnist._SAMPLE_FILES:
        (tmp_path / name).write_bytes((SAMPLE / name).read_bytes())
    train, _, source = data.load_mnist_or_sample(tmp_path)
    assert len(train) == 4000
    assert source.startswith("the sample of MNIST")
    assert "no network" in source
    assert "\n" not in source


def test_the_official_names_and_two_mirrors_are_known():
    assert len(mnist.MNIST_MIRRORS) == 2
    assert all(mirror.startswith("https://") for mirror in mnist.MNIST_MIRRORS)
    assert mnist.MNIST_FILES["train-images-idx3-ubyte.gz"] == "f68b3c2dcbeaaa9fbdd348bbdeb94873"


def test_the_command_downloads_and_prints_where(small_mnist, tmp_path, capsys):
    assert main(["mnist", "--dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / name) for name in mnist.MNIST_FILES
    ]


def test_the_command_can_be_stopped(monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("nn.data.__main__.download_mnist", stopped)
    assert main(["mnist"]) == 1
    assert "Stopped" in capsys.readouterr().err


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
    assert "there seems to be no network" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
