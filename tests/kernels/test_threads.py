"""The kernels' threads: a call ends, right or with its error, and BLAS gets its threads back."""

import contextlib
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import ROOT
from threadpoolctl import threadpool_info, threadpool_limits

from nn.kernels import threads, tiles

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and fork are POSIX's")
dying = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture(autouse=True)
def three_parts(monkeypatch):
    """Share work out to two workers and the caller."""
    monkeypatch.setattr(threads, "NUM_THREADS", 3)


@pytest.fixture
def no_workers(monkeypatch):
    """Let there be no worker threads yet; those of this test are its own."""
    monkeypatch.setattr(threads, "_workers", {})
    monkeypatch.setattr(threads, "_tasks", threads.SimpleQueue())


def ends(function, seconds=20):
    """Call a function in a thread of its own; return its result or its error, if it ends."""
    results = []

    def call():
        try:
            results.append(function())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert results, "it never ends"
    return results[0]


def squares(total=10):
    """Compute squares in three parts; each is added, so that a part that runs twice is wrong."""
    result = np.zeros(total, dtype=int)

    def kernel(part, lo, hi):
        result[lo:hi] += np.arange(lo, hi) ** 2

    threads.run(kernel, total)
    return result.tolist()


SQUARES = [k**2 for k in range(10)]


def blas_numbers():
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]


# --------------------------------------------------------------------------------- workers


def test_each_part_runs_once():
    for _ in range(1000):
        assert squares() == SQUARES


@pytest.fixture
def workers_die(no_workers, monkeypatch):
    """Let worker threads die, once they have claimed a part if it is `after`."""
    claim = threads._Call.claim

    def patch(after):
        def claim_and_die(call, owner):
            if owner is None:
                return claim(call, owner)
            if after:
                claim(call, owner)
            died.set()
            raise SystemExit

        died = threading.Event()
        monkeypatch.setattr(threads._Call, "claim", claim_and_die)
        return died

    yield patch
    monkeypatch.setattr(threads._Call, "claim", claim)
    assert ends(squares) == SQUARES
    assert ends(lambda: threads.run(meet, 2)) == 2  # a worker is there again


BOTH = threading.Barrier(2)


def meet(part, lo, hi):
    """Run two parts at the same time."""
    BOTH.wait(10)


@dying
def test_workers_that_die_before_a_part(workers_die):
    workers_die(after=False)
    for _ in range(10):
        assert ends(squares) == SQUARES


@dying
def test_a_worker_that_dies_within_a_part_is_an_error(workers_die):
    died = workers_die(after=True)
    error = ends(lambda: threads.run(lambda part, lo, hi: died.wait(10), 2))
    assert isinstance(error, RuntimeError)
    assert "thread 'nn.kernels-" in str(error)


