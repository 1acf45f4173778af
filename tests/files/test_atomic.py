"""Files are there whole or not at all: killed processes, full disks, folders that take nothing."""

import argparse
import contextlib
import errno
import gc
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)] if __name__ == "__main__" else []

import nn  # noqa: E402
from nn import callbacks  # noqa: E402
from nn.data import read_idx, write_idx  # noqa: E402
from nn.files import atomic as whole_files  # noqa: E402
from nn.files.atomic import write_atomic  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and modes are POSIX's")
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

SAVER = """
import sys, time, nn
model = nn.Model([nn.Dense(300, input_shape=(300,)), nn.Dense(10)], seed=0)
model.compile("cce")
start = time.perf_counter()
model.save(sys.argv[1] + ".first")
print(time.perf_counter() - start, flush=True)  # how long a save takes now
number = 0
while True:
    number += 1
    for array in model.get_arrays().values():
        array[...] = number
    model.save(sys.argv[1])
"""


def model(value=1.0):
    made = nn.Model([nn.Dense(300, input_shape=(300,)), nn.Dense(10)], seed=0)
    for array in made.get_arrays().values():
        array[...] = value
    return made


def value_in(path):
    """Load a file, and return the one number that all its arrays must be full of."""
    values = {
        float(v) for a in nn.Model.load(path).get_arrays().values() for v in (a.min(), a.max())
    }
    assert len(values) == 1, f"a mixture of {values}"
    return values.pop()


def leftovers(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".nn-")]


def killed_saves(folder, moments, suffix):
    """Kill a process that saves again and again, at random moments; load what it left each time.

    Returns how many different states were found, and how often a temporary file was left.
    """
    path, rng = folder / f"model.{suffix}", random.Random(0)
    found, left, last = set(), 0, 0.0
    for _ in range(moments):
        saver = subprocess.Popen([sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE)
        seconds = float(saver.stdout.readline())
        time.sleep(rng.random() * 8 * seconds)
        saver.send_signal(signal.SIGKILL)
        saver.communicate()
        if path.exists():
            last = value_in(path)
            found.add(last)
        else:
            assert last == 0.0, "the file is gone"
        left += bool(leftovers(folder))
    model(0.5).save(path)
    assert value_in(path) == 0.5
    assert leftovers(folder) == []  # the next one to save has swept
    return len(found), left


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["hdf5", "npz", "safetensors"])
def test_killed_at_any_moment(tmp_path, suffix):
    found, _ = killed_saves(tmp_path, 10, suffix)
    assert found > 1


# ----------------------------------------------------------------- what the system refuses


@pytest.fixture
def saved(tmp_path):
    """A folder with a saved model, full of ones."""
    (tmp_path / "folder").mkdir()
    for suffix in ("hdf5", "npz", "safetensors"):
        model().save(tmp_path / "folder" / f"model.{suffix}")
    return tmp_path / "folder"


@pytest.fixture
def as_nobody():
    """Act as a user without rights where the tests run as one who has all of them."""
    if AS_ROOT:
        os.seteuid(65534)
    yield
    if AS_ROOT:
        os.seteuid(0)


@pytest.fixture
def small_files():
    """Let no file become larger than 100 kB, as a full disk would not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("suffix", ["hdf5", "npz", "safetensors"])
def test_a_file_that_grows_too_large(saved, small_files, suffix):
    path = saved / f"model.{suffix}"
    small_files()
    for _ in range(3):
        with pytest.raises(OSError, match=r"\[io\] cannot write '.*folder/model.*': File too") as e:
            model(2.0).save(path)
        assert e.value.errno == errno.EFBIG
        assert "An old file is unchanged; the file is larger than" in str(e.value)
    assert value_in(path) == 1.0
    assert leftovers(saved) == []
    del e  # its traceback has the file that HDF5 could not close
    gc.collect()
    kinds = h5py.h5f.OBJ_FILE | h5py.h5f.OBJ_DATASET | h5py.h5f.OBJ_GROUP
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, kinds) == 0


@pytest.mark.parametrize("suffix", ["hdf5", "npz", "safetensors"])
def test_a_full_disk(small_disk, suffix):
    path = small_disk / f"model.{suffix}"
    model().save(path)
    for _ in range(3):
        with pytest.raises(OSError, match=r"No space left on device\..*free space on the") as e:
            model(2.0).save(path)
        assert e.value.errno == errno.ENOSPC
        assert value_in(path) == 1.0
        assert leftovers(small_disk) == []


def test_a_folder_that_is_read_only(saved, as_nobody):
    if AS_ROOT:
        os.seteuid(0)
        for folder in (saved, *list(saved.parents)[:4]):
            folder.chmod(0o755)
        os.seteuid(65534)
    else:
        saved.chmod(0o555)
    with pytest.raises(PermissionError, match=r"Permission denied\..*make the folder writable"):
        model(2.0).save(saved / "model.hdf5")
    with pytest.raises(PermissionError, match=r"\[write_idx\] cannot write"):
        write_idx(saved / "x.idx", np.zeros(3, np.uint8))
    assert value_in(saved / "model.hdf5") == 1.0
    if not AS_ROOT:
        saved.chmod(0o755)


def test_a_folder_that_vanishes_meanwhile(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()

    def save(stream):
        stream.write(b"half")
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    with pytest.raises(
        FileNotFoundError, match=r"there is no folder '.*folder'\..*create the folder"
    ):
        write_atomic(folder / "x", save, "test")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_atomic(folder / "x", save, "test")


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        IsADirectoryError, match=r"\[io\] cannot write '.*folder': Is a directory"
    ) as caught:
        model().save(tmp_path / "folder")
    assert caught.value.errno == errno.EISDIR
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe': it is not a regular file") as caught:
        model().save(tmp_path / "pipe")
    assert caught.value.errno == errno.EINVAL
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    with pytest.raises(OSError, match=r"too long\..*choose a shorter name"):
        model().save(tmp_path / ("x" * 300))


@pytest.mark.parametrize("problem", [RuntimeError("no"), KeyboardInterrupt(), OSError("odd")])
def test_an_error_while_writing(saved, problem):
    def save(stream):
        stream.write(b"half")
        raise problem

    with pytest.raises(type(problem)):
        write_atomic(saved / "model.hdf5", save, "test")
    assert value_in(saved / "model.hdf5") == 1.0
    assert leftovers(saved) == []


# --------------------------------------------------------------------- what the file becomes


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (OSError("it is odd"), "it is odd", "choose another path"),
        (OSError(), "OSError", "choose another path"),
        (PermissionError(errno.EACCES, "no"), "no", "make the folder writable, or choose another"),
        (OSError(errno.EIO, "broken disk"), "broken disk", "choose another path"),
    ],
)
def test_the_reason_and_the_remedy(tmp_path, error, reason, remedy):
    path = tmp_path / "file"

    def save(stream):
        raise error

    message = rf"^\[me\] cannot write '{path}': {reason}\. An old file is unchanged; {remedy}.*\.$"
    with pytest.raises(type(error), match=message) as caught:
        write_atomic(path, save, "me")
    assert caught.value.errno == error.errno


def test_permissions_are_kept_and_new_files_get_the_usual_ones(saved):
    path = saved / "model.hdf5"
    before = os.umask(0o027)
    try:
        for mode in (0o600, 0o640, 0o444, 0o666):
            path.chmod(mode)
            model(2.0).save(path)
            assert stat.S_IMODE(path.stat().st_mode) == mode
        model().save(saved / "new.hdf5")
        assert stat.S_IMODE((saved / "new.hdf5").stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_file_systems_without_permissions_or_open_folders(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"old")
    open_it = os.open

    def opened(path, *rest, **more):
        if Path(path) == tmp_path:
            raise PermissionError(errno.EACCES, "no folder is opened here")
        return open_it(path, *rest, **more)

    def refuse(*arguments, **options):
        raise PermissionError(errno.EPERM, "no permissions here")

    monkeypatch.setattr(whole_files.os, "open", opened)
    monkeypatch.setattr(Path, "chmod", refuse)
    write_atomic(tmp_path / "file", lambda stream: stream.write(b"new"), "me")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_the_temporary_file_is_never_more_open_than_the_file(saved):
    path = saved / "model.hdf5"
    path.chmod(0o600)
    modes = []

    def save(stream):
        modes.extend(stat.S_IMODE(file.stat().st_mode) for file in leftovers(saved))

    write_atomic(path, save, "test")
    assert modes == [0o600]


def test_a_link_stays_and_what_it_points_to_is_replaced(saved, tmp_path):
    (tmp_path / "link.hdf5").symlink_to("folder/model.hdf5")
    model(2.0).save(tmp_path / "link.hdf5")
    assert (tmp_path / "link.hdf5").is_symlink()
    assert value_in(saved / "model.hdf5") == 2.0
    assert leftovers(tmp_path) == leftovers(saved) == []
    (tmp_path / "dangling.hdf5").symlink_to("folder/later.hdf5")
    model(3.0).save(tmp_path / "dangling.hdf5")
    assert value_in(saved / "later.hdf5") == 3.0
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="cannot write"):
        model().save(tmp_path / "loop")


def test_the_disk_has_the_file_before_it_gets_its_name(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(handle):
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        steps.append("sync folder" if is_folder else f"sync {os.fstat(handle).st_size}")
        fsync(handle)

    def noted_replace(path, target):
        steps.append("replace")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_atomic(tmp_path / "x", lambda stream: stream.write(b"hello"), "test")
    assert steps == ["sync 5", "replace", "sync folder"]


def test_idx_files_are_written_whole_too(tmp_path):
    for name in ("x.idx", "x.idx.gz"):
        write_idx(tmp_path / name, np.arange(5, dtype=np.uint8))
        (tmp_path / name).chmod(0o600)
        write_idx(tmp_path / name, np.arange(6, dtype=np.uint8))
        assert read_idx(tmp_path / name).tolist() == list(range(6))
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


# ---------------------------------------------------------------------------- leftovers


def test_leftovers_are_swept_and_what_is_being_written_is_not(tmp_path):
    (tmp_path / ".nn-dead.tmp").write_bytes(b"half")
    (tmp_path / ".nn-6x6-RGB.npy").write_bytes(b"a cache")
    (tmp_path / "mine.tmp").write_bytes(b"somebody's")
    (tmp_path / "target").write_bytes(b"somebody's")
    (tmp_path / ".nn-link.tmp").symlink_to("target")
    os.mkfifo(tmp_path / ".nn-pipe.tmp")
    (tmp_path / ".nn-folder.tmp").mkdir()

    def save(stream):
        assert not (tmp_path / ".nn-dead.tmp").exists()
        stream.write(b"outer")
        write_atomic(tmp_path / "inner", lambda stream: stream.write(b"inner"), "test")

    write_atomic(tmp_path / "outer", save, "test")
    assert (tmp_path / "outer").read_bytes() == b"outer"
    assert (tmp_path / "inner").read_bytes() == b"inner"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(".nn-6x6-RGB.npy", ".nn-folder.tmp", ".nn-link.tmp", ".nn-pipe.tmp"),
        *("inner", "mine.tmp", "outer", "target"),
    ]


def test_a_file_taken_for_a_leftover_before_it_was_locked(tmp_path, monkeypatch):
    lock, taken = whole_files._lock, []

    def slow_lock(handle, wait):
        if wait and not taken:
            taken.extend(leftovers(tmp_path))
            taken[0].unlink()  # as another process may, which sweeps just then
        return lock(handle, wait)

    monkeypatch.setattr(whole_files, "_lock", slow_lock)
    write_atomic(tmp_path / "x", lambda stream: stream.write(b"hello"), "test")
    assert len(taken) == 1
    assert (tmp_path / "x").read_bytes() == b"hello"
    assert leftovers(tmp_path) == []


def test_without_locks(tmp_path, monkeypatch):
    (tmp_path / ".nn-dead.tmp").write_bytes(b"half")
    monkeypatch.setattr(whole_files, "fcntl", None)
    opened, open_it = [], os.open

    def spied(path, *rest, **more):
        opened.append(path)
        return open_it(path, *rest, **more)

    monkeypatch.setattr(whole_files.os, "open", spied)
    assert whole_files._lock(0, wait=True) is False
    model().save(tmp_path / "model.hdf5")
    model(2.0).save(tmp_path / "model.hdf5")
    assert value_in(tmp_path / "model.hdf5") == 2.0
    assert [path.name for path in leftovers(tmp_path)] == [".nn-dead.tmp"]
    # Windows would not move the file of another process while this one looks at it.
    assert opened and tmp_path / ".nn-dead.tmp" not in opened


# -------------------------------------------------------------------------- in training


def failing(monkeypatch, epochs):
    """Let `Model.save` meet a full disk in these epochs."""
    save = nn.Model.save

    def sometimes(self, path, include_optimizer=True):
        if len(self.history.get("loss", ())) in epochs:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, path, include_optimizer)

    monkeypatch.setattr(nn.Model, "save", sometimes)


class Figures(callbacks.Callback):
    def __init__(self, figures):
        self.figures = figures

    def on_epoch_end(self, epoch, logs):
        logs["figure_acc"] = self.figures[epoch]


def fit(checkpoint, epochs, *more):
    trained = nn.Model([nn.Dense(2, input_shape=(3,))], seed=0)
    trained.compile("mse", "sgd")
    x, y = np.ones((4, 3)), np.ones((4, 2))
    trained.fit(x, y, epochs=epochs, callbacks=[*more, checkpoint], verbose=0)
    return trained


def test_training_goes_on_without_a_checkpoint(tmp_path):
    checkpoint = callbacks.ModelCheckpoint(tmp_path / "none" / "x.hdf5", save_best_only=False)
    with pytest.warns(RuntimeWarning, match=r"\[ModelCheckpoint\] did not save epoch \d to '") as w:
        trained = fit(checkpoint, 3)
    assert len(trained.history["loss"]) == 3
    assert [f"epoch {k}" in str(one.message) for k, one in enumerate(w, 1)] == [True] * 3
    assert "none/x.hdf5': there is no folder" in str(w[0].message)
    assert "Training goes on" in str(w[0].message)


def test_the_next_epoch_tries_again(tmp_path, monkeypatch):
    failing(monkeypatch, [2])
    path = str(tmp_path / "{epoch}.hdf5")
    with pytest.warns(RuntimeWarning, match="did not save epoch 2") as warned:
        fit(callbacks.ModelCheckpoint(path, save_best_only=False), 4)
    assert len(warned) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.hdf5", "3.hdf5", "4.hdf5"]


def test_what_could_not_be_saved_is_not_the_best(tmp_path, monkeypatch):
    """The third epoch is worse than the second, but better than what is in the file."""
    failing(monkeypatch, [2])
    path = str(tmp_path / "{epoch}.hdf5")
    figures = Figures([0.1, 0.9, 0.5, 0.4])
    with pytest.warns(RuntimeWarning, match="did not save epoch 2"):
        fit(callbacks.ModelCheckpoint(path, monitor="figure_acc"), 4, figures)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.hdf5", "3.hdf5"]


def test_batches_that_cannot_be_saved(tmp_path):
    path = tmp_path / "none" / "x.npz"
    keep = callbacks.ModelCheckpoint(
        path, save_best_only=False, save_freq=1, save_weights_only=True
    )
    with pytest.warns(RuntimeWarning, match="did not save epoch 1, batch 1 to"):
        fit(keep, 1)


class Diary(callbacks.Callback):
    """Has so much to say in some epochs that no file takes it."""

    def __init__(self, epochs):
        self.epochs, self.text = epochs, ""

    def get_state(self):
        return {"text": self.text}

    def on_epoch_end(self, epoch, logs):
        self.text = "x" * nn.io.MAX_TEXT if epoch + 1 in self.epochs else ""


def test_training_goes_on_where_a_file_would_be_too_large_for_its_format(tmp_path):
    path = str(tmp_path / "{epoch}.npz")
    keep = callbacks.ModelCheckpoint(path, save_best_only=False, save_state=True)
    says = (
        r"did not save epoch 2 to '.*2\.npz': \[io\] 'training' must take at most 16,777,216 char"
    )
    with pytest.warns(RuntimeWarning, match=says) as warned:
        trained = fit(keep, 3, Diary([2]))
    assert len(warned) == 1
    assert len(trained.history["loss"]) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.npz", "3.npz"]


def test_a_state_that_no_file_can_hold_is_an_error_at_the_first_checkpoint(tmp_path):
    """That is a mistake in the callback, and no later epoch would fare better."""
    keep = callbacks.ModelCheckpoint(tmp_path / "x.npz", save_best_only=False, save_state=True)
    diary = Diary([])
    diary.get_state = lambda: {"text": {1, 2}}
    with pytest.raises(TypeError, match="must hold numbers, strings and lists, got set"):
        fit(keep, 3, diary)


def test_a_log_on_a_full_disk_stays_whole_and_gets_its_lines_later(tmp_path, small_files):
    """There is room for half a line: it is taken back, and comes with the others later."""
    path = tmp_path / "log.csv"
    before = "epoch,loss,lr\n" + 9000 * "0,0.5,0.01\n"
    before += "0,0." + (100_000 - 12 - len(before)) * "5" + ",0.01\n"  # 2 + 4 + ... to the limit
    path.write_text(before)
    found = []

    class Disk(callbacks.Callback):
        def on_epoch_begin(self, epoch):
            found.append(path.read_text())
            if epoch == 2:
                most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    small_files()
    log = callbacks.CSVLogger(path, append=True)
    says = (
        r"\[CSVLogger\] did not write epoch \d to '.*log\.csv': File too large\. Training .*, "
        "and the line will be written with the next one"
    )
    with pytest.warns(RuntimeWarning, match=says) as warned:
        trained = fit(log, 4, Disk())
    assert ["epoch 1" in str(w.message) for w in warned] == [True, False]
    assert warned[0].filename == __file__
    assert found[:3] == [before] * 3
    history = trained.history
    lines = [f"{k},{history['loss'][k]},{history['lr'][k]}\n" for k in range(4)]
    assert path.read_text() == before + "".join(lines)


def test_the_columns_of_a_log_wait_with_the_first_line(tmp_path):
    folder, aside = tmp_path / "logs", tmp_path / "aside"
    folder.mkdir()

    class Unplugged(callbacks.Callback):
        def on_epoch_begin(self, epoch):
            if epoch == 0:
                folder.rename(aside)
            if epoch == 1:
                aside.rename(folder)

    with pytest.warns(RuntimeWarning, match="epoch 1 to '.*': No such file or directory. Training"):
        fit(callbacks.CSVLogger(folder / "log.csv"), 2, Unplugged())
    lines = (folder / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1"]


def test_a_log_that_cannot_be_begun_is_an_error_before_the_first_epoch(saved, as_nobody):
    began = []
    epochs = callbacks.LambdaCallback(on_epoch_begin=lambda: began.append(1))
    if not AS_ROOT:
        saved.chmod(0o555)
    with pytest.raises(PermissionError, match=r"log\.csv"):
        fit(callbacks.CSVLogger(saved / "log.csv"), 2, epochs)
    assert began == []
    if not AS_ROOT:
        saved.chmod(0o755)


def steps_in(path):
    """Return the epochs whose loss is in a file of TensorBoard's, up to half a record at its end.

    A record is its length, a checksum of that, the event, a checksum of that.
    """
    from tensorboardX.proto.event_pb2 import Event

    found, content = [], path.read_bytes()
    while len(content) >= 16:
        length = int.from_bytes(content[:8], "little")
        if len(content) < length + 16:
            break
        event = Event.FromString(content[12 : 12 + length])
        found += [event.step for figure in event.summary.value if figure.tag == "epoch_loss"]
        content = content[length + 16 :]
    return found


def test_tensorboard_goes_on_in_a_new_file(tmp_path, small_files):
    pytest.importorskip("tensorboardX", reason="needs tensorboardX (the extra 'tensorboard')")
    small_files()
    with pytest.warns(RuntimeWarning, match=r"\[TensorBoard\] did not write all of") as warned:
        trained = fit(callbacks.TensorBoard(tmp_path, histogram_freq=1), 120)
    assert len(trained.history["loss"]) == 120
    first, second = sorted((tmp_path / "train").iterdir(), key=lambda path: path.suffix)
    before, after = steps_in(first), steps_in(second)
    assert len(warned) == 1
    assert "File too large. Training goes on" in str(warned[0].message)
    assert before == list(range(len(before)))
    assert after == list(range(after[0], 120))
    # At most the epoch that the warning names is missing.
    assert f"epoch {after[0]} " in str(warned[0].message)
    assert len(before) in (after[0] - 1, after[0])


def test_tensorboard_on_a_disk_that_is_full_for_a_while(small_disk):
    pytest.importorskip("tensorboardX", reason="needs tensorboardX (the extra 'tensorboard')")
    filler = small_disk / "filler"

    def fill_and_free(epoch):
        if epoch == 1:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(512))
        if epoch == 40:
            filler.unlink()

    board = callbacks.TensorBoard(small_disk, histogram_freq=1)
    disk = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: fill_and_free(epoch))
    with pytest.warns(RuntimeWarning, match="No space left on device. Training goes on"):
        fit(board, 60, disk)
    sizes = [path.stat().st_size for path in (small_disk / "train").iterdir()]
    assert len(sizes) == 2
    assert min(sizes) > 0
    fill_and_free(1)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left on device"):
            fit(callbacks.TensorBoard(small_disk), 1)
    assert len(list((small_disk / "train").iterdir())) == 2


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Kill saves at random moments.")
    parser.add_argument("--moments", type=int, default=200)
    chosen = parser.parse_args()
    for suffix in ("hdf5", "npz", "safetensors"):
        with tempfile.TemporaryDirectory() as name:
            found, left = killed_saves(Path(name), chosen.moments // 2, suffix)
        print(
            f"{suffix}: {chosen.moments // 2} saves killed, {found} different states found, all of "
            f"them whole; {left} times a temporary file was left, all of them swept"
        )