def test_threads_that_cannot_be_started(no_workers, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert squares() == SQUARES
        assert threads._workers == {}
    assert squares() == SQUARES


def test_threads_that_stay_asleep(no_workers):
    """The caller does not wait for workers that have begun nothing."""
    threads._workers.update({1: None, 2: None})
    assert ends(squares) == SQUARES


def test_errors_in_parts():
    for number in range(3):

        def kernel(part, lo, hi, number=number):
            if part == number:
                raise OSError(part)

        with pytest.raises(OSError, match=str(number)):
            threads.run(kernel, 10)
    assert squares() == SQUARES


def interrupt(*_):
    raise KeyboardInterrupt


@posix
@pytest.mark.parametrize("blas", [False, True])
def test_an_interrupted_call_waits_for_the_parts_that_run(blas):
    """Also when it is interrupted again as it waits."""
    begun, ended = threading.Event(), []

    def kernel(part, lo, hi):
        if threading.current_thread() is threading.main_thread():
            begun.wait(10)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            raise KeyboardInterrupt
        begun.set()
        time.sleep(0.3)
        ended.append(part)

    before = signal.signal(signal.SIGALRM, interrupt)
    numbers = blas_numbers()
    try:
        with pytest.raises(KeyboardInterrupt):
            threads.run(kernel, 2, blas=blas)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ended == [1]
    assert blas_numbers() == numbers


def test_within_a_compilation_no_thread_is_waited_for():
    """A signal handler may run while this thread holds the lock that compiling takes."""
    lock = pytest.importorskip("numba.core.compiler_lock").global_compiler_lock

    def kernel(part, lo, hi):
        if part == 0:
            time.sleep(0.2)  # so that workers would begin the others
        with lock:
            done.append(part)

    def call():
        with lock:
            return threads.run(kernel, 10)

    done = []
    squares()
    assert ends(call) == 3
    assert sorted(done) == [0, 1, 2]


def run_code(code, seconds=60):
    """Run code in a process of its own; return its lines."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


MODEL = """
import atexit, signal, time
import numpy as np, nn
from nn.kernels import threads, tiles
try:
    from nn.kernels.cpu.compiled import gemm, sharing
    sharing.GRAIN = gemm._GRAIN = 0  # so that small work is shared out too
except ImportError:
    pass
tiles.PRODUCTS_PER_THREAD = tiles.BLAS_ALONE = 0
threads.NUM_THREADS = 2
X = np.random.default_rng(0).normal(size=(8, 4, 6, 6)).astype("float32")
model = nn.Model([nn.Conv2D(8, 3, input_shape=(4, 6, 6)), nn.BatchNorm2D(), nn.ReLU(),
                  nn.Conv2D(8, 3, dilation=2), nn.Flatten(), nn.Dense(5)], seed=0)
"""


@pytest.mark.parametrize("before", [0, 1])
def test_a_prediction_while_the_interpreter_ends(before):
    code = MODEL + (
        f"want = model.predict(X) if {before} else None\n"
        "class Owner:\n"
        "    def __init__(self):\n"
        "        self.predict, self.x, self.all = model.predict, X, np.array_equal\n"
        "    def __del__(self):\n"
        "        y = self.predict(self.x)\n"
        "        print(y.shape, want is None or self.all(y, want), flush=True)\n"
        "owner = Owner()\n"
        "atexit.register(Owner().__del__)\n"
    )
    assert run_code(code) == ["(8, 5) True"] * 3


@posix
def test_a_signal_handler_that_predicts_during_a_prediction():
    code = MODEL + (
        "depth = handled = 0\n"
        "def handler(*_):\n"
        "    global depth, handled\n"
        "    if depth < 3:\n"
        "        depth += 1\n"
        "        handled += np.array_equal(model.predict(X), want)\n"
        "        depth -= 1\n"
        "want = model.predict(X)\n"
        "numbers = [library.num_threads for library in threads._blas]\n"
        "signal.signal(signal.SIGALRM, handler)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0003)\n"
        "while handled < 500:\n"
        "    assert np.array_equal(model.predict(X), want)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "print([library.num_threads for library in threads._blas] == numbers, threads._running)\n"
    )
    assert run_code(code) == ["True []"]


# ------------------------------------------------------------------------------------ BLAS


@pytest.fixture(autouse=True)
def small_products_hold_blas_too(monkeypatch):
    monkeypatch.setattr(tiles, "BLAS_ALONE", 0)


def dilated_convolution():
    """Run a kernel that holds BLAS to one thread."""
    x = np.ones((6, 4, 8, 8), dtype="float32")
    return tiles.conv2d(x, x[:4, :, :3, :3], None, dilation=(2, 2))


def lines_traced(call, target=0):
    """Call a function, with an exception at the n-th line of threads.py; return how many lines."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        if frame.f_code.co_filename != threads.__file__:
            return None
        if event == "line":
            count += 1
            if count == target:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def test_blas_gets_its_threads_back_after_an_exception_at_any_line(monkeypatch):
    monkeypatch.setattr(tiles, "PRODUCTS_PER_THREAD", 0)
    monkeypatch.setattr(tiles, "_TILE_BYTES_CPU", 1)
    want = dilated_convolution()
    with threadpool_limits(2, user_api="blas"):
        total = lines_traced(dilated_convolution)
        assert total > 50
        for target in range(1, total + 1):
            with pytest.raises(KeyboardInterrupt):
                lines_traced(dilated_convolution, target)
                raise KeyboardInterrupt  # there were fewer lines than before
            assert set(blas_numbers()) == {2}, target
            assert threads._running == []
        np.testing.assert_array_equal(ends(dilated_convolution), want)


def test_blas_after_many_calls_at_once_and_errors():
    def kernel(part, lo, hi):
        time.sleep(random.random() / 1000)
        if random.random() < 0.1:
            raise OSError

    def call():
        for _ in range(30):
            with contextlib.suppress(OSError):
                threads.run(kernel, 10, blas=random.random() < 0.8)

    with threadpool_limits(2, user_api="blas"):
        for _ in range(3):
            callers = [threading.Thread(target=call) for _ in range(8)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
            assert (set(blas_numbers()), threads._running) == ({2}, [])
    with threadpool_limits(1, user_api="blas"):  # a number that the user chose
        call()
        assert set(blas_numbers()) == {1}


@posix
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_call():
    """In the child BLAS has its own number of threads, and kernels run."""
    statuses = []

    def kernel(part, lo, hi):
        if part:
            return
        child = os.fork()
        if child == 0:
            right = set(blas_numbers()) == {2} and ends(squares) == SQUARES
            os._exit(0 if right else 1)
        statuses.append(os.waitpid(child, 0)[1])

    with threadpool_limits(2, user_api="blas"):
        threads.run(kernel, 10, blas=True)
    assert statuses == [0]


# --------------------------------------------------------------------------------- quotas

V2, V1 = "0::/{}\n", "4:memory:/m\n3:cpu,cpuacct:/{}\n"
CFS = "cpu.cfs_quota_us", "cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        (V2.format(""), {"cpu.max": "50000 100000\n"}, 0.5),
        (V2.format("a/b"), {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "250000 100000"}, 2.5),
        (V2.format("a/b"), {"a/b/cpu.max": "150000 100000\n", "cpu.max": "300000 100000"}, 1.5),
        (V2.format("host"), {"cpu.max": "400000 100000\n"}, 4),  # its name outside the container
        (V2.format(""), {"cpu.max": "nonsense"}, math.inf),
        (V2.format(""), {}, math.inf),
        (V1.format("a"), {f"cpu/a/{CFS[0]}": "-1\n", f"cpu/a/{CFS[1]}": "100000\n"}, math.inf),
        (V1.format("a"), {f"cpu/{CFS[0]}": "200000\n", f"cpu/{CFS[1]}": "100000\n"}, 2),
        (V1.format("a"), {"m/cpu.max": "1 2"}, math.inf),  # another group's
    ],
)
def test_quotas_of_containers(tmp_path, monkeypatch, groups, files, quota):
    files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads._cpu_quota(tmp_path) == quota
    monkeypatch.setattr(threads, "_cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3), raising=False)
    assert threads._cores() == max(1, math.floor(min(3, quota)))


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert threads._cpu_quota(tmp_path) == math.inf


def test_blas_is_held_to_one_thread_by_a_call_in_any_thread():
    """threadpoolctl 3.8 sets the number in one thread alone, and does nothing in others."""
    before, inside = blas_numbers(), []

    def call():
        threads.run(lambda part, lo, hi: inside.append(blas_numbers()), 10, blas=True)

    call()
    for _ in range(2):
        other = threading.Thread(target=call)
        other.start()
        other.join()
    assert len(inside) >= 3
    assert all(number == 1 for found in inside for number in found)
    assert blas_numbers()[: len(before)] == before


class Library:
    """What `threads` sees of a BLAS library."""

    num_threads = 2

    def set_num_threads(self, number):
        self.num_threads = number


def test_a_blas_library_that_is_loaded_later_is_held_too(monkeypatch):
    """A kernel whose BLAS is SciPy's kept all threads if SciPy was imported after NumPy's use."""
    libraries, seen = [Library()], []
    monkeypatch.setattr(threads, "_find_blas", lambda: list(libraries))
    monkeypatch.setattr(threads, "_blas", [])
    monkeypatch.setattr(threads, "_has_workers", lambda: False)  # it may import modules

    def kernel(part, lo, hi):
        seen.append([library.num_threads for library in libraries])

    threads.run(kernel, 1, blas=True)
    libraries.append(Library())
    monkeypatch.setitem(sys.modules, "a_module_that_loads_blas", threads)
    threads.run(kernel, 1, blas=True)
    assert seen == [[1], [1, 1]]
    assert [library.num_threads for library in libraries] == [2, 2]


def test_a_call_that_ends_late_does_not_release_the_next_one(monkeypatch):
    """BLAS got its threads back just after the next call had looked, in which it then had two."""
    is_releasing, seen = threading.Event(), []

    class Slow(Library):
        def set_num_threads(self, number):
            if number == 2:
                is_releasing.set()
                time.sleep(0.2)  # the next call comes meanwhile
            self.num_threads = number

    library = Slow()
    monkeypatch.setattr(threads, "_find_blas", lambda: [library])
    monkeypatch.setattr(threads, "_blas", [])
    first = threading.Thread(target=lambda: threads.run(lambda *_: None, 10, blas=True, grain=10))
    first.start()
    assert is_releasing.wait(10)

    def kernel(part, lo, hi):
        time.sleep(0.4)
        seen.append(library.num_threads)

    threads.run(kernel, 10, blas=True, grain=10)
    first.join()
    assert seen == [1]
    assert (library.num_threads, threads._running) == (2, [])
